//! Answers that nothing proves. One is believed when every look has found the same for [`DOUBT_TIMEOUT`].
//!
//! Pure: clocks are handed in.

use std::time::{Duration, Instant};

/// How long an answer that nothing proves must stay the same before it is believed that a partition is gone, or ends before
/// what was read: longer than a broker that was replaced takes to notice (`replica.lag.time.max.ms`, 30 s by default, bounds
/// how far behind a new leader may be), and than one that has just started takes to learn of its topics.
pub(super) const DOUBT_TIMEOUT: Duration = Duration::from_secs(30);

/// An answer that look after look has given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Doubt {
    since: Instant,
    last: Instant,
}

impl Doubt {
    /// A look that lasted from `began` to `now` gave the answer; so did the one before it if there is a doubt `before`.
    /// If no look was made for as long as an answer is doubted, nobody knows what was true meanwhile: this is the first.
    pub(super) fn again(before: Option<Doubt>, began: Instant, now: Instant) -> Doubt {
        let goes_on = |doubt: &Doubt| began.saturating_duration_since(doubt.last) < DOUBT_TIMEOUT;
        Doubt { since: before.filter(goes_on).map_or(now, |doubt| doubt.since), last: now }
    }

    /// Since when the answer has been given.
    pub(super) fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Whether the answer is to be believed.
    pub(super) fn is_over(&self) -> bool {
        self.elapsed(self.last) >= DOUBT_TIMEOUT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the last of looks at these seconds is believed.
    fn is_believed(looks: &[u64]) -> bool {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let again = |before, &second: &u64| Some(Doubt::again(before, at(second), at(second)));
        looks.iter().fold(None, again).is_some_and(|doubt| doubt.is_over())
    }

    #[test]
    fn an_answer_is_believed_when_looks_have_given_it_for_long_enough() {
        assert!(!is_believed(&[0]));
        assert!(!is_believed(&[0, 5, 10, 20, 29]));
        assert!(is_believed(&[0, 5, 10, 20, 30]));
        assert!(is_believed(&[0, 29, 31]));
    }

    #[test]
    fn two_looks_that_are_far_apart_prove_nothing() {
        assert!(!is_believed(&[0, 30]));
        assert!(!is_believed(&[0, 20, 300]));
        assert!(is_believed(&[0, 20, 300, 320, 330]));
    }

    #[test]
    fn a_look_that_lasts_is_no_gap() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let first = Doubt::again(None, start, at(45));
        assert!(Doubt::again(Some(first), at(46), at(90)).is_over());
    }
}
