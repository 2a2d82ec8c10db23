//! `alluvia checkpoint …`: shows a checkpoint, and rebuilds a lost one.

mod rebuild;
mod show;

use super::args::CheckpointCommand;
use crate::model::Result;

/// Runs the command.
///
/// # Errors
/// `Config` if the file or the stream is not there; else what the command meets.
pub(super) fn run(command: &CheckpointCommand) -> Result<()> {
    match command {
        CheckpointCommand::Show(args) => show::run(args),
        CheckpointCommand::Rebuild(args) => rebuild::run(args),
    }
}
