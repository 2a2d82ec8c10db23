//! Dead letters: records that could not become rows, kept whole, with the reason and the origin.
//!
//! A Delta table under the same protocol as the sink: one commit per micro-batch with the stream's
//! transaction, made before the sink's, so that a record is never in neither. A batch without dead
//! letters makes no commit here. Rows are never changed once their batch is in the sink.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::config::KafkaColumn;
use crate::decode::envelope::{self, EnvelopeColumn};
use crate::decode::json::Rejection;
use crate::model::{Error, OffsetRange, Record, Result, TimestampType};

/// The code of a dead letter that stands for offsets which were gone before they could be read.
pub const OFFSETS_LOST: &str = "OFFSETS_LOST";

/// Kafka's columns of a dead letter: the record as it was.
const ORIGIN: [KafkaColumn; 7] = [
    KafkaColumn::Topic,
    KafkaColumn::Partition,
    KafkaColumn::Offset,
    KafkaColumn::Timestamp,
    KafkaColumn::Key,
    KafkaColumn::Value,
    KafkaColumn::Headers,
];

/// The columns of a dead-letter table.
pub fn schema() -> SchemaRef {
    let mut fields: Vec<Field> = ORIGIN.iter().map(|column| envelope::field(*column)).collect();
    fields.extend([
        Field::new("errorCode", DataType::Utf8, true),
        Field::new("errorField", DataType::Utf8, true),
        Field::new("errorMessage", DataType::Utf8, true),
        Field::new("batchId", DataType::Int64, true),
        Field::new("attempt", DataType::Utf8, true),
        Field::new("rejectedAt", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
    ]);
    Arc::new(Schema::new(fields))
}

/// What all dead letters of one attempt share.
#[derive(Debug, Clone)]
pub struct DeadLetters {
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

    /// Adds offsets that were lost: the letter stands at the first of them and has no value.
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

    /// Hands out the letters and starts anew.
    ///
    /// # Errors
    /// `Internal` if the columns do not make a batch.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = self.origin.iter_mut().map(EnvelopeColumn::finish).collect();
        columns.push(Arc::new(self.code.finish()));
        columns.push(Arc::new(self.field.finish()));
        columns.push(Arc::new(self.message.finish()));
        columns.push(Arc::new(self.batch.finish()));
        columns.push(Arc::new(self.attempt.finish()));
        columns.push(Arc::new(self.rejected_at.finish()));
        self.rows = 0;
        self.bytes = 0;
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|e| Error::internal("make a batch of dead letters").source(e))
    }
}
