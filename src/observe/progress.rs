//! One micro-batch in numbers: Spark's `StreamingQueryProgress`, and a few of our own.
//!
//! Keys and meanings are Spark 4.0's (`org.apache.spark.sql.streaming.progress`), down to what is left out when it is
//! empty; what is ours stands under `alluvia`. Built here from the plain facts of a batch; decides nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::positions::Positions;
use crate::model::time::utc;

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
    /// Records per second since the trigger before; 0 for the first.
    pub input_rows_per_second: f64,
    /// Records per second of this batch.
    pub processed_rows_per_second: f64,
    /// Milliseconds by step: [`STEPS`].
    pub duration_ms: BTreeMap<&'static str, u64>,
    /// `watermark`, and of the batch's event times `min`, `max`, `avg`; absent without a watermark.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub event_time: BTreeMap<&'static str, String>,
    /// The operators that hold state; empty for a stateless stream.
    pub state_operators: Vec<StateOperatorProgress>,
    /// The sources.
    pub sources: Vec<SourceProgress>,
    /// The sink.
    pub sink: SinkProgress,
    /// Spark's `Dataset.observe`; absent if nothing is observed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub observed_metrics: BTreeMap<String, Value>,
    /// What Spark has no word for.
    pub alluvia: AlluviaProgress,
}

/// The keys of `durationMs`, as Spark names them, in the order in which the steps run; the last is the whole. `addBatch`
/// reads, decodes, writes and commits to the table.
pub const STEPS: [&str; 7] = [
    "latestOffset",
    "walCommit",
    "queryPlanning",
    "getBatch",
    "addBatch",
    "commitOffsets",
    "triggerExecution",
];

/// The parts of `addBatch`, under `alluvia.addBatchMs`.
pub const ADD_BATCH_STEPS: [&str; 4] = ["writeFiles", "commitState", "commitDeadLetters", "commitTable"];

/// A source's part.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceProgress {
    /// `KafkaV2[Subscribe[t]]`.
    pub description: String,
    /// Where the batch started.
    pub start_offset: Option<Box<RawValue>>,
    /// Where it ended.
    pub end_offset: Option<Box<RawValue>>,
    /// How far the source reached when it was planned.
    pub latest_offset: Option<Box<RawValue>>,
    /// Records read.
    pub num_input_rows: u64,
    /// As of the whole batch.
    pub input_rows_per_second: f64,
    /// As of the whole batch.
    pub processed_rows_per_second: f64,
    /// `minOffsetsBehindLatest`, `maxOffsetsBehindLatest`, `avgOffsetsBehindLatest` of a partitioned source, and what the
    /// service says of itself. Kafka: `throttleTimeMs`, the longest time since the batch before for which the brokers held an
    /// answer back because of a quota (Event Hubs: throughput units), where `kafka.statistics.interval.ms` is set.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<&'static str, String>,
}

/// An operator that holds state.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateOperatorProgress {
    /// Spark's name: `dedupe`, `dedupeWithinWatermark`, `stateStoreSave`, `symmetricHashJoin`.
    pub operator_name: String,
    /// Keys held after the batch.
    pub num_rows_total: u64,
    /// Keys written by the batch.
    pub num_rows_updated: u64,
    /// Milliseconds that took.
    pub all_updates_time_ms: u64,
    /// Keys removed by the watermark.
    pub num_rows_removed: u64,
    /// Milliseconds that took.
    pub all_removals_time_ms: u64,
    /// Milliseconds to make the state's version durable.
    pub commit_time_ms: u64,
    /// What the state holds in memory.
    pub memory_used_bytes: u64,
    /// Rows that came behind the watermark and were left out.
    pub num_rows_dropped_by_watermark: u64,
    /// Always 1: one store serves an operator.
    pub num_shuffle_partitions: u64,
    /// As `num_shuffle_partitions`.
    pub num_state_store_instances: u64,
    /// `numDroppedDuplicateRows` and the store's own numbers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub custom_metrics: BTreeMap<String, u64>,
}

/// The sink's part.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkProgress {
    /// `DeltaSink[path]`.
    pub description: String,
    /// Rows added to the table.
    pub num_output_rows: u64,
    /// The sink's own numbers, as texts; of a merge `numDuplicateRowsInBatch` and `numDuplicateRowsInTable`, or
    /// the rows that it inserted, updated, deleted, ignored and copied; `numCompactedFiles`, `numCompactedFilesAdded` and
    /// `numCompactedBytes` if small files of the table were joined since the batch before.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, String>,
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
    /// Rejected records (dead letters and those left out) by error code.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rejected_rows: BTreeMap<&'static str, u64>,
    /// Rows whose event time is further ahead of the clock than `maxFutureSkew`; 0 is left out.
    #[serde(skip_serializing_if = "is_zero")]
    pub future_rows: u64,
    /// Whether the clock moved the batch's watermark, after `idleTimeout`; left out if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub watermark_moved_by_clock: bool,
    /// Offset ranges that were gone.
    pub lost_ranges: Vec<String>,
    /// Files added to the table.
    pub files: u64,
    /// Their bytes.
    pub file_bytes: u64,
    /// Milliseconds of the parts of `addBatch`: [`ADD_BATCH_STEPS`].
    pub add_batch_ms: BTreeMap<&'static str, u64>,
}

impl Progress {
    /// Rows that came behind the watermark and were left out by operators with state.
    pub fn late_rows(&self) -> u64 {
        self.state_operators.iter().map(|operator| operator.num_rows_dropped_by_watermark).sum()
    }

    /// Rows left out as duplicates, by operators with state and by the sink's merge.
    pub fn duplicate_rows(&self) -> u64 {
        let operators = self.state_operators.iter();
        let by_state =
            operators.filter_map(|operator| operator.custom_metrics.get("numDroppedDuplicateRows"));
        let by_merge = ["numDuplicateRowsInBatch", "numDuplicateRowsInTable"].into_iter();
        let by_merge = by_merge.filter_map(|name| self.sink.metrics.get(name)?.parse::<u64>().ok());
        by_state.copied().chain(by_merge).sum()
    }
}

/// The times of one trigger, as a progress needs them.
#[derive(Debug, Clone, Default)]
pub struct BatchTimes {
    /// When the trigger fired, in ms since the Unix epoch.
    pub started_ms: i64,
    /// From then to the end of the batch.
    pub duration: Duration,
    /// From the trigger before to this one; `None` for the first.
    pub since_last_trigger: Option<Duration>,
}

impl BatchTimes {
    /// `count` records per second of the batch.
    pub fn processed_per_second(&self, count: u64) -> f64 {
        per_second(count, self.duration)
    }

    /// `count` records per second since the trigger before.
    pub fn input_per_second(&self, count: u64) -> f64 {
        self.since_last_trigger.map_or(0.0, |time| per_second(count, time))
    }

    /// When the trigger fired, as Spark writes it.
    pub fn timestamp(&self) -> String {
        timestamp(self.started_ms)
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(0.001)
}

impl SourceProgress {
    /// A source's part from its offsets, each as the JSON of that source.
    pub fn new(
        description: String,
        start: &str,
        end: &str,
        latest: &str,
        rows: u64,
        times: &BatchTimes,
    ) -> Self {
        SourceProgress {
            description,
            start_offset: raw(start),
            end_offset: raw(end),
            latest_offset: raw(latest),
            num_input_rows: rows,
            input_rows_per_second: times.input_per_second(rows),
            processed_rows_per_second: times.processed_per_second(rows),
            metrics: behind_latest(&Positions::of_json(end), &Positions::of_json(latest)),
        }
    }
}

/// Spark's `KafkaMicroBatchStream.metrics`: texts, absent for a source without partitions.
fn behind_latest(end: &Positions, latest: &Positions) -> BTreeMap<&'static str, String> {
    let lags = end.behind(latest);
    let (Some(min), Some(max)) = (lags.iter().min(), lags.iter().max()) else { return BTreeMap::new() };
    let avg = lags.iter().sum::<i64>() as f64 / lags.len() as f64;
    BTreeMap::from([
        ("minOffsetsBehindLatest", min.to_string()),
        ("maxOffsetsBehindLatest", max.to_string()),
        ("avgOffsetsBehindLatest", format!("{avg:?}")),
    ])
}

fn raw(json: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(json.to_owned()).ok()
}

/// Milliseconds since the Unix epoch as `2026-01-31T12:00:00.000Z`.
pub fn timestamp(ms: i64) -> String {
    utc(ms).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A progress as a stateless stream of one source makes it.
    pub(in crate::observe) fn example(name: &str, batch_id: i64) -> Progress {
        let times = BatchTimes {
            started_ms: 1_767_225_600_000 + batch_id * 1000,
            duration: Duration::from_millis(250),
            since_last_trigger: Some(Duration::from_secs(1)),
        };
        let source = SourceProgress::new(
            "KafkaV2[Subscribe[t]]".into(),
            r#"{"t":{"0":0,"1":0}}"#,
            r#"{"t":{"0":60,"1":40}}"#,
            r#"{"t":{"0":60,"1":45}}"#,
            100,
            &times,
        );
        Progress {
            event: "progress",
            id: "0e1a".into(),
            run_id: "77b2".into(),
            name: name.to_owned(),
            timestamp: times.timestamp(),
            batch_id,
            batch_duration: 250,
            num_input_rows: 100,
            input_rows_per_second: times.input_per_second(100),
            processed_rows_per_second: times.processed_per_second(100),
            duration_ms: BTreeMap::from([("addBatch", 200), ("triggerExecution", 250)]),
            event_time: BTreeMap::new(),
            state_operators: Vec::new(),
            sources: vec![source],
            sink: SinkProgress {
                description: "DeltaSink[file:///lake/t]".into(),
                num_output_rows: 97,
                metrics: BTreeMap::new(),
            },
            observed_metrics: BTreeMap::new(),
            alluvia: AlluviaProgress {
                table_version: Some(7),
                input_bytes: 24_000,
                lag: 5,
                dead_letters: 3,
                rejected_rows: BTreeMap::from([("MALFORMED_RECORD", 3)]),
                files: 1,
                file_bytes: 9_000,
                add_batch_ms: BTreeMap::from([("writeFiles", 150), ("commitTable", 50)]),
                ..AlluviaProgress::default()
            },
        }
    }

    #[test]
    fn a_progress_is_sparks_json_with_our_part_beside_it() {
        let progress = serde_json::to_value(example("q", 3)).unwrap();
        assert_eq!(progress["timestamp"], "2026-01-01T00:00:03.000Z");
        assert_eq!(progress["inputRowsPerSecond"], 100.0);
        assert_eq!(progress["processedRowsPerSecond"], 400.0);
        assert_eq!(
            progress["sources"][0],
            json!({
                "description": "KafkaV2[Subscribe[t]]",
                "startOffset": {"t": {"0": 0, "1": 0}},
                "endOffset": {"t": {"0": 60, "1": 40}},
                "latestOffset": {"t": {"0": 60, "1": 45}},
                "numInputRows": 100,
                "inputRowsPerSecond": 100.0,
                "processedRowsPerSecond": 400.0,
                "metrics": {"avgOffsetsBehindLatest": "2.5", "maxOffsetsBehindLatest": "5", "minOffsetsBehindLatest": "0"},
            })
        );
        assert_eq!(progress["stateOperators"], json!([]));
        for absent in ["eventTime", "observedMetrics"] {
            assert!(progress.get(absent).is_none(), "{absent} is empty, and Spark leaves it out");
        }
        assert_eq!(progress["alluvia"]["rejectedRows"], json!({"MALFORMED_RECORD": 3}));
    }
}
