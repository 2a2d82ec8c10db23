//! The two ends of a merge's run: lanes give rows and take their keys, the commit writes those that are inserted.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;

use super::attempt::MergeAttempt;
use super::choose::Chosen;
use super::order::RowRules;
use super::spool::Spool;
use super::waiting::{Piece, WaitingBatch, WaitingRows};
use crate::model::{Error, Result};
use crate::sink::{AttemptWriter, Part, RowPlaces, SinkWriter};
use crate::table::FileWriter;
use crate::table::key_index::{Fingerprint, OwnFiles};

/// Fewer rows than this are written by one encoder: they make one file, not one for each lane.
pub(super) const ONE_ENCODER_ROWS: u64 = 128 * 1024;
/// Files of one run may be written several times, each time under other names.
const LANES_PER_ROUND: usize = 1_000;

/// The attempt as its lanes have it.
pub(super) struct MergeLanes(pub(super) Arc<MergeAttempt>);

impl AttemptWriter for MergeLanes {
    fn align(&self, rows: RecordBatch) -> Result<RecordBatch> {
        self.0.files.align(rows)
    }

    fn refused(&self, rows: &RecordBatch) -> Vec<usize> {
        self.0.files.refused(rows)
    }

    fn needs_places(&self) -> bool {
        true
    }

    fn writer(&self, _: usize) -> Result<Box<dyn SinkWriter>> {
        let attempt = Arc::clone(&self.0);
        let rows = Spool::new(attempt.files.schema(), &attempt.folder, attempt.lane_bytes);
        Ok(Box::new(MergeLane { attempt, rows, pieces: Vec::new() }))
    }
}

/// The rows of one lane, as they come.
struct MergeLane {
    attempt: Arc<MergeAttempt>,
    rows: Spool,
    pieces: Vec<Piece>,
}

impl MergeLane {
    fn push(&mut self, rows: &RecordBatch, places: Option<RowPlaces>) -> Result<()> {
        let RowRules { order, delete } = &self.attempt.rules;
        self.pieces.push(Piece {
            keys: self.attempt.hasher.keys(rows)?,
            places,
            order: order.as_ref().map(|order| order.of_rows(rows)).transpose()?,
            deletes: delete.as_ref().map(|delete| delete.of_rows(rows)).transpose()?,
            times: self.attempt.times.as_ref().map(|times| times.of_rows(rows)).transpose()?,
        });
        self.rows.push(self.attempt.files.stored(rows)?)
    }
}

impl SinkWriter for MergeLane {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.push(rows, None)
    }

    fn write_placed(&mut self, rows: &RecordBatch, places: RowPlaces) -> Result<()> {
        self.push(rows, Some(places))
    }

    fn finish(self: Box<Self>) -> Result<Vec<Part>> {
        let rows = self.rows.finish()?;
        Ok(vec![Part::Waiting(Box::new(WaitingRows { attempt: self.attempt, rows, pieces: self.pieces }))])
    }
}

/// Writes the chosen rows of a batch; `round` counts how often that was done before.
///
/// # Errors
/// `Unavailable` if storage does not answer.
pub(super) fn write(batch: &mut WaitingBatch, chosen: &Chosen, round: u32) -> Result<Vec<OwnFiles>> {
    if chosen.counts.inserted == 0 {
        return Ok(Vec::new());
    }
    let mut keep = chosen.keep.as_slice();
    let mut jobs = Vec::with_capacity(batch.lanes.len());
    for lane in &mut batch.lanes {
        let (own, rest) = keep.split_at(lane.pieces.len());
        keep = rest;
        jobs.push((lane, own));
    }
    if chosen.counts.inserted < ONE_ENCODER_ROWS {
        let Some((first, _)) = jobs.first() else { return Ok(Vec::new()) };
        let mut encoder = Encoder::new(&Arc::clone(&first.attempt), round, 0)?;
        for (lane, keep) in jobs {
            encoder.write(lane, keep)?;
        }
        return Ok(vec![encoder.finish()?]);
    }
    std::thread::scope(|scope| {
        let running: Vec<_> = jobs
            .into_iter()
            .enumerate()
            .map(|(number, (lane, keep))| {
                scope.spawn(move || {
                    let mut encoder = Encoder::new(&Arc::clone(&lane.attempt), round, number)?;
                    encoder.write(lane, keep)?;
                    encoder.finish()
                })
            })
            .collect();
        let ended = |_| Error::internal("a thread that wrote merged rows has panicked");
        running.into_iter().map(|thread| thread.join().map_err(ended)?).collect()
    })
}

/// One writer of files.
pub(super) struct Encoder {
    files: FileWriter,
    /// The keys of its rows, in the order in which they are written; `None` if they are not all known.
    keys: Option<Vec<Option<Fingerprint>>>,
}

impl Encoder {
    /// Writer `lane` of the files that are written in round `round` of an attempt.
    pub(super) fn new(attempt: &MergeAttempt, round: u32, lane: usize) -> Result<Encoder> {
        let files = attempt.files.file_writer(round as usize * LANES_PER_ROUND + lane)?;
        Ok(Encoder { files, keys: Some(Vec::new()) })
    }

    /// Writes rows with these keys; without the keys of some, the index has to read the files.
    pub(super) fn push(
        &mut self,
        rows: &RecordBatch,
        keys: Option<impl IntoIterator<Item = Option<Fingerprint>>>,
    ) -> Result<()> {
        match (&mut self.keys, keys) {
            (Some(all), Some(keys)) => all.extend(keys),
            _ => self.keys = None,
        }
        self.files.write(rows)
    }

    fn write(&mut self, lane: &mut WaitingRows, keep: &[BooleanArray]) -> Result<()> {
        lane.read(|number, rows, piece| {
            let keep = &keep[number];
            if keep.true_count() == 0 {
                return Ok(());
            }
            let rows = filter_record_batch(&rows, keep)
                .map_err(|e| Error::internal("leave rows out of a batch").source(e))?;
            self.push(&rows, Some(keep.values().set_indices().map(|row| piece.keys.matchable(row))))
        })
    }

    /// Ends the files.
    pub(super) fn finish(self) -> Result<OwnFiles> {
        Ok(OwnFiles { files: self.files.finish()?, keys: self.keys })
    }
}
