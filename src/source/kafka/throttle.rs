//! How long brokers hold answers back because of a quota, out of librdkafka's statistics.
//!
//! Throttling is no error: the answer comes late and says so. Event Hubs does it to a namespace that is over its throughput
//! units. All clients of a source write here, the progress of a batch takes it out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;

/// The longest throttle time that any client of a source reported.
#[derive(Default)]
pub(super) struct Throttle {
    /// Milliseconds plus one; 0 if nothing was reported.
    longest: AtomicU64,
}

/// The part of the statistics that is read (librdkafka's STATISTICS.md).
#[derive(Deserialize)]
struct Statistics {
    #[serde(default)]
    brokers: HashMap<String, Broker>,
}

#[derive(Deserialize)]
struct Broker {
    throttle: Option<Window>,
}

#[derive(Deserialize)]
struct Window {
    max: u64,
}

impl Throttle {
    /// Takes a report of a client; what cannot be read is left out.
    pub(super) fn note(&self, statistics: &[u8]) {
        let Ok(statistics) = serde_json::from_slice::<Statistics>(statistics) else { return };
        let times = statistics.brokers.into_values().filter_map(|broker| Some(broker.throttle?.max));
        if let Some(longest) = times.max() {
            self.longest.fetch_max(longest.saturating_add(1), Ordering::Relaxed);
        }
    }

    /// The longest time in milliseconds since this was last asked; `None` without a report.
    pub(super) fn take_ms(&self) -> Option<u64> {
        self.longest.swap(0, Ordering::Relaxed).checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_throttle_time_of_all_brokers_is_told_once() {
        let throttle = Throttle::default();
        assert_eq!(throttle.take_ms(), None);
        throttle
            .note(br#"{"brokers":{"a":{"throttle":{"max":0,"avg":0}},"b":{"throttle":{"max":120}},"c":{}}}"#);
        throttle.note(br#"{"brokers":{"a":{"throttle":{"max":7}}}}"#);
        throttle.note(b"no JSON");
        assert_eq!((throttle.take_ms(), throttle.take_ms()), (Some(120), None));
        throttle.note(br#"{"brokers":{"a":{"throttle":{"max":0}}}}"#);
        assert_eq!(throttle.take_ms(), Some(0), "reported, and not throttled");
    }
}
