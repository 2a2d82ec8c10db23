//! Rows that are of no record: those of static tables, and of groups.
//!
//! Nobody could reject them. So what functions make of them is not bounded by what may be made
//! of one record ([`RecordBytes`]) in a stream with little memory, but by the most for any stream.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::functions::lambda;
use super::functions::scalar::SparkFunction;
use super::record_bytes::RecordBytes;
use super::slot::RECORD;

/// The same plan, in which calls over rows without the number of a record have the bound of any stream. `record_bytes` is what
/// all calls have.
///
/// # Errors
/// `Internal` if the plan cannot be put together again.
pub(super) fn unbounded(plan: LogicalPlan, record_bytes: RecordBytes) -> Result<LogicalPlan> {
    if record_bytes == RecordBytes::default() {
        return Ok(plan);
    }
    let plan = plan.transform_up_with_subqueries(|node| {
        if !node.inputs().into_iter().any(has_record) {
            return node.map_expressions(calls);
        }
        let mut join = match node {
            LogicalPlan::Join(join) => join,
            other => return Ok(Transformed::no(other)),
        };
        // The keys of a table are computed of its rows alone.
        let (left, right) = (has_record(&join.left), has_record(&join.right));
        for (of_left, of_right) in &mut join.on {
            if !left {
                *of_left = calls(of_left.clone())?.data;
            }
            if !right {
                *of_right = calls(of_right.clone())?.data;
            }
        }
        Ok(Transformed::yes(LogicalPlan::Join(join)))
    })?;
    Ok(plan.data)
}

fn has_record(plan: &LogicalPlan) -> bool {
    plan.schema().fields().iter().any(|field| field.name() == RECORD)
}

fn calls(expr: Expr) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| Ok(call(expr)))
}

fn call(expr: Expr) -> Transformed<Expr> {
    let most = RecordBytes::default();
    match expr {
        Expr::ScalarFunction(mut call) => {
            let bounded = call.func.inner().downcast_ref::<SparkFunction>().map(|f| f.bounded(most));
            match bounded {
                None => Transformed::no(Expr::ScalarFunction(call)),
                Some(function) => {
                    call.func = Arc::new(function);
                    Transformed::yes(Expr::ScalarFunction(call))
                }
            }
        }
        Expr::HigherOrderFunction(mut call) => match lambda::bounded(&call.func, most) {
            None => Transformed::no(Expr::HigherOrderFunction(call)),
            Some(function) => {
                call.func = Arc::new(function);
                Transformed::yes(Expr::HigherOrderFunction(call))
            }
        },
        other => Transformed::no(other),
    }
}
