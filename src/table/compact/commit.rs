//! The version in which the new files take the place of the old ones: Delta's `OPTIMIZE`.
//!
//! Optimistic, as every commit: of the groups those stay in it of which all files are still in the table, with the same
//! deletion vectors, at the version that the commit is made on. After any answer but success the log is read again, for the
//! commit may be durable although its answer was lost, and although the answer was that its version is taken: a client that
//! sends a request twice finds its own commit. New files are deleted only where no commit can name them.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value, json};

use super::rewrite::{Rewritten, RewrittenGroup, discard};
use crate::failpoint;
use crate::model::{Error, Kind, Result};
use crate::table::commit::{CommitWriter, TRIES, TableGuard, pause};
use crate::table::file_entry::{FileIdentity, scan_rows};
use crate::table::head::LogHead;
use crate::table::{DeltaTable, ENGINE_INFO, FileEntry, actions, kernel_error};

/// What a commit of a compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    /// The version that it made; `None` if it made none, for all groups were dropped.
    pub version: Option<u64>,
    /// Files that left the table.
    pub files_removed: u64,
    /// Their bytes.
    pub bytes_removed: u64,
    /// Files that took their place.
    pub files_added: u64,
    /// Their bytes.
    pub bytes_added: u64,
    /// Deletion vectors whose rows are now really gone.
    pub vectors_removed: u64,
    /// Files that stay as they are, because another writer changed or removed one of their group meanwhile.
    pub files_dropped: u64,
}

/// What the log says at a version of the files that were rewritten.
struct Standing {
    /// Inputs that are no more in the table as they were.
    gone: HashSet<FileIdentity>,
    /// Whether a file of ours is or was in the table: the commit is made.
    is_committed: bool,
}

impl DeltaTable {
    /// Commits a compaction. `auto` says whether a stream did it of its own accord.
    ///
    /// # Errors
    /// `Conflict` if other writers keep winning; `Corrupt` if the table was replaced by another; `Unavailable` if storage
    /// does not answer.
    pub fn commit_compaction(&mut self, rewritten: Rewritten, auto: bool) -> Result<Compacted> {
        let before = (Arc::clone(&self.snapshot), self.own.clone(), self.head);
        let outcome = self.try_commit_compaction(rewritten, auto);
        let (done, fits) = match outcome {
            Ok((done, fits)) => (Ok(done), fits),
            Err(error) => (Err(error), false),
        };
        if !fits {
            // A stream finds out at its next commit what became of its table, against the table that it knows.
            (self.snapshot, self.own, self.head) = before;
            self.transactions.clear();
        }
        done
    }

    /// The same, and whether the table still is what it was when the files were written.
    fn try_commit_compaction(&mut self, rewritten: Rewritten, auto: bool) -> Result<(Compacted, bool)> {
        let Rewritten { version, guard, mut groups, files_gone, condition } = rewritten;
        let mut done = Compacted { files_dropped: files_gone, ..Compacted::default() };
        let mut unknown = None;
        self.check_head()?;
        for attempt in 0..TRIES {
            let standing = self.standing(version, &groups)?;
            if standing.is_committed {
                let done = Compacted { version: Some(self.version()), ..counted(&groups, done) };
                return Ok((done, guard.check(&TableGuard::of(&self.snapshot), self).is_ok()));
            }
            let fits = guard.check(&TableGuard::of(&self.snapshot), self);
            if fits.as_ref().is_err_and(|error| error.kind() == Kind::Corrupt) {
                return Err(fits.expect_err("it was one"));
            }
            let mut stays = |group: &RewrittenGroup| {
                fits.is_ok()
                    && group
                        .removed
                        .iter()
                        .all(|file| file.identity().is_ok_and(|identity| !standing.gone.contains(&identity)))
            };
            let (kept, dropped): (Vec<_>, Vec<_>) = groups.into_iter().partition(&mut stays);
            groups = kept;
            done.files_dropped += dropped.iter().map(|group| group.removed.len() as u64).sum::<u64>();
            if unknown.is_none() {
                discard(&self.store, &dropped);
            }
            if groups.is_empty() {
                return Ok((done, fits.is_ok()));
            }
            let written = Arc::default();
            match self.try_compaction(&groups, condition.as_deref(), auto, &written) {
                Ok(Some(version)) => {
                    failpoint!("compact.committed");
                    return Ok((Compacted { version: Some(version), ..counted(&groups, done) }, true));
                }
                Ok(None) => unknown = None,
                Err(error) if matches!(error.kind(), Kind::Config | Kind::Internal) => {
                    // What became of a commit that was sent is not known: its files stay, for vacuum.
                    if unknown.is_none() && written.get().is_none() {
                        discard(&self.store, &groups);
                    }
                    return Err(error);
                }
                Err(error) => unknown = Some(error),
            }
            self.store.pause(pause(attempt))?;
            self.refresh()?;
        }
        Err(unknown.unwrap_or_else(|| {
            Error::conflict(format!(
                "other writers won the next version of table {} {TRIES} times in a row",
                self.store.url()
            ))
        }))
    }

    /// What became of the files of `groups` after version `since`.
    fn standing(&self, since: u64, groups: &[RewrittenGroup]) -> Result<Standing> {
        let ours: HashSet<&str> =
            groups.iter().flat_map(|group| &group.added).map(|file| file.path.as_str()).collect();
        let inputs = || groups.iter().flat_map(|group| &group.removed).map(FileEntry::identity);
        if let Some(changes) = self.file_changes_since(since)? {
            let is_committed = changes.added.iter().any(|file| ours.contains(file.path.as_str()))
                || changes.removed.iter().any(|file| ours.contains(file.path.as_str()));
            return Ok(Standing { gone: changes.removed.into_iter().collect(), is_committed });
        }
        // The log no longer says what changed: the whole list does.
        let mut gone: HashSet<FileIdentity> = inputs().collect::<Result<_>>()?;
        let mut is_committed = false;
        self.live_files(|file| {
            is_committed |= ours.contains(file.path.as_str());
            gone.remove(&file.identity()?);
            Ok(())
        })?;
        Ok(Standing { gone, is_committed })
    }

    /// One commit on the current snapshot: its version, or `None` if that was taken. `written` is set once it was sent.
    fn try_compaction(
        &mut self,
        groups: &[RewrittenGroup],
        condition: Option<&str>,
        auto: bool,
        written: &Arc<OnceLock<LogHead>>,
    ) -> Result<Option<u64>> {
        let failed = |e, table: &DeltaTable| kernel_error(e, "commit to the log", &table.store);
        let added: Vec<_> = groups.iter().flat_map(|group| group.added.iter().cloned()).collect();
        let mut extra = Map::new();
        extra.insert("readVersion".into(), self.version().into());
        extra.insert("isolationLevel".into(), "SnapshotIsolation".into());
        extra.insert("isBlindAppend".into(), false.into());
        let writer = CommitWriter {
            parameters: json!({
                "predicate": Value::from_iter(condition).to_string(),
                "zOrderBy": "[]", "clusterBy": "[]", "auto": auto.to_string(),
            }),
            metrics: metrics(groups),
            extra,
            statistics: actions::statistics(&added),
            written: Arc::clone(written),
            ..CommitWriter::default()
        };
        let mut transaction = Arc::clone(&self.snapshot)
            .transaction(Box::new(writer), self.engine.as_ref())
            .map_err(|e| failed(e, self))?
            .with_operation("OPTIMIZE".to_owned())
            .with_engine_info(ENGINE_INFO)
            .with_data_change(false);
        let removed: Vec<&FileEntry> = groups.iter().flat_map(|group| &group.removed).collect();
        transaction.remove_files(scan_rows(removed).map_err(|e| failed(e, self))?);
        if !added.is_empty() {
            let statistics = transaction.stats_schema().map_err(|e| failed(e, self))?;
            transaction.add_files(actions::added(&added, statistics).map_err(|e| failed(e, self))?);
        }
        let result = transaction.commit(self.engine.as_ref()).map_err(|e| failed(e, self))?;
        self.follow(result, written)
    }
}

fn counted(groups: &[RewrittenGroup], done: Compacted) -> Compacted {
    let removed = || groups.iter().flat_map(|group| &group.removed);
    let added = || groups.iter().flat_map(|group| &group.added);
    Compacted {
        files_removed: removed().count() as u64,
        bytes_removed: removed().map(FileEntry::size_bytes).sum(),
        files_added: added().count() as u64,
        bytes_added: added().map(|file| file.size_bytes).sum(),
        vectors_removed: removed().filter(|file| file.has_deletion_vector()).count() as u64,
        ..done
    }
}

/// Delta's metrics of `OPTIMIZE`; all values are strings, as its history reader demands.
fn metrics(groups: &[RewrittenGroup]) -> Map<String, Value> {
    let done = counted(groups, Compacted::default());
    let mut sizes: Vec<u64> =
        groups.iter().flat_map(|group| &group.added).map(|file| file.size_bytes).collect();
    sizes.sort_unstable();
    let at = |share: usize| sizes.get((sizes.len() * share / 100).min(sizes.len().saturating_sub(1)));
    let at = |share: usize| at(share).copied().unwrap_or_default();
    let metrics = [
        ("numRemovedFiles", done.files_removed),
        ("numRemovedBytes", done.bytes_removed),
        ("numAddedFiles", done.files_added),
        ("numAddedBytes", done.bytes_added),
        ("numDeletionVectorsRemoved", done.vectors_removed),
        ("minFileSize", at(0)),
        ("p25FileSize", at(25)),
        ("p50FileSize", at(50)),
        ("p75FileSize", at(75)),
        ("maxFileSize", at(100)),
    ];
    metrics.into_iter().map(|(name, value)| (name.to_owned(), value.to_string().into())).collect()
}
