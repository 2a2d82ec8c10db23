//! Functions of MAP values, and the values within arrays, maps and structs.
//!
//! Keys of a map that is made here are distinct: one that comes twice is an error, as in Spark.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, MapArray, StructArray, UInt32Array, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{concat as joined, take};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{DataFusionError, Result, exec_err};

use super::Entry;
use super::array::{Gather, not_zero};
use super::compare::comparator;
use super::scalar::{Bind, Bound, Call, Types, count, each, entry, fixed};
use crate::query::cast::relabel;
use crate::query::coerce::types::{
    Want, castable, common, element_of, entry_of, is_integral, list_of, map_of, mismatch, name_of, refused,
};
use crate::query::conf::is_same_name;
use crate::query::error::ExpressionError;

/// Functions of maps, and access to nested values.
pub(crate) const ENTRIES: &[Entry] = &[
    entry!("map", Types::By(bind_map), map, ["stateless/build_nested_values", "expressions/collection"]),
    entry!(
        "map_from_arrays",
        Types::By(bind_arrays),
        map_from_arrays,
        ["stateless/map_functions", "expressions/collection"]
    ),
    entry!("map_from_entries", Types::By(bind_from_entries), map_from_entries, ["expressions/collection"]),
    entry!(
        "map_keys",
        Types::By(|bind| part(bind, |key, _| list_of(key.clone()))),
        |call| column(call, 0),
        ["stateless/map_access", "expressions/collection"]
    ),
    entry!(
        "map_values",
        Types::By(|bind| part(bind, |_, value| list_of(value.clone()))),
        |call| column(call, 1),
        ["stateless/map_functions", "expressions/collection"]
    ),
    entry!(
        "map_entries",
        Types::By(|bind| part(bind, entries_type)),
        map_entries,
        ["stateless/map_functions", "expressions/collection"]
    ),
    entry!(
        "map_contains_key",
        Types::By(|bind| with_key(bind, |_| DataType::Boolean)),
        contains_key,
        ["stateless/map_access", "expressions/collection"]
    ),
    entry!(
        "map_concat",
        Types::By(bind_concat),
        map_concat,
        ["stateless/map_functions", "expressions/collection"]
    ),
    entry!(
        "str_to_map",
        Types::By(bind_text),
        str_to_map,
        ["stateless/map_functions", "expressions/collection"]
    ),
    entry!(
        "named_struct",
        Types::By(bind_struct),
        named_struct,
        ["stateless/build_nested_values", "expressions/collection"]
    ),
    entry!(
        "get_item",
        Types::By(bind_item),
        get_item,
        ["stateless/array_index_out_of_bounds_fails", "stateless/map_access", "expressions/collection"]
    ),
    entry!(
        "get",
        Types::By(bind_get),
        |call| item(call, Index::FromZero, OutOfRange::Null),
        ["stateless/array_get_and_try_element_at", "expressions/collection"]
    ),
    entry!(
        "element_at",
        Types::By(bind_item),
        |call| element_at(call, call.conf.ansi),
        ["stateless/map_access", "expressions/collection"]
    ),
    entry!(
        "try_element_at",
        Types::By(bind_item),
        |call| element_at(call, false),
        ["stateless/array_get_and_try_element_at", "expressions/collection"]
    ),
];

/// The type of a map's entries as an ARRAY of STRUCTs.
fn entries_type(key: &DataType, value: &DataType) -> DataType {
    let fields =
        Fields::from(vec![Field::new("key", key.clone(), true), Field::new("value", value.clone(), true)]);
    list_of(DataType::Struct(fields))
}

fn map_argument<'a>(bind: &'a Bind) -> Result<(&'a DataType, &'a DataType)> {
    match bind.types.first() {
        Some(kind) => entry_of(kind).ok_or_else(|| mismatch(bind, format!("{} is not a MAP", name_of(kind)))),
        None => Err(mismatch(bind, "a MAP is missing")),
    }
}

fn part(bind: &Bind, returns: fn(&DataType, &DataType) -> DataType) -> Result<Bound> {
    count(bind, 1, 1)?;
    let (key, value) = map_argument(bind)?;
    Ok(Bound::new([bind.types[0].clone()], returns(key, value)))
}

fn with_key(bind: &Bind, returns: fn(&DataType) -> DataType) -> Result<Bound> {
    count(bind, 2, 2)?;
    let (key, value) = map_argument(bind)?;
    Ok(Bound::new([bind.types[0].clone(), key.clone()], returns(value)))
}

fn duplicate() -> DataFusionError {
    ExpressionError::raise("DUPLICATED_MAP_KEY", "a key comes twice in a map")
}

fn null_key() -> DataFusionError {
    ExpressionError::raise("NULL_MAP_KEY", "a key of a map is null")
}

/// A map out of keys and values that lie side by side: `ends` as offsets, `valid` per row.
fn made(
    keys: ArrayRef,
    values: ArrayRef,
    ends: Vec<i32>,
    valid: Vec<bool>,
    returns: &DataType,
) -> Result<ArrayRef> {
    let DataType::Map(entry, sorted) = returns else {
        return exec_err!("a map function returns {returns}");
    };
    let DataType::Struct(fields) = entry.data_type() else {
        return exec_err!("a map has entries of {}", entry.data_type());
    };
    if keys.null_count() > 0 {
        return Err(null_key());
    }
    let same = comparator(&keys, &keys)?;
    for pair in ends.windows(2) {
        let (from, until) = (pair[0] as usize, pair[1] as usize);
        for at in from..until {
            if (from..at).any(|before| same(before, at) == Ordering::Equal) {
                return Err(duplicate());
            }
        }
    }
    let columns = vec![relabel(&keys, fields[0].data_type())?, relabel(&values, fields[1].data_type())?];
    let entries = StructArray::try_new(fields.clone(), columns, None)?;
    let nulls = NullBuffer::from(valid);
    Ok(Arc::new(MapArray::try_new(
        Arc::clone(entry),
        OffsetBuffer::new(ends.into()),
        entries,
        Some(nulls),
        *sorted,
    )?))
}

fn bind_map(bind: &Bind) -> Result<Bound> {
    if bind.types.len() % 2 == 1 {
        return Err(mismatch(bind, "keys and values come in pairs"));
    }
    let of = |from: usize| -> Result<DataType> {
        let mut to = DataType::Null;
        for kind in bind.types.iter().skip(from).step_by(2) {
            to = common(bind.conf, &to, kind).ok_or_else(|| {
                mismatch(bind, format!("{} and {} have no common type", name_of(&to), name_of(kind)))
            })?;
        }
        Ok(to)
    };
    let (key, value) = (of(0)?, of(1)?);
    let args = (0..bind.types.len()).map(|at| if at % 2 == 0 { key.clone() } else { value.clone() });
    Ok(Bound::new(args.collect::<Vec<_>>(), map_of(key, value)))
}

fn map(call: &Call) -> Result<ArrayRef> {
    let pairs = call.args.len() / 2;
    let (key, value) = entry_of(call.returns).ok_or_else(duplicate)?;
    let side = |from: usize, kind: &DataType| -> Result<ArrayRef> {
        let columns: Vec<&dyn Array> = call.args.iter().skip(from).step_by(2).map(AsRef::as_ref).collect();
        if columns.is_empty() {
            return Ok(new_null_array(kind, 0));
        }
        let all = joined(&columns)?;
        let rows = u32::try_from(call.rows).unwrap_or(u32::MAX);
        let places = (0..rows).flat_map(|row| (0..pairs as u32).map(move |at| at * rows + row));
        Ok(take(&all, &UInt32Array::from_iter_values(places), None)?)
    };
    let ends = (0..=call.rows).map(|row| i32::try_from(row * pairs).unwrap_or(i32::MAX)).collect();
    made(side(0, key)?, side(1, value)?, ends, vec![true; call.rows], call.returns)
}

fn bind_arrays(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 2)?;
    match (element_of(&bind.types[0]), element_of(&bind.types[1])) {
        (Some(key), Some(value)) => Ok(Bound::new(bind.types.to_vec(), map_of(key.clone(), value.clone()))),
        _ => Err(mismatch(bind, "two ARRAYs are needed")),
    }
}

fn range(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = list.value_offsets();
    offsets[row] as usize..offsets[row + 1] as usize
}

fn map_from_arrays(call: &Call) -> Result<ArrayRef> {
    let (keys, values) = (call.lists(0), call.lists(1));
    let (mut key_places, mut value_places, mut ends, mut valid) =
        (Vec::new(), Vec::new(), vec![0], Vec::new());
    for row in 0..call.rows {
        let good = call.all_valid(row);
        if good {
            if keys.value_length(row) != values.value_length(row) {
                return Err(ExpressionError::raise(
                    "_LEGACY_ERROR_TEMP_2128",
                    "there are more keys than values, or fewer",
                ));
            }
            key_places.extend(range(keys, row).map(|at| at as u32));
            value_places.extend(range(values, row).map(|at| at as u32));
        }
        ends.push(i32::try_from(key_places.len()).unwrap_or(i32::MAX));
        valid.push(good);
    }
    let keys = take(keys.values(), &UInt32Array::from(key_places), None)?;
    let values = take(values.values(), &UInt32Array::from(value_places), None)?;
    made(keys, values, ends, valid, call.returns)
}

fn bind_from_entries(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 1)?;
    match element_of(&bind.types[0]) {
        Some(DataType::Struct(fields)) if fields.len() == 2 => {
            let map = map_of(fields[0].data_type().clone(), fields[1].data_type().clone());
            Ok(Bound::new(bind.types.to_vec(), map))
        }
        _ => Err(mismatch(bind, "an ARRAY of STRUCTs with two fields is needed")),
    }
}

/// A map out of entries; NULL if one of them is null.
fn map_from_entries(call: &Call) -> Result<ArrayRef> {
    let list = call.lists(0);
    let entries = list.values().as_struct();
    let (mut places, mut ends, mut valid) = (Vec::new(), vec![0], Vec::new());
    for row in 0..call.rows {
        let good = list.is_valid(row) && range(list, row).all(|at| entries.is_valid(at));
        if good {
            places.extend(range(list, row).map(|at| at as u32));
        }
        ends.push(i32::try_from(places.len()).unwrap_or(i32::MAX));
        valid.push(good);
    }
    let places = UInt32Array::from(places);
    let (keys, values) = (take(entries.column(0), &places, None)?, take(entries.column(1), &places, None)?);
    made(keys, values, ends, valid, call.returns)
}

/// The keys (0) or the values (1) of each map.
fn column(call: &Call, side: usize) -> Result<ArrayRef> {
    let map = call.args[0].as_map();
    let element = element_of(call.returns).cloned().unwrap_or(DataType::Null);
    let field = Arc::new(Field::new("element", element, true));
    let values = Arc::clone(map.entries().column(side));
    Ok(Arc::new(ListArray::try_new(field, map.offsets().clone(), values, map.nulls().cloned())?))
}

fn map_entries(call: &Call) -> Result<ArrayRef> {
    let map = call.args[0].as_map();
    let Some(element @ DataType::Struct(fields)) = element_of(call.returns) else {
        return exec_err!("map_entries returns {}", call.returns);
    };
    let entries = StructArray::try_new(fields.clone(), map.entries().columns().to_vec(), None)?;
    let field = Arc::new(Field::new("element", element.clone(), true));
    Ok(Arc::new(ListArray::try_new(field, map.offsets().clone(), Arc::new(entries), map.nulls().cloned())?))
}

/// Where the entries of a row lie.
fn entries(map: &MapArray, row: usize) -> std::ops::Range<usize> {
    let offsets = map.value_offsets();
    offsets[row] as usize..offsets[row + 1] as usize
}

fn contains_key(call: &Call) -> Result<ArrayRef> {
    let map = call.args[0].as_map();
    let order = comparator(map.keys(), &call.args[1])?;
    each::<BooleanArray, _>(call, |row| Some(entries(map, row).any(|at| order(at, row) == Ordering::Equal)))
}

fn bind_concat(bind: &Bind) -> Result<Bound> {
    let mut to = DataType::Null;
    for kind in bind.types {
        to = common(bind.conf, &to, kind).ok_or_else(|| mismatch(bind, "the maps differ in type"))?;
    }
    if entry_of(&to).is_none() {
        return Err(mismatch(bind, "MAPs are needed"));
    }
    Ok(Bound::new(vec![to.clone(); bind.types.len()], to))
}

fn map_concat(call: &Call) -> Result<ArrayRef> {
    let maps: Vec<&MapArray> = call.args.iter().map(|array| array.as_map()).collect();
    let all = |side: usize| -> Result<ArrayRef> {
        let columns: Vec<&dyn Array> = maps.iter().map(|map| map.entries().column(side).as_ref()).collect();
        Ok(joined(&columns)?)
    };
    let (mut places, mut ends, mut valid) = (Vec::new(), vec![0], Vec::new());
    for row in 0..call.rows {
        let good = call.all_valid(row);
        if good {
            let mut before = 0;
            for map in &maps {
                places.extend(entries(map, row).map(|at| (before + at) as u32));
                before += map.entries().len();
            }
        }
        ends.push(i32::try_from(places.len()).unwrap_or(i32::MAX));
        valid.push(good);
    }
    let places = UInt32Array::from(places);
    made(take(&all(0)?, &places, None)?, take(&all(1)?, &places, None)?, ends, valid, call.returns)
}

fn bind_text(bind: &Bind) -> Result<Bound> {
    let args = fixed(bind, &[Want::Text, Want::Text, Want::Text], 1)?;
    super::regexp::check_patterns(bind, &[1, 2])?;
    Ok(Bound::new(args, map_of(DataType::Utf8, DataType::Utf8)))
}

/// `a:1,b:2` to a map; both separators are regular expressions in Spark, and are so here.
fn str_to_map(call: &Call) -> Result<ArrayRef> {
    let (mut keys, mut values, mut ends, mut valid) = (Vec::new(), Vec::new(), vec![0], Vec::new());
    for row in 0..call.rows {
        let good = call.all_valid(row);
        if good {
            let pairs = super::regexp::compiled(call.text(1, row).unwrap_or(","))?;
            let parts = super::regexp::compiled(call.text(2, row).unwrap_or(":"))?;
            for pair in super::regexp::split(&pairs, call.texts(0).value(row), -1)? {
                let mut sides = super::regexp::split(&parts, pair, 2)?.into_iter();
                keys.push(sides.next().unwrap_or_default().to_owned());
                values.push(sides.next().map(str::to_owned));
            }
        }
        ends.push(i32::try_from(keys.len()).unwrap_or(i32::MAX));
        valid.push(good);
    }
    let keys: arrow::array::StringArray = keys.into_iter().map(Some).collect();
    let values: arrow::array::StringArray = values.into_iter().collect();
    made(Arc::new(keys), Arc::new(values), ends, valid, call.returns)
}

fn bind_struct(bind: &Bind) -> Result<Bound> {
    if bind.types.is_empty() || bind.types.len() % 2 == 1 {
        return Err(mismatch(bind, "names and values come in pairs"));
    }
    let mut fields = Vec::with_capacity(bind.types.len() / 2);
    for at in (0..bind.types.len()).step_by(2) {
        let name = bind.text(at).ok_or_else(|| mismatch(bind, "the name of a field is a literal"))?;
        fields.push(Field::new(name, bind.types[at + 1].clone(), true));
    }
    Ok(Bound::new(bind.types.to_vec(), DataType::Struct(Fields::from(fields))))
}

fn named_struct(call: &Call) -> Result<ArrayRef> {
    let DataType::Struct(fields) = call.returns else {
        return exec_err!("named_struct returns {}", call.returns);
    };
    let columns = call.args.iter().skip(1).step_by(2).cloned().collect();
    Ok(Arc::new(StructArray::try_new(fields.clone(), columns, None)?))
}

/// An array by an INT, a map by a key.
fn bind_item(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 2)?;
    match &bind.types[0] {
        DataType::List(field) => {
            let index = &bind.types[1];
            if bind.name == "get_item" && !is_integral(index) && *index != DataType::Null {
                return Err(mismatch(bind, format!("{} is not an index of an ARRAY", name_of(index))));
            }
            Ok(Bound::new(
                [bind.types[0].clone(), castable(bind, index, Want::Int)?],
                field.data_type().clone(),
            ))
        }
        DataType::Map(..) => with_key(bind, Clone::clone),
        DataType::Null => Ok(Bound::new(bind.types.to_vec(), DataType::Null)),
        // `query::coerce` makes `get_field` of it.
        DataType::Struct(fields) if bind.name == "get_item" => {
            let name = bind.text(1).ok_or_else(|| {
                refused("INVALID_EXTRACT_FIELD_TYPE", "the name of a field is a literal text")
            })?;
            let is_meant = |field: &&FieldRef| is_same_name(bind.conf.case_sensitive, field.name(), name);
            let field = fields.iter().find(is_meant).ok_or_else(|| {
                refused("FIELD_NOT_FOUND", format!("there is no field {name} in {}", name_of(&bind.types[0])))
            })?;
            Ok(Bound::new(bind.types.to_vec(), field.data_type().clone()))
        }
        other => Err(mismatch(bind, format!("{} has no items", name_of(other)))),
    }
}

fn bind_get(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 2)?;
    match element_of(&bind.types[0]) {
        Some(element) => Ok(Bound::new(
            [bind.types[0].clone(), castable(bind, &bind.types[1], Want::Int)?],
            element.clone(),
        )),
        None => Err(mismatch(bind, format!("{} is not an ARRAY", name_of(&bind.types[0])))),
    }
}

/// How an index counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Index {
    FromZero,
    /// From one; negative ones count from the end.
    FromOne,
}

/// What an index without an element gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OutOfRange {
    Null,
    Raise(&'static str),
}

/// The elements of an array at an index.
fn item(call: &Call, index: Index, out: OutOfRange) -> Result<ArrayRef> {
    let list = call.lists(0);
    let place = |row: usize| -> Result<Option<u32>> {
        if !call.all_valid(row) {
            return Ok(None);
        }
        let range = range(list, row);
        let length = i64::try_from(range.len()).unwrap_or(i64::MAX);
        let wanted = call.ints(1).value(row);
        let at = match index {
            Index::FromZero => i64::from(wanted),
            Index::FromOne if wanted > 0 => i64::from(wanted) - 1,
            Index::FromOne => length + i64::from(not_zero(wanted, "element_at")?),
        };
        match usize::try_from(at).ok().filter(|at| *at < range.len()) {
            Some(at) => Ok(u32::try_from(range.start + at).ok()),
            None => match out {
                OutOfRange::Null => Ok(None),
                OutOfRange::Raise(class) => {
                    Err(ExpressionError::raise(class, "the array has no element at the index"))
                }
            },
        }
    };
    let places: UInt32Array = (0..call.rows).map(place).collect::<Result<_>>()?;
    Ok(take(list.values(), &places, None)?)
}

/// The values of a map at a key; NULL without one.
fn value_at(call: &Call) -> Result<ArrayRef> {
    let map = call.args[0].as_map();
    let order = comparator(map.keys(), &call.args[1])?;
    let place = |row: usize| {
        let found =
            call.all_valid(row).then(|| entries(map, row).find(|at| order(*at, row) == Ordering::Equal));
        found.flatten().and_then(|at| u32::try_from(at).ok())
    };
    Ok(take(map.values(), &(0..call.rows).map(place).collect::<UInt32Array>(), None)?)
}

fn get_item(call: &Call) -> Result<ArrayRef> {
    match call.args[0].data_type() {
        DataType::List(_) => {
            let out =
                if call.conf.ansi { OutOfRange::Raise("INVALID_ARRAY_INDEX") } else { OutOfRange::Null };
            item(call, Index::FromZero, out)
        }
        DataType::Map(..) => value_at(call),
        _ => Ok(new_null_array(call.returns, call.rows)),
    }
}

fn element_at(call: &Call, raise: bool) -> Result<ArrayRef> {
    match call.args[0].data_type() {
        DataType::List(_) => {
            let out =
                if raise { OutOfRange::Raise("INVALID_ARRAY_INDEX_IN_ELEMENT_AT") } else { OutOfRange::Null };
            item(call, Index::FromOne, out)
        }
        DataType::Map(..) => value_at(call),
        _ => Ok(new_null_array(call.returns, call.rows)),
    }
}

/// A map with the entries at `places`, for functions that filter or change entries.
pub(crate) fn with_entries(
    keys: &ArrayRef,
    values: &ArrayRef,
    places: Gather,
    returns: &DataType,
) -> Result<ArrayRef> {
    let numbers = UInt32Array::from_iter_values(0..u32::try_from(keys.len()).unwrap_or(u32::MAX));
    let kept = places.finish(&numbers, &list_of(DataType::UInt32))?;
    let kept = kept.as_list::<i32>();
    let chosen = kept.values().as_primitive::<arrow::datatypes::UInt32Type>();
    let ends = kept.value_offsets().to_vec();
    let valid = (0..kept.len()).map(|row| kept.is_valid(row)).collect();
    made(take(keys, chosen, None)?, take(values, chosen, None)?, ends, valid, returns)
}
