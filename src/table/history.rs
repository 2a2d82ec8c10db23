//! Reading commits back: a stream's own newest commit and what it says for the checkpoint.
//!
//! Commits are parsed leniently, as the protocol demands: unknown actions and fields are ignored.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use tokio::runtime::Handle;

use super::{DeltaTable, OwnCommit};
use crate::model::{Error, Result};
use crate::storage::Store;

/// How many commits are asked for at a time where a whole log is read.
const AT_A_TIME: usize = 32;

/// The newest commit whose `txn` is that of `query_id`, read from the current version backwards; `None`
/// if the log no longer holds it.
///
/// # Errors
/// `Unavailable` if storage does not answer, `Corrupt` if a commit is not JSON.
pub fn newest_commit_of(table: &DeltaTable, query_id: &str) -> Result<Option<OwnCommit>> {
    newest_commit_in(&table.store, &table.handle, table.version(), query_id)
}

/// The same for the table in `store`, from version `from` backwards.
///
/// # Errors
/// As for [`newest_commit_of`].
pub fn newest_commit_in(
    store: &Store,
    handle: &Handle,
    from: u64,
    query_id: &str,
) -> Result<Option<OwnCommit>> {
    let mut version = from;
    loop {
        let Some(lines) = commit_lines(store, handle, version)? else { return Ok(None) };
        if let Some(own) = own_commit(version, &lines, query_id) {
            return Ok(Some(own));
        }
        let Some(earlier) = version.checked_sub(1) else { return Ok(None) };
        version = earlier;
    }
}

/// The newest commit of every query that Alluvia has run on the table and that the log still holds, by
/// query id. Reads the whole log.
///
/// # Errors
/// As for [`newest_commit_of`].
pub fn newest_commits(table: &DeltaTable) -> Result<BTreeMap<String, OwnCommit>> {
    table.handle.block_on(async {
        let names = table.store.names("_delta_log").await?;
        // Cleanup leaves gaps, so the names decide, not the numbers.
        let mut versions: Vec<u64> =
            names.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect();
        versions.sort_unstable();
        let mut newest = BTreeMap::new();
        let mut commits = stream::iter(versions.into_iter().rev())
            .map(|version| async move { Ok((version, read_commit(&table.store, version).await?)) })
            .buffered(AT_A_TIME);
        while let Some((version, lines)) = commits.try_next().await? {
            let lines = lines.unwrap_or_default();
            let info = lines.iter().find_map(|action| action["commitInfo"].get("alluvia"));
            let Some(query_id) = info.and_then(|info| info["queryId"].as_str()) else { continue };
            if let Some(own) = own_commit(version, &lines, query_id) {
                newest.entry(query_id.to_owned()).or_insert(own);
            }
        }
        Ok(newest)
    })
}

/// The paths of the files that batch `batch_id` of `query_id` added, as the log names them.
///
/// # Errors
/// `Corrupt` if the batch's commit is no longer in the log, or as for [`newest_commit_of`].
pub fn files_of_batch(table: &DeltaTable, query_id: &str, batch_id: i64) -> Result<Vec<String>> {
    let own = newest_commit_of(table, query_id)?.filter(|own| own.batch_id == batch_id);
    let lines = match own {
        Some(own) => commit_lines(&table.store, &table.handle, own.version)?,
        None => None,
    };
    let lines = lines.ok_or_else(|| {
        Error::corrupt(format!(
            "table {} no longer says which files are of micro-batch {batch_id}",
            table.store.url()
        ))
    })?;
    Ok(lines.iter().filter_map(|action| action["add"]["path"].as_str().map(str::to_owned)).collect())
}

/// The actions of one commit, a JSON value each; `None` if its file is gone.
fn commit_lines(store: &Store, handle: &Handle, version: u64) -> Result<Option<Vec<Value>>> {
    handle.block_on(read_commit(store, version))
}

async fn read_commit(store: &Store, version: u64) -> Result<Option<Vec<Value>>> {
    let name = commit_name(version);
    let Some(bytes) = store.get(&name).await? else { return Ok(None) };
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let parsed: Result<Vec<Value>, _> = lines.map(serde_json::from_slice).collect();
    parsed
        .map(Some)
        .map_err(|e| Error::corrupt(format!("{}{name} is not a Delta commit", store.url())).source(e))
}

/// The path of a commit from the table's folder.
pub fn commit_name(version: u64) -> String {
    format!("_delta_log/{version:020}.json")
}

fn own_commit(version: u64, lines: &[Value], query_id: &str) -> Option<OwnCommit> {
    let transactions = lines.iter().filter_map(|action| action.get("txn"));
    let batch_id = transactions
        .filter(|txn| txn["appId"].as_str() == Some(query_id))
        .find_map(|txn| txn["version"].as_i64())?;
    let info = lines.iter().find_map(|action| action.get("commitInfo"));
    let checkpoint = info.and_then(|info| info.get("alluvia")).and_then(Value::as_object).cloned();
    let timestamp_ms = info.and_then(|info| info["timestamp"].as_i64()).unwrap_or_default();
    let files = lines.iter().filter(|action| action.get("add").is_some()).count();
    Some(OwnCommit { version, batch_id, timestamp_ms, files, checkpoint })
}
