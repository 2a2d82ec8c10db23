//! The new files of a compaction: each group is read row by row, in the order of its files, and becomes a file.
//!
//! Lanes take group after group. In memory are of each lane the reader's row group and what its writer holds of the
//! account. Nothing of it is in the table before the commit.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use object_store::path::Path;
use url::Url;

use super::{CompactionPlan, Compactor};
use crate::failpoint;
use crate::model::{Error, Result};
use crate::storage::Store;
use crate::table::added_file::AddedFile;
use crate::table::commit::TableGuard;
use crate::table::{FileEntry, FileWriter, ReadFailure};

/// Files that others take the place of.
#[derive(Debug)]
pub(super) struct RewrittenGroup {
    pub(super) removed: Vec<FileEntry>,
    pub(super) added: Vec<AddedFile>,
}

/// The new files of a plan, for a commit.
pub struct Rewritten {
    pub(super) version: u64,
    pub(super) guard: TableGuard,
    pub(super) groups: Vec<RewrittenGroup>,
    /// Files of groups of which a file was gone when it was read.
    pub(super) files_gone: u64,
    /// What the partitions were chosen by.
    pub(super) condition: Option<String>,
}

/// What became of a group.
enum Outcome {
    Written(RewrittenGroup),
    Gone(u64),
}

impl Compactor {
    /// Writes what one commit takes of `plan`. `each` is told of the bytes of each file that is read; after `stop` nothing
    /// is written any more.
    ///
    /// # Errors
    /// What storage answers; `Unavailable` if it was stopped. Nothing of it is left then.
    pub fn rewrite(
        self,
        plan: CompactionPlan,
        each: &(dyn Fn(u64) + Sync),
        stop: &AtomicBool,
    ) -> Result<Rewritten> {
        let groups: Vec<Mutex<Option<Vec<FileEntry>>>> =
            plan.groups.into_iter().map(|group| Mutex::new(Some(group))).collect();
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let lane = || {
            let mut outcomes = Vec::new();
            while !failed.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(group) = groups.get(number) else { break };
                let files = group.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
                match self.write_group(number, files, each, stop) {
                    Ok(outcome) => outcomes.push(outcome),
                    Err(error) => {
                        failed.store(true, Ordering::Relaxed);
                        return (outcomes, Some(error));
                    }
                }
            }
            (outcomes, None)
        };
        let ended: Vec<(Vec<Outcome>, Option<Error>)> = std::thread::scope(|scope| {
            let lanes: Vec<_> = (0..self.lanes.min(groups.len())).map(|_| scope.spawn(lane)).collect();
            let panicked = |_| (Vec::new(), Some(Error::internal("a thread of a compaction has panicked")));
            lanes.into_iter().map(|lane| lane.join().unwrap_or_else(panicked)).collect()
        });
        let (mut written, mut files_gone, mut error) = (Vec::new(), 0, None);
        for (outcomes, failure) in ended {
            error = error.or(failure);
            for outcome in outcomes {
                match outcome {
                    Outcome::Written(group) => written.push(group),
                    Outcome::Gone(files) => files_gone += files,
                }
            }
        }
        failpoint!("compact.files");
        if let Some(error) = error {
            discard(&self.store, &written);
            return Err(error);
        }
        let condition = self.rules.chosen.map(|chosen| chosen.condition);
        Ok(Rewritten { version: plan.version, guard: self.guard, groups: written, files_gone, condition })
    }

    fn write_group(
        &self,
        number: usize,
        files: Vec<FileEntry>,
        each: &(dyn Fn(u64) + Sync),
        stop: &AtomicBool,
    ) -> Result<Outcome> {
        let mut writer = FileWriter::new(self.settings.clone(), number)?;
        let (mut rows_read, mut rows_known) = (0, Some(0));
        for file in &files {
            let read = self.reader.read(file, |piece| {
                if stop.load(Ordering::Relaxed) {
                    return Err(Error::unavailable("a compaction was stopped"));
                }
                rows_read += piece.rows.num_rows() as u64;
                writer.write(&piece.rows)
            });
            match read {
                Ok(()) => {}
                Err(ReadFailure::Gone(_)) => return Ok(Outcome::Gone(files.len() as u64)),
                Err(ReadFailure::Failed(error)) => return Err(error),
            }
            let rows = file.rows_in_file().map(|rows| rows.saturating_sub(file.deleted_rows()));
            rows_known = rows_known.zip(rows).map(|(sum, rows): (u64, u64)| sum + rows);
            each(file.size_bytes());
        }
        let mut added = writer.finish()?;
        let written: u64 = added.iter().map(|file| file.rows).sum();
        if written != rows_read || rows_known.is_some_and(|known| known != written) {
            let known = rows_known.map_or("an unknown number of".to_owned(), |known| known.to_string());
            discard(&self.store, &[RewrittenGroup { removed: Vec::new(), added }]);
            return Err(Error::corrupt(format!(
                "files of table {} say that they have {known} rows, and {rows_read} were read",
                self.store.url()
            ))
            .hint("nothing was changed; one of the files, or a deletion vector, is not what the log says"));
        }
        if let Some(first) = files.first() {
            added.iter_mut().for_each(|file| keep_spelling(file, first));
        }
        Ok(Outcome::Written(RewrittenGroup { removed: files, added }))
    }
}

/// A partition value has more than one spelling: the new file has that of the old ones.
fn keep_spelling(file: &mut AddedFile, of: &FileEntry) {
    for (name, value) in &mut file.partition_values {
        if let Some(Some(spelled)) = of.partition_values().get(name) {
            *value = Some(spelled.clone());
        }
    }
}

/// Deletes files that no commit names, as far as storage lets it; what is left is for vacuum.
pub(super) fn discard(store: &Store, groups: &[RewrittenGroup]) {
    for file in groups.iter().flat_map(|group| &group.added) {
        let Some(place) = place_of(store.url(), &file.path) else { continue };
        let deleted = store.block_on(object_store::ObjectStoreExt::delete(store.root().as_ref(), &place));
        if let Err(error) = deleted {
            tracing::warn!(%error, file = %place, "a file that is not needed could not be deleted");
        }
    }
}

/// Where a file is that the log names by `path`, from the root of the table's store; `None` if it is in another one.
pub(in crate::table) fn place_of(root: &Url, path: &str) -> Option<Path> {
    let url = if path.contains("://") || path.starts_with("file:/") || path.starts_with('/') {
        root.join(path).ok()?
    } else {
        // A colon in it makes no scheme.
        root.join(&format!("./{path}")).ok()?
    };
    let same = (url.scheme(), url.host_str(), url.port()) == (root.scheme(), root.host_str(), root.port());
    same.then(|| Path::from_url_path(url.path()).ok()).flatten()
}
