//! How long an array is, a part of it, and the whole of it from its end.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array};
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::arguments::list;
use super::gather::{Gather, span};
use crate::query::coerce::types::{Want, castable};
use crate::query::error::ExpressionError;
use crate::query::functions::scalar::{Bind, Bound, Call, count, each};

pub(super) fn bind_size(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 1)?;
    match &bind.types[0] {
        kind @ DataType::Map(..) => Ok(Bound::new([kind.clone()], DataType::Int32)),
        _ => Ok(Bound::new([list(bind, 0)?], DataType::Int32)),
    }
}

/// How many elements or entries. NULL has none, and no size; without ANSI its size is -1.
pub(super) fn size(call: &Call) -> Result<ArrayRef> {
    let length = |row: usize| match call.args[0].as_map_opt() {
        Some(map) => map.value_length(row),
        None => call.lists(0).value_length(row),
    };
    let missing = (!call.conf.ansi).then_some(-1);
    let lengths =
        (0..call.rows).map(|row| if call.args[0].is_valid(row) { Some(length(row)) } else { missing });
    Ok(Arc::new(lengths.collect::<Int32Array>()))
}

pub(super) fn bind_slice(bind: &Bind) -> Result<Bound> {
    count(bind, 3, 3)?;
    let kind = list(bind, 0)?;
    let [start, length] = [1, 2].map(|at| castable(bind, &bind.types[at], Want::Int));
    Ok(Bound::new([kind.clone(), start?, length?], kind))
}

pub(super) fn slice(call: &Call) -> Result<ArrayRef> {
    let list = call.lists(0);
    let mut lists = Gather::new(call.rows);
    for row in 0..call.rows {
        let valid = call.all_valid(row);
        if valid {
            let (start, length) = (call.ints(1).value(row), call.ints(2).value(row));
            if start == 0 {
                return Err(ExpressionError::raise("INVALID_PARAMETER_VALUE.START", "slice counts from one"));
            }
            let Ok(length) = usize::try_from(length) else {
                return Err(ExpressionError::raise(
                    "INVALID_PARAMETER_VALUE.LENGTH",
                    "the length is negative",
                ));
            };
            let range = span(list, row);
            let present = i64::try_from(range.len()).unwrap_or(i64::MAX);
            let from = if start > 0 { i64::from(start) - 1 } else { present + i64::from(start) };
            if let Ok(from) = usize::try_from(from) {
                range.skip(from).take(length).for_each(|at| lists.place(Some(at)));
            }
        }
        lists.close(valid);
    }
    lists.finish(list.values(), call.returns)
}

pub(super) fn bind_reverse(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 1)?;
    match &bind.types[0] {
        kind @ DataType::List(_) => Ok(Bound::new([kind.clone()], kind.clone())),
        kind => Ok(Bound::new([castable(bind, kind, Want::Text)?], DataType::Utf8)),
    }
}

/// An array, or the characters of a text, from the end.
pub(super) fn reverse(call: &Call) -> Result<ArrayRef> {
    let Some(list) = call.args[0].as_list_opt::<i32>() else {
        return each::<arrow::array::StringArray, _>(call, |row| {
            Some(call.texts(0).value(row).chars().rev().collect::<String>())
        });
    };
    let mut lists = Gather::new(call.rows);
    for row in 0..call.rows {
        let valid = list.is_valid(row);
        if valid {
            span(list, row).rev().for_each(|at| lists.place(Some(at)));
        }
        lists.close(valid);
    }
    lists.finish(list.values(), call.returns)
}
