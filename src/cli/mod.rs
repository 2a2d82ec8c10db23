//! The commands, one file each. A command reads its flags, calls the stages, and prints.

pub mod args;
mod completions;
mod demo;
#[cfg(test)]
mod reference;
mod run;

use std::io::IsTerminal;
use std::process::ExitCode;

use args::{Cli, Command, GlobalArgs, LogFormat};

use crate::model::{Error, Result};
use crate::observe;

/// Runs a command; the exit code is that of the first error's kind.
pub fn run(cli: Cli) -> ExitCode {
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("alluvia: {error}");
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
        Command::Completions(args) => completions::print(&args),
        _ => Err(Error::internal("unreachable")),
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

/// The runtime that storage calls and uploads run on.
///
/// # Errors
/// `Unavailable` if the system gives no threads.
fn io_runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("io")
        .enable_all()
        .build()
        .map_err(|e| Error::unavailable("cannot start the I/O threads").source(e))
}
