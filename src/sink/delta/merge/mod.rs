//! Merging into a Delta table (`sink.merge`, `whenMatched: ignore`): a row is inserted if the table lacks its key.
//!
//! ```text
//! lane 1 ─► keys ─► rows wait ─┐                     ┌─────────── the table has moved on ──────────┐
//! lane k ─► keys ─► rows wait ─┴─► first of each key ┴► keys that the table lacks ► files ► commit ┴► the index follows
//! ```
//!
//! Spark's `dropDuplicates` in the batch and `MERGE … WHEN NOT MATCHED THEN INSERT *`, exactly once, at a cost that follows
//! the batch: which keys the table holds is asked of an index ([`crate::table::key_index`]) that follows the table's log.
//! The commit adds files only, and holds only at the version after the one that the index was asked for. If another
//! writer was faster, the index follows and the batch is asked again; files are written again only if a row has
//! become superfluous.

mod choose;
mod spool;
mod waiting;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use choose::{Chosen, MergeCounts};
use waiting::WaitingBatch;
use writer::{MergeAttempt, MergeLanes};

use super::DeltaAppend;
use crate::config::MergeConfig;
use crate::decode::admission::Admission;
use crate::failpoint;
use crate::model::{Error, MemoryAccount, Result};
use crate::sink::{
    AttemptWriter, BatchCommit, CommitOutcome, Description, Part, Sink, SinkCommit, SinkMetrics, SinkState,
    Target,
};
use crate::table::DeltaTable;
use crate::table::key_index::{KeyColumns, OwnFiles, TableKeys};

pub use waiting::WaitingRows;

/// How often a batch is asked again because the table has moved on before it fails.
const ROUNDS_MAX: u32 = 100;

/// A Delta table that rows are merged into.
pub struct DeltaMerge {
    target: DeltaAppend,
    merge: MergeConfig,
    /// Threads that may read files for the index.
    lanes: usize,
    /// The keys of the table; `None` until the sink is prepared.
    keys: Option<TableKeys>,
    counts: MergeCounts,
}

impl DeltaMerge {
    /// A merge into the table of `target`; `lanes` threads may read files for the index.
    pub fn of(target: DeltaAppend, merge: &MergeConfig, lanes: usize) -> DeltaMerge {
        DeltaMerge { target, merge: merge.clone(), lanes, keys: None, counts: MergeCounts::default() }
    }

    /// Writes and commits a batch until it holds.
    fn try_commit(&mut self, batch: &BatchCommit, waiting: &mut WaitingBatch) -> Result<CommitOutcome> {
        let keys = self.keys.as_mut().ok_or_else(super::not_prepared)?;
        let (first, piece_rows) = (waiting.first_rows(), waiting.piece_rows());
        let mut written: Option<(Chosen, Vec<OwnFiles>)> = None;
        for round in 0..ROUNDS_MAX {
            let table = self.target.table_mut()?;
            let find = |wanted: &[_]| {
                let found = keys.find(table, wanted)?;
                Ok(found.into_iter().map(|(position, _)| position).collect())
            };
            let chosen = first.absent_from(&piece_rows, find)?;
            let read_version = table.version();
            let files = match written.take() {
                Some((before, files)) if before == chosen => files,
                _ => writer::write(waiting, &chosen, round)?,
            };
            failpoint!("merge.files");
            let added = files.iter().flat_map(|own| own.files.iter().cloned()).collect();
            let Some(outcome) = self.target.commit_as_read(batch, added, read_version)? else {
                written = Some((chosen, files));
                continue;
            };
            if let CommitOutcome::Committed { .. } = outcome {
                self.counts = chosen.counts;
                failpoint!("merge.committed");
                follow_own(keys, self.target.table_mut()?, read_version, files);
            }
            return Ok(outcome);
        }
        Err(Error::conflict(format!(
            "table {} has moved on {ROUNDS_MAX} times while micro-batch {} was merged into it",
            self.target.store().url(),
            batch.batch_id
        )))
    }
}

/// The batch is committed: an index that can't take it in catches up before the next one, or says then why it can't.
fn follow_own(keys: &mut TableKeys, table: &mut DeltaTable, read_version: u64, files: Vec<OwnFiles>) {
    if let Err(error) = keys.committed(table, read_version, files) {
        tracing::warn!(%error, "the key index could not take in the micro-batch that was committed");
    }
}

impl Sink for DeltaMerge {
    fn describe(&self) -> Description {
        self.target.describe()
    }

    fn target(&self) -> Target {
        self.target.target()
    }

    fn check(&self, columns: &SchemaRef) -> Result<Option<Admission>> {
        let admission = self.target.check(columns)?;
        let url = self.target.store().url().as_str();
        // Keys are of columns that the stream writes: a column that only the table has would be NULL in every row.
        KeyColumns::resolve(columns, &self.merge.keys, url)?;
        if let Some(table) = self.target.table() {
            KeyColumns::resolve(table.arrow_schema()?.as_ref(), &self.merge.keys, url)?;
        }
        Ok(admission)
    }

    fn state(&mut self, query_id: &str, since: Option<u64>) -> Result<SinkState> {
        self.target.state(query_id, since)
    }

    fn newest_commits(&self) -> Result<BTreeMap<String, SinkCommit>> {
        self.target.newest_commits()
    }

    fn has_served(&mut self, stream: &str, checkpoint_location: &str) -> Result<bool> {
        self.target.has_served(stream, checkpoint_location)
    }

    fn take_conflicts(&mut self) -> u32 {
        self.target.take_conflicts()
    }

    fn warnings(&self) -> Vec<&'static str> {
        self.target.warnings()
    }

    fn probe(&self) -> Result<()> {
        self.target.probe()
    }

    fn prepare(&mut self, columns: &SchemaRef) -> Result<Option<Admission>> {
        let admission = self.target.prepare(columns)?;
        let table = self.target.table_mut()?;
        self.keys = Some(TableKeys::open(table, &self.merge.keys, &self.merge.index_folder, self.lanes)?);
        failpoint!("merge.indexed");
        Ok(admission)
    }

    fn begin(&self, attempt: &str, account: &Arc<MemoryAccount>) -> Result<Arc<dyn AttemptWriter>> {
        let keys = self.keys.as_ref().ok_or_else(super::not_prepared)?;
        let attempt = MergeAttempt {
            files: self.target.begin_files(attempt, account)?,
            hasher: keys.row_hasher(),
            folder: self.merge.index_folder.clone(),
            lane_bytes: account.limit_bytes() / self.lanes.max(1),
        };
        Ok(Arc::new(MergeLanes(Arc::new(attempt))))
    }

    fn commit(&mut self, batch: &BatchCommit, parts: Vec<Part>) -> Result<CommitOutcome> {
        self.counts = MergeCounts::default();
        self.try_commit(batch, &mut WaitingBatch::of(parts)?)
    }

    fn metrics(&self) -> SinkMetrics {
        SinkMetrics {
            output_rows: Some(self.counts.inserted),
            counts: vec![
                ("numDuplicateRowsInBatch", self.counts.duplicates_in_batch),
                ("numDuplicateRowsInTable", self.counts.already_in_table),
            ],
        }
    }

    fn maintain(&mut self) {
        self.target.maintain();
    }
}
