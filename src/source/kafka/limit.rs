//! How much of what is there goes into a micro-batch: `maxOffsetsPerTrigger` and `minOffsetsPerTrigger`.
//!
//! Pure functions of offsets, with Spark's arithmetic (`KafkaMicroBatchStream.rateLimit` and
//! `delayBatch`): double precision, floors, and at least one offset per partition with a backlog.

use std::time::{Duration, Instant};

use crate::model::Offsets;

/// Where a batch from `from` ends if it may hold about `max` of the offsets up to `latest`.
///
/// Every partition of `latest` is in the result. A share below one offset is rounded up, others down, so
/// a batch may be a few offsets larger than `max` (one per tiny partition) or smaller. A partition that
/// `from` lacks counts from 0: give new partitions their start first. A partition whose end lies before
/// its start keeps that end, as in Spark.
pub fn limit(from: &Offsets, latest: &Offsets, max: Option<u64>) -> Offsets {
    let Some(max) = max else { return latest.clone() };
    let size = |partition, end: i64| end.saturating_sub(from.get(partition).unwrap_or(0));
    let backlogs = latest.0.iter().map(|(partition, &end)| size(partition, end)).filter(|&size| size > 0);
    let total: f64 = backlogs.map(|size| size as f64).sum();
    if total < 1.0 {
        return latest.clone();
    }
    let ends = latest.0.iter().map(|(partition, &end)| {
        let size = size(partition, end);
        if size <= 0 {
            return (partition.clone(), end);
        }
        let share = max as f64 * (size as f64 / total);
        let share = if share < 1.0 { share.ceil() } else { share.floor() };
        // A cast from double saturates, and so does the sum: Spark's guard against overflow.
        let begin = from.get(partition).unwrap_or(0);
        (partition.clone(), begin.saturating_add(share as i64).min(end))
    });
    Offsets(ends.collect())
}

/// `minOffsetsPerTrigger` with `maxTriggerDelay`: waits until there is enough, but not for ever.
///
/// Kept in memory only, as in Spark: a restart always permits a batch at once. It also holds under
/// `availableNow`: a remainder below the minimum then counts as no new data.
#[derive(Debug)]
pub struct MinOffsets {
    min: u64,
    max_delay: Duration,
    last_batch: Option<Instant>,
}

impl MinOffsets {
    /// At least `min` offsets per batch, or a batch every `max_delay`.
    pub fn new(min: u64, max_delay: Duration) -> Self {
        MinOffsets { min, max_delay, last_batch: None }
    }

    /// Whether a batch over `from`..`latest` may run at `now`; if so, the delay starts anew.
    pub fn permits(&mut self, from: &Offsets, latest: &Offsets, now: Instant) -> bool {
        let waited = self.last_batch.is_none_or(|last| now.saturating_duration_since(last) >= self.max_delay);
        let enough = u64::try_from(from.distance_to(latest)).unwrap_or(0) >= self.min;
        let permitted = waited || enough;
        if permitted {
            self.last_batch = Some(now);
        }
        permitted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::TopicPartition;

    fn offsets(values: &[i64]) -> Offsets {
        let partitions = (0..).zip(values).map(|(p, &o)| (TopicPartition::new("t", p), o));
        Offsets(partitions.collect())
    }

    fn sizes(from: &[i64], latest: &[i64], max: u64) -> Vec<i64> {
        let from = offsets(from);
        let end = limit(&from, &offsets(latest), Some(max));
        end.0.iter().map(|(p, o)| o - from.get(p).unwrap_or(0)).collect()
    }

    #[test]
    fn sparks_example_is_split_as_spark_does() {
        assert_eq!(sizes(&[0, 0, 0], &[1000, 10, 1], 100), [98, 1, 1]);
    }

    #[test]
    fn no_limit_or_no_backlog_is_all_there_is() {
        assert_eq!(limit(&offsets(&[5]), &offsets(&[90]), None), offsets(&[90]));
        assert_eq!(sizes(&[5, 7], &[5, 7], 10), [0, 0]);
    }

    #[test]
    fn a_partition_that_went_backwards_neither_counts_nor_moves() {
        assert_eq!(limit(&offsets(&[50, 0]), &offsets(&[10, 100]), Some(20)), offsets(&[10, 20]));
    }

    #[test]
    fn a_partition_without_a_start_counts_from_zero() {
        assert_eq!(limit(&offsets(&[]), &offsets(&[40]), Some(10)), offsets(&[10]));
    }

    proptest! {
        #[test]
        fn no_end_passes_latest_and_the_batch_is_near_the_limit(
            sizes in proptest::collection::vec(0i64..1_000_000_000, 1..20), max in 1u64..10_000_000,
        ) {
            let from = offsets(&vec![3; sizes.len()]);
            let latest = offsets(&sizes.iter().map(|s| s + 3).collect::<Vec<_>>());
            let end = limit(&from, &latest, Some(max));
            let mut total = 0u64;
            for ((p, &until), &size) in end.0.iter().zip(&sizes) {
                let got = until - from.get(p).unwrap();
                prop_assert!((0..=size).contains(&got));
                prop_assert!(size == 0 || got > 0, "a partition with a backlog starves");
                total += got as u64;
            }
            prop_assert!(total <= max + sizes.len() as u64);
        }
    }

    #[test]
    fn a_batch_below_the_minimum_waits_until_the_delay_is_over() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut gate = MinOffsets::new(10, Duration::from_secs(60));
        let from = offsets(&[0]);
        assert!(gate.permits(&from, &offsets(&[1]), at(0)), "the first batch always runs");
        assert!(!gate.permits(&from, &offsets(&[9]), at(1)));
        assert!(gate.permits(&from, &offsets(&[10]), at(2)), "the minimum is reached");
        assert!(!gate.permits(&from, &offsets(&[9]), at(61)), "the delay started anew at 2");
        assert!(gate.permits(&from, &offsets(&[9]), at(62)));
    }
}
