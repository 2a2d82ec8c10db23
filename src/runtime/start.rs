//! From a stream's configuration to a stream that can run: everything is checked first, in an order
//! that writes nothing before all that can be wrong was looked at.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::lane::{Lane, Rejected};
use super::stop::Stop;
use crate::checkpoint::lease::Taken;
use crate::checkpoint::{
    CheckpointLog, Decision, Facts, Identity, Lease, Owner, Serves, TableFacts, decide,
};
use crate::config::{
    DeltaSink, KafkaColumn, ParseMode, SinkConfig, StreamConfig, ValueConfig,
};
use crate::decode::json::{JsonDecoder, JsonOptions, OnMalformed, Policy};
use crate::decode::rows::{self, RowDecoder};
use crate::decode::schema::StructType;
use crate::model::error::Context;
use crate::model::{Error, Result};
use crate::sink::{DeltaAppend, dead_letter, delta};
use crate::source::Source;
use crate::storage::Store;
use crate::table::WriterBudget;
use crate::table::schema::Alignment;
use crate::table::schema::Fit;

/// Bytes that a lane's client may hold fetched, where no memory limit says otherwise.
const LANE_FETCH_BYTES: usize = 32 * 1024 * 1024;
/// Bytes that all writers of a stream may hold encoded, where no memory limit says otherwise.
const WRITER_BYTES: usize = 128 * 1024 * 1024;
/// Lanes at most; more clients than that no longer pay.
const LANES_MAX: usize = 16;

/// How values become rows: parsed once, made into one decoder per lane.
#[derive(Debug, Clone)]
pub struct Recipe {
    schema: Option<StructType>,
    options: JsonOptions,
    policy: Policy,
    keep: Vec<KafkaColumn>,
    /// What becomes of a record that is no row.
    pub rejected: Rejected,
    /// Hash of all that decides results.
    pub definition: String,
}

/// A stream that is ready to run.
pub struct Opened {
    /// The source's asking side.
    pub source: Box<dyn Source>,
    /// The lanes.
    pub lanes: Vec<Lane>,
    /// The checkpoint's logs.
    pub log: CheckpointLog,
    /// The query's id.
    pub query_id: String,
    /// The sink.
    pub sink: DeltaAppend,
    /// The dead letters.
    pub dead_letters: Option<DeltaAppend>,
    /// Who runs the stream.
    pub lease: Lease,
    /// How values become rows.
    pub recipe: Recipe,
    /// Shared by all writers.
    pub budget: Arc<WriterBudget>,
    /// What to do first.
    pub decision: Decision,
}

/// What a process gives every stream.
#[derive(Clone)]
pub struct Surroundings {
    /// Where storage calls and uploads run.
    pub handle: Handle,
    /// Who we are.
    pub owner: Owner,
    /// Whether to wait for an owner that runs the stream already.
    pub wait_for_lease: bool,
    /// The request to stop.
    pub stop: Stop,
}

impl Recipe {
    /// Reads the schema and the options.
    ///
    /// # Errors
    /// `Config`, with the place in the text.
    pub fn of(config: &StreamConfig) -> Result<Recipe> {
        let dead_letters = config.dead_letter.is_some();
        let ValueConfig::Json(json) = &config.source.value else {
            let keep = KafkaColumn::ALL.into_iter();
            let headers = config.source.kafka.include_headers;
            return Ok(Recipe {
                schema: None,
                options: JsonOptions::from_map(&Default::default())?.0,
                policy: Policy { on_malformed: OnMalformed::Keep, enforce_not_null: false },
                keep: keep.filter(|column| headers || *column != KafkaColumn::Headers).collect(),
                rejected: Rejected::Fail,
                definition: hash("raw"),
            });
        };
        let schema = StructType::from_ddl(&json.schema).context(|| "read source.value.schema".into())?;
        let mut options = json.options.clone();
        options.insert("columnNameOfCorruptRecord".into(), json.corrupt_column.clone());
        options.insert("mode".into(), json.mode.as_str().into());
        if let Some(zone) = config.conf.get("spark.sql.session.timeZone") {
            options.entry("timeZone".into()).or_insert_with(|| zone.clone());
        }
        let (options, without_effect) = JsonOptions::from_map(&options)?;
        for name in without_effect {
            tracing::warn!(stream = config.name, option = name, "the option has no effect when a schema is given");
        }
        let rejected = match (dead_letters, json.mode) {
            (true, _) => Rejected::DeadLetter,
            (false, ParseMode::DropMalformed) => Rejected::Drop,
            (false, ParseMode::FailFast | ParseMode::Permissive) => Rejected::Fail,
        };
        let keep_malformed = !dead_letters && json.mode == ParseMode::Permissive;
        let has_corrupt_column = schema.fields.iter().any(|field| field.name == json.corrupt_column);
        if keep_malformed && !has_corrupt_column {
            tracing::warn!(
                stream = config.name,
                "malformed records become rows of NULL and can't be told from others: add `{} STRING` to the schema, or set deadLetter",
                json.corrupt_column
            );
        }
        let definition =
            hash(&format!("json\n{}\n{:?}\n{:?}\n{dead_letters}", json.schema, options, json.keep));
        Ok(Recipe {
            schema: Some(schema),
            options,
            policy: Policy {
                on_malformed: if keep_malformed { OnMalformed::Keep } else { OnMalformed::Reject },
                enforce_not_null: true,
            },
            keep: json.keep.clone(),
            rejected,
            definition,
        })
    }

    /// The stream's columns.
    ///
    /// # Errors
    /// `Config` if a Delta table can't hold one of them.
    pub fn arrow_schema(&self) -> Result<SchemaRef> {
        let decoded = self.schema.as_ref().map(StructType::to_arrow).transpose()?;
        rows::schema(decoded.as_ref(), &self.keep)
    }

    /// Declares columns NOT NULL that the table demands, so that each record is judged by itself.
    fn demand(&mut self, stream: &SchemaRef, alignment: &Alignment) {
        let Some(schema) = &mut self.schema else { return };
        for position in alignment.required() {
            let name = stream.field(position).name();
            if let Some(field) = schema.fields.iter_mut().find(|field| field.name == *name) {
                field.nullable = false;
            }
        }
    }

    /// A decoder for one lane.
    ///
    /// # Errors
    /// `Config` if the schema can't be decoded into.
    pub fn decoder(&self) -> Result<RowDecoder> {
        let value = match &self.schema {
            None => None,
            Some(schema) => Some(JsonDecoder::new(schema, &self.options, self.policy)?),
        };
        RowDecoder::new(value, &self.keep)
    }
}

/// A hash that stays the same over releases of the compiler: a UUID of version 5.
fn hash(text: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()).to_string()
}

/// Opens a stream: checks all of it, takes the lease, makes what is missing, reads the facts.
///
/// # Errors
/// By kind: see the table in `docs/reference/exit-codes.md`.
pub fn open(
    config: &StreamConfig,
    connect: &dyn Fn() -> Result<Box<dyn Source>>,
    around: &Surroundings,
) -> Result<Opened> {
    let handle = &around.handle;
    let mut recipe = Recipe::of(config)?;
    let columns = recipe.arrow_schema()?;
    recipe.decoder()?;
    let checkpoint = Store::open(&config.checkpoint, &config.storage.0)?;
    let served = handle.block_on(Serves::read(&checkpoint))?;
    if let Some(served) = &served {
        served.check_stream(&config.name, &checkpoint)?;
    }
    let source = connect()?;
    let SinkConfig::Delta(target) = &config.sink;
    let table = Store::open(&target.url, &config.storage.0)?;
    check_existing(target, &table, handle, &columns)?;
    let lease = take_lease(config, &checkpoint, around)?;
    let log = CheckpointLog::new(checkpoint.clone(), config.min_batches_to_retain);
    let known = handle.block_on(Identity::read(&checkpoint))?;
    if known.is_none() {
        let probe = format!("alluvia/probe-{}", Uuid::new_v4());
        handle.block_on(checkpoint.probe_put_if_absent(&probe))?;
        handle.block_on(table.probe_put_if_absent(&format!("_delta_log/.{}", Uuid::new_v4())))?;
    }
    if served.is_none() {
        handle.block_on(log.refuse_state())?;
    } else if handle.block_on(table.names("_delta_log"))?.is_empty() {
        return Err(Error::corrupt(format!("table {} is gone, but checkpoint {} has written to it", table.url(), checkpoint.url()))
            .hint("restore the table, or start the stream on a new checkpointLocation"));
    }
    let mut sink = DeltaAppend::open(target, &table, handle, &columns)?;
    let dead_letters = open_dead_letters(config, handle)?;
    recipe.demand(&columns, sink.alignment());
    let identity = match known {
        Some(identity) => identity,
        None => handle.block_on(Identity::create(&checkpoint))?,
    };
    let serves = Serves {
        format: 1,
        stream: config.name.clone(),
        table: table.url().to_string(),
        table_id: sink.table().id().to_owned(),
    };
    match &served {
        Some(served) => served.check_table(&serves.table, &serves.table_id, &checkpoint)?,
        None => handle.block_on(serves.write(&checkpoint))?,
    }
    let mut opened = Opened {
        source,
        lanes: Vec::new(),
        log,
        query_id: identity.id,
        sink,
        dead_letters,
        lease,
        recipe,
        budget: WriterBudget::new(writer_bytes(config)),
        decision: Decision::StartFresh,
    };
    opened.decision = decide_from(&mut opened, handle)?;
    opened.lanes = start_lanes(config, &opened)?;
    Ok(opened)
}

/// Looks at a table that is there before anything is written anywhere.
fn check_existing(target: &DeltaSink, table: &Store, handle: &Handle, columns: &SchemaRef) -> Result<()> {
    let Some(existing) = crate::table::DeltaTable::open(table, handle)? else { return Ok(()) };
    let name = table.url().to_string();
    match Alignment::of(columns, &existing.arrow_schema()?, &name)? {
        Fit::Lacks(_) if target.merge_schema => Ok(()),
        Fit::Fits(_) => Ok(()),
        Fit::Lacks(_) => DeltaAppend::open(target, table, handle, columns).map(|_| ()),
    }
}

fn open_dead_letters(config: &StreamConfig, handle: &Handle) -> Result<Option<DeltaAppend>> {
    let Some(target) = &config.dead_letter else { return Ok(None) };
    let store = Store::open(&target.url, &config.storage.0)?;
    let sink = DeltaSink {
        url: target.url.clone(),
        partition_by: Vec::new(),
        merge_schema: false,
        table_properties: target.table_properties.clone(),
    };
    DeltaAppend::open(&sink, &store, handle, &dead_letter::schema()).context(|| "open deadLetter".into()).map(Some)
}

fn take_lease(config: &StreamConfig, checkpoint: &Store, around: &Surroundings) -> Result<Lease> {
    let mut told = false;
    loop {
        match Lease::take(checkpoint, &around.owner)? {
            Taken::Ours(lease) => return Ok(lease),
            Taken::OwnedBy(other) if around.wait_for_lease => {
                if !told {
                    tracing::info!(stream = config.name, owner = %other, "waiting for the owner of the stream to end");
                    told = true;
                }
                if around.stop.wait(Duration::from_millis(500)) {
                    return Err(Error::unavailable(format!("stopped while waiting for {other} to give up stream {}", config.name)));
                }
            }
            Taken::OwnedBy(other) => {
                return Err(Error::fenced(format!("stream {} is run by {other}", config.name))
                    .hint("stop it first, start with --wait-for-lease, or give this stream a checkpointLocation of its own"));
            }
        }
    }
}

/// Reads the facts and decides.
fn decide_from(opened: &mut Opened, handle: &Handle) -> Result<Decision> {
    let entries = handle.block_on(opened.log.entries())?;
    let newest_plan = match entries.plans.last() {
        None => None,
        Some(batch) => {
            let planned = handle.block_on(opened.log.planned(*batch))?;
            Some((*batch, planned.plan().end.clone()))
        }
    };
    let newest_commit = entries.commits.last().copied();
    if let Some(batch) = newest_commit {
        handle.block_on(opened.log.committed(batch))?;
    }
    let (transaction, commit) = opened.sink.newest(&opened.query_id)?;
    let end = match commit.filter(|commit| Some(commit.batch_id) == transaction) {
        Some(commit) => delta::end_of(&commit)?,
        None => None,
    };
    let dead_letters = match &mut opened.dead_letters {
        None => None,
        Some(sink) => match sink.newest(&opened.query_id)? {
            (Some(batch), Some(commit)) => Some((batch, delta::definition_of(&commit))),
            (Some(batch), None) => Some((batch, opened.recipe.definition.clone())),
            (None, _) => None,
        },
    };
    let forgets_transactions = opened.sink.forgets_transactions();
    if forgets_transactions {
        tracing::warn!("the table forgets transactions (delta.setTransactionRetentionDuration): after a longer stop than that, a batch that was committed and not logged would be written twice");
    }
    let facts = Facts {
        newest_plan,
        newest_commit,
        table: TableFacts { transaction, end, forgets_transactions },
        dead_letters,
        definition: opened.recipe.definition.clone(),
    };
    let decision = decide(&facts);
    tracing::debug!(?facts, ?decision, "decided what to do first");
    if let (Some(newest), false) = (newest_commit, matches!(decision, Decision::Refuse(_))) {
        handle.block_on(opened.log.collect_all(&entries, newest))?;
    }
    Ok(decision)
}

fn start_lanes(config: &StreamConfig, opened: &Opened) -> Result<Vec<Lane>> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let count = config.lanes.unwrap_or(cores).clamp(1, LANES_MAX);
    let fetch = config
        .memory_limit
        .map_or(LANE_FETCH_BYTES, |limit| (limit as usize / 4 / count).clamp(1024 * 1024, LANE_FETCH_BYTES));
    (0..count)
        .map(|number| {
            let reader = opened.source.reader(fetch)?;
            Lane::start(&config.name, number, reader, opened.recipe.decoder()?)
        })
        .collect()
}

fn writer_bytes(config: &StreamConfig) -> usize {
    config.memory_limit.map_or(WRITER_BYTES, |limit| (limit as usize / 4).min(WRITER_BYTES))
}
