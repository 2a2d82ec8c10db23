//! Which rows of a micro-batch count: one of each key. The first, if rows of the table are left as they are; the newest,
//! if it takes their place.
//!
//! First and newest are by (topic, partition, offset), the order of a batch whatever its lanes did, so that a batch that is
//! run again chooses the same rows; newest are by the column of `orderBy` before that. A row one of whose keys is NULL
//! matches no row of the table; within the batch NULL is a value like any other, as in Spark's `dropDuplicates`. Pure: which
//! keys the table holds is asked of a function.

use std::cmp::Ordering;

use arrow::array::{BooleanArray, BooleanBufferBuilder};

use crate::model::Result;
use crate::table::key_index::Fingerprint;

/// Where a row comes from. Rows of one record have the same place, and are in order by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The number of its topic and partition, in their order.
    pub(super) log: u32,
    /// Its offset there.
    pub(super) offset: i64,
}

/// A row, as it is chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    /// Its key.
    pub(super) key: Fingerprint,
    /// Where it comes from.
    pub(super) place: Place,
    /// The piece of the batch that it is in, and the row there.
    pub(super) at: (u32, u32),
    /// Whether one of its keys is NULL.
    pub(super) has_null: bool,
}

/// What became of the rows of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct MergeCounts {
    /// Rows that are inserted.
    pub(super) inserted: u64,
    /// Rows whose key an earlier row of the batch has.
    pub(super) duplicates_in_batch: u64,
    /// Rows whose key the table holds.
    pub(super) already_in_table: u64,
    /// Rows that are inserted and older than the keys that the index holds.
    pub(super) not_within: u64,
}

/// One row of each key of a batch, in the order of keys.
pub(super) struct RowPerKey {
    rows: Vec<Candidate>,
    /// The keys of `rows` that can match a row of the table, in order, and of which row each is.
    keys: Vec<Fingerprint>,
    row_of_key: Vec<u32>,
    duplicates: u64,
}

/// Rows to insert.
#[derive(Debug, PartialEq)]
pub(super) struct Chosen {
    /// Of each piece of the batch, which rows.
    pub(super) keep: Vec<BooleanArray>,
    /// What became of all rows.
    pub(super) counts: MergeCounts,
}

impl RowPerKey {
    /// The first row of each key.
    pub(super) fn first(mut candidates: Vec<Candidate>) -> RowPerKey {
        candidates.sort_unstable();
        RowPerKey::of_sorted(candidates)
    }

    /// The newest row of each key: the last by `order`, and of equal ones the last by its place.
    pub(super) fn newest(
        mut candidates: Vec<Candidate>,
        order: impl Fn(&Candidate, &Candidate) -> Ordering,
    ) -> RowPerKey {
        candidates.sort_unstable_by(|one, other| {
            let newer = || (other.place, other.at).cmp(&(one.place, one.at));
            one.key.cmp(&other.key).then_with(|| order(other, one)).then_with(newer)
        });
        RowPerKey::of_sorted(candidates)
    }

    /// The row that stands first of each key.
    fn of_sorted(mut candidates: Vec<Candidate>) -> RowPerKey {
        let all = candidates.len();
        candidates.dedup_by_key(|candidate| candidate.key);
        let not_null = || candidates.iter().enumerate().filter(|(_, candidate)| !candidate.has_null);
        RowPerKey {
            keys: not_null().map(|(_, candidate)| candidate.key).collect(),
            row_of_key: not_null().map(|(row, _)| row as u32).collect(),
            duplicates: (all - candidates.len()) as u64,
            rows: candidates,
        }
    }

    /// The rows.
    pub(super) fn rows(&self) -> &[Candidate] {
        &self.rows
    }

    /// The keys that the table may hold, in order.
    pub(super) fn keys(&self) -> &[Fingerprint] {
        &self.keys
    }

    /// Which of the rows has the key at `position` of [`RowPerKey::keys`].
    pub(super) fn row_of_key(&self, position: usize) -> usize {
        self.row_of_key[position] as usize
    }

    /// Rows of the batch that another row of their key has replaced.
    pub(super) fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// The rows whose keys the table lacks. `rows` is the number of rows of each piece; `find` is given keys in order
    /// and returns the positions of those that the table holds, some perhaps more than once.
    ///
    /// # Errors
    /// What `find` returns.
    pub(super) fn absent_from(
        &self,
        rows: &[usize],
        find: impl FnOnce(&[Fingerprint]) -> Result<Vec<usize>>,
    ) -> Result<Chosen> {
        let mut in_table = vec![false; self.rows.len()];
        for position in find(&self.keys)? {
            in_table[self.row_of_key[position] as usize] = true;
        }
        let mut keep: Vec<BooleanBufferBuilder> = rows
            .iter()
            .map(|rows| {
                let mut bits = BooleanBufferBuilder::new(*rows);
                bits.append_n(*rows, false);
                bits
            })
            .collect();
        let mut counts = MergeCounts { duplicates_in_batch: self.duplicates, ..MergeCounts::default() };
        for (row, in_table) in self.rows.iter().zip(in_table) {
            if in_table {
                counts.already_in_table += 1;
            } else {
                counts.inserted += 1;
                keep[row.at.0 as usize].set_bit(row.at.1 as usize, true);
            }
        }
        let keep = keep.iter_mut().map(|bits| BooleanArray::new(bits.finish(), None)).collect();
        Ok(Chosen { keep, counts })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn key(number: u64) -> Fingerprint {
        Fingerprint::for_tests(number)
    }

    /// Rows of (key, log, offset), each in the piece of its log; keys from 100 on are NULL.
    fn candidates(rows: &[(u64, u32, i64)]) -> (Vec<Candidate>, Vec<usize>) {
        let mut pieces = vec![0_usize; 4];
        let candidates = rows.iter().map(|(number, log, offset)| {
            let at = (*log, pieces[*log as usize] as u32);
            pieces[*log as usize] += 1;
            Candidate {
                key: key(*number),
                place: Place { log: *log, offset: *offset },
                at,
                has_null: *number >= 100,
            }
        });
        (candidates.collect(), pieces)
    }

    fn choose(rows: &[(u64, u32, i64)], table: &[u64]) -> Chosen {
        let (candidates, pieces) = candidates(rows);
        let table: BTreeSet<Fingerprint> = table.iter().map(|number| key(*number)).collect();
        let find = |keys: &[Fingerprint]| {
            assert!(keys.is_sorted());
            let found = keys.iter().enumerate().filter(|(_, key)| table.contains(key));
            Ok(found.flat_map(|(position, _)| [position, position]).collect())
        };
        RowPerKey::first(candidates).absent_from(&pieces, find).unwrap()
    }

    #[test]
    fn the_first_row_of_a_key_by_partition_and_offset_is_kept_if_the_table_lacks_it() {
        let chosen = choose(&[(1, 1, 5), (2, 1, 6), (1, 0, 9), (3, 0, 10), (2, 1, 2)], &[3, 7]);
        assert_eq!(chosen.keep[0], BooleanArray::from(vec![true, false]));
        assert_eq!(chosen.keep[1], BooleanArray::from(vec![false, false, true]));
        let counts = MergeCounts {
            inserted: 2,
            duplicates_in_batch: 2,
            already_in_table: 1,
            ..MergeCounts::default()
        };
        assert_eq!(chosen.counts, counts);
    }

    #[test]
    fn rows_with_a_null_key_are_equal_in_the_batch_and_never_matched_to_the_table() {
        let chosen = choose(&[(100, 0, 1), (100, 0, 2), (101, 0, 3)], &[100, 101]);
        assert_eq!(chosen.keep[0], BooleanArray::from(vec![true, false, true]));
        let counts = MergeCounts { inserted: 2, duplicates_in_batch: 1, ..MergeCounts::default() };
        assert_eq!(chosen.counts, counts);
    }

    #[test]
    fn rows_of_one_record_keep_their_order() {
        let chosen = choose(&[(1, 0, 5), (1, 0, 5), (1, 0, 5)], &[]);
        assert_eq!(chosen.keep[0], BooleanArray::from(vec![true, false, false]));
    }

    #[test]
    fn the_newest_row_of_a_key_is_the_last_by_order_and_of_equal_ones_by_its_place() {
        let (candidates, _) =
            candidates(&[(1, 1, 5), (2, 1, 6), (1, 0, 9), (1, 1, 7), (2, 1, 2), (100, 0, 3), (100, 0, 4)]);
        let places = |rows: &RowPerKey| -> Vec<(u32, i64)> {
            rows.rows().iter().map(|row| (row.place.log, row.place.offset)).collect()
        };
        let by_place = RowPerKey::newest(candidates.clone(), |_, _| Ordering::Equal);
        assert_eq!(places(&by_place), [(1, 7), (1, 6), (0, 4)]);
        assert_eq!((by_place.duplicates(), by_place.keys().len(), by_place.row_of_key(1)), (4, 2, 1));
        // By an order of its own: the lower the offset, the newer.
        let by_order = RowPerKey::newest(candidates, |one, other| other.place.offset.cmp(&one.place.offset));
        assert_eq!(places(&by_order), [(1, 5), (1, 2), (0, 3)]);
    }

    #[test]
    fn an_empty_batch_inserts_nothing() {
        assert_eq!(choose(&[], &[1]).counts, MergeCounts::default());
    }

    proptest! {
        #[test]
        fn the_choice_is_that_of_a_map_and_does_not_depend_on_the_order_of_pieces(
            rows in proptest::collection::vec((0_u64..8, 0_u32..4, 0_i64..30), 0..60),
            table in proptest::collection::vec(0_u64..8, 0..5),
        ) {
            // An offset is one record; of one record only the first row is taken here.
            let mut seen = BTreeSet::new();
            let rows: Vec<_> = rows.into_iter().filter(|(_, log, offset)| seen.insert((*log, *offset))).collect();
            let mut first: BTreeMap<u64, (u32, i64)> = BTreeMap::new();
            for (number, log, offset) in &rows {
                let place = first.entry(*number).or_insert((*log, *offset));
                *place = (*place).min((*log, *offset));
            }
            let expected: BTreeSet<(u32, i64)> =
                first.iter().filter(|(number, _)| !table.contains(number)).map(|(_, place)| *place).collect();
            let chosen = choose(&rows, &table);
            let mut next = [0_usize; 4];
            let mut kept = BTreeSet::new();
            for (_, log, offset) in &rows {
                let row = next[*log as usize];
                next[*log as usize] += 1;
                if chosen.keep[*log as usize].value(row) {
                    kept.insert((*log, *offset));
                }
            }
            prop_assert_eq!(&kept, &expected);
            prop_assert_eq!(chosen.counts.inserted, expected.len() as u64);
            let counts = chosen.counts;
            prop_assert_eq!(counts.inserted + counts.duplicates_in_batch + counts.already_in_table, rows.len() as u64);
        }
    }
}
