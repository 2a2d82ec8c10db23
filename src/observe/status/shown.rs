//! What the API, the page and the commands show of a stream, as JSON. Words are Spark's where it has them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::observe::progress::Progress;

/// The state of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamState {
    /// Its checkpoint, table and source are being opened.
    Starting,
    /// It runs micro-batches, or waits for data.
    Running,
    /// An error that may pass has ended it; it starts again after a pause.
    Restarting,
    /// An error has ended it for good.
    Failed,
    /// It was stopped.
    Stopped,
    /// Its trigger has ended it (`once`, `availableNow`).
    Finished,
}

impl StreamState {
    /// Every state.
    pub const ALL: [StreamState; 6] = [
        StreamState::Starting,
        StreamState::Running,
        StreamState::Restarting,
        StreamState::Failed,
        StreamState::Stopped,
        StreamState::Finished,
    ];

    /// The word used in JSON and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            StreamState::Starting => "starting",
            StreamState::Running => "running",
            StreamState::Restarting => "restarting",
            StreamState::Failed => "failed",
            StreamState::Stopped => "stopped",
            StreamState::Finished => "finished",
        }
    }

    /// Whether the stream has not ended: Spark's `isActive`.
    pub fn is_active(self) -> bool {
        matches!(self, StreamState::Starting | StreamState::Running | StreamState::Restarting)
    }
}

/// Spark's `StreamingQueryStatus`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryStatus {
    /// What the stream does now, in words.
    pub message: String,
    /// Whether there was new data when it was last asked for.
    pub is_data_available: bool,
    /// Whether a trigger is being worked on.
    pub is_trigger_active: bool,
}

/// An error of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastError {
    /// Its kind, as in the log.
    pub kind: &'static str,
    /// The error in words, with its hint.
    pub message: String,
    /// When it happened, UTC.
    pub timestamp: String,
}

/// What a stream did since the process started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Micro-batches committed.
    pub batches: u64,
    /// Records read.
    pub input_rows: u64,
    /// Their bytes.
    pub input_bytes: u64,
    /// Rows added to the table.
    pub output_rows: u64,
    /// Files added to the table.
    pub files: u64,
    /// Their bytes.
    pub file_bytes: u64,
    /// Malformed records that became rows.
    pub malformed_rows: u64,
    /// Records that went to the dead letters.
    pub dead_letters: u64,
    /// Records left out (DROPMALFORMED).
    pub dropped_rows: u64,
    /// Rejected records by error code.
    pub rejected_rows: BTreeMap<&'static str, u64>,
    /// Rows that came behind the watermark and were left out.
    pub late_rows: u64,
    /// Rows left out as duplicates.
    pub duplicate_rows: u64,
    /// Offset ranges that were gone.
    pub lost_ranges: u64,
    /// Restarts inside the process.
    pub restarts: u64,
    /// Planned micro-batches that were run again.
    pub reruns: u64,
    /// Commits that lost their version to another writer.
    pub commit_conflicts: u64,
}

/// A stream as the API shows it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamInfo {
    /// The stream's name.
    pub name: String,
    /// The query's id; absent before the checkpoint was read.
    pub id: Option<String>,
    /// This start of the stream.
    pub run_id: Option<String>,
    /// Its state.
    pub state: StreamState,
    /// Since when, UTC.
    pub since: String,
    /// Whether it has not ended.
    pub is_active: bool,
    /// What it does now.
    pub status: QueryStatus,
    /// The source's description.
    pub source: Option<String>,
    /// The sink's description.
    pub sink: Option<String>,
    /// The last error of this process, also one that has passed.
    pub last_error: Option<LastError>,
    /// The newest committed micro-batch, also of an earlier start.
    pub batch_id: Option<i64>,
    /// The table's version that holds it.
    pub table_version: Option<u64>,
    /// When it was committed, UTC.
    pub last_commit: Option<String>,
    /// Its watermark.
    pub watermark: Option<String>,
    /// Records per second that it read since the trigger before it.
    pub input_rows_per_second: f64,
    /// Records per second that it processed.
    pub processed_rows_per_second: f64,
    /// The sum of all partitions; absent before their ends were asked for, or for a source without partitions.
    pub lag: Option<i64>,
    /// When the ends were last asked for, UTC.
    pub lag_measured: Option<String>,
    /// Upper bound of the age of the oldest record that is not in the table; 0 if none waits.
    pub oldest_uncommitted_age_seconds: Option<f64>,
    /// What it did since the process started.
    pub totals: Totals,
}

/// The lag of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionLag {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The first offset that is not in the table.
    pub committed: i64,
    /// The end of the partition.
    pub latest: i64,
    /// Offsets that are not in the table.
    pub lag: i64,
    /// Offsets that were not read.
    pub read_lag: i64,
}

/// A micro-batch as a point of the page's charts.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryPoint {
    /// When its trigger fired, UTC.
    pub timestamp: String,
    /// The micro-batch.
    pub batch_id: i64,
    /// Its milliseconds.
    pub batch_duration: u64,
    /// Records read.
    pub num_input_rows: u64,
    /// Records per second since the trigger before.
    pub input_rows_per_second: f64,
    /// Records per second that were processed.
    pub processed_rows_per_second: f64,
    /// Offsets behind it when it was planned.
    pub lag: i64,
    /// Records rejected.
    pub rejected_rows: u64,
}

impl HistoryPoint {
    pub(super) fn of(progress: &Progress) -> HistoryPoint {
        HistoryPoint {
            timestamp: progress.timestamp.clone(),
            batch_id: progress.batch_id,
            batch_duration: progress.batch_duration,
            num_input_rows: progress.num_input_rows,
            input_rows_per_second: progress.input_rows_per_second,
            processed_rows_per_second: progress.processed_rows_per_second,
            lag: progress.alluvia.lag,
            rejected_rows: progress.alluvia.dead_letters + progress.alluvia.dropped_rows,
        }
    }
}
