//! The fast path from a message to the columns: strict JSON, one pass, no look back.
//!
//! It takes messages that are strict JSON as far as Spark looks at them, and of the malformed ones
//! those whose fault it understands: a value of no use for its column, and text that breaks off or is
//! no JSON of any dialect. Whatever else makes it give up, and the caller cuts the columns back and
//! asks `exact`. What it answers, `exact` would answer too; a property test holds them together.

mod skip;
mod text;

use super::Conversion;
use super::column::{Column, ListColumn, MapColumn, StructColumn};
use super::exact::{decimal_text, special};
use super::fields::UNWANTED;
use super::jackson::{Fault, decode_base64};
use super::number::{self, Lexed};
use super::scan::{skip_blanks, string_stop};

/// What became of a message on the fast path.
#[derive(Debug)]
pub(super) enum FastParse {
    /// It is a row.
    Good,
    /// It is a row without the fields at fault; the first fault, and the path to its field.
    Partial(Fault),
    /// It is malformed, and no field of it counts. The root may hold parts of a row.
    Malformed(Fault),
    /// Ask `exact`. The root may hold parts of a row.
    Unsure,
}

/// Why a value could not be taken.
#[derive(Debug, Clone, Copy)]
enum Stop {
    /// Only `exact` knows what it means.
    Unsure,
    /// Jackson throws, and Spark catches it at the root, so that no field counts.
    Lost(&'static str, usize),
    /// Jackson or Spark throws, and where it is caught decides what is left.
    Caught(&'static str, usize),
    /// It is JSON, but of no use for the column.
    Useless(&'static str, &'static str),
}

type Step = Result<usize, Stop>;

const CUT: &str = "the message breaks off";
const NO_WORD: &str = "a word that is neither true, false nor null";
const NO_COMMA: &str = "expected a comma or the end of the object or array";
const NO_COLON: &str = "expected a colon behind a name";
const WRONG_KIND: &str = "the value is of another kind";
const EMPTY_TEXT: &str = "the string is empty";
const UNREADABLE: &str = "the value cannot be read";

/// Deeper messages are left to `exact`, which skips and copies without recursion.
const RECURSION_MAX: usize = 1000;
/// Longer names are left to `exact`, which knows Jackson's limit.
const NAME_BYTES_MAX: usize = 16_000;

struct Reader<'a> {
    bytes: &'a [u8],
    conversion: &'a Conversion,
    /// Whether the first fault is the end of it: malformed messages are not kept.
    strict: bool,
    /// The indices of the fields that lead into the struct being read.
    path: &'a mut Vec<u32>,
    first_fault: Option<Fault>,
    /// Longest number and string that no limit can forbid, in bytes.
    number_max: usize,
    string_max: usize,
    depth_max: usize,
}

/// Adds the value that `text` begins with to `root`. With `strict` any fault makes the whole message
/// malformed. `path` is left at the field of the first fault.
#[inline]
pub(super) fn parse(
    text: &str,
    root: &mut Column,
    conversion: &Conversion,
    strict: bool,
    path: &mut Vec<u32>,
) -> FastParse {
    path.clear();
    let lexing = &conversion.lexing;
    let mut reader = Reader {
        bytes: text.as_bytes(),
        conversion,
        strict,
        path,
        first_fault: None,
        number_max: lexing.number_digits_max.min(lexing.string_units_max),
        string_max: lexing.string_units_max,
        depth_max: lexing.depth_max.min(RECURSION_MAX),
    };
    let at = skip_blanks(reader.bytes, 0);
    let step = match (root, reader.bytes.get(at)) {
        (Column::Struct(fields), Some(b'{')) => reader.object(at + 1, fields, 1),
        (Column::List(list), Some(b'[')) => reader.array(at + 1, list, 1),
        (Column::Map(map), Some(b'{')) => reader.map(at + 1, map, 1),
        _ => Err(Stop::Unsure),
    };
    match (step, reader.first_fault) {
        (Ok(_), None) => FastParse::Good,
        (Ok(_), Some(fault)) => FastParse::Partial(fault),
        (Err(Stop::Lost(what, at)), _) => {
            reader.path.clear();
            FastParse::Malformed(Fault { what, at, wanted: None })
        }
        (Err(Stop::Caught(what, at)), _) if strict => FastParse::Malformed(Fault { what, at, wanted: None }),
        (Err(Stop::Useless(what, wanted)), fault) if strict => {
            FastParse::Malformed(fault.unwrap_or(Fault { what, at: 0, wanted: Some(wanted) }))
        }
        (Err(_), _) => FastParse::Unsure,
    }
}

impl Reader<'_> {
    #[inline(always)]
    fn byte(&self, at: usize) -> Result<u8, Stop> {
        self.bytes.get(at).copied().ok_or(Stop::Lost(CUT, at))
    }

    /// The position of the byte behind blanks, and the byte.
    #[inline(always)]
    fn solid(&self, at: usize) -> Result<(usize, u8), Stop> {
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
            return Err(self.foreign(colon, NO_COLON, at));
        }
        Ok(self.solid(at + 1)?.0)
    }

    /// What it means that `byte` stands where something else is due between values: a comment or a
    /// control character is not judged here.
    #[cold]
    fn foreign(&self, byte: u8, what: &'static str, at: usize) -> Stop {
        if byte == b'/' || byte <= b' ' { Stop::Unsure } else { Stop::Lost(what, at) }
    }

    /// Checks the depth of what has just been opened.
    #[inline(always)]
    fn opened(&self, depth: usize) -> Result<(), Stop> {
        if depth > self.depth_max { Err(Stop::Unsure) } else { Ok(()) }
    }

    /// Behind a value: `Some` position of the next item, or `None` and the position behind `close`.
    #[inline(always)]
    fn next_item(&self, at: usize, close: u8) -> Result<(usize, bool), Stop> {
        let (at, byte) = self.solid(at)?;
        if byte == b',' {
            return Ok((self.solid(at + 1)?.0, true));
        }
        if byte == close { Ok((at + 1, false)) } else { Err(self.foreign(byte, NO_COMMA, at)) }
    }

    /// An object whose brace has been read, as a row of `fields`.
    fn object(&mut self, at: usize, fields: &mut StructColumn, depth: usize) -> Step {
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
                return Err(Stop::Unsure);
            }
            let (field, length) = self.field(at + 1, fields, &mut place)?;
            at = self.behind_colon(at + 1 + length)?;
            if field == UNWANTED {
                at = self.skip(at, depth)?;
            } else {
                let index = field as usize;
                let column = &mut fields.columns[index];
                if index < next_index && column.len() != row {
                    return Err(Stop::Unsure);
                }
                next_index = next_index.max(index + 1);
                met += 1;
                at = match self.value(at, column, depth, field) {
                    Ok(behind) => behind,
                    Err(stop) => self.at_fault(stop, at, column, depth, field)?,
                };
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

    /// A field whose value begins at `at` and is at fault: null, if that is all there is to it.
    #[cold]
    #[inline(never)]
    fn at_fault(&mut self, stop: Stop, at: usize, column: &mut Column, depth: usize, field: u32) -> Step {
        let Stop::Useless(what, wanted) = stop else { return Err(stop) };
        if self.first_fault.is_none() {
            self.first_fault = Some(Fault { what, at, wanted: Some(wanted) });
            self.path.push(field);
        }
        if self.strict {
            return Err(stop);
        }
        column.push_null();
        self.skip(at, depth)
    }

    /// Notes that field `field` is being entered, for the path of a fault.
    #[inline]
    fn enter(&mut self, field: u32) {
        if self.first_fault.is_none() {
            self.path.push(field);
        }
    }

    /// Notes that it has been left.
    #[inline]
    fn leave(&mut self) {
        if self.first_fault.is_none() {
            self.path.pop();
        }
    }

    /// The field of the name that begins at `at`, and the length of the name with its quote.
    #[inline(always)]
    fn field(&self, at: usize, fields: &mut StructColumn, place: &mut usize) -> Result<(u32, usize), Stop> {
        let rest = self.bytes.get(at..).ok_or(Stop::Lost(CUT, at))?;
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
            return Err(Stop::Unsure);
        }
        Ok(stop)
    }

    /// An array whose bracket has been read, as a row of `list`.
    fn array(&mut self, at: usize, list: &mut ListColumn, depth: usize) -> Step {
        self.opened(depth)?;
        let (mut at, first) = self.solid(at)?;
        let mut more = first != b']';
        if !more {
            at += 1;
        }
        while more {
            at = self.element(at, &mut list.elements, depth)?;
            (at, more) = self.next_item(at, b']')?;
        }
        list.close();
        Ok(at)
    }

    /// An object whose brace has been read, as a row of `map`.
    fn map(&mut self, at: usize, map: &mut MapColumn, depth: usize) -> Step {
        self.opened(depth)?;
        let (mut at, first) = self.solid(at)?;
        let mut more = first != b'}';
        if !more {
            at += 1;
        }
        while more {
            if self.byte(at)? != b'"' {
                return Err(Stop::Unsure);
            }
            let stop = self.name_end(at + 1)?;
            map.keys.push(&self.bytes[at + 1..stop]);
            at = self.behind_colon(stop + 1)?;
            at = self.element(at, &mut map.values, depth)?;
            (at, more) = self.next_item(at, b'}')?;
        }
        map.close();
        Ok(at)
    }

    /// An element of an array or a value of a map; a fault in it is caught farther out.
    #[inline(always)]
    fn element(&mut self, at: usize, column: &mut Column, depth: usize) -> Step {
        self.value(at, column, depth, UNWANTED).map_err(|stop| match stop {
            Stop::Useless(what, _) => Stop::Caught(what, at),
            stop => stop,
        })
    }

    /// The value that begins at `at`, as a row of `column`, which belongs to `field` of a struct
    /// ([`UNWANTED`]: to an array or map); gives the position behind it.
    #[inline(always)]
    fn value(&mut self, at: usize, column: &mut Column, depth: usize, field: u32) -> Step {
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
            Column::Struct(_) | Column::List(_) | Column::Map(_) => {
                self.nested(at, first, column, depth + 1, field)
            }
            column => self.rarer(at, first, column),
        }
    }

    /// A value of a nested type. Where a fault within it is caught, it is not told here.
    fn nested(&mut self, at: usize, first: u8, column: &mut Column, depth: usize, field: u32) -> Step {
        if field != UNWANTED {
            self.enter(field);
        }
        let step = match (column, first) {
            (Column::Struct(fields), b'{') => self.object(at + 1, fields, depth),
            (Column::List(list), b'[') => self.array(at + 1, list, depth),
            (Column::Map(map), b'{') => self.map(at + 1, map, depth),
            (column, _) => {
                if field != UNWANTED {
                    self.leave();
                }
                return Err(self.useless(first, column));
            }
        };
        match step {
            // Whoever keeps nothing of a malformed message need not know what it loses.
            Err(Stop::Lost(what, at)) if !(self.strict && what == CUT) => Err(Stop::Caught(what, at)),
            Err(stop) => Err(stop),
            Ok(behind) => {
                if field != UNWANTED {
                    self.leave();
                }
                Ok(behind)
            }
        }
    }

    /// What it means that a value begins with `first` where the column takes none such.
    #[cold]
    fn useless(&self, first: u8, column: &Column) -> Stop {
        match first {
            b'"' | b'{' | b'[' | b't' | b'f' | b'-' | b'0'..=b'9' => {
                Stop::Useless(WRONG_KIND, column.type_name())
            }
            _ => Stop::Unsure,
        }
    }

    /// Values of the other types, and texts where the type is no STRING.
    fn rarer(&self, at: usize, first: u8, column: &mut Column) -> Step {
        let conversion = self.conversion;
        match (column, first) {
            (Column::Boolean(column), b't') => {
                let end = self.word(at, b"true")?;
                column.push(true);
                Ok(end)
            }
            (Column::Boolean(column), b'f') => {
                let end = self.word(at, b"false")?;
                column.push(false);
                Ok(end)
            }
            (Column::Timestamp(column), b'"') => {
                let text = self.full_text(at + 1)?;
                column
                    .push(readable(conversion.formats.timestamp_micros(text, conversion.now), "TIMESTAMP")?);
                Ok(at + text.len() + 2)
            }
            (Column::TimestampNtz(column), b'"') => {
                let text = self.full_text(at + 1)?;
                column.push(readable(conversion.formats.timestamp_ntz_micros(text), "TIMESTAMP_NTZ")?);
                Ok(at + text.len() + 2)
            }
            (Column::Date(column), b'"') => {
                let text = self.full_text(at + 1)?;
                column.push(readable(conversion.formats.date_days(text), "DATE")?);
                Ok(at + text.len() + 2)
            }
            (Column::Double(column), b'"') => {
                let text = self.full_text(at + 1)?;
                column.push(readable(special(text, conversion), "DOUBLE")?);
                Ok(at + text.len() + 2)
            }
            (Column::Float(column), b'"') => {
                let text = self.full_text(at + 1)?;
                column.push(readable(special(text, conversion), "FLOAT")? as f32);
                Ok(at + text.len() + 2)
            }
            (Column::Decimal(column, precision, scale), b'"') => {
                let text = self.full_text(at + 1)?;
                column.push(readable(decimal_text(text, *precision, *scale, conversion), "DECIMAL")?);
                Ok(at + text.len() + 2)
            }
            (Column::Decimal(column, precision, scale), _) => {
                let (number, text) = self.number(at)?;
                let text = std::str::from_utf8(text).map_err(|_| Stop::Unsure)?;
                column.push(readable(number::decimal(text, *precision, *scale), "DECIMAL")?);
                Ok(number.end)
            }
            (Column::Binary(column), b'"') => {
                let text = self.plain_text(at + 1)?;
                decode_base64(text, column.data()).ok_or(Stop::Caught(UNREADABLE, at))?;
                column.close();
                Ok(at + text.len() + 2)
            }
            (column, _) => Err(self.useless(first, column)),
        }
    }

    /// A number and its text.
    #[inline(always)]
    fn number(&self, at: usize) -> Result<(Lexed, &[u8]), Stop> {
        let Some(number) = number::lex(self.bytes, at) else { return Err(self.no_number(at)) };
        if number.end - at > self.number_max {
            return Err(Stop::Unsure);
        }
        Ok((number, &self.bytes[at..number.end]))
    }

    /// What it means that no strict number begins at `at`.
    #[cold]
    fn no_number(&self, at: usize) -> Stop {
        match self.bytes.get(at) {
            Some(b'"' | b'{' | b'[' | b't' | b'f') => Stop::Useless(WRONG_KIND, "a number"),
            _ => Stop::Unsure,
        }
    }

    #[inline(always)]
    fn whole(&self, at: usize, min: i64, max: i64, push: impl FnOnce(i64)) -> Step {
        let (number, _) = self.number(at)?;
        let value = number.long().filter(|value| (min..=max).contains(value));
        let Some(value) = value else { return Err(Stop::Useless(UNREADABLE, "a whole number in range")) };
        push(value);
        Ok(number.end)
    }

    /// The position behind `word`.
    #[inline(always)]
    fn word(&self, at: usize, word: &[u8]) -> Step {
        let rest = &self.bytes[at..];
        if rest.starts_with(word) {
            return Ok(at + word.len());
        }
        Err(if word.starts_with(rest) { Stop::Lost(CUT, at) } else { Stop::Lost(NO_WORD, at) })
    }
}

/// A value that a text of JSON's grammar gives a column of type `wanted`.
#[inline(always)]
fn readable<T>(value: Option<T>, wanted: &'static str) -> Result<T, Stop> {
    value.ok_or(Stop::Useless(UNREADABLE, wanted))
}
