//! What happens to a stream, as typed events: each gives its log line, its metrics and its part of the status.
//!
//! A stream tells a [`StreamReporter`](super::StreamReporter) what happened, once; nothing else writes these log lines or
//! metrics, so log, metrics, API and page can't contradict each other. Events hold no row value and no secret.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::positions::Positions;
use super::progress::Progress;
use crate::model::{Kind, MemoryAccount, Offset};

/// What happened to a stream.
#[derive(Debug, Clone)]
pub enum Event {
    /// It is about to open its checkpoint, table and source.
    Starting,
    /// They are open.
    Opened(Box<StreamOpened>),
    /// It knows where to go on.
    Positioned {
        /// The first offset that is not in the table.
        position: Offset,
        /// When the batch before was planned, in ms since the Unix epoch; `None` in a new query.
        since_ms: Option<i64>,
    },
    /// It goes on after a micro-batch that an earlier start has committed.
    Resumed {
        /// That micro-batch.
        batch_id: i64,
        /// The table's version that holds it, as far as it is known.
        table_version: Option<u64>,
        /// When it was committed, in ms since the Unix epoch, as far as it is known.
        committed_ms: Option<i64>,
        /// The watermark that it ran with, in ms since the Unix epoch; `None` without a watermark.
        watermark_ms: Option<i64>,
    },
    /// A trigger has fired.
    TriggerFired,
    /// The source was asked for its ends.
    LatestOffset {
        /// Them.
        latest: Offset,
        /// Where the next micro-batch starts.
        start: Offset,
    },
    /// There was nothing for a micro-batch.
    NoData,
    /// The stream ends where its source ended when it began (`availableNow`).
    Bounded {
        /// Records, or offsets, from where it is to there.
        records: u64,
    },
    /// A micro-batch is about to run.
    BatchPlanned {
        /// The micro-batch.
        batch_id: i64,
        /// Whether it was planned before a restart.
        rerun: bool,
    },
    /// Its files are durable; no commit names them yet.
    FilesWritten {
        /// Its end.
        end: Offset,
    },
    /// Records became no rows.
    RecordsRejected(BTreeMap<&'static str, Rejected>),
    /// Its commit was tried again on a newer version of the table.
    CommitConflicts {
        /// How often.
        count: u32,
    },
    /// It is in the table and in the commit log.
    BatchCommitted(Arc<Progress>),
    /// Small files of the table were joined.
    Compacted(CompactedFiles),
    /// Files that the table does not need any more were deleted.
    Vacuumed {
        /// How many.
        files: u64,
        /// Their bytes.
        size_bytes: u64,
    },
    /// The service was told where the stream is.
    Mirrored {
        /// The first offset that is not in the table.
        position: Offset,
    },
    /// The stream found that its lease is still its own.
    LeaseConfirmed,
    /// An error that may pass has ended it; it starts again after a pause.
    Restarting(Restart),
    /// An error has ended it for good.
    Failed {
        /// The error's kind.
        kind: Kind,
        /// The error, with its hint.
        error: String,
        /// Whether no other stream of the process runs any more.
        last: bool,
    },
    /// It has ended without an error.
    Ended {
        /// Whether it was stopped; else its trigger has ended it.
        stopped: bool,
    },
}

impl Event {
    /// That a stream which is at `from` ends at `until`; `None` if that is nothing to read, or can't be counted.
    pub fn bounded(from: &Offset, until: &Offset) -> Option<Event> {
        let offsets: i64 = Positions::of(from).behind(&Positions::of(until)).iter().sum();
        u64::try_from(offsets).ok().filter(|records| *records > 0).map(|records| Event::Bounded { records })
    }
}

/// A stream whose checkpoint, table and source are open.
#[derive(Debug, Clone)]
pub struct StreamOpened {
    /// The query's id.
    pub query_id: String,
    /// This start of the stream.
    pub run_id: String,
    /// The source's description.
    pub source: String,
    /// The sink's description.
    pub sink: String,
    /// `memoryLimit`, in bytes.
    pub memory_limit: Option<u64>,
    /// What its buffers hold.
    pub memory: Arc<MemoryAccount>,
}

/// What became of small files of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactedFiles {
    /// The table's version that it made; `None` if there was nothing left to commit.
    pub version: Option<u64>,
    /// Files that left the table.
    pub files_removed: u64,
    /// Files that took their place.
    pub files_added: u64,
    /// Bytes of the former.
    pub bytes_removed: u64,
    /// Files that stay, because one of those that they were to be joined with was changed meanwhile.
    pub files_left: u64,
}

/// A restart to come.
#[derive(Debug, Clone)]
pub struct Restart {
    /// The kind of the error before it.
    pub kind: Kind,
    /// That error, with its hint.
    pub error: String,
    /// Failures in a row.
    pub attempt: u32,
    /// How many of them end the stream; `None`: none does.
    pub of: Option<u32>,
    /// How long ago the first of them was.
    pub failing_for: Duration,
    /// The wait before it.
    pub pause: Duration,
}

/// Records that were rejected for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// The field at fault, if one is.
    pub field: Option<String>,
}

impl Rejected {
    /// Counts `other` too; the record with the lower offset stays the example.
    pub fn add(&mut self, other: Rejected) {
        let place = |r: &Rejected| (Arc::clone(&r.topic), r.partition, r.offset);
        let count = self.count + other.count;
        if place(&other) < place(self) {
            *self = other;
        }
        self.count = count;
    }
}

/// The least time between two log lines about records that were rejected for one reason.
const REJECTED_EVERY: Duration = Duration::from_secs(10);

/// How a stream's events become log lines: one a micro-batch at most, and rejected records not more than once in
/// [`REJECTED_EVERY`] per reason.
#[derive(Debug)]
pub(crate) struct EventLog {
    /// Whether a committed micro-batch has a line (where its progress goes elsewhere).
    batches: bool,
    /// Whether the program prints the error of its last stream as its own last line: it then has no log line.
    last_error_is_printed: bool,
    rejected: BTreeMap<&'static str, (Instant, u64)>,
}

impl EventLog {
    pub(crate) fn new(batches: bool, last_error_is_printed: bool) -> EventLog {
        EventLog { batches, last_error_is_printed, rejected: BTreeMap::new() }
    }

    /// Writes the event's log line, if it has one. That of the end has what the stream did in all, and is its reporter's.
    pub(crate) fn write(&mut self, stream: &str, event: &Event) {
        match event {
            Event::Opened(opened) => {
                tracing::info!(
                    stream,
                    id = opened.query_id,
                    run_id = opened.run_id,
                    source = opened.source,
                    sink = opened.sink,
                    "the stream has started"
                );
            }
            Event::BatchPlanned { batch_id, rerun: true } => {
                tracing::info!(stream, batch = batch_id, "running a planned batch again");
            }
            Event::RecordsRejected(reasons) => self.rejected(stream, reasons),
            Event::CommitConflicts { count } => {
                tracing::info!(
                    stream,
                    count,
                    "another writer took the table's next version; the commit was tried again"
                );
            }
            Event::BatchCommitted(progress) if self.batches => {
                tracing::info!(
                    stream,
                    batch = progress.batch_id,
                    rows = progress.num_input_rows,
                    rejected = progress.alluvia.dead_letters + progress.alluvia.dropped_rows,
                    lag = progress.alluvia.lag,
                    version = progress.alluvia.table_version,
                    duration_ms = progress.batch_duration,
                    "micro-batch committed"
                );
            }
            Event::Compacted(done) => tracing::info!(
                stream,
                version = done.version,
                files = done.files_removed,
                into = done.files_added,
                bytes = done.bytes_removed,
                left = done.files_left,
                "small files of the table were joined"
            ),
            Event::Vacuumed { files, size_bytes } => {
                tracing::info!(
                    stream,
                    files,
                    bytes = size_bytes,
                    "files that the table no longer needs were deleted"
                );
            }
            Event::Restarting(restart) => tracing::warn!(
                stream,
                kind = restart.kind.name(),
                error = restart.error,
                attempt = restart.attempt,
                of = restart.of,
                failing_s = restart.failing_for.as_secs(),
                pause_ms = u64::try_from(restart.pause.as_millis()).unwrap_or(u64::MAX),
                "the stream is started again after a pause"
            ),
            Event::Failed { last: true, .. } if self.last_error_is_printed => {}
            Event::Failed { kind, error, .. } => {
                tracing::error!(stream, kind = kind.name(), error, "the stream has failed");
            }
            _ => {}
        }
    }

    fn rejected(&mut self, stream: &str, reasons: &BTreeMap<&'static str, Rejected>) {
        for (reason, rejected) in reasons {
            let (last, suppressed) = match self.rejected.get(reason) {
                Some((last, suppressed)) => (Some(*last), *suppressed),
                None => (None, 0),
            };
            if let Some(last) = last.filter(|last| last.elapsed() < REJECTED_EVERY) {
                self.rejected.insert(reason, (last, suppressed + rejected.count));
                continue;
            }
            self.rejected.insert(reason, (Instant::now(), 0));
            tracing::warn!(
                stream,
                reason,
                count = rejected.count + suppressed,
                topic = &*rejected.topic,
                partition = rejected.partition,
                offset = rejected.offset,
                field = rejected.field,
                "records were rejected; the first of them is named"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(partition: i32, offset: i64) -> Rejected {
        Rejected { count: 1, topic: "t".into(), partition, offset, field: None }
    }

    #[test]
    fn rejected_records_are_counted_and_the_first_of_them_is_named_whatever_lane_met_it() {
        let mut all = rejected(1, 7);
        all.add(rejected(1, 9));
        all.add(rejected(0, 30));
        assert_eq!(all, Rejected { count: 3, ..rejected(0, 30) });
    }
}
