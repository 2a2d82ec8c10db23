//! Which rows of the table a micro-batch replaces: the files that the index names are read, their key columns only, and
//! each of their rows is compared with the batch's row of its key.
//!
//! A row of the table is replaced if it is not newer than the batch's row (`orderBy`). All rows of a key are, as in Spark.
//! What the index says is checked on the way: each key that it promises must be in its file.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::choose::RowPerKey;
use super::order::RowRules;
use crate::model::{Error, Result};
use crate::table::key_index::{FileId, Fingerprint, FoundKeys, RowHasher};
use crate::table::{DeltaTable, FileEntry, ReadFailure, RowReader};

/// Keys of rows that stay are kept up to so many, 24 bytes each; beyond them the index reads the new files.
const KEPT_KEYS_MAX: usize = 1 << 20;

/// What a batch means for one file.
#[derive(Debug)]
pub(super) struct FileMatch {
    /// The file.
    pub(super) entry: FileEntry,
    /// The positions of its rows that are replaced, ascending.
    pub(super) replaced: Vec<u64>,
    /// How many other rows it has.
    pub(super) kept_rows: u64,
    /// The keys of those, in their order; `None` if they are too many.
    pub(super) kept_keys: Option<Vec<Option<Fingerprint>>>,
}

/// What a batch means for the table.
#[derive(Debug)]
pub(super) struct Matched {
    /// The files that hold rows that are replaced.
    pub(super) files: Vec<FileMatch>,
    /// Of each row of the batch, how many rows of the table it replaces; `None` if the table lacks its key.
    pub(super) replaces: Vec<Option<u32>>,
}

/// Why a batch could not be compared with the table.
#[derive(Debug)]
pub(super) enum NotMatched {
    /// A file could not be read.
    Read(ReadFailure),
    /// The index says what is not so.
    WrongIndex(String),
}

impl From<ReadFailure> for NotMatched {
    fn from(failure: ReadFailure) -> NotMatched {
        NotMatched::Read(failure)
    }
}

impl From<Error> for NotMatched {
    fn from(error: Error) -> NotMatched {
        NotMatched::Read(ReadFailure::Failed(error))
    }
}

/// What compares a batch with the table.
pub(super) struct Matcher<'a> {
    /// The batch.
    pub(super) rows: &'a RowPerKey,
    /// Of each row what `orderBy` compares, and whether it deletes.
    pub(super) rules_of: &'a [(Option<&'a [u8]>, bool)],
    pub(super) hasher: &'a RowHasher,
    pub(super) rules: &'a RowRules,
    /// Threads that may read files.
    pub(super) lanes: usize,
}

impl Matcher<'_> {
    /// Compares the batch with the files that hold its keys.
    ///
    /// # Errors
    /// See [`NotMatched`].
    pub(super) fn compare(
        &self,
        table: &DeltaTable,
        found: FoundKeys,
    ) -> std::result::Result<Matched, NotMatched> {
        let mut replaces: Vec<Option<u32>> = vec![None; self.rows.rows().len()];
        let mut row_of: HashMap<Fingerprint, u32> = HashMap::with_capacity(found.matches.len());
        let mut expected: BTreeMap<FileId, usize> = BTreeMap::new();
        for (position, file) in &found.matches {
            let row = self.rows.row_of_key(*position);
            replaces[row] = Some(0);
            row_of.insert(self.rows.keys()[*position], row as u32);
            *expected.entry(*file).or_default() += 1;
        }
        if expected.is_empty() {
            return Ok(Matched { files: Vec::new(), replaces });
        }
        let mut columns = self.hasher.columns().top_level();
        columns.extend(self.rules.order.iter().map(|order| order.top_level().to_owned()));
        columns.sort_unstable();
        columns.dedup();
        let reader = RowReader::new(table, Some(&columns))?;
        let files: Vec<(FileEntry, usize)> = found
            .files
            .into_iter()
            .map(|(id, entry)| (entry, expected.get(&id).copied().unwrap_or(0)))
            .collect();
        let kept = AtomicUsize::new(0);
        let compared = on_lanes(self.lanes, &files, |(entry, keys)| {
            self.compare_file(&reader, entry, *keys, &row_of, &kept)
        })?;
        let mut matched = Vec::with_capacity(compared.len());
        for (file, rows) in compared {
            for row in rows {
                let count = &mut replaces[row as usize];
                *count = Some(count.unwrap_or(0) + 1);
            }
            if !file.replaced.is_empty() {
                matched.push(file);
            }
        }
        Ok(Matched { files: matched, replaces })
    }

    /// Compares the batch with a file that holds `keys` of its keys: what it means for the file, and for each row of the
    /// file that is replaced, the row of the batch.
    fn compare_file(
        &self,
        reader: &RowReader,
        entry: &FileEntry,
        keys: usize,
        row_of: &HashMap<Fingerprint, u32>,
        kept: &AtomicUsize,
    ) -> std::result::Result<(FileMatch, Vec<u32>), NotMatched> {
        let mut file = FileMatch {
            entry: entry.clone(),
            replaced: Vec::new(),
            kept_rows: 0,
            kept_keys: Some(Vec::new()),
        };
        let (mut seen, mut by) = (HashSet::with_capacity(keys), Vec::new());
        reader.read(entry, |piece| {
            let row_keys = self.hasher.keys(&piece.rows)?;
            let order = self.rules.order.as_ref().map(|order| order.of_rows(&piece.rows)).transpose()?;
            let kept_before = file.kept_rows;
            for row in 0..piece.rows.num_rows() {
                let key = row_keys.matchable(row);
                let new = key.and_then(|key| row_of.get(&key).copied());
                seen.extend(new);
                let there = order.as_ref().map(|order| order.value(row));
                match new.filter(|new| self.rules_of[*new as usize].0 >= there) {
                    Some(new) => {
                        file.replaced.push(piece.position(row));
                        by.push(new);
                    }
                    None => {
                        file.kept_rows += 1;
                        if let Some(keys) = &mut file.kept_keys {
                            keys.push(key);
                        }
                    }
                }
            }
            let more = (file.kept_rows - kept_before) as usize;
            if kept.fetch_add(more, Ordering::Relaxed) + more > KEPT_KEYS_MAX {
                file.kept_keys = None;
            }
            Ok(())
        })?;
        if seen.len() != keys {
            let text =
                format!("a file of the table has {} of the {keys} keys that it should have", seen.len());
            return Err(NotMatched::WrongIndex(text));
        }
        Ok((file, by))
    }
}

/// Does something with each item on up to `lanes` threads; the results are in the order of the items.
pub(super) fn on_lanes<T: Sync, R: Send, E: Send + From<Error>>(
    lanes: usize,
    items: &[T],
    each: impl Fn(&T) -> std::result::Result<R, E> + Sync,
) -> std::result::Result<Vec<R>, E> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(number) else { return Ok(done) };
            match each(item) {
                Ok(result) => done.push((number, result)),
                Err(error) => {
                    // The others need not go on.
                    next.store(items.len(), Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    };
    let lanes = lanes.clamp(1, items.len().max(1));
    let done: Vec<std::result::Result<Vec<(usize, R)>, E>> = if lanes == 1 {
        vec![work()]
    } else {
        std::thread::scope(|scope| {
            let running: Vec<_> = (0..lanes).map(|_| scope.spawn(work)).collect();
            let ended =
                |_| Err(E::from(Error::internal("a thread that read files of the table has panicked")));
            running.into_iter().map(|thread| thread.join().unwrap_or_else(ended)).collect()
        })
    };
    let mut all = Vec::with_capacity(items.len());
    for part in done {
        all.extend(part?);
    }
    all.sort_unstable_by_key(|(number, _)| *number);
    Ok(all.into_iter().map(|(_, result)| result).collect())
}

/// The result of a step that reads the table.
pub(super) type Read<T> = std::result::Result<T, ReadFailure>;

/// Fails as a model error does.
pub(super) fn failed<T>(result: Result<T>) -> Read<T> {
    result.map_err(ReadFailure::Failed)
}
