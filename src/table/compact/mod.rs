//! Compaction, as Delta's OPTIMIZE does it: small files of one partition become files near the target size.
//!
//! ```text
//! plan     which files are joined, from the log alone                        [`Compactor::plan`]
//! rewrite  the new files, beside whoever else writes to the table            [`rewrite`]
//! commit   one version in which they take the place of the old ones          [`commit`]
//! ```
//!
//! No row changes: the commit says `dataChange: false` of every file. A group whose files another writer has changed or
//! removed meanwhile is dropped, whole; what others append meanwhile is no conflict. Nothing here belongs to a stream: the
//! commit has no transaction and nothing in its commitInfo that a stream would take for its own.

mod commit;
mod groups;
mod partitions;
mod rewrite;

use std::collections::{BTreeMap, HashMap};
use std::hash::Hasher;
use std::sync::Arc;

use delta_kernel::schema::DataType as KernelType;
use delta_kernel::table_features::TableFeature;
use delta_kernel::{Engine, SnapshotRef};
use siphasher::sip128::{Hasher128, SipHasher13};
use uuid::Uuid;

use self::groups::{Candidate, groups_of, within_one_commit};
use super::commit::TableGuard;
use super::live_files::each_file;
use super::table_stats::is_small;
use super::writer_settings::WriterSettings;
use super::{DeltaTable, FileEntry, RowReader};
use crate::model::{Error, MemoryAccount, Result};
use crate::storage::Store;

pub use self::commit::Compacted;
pub use self::partitions::{ChosenPartitions, TablePartitions};
pub use self::rewrite::Rewritten;
pub(super) use self::rewrite::place_of;

/// Which files are joined.
#[derive(Debug, Clone)]
pub struct CompactionRules {
    /// The size that files should have; `None` for the table's (`delta.targetFileSize`), or 128 MiB.
    pub target_bytes: Option<u64>,
    /// A partition with fewer small files than this is left alone.
    pub files_min: usize,
    /// Whether a file is left alone that is larger than all that would be joined with it, so that a table to which little
    /// is appended again and again does not have the same rows written again each time.
    pub spares_large: bool,
    /// Whether a file of which deletion vectors delete more than a twentieth is written again, whatever its size.
    pub applies_deletions: bool,
    /// What one commit takes at most, in bytes.
    pub commit_bytes_max: u64,
    /// Values of partition columns, by logical name: only partitions with all of them.
    pub only: Vec<(String, Option<String>)>,
    /// Only these partitions.
    pub chosen: Option<ChosenPartitions>,
}

impl CompactionRules {
    /// What `alluvia table compact` does.
    pub fn by_hand() -> CompactionRules {
        CompactionRules {
            target_bytes: None,
            files_min: 2,
            spares_large: false,
            applies_deletions: true,
            commit_bytes_max: 16 * 1024 * 1024 * 1024,
            only: Vec::new(),
            chosen: None,
        }
    }

    /// What a stream does of its own accord: rarely, little at a time, and only where it pays.
    pub fn by_stream() -> CompactionRules {
        CompactionRules {
            target_bytes: None,
            files_min: AUTO_FILES_MIN as usize,
            spares_large: true,
            applies_deletions: false,
            commit_bytes_max: 512 * 1024 * 1024,
            only: Vec::new(),
            chosen: None,
        }
    }
}

/// Small files of a partition from which on a stream joins them: Delta's `autoCompact.minNumFiles`.
pub const AUTO_FILES_MIN: u64 = 50;
/// A share of a file's rows by deletion vector from which on it is written again: Delta's `maxDeletedRowsRatio`.
const DELETED_ONE_IN: u64 = 20;

/// What a compaction will do.
#[derive(Debug)]
pub struct CompactionPlan {
    /// The version that it is planned on.
    pub version: u64,
    /// The size that files should have.
    pub target_bytes: u64,
    /// Files of the partitions that the rules name, whatever their size.
    pub files_chosen: u64,
    /// Files to be rewritten, all that there are.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many files they become.
    pub files_after: u64,
    /// Partitions that they are in.
    pub partitions: u64,
    /// What one commit takes of it.
    groups: Vec<Vec<FileEntry>>,
}

impl CompactionPlan {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.files == 0
    }

    /// Files that one commit takes of it.
    pub fn files_of_commit(&self) -> u64 {
        self.groups.iter().map(|group| group.len() as u64).sum()
    }

    /// Bytes that one commit takes of it.
    pub fn bytes_of_commit(&self) -> u64 {
        self.groups.iter().flatten().map(FileEntry::size_bytes).sum()
    }
}

/// Plans and rewrites on one version of a table, on any thread.
pub struct Compactor {
    store: Store,
    engine: Arc<dyn Engine>,
    snapshot: SnapshotRef,
    guard: TableGuard,
    reader: RowReader,
    settings: WriterSettings,
    rules: CompactionRules,
    target_bytes: u64,
    lanes: usize,
}

impl DeltaTable {
    /// A compaction of the table as of its current version; `account` bounds what the new files hold in memory, `lanes`
    /// threads read and write.
    ///
    /// # Errors
    /// `Config` if rows of this table can't be written again as they are, or a rule names no partition column.
    pub fn compactor(
        &self,
        rules: CompactionRules,
        account: &Arc<MemoryAccount>,
        lanes: usize,
    ) -> Result<Compactor> {
        self.check_can_compact()?;
        let rules = CompactionRules { only: self.physical_values(&rules.only)?, ..rules };
        let target_bytes = rules.target_bytes.unwrap_or_else(|| self.target_file_bytes());
        let settings = WriterSettings {
            store: self.store.clone(),
            engine: Arc::clone(&self.engine),
            state: self.write_state()?,
            schema: self.arrow_schema()?,
            partition_columns: self.partition_columns().to_vec(),
            attempt: Uuid::new_v4().to_string(),
            account: Arc::clone(account),
            // A group is one file, also where it is a little larger when it is encoded anew.
            target_file_bytes: usize::try_from(target_bytes).unwrap_or(usize::MAX).saturating_mul(2),
            origin: None,
        };
        Ok(Compactor {
            store: self.store.clone(),
            engine: Arc::clone(&self.engine),
            snapshot: Arc::clone(&self.snapshot),
            guard: TableGuard::of(&self.snapshot),
            reader: RowReader::new(self, None)?,
            settings,
            rules,
            target_bytes,
            lanes: lanes.max(1),
        })
    }

    /// Refuses a table of which a row that is written again would not be the same row.
    fn check_can_compact(&self) -> Result<()> {
        let table = self.snapshot.table_configuration();
        let refuse = |why: &str, hint: &'static str| -> Result<()> {
            Err(Error::config(format!("table {} can't be compacted: {why}", self.store.url())).hint(hint))
        };
        let configuration = self.metadata().configuration();
        let suspended = configuration.get("delta.rowTrackingSuspended").is_some_and(|value| value == "true");
        if table.is_feature_supported(&TableFeature::RowTracking) && !suspended {
            return refuse(
                "it has the feature rowTracking, and the ids of rows that are written again are not kept",
                "compact it with Spark's OPTIMIZE, or ALTER TABLE … DROP FEATURE rowTracking",
            );
        }
        let is_variant = |data_type: &KernelType| matches!(data_type, KernelType::Variant(_));
        if let Some(field) = self.snapshot.schema().fields().find(|field| is_variant(field.data_type())) {
            return refuse(
                &format!("column {} is a VARIANT, which can't be written again", field.name()),
                "compact it with Spark's OPTIMIZE",
            );
        }
        Ok(())
    }

    /// The same values by the physical names of their columns.
    fn physical_values(&self, only: &[(String, Option<String>)]) -> Result<Vec<(String, Option<String>)>> {
        let (schema, columns) = (self.snapshot.schema(), self.partition_columns());
        let mode = self.snapshot.table_configuration().column_mapping_mode();
        let physical = |(name, value): &(String, Option<String>)| {
            let column = columns.iter().find(|column| column.eq_ignore_ascii_case(name));
            let Some(field) = column.and_then(|column| schema.field(column)) else {
                let there = if columns.is_empty() { "none".to_owned() } else { columns.join(", ") };
                return Err(Error::config(format!(
                    "{name} is not a partition column of table {}",
                    self.store.url()
                ))
                .hint(format!("partition columns: {there}")));
            };
            Ok((field.physical_name(mode).to_owned(), value.clone()))
        };
        only.iter().map(physical).collect()
    }
}

impl Compactor {
    /// Chooses what is joined, from the log alone. The log is read twice: in memory are some 50 bytes for each file that
    /// may be joined, and the whole entries only of what one commit takes.
    ///
    /// # Errors
    /// As for [`DeltaTable::open`].
    pub fn plan(&self) -> Result<CompactionPlan> {
        let mut partitions: HashMap<BTreeMap<String, Option<String>>, u32> = HashMap::new();
        let (mut candidates, mut files_chosen) = (Vec::new(), 0);
        self.each_file(&mut |file| {
            files_chosen += u64::from(self.is_chosen(&file));
            let Some((bytes, is_deleted_from)) = self.may_be_joined(&file) else { return Ok(()) };
            let partition = match partitions.get(file.partition_values()) {
                Some(number) => *number,
                None => {
                    let next = u32::try_from(partitions.len())
                        .map_err(|_| Error::internal("a table with 2^32 partitions"))?;
                    *partitions.entry(file.partition_values().clone()).or_insert(next)
                }
            };
            let identity = identity_hash(&file)?;
            let modified_ms = file.modified_ms();
            candidates.push(Candidate { partition, modified_ms, identity, bytes, is_deleted_from });
            Ok(())
        })?;
        drop(partitions);
        let all = groups_of(candidates, self.target_bytes, &self.rules);
        let mut plan = CompactionPlan {
            version: self.snapshot.version(),
            target_bytes: self.target_bytes,
            files_chosen,
            files: all.iter().map(|group| group.len() as u64).sum(),
            bytes: all.iter().flatten().map(|file| file.bytes).sum(),
            files_after: all.len() as u64,
            partitions: 0,
            groups: Vec::new(),
        };
        let mut numbers: Vec<u32> = all.iter().map(|group| group[0].partition).collect();
        numbers.sort_unstable();
        numbers.dedup();
        plan.partitions = numbers.len() as u64;
        plan.groups = self.entries(&within_one_commit(all, self.rules.commit_bytes_max))?;
        Ok(plan)
    }

    fn each_file(&self, each: &mut dyn FnMut(FileEntry) -> Result<()>) -> Result<()> {
        each_file(&self.snapshot, self.engine.as_ref(), &self.store, each)
    }

    /// Whether a file is in a partition that the rules name.
    fn is_chosen(&self, file: &FileEntry) -> bool {
        let named = |(name, value): &(String, Option<String>)| {
            file.partition_values().get(name).cloned().flatten() == *value
        };
        let chosen = self.rules.chosen.as_ref();
        chosen.is_none_or(|chosen| chosen.contain(file.partition_values()))
            && self.rules.only.iter().all(named)
    }

    /// The bytes of a file that may be joined with others, as they will be without the rows that are deleted from it, and
    /// whether that are enough to write it again by itself; `None` for a file that stays as it is.
    fn may_be_joined(&self, file: &FileEntry) -> Option<(u64, bool)> {
        if file.is_clustered() || !self.is_chosen(file) {
            return None;
        }
        let (size, deleted) = (file.size_bytes(), file.deleted_rows());
        let rows = if deleted > 0 { file.rows_in_file() } else { None };
        let left = rows.map_or(size, |rows| {
            let kept = u128::from(rows.saturating_sub(deleted)) * u128::from(size) / u128::from(rows.max(1));
            u64::try_from(kept).unwrap_or(size)
        });
        let is_deleted_from = self.rules.applies_deletions
            && rows.is_some_and(|rows| deleted.saturating_mul(DELETED_ONE_IN) > rows);
        (is_deleted_from || is_small(size, self.target_bytes)).then_some((left, is_deleted_from))
    }

    /// The whole entries of the files of groups, in the groups' order.
    fn entries(&self, groups: &[Vec<Candidate>]) -> Result<Vec<Vec<FileEntry>>> {
        let mut places: HashMap<u128, (usize, usize)> = HashMap::new();
        let mut found: Vec<Vec<Option<FileEntry>>> = Vec::with_capacity(groups.len());
        for (group, files) in groups.iter().enumerate() {
            places.extend(files.iter().enumerate().map(|(place, file)| (file.identity, (group, place))));
            found.push(vec![None; files.len()]);
        }
        if places.is_empty() {
            return Ok(Vec::new());
        }
        self.each_file(&mut |file| {
            if let Some((group, place)) = places.get(&identity_hash(&file)?) {
                found[*group][*place] = Some(file);
            }
            Ok(())
        })?;
        let whole = |group: Vec<Option<FileEntry>>| group.into_iter().collect::<Option<Vec<FileEntry>>>();
        found.into_iter().map(whole).collect::<Option<_>>().ok_or_else(|| {
            Error::internal("a version of a table had other files when its log was read again")
        })
    }
}

/// What stands for a file's path and deletion vector.
fn identity_hash(file: &FileEntry) -> Result<u128> {
    let identity = file.identity()?;
    let mut hasher = SipHasher13::new();
    hasher.write(identity.path.as_bytes());
    hasher.write_u8(0);
    hasher.write(identity.deletion_vector.as_deref().unwrap_or_default().as_bytes());
    Ok(hasher.finish128().as_u128())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use parquet::basic::Type;

    use super::*;
    use crate::table::int96::examples::{check, files_of, rows_of, table};

    fn compacted(table: &mut DeltaTable) -> Compacted {
        let account = MemoryAccount::new(64 << 20);
        let compactor = table.compactor(CompactionRules::by_hand(), &account, 1).unwrap();
        let plan = compactor.plan().unwrap();
        let rewritten = compactor.rewrite(plan, &|_| {}, &AtomicBool::new(false)).unwrap();
        table.commit_compaction(rewritten, false).unwrap()
    }

    #[cfg(any(debug_assertions, feature = "failpoints"))]
    #[test]
    fn a_commit_that_was_made_keeps_its_files_whatever_the_store_answers() {
        use crate::storage::faulty::{Faults, Faulty};
        use crate::storage::test_runtime;
        // The last is what a client is told that sends its request twice.
        for answer in ["do-and-fail", "do-and-exists"] {
            let store = table(false);
            let faults = Faults::parse(&format!("create _delta_log 1 {answer}"), 0).unwrap();
            let root = Faulty::new(Arc::clone(store.root()), Arc::new(faults));
            let faulty = Store::new(Arc::new(root), store.url().clone(), store.path(""), test_runtime());
            let done = compacted(&mut DeltaTable::open(&faulty).unwrap().unwrap());
            let files = (done.files_removed, done.files_added, done.files_dropped);
            assert_eq!((done.version, files), (Some(1), (2, 1, 0)), "{answer}");
            check(&rows_of(&DeltaTable::open(&store).unwrap().unwrap()), 4);
        }
    }

    #[test]
    fn a_compaction_keeps_the_timestamps_that_spark_wrote_as_int96() {
        for mapped in [false, true] {
            let store = table(mapped);
            let mut table = DeltaTable::open(&store).unwrap().unwrap();
            let done = compacted(&mut table);
            assert_eq!((done.version, done.files_removed, done.files_added), (Some(1), 2, 1));
            check(&rows_of(&table), 4);
            // For every reader: the new file has no INT96 any more.
            let files = files_of(&table);
            let [file] = files.as_slice() else { panic!("{files:?}") };
            let bytes = store.get(&file.path).unwrap().unwrap();
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
            assert!(
                reader.parquet_schema().columns().iter().all(|column| column.physical_type() != Type::INT96)
            );
            let rows: Result<Vec<_>, _> = reader.build().unwrap().collect();
            check(&rows.unwrap(), 4);
        }
    }
}
