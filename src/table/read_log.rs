//! A table's log, read from storage without a snapshot to begin with.
//!
//! `_last_checkpoint` only says where a listing may begin. The kernel refuses a log in which the checkpoint that the file names
//! is gone, and so is every newer one: it would take what is left of a log for a whole one. Delta-Spark lists all of such a
//! log and reads it, and so does this, because a log without its beginning is refused here ([`read_snapshot`]).

use std::sync::Arc;

use bytes::Bytes;
use delta_kernel::{
    CancellationTokenRef, DeltaResult, Engine, EvaluationHandler, FileMeta, FileSlice, JsonHandler,
    ParquetHandler, Snapshot, SnapshotRef, StorageHandler,
};
use url::Url;

use super::damage::{self, log_error};
use crate::model::{Error, Result};
use crate::storage::Store;

const LAST_CHECKPOINT: &str = "_last_checkpoint";

/// The newest snapshot of the table in `store`, as its log has it; `None` if there is no log.
///
/// # Errors
/// As for [`read_snapshot`]; `Config` if the table's path has a `%`.
pub(super) fn read_log(store: &Store, engine: &Arc<dyn Engine>) -> Result<Option<SnapshotRef>> {
    // The kernel takes such a path for one that is encoded, and finds nothing there.
    if store.url().path().contains("%25") {
        return Err(Error::config(format!("the path of table {} has a %, which can't be read", store.url()))
            .hint("give the table's folder a name without %; names of partitions may have it"));
    }
    let names = store.names("_delta_log")?;
    if !names.iter().any(|name| is_log_file(name)) {
        return Ok(None);
    }
    read_snapshot(store, engine).map(Some)
}

/// The newest snapshot of the table in `store`, as its log has it, which is there.
///
/// # Errors
/// `Corrupt`, naming the file, if the log can't be read or lacks its beginning; `Unavailable` if storage does not answer.
pub(super) fn read_snapshot(store: &Store, engine: &Arc<dyn Engine>) -> Result<SnapshotRef> {
    let (snapshot, is_hint_wrong) = build(store, engine, None);
    let explained = |error: Error| match is_hint_wrong {
        true => error.context(format!("{NO_SUCH_CHECKPOINT}, and the log can't be read without it")),
        false => error,
    };
    let snapshot = snapshot.map_err(|e| explained(log_error(e, "read the Delta log", store)))?;
    // The kernel takes a log without its head if protocol and metadata stand further on, or in a file beside it: the
    // files and transactions of the head would be forgotten.
    let log = snapshot.log_segment();
    let head = log.listed.ascending_commit_files.first().map(|commit| commit.version);
    if log.checkpoint_version.is_none() && head != Some(0) {
        let what = format!("cannot read the Delta log of table {}", store.url());
        return Err(explained(damage::missing_below(0, snapshot.version())).context(what));
    }
    Ok(snapshot)
}

/// The snapshot of a version of the table in `store`.
///
/// # Errors
/// What the kernel says.
pub(super) fn snapshot_at(store: &Store, engine: &Arc<dyn Engine>, version: u64) -> DeltaResult<SnapshotRef> {
    build(store, engine, Some(version)).0
}

const NO_SUCH_CHECKPOINT: &str = "_delta_log/_last_checkpoint names a checkpoint that is not there";

/// A snapshot, and whether `_last_checkpoint` had to be left aside for it.
fn build(store: &Store, engine: &Arc<dyn Engine>, version: Option<u64>) -> (DeltaResult<SnapshotRef>, bool) {
    let build = |engine: &dyn Engine| {
        let builder = Snapshot::builder_for(store.url().as_str());
        match version {
            Some(version) => builder.at_version(version),
            None => builder,
        }
        .build(engine)
    };
    match build(engine.as_ref()) {
        Err(error) if is_of_the_hint(&error) => {
            let unhinted = Unhinted { storage: engine.storage_handler(), engine: Arc::clone(engine) };
            let snapshot = build(&unhinted);
            if snapshot.is_ok() {
                tracing::warn!(table = %store.url(), "{NO_SUCH_CHECKPOINT}: the log was read without it");
            }
            (snapshot, true)
        }
        snapshot => (snapshot, false),
    }
}

/// Whether the kernel has found no checkpoint where the file says.
fn is_of_the_hint(error: &delta_kernel::Error) -> bool {
    match error {
        delta_kernel::Error::Backtraced { source, .. } => is_of_the_hint(source),
        delta_kernel::Error::InvalidCheckpoint(text) => text.contains(LAST_CHECKPOINT),
        _ => false,
    }
}

/// Whether a name is one of a commit or a checkpoint (and not, say, a checksum's).
pub(super) fn is_log_file(name: &str) -> bool {
    name.len() > 20
        && name.as_bytes()[..20].iter().all(u8::is_ascii_digit)
        && (name.ends_with(".json") || name.contains(".checkpoint"))
}

/// An engine, and a handler of a storage, that know no `_last_checkpoint`.
struct Unhinted {
    storage: Arc<dyn StorageHandler>,
    engine: Arc<dyn Engine>,
}

impl Engine for Unhinted {
    fn evaluation_handler(&self) -> Arc<dyn EvaluationHandler> {
        self.engine.evaluation_handler()
    }

    fn storage_handler(&self) -> Arc<dyn StorageHandler> {
        Arc::new(Unhinted { storage: Arc::clone(&self.storage), engine: Arc::clone(&self.engine) })
    }

    fn json_handler(&self) -> Arc<dyn JsonHandler> {
        self.engine.json_handler()
    }

    fn parquet_handler(&self) -> Arc<dyn ParquetHandler> {
        self.engine.parquet_handler()
    }
}

type Listed = Box<dyn Iterator<Item = DeltaResult<FileMeta>>>;
type ReadBytes = Box<dyn Iterator<Item = DeltaResult<Bytes>>>;

impl StorageHandler for Unhinted {
    fn list_from(&self, path: &Url) -> DeltaResult<Listed> {
        self.storage.list_from(path)
    }

    fn list_from_with_cancellation(
        &self,
        path: &Url,
        token: Option<CancellationTokenRef>,
    ) -> DeltaResult<Listed> {
        self.storage.list_from_with_cancellation(path, token)
    }

    fn read_files(&self, files: Vec<FileSlice>) -> DeltaResult<ReadBytes> {
        let is_hint = |(url, _): &FileSlice| {
            url.path_segments().and_then(|mut parts| parts.next_back()) == Some(LAST_CHECKPOINT)
        };
        if files.iter().any(is_hint) {
            return Ok(Box::new(std::iter::once(Err(delta_kernel::Error::file_not_found(LAST_CHECKPOINT)))));
        }
        self.storage.read_files(files)
    }

    fn copy_atomic(&self, src: &Url, dest: &Url) -> DeltaResult<()> {
        self.storage.copy_atomic(src, dest)
    }

    fn put(&self, path: &Url, data: Bytes, overwrite: bool) -> DeltaResult<()> {
        self.storage.put(path, data, overwrite)
    }

    fn head(&self, path: &Url) -> DeltaResult<FileMeta> {
        self.storage.head(path)
    }

    fn delete(&self, path: &Url) -> DeltaResult<()> {
        self.storage.delete(path)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::model::Kind;
    use crate::table::reader::TableReader;
    use crate::table::test_log::{TestLog, empty_batch};

    const HINT: &str = "_delta_log/_last_checkpoint";

    /// A table whose newest checkpoint is of version 12, with commits up to version 15.
    fn table() -> TestLog {
        let log = TestLog::plain(json!({"delta.enableExpiredLogCleanup": "false"}));
        for version in [6, 12] {
            log.commit_until(version);
            log.maintain();
        }
        log.commit_until(15);
        log
    }

    fn checkpoint(version: u64) -> String {
        format!("_delta_log/{version:020}.checkpoint.parquet")
    }

    #[test]
    fn a_table_whose_own_path_has_a_percent_sign_is_refused_and_not_called_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let url = url::Url::from_directory_path(folder.path().join("100%")).unwrap();
        let store =
            crate::storage::Store::open(&url, &Default::default(), crate::storage::test_runtime()).unwrap();
        let refused = TableReader::open(&store).err().unwrap();
        assert_eq!(refused.kind(), Kind::Config, "{refused}");
        assert!(refused.to_string().contains("100%25/ has a %"), "{refused}");
    }

    #[test]
    fn a_log_is_read_and_written_whatever_last_checkpoint_names() {
        for (gone, hint) in [
            (vec![], json!({"version": 999_999_999_999_u64, "size": 1})),
            (vec![], json!({"version": 14, "size": 1})),
            (vec![], json!({"version": 12, "size": 1, "parts": 1_000_000_000})),
            (vec![], json!({"version": 14, "size": 1, "parts": 1_000_000_000})),
            (vec![], json!({"version": -1, "size": 1})),
            (vec![], json!("nothing")),
            (vec![12], json!({"version": 12, "size": 1})),
            (vec![6, 12], json!({"version": 12, "size": 1})),
        ] {
            let log = table();
            let store = log.store();
            gone.iter().for_each(|version| store.delete(&checkpoint(*version)).unwrap());
            store.put(HINT, hint.to_string().into()).unwrap();

            let mut reader = TableReader::open(&store).unwrap().unwrap();
            assert_eq!(reader.newest_version().unwrap(), "15@an-id", "{hint}");
            let columns = reader.schema().unwrap();
            // No file of the table is there, but the log of the version is read.
            let unread = reader.read("14@an-id", &columns, &mut |_| Ok(())).unwrap_err();
            assert!(!unread.to_string().contains("version 14"), "{hint}: {unread}");

            let mut table = log.open().unwrap();
            assert_eq!(table.version(), 15, "{hint}");
            assert!(table.append(&empty_batch(1)).is_ok());
            table.refresh().unwrap();
            assert_eq!(table.version(), 16, "{hint}");
        }
    }

    #[test]
    fn a_log_without_its_beginning_is_refused_and_both_of_its_damages_are_named() {
        let log = table();
        let store = log.store();
        [6, 12].iter().for_each(|version| store.delete(&checkpoint(*version)).unwrap());
        (0..6).for_each(|version| store.delete(&format!("_delta_log/{version:020}.json")).unwrap());
        let error = log.open().err().unwrap();
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
        let text = error.to_string();
        assert!(text.contains("00000000000000000000.json is missing"), "{text}");
        assert!(text.contains("_last_checkpoint names a checkpoint that is not there"), "{text}");
    }
}
