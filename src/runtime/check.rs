//! `alluvia check`: everything that a start checks, one by one, so that all that is wrong is said at once.
//!
//! Takes the path of a start ([`super::recovery`]) and writes no plan, no table and no lease; only probes of the
//! stores, which are removed again.

use crate::checkpoint::{CheckpointLog, Decision, Lease, Planned};
use crate::config::StreamConfig;
use crate::model::{Error, Notes, Result};
use crate::sink::Sink;
use crate::source::{From, Position, SourceRange};
use crate::storage::Store;

use super::dead_letter_tables;
use super::open::{self, Access};
use super::recovery;
use super::row_pipeline::RowPipeline;

/// One thing that was checked.
#[derive(Debug)]
pub struct Finding {
    /// What: `schema`, `source`, `table`, `deadLetter`, `checkpoint`, `owner`.
    pub step: &'static str,
    /// What there is, or what is wrong.
    pub result: Result<String>,
}

/// Checks a stream; a start would succeed now if every finding is well.
pub fn check(config: &StreamConfig, access: &Access) -> Vec<Finding> {
    let mut row_pipeline = RowPipeline::of(config, access);
    let mut findings = Vec::new();
    let mut note = |step, result| findings.push(Finding { step, result });
    note("schema", schema(&row_pipeline));
    let table = sink(config, row_pipeline.as_mut().ok(), access);
    let checkpoint = checkpoint(config, row_pipeline.as_ref().ok(), access);
    note("source", source(config, checkpoint.as_ref().map_or(&NextBatch::First, |(_, next)| next)));
    note("table", table);
    if config.dead_letter.is_some() {
        note("deadLetter", dead_letters(config, access));
    }
    note("checkpoint", checkpoint.map(|(found, _)| found));
    note("owner", owner(config, access));
    findings
}

/// What the checkpoint says of the next micro-batch.
enum NextBatch {
    /// It is the first of a new query, or it cannot be known.
    First,
    /// It starts here; this many are done.
    From(Position, Option<i64>),
    /// It was planned and is run again.
    Planned(i64, SourceRange),
}

fn schema(row_pipeline: &Result<RowPipeline>) -> Result<String> {
    let row_pipeline = row_pipeline.as_ref().map_err(Error::again)?;
    let columns = row_pipeline.arrow_schema()?;
    row_pipeline.lane(None)?;
    Ok(format!("{} columns", columns.fields().len()))
}

/// Service, login, topic, and what there is to read from where the checkpoint goes on.
fn source(config: &StreamConfig, next: &NextBatch) -> Result<String> {
    let mut source = open::source(config)?;
    let (from, words) = match next {
        NextBatch::First => (From::New, "from where a new stream starts".to_owned()),
        NextBatch::From(position, None) => {
            (From::Position(position), "from where the stream starts".to_owned())
        }
        NextBatch::From(position, Some(batch)) => {
            (From::Position(position), format!("to read after micro-batch {batch}"))
        }
        NextBatch::Planned(batch, range) => {
            (From::Planned(range), format!("to read from micro-batch {batch} on"))
        }
    };
    let preview = source.preview(from)?;
    Ok(format!("{}: {preview} {words}", source.description()))
}

fn sink(config: &StreamConfig, row_pipeline: Option<&mut RowPipeline>, access: &Access) -> Result<String> {
    let sink = open::sink(config, access)?;
    if let Some(row_pipeline) = row_pipeline {
        recovery::check_sink(sink.as_ref(), row_pipeline)?;
    }
    can_be_written(sink.as_ref())
}

fn dead_letters(config: &StreamConfig, access: &Access) -> Result<String> {
    let Some(table) = dead_letter_tables::open(config, access)? else { return Ok(String::new()) };
    recovery::check_dead_letters(&table)?;
    can_be_written(&table)
}

/// Tries to write where a stream writes.
fn can_be_written(sink: &dyn Sink) -> Result<String> {
    sink.probe()?;
    let target = sink.target();
    Ok(match (target.id, target.version) {
        (None, _) => format!("{} is not there yet and can be made", target.location),
        (Some(_), Some(version)) => format!("{} is at version {version} and can be written", target.location),
        (Some(_), None) => format!("{} can be written", target.location),
    })
}

/// Whom the checkpoint serves, whether it agrees with the targets, and where it goes on.
fn checkpoint(
    config: &StreamConfig,
    row_pipeline: Option<&RowPipeline>,
    access: &Access,
) -> Result<(String, NextBatch)> {
    let handle = &access.handle;
    let store = access.checkpoint(config)?;
    let log = CheckpointLog::new(store.clone(), config.min_batches_to_retain);
    let decision = recovery::inspect_contents(config, &log, access, row_pipeline)?.decision;
    for folder in ["alluvia", "offsets", "commits"] {
        handle.block_on(store.probe_write(&format!("{folder}/probe")))?;
    }
    if store.url().scheme() == "file" {
        handle.block_on(store.probe_write("alluvia/lease/probe"))?;
    }
    let planned = |batch| handle.block_on(log.planned(batch));
    let url = store.url();
    Ok(match decision {
        Decision::StartFresh => match handle.block_on(log.initial_offset(0))? {
            Some(offset) => {
                let start = Position { offset, notes: Notes::new() };
                (format!("{url} has planned nothing yet"), NextBatch::From(start, None))
            }
            None => (format!("{url} is new"), NextBatch::First),
        },
        Decision::PlanAfter(batch) | Decision::MendCommitLog(batch) => {
            let position = after(&planned(batch)?)?;
            (format!("{url} goes on after micro-batch {batch}"), NextBatch::From(position, Some(batch)))
        }
        Decision::Rerun(batch) => (
            format!("{url} goes on with micro-batch {batch}, which was planned"),
            NextBatch::Planned(batch, super::stream::range_of(&planned(batch)?)?),
        ),
    })
}

fn after(planned: &Planned) -> Result<Position> {
    let plan = planned.plan();
    Ok(Position { offset: plan.only_end()?.clone(), notes: plan.notes_of(0) })
}

fn owner(config: &StreamConfig, access: &Access) -> Result<String> {
    let store: Store = access.checkpoint(config)?;
    match Lease::owner(&store)? {
        None => Ok("no one runs the stream".into()),
        Some(other) => Err(Error::fenced(format!("stream {} is run by {other}", config.name)).hint(
            "stop it first, start with --wait-for-lease, or give this stream a checkpointLocation of its own",
        )),
    }
}
