//! What an error means for a stream: run again, or end. Streams do not take each other down.

use std::time::{Duration, Instant};

use super::memory::StreamMemory;
use super::open;
use super::row_pipeline::RowPipeline;
use super::start::{self, ProcessContext};
use super::stream::{RestartState, Stream};
use crate::config::{RestartPolicy, StreamConfig};
use crate::model::{Error, Kind, Result};
use crate::observe::{Event, Restart, StreamReporter};
use crate::source::give_back_memory;

/// The longest wait between two attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Runs one stream until it ends for good. An error that may pass is retried after a pause, without limit unless
/// `restart.maxAttempts` sets one: an outage must not end a stream that nobody watches.
pub(super) fn supervise(
    config: &StreamConfig,
    ctx: &ProcessContext,
    reporter: &StreamReporter,
) -> Result<()> {
    let mut restart = RestartState::default();
    // The same after each error: rows of static tables are kept.
    let memory = ctx.memory(config);
    let mut failures = 0;
    let mut failing_since = Instant::now();
    loop {
        let committed = restart.committed;
        reporter.emit(Event::Starting);
        let ended = run_once(config, ctx, reporter, &memory, &mut restart);
        give_back_memory();
        let Err(error) = ended else {
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
            return Err(error);
        }
        let pause = backoff(config.restart, failures);
        reporter.emit(Event::Restarting(Restart {
            kind: error.kind(),
            error: error.to_string(),
            attempt: failures,
            of: config.restart.max_attempts,
            failing_for: failing_since.elapsed(),
            pause,
        }));
        if ctx.stop.wait(pause) {
            return Ok(());
        }
    }
}

/// That the stream was taken over, if it was. What a replaced owner finds wrong may be its successor's doing, which deletes
/// old plans while they are read.
fn replaced(config: &StreamConfig, restart: &RestartState) -> Option<Error> {
    let fenced = restart.lease.as_ref()?.confirm(&config.name).err()?;
    (fenced.kind() == Kind::Fenced).then_some(fenced)
}

fn run_once(
    config: &StreamConfig,
    ctx: &ProcessContext,
    reporter: &StreamReporter,
    memory: &StreamMemory,
    restart: &mut RestartState,
) -> Result<()> {
    if restart.tokens.is_none() {
        restart.tokens = Some(open::login_tokens(config)?);
    }
    let row_pipeline = match &restart.row_pipeline {
        Some(row_pipeline) => row_pipeline,
        None => restart.row_pipeline.insert(RowPipeline::of(config, &ctx.access(config))?),
    };
    let row_pipeline = row_pipeline.clone();
    let connect = || open::source(config);
    let opened = start::open(config, row_pipeline, &connect, ctx, memory, &mut restart.lease)?;
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
