//! How long a read bears that none of its ranges gets on: when it asks the brokers, when it says so, and when it ends.
//!
//! Pure: clocks are handed in.

use std::time::{Duration, Instant};

/// After how long without progress it is asked whether the partitions still exist and how far they reach, and
/// again after twice that, and so on; a partition that librdkafka has forgotten is placed anew then.
pub(super) const STALL: Duration = Duration::from_secs(5);

/// A time in which no range of a read gets on.
pub(super) struct Standstill {
    since: Instant,
    poll_timeout: Duration,
    next_look: Duration,
    next_warning: Duration,
}

impl Standstill {
    /// A range has just got on. The read ends `poll_timeout` after that, and not before a look.
    pub(super) fn begin(now: Instant, poll_timeout: Duration) -> Standstill {
        Standstill {
            since: now,
            poll_timeout,
            next_look: STALL.min(poll_timeout),
            next_warning: Duration::ZERO,
        }
    }

    /// How long no range has got on.
    pub(super) fn elapsed(&self, now: Instant) -> Duration {
        now.duration_since(self.since)
    }

    /// Whether the brokers are to be asked what is wrong.
    pub(super) fn is_look_due(&self, now: Instant) -> bool {
        self.elapsed(now) >= self.next_look
    }

    /// Whether a look is told of: the first one is, then one after twice the time.
    pub(super) fn is_told(&mut self, now: Instant) -> bool {
        let elapsed = self.elapsed(now);
        let told = elapsed >= self.next_warning;
        if told {
            self.next_warning = elapsed * 2;
        }
        told
    }

    /// A look that began at `began` has ended. While it is `in_doubt` whether a partition exists, the next one comes soon.
    pub(super) fn looked(&mut self, began: Instant, now: Instant, in_doubt: bool) {
        let next = if in_doubt { Duration::ZERO } else { self.elapsed(began) * 2 };
        // The answers may have been long in coming.
        self.next_look = next.max(self.elapsed(now) + STALL);
    }

    /// Whether the read has waited in vain.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.elapsed(now) >= self.poll_timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When a read that looks in once a second asks, when it says so, and when it is over, in seconds.
    fn times(poll_timeout: u64, in_doubt: bool) -> (Vec<u64>, Vec<u64>, u64) {
        let start = Instant::now();
        let mut standstill = Standstill::begin(start, Duration::from_secs(poll_timeout));
        let (mut looks, mut told) = (Vec::new(), Vec::new());
        for second in 0.. {
            let now = start + Duration::from_secs(second);
            if standstill.is_look_due(now) {
                looks.push(second);
                told.extend(standstill.is_told(now).then_some(second));
                standstill.looked(now, now, in_doubt);
            }
            if standstill.is_over(now) {
                return (looks, told, second);
            }
        }
        unreachable!()
    }

    #[test]
    fn the_brokers_are_asked_at_doubling_times_and_steadily_while_they_are_doubted_but_warnings_double() {
        assert_eq!(times(41, false), (vec![5, 10, 20, 40], vec![5, 10, 20, 40], 41));
        assert_eq!(times(41, true), (vec![5, 10, 15, 20, 25, 30, 35, 40], vec![5, 10, 20, 40], 41));
    }

    #[test]
    fn no_read_ends_without_a_look() {
        assert_eq!(times(5, false), (vec![5], vec![5], 5));
        assert_eq!(times(2, false), (vec![2], vec![2], 2));
    }

    #[test]
    fn answers_that_are_long_in_coming_are_not_asked_for_again_at_once() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut standstill = Standstill::begin(start, Duration::from_secs(60));
        standstill.looked(at(5), at(15), false);
        assert!(!standstill.is_look_due(at(19)) && standstill.is_look_due(at(20)));
    }
}
