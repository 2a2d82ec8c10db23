//! `alluvia table …`: the commands that inspect and maintain a Delta table.
#![allow(
    missing_docs,
    reason = "a flattened field is documented by its type; a comment on it would become help text"
)]

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{KeyValue, OutputArgs, key_value};
use crate::config::{parse_duration, parse_size};

pub(super) const EXAMPLES: &str = "\
Examples:
  alluvia table history config/ingest.yaml --limit 5
  alluvia table stats ./lake/device_events
  alluvia table compact ./lake/device_events --partition day=2026-11-29 --dry-run
  alluvia table vacuum config/ingest.yaml --dry-run";

/// `alluvia table …`.
#[derive(Debug, Subcommand)]
pub enum TableCommand {
    /// Show the latest commits of a table, as DESCRIBE HISTORY does
    History(HistoryArgs),
    /// Show what a table consists of: files, bytes, rows, small files, deletion vectors, partitions
    Stats(StatsArgs),
    /// Compact the small files of each partition into larger ones, as OPTIMIZE does; no row changes
    Compact(CompactArgs),
    /// Delete files that the table no longer needs, as VACUUM does
    Vacuum(VacuumArgs),
}

/// The table to use.
#[derive(Debug, Clone, Args)]
pub struct TableArgs {
    /// URL or path of a table, or a stream file (YAML), whose storage options are then used
    #[arg(value_name = "FILE-OR-PATH")]
    pub target: String,
    /// The stream to use, if the file has several
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,
    /// Use the stream's dead-letter table instead of the table of its sink
    #[arg(long)]
    pub dead_letters: bool,
}

/// `alluvia table history`.
#[derive(Debug, Clone, Args)]
pub struct HistoryArgs {
    #[command(flatten)]
    pub table: TableArgs,
    /// Number of commits to show, newest first
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
    /// Number of partitions to show, those with the most small files first
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub partitions: usize,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `alluvia table compact`.
#[derive(Debug, Clone, Args)]
pub struct CompactArgs {
    #[command(flatten)]
    pub table: TableArgs,
    /// Target size of files, such as 64m [default: delta.targetFileSize of the table, or 128m]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub target_file_size: Option<u64>,
    /// Only partitions with this value; repeat for several columns (NULL is __HIVE_DEFAULT_PARTITION__)
    #[arg(long = "partition", value_name = "COLUMN=VALUE", value_parser = key_value)]
    pub partitions: Vec<KeyValue>,
    /// Only partitions for which this SQL condition on partition columns holds, such as "day >= '2026-01-01'"
    #[arg(long = "where", value_name = "CONDITION")]
    pub condition: Option<String>,
    /// Report what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `alluvia table vacuum`.
#[derive(Debug, Clone, Args)]
pub struct VacuumArgs {
    #[command(flatten)]
    pub table: TableArgs,
    /// How long to keep files that have left the table, such as '10 days' [default:
    /// delta.deletedFileRetentionDuration of the table, or 7 days]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub retain: Option<Duration>,
    /// Allow a --retain shorter than the table's: active readers and writers may lose their files
    #[arg(long)]
    pub no_retention_check: bool,
    /// Minimum age of an orphaned file (its batch was committed without it) before it is deleted
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1 day")]
    pub orphan_age: Duration,
    /// List what would be deleted, and delete nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text)
        .and_then(|size| if size > 0 { Ok(size) } else { Err("expected more than 0 bytes".into()) })
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text, false)
}
