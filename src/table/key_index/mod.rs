//! The key index: which keys a Delta table holds, so that a merge costs what its batch costs.
//!
//! Derived from the Delta log and kept on local disk: the fingerprint of the key columns of every live row, with the
//! number of its file; and what the log says of each file. Fingerprints lie in sorted runs, the newest in memory, and runs of one size become one; a key is
//! in the table if it is found with the number of a file that is in the table. The index is a cache. It says as of which
//! version of which table it holds the keys, all its files carry checksums, and whatever is missing, damaged or of
//! another table makes it unusable: it is then built again from the table, never believed.
//!
//! What is here knows files and keys only; `table_keys` keeps an index in step with a table.

mod file_list;
mod files;
mod filter;
mod fingerprint;
mod key_columns;
mod manifest;
mod merge;
mod own_changes;
mod page;
mod reader;
mod run;
mod snapshot;
mod table_keys;
mod window;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::failpoint;
use file_list::{FileList, LIST_PREFIX};
use files::{CoveredFile, CoveredFiles};
use fingerprint::KeyHasher;
use manifest::Manifest;
use run::{Run, RunWriter};

use fingerprint::HashSecret;
use manifest::{IndexedKeys, LogPosition};

pub use files::FileId;
pub use fingerprint::Fingerprint;
pub use key_columns::{ComparedColumn, KeyColumns, RowKeys};
pub use manifest::SavedIndex;
pub use own_changes::{OwnChanges, OwnDeletions, OwnFiles};
pub use snapshot::{PendingSnapshot, Snapshots};
pub use table_keys::{FoundKeys, IndexedBy, RowHasher, TableKeys};
pub use window::EventTimes;

/// Entries that are kept in memory at most before they become a run: 24 MB.
const RECENT_ENTRIES_MAX: usize = 1 << 20;
/// Keys of a batch for which a thread of its own is worth its start.
const KEYS_PER_THREAD_MIN: usize = 8 << 10;
/// Runs of about one size that may lie beside each other; one more, and they become one run.
const RUNS_OF_A_SIZE_MAX: usize = 3;
/// The same while many files are read into an index, which nobody searches meanwhile: each entry is then written again once
/// or twice, whatever the size of the table.
const RUNS_OF_A_SIZE_LOADING: usize = 31;
/// Commits after which the index is saved at the latest, so that a restart has not many to follow.
const COMMITS_UNSAVED_MAX: u32 = 100;
/// How the names of runs begin.
const RUN_PREFIX: &str = "run-";

/// A key, and a file that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    key: Fingerprint,
    file: FileId,
}

/// The error of an index that can't be used.
fn damaged(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The keys of one table as of one version.
struct KeyIndex {
    folder: PathBuf,
    keys: IndexedKeys,
    secret: HashSecret,
    position: LogPosition,
    files: CoveredFiles,
    /// Rows from this event time on are in covered files, in microseconds since the Unix epoch; `None` if all are.
    covered_from: Option<i64>,
    /// What the log says of each of them.
    list: FileList,
    /// Entries that are in no run yet, in sorted pieces.
    recent: Vec<Vec<Entry>>,
    runs: Vec<Run>,
    /// How many of them may have about one size.
    runs_of_a_size_max: usize,
    /// Entries of files that have left the table, about.
    dead: u64,
    /// How often the index has moved on since it was saved.
    unsaved: u32,
    /// Whether it was saved since a snapshot of it was last taken.
    saved: bool,
}

/// What an index costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexSize {
    /// Keys of files that are in the table; a key of two files counts twice.
    pub keys: u64,
    /// Entries, those of files that have left the table included.
    pub entries: u64,
    /// Files of the table that are covered.
    pub files: u64,
    /// Runs on the disk.
    pub runs: u64,
    /// Bytes in memory: filters, fences, and the newest entries.
    pub memory_bytes: u64,
}

impl KeyIndex {
    /// An empty index in `folder`, in the place of whatever is there; `secret` is that of an index whose fingerprints
    /// are to stay good.
    ///
    /// # Errors
    /// What the system says.
    fn create(folder: &Path, keys: IndexedKeys, secret: HashSecret) -> io::Result<KeyIndex> {
        fs::create_dir_all(folder)?;
        match fs::remove_file(folder.join(manifest::MANIFEST)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let index = KeyIndex {
            folder: folder.to_owned(),
            keys,
            secret,
            position: LogPosition { version: 0, commit_hash: None },
            files: CoveredFiles::default(),
            covered_from: None,
            list: FileList::create(folder)?,
            recent: Vec::new(),
            runs: Vec::new(),
            runs_of_a_size_max: RUNS_OF_A_SIZE_MAX,
            dead: 0,
            unsaved: 0,
            saved: false,
        };
        index.remove_unnamed()?;
        Ok(index)
    }

    /// The index in `folder`, as it was saved.
    ///
    /// # Errors
    /// `NotFound` if there is none, `InvalidData` or `UnexpectedEof` if it is damaged or of other keys, or what the
    /// system says.
    pub(crate) fn open(folder: &Path, keys: &IndexedKeys) -> io::Result<KeyIndex> {
        let manifest = Manifest::read(folder)?;
        if manifest.keys != *keys {
            return Err(damaged("it is of another table or of other key columns".into()));
        }
        let list = FileList::open(&folder.join(&manifest.list), manifest.list_bytes, manifest.list_places)?;
        let open = |name: &String| Run::open(&folder.join(name));
        let runs: Vec<Run> = manifest.runs.iter().map(open).collect::<io::Result<_>>()?;
        let entries: u64 = runs.iter().map(Run::entries).sum();
        let index = KeyIndex {
            folder: folder.to_owned(),
            keys: manifest.keys,
            secret: manifest.secret,
            position: manifest.position,
            dead: entries.saturating_sub(manifest.files.entries()),
            files: manifest.files,
            covered_from: manifest.covered_from,
            list,
            recent: Vec::new(),
            runs,
            runs_of_a_size_max: RUNS_OF_A_SIZE_MAX,
            unsaved: 0,
            saved: false,
        };
        index.remove_unnamed()?;
        Ok(index)
    }

    /// As of when the index holds the table's keys.
    pub(crate) fn position(&self) -> LogPosition {
        self.position
    }

    pub(super) fn hasher(&self) -> KeyHasher {
        self.secret.hasher()
    }

    /// Finds which of `keys`, which are in order, the table holds: the position of each and the file, once for each file
    /// that holds it, on up to `threads` threads.
    ///
    /// # Errors
    /// `InvalidData` or `UnexpectedEof` if the index turns out to be damaged, or what the system says.
    fn find(&self, keys: &[Fingerprint], threads: usize) -> io::Result<Vec<(usize, FileId)>> {
        let share = keys.len().div_ceil(threads.max(1)).max(KEYS_PER_THREAD_MIN);
        if keys.len() <= share {
            return self.find_share(keys, 0);
        }
        let found: Vec<io::Result<Vec<_>>> = std::thread::scope(|scope| {
            let find = |(number, keys)| scope.spawn(move || self.find_share(keys, number * share));
            let threads: Vec<_> = keys.chunks(share).enumerate().map(find).collect();
            threads.into_iter().map(|thread| thread.join().expect("a search does not panic")).collect()
        });
        let found: Vec<Vec<_>> = found.into_iter().collect::<io::Result<_>>()?;
        Ok(found.concat())
    }

    /// The same for the keys from position `start` on.
    fn find_share(&self, keys: &[Fingerprint], start: usize) -> io::Result<Vec<(usize, FileId)>> {
        let mut found = Vec::new();
        let mut live = |position, file| {
            if self.files.is_live(file) {
                found.push((start + position, file));
            }
        };
        for run in &self.runs {
            run.find(keys, &mut live)?;
        }
        for recent in &self.recent {
            find_in(recent, keys, &mut live);
        }
        Ok(found)
    }

    /// Returns whether the index covers the file.
    pub(super) fn covers(&self, file: Fingerprint) -> bool {
        self.files.covers(file)
    }

    /// The files that the index covers, with what the log says of each.
    ///
    /// # Errors
    /// As for [`KeyIndex::entry`].
    pub(super) fn covered(&self) -> io::Result<Vec<(Fingerprint, Vec<u8>)>> {
        self.files.iter().map(|(identity, file)| Ok((identity, self.list.get(file.id)?))).collect()
    }

    /// Rows from this event time on are in covered files; microseconds since the Unix epoch.
    pub(super) fn covered_from(&self) -> i64 {
        self.covered_from.unwrap_or(i64::MIN)
    }

    /// Rows before this event time may be in files that are not covered.
    pub(super) fn cover_from(&mut self, covered_from: i64) {
        self.covered_from = Some(covered_from);
    }

    /// A number for a file that joins the table, of which the log says `entry`; its keys count once
    /// [`KeyIndex::cover`] was called.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn reserve(&mut self, entry: &[u8]) -> io::Result<FileId> {
        let id = self.files.reserve();
        self.list.add(id, entry)?;
        Ok(id)
    }

    /// What the log says of a file.
    ///
    /// # Errors
    /// `InvalidData` or `UnexpectedEof` if the index turns out to be damaged, or what the system says.
    pub(super) fn entry(&self, id: FileId) -> io::Result<Vec<u8>> {
        self.list.get(id)
    }

    /// Many files are read into the index until [`KeyIndex::end_load`].
    pub(super) fn begin_load(&mut self) {
        self.runs_of_a_size_max = RUNS_OF_A_SIZE_LOADING;
    }

    /// Makes few runs of the many that a load has left.
    ///
    /// # Errors
    /// As for [`KeyIndex::save`].
    pub(super) fn end_load(&mut self) -> io::Result<()> {
        self.runs_of_a_size_max = RUNS_OF_A_SIZE_MAX;
        self.merge_due_runs()
    }

    /// Adds keys of the file with number `file`.
    ///
    /// # Errors
    /// What the system says if a run has to be written.
    pub(super) fn add(&mut self, file: FileId, mut keys: Vec<Fingerprint>) -> io::Result<()> {
        keys.sort_unstable();
        keys.dedup();
        if keys.is_empty() {
            return Ok(());
        }
        self.recent.push(keys.into_iter().map(|key| Entry { key, file }).collect());
        self.merge_recent();
        if self.recent_entries() >= RECENT_ENTRIES_MAX { self.flush() } else { Ok(()) }
    }

    /// The file with number `id` is in the table, and its keys, so many, have been added.
    pub(super) fn cover(&mut self, identity: Fingerprint, id: FileId, keys: u64) {
        let before = self.files.cover(identity, id, keys);
        self.let_go(before);
    }

    /// A file has left the table.
    pub(super) fn remove(&mut self, identity: Fingerprint) {
        let left = self.files.remove(identity);
        self.let_go(left);
    }

    /// Only the files that `wanted` names are in the table.
    pub(super) fn retain(&mut self, wanted: impl Fn(Fingerprint) -> bool) {
        let left = self.files.retain(wanted);
        self.let_go(left);
    }

    fn let_go(&mut self, left: impl IntoIterator<Item = CoveredFile>) {
        for file in left {
            self.dead += file.entries;
            self.list.remove(file.id);
        }
    }

    /// The index holds the keys of the table as of `position`.
    pub(super) fn move_to(&mut self, position: LogPosition) {
        self.position = position;
        self.unsaved += 1;
    }

    /// Returns whether so much was added since the index was saved that it should be saved.
    pub(crate) fn save_is_due(&self) -> bool {
        self.unsaved >= COMMITS_UNSAVED_MAX || self.recent_entries() >= RECENT_ENTRIES_MAX / 2
    }

    /// Writes what is only in memory to the disk, and makes one run of many. Everything is on the disk when this returns.
    ///
    /// # Errors
    /// `InvalidData` or `UnexpectedEof` if the index turns out to be damaged, or what the system says.
    pub(crate) fn save(&mut self) -> io::Result<()> {
        self.flush()?;
        self.runs.iter_mut().try_for_each(Run::sync)?;
        self.list.save()?;
        failpoint!("merge.run");
        let names = self.runs.iter().map(|run| name_of(run.path())).collect();
        let of = (&self.keys, self.position, &self.secret);
        Manifest::write(&self.folder, of, names, (&self.files, self.covered_from), &self.list)?;
        self.unsaved = 0;
        self.saved = true;
        self.remove_unnamed()
    }

    /// A snapshot of the index, if it was saved since the last one.
    ///
    /// # Errors
    /// What the system says.
    fn snapshot(&mut self, to: &Snapshots) -> io::Result<Option<PendingSnapshot>> {
        if !std::mem::take(&mut self.saved) {
            return Ok(None);
        }
        PendingSnapshot::of(self, to).map(Some)
    }

    /// What the index costs.
    pub(crate) fn size(&self) -> IndexSize {
        let recent = self.recent_entries() as u64;
        let runs: u64 = self.runs.iter().map(Run::entries).sum();
        let filters: u64 = self.runs.iter().map(Run::memory_bytes).sum();
        IndexSize {
            keys: self.files.entries(),
            entries: runs + recent,
            files: self.files.len() as u64,
            runs: self.runs.len() as u64,
            memory_bytes: filters + recent * size_of::<Entry>() as u64,
        }
    }

    fn recent_entries(&self) -> usize {
        self.recent.iter().map(Vec::len).sum()
    }

    /// Makes one piece of many in memory, by the rule of the runs.
    fn merge_recent(&mut self) {
        loop {
            let sizes: Vec<u64> = self.recent.iter().map(|piece| piece.len() as u64).collect();
            let due = merge::due(&sizes, self.runs_of_a_size_max);
            if due.is_empty() {
                return;
            }
            let pieces: Vec<Vec<Entry>> = due.into_iter().rev().map(|at| self.recent.remove(at)).collect();
            self.recent.push(self.merged(&pieces));
        }
    }

    fn merged(&self, pieces: &[Vec<Entry>]) -> Vec<Entry> {
        let mut merged = Vec::with_capacity(pieces.iter().map(Vec::len).sum());
        let sources = pieces.iter().map(|piece| piece.iter().map(|entry| Ok(*entry))).collect();
        merge::merge(sources, |entry| {
            if !self.files.is_dead(entry.file) {
                merged.push(entry);
            }
            Ok(())
        })
        .expect("memory can be read, and writing to it does not fail");
        merged
    }

    /// Makes a run of what is in memory, and one run of many.
    fn flush(&mut self) -> io::Result<()> {
        if !self.recent.is_empty() {
            let entries = self.merged(&self.recent);
            let mut writer = RunWriter::create(&self.new_path(), entries.len() as u64)?;
            entries.into_iter().try_for_each(|entry| writer.push(entry))?;
            self.runs.push(writer.finish()?);
            self.recent.clear();
        }
        self.merge_due_runs()
    }

    fn merge_due_runs(&mut self) -> io::Result<()> {
        loop {
            let due = self.runs_due();
            if due.is_empty() {
                return Ok(());
            }
            self.merge_runs(&due)?;
        }
    }

    /// The runs that are to become one: those of one size, or all if most of their entries are of files that have left.
    fn runs_due(&self) -> Vec<usize> {
        let sizes: Vec<u64> = self.runs.iter().map(Run::entries).collect();
        let most_are_dead = self.dead > sizes.iter().sum::<u64>() / 2;
        if most_are_dead { (0..sizes.len()).collect() } else { merge::due(&sizes, self.runs_of_a_size_max) }
    }

    fn merge_runs(&mut self, due: &[usize]) -> io::Result<()> {
        let entries: u64 = due.iter().map(|at| self.runs[*at].entries()).sum();
        let mut writer = RunWriter::create(&self.new_path(), entries)?;
        let sources = due.iter().map(|at| self.runs[*at].iter()).collect();
        merge::merge(
            sources,
            |entry| {
                if self.files.is_dead(entry.file) { Ok(()) } else { writer.push(entry) }
            },
        )?;
        let merged = writer.finish()?;
        self.dead = match due.len() == self.runs.len() {
            true => 0,
            false => self.dead.saturating_sub(entries - merged.entries()),
        };
        let sources: Vec<Run> = due.iter().rev().map(|at| self.runs.remove(*at)).collect();
        self.runs.push(merged);
        // No manifest has ever named a run that was not synced.
        sources.iter().filter(|run| !run.is_synced()).try_for_each(|run| fs::remove_file(run.path()))
    }

    fn new_path(&self) -> PathBuf {
        self.folder.join(format!("{RUN_PREFIX}{}", Uuid::new_v4()))
    }

    /// Deletes the files in the folder that are not of the index.
    fn remove_unnamed(&self) -> io::Result<()> {
        for found in fs::read_dir(&self.folder)? {
            let path = found?.path();
            let ours = self.list.path() == path || self.runs.iter().any(|run| run.path() == path);
            let name = name_of(&path);
            let prefixes = [RUN_PREFIX, LIST_PREFIX, &format!("{}.", manifest::MANIFEST)];
            let left_over = prefixes.iter().any(|prefix| name.starts_with(prefix));
            if left_over && !ours {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The same as [`Run::find`] for a sorted piece in memory.
fn find_in(entries: &[Entry], keys: &[Fingerprint], found: &mut impl FnMut(usize, FileId)) {
    let mut from = 0;
    for (position, key) in keys.iter().enumerate() {
        from += entries[from..].partition_point(|entry| entry.key < *key);
        for entry in entries[from..].iter().take_while(|entry| entry.key == *key) {
            found(position, entry.file);
        }
    }
}

#[cfg(test)]
mod tests;
