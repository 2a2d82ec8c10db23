//! `alluvia table …`: what a Delta table is made of, and its maintenance by hand.

mod compact;
mod condition;
mod history;
mod stats;
mod vacuum;

use std::path::Path;

use tokio::runtime::Handle;

use super::args::StreamArgs;
use super::args::table::{TableArgs, TableCommand};
use super::one_stream;
use crate::config::{StreamConfig, parse_location};
use crate::model::{Error, Result};
use crate::storage::Store;

/// Runs the command.
///
/// # Errors
/// `Config` if the file, the stream or the table is not there; else what the command meets.
pub(super) fn run(command: &TableCommand) -> Result<()> {
    match command {
        TableCommand::History(args) => history::run(args),
        TableCommand::Stats(args) => stats::run(args),
        TableCommand::Compact(args) => compact::run(args),
        TableCommand::Vacuum(args) => vacuum::run(args),
    }
}

/// The table that is meant, whose calls run on `runtime`, and its stream if a stream file says which.
fn open(args: &TableArgs, runtime: &Handle) -> Result<(Store, Option<StreamConfig>)> {
    if !Path::new(&args.target).is_file() {
        if let Some(flag) = [("--stream", args.stream.is_some()), ("--dead-letters", args.dead_letters)]
            .iter()
            .find(|(_, given)| *given)
        {
            let fact =
                format!("{} chooses a table of a stream file, but {} is not a file", flag.0, args.target);
            return Err(Error::config(fact).hint("give a stream file, or omit the flag"));
        }
        let base = std::env::current_dir()
            .map_err(|e| Error::unavailable("cannot tell the current folder").source(e))?;
        let url = parse_location(&args.target, &base).map_err(Error::config)?;
        return Ok((Store::open(&url, &Default::default(), runtime)?, None));
    }
    let config = one_stream(&StreamArgs { file: args.target.clone().into(), stream: args.stream.clone() })?;
    let url = if args.dead_letters {
        config.dead_letter.as_ref().map(|target| &target.url)
    } else {
        config.sink.delta().map(|sink| &sink.url)
    };
    let Some(url) = url else {
        let (what, key) = if args.dead_letters {
            ("no dead letters", "deadLetter")
        } else {
            ("no Delta table", "sink.format: delta")
        };
        return Err(Error::config(format!("stream {} writes {what}", config.name)).hint(format!("set {key}")));
    };
    let store = Store::open(url, &config.storage.0, runtime)?;
    Ok((store, Some(config)))
}

/// Bytes for people: `1.5 MiB`.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}
