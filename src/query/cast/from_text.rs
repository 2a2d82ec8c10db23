//! Casts out of STRING, with what Spark trims and takes.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, Decimal128Array, PrimitiveArray,
    StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use datafusion::common::{DataFusionError, Result, exec_err};

use super::{Mode, Way, invalid, out_of_range};
use crate::decode::datetime::cast::{date_days, local_micros, timestamp_micros, timestamp_ntz_micros};
use crate::query::arithmetic::decimal::to_size;
use crate::query::error::ExpressionError;

pub(super) fn cast(array: &StringArray, to: &DataType, way: Way) -> Result<ArrayRef> {
    let truncate = way.mode == Mode::Lenient;
    macro_rules! whole {
        ($kind:ty) => {
            Arc::new(primitive::<$kind>(array, to, way, |text| {
                let value = whole_number(text, truncate)?;
                <$kind as ArrowPrimitiveType>::Native::try_from(value).ok()
            })?)
        };
    }
    Ok(match to {
        DataType::Boolean => {
            let values = array.iter().map(|text| match text.map(|text| (text, boolean(text))) {
                Some((_, None)) => way.mode.fault(|| invalid(to)),
                Some((_, value)) => Ok(value),
                None => Ok(None),
            });
            Arc::new(values.collect::<Result<BooleanArray>>()?)
        }
        DataType::Int8 => whole!(Int8Type),
        DataType::Int16 => whole!(Int16Type),
        DataType::Int32 => whole!(Int32Type),
        DataType::Int64 => whole!(Int64Type),
        DataType::Float32 => Arc::new(primitive::<Float32Type>(array, to, way, floating)?),
        DataType::Float64 => Arc::new(primitive::<Float64Type>(array, to, way, floating)?),
        DataType::Decimal128(precision, scale) => Arc::new(decimals(array, to, (*precision, *scale), way)?),
        DataType::Binary => {
            Arc::new(array.iter().map(|text| text.map(str::as_bytes)).collect::<BinaryArray>())
        }
        DataType::Date32 => {
            Arc::new(primitive::<Date32Type>(array, to, way, |text| date_days(text.as_bytes()))?)
        }
        DataType::Timestamp(_, zone) => {
            let clock = zone.is_none();
            let now = way.conf.clock.started();
            let values = array.iter().map(|text| {
                let Some(text) = text else { return Ok(None) };
                let text = text.as_bytes();
                let found = if clock { timestamp_ntz_micros(text) } else { instant(text, way, now)? };
                found.map_or_else(|| way.mode.fault(|| invalid(to)), |at| Ok(Some(at)))
            });
            let values: TimestampMicrosecondArray = values.collect::<Result<_>>()?;
            Arc::new(values.with_data_type(to.clone()))
        }
        other => return exec_err!("no cast from STRING to {other}"),
    })
}

/// The instant that a text names. A time without a date is that of the day of the batch, `now`.
///
/// # Errors
/// For such a time while there is no batch yet: a constant is not folded then, so that each batch asks its own clock.
fn instant(text: &[u8], way: Way, now: Option<i64>) -> Result<Option<i64>> {
    let found = timestamp_micros(text, &way.conf.zone, now.unwrap_or_default());
    if now.is_none() && found.is_some() && local_micros(text).is_none() {
        return exec_err!("a time without a date has no day before there is a batch");
    }
    Ok(found)
}

fn primitive<T: ArrowPrimitiveType>(
    array: &StringArray,
    to: &DataType,
    way: Way,
    read: impl Fn(&str) -> Option<T::Native>,
) -> Result<PrimitiveArray<T>> {
    let values = array.iter().map(|text| match text {
        None => Ok(None),
        Some(text) => read(text).map_or_else(|| way.mode.fault(|| invalid(to)), |value| Ok(Some(value))),
    });
    values.collect()
}

/// Without blanks and control characters at both ends (`UTF8String.trimAll`).
fn trim_all(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ' || c == '\u{7f}')
}

/// `UTF8String.toLong`: digits with a sign; without ANSI a fraction may follow, and is dropped.
pub(crate) fn whole_number(text: &str, truncate: bool) -> Option<i64> {
    let bytes = trim_all(text).as_bytes();
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, bytes),
    };
    let end = digits.iter().position(|byte| *byte == b'.').filter(|_| truncate).unwrap_or(digits.len());
    let (whole, fraction) = digits.split_at(end);
    if digits.is_empty()
        || !whole.iter().all(u8::is_ascii_digit)
        || !fraction.iter().skip(1).all(u8::is_ascii_digit)
    {
        return None;
    }
    let mut value = 0_i64;
    for digit in whole {
        let digit = i64::from(digit - b'0');
        value = value.checked_mul(10)?.checked_sub(digit)?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// `UTF8String.isTrueString` and `isFalseString`, trimmed.
fn boolean(text: &str) -> Option<bool> {
    let text = trim_all(text).to_ascii_lowercase();
    match text.as_str() {
        "t" | "true" | "y" | "yes" | "1" => Some(true),
        "f" | "false" | "n" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// A text that Java's `Double.parseDouble` takes, or one of Spark's names for what is not finite.
pub(crate) fn floating<T: std::str::FromStr + Special>(text: &str) -> Option<T> {
    let text = text.trim_matches(|c| c <= ' ');
    match text.to_ascii_lowercase().as_str() {
        "inf" | "+inf" | "infinity" | "+infinity" => return Some(T::INFINITY),
        "-inf" | "-infinity" => return Some(T::NEGATIVE),
        "nan" => return Some(T::NAN),
        _ => {}
    }
    if matches!(text, "+NaN" | "-NaN") {
        return Some(T::NAN);
    }
    let number = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    let starts = number.strip_prefix(['+', '-']).unwrap_or(number);
    let plain =
        starts.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    if !plain || !starts.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    number.parse().ok()
}

/// The numbers that have names.
pub(crate) trait Special {
    const INFINITY: Self;
    const NEGATIVE: Self;
    const NAN: Self;
}

impl Special for f64 {
    const INFINITY: f64 = f64::INFINITY;
    const NEGATIVE: f64 = f64::NEG_INFINITY;
    const NAN: f64 = f64::NAN;
}

impl Special for f32 {
    const INFINITY: f32 = f32::INFINITY;
    const NEGATIVE: f32 = f32::NEG_INFINITY;
    const NAN: f32 = f32::NAN;
}

/// What a text is as a decimal.
enum Digits {
    /// No number.
    Invalid,
    /// More than 38 digits before the point.
    TooLong,
    Value(i128, i8),
}

fn decimals(array: &StringArray, to: &DataType, size: (u8, i8), way: Way) -> Result<Decimal128Array> {
    let mut made = Decimal128Array::builder(array.len());
    for text in array {
        let value = match text.map(|text| digits_of(text, size.1)) {
            None => None,
            Some(Digits::Invalid) => way.mode.fault(|| invalid(to))?,
            Some(Digits::TooLong) => way.mode.fault(too_long)?,
            Some(Digits::Value(value, scale)) => match to_size(value, scale, size) {
                None => way.mode.fault(|| out_of_range(to))?,
                fits => fits,
            },
        };
        made.append_option(value);
    }
    Ok(made.finish().with_precision_and_scale(size.0, size.1)?)
}

fn too_long() -> DataFusionError {
    ExpressionError::raise(
        "NUMERIC_OUT_OF_SUPPORTED_RANGE",
        "the text has more than 38 digits before the point",
    )
}

/// Reads a text as `new BigDecimal(text)` does, to a few digits more than `scale`.
fn digits_of(text: &str, scale: i8) -> Digits {
    let text = trim_all(text);
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, "0"),
    };
    let (negative, body) = match mantissa.as_bytes().first() {
        Some(b'-') => (true, &mantissa[1..]),
        Some(b'+') => (false, &mantissa[1..]),
        _ => (false, mantissa),
    };
    let (whole, fraction) = body.split_once('.').unwrap_or((body, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    let Ok(exponent) = exponent.parse::<i32>() else { return Digits::Invalid };
    if digits().count() == 0 || !digits().all(|byte| byte.is_ascii_digit()) {
        return Digits::Invalid;
    }
    let leading = digits().take_while(|byte| *byte == b'0').count();
    if leading == digits().count() {
        return Digits::Value(0, 0);
    }
    // How many digits stand before the point, once it has moved.
    let before = i64::try_from(whole.len()).unwrap_or(i64::MAX) + i64::from(exponent);
    let significant_before = before - i64::try_from(leading).unwrap_or(0);
    if significant_before > 38 {
        return Digits::TooLong;
    }
    // The digit behind the scale decides on rounding half up; those behind it say nothing.
    let Ok(wanted) = usize::try_from(before + i64::from(scale)) else { return Digits::Value(0, 0) };
    let mut taken = digits().chain(std::iter::repeat(b'0'));
    let mut value = Some(0_i128);
    for digit in taken.by_ref().take(wanted) {
        value = value.and_then(|value| value.checked_mul(10)?.checked_add(i128::from(digit - b'0')));
    }
    let up = i128::from(taken.next().is_some_and(|digit| digit >= b'5'));
    match value.and_then(|value| value.checked_add(up)) {
        Some(value) => Digits::Value(if negative { -value } else { value }, scale),
        // Too many digits for any DECIMAL of this scale.
        None => Digits::Value(i128::MAX, scale),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_take_a_fraction_only_without_ansi() {
        assert_eq!(whole_number(" -12\t", false), Some(-12));
        assert_eq!(whole_number("12.7", false), None);
        assert_eq!(whole_number("12.7", true), Some(12));
        assert_eq!(whole_number("-9223372036854775808", false), Some(i64::MIN));
        assert_eq!(whole_number("9223372036854775808", false), None);
        assert_eq!(whole_number("-", false), None);
        assert_eq!(whole_number("1e3", true), None);
    }

    #[test]
    fn doubles_are_javas() {
        assert_eq!(floating::<f64>(" 1.5D "), Some(1.5));
        assert_eq!(floating::<f64>("1e3f"), Some(1000.0));
        assert_eq!(floating::<f64>("Infinity"), Some(f64::INFINITY));
        assert_eq!(floating::<f64>(".5"), Some(0.5));
        assert_eq!(floating::<f64>("abc"), None);
        assert_eq!(floating::<f64>(""), None);
    }

    #[test]
    fn decimals_are_rounded_half_up_at_the_scale() {
        let read = |text: &str, scale: i8| match digits_of(text, scale) {
            Digits::Value(value, from) => to_size(value, from, (38, scale)),
            _ => None,
        };
        assert_eq!(read("12.75", 1), Some(128));
        assert_eq!(read("-12.75", 1), Some(-128));
        assert_eq!(read("1e3", 0), Some(1000));
        assert_eq!(read("1e-3", 2), Some(0));
        assert_eq!(read("5e-3", 2), Some(1));
        assert!(matches!(digits_of("1e40", 0), Digits::TooLong));
        assert!(matches!(digits_of("1x", 0), Digits::Invalid));
    }
}
