//! Parts of URLs, and percent encoding.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use regex::Regex;

use super::Entry;
use super::scalar::{Call, each, entry, takes, try_each};
use crate::query::error::ExpressionError;

/// Functions of URLs.
pub(crate) const ENTRIES: &[Entry] = &[
    entry!(
        "parse_url",
        takes!([Text, Text, Text], 2 => DataType::Utf8),
        |call| parse_url(call, call.conf.ansi),
        ["expressions/url"]
    ),
    entry!(
        "try_parse_url",
        takes!([Text, Text, Text], 2 => DataType::Utf8),
        |call| parse_url(call, false),
        ["expressions/url"]
    ),
    entry!(
        "url_encode",
        takes!([Text] => DataType::Utf8),
        |call| each::<StringArray, _>(call, |row| Some(encode(call.texts(0).value(row)))),
        ["expressions/url"]
    ),
    entry!(
        "url_decode",
        takes!([Text] => DataType::Utf8),
        |call| try_each::<StringArray, _>(call, |row| decode(call.texts(0).value(row)).map(Some)),
        ["expressions/url"]
    ),
    entry!(
        "try_url_decode",
        takes!([Text] => DataType::Utf8),
        |call| each::<StringArray, _>(call, |row| decode(call.texts(0).value(row)).ok()),
        ["expressions/url"]
    ),
];

/// The parts of a URL that `java.net.URI` takes.
#[derive(Debug, Default)]
struct Parts<'a> {
    scheme: Option<&'a str>,
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
    fragment: Option<&'a str>,
}

impl<'a> Parts<'a> {
    /// RFC 2396 as Java reads it; `None` for a text with a character that no URI has.
    fn of(text: &'a str) -> Option<Parts<'a>> {
        let legal = |c: char| {
            c.is_ascii_alphanumeric()
                || "-_.!~*'();/?:@&=+$,[]#%".contains(c)
                || (!c.is_ascii() && !c.is_control() && !c.is_whitespace())
        };
        let bytes = text.as_bytes();
        let escaped =
            |at: usize| bytes[at + 1..].iter().take(2).filter(|byte| byte.is_ascii_hexdigit()).count() == 2;
        if !text.chars().all(legal) || text.match_indices('%').any(|(at, _)| !escaped(at)) {
            return None;
        }
        let (rest, fragment) = match text.split_once('#') {
            Some((_, fragment)) if fragment.contains('#') => return None,
            Some((rest, fragment)) => (rest, Some(fragment)),
            None => (text, None),
        };
        let mut parts = Parts { fragment, ..Parts::default() };
        let mut rest = rest;
        let colon = rest.find([':', '/', '?']).filter(|at| rest.as_bytes()[*at] == b':');
        if let Some(at) = colon {
            let scheme = &rest[..at];
            let good = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
            if !good || rest.len() == at + 1 {
                return None;
            }
            parts.scheme = Some(scheme);
            rest = &rest[at + 1..];
            if !rest.starts_with('/') {
                // An opaque URI has no path and no query.
                return Some(parts);
            }
        }
        if let Some((before, query)) = rest.split_once('?') {
            parts.query = Some(query);
            rest = before;
        }
        match rest.strip_prefix("//") {
            Some(behind) => {
                let end = behind.find('/').unwrap_or(behind.len());
                parts.authority = Some(&behind[..end]).filter(|authority| !authority.is_empty());
                parts.path = &behind[end..];
            }
            None => parts.path = rest,
        }
        Some(parts)
    }

    fn host(&self) -> Option<&'a str> {
        let authority = self.authority?;
        let behind = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let end = if behind.starts_with('[') {
            behind.find(']')? + 1
        } else {
            behind.find(':').unwrap_or(behind.len())
        };
        Some(&behind[..end]).filter(|host| !host.is_empty())
    }

    fn part(&self, name: &str) -> Option<String> {
        match name {
            "HOST" => self.host().map(str::to_owned),
            "PATH" => Some(self.path.to_owned()),
            "QUERY" => self.query.map(str::to_owned),
            "REF" => self.fragment.map(str::to_owned),
            "PROTOCOL" => self.scheme.map(str::to_owned),
            "FILE" => Some(match self.query {
                Some(query) => format!("{}?{query}", self.path),
                None => self.path.to_owned(),
            }),
            "AUTHORITY" => self.authority.map(str::to_owned),
            "USERINFO" => self.authority?.rsplit_once('@').map(|(user, _)| user.to_owned()),
            _ => None,
        }
    }
}

fn parse_url(call: &Call, raise: bool) -> Result<ArrayRef> {
    let values = (0..call.rows).map(|row| {
        let Some((url, name)) = call.text(0, row).zip(call.text(1, row)) else { return Ok(None) };
        let Some(parts) = Parts::of(url) else {
            return if raise {
                Err(ExpressionError::raise("INVALID_URL", "the text is not a valid URL"))
            } else {
                Ok(None)
            };
        };
        if !call.has(2) {
            return Ok(parts.part(name));
        }
        let Some(key) = call.text(2, row).filter(|_| name == "QUERY") else { return Ok(None) };
        let Some(query) = parts.query else { return Ok(None) };
        let pattern = format!("(?:&|^){key}=([^&]*)");
        let found = Regex::new(&pattern)
            .ok()
            .and_then(|regex| Some(regex.captures(query)?.get(1)?.as_str().to_owned()));
        Ok(found)
    });
    Ok(Arc::new(values.collect::<Result<StringArray>>()?))
}

/// `URLEncoder.encode`: a form's encoding, with `+` for blanks.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// `URLDecoder.decode`.
fn decode(text: &str) -> Result<String> {
    let wrong =
        || ExpressionError::raise("CANNOT_DECODE_URL", "a % is not followed by two hexadecimal digits");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digit = |at: usize| {
                    behind.get(at).and_then(|byte| char::from(*byte).to_digit(16)).ok_or_else(wrong)
                };
                bytes.push((digit(0)? * 16 + digit(1)?) as u8);
                rest = &behind[2..];
            }
            byte => bytes.push(*byte),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
