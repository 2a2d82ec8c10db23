//! When the next micro-batch starts. Pure: clocks are handed in.
//!
//! Source: Spark's `ProcessingTimeExecutor` and `Trigger`. Boundaries of an interval are aligned to
//! the Unix epoch, the first batch starts at once, a missed boundary is not made up.

use std::time::Duration;

use crate::config::Trigger;

/// Offsets of one micro-batch where neither a trigger nor `maxOffsetsPerTrigger` is given: what is
/// committed at once after a long stop.
pub const DEFAULT_BATCH_OFFSETS: u64 = 5_000_000;

/// How long a stream that found nothing waits before it looks again.
const POLLING_DELAY: Duration = Duration::from_millis(20);

/// The longest of such waits.
const POLLING_DELAY_MAX: Duration = Duration::from_secs(1);
/// Of the time of a stream that finds nothing, the part that it may spend on looking is one in this many.
const IDLE_SHARE: u32 = 25;

/// How long a stream that found nothing in `took` waits before it looks again: a subscription of thousands of partitions
/// takes long to look at, and must not keep a core busy with it.
pub fn polling_delay(took: Duration) -> Duration {
    (took * IDLE_SHARE).clamp(POLLING_DELAY, POLLING_DELAY_MAX)
}

/// The wait between a micro-batch that started at `started_ms` and the next one, seen at `now_ms`
/// (both milliseconds since the Unix epoch). Never longer than the interval: a clock that was set back meanwhile holds nothing up.
pub fn pause(trigger: Trigger, min_commit_interval: Duration, started_ms: i64, now_ms: i64) -> Duration {
    let millis = |interval: Duration| i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
    let (next_ms, interval) = match trigger {
        Trigger::ProcessingTime(interval) if !interval.is_zero() => {
            let aligned = millis(interval).max(1);
            ((started_ms.div_euclid(aligned) + 1).saturating_mul(aligned), interval)
        }
        Trigger::AsSoonAsPossible => {
            (started_ms.saturating_add(millis(min_commit_interval)), min_commit_interval)
        }
        Trigger::ProcessingTime(_) | Trigger::Once | Trigger::AvailableNow => (started_ms, Duration::ZERO),
    };
    Duration::from_millis(u64::try_from(next_ms.saturating_sub(now_ms)).unwrap_or(0)).min(interval)
}

/// How many offsets the next micro-batch may span where the source's options do not say. `in_memory` is how many rows of one
/// batch the sink and the state can hold in memory, if they must.
pub fn default_batch_limit(trigger: Trigger, in_memory: Option<u64>) -> Option<u64> {
    match (trigger, in_memory) {
        (Trigger::Once, _) => None,
        (_, Some(rows)) => Some(rows.min(DEFAULT_BATCH_OFFSETS)),
        (Trigger::AsSoonAsPossible, None) => Some(DEFAULT_BATCH_OFFSETS),
        (Trigger::ProcessingTime(_) | Trigger::AvailableNow, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_ms(trigger: Trigger, started_ms: i64, now_ms: i64) -> u128 {
        pause(trigger, Duration::from_secs(1), started_ms, now_ms).as_millis()
    }

    #[test]
    fn an_idle_stream_spends_little_of_its_time_on_looking() {
        assert_eq!(polling_delay(Duration::from_micros(300)), POLLING_DELAY);
        assert_eq!(polling_delay(Duration::from_millis(20)), Duration::from_millis(500));
        assert_eq!(polling_delay(Duration::from_secs(9)), POLLING_DELAY_MAX);
    }

    #[test]
    fn intervals_are_aligned_and_missed_ones_not_made_up() {
        let trigger = Trigger::ProcessingTime(Duration::from_secs(1));
        assert_eq!(wait_ms(trigger, 12_435, 12_500), 500);
        assert_eq!(wait_ms(trigger, 12_435, 15_027), 0);
        assert_eq!(wait_ms(trigger, 12_435, 12_435 - 3_600_000), 1000, "the clock was set back by an hour");
        assert_eq!(wait_ms(Trigger::AsSoonAsPossible, 12_435, 12_435 - 3_600_000), 1000);
        assert_eq!(wait_ms(trigger, 18_010, 18_310), 690);
        assert_eq!(wait_ms(Trigger::ProcessingTime(Duration::ZERO), 1, 2), 0);
    }

    #[test]
    fn without_a_trigger_commits_keep_their_distance() {
        assert_eq!(wait_ms(Trigger::AsSoonAsPossible, 1_000, 1_100), 900);
        assert_eq!(wait_ms(Trigger::AsSoonAsPossible, 1_000, 2_100), 0);
        assert_eq!(wait_ms(Trigger::AvailableNow, 1_000, 1_100), 0);
    }

    #[test]
    fn only_the_default_trigger_has_a_limit_of_its_own() {
        assert_eq!(default_batch_limit(Trigger::AsSoonAsPossible, None), Some(DEFAULT_BATCH_OFFSETS));
        assert_eq!(default_batch_limit(Trigger::AvailableNow, None), None);
        assert_eq!(default_batch_limit(Trigger::AvailableNow, Some(7)), Some(7));
        assert_eq!(default_batch_limit(Trigger::Once, Some(7)), None);
    }
}
