//! Values that no column reads as such: skipped, or written anew into a STRING column.
//!
//! Part of the fast path. Skipping checks as strictly as reading does: Jackson reads every token
//! it skips, so a fault there is a fault of the message.

use super::{Reader, Step, Stop};
use crate::decode::json::capture::{write_float, write_string, write_whole};
use crate::decode::json::column::Bytes;
use crate::decode::json::scan::string_stop;

impl Reader<'_> {
    /// A value that is no string where the type is STRING: its JSON, written anew.
    pub(super) fn other_as_text(&self, at: usize, first: u8, column: &mut Bytes, depth: usize) -> Step {
        let end = match self.copy(at, first, column.data(), depth) {
            Err(Stop::Lost(what, at)) if first == b'{' || first == b'[' => Err(Stop::Caught(what, at)),
            step => step,
        }?;
        column.close();
        Ok(end)
    }

    /// Writes the value that begins at `at` anew.
    fn copy(&self, at: usize, first: u8, out: &mut Vec<u8>, depth: usize) -> Step {
        match first {
            b'"' => {
                let stop = string_stop(self.bytes, at + 1);
                if self.byte(stop)? != b'"' || stop - at > self.string_max {
                    return Err(Stop::Unsure);
                }
                write_string(&self.bytes[at + 1..stop], out);
                Ok(stop + 1)
            }
            b'{' | b'[' => self.copy_nested(at, first, out, depth + 1),
            b't' | b'f' | b'n' => {
                let word: &[u8] = match first {
                    b't' => b"true",
                    b'f' => b"false",
                    _ => b"null",
                };
                out.extend_from_slice(word);
                self.word(at, word)
            }
            _ => {
                let (number, text) = self.number(at)?;
                if number.whole {
                    write_whole(text, out)
                } else {
                    write_float(None, text, out)
                }
                Ok(number.end)
            }
        }
    }

    fn copy_nested(&self, at: usize, open: u8, out: &mut Vec<u8>, depth: usize) -> Step {
        self.opened(depth)?;
        let close = open + 2;
        out.push(open);
        let (mut at, first) = self.solid(at + 1)?;
        let mut more = first != close;
        if !more {
            at += 1;
        }
        while more {
            if open == b'{' {
                if self.byte(at)? != b'"' {
                    return Err(Stop::Unsure);
                }
                let stop = self.name_end(at + 1)?;
                write_string(&self.bytes[at + 1..stop], out);
                out.push(b':');
                at = self.behind_colon(stop + 1)?;
            }
            at = self.copy(at, self.byte(at)?, out, depth)?;
            (at, more) = self.next_item(at, close)?;
            if more {
                out.push(b',');
            }
        }
        out.push(close);
        Ok(at)
    }

    /// Skips the value that begins at `at`, checking it as Jackson does.
    pub(super) fn skip(&self, at: usize, depth: usize) -> Step {
        match self.byte(at)? {
            b'"' => self.skip_text(at + 1),
            b't' => self.word(at, b"true"),
            b'f' => self.word(at, b"false"),
            b'n' => self.word(at, b"null"),
            open @ (b'{' | b'[') => self.skip_nested(at, open, depth + 1),
            _ => Ok(self.number(at)?.0.end),
        }
    }

    fn skip_nested(&self, at: usize, open: u8, depth: usize) -> Step {
        self.opened(depth)?;
        let close = open + 2;
        let (mut at, first) = self.solid(at + 1)?;
        let mut more = first != close;
        if !more {
            at += 1;
        }
        while more {
            if open == b'{' {
                if self.byte(at)? != b'"' {
                    return Err(Stop::Unsure);
                }
                at = self.behind_colon(self.name_end(at + 1)? + 1)?;
            }
            at = self.skip(at, depth)?;
            (at, more) = self.next_item(at, close)?;
        }
        Ok(at)
    }
}
