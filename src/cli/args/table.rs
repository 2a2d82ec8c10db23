//! `alluvia table …`: what can be asked of a Delta table and done to it.
#![allow(
    missing_docs,
    reason = "a flattened field is documented by its type; a comment on it would become help text"
)]

use clap::{Args, Subcommand};

use super::OutputArgs;

pub(super) const EXAMPLES: &str = "\
Examples:
  alluvia table history config/ingest.yaml --limit 5
  alluvia table stats ./lake/device_events";

/// `alluvia table …`.
#[derive(Debug, Subcommand)]
pub enum TableCommand {
    /// Show the newest commits of a table, as DESCRIBE HISTORY does
    History(HistoryArgs),
    /// Show what a table is made of: files, bytes, rows, small files, deletion vectors, partitions
    Stats(StatsArgs),
}

/// Which table.
#[derive(Debug, Clone, Args)]
pub struct TableArgs {
    /// A table's URL or path, or a stream file (YAML) whose storage options are then used
    #[arg(value_name = "FILE-OR-PATH")]
    pub target: String,
    /// The stream, if a file has several
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,
    /// The table of the stream's dead letters instead of its sink's
    #[arg(long)]
    pub dead_letters: bool,
}

/// `alluvia table history`.
#[derive(Debug, Clone, Args)]
pub struct HistoryArgs {
    #[command(flatten)]
    pub table: TableArgs,
    /// How many of the newest commits are shown
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `alluvia table stats`.
#[derive(Debug, Clone, Args)]
pub struct StatsArgs {
    #[command(flatten)]
    pub table: TableArgs,
    /// How many partitions are shown, those with the most small files first
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub partitions: usize,
    #[command(flatten)]
    pub output: OutputArgs,
}
