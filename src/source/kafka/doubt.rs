//! Answers that nothing proves. One is believed when every look has found the same for [`DOUBT_TIMEOUT`].
//!
//! Pure: clocks are handed in.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use crate::model::TopicPartition;

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

/// What an answer says of a partition without proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Claim {
    /// It does not exist.
    Gone,
    /// It ends before what was read.
    Shorter,
    /// Its leader has an older epoch than one before.
    Outdated,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Claim::Gone => "the brokers do not know a partition that was read",
            Claim::Shorter => "the brokers say that a partition ends before what was read",
            Claim::Outdated => {
                "the brokers say that a partition has a leader of an older epoch than one before"
            }
        })
    }
}

/// What a source is told and does not believe yet: each partition has a doubt of its own.
#[derive(Debug, Default)]
pub(super) struct Doubted(BTreeMap<(TopicPartition, Claim), Doubt>);

impl Doubted {
    /// A look that lasted from `began` to `now` found these claims, and no other. Returns those that are new.
    pub(super) fn note(
        &mut self,
        claims: impl IntoIterator<Item = (TopicPartition, Claim)>,
        began: Instant,
        now: Instant,
    ) -> Vec<(TopicPartition, Claim)> {
        let before = std::mem::take(&mut self.0);
        let mut new = Vec::new();
        for claim in claims {
            let known = before.get(&claim).copied();
            if known.is_none() {
                new.push(claim.clone());
            }
            self.0.insert(claim, Doubt::again(known, began, now));
        }
        new
    }

    /// Whether everything that the last look found is to be believed.
    pub(super) fn are_over(&self) -> bool {
        self.0.values().all(Doubt::is_over)
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
    fn each_partition_and_each_claim_is_doubted_for_itself() {
        let start = Instant::now();
        let mut doubted = Doubted::default();
        // Returns how many claims are new, and whether all are believed.
        let mut look = |second, claims: &[(i32, Claim)]| {
            let now = start + Duration::from_secs(second);
            let claims = claims.iter().map(|&(number, claim)| (TopicPartition::new("t", number), claim));
            (doubted.note(claims, now, now).len(), doubted.are_over())
        };
        assert_eq!(look(0, &[]), (0, true));
        assert_eq!(look(1, &[(0, Claim::Gone)]), (1, false));
        assert_eq!(look(20, &[(0, Claim::Gone)]), (0, false));
        assert_eq!(look(40, &[(0, Claim::Gone), (1, Claim::Gone)]), (1, false), "one has just vanished");
        assert_eq!(look(60, &[(0, Claim::Gone), (1, Claim::Gone)]), (0, false));
        assert_eq!(look(70, &[(0, Claim::Gone), (1, Claim::Gone)]), (0, true));
        assert_eq!(look(71, &[(1, Claim::Gone)]), (0, true));
        assert_eq!(look(72, &[(0, Claim::Gone)]), (1, false), "it was there meanwhile");
        assert_eq!(look(85, &[(0, Claim::Shorter)]), (1, false), "this is said for the first time");
        assert_eq!(look(103, &[(0, Claim::Shorter)]), (0, false));
    }

    #[test]
    fn a_look_that_lasts_is_no_gap() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let first = Doubt::again(None, start, at(45));
        assert!(Doubt::again(Some(first), at(46), at(90)).is_over());
    }
}
