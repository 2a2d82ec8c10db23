//! Merging into a Delta table (`sink.merge`): a row is inserted if the table lacks its key. If the table has it, the row is
//! left out (`whenMatched: ignore`, here), or takes the place of the table's ([`update`]).
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

mod attempt;
mod choose;
mod except;
mod matched;
mod order;
mod rewrite;
mod spool;
mod update;
mod waiting;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::datatypes::SchemaRef;

use attempt::MergeAttempt;
use choose::{Chosen, MergeCounts};
use except::ExceptedColumns;
use order::RowRules;
use rewrite::UpdateCounts;
use waiting::WaitingBatch;
use writer::MergeLanes;

use super::DeltaAppend;
use super::beside::Beside;
use crate::config::{MergeConfig, WhenMatched};
use crate::decode::admission::Admission;
use crate::failpoint;
use crate::model::{Error, MemoryAccount, Result};
use crate::sink::{
    AttemptWriter, BatchCommit, BatchRun, CommitOutcome, Description, FilesAdded, Part, Sink, SinkCommit,
    SinkMetrics, SinkState, Target,
};
use crate::storage::Store;
use crate::table::compact::Compacted;
use crate::table::key_index::{
    EventTimes, IndexedBy, KeyColumns, OwnChanges, OwnFiles, Snapshots, TableKeys,
};
use crate::table::vacuum::VacuumReport;
use crate::table::{AddedFile, ChangedBy, DeltaTable, check_new_table};

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
    /// Where snapshots of the index are kept, if they are.
    snapshots: Option<Snapshots>,
    /// The snapshot that is being uploaded, if one is.
    uploading: Option<Beside<()>>,
    /// How the stream's rows become the table's, with the excepted columns behind them; `None` until the sink is prepared.
    admission: Option<Admission>,
    /// What `merge` says of rows beside their keys; nothing until the sink is prepared.
    rules: RowRules,
    /// What the last batch did that left rows of the table as they were.
    counts: MergeCounts,
    /// What the last batch did that changed rows.
    updates: UpdateCounts,
    /// The files of the newest batch.
    added: FilesAdded,
}

impl DeltaMerge {
    /// A merge into the table of `target`; `lanes` threads may read files for the index, snapshots of which are kept in
    /// `snapshots`.
    pub fn of(
        target: DeltaAppend,
        merge: &MergeConfig,
        lanes: usize,
        snapshots: Option<Store>,
    ) -> DeltaMerge {
        let snapshots = snapshots.map(Snapshots::new);
        DeltaMerge {
            snapshots,
            uploading: None,
            target,
            merge: merge.clone(),
            lanes,
            keys: None,
            admission: None,
            rules: RowRules::default(),
            counts: MergeCounts::default(),
            updates: UpdateCounts::default(),
            added: FilesAdded::default(),
        }
    }

    /// Starts the upload of a snapshot of the index where one is due, one at a time and off the commit path.
    fn upload_snapshot(&mut self) {
        self.take_uploaded();
        if self.uploading.is_some() {
            return;
        }
        let Some(keys) = &mut self.keys else { return };
        match keys.snapshot() {
            Ok(None) => {}
            Ok(Some(snapshot)) => {
                let upload = move |_: &AtomicBool| snapshot.upload();
                self.uploading = Some(Beside::start(self.target.store.runtime(), upload));
            }
            Err(error) => warn_of_snapshot(&error),
        }
    }

    fn take_uploaded(&mut self) {
        if let Some(Err(error)) = Beside::take_ended(&mut self.uploading) {
            warn_of_snapshot(&error);
        }
    }

    /// Finds the columns of the stream that are not written.
    fn excepted(&self, columns: &SchemaRef) -> Result<ExceptedColumns> {
        ExceptedColumns::resolve(&self.merge, columns, &self.target)
    }

    /// Checks that the rows of the table, if it is there, can be changed by rows with these columns, of which `written` are
    /// written.
    fn check_update(&self, columns: &SchemaRef, written: &SchemaRef) -> Result<()> {
        if let WhenMatched::Ignore = self.merge.when_matched {
            return Ok(());
        }
        self.resolve_rules(columns, "the stream")?;
        match self.target.table() {
            None => {
                let url = self.target.store().url().as_str();
                check_new_table(&self.target.config.table_properties, url, ChangedBy::Merge)
            }
            Some(table) => {
                table.check_rows_can_change(ChangedBy::Merge)?;
                update::check_has_all(written, table)
            }
        }
    }

    /// Finds the columns that decide which row is the newer one and which rows delete.
    fn resolve_rules(&self, columns: &SchemaRef, owner: &str) -> Result<RowRules> {
        match &self.merge.when_matched {
            WhenMatched::Ignore => Ok(RowRules::default()),
            WhenMatched::Update(update) => RowRules::resolve(update, columns, owner),
        }
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
            let mut chosen = first.absent_from(&piece_rows, find)?;
            if let Some((_, covered_from)) = keys.window() {
                chosen.counts.not_within = waiting.rows_before(covered_from, &chosen.keep);
            }
            let read_version = table.version();
            let files = match written.take() {
                Some((before, files)) if before.keep == chosen.keep => files,
                _ => writer::write(waiting, &chosen, round)?,
            };
            failpoint!("merge.files");
            let added: Vec<_> = files.iter().flat_map(|own| own.files.iter().cloned()).collect();
            let sizes = sizes_of(&added);
            let Some(outcome) = self.target.commit_as_read(batch, added, None, read_version)? else {
                written = Some((chosen, files));
                continue;
            };
            if let CommitOutcome::Committed { .. } = outcome {
                (self.counts, self.added) = (chosen.counts, sizes);
                failpoint!("merge.committed");
                let own = OwnChanges { added: files, ..OwnChanges::default() };
                follow_own(keys, self.target.table_mut()?, read_version, own);
            }
            return Ok(outcome);
        }
        Err(moved_on(&self.target, batch))
    }
}

fn sizes_of(files: &[AddedFile]) -> FilesAdded {
    FilesAdded { count: files.len() as u64, bytes: files.iter().map(|file| file.size_bytes).sum() }
}

fn moved_on(target: &DeltaAppend, batch: &BatchCommit) -> Error {
    Error::conflict(format!(
        "table {} has moved on {ROUNDS_MAX} times while micro-batch {} was merged into it",
        target.store().url(),
        batch.batch_id
    ))
}

/// The batch is committed: an index that can't take it in catches up before the next one, or says then why it can't.
fn follow_own(keys: &mut TableKeys, table: &mut DeltaTable, read_version: u64, own: OwnChanges) {
    if let Err(error) = keys.committed(table, read_version, own) {
        tracing::warn!(%error, "the key index could not take in the micro-batch that was committed");
    }
}

fn warn_of_snapshot(error: &Error) {
    tracing::warn!(%error, "the key index has no new snapshot; a later one makes up for it");
}

impl Sink for DeltaMerge {
    fn describe(&self) -> Description {
        self.target.describe()
    }

    fn keeps_rows_until_commit(&self) -> bool {
        true
    }

    fn target(&self) -> Target {
        self.target.target()
    }

    fn check(&self, columns: &SchemaRef) -> Result<Option<Admission>> {
        let excepted = self.excepted(columns)?;
        let written = excepted.written(columns);
        let admission = self.target.check(&written)?;
        // Keys are of columns that the stream writes: a column that only the table has would be NULL in every row.
        KeyColumns::resolve(columns, &self.merge.keys, "the stream")?;
        if let Some(within) = &self.merge.within {
            EventTimes::resolve(columns, &within.event_time, "the stream")?;
        }
        if let Some(table) = self.target.table() {
            let owner = format!("table {}", table.store().url());
            KeyColumns::resolve(table.arrow_schema()?.as_ref(), &self.merge.keys, &owner)?;
        }
        self.check_update(columns, &written)?;
        Ok(admission.map(|admission| excepted.carried_by(admission, columns)))
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

    fn warnings(&self, columns: &SchemaRef) -> Vec<String> {
        self.target.warnings(columns)
    }

    fn probe(&self) -> Result<()> {
        self.target.probe()
    }

    fn prepare(&mut self, columns: &SchemaRef) -> Result<Option<Admission>> {
        let written = self.excepted(columns)?.written(columns);
        self.check_update(columns, &written)?;
        let admission = self.target.prepare(&written)?.ok_or_else(super::not_prepared)?;
        // Once more: another writer may have made the table.
        let admission = self.excepted(columns)?.carried_by(admission, columns);
        // Of the table's columns: the stream's rows have become rows of the table when they are compared.
        let owner = format!("table {}", self.target.store().url());
        self.rules = self.resolve_rules(admission.target(), &owner)?;
        let table = self.target.table_mut()?;
        let within = self.merge.within.as_ref();
        let by = IndexedBy {
            names: &self.merge.keys,
            within: within.map(|within| (within.event_time.as_str(), within.length)),
        };
        self.keys =
            Some(TableKeys::open(table, by, &self.merge.index_folder, self.lanes, self.snapshots.clone())?);
        failpoint!("merge.indexed");
        self.admission = Some(admission.clone());
        Ok(Some(admission))
    }

    fn begin(&self, run: &BatchRun, account: &Arc<MemoryAccount>) -> Result<Arc<dyn AttemptWriter>> {
        let (Some(keys), Some(admission)) = (&self.keys, &self.admission) else {
            return Err(super::not_prepared());
        };
        let attempt = MergeAttempt {
            files: self.target.begin_files(run, account)?.admitted_by(admission),
            hasher: keys.row_hasher(),
            rules: self.rules.clone(),
            times: keys.window().map(|(times, _)| times.clone()),
            folder: self.merge.index_folder.clone(),
            lane_bytes: account.limit_bytes() / self.lanes.max(1),
        };
        Ok(Arc::new(MergeLanes(Arc::new(attempt))))
    }

    fn commit(&mut self, batch: &BatchCommit, parts: Vec<Part>) -> Result<CommitOutcome> {
        (self.counts, self.updates) = (MergeCounts::default(), UpdateCounts::default());
        self.added = FilesAdded::default();
        let mut waiting = WaitingBatch::of(parts)?;
        match &self.merge.when_matched {
            WhenMatched::Ignore => self.try_commit(batch, &mut waiting),
            WhenMatched::Update(_) => self.try_update(batch, &mut waiting),
        }
    }

    fn metrics(&self) -> SinkMetrics {
        if let WhenMatched::Update(_) = &self.merge.when_matched {
            let counts = &self.updates;
            let mut shown = vec![
                ("numDuplicateRowsInBatch", counts.duplicates_in_batch),
                ("numInsertedRows", counts.inserted),
                ("numUpdatedRows", counts.updated),
                ("numDeletedRows", counts.deleted),
                ("numIgnoredRows", counts.ignored),
                ("numCopiedRows", counts.copied),
            ];
            shown.extend(self.target.metrics().counts);
            let output_rows = Some(counts.inserted + counts.updated);
            return SinkMetrics { files: Some(self.added), output_rows, counts: shown };
        }
        let mut shown = vec![
            ("numDuplicateRowsInBatch", self.counts.duplicates_in_batch),
            ("numDuplicateRowsInTable", self.counts.already_in_table),
        ];
        if self.merge.within.is_some() {
            shown.push(("numInsertedRowsNotWithin", self.counts.not_within));
        }
        shown.extend(self.target.metrics().counts);
        SinkMetrics { files: Some(self.added), output_rows: Some(self.counts.inserted), counts: shown }
    }

    fn maintain(&mut self, account: &Arc<MemoryAccount>) {
        self.target.maintain(account);
        self.upload_snapshot();
    }

    fn take_compacted(&mut self) -> Option<Compacted> {
        self.target.take_compacted()
    }

    fn take_vacuumed(&mut self) -> Option<VacuumReport> {
        self.target.take_vacuumed()
    }

    fn finish(&mut self, goes_on: &mut dyn FnMut() -> bool) {
        self.target.finish(goes_on);
        Beside::wait(&self.uploading, goes_on);
        self.take_uploaded();
    }
}
