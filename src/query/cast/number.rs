//! Casts out of numbers and BOOLEAN to numbers, BOOLEAN and BINARY.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BooleanArray, Decimal128Array, PrimitiveArray,
};
use arrow::datatypes::{
    DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use datafusion::common::{Result, exec_err};

use super::{Mode, Way, out_of_range, overflow};
use crate::decode::json::write_double;
use crate::query::arithmetic::decimal::to_size;

/// A number of any type, on its way to another.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Whole(i64),
    Float(f64),
    /// FLOAT keeps its width: its text differs.
    Single(f32),
    Decimal(i128, i8),
}

/// The values of a number or BOOLEAN array.
fn numbers(array: &ArrayRef) -> Result<Box<dyn Iterator<Item = Option<Number>> + '_>> {
    macro_rules! whole {
        ($kind:ty) => {
            Box::new(
                array
                    .as_primitive::<$kind>()
                    .iter()
                    .map(|value| value.map(|value| Number::Whole(i64::from(value)))),
            )
        };
    }
    Ok(match array.data_type() {
        DataType::Boolean => Box::new(
            array.as_boolean().iter().map(|value| value.map(|value| Number::Whole(i64::from(value)))),
        ),
        DataType::Int8 => whole!(Int8Type),
        DataType::Int16 => whole!(Int16Type),
        DataType::Int32 => whole!(Int32Type),
        DataType::Int64 => whole!(Int64Type),
        DataType::Float32 => {
            Box::new(array.as_primitive::<Float32Type>().iter().map(|value| value.map(Number::Single)))
        }
        DataType::Float64 => {
            Box::new(array.as_primitive::<Float64Type>().iter().map(|value| value.map(Number::Float)))
        }
        DataType::Decimal128(_, scale) => {
            let scale = *scale;
            Box::new(
                array
                    .as_primitive::<Decimal128Type>()
                    .iter()
                    .map(move |value| value.map(|value| Number::Decimal(value, scale))),
            )
        }
        other => return exec_err!("{other} is not a number"),
    })
}

pub(super) fn cast(array: &ArrayRef, to: &DataType, way: Way) -> Result<ArrayRef> {
    let from = array.data_type();
    let values = numbers(array)?;
    macro_rules! whole {
        ($kind:ty) => {
            Arc::new(collect::<$kind>(values, |value| match whole_of(value) {
                Exact(value) if <$kind as ArrowPrimitiveType>::Native::try_from(value).is_ok() => {
                    Ok(<$kind as ArrowPrimitiveType>::Native::try_from(value).ok())
                }
                _ if way.mode == Mode::Lenient => {
                    Ok(Some(low_bits(value) as <$kind as ArrowPrimitiveType>::Native))
                }
                _ => way.mode.fault(|| overflow(from, to)),
            })?)
        };
    }
    Ok(match to {
        DataType::Boolean => Arc::new(values.map(|value| value.map(is_true)).collect::<BooleanArray>()),
        DataType::Int8 => whole!(Int8Type),
        DataType::Int16 => whole!(Int16Type),
        DataType::Int32 => match from {
            DataType::Float32 | DataType::Float64 if way.mode == Mode::Lenient => {
                // The JVM's own conversion: it stops at the ends.
                Arc::new(collect::<Int32Type>(values, |value| Ok(Some(double_of(value) as i32)))?)
            }
            _ => whole!(Int32Type),
        },
        DataType::Int64 => match from {
            DataType::Float32 | DataType::Float64 if way.mode == Mode::Lenient => {
                Arc::new(collect::<Int64Type>(values, |value| Ok(Some(double_of(value) as i64)))?)
            }
            _ => whole!(Int64Type),
        },
        DataType::Float32 => Arc::new(collect::<Float32Type>(values, |value| Ok(Some(single_of(value))))?),
        DataType::Float64 => Arc::new(collect::<Float64Type>(values, |value| Ok(Some(double_of(value))))?),
        DataType::Decimal128(precision, scale) => {
            let mut made = Decimal128Array::builder(array.len());
            for value in values {
                let Some(value) = value else {
                    made.append_null();
                    continue;
                };
                match unscaled(value) {
                    // NaN and the infinities are NULL under ANSI, too.
                    None => made.append_null(),
                    Some((unscaled, from)) => {
                        let fits = unscaled.and_then(|value| to_size(value, from, (*precision, *scale)));
                        match fits {
                            None => made.append_option(way.mode.fault(|| out_of_range(to))?),
                            some => made.append_option(some),
                        }
                    }
                }
            }
            Arc::new(made.finish().with_precision_and_scale(*precision, *scale)?)
        }
        DataType::Binary => Arc::new(bytes(array)?),
        other => return exec_err!("no cast from {from} to {other}"),
    })
}

fn collect<T: ArrowPrimitiveType>(
    values: impl Iterator<Item = Option<Number>>,
    cast: impl Fn(Number) -> Result<Option<T::Native>>,
) -> Result<PrimitiveArray<T>> {
    values.map(|value| value.map_or(Ok(None), &cast)).collect()
}

/// The whole part of a number.
enum Whole {
    Exact(i64),
    OutOfRange,
}
use Whole::{Exact, OutOfRange};

fn whole_of(value: Number) -> Whole {
    match value {
        Number::Whole(value) => Exact(value),
        Number::Decimal(value, scale) => {
            match i64::try_from(value / 10_i128.pow(u32::try_from(scale).unwrap_or(0))) {
                Ok(value) => Exact(value),
                Err(_) => OutOfRange,
            }
        }
        other => {
            let value = double_of(other);
            // 2^63 itself is out, and every double below it is in.
            if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value) {
                Exact(value.trunc() as i64)
            } else {
                OutOfRange
            }
        }
    }
}

/// What remains of a number that does not fit an integer of Java.
fn low_bits(value: Number) -> i64 {
    match value {
        Number::Whole(value) => value,
        Number::Decimal(value, scale) => (value / 10_i128.pow(u32::try_from(scale).unwrap_or(0))) as i64,
        other => i64::from(double_of(other) as i32),
    }
}

fn is_true(value: Number) -> bool {
    match value {
        Number::Whole(value) => value != 0,
        Number::Decimal(value, _) => value != 0,
        other => double_of(other) != 0.0,
    }
}

pub(super) fn double_of(value: Number) -> f64 {
    match value {
        Number::Whole(value) => value as f64,
        Number::Float(value) => value,
        Number::Single(value) => f64::from(value),
        Number::Decimal(value, scale) => format!("{value}e-{scale}").parse().unwrap_or(f64::NAN),
    }
}

fn single_of(value: Number) -> f32 {
    match value {
        Number::Whole(value) => value as f32,
        Number::Float(value) => value as f32,
        Number::Single(value) => value,
        Number::Decimal(value, scale) => format!("{value}e-{scale}").parse().unwrap_or(f32::NAN),
    }
}

/// The digits and the scale of a number, exact; `None` if it is not finite. The digits are `None` if there are
/// more than 38 before the point.
fn unscaled(value: Number) -> Option<(Option<i128>, i8)> {
    match value {
        Number::Whole(value) => Some((Some(i128::from(value)), 0)),
        Number::Decimal(value, scale) => Some((Some(value), scale)),
        other => double_digits(double_of(other)),
    }
}

/// The digits of a double as Java's `Double.toString` shows them, which is what Spark makes a decimal of.
pub(crate) fn double_digits(value: f64) -> Option<(Option<i128>, i8)> {
    if !value.is_finite() {
        return None;
    }
    let mut text = Vec::with_capacity(24);
    write_double(value, &mut text);
    let text = String::from_utf8(text).unwrap_or_default();
    let (mantissa, exponent) = text.split_once('E').unwrap_or((&text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let exponent: i32 = exponent.parse().ok()?;
    let scale = i32::try_from(fraction.len()).unwrap_or(0) - exponent;
    if digits == 0 {
        return Some((Some(0), 0));
    }
    if scale < 0 {
        let factor = 10_i128.checked_pow(u32::try_from(-scale).unwrap_or(u32::MAX));
        return Some((factor.and_then(|factor| digits.checked_mul(factor)), 0));
    }
    // Below 10^-76 nothing of a DECIMAL(38, 38) is left.
    Some(match i8::try_from(scale) {
        Ok(scale) if scale <= 76 => (Some(digits), scale),
        _ => (Some(0), 0),
    })
}

/// The bytes of integers, big end first.
fn bytes(array: &ArrayRef) -> Result<BinaryArray> {
    macro_rules! big_end {
        ($kind:ty) => {
            array.as_primitive::<$kind>().iter().map(|value| value.map(|value| value.to_be_bytes())).collect()
        };
    }
    Ok(match array.data_type() {
        DataType::Int8 => big_end!(Int8Type),
        DataType::Int16 => big_end!(Int16Type),
        DataType::Int32 => big_end!(Int32Type),
        DataType::Int64 => big_end!(Int64Type),
        other => return exec_err!("no cast from {other} to BINARY"),
    })
}
