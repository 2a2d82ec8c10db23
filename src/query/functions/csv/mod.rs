//! CSV in texts: `from_csv` and `to_csv`, a record at a time (`UnivocityParser` and `UnivocityGenerator` of Spark 4.0).

mod options;
mod record;
mod write;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, PrimitiveArray, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use datafusion::common::{Result, exec_err};

use super::Entry;
use super::json::{arrow_of, has_instant, options_at_run, options_of, schema_of};
use super::scalar::{Bind, Bound, Call, Types, count, entry};
use crate::decode::datetime::cast::date_days;
use crate::decode::schema::DataType as SparkType;
use crate::query::cast::from_text::{Special, floating};
use crate::query::cast::{Mode, Way, cast};
use crate::query::coerce::types::{is_interval, is_number, is_timestamp, mismatch, name_of, refused};
use crate::query::conf::Conf;
use crate::query::error::ExpressionError;
use options::ReadOptions;
use record::Value;

/// Functions of CSV.
pub(crate) const ENTRIES: &[Entry] = &[
    entry!("from_csv", Types::By(bind_from), from_csv, ["expressions/forms"]),
    entry!("to_csv", Types::By(write::bind), write::to_csv, ["expressions/forms"]),
];

fn bind_from(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 3)?;
    if !matches!(bind.types[0], DataType::Utf8 | DataType::Null) {
        return Err(refused(
            "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
            format!("from_csv takes STRING, not {}", name_of(&bind.types[0])),
        ));
    }
    if !bind.strict && bind.text(1).is_none() {
        return Ok(Bound::new(bind.types.to_vec(), DataType::Null));
    }
    let SparkType::Struct(schema) = schema_of(bind)? else {
        return Err(refused("INVALID_SCHEMA.NON_STRUCT_TYPE", "from_csv: the schema names columns"));
    };
    // Reads the options here, so that a wrong one is refused before the first row.
    let options = ReadOptions::of(&options_of(bind, 2)?, bind.conf)?;
    let returns = arrow_of(&SparkType::Struct(schema).to_nullable())?;
    let DataType::Struct(fields) = &returns else { return Err(mismatch(bind, "the schema has no columns")) };
    for field in fields {
        let kind = field.data_type();
        if field.name() == &options.corrupt && *kind != DataType::Utf8 {
            return Err(refused(
                "INVALID_CORRUPT_RECORD_TYPE",
                format!("the column {} of corrupt records is a STRING", options.corrupt),
            ));
        }
        let known = is_number(kind)
            || is_timestamp(kind)
            || matches!(kind, DataType::Utf8 | DataType::Binary | DataType::Boolean | DataType::Date32);
        if !known || is_interval(kind) {
            return Err(refused(
                "UNSUPPORTED_DATATYPE",
                format!("from_csv: the column {} is {}", field.name(), name_of(kind)),
            ));
        }
    }
    let mut args = vec![DataType::Utf8, DataType::Utf8];
    args.extend(bind.types.get(2).cloned());
    Ok(Bound::new(args, returns))
}

fn from_csv(call: &Call) -> Result<ArrayRef> {
    let DataType::Struct(fields) = call.returns else { return exec_err!("from_csv makes a STRUCT") };
    let options = ReadOptions::of(&options_at_run(call, 2), call.conf)?;
    let now = match call.conf.clock.started() {
        Some(now) => now,
        // A constant is not folded then, so that each batch asks its own clock.
        None if has_instant(call.returns) => {
            return exec_err!("a time without a date has no day before there is a batch");
        }
        None => 0,
    };
    let texts = call.texts(0);
    let columns = fields.iter().filter(|field| *field.name() != options.corrupt).count();
    let mut rows = Vec::with_capacity(call.rows);
    let mut malformed = vec![false; call.rows];
    for (row, malformed) in malformed.iter_mut().enumerate() {
        let values =
            if texts.is_valid(row) { options.format.read(texts.value(row)) } else { Some(Vec::new()) };
        *malformed = texts.is_valid(row) && values.as_ref().is_none_or(|values| values.len() != columns);
        let text = |value| match value {
            Value::Missing => None,
            Value::Empty => Some(options.empty_value.clone()),
            Value::Text(text) => Some(text),
        };
        let values = values.unwrap_or_default().into_iter().map(text);
        rows.push(values.map(|text| text.filter(|text| *text != options.null_value)).collect::<Vec<_>>());
    }
    let mut made: Vec<Option<ArrayRef>> = Vec::with_capacity(fields.len());
    let mut at = 0;
    for field in fields {
        if *field.name() == options.corrupt {
            made.push(None);
            continue;
        }
        let texts: Vec<Option<String>> =
            rows.iter_mut().map(|values| values.get_mut(at).and_then(Option::take)).collect();
        let column = column(&texts, field.data_type(), &options, (now, call.conf))?;
        for (row, malformed) in malformed.iter_mut().enumerate() {
            *malformed |= texts[row].is_some() && column.is_null(row);
        }
        made.push(Some(column));
        at += 1;
    }
    if options.fails && malformed.contains(&true) {
        return Err(ExpressionError::raise(
            "MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION",
            "the text is malformed",
        ));
    }
    let corrupt: ArrayRef =
        Arc::new((0..call.rows).map(|row| malformed[row].then(|| texts.value(row))).collect::<StringArray>());
    let made = made.into_iter().map(|column| column.unwrap_or_else(|| Arc::clone(&corrupt))).collect();
    let nulls = texts.nulls().cloned().or_else(|| Some(NullBuffer::new_valid(call.rows)));
    Ok(Arc::new(StructArray::try_new(fields.clone(), made, nulls)?))
}

/// The values of one column; NULL where a text has none.
fn column(
    texts: &[Option<String>],
    kind: &DataType,
    options: &ReadOptions,
    (now, conf): (i64, &Conf),
) -> Result<ArrayRef> {
    let texts = || texts.iter().map(Option::as_deref);
    fn whole<'a, T>(texts: impl Iterator<Item = Option<&'a str>>) -> ArrayRef
    where
        T: ArrowPrimitiveType,
        T::Native: std::str::FromStr,
    {
        Arc::new(texts.map(|text| text?.parse().ok()).collect::<PrimitiveArray<T>>())
    }
    fn fraction<'a, T>(texts: impl Iterator<Item = Option<&'a str>>, options: &ReadOptions) -> ArrayRef
    where
        T: ArrowPrimitiveType,
        T::Native: std::str::FromStr + Special,
    {
        Arc::new(texts.map(|text| number(text?, options)).collect::<PrimitiveArray<T>>())
    }
    Ok(match kind {
        DataType::Utf8 => Arc::new(texts().collect::<StringArray>()),
        DataType::Binary => Arc::new(texts().map(|text| text.map(str::as_bytes)).collect::<BinaryArray>()),
        DataType::Boolean => Arc::new(texts().map(|text| boolean(text?)).collect::<BooleanArray>()),
        DataType::Int8 => whole::<Int8Type>(texts()),
        DataType::Int16 => whole::<Int16Type>(texts()),
        DataType::Int32 => whole::<Int32Type>(texts()),
        DataType::Int64 => whole::<Int64Type>(texts()),
        DataType::Float32 => fraction::<Float32Type>(texts(), options),
        DataType::Float64 => fraction::<Float64Type>(texts(), options),
        DataType::Decimal128(..) => {
            let digits: ArrayRef = Arc::new(texts().map(|text| decimal(text?)).collect::<StringArray>());
            cast(&digits, kind, Way { mode: Mode::Try, conf })?
        }
        DataType::Date32 => {
            let day = |text: &str| match options.has_date_format {
                true => options.moments.date_days(text.as_bytes()),
                false => date_days(text.as_bytes()),
            };
            Arc::new(texts().map(|text| day(text?)).collect::<Date32Array>())
        }
        DataType::Timestamp(_, zone) => {
            let micros = |text: &str| match zone {
                Some(_) => options.moments.timestamp_micros(text.as_bytes(), now),
                None => options.moments.timestamp_ntz_micros(text.as_bytes()),
            };
            let values: TimestampMicrosecondArray = texts().map(|text| micros(text?)).collect();
            Arc::new(values.with_data_type(kind.clone()))
        }
        other => return exec_err!("no {other} is read from CSV"),
    })
}

/// Scala's `toBoolean`.
fn boolean(text: &str) -> Option<bool> {
    match text {
        text if text.eq_ignore_ascii_case("true") => Some(true),
        text if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A number as Java's `parseDouble` reads it, or one of the names that the options give.
fn number<T: std::str::FromStr + Special>(text: &str, options: &ReadOptions) -> Option<T> {
    match text {
        text if text == options.nan => return Some(T::NAN),
        text if text == options.negative => return Some(T::NEGATIVE),
        text if text == options.positive => return Some(T::INFINITY),
        _ => {}
    }
    let text = text.trim_matches(|c| c <= ' ');
    let name = text.strip_prefix(['+', '-']).unwrap_or(text);
    // Java's names are in exact case, and there are no short ones.
    let named = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if named && !matches!(name, "NaN" | "Infinity") { None } else { floating(text) }
}

/// The text of a decimal without the commas between its digits; `None` if it is none.
fn decimal(text: &str) -> Option<String> {
    let digits = text.replace(',', "");
    let is_number = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
    digits.bytes().all(is_number).then_some(digits)
}
