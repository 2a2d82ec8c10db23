//! The program: reads the command line, runs the command, turns what came of it into an exit code.

use std::process::ExitCode;

use clap::Parser;

/// Flat memory for weeks: glibc's arenas keep what threads free.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    alluvia::cli::run(alluvia::cli::args::Cli::parse())
}
