//! A filter asks its conditions one by one, as Spark's `FilterExec` does.
//!
//! The optimizer puts the conditions of filters that stand over each other into one, those of the lower filter first.
//! DataFusion's AND evaluates its right side also for rows whose left side is FALSE or NULL. So where a condition may
//! fail, the predicate becomes a CASE that leaves rows out before it.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, case, lit};
use datafusion::physical_expr::utils::split_conjunction;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};

use super::failing::physical_may_fail;

/// The last rule of the physical optimizer.
#[derive(Debug)]
pub(crate) struct OneByOne;

impl PhysicalOptimizerRule for OneByOne {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let changed = plan.transform_up(|node| {
            let Some(filter) = node.downcast_ref::<FilterExec>() else { return Ok(Transformed::no(node)) };
            let Some(predicate) = one_by_one(filter.predicate(), &filter.input().schema())? else {
                return Ok(Transformed::no(node));
            };
            let filter = FilterExecBuilder::from(filter).with_predicate(predicate).build()?;
            Ok(Transformed::yes(Arc::new(filter) as Arc<dyn ExecutionPlan>))
        })?;
        Ok(changed.data)
    }

    fn name(&self) -> &str {
        "one_by_one"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The predicate as a CASE; `None` if no condition behind the first may fail.
fn one_by_one(predicate: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let binary = |left, op, right| Arc::new(BinaryExpr::new(left, op, right)) as Arc<dyn PhysicalExpr>;
    let mut conjuncts = split_conjunction(predicate).into_iter().map(Arc::clone);
    let Some(mut before) = conjuncts.next() else { return Ok(None) };
    let mut branches = Vec::new();
    for conjunct in conjuncts {
        before = if physical_may_fail(&conjunct, schema) {
            branches.push((binary(before, Operator::IsDistinctFrom, lit(true)), lit(false)));
            conjunct
        } else {
            binary(before, Operator::And, conjunct)
        };
    }
    if branches.is_empty() { Ok(None) } else { case(None, branches, Some(before)).map(Some) }
}
