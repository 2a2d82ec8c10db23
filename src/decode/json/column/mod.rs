//! Columns in the making: raw buffers that become Arrow arrays without a copy.
//!
//! Between the two parsers (`fast`, `exact`), which fill them, and Arrow. A column only ever
//! grows at its end and can be cut back to any earlier length, which is how a message that fails
//! half way leaves nothing behind. It parses nothing and knows no option.

mod bytes;
mod fixed;
mod nested;
mod validity;

pub(super) use bytes::Bytes;
pub(super) use fixed::{Booleans, Fixed};
pub(super) use nested::{ListColumn, MapColumn, StructColumn};

use std::ops::Range;

use arrow::array::ArrayRef;
use arrow::datatypes::{
    DataType as ArrowType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimestampMicrosecondType,
};

use crate::decode::schema::DataType;
use crate::model::error::{Error, Result};

/// The rows of one column, by Spark's type.
#[derive(Debug)]
pub(super) enum Column {
    /// BOOLEAN.
    Boolean(Booleans),
    /// TINYINT.
    Byte(Fixed<i8>),
    /// SMALLINT.
    Short(Fixed<i16>),
    /// INT.
    Integer(Fixed<i32>),
    /// BIGINT.
    Long(Fixed<i64>),
    /// FLOAT.
    Float(Fixed<f32>),
    /// DOUBLE.
    Double(Fixed<f64>),
    /// DECIMAL(precision, scale): the digits without the point.
    Decimal(Fixed<i128>, u8, u8),
    /// DATE: days since 1970-01-01.
    Date(Fixed<i32>),
    /// TIMESTAMP: microseconds since 1970-01-01T00:00:00Z.
    Timestamp(Fixed<i64>),
    /// TIMESTAMP_NTZ: microseconds since 1970-01-01T00:00:00.
    TimestampNtz(Fixed<i64>),
    /// STRING: UTF-8.
    Text(Bytes),
    /// BINARY.
    Binary(Bytes),
    /// STRUCT.
    Struct(Box<StructColumn>),
    /// ARRAY.
    List(Box<ListColumn>),
    /// MAP with keys of type STRING.
    Map(Box<MapColumn>),
}

impl Column {
    /// An empty column for values of `data_type`.
    ///
    /// # Errors
    /// `Config` if `from_json` cannot fill the type (VARCHAR, CHAR, maps with other keys than
    /// STRING) or Arrow has none for it.
    pub(super) fn new(data_type: &DataType) -> Result<Column> {
        Ok(match data_type {
            DataType::Boolean => Column::Boolean(Booleans::default()),
            DataType::Byte => Column::Byte(Fixed::default()),
            DataType::Short => Column::Short(Fixed::default()),
            DataType::Integer => Column::Integer(Fixed::default()),
            DataType::Long => Column::Long(Fixed::default()),
            DataType::Float => Column::Float(Fixed::default()),
            DataType::Double => Column::Double(Fixed::default()),
            DataType::Decimal { precision, scale } => Column::Decimal(Fixed::default(), *precision, *scale),
            DataType::String => Column::Text(Bytes::default()),
            DataType::Binary => Column::Binary(Bytes::default()),
            DataType::Date => Column::Date(Fixed::default()),
            DataType::Timestamp => Column::Timestamp(Fixed::default()),
            DataType::TimestampNtz => Column::TimestampNtz(Fixed::default()),
            DataType::Struct(fields) => Column::Struct(Box::new(StructColumn::new(fields, None)?)),
            DataType::Array { element, .. } => Column::List(Box::new(ListColumn::new(element)?)),
            DataType::Map { key, value, .. } if **key == DataType::String => {
                Column::Map(Box::new(MapColumn::new(value)?))
            }
            DataType::Map { .. } => {
                return Err(Error::config("JSON has no maps with keys other than STRING")
                    .hint("declare MAP<STRING, …>"));
            }
            DataType::Varchar(_) | DataType::Char(_) => {
                return Err(Error::config("from_json refuses VARCHAR and CHAR").hint("declare STRING"));
            }
            other => return Err(Error::config(format!("JSON cannot be decoded into {other:?}"))),
        })
    }

    /// How Spark writes the type, for messages.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Column::Boolean(_) => "BOOLEAN",
            Column::Byte(_) => "TINYINT",
            Column::Short(_) => "SMALLINT",
            Column::Integer(_) => "INT",
            Column::Long(_) => "BIGINT",
            Column::Float(_) => "FLOAT",
            Column::Double(_) => "DOUBLE",
            Column::Decimal(..) => "DECIMAL",
            Column::Date(_) => "DATE",
            Column::Timestamp(_) => "TIMESTAMP",
            Column::TimestampNtz(_) => "TIMESTAMP_NTZ",
            Column::Text(_) => "STRING",
            Column::Binary(_) => "BINARY",
            Column::Struct(_) => "STRUCT",
            Column::List(_) => "ARRAY",
            Column::Map(_) => "MAP",
        }
    }
}

/// The same expression for the one builder in every kind of column.
macro_rules! each {
    ($column:expr, $builder:ident => $what:expr) => {
        match $column {
            Column::Boolean(column) => {
                let $builder = column.inner();
                $what
            }
            Column::Byte($builder) => $what,
            Column::Short($builder) => $what,
            Column::Integer($builder) => $what,
            Column::Long($builder) => $what,
            Column::Float($builder) => $what,
            Column::Double($builder) => $what,
            Column::Decimal($builder, ..) => $what,
            Column::Date($builder) => $what,
            Column::Timestamp($builder) => $what,
            Column::TimestampNtz($builder) => $what,
            Column::Text($builder) => $what,
            Column::Binary($builder) => $what,
            Column::Struct($builder) => $what,
            Column::List($builder) => $what,
            Column::Map($builder) => $what,
        }
    };
    (mut $column:expr, $builder:ident => $what:expr) => {
        match $column {
            Column::Boolean(column) => {
                let $builder = column.inner_mut();
                $what
            }
            Column::Byte($builder) => $what,
            Column::Short($builder) => $what,
            Column::Integer($builder) => $what,
            Column::Long($builder) => $what,
            Column::Float($builder) => $what,
            Column::Double($builder) => $what,
            Column::Decimal($builder, ..) => $what,
            Column::Date($builder) => $what,
            Column::Timestamp($builder) => $what,
            Column::TimestampNtz($builder) => $what,
            Column::Text($builder) => $what,
            Column::Binary($builder) => $what,
            Column::Struct($builder) => $what,
            Column::List($builder) => $what,
            Column::Map($builder) => $what,
        }
    };
}

impl Column {
    /// How many rows there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        each!(self, column => column.len())
    }

    /// Adds a null.
    pub(super) fn push_null(&mut self) {
        each!(mut self, column => column.push_null())
    }

    /// Whether row `row` is null.
    pub(super) fn is_null(&self, row: usize) -> bool {
        each!(self, column => column.is_null(row))
    }

    /// Forgets the rows from `len` on, and what was begun of the next.
    pub(super) fn truncate(&mut self, len: usize) {
        each!(mut self, column => column.truncate(len))
    }

    /// Takes the rows of `range` out of the middle.
    pub(super) fn remove(&mut self, range: Range<usize>) {
        each!(mut self, column => column.remove(range))
    }

    /// The bytes in use.
    pub(super) fn memory_bytes(&self) -> usize {
        each!(self, column => column.memory_bytes())
    }

    /// Hands the rows out as an array of `data_type`, the column's type in Arrow, and starts anew.
    pub(super) fn finish(&mut self, data_type: &ArrowType) -> Result<ArrayRef> {
        Ok(match self {
            Column::Boolean(column) => column.finish(),
            Column::Byte(column) => column.finish::<Int8Type>(data_type),
            Column::Short(column) => column.finish::<Int16Type>(data_type),
            Column::Integer(column) => column.finish::<Int32Type>(data_type),
            Column::Long(column) => column.finish::<Int64Type>(data_type),
            Column::Float(column) => column.finish::<Float32Type>(data_type),
            Column::Double(column) => column.finish::<Float64Type>(data_type),
            Column::Decimal(column, ..) => column.finish::<Decimal128Type>(data_type),
            Column::Date(column) => column.finish::<Date32Type>(data_type),
            Column::Timestamp(column) | Column::TimestampNtz(column) => {
                column.finish::<TimestampMicrosecondType>(data_type)
            }
            Column::Text(column) => column.finish_text()?,
            Column::Binary(column) => column.finish_binary()?,
            Column::Struct(column) => column.finish(data_type)?,
            Column::List(column) => column.finish(data_type)?,
            Column::Map(column) => column.finish(data_type)?,
        })
    }
}
