//! Values of a stream's type as values of the table's type: the implicit casts of Spark 4's Delta sink.
//!
//! Which pairs exist is Spark's list for a streaming write (`TypeCoercion.implicitCast`); what a cast gives, and
//! which values it refuses, is `Cast` in ANSI mode. A value that does not fit is a fault of its row; a batch never
//! fails here. Works on whole columns; knows no table, no NOT NULL and no nesting.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, PrimitiveArray, StringArray, StringBuilder,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimeUnit, TimestampMicrosecondType,
};

use super::text;
use crate::decode::datetime::{Zone, cast as datetime};
use crate::decode::json::RejectionCode;
use crate::decode::json::number::{decimal, power_of_ten, write_double};
use crate::model::{Error, Result};

/// Microseconds of a day.
const MICROS_PER_DAY: i64 = 86_400_000_000;
/// Microseconds of a second.
const MICROS_PER_SECOND: i64 = 1_000_000;

/// What a cast needs beside its values.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    /// The session's zone.
    pub zone: Zone,
    /// The micro-batch's clock in microseconds: it gives the day to a time of day without a date.
    pub now: i64,
}

/// Why one value can't be cast.
type Fault = RejectionCode;
/// One value, or why there is none.
type Cast<T> = std::result::Result<T, Fault>;

const OVERFLOW: Fault = RejectionCode::CastOverflow;
const INVALID: Fault = RejectionCode::CastInvalidInput;

/// Whether a streaming write of Spark 4 casts `from` into `to`; types that are the same need no cast.
pub(super) fn exists(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    match (from, to) {
        (Boolean | Binary | Date32 | Timestamp(_, _), Utf8) => true,
        (Utf8, Binary | Date32 | Timestamp(_, _)) => true,
        (Date32, Timestamp(_, _)) | (Timestamp(_, _), Date32 | Timestamp(_, _)) => true,
        (a, Utf8) | (Utf8, a) => is_number(a),
        (a, b) => is_number(a) && is_number(b),
    }
}

fn is_number(data_type: &DataType) -> bool {
    use DataType::*;
    matches!(data_type, Int8 | Int16 | Int32 | Int64 | Float32 | Float64 | Decimal128(_, _))
}

/// Whether a cast that exists may refuse a value.
pub(super) fn may_fail(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    let rank = |data_type: &DataType| match data_type {
        Int8 => Some(1),
        Int16 => Some(2),
        Int32 => Some(3),
        Int64 => Some(4),
        Float32 => Some(5),
        Float64 => Some(6),
        _ => None,
    };
    match (from, to) {
        (Binary, Utf8) => true,
        (_, Utf8) | (Utf8, Binary) => false,
        (Decimal128(p1, s1), Decimal128(p2, s2)) => {
            // Rounding may carry into one more digit before the point.
            let carry = i16::from(s1 > s2);
            i16::from(*p1) - i16::from(*s1) + carry > i16::from(*p2) - i16::from(*s2)
        }
        (Decimal128(_, _), Float32 | Float64) => false,
        (from, Decimal128(precision, scale)) if rank(from).is_some_and(|rank| rank <= 4) => {
            let digits = match from {
                Int8 => 3,
                Int16 => 5,
                Int32 => 10,
                _ => 19,
            };
            digits > i16::from(*precision) - i16::from(*scale)
        }
        // Every microsecond has a day; a DATE may be beyond the last microsecond.
        (Timestamp(_, _), Date32) | (Timestamp(_, _), Timestamp(_, None)) => false,
        (Float64, Float32) => false,
        (from, to) => match (rank(from), rank(to)) {
            (Some(from), Some(to)) => from > to,
            _ => true,
        },
    }
}

/// Casts a column. Values of rows that are null in `valid` are not looked at and become null; those that can't be
/// cast become null too and are reported to `fault` by position.
///
/// # Errors
/// `Internal` if there is no such cast ([`exists`]).
pub(super) fn run(
    column: &ArrayRef,
    to: &DataType,
    valid: Option<&NullBuffer>,
    clock: &Clock,
    fault: &mut dyn FnMut(usize, Fault),
) -> Result<ArrayRef> {
    let mut values = Values { rows: column.len(), valid, fault };
    match (column.data_type(), to) {
        (DataType::Binary, DataType::Utf8) => Ok(values.utf8_of(column.as_binary::<i32>())),
        (_, DataType::Utf8) => {
            let mut written = StringBuilder::with_capacity(column.len(), column.len() * 8);
            let mut buffer = Vec::new();
            for row in 0..column.len() {
                if values.is_valid(row) {
                    buffer.clear();
                    text::write(column, row, &clock.zone, &mut buffer);
                    written.append_value(std::str::from_utf8(&buffer).unwrap_or_default());
                } else {
                    written.append_null();
                }
            }
            Ok(Arc::new(written.finish()))
        }
        (DataType::Utf8, _) => values.texts(column.as_string::<i32>(), to, clock),
        (DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64, _) => {
            let wide = widened(column, &DataType::Int64)?;
            values.longs(wide.as_primitive::<Int64Type>(), to)
        }
        (DataType::Float32 | DataType::Float64, _) => {
            let wide = widened(column, &DataType::Float64)?;
            values.doubles(wide.as_primitive::<Float64Type>(), to)
        }
        (DataType::Decimal128(_, scale), _) => {
            values.decimals(column.as_primitive::<Decimal128Type>(), *scale as u8, to)
        }
        (DataType::Date32, DataType::Timestamp(_, zone)) => {
            let days = column.as_primitive::<Date32Type>();
            let local = |row| i64::from(days.value(row)) * (MICROS_PER_DAY / MICROS_PER_SECOND);
            let micros = values.each::<TimestampMicrosecondType>(|row| {
                let seconds = if zone.is_some() { clock.zone.local_to_utc(local(row)) } else { local(row) };
                seconds.checked_mul(MICROS_PER_SECOND).ok_or(OVERFLOW)
            });
            Ok(with_type(micros, to))
        }
        (DataType::Timestamp(_, zone), _) => {
            let has_zone = zone.is_some();
            values.instants(column.as_primitive::<TimestampMicrosecondType>(), has_zone, to, clock)
        }
        (from, to) => Err(missing(from, to)),
    }
}

fn missing(from: &DataType, to: &DataType) -> Error {
    Error::internal(format!("there is no cast from {from} to {to}"))
}

/// A wider form that holds every value.
fn widened(column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    cast(column, to).map_err(|e| Error::internal("widen a column of numbers").source(e))
}

/// A primitive column in the very type of the table: with its zone, or its precision and scale.
fn with_type<T: ArrowPrimitiveType>(column: PrimitiveArray<T>, to: &DataType) -> ArrayRef {
    Arc::new(column.with_data_type(to.clone()))
}

/// The column that is being cast: how many rows, which of them count, and where faults are reported.
struct Values<'a> {
    rows: usize,
    valid: Option<&'a NullBuffer>,
    fault: &'a mut dyn FnMut(usize, Fault),
}

impl Values<'_> {
    fn is_valid(&self, row: usize) -> bool {
        self.valid.is_none_or(|valid| valid.is_valid(row))
    }

    /// A column of what `value` gives for each row that counts.
    fn each<T: ArrowPrimitiveType>(&mut self, value: impl Fn(usize) -> Cast<T::Native>) -> PrimitiveArray<T> {
        let rows = (0..self.rows).map(|row| {
            if !self.is_valid(row) {
                return None;
            }
            value(row).map_err(|fault| (self.fault)(row, fault)).ok()
        });
        rows.collect::<Vec<Option<T::Native>>>().into_iter().collect()
    }

    fn utf8_of(&mut self, bytes: &BinaryArray) -> ArrayRef {
        let texts = (0..self.rows).map(|row| {
            if !self.is_valid(row) {
                return None;
            }
            std::str::from_utf8(bytes.value(row)).map_err(|_| (self.fault)(row, INVALID)).ok()
        });
        Arc::new(texts.collect::<StringArray>())
    }

    fn longs(&mut self, values: &PrimitiveArray<Int64Type>, to: &DataType) -> Result<ArrayRef> {
        let value = |row| values.value(row);
        Ok(match to {
            DataType::Int8 => Arc::new(self.each::<Int8Type>(|row| narrow(value(row)))),
            DataType::Int16 => Arc::new(self.each::<Int16Type>(|row| narrow(value(row)))),
            DataType::Int32 => Arc::new(self.each::<Int32Type>(|row| narrow(value(row)))),
            DataType::Int64 => Arc::new(values.clone()),
            DataType::Float32 => Arc::new(self.each::<Float32Type>(|row| Ok(value(row) as f32))),
            DataType::Float64 => Arc::new(self.each::<Float64Type>(|row| Ok(value(row) as f64))),
            DataType::Decimal128(precision, scale) => {
                let made = |row| rescaled(i128::from(value(row)), 0, *precision, *scale as u8);
                with_type(self.each::<Decimal128Type>(made), to)
            }
            other => return Err(missing(values.data_type(), other)),
        })
    }

    fn doubles(&mut self, values: &PrimitiveArray<Float64Type>, to: &DataType) -> Result<ArrayRef> {
        let value = |row| values.value(row);
        Ok(match to {
            DataType::Int8 => {
                Arc::new(self.each::<Int8Type>(|row| narrow(whole(value(row), i32::MIN, i32::MAX)?)))
            }
            DataType::Int16 => {
                Arc::new(self.each::<Int16Type>(|row| narrow(whole(value(row), i32::MIN, i32::MAX)?)))
            }
            DataType::Int32 => {
                Arc::new(self.each::<Int32Type>(|row| narrow(whole(value(row), i32::MIN, i32::MAX)?)))
            }
            DataType::Int64 => Arc::new(self.each::<Int64Type>(|row| whole_long(value(row)))),
            DataType::Float32 => Arc::new(self.each::<Float32Type>(|row| Ok(value(row) as f32))),
            DataType::Float64 => Arc::new(values.clone()),
            DataType::Decimal128(precision, scale) => {
                let made = |row| {
                    // Spark rounds the shown digits, not the binary value.
                    let mut shown = Vec::with_capacity(26);
                    write_double(value(row), &mut shown);
                    let shown = std::str::from_utf8(&shown).unwrap_or_default();
                    decimal(shown, *precision, *scale as u8).ok_or(OVERFLOW)
                };
                with_type(self.each::<Decimal128Type>(made), to)
            }
            other => return Err(missing(values.data_type(), other)),
        })
    }

    fn decimals(
        &mut self,
        values: &PrimitiveArray<Decimal128Type>,
        scale: u8,
        to: &DataType,
    ) -> Result<ArrayRef> {
        let value = |row| values.value(row);
        let long = |row| i64::try_from(value(row) / power_of_ten(scale)).map_err(|_| OVERFLOW);
        let shown = |row| {
            let mut shown = Vec::with_capacity(42);
            text::write_decimal(value(row), scale, &mut shown);
            String::from_utf8(shown).unwrap_or_default()
        };
        Ok(match to {
            DataType::Int8 => Arc::new(self.each::<Int8Type>(|row| narrow(long(row)?))),
            DataType::Int16 => Arc::new(self.each::<Int16Type>(|row| narrow(long(row)?))),
            DataType::Int32 => Arc::new(self.each::<Int32Type>(|row| narrow(long(row)?))),
            DataType::Int64 => Arc::new(self.each::<Int64Type>(long)),
            // Through text, which is rounded once.
            DataType::Float32 => {
                Arc::new(self.each::<Float32Type>(|row| shown(row).parse().map_err(|_| OVERFLOW)))
            }
            DataType::Float64 => {
                Arc::new(self.each::<Float64Type>(|row| shown(row).parse().map_err(|_| OVERFLOW)))
            }
            DataType::Decimal128(precision, to_scale) => {
                let made = |row| rescaled(value(row), scale, *precision, *to_scale as u8);
                with_type(self.each::<Decimal128Type>(made), to)
            }
            other => return Err(missing(values.data_type(), other)),
        })
    }

    fn instants(
        &mut self,
        values: &PrimitiveArray<TimestampMicrosecondType>,
        has_zone: bool,
        to: &DataType,
        clock: &Clock,
    ) -> Result<ArrayRef> {
        let value = |row| values.value(row);
        // What a clock on the wall shows.
        let local = |row| if has_zone { text::local_micros(value(row), &clock.zone) } else { value(row) };
        match to {
            DataType::Date32 => {
                let made = |row| i32::try_from(local(row).div_euclid(MICROS_PER_DAY)).map_err(|_| OVERFLOW);
                Ok(Arc::new(self.each::<Date32Type>(made)))
            }
            DataType::Timestamp(TimeUnit::Microsecond, None) => {
                Ok(with_type(self.each::<TimestampMicrosecondType>(|row| Ok(local(row))), to))
            }
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
                let made = |row: usize| {
                    let seconds = clock.zone.local_to_utc(value(row).div_euclid(MICROS_PER_SECOND));
                    let micros = seconds.checked_mul(MICROS_PER_SECOND);
                    micros
                        .and_then(|m| m.checked_add(value(row).rem_euclid(MICROS_PER_SECOND)))
                        .ok_or(OVERFLOW)
                };
                Ok(with_type(self.each::<TimestampMicrosecondType>(made), to))
            }
            other => Err(missing(values.data_type(), other)),
        }
    }

    fn texts(&mut self, values: &StringArray, to: &DataType, clock: &Clock) -> Result<ArrayRef> {
        let value = |row| values.value(row);
        Ok(match to {
            DataType::Int8 => Arc::new(self.each::<Int8Type>(|row| narrow_text(value(row)))),
            DataType::Int16 => Arc::new(self.each::<Int16Type>(|row| narrow_text(value(row)))),
            DataType::Int32 => Arc::new(self.each::<Int32Type>(|row| narrow_text(value(row)))),
            DataType::Int64 => Arc::new(self.each::<Int64Type>(|row| narrow_text(value(row)))),
            DataType::Float32 => Arc::new(self.each::<Float32Type>(|row| floating(value(row)))),
            DataType::Float64 => Arc::new(self.each::<Float64Type>(|row| floating(value(row)))),
            DataType::Decimal128(precision, scale) => {
                let made = |row| decimal(trimmed(value(row)), *precision, *scale as u8).ok_or(INVALID);
                with_type(self.each::<Decimal128Type>(made), to)
            }
            DataType::Binary => {
                let bytes = (0..self.rows).map(|row| self.is_valid(row).then(|| value(row).as_bytes()));
                Arc::new(bytes.collect::<BinaryArray>())
            }
            DataType::Date32 => Arc::new(
                self.each::<Date32Type>(|row| datetime::date_days(value(row).as_bytes()).ok_or(INVALID)),
            ),
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
                let made = |row| {
                    datetime::timestamp_micros(value(row).as_bytes(), &clock.zone, clock.now).ok_or(INVALID)
                };
                with_type(self.each::<TimestampMicrosecondType>(made), to)
            }
            DataType::Timestamp(TimeUnit::Microsecond, None) => {
                let made = |row| datetime::local_micros(value(row).as_bytes()).ok_or(INVALID);
                with_type(self.each::<TimestampMicrosecondType>(made), to)
            }
            other => return Err(missing(values.data_type(), other)),
        })
    }
}

fn narrow<T: TryFrom<i64>>(value: i64) -> Cast<T> {
    T::try_from(value).map_err(|_| OVERFLOW)
}

/// The part before the point, if it is within the bounds (`FloatExactNumeric.toInt`); NaN is not.
fn whole(value: f64, least: i32, greatest: i32) -> Cast<i64> {
    if value.floor() <= f64::from(greatest) && value.ceil() >= f64::from(least) {
        Ok(value as i64)
    } else {
        Err(OVERFLOW)
    }
}

/// As [`whole`] for a BIGINT, whose bounds are doubles only nearly.
fn whole_long(value: f64) -> Cast<i64> {
    if value.floor() <= i64::MAX as f64 && value.ceil() >= i64::MIN as f64 {
        Ok(value as i64)
    } else {
        Err(OVERFLOW)
    }
}

/// A decimal of scale `from` with scale `to`, rounded half up, if it has no more than `precision` digits then.
fn rescaled(value: i128, from: u8, precision: u8, to: u8) -> Cast<i128> {
    let made = if to >= from {
        value.checked_mul(power_of_ten(to - from)).ok_or(OVERFLOW)?
    } else {
        let unit = power_of_ten(from - to);
        let (quotient, rest) = (value / unit, value % unit);
        quotient + if rest.abs() >= unit / 2 { value.signum() } else { 0 }
    };
    if made.abs() < power_of_ten(precision) { Ok(made) } else { Err(OVERFLOW) }
}

/// Without blanks and control characters at both ends (`UTF8String.trimAll`).
fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ' || c == '\u{7f}')
}

/// A whole number as `UTF8String.toLongExact` reads it: a sign and ASCII digits.
fn narrow_text<T: TryFrom<i64>>(text: &str) -> Cast<T> {
    let text = trimmed(text);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(INVALID);
    }
    text.parse::<i64>().ok().and_then(|value| T::try_from(value).ok()).ok_or(INVALID)
}

/// A DOUBLE or FLOAT as Java's `parseDouble` reads it, and the names of Infinity and NaN in any case. Java's
/// hexadecimal form is not taken.
fn floating<T: std::str::FromStr>(text: &str) -> Cast<T> {
    let text = trimmed(text);
    let bare = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = bare.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(bare);
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if is_number {
        return text[..text.len() - (bare.len() - digits.len())].parse().map_err(|_| INVALID);
    }
    let lower = bare.to_ascii_lowercase();
    let named = match lower.as_str() {
        "inf" | "infinity" if text.starts_with('-') => "-inf",
        "inf" | "infinity" => "inf",
        "nan" if bare.len() == text.len() => "nan",
        _ => return Err(INVALID),
    };
    named.parse().map_err(|_| INVALID)
}
