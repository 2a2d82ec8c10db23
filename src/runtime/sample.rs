//! A stream's first rows, for trying a query out: read, decoded, computed and handed over; nothing is written.
//!
//! No checkpoint is read or made, no lease taken: the records are the oldest that the source has.

use std::sync::atomic::AtomicBool;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::lane_pipeline::{Emit, LanePipeline};
use super::memory::process_account;
use super::open::{self, Access};
use super::row_pipeline::RowPipeline;
use super::sql::StreamSql;
use crate::config::StreamConfig;
use crate::decode::json::Rejection;
use crate::model::{Error, MemoryAccount, Notes, OutputMode, Record, Result};
use crate::query::{Feed, Watermarks};
use crate::sink::RowPlaces;
use crate::source::{Admission, Intake, Position};
use crate::state::MemoryState;

/// Bytes that the reader may hold fetched.
const FETCH_BYTES: usize = 4 << 20;

/// What became of a sample.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows, in the order in which they were made.
    pub rows: Vec<RecordBatch>,
    /// Records that were read.
    pub records: u64,
    /// Records that are no rows: where they are, and why.
    pub rejected: Vec<String>,
}

/// Reads at most about `records` records of the stream's source and runs them through its query.
///
/// # Errors
/// As for the start of the stream and for a micro-batch.
pub fn sample(config: &StreamConfig, records: u64, access: &Access) -> Result<Sample> {
    let config = open::for_sample(config, records);
    let pipeline = RowPipeline::of(&config, access)?;
    let now = chrono::Utc::now().timestamp_micros();
    pipeline.begin(now, &pipeline.table_versions()?, &process_account())?;
    let mut lane = pipeline.lane(None)?;
    lane.set_now(now);
    let mut taken = Taken::default();
    let mut source = open::source(&config)?;
    let from = Position { offset: source.initial_offset()?, notes: Notes::new() };
    let admission = Admission { default_max: Some(records), ..Admission::default() };
    let mut read = 0;
    if let Some(range) = source.latest_offset(&from, &admission)?.range {
        let splits = source.splits(&range, &[], 1)?.into_iter().flatten().collect::<Vec<_>>();
        let mut reader = source.reader(&MemoryAccount::new(FETCH_BYTES), None)?;
        let mut intake = Through { lane: &mut lane, taken: &mut taken };
        read = reader.read(&splits, &AtomicBool::new(false), &mut intake)?.records;
    }
    lane.flush(&mut taken)?;
    if let Some(sql) = pipeline.sql().filter(|sql| sql.stage.is_stateful()) {
        taken.rows = of_one_batch(sql, taken.rows)?;
    }
    Ok(Sample { schema: pipeline.arrow_schema()?, rows: taken.rows, records: read, rejected: taken.rejected })
}

/// The result of a query that keeps state over one micro-batch, after which the watermark has passed everything: what is still
/// open in append mode is shown too.
fn of_one_batch(sql: &StreamSql, rows: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
    let watermarks = Watermarks { before: 0, now: WATERMARK_END_MS };
    Ok(sql.stage.run_state(&mut MemoryState::default(), Feed::Rows(rows), watermarks)?.rows)
}

/// A watermark that everything is before, in milliseconds; as microseconds it still is a number of 64 bits.
const WATERMARK_END_MS: i64 = i64::MAX / 1000 - 1;

struct Through<'a> {
    lane: &'a mut LanePipeline,
    taken: &'a mut Taken,
}

impl Intake for Through<'_> {
    fn record(&mut self, record: &Record<'_>) -> Result<()> {
        self.lane.push(record, self.taken)
    }

    fn rows(&mut self, rows: RecordBatch) -> Result<()> {
        self.lane.push_rows(rows, self.taken)
    }
}

#[derive(Default)]
struct Taken {
    rows: Vec<RecordBatch>,
    rejected: Vec<String>,
}

impl Emit for Taken {
    fn rows(&mut self, rows: RecordBatch, _: Option<RowPlaces>) -> Result<()> {
        self.rows.push(rows);
        Ok(())
    }

    fn rejected(&mut self, record: &Record<'_>, why: &Rejection) -> Result<()> {
        let place = format!("offset {} of {}-{}", record.offset, record.topic, record.partition);
        self.rejected.push(format!("{place}: {why}"));
        Ok(())
    }

    fn kept_malformed(&mut self) {}
}

/// The stream with another query, which is tried out over a sample as over a table.
///
/// # Errors
/// `Config` if the query is empty.
pub fn with_query(mut config: StreamConfig, sql: &str, access: &Access) -> Result<StreamConfig> {
    if sql.trim().is_empty() {
        return Err(Error::config("the query is empty").hint("--query takes one SELECT"));
    }
    config.sql = Some(sql.to_owned());
    // Groups that no watermark ends, or their order, append refuses because of the batches that follow: here none does.
    if config.output_mode == OutputMode::Append && RowPipeline::of(&config, access).is_err() {
        // Nothing is written, so the mode need not suit the sink.
        let sink = config.sink.clone().without_merge();
        let complete = StreamConfig { output_mode: OutputMode::Complete, sink, ..config.clone() };
        match RowPipeline::of(&complete, access) {
            Ok(_) => return Ok(complete),
            // What is wrong in every mode says more than that append wants a watermark.
            Err(error) if !error.to_string().contains("STREAMING_OUTPUT_MODE") => return Err(error),
            Err(_) => {}
        }
    }
    Ok(config)
}
