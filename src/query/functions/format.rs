//! Texts made to a format, codes of characters, and encodings.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int32Array, StringArray, StringBuilder,
};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};
use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use datafusion::common::{DataFusionError, Result};

use super::Entry;
use super::scalar::{Bind, Bound, Call, Types, count, each, entry, takes, try_each};
use crate::query::arithmetic::decimal::plain_text;
use crate::query::cast::{self, Mode, Way};
use crate::query::coerce::types::{Want, castable, is_decimal, is_float, is_integral, mismatch};
use crate::query::error::ExpressionError;

/// Functions of formats and encodings.
pub(crate) const ENTRIES: &[Entry] = &[
    entry!(
        "format_number",
        Types::By(bind_number),
        format_number,
        ["stateless/levenshtein_soundex_overlay", "expressions/string"]
    ),
    entry!(
        "format_string" | "printf",
        Types::By(bind_format),
        format_string,
        ["stateless/levenshtein_soundex_overlay", "expressions/string"]
    ),
    entry!(
        "ascii",
        takes!([Text] => DataType::Int32),
        |call| each::<Int32Array, _>(call, |row| Some(
            call.texts(0).value(row).chars().next().map_or(0, |c| c as i32)
        )),
        ["stateless/encodings", "expressions/string"]
    ),
    entry!(
        "chr" | "char",
        takes!([Long] => DataType::Utf8),
        |call| each::<StringArray, _>(call, |row| Some(chr(call.longs(0).value(row)))),
        ["stateless/encodings", "expressions/string"]
    ),
    entry!(
        "soundex",
        takes!([Text] => DataType::Utf8),
        |call| each::<StringArray, _>(call, |row| Some(soundex(call.texts(0).value(row)))),
        ["stateless/levenshtein_soundex_overlay", "expressions/string"]
    ),
    entry!(
        "base64",
        takes!([Bytes] => DataType::Utf8),
        |call| each::<StringArray, _>(call, |row| Some(STANDARD.encode(call.bytes(0).value(row)))),
        ["stateless/encodings", "expressions/string"]
    ),
    entry!(
        "unbase64",
        takes!([Text] => DataType::Binary),
        |call| try_each::<BinaryArray, _>(call, |row| unbase64(call.texts(0).value(row)).map(Some)),
        ["stateless/encodings", "expressions/string"]
    ),
    entry!(
        "encode",
        takes!([Text, Text] => DataType::Binary),
        |call| try_each::<BinaryArray, _>(call, |row| encode(
            call.texts(0).value(row),
            call.texts(1).value(row)
        )
        .map(Some)),
        ["expressions/string"]
    ),
    entry!(
        "decode",
        takes!([Bytes, Text] => DataType::Utf8),
        |call| try_each::<StringArray, _>(call, |row| decode(
            call.bytes(0).value(row),
            call.texts(1).value(row)
        )
        .map(Some)),
        ["expressions/string"]
    ),
    entry!("to_binary", takes!([Text, Text], 1 => DataType::Binary), to_binary, ["expressions/string"]),
    entry!(
        "luhn_check",
        takes!([Text] => DataType::Boolean),
        |call| each::<BooleanArray, _>(call, |row| Some(luhn(call.texts(0).value(row)))),
        ["expressions/string"]
    ),
    entry!(
        "is_valid_utf8",
        takes!([Bytes] => DataType::Boolean),
        |call| each::<BooleanArray, _>(call, |row| Some(
            std::str::from_utf8(call.bytes(0).value(row)).is_ok()
        )),
        ["expressions/string"]
    ),
    entry!(
        "validate_utf8",
        takes!([Text] => DataType::Utf8),
        |call| Ok(Arc::clone(&call.args[0])),
        ["expressions/string"]
    ),
];

fn bind_number(bind: &Bind) -> Result<Bound> {
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

fn format_number(call: &Call) -> Result<ArrayRef> {
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

/// Digits with `scale` of them behind the point, rounded half to even at `places`: before the point, and behind it.
fn half_even(digits: &str, scale: usize, places: usize) -> (String, String) {
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let point = padded.len() - scale;
    if places >= scale {
        let fraction = format!("{:0<places$}", &padded[point..]);
        return (padded[..point].to_owned(), fraction);
    }
    let cut = point + places;
    let (kept, lost) = padded.split_at(cut);
    let half = lost.starts_with('5') && lost[1..].bytes().all(|byte| byte == b'0');
    let odd = kept.bytes().last().is_some_and(|byte| byte % 2 == 1);
    let up = if half { odd } else { lost.as_bytes()[0] >= b'5' };
    let mut kept: Vec<u8> = kept.bytes().collect();
    if up {
        let mut at = kept.len();
        loop {
            if at == 0 {
                kept.insert(0, b'1');
                break;
            }
            at -= 1;
            if kept[at] == b'9' {
                kept[at] = b'0';
            } else {
                kept[at] += 1;
                break;
            }
        }
    }
    let kept: String = kept.into_iter().map(char::from).collect();
    let (whole, fraction) = kept.split_at(kept.len() - places);
    (whole.to_owned(), fraction.to_owned())
}

fn bind_format(bind: &Bind) -> Result<Bound> {
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
        let shown = format!("{:.places$e}", value.abs());
        let (mantissa, exponent) = shown.split_once('e').unwrap_or((&shown, "0"));
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

/// Digits rounded half up to `places` behind the point.
fn half_up(digits: &str, places: usize) -> String {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if fraction.len() <= places {
        return if places == 0 { whole.to_owned() } else { format!("{whole}.{fraction:0<places$}") };
    }
    // A digit that makes half_even round as half up does.
    let nudged = format!("{whole}{fraction}1");
    let (whole, fraction) = half_even(&nudged, fraction.len() + 1, places);
    if places == 0 { whole } else { format!("{whole}.{fraction}") }
}

fn format_string(call: &Call) -> Result<ArrayRef> {
    let mut texts = StringBuilder::new();
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

/// The character of the low byte; empty for negative numbers.
fn chr(number: i64) -> String {
    match number {
        ..0 => String::new(),
        _ => char::from((number & 0xff) as u8).to_string(),
    }
}

/// `UTF8String.soundex`.
fn soundex(text: &str) -> String {
    let code = |c: u8| match c.to_ascii_uppercase() {
        b'B' | b'F' | b'P' | b'V' => b'1',
        b'C' | b'G' | b'J' | b'K' | b'Q' | b'S' | b'X' | b'Z' => b'2',
        b'D' | b'T' => b'3',
        b'L' => b'4',
        b'M' | b'N' => b'5',
        b'R' => b'6',
        b'H' | b'W' => b'7',
        b'A' | b'E' | b'I' | b'O' | b'U' | b'Y' => b'0',
        _ => 0,
    };
    let bytes = text.as_bytes();
    let Some(first) = bytes.first().filter(|byte| byte.is_ascii_alphabetic()) else {
        return text.to_owned();
    };
    let mut out = String::from(char::from(first.to_ascii_uppercase()));
    let mut last = code(*first);
    for byte in &bytes[1..] {
        let digit = code(*byte);
        match digit {
            0 => last = b'0',
            // H and W leave the code before them.
            b'7' => {}
            digit => {
                if digit != b'0' && digit != last {
                    out.push(char::from(digit));
                    if out.len() == 4 {
                        break;
                    }
                }
                last = digit;
            }
        }
    }
    while out.len() < 4 {
        out.push('0');
    }
    out
}

/// As Java's MIME decoder: what is no letter of the alphabet is skipped, padding may be missing.
fn unbase64(text: &str) -> Result<Vec<u8>> {
    let lax = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, lax);
    let letters: Vec<u8> = text
        .bytes()
        .filter(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
        .collect();
    engine
        .decode(letters)
        .map_err(|_| ExpressionError::raise("CONVERSION_INVALID_INPUT", "the text is no Base64"))
}

fn encode(text: &str, charset: &str) -> Result<Vec<u8>> {
    let unmappable =
        || ExpressionError::raise("MALFORMED_CHARACTER_CODING", "a character is not in the charset");
    let units = |order: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(order).collect::<Vec<u8>>();
    Ok(match charset.to_ascii_lowercase().as_str() {
        "utf-8" => text.as_bytes().to_vec(),
        "utf-16be" => units(u16::to_be_bytes),
        "utf-16le" => units(u16::to_le_bytes),
        "utf-16" => [vec![0xfe, 0xff], units(u16::to_be_bytes)].concat(),
        "us-ascii" => text
            .chars()
            .map(|c| if c.is_ascii() { Ok(c as u8) } else { Err(unmappable()) })
            .collect::<Result<_>>()?,
        "iso-8859-1" => text
            .chars()
            .map(|c| u8::try_from(u32::from(c)).map_err(|_| unmappable()))
            .collect::<Result<_>>()?,
        _ => {
            return Err(ExpressionError::raise(
                "INVALID_PARAMETER_VALUE.CHARSET",
                "the charset is not known",
            ));
        }
    })
}

/// The text of bytes. `decode` with more arguments is a CASE, which the rewriter makes.
fn decode(bytes: &[u8], charset: &str) -> Result<String> {
    let malformed =
        || ExpressionError::raise("MALFORMED_CHARACTER_CODING", "the bytes are no text of the charset");
    let units = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        if !bytes.len().is_multiple_of(2) {
            return Err(malformed());
        }
        let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        char::decode_utf16(units).collect::<std::result::Result<String, _>>().map_err(|_| malformed())
    };
    match charset.to_ascii_lowercase().as_str() {
        "utf-8" => String::from_utf8(bytes.to_vec()).map_err(|_| malformed()),
        "us-ascii" if bytes.is_ascii() => Ok(bytes.iter().map(|byte| char::from(*byte)).collect()),
        "us-ascii" => Err(malformed()),
        "iso-8859-1" => Ok(bytes.iter().map(|byte| char::from(*byte)).collect()),
        "utf-16be" => units(bytes, u16::from_be_bytes),
        "utf-16le" => units(bytes, u16::from_le_bytes),
        "utf-16" => match bytes {
            [0xff, 0xfe, rest @ ..] => units(rest, u16::from_le_bytes),
            [0xfe, 0xff, rest @ ..] => units(rest, u16::from_be_bytes),
            bytes => units(bytes, u16::from_be_bytes),
        },
        _ => Err(ExpressionError::raise("INVALID_PARAMETER_VALUE.CHARSET", "the charset is not known")),
    }
}

fn to_binary(call: &Call) -> Result<ArrayRef> {
    try_each::<BinaryArray, _>(call, |row| {
        let text = call.texts(0).value(row);
        let bad = || ExpressionError::raise("CONVERSION_INVALID_INPUT", "the text is not of the format");
        match call.text(1, row).unwrap_or("hex").to_ascii_lowercase().as_str() {
            "hex" => super::bitwise::unhex(text).map(Some).ok_or_else(bad),
            "utf-8" | "utf8" => Ok(Some(text.as_bytes().to_vec())),
            "base64" => unbase64(text).map(Some),
            _ => Err(ExpressionError::raise(
                "DATATYPE_MISMATCH.INVALID_ARG_VALUE",
                "the format is hex, utf-8 or base64",
            )),
        }
    })
}

fn luhn(text: &str) -> bool {
    let mut sum = 0;
    for (at, c) in text.chars().rev().enumerate() {
        let Some(digit) = c.to_digit(10) else { return false };
        let doubled = if at % 2 == 1 { digit * 2 } else { digit };
        sum += if doubled > 9 { doubled - 9 } else { doubled };
    }
    !text.is_empty() && sum % 10 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_rounded_half_to_even_and_half_up() {
        assert_eq!(half_even("25", 1, 0), ("2".into(), String::new()));
        assert_eq!(half_even("35", 1, 0), ("4".into(), String::new()));
        assert_eq!(half_even("9995", 3, 2), ("10".into(), "00".into()));
        assert_eq!(half_up("2.5", 0), "3");
        assert_eq!(half_up("0.125", 2), "0.13");
        assert_eq!(half_up("1", 2), "1.00");
    }

    #[test]
    fn texts_that_sound_alike_have_one_code() {
        assert_eq!(soundex("Robert"), "R163");
        assert_eq!(soundex("Rupert"), "R163");
        assert_eq!(soundex("Ashcraft"), "A261");
        assert_eq!(soundex("42"), "42");
    }
}
