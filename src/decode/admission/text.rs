//! Values as text, as Spark's `CAST(… AS STRING)` writes them.
//!
//! Serves the casts into STRING; knows nothing of batches and tables.

use std::io::Write;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};

use crate::decode::datetime::Zone;
use crate::decode::datetime::civil::date_of;
use crate::decode::json::number::{power_of_ten, write_double, write_float};

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// Writes the value of a row, which is not null, of a column of a type that can be cast into STRING.
pub(super) fn write(column: &dyn Array, row: usize, zone: &Zone, out: &mut Vec<u8>) {
    match column.data_type() {
        DataType::Boolean => {
            out.extend_from_slice(if column.as_boolean().value(row) { b"true" } else { b"false" });
        }
        DataType::Int8 => whole(column.as_primitive::<Int8Type>().value(row).into(), out),
        DataType::Int16 => whole(column.as_primitive::<Int16Type>().value(row).into(), out),
        DataType::Int32 => whole(column.as_primitive::<Int32Type>().value(row).into(), out),
        DataType::Int64 => whole(column.as_primitive::<Int64Type>().value(row).into(), out),
        DataType::Float32 => write_float(column.as_primitive::<Float32Type>().value(row), out),
        DataType::Float64 => write_double(column.as_primitive::<Float64Type>().value(row), out),
        DataType::Decimal128(_, scale) => {
            write_decimal(column.as_primitive::<Decimal128Type>().value(row), *scale as u8, out);
        }
        DataType::Date32 => write_date(column.as_primitive::<Date32Type>().value(row).into(), out),
        DataType::Timestamp(_, shown_in) => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            write_local(if shown_in.is_some() { local_micros(micros, zone) } else { micros }, out);
        }
        _ => out.extend_from_slice(column.as_string::<i32>().value(row).as_bytes()),
    }
}

/// What a clock on the wall of `zone` shows at an instant, both in microseconds.
pub(super) fn local_micros(micros: i64, zone: &Zone) -> i64 {
    let seconds = micros.div_euclid(MICROS_PER_SECOND);
    micros.saturating_add((zone.utc_to_local(seconds) - seconds) * MICROS_PER_SECOND)
}

/// Writes a decimal with all digits of its scale (`BigDecimal.toPlainString`).
pub(super) fn write_decimal(value: i128, scale: u8, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    let unit = power_of_ten(scale);
    let (before, behind) = (value / unit, value % unit);
    whole(before.abs(), out);
    if scale > 0 {
        put(out, format_args!(".{:0width$}", behind.abs(), width = usize::from(scale)));
    }
}

fn whole(value: i128, out: &mut Vec<u8>) {
    put(out, format_args!("{value}"));
}

/// A date; years beyond four digits have a sign, as in Java.
fn write_date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = date_of(days);
    let sign = match year {
        10_000.. => "+",
        ..0 => "-",
        _ => "",
    };
    put(out, format_args!("{sign}{:04}-{month:02}-{day:02}", year.abs()));
}

/// A date and a time; the fraction of the second without zeros at its end.
fn write_local(micros: i64, out: &mut Vec<u8>) {
    let seconds = micros.div_euclid(MICROS_PER_SECOND);
    let of_day = seconds.rem_euclid(SECONDS_PER_DAY);
    write_date(seconds.div_euclid(SECONDS_PER_DAY), out);
    put(out, format_args!(" {:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60));
    let fraction = micros.rem_euclid(MICROS_PER_SECOND);
    if fraction > 0 {
        put(out, format_args!(".{fraction:06}"));
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

fn put(out: &mut Vec<u8>, written: std::fmt::Arguments<'_>) {
    out.write_fmt(written).expect("writing into memory does not fail");
}
