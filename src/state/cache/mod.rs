//! The local copy of the state: a log-structured merge tree on local disk, which may be lost at any time. Only this folder knows fjall.
//!
//! All tables lie in one keyspace, each key behind its table's number, and changes come in sorted ingestions only, each of
//! which is one atomic, durable step: the tree holds exactly one version of the state, and says which. Nothing is
//! written by way of a journal, so there is none to replay.
//!
//! ```text
//! FOLDER/0/lock      held by the process that uses the folder; another one takes FOLDER/1
//! FOLDER/0/damaged   the tree cannot be read: it is built again at the next start
//! FOLDER/0/tree/     the tree
//! ```

mod expired;
mod folder;
mod long_keys;

use std::fs::{self, File};
use std::iter::Fuse;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fjall::compaction::Leveled;
use fjall::compaction::filter::Factory;
use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use serde::{Deserialize, Serialize};

use expired::Expired;
use folder::{disk, lock_folder, remove_folder};
use long_keys::{HEAD_BYTES, TreeOrder};

use super::TableId;
use super::version::{Layer, Version};
use crate::failpoint;
use crate::model::{Error, Result};

/// The files of the tree: small, so that a window's keys fill whole ones, which are dropped when it expires.
const FILE_BYTES: u64 = 8 << 20;
/// How many keys are looked up as one range, and the fewest for which one is opened.
const CHUNK_KEYS: usize = 256;
const CHUNK_KEYS_MIN: usize = 64;
/// Rows that are read of a range for each key that is asked for, before the keys are looked up one by one.
const ROWS_A_KEY_MAX: usize = 6;
/// Chunks between two tries at most, where keys lie far apart.
const CHUNKS_PAUSE_MAX: i32 = 64;
/// The table whose one key says which version the tree holds; behind all others.
const MARKER: [u8; 2] = u16::MAX.to_be_bytes();

/// Which state the tree holds, and of which query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Marker {
    pub(super) query_id: String,
    /// The definition of the query's tables, as text.
    pub(super) definition: String,
    pub(super) version: Version,
}

/// The local copy.
pub(super) struct Cache {
    folder: PathBuf,
    database: Database,
    keyspace: Keyspace,
    expired: Expired,
    // Held until the tree is closed: fields are dropped in their order.
    _lock: File,
}

/// A key and its value, the key behind its table's number.
type Row = (fjall::UserKey, fjall::UserValue);

impl Cache {
    /// Opens the copy in a folder, with a block cache of `cache_bytes`, and says which state it holds; a tree that is damaged, or
    /// holds something that `keep` does not want, is removed and begun again.
    ///
    /// # Errors
    /// `Config` or `Unavailable` if the disk refuses.
    pub(super) fn open(
        folder: &Path,
        cache_bytes: usize,
        keep: impl Fn(&Marker) -> bool,
    ) -> Result<(Cache, Option<Marker>)> {
        let (folder, lock) = lock_folder(folder)?;
        let tree = folder.join("tree");
        let damaged = folder.join("damaged");
        let expired = Expired::default();
        if !damaged.exists() && tree.exists() {
            let opened = guarded(|| open_tree(&tree, cache_bytes, &expired));
            if let Ok((database, keyspace)) = opened {
                let lock = lock.try_clone().map_err(|e| disk("lock", &folder, e))?;
                let expired = expired.clone();
                let cache = Cache { folder: folder.clone(), database, keyspace, expired, _lock: lock };
                if let Some(marker) = cache.marker().filter(|marker| keep(marker)) {
                    cache.expired.follow(&marker.version);
                    return Ok((cache, Some(marker)));
                }
            }
        }
        remove_folder(&tree)?;
        let _ = fs::remove_file(&damaged);
        let (database, keyspace) = guarded(|| open_tree(&tree, cache_bytes, &expired)).map_err(|cause| {
            Error::unavailable(format!(
                "cannot make a local copy of the state in {}: {cause}",
                folder.display()
            ))
            .hint(HINT)
        })?;
        Ok((Cache { folder, database, keyspace, expired, _lock: lock }, None))
    }

    /// What the tree says that it holds; `None` if it does not say it, or cannot be read.
    fn marker(&self) -> Option<Marker> {
        let value = guarded(|| self.keyspace.get(MARKER)).ok()??;
        serde_json::from_slice(&value).ok()
    }

    /// The values of ascending keys of a table, each handed to `found` with its index; keys that are not there are left out.
    ///
    /// Keys that lie close together are read as a range, which costs a small part of what it costs to look each of them up.
    ///
    /// # Errors
    /// `Unavailable` if the tree cannot be read.
    pub(super) fn get_many(
        &self,
        table: TableId,
        keys: &[(usize, &[u8])],
        found: &mut dyn FnMut(usize, &[u8]),
    ) -> Result<()> {
        // Chunks that are looked up one by one before a range is tried again.
        let (mut single, mut pause) = (0, 1);
        for chunk in keys.chunks(CHUNK_KEYS) {
            if single > 0 || chunk.len() < CHUNK_KEYS_MIN {
                single -= i32::from(single > 0);
                self.get_each(table, chunk, found)?;
                continue;
            }
            let read = self.get_range(table, chunk, found)?;
            if read < chunk.len() {
                self.get_each(table, &chunk[read..], found)?;
                (single, pause) = (pause, (2 * pause).min(CHUNKS_PAUSE_MAX));
            } else {
                pause = 1;
            }
        }
        Ok(())
    }

    /// Looks keys up one by one.
    fn get_each(
        &self,
        table: TableId,
        keys: &[(usize, &[u8])],
        found: &mut dyn FnMut(usize, &[u8]),
    ) -> Result<()> {
        let mut full = table.0.to_be_bytes().to_vec();
        let are_whole = self.read(|| {
            for (index, key) in keys {
                full.truncate(2);
                full.extend_from_slice(key);
                let stored = long_keys::stored_key(&full);
                let Some(value) = self.keyspace.get(&*stored)? else { continue };
                if !long_keys::is_long(&full) {
                    found(*index, &value);
                } else if let Some((_, value)) = long_keys::whole(((&*stored).into(), value)) {
                    found(*index, &value);
                } else {
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        if are_whole { Ok(()) } else { Err(self.failed(&Cause::damaged())) }
    }

    /// Looks keys up in the range that they span, unless there are too many others between them: returns how many were looked up.
    fn get_range(
        &self,
        table: TableId,
        keys: &[(usize, &[u8])],
        found: &mut dyn FnMut(usize, &[u8]),
    ) -> Result<usize> {
        let (Some((_, first)), Some((_, last))) = (keys.first(), keys.last()) else { return Ok(0) };
        let end = [*last, &[0]].concat();
        let (mut rows, mut next) = (self.range(table, first, Some(&end)), 0);
        for _ in 0..keys.len() * ROWS_A_KEY_MAX {
            let Some(row) = rows.next().transpose()? else { return Ok(keys.len()) };
            let key = key_of(&row);
            next += keys[next..].iter().take_while(|(_, wanted)| *wanted < key).count();
            if let Some((index, _)) = keys.get(next).filter(|(_, wanted)| *wanted == key) {
                found(*index, &row.1);
                next += 1;
            }
            if next == keys.len() {
                break;
            }
        }
        Ok(next)
    }

    /// The rows of a table from `from` on and below `to`.
    pub(super) fn range(&self, table: TableId, from: &[u8], to: Option<&[u8]>) -> CacheRange<'_> {
        let prefix = table.0.to_be_bytes();
        let mut start = [&prefix, from].concat();
        let end = match to {
            Some(to) => [&prefix, to].concat(),
            None => (table.0 + 1).to_be_bytes().to_vec(),
        };
        // What the tree's order does not tell of rows at the ends is told by their whole keys.
        let from = (start.len() > HEAD_BYTES).then(|| start.clone());
        start.truncate(HEAD_BYTES);
        let (last, to) = if end.len() > HEAD_BYTES {
            (Bound::Included(long_keys::last_of_head(&end)), Some(end))
        } else {
            (Bound::Excluded(end), None)
        };
        let rows = Rows::new(self.keyspace.range((Bound::Included(start), last)));
        CacheRange { cache: self, rows, from, to }
    }

    /// All rows of all tables, as they are now, whatever is changed later.
    pub(super) fn all(self: &Arc<Self>) -> AllRows {
        let rows = self.keyspace.range::<&[u8], _>((Bound::Unbounded, Bound::Excluded(&MARKER[..])));
        AllRows { cache: Arc::clone(self), rows: Rows::new(rows) }
    }

    /// Takes over the changes of a layer, after which the tree holds what `marker` says.
    ///
    /// # Errors
    /// `Unavailable` if the disk refuses.
    fn ingest(&self, layer: &Layer, marker: &Marker) -> Result<()> {
        self.ingest_rows(marker, |write| {
            for (table, changes) in &layer.tables {
                let bound = marker.version.expired_below(*table);
                let alive = changes.range::<[u8], _>((Bound::Included(bound), Bound::Unbounded));
                for (key, change) in alive {
                    write(*table, key, change.value.as_deref())?;
                }
            }
            Ok(())
        })
    }

    /// Takes over the changes of a layer on the version `before`, and gives back the room of what has expired since.
    ///
    /// # Errors
    /// `Unavailable` if the disk refuses.
    pub(super) fn take_over(&self, layer: &Layer, marker: &Marker, before: &Version) -> Result<()> {
        failpoint!("cache.before");
        self.ingest(layer, marker)?;
        failpoint!("cache.after");
        for (id, table) in marker.version.tables.iter().enumerate() {
            let id = TableId(id as u16);
            if table.expired_below.as_slice() > before.expired_below(id) {
                self.drop_expired(id, &table.expired_below)?;
            }
        }
        Ok(())
    }

    /// Takes over rows that `rows` writes by ascending table and key; nothing is changed if it fails.
    ///
    /// # Errors
    /// What `rows` returns; `Unavailable` if the disk refuses.
    pub(super) fn ingest_rows(
        &self,
        marker: &Marker,
        rows: impl FnOnce(&mut dyn FnMut(TableId, &[u8], Option<&[u8]>) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        let text =
            serde_json::to_vec(marker).map_err(|e| Error::internal("write marker of state").source(e))?;
        let mut ingestion = self.read(|| {
            // Says whether a compaction has failed, after which the tree takes nothing more.
            self.database.persist(PersistMode::Buffer)?;
            self.keyspace.start_ingestion()
        })?;
        let mut write = |key: &[u8], value: Option<&[u8]>| {
            self.read(|| match value {
                Some(value) => ingestion.write(key, value),
                None => ingestion.write_tombstone(key),
            })
        };
        let (mut full, mut order) = (Vec::new(), TreeOrder::default());
        rows(&mut |table, key, value| {
            full.clear();
            full.extend_from_slice(&table.0.to_be_bytes());
            full.extend_from_slice(key);
            order.push(&full, value, &mut write)
        })?;
        order.finish(&mut write)?;
        self.read(|| {
            ingestion.write(MARKER.as_slice(), text.as_slice())?;
            ingestion.finish()
        })?;
        self.expired.follow(&marker.version);
        Ok(())
    }

    /// Gives back the space of files that hold only keys of a table below `bound`.
    ///
    /// # Errors
    /// `Unavailable` if the disk refuses.
    fn drop_expired(&self, table: TableId, bound: &[u8]) -> Result<()> {
        let prefix = table.0.to_be_bytes();
        let end = [&prefix, long_keys::bound_in_tree(bound)].concat();
        self.read(|| self.keyspace.tree.drop_range(prefix.to_vec()..end).map_err(fjall::Error::from))
    }

    /// Bytes on disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.keyspace.disk_space()
    }

    /// Bytes of blocks in memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.database.cache_size()
    }

    /// Marks the tree as one to be built again.
    pub(super) fn condemn(&self) {
        let _ = File::create(self.folder.join("damaged")).and_then(|file| file.sync_all());
    }

    /// Calls the tree. If it is damaged, the next start builds it again.
    fn read<T>(&self, call: impl FnOnce() -> fjall::Result<T>) -> Result<T> {
        guarded(call).map_err(|cause| self.failed(&cause))
    }

    fn failed(&self, cause: &Cause) -> Error {
        if !cause.is_of_the_disk {
            self.condemn();
        }
        Error::unavailable(format!(
            "the local copy of the state in {} failed: {cause}",
            self.folder.display()
        ))
        .hint(HINT)
    }
}

const HINT: &str = "give the folder of the state room on a local disk; a damaged copy is built again from the checkpoint at the next start";

/// Rows of the tree by ascending whole key.
struct Rows {
    stored: Fuse<fjall::Iter>,
    /// Rows whose keys have the same head, and the row behind them.
    group: std::vec::IntoIter<Row>,
    behind: Option<Row>,
}

impl Rows {
    fn new(stored: fjall::Iter) -> Rows {
        Rows { stored: stored.fuse(), group: Vec::new().into_iter(), behind: None }
    }

    fn next(&mut self, cache: &Cache) -> Result<Option<Row>> {
        if let Some(row) = self.group.next() {
            return Ok(Some(row));
        }
        let first = match self.behind.take() {
            Some(row) => Some(row),
            None => self.stored(cache)?,
        };
        match first {
            Some(row) if row.0.len() > HEAD_BYTES => self.begin_group(row, cache).map(Some),
            row => Ok(row),
        }
    }

    /// Reads the rows that have the head of `first`: the first of them by its whole key.
    fn begin_group(&mut self, first: Row, cache: &Cache) -> Result<Row> {
        let key = first.0.clone();
        let mut group = vec![first];
        while let Some(row) = self.stored(cache)? {
            if !row.0.starts_with(&key[..HEAD_BYTES]) {
                self.behind = Some(row);
                break;
            }
            group.push(row);
        }
        let group: Option<Vec<Row>> = group.into_iter().map(long_keys::whole).collect();
        let mut group = group.ok_or_else(|| cache.failed(&Cause::damaged()))?;
        group.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        self.group = group.into_iter();
        self.group.next().ok_or_else(|| Error::internal("a row of the state was read and is not there"))
    }

    /// The next row as the tree has it.
    fn stored(&mut self, cache: &Cache) -> Result<Option<Row>> {
        let rows = &mut self.stored;
        cache.read(|| rows.next().map(fjall::Guard::into_inner).transpose())
    }
}

/// Rows of a range.
pub(super) struct CacheRange<'c> {
    cache: &'c Cache,
    rows: Rows,
    /// The first key of the range and the first one behind it, where the tree's order does not tell them.
    from: Option<Vec<u8>>,
    to: Option<Vec<u8>>,
}

impl Iterator for CacheRange<'_> {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        loop {
            let row = match self.rows.next(self.cache).transpose()? {
                Ok(row) => row,
                Err(error) => return Some(Err(error)),
            };
            let key: &[u8] = &row.0;
            if self.to.as_ref().is_some_and(|to| key >= to.as_slice()) {
                return None;
            }
            if self.from.as_ref().is_none_or(|from| key >= from.as_slice()) {
                return Some(Ok(row));
            }
        }
    }
}

/// All rows, as they were when this was made.
pub(super) struct AllRows {
    cache: Arc<Cache>,
    rows: Rows,
}

impl AllRows {
    /// The copy that the rows are of.
    pub(super) fn cache(&self) -> &Cache {
        &self.cache
    }
}

impl Iterator for AllRows {
    type Item = Result<(TableId, Row)>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows.next(&self.cache).transpose()?;
        Some(row.and_then(|(key, value)| match key.first_chunk::<2>() {
            Some(table) => Ok((TableId(u16::from_be_bytes(*table)), (key, value))),
            None => Err(Error::internal("a key of the state has no table")),
        }))
    }
}

/// The key of a row without its table's number.
pub(super) fn key_of(row: &Row) -> &[u8] {
    row.0.get(2..).unwrap_or_default()
}

fn open_tree(tree: &Path, cache_bytes: usize, expired: &Expired) -> fjall::Result<(Database, Keyspace)> {
    let factory: Arc<dyn Factory> = Arc::new(expired.clone());
    let database = Database::builder(tree)
        .cache_size(cache_bytes as u64)
        .worker_threads(1)
        .with_compaction_filter_factories(Arc::new(move |_| Some(Arc::clone(&factory))))
        .open()?;
    let keyspace = database.keyspace("state", || {
        let strategy = Leveled::default().with_table_target_size(FILE_BYTES);
        KeyspaceCreateOptions::default().compaction_strategy(Arc::new(strategy))
    })?;
    Ok((database, keyspace))
}

/// Why a call of the tree failed.
struct Cause {
    text: String,
    /// The disk refused a write: the tree is as it was.
    is_of_the_disk: bool,
}

impl Cause {
    fn damaged() -> Cause {
        Cause { text: "its files are damaged".into(), is_of_the_disk: false }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Calls the tree, which may panic where it finds bytes that it has not written.
fn guarded<T>(call: impl FnOnce() -> fjall::Result<T>) -> std::result::Result<T, Cause> {
    use std::io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            let io = match &error {
                fjall::Error::Io(io) | fjall::Error::Storage(fjall::LsmError::Io(io)) => Some(io.kind()),
                _ => None,
            };
            let is_of_the_disk =
                matches!(io, Some(StorageFull | QuotaExceeded | PermissionDenied | ReadOnlyFilesystem));
            Err(Cause { text: error.to_string(), is_of_the_disk })
        }
        Err(_) => Err(Cause::damaged()),
    }
}
