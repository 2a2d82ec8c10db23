//! Offsets that can no longer be read, and what that means for the stream.
//!
//! Facts in, [`LostRange`]s out, and one rule: under `failOnDataLoss` the first of them is an error, else
//! all are handed on to be recorded. The situations are Spark's (`KAFKA_DATA_LOSS.*`); gaps that compaction
//! and transactions leave are none of them.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::{Error, Loss, OffsetRange, Offsets, Result, TopicPartition};

/// Why offsets were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossReason {
    /// The partition or its topic is gone.
    PartitionDeleted,
    /// A new partition has no first offset that could be asked for.
    InitialOffsetNotFound,
    /// A partition that was added does not start at offset 0: its first records were never seen.
    AddedPartitionDoesNotStartFromZero,
    /// The end of the partition lies before the next offset to read.
    PartitionOffsetChanged,
    /// The topic was deleted and made anew: it has another id.
    TopicRecreated,
    /// The topic is not in the subscription any more; nothing is known to be gone.
    NotSubscribed,
    /// The log was cut before the next offset to read, under another leader (an unclean election, a lost disk).
    LogTruncated,
    /// Retention removed the offsets before they were read.
    AgedOut,
}

impl LossReason {
    /// Spark's sub-condition of `KAFKA_DATA_LOSS`. What Spark cannot see (`TOPIC_RECREATED`, `LOG_TRUNCATED`) or takes for
    /// deleted partitions (`TOPIC_NOT_SUBSCRIBED`) is ours.
    pub fn code(self) -> &'static str {
        match self {
            LossReason::PartitionDeleted => "PARTITIONS_DELETED",
            LossReason::InitialOffsetNotFound => "INITIAL_OFFSET_NOT_FOUND_FOR_PARTITIONS",
            LossReason::AddedPartitionDoesNotStartFromZero => {
                "ADDED_PARTITION_DOES_NOT_START_FROM_OFFSET_ZERO"
            }
            LossReason::PartitionOffsetChanged => "PARTITION_OFFSET_CHANGED",
            LossReason::TopicRecreated => "TOPIC_RECREATED",
            LossReason::NotSubscribed => "TOPIC_NOT_SUBSCRIBED",
            LossReason::LogTruncated => "LOG_TRUNCATED",
            LossReason::AgedOut => "COULD_NOT_READ_OFFSET_RANGE",
        }
    }
}

/// Offsets of one partition that the stream will never read.
///
/// Of a deleted partition whose end is not known, and of a partition that went backwards, the range only
/// says what was expected and what was found; see [`LostRange::found`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostRange {
    /// The offsets.
    pub range: OffsetRange,
    /// Why.
    pub reason: LossReason,
    /// The offset that the log has instead: its start, or its end if that lies before the range.
    pub found: Option<i64>,
}

impl fmt::Display for LostRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OffsetRange { partition, from, until } = &self.range;
        let found = self.found.unwrap_or(-1);
        match self.reason {
            LossReason::PartitionDeleted => {
                write!(f, "partition {partition} was deleted; offset {from} was next")
            }
            LossReason::InitialOffsetNotFound => {
                write!(f, "new partition {partition} has no first offset")
            }
            LossReason::AddedPartitionDoesNotStartFromZero => {
                write!(f, "added partition {partition} starts at offset {found}, not 0")
            }
            LossReason::PartitionOffsetChanged if from == until => write!(
                f,
                "partition {partition} ends at offset {found}, before offset {from} that was next: the topic \
                 was created again or truncated"
            ),
            LossReason::PartitionOffsetChanged => write!(
                f,
                "partition {partition} ends at offset {found}: the topic was created again or truncated; \
                 [{from}, {until}) cannot be read"
            ),
            LossReason::TopicRecreated => write!(
                f,
                "topic {} was deleted and created again; offset {from} of partition {partition} was next",
                partition.topic
            ),
            LossReason::NotSubscribed => write!(
                f,
                "the subscription no longer has partition {partition}, of which offset {from} was next"
            ),
            LossReason::LogTruncated if from == until => write!(
                f,
                "partition {partition} was truncated to offset {found}, before offset {from} that was next: what was behind \
                 {found} is gone, and what is there now was never read"
            ),
            LossReason::LogTruncated => write!(
                f,
                "partition {partition} was truncated to offset {found}; [{from}, {until}) cannot be read"
            ),
            LossReason::AgedOut => write!(
                f,
                "offset {from} of partition {partition} is below retention start {found}; \
                 [{from}, {until}) cannot be read"
            ),
        }
    }
}

impl From<&LostRange> for Loss {
    fn from(lost: &LostRange) -> Loss {
        Loss { range: lost.range.clone(), why: lost.to_string() }
    }
}

/// What the brokers say the source can read now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latest {
    /// The end of every partition of the subscription, unlimited.
    pub end: Offsets,
    /// The start of those that the stream did not know: their earliest offset.
    pub added: Offsets,
    /// Partitions the stream knows that are gone.
    pub vanished: Vec<TopicPartition>,
    /// Partitions the stream knows that the subscription no longer has.
    pub not_subscribed: Vec<TopicPartition>,
    /// The epochs of the leaders that answered, as far as they say them.
    pub epochs: Offsets,
    /// Partitions whose log is not the one that was read, with the first offset at which it differs, if that is known.
    pub truncated: BTreeMap<TopicPartition, Option<i64>>,
}

impl Latest {
    /// Where the next batch starts: the known partitions that are still there, and the added ones.
    pub fn start(&self, known: &Offsets) -> Offsets {
        let there = self.end.0.keys();
        let starts = there.filter_map(|p| Some((p.clone(), known.get(p).or_else(|| self.added.get(p))?)));
        Offsets(starts.collect())
    }
}

/// What is lost between the next offsets `known` and what is there (Spark's
/// `KafkaMicroBatchStream.planInputPartitions` and `getOffsetRangesFromResolvedOffsets`).
pub fn losses(known: &Offsets, latest: &Latest) -> Vec<LostRange> {
    let lost = |partition: &TopicPartition, from, until, reason, found| LostRange {
        range: OffsetRange { partition: partition.clone(), from, until },
        reason,
        found,
    };
    let mut all = Vec::new();
    for partition in &latest.vanished {
        let from = known.get(partition).unwrap_or(0);
        all.push(lost(partition, from, from, LossReason::PartitionDeleted, None));
    }
    for partition in &latest.not_subscribed {
        let from = known.get(partition).unwrap_or(0);
        all.push(lost(partition, from, from, LossReason::NotSubscribed, None));
    }
    for (partition, &end) in &latest.end.0 {
        match (known.get(partition), latest.added.get(partition)) {
            (Some(next), _) if end < next => {
                all.push(lost(partition, next, next, LossReason::PartitionOffsetChanged, Some(end)));
            }
            (Some(_), _) | (None, Some(0)) => {}
            (None, Some(first)) => {
                let reason = LossReason::AddedPartitionDoesNotStartFromZero;
                all.push(lost(partition, 0, first, reason, Some(first)));
            }
            (None, None) => all.push(lost(partition, 0, end, LossReason::InitialOffsetNotFound, None)),
        }
    }
    all
}

/// Topics of `known` that have another id in `now`: they were deleted and made anew.
pub fn recreated<'a>(known: &'a BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<&'a str> {
    let differs = |(name, id): &(&String, &String)| now.get(*name).is_some_and(|other| other != *id);
    known.iter().filter(differs).map(|(name, _)| name.as_str()).collect()
}

/// Where to go on if what is there is not what was read: the next offsets without the partitions that begin
/// anew, and what was lost by it.
///
/// A topic with another id begins anew. A log that was truncated is read on from where it differs. A partition that ends before the next offset does so too, unless
/// the ids say that it is the same topic: then its tail was cut off, and it goes on from its end, for
/// everything before that was read, or was told to be lost when the log was found shorter than a planned batch.
pub fn reconcile_positions(
    known: &Offsets,
    known_ids: &BTreeMap<String, String>,
    ids: &BTreeMap<String, String>,
    latest: &Latest,
) -> (Offsets, Vec<LostRange>) {
    let recreated = recreated(known_ids, ids);
    let (mut next, mut lost) = (known.clone(), Vec::new());
    for (partition, &from) in &known.0 {
        let Some(end) = latest.end.get(partition) else { continue };
        let reason = if recreated.contains(&&*partition.topic) {
            LossReason::TopicRecreated
        } else if let Some(&Some(cut)) = latest.truncated.get(partition) {
            // What is in the log from there on was never read, whatever was there before.
            next.0.insert(partition.clone(), cut);
            let range = OffsetRange { partition: partition.clone(), from, until: from };
            lost.push(LostRange { range, reason: LossReason::LogTruncated, found: Some(cut) });
            continue;
        } else if end < from || latest.truncated.contains_key(partition) {
            LossReason::PartitionOffsetChanged
        } else {
            continue;
        };
        let same = reason == LossReason::PartitionOffsetChanged && known_ids.contains_key(&*partition.topic);
        if same && ids.contains_key(&*partition.topic) {
            next.0.insert(partition.clone(), end);
        } else {
            next.0.remove(partition);
        }
        let range = OffsetRange { partition: partition.clone(), from, until: from };
        lost.push(LostRange { range, reason, found: Some(end) });
    }
    (next, lost)
}

/// Lets losses pass, or stops on the first of them.
///
/// # Errors
/// `Data` if `fail_on_data_loss` and anything is lost.
pub fn check_data_loss(lost: &[LostRange], fail_on_data_loss: bool) -> Result<()> {
    match lost.first() {
        Some(first) if fail_on_data_loss => {
            let rest = match lost.len() - 1 {
                0 => String::new(),
                1 => "; 1 more partition too".to_owned(),
                more => format!("; {more} more partitions too"),
            };
            let hint = match first.reason {
                LossReason::NotSubscribed => {
                    "put the topic back into the subscription, or set failOnDataLoss: false to go on without it"
                }
                LossReason::LogTruncated => {
                    "set failOnDataLoss: false to record the loss and read on from there, and look for unclean leader elections and lost disks"
                }
                LossReason::PartitionDeleted | LossReason::InitialOffsetNotFound => {
                    "set failOnDataLoss: false to record the loss and go on without it; if the same topic comes back, it is read on from where the stream was"
                }
                LossReason::TopicRecreated => {
                    "set failOnDataLoss: false to record the loss and read the new topic from its start"
                }
                LossReason::PartitionOffsetChanged => {
                    "set failOnDataLoss: false to record the loss and go on; if the stream is new, startingOffsets is behind the end of the topic: correct it"
                }
                _ => {
                    "set failOnDataLoss: false to record the loss and go on, or keep the topic's data longer"
                }
            };
            Err(Error::data(format!("{}: {first}{rest}", first.reason.code())).hint(hint))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;

    fn offsets(values: &[(i32, i64)]) -> Offsets {
        Offsets(values.iter().map(|&(p, o)| (TopicPartition::new("t", p), o)).collect())
    }

    fn latest(end: &[(i32, i64)], added: &[(i32, i64)], vanished: &[i32]) -> Latest {
        let vanished = vanished.iter().map(|&p| TopicPartition::new("t", p)).collect();
        Latest { end: offsets(end), added: offsets(added), vanished, ..Latest::default() }
    }

    fn reasons(known: &[(i32, i64)], latest: &Latest) -> Vec<(i32, LossReason)> {
        let lost = losses(&offsets(known), latest);
        lost.iter().map(|l| (l.range.partition.partition, l.reason)).collect()
    }

    #[test]
    fn each_situation_of_spark_is_named() {
        assert_eq!(reasons(&[(0, 5)], &latest(&[(0, 5)], &[], &[])), []);
        assert_eq!(reasons(&[(0, 5)], &latest(&[], &[], &[0])), [(0, LossReason::PartitionDeleted)]);
        assert_eq!(
            reasons(&[(0, 5)], &latest(&[(0, 4)], &[], &[])),
            [(0, LossReason::PartitionOffsetChanged)]
        );
        assert_eq!(reasons(&[], &latest(&[(1, 9)], &[(1, 0)], &[])), []);
        assert_eq!(
            reasons(&[], &latest(&[(1, 9)], &[(1, 3)], &[])),
            [(1, LossReason::AddedPartitionDoesNotStartFromZero)]
        );
        assert_eq!(reasons(&[], &latest(&[(1, 9)], &[], &[])), [(1, LossReason::InitialOffsetNotFound)]);
    }

    #[test]
    fn what_to_do_about_a_loss_fits_its_reason() {
        let hint = |reason| {
            let range = OffsetRange { partition: TopicPartition::new("t", 0), from: 9, until: 9 };
            let lost = [LostRange { range, reason, found: Some(3) }];
            check_data_loss(&lost, true).unwrap_err().hint_text().unwrap_or_default().to_owned()
        };
        assert!(hint(LossReason::AgedOut).contains("keep the topic's data longer"));
        for reason in [LossReason::PartitionDeleted, LossReason::InitialOffsetNotFound] {
            let hint = hint(reason);
            assert!(hint.contains("go on without it") && hint.contains("comes back"), "{hint}");
            assert!(!hint.contains("longer"), "no retention brings it back: {hint}");
        }
        assert!(hint(LossReason::TopicRecreated).contains("read the new topic from its start"));
        assert!(hint(LossReason::PartitionOffsetChanged).contains("startingOffsets"));
    }

    #[test]
    fn a_loss_stops_the_stream_only_if_it_is_told_to_stop() {
        let lost = losses(&offsets(&[(3, 118)]), &latest(&[(3, 7)], &[], &[]));
        let error = check_data_loss(&lost, true).unwrap_err();
        assert_eq!(error.kind(), Kind::Data);
        for part in ["t-3", "118", "offset 7", "failOnDataLoss"] {
            assert!(error.to_string().contains(part), "{part} is missing in: {error}");
        }
        assert!(check_data_loss(&lost, false).is_ok());
        assert!(check_data_loss(&[], true).is_ok());
    }

    #[test]
    fn a_topic_with_another_id_begins_anew_and_a_cut_one_goes_on_from_its_end() {
        let ids = |id: &str| BTreeMap::from([("t".to_owned(), id.to_owned())]);
        let none = BTreeMap::new();
        let known = offsets(&[(0, 5), (1, 9)]);
        let there = latest(&[(0, 7), (1, 4)], &[], &[]);
        let (next, lost) = reconcile_positions(&known, &ids("a"), &ids("b"), &there);
        assert_eq!((next, lost.len()), (Offsets::default(), 2));
        assert!(lost.iter().all(|l| l.reason == LossReason::TopicRecreated));
        let (next, lost) = reconcile_positions(&known, &ids("a"), &ids("a"), &there);
        assert_eq!((next, lost.len()), (offsets(&[(0, 5), (1, 4)]), 1));
        let (next, lost) = reconcile_positions(&known, &ids("a"), &none, &there);
        assert_eq!((next, lost[0].reason), (offsets(&[(0, 5)]), LossReason::PartitionOffsetChanged));
        let (next, lost) =
            reconcile_positions(&known, &ids("a"), &ids("a"), &latest(&[(0, 5), (1, 9)], &[], &[]));
        assert_eq!((next, lost), (known, vec![]));
    }

    #[test]
    fn a_truncated_log_is_read_on_from_where_it_differs() {
        let none = BTreeMap::new();
        let partition = TopicPartition::new("t", 0);
        let mut there = latest(&[(0, 25)], &[], &[]);
        there.truncated.insert(partition.clone(), Some(4));
        let (next, lost) = reconcile_positions(&offsets(&[(0, 10)]), &none, &none, &there);
        assert_eq!((next, lost[0].reason), (offsets(&[(0, 4)]), LossReason::LogTruncated));
        for part in ["t-0", "offset 4", "offset 10", "never read"] {
            assert!(lost[0].to_string().contains(part), "{part} is missing in: {}", lost[0]);
        }
        there.truncated.insert(partition, None);
        let (next, lost) = reconcile_positions(&offsets(&[(0, 10)]), &none, &none, &there);
        assert_eq!((next, lost[0].reason), (Offsets::default(), LossReason::PartitionOffsetChanged));
    }

    #[test]
    fn a_topic_taken_out_of_the_subscription_is_not_called_deleted() {
        let mut there = latest(&[], &[], &[]);
        there.not_subscribed.push(TopicPartition::new("t", 0));
        let lost = losses(&offsets(&[(0, 1)]), &there);
        let error = check_data_loss(&lost, true).unwrap_err().to_string();
        for part in ["TOPIC_NOT_SUBSCRIBED", "no longer has partition t-0", "offset 1", "put the topic back"]
        {
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
        assert!(!error.contains("deleted"), "{error}");
    }

    #[test]
    fn a_batch_starts_at_what_is_known_and_at_the_first_offset_of_what_is_added() {
        let latest = latest(&[(0, 9), (2, 4)], &[(2, 1)], &[1]);
        assert_eq!(latest.start(&offsets(&[(0, 5), (1, 6)])), offsets(&[(0, 5), (2, 1)]));
    }
}
