//! A micro-batch between its lanes and its commit: the rows, their keys, and where each was read.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, BinaryArray, BooleanArray, RecordBatch, TimestampMicrosecondArray};

use super::attempt::MergeAttempt;
use super::choose::{Candidate, Place, RowPerKey};
use super::spool::SpooledRows;
use crate::model::{Error, Result, TopicPartition};
use crate::sink::{Part, RowPlaces};
use crate::table::key_index::RowKeys;

/// The rows of one lane of a merge, on their way from its writer to the commit.
pub struct WaitingRows {
    pub(super) attempt: Arc<MergeAttempt>,
    pub(super) rows: SpooledRows,
    pub(super) pieces: Vec<Piece>,
}

impl std::fmt::Debug for WaitingRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WaitingRows").field("pieces", &self.pieces.len()).finish_non_exhaustive()
    }
}

/// What is known of the rows that came at once.
pub(super) struct Piece {
    pub(super) keys: RowKeys,
    /// Where the rows were read; `None` if the source has no offsets, and rows are in the order in which they came.
    pub(super) places: Option<RowPlaces>,
    /// Of each row what `orderBy` compares; `None` without it.
    pub(super) order: Option<BinaryArray>,
    /// Which rows delete their key; `None` without `deleteWhen`.
    pub(super) deletes: Option<BooleanArray>,
    /// Their event times; `None` without `within`.
    pub(super) times: Option<TimestampMicrosecondArray>,
}

impl Piece {
    fn rows(&self) -> usize {
        self.keys.fingerprints.len()
    }
}

/// The rows of all lanes.
pub(super) struct WaitingBatch {
    pub(super) lanes: Vec<WaitingRows>,
}

impl WaitingBatch {
    /// # Errors
    /// `Internal` if a part is of another sink.
    pub(super) fn of(parts: Vec<Part>) -> Result<WaitingBatch> {
        let lane = |part| match part {
            Part::Waiting(rows) => Ok(*rows),
            Part::File(_) | Part::Rows(_) => {
                Err(Error::internal("a merge was given files where it takes rows"))
            }
        };
        Ok(WaitingBatch { lanes: parts.into_iter().map(lane).collect::<Result<_>>()? })
    }

    fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.lanes.iter().flat_map(|lane| &lane.pieces)
    }

    /// The number of rows of each piece, in the order of the lanes.
    pub(super) fn piece_rows(&self) -> Vec<usize> {
        self.pieces().map(Piece::rows).collect()
    }

    /// The first row of each key.
    pub(super) fn first_rows(&self) -> RowPerKey {
        RowPerKey::first(self.candidates())
    }

    /// The newest row of each key.
    pub(super) fn newest_rows(&self) -> RowPerKey {
        let pieces: Vec<&Piece> = self.pieces().collect();
        RowPerKey::newest(self.candidates(), |one, other| order(&pieces, one).cmp(&order(&pieces, other)))
    }

    /// How many of the rows in `keep`, as there are in each piece, have no event time from `covered_from` on.
    pub(super) fn rows_before(&self, covered_from: i64, keep: &[BooleanArray]) -> u64 {
        let older = |(piece, keep): (&Piece, &BooleanArray)| {
            let Some(times) = &piece.times else { return 0 };
            let is_older = |row: &usize| times.is_null(*row) || times.value(*row) < covered_from;
            keep.values().set_indices().filter(is_older).count() as u64
        };
        self.pieces().zip(keep).map(older).sum()
    }

    /// Of each row what `orderBy` compares, and whether it deletes its key.
    pub(super) fn rules_of(&self, rows: &[Candidate]) -> Vec<(Option<&[u8]>, bool)> {
        let pieces: Vec<&Piece> = self.pieces().collect();
        let deletes = |row: &Candidate| {
            let deletes = pieces[row.at.0 as usize].deletes.as_ref();
            deletes.is_some_and(|deletes| deletes.value(row.at.1 as usize))
        };
        rows.iter().map(|row| (order(&pieces, row), deletes(row))).collect()
    }

    fn candidates(&self) -> Vec<Candidate> {
        let logs: BTreeSet<&TopicPartition> =
            self.pieces().filter_map(|piece| piece.places.as_ref()).flat_map(RowPlaces::logs).collect();
        let logs: Vec<&TopicPartition> = logs.into_iter().collect();
        let rank = |log: &TopicPartition| {
            let found = logs.binary_search(&log).expect("the list has every log of the batch");
            u32::try_from(found).expect("a batch reads fewer than 2^32 partitions")
        };
        let mut candidates = Vec::with_capacity(self.pieces().map(Piece::rows).sum());
        let mut arrived = 0;
        for (number, piece) in (0_u32..).zip(self.pieces()) {
            let ranks: Vec<u32> =
                piece.places.iter().flat_map(|places| places.logs().iter().map(rank)).collect();
            for (row, key) in piece.keys.fingerprints.iter().enumerate() {
                let place = match &piece.places {
                    Some(places) => {
                        let (log, offset) = places.get(row);
                        Place { log: ranks[log], offset }
                    }
                    None => {
                        arrived += 1;
                        Place { log: 0, offset: arrived }
                    }
                };
                let has_null = piece.keys.is_null(row);
                candidates.push(Candidate { key: *key, place, at: (number, row as u32), has_null });
            }
        }
        candidates
    }
}

/// What `orderBy` compares of a row.
fn order<'a>(pieces: &[&'a Piece], row: &Candidate) -> Option<&'a [u8]> {
    pieces[row.at.0 as usize].order.as_ref().map(|order| order.value(row.at.1 as usize))
}

impl WaitingRows {
    /// Hands over the rows with what is known of them, piece by piece.
    ///
    /// # Errors
    /// What reading them back or `each` returns.
    pub(super) fn read(
        &mut self,
        mut each: impl FnMut(usize, RecordBatch, &Piece) -> Result<()>,
    ) -> Result<()> {
        let (pieces, mut number) = (&self.pieces, 0);
        self.rows.read(|rows| {
            let piece = pieces.get(number).filter(|piece| piece.rows() == rows.num_rows());
            let piece =
                piece.ok_or_else(|| Error::internal("rows came back from the disk that did not go there"))?;
            number += 1;
            each(number - 1, rows, piece)
        })
    }
}
