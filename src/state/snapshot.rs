//! Snapshots: all rows of one version, written to the checkpoint in the background; and the end of what they make superfluous.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use bytes::Bytes;
use uuid::Uuid;

use super::cache::{AllRows, key_of};
use super::file::{FileKind, RowWriter, to_bytes};
use super::files::{
    CHANGES, Files, PARTS, PartHeader, SNAPSHOTS, SnapshotHeader, batch_of, changes_name, part_path,
};
use super::version::Version;
use crate::failpoint;
use crate::model::{Error, Result};
use crate::storage::{Put, Store};

/// The newest snapshots that are kept, beside the one that the oldest retained batch needs.
const NEWEST_KEPT: usize = 2;

/// A snapshot that is being written.
pub(super) struct Task {
    cancel: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64>>>,
}

/// What a snapshot is written of, and where.
pub(super) struct Job {
    pub(super) checkpoint: Store,
    pub(super) query_id: String,
    pub(super) version: Version,
    /// Bytes of rows in a part, before they are compressed.
    pub(super) part_bytes: usize,
    /// The newest batch that is committed, and how many of them a start may go back to.
    pub(super) newest: i64,
    pub(super) batches_to_retain: i64,
}

impl Task {
    /// Begins to write.
    pub(super) fn start(job: Job, rows: AllRows) -> Task {
        let cancel = Arc::new(AtomicBool::new(false));
        let cancelled = Arc::clone(&cancel);
        let thread = std::thread::spawn(move || {
            let bytes = job.write(rows, &cancelled)?;
            collect(&job.checkpoint, job.newest - job.batches_to_retain)?;
            Ok(bytes)
        });
        Task { cancel, thread: Some(thread) }
    }

    /// Whether it has come to its end.
    pub(super) fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for its end: how many bytes were written.
    pub(super) fn finish(mut self) -> Result<u64> {
        let thread = self.thread.take().ok_or_else(|| Error::internal("a snapshot was waited for twice"))?;
        thread.join().unwrap_or_else(|_| Err(Error::internal("the snapshot of the state ended by a panic")))
    }
}

/// Gives up what is not finished.
impl Drop for Task {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Job {
    /// Writes the parts, then the snapshot that names them; returns their bytes.
    fn write(&self, mut rows: AllRows, cancel: &AtomicBool) -> Result<u64> {
        let Some(committed) = &self.version.committed else { return Ok(0) };
        let name = format!("{}.{}", changes_name(committed), Uuid::new_v4().simple());
        let tables = self.version.tables.len();
        let mut counts = vec![0; tables];
        let mut part = PartWriter {
            job: self,
            name: &name,
            rows: RowWriter::default(),
            counts: vec![0; tables],
            parts: 0,
            bytes: 0,
        };
        let mut last = None;
        for row in rows.by_ref() {
            let (table, row) = row?;
            let key = key_of(&row);
            if key < self.version.expired_below(table) {
                continue;
            }
            if last != Some(table) {
                part.rows.begin_table();
                last = Some(table);
            }
            let id = usize::from(table.0);
            let Some(count) = counts.get_mut(id) else { return Err(self.wrong(&rows, &counts)) };
            *count += 1;
            part.counts[id] += 1;
            part.rows.push(key, Some(&row.1));
            if part.rows.bytes().len() >= self.part_bytes {
                if cancel.load(Ordering::Relaxed) {
                    return Err(Error::unavailable(
                        "the snapshot of the state was given up: the stream stops",
                    ));
                }
                part.finish()?;
            }
        }
        if !part.rows.bytes().is_empty() {
            part.finish()?;
        }
        let (parts, bytes) = (part.parts, part.bytes);
        if !self.version.tables.iter().map(|table| table.count).eq(counts.iter().copied()) {
            return Err(self.wrong(&rows, &counts));
        }
        let header =
            SnapshotHeader { query_id: self.query_id.clone(), version: self.version.clone(), parts, bytes };
        failpoint!("snapshot.before");
        self.put(&format!("{SNAPSHOTS}/{name}"), to_bytes(FileKind::Snapshot, &header, &[])?)?;
        failpoint!("snapshot.after");
        Ok(bytes)
    }

    fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        match self.checkpoint.put_if_absent(path, bytes)? {
            Put::Created => Ok(()),
            Put::Exists => Err(Error::internal(format!("{path} was there, though its name is new"))),
        }
    }

    /// The local copy has lost rows, or has too many.
    fn wrong(&self, rows: &AllRows, counts: &[u64]) -> Error {
        rows.cache().condemn();
        let expected: Vec<u64> = self.version.tables.iter().map(|table| table.count).collect();
        Error::corrupt(format!(
            "the local copy of the state has {counts:?} keys, and {expected:?} were committed up to batch {}",
            self.version.batch_id()
        ))
        .hint("start the stream again: the local copy is then built from the checkpoint")
    }
}

/// The part of a snapshot that is being filled.
struct PartWriter<'a> {
    job: &'a Job,
    name: &'a str,
    rows: RowWriter,
    counts: Vec<u64>,
    parts: usize,
    bytes: u64,
}

impl PartWriter<'_> {
    fn finish(&mut self) -> Result<()> {
        let tables = self.counts.len();
        let rows = std::mem::replace(&mut self.counts, vec![0; tables]);
        let header = PartHeader { snapshot: self.name.to_owned(), part: self.parts, rows };
        let bytes = to_bytes(FileKind::Part, &header, self.rows.bytes())?;
        self.bytes += bytes.len() as u64;
        self.job.put(&part_path(self.name, self.parts), bytes)?;
        failpoint!("snapshot.some");
        self.parts += 1;
        self.rows.clear();
        Ok(())
    }
}

/// Deletes what no start needs that goes back to batch `oldest` at most: it needs the newest snapshot up to there, and all
/// changes that follow. The newest snapshots stay, and others between them go.
///
/// # Errors
/// `Unavailable` if storage does not answer.
pub(super) fn collect(checkpoint: &Store, oldest: i64) -> Result<()> {
    let files = Files::list(checkpoint)?;
    let Some(base) = files.snapshot_before(oldest) else { return Ok(()) };
    let newest: BTreeSet<i64> = files.snapshots.keys().rev().take(NEWEST_KEPT).copied().collect();
    let is_kept = |batch: i64| batch == base || newest.contains(&batch);
    let named: BTreeMap<&str, i64> = files
        .snapshots
        .iter()
        .flat_map(|(batch, snapshots)| snapshots.iter().map(|(_, name)| (name.as_str(), *batch)))
        .collect();
    for (name, batch) in &named {
        if !is_kept(*batch) {
            checkpoint.delete(&format!("{SNAPSHOTS}/{name}"))?;
            failpoint!("snapshot.deleted");
        }
    }
    let last = newest.last().copied().unwrap_or(base);
    for part in checkpoint.names(PARTS)? {
        let snapshot = part.rsplit_once('.').map_or("", |(snapshot, _)| snapshot);
        let is_left = match named.get(snapshot) {
            Some(batch) => !is_kept(*batch),
            // Of a snapshot that was never finished, unless it is newer than all that were.
            None => batch_of(&part).is_some_and(|batch| batch <= last),
        };
        if is_left {
            checkpoint.delete(&format!("{PARTS}/{part}"))?;
        }
    }
    for (committed, _) in files.changes.range(..=base).flat_map(|(_, runs)| runs) {
        checkpoint.delete(&format!("{CHANGES}/{}", changes_name(committed)))?;
    }
    Ok(())
}
