//! `alluvia dead-letters …`: shows and replays rejected records.

use clap::{Args, Subcommand};

use super::{OutputArgs, StreamArgs};

pub(super) const DEAD_LETTERS_EXAMPLES: &str = "\
Examples:
  alluvia dead-letters show config/ingest.yaml --limit 20
  alluvia dead-letters replay config/ingest.yaml --dry-run";

/// `alluvia dead-letters …`.
#[derive(Debug, Subcommand)]
pub enum DeadLettersCommand {
    /// Show dead letters: where they come from and why they were rejected
    Show(DeadLettersShowArgs),
    /// Decode dead letters again with the stream's current schema and write those that fit now
    Replay(DeadLettersReplayArgs),
}

/// `alluvia dead-letters show`.
#[derive(Debug, Clone, Args)]
pub struct DeadLettersShowArgs {
    #[command(flatten)]
    pub stream: StreamArgs,
    /// Number of dead letters to show, newest first
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub limit: usize,
    /// Show only dead letters with this error code
    #[arg(long)]
    pub code: Option<String>,
    /// Show and count only dead letters that no replay of the stream has taken
    #[arg(long)]
    pub open: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `alluvia dead-letters replay`.
#[derive(Debug, Clone, Args)]
pub struct DeadLettersReplayArgs {
    #[command(flatten)]
    pub stream: StreamArgs,
    /// Only report how many would fit now
    #[arg(long)]
    pub dry_run: bool,
    /// Replay into a merge that updates rows, though it may replace newer rows or restore deleted ones
    #[arg(long)]
    pub overwrite_newer: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}
