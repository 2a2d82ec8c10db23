//! A merge that changes rows (`whenMatched: update`): from the batch's rows to the commit.
//!
//! ```text
//! newest of each key ─► files that hold its key (index) ─► rows that are replaced ─► copies, vectors, new rows ─► commit
//!                         ▲                                                                                        │
//!                         └─────────────────────────── the table has moved on ─────────────────────────────────────┘
//! ```
//!
//! Spark's `MERGE … WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *` on a batch that was brought to one row
//! for each key; the index takes the place of the join. One commit has the files that come and go and the batch's
//! transaction, and holds only at the version after the one that the index was asked for.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::super::not_prepared;
use super::choose::RowPerKey;
use super::matched::{Matcher, NotMatched};
use super::rewrite::{Rewriter, Rewritten, UpdateCounts};
use super::waiting::WaitingBatch;
use super::{DeltaMerge, ROUNDS_MAX, follow_own, moved_on, sizes_of};
use crate::config::{MergeConfig, UpdateConfig, WhenMatched};
use crate::failpoint;
use crate::model::{Error, Result};
use crate::sink::{BatchCommit, CommitOutcome};
use crate::table::key_index::{FileId, FoundKeys};
use crate::table::{ChangedBy, DeltaTable, ReadFailure, RowChanges};

/// How long the steps of a merge took, in ms.
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    scan_ms: u64,
    rewrite_ms: u64,
}

/// The files of a batch, written and not yet committed.
struct Written {
    /// The keys of the batch that the table held, and the files that held them: what the files follow from.
    matches: Vec<(usize, FileId)>,
    files: Rewritten,
    times: Times,
}

impl DeltaMerge {
    /// Writes and commits a batch until it holds.
    pub(super) fn try_update(
        &mut self,
        batch: &BatchCommit,
        waiting: &mut WaitingBatch,
    ) -> Result<CommitOutcome> {
        let newest = waiting.newest_rows();
        let started = Instant::now();
        let mut before: Option<Written> = None;
        for round in 0..ROUNDS_MAX {
            let table = self.target.table_mut()?;
            table.check_rows_can_change(ChangedBy::Merge)?;
            let keys = self.keys.as_mut().ok_or_else(not_prepared)?;
            let mut found = keys.find_files(table, newest.keys())?;
            found.matches.sort_unstable();
            let read_version = table.version();
            let same = before.take().filter(|before| before.matches == found.matches);
            let Some(written) =
                same.map_or_else(|| self.write(waiting, &newest, found, round), |w| Ok(Some(w)))?
            else {
                continue;
            };
            failpoint!("merge.files");
            let mut counts = written.files.counts;
            counts.duplicates_in_batch = newest.duplicates();
            let source_rows = newest.rows().len() as u64;
            let changes = RowChanges {
                removed: written.files.removed.clone(),
                deleted: written.files.vectors.iter().map(|(vector, _)| vector.clone()).collect(),
                parameters: parameters(&self.merge),
                metrics: metrics(&written.files, &counts, source_rows, written.times, started),
            };
            let added: Vec<_> = written.files.files().cloned().collect();
            let sizes = sizes_of(&added);
            let Some(outcome) = self.target.commit_as_read(batch, added, Some(changes), read_version)? else {
                before = Some(written);
                continue;
            };
            if let CommitOutcome::Committed { .. } = outcome {
                (self.updates, self.added) = (counts, sizes);
                failpoint!("merge.committed");
                let keys = self.keys.as_mut().ok_or_else(not_prepared)?;
                follow_own(keys, self.target.table_mut()?, read_version, written.files.into_changes());
            }
            return Ok(outcome);
        }
        Err(moved_on(&self.target, batch))
    }

    /// Compares a batch with the files that were found, and writes what follows; `None` if the table or the index has to be
    /// asked again.
    fn write(
        &mut self,
        waiting: &mut WaitingBatch,
        newest: &RowPerKey,
        found: FoundKeys,
        round: u32,
    ) -> Result<Option<Written>> {
        let matches = found.matches.clone();
        let Some(attempt) = waiting.lanes.first().map(|lane| Arc::clone(&lane.attempt)) else {
            return Ok(Some(Written { matches, files: Rewritten::default(), times: Times::default() }));
        };
        let table = self.target.table_mut()?;
        let keys = self.keys.as_mut().ok_or_else(not_prepared)?;
        let started = Instant::now();
        let rules_of = waiting.rules_of(newest.rows());
        let matcher = Matcher {
            rows: newest,
            rules_of: &rules_of,
            hasher: &attempt.hasher,
            rules: &self.rules,
            lanes: self.lanes,
        };
        let matched = match matcher.compare(table, found) {
            Ok(matched) => matched,
            Err(NotMatched::WrongIndex(reason)) => return keys.distrust(table, &reason).map(|()| None),
            Err(NotMatched::Read(failure)) => return read_again(table, failure).map(|()| None),
        };
        failpoint!("merge.matched");
        let deletes: Vec<bool> = rules_of.iter().map(|(_, deletes)| *deletes).collect();
        let scan_ms = started.elapsed().as_millis() as u64;
        let rewriter = Rewriter { table, attempt: &attempt, round, lanes: self.lanes };
        match rewriter.write(waiting, newest.rows(), |row| deletes[row], matched) {
            Err(failure) => read_again(table, failure).map(|()| None),
            Ok(files) => {
                let rewrite_ms = started.elapsed().as_millis() as u64 - scan_ms;
                Ok(Some(Written { matches, files, times: Times { scan_ms, rewrite_ms } }))
            }
        }
    }
}

/// Reads the log again because a file could not be read: if it has left the table, the batch is compared again.
fn read_again(table: &mut DeltaTable, failure: ReadFailure) -> Result<()> {
    let error = match failure {
        ReadFailure::Failed(error) => return Err(error),
        ReadFailure::Gone(error) => error,
    };
    let before = table.version();
    table.refresh_unchanged()?;
    if table.version() == before { Err(error) } else { Ok(()) }
}

/// `operationParameters` as Delta's MERGE has them: JSON in texts. `t` is the table, `s` the batch.
fn parameters(merge: &MergeConfig) -> Value {
    let on: Vec<String> = merge.keys.iter().map(|key| format!("(t.{key} = s.{key})")).collect();
    let WhenMatched::Update(update) = &merge.when_matched else { return json!({}) };
    let UpdateConfig { order_by, delete_when } = update.as_ref();
    let newer = order_by.as_ref().map(|column| format!("(t.{column} IS NULL OR s.{column} >= t.{column})"));
    let deletes = delete_when.as_ref().map(|when| {
        let values: Vec<String> =
            when.values.iter().map(|value| format!("'{}'", value.replace('\'', "''"))).collect();
        format!("(s.{} IN ({}))", when.column, values.join(", "))
    });
    let clause = |action: &str, predicates: &[Option<&String>]| {
        let predicates: Vec<&str> = predicates.iter().flatten().map(|text| text.as_str()).collect();
        let mut clause = Map::new();
        if !predicates.is_empty() {
            clause.insert(
                "predicate".into(),
                format!("[\"{}\"]", predicates.join(" AND ").replace('"', "\\\"")).into(),
            );
        }
        clause.insert("actionType".into(), action.into());
        Value::Object(clause)
    };
    let mut matched = Vec::new();
    if deletes.is_some() {
        matched.push(clause("delete", &[newer.as_ref(), deletes.as_ref()]));
    }
    matched.push(clause("update", &[newer.as_ref()]));
    let keeps = deletes.as_ref().map(|deletes| format!("(NOT {deletes})"));
    json!({
        "predicate": json!([on.join(" AND ")]).to_string(),
        "matchedPredicates": Value::Array(matched).to_string(),
        "notMatchedPredicates": Value::Array(vec![clause("insert", &[keeps.as_ref()])]).to_string(),
        "notMatchedBySourcePredicates": "[]",
    })
}

/// `operationMetrics` as Delta's MERGE has them; all values are texts.
fn metrics(
    rewritten: &Rewritten,
    counts: &UpdateCounts,
    source_rows: u64,
    times: Times,
    started: Instant,
) -> Map<String, Value> {
    let added = rewritten.files().count() as u64;
    let bytes: u64 = rewritten.files().map(|file| file.size_bytes).sum();
    let removed_bytes: u64 = rewritten.removed.iter().map(|file| file.size_bytes()).sum();
    let had =
        rewritten.vectors.iter().filter(|(vector, _)| vector.before.has_deletion_vector()).count() as u64;
    let removed_vectors = rewritten.removed.iter().filter(|file| file.has_deletion_vector()).count() as u64;
    let new_rows = counts.inserted + counts.updated;
    let metrics = [
        ("numSourceRows", source_rows),
        ("numTargetRowsInserted", counts.inserted),
        ("numTargetRowsUpdated", counts.updated),
        ("numTargetRowsMatchedUpdated", counts.updated),
        ("numTargetRowsNotMatchedBySourceUpdated", 0),
        ("numTargetRowsDeleted", counts.deleted),
        ("numTargetRowsMatchedDeleted", counts.deleted),
        ("numTargetRowsNotMatchedBySourceDeleted", 0),
        ("numTargetRowsCopied", counts.copied),
        ("numOutputRows", new_rows + counts.copied),
        ("numTargetFilesAdded", added),
        ("numTargetFilesRemoved", rewritten.removed.len() as u64),
        ("numTargetBytesAdded", bytes),
        ("numTargetBytesRemoved", removed_bytes),
        ("numTargetChangeFilesAdded", 0),
        ("numTargetDeletionVectorsAdded", rewritten.vectors.len() as u64),
        ("numTargetDeletionVectorsUpdated", had),
        ("numTargetDeletionVectorsRemoved", removed_vectors + had),
        ("executionTimeMs", started.elapsed().as_millis() as u64),
        ("scanTimeMs", times.scan_ms),
        ("rewriteTimeMs", times.rewrite_ms),
        ("materializeSourceTimeMs", 0),
    ];
    metrics.into_iter().map(|(name, value)| (name.to_owned(), value.to_string().into())).collect()
}

/// Refuses a stream that lacks a column of the table: `UPDATE SET *` would have no value for it.
///
/// # Errors
/// `Config`, naming the columns.
pub(super) fn check_has_all(columns: &arrow::datatypes::Schema, table: &DeltaTable) -> Result<()> {
    let there = table.arrow_schema()?;
    let url = table.store().url().as_str();
    let missing = crate::decode::admission::missing(&there, columns, url)?;
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = missing.iter().map(crate::model::MissingField::full_name).collect();
    Err(Error::config(format!(
        "sink.merge.whenMatched: update replaces whole rows of table {url}, and the stream has no column {}",
        names.join(", ")
    ))
    .hint("add the columns to source.value.schema or to sql, as Spark's UPDATE SET * demands; NULL is a value, too"))
}
