//! What a table is made of: files, bytes, rows, deletion vectors, partitions. Read only, from the log alone.
//!
//! In memory is one count for each partition, never the list of files.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::features;
use super::file_entry::FileEntry;
use super::live_files::each_file;
use super::reader::TableReader;
use crate::model::Result;

/// The size of a data file where the table does not say (`delta.targetFileSize`).
pub const TARGET_FILE_BYTES: u64 = 128 * 1024 * 1024;

/// Returns whether a file of `size_bytes` is small in a table of this target size: below half of it, so that two of them
/// still make one file.
pub fn is_small(size_bytes: u64, target_bytes: u64) -> bool {
    size_bytes < target_bytes / 2
}

/// What a table is made of, as of one version.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableStats {
    /// `metaData.id`.
    pub table_id: String,
    /// The version.
    pub version: u64,
    /// The columns that it is partitioned by.
    pub partition_columns: Vec<String>,
    /// `metaData.configuration`.
    pub properties: BTreeMap<String, String>,
    /// The size that files should have.
    pub target_file_bytes: u64,
    /// All of it.
    pub total: FileCounts,
    /// Each partition, those with the most small files first; one without values for a table without partitions.
    pub partitions: Vec<PartitionStats>,
}

/// Files of one partition.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionStats {
    /// The values of the partition columns, by their names.
    pub values: BTreeMap<String, Option<String>>,
    /// Its files.
    #[serde(flatten)]
    pub counts: FileCounts,
}

/// Counts over files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileCounts {
    /// Data files.
    pub files: u64,
    /// Their bytes.
    pub size_bytes: u64,
    /// Their rows, without deleted ones, as far as the files say.
    pub rows: u64,
    /// Files whose statistics do not say how many rows they have.
    pub files_without_row_count: u64,
    /// Files that are smaller than half of the target size.
    pub small_files: u64,
    /// Their bytes.
    pub small_bytes: u64,
    /// Files that have a deletion vector.
    pub files_with_deletion_vector: u64,
    /// Rows that deletion vectors delete.
    pub deleted_rows: u64,
    /// Bytes of the largest file.
    pub largest_bytes: u64,
}

impl FileCounts {
    fn add(&mut self, file: &FileEntry, target_bytes: u64) {
        let size = file.size_bytes();
        self.files += 1;
        self.size_bytes += size;
        match file.rows_in_file() {
            Some(rows) => self.rows += rows.saturating_sub(file.deleted_rows()),
            None => self.files_without_row_count += 1,
        }
        if is_small(size, target_bytes) {
            self.small_files += 1;
            self.small_bytes += size;
        }
        self.files_with_deletion_vector += u64::from(file.has_deletion_vector());
        self.deleted_rows += file.deleted_rows();
        self.largest_bytes = self.largest_bytes.max(size);
    }
}

impl TableReader {
    /// What the table is made of, as of the version that was read.
    ///
    /// # Errors
    /// As for [`TableReader::open`]; `Config` if the size that its files should have can't be read.
    pub fn stats(&self) -> Result<TableStats> {
        let table = self.snapshot.table_configuration();
        let metadata = self.own.as_deref().unwrap_or(table).metadata();
        let target_file_bytes =
            features::target_file_bytes(metadata, &self.store)?.unwrap_or(TARGET_FILE_BYTES);
        let mut total = FileCounts::default();
        let mut partitions: HashMap<BTreeMap<String, Option<String>>, FileCounts> = HashMap::new();
        each_file(&self.snapshot, self.engine.as_ref(), &self.store, &mut |file| {
            total.add(&file, target_file_bytes);
            match partitions.get_mut(file.partition_values()) {
                Some(counts) => counts.add(&file, target_file_bytes),
                None => {
                    let counts = partitions.entry(file.partition_values().clone()).or_default();
                    counts.add(&file, target_file_bytes);
                }
            }
            Ok(())
        })?;
        let schema = self.snapshot.schema();
        let mode = table.column_mapping_mode();
        let logical: HashMap<&str, &str> =
            schema.fields().map(|field| (field.physical_name(mode), field.name().as_str())).collect();
        let named = |(name, value): (String, Option<String>)| {
            (logical.get(name.as_str()).map_or(name.clone(), |name| (*name).to_owned()), value)
        };
        let mut partitions: Vec<PartitionStats> = partitions
            .into_iter()
            .map(|(values, counts)| PartitionStats {
                values: values.into_iter().map(named).collect(),
                counts,
            })
            .collect();
        partitions.sort_by(|a, b| {
            let order =
                |stats: &PartitionStats| std::cmp::Reverse((stats.counts.small_files, stats.counts.files));
            order(a).cmp(&order(b)).then_with(|| a.values.cmp(&b.values))
        });
        Ok(TableStats {
            table_id: metadata.id().to_owned(),
            version: self.snapshot.version(),
            partition_columns: metadata.partition_columns().to_vec(),
            properties: metadata.configuration().iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            target_file_bytes,
            total,
            partitions,
        })
    }
}
