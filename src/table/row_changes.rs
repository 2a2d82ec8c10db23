//! What a commit that changes rows does to a table's files: which leave it, and which have other rows deleted.
//!
//! Whether a table allows it at all is said here, by name and before anything is written. In a table that has deletion
//! vectors enabled, rows are deleted by a vector beside their file; all vectors of a commit are in one file.

use std::collections::{BTreeMap, HashMap};

use delta_kernel::actions::deletion_vector::DeletionVectorDescriptor;
use delta_kernel::actions::deletion_vector_writer::{KernelDeletionVector, StreamingDeletionVectorWriter};
use delta_kernel::expressions::Scalar;
use delta_kernel::table_features::TableFeature;
use delta_kernel::transaction::BoundWriteContext;
use serde_json::{Map, Value};

use super::{DeltaTable, FileEntry, kernel_error};
use crate::model::{Error, Result};

/// The part of a commit that takes rows out of the table.
#[derive(Debug, Clone, Default)]
pub struct RowChanges {
    /// Files that leave it.
    pub removed: Vec<FileEntry>,
    /// Files that get another deletion vector.
    pub deleted: Vec<NewVector>,
    /// `operationParameters` of Delta's `MERGE`.
    pub parameters: Value,
    /// `operationMetrics` of Delta's `MERGE`.
    pub metrics: Map<String, Value>,
}

/// A file and the deletion vector that it gets.
#[derive(Debug, Clone)]
pub struct NewVector {
    /// The file as it is in the table.
    pub before: FileEntry,
    vector: DeletionVectorDescriptor,
}

impl NewVector {
    /// The file with the vector.
    pub fn after(&self) -> FileEntry {
        self.before.with_deletion_vector(&self.vector)
    }
}

/// By what a table's rows are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangedBy {
    /// `sink.merge.whenMatched: update`.
    Merge,
    /// `outputMode: complete`, which replaces all of them.
    Replacement,
}

impl ChangedBy {
    /// What can't be done, in the words of a stream file.
    fn cannot(self) -> &'static str {
        match self {
            ChangedBy::Merge => "sink.merge.whenMatched: update can't change rows of table",
            ChangedBy::Replacement => "outputMode complete can't replace the rows of table",
        }
    }

    /// What else to do than to unset a property.
    fn instead(self) -> &'static str {
        match self {
            ChangedBy::Merge => ", or use whenMatched: ignore, which only adds rows, or choose another table",
            ChangedBy::Replacement => ", or choose another table",
        }
    }
}

/// Properties under which a table's rows can't be changed, and why.
const REFUSED: [(&str, &str); 4] = [
    ("delta.appendOnly", "its rows may not be changed"),
    ("delta.enableChangeDataFeed", "the change data files of updates are not written"),
    ("delta.enableRowTracking", "the row ids of rows that are written again are not kept"),
    ("delta.enableIcebergCompatV3", "the row ids of rows that are written again are not kept"),
];

/// The error of a table at `url` whose rows can't be changed; none if its properties allow it.
fn refusal(properties: &BTreeMap<String, String>, url: &str, by: ChangedBy) -> Option<Error> {
    let set = |name: &str| {
        let found = properties.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.is_some_and(|(_, value)| value.eq_ignore_ascii_case("true"))
    };
    let (name, why) = REFUSED.into_iter().find(|(name, _)| set(name))?;
    let fact = format!("{} {url}: it has {name}, and {why}", by.cannot());
    Some(Error::config(fact).hint(format!("unset {name}{}", by.instead())))
}

/// Refuses properties of a table that is to be made at `url` under which its rows can't be changed.
///
/// # Errors
/// `Config`, naming the property.
pub fn check_new_table(properties: &BTreeMap<String, String>, url: &str, by: ChangedBy) -> Result<()> {
    refusal(properties, url, by).map_or(Ok(()), Err)
}

impl DeltaTable {
    /// Refuses a table whose rows can't be changed.
    ///
    /// # Errors
    /// `Config`, naming the property or feature against it.
    pub fn check_rows_can_change(&self, by: ChangedBy) -> Result<()> {
        let url = self.store.url().as_str();
        let configuration = self.metadata().configuration();
        let properties = configuration.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        check_new_table(&properties, url, by)?;
        let table = self.snapshot.table_configuration();
        let suspended = configuration.get("delta.rowTrackingSuspended").is_some_and(|value| value == "true");
        if table.is_feature_supported(&TableFeature::RowTracking) && !suspended {
            return Err(Error::config(format!(
                "{} {url}: it has the feature rowTracking, and the row ids of rows that are written again are not kept",
                by.cannot()
            ))
            .hint("ALTER TABLE … DROP FEATURE rowTracking, or choose another table"));
        }
        Ok(())
    }

    /// Returns whether rows of this table are deleted by deletion vectors.
    pub fn has_deletion_vectors(&self) -> bool {
        self.snapshot.table_configuration().is_feature_enabled(&TableFeature::DeletionVectors)
    }

    /// Stores deletion vectors by which the rows at the given positions are deleted beside those that are deleted
    /// already. They are not part of the table before a commit names them.
    ///
    /// # Errors
    /// `Unavailable` if storage does not answer; `Corrupt` if the vector that a file has can't be read.
    pub fn write_deletion_vectors(&self, deletions: Vec<(FileEntry, Vec<u64>)>) -> Result<Vec<NewVector>> {
        if deletions.is_empty() {
            return Ok(Vec::new());
        }
        let failed = |e| kernel_error(e, "write deletion vectors", &self.store);
        let mut bytes = Vec::new();
        let mut written = Vec::with_capacity(deletions.len());
        {
            let mut writer = StreamingDeletionVectorWriter::new(&mut bytes);
            for (before, positions) in deletions {
                let mut vector = KernelDeletionVector::new();
                if let Some(there) = before.live()?.deletion_vector {
                    let root = self.snapshot.table_root();
                    let deleted = there.row_indexes(self.engine.storage_handler(), root).map_err(failed)?;
                    vector.add_deleted_row_indexes(deleted);
                }
                vector.add_deleted_row_indexes(positions);
                written.push((before, writer.write_deletion_vector(vector).map_err(failed)?));
            }
            writer.finalize().map_err(failed)?;
        }
        let path = self.any_write_context()?.new_deletion_vector_path(String::new());
        let url = path.absolute_path().map_err(failed)?;
        let name = url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default();
        self.store.put(name, bytes.into())?;
        let of = |(before, written): (
            FileEntry,
            delta_kernel::actions::deletion_vector_writer::DeletionVectorWriteResult,
        )| { NewVector { before, vector: written.to_descriptor(&path) } };
        Ok(written.into_iter().map(of).collect())
    }

    /// A context of the kernel's for whatever is not of a partition.
    fn any_write_context(&self) -> Result<BoundWriteContext> {
        let state = self.write_state()?;
        let state = &state.kernel;
        let columns = self.partition_columns();
        if columns.is_empty() {
            return state
                .unpartitioned_write_context()
                .map_err(|e| kernel_error(e, "write deletion vectors", &self.store));
        }
        let schema = self.snapshot.schema();
        let mut values = HashMap::with_capacity(columns.len());
        for name in columns {
            let field =
                schema.field(name).ok_or_else(|| Error::internal("a partition column is not a column"))?;
            values.insert(name.clone(), Scalar::Null(field.data_type().clone()));
        }
        state
            .partitioned_write_context(values)
            .map_err(|e| kernel_error(e, "write deletion vectors", &self.store))
    }
}

impl RowChanges {
    /// The new vectors by the paths of their files, as the kernel takes them.
    pub(super) fn vectors(&self) -> HashMap<String, DeletionVectorDescriptor> {
        self.deleted.iter().map(|new| (new.before.path.clone(), new.vector.clone())).collect()
    }
}
