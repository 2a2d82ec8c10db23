//! What the brokers have for the next micro-batch: how far they reach, where to go on, what is gone.
//!
//! Reads only. Whether a loss stops the stream is decided here (`failOnDataLoss`); what is recorded of it, by the plan.

use std::collections::BTreeMap;

use super::KafkaSource;
use super::loss::{Latest, LossReason, LostRange, check_data_loss, losses, reconcile_positions, recreated};
use crate::model::{OffsetRange, Offsets, Result};

/// What is there behind a position.
pub(super) struct Seen {
    /// How far the source reaches.
    pub(super) latest: Latest,
    /// Where the next batch starts, for every partition that it may read.
    pub(super) start: Offsets,
    /// What is lost since the batch before.
    pub(super) lost: Vec<LostRange>,
    /// The ids of the topics.
    pub(super) topic_ids: BTreeMap<String, String>,
}

/// Finds what there is behind `position`, read from the topics with `known_ids`.
///
/// # Errors
/// `Data` if something is lost and that is to stop the stream; `Unavailable` if the brokers do not answer.
pub(super) fn available(
    source: &KafkaSource,
    position: &Offsets,
    known_ids: &BTreeMap<String, String>,
) -> Result<Seen> {
    let fail_on_data_loss = source.options().fail_on_data_loss;
    let mut latest = source.latest(position)?;
    let topic_ids = source.topic_ids(known_ids)?;
    let (position, mut lost) = reconcile_positions(position, known_ids, &topic_ids, &latest);
    if !lost.is_empty() {
        check_data_loss(&lost, fail_on_data_loss)?;
        latest = source.latest(&position)?;
    }
    lost.extend(losses(&position, &latest));
    check_data_loss(&lost, fail_on_data_loss)?;
    let start = latest.start(&position);
    Ok(Seen { latest, start, lost, topic_ids })
}

/// Gives every partition of a plan up to `end` a start. A plan of Spark does not say where the partitions start that
/// no batch before it knew: as in Spark, at their earliest offset now. What is before it is lost.
///
/// # Errors
/// `Data` if something is lost and that is to stop the stream; `Unavailable` if the brokers do not answer.
pub(super) fn start_added(
    source: &KafkaSource,
    mut start: Offsets,
    end: &Offsets,
) -> Result<(Offsets, Vec<LostRange>)> {
    let unknown = end.0.iter().filter(|(partition, _)| start.get(partition).is_none());
    let end = Offsets(unknown.map(|(partition, until)| (partition.clone(), *until)).collect());
    if end.0.is_empty() {
        return Ok((start, Vec::new()));
    }
    let earliest = source.latest(&start)?.added;
    let first = end.0.iter().filter_map(|(p, until)| Some((p.clone(), earliest.get(p)?.min(*until))));
    let seen = Latest { added: Offsets(first.collect()), end, vanished: Vec::new() };
    let lost = losses(&start, &seen);
    check_data_loss(&lost, source.options().fail_on_data_loss)?;
    // A partition that is gone has nothing left to read: it starts at its end.
    for (partition, from) in seen.added.0.into_iter().chain(seen.end.0) {
        start.0.entry(partition).or_insert(from);
    }
    Ok((start, lost))
}

/// The ranges of a plan that nobody can read any more, because their topics were recreated since.
///
/// # Errors
/// `Data` if there are any and that is to stop the stream.
pub(super) fn gone(
    source: &KafkaSource,
    start: &Offsets,
    end: &Offsets,
    known_ids: &BTreeMap<String, String>,
) -> Result<Vec<LostRange>> {
    let now = source.topic_ids(known_ids)?;
    let names = recreated(known_ids, &now);
    let ranges = start.ranges_to(end)?.into_iter();
    let lost: Vec<LostRange> = ranges
        .filter(|range| names.contains(&&*range.partition.topic))
        .map(|range| LostRange { range, reason: LossReason::TopicRecreated, found: None })
        .collect();
    check_data_loss(&lost, source.options().fail_on_data_loss)?;
    Ok(lost)
}

/// Stops, as the read would, where retention has removed what comes next.
///
/// # Errors
/// `Data` if it has and that is to stop the stream; `Unavailable` if the brokers do not answer.
pub(super) fn refuse_aged_out(source: &KafkaSource, start: &Offsets, end: &Offsets) -> Result<()> {
    // To one that knows nothing every partition is new, and comes with its earliest offset.
    let earliest = source.latest(&Offsets::default())?.added;
    let aged = start.0.iter().filter_map(|(partition, &from)| {
        let (first, until) = (earliest.get(partition)?, end.get(partition)?);
        let gone = OffsetRange { partition: partition.clone(), from, until: first.min(until) };
        (!gone.is_empty()).then_some(LostRange {
            range: gone,
            reason: LossReason::AgedOut,
            found: Some(first),
        })
    });
    check_data_loss(&aged.collect::<Vec<_>>(), source.options().fail_on_data_loss)
}

/// The ends of `latest`, none beyond `bound`; partitions that the bound does not know are left out.
pub(super) fn within(latest: &Offsets, bound: &Offsets) -> Offsets {
    let ends = latest.0.iter().filter_map(|(p, end)| Some((p.clone(), (*end).min(bound.get(p)?))));
    Offsets(ends.collect())
}

/// Whether any partition has something new.
pub(super) fn advances(start: &Offsets, end: &Offsets) -> bool {
    end.0.iter().any(|(partition, until)| start.get(partition).is_some_and(|from| *until > from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TopicPartition;

    fn offsets(entries: &[(i32, i64)]) -> Offsets {
        Offsets(entries.iter().map(|&(p, o)| (TopicPartition::new("t", p), o)).collect())
    }

    #[test]
    fn a_bound_holds_ends_and_leaves_later_partitions_out() {
        let latest = offsets(&[(0, 50), (1, 7), (2, 9)]);
        assert_eq!(within(&latest, &offsets(&[(0, 40), (1, 10)])), offsets(&[(0, 40), (1, 7)]));
    }

    #[test]
    fn only_new_offsets_make_a_batch() {
        assert!(!advances(&offsets(&[(0, 5)]), &offsets(&[(0, 5)])));
        assert!(!advances(&offsets(&[(0, 5)]), &offsets(&[(0, 3)])));
        assert!(advances(&offsets(&[(0, 5), (1, 1)]), &offsets(&[(0, 5), (1, 2)])));
    }
}
