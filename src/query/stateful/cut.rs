//! Takes a logical plan apart at its stateful operators, and plans what lies between them.
//!
//! The cut comes before the optimizer, for its rules change which operators there are, and with them the state. In the
//! place of an operator the plan above it reads a slot. Plans are made from the top, so that each fragment gives only
//! the columns that are read above it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DataFusionError, Result as DfResult};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{
    self as logical, Distinct, Expr, FetchType, LogicalPlan, LogicalPlanBuilder, SkipType,
};

use super::Operator;
use super::dedupe_node::Dedupe;
use super::event_time::is_session;
use super::grouping_sets::GroupingSets;
use super::logical::unique;
use super::operator_plan::{Built, aggregate, dedupe, field_of, limit};
use crate::model::{Error, OutputMode, Result};
use crate::query::check::{self, reads_stream};
use crate::query::fragment::Fragment;
use crate::query::session::{Session, refused};
use crate::query::slot::{Of, Places, Slot};
use crate::query::{record, types};
use crate::state::{TableId, in_words};

/// A stateful query above what its lanes run.
#[derive(Debug)]
pub(in crate::query) struct Core {
    /// The operators, each behind those that it reads. The fragment of the first that reads a stream may be the lanes'.
    pub(in crate::query) stages: Vec<CoreStage>,
    /// What makes the result of the last operators' rows.
    pub(in crate::query) root: Fragment,
    /// The stage whose fragment the lanes run, if there is just one that reads streams.
    pub(in crate::query) of_lanes: Option<usize>,
    pub(in crate::query) mode: OutputMode,
}

/// An operator and what it reads.
#[derive(Debug)]
pub(in crate::query) struct CoreStage {
    /// What makes its rows; `None`: the lanes run it.
    pub(in crate::query) fragment: Option<Fragment>,
    pub(in crate::query) operator: Arc<dyn Operator>,
    /// The columns of its result that are read.
    pub(in crate::query) columns: Arc<[usize]>,
}

/// An operator that was cut out: its input, and how it is made once it is known which of its columns are read.
struct Cutting {
    input: LogicalPlan,
    kind: Kind,
}

/// A stage while the others are made.
struct Made {
    fragment: Fragment,
    operator: Arc<dyn Operator>,
    columns: Arc<[usize]>,
    schema: SchemaRef,
}

enum Kind {
    Aggregate { groups: Vec<Expr>, aggregates: Vec<Expr>, output: SchemaRef },
    Dedupe { keys: Vec<usize>, within: bool },
    Limit { rows: u64 },
}

struct Cutter {
    cuttings: Vec<Cutting>,
    /// The place of the first operator.
    first: usize,
    mode: OutputMode,
}

impl Core {
    /// Cuts an analysed plan; `None` if it has no stateful operator. Returns what lanes run, the rest, and the columns
    /// that lanes give.
    ///
    /// # Errors
    /// `Config` for what cannot be run over a stream.
    pub(in crate::query) fn cut(
        session: &Session,
        plan: &LogicalPlan,
        places: Places,
        mode: OutputMode,
    ) -> Result<Option<(Fragment, Core, SchemaRef)>> {
        let first = places.streams + places.tables;
        let mut cutter = Cutter { cuttings: Vec::new(), first, mode };
        let root = cutter.cut(plan.clone()).map_err(|error| refused(&error))?;
        if cutter.cuttings.is_empty() {
            return Ok(None);
        }
        let all = first + cutter.cuttings.len();
        let root = Fragment::plan(session, root, all).map_err(|error| refused(&error))?;
        let readers = cutter.cuttings.iter().filter(|cutting| reads_input(&cutting.input, places.streams));
        let single = readers.count() == 1 && places.streams == 1 && !root.reads(0);
        let mut made: Vec<Made> = Vec::new();
        let mut table = 0_u16;
        let mut numbers = Vec::new();
        for cutting in &cutter.cuttings {
            numbers.push(TableId(table));
            table += cutting.kind.tables(&cutting.input);
        }
        let mut of_lanes = None;
        // From the top: the last operator first.
        for (at, cutting) in cutter.cuttings.into_iter().enumerate().rev() {
            let place = first + at;
            let above = std::iter::once(&root).chain(made.iter().map(|made| &made.fragment));
            let mut used: Vec<usize> = above.flat_map(|fragment| fragment.used(place).to_vec()).collect();
            used.sort_unstable();
            used.dedup();
            let reads = reads_input(&cutting.input, places.streams);
            let Built { mut rows, operator, columns, schema } = cutting.build(&used, numbers[at], mode)?;
            if single && reads {
                of_lanes = Some(at);
                rows = record::carried(rows).map_err(|error| refused(&error))?;
            }
            let fragment = Fragment::plan(session, rows, all).map_err(|error| refused(&error))?;
            made.push(Made { fragment, operator, columns: columns.into(), schema });
        }
        made.reverse();
        let mut lanes = None;
        let mut stages = Vec::with_capacity(made.len());
        for (at, Made { fragment, operator, columns, schema }) in made.into_iter().enumerate() {
            let fragment = if of_lanes == Some(at) {
                lanes = Some((fragment, schema));
                None
            } else {
                Some(fragment)
            };
            stages.push(CoreStage { fragment, operator, columns });
        }
        let core = Core { stages, root, of_lanes, mode };
        let (lanes, schema) = match lanes {
            Some(lanes) => lanes,
            None => core.raw(session, plan, places)?,
        };
        Ok(Some((lanes, core, schema)))
    }

    /// What lanes run if they can run no fragment: the columns of the first stream that are read at all.
    fn raw(&self, session: &Session, plan: &LogicalPlan, places: Places) -> Result<(Fragment, SchemaRef)> {
        let mut columns: Vec<usize> =
            self.fragments().flat_map(|fragment| fragment.used(0).to_vec()).collect();
        columns.sort_unstable();
        columns.dedup();
        let Some(schema) = input_schema(plan) else {
            return Err(Error::internal("a query of no stream was cut"));
        };
        let schema = Arc::new(schema.as_ref().clone());
        let rows = scan("input", 0, &schema, Of::Stream)
            .and_then(|builder| builder.project(columns.iter().map(|n| column(&schema, *n))))
            .and_then(LogicalPlanBuilder::build)
            .and_then(|rows| if places.streams == 1 { record::carried(rows) } else { Ok(rows) })
            .map_err(|error| refused(&error))?;
        let all = places.streams + places.tables + self.stages.len();
        let projected = schema.project(&columns).map_err(|e| Error::internal("choose columns").source(e))?;
        let fragment = Fragment::plan(session, rows, all).map_err(|error| refused(&error))?;
        Ok((fragment, Arc::new(types::conformed(&projected)?)))
    }

    /// The fragments that it runs itself.
    pub(in crate::query) fn fragments(&self) -> impl Iterator<Item = &Fragment> {
        self.stages.iter().filter_map(|stage| stage.fragment.as_ref()).chain([&self.root])
    }

    /// The plan as people read it: from the sink to the source, each fragment as `shown`.
    pub(in crate::query) fn explain(&self, lanes: &Fragment, shown: fn(&Fragment) -> String) -> String {
        let mut text = shown(&self.root);
        for (number, stage) in self.stages.iter().enumerate().rev() {
            let fragment = stage.fragment.as_ref().unwrap_or(lanes);
            let below = shown(fragment);
            let below: Vec<String> = below.lines().map(|line| format!("  {line}")).collect();
            text.push_str(&format!(
                "operator {}: {}\n{}\n",
                number + 1,
                stage.operator.explain(),
                below.join("\n")
            ));
        }
        text
    }
}

impl Cutter {
    fn cut(&mut self, plan: LogicalPlan) -> DfResult<LogicalPlan> {
        if !reads_stream(&plan) {
            return Ok(plan);
        }
        let aggregates = check::count(&plan, &check::is_aggregation) > 0;
        let plan = plan.map_children(|child| Ok(Transformed::yes(self.cut(child)?)))?.data;
        let mut output = Arc::new(plan.schema().as_arrow().clone());
        let fields: Vec<_> =
            plan.schema().iter().map(|(of, field)| (of.cloned(), Arc::clone(field))).collect();
        let (input, kind) = match plan {
            LogicalPlan::Aggregate(aggregate) => {
                let logical::Aggregate { input, group_expr, aggr_expr, .. } = aggregate;
                let input = Arc::unwrap_or_clone(input);
                let (input, groups) = match GroupingSets::of(&group_expr)? {
                    Some(sets) => {
                        output = with_signed_number(&output);
                        sets.expand(input)?
                    }
                    None => (input, group_expr),
                };
                let kind = Kind::Aggregate { groups, aggregates: aggr_expr, output: Arc::clone(&output) };
                (input, kind)
            }
            LogicalPlan::Distinct(Distinct::All(input)) => {
                // As in Spark, DISTINCT is a GROUP BY of all columns.
                let groups = input
                    .schema()
                    .iter()
                    .map(|(of, field)| Expr::Column(Column::new(of.cloned(), field.name())));
                let kind = Kind::Aggregate {
                    groups: groups.collect(),
                    aggregates: Vec::new(),
                    output: Arc::clone(&output),
                };
                (Arc::unwrap_or_clone(input), kind)
            }
            // Without an aggregation below it, it counts rows over the life of the query in complete mode too.
            LogicalPlan::Limit(limit) if self.mode == OutputMode::Append || !aggregates => {
                let (SkipType::Literal(0), FetchType::Literal(Some(rows))) =
                    (limit.get_skip_type()?, limit.get_fetch_type()?)
                else {
                    return Err(DataFusionError::Plan(
                        "LIMIT over a stream takes a number, and no OFFSET".into(),
                    ));
                };
                (Arc::unwrap_or_clone(limit.input), Kind::Limit { rows: rows as u64 })
            }
            LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<Dedupe>() {
                Some(dedupe) => {
                    let kind = Kind::Dedupe { keys: dedupe.keys.clone(), within: dedupe.within_watermark };
                    (dedupe.input.clone(), kind)
                }
                None => return Ok(LogicalPlan::Extension(extension)),
            },
            other => return Ok(other),
        };
        let place = self.first + self.cuttings.len();
        self.cuttings.push(Cutting { input, kind });
        // The columns keep their qualifiers, their names and what is marked on them.
        let mut names = Vec::with_capacity(output.fields().len());
        for field in output.fields() {
            names.push(unique(in_words(field.name()), &names));
        }
        let slot = output.fields().iter().zip(names);
        let slot: Vec<Field> = slot.map(|(field, name)| field.as_ref().clone().with_name(name)).collect();
        let slot = Arc::new(Schema::new(slot));
        let columns = fields.into_iter().enumerate().map(|(n, (of, field))| {
            let value = column(&slot, n);
            let same = slot.field(n).data_type() == field.data_type();
            let value = if same { value } else { logical::cast(value, field.data_type().clone()) };
            value.alias_qualified(of, field.name())
        });
        scan(&format!("operator {}", place - self.first + 1), place, &slot, Of::Stream)?
            .project(columns)?
            .build()
    }
}

/// A result of grouping sets as state holds it: Spark has no unsigned numbers, so that of the set is a BIGINT.
fn with_signed_number(output: &Schema) -> SchemaRef {
    let signed = |field: &Arc<Field>| match field.name() == logical::Aggregate::INTERNAL_GROUPING_ID {
        true => Arc::new(field.as_ref().clone().with_data_type(DataType::Int64)),
        false => Arc::clone(field),
    };
    Arc::new(Schema::new(output.fields().iter().map(signed).collect::<Fields>()))
}

fn scan(name: &str, place: usize, schema: &SchemaRef, of: Of) -> DfResult<LogicalPlanBuilder> {
    let slot = Slot::new(place, of, name, Arc::clone(schema));
    LogicalPlanBuilder::scan(name, provider_as_source(Arc::new(slot)), None)
}

fn column(schema: &SchemaRef, n: usize) -> Expr {
    Expr::Column(Column::from_name(schema.field(n).name()))
}

/// Whether a plan reads one of the streams themselves, and not only operators.
fn reads_input(plan: &LogicalPlan, streams: usize) -> bool {
    let of_input = Slot::of_scan(plan).is_some_and(|slot| slot.of == Of::Stream && slot.place < streams);
    of_input || plan.inputs().into_iter().any(|input| reads_input(input, streams))
}

/// The columns of the first stream.
fn input_schema(plan: &LogicalPlan) -> Option<SchemaRef> {
    match Slot::of_scan(plan) {
        Some(slot) if slot.place == 0 => Some(slot.schema()),
        _ => plan.inputs().into_iter().find_map(input_schema),
    }
}

impl Kind {
    /// How many tables of state it has.
    fn tables(&self, input: &LogicalPlan) -> u16 {
        match self {
            Kind::Aggregate { groups, .. } => {
                let session =
                    groups.iter().any(|group| field_of(group, input).is_ok_and(|field| is_session(&field)));
                if session { 2 } else { 1 }
            }
            Kind::Dedupe { within, .. } => 1 + u16::from(*within),
            Kind::Limit { .. } => 1,
        }
    }
}

impl Cutting {
    fn build(self, used: &[usize], table: TableId, mode: OutputMode) -> Result<Built> {
        match self.kind {
            Kind::Aggregate { groups, aggregates, output } => {
                aggregate(self.input, groups, aggregates, output, table, mode)
            }
            Kind::Dedupe { keys, within } => dedupe(self.input, keys, within, used, table),
            Kind::Limit { rows } => limit(self.input, rows, used, table),
        }
    }
}
