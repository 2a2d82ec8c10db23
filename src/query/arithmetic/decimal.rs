//! Precision and scale of decimal results, and decimal values with half-up rounding.
//!
//! `DecimalType`, `DecimalPrecision` and `Decimal` of Spark 4.0. A value is its unscaled number; whatever has more
//! than 38 digits is no value.

use arrow::datatypes::{DataType, i256};

use super::operation::Operation;

/// The digits of a DECIMAL at most.
pub(crate) const PRECISION_MAX: u8 = 38;
/// The scale that `adjust` keeps at least.
const SCALE_KEPT: i32 = 6;

/// Precision and scale.
pub(crate) type Size = (u8, i8);

/// DECIMAL of a size.
pub(crate) fn decimal((precision, scale): Size) -> DataType {
    DataType::Decimal128(precision, scale)
}

/// The size that holds every value of an integral type (`DecimalType.forType`).
pub(crate) fn of_integral(kind: &DataType) -> Option<Size> {
    Some(match kind {
        DataType::Int8 => (3, 0),
        DataType::Int16 => (5, 0),
        DataType::Int32 => (10, 0),
        DataType::Int64 => (20, 0),
        _ => return None,
    })
}

/// The size of a literal's value (`DecimalType.fromLiteral`).
pub(crate) fn of_value(value: i64) -> Size {
    let digits = value.unsigned_abs().checked_ilog10().unwrap_or(0) + 1;
    (u8::try_from(digits).expect("a BIGINT has 19 digits at most"), 0)
}

/// `DecimalType.boundedPreferIntegralDigits` over `widerDecimalType`.
pub(crate) fn bounded_wider((p1, s1): Size, (p2, s2): Size) -> DataType {
    let scale = i32::from(s1.max(s2));
    let range = (i32::from(p1) - i32::from(s1)).max(i32::from(p2) - i32::from(s2));
    let precision = range + scale;
    let over = (precision - i32::from(PRECISION_MAX)).max(0);
    decimal(size(precision - over, (scale - over).max(0)))
}

fn size(precision: i32, scale: i32) -> Size {
    let precision = u8::try_from(precision.clamp(0, 38)).expect("clamped to 38");
    (precision, i8::try_from(scale.clamp(0, 38)).expect("clamped to 38"))
}

/// `DecimalType.adjustPrecisionScale`: of too many digits those behind the point go first, down to six.
fn adjust(precision: i32, scale: i32) -> Size {
    if precision <= i32::from(PRECISION_MAX) {
        return size(precision, scale);
    }
    let whole = precision - scale;
    size(38, (i32::from(PRECISION_MAX) - whole).max(scale.min(SCALE_KEPT)))
}

/// The size of the result of an operator.
pub(crate) fn result_size(operation: Operation, (p1, s1): Size, (p2, s2): Size) -> Size {
    let (p1, s1, p2, s2) = (i32::from(p1), i32::from(s1), i32::from(p2), i32::from(s2));
    match operation {
        Operation::Add | Operation::Subtract => {
            let scale = s1.max(s2);
            adjust((p1 - s1).max(p2 - s2) + scale + 1, scale)
        }
        Operation::Multiply => adjust(p1 + p2 + 1, s1 + s2),
        Operation::Divide => {
            let scale = SCALE_KEPT.max(s1 + p2 + 1);
            adjust(p1 - s1 + s2 + scale, scale)
        }
        Operation::Remainder | Operation::Pmod => {
            let scale = s1.max(s2);
            adjust((p1 - s1).min(p2 - s2) + scale, scale)
        }
    }
}

/// Ten to the power of `n`, for `n` up to 76.
fn power(n: u32) -> i256 {
    i256::from_i128(10).wrapping_pow(n)
}

/// `value / divisor`, rounded half up (away from zero).
fn divide_half_up(value: i256, divisor: i256) -> i256 {
    let quotient = value.wrapping_div(divisor);
    let rest = value.wrapping_rem(divisor).wrapping_abs();
    let half = divisor.wrapping_abs().wrapping_sub(rest) <= rest;
    let negative = value.is_negative() != divisor.is_negative();
    match (half, negative) {
        (false, _) => quotient,
        (true, false) => quotient.wrapping_add(i256::ONE),
        (true, true) => quotient.wrapping_sub(i256::ONE),
    }
}

/// `value` of scale `from` at scale `to`, rounded half up.
fn rescaled(value: i256, from: i32, to: i32) -> Option<i256> {
    if to >= from {
        return value.checked_mul(power(u32::try_from(to - from).ok()?));
    }
    let down = u32::try_from(from - to).ok()?;
    Some(if down > 76 { i256::ZERO } else { divide_half_up(value, power(down)) })
}

/// `value`, if it fits the precision.
fn fitting(value: i256, precision: u8) -> Option<i128> {
    let value = value.to_i128()?;
    (value.unsigned_abs() < 10_u128.pow(u32::from(precision))).then_some(value)
}

/// `value` of scale `from` as DECIMAL of size `to`, rounded half up; `None` if it does not fit.
pub(crate) fn to_size(value: i128, from: i8, (precision, scale): Size) -> Option<i128> {
    if from == scale {
        return fitting(i256::from_i128(value), precision);
    }
    fitting(rescaled(i256::from_i128(value), i32::from(from), i32::from(scale))?, precision)
}

/// The result of an operator at the size `to`; `None` if it does not fit. A divisor is never zero.
pub(crate) fn apply(
    operation: Operation,
    (a, s1): (i128, i8),
    (b, s2): (i128, i8),
    to: Size,
) -> Option<i128> {
    let (s1, s2, scale) = (i32::from(s1), i32::from(s2), i32::from(to.1));
    let (a, b) = (i256::from_i128(a), i256::from_i128(b));
    let value = match operation {
        Operation::Multiply => rescaled(a.checked_mul(b)?, s1 + s2, scale)?,
        Operation::Divide => {
            // a / 10^s1 / (b / 10^s2) at the scale of the result: a * 10^(scale + s2 - s1) / b.
            let shift = scale + s2 - s1;
            if shift >= 0 {
                divide_half_up(a.checked_mul(power(u32::try_from(shift).ok()?))?, b)
            } else {
                divide_half_up(a, b.checked_mul(power(u32::try_from(-shift).ok()?))?)
            }
        }
        _ => {
            let both = s1.max(s2);
            let (a, b) = (rescaled(a, s1, both)?, rescaled(b, s2, both)?);
            let value = match operation {
                Operation::Add => a.checked_add(b)?,
                Operation::Subtract => a.checked_sub(b)?,
                Operation::Remainder => a.wrapping_rem(b),
                _ => {
                    let rest = a.wrapping_rem(b);
                    if rest.is_negative() { rest.checked_add(b)?.wrapping_rem(b) } else { rest }
                }
            };
            rescaled(value, both, scale)?
        }
    };
    fitting(value, to.0)
}

/// The low 64 bits of the whole part of `a / b` (`IntegralDivide` over decimals); `None` if it has more than 38 digits.
pub(crate) fn whole_quotient((a, s1): (i128, i8), (b, s2): (i128, i8)) -> Option<i64> {
    let both = i32::from(s1.max(s2));
    let a = rescaled(i256::from_i128(a), i32::from(s1), both)?;
    let b = rescaled(i256::from_i128(b), i32::from(s2), both)?;
    let quotient = a.wrapping_div(b);
    fitting(quotient, PRECISION_MAX).map(|quotient| quotient as i64)
}

/// The digits of an unscaled value as `BigDecimal.toPlainString` writes them.
pub(crate) fn plain_text(value: i128, scale: i8, out: &mut String) {
    if value < 0 {
        out.push('-');
    }
    let digits = value.unsigned_abs().to_string();
    let scale = usize::try_from(scale).unwrap_or(0);
    if scale == 0 {
        out.push_str(&digits);
        return;
    }
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    out.push_str(whole);
    out.push('.');
    out.push_str(fraction);
}

/// The digits as `BigDecimal.toString` writes them: with an exponent where the value is small.
pub(crate) fn java_text(value: i128, scale: i8, out: &mut String) {
    let digits = value.unsigned_abs().to_string();
    let exponent = i64::try_from(digits.len()).unwrap_or(0) - 1 - i64::from(scale);
    if exponent >= -6 {
        plain_text(value, scale, out);
        return;
    }
    if value < 0 {
        out.push('-');
    }
    out.push_str(&digits[..1]);
    if digits.len() > 1 {
        out.push('.');
        out.push_str(&digits[1..]);
    }
    out.push_str(&format!("E{exponent}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_results_are_sparks() {
        assert_eq!(result_size(Operation::Divide, (10, 2), (5, 3)), (19, 8));
        assert_eq!(result_size(Operation::Multiply, (38, 18), (38, 18)), (38, 6));
        assert_eq!(result_size(Operation::Add, (10, 2), (1, 0)), (11, 2));
        assert_eq!(result_size(Operation::Add, (38, 18), (38, 0)), (38, 6));
        assert_eq!(bounded_wider((38, 18), (38, 0)), DataType::Decimal128(38, 0));
        assert_eq!(of_value(0), (1, 0));
        assert_eq!(of_value(-100), (3, 0));
    }

    #[test]
    fn halves_are_rounded_away_from_zero() {
        assert_eq!(to_size(25, 1, (3, 0)), Some(3));
        assert_eq!(to_size(-25, 1, (3, 0)), Some(-3));
        assert_eq!(to_size(24, 1, (3, 0)), Some(2));
        assert_eq!(apply(Operation::Divide, (2, 0), (3, 0), (10, 6)), Some(666_667));
        assert_eq!(apply(Operation::Divide, (-2, 0), (3, 0), (10, 6)), Some(-666_667));
    }

    #[test]
    fn what_has_too_many_digits_is_no_value() {
        assert_eq!(to_size(1000, 0, (3, 0)), None);
        let most = 10_i128.pow(38) - 1;
        assert_eq!(apply(Operation::Add, (most, 0), (1, 0), (38, 0)), None);
        assert_eq!(apply(Operation::Multiply, (most, 0), (most, 0), (38, 0)), None);
    }

    #[test]
    fn texts_are_javas() {
        let text = |value, scale, write: fn(i128, i8, &mut String)| {
            let mut out = String::new();
            write(value, scale, &mut out);
            out
        };
        assert_eq!(text(-5, 3, plain_text), "-0.005");
        assert_eq!(text(1, 7, java_text), "1E-7");
        assert_eq!(text(-12, 9, java_text), "-1.2E-8");
        assert_eq!(text(1, 6, java_text), "0.000001");
        assert_eq!(text(0, 18, java_text), "0E-18");
    }
}
