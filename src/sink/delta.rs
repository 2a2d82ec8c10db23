//! Appending a stream's rows to a Delta table.

use std::sync::Arc;

use arrow::datatypes::{Field, SchemaRef};
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::dead_letter;
use crate::config::DeltaSink;
use crate::model::{Error, OffsetRange, Offsets, Result, TopicPartition};
use crate::storage::Store;
use crate::table::files::WriterSettings;
use crate::table::schema::{Alignment, Fit};
use crate::table::{AddedFile, Append, Appended, DeltaTable, OwnCommit, WriterBudget, history};

/// A data file is closed at this size.
pub const TARGET_FILE_BYTES: usize = 128 * 1024 * 1024;

/// The table of a stream, ready to be appended to.
pub struct DeltaAppend {
    table: DeltaTable,
    alignment: Alignment,
    /// The checkpoint of the table's log that is being written, if one is.
    maintenance: Option<JoinHandle<()>>,
    /// The version up to which it was asked whether maintenance is due.
    maintenance_checked_to: u64,
}

/// The key in a commit's `alluvia` object that says of the dead letters that they come after it.
const LETTERS_FOLLOW: &str = "deadLettersFollow";
/// The key of what the batch was planned with.
const PLAN: &str = "plan";
/// The key of the offsets that were gone.
const LOST_RANGES: &str = "lostRanges";
/// The key of the newest batch that has dead letters, and of their table.
const DEAD_LETTERS: &str = "deadLetters";
/// The key that says whose commit it is.
const STREAM: &str = "stream";
/// The key that says where that stream's checkpoint was.
const CHECKPOINT_LOCATION: &str = "checkpointLocation";
/// Runs of a batch with other definitions that one run may meet.
const SUPERSEDED_MAX: u32 = 10;

/// What a micro-batch's commit says beside its files.
#[derive(Debug, Clone)]
pub struct BatchCommit {
    /// The stream's id.
    pub query_id: String,
    /// The stream's name.
    pub stream: String,
    /// The URL of its checkpoint.
    pub checkpoint_location: String,
    /// The micro-batch.
    pub batch_id: i64,
    /// The run of the batch.
    pub attempt: String,
    /// Where the batch starts.
    pub start: Offsets,
    /// Where it ends.
    pub end: Offsets,
    /// The constants that it was planned with, a JSON object: with the end offsets the plan, so that a lost
    /// checkpoint can be made anew.
    pub plan: String,
    /// The watermark of the next batch.
    pub next_watermark_ms: i64,
    /// Hash of what decides results.
    pub definition: String,
    /// Offsets that were gone before they could be read (`failOnDataLoss: false`).
    pub lost: Vec<OffsetRange>,
    /// Whether the batch was planned with another definition, so that its dead letters are brought in
    /// line after this commit, which decides whose run of it stands.
    pub dead_letters_pending: bool,
    /// The newest batch that has dead letters, and the id of the table that they are in.
    pub newest_dead_letter_batch: Option<(String, i64)>,
}

/// What became of a commit.
#[derive(Debug)]
pub enum CommitOutcome {
    /// Our files are the batch.
    Ours {
        /// The table's version.
        version: u64,
    },
    /// Another run of the batch was first; ours is dropped.
    Theirs {
        /// Its commit, if the log still holds it.
        commit: Option<OwnCommit>,
    },
}

impl DeltaAppend {
    /// Opens the stream's table, `found` if it is there already, makes it if it is not, and checks that
    /// the stream fits it.
    ///
    /// # Errors
    /// `Config`, naming the column or key, if the stream can't be written to the table.
    pub fn open(
        sink: &DeltaSink,
        store: &Store,
        found: Option<DeltaTable>,
        handle: &Handle,
        stream: &SchemaRef,
    ) -> Result<DeltaAppend> {
        Self::check_partitions(sink, found.as_ref(), stream)?;
        let mut table = match found {
            Some(table) => table,
            None => DeltaTable::create(store, handle, stream, &sink.partition_by, &sink.table_properties)?,
        };
        Self::check_partitions(sink, Some(&table), stream)?;
        let alignment = Self::align(&mut table, stream, sink.merge_schema)?;
        let maintenance_checked_to = table.version();
        Ok(DeltaAppend { table, alignment, maintenance: None, maintenance_checked_to })
    }

    /// Checks `partitionBy` against the stream's columns and, if it is there, the table.
    ///
    /// # Errors
    /// `Config`, naming the column or both partitionings.
    pub fn check_partitions(sink: &DeltaSink, table: Option<&DeltaTable>, stream: &SchemaRef) -> Result<()> {
        for column in &sink.partition_by {
            if stream.index_of(column).is_err() {
                return Err(Error::config(format!(
                    "sink.partitionBy names {column}, which is no column of the stream"
                ))
                .hint(format!("the columns are {}", names(stream))));
            }
        }
        if sink.partition_by.len() >= stream.fields().len() {
            return Err(Error::config(
                "sink.partitionBy names every column; a table needs one that is not partitioned by",
            ));
        }
        let Some(table) = table else { return Ok(()) };
        if sink.partition_by.is_empty() || table.partition_columns() == sink.partition_by {
            return Ok(());
        }
        Err(Error::config(format!(
            "table {} is partitioned by [{}], sink.partitionBy says [{}]",
            table.store().url(),
            table.partition_columns().join(", "),
            sink.partition_by.join(", ")
        ))
        .hint("leave sink.partitionBy out to write to the table as it is"))
    }

    fn align(table: &mut DeltaTable, stream: &SchemaRef, merge_schema: bool) -> Result<Alignment> {
        let name = table.store().url().to_string();
        match Alignment::of(stream, &table.arrow_schema()?, &name)? {
            Fit::Fits(alignment) => Ok(alignment),
            Fit::Lacks(columns) if merge_schema => {
                table.add_columns(&columns)?;
                crate::failpoint!("columns.added");
                match Alignment::of(stream, &table.arrow_schema()?, &name)? {
                    Fit::Fits(alignment) => Ok(alignment),
                    Fit::Lacks(_) => Err(Error::internal("the columns were added and are not there")),
                }
            }
            Fit::Lacks(columns) => Err(lacks(&name, &columns, &table.arrow_schema()?)),
        }
    }

    /// The table.
    pub fn table(&mut self) -> &mut DeltaTable {
        &mut self.table
    }

    /// The newest batch of the query that the table holds, and the table's id.
    ///
    /// # Errors
    /// As for [`DeltaTable::transaction`].
    pub fn until(&mut self, query_id: &str) -> Result<Option<(String, i64)>> {
        let newest = self.table.transaction(query_id)?;
        Ok(newest.map(|batch_id| (self.table.id().to_owned(), batch_id)))
    }

    /// How the stream's columns become the table's.
    pub fn alignment(&self) -> &Alignment {
        &self.alignment
    }

    /// What the lanes of an attempt need to write files.
    ///
    /// # Errors
    /// `Config` if the kernel can't write the table.
    pub fn writers(
        &self,
        attempt: &str,
        handle: &Handle,
        budget: &Arc<WriterBudget>,
    ) -> Result<WriterSettings> {
        Ok(WriterSettings {
            store: self.table.store().clone(),
            handle: handle.clone(),
            engine: Arc::clone(self.table.engine()),
            state: self.table.write_state()?,
            schema: Arc::clone(self.alignment.target()),
            partition_columns: self.table.partition_columns().to_vec(),
            attempt: attempt.to_owned(),
            budget: Arc::clone(budget),
            target_file_bytes: TARGET_FILE_BYTES,
        })
    }

    /// Commits a micro-batch: its files and the stream's transaction in one version.
    ///
    /// # Errors
    /// As for [`DeltaTable::append`].
    pub fn commit(&mut self, batch: &BatchCommit, files: Vec<AddedFile>) -> Result<CommitOutcome> {
        self.land(batch, files, None)
    }

    /// Commits a micro-batch, if need be in the place of runs of it that had another definition: their
    /// files leave the table in the same version.
    ///
    /// # Errors
    /// As for [`DeltaTable::append`]; `Conflict` if others keep replacing it too.
    pub fn supersede(&mut self, batch: &BatchCommit, files: Vec<AddedFile>) -> Result<CommitOutcome> {
        self.replace(batch, files, |other| definition_of(other) == batch.definition)
    }

    /// Commits the letters of lost offsets ([`BatchCommit::of_lost_ranges`]), if need be in the place of those of a
    /// run that knew of less. One that knew of more stands.
    ///
    /// # Errors
    /// As for [`DeltaAppend::supersede`].
    pub fn add_lost(&mut self, lost: &BatchCommit, files: Vec<AddedFile>) -> Result<CommitOutcome> {
        self.replace(lost, files, |other| {
            let known = lost_of(other);
            lost.lost.iter().all(|range| range.minus(&known).is_empty())
        })
    }

    /// Commits a micro-batch in the place of runs of it that do not stand.
    fn replace(
        &mut self,
        batch: &BatchCommit,
        files: Vec<AddedFile>,
        stands: impl Fn(&OwnCommit) -> bool,
    ) -> Result<CommitOutcome> {
        let mut replaces = None;
        for _ in 0..SUPERSEDED_MAX {
            match self.land(batch, files.clone(), replaces)? {
                CommitOutcome::Theirs { commit: Some(other) }
                    if other.batch_id == batch.batch_id && !stands(&other) =>
                {
                    replaces = other.attempt().map(str::to_owned);
                }
                landed => return Ok(landed),
            }
        }
        Err(Error::conflict(format!(
            "other processes keep replacing micro-batch {} of table {}",
            batch.batch_id,
            self.table.store().url()
        )))
    }

    fn land(
        &mut self,
        batch: &BatchCommit,
        files: Vec<AddedFile>,
        replaces: Option<String>,
    ) -> Result<CommitOutcome> {
        let mut append = Append {
            query_id: batch.query_id.clone(),
            batch_id: batch.batch_id,
            attempt: batch.attempt.clone(),
            files,
            replaces,
            files_may_be_gone: false,
            checkpoint: batch.to_json(),
        };
        let mut appended = self.table.append(&append)?;
        if let (Appended::Rewritten, Some(attempt)) = (&appended, &append.replaces) {
            self.refuse_letters_of(attempt, batch.batch_id)?;
            append.files_may_be_gone = true;
            appended = self.table.append(&append)?;
        }
        match appended {
            Appended::Ours(version) => Ok(CommitOutcome::Ours { version }),
            Appended::Theirs(commit) => Ok(CommitOutcome::Theirs { commit }),
            Appended::Rewritten => Err(Error::internal("files of no other run were to leave the table")),
        }
    }

    /// Dead letters that must leave the table can't, where they are in a file that another writer made.
    fn refuse_letters_of(&self, attempt: &str, batch_id: i64) -> Result<()> {
        let mut left = 0;
        dead_letter::read(&self.table, &mut |letter| {
            left += u64::from(letter.attempt == attempt);
            Ok(())
        })?;
        if left == 0 {
            return Ok(());
        }
        Err(Error::corrupt(format!(
            "dead letters of micro-batch {batch_id} ({left}) must leave table {}, and another writer has rewritten their files",
            self.table.store().url()
        ))
        .hint(format!("DELETE from that table WHERE attempt = '{attempt}', then start again: nothing is lost by it")))
    }

    /// Takes out the letters of lost offsets that another run of the batch added beside those of a third
    /// ([`BatchCommit::of_lost_ranges`]): ours say what was lost.
    ///
    /// # Errors
    /// As for [`DeltaAppend::supersede`].
    pub fn withdraw_lost(&mut self, batch: &BatchCommit) -> Result<()> {
        let none = BatchCommit { lost: Vec::new(), ..batch.clone() }.of_lost_ranges();
        if self.table.transaction(&none.query_id)? == Some(none.batch_id) {
            self.supersede(&none, Vec::new())?;
        }
        Ok(())
    }

    /// Starts the table's maintenance where it is due, and afterwards forgets what it covered. Between two
    /// micro-batches, never on the commit path, and never a reason to stop.
    pub fn maintenance(&mut self, handle: &Handle) {
        if self.maintenance.as_ref().is_some_and(JoinHandle::is_finished) {
            self.maintenance = None;
            told(self.table.refresh_log_segment());
        }
        let due = self.table.maintenance_due(self.maintenance_checked_to);
        self.maintenance_checked_to = self.table.version();
        if !due || self.maintenance.is_some() {
            return;
        }
        // Another writer of the table may have seen to it.
        told(self.table.look_for_checkpoint());
        if !self.table.maintenance_due(0) {
            return;
        }
        if let Some(maintenance) = self.table.maintenance() {
            self.maintenance = Some(handle.spawn_blocking(move || {
                if let Err(error) = maintenance.run() {
                    tracing::warn!(%error, "the maintenance of a table's log failed; a later one makes up for it");
                }
            }));
        }
    }
}

fn told(read: Result<()>) {
    if let Err(error) = read {
        tracing::warn!(%error, "the table's log could not be read anew");
    }
}

impl BatchCommit {
    fn to_json(&self) -> Map<String, Value> {
        let object = |offsets: &Offsets| -> Value {
            serde_json::from_str(&offsets.to_json()).expect("offsets print as JSON")
        };
        let mut info = Map::new();
        info.insert("queryId".into(), self.query_id.clone().into());
        info.insert(STREAM.into(), self.stream.clone().into());
        info.insert(CHECKPOINT_LOCATION.into(), self.checkpoint_location.clone().into());
        info.insert("batchId".into(), self.batch_id.into());
        info.insert("startOffset".into(), object(&self.start));
        info.insert("endOffset".into(), object(&self.end));
        info.insert(PLAN.into(), serde_json::from_str(&self.plan).expect("a plan is JSON"));
        info.insert("nextBatchWatermarkMs".into(), self.next_watermark_ms.into());
        info.insert("definition".into(), self.definition.clone().into());
        if self.dead_letters_pending {
            info.insert(LETTERS_FOLLOW.into(), true.into());
        }
        if let Some((table_id, batch_id)) = &self.newest_dead_letter_batch {
            info.insert(DEAD_LETTERS.into(), json!({"tableId": table_id, "batchId": batch_id}));
        }
        if !self.lost.is_empty() {
            info.insert(LOST_RANGES.into(), self.lost_ranges());
        }
        info
    }

    /// What was gone, as the commit says it.
    fn lost_ranges(&self) -> Value {
        Value::Array(self.lost.iter().map(lost_json).collect())
    }

    /// The commit of the letters for what was gone, where another run of the batch has committed its dead
    /// letters without them: a query of its own, and its definition is what was gone.
    pub fn of_lost_ranges(&self) -> BatchCommit {
        BatchCommit {
            query_id: Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("lost\n{}", self.query_id).as_bytes())
                .to_string(),
            stream: format!("{} (lost offsets)", self.stream),
            attempt: Uuid::new_v4().to_string(),
            definition: self.lost_ranges().to_string(),
            dead_letters_pending: false,
            ..self.clone()
        }
    }
}

fn lost_json(range: &OffsetRange) -> Value {
    json!({
        "topic": range.partition.topic.as_ref(),
        "partition": range.partition.partition,
        "from": range.from,
        "until": range.until,
    })
}

/// The error of table `name`, which has the columns `there`, that lacks some of the stream's.
pub fn lacks(name: &str, lacking: &[Field], there: &SchemaRef) -> Error {
    let lacking: Vec<&str> = lacking.iter().map(|column| column.name().as_str()).collect();
    Error::config(format!("table {name} has no column {}; it has {}", lacking.join(", "), names(there)))
        .hint("set sink.options.mergeSchema: true to add them, or change source.value.schema")
}

/// The stream's transaction in a table and, if the log still holds it, the commit that it came with.
///
/// # Errors
/// As for [`DeltaTable::transaction`].
pub fn newest(table: &mut DeltaTable, query_id: &str) -> Result<(Option<i64>, Option<OwnCommit>)> {
    let Some(transaction) = table.transaction(query_id)? else { return Ok((None, None)) };
    let commit = history::newest_commit_of(table, query_id)?;
    Ok((Some(transaction), commit.filter(|commit| commit.batch_id == transaction)))
}

/// The end offsets that a commit of this stream says; `None` for one of Spark.
///
/// # Errors
/// `Corrupt` if they are not in Spark's form.
pub fn end_of(commit: &OwnCommit) -> Result<Option<Offsets>> {
    offsets_of(commit, "endOffset")
}

/// The start offsets that a commit of this stream says; `None` for one of Spark.
///
/// # Errors
/// `Corrupt` if they are not in Spark's form.
pub fn start_of(commit: &OwnCommit) -> Result<Option<Offsets>> {
    offsets_of(commit, "startOffset")
}

fn offsets_of(commit: &OwnCommit, key: &str) -> Result<Option<Offsets>> {
    let Some(value) = commit.checkpoint.as_ref().and_then(|info| info.get(key)) else { return Ok(None) };
    Offsets::from_json(&value.to_string()).map(Some).map_err(|e| {
        Error::corrupt(format!("commit {} of the table says unreadable offsets", commit.version)).source(e)
    })
}

/// Whether the dead letters of a commit's batch come after it.
pub fn dead_letters_pending(commit: &OwnCommit) -> bool {
    commit.checkpoint.as_ref().is_some_and(|info| info.get(LETTERS_FOLLOW).is_some_and(|said| *said == true))
}

/// The newest batch that had dead letters when a commit was made, and the id of the table that they were in.
pub fn newest_dead_letter_batch(commit: &OwnCommit) -> Option<(&str, i64)> {
    let said = commit.checkpoint.as_ref()?.get(DEAD_LETTERS)?;
    Some((said["tableId"].as_str()?, said["batchId"].as_i64()?))
}

/// What the batch of a commit was planned with, a JSON object.
pub fn plan_of(commit: &OwnCommit) -> Option<String> {
    Some(commit.checkpoint.as_ref()?.get(PLAN)?.to_string())
}

/// The offsets of which a commit says that they were gone.
pub fn lost_of(commit: &OwnCommit) -> Vec<OffsetRange> {
    let said = commit.checkpoint.as_ref().and_then(|info| info.get(LOST_RANGES)?.as_array());
    let range = |entry: &Value| {
        let partition = i32::try_from(entry["partition"].as_i64()?).ok()?;
        let partition = TopicPartition::new(entry["topic"].as_str()?, partition);
        Some(OffsetRange { partition, from: entry["from"].as_i64()?, until: entry["until"].as_i64()? })
    };
    said.into_iter().flatten().filter_map(range).collect()
}

/// The name of the stream that made a commit.
pub fn stream_of(commit: &OwnCommit) -> Option<&str> {
    commit.checkpoint.as_ref()?.get(STREAM)?.as_str()
}

/// Where the checkpoint of the stream that made a commit was.
pub fn checkpoint_of(commit: &OwnCommit) -> Option<&str> {
    commit.checkpoint.as_ref()?.get(CHECKPOINT_LOCATION)?.as_str()
}

/// The definition that the batch of a commit ran with.
pub fn definition_of(commit: &OwnCommit) -> String {
    let said = commit.checkpoint.as_ref().and_then(|info| info.get("definition")).and_then(Value::as_str);
    said.unwrap_or_default().to_owned()
}

fn names(schema: &SchemaRef) -> String {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    names.join(", ")
}
