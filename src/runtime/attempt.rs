//! One run of a planned batch over all lanes: what is written by it and what its commit will say, and nothing of it
//! committed.
//!
//! Only a [`Planned`] batch can be run, only a [`Written`] one committed: the compiler keeps the order
//! of the durable steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use crossbeam_channel::{RecvTimeoutError, bounded};

use super::lane::{Attempt, Counts, Lane, LaneOutput};
use super::stop::Stop;
use crate::checkpoint::Planned;
use crate::config::StreamConfig;
use crate::model::{Error, Loss, OffsetRange, Result};
use crate::sink::{BatchCommit, DeadLetterRows, DeadLetters};
use crate::source::kafka::assign_splits;
use crate::storage::Store;
use crate::table::files::WriterSettings;
use crate::table::{AddedFile, FileWriter};

/// Batches of fewer offsets than this use one encoder: they make one file, not one per lane.
const ONE_ENCODER_OFFSETS: i64 = 128 * 1024;
/// How often a waiting stream looks whether it was asked to stop.
const STOP_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A batch whose files are whole and durable, and named by no commit yet.
pub struct Written {
    planned: Planned,
    attempt: String,
    files: Vec<AddedFile>,
    letters: Vec<AddedFile>,
    lost: Vec<Loss>,
    counts: Counts,
}

impl Written {
    /// The batch.
    pub fn planned(&self) -> &Planned {
        &self.planned
    }

    /// The run's id, part of every file name.
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

    /// Takes the files of dead letters out, for the commit that comes first.
    pub fn take_letters(&mut self) -> Vec<AddedFile> {
        std::mem::take(&mut self.letters)
    }

    /// Takes the files of rows out, for the sink's commit.
    pub fn take_files(&mut self) -> Vec<AddedFile> {
        std::mem::take(&mut self.files)
    }
}

/// What the commit of a run says of its batch; what was lost, and what becomes of dead letters, is added to it.
pub fn commit_of(
    config: &StreamConfig,
    checkpoint: &Store,
    query_id: &str,
    planned: &Planned,
    attempt: &str,
    definition: &str,
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
        definition: definition.to_owned(),
        lost: Vec::new(),
        dead_letters_pending: false,
        newest_dead_letter_batch: None,
    }
}

/// Runs a planned batch; `lost` are offsets that were found gone before it, whole ranges of it among them.
///
/// # Errors
/// The first error of a lane; the others are stopped. `Unavailable` with nothing said if the stop's
/// deadline (`shutdownTimeout`) ends first: the batch is abandoned and will be run again.
pub fn run(
    lanes: &[Lane],
    planned: Planned,
    attempt: Attempt,
    lost: Vec<Loss>,
    min_partitions: Option<u32>,
    stop: &Stop,
    deadline: Duration,
) -> Result<Written> {
    let mut ranges = planned.start().ranges_to(&planned.plan().end)?;
    ranges.retain(|range| !lost.iter().any(|loss| loss.range == *range));
    let offsets: i64 = ranges.iter().map(OffsetRange::len).sum();
    let attempt = Arc::new(Attempt { gather: offsets < ONE_ENCODER_OFFSETS, ..attempt });
    let shares = assign_splits(&ranges, lanes.len(), min_partitions);
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
            Err(RecvTimeoutError::Timeout) => give_up_if_asked(&attempt.cancel, stop, deadline),
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

fn give_up_if_asked(cancel: &Arc<AtomicBool>, stop: &Stop, deadline: Duration) {
    if stop.abandoned(deadline) {
        cancel.store(true, Ordering::Relaxed);
    }
}

/// Puts the lanes' outputs together; rows that were handed back are written by one encoder.
fn gather(planned: Planned, attempt: &Attempt, lost: Vec<Loss>, outputs: Vec<LaneOutput>) -> Result<Written> {
    let mut written = Written {
        planned,
        attempt: attempt.rows.attempt.clone(),
        files: Vec::new(),
        letters: Vec::new(),
        lost,
        counts: Counts::default(),
    };
    let (mut rows, mut letters) = (Vec::new(), Vec::new());
    for output in outputs {
        written.counts.add(&output.counts);
        written.files.extend(output.files);
        written.letters.extend(output.letter_files);
        written.lost.extend(output.lost.iter().map(Loss::from));
        rows.extend(output.gathered);
        letters.extend(output.letters);
    }
    // In an order that no lane's pace decides.
    written.lost.sort_by(|a, b| a.range.cmp(&b.range));
    if let Some((settings, of)) = &attempt.dead_letters {
        if !written.lost.is_empty() {
            letters.push(lost_letters(of, &written.lost)?);
        }
        written.letters.extend(write_gathered(settings, &letters)?);
    }
    written.files.extend(write_gathered(&attempt.rows, &rows)?);
    Ok(written)
}

fn lost_letters(of: &DeadLetters, lost: &[Loss]) -> Result<RecordBatch> {
    let mut letters = DeadLetterRows::default();
    for loss in lost {
        letters.push_lost(&loss.range, &loss.why, of);
    }
    letters.finish()
}

/// Writes the letters of lost offsets alone.
///
/// # Errors
/// As for every file of a table.
pub fn write_lost(settings: &WriterSettings, of: &DeadLetters, lost: &[Loss]) -> Result<Vec<AddedFile>> {
    write_gathered(settings, &[lost_letters(of, lost)?])
}

/// The number that stands in for a lane's in the name of a gathered file.
const MERGED_LANE: usize = 99_999;

fn write_gathered(settings: &WriterSettings, rows: &[RecordBatch]) -> Result<Vec<AddedFile>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut writer = FileWriter::new(settings.clone(), MERGED_LANE)?;
    for rows in rows {
        writer.write(rows)?;
    }
    writer.finish()
}
