//! What the steps of a micro-batch take, for its progress.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The times of one trigger.
pub(super) struct Clock {
    pub(super) started: Instant,
    pub(super) started_ms: i64,
    pub(super) steps: BTreeMap<&'static str, u64>,
}

impl Clock {
    pub(super) fn start() -> Clock {
        Clock { started: Instant::now(), started_ms: now_ms(), steps: BTreeMap::new() }
    }

    pub(super) fn time<T>(&mut self, step: &'static str, work: impl FnOnce() -> T) -> T {
        let before = Instant::now();
        let result = work();
        *self.steps.entry(step).or_default() += millis(before.elapsed());
        result
    }

    /// Times a part of `addBatch`.
    pub(super) fn time_part<T>(&mut self, part: &'static str, work: impl FnOnce() -> T) -> T {
        let before = Instant::now();
        let result = work();
        for step in [part, "addBatch"] {
            *self.steps.entry(step).or_default() += millis(before.elapsed());
        }
        result
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}
