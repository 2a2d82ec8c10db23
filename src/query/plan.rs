//! A query of a stream, planned once: from its text to a physical plan that every batch runs.
//!
//! What is pinned here decides results, with nothing of a batch in it: the plan is the same for every lane and for a
//! replay.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::ViewTable;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode};
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion::sql::sqlparser::ast::Statement;
use futures::executor::block_on;

use super::clock::BatchClock;
use super::conf::Conf;
use super::rewrite::{Rewriter, twins};
use super::session::{Session, refused};
use super::slot::{Of, Slot, SlotExec};
use super::{check, concat, dialect, types};
use crate::decode::schema::StructType;
use crate::model::Result;
use crate::model::error::Context;

/// A relation that a query may name.
#[derive(Debug, Clone)]
pub struct Relation {
    /// Its name, compared without case.
    pub name: String,
    /// Its columns, as Arrow has them.
    pub schema: SchemaRef,
}

/// A named SELECT between the stream and the query: Spark's `createOrReplaceTempView`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Its name, compared without case.
    pub name: String,
    /// Its SELECT.
    pub sql: String,
}

/// What a query is made of.
#[derive(Debug, Clone)]
pub struct Definition {
    /// The stream, under the name that the query calls it by.
    pub input: Relation,
    /// Static tables, by the names that the query calls them by.
    pub tables: Vec<Relation>,
    /// Views, in order; each sees those before it.
    pub views: Vec<View>,
    /// The query.
    pub sql: String,
    /// Spark's settings.
    pub conf: Conf,
}

/// A planned query.
pub struct Query {
    pub(super) physical: Arc<dyn ExecutionPlan>,
    pub(super) clock: BatchClock,
    pub(super) session: Session,
    /// The columns of each relation that the plan reads: the stream's first, then the tables'.
    pub(super) used: Vec<Arc<[usize]>>,
    /// Per table, whether the plan reads it.
    reads: Vec<bool>,
    /// Whether state of the plan lives on from batch to batch: a hashed table.
    pub(super) keeps_tables: bool,
    logical: LogicalPlan,
    output: StructType,
    schema: SchemaRef,
}

impl Query {
    /// Plans a query.
    ///
    /// # Errors
    /// `Config`: it can't be parsed, names something that is not there, or needs state.
    pub fn plan(definition: &Definition) -> Result<Query> {
        let clock = BatchClock::default();
        let mut session = Session::new(&definition.conf, &clock);
        let relations = std::iter::once(&definition.input).chain(&definition.tables);
        for (place, relation) in relations.enumerate() {
            let of = if place == 0 { Of::Stream } else { Of::Table };
            let slot = Slot::new(place, of, &relation.name, Arc::clone(&relation.schema));
            session.add_table(&relation.name, Arc::new(slot));
        }
        for view in &definition.views {
            let plan = logical(&session, &view.sql).context(|| format!("plan view {}", view.name))?;
            session.add_table(&view.name, Arc::new(ViewTable::new(plan, None)));
        }
        let logical = logical(&session, &definition.sql).context(|| "plan sql".to_owned())?;
        let analyzed = session
            .state()
            .analyzer()
            .execute_and_check(logical, session.state().config_options(), |_, _| {})
            .map_err(|error| refused(&error))?;
        check::stateless(&analyzed)?;
        let (output, schema) = output(&analyzed)?;
        let optimized = session.state().optimizer().optimize(analyzed, session.state(), |_, _| {});
        let optimized = optimized.map_err(|error| refused(&error))?;
        let physical =
            block_on(session.state().query_planner().create_physical_plan(&optimized, session.state()))
                .map_err(|error| refused(&error))?;
        let physical = concat::one_partition(physical).map_err(|error| refused(&error))?;
        let physical = turn_joins(physical).map_err(|error| refused(&error))?;
        let places = 1 + definition.tables.len();
        let (used, reads) = used_columns(&physical, places);
        let keeps_tables = keeps_tables(&physical);
        Ok(Query { physical, clock, session, used, reads, keeps_tables, logical: optimized, output, schema })
    }

    /// The columns that come out.
    pub fn output(&self) -> &StructType {
        &self.output
    }

    /// The columns that come out, as Arrow has them.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Which of the stream's columns are read, ascending: batches must have these and no others.
    pub fn input_columns(&self) -> &[usize] {
        &self.used[0]
    }

    /// Which columns of a static table are read, ascending; `None` if it is not read at all.
    pub fn table_columns(&self, table: usize) -> Option<&[usize]> {
        let read = self.reads.get(table + 1).copied().unwrap_or_default();
        self.used.get(table + 1).filter(|_| read).map(AsRef::as_ref)
    }

    /// The plan as people read it, one operator a line.
    pub fn explain(&self) -> String {
        displayable(self.physical.as_ref()).indent(false).to_string()
    }

    /// The optimised logical plan, as people read it.
    pub fn explain_logical(&self) -> String {
        self.logical.display_indent().to_string()
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").field("plan", &self.explain()).finish_non_exhaustive()
    }
}

fn logical(session: &Session, sql: &str) -> Result<LogicalPlan> {
    let query = Rewriter::new(session).query(dialect::parse(sql)?)?;
    session.plan(Statement::Query(Box::new(query))).map_err(|error| refused(&error))
}

/// The columns that a plan gives, in Spark's types and in the Arrow form that the decoders use.
fn output(plan: &LogicalPlan) -> Result<(StructType, SchemaRef)> {
    let schema: &Schema = plan.schema().as_arrow();
    let mut names = BTreeSet::new();
    for field in schema.fields() {
        if !names.insert(field.name().to_lowercase()) {
            return Err(twins(field.name()));
        }
    }
    let output = types::of_schema(schema)?;
    let arrow = types::conformed(schema)?;
    Ok((output, Arc::new(arrow)))
}

/// Turns every join whose build side would read the stream: the build side is kept in the plan, so the second batch
/// would get the first one's rows.
fn turn_joins(plan: Arc<dyn ExecutionPlan>) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
    let turned = plan.transform_up(|node| {
        let [left, right] = node.children()[..] else { return Ok(Transformed::no(node)) };
        if !reads_stream(left) || reads_stream(right) {
            return Ok(Transformed::no(node));
        }
        if let Some(join) = node.downcast_ref::<HashJoinExec>() {
            // NOT IN cannot be turned: its plan is renewed for every batch.
            if join.null_aware {
                return Ok(Transformed::no(node));
            }
            return Ok(Transformed::yes(join.swap_inputs(PartitionMode::CollectLeft)?));
        }
        if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
            return Ok(Transformed::yes(join.swap_inputs()?));
        }
        if let Some(join) = node.downcast_ref::<CrossJoinExec>() {
            return Ok(Transformed::yes(join.swap_inputs()?));
        }
        Ok(Transformed::no(node))
    })?;
    Ok(turned.data)
}

fn reads_stream(plan: &Arc<dyn ExecutionPlan>) -> bool {
    match plan.downcast_ref::<SlotExec>() {
        Some(slot) => slot.of == Of::Stream,
        None => plan.children().into_iter().any(reads_stream),
    }
}

/// Whether the plan may be run again without a reset: it hashes static tables, and none of what it keeps reads the
/// stream.
fn keeps_tables(plan: &Arc<dyn ExecutionPlan>) -> bool {
    has_table(plan) && !keeps_stream(plan)
}

fn has_table(plan: &Arc<dyn ExecutionPlan>) -> bool {
    match plan.downcast_ref::<SlotExec>() {
        Some(slot) => slot.of == Of::Table,
        None => plan.children().into_iter().any(has_table),
    }
}

/// Whether a node that collects its first child reads the stream through it.
fn keeps_stream(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let children = plan.children();
    let collects = children.len() > 1 && plan.name() != "ConcatExec";
    let kept = collects && children.first().is_some_and(|first| reads_stream(first));
    // Only the operators of the stateless plans are known to keep nothing.
    kept || children.into_iter().any(keeps_stream)
}

/// Per slot, the columns that any of its leaves asks for, and whether there is a leaf.
fn used_columns(plan: &Arc<dyn ExecutionPlan>, places: usize) -> (Vec<Arc<[usize]>>, Vec<bool>) {
    fn collect(plan: &Arc<dyn ExecutionPlan>, used: &mut [BTreeSet<usize>], reads: &mut [bool]) {
        if let Some(slot) = plan.downcast_ref::<SlotExec>() {
            used[slot.place].extend(slot.columns.iter().copied());
            reads[slot.place] = true;
        }
        plan.children().into_iter().for_each(|child| collect(child, used, reads));
    }
    let (mut used, mut reads) = (vec![BTreeSet::new(); places], vec![false; places]);
    collect(plan, &mut used, &mut reads);
    (used.into_iter().map(|columns| columns.into_iter().collect()).collect(), reads)
}
