//! Mathematical functions.
//!
//! `mathExpressions` of Spark 4.0. Over DOUBLE they are the C library's, which agree with Java's `StrictMath` to the
//! last digit but one; logarithms of what has none are NULL.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float32Array, Float64Array, Int64Array, PrimitiveArray,
};
use arrow::datatypes::{
    DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use datafusion::common::Result;

use super::Entry;
use super::scalar::{Bind, Bound, Call, Types, count, each, entry, takes};
use crate::decode::json::{write_double, write_float};
use crate::query::arithmetic::decimal::decimal;
use crate::query::cast::out_of_range;
use crate::query::coerce::types::{Want, castable, is_decimal, is_float, is_integral, mismatch};
use crate::query::error::ExpressionError;

/// A function of one DOUBLE.
macro_rules! double {
    ($name:literal $(| $alias:literal)*, $value:expr, [$($case:literal),*]) => {
        entry!($name $(| $alias)*, takes!([Double] => DataType::Float64), |call| {
            let value: fn(f64) -> f64 = $value;
            each::<Float64Array, _>(call, |row| Some(value(call.doubles(0).value(row))))
        }, [$($case),*])
    };
}

/// A function of one DOUBLE that is NULL where it is not defined.
macro_rules! partial {
    ($name:literal $(| $alias:literal)*, $value:expr, [$($case:literal),*]) => {
        entry!($name $(| $alias)*, takes!([Double] => DataType::Float64), |call| {
            let value: fn(f64) -> Option<f64> = $value;
            each::<Float64Array, _>(call, |row| value(call.doubles(0).value(row)))
        }, [$($case),*])
    };
}

/// A function of two DOUBLEs.
macro_rules! doubles {
    ($name:literal $(| $alias:literal)*, $value:expr, [$($case:literal),*]) => {
        entry!($name $(| $alias)*, takes!([Double, Double] => DataType::Float64), |call| {
            let value: fn(f64, f64) -> f64 = $value;
            each::<Float64Array, _>(call, |row| Some(value(call.doubles(0).value(row), call.doubles(1).value(row))))
        }, [$($case),*])
    };
}

/// Functions of numbers.
pub(crate) const ENTRIES: &[Entry] = &[
    double!("sqrt", f64::sqrt, ["stateless/math_functions", "expressions/math"]),
    double!("cbrt", f64::cbrt, ["stateless/math_functions", "expressions/math"]),
    double!("exp", f64::exp, ["stateless/math_functions", "expressions/math"]),
    double!("expm1", f64::exp_m1, ["expressions/math"]),
    partial!(
        "ln",
        |x| (x > 0.0 || x.is_nan()).then(|| x.ln()),
        ["stateless/math_functions", "expressions/math"]
    ),
    partial!(
        "log10",
        |x| (x > 0.0 || x.is_nan()).then(|| x.log10()),
        ["stateless/math_functions", "expressions/math"]
    ),
    partial!("log2", |x| (x > 0.0 || x.is_nan()).then(|| x.ln() / 2.0_f64.ln()), ["expressions/math"]),
    partial!("log1p", |x| (x > -1.0 || x.is_nan()).then(|| x.ln_1p()), ["expressions/math"]),
    entry!("log", takes!([Double, Double], 1 => DataType::Float64), log, ["expressions/math"]),
    doubles!("pow" | "power", power, ["stateless/math_functions", "expressions/math"]),
    double!("sin", f64::sin, ["expressions/math"]),
    double!("cos", f64::cos, ["expressions/math"]),
    double!("tan", f64::tan, ["expressions/math"]),
    double!("cot", |x| 1.0 / x.tan(), ["expressions/math"]),
    double!("sec", |x| 1.0 / x.cos(), ["expressions/math"]),
    double!("csc", |x| 1.0 / x.sin(), ["expressions/math"]),
    double!("asin", f64::asin, ["expressions/math"]),
    double!("acos", f64::acos, ["expressions/math"]),
    double!("atan", f64::atan, ["expressions/math"]),
    doubles!("atan2", |y, x| (y + 0.0).atan2(x + 0.0), ["expressions/math"]),
    double!("sinh", f64::sinh, ["expressions/math"]),
    double!("cosh", f64::cosh, ["expressions/math"]),
    double!("tanh", f64::tanh, ["expressions/math"]),
    double!("asinh", inverse_sinh, ["expressions/math"]),
    double!("acosh", |x| (x + (x * x - 1.0).sqrt()).ln(), ["expressions/math"]),
    double!("atanh", |x| 0.5 * (x.ln_1p() - (-x).ln_1p()), ["expressions/math"]),
    double!("degrees", |x| x * (180.0 / std::f64::consts::PI), ["expressions/math"]),
    double!("radians", |x| x / 180.0 * std::f64::consts::PI, ["expressions/math"]),
    doubles!("hypot", f64::hypot, ["expressions/math"]),
    double!("rint", f64::round_ties_even, ["expressions/math"]),
    double!("sign" | "signum", signum, ["stateless/rounding", "expressions/math"]),
    entry!(
        "pi",
        takes!([] => DataType::Float64),
        |call| constant(call, std::f64::consts::PI),
        ["expressions/math"]
    ),
    entry!(
        "e",
        takes!([] => DataType::Float64),
        |call| constant(call, std::f64::consts::E),
        ["expressions/math"]
    ),
    entry!("factorial", takes!([Int] => DataType::Int64), factorial, ["expressions/math"]),
    entry!(
        "width_bucket",
        takes!([Double, Double, Double, Long] => DataType::Int64),
        width_bucket,
        ["expressions/math"]
    ),
    entry!(
        "round",
        Types::By(bind_round),
        |call| round(call, Rounding::HalfUp),
        ["stateless/rounding", "expressions/math"]
    ),
    entry!(
        "bround",
        Types::By(bind_round),
        |call| round(call, Rounding::HalfEven),
        ["stateless/rounding", "expressions/math"]
    ),
    entry!(
        "floor",
        Types::By(bind_whole),
        |call| whole(call, Rounding::Floor),
        ["stateless/rounding", "expressions/math"]
    ),
    entry!(
        "ceil" | "ceiling",
        Types::By(bind_whole),
        |call| whole(call, Rounding::Ceiling),
        ["stateless/rounding", "expressions/math"]
    ),
];

fn constant(call: &Call, value: f64) -> Result<ArrayRef> {
    Ok(Arc::new(Float64Array::from(vec![value; call.rows])))
}

/// Java's signum keeps the zeros and NaN.
fn signum(x: f64) -> f64 {
    if x == 0.0 || x.is_nan() { x } else { x.signum() }
}

/// Java's `StrictMath.pow`: one to any power is one, but not to NaN.
fn power(x: f64, y: f64) -> f64 {
    if y.is_nan() || (x.abs() == 1.0 && y.is_infinite()) { f64::NAN } else { x.powf(y) }
}

fn inverse_sinh(x: f64) -> f64 {
    match x {
        f64::NEG_INFINITY => x,
        x => (x + (x * x + 1.0).sqrt()).ln(),
    }
}

/// `log(x)` and `log(base, x)`.
fn log(call: &Call) -> Result<ArrayRef> {
    each::<Float64Array, _>(call, |row| {
        let first = call.doubles(0).value(row);
        if !call.has(1) {
            return (first > 0.0 || first.is_nan()).then(|| first.ln());
        }
        let second = call.doubles(1).value(row);
        let defined = |x: f64| x > 0.0 || x.is_nan();
        (defined(first) && defined(second)).then(|| second.ln() / first.ln())
    })
}

fn factorial(call: &Call) -> Result<ArrayRef> {
    each::<Int64Array, _>(call, |row| {
        let n = call.ints(0).value(row);
        (0..=20).contains(&n).then(|| (1..=i64::from(n)).product())
    })
}

fn width_bucket(call: &Call) -> Result<ArrayRef> {
    each::<Int64Array, _>(call, |row| {
        let [value, low, high] = [0, 1, 2].map(|at| call.doubles(at).value(row));
        let buckets = call.longs(3).value(row);
        let bad = buckets <= 0
            || buckets == i64::MAX
            || value.is_nan()
            || low == high
            || !low.is_finite()
            || !high.is_finite();
        if bad {
            return None;
        }
        let (least, most) = (low.min(high), low.max(high));
        let ascending = low < high;
        Some(if value < least {
            if ascending { 0 } else { buckets + 1 }
        } else if value > most || (value == most && ascending) {
            if ascending { buckets + 1 } else { 0 }
        } else if ascending {
            (buckets as f64 * (value - least) / (most - least)) as i64 + 1
        } else {
            (buckets as f64 * (most - value) / (most - least)) as i64 + 1
        })
    })
}

/// How a digit that goes is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rounding {
    HalfUp,
    HalfEven,
    Floor,
    Ceiling,
}

impl Rounding {
    /// `value / unit`, rounded.
    fn divide(self, value: i128, unit: i128) -> i128 {
        let (quotient, rest) = (value / unit, value % unit);
        let away = match self {
            Rounding::HalfUp => rest.abs() >= unit - rest.abs(),
            Rounding::HalfEven => match (rest.abs()).cmp(&(unit - rest.abs())) {
                std::cmp::Ordering::Greater => true,
                std::cmp::Ordering::Equal => quotient % 2 != 0,
                std::cmp::Ordering::Less => false,
            },
            Rounding::Floor => rest < 0,
            Rounding::Ceiling => rest > 0,
        };
        quotient + if away { value.signum() } else { 0 }
    }

    /// The digits of a decimal of `scale` at scale `wanted`, which is not above it.
    fn at_scale(self, value: i128, scale: i32, wanted: i32) -> i128 {
        match u32::try_from(i64::from(scale) - i64::from(wanted)) {
            Ok(drop) if drop <= 38 => self.divide(value, 10_i128.pow(drop)),
            // All digits go: what is left is less than half.
            Ok(_) => match self {
                Rounding::Floor if value < 0 => -1,
                Rounding::Ceiling if value > 0 => 1,
                _ => 0,
            },
            Err(_) => value,
        }
    }
}

/// The type of a decimal rounded to `wanted` digits behind the point.
fn rounded_type((precision, scale): (u8, i8), wanted: i64) -> DataType {
    let whole = i64::from(precision) - i64::from(scale) + 1;
    if wanted < 0 {
        let digits = whole.max(-wanted + 1).min(38);
        return decimal((u8::try_from(digits).unwrap_or(38), 0));
    }
    let scale = i64::from(scale).min(wanted);
    let precision = (whole + scale).min(38);
    decimal((u8::try_from(precision).unwrap_or(38), i8::try_from(scale.min(precision)).unwrap_or(38)))
}

fn bind_round(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 2)?;
    let number = castable(bind, &bind.types[0], Want::Number)?;
    let wanted = bind.integer(1).unwrap_or(0);
    let returns = match number {
        DataType::Decimal128(precision, scale) => rounded_type((precision, scale), wanted),
        ref other => other.clone(),
    };
    let mut args = vec![number];
    args.extend(bind.types.get(1).map(|_| DataType::Int32));
    Ok(Bound::new(args, returns))
}

fn bind_whole(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 2)?;
    let number = castable(bind, &bind.types[0], Want::Number)?;
    let size = match &number {
        DataType::Decimal128(precision, scale) => Some((*precision, *scale)),
        _ => None,
    };
    if bind.types.len() == 2 {
        // With a scale the number is a decimal.
        let wanted = bind.integer(1).ok_or_else(|| mismatch(bind, "the scale is a literal"))?;
        let size = size.unwrap_or(match number {
            DataType::Int8 => (3, 0),
            DataType::Int16 => (5, 0),
            DataType::Int32 => (10, 0),
            DataType::Int64 => (20, 0),
            DataType::Float32 => (14, 7),
            _ => (30, 15),
        });
        return Ok(Bound::new([decimal(size), DataType::Int32], rounded_type(size, wanted)));
    }
    match size {
        Some((_, 0)) => Ok(Bound::new([number.clone()], number)),
        Some((precision, scale)) => {
            let digits = (i64::from(precision) - i64::from(scale) + 1).clamp(1, 38);
            Ok(Bound::new([number], decimal((u8::try_from(digits).unwrap_or(38), 0))))
        }
        None if is_integral(&number) => Ok(Bound::new([DataType::Int64], DataType::Int64)),
        None => Ok(Bound::new([DataType::Float64], DataType::Int64)),
    }
}

/// `floor` and `ceil`.
fn whole(call: &Call, rounding: Rounding) -> Result<ArrayRef> {
    match call.args[0].data_type() {
        DataType::Decimal128(..) => decimals(call, rounding),
        DataType::Int64 => Ok(Arc::clone(&call.args[0])),
        _ => each::<Int64Array, _>(call, |row| {
            let value = call.doubles(0).value(row);
            Some(if rounding == Rounding::Floor { value.floor() } else { value.ceil() } as i64)
        }),
    }
}

/// How many digits behind the point are wanted in `row`.
fn wanted(call: &Call, row: usize) -> i32 {
    if call.has(1) { call.ints(1).value(row) } else { 0 }
}

fn decimals(call: &Call, rounding: Rounding) -> Result<ArrayRef> {
    let values = call.args[0].as_primitive::<Decimal128Type>();
    let scale = i32::from(values.scale());
    let DataType::Decimal128(precision, to) = *call.returns else {
        return Err(out_of_range(call.returns));
    };
    let mut made = Decimal128Array::builder(call.rows);
    for row in 0..call.rows {
        if !call.all_valid(row) {
            made.append_null();
            continue;
        }
        let wanted = wanted(call, row).min(scale);
        let rounded = rounding.at_scale(values.value(row), scale, wanted);
        // Back to the digits of the result's scale.
        let shift = u32::try_from(i64::from(to) - i64::from(wanted)).ok();
        let value =
            shift.and_then(|shift| 10_i128.checked_pow(shift)).and_then(|unit| rounded.checked_mul(unit));
        let fits = value
            .or((rounded == 0).then_some(0))
            .filter(|v| v.unsigned_abs() < 10_u128.pow(u32::from(precision)));
        if fits.is_none() && call.conf.ansi {
            return Err(out_of_range(call.returns));
        }
        made.append_option(fits);
    }
    Ok(Arc::new(made.finish().with_precision_and_scale(precision, to)?))
}

fn round(call: &Call, rounding: Rounding) -> Result<ArrayRef> {
    macro_rules! integers {
        ($kind:ty) => {{
            let values = call.args[0].as_primitive::<$kind>();
            let rounded = (0..call.rows).map(|row| {
                if !call.all_valid(row) {
                    return Ok(None);
                }
                let wanted = wanted(call, row);
                let value = i128::from(values.value(row));
                if wanted >= 0 {
                    return Ok(Some(values.value(row)));
                }
                let lost = wanted < -1_000_000;
                let unit = 10_i128.checked_pow(wanted.unsigned_abs().min(39));
                let rounded = unit.map_or(0, |unit| rounding.divide(value, unit) * unit);
                match rounded.try_into() {
                    Ok(rounded) if !lost => Ok(Some(rounded)),
                    _ if call.conf.ansi => Err(ExpressionError::raise(
                        "ARITHMETIC_OVERFLOW",
                        "the rounded value is out of range",
                    )),
                    _ => Ok(Some(rounded as _)),
                }
            });
            Arc::new(rounded.collect::<Result<PrimitiveArray<$kind>>>()?) as ArrayRef
        }};
    }
    Ok(match call.args[0].data_type() {
        DataType::Int8 => integers!(Int8Type),
        DataType::Int16 => integers!(Int16Type),
        DataType::Int32 => integers!(Int32Type),
        DataType::Int64 => integers!(Int64Type),
        DataType::Float32 => each::<Float32Array, _>(call, |row| {
            let value = call.args[0].as_primitive::<Float32Type>().value(row);
            let mut text = Vec::with_capacity(24);
            write_float(value, &mut text);
            Some(
                rounded_text(f64::from(value), &text, wanted(call, row), rounding)
                    .map_or(value, |text| text.parse().unwrap_or(value)),
            )
        })?,
        DataType::Float64 => each::<Float64Array, _>(call, |row| {
            let value = call.args[0].as_primitive::<Float64Type>().value(row);
            let mut text = Vec::with_capacity(24);
            write_double(value, &mut text);
            Some(
                rounded_text(value, &text, wanted(call, row), rounding)
                    .map_or(value, |text| text.parse().unwrap_or(value)),
            )
        })?,
        kind if is_decimal(kind) => decimals(call, rounding)?,
        kind => {
            debug_assert!(is_float(kind));
            Arc::clone(&call.args[0])
        }
    })
}

/// The decimal text of a number as Java shows it, rounded to `wanted` digits behind the point; `None` if the number
/// is not finite.
fn rounded_text(value: f64, text: &[u8], wanted: i32, rounding: Rounding) -> Option<String> {
    if !value.is_finite() {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    let (mantissa, exponent) = text.split_once('E').unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = i32::try_from(fraction.len()).ok()? - exponent.parse::<i32>().ok()?;
    if wanted >= scale {
        // Nothing goes; a zero of a decimal has no sign.
        return Some(format!("{digits}e{}", -scale));
    }
    Some(format!("{}e{}", rounding.at_scale(digits, scale, wanted), -i64::from(wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_rounded_by_their_decimal_text() {
        let round = |value: f64, wanted: i32, rounding| {
            let mut text = Vec::new();
            write_double(value, &mut text);
            rounded_text(value, &text, wanted, rounding).unwrap().parse::<f64>().unwrap()
        };
        assert_eq!(round(2.5, 0, Rounding::HalfUp), 3.0);
        assert_eq!(round(2.5, 0, Rounding::HalfEven), 2.0);
        assert_eq!(round(-2.5, 0, Rounding::HalfUp), -3.0);
        assert_eq!(round(1.005, 2, Rounding::HalfUp), 1.01);
        assert_eq!(round(123.0, -2, Rounding::HalfUp), 100.0);
        assert_eq!(round(1e20, 2, Rounding::HalfUp), 1e20);
        assert_eq!(round(4.9e-324, 3, Rounding::HalfUp), 0.0);
    }
}
