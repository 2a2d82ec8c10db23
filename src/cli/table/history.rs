//! `alluvia table history`: the newest commits of a table.

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use super::super::args::OutputFormat;
use super::super::args::table::HistoryArgs;
use super::super::io_runtime;
use super::open;
use crate::model::Result;
use crate::observe::Busy;
use crate::table::history::{self, CommitSummary};

/// Runs the command.
///
/// # Errors
/// `Config` if there is no table; `Unavailable` if storage does not answer; `Corrupt` if a commit is damaged.
pub(super) fn run(args: &HistoryArgs) -> Result<()> {
    let runtime = io_runtime()?;
    let (store, _) = open(&args.table, runtime.handle())?;
    let reading = Busy::with("reading the table's log");
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let commits = history::newest(&store, limit)?;
    drop(reading);
    match args.output.output {
        OutputFormat::Json => println!("{}", json!({"table": store.url().as_str(), "commits": commits})),
        OutputFormat::Text => {
            println!(
                "{:>9}  {:20}  {:18}  {:>11}  {:30}  details",
                "version", "time", "operation", "files", "by"
            );
            commits.iter().for_each(|commit| println!("{}", line(commit)));
        }
    }
    Ok(())
}

fn line(commit: &CommitSummary) -> String {
    let time = DateTime::from_timestamp_millis(commit.timestamp_ms)
        .filter(|_| commit.timestamp_ms > 0)
        .map_or("-".to_owned(), |time| time.to_rfc3339_opts(SecondsFormat::Secs, true));
    let said = commit.stream.as_ref().map(|stream| format!("stream {stream}"));
    let batches = commit.transactions.iter().map(|(id, version)| format!("{id}: {version}"));
    let metrics = commit.operation_metrics.as_object().into_iter().flatten();
    let metrics = metrics.filter_map(|(name, value)| match value {
        Value::String(text) if text != "0" => Some(format!("{name} {text}")),
        _ => None,
    });
    let says: Vec<String> = said.into_iter().chain(batches).chain(metrics).collect();
    let engine = commit.engine_info.as_deref().unwrap_or("-");
    let engine = engine.char_indices().nth(30).map_or(engine, |(end, _)| &engine[..end]);
    format!(
        "{:>9}  {time:20}  {:18}  {:>11}  {engine:30}  {}",
        commit.version,
        if commit.operation.is_empty() { "-" } else { &commit.operation },
        files(commit),
        says.join(", ")
    )
    .replace(|c: char| c.is_control(), " ")
}

/// Files added and removed: `+4 -2`.
fn files(commit: &CommitSummary) -> String {
    match commit.files_removed {
        0 => format!("+{}", commit.files_added),
        removed => format!("+{} -{removed}", commit.files_added),
    }
}
