//! The streams of a process: started, listed, stopped, restarted, waited for. What a program that uses Alluvia as a
//! library works with; `alluvia run` does too.
//!
//! Named after Spark's `StreamingQueryManager` and `StreamingQuery`. Each stream has a thread of its own; streams do not
//! take each other down. How a stream runs, and what an error means for it, is `supervise`'s business.
//!
//! ```no_run
//! use std::time::Duration;
//! use alluvia::config::{Config, ProcessLookup};
//! use alluvia::observe::{Reporter, Style};
//! use alluvia::runtime::{ProcessContext, Stop, Streams};
//!
//! # fn main() -> alluvia::model::Result<()> {
//! let config = Config::from_files(&["ingest.yaml".into()], &[], &ProcessLookup)?;
//! let io = tokio::runtime::Runtime::new().expect("threads for storage calls");
//! let process = ProcessContext::new(io.handle().clone(), "", Stop::new());
//! let streams = Streams::new(process, Reporter::new(Style::Quiet));
//! let query = streams.start(&config.streams[0])?;
//! query.await_termination(Some(Duration::from_secs(60)))?;
//! println!("{} batches, {}", query.recent_progress().len(), query.status().message);
//! query.stop();
//! query.await_termination(None)?;
//! # Ok(())
//! # }
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use super::lag;
use super::start::ProcessContext;
use super::streaming_query::{QueryState, Shared, StreamingQuery};
use super::supervise::supervise;
use crate::config::StreamConfig;
use crate::model::{Error, Result};
use crate::observe::{Event, Reporter, TokenTimes};
use crate::storage::credentials::{self, TokenState};

/// How often a stream that has failed is named again while others run.
const REMINDER: Duration = Duration::from_secs(300);

/// How a stream ended.
#[derive(Debug)]
pub struct StreamExit {
    /// The stream.
    pub name: String,
    /// Its last error, if it did not end by itself or by a stop.
    pub result: Result<()>,
}

/// The streams of a process.
#[derive(Clone)]
pub struct Streams {
    shared: Arc<Shared>,
}

impl Streams {
    /// No stream yet. `ctx` is what each of them is given; a stop of `ctx` stops them all.
    pub fn new(ctx: ProcessContext, reporter: Reporter) -> Streams {
        reporter.watch_tokens(|| {
            let times = |token: TokenState| TokenTimes {
                service: token.service,
                renewed_at: token.renewed_at,
                expires_at: token.expires_at,
                failures: token.failures,
            };
            credentials::states().into_iter().map(times).collect()
        });
        let shared = Arc::new(Shared { ctx, reporter, queries: Mutex::default() });
        let watched = Arc::downgrade(&shared);
        let watch = thread::Builder::new().name("lag".into()).spawn(move || lag::watch(&watched));
        if let Err(error) = watch {
            tracing::warn!(%error, "no thread keeps the lag of streams that do not run");
        }
        Streams { shared }
    }

    /// Starts a stream.
    ///
    /// # Errors
    /// `Config` if a stream of that name is active; `Unavailable` if the system gives no thread.
    pub fn start(&self, config: &StreamConfig) -> Result<StreamingQuery> {
        let query = {
            let mut queries = self.shared.queries();
            if let Some(known) = queries.iter().position(|query| query.name() == config.name) {
                if queries[known].is_active() {
                    return Err(Error::config(format!("a stream named {} is active", config.name))
                        .hint("stop it first, or give the other one another name"));
                }
                queries.remove(known);
            }
            let query =
                StreamingQuery::new(config, self.shared.reporter.stream(&config.name), &self.shared.ctx);
            queries.push(query.clone());
            query
        };
        self.spawn(&query)?;
        Ok(query)
    }

    /// Runs streams until every one has ended. One that has failed is named again every few minutes while others go on.
    pub fn run(&self, configs: &[StreamConfig]) -> Vec<StreamExit> {
        let started: Vec<Result<StreamingQuery>> = configs.iter().map(|config| self.start(config)).collect();
        while let Some(query) = self.active().first() {
            // An error is that stream's own, and was reported when it ended.
            if matches!(query.await_termination(Some(REMINDER)), Ok(false)) {
                self.remind();
            }
        }
        let ended = |(config, started): (&StreamConfig, Result<StreamingQuery>)| StreamExit {
            name: config.name.clone(),
            result: started.and_then(|query| query.await_termination(None).map(drop)),
        };
        configs.iter().zip(started).map(ended).collect()
    }

    /// Names the streams that have failed again: their errors are far up in the log by now.
    fn remind(&self) {
        for query in self.shared.queries().iter() {
            if let Some((kind, error)) = &query.state().failure {
                tracing::warn!(
                    stream = query.name(),
                    kind = kind.name(),
                    error,
                    "the stream has failed and does not run; other streams of this process do"
                );
            }
        }
    }

    /// The streams that are active, in the order of their start.
    pub fn active(&self) -> Vec<StreamingQuery> {
        self.shared.queries().iter().filter(|query| query.is_active()).cloned().collect()
    }

    /// A stream by name, also one that has ended.
    pub fn get(&self, name: &str) -> Option<StreamingQuery> {
        self.shared.queries().iter().find(|query| query.name() == name).cloned()
    }

    /// Stops a stream after its running micro-batch and starts it again; one that has ended is started. Does not wait.
    /// Returns whether there is a stream of that name.
    ///
    /// # Errors
    /// `Unavailable` if the system gives no thread.
    pub fn restart(&self, name: &str) -> Result<bool> {
        let Some(query) = self.get(name) else { return Ok(false) };
        {
            let mut state = query.state();
            if state.active {
                state.restart = true;
                state.stop.request();
                return Ok(true);
            }
            *state = QueryState::new(&self.shared.ctx);
        }
        self.spawn(&query)?;
        Ok(true)
    }

    fn spawn(&self, query: &StreamingQuery) -> Result<()> {
        let (streams, own) = (self.clone(), query.clone());
        let thread =
            thread::Builder::new().name(format!("stream-{}", query.name())).stack_size(super::STACK_BYTES);
        let spawned = thread.spawn(move || streams.serve(&own));
        spawned.map(drop).map_err(|e| {
            let error = Error::unavailable("cannot start a thread for the stream").source(e);
            self.report_end(query, Err(&error));
            set_ended(query, query.state(), Some(&error));
            error
        })
    }

    /// A stream's thread: runs it until it has ended and nobody wants it again.
    fn serve(&self, query: &StreamingQuery) {
        let _span = tracing::error_span!("stream", stream = query.name()).entered();
        loop {
            let stop = query.state().stop.clone();
            let ctx = ProcessContext { stop, ..self.shared.ctx.clone() };
            let run = || supervise(&query.inner.config, &ctx, &query.inner.reporter);
            let result = catch_unwind(AssertUnwindSafe(run))
                .unwrap_or_else(|_| Err(Error::internal("the stream's thread panicked")));
            if self.begins_again(&mut query.state()) {
                match result {
                    Ok(()) => tracing::info!("the stream is restarted, as it was asked to"),
                    Err(error) => tracing::warn!(%error, "the stream is restarted, as it was asked to"),
                }
                continue;
            }
            let stopped = ctx.stop.requested();
            self.report_end(query, result.as_ref().map(|()| stopped));
            let mut state = query.state();
            // Under the lock that ends it: a restart that was asked for meanwhile has been promised.
            if self.begins_again(&mut state) {
                let error = result.err().map(|error| error.to_string());
                tracing::warn!(error, "the stream is restarted, as it was asked to while it ended");
                continue;
            }
            set_ended(query, state, result.err().as_ref());
            return;
        }
    }

    /// Whether a restart is wanted, and the process is not to stop: then the stream's state is that of a new start.
    fn begins_again(&self, state: &mut QueryState) -> bool {
        let again = state.restart && !self.shared.ctx.stop.requested();
        if again {
            *state = QueryState::new(&self.shared.ctx);
        }
        again
    }

    fn report_end(&self, query: &StreamingQuery, result: Result<bool, &Error>) {
        let event = match result {
            Ok(stopped) => Event::Ended { stopped },
            Err(error) => {
                self.shared.ctx.stop.note_failure(error.kind());
                let last = self.active().iter().all(|other| other.name() == query.name());
                Event::Failed { kind: error.kind(), error: error.to_string(), last }
            }
        };
        query.inner.reporter.emit(event);
    }
}

fn set_ended(query: &StreamingQuery, mut state: MutexGuard<'_, QueryState>, error: Option<&Error>) {
    state.active = false;
    state.failure = error.map(|error| (error.kind(), error.to_string()));
    query.inner.ended.notify_all();
}
