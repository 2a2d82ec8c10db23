//! Java's regular expressions (`java.util.regex` of Java 17), by the `regex` crate.
//!
//! A pattern is translated ([`translate`]); what cannot be honoured is refused by name. Matches follow one another as
//! `Matcher.find` gives them: also an empty one right behind another.

mod character;
mod class_reader;
mod classes;
#[cfg(test)]
mod tests;
mod translate;

use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use datafusion::common::{DataFusionError, Result};
use regex::{CaptureLocations, Regex, RegexBuilder};

use crate::query::error::ExpressionError;
use translate::{Fault, Seen, Target, translated};

/// Java's line terminators; the longest first.
const TERMINATORS: [&str; 6] = ["\r\n", "\n", "\r", "\u{85}", "\u{2028}", "\u{2029}"];

/// How many translations for ends of texts a pattern keeps.
const KEPT: usize = 8;

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Pattern {
    java: String,
    seen: Seen,
    usual: Rc<Regex>,
    /// Translations for other texts than the usual ones, made when the first of them comes.
    others: RefCell<Vec<(Target, Rc<Regex>)>>,
}

/// The error of Spark for a pattern that cannot be read.
pub(crate) fn unreadable(message: impl Into<String>) -> DataFusionError {
    ExpressionError::raise("INVALID_PARAMETER_VALUE.PATTERN", message)
}

fn compile(java: &str, target: Target) -> std::result::Result<(Regex, Seen), Fault> {
    let (text, seen) = translated(java, target)?;
    let mut builder = RegexBuilder::new(&text);
    if let Target::Ended { stand_ins: [first, _], .. } = target {
        builder.line_terminator(first as u8);
    }
    Ok((builder.build().map_err(|error| Fault::of(&error))?, seen))
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// If Java does not read it, or it has what is not supported here.
    pub(crate) fn new(java: &str) -> std::result::Result<Pattern, Fault> {
        let (usual, seen) = compile(java, Target::Usual)?;
        Ok(Pattern { java: java.to_owned(), seen, usual: Rc::new(usual), others: RefCell::default() })
    }

    /// The pattern as it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.java
    }

    /// How many groups there are, with the whole match.
    pub(crate) fn groups(&self) -> usize {
        self.usual.captures_len()
    }

    /// The number of the group of this name.
    pub(crate) fn group_named(&self, name: &str) -> Option<usize> {
        self.usual.capture_names().position(|known| known == Some(name))
    }

    /// Whether the pattern is found anywhere in a text.
    ///
    /// # Errors
    /// As for [`Pattern::matches`].
    pub(crate) fn is_match(&self, text: &str) -> Result<bool> {
        let (regex, haystack) = self.prepared(text)?;
        Ok(regex.is_match(&haystack))
    }

    /// Its matches in a text.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE.PATTERN` for a text that the pattern cannot be tried on as Java would.
    pub(crate) fn matches<'t>(&self, text: &'t str) -> Result<Matches<'t>> {
        let (regex, haystack) = self.prepared(text)?;
        let found = regex.capture_locations();
        Ok(Matches { regex, text, haystack, from: Some(0), found })
    }

    /// The translation for a text, and the text in which it is searched for.
    fn prepared<'t>(&self, text: &'t str) -> Result<(Rc<Regex>, Cow<'t, str>)> {
        if self.seen.lines && text.contains(['\u{85}', '\u{2028}', '\u{2029}']) {
            return Err(unreadable(
                "^ and $ under (?m) are not supported for a text with U+0085, U+2028 or U+2029",
            ));
        }
        if self.seen.line_starts && text.is_empty() {
            return Ok((self.other(Target::Empty)?, Cow::Borrowed(text)));
        }
        let terminator = TERMINATORS.into_iter().find(|terminator| text.ends_with(terminator));
        let Some(terminator) = terminator.filter(|_| self.seen.ends || self.seen.line_starts) else {
            return Ok((Rc::clone(&self.usual), Cow::Borrowed(text)));
        };
        let mut free = ('\u{1}'..='\u{8}').chain('\u{e}'..='\u{1f}').filter(|c| !text.contains(*c));
        let (Some(first), Some(second)) = (free.next(), free.next()) else {
            return Err(unreadable("^ and $ are not supported for a text with all control characters"));
        };
        let stand_ins = [first, second];
        let body = &text[..text.len() - terminator.len()];
        let mut haystack = String::with_capacity(text.len());
        haystack.push_str(body);
        haystack.extend(terminator.chars().zip(stand_ins).map(|(_, stand_in)| stand_in));
        Ok((self.other(Target::Ended { terminator, stand_ins })?, Cow::Owned(haystack)))
    }

    fn other(&self, target: Target) -> Result<Rc<Regex>> {
        let mut others = self.others.borrow_mut();
        if let Some((_, regex)) = others.iter().find(|(known, _)| *known == target) {
            return Ok(Rc::clone(regex));
        }
        let (regex, _) = compile(&self.java, target)
            .map_err(|fault| unreadable(format!("the regular expression cannot be read: {fault}")))?;
        let regex = Rc::new(regex);
        if others.len() == KEPT {
            others.remove(0);
        }
        others.push((target, Rc::clone(&regex)));
        Ok(regex)
    }
}

/// The matches of a pattern in a text, one after the other.
pub(crate) struct Matches<'t> {
    regex: Rc<Regex>,
    text: &'t str,
    /// The text; with stand-ins for a line terminator at its end where the pattern asks for it.
    haystack: Cow<'t, str>,
    /// Where the next search begins; `None` behind the last match.
    from: Option<usize>,
    found: CaptureLocations,
}

impl<'t> Matches<'t> {
    /// Goes to the next match; whether there is one.
    pub(crate) fn advance(&mut self) -> bool {
        let Some(from) = self.from.take() else { return false };
        let Some(found) = self.regex.captures_read_at(&mut self.found, &self.haystack, from) else {
            return false;
        };
        let end = found.end();
        // Behind an empty match the next one begins a character later.
        self.from = if found.is_empty() {
            self.haystack[end..].chars().next().map(|c| end + c.len_utf8())
        } else {
            Some(end)
        };
        true
    }

    /// Where the match is in the text.
    pub(crate) fn range(&self) -> Range<usize> {
        self.found.get(0).map_or(0..0, |(start, end)| self.place(start)..self.place(end))
    }

    /// The text of a group of the match, if the group took part in it.
    pub(crate) fn group(&self, index: usize) -> Option<&'t str> {
        let (start, end) = self.found.get(index)?;
        Some(&self.text[self.place(start)..self.place(end)])
    }

    /// A place of the haystack in the text: only behind the stand-ins may they differ.
    fn place(&self, at: usize) -> usize {
        if at == self.haystack.len() { self.text.len() } else { at }
    }
}
