//! Tokens to types: `singleTableSchema`, `singleDataType` and `dataType` of Spark 4.0's grammar
//! (`SqlBaseParser.g4`) with what `DataTypeAstBuilder` makes of them. Keywords are no reserved words.

use super::collation;
use super::lexer::{Kind, Refusal, Token, tokens};
use super::mend;
use crate::decode::schema::{DataType, DayTimeUnit, StructField, StructType, YearMonthUnit};

/// How deep types may be nested; a bound for our stack, far beyond what a table has.
const DEPTH_MAX: usize = 200;

/// The greatest precision of a DECIMAL.
const PRECISION_MAX: u8 = 38;

type Parsed<T> = Result<T, Refusal>;

/// Reads one text, once.
pub(super) struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    /// A parser for `text`.
    pub(super) fn new(text: &'a str) -> Parsed<Parser<'a>> {
        let tokens = tokens(text)?;
        if tokens.len() == 1 {
            return Err(Refusal::new(text, 0, "schema is empty").mend("write columns, such as \"id BIGINT\""));
        }
        Ok(Parser { text, tokens, at: 0, depth: 0 })
    }

    /// The text as a list of columns.
    pub(super) fn columns(mut self) -> Parsed<StructType> {
        let mut fields = vec![self.field(false)?];
        while self.take_symbol(',') {
            fields.push(self.field(false)?);
        }
        self.end()?;
        Ok(StructType { fields })
    }

    /// The text as one type.
    pub(super) fn data_type(mut self) -> Parsed<DataType> {
        let data_type = self.any_type()?;
        self.end()?;
        Ok(data_type)
    }

    fn peek(&self) -> &Token {
        // The last token is the end and is never passed.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn source(&self, token: &Token) -> &'a str {
        &self.text[token.start..token.end]
    }

    fn is_word(&self, token: &Token, word: &str) -> bool {
        token.kind == Kind::Word && self.source(token).eq_ignore_ascii_case(word)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(self.peek(), word);
        self.at += usize::from(found);
        found
    }

    fn take_symbol(&mut self, symbol: char) -> bool {
        let found = self.peek().kind == Kind::Symbol(symbol);
        self.at += usize::from(found);
        found
    }

    /// The refusal of the next token where `wanted` should be.
    fn unexpected(&self, wanted: &str) -> Refusal {
        let token = self.peek();
        let found = match &token.kind {
            Kind::End => "end of the schema".to_owned(),
            _ => format!("{:?}", self.source(token)),
        };
        Refusal::new(self.text, token.start, format!("{found} instead of {wanted}"))
    }

    fn symbol(&mut self, symbol: char, place: &str) -> Parsed<()> {
        if self.take_symbol(symbol) { Ok(()) } else { Err(self.unexpected(&format!("\"{symbol}\" {place}"))) }
    }

    fn end(&self) -> Parsed<()> {
        let token = self.peek();
        let mend = match &token.kind {
            Kind::End => return Ok(()),
            Kind::Symbol(';') => "leave the semicolon out",
            Kind::Symbol('#' | '/') => "write a comment as -- or /* */",
            Kind::Text(_) => "write a quote inside a COMMENT as \\'",
            _ if self.is_word(token, "NULL") => {
                "leave NULL out; a column is nullable unless it says NOT NULL"
            }
            _ if self.is_word(token, "NOT") => "NOT NULL stands before COMMENT, once",
            _ if self.is_word(token, "DEFAULT") || self.is_word(token, "GENERATED") => {
                "a schema has no defaults and no generated columns"
            }
            _ => "separate columns by a comma",
        };
        Err(self.unexpected("a comma or the end").mend(mend))
    }

    /// A column, or a field of a STRUCT, where a colon may stand behind the name.
    fn field(&mut self, in_struct: bool) -> Parsed<StructField> {
        let name = self.name(if in_struct { "the name of a field" } else { "the name of a column" })?;
        if self.peek().kind == Kind::Symbol(':') {
            if !in_struct {
                return Err(self.unexpected("a type").mend("columns take no colon outside of STRUCT<>"));
            }
            self.at += 1;
        }
        let data_type = self.any_type()?;
        let mut field = StructField::new(name, data_type, true);
        if self.take_word("NOT") {
            if !self.take_word("NULL") {
                return Err(self.unexpected("NULL after NOT"));
            }
            field.nullable = false;
        }
        if self.take_word("COMMENT") {
            let Kind::Text(text) = self.peek().kind.clone() else {
                return Err(self.unexpected("the comment's text").mend("put the text in single quotes"));
            };
            self.at += 1;
            field.comment = Some(text);
        }
        Ok(field)
    }

    fn name(&mut self, wanted: &str) -> Parsed<String> {
        let token = self.peek().clone();
        let name = match token.kind {
            Kind::Word => self.source(&token).to_owned(),
            Kind::Quoted(name) => name,
            Kind::Integer | Kind::OtherNumber | Kind::Text(_) => {
                return Err(self.unexpected(wanted).mend("write the name in backquotes"));
            }
            Kind::Symbol(_) | Kind::End => return Err(self.unexpected(wanted)),
        };
        self.at += 1;
        Ok(name)
    }

    fn any_type(&mut self) -> Parsed<DataType> {
        if self.depth == DEPTH_MAX {
            return Err(Refusal::new(
                self.text,
                self.peek().start,
                format!("types nested deeper than {DEPTH_MAX}"),
            ));
        }
        self.depth += 1;
        let data_type = self.type_by_name();
        self.depth -= 1;
        data_type
    }

    fn type_by_name(&mut self) -> Parsed<DataType> {
        let token = self.peek().clone();
        if !matches!(token.kind, Kind::Word | Kind::Quoted(_)) {
            let refusal = self.unexpected("a type");
            return Err(match token.kind {
                Kind::Symbol('-' | '$' | '.' | '@' | '#') => refusal.mend("write the name in backquotes"),
                _ => refusal,
            });
        }
        self.at += 1;
        let word = self.source(&token);
        // A name in backquotes is never a type.
        let keyword = if token.kind == Kind::Word { word.to_ascii_uppercase() } else { String::new() };
        let opened = self.peek().kind == Kind::Symbol('<');
        match keyword.as_str() {
            "ARRAY" if opened => return self.array(),
            "MAP" if opened => return self.map(),
            "STRUCT" if opened => return self.structure(),
            "ARRAY" => {
                return Err(self
                    .refuse(&token, "ARRAY without the type of its elements")
                    .mend("write ARRAY<STRING>"));
            }
            "MAP" => {
                return Err(self.refuse(&token, "MAP without its types").mend("write MAP<STRING, STRING>"));
            }
            "STRUCT" => {
                return Err(self.refuse(&token, "STRUCT without its fields").mend("write STRUCT<a: INT>"));
            }
            "INTERVAL" => {
                if let Some(interval) = self.interval_units()? {
                    return Ok(interval);
                }
            }
            "STRING" if self.take_word("COLLATE") => return self.collated(),
            _ => {}
        }
        let numbers = self.numbers()?;
        self.simple_type(&token, &keyword, &numbers)
    }

    fn refuse(&self, token: &Token, fact: impl Into<String>) -> Refusal {
        Refusal::new(self.text, token.start, fact)
    }

    /// `(10, 2)` behind a type, as it is written; empty if there is none.
    fn numbers(&mut self) -> Parsed<Vec<Token>> {
        let mut numbers = Vec::new();
        if !self.take_symbol('(') {
            return Ok(numbers);
        }
        loop {
            if self.peek().kind != Kind::Integer {
                return Err(self.unexpected("a whole number"));
            }
            numbers.push(self.peek().clone());
            self.at += 1;
            if !self.take_symbol(',') {
                break;
            }
        }
        self.symbol(')', "behind the numbers")?;
        Ok(numbers)
    }

    fn simple_type(&self, token: &Token, keyword: &str, numbers: &[Token]) -> Parsed<DataType> {
        let plain = match keyword {
            "BOOLEAN" => DataType::Boolean,
            "TINYINT" | "BYTE" => DataType::Byte,
            "SMALLINT" | "SHORT" => DataType::Short,
            "INT" | "INTEGER" => DataType::Integer,
            "BIGINT" | "LONG" => DataType::Long,
            "FLOAT" | "REAL" => DataType::Float,
            "DOUBLE" => DataType::Double,
            "STRING" => DataType::String,
            "BINARY" => DataType::Binary,
            "DATE" => DataType::Date,
            "TIMESTAMP" | "TIMESTAMP_LTZ" => DataType::Timestamp,
            "TIMESTAMP_NTZ" => DataType::TimestampNtz,
            "VOID" => DataType::Void,
            "VARIANT" => DataType::Variant,
            "INTERVAL" => DataType::CalendarInterval,
            "DECIMAL" | "DEC" | "NUMERIC" => return self.decimal(token, numbers),
            "VARCHAR" | "CHAR" | "CHARACTER" => return self.sized(token, keyword, numbers),
            _ => return Err(self.unknown_type(token)),
        };
        match numbers {
            [] => Ok(plain),
            _ => {
                let fact = format!("type {keyword} takes no size, but has one");
                Err(self.refuse(token, fact).mend(format!("write {keyword}")))
            }
        }
    }

    fn unknown_type(&self, token: &Token) -> Refusal {
        let word = self.source(token);
        let refusal = self.refuse(token, format!("unknown type {word}"));
        match mend::instead_of(word) {
            Some(instead) => refusal.mend(format!("use {instead}")),
            None => refusal.mend(mend::ALL_TYPES),
        }
    }

    fn decimal(&self, token: &Token, numbers: &[Token]) -> Parsed<DataType> {
        let small = |number: &Token| {
            let value = self.source(number).parse().ok().filter(|value| *value <= PRECISION_MAX);
            value.ok_or_else(|| {
                let fact =
                    format!("{} is more than the {PRECISION_MAX} digits of a DECIMAL", self.source(number));
                self.refuse(number, fact)
            })
        };
        let (precision, scale) = match numbers {
            [] => (10, 0),
            [precision] => (small(precision)?, 0),
            [precision, scale] => (small(precision)?, small(scale)?),
            [_, _, third, ..] => {
                return Err(self
                    .refuse(third, "third number of a DECIMAL")
                    .mend("write DECIMAL(precision, scale)"));
            }
        };
        if scale > precision {
            let fact = format!("scale {scale} of a DECIMAL is above its precision {precision}");
            return Err(self.refuse(token, fact).mend(format!("write DECIMAL({scale},{scale})")));
        }
        Ok(DataType::Decimal { precision, scale })
    }

    fn sized(&self, token: &Token, keyword: &str, numbers: &[Token]) -> Parsed<DataType> {
        let [number] = numbers else {
            let fact = format!("type {keyword} needs one size");
            return Err(self.refuse(token, fact).mend(format!("write {keyword}(10), or STRING")));
        };
        let size: i32 = self.source(number).parse().map_err(|_| {
            self.refuse(number, format!("size {} is above {}", self.source(number), i32::MAX))
        })?;
        let size = size.unsigned_abs();
        Ok(if keyword == "VARCHAR" { DataType::Varchar(size) } else { DataType::Char(size) })
    }

    fn array(&mut self) -> Parsed<DataType> {
        self.symbol('<', "behind ARRAY")?;
        let element = Box::new(self.any_type()?);
        self.close_angle("the element's type")?;
        Ok(DataType::Array { element, contains_null: true })
    }

    fn map(&mut self) -> Parsed<DataType> {
        self.symbol('<', "behind MAP")?;
        let key = Box::new(self.any_type()?);
        self.symbol(',', "behind the key's type")?;
        let value = Box::new(self.any_type()?);
        self.close_angle("the value's type")?;
        Ok(DataType::Map { key, value, value_contains_null: true })
    }

    fn close_angle(&mut self, what: &str) -> Parsed<()> {
        if self.is_word(self.peek(), "NOT") {
            let refusal = self.unexpected(&format!("\">\" behind {what}"));
            return Err(refusal.mend("only columns and fields of a STRUCT can be NOT NULL"));
        }
        self.symbol('>', &format!("behind {what}"))
    }

    fn structure(&mut self) -> Parsed<DataType> {
        self.symbol('<', "behind STRUCT")?;
        let mut fields = Vec::new();
        if self.take_symbol('>') {
            return Ok(DataType::Struct(StructType { fields }));
        }
        fields.push(self.field(true)?);
        while self.take_symbol(',') {
            fields.push(self.field(true)?);
        }
        self.symbol('>', "or a comma behind a field")?;
        Ok(DataType::Struct(StructType { fields }))
    }

    fn collated(&mut self) -> Parsed<DataType> {
        let token = self.peek().clone();
        let name = self.name("the name of a collation")?;
        match collation::canonical(&name) {
            Some(name) if name == collation::BINARY => Ok(DataType::String),
            Some(name) => Ok(DataType::CollatedString(name)),
            None => {
                let fact = format!("unknown collation {name}");
                Err(self.refuse(&token, fact).mend("leave COLLATE out"))
            }
        }
    }

    /// The units behind INTERVAL, if there are any.
    fn interval_units(&mut self) -> Parsed<Option<DataType>> {
        let years = [("YEAR", YearMonthUnit::Year), ("MONTH", YearMonthUnit::Month)];
        let days = [
            ("DAY", DayTimeUnit::Day),
            ("HOUR", DayTimeUnit::Hour),
            ("MINUTE", DayTimeUnit::Minute),
            ("SECOND", DayTimeUnit::Second),
        ];
        if let Some((start, end)) = self.units(&years)? {
            return Ok(Some(DataType::YearMonthInterval { start, end }));
        }
        Ok(self.units(&days)?.map(|(start, end)| DataType::DayTimeInterval { start, end }))
    }

    fn units<U: Copy + PartialOrd>(&mut self, units: &[(&str, U)]) -> Parsed<Option<(U, U)>> {
        let Some(start) = units.iter().position(|(word, _)| self.take_word(word)) else {
            return Ok(None);
        };
        if !self.take_word("TO") {
            return Ok(Some((units[start].1, units[start].1)));
        }
        let narrower = &units[start + 1..];
        match narrower.iter().position(|(word, _)| self.take_word(word)) {
            Some(end) => Ok(Some((units[start].1, narrower[end].1))),
            None => {
                let refusal = self.unexpected(&format!("a unit below {}", units[start].0));
                Err(refusal.mend("intervals are YEAR TO MONTH or from DAY, HOUR, MINUTE down to SECOND"))
            }
        }
    }
}
