//! The keys of one table as a merge asks for them: its key index, kept in step with the table's log.
//!
//! A stored index is taken up where it was left. If the commit that it was left at is still the one in the log, the
//! commits after it say which files came and went; if not, or if the log no longer holds them, the files of the index
//! are compared with the table's list of files. Either way only files that are new to the index are read, and it makes no
//! difference whose commits they came with, or what for. An index that can't be used is built again from all files, the
//! same way: it is an empty one that has not seen any file yet.

mod build;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::RecordBatch;

use super::fingerprint::{Fingerprint, HashSecret, KeyHasher};
use super::key_columns::{KeyColumns, RowKeys};
use super::own_changes::{KeysOfFile, OwnChanges};
use super::reader::Trouble;
use super::snapshot::{PendingSnapshot, Snapshots};
use super::window::{EventTimes, KeyWindow, physical_path};
use super::{FileId, IndexSize, IndexedKeys, KeyIndex, LogPosition};
use crate::model::{Error, Result};
use crate::table::file_entry::FileIdentity;
use crate::table::{DeltaTable, FileEntry};
use build::Joined;

/// How often files of the table or of the index may vanish before it is given up.
const TRIES: u32 = 10;

/// The keys of a table.
pub struct TableKeys {
    columns: KeyColumns,
    folder: PathBuf,
    keys: IndexedKeys,
    index: KeyIndex,
    /// Which event times the index covers; `None` if all.
    window: Option<KeyWindow>,
    lanes: usize,
    /// Whether the index's position was compared with the log, or was reached by following it.
    same_log: bool,
    /// Where snapshots of the index are kept, if they are.
    snapshots: Option<Snapshots>,
}

/// What an index is to hold.
#[derive(Debug, Clone, Copy)]
pub struct IndexedBy<'a> {
    /// The key columns.
    pub names: &'a [String],
    /// The column of event times, and how far before the newest of them keys are held; `None` if all keys are.
    pub within: Option<(&'a str, Duration)>,
}

/// What the table holds of keys that were looked for.
#[derive(Debug, Default)]
pub struct FoundKeys {
    /// The position of each key that it holds, and a file that holds it; once for each file.
    pub matches: Vec<(usize, FileId)>,
    /// Those files.
    pub files: BTreeMap<FileId, FileEntry>,
}

/// Takes the keys of rows, on any thread.
#[derive(Clone)]
pub struct RowHasher {
    columns: KeyColumns,
    hasher: KeyHasher,
}

impl RowHasher {
    /// The key columns.
    pub fn columns(&self) -> &KeyColumns {
        &self.columns
    }

    /// The keys of rows of the table.
    ///
    /// # Errors
    /// `Internal` if the rows lack a key column.
    pub fn keys(&self, rows: &RecordBatch) -> Result<RowKeys> {
        self.columns.fingerprints(&self.columns.of_rows(rows)?, &self.hasher)
    }
}

/// The names that the columns have in the table's files, one for each; none if all have their own.
fn names_in_files(
    table: &DeltaTable,
    columns: &KeyColumns,
    window: Option<&KeyWindow>,
) -> Result<Vec<String>> {
    let paths: Vec<&[String]> = columns.paths().chain(window.map(KeyWindow::path)).collect();
    let names = paths.iter().map(|path| physical_path(table, path)).collect::<Result<Vec<_>>>()?;
    if names.iter().zip(&paths).all(|(name, path)| name == path) {
        return Ok(Vec::new());
    }
    Ok(names.iter().map(|name| name.join(".")).collect())
}

impl TableKeys {
    /// The keys of `table` by its index in `folder`, which is made if it is not there or can't be used: of the newest of
    /// `snapshots`, or anew. `lanes` are the threads that may read files.
    ///
    /// # Errors
    /// `Config` if a column is not there or can't be compared; `Unavailable` if the folder can't be written to; as for
    /// [`TableKeys::follow`].
    pub fn open(
        table: &mut DeltaTable,
        by: IndexedBy<'_>,
        folder: &Path,
        lanes: usize,
        snapshots: Option<Snapshots>,
    ) -> Result<TableKeys> {
        let url = table.store().url().to_string();
        let owner = format!("table {url}");
        let columns = KeyColumns::resolve(table.arrow_schema()?.as_ref(), by.names, &owner)?;
        let window = by.within.map(|(name, length)| KeyWindow::resolve(table, name, length)).transpose()?;
        let keys = IndexedKeys {
            table_id: table.id().to_owned(),
            key_columns: columns.names_and_types(),
            within: window.as_ref().map(KeyWindow::mark),
            in_files: names_in_files(table, &columns, window.as_ref())?,
        };
        let index = match open_usable(folder, &keys, &url)? {
            Some(index) => Some(index),
            None if restored(snapshots.as_ref(), folder) => open_usable(folder, &keys, &url)?,
            None => None,
        };
        let index = match index {
            Some(index) => index,
            None => KeyIndex::create(folder, keys.clone(), HashSecret::random())
                .map_err(|e| unwritable(e, folder))?,
        };
        let mut opened = TableKeys {
            columns,
            folder: folder.to_owned(),
            keys,
            index,
            window,
            lanes: lanes.max(1),
            same_log: false,
            snapshots,
        };
        match opened.restore_window() {
            Err(e) if is_unusable(&e) => opened.start_over(table, &e)?,
            Err(e) => return Err(unwritable(e, folder)),
            Ok(()) => {}
        }
        opened.follow(table)?;
        Ok(opened)
    }

    /// What takes the keys of rows; they stay good as long as this lives.
    pub fn row_hasher(&self) -> RowHasher {
        RowHasher { columns: self.columns.clone(), hasher: self.index.hasher() }
    }

    /// What reads the event times of rows, and the event time from which on the index holds all keys, in microseconds
    /// since the Unix epoch; `None` if it holds those of all rows.
    pub fn window(&self) -> Option<(&EventTimes, i64)> {
        self.window.as_ref().map(|window| (window.times(), self.index.covered_from()))
    }

    /// A snapshot to be uploaded, if one is due.
    ///
    /// # Errors
    /// `Unavailable` if the index can't be read.
    pub fn snapshot(&mut self) -> Result<Option<PendingSnapshot>> {
        let Some(snapshots) = &self.snapshots else { return Ok(None) };
        self.index.snapshot(snapshots).map_err(|e| unwritable(e, &self.folder))
    }

    /// What the index costs.
    pub fn size(&self) -> IndexSize {
        self.index.size()
    }

    /// Finds which of `keys`, which are in order, the table holds as of its current version: the position of each and
    /// the file, once for each file that holds it. The table may be read again, and be newer afterwards, if files vanish
    /// under a build.
    ///
    /// # Errors
    /// As for [`TableKeys::follow`].
    pub fn find(&mut self, table: &mut DeltaTable, keys: &[Fingerprint]) -> Result<Vec<(usize, FileId)>> {
        loop {
            self.follow(table)?;
            match self.index.find(keys, self.lanes) {
                Ok(found) => return Ok(found),
                Err(e) if is_unusable(&e) => self.start_over(table, &e)?,
                Err(e) => return Err(unwritable(e, &self.folder)),
            }
        }
    }

    /// The same with what the log says of the files.
    ///
    /// # Errors
    /// As for [`TableKeys::follow`].
    pub fn find_files(&mut self, table: &mut DeltaTable, keys: &[Fingerprint]) -> Result<FoundKeys> {
        loop {
            let matches = self.find(table, keys)?;
            let ids: HashSet<FileId> = matches.iter().map(|(_, file)| *file).collect();
            let entry = |id: FileId| Ok((id, self.index.entry(id)?));
            let entries: io::Result<Vec<(FileId, Vec<u8>)>> = ids.into_iter().map(entry).collect();
            match entries {
                Ok(entries) => {
                    let parsed = |(id, json): (FileId, Vec<u8>)| Ok((id, FileEntry::parse(&json)?));
                    let files = entries.into_iter().map(parsed).collect::<Result<_>>()?;
                    return Ok(FoundKeys { matches, files });
                }
                Err(e) if is_unusable(&e) => self.start_over(table, &e)?,
                Err(e) => return Err(unwritable(e, &self.folder)),
            }
        }
    }

    /// The index was found to say what is not so, and is built again when it is asked next.
    ///
    /// # Errors
    /// `Unavailable` if the folder can't be written to.
    pub fn distrust(&mut self, table: &DeltaTable, reason: &str) -> Result<()> {
        self.start_over(table, &super::damaged(reason.to_owned()))
    }

    /// Brings the index to the table's current version; see [`TableKeys::find`].
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt` if the log or a file can't be read; `Unavailable` if the index can't be written.
    pub fn follow(&mut self, table: &mut DeltaTable) -> Result<()> {
        for _ in 0..TRIES {
            match self.try_follow(table) {
                Ok(()) => return Ok(()),
                Err(Trouble::Failed(error)) => return Err(error),
                Err(Trouble::Damaged(error)) => self.start_over(table, &error)?,
                Err(Trouble::Gone(error)) => {
                    let before = table.version();
                    table.refresh_unchanged()?;
                    if table.version() == before {
                        return Err(error);
                    }
                }
            }
        }
        Err(Error::unavailable(format!(
            "files of table {} or of its key index in {} keep vanishing while they are read",
            table.store().url(),
            self.folder.display()
        ))
        .hint("if another writer runs VACUUM with a retention near zero, raise it"))
    }

    /// Takes in a commit of ours that made version `read_version + 1` of the table.
    ///
    /// # Errors
    /// As for [`TableKeys::follow`].
    pub fn committed(&mut self, table: &mut DeltaTable, read_version: u64, own: OwnChanges) -> Result<()> {
        let as_read = self.same_log && self.index.position().version == read_version;
        let partitioned = !table.partition_columns().is_empty();
        let gone = own.gone()?;
        let files = own.keys_by_file(partitioned);
        let Some(files) = files.filter(|_| as_read && table.version() == read_version + 1) else {
            return self.follow(table);
        };
        let identities: Vec<FileIdentity> =
            files.iter().map(|(entry, _)| entry.identity()).collect::<Result<_>>()?;
        match self.add_own(table, &gone, files.into_iter().zip(identities)) {
            Ok(()) => Ok(()),
            Err(e) if is_unusable(&e) => {
                self.start_over(table, &e)?;
                self.follow(table)
            }
            Err(e) => Err(unwritable(e, &self.folder)),
        }
    }

    fn add_own(
        &mut self,
        table: &DeltaTable,
        gone: &[FileIdentity],
        files: impl Iterator<Item = (KeysOfFile, FileIdentity)>,
    ) -> io::Result<()> {
        let hasher = self.index.hasher();
        for file in gone {
            self.remove(fingerprint_of(&hasher, file));
        }
        let mut newest_of_all = None;
        for ((entry, keys), identity) in files {
            let (id, count) = (self.index.reserve(&entry.to_json())?, keys.len() as u64);
            let newest = self.newest_in(&entry);
            newest_of_all = newest.max(newest_of_all);
            self.index.add(id, keys)?;
            self.cover(fingerprint_of(&hasher, &identity), id, count, newest);
        }
        self.move_window(newest_of_all);
        self.let_go_of_old();
        self.index.move_to(position_of(table));
        if self.index.save_is_due() { self.index.save() } else { Ok(()) }
    }

    /// Makes the index an empty one; fingerprints that were made before stay good.
    fn start_over(&mut self, table: &DeltaTable, reason: &io::Error) -> Result<()> {
        tracing::warn!(table = %table.store().url(), %reason, "the key index cannot be used and is built again");
        let secret = self.index.secret;
        self.index = KeyIndex::create(&self.folder, self.keys.clone(), secret)
            .map_err(|e| unwritable(e, &self.folder))?;
        self.same_log = false;
        if let Some(window) = &mut self.window {
            window.restore(std::iter::empty());
        }
        Ok(())
    }

    /// Takes up the window of the index where it was left.
    fn restore_window(&mut self) -> io::Result<()> {
        let Some(window) = &mut self.window else { return Ok(()) };
        let parsed = |(identity, json): (Fingerprint, Vec<u8>)| {
            FileEntry::parse(&json).map(|entry| (identity, entry)).map_err(|e| super::damaged(e.to_string()))
        };
        let files: Vec<_> = self.index.covered()?.into_iter().map(parsed).collect::<io::Result<_>>()?;
        window.restore(files.into_iter());
        Ok(())
    }

    /// Files with rows of this event time have joined the table.
    fn move_window(&mut self, newest: Option<i64>) {
        if let (Some(window), Some(newest)) = (&self.window, newest)
            && let Some(from) = window.moved(self.index.covered_from(), newest)
        {
            self.index.cover_from(from);
        }
    }

    /// Takes the files out of the index that the window has left behind.
    fn let_go_of_old(&mut self) {
        let Some(window) = &mut self.window else { return };
        for identity in window.take_before(self.index.covered_from()) {
            self.index.remove(identity);
        }
    }

    fn cover(&mut self, identity: Fingerprint, id: FileId, keys: u64, newest: Option<i64>) {
        self.index.cover(identity, id, keys);
        if let Some(window) = &mut self.window {
            window.cover(identity, newest);
        }
    }

    fn remove(&mut self, identity: Fingerprint) {
        self.index.remove(identity);
        if let Some(window) = &mut self.window {
            window.remove(identity);
        }
    }

    fn newest_in(&self, entry: &FileEntry) -> Option<i64> {
        self.window.as_ref().and_then(|window| window.newest_in(entry))
    }

    fn try_follow(&mut self, table: &DeltaTable) -> std::result::Result<(), Trouble> {
        let position = position_of(table);
        if self.same_log && self.index.position() == position {
            return Ok(());
        }
        let joined = self.let_go(table)?;
        let all = !joined.is_empty() && !self.same_log;
        self.load(table, joined)?;
        self.let_go_of_old();
        self.same_log = true;
        self.index.move_to(position);
        if all || self.index.save_is_due() {
            self.index.save().map_err(|e| self.local(e))?;
        }
        Ok(())
    }

    /// Takes the files out of the index that have left the table, and returns those that it does not cover yet.
    fn let_go(&mut self, table: &DeltaTable) -> Result<Vec<Joined>> {
        let hasher = self.index.hasher();
        let mut joined = Vec::new();
        if self.is_of_this_log(table)?
            && let Some(changes) = table.file_changes_since(self.index.position().version)?
        {
            for file in &changes.removed {
                self.remove(fingerprint_of(&hasher, file));
            }
            self.move_window(changes.added.iter().filter_map(|entry| self.newest_in(entry)).max());
            for entry in changes.added {
                self.join(&hasher, &entry, &mut joined)?;
            }
            return Ok(joined);
        }
        if self.window.is_some() {
            let mut newest = None;
            table.live_files(|entry| {
                newest = self.newest_in(&entry).max(newest);
                Ok(())
            })?;
            self.move_window(newest);
        }
        let mut live = HashSet::new();
        table.live_files(|entry| {
            live.insert(self.join(&hasher, &entry, &mut joined)?);
            Ok(())
        })?;
        self.index.retain(|identity| live.contains(&identity));
        if let Some(window) = &mut self.window {
            window.retain(|identity| live.contains(&identity));
        }
        Ok(joined)
    }

    /// Puts a file that the index does not cover, and is to cover, among those that have joined; returns its identity.
    fn join(
        &mut self,
        hasher: &KeyHasher,
        entry: &FileEntry,
        joined: &mut Vec<Joined>,
    ) -> Result<Fingerprint> {
        let file = entry.live()?;
        let identity = fingerprint_of(hasher, &file.identity());
        let newest = self.newest_in(entry);
        let outside = newest.is_some_and(|newest| newest < self.index.covered_from());
        if !outside && !self.index.covers(identity) {
            let id = self.index.reserve(&entry.to_json()).map_err(|e| unwritable(e, &self.folder))?;
            joined.push(Joined { file, id, newest });
        }
        Ok(identity)
    }

    /// Returns whether the commits after the index's position say all that has changed since.
    fn is_of_this_log(&self, table: &DeltaTable) -> Result<bool> {
        let position = self.index.position();
        if position.commit_hash.is_none() || position.version > table.version() {
            return Ok(false);
        }
        Ok(self.same_log || table.commit_hash_at(position.version)? == position.commit_hash)
    }

    fn local(&self, error: io::Error) -> Trouble {
        if is_unusable(&error) {
            Trouble::Damaged(error)
        } else {
            Trouble::Failed(unwritable(error, &self.folder))
        }
    }
}

/// The index in a folder; `None` if there is none that can be used.
fn open_usable(folder: &Path, keys: &IndexedKeys, table: &str) -> Result<Option<KeyIndex>> {
    match KeyIndex::open(folder, keys) {
        Ok(index) => Ok(Some(index)),
        Err(e) if is_unusable(&e) => {
            if e.kind() != io::ErrorKind::NotFound {
                tracing::warn!(table, reason = %e, "the key index cannot be used");
            }
            Ok(None)
        }
        Err(e) => Err(unwritable(e, folder)),
    }
}

/// Returns whether a snapshot was put into the folder; without one the index is built from the table.
fn restored(snapshots: Option<&Snapshots>, folder: &Path) -> bool {
    let restored = snapshots.map_or(Ok(false), |snapshots| snapshots.restore(folder));
    restored.unwrap_or_else(|error| {
        tracing::warn!(%error, "the snapshots of the key index cannot be read");
        false
    })
}

fn position_of(table: &DeltaTable) -> LogPosition {
    LogPosition { version: table.version(), commit_hash: table.commit_hash() }
}

fn fingerprint_of(hasher: &KeyHasher, file: &FileIdentity) -> Fingerprint {
    hasher.of_file(&file.path, file.deletion_vector.as_deref())
}

/// Returns whether an error says that the index is missing or damaged, and not that the disk does not work.
fn is_unusable(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    matches!(error.kind(), InvalidData | NotFound | UnexpectedEof)
}

fn unwritable(error: io::Error, folder: &Path) -> Error {
    Error::unavailable(format!("the key index in {} cannot be written", folder.display()))
        .source(error)
        .hint("make the folder writable and give it room, or name another one with sink.merge.indexFolder")
}

#[cfg(test)]
mod tests;
