//! Partitions that a stream has left: the topic vanished, or was taken out of the subscription.
//!
//! Where the stream was in them is kept beside the offsets of every later plan, with the topic's id. If the same topic is
//! there again, the stream goes on where it was, and reads nothing twice. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::loss::{LossReason, LostRange};
use crate::model::{Offsets, TopicPartition};

/// How many partitions are remembered at least. Beyond that the ones that were left first are forgotten, but never some
/// of those that were left together: topics that come and go for ever must not fill the plans.
const REMEMBERED: usize = 1000;

/// Partitions that were left, the newest last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Left(Vec<LeftTopic>);

/// What was left of one topic at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LeftTopic {
    topic: String,
    id: String,
    /// The next offset by partition.
    offsets: BTreeMap<i32, i64>,
    /// The leader epochs at these offsets, as far as they are known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    epochs: BTreeMap<i32, i64>,
}

/// Where a stream is: the next offsets, the ids of the topics, and the epochs of the leaders that answered for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) offsets: Offsets,
    pub(super) ids: BTreeMap<String, String>,
    pub(super) epochs: Offsets,
}

impl Left {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `partition` was left.
    pub(super) fn has(&self, partition: &TopicPartition) -> bool {
        self.0.iter().any(|left| left.is_of(partition))
    }

    /// `known` ids of topics, and those of the topics that were left.
    pub(super) fn with_ids(&self, known: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut ids = known.clone();
        for left in &self.0 {
            ids.entry(left.topic.clone()).or_insert_with(|| left.id.clone());
        }
        ids
    }

    /// Brings partitions of `there` back to where they were left, if their topic has the id that it had, and forgets those
    /// whose topic was made anew. `ids` are the ids now.
    pub(super) fn rejoin(
        &mut self,
        known: &mut Known,
        there: &[TopicPartition],
        ids: &BTreeMap<String, String>,
    ) {
        let back = |left: &LeftTopic| ids.get(&left.topic).map(|id| *id == left.id);
        self.0.retain(|left| back(left) != Some(false));
        for left in self.0.iter_mut().filter(|left| back(left) == Some(true)) {
            for partition in there.iter().filter(|partition| *partition.topic == *left.topic) {
                let Some(offset) = left.offsets.remove(&partition.partition) else { continue };
                let epoch = left.epochs.remove(&partition.partition);
                if known.offsets.get(partition).is_some() {
                    continue;
                }
                known.offsets.0.insert(partition.clone(), offset);
                known.ids.entry(left.topic.clone()).or_insert_with(|| left.id.clone());
                known.epochs.0.extend(epoch.map(|epoch| (partition.clone(), epoch)));
            }
        }
        self.0.retain(|left| !left.offsets.is_empty());
    }

    /// Remembers what of `known` is left because of `lost`. Without the topic's id nobody could tell later that it is the same.
    pub(super) fn leave(&mut self, known: &Known, lost: &[LostRange]) {
        let leaves = |lost: &&LostRange| {
            matches!(lost.reason, LossReason::PartitionDeleted | LossReason::NotSubscribed)
        };
        let mut leaving: BTreeMap<&str, LeftTopic> = BTreeMap::new();
        for partition in lost.iter().filter(leaves).map(|lost| &lost.range.partition) {
            let (name, number) = (&*partition.topic, partition.partition);
            let (Some(offset), Some(id)) = (known.offsets.get(partition), known.ids.get(name)) else {
                continue;
            };
            let new = || LeftTopic {
                topic: name.to_owned(),
                id: id.clone(),
                offsets: BTreeMap::new(),
                epochs: BTreeMap::new(),
            };
            let topic = leaving.entry(name).or_insert_with(new);
            topic.offsets.insert(number, offset);
            topic.epochs.extend(known.epochs.get(partition).map(|epoch| (number, epoch)));
        }
        let count = |topics: &[LeftTopic]| topics.iter().map(|left| left.offsets.len()).sum::<usize>();
        let earlier = self.0.len();
        self.0.extend(leaving.into_values());
        let forgotten = (0..earlier).take_while(|&first| count(&self.0[first..]) > REMEMBERED).count();
        self.0.drain(..forgotten);
    }
}

impl LeftTopic {
    fn is_of(&self, partition: &TopicPartition) -> bool {
        *self.topic == *partition.topic && self.offsets.contains_key(&partition.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::OffsetRange;

    fn at(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition::new(topic, partition)
    }

    fn ids(ids: &[(&str, &str)]) -> BTreeMap<String, String> {
        ids.iter().map(|&(name, id)| (name.to_owned(), id.to_owned())).collect()
    }

    fn lost(known: &Known, reason: LossReason) -> Vec<LostRange> {
        let all = known.offsets.0.iter();
        let range =
            |(p, &from): (&TopicPartition, &i64)| OffsetRange { partition: p.clone(), from, until: from };
        all.map(|entry| LostRange { range: range(entry), reason, found: None }).collect()
    }

    /// Two partitions of `t`, read up to 7 and 9.
    fn known() -> Known {
        let offsets = Offsets([(at("t", 0), 7), (at("t", 1), 9)].into());
        Known { offsets, ids: ids(&[("t", "a")]), epochs: Offsets([(at("t", 0), 3)].into()) }
    }

    fn left() -> Left {
        let mut left = Left::default();
        left.leave(&known(), &lost(&known(), LossReason::PartitionDeleted));
        left
    }

    #[test]
    fn the_same_topic_goes_on_where_it_was_left_and_another_one_begins_anew() {
        let mut back = left();
        let mut now = Known::default();
        back.rejoin(&mut now, &[at("t", 1)], &ids(&[("t", "a")]));
        assert_eq!(now.offsets, Offsets([(at("t", 1), 9)].into()));
        assert!(back.has(&at("t", 0)) && !back.has(&at("t", 1)), "only one is there again");
        back.rejoin(&mut now, &[at("t", 0), at("t", 1)], &ids(&[("t", "a")]));
        assert_eq!((&now, back.is_empty()), (&known(), true));
        let (mut anew, mut now) = (left(), Known::default());
        anew.rejoin(&mut now, &[at("t", 0)], &ids(&[("u", "a")]));
        assert_eq!((&now, &anew), (&Known::default(), &left()), "it is still away");
        anew.rejoin(&mut now, &[at("t", 0)], &ids(&[("t", "b")]));
        assert_eq!((now, anew.is_empty()), (Known::default(), true));
    }

    #[test]
    fn only_partitions_that_went_away_are_left_and_only_with_an_id() {
        let mut left = Left::default();
        left.leave(&known(), &lost(&known(), LossReason::TopicRecreated));
        left.leave(&Known { ids: BTreeMap::new(), ..known() }, &lost(&known(), LossReason::NotSubscribed));
        assert!(left.is_empty());
        left.leave(&known(), &lost(&known(), LossReason::NotSubscribed));
        assert!(left.has(&at("t", 0)) && left.has(&at("t", 1)));
    }

    #[test]
    fn the_note_reads_back() {
        let text = serde_json::to_string(&left()).unwrap();
        assert_eq!(text, r#"[{"topic":"t","id":"a","offsets":{"0":7,"1":9},"epochs":{"0":3}}]"#);
        assert_eq!(serde_json::from_str::<Left>(&text).unwrap(), left());
    }

    #[test]
    fn what_was_left_first_is_forgotten_first_but_never_a_part_of_what_is_left_together() {
        let many = |topic: &str, count: usize| {
            let partitions = (0..).take(count).map(|p| (at(topic, p), 1));
            Known {
                offsets: Offsets(partitions.collect()),
                ids: ids(&[(topic, "a")]),
                epochs: Offsets::default(),
            }
        };
        let mut all = left();
        let large = many("large", 2 * REMEMBERED);
        all.leave(&large, &lost(&large, LossReason::PartitionDeleted));
        assert!(!all.has(&at("t", 0)));
        assert!(large.offsets.0.keys().all(|partition| all.has(partition)));
        let small = many("small", 1);
        all.leave(&small, &lost(&small, LossReason::PartitionDeleted));
        assert!(all.has(&at("small", 0)) && !all.has(&at("large", 0)));
    }
}
