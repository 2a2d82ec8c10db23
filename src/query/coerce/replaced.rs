//! Calls in whose place another one is planned, by the types of their arguments.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::{Expr, ExprSchemable};

use super::types::refused;
use crate::query::cast::Cast;

/// Whether an expression has the variable of a lambda in it, whose type is known only when the lambda's passes are over.
pub(super) fn has_variable(expr: &Expr) -> Result<bool> {
    expr.exists(|node| Ok(matches!(node, Expr::LambdaVariable(_))))
}

/// The bytes that were cast to a text, or the argument as it is: bytes that are no UTF-8 would be replaced by the cast.
///
/// # Errors
/// If the argument has no type.
pub(super) fn bytes_of(arg: Expr, schema: &DFSchema) -> Result<Expr> {
    let Expr::ScalarFunction(call) = &arg else { return Ok(arg) };
    match call.args.as_slice() {
        [bytes]
            if call.func.inner().downcast_ref::<Cast>().is_some()
                && arg.get_type(schema)? == DataType::Utf8
                && bytes.get_type(schema)? == DataType::Binary =>
        {
            Ok(bytes.clone())
        }
        _ => Ok(arg),
    }
}

/// `to_char` of a moment or of bytes, as the other function that Spark makes of it, with its arguments.
///
/// # Errors
/// The format of bytes is none of Spark's.
pub(super) fn written_otherwise(
    args: &[Expr],
    schema: &DFSchema,
) -> Result<Option<(&'static str, Vec<Expr>)>> {
    let [value, format] = args else { return Ok(None) };
    match value.get_type(schema)? {
        DataType::Date32 | DataType::Timestamp(..) => Ok(Some(("date_format", args.to_vec()))),
        DataType::Binary => {
            let Expr::Literal(ScalarValue::Utf8(Some(name)), _) = format else {
                return Err(refused("NON_FOLDABLE_ARGUMENT", "to_char: the format of bytes is a literal"));
            };
            let value = value.clone();
            Ok(Some(match name.to_ascii_lowercase().as_str() {
                "base64" => ("base64", vec![value]),
                "hex" => ("hex", vec![value]),
                "utf-8" => ("decode", vec![value, format.clone()]),
                _ => {
                    return Err(refused(
                        "INVALID_PARAMETER_VALUE.BINARY_FORMAT",
                        "to_char: the format of bytes is base64, hex or utf-8",
                    ));
                }
            }))
        }
        _ => Ok(None),
    }
}
