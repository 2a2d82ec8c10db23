//! `alluvia checkpoint …`: what a checkpoint knows, and a lost one made anew.

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
    /// Show what a checkpoint knows: query id, batches planned and committed, offsets
    Show(CheckpointShowArgs),
    /// Make a lost checkpoint anew from what the table's commits say
    Rebuild(CheckpointRebuildArgs),
}

/// `alluvia checkpoint show`.
#[derive(Debug, Clone, Args)]
pub struct CheckpointShowArgs {
    /// A checkpoint's URL or path, or a stream file (YAML)
    #[arg(value_name = "CHECKPOINT")]
    pub target: String,
    /// The stream, if a file has several
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,
    /// How many of the newest batches are shown
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
    /// The query, if several have written to the table (the message names them)
    #[arg(long, value_name = "ID")]
    pub query_id: Option<String>,
    /// Only say what would be written
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}
