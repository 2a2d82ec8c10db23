//! The bytes that rows of state have: Arrow columns to rows and back, in a format that outlives versions of Arrow.
//!
//! Version 1. A row is a bitmap of `ceil(columns / 8)` bytes, in which the lowest bit of the first byte says that the
//! first column is null, and then the values that are not null, one after the other:
//!
//! | type | bytes |
//! |---|---|
//! | boolean | one byte, 0 or 1 |
//! | numbers, decimals, dates, times, timestamps, intervals, fixed binary | as in memory, little-endian |
//! | string, binary | length (varint), bytes |
//! | list | `2 * length + b` (varint); if `b` is 1 a bitmap of null elements; the elements that are not null |
//! | map | as a list of structs of key and value |
//! | struct | as a row of its fields |
//! | null | nothing: the value is always null |
//!
//! A varint is LEB128 in its shortest form, and `b` is 1 exactly if an element is null or elements have no bytes. So a value has one
//! encoding, and values that are equal have equal bytes, as keys need it. What else is equal in a key ([`Equality`]) is made one
//! value before it is written. Bytes of several codecs are not told apart: whoever stores them stores the types too
//! ([`super::TableDefinition`]).

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;

use crate::model::{Error, Result};

/// The version of the format; a change of it makes old state unreadable.
pub const VERSION: u32 = 1;

const _: () = assert!(cfg!(target_endian = "little"), "numbers are written as they are in memory");

/// Which different values a codec writes as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Equality {
    /// Every bit counts: values.
    Bits,
    /// All NaN are one value, -0.0 and 0.0 are two; maps with the same entries are one: keys of Spark's deduplication.
    Nan,
    /// All NaN are one value, and so are -0.0 and 0.0, and maps with the same entries: keys of Spark's grouping and joins.
    Grouping,
}

/// Encodes and decodes rows of certain types.
#[derive(Debug, Clone)]
pub struct Codec {
    types: Vec<DataType>,
    equality: Equality,
}

/// Encoded rows: one buffer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    bytes: Vec<u8>,
    /// Where each row ends in `bytes`.
    ends: Vec<usize>,
}

impl Rows {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of row `index`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }

    /// The rows in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.row(index))
    }
}

impl Codec {
    /// A codec of rows with columns of `types`, in which every bit counts.
    ///
    /// # Errors
    /// `Config` if a type cannot be kept in state.
    pub fn new(types: &[DataType]) -> Result<Codec> {
        Codec::with_equality(types, Equality::Bits)
    }

    /// A codec of keys with columns of `types`.
    ///
    /// # Errors
    /// As for [`Codec::new`].
    pub fn with_equality(types: &[DataType], equality: Equality) -> Result<Codec> {
        match types.iter().find(|data_type| !is_known(data_type)) {
            Some(unknown) => {
                Err(Error::config(format!("values of type {unknown} cannot be kept in the state of a query"))
                    .hint("cast the column to a type of Spark"))
            }
            None => Ok(Codec { types: types.to_vec(), equality }),
        }
    }

    /// The types of the columns.
    pub fn types(&self) -> &[DataType] {
        &self.types
    }

    /// Encodes `rows` rows of columns, one row after the other. A column may have another layout of its type (a large or a
    /// view array); it is decoded as the codec's.
    ///
    /// # Errors
    /// `Internal` if the columns are not of the codec's types, or have another number of rows.
    pub fn encode(&self, columns: &[ArrayRef], rows: usize) -> Result<Rows> {
        self.check(columns, rows)?;
        Ok(encode::rows(columns, rows, None, self.equality))
    }

    /// Encodes keys: [`super::time_prefix`] of each of `times`, then the row's columns.
    ///
    /// # Errors
    /// As for [`Codec::encode`]; each column has as many rows as there are times.
    pub fn encode_keys(&self, times: &[i64], columns: &[ArrayRef]) -> Result<Rows> {
        self.check(columns, times.len())?;
        Ok(encode::rows(columns, times.len(), Some(times), self.equality))
    }

    /// Decodes rows into columns of the codec's types.
    ///
    /// # Errors
    /// `Corrupt` if a row is not one of these types: too short, too long, or with text that is not UTF-8.
    pub fn decode(&self, rows: &[&[u8]]) -> Result<Vec<ArrayRef>> {
        decode::columns(&self.types, rows.to_vec())
    }

    /// Decodes keys that [`Codec::encode_keys`] made, without their times ([`super::time_of`]).
    ///
    /// # Errors
    /// As for [`Codec::decode`].
    pub fn decode_keys(&self, keys: &[&[u8]]) -> Result<Vec<ArrayRef>> {
        let rows = keys.iter().map(|key| key.get(8..)).collect::<Option<_>>();
        decode::columns(&self.types, rows.ok_or_else(decode::damaged)?)
    }

    fn check(&self, columns: &[ArrayRef], rows: usize) -> Result<()> {
        let fit = columns.len() == self.types.len()
            && columns.iter().zip(&self.types).all(|(column, data_type)| {
                column.len() == rows && is_layout_of(column.data_type(), data_type)
            });
        if fit {
            return Ok(());
        }
        let found: Vec<String> =
            columns.iter().map(|column| format!("{} x {}", column.len(), column.data_type())).collect();
        let types: Vec<String> = self.types.iter().map(DataType::to_string).collect();
        Err(Error::internal(format!(
            "columns of state are ({}), and {rows} rows of ({}) were expected",
            found.join(", "),
            types.join(", ")
        )))
    }
}

/// How many bytes each value of a type has, if all have the same number and are stored as they are in memory.
fn width(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::FixedSizeBinary(width) => usize::try_from(*width).ok(),
        other => other.primitive_width(),
    }
}

/// Whether values of the type can be encoded.
fn is_known(data_type: &DataType) -> bool {
    match data_type {
        DataType::Null | DataType::Boolean => true,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => true,
        DataType::List(element) | DataType::LargeList(element) | DataType::Map(element, _) => {
            is_known(element.data_type())
        }
        DataType::Struct(fields) => fields.iter().all(|field| is_known(field.data_type())),
        other => width(other).is_some(),
    }
}

/// Whether arrays of type `actual` hold the values of type `declared`, though perhaps in another layout or with other names.
fn is_layout_of(actual: &DataType, declared: &DataType) -> bool {
    let is_text = |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let is_binary =
        |t: &DataType| matches!(t, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    match (actual, declared) {
        (DataType::List(a) | DataType::LargeList(a), DataType::List(d) | DataType::LargeList(d))
        | (DataType::Map(a, _), DataType::Map(d, _)) => is_layout_of(a.data_type(), d.data_type()),
        (DataType::Struct(a), DataType::Struct(d)) => {
            a.len() == d.len() && a.iter().zip(d).all(|(a, d)| is_layout_of(a.data_type(), d.data_type()))
        }
        (a, d) if is_text(a) => is_text(d),
        (a, d) if is_binary(a) => is_binary(d),
        (a, d) => a == d,
    }
}
