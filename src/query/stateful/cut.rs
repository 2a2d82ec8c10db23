//! Takes a logical plan apart at its stateful operators, and plans what lies between them.
//!
//! The cut comes before the optimizer, for its rules change which operators there are, and with them the state. In the
//! place of an operator the plan above it reads a slot. Plans are made from the top, so that each fragment gives only
//! the columns that are read above it.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DataFusionError, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment, ScalarFunction};
use datafusion::logical_expr::{
    self as logical, Distinct, Expr, ExprSchemable, FetchType, LogicalPlan, LogicalPlanBuilder, ScalarUDF,
    SkipType, lit,
};
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{Column as PhysicalColumn, Literal};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use super::aggregate::{Aggregate, Argument, GroupBy, GroupColumn, Grouping};
use super::dedupe::{DropDuplicates, Expiry};
use super::dedupe_node::Dedupe;
use super::event_time::{delay_of, is_event_time, is_session, is_window};
use super::limit::Limit;
use super::session::Sessions;
use super::{Operator, failed};
use crate::model::{Error, OutputMode, Result};
use crate::query::check::reads_stream;
use crate::query::fields::GetField;
use crate::query::fragment::Fragment;
use crate::query::plan::Places;
use crate::query::session::{Session, refused};
use crate::query::slot::{Of, Slot};
use crate::query::types;
use crate::state::codec::{Codec, Equality};
use crate::state::{StateColumn, TableId};

type DfResult<T> = std::result::Result<T, DataFusionError>;

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
            let built = cutting.build(&used, numbers[at], mode)?;
            let fragment = Fragment::plan(session, built.rows, all).map_err(|error| refused(&error))?;
            if single && reads {
                of_lanes = Some(at);
            }
            let Built { operator, columns, schema, .. } = built;
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
            None => core.raw(session, plan, all)?,
        };
        Ok(Some((lanes, core, schema)))
    }

    /// What lanes run if they can run no fragment: the columns of the first stream that are read at all.
    fn raw(&self, session: &Session, plan: &LogicalPlan, places: usize) -> Result<(Fragment, SchemaRef)> {
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
            .map_err(|error| refused(&error))?;
        let projected = schema.project(&columns).map_err(|e| Error::internal("choose columns").source(e))?;
        let fragment = Fragment::plan(session, rows, places).map_err(|error| refused(&error))?;
        Ok((fragment, Arc::new(types::conformed(&projected)?)))
    }

    /// The fragments that it runs itself.
    pub(in crate::query) fn fragments(&self) -> impl Iterator<Item = &Fragment> {
        self.stages.iter().filter_map(|stage| stage.fragment.as_ref()).chain([&self.root])
    }

    /// The plan as people read it: from the sink to the source.
    pub(in crate::query) fn explain(&self, lanes: &Fragment) -> String {
        let mut text = self.root.explain();
        for (number, stage) in self.stages.iter().enumerate().rev() {
            let fragment = stage.fragment.as_ref().unwrap_or(lanes);
            let below = fragment.explain();
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
        let plan = plan.map_children(|child| Ok(Transformed::yes(self.cut(child)?)))?.data;
        let output = Arc::new(plan.schema().as_arrow().clone());
        let fields: Vec<_> =
            plan.schema().iter().map(|(of, field)| (of.cloned(), field.name().clone())).collect();
        let (input, kind) = match plan {
            LogicalPlan::Aggregate(aggregate) => {
                let logical::Aggregate { input, group_expr, aggr_expr, .. } = aggregate;
                let kind = Kind::Aggregate {
                    groups: group_expr,
                    aggregates: aggr_expr,
                    output: Arc::clone(&output),
                };
                (Arc::unwrap_or_clone(input), kind)
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
            LogicalPlan::Limit(limit) if self.mode == OutputMode::Append => {
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
        let slot: Vec<Field> = output
            .fields()
            .iter()
            .enumerate()
            .map(|(n, field)| field.as_ref().clone().with_name(format!("c{n}")))
            .collect();
        let slot = Arc::new(Schema::new(slot));
        let columns =
            fields.into_iter().enumerate().map(|(n, (of, name))| column(&slot, n).alias_qualified(of, name));
        scan(&format!("operator {}", place - self.first + 1), place, &slot, Of::Stream)?
            .project(columns)?
            .build()
    }
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

fn field_of(expr: &Expr, input: &LogicalPlan) -> DfResult<Arc<Field>> {
    Ok(expr.to_field(input.schema())?.1)
}

/// An operator, and the plan of its rows.
struct Built {
    rows: LogicalPlan,
    operator: Arc<dyn Operator>,
    /// The columns of its result.
    columns: Vec<usize>,
    /// The columns of its rows.
    schema: SchemaRef,
}

impl Cutting {
    fn build(self, used: &[usize], table: TableId, mode: OutputMode) -> Result<Built> {
        match self.kind {
            Kind::Aggregate { groups, aggregates, output } => {
                aggregate(self.input, groups, aggregates, output, table, mode)
            }
            Kind::Dedupe { keys, within } => dedupe(self.input, keys, within, used, table),
            Kind::Limit { rows } => {
                let (rows_plan, columns, schema) = chosen(self.input, used.to_vec())?;
                let operator = Arc::new(Limit { rows, table });
                Ok(Built { rows: rows_plan, operator, columns, schema })
            }
        }
    }
}

/// A plan of some of the columns of another; at least one.
fn chosen(input: LogicalPlan, mut columns: Vec<usize>) -> Result<(LogicalPlan, Vec<usize>, SchemaRef)> {
    if columns.is_empty() {
        columns.push(0);
    }
    let fields: Vec<_> =
        input.schema().iter().map(|(of, field)| Column::new(of.cloned(), field.name())).collect();
    let exprs = columns.iter().map(|n| Expr::Column(fields[*n].clone()));
    let rows = LogicalPlanBuilder::from(input)
        .project(exprs)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|error| refused(&error))?;
    let schema = Arc::new(types::conformed(rows.schema().as_arrow())?);
    Ok((rows, columns, schema))
}

fn dedupe(
    input: LogicalPlan,
    keys: Vec<usize>,
    within: bool,
    used: &[usize],
    table: TableId,
) -> Result<Built> {
    let fields = input.schema().fields().clone();
    let event_time = fields.iter().position(|field| is_event_time(field));
    let mut columns: Vec<usize> = used.iter().chain(&keys).copied().chain(event_time).collect();
    columns.sort_unstable();
    columns.dedup();
    let (rows, columns, schema) = chosen(input, columns)?;
    let at = |column: usize| columns.iter().position(|other| *other == column).unwrap_or_default();
    let expiry = match (within, event_time) {
        (true, Some(column)) => {
            let delay = delay_of(&fields[column]).ok_or_else(|| {
                Error::config(
                    "dropDuplicatesWithinWatermark is behind a UNION of watermarks with different delays",
                )
                .hint("declare one watermark behind the UNION")
            })?;
            Expiry::Within { delay: delay.saturating_mul(1000), index: TableId(table.0 + 1) }
        }
        (true, None) => {
            return Err(Error::config(
                "dropDuplicatesWithinWatermark is not supported on a stream without a watermark",
            )
            .hint("declare watermark: {eventTime: …, delayThreshold: …} beside it"));
        }
        (false, Some(column)) if keys.contains(&column) => Expiry::EventTime,
        (false, _) => Expiry::Never,
    };
    let key_types: Vec<DataType> =
        keys.iter().map(|key| schema.field(at(*key)).data_type().clone()).collect();
    if let Some(map) = keys.iter().find(|key| holds_map(fields[**key].data_type())) {
        return Err(Error::config(format!(
            "UNSUPPORTED_FEATURE.SET_OPERATION_ON_MAP_TYPE: {} is a map, which is no key of dropDuplicates",
            fields[*map].name()
        )));
    }
    let operator = DropDuplicates {
        keys: keys.iter().map(|key| at(*key)).collect(),
        codec: Arc::new(Codec::with_equality(&key_types, Equality::Nan)?),
        event_time: event_time.map(at),
        expiry,
        table,
        columns: keys.iter().map(|key| named(&fields[*key])).collect(),
    };
    Ok(Built { rows, operator: Arc::new(operator), columns, schema })
}

fn holds_map(data_type: &DataType) -> bool {
    match data_type {
        DataType::Map(..) => true,
        DataType::Struct(fields) => fields.iter().any(|field| holds_map(field.data_type())),
        DataType::List(element) => holds_map(element.data_type()),
        _ => false,
    }
}

fn named(field: &Field) -> StateColumn {
    StateColumn::new(field.name(), field.data_type())
}

/// The rows of a GROUP BY while they are put together: expressions under names of their own.
#[derive(Default)]
struct GroupRows {
    exprs: Vec<Expr>,
}

impl GroupRows {
    fn push(&mut self, expr: Expr) -> usize {
        let at = self.exprs.len();
        self.exprs.push(expr.alias(format!("g{at}")));
        at
    }
}

fn aggregate(
    input: LogicalPlan,
    groups: Vec<Expr>,
    aggregates: Vec<Expr>,
    output: SchemaRef,
    table: TableId,
    mode: OutputMode,
) -> Result<Built> {
    let mut rows = GroupRows::default();
    let mut columns = Vec::with_capacity(groups.len());
    let (mut event_time, mut session) = (None, None);
    for group in groups {
        let field = field_of(&group, &input).map_err(|error| refused(&error))?;
        let group = group.unalias();
        let marked = is_event_time(&field);
        if is_window(&field) {
            let bound = |name: &str| {
                let get = Arc::new(ScalarUDF::from(GetField::new(true)));
                Expr::ScalarFunction(ScalarFunction::new_udf(get, vec![group.clone(), lit(name)]))
            };
            let start = rows.push(bound("start"));
            let end = rows.push(bound("end"));
            columns.push(GroupColumn::Window(start));
            if is_session(&field) {
                session = Some(start);
            }
            if marked {
                event_time = event_time.or(Some(end));
            }
        } else {
            let key = rows.push(group);
            columns.push(GroupColumn::Key(key));
            if marked {
                event_time = event_time.or(Some(key));
            }
        }
    }
    let keys = rows.exprs.len();
    let mut drafts = Vec::with_capacity(aggregates.len());
    for expr in aggregates {
        drafts.push(draft(expr, &mut rows)?);
    }
    if rows.exprs.is_empty() {
        // count(*) of everything: rows need a column to be counted by.
        rows.push(lit(true));
    }
    let plan = LogicalPlanBuilder::from(input)
        .project(rows.exprs)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|error| refused(&error))?;
    let schema: SchemaRef = Arc::new(types::conformed(plan.schema().as_arrow())?);
    let grouping = grouping(drafts, columns, keys, event_time, &schema, output)?;
    let columns = (0..grouping.output.fields().len()).collect();
    let grouping = Arc::new(grouping);
    let operator: Arc<dyn Operator> = match session {
        None => Arc::new(GroupBy { grouping, mode, table }),
        Some(start) => {
            let others = (0..keys).filter(|key| *key != start && *key != start + 1);
            let types: Vec<DataType> = others.map(|key| grouping.keys[key].clone()).collect();
            let codec = Arc::new(Codec::with_equality(&types, Equality::Grouping)?);
            let has_event_time = event_time == Some(start + 1);
            let index = TableId(table.0 + 1);
            Arc::new(Sessions { grouping, start, codec, mode, table, index, has_event_time })
        }
    };
    Ok(Built { rows: plan, operator, columns, schema })
}

/// An aggregate whose arguments are columns of rows that are not planned yet.
struct Draft {
    name: String,
    call: AggregateFunction,
    args: Vec<DraftArgument>,
    filter: Option<usize>,
}

enum DraftArgument {
    Column(usize),
    Constant(ScalarValue),
}

fn draft(expr: Expr, rows: &mut GroupRows) -> Result<Draft> {
    let name = expr.schema_name().to_string();
    let Expr::AggregateFunction(call) = expr.unalias() else {
        return Err(Error::internal("GROUP BY has an aggregate that is no function"));
    };
    if call.params.distinct {
        return Err(Error::config("sql has a DISTINCT aggregate, which is not supported over a stream")
            .hint("consider approx_count_distinct, or dropDuplicates on a view below it"));
    }
    if !call.params.order_by.is_empty() {
        return Err(Error::config(
            "sql has an aggregate with ORDER BY, which is not supported over a stream",
        ));
    }
    let mut args = Vec::with_capacity(call.params.args.len());
    for arg in &call.params.args {
        args.push(match constant(arg) {
            Some(value) => DraftArgument::Constant(value),
            None => DraftArgument::Column(rows.push(arg.clone())),
        });
    }
    let filter = call.params.filter.as_ref().map(|filter| rows.push(filter.as_ref().clone()));
    Ok(Draft { name, call, args, filter })
}

/// The value of an expression that reads no column.
fn constant(expr: &Expr) -> Option<ScalarValue> {
    if let Expr::Literal(value, _) = expr {
        return Some(value.clone());
    }
    if expr.any_column_refs() || expr.is_volatile() {
        return None;
    }
    let empty = datafusion::common::DFSchema::empty();
    let physical = create_physical_expr(expr, &empty, &Default::default(), &Default::default()).ok()?;
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let one = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options).ok()?;
    let array = physical.evaluate(&one).ok()?.into_array(1).ok()?;
    ScalarValue::try_from_array(&array, 0).ok()
}

fn grouping(
    drafts: Vec<Draft>,
    groups: Vec<GroupColumn>,
    keys: usize,
    event_time: Option<usize>,
    input: &SchemaRef,
    output: SchemaRef,
) -> Result<Grouping> {
    let mut aggregates = Vec::with_capacity(drafts.len());
    let (mut state_types, mut state_columns) = (Vec::new(), Vec::new());
    for draft in drafts {
        let expr = |argument: &DraftArgument| -> Arc<dyn PhysicalExpr> {
            match argument {
                DraftArgument::Column(n) => Arc::new(PhysicalColumn::new(input.field(*n).name(), *n)),
                DraftArgument::Constant(value) => Arc::new(Literal::new(value.clone())),
            }
        };
        let args = draft.args.iter().map(expr).collect();
        let ignore_nulls = draft.call.params.null_treatment == Some(NullTreatment::IgnoreNulls);
        let function = AggregateExprBuilder::new(Arc::clone(&draft.call.func), args)
            .schema(Arc::clone(input))
            .alias(draft.name.clone())
            .with_ignore_nulls(ignore_nulls)
            .build()
            .map_err(failed)?;
        let states = function.state_fields().map_err(failed)?;
        for field in &states {
            state_types.push(field.data_type().clone());
            let name = format!("{} of {}", field.name(), draft.name);
            state_columns.push(StateColumn::new(name, field.data_type()));
        }
        let argument = |argument: DraftArgument| match argument {
            DraftArgument::Column(n) => Argument::Column(n),
            DraftArgument::Constant(value) => Argument::Constant(value),
        };
        aggregates.push(Aggregate {
            function: Arc::new(function),
            args: draft.args.into_iter().map(argument).collect(),
            filter: draft.filter,
            states: states.len(),
        });
    }
    let key_types: Vec<DataType> =
        input.fields().iter().take(keys).map(|field| field.data_type().clone()).collect();
    let mut key_columns = Vec::new();
    for (group, field) in groups.iter().zip(output.fields()) {
        match group {
            GroupColumn::Key(_) => key_columns.push(named(field)),
            GroupColumn::Window(start) => {
                for (bound, key) in [("start", *start), ("end", *start + 1)] {
                    let name = format!("{}.{bound}", field.name());
                    key_columns.push(StateColumn::new(name, &key_types[key]));
                }
            }
        }
    }
    Ok(Grouping {
        input: Arc::clone(input),
        key_codec: Codec::with_equality(&key_types, Equality::Grouping)?,
        state_codec: Codec::new(&state_types)?,
        keys: key_types,
        event_time,
        groups,
        aggregates,
        output,
        key_columns,
        state_columns,
    })
}
