//! How a stream is asked to stop, and how long it may take.
//!
//! A stop lets the running micro-batch finish; after `shutdownTimeout` the batch is abandoned, which
//! is safe: its plan is durable and the next start runs it again. Lanes look at the stop, and the
//! stream's stores fail whatever they are waiting for (`storage::deadline`).

use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::model::Kind;
use crate::storage::{Deadline, StopRequest};

/// A request to stop, shared by everything that may have to.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    asked: watch::Sender<StopRequest>,
    /// Held while `asked` changes, for those who wait on a thread.
    changing: Mutex<()>,
    changed: Condvar,
    /// Of the first stream that failed.
    failure: OnceLock<Kind>,
    /// Requests of single streams, which this one includes.
    children: Mutex<Vec<Weak<Inner>>>,
}

impl Stop {
    /// Not requested yet.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Asks to stop; the running micro-batch may finish.
    pub fn request(&self) {
        let changing = self.inner.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.inner.asked.send_modify(|asked| {
            asked.since.get_or_insert_with(Instant::now);
        });
        self.inner.changed.notify_all();
        drop(changing);
        let children = self.inner.children.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for inner in children.iter().filter_map(Weak::upgrade) {
            Stop { inner }.request();
        }
    }

    /// A request of its own for one stream: asking for it leaves the others alone, asking for `self` asks for it too.
    pub fn child(&self) -> Stop {
        let child = Stop::new();
        let mut children = self.inner.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.retain(|child| child.strong_count() > 0);
        children.push(Arc::downgrade(&child.inner));
        drop(children);
        if self.requested() {
            child.request();
        }
        child
    }

    /// Notes that a stream has failed.
    pub fn note_failure(&self, kind: Kind) {
        // The first one counts.
        let _ = self.inner.failure.set(kind);
    }

    /// The code of a process that ends before all of its streams have: that of a failed one, if there is one.
    pub fn exit_code(&self) -> u8 {
        self.inner.failure.get().map_or(0, |kind| kind.exit_code())
    }

    /// Whether a stop was asked for.
    pub fn requested(&self) -> bool {
        self.inner.asked.borrow().since.is_some()
    }

    /// What is left of a deadline of `limit`; `None` while no stop was asked for.
    pub fn left(&self, limit: Duration) -> Option<Duration> {
        self.inner.asked.borrow().left(limit)
    }

    /// Whether a running micro-batch must be abandoned now: the stop is older than `deadline`.
    pub fn abandoned(&self, deadline: Duration) -> bool {
        self.left(deadline).is_some_and(|left| left.is_zero())
    }

    /// The same, to be waited for: what a stream's stores are given.
    pub fn deadline(&self, limit: Duration) -> Deadline {
        Deadline::new(self.inner.asked.subscribe(), limit)
    }

    /// Waits for `duration`, or less if a stop is asked for; whether it was.
    pub fn wait(&self, duration: Duration) -> bool {
        let unchanged = self.inner.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.inner.changed.wait_timeout_while(unchanged, duration, |()| !self.requested());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.requested()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_of_the_process_stops_every_stream_and_a_stop_of_a_stream_only_that_one() {
        let process = Stop::new();
        let (one, two) = (process.child(), process.child());
        one.request();
        assert!(one.requested() && !two.requested() && !process.requested());
        process.request();
        assert!(two.requested());
        assert!(process.child().requested(), "a stream that starts after the stop");
    }

    #[test]
    fn a_request_ends_a_wait_and_abandons_only_after_the_deadline() {
        let stop = Stop::new();
        let other = stop.clone();
        let waiting = std::thread::spawn(move || other.wait(Duration::from_secs(60)));
        stop.request();
        assert!(waiting.join().unwrap());
        assert!(!stop.abandoned(Duration::from_secs(60)));
        assert!(stop.abandoned(Duration::ZERO));
    }
}
