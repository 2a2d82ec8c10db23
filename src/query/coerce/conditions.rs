//! Conditions: which of their operands are evaluated for which rows.

use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan, Operator};

use super::Coercion;
use super::chain::{joined, operands};
use super::failing::may_fail;

impl Coercion {
    /// The condition of a WHERE, a HAVING or an ON, which takes NULL for FALSE. As in Spark, a conjunct that may fail
    /// is evaluated only for rows for which those before it are true.
    ///
    /// [`super::filters`] sees to that in one filter. If the conjuncts may come `apart`, those that cannot fail stay operands
    /// of AND, for joins find their keys among them and the optimizer moves them; those that may fail take the ones
    /// before them along.
    pub(super) fn condition(&self, condition: Expr, apart: bool, schema: &DFSchema) -> Result<Expr> {
        let mut conjuncts = operands(condition, Operator::And);
        if conjuncts.len() == 1 {
            return self.expression(conjuncts.remove(0), schema);
        }
        let coerced = conjuncts.into_iter().map(|conjunct| {
            let conjunct = self.expression(conjunct, schema)?;
            self.boolean(conjunct, schema)
        });
        let conjuncts = coerced.collect::<Result<Vec<_>>>()?;
        let mut apart = apart;
        for conjunct in &conjuncts {
            // Where the clock is among the conjuncts, the optimizer leaves them in an order that is not the written one.
            apart |= has_subquery(conjunct)? || conjunct.is_volatile();
        }
        let last = if apart { self.last_failing(&conjuncts, schema)? } else { 0 };
        if last == 0 {
            return Ok(joined(conjuncts, Operator::And));
        }
        let branches = deciding(&conjuncts[..=last], Operator::And, Expr::IsNotTrue, schema)?;
        let guarded = self.lazily(branches, Some(conjuncts[last].clone()), schema)?;
        let mut plain = Vec::with_capacity(conjuncts.len() + 1);
        for (at, conjunct) in conjuncts.into_iter().enumerate() {
            // A subquery becomes a join: it is not made twice. But only as an operand of AND, NOT IN becomes the join that
            // knows NULL.
            let is_made = at < last && has_subquery(&conjunct)? && !is_not_in(&conjunct);
            let is_guarded = at > 0 && may_fail(&conjunct, schema)? || is_made;
            if !is_guarded {
                plain.push(conjunct);
            }
        }
        plain.push(guarded);
        Ok(joined(plain, Operator::And))
    }

    /// The place of the last operand that may fail; 0 if none behind the first one may.
    fn last_failing(&self, operands: &[Expr], schema: &DFSchema) -> Result<usize> {
        let mut last = 0;
        for (at, operand) in operands.iter().enumerate().skip(1) {
            if self.conf.ansi && may_fail(operand, schema)? {
                last = at;
            }
        }
        Ok(last)
    }

    /// AND and OR of any number of operands: what may fail runs only where those before it do not decide.
    pub(super) fn connect(&self, operands: Vec<Expr>, op: Operator, schema: &DFSchema) -> Result<Expr> {
        let operands = operands.into_iter().map(|operand| self.boolean(operand, schema));
        let operands = operands.collect::<Result<Vec<_>>>()?;
        let last = self.last_failing(&operands, schema)?;
        if last == 0 {
            return Ok(joined(operands, op));
        }
        let decides = if op == Operator::And { Expr::IsFalse } else { Expr::IsTrue };
        let branches = deciding(&operands[..=last], op, decides, schema)?;
        self.lazily(branches, Some(joined(operands, op)), schema)
    }
}

/// The branches of a CASE for a chain of `op`: what stands before an operand that may fail gives the result where
/// it `decides`.
fn deciding(
    operands: &[Expr],
    op: Operator,
    decides: fn(Box<Expr>) -> Expr,
    schema: &DFSchema,
) -> Result<Vec<(Expr, Expr)>> {
    let mut branches = Vec::new();
    let mut before = Vec::new();
    for operand in operands {
        if !before.is_empty() && may_fail(operand, schema)? {
            let before = joined(std::mem::take(&mut before), op);
            let result = Expr::Literal(ScalarValue::from(op == Operator::Or), None);
            branches.push((decides(Box::new(before)), result));
        }
        before.push(operand.clone());
    }
    Ok(branches)
}

/// Whether the optimizer may take the conjuncts of a filter over `plan` apart: some go below a join, a watermark or
/// an aggregate, others do not, and those on a column with the clock in it stay above the column. Filters that stay
/// together are one.
pub(super) fn separates(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Filter(_) | LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => {
            plan.expressions().iter().any(Expr::is_volatile) || plan.inputs().into_iter().any(separates)
        }
        LogicalPlan::TableScan(_) => false,
        _ => true,
    }
}

fn is_not_in(expr: &Expr) -> bool {
    match expr {
        Expr::InSubquery(subquery) => subquery.negated,
        Expr::Not(inner) => matches!(inner.as_ref(), Expr::InSubquery(subquery) if !subquery.negated),
        _ => false,
    }
}

fn has_subquery(expr: &Expr) -> Result<bool> {
    expr.exists(|node| {
        Ok(matches!(
            node,
            Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) | Expr::ScalarSubquery(_)
        ))
    })
}
