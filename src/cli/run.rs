//! `alluvia run` and `alluvia ingest`: streams until they end or are stopped.

use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use super::args::{GlobalArgs, IngestArgs, LogFormat, ObserveArgs, RunArgs, in_flags};
use super::io_runtime;
use super::temporary::Temporary;
use crate::config::{Config, ProcessLookup};
use crate::model::escape::escaped_lines;
use crate::model::{Error, Result};
use crate::observe::{Reporter, Style, Traces};
use crate::runtime::{ProcessContext, Stop, Streams, WhenOwned};
use crate::server::{self, ServerSettings};
use crate::sink::work_beside_batches;

/// How long background work (a table's checkpoint) may go on after the streams have ended.
const BACKGROUND_TIMEOUT: Duration = Duration::from_secs(30);
/// The least of it, after a stop that had no deadline left.
const BACKGROUND_LEAST: Duration = Duration::from_secs(1);
/// How often it is looked at whether background work has ended.
const BACKGROUND_POLL: Duration = Duration::from_millis(5);
/// How long after the deadline of a stop a thread may still be in a call that can't be interrupted.
const GRACE: Duration = Duration::from_secs(5);

/// Runs the streams of files.
///
/// # Errors
/// `Config` for a wrong file; else the error of the first stream that failed.
pub(super) fn run(args: &RunArgs, global: &GlobalArgs) -> Result<()> {
    let config = Config::from_files(&args.files, &args.settings(), &ProcessLookup)?;
    if args.print_config {
        print!("{}", config.to_yaml());
        return Ok(());
    }
    let reporter = reporter(global, &args.observe)?;
    let when_owned = match (args.wait_for_lease, args.take_over) {
        (true, _) => WhenOwned::Wait,
        (_, true) => WhenOwned::TakeOver,
        _ => WhenOwned::Refuse,
    };
    stream(&config, when_owned, &args.observe.server(true)?, &reporter)
}

/// Runs the stream that flags describe.
///
/// # Errors
/// As for [`run`].
pub(super) fn ingest(args: &IngestArgs, global: &GlobalArgs) -> Result<()> {
    if args.lacks_topic() {
        return Err(Error::config("no topic is named")
            .hint("give --topic, --option subscribePattern=… or --option assign=…"));
    }
    // Without a table nothing of the run is kept, so the checkpoint is not either.
    let temporary = args.lacks_checkpoint().then(|| Temporary::new("alluvia-")).transpose()?;
    let checkpoint = temporary.as_ref().map(|folder| folder.path().join("checkpoint"));
    let config = Config::from_flags(&args.settings(checkpoint.as_deref()), &ProcessLookup)?;
    if args.print_config {
        print!("{}", config.to_yaml());
        return Ok(());
    }
    let reporter = reporter(global, &args.observe)?;
    stream(&config, WhenOwned::Refuse, &args.observe.server(false)?, &reporter).map_err(in_flags)
}

/// Runs streams until every one has ended; signals stop them.
///
/// # Errors
/// The error of the first stream that failed.
fn stream(
    config: &Config,
    when_owned: WhenOwned,
    server: &ServerSettings,
    reporter: &Reporter,
) -> Result<()> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = io_runtime()?;
    let stop = Stop::new();
    let deadline = config.streams.iter().map(|stream| stream.shutdown_timeout).max().unwrap_or_default();
    stop_on_signals(runtime.handle(), &stop, deadline)?;
    let ctx = ProcessContext { when_owned, ..super::process_context(&runtime, &stop) };
    let streams = Streams::new(ctx, reporter.clone());
    runtime.block_on(server::start(server, reporter, &streams))?;
    let ended = streams.run(&config.streams);
    reporter.summary();
    reporter.finish_traces();
    end_background(runtime, &stop, deadline);
    let mut failed =
        ended.into_iter().filter_map(|stream| Some(of_stream(stream.result.err()?, &stream.name)));
    let Some(first) = failed.next() else { return Ok(()) };
    // The caller prints the first, and gives its code to the process.
    failed.for_each(|error| eprintln!("alluvia: {}", escaped_lines(&error.to_string())));
    Err(first)
}

/// An error of a stream of a process, with the stream's name in front unless it begins with that anyway.
fn of_stream(error: Error, name: &str) -> Error {
    let stream = format!("stream {name}");
    if error.to_string().starts_with(&format!("{stream} ")) { error } else { error.context(stream) }
}

fn reporter(global: &GlobalArgs, observe: &ObserveArgs) -> Result<Reporter> {
    let reporter = match &observe.progress_file {
        None => Reporter::new(style(global)),
        Some(path) => Reporter::to_file(style(global), path)?,
    };
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(reporter);
    }
    // The variable for traces alone is read by the exporter, and wins.
    let traces_alone = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").is_some();
    match observe.otlp_endpoint.as_deref().filter(|endpoint| !endpoint.is_empty()) {
        _ if traces_alone => reporter.trace_to(Traces::open(None)?),
        Some(endpoint) => reporter.trace_to(Traces::open(Some(endpoint))?),
        None => {}
    }
    Ok(reporter)
}

pub(super) fn style(global: &GlobalArgs) -> Style {
    match global.log_format {
        LogFormat::Json => Style::Json,
        LogFormat::Auto | LogFormat::Text => Style::detect(),
    }
}

/// Lets background work finish, for as long as a stop's `deadline` has left; it is safe to leave.
pub(super) fn end_background(runtime: Runtime, stop: &Stop, deadline: Duration) {
    let left = stop.left(deadline).unwrap_or(BACKGROUND_TIMEOUT).clamp(BACKGROUND_LEAST, BACKGROUND_TIMEOUT);
    let until = Instant::now() + left;
    while work_beside_batches() > 0 && Instant::now() < until {
        thread::sleep(BACKGROUND_POLL);
    }
    if work_beside_batches() > 0 {
        // Its requests need the runtime's threads; the end of the process ends both at once.
        std::mem::forget(runtime);
        return;
    }
    runtime.shutdown_timeout(until.saturating_duration_since(Instant::now()).max(BACKGROUND_LEAST));
}

/// The first SIGTERM or Ctrl-C asks for a stop, the second ends the process at once, which is safe. So does
/// the end of `deadline`, the longest of all streams', if a thread is still held up then.
pub(super) fn stop_on_signals(handle: &Handle, stop: &Stop, deadline: Duration) -> Result<()> {
    let _runtime = handle.enter();
    let failed = |e| Error::unavailable("cannot listen for signals").source(e);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let stop = stop.clone();
    handle.spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("stopping after the running micro-batch; a second signal stops at once");
        stop.request();
        let again = tokio::select! {
            _ = terminate.recv() => true,
            _ = interrupt.recv() => true,
            () = tokio::time::sleep(deadline.saturating_add(GRACE)) => false,
        };
        let why = if again {
            "at once"
        } else {
            "because shutdownTimeout has expired while a call was still blocked"
        };
        tracing::warn!("stopped {why}; the next start runs an unfinished micro-batch again");
        std::process::exit(stop.exit_code().into());
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_stream_once() {
        let owned = of_stream(Error::fenced("stream s is run by pod-0"), "s");
        assert_eq!(owned.to_string(), "stream s is run by pod-0");
        let other = of_stream(Error::config("stream s2 is not there"), "s");
        assert_eq!(other.to_string(), "stream s: stream s2 is not there");
    }
}
