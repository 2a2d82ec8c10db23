//! Properties of a Delta table that this process may make: which there are, and what they may say.
//!
//! A property with a value that Delta can't read makes a table that Spark refuses to open, so that it is refused here,
//! with its place. Names without `delta.` are the user's own.

use std::collections::BTreeMap;

use super::option_lists::OptionRow;
use super::problems::nearest;
use super::reader::{Reader, Text};
use crate::model::table_property::{Codec, size_bytes};

/// What a property may say.
#[derive(Debug, Clone, Copy)]
enum Form {
    Boolean,
    /// A whole number from 1 on.
    Positive,
    /// A whole number from 0 on, or -1 for all.
    CountOrAll,
    /// `interval 30 days`.
    Interval,
    /// A number of bytes, as Spark reads it.
    Size,
    /// One of the protocol's codecs.
    Codec,
    /// One of some words.
    Word(&'static [&'static str]),
    /// Column names with commas between them.
    Columns,
    /// Set by Delta itself.
    Internal,
}

/// Delta's properties (`DeltaConfig.scala` and the protocol).
static PROPERTIES: &[(&str, Form)] = &[
    ("delta.appendOnly", Form::Boolean),
    ("delta.autoOptimize.autoCompact", Form::Boolean),
    ("delta.autoOptimize.optimizeWrite", Form::Boolean),
    ("delta.checkpoint.writeStatsAsJson", Form::Boolean),
    ("delta.checkpoint.writeStatsAsStruct", Form::Boolean),
    ("delta.checkpointInterval", Form::Positive),
    ("delta.checkpointPolicy", Form::Word(&["classic", "v2"])),
    ("delta.columnMapping.maxColumnId", Form::Internal),
    ("delta.columnMapping.mode", Form::Word(&["none", "name", "id"])),
    ("delta.compatibility.symlinkFormatManifest.enabled", Form::Boolean),
    ("delta.dataSkippingNumIndexedCols", Form::CountOrAll),
    ("delta.dataSkippingStatsColumns", Form::Columns),
    ("delta.deletedFileRetentionDuration", Form::Interval),
    ("delta.enableChangeDataFeed", Form::Boolean),
    ("delta.enableDeletionVectors", Form::Boolean),
    ("delta.enableExpiredLogCleanup", Form::Boolean),
    ("delta.enableIcebergCompatV1", Form::Boolean),
    ("delta.enableIcebergCompatV2", Form::Boolean),
    ("delta.enableInCommitTimestamps", Form::Boolean),
    ("delta.enableRowTracking", Form::Boolean),
    ("delta.enableTypeWidening", Form::Boolean),
    ("delta.inCommitTimestampEnablementTimestamp", Form::Internal),
    ("delta.inCommitTimestampEnablementVersion", Form::Internal),
    ("delta.isolationLevel", Form::Word(&["Serializable", "WriteSerializable"])),
    ("delta.logRetentionDuration", Form::Interval),
    ("delta.minReaderVersion", Form::Positive),
    ("delta.minWriterVersion", Form::Positive),
    ("delta.parquet.compression.codec", Form::Codec),
    ("delta.randomPrefixLength", Form::Positive),
    ("delta.randomizeFilePrefixes", Form::Boolean),
    ("delta.sampleRetentionDuration", Form::Interval),
    ("delta.setTransactionRetentionDuration", Form::Interval),
    ("delta.targetFileSize", Form::Size),
    ("delta.tuneFileSizesForRewrites", Form::Boolean),
    ("delta.universalFormat.enabledFormats", Form::Columns),
];

const PREFIX: &str = "delta.";
const FEATURE: &str = "delta.feature.";
const CONSTRAINT: &str = "delta.constraints.";

/// Under which a session names the properties of new tables.
const DEFAULTS: &str = "spark.databricks.delta.properties.defaults.";
/// Options and settings that name the codec of Parquet files.
const CODEC: [&str; 2] = ["compression", "spark.sql.parquet.compression.codec"];

/// Whether an option or a setting sets a property.
pub(super) fn is_set_by(name: &str) -> bool {
    CODEC.contains(&name) || of(name).is_some()
}

/// The property that an option or a setting names.
fn of(name: &str) -> Option<String> {
    let behind = |start: &str| {
        let own = name.get(..start.len()).filter(|own| own.eq_ignore_ascii_case(start))?;
        name.get(own.len()..)
    };
    behind(DEFAULTS).or_else(|| behind(PREFIX)).map(|rest| format!("{PREFIX}{rest}"))
}

/// The properties that the honoured options of the mapping at `path` set. A property by its own name goes before a codec.
pub(super) fn set_by(
    reader: &mut Reader<'_>,
    options: &[(&'static OptionRow, Text)],
    path: &str,
) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    for (row, text) in options {
        let name = text.path.strip_prefix(path).map_or("", |key| key.trim_start_matches('.'));
        let (property, named) = match of(name) {
            Some(property) => (property, true),
            None if CODEC.contains(&row.name) => ("delta.parquet.compression.codec".to_owned(), false),
            None => continue,
        };
        if reader.parse(text, |value| check(&property, value)).is_none() {
            continue;
        }
        if named {
            properties.insert(property, text.value.clone());
        } else {
            properties.entry(property).or_insert_with(|| text.value.clone());
        }
    }
    properties
}

/// Checks a property's name and value.
///
/// # Errors
/// A sentence that says what is wrong, without the value itself.
pub(super) fn check(name: &str, value: &str) -> Result<(), String> {
    if !name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX)) {
        return Ok(());
    }
    if name.starts_with(CONSTRAINT) {
        return Err(
            "CHECK constraints are not evaluated, so that a table with one could not be written".into()
        );
    }
    if name.starts_with(FEATURE) {
        let known = ["supported", "enabled"].contains(&value);
        return known.then_some(()).ok_or_else(|| "a table feature is `supported`".into());
    }
    let Some((_, form)) = PROPERTIES.iter().find(|(known, _)| known == &name) else {
        let known = PROPERTIES.iter().map(|(known, _)| *known);
        let meant = nearest(name, known).map_or(String::new(), |known| format!("; did you mean {known}?"));
        return Err(format!("Delta has no property {name}{meant}"));
    };
    let whole: Option<i64> = value.trim().parse().ok();
    let (fits, expected) = match form {
        Form::Boolean => (["true", "false"].contains(&value), "true or false"),
        Form::Positive => (whole.is_some_and(|number| number > 0), "a whole number from 1 on"),
        Form::CountOrAll => {
            (whole.is_some_and(|number| number >= -1), "a whole number from 0 on, or -1 for all")
        }
        Form::Interval => (is_interval(value), "a time such as `interval 30 days`, in weeks at most"),
        Form::Size => (
            size_bytes(value).is_some_and(|bytes| bytes > 0),
            "a size from 1 byte on, such as 100mb or 104857600",
        ),
        Form::Codec if Codec::of(value).is_some() => (true, ""),
        Form::Codec => return Err(format!("expected one of {}", Codec::NAMES)),
        Form::Word(words) if words.contains(&value) => (true, ""),
        Form::Word(words) => return Err(format!("expected one of {}", words.join(", "))),
        Form::Columns => (!value.trim().is_empty(), "names with commas between them"),
        Form::Internal => return Err("Delta sets this property itself".into()),
    };
    if fits { Ok(()) } else { Err(format!("expected {expected}")) }
}

/// Whether the Delta kernel reads it as an interval; it knows one number and one unit.
fn is_interval(value: &str) -> bool {
    let words: Vec<&str> = value.split_whitespace().collect();
    let ["interval", number, unit] = words[..] else { return false };
    let units = ["nanosecond", "microsecond", "millisecond", "second", "minute", "hour", "day", "week"];
    number.parse::<u32>().is_ok() && units.contains(&unit.strip_suffix('s').unwrap_or(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_that_delta_cannot_read_are_refused() {
        for (name, value) in [
            ("delta.checkpointInterval", "10"),
            ("delta.appendOnly", "true"),
            ("delta.logRetentionDuration", "interval 30 days"),
            ("delta.logRetentionDuration", "interval 1 week"),
            ("delta.dataSkippingNumIndexedCols", "-1"),
            ("delta.columnMapping.mode", "name"),
            ("delta.feature.deletionVectors", "supported"),
            ("delta.targetFileSize", "100mb"),
            ("delta.targetFileSize", " 1G "),
            ("delta.targetFileSize", "104857600"),
            ("delta.parquet.compression.codec", "ZSTD"),
            ("delta.parquet.compression.codec", "none"),
            ("delta.parquet.compression.codec", "lz4_raw"),
            ("owner", "anything at all"),
        ] {
            assert_eq!(check(name, value), Ok(()), "{name}: {value}");
        }
        for (name, value, says) in [
            ("delta.checkpointInterval", "0", "a whole number from 1 on"),
            ("delta.checkpointInterval", "ten", "a whole number from 1 on"),
            ("delta.appendOnly", "yes", "true or false"),
            ("delta.logRetentionDuration", "30 days", "interval 30 days"),
            ("delta.logRetentionDuration", "interval 1 month", "in weeks at most"),
            ("delta.dataSkippingNumIndexedCols", "-2", "-1 for all"),
            ("delta.columnMapping.mode", "names", "none, name, id"),
            ("delta.columnMapping.maxColumnId", "7", "sets this property itself"),
            ("delta.constraints.positive", "c > 0", "CHECK constraints"),
            ("delta.checkpointIntervall", "10", "did you mean delta.checkpointInterval?"),
            ("delta.feature.deletionVectors", "true", "`supported`"),
            ("delta.targetFileSize", "0", "from 1 byte on"),
            ("delta.targetFileSize", "1.5g", "100mb"),
            ("delta.targetFileSize", "100 mb", "100mb"),
            ("delta.parquet.compression.codec", "brotli", "snappy, zstd, gzip"),
        ] {
            let error = check(name, value).expect_err(name);
            assert!(error.contains(says), "{name}: {value}: {error}");
        }
    }
}
