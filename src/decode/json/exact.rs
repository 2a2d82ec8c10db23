//! Spark's `JacksonParser`, driven by the token machine of `jackson`: exact for every message.
//!
//! The way for messages that the fast path gives up on: malformed ones, and those that use
//! what strict JSON lacks. Which fields survive a fault is decided by where Spark catches it: an
//! object catches what its fields throw and skips the children of whatever token is then current;
//! arrays and maps catch only faults that left a partial value. It fills the same columns.

use super::Conversion;
use super::capture;
use super::column::{Column, ListColumn, MapColumn, StructColumn};
use super::fields::UNWANTED;
use super::jackson::{Fault, Jackson, Lexed, Scratch, Token, push_as_utf8};
use super::number::{self, decimal, localized_decimal};
use super::outcome::{Rejection, RejectionCode};

/// What became of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    /// It was read as it stands, or was null.
    Whole,
    /// Something within it was at fault; the rest is kept.
    Partial,
}

/// What became of a message.
pub(super) enum Parsed {
    /// There is nothing but blanks: the root is null.
    Nothing,
    /// The root has been added.
    Good,
    /// The root has been added, without what is at fault.
    Partial(Rejection),
    /// Nothing has been added.
    Malformed(Rejection),
}

const WRONG_TOKEN: &str = "the value is of another kind";
const EMPTY_TEXT: &str = "the string is empty";
const OUT_OF_RANGE: &str = "the number is out of range";
const BAD_TEXT: &str = "the string cannot be read";

struct Converter<'a, 'c> {
    parser: Jackson<'a>,
    conversion: &'c Conversion,
    /// The indices of the fields that lead to the one being read.
    path: Vec<u32>,
    /// The first fault that was caught, and the path to it.
    first_fault: Option<(Fault, Vec<u32>)>,
}

/// Adds what `text` holds to `root`, which is a struct, an array or a map.
pub(super) fn parse(text: &str, root: &mut Column, conversion: &Conversion, scratch: &mut Scratch) -> Parsed {
    let parser = Jackson::new(text, conversion.lexing, scratch);
    let mut converter = Converter { parser, conversion, path: Vec::new(), first_fault: None };
    match converter.root(root) {
        Ok(None) => Parsed::Nothing,
        Ok(Some(Value::Whole)) => Parsed::Good,
        Ok(Some(Value::Partial)) => Parsed::Partial(match &converter.first_fault {
            Some((fault, path)) => rejection(fault, path, root),
            None => rejection(&converter.parser.unusable(WRONG_TOKEN, root.type_name()), &[], root),
        }),
        Err(fault) => Parsed::Malformed(rejection(&fault, &[], root)),
    }
}

/// Says what is wrong with a message, by names and positions only.
#[cold]
pub(super) fn rejection(fault: &Fault, path: &[u32], root: &Column) -> Rejection {
    let message = match fault.wanted {
        Some(wanted) => format!("expected {wanted}: {} (before byte {})", fault.what, fault.at),
        None => format!("{} (before byte {})", fault.what, fault.at),
    };
    let code = if path.is_empty() { RejectionCode::MalformedRecord } else { RejectionCode::CannotParseField };
    let field = (!path.is_empty()).then(|| dotted(path, root));
    Rejection { code, field, message }
}

/// The names of the fields at the indices of `path`, dotted.
fn dotted(path: &[u32], root: &Column) -> String {
    let mut names: Vec<&str> = Vec::with_capacity(path.len());
    let mut column = root;
    for index in path {
        loop {
            match column {
                Column::List(list) => column = &list.elements,
                Column::Map(map) => column = &map.values,
                Column::Struct(fields) => {
                    names.push(fields.name(*index as usize));
                    column = &fields.columns[*index as usize];
                    break;
                }
                _ => break,
            }
        }
    }
    names.join(".")
}

impl Converter<'_, '_> {
    fn root(&mut self, root: &mut Column) -> Lexed<Option<Value>> {
        let Some(token) = self.parser.next_token()? else { return Ok(None) };
        let wanted = root.type_name();
        match (root, token) {
            (Column::Struct(fields), Token::StartObject) => self.object(fields).map(Some),
            (Column::Struct(_), Token::StartArray) => {
                Err(self.parser.unusable("the message is an array", wanted))
            }
            (Column::List(list), Token::StartArray) => self.array(list).map(Some),
            (Column::List(list), Token::StartObject) if matches!(list.elements, Column::Struct(_)) => {
                self.lone_element(list).map(Some)
            }
            (Column::Map(map), Token::StartObject) => self.map(map).map(Some),
            _ => Err(self.parser.unusable("the message is of another kind", wanted)),
        }
    }

    /// An object where an array of structs is due counts as its only element.
    fn lone_element(&mut self, list: &mut ListColumn) -> Lexed<Value> {
        let Column::Struct(fields) = &mut list.elements else {
            return Err(self.parser.unusable(WRONG_TOKEN, "STRUCT"));
        };
        let value = self.object(fields)?;
        list.close();
        Ok(value)
    }

    /// Spark's `convertObject`; adds a row, or none if it throws.
    fn object(&mut self, fields: &mut StructColumn) -> Lexed<Value> {
        let row = fields.len();
        match self.fields(fields, row) {
            Ok(value) => {
                fields.close();
                Ok(value)
            }
            Err(fault) => {
                fields.truncate(row);
                Err(fault)
            }
        }
    }

    fn fields(&mut self, fields: &mut StructColumn, row: usize) -> Lexed<Value> {
        let depth = self.path.len();
        let mut outcome = Value::Whole;
        while !matches!(self.parser.next_token()?, None | Some(Token::EndObject)) {
            let field = self.parser.current_name().map_or(UNWANTED, |name| fields.table.find(name));
            if field == UNWANTED {
                self.parser.skip_children()?;
                continue;
            }
            self.path.truncate(depth);
            self.path.push(field);
            let column = &mut fields.columns[field as usize];
            let again = column.len() > row;
            match self.value(column) {
                Ok(value) => {
                    if again {
                        column.remove(row..row + 1);
                    }
                    if value == Value::Partial {
                        outcome = Value::Partial;
                    }
                }
                Err(fault) => {
                    outcome = Value::Partial;
                    if self.first_fault.is_none() {
                        self.path.truncate(depth + 1);
                        self.first_fault = Some((fault, self.path.clone()));
                    }
                    self.parser.skip_children()?;
                }
            }
        }
        self.path.truncate(depth);
        Ok(outcome)
    }

    /// Spark's `convertArray`; adds a row, or none if it throws.
    fn array(&mut self, list: &mut ListColumn) -> Lexed<Value> {
        let outcome = self.elements(&mut list.elements);
        match outcome {
            Ok(_) => list.close(),
            Err(_) => list.discard(),
        }
        outcome
    }

    fn elements(&mut self, elements: &mut Column) -> Lexed<Value> {
        let mut outcome = Value::Whole;
        while !matches!(self.parser.next_token()?, None | Some(Token::EndArray)) {
            if self.value(elements)? == Value::Partial {
                outcome = Value::Partial;
            }
        }
        Ok(outcome)
    }

    /// Spark's `convertMap`; adds a row, or none if it throws.
    fn map(&mut self, map: &mut MapColumn) -> Lexed<Value> {
        let outcome = self.entries(map);
        match outcome {
            Ok(_) => map.close(),
            Err(_) => map.discard(),
        }
        outcome
    }

    /// A value that throws does not stop the map: Spark reads on to the closing brace, finds more keys
    /// than values and throws then.
    fn entries(&mut self, map: &mut MapColumn) -> Lexed<Value> {
        let mut outcome = Ok(Value::Whole);
        let depth = self.path.len();
        while !matches!(self.parser.next_token()?, None | Some(Token::EndObject)) {
            push_as_utf8(self.parser.current_name().unwrap_or_default(), map.keys.data());
            map.keys.close();
            match self.value(&mut map.values) {
                Ok(Value::Whole) => {}
                Ok(Value::Partial) => outcome = outcome.map(|_| Value::Partial),
                Err(fault) => {
                    self.path.truncate(depth);
                    outcome = outcome.and(Err(fault));
                    self.parser.skip_children()?;
                }
            }
        }
        outcome
    }

    /// Spark's `parseJsonToken` with the converter of the column's type; adds a row, or none if it
    /// throws.
    fn value(&mut self, column: &mut Column) -> Lexed<Value> {
        let token = loop {
            match self.parser.current() {
                Some(Token::Name) => self.parser.next_token()?,
                None | Some(Token::Null) => {
                    column.push_null();
                    return Ok(Value::Whole);
                }
                Some(token) => break token,
            };
        };
        match (column, token) {
            (Column::Struct(fields), Token::StartObject) => return self.object(fields),
            (Column::List(list), Token::StartArray) => return self.array(list),
            (Column::Map(map), Token::StartObject) => return self.map(map),
            (Column::Boolean(column), Token::True) => column.push(true),
            (Column::Boolean(column), Token::False) => column.push(false),
            (Column::Byte(column), Token::Whole) => column.push(self.whole(-128, 255, "TINYINT")? as i8),
            (Column::Short(column), Token::Whole) => {
                column.push(self.whole(i16::MIN.into(), i16::MAX.into(), "SMALLINT")? as i16);
            }
            (Column::Integer(column), Token::Whole) => {
                column.push(self.whole(i32::MIN.into(), i32::MAX.into(), "INT")? as i32);
            }
            (Column::Long(column), Token::Whole) => column.push(self.whole(i64::MIN, i64::MAX, "BIGINT")?),
            (Column::Timestamp(column), Token::Whole) => {
                column.push(self.whole(i64::MIN, i64::MAX, "TIMESTAMP")?.wrapping_mul(1_000_000));
            }
            (Column::Float(column), Token::Whole | Token::Float) => {
                column.push(match self.parser.not_finite() {
                    Some(value) => value as f32,
                    None => self.number("FLOAT")?.float(self.parser.number_text()),
                })
            }
            (Column::Double(column), Token::Whole | Token::Float) => {
                column.push(match self.parser.not_finite() {
                    Some(value) => value,
                    None => self.number("DOUBLE")?.double(self.parser.number_text()),
                })
            }
            (Column::Decimal(column, precision, scale), Token::Whole | Token::Float) => {
                let text = std::str::from_utf8(self.parser.number_text()).unwrap_or_default();
                let value = match self.parser.not_finite() {
                    Some(_) => None,
                    None => decimal(text, *precision, *scale),
                };
                column.push(value.ok_or_else(|| self.parser.unusable(OUT_OF_RANGE, "DECIMAL"))?);
            }
            (Column::Text(column), Token::Text) => {
                push_as_utf8(self.parser.limited_text()?, column.data());
                column.close();
            }
            // Jackson's generator has nothing open that these could close.
            (Column::Text(_), Token::EndObject | Token::EndArray) => {
                return Err(self.parser.unusable(WRONG_TOKEN, "STRING"));
            }
            (Column::Text(column), _) => {
                if let Err(fault) = capture::current_structure(&mut self.parser, column.data()) {
                    column.discard();
                    return Err(fault);
                }
                column.close();
            }
            (Column::Binary(column), Token::Text) => {
                if let Err(fault) = self.parser.base64(column.data()) {
                    column.discard();
                    return Err(fault);
                }
                column.close();
            }
            (column, Token::Text) => self.text_value(column)?,
            (column, _) => return Err(self.parser.unusable(WRONG_TOKEN, column.type_name())),
        }
        Ok(Value::Whole)
    }

    /// A string where the column's type is neither STRING nor BINARY.
    fn text_value(&mut self, column: &mut Column) -> Lexed<()> {
        let wanted = column.type_name();
        let conversion = self.conversion;
        if self.parser.finish_text()?.is_empty() {
            return Err(self.parser.unusable(EMPTY_TEXT, wanted));
        }
        let text = self.parser.limited_text()?;
        let read = match column {
            Column::Float(column) => special(text, conversion).map(|value| column.push(value as f32)),
            Column::Double(column) => special(text, conversion).map(|value| column.push(value)),
            Column::Date(column) => conversion.formats.date_days(text).map(|value| column.push(value)),
            Column::Timestamp(column) => {
                conversion.formats.timestamp_micros(text, conversion.now).map(|value| column.push(value))
            }
            Column::TimestampNtz(column) => {
                conversion.formats.timestamp_ntz_micros(text).map(|value| column.push(value))
            }
            Column::Decimal(column, precision, scale) => {
                decimal_text(text, *precision, *scale, conversion).map(|value| column.push(value))
            }
            _ => return Err(self.parser.unusable(WRONG_TOKEN, wanted)),
        };
        read.ok_or_else(|| self.parser.unusable(BAD_TEXT, wanted))
    }

    /// The current whole number, if it is within `min` and `max`.
    fn whole(&self, min: i64, max: i64, wanted: &'static str) -> Lexed<i64> {
        let value = self.number(wanted)?.long().filter(|value| (min..=max).contains(value));
        value.ok_or_else(|| self.parser.unusable(OUT_OF_RANGE, wanted))
    }

    fn number(&self, wanted: &'static str) -> Lexed<number::Lexed> {
        number::lex(self.parser.number_text(), 0)
            .ok_or_else(|| self.parser.unusable("the number is of another form", wanted))
    }
}

/// The strings that stand for a FLOAT or DOUBLE.
pub(super) fn special(text: &[u8], conversion: &Conversion) -> Option<f64> {
    if !conversion.lexing.non_numeric {
        return None;
    }
    match text {
        b"NaN" => Some(f64::NAN),
        b"Infinity" | b"+Infinity" | b"+INF" => Some(f64::INFINITY),
        b"-Infinity" | b"-INF" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// A DECIMAL out of a string: with the locale en-US every comma is dropped first.
pub(super) fn decimal_text(text: &[u8], precision: u8, scale: u8, conversion: &Conversion) -> Option<i128> {
    let text = std::str::from_utf8(text).ok()?;
    match conversion.symbols {
        Some(symbols) => localized_decimal(text, symbols, precision, scale),
        None if text.contains(',') => decimal(&text.replace(',', ""), precision, scale),
        None => decimal(text, precision, scale),
    }
}
