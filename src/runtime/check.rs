//! `alluvia check`: everything that a start looks at, one by one, so that all that is wrong is said at once.
//!
//! Writes no plan, no table and no lease; only the probes of the stores, which are taken away again. What
//! is left to read is looked at by the steps of a start (`look`), from where the checkpoint stands.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tokio::runtime::Handle;
use uuid::Uuid;

use super::facts::{Found, Known};
use super::look;
use super::row_pipeline::RowPipeline;
use super::start;
use crate::checkpoint::{CheckpointBinding, CheckpointLog, Decision, Lease, Planned, decide};
use crate::config::{SinkConfig, StreamConfig};
use crate::model::error::Context;
use crate::model::{Error, OffsetRange, Offsets, Result};
use crate::sink::dead_letter;
use crate::source::kafka::{KafkaSource, check_data_loss};
use crate::source::{LossReason, LostRange, Source};
use crate::storage::Store;
use crate::table::DeltaTable;
use crate::table::schema::{Alignment, Fit};

/// One thing that was looked at.
#[derive(Debug)]
pub struct Finding {
    /// What: `schema`, `source`, `table`, `deadLetter`, `checkpoint`, `owner`.
    pub step: &'static str,
    /// What there is, or what is wrong.
    pub result: Result<String>,
}

/// Checks a stream; a start would succeed now if every finding is well.
pub fn check(config: &StreamConfig, handle: &Handle) -> Vec<Finding> {
    let mut row_pipeline = RowPipeline::of(config);
    let mut findings = Vec::new();
    let mut note = |step, result| findings.push(Finding { step, result });
    note("schema", schema(&row_pipeline));
    let table = table(config, row_pipeline.as_mut().ok(), handle);
    let checkpoint = checkpoint(config, row_pipeline.as_ref().ok(), handle);
    note("source", source(config, checkpoint.as_ref().map(|(_, stands)| stands).unwrap_or(&Stands::Anew)));
    note("table", table);
    if config.dead_letter.is_some() {
        note("deadLetter", dead_letters(config, handle));
    }
    note("checkpoint", checkpoint.map(|(found, _)| found));
    note("owner", owner(config));
    findings
}

/// Where the checkpoint stands.
enum Stands {
    /// No query was begun, or it can't be told.
    Anew,
    /// These are the first offsets of a query that has planned nothing.
    At(Offsets),
    /// This micro-batch is done.
    After(Planned),
    /// This one was planned and is run again.
    Before(Planned),
}

fn schema(row_pipeline: &Result<RowPipeline>) -> Result<String> {
    let row_pipeline = row_pipeline.as_ref().map_err(|error| {
        let again = Error::new(error.kind(), error.message());
        match error.hint_text() {
            Some(hint) => again.hint(hint),
            None => again,
        }
        .context("read source.value.schema")
    })?;
    let columns = row_pipeline.arrow_schema()?;
    row_pipeline.decoder()?;
    Ok(format!("{} columns", columns.fields().len()))
}

/// Broker, login, topic, and what there is to read from where the checkpoint stands.
fn source(config: &StreamConfig, stands: &Stands) -> Result<String> {
    let source = KafkaSource::open(&config.source.kafka)?;
    let strict = config.source.kafka.fail_on_data_loss;
    let none = BTreeMap::new();
    let (start, end, from) = match stands {
        Stands::Anew => {
            let start = source.initial_offsets()?;
            let end = Source::latest(&source, &start)?.end;
            (start, end, "from where a new stream starts".to_owned())
        }
        Stands::At(start) => {
            let seen = look::look(&source, start, &none, strict)?;
            (seen.start, seen.latest.end, "from where the stream starts".to_owned())
        }
        Stands::After(planned) => {
            let plan = planned.plan();
            let seen = look::look(&source, &plan.end, &plan.topic_ids(), strict)?;
            (seen.start, seen.latest.end, format!("to read after micro-batch {}", plan.batch_id))
        }
        Stands::Before(planned) => {
            let (planned, mut gone) = look::start_added(&source, planned.clone(), strict)?;
            gone.extend(look::gone(&source, &planned, strict)?);
            let mut start = planned.start().clone();
            start.0.retain(|partition, _| !gone.iter().any(|loss| loss.range.partition == *partition));
            let end = Source::latest(&source, planned.start())?.end;
            refuse_aged_out(&source, &start, &planned.plan().end, strict)?;
            (planned.start().clone(), end, format!("to read from micro-batch {} on", planned.plan().batch_id))
        }
    };
    if !matches!(stands, Stands::Before(_)) {
        refuse_aged_out(&source, &start, &end, strict)?;
    }
    let (partitions, ahead) = (end.0.len(), start.distance_to(&end));
    Ok(format!(
        "{}: {}, {} {from}",
        source.description(),
        counted(i64::try_from(partitions).unwrap_or(i64::MAX), "partition"),
        counted(ahead, "offset")
    ))
}

/// Stops, as the read would, where retention has removed what comes next.
fn refuse_aged_out(source: &KafkaSource, start: &Offsets, end: &Offsets, strict: bool) -> Result<()> {
    // To one that knows nothing every partition is new, and is told with its earliest offset.
    let earliest = Source::latest(source, &Offsets::default())?.added;
    let aged = start.0.iter().filter_map(|(partition, &from)| {
        let (first, until) = (earliest.get(partition)?, end.get(partition)?);
        let gone = OffsetRange { partition: partition.clone(), from, until: first.min(until) };
        (!gone.is_empty()).then_some(LostRange {
            range: gone,
            reason: LossReason::AgedOut,
            found: Some(first),
        })
    });
    check_data_loss(&aged.collect::<Vec<_>>(), strict)
}

fn counted(number: i64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn table(config: &StreamConfig, row_pipeline: Option<&mut RowPipeline>, handle: &Handle) -> Result<String> {
    let SinkConfig::Delta(target) = &config.sink;
    let store = Store::open(&target.url, &config.storage.0)?;
    let found = Found::look(&store, None, handle)?;
    if let Some(row_pipeline) = row_pipeline {
        start::check_columns(target, &found, &row_pipeline.arrow_schema()?, row_pipeline)?;
    }
    can_be_written(&store, found.table.as_ref(), handle)
}

fn dead_letters(config: &StreamConfig, handle: &Handle) -> Result<String> {
    let Some(target) = &config.dead_letter else { return Ok(String::new()) };
    let store = Store::open(&target.url, &config.storage.0)?;
    let found = Found::look(&store, None, handle).context(|| "open deadLetter".into())?;
    if let Some(table) = &found.table {
        let name = store.url().to_string();
        if let Fit::Lacks(lacking) = Alignment::of(&dead_letter::schema(), &table.arrow_schema()?, &name)? {
            let lacking: Vec<&str> = lacking.iter().map(|field| field.name().as_str()).collect();
            return Err(Error::config(format!(
                "table {name} is no table of dead letters: it lacks {}",
                lacking.join(", ")
            ))
            .hint("deadLetter.path must name a table that Alluvia made, or none"));
        }
    }
    can_be_written(&store, found.table.as_ref(), handle)
}

/// Tries to write where a stream writes: data files, and commits if there is a log.
fn can_be_written(store: &Store, table: Option<&DeltaTable>, handle: &Handle) -> Result<String> {
    probe(store, ".alluvia-probe", handle)?;
    let Some(table) = table else { return Ok(format!("{} is not there yet and can be made", store.url())) };
    probe(store, "_delta_log/.alluvia-probe", handle)?;
    Ok(format!("{} is at version {} and can be written", store.url(), table.version()))
}

/// Whom the checkpoint serves, whether it agrees with the tables, and where it stands.
fn checkpoint(
    config: &StreamConfig,
    row_pipeline: Option<&RowPipeline>,
    handle: &Handle,
) -> Result<(String, Stands)> {
    let SinkConfig::Delta(target) = &config.sink;
    let store = Store::open(&config.checkpoint, &config.storage.0)?;
    if let Some(served) = handle.block_on(CheckpointBinding::read(&store))? {
        served.check_stream(&config.name, &store)?;
    }
    let table = Store::open(&target.url, &config.storage.0)?;
    let letters = match &config.dead_letter {
        Some(target) => Some(Store::open(&target.url, &config.storage.0)?),
        None => None,
    };
    let log = CheckpointLog::new(store.clone(), config.min_batches_to_retain);
    let known = Known::read(&log, handle)?;
    let mut found = Found::look(&table, letters.as_ref(), handle)?;
    known.check_tables(config, &table, &found, &store, handle)?;
    if known.served.is_none() {
        handle.block_on(log.refuse_state())?;
    }
    let definition = row_pipeline.map(|row_pipeline| row_pipeline.definition.as_str()).unwrap_or_default();
    let facts = known.facts(&log, &mut found, &config.name, definition, handle)?;
    let decision = decide(&facts).map_err(|refusal| {
        let letters = letters.as_ref().map(|letters| letters.url().as_str());
        refusal.into_error(store.url().as_str(), table.url().as_str(), letters)
    })?;
    for folder in ["alluvia", "offsets", "commits"] {
        probe(&store, &format!("{folder}/probe"), handle)?;
    }
    if store.url().scheme() == "file" {
        probe(&store, "alluvia/lease/probe", handle)?;
    }
    let planned = |batch| handle.block_on(log.planned(batch));
    let url = store.url();
    Ok(match decision {
        Decision::StartFresh => match handle.block_on(log.initial_offsets())? {
            Some(start) => (format!("{url} has planned nothing yet"), Stands::At(start)),
            None => (format!("{url} is new"), Stands::Anew),
        },
        Decision::PlanAfter(batch) | Decision::MendCommitLog(batch) => {
            (format!("{url} goes on after micro-batch {batch}"), Stands::After(planned(batch)?))
        }
        Decision::Rerun(batch) => (
            format!("{url} goes on with micro-batch {batch}, which was planned"),
            Stands::Before(planned(batch)?),
        ),
    })
}

fn owner(config: &StreamConfig) -> Result<String> {
    let store = Store::open(&config.checkpoint, &config.storage.0)?;
    match Lease::owner(&store)? {
        None => Ok("no one runs the stream".into()),
        Some(other) => Err(Error::fenced(format!("stream {} is run by {other}", config.name)).hint(
            "stop it first, start with --wait-for-lease, or give this stream a checkpointLocation of its own",
        )),
    }
}

/// Writes an object and takes it away, with the folders that a local disk made for it.
fn probe(store: &Store, name: &str, handle: &Handle) -> Result<()> {
    let name = format!("{name}-{}", Uuid::new_v4());
    let made = missing_folders(store, &name);
    let outcome = handle.block_on(store.probe_put_if_absent(&name));
    for folder in made {
        // One in which something else was made meanwhile stays.
        let _ = std::fs::remove_dir(folder);
    }
    outcome
}

/// The folders above an object that are not there, the innermost first; none if not on a local disk.
fn missing_folders(store: &Store, name: &str) -> Vec<PathBuf> {
    let Ok(root) = store.url().to_file_path() else { return Vec::new() };
    let place = root.join(name);
    place.ancestors().skip(1).take_while(|folder| !folder.exists()).map(PathBuf::from).collect()
}
