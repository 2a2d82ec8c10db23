//! What an error means for a stream: run again, or end. Streams do not take each other down.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, unbounded};

use super::open;
use super::row_pipeline::RowPipeline;
use super::start::{self, ProcessContext};
use super::stream::{RestartState, Stream};
use crate::config::{RestartPolicy, StreamConfig};
use crate::model::{Error, Kind, Result};
use crate::observe::{Reporter, StreamState};
use crate::source::give_back_memory;

/// The longest wait between two attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// How often a stream that has failed is reported again while others run.
const REMINDER: Duration = Duration::from_secs(300);

/// How a stream ended.
#[derive(Debug)]
pub struct Ended {
    /// The stream.
    pub name: String,
    /// Its last error, if it did not end by itself or by a stop.
    pub result: Result<()>,
}

/// Runs all streams, each on a thread of its own, until every one has ended. One that has failed is told
/// of again every few minutes while others go on.
pub fn run_all(streams: &[StreamConfig], ctx: &ProcessContext, reporter: &Reporter) -> Vec<Ended> {
    let (done, ends) = unbounded();
    thread::scope(|scope| {
        for (number, config) in streams.iter().enumerate() {
            let end = done.clone();
            let started = thread::Builder::new().name(format!("stream-{}", config.name)).spawn_scoped(
                scope,
                move || {
                    let run = || supervise(config, ctx, reporter);
                    let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
                        ctx.stop.note_failure(Kind::Internal);
                        Err(Error::internal("the stream's thread panicked"))
                    });
                    // The receiver lives until every sender is gone.
                    let _ = end.send((number, result));
                },
            );
            if let Err(e) = started {
                let _ = done.send((
                    number,
                    Err(Error::unavailable("cannot start a thread for the stream").source(e)),
                ));
            }
        }
        drop(done);
        let mut results: Vec<Option<Result<()>>> = streams.iter().map(|_| None).collect();
        loop {
            match ends.recv_timeout(REMINDER) {
                Ok((number, result)) => results[number] = Some(result),
                Err(RecvTimeoutError::Timeout) => remind(streams, &results),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let lost = || Err(Error::internal("the stream's thread ended without a word"));
        let ended = streams.iter().zip(results);
        ended
            .map(|(config, result)| Ended { name: config.name.clone(), result: result.unwrap_or_else(lost) })
            .collect()
    })
}

/// Says again which streams have failed: their errors are far up in the log by now.
fn remind(streams: &[StreamConfig], results: &[Option<Result<()>>]) {
    for (config, result) in streams.iter().zip(results) {
        if let Some(Err(error)) = result {
            tracing::warn!(stream = config.name, kind = error.kind().name(), %error, "the stream has failed and does not run; other streams of this process do");
        }
    }
}

/// Runs one stream until it ends for good. An error that may pass is retried after a pause, without limit unless
/// `restart.maxAttempts` sets one: an outage must not end a stream that nobody watches.
fn supervise(config: &StreamConfig, ctx: &ProcessContext, reporter: &Reporter) -> Result<()> {
    let mut restart = RestartState::default();
    let mut failures = 0;
    let mut failing_since = Instant::now();
    loop {
        let committed = restart.committed;
        let ended = run_once(config, ctx, reporter, &mut restart);
        give_back_memory();
        let Err(error) = ended else {
            tracing::info!(stream = config.name, "the stream has ended");
            reporter.state(&config.name, StreamState::Ended);
            return Ok(());
        };
        let error = if error.kind().retries() { error } else { replaced(config, &restart).unwrap_or(error) };
        if ctx.stop.requested() && error.kind().retries() {
            match restart.unfinished {
                Some(batch) => {
                    tracing::warn!(stream = config.name, batch, %error, "stopped in the middle of a micro-batch; the next start runs it again");
                }
                None => {
                    tracing::info!(stream = config.name, waited_for = %error, "stopped; no micro-batch was running");
                }
            }
            return Ok(());
        }
        failures = if restart.committed > committed { 1 } else { failures + 1 };
        if failures == 1 {
            failing_since = Instant::now();
        }
        let exhausted = config.restart.max_attempts.is_some_and(|max| failures > max);
        if !error.kind().retries() || exhausted {
            ctx.stop.note_failure(error.kind());
            tracing::error!(stream = config.name, kind = error.kind().name(), %error, "the stream has failed");
            reporter.state(&config.name, StreamState::Failed { kind: error.kind() });
            return Err(error);
        }
        let pause = backoff(config.restart, failures);
        let failing_for = failing_since.elapsed();
        tracing::warn!(
            stream = config.name,
            kind = error.kind().name(),
            %error,
            attempt = failures,
            of = config.restart.max_attempts,
            failing_s = failing_for.as_secs(),
            pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            "the stream is started again after a pause"
        );
        let state = StreamState::Retrying { kind: error.kind(), attempt: failures, failing_for, pause };
        reporter.state(&config.name, state);
        if ctx.stop.wait(pause) {
            return Ok(());
        }
    }
}

/// That the stream was taken over, if it was. What a replaced owner finds wrong may be its successor's doing, which deletes
/// old plans while they are read.
fn replaced(config: &StreamConfig, restart: &RestartState) -> Option<Error> {
    let fenced = restart.lease.as_ref()?.check(&config.name).err()?;
    (fenced.kind() == Kind::Fenced).then_some(fenced)
}

fn run_once(
    config: &StreamConfig,
    ctx: &ProcessContext,
    reporter: &Reporter,
    restart: &mut RestartState,
) -> Result<()> {
    let row_pipeline = match &restart.row_pipeline {
        Some(row_pipeline) => row_pipeline,
        None => restart.row_pipeline.insert(RowPipeline::of(config, &ctx.access(config))?),
    };
    let row_pipeline = row_pipeline.clone();
    let opened = start::open(config, row_pipeline, &|| open::source(config), ctx, &mut restart.lease)?;
    crate::failpoint!("stream.opened");
    Stream::new(config, ctx, reporter, restart, opened).run()
}

/// Doubling from the policy's backoff to a minute, with full jitter above half.
fn backoff(policy: RestartPolicy, failures: u32) -> Duration {
    let doubled = policy.backoff.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let ceiling = doubled.min(BACKOFF_MAX);
    ceiling.mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_minute() {
        let policy = RestartPolicy { max_attempts: None, backoff: Duration::from_secs(1) };
        let within = |failures, low, high| {
            let pause = backoff(policy, failures).as_secs_f64();
            assert!((low..=high).contains(&pause), "{failures}: {pause}");
        };
        within(1, 0.5, 1.0);
        within(3, 2.0, 4.0);
        within(40, 30.0, 60.0);
    }
}
