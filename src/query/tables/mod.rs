//! Static tables: what a stream is joined with, as it is when a micro-batch is planned.
//!
//! A table's version is asked for when a batch is planned, and stored in the plan; its rows are read once per version
//! and only in the columns that the query reads. Rows are kept in memory as a whole: a table that is larger than the
//! limit is refused with its size. They count against the stream's memory, of a table that changes both versions until
//! nobody has the former one. Where all that lasts is more than the process may hold, a table is refused when its stream reads
//! it for the first time. A stream that has run with it goes on: what can be written out is written out earlier then.

mod files;
mod partitions;
mod texts;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};

use self::files::FileTable;
use super::conf::Conf;
use super::run::TableRows;
use crate::decode::schema::StructType;
use crate::model::error::Context;
use crate::model::{Error, MemoryAccount, MemoryClaim, Result, TableFormat};
use crate::storage::Store;
use crate::table::reader::TableReader;

/// Where a table is and how it is read.
#[derive(Debug, Clone)]
pub struct TableSource {
    /// The name that the query calls it by.
    pub name: String,
    /// How it is stored.
    pub format: TableFormat,
    /// Its folder, or its one file.
    pub store: Store,
    /// Its columns; required for CSV and JSON, taken from the files for Parquet, never given for Delta.
    pub schema: Option<StructType>,
    /// CSV: whether the first line of a file has names.
    pub header: bool,
    /// CSV: what is between two values.
    pub separator: u8,
    /// The query's settings: its time zone is that of times in texts.
    pub conf: Conf,
}

/// A table that is open.
pub struct StaticTable {
    source: TableSource,
    reader: Reader,
    schema: SchemaRef,
    limit_bytes: usize,
    /// The rows of the version that was read last.
    read: Option<TableRows>,
    /// Whether a version was read, so that the stream has begun with the table.
    has_begun: bool,
}

enum Reader {
    Delta(Box<TableReader>),
    Files(Box<FileTable>),
}

impl StaticTable {
    /// Opens a table, which must be there; `limit_bytes` is what its rows may take in memory.
    ///
    /// # Errors
    /// `Config` if it is not there or has no columns; `Corrupt` or `Unavailable` if it cannot be read.
    pub fn open(source: TableSource, limit_bytes: usize) -> Result<StaticTable> {
        let opened = match source.format {
            TableFormat::Delta => TableReader::open(&source.store).and_then(|table| {
                let table = table.ok_or_else(|| {
                    Error::config(format!("there is no Delta table at {}", source.store.url()))
                        .hint(format!("check tables.{}.path", source.name))
                })?;
                let schema = table.schema()?;
                Ok((Reader::Delta(Box::new(table)), schema))
            }),
            _ => FileTable::open(&source).map(|(files, schema)| (Reader::Files(Box::new(files)), schema)),
        };
        let (reader, schema) = opened.context(|| format!("open table {}", source.name))?;
        Ok(StaticTable { source, reader, schema, limit_bytes, read: None, has_begun: false })
    }

    /// The name that the query calls it by.
    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// Its columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The version that it has now.
    ///
    /// # Errors
    /// `Corrupt` or `Unavailable` if it cannot be read; `Config` if it is gone.
    pub fn newest_version(&mut self) -> Result<String> {
        let version = match &mut self.reader {
            Reader::Delta(table) => table.newest_version(),
            Reader::Files(files) => files.newest_version(),
        };
        version.context(|| format!("read the version of table {}", self.source.name))
    }

    /// The rows of a version, with the columns at these positions of [`StaticTable::schema`]. They count against `account`.
    ///
    /// # Errors
    /// `Data` if the version cannot be read any more or has not the columns; `Config` if it is too large.
    pub fn rows(
        &mut self,
        version: &str,
        columns: &[usize],
        account: &Arc<MemoryAccount>,
    ) -> Result<TableRows> {
        if let Some(read) = self.read.as_ref().filter(|read| read.version == version) {
            return Ok(read.clone());
        }
        // What is kept of another version is not needed while this one is read.
        self.read = None;
        let wanted = self.schema.project(columns).map_err(|error| {
            Error::internal(format!("choose the columns of table {}", self.source.name)).source(error)
        })?;
        let mut limit = Limit {
            name: &self.source.name,
            bytes_max: self.limit_bytes,
            process: account.whole(),
            begins: !self.has_begun,
            claim: account.lasting_claim(),
            rows: Vec::new(),
        };
        let read = match &mut self.reader {
            Reader::Delta(table) => table.read(version, &wanted, &mut |rows| limit.take(rows)),
            Reader::Files(files) => files.read(version, &wanted, &mut |rows| limit.take(rows)),
        };
        read.context(|| format!("read table {}", self.source.name))?;
        if limit.has_no_room() {
            let refused = limit.refused();
            tracing::warn!(
                "the stream goes on with a table that has grown, but could not start with it: {refused}"
            );
        }
        let held = Some(Arc::new(limit.claim));
        let rows = TableRows { version: version.to_owned(), batches: Arc::new(limit.rows), held };
        self.read = Some(rows.clone());
        self.has_begun = true;
        Ok(rows)
    }
}

impl std::fmt::Debug for StaticTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StaticTable").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Rows that are kept, up to a limit.
struct Limit<'a> {
    name: &'a str,
    bytes_max: usize,
    /// What the process may hold.
    process: &'a MemoryAccount,
    /// Whether the stream begins, and may be refused for what the process has no room for.
    begins: bool,
    claim: MemoryClaim,
    rows: Vec<RecordBatch>,
}

impl Limit<'_> {
    fn take(&mut self, rows: RecordBatch) -> Result<()> {
        self.claim.set(self.claim.bytes() + rows.get_array_memory_size());
        if self.claim.bytes() > self.bytes_max {
            return Err(Error::config(format!(
                "table {} takes more than {} MiB of memory in the columns that sql reads; at most {} MiB are kept for a static table",
                self.name,
                mebibytes(self.claim.bytes()) - 1,
                mebibytes(self.bytes_max)
            ))
            .hint("raise memoryLimit, read fewer columns, or join a smaller table"));
        }
        if self.begins && self.has_no_room() {
            return Err(self.refused());
        }
        self.rows.push(rows);
        Ok(())
    }

    /// Whether the process may not hold what lasts, whatever else is written out.
    fn has_no_room(&self) -> bool {
        self.process.lasting_bytes() > self.process.limit_bytes()
    }

    fn refused(&self) -> Error {
        Error::config(format!(
            "with the {} MiB that were read of table {} static tables take {} MiB of this process's memory; it may hold {} MiB, half of what its container or machine has",
            mebibytes(self.claim.bytes()),
            self.name,
            mebibytes(self.process.lasting_bytes()),
            mebibytes(self.process.limit_bytes())
        ))
        .hint("give the process more memory, read fewer columns, join a smaller table, or run the stream in a process of its own")
    }
}

fn mebibytes(bytes: usize) -> usize {
    bytes.div_ceil(1 << 20)
}

/// Rows in the columns and types of `wanted`, which they have by name.
///
/// # Errors
/// `Data` if a column is gone or has a type that does not fit.
pub(super) fn fit(rows: &RecordBatch, wanted: &Schema) -> Result<RecordBatch> {
    let column = |field: &arrow::datatypes::FieldRef| {
        let index = rows.schema_ref().index_of(field.name()).map_err(|_| {
            Error::data(format!("column {} is gone", field.name())).hint("start the stream again")
        })?;
        let array = rows.column(index);
        if array.data_type() == field.data_type() {
            return Ok(Arc::clone(array));
        }
        arrow::compute::cast(array, field.data_type())
            .map_err(|error| Error::data(format!("column {} has another type", field.name())).source(error))
    };
    let columns = wanted.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let schema: Vec<_> =
        wanted.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    RecordBatch::try_new_with_options(Arc::new(Schema::new(schema)), columns, &options)
        .map_err(|error| Error::internal("make rows of a static table").source(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::test_runtime;

    /// A table of one JSON file, and the folder that it is in.
    fn table(rows: usize, limit_bytes: usize) -> (tempfile::TempDir, StaticTable) {
        let folder = tempfile::tempdir().unwrap();
        write(&folder, rows);
        let url = url::Url::from_directory_path(folder.path()).unwrap();
        let store = Store::open(&url, &std::collections::BTreeMap::new(), test_runtime()).unwrap();
        let source = TableSource {
            name: "sites".into(),
            format: TableFormat::Json,
            store,
            schema: Some(StructType::from_ddl("device STRING").unwrap()),
            header: false,
            separator: b',',
            conf: Conf::default(),
        };
        (folder, StaticTable::open(source, limit_bytes).unwrap())
    }

    fn write(folder: &tempfile::TempDir, rows: usize) {
        let line = format!("{{\"device\":\"{}\"}}\n", "x".repeat(1000));
        std::fs::write(folder.path().join("part.json"), line.repeat(rows)).unwrap();
    }

    fn newest(table: &mut StaticTable, account: &Arc<MemoryAccount>) -> Result<TableRows> {
        let version = table.newest_version()?;
        table.rows(&version, &[0], account)
    }

    #[test]
    fn rows_count_against_the_stream_and_both_versions_of_a_table_while_somebody_has_them() {
        let process = MemoryAccount::new(64 << 20);
        let stream = process.part(32 << 20);
        let (folder, mut table) = table(1000, 32 << 20);
        let former = newest(&mut table, &stream).unwrap();
        let first = stream.used_bytes();
        assert!((1_000_000..4_000_000).contains(&first), "{first}");
        assert_eq!((process.used_bytes(), process.lasting_bytes()), (first, first));
        let again = newest(&mut table, &stream).unwrap();
        assert_eq!(stream.used_bytes(), first, "it is the same version");
        write(&folder, 3000);
        let newer = newest(&mut table, &stream).unwrap();
        let both = stream.used_bytes();
        assert!(both > first + 3_000_000, "{both} of both, {first} of the first");
        drop((former, again));
        assert_eq!(stream.used_bytes(), both - first);
        drop(newer);
        assert_eq!(stream.used_bytes(), both - first, "the table keeps its newest version");
        drop(table);
        assert_eq!((process.used_bytes(), process.lasting_bytes()), (0, 0));
    }

    #[test]
    fn a_table_that_the_process_has_no_room_for_is_refused_at_the_start_and_a_running_stream_goes_on() {
        let process = MemoryAccount::new(8 << 20);
        let stream = process.part(usize::MAX);
        let mut buffers = process.part(usize::MAX).claim();
        buffers.set(100 << 20);
        let (folder, mut running) = table(1000, 64 << 20);
        newest(&mut running, &stream).expect("buffers are written out, and make room");
        write(&folder, 20_000);
        let rows = newest(&mut running, &stream).expect("it has begun with the table");
        assert!(process.lasting_bytes() > 20_000_000);
        let error = newest(&mut table(1, 64 << 20).1, &process.part(usize::MAX)).unwrap_err();
        let error = error.to_string();
        for part in ["the 1 MiB that were read of table sites", "it may hold 8 MiB", "a process of its own"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        drop((rows, running));
        let (_folder, mut small) = table(1, 64 << 20);
        newest(&mut small, &stream).expect("there is room again");
        let (_folder, mut large) = table(20_000, 1 << 20);
        let error = newest(&mut large, &stream).unwrap_err().to_string();
        assert!(error.contains("at most 1 MiB are kept for a static table"), "{error}");
        assert!(process.lasting_bytes() < 1 << 20, "what was refused is not held");
    }
}
