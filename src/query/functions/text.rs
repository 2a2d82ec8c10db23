//! Functions of STRING: case, parts, padding, trimming, joining.
//!
//! `stringExpressions` of Spark 4.0. Positions count characters (code points) from one; zero and negative positions
//! are as in `UTF8String.substringSQL`.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int32Array, StringArray, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};

use super::Entry;
use super::scalar::{Bind, Bound, Call, Types, count, each, entry, takes, try_each};
use crate::query::coerce::types::{Want, castable, common, element_of, list_of, mismatch};
use crate::query::error::ExpressionError;
use crate::query::result_size::TextBytes;

/// Functions of texts.
pub(crate) const ENTRIES: &[Entry] = &[
    entry!(
        "upper" | "ucase",
        takes!([Text] => DataType::Utf8),
        |call| map(call, |text| text.to_uppercase().into()),
        ["stateless/string_basics", "expressions/string"]
    ),
    entry!(
        "lower" | "lcase",
        takes!([Text] => DataType::Utf8),
        |call| map(call, |text| text.to_lowercase().into()),
        ["stateless/string_basics", "expressions/string"]
    ),
    entry!(
        "length" | "char_length" | "character_length" | "len",
        takes!([TextOrBytes] => DataType::Int32),
        length,
        ["stateless/string_basics", "expressions/string"]
    ),
    entry!(
        "octet_length",
        takes!([TextOrBytes] => DataType::Int32),
        |call| bytes_times(call, 1),
        ["expressions/string"]
    ),
    entry!(
        "bit_length",
        takes!([TextOrBytes] => DataType::Int32),
        |call| bytes_times(call, 8),
        ["expressions/string"]
    ),
    entry!(
        "trim" | "btrim",
        takes!([Text, Text], 1 => DataType::Utf8),
        |call| trim(call, true, true),
        ["stateless/string_basics", "expressions/string"]
    ),
    entry!(
        "ltrim",
        takes!([Text, Text], 1 => DataType::Utf8),
        |call| trim(call, true, false),
        ["stateless/string_basics", "expressions/string"]
    ),
    entry!(
        "rtrim",
        takes!([Text, Text], 1 => DataType::Utf8),
        |call| trim(call, false, true),
        ["stateless/string_basics", "expressions/string"]
    ),
    entry!(
        "initcap",
        takes!([Text] => DataType::Utf8),
        |call| map(call, |text| initcap(text).into()),
        ["stateless/string_basics", "expressions/string"]
    ),
    entry!(
        "lpad",
        takes!([Text, Int, Text], 2 => DataType::Utf8),
        |call| pad(call, true),
        ["stateless/string_padding", "expressions/string"]
    ),
    entry!(
        "rpad",
        takes!([Text, Int, Text], 2 => DataType::Utf8),
        |call| pad(call, false),
        ["stateless/string_padding", "expressions/string"]
    ),
    entry!(
        "repeat",
        takes!([Text, Int] => DataType::Utf8),
        repeat,
        ["stateless/string_padding", "expressions/string"]
    ),
    entry!("collate", Types::By(bind_collate), |call| Ok(Arc::clone(&call.args[0])), ["expressions/string"]),
    entry!("space", takes!([Int] => DataType::Utf8), space, ["expressions/string"]),
    entry!(
        "substring" | "substr",
        Types::By(bind_substring),
        substring,
        ["stateless/substring_positions", "expressions/string"]
    ),
    entry!(
        "left",
        takes!([Text, Int] => DataType::Utf8),
        |call| each::<StringArray, _>(call, |row| Some(part(
            call.texts(0).value(row),
            1,
            call.ints(1).value(row)
        ))),
        ["stateless/substring_positions", "expressions/string"]
    ),
    entry!(
        "right",
        takes!([Text, Int] => DataType::Utf8),
        right,
        ["stateless/substring_positions", "expressions/string"]
    ),
    entry!("concat", Types::By(bind_concat), concat, ["stateless/concat_and_nulls", "expressions/string"]),
    entry!(
        "concat_ws",
        Types::By(bind_concat_ws),
        concat_ws,
        ["stateless/concat_and_nulls", "expressions/string"]
    ),
    entry!(
        "replace",
        takes!([Text, Text, Text], 2 => DataType::Utf8),
        replace,
        ["stateless/replace_functions", "expressions/string"]
    ),
    entry!(
        "translate",
        takes!([Text, Text, Text] => DataType::Utf8),
        |call| each::<StringArray, _>(call, |row| Some(translate(
            call.texts(0).value(row),
            call.texts(1).value(row),
            call.texts(2).value(row)
        ))),
        ["stateless/replace_functions", "expressions/string"]
    ),
    entry!(
        "overlay",
        takes!([Text, Text, Int, Int], 3 => DataType::Utf8),
        overlay,
        ["stateless/levenshtein_soundex_overlay", "expressions/string"]
    ),
    entry!(
        "split_part",
        takes!([Text, Text, Int] => DataType::Utf8),
        split_part,
        ["stateless/split_and_parts", "expressions/string"]
    ),
    entry!(
        "substring_index",
        takes!([Text, Text, Int] => DataType::Utf8),
        |call| each::<StringArray, _>(call, |row| Some(
            substring_index(call.texts(0).value(row), call.texts(1).value(row), call.ints(2).value(row))
                .to_owned()
        )),
        ["expressions/string"]
    ),
    entry!("elt", Types::By(bind_elt), elt, ["expressions/string"]),
    entry!("mask", takes!([Text, Text, Text, Text, Text], 1 => DataType::Utf8), mask, ["expressions/string"]),
];

/// Only the collation that every text has.
fn bind_collate(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 2)?;
    match bind.text(1) {
        Some(name) if name.eq_ignore_ascii_case("UTF8_BINARY") => {
            Ok(Bound::new([castable(bind, &bind.types[0], Want::Text)?, DataType::Utf8], DataType::Utf8))
        }
        _ => Err(mismatch(bind, "the collation is the literal 'UTF8_BINARY'")),
    }
}

fn map<'a>(call: &'a Call, change: impl Fn(&'a str) -> Cow<'a, str>) -> Result<ArrayRef> {
    let texts = call.args[0].as_string::<i32>();
    Ok(Arc::new(texts.iter().map(|text| text.map(&change)).collect::<StringArray>()))
}

fn length(call: &Call) -> Result<ArrayRef> {
    if *call.args[0].data_type() == DataType::Binary {
        return bytes_times(call, 1);
    }
    each::<Int32Array, _>(call, |row| i32::try_from(call.texts(0).value(row).chars().count()).ok())
}

fn bytes_times(call: &Call, factor: i32) -> Result<ArrayRef> {
    let length = |row: usize| match call.args[0].as_binary_opt::<i32>() {
        Some(bytes) => bytes.value(row).len(),
        None => call.texts(0).value(row).len(),
    };
    each::<Int32Array, _>(call, |row| Some(i32::try_from(length(row)).ok()?.wrapping_mul(factor)))
}

fn trim(call: &Call, start: bool, end: bool) -> Result<ArrayRef> {
    each::<StringArray, _>(call, |row| {
        let text = call.texts(0).value(row);
        let set = call.text(1, row).unwrap_or(" ");
        let unwanted = |c: char| set.contains(c);
        let text = if start { text.trim_start_matches(unwanted) } else { text };
        Some(if end { text.trim_end_matches(unwanted) } else { text }.to_owned())
    })
}

/// The first letter of each word in upper case, the others in lower; a word ends at a blank.
fn initcap(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut first = true;
    for c in text.to_lowercase().chars() {
        if first {
            out.extend(c.to_uppercase())
        } else {
            out.push(c)
        }
        first = c == ' ';
    }
    out
}

fn pad(call: &Call, left: bool) -> Result<ArrayRef> {
    let made = TextBytes::new(call.conf.record_bytes);
    try_each::<StringArray, _>(call, |row| {
        let (text, length) = (call.texts(0).value(row), call.ints(1).value(row));
        let filler = call.text(2, row).unwrap_or(" ");
        let length = usize::try_from(length).unwrap_or(0);
        let present = text.chars().count();
        if present >= length || filler.is_empty() {
            return Ok(Some(text.chars().take(length).collect::<String>()));
        }
        let missing = length - present;
        let fillers = missing.div_ceil(filler.chars().count());
        made.add(text.len().saturating_add(filler.len().saturating_mul(fillers)))?;
        let filling = filler.chars().cycle().take(missing);
        Ok(Some(if left {
            filling.chain(text.chars()).collect()
        } else {
            text.chars().chain(filling).collect()
        }))
    })
}

fn repeat(call: &Call) -> Result<ArrayRef> {
    let made = TextBytes::new(call.conf.record_bytes);
    try_each::<StringArray, _>(call, |row| {
        let (text, times) = (call.texts(0).value(row), usize::try_from(call.ints(1).value(row)).unwrap_or(0));
        made.add(text.len().saturating_mul(times))?;
        Ok(Some(text.repeat(times)))
    })
}

fn space(call: &Call) -> Result<ArrayRef> {
    let made = TextBytes::new(call.conf.record_bytes);
    try_each::<StringArray, _>(call, |row| {
        let length = usize::try_from(call.ints(0).value(row)).unwrap_or(0);
        made.add(length)?;
        Ok(Some(" ".repeat(length)))
    })
}

fn bind_substring(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 3)?;
    let text = castable(bind, &bind.types[0], Want::TextOrBytes)?;
    let mut args = vec![text.clone()];
    for kind in &bind.types[1..] {
        args.push(castable(bind, kind, Want::Int)?);
    }
    Ok(Bound::new(args, text))
}

/// The units from `from` (counted from one; from the end if negative) on, and how many: `start..end`.
pub(crate) fn range_of(units: usize, position: i32, length: i32) -> std::ops::Range<usize> {
    let units = i64::try_from(units).unwrap_or(i64::MAX);
    let start = match position {
        1.. => i64::from(position) - 1,
        0 => 0,
        _ => units + i64::from(position),
    };
    let end = (start + i64::from(length)).clamp(0, units);
    let start = start.clamp(0, units);
    let (start, end) = (usize::try_from(start).unwrap_or(0), usize::try_from(end).unwrap_or(0));
    start..end.max(start)
}

/// The part of a text.
pub(crate) fn part(text: &str, position: i32, length: i32) -> String {
    if text.is_ascii() {
        return text[range_of(text.len(), position, length)].to_owned();
    }
    let range = range_of(text.chars().count(), position, length);
    text.chars().skip(range.start).take(range.len()).collect()
}

fn substring(call: &Call) -> Result<ArrayRef> {
    let length = |row: usize| if call.has(2) { call.ints(2).value(row) } else { i32::MAX };
    if *call.returns == DataType::Binary {
        return each::<BinaryArray, _>(call, |row| {
            let bytes = call.bytes(0).value(row);
            Some(bytes[range_of(bytes.len(), call.ints(1).value(row), length(row))].to_vec())
        });
    }
    each::<StringArray, _>(call, |row| {
        Some(part(call.texts(0).value(row), call.ints(1).value(row), length(row)))
    })
}

fn right(call: &Call) -> Result<ArrayRef> {
    each::<StringArray, _>(call, |row| {
        let length = call.ints(1).value(row);
        Some(if length <= 0 { String::new() } else { part(call.texts(0).value(row), -length, i32::MAX) })
    })
}

/// Texts, BINARY values, or arrays of one type.
fn bind_concat(bind: &Bind) -> Result<Bound> {
    let lists = bind.types.iter().filter(|kind| matches!(kind, DataType::List(_))).count();
    if lists > 0 {
        let mut element = DataType::Null;
        for kind in bind.types {
            let inner = match kind {
                DataType::Null => &DataType::Null,
                kind => {
                    element_of(kind).ok_or_else(|| mismatch(bind, "an array is joined with arrays only"))?
                }
            };
            element = common(bind.conf, &element, inner)
                .ok_or_else(|| mismatch(bind, "the arrays differ in type"))?;
        }
        let list = list_of(element);
        return Ok(Bound::new(vec![list.clone(); bind.types.len()], list));
    }
    if !bind.types.is_empty() && bind.types.iter().all(|kind| *kind == DataType::Binary) {
        return Ok(Bound::new(bind.types.to_vec(), DataType::Binary));
    }
    let args = bind.types.iter().map(|kind| castable(bind, kind, Want::Text)).collect::<Result<Vec<_>>>()?;
    Ok(Bound::new(args, DataType::Utf8))
}

fn concat(call: &Call) -> Result<ArrayRef> {
    match call.returns {
        DataType::List(_) => super::array::concat(call),
        DataType::Binary => each::<BinaryArray, _>(call, |row| {
            Some((0..call.args.len()).flat_map(|at| call.bytes(at).value(row).to_vec()).collect::<Vec<u8>>())
        }),
        _ => {
            let texts: Vec<&StringArray> = (0..call.args.len()).map(|at| call.texts(at)).collect();
            let mut out = StringBuilder::with_capacity(call.rows, call.rows * 16);
            for row in 0..call.rows {
                if call.all_valid(row) {
                    let joined: String = texts.iter().map(|texts| texts.value(row)).collect();
                    out.append_value(joined);
                } else {
                    out.append_null();
                }
            }
            Ok(Arc::new(out.finish()))
        }
    }
}

fn bind_concat_ws(bind: &Bind) -> Result<Bound> {
    if bind.types.is_empty() {
        return Err(mismatch(bind, "a separator is needed"));
    }
    let args = bind.types.iter().map(|kind| match kind {
        DataType::List(_) => Ok(list_of(DataType::Utf8)),
        kind => castable(bind, kind, Want::Text),
    });
    Ok(Bound::new(args.collect::<Result<Vec<_>>>()?, DataType::Utf8))
}

/// Texts and the elements of arrays with a separator between; nulls are left out.
fn concat_ws(call: &Call) -> Result<ArrayRef> {
    let (mut out, made) = (StringBuilder::new(), TextBytes::new(call.conf.record_bytes));
    for row in 0..call.rows {
        let Some(separator) = call.text(0, row) else {
            out.append_null();
            continue;
        };
        let mut joined = String::new();
        let mut first = true;
        let mut add = |text: &str| {
            made.add(separator.len() + text.len())?;
            if !first {
                joined.push_str(separator);
            }
            first = false;
            joined.push_str(text);
            Ok::<_, DataFusionError>(())
        };
        for array in &call.args[1..] {
            if array.is_null(row) {
                continue;
            }
            match array.as_list_opt::<i32>() {
                Some(list) => list.value(row).as_string::<i32>().iter().flatten().try_for_each(&mut add)?,
                None => add(array.as_string::<i32>().value(row))?,
            }
        }
        out.append_value(joined);
    }
    Ok(Arc::new(out.finish()))
}

fn replace(call: &Call) -> Result<ArrayRef> {
    let made = TextBytes::new(call.conf.record_bytes);
    try_each::<StringArray, _>(call, |row| {
        let (text, search) = (call.texts(0).value(row), call.texts(1).value(row));
        let replacement = call.text(2, row).unwrap_or("");
        if search.is_empty() {
            return Ok(Some(text.to_owned()));
        }
        if replacement.len() > search.len() {
            made.add(
                text.len().saturating_add(text.matches(search).count().saturating_mul(replacement.len())),
            )?;
        }
        Ok(Some(text.replace(search, replacement)))
    })
}

/// Characters of `from` become those of `to` at the same place; without one they go.
fn translate(text: &str, from: &str, to: &str) -> String {
    let to: Vec<char> = to.chars().collect();
    text.chars()
        .filter_map(|c| match from.chars().position(|known| known == c) {
            Some(at) => to.get(at).copied(),
            None => Some(c),
        })
        .collect()
}

fn overlay(call: &Call) -> Result<ArrayRef> {
    each::<StringArray, _>(call, |row| {
        let (text, new, at) = (call.texts(0).value(row), call.texts(1).value(row), call.ints(2).value(row));
        let length = if call.has(3) { call.ints(3).value(row) } else { -1 };
        let length = if length >= 0 { length } else { i32::try_from(new.chars().count()).ok()? };
        let mut out = part(text, 1, at.wrapping_sub(1));
        out.push_str(new);
        out.push_str(&part(text, at.wrapping_add(length), i32::MAX));
        Some(out)
    })
}

fn split_part(call: &Call) -> Result<ArrayRef> {
    try_each::<StringArray, _>(call, |row| {
        let (text, delimiter, at) =
            (call.texts(0).value(row), call.texts(1).value(row), call.ints(2).value(row));
        if at == 0 {
            return Err(ExpressionError::raise("INVALID_INDEX_OF_ZERO", "split_part counts parts from one"));
        }
        let parts: Vec<&str> =
            if delimiter.is_empty() { vec![text] } else { text.split(delimiter).collect() };
        let size = usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX);
        let index = if at > 0 { Some(size - 1) } else { parts.len().checked_sub(size) };
        Ok(Some(index.and_then(|index| parts.get(index)).copied().unwrap_or("").to_owned()))
    })
}

/// What is before the `count`th delimiter; if negative, what is behind the one counted from the end.
fn substring_index<'a>(text: &'a str, delimiter: &str, count: i32) -> &'a str {
    if delimiter.is_empty() || count == 0 {
        return "";
    }
    let nth = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX) - 1;
    if count > 0 {
        return text.match_indices(delimiter).nth(nth).map_or(text, |(at, _)| &text[..at]);
    }
    text.rmatch_indices(delimiter).nth(nth).map_or(text, |(at, _)| &text[at + delimiter.len()..])
}

fn bind_elt(bind: &Bind) -> Result<Bound> {
    if bind.types.len() < 2 {
        return Err(mismatch(bind, "an index and a text are needed"));
    }
    let mut args = vec![castable(bind, &bind.types[0], Want::Int)?];
    for kind in &bind.types[1..] {
        args.push(castable(bind, kind, Want::Text)?);
    }
    Ok(Bound::new(args, DataType::Utf8))
}

fn elt(call: &Call) -> Result<ArrayRef> {
    let texts = call.args.len() - 1;
    let values = (0..call.rows).map(|row| {
        let Some(at) = call.int(0, row) else { return Ok(None) };
        match usize::try_from(at).ok().filter(|at| (1..=texts).contains(at)) {
            Some(at) => Ok(call.text(at, row)),
            None if call.conf.ansi => {
                Err(ExpressionError::raise("INVALID_ARRAY_INDEX", format!("elt has {texts} texts")))
            }
            None => Ok(None),
        }
    });
    Ok(Arc::new(values.collect::<Result<StringArray>>()?))
}

/// Letters and digits replaced by signs; a null sign keeps what it would replace.
fn mask(call: &Call) -> Result<ArrayRef> {
    let sign = |at: usize, row: usize, default: Option<char>| {
        if call.has(at) { call.text(at, row).and_then(|text| text.chars().next()) } else { default }
    };
    let values = (0..call.rows).map(|row| {
        let text = call.text(0, row)?;
        let signs =
            [sign(1, row, Some('X')), sign(2, row, Some('x')), sign(3, row, Some('n')), sign(4, row, None)];
        let masked = text.chars().map(|c| {
            let kind = if c.is_uppercase() {
                0
            } else if c.is_lowercase() {
                1
            } else if c.is_numeric() {
                2
            } else {
                3
            };
            signs[kind].unwrap_or(c)
        });
        Some(masked.collect::<String>())
    });
    Ok(Arc::new(values.collect::<StringArray>()))
}
