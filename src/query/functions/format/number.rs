//! `format_number`: a number with as many places as are asked for, and its thousands set apart.

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};
use datafusion::common::Result;

use super::rounding::half_even;
use crate::query::coerce::types::{Want, castable, is_decimal, is_float, is_integral};
use crate::query::error::ExpressionError;
use crate::query::functions::scalar::{Bind, Bound, Call, count, try_each};
use crate::query::result_size::TextBytes;

pub(super) fn bind_number(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 2)?;
    let number = match castable(bind, &bind.types[0], Want::Number)? {
        kind if is_integral(&kind) => DataType::Int64,
        kind if is_float(&kind) => DataType::Float64,
        kind => kind,
    };
    let format = match &bind.types[1] {
        DataType::Utf8 => DataType::Utf8,
        kind => castable(bind, kind, Want::Int)?,
    };
    Ok(Bound::new([number, format], DataType::Utf8))
}

/// The places behind the point, and whether thousands are set apart, of a pattern such as `#,##0.00`.
fn places_of(pattern: &str) -> Option<(usize, usize, bool)> {
    let (whole, fraction) = pattern.split_once('.').unwrap_or((pattern, ""));
    let known = |text: &str, set: &str| text.chars().all(|c| set.contains(c));
    let good = known(whole, "#,0") && known(fraction, "0#") && !fraction.contains("#0");
    let least = fraction.chars().filter(|c| *c == '0').count();
    good.then_some((least, fraction.len(), whole.contains(',')))
}

pub(super) fn format_number(call: &Call) -> Result<ArrayRef> {
    let made = TextBytes::new(call.conf.record_bytes);
    try_each::<StringArray, _>(call, |row| {
        let (least, most, grouped) = match call.args[1].as_string_opt::<i32>() {
            Some(patterns) => places_of(patterns.value(row)).ok_or_else(|| {
                ExpressionError::raise(
                    "INVALID_PARAMETER_VALUE.PATTERN",
                    "format_number takes patterns of # , 0 and .",
                )
            })?,
            None => match usize::try_from(call.ints(1).value(row)) {
                Ok(places) => (places, places, true),
                Err(_) => return Ok(None),
            },
        };
        let kind = call.args[0].data_type();
        let (negative, digits, scale) = if is_decimal(kind) {
            let values = call.args[0].as_primitive::<Decimal128Type>();
            let value = values.value(row);
            (value < 0, value.unsigned_abs().to_string(), usize::try_from(values.scale()).unwrap_or(0))
        } else if is_float(kind) {
            let value = call.args[0].as_primitive::<Float64Type>().value(row);
            if value.is_nan() {
                return Ok(Some("NaN".to_owned()));
            }
            if value.is_infinite() {
                return Ok(Some(if value > 0.0 { "∞" } else { "-∞" }.to_owned()));
            }
            // The exact value: a double has at most 1074 places.
            let text = format!("{:.1074}", value.abs());
            let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
            let fraction = fraction.trim_end_matches('0');
            (value.is_sign_negative(), format!("{whole}{fraction}"), fraction.len())
        } else {
            let value = call.args[0].as_primitive::<Int64Type>().value(row);
            (value < 0, value.unsigned_abs().to_string(), 0)
        };
        made.add(digits.len().saturating_add(most))?;
        let (whole, fraction) = half_even(&digits, scale, most);
        let fraction = &fraction[..fraction.trim_end_matches('0').len().max(least.min(fraction.len()))];
        let mut out = String::new();
        if negative {
            out.push('-');
        }
        let length = whole.len();
        for (at, digit) in whole.chars().enumerate() {
            if grouped && at > 0 && (length - at).is_multiple_of(3) {
                out.push(',');
            }
            out.push(digit);
        }
        if !fraction.is_empty() {
            out.push('.');
            out.push_str(fraction);
        }
        Ok(Some(out))
    })
}
