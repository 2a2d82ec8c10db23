//! A table's log, read from storage without a snapshot to begin with.
//!
//! `_last_checkpoint` only says where a listing may begin. The kernel refuses a log in which the checkpoint that the file names
//! is gone, and so is every newer one: it would take what is left of a log for a whole one. Delta-Spark lists all of such a
//! log and reads it, and so does this, because a log without its beginning is refused here ([`read_snapshot`]).

use std::sync::Arc;

use delta_kernel::{DeltaResult, Engine, Snapshot, SnapshotRef};
use serde_json::Value;

use super::damage::{self, log_error};
use super::storage_handler::{LAST_CHECKPOINT, StoreHandler};
use super::table_engine::TableEngine;
use crate::model::{Error, Result};
use crate::storage::Store;

/// What a log is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    Reading,
    /// To write to the table, to join its files or to delete some.
    Writing,
}

/// The newest snapshot of the table in `store`, as its log has it; `None` if there is no log.
///
/// # Errors
/// As for [`read_snapshot`].
pub(super) fn read_log(store: &Store, engine: &Arc<dyn Engine>, purpose: For) -> Result<Option<SnapshotRef>> {
    let names = store.names("_delta_log")?;
    if !names.iter().any(|name| is_log_file(name)) {
        return Ok(None);
    }
    read_snapshot(store, engine, purpose).map(Some)
}

/// The newest snapshot of the table in `store`, as its log has it, which is there.
///
/// # Errors
/// `Corrupt`, naming the file, if the log can't be read or lacks its beginning, and to a writer if it lacks its end, too;
/// `Unavailable` if storage does not answer.
pub(super) fn read_snapshot(store: &Store, engine: &Arc<dyn Engine>, purpose: For) -> Result<SnapshotRef> {
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
    if is_hint_wrong && purpose == For::Writing {
        refuse_cut_log(store, snapshot.version())?;
    }
    Ok(snapshot)
}

/// Refuses a log that ends before the checkpoint that `_last_checkpoint` names: its end may be lost, and files that it named
/// would be taken for unneeded ones.
fn refuse_cut_log(store: &Store, newest: u64) -> Result<()> {
    let hint = store.get(&format!("_delta_log/{LAST_CHECKPOINT}"))?.unwrap_or_default();
    let named = serde_json::from_slice(&hint).ok().and_then(|hint: Value| hint["version"].as_u64());
    match named {
        Some(named) if named > newest => Err(Error::corrupt(format!(
            "the log of table {} ends at version {newest}, but its _delta_log/{LAST_CHECKPOINT} names a checkpoint of version {named}",
            store.url()
        ))
        .hint(format!(
            "restore the lost end of the log from a backup; if nothing is lost, delete _delta_log/{LAST_CHECKPOINT}"
        ))),
        _ => Ok(()),
    }
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
            let storage = StoreHandler {
                inner: engine.storage_handler(),
                store: store.clone(),
                hides_last_checkpoint: true,
            };
            let (engine, parquet) = (Arc::clone(engine), engine.parquet_handler());
            let snapshot = build(&TableEngine { engine, storage: Arc::new(storage), parquet });
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
    fn a_log_is_read_and_written_whatever_last_checkpoint_names() {
        for (gone, hint) in [
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
    fn a_log_that_ends_before_its_last_checkpoint_is_read_and_not_written() {
        let log = table();
        log.store().put(HINT, json!({"version": 999, "size": 1}).to_string().into()).unwrap();
        let mut reader = TableReader::open(&log.store()).unwrap().unwrap();
        assert_eq!(reader.newest_version().unwrap(), "15@an-id");
        let refused = log.open().err().unwrap();
        assert_eq!(refused.kind(), Kind::Corrupt, "{refused}");
        let text = refused.to_string();
        assert!(
            text.contains("ends at version 15") && text.contains("a checkpoint of version 999"),
            "{text}"
        );
        log.store().delete(HINT).unwrap();
        assert_eq!(log.open().unwrap().version(), 15);
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
