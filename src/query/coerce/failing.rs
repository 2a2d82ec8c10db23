//! Which expressions may raise an error for a row: those of a logical plan, and those of a physical one.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::{Expr, ExprSchemable, ScalarUDF};
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use crate::query::cast::Cast;
use crate::query::functions::scalar::SparkFunction;

/// Whether an expression may raise an error for a row.
pub(in crate::query) fn may_fail(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    let mut found = false;
    expr.apply(|node| {
        if let Expr::ScalarFunction(call) = node {
            let pattern = match call.args.as_slice() {
                [_, Expr::Literal(pattern, _)] => Some(pattern),
                _ => None,
            };
            found = call_may_fail(&call.func, pattern, || call.args.first()?.get_type(schema).ok());
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// As [`may_fail`], for an expression over columns of `schema`.
pub(super) fn physical_may_fail(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    let fails = expr.downcast_ref::<ScalarFunctionExpr>().is_some_and(|call| {
        let pattern = match call.args() {
            [_, pattern] => pattern.downcast_ref::<Literal>().map(Literal::value),
            _ => None,
        };
        call_may_fail(call.fun(), pattern, || call.args().first()?.data_type(schema).ok())
    });
    fails || expr.children().into_iter().any(|child| physical_may_fail(child, schema))
}

/// Whether a call may fail, whose second and last argument is the literal `pattern`, and whose first one has the type
/// `argument`.
fn call_may_fail(
    function: &ScalarUDF,
    pattern: Option<&ScalarValue>,
    argument: impl FnOnce() -> Option<DataType>,
) -> bool {
    let inner = function.inner();
    if let Some(cast) = inner.downcast_ref::<Cast>() {
        return argument().is_none_or(|from| cast.may_fail(&from));
    }
    inner.downcast_ref::<SparkFunction>().is_some_and(|function| match (function.name(), pattern) {
        // Only an escape may stand where it must not.
        ("like" | "ilike", Some(ScalarValue::Utf8(Some(pattern)))) => pattern.contains('\\'),
        _ => !function.is_total(),
    })
}
