//! Log lines: readable on a terminal, JSON elsewhere; on standard error.

use tracing_subscriber::EnvFilter;

use crate::model::{Error, Result};

/// Starts logging once for the process. `filter` is a level (`info`) or tracing's directives
/// (`info,alluvia::table=debug`).
///
/// # Errors
/// `Config` if the filter can't be read.
pub fn start(json: bool, filter: &str) -> Result<()> {
    // The kernel and the store clients report what Alluvia reports itself, and better.
    let directives = format!("{filter},buoyant_kernel=error,delta_kernel=error,object_store=error");
    let filter = EnvFilter::try_new(&directives).map_err(|e| {
        Error::config(format!("log level {filter:?} is none"))
            .source(e)
            .hint("use error, warn, info, debug or trace")
    })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
    } else {
        lines.with_target(false).compact().init();
    }
    Ok(())
}
