//! Where the files of state are in a checkpoint, and which of them make up a version.
//!
//! | path | content | written |
//! |---|---|---|
//! | `state/definition` | the query's tables of state | at the first start |
//! | `state/changes/N.ATTEMPT` | what batch N changed, in the run ATTEMPT | before the sink's commit of N |
//! | `state/parts/N.ATTEMPT.ID.K` | rows of a snapshot, in the order of tables and keys | in the background |
//! | `state/snapshots/N.ATTEMPT.ID` | the state after batch N: its parts, and how many keys there are | after its parts |

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::file::{FileKind, damaged, from_bytes, missing};
use super::version::{Committed, TableState, Version};
use crate::model::{Error, Kind, Result};
use crate::storage::Store;

pub(super) const CHANGES: &str = "state/changes";
pub(super) const PARTS: &str = "state/parts";
pub(super) const SNAPSHOTS: &str = "state/snapshots";

/// The header of a file of changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ChangesHeader {
    pub(super) query_id: String,
    #[serde(flatten)]
    pub(super) committed: Committed,
    /// The run of the batch before, on whose state the changes were made.
    pub(super) parent: Option<Committed>,
    /// Each table after the batch.
    pub(super) tables: Vec<TableState>,
    /// How many rows of each table follow.
    pub(super) rows: Vec<u64>,
}

/// The header of a part of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PartHeader {
    /// The snapshot's name.
    pub(super) snapshot: String,
    /// Which part it is, from 0.
    pub(super) part: usize,
    /// How many rows of each table follow.
    pub(super) rows: Vec<u64>,
}

/// The header of a snapshot, which has no rows of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SnapshotHeader {
    pub(super) query_id: String,
    pub(super) version: Version,
    pub(super) parts: usize,
    /// Bytes of all parts.
    pub(super) bytes: u64,
}

/// The name of a file of changes, without its folder.
pub(super) fn changes_name(committed: &Committed) -> String {
    format!("{}.{}", committed.batch_id, committed.attempt)
}

/// The path of part `part` of the snapshot `name`.
pub(super) fn part_path(name: &str, part: usize) -> String {
    format!("{PARTS}/{}", part_name(name, part))
}

fn part_name(snapshot: &str, part: usize) -> String {
    format!("{snapshot}.{part}")
}

/// The batch that the name of a file begins with.
pub(super) fn batch_of(name: &str) -> Option<i64> {
    name.split_once('.')?.0.parse().ok()
}

fn committed_of(name: &str) -> Option<Committed> {
    let mut words = name.split('.');
    let batch_id = words.next()?.parse().ok()?;
    Some(Committed { batch_id, attempt: words.next()?.to_owned() })
}

/// The files of changes and the snapshots of a checkpoint.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Files of changes with their sizes.
    pub(super) changes: BTreeMap<i64, Vec<(Committed, u64)>>,
    /// Names of snapshots.
    pub(super) snapshots: BTreeMap<i64, Vec<(Committed, String)>>,
}

impl Files {
    /// Lists the files.
    ///
    /// # Errors
    /// `Unavailable` if storage does not answer.
    pub(super) fn list(checkpoint: &Store) -> Result<Files> {
        let mut files = Files::default();
        for object in folder(checkpoint, CHANGES).listing()? {
            if let Some(committed) = committed_of(&object.path) {
                files.changes.entry(committed.batch_id).or_default().push((committed, object.size_bytes));
            }
        }
        for name in checkpoint.names(SNAPSHOTS)? {
            if let Some(committed) = committed_of(&name) {
                files.snapshots.entry(committed.batch_id).or_default().push((committed, name));
            }
        }
        Ok(files)
    }

    /// The newest snapshot of at most batch `batch_id`.
    pub(super) fn snapshot_before(&self, batch_id: i64) -> Option<i64> {
        self.snapshots.range(..=batch_id).next_back().map(|(batch, _)| *batch)
    }

    /// How the state after `target` is made, from `local` if its chain goes through it.
    ///
    /// # Errors
    /// `Corrupt` if a file is missing, which is named.
    pub(super) fn chain(
        &self,
        checkpoint: &Store,
        target: Option<&Committed>,
        local: Option<&Committed>,
    ) -> Result<Chain> {
        let mut steps = Vec::new();
        let mut next = target.cloned();
        let start = loop {
            let Some(committed) = next else { break Start::Empty };
            if local == Some(&committed) {
                break Start::Local;
            }
            let snapshots = self.snapshots.get(&committed.batch_id).into_iter().flatten();
            if let Some((_, name)) = snapshots.into_iter().find(|(of, _)| *of == committed) {
                break Start::Snapshot(name.clone());
            }
            let there = self.changes.get(&committed.batch_id).into_iter().flatten();
            let Some((_, size)) = there.into_iter().find(|(of, _)| *of == committed) else {
                return Err(missing(&format!("{}{CHANGES}/{}", checkpoint.url(), changes_name(&committed))));
            };
            next = self.parent(checkpoint, &committed, local)?;
            steps.push((committed, *size));
        };
        steps.reverse();
        Ok(Chain { start, steps })
    }

    /// The run of the batch before: the only one that has left anything, or the one that the file names.
    fn parent(
        &self,
        checkpoint: &Store,
        committed: &Committed,
        local: Option<&Committed>,
    ) -> Result<Option<Committed>> {
        let before = committed.batch_id - 1;
        let changes = self.changes.get(&before).into_iter().flatten().map(|(run, _)| run);
        let snapshots = self.snapshots.get(&before).into_iter().flatten().map(|(run, _)| run);
        let mut runs: Vec<&Committed> =
            changes.chain(snapshots).chain(local.filter(|local| local.batch_id == before)).collect();
        runs.sort_by_key(|run| &run.attempt);
        runs.dedup();
        match runs[..] {
            [only] => Ok(Some(only.clone())),
            _ => {
                let path = format!("{CHANGES}/{}", changes_name(committed));
                let bytes = checkpoint.get(&path)?;
                let bytes = bytes.ok_or_else(|| missing(&format!("{}{path}", checkpoint.url())))?;
                Ok(read_changes(checkpoint, committed, &bytes)?.0.parent)
            }
        }
    }
}

/// Checks that the checkpoint holds every file which the state after `committed` is made from without a local copy. What is
/// in them is seen when the state is opened: the local copy may be current, and then they are not read.
///
/// # Errors
/// As for [`check_run`]; `Corrupt` if a file is missing, which is named; `Unavailable` if storage does not answer.
pub fn check_files(checkpoint: &Store, committed: &Committed) -> Result<()> {
    check_run(checkpoint, committed)?;
    let chain = Files::list(checkpoint)?.chain(checkpoint, Some(committed), None)?;
    let Start::Snapshot(name) = chain.start else { return Ok(()) };
    let parts = match read_snapshot(checkpoint, &name) {
        Ok(header) => header.parts,
        Err(error) if error.kind() == Kind::Corrupt => return Ok(()),
        Err(error) => return Err(error),
    };
    let there: HashSet<String> = checkpoint.names(PARTS)?.into_iter().collect();
    let lacks = |part: &usize| !there.contains(&part_name(&name, *part));
    match (0..parts).find(lacks) {
        None => Ok(()),
        Some(part) => Err(missing(&format!("{}{}", checkpoint.url(), part_path(&name, part)))),
    }
}

/// Checks that a commit names the run of its micro-batch.
///
/// # Errors
/// `Config` if it does not: a program that keeps no state has made it.
pub(super) fn check_run(checkpoint: &Store, committed: &Committed) -> Result<()> {
    if !committed.attempt.is_empty() {
        return Ok(());
    }
    Err(Error::config(format!(
        "micro-batch {} of checkpoint {} was committed without state, and the query keeps state: another program or a query without state has run it",
        committed.batch_id,
        checkpoint.url()
    ))
    .hint("start the stream on a new checkpointLocation"))
}

/// How a version is made.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) start: Start,
    /// Files of changes with their sizes, in the order of batches.
    pub(super) steps: Vec<(Committed, u64)>,
}

/// What the first file of changes follows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// No state.
    Empty,
    /// The local copy.
    Local,
    /// The snapshot of that name.
    Snapshot(String),
}

/// Reads a file of changes: its header and rows.
///
/// # Errors
/// `Corrupt` if it is damaged, or not of this batch.
pub(super) fn read_changes(
    checkpoint: &Store,
    committed: &Committed,
    bytes: &Bytes,
) -> Result<(ChangesHeader, Vec<u8>)> {
    let name = format!("{}{CHANGES}/{}", checkpoint.url(), changes_name(committed));
    let (header, rows) = from_bytes::<ChangesHeader>(&name, FileKind::Changes, bytes)?;
    if header.committed != *committed {
        return Err(damaged(&name, "it is of another batch"));
    }
    Ok((header, rows))
}

/// Reads the header of the snapshot `name`.
///
/// # Errors
/// `Corrupt` if it is damaged or missing.
pub(super) fn read_snapshot(checkpoint: &Store, name: &str) -> Result<SnapshotHeader> {
    let path = format!("{SNAPSHOTS}/{name}");
    let full = format!("{}{path}", checkpoint.url());
    let bytes = checkpoint.get(&path)?.ok_or_else(|| missing(&full))?;
    let (header, _) = from_bytes::<SnapshotHeader>(&full, FileKind::Snapshot, &bytes)?;
    if header.version.committed != committed_of(name) {
        return Err(damaged(&full, "it is of another batch"));
    }
    Ok(header)
}

/// Whether the name of a run can be a part of a file's name.
///
/// # Errors
/// `Internal` if it can't.
pub(super) fn check_attempt(attempt: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !attempt.is_empty() && attempt.chars().all(fits) {
        return Ok(());
    }
    Err(Error::internal(format!("the run {attempt:?} of a batch cannot name a file")))
}

/// A folder of the checkpoint.
pub(super) fn folder(checkpoint: &Store, name: &str) -> Store {
    let (root, url) = (std::sync::Arc::clone(checkpoint.root()), checkpoint.url().clone());
    Store::new(root, url, checkpoint.path(name), checkpoint.runtime())
}
