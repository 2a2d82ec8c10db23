//! Positions in a partitioned log and their algebra.
//!
//! An offset names the *next* record to read, so a range `[from, until)` is half open and ranges of
//! consecutive batches touch. The JSON form is Spark's (`JsonUtils.partitionOffsets` of its Kafka
//! connector): `{"topic":{"0":105,"1":7}}`, keys in order.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::error::{Error, Result};
use super::offset::Offset;

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        TopicPartition { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// The records of one partition from `from` on, up to but without `until`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OffsetRange {
    /// Where.
    pub partition: TopicPartition,
    /// The first offset of the range.
    pub from: i64,
    /// The first offset behind the range.
    pub until: i64,
}

impl OffsetRange {
    /// How many offsets the range spans; there may be fewer records (compaction, transactions).
    pub fn len(&self) -> i64 {
        (self.until - self.from).max(0)
    }

    /// Whether no offset is in the range.
    pub fn is_empty(&self) -> bool {
        self.until <= self.from
    }
}

impl fmt::Display for OffsetRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}, {})", self.partition, self.from, self.until)
    }
}

/// Offsets that the stream will never read, and why, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The offsets; empty where only the place is known.
    pub range: OffsetRange,
    /// The fact.
    pub why: String,
}

impl OffsetRange {
    /// What of the range is in none of the `known` ones.
    pub fn minus(&self, known: &[OffsetRange]) -> Vec<OffsetRange> {
        if known.contains(self) {
            return Vec::new();
        }
        let mut rest = vec![self.clone()];
        for known in known.iter().filter(|known| known.partition == self.partition) {
            let cut = |range: OffsetRange| {
                let before = OffsetRange { until: range.until.min(known.from), ..range.clone() };
                let behind = OffsetRange { from: range.from.max(known.until), ..range.clone() };
                let parts = [before, behind].into_iter().filter(|part| !part.is_empty());
                if range.is_empty() || known.is_empty() { vec![range] } else { parts.collect() }
            };
            rest = rest.into_iter().flat_map(cut).collect();
        }
        rest
    }
}

impl Loss {
    /// What of the loss is in none of the `known` ranges.
    pub fn minus(&self, known: &[OffsetRange]) -> Vec<Loss> {
        let rest = self.range.minus(known);
        rest.into_iter().map(|range| Loss { range, why: self.why.clone() }).collect()
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// The next offset to read, per partition: Spark's `KafkaSourceOffset`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offsets(pub BTreeMap<TopicPartition, i64>);

impl Offsets {
    /// The next offset of `partition`, if the partition is known.
    pub fn get(&self, partition: &TopicPartition) -> Option<i64> {
        self.0.get(partition).copied()
    }

    /// The ranges from `self` to `end`, those without a single offset left out, in the order of
    /// (topic, partition). A partition that `self` lacks must be given a start before this is asked.
    ///
    /// # Errors
    /// `Internal` if `end` holds a partition that `self` lacks.
    pub fn ranges_to(&self, end: &Offsets) -> Result<Vec<OffsetRange>> {
        let mut ranges = Vec::with_capacity(end.0.len());
        for (partition, &until) in &end.0 {
            let from = self.get(partition).ok_or_else(|| {
                Error::internal(format!("no start offset is known for partition {partition}"))
            })?;
            let range = OffsetRange { partition: partition.clone(), from, until };
            if !range.is_empty() {
                ranges.push(range);
            }
        }
        Ok(ranges)
    }

    /// How many offsets lie between `self` and `end`, over the partitions of `end`; a partition that
    /// `self` lacks counts from 0.
    pub fn distance_to(&self, end: &Offsets) -> i64 {
        end.0.iter().map(|(p, until)| (until - self.get(p).unwrap_or(0)).max(0)).sum()
    }

    /// Spark's JSON form.
    pub fn to_json(&self) -> String {
        let mut by_topic: BTreeMap<&str, serde_json::Map<String, serde_json::Value>> = BTreeMap::new();
        for (tp, offset) in &self.0 {
            by_topic.entry(&tp.topic).or_default().insert(tp.partition.to_string(), (*offset).into());
        }
        serde_json::to_string(&by_topic).expect("maps of strings to numbers are always JSON")
    }

    /// The same as an offset of a source.
    pub fn to_offset(&self) -> Offset {
        Offset::from_json(&self.to_json()).expect("offsets print as a JSON object")
    }

    /// Reads Spark's JSON form.
    ///
    /// # Errors
    /// `Config` if the text is not of that form; the message says where it departs from it.
    pub fn from_json(text: &str) -> Result<Offsets> {
        let form = r#"expected {"topic":{"partition":offset}}, such as {"orders":{"0":23,"1":-2}}"#;
        let topics: BTreeMap<String, BTreeMap<String, i64>> = serde_json::from_str(text)
            .map_err(|e| Error::config(format!("offsets are not in Spark's JSON form: {e}")).hint(form))?;
        let mut offsets = BTreeMap::new();
        for (topic, partitions) in topics {
            let topic: Arc<str> = topic.into();
            for (partition, offset) in partitions {
                let number: i32 = partition.parse().map_err(|_| {
                    Error::config(format!("partition {partition:?} of topic {topic} is not a number"))
                        .hint(form)
                })?;
                offsets.insert(TopicPartition::new(Arc::clone(&topic), number), offset);
            }
        }
        Ok(Offsets(offsets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(entries: &[(&str, i32, i64)]) -> Offsets {
        Offsets(entries.iter().map(|&(t, p, o)| (TopicPartition::new(t, p), o)).collect())
    }

    #[test]
    fn of_a_loss_what_is_known_is_left_out() {
        let range = |from, until| OffsetRange { partition: TopicPartition::new("t", 0), from, until };
        let beyond = |loss: OffsetRange, known: &[OffsetRange]| -> Vec<OffsetRange> {
            Loss { range: loss, why: String::new() }.minus(known).into_iter().map(|loss| loss.range).collect()
        };
        assert_eq!(beyond(range(0, 7), &[range(0, 5)]), [range(5, 7)]);
        assert_eq!(beyond(range(0, 7), &[range(0, 7)]), []);
        assert_eq!(beyond(range(0, 9), &[range(3, 5), range(7, 8)]), [range(0, 3), range(5, 7), range(8, 9)]);
        assert_eq!(beyond(range(4, 4), &[]), [range(4, 4)]);
        assert_eq!(beyond(range(4, 4), &[range(4, 4), range(0, 9)]), []);
        let other = OffsetRange { partition: TopicPartition::new("t", 1), from: 0, until: 9 };
        assert_eq!(beyond(range(0, 7), &[other]), [range(0, 7)]);
    }

    #[test]
    fn the_json_form_is_sparks_and_reads_back() {
        let some = offsets(&[("b", 0, 5), ("a", 10, 7), ("a", 2, 105)]);
        assert_eq!(some.to_json(), r#"{"a":{"2":105,"10":7},"b":{"0":5}}"#);
        assert_eq!(Offsets::from_json(&some.to_json()).unwrap(), some);
    }

    #[test]
    fn a_wrong_form_names_the_right_one() {
        let error = Offsets::from_json(r#"{"a":{"x":1}}"#).unwrap_err();
        assert!(error.to_string().contains(r#"partition "x" of topic a"#), "{error}");
        assert!(error.to_string().contains(r#"{"orders":{"0":23,"1":-2}}"#), "{error}");
    }

    #[test]
    fn empty_ranges_are_left_out() {
        let ranges =
            offsets(&[("a", 0, 5), ("a", 1, 7)]).ranges_to(&offsets(&[("a", 0, 5), ("a", 1, 9)])).unwrap();
        assert_eq!(ranges.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a-1 [7, 9)"]);
    }
}
