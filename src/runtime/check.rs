//! `alluvia check`: everything that a start looks at, one by one, so that all that is wrong is said at once.
//!
//! Writes no plan, no table and no lease; only the probes of the stores, which are taken away again.

use std::path::PathBuf;

use tokio::runtime::Handle;
use uuid::Uuid;

use super::facts::{Found, Known};
use super::recipe::Recipe;
use super::start;
use crate::checkpoint::{CheckpointLog, Lease, Serves, decide};
use crate::config::{SinkConfig, StreamConfig};
use crate::model::error::Context;
use crate::model::{Error, Result};
use crate::sink::dead_letter;
use crate::source::Source;
use crate::source::kafka::KafkaSource;
use crate::storage::Store;
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
    let mut recipe = Recipe::of(config);
    let mut findings = Vec::new();
    let mut note = |step, result| findings.push(Finding { step, result });
    note("schema", schema(&recipe));
    note("source", source(config));
    note("table", table(config, recipe.as_mut().ok(), handle));
    if config.dead_letter.is_some() {
        note("deadLetter", dead_letters(config, handle));
    }
    note("checkpoint", checkpoint(config, recipe.as_ref().ok(), handle));
    note("owner", owner(config));
    findings
}

fn schema(recipe: &Result<Recipe>) -> Result<String> {
    let recipe = recipe.as_ref().map_err(|error| {
        let again = Error::new(error.kind(), error.message());
        match error.hint_text() {
            Some(hint) => again.hint(hint),
            None => again,
        }
        .context("read source.value.schema")
    })?;
    let columns = recipe.arrow_schema()?;
    recipe.decoder()?;
    Ok(format!("{} columns", columns.fields().len()))
}

/// Broker, login, topic, and the offsets that a new stream would start from.
fn source(config: &StreamConfig) -> Result<String> {
    let source = KafkaSource::open(&config.source.kafka)?;
    let start = source.initial_offsets()?;
    let latest = Source::latest(&source, &start)?;
    let ahead = start.distance_to(&latest.end);
    Ok(format!(
        "{}: {} partitions, {ahead} offsets from where a new stream starts",
        source.description(),
        latest.end.0.len()
    ))
}

fn table(config: &StreamConfig, recipe: Option<&mut Recipe>, handle: &Handle) -> Result<String> {
    let SinkConfig::Delta(target) = &config.sink;
    let store = Store::open(&target.url, &config.storage.0)?;
    let found = Found::look(&store, None, handle)?;
    if let Some(recipe) = recipe {
        start::check_columns(target, &found, &recipe.arrow_schema()?, recipe)?;
    }
    probe(&store, ".alluvia-probe", handle)?;
    Ok(match &found.table {
        Some(table) => format!("{} is at version {} and can be written", store.url(), table.version()),
        None => format!("{} is not there yet and can be made", store.url()),
    })
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
    probe(&store, ".alluvia-probe", handle)?;
    Ok(match &found.table {
        Some(table) => format!("{} is at version {} and can be written", store.url(), table.version()),
        None => format!("{} is not there yet and can be made", store.url()),
    })
}

/// Whom the checkpoint serves, and whether it agrees with the tables.
fn checkpoint(config: &StreamConfig, recipe: Option<&Recipe>, handle: &Handle) -> Result<String> {
    let SinkConfig::Delta(target) = &config.sink;
    let store = Store::open(&config.checkpoint, &config.storage.0)?;
    if let Some(served) = handle.block_on(Serves::read(&store))? {
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
    let definition = recipe.map(|recipe| recipe.definition.as_str()).unwrap_or_default();
    let facts = known.facts(&log, &mut found, &config.name, definition, handle)?;
    decide(&facts).map_err(|refusal| {
        let letters = letters.as_ref().map(|letters| letters.url().as_str());
        refusal.into_error(store.url().as_str(), table.url().as_str(), letters)
    })?;
    probe(&store, "alluvia/probe", handle)?;
    Ok(match facts.newest_plan {
        Some((batch, _)) => format!("{} goes on after micro-batch {batch}", store.url()),
        None => format!("{} is new", store.url()),
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
