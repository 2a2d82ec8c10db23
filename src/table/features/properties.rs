//! Table properties in the form that the kernel reads.
//!
//! Delta reads `True`, `30 days` and `100mb`. The kernel reads words in lower case, of an interval one number and one unit
//! behind `interval`, and sizes in bytes; any other value counts as not set, and what follows the first unit as not there.
//! Then files would be deleted before their time, features would not be in use, and mapped columns would be read as NULL.
//! So such a value is restated, and one that Delta can't read either is refused.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::time::Duration;

use delta_kernel::actions::Metadata;
use delta_kernel::table_configuration::TableConfiguration;
use delta_kernel::table_properties::TableProperties;

use crate::model::table_property::{Codec, size_bytes};
use crate::model::{Error, Result};
use crate::storage::Store;

/// Properties that are true or false, and decide what is written or deleted.
const BOOLEANS: [&str; 14] = [
    "delta.appendOnly",
    "delta.checkpoint.writeStatsAsJson",
    "delta.checkpoint.writeStatsAsStruct",
    "delta.enableChangeDataFeed",
    "delta.enableDeletionVectors",
    "delta.enableExpiredLogCleanup",
    "delta.enableIcebergCompatV1",
    "delta.enableIcebergCompatV2",
    "delta.enableIcebergCompatV3",
    "delta.enableInCommitTimestamps",
    "delta.enableRowTracking",
    "delta.enableTypeWidening",
    "delta.randomizeFilePrefixes",
    "delta.rowTrackingSuspended",
];

/// What the kernel has read of an interval.
type Read = fn(&TableProperties) -> Option<Duration>;

/// Properties that are intervals.
const INTERVALS: [(&str, Read); 3] = [
    ("delta.deletedFileRetentionDuration", |read| read.deleted_file_retention_duration),
    ("delta.logRetentionDuration", |read| read.log_retention_duration),
    ("delta.setTransactionRetentionDuration", |read| read.set_transaction_retention_duration),
];

const COLUMN_MAPPING: &str = "delta.columnMapping.mode";
const TARGET_FILE_SIZE: &str = "delta.targetFileSize";
const CODEC: &str = "delta.parquet.compression.codec";

/// Properties by their names, with values that mean for the kernel what the table's own mean for Delta.
pub(super) type Restated = BTreeMap<&'static str, String>;

/// The properties of a table of which the kernel reads another value than Delta.
///
/// # Errors
/// `Config`, naming the property, if Delta can't read its value.
pub(super) fn restated(table: &TableConfiguration, store: &Store) -> Result<Restated> {
    let given = table.metadata().configuration();
    let read = table.table_properties();
    let mut restated = restated_for_reading(table, store)?;
    for name in BOOLEANS {
        if let Some(value) = read.unknown_properties.get(name) {
            let word = one_of(value, &["true", "false"])
                .ok_or_else(|| unreadable(store, name, value, "neither `true` nor `false`", "true"))?;
            restated.insert(name, word);
        }
    }
    for (name, of) in INTERVALS {
        let Some(value) = given.get(name) else { continue };
        let meant = interval(value).ok_or_else(|| {
            unreadable(store, name, value, "no interval of weeks or less", "interval 30 days")
        })?;
        if of(read) != Some(meant) {
            let seconds = meant.as_secs() + u64::from(meant.subsec_nanos() > 0);
            restated.insert(name, format!("interval {seconds} seconds"));
        }
    }
    let target = target_file_bytes(table.metadata(), store)?;
    if target != read.target_file_size.map(NonZero::get)
        && let Some(bytes) = target
    {
        restated.insert(TARGET_FILE_SIZE, bytes.to_string());
    }
    // The kernel compresses nothing of a table's, so that this needs no other form.
    codec(table.metadata(), store)?;
    Ok(restated)
}

/// The same of the one property that decides what the rows of a table are.
///
/// # Errors
/// As for [`restated`].
pub(super) fn restated_for_reading(table: &TableConfiguration, store: &Store) -> Result<Restated> {
    let mut restated = Restated::new();
    if table.table_properties().column_mapping_mode.is_none()
        && let Some(value) = table.metadata().configuration().get(COLUMN_MAPPING)
    {
        let mode = one_of(value, &["none", "name", "id"]).ok_or_else(|| {
            unreadable(store, COLUMN_MAPPING, value, "none of `none`, `name` and `id`", "name")
        })?;
        restated.insert(COLUMN_MAPPING, mode);
    }
    Ok(restated)
}

/// The size that a table wants its data files to have, in bytes; `None` if it does not say.
///
/// # Errors
/// `Config`, naming the property, if it is no size.
pub(in crate::table) fn target_file_bytes(metadata: &Metadata, store: &Store) -> Result<Option<u64>> {
    let Some(value) = metadata.configuration().get(TARGET_FILE_SIZE) else { return Ok(None) };
    match size_bytes(value).filter(|bytes| *bytes > 0) {
        Some(bytes) => Ok(Some(bytes)),
        None => {
            Err(unreadable(store, TARGET_FILE_SIZE, value, "no size such as 100mb, 1g or 104857600", "100mb"))
        }
    }
}

/// How a table wants its data files to be compressed.
///
/// # Errors
/// `Config`, naming the property, if it names no codec of the protocol's.
pub(in crate::table) fn codec(metadata: &Metadata, store: &Store) -> Result<Codec> {
    let Some(value) = metadata.configuration().get(CODEC) else { return Ok(Codec::default()) };
    let fact = format!("none of {}", Codec::NAMES);
    Codec::of(value).ok_or_else(|| unreadable(store, CODEC, value, &fact, "snappy"))
}

/// The same metadata with properties restated.
///
/// # Errors
/// If the metadata has no JSON form, which the log gave it.
pub(super) fn with(metadata: &Metadata, restated: Restated) -> serde_json::Result<Metadata> {
    if restated.is_empty() {
        return Ok(metadata.clone());
    }
    let mut json = serde_json::to_value(metadata)?;
    for (name, value) in restated {
        json["configuration"][name] = value.into();
    }
    serde_json::from_value(json)
}

/// The word that a value is in any case.
fn one_of(value: &str, words: &[&str]) -> Option<String> {
    words.iter().find(|word| word.eq_ignore_ascii_case(value)).map(|word| (*word).to_owned())
}

/// An interval as Delta reads it: numbers with units, in any case, `interval` before them or not.
fn interval(text: &str) -> Option<Duration> {
    /// Milliseconds, which the kernel reckons in, are an `i64`.
    const SECONDS_MAX: u64 = i64::MAX as u64 / 1000;
    const NANOS: i128 = 1_000_000_000;
    let text = text.to_ascii_lowercase();
    let mut words = text.split_whitespace().peekable();
    words.next_if_eq(&"interval");
    words.peek()?;
    let mut sum: i128 = 0;
    while let Some(word) = words.next() {
        let (sign, number) = match word.strip_prefix('-') {
            Some(number) => (-1, number),
            None => (1, word.strip_prefix('+').unwrap_or(word)),
        };
        let number = if number.is_empty() { words.next()? } else { number };
        sum = sum.checked_add(sign * nanoseconds(number, words.next()?)?)?;
    }
    let seconds = u64::try_from(sum.div_euclid(NANOS)).ok().filter(|seconds| *seconds <= SECONDS_MAX)?;
    Some(Duration::new(seconds, u32::try_from(sum.rem_euclid(NANOS)).ok()?))
}

/// So many of a unit; of seconds there may be a fraction. Months and years have no length, and Delta refuses them.
fn nanoseconds(number: &str, unit: &str) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    if digits().next().is_none() || !digits().all(|digit| digit.is_ascii_digit()) || fraction.len() > 9 {
        return None;
    }
    let each: i128 = match unit.strip_suffix('s').unwrap_or(unit) {
        "second" => 1_000_000_000,
        _ if number.contains('.') => return None,
        "nanosecond" => 1,
        "microsecond" => 1_000,
        "millisecond" => 1_000_000,
        "minute" => 60_000_000_000,
        "hour" => 3_600_000_000_000,
        "day" => 86_400_000_000_000,
        "week" => 604_800_000_000_000,
        _ => return None,
    };
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction: i128 = format!("{fraction:0<9}").parse().ok()?;
    Some(i128::from(whole) * each + fraction)
}

fn unreadable(store: &Store, name: &str, value: &str, fact: &str, example: &str) -> Error {
    Error::config(format!(
        "the properties of table {} cannot be read: {name} is `{value}`, which is {fact}",
        store.url()
    ))
    .hint(format!(
        "ALTER TABLE … SET TBLPROPERTIES ('{name}' = '{example}') with what is meant, or UNSET TBLPROPERTIES ('{name}')"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_as_delta_reads_them() {
        const DAY: u64 = 24 * 3600;
        let seconds = |text: &str| interval(text).map(|interval| interval.as_secs());
        for (text, expected) in [
            ("interval 30 days", 30 * DAY),
            ("30 days", 30 * DAY),
            ("  INTERVAL  1 Week ", 7 * DAY),
            ("interval 1 week 2 days", 9 * DAY),
            ("1 week -1 day", 6 * DAY),
            ("- 1 hour + 2 hours", 3600),
            ("0 seconds", 0),
            ("1.5 seconds", 1),
            ("interval 36500 days", 36_500 * DAY),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        assert_eq!(interval("1.5 seconds"), Some(Duration::from_millis(1500)));
        assert_eq!(interval(".25 second"), Some(Duration::from_millis(250)));
        assert_eq!(interval("7 microseconds"), Some(Duration::from_micros(7)));
        for text in [
            "",
            "interval",
            "30",
            "days",
            "30days",
            "interval interval 1 day",
            "1 month",
            "interval 2 years",
            "1.5 days",
            ". seconds",
            "-1 day",
            "1 day and 2",
            "9223372036854775807 weeks",
            "99999999999999999999 days",
        ] {
            assert_eq!(interval(text), None, "{text}");
        }
    }
}
