//! Appending to a Delta table: a batch's files and the stream's transaction in one commit.
//!
//! [`DeltaAppend`] is the stream's own table and, for dead letters, the table beside it. Until
//! [`Sink::prepare`] it changes nothing; [`commit`] makes one run of a batch the batch, [`writer`] writes its
//! files, [`maintenance`] keeps the table's log short.

mod beside;
mod commit;
mod compaction;
mod maintenance;
pub mod merge;
mod vacuum;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use uuid::Uuid;

use self::beside::Beside;
pub use self::beside::under_way;
use self::compaction::AutoCompaction;
use self::vacuum::AutoVacuum;
use super::{
    AttemptWriter, BatchCommit, BatchRun, CommitOutcome, DeadLetterBatch, Delivery, Description, Part, Sink,
    SinkCommit, SinkMetrics, SinkState, Target,
};
use crate::config::{DeltaSink, DeltaTarget};
use crate::decode::admission::{self, Admission, Fit, check_column_names, with_fields};
use crate::decode::datetime::Zone;
use crate::model::spark_type::name_of;
use crate::model::{Error, MemoryAccount, MissingField, Result};
use crate::storage::Store;
use crate::table::compact::Compacted;
use crate::table::vacuum::VacuumReport;
use crate::table::{ChangedBy, DeltaTable, check_new_place, check_new_table, history};

/// A Delta table that rows are appended to.
pub struct DeltaAppend {
    config: DeltaSink,
    /// Whether it is the table of dead letters beside the stream's own.
    holds_dead_letters: bool,
    /// Whether each batch replaces all rows of the table: outputMode complete.
    replaces: bool,
    store: Store,
    /// The table; `None` until it is made.
    table: Option<DeltaTable>,
    /// The session's zone, for casts.
    zone: Zone,
    /// How the stream's rows become the table's; `None` until the sink is prepared.
    admission: Option<Admission>,
    /// A query and the version of its newest commit, as far as they are known.
    newest: Option<(String, u64)>,
    /// The checkpoint of the table's log that is being written, if one is.
    maintenance: Option<Beside<()>>,
    /// The table version at which we last checked whether maintenance is due.
    maintenance_checked_to: u64,
    /// Joins small files, if it is asked to.
    compaction: AutoCompaction,
    /// Deletes what the table does not need any more, if it is asked to.
    vacuum: AutoVacuum,
}

impl DeltaAppend {
    /// Reads the table in `store`, if there is one; `zone` is the session's. Changes nothing.
    ///
    /// # Errors
    /// As for [`DeltaTable::open`].
    pub fn open(config: &DeltaSink, store: Store, zone: Zone) -> Result<DeltaAppend> {
        let table = DeltaTable::open(&store)?;
        Ok(DeltaAppend {
            config: config.clone(),
            holds_dead_letters: false,
            replaces: false,
            store,
            table,
            zone,
            admission: None,
            newest: None,
            maintenance: None,
            maintenance_checked_to: 0,
            compaction: AutoCompaction::default(),
            vacuum: AutoVacuum::default(),
        })
    }

    /// The same, where each batch `replaces` all rows of the table.
    pub fn replacing(self, replaces: bool) -> DeltaAppend {
        DeltaAppend { replaces, ..self }
    }

    /// The same for a table of dead letters, whose columns Alluvia decides.
    ///
    /// # Errors
    /// As for [`DeltaAppend::open`].
    pub fn open_dead_letters(target: &DeltaTarget, store: Store) -> Result<DeltaAppend> {
        let config = DeltaSink {
            url: target.url.clone(),
            partition_by: Vec::new(),
            merge_schema: false,
            merge: None,
            auto_compact: Some(false),
            auto_vacuum: None,
            table_properties: target.table_properties.clone(),
        };
        let table = DeltaAppend::open(&config, store, Zone::UTC)?;
        Ok(DeltaAppend { holds_dead_letters: true, ..table })
    }

    /// The table, if it is there.
    pub fn table(&self) -> Option<&DeltaTable> {
        self.table.as_ref()
    }

    /// The folder that the table is in, or will be.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The table and the admission of a prepared sink.
    fn prepared(&self) -> Result<(&DeltaTable, &Admission)> {
        match (&self.table, &self.admission) {
            (Some(table), Some(admission)) => Ok((table, admission)),
            _ => Err(not_prepared()),
        }
    }

    fn table_mut(&mut self) -> Result<&mut DeltaTable> {
        self.table.as_mut().ok_or_else(not_prepared)
    }

    /// The newest batch of the query that the table holds.
    ///
    /// # Errors
    /// As for [`DeltaTable::transaction`].
    pub fn newest_batch(&mut self, query_id: &str) -> Result<Option<DeadLetterBatch>> {
        let known = self.newest.as_ref().filter(|(query, _)| query == query_id);
        let version = known.map(|(_, version)| *version);
        let table = self.table_mut()?;
        let newest = table.transaction(query_id)?;
        Ok(newest.map(|batch_id| DeadLetterBatch { table_id: table.id().to_owned(), batch_id, version }))
    }

    /// Refuses a table whose rows can't be replaced, if they are to be.
    fn check_replaceable(&self) -> Result<()> {
        match &self.table {
            _ if !self.replaces => Ok(()),
            Some(table) => table.check_rows_can_change(ChangedBy::Replacement),
            None => {
                let url = self.store.url().as_str();
                check_new_table(&self.config.table_properties, url, ChangedBy::Replacement)
            }
        }
    }

    /// How the stream's rows fit the table as it will be: with the fields that `mergeSchema` adds. `None` if there is
    /// no table.
    fn fit(&self, columns: &SchemaRef) -> Result<Option<Admission>> {
        self.check_replaceable()?;
        check_partitions(&self.config, self.table.as_ref(), columns)?;
        let Some(table) = &self.table else {
            let mode = self.config.table_properties.get("delta.columnMapping.mode");
            check_column_names(
                columns.fields(),
                mode.is_some_and(|mode| !mode.eq_ignore_ascii_case("none")),
            )?;
            return Ok(None);
        };
        check_defaults(columns, table)?;
        let there = table.arrow_schema()?;
        let missing = match self.admission_to(table, &there, columns)? {
            Fit::Fits(admission) => return Ok(Some(admission)),
            Fit::Lacks(missing) => missing,
        };
        if !self.config.merge_schema {
            return Err(self.lacks(table, &missing, &there));
        }
        for missing in &missing {
            let field = [missing.field.clone()].into_iter().collect();
            check_column_names(&field, table.has_column_mapping())?;
        }
        match self.admission_to(table, &Arc::new(with_fields(&there, &missing)), columns)? {
            Fit::Fits(admission) => Ok(Some(admission)),
            Fit::Lacks(_) => Err(Error::internal("a table with all columns of the stream lacks some")),
        }
    }

    /// The error of a table, which has the columns `there`, that lacks some of the stream's.
    fn lacks(&self, table: &DeltaTable, lacking: &[MissingField], there: &SchemaRef) -> Error {
        let may_be_left_out =
            self.config.merge.is_some() && lacking.iter().all(|field| field.path.is_empty());
        let lacking: Vec<String> = lacking.iter().map(MissingField::full_name).collect();
        let what = format!(
            "table {} has no column {}; it has {}",
            table.store().url(),
            lacking.join(", "),
            names(there)
        );
        if self.holds_dead_letters {
            return Error::config(what);
        }
        Error::config(what).hint(if may_be_left_out {
            "set sink.options.mergeSchema: true to add them, name them in sink.merge.exceptColumns to leave them out of the table (deleteWhen may still read them), or leave them out of the stream in sql or source.value.schema"
        } else {
            "set sink.options.mergeSchema: true to add them, or leave them out of the stream in sql or source.value.schema"
        })
    }

    /// How rows of `columns` fit the table with the columns `schema`.
    fn admission_to(&self, table: &DeltaTable, schema: &SchemaRef, columns: &SchemaRef) -> Result<Fit> {
        let target = admission::Target {
            schema,
            partition_columns: table.partition_columns(),
            path_bytes_max: table.partition_path_bytes_max(),
            name: table.store().url().as_str(),
        };
        Admission::of(columns, &target, self.zone.clone())
    }
}

impl Sink for DeltaAppend {
    fn describe(&self) -> Description {
        Description { name: format!("DeltaSink[{}]", self.store.url()), delivery: Delivery::Transactional }
    }

    fn target(&self) -> Target {
        Target {
            location: self.store.url().to_string(),
            id: self.table.as_ref().map(|table| table.id().to_owned()),
            version: self.table.as_ref().map(DeltaTable::version),
        }
    }

    fn check(&self, columns: &SchemaRef) -> Result<Option<Admission>> {
        self.fit(columns)
    }

    fn state(&mut self, query_id: &str, since: Option<u64>) -> Result<SinkState> {
        let Some(table) = &mut self.table else { return Ok(SinkState::default()) };
        let forgets_transactions = table.forgets_transactions();
        let Some(transaction) = table.transaction(query_id)? else {
            return Ok(SinkState { forgets_transactions, ..SinkState::default() });
        };
        let commit = history::newest_commit_since(table, query_id, since)?;
        if let Some(commit) = &commit {
            self.vacuum.note_earlier_commit(commit.timestamp_ms);
        }
        let commit =
            commit.filter(|commit| commit.batch_id == transaction).map(SinkCommit::of).transpose()?;
        self.newest = commit.as_ref().map(|commit| (query_id.to_owned(), commit.version));
        Ok(SinkState { transaction: Some(transaction), commit, forgets_transactions })
    }

    fn newest_commits(&self) -> Result<BTreeMap<String, SinkCommit>> {
        let Some(table) = &self.table else { return Ok(BTreeMap::new()) };
        let commits = history::newest_commits(table)?;
        commits.into_iter().map(|(query, commit)| Ok((query, SinkCommit::of(commit)?))).collect()
    }

    fn has_served(&mut self, stream: &str, checkpoint_location: &str) -> Result<bool> {
        let Some(table) = &mut self.table else { return Ok(false) };
        Ok(table.transaction(&binding_id(stream, checkpoint_location))?.is_some())
    }

    fn warnings(&self, columns: &SchemaRef) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.table.as_ref().is_some_and(DeltaTable::forgets_transactions) {
            warnings.push("the table forgets transactions (delta.setTransactionRetentionDuration): a batch that was committed and not logged would be written twice if another tool cleaned its commit out of the table's log".to_owned());
        }
        let (partition_by, columns) = match &self.table {
            // Its log has been read; a schema that can't be is refused elsewhere.
            Some(table) => (
                table.partition_columns().to_vec(),
                table.arrow_schema().unwrap_or_else(|_| Arc::clone(columns)),
            ),
            None => (spelled_as_columns(&self.config.partition_by, columns), Arc::clone(columns)),
        };
        let is_of_instants = |name: &&String| {
            let column = columns.fields().iter().find(|field| same_name(field.name(), name));
            column.is_some_and(|field| matches!(field.data_type(), DataType::Timestamp(_, _)))
        };
        warnings.extend(partition_by.iter().find(is_of_instants).map(|name| {
            format!("the table is partitioned by {name}, a TIMESTAMP: each of its values has a folder and files of its own; a DATE, such as to_date({name}) in sql, makes one a day")
        }));
        warnings
    }

    fn probe(&self) -> Result<()> {
        self.store.probe_write(".alluvia-probe")?;
        match &self.table {
            Some(_) => self.store.probe_write("_delta_log/.alluvia-probe"),
            None => check_new_place(&self.store),
        }
    }

    fn prepare(&mut self, columns: &SchemaRef) -> Result<Option<Admission>> {
        self.fit(columns)?;
        if self.table.is_none() {
            let DeltaSink { partition_by, table_properties, .. } = &self.config;
            let partition_by = spelled_as_columns(partition_by, columns);
            let table = DeltaTable::create(&self.store, columns, &partition_by, table_properties)?;
            self.table = Some(table);
        }
        // Of another writer's table, if that one was faster, no less.
        self.fit(columns)?;
        let table = self.table.as_mut().ok_or_else(not_prepared)?;
        let there = table.arrow_schema()?;
        let missing = admission::missing(columns, &there, table.store().url().as_str())?;
        if !missing.is_empty() {
            table.add_columns(&missing)?;
            crate::failpoint!("columns.added");
        }
        self.maintenance_checked_to = self.table_mut()?.version();
        self.admission = self.fit(columns)?;
        Ok(self.admission.clone())
    }

    fn begin(&self, run: &BatchRun, account: &Arc<MemoryAccount>) -> Result<Arc<dyn AttemptWriter>> {
        Ok(Arc::new(self.begin_files(run, account)?))
    }

    fn commit(&mut self, batch: &BatchCommit, parts: Vec<Part>) -> Result<CommitOutcome> {
        let files = super::files(parts)?;
        if batch.replaces_table {
            self.commit_in_place(batch, &files)
        } else {
            self.commit_files(batch, files)
        }
    }

    fn take_conflicts(&mut self) -> u32 {
        self.table.as_mut().map_or(0, DeltaTable::take_conflicts)
    }

    fn metrics(&self) -> SinkMetrics {
        SinkMetrics { counts: self.compaction.counts(), ..SinkMetrics::default() }
    }

    fn maintain(&mut self, account: &Arc<MemoryAccount>) {
        self.maintain_log();
        self.compact(account);
        self.vacuum();
    }

    fn take_compacted(&mut self) -> Option<Compacted> {
        self.compaction.take()
    }

    fn take_vacuumed(&mut self) -> Option<VacuumReport> {
        self.vacuum.take()
    }

    fn finish(&mut self, goes_on: &mut dyn FnMut() -> bool) {
        self.finish_log_maintenance(goes_on);
        self.finish_compaction(goes_on);
        self.finish_vacuum(goes_on);
    }
}

/// The application id of a stream at the location of its checkpoint, beside its query's: the table's transactions
/// say by it whether the stream has written to the table before, and no commit has to be read for that.
fn binding_id(stream: &str, checkpoint_location: &str) -> String {
    let name = format!("{stream}\n{checkpoint_location}");
    format!("alluvia-{}", Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()))
}

/// Refuses a stream that lacks a column of the table that has a default: Spark would fill it in.
fn check_defaults(columns: &SchemaRef, table: &DeltaTable) -> Result<()> {
    let lacks = |column: &String| {
        let top = column.split('.').next().unwrap_or_default();
        !columns.fields().iter().any(|field| field.name().eq_ignore_ascii_case(top))
    };
    let lacking: Vec<String> = table.columns_with_default().into_iter().filter(lacks).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    Err(Error::config(format!(
        "column {} of table {} has a default, and the stream has no such column",
        lacking.join(", "),
        table.store().url()
    ))
    .hint("defaults are SQL, which is not evaluated: add the column in sql or source.value.schema, or ALTER TABLE … ALTER COLUMN … DROP DEFAULT"))
}

fn not_prepared() -> Error {
    Error::internal("a Delta table was written to before it was prepared")
}

/// Checks `partitionBy` against the stream's columns and, if it is there, the table.
fn check_partitions(sink: &DeltaSink, table: Option<&DeltaTable>, stream: &SchemaRef) -> Result<()> {
    for name in &sink.partition_by {
        let column = stream.field(position_in(stream, "sink.partitionBy", name)?);
        if matches!(column.data_type(), DataType::Struct(_) | DataType::List(_) | DataType::Map(_, _)) {
            return Err(Error::config(format!(
                "sink.partitionBy names {name}, which is {}; a table can't be partitioned by such a column",
                name_of(column.data_type())
            )));
        }
    }
    if sink.partition_by.len() >= stream.fields().len() {
        return Err(Error::config(
            "sink.partitionBy names every column; a table needs one that is not partitioned by",
        ));
    }
    let Some(table) = table else { return Ok(()) };
    let there = table.partition_columns();
    let same = there.len() == sink.partition_by.len()
        && there.iter().zip(&sink.partition_by).all(|(there, wanted)| same_name(there, wanted));
    if sink.partition_by.is_empty() || same {
        return Ok(());
    }
    Err(Error::config(format!(
        "table {} is partitioned by [{}], sink.partitionBy says [{}]",
        table.store().url(),
        there.join(", "),
        sink.partition_by.join(", ")
    ))
    .hint("leave sink.partitionBy out to write to the table as it is"))
}

/// The position among the stream's columns of the one that `setting` calls `name`.
fn position_in(stream: &SchemaRef, setting: &str, name: &str) -> Result<usize> {
    let position = stream.fields().iter().position(|field| same_name(field.name(), name));
    position.ok_or_else(|| {
        Error::config(format!("{setting} names {name}, which is not a column of the stream"))
            .hint(format!("the columns are {}", names(stream)))
    })
}

/// Column names are one if they differ in case alone.
fn same_name(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

/// Names of columns as the columns spell them.
fn spelled_as_columns(given: &[String], columns: &SchemaRef) -> Vec<String> {
    let spelled = |name: &String| columns.fields().iter().find(|field| same_name(field.name(), name));
    given
        .iter()
        .map(|name| spelled(name).map_or_else(|| name.clone(), |field| field.name().clone()))
        .collect()
}

fn names(schema: &SchemaRef) -> String {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    names.join(", ")
}
