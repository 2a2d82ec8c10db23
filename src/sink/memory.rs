//! Spark's `memory` sink: the rows of each micro-batch, kept in the process, for tests and for users of the library.
//!
//! A batch that is written again replaces itself. Rows are found by the stream's name ([`rows`]) as long as the
//! process lives; nothing else bounds them.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::{
    AttemptWriter, BatchCommit, BatchRun, CommitOutcome, Delivery, Description, Part, Sink, SinkCommit,
    SinkState, SinkWriter, Target,
};
use crate::decode::admission::Admission;
use crate::model::{Error, MemoryAccount, Result};

/// Rows by stream and micro-batch.
type Tables = BTreeMap<String, BTreeMap<i64, Vec<RecordBatch>>>;

/// Those of every memory sink of this process.
static TABLES: LazyLock<Mutex<Tables>> = LazyLock::new(Mutex::default);

fn tables() -> MutexGuard<'static, Tables> {
    TABLES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What stream `stream` has written, in the order of its micro-batches.
pub fn rows(stream: &str) -> Vec<RecordBatch> {
    tables().get(stream).into_iter().flat_map(BTreeMap::values).flatten().cloned().collect()
}

/// The rows of one stream.
pub struct MemorySink {
    stream: String,
}

impl MemorySink {
    /// The sink of stream `stream`.
    pub fn new(stream: &str) -> MemorySink {
        MemorySink { stream: stream.to_owned() }
    }
}

impl Sink for MemorySink {
    fn describe(&self) -> Description {
        Description { name: "MemorySink".to_owned(), delivery: Delivery::IdempotentByBatch }
    }

    fn target(&self) -> Target {
        Target { location: "memory".to_owned(), id: Some(self.stream.clone()), version: None }
    }

    fn check(&self, _: &SchemaRef) -> Result<Option<Admission>> {
        Ok(None)
    }

    /// The commit log alone decides: what another process wrote is gone.
    fn state(&mut self, _: &str, _: Option<u64>) -> Result<SinkState> {
        Ok(SinkState { forgets_transactions: true, ..SinkState::default() })
    }

    fn newest_commits(&self) -> Result<BTreeMap<String, SinkCommit>> {
        Ok(BTreeMap::new())
    }

    fn probe(&self) -> Result<()> {
        Ok(())
    }

    fn prepare(&mut self, _: &SchemaRef) -> Result<Option<Admission>> {
        Ok(None)
    }

    fn begin(&self, _: &BatchRun, _: &Arc<MemoryAccount>) -> Result<Arc<dyn AttemptWriter>> {
        Ok(Arc::new(KeepRows { rows_max: None }))
    }

    fn commit(&mut self, batch: &BatchCommit, parts: Vec<Part>) -> Result<CommitOutcome> {
        let rows = parts.into_iter().map(part_rows).collect::<Result<_>>()?;
        let mut tables = tables();
        let batches = tables.entry(self.stream.clone()).or_default();
        if batch.replaces_table {
            batches.clear();
        }
        batches.insert(batch.batch_id, rows);
        drop(tables);
        Ok(CommitOutcome::Committed { version: None })
    }

    fn maintain(&mut self, _: &Arc<MemoryAccount>) {}
}

/// The rows of a part of a sink that stores nothing before its commit.
pub(super) fn part_rows(part: Part) -> Result<RecordBatch> {
    match part {
        Part::Rows(rows) => Ok(rows),
        Part::File(_) | Part::Waiting(_) => Err(Error::internal("a sink of rows was given a file")),
    }
}

/// Keeps the rows of a run until its commit.
pub(super) struct KeepRows {
    /// How many rows of a lane are kept; `None` for all.
    pub(super) rows_max: Option<usize>,
}

impl AttemptWriter for KeepRows {
    fn align(&self, rows: RecordBatch) -> Result<RecordBatch> {
        Ok(rows)
    }

    fn writer(&self, _: usize) -> Result<Box<dyn SinkWriter>> {
        Ok(Box::new(KeptRows { rows_left: self.rows_max, kept: Vec::new() }))
    }
}

struct KeptRows {
    rows_left: Option<usize>,
    kept: Vec<Part>,
}

impl SinkWriter for KeptRows {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let count = self.rows_left.map_or(rows.num_rows(), |left| left.min(rows.num_rows()));
        self.rows_left = self.rows_left.map(|left| left - count);
        if count > 0 {
            self.kept.push(Part::Rows(rows.slice(0, count)));
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<Part>> {
        Ok(self.kept)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;

    #[test]
    fn a_batch_that_is_written_again_replaces_itself() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let mut sink = MemorySink::new("a batch that is written again");
        let mut write = |batch_id: i64, value: i64| {
            let attempt = sink
                .begin(&BatchRun { query_id: "q", batch_id: 0, attempt: "x" }, &MemoryAccount::new(1))
                .unwrap();
            let mut writer = attempt.writer(0).unwrap();
            let column = Int64Array::from(vec![value]);
            writer
                .write(&RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(column)]).unwrap())
                .unwrap();
            sink.commit(&BatchCommit::of_test(batch_id), writer.finish().unwrap()).unwrap();
        };
        for (batch_id, value) in [(0, 1), (1, 2), (1, 3)] {
            write(batch_id, value);
        }
        let values: Vec<i64> = rows("a batch that is written again")
            .iter()
            .map(|rows| rows.column(0).as_primitive::<Int64Type>().value(0))
            .collect();
        assert_eq!(values, [1, 3]);
        assert!(rows("another").is_empty());
    }

    #[test]
    fn a_lane_keeps_no_more_rows_than_it_is_asked_for() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let column = Int64Array::from_iter_values(0..10);
        let rows = RecordBatch::try_new(schema, vec![Arc::new(column)]).unwrap();
        let mut writer = KeepRows { rows_max: Some(13) }.writer(0).unwrap();
        for _ in 0..3 {
            writer.write(&rows).unwrap();
        }
        let kept: Vec<usize> =
            writer.finish().unwrap().into_iter().map(|part| part_rows(part).unwrap().num_rows()).collect();
        assert_eq!(kept, [10, 3]);
    }
}
