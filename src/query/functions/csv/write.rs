//! `to_csv`: a struct as a record of CSV.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, TimestampMicrosecondType};
use datafusion::common::Result;

use super::options::Given;
use crate::query::arithmetic::decimal::java_text;
use crate::query::cast::to_text::write_value;
use crate::query::cast::{Mode, Way};
use crate::query::coerce::types::{name_of, refused};
use crate::query::conf::Conf;
use crate::query::functions::json::{options_at_run, options_of};
use crate::query::functions::scalar::{Bind, Bound, Call, count};
use crate::query::functions::time::MomentWriters;

const KNOWN: [&str; 12] = [
    "sep",
    "delimiter",
    "quote",
    "escape",
    "nullvalue",
    "emptyvalue",
    "dateformat",
    "timestampformat",
    "timestampntzformat",
    "timezone",
    "ignoreleadingwhitespace",
    "ignoretrailingwhitespace",
];

pub(super) fn bind(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 2)?;
    if !matches!(bind.types[0], DataType::Struct(_)) {
        return Err(refused(
            "DATATYPE_MISMATCH.UNSUPPORTED_INPUT_TYPE",
            format!("to_csv takes a STRUCT, not {}", name_of(&bind.types[0])),
        ));
    }
    Given::new(&options_of(bind, 1)?, "to_csv", &KNOWN)?;
    Ok(Bound::new(bind.types.to_vec(), DataType::Utf8))
}

/// How records are written.
struct Shape<'a> {
    separator: String,
    quote: char,
    escape: char,
    null_value: String,
    empty_value: String,
    trims_left: bool,
    trims_right: bool,
    moments: MomentWriters,
    conf: &'a Conf,
}

impl Shape<'_> {
    fn of<'a>(call: &Call<'a>) -> Result<Shape<'a>> {
        let given = Given::new(&options_at_run(call, 1), "to_csv", &KNOWN)?;
        Ok(Shape {
            separator: given.separator()?,
            quote: given.character("quote", '"')?,
            escape: given.character("escape", '\\')?,
            null_value: given.text_or("nullvalue", ""),
            empty_value: given.text_or("emptyvalue", "\"\""),
            trims_left: given.flag("ignoreleadingwhitespace", true)?,
            trims_right: given.flag("ignoretrailingwhitespace", true)?,
            moments: given.moments(call.conf)?,
            conf: call.conf,
        })
    }

    /// Puts a value into the record, in quotes where it needs some.
    fn put(&self, text: &str, is_first: bool, out: &mut String) {
        let special = |c: char| c == self.quote || matches!(c, '\n' | '\r');
        // A record that begins with # would be a comment.
        let quoted =
            text.contains(special) || text.contains(&self.separator) || is_first && text.starts_with('#');
        let blank = |c: char| c <= ' ';
        let mut text = text;
        if self.trims_left {
            text = text.trim_start_matches(blank);
        }
        if self.trims_right {
            text = text.trim_end_matches(blank);
        }
        if text.is_empty() {
            out.push_str(&self.empty_value);
        } else if quoted {
            out.push(self.quote);
            for c in text.chars() {
                if c == self.quote || c == self.escape {
                    out.push(self.escape);
                }
                out.push(c);
            }
            out.push(self.quote);
        } else {
            out.push_str(text);
        }
    }

    /// The text of a value that is not null.
    fn text(&self, array: &dyn Array, row: usize, out: &mut String) -> Result<()> {
        match array.data_type() {
            DataType::Decimal128(_, scale) => {
                java_text(array.as_primitive::<Decimal128Type>().value(row), *scale, out);
            }
            DataType::Binary => {
                let bytes = array.as_binary::<i32>().value(row);
                let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
                write!(out, "[{}]", bytes.join(" ")).expect("a String takes everything");
            }
            DataType::Date32 => {
                let day = array.as_primitive::<Date32Type>().value(row);
                self.moments.write_date(day, out)?;
            }
            DataType::Timestamp(_, zone) => {
                let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
                self.moments.write_timestamp(micros, zone.is_some(), out)?;
            }
            DataType::List(_) => {
                let values = array.as_list::<i32>().value(row);
                out.push('[');
                for at in 0..values.len() {
                    self.item(&values, at, at > 0, out)?;
                }
                out.push(']');
            }
            DataType::Map(..) => {
                let entries = array.as_map().value(row);
                out.push('{');
                for at in 0..entries.len() {
                    self.item(entries.column(0), at, at > 0, out)?;
                    out.push_str(" ->");
                    self.behind(entries.column(1), at, out)?;
                }
                out.push('}');
            }
            DataType::Struct(_) => {
                out.push('{');
                for (at, column) in array.as_struct().columns().iter().enumerate() {
                    self.item(column, row, at > 0, out)?;
                }
                out.push('}');
            }
            _ => write_value(array, row, Way { mode: Mode::Ansi, conf: self.conf }, out)?,
        }
        Ok(())
    }

    /// A value inside of another one.
    fn item(&self, array: &dyn Array, row: usize, follows: bool, out: &mut String) -> Result<()> {
        if follows {
            out.push(',');
            return self.behind(array, row, out);
        }
        if is_null(array, row) {
            out.push_str(&self.null_value);
            return Ok(());
        }
        self.text(array, row, out)
    }

    /// A value behind a comma or an arrow: one that is null and has no text takes no blank.
    fn behind(&self, array: &dyn Array, row: usize, out: &mut String) -> Result<()> {
        if !is_null(array, row) {
            out.push(' ');
            return self.text(array, row, out);
        }
        if !self.null_value.is_empty() {
            out.push(' ');
            out.push_str(&self.null_value);
        }
        Ok(())
    }
}

/// A column of type VOID has no bits that say where it is null.
fn is_null(array: &dyn Array, row: usize) -> bool {
    array.is_null(row) || *array.data_type() == DataType::Null
}

/// A record without any text is NULL.
pub(super) fn to_csv(call: &Call) -> Result<ArrayRef> {
    let shape = Shape::of(call)?;
    let record = call.args[0].as_struct();
    let mut texts = StringBuilder::new();
    let (mut text, mut value) = (String::new(), String::new());
    for row in 0..call.rows {
        if record.is_null(row) {
            texts.append_null();
            continue;
        }
        text.clear();
        for (at, column) in record.columns().iter().enumerate() {
            if at > 0 {
                text.push_str(&shape.separator);
            }
            if is_null(column, row) {
                text.push_str(&shape.null_value);
                continue;
            }
            value.clear();
            shape.text(column, row, &mut value)?;
            shape.put(&value, at == 0, &mut text);
        }
        texts.append_option((!text.is_empty()).then_some(&text));
    }
    Ok(Arc::new(texts.finish()))
}
