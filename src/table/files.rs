//! Rows into Parquet files of a table, with the statistics that readers skip files by.
//!
//! A [`FileWriter`] belongs to one lane and one attempt: every file name carries the attempt's id and nothing is ever
//! overwritten. A file is closed at its target size, and is not part of the table before a commit names it.
//!
//! Of a table with partitions, rows wait until a piece of them is worth sorting. Then the rows of a partition whose
//! file is open go there, and so do those of a new one while there is memory for one more encoder. The rest goes to
//! disk, sorted by partition, and becomes files at the end, one after the other (`sorted_runs`): files of sensible size
//! in bounded memory, however many values there are (docs/decisions/0004-partitions-sorted-on-disk.md).
//!
//! What is in memory counts against one account that all lanes share. A lane that finds it exceeded writes out its own
//! largest row group.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use arrow::row::{OwnedRow, Row, Rows};
use tokio::task::JoinSet;

use super::added_file::AddedFile;
use super::codec::ending;
use super::data_file::{DataFile, Layout, context_of};
use super::partition::Partitioner;
use super::sorted_runs::SortedRuns;
use super::writer_settings::WriterSettings;
use crate::model::{Error, MemoryClaim, Result};

/// Partitions' files of one lane that are open at once, at most.
const OPEN_FILES_MAX: usize = 256;
/// What an encoder is counted as at least, so that not more are opened than can grow to row groups of some size.
const ENCODER_BYTES: usize = 512 * 1024;
/// Rows that wait to be sorted by partition, at most.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Rows that are given to an encoder at a time.
const PIECE_ROWS: usize = 8 * 1024;
/// Files that are on their way to storage at once, their rows written.
const CLOSING_MAX: usize = 8;
/// The least bytes of a row group that is written out early because of what other streams hold, and the most of rows that
/// wait for their partition's file then.
const SHARED_ROW_GROUP_MIN: usize = 1024 * 1024;

/// Writes the rows of one lane.
pub struct FileWriter {
    partitioned: Option<Partitioned>,
    files: Files,
}

/// Rows of a table with partitions that are in no file yet.
struct Partitioned {
    keys: Partitioner,
    waiting: Vec<RecordBatch>,
    waiting_bytes: usize,
    claim: MemoryClaim,
    runs: SortedRuns,
}

/// The files of a writer.
struct Files {
    settings: WriterSettings,
    lane: usize,
    next_file: usize,
    /// Made with the first file.
    layout: Option<Layout>,
    open: HashMap<Option<OwnedRow>, DataFile>,
    closing: JoinSet<Result<AddedFile>>,
    done: Vec<AddedFile>,
    done_claim: MemoryClaim,
}

impl FileWriter {
    /// A writer for lane `lane` of an attempt.
    ///
    /// # Errors
    /// `Config` if the table can't be partitioned by a column's type.
    pub fn new(settings: WriterSettings, lane: usize) -> Result<FileWriter> {
        let partitioned = if settings.partition_columns.is_empty() {
            None
        } else {
            Some(Partitioned {
                keys: Partitioner::new(&settings.schema, &settings.partition_columns)?,
                waiting: Vec::new(),
                waiting_bytes: 0,
                claim: settings.account.claim(),
                runs: SortedRuns::new(Arc::clone(&settings.schema), settings.account.limit_bytes() / 4),
            })
        };
        let done_claim = settings.account.claim();
        let files = Files {
            settings,
            lane,
            next_file: 0,
            layout: None,
            open: HashMap::new(),
            closing: JoinSet::new(),
            done: Vec::new(),
            done_claim,
        };
        Ok(FileWriter { partitioned, files })
    }

    /// Writes rows in the table's schema.
    ///
    /// # Errors
    /// `Unavailable` if an upload fails or a temporary file can't be written; `Internal` if the encoder fails.
    pub fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        match &mut self.partitioned {
            None => self.files.write(None, rows, |_| Ok(None))?,
            Some(partitioned) => {
                partitioned.waiting_bytes += rows.get_array_memory_size();
                partitioned.claim.set(partitioned.waiting_bytes);
                partitioned.waiting.push(rows.clone());
                let account = &self.files.settings.account;
                let most = if account.is_exceeded() { SHARED_ROW_GROUP_MIN } else { WAITING_BYTES_MAX };
                let most = most.min(account.limit_bytes() / 4);
                if partitioned.waiting_bytes >= most {
                    partitioned.sort_out(&mut self.files)?;
                }
            }
        }
        self.files.keep_within_account()
    }

    /// Closes every file; only then are they whole and may be named by a commit.
    ///
    /// # Errors
    /// As for [`FileWriter::write`].
    pub fn finish(mut self) -> Result<Vec<AddedFile>> {
        if let Some(partitioned) = &mut self.partitioned {
            partitioned.finish(&mut self.files)?;
        }
        self.files.finish()
    }
}

impl Partitioned {
    /// Gives the rows that wait to their partitions' files, and sorts the rest onto the disk.
    fn sort_out(&mut self, files: &mut Files) -> Result<()> {
        let batches = std::mem::take(&mut self.waiting);
        let keys = batches.iter().map(|batch| self.keys.keys(batch)).collect::<Result<Vec<Rows>>>()?;
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        let mut rest = Vec::new();
        for (key, rows) in by_partition(&keys) {
            let key = Some(key.owned());
            if files.open.contains_key(&key) || files.has_room() {
                self.write_rows(files, key, &batches, &rows)?;
            } else {
                rest.extend(rows);
            }
        }
        self.runs.add(&batches, &rest, &self.keys)?;
        self.waiting_bytes = 0;
        self.claim.set(0);
        Ok(())
    }

    /// Writes all rows that are left, a partition after the other.
    fn finish(&mut self, files: &mut Files) -> Result<()> {
        if !self.runs.is_empty() {
            self.sort_out(files)?;
            files.close_all()?;
            return self.write_runs(files);
        }
        let batches = std::mem::take(&mut self.waiting);
        let keys = batches.iter().map(|batch| self.keys.keys(batch)).collect::<Result<Vec<Rows>>>()?;
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        for (key, rows) in by_partition(&keys) {
            let key = Some(key.owned());
            self.write_rows(files, key.clone(), &batches, &rows)?;
            files.close(&key)?;
        }
        Ok(())
    }

    fn write_rows(
        &self,
        files: &mut Files,
        key: Option<OwnedRow>,
        batches: &[&RecordBatch],
        rows: &[(usize, usize)],
    ) -> Result<()> {
        for piece in rows.chunks(PIECE_ROWS) {
            let rows = interleave_record_batch(batches, piece)
                .map_err(|e| Error::internal("split rows by partition").source(e))?;
            let data = self.keys.data(&rows)?;
            files.write(key.clone(), &data, |_| self.keys.values(&rows, 0).map(Some))?;
        }
        Ok(())
    }

    /// Writes the rows on disk.
    fn write_runs(&mut self, files: &mut Files) -> Result<()> {
        let keys = &self.keys;
        let mut last = None;
        self.runs.drain(keys, &mut |rows| {
            let key = Some(keys.keys(rows)?.row(0).owned());
            if last != key {
                files.close(&last)?;
                last.clone_from(&key);
            }
            files.write(key, &keys.data(rows)?, |_| keys.values(rows, 0).map(Some))?;
            files.keep_within_account()
        })
    }
}

/// Where the rows of each partition are: the number of the batch, and the row in it. In the partitions' order.
fn by_partition(keys: &[Rows]) -> Vec<(Row<'_>, Vec<(usize, usize)>)> {
    let mut partitions: HashMap<Row<'_>, Vec<(usize, usize)>> = HashMap::new();
    for (batch, keys) in keys.iter().enumerate() {
        for (row, key) in keys.iter().enumerate() {
            partitions.entry(key).or_default().push((batch, row));
        }
    }
    let mut partitions: Vec<_> = partitions.into_iter().collect();
    partitions.sort_unstable_by_key(|(key, _)| *key);
    partitions
}

type PartitionValues = Option<HashMap<String, delta_kernel::expressions::Scalar>>;

impl Files {
    /// Whether there is memory for one more open file.
    fn has_room(&self) -> bool {
        let account = &self.settings.account;
        let after = account.used_bytes() + ENCODER_BYTES;
        self.open.is_empty()
            || (self.open.len() < OPEN_FILES_MAX
                && after <= account.limit_bytes() / 4 * 3
                && !account.is_exceeded())
    }

    /// Writes rows, without partition columns, to the file of partition `key`; `values` are asked for if it is new.
    fn write(
        &mut self,
        key: Option<OwnedRow>,
        rows: &RecordBatch,
        values: impl FnOnce(&WriterSettings) -> Result<PartitionValues>,
    ) -> Result<()> {
        if !self.open.contains_key(&key) {
            let context = context_of(&self.settings, values(&self.settings)?)?;
            let layout = match &self.layout {
                Some(layout) => layout,
                None => self.layout.insert(Layout::new(&self.settings, &context)?),
            };
            let (settings, ending) = (&self.settings, ending(self.settings.state.codec));
            let name = format!("part-{:05}-{}-c{:03}{ending}", self.lane, settings.attempt, self.next_file);
            let reserved = if key.is_some() { ENCODER_BYTES } else { 0 };
            let file = DataFile::create(&self.settings, layout, &context, (&name, self.next_file), reserved)?;
            self.next_file += 1;
            self.open.insert(key.clone(), file);
        }
        let layout = self.layout.as_ref().expect("it was made with the first file");
        let file = self.open.get_mut(&key).expect("the file was opened above");
        file.write(&self.settings, layout, rows)?;
        if file.is_full(self.settings.target_file_bytes) {
            self.close(&key)?;
        }
        Ok(())
    }

    /// Writes out the largest row groups while more is held than may be. Where other streams hold too much, only those that
    /// are worth it: row groups of a few rows would make every reader pay.
    fn keep_within_account(&mut self) -> Result<()> {
        let account = Arc::clone(&self.settings.account);
        while account.is_exceeded() {
            let least = if account.exceeds_own_limit() { 0 } else { SHARED_ROW_GROUP_MIN };
            let largest = self.open.values_mut().max_by_key(|file| file.freed_by_writing_out());
            match (largest, &self.layout) {
                (Some(file), Some(layout)) if file.freed_by_writing_out() > least => {
                    file.write_out(layout)?
                }
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// Ends the file of partition `key`, if it is open; its last bytes go to storage meanwhile.
    fn close(&mut self, key: &Option<OwnedRow>) -> Result<()> {
        let Some(file) = self.open.remove(key) else { return Ok(()) };
        let layout = self.layout.as_ref().expect("it was made with the first file");
        self.closing.spawn_on(file.close(layout)?, self.settings.store.runtime());
        while self.closing.len() >= CLOSING_MAX || self.settings.account.is_exceeded() {
            if !self.await_one()? {
                break;
            }
        }
        Ok(())
    }

    fn close_all(&mut self) -> Result<()> {
        let keys: Vec<_> = self.open.keys().cloned().collect();
        keys.iter().try_for_each(|key| self.close(key))
    }

    fn finish(mut self) -> Result<Vec<AddedFile>> {
        self.close_all()?;
        while self.await_one()? {}
        // In an order that no upload's pace decides.
        self.done.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(self.done)
    }

    /// Waits for one of the files that are on their way; returns whether there was one.
    fn await_one(&mut self) -> Result<bool> {
        let Some(stored) = self.settings.store.block_on(self.closing.join_next()) else { return Ok(false) };
        let file = stored.map_err(|e| Error::internal("a data file's upload ended").source(e))??;
        self.done_claim.set(self.done_claim.bytes() + file.memory_bytes());
        self.done.push(file);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use object_store::memory::InMemory;

    use super::*;
    use crate::model::MemoryAccount;
    use crate::storage::{Store, test_runtime};
    use crate::table::DeltaTable;

    const ROWS: usize = 1 << 13;

    /// Rows of `values` partitions, mixed: row `n` is of partition `n * 7919 % values`.
    fn rows(start: usize, values: usize) -> RecordBatch {
        let numbers = start..start + ROWS;
        let text = |n: usize| format!("v{:05}", n * 7919 % values);
        let partition: ArrayRef = Arc::new(StringArray::from_iter_values(numbers.clone().map(text)));
        let pad = |n: usize| format!("{n:08}{}", "x".repeat(150));
        let pads: ArrayRef = Arc::new(StringArray::from_iter_values(numbers.clone().map(pad)));
        let n: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers.map(|n| n as i64)));
        RecordBatch::try_from_iter_with_nullable([
            ("p", partition, true),
            ("n", n, true),
            ("pad", pads, true),
        ])
        .unwrap()
    }

    /// Writes `batches` of rows over `values` partitions within `limit` bytes: the files, and the most that was held.
    fn written(values: usize, batches: usize, limit: usize, target: usize) -> (Vec<AddedFile>, usize, Store) {
        written_within(values, batches, &MemoryAccount::new(limit), target)
    }

    fn written_within(
        values: usize,
        batches: usize,
        account: &Arc<MemoryAccount>,
        target: usize,
    ) -> (Vec<AddedFile>, usize, Store) {
        let url = url::Url::parse("memory:///t/").unwrap();
        let prefix = object_store::path::Path::from("t");
        let store = Store::new(Arc::new(InMemory::new()), url, prefix, test_runtime());
        let schema = rows(0, values).schema();
        let by = ["p".to_owned()];
        let table = DeltaTable::create(&store, &schema, &by, &BTreeMap::new()).unwrap();
        let settings = WriterSettings {
            store: store.clone(),
            engine: Arc::clone(table.engine()),
            state: table.write_state().unwrap(),
            schema,
            partition_columns: by.to_vec(),
            attempt: "a".to_owned(),
            account: Arc::clone(account),
            target_file_bytes: target,
            origin: None,
        };
        let (done, most) = (AtomicBool::new(false), AtomicUsize::new(0));
        let files = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    most.fetch_max(account.used_bytes(), Ordering::Relaxed);
                    std::thread::yield_now();
                }
            });
            let mut writer = FileWriter::new(settings, 0).unwrap();
            (0..batches).for_each(|batch| writer.write(&rows(batch * ROWS, values)).unwrap());
            let files = writer.finish().unwrap();
            done.store(true, Ordering::Relaxed);
            files
        });
        assert_eq!(account.used_bytes(), 0, "everything was given back");
        (files, most.into_inner(), store)
    }

    fn check(files: &[AddedFile], values: usize, batches: usize) {
        let total: u64 = files.iter().map(|file| file.rows).sum();
        assert_eq!(total as usize, batches * ROWS);
        let partitions: BTreeSet<_> = files.iter().map(|file| file.partition_values.clone()).collect();
        assert_eq!(partitions.len(), values);
        for file in files {
            let value = file.partition_values[0].1.as_deref().unwrap();
            assert!(file.path.starts_with(&format!("p={value}/part-00000-a-c")), "{}", file.path);
        }
    }

    #[test]
    fn ten_thousand_partition_values_stay_within_the_account_and_make_a_file_each() {
        let limit = 8 << 20;
        let (files, most, _) = written(10_000, 24, limit, 128 << 20);
        check(&files, 10_000, 24);
        assert!(most <= limit / 2 * 3, "{most} bytes were held under a limit of {limit}");
        assert!(files.len() <= 10_100, "{} files", files.len());
    }

    #[test]
    fn a_hundred_partition_values_are_encoded_as_they_come_where_there_is_memory() {
        let (files, most, store) = written(100, 12, 128 << 20, 128 << 20);
        check(&files, 100, 12);
        assert_eq!(files.len(), 100);
        assert!(most <= 128 << 20, "{most}");
        let file = store.get(&files[0].path).unwrap().unwrap();
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        assert_eq!(reader.metadata().num_row_groups(), 1);
    }

    #[test]
    fn what_other_streams_hold_makes_row_groups_smaller_but_not_tiny() {
        let row_groups = |others: usize| {
            let process = MemoryAccount::new(256 << 20);
            let mut held = process.claim();
            held.set(others);
            let (files, most, store) = written_within(1, 40, &process.part(128 << 20), 128 << 20);
            check(&files, 1, 40);
            let file = store.get(&files[0].path).unwrap().unwrap();
            let reader =
                parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
            (reader.metadata().num_row_groups(), most)
        };
        let (alone, most_alone) = row_groups(0);
        let (count, most) = row_groups(257 << 20);
        assert!(alone * 2 <= count && count <= 40, "{count} row groups, {alone} where there is room");
        assert!(most * 2 < most_alone, "{most} bytes were held, {most_alone} where there is room");
    }

    #[test]
    fn a_partition_whose_file_is_full_goes_on_in_another() {
        let (files, _, _) = written(3, 24, 8 << 20, 1 << 20);
        check(&files, 3, 24);
        assert!(files.len() > 6, "{} files", files.len());
    }
}
