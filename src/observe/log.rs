//! Log lines: readable on a terminal, JSON elsewhere; on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::model::{Error, Result};

/// Starts logging once for the process. `filter` is a level (`info`) or tracing's directives
/// (`info,alluvia::table=debug`).
///
/// # Errors
/// `Config` if the filter can't be read.
pub fn start(json: bool, filter: &str) -> Result<()> {
    // The kernel and the store clients report what Alluvia reports itself, and better; what the filter says
    // of them goes before.
    let directives =
        format!("buoyant_kernel=off,buoyant_kernel_engine=off,delta_kernel=off,object_store=error,{filter}");
    let filter = EnvFilter::try_new(&directives).map_err(|e| {
        Error::config(format!("log level {filter:?} is none"))
            .source(e)
            .hint("use error, warn, info, debug or trace")
    })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
    } else {
        // Colours are for people who look at a terminal.
        let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        lines.with_target(false).with_ansi(coloured).compact().init();
    }
    Ok(())
}
