//! One micro-batch in numbers: Spark's `StreamingQueryProgress`, and a few of our own.
//!
//! Keys and meanings are Spark 4.0's; what is ours stands under `alluvia`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// A finished micro-batch.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Always `progress`; tells these lines from log lines.
    pub event: &'static str,
    /// The query's id.
    pub id: String,
    /// This start of the stream.
    pub run_id: String,
    /// The stream's name.
    pub name: String,
    /// When the trigger fired, UTC with milliseconds.
    pub timestamp: String,
    /// The micro-batch.
    pub batch_id: i64,
    /// From trigger to commit log, in milliseconds.
    pub batch_duration: u64,
    /// Records read.
    pub num_input_rows: u64,
    /// Records per second since the trigger before.
    pub input_rows_per_second: f64,
    /// Records per second of this batch.
    pub processed_rows_per_second: f64,
    /// Milliseconds by step: `latestOffset`, `walCommit`, `addBatch`, `commitOffsets`, `triggerExecution`.
    pub duration_ms: BTreeMap<&'static str, u64>,
    /// The source.
    pub sources: Vec<SourceProgress>,
    /// The sink.
    pub sink: SinkProgress,
    /// What Spark has no word for.
    pub alluvia: AlluviaProgress,
}

/// The source's part.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceProgress {
    /// `KafkaV2[Subscribe[t]]`.
    pub description: String,
    /// Where the batch started.
    pub start_offset: Value,
    /// Where it ended.
    pub end_offset: Value,
    /// How far the source reached when it was planned.
    pub latest_offset: Value,
    /// Records read.
    pub num_input_rows: u64,
}

/// The sink's part.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkProgress {
    /// `DeltaSink[path]`.
    pub description: String,
    /// Rows added to the table.
    pub num_output_rows: u64,
}

/// Our own part.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlluviaProgress {
    /// The table's version that holds the batch.
    pub table_version: Option<u64>,
    /// Bytes of keys and values read.
    pub input_bytes: u64,
    /// Offsets between the batch's end and the source's, when it was planned.
    pub lag: i64,
    /// Malformed records that became rows.
    pub malformed_rows: u64,
    /// Records that went to the dead letters.
    pub dead_letters: u64,
    /// Records that were left out (DROPMALFORMED).
    pub dropped_rows: u64,
    /// Offset ranges that were gone.
    pub lost_ranges: Vec<String>,
}
