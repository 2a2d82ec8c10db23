//! One micro-batch, one commit: files and the stream's `txn` in the same version of the table.
//!
//! The transaction number is checked on the very snapshot that the commit is made against, so that
//! of two writers with one application id exactly one lands batch N. After any answer but success
//! the log is read again before anything is concluded: the commit may be durable although its
//! answer was lost, or another writer may have taken the version. A lost race with a stranger is run
//! again on the newer snapshot with the same files; `commitInfo` says what the checkpoint needs.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow::array::AsArray;
use delta_kernel::committer::{CommitMetadata, CommitResponse, Committer, PublishMetadata};
use delta_kernel::engine::arrow_data::{ArrowEngineData, EngineDataArrowExt};
use delta_kernel::transaction::CommitResult;
use delta_kernel::{DeltaResult, DeltaResultIterator, Engine, FileMeta, FilteredEngineData, Snapshot};
use serde_json::{Map, Value, json};

use super::added_file::AddedFile;
use super::file_entry::scan_rows;
use super::head::LogHead;
use super::history::OwnCommit;
use super::inner_fields::InnerFields;
use super::{DeltaTable, ENGINE_INFO, RowChanges, actions, history, kernel_error};
use crate::model::{Error, Kind, Result};

/// How often a commit is tried against newer and newer snapshots before the batch fails.
pub(super) const TRIES: u32 = 30;

/// What a commit has read of its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// Nothing: it holds on every version.
    Nothing,
    /// The table at this version: the commit is made on that version, or not at all ([`Appended::MovedOn`]).
    Table(u64),
}

/// A micro-batch's commit.
#[derive(Debug, Clone)]
pub struct Append {
    /// The stream's id: `txn.appId` and the operation's `queryId`.
    pub query_id: String,
    /// The micro-batch: `txn.version` and the operation's `epochId`.
    pub batch_id: i64,
    /// The run of the batch that wrote the files; tells our own commit from another owner's.
    pub attempt: String,
    /// An application id that the stream has at its checkpoint's location, whatever its query id: whether a checkpoint
    /// that is made now was lost is known from the table's transactions then, without a search through its commits.
    pub binding: Option<String>,
    /// The files, all of this attempt.
    pub files: Vec<AddedFile>,
    /// The attempt whose commit of the same batch this one replaces: its files leave the table in the
    /// same version. `None` for an append.
    pub replaces: Option<String>,
    /// Whether files of that attempt may be gone from the table already.
    pub files_may_be_gone: bool,
    /// What of the table decided what `files` hold.
    pub reads: Reads,
    /// What leaves the table in the same version: of a merge that changes rows. `None` for a commit that adds files only.
    pub changes: Option<RowChanges>,
    /// Whether the files take the place of the whole table, whose files are `changes.removed`.
    pub replaces_table: bool,
    /// What the checkpoint needs to be mended from this commit; stands under `alluvia` in commitInfo.
    pub checkpoint: Map<String, Value>,
}

/// What became of a commit.
#[derive(Debug)]
pub enum Appended {
    /// This attempt's files are the batch, as of this version.
    Ours(u64),
    /// Another attempt had committed the batch; its commit, if the log still holds it.
    Theirs(Option<OwnCommit>),
    /// Nothing was committed: the table is at another version than the one that was read.
    MovedOn,
    /// Nothing was committed: another writer has rewritten or removed files of the attempt that was to be replaced.
    Rewritten,
}

impl DeltaTable {
    /// Commits a micro-batch, once: see the module's page.
    ///
    /// # Errors
    /// `Conflict` if strangers keep winning or changed the table's schema, partitioning or protocol, or what it uses of
    /// the protocol (a constraint that was added); `Config` if they set a property that can't be read; `Corrupt` if the
    /// table was replaced by another; `Unavailable` if storage does not answer, or a stop has no deadline for another
    /// try.
    pub fn append(&mut self, append: &Append) -> Result<Appended> {
        let before = TableGuard::of(&self.snapshot);
        self.check_head()?;
        before.check(&TableGuard::of(&self.snapshot), self)?;
        let held = self.transaction(&append.query_id)?;
        let mut last_error = None;
        for attempt in 0..TRIES {
            if let Some(outcome) = self.already_there(append)? {
                return Ok(outcome);
            }
            if let Reads::Table(version) = append.reads
                && version != self.version()
            {
                return Ok(Appended::MovedOn);
            }
            match self.try_append(append) {
                Ok(Some(outcome)) => return Ok(outcome),
                Ok(None) => {
                    self.conflicts += 1;
                    last_error = None;
                }
                Err(e) if e.kind() == Kind::Config => return Err(e),
                Err(e) => last_error = Some(e),
            }
            self.store.pause(pause(attempt))?;
            self.refresh()?;
            before.check(&TableGuard::of(&self.snapshot), self)?;
            if self.transaction(&append.query_id)? < held {
                return Err(super::head::changed(self, "was restored and went on"));
            }
        }
        Err(last_error.unwrap_or_else(|| {
            Error::conflict(format!(
                "other writers won the next version of table {} {TRIES} times in a row",
                self.store.url()
            ))
        }))
    }

    /// Whether the snapshot holds the batch already, and whose run of it.
    fn already_there(&mut self, append: &Append) -> Result<Option<Appended>> {
        let Some(there) = self.transaction(&append.query_id)? else { return Ok(None) };
        if there < append.batch_id {
            return Ok(None);
        }
        let found = history::newest_commit_of(self, &append.query_id)?;
        let replaced = append.replaces.as_deref();
        if replaced.is_some() && found.as_ref().and_then(OwnCommit::attempt) == replaced {
            return Ok(None);
        }
        if let Some(found) = &found {
            // Found in the log is not yet on the disk: its own write may have failed at the last flush.
            self.store.sync(&history::commit_name(found.version))?;
        }
        Ok(Some(match found {
            Some(own) if own.attempt() == Some(append.attempt.as_str()) => {
                self.check_whole(&own, append)?;
                Appended::Ours(own.version)
            }
            other => Appended::Theirs(other),
        }))
    }

    /// Our commit whose answer was lost must be there with all its files: a store that leaves half of a
    /// write behind is no store for a table.
    fn check_whole(&self, own: &OwnCommit, append: &Append) -> Result<()> {
        let named = append.files.len() + append.changes.as_ref().map_or(0, |changes| changes.deleted.len());
        if own.files == named {
            return Ok(());
        }
        Err(Error::corrupt(format!(
            "{}{} was cut off: it names {} of {} files",
            self.store.url(),
            history::commit_name(own.version),
            own.files,
            named
        ))
        .hint("delete that file if no reader has seen it, and start the stream again"))
    }

    /// One commit against the current snapshot: what became of it, `None` if the version was taken.
    fn try_append(&mut self, append: &Append) -> Result<Option<Appended>> {
        let failed = |e, table: &DeltaTable| kernel_error(e, "commit to the log", &table.store);
        let replaced = match &append.replaces {
            None => Vec::new(),
            Some(_) => history::files_of_batch(self, &append.query_id, append.batch_id)?,
        };
        let (operation, parameters, metrics) = operation(append, replaced.len());
        let vectors = append.changes.as_ref().map(RowChanges::vectors).unwrap_or_default();
        let writer = CommitWriter {
            parameters,
            metrics,
            extra: extra(self.version(), append),
            lowest_protocol: false,
            inner_fields: InnerFields::default(),
            properties: Vec::new(),
            statistics: actions::statistics(&append.files),
            kept: vectors.keys().cloned().collect(),
            written: Arc::default(),
        };
        let written = Arc::clone(&writer.written);
        let mut transaction = Arc::clone(&self.snapshot)
            .transaction(Box::new(writer), self.engine.as_ref())
            .map_err(|e| failed(e, self))?
            .with_operation(operation.to_owned())
            .with_engine_info(ENGINE_INFO)
            .with_transaction_id(append.query_id.clone(), append.batch_id);
        if let Some(binding) = &append.binding {
            transaction = transaction.with_transaction_id(binding.clone(), append.batch_id);
        }
        if append.replaces.is_none() && append.reads == Reads::Nothing && !append.files.is_empty() {
            transaction = transaction.with_blind_append();
        }
        let (leaving, found) = self.named_files(&replaced)?;
        if found < replaced.len() && !append.files_may_be_gone {
            return Ok(Some(Appended::Rewritten));
        }
        for files in leaving {
            transaction.remove_files(files);
        }
        if let Some(changes) = &append.changes {
            if !changes.removed.is_empty() {
                transaction.remove_files(scan_rows(&changes.removed).map_err(|e| failed(e, self))?);
            }
            if !vectors.is_empty() {
                let files = scan_rows(changes.deleted.iter().map(|new| &new.before));
                let updated = transaction.update_deletion_vectors(vectors, std::iter::once(files));
                updated.map_err(|e| failed(e, self))?;
            }
        }
        if !append.files.is_empty() {
            let statistics = transaction.stats_schema().map_err(|e| failed(e, self))?;
            transaction.add_files(actions::added(&append.files, statistics).map_err(|e| failed(e, self))?);
        }
        let result = transaction.commit(self.engine.as_ref()).map_err(|e| failed(e, self))?;
        let version = self.follow(result, &written)?;
        if version.is_some() {
            self.transactions.insert(append.query_id.clone(), Some(append.batch_id));
        }
        Ok(version.map(Appended::Ours))
    }

    /// Follows a commit of this process, which has `written` its head: its version, or `None` if that was taken.
    ///
    /// # Errors
    /// As storage answered; what became of the commit is not known then.
    pub(super) fn follow(
        &mut self,
        result: CommitResult,
        written: &OnceLock<LogHead>,
    ) -> Result<Option<u64>> {
        match result {
            CommitResult::CommittedTransaction(done) => {
                match done.post_commit_snapshot() {
                    Some(next) => {
                        self.snapshot = Arc::clone(next);
                        self.head = written.get().copied();
                    }
                    None => self.refresh()?,
                }
                Ok(Some(done.commit_version()))
            }
            CommitResult::ConflictedTransaction(_) => Ok(None),
            CommitResult::RetryableTransaction(failure) => {
                Err(kernel_error(failure.error, "commit to the log", &self.store))
            }
        }
    }
}

impl DeltaTable {
    /// The table's files with these paths, in the form in which the kernel takes them out, and how many there are.
    fn named_files(&self, paths: &[String]) -> Result<(Vec<FilteredEngineData>, usize)> {
        if paths.is_empty() {
            return Ok((Vec::new(), 0));
        }
        let failed = |e| kernel_error(e, "list the files", &self.store);
        let scan = Arc::clone(&self.snapshot).scan_builder().build().map_err(failed)?;
        let (mut named, mut count) = (Vec::new(), 0);
        for found in scan.scan_metadata(self.engine.as_ref()).map_err(failed)? {
            let (data, mut selected) = found.map_err(failed)?.scan_files.into_parts();
            let rows = data.try_into_record_batch().map_err(failed)?;
            selected.resize(rows.num_rows(), true);
            let path = rows
                .column_by_name("path")
                .and_then(|column| column.as_string_opt::<i32>())
                .ok_or_else(|| Error::internal("the kernel's list of files has no paths"))?;
            for (row, selected) in selected.iter_mut().enumerate() {
                *selected = *selected && paths.iter().any(|wanted| wanted == path.value(row));
            }
            count += selected.iter().filter(|selected| **selected).count();
            if selected.contains(&true) {
                let data = Box::new(ArrowEngineData::new(rows));
                named.push(FilteredEngineData::try_new(data, selected).map_err(failed)?);
            }
        }
        Ok((named, count))
    }
}

/// What must not change under a batch whose files are written.
pub(super) struct TableGuard {
    id: String,
    schema: String,
    partition_columns: Vec<String>,
    /// As the kernel is shown it: with the features that the table uses, so that a constraint which is added changes it.
    protocol: String,
}

impl TableGuard {
    pub(super) fn of(snapshot: &Snapshot) -> TableGuard {
        let table = snapshot.table_configuration();
        TableGuard {
            id: table.metadata().id().to_owned(),
            schema: table.metadata().schema_string().clone(),
            partition_columns: table.metadata().partition_columns().to_vec(),
            protocol: format!("{:?}", table.protocol()),
        }
    }

    pub(super) fn check(&self, now: &TableGuard, table: &DeltaTable) -> Result<()> {
        let url = table.store.url();
        if self.id != now.id {
            return Err(Error::corrupt(format!(
                "table {url} was replaced by another while a micro-batch was written (id {} became {})",
                self.id, now.id
            )));
        }
        let changed = if self.schema != now.schema {
            "schema"
        } else if self.partition_columns != now.partition_columns {
            "partitioning"
        } else if self.protocol != now.protocol {
            "protocol, or the use of one of its features,"
        } else {
            return Ok(());
        };
        Err(Error::conflict(format!(
            "the {changed} of table {url} was changed while a micro-batch was written"
        )))
    }
}

/// Exponential from 10 ms to 2 s, with full jitter.
pub(super) fn pause(attempt: u32) -> Duration {
    let ceiling = 2_000_u64.min(10 << attempt.min(10));
    Duration::from_millis(rand::random_range(1..=ceiling))
}

/// The operation that a commit says it is, with its parameters and metrics: Delta's `STREAMING UPDATE`, or `MERGE` of a
/// merge that changes rows.
fn operation(append: &Append, removed: usize) -> (&'static str, Value, Map<String, Value>) {
    if let Some(changes) = append.changes.as_ref().filter(|_| !append.replaces_table) {
        return ("MERGE", changes.parameters.clone(), changes.metrics.clone());
    }
    let parameters = json!({
        "outputMode": if append.replaces_table { "Complete" } else { "Append" },
        "queryId": append.query_id,
        "epochId": append.batch_id.to_string(),
    });
    ("STREAMING UPDATE", parameters, metrics(append, removed))
}

/// Spark's metrics of a streaming append; all values are strings, as its history reader demands.
fn metrics(append: &Append, removed: usize) -> Map<String, Value> {
    let files = &append.files;
    let rows: u64 = files.iter().map(|f| f.rows).sum();
    let bytes: u64 = files.iter().map(|f| f.size_bytes).sum();
    let metrics = [
        ("numRemovedFiles", removed as u64),
        ("numOutputRows", rows),
        ("numOutputBytes", bytes),
        ("numAddedFiles", files.len() as u64),
    ];
    metrics.into_iter().map(|(name, value)| (name.to_owned(), value.to_string().into())).collect()
}

fn extra(read_version: u64, append: &Append) -> Map<String, Value> {
    let mut checkpoint = append.checkpoint.clone();
    checkpoint.insert("attempt".into(), append.attempt.clone().into());
    checkpoint.insert("version".into(), env!("CARGO_PKG_VERSION").into());
    let mut extra = Map::new();
    extra.insert("readVersion".into(), read_version.into());
    extra.insert("isolationLevel".into(), "Serializable".into());
    if append.reads != Reads::Nothing {
        // What the table held decided what is added; the kernel says it only of commits that have read nothing.
        extra.insert("isBlindAppend".into(), false.into());
    }
    extra.insert("alluvia".into(), Value::Object(checkpoint));
    extra
}

/// Writes a commit file as the kernel made it, with what the kernel can't say in its commitInfo.
#[derive(Default)]
pub(super) struct CommitWriter {
    pub(super) parameters: Value,
    pub(super) metrics: Map<String, Value>,
    pub(super) extra: Map<String, Value>,
    /// Write protocol (1, 2) where the kernel's (3, 7) names no feature beyond what (1, 2) implies.
    pub(super) lowest_protocol: bool,
    /// Fields to add inside columns of the schema, which the kernel can't.
    pub(super) inner_fields: InnerFields,
    /// Properties that a `metaData` action is to have as the table has them: the kernel is shown other values.
    pub(super) properties: Vec<(String, String)>,
    /// The statistics of the files it adds, by their paths: the kernel can't write all of them.
    pub(super) statistics: HashMap<String, Box<str>>,
    /// The paths of files that it adds again with another deletion vector; their statistics are the kernel's affair.
    pub(super) kept: HashSet<String>,
    /// The commit as it was written.
    pub(super) written: Arc<OnceLock<LogHead>>,
}

impl CommitWriter {
    fn patch(&self, line: &[u8]) -> DeltaResult<Vec<u8>> {
        let mut action: Value = serde_json::from_slice(line).map_err(delta_kernel::Error::generic_err)?;
        if let Some(info) = action.get_mut("commitInfo").and_then(Value::as_object_mut) {
            info.insert("operationParameters".into(), self.parameters.clone());
            info.insert("operationMetrics".into(), self.metrics.clone().into());
            info.extend(self.extra.clone());
        }
        if let Some(metadata) = action.get_mut("metaData") {
            self.inner_fields.add_to(metadata)?;
            for (name, value) in &self.properties {
                metadata["configuration"][name] = value.as_str().into();
            }
        }
        if self.lowest_protocol && action.get("protocol").is_some_and(needs_no_feature) {
            action = json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}});
        }
        serde_json::to_vec(&action).map_err(delta_kernel::Error::generic_err)
    }

    /// An `add` with its statistics as they were collected.
    fn with_statistics(&self, line: &[u8]) -> DeltaResult<Vec<u8>> {
        let mut action: Value = serde_json::from_slice(line).map_err(delta_kernel::Error::generic_err)?;
        let file = &mut action["add"];
        let path = file["path"].as_str().unwrap_or_default();
        if self.kept.contains(path) {
            return Ok(line.to_vec());
        }
        let statistics = self.statistics.get(path);
        let missing = || delta_kernel::Error::generic("the kernel changed the name of a data file");
        file["stats"] = statistics.ok_or_else(missing)?.as_ref().into();
        serde_json::to_vec(&action).map_err(delta_kernel::Error::generic_err)
    }
}

fn needs_no_feature(protocol: &Value) -> bool {
    let none = |key: &str, implied: &[&str]| {
        protocol[key].as_array().is_none_or(|features| {
            features.iter().all(|f| f.as_str().is_some_and(|name| implied.contains(&name)))
        })
    };
    none("readerFeatures", &[]) && none("writerFeatures", &["appendOnly", "invariants"])
}

impl Committer for CommitWriter {
    fn commit(
        &self,
        engine: &dyn Engine,
        actions: DeltaResultIterator<'_, FilteredEngineData>,
        metadata: CommitMetadata,
    ) -> DeltaResult<CommitResponse> {
        let raw = delta_kernel::engine::arrow_utils::to_json_bytes(actions)?;
        let mut bytes = Vec::with_capacity(raw.len() + 1024);
        for line in raw.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            // Only the head of a commit and the files it adds are patched.
            let heads: [&[u8]; 3] = [b"{\"commitInfo\"", b"{\"protocol\"", b"{\"metaData\""];
            if line.starts_with(history::ADD) {
                bytes.extend(self.with_statistics(line)?);
            } else if heads.iter().any(|head| line.starts_with(head)) {
                bytes.extend(self.patch(line)?);
            } else {
                bytes.extend(line);
            }
            bytes.push(b'\n');
        }
        let url = metadata.published_commit_path()?;
        let size = bytes.len() as u64;
        // Set once: a writer commits once.
        let _ = self.written.set(LogHead::of(metadata.version(), &bytes));
        match engine.storage_handler().put(&url, bytes.into(), false) {
            Ok(()) => Ok(CommitResponse::Committed {
                file_meta: FileMeta { location: url, last_modified: metadata.in_commit_timestamp(), size },
            }),
            Err(delta_kernel::Error::FileAlreadyExists(_)) => {
                Ok(CommitResponse::Conflict { version: metadata.version() })
            }
            Err(e) => Err(e),
        }
    }

    fn is_catalog_committer(&self) -> bool {
        false
    }

    fn publish(&self, _: &dyn Engine, _: PublishMetadata) -> DeltaResult<()> {
        Ok(())
    }
}
