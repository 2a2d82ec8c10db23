//! VARCHAR(n) and CHAR(n) of an existing table.
//!
//! Delta keeps such a column as STRING and says its type in the field's metadata, at the outermost column only:
//! `struct<a:char(3)>` for a CHAR inside a struct (`CharVarcharUtils` of Spark). A text of more than n characters is
//! refused, blanks at its end included, as Delta does for a streaming write. A shorter CHAR is padded with blanks,
//! as Spark's INSERT stores it; Spark's own streaming write stores it short and pads it when it is read.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray, StringBuilder};
use arrow::buffer::NullBuffer;
use arrow::datatypes::Field;

use crate::decode::schema::{DataType, StructType};
use crate::model::{Error, Result};

/// The key of the type in a field's metadata.
const TYPE_KEY: &str = "__CHAR_VARCHAR_TYPE_STRING";

/// The length of a text column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// VARCHAR(n): n characters at most.
    Varchar(usize),
    /// CHAR(n): n characters, padded.
    Char(usize),
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Length::Varchar(length) => write!(f, "VARCHAR({length})"),
            Length::Char(length) => write!(f, "CHAR({length})"),
        }
    }
}

/// The type of a table's column with its VARCHARs and CHARs; `None` if it has none.
///
/// # Errors
/// `Config` if what the table's metadata says can't be read.
pub(super) fn declared(field: &Field) -> Result<Option<DataType>> {
    let Some(text) = field.metadata().get(TYPE_KEY) else { return Ok(None) };
    let read = StructType::from_ddl(&format!("c {text}"));
    match read.map(|schema| schema.fields.into_iter().next()) {
        Ok(Some(declared)) => Ok(Some(declared.data_type)),
        _ => Err(Error::config(format!(
            "the table says of column {} in {TYPE_KEY} that it is {text}, which can't be read",
            field.name()
        ))
        .hint("names with other characters than letters, digits and _ inside such a column can't be written by Spark either; change the column to STRING")),
    }
}

impl Length {
    /// The length of a declared type.
    pub(super) fn of(declared: &DataType) -> Option<Length> {
        match declared {
            DataType::Varchar(length) => Some(Length::Varchar(*length as usize)),
            DataType::Char(length) => Some(Length::Char(*length as usize)),
            _ => None,
        }
    }

    /// Texts of that length. Those of more characters are reported by position; rows that are null in `valid` do not
    /// count.
    pub(super) fn fit(
        self,
        texts: &StringArray,
        valid: Option<&NullBuffer>,
        too_long: &mut dyn FnMut(usize),
    ) -> ArrayRef {
        let (limit, pads) = match self {
            Length::Varchar(limit) => (limit, false),
            Length::Char(limit) => (limit, true),
        };
        let counts = |row| valid.is_none_or(|valid| valid.is_valid(row));
        let mut short = false;
        for row in (0..texts.len()).filter(|row| counts(*row)) {
            let bytes = texts.value_length(row) as usize;
            // No text has more characters than bytes.
            let characters = if bytes <= limit && !pads { bytes } else { texts.value(row).chars().count() };
            if characters > limit {
                too_long(row);
            }
            short |= characters < limit;
        }
        if !pads || !short {
            return Arc::new(texts.clone());
        }
        let mut padded = StringBuilder::with_capacity(texts.len(), texts.values().len());
        for row in 0..texts.len() {
            if counts(row) {
                padded.append_value(format!("{:limit$}", texts.value(row)));
            } else {
                padded.append_null();
            }
        }
        Arc::new(padded.finish())
    }
}
