//! `alluvia man`: the manual pages, from the same definitions as `--help`.

use clap::CommandFactory;

use super::args::{Cli, ManArgs};
use crate::model::{Error, Result, build};

/// Writes a page for each command.
///
/// # Errors
/// `Config` if the folder cannot be written to.
pub(super) fn write(args: &ManArgs) -> Result<()> {
    let fails = |e: std::io::Error| {
        Error::config(format!("cannot write manual pages to {}", args.folder.display())).source(e)
    };
    std::fs::create_dir_all(&args.folder).map_err(fails)?;
    // The page's foot names the version; the commit would make the pages of each build differ.
    clap_mangen::generate_to(Cli::command().version(build::VERSION), &args.folder).map_err(fails)
}
