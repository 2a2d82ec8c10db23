//! What the brokers have for the next micro-batch: how far they reach, where to go on, what is gone.
//!
//! Reads only. Whether a loss stops the stream is decided here (`failOnDataLoss`); what is recorded of it, by the plan.

use std::collections::BTreeMap;
use std::thread;
use std::time::Instant;

use tracing::{debug, warn};

use super::KafkaSource;
use super::doubt::{Claim, DOUBT_TIMEOUT};
use super::epochs::{doubts, first_offsets};
use super::left::{Known, Left};
use super::loss::{Latest, LossReason, LostRange, check_data_loss, losses, reconcile_positions, recreated};
use super::native::{EpochPosition, OffsetSpec};
use crate::config::kafka::Isolation;
use crate::model::{Error, OffsetRange, Offsets, Result, TopicPartition};

/// What is there behind a position.
pub(super) struct AvailableOffsets {
    /// How far the source reaches.
    pub(super) latest: Latest,
    /// Where the next batch starts, for every partition that it may read.
    pub(super) start: Offsets,
    /// What is lost since the batch before.
    pub(super) lost: Vec<LostRange>,
    /// The ids of the topics.
    pub(super) topic_ids: BTreeMap<String, String>,
    /// The position that it was compared with: partitions that were left and are there again included.
    pub(super) position: Offsets,
    /// The partitions that are left now.
    pub(super) left: Left,
}

/// Finds what there is behind `known`. Partitions of `left` whose topic is the same go on where they were left. With a
/// `bound`, partitions that neither it nor the position has are not there. `None` while something that the brokers say is
/// in doubt: they are to be asked again.
///
/// # Errors
/// `Data` if something is lost and that is to stop the stream; `Unavailable` if the brokers do not answer.
pub(super) fn available(
    source: &mut KafkaSource,
    mut known: Known,
    mut left: Left,
    bound: Option<&Offsets>,
) -> Result<Option<AvailableOffsets>> {
    let fail_on_data_loss = source.options().fail_on_data_loss;
    let (mut latest, topic_ids) = loop {
        rejoin(source, &mut known, &mut left, bound)?;
        let needed = left.with_ids(&known.ids);
        let Some((mut latest, topic_ids)) = compared(source, &known.offsets, &needed, &known.epochs)? else {
            return Ok(None);
        };
        leave_out(&mut latest, &known.offsets, bound);
        // The topics may have been described anew meanwhile.
        if !latest.added.0.keys().any(|partition| left.has(partition)) {
            break (latest, topic_ids);
        }
    };
    let (position, mut lost) = reconcile_positions(&known.offsets, &known.ids, &topic_ids, &latest);
    if !lost.is_empty() {
        check_data_loss(&lost, fail_on_data_loss)?;
        let before = std::mem::replace(&mut latest, source.latest(&position)?);
        if latest.vanished.iter().any(|partition| !before.vanished.contains(partition)) {
            debug!(vanished = ?latest.vanished, "partitions vanished while losses were looked into");
            return Ok(None);
        }
        leave_out(&mut latest, &known.offsets, bound);
        // What was held back before is so still.
        for partition in before.end.0.keys() {
            raise(&mut latest.end, partition, &position);
        }
    }
    lost.extend(losses(&position, &latest));
    check_data_loss(&lost, fail_on_data_loss)?;
    let start = latest.start(&position);
    left.leave(&known, &lost);
    Ok(Some(AvailableOffsets { latest, start, lost, topic_ids, position: known.offsets, left }))
}

/// The same for one who asks only once: waits until nothing is in doubt.
///
/// # Errors
/// As for [`available`]; `Unavailable` too if what the brokers say keeps changing.
pub(super) fn awaited(source: &mut KafkaSource, known: &Known, left: &Left) -> Result<AvailableOffsets> {
    let started = Instant::now();
    while started.elapsed() < DOUBT_TIMEOUT * 3 {
        if let Some(available) = available(source, known.clone(), left.clone(), None)? {
            return Ok(available);
        }
        thread::sleep(source.options().fetch_offset_retry_interval.min(DOUBT_TIMEOUT / 30));
    }
    Err(Error::unavailable("the brokers keep contradicting themselves about which partitions there are")
        .hint("check that all brokers reach the cluster's controller"))
}

/// Brings partitions that were left and are there again back to where they were left.
fn rejoin(source: &KafkaSource, known: &mut Known, left: &mut Left, bound: Option<&Offsets>) -> Result<()> {
    if left.is_empty() {
        return Ok(());
    }
    let ids = source.topic_ids(&left.with_ids(&known.ids))?;
    let mut there = source.partitions();
    there.retain(|partition| bound.is_none_or(|bound| bound.get(partition).is_some()));
    let before = known.offsets.0.len();
    left.rejoin(known, &there, &ids);
    debug!(partitions = known.offsets.0.len() - before, "partitions go on where they were left");
    Ok(())
}

/// Partitions that neither `bound` nor the position has are not read by this run: nothing of them is lost either.
fn leave_out(latest: &mut Latest, position: &Offsets, bound: Option<&Offsets>) {
    let Some(bound) = bound else { return };
    let is_read = |partition: &TopicPartition| bound.get(partition).or(position.get(partition)).is_some();
    for offsets in [&mut latest.end, &mut latest.added, &mut latest.epochs] {
        offsets.0.retain(|partition, _| is_read(partition));
    }
}

/// What the leaders answer, compared with a position: partitions whose logs differ from what was read are named, and an end
/// before the position is believed only with proof, or when it has stayed so for [`DOUBT_TIMEOUT`], and so is an answer that
/// leaves a partition out. `None` while one of these is not believed yet.
fn compared(
    source: &mut KafkaSource,
    position: &Offsets,
    known_ids: &BTreeMap<String, String>,
    known_epochs: &Offsets,
) -> Result<Option<(Latest, BTreeMap<String, String>)>> {
    let began = Instant::now();
    let mut latest = source.latest(position)?;
    let topic_ids = source.topic_ids(known_ids)?;
    let recreated = recreated(known_ids, &topic_ids);
    let doubts = doubts(position, known_epochs, &latest, |p| recreated.contains(&&*p.topic));
    let gone = latest.vanished.iter().map(|p| (p.clone(), Claim::Gone));
    let shorter = doubts.unproven.iter().map(|p| (p.clone(), Claim::Shorter));
    let outdated = doubts.outdated.iter().map(|p| (p.clone(), Claim::Outdated));
    let new = source.doubted.note(gone.chain(shorter).chain(outdated), began, Instant::now());
    if let Some((partition, claim)) = new.first() {
        let (partitions, seconds) = (new.len(), DOUBT_TIMEOUT.as_secs());
        warn!(%partition, partitions, "{claim}; they are asked again for {seconds} s before this is believed");
    }
    if !source.doubted.are_over() {
        return Ok(None);
    }
    let same_topic =
        |p: &TopicPartition| known_ids.get(&*p.topic).is_some_and(|id| topic_ids.get(&*p.topic) == Some(id));
    if let Some(partition) = doubts.outdated.iter().find(|partition| same_topic(partition)) {
        return Err(Error::unavailable(format!(
            "the broker that answers for partition {partition} says that it leads it with an older epoch than one before it"
        ))
        .hint("it does not know yet that it was replaced; check that all brokers reach the cluster's controller"));
    }
    // Of another topic, whose epochs began anew; where brokers give no ids nothing else tells it.
    latest.truncated.extend(doubts.outdated.into_iter().map(|partition| (partition, None)));
    let first = first_offsets(&source.cluster, &doubts.changed)?;
    let truncated = first.into_iter().filter(|(p, first)| position.get(p).is_some_and(|next| *first < next));
    latest.truncated.extend(truncated.map(|(partition, first)| (partition, Some(first))));
    for partition in doubts.changed.iter().map(|changed| &changed.partition).chain(&doubts.held_back) {
        if !latest.truncated.contains_key(partition) {
            raise(&mut latest.end, partition, position);
        }
    }
    Ok(Some((latest, topic_ids)))
}

/// An end before the position of a log that is the one that was read: there is nothing to read yet.
fn raise(end: &mut Offsets, partition: &TopicPartition, position: &Offsets) {
    if let (Some(end), Some(next)) = (end.0.get_mut(partition), position.get(partition)) {
        *end = (*end).max(next);
    }
}

/// Gives every partition of a plan up to `end` a start. A plan of Spark does not say where the partitions start that
/// no batch before it knew: as in Spark, at their earliest offset now. What is before it is lost. Partitions that are not
/// there start at 0: whether they are gone shows when they are read.
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
    let there = source.partitions().into_iter().filter(|partition| end.get(partition).is_some());
    let asked: Vec<_> = there.map(|partition| (partition, OffsetSpec::Earliest)).collect();
    let earliest: BTreeMap<_, _> = source.cluster.ask(&asked)?.into_iter().collect();
    let first = |p: &TopicPartition, until: i64| earliest.get(p).map_or(0, |listed| listed.offset.min(until));
    let added = Offsets(end.0.iter().map(|(p, &until)| (p.clone(), first(p, until))).collect());
    let seen = Latest { added, end, ..Latest::default() };
    let lost = losses(&start, &seen);
    check_data_loss(&lost, source.options().fail_on_data_loss)?;
    start.0.extend(seen.added.0);
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

/// The ranges of a plan, or their ends, that hold other records than when they were planned with `known_epochs`: their logs
/// were truncated since. Partitions whose leader does not answer are left out; the position behind them is compared again.
///
/// # Errors
/// `Unavailable` if a leader that answers does not say where its epochs end.
pub(super) fn truncated(
    source: &KafkaSource,
    ranges: &[OffsetRange],
    known_epochs: &Offsets,
) -> Result<Vec<LostRange>> {
    let planned: BTreeMap<&TopicPartition, &OffsetRange> = ranges
        .iter()
        .filter(|range| !range.is_empty() && known_epochs.get(&range.partition).is_some())
        .map(|range| (&range.partition, range))
        .collect();
    let asked: Vec<_> = planned.keys().map(|p| ((*p).clone(), OffsetSpec::Latest)).collect();
    let answers = source.cluster.list(&asked)?.into_iter();
    let changed: Vec<EpochPosition> = answers
        .filter_map(|(partition, answer)| {
            let (now, before) = (i64::from(answer.ok()?.leader_epoch?), known_epochs.get(&partition)?);
            let offset = planned.get(&partition)?.until;
            let leader_epoch = i32::try_from(before).ok()?;
            (now > before).then_some(EpochPosition { partition, offset, leader_epoch })
        })
        .collect();
    let first = first_offsets(&source.cluster, &changed)?;
    let cut = planned.into_iter().filter_map(|(partition, range)| {
        let cut = first.get(partition).copied().filter(|first| *first < range.until)?;
        let range = OffsetRange { from: cut.max(range.from), ..range.clone() };
        Some(LostRange { range, reason: LossReason::LogTruncated, found: Some(cut) })
    });
    Ok(cut.collect())
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

/// Stops, as the first batch would, where a new query is to start behind the end of a partition.
///
/// # Errors
/// `Data` if it is and that is to stop the stream; `Unavailable` if the brokers do not answer.
pub(super) fn refuse_beyond_end(source: &mut KafkaSource, start: &Offsets, latest: &Latest) -> Result<()> {
    let mut lost = losses(start, latest);
    lost.retain(|lost| lost.reason == LossReason::PartitionOffsetChanged);
    if !lost.is_empty() && source.options().isolation == Isolation::ReadCommitted {
        // A transaction that is open hides the end of the log: the first batch waits for it, too.
        let known = Known { offsets: start.clone(), ..Known::default() };
        return awaited(source, &known, &Left::default()).map(drop);
    }
    check_data_loss(&lost, source.options().fail_on_data_loss)
}

/// How far a batch from `start` may reach: to the ends of `latest`, not beyond `bound`, and nowhere back. A partition that
/// the bound lacks, or that was read beyond it (another process may have made the plan before), stays where it is.
pub(super) fn reach(start: &Offsets, latest: &Offsets, bound: Option<&Offsets>) -> Offsets {
    let ends = latest.0.iter().filter_map(|(partition, &end)| {
        let from = start.get(partition)?;
        let most = bound.map_or(end, |bound| bound.get(partition).unwrap_or(from).min(end));
        Some((partition.clone(), most.max(from)))
    });
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
    fn a_bound_holds_ends_and_no_end_lies_before_its_start() {
        let (start, latest) =
            (offsets(&[(0, 0), (1, 0), (2, 0)]), offsets(&[(0, 50), (1, 7), (2, 9), (3, 4)]));
        let bound = offsets(&[(0, 40), (1, 10), (2, 9)]);
        assert_eq!(reach(&start, &latest, Some(&bound)), offsets(&[(0, 40), (1, 7), (2, 9)]));
        assert_eq!(reach(&start, &latest, None), offsets(&[(0, 50), (1, 7), (2, 9)]));
        // An adopted plan has read beyond the bound, and a partition that the bound does not know.
        let start = offsets(&[(0, 41), (1, 3), (2, 5)]);
        let bound = offsets(&[(0, 40), (1, 10)]);
        assert_eq!(reach(&start, &latest, Some(&bound)), offsets(&[(0, 41), (1, 7), (2, 5)]));
        assert_eq!(reach(&start, &offsets(&[(0, 30)]), None), offsets(&[(0, 41)]));
    }

    #[test]
    fn what_a_bounded_run_does_not_read_is_not_there() {
        let there = || Latest {
            end: offsets(&[(0, 50), (1, 7), (2, 9)]),
            added: offsets(&[(1, 3), (2, 4)]),
            epochs: offsets(&[(2, 1)]),
            ..Latest::default()
        };
        let (mut latest, position) = (there(), offsets(&[(0, 10)]));
        leave_out(&mut latest, &position, Some(&offsets(&[(1, 5)])));
        assert_eq!((latest.end, latest.added), (offsets(&[(0, 50), (1, 7)]), offsets(&[(1, 3)])));
        assert_eq!(latest.epochs, Offsets::default());
        let mut latest = there();
        leave_out(&mut latest, &position, None);
        assert_eq!(latest, there());
    }

    #[test]
    fn only_new_offsets_make_a_batch() {
        assert!(!advances(&offsets(&[(0, 5)]), &offsets(&[(0, 5)])));
        assert!(!advances(&offsets(&[(0, 5)]), &offsets(&[(0, 3)])));
        assert!(advances(&offsets(&[(0, 5), (1, 1)]), &offsets(&[(0, 5), (1, 2)])));
    }
}
