//! Chains of AND or OR: their operands, and trees of them that are not deep.

use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

/// The operands of a chain of `op`, in their order; an expression of another kind is one operand.
pub(super) fn operands(expr: Expr, op: Operator) -> Vec<Expr> {
    let (mut open, mut operands) = (vec![expr], Vec::new());
    while let Some(expr) = open.pop() {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op: own, right }) if own == op => {
                open.extend([*right, *left]);
            }
            other => operands.push(other),
        }
    }
    operands
}

/// A balanced tree of `op` over one operand or more, in their order.
pub(super) fn joined(operands: Vec<Expr>, op: Operator) -> Expr {
    balanced(operands, &|left, right| Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))))
}

/// A balanced tree over one operand or more, in their order; `join` makes an expression of two.
pub(crate) fn balanced<E>(mut operands: Vec<E>, join: &impl Fn(E, E) -> E) -> E {
    if operands.len() == 1 {
        return operands.remove(0);
    }
    let right = operands.split_off(operands.len().div_ceil(2));
    join(balanced(operands, join), balanced(right, join))
}
