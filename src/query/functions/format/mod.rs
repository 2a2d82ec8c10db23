//! Texts made to a format, codes of characters, and encodings: the table of the functions.

mod number;
mod printf;
mod rounding;
mod encodings;
mod codes;

use std::sync::Arc;

use arrow::array::{BinaryArray, BooleanArray, Int32Array, StringArray};
use arrow::datatypes::DataType;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Entry;
use super::scalar::{Types, each, entry, takes, try_each};
use codes::{chr, luhn, soundex};
use encodings::{bind_try_to_binary, decode, encode, invalid_utf8, to_binary, unbase64, valid_text};
use number::{bind_number, format_number};
use printf::{bind_format, format_string};

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
    entry!(
        "to_binary",
        takes!([Text, Text], 1 => DataType::Binary),
        |call| to_binary(call, true),
        ["expressions/string"]
    ),
    entry!(
        "try_to_binary",
        Types::By(bind_try_to_binary),
        |call| to_binary(call, false),
        ["expressions/forms"]
    ),
    entry!(
        "luhn_check",
        takes!([Text] => DataType::Boolean),
        |call| each::<BooleanArray, _>(call, |row| Some(luhn(call.texts(0).value(row)))),
        ["expressions/string"]
    ),
    entry!(
        "is_valid_utf8",
        takes!([TextOrBytes] => DataType::Boolean),
        |call| each::<BooleanArray, _>(call, |row| Some(valid_text(call, row).is_some())),
        ["expressions/string", "expressions/forms"]
    ),
    entry!(
        "validate_utf8",
        takes!([TextOrBytes] => DataType::Utf8),
        |call| try_each::<StringArray, _>(call, |row| valid_text(call, row)
            .map(Some)
            .ok_or_else(invalid_utf8)),
        ["expressions/string", "expressions/forms"]
    ),
    entry!(
        "try_validate_utf8",
        takes!([TextOrBytes] => DataType::Utf8),
        |call| each::<StringArray, _>(call, |row| valid_text(call, row)),
        ["expressions/forms"]
    ),
    // Text of Arrow is valid already: what is none became U+FFFD when it was cast.
    entry!(
        "make_valid_utf8",
        takes!([Text] => DataType::Utf8),
        |call| Ok(Arc::clone(&call.args[0])),
        ["expressions/forms"]
    ),
];
