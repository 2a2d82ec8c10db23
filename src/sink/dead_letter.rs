//! Dead letters: records that could not become rows, kept whole, with the reason and the origin.
//!
//! A Delta table under the same protocol as the sink: one commit per micro-batch with the stream's
//! transaction, made before the sink's, so that a record is never in neither. A batch without dead
//! letters makes no commit here. Rows are never changed once their batch is in the sink.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Builder, ListArray, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{
    DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
};

use crate::decode::envelope::{self, EnvelopeColumn};
use crate::decode::json::Rejection;
use crate::model::{Error, Header, OffsetRange, Record, RecordColumn, Result, TimestampType};
use crate::table::DeltaTable;

/// The code of a dead letter that stands for offsets which were gone before they could be read.
pub const OFFSETS_LOST: &str = "OFFSETS_LOST";

/// Kafka's columns of a dead letter: the record as it was.
const ORIGIN: [RecordColumn; 8] = [
    RecordColumn::Topic,
    RecordColumn::Partition,
    RecordColumn::Offset,
    RecordColumn::Timestamp,
    RecordColumn::TimestampType,
    RecordColumn::Key,
    RecordColumn::Value,
    RecordColumn::Headers,
];

/// The columns of a dead-letter table.
pub fn schema() -> SchemaRef {
    let mut fields: Vec<Field> = ORIGIN.iter().map(|column| envelope::field(*column)).collect();
    fields.extend([
        Field::new("errorCode", DataType::Utf8, true),
        Field::new("errorField", DataType::Utf8, true),
        Field::new("errorMessage", DataType::Utf8, true),
        Field::new("queryId", DataType::Utf8, true),
        Field::new("batchId", DataType::Int64, true),
        Field::new("attempt", DataType::Utf8, true),
        Field::new("rejectedAt", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
    ]);
    Arc::new(Schema::new(fields))
}

/// What all dead letters of one attempt share.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    /// The stream's id: several streams may share a table.
    pub query_id: String,
    /// The micro-batch.
    pub batch_id: i64,
    /// The run of it.
    pub attempt: String,
    /// When the batch was planned, in microseconds: the same for every run of it.
    pub rejected_at_micros: i64,
}

/// Builds the dead letters of one lane.
pub struct DeadLetterRows {
    schema: SchemaRef,
    origin: Vec<EnvelopeColumn>,
    code: StringBuilder,
    field: StringBuilder,
    message: StringBuilder,
    query: StringBuilder,
    batch: Int64Builder,
    attempt: StringBuilder,
    rejected_at: TimestampMicrosecondBuilder,
    rows: usize,
    bytes: usize,
}

impl Default for DeadLetterRows {
    fn default() -> Self {
        DeadLetterRows {
            schema: schema(),
            origin: ORIGIN.iter().map(|column| EnvelopeColumn::new(*column)).collect(),
            code: StringBuilder::new(),
            field: StringBuilder::new(),
            message: StringBuilder::new(),
            query: StringBuilder::new(),
            batch: Int64Builder::new(),
            attempt: StringBuilder::new(),
            rejected_at: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            rows: 0,
            bytes: 0,
        }
    }
}

impl DeadLetterRows {
    /// Adds a rejected record.
    pub fn push(&mut self, record: &Record<'_>, rejection: &Rejection, of: &DeadLetters) {
        for column in &mut self.origin {
            self.bytes += column.bytes_of(record);
            column.push(record);
        }
        self.code.append_value(rejection.code.name());
        self.field.append_option(rejection.field.as_deref());
        self.message.append_value(&rejection.message);
        self.stamp(of);
    }

    /// Adds offsets that were lost: the letter has the place of the first of them and no value.
    pub fn push_lost(&mut self, range: &OffsetRange, why: &str, of: &DeadLetters) {
        let record = Record {
            topic: &range.partition.topic,
            partition: range.partition.partition,
            offset: range.from,
            timestamp_ms: 0,
            timestamp_type: TimestampType::None,
            key: None,
            value: None,
            headers: None,
        };
        for column in &mut self.origin {
            column.push(&record);
        }
        self.code.append_value(OFFSETS_LOST);
        self.field.append_null();
        self.message.append_value(format!("offsets {range} were gone before they could be read: {why}"));
        self.stamp(of);
    }

    fn stamp(&mut self, of: &DeadLetters) {
        self.query.append_value(&of.query_id);
        self.batch.append_value(of.batch_id);
        self.attempt.append_value(&of.attempt);
        self.rejected_at.append_value(of.rejected_at_micros);
        self.rows += 1;
    }

    /// Letters built and not handed out.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether the letters so far should be handed on.
    pub fn is_full(&self) -> bool {
        self.rows >= crate::decode::rows::BATCH_ROWS || self.bytes >= crate::decode::rows::BATCH_BYTES
    }

    /// Hands out the letters and starts again with none.
    ///
    /// # Errors
    /// `Internal` if the columns do not make a batch.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = self.origin.iter_mut().map(EnvelopeColumn::finish).collect();
        columns.push(Arc::new(self.code.finish()));
        columns.push(Arc::new(self.field.finish()));
        columns.push(Arc::new(self.message.finish()));
        columns.push(Arc::new(self.query.finish()));
        columns.push(Arc::new(self.batch.finish()));
        columns.push(Arc::new(self.attempt.finish()));
        columns.push(Arc::new(self.rejected_at.finish()));
        self.rows = 0;
        self.bytes = 0;
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|e| Error::internal("make a batch of dead letters").source(e))
    }
}

/// A dead letter, read back.
#[derive(Debug, Clone, Copy)]
pub struct Letter<'a> {
    /// The record as it was; of lost offsets only its place.
    pub record: Record<'a>,
    /// Why: the name of a [`RejectionCode`](crate::decode::json::RejectionCode), or [`OFFSETS_LOST`].
    pub code: &'a str,
    /// The field at fault, if one is.
    pub field: Option<&'a str>,
    /// What is wrong.
    pub message: &'a str,
    /// The stream's id.
    pub query_id: &'a str,
    /// The micro-batch.
    pub batch_id: i64,
    /// The run of it.
    pub attempt: &'a str,
    /// When the batch was planned, in microseconds.
    pub rejected_at_micros: i64,
}

/// Hands every dead letter of a table to `visit`, in no particular order.
///
/// # Errors
/// `Config` if the table is not one of dead letters; `Unavailable` or `Corrupt` if it can't be read;
/// what `visit` returns.
pub fn read(table: &DeltaTable, visit: &mut dyn FnMut(&Letter<'_>) -> Result<()>) -> Result<()> {
    let there = table.arrow_schema()?;
    let wanted = schema();
    for field in wanted.fields() {
        if there.field_with_name(field.name()).is_ok_and(|found| found.data_type() == field.data_type()) {
            continue;
        }
        return Err(Error::config(format!(
            "table {} is not a table of dead letters: its column {} is missing or has another type",
            table.store().url(),
            field.name()
        ))
        .hint("deadLetter.path must name a table that Alluvia made"));
    }
    let names: Vec<&str> = wanted.fields().iter().map(|field| field.name().as_str()).collect();
    table.read(&names, |rows| read_rows(rows, visit))
}

fn read_rows(rows: &RecordBatch, visit: &mut dyn FnMut(&Letter<'_>) -> Result<()>) -> Result<()> {
    let column = |name: &str| {
        rows.column_by_name(name)
            .ok_or_else(|| Error::internal(format!("rows were read without column {name}")))
    };
    let text = |name: &str| Ok::<_, Error>(column(name)?.as_string::<i32>());
    let (topic, attempt, query) = (text("topic")?, text("attempt")?, text("queryId")?);
    let (code, field, message) = (text("errorCode")?, text("errorField")?, text("errorMessage")?);
    let partition = column("partition")?.as_primitive::<Int32Type>();
    let kind = column("timestampType")?.as_primitive::<Int32Type>();
    let offset = column("offset")?.as_primitive::<Int64Type>();
    let batch = column("batchId")?.as_primitive::<Int64Type>();
    let timestamp = column("timestamp")?.as_primitive::<TimestampMicrosecondType>();
    let rejected_at = column("rejectedAt")?.as_primitive::<TimestampMicrosecondType>();
    let (key, value) = (column("key")?.as_binary::<i32>(), column("value")?.as_binary::<i32>());
    let headers = column("headers")?.as_list::<i32>();
    for row in 0..rows.num_rows() {
        let found = headers_of(headers, row);
        let letter = Letter {
            record: Record {
                topic: topic.value(row),
                partition: partition.value(row),
                offset: offset.value(row),
                timestamp_ms: timestamp.value(row).div_euclid(1000),
                timestamp_type: match (timestamp.is_valid(row), kind.value(row)) {
                    (false, _) => TimestampType::None,
                    (true, 1) => TimestampType::LogAppendTime,
                    (true, _) => TimestampType::CreateTime,
                },
                key: key.is_valid(row).then(|| key.value(row)),
                value: value.is_valid(row).then(|| value.value(row)),
                headers: found.as_deref(),
            },
            code: code.value(row),
            field: field.is_valid(row).then(|| field.value(row)),
            message: message.value(row),
            query_id: query.value(row),
            batch_id: batch.value(row),
            attempt: attempt.value(row),
            rejected_at_micros: rejected_at.value(row),
        };
        visit(&letter)?;
    }
    Ok(())
}

/// The headers of a row; `None` if the record had none.
fn headers_of(headers: &ListArray, row: usize) -> Option<Vec<Header<'_>>> {
    if headers.is_null(row) {
        return None;
    }
    let entries = headers.values().as_struct();
    let (keys, values) = (entries.column(0).as_string::<i32>(), entries.column(1).as_binary::<i32>());
    let offsets = headers.value_offsets();
    let entry =
        |at: usize| Header { key: keys.value(at), value: values.is_valid(at).then(|| values.value(at)) };
    Some((offsets[row] as usize..offsets[row + 1] as usize).map(entry).collect())
}
