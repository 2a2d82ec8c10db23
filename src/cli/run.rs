//! `alluvia run` and `alluvia ingest`: streams until they end or are stopped.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use super::args::{GlobalArgs, IngestArgs, LogFormat, RunArgs};
use super::io_runtime;
use crate::checkpoint::Owner;
use crate::config::{Config, ProcessLookup};
use crate::model::{Error, Result};
use crate::observe::{Reporter, Style};
use crate::runtime::start::Surroundings;
use crate::runtime::{Stop, run_all};

/// How long background work (a table's checkpoint) may go on after the streams have ended.
pub(super) const BACKGROUND_PATIENCE: Duration = Duration::from_secs(30);

/// Runs the streams of files.
///
/// # Errors
/// `Config` for a wrong file; else the error of the first stream that failed.
pub fn run(args: &RunArgs, global: &GlobalArgs) -> Result<()> {
    let config = Config::from_files(&args.files, &args.settings(), &ProcessLookup)?;
    if args.print_config {
        print!("{}", config.to_yaml());
        return Ok(());
    }
    stream(&config, args.wait_for_lease, &Reporter::new(style(global)))
}

/// Runs the stream that flags describe.
///
/// # Errors
/// As for [`run`].
pub fn ingest(args: &IngestArgs, global: &GlobalArgs) -> Result<()> {
    let config = Config::from_flags(&args.settings(), &ProcessLookup)?;
    if args.print_config {
        print!("{}", config.to_yaml());
        return Ok(());
    }
    stream(&config, false, &Reporter::new(style(global)))
}

/// Runs streams until every one has ended; signals stop them.
///
/// # Errors
/// The error of the first stream that failed.
pub fn stream(config: &Config, wait_for_lease: bool, reporter: &Reporter) -> Result<()> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = io_runtime()?;
    let stop = Stop::new();
    stop_on_signals(runtime.handle(), &stop)?;
    let around = Surroundings {
        handle: runtime.handle().clone(),
        owner: Owner::here(&std::env::var("ALLUVIA_OWNER").unwrap_or_default()),
        wait_for_lease,
        stop,
    };
    let ended = run_all(&config.streams, &around, reporter);
    reporter.summary();
    runtime.shutdown_timeout(BACKGROUND_PATIENCE);
    let mut failed = ended
        .into_iter()
        .filter_map(|stream| Some(stream.result.err()?.context(format!("stream {}", stream.name))));
    let Some(first) = failed.next() else { return Ok(()) };
    // The caller prints the first, and gives its code to the process.
    failed.for_each(|error| eprintln!("alluvia: {error}"));
    Err(first)
}

pub(super) fn style(global: &GlobalArgs) -> Style {
    match global.log_format {
        LogFormat::Json => Style::Json,
        LogFormat::Auto | LogFormat::Text => Style::detect(),
    }
}

/// The first SIGTERM or Ctrl-C asks for a stop, the second ends the process at once, which is safe.
pub(super) fn stop_on_signals(handle: &Handle, stop: &Stop) -> Result<()> {
    let _runtime = handle.enter();
    let failed = |e| Error::unavailable("cannot listen for signals").source(e);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let stop = stop.clone();
    handle.spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("stopping after the running micro-batch; a second signal stops at once");
        stop.request();
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::warn!("stopped at once; a micro-batch that was running is run again by the next start");
        std::process::exit(0);
    });
    Ok(())
}
