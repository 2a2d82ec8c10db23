//! A table that is only read: the static side of a join.
//!
//! Beside [`super::DeltaTable`], which a stream writes: needs none of the features that a writer needs, and reads any
//! version that storage still holds. Deletion vectors and column mapping are the kernel's affair, once it is shown the mapping
//! that the table's property means ([`features::for_reading`]).

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use delta_kernel::Engine;
use delta_kernel::engine::arrow_conversion::TryIntoArrow;
use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use delta_kernel::snapshot::{Snapshot, SnapshotRef};
use delta_kernel::table_configuration::TableConfiguration;

use super::features::{self, Shown};
use super::read_log::{For, read_log, snapshot_at};
use super::{engine, kernel_error, log_error};
use crate::model::{Error, Result};
use crate::storage::Store;

/// A Delta table that others write.
pub struct TableReader {
    pub(super) store: Store,
    pub(super) engine: Arc<dyn Engine>,
    /// As the kernel is shown it for reading.
    pub(super) snapshot: SnapshotRef,
    /// What the log says of the table, where `snapshot` says something else.
    pub(super) own: Option<Arc<TableConfiguration>>,
}

impl TableReader {
    /// Opens the table in `store`; `None` if there is none.
    ///
    /// # Errors
    /// `Corrupt` if its log cannot be read; `Config` if its column mapping can't; `Unavailable` if storage does not answer.
    pub fn open(store: &Store) -> Result<Option<TableReader>> {
        let engine = engine(store);
        let Some(snapshot) = read_log(store, &engine, For::Reading)? else { return Ok(None) };
        let Shown { snapshot, own } = features::for_reading(snapshot, store)?;
        Ok(Some(TableReader { store: store.clone(), engine, snapshot, own }))
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
        let current = features::as_in_the_log(&self.snapshot, self.own.as_deref(), &self.store)?;
        let newest = Snapshot::builder_from(current)
            .build(self.engine.as_ref())
            .map_err(|e| log_error(e, "read the Delta log", &self.store))?;
        Shown { snapshot: self.snapshot, own: self.own } = features::for_reading(newest, &self.store)?;
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
        let snapshot = snapshot_at(&self.store, &self.engine, number).map_err(|error| {
            Error::data(format!("version {number} of table {} cannot be read any more", self.store.url()))
                .source(error)
                .hint("keep the logs and files of a joined table for as long as a micro-batch may have to be run again")
        })?;
        features::for_reading(snapshot, &self.store).map(|shown| shown.snapshot)
    }

    fn id(&self) -> &str {
        self.snapshot.table_configuration().metadata().id()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::Kind;
    use crate::table::int96::examples::{check, table};

    const LOG: &str = "_delta_log/00000000000000000000.json";

    /// The table whose columns are found by their ids, with its mode written as `mode`.
    fn mapped(mode: &str) -> Store {
        let store = table(true);
        let text = String::from_utf8(store.get(LOG).unwrap().unwrap().to_vec()).unwrap();
        let given = text.replace(
            r#""delta.columnMapping.mode":"id""#,
            &format!(r#""delta.columnMapping.mode":"{mode}""#),
        );
        store.put(LOG, given.into()).unwrap();
        store
    }

    #[test]
    fn columns_are_mapped_by_a_mode_in_any_case_in_every_version() {
        for mode in ["id", "Id", "ID"] {
            let store = mapped(mode);
            let mut reader = TableReader::open(&store).unwrap().unwrap();
            let columns = reader.schema().unwrap();
            let mut versions = vec![reader.newest_version().unwrap()];
            for version in 1..3 {
                let commit = Bytes::from_static(br#"{"commitInfo":{"timestamp":1,"operation":"x"}}"#);
                store.put(&format!("_delta_log/{version:020}.json"), commit).unwrap();
                versions.push(reader.newest_version().unwrap());
            }
            for version in versions {
                let mut rows = Vec::new();
                let mut take = |batch| {
                    rows.push(batch);
                    Ok(())
                };
                reader.read(&version, &columns, &mut take).unwrap();
                check(&rows, 4);
            }
            assert_eq!(reader.stats().unwrap().properties["delta.columnMapping.mode"], mode);
        }
        let refused = TableReader::open(&mapped("ids")).err().unwrap();
        assert_eq!(refused.kind(), Kind::Config, "{refused}");
        assert!(refused.to_string().contains("delta.columnMapping.mode is `ids`"), "{refused}");
    }
}
