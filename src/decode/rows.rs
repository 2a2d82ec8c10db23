//! Records into rows of a stream: the decoded value, and Kafka's columns beside it.
//!
//! Total: every record gives a row, a rejection, or both kinds of nothing that the policy asks for;
//! a bad record never poisons the rows around it.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef};

use super::envelope::{self, EnvelopeColumn};
use super::json::{JsonDecoder, Outcome, Rejection, RejectionCode};
use crate::model::{Error, Record, RecordColumn, Result};

/// Rows that are handed on as one Arrow batch.
pub const BATCH_ROWS: usize = 16 * 1024;
/// Bytes from which rows are handed on although they are fewer.
pub const BATCH_BYTES: usize = 16 * 1024 * 1024;

/// Builds the rows of one lane.
pub struct RowDecoder {
    value: Option<JsonDecoder>,
    envelope: Vec<EnvelopeColumn>,
    schema: SchemaRef,
    rows: usize,
    bytes: usize,
    bytes_max: usize,
}

impl RowDecoder {
    /// Rows of `value`'s columns (none: the raw form), then of the Kafka columns `keep`.
    ///
    /// # Errors
    /// `Config` if two columns have one name.
    pub fn new(value: Option<JsonDecoder>, keep: &[RecordColumn]) -> Result<RowDecoder> {
        let decoded = value.as_ref().map(JsonDecoder::schema);
        let schema = schema(decoded.as_deref(), keep)?;
        let envelope = keep.iter().map(|column| EnvelopeColumn::new(*column)).collect();
        Ok(RowDecoder { value, envelope, schema, rows: 0, bytes: 0, bytes_max: BATCH_BYTES })
    }

    /// Hands rows on from `bytes` on, where memory is too short for [`BATCH_BYTES`].
    pub fn limit_bytes(&mut self, bytes: usize) {
        self.bytes_max = bytes.min(BATCH_BYTES);
    }

    /// The rows' columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Fixes the clock for what follows: microseconds since the Unix epoch, the same for every run of
    /// a micro-batch. It gives the day to a time of day without a date.
    pub fn set_now(&mut self, micros: i64) {
        if let Some(decoder) = &mut self.value {
            decoder.set_now(micros);
        }
    }

    /// Rows built and not handed out.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether the rows so far should be handed on.
    pub fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS || self.bytes >= self.bytes_max
    }

    /// Adds a record; a rejected one leaves no trace in the rows.
    pub fn push(&mut self, record: &Record<'_>) -> Outcome {
        if self.envelope.iter().any(|column| column.is_out_of_range(record)) {
            return Outcome::Rejected(Rejection {
                code: RejectionCode::CastOverflow,
                field: Some(RecordColumn::Timestamp.name().to_owned()),
                message: "the record's time, in ms, lies beyond what a TIMESTAMP holds; perhaps its producer sent nanoseconds"
                    .to_owned(),
            });
        }
        let outcome = match &mut self.value {
            None => Outcome::Row,
            Some(decoder) => decoder.push(record.value),
        };
        if matches!(outcome, Outcome::Row | Outcome::KeptMalformed(_)) {
            self.rows += 1;
            self.bytes += record.value.map_or(0, <[u8]>::len);
            for column in &mut self.envelope {
                self.bytes += column.bytes_of(record);
                column.push(record);
            }
        }
        outcome
    }

    /// Adds a record as [`RowDecoder::push`] does, after `flush` has taken the rows there are if they leave no
    /// room for it. The outcome is never [`Outcome::Full`].
    ///
    /// # Errors
    /// What `flush` returns; `Internal` if an empty batch has no room.
    pub fn push_making_room(
        &mut self,
        record: &Record<'_>,
        flush: impl FnOnce(&mut RowDecoder) -> Result<()>,
    ) -> Result<Outcome> {
        let outcome = match self.is_full() {
            true => Outcome::Full,
            false => self.push(record),
        };
        if !matches!(outcome, Outcome::Full) {
            return Ok(outcome);
        }
        flush(self)?;
        match self.push(record) {
            Outcome::Full => Err(Error::internal("an empty batch has no room for a record")),
            outcome => Ok(outcome),
        }
    }

    /// Hands out the rows and starts again with none.
    ///
    /// # Errors
    /// `Internal` if the columns do not make a batch.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = match &mut self.value {
            None => Vec::with_capacity(self.envelope.len()),
            Some(decoder) => decoder.finish()?.columns().to_vec(),
        };
        columns.extend(self.envelope.iter_mut().map(EnvelopeColumn::finish));
        self.rows = 0;
        self.bytes = 0;
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|e| Error::internal("make a batch of rows").source(e))
    }
}

/// The columns of a stream: the decoded ones, then Kafka's.
///
/// # Errors
/// `Config` if two columns have one name, which no Delta table can hold.
pub fn schema(decoded: Option<&Schema>, keep: &[RecordColumn]) -> Result<SchemaRef> {
    let mut fields: Vec<Arc<Field>> = decoded.map_or_else(Vec::new, |schema| schema.fields().to_vec());
    fields.extend(keep.iter().map(|column| Arc::new(envelope::field(*column))));
    for (index, field) in fields.iter().enumerate() {
        if fields[..index].iter().any(|other| other.name().eq_ignore_ascii_case(field.name())) {
            return Err(Error::config(format!("column {} appears twice in the stream", field.name()))
                .hint("rename it in source.value.schema, or leave it out of source.value.keep"));
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimestampType;

    #[test]
    fn a_time_that_no_timestamp_holds_is_rejected_and_not_changed() {
        let record = |timestamp_ms, timestamp_type| Record {
            topic: "t",
            partition: 0,
            offset: 0,
            timestamp_ms,
            timestamp_type,
            key: None,
            value: Some(b"v"),
            headers: None,
        };
        let last = i64::MAX / 1000;
        let mut rows = RowDecoder::new(None, &[RecordColumn::Timestamp]).unwrap();
        for (time, kind, is_row) in [
            (last, TimestampType::CreateTime, true),
            (last + 1, TimestampType::CreateTime, false),
            (i64::MIN, TimestampType::LogAppendTime, false),
            (i64::MAX, TimestampType::None, true),
        ] {
            let outcome = rows.push(&record(time, kind));
            assert_eq!(outcome == Outcome::Row, is_row, "{time}: {outcome:?}");
            if let Outcome::Rejected(why) = outcome {
                assert_eq!(
                    (why.code, why.field.as_deref()),
                    (RejectionCode::CastOverflow, Some("timestamp"))
                );
            }
        }
        assert_eq!(rows.finish().unwrap().num_rows(), 2);
        let mut without = RowDecoder::new(None, &[RecordColumn::Offset]).unwrap();
        assert_eq!(without.push(&record(i64::MAX, TimestampType::CreateTime)), Outcome::Row);
    }
}
