//! Comparisons, `greatest` and `least`: NaN equals NaN and is above all numbers, -0.0 equals 0.0.
//!
//! The rule makes DataFusion's own operators of comparisons over plain types; what is left for these kernels is
//! FLOAT, DOUBLE and nested values. [`comparator`] is the one order of values that sorting functions use, too.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float32Array, Float64Array, ListArray, MapArray, StructArray,
    UInt32Array, make_comparator,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{SortOptions, interleave, take};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::Entry;
use super::scalar::{Bind, Bound, Call, SparkFunction, Types, entry};
use crate::query::coerce::types::{
    common, compared, entry_of, is_atomic, is_float, is_interval, mismatch, name_of,
};
use crate::query::conf::Conf;

/// Comparison operators and the functions of an order.
pub(crate) const ENTRIES: &[Entry] = &[
    entry!(
        "=",
        Types::By(bind_comparison),
        |call| compare(call, |order| order == Ordering::Equal),
        ["stateless/nan_compares_as_largest", "expressions/comparison"]
    ),
    entry!(
        "<>",
        Types::By(bind_comparison),
        |call| compare(call, |order| order != Ordering::Equal),
        ["stateless/null_safe_equality", "expressions/comparison"]
    ),
    entry!(
        "<",
        Types::By(bind_comparison),
        |call| compare(call, |order| order == Ordering::Less),
        ["stateless/nan_compares_as_largest", "expressions/comparison"]
    ),
    entry!(
        "<=",
        Types::By(bind_comparison),
        |call| compare(call, |order| order != Ordering::Greater),
        ["expressions/comparison"]
    ),
    entry!(
        ">",
        Types::By(bind_comparison),
        |call| compare(call, |order| order == Ordering::Greater),
        ["stateless/nan_compares_as_largest", "expressions/comparison"]
    ),
    entry!(
        ">=",
        Types::By(bind_comparison),
        |call| compare(call, |order| order != Ordering::Less),
        ["expressions/comparison"]
    ),
    entry!(
        "<=>",
        Types::By(bind_comparison),
        null_safe,
        ["stateless/null_safe_equality", "expressions/comparison"]
    ),
    entry!("equal_null", Types::By(bind_comparison), null_safe, ["expressions/forms"]),
    entry!(
        "greatest",
        Types::By(bind_extreme),
        |call| extreme(call, Ordering::Greater),
        ["stateless/greatest_least_skip_nulls", "expressions/comparison"]
    ),
    entry!(
        "least",
        Types::By(bind_extreme),
        |call| extreme(call, Ordering::Less),
        ["stateless/greatest_least_skip_nulls", "expressions/comparison"]
    ),
];

fn bind_comparison(bind: &Bind) -> Result<Bound> {
    let [a, b] = bind.types else {
        return Err(mismatch(bind, "a comparison has two sides"));
    };
    // A literal interval gets the type of the other side later, with the casts.
    if !bind.strict && is_interval(a) && is_interval(b) {
        return Ok(Bound::new(bind.types.to_vec(), DataType::Boolean));
    }
    let both = compared(bind.conf, a, b)
        .ok_or_else(|| mismatch(bind, format!("{} and {} cannot be compared", name_of(a), name_of(b))))?;
    Ok(Bound::new([both.clone(), both], DataType::Boolean))
}

fn bind_extreme(bind: &Bind) -> Result<Bound> {
    let mut to = match bind.types {
        [first, _, ..] => first.clone(),
        _ => return Err(mismatch(bind, "at least two arguments are needed")),
    };
    for kind in bind.types {
        let together = common(bind.conf, &to, kind);
        to = together
            .ok_or_else(|| mismatch(bind, format!("{} and {} have no order", name_of(&to), name_of(kind))))?;
    }
    Ok(Bound::new(vec![to.clone(); bind.types.len()], to))
}

/// The array with one NaN and one zero, inside nested values, too.
pub(crate) fn normalised(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float32 => {
            let one = |value: f32| if value.is_nan() { f32::NAN } else { value + 0.0 };
            Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(one)) as Arc<Float32Array>
        }
        DataType::Float64 => {
            let one = |value: f64| if value.is_nan() { f64::NAN } else { value + 0.0 };
            Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(one)) as Arc<Float64Array>
        }
        DataType::List(field) => {
            let list = array.as_list::<i32>();
            let values = normalised(list.values());
            Arc::new(ListArray::new(Arc::clone(field), list.offsets().clone(), values, list.nulls().cloned()))
        }
        DataType::Struct(fields) if !fields.is_empty() => {
            let record = array.as_struct();
            let columns = record.columns().iter().map(normalised).collect();
            Arc::new(StructArray::new(fields.clone(), columns, record.nulls().cloned()))
        }
        DataType::Map(entry, sorted) => {
            let map = array.as_map();
            let entries = normalised(&(Arc::new(map.entries().clone()) as ArrayRef));
            let entries = entries.as_struct().clone();
            Arc::new(MapArray::new(
                Arc::clone(entry),
                map.offsets().clone(),
                entries,
                map.nulls().cloned(),
                *sorted,
            ))
        }
        _ => Arc::clone(array),
    }
}

/// Whether equal values of a type may have different bits: floats, and maps, whose entries have no order.
pub(crate) fn needs_key(kind: &DataType) -> bool {
    match kind {
        DataType::List(element) => needs_key(element.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| needs_key(field.data_type())),
        kind => is_float(kind) || entry_of(kind).is_some(),
    }
}

/// The function by which groups are told apart: one NaN, one zero, the entries of a MAP by key.
pub(crate) fn group_key(conf: &Conf) -> Arc<ScalarUDF> {
    let types = Types::By(|bind| Ok(Bound::new(bind.types.to_vec(), bind.types[0].clone())));
    let function = SparkFunction::new("group_key", types, |call| keyed(&normalised(&call.args[0])), conf);
    Arc::new(ScalarUDF::new_from_impl(function))
}

/// The array with the entries of its maps by key.
fn keyed(array: &ArrayRef) -> Result<ArrayRef> {
    let DataType::Map(entry, sorted) = array.data_type() else { return Ok(Arc::clone(array)) };
    let map = array.as_map();
    let order = comparator(map.keys(), map.keys())?;
    let mut places: Vec<u32> = Vec::with_capacity(map.keys().len());
    let mut lengths = Vec::with_capacity(map.len());
    for bounds in map.value_offsets().windows(2) {
        let from = places.len();
        places.extend(bounds[0] as u32..bounds[1] as u32);
        places[from..].sort_by(|a, b| order(*a as usize, *b as usize));
        lengths.push(places.len() - from);
    }
    let entries: ArrayRef = Arc::new(map.entries().clone());
    let entries = take(&entries, &UInt32Array::from(places), None)?.as_struct().clone();
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(MapArray::new(Arc::clone(entry), offsets, entries, map.nulls().cloned(), *sorted)))
}

/// Compares a value of one array with one of another, both by row. Null is below all.
pub(crate) type Comparator = Box<dyn Fn(usize, usize) -> Ordering + Send + Sync>;

/// Spark's order over two arrays of the same type.
pub(crate) fn comparator(a: &ArrayRef, b: &ArrayRef) -> Result<Comparator> {
    let (a, b) = (normalised(a), normalised(b));
    if !is_atomic(a.data_type()) && a.data_type() != b.data_type() {
        let b = crate::query::cast::relabel(&b, a.data_type())?;
        return Ok(make_comparator(&a, &b, SortOptions { descending: false, nulls_first: true })?);
    }
    Ok(make_comparator(&a, &b, SortOptions { descending: false, nulls_first: true })?)
}

fn compare(call: &Call, holds: fn(Ordering) -> bool) -> Result<ArrayRef> {
    let (a, b) = (&call.args[0], &call.args[1]);
    let order = comparator(a, b)?;
    let value = |row: usize| (a.is_valid(row) && b.is_valid(row)).then(|| holds(order(row, row)));
    Ok(Arc::new((0..call.rows).map(value).collect::<BooleanArray>()))
}

fn null_safe(call: &Call) -> Result<ArrayRef> {
    let (a, b) = (&call.args[0], &call.args[1]);
    let order = comparator(a, b)?;
    let value = |row: usize| match (a.is_valid(row), b.is_valid(row)) {
        (true, true) => order(row, row) == Ordering::Equal,
        (a, b) => a == b,
    };
    Ok(Arc::new((0..call.rows).map(|row| Some(value(row))).collect::<BooleanArray>()))
}

/// The first of the greatest (least) values of each row; null counts only if there is nothing else.
fn extreme(call: &Call, wanted: Ordering) -> Result<ArrayRef> {
    let arrays = &call.args;
    let mut best: Vec<usize> = vec![0; call.rows];
    for (at, array) in arrays.iter().enumerate().skip(1) {
        let orders =
            arrays[..at].iter().map(|before| comparator(array, before)).collect::<Result<Vec<_>>>()?;
        for (row, best) in best.iter_mut().enumerate() {
            let better =
                array.is_valid(row) && (arrays[*best].is_null(row) || orders[*best](row, row) == wanted);
            if better {
                *best = at;
            }
        }
    }
    let places: Vec<(usize, usize)> = best.into_iter().enumerate().map(|(row, at)| (at, row)).collect();
    let columns: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
    Ok(interleave(&columns, &places)?)
}

/// The rows of `values` in ascending order, stable; null first.
pub(crate) fn sorted_rows(values: &ArrayRef) -> Result<UInt32Array> {
    let order = comparator(values, values)?;
    let mut rows: Vec<u32> =
        (0..u32::try_from(values.len()).expect("an array has 2^31 values at most")).collect();
    rows.sort_by(|a, b| order(*a as usize, *b as usize));
    Ok(UInt32Array::from(rows))
}
