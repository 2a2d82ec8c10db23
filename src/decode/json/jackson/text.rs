//! Strings, names, literals, blanks and comments, as Jackson's lexer reads them.

use super::identifier::{is_identifier_part, is_identifier_start};
use super::{Jackson, Lexed, NAME_UNITS_MAX, Name, Place, Token};
use crate::decode::json::scan::string_stop;

const UNQUOTED_CONTROL: &str = "a control character stands in a string";
const BETWEEN: &str = "only blanks may stand between tokens";
/// So many characters of a word that is no literal are read on.
const BAD_WORD_UNITS_MAX: usize = 256;

impl Jackson<'_> {
    /// The current text, read to its end: UTF-8, but lone surrogates as three bytes each.
    ///
    /// # Errors
    /// The text breaks off or holds what may not stand in it.
    pub(in crate::decode::json) fn finish_text(&mut self) -> Lexed<&[u8]> {
        if self.incomplete {
            self.incomplete = false;
            self.text = self.string_body(b'"')?;
        }
        Ok(self.place())
    }

    /// As [`Jackson::finish_text`], for a use that Jackson limits to `maxStringLen`.
    pub(in crate::decode::json) fn limited_text(&mut self) -> Lexed<&[u8]> {
        let max = self.lexing.string_units_max;
        let text = self.finish_text()?;
        if text.len() > max && units(text) > max {
            return self.fault("a string is longer than maxStringLen");
        }
        Ok(self.place())
    }

    /// Whether the current text is still to be read to its end.
    pub(super) fn text_is_incomplete(&self) -> bool {
        self.incomplete
    }

    /// The text as far as it has been read.
    pub(super) fn read_text(&self) -> &[u8] {
        self.place()
    }

    /// Says that the current text has been read to its end by other means.
    pub(super) fn text_is_read(&mut self) {
        self.incomplete = false;
    }

    /// Reads a string up to its closing quote, the opening one taken.
    pub(super) fn string_body(&mut self, quote: u8) -> Lexed<Place> {
        let start = self.at;
        let mut stop = self.stop(start, quote);
        if self.bytes.get(stop) == Some(&quote) {
            self.at = stop + 1;
            return Ok(Place::Input(start, stop));
        }
        self.scratch.text.clear();
        loop {
            self.scratch.text.extend_from_slice(&self.bytes[self.at..stop]);
            self.at = stop;
            let Some(byte) = self.bytes.get(stop) else {
                return self.fault("the message ends within a string");
            };
            self.at += 1;
            if *byte == quote {
                return Ok(Place::Scratch);
            }
            if *byte == b'\\' {
                let unit = self.escape()?;
                push_unit(&mut self.scratch.text, unit);
                self.rest_of_pair();
            } else if self.lexing.control_chars {
                self.scratch.text.push(*byte);
            } else {
                return self.fault(UNQUOTED_CONTROL);
            }
            stop = self.stop(self.at, quote);
        }
    }

    /// Where a string stops for a look: at its quote, a backslash or a control character.
    fn stop(&self, from: usize, quote: u8) -> usize {
        if quote == b'"' {
            return string_stop(self.bytes, from);
        }
        let stops = |byte: &u8| *byte == quote || *byte == b'\\' || *byte < b' ';
        from + self.bytes[from..].iter().position(stops).unwrap_or(self.bytes.len() - from)
    }

    /// After an escaped high surrogate of a raw pair: takes the low one.
    fn rest_of_pair(&mut self) {
        if self.bytes.get(self.at).is_some_and(|byte| byte & 0xc0 == 0x80) {
            let unit = self.take();
            push_unit(&mut self.scratch.text, unit);
        }
    }

    /// What follows a backslash.
    pub(super) fn escape(&mut self) -> Lexed<u16> {
        const CUT: &str = "the message ends within an escape";
        if self.at_end() {
            return self.fault(CUT);
        }
        let unit = self.take();
        match u8::try_from(unit) {
            Ok(b'b') => Ok(8),
            Ok(b't') => Ok(9),
            Ok(b'n') => Ok(10),
            Ok(b'f') => Ok(12),
            Ok(b'r') => Ok(13),
            Ok(b'"' | b'/' | b'\\') => Ok(unit),
            Ok(b'u') => {
                let mut value = 0;
                for _ in 0..4 {
                    if self.at_end() {
                        return self.fault(CUT);
                    }
                    let digit = char::from_u32(u32::from(self.take())).and_then(|c| c.to_digit(16));
                    match digit {
                        Some(digit) => value = value << 4 | digit as u16,
                        None => return self.fault("expected a hexadecimal digit"),
                    }
                }
                Ok(value)
            }
            _ if self.lexing.any_escape => Ok(unit),
            Ok(b'\'') if self.lexing.single_quotes => Ok(unit),
            _ => self.fault("an unknown escape"),
        }
    }

    /// A name up to its closing quote, the opening one taken.
    pub(super) fn name_body(&mut self, quote: u8) -> Lexed<Name> {
        let place = self.string_body(quote)?;
        self.keep_name(place)
    }

    fn keep_name(&mut self, place: Place) -> Lexed<Name> {
        let (name, length) = match place {
            Place::Input(from, until) => (Name::Input(from, until), until - from),
            Place::Scratch => {
                let from = self.context().names_from;
                self.scratch.names.truncate(from);
                self.scratch.names.extend_from_slice(&self.scratch.text);
                (Name::Kept(from, self.scratch.names.len()), self.scratch.text.len())
            }
        };
        let name_bytes = match name {
            Name::Input(from, until) => &self.bytes[from..until],
            _ => &self.scratch.text,
        };
        if length > NAME_UNITS_MAX && units(name_bytes) > NAME_UNITS_MAX {
            return self.fault("a name is longer than 50000");
        }
        Ok(name)
    }

    /// A name that begins with `first`, which has been taken and is no double quote.
    pub(super) fn odd_name(&mut self, first: u16) -> Lexed<Name> {
        if first == u16::from(b'\'') && self.lexing.single_quotes {
            return self.name_body(b'\'');
        }
        if !self.lexing.unquoted_names || !is_name_part(first) {
            return self.fault("expected a name in double quotes");
        }
        self.scratch.text.clear();
        push_unit(&mut self.scratch.text, first);
        while !self.at_end() {
            let (unit, behind) = self.unit();
            if !is_name_part(unit) {
                break;
            }
            self.at = behind;
            push_unit(&mut self.scratch.text, unit);
        }
        self.keep_name(Place::Scratch)
    }

    /// A value that begins with `first`, which has been taken and begins no strict one.
    pub(super) fn odd_value(&mut self, first: u16) -> Lexed<Token> {
        match u8::try_from(first) {
            Ok(b'\'') if self.lexing.single_quotes => {
                self.text = self.string_body(b'\'')?;
                return Ok(Token::Text);
            }
            Ok(b'N') => {
                self.literal(b"NaN", 1)?;
                return self.no_number(f64::NAN);
            }
            Ok(b'I') => {
                self.literal(b"Infinity", 1)?;
                return self.no_number(f64::INFINITY);
            }
            Ok(b'+') => {
                if self.at_end() {
                    return self.fault("the message ends within a number");
                }
                let unit = self.take();
                return self.bad_number_start(unit, false);
            }
            _ => {}
        }
        if is_identifier_start(first) {
            return self.bad_word(1);
        }
        self.fault("expected a value")
    }

    /// The rest of a word, `known` characters of which have been taken.
    pub(super) fn literal(&mut self, word: &[u8], known: usize) -> Lexed<()> {
        for (n, expected) in word.iter().enumerate().skip(known) {
            if self.at_end() || self.bytes[self.at] != *expected {
                return self.bad_word(n);
            }
            self.at += 1;
        }
        if !self.at_end() {
            let unit = self.unit().0;
            let ends = unit < u16::from(b'0') || unit == u16::from(b']') || unit == u16::from(b'}');
            if !ends && is_identifier_part(unit) {
                return self.bad_word(word.len());
            }
        }
        Ok(())
    }

    /// A word that is no literal: Jackson reads it on for its message.
    fn bad_word<T>(&mut self, known: usize) -> Lexed<T> {
        let mut length = known;
        while length < BAD_WORD_UNITS_MAX && !self.at_end() {
            let (unit, behind) = self.unit();
            if !is_identifier_part(unit) {
                break;
            }
            self.at = behind;
            length += 1;
        }
        self.fault("a word that is neither true, false nor null")
    }

    /// Skips blanks and comments; takes the next unit, `None` at the end.
    pub(super) fn skip_blanks(&mut self) -> Lexed<Option<u16>> {
        while !self.at_end() {
            let unit = self.take();
            if !self.is_blank(unit)? {
                return Ok(Some(unit));
            }
        }
        Ok(None)
    }

    /// As [`Jackson::skip_blanks`] where something must follow.
    pub(super) fn skip_blanks_in_value(&mut self) -> Lexed<u16> {
        match self.skip_blanks()? {
            Some(unit) => Ok(unit),
            None => self.fault("the message ends within an object or array"),
        }
    }

    /// Skips the colon behind a name and the blanks around it; takes what follows.
    pub(super) fn skip_colon(&mut self) -> Lexed<u16> {
        if self.skip_blanks_in_value()? != u16::from(b':') {
            return self.fault("expected a colon behind a name");
        }
        self.skip_blanks_in_value()
    }

    /// Whether `unit`, which has been taken, is a blank or begins a comment, which is skipped then.
    fn is_blank(&mut self, unit: u16) -> Lexed<bool> {
        match u8::try_from(unit) {
            Ok(b' ' | b'\t' | b'\n' | b'\r') => Ok(true),
            Ok(b'/') => self.comment().map(|()| true),
            Ok(0..b' ') => self.fault(BETWEEN),
            _ => Ok(false),
        }
    }

    fn comment(&mut self) -> Lexed<()> {
        const CUT: &str = "the message ends within a comment";
        if !self.lexing.comments {
            return self.fault("a comment without allowComments");
        }
        if self.at_end() {
            return self.fault(CUT);
        }
        let line = match u8::try_from(self.take()) {
            Ok(b'/') => true,
            Ok(b'*') => false,
            _ => return self.fault("a slash that begins no comment"),
        };
        while !self.at_end() {
            match u8::try_from(self.take()) {
                Ok(b'*') if !line => {
                    if self.at_end() {
                        break;
                    }
                    if self.bytes[self.at] == b'/' {
                        self.at += 1;
                        return Ok(());
                    }
                }
                Ok(b'\n' | b'\r') if line => return Ok(()),
                Ok(b'\t' | b'\n' | b'\r') => {}
                Ok(0..b' ') => return self.fault(BETWEEN),
                _ => {}
            }
        }
        if line { Ok(()) } else { self.fault(CUT) }
    }
}

/// How many UTF-16 units a text has.
fn units(text: &[u8]) -> usize {
    text.iter().map(|byte| usize::from(byte & 0xc0 != 0x80) + usize::from(*byte >= 0xf0)).sum()
}

/// Whether a unit may stand in a name without quotes.
fn is_name_part(unit: u16) -> bool {
    matches!(u8::try_from(unit), Ok(b'@' | b'#' | b'*' | b'-' | b'+')) || is_identifier_part(unit)
}

/// Adds a UTF-16 unit: UTF-8, but a surrogate that is alone so far as three bytes.
pub(in crate::decode::json) fn push_unit(text: &mut Vec<u8>, unit: u16) {
    let low = (0xdc00..0xe000).contains(&unit);
    if low && let Some(&[0xed, second @ 0xa0..0xb0, third]) = text.last_chunk::<3>() {
        let high = u32::from(second & 0xf) << 6 | u32::from(third & 0x3f);
        let code = 0x1_0000 + (high << 10 | u32::from(unit & 0x3ff));
        text.truncate(text.len() - 3);
        let mut buffer = [0; 4];
        let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        text.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
        return;
    }
    match unit {
        0..0x80 => text.push(unit as u8),
        0x80..0x800 => text.extend_from_slice(&[0xc0 | (unit >> 6) as u8, 0x80 | (unit & 0x3f) as u8]),
        _ => text.extend_from_slice(&[
            0xe0 | (unit >> 12) as u8,
            0x80 | (unit >> 6 & 0x3f) as u8,
            0x80 | (unit & 0x3f) as u8,
        ]),
    }
}

/// Adds a text in which surrogates that stayed alone are three bytes each, as UTF-8 in which they are
/// question marks (`String.getBytes(UTF_8)` of Java).
pub(in crate::decode::json) fn push_as_utf8(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = lone_surrogate(rest) {
        out.extend_from_slice(&rest[..at]);
        out.push(b'?');
        rest = &rest[at + 3..];
    }
    out.extend_from_slice(rest);
}

/// Where the first surrogate that stayed alone stands.
pub(in crate::decode::json) fn lone_surrogate(text: &[u8]) -> Option<usize> {
    memchr::memchr_iter(0xed, text).find(|at| text.get(at + 1).is_some_and(|second| *second >= 0xa0))
}
