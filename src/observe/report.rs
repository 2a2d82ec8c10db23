//! Where everything that streams tell arrives: the log, the metrics, the status, the terminal, the progress lines.
//!
//! A [`Reporter`] serves the process, a [`StreamReporter`] one stream. Log lines and the terminal are on standard error;
//! standard output is for results, or for progress lines if it is asked for.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::event::{Event, EventLog};
use super::metrics::{Metrics, TokenTimes};
use super::progress::Progress;
use super::status::{
    HistoryPoint, LastError, PartitionLag, QueryStatus, StreamInfo, StreamState, StreamStatus, Totals,
};
use super::terminal::{self, Terminal};
use super::traces::Traces;
use crate::model::numbers::{counted, grouped};
use crate::model::{Error, Result};

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// One line per stream that renews itself, a summary at the end.
    Terminal,
    /// One JSON object per micro-batch.
    Json,
    /// Nothing.
    Quiet,
}

impl Style {
    /// Terminal if standard error is one, else JSON.
    pub fn detect() -> Style {
        if std::io::stderr().is_terminal() { Style::Terminal } else { Style::Json }
    }
}

/// Collects what all streams of the process tell.
#[derive(Debug, Clone)]
pub struct Reporter {
    inner: Arc<Inner>,
}

type TokenSource = Box<dyn Fn() -> Vec<TokenTimes> + Send + Sync>;

struct Inner {
    style: Style,
    /// Where progress lines go instead of standard error.
    output: Option<Mutex<Box<dyn Write + Send>>>,
    started: Instant,
    metrics: Metrics,
    terminal: Terminal,
    /// Who knows of the tokens that the process keeps.
    tokens: OnceLock<TokenSource>,
    /// Where traces go, if they do.
    traces: OnceLock<Traces>,
    /// In the order in which they were added.
    streams: Mutex<Vec<Arc<StreamStatus>>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reporter").field("style", &self.style).finish_non_exhaustive()
    }
}

impl Reporter {
    /// A reporter in a style.
    pub fn new(style: Style) -> Reporter {
        Reporter::with_output(style, None)
    }

    /// A reporter that writes a JSON line per micro-batch to `path`, at its end; `-` is standard output.
    ///
    /// # Errors
    /// `Config` if the file can't be opened.
    pub fn to_file(style: Style, path: &Path) -> Result<Reporter> {
        let output: Box<dyn Write + Send> = if path.as_os_str() == "-" {
            Box::new(std::io::stdout())
        } else {
            let file = File::options().create(true).append(true).open(path).map_err(|e| {
                Error::config(format!("cannot write progress to {}", path.display()))
                    .source(e)
                    .hint("name another file with --progress-file")
            })?;
            Box::new(file)
        };
        Ok(Reporter::with_output(style, Some(Mutex::new(output))))
    }

    fn with_output(style: Style, output: Option<Mutex<Box<dyn Write + Send>>>) -> Reporter {
        let inner = Inner {
            style,
            output,
            started: Instant::now(),
            metrics: Metrics::new(),
            terminal: Terminal::default(),
            tokens: OnceLock::new(),
            traces: OnceLock::new(),
            streams: Mutex::default(),
        };
        Reporter { inner: Arc::new(inner) }
    }

    /// The reporter of a stream; one of that name that ended is forgotten.
    pub fn stream(&self, name: &str) -> StreamReporter {
        let status = {
            let mut streams = self.streams();
            match streams.iter().find(|stream| stream.name() == name) {
                Some(known) => Arc::clone(known),
                None => {
                    let status = Arc::new(StreamStatus::new(name, now_ms()));
                    streams.push(Arc::clone(&status));
                    self.inner.metrics.add_stream(name);
                    status
                }
            }
        };
        // Where progress lines go elsewhere, the log has a line per micro-batch.
        let batches = self.inner.style == Style::Json && self.inner.output.is_some();
        let last_error_is_printed = self.inner.style == Style::Terminal;
        let log = EventLog::new(batches, last_error_is_printed);
        StreamReporter { hub: Arc::clone(&self.inner), status, log: Arc::new(Mutex::new(log)) }
    }

    fn streams(&self) -> MutexGuard<'_, Vec<Arc<StreamStatus>>> {
        self.inner.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &str) -> Option<Arc<StreamStatus>> {
        self.streams().iter().find(|stream| stream.name() == name).cloned()
    }

    /// Every stream of the process, also those that have ended, in the order in which they were added.
    pub fn list(&self) -> Vec<StreamInfo> {
        let now = now_ms();
        self.streams().iter().map(|stream| stream.info(now)).collect()
    }

    /// A stream, if the process has it.
    pub fn info(&self, name: &str) -> Option<StreamInfo> {
        Some(self.find(name)?.info(now_ms()))
    }

    /// The newest progresses of a stream, the oldest first.
    pub fn recent_progress(&self, name: &str) -> Option<Vec<Arc<Progress>>> {
        Some(self.find(name)?.recent_progress())
    }

    /// The newest micro-batches of a stream as points of charts, the oldest first.
    pub fn history(&self, name: &str) -> Option<Vec<HistoryPoint>> {
        Some(self.find(name)?.history())
    }

    /// The lag of every partition of a stream.
    pub fn partitions(&self, name: &str) -> Option<Vec<PartitionLag>> {
        Some(self.find(name)?.partitions())
    }

    /// The metrics of the process in Prometheus' text format 0.0.4.
    pub fn metrics(&self) -> String {
        let streams = self.streams().clone();
        let tokens = self.inner.tokens.get().map(|tokens| tokens()).unwrap_or_default();
        self.inner.metrics.scrape(&streams, &tokens, now_ms())
    }

    /// Says who knows of the tokens that the process keeps; asked when Prometheus asks. The first one stays.
    pub fn watch_tokens(&self, tokens: impl Fn() -> Vec<TokenTimes> + Send + Sync + 'static) {
        let _ = self.inner.tokens.set(Box::new(tokens));
    }

    /// Sends traces of micro-batches and errors from now on. The first one stays.
    pub fn trace_to(&self, traces: Traces) {
        let _ = self.inner.traces.set(traces);
    }

    /// Sends what is left of the traces.
    pub fn finish_traces(&self) {
        if let Some(traces) = self.inner.traces.get() {
            traces.finish();
        }
    }

    /// Why the process is not ready, a sentence per stream; empty if it is.
    pub fn not_ready(&self) -> Vec<String> {
        let reason = |stream: &Arc<StreamStatus>| {
            let error = || stream.last_error().map_or(String::new(), |error| format!(": {}", error.message));
            match stream.state() {
                StreamState::Running | StreamState::Stopped | StreamState::Finished => None,
                StreamState::Starting => Some(format!("stream {} is starting", stream.name())),
                StreamState::Restarting => {
                    Some(format!("stream {} waits for a restart{}", stream.name(), error()))
                }
                StreamState::Failed => Some(format!("stream {} has failed{}", stream.name(), error())),
            }
        };
        self.streams().iter().filter_map(reason).collect()
    }

    /// What the streams did so far, by name.
    pub fn totals(&self) -> BTreeMap<String, Totals> {
        self.streams().iter().map(|stream| (stream.name().to_owned(), stream.totals())).collect()
    }

    /// Shows what all streams did, on a terminal.
    pub fn summary(&self) {
        if self.inner.style != Style::Terminal {
            return;
        }
        self.inner.terminal.clear();
        let seconds = self.inner.started.elapsed().as_secs_f64();
        for stream in self.streams().iter() {
            let version = stream.last_progress().and_then(|last| last.alluvia.table_version);
            let line = summary_line(stream.name(), &stream.totals(), version, seconds);
            terminal::above_progress(format!("{line}\n").as_bytes());
        }
    }
}

/// What a stream tells, goes here.
#[derive(Debug, Clone)]
pub struct StreamReporter {
    hub: Arc<Inner>,
    status: Arc<StreamStatus>,
    log: Arc<Mutex<EventLog>>,
}

impl StreamReporter {
    /// Takes an event: its log line, its metrics, its part of the status, what is shown of it.
    pub fn emit(&self, event: Event) {
        let stream = self.status.name();
        self.log.lock().unwrap_or_else(PoisonError::into_inner).write(stream, &event);
        if let Event::Ended { .. } = event {
            self.log_end();
        }
        self.hub.metrics.count(stream, &event);
        self.status.apply(&event, now_ms());
        if let Event::BatchCommitted(progress) = &event {
            self.hub.write_progress(progress);
        }
        if let Some(traces) = self.hub.traces.get() {
            traces.tell(stream, &event);
        }
        if self.hub.style == Style::Terminal {
            self.hub.terminal.show(stream, &event);
        }
    }

    /// The log line of a stream's end: what it did since the process started.
    fn log_end(&self) {
        let totals = self.status.totals();
        tracing::info!(
            stream = self.status.name(),
            records = totals.input_rows,
            rows = totals.output_rows,
            dead_letters = totals.dead_letters,
            batches = totals.batches,
            table_version = self.status.last_progress().and_then(|last| last.alluvia.table_version),
            seconds = (self.hub.started.elapsed().as_secs_f64() * 10.0).round() / 10.0,
            "the stream has ended"
        );
    }

    /// Says for which reasons records may be rejected: each has a counter from then on.
    pub fn rejection_reasons(&self, reasons: &[&str]) {
        self.hub.metrics.add_reasons(self.status.name(), reasons);
    }

    /// Counts records that were read, for the bar of a terminal.
    pub fn rows_read(&self, count: u64) {
        if self.hub.style == Style::Terminal {
            self.hub.terminal.rows_read(self.status.name(), count);
        }
    }

    /// Whether the ends of the partitions are older than `age_ms`.
    pub fn lag_is_older_than(&self, age_ms: i64) -> bool {
        self.status.lag_is_older_than(age_ms, now_ms())
    }

    /// Whether it is known where the stream is in its source.
    pub fn has_position(&self) -> bool {
        self.status.has_position()
    }

    /// The stream's state.
    pub fn state(&self) -> StreamState {
        self.status.state()
    }

    /// Spark's `StreamingQueryStatus`.
    pub fn status(&self) -> QueryStatus {
        self.status.status()
    }

    /// The stream as the API shows it.
    pub fn info(&self) -> StreamInfo {
        self.status.info(now_ms())
    }

    /// The last error, also one that has passed.
    pub fn last_error(&self) -> Option<LastError> {
        self.status.last_error()
    }

    /// The newest progresses, the oldest first.
    pub fn recent_progress(&self) -> Vec<Arc<Progress>> {
        self.status.recent_progress()
    }
}

impl Inner {
    fn write_progress(&self, progress: &Progress) {
        if self.output.is_none() && self.style != Style::Json {
            return;
        }
        let mut line = serde_json::to_vec(progress).expect("progress is always JSON");
        line.push(b'\n');
        // An output that is gone or full is no reason to stop.
        match &self.output {
            None => drop(std::io::stderr().lock().write_all(&line)),
            Some(output) => {
                let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
                let _ = output.write_all(&line).and_then(|()| output.flush());
            }
        }
    }
}

fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

fn summary_line(name: &str, totals: &Totals, table_version: Option<u64>, seconds: f64) -> String {
    let mut line = format!(
        "{name}: {} read, {} written in {}, {seconds:.1} s ({} records/s)",
        counted(totals.input_rows, "record"),
        counted(totals.output_rows, "row"),
        counted(totals.batches, "micro-batch"),
        grouped((totals.input_rows as f64 / seconds.max(0.001)).round() as u64)
    );
    for (count, what, became) in [
        (totals.dead_letters, "dead letter", ""),
        (totals.malformed_rows, "malformed record", " kept as rows"),
        (totals.dropped_rows, "malformed record", " left out"),
        (totals.lost_ranges, "offset range", " lost"),
    ] {
        if count > 0 {
            line.push_str(&format!(", {}{became}", counted(count, what)));
        }
    }
    if let Some(version) = table_version {
        line.push_str(&format!("; the table is at version {version}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::progress::tests::example;
    use super::*;
    use crate::model::Kind;

    #[test]
    fn progress_lines_are_appended_to_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("progress.jsonl");
        for batch_id in 0..2 {
            let reporter = Reporter::to_file(Style::Quiet, &path).unwrap();
            reporter.stream("q").emit(Event::BatchCommitted(Arc::new(example("q", batch_id))));
        }
        let lines: Vec<i64> = std::fs::read_to_string(&path)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["batchId"].as_i64().unwrap())
            .collect();
        assert_eq!(lines, [0, 1]);
        let error = Reporter::to_file(Style::Quiet, folder.path()).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
    }

    #[test]
    fn a_process_is_ready_while_every_stream_runs_or_has_ended_well() {
        let reporter = Reporter::new(Style::Quiet);
        let (a, b) = (reporter.stream("a"), reporter.stream("b"));
        assert_eq!(reporter.not_ready(), ["stream a is starting", "stream b is starting"]);
        a.emit(Event::Ended { stopped: true });
        b.emit(Event::Ended { stopped: false });
        assert!(reporter.not_ready().is_empty());
        b.emit(Event::Failed {
            kind: Kind::Fenced,
            error: "another process took over stream b".into(),
            last: true,
        });
        assert_eq!(reporter.not_ready(), ["stream b has failed: another process took over stream b"]);
    }
}
