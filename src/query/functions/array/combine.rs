//! Arrays made of values, of one value, or of several arrays; and one text made of an array.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, StringBuilder, StructArray, UInt32Array, new_null_array,
};
use arrow::compute::{concat as joined, take};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::Result;

use super::arguments::list;
use super::elements::limited;
use super::gather::{Gather, span};
use crate::query::coerce::types::{Want, castable, common, element_of, list_of, mismatch, name_of};
use crate::query::error::ExpressionError;
use crate::query::functions::scalar::{Bind, Bound, Call, count};
use crate::query::result_size::TextBytes;

pub(super) fn bind_array(bind: &Bind) -> Result<Bound> {
    let mut to = DataType::Null;
    for kind in bind.types {
        to = common(bind.conf, &to, kind).ok_or_else(|| {
            mismatch(bind, format!("{} and {} have no common type", name_of(&to), name_of(kind)))
        })?;
    }
    Ok(Bound::new(vec![to.clone(); bind.types.len()], list_of(to)))
}

pub(super) fn array(call: &Call) -> Result<ArrayRef> {
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

pub(super) fn bind_flatten(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 1)?;
    let kind = list(bind, 0)?;
    match element_of(&kind) {
        Some(inner @ DataType::List(_)) => Ok(Bound::new([kind.clone()], inner.clone())),
        _ => Err(mismatch(bind, "an ARRAY of ARRAYs is needed")),
    }
}

/// The elements of the inner arrays; NULL if one of them is null.
pub(super) fn flatten(call: &Call) -> Result<ArrayRef> {
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

pub(super) fn bind_zip(bind: &Bind) -> Result<Bound> {
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

pub(super) fn zip(call: &Call) -> Result<ArrayRef> {
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

pub(super) fn bind_join(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 3)?;
    list(bind, 0)?;
    let mut args = vec![list_of(DataType::Utf8)];
    for kind in &bind.types[1..] {
        args.push(castable(bind, kind, Want::Text)?);
    }
    Ok(Bound::new(args, DataType::Utf8))
}

pub(super) fn join(call: &Call) -> Result<ArrayRef> {
    let list = call.lists(0);
    let texts = list.values().as_string::<i32>();
    let (mut out, made) = (StringBuilder::new(), TextBytes::new(call.conf.record_bytes));
    for row in 0..call.rows {
        if !call.all_valid(row) {
            out.append_null();
            continue;
        }
        let separator = call.texts(1).value(row);
        let replacement = call.text(2, row);
        let shown = span(list, row)
            .filter_map(|at| if texts.is_valid(at) { Some(texts.value(at)) } else { replacement });
        let shown: Vec<&str> = shown.collect();
        made.add(shown.iter().map(|text| text.len() + separator.len()).sum())?;
        out.append_value(shown.join(separator));
    }
    Ok(Arc::new(out.finish()))
}

pub(super) fn bind_repeat(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 2)?;
    let element = bind.types[0].clone();
    Ok(Bound::new([element.clone(), castable(bind, &bind.types[1], Want::Int)?], list_of(element)))
}

pub(super) fn repeat(call: &Call) -> Result<ArrayRef> {
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
