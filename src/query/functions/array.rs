//! Functions of ARRAY values.
//!
//! `collectionOperations` of Spark 4.0. A result is described by the places its elements are taken from
//! ([`Gather`]), so that no element is looked into; elements are compared in Spark's order (`compare`).

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, ListArray, StringBuilder, StructArray,
    UInt32Array, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{concat as joined, take};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{DataFusionError, Result};

use super::Entry;
use super::compare::{Comparator, comparator, sorted_rows};
use super::scalar::{Bind, Bound, Call, Types, count, each, entry};
use crate::query::coerce::types::{
    Want, castable, common, element_of, is_decimal, list_of, mismatch, name_of, rank,
};
use crate::query::error::ExpressionError;

/// Functions of arrays.
pub(crate) const ENTRIES: &[Entry] = &[
    entry!(
        "array",
        Types::By(bind_array),
        array,
        ["stateless/build_nested_values", "expressions/collection"]
    ),
    entry!(
        "size" | "cardinality",
        Types::By(bind_size),
        size,
        ["stateless/array_functions", "expressions/collection"]
    ),
    entry!(
        "array_size",
        Types::By(|bind| Ok(Bound::new([list(bind, 0)?], DataType::Int32))),
        size,
        ["expressions/collection"]
    ),
    entry!(
        "array_contains",
        Types::By(|bind| with_element(bind, |_| DataType::Boolean)),
        contains,
        ["stateless/array_functions", "expressions/collection"]
    ),
    entry!(
        "array_position",
        Types::By(|bind| with_element(bind, |_| DataType::Int64)),
        position,
        ["stateless/array_functions", "expressions/collection"]
    ),
    entry!(
        "array_remove",
        Types::By(|bind| with_element(bind, Clone::clone)),
        remove,
        ["stateless/array_functions", "expressions/collection"]
    ),
    entry!(
        "array_append",
        Types::By(|bind| with_element(bind, Clone::clone)),
        |call| insert_one(call, |length| length),
        ["stateless/array_functions", "expressions/collection"]
    ),
    entry!(
        "array_prepend",
        Types::By(|bind| with_element(bind, Clone::clone)),
        |call| insert_one(call, |_| 0),
        ["expressions/collection"]
    ),
    entry!("array_insert", Types::By(bind_insert), insert, ["expressions/collection"]),
    entry!(
        "array_distinct",
        Types::By(same_list),
        distinct,
        ["stateless/array_functions", "expressions/collection"]
    ),
    entry!(
        "array_compact",
        Types::By(same_list),
        compact,
        ["stateless/array_functions", "expressions/collection"]
    ),
    entry!(
        "sort_array",
        Types::By(bind_sort),
        sort_array,
        ["stateless/array_functions", "expressions/collection"]
    ),
    entry!(
        "array_sort",
        Types::By(same_list),
        |call| sorted(call, |_| false, true),
        ["stateless/array_set_functions", "expressions/collection"]
    ),
    entry!(
        "array_max",
        Types::By(one_element),
        |call| extreme(call, Ordering::Greater),
        ["stateless/array_functions", "expressions/collection"]
    ),
    entry!(
        "array_min",
        Types::By(one_element),
        |call| extreme(call, Ordering::Less),
        ["expressions/collection"]
    ),
    entry!("slice", Types::By(bind_slice), slice, ["stateless/array_functions", "expressions/collection"]),
    entry!(
        "reverse",
        Types::By(bind_reverse),
        reverse,
        ["stateless/array_functions", "stateless/string_basics", "expressions/collection"]
    ),
    entry!(
        "array_union",
        Types::By(two_lists),
        |call| sets(call, |_, _| true),
        ["stateless/array_set_functions", "expressions/collection"]
    ),
    entry!(
        "array_intersect",
        Types::By(two_lists),
        |call| sets(call, |first, second| first && second),
        ["stateless/array_set_functions", "expressions/collection"]
    ),
    entry!(
        "array_except",
        Types::By(two_lists),
        |call| sets(call, |first, second| first && !second),
        ["stateless/array_set_functions", "expressions/collection"]
    ),
    entry!(
        "arrays_overlap",
        Types::By(|bind| Ok(Bound { returns: DataType::Boolean, ..two_lists(bind)? })),
        overlap,
        ["stateless/array_set_functions", "expressions/collection"]
    ),
    entry!(
        "flatten",
        Types::By(bind_flatten),
        flatten,
        ["stateless/array_set_functions", "expressions/collection"]
    ),
    entry!(
        "arrays_zip",
        Types::By(bind_zip),
        zip,
        ["stateless/array_set_functions", "expressions/collection"]
    ),
    entry!("array_join", Types::By(bind_join), join, ["stateless/array_functions", "expressions/collection"]),
    entry!("array_repeat", Types::By(bind_repeat), repeat, ["expressions/collection"]),
];

/// Elements of a MAX_ROUNDED_ARRAY_LENGTH array of Spark.
const LENGTH_MAX: i64 = 2_147_483_632;

/// Lists made of elements of one array, by place; `None` is a null element.
pub(crate) struct Gather {
    places: Vec<Option<u32>>,
    ends: Vec<i32>,
    valid: Vec<bool>,
}

impl Gather {
    pub(crate) fn new(rows: usize) -> Gather {
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        Gather { places: Vec::new(), ends, valid: Vec::with_capacity(rows) }
    }

    pub(crate) fn place(&mut self, place: Option<usize>) {
        self.places.push(place.map(|place| u32::try_from(place).expect("an array has 2^31 values at most")));
    }

    /// Ends the list of a row; a null list has no elements.
    pub(crate) fn close(&mut self, valid: bool) {
        self.ends.push(i32::try_from(self.places.len()).expect("an array has 2^31 values at most"));
        self.valid.push(valid);
    }

    /// The lists over `values`.
    pub(crate) fn finish(self, values: &dyn Array, returns: &DataType) -> Result<ArrayRef> {
        let places = UInt32Array::from(self.places);
        let values = take(values, &places, None)?;
        let element = element_of(returns).cloned().unwrap_or(DataType::Null);
        let values = crate::query::cast::relabel(&values, &element)?;
        let field = Arc::new(Field::new("element", element, true));
        let nulls = NullBuffer::from(self.valid);
        Ok(Arc::new(ListArray::try_new(field, OffsetBuffer::new(self.ends.into()), values, Some(nulls))?))
    }
}

/// Where the elements of a row lie in the list's values.
fn span(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = list.value_offsets();
    offsets[row] as usize..offsets[row + 1] as usize
}

/// The type of argument `at`, an ARRAY; NULL is an array of NULL.
fn list(bind: &Bind, at: usize) -> Result<DataType> {
    match bind.types.get(at) {
        Some(DataType::List(_)) => Ok(bind.types[at].clone()),
        Some(DataType::Null) => Ok(list_of(DataType::Null)),
        Some(other) => Err(mismatch(bind, format!("{} is no ARRAY", name_of(other)))),
        None => Err(mismatch(bind, "an ARRAY is missing")),
    }
}

fn same_list(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 1)?;
    let kind = list(bind, 0)?;
    Ok(Bound::new([kind.clone()], kind))
}

fn one_element(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 1)?;
    let kind = list(bind, 0)?;
    let element = element_of(&kind).cloned().unwrap_or(DataType::Null);
    if matches!(element, DataType::Map(..)) {
        return Err(mismatch(bind, "MAP values have no order"));
    }
    Ok(Bound::new([kind], element))
}

/// An array and an element of their common type.
fn with_element(bind: &Bind, returns: fn(&DataType) -> DataType) -> Result<Bound> {
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
        mismatch(bind, format!("{} is no element of {}", name_of(&bind.types[1]), name_of(&kind)))
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

fn two_lists(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 2)?;
    let (a, b) = (list(bind, 0)?, list(bind, 1)?);
    let both = common(bind.conf, &a, &b).ok_or_else(|| mismatch(bind, "the arrays differ in type"))?;
    Ok(Bound::new([both.clone(), both.clone()], both))
}

fn bind_array(bind: &Bind) -> Result<Bound> {
    let mut to = DataType::Null;
    for kind in bind.types {
        to = common(bind.conf, &to, kind).ok_or_else(|| {
            mismatch(bind, format!("{} and {} have no common type", name_of(&to), name_of(kind)))
        })?;
    }
    Ok(Bound::new(vec![to.clone(); bind.types.len()], list_of(to)))
}

fn array(call: &Call) -> Result<ArrayRef> {
    let element = element_of(call.returns).cloned().unwrap_or(DataType::Null);
    if call.args.is_empty() {
        let mut empty = Gather::new(call.rows);
        (0..call.rows).for_each(|_| empty.close(true));
        return empty.finish(&new_null_array(&element, 0), call.returns);
    }
    let arrays: Vec<&dyn Array> = call.args.iter().map(AsRef::as_ref).collect();
    let values = joined(&arrays)?;
    let mut lists = Gather::new(call.rows);
    for row in 0..call.rows {
        (0..arrays.len()).for_each(|at| lists.place(Some(at * call.rows + row)));
        lists.close(true);
    }
    lists.finish(&values, call.returns)
}

fn bind_size(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 1)?;
    match &bind.types[0] {
        kind @ DataType::Map(..) => Ok(Bound::new([kind.clone()], DataType::Int32)),
        _ => Ok(Bound::new([list(bind, 0)?], DataType::Int32)),
    }
}

/// How many elements or entries. NULL has none, and no size; without ANSI its size is -1.
fn size(call: &Call) -> Result<ArrayRef> {
    let length = |row: usize| match call.args[0].as_map_opt() {
        Some(map) => map.value_length(row),
        None => call.lists(0).value_length(row),
    };
    let missing = (!call.conf.ansi).then_some(-1);
    let lengths =
        (0..call.rows).map(|row| if call.args[0].is_valid(row) { Some(length(row)) } else { missing });
    Ok(Arc::new(lengths.collect::<Int32Array>()))
}

/// The order of the list's elements against the values of another array.
fn order(call: &Call, with: &ArrayRef) -> Result<Comparator> {
    comparator(call.lists(0).values(), with)
}

/// Whether the element is there: NULL if it is not, but a null is.
fn contains(call: &Call) -> Result<ArrayRef> {
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

fn position(call: &Call) -> Result<ArrayRef> {
    let (list, order) = (call.lists(0), order(call, &call.args[1])?);
    each::<Int64Array, _>(call, |row| {
        let same = |at: &usize| list.values().is_valid(*at) && order(*at, row) == Ordering::Equal;
        let range = span(list, row);
        let start = range.start;
        Some(range.into_iter().find(same).and_then(|at| i64::try_from(at - start + 1).ok()).unwrap_or(0))
    })
}

fn remove(call: &Call) -> Result<ArrayRef> {
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
fn with_values(list: &ListArray, other: &ArrayRef) -> Result<(ArrayRef, usize)> {
    let other = crate::query::cast::relabel(other, list.values().data_type())?;
    Ok((joined(&[list.values().as_ref(), other.as_ref()])?, list.values().len()))
}

/// Puts one element at the place that `at` gives for the list's length.
fn insert_one(call: &Call, at: fn(usize) -> usize) -> Result<ArrayRef> {
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

fn bind_insert(bind: &Bind) -> Result<Bound> {
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

fn insert(call: &Call) -> Result<ArrayRef> {
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
pub(super) fn limited(length: i64) -> Result<()> {
    if length > LENGTH_MAX / 16 {
        return Err(ExpressionError::raise(
            "COLLECTION_SIZE_LIMIT_EXCEEDED.PARAMETER",
            "the array would have too many elements",
        ));
    }
    Ok(())
}

/// The places of a row whose elements did not come before.
fn first_ones(places: impl Iterator<Item = usize>, same: &Comparator) -> Vec<usize> {
    let mut seen: Vec<usize> = Vec::new();
    for at in places {
        if !seen.iter().any(|before| same(*before, at) == Ordering::Equal) {
            seen.push(at);
        }
    }
    seen
}

fn distinct(call: &Call) -> Result<ArrayRef> {
    let list = call.lists(0);
    let order = comparator(list.values(), list.values())?;
    let mut lists = Gather::new(call.rows);
    for row in 0..call.rows {
        let valid = list.is_valid(row);
        if valid {
            first_ones(span(list, row), &order).into_iter().for_each(|at| lists.place(Some(at)));
        }
        lists.close(valid);
    }
    lists.finish(list.values(), call.returns)
}

fn compact(call: &Call) -> Result<ArrayRef> {
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

fn bind_sort(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 2)?;
    one_element(&Bind { types: &bind.types[..1], ..*bind })?;
    let kind = list(bind, 0)?;
    let mut args = vec![kind.clone()];
    args.extend(bind.types.get(1).map(|_| DataType::Boolean));
    Ok(Bound::new(args, kind))
}

/// `sort_array`: ascending with nulls first, or the reverse.
fn sort_array(call: &Call) -> Result<ArrayRef> {
    sorted(call, |row| call.has(1) && !call.flags(1).value(row), false)
}

/// Sorts each list; `nulls_last` for ascending order as `array_sort` has it.
pub(crate) fn sorted(call: &Call, descending: impl Fn(usize) -> bool, nulls_last: bool) -> Result<ArrayRef> {
    let list = call.lists(0);
    let values = list.values();
    // The rank of each value once for all rows.
    let ranks = sorted_rows(values)?;
    let mut rank = vec![0_usize; values.len()];
    ranks.values().iter().enumerate().for_each(|(at, row)| rank[*row as usize] = at);
    let mut lists = Gather::new(call.rows);
    for row in 0..call.rows {
        let valid = list.is_valid(row);
        if valid {
            let mut places: Vec<usize> = span(list, row).collect();
            if descending(row) {
                places.sort_by_key(|at| (values.is_null(*at), std::cmp::Reverse(rank[*at])));
            } else {
                places.sort_by_key(|at| (values.is_null(*at) && nulls_last, rank[*at]));
            }
            places.into_iter().for_each(|at| lists.place(Some(at)));
        }
        lists.close(valid);
    }
    lists.finish(values, call.returns)
}

fn extreme(call: &Call, wanted: Ordering) -> Result<ArrayRef> {
    let list = call.lists(0);
    let order = comparator(list.values(), list.values())?;
    let best = |row: usize| {
        let mut best: Option<usize> = None;
        for at in span(list, row).filter(|at| list.values().is_valid(*at)) {
            if best.is_none_or(|best| order(at, best) == wanted) {
                best = Some(at);
            }
        }
        best.and_then(|at| u32::try_from(at).ok())
    };
    let places: UInt32Array =
        (0..call.rows).map(|row| if list.is_valid(row) { best(row) } else { None }).collect();
    Ok(take(list.values(), &places, None)?)
}

fn bind_slice(bind: &Bind) -> Result<Bound> {
    count(bind, 3, 3)?;
    let kind = list(bind, 0)?;
    let [start, length] = [1, 2].map(|at| castable(bind, &bind.types[at], Want::Int));
    Ok(Bound::new([kind.clone(), start?, length?], kind))
}

fn slice(call: &Call) -> Result<ArrayRef> {
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

fn bind_reverse(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 1)?;
    match &bind.types[0] {
        kind @ DataType::List(_) => Ok(Bound::new([kind.clone()], kind.clone())),
        kind => Ok(Bound::new([castable(bind, kind, Want::Text)?], DataType::Utf8)),
    }
}

/// An array, or the characters of a text, from the end.
fn reverse(call: &Call) -> Result<ArrayRef> {
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

/// The distinct elements of both lists for which `kept` holds: whether they are in the first, and in the second.
fn sets(call: &Call, kept: fn(bool, bool) -> bool) -> Result<ArrayRef> {
    let (first, second) = (call.lists(0), call.lists(1));
    let (values, others) = with_values(first, second.values())?;
    let order = comparator(&values, &values)?;
    let mut lists = Gather::new(call.rows);
    for row in 0..call.rows {
        let valid = call.all_valid(row);
        if valid {
            let behind = span(second, row);
            let second = others + behind.start..others + behind.end;
            let own = span(first, row);
            for at in first_ones(own.clone().chain(second.clone()), &order) {
                let within = |mut range: std::ops::Range<usize>| {
                    range.any(|other| order(other, at) == Ordering::Equal)
                };
                if kept(within(own.clone()), within(second.clone())) {
                    lists.place(Some(at));
                }
            }
        }
        lists.close(valid);
    }
    lists.finish(&values, call.returns)
}

/// Whether an element is in both: NULL if none is, but one list has a null and the other is not empty.
fn overlap(call: &Call) -> Result<ArrayRef> {
    let (first, second) = (call.lists(0), call.lists(1));
    let order = comparator(first.values(), second.values())?;
    each::<BooleanArray, _>(call, |row| {
        let (own, other) = (span(first, row), span(second, row));
        let present = |list: &ListArray, at: usize| list.values().is_valid(at);
        for a in own.clone().filter(|at| present(first, *at)) {
            if other.clone().any(|b| present(second, b) && order(a, b) == Ordering::Equal) {
                return Some(true);
            }
        }
        let mut nulls = own.clone().any(|at| !present(first, at));
        nulls |= other.clone().any(|at| !present(second, at));
        if nulls && !own.is_empty() && !other.is_empty() { None } else { Some(false) }
    })
}

fn bind_flatten(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 1)?;
    let kind = list(bind, 0)?;
    match element_of(&kind) {
        Some(inner @ DataType::List(_)) => Ok(Bound::new([kind.clone()], inner.clone())),
        _ => Err(mismatch(bind, "an ARRAY of ARRAYs is needed")),
    }
}

/// The elements of the inner arrays; NULL if one of them is null.
fn flatten(call: &Call) -> Result<ArrayRef> {
    let list = call.lists(0);
    let inner = list.values().as_list::<i32>();
    let mut lists = Gather::new(call.rows);
    for row in 0..call.rows {
        let valid = list.is_valid(row) && span(list, row).all(|at| inner.is_valid(at));
        if valid {
            span(list, row).flat_map(|at| span(inner, at)).for_each(|at| lists.place(Some(at)));
        }
        lists.close(valid);
    }
    lists.finish(inner.values(), call.returns)
}

fn bind_zip(bind: &Bind) -> Result<Bound> {
    let mut fields = Vec::with_capacity(bind.types.len());
    for (at, field) in bind.fields.iter().enumerate() {
        let kind = list(bind, at)?;
        let element = element_of(&kind).cloned().unwrap_or(DataType::Null);
        // A column gives its name, all else its place.
        let named = !field.name().is_empty() && field.name().chars().all(|c| c.is_alphanumeric() || c == '_');
        let name = if named { field.name().clone() } else { at.to_string() };
        fields.push(Field::new(name, element, true));
    }
    let args = (0..bind.types.len()).map(|at| list(bind, at)).collect::<Result<Vec<_>>>()?;
    Ok(Bound::new(args, list_of(DataType::Struct(Fields::from(fields)))))
}

fn zip(call: &Call) -> Result<ArrayRef> {
    let Some(DataType::Struct(fields)) = element_of(call.returns) else {
        return Err(ExpressionError::raise("INTERNAL_ERROR", "arrays_zip returns structs"));
    };
    let lists: Vec<&ListArray> = (0..call.args.len()).map(|at| call.lists(at)).collect();
    let mut columns: Vec<Vec<Option<u32>>> = vec![Vec::new(); lists.len()];
    let mut whole = Gather::new(call.rows);
    let mut total = 0;
    for row in 0..call.rows {
        let valid = call.all_valid(row);
        if valid {
            let longest = lists.iter().map(|list| span(list, row).len()).max().unwrap_or(0);
            for (list, places) in lists.iter().zip(&mut columns) {
                let range = span(list, row);
                places.extend(
                    (0..longest).map(|at| range.clone().nth(at).and_then(|at| u32::try_from(at).ok())),
                );
            }
            (total..total + longest).for_each(|at| whole.place(Some(at)));
            total += longest;
        }
        whole.close(valid);
    }
    let taken = lists
        .iter()
        .zip(columns)
        .map(|(list, places)| Ok(take(list.values(), &UInt32Array::from(places), None)?));
    let records = StructArray::try_new(fields.clone(), taken.collect::<Result<Vec<_>>>()?, None)?;
    whole.finish(&records, call.returns)
}

fn bind_join(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 3)?;
    list(bind, 0)?;
    let mut args = vec![list_of(DataType::Utf8)];
    for kind in &bind.types[1..] {
        args.push(castable(bind, kind, Want::Text)?);
    }
    Ok(Bound::new(args, DataType::Utf8))
}

fn join(call: &Call) -> Result<ArrayRef> {
    let list = call.lists(0);
    let texts = list.values().as_string::<i32>();
    let mut out = StringBuilder::new();
    for row in 0..call.rows {
        if !call.all_valid(row) {
            out.append_null();
            continue;
        }
        let separator = call.texts(1).value(row);
        let replacement = call.text(2, row);
        let shown = span(list, row)
            .filter_map(|at| if texts.is_valid(at) { Some(texts.value(at)) } else { replacement });
        out.append_value(shown.collect::<Vec<_>>().join(separator));
    }
    Ok(Arc::new(out.finish()))
}

fn bind_repeat(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 2)?;
    let element = bind.types[0].clone();
    Ok(Bound::new([element.clone(), castable(bind, &bind.types[1], Want::Int)?], list_of(element)))
}

fn repeat(call: &Call) -> Result<ArrayRef> {
    let mut lists = Gather::new(call.rows);
    for row in 0..call.rows {
        let times = call.int(1, row);
        if let Some(times) = times {
            limited(i64::from(times))?;
            (0..times.max(0)).for_each(|_| lists.place(Some(row)));
        }
        lists.close(times.is_some());
    }
    lists.finish(&call.args[0], call.returns)
}

/// Joins lists one after the other; for `concat`.
pub(crate) fn concat(call: &Call) -> Result<ArrayRef> {
    let values: Vec<ArrayRef> = (0..call.args.len()).map(|at| Arc::clone(call.lists(at).values())).collect();
    let columns: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
    let all = joined(&columns)?;
    let mut lists = Gather::new(call.rows);
    for row in 0..call.rows {
        let valid = call.all_valid(row);
        if valid {
            let mut before = 0;
            for (at, values) in values.iter().enumerate() {
                span(call.lists(at), row).for_each(|place| lists.place(Some(before + place)));
                before += values.len();
            }
        }
        lists.close(valid);
    }
    lists.finish(&all, call.returns)
}

/// Refuses an index of zero, for functions that count from one.
pub(crate) fn not_zero(index: i32, name: &str) -> Result<i32> {
    if index == 0 { Err(index_of_zero(name)) } else { Ok(index) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::Int32Type;

    #[test]
    fn a_list_is_gathered_by_place() {
        let values = Int32Array::from(vec![1, 2, 3]);
        let mut lists = Gather::new(2);
        lists.place(Some(2));
        lists.place(None);
        lists.close(true);
        lists.close(false);
        let made = lists.finish(&values, &list_of(DataType::Int32)).unwrap();
        let expected = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(3), None]), None]);
        assert_eq!(made.as_list::<i32>().value(0).as_ref(), expected.value(0).as_ref());
        assert!(made.is_null(1));
    }
}
