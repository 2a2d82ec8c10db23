//! Casts to STRING: the texts that Java and Spark make of values.
//!
//! `ToStringBase` of Spark 4.0. [`write_value`] writes one value of any type; nested values are in Spark's own
//! brackets, with `null` for what is missing.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, DurationSecondType, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType, TimeUnit,
    TimestampMicrosecondType,
};
use datafusion::common::{Result, exec_err};

use super::time::{MICROS_PER_DAY, to_clock};
use super::{Mode, Way};
use crate::decode::datetime::civil::{MICROS_PER_SECOND, SECONDS_PER_DAY, date_of};
use crate::decode::json::{write_double, write_float};
use crate::query::arithmetic::decimal::{java_text, plain_text};

pub(super) fn cast(array: &ArrayRef, way: Way) -> Result<ArrayRef> {
    let mut texts = StringBuilder::with_capacity(array.len(), array.len() * 8);
    let mut text = String::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            texts.append_null();
            continue;
        }
        text.clear();
        write_value(array, row, way, &mut text)?;
        texts.append_value(&text);
    }
    Ok(Arc::new(texts.finish()) as Arc<StringArray>)
}

/// Writes the value of `row`, which is not null.
pub(crate) fn write_value(array: &dyn Array, row: usize, way: Way, out: &mut String) -> Result<()> {
    macro_rules! shown {
        ($kind:ty) => {
            write!(out, "{}", array.as_primitive::<$kind>().value(row)).expect("a String takes everything")
        };
    }
    match array.data_type() {
        DataType::Null => out.push_str("null"),
        DataType::Boolean => out.push_str(if array.as_boolean().value(row) { "true" } else { "false" }),
        DataType::Int8 => shown!(Int8Type),
        DataType::Int16 => shown!(Int16Type),
        DataType::Int32 => shown!(Int32Type),
        DataType::Int64 => shown!(Int64Type),
        DataType::Float32 => {
            push_ascii(out, |bytes| write_float(array.as_primitive::<Float32Type>().value(row), bytes))
        }
        DataType::Float64 => {
            push_ascii(out, |bytes| write_double(array.as_primitive::<Float64Type>().value(row), bytes))
        }
        DataType::Decimal128(_, scale) => {
            let value = array.as_primitive::<Decimal128Type>().value(row);
            if way.mode == Mode::Lenient {
                java_text(value, *scale, out)
            } else {
                plain_text(value, *scale, out)
            }
        }
        DataType::Utf8 => out.push_str(array.as_string::<i32>().value(row)),
        DataType::Binary => out.push_str(&String::from_utf8_lossy(array.as_binary::<i32>().value(row))),
        DataType::Date32 => write_date(array.as_primitive::<Date32Type>().value(row), out),
        DataType::Timestamp(_, zone) => {
            let at = array.as_primitive::<TimestampMicrosecondType>().value(row);
            write_clock(if zone.is_some() { to_clock(at, &way.conf.zone) } else { at }, out);
        }
        DataType::Duration(TimeUnit::Second) => {
            let days = array.as_primitive::<DurationSecondType>().value(row) / SECONDS_PER_DAY;
            write!(out, "INTERVAL '{days}' DAY").expect("a String takes everything");
        }
        DataType::Duration(_) => {
            write_day_time(array.as_primitive::<DurationMicrosecondType>().value(row), out)
        }
        DataType::Interval(_) => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            write_interval(value.months, value.days, value.nanoseconds / 1000, out);
        }
        DataType::List(_) => {
            let values = array.as_list::<i32>().value(row);
            write_items(out, ['[', ']'], values.len(), |at, out| write_or_null(&values, at, way, out))?;
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            write_items(out, ['{', '}'], entries.len(), |at, out| {
                write_or_null(keys, at, way, out)?;
                out.push_str(" -> ");
                write_or_null(values, at, way, out)
            })?;
        }
        DataType::Struct(_) => {
            let record = array.as_struct();
            write_items(out, ['{', '}'], record.num_columns(), |at, out| {
                write_or_null(record.column(at), row, way, out)
            })?;
        }
        other => return exec_err!("no text for a value of {other}"),
    }
    Ok(())
}

fn write_or_null(array: &dyn Array, row: usize, way: Way, out: &mut String) -> Result<()> {
    if array.is_null(row) {
        out.push_str("null");
        return Ok(());
    }
    write_value(array, row, way, out)
}

fn write_items(
    out: &mut String,
    [open, close]: [char; 2],
    count: usize,
    write: impl Fn(usize, &mut String) -> Result<()>,
) -> Result<()> {
    out.push(open);
    for at in 0..count {
        if at > 0 {
            out.push_str(", ");
        }
        write(at, out)?;
    }
    out.push(close);
    Ok(())
}

fn push_ascii(out: &mut String, write: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = Vec::with_capacity(24);
    write(&mut bytes);
    out.push_str(std::str::from_utf8(&bytes).expect("a number is ASCII"));
}

/// `yyyy-MM-dd`, with a sign for years beyond four digits.
pub(crate) fn write_date(day: i32, out: &mut String) {
    let (year, month, day) = date_of(i64::from(day));
    write_year(year, out);
    write!(out, "-{month:02}-{day:02}").expect("a String takes everything");
}

fn write_year(year: i64, out: &mut String) {
    let written = match year {
        0..=9999 => write!(out, "{year:04}"),
        10_000.. => write!(out, "+{year}"),
        _ => write!(out, "-{:04}", -year),
    };
    written.expect("a String takes everything");
}

/// `yyyy-MM-dd HH:mm:ss` and the fraction without zeros at its end.
pub(crate) fn write_clock(micros: i64, out: &mut String) {
    write_date(micros.div_euclid(MICROS_PER_DAY) as i32, out);
    let of_day = micros.rem_euclid(MICROS_PER_DAY);
    let seconds = of_day / MICROS_PER_SECOND;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    write!(out, " {hour:02}:{minute:02}:{second:02}").expect("a String takes everything");
    write_fraction(of_day % MICROS_PER_SECOND, out);
}

fn write_fraction(micros: i64, out: &mut String) {
    if micros != 0 {
        let digits = format!("{micros:06}");
        out.push('.');
        out.push_str(digits.trim_end_matches('0'));
    }
}

/// `INTERVAL '1 02:03:04.5' DAY TO SECOND`.
fn write_day_time(micros: i64, out: &mut String) {
    let size = micros.unsigned_abs();
    let (days, rest) = (size / MICROS_PER_DAY as u64, size % MICROS_PER_DAY as u64);
    let seconds = rest / 1_000_000;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let sign = if micros < 0 { "-" } else { "" };
    write!(out, "INTERVAL '{sign}{days} {hour:02}:{minute:02}:{second:02}")
        .expect("a String takes everything");
    write_fraction((rest % 1_000_000) as i64, out);
    out.push_str("' DAY TO SECOND");
}

/// `1 years 2 months 3 days 4 hours`, as Spark writes its calendar intervals.
fn write_interval(months: i32, days: i32, micros: i64, out: &mut String) {
    let mut parts = Vec::new();
    let mut part = |count: i64, unit: &str| {
        if count != 0 {
            parts.push(format!("{count} {unit}"));
        }
    };
    part(i64::from(months / 12), "years");
    part(i64::from(months % 12), "months");
    part(i64::from(days), "days");
    let seconds = micros / MICROS_PER_SECOND;
    part(seconds / 3600, "hours");
    part(seconds / 60 % 60, "minutes");
    let rest = micros - (seconds - seconds % 60) * MICROS_PER_SECOND;
    if rest != 0 {
        let mut text = String::new();
        if rest < 0 {
            text.push('-');
        }
        write!(text, "{}", rest.unsigned_abs() / 1_000_000).expect("a String takes everything");
        write_fraction((rest.unsigned_abs() % 1_000_000) as i64, &mut text);
        parts.push(format!("{text} seconds"));
    }
    out.push_str(&if parts.is_empty() { "0 seconds".to_owned() } else { parts.join(" ") });
}
