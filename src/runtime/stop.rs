//! How a stream is asked to stop, and how long it may take.
//!
//! A stop lets the running micro-batch finish; after `shutdownTimeout` the batch is abandoned, which
//! is safe: its plan is durable and the next start runs it again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A request to stop, shared by everything that may have to.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    since: Mutex<Option<Instant>>,
    changed: Condvar,
    /// Set once no one may wait any longer.
    abandon: AtomicBool,
}

impl Stop {
    /// Not requested yet.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Asks to stop; the running micro-batch may finish.
    pub fn request(&self) {
        let mut since = self.inner.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.get_or_insert_with(Instant::now);
        self.inner.changed.notify_all();
    }

    /// Asks to stop at once, whatever is running.
    pub fn abandon(&self) {
        self.inner.abandon.store(true, Ordering::Relaxed);
        self.request();
    }

    /// Whether a stop was asked for.
    pub fn requested(&self) -> bool {
        self.inner.since.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether a running micro-batch must be abandoned now: asked for, or the stop is older than
    /// `patience`.
    pub fn abandoned(&self, patience: Duration) -> bool {
        self.inner.abandon.load(Ordering::Relaxed)
            || self
                .inner
                .since
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_some_and(|since| since.elapsed() >= patience)
    }

    /// Waits for `duration`, or less if a stop is asked for; whether it was.
    pub fn wait(&self, duration: Duration) -> bool {
        let since = self.inner.since.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, _) = self
            .inner
            .changed
            .wait_timeout_while(since, duration, |since| since.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_ends_a_wait_and_abandons_only_after_the_patience() {
        let stop = Stop::new();
        let other = stop.clone();
        let waiting = std::thread::spawn(move || other.wait(Duration::from_secs(60)));
        stop.request();
        assert!(waiting.join().unwrap());
        assert!(!stop.abandoned(Duration::from_secs(60)));
        assert!(stop.abandoned(Duration::ZERO));
        stop.abandon();
        assert!(stop.abandoned(Duration::from_secs(60)));
    }
}
