//! What the passes over a logical plan share.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan};

/// The rows of a plan for which a condition is true.
pub(super) fn filtered(condition: Expr, input: LogicalPlan) -> Result<LogicalPlan> {
    Ok(LogicalPlan::Filter(Filter::try_new(condition, Arc::new(input))?))
}

/// `name`, with a number if it is among `taken`.
pub(super) fn unique(name: String, taken: &[String]) -> String {
    let (mut unique, mut number) = (name.clone(), 1);
    while taken.contains(&unique) {
        number += 1;
        unique = format!("{name} {number}");
    }
    unique
}

/// Column `n` of a plan.
pub(super) fn column(plan: &LogicalPlan, n: usize) -> Option<Expr> {
    plan.schema().columns().get(n).cloned().map(Expr::Column)
}
