//! Reading commits back: a stream's own newest commit and what it says for the checkpoint.
//!
//! Commits are parsed leniently, as the protocol demands: unknown actions and fields are ignored.

use std::collections::BTreeMap;
use std::iter;

use futures::{StreamExt, stream};
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::DeltaTable;
use crate::model::{Error, Result};
use crate::storage::Store;

/// How many commits are asked for at a time where a whole log is read.
const AT_A_TIME: usize = 16;

/// A commit of this stream, read back from the log.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnCommit {
    /// The table's version.
    pub version: u64,
    /// The micro-batch it holds.
    pub batch_id: i64,
    /// When it was made, in ms since the Unix epoch; 0 if it does not say.
    pub timestamp_ms: i64,
    /// How many files it added.
    pub files: usize,
    /// The `alluvia` object of its commitInfo; absent from commits of Spark.
    pub checkpoint: Option<Map<String, Value>>,
}

impl OwnCommit {
    /// The run of the batch that made the commit.
    pub fn attempt(&self) -> Option<&str> {
        self.checkpoint.as_ref()?.get("attempt")?.as_str()
    }
}

/// The newest commit whose `txn` is that of `query_id`, read from the current version backwards; `None`
/// if the log no longer holds it.
///
/// No batch that is committed at the first try asks for it: only one that is in the table already or takes the place of
/// another run's, and a table that forgets transactions, once.
///
/// # Errors
/// `Unavailable` if storage does not answer, `Corrupt` if a commit is not JSON.
pub fn newest_commit_of(table: &DeltaTable, query_id: &str) -> Result<Option<OwnCommit>> {
    newest_commit_since(table, query_id, None)
}

/// The same, of which it is known that it is not older than version `since`: older commits are not read.
///
/// # Errors
/// As for [`newest_commit_of`].
pub fn newest_commit_since(
    table: &DeltaTable,
    query_id: &str,
    since: Option<u64>,
) -> Result<Option<OwnCommit>> {
    let since = since.unwrap_or_default();
    newest_commit_in(&table.store, table.version(), since, query_id)
}

/// The same for the table in `store`, from version `from` backwards to `since`.
///
/// # Errors
/// As for [`newest_commit_of`].
fn newest_commit_in(store: &Store, from: u64, since: u64, query_id: &str) -> Result<Option<OwnCommit>> {
    // Where Alluvia is the only writer the newest commit is the stream's, and nothing is listed.
    if let Some(newest) = read_commit(store, from)?
        && let Some(own) = own_commit(from, &newest, query_id)
    {
        return Ok(Some(own));
    }
    for commit in commits_between(store, since, from)? {
        let (version, commit) = commit?;
        if let Some(own) = own_commit(version, &commit, query_id) {
            return Ok(Some(own));
        }
    }
    Ok(None)
}

/// The newest commit of every query that Alluvia has run on the table and that the log still holds, by
/// query id. Reads the whole log.
///
/// # Errors
/// As for [`newest_commit_of`].
pub fn newest_commits(table: &DeltaTable) -> Result<BTreeMap<String, OwnCommit>> {
    let mut newest = BTreeMap::new();
    for commit in commits_between(&table.store, 0, table.version() + 1)? {
        let (version, commit) = commit?;
        let info = commit.actions.iter().find_map(|action| action["commitInfo"].get("alluvia"));
        let Some(query_id) = info.and_then(|info| info["queryId"].as_str()) else { continue };
        if let Some(own) = own_commit(version, &commit, query_id) {
            newest.entry(query_id.to_owned()).or_insert(own);
        }
    }
    Ok(newest)
}

/// One commit of a table, as `DESCRIBE HISTORY` of Delta has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CommitSummary {
    /// The table's version that it made.
    pub version: u64,
    /// When it was made, in ms since the Unix epoch; 0 if it does not say.
    pub timestamp_ms: i64,
    /// `STREAMING UPDATE`, `MERGE`, `OPTIMIZE`, …; empty if it does not say.
    pub operation: String,
    /// What the operation was given, names and texts.
    pub operation_parameters: Value,
    /// What the operation did, names and numbers as texts.
    pub operation_metrics: Value,
    /// Who made it.
    pub engine_info: Option<String>,
    /// How many files it added.
    pub files_added: usize,
    /// How many files it removed: those that a merge rewrote or a compaction joined.
    pub files_removed: usize,
    /// The application transactions that came with it: query or application id, and version (of a stream its micro-batch).
    pub transactions: BTreeMap<String, i64>,
    /// The stream of Alluvia that made it.
    pub stream: Option<String>,
}

/// The newest commits of the table in `store` that its log still holds, the newest first.
///
/// # Errors
/// `Config` if there is no table; as for [`newest_commit_of`].
pub fn newest(store: &Store, limit: usize) -> Result<Vec<CommitSummary>> {
    let commits = commits_between(store, 0, u64::MAX)?.take(limit.max(1));
    let newest = commits.map(|commit| commit.map(|(version, commit)| summary(version, &commit)));
    let newest: Vec<CommitSummary> = newest.collect::<Result<_>>()?;
    if newest.is_empty() { Err(super::no_table(store)) } else { Ok(newest) }
}

fn summary(version: u64, commit: &Commit) -> CommitSummary {
    let info = commit.actions.iter().find_map(|action| action.get("commitInfo")).unwrap_or(&Value::Null);
    let transactions = commit.actions.iter().map(|action| &action["txn"]);
    let transaction = |txn: &Value| Some((txn["appId"].as_str()?.to_owned(), txn["version"].as_i64()?));
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let timestamp = info["inCommitTimestamp"].as_i64().or_else(|| info["timestamp"].as_i64());
    CommitSummary {
        version,
        timestamp_ms: timestamp.unwrap_or_default(),
        operation: text(&info["operation"]).unwrap_or_default(),
        operation_parameters: info["operationParameters"].clone(),
        operation_metrics: info["operationMetrics"].clone(),
        engine_info: text(&info["engineInfo"]),
        files_added: commit.added,
        files_removed: commit.removed,
        transactions: transactions.filter_map(transaction).collect(),
        stream: text(&info["alluvia"]["stream"]),
    }
}

/// The commits from version `since` on before `end` that the log still holds, the newest first. Their names decide, not
/// their numbers: cleanup leaves gaps. Several are asked for at a time.
fn commits_between(
    store: &Store,
    since: u64,
    end: u64,
) -> Result<impl Iterator<Item = Result<(u64, Commit)>>> {
    let names = store.names("_delta_log")?;
    let mut versions: Vec<u64> = names
        .iter()
        .filter_map(|name| name.strip_suffix(".json")?.parse().ok())
        .filter(|version| (since..end).contains(version))
        .collect();
    versions.sort_unstable();
    let read = move |version| async move {
        let Some(bytes) = store.get_async(&commit_name(version)).await? else { return Ok(None) };
        Commit::parse(store, version, &bytes).map(|commit| Some((version, commit)))
    };
    let mut commits = stream::iter(versions.into_iter().rev()).map(read).buffered(AT_A_TIME);
    let commits = iter::from_fn(move || store.block_on(commits.next()));
    Ok(commits.filter_map(Result::transpose))
}

/// The transactions, by application id, of the commit at `version` if Alluvia made it; none if its file is gone.
///
/// # Errors
/// As for [`newest_commit_of`].
pub(super) fn own_transactions(store: &Store, version: u64) -> Result<Vec<(String, i64)>> {
    let actions = read_commit(store, version)?.map(|commit| commit.actions).unwrap_or_default();
    if !actions.iter().any(|action| action["commitInfo"].get("alluvia").is_some()) {
        return Ok(Vec::new());
    }
    let transaction = |action: &Value| {
        Some((action["txn"]["appId"].as_str()?.to_owned(), action["txn"]["version"].as_i64()?))
    };
    Ok(actions.iter().filter_map(transaction).collect())
}

/// The paths of the files that batch `batch_id` of `query_id` added, as the log names them.
///
/// # Errors
/// `Corrupt` if the batch's commit is no longer in the log, or as for [`newest_commit_of`].
pub fn files_of_batch(table: &DeltaTable, query_id: &str, batch_id: i64) -> Result<Vec<String>> {
    let own = newest_commit_of(table, query_id)?.filter(|own| own.batch_id == batch_id);
    let lines = match own {
        Some(own) => read_actions(&table.store, own.version)?,
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
pub(super) fn read_actions(store: &Store, version: u64) -> Result<Option<Vec<Value>>> {
    let Some(bytes) = store.get(&commit_name(version))? else { return Ok(None) };
    parsed(store, version, &bytes, |_| true).map(Some)
}

/// One commit; `None` if its file is gone.
fn read_commit(store: &Store, version: u64) -> Result<Option<Commit>> {
    let Some(bytes) = store.get(&commit_name(version))? else { return Ok(None) };
    Commit::parse(store, version, &bytes).map(Some)
}

/// What a commit says beside its files, and how many files it added and removed. It may name thousands of them, of which nothing is
/// kept for this.
struct Commit {
    actions: Vec<Value>,
    added: usize,
    removed: usize,
}

impl Commit {
    fn parse(store: &Store, version: u64, bytes: &[u8]) -> Result<Commit> {
        let (mut added, mut removed) = (0, 0);
        let actions = parsed(store, version, bytes, |line| {
            added += usize::from(line.starts_with(ADD));
            removed += usize::from(line.starts_with(REMOVE));
            !FILES.iter().any(|of| line.starts_with(of))
        })?;
        Ok(Commit { actions, added, removed })
    }
}

/// How the lines of files begin, as every writer puts them.
const FILES: [&[u8]; 3] = [ADD, REMOVE, br#"{"cdc":"#];
pub(super) const ADD: &[u8] = br#"{"add":"#;
const REMOVE: &[u8] = br#"{"remove":"#;

/// The actions of a commit that are `wanted` by their line; it is asked of each line once.
fn parsed(
    store: &Store,
    version: u64,
    bytes: &[u8],
    mut wanted: impl FnMut(&[u8]) -> bool,
) -> Result<Vec<Value>> {
    let damaged = |e: serde_json::Error| {
        let name = commit_name(version);
        Error::corrupt(format!("{}{name} is cut off or damaged: it is not a Delta commit", store.url()))
            .source(e)
            .hint(super::error::RESTORE)
    };
    let mut actions = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        if wanted(line) {
            actions.push(serde_json::from_slice(line).map_err(damaged)?);
        } else {
            // Whole, or the commit was cut off.
            serde_json::from_slice::<IgnoredAny>(line).map_err(damaged)?;
        }
    }
    Ok(actions)
}

/// The path of a commit from the table's folder.
pub fn commit_name(version: u64) -> String {
    format!("_delta_log/{}", commit_file(version))
}

/// The name of a commit in the log's folder.
pub(super) fn commit_file(version: u64) -> String {
    format!("{version:020}.json")
}

fn own_commit(version: u64, commit: &Commit, query_id: &str) -> Option<OwnCommit> {
    let Commit { actions, added, .. } = commit;
    let transactions = actions.iter().filter_map(|action| action.get("txn"));
    let batch_id = transactions
        .filter(|txn| txn["appId"].as_str() == Some(query_id))
        .find_map(|txn| txn["version"].as_i64())?;
    let info = actions.iter().find_map(|action| action.get("commitInfo"));
    let checkpoint = info.and_then(|info| info.get("alluvia")).and_then(Value::as_object).cloned();
    let timestamp_ms = info.and_then(|info| info["timestamp"].as_i64()).unwrap_or_default();
    Some(OwnCommit { version, batch_id, timestamp_ms, files: *added, checkpoint })
}
