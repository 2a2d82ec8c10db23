//! One run of a planned batch over all lanes: what is written by it and what its commit will say, and nothing of it
//! committed.
//!
//! Only a [`Planned`] batch can be run, only a [`Written`] one committed: the compiler keeps the order
//! of the durable steps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::RecordBatch;
use crossbeam_channel::{RecvTimeoutError, bounded};

use super::lane::{Attempt, Counts, Lane, LaneOutput};
use super::stateful::StateRun;
use super::stop::Stop;
use crate::checkpoint::Planned;
use crate::config::StreamConfig;
use crate::model::{Error, Loss, Result};
use crate::observe::Rejected;
use crate::query::OperatorProgress;
use crate::sink::{AttemptWriter, BatchCommit, DeadLetterRows, DeadLetters, FilesAdded, Part, RowPlaces};
use crate::source::Split;
use crate::state::StoreBatch;
use crate::storage::Store;

/// Batches of fewer offsets than this use one writer: they make one file, not one per lane.
const ONE_WRITER_OFFSETS: i64 = 128 * 1024;
/// How often a waiting stream checks whether it was asked to stop.
const STOP_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The number that stands in for a lane's in the name of a gathered file.
const MERGED_LANE: usize = 99_999;

/// A batch whose parts are whole and durable, and named by no commit yet.
pub struct Written {
    planned: Planned,
    attempt: String,
    parts: Vec<Part>,
    dead_letters: Vec<Part>,
    lost: Vec<Loss>,
    counts: Counts,
    rejected: BTreeMap<&'static str, Rejected>,
    files: FilesAdded,
    operators: Vec<OperatorProgress>,
    state: Option<StoreBatch>,
}

impl Written {
    /// The batch.
    pub fn planned(&self) -> &Planned {
        &self.planned
    }

    /// The run's id.
    pub fn attempt(&self) -> &str {
        &self.attempt
    }

    /// Offsets that were gone.
    pub fn lost(&self) -> &[Loss] {
        &self.lost
    }

    /// What was counted.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Rejected records by error code.
    pub fn rejected(&self) -> &BTreeMap<&'static str, Rejected> {
        &self.rejected
    }

    /// The data files of the lanes.
    pub fn files(&self) -> FilesAdded {
        self.files
    }

    /// What the stateful operators did.
    pub fn operators(&self) -> &[OperatorProgress] {
        &self.operators
    }

    /// Takes what changed in the state out, to be made durable.
    pub fn take_state(&mut self) -> Option<StoreBatch> {
        self.state.take()
    }

    /// The same batch with the result of a query that keeps state, written to `sink`.
    ///
    /// # Errors
    /// What the writer returns.
    pub fn with_result(mut self, run: StateRun, sink: &dyn AttemptWriter) -> Result<Written> {
        let (rows, operators, state) = run.into_parts();
        self.counts.output_rows = rows.iter().map(|rows| rows.num_rows() as u64).sum();
        let rows = rows.into_iter().map(|rows| sink.align(rows)).collect::<Result<Vec<_>>>()?;
        self.add_parts(write_result(sink, &rows)?);
        self.operators = operators;
        self.state = Some(state);
        Ok(self)
    }

    fn add_parts(&mut self, parts: Vec<Part>) {
        for part in &parts {
            if let Part::File(file) = part {
                self.files.count += 1;
                self.files.bytes += file.size_bytes;
            }
        }
        self.parts.extend(parts);
    }

    /// Takes the dead letters out, for the commit that comes first.
    pub fn take_dead_letters(&mut self) -> Vec<Part> {
        std::mem::take(&mut self.dead_letters)
    }

    /// Takes the rows out, for the sink's commit.
    pub fn take_parts(&mut self) -> Vec<Part> {
        std::mem::take(&mut self.parts)
    }
}

/// What the commit of a run says of its batch; what was lost, and what becomes of dead letters, is added to it.
pub fn commit_of(
    config: &StreamConfig,
    checkpoint: &Store,
    query_id: &str,
    planned: &Planned,
    attempt: &str,
    definition_hash: &str,
) -> BatchCommit {
    BatchCommit {
        query_id: query_id.to_owned(),
        stream: config.name.clone(),
        checkpoint_location: checkpoint.url().to_string(),
        batch_id: planned.plan().batch_id,
        attempt: attempt.to_owned(),
        start: planned.start().clone(),
        end: planned.plan().end.clone(),
        plan: planned.plan().metadata(),
        next_watermark_ms: planned.plan().watermark_ms,
        definition_hash: definition_hash.to_owned(),
        lost: Vec::new(),
        dead_letters_pending: false,
        newest_dead_letter_batch: None,
        replaces_table: false,
        is_of_lost_ranges: false,
    }
}

/// Runs a planned batch; `shares` are the splits of each lane, `lost` the offsets that were found gone before it.
///
/// # Errors
/// The first error of a lane; the others are stopped. `Unavailable` with nothing said if the stop's
/// deadline (`shutdownTimeout`) ends first: the batch is abandoned and will be run again.
pub fn run(
    lanes: &[Lane],
    planned: Planned,
    shares: Vec<Vec<Split>>,
    attempt: Attempt,
    lost: Vec<Loss>,
    stop: &Stop,
    deadline: Duration,
) -> Result<Written> {
    let offsets: i64 = shares.iter().flatten().map(|split| split.range.len()).sum();
    let attempt = Arc::new(Attempt { gather: offsets < ONE_WRITER_OFFSETS, ..attempt });
    let (done, results) = bounded(lanes.len());
    let mut waiting = 0;
    for (number, share) in shares.into_iter().enumerate().filter(|(_, share)| !share.is_empty()) {
        lanes[number].give(&attempt, number, share, &done)?;
        waiting += 1;
    }
    drop(done);
    let mut outputs: Vec<LaneOutput> = Vec::with_capacity(waiting);
    let mut failure: Option<Error> = None;
    // Every lane drops its end of the channel when it is done, whatever came of it.
    loop {
        match results.recv_timeout(STOP_POLL_INTERVAL) {
            Ok(Ok(output)) => outputs.push(output),
            Ok(Err(error)) => {
                attempt.cancel.store(true, Ordering::Relaxed);
                failure.get_or_insert(error);
            }
            Err(RecvTimeoutError::Timeout) => {
                if stop.abandoned(deadline) {
                    attempt.cancel.store(true, Ordering::Relaxed);
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    if let Some(error) = failure {
        return Err(error);
    }
    if outputs.len() < waiting {
        return Err(Error::internal("a lane ended without a result"));
    }
    gather(planned, &attempt, lost, outputs)
}

/// Puts the lanes' outputs together; rows that were handed back are written by one writer.
fn gather(planned: Planned, attempt: &Attempt, lost: Vec<Loss>, outputs: Vec<LaneOutput>) -> Result<Written> {
    let mut written = Written {
        planned,
        attempt: attempt.id.clone(),
        parts: Vec::new(),
        dead_letters: Vec::new(),
        lost,
        counts: Counts::default(),
        rejected: BTreeMap::new(),
        files: FilesAdded::default(),
        operators: Vec::new(),
        state: None,
    };
    let (mut rows, mut letters) = (Vec::new(), Vec::new());
    for output in outputs {
        written.counts.add(&output.counts);
        for (reason, rejected) in output.rejected {
            match written.rejected.get_mut(reason) {
                Some(known) => known.add(rejected),
                None => drop(written.rejected.insert(reason, rejected)),
            }
        }
        written.parts.extend(output.parts);
        written.dead_letters.extend(output.dead_letter_parts);
        written.lost.extend(output.lost);
        rows.extend(output.gathered);
        letters.extend(output.dead_letters);
    }
    // In an order that does not depend on which lane was faster.
    written.lost.sort_by(|a, b| a.range.cmp(&b.range));
    if let Some((table, of)) = &attempt.dead_letters {
        if !written.lost.is_empty() {
            letters.push(table.align(lost_letters(of, &written.lost)?)?);
        }
        written.dead_letters.extend(write_gathered(table.as_ref(), &letters)?);
    }
    let of_lanes = std::mem::take(&mut written.parts);
    written.add_parts(of_lanes);
    written.add_parts(write_gathered(attempt.rows.as_ref(), &rows)?);
    Ok(written)
}

fn lost_letters(of: &DeadLetters, lost: &[Loss]) -> Result<RecordBatch> {
    let mut letters = DeadLetterRows::default();
    for loss in lost {
        letters.push_lost(&loss.range, &loss.why, of);
    }
    letters.finish()
}

/// Writes the dead letters of lost offsets alone.
///
/// # Errors
/// As for everything that a sink writes.
pub fn write_lost(table: &dyn AttemptWriter, of: &DeadLetters, lost: &[Loss]) -> Result<Vec<Part>> {
    write_gathered(table, &[table.align(lost_letters(of, lost)?)?])
}

/// Writes the rows of a result, which come in an order of their own.
fn write_result(target: &dyn AttemptWriter, rows: &[RecordBatch]) -> Result<Vec<Part>> {
    if !target.needs_places() {
        return write_gathered(target, rows);
    }
    let mut writer = target.writer(MERGED_LANE)?;
    let mut next = 0;
    for rows in rows {
        let mut places = RowPlaces::default();
        for _ in 0..rows.num_rows() {
            places.push("", 0, next);
            next += 1;
        }
        writer.write_placed(rows, places)?;
    }
    writer.finish()
}

fn write_gathered(target: &dyn AttemptWriter, rows: &[RecordBatch]) -> Result<Vec<Part>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut writer = target.writer(MERGED_LANE)?;
    for rows in rows {
        writer.write(rows)?;
    }
    writer.finish()
}
