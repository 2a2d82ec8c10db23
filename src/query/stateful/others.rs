//! Which columns a key or an argument of a GROUP BY is not: so a column that is renamed is told from one that another takes the
//! place of.

use datafusion::logical_expr::{Expr, LogicalPlan};

use super::logical::column;

/// The columns beside those that an expression over `input` reads, there and in what it is selected from. A column that it reads
/// is none of them under any of its names.
pub(super) fn others(expr: &Expr, input: &LogicalPlan) -> Vec<String> {
    let (mut own, mut all) = (Vec::new(), Vec::new());
    let (mut plan, mut expr) = (input, expr.clone());
    loop {
        own.extend(expr.column_refs().into_iter().map(|column| column.name.clone()));
        all.extend(plan.schema().fields().iter().map(|field| field.name().clone()));
        match below(&expr, plan) {
            Some(below) => (expr, plan) = below,
            None => break,
        }
    }
    all.retain(|name| !own.contains(name));
    all
}

/// What a column is in the plan below the one that gives it.
fn below<'a>(expr: &Expr, plan: &'a LogicalPlan) -> Option<(Expr, &'a LogicalPlan)> {
    let Expr::Column(read) = expr else { return None };
    let n = plan.schema().maybe_index_of_column(read)?;
    let [input] = plan.inputs()[..] else { return None };
    let value = match plan {
        LogicalPlan::Projection(projection) => projection.expr.get(n)?.clone().unalias_nested().data,
        LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Extension(_) => {
            column(input, n)?
        }
        _ => return None,
    };
    Some((value, input))
}
