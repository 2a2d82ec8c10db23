//! `alluvia completions`: a shell's completion script on standard output.

use clap::CommandFactory;

use super::args::{Cli, CompletionsArgs};
use crate::model::Result;

/// Prints the script.
pub(super) fn print(args: &CompletionsArgs) -> Result<()> {
    clap_complete::generate(args.shell, &mut Cli::command(), "alluvia", &mut std::io::stdout());
    Ok(())
}
