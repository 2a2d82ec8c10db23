//! Static tables: what a stream is joined with, as it is when a micro-batch is planned.
//!
//! A table's version is asked for when a batch is planned, and stored in the plan; its rows are read once per version
//! and only in the columns that the query reads. Rows are kept in memory as a whole: a table that is larger than the
//! limit is refused with its size.

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
use crate::model::{Error, Result};
use crate::storage::Store;
use crate::table::reader::TableReader;

/// How a table's rows are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFormat {
    /// A Delta table; its version is a number, and stays readable until it is vacuumed.
    Delta,
    /// Parquet files.
    Parquet,
    /// CSV files.
    Csv,
    /// JSON files, one object a line.
    Json,
}

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
        Ok(StaticTable { source, reader, schema, limit_bytes, read: None })
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

    /// The rows of a version, with the columns at these positions of [`StaticTable::schema`].
    ///
    /// # Errors
    /// `Data` if the version cannot be read any more or has not the columns; `Config` if it is too large.
    pub fn rows(&mut self, version: &str, columns: &[usize]) -> Result<TableRows> {
        if let Some(read) = self.read.as_ref().filter(|read| read.version == version) {
            return Ok(read.clone());
        }
        // What is kept of another version is not needed while this one is read.
        self.read = None;
        let wanted = self.schema.project(columns).map_err(|error| {
            Error::internal(format!("choose the columns of table {}", self.source.name)).source(error)
        })?;
        let mut limit = Limit::new(&self.source.name, self.limit_bytes);
        let read = match &mut self.reader {
            Reader::Delta(table) => table.read(version, &wanted, &mut |rows| limit.take(rows)),
            Reader::Files(files) => files.read(version, &wanted, &mut |rows| limit.take(rows)),
        };
        read.context(|| format!("read table {}", self.source.name))?;
        let rows = TableRows { version: version.to_owned(), batches: Arc::new(limit.rows) };
        self.read = Some(rows.clone());
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
    bytes: usize,
    rows: Vec<RecordBatch>,
}

impl<'a> Limit<'a> {
    fn new(name: &'a str, bytes_max: usize) -> Limit<'a> {
        Limit { name, bytes_max, bytes: 0, rows: Vec::new() }
    }

    fn take(&mut self, rows: RecordBatch) -> Result<()> {
        self.bytes += rows.get_array_memory_size();
        if self.bytes > self.bytes_max {
            let mebibytes = |bytes: usize| bytes.div_ceil(1 << 20);
            return Err(Error::config(format!(
                "table {} takes more than {} MiB of memory in the columns that sql reads; at most {} MiB are kept for a static table",
                self.name,
                mebibytes(self.bytes) - 1,
                mebibytes(self.bytes_max)
            ))
            .hint("raise memoryLimit, read fewer columns, or join a smaller table"));
        }
        self.rows.push(rows);
        Ok(())
    }
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
