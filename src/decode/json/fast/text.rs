//! Strings on the fast path: as they stand, unescaped into a column, or skipped.
//!
//! Part of the fast path. Escapes that Jackson refuses, or takes only with an option, are left
//! to `exact`, and so are surrogates that stay alone.

use super::{EMPTY_TEXT, Reader, Step, Stop};
use crate::decode::json::column::Bytes;
use crate::decode::json::jackson::{lone_surrogate, push_unit};
use crate::decode::json::scan::{copy_to_stop, string_stop};

impl Reader<'_> {
    /// The text up to the next quote, if it has no escape.
    #[inline(always)]
    pub(super) fn plain_text(&self, at: usize) -> Result<&[u8], Stop> {
        let stop = string_stop(self.bytes, at);
        if self.byte(stop)? != b'"' || stop - at > self.string_max {
            return Err(Stop::Unsure);
        }
        Ok(&self.bytes[at..stop])
    }

    /// The text up to the next quote, if it has no escape, for a type that takes no empty one.
    #[inline(always)]
    pub(super) fn full_text(&self, at: usize) -> Result<&[u8], Stop> {
        let text = self.plain_text(at)?;
        if text.is_empty() { Err(Stop::Useless(EMPTY_TEXT, "a text")) } else { Ok(text) }
    }

    /// A string whose opening quote has been read.
    #[inline(always)]
    pub(super) fn text(&self, at: usize, column: &mut Bytes) -> Step {
        let stop = string_stop(self.bytes, at);
        if stop - at > self.string_max {
            return Err(Stop::Unsure);
        }
        match self.byte(stop)? {
            b'"' => {
                column.push(&self.bytes[at..stop]);
                Ok(stop + 1)
            }
            b'\\' => self.escaped_text(at, stop, column),
            _ => Err(Stop::Unsure),
        }
    }

    /// A string in which the first backslash stands at `stop`.
    fn escaped_text(&self, start: usize, mut stop: usize, column: &mut Bytes) -> Step {
        let data = column.data();
        let data_from = data.len();
        data.extend_from_slice(&self.bytes[start..stop]);
        let mut surrogates = false;
        loop {
            let from = match self.byte(stop)? {
                b'"' => break,
                b'\\' => match SHORT_ESCAPES[usize::from(self.byte(stop + 1)?)] {
                    0 => {
                        let unit = self.long_escape(stop)?;
                        surrogates |= (0xd800..0xe000).contains(&unit);
                        push_unit(data, unit);
                        stop + 6
                    }
                    short => {
                        data.push(short);
                        stop + 2
                    }
                },
                _ => return Err(Stop::Unsure),
            };
            stop = copy_to_stop(self.bytes, from, data);
        }
        let lone = surrogates && lone_surrogate(&data[data_from..]).is_some();
        if lone || stop - start > self.string_max {
            return Err(Stop::Unsure);
        }
        column.close();
        Ok(stop + 1)
    }

    /// The UTF-16 unit of the escape with four hexadecimal digits whose backslash stands at `at`.
    fn long_escape(&self, at: usize) -> Result<u16, Stop> {
        match self.bytes.get(at + 1..at + 6) {
            Some([b'u', digits @ ..]) => hexadecimal(digits).ok_or(Stop::Unsure),
            _ => Err(Stop::Unsure),
        }
    }

    /// Skips a string whose opening quote has been read.
    pub(super) fn skip_text(&self, start: usize) -> Step {
        let mut at = start;
        loop {
            at = string_stop(self.bytes, at);
            match self.byte(at)? {
                b'"' => return Ok(at + 1),
                b'\\' => {}
                _ => return Err(Stop::Unsure),
            }
            at += match SHORT_ESCAPES[usize::from(self.byte(at + 1)?)] {
                0 => self.long_escape(at).map(|_| 6)?,
                _ => 2,
            };
        }
    }
}

/// What a character behind a backslash stands for; 0 if it is not one of the short escapes.
static SHORT_ESCAPES: [u8; 256] = {
    let mut escapes = [0; 256];
    escapes[b'b' as usize] = 8;
    escapes[b't' as usize] = b'\t';
    escapes[b'n' as usize] = b'\n';
    escapes[b'f' as usize] = 12;
    escapes[b'r' as usize] = b'\r';
    escapes[b'"' as usize] = b'"';
    escapes[b'/' as usize] = b'/';
    escapes[b'\\' as usize] = b'\\';
    escapes
};

/// The value of four hexadecimal digits.
fn hexadecimal(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)? as u16))
}
