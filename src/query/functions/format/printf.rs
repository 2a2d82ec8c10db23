//! `format_string`: the conversions of Java's `Formatter`.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};
use datafusion::common::{DataFusionError, Result};

use super::rounding::{half_up, with_zeros};
use crate::query::arithmetic::decimal::plain_text;
use crate::query::cast::{self, Mode, Way};
use crate::query::coerce::types::{Want, castable, is_decimal, is_float, is_integral, mismatch};
use crate::query::error::ExpressionError;
use crate::query::functions::scalar::{Bind, Bound, Call};
use crate::query::result_size::TextBytes;

pub(super) fn bind_format(bind: &Bind) -> Result<Bound> {
    if bind.types.is_empty() {
        return Err(mismatch(bind, "a format is needed"));
    }
    let mut args = bind.types.to_vec();
    args[0] = castable(bind, &bind.types[0], Want::Text)?;
    Ok(Bound::new(args, DataType::Utf8))
}

fn illegal(why: &str) -> DataFusionError {
    ExpressionError::raise(
        "IllegalArgumentException",
        format!("the format does not suit its arguments: {why}"),
    )
}

/// A conversion of `java.util.Formatter`: flags, width, precision, letter.
struct Conversion {
    minus: bool,
    zero: bool,
    plus: bool,
    comma: bool,
    width: usize,
    precision: Option<usize>,
    letter: char,
}

impl Conversion {
    /// Reads what follows a `%`; gives the rest of the format.
    fn read(text: &str) -> Result<(Conversion, &str)> {
        let flags = text.len() - text.trim_start_matches(['-', '0', '+', ',', ' ', '#', '(']).len();
        let (flags, rest) = text.split_at(flags);
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (width, rest) = rest.split_at(digits);
        let (precision, rest) = match rest.strip_prefix('.') {
            Some(rest) => {
                let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
                (rest[..digits].parse().ok(), &rest[digits..])
            }
            None => (None, rest),
        };
        let letter = rest.chars().next().ok_or_else(|| illegal("it ends in a %"))?;
        if rest.starts_with('$') || flags.contains([' ', '#', '(']) {
            return Err(illegal("positions and the flags ' ', # and ( are not supported"));
        }
        let conversion = Conversion {
            minus: flags.contains('-'),
            zero: flags.contains('0'),
            plus: flags.contains('+'),
            comma: flags.contains(','),
            width: width.parse().unwrap_or(0),
            precision,
            letter,
        };
        Ok((conversion, &rest[letter.len_utf8()..]))
    }

    fn pad(&self, text: &str, out: &mut String) {
        // Java counts UTF-16 units.
        let missing = self.width.saturating_sub(text.encode_utf16().count());
        if self.minus {
            out.push_str(text);
        }
        out.extend(std::iter::repeat_n(' ', missing));
        if !self.minus {
            out.push_str(text);
        }
    }

    /// Digits with sign, zeros and commas.
    fn number(&self, negative: bool, digits: &str, out: &mut String) {
        let mut shown = String::new();
        let (whole, fraction) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
        for (at, digit) in whole.chars().enumerate() {
            if self.comma && at > 0 && (whole.len() - at).is_multiple_of(3) {
                shown.push(',');
            }
            shown.push(digit);
        }
        shown.push_str(fraction);
        let sign = if negative {
            "-"
        } else if self.plus {
            "+"
        } else {
            ""
        };
        let zeros = if self.zero { self.width.saturating_sub(shown.len() + sign.len()) } else { 0 };
        self.pad(&format!("{sign}{}{shown}", "0".repeat(zeros)), out);
    }

    fn write(&self, array: &ArrayRef, row: usize, call: &Call, out: &mut String) -> Result<()> {
        let kind = array.data_type();
        if array.is_null(row) {
            let null = match self.letter {
                'b' | 'B' => "false",
                _ => "null",
            };
            let null = if self.letter.is_uppercase() { null.to_uppercase() } else { null.to_owned() };
            self.pad(&null, out);
            return Ok(());
        }
        let text = |out: &mut String| {
            cast::to_text::write_value(array, row, Way { mode: Mode::Ansi, conf: call.conf }, out)
        };
        match self.letter {
            's' | 'S' => {
                let mut shown = String::new();
                text(&mut shown)?;
                let shown: String = shown.chars().take(self.precision.unwrap_or(usize::MAX)).collect();
                self.pad(&if self.letter == 'S' { shown.to_uppercase() } else { shown }, out);
            }
            'b' | 'B' => {
                let value = *kind != DataType::Boolean || array.as_boolean().value(row);
                self.pad(if value { "true" } else { "false" }, out);
            }
            'd' | 'x' | 'X' | 'o' if is_integral(kind) => {
                let way = Way { mode: Mode::Ansi, conf: call.conf };
                let value = cast::cast(&array.slice(row, 1), &DataType::Int64, way)?
                    .as_primitive::<Int64Type>()
                    .value(0);
                // Java shows a negative number by the bits of its own width.
                let bits = match kind {
                    DataType::Int64 => value as u64,
                    DataType::Int8 => u64::from(value as u8),
                    DataType::Int16 => u64::from(value as u16),
                    _ => u64::from(value as u32),
                };
                match self.letter {
                    'd' => self.number(value < 0, &value.unsigned_abs().to_string(), out),
                    'x' => self.number(false, &format!("{bits:x}"), out),
                    'X' => self.number(false, &format!("{bits:X}"), out),
                    _ => self.number(false, &format!("{bits:o}"), out),
                }
            }
            'c' if is_integral(kind) => {
                let way = Way { mode: Mode::Ansi, conf: call.conf };
                let value = cast::cast(&array.slice(row, 1), &DataType::Int64, way)?
                    .as_primitive::<Int64Type>()
                    .value(0);
                let c = u32::try_from(value)
                    .ok()
                    .and_then(char::from_u32)
                    .ok_or_else(|| illegal("no character has this number"))?;
                self.pad(&c.to_string(), out);
            }
            'f' | 'e' | 'E' if is_float(kind) || is_decimal(kind) => self.floating(array, row, call, out)?,
            letter => return Err(illegal(&format!("%{letter} does not take a value of its type"))),
        }
        Ok(())
    }

    fn floating(&self, array: &ArrayRef, row: usize, call: &Call, out: &mut String) -> Result<()> {
        let places = self.precision.unwrap_or(6);
        if is_decimal(array.data_type()) && self.letter == 'f' {
            let values = array.as_primitive::<Decimal128Type>();
            let mut digits = String::new();
            plain_text(values.value(row), values.scale(), &mut digits);
            let digits = digits.trim_start_matches('-');
            let shown = half_up(digits, places);
            self.number(values.value(row) < 0, &shown, out);
            return Ok(());
        }
        let way = Way { mode: Mode::Ansi, conf: call.conf };
        let value =
            cast::cast(&array.slice(row, 1), &DataType::Float64, way)?.as_primitive::<Float64Type>().value(0);
        if !value.is_finite() {
            let shown = if value.is_nan() {
                "NaN"
            } else if value > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            };
            self.pad(shown, out);
            return Ok(());
        }
        if self.letter == 'f' {
            let mut text = Vec::new();
            crate::decode::json::write_double(value.abs(), &mut text);
            let text = String::from_utf8(text).unwrap_or_default();
            self.number(value.is_sign_negative(), &half_up(&plain(&text), places), out);
            return Ok(());
        }
        // A double has at most 1074 places; those behind are zeros, and `format!` takes no more than 65,535.
        let exact = places.min(1100);
        let shown = format!("{:.exact$e}", value.abs());
        let (mantissa, exponent) = shown.split_once('e').unwrap_or((&shown, "0"));
        let mantissa = with_zeros(mantissa, mantissa.len() + places - exact);
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let mut digits = String::new();
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(digits, "{mantissa}e{sign}{:02}", exponent.abs()).expect("a String takes everything");
        let digits = if self.letter == 'E' { digits.to_uppercase() } else { digits };
        self.number(value.is_sign_negative(), &digits, out);
        Ok(())
    }
}

/// The digits of Java's text of a double without an exponent.
fn plain(text: &str) -> String {
    let (mantissa, exponent) = text.split_once('E').unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent: i64 = exponent.parse().unwrap_or(0);
    let point = i64::try_from(whole.len()).unwrap_or(0) + exponent;
    let mut digits = format!("{whole}{fraction}");
    if point <= 0 {
        return format!("0.{}{digits}", "0".repeat(usize::try_from(-point).unwrap_or(0)));
    }
    let point = usize::try_from(point).unwrap_or(0);
    while digits.len() < point {
        digits.push('0');
    }
    let (whole, fraction) = digits.split_at(point);
    format!("{whole}.{fraction}")
}

pub(super) fn format_string(call: &Call) -> Result<ArrayRef> {
    let (mut texts, made) = (StringBuilder::new(), TextBytes::new(call.conf.record_bytes));
    for row in 0..call.rows {
        let Some(mut format) = call.text(0, row) else {
            texts.append_null();
            continue;
        };
        let mut out = String::new();
        let mut next = 1;
        while let Some((before, behind)) = format.split_once('%') {
            out.push_str(before);
            let (conversion, rest) = Conversion::read(behind)?;
            made.add(conversion.width.max(conversion.precision.unwrap_or_default()))?;
            format = rest;
            match conversion.letter {
                '%' => conversion.pad("%", &mut out),
                'n' => out.push('\n'),
                _ => {
                    let array = call.args.get(next).ok_or_else(|| illegal("there are too few of them"))?;
                    conversion.write(array, row, call, &mut out)?;
                    next += 1;
                }
            }
        }
        out.push_str(format);
        texts.append_value(out);
    }
    Ok(Arc::new(texts.finish()))
}
