//! What is known of a stream now: its state, its newest micro-batches, its lag, its last error.
//!
//! Kept for as long as the process lives, also after the stream has ended. Filled by events only ([`super::Event`]), so
//! that the page, the API, the metrics and the log can't contradict each other. Words are Spark's where it has them
//! (`StreamingQueryStatus`, `recentProgress`).

mod shown;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::event::Event;
use super::positions::{Lag, Positions};
use super::progress::{Progress, timestamp};
use crate::model::time::from_utc;
use crate::model::{Kind, MemoryAccount};
pub use shown::{HistoryPoint, LastError, PartitionLag, QueryStatus, StreamInfo, StreamState, Totals};

/// Micro-batches whose progress is kept, as Spark's `spark.sql.streaming.numRecentProgressUpdates`.
pub const RECENT_MAX: usize = 100;

/// A stream as it is kept.
#[derive(Debug)]
pub(crate) struct StreamStatus {
    name: String,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: StreamState,
    since_ms: i64,
    id: Option<String>,
    run_id: Option<String>,
    source: Option<String>,
    sink: Option<String>,
    status: QueryStatus,
    last_error: Option<LastError>,
    lag: Lag,
    /// Where the service was last told that the stream is.
    mirrored: Positions,
    recent: VecDeque<Arc<Progress>>,
    resumed: Resumed,
    last_commit_ms: Option<i64>,
    last_trigger_ms: Option<i64>,
    lease_confirmed: Option<Instant>,
    memory_limit: Option<u64>,
    memory: Option<Arc<MemoryAccount>>,
    totals: Totals,
}

/// The micro-batch after which the stream went on.
#[derive(Debug, Default)]
struct Resumed {
    batch_id: Option<i64>,
    table_version: Option<u64>,
    committed_ms: Option<i64>,
    watermark_ms: Option<i64>,
}

/// What a scrape needs beside the counters.
pub(crate) struct Gauges {
    pub(crate) state: StreamState,
    pub(crate) lag: Lag,
    pub(crate) mirrored: Positions,
    pub(crate) oldest_uncommitted_seconds: Option<f64>,
    pub(crate) last: Option<Arc<Progress>>,
    pub(crate) last_commit_ms: Option<i64>,
    pub(crate) last_trigger_ms: Option<i64>,
    pub(crate) watermark_ms: Option<i64>,
    pub(crate) lease_age_seconds: Option<f64>,
    pub(crate) memory_limit: Option<u64>,
    pub(crate) memory_used: Option<u64>,
}

impl StreamStatus {
    /// A stream that is about to start.
    pub(crate) fn new(name: &str, now_ms: i64) -> StreamStatus {
        StreamStatus {
            name: name.to_owned(),
            inner: Mutex::new(Inner {
                state: StreamState::Starting,
                since_ms: now_ms,
                id: None,
                run_id: None,
                source: None,
                sink: None,
                status: QueryStatus {
                    message: "Initializing sources".into(),
                    is_data_available: false,
                    is_trigger_active: false,
                },
                last_error: None,
                lag: Lag::default(),
                mirrored: Positions::default(),
                recent: VecDeque::new(),
                resumed: Resumed::default(),
                last_commit_ms: None,
                last_trigger_ms: None,
                lease_confirmed: None,
                memory_limit: None,
                memory: None,
                totals: Totals::default(),
            }),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what an event says.
    pub(crate) fn apply(&self, event: &Event, now_ms: i64) {
        self.inner().apply(event, now_ms);
    }

    pub(crate) fn state(&self) -> StreamState {
        self.inner().state
    }

    pub(crate) fn status(&self) -> QueryStatus {
        self.inner().status.clone()
    }

    pub(crate) fn last_error(&self) -> Option<LastError> {
        self.inner().last_error.clone()
    }

    pub(crate) fn totals(&self) -> Totals {
        self.inner().totals.clone()
    }

    /// Whether the ends of the partitions are older than `age_ms`, or of a time that the clock, set back since, has yet to reach.
    pub(crate) fn lag_is_older_than(&self, age_ms: i64, now_ms: i64) -> bool {
        self.inner().lag.measured_ms.is_none_or(|measured| !(0..age_ms).contains(&(now_ms - measured)))
    }

    pub(crate) fn has_position(&self) -> bool {
        !self.inner().lag.places().is_empty()
    }

    /// The newest progresses, the oldest first.
    pub(crate) fn recent_progress(&self) -> Vec<Arc<Progress>> {
        self.inner().recent.iter().cloned().collect()
    }

    pub(crate) fn last_progress(&self) -> Option<Arc<Progress>> {
        self.inner().recent.back().cloned()
    }

    /// The same as points of charts.
    pub(crate) fn history(&self) -> Vec<HistoryPoint> {
        self.recent_progress().iter().map(|progress| HistoryPoint::of(progress)).collect()
    }

    /// The lag of every partition, in order.
    pub(crate) fn partitions(&self) -> Vec<PartitionLag> {
        let inner = self.inner();
        let places = inner.lag.places().iter();
        places
            .map(|((topic, partition), place)| PartitionLag {
                topic: Arc::clone(topic),
                partition: *partition,
                committed: place.committed,
                latest: place.latest,
                lag: place.lag(),
                read_lag: place.read_lag(),
            })
            .collect()
    }

    pub(crate) fn gauges(&self, now_ms: i64) -> Gauges {
        let inner = self.inner();
        Gauges {
            state: inner.state,
            oldest_uncommitted_seconds: inner.lag.oldest_uncommitted_seconds(now_ms),
            lag: inner.lag.clone(),
            mirrored: inner.mirrored.clone(),
            last: inner.recent.back().cloned(),
            last_commit_ms: inner.newest_commit_ms(),
            last_trigger_ms: inner.last_trigger_ms,
            watermark_ms: inner.watermark_ms(),
            lease_age_seconds: inner.lease_confirmed.map(|at| at.elapsed().as_secs_f64()),
            memory_limit: inner.memory_limit,
            memory_used: inner.memory.as_ref().map(|account| account.used_bytes() as u64),
        }
    }

    /// The stream as the API shows it.
    pub(crate) fn info(&self, now_ms: i64) -> StreamInfo {
        let inner = self.inner();
        let last = inner.recent.back();
        let measured = inner.lag.measured_ms.filter(|_| !inner.lag.places().is_empty());
        StreamInfo {
            name: self.name.clone(),
            id: inner.id.clone(),
            run_id: inner.run_id.clone(),
            state: inner.state,
            since: timestamp(inner.since_ms),
            is_active: inner.state.is_active(),
            status: inner.status.clone(),
            source: inner.source.clone(),
            sink: inner.sink.clone(),
            last_error: inner.last_error.clone(),
            batch_id: last.map(|last| last.batch_id).max(inner.resumed.batch_id),
            table_version: last.and_then(|last| last.alluvia.table_version).max(inner.resumed.table_version),
            last_commit: inner.newest_commit_ms().map(timestamp),
            watermark: inner.watermark_ms().map(timestamp),
            input_rows_per_second: last.map_or(0.0, |last| last.input_rows_per_second),
            processed_rows_per_second: last.map_or(0.0, |last| last.processed_rows_per_second),
            lag: measured.map(|_| inner.lag.total()),
            lag_measured: measured.map(timestamp),
            oldest_uncommitted_age_seconds: inner.lag.oldest_uncommitted_seconds(now_ms),
            totals: inner.totals.clone(),
        }
    }
}

impl Inner {
    fn apply(&mut self, event: &Event, now_ms: i64) {
        match event {
            Event::Starting => {
                self.enter(StreamState::Starting, now_ms);
                self.set_status("Initializing sources", None, false);
            }
            Event::Opened(opened) => {
                self.enter(StreamState::Running, now_ms);
                self.id = Some(opened.query_id.clone());
                self.run_id = Some(opened.run_id.clone());
                self.source = Some(opened.source.clone());
                self.sink = Some(opened.sink.clone());
                self.memory_limit = opened.memory_limit;
                self.memory = Some(Arc::clone(&opened.memory));
                self.lease_confirmed = Some(Instant::now());
                self.set_status("Waiting for next trigger", None, false);
            }
            Event::Positioned { position, since_ms } => {
                self.lag.start(&Positions::of(position), since_ms.unwrap_or(now_ms).min(now_ms));
            }
            Event::Resumed { batch_id, table_version, committed_ms, watermark_ms } => {
                self.resumed = Resumed {
                    batch_id: Some(*batch_id),
                    table_version: *table_version,
                    committed_ms: *committed_ms,
                    watermark_ms: *watermark_ms,
                };
            }
            Event::TriggerFired => {
                self.last_trigger_ms = Some(now_ms);
                self.status.is_trigger_active = true;
            }
            Event::LatestOffset { latest, start } => {
                self.lag.measured(&Positions::of(latest), || Positions::of(start), now_ms);
            }
            Event::NoData => self.set_status("Waiting for data to arrive", Some(false), false),
            Event::BatchPlanned { rerun, .. } => {
                self.totals.reruns += u64::from(*rerun);
                self.set_status("Processing new data", Some(true), true);
            }
            Event::FilesWritten { end } => self.lag.read_to(&Positions::of(end)),
            Event::CommitConflicts { count } => self.totals.commit_conflicts += u64::from(*count),
            Event::BatchCommitted(progress) => self.committed(progress, now_ms),
            Event::Mirrored { position } => self.mirrored = Positions::of(position),
            Event::LeaseConfirmed => self.lease_confirmed = Some(Instant::now()),
            Event::Restarting(restart) => {
                self.enter(StreamState::Restarting, now_ms);
                self.lag.abandon();
                self.totals.restarts += 1;
                self.failed_with(restart.kind, &restart.error, now_ms);
                let (pause, failing) = (restart.pause.as_secs_f64(), restart.failing_for.as_secs());
                let message = format!(
                    "Waiting {pause:.1} s before a restart; attempt {} failed, no commit for {failing} s",
                    restart.attempt
                );
                self.set_status(&message, Some(false), false);
            }
            Event::Failed { kind, error, .. } => {
                self.enter(StreamState::Failed, now_ms);
                self.lag.abandon();
                self.lease_confirmed = None;
                self.failed_with(*kind, error, now_ms);
                self.set_status(&format!("Terminated with exception: {error}"), Some(false), false);
            }
            Event::Ended { stopped } => {
                let state = if *stopped { StreamState::Stopped } else { StreamState::Finished };
                self.enter(state, now_ms);
                self.lag.abandon();
                self.lease_confirmed = None;
                self.set_status("Stopped", Some(false), false);
            }
            Event::Bounded { .. }
            | Event::RecordsRejected(_)
            | Event::Compacted(_)
            | Event::Vacuumed { .. } => {}
        }
    }

    /// When the newest micro-batch was committed, by whichever process.
    fn newest_commit_ms(&self) -> Option<i64> {
        self.last_commit_ms.max(self.resumed.committed_ms)
    }

    /// The watermark that the newest micro-batch ran with: it never goes back.
    fn watermark_ms(&self) -> Option<i64> {
        let last = self.recent.back().and_then(|last| from_utc(last.event_time.get("watermark")?));
        last.max(self.resumed.watermark_ms)
    }

    fn enter(&mut self, state: StreamState, now_ms: i64) {
        if self.state != state {
            self.state = state;
            self.since_ms = now_ms;
        }
    }

    fn set_status(&mut self, message: &str, data: Option<bool>, trigger_active: bool) {
        self.status.message.clear();
        self.status.message.push_str(message);
        self.status.is_data_available = data.unwrap_or(self.status.is_data_available);
        self.status.is_trigger_active = trigger_active;
    }

    fn failed_with(&mut self, kind: Kind, error: &str, now_ms: i64) {
        self.last_error =
            Some(LastError { kind: kind.name(), message: error.to_owned(), timestamp: timestamp(now_ms) });
    }

    fn committed(&mut self, progress: &Arc<Progress>, now_ms: i64) {
        let (totals, ours) = (&mut self.totals, &progress.alluvia);
        totals.batches += 1;
        totals.input_rows += progress.num_input_rows;
        totals.input_bytes += ours.input_bytes;
        totals.output_rows += progress.sink.num_output_rows;
        totals.files += ours.files;
        totals.file_bytes += ours.file_bytes;
        totals.malformed_rows += ours.malformed_rows;
        totals.dead_letters += ours.dead_letters;
        totals.dropped_rows += ours.dropped_rows;
        totals.late_rows += progress.late_rows();
        totals.duplicate_rows += progress.duplicate_rows();
        totals.lost_ranges += ours.lost_ranges.len() as u64;
        for (code, count) in &ours.rejected_rows {
            *totals.rejected_rows.entry(code).or_default() += count;
        }
        for source in &progress.sources {
            if let Some(end) = &source.end_offset {
                self.lag.committed_to(&Positions::of_json(end.get()));
            }
        }
        self.last_commit_ms = Some(now_ms);
        self.recent.push_back(Arc::clone(progress));
        if self.recent.len() > RECENT_MAX {
            self.recent.pop_front();
        }
        self.set_status("Waiting for next trigger", None, false);
    }
}

#[cfg(test)]
mod tests {
    use super::super::progress::tests::example;
    use super::*;
    use crate::observe::event::Restart;

    fn committed(batch_id: i64) -> Event {
        Event::BatchCommitted(Arc::new(example("q", batch_id)))
    }

    #[test]
    fn the_newest_hundred_progresses_are_kept() {
        let status = StreamStatus::new("q", 0);
        (0..250).for_each(|batch_id| status.apply(&committed(batch_id), 5_000));
        let recent = status.recent_progress();
        assert_eq!(recent.len(), RECENT_MAX);
        assert_eq!((recent[0].batch_id, recent[99].batch_id), (150, 249));
        assert_eq!(status.history()[0].batch_id, 150);
        let info = status.info(5_000);
        assert_eq!((info.totals.batches, info.totals.input_rows, info.batch_id), (250, 25_000, Some(249)));
        assert_eq!(info.totals.rejected_rows["MALFORMED_RECORD"], 750);
    }

    #[test]
    fn what_an_earlier_start_has_committed_is_shown_until_there_is_more() {
        let status = StreamStatus::new("q", 0);
        let resumed = Event::Resumed {
            batch_id: 5,
            table_version: Some(9),
            committed_ms: Some(4_000),
            watermark_ms: Some(3_000),
        };
        status.apply(&resumed, 5_000);
        let gauges = status.gauges(5_000);
        assert_eq!((gauges.last_commit_ms, gauges.watermark_ms), (Some(4_000), Some(3_000)));
        let info = status.info(5_000);
        assert_eq!((info.batch_id, info.table_version), (Some(5), Some(9)));
        assert_eq!((info.last_commit, info.totals.batches), (Some(timestamp(4_000)), 0));
        assert_eq!(info.watermark, Some(timestamp(3_000)));
        let mut progress = example("q", 6);
        progress.event_time.insert("watermark", timestamp(3_500));
        status.apply(&Event::BatchCommitted(Arc::new(progress)), 6_000);
        let info = status.info(6_000);
        assert_eq!((info.batch_id, info.last_commit), (Some(6), Some(timestamp(6_000))));
        assert_eq!(info.watermark, Some(timestamp(3_500)));
        assert_eq!(status.gauges(6_000).last_commit_ms, Some(6_000));
    }

    #[test]
    fn a_failed_stream_says_why_and_is_not_active() {
        let status = StreamStatus::new("q", 0);
        let restart = Restart {
            kind: Kind::Unavailable,
            error: "no broker answers".into(),
            attempt: 1,
            of: Some(3),
            failing_for: std::time::Duration::ZERO,
            pause: std::time::Duration::from_secs(2),
        };
        status.apply(&Event::Restarting(restart), 1_000);
        assert_eq!(
            status.info(1_000).status.message,
            "Waiting 2.0 s before a restart; attempt 1 failed, no commit for 0 s"
        );
        assert!(status.state().is_active());
        status
            .apply(&Event::Failed { kind: Kind::Data, error: "offsets are gone".into(), last: true }, 2_000);
        let info = status.info(3_000);
        assert_eq!((info.state, info.is_active, info.totals.restarts), (StreamState::Failed, false, 1));
        let error = info.last_error.unwrap();
        assert_eq!((error.kind, error.message.as_str()), ("data", "offsets are gone"));
        assert_eq!((error.timestamp, info.since), (timestamp(2_000), timestamp(2_000)));
        assert_eq!(info.status.message, "Terminated with exception: offsets are gone");
    }
}
