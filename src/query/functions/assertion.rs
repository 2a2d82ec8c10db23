//! What a query says of itself, and what it demands of its rows: `typeof`, `current_timezone`, `raise_error`, `assert_true`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, NullArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, plan_err};

use super::Entry;
use super::scalar::{Bind, Bound, Call, Types, count, entry, takes};
use crate::query::coerce::types::{Want, castable, name_of, refused, simple_name};
use crate::query::error::ExpressionError;

/// The functions.
pub(crate) const ENTRIES: &[Entry] = &[
    entry!("typeof", takes!([Any] => DataType::Utf8), type_of, ["expressions/forms"]),
    entry!(
        "current_timezone",
        takes!([] => DataType::Utf8),
        |call| Ok(Arc::new(StringArray::from(vec![call.conf.zone_id.as_str(); call.rows]))),
        ["expressions/forms"]
    ),
    entry!("raise_error", takes!([Text] => DataType::Null), raise_error, ["expressions/forms"]),
    entry!("assert_true", Types::By(bind_assert), assert_true, ["expressions/forms"]),
];

/// What `typeof` says of a type.
///
/// # Errors
/// Of a value that was made of `INTERVAL 1 DAY` or `make_interval()` the units are not known.
pub(crate) fn type_name(kind: &DataType) -> Result<String> {
    match kind {
        DataType::Interval(_) => {
            plan_err!("typeof() of what is computed from an INTERVAL is not supported in sql")
        }
        kind => Ok(simple_name(kind)),
    }
}

/// Of the variable of a lambda; everything else is known when the query is planned.
fn type_of(call: &Call) -> Result<ArrayRef> {
    let name = type_name(call.args[0].data_type())?;
    Ok(Arc::new(StringArray::from(vec![name.as_str(); call.rows])))
}

/// The expression in the message says what was raised: a value of the record is in no message.
fn raised(message: &str) -> DataFusionError {
    ExpressionError::raise("USER_RAISED_EXCEPTION", message)
}

/// A call without rows is not run.
fn raise_error(_call: &Call) -> Result<ArrayRef> {
    Err(raised("the query raises an error"))
}

/// `assert_true(condition[, message])`. Only a BOOLEAN is a condition.
fn bind_assert(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 2)?;
    if !matches!(bind.types[0], DataType::Boolean | DataType::Null) {
        return Err(refused(
            "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
            format!("assert_true takes BOOLEAN, not {}", name_of(&bind.types[0])),
        ));
    }
    let mut args = vec![DataType::Boolean];
    if let Some(message) = bind.types.get(1) {
        args.push(castable(bind, message, Want::Text)?);
    }
    Ok(Bound::new(args, DataType::Null))
}

/// NULL where the condition is true; FALSE and NULL fail.
fn assert_true(call: &Call) -> Result<ArrayRef> {
    let condition = call.flags(0);
    if (0..call.rows).all(|row| condition.is_valid(row) && condition.value(row)) {
        return Ok(Arc::new(NullArray::new(call.rows)));
    }
    Err(raised("a condition is not true"))
}
