//! How the watermark of a query moves: Spark's rules, as a function of what its watermarks saw.

use super::observed::EventTimes;

/// Which of several watermarks counts: Spark's `spark.sql.streaming.multipleWatermarkPolicy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WatermarkPolicy {
    /// The smallest: nothing of the slowest input is late.
    #[default]
    Min,
    /// The greatest.
    Max,
}

/// What moves one of a query's watermarks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WatermarkRule {
    /// How far it stays behind the greatest event time, in milliseconds.
    pub delay_ms: i64,
    /// After how long without rows the clock moves it, in milliseconds.
    pub idle_timeout_ms: Option<i64>,
    /// Whether the query reads the relation that declares it. One that is not read sees no rows, and counts for nothing.
    pub is_read: bool,
}

/// The watermark of a query over the life of one run of it.
///
/// After a restart only the query's watermark is known; what each input had reached starts again, as in Spark.
#[derive(Debug, Clone)]
pub struct WatermarkTracker {
    rules: Vec<WatermarkRule>,
    policy: WatermarkPolicy,
    /// What each watermark has reached in this run; 0 until it has seen a row.
    reached_ms: Vec<i64>,
    watermark_ms: i64,
}

impl WatermarkTracker {
    /// A tracker of a query whose watermark stands at `watermark_ms` (0: none yet).
    pub fn new(rules: &[WatermarkRule], policy: WatermarkPolicy, watermark_ms: i64) -> WatermarkTracker {
        WatermarkTracker { rules: rules.to_vec(), policy, reached_ms: vec![0; rules.len()], watermark_ms }
    }

    /// The watermark, in milliseconds since the Unix epoch.
    pub fn watermark_ms(&self) -> i64 {
        self.watermark_ms
    }

    /// The watermark of the next micro-batch, from what the watermarks saw in this one. It never goes back.
    pub fn advance(&mut self, seen: &[EventTimes]) -> i64 {
        for ((reached, rule), seen) in self.reached_ms.iter_mut().zip(&self.rules).zip(seen) {
            if let Some(latest) = seen.latest {
                *reached = (*reached).max(latest.saturating_sub(rule.delay_ms));
            }
        }
        self.follow_reached()
    }

    /// The watermark of the next micro-batch if no row has come for `quiet_ms`: it may have moved by the clock, `now_ms`.
    pub fn advance_idle(&mut self, now_ms: i64, quiet_ms: i64) -> i64 {
        for (reached, rule) in self.reached_ms.iter_mut().zip(&self.rules) {
            if let Some(timeout) = rule.idle_timeout_ms.filter(|timeout| quiet_ms >= *timeout) {
                *reached = (*reached).max(now_ms.saturating_sub(timeout).saturating_sub(rule.delay_ms));
            }
        }
        self.follow_reached()
    }

    /// The least time without rows after which the clock moves the watermark, in milliseconds; `None` if it never does.
    pub fn idle_timeout_ms(&self) -> Option<i64> {
        self.rules.iter().filter(|rule| rule.is_read).filter_map(|rule| rule.idle_timeout_ms).min()
    }

    /// A batch is planned with `watermark_ms`: another process may have moved it there by the clock.
    pub fn follow_plan(&mut self, watermark_ms: i64) {
        self.watermark_ms = self.watermark_ms.max(watermark_ms);
    }

    fn follow_reached(&mut self) -> i64 {
        let read = self.reached_ms.iter().zip(&self.rules).filter(|(_, rule)| rule.is_read);
        let reached = read.map(|(reached, _)| *reached);
        let candidate = match self.policy {
            WatermarkPolicy::Min => reached.min(),
            WatermarkPolicy::Max => reached.max(),
        };
        self.watermark_ms = self.watermark_ms.max(candidate.unwrap_or_default());
        self.watermark_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saw(max: i64) -> EventTimes {
        EventTimes { count: 1, min: max, max, sum: max as f64, latest: Some(max), future: 0 }
    }

    fn delays(delays_ms: &[i64]) -> Vec<WatermarkRule> {
        let rule = |delay: &i64| WatermarkRule { delay_ms: *delay, idle_timeout_ms: None, is_read: true };
        delays_ms.iter().map(rule).collect()
    }

    #[test]
    fn the_slowest_input_holds_the_watermark_and_it_never_goes_back() {
        let mut tracker = WatermarkTracker::new(&delays(&[10, 100]), WatermarkPolicy::Min, 0);
        assert_eq!(tracker.advance(&[saw(1000), EventTimes::default()]), 0, "the second has seen nothing");
        assert_eq!(tracker.advance(&[EventTimes::default(), saw(500)]), 400);
        assert_eq!(tracker.advance(&[saw(20), saw(600)]), 500);
        assert_eq!(tracker.advance(&[saw(2000), saw(90)]), 500);
        let mut restarted = WatermarkTracker::new(&delays(&[10, 100]), WatermarkPolicy::Min, 500);
        assert_eq!(restarted.advance(&[saw(9000), EventTimes::default()]), 500);
        let mut greatest = WatermarkTracker::new(&delays(&[10, 100]), WatermarkPolicy::Max, 0);
        assert_eq!(greatest.advance(&[saw(1000), EventTimes::default()]), 990);
    }

    #[test]
    fn a_watermark_of_a_view_that_nobody_reads_holds_nothing() {
        let mut rules = delays(&[10, 100]);
        rules[1].is_read = false;
        for policy in [WatermarkPolicy::Min, WatermarkPolicy::Max] {
            let mut tracker = WatermarkTracker::new(&rules, policy, 0);
            assert_eq!(tracker.advance(&[saw(1000), EventTimes::default()]), 990);
        }
    }

    #[test]
    fn times_before_the_epoch_raise_nothing() {
        let mut tracker = WatermarkTracker::new(&delays(&[10]), WatermarkPolicy::Min, 0);
        assert_eq!(tracker.advance(&[saw(-5)]), 0);
        assert_eq!(tracker.advance(&[]), 0);
    }

    #[test]
    fn without_rows_the_clock_moves_the_watermark_where_a_timeout_says_so() {
        let rules = [
            WatermarkRule { delay_ms: 10, idle_timeout_ms: Some(100), is_read: true },
            WatermarkRule { delay_ms: 20, idle_timeout_ms: Some(500), is_read: true },
        ];
        let mut tracker = WatermarkTracker::new(&rules, WatermarkPolicy::Min, 0);
        assert_eq!(tracker.idle_timeout_ms(), Some(100));
        assert_eq!(tracker.advance(&[saw(1000), saw(1000)]), 980);
        assert_eq!(tracker.advance_idle(9000, 99), 980, "not long enough");
        assert_eq!(tracker.advance_idle(9000, 100), 980, "the second holds it");
        assert_eq!(tracker.advance_idle(9000, 500), 9000 - 500 - 20);
        assert_eq!(tracker.advance(&[saw(5000), saw(5000)]), 8480, "it never goes back");
        assert_eq!(WatermarkTracker::new(&delays(&[5]), WatermarkPolicy::Min, 7).advance_idle(9000, 8000), 7);
    }
}
