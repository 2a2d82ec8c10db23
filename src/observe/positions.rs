//! Offsets of a partitioned source as numbers per partition, and what is behind them: the lag.
//!
//! A source's offset is Spark's JSON, into which only its source looks. Sources of partitioned logs all write
//! `{"topic":{"0":105}}`; this form is read here, for display only. Any other offset has no partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::Offset;

/// A topic and a partition of it.
pub(crate) type Partition = (Arc<str>, i32);

/// The next offset to read, by topic and partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Positions(pub(crate) BTreeMap<Partition, i64>);

impl Positions {
    /// Reads an offset's JSON; empty if the source has no partitions.
    pub(crate) fn of_json(offset: &str) -> Positions {
        let topics: BTreeMap<String, BTreeMap<i32, i64>> = serde_json::from_str(offset).unwrap_or_default();
        let mut positions = BTreeMap::new();
        for (topic, partitions) in topics {
            let topic: Arc<str> = topic.into();
            positions.extend(partitions.into_iter().map(|(p, offset)| ((Arc::clone(&topic), p), offset)));
        }
        Positions(positions)
    }

    /// The same of an offset.
    pub(crate) fn of(offset: &Offset) -> Positions {
        Positions::of_json(offset.as_json())
    }

    /// How far each partition of `latest` is ahead of ours, never negative; 0 where we have no position.
    pub(crate) fn behind(&self, latest: &Positions) -> Vec<i64> {
        let lag = |(partition, end): (&Partition, &i64)| (end - self.0.get(partition).unwrap_or(end)).max(0);
        latest.0.iter().map(lag).collect()
    }
}

/// Where a stream is in one partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The end of the partition, as last asked for.
    pub(crate) latest: i64,
    /// The first offset that was not read and written to files yet.
    pub(crate) read: i64,
    /// The first offset that is not in the table.
    pub(crate) committed: i64,
    /// A time at which, or after which, the record at `committed` was written, in ms since the Unix epoch: the
    /// partition was seen to its end then.
    caught_up_ms: i64,
}

impl Place {
    /// Offsets that are not in the table.
    pub(crate) fn lag(&self) -> i64 {
        (self.latest - self.committed).max(0)
    }

    /// Offsets that were not read.
    pub(crate) fn read_lag(&self) -> i64 {
        (self.latest - self.read).max(0)
    }
}

/// Where a stream is in every partition of its source.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lag {
    places: BTreeMap<Partition, Place>,
    /// When the ends were last asked for, in ms since the Unix epoch.
    pub(crate) measured_ms: Option<i64>,
}

impl Lag {
    /// Begins at `committed`, where the partitions were at `since_ms`: of what waits behind it nothing older is known.
    pub(crate) fn start(&mut self, committed: &Positions, since_ms: i64) {
        let known = std::mem::take(&mut self.places);
        for (partition, offset) in &committed.0 {
            let caught_up_ms = known.get(partition).map_or(since_ms, |place| place.caught_up_ms);
            let latest = known.get(partition).map_or(*offset, |place| place.latest.max(*offset));
            let place = Place { latest, read: *offset, committed: *offset, caught_up_ms };
            self.places.insert(partition.clone(), place);
        }
    }

    /// Takes the ends of all partitions as of `now_ms`. A partition that was not known starts at `start`, where that
    /// names it, and else at its end.
    pub(crate) fn measured(&mut self, latest: &Positions, start: impl FnOnce() -> Positions, now_ms: i64) {
        let measured = |place: &mut Place, end: i64| {
            place.latest = end;
            if place.committed >= end {
                place.caught_up_ms = now_ms;
            }
        };
        if self.places.keys().eq(latest.0.keys()) {
            // The partitions are those of before, as nearly always: both are in the same order.
            self.places.values_mut().zip(latest.0.values()).for_each(|(place, end)| measured(place, *end));
        } else {
            let (mut known, start) = (std::mem::take(&mut self.places), start());
            for (partition, end) in &latest.0 {
                let from = start.0.get(partition).unwrap_or(end);
                let fresh = Place { latest: *end, read: *from, committed: *from, caught_up_ms: now_ms };
                let mut place = known.remove(partition).unwrap_or(fresh);
                measured(&mut place, *end);
                self.places.insert(partition.clone(), place);
            }
        }
        self.measured_ms = Some(now_ms);
    }

    /// Everything below `end` was read and written to files.
    pub(crate) fn read_to(&mut self, end: &Positions) {
        self.each(end, |place, offset| place.read = offset);
    }

    /// Everything below `end` is in the table. What reaches the end that was measured before is caught up with as of then.
    pub(crate) fn committed_to(&mut self, end: &Positions) {
        let measured_ms = self.measured_ms.unwrap_or(0);
        self.each(end, |place, offset| {
            place.read = place.read.max(offset);
            place.committed = offset;
            if offset >= place.latest {
                place.latest = offset;
                place.caught_up_ms = place.caught_up_ms.max(measured_ms);
            }
        });
    }

    /// What was read and not committed is read again.
    pub(crate) fn abandon(&mut self) {
        self.places.values_mut().for_each(|place| place.read = place.committed);
    }

    fn each(&mut self, positions: &Positions, mut change: impl FnMut(&mut Place, i64)) {
        for (partition, offset) in &positions.0 {
            if let Some(place) = self.places.get_mut(partition) {
                change(place, *offset);
            }
        }
    }

    /// Every partition, in order.
    pub(crate) fn places(&self) -> &BTreeMap<Partition, Place> {
        &self.places
    }

    /// The sum of all partitions.
    pub(crate) fn total(&self) -> i64 {
        self.places.values().map(Place::lag).sum()
    }

    /// The age of the oldest record that is not in the table, in seconds, at most: the time since its partition was last seen
    /// to its end, or, if it never was since the start, since the newest batch was planned. 0 if the table holds all; `None`
    /// if no partition is known.
    pub(crate) fn oldest_uncommitted_seconds(&self, now_ms: i64) -> Option<f64> {
        if self.places.is_empty() {
            return None;
        }
        let waiting = self.places.values().filter(|place| place.lag() > 0);
        let oldest = waiting.map(|place| place.caught_up_ms).min();
        Some(oldest.map_or(0.0, |since| (now_ms - since).max(0) as f64 / 1000.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(json: &str) -> Positions {
        Positions::of_json(json)
    }

    #[test]
    fn an_offset_of_another_form_has_no_partitions() {
        for offset in ["", "17", r#"{"logOffset":3}"#, r#"{"reservoirVersion":4,"index":-1}"#, "null"] {
            assert_eq!(positions(offset), Positions::default(), "{offset}");
        }
    }

    #[test]
    fn lag_is_what_the_table_lacks_and_never_negative() {
        let mut lag = Lag::default();
        lag.start(&positions(r#"{"t":{"0":4,"1":6}}"#), 1_000);
        assert_eq!(lag.total(), 0, "nothing is known of the ends yet");
        lag.measured(&positions(r#"{"t":{"0":10,"1":5,"2":7}}"#), || positions(r#"{"t":{"2":0}}"#), 2_000);
        let lags: Vec<i64> = lag.places().values().map(Place::lag).collect();
        assert_eq!(lags, [6, 0, 7]);
        lag.read_to(&positions(r#"{"t":{"0":9,"2":7}}"#));
        let read: Vec<i64> = lag.places().values().map(Place::read_lag).collect();
        assert_eq!((read, lag.total()), (vec![1, 0, 0], 13));
        lag.abandon();
        assert_eq!(lag.places().values().map(Place::read_lag).sum::<i64>(), 13);
        lag.committed_to(&positions(r#"{"t":{"0":10,"1":5,"2":7}}"#));
        assert_eq!(lag.total(), 0);
    }

    #[test]
    fn the_oldest_uncommitted_record_is_no_older_than_the_last_time_that_nothing_waited() {
        let mut lag = Lag::default();
        assert_eq!(lag.oldest_uncommitted_seconds(0), None);
        lag.start(&positions(r#"{"t":{"0":0,"1":0}}"#), 0);
        lag.measured(&positions(r#"{"t":{"0":0,"1":0}}"#), Positions::default, 10_000);
        assert_eq!(lag.oldest_uncommitted_seconds(20_000), Some(0.0));
        lag.measured(&positions(r#"{"t":{"0":5,"1":0}}"#), Positions::default, 20_000);
        assert_eq!(lag.oldest_uncommitted_seconds(25_000), Some(15.0), "it came after second 10");
        lag.committed_to(&positions(r#"{"t":{"0":5,"1":0}}"#));
        assert_eq!(lag.oldest_uncommitted_seconds(30_000), Some(0.0));
        lag.measured(&positions(r#"{"t":{"0":6,"1":0}}"#), Positions::default, 30_000);
        assert_eq!(lag.oldest_uncommitted_seconds(31_000), Some(11.0), "it came after second 20");
    }

    #[test]
    fn what_waited_while_no_process_ran_counts_from_the_newest_plan() {
        let mut lag = Lag::default();
        lag.start(&positions(r#"{"t":{"0":3}}"#), 10_000);
        lag.measured(&positions(r#"{"t":{"0":9}}"#), Positions::default, 70_000);
        assert_eq!(lag.oldest_uncommitted_seconds(70_000), Some(60.0));
    }

    #[test]
    fn a_partition_that_is_gone_from_the_source_has_no_lag() {
        let mut lag = Lag::default();
        lag.start(&positions(r#"{"t":{"0":0},"u":{"0":3}}"#), 0);
        lag.measured(&positions(r#"{"t":{"0":1}}"#), Positions::default, 1);
        assert_eq!(lag.places().len(), 1);
    }
}
