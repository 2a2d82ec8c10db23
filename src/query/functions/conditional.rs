//! Functions that choose among values. Those that must not evaluate what they do not choose become a CASE
//! (`query::coerce`), so only their types are said here.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::{is_not_null, is_null};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::Expr;

use super::Entry;
use super::scalar::{Bind, Bound, Call, Types, count, entry, takes};
use crate::decode::schema::DataType as SparkType;
use crate::query::coerce::types::{common, is_float, mismatch, name_of, refused};

/// Functions over null and conditions.
pub(crate) const ENTRIES: &[Entry] = &[
    entry!(
        "coalesce",
        Types::By(|bind| one_type(bind, 0)),
        rewritten,
        ["stateless/coalesce_nvl_nullif_ifnull", "expressions/conditional"]
    ),
    entry!(
        "nvl" | "ifnull",
        Types::By(|bind| one_type(bind, 0)),
        rewritten,
        ["stateless/coalesce_nvl_nullif_ifnull", "expressions/conditional"]
    ),
    entry!(
        "nvl2",
        Types::By(|bind| one_type(bind, 1)),
        rewritten,
        ["stateless/coalesce_nvl_nullif_ifnull", "expressions/conditional"]
    ),
    entry!(
        "if",
        Types::By(|bind| one_type(bind, 1)),
        rewritten,
        ["stateless/coalesce_nvl_nullif_ifnull", "expressions/conditional"]
    ),
    entry!(
        "nullif",
        Types::By(first_type),
        rewritten,
        ["stateless/coalesce_nvl_nullif_ifnull", "expressions/conditional"]
    ),
    entry!("nullifzero", Types::By(first_type), rewritten, ["expressions/conditional"]),
    entry!("zeroifnull", Types::By(first_type), rewritten, ["expressions/conditional"]),
    entry!(
        "nanvl",
        Types::By(bind_nanvl),
        rewritten,
        ["stateless/boolean_expressions", "expressions/conditional"]
    ),
    entry!(
        "cast",
        Types::By(bind_cast),
        rewritten,
        ["stateless/cast_numbers_to_string", "stateless/cast_string_to_int_fails", "expressions/cast"]
    ),
    entry!(
        "try_cast",
        Types::By(bind_cast),
        rewritten,
        ["stateless/cast_string_to_numbers", "expressions/cast"]
    ),
    entry!("case_when", Types::By(bind_case), rewritten, ["stateless/case_when", "expressions/conditional"]),
    entry!(
        "isnan",
        Types::By(bind_isnan),
        is_nan,
        ["stateless/boolean_expressions", "expressions/conditional"]
    ),
    entry!(
        "isnull",
        takes!([Any] => DataType::Boolean),
        |call| Ok(Arc::new(is_null(&call.args[0])?)),
        ["stateless/boolean_expressions", "expressions/conditional"]
    ),
    entry!(
        "isnotnull",
        takes!([Any] => DataType::Boolean),
        |call| Ok(Arc::new(is_not_null(&call.args[0])?)),
        ["stateless/boolean_expressions", "expressions/conditional"]
    ),
];

/// The common type of the arguments from `first` on.
fn one_type(bind: &Bind, first: usize) -> Result<Bound> {
    let mut to = DataType::Null;
    for kind in bind.types.iter().skip(first) {
        let together = common(bind.conf, &to, kind);
        to = together.ok_or_else(|| {
            mismatch(bind, format!("{} and {} have no common type", name_of(&to), name_of(kind)))
        })?;
    }
    Ok(Bound::new(bind.types.to_vec(), to))
}

fn first_type(bind: &Bind) -> Result<Bound> {
    match bind.types {
        [first, ..] => Ok(Bound::new(bind.types.to_vec(), first.clone())),
        [] => Err(mismatch(bind, "an argument is missing")),
    }
}

fn bind_nanvl(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 2)?;
    let single = bind.types.iter().all(|kind| *kind == DataType::Float32);
    let to = if single { DataType::Float32 } else { DataType::Float64 };
    Ok(Bound::new([to.clone(), to.clone()], to))
}

fn bind_isnan(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 1)?;
    let to = if is_float(&bind.types[0]) { bind.types[0].clone() } else { DataType::Float64 };
    Ok(Bound::new([to], DataType::Boolean))
}

/// The type that a literal text names.
///
/// # Errors
/// `UNSUPPORTED_DATATYPE` if it names none that a column may have.
pub(crate) fn named_type(text: &str) -> Result<DataType> {
    let parsed = SparkType::from_ddl(text)
        .map_err(|error| refused("UNSUPPORTED_DATATYPE", error.message().to_owned()))?;
    super::json::arrow_of(&parsed)
}

/// The type that the second argument of a cast names.
pub(crate) fn type_of(kind: &Expr) -> Result<DataType> {
    match kind {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => named_type(text),
        _ => Err(refused("DATATYPE_MISMATCH", "the type of a cast is a literal")),
    }
}

fn bind_cast(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 2)?;
    let text = bind.text(1).ok_or_else(|| mismatch(bind, "the type of a cast is a literal"))?;
    Ok(Bound::new(bind.types.to_vec(), named_type(text)?))
}

/// The common type of the values, which come after their conditions.
fn bind_case(bind: &Bind) -> Result<Bound> {
    let mut to = DataType::Null;
    let last = bind.types.len().saturating_sub(1);
    for (at, kind) in bind.types.iter().enumerate() {
        if at % 2 == 1 || (at == last && at % 2 == 0) {
            let together = common(bind.conf, &to, kind);
            to = together.ok_or_else(|| {
                mismatch(bind, format!("the branches are {} and {}", name_of(&to), name_of(kind)))
            })?;
        }
    }
    Ok(Bound::new(bind.types.to_vec(), to))
}

fn rewritten(_call: &Call) -> Result<ArrayRef> {
    internal_err!("a conditional function was not rewritten to CASE")
}

/// Null is no NaN: the answer is false.
fn is_nan(call: &Call) -> Result<ArrayRef> {
    let array = &call.args[0];
    let flags: BooleanArray = match array.data_type() {
        DataType::Float32 => {
            array.as_primitive::<Float32Type>().iter().map(|v| Some(v.is_some_and(f32::is_nan))).collect()
        }
        _ => array.as_primitive::<Float64Type>().iter().map(|v| Some(v.is_some_and(f64::is_nan))).collect(),
    };
    Ok(Arc::new(flags))
}
