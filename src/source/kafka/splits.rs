//! Which lane reads which offsets of a micro-batch.
//!
//! Pure and without memory: the same ranges give the same plan. A partition has a home lane, so that the
//! lane's prefetch of what follows is used by the next batch; only when a batch is big and lopsided does a
//! part of it move.

use crate::model::OffsetRange;
use crate::source::CHUNK_OFFSETS;

/// The fewest offsets that are worth a connection, a fetch from the middle and a file of their own.
pub const PIECE_MIN: i64 = 125_000;

/// Deals `ranges` (one per partition) to `lanes` lanes; a lane never gets two ranges of one partition.
///
/// The result has `lanes` entries, some may be empty; together they cover the ranges exactly once. A lane
/// that would read a quarter more than its share gives the tails of its largest ranges to the least loaded
/// lanes, in pieces of at least [`PIECE_MIN`] offsets. `min_partitions` above the number of ranges splits
/// without that minimum; it has no effect on which records are in the batch, as in Spark.
pub fn assign_splits(
    ranges: &[OffsetRange],
    lanes: usize,
    min_partitions: Option<u32>,
) -> Vec<Vec<OffsetRange>> {
    let lanes = lanes.max(1);
    let mut plan: Vec<Vec<OffsetRange>> = vec![Vec::new(); lanes];
    for range in ranges.iter().filter(|range| !range.is_empty()) {
        plan[home(range, lanes)].push(range.clone());
    }
    let total: i64 = ranges.iter().map(OffsetRange::len).fold(0, i64::saturating_add);
    let piece_min = if min_partitions.is_some_and(|min| min as usize > ranges.len()) { 1 } else { PIECE_MIN };
    if total >= 2 * piece_min {
        balance(&mut plan, total, piece_min);
    }
    for lane in &mut plan {
        lane.sort();
    }
    plan
}

/// Consecutive partitions of a topic on consecutive lanes, topics turned against each other.
fn home(range: &OffsetRange, lanes: usize) -> usize {
    // FNV-1a: the same on every machine and in every release, unlike the standard library's hasher.
    let topic = range.partition.topic.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let turned = topic.wrapping_add(u64::try_from(range.partition.partition).unwrap_or(0));
    (turned % lanes as u64) as usize
}

fn balance(plan: &mut [Vec<OffsetRange>], total: i64, piece_min: i64) {
    let share = total / plan.len() as i64 + 1;
    let load = |lane: &Vec<OffsetRange>| lane.iter().map(OffsetRange::len).fold(0, i64::saturating_add);
    // Each round fills a lane up to its share or moves a range away: no more rounds are of use.
    for _ in 0..plan.len() * 2 + plan.iter().map(Vec::len).sum::<usize>() {
        let loads: Vec<i64> = plan.iter().map(load).collect();
        let most = (0..plan.len()).max_by_key(|&lane| loads[lane]).unwrap_or(0);
        let least = (0..plan.len()).min_by_key(|&lane| loads[lane]).unwrap_or(0);
        let excess = loads[most] - share;
        if most == least || excess < piece_min || (piece_min > 1 && excess < share / 4) {
            return;
        }
        let room = share - loads[least];
        let largest = (0..plan[most].len())
            .filter(|&at| !plan[least].iter().any(|r| r.partition == plan[most][at].partition))
            .max_by_key(|&at| plan[most][at].len());
        let Some(at) = largest else { return };
        let piece = excess.min(room).min(plan[most][at].len());
        if piece < piece_min {
            return;
        }
        let range = &mut plan[most][at];
        let mut cut = range.until - piece;
        if piece_min > 1 {
            cut = (cut / CHUNK_OFFSETS * CHUNK_OFFSETS).max(range.from);
        }
        let moved = OffsetRange { partition: range.partition.clone(), from: cut, until: range.until };
        range.until = cut;
        if range.is_empty() {
            plan[most].remove(at);
        }
        plan[least].push(moved);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::TopicPartition;

    fn range(partition: i32, from: i64, until: i64) -> OffsetRange {
        OffsetRange { partition: TopicPartition::new("t", partition), from, until }
    }

    fn loads(plan: &[Vec<OffsetRange>]) -> Vec<i64> {
        plan.iter().map(|lane| lane.iter().map(OffsetRange::len).sum()).collect()
    }

    #[test]
    fn partitions_stay_at_home_while_a_batch_is_small() {
        let small: Vec<_> = (0..4).map(|p| range(p, 0, 10)).collect();
        let big: Vec<_> = (0..4).map(|p| range(p, 10, 500_000)).collect();
        let homes = |ranges: &[OffsetRange]| {
            let plan = assign_splits(ranges, 2, None);
            plan.iter().map(|l| l.iter().map(|r| r.partition.partition).collect()).collect::<Vec<Vec<_>>>()
        };
        assert_eq!(homes(&small), homes(&big));
        assert!(homes(&small).iter().all(|lane| lane.len() == 2));
        assert_eq!(loads(&assign_splits(&[range(0, 0, 249_999)], 2, None)).iter().max(), Some(&249_999));
    }

    #[test]
    fn one_big_partition_is_split_into_consecutive_pieces() {
        let plan = assign_splits(&[range(0, 100, 1_000_100)], 4, None);
        let even = 250_000 - 2 * CHUNK_OFFSETS..=250_000 + 2 * CHUNK_OFFSETS;
        assert!(loads(&plan).iter().all(|load| even.contains(load)), "{plan:?}");
        let cuts = plan.iter().flatten().map(|range| range.from).filter(|from| *from != 100);
        assert_eq!(
            cuts.filter(|cut| cut % CHUNK_OFFSETS == 0).count(),
            3,
            "no chunk is of two lanes: {plan:?}"
        );
    }

    #[test]
    fn min_partitions_splits_what_is_not_worth_it() {
        let plan = assign_splits(&[range(0, 0, 10)], 2, Some(2));
        assert!(loads(&plan).iter().all(|&load| load > 0), "{plan:?}");
    }

    proptest! {
        #[test]
        fn the_lanes_cover_every_offset_once_and_no_lane_has_a_partition_twice(
            sizes in proptest::collection::vec(0i64..2_000_000, 0..12),
            lanes in 1usize..9,
            min in proptest::option::of(1u32..20),
        ) {
            let ranges: Vec<_> = (0..).zip(&sizes).map(|(p, &size)| range(p, 7, 7 + size)).collect();
            let plan = assign_splits(&ranges, lanes, min);
            prop_assert_eq!(plan.len(), lanes);
            let mut pieces: BTreeMap<TopicPartition, Vec<(i64, i64)>> = BTreeMap::new();
            for lane in &plan {
                let mut names: Vec<_> = lane.iter().map(|r| &r.partition).collect();
                names.dedup();
                prop_assert_eq!(names.len(), lane.len(), "a partition twice on a lane");
                for r in lane {
                    prop_assert!(!r.is_empty());
                    pieces.entry(r.partition.clone()).or_default().push((r.from, r.until));
                }
            }
            for wanted in ranges.iter().filter(|r| !r.is_empty()) {
                let mut got = pieces.remove(&wanted.partition).unwrap_or_default();
                got.sort_unstable();
                let mut at = wanted.from;
                for (from, until) in got {
                    prop_assert_eq!(from, at);
                    at = until;
                }
                prop_assert_eq!(at, wanted.until);
            }
            prop_assert!(pieces.is_empty());
        }
    }
}
