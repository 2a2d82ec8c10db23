//! A stream's plan as people read it: what is read, decoded, computed and written, and what that promises.
//!
//! Static tables and the target are opened, for their columns and promises; no broker is asked and nothing is made.

use super::open::{self, Access};
use super::row_pipeline::RowPipeline;
use super::sql::StreamSql;
use crate::config::{StreamConfig, Trigger};
use crate::model::{OutputMode, Result};
use crate::sink::Delivery;

/// One step of a stream: its name, and what it does, line by line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// `source`, `decode`, `query`, `table`, `output`, `state`, `rejected`, `trigger`, `sink`.
    pub name: &'static str,
    /// What it does.
    pub lines: Vec<String>,
}

impl Step {
    fn new(name: &'static str, line: impl Into<String>) -> Step {
        Step { name, lines: vec![line.into()] }
    }
}

/// Explains a stream.
///
/// # Errors
/// `Config` if it could not start for its configuration; `Unavailable` or `Corrupt` if a table cannot be read.
pub fn explain(config: &StreamConfig, access: &Access) -> Result<Vec<Step>> {
    let pipeline = RowPipeline::of(config, access)?;
    let mut steps = vec![Step::new("source", open::source_words(config))];
    steps.push(Step::new("trigger", trigger(config.trigger)));
    steps.push(Step::new("decode", pipeline.decode_words()));
    if let Some(sql) = pipeline.sql() {
        steps.push(Step { name: "query", lines: sql.plan_lines() });
        steps.extend(sql.table_lines().into_iter().map(|line| Step::new("table", line)));
    }
    steps.push(Step::new("output", format!("{}: {}", config.output_mode.name(), output(config.output_mode))));
    let state = pipeline.sql().map(StreamSql::state_lines).unwrap_or_default();
    if state.is_empty() {
        steps.push(Step::new("state", "none: every micro-batch is computed by itself"));
    } else {
        steps.push(Step { name: "state", lines: state });
    }
    let rejected = match &config.dead_letter {
        Some(target) => {
            format!("to the dead letters at {}, in the micro-batch's transaction of that table", target.url)
        }
        None => "by the source's mode; see docs/decoding.md".to_owned(),
    };
    steps.push(Step::new("rejected", rejected));
    let sink = open::sink(config, access)?.describe();
    let promise = match sink.delivery {
        Delivery::Transactional => "exactly once: the micro-batch and its number are one commit",
        Delivery::IdempotentByBatch => "exactly once: a micro-batch that is written again replaces itself",
        Delivery::AtLeastOnce => "at least once: a micro-batch that is run again may be there twice",
    };
    steps.push(Step { name: "sink", lines: vec![sink.name, promise.to_owned()] });
    Ok(steps)
}

fn output(mode: OutputMode) -> &'static str {
    match mode {
        OutputMode::Append => "rows that will not change any more",
        OutputMode::Update => "rows that changed in the micro-batch",
        OutputMode::Complete => "all rows of the result, in place of the last ones",
    }
}

fn trigger(trigger: Trigger) -> String {
    match trigger {
        Trigger::AsSoonAsPossible => "as soon as the micro-batch before is done".to_owned(),
        Trigger::ProcessingTime(time) => format!("every {time:?}"),
        Trigger::Once => "once: reads everything in one micro-batch, then stops".to_owned(),
        Trigger::AvailableNow => {
            "availableNow: reads everything that is there at the start, then stops".to_owned()
        }
    }
}
