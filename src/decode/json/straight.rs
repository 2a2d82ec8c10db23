//! The straight way from a message to the columns: strict JSON whose values suit their columns.
//!
//! One pass, no look back, nothing kept between tokens. It never judges: whatever is not plainly good
//! makes it give up, and the caller cuts the columns back and asks `spark`. What it takes it reads
//! exactly as `spark` would; a property test holds them together.

use super::Conversion;
use super::capture::{write_float, write_string, write_whole};
use super::column::{Bytes, Column, ListColumn, MapColumn, StructColumn};
use super::fields::UNWANTED;
use super::jackson::{decode_base64, lone_surrogate, push_unit};
use super::number::{self, Lexed};
use super::scan::{skip_blanks, string_stop};
use super::spark::{decimal_text, special};

/// The message is not plainly good.
#[derive(Debug)]
pub(super) struct GiveUp;

type Step = Result<usize, GiveUp>;

/// Longer names are left to `spark`, which knows Jackson's limit.
const NAME_BYTES_MAX: usize = 16_000;

struct Reader<'a> {
    bytes: &'a [u8],
    conversion: &'a Conversion,
    /// Longest number and string that no limit can forbid, in bytes.
    number_max: usize,
    string_max: usize,
}

/// Adds the value that `text` begins with to `root`. After an error `root` may hold parts of a row.
#[inline]
pub(super) fn parse(text: &str, root: &mut Column, conversion: &Conversion) -> Result<(), GiveUp> {
    let lexing = &conversion.lexing;
    let reader = Reader {
        bytes: text.as_bytes(),
        conversion,
        number_max: lexing.number_digits_max.min(lexing.string_units_max),
        string_max: lexing.string_units_max,
    };
    let at = skip_blanks(reader.bytes, 0);
    match (root, reader.bytes.get(at)) {
        (Column::Struct(fields), Some(b'{')) => reader.object(at + 1, fields, 1)?,
        (Column::List(list), Some(b'[')) => reader.array(at + 1, list, 1)?,
        (Column::Map(map), Some(b'{')) => reader.map(at + 1, map, 1)?,
        _ => return Err(GiveUp),
    };
    Ok(())
}

impl Reader<'_> {
    #[inline(always)]
    fn byte(&self, at: usize) -> Result<u8, GiveUp> {
        self.bytes.get(at).copied().ok_or(GiveUp)
    }

    /// The position of the byte behind blanks, and the byte.
    #[inline(always)]
    fn solid(&self, at: usize) -> Result<(usize, u8), GiveUp> {
        let byte = self.byte(at)?;
        if byte > b' ' {
            return Ok((at, byte));
        }
        let at = skip_blanks(self.bytes, at);
        Ok((at, self.byte(at)?))
    }

    /// The position of the first byte of the value behind a name and a colon.
    #[inline(always)]
    fn behind_colon(&self, at: usize) -> Step {
        let (at, colon) = self.solid(at)?;
        if colon != b':' {
            return Err(GiveUp);
        }
        Ok(self.solid(at + 1)?.0)
    }

    /// Checks the depth of what has just been opened.
    #[inline(always)]
    fn opened(&self, depth: usize) -> Result<(), GiveUp> {
        if depth > self.conversion.lexing.depth_max { Err(GiveUp) } else { Ok(()) }
    }

    /// Behind a value: `Some` position of the next item, or `None` and the position behind `close`.
    #[inline(always)]
    fn next_item(&self, at: usize, close: u8) -> Result<(usize, bool), GiveUp> {
        let (at, byte) = self.solid(at)?;
        if byte == b',' {
            return Ok((self.solid(at + 1)?.0, true));
        }
        if byte == close { Ok((at + 1, false)) } else { Err(GiveUp) }
    }

    /// An object whose brace has been read, as a row of `fields`.
    fn object(&self, at: usize, fields: &mut StructColumn, depth: usize) -> Step {
        self.opened(depth)?;
        let row = fields.len();
        let (mut at, first) = self.solid(at)?;
        let mut more = first != b'}';
        if !more {
            at += 1;
        }
        let (mut place, mut met, mut next_index) = (0, 0, 0);
        while more {
            if self.byte(at)? != b'"' {
                return Err(GiveUp);
            }
            let (field, length) = self.field(at + 1, fields, &mut place)?;
            at = self.behind_colon(at + 1 + length)?;
            if field == UNWANTED {
                at = self.skip(at, depth)?;
            } else {
                let index = field as usize;
                let column = &mut fields.columns[index];
                if index < next_index && column.len() != row {
                    return Err(GiveUp);
                }
                next_index = next_index.max(index + 1);
                met += 1;
                at = self.value(at, column, depth)?;
            }
            (at, more) = self.next_item(at, b'}')?;
        }
        if met == fields.columns.len() {
            fields.close_full();
        } else {
            fields.close();
        }
        Ok(at)
    }

    /// The field of the name that begins at `at`, and the length of the name with its quote.
    #[inline(always)]
    fn field(&self, at: usize, fields: &mut StructColumn, place: &mut usize) -> Result<(u32, usize), GiveUp> {
        let rest = self.bytes.get(at..).ok_or(GiveUp)?;
        if let Some(expected) = fields.table.expected(*place, rest) {
            *place += 1;
            return Ok(expected);
        }
        let stop = self.name_end(at)?;
        let (field, next) = fields.table.find_and_remember(*place, &self.bytes[at..=stop]);
        *place = next;
        Ok((field, stop + 1 - at))
    }

    /// The position of the quote that ends the name without escapes that begins at `at`.
    fn name_end(&self, at: usize) -> Step {
        let stop = string_stop(self.bytes, at);
        if self.byte(stop)? != b'"' || stop - at > NAME_BYTES_MAX {
            return Err(GiveUp);
        }
        Ok(stop)
    }

    /// An array whose bracket has been read, as a row of `list`.
    fn array(&self, at: usize, list: &mut ListColumn, depth: usize) -> Step {
        self.opened(depth)?;
        let (mut at, first) = self.solid(at)?;
        let mut more = first != b']';
        if !more {
            at += 1;
        }
        while more {
            at = self.value(at, &mut list.elements, depth)?;
            (at, more) = self.next_item(at, b']')?;
        }
        list.close();
        Ok(at)
    }

    /// An object whose brace has been read, as a row of `map`.
    fn map(&self, at: usize, map: &mut MapColumn, depth: usize) -> Step {
        self.opened(depth)?;
        let (mut at, first) = self.solid(at)?;
        let mut more = first != b'}';
        if !more {
            at += 1;
        }
        while more {
            if self.byte(at)? != b'"' {
                return Err(GiveUp);
            }
            let stop = self.name_end(at + 1)?;
            map.keys.push(&self.bytes[at + 1..stop]);
            at = self.value(self.behind_colon(stop + 1)?, &mut map.values, depth)?;
            (at, more) = self.next_item(at, b'}')?;
        }
        map.close();
        Ok(at)
    }

    /// The value that begins at `at`, as a row of `column`; gives the position behind it.
    #[inline(always)]
    fn value(&self, at: usize, column: &mut Column, depth: usize) -> Step {
        let first = self.byte(at)?;
        if first == b'n' {
            let end = self.word(at, b"null")?;
            column.push_null();
            return Ok(end);
        }
        match column {
            Column::Text(column) if first == b'"' => self.text(at + 1, column),
            Column::Text(column) => self.other_as_text(at, first, column, depth),
            Column::Double(column) if first != b'"' => {
                let (number, text) = self.number(at)?;
                column.push(number.double(text));
                Ok(number.end)
            }
            Column::Float(column) if first != b'"' => {
                let (number, text) = self.number(at)?;
                column.push(number.float(text));
                Ok(number.end)
            }
            Column::Long(column) => self.whole(at, i64::MIN, i64::MAX, |value| column.push(value)),
            Column::Integer(column) => {
                self.whole(at, i32::MIN.into(), i32::MAX.into(), |value| column.push(value as i32))
            }
            Column::Short(column) => {
                self.whole(at, i16::MIN.into(), i16::MAX.into(), |value| column.push(value as i16))
            }
            Column::Byte(column) => self.whole(at, -128, 255, |value| column.push(value as i8)),
            Column::Timestamp(column) if first != b'"' => {
                self.whole(at, i64::MIN, i64::MAX, |value| column.push(value.wrapping_mul(1_000_000)))
            }
            Column::Struct(fields) if first == b'{' => self.object(at + 1, fields, depth + 1),
            Column::List(list) if first == b'[' => self.array(at + 1, list, depth + 1),
            Column::Map(map) if first == b'{' => self.map(at + 1, map, depth + 1),
            column => self.rarer(at, first, column),
        }
    }

    /// Values of the other types, and texts where the type is no STRING.
    fn rarer(&self, at: usize, first: u8, column: &mut Column) -> Step {
        let conversion = self.conversion;
        match (column, first) {
            (Column::Boolean(column), b't') => {
                column.push(true);
                self.word(at, b"true")
            }
            (Column::Boolean(column), b'f') => {
                column.push(false);
                self.word(at, b"false")
            }
            (Column::Timestamp(column), b'"') => {
                let text = self.plain_text(at + 1)?;
                column.push(conversion.formats.timestamp_micros(text, conversion.now).ok_or(GiveUp)?);
                Ok(at + text.len() + 2)
            }
            (Column::TimestampNtz(column), b'"') => {
                let text = self.plain_text(at + 1)?;
                column.push(conversion.formats.timestamp_ntz_micros(text).ok_or(GiveUp)?);
                Ok(at + text.len() + 2)
            }
            (Column::Date(column), b'"') => {
                let text = self.plain_text(at + 1)?;
                column.push(conversion.formats.date_days(text).ok_or(GiveUp)?);
                Ok(at + text.len() + 2)
            }
            (Column::Double(column), b'"') => {
                let text = self.plain_text(at + 1)?;
                column.push(special(text, conversion).ok_or(GiveUp)?);
                Ok(at + text.len() + 2)
            }
            (Column::Float(column), b'"') => {
                let text = self.plain_text(at + 1)?;
                column.push(special(text, conversion).ok_or(GiveUp)? as f32);
                Ok(at + text.len() + 2)
            }
            (Column::Decimal(column, precision, scale), b'"') => {
                let text = self.plain_text(at + 1)?;
                column.push(decimal_text(text, *precision, *scale, conversion).ok_or(GiveUp)?);
                Ok(at + text.len() + 2)
            }
            (Column::Decimal(column, precision, scale), _) => {
                let (number, text) = self.number(at)?;
                let text = std::str::from_utf8(text).map_err(|_| GiveUp)?;
                column.push(number::decimal(text, *precision, *scale).ok_or(GiveUp)?);
                Ok(number.end)
            }
            (Column::Binary(column), b'"') => {
                let text = self.plain_text(at + 1).or_else(|_| self.empty_text(at + 1))?;
                decode_base64(text, column.data()).ok_or(GiveUp)?;
                column.close();
                Ok(at + text.len() + 2)
            }
            _ => Err(GiveUp),
        }
    }

    /// A number and its text.
    #[inline(always)]
    fn number(&self, at: usize) -> Result<(Lexed, &[u8]), GiveUp> {
        let number = number::lex(self.bytes, at).ok_or(GiveUp)?;
        if number.end - at > self.number_max {
            return Err(GiveUp);
        }
        Ok((number, &self.bytes[at..number.end]))
    }

    #[inline(always)]
    fn whole(&self, at: usize, min: i64, max: i64, push: impl FnOnce(i64)) -> Step {
        let (number, _) = self.number(at)?;
        let value = number.long().ok_or(GiveUp)?;
        if value < min || value > max {
            return Err(GiveUp);
        }
        push(value);
        Ok(number.end)
    }

    /// The position behind `word`.
    #[inline(always)]
    fn word(&self, at: usize, word: &[u8]) -> Step {
        if self.bytes[at..].starts_with(word) { Ok(at + word.len()) } else { Err(GiveUp) }
    }

    /// The text up to the next quote, if it has no escape and is not empty.
    #[inline(always)]
    fn plain_text(&self, at: usize) -> Result<&[u8], GiveUp> {
        let stop = string_stop(self.bytes, at);
        if self.byte(stop)? != b'"' || stop == at || stop - at > self.string_max {
            return Err(GiveUp);
        }
        Ok(&self.bytes[at..stop])
    }

    fn empty_text(&self, at: usize) -> Result<&[u8], GiveUp> {
        if self.byte(at)? == b'"' { Ok(&[]) } else { Err(GiveUp) }
    }

    /// A string whose opening quote has been read.
    #[inline(always)]
    fn text(&self, at: usize, column: &mut Bytes) -> Step {
        let stop = string_stop(self.bytes, at);
        if stop - at > self.string_max {
            return Err(GiveUp);
        }
        match self.byte(stop)? {
            b'"' => {
                column.push(&self.bytes[at..stop]);
                Ok(stop + 1)
            }
            b'\\' => self.escaped_text(at, stop, column),
            _ => Err(GiveUp),
        }
    }

    /// A string in which the first backslash stands at `stop`.
    fn escaped_text(&self, start: usize, mut stop: usize, column: &mut Bytes) -> Step {
        let data = column.data();
        let data_from = data.len();
        let mut from = start;
        let mut surrogates = false;
        loop {
            data.extend_from_slice(&self.bytes[from..stop]);
            match self.byte(stop)? {
                b'"' => break,
                b'\\' => {}
                _ => return Err(GiveUp),
            }
            from = stop + 2;
            let short = match self.byte(stop + 1)? {
                b'b' => 8,
                b't' => 9,
                b'n' => 10,
                b'f' => 12,
                b'r' => 13,
                same @ (b'"' | b'/' | b'\\') => same,
                b'u' => {
                    let unit = self.bytes.get(from..from + 4).and_then(hexadecimal).ok_or(GiveUp)?;
                    surrogates |= (0xd800..0xe000).contains(&unit);
                    push_unit(data, unit);
                    from += 4;
                    stop = string_stop(self.bytes, from);
                    continue;
                }
                _ => return Err(GiveUp),
            };
            data.push(short);
            stop = string_stop(self.bytes, from);
        }
        let lone = surrogates && lone_surrogate(&data[data_from..]).is_some();
        if lone || stop - start > self.string_max {
            return Err(GiveUp);
        }
        column.close();
        Ok(stop + 1)
    }

    /// A value that is no string where the type is STRING: its JSON, written anew.
    fn other_as_text(&self, at: usize, first: u8, column: &mut Bytes, depth: usize) -> Step {
        let end = self.copy(at, first, column.data(), depth)?;
        column.close();
        Ok(end)
    }

    /// Writes the value that begins at `at` anew.
    fn copy(&self, at: usize, first: u8, out: &mut Vec<u8>, depth: usize) -> Step {
        match first {
            b'"' => {
                let stop = string_stop(self.bytes, at + 1);
                if self.byte(stop)? != b'"' || stop - at > self.string_max {
                    return Err(GiveUp);
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
                if number.whole { write_whole(text, out) } else { write_float(None, text, out) }
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
                    return Err(GiveUp);
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
    fn skip(&self, at: usize, depth: usize) -> Step {
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
                    return Err(GiveUp);
                }
                at = self.behind_colon(self.name_end(at + 1)? + 1)?;
            }
            at = self.skip(at, depth)?;
            (at, more) = self.next_item(at, close)?;
        }
        Ok(at)
    }

    fn skip_text(&self, start: usize) -> Step {
        let mut at = start;
        loop {
            at = string_stop(self.bytes, at);
            match self.byte(at)? {
                b'"' => return Ok(at + 1),
                b'\\' => {}
                _ => return Err(GiveUp),
            }
            at += match self.byte(at + 1)? {
                b'b' | b't' | b'n' | b'f' | b'r' | b'"' | b'/' | b'\\' => 2,
                b'u' if self.bytes.get(at + 2..at + 6).and_then(hexadecimal).is_some() => 6,
                _ => return Err(GiveUp),
            };
        }
    }
}

/// The value of four hexadecimal digits.
fn hexadecimal(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)? as u16))
}
