//! Where progress goes: a line that renews itself on a terminal, JSON lines elsewhere.
//!
//! Everything goes to standard error; standard output is for results.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::progress::Progress;
use crate::model::Kind;

/// How often a terminal's line is renewed at most.
const RENEWAL: Duration = Duration::from_millis(100);

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

/// What a stream of this process does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StreamState {
    /// It has not committed since the process started.
    #[default]
    Starting,
    /// Its last micro-batch was committed.
    Running,
    /// Its last attempt failed; it is started again after `pause`.
    Retrying {
        /// What the last error means.
        kind: Kind,
        /// Failed attempts since the last commit.
        attempt: u32,
        /// How long ago the first of them failed.
        failing_for: Duration,
        /// The wait before the next one.
        pause: Duration,
    },
    /// It has failed and is not started again.
    Failed {
        /// What its error means.
        kind: Kind,
    },
    /// It has ended as its trigger says, or was stopped.
    Ended,
}

/// Collects progress of all streams and shows it.
#[derive(Debug, Clone)]
pub struct Reporter {
    style: Style,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    started: Instant,
    shown: Option<Instant>,
    totals: BTreeMap<String, Totals>,
}

/// What a stream did since it started.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Micro-batches committed.
    pub batches: u64,
    /// Records read.
    pub input_rows: u64,
    /// Their bytes.
    pub input_bytes: u64,
    /// Rows added to the table.
    pub output_rows: u64,
    /// Malformed records that became rows.
    pub malformed_rows: u64,
    /// Records that went to the dead letters.
    pub dead_letters: u64,
    /// Records left out.
    pub dropped_rows: u64,
    /// Offset ranges that were gone.
    pub lost_ranges: u64,
    /// The newest micro-batch.
    pub last: Option<Progress>,
    /// What the stream does now.
    pub state: StreamState,
}

impl Reporter {
    /// A reporter in a style.
    pub fn new(style: Style) -> Reporter {
        let state = State { started: Instant::now(), shown: None, totals: BTreeMap::new() };
        Reporter { style, state: Arc::new(Mutex::new(state)) }
    }

    /// Takes the progress of a micro-batch.
    pub fn progress(&self, progress: Progress) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let totals = state.totals.entry(progress.name.clone()).or_default();
        totals.batches += 1;
        totals.state = StreamState::Running;
        totals.input_rows += progress.num_input_rows;
        totals.input_bytes += progress.alluvia.input_bytes;
        totals.output_rows += progress.sink.num_output_rows;
        totals.malformed_rows += progress.alluvia.malformed_rows;
        totals.dead_letters += progress.alluvia.dead_letters;
        totals.dropped_rows += progress.alluvia.dropped_rows;
        totals.lost_ranges += progress.alluvia.lost_ranges.len() as u64;
        match self.style {
            Style::Quiet => {}
            Style::Json => {
                let line = serde_json::to_string(&progress).expect("progress is always JSON");
                write_line(&line);
            }
            Style::Terminal => {
                if state.shown.is_none_or(|shown| shown.elapsed() >= RENEWAL) {
                    state.shown = Some(Instant::now());
                    let mut error = std::io::stderr().lock();
                    // A terminal that is gone is no reason to stop.
                    let _ = write!(error, "\r\x1b[2K{}", terminal_line(&progress));
                    let _ = error.flush();
                }
            }
        }
        if let Some(totals) = state.totals.get_mut(&progress.name) {
            totals.last = Some(progress);
        }
    }

    /// Takes a change of what a stream does that no micro-batch shows. JSON lines carry it as `"event": "state"`.
    pub fn state(&self, name: &str, now: StreamState) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.totals.entry(name.to_owned()).or_default().state = now;
        match self.style {
            Style::Quiet => {}
            Style::Json => write_line(&state_line(name, now)),
            Style::Terminal => {
                if let StreamState::Retrying { attempt, failing_for, .. } = now {
                    state.shown = Some(Instant::now());
                    let seconds = failing_for.as_secs();
                    let mut error = std::io::stderr().lock();
                    // A terminal that is gone is no reason to stop.
                    let _ = write!(
                        error,
                        "\r\x1b[2K{name}  waiting  attempt {attempt} failed, no commit for {seconds} s"
                    );
                    let _ = error.flush();
                }
            }
        }
    }

    /// What the streams did so far, by name.
    pub fn totals(&self) -> BTreeMap<String, Totals> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).totals.clone()
    }

    /// Shows what all streams did, on a terminal.
    pub fn summary(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.style != Style::Terminal {
            return;
        }
        let seconds = state.started.elapsed().as_secs_f64();
        if state.shown.is_some() {
            write_line("\r\x1b[2K");
        }
        for (name, totals) in &state.totals {
            write_line(&summary_line(name, totals, seconds));
        }
    }
}

fn write_line(line: &str) {
    // A closed standard error is no reason to stop.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

fn state_line(name: &str, now: StreamState) -> String {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let more = match now {
        StreamState::Starting => json!({ "state": "starting" }),
        StreamState::Running => json!({ "state": "running" }),
        StreamState::Ended => json!({ "state": "ended" }),
        StreamState::Failed { kind } => json!({ "state": "failed", "kind": kind.name() }),
        StreamState::Retrying { kind, attempt, failing_for, pause } => json!({
            "state": "retrying", "kind": kind.name(), "attempt": attempt,
            "failingMs": millis(failing_for), "pauseMs": millis(pause),
        }),
    };
    let mut line = json!({ "event": "state", "name": name });
    if let (Some(line), Value::Object(more)) = (line.as_object_mut(), more) {
        line.extend(more);
    }
    line.to_string()
}

fn terminal_line(progress: &Progress) -> String {
    let version = progress.alluvia.table_version.map_or(String::new(), |v| format!(", table version {v}"));
    format!(
        "{}  batch {}  {} rows/s  lag {}  last commit {}{version}",
        progress.name,
        progress.batch_id,
        grouped(progress.processed_rows_per_second.round() as u64),
        grouped(u64::try_from(progress.alluvia.lag).unwrap_or(0)),
        progress.timestamp.get(11..19).unwrap_or_default(),
    )
}

fn summary_line(name: &str, totals: &Totals, seconds: f64) -> String {
    let mut line = format!(
        "{name}: {} records read, {} rows written in {} micro-batches, {seconds:.1} s ({} records/s)",
        grouped(totals.input_rows),
        grouped(totals.output_rows),
        totals.batches,
        grouped((totals.input_rows as f64 / seconds.max(0.001)).round() as u64)
    );
    for (count, what) in [
        (totals.dead_letters, "dead letters"),
        (totals.malformed_rows, "malformed records kept as rows"),
        (totals.dropped_rows, "malformed records left out"),
        (totals.lost_ranges, "offset ranges lost"),
    ] {
        if count > 0 {
            line.push_str(&format!(", {} {what}", grouped(count)));
        }
    }
    if let Some(version) = totals.last.as_ref().and_then(|last| last.alluvia.table_version) {
        line.push_str(&format!("; the table is at version {version}"));
    }
    line
}

/// A number with a comma between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_waits_says_so_as_json() {
        let state = StreamState::Retrying {
            kind: Kind::Unavailable,
            attempt: 12,
            failing_for: Duration::from_secs(300),
            pause: Duration::from_millis(59_500),
        };
        assert_eq!(
            state_line("s", state),
            r#"{"event":"state","name":"s","state":"retrying","kind":"unavailable","attempt":12,"failingMs":300000,"pauseMs":59500}"#
        );
        let reporter = Reporter::new(Style::Quiet);
        reporter.state("s", state);
        assert_eq!(reporter.totals()["s"].state, state);
    }

    #[test]
    fn thousands_are_told_apart() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
