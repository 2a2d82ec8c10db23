//! Every metric that Alluvia exposes: its name, type, labels and help text. One place: the registry is filled from
//! these rows, and `docs/reference/metrics.md` is generated from them.
//!
//! Names follow Prometheus' rules: base units, `_total` for counters, and a sum over any label means something. Every
//! label is bounded: streams by the stream files, topics and partitions by the subscription, the rest by enumerations.

/// Prometheus' metric types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetricType {
    Counter,
    Gauge,
    Histogram,
}

#[cfg(test)]
impl MetricType {
    /// As the text format names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MetricRow {
    pub(crate) name: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reference page, which a test makes"))]
    pub(crate) kind: MetricType,
    pub(crate) labels: &'static [&'static str],
    pub(crate) help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident $kind:ident $name:literal [$($label:literal)*] $help:literal;)*) => {
        $(pub(super) const $constant: MetricRow =
            MetricRow { name: $name, kind: MetricType::$kind, labels: &[$($label),*], help: $help };)*
        /// Every metric, in the order of the reference page.
        #[cfg(test)]
        pub(crate) const METRICS: &[MetricRow] = &[$($constant),*];
    };
}

metrics! {
    STREAM_STATE Gauge "alluvia_stream_state" ["stream" "state"]
        "1 for the state that the stream is in (starting, running, restarting, failed, stopped, finished), 0 for the others";
    INPUT_ROWS Counter "alluvia_input_rows_total" ["stream"]
        "Records read from the source, in committed micro-batches";
    INPUT_BYTES Counter "alluvia_input_bytes_total" ["stream"]
        "Bytes of keys and values of the records read";
    OUTPUT_ROWS Counter "alluvia_output_rows_total" ["stream"]
        "Rows committed to the table";
    OUTPUT_FILES Counter "alluvia_output_files_total" ["stream"]
        "Data files committed to the table";
    OUTPUT_BYTES Counter "alluvia_output_bytes_total" ["stream"]
        "Bytes of the data files committed to the table";
    OUTPUT_FILE_SIZE Histogram "alluvia_output_file_size_bytes" ["stream"]
        "Mean size of the data files of each micro-batch that wrote any";
    BATCHES Counter "alluvia_batches_total" ["stream"]
        "Micro-batches committed";
    MALFORMED_ROWS Counter "alluvia_malformed_rows_total" ["stream"]
        "Malformed records that were kept as rows (PERMISSIVE)";
    REJECTED_ROWS Counter "alluvia_rejected_rows_total" ["stream" "reason"]
        "Records that did not become rows, by error code: dead letters, and records left out under DROPMALFORMED";
    DEAD_LETTERS Counter "alluvia_dead_letters_total" ["stream"]
        "Records written to the dead letters";
    LATE_ROWS Counter "alluvia_late_rows_total" ["stream"]
        "Rows that came behind the watermark and were left out by an operator with state";
    FUTURE_ROWS Counter "alluvia_future_rows_total" ["stream"]
        "Rows whose event time is further ahead of the clock than maxFutureSkew, so that it does not raise the watermark";
    WATERMARK_CLOCK_MOVES Counter "alluvia_watermark_clock_moves_total" ["stream"]
        "Micro-batches whose watermark was moved by the clock, because no row had come for idleTimeout";
    DUPLICATE_ROWS Counter "alluvia_duplicate_rows_total" ["stream"]
        "Rows left out as duplicates, by an operator with state or by the sink's merge";
    LOST_RANGES Counter "alluvia_lost_ranges_total" ["stream"]
        "Offset ranges that were gone before they could be read (failOnDataLoss: false)";
    BATCH_DURATION Histogram "alluvia_batch_duration_seconds" ["stream"]
        "Time of a micro-batch, from its trigger to its entry in the commit log";
    STEP_DURATION Histogram "alluvia_batch_step_duration_seconds" ["stream" "step"]
        "Time of each step of a micro-batch: Spark's names of durationMs, and the parts of addBatch (writeFiles, commitDeadLetters, commitTable)";
    COMMIT_CONFLICTS Counter "alluvia_commit_conflicts_total" ["stream"]
        "Commits to the table that lost a version to another writer and were tried again on the next one";
    COMPACTED_FILES Counter "alluvia_compacted_files_total" ["stream"]
        "Small files of the table that the stream joined into larger ones (autoCompact)";
    VACUUMED_FILES Counter "alluvia_vacuumed_files_total" ["stream"]
        "Files that the table did not need any more and that the stream deleted (autoVacuum)";
    BATCH_RERUNS Counter "alluvia_batch_reruns_total" ["stream"]
        "Planned micro-batches that were run again after a restart";
    RESTARTS Counter "alluvia_stream_restarts_total" ["stream" "kind"]
        "Restarts of the stream inside the process, by the kind of the error before it";
    LAG Gauge "alluvia_lag_offsets" ["stream" "topic" "partition"]
        "Offsets between what the table holds and the end of the partition";
    READ_LAG Gauge "alluvia_read_lag_offsets" ["stream" "topic" "partition"]
        "Offsets between what was read and written to files, committed or not, and the end of the partition";
    GROUP_OFFSET Gauge "alluvia_group_offset" ["stream" "topic" "partition"]
        "The offset that was last committed to the consumer group (commitOffsets)";
    THROTTLE Gauge "alluvia_throttle_seconds" ["stream"]
        "The longest time for which the brokers held an answer back because of a quota (Event Hubs: throughput units), of the newest micro-batch; absent unless kafka.statistics.interval.ms is set";
    LAG_MEASURED Gauge "alluvia_lag_measured_timestamp_seconds" ["stream"]
        "When the ends of the partitions were last asked for, Unix time";
    OLDEST_UNCOMMITTED Gauge "alluvia_oldest_uncommitted_event_age_seconds" ["stream"]
        "Upper bound of the age of the oldest record that is not in the table; 0 if the table holds all of them";
    LAST_COMMIT Gauge "alluvia_last_commit_timestamp_seconds" ["stream"]
        "When the newest micro-batch was committed, by this process or an earlier one, Unix time; absent before a stream's first commit";
    LAST_TRIGGER Gauge "alluvia_last_trigger_timestamp_seconds" ["stream"]
        "When the stream last looked for new records, Unix time";
    WATERMARK Gauge "alluvia_watermark_timestamp_seconds" ["stream"]
        "The watermark of the newest micro-batch, Unix time of the events";
    WATERMARK_DELAY Gauge "alluvia_watermark_delay_seconds" ["stream"]
        "Time between the watermark and now";
    STATE_ROWS Gauge "alluvia_state_rows" ["stream" "operator"]
        "Keys held by an operator with state";
    STATE_BYTES Gauge "alluvia_state_memory_bytes" ["stream" "operator"]
        "Memory used by an operator with state";
    TABLE_VERSION Gauge "alluvia_table_version" ["stream"]
        "The table's version that holds the newest micro-batch of this process";
    LEASE_AGE Gauge "alluvia_lease_age_seconds" ["stream"]
        "Time since the stream last found that the lease is still its own; absent before it was taken";
    MEMORY_LIMIT Gauge "alluvia_memory_limit_bytes" ["stream"]
        "The stream's memoryLimit; absent if none is set";
    MEMORY_USED Gauge "alluvia_memory_used_bytes" ["stream"]
        "What the stream's buffers hold: fetched records, rows, row groups, parts on their way to storage, state, static tables, what sql makes of a few records, a compaction";
    TOKEN_EXPIRY Gauge "alluvia_token_expiry_timestamp_seconds" ["service"]
        "When the token of Entra ID that is shown to the service expires, Unix time; of several identities the first to expire";
    TOKEN_RENEWED Gauge "alluvia_token_renewed_timestamp_seconds" ["service"]
        "When that token was given, Unix time";
    TOKEN_FAILURES Counter "alluvia_token_renewal_failures_total" ["service"]
        "Attempts to renew a token for the service that failed; the token before it is used until it expires";
    BUILD_INFO Gauge "alluvia_build_info" ["version" "commit" "features"]
        "Always 1; the labels say what runs, as alluvia --version does";
    PROCESS_RESIDENT Gauge "process_resident_memory_bytes" []
        "Resident memory of the process";
    PROCESS_CPU Counter "process_cpu_seconds_total" []
        "User and system CPU time of the process";
    PROCESS_OPEN_FDS Gauge "process_open_fds" []
        "Open file descriptors of the process";
    PROCESS_MAX_FDS Gauge "process_max_fds" []
        "Limit of open file descriptors of the process";
    PROCESS_START Gauge "process_start_time_seconds" []
        "Start of the process, Unix time";
}

/// Bounds of a micro-batch's time and of its steps, in seconds.
pub(super) const SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// Bounds of a data file's size, 64 KiB to 512 MiB.
pub(super) const FILE_BYTES: &[f64] = &[
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    134_217_728.0,
    268_435_456.0,
    536_870_912.0,
];

/// The text of `docs/reference/metrics.md`.
#[cfg(test)]
fn page() -> String {
    use crate::model::generated::NOTE;

    let mut page = format!(
        "# Metrics\n\n{NOTE}\
         What `/metrics` answers, in Prometheus' text format 0.0.4. [Monitoring](../operating/monitoring.md) says how to use it.\n\
         A metric that does not apply to a stream (a watermark, state) has no sample for it.\n\n\
         | metric | type | labels | |\n|---|---|---|---|\n",
    );
    for row in METRICS {
        let labels: Vec<String> = row.labels.iter().map(|label| format!("`{label}`")).collect();
        page.push_str(&format!(
            "| `{}` | {} | {} | {}. |\n",
            row.name,
            row.kind.name(),
            labels.join(", "),
            row.help
        ));
    }
    page
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_reference_page_is_that_of_the_table() {
        crate::model::generated::assert_current("metrics.md", &page());
    }

    #[test]
    fn names_follow_the_rules_of_prometheus_and_labels_are_bounded() {
        let bounded = [
            "stream",
            "state",
            "reason",
            "step",
            "kind",
            "topic",
            "partition",
            "operator",
            "version",
            "commit",
            "features",
            "service",
        ];
        let mut names = BTreeSet::new();
        for row in METRICS {
            assert!(names.insert(row.name), "{} is there twice", row.name);
            assert!(row.name.starts_with("alluvia_") || row.name.starts_with("process_"), "{}", row.name);
            assert_eq!(row.kind == MetricType::Counter, row.name.ends_with("_total"), "{}", row.name);
            assert!(!row.help.is_empty() && !row.help.ends_with('.'), "{}", row.name);
            assert!(row.labels.iter().all(|label| bounded.contains(label)), "{}", row.name);
        }
    }
}
