//! Joining small files beside the micro-batches: Delta's auto compaction, off the commit path.
//!
//! Once as many files have been added as make it worth while, a thread beside the stream's plans a compaction and writes its
//! files, slowly: with one lane. Its commit is made between two micro-batches by the stream's own thread, on the snapshot
//! that the next batch is committed on, so that it never takes a version from a batch. A group of which a batch has changed
//! a file meanwhile is dropped. Never a reason to stop.

use std::sync::atomic::AtomicBool;

use super::DeltaAppend;
use super::beside::Beside;
use crate::model::{Kind, MemoryAccount, Result};
use crate::table::compact::{AUTO_FILES_MIN, Compacted, CompactionRules, Compactor, Rewritten};

/// What the files being written hold in memory, about.
const MEMORY_BYTES: usize = 32 * 1024 * 1024;

/// Added files after which the table is looked through again at the latest.
const LOOK_AFTER_MAX: u64 = AUTO_FILES_MIN * 32;

/// The compaction of a stream's table.
pub(super) struct AutoCompaction {
    /// New files that are being written.
    running: Option<Beside<Option<Rewritten>>>,
    /// Files that were added since the table was last looked through; `None`: it never was.
    files_since: Option<u64>,
    /// After how many of them it is looked through again: more each time that there was nothing to join, for that reads the
    /// whole log.
    look_after: u64,
    /// That this table can't be compacted was found and said.
    is_refused: bool,
    /// What the last maintenance did.
    last: Option<Compacted>,
    /// The same, for whoever takes it.
    untold: Option<Compacted>,
}

impl Default for AutoCompaction {
    fn default() -> AutoCompaction {
        AutoCompaction {
            running: None,
            files_since: None,
            // Doubled by the first look, which comes at once.
            look_after: AUTO_FILES_MIN / 2,
            is_refused: false,
            last: None,
            untold: None,
        }
    }
}

/// Plans a compaction and writes its files; `None` if there is nothing to join.
fn run(compactor: Compactor, stop: &AtomicBool) -> Result<Option<Rewritten>> {
    let plan = compactor.plan()?;
    if plan.is_empty() { Ok(None) } else { compactor.rewrite(plan, &|_| (), stop).map(Some) }
}

impl AutoCompaction {
    /// A micro-batch has added files.
    pub(super) fn note_files(&mut self, files: usize) {
        if let Some(since) = &mut self.files_since {
            *since += files as u64;
        }
    }

    /// What the maintenance before this micro-batch did, for its progress.
    pub(super) fn counts(&self) -> Vec<(&'static str, u64)> {
        let Some(last) = &self.last else { return Vec::new() };
        vec![
            ("numCompactedFiles", last.files_removed),
            ("numCompactedFilesAdded", last.files_added),
            ("numCompactedBytes", last.bytes_removed),
        ]
    }

    pub(super) fn take(&mut self) -> Option<Compacted> {
        self.untold.take()
    }

    fn is_due(&self) -> bool {
        !self.is_refused
            && self.running.is_none()
            && self.files_since.is_none_or(|files| files >= self.look_after)
    }
}

impl DeltaAppend {
    /// Commits a compaction whose files are written, and begins one where it is due.
    pub(super) fn compact(&mut self) {
        self.compaction.last = None;
        self.commit_compacted();
        let Some(table) = &self.table else { return };
        let wanted = self.config.auto_compact.unwrap_or_else(|| table.asks_for_compaction());
        if !wanted || !self.compaction.is_due() {
            return;
        }
        self.compaction.files_since = Some(0);
        match table.compactor(CompactionRules::by_stream(), &MemoryAccount::new(MEMORY_BYTES), 1) {
            Ok(compactor) => {
                self.compaction.running =
                    Some(Beside::start(self.store.runtime(), move |stop| run(compactor, stop)));
            }
            Err(error) => {
                self.compaction.is_refused = error.kind() == Kind::Config;
                tracing::warn!(%error, "small files are not joined");
            }
        }
    }

    /// Waits for the files of a compaction and commits it.
    pub(super) fn finish_compaction(&mut self, goes_on: &mut dyn FnMut() -> bool) {
        if Beside::wait(&self.compaction.running, goes_on) {
            self.commit_compacted();
        }
    }

    fn commit_compacted(&mut self) {
        let Some(written) = Beside::take_ended(&mut self.compaction.running) else { return };
        let Some(table) = &mut self.table else { return };
        let committed = written
            .and_then(|written| written.map(|written| table.commit_compaction(written, true)).transpose());
        match committed {
            Ok(None) => {
                self.compaction.look_after = (self.compaction.look_after * 2).min(LOOK_AFTER_MAX);
            }
            Ok(Some(done)) => {
                self.compaction.look_after = AUTO_FILES_MIN;
                self.compaction.last = Some(done);
                self.compaction.untold = Some(done);
                // Where one commit did not take all, or what it took is still small.
                if done.version.is_some() {
                    self.compaction.files_since = None;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "small files could not be joined; a later compaction makes up for it");
            }
        }
    }
}
