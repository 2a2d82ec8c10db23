//! A lane: one thread with its own share of a batch's ranges, from fetch to Parquet.
//!
//! Lanes share nothing but the attempt. A lane keeps its reader and its decoder from batch to batch,
//! so that what follows is being fetched while the batch before is committed. In a batch smaller
//! than one file a lane hands its rows back instead, and one encoder writes them all.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use arrow::array::RecordBatch;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::decode::json::{Outcome, Rejection, RejectionCode};
use crate::decode::rows::RowDecoder;
use crate::model::{Error, OffsetRange, Record, Result};
use crate::sink::{DeadLetterRows, DeadLetters};
use crate::source::{LostRange, Reader};
use crate::table::files::WriterSettings;
use crate::table::schema::Alignment;
use crate::table::{AddedFile, FileWriter};

/// Decoded bytes that a lane hands back at most; beyond them it writes a file of its own.
const GATHER_BYTES_MAX: usize = 16 * 1024 * 1024;

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

/// One run of a batch, as its lanes see it.
pub struct Attempt {
    /// Where rows go.
    pub rows: WriterSettings,
    /// How they fit the table.
    pub alignment: Alignment,
    /// Where dead letters go, and what they have in common.
    pub dead_letters: Option<(WriterSettings, DeadLetters)>,
    /// What becomes of malformed records.
    pub rejected: OnReject,
    /// When the batch was planned, in microseconds: the batch's clock.
    pub now_micros: i64,
    /// Whether rows are handed back instead of written.
    pub gather: bool,
    /// Set when the attempt is given up.
    pub cancel: Arc<AtomicBool>,
}

/// What a lane made of its ranges.
#[derive(Default)]
pub struct LaneOutput {
    /// Files of rows.
    pub files: Vec<AddedFile>,
    /// Rows handed back, in the table's schema.
    pub gathered: Vec<RecordBatch>,
    /// Dead letters; few, so they are always handed back unless they are many.
    pub letters: Vec<RecordBatch>,
    /// Files of dead letters.
    pub letter_files: Vec<AddedFile>,
    /// Offsets that were gone.
    pub lost: Vec<LostRange>,
    /// What was counted.
    pub counts: Counts,
}

/// What was counted in a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records read.
    pub input_rows: u64,
    /// Bytes of their keys and values.
    pub input_bytes: u64,
    /// Rows for the table.
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
    ranges: Vec<OffsetRange>,
    done: Sender<Result<LaneOutput>>,
}

/// A running lane.
pub struct Lane {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Lane {
    /// Starts a lane; `decoder` makes its rows.
    ///
    /// # Errors
    /// `Unavailable` if the system gives no thread.
    pub fn start(stream: &str, number: usize, reader: Box<dyn Reader>, decoder: RowDecoder) -> Result<Lane> {
        let (jobs, inbox) = bounded::<Job>(1);
        let mut worker = Worker { reader, decoder, letters: DeadLetterRows::default() };
        let thread = std::thread::Builder::new()
            .name(format!("lane-{number}-{stream}"))
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
        ranges: Vec<OffsetRange>,
        done: &Sender<Result<LaneOutput>>,
    ) -> Result<()> {
        let job = Job { attempt: Arc::clone(attempt), lane, ranges, done: done.clone() };
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

/// What lives on a lane's thread.
struct Worker {
    reader: Box<dyn Reader>,
    decoder: RowDecoder,
    letters: DeadLetterRows,
}

impl Worker {
    fn serve(&mut self, inbox: &Receiver<Job>) {
        for job in inbox {
            let output = self.run(&job);
            if output.is_err() {
                // Half a batch must not leak into the next one.
                let _ = self.decoder.finish();
                let _ = self.letters.finish();
            }
            // No one listens only if the stream is gone.
            let _ = job.done.send(output);
        }
    }

    fn run(&mut self, job: &Job) -> Result<LaneOutput> {
        let attempt = job.attempt.as_ref();
        let mut share = Share::new(attempt, job.lane);
        let (decoder, letters) = (&mut self.decoder, &mut self.letters);
        decoder.set_now(attempt.now_micros);
        let report = self
            .reader
            .read(&job.ranges, &attempt.cancel, &mut |record| share.take(record, decoder, letters))?;
        share.flush(decoder)?;
        share.flush_letters(letters)?;
        share.output.counts.input_rows = report.records;
        share.output.counts.input_bytes = report.bytes;
        share.output.lost = report.lost;
        share.finish()
    }
}

/// A lane's share of one attempt while it is worked on.
struct Share<'a> {
    attempt: &'a Attempt,
    lane: usize,
    rows: Option<FileWriter>,
    letters: Option<FileWriter>,
    gathered_bytes: usize,
    output: LaneOutput,
}

impl<'a> Share<'a> {
    fn new(attempt: &'a Attempt, lane: usize) -> Share<'a> {
        Share { attempt, lane, rows: None, letters: None, gathered_bytes: 0, output: LaneOutput::default() }
    }

    fn take(
        &mut self,
        record: &Record<'_>,
        decoder: &mut RowDecoder,
        letters: &mut DeadLetterRows,
    ) -> Result<()> {
        let mut outcome = decoder.push(record);
        if matches!(outcome, Outcome::Full) {
            self.flush(decoder)?;
            outcome = decoder.push(record);
        }
        match outcome {
            Outcome::Row => {}
            Outcome::KeptMalformed(_) => self.output.counts.malformed_kept += 1,
            Outcome::Rejected(why) => self.reject(record, &why, letters)?,
            Outcome::Full => return Err(Error::internal("an empty batch has no room for a record")),
        }
        if decoder.is_full() { self.flush(decoder) } else { Ok(()) }
    }

    fn reject(&mut self, record: &Record<'_>, why: &Rejection, letters: &mut DeadLetterRows) -> Result<()> {
        let drop = self.attempt.rejected == OnReject::Drop && why.code != RejectionCode::NotNullViolation;
        match (&self.attempt.dead_letters, self.attempt.rejected) {
            (Some((_, of)), OnReject::DeadLetter) => {
                letters.push(record, why, of);
                self.output.counts.dead_letters += 1;
                if letters.is_full() { self.flush_letters(letters) } else { Ok(()) }
            }
            _ if drop => {
                self.output.counts.dropped += 1;
                Ok(())
            }
            _ => Err(Error::data(format!(
                "record at offset {} of partition {}-{} is refused: {why}",
                record.offset, record.topic, record.partition
            ))
            .hint("set deadLetter to keep such records aside, or change source.value.mode")),
        }
    }

    fn flush(&mut self, decoder: &mut RowDecoder) -> Result<()> {
        if decoder.rows() == 0 {
            return Ok(());
        }
        let rows = self.attempt.alignment.apply(&decoder.finish()?)?;
        self.output.counts.output_rows += rows.num_rows() as u64;
        if self.attempt.gather && self.rows.is_none() {
            self.gathered_bytes += rows.get_array_memory_size();
            self.output.gathered.push(rows);
            if self.gathered_bytes <= GATHER_BYTES_MAX.min(self.attempt.rows.budget.limit_bytes() / 4) {
                return Ok(());
            }
            for rows in std::mem::take(&mut self.output.gathered) {
                self.write(&rows)?;
            }
            return Ok(());
        }
        self.write(&rows)
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let writer = match &mut self.rows {
            Some(writer) => writer,
            None => self.rows.insert(FileWriter::new(self.attempt.rows.clone(), self.lane)?),
        };
        writer.write(rows)
    }

    fn flush_letters(&mut self, letters: &mut DeadLetterRows) -> Result<()> {
        if letters.rows() == 0 {
            return Ok(());
        }
        let Some((settings, _)) = &self.attempt.dead_letters else {
            return Err(Error::internal("dead letters without a table for them"));
        };
        let rows = letters.finish()?;
        if self.letters.is_none()
            && self.output.letters.is_empty()
            && rows.num_rows() < crate::decode::rows::BATCH_ROWS
        {
            self.output.letters.push(rows);
            return Ok(());
        }
        let writer = match &mut self.letters {
            Some(writer) => writer,
            None => self.letters.insert(FileWriter::new(settings.clone(), self.lane)?),
        };
        writer.write(&rows)
    }

    fn finish(mut self) -> Result<LaneOutput> {
        if let Some(writer) = self.rows.take() {
            self.output.files = writer.finish()?;
        }
        if let Some(writer) = self.letters.take() {
            self.output.letter_files = writer.finish()?;
        }
        Ok(self.output)
    }
}
