//! Functions of regular expressions, which have Java's syntax and meaning ([`super::java_regex`]).
//!
//! A pattern that is a literal is read when the query is planned. What is compiled is kept per thread.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int32Array, ListArray, ListBuilder, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field};
use datafusion::common::{DataFusionError, Result};

use super::Entry;
use super::java_regex::{Matches, Pattern, unreadable};
use super::scalar::{Bind, Bound, Call, Types, entry, fixed, try_each};
use crate::query::coerce::types::{Want, list_of, refused};
use crate::query::error::ExpressionError;
use crate::query::result_size::TextBytes;

/// Functions of regular expressions.
pub(crate) const ENTRIES: &[Entry] = &[
    entry!(
        "rlike" | "regexp" | "regexp_like",
        Types::By(|bind| searched(bind, &[Want::Text, Want::Text], 2, DataType::Boolean)),
        |call| try_each::<BooleanArray, _>(call, |row| {
            compiled(call.texts(1).value(row))?.is_match(call.texts(0).value(row)).map(Some)
        }),
        ["stateless/regexp_functions", "expressions/regexp"]
    ),
    entry!(
        "regexp_extract",
        Types::By(|bind| searched(bind, &[Want::Text, Want::Text, Want::Int], 2, DataType::Utf8)),
        extract,
        ["stateless/regexp_functions", "expressions/regexp"]
    ),
    entry!(
        "regexp_extract_all",
        Types::By(|bind| searched(bind, &[Want::Text, Want::Text, Want::Int], 2, list_of(DataType::Utf8))),
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
        Types::By(|bind| searched(bind, &[Want::Text, Want::Text], 2, DataType::Int32)),
        count,
        ["stateless/regexp_functions", "expressions/regexp"]
    ),
    entry!(
        "regexp_substr",
        Types::By(|bind| searched(bind, &[Want::Text, Want::Text], 2, DataType::Utf8)),
        substr,
        ["stateless/regexp_functions", "expressions/regexp"]
    ),
    entry!(
        "regexp_instr",
        Types::By(|bind| searched(bind, &[Want::Text, Want::Text, Want::Int], 2, DataType::Int32)),
        instr,
        ["expressions/regexp"]
    ),
    entry!(
        "split",
        Types::By(|bind| searched(bind, &[Want::Text, Want::Text, Want::Int], 2, list_of(DataType::Utf8))),
        split_texts,
        ["stateless/split_and_parts", "stateless/split_is_a_regex", "expressions/regexp"]
    ),
];

/// How many compiled patterns a thread keeps.
const KEPT: usize = 16;

thread_local! {
    static COMPILED: RefCell<Vec<Rc<Pattern>>> = const { RefCell::new(Vec::new()) };
}

/// The pattern, compiled once.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE.PATTERN` if Java does not read it, or it has what is not supported.
pub(crate) fn compiled(text: &str) -> Result<Rc<Pattern>> {
    COMPILED.with_borrow_mut(|known| {
        if let Some(pattern) = known.iter().find(|pattern| pattern.as_str() == text) {
            return Ok(Rc::clone(pattern));
        }
        // The text may be a value of a row, so it is not shown.
        let pattern = Pattern::new(text)
            .map_err(|fault| unreadable(format!("the regular expression cannot be read: {fault}")))?;
        let pattern = Rc::new(pattern);
        if known.len() == KEPT {
            known.remove(0);
        }
        known.push(Rc::clone(&pattern));
        Ok(pattern)
    })
}

/// Reads the arguments `at` that are literals as patterns, while the query is planned.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE.PATTERN` with the pattern and its fault.
pub(super) fn check_patterns(bind: &Bind, at: &[usize]) -> Result<()> {
    if !bind.strict {
        return Ok(());
    }
    at.iter().filter_map(|at| bind.text(*at)).try_for_each(|text| match Pattern::new(text) {
        Ok(_) => Ok(()),
        Err(fault) => Err(unreadable(format!("the regular expression {text} cannot be read: {fault}"))),
    })
}

/// Binds a function whose second argument is a pattern.
fn searched(bind: &Bind, wants: &[Want], least: usize, returns: DataType) -> Result<Bound> {
    let args = fixed(bind, wants, least)?;
    check_patterns(bind, &[1])?;
    Ok(Bound::new(args, returns))
}

/// The number of the group, checked.
fn group(call: &Call, row: usize, pattern: &Pattern) -> Result<usize> {
    let index = call.int(2, row).unwrap_or(1);
    usize::try_from(index).ok().filter(|index| *index < pattern.groups()).ok_or_else(|| {
        let message = format!("the pattern has groups 0 to {}", pattern.groups() - 1);
        ExpressionError::raise("INVALID_PARAMETER_VALUE.REGEX_GROUP_INDEX", message)
    })
}

/// A group of the first match, or an empty text.
fn extract(call: &Call) -> Result<ArrayRef> {
    try_each::<StringArray, _>(call, |row| {
        let pattern = compiled(call.texts(1).value(row))?;
        let mut matches = pattern.matches(call.texts(0).value(row))?;
        if !matches.advance() {
            return Ok(Some(String::new()));
        }
        let index = group(call, row, &pattern)?;
        Ok(Some(matches.group(index).unwrap_or_default().to_owned()))
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
        let pattern = compiled(call.texts(1).value(row))?;
        let mut matches = pattern.matches(call.texts(0).value(row))?;
        while matches.advance() {
            let index = group(call, row, &pattern)?;
            lists.values().append_value(matches.group(index).unwrap_or_default());
        }
        lists.append(true);
    }
    Ok(Arc::new(lists.finish()) as Arc<ListArray>)
}

fn count(call: &Call) -> Result<ArrayRef> {
    try_each::<Int32Array, _>(call, |row| {
        let mut matches = compiled(call.texts(1).value(row))?.matches(call.texts(0).value(row))?;
        let mut count = 0;
        while matches.advance() {
            count += 1;
        }
        Ok(Some(count))
    })
}

/// Java's replacement: `$1` and `${name}` are groups, a backslash takes the next character as it is. `made` counts what is
/// added to `out`.
fn expand(
    replacement: &str,
    pattern: &Pattern,
    found: &Matches,
    made: &TextBytes,
    out: &mut String,
) -> Result<()> {
    let group = |index: usize, out: &mut String| {
        let text = found.group(index).unwrap_or_default();
        made.add(text.len())?;
        out.push_str(text);
        Ok::<_, DataFusionError>(())
    };
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
                    let index = pattern.group_named(name).ok_or_else(wrong)?;
                    group(index, out)?;
                    rest = behind;
                    continue;
                }
                // As many digits as still name a group.
                let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                let length = (1..=digits).rev().find(|length| {
                    *length == 1
                        || rest[..*length].parse::<usize>().is_ok_and(|index| index < pattern.groups())
                });
                let length = length.ok_or_else(wrong)?;
                let index: usize = rest[..length].parse().map_err(|_| wrong())?;
                if index >= pattern.groups() {
                    return Err(wrong());
                }
                group(index, out)?;
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
    searched(bind, &[Want::Text, Want::Text, Want::Text, Want::Int], 3, DataType::Utf8)
}

fn replace(call: &Call) -> Result<ArrayRef> {
    let made = TextBytes::new(call.conf.record_bytes);
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
        let pattern = compiled(call.texts(1).value(row))?;
        let (before, text) = text.split_at(start);
        let mut out = before.to_owned();
        let mut last = 0;
        let mut matches = pattern.matches(text)?;
        while matches.advance() {
            let found = matches.range();
            out.push_str(&text[last..found.start]);
            made.add(replacement.len())?;
            expand(replacement, &pattern, &matches, &made, &mut out)?;
            last = found.end;
        }
        out.push_str(&text[last..]);
        Ok(Some(out))
    })
}

fn substr(call: &Call) -> Result<ArrayRef> {
    try_each::<StringArray, _>(call, |row| {
        let mut matches = compiled(call.texts(1).value(row))?.matches(call.texts(0).value(row))?;
        let found = if matches.advance() { matches.group(0) } else { None };
        Ok(found.filter(|text| !text.is_empty()).map(str::to_owned))
    })
}

fn instr(call: &Call) -> Result<ArrayRef> {
    try_each::<Int32Array, _>(call, |row| {
        let text = call.texts(0).value(row);
        let mut matches = compiled(call.texts(1).value(row))?.matches(text)?;
        if !matches.advance() {
            return Ok(Some(0));
        }
        Ok(i32::try_from(text[..matches.range().start].chars().count() + 1).ok())
    })
}

/// `UTF8String.split`: at most `limit` parts if it is positive; an empty match at the start makes no part.
///
/// # Errors
/// As for [`Pattern::matches`].
pub(crate) fn split<'a>(pattern: &Pattern, text: &'a str, limit: i32) -> Result<Vec<&'a str>> {
    let most = usize::try_from(limit).ok().filter(|limit| *limit > 0);
    let mut parts = Vec::new();
    let mut last = 0;
    let mut matches = pattern.matches(text)?;
    while matches.advance() {
        let found = matches.range();
        if most.is_some_and(|most| parts.len() + 1 == most) {
            break;
        }
        // Spark cuts by an empty pattern itself, and makes no part at the end.
        if found.end == 0 || (pattern.as_str().is_empty() && found.start == text.len()) {
            continue;
        }
        parts.push(&text[last..found.start]);
        last = found.end;
    }
    parts.push(&text[last..]);
    Ok(parts)
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
        for part in split(&*compiled(pattern)?, text, limit)? {
            lists.values().append_value(part);
        }
        lists.append(true);
    }
    Ok(Arc::new(lists.finish()) as Arc<ListArray>)
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, RecordBatch};
    use arrow::datatypes::{Schema, SchemaRef};

    use super::*;
    use crate::query::{Conf, Definition, Failure, Query, Relation, Runner};

    #[test]
    fn a_text_is_split_as_javas_strings_are() {
        let parts = |pattern: &str, text: &'static str, limit| {
            split(&compiled(pattern).unwrap(), text, limit).unwrap()
        };
        assert_eq!(parts(",", "a,b,,c", -1), ["a", "b", "", "c"]);
        assert_eq!(parts(",", "a,b,,c", 2), ["a", "b,,c"]);
        assert_eq!(parts("", "abc", -1), ["a", "b", "c"]);
        assert_eq!(parts(",", ",", -1), ["", ""]);
        assert_eq!(parts("b*", "abc", -1), ["a", "", "c", ""]);
        assert_eq!(parts("$", "ab\n", -1), ["ab", "\n", ""]);
    }

    fn schema() -> SchemaRef {
        let column = |name: &str| Field::new(name, DataType::Utf8, true);
        Arc::new(Schema::new(vec![column("s"), column("p")]))
    }

    fn planned(expression: &str) -> crate::model::Result<Query> {
        let relation = Relation { name: "input".to_owned(), schema: schema() };
        let sql = format!("SELECT CAST({expression} AS STRING) AS answer FROM input");
        Query::plan(&Definition::of_stream(relation, sql, Conf::default()))
    }

    /// The answer of an expression for a row.
    fn answer(expression: &str, s: &str, p: &str) -> std::result::Result<String, String> {
        let mut runner = Runner::new(planned(expression).unwrap());
        let run = runner.begin(0, &[]).unwrap();
        let columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from(vec![s])), Arc::new(StringArray::from(vec![p]))];
        let rows = RecordBatch::try_new(schema(), columns).unwrap();
        let rows = rows.project(&runner.query().input_columns()).unwrap();
        match run.rows(rows) {
            Ok(made) => Ok(made[0].column(0).as_string::<i32>().value(0).to_owned()),
            Err(Failure::Expression(error)) => Err(error.to_string()),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn patterns_mean_what_they_mean_in_java() {
        let rows = [
            (r"regexp_extract(s, 'status=(\\d+)$', 1)", "GET / status=200\n", "200"),
            (r"regexp_extract(s, 'status=(\\d+)$', 1)", "GET / status=200\r\n", "200"),
            (r"regexp_replace(s, '\\p{Punct}', '')", "a+b=$5|c.d-e~f", "ab5cdef"),
            (r"regexp_replace(s, '\\<[/a-z]+\\>', '')", "<b>bold</b>", "bold"),
            (r"regexp_extract(s, '^(.*)', 1) = 'abc'", "abc\r\n", "true"),
            (r"regexp_replace(s, '[\\W]', '')", "né-x", "nx"),
            (r"regexp_replace(s, 'b*', '-')", "abc", "-a--c-"),
            (r"regexp_extract(s, '\\p{Alnum}+', 0)", "é-a1", "a1"),
            (r"regexp_count(s, 'b*')", "abc", "4"),
            (r"regexp_extract_all(s, 'b*', 0)", "abc", "[, b, , ]"),
            (r"regexp_replace(s, '$', '!')", "ab\n", "ab!\n!"),
            (r"regexp_instr(s, 'b$')", "ab\n", "2"),
            (r"s RLIKE '^ab$'", "ab\n", "true"),
            (r"s RLIKE '^ab$'", "ab\n\n", "false"),
            (r"str_to_map(s, '\\|', '\\s+')", "a 1|b  2", "{a -> 1, b -> 2}"),
            (r"regexp_replace(s, '(?<x>a)', '<${x}>')", "ab", "<a>b"),
        ];
        for (expression, text, expected) in rows {
            assert_eq!(answer(expression, text, "").as_deref(), Ok(expected), "{expression} of {text:?}");
        }
    }

    #[test]
    fn a_literal_pattern_that_cannot_be_read_is_refused_at_start() {
        let refused = [
            (r"regexp_extract(s, '(?<=price: )(\\d+)', 1)", "look-behind is not supported, at character 3"),
            (r"s RLIKE '['", "a class is not closed"),
            (r"regexp_replace(s, '(a)\\1', '')", "back-references are not supported"),
            (r"regexp_count(s, '(?=x)')", "look-ahead is not supported"),
            (r"regexp_substr(s, 'a++')", "possessive quantifiers are not supported"),
            (r"regexp_extract_all(s, '(?>a)')", "atomic groups are not supported"),
            (r"regexp_instr(s, '*a')", "a quantifier has nothing before it"),
            (r"split(s, '(')", "a group is not closed"),
            (r"str_to_map(s, ',', '[')", "a class is not closed"),
        ];
        for (expression, fault) in refused {
            let error = planned(expression).unwrap_err().to_string();
            assert!(error.contains("INVALID_PARAMETER_VALUE.PATTERN"), "{expression}: {error}");
            assert!(error.contains(fault), "{expression}: {error}");
        }
        let error = planned("s RLIKE '(?=x)'").unwrap_err().to_string();
        assert!(error.contains("(?=x)"), "{error}");
    }

    #[test]
    fn a_pattern_of_a_column_fails_for_its_row_and_is_not_shown() {
        assert_eq!(answer("regexp_extract(s, p, 0)", "abc", "b.?").as_deref(), Ok("bc"));
        let error = answer("regexp_extract(s, p, 0)", "abc", "(?=secret)").unwrap_err();
        assert!(error.starts_with("INVALID_PARAMETER_VALUE.PATTERN"), "{error}");
        assert!(error.contains("look-ahead") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn a_replacement_names_groups_that_are_there() {
        let error = answer("regexp_replace(s, '(?<x>a)', '${y}')", "a", "").unwrap_err();
        assert!(error.starts_with("INVALID_PARAMETER_VALUE.REPLACEMENT"), "{error}");
    }
}
