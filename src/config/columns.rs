//! The columns that a stream's values become, as far as the text of the configuration tells them: a schema
//! that can't be read and a partition column that is none are found before anything is connected to.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::document::Node;
use super::formats::{RateOptions, SocketOptions, SourceFormat};
use super::reader::{Reader, Text};
use super::secrets;
use super::stream::{SourceConfig, ValueConfig};
use crate::decode::rows;
use crate::decode::schema::StructType;
use crate::model::{Error, RecordColumn, Result};

/// What a source delivers where values are not decoded.
#[derive(Debug, Clone)]
pub enum RawColumns {
    /// Records, and their columns.
    OfRecords(Vec<RecordColumn>),
    /// Rows in the source's own columns.
    OfRows(SchemaRef),
}

impl SourceFormat {
    /// The columns of the source where values are not decoded.
    pub fn columns(&self) -> RawColumns {
        match self {
            SourceFormat::Kafka(kafka) => {
                let all = RecordColumn::ALL.into_iter();
                let there = all.filter(|column| kafka.include_headers || *column != RecordColumn::Headers);
                RawColumns::OfRecords(there.collect())
            }
            SourceFormat::Rate(_) => RawColumns::OfRows(RateOptions::columns()),
            SourceFormat::Socket(options) => RawColumns::OfRows(options.columns()),
        }
    }
}

impl RateOptions {
    /// The columns of a rate source.
    pub fn columns() -> SchemaRef {
        Arc::new(Schema::new(vec![timestamp(), Field::new("value", DataType::Int64, true)]))
    }
}

impl SocketOptions {
    /// The columns of a socket source.
    pub fn columns(&self) -> SchemaRef {
        let value = Field::new("value", DataType::Utf8, true);
        Arc::new(Schema::new(match self.include_timestamp {
            true => vec![value, timestamp()],
            false => vec![value],
        }))
    }
}

fn timestamp() -> Field {
    Field::new("timestamp", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true)
}

/// The schema as DDL: as it is given, from Spark's JSON form (`df.schema.json()`), or from the file behind an `@`, as flags
/// have it. `None`: it could not be had, and the problem was added.
pub(super) fn ddl(reader: &mut Reader<'_>, mut text: Text) -> Option<Text> {
    if let Some(path) = text.value.trim().strip_prefix('@') {
        match secrets::resolve(&format!("${{file:{path}}}"), reader.lookup) {
            Ok(read) => text.value = read,
            Err(why) => {
                reader.problems.add(&text.origin, &text.path, why);
                return None;
            }
        }
    }
    if text.value.trim_start().starts_with('{') {
        match StructType::from_json(&text.value) {
            Ok(schema) => text.value = schema.to_ddl(),
            Err(error) => {
                refuse_schema(reader, &text, &error);
                return None;
            }
        }
    }
    Some(text)
}

/// Whether the schema can be read and a table can hold its columns beside those of `keep`.
pub(super) fn check_schema(reader: &mut Reader<'_>, text: &Text, keep: &[RecordColumn]) -> bool {
    let Err(error) = names(&text.value, keep) else { return true };
    refuse_schema(reader, text, &error);
    false
}

/// The message quotes a word of the schema, which no one keeps secrets in.
fn refuse_schema(reader: &mut Reader<'_>, text: &Text, error: &Error) {
    match error.hint_text() {
        Some(hint) => reader.problems.add_with_hint(&text.origin, &text.path, error.message(), hint),
        None => reader.problems.add(&text.origin, &text.path, error.message()),
    }
}

/// Checks that a table can be partitioned by the columns that `node` names.
pub(super) fn check_partitions(reader: &mut Reader<'_>, node: &Node, path: &str, source: &SourceConfig) {
    let columns = match &source.value {
        ValueConfig::Json(json) => names(&json.schema, &json.keep),
        ValueConfig::Raw => Ok(raw_names(source)),
    };
    let Ok(columns) = columns else { return };
    let given = reader.list(node, path);
    for text in &given {
        if !columns.iter().any(|column| same_name(column, &text.value)) {
            let why = format!("sink.partitionBy names {}, which is not a column of the stream", text.shown());
            let hint = format!("the columns are {}", columns.join(", "));
            reader.problems.add_with_hint(&text.origin, &text.path, why, hint);
        }
    }
    if columns.iter().all(|column| given.iter().any(|text| same_name(column, &text.value))) {
        let why = "sink.partitionBy names every column; a table needs one that is not partitioned by";
        reader.problems.add(&node.origin, path, why);
    }
}

/// The names of the columns that a source has of its own.
fn raw_names(source: &SourceConfig) -> Vec<String> {
    match source.format.columns() {
        RawColumns::OfRecords(columns) => columns.iter().map(|column| column.name().to_owned()).collect(),
        RawColumns::OfRows(columns) => columns.fields().iter().map(|field| field.name().clone()).collect(),
    }
}

/// Column names are one if they differ in case alone, as in Spark.
fn same_name(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

/// The names of the columns.
fn names(schema: &str, keep: &[RecordColumn]) -> Result<Vec<String>> {
    if schema.trim().is_empty() {
        return Err(Error::config("the schema is empty"));
    }
    let decoded = StructType::from_ddl(schema)?.to_arrow()?;
    let columns = rows::schema(Some(&decoded), keep)?;
    Ok(columns.fields().iter().map(|field| field.name().clone()).collect())
}
