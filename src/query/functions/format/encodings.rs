//! Bytes as text and text as bytes: Base64 and charsets.

use arrow::array::{ArrayRef, AsArray, BinaryArray};
use arrow::datatypes::DataType;
use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use datafusion::common::{DataFusionError, Result};

use crate::query::coerce::types::{Want, castable, refused};
use crate::query::error::ExpressionError;
use crate::query::functions::scalar::{Bind, Bound, Call, count, try_each};

/// As Java's MIME decoder: what is no letter of the alphabet is skipped, padding may be missing.
pub(super) fn unbase64(text: &str) -> Result<Vec<u8>> {
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
        .map_err(|_| ExpressionError::raise("CONVERSION_INVALID_INPUT", "the text is not valid Base64"))
}

/// Whether a character may stand in Base64 that is checked: `unbase64` skips all others.
fn in_base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=') || c.is_whitespace()
}

pub(super) fn encode(text: &str, charset: &str) -> Result<Vec<u8>> {
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
pub(super) fn decode(bytes: &[u8], charset: &str) -> Result<String> {
    let malformed =
        || ExpressionError::raise("MALFORMED_CHARACTER_CODING", "the bytes are not text of the charset");
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

/// The text of row `row`, which has a value, if its bytes are UTF-8.
pub(super) fn valid_text<'a>(call: &'a Call, row: usize) -> Option<&'a str> {
    match call.args[0].data_type() {
        DataType::Binary => std::str::from_utf8(call.args[0].as_binary::<i32>().value(row)).ok(),
        _ => Some(call.texts(0).value(row)),
    }
}

pub(super) fn invalid_utf8() -> DataFusionError {
    ExpressionError::raise("INVALID_UTF8_STRING", "the bytes are no UTF-8")
}

/// As for `to_binary`; the format is a literal.
pub(super) fn bind_try_to_binary(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 2)?;
    if bind.strict && bind.types.len() == 2 && bind.literals[1].is_none() {
        return Err(refused("DATATYPE_MISMATCH.NON_FOLDABLE_INPUT", "the format is a literal"));
    }
    let args = bind.types.iter().map(|kind| castable(bind, kind, Want::Text)).collect::<Result<Vec<_>>>()?;
    Ok(Bound::new(args, DataType::Binary))
}

/// Bytes out of texts of a format; what is not of it fails, or is NULL.
pub(super) fn to_binary(call: &Call, fails: bool) -> Result<ArrayRef> {
    let read = |row: usize| {
        let text = call.texts(0).value(row);
        let bad = || ExpressionError::raise("CONVERSION_INVALID_INPUT", "the text is not of the format");
        match call.text(1, row).unwrap_or("hex").to_ascii_lowercase().as_str() {
            "hex" => crate::query::functions::bitwise::unhex(text).map(Some).ok_or_else(bad),
            "utf-8" | "utf8" => Ok(Some(text.as_bytes().to_vec())),
            "base64" if text.chars().all(in_base64) => unbase64(text).map(Some),
            "base64" => Err(bad()),
            _ => Err(ExpressionError::raise(
                "DATATYPE_MISMATCH.INVALID_ARG_VALUE",
                "the format is hex, utf-8 or base64",
            )),
        }
    };
    try_each::<BinaryArray, _>(call, |row| match read(row) {
        Err(_) if !fails => Ok(None),
        bytes => bytes,
    })
}
