//! The process in Prometheus' metrics: counters and histograms by event, gauges at a scrape.
//!
//! What is exposed is listed in [`table`] and nowhere else. Counters and histograms count when an event happens; gauges
//! (lag, state, ages) are read from the streams' status when Prometheus asks, so that a stream pays nothing for them.

mod process;
pub(crate) mod table;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use prometheus::core::Collector;
use prometheus::{
    Counter, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder,
};

use self::process::Process;
use self::table::{FILE_BYTES, MetricRow, SECONDS};
use super::event::Event;
use super::progress::Progress;
use super::status::{Gauges, StreamState, StreamStatus};
use crate::model::{Kind, build};

/// The metrics of a process.
pub(crate) struct Metrics {
    registry: Registry,
    input_rows: IntCounterVec,
    input_bytes: IntCounterVec,
    output_rows: IntCounterVec,
    output_files: IntCounterVec,
    output_bytes: IntCounterVec,
    batches: IntCounterVec,
    malformed_rows: IntCounterVec,
    rejected_rows: IntCounterVec,
    dead_letters: IntCounterVec,
    late_rows: IntCounterVec,
    duplicate_rows: IntCounterVec,
    future_rows: IntCounterVec,
    watermark_clock_moves: IntCounterVec,
    lost_ranges: IntCounterVec,
    commit_conflicts: IntCounterVec,
    compacted_files: IntCounterVec,
    vacuumed_files: IntCounterVec,
    batch_reruns: IntCounterVec,
    restarts: IntCounterVec,
    output_file_size: HistogramVec,
    batch_duration: HistogramVec,
    step_duration: HistogramVec,
    /// Refilled by every scrape, one at a time.
    gauges: Mutex<StreamGauges>,
}

/// The gauges of all streams.
struct StreamGauges {
    state: GaugeVec,
    lag: GaugeVec,
    read_lag: GaugeVec,
    group_offset: GaugeVec,
    throttle: GaugeVec,
    lag_measured: GaugeVec,
    oldest_uncommitted: GaugeVec,
    last_commit: GaugeVec,
    last_trigger: GaugeVec,
    watermark: GaugeVec,
    watermark_delay: GaugeVec,
    state_rows: GaugeVec,
    state_bytes: GaugeVec,
    table_version: GaugeVec,
    lease_age: GaugeVec,
    memory_limit: GaugeVec,
    memory_used: GaugeVec,
    token_expiry: GaugeVec,
    token_renewed: GaugeVec,
    token_failures: IntCounterVec,
    process: ProcessGauges,
}

/// What is known of a token of Entra ID that the process keeps, when Prometheus asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenTimes {
    /// The service that it is shown to, a host name.
    pub service: String,
    /// When it was given.
    pub renewed_at: SystemTime,
    /// Until when it holds.
    pub expires_at: SystemTime,
    /// How often it could not be renewed.
    pub failures: u64,
}

struct ProcessGauges {
    resident: Gauge,
    cpu: Counter,
    open_fds: Gauge,
    max_fds: Gauge,
    start: Gauge,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// Fills a registry from the table.
struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn add<C: Collector + Clone + 'static>(&self, metric: prometheus::Result<C>) -> C {
        let metric = metric.expect("names and labels of the table are valid, a test makes them all");
        self.0.register(Box::new(metric.clone())).expect("no name is in the table twice, a test looks");
        metric
    }

    fn counter(&self, row: MetricRow) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(row.name, row.help), row.labels))
    }

    fn gauge(&self, row: MetricRow) -> GaugeVec {
        self.add(GaugeVec::new(Opts::new(row.name, row.help), row.labels))
    }

    fn histogram(&self, row: MetricRow, buckets: &[f64]) -> HistogramVec {
        let options = HistogramOpts::new(row.name, row.help).buckets(buckets.to_vec());
        self.add(HistogramVec::new(options, row.labels))
    }

    fn process(&self) -> ProcessGauges {
        let gauge = |row: MetricRow| self.add(Gauge::new(row.name, row.help));
        ProcessGauges {
            resident: gauge(table::PROCESS_RESIDENT),
            cpu: self.add(Counter::new(table::PROCESS_CPU.name, table::PROCESS_CPU.help)),
            open_fds: gauge(table::PROCESS_OPEN_FDS),
            max_fds: gauge(table::PROCESS_MAX_FDS),
            start: gauge(table::PROCESS_START),
        }
    }
}

impl Metrics {
    /// Metrics without a stream.
    pub(crate) fn new() -> Metrics {
        let registry = Registry::new();
        let make = Maker(&registry);
        let build = [build::VERSION, build::COMMIT, build::FEATURES];
        make.gauge(table::BUILD_INFO).with_label_values(&build).set(1.0);
        let gauges = StreamGauges {
            state: make.gauge(table::STREAM_STATE),
            lag: make.gauge(table::LAG),
            read_lag: make.gauge(table::READ_LAG),
            group_offset: make.gauge(table::GROUP_OFFSET),
            throttle: make.gauge(table::THROTTLE),
            lag_measured: make.gauge(table::LAG_MEASURED),
            oldest_uncommitted: make.gauge(table::OLDEST_UNCOMMITTED),
            last_commit: make.gauge(table::LAST_COMMIT),
            last_trigger: make.gauge(table::LAST_TRIGGER),
            watermark: make.gauge(table::WATERMARK),
            watermark_delay: make.gauge(table::WATERMARK_DELAY),
            state_rows: make.gauge(table::STATE_ROWS),
            state_bytes: make.gauge(table::STATE_BYTES),
            table_version: make.gauge(table::TABLE_VERSION),
            lease_age: make.gauge(table::LEASE_AGE),
            memory_limit: make.gauge(table::MEMORY_LIMIT),
            memory_used: make.gauge(table::MEMORY_USED),
            token_expiry: make.gauge(table::TOKEN_EXPIRY),
            token_renewed: make.gauge(table::TOKEN_RENEWED),
            token_failures: make.counter(table::TOKEN_FAILURES),
            process: make.process(),
        };
        Metrics {
            input_rows: make.counter(table::INPUT_ROWS),
            input_bytes: make.counter(table::INPUT_BYTES),
            output_rows: make.counter(table::OUTPUT_ROWS),
            output_files: make.counter(table::OUTPUT_FILES),
            output_bytes: make.counter(table::OUTPUT_BYTES),
            batches: make.counter(table::BATCHES),
            malformed_rows: make.counter(table::MALFORMED_ROWS),
            rejected_rows: make.counter(table::REJECTED_ROWS),
            dead_letters: make.counter(table::DEAD_LETTERS),
            late_rows: make.counter(table::LATE_ROWS),
            duplicate_rows: make.counter(table::DUPLICATE_ROWS),
            future_rows: make.counter(table::FUTURE_ROWS),
            watermark_clock_moves: make.counter(table::WATERMARK_CLOCK_MOVES),
            lost_ranges: make.counter(table::LOST_RANGES),
            commit_conflicts: make.counter(table::COMMIT_CONFLICTS),
            compacted_files: make.counter(table::COMPACTED_FILES),
            vacuumed_files: make.counter(table::VACUUMED_FILES),
            batch_reruns: make.counter(table::BATCH_RERUNS),
            restarts: make.counter(table::RESTARTS),
            output_file_size: make.histogram(table::OUTPUT_FILE_SIZE, FILE_BYTES),
            batch_duration: make.histogram(table::BATCH_DURATION, SECONDS),
            step_duration: make.histogram(table::STEP_DURATION, SECONDS),
            gauges: Mutex::new(gauges),
            registry,
        }
    }

    /// Gives a stream its counters, at 0: a counter that first appears with a value hides its first increase.
    pub(crate) fn add_stream(&self, stream: &str) {
        let counters = [
            &self.input_rows,
            &self.input_bytes,
            &self.output_rows,
            &self.output_files,
            &self.output_bytes,
            &self.batches,
            &self.malformed_rows,
            &self.dead_letters,
            &self.late_rows,
            &self.duplicate_rows,
            &self.lost_ranges,
            &self.commit_conflicts,
            &self.compacted_files,
            &self.vacuumed_files,
            &self.batch_reruns,
        ];
        counters.into_iter().for_each(|counter| drop(counter.with_label_values(&[stream])));
        for kind in Kind::ALL.into_iter().filter(|kind| kind.retries()) {
            drop(self.restarts.with_label_values(&[stream, kind.name()]));
        }
    }

    /// Gives a stream its counters of rejected records, by the reasons that there are.
    pub(crate) fn add_reasons(&self, stream: &str, reasons: &[&str]) {
        reasons.iter().for_each(|reason| drop(self.rejected_rows.with_label_values(&[stream, reason])));
    }

    /// Counts an event of a stream.
    pub(crate) fn count(&self, stream: &str, event: &Event) {
        match event {
            Event::BatchPlanned { rerun: true, .. } => self.batch_reruns.with_label_values(&[stream]).inc(),
            Event::CommitConflicts { count } => {
                self.commit_conflicts.with_label_values(&[stream]).inc_by(u64::from(*count));
            }
            Event::Compacted(done) => {
                self.compacted_files.with_label_values(&[stream]).inc_by(done.files_removed);
            }
            Event::Vacuumed { files, .. } => self.vacuumed_files.with_label_values(&[stream]).inc_by(*files),
            Event::BatchCommitted(progress) => self.count_batch(stream, progress),
            Event::Restarting(restart) => {
                self.restarts.with_label_values(&[stream, restart.kind.name()]).inc();
            }
            _ => {}
        }
    }

    fn count_batch(&self, stream: &str, progress: &Progress) {
        let ours = &progress.alluvia;
        let add = |counter: &IntCounterVec, count: u64| counter.with_label_values(&[stream]).inc_by(count);
        add(&self.batches, 1);
        add(&self.input_rows, progress.num_input_rows);
        add(&self.input_bytes, ours.input_bytes);
        add(&self.output_rows, progress.sink.num_output_rows);
        add(&self.output_files, ours.files);
        add(&self.output_bytes, ours.file_bytes);
        add(&self.malformed_rows, ours.malformed_rows);
        add(&self.dead_letters, ours.dead_letters);
        add(&self.future_rows, ours.future_rows);
        add(&self.watermark_clock_moves, u64::from(ours.watermark_moved_by_clock));
        add(&self.lost_ranges, ours.lost_ranges.len() as u64);
        for (reason, count) in &ours.rejected_rows {
            self.rejected_rows.with_label_values(&[stream, reason]).inc_by(*count);
        }
        add(&self.late_rows, progress.late_rows());
        add(&self.duplicate_rows, progress.duplicate_rows());
        if ours.files > 0 {
            let mean = ours.file_bytes as f64 / ours.files as f64;
            self.output_file_size.with_label_values(&[stream]).observe(mean);
        }
        let seconds = |ms: u64| ms as f64 / 1000.0;
        self.batch_duration.with_label_values(&[stream]).observe(seconds(progress.batch_duration));
        let steps = progress.duration_ms.iter().filter(|(step, _)| **step != "triggerExecution");
        for (step, ms) in steps.chain(&ours.add_batch_ms) {
            self.step_duration.with_label_values(&[stream, step]).observe(seconds(*ms));
        }
    }

    /// The metrics in Prometheus' text format 0.0.4.
    pub(crate) fn scrape(&self, streams: &[Arc<StreamStatus>], tokens: &[TokenTimes], now_ms: i64) -> String {
        let mut gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.refill(streams, now_ms);
        gauges.tokens(tokens);
        let families = self.registry.gather();
        drop(gauges);
        TextEncoder::new().encode_to_string(&families).expect("a text takes every metric of the table")
    }
}

impl StreamGauges {
    fn refill(&mut self, streams: &[Arc<StreamStatus>], now_ms: i64) {
        let all = [
            &self.state,
            &self.lag,
            &self.read_lag,
            &self.group_offset,
            &self.throttle,
            &self.lag_measured,
            &self.oldest_uncommitted,
            &self.last_commit,
            &self.last_trigger,
            &self.watermark,
            &self.watermark_delay,
            &self.state_rows,
            &self.state_bytes,
            &self.table_version,
            &self.lease_age,
            &self.memory_limit,
            &self.memory_used,
        ];
        all.into_iter().for_each(GaugeVec::reset);
        streams.iter().for_each(|stream| self.fill(stream.name(), &stream.gauges(now_ms), now_ms));
        self.process.read();
    }

    fn tokens(&self, tokens: &[TokenTimes]) {
        self.token_expiry.reset();
        self.token_renewed.reset();
        self.token_failures.reset();
        let seconds =
            |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut ordered: Vec<&TokenTimes> = tokens.iter().collect();
        // The first to expire is set last, and stays.
        ordered.sort_by_key(|token| std::cmp::Reverse(token.expires_at));
        for token in ordered {
            let labels = [token.service.as_str()];
            self.token_expiry.with_label_values(&labels).set(seconds(token.expires_at));
            self.token_renewed.with_label_values(&labels).set(seconds(token.renewed_at));
            self.token_failures.with_label_values(&labels).inc_by(token.failures);
        }
    }

    fn fill(&self, stream: &str, now: &Gauges, now_ms: i64) {
        let set = |gauge: &GaugeVec, value: Option<f64>| {
            if let Some(value) = value {
                gauge.with_label_values(&[stream]).set(value);
            }
        };
        let seconds = |ms: i64| ms as f64 / 1000.0;
        for state in StreamState::ALL {
            let value = f64::from(u8::from(state == now.state));
            self.state.with_label_values(&[stream, state.name()]).set(value);
        }
        for ((topic, partition), place) in now.lag.places() {
            let partition = partition.to_string();
            let labels = [stream, topic, &partition];
            self.lag.with_label_values(&labels).set(place.lag() as f64);
            self.read_lag.with_label_values(&labels).set(place.read_lag() as f64);
        }
        for ((topic, partition), offset) in &now.mirrored.0 {
            self.group_offset.with_label_values(&[stream, topic, &partition.to_string()]).set(*offset as f64);
        }
        set(&self.lag_measured, now.lag.measured_ms.map(seconds));
        set(&self.oldest_uncommitted, now.oldest_uncommitted_seconds);
        set(&self.last_commit, now.last_commit_ms.map(seconds));
        set(&self.last_trigger, now.last_trigger_ms.map(seconds));
        set(&self.watermark, now.watermark_ms.map(seconds));
        set(&self.watermark_delay, now.watermark_ms.map(|ms| seconds(now_ms - ms)));
        set(&self.lease_age, now.lease_age_seconds);
        set(&self.memory_limit, now.memory_limit.map(|bytes| bytes as f64));
        set(&self.memory_used, now.memory_used.map(|bytes| bytes as f64));
        let Some(last) = &now.last else { return };
        set(&self.table_version, last.alluvia.table_version.map(|version| version as f64));
        let throttle =
            last.sources.iter().filter_map(|source| source.metrics.get("throttleTimeMs")?.parse().ok());
        set(&self.throttle, throttle.max().map(seconds));
        for operator in &last.state_operators {
            let labels = [stream, operator.operator_name.as_str()];
            // Several operators of one name are one line: their sum.
            self.state_rows.with_label_values(&labels).add(operator.num_rows_total as f64);
            self.state_bytes.with_label_values(&labels).add(operator.memory_used_bytes as f64);
        }
    }
}

impl ProcessGauges {
    fn read(&self) {
        let now = Process::read();
        let set = |gauge: &Gauge, value: Option<f64>| gauge.set(value.unwrap_or(0.0));
        set(&self.resident, now.resident_bytes.map(|bytes| bytes as f64));
        set(&self.open_fds, now.open_fds.map(|count| count as f64));
        set(&self.max_fds, now.max_fds.map(|count| count as f64));
        set(&self.start, now.start_seconds);
        self.cpu.reset();
        self.cpu.inc_by(now.cpu_seconds.unwrap_or(0.0));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::super::progress::StateOperatorProgress;
    use super::super::progress::tests::example;
    use super::*;
    use crate::model::Offset;

    fn offset(json: &str) -> Offset {
        Offset::from_json(json).unwrap()
    }

    fn value(text: &str, sample: &str) -> f64 {
        let line =
            text.lines().find(|line| line.strip_prefix(sample).is_some_and(|rest| rest.starts_with(' ')));
        let line = line.unwrap_or_else(|| panic!("no sample {sample} in\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    #[test]
    fn every_metric_of_the_table_is_registered_and_no_other() {
        let metrics = Metrics::new();
        let stream = Arc::new(StreamStatus::new("q", 0));
        let mut progress = example("q", 0);
        progress.sources[0].metrics.insert("throttleTimeMs", "250".into());
        progress.event_time.insert("watermark", "2026-01-01T00:00:00.000Z".into());
        progress.state_operators.push(StateOperatorProgress {
            operator_name: "dedupe".into(),
            num_rows_dropped_by_watermark: 4,
            custom_metrics: [("numDroppedDuplicateRows".to_owned(), 2)].into(),
            ..StateOperatorProgress::default()
        });
        let counts = [("numDuplicateRowsInBatch", "3"), ("numDuplicateRowsInTable", "5")];
        progress.sink.metrics = counts.map(|(name, count)| (name.to_owned(), count.to_owned())).into();
        let events = [
            Event::Opened(Box::new(crate::observe::event::StreamOpened {
                query_id: String::new(),
                run_id: String::new(),
                source: String::new(),
                sink: String::new(),
                memory_limit: Some(1 << 30),
                memory: crate::model::MemoryAccount::new(1 << 30),
            })),
            Event::Positioned { position: offset(r#"{"t":{"0":0,"1":0}}"#), since_ms: None },
            Event::TriggerFired,
            Event::LatestOffset { latest: offset(r#"{"t":{"0":60,"1":45}}"#), start: offset("{}") },
            Event::BatchCommitted(Arc::new(progress)),
            Event::Mirrored { position: offset(r#"{"t":{"0":55,"1":40}}"#) },
            Event::Restarting(crate::observe::event::Restart {
                kind: Kind::Unavailable,
                error: String::new(),
                attempt: 1,
                of: None,
                failing_for: Duration::ZERO,
                pause: Duration::ZERO,
            }),
        ];
        metrics.add_stream("q");
        for event in &events {
            stream.apply(event, 1_767_225_660_000);
            metrics.count("q", event);
        }
        let token = |expires_s: u64, failures: u64| TokenTimes {
            service: "ns.servicebus.windows.net".into(),
            renewed_at: SystemTime::UNIX_EPOCH + Duration::from_secs(expires_s - 10),
            expires_at: SystemTime::UNIX_EPOCH + Duration::from_secs(expires_s),
            failures,
        };
        let text = metrics.scrape(&[stream], &[token(100, 1), token(200, 2)], 1_767_225_670_000);
        let exposed: BTreeSet<(&str, &str)> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .filter_map(|line| line.split_once(' '))
            .collect();
        let table = table::METRICS.iter().map(|row| (row.name, row.kind.name())).collect();
        assert_eq!(exposed, table);
        assert_eq!(value(&text, r#"alluvia_lag_offsets{partition="1",stream="q",topic="t"}"#), 5.0);
        assert_eq!(value(&text, r#"alluvia_rejected_rows_total{reason="MALFORMED_RECORD",stream="q"}"#), 3.0);
        assert_eq!(value(&text, r#"alluvia_group_offset{partition="1",stream="q",topic="t"}"#), 40.0);
        assert_eq!(value(&text, r#"alluvia_throttle_seconds{stream="q"}"#), 0.25);
        assert_eq!(value(&text, r#"alluvia_late_rows_total{stream="q"}"#), 4.0);
        assert_eq!(value(&text, r#"alluvia_duplicate_rows_total{stream="q"}"#), 10.0);
        assert_eq!(value(&text, r#"alluvia_watermark_delay_seconds{stream="q"}"#), 70.0);
        assert_eq!(value(&text, r#"alluvia_oldest_uncommitted_event_age_seconds{stream="q"}"#), 10.0);
        assert_eq!(value(&text, r#"alluvia_stream_state{state="restarting",stream="q"}"#), 1.0);
        assert_eq!(value(&text, r#"alluvia_stream_state{state="running",stream="q"}"#), 0.0);
        let of_service = r#"{service="ns.servicebus.windows.net"}"#;
        let of_token = |name: &str| value(&text, &format!("alluvia_token_{name}{of_service}"));
        assert_eq!(of_token("expiry_timestamp_seconds"), 100.0, "the first to expire");
        assert_eq!(of_token("renewed_timestamp_seconds"), 90.0);
        assert_eq!(of_token("renewal_failures_total"), 3.0);
    }

    #[test]
    fn a_stream_has_its_counters_before_anything_happened() {
        let metrics = Metrics::new();
        metrics.add_stream("q");
        metrics.add_reasons("q", &["MALFORMED_RECORD"]);
        let text = metrics.scrape(&[Arc::new(StreamStatus::new("q", 0))], &[], 0);
        assert_eq!(value(&text, r#"alluvia_output_rows_total{stream="q"}"#), 0.0);
        assert_eq!(value(&text, r#"alluvia_late_rows_total{stream="q"}"#), 0.0);
        assert_eq!(value(&text, r#"alluvia_stream_restarts_total{kind="unavailable",stream="q"}"#), 0.0);
        assert_eq!(value(&text, r#"alluvia_rejected_rows_total{reason="MALFORMED_RECORD",stream="q"}"#), 0.0);
    }

    #[test]
    fn what_an_earlier_start_has_committed_is_in_the_scrape_before_the_first_commit() {
        let metrics = Metrics::new();
        let stream = Arc::new(StreamStatus::new("q", 0));
        metrics.add_stream("q");
        let resumed = Event::Resumed {
            batch_id: 5,
            table_version: None,
            committed_ms: Some(4_000),
            watermark_ms: Some(3_000),
        };
        stream.apply(&resumed, 60_000);
        let text = metrics.scrape(&[stream], &[], 64_000);
        assert_eq!(value(&text, r#"alluvia_last_commit_timestamp_seconds{stream="q"}"#), 4.0);
        assert_eq!(value(&text, r#"alluvia_watermark_timestamp_seconds{stream="q"}"#), 3.0);
        assert_eq!(value(&text, r#"alluvia_watermark_delay_seconds{stream="q"}"#), 61.0);
    }

    #[test]
    fn a_partition_that_is_gone_leaves_the_scrape() {
        let metrics = Metrics::new();
        let stream = Arc::new(StreamStatus::new("q", 0));
        let latest = |json: &str| Event::LatestOffset { latest: offset(json), start: offset("{}") };
        stream.apply(&latest(r#"{"t":{"0":1,"1":1}}"#), 0);
        assert!(metrics.scrape(&[Arc::clone(&stream)], &[], 0).contains(r#"partition="1""#));
        stream.apply(&latest(r#"{"t":{"0":1}}"#), 0);
        assert!(!metrics.scrape(&[stream], &[], 0).contains(r#"partition="1""#));
    }
}
