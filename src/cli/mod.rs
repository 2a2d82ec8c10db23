//! The commands, one file each. A command reads its flags, calls the stages, and prints.

pub mod args;
mod check;
mod checkpoint;
mod client;
mod completions;
mod dead_letters;
mod demo;
mod progress;
mod explain;
#[cfg(test)]
mod reference;
mod man;
mod run;
mod schema_infer;
mod stop;
mod streams;
mod sql;
mod table;
mod temporary;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use args::{Cli, Command, DeadLettersCommand, GlobalArgs, LogFormat, SchemaCommand, StreamArgs};

use crate::config::{Config, ProcessLookup, StreamConfig};
use crate::model::escape::escaped_lines;
use crate::model::{Error, Result};
use crate::observe;
use crate::runtime::{ProcessContext, Stop};

/// Runs a command; the exit code is that of the first error's kind.
pub fn run(cli: Cli) -> ExitCode {
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("alluvia: {}", escaped_lines(&error.to_string()));
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn dispatch(cli: Cli) -> Result<()> {
    observe::log::start(json_logs(&cli.global), &cli.global.log)?;
    match cli.command {
        Command::Run(args) => run::run(&args, &cli.global),
        Command::Ingest(args) => run::ingest(&args, &cli.global),
        Command::Demo(args) => demo::run(&args, &cli.global),
        Command::Check(args) => check::check(&args),
        Command::Checkpoint(command) => checkpoint::run(&command),
        Command::Explain(args) => explain::explain(&args),
        Command::Sql(args) => sql::sql(&args),
        Command::Table(command) => table::run(&command),
        Command::Completions(args) => completions::print(&args),
        Command::Man(args) => man::write(&args),
        Command::DeadLetters(DeadLettersCommand::Show(args)) => dead_letters::show(&args),
        Command::DeadLetters(DeadLettersCommand::Replay(args)) => dead_letters::replay(&args, &cli.global),
        Command::Streams(args) => streams::streams(&args),
        Command::Status(args) => streams::status(&args),
        Command::Progress(args) => progress::progress(&args),
        Command::Stop(args) => stop::stop(&args),
        Command::Schema(SchemaCommand::Infer(args)) => schema_infer::infer(&args),
    }
}

/// Whether logs are JSON lines: asked for, or standard error is no terminal.
fn json_logs(global: &GlobalArgs) -> bool {
    match global.log_format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    }
}

/// How long a thread that made a storage call waits for another one. Each keeps a page of freed memory per size until it
/// ends, and with tokio's ten seconds none of a peak's threads ever ends: 17 of them held 30 MiB after 250 restarts of a
/// stream under failing storage, of which nothing was in use; with this there are few, and they hold 6.
const THREAD_KEEP_ALIVE: Duration = Duration::from_millis(100);

/// The runtime that storage calls and uploads run on.
///
/// # Errors
/// `Unavailable` if the system gives no threads.
fn io_runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("io")
        .thread_keep_alive(THREAD_KEEP_ALIVE)
        .enable_all()
        .build()
        .map_err(|e| Error::unavailable("cannot start the I/O threads").source(e))
}

/// What the streams of a command are given.
fn process_context(runtime: &tokio::runtime::Runtime, stop: &Stop) -> ProcessContext {
    ProcessContext::new(runtime.handle().clone(), &owner_name(), stop.clone())
}

/// The process's name as an owner, from `ALLUVIA_OWNER`; empty if it has none.
fn owner_name() -> String {
    std::env::var("ALLUVIA_OWNER").unwrap_or_default()
}

/// The stream that is meant: the one named, or the only one of the file.
///
/// # Errors
/// `Config` for a wrong file, or if it is not clear which stream is meant.
fn one_stream(args: &StreamArgs) -> Result<StreamConfig> {
    let config = Config::from_files(std::slice::from_ref(&args.file), &[], &ProcessLookup)?;
    let names: Vec<&str> = config.streams.iter().map(|stream| stream.name.as_str()).collect();
    let known = format!("{} has {}", args.file.display(), names.join(", "));
    match (&args.stream, config.streams.as_slice()) {
        (None, [only]) => Ok(only.clone()),
        (None, _) => {
            Err(Error::config("the file has several streams")
                .hint(format!("choose one with --stream; {known}")))
        }
        (Some(name), streams) => streams
            .iter()
            .find(|stream| stream.name == *name)
            .cloned()
            .ok_or_else(|| Error::config(format!("there is no stream {name}")).hint(known)),
    }
}
