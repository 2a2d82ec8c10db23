//! Kafka's own columns beside (or instead of) the decoded value.
//!
//! Names and types are those of Spark's Kafka source (`KafkaRecordToRowConverter`).

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Builder, Int64Builder, ListBuilder, StringBuilder, StructBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

use crate::model::{Header, Record, RecordColumn, TimestampType};

/// The Arrow field of a Kafka column.
pub fn field(column: RecordColumn) -> Field {
    let data_type = match column {
        RecordColumn::Key | RecordColumn::Value => DataType::Binary,
        RecordColumn::Topic => DataType::Utf8,
        RecordColumn::Partition | RecordColumn::TimestampType => DataType::Int32,
        RecordColumn::Offset => DataType::Int64,
        RecordColumn::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        RecordColumn::Headers => DataType::List(Arc::new(Field::new("element", header_type(), true))),
    };
    Field::new(column.name(), data_type, true)
}

fn header_fields() -> Fields {
    vec![Field::new("key", DataType::Utf8, true), Field::new("value", DataType::Binary, true)].into()
}

fn header_type() -> DataType {
    DataType::Struct(header_fields())
}

/// Builds one Kafka column.
pub struct EnvelopeColumn {
    builder: Builder,
}

enum Builder {
    Key(BinaryBuilder),
    Value(BinaryBuilder),
    Topic(StringBuilder),
    Partition(Int32Builder),
    Offset(Int64Builder),
    Timestamp(TimestampMicrosecondBuilder),
    TimestampType(Int32Builder),
    Headers(Box<ListBuilder<StructBuilder>>),
}

impl EnvelopeColumn {
    /// A builder for `column`.
    pub fn new(column: RecordColumn) -> EnvelopeColumn {
        let builder = match column {
            RecordColumn::Key => Builder::Key(BinaryBuilder::new()),
            RecordColumn::Value => Builder::Value(BinaryBuilder::new()),
            RecordColumn::Topic => Builder::Topic(StringBuilder::new()),
            RecordColumn::Partition => Builder::Partition(Int32Builder::new()),
            RecordColumn::Offset => Builder::Offset(Int64Builder::new()),
            RecordColumn::Timestamp => {
                Builder::Timestamp(TimestampMicrosecondBuilder::new().with_timezone("UTC"))
            }
            RecordColumn::TimestampType => Builder::TimestampType(Int32Builder::new()),
            RecordColumn::Headers => {
                let entries: Vec<Box<dyn arrow::array::ArrayBuilder>> =
                    vec![Box::new(StringBuilder::new()), Box::new(BinaryBuilder::new())];
                let element = StructBuilder::new(header_fields(), entries);
                Builder::Headers(Box::new(ListBuilder::new(element).with_field(Field::new(
                    "element",
                    header_type(),
                    true,
                ))))
            }
        };
        EnvelopeColumn { builder }
    }

    /// Whether the record has a time that the column can't hold: brokers take any number for one, also nanoseconds.
    pub fn is_out_of_range(&self, record: &Record<'_>) -> bool {
        matches!(self.builder, Builder::Timestamp(_))
            && record.timestamp_type != TimestampType::None
            && record.timestamp_ms.checked_mul(1000).is_none()
    }

    /// Adds the column's value of a record; NULL for a time that is out of range.
    pub fn push(&mut self, record: &Record<'_>) {
        match &mut self.builder {
            Builder::Key(column) => column.append_option(record.key),
            Builder::Value(column) => column.append_option(record.value),
            Builder::Topic(column) => column.append_value(record.topic),
            Builder::Partition(column) => column.append_value(record.partition),
            Builder::Offset(column) => column.append_value(record.offset),
            Builder::Timestamp(column) => column.append_option(timestamp_micros(record)),
            Builder::TimestampType(column) => column.append_value(record.timestamp_type as i32),
            Builder::Headers(column) => push_headers(column, record.headers),
        }
    }

    /// Hands out what was added and starts anew.
    pub fn finish(&mut self) -> ArrayRef {
        match &mut self.builder {
            Builder::Key(column) | Builder::Value(column) => Arc::new(column.finish()),
            Builder::Topic(column) => Arc::new(column.finish()),
            Builder::Partition(column) | Builder::TimestampType(column) => Arc::new(column.finish()),
            Builder::Offset(column) => Arc::new(column.finish()),
            Builder::Timestamp(column) => Arc::new(column.finish()),
            Builder::Headers(column) => Arc::new(column.finish()),
        }
    }

    /// Bytes that a record adds; what decides when rows are handed on.
    pub fn bytes_of(&self, record: &Record<'_>) -> usize {
        match &self.builder {
            Builder::Key(_) => record.key.map_or(0, <[u8]>::len),
            Builder::Value(_) => record.value.map_or(0, <[u8]>::len),
            Builder::Headers(_) => record.headers.map_or(0, header_bytes),
            Builder::Topic(_) => record.topic.len(),
            _ => 8,
        }
    }
}

/// `None` if the record has no time, or one that no TIMESTAMP holds.
fn timestamp_micros(record: &Record<'_>) -> Option<i64> {
    record.timestamp_ms.checked_mul(1000).filter(|_| record.timestamp_type != TimestampType::None)
}

fn header_bytes(headers: &[Header<'_>]) -> usize {
    headers.iter().map(|h| h.key.len() + h.value.map_or(0, <[u8]>::len)).sum()
}

/// A record without headers has a NULL, not an empty array, as in Spark.
fn push_headers(column: &mut ListBuilder<StructBuilder>, headers: Option<&[Header<'_>]>) {
    for header in headers.unwrap_or_default() {
        let entry = column.values();
        entry
            .field_builder::<StringBuilder>(0)
            .expect("field 0 was built as a string")
            .append_value(header.key);
        entry
            .field_builder::<BinaryBuilder>(1)
            .expect("field 1 was built as binary")
            .append_option(header.value);
        entry.append(true);
    }
    column.append(headers.is_some());
}
