//! Event time: which column carries it, and how far it has come.
//!
//! `EventTimeWatermark` stands in a plan where Spark's does: above the source or view that declares it. It passes
//! rows on and notes their times. A column carries the mark in its field's metadata, as Spark's attributes do: a
//! plain column keeps it through SELECT and alias, `window()` hands it on, every other expression loses it.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Field;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, DFSchemaRef, Result, internal_err};
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use futures::StreamExt;

use super::observed::EventTimes;
use crate::query::clock::BatchClock;
use crate::query::slot::Inputs;

/// Marks the column that carries the event time. A mark of its own, because a UNION of watermarks with different delays
/// keeps only what they have in common.
const EVENT_TIME: &str = "spark.eventTime";
/// The delay of its watermark in milliseconds.
const DELAY: &str = "spark.watermarkDelayMs";
/// Marks a column that `window` or `session_window` made; the value is [`TUMBLING`] or [`SESSION`].
const WINDOW: &str = "spark.timeWindow";
/// The length, slide and start of such a window, or the gap of such a session, as [`shape_of`] gives them.
const SHAPE: &str = "spark.timeWindowShape";
/// A window of fixed length.
pub(in crate::query) const TUMBLING: &str = "window";
/// A session.
pub(in crate::query) const SESSION: &str = "session";

/// Whether a column carries the event time.
pub(in crate::query) fn is_event_time(field: &Field) -> bool {
    field.metadata().contains_key(EVENT_TIME)
}

/// The delay, in milliseconds, of the watermark whose event time a column carries; `None` for a UNION of several.
pub(super) fn delay_of(field: &Field) -> Option<i64> {
    field.metadata().get(DELAY).and_then(|text| text.parse().ok())
}

/// What the metadata of a window's column are, made from the column of the times; `shape` is what [`shape_of`] gives.
pub(in crate::query) fn window_metadata(time: &Field, kind: &str, shape: String) -> HashMap<String, String> {
    let mut metadata: HashMap<String, String> = [EVENT_TIME, DELAY]
        .into_iter()
        .filter_map(|key| time.metadata().get(key).map(|value| (key.to_owned(), value.clone())))
        .collect();
    metadata.insert(WINDOW.to_owned(), kind.to_owned());
    metadata.insert(SHAPE.to_owned(), shape);
    metadata
}

/// What the metadata are of a time that is made from a window: those of the window's event time.
pub(in crate::query) fn metadata_of_time(window: &Field) -> HashMap<String, String> {
    let mut metadata = window.metadata().clone();
    metadata.retain(|key, _| key != WINDOW && key != SHAPE);
    metadata
}

/// How long the windows of a column are and where they begin, or the gap of its sessions; `None` for a UNION of several.
pub(super) fn shape_of(field: &Field) -> Option<&str> {
    field.metadata().get(SHAPE).map(String::as_str)
}

/// Whether a column is a window that `window()` or `session_window()` made.
pub(in crate::query) fn is_window(field: &Field) -> bool {
    field.metadata().contains_key(WINDOW)
}

/// Whether a column is a session.
pub(in crate::query) fn is_session(field: &Field) -> bool {
    field.metadata().get(WINDOW).is_some_and(|kind| kind == SESSION)
}

/// The node of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::query) struct EventTimeWatermark {
    input: LogicalPlan,
    column: usize,
    delay_ms: i64,
    /// How far ahead of the clock an event time may be and still raise the watermark.
    max_future_skew_ms: Option<i64>,
    /// Its number in the query.
    number: usize,
    schema: DFSchemaRef,
}

/// The numbers of the watermarks that a plan reads: a view that is not used has none in it.
pub(in crate::query) fn read_watermarks(plan: &LogicalPlan) -> Result<HashSet<usize>> {
    let mut read = HashSet::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Extension(Extension { node }) = node
            && let Some(watermark) = node.as_any().downcast_ref::<EventTimeWatermark>()
        {
            read.insert(watermark.number);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(read)
}

impl EventTimeWatermark {
    /// A watermark on column `column` of `input`, with its delay and how far ahead of the clock event times may raise it, in
    /// milliseconds.
    pub(in crate::query) fn plan(
        input: LogicalPlan,
        column: usize,
        (delay_ms, max_future_skew_ms): (i64, Option<i64>),
        number: usize,
    ) -> Result<LogicalPlan> {
        let mut fields = Vec::new();
        for (index, (qualifier, field)) in input.schema().iter().enumerate() {
            let mut field = Arc::clone(field);
            if index == column {
                let mut metadata = field.metadata().clone();
                metadata.insert(EVENT_TIME.to_owned(), "true".to_owned());
                metadata.insert(DELAY.to_owned(), delay_ms.to_string());
                field = Arc::new(field.as_ref().clone().with_metadata(metadata));
            }
            fields.push((qualifier.cloned(), field));
        }
        let schema = DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?;
        let schema = Arc::new(schema);
        let node = EventTimeWatermark { input, column, delay_ms, max_future_skew_ms, number, schema };
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }
}

impl PartialOrd for EventTimeWatermark {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for EventTimeWatermark {
    fn name(&self) -> &str {
        "EventTimeWatermark"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    /// Filters on other columns go below, as Spark moves them: the rows that they take away raise no watermark.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        HashSet::from([self.schema.field(self.column).name().clone()])
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.schema.field(self.column).name();
        write!(f, "EventTimeWatermark {name}, delay {} ms", self.delay_ms)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Some(input) = inputs.into_iter().next() else {
            return internal_err!("a watermark without an input");
        };
        let (qualifier, field) = self.schema.qualified_field(self.column);
        let column =
            input.schema().iter().position(|(of, other)| of == qualifier && other.name() == field.name());
        let Some(column) = column else {
            return internal_err!("a watermark's input lost the column {}", field.name());
        };
        match EventTimeWatermark::plan(input, column, (self.delay_ms, self.max_future_skew_ms), self.number)?
        {
            LogicalPlan::Extension(made) => match made.node.as_any().downcast_ref::<Self>() {
                Some(node) => Ok(node.clone()),
                None => internal_err!("a watermark became another node"),
            },
            _ => internal_err!("a watermark became another node"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let mut needed = output_columns.to_vec();
        needed.push(self.column);
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}

/// Plans our own nodes.
#[derive(Debug)]
pub(in crate::query) struct Planner {
    /// The time of the micro-batch.
    pub(in crate::query) clock: BatchClock,
}

#[async_trait::async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        state: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(Watermarks {
            clock: self.clock.clone(),
        })]);
        planner.create_physical_plan(plan, state).await
    }
}

struct Watermarks {
    clock: BatchClock,
}

#[async_trait::async_trait]
impl ExtensionPlanner for Watermarks {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        _state: &dyn Session,
        _planning: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<EventTimeWatermark>() else { return Ok(None) };
        let [input] = physical_inputs else { return internal_err!("a watermark without an input") };
        let schema = Arc::new(node.schema.as_arrow().clone());
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Some(Arc::new(WatermarkExec {
            input: Arc::clone(input),
            column: node.column,
            number: node.number,
            limit: Limit { clock: self.clock.clone(), max_future_skew_ms: node.max_future_skew_ms },
            properties: Arc::new(properties),
        })))
    }
}

/// Notes the event times of the rows that pass.
#[derive(Debug)]
struct WatermarkExec {
    input: Arc<dyn ExecutionPlan>,
    column: usize,
    number: usize,
    limit: Limit,
    properties: Arc<PlanProperties>,
}

/// Up to where event times raise a watermark.
#[derive(Debug, Clone)]
struct Limit {
    clock: BatchClock,
    max_future_skew_ms: Option<i64>,
}

impl Limit {
    /// In the micro-batch that runs, in milliseconds since the Unix epoch.
    fn ms(&self) -> i64 {
        let now = self.clock.micros().div_euclid(1000);
        self.max_future_skew_ms.map_or(i64::MAX, |skew| now.saturating_add(skew))
    }
}

impl WatermarkExec {
    fn over(&self, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<WatermarkExec> {
        let Some(input) = children.into_iter().next() else {
            return internal_err!("a watermark without an input");
        };
        let properties = Arc::clone(&self.properties);
        let limit = self.limit.clone();
        Ok(WatermarkExec { input, column: self.column, number: self.number, limit, properties })
    }
}

impl DisplayAs for WatermarkExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.properties.eq_properties.schema();
        write!(f, "Watermark on {}", schema.field(self.column).name())
    }
}

impl ExecutionPlan for WatermarkExec {
    fn name(&self) -> &'static str {
        "WatermarkExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(self.over(children)?))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let inputs = context.session_config().get_extension::<Inputs>();
        let Some(observed) = inputs.and_then(|inputs| inputs.observed.clone()) else {
            return internal_err!("a plan with a watermark was run without a place for its event times");
        };
        let rows = self.input.execute(partition, context)?;
        let schema = Arc::clone(self.properties.eq_properties.schema());
        let (column, number, given) = (self.column, self.number, Arc::clone(&schema));
        let limit = self.limit.ms();
        let noted = rows.map(move |batch| {
            let batch = batch?;
            observed.note(number, &EventTimes::of(batch.column(column), limit)?);
            Ok(RecordBatch::try_new(Arc::clone(&given), batch.columns().to_vec())?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, noted)))
    }
}
