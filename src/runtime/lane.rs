//! A lane: one thread with its own share of a batch's splits, from the reader to the sink's writer.
//!
//! Lanes share nothing but the attempt. A lane keeps its reader and its pipeline from batch to batch,
//! so that what follows is being fetched while the batch before is committed. In a batch smaller
//! than one file a lane hands its rows back instead, and one writer writes them all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arrow::array::RecordBatch;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::lane_pipeline::{Emit, LanePipeline};
use crate::decode::json::Rejection;
use crate::model::{Error, Loss, MemoryAccount, Record, Result};
use crate::observe::{Rejected, StreamReporter};
use crate::sink::{AttemptWriter, DeadLetterRows, DeadLetters, Part, RowPlaces, SinkWriter};
use crate::source::{Intake, Split, SplitReader};

/// Decoded bytes that a lane hands back at most; beyond them it writes a file of its own.
const GATHER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How often a lane's reader is told that there is nothing to read.
const REST_INTERVAL: Duration = Duration::from_secs(1);

/// One run of a batch, as its lanes see it.
pub struct Attempt {
    /// The run's id, part of everything that it writes.
    pub id: String,
    /// Where rows go.
    pub rows: Arc<dyn AttemptWriter>,
    /// Where dead letters go, and what they have in common.
    pub dead_letters: Option<(Arc<dyn AttemptWriter>, DeadLetters)>,
    /// What all writers of the stream may hold in memory.
    pub budget: Arc<MemoryAccount>,
    /// What becomes of rejected records.
    pub on_reject: OnReject,
    /// When the batch was planned, in microseconds: the batch's clock.
    pub now_micros: i64,
    /// Whether rows are handed back instead of written.
    pub gather: bool,
    /// Set when the attempt is given up.
    pub cancel: AtomicBool,
    /// Where records read are counted while the batch runs.
    pub reporter: StreamReporter,
}

/// What becomes of a record that is no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnReject {
    /// It goes to the dead letters.
    DeadLetter,
    /// It is left out and counted (DROPMALFORMED).
    Drop,
    /// It stops the stream.
    Fail,
}

/// What a lane made of its splits.
#[derive(Default)]
pub struct LaneOutput {
    /// What its writer wrote.
    pub parts: Vec<Part>,
    /// Rows handed back, aligned with the sink.
    pub gathered: Vec<RecordBatch>,
    /// Dead letters; few, so they are always handed back unless they are many.
    pub dead_letters: Vec<RecordBatch>,
    /// Files of dead letters.
    pub dead_letter_parts: Vec<Part>,
    /// Offsets that were gone.
    pub lost: Vec<Loss>,
    /// What was counted.
    pub counts: Counts,
    /// Rejected records by error code.
    pub rejected: BTreeMap<&'static str, Rejected>,
}

impl LaneOutput {
    /// Counts a rejected record; the first of each reason is kept as its example.
    fn count_rejected(&mut self, record: &Record<'_>, why: &Rejection) {
        let example = || Rejected {
            count: 0,
            topic: record.topic.into(),
            partition: record.partition,
            offset: record.offset,
            field: why.field.clone(),
        };
        self.rejected.entry(why.code.name()).or_insert_with(example).count += 1;
    }
}

/// What was counted in a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records read.
    pub input_rows: u64,
    /// Bytes of their keys and values.
    pub input_bytes: u64,
    /// Rows for the sink.
    pub output_rows: u64,
    /// Malformed records that became rows.
    pub malformed_kept: u64,
    /// Records that became dead letters.
    pub dead_letters: u64,
    /// Records left out.
    pub dropped: u64,
}

impl Counts {
    /// Adds another lane's.
    pub fn add(&mut self, other: &Counts) {
        self.input_rows += other.input_rows;
        self.input_bytes += other.input_bytes;
        self.output_rows += other.output_rows;
        self.malformed_kept += other.malformed_kept;
        self.dead_letters += other.dead_letters;
        self.dropped += other.dropped;
    }
}

struct Job {
    attempt: Arc<Attempt>,
    lane: usize,
    splits: Vec<Split>,
    done: Sender<Result<LaneOutput>>,
    /// The stream and micro-batch that log lines of the lane belong to.
    span: tracing::Span,
}

/// A running lane.
pub struct Lane {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Lane {
    /// Starts a lane; `pipeline` makes its rows.
    ///
    /// # Errors
    /// `Unavailable` if the system gives no thread.
    pub fn start(
        stream: &str,
        number: usize,
        reader: Box<dyn SplitReader>,
        pipeline: LanePipeline,
    ) -> Result<Lane> {
        let (jobs, inbox) = bounded::<Job>(1);
        let mut worker = Worker { reader, pipeline, dead_letters: DeadLetterRows::default() };
        let thread = std::thread::Builder::new()
            .name(format!("lane-{number}-{stream}"))
            .stack_size(super::STACK_BYTES)
            .spawn(move || worker.serve(&inbox))
            .map_err(|e| Error::unavailable("cannot start a thread for a lane").source(e))?;
        Ok(Lane { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Gives the lane its share of an attempt; what it made of it arrives at `done`.
    ///
    /// # Errors
    /// `Internal` if the lane has died.
    pub fn give(
        &self,
        attempt: &Arc<Attempt>,
        lane: usize,
        splits: Vec<Split>,
        done: &Sender<Result<LaneOutput>>,
    ) -> Result<()> {
        let span = tracing::Span::current();
        let job = Job { attempt: Arc::clone(attempt), lane, splits, done: done.clone(), span };
        let jobs = self.jobs.as_ref().expect("jobs are closed only by drop");
        jobs.send(job).map_err(|_| Error::internal("a lane's thread has ended"))
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Its panic was reported by the thread itself and by the closed channel.
            let _ = thread.join();
        }
    }
}

/// The next of what arrives at `inbox`, `None` if nothing more can. While nothing arrives, `rest` is called at each `interval`.
fn next<T>(inbox: &Receiver<T>, interval: Duration, mut rest: impl FnMut()) -> Option<T> {
    loop {
        match inbox.recv_timeout(interval) {
            Ok(job) => return Some(job),
            Err(RecvTimeoutError::Timeout) => rest(),
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// What lives on a lane's thread.
struct Worker {
    reader: Box<dyn SplitReader>,
    pipeline: LanePipeline,
    dead_letters: DeadLetterRows,
}

impl Worker {
    fn serve(&mut self, inbox: &Receiver<Job>) {
        while let Some(job) = next(inbox, REST_INTERVAL, || self.reader.rest()) {
            let output = job.span.in_scope(|| self.run(&job));
            if output.is_err() {
                // Half a batch must not leak into the next one.
                self.pipeline.clear();
                let _ = self.dead_letters.finish();
            }
            // No one listens only if the stream is gone.
            let _ = job.done.send(output);
        }
    }

    fn run(&mut self, job: &Job) -> Result<LaneOutput> {
        let attempt = job.attempt.as_ref();
        let Worker { reader, pipeline, dead_letters } = self;
        pipeline.set_now(attempt.now_micros);
        pipeline.set_placed(attempt.rows.needs_places());
        let mut share = Share { pipeline, out: Out::new(attempt, job.lane, dead_letters) };
        let read = reader.read(&job.splits, &attempt.cancel, &mut share)?;
        let Share { pipeline, mut out } = share;
        pipeline.flush(&mut out)?;
        out.flush_dead_letters()?;
        out.output.counts.input_rows = read.records;
        out.output.counts.input_bytes = read.bytes;
        out.output.lost = read.losses;
        out.finish()
    }
}

/// A lane's share of one attempt while it is worked on.
struct Share<'a> {
    pipeline: &'a mut LanePipeline,
    out: Out<'a>,
}

impl Intake for Share<'_> {
    fn record(&mut self, record: &Record<'_>) -> Result<()> {
        self.pipeline.push(record, &mut self.out)
    }

    fn rows(&mut self, rows: RecordBatch) -> Result<()> {
        self.pipeline.push_rows(rows, &mut self.out)
    }
}

/// Where a lane's rows and rejected records go.
struct Out<'a> {
    attempt: &'a Attempt,
    lane: usize,
    rows: Option<Box<dyn SinkWriter>>,
    dead_letters: &'a mut DeadLetterRows,
    dead_letter_files: Option<Box<dyn SinkWriter>>,
    gathered_bytes: usize,
    output: LaneOutput,
}

/// Ends a lane that was told to stop where its query makes rows, too: of few records it may make many, and take long.
fn go_on(cancel: &AtomicBool) -> Result<()> {
    if cancel.load(Ordering::Relaxed) {
        return Err(Error::unavailable("the lane was told to stop before its end"));
    }
    Ok(())
}

impl Emit for Out<'_> {
    fn rows(&mut self, rows: RecordBatch, places: Option<RowPlaces>) -> Result<()> {
        go_on(&self.attempt.cancel)?;
        let rows = self.attempt.rows.align(rows)?;
        self.output.counts.output_rows += rows.num_rows() as u64;
        self.attempt.reporter.rows_read(rows.num_rows() as u64);
        if let Some(places) = places {
            return self.writer()?.write_placed(&rows, places);
        }
        if !self.attempt.gather || self.rows.is_some() {
            return self.write(&rows);
        }
        self.gathered_bytes += rows.get_array_memory_size();
        self.output.gathered.push(rows);
        if self.gathered_bytes <= GATHER_BYTES_MAX.min(self.attempt.budget.limit_bytes() / 4) {
            return Ok(());
        }
        for rows in std::mem::take(&mut self.output.gathered) {
            self.write(&rows)?;
        }
        Ok(())
    }

    fn rejected(&mut self, record: &Record<'_>, why: &Rejection) -> Result<()> {
        // DROPMALFORMED is about what cannot be read; the rest stops the stream, as in Spark.
        let drop = self.attempt.on_reject == OnReject::Drop && why.code.is_malformed();
        match (&self.attempt.dead_letters, self.attempt.on_reject) {
            (Some((_, of)), OnReject::DeadLetter) => {
                self.dead_letters.push(record, why, of);
                self.output.count_rejected(record, why);
                self.output.counts.dead_letters += 1;
                if self.dead_letters.is_full() { self.flush_dead_letters() } else { Ok(()) }
            }
            _ if drop => {
                self.output.count_rejected(record, why);
                self.output.counts.dropped += 1;
                Ok(())
            }
            _ => Err(Error::data(format!(
                "record at offset {} of partition {}-{} is refused: {why}",
                record.offset, record.topic, record.partition
            ))
            .hint(why.code.hint())),
        }
    }

    fn kept_malformed(&mut self) {
        self.output.counts.malformed_kept += 1;
    }
}

impl<'a> Out<'a> {
    fn new(attempt: &'a Attempt, lane: usize, dead_letters: &'a mut DeadLetterRows) -> Out<'a> {
        Out {
            attempt,
            lane,
            rows: None,
            dead_letters,
            dead_letter_files: None,
            gathered_bytes: 0,
            output: LaneOutput::default(),
        }
    }

    fn writer(&mut self) -> Result<&mut Box<dyn SinkWriter>> {
        if self.rows.is_none() {
            self.rows = Some(self.attempt.rows.writer(self.lane)?);
        }
        Ok(self.rows.as_mut().expect("the writer was made above"))
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.writer()?.write(rows)
    }

    fn flush_dead_letters(&mut self) -> Result<()> {
        if self.dead_letters.rows() == 0 {
            return Ok(());
        }
        let Some((files, _)) = &self.attempt.dead_letters else {
            return Err(Error::internal("dead letters without a table for them"));
        };
        let rows = files.align(self.dead_letters.finish()?)?;
        let few = rows.num_rows() < crate::decode::rows::BATCH_ROWS;
        if self.dead_letter_files.is_none() && self.output.dead_letters.is_empty() && few {
            self.output.dead_letters.push(rows);
            return Ok(());
        }
        let writer = match &mut self.dead_letter_files {
            Some(writer) => writer,
            None => self.dead_letter_files.insert(files.writer(self.lane)?),
        };
        writer.write(&rows)
    }

    fn finish(mut self) -> Result<LaneOutput> {
        if let Some(writer) = self.rows.take() {
            self.output.parts = writer.finish()?;
        }
        if let Some(writer) = self.dead_letter_files.take() {
            self.output.dead_letter_parts = writer.finish()?;
        }
        Ok(self.output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;
    use crate::observe::{Reporter, Style};
    use crate::sink::{BatchRun, MemorySink, Sink};

    #[test]
    fn a_lane_without_work_lets_its_reader_rest_until_there_is_some() {
        let (jobs, inbox) = bounded(1);
        let mut rests = 0;
        let job = next(&inbox, Duration::from_millis(1), || {
            rests += 1;
            if rests == 3 {
                jobs.send(7).unwrap();
            }
        });
        assert_eq!((job, rests), (Some(7), 3));
        drop(jobs);
        assert_eq!(next(&inbox, Duration::from_secs(60), || {}), None);
    }

    #[test]
    fn a_lane_that_is_told_to_stop_takes_no_more_rows_of_its_query() {
        let (sink, budget) = (MemorySink::new("stopped"), MemoryAccount::new(1 << 20));
        let run = BatchRun { query_id: "q", batch_id: 0, attempt: "a" };
        let attempt = Attempt {
            id: "a".into(),
            rows: sink.begin(&run, &budget).unwrap(),
            dead_letters: None,
            budget,
            on_reject: OnReject::Fail,
            now_micros: 0,
            gather: true,
            cancel: AtomicBool::new(false),
            reporter: Reporter::new(Style::Quiet).stream("stopped"),
        };
        let mut letters = DeadLetterRows::default();
        let mut out = Out::new(&attempt, 0, &mut letters);
        let rows = || RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty()));
        out.rows(rows(), None).unwrap();
        attempt.cancel.store(true, Ordering::Relaxed);
        assert_eq!(out.rows(rows(), None).unwrap_err().kind(), Kind::Unavailable);
    }
}
