//! Where a plan takes its rows from: empty places that each execution fills.
//!
//! A slot stands for the stream or for a static table. The rows travel in the `TaskContext`, so one physical plan
//! serves every batch, in several lanes at once. A slot reports no statistics: a count taken from them would be
//! folded into the plan and outlive its batch.

use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, internal_datafusion_err, internal_err};
use datafusion::datasource::source_as_provider;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};

use super::stateful::observed::Observed;

/// The column of a stream that numbers its records, which no SQL can name ([`super::record`]). A table cannot hold a
/// column of this name.
pub(crate) const RECORD: &str = "(record)";

/// What a slot stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// A stream: other rows in every batch.
    Stream,
    /// A static table: the same rows until its version changes.
    Table,
}

/// Which relations have which places: streams first, then static tables, then operators.
#[derive(Debug, Clone, Copy)]
pub(in crate::query) struct Places {
    pub(in crate::query) streams: usize,
    pub(in crate::query) tables: usize,
}

/// A relation of a query whose rows come later.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Its place in [`Inputs`].
    pub(crate) place: usize,
    /// What it stands for.
    pub(crate) of: Of,
    name: String,
    schema: SchemaRef,
}

impl Slot {
    pub(crate) fn new(place: usize, of: Of, name: &str, schema: SchemaRef) -> Slot {
        Slot { place, of, name: name.to_owned(), schema }
    }
}

impl Slot {
    /// The slot that a scan reads.
    pub(crate) fn of_scan(plan: &LogicalPlan) -> Option<Slot> {
        let LogicalPlan::TableScan(scan) = plan else { return None };
        let provider = source_as_provider(&scan.source).ok()?;
        let slot = provider.downcast_ref::<Slot>()?;
        Some(Slot::new(slot.place, slot.of, &slot.name, Arc::clone(&slot.schema)))
    }

    /// The same with other columns.
    pub(crate) fn with_schema(&self, schema: SchemaRef) -> Slot {
        Slot::new(self.place, self.of, &self.name, schema)
    }

    /// Its columns.
    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// The rows of one execution.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// By the slots' places.
    pub(crate) relations: Vec<Relation>,
    /// Where watermarks note the times that they see.
    pub(crate) observed: Option<Arc<Observed>>,
}

/// The rows of one slot.
#[derive(Debug, Clone, Default)]
pub(crate) struct Relation {
    /// Which columns of the slot's schema the rows have, ascending.
    pub(crate) columns: Arc<[usize]>,
    /// The rows.
    pub(crate) batches: Arc<Vec<RecordBatch>>,
}

#[async_trait::async_trait]
impl TableProvider for Slot {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = match projection {
            Some(columns) => columns.clone(),
            None => (0..self.schema.fields().len()).collect(),
        };
        let schema = Arc::new(self.schema.project(&columns)?);
        Ok(Arc::new(SlotExec::new(self.place, self.of, &self.name, columns, schema)))
    }
}

/// The leaf of a physical plan.
#[derive(Debug)]
pub(crate) struct SlotExec {
    /// Its place in [`Inputs`].
    pub(crate) place: usize,
    /// What it stands for.
    pub(crate) of: Of,
    /// The columns that the plan asks for.
    pub(crate) columns: Vec<usize>,
    name: String,
    properties: Arc<PlanProperties>,
}

impl SlotExec {
    fn new(place: usize, of: Of, name: &str, columns: Vec<usize>, schema: SchemaRef) -> SlotExec {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        SlotExec { place, of, columns, name: name.to_owned(), properties: Arc::new(properties) }
    }

    fn rows(&self, relation: &Relation) -> Result<Vec<RecordBatch>> {
        let position = |column: &usize| {
            relation
                .columns
                .binary_search(column)
                .map_err(|_| internal_datafusion_err!("column {column} of {} was not handed over", self.name))
        };
        let positions = self.columns.iter().map(position).collect::<Result<Vec<_>>>()?;
        let schema = self.properties.eq_properties.schema();
        let project = |batch: &RecordBatch| {
            let columns = positions.iter().map(|index| Arc::clone(batch.column(*index))).collect();
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
                .map_err(DataFusionError::from)
        };
        relation.batches.iter().map(project).collect()
    }
}

impl DisplayAs for SlotExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.properties.eq_properties.schema();
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let names: Vec<&str> = names.filter(|name| *name != RECORD).collect();
        let kind = match self.of {
            Of::Stream => "Stream",
            Of::Table => "Table",
        };
        write!(f, "{kind} {} [{}]", self.name, names.join(", "))
    }
}

impl ExecutionPlan for SlotExec {
    fn name(&self) -> &'static str {
        "SlotExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(inputs) = context.session_config().get_extension::<Inputs>() else {
            return internal_err!("a plan was run without rows");
        };
        let Some(relation) = inputs.relations.get(self.place) else {
            return internal_err!("there are no rows for {}", self.name);
        };
        let schema = Arc::clone(self.properties.eq_properties.schema());
        Ok(Box::pin(MemoryStream::try_new(self.rows(relation)?, schema, None)?))
    }
}
