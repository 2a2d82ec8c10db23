//! A terminal's live progress: a line per stream that renews itself, a bar with rate and time left where an end is known.
//!
//! There is one screen per process, on standard error; log lines pass above it ([`above_progress`]). Where standard
//! error is no terminal nothing of this is drawn.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::event::Event;
use super::positions::Positions;
use super::progress::Progress;

/// How often the screen is drawn at most, per second.
const DRAWS_PER_SECOND: u8 = 10;
/// How often rate and time left are drawn while nothing happens.
const TICK: Duration = Duration::from_millis(500);

static SCREEN: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND)));

/// Writes `lines` to standard error; what is drawn there moves below them.
pub(crate) fn above_progress(lines: &[u8]) {
    // A standard error that is gone is no reason to stop.
    SCREEN.suspend(|| drop(std::io::stderr().lock().write_all(lines)));
}

/// Work that takes a while and whose end is not known: its name and the time so far, on a terminal only.
pub struct Busy(ProgressBar);

impl Busy {
    /// Shows `what` until the result is dropped.
    pub fn with(what: &str) -> Busy {
        let bar = SCREEN.add(ProgressBar::new_spinner());
        bar.set_style(style("{spinner} {wide_msg} {elapsed}"));
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(TICK);
        Busy(bar)
    }
}

impl Busy {
    /// Says how far the work is.
    pub fn say(&self, what: String) {
        self.0.set_message(what);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.finish_and_clear();
        SCREEN.remove(&self.0);
    }
}

/// Work of a known number of bytes: a bar with rate and time left, on a terminal only.
pub struct BytesBar(ProgressBar);

impl BytesBar {
    /// Shows `what`, `bytes` long, until the result is dropped.
    pub fn with(what: &str, bytes: u64) -> BytesBar {
        let bar = SCREEN.add(ProgressBar::new(bytes));
        bar.set_style(style(
            "{prefix} {wide_bar} {percent}%  {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left",
        ));
        bar.set_prefix(what.to_owned());
        bar.enable_steady_tick(TICK);
        BytesBar(bar)
    }

    /// So many more bytes are done.
    pub fn add(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Drop for BytesBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
        SCREEN.remove(&self.0);
    }
}

/// The lines of all streams.
#[derive(Debug, Default)]
pub(super) struct Terminal {
    streams: Mutex<BTreeMap<String, StreamLine>>,
}

#[derive(Debug)]
struct StreamLine {
    bar: ProgressBar,
    /// Whether there is an end.
    bounded: bool,
    /// Records, or offsets, of them that are in the table.
    committed: u64,
    /// The micro-batch that runs while none of this run is committed, and its rows so far.
    first: Option<(i64, u64)>,
}

impl StreamLine {
    fn new(stream: &str) -> StreamLine {
        let bar = SCREEN.add(ProgressBar::new_spinner());
        bar.set_style(style("{prefix}  {wide_msg}"));
        bar.set_prefix(stream.to_owned());
        bar.enable_steady_tick(TICK);
        StreamLine { bar, bounded: false, committed: 0, first: None }
    }

    fn bound(&mut self, records: u64) {
        self.bounded = true;
        self.committed = 0;
        self.bar.set_style(style(
            "{prefix} {wide_bar} {percent}%  {human_pos}/{human_len} records, {rate}, {eta} left",
        ));
        self.bar.set_length(records);
        self.bar.set_position(0);
        self.bar.reset_eta();
    }

    /// A micro-batch runs. What the newest committed one has shown is not taken away for it.
    fn planned(&mut self, batch_id: i64) {
        let shown = self.bar.message();
        if self.first.is_some() || !shown.starts_with("batch ") {
            self.first = Some((batch_id, 0));
            self.bar.set_message(format!("batch {batch_id} runs"));
        }
    }

    fn rows(&mut self, count: u64) {
        if self.bounded {
            self.bar.inc(count);
        } else if let Some((batch_id, rows)) = &mut self.first {
            *rows += count;
            self.bar.set_message(format!(
                "batch {batch_id} runs  {} rows so far",
                crate::model::numbers::grouped(*rows)
            ));
        }
    }

    fn committed(&mut self, progress: &Progress) {
        self.first = None;
        for source in &progress.sources {
            let positions = |offset: &Option<Box<serde_json::value::RawValue>>| {
                Positions::of_json(offset.as_ref().map_or("", |offset| offset.get()))
            };
            let read = positions(&source.start_offset).behind(&positions(&source.end_offset));
            // Offsets where there are partitions: some of them may have no record.
            let offsets = u64::try_from(read.iter().sum::<i64>()).unwrap_or(0);
            self.committed += if read.is_empty() { progress.num_input_rows } else { offsets };
        }
        if self.bounded {
            self.bar.set_position(self.committed);
        } else {
            self.bar.set_message(line_of(progress));
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates of this file are valid")
        .with_key("rate", |state: &ProgressState, line: &mut dyn std::fmt::Write| {
            // A line that can't be drawn is no reason to stop.
            let _ = line.write_str(&rate(state.per_sec()));
        })
        .progress_chars("=> ")
}

fn rate(per_second: f64) -> String {
    format!("{}/s", crate::model::numbers::grouped(per_second.round() as u64))
}

impl Terminal {
    /// Shows an event of a stream.
    pub(super) fn show(&self, stream: &str, event: &Event) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Event::Ended { .. } | Event::Failed { .. } = event {
            if let Some(line) = streams.remove(stream) {
                line.clear();
            }
            return;
        }
        let line = streams.entry(stream.to_owned()).or_insert_with(|| StreamLine::new(stream));
        match event {
            Event::Starting => line.bar.set_message("opening checkpoint, table and source"),
            Event::Opened(_) => line.bar.set_message("waiting for data"),
            Event::Bounded { records } => line.bound(*records),
            Event::BatchPlanned { batch_id, .. } => line.planned(*batch_id),
            Event::BatchCommitted(progress) => line.committed(progress),
            Event::Restarting(restart) => {
                line.first = None;
                line.bar.set_position(line.committed);
                let (attempt, seconds) = (restart.attempt, restart.failing_for.as_secs());
                line.bar.set_message(format!("waiting  attempt {attempt} failed, no commit for {seconds} s"));
            }
            _ => {}
        }
    }

    /// Records of a stream were read; they count until their micro-batch is committed or given up.
    pub(super) fn rows_read(&self, stream: &str, count: u64) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = streams.get_mut(stream) {
            line.rows(count);
        }
    }

    /// Takes all lines off the screen.
    pub(super) fn clear(&self) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *streams).into_values().for_each(StreamLine::clear);
    }
}

impl StreamLine {
    fn clear(self) {
        self.bar.finish_and_clear();
        SCREEN.remove(&self.bar);
    }
}

/// What is known of the newest micro-batch, the least important last: a terminal is 80 columns wide.
fn line_of(progress: &Progress) -> String {
    let version = progress.alluvia.table_version.map_or(String::new(), |v| format!("  version {v}"));
    format!(
        "batch {}{version}  {} rows/s  lag {}  committed {}",
        progress.batch_id,
        crate::model::numbers::grouped(progress.processed_rows_per_second.round() as u64),
        crate::model::numbers::grouped(u64::try_from(progress.alluvia.lag).unwrap_or(0)),
        progress.timestamp.get(11..19).unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::progress::tests::example;
    use super::*;

    fn message(terminal: &Terminal) -> String {
        terminal.streams.lock().unwrap()["q"].bar.message()
    }

    #[test]
    fn the_first_batch_shows_its_rows_while_it_runs() {
        let terminal = Terminal::default();
        terminal.show("q", &Event::Starting);
        terminal.show("q", &Event::BatchPlanned { batch_id: 7, rerun: false });
        assert_eq!(message(&terminal), "batch 7 runs");
        (0..2).for_each(|_| terminal.rows_read("q", 11_500));
        assert_eq!(message(&terminal), "batch 7 runs  23,000 rows so far");
        terminal.show("q", &Event::BatchCommitted(Arc::new(example("q", 7))));
        let committed = message(&terminal);
        assert!(committed.starts_with("batch 7  ") && committed.chars().count() < 72, "{committed}");
        terminal.show("q", &Event::BatchPlanned { batch_id: 8, rerun: false });
        terminal.rows_read("q", 1);
        assert_eq!(message(&terminal), committed);
        terminal.clear();
    }

    #[test]
    fn a_rate_has_no_fractions() {
        assert_eq!(rate(41_549.901_2), "41,550/s");
        let mut line = StreamLine::new("q");
        line.bound(1_000);
        line.rows(10);
        assert_eq!((line.bar.position(), line.bar.length()), (10, Some(1_000)));
        line.clear();
    }
}
