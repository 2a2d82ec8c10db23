//! Joining small files beside the micro-batches: Delta's auto compaction, off the commit path.
//!
//! Once as many files have been added as make it worth while, a thread beside the stream's plans a compaction and writes its
//! files, slowly: with one lane. Its commit is made between two micro-batches by the stream's own thread, on the snapshot
//! that the next batch is committed on, so that it never takes a version from a batch. A group of which a batch has changed
//! a file meanwhile is dropped. Never a reason to stop.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::DeltaAppend;
use super::beside::Beside;
use crate::model::{Kind, MemoryAccount, Result};
use crate::table::compact::{AUTO_FILES_MIN, Compacted, CompactionRules, Compactor, Rewritten};

/// What the files being written hold in memory, about, and no more than an eighth of what the stream may hold.
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
    /// Commits a compaction whose files are written, and begins one where it is due. What it holds is a part of `account`.
    pub(super) fn compact(&mut self, account: &Arc<MemoryAccount>) {
        self.compaction.last = None;
        self.commit_compacted();
        let Some(table) = &self.table else { return };
        let wanted = self.config.auto_compact.unwrap_or_else(|| table.asks_for_compaction());
        if !wanted || !self.compaction.is_due() {
            return;
        }
        self.compaction.files_since = Some(0);
        let memory = account.part(MEMORY_BYTES.min(account.limit_bytes() / 8));
        match table.compactor(CompactionRules::by_stream(), &memory, 1) {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use url::Url;

    use super::*;
    use crate::config::DeltaSink;
    use crate::decode::datetime::Zone;
    use crate::sink::{BatchCommit, BatchRun, Sink};
    use crate::storage::{Store, test_runtime};

    const FILE_ROWS: usize = 2000;

    /// Numbers that can't be compressed.
    fn numbers(file: usize) -> RecordBatch {
        let first = (file * FILE_ROWS) as u64;
        let number = |n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ n.rotate_left(29)) as i64;
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(
            (first..first + FILE_ROWS as u64).map(|n| number(n.wrapping_mul(0xd6e8_feb8_6659_fd93))),
        ));
        RecordBatch::try_from_iter([("a", column)]).unwrap()
    }

    /// How many row groups the file has that a stream with `account` joins fifty small ones into.
    fn row_groups(account: &Arc<MemoryAccount>) -> usize {
        let folder = tempfile::tempdir().unwrap();
        let url = Url::from_directory_path(folder.path()).unwrap();
        let store = Store::open(&url, &BTreeMap::new(), test_runtime()).unwrap();
        let config = DeltaSink {
            url,
            partition_by: Vec::new(),
            merge_schema: false,
            merge: None,
            auto_compact: Some(true),
            auto_vacuum: None,
            table_properties: BTreeMap::new(),
        };
        let mut sink = DeltaAppend::open(&config, store, Zone::UTC).unwrap();
        sink.prepare(&numbers(0).schema()).unwrap();
        let writers = MemoryAccount::new(64 << 20);
        for file in 0..AUTO_FILES_MIN as usize {
            let attempt = format!("run-{file}");
            let run = BatchRun { query_id: "q", batch_id: file as i64, attempt: &attempt };
            let rows = sink.begin(&run, &writers).unwrap();
            let mut writer = rows.writer(0).unwrap();
            writer.write(&rows.align(numbers(file)).unwrap()).unwrap();
            sink.commit(&BatchCommit::of_test(file as i64), writer.finish().unwrap()).unwrap();
        }
        sink.maintain(account);
        sink.finish(&mut || true);
        assert_eq!(account.used_bytes(), 0, "everything was given back");
        let files = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path());
        let parquet = files.filter(|file| file.extension().is_some_and(|kind| kind == "parquet"));
        let read =
            |file| ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file).unwrap()).unwrap();
        let joined = parquet
            .map(read)
            .map(|file| file.metadata().clone())
            .find(|file| file.file_metadata().num_rows() == (FILE_ROWS * AUTO_FILES_MIN as usize) as i64);
        joined.expect("small files are joined").num_row_groups()
    }

    #[test]
    fn a_compaction_holds_no_more_than_its_share_of_what_the_stream_may_hold() {
        let process = MemoryAccount::new(1 << 30);
        assert_eq!(row_groups(&process.part(1 << 30)), 1);
        assert!(row_groups(&process.part(1 << 20)) > 1, "an eighth of a MiB");
    }
}
