//! How the watermark of a query moves: Spark's rules, as a function of what its watermarks saw.

use super::event_time::EventTimes;

/// Which of several watermarks counts: Spark's `spark.sql.streaming.multipleWatermarkPolicy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WatermarkPolicy {
    /// The smallest: nothing of the slowest input is late.
    #[default]
    Min,
    /// The greatest.
    Max,
}

/// The watermark of a query over the life of one run of it.
///
/// After a restart only the query's watermark is known; what each input had reached starts again, as in Spark.
#[derive(Debug, Clone)]
pub struct WatermarkTracker {
    delays_ms: Vec<i64>,
    policy: WatermarkPolicy,
    /// What each watermark has reached in this run; 0 until it has seen a row.
    reached_ms: Vec<i64>,
    watermark_ms: i64,
}

impl WatermarkTracker {
    /// A tracker of a query whose watermark stands at `watermark_ms` (0: none yet).
    pub fn new(delays_ms: &[i64], policy: WatermarkPolicy, watermark_ms: i64) -> WatermarkTracker {
        WatermarkTracker {
            delays_ms: delays_ms.to_vec(),
            policy,
            reached_ms: vec![0; delays_ms.len()],
            watermark_ms,
        }
    }

    /// The watermark, in milliseconds since the Unix epoch.
    pub fn watermark_ms(&self) -> i64 {
        self.watermark_ms
    }

    /// The watermark of the next micro-batch, from what the watermarks saw in this one. It never goes back.
    pub fn advance(&mut self, seen: &[EventTimes]) -> i64 {
        for ((reached, delay), seen) in self.reached_ms.iter_mut().zip(&self.delays_ms).zip(seen) {
            if seen.count > 0 {
                *reached = (*reached).max(seen.max.saturating_sub(*delay));
            }
        }
        let candidate = match self.policy {
            WatermarkPolicy::Min => self.reached_ms.iter().min(),
            WatermarkPolicy::Max => self.reached_ms.iter().max(),
        };
        self.watermark_ms = self.watermark_ms.max(candidate.copied().unwrap_or_default());
        self.watermark_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saw(max: i64) -> EventTimes {
        EventTimes { count: 1, min: max, max, sum: max as f64 }
    }

    #[test]
    fn the_slowest_input_holds_the_watermark_and_it_never_goes_back() {
        let mut tracker = WatermarkTracker::new(&[10, 100], WatermarkPolicy::Min, 0);
        assert_eq!(tracker.advance(&[saw(1000), EventTimes::default()]), 0, "the second has seen nothing");
        assert_eq!(tracker.advance(&[EventTimes::default(), saw(500)]), 400);
        assert_eq!(tracker.advance(&[saw(20), saw(600)]), 500);
        assert_eq!(tracker.advance(&[saw(2000), saw(90)]), 500);
        let mut restarted = WatermarkTracker::new(&[10, 100], WatermarkPolicy::Min, 500);
        assert_eq!(restarted.advance(&[saw(9000), EventTimes::default()]), 500);
        let mut greatest = WatermarkTracker::new(&[10, 100], WatermarkPolicy::Max, 0);
        assert_eq!(greatest.advance(&[saw(1000), EventTimes::default()]), 990);
    }

    #[test]
    fn times_before_the_epoch_raise_nothing() {
        let mut tracker = WatermarkTracker::new(&[10], WatermarkPolicy::Min, 0);
        assert_eq!(tracker.advance(&[saw(-5)]), 0);
        assert_eq!(tracker.advance(&[]), 0);
    }
}
