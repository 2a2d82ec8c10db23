//! A stream that was started, from outside of its thread: Spark's `StreamingQuery`.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::start::ProcessContext;
use super::stop::Stop;
use crate::config::StreamConfig;
use crate::model::{Error, Kind, Result};
use crate::observe::{LastError, Progress, QueryStatus, Reporter, StreamInfo, StreamReporter};

/// A stream that was started: Spark's `StreamingQuery`.
#[derive(Clone)]
pub struct StreamingQuery {
    pub(super) inner: Arc<Query>,
}

pub(super) struct Query {
    pub(super) config: StreamConfig,
    pub(super) reporter: StreamReporter,
    state: Mutex<QueryState>,
    pub(super) ended: Condvar,
}

pub(super) struct QueryState {
    /// Asks the running thread to stop.
    pub(super) stop: Stop,
    /// Whether a thread runs the stream.
    pub(super) active: bool,
    /// Whether that thread runs the stream again when it has stopped.
    pub(super) restart: bool,
    /// What ended the last run, if an error did.
    pub(super) failure: Option<(Kind, String)>,
}

impl QueryState {
    pub(super) fn new(ctx: &ProcessContext) -> QueryState {
        QueryState { stop: ctx.stop.child(), active: true, restart: false, failure: None }
    }
}

impl StreamingQuery {
    pub(super) fn new(
        config: &StreamConfig,
        reporter: StreamReporter,
        ctx: &ProcessContext,
    ) -> StreamingQuery {
        let state = Mutex::new(QueryState::new(ctx));
        let query = Query { config: config.clone(), reporter, state, ended: Condvar::new() };
        StreamingQuery { inner: Arc::new(query) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, QueryState> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn config(&self) -> &StreamConfig {
        &self.inner.config
    }

    pub(super) fn reporter(&self) -> &StreamReporter {
        &self.inner.reporter
    }

    /// The stream's name.
    pub fn name(&self) -> &str {
        &self.inner.config.name
    }

    /// Asks the stream to stop after its running micro-batch; does not wait for it.
    pub fn stop(&self) {
        let mut state = self.state();
        state.restart = false;
        state.stop.request();
    }

    /// Waits until the stream has ended, at most for `timeout`. Returns whether it has.
    ///
    /// # Errors
    /// The error that ended it.
    pub fn await_termination(&self, timeout: Option<Duration>) -> Result<bool> {
        let until = timeout.map(|timeout| Instant::now() + timeout);
        let mut state = self.state();
        while state.active {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
            state = match left {
                None => self.inner.ended.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    self.inner.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        match &state.failure {
            None => Ok(true),
            Some((kind, error)) => Err(Error::new(*kind, error.clone())),
        }
    }

    /// Whether the stream has not ended.
    pub fn is_active(&self) -> bool {
        self.state().active
    }

    /// What the stream does now.
    pub fn status(&self) -> QueryStatus {
        self.inner.reporter.status()
    }

    /// All that is known of the stream.
    pub fn info(&self) -> StreamInfo {
        self.inner.reporter.info()
    }

    /// The newest micro-batches, at most [`crate::observe::RECENT_MAX`], the oldest first.
    pub fn recent_progress(&self) -> Vec<Arc<Progress>> {
        self.inner.reporter.recent_progress()
    }

    /// The newest micro-batch.
    pub fn last_progress(&self) -> Option<Arc<Progress>> {
        self.inner.reporter.recent_progress().pop()
    }

    /// The stream's last error, also one after which it was started again.
    pub fn last_error(&self) -> Option<LastError> {
        self.inner.reporter.last_error()
    }
}

/// What the streams of a process share.
pub(super) struct Shared {
    pub(super) ctx: ProcessContext,
    pub(super) reporter: Reporter,
    pub(super) queries: Mutex<Vec<StreamingQuery>>,
}

impl Shared {
    pub(super) fn process_stop(&self) -> Stop {
        self.ctx.stop.clone()
    }

    pub(super) fn queries(&self) -> MutexGuard<'_, Vec<StreamingQuery>> {
        self.queries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
