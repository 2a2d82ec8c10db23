//! The files of a merge that changes rows: the rows that stay of each file that is touched, and the new rows.
//!
//! In a table with deletion vectors the files stay, and the rows that are replaced are deleted by a vector. In any other
//! table, and where a file does not say how many rows it has, the rows that stay are copied into new files; a file of which
//! none stay leaves the table. Rows are streamed from file to file: in memory are the reader's row group and what the
//! writers hold of their account.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};

use super::attempt::MergeAttempt;
use super::choose::Candidate;
use super::matched::{FileMatch, Matched, Read, failed, on_lanes};
use super::waiting::{WaitingBatch, WaitingRows};
use super::writer::{Encoder, ONE_ENCODER_ROWS};
use crate::failpoint;
use crate::model::{Error, Result};
use crate::table::key_index::{Fingerprint, OwnChanges, OwnDeletions, OwnFiles};
use crate::table::{AddedFile, DeltaTable, FileEntry, NewVector, ReadFailure, RowReader};

/// What became of the rows of a batch, and of the table's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct UpdateCounts {
    /// Rows of the batch whose key another row of the batch has, which is newer.
    pub(super) duplicates_in_batch: u64,
    /// Rows of the batch whose key the table lacked, inserted.
    pub(super) inserted: u64,
    /// Rows of the table in whose place a row of the batch is.
    pub(super) updated: u64,
    /// Rows of the table that are deleted.
    pub(super) deleted: u64,
    /// Rows of the batch that changed nothing: older than the table's, or deletes of a key that it lacks.
    pub(super) ignored: u64,
    /// Rows of the table that were written again as they were.
    pub(super) copied: u64,
}

/// What the files of a batch change of the table.
#[derive(Debug, Default)]
pub(super) struct Rewritten {
    pub(super) added: Vec<OwnFiles>,
    pub(super) removed: Vec<FileEntry>,
    /// Files that get a deletion vector, and the keys of their rows that stay.
    pub(super) vectors: Vec<(NewVector, Option<Vec<Fingerprint>>)>,
    pub(super) counts: UpdateCounts,
}

impl Rewritten {
    /// The files that it adds to the table.
    pub(super) fn files(&self) -> impl Iterator<Item = &AddedFile> {
        self.added.iter().flat_map(|own| &own.files)
    }

    /// What the key index has to know of it once it is committed.
    pub(super) fn into_changes(self) -> OwnChanges {
        let deleted = self.vectors.into_iter().map(|(vector, keys)| OwnDeletions {
            after: vector.after(),
            before: vector.before,
            keys,
        });
        OwnChanges { added: self.added, removed: self.removed, deleted: deleted.collect() }
    }
}

/// What a batch does to the table: of each row how often it is written, and the sum of it.
struct NewRows {
    /// Of each piece of the batch the rows that are written, ascending; a row that replaces several stands there as often.
    of_piece: Vec<Vec<u32>>,
    count: u64,
    counts: UpdateCounts,
}

impl NewRows {
    fn of(rows: &[Candidate], deletes: impl Fn(usize) -> bool, matched: &Matched, pieces: usize) -> NewRows {
        let mut new =
            NewRows { of_piece: vec![Vec::new(); pieces], count: 0, counts: UpdateCounts::default() };
        for (number, (row, replaces)) in rows.iter().zip(&matched.replaces).enumerate() {
            let (count, deletes) = (u64::from(replaces.unwrap_or(0)), deletes(number));
            let written = match (replaces, deletes) {
                (None, false) => {
                    new.counts.inserted += 1;
                    1
                }
                (_, true) => {
                    new.counts.deleted += count;
                    0
                }
                (Some(_), false) => {
                    new.counts.updated += count;
                    count
                }
            };
            new.counts.ignored += u64::from(count == 0 && written == 0);
            new.count += written;
            new.of_piece[row.at.0 as usize].extend((0..written).map(|_| row.at.1));
        }
        new.of_piece.iter_mut().for_each(|rows| rows.sort_unstable());
        new
    }
}

/// Writes the files of a batch.
pub(super) struct Rewriter<'a> {
    pub(super) table: &'a DeltaTable,
    pub(super) attempt: &'a Arc<MergeAttempt>,
    /// How often files of this batch were written before.
    pub(super) round: u32,
    /// Threads that may read and write files.
    pub(super) lanes: usize,
}

impl Rewriter<'_> {
    /// Writes what `matched` says: `rows` are the rows of the batch that count, `deletes` says which of them delete.
    ///
    /// # Errors
    /// What storage answers; see [`ReadFailure`].
    pub(super) fn write(
        &self,
        batch: &mut WaitingBatch,
        rows: &[Candidate],
        deletes: impl Fn(usize) -> bool,
        matched: Matched,
    ) -> Read<Rewritten> {
        let new = NewRows::of(rows, deletes, &matched, batch.piece_rows().len());
        let by_vectors = self.table.has_deletion_vectors();
        let (mut removed, mut deletions, mut kept_keys, mut copies) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for file in matched.files {
            if file.kept_rows == 0 {
                removed.push(file.entry);
            } else if by_vectors && file.entry.rows_in_file().is_some() {
                kept_keys.push(file.kept_keys.map(|keys| keys.into_iter().flatten().collect()));
                deletions.push((file.entry, file.replaced));
            } else {
                copies.push(file);
            }
        }
        let mut counts = new.counts;
        counts.copied = copies.iter().map(|file| file.kept_rows).sum();
        removed.extend(copies.iter().map(|file| file.entry.clone()));
        let mut encoders = self.copy(copies, counts.copied)?;
        failpoint!("merge.copied");
        failed(self.write_new(batch, &new, &mut encoders))?;
        let vectors = failed(self.table.write_deletion_vectors(deletions))?;
        failpoint!("merge.vectors");
        let added: Result<Vec<OwnFiles>> = encoders.into_iter().map(Encoder::finish).collect();
        Ok(Rewritten {
            added: failed(added)?,
            removed,
            vectors: vectors.into_iter().zip(kept_keys).collect(),
            counts,
        })
    }

    fn encoder(&self, lane: usize) -> Result<Encoder> {
        Encoder::new(self.attempt, self.round, lane)
    }

    /// Copies the rows of files that stay, and returns the writers, which may take more.
    fn copy(&self, files: Vec<FileMatch>, rows: u64) -> Read<Vec<Encoder>> {
        let lanes = if rows < ONE_ENCODER_ROWS { 1 } else { self.lanes.clamp(1, files.len()) };
        let mut shares: Vec<Vec<FileMatch>> = (0..lanes).map(|_| Vec::new()).collect();
        for (number, file) in files.into_iter().enumerate() {
            shares[number % lanes].push(file);
        }
        let mut jobs = Vec::with_capacity(lanes);
        for (lane, share) in shares.into_iter().enumerate() {
            jobs.push(Mutex::new(Some((self.encoder(lane)?, share))));
        }
        if rows == 0 {
            let job =
                |job: Mutex<Option<(Encoder, _)>>| job.into_inner().unwrap_or_else(PoisonError::into_inner);
            return Ok(jobs.into_iter().filter_map(job).map(|(encoder, _)| encoder).collect());
        }
        let reader = RowReader::new(self.table, None)?;
        on_lanes(lanes, &jobs, |job| {
            let taken = job.lock().unwrap_or_else(PoisonError::into_inner).take();
            let (mut encoder, share) =
                taken.ok_or_else(|| Error::internal("a file was to be copied twice"))?;
            for file in share {
                copy_file(&reader, file, &mut encoder)?;
            }
            Ok::<Encoder, ReadFailure>(encoder)
        })
    }

    /// Writes the rows of the batch that are new or replace others.
    fn write_new(&self, batch: &mut WaitingBatch, new: &NewRows, encoders: &mut Vec<Encoder>) -> Result<()> {
        let mut pieces = new.of_piece.as_slice();
        let mut jobs = Vec::with_capacity(batch.lanes.len());
        for lane in &mut batch.lanes {
            let (own, rest) = pieces.split_at(lane.pieces.len());
            pieces = rest;
            jobs.push((lane, own));
        }
        if new.count < ONE_ENCODER_ROWS {
            let encoder = encoders.first_mut().ok_or_else(|| Error::internal("there is no writer"))?;
            return jobs.into_iter().try_for_each(|(lane, rows)| write_lane(lane, rows, encoder));
        }
        for lane in encoders.len()..jobs.len() {
            encoders.push(self.encoder(lane)?);
        }
        std::thread::scope(|scope| {
            let running: Vec<_> = jobs
                .into_iter()
                .zip(encoders)
                .map(|((lane, rows), encoder)| scope.spawn(move || write_lane(lane, rows, encoder)))
                .collect();
            let ended = |_| Err(Error::internal("a thread that wrote merged rows has panicked"));
            running.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(ended))
        })
    }
}

/// Copies the rows of a file that stay.
fn copy_file(reader: &RowReader, file: FileMatch, encoder: &mut Encoder) -> Read<()> {
    let mut keys = file.kept_keys.map(Vec::into_iter);
    let mut replaced = file.replaced.iter().copied().peekable();
    let mut kept = 0;
    reader.read(&file.entry, |piece| {
        let stays = |row: usize| {
            let position = piece.position(row);
            replaced.next_if_eq(&position).is_none()
        };
        let stay = BooleanArray::from_iter((0..piece.rows.num_rows()).map(stays).map(Some));
        let rows = filter_record_batch(&piece.rows, &stay).map_err(unmerged)?;
        kept += rows.num_rows() as u64;
        let keys = keys.as_mut().map(|keys| keys.by_ref().take(rows.num_rows()).collect::<Vec<_>>());
        encoder.push(&rows, keys)
    })?;
    if kept != file.kept_rows {
        let text = "a file of the table had other rows when it was read again";
        return Err(ReadFailure::Failed(Error::corrupt(text)));
    }
    Ok(())
}

/// Writes rows of one lane of the batch: of each piece the rows with these numbers.
fn write_lane(lane: &mut WaitingRows, rows_of: &[Vec<u32>], encoder: &mut Encoder) -> Result<()> {
    if rows_of.iter().all(Vec::is_empty) {
        return Ok(());
    }
    lane.read(|number, rows, piece| {
        let wanted = &rows_of[number];
        if wanted.is_empty() {
            return Ok(());
        }
        let rows: RecordBatch =
            take_record_batch(&rows, &UInt32Array::from(wanted.clone())).map_err(unmerged)?;
        encoder.push(&rows, Some(wanted.iter().map(|row| piece.keys.matchable(*row as usize))))
    })
}

fn unmerged(error: arrow::error::ArrowError) -> Error {
    Error::internal("take rows into a merge").source(error)
}

#[cfg(test)]
mod tests {
    use super::super::choose::Place;
    use super::*;

    #[test]
    fn a_row_is_written_for_each_row_that_it_replaces_or_once_if_its_key_is_new() {
        let row = |number: u64, at: (u32, u32)| Candidate {
            key: Fingerprint::for_tests(number),
            place: Place { log: 0, offset: number as i64 },
            at,
            has_null: false,
        };
        let rows =
            [row(0, (0, 4)), row(1, (1, 0)), row(2, (0, 1)), row(3, (0, 2)), row(4, (1, 7)), row(5, (1, 8))];
        // New, replacing two, outdated; deleting three, deleting nothing, deleting only what is newer.
        let replaces = vec![None, Some(2), Some(0), Some(3), None, Some(0)];
        let matched = Matched { files: Vec::new(), replaces };
        let new = NewRows::of(&rows, |row| row >= 3, &matched, 2);
        assert_eq!(new.of_piece, [vec![4], vec![0, 0]]);
        assert_eq!(new.count, 3);
        let counts =
            UpdateCounts { inserted: 1, updated: 2, deleted: 3, ignored: 3, ..UpdateCounts::default() };
        assert_eq!(new.counts, counts);
    }
}
