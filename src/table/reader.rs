//! A table that is only read: the static side of a join.
//!
//! Beside [`super::DeltaTable`], which a stream writes: needs none of the features that a writer needs, and reads any
//! version that storage still holds. Deletion vectors and column mapping are the kernel's affair.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use delta_kernel::Engine;
use delta_kernel::engine::arrow_conversion::TryIntoArrow;
use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use delta_kernel::snapshot::{Snapshot, SnapshotRef};

use super::{engine, kernel_error, log_error, read_log};
use crate::model::{Error, Result};
use crate::storage::Store;

/// A Delta table that others write.
pub struct TableReader {
    pub(super) store: Store,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) snapshot: SnapshotRef,
}

impl TableReader {
    /// Opens the table in `store`; `None` if there is none.
    ///
    /// # Errors
    /// `Corrupt` if its log cannot be read; `Unavailable` if storage does not answer.
    pub fn open(store: &Store) -> Result<Option<TableReader>> {
        let engine = engine(store);
        let Some(snapshot) = read_log(store, &engine)? else { return Ok(None) };
        Ok(Some(TableReader { store: store.clone(), engine, snapshot }))
    }

    /// Its columns in the newest version that was read.
    ///
    /// # Errors
    /// `Config` if a type has no Arrow form.
    pub fn schema(&self) -> Result<SchemaRef> {
        let schema: Schema = self.snapshot.schema().as_ref().try_into_arrow().map_err(|e| {
            Error::config(format!("the schema of {} has no Arrow form", self.store.url())).source(e)
        })?;
        Ok(Arc::new(schema))
    }

    /// The newest version, with the table's id: a table that was replaced has another.
    ///
    /// # Errors
    /// As for [`TableReader::open`].
    pub fn newest_version(&mut self) -> Result<String> {
        self.snapshot = Snapshot::builder_from(Arc::clone(&self.snapshot))
            .build(self.engine.as_ref())
            .map_err(|e| log_error(e, "read the Delta log", &self.store))?;
        Ok(format!("{}@{}", self.snapshot.version(), self.id()))
    }

    /// Hands the rows of `version` to `each`, in the columns of `wanted`.
    ///
    /// # Errors
    /// `Data` if the version is not readable any more, is of another table or lacks a column; what `each` returns.
    pub fn read(
        &mut self,
        version: &str,
        wanted: &Schema,
        each: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let snapshot = self.at(version)?;
        let failed = |e| kernel_error(e, "read the rows", &self.store);
        let names: Vec<&str> = wanted.fields().iter().map(|field| field.name().as_str()).collect();
        let columns = snapshot.schema().project(&names).map_err(|error| {
            Error::data(format!("version {version} of table {} lacks a column", self.store.url()))
                .source(error)
                .hint("start the stream again, so that sql is planned for the table as it is")
        })?;
        let scan = snapshot.scan_builder().with_schema(columns).build().map_err(failed)?;
        for data in scan.execute(Arc::clone(&self.engine)).map_err(failed)? {
            let rows = data.and_then(|data| data.try_into_record_batch()).map_err(failed)?;
            each(rows)?;
        }
        Ok(())
    }

    fn at(&self, version: &str) -> Result<SnapshotRef> {
        let (number, id) = version.split_once('@').unwrap_or((version, ""));
        let number: u64 = number
            .parse()
            .map_err(|_| Error::corrupt(format!("{version:?} is not a version of a Delta table")))?;
        if id != self.id() {
            return Err(Error::data(format!(
                "table {} was replaced since the micro-batch was planned",
                self.store.url()
            ))
            .hint("put the table back that the micro-batch was planned with"));
        }
        if number == self.snapshot.version() {
            return Ok(Arc::clone(&self.snapshot));
        }
        Snapshot::builder_for(self.store.url().as_str()).at_version(number).build(self.engine.as_ref()).map_err(|error| {
            Error::data(format!("version {number} of table {} cannot be read any more", self.store.url()))
                .source(error)
                .hint("keep the logs and files of a joined table for as long as a micro-batch may have to be run again")
        })
    }

    fn id(&self) -> &str {
        self.snapshot.table_configuration().metadata().id()
    }
}
