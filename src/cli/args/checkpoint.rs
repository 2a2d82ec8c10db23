//! `alluvia checkpoint …`: shows a checkpoint, and rebuilds a lost one.

use clap::{Args, Subcommand};

use super::{OutputArgs, StreamArgs};

pub(super) const CHECKPOINT_EXAMPLES: &str = "\
Examples:
  alluvia checkpoint show ./checkpoints/device_events
  alluvia checkpoint show config/ingest.yaml --stream device_events --output json
  alluvia checkpoint rebuild config/ingest.yaml --stream device_events";

/// `alluvia checkpoint …`.
#[derive(Debug, Subcommand)]
pub enum CheckpointCommand {
    /// Show what a checkpoint contains: query id, planned and committed batches, offsets
    Show(CheckpointShowArgs),
    /// Rebuild a lost checkpoint from the commits of the table
    Rebuild(CheckpointRebuildArgs),
}

/// `alluvia checkpoint show`.
#[derive(Debug, Clone, Args)]
pub struct CheckpointShowArgs {
    /// URL or path of a checkpoint, or a stream file (YAML)
    #[arg(value_name = "CHECKPOINT")]
    pub target: String,
    /// The stream to use, if the file has several
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,
    /// Number of batches to show, newest first
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub batches: usize,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `alluvia checkpoint rebuild`.
#[derive(Debug, Clone, Args)]
pub struct CheckpointRebuildArgs {
    #[command(flatten)]
    pub stream: StreamArgs,
    /// The query to use, if several have written to the table (the error message lists them)
    #[arg(long, value_name = "ID")]
    pub query_id: Option<String>,
    /// Only report what would be written
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}
