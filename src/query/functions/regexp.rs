//! Regular expressions.
//!
//! Java's syntax by the `regex` crate, which has no look-around and no back-references: such patterns are refused by
//! name. What is compiled is kept per thread, for a pattern is nearly always a literal.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int32Array, ListArray, ListBuilder, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field};
use datafusion::common::Result;
use regex::Regex;

use super::Entry;
use super::scalar::{Bind, Bound, Call, Types, entry, fixed, takes, try_each};
use crate::query::coerce::types::{Want, list_of, refused};
use crate::query::error::ExpressionError;

/// Functions of regular expressions.
pub(crate) const ENTRIES: &[Entry] = &[
    entry!(
        "rlike" | "regexp" | "regexp_like",
        takes!([Text, Text] => DataType::Boolean),
        |call| try_each::<BooleanArray, _>(call, |row| Ok(Some(
            compiled(call.texts(1).value(row))?.is_match(call.texts(0).value(row))
        ))),
        ["stateless/regexp_functions", "expressions/regexp"]
    ),
    entry!(
        "regexp_extract",
        takes!([Text, Text, Int], 2 => DataType::Utf8),
        extract,
        ["stateless/regexp_functions", "expressions/regexp"]
    ),
    entry!(
        "regexp_extract_all",
        takes!([Text, Text, Int], 2 => list_of(DataType::Utf8)),
        extract_all,
        ["stateless/regexp_functions", "expressions/regexp"]
    ),
    entry!(
        "regexp_replace",
        Types::By(bind_replace),
        replace,
        ["stateless/replace_functions", "expressions/regexp"]
    ),
    entry!(
        "regexp_count",
        takes!([Text, Text] => DataType::Int32),
        |call| try_each::<Int32Array, _>(call, |row| Ok(i32::try_from(
            compiled(call.texts(1).value(row))?.find_iter(call.texts(0).value(row)).count()
        )
        .ok())),
        ["stateless/regexp_functions", "expressions/regexp"]
    ),
    entry!(
        "regexp_substr",
        takes!([Text, Text] => DataType::Utf8),
        substr,
        ["stateless/regexp_functions", "expressions/regexp"]
    ),
    entry!("regexp_instr", takes!([Text, Text, Int], 2 => DataType::Int32), instr, ["expressions/regexp"]),
    entry!(
        "split",
        takes!([Text, Text, Int], 2 => list_of(DataType::Utf8)),
        split_texts,
        ["stateless/split_and_parts", "stateless/split_is_a_regex", "expressions/regexp"]
    ),
];

/// How many compiled patterns a thread keeps.
const KEPT: usize = 16;

thread_local! {
    static COMPILED: RefCell<Vec<(String, Rc<Regex>)>> = const { RefCell::new(Vec::new()) };
}

/// The pattern, compiled once.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE.PATTERN` if the pattern is none, or has what the `regex` crate has not.
pub(crate) fn compiled(pattern: &str) -> Result<Rc<Regex>> {
    COMPILED.with_borrow_mut(|known| {
        if let Some(at) = known.iter().position(|(text, _)| text == pattern) {
            return Ok(Rc::clone(&known[at].1));
        }
        let regex = Regex::new(&translated(pattern)).map_err(|_| {
            ExpressionError::raise(
                "INVALID_PARAMETER_VALUE.PATTERN",
                "the regular expression cannot be read (look-around and back-references are not supported)",
            )
        })?;
        let regex = Rc::new(regex);
        if known.len() == KEPT {
            known.remove(0);
        }
        known.push((pattern.to_owned(), Rc::clone(&regex)));
        Ok(regex)
    })
}

/// Java's classes are of ASCII where the crate's are of Unicode: `\d`, `\w`, `\s`, `\b` and their opposites.
fn translated(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern.chars();
    let mut inside = false;
    while let Some(c) = rest.next() {
        match (c, inside) {
            ('\\', _) => match (rest.next(), inside) {
                (Some('d'), false) => out.push_str("[0-9]"),
                (Some('D'), false) => out.push_str("[^0-9]"),
                (Some('w'), false) => out.push_str("[0-9A-Za-z_]"),
                (Some('W'), false) => out.push_str("[^0-9A-Za-z_]"),
                (Some('s'), false) => out.push_str("[ \\t\\n\\x0B\\f\\r]"),
                (Some('S'), false) => out.push_str("[^ \\t\\n\\x0B\\f\\r]"),
                (Some('d'), true) => out.push_str("0-9"),
                (Some('w'), true) => out.push_str("0-9A-Za-z_"),
                (Some('s'), true) => out.push_str(" \\t\\n\\x0B\\f\\r"),
                // Java's end before a last line break.
                (Some('Z'), false) => out.push_str("\\n?\\z"),
                (Some('Q'), _) => {
                    let quoted: String = rest.by_ref().collect();
                    let (text, behind) = quoted.split_once("\\E").unwrap_or((&quoted, ""));
                    out.push_str(&regex::escape(text));
                    return out + &translated(behind);
                }
                (Some(next), _) => out.extend(['\\', next]),
                (None, _) => out.push('\\'),
            },
            ('[', false) => {
                inside = true;
                out.push('[');
            }
            // A bracket inside a class opens a nested one in both; a lone one is taken as itself.
            ('[', true) => out.push_str("\\["),
            (']', true) => {
                inside = false;
                out.push(']');
            }
            ('&', true) | ('~', true) => {
                out.push('\\');
                out.push(c);
            }
            (c, _) => out.push(c),
        }
    }
    out
}

/// The number of the group, checked.
fn group(call: &Call, row: usize, regex: &Regex) -> Result<usize> {
    let index = call.int(2, row).unwrap_or(1);
    usize::try_from(index).ok().filter(|index| *index < regex.captures_len()).ok_or_else(|| {
        let message = format!("the pattern has groups 0 to {}", regex.captures_len() - 1);
        ExpressionError::raise("INVALID_PARAMETER_VALUE.REGEX_GROUP_INDEX", message)
    })
}

/// A group of the first match, or an empty text.
fn extract(call: &Call) -> Result<ArrayRef> {
    try_each::<StringArray, _>(call, |row| {
        let regex = compiled(call.texts(1).value(row))?;
        let Some(found) = regex.captures(call.texts(0).value(row)) else {
            return Ok(Some(String::new()));
        };
        let index = group(call, row, &regex)?;
        Ok(Some(found.get(index).map_or(String::new(), |part| part.as_str().to_owned())))
    })
}

fn texts_builder() -> ListBuilder<StringBuilder> {
    ListBuilder::new(StringBuilder::new()).with_field(Arc::new(Field::new("element", DataType::Utf8, true)))
}

fn extract_all(call: &Call) -> Result<ArrayRef> {
    let mut lists = texts_builder();
    for row in 0..call.rows {
        if !call.all_valid(row) {
            lists.append_null();
            continue;
        }
        let regex = compiled(call.texts(1).value(row))?;
        for found in regex.captures_iter(call.texts(0).value(row)) {
            let index = group(call, row, &regex)?;
            lists.values().append_value(found.get(index).map_or("", |part| part.as_str()));
        }
        lists.append(true);
    }
    Ok(Arc::new(lists.finish()) as Arc<ListArray>)
}

/// Java's replacement: `$1` and `${name}` are groups, a backslash takes the next character as it is.
fn expand(replacement: &str, found: &regex::Captures, out: &mut String) -> Result<()> {
    let wrong = || {
        ExpressionError::raise(
            "INVALID_PARAMETER_VALUE.REPLACEMENT",
            "the replacement names a group that is not there",
        )
    };
    let mut rest = replacement;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => {
                let next = rest.chars().next().ok_or_else(wrong)?;
                out.push(next);
                rest = &rest[next.len_utf8()..];
            }
            '$' => {
                if let Some(named) = rest.strip_prefix('{') {
                    let (name, behind) = named.split_once('}').ok_or_else(wrong)?;
                    out.push_str(found.name(name).map_or("", |part| part.as_str()));
                    rest = behind;
                    continue;
                }
                // As many digits as still name a group.
                let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                let length = (1..=digits).rev().find(|length| {
                    *length == 1 || rest[..*length].parse::<usize>().is_ok_and(|index| index < found.len())
                });
                let length = length.ok_or_else(wrong)?;
                let index: usize = rest[..length].parse().map_err(|_| wrong())?;
                if index >= found.len() {
                    return Err(wrong());
                }
                out.push_str(found.get(index).map_or("", |part| part.as_str()));
                rest = &rest[length..];
            }
            c => out.push(c),
        }
    }
    Ok(())
}

fn bind_replace(bind: &Bind) -> Result<Bound> {
    if bind.strict && bind.integer(3).is_some_and(|position| position < 1) {
        return Err(refused("DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE", "the position is at least one"));
    }
    let wants = [Want::Text, Want::Text, Want::Text, Want::Int];
    Ok(Bound::new(fixed(bind, &wants, 3)?, DataType::Utf8))
}

fn replace(call: &Call) -> Result<ArrayRef> {
    try_each::<StringArray, _>(call, |row| {
        let (text, replacement) = (call.texts(0).value(row), call.texts(2).value(row));
        let position = call.int(3, row).unwrap_or(1);
        let Some(from) = usize::try_from(position).ok().filter(|from| *from >= 1) else {
            return Err(ExpressionError::raise(
                "DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE",
                "the position is at least one",
            ));
        };
        let start = text.char_indices().nth(from - 1).map_or(text.len(), |(at, _)| at);
        if position > 1 && start == text.len() {
            return Ok(Some(text.to_owned()));
        }
        let regex = compiled(call.texts(1).value(row))?;
        let mut out = text[..start].to_owned();
        let mut last = start;
        for found in regex.captures_iter(&text[start..]) {
            let Some(whole) = found.get(0) else { continue };
            out.push_str(&text[last..start + whole.start()]);
            expand(replacement, &found, &mut out)?;
            last = start + whole.end();
        }
        out.push_str(&text[last..]);
        Ok(Some(out))
    })
}

fn substr(call: &Call) -> Result<ArrayRef> {
    try_each::<StringArray, _>(call, |row| {
        let regex = compiled(call.texts(1).value(row))?;
        let found =
            regex.find(call.texts(0).value(row)).map(|found| found.as_str()).filter(|text| !text.is_empty());
        Ok(found.map(str::to_owned))
    })
}

fn instr(call: &Call) -> Result<ArrayRef> {
    try_each::<Int32Array, _>(call, |row| {
        let text = call.texts(0).value(row);
        let found = compiled(call.texts(1).value(row))?.find(text);
        Ok(found.map_or(Some(0), |found| i32::try_from(text[..found.start()].chars().count() + 1).ok()))
    })
}

/// `UTF8String.split`: at most `limit` parts if it is positive; an empty match at the start makes no part.
pub(crate) fn split<'a>(regex: &Regex, text: &'a str, limit: i32) -> Vec<&'a str> {
    let most = usize::try_from(limit).ok().filter(|limit| *limit > 0);
    let mut parts = Vec::new();
    let mut last = 0;
    for found in regex.find_iter(text) {
        if most.is_some_and(|most| parts.len() + 1 == most) {
            break;
        }
        // Spark cuts by an empty pattern itself, and makes no part at the end.
        if found.end() == 0 || (regex.as_str().is_empty() && found.start() == text.len()) {
            continue;
        }
        parts.push(&text[last..found.start()]);
        last = found.end();
    }
    parts.push(&text[last..]);
    parts
}

fn split_texts(call: &Call) -> Result<ArrayRef> {
    let mut lists = texts_builder();
    for row in 0..call.rows {
        if !call.all_valid(row) {
            lists.append_null();
            continue;
        }
        let (text, pattern) = (call.texts(0).value(row), call.texts(1).value(row));
        let limit = call.int(2, row).unwrap_or(-1);
        let regex = compiled(pattern)?;
        for part in split(&regex, text, limit) {
            lists.values().append_value(part);
        }
        lists.append(true);
    }
    Ok(Arc::new(lists.finish()) as Arc<ListArray>)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_of_ascii_as_in_java() {
        assert!(compiled("^\\d+$").unwrap().is_match("123"));
        assert!(!compiled("^\\d+$").unwrap().is_match("١٢"));
        assert!(!compiled("\\w").unwrap().is_match("é"));
        assert!(compiled("\\Qa.b\\E+").unwrap().is_match("a.bb"));
        assert!(compiled("(?=x)").is_err());
    }

    #[test]
    fn a_text_is_split_as_javas_strings_are() {
        let parts =
            |pattern: &str, text: &'static str, limit| split(&compiled(pattern).unwrap(), text, limit);
        assert_eq!(parts(",", "a,b,,c", -1), ["a", "b", "", "c"]);
        assert_eq!(parts(",", "a,b,,c", 2), ["a", "b,,c"]);
        assert_eq!(parts("", "abc", -1), ["a", "b", "c"]);
        assert_eq!(parts(",", ",", -1), ["", ""]);
    }
}
