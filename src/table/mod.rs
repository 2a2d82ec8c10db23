//! A Delta table: its snapshot, one commit per micro-batch, its history and maintenance.
//!
//! The only door to the Delta kernel. A [`DeltaTable`] holds the *lazy* snapshot that the next
//! commit is made against: protocol, metadata and the names of the log files since the last
//! checkpoint, never the table's files. While Alluvia is the table's only writer a commit is one
//! PUT and one GET (`head`); each commit hands over the next snapshot (research: delta-rs.md 4.1).
//!
//! Everything here blocks; call it from a blocking thread, never from an async worker.

mod actions;
mod add_columns;
mod added_file;
mod codec;
pub mod commit;
pub mod compact;
pub mod create;
mod damage;
mod data_engine;
mod data_file;
mod encoder;
mod error;
mod features;
mod file_bytes;
mod file_entry;
mod file_rows;
pub mod files;
mod head;
pub mod history;
mod inner_fields;
pub(crate) mod int96;
pub mod key_index;
mod live_files;
mod log_engine;
pub mod maintenance;
mod storage_handler;
mod table_engine;
mod partition;
pub mod read;
mod read_log;
pub mod reader;
mod row_changes;
mod sidecars;
mod sorted_runs;
mod statistics;
pub mod table_stats;
#[cfg(test)]
mod test_log;
mod trial;
mod upload;
pub mod vacuum;
mod writer_settings;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use delta_kernel::actions::{Metadata, Protocol};
use delta_kernel::engine::arrow_conversion::TryIntoArrow;
use delta_kernel::table_configuration::TableConfiguration;
use delta_kernel::table_features::ColumnMappingMode;
use delta_kernel::{Engine, Snapshot, SnapshotRef};

use crate::model::{Error, Result};
use crate::storage::Store;

use self::features::Shown;
use self::read_log::{For, read_log};

pub use added_file::AddedFile;
pub use commit::{Append, Appended, Reads};
pub use create::check_new_place;
pub(crate) use damage::log_error;
pub(crate) use error::kernel_error;
pub use file_entry::FileEntry;
pub use file_rows::{FileRows, ReadFailure, RowReader};
pub use files::FileWriter;
pub use history::OwnCommit;
pub use row_changes::{ChangedBy, NewVector, RowChanges, check_new_table};
pub use trial::{refused_rows, write_into_memory};
pub use writer_settings::{FileOrigin, WriteState, WriterSettings};

/// What `commitInfo.engineInfo` and a data file's `created_by` say.
pub const ENGINE_INFO: &str = concat!("Alluvia/", env!("CARGO_PKG_VERSION"));

/// A Delta table as one stream sees it.
pub struct DeltaTable {
    store: Store,
    engine: Arc<dyn Engine>,
    /// As the kernel is shown it for writing.
    snapshot: SnapshotRef,
    /// What the log says of the table, where `snapshot` says something else.
    own: Option<Arc<TableConfiguration>>,
    /// What `snapshot` holds for the application ids asked for so far; emptied whenever commits of others come into
    /// it.
    transactions: BTreeMap<String, Option<i64>>,
    /// The commit of the snapshot's version; `None` if the log no longer holds it.
    head: Option<head::LogHead>,
    /// Commits that lost their version to another writer, since this was last taken.
    conflicts: u32,
}

impl DeltaTable {
    /// How many commits lost their version to another writer, since this was last asked.
    pub fn take_conflicts(&mut self) -> u32 {
        std::mem::take(&mut self.conflicts)
    }

    /// Opens the table in `store`; `None` if there is none.
    ///
    /// # Errors
    /// `Config` if the table needs features that Alluvia can't write, or has a property that can't be read; `Corrupt` if
    /// its log can't be read; `Unavailable` if storage does not answer.
    pub fn open(store: &Store) -> Result<Option<DeltaTable>> {
        let engine = engine(store);
        let Some(snapshot) = read_log(store, &engine, For::Writing)? else { return Ok(None) };
        let Shown { snapshot, own } = features::for_writing(snapshot, store)?;
        let mut table = DeltaTable {
            store: store.clone(),
            engine,
            snapshot,
            own,
            transactions: BTreeMap::new(),
            head: None,
            conflicts: 0,
        };
        table.refuse_what_cannot_be_written()?;
        // Whoever made the newest commit may have died before its flush, and a start rests on it.
        store.sync(&history::commit_name(table.version()))?;
        table.head = table.read_head(table.version())?;
        Ok(Some(table))
    }

    /// The folder the table is in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The version of the snapshot that the next commit is made against.
    pub fn version(&self) -> u64 {
        self.snapshot.version()
    }

    /// The table's identity, `metaData.id`; a replaced table has another.
    pub fn id(&self) -> &str {
        self.metadata().id()
    }

    /// The columns the table is partitioned by, in order.
    pub fn partition_columns(&self) -> &[String] {
        self.metadata().partition_columns()
    }

    /// Whether the table has column mapping, which allows any name for a column.
    pub fn has_column_mapping(&self) -> bool {
        self.snapshot.table_configuration().column_mapping_mode() != ColumnMappingMode::None
    }

    /// Bytes that the names of a file's partition folders may take together; `None` if partition values are in no
    /// path.
    pub fn partition_path_bytes_max(&self) -> Option<usize> {
        /// Bytes of a data file's name and of the separators around it, and some more.
        const FILE_NAME_BYTES: usize = 96;
        let configuration = self.metadata().configuration();
        let prefixes = configuration.get("delta.randomizeFilePrefixes");
        if self.has_column_mapping() || prefixes.is_some_and(|set| set.eq_ignore_ascii_case("true")) {
            return None;
        }
        // PATH_MAX of Linux; the longest name of an Azure blob. Other stores allow as many or more.
        let whole = if self.store.url().scheme() == "file" { 4096 } else { 1024 };
        Some(usize::saturating_sub(whole, self.store.url().path().len() + FILE_NAME_BYTES))
    }

    /// The table's columns, logical names, partition columns included.
    ///
    /// # Errors
    /// `Config` if a type has no Arrow form.
    pub fn arrow_schema(&self) -> Result<SchemaRef> {
        let schema: arrow::datatypes::Schema =
            self.snapshot.schema().as_ref().try_into_arrow().map_err(|e| {
                Error::config(format!("the schema of {} has no Arrow form", self.store.url())).source(e)
            })?;
        Ok(Arc::new(schema))
    }

    /// The newest version of the application transaction `app_id` in the current snapshot: Delta's
    /// `txn` action. Read from storage once, then known from our own commits. Where the table forgets
    /// transactions, the one of the newest commit that its log still holds.
    ///
    /// # Errors
    /// As for [`DeltaTable::open`].
    pub fn transaction(&mut self, app_id: &str) -> Result<Option<i64>> {
        if let Some(known) = self.transactions.get(app_id) {
            return Ok(*known);
        }
        let mut found = self
            .snapshot
            .get_app_id_version(app_id, self.engine.as_ref())
            .map_err(|e| log_error(e, "read the application transaction", &self.store))?;
        if found.is_none() && self.forgets_transactions() {
            found = history::newest_commit_of(self, app_id)?.map(|commit| commit.batch_id);
        }
        self.transactions.insert(app_id.to_owned(), found);
        Ok(found)
    }

    /// Whether the table forgets transactions after a while (`delta.setTransactionRetentionDuration`).
    pub fn forgets_transactions(&self) -> bool {
        self.metadata().configuration().contains_key("delta.setTransactionRetentionDuration")
    }

    /// Reads the log again, from the current snapshot on.
    ///
    /// # Errors
    /// As for [`DeltaTable::open`].
    pub fn refresh(&mut self) -> Result<()> {
        let fresh = self.newest()?;
        self.adopt(fresh)
    }

    /// The same, where what was written for the table must still fit it.
    ///
    /// # Errors
    /// As for [`DeltaTable::open`]; `Conflict` if its schema, partitioning or protocol was changed, `Corrupt` if it was
    /// replaced.
    pub(crate) fn refresh_unchanged(&mut self) -> Result<()> {
        let before = commit::TableGuard::of(&self.snapshot);
        self.refresh()?;
        before.check(&commit::TableGuard::of(&self.snapshot), self)
    }

    /// The newest snapshot, made from the current one: what this has seen is not read again. Not from the one that the
    /// kernel is shown: a commit with new properties may use what its protocol leaves out.
    fn newest(&self) -> Result<Shown> {
        let current = features::as_in_the_log(&self.snapshot, self.own.as_deref(), &self.store)?;
        let newest = Snapshot::builder_from(current)
            .build(self.engine.as_ref())
            .map_err(|e| log_error(e, "read the Delta log", &self.store))?;
        features::for_writing(newest, &self.store)
    }

    /// Goes on from `fresh`, which others have made; nothing is changed if its head can't be read.
    fn adopt(&mut self, fresh: Shown) -> Result<()> {
        self.head = self.read_head(fresh.snapshot.version())?;
        (self.snapshot, self.own) = (fresh.snapshot, fresh.own);
        self.transactions.clear();
        Ok(())
    }

    /// The size that its data files should have.
    pub fn target_file_bytes(&self) -> u64 {
        let target = self.snapshot.table_properties().target_file_size;
        target.map_or(table_stats::TARGET_FILE_BYTES, std::num::NonZero::get)
    }

    /// Whether the table's properties ask its writers to join small files (`delta.autoOptimize.autoCompact`).
    pub fn asks_for_compaction(&self) -> bool {
        let set = self.metadata().configuration().get("delta.autoOptimize.autoCompact");
        set.is_some_and(|set| ["true", "auto", "legacy"].contains(&set.to_lowercase().as_str()))
    }

    /// What file writers need to know of the table, as of the current snapshot.
    ///
    /// # Errors
    /// `Config` if the kernel can't write the table.
    pub fn write_state(&self) -> Result<Arc<WriteState>> {
        let mut transaction = Arc::clone(&self.snapshot)
            .transaction(Box::new(delta_kernel::committer::FileSystemCommitter::new()), self.engine.as_ref())
            .map_err(|e| kernel_error(e, "prepare a write", &self.store))?;
        // Who appends sees to it that the stream has the columns with defaults.
        transaction.ack_column_defaults();
        let kernel =
            transaction.write_state().map_err(|e| kernel_error(e, "prepare a write", &self.store))?;
        Ok(Arc::new(WriteState { kernel, codec: features::codec(self.metadata(), &self.store)? }))
    }

    /// The kernel's engine for this table.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    pub(crate) fn metadata(&self) -> &Metadata {
        self.snapshot.table_configuration().metadata()
    }

    /// The table's protocol as the log has it.
    fn protocol(&self) -> &Protocol {
        self.own.as_deref().unwrap_or_else(|| self.snapshot.table_configuration()).protocol()
    }

    /// The properties of which the kernel is shown another value, as the log has them.
    fn unrestated_properties(&self) -> Vec<(String, String)> {
        let own = self.own.as_deref().map(TableConfiguration::metadata);
        own.map(|own| features::unrestated(self.metadata(), own)).unwrap_or_default()
    }

    /// Asks the kernel for a write before anything is written, so that a table it can't write is
    /// refused at the start and with its features named.
    fn refuse_what_cannot_be_written(&self) -> Result<()> {
        let Err(refusal) = self.write_state() else { return Ok(()) };
        Err(features::refusal(self.protocol(), self.metadata(), &self.store, refusal))
    }

    /// The columns that have a default, nested ones by their path. Defaults are SQL, which is not evaluated: a stream
    /// must have these columns itself.
    pub fn columns_with_default(&self) -> Vec<String> {
        features::columns_with(self.metadata(), "CURRENT_DEFAULT")
    }
}

/// The error of a place where there is no table.
pub fn no_table(store: &Store) -> Error {
    Error::config(format!("there is no Delta table at {}", store.url()))
        .hint("name the table's folder or URL, or a stream file whose sink is a Delta table that has been written to")
}

/// The kernel's engine over a store.
fn engine(store: &Store) -> Arc<dyn Engine> {
    Arc::new(data_engine::data_engine(store))
}
