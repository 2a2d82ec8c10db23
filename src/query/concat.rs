//! UNION ALL as one sequence: the rows of the first branch, then those of the next.
//!
//! DataFusion's own operator has a partition for each branch, and joins them with tasks of a runtime that a lane has
//! not. A plan here has one partition everywhere; [`one_partition`] sees to that.

use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};

/// The branches of a UNION ALL, one after the other.
#[derive(Debug)]
pub(super) struct ConcatExec {
    branches: Vec<Arc<dyn ExecutionPlan>>,
    properties: Arc<PlanProperties>,
}

/// Puts the branches of every union into one partition.
///
/// # Errors
/// `Internal` if the plan still has more than one: rows of the others would be lost.
pub(super) fn one_partition(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let made = plan.transform_up(|node| {
        if node.downcast_ref::<UnionExec>().is_some() {
            let branches = node.children().into_iter().cloned().collect();
            return Ok(Transformed::yes(Arc::new(ConcatExec::new(branches, &node)) as _));
        }
        if node.downcast_ref::<CoalescePartitionsExec>().is_some()
            && let [only] = node.children()[..]
            && only.output_partitioning().partition_count() == 1
        {
            return Ok(Transformed::yes(Arc::clone(only)));
        }
        Ok(Transformed::no(node))
    })?;
    let wrong = made.data.exists(|node| Ok(node.output_partitioning().partition_count() != 1))?;
    if wrong {
        return internal_err!("the plan has an operator with several partitions");
    }
    Ok(made.data)
}

impl ConcatExec {
    fn new(branches: Vec<Arc<dyn ExecutionPlan>>, union: &Arc<dyn ExecutionPlan>) -> ConcatExec {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(union.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        ConcatExec { branches, properties: Arc::new(properties) }
    }
}

impl DisplayAs for ConcatExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConcatExec: {} branches", self.branches.len())
    }
}

impl ExecutionPlan for ConcatExec {
    fn name(&self) -> &'static str {
        "ConcatExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.branches.iter().collect()
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
        Ok(Arc::new(ConcatExec { branches: children, properties: Arc::clone(&self.properties) }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let branches = self.branches.iter().map(|branch| branch.execute(partition, Arc::clone(&context)));
        let branches = branches.collect::<Result<Vec<_>>>()?;
        let target = Arc::clone(&schema);
        // A branch names its columns in its own way.
        let renamed = move |rows: RecordBatch| {
            let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
            RecordBatch::try_new_with_options(Arc::clone(&target), rows.columns().to_vec(), &options)
                .map_err(DataFusionError::from)
        };
        let rows = stream::iter(branches).flatten().and_then(move |rows| std::future::ready(renamed(rows)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}
