//! Where a new query starts: Spark's `startingOffsets`, `startingTimestamp` and
//! `startingOffsetsByTimestamp`, as a question to the brokers and the reading of their answer.
//!
//! Pure: the question and the answers are values. Source: Spark's `KafkaOffsetReaderAdmin`
//! (`fetchSpecificOffsets`, `fetchSpecificTimestampBasedOffsets`).

use std::collections::BTreeMap;

use super::native::OffsetSpec;
use crate::config::kafka::{StartingOffsets, TimestampStrategy};
use crate::model::{Error, Offsets, Result, TopicPartition};

/// Where one partition starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// At this offset.
    At(i64),
    /// At what the broker answers.
    Ask(OffsetSpec),
}

/// The start of each of `partitions` under `starting`.
///
/// # Errors
/// `Config` if offsets are given and do not name exactly these partitions; both differences are listed.
pub(super) fn starts(
    starting: &StartingOffsets,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, Start>> {
    let all = |start: Start| Ok(partitions.iter().map(|p| (p.clone(), start)).collect());
    match starting {
        StartingOffsets::Earliest => all(Start::Ask(OffsetSpec::Earliest)),
        StartingOffsets::Latest => all(Start::Ask(OffsetSpec::Latest)),
        StartingOffsets::Timestamp(ms) => all(Start::Ask(OffsetSpec::At(*ms))),
        StartingOffsets::Timestamps(times) => {
            same_partitions("startingOffsetsByTimestamp", times, partitions)?;
            Ok(times.0.iter().map(|(p, &ms)| (p.clone(), Start::Ask(OffsetSpec::At(ms)))).collect())
        }
        StartingOffsets::Offsets(offsets) => {
            same_partitions("startingOffsets", offsets, partitions)?;
            offsets.0.iter().map(|(p, &offset)| Ok((p.clone(), start_at(p, offset)?))).collect()
        }
    }
}

fn start_at(partition: &TopicPartition, offset: i64) -> Result<Start> {
    match offset {
        -1 => Ok(Start::Ask(OffsetSpec::Latest)),
        -2 => Ok(Start::Ask(OffsetSpec::Earliest)),
        0.. => Ok(Start::At(offset)),
        _ => Err(Error::config(format!(
            "startingOffsets: {offset} is not a valid offset for partition {partition}"
        ))
        .hint("use -1 for latest, -2 for earliest, or an offset from 0")),
    }
}

fn same_partitions(key: &str, given: &Offsets, there: &[TopicPartition]) -> Result<()> {
    let list = |partitions: Vec<&TopicPartition>| {
        let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
        names.join(", ")
    };
    let missing: Vec<_> = there.iter().filter(|p| given.get(p).is_none()).collect();
    let extra: Vec<_> = given.0.keys().filter(|p| !there.contains(p)).collect();
    let mut faults = Vec::new();
    if !missing.is_empty() {
        faults.push(format!("does not name {}", list(missing)));
    }
    if !extra.is_empty() {
        faults.push(format!("names {}, which the subscription does not have", list(extra)));
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(Error::config(format!("{key} {}", faults.join(" and ")))
        .hint(format!("{key} must name exactly the partitions that are read; -1 is latest, -2 earliest")))
}

/// What a partition without a record at or after its starting time does.
///
/// # Errors
/// `Config` under the strategy `error`; the partitions are named.
pub(super) fn without_record(
    partitions: &[TopicPartition],
    strategy: TimestampStrategy,
) -> Result<OffsetSpec> {
    match strategy {
        TimestampStrategy::Latest => Ok(OffsetSpec::Latest),
        TimestampStrategy::Error => {
            let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
            Err(Error::config(format!("no record is at or after the starting time in {}", names.join(", ")))
                .hint(
                    "set startingOffsetsByTimestampStrategy: latest to start there, or an earlier \
                     startingTimestamp",
                ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(numbers: &[i32]) -> Vec<TopicPartition> {
        numbers.iter().map(|&p| TopicPartition::new("t", p)).collect()
    }

    fn offsets(values: &[(i32, i64)]) -> Offsets {
        Offsets(values.iter().map(|&(p, o)| (TopicPartition::new("t", p), o)).collect())
    }

    #[test]
    fn offsets_with_sparks_marks_are_read_per_partition() {
        let starting = StartingOffsets::Offsets(offsets(&[(0, 23), (1, -1), (2, -2)]));
        let starts = starts(&starting, &partitions(&[0, 1, 2])).unwrap();
        assert_eq!(
            starts.values().copied().collect::<Vec<_>>(),
            [Start::At(23), Start::Ask(OffsetSpec::Latest), Start::Ask(OffsetSpec::Earliest)]
        );
    }

    #[test]
    fn an_inexact_set_lists_what_is_missing_and_what_is_too_much() {
        let starting = StartingOffsets::Offsets(offsets(&[(0, 1), (7, 1)]));
        let error = starts(&starting, &partitions(&[0, 1, 2])).unwrap_err().to_string();
        assert!(error.contains("does not name t-1, t-2"), "{error}");
        assert!(error.contains("names t-7"), "{error}");
        let times = StartingOffsets::Timestamps(offsets(&[(0, 1)]));
        let error = starts(&times, &partitions(&[0, 1])).unwrap_err().to_string();
        assert!(error.contains("startingOffsetsByTimestamp does not name t-1"), "{error}");
    }

    #[test]
    fn a_number_that_is_no_offset_is_refused() {
        let starting = StartingOffsets::Offsets(offsets(&[(0, -3)]));
        assert!(starts(&starting, &partitions(&[0])).unwrap_err().to_string().contains("-3"));
    }

    #[test]
    fn a_time_behind_the_last_record_is_an_error_or_the_end() {
        let error = without_record(&partitions(&[4]), TimestampStrategy::Error).unwrap_err().to_string();
        assert!(error.contains("t-4") && error.contains("startingOffsetsByTimestampStrategy"), "{error}");
        assert_eq!(without_record(&[], TimestampStrategy::Latest).unwrap(), OffsetSpec::Latest);
    }
}
