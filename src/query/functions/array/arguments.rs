//! The types of arguments that are arrays, or an array and an element of it.

use arrow::datatypes::DataType;
use datafusion::common::Result;

use crate::query::coerce::types::{common, element_of, is_decimal, list_of, mismatch, name_of, rank};
use crate::query::functions::scalar::{Bind, Bound, count};

/// The type of argument `at`, an ARRAY; NULL is an array of NULL.
pub(super) fn list(bind: &Bind, at: usize) -> Result<DataType> {
    match bind.types.get(at) {
        Some(DataType::List(_)) => Ok(bind.types[at].clone()),
        Some(DataType::Null) => Ok(list_of(DataType::Null)),
        Some(other) => Err(mismatch(bind, format!("{} is not an ARRAY", name_of(other)))),
        None => Err(mismatch(bind, "an ARRAY is missing")),
    }
}

pub(super) fn same_list(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 1)?;
    let kind = list(bind, 0)?;
    Ok(Bound::new([kind.clone()], kind))
}

pub(super) fn one_element(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 1)?;
    let kind = list(bind, 0)?;
    let element = element_of(&kind).cloned().unwrap_or(DataType::Null);
    if matches!(element, DataType::Map(..)) {
        return Err(mismatch(bind, "MAP values have no order"));
    }
    Ok(Bound::new([kind], element))
}

/// An array and an element of their common type.
pub(super) fn with_element(bind: &Bind, returns: fn(&DataType) -> DataType) -> Result<Bound> {
    count(bind, 2, 2)?;
    let kind = list(bind, 0)?;
    let element = element_of(&kind).cloned().unwrap_or(DataType::Null);
    // These two take Spark's tightest type, which neither text nor DECIMAL widens to.
    let both = if matches!(bind.name, "array_append" | "array_prepend") && element != bind.types[1] {
        tightest(bind, &element, &bind.types[1])
    } else {
        common(bind.conf, &element, &bind.types[1])
    };
    let both = both.ok_or_else(|| {
        mismatch(bind, format!("{} is not an element of {}", name_of(&bind.types[1]), name_of(&kind)))
    })?;
    let kind = list_of(both.clone());
    let returns = returns(&kind);
    Ok(Bound::new([kind, both], returns))
}

/// The larger of two numeric types (`TypeCoercion.findTightestCommonType`).
fn tightest(bind: &Bind, a: &DataType, b: &DataType) -> Option<DataType> {
    match (rank(a), rank(b)) {
        (Some(first), Some(second)) => Some(if first > second { a } else { b }.clone()),
        (Some(_), None) | (None, Some(_)) if is_decimal(a) || is_decimal(b) => None,
        _ => common(bind.conf, a, b),
    }
}

pub(super) fn two_lists(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 2)?;
    let (a, b) = (list(bind, 0)?, list(bind, 1)?);
    let both = common(bind.conf, &a, &b).ok_or_else(|| mismatch(bind, "the arrays differ in type"))?;
    Ok(Bound::new([both.clone(), both.clone()], both))
}
