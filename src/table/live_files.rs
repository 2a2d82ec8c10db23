//! The files that make up a table as of the current snapshot, and which came and went since an earlier version.
//!
//! Streamed from the kernel's replay of the log; nothing is kept here. A file is known by its path and its deletion
//! vector, both as the log has them: the same path with another deletion vector is another file.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{Int32Type, Int64Type};
use delta_kernel::actions::deletion_vector::DeletionVectorDescriptor;
use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use delta_kernel::{DeltaResult, FilteredEngineData};

use super::{DeltaTable, kernel_error};
use crate::model::{Error, Result};

/// A file of a table.
#[derive(Debug, Clone)]
pub(crate) struct LiveFile {
    /// Its path as the log has it: relative to the table's folder and URL-encoded, or a URL.
    pub(crate) path: String,
    /// Its size.
    pub(crate) size_bytes: u64,
    /// Rows of it that are deleted.
    pub(crate) deletion_vector: Option<DeletionVectorDescriptor>,
    /// The values of the partition columns by their physical names; NULL is absent.
    pub(crate) partition_values: HashMap<String, String>,
}

/// What identifies a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct FileIdentity {
    /// The path as the log has it.
    pub(crate) path: String,
    /// The id of the deletion vector.
    pub(crate) deletion_vector: Option<String>,
}

impl LiveFile {
    /// What identifies the file.
    pub(crate) fn identity(&self) -> FileIdentity {
        let deletion_vector = self.deletion_vector.as_ref().map(DeletionVectorDescriptor::unique_id);
        FileIdentity { path: self.path.clone(), deletion_vector }
    }
}

/// What became of the files between two versions.
#[derive(Debug, Default)]
pub(crate) struct FileChanges {
    /// Files that a commit in between added and that are still there.
    pub(crate) added: Vec<LiveFile>,
    /// Files that a commit in between removed and none added again.
    pub(crate) removed: Vec<FileIdentity>,
}

impl DeltaTable {
    /// Hands over every file of the table as of the current version.
    ///
    /// # Errors
    /// As for [`DeltaTable::open`], or what `each` returns.
    pub(crate) fn live_files(&self, mut each: impl FnMut(LiveFile) -> Result<()>) -> Result<()> {
        let failed = |e| kernel_error(e, "list the files", &self.store);
        let scan =
            Arc::clone(&self.snapshot).scan_builder().without_row_transforms().build().map_err(failed)?;
        for found in scan.scan_metadata(self.engine.as_ref()).map_err(failed)? {
            let (rows, selected) = selected_rows(found.map_err(failed)?.scan_files).map_err(failed)?;
            let constants = struct_column(rows.column_by_name("fileConstantValues"))?;
            let columns = FileColumns {
                path: rows.column_by_name("path").and_then(|column| column.as_string_opt()),
                size: rows.column_by_name("size"),
                deletion_vector: rows.column_by_name("deletionVector"),
                partition_values: constants.column_by_name("partitionValues"),
            };
            for row in selected {
                each(columns.file(row)?)?;
            }
        }
        Ok(())
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
            let (rows, selected) = selected_rows(batch).map_err(failed)?;
            let add = struct_column(rows.column_by_name("add"))?;
            let columns = FileColumns {
                path: add.column_by_name("path").and_then(|column| column.as_string_opt()),
                size: add.column_by_name("size"),
                deletion_vector: add.column_by_name("deletionVector"),
                partition_values: add.column_by_name("partitionValues"),
            };
            for row in selected {
                added.push(columns.file(row)?);
            }
        }
        let removed = listing.summary.removes.iter().map(|file| FileIdentity {
            path: file.path().to_owned(),
            deletion_vector: file.dv_unique_id().map(str::to_owned),
        });
        Ok(Some(FileChanges { added, removed: removed.collect() }))
    }
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

fn selected_rows(data: FilteredEngineData) -> DeltaResult<(RecordBatch, Vec<usize>)> {
    let (data, selected) = data.into_parts();
    let rows = data.try_into_record_batch()?;
    let selected = (0..rows.num_rows()).filter(|row| selected.get(*row).copied().unwrap_or(true)).collect();
    Ok((rows, selected))
}

/// The columns of a list of files.
struct FileColumns<'a> {
    path: Option<&'a StringArray>,
    size: Option<&'a arrow::array::ArrayRef>,
    deletion_vector: Option<&'a arrow::array::ArrayRef>,
    partition_values: Option<&'a arrow::array::ArrayRef>,
}

impl FileColumns<'_> {
    fn file(&self, row: usize) -> Result<LiveFile> {
        let path = self.path.filter(|path| path.is_valid(row)).ok_or_else(no_such_column)?;
        let size =
            self.size.and_then(|size| size.as_primitive_opt::<Int64Type>()).ok_or_else(no_such_column)?;
        Ok(LiveFile {
            path: path.value(row).to_owned(),
            size_bytes: u64::try_from(size.value(row)).unwrap_or_default(),
            deletion_vector: self.deletion_vector(row)?,
            partition_values: self.partition_values(row)?,
        })
    }

    fn deletion_vector(&self, row: usize) -> Result<Option<DeletionVectorDescriptor>> {
        let Some(column) = self.deletion_vector else { return Ok(None) };
        let vectors = struct_column(Some(column))?;
        let text = |name| vectors.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
        let int =
            |name| vectors.column_by_name(name).and_then(|column| column.as_primitive_opt::<Int32Type>());
        let storage = text("storageType").ok_or_else(no_such_column)?;
        // The kernel gives structs of NULLs where there is no struct.
        if vectors.is_null(row) || storage.is_null(row) {
            return Ok(None);
        }
        let damaged = |e: delta_kernel::Error| {
            Error::corrupt("the log describes a deletion vector that can't be read").source(e)
        };
        let cardinality = vectors.column_by_name("cardinality");
        let cardinality = cardinality.and_then(|column| column.as_primitive_opt::<Int64Type>());
        let descriptor = DeletionVectorDescriptor::try_new(
            storage.value(row).parse().map_err(damaged)?,
            text("pathOrInlineDv").ok_or_else(no_such_column)?.value(row),
            int("offset").filter(|offset| offset.is_valid(row)).map(|offset| offset.value(row)),
            int("sizeInBytes").ok_or_else(no_such_column)?.value(row),
            cardinality.ok_or_else(no_such_column)?.value(row),
        );
        descriptor.map(Some).map_err(damaged)
    }

    fn partition_values(&self, row: usize) -> Result<HashMap<String, String>> {
        let Some(maps) = self.partition_values else { return Ok(HashMap::new()) };
        let maps = maps.as_map_opt().ok_or_else(no_such_column)?;
        if maps.is_null(row) {
            return Ok(HashMap::new());
        }
        let entries = maps.value(row);
        let names = entries.column(0).as_string_opt::<i32>().ok_or_else(no_such_column)?;
        let values = entries.column(1).as_string_opt::<i32>().ok_or_else(no_such_column)?;
        let present = (0..entries.len()).filter(|i| values.is_valid(*i));
        Ok(present.map(|i| (names.value(i).to_owned(), values.value(i).to_owned())).collect())
    }
}

fn struct_column(column: Option<&arrow::array::ArrayRef>) -> Result<&StructArray> {
    column.and_then(|column| column.as_struct_opt()).ok_or_else(no_such_column)
}

fn no_such_column() -> Error {
    Error::internal("the kernel's list of files lacks a column")
}
