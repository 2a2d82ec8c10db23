//! One value out of a JSON text by a path: `get_json_object` of Spark.
//!
//! `GetJsonObject` of Spark 4.0 over the copy of Jackson's token machine: what is found is written anew as Jackson's
//! generator writes it, a string at the end of the path without quotes.

use super::capture;
use super::jackson::{Fault, Jackson, Lexed, Scratch, Token};
use super::options::Lexing;

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// `.name` or `['name']`.
    Name(String),
    /// `[7]`.
    Index(u64),
    /// `[*]`.
    Every,
}

/// A path such as `$.a.b[0]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JsonPath(Vec<Step>);

impl JsonPath {
    /// Reads a path; `None` if it is none, for which Spark gives NULL.
    pub(crate) fn parse(text: &str) -> Option<JsonPath> {
        let mut rest = text.strip_prefix('$')?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(name) = rest.strip_prefix('.') {
                let end = name.find(['.', '[']).unwrap_or(name.len());
                if end == 0 {
                    return None;
                }
                steps.push(Step::Name(name[..end].to_owned()));
                rest = &name[end..];
            } else if let Some(behind) = rest.strip_prefix("['") {
                let (name, behind) = behind.split_once("']")?;
                if name.is_empty() || name.contains(['\'', '?']) {
                    return None;
                }
                steps.push(Step::Name(name.to_owned()));
                rest = behind;
            } else {
                let (inside, behind) = rest.strip_prefix('[')?.split_once(']')?;
                let digits = !inside.is_empty() && inside.bytes().all(|byte| byte.is_ascii_digit());
                steps.push(match inside {
                    "*" => Step::Every,
                    number if digits => Step::Index(number.parse().ok()?),
                    _ => return None,
                });
                rest = behind;
            }
        }
        Some(JsonPath(steps))
    }

    /// What the path leads to in `text`; `None` if there is nothing, or null, or the text is no JSON.
    pub(crate) fn find(&self, text: &str) -> Option<String> {
        let mut scratch = Scratch::default();
        let mut parser = Jackson::new(text, Lexing::default(), &mut scratch);
        parser.next_token().ok()??;
        let mut out = Output::default();
        let found = evaluate(&mut parser, &mut out, Style::Raw, &self.0);
        if !found.unwrap_or(false) {
            return None;
        }
        String::from_utf8(out.bytes).ok()
    }
}

/// How a match is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// A string without quotes.
    Raw,
    Quoted,
    /// Elements of arrays into the array around them.
    Flatten,
}

/// What has been written; knows whether a comma is due within an array.
#[derive(Debug, Default)]
struct Output {
    bytes: Vec<u8>,
    /// For each open array whether an element has been written.
    arrays: Vec<bool>,
}

impl Output {
    fn begin_value(&mut self) {
        if let Some(written) = self.arrays.last_mut()
            && std::mem::replace(written, true)
        {
            self.bytes.push(b',');
        }
    }

    fn open(&mut self) {
        self.begin_value();
        self.bytes.push(b'[');
        self.arrays.push(false);
    }

    fn close(&mut self) {
        self.arrays.pop();
        self.bytes.push(b']');
    }
}

fn unexpected(parser: &Jackson<'_>) -> Fault {
    parser.unusable("the message ends within an object or array", "a value")
}

/// `GetJsonObjectEvaluator.evaluatePath`: writes the matches below the current token; whether there was one.
fn evaluate(parser: &mut Jackson<'_>, out: &mut Output, style: Style, path: &[Step]) -> Lexed<bool> {
    match (parser.current(), path) {
        (Some(Token::Text), []) if style == Style::Raw => {
            let text = parser.finish_text()?;
            out.bytes.extend_from_slice(text);
            Ok(true)
        }
        (Some(Token::StartArray), []) if style == Style::Flatten => {
            each_element(parser, |parser| evaluate(parser, out, style, &[])).map(|found| found > 0)
        }
        (_, []) => {
            out.begin_value();
            capture::current_structure(parser, &mut out.bytes)?;
            Ok(true)
        }
        (Some(Token::StartObject), [Step::Name(name), rest @ ..]) => field(parser, out, style, name, rest),
        (Some(Token::StartArray), [Step::Every, Step::Every, rest @ ..]) => {
            out.open();
            let found = each_element(parser, |parser| evaluate(parser, out, Style::Flatten, rest))?;
            out.close();
            Ok(found > 0)
        }
        (Some(Token::StartArray), [Step::Every, rest @ ..]) if style != Style::Quoted => {
            // One match stands alone, several are an array.
            let inner_style = if style == Style::Raw { Style::Quoted } else { Style::Flatten };
            let mut inner = Output::default();
            inner.open();
            let found = each_element(parser, |parser| evaluate(parser, &mut inner, inner_style, rest))?;
            inner.close();
            if found > 0 {
                out.begin_value();
                let all = &inner.bytes;
                out.bytes.extend_from_slice(if found > 1 { all } else { &all[1..all.len() - 1] });
            }
            Ok(found > 0)
        }
        (Some(Token::StartArray), [Step::Every, rest @ ..]) => {
            out.open();
            let found = each_element(parser, |parser| evaluate(parser, out, Style::Quoted, rest))?;
            out.close();
            Ok(found > 0)
        }
        (Some(Token::StartArray), [Step::Index(index), rest @ ..]) => {
            let style = if matches!(rest, [Step::Every, ..]) { Style::Quoted } else { style };
            let mut at = 0;
            let mut found = false;
            each_element(parser, |parser| {
                if at == *index {
                    found = evaluate(parser, out, style, rest)?;
                } else {
                    parser.skip_children()?;
                }
                at += 1;
                Ok(false)
            })?;
            Ok(found)
        }
        _ => {
            parser.skip_children()?;
            Ok(false)
        }
    }
}

/// The first field of that name with a match; null is none.
fn field(parser: &mut Jackson<'_>, out: &mut Output, style: Style, name: &str, rest: &[Step]) -> Lexed<bool> {
    let mut found = false;
    loop {
        match parser.next_token()? {
            None => return Err(unexpected(parser)),
            Some(Token::EndObject) => return Ok(found),
            Some(_) => {}
        }
        let wanted = !found && parser.current_name() == Some(name.as_bytes());
        let value = parser.next_token()?;
        if wanted && value != Some(Token::Null) {
            found = evaluate(parser, out, style, rest)?;
        } else {
            parser.skip_children()?;
        }
    }
}

/// Goes through the elements of the current array; how many gave a match.
fn each_element<'a>(
    parser: &mut Jackson<'a>,
    mut element: impl FnMut(&mut Jackson<'a>) -> Lexed<bool>,
) -> Lexed<usize> {
    let mut found = 0;
    loop {
        match parser.next_token()? {
            None => return Err(unexpected(parser)),
            Some(Token::EndArray) => return Ok(found),
            Some(_) => found += usize::from(element(parser)?),
        }
    }
}

/// Writes a text as Jackson's character generator does: quotes, backslashes and control characters are escaped.
pub(crate) fn write_json_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, path: &str) -> Option<String> {
        JsonPath::parse(path)?.find(text)
    }

    #[test]
    fn paths_lead_where_they_do_in_spark() {
        let text = r#"{"a":1,"b":{"c":[1,2,{"d":"x"}]},"n":null,"f":1.50,"l":[{"x":1},{"y":0},{"x":3}]}"#;
        assert_eq!(found(text, "$.a").as_deref(), Some("1"));
        assert_eq!(found(text, "$.b.c[2].d").as_deref(), Some("x"));
        assert_eq!(found(text, "$.b.c[*]").as_deref(), Some(r#"[1,2,{"d":"x"}]"#));
        assert_eq!(found(text, "$.l[*].x").as_deref(), Some("[1,3]"));
        assert_eq!(found(text, "$.l[*].y").as_deref(), Some("0"));
        assert_eq!(found(text, "$.f").as_deref(), Some("1.5"));
        assert_eq!(found(text, "$.n"), None);
        assert_eq!(found(text, "$.b.c[9]"), None);
        assert_eq!(found("{\"a\":", "$.a"), None);
        assert_eq!(found(text, "a"), None);
        assert_eq!(found(r#"{"a":{"b":1}}"#, "$['a']").as_deref(), Some(r#"{"b":1}"#));
    }
}
