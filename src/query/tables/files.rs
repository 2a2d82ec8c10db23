//! Tables of plain files: Parquet, CSV and JSON.
//!
//! Their version is a hash of their files' names, sizes and times. It says whether they changed; a version that is
//! gone cannot be read again.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::csv::ReaderBuilder;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use uuid::Uuid;

use super::{TableFormat, TableSource, fit};
use crate::decode::json::{JsonDecoder, JsonOptions, OnMalformed, Outcome, Policy};
use crate::decode::schema::StructType;
use crate::model::{Error, Result};
use crate::query::{Conf, Definition, Failure, Query, Relation, Runner, types};
use crate::storage::{Store, Stored};

/// The files of a table.
pub(super) struct FileTable {
    store: Store,
    format: TableFormat,
    schema: StructType,
    header: bool,
    separator: u8,
}

impl FileTable {
    /// The table and its columns.
    pub(super) fn open(source: &TableSource) -> Result<(FileTable, SchemaRef)> {
        let store = source.store.clone();
        let schema = match (&source.schema, source.format) {
            (Some(schema), _) => schema.to_nullable(),
            (None, TableFormat::Parquet) => types::of_schema(&parquet_schema(&store)?)?,
            (None, _) => {
                return Err(Error::config(format!("table {} needs its columns", source.name)).hint(format!(
                    "add tables.{}.schema, such as \"device STRING, site STRING\"",
                    source.name
                )));
            }
        };
        let arrow = Arc::new(schema.to_arrow()?);
        let table = FileTable {
            store,
            format: source.format,
            schema,
            header: source.header,
            separator: source.separator,
        };
        Ok((table, arrow))
    }

    pub(super) fn newest_version(&self) -> Result<String> {
        Ok(version_of(&files(&self.store)?))
    }

    pub(super) fn read(
        &self,
        version: &str,
        wanted: &Schema,
        take: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let files = files(&self.store)?;
        if version_of(&files) != version {
            return Err(Error::data(format!("the files at {} changed since the micro-batch was planned", self.store.url()))
                .hint("put the files back as they were, or make the table a Delta table, whose versions stay readable"));
        }
        for file in files {
            let Some(bytes) = self.store.get(&file.path)? else {
                return Err(Error::unavailable(format!("{} went while it was read", file.path)));
            };
            self.rows(bytes, wanted, take)?;
        }
        Ok(())
    }

    fn rows(
        &self,
        bytes: Bytes,
        wanted: &Schema,
        take: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        match self.format {
            TableFormat::Json => take(fit(&self.json(&bytes)?, wanted)?),
            TableFormat::Csv => self.csv(&bytes, wanted, take),
            _ => parquet(bytes, wanted, take),
        }
    }

    /// One object a line; a line that is malformed is a row of NULLs, as in Spark's PERMISSIVE.
    fn json(&self, bytes: &[u8]) -> Result<RecordBatch> {
        let policy = Policy { on_malformed: OnMalformed::Keep, enforce_not_null: false };
        let mut decoder = JsonDecoder::new(&self.schema, &JsonOptions::default(), policy)?;
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            if matches!(decoder.push(Some(line)), Outcome::Full) {
                return Err(Error::config("a JSON file is larger than a static table may be"));
            }
        }
        decoder.finish()
    }

    /// Every value is read as text and cast as `try_cast` does; what is no value is NULL, as in Spark's PERMISSIVE.
    fn csv(
        &self,
        bytes: &[u8],
        wanted: &Schema,
        take: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let failed = |error| Error::data("a CSV file cannot be read").source(error);
        let names = self.schema.fields.iter().map(|field| Field::new(&field.name, DataType::Utf8, true));
        let texts: SchemaRef = Arc::new(Schema::new(names.collect::<Vec<_>>()));
        let reader = ReaderBuilder::new(Arc::clone(&texts))
            .with_header(self.header)
            .with_delimiter(self.separator)
            .build(bytes)
            .map_err(failed)?;
        let casts: Vec<String> = self
            .schema
            .fields
            .iter()
            .map(|field| {
                let name = field.name.replace('`', "``");
                format!("try_cast(`{name}` AS {}) AS `{name}`", field.data_type.to_ddl())
            })
            .collect();
        let query = Query::plan(&Definition::of_stream(
            Relation { name: "input".into(), schema: texts },
            format!("SELECT {} FROM input", casts.join(", ")),
            Conf::default(),
        ))?;
        let run = Runner::new(query).begin(0, &[])?;
        for rows in reader {
            for rows in run.rows(rows.map_err(failed)?).map_err(|failure: Failure| Error::from(failure))? {
                take(fit(&rows, wanted)?)?;
            }
        }
        Ok(())
    }
}

fn parquet(bytes: Bytes, wanted: &Schema, take: &mut dyn FnMut(RecordBatch) -> Result<()>) -> Result<()> {
    let failed = |error| Error::data("a Parquet file cannot be read").source(error);
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(failed)?;
    let names = wanted.fields().iter().map(|field| field.name().as_str());
    let mask = ProjectionMask::columns(builder.parquet_schema(), names);
    for rows in builder.with_projection(mask).build().map_err(failed)? {
        let rows = rows.map_err(|error| Error::data("a Parquet file cannot be read").source(error))?;
        take(fit(&rows, wanted)?)?;
    }
    Ok(())
}

fn parquet_schema(store: &Store) -> Result<Schema> {
    let files = files(store)?;
    let Some(first) = files.first() else {
        return Err(Error::config(format!("there are no files at {}", store.url())));
    };
    let bytes = store.get(&first.path)?.unwrap_or_default();
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .map_err(|error| Error::data(format!("{} is not a Parquet file", first.path)).source(error))?;
    Ok(builder.schema().as_ref().clone())
}

/// The files of a folder, or the one file that the URL names; names that begin with `_` or `.` are not data.
fn files(store: &Store) -> Result<Vec<Stored>> {
    let mut files = store.listing()?;
    files.retain(|file| !file.path.split('/').any(|part| part.starts_with(['_', '.'])));
    if files.is_empty() {
        return Err(
            Error::config(format!("there are no files at {}", store.url())).hint("check the table's path")
        );
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn version_of(files: &[Stored]) -> String {
    let line =
        |file: &Stored| format!("{}\n{}\n{}\n{}", file.path, file.size_bytes, file.modified_ms, file.tag);
    let text: Vec<String> = files.iter().map(line).collect();
    Uuid::new_v5(&Uuid::NAMESPACE_OID, text.join("\n").as_bytes()).to_string()
}
