//! The columns that a stream's values become, as far as the text of the configuration tells them: a schema
//! that can't be read and a partition column that is none are found before anything is connected to.

use super::document::Node;
use super::formats::{SocketOptions, SourceFormat};
use super::reader::{Reader, Text};
use super::stream::{SourceConfig, ValueConfig};
use crate::decode::rows;
use crate::decode::schema::StructType;
use crate::model::{Error, RecordColumn, Result};

/// Whether the schema can be read and a table can hold its columns beside those of `keep`.
pub(super) fn check_schema(reader: &mut Reader<'_>, text: &Text, keep: &[RecordColumn]) -> bool {
    let Err(error) = names(&text.value, keep) else { return true };
    // The message quotes a word of the schema, which no one keeps secrets in.
    match error.hint_text() {
        Some(hint) => reader.problems.add_with_hint(&text.origin, &text.path, error.message(), hint),
        None => reader.problems.add(&text.origin, &text.path, error.message()),
    }
    false
}

/// Checks that a table can be partitioned by the columns that `node` names.
pub(super) fn check_partitions(reader: &mut Reader<'_>, node: &Node, path: &str, source: &SourceConfig) {
    let columns = match &source.value {
        ValueConfig::Json(json) => names(&json.schema, &json.keep),
        ValueConfig::Raw => Ok(raw_columns(source).into_iter().map(str::to_owned).collect()),
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

/// The columns that a source has of its own.
fn raw_columns(source: &SourceConfig) -> Vec<&'static str> {
    match &source.format {
        SourceFormat::Kafka(kafka) => {
            let all = RecordColumn::ALL.into_iter();
            let there = all.filter(|column| kafka.include_headers || *column != RecordColumn::Headers);
            there.map(RecordColumn::name).collect()
        }
        SourceFormat::Rate(_) => vec!["timestamp", "value"],
        SourceFormat::Socket(SocketOptions { include_timestamp: true, .. }) => vec!["value", "timestamp"],
        SourceFormat::Socket(_) => vec!["value"],
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
