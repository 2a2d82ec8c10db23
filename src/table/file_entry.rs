//! What the log says of one file of a table, whole: enough to read it, to take it out and to give it another deletion vector.
//!
//! Its form as JSON is that of the rows in which the kernel hands over the files of a scan, so that an entry that was kept
//! can be given to the kernel again without a replay of the log.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use delta_kernel::actions::deletion_vector::DeletionVectorDescriptor;
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::engine::parse_json;
use delta_kernel::scan::scan_row_schema;
use delta_kernel::{DeltaResult, FilteredEngineData};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::added_file::AddedFile;
use crate::model::{Error, Result};

/// A file as the log describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileEntry {
    /// Its path as the log has it: relative to the table's folder and URL-encoded, or a URL.
    pub(super) path: String,
    size: i64,
    #[serde(default)]
    modification_time: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stats: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deletion_vector: Option<Vector>,
    #[serde(default)]
    file_constant_values: Constants,
}

/// A deletion vector. Where there is none the kernel may give one without a storage type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Vector {
    #[serde(default)]
    storage_type: String,
    #[serde(default)]
    path_or_inline_dv: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offset: Option<i32>,
    #[serde(default)]
    size_in_bytes: i32,
    #[serde(default)]
    cardinality: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Constants {
    #[serde(default)]
    partition_values: BTreeMap<String, Option<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base_row_id: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    default_row_commit_version: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tags: Option<BTreeMap<String, Option<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    clustering_provider: Option<String>,
}

/// An `add` as a commit has it: the same without the inner struct.
#[derive(Deserialize)]
struct AddLine {
    add: AddAction,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AddAction {
    path: String,
    size: i64,
    #[serde(default)]
    modification_time: i64,
    stats: Option<String>,
    deletion_vector: Option<Vector>,
    #[serde(flatten)]
    constants: Constants,
}

impl FileEntry {
    /// Reads an entry from its JSON.
    ///
    /// # Errors
    /// `Internal` if it is none.
    pub(super) fn parse(json: &[u8]) -> Result<FileEntry> {
        let mut entry: FileEntry = serde_json::from_slice(json).map_err(unreadable)?;
        entry.deletion_vector = entry.deletion_vector.filter(|vector| !vector.storage_type.is_empty());
        Ok(entry)
    }

    /// Reads an entry from the line of a commit that adds the file.
    ///
    /// # Errors
    /// `Internal` if it is none.
    pub(super) fn parse_add(json: &[u8]) -> Result<FileEntry> {
        let AddLine { add } = serde_json::from_slice(json).map_err(unreadable)?;
        Ok(FileEntry {
            path: add.path,
            size: add.size,
            modification_time: add.modification_time,
            stats: add.stats,
            deletion_vector: add.deletion_vector.filter(|vector| !vector.storage_type.is_empty()),
            file_constant_values: add.constants,
        })
    }

    /// The entry of a file that a commit of ours adds.
    pub(super) fn of_added(file: &AddedFile) -> FileEntry {
        FileEntry {
            path: file.path.clone(),
            size: i64::try_from(file.size_bytes).unwrap_or(i64::MAX),
            modification_time: file.modified_ms,
            stats: Some(file.statistics.to_string()),
            deletion_vector: None,
            file_constant_values: Constants {
                partition_values: file.partition_values.iter().cloned().collect(),
                ..Constants::default()
            },
        }
    }

    /// The entry as JSON.
    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an entry is texts and numbers")
    }

    /// Its size.
    pub fn size_bytes(&self) -> u64 {
        u64::try_from(self.size).unwrap_or_default()
    }

    /// Rows in the file, those that its deletion vector deletes included; `None` if its statistics do not say.
    pub fn rows_in_file(&self) -> Option<u64> {
        let stats: Value = serde_json::from_str(self.stats.as_deref()?).ok()?;
        stats["numRecords"].as_u64()
    }

    /// The largest value of a column by its statistics; `path` are physical names from the top-level column down. `None`
    /// if they do not say.
    pub(super) fn largest_value(&self, path: &[String]) -> Option<Value> {
        let mut stats: Value = serde_json::from_str(self.stats.as_deref()?).ok()?;
        let mut value = stats.get_mut("maxValues")?;
        for name in path {
            value = value.get_mut(name)?;
        }
        Some(value.take())
    }

    /// Whether rows of it are deleted.
    pub fn has_deletion_vector(&self) -> bool {
        self.deletion_vector.is_some()
    }

    /// Its deletion vector.
    pub(super) fn vector(&self) -> Option<&Vector> {
        self.deletion_vector.as_ref()
    }

    /// How many of its rows are deleted by its deletion vector.
    pub fn deleted_rows(&self) -> u64 {
        self.deletion_vector
            .as_ref()
            .map_or(0, |vector| u64::try_from(vector.cardinality).unwrap_or_default())
    }

    /// When it was written, in milliseconds since the Unix epoch, as its writer said.
    pub(super) fn modified_ms(&self) -> i64 {
        self.modification_time
    }

    /// Whether a clustering put its rows in order.
    pub(super) fn is_clustered(&self) -> bool {
        self.file_constant_values.clustering_provider.is_some()
    }

    /// The values of the partition columns by their physical names, as the log has them.
    pub(super) fn partition_values(&self) -> &BTreeMap<String, Option<String>> {
        &self.file_constant_values.partition_values
    }

    /// What is needed to read the file.
    ///
    /// # Errors
    /// `Corrupt` if its deletion vector is none.
    pub(crate) fn live(&self) -> Result<LiveFile> {
        let values = self.file_constant_values.partition_values.iter();
        let values = values.filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
        Ok(LiveFile {
            path: self.path.clone(),
            size_bytes: self.size_bytes(),
            deletion_vector: self.deletion_vector.as_ref().map(Vector::descriptor).transpose()?,
            partition_values: values.collect::<HashMap<_, _>>(),
        })
    }

    /// What identifies the file.
    ///
    /// # Errors
    /// As for [`FileEntry::live`].
    pub(crate) fn identity(&self) -> Result<FileIdentity> {
        let vector = self.deletion_vector.as_ref().map(Vector::descriptor).transpose()?;
        let deletion_vector = vector.as_ref().map(DeletionVectorDescriptor::unique_id);
        Ok(FileIdentity { path: self.path.clone(), deletion_vector })
    }

    /// The same file with other rows deleted. Its statistics are bounds from now on, not exact.
    pub(super) fn with_deletion_vector(&self, vector: &DeletionVectorDescriptor) -> FileEntry {
        let stats = self.stats.as_deref().map(|stats| match serde_json::from_str::<Value>(stats) {
            Ok(Value::Object(mut object)) => {
                object.insert("tightBounds".into(), false.into());
                Value::Object(object).to_string()
            }
            _ => stats.to_owned(),
        });
        let deletion_vector = Some(Vector {
            storage_type: vector.storage_type.to_string(),
            path_or_inline_dv: vector.path_or_inline_dv.clone(),
            offset: vector.offset,
            size_in_bytes: vector.size_in_bytes,
            cardinality: vector.cardinality,
        });
        FileEntry { stats, deletion_vector, ..self.clone() }
    }
}

/// What is needed to read a file of a table.
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

impl Vector {
    /// The file that it is in, of a table at `root`; `None` if it is in the log itself, or there is none.
    ///
    /// # Errors
    /// `Corrupt` if it is none.
    pub(super) fn file(&self, root: &Url) -> Result<Option<Url>> {
        if self.storage_type.is_empty() {
            return Ok(None);
        }
        self.descriptor()?
            .absolute_path(root)
            .map_err(|e| Error::corrupt("the log describes a deletion vector that is nowhere").source(e))
    }

    fn descriptor(&self) -> Result<DeletionVectorDescriptor> {
        let damaged = |e: delta_kernel::Error| {
            Error::corrupt("the log describes a deletion vector that can't be read").source(e)
        };
        DeletionVectorDescriptor::try_new(
            self.storage_type.parse().map_err(damaged)?,
            self.path_or_inline_dv.as_str(),
            self.offset,
            self.size_in_bytes,
            self.cardinality,
        )
        .map_err(damaged)
    }
}

/// Entries in the form in which the kernel takes files out of a table.
///
/// # Errors
/// If the kernel can't read its own form.
pub(super) fn scan_rows<'a>(
    entries: impl IntoIterator<Item = &'a FileEntry>,
) -> DeltaResult<FilteredEngineData> {
    let lines = entries.into_iter().map(|entry| serde_json::to_string(entry).expect("texts and numbers"));
    let lines: ArrayRef = Arc::new(StringArray::from_iter_values(lines));
    let lines = RecordBatch::try_from_iter([("entry", lines)])?;
    let rows = parse_json(Box::new(ArrowEngineData::new(lines)), scan_row_schema())?;
    Ok(FilteredEngineData::with_all_rows_selected(rows))
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::internal("what the log says of a file can't be read back").source(error)
}

#[cfg(test)]
mod tests {
    use delta_kernel::engine::arrow_utils::to_json_bytes;
    use serde_json::json;

    use super::*;

    fn add() -> Value {
        json!({"add": {
            "path": "p=%20a/x.parquet", "partitionValues": {"p": " a", "q": null}, "size": 12, "modificationTime": 7,
            "dataChange": true, "stats": "{\"numRecords\":9,\"nullCount\":{\"a\":1}}", "tags": {"t": "1"},
            "deletionVector": {"storageType": "u", "pathOrInlineDv": "ab^-aqEH.-t@S}K{vb[*k^", "offset": 4, "sizeInBytes": 40, "cardinality": 6},
        }})
    }

    #[test]
    fn an_entry_goes_to_the_kernel_and_back_as_the_log_had_it() {
        let entry = FileEntry::parse_add(add().to_string().as_bytes()).unwrap();
        assert_eq!(FileEntry::parse(&entry.to_json()).unwrap(), entry);
        let lines = to_json_bytes(std::iter::once(scan_rows([&entry, &entry]))).unwrap();
        let lines: Vec<FileEntry> = lines
            .split(|b| *b == b'\n')
            .filter(|l| !l.is_empty())
            .map(|l| FileEntry::parse(l).unwrap())
            .collect();
        assert_eq!(lines, [entry.clone(), entry.clone()]);
        let live = entry.live().unwrap();
        assert_eq!((live.size_bytes, live.partition_values.len(), entry.rows_in_file()), (12, 1, Some(9)));
        assert_eq!(live.identity(), entry.identity().unwrap());
    }

    #[test]
    fn another_deletion_vector_makes_another_file_with_loose_statistics() {
        let entry = FileEntry::parse_add(add().to_string().as_bytes()).unwrap();
        let mut plain = entry.clone();
        plain.deletion_vector = None;
        let vector = entry.live().unwrap().deletion_vector.unwrap();
        let deleted = plain.with_deletion_vector(&vector);
        assert_ne!(plain.identity().unwrap(), deleted.identity().unwrap());
        assert_eq!(deleted.identity().unwrap(), entry.identity().unwrap());
        let stats: Value = serde_json::from_str(deleted.stats.as_deref().unwrap()).unwrap();
        assert_eq!((&stats["tightBounds"], &stats["nullCount"]["a"]), (&json!(false), &json!(1)));
    }
}
