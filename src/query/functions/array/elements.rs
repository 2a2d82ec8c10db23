//! One element of an array: looked for, put in, or taken out. Places are counted from one.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, ListArray};
use arrow::compute::concat as joined;
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};

use super::arguments::list;
use super::gather::{Gather, span};
use crate::query::coerce::types::{Want, castable, common, element_of, list_of, mismatch};
use crate::query::error::ExpressionError;
use crate::query::functions::compare::{Comparator, comparator};
use crate::query::functions::scalar::{Bind, Bound, Call, count, each};

/// Elements of a MAX_ROUNDED_ARRAY_LENGTH array of Spark.
const LENGTH_MAX: i64 = 2_147_483_632;

/// The order of the list's elements against the values of another array.
pub(super) fn order(call: &Call, with: &ArrayRef) -> Result<Comparator> {
    comparator(call.lists(0).values(), with)
}

/// Whether the element is there: NULL if it is not, but a null is.
pub(super) fn contains(call: &Call) -> Result<ArrayRef> {
    let (list, order) = (call.lists(0), order(call, &call.args[1])?);
    each::<BooleanArray, _>(call, |row| {
        let mut found = Some(false);
        for at in span(list, row) {
            if list.values().is_null(at) {
                found = None;
            } else if order(at, row) == Ordering::Equal {
                return Some(true);
            }
        }
        found
    })
}

pub(super) fn position(call: &Call) -> Result<ArrayRef> {
    let (list, order) = (call.lists(0), order(call, &call.args[1])?);
    each::<Int64Array, _>(call, |row| {
        let same = |at: &usize| list.values().is_valid(*at) && order(*at, row) == Ordering::Equal;
        let range = span(list, row);
        let start = range.start;
        Some(range.into_iter().find(same).and_then(|at| i64::try_from(at - start + 1).ok()).unwrap_or(0))
    })
}

pub(super) fn remove(call: &Call) -> Result<ArrayRef> {
    let (list, order) = (call.lists(0), order(call, &call.args[1])?);
    let mut lists = Gather::new(call.rows);
    for row in 0..call.rows {
        let valid = call.all_valid(row);
        if valid {
            let kept = |at: &usize| list.values().is_null(*at) || order(*at, row) != Ordering::Equal;
            span(list, row).filter(kept).for_each(|at| lists.place(Some(at)));
        }
        lists.close(valid);
    }
    lists.finish(list.values(), call.returns)
}

/// The elements of the list, then those of another array, as one array; with where the other begins.
pub(super) fn with_values(list: &ListArray, other: &ArrayRef) -> Result<(ArrayRef, usize)> {
    let other = crate::query::cast::relabel(other, list.values().data_type())?;
    Ok((joined(&[list.values().as_ref(), other.as_ref()])?, list.values().len()))
}

/// Puts one element at the place that `at` gives for the list's length.
pub(super) fn insert_one(call: &Call, at: fn(usize) -> usize) -> Result<ArrayRef> {
    let list = call.lists(0);
    let (values, others) = with_values(list, &call.args[1])?;
    let mut lists = Gather::new(call.rows);
    for row in 0..call.rows {
        let valid = list.is_valid(row);
        if valid {
            let range = span(list, row);
            let split = range.start + at(range.len());
            (range.start..split).for_each(|at| lists.place(Some(at)));
            lists.place(Some(others + row));
            (split..range.end).for_each(|at| lists.place(Some(at)));
        }
        lists.close(valid);
    }
    lists.finish(&values, call.returns)
}

pub(super) fn bind_insert(bind: &Bind) -> Result<Bound> {
    count(bind, 3, 3)?;
    let kind = list(bind, 0)?;
    let element = element_of(&kind).cloned().unwrap_or(DataType::Null);
    let both =
        common(bind.conf, &element, &bind.types[2]).ok_or_else(|| mismatch(bind, "the types differ"))?;
    let kind = list_of(both.clone());
    Ok(Bound::new([kind.clone(), castable(bind, &bind.types[1], Want::Int)?, both], kind))
}

fn index_of_zero(name: &str) -> DataFusionError {
    ExpressionError::raise("INVALID_INDEX_OF_ZERO", format!("{name} counts from one"))
}

pub(super) fn insert(call: &Call) -> Result<ArrayRef> {
    let list = call.lists(0);
    let (values, others) = with_values(list, &call.args[2])?;
    let mut lists = Gather::new(call.rows);
    for row in 0..call.rows {
        let (valid, position) = (list.is_valid(row), call.int(1, row));
        let Some(position) = position.filter(|_| valid) else {
            lists.close(false);
            continue;
        };
        let range = span(list, row);
        let length = i64::try_from(range.len()).unwrap_or(i64::MAX);
        let mut out: Vec<Option<usize>> = range.map(Some).collect();
        match position {
            0 => return Err(index_of_zero("array_insert")),
            1.. => {
                let at = i64::from(position) - 1;
                limited(at + 1)?;
                out.resize(usize::try_from(at.max(length)).unwrap_or(0), None);
                out.insert(usize::try_from(at).unwrap_or(0), Some(others + row));
            }
            _ => {
                // -1 is behind the last element.
                let at = length + i64::from(position) + 1;
                limited(length.max(-i64::from(position)))?;
                for _ in at..0 {
                    out.insert(0, None);
                }
                out.insert(usize::try_from(at.max(0)).unwrap_or(0), Some(others + row));
            }
        }
        out.into_iter().for_each(|place| lists.place(place));
        lists.close(true);
    }
    lists.finish(&values, call.returns)
}

/// Refuses lengths beyond Spark's.
pub(in super::super) fn limited(length: i64) -> Result<()> {
    if length > LENGTH_MAX / 16 {
        return Err(ExpressionError::raise(
            "COLLECTION_SIZE_LIMIT_EXCEEDED.PARAMETER",
            "the array would have too many elements",
        ));
    }
    Ok(())
}

pub(super) fn compact(call: &Call) -> Result<ArrayRef> {
    let list = call.lists(0);
    let mut lists = Gather::new(call.rows);
    for row in 0..call.rows {
        let valid = list.is_valid(row);
        if valid {
            span(list, row).filter(|at| list.values().is_valid(*at)).for_each(|at| lists.place(Some(at)));
        }
        lists.close(valid);
    }
    lists.finish(list.values(), call.returns)
}

/// Refuses an index of zero, for functions that count from one.
pub(crate) fn not_zero(index: i32, name: &str) -> Result<i32> {
    if index == 0 { Err(index_of_zero(name)) } else { Ok(index) }
}
