//! The files that make up a table as of the current snapshot, and which came and went since an earlier version.
//!
//! Streamed from the kernel's replay of the log; nothing is kept here. A file is known by its path and its deletion
//! vector, both as the log has them: the same path with another deletion vector is another file.

use std::sync::Arc;

use delta_kernel::engine::arrow_utils::to_json_bytes;
use delta_kernel::{DeltaResult, Engine, FilteredEngineData, SnapshotRef};

use super::file_entry::{FileEntry, FileIdentity};
use super::{DeltaTable, kernel_error};
use crate::model::Result;
use crate::storage::Store;

/// What became of the files between two versions.
#[derive(Debug, Default)]
pub(crate) struct FileChanges {
    /// Files that a commit in between added and that are still there.
    pub(crate) added: Vec<FileEntry>,
    /// Files that a commit in between removed and none added again.
    pub(crate) removed: Vec<FileIdentity>,
}

impl DeltaTable {
    /// Hands over every file of the table as of the current version.
    ///
    /// # Errors
    /// As for [`DeltaTable::open`], or what `each` returns.
    pub(crate) fn live_files(&self, mut each: impl FnMut(FileEntry) -> Result<()>) -> Result<()> {
        each_file(&self.snapshot, self.engine.as_ref(), &self.store, &mut each)
    }

    /// What became of the table's files after version `since`; `None` if the log no longer says so, and the whole list
    /// has to be compared.
    ///
    /// # Errors
    /// As for [`DeltaTable::open`].
    pub(crate) fn file_changes_since(&self, since: u64) -> Result<Option<FileChanges>> {
        if since == self.version() {
            return Ok(Some(FileChanges::default()));
        }
        let failed = |e| kernel_error(e, "read the commits", &self.store);
        if since > self.version() {
            return Ok(None);
        }
        let scan = Arc::clone(&self.snapshot).incremental_scan_builder(since);
        let Some(changes) = scan.build(self.engine.as_ref()).map_err(failed)? else { return Ok(None) };
        let listing = match changes.into_listing() {
            Ok(listing) => listing,
            // Log cleanup by others took a commit between the listing and the read.
            Err(e) if is_not_found(&e) => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        let mut added = Vec::new();
        for batch in listing.add_files {
            for line in lines(Ok(batch)).map_err(failed)? {
                added.push(FileEntry::parse_add(&line)?);
            }
        }
        let removed = listing.summary.removes.iter().map(|file| FileIdentity {
            path: file.path().to_owned(),
            deletion_vector: file.dv_unique_id().map(str::to_owned),
        });
        Ok(Some(FileChanges { added, removed: removed.collect() }))
    }
}

/// Hands over every file of a table as of a snapshot.
///
/// # Errors
/// As for [`DeltaTable::open`], or what `each` returns.
pub(super) fn each_file(
    snapshot: &SnapshotRef,
    engine: &dyn Engine,
    store: &Store,
    each: &mut dyn FnMut(FileEntry) -> Result<()>,
) -> Result<()> {
    let failed = |e| kernel_error(e, "list the files", store);
    let scan = Arc::clone(snapshot).scan_builder().without_row_transforms().build().map_err(failed)?;
    for found in scan.scan_metadata(engine).map_err(failed)? {
        let files = found.map(|found| found.scan_files);
        lines(files).map_err(failed)?.iter().try_for_each(|line| each(FileEntry::parse(line)?))?;
    }
    Ok(())
}

/// The selected rows, a line of JSON each.
pub(super) fn lines(rows: DeltaResult<FilteredEngineData>) -> DeltaResult<Vec<Vec<u8>>> {
    let text = to_json_bytes(std::iter::once(rows))?;
    Ok(text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect())
}

/// Returns whether a file was not there.
pub(super) fn is_not_found(error: &delta_kernel::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(delta_kernel::Error::FileNotFound(_)) = inner.downcast_ref::<delta_kernel::Error>() {
            return true;
        }
        if let Some(object_store::Error::NotFound { .. }) = inner.downcast_ref::<object_store::Error>() {
            return true;
        }
        cause = inner.source();
    }
    false
}
