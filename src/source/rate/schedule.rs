//! How many values there are before each second of a rate.

use crate::config::RateOptions;

/// The values of a rate, by the seconds since it began.
pub(super) struct Schedule {
    rows_per_second: i64,
    ramp_up_seconds: i64,
}

impl Schedule {
    /// That of these options.
    pub(super) fn of(options: &RateOptions) -> Schedule {
        Schedule { rows_per_second: options.rows_per_second, ramp_up_seconds: options.ramp_up_seconds }
    }

    /// The values before second `seconds`: Spark's `valueAtSecond`. While it ramps up each second has the same number
    /// of values more than the one before.
    pub(super) fn values_before(&self, seconds: i64) -> i64 {
        let (rate, ramp_up) = (self.rows_per_second, self.ramp_up_seconds);
        let ramped = |seconds: i64| {
            let more = rate / (ramp_up + 1);
            // Of `seconds` and its neighbour one is even.
            let pairs = i128::from(seconds) * (i128::from(seconds) + 1) / 2;
            i64::try_from(pairs * i128::from(more)).unwrap_or(i64::MAX)
        };
        if seconds <= ramp_up {
            return ramped(seconds);
        }
        ramped(ramp_up).saturating_add((seconds - ramp_up).saturating_mul(rate))
    }

    /// The last second from `start` on, up to `end`, before which there are at most `max` values; one at least.
    pub(super) fn limited(&self, start: i64, end: i64, max: Option<u64>) -> i64 {
        let Some(max) = max else { return end };
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let fits = |until: i64| self.values_before(until) - self.values_before(start) <= max;
        let (mut low, mut high) = ((start + 1).min(end), end);
        while low < high {
            let middle = low + (high - low + 1) / 2;
            if fits(middle) { low = middle } else { high = middle - 1 }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rows_per_second: i64, ramp_up_seconds: i64) -> Schedule {
        Schedule::of(&RateOptions { rows_per_second, ramp_up_seconds, partitions: None })
    }

    #[test]
    fn the_rate_ramps_up_as_sparks_does() {
        let ramped = schedule(10, 4);
        assert_eq!([0, 1, 2, 3, 4, 5, 6].map(|s| ramped.values_before(s)), [0, 2, 6, 12, 20, 30, 40]);
        assert_eq!(schedule(10, 0).values_before(7), 70);
        assert_eq!(schedule(i64::MAX, 0).values_before(9), i64::MAX);
        assert_eq!([None, Some(25), Some(3)].map(|max| ramped.limited(1, 6, max)), [6, 4, 2]);
    }
}
