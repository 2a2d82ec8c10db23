//! The state of a start: from the local copy if it is of the committed chain, else from the nearest snapshot, and from the
//! files of changes that follow.

use std::ops::Bound;

use futures::{StreamExt, stream};

use super::cache::{Cache, Marker};
use super::file::{FileKind, RowReader, damaged, from_bytes, missing};
use super::files::{
    CHANGES, ChangesHeader, Files, PartHeader, SnapshotHeader, Start, changes_name, part_path, read_changes,
    read_snapshot,
};
use super::options::StateOptions;
use super::version::{Committed, Layer, Version};
use super::{RESTORE, TableId};
use crate::model::error::Context;
use crate::model::{Error, Result};
use crate::storage::Store;

/// Parts of a snapshot that are fetched ahead: each has some 8 MiB of rows.
const PARTS_AHEAD: usize = 3;
/// Files of changes that are fetched ahead, at most.
const CHANGES_AHEAD: usize = 32;
/// Bytes that are fetched ahead of files of changes, about.
const CHANGES_AHEAD_BYTES: u64 = 16 << 20;

/// The state at a start.
pub(super) struct Restored {
    pub(super) cache: Cache,
    /// What the local copy holds.
    pub(super) cached: Version,
    pub(super) version: Version,
    /// Changes that the local copy lacks.
    pub(super) layer: Layer,
    pub(super) since: SinceSnapshot,
    pub(super) origin: Origin,
}

/// Where the state of a start came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The batch of the local copy or the snapshot that it began with; `None` if there was none.
    pub start: Option<i64>,
    /// Whether that was the local copy.
    pub local: bool,
    /// How many files of changes were read.
    pub changes: usize,
}

/// What has come to the checkpoint since the newest snapshot.
#[derive(Debug, Clone, Default)]
pub(super) struct SinceSnapshot {
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Bytes of that snapshot.
    pub(super) snapshot_bytes: u64,
}

/// Makes the state after `committed`; the local copy takes over whole layers of more than `layer_bytes`.
///
/// # Errors
/// `Corrupt` if a file is damaged or missing, `Unavailable` if storage or the local disk does not answer.
pub(super) fn restore(
    options: &StateOptions,
    definition: &str,
    committed: Option<&Committed>,
    layer_bytes: usize,
) -> Result<Restored> {
    let StateOptions { checkpoint, query_id, .. } = options;
    let (tables, cache_bytes) = (options.definition.tables().len(), options.memory_bytes / 2);
    let files = Files::list(checkpoint)?;
    let is_ours = |marker: &Marker| {
        marker.query_id == *query_id
            && marker.definition == definition
            && marker.version.tables.len() == tables
            && committed.is_some_and(|newest| marker.version.batch_id() <= newest.batch_id)
    };
    let (mut cache, marker) = Cache::open(&options.local, cache_bytes, is_ours)?;
    let local = marker.as_ref().and_then(|marker| marker.version.committed.as_ref());
    let chain = files.chain(checkpoint, committed, local)?;
    let marker_of =
        |version: Version| Marker { query_id: query_id.clone(), definition: definition.to_owned(), version };
    let is_local = chain.start == Start::Local;
    if !is_local && marker.is_some() {
        drop(cache);
        cache = Cache::open(&options.local, cache_bytes, |_| false)?.0;
    }
    let mut cached = match (&chain.start, marker) {
        (Start::Local, Some(marker)) => marker.version,
        (Start::Snapshot(name), _) => {
            let header = read_snapshot(checkpoint, name)?;
            check_query(&header.query_id, query_id, checkpoint)?;
            if header.version.tables.len() != tables {
                return Err(damaged(name, "it has another number of tables than the definition"));
            }
            ingest_snapshot(&cache, options, name, &header, &marker_of(header.version.clone()))?;
            header.version
        }
        _ => Version::empty(tables),
    };
    let origin = Origin {
        start: cached.committed.as_ref().map(|c| c.batch_id),
        local: is_local,
        changes: chain.steps.len(),
    };
    let (mut version, mut layer) = (cached.clone(), Layer::default());
    let largest = chain.steps.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0).max(1);
    let ahead = (CHANGES_AHEAD_BYTES / largest).clamp(1, CHANGES_AHEAD as u64) as usize;
    let mut fetched = stream::iter(&chain.steps)
        .map(|(run, _)| async move {
            (run, checkpoint.get_async(&format!("{CHANGES}/{}", changes_name(run))).await)
        })
        .buffered(ahead);
    while let Some((run, bytes)) = checkpoint.block_on(fetched.next()) {
        let name = || format!("{}{CHANGES}/{}", checkpoint.url(), changes_name(run));
        let bytes = bytes?.ok_or_else(|| missing(&name()))?;
        let (header, rows) = read_changes(checkpoint, run, &bytes)?;
        check_query(&header.query_id, query_id, checkpoint)?;
        if header.parent != version.committed {
            return Err(match &header.parent {
                Some(parent) => missing(&format!("{}{CHANGES}/{}", checkpoint.url(), changes_name(parent))),
                None => damaged(&name(), "it names no batch before it"),
            });
        }
        apply(&name(), &header, &rows, tables, &mut layer)?;
        version = Version { committed: Some(run.clone()), tables: header.tables };
        if layer.bytes > layer_bytes {
            cache.take_over(&layer, &marker_of(version.clone()), &cached)?;
            (cached, layer) = (version.clone(), Layer::default());
        }
    }
    drop(fetched);
    let since = since_snapshot(&files, version.batch_id(), checkpoint);
    Ok(Restored { cache, cached, version, layer, since, origin })
}

/// Adds the changes of a file to a layer.
fn apply(name: &str, header: &ChangesHeader, rows: &[u8], tables: usize, layer: &mut Layer) -> Result<()> {
    if header.tables.len() != tables || header.rows.len() != tables {
        return Err(damaged(name, "it has another number of tables than the definition"));
    }
    let mut reader = RowReader::new(name, rows);
    for (id, (table, rows)) in header.tables.iter().zip(&header.rows).enumerate() {
        let id = TableId(id as u16);
        layer.expire(id, &table.expired_below);
        reader.begin_table();
        for _ in 0..*rows {
            let (key, value) = reader.next()?;
            layer.put(id, key, value);
        }
    }
    reader.finish()?;
    layer.batches += 1;
    Ok(())
}

fn check_query(found: &str, query_id: &str, checkpoint: &Store) -> Result<()> {
    if found == query_id {
        return Ok(());
    }
    Err(Error::corrupt(format!(
        "the state in {}state is of query {found}, and the checkpoint of query {query_id}",
        checkpoint.url()
    ))
    .hint(RESTORE))
}

/// Fills the empty local copy with a snapshot.
fn ingest_snapshot(
    cache: &Cache,
    options: &StateOptions,
    name: &str,
    header: &SnapshotHeader,
    marker: &Marker,
) -> Result<()> {
    let checkpoint = &options.checkpoint;
    let mut fetched = stream::iter(0..header.parts)
        .map(|part| async move { (part, checkpoint.get_async(&part_path(name, part)).await) })
        .buffered(PARTS_AHEAD);
    let mut counts = vec![0; header.version.tables.len()];
    let doing = || format!("read snapshot {name} of the state");
    cache
        .ingest_rows(marker, |write| {
            while let Some((part, bytes)) = checkpoint.block_on(fetched.next()) {
                let path = format!("{}{}", checkpoint.url(), part_path(name, part));
                let bytes = bytes?.ok_or_else(|| missing(&path))?;
                let (header, rows) = from_bytes::<PartHeader>(&path, FileKind::Part, &bytes)?;
                if header.snapshot != name || header.part != part || header.rows.len() != counts.len() {
                    return Err(damaged(&path, "it is of another snapshot"));
                }
                let mut reader = RowReader::new(&path, &rows);
                for (id, (rows, count)) in header.rows.iter().zip(&mut counts).enumerate() {
                    reader.begin_table();
                    for _ in 0..*rows {
                        let (key, value) = reader.next()?;
                        write(TableId(id as u16), key, value)?;
                    }
                    *count += rows;
                }
                reader.finish()?;
            }
            let expected: Vec<u64> = header.version.tables.iter().map(|table| table.count).collect();
            if counts != expected {
                return Err(damaged(name, format!("it has {counts:?} keys and says {expected:?}")));
            }
            Ok(())
        })
        .context(doing)
}

/// What lies behind the newest snapshot. One that cannot be read does not count, so that another is made soon.
fn since_snapshot(files: &Files, newest: i64, checkpoint: &Store) -> SinceSnapshot {
    let snapshot = files.snapshot_before(newest);
    let name = snapshot.and_then(|batch| files.snapshots.get(&batch)?.first()).map(|(_, name)| name);
    let header = name.and_then(|name| read_snapshot(checkpoint, name).ok());
    let behind =
        files.changes.range((snapshot.map_or(Bound::Unbounded, Bound::Excluded), Bound::Included(newest)));
    let sizes = behind.filter_map(|(_, runs)| runs.iter().map(|(_, bytes)| *bytes).max());
    let mut since =
        SinceSnapshot { snapshot_bytes: header.map_or(0, |header| header.bytes), ..Default::default() };
    for bytes in sizes {
        since.files += 1;
        since.bytes += bytes;
    }
    since
}
