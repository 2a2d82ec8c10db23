//! Functions that look for one text in another: LIKE, positions, prefixes, distances.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int32Array};
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::Entry;
use super::scalar::{Call, each, entry, takes, try_each};
use crate::query::error::ExpressionError;

/// Functions of search.
pub(crate) const ENTRIES: &[Entry] = &[
    entry!(
        "like",
        takes!([Text, Text, Text], 2 => DataType::Boolean),
        |call| like(call, false),
        ["stateless/like_patterns", "expressions/string"]
    ),
    entry!(
        "ilike",
        takes!([Text, Text, Text], 2 => DataType::Boolean),
        |call| like(call, true),
        ["stateless/like_patterns", "expressions/string"]
    ),
    entry!(
        "startswith",
        takes!([Text, Text] => DataType::Boolean),
        |call| each::<BooleanArray, _>(call, |row| Some(
            call.texts(0).value(row).starts_with(call.texts(1).value(row))
        )),
        ["stateless/string_search", "expressions/string"]
    ),
    entry!(
        "endswith",
        takes!([Text, Text] => DataType::Boolean),
        |call| each::<BooleanArray, _>(call, |row| Some(
            call.texts(0).value(row).ends_with(call.texts(1).value(row))
        )),
        ["stateless/string_search", "expressions/string"]
    ),
    entry!(
        "contains",
        takes!([Text, Text] => DataType::Boolean),
        |call| each::<BooleanArray, _>(call, |row| Some(
            call.texts(0).value(row).contains(call.texts(1).value(row))
        )),
        ["stateless/string_search", "expressions/string"]
    ),
    entry!(
        "instr",
        takes!([Text, Text] => DataType::Int32),
        |call| each::<Int32Array, _>(call, |row| Some(position(
            call.texts(0).value(row),
            call.texts(1).value(row),
            0
        ))),
        ["stateless/string_search", "expressions/string"]
    ),
    entry!(
        "locate" | "position",
        takes!([Text, Text, Int], 2 => DataType::Int32),
        locate,
        ["stateless/string_search", "expressions/string"]
    ),
    entry!(
        "find_in_set",
        takes!([Text, Text] => DataType::Int32),
        |call| each::<Int32Array, _>(call, |row| Some(find_in_set(
            call.texts(0).value(row),
            call.texts(1).value(row)
        ))),
        ["expressions/string"]
    ),
    entry!(
        "levenshtein",
        takes!([Text, Text, Int], 2 => DataType::Int32),
        levenshtein,
        ["stateless/levenshtein_soundex_overlay", "expressions/string"]
    ),
];

/// A LIKE pattern taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Exactly(char),
    One,
    Any,
}

/// The pieces of a pattern.
///
/// # Errors
/// `INVALID_FORMAT.ESC_…` for an escape before anything but `_`, `%` and itself.
fn pieces(pattern: &str, escape: char) -> Result<Vec<Piece>> {
    let mut out = Vec::with_capacity(pattern.len());
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        out.push(match c {
            c if c == escape => match rest.next() {
                Some(next) if next == '_' || next == '%' || next == escape => Piece::Exactly(next),
                Some(_) => {
                    let message = "the escape stands before a character that needs none";
                    return Err(ExpressionError::raise("INVALID_FORMAT.ESC_IN_THE_MIDDLE", message));
                }
                None => {
                    return Err(ExpressionError::raise(
                        "INVALID_FORMAT.ESC_AT_THE_END",
                        "the pattern ends in its escape",
                    ));
                }
            },
            '_' => Piece::One,
            '%' => Piece::Any,
            c => Piece::Exactly(c),
        });
    }
    Ok(out)
}

/// Whether the whole text matches; goes back to the last `%` only.
fn matches(text: &[char], pieces: &[Piece]) -> bool {
    let (mut at, mut piece) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while at < text.len() {
        match pieces.get(piece) {
            Some(Piece::Any) => {
                back = Some((at, piece));
                piece += 1;
            }
            Some(Piece::One) => (at, piece) = (at + 1, piece + 1),
            Some(Piece::Exactly(c)) if *c == text[at] => (at, piece) = (at + 1, piece + 1),
            _ => match back {
                Some((from, any)) => {
                    back = Some((from + 1, any));
                    (at, piece) = (from + 1, any + 1);
                }
                None => return false,
            },
        }
    }
    pieces[piece..].iter().all(|piece| *piece == Piece::Any)
}

fn like(call: &Call, without_case: bool) -> Result<ArrayRef> {
    let folded = |text: &str| if without_case { text.to_lowercase() } else { text.to_owned() };
    let mut known: Option<(String, char, Vec<Piece>)> = None;
    let mut flags = BooleanArray::builder(call.rows);
    for row in 0..call.rows {
        if !call.all_valid(row) {
            flags.append_null();
            continue;
        }
        let (text, pattern) = (folded(call.texts(0).value(row)), folded(call.texts(1).value(row)));
        let escape = call.text(2, row).and_then(|text| text.chars().next()).unwrap_or('\\');
        if known.as_ref().is_none_or(|(before, with, _)| *before != pattern || *with != escape) {
            let pieces = pieces(&pattern, escape)?;
            known = Some((pattern, escape, pieces));
        }
        let text: Vec<char> = text.chars().collect();
        flags.append_value(known.as_ref().is_some_and(|(_, _, pieces)| matches(&text, pieces)));
    }
    Ok(Arc::new(flags.finish()))
}

/// The character from which `search` is found, counted from one, from character `from` on; 0 if it is not.
fn position(text: &str, search: &str, from: usize) -> i32 {
    if search.is_empty() {
        return 1;
    }
    let start = text.char_indices().nth(from).map_or(text.len(), |(at, _)| at);
    match text[start..].find(search) {
        Some(at) => i32::try_from(text[..start + at].chars().count() + 1).unwrap_or(i32::MAX),
        None => 0,
    }
}

fn locate(call: &Call) -> Result<ArrayRef> {
    let values = (0..call.rows).map(|row| {
        let start = if call.has(2) { call.int(2, row) } else { Some(1) };
        // A null start is a start before all: nothing is found.
        let Some(start) = start else { return Some(0) };
        let (search, text) = (call.text(0, row)?, call.text(1, row)?);
        Some(match usize::try_from(start) {
            Ok(start) if start >= 1 => position(text, search, start - 1),
            _ => 0,
        })
    });
    Ok(Arc::new(values.collect::<Int32Array>()))
}

fn find_in_set(search: &str, set: &str) -> i32 {
    if search.contains(',') {
        return 0;
    }
    set.split(',').position(|item| item == search).and_then(|at| i32::try_from(at + 1).ok()).unwrap_or(0)
}

fn levenshtein(call: &Call) -> Result<ArrayRef> {
    try_each::<Int32Array, _>(call, |row| {
        let distance = strsim::levenshtein(call.texts(0).value(row), call.texts(1).value(row));
        let distance = i32::try_from(distance).unwrap_or(i32::MAX);
        let over = call.has(2) && distance > call.ints(2).value(row);
        Ok(Some(if over { -1 } else { distance }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_the_whole_text() {
        let like = |text: &str, pattern: &str| {
            matches(&text.chars().collect::<Vec<_>>(), &pieces(pattern, '\\').unwrap())
        };
        assert!(like("abc", "a%"));
        assert!(like("abc", "%b%"));
        assert!(!like("abc", "b%"));
        assert!(like("a%c", "a\\%c"));
        assert!(!like("abc", "a\\%c"));
        assert!(like("", "%"));
        assert!(!like("", "_"));
        assert!(like("żó", "_ó"));
        assert!(like("aab", "%ab"));
        assert!(pieces("a\\b", '\\').is_err());
        assert!(pieces("a\\", '\\').is_err());
    }
}
