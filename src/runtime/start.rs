//! From a stream's configuration to a stream that can run: everything is checked first, in an order
//! that writes nothing before all that can be wrong was looked at.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::facts::{Found, Known};
use super::lane::Lane;
use super::row_pipeline::RowPipeline;
use super::stop::Stop;
use crate::checkpoint::lease::Acquire;
use crate::checkpoint::{CheckpointBinding, CheckpointLog, Decision, Identity, Lease, Owner, Plan, decide};
use crate::config::kafka::Isolation;
use crate::config::{DeltaSink, SinkConfig, StreamConfig};
use crate::failpoint;
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
    pub lease: Arc<Lease>,
    /// How values become rows.
    pub row_pipeline: RowPipeline,
    /// Shared by all writers.
    pub budget: Arc<WriterBudget>,
    /// What to do first.
    pub decision: Decision,
}

/// What a process gives every stream.
#[derive(Clone)]
pub struct ProcessContext {
    /// Where storage calls and uploads run.
    pub handle: Handle,
    /// Who we are.
    pub owner: Owner,
    /// Whether to wait for an owner that runs the stream already.
    pub wait_for_lease: bool,
    /// The request to stop.
    pub stop: Stop,
}

/// Opens a stream: checks all of it, takes the lease, reads the facts, and only when they agree makes
/// what is missing. `lease` is the one that this process holds from an earlier start of the stream;
/// a process that was replaced never takes it again.
///
/// # Errors
/// By kind: see the table in `docs/reference/exit-codes.md`.
#[expect(clippy::too_many_lines, reason = "the order of a start is one thing, read from top to bottom")]
pub fn open(
    config: &StreamConfig,
    mut row_pipeline: RowPipeline,
    connect: &dyn Fn() -> Result<Box<dyn Source>>,
    ctx: &ProcessContext,
    lease: &mut Option<Arc<Lease>>,
) -> Result<Opened> {
    if let Some(lease) = &lease {
        lease.check(&config.name)?;
    }
    let handle = &ctx.handle;
    let columns = row_pipeline.arrow_schema()?;
    row_pipeline.decoder()?;
    let within = |store: Store| store.with_deadline(ctx.stop.deadline(config.shutdown_timeout));
    let checkpoint = within(Store::open(&config.checkpoint, &config.storage.0)?);
    if let Some(served) = handle.block_on(CheckpointBinding::read(&checkpoint))? {
        served.check_stream(&config.name, &checkpoint)?;
    }
    let source = connect()?;
    let SinkConfig::Delta(target) = &config.sink;
    let table = within(Store::open(&target.url, &config.storage.0)?);
    let letters = dead_letter_sink(config)?.map(|(sink, store)| (sink, within(store)));
    let letters_store = letters.as_ref().map(|(_, store)| store);
    check_columns(target, &Found::look(&table, None, handle)?, &columns, &mut row_pipeline)?;
    let lease = hold_lease(config, &checkpoint, ctx, lease)?;
    failpoint!("lease.taken");
    let log = CheckpointLog::new(checkpoint.clone(), config.min_batches_to_retain);
    let known = Known::read(&log, handle)?;
    failpoint!("logs.listed");
    handle.block_on(log.sync(&known.entries))?;
    let mut found = Found::look(&table, letters_store, handle)?;
    let letters_known = known.check_tables(config, &table, &found, &checkpoint, handle)?;
    if known.served.is_none() {
        handle.block_on(log.refuse_state())?;
    }
    let facts = known.facts(&log, &mut found, &config.name, &row_pipeline.definition, handle)?;
    let decision = decide(&facts);
    tracing::debug!(?facts, ?decision, "decided what to do first");
    let decision = decision.map_err(|refusal| {
        let letters = letters_store.map(|letters| letters.url().as_str());
        refusal.into_error(checkpoint.url().as_str(), table.url().as_str(), letters)
    })?;
    if facts.table.forgets_transactions {
        tracing::warn!(
            "the table forgets transactions (delta.setTransactionRetentionDuration): a batch that was committed and not logged would be written twice if another tool cleaned its commit out of the table's log"
        );
    }

    // From here on things are made.
    let probe = |store: &Store, folder: &str| {
        handle.block_on(store.probe_put_if_absent(&format!("{folder}probe-{}", Uuid::new_v4())))
    };
    if known.served.is_none() {
        probe(&checkpoint, "alluvia/")?;
        probe(&table, ".alluvia-")?;
    }
    if let Some(store) = letters_store.filter(|_| !letters_known) {
        probe(store, ".alluvia-")?;
    }
    if let Some(newest) = facts.newest_commit {
        // Files that nobody needs any more are no reason not to start.
        if let Err(error) = handle.block_on(log.collect_all(&known.entries, newest)) {
            tracing::warn!(stream = config.name, %error, "old checkpoint files could not be deleted");
        }
    }
    let mut sink = DeltaAppend::open(target, &table, found.table, handle, &columns)?;
    failpoint!("table.created");
    let mut dead_letters = match &letters {
        None => None,
        Some((target, store)) => Some(
            DeltaAppend::open(target, store, found.letters, handle, &dead_letter::schema())
                .context(|| "open deadLetter".into())?,
        ),
    };
    failpoint!("letters.created");
    row_pipeline.demand(&columns, sink.alignment());
    let identity = match known.identity {
        Some(identity) => identity,
        None => handle.block_on(Identity::create(&checkpoint))?,
    };
    failpoint!("metadata.written");
    if known.served.is_none() {
        let serves = CheckpointBinding {
            format: 1,
            stream: config.name.clone(),
            table: table.url().to_string(),
            table_id: sink.table().id().to_owned(),
        };
        handle.block_on(serves.write(&checkpoint))?;
    }
    failpoint!("serves.written");
    if let (Some((target, _)), Some(sink)) = (&letters, &mut dead_letters) {
        super::letters::remember(&checkpoint, &target.url, sink.table(), handle)?;
    }
    let mut opened = Opened {
        source,
        lanes: Vec::new(),
        log,
        query_id: identity.id,
        sink,
        dead_letters,
        lease,
        row_pipeline,
        budget: WriterBudget::new(writer_bytes(config)),
        decision,
    };
    opened.lanes = start_lanes(config, &opened, config.source.kafka.isolation)?;
    Ok(opened)
}

/// Refuses a table that the stream's columns do not fit, before anything is written anywhere.
/// What the table demands is made part of the row_pipeline.
pub(super) fn check_columns(
    target: &DeltaSink,
    found: &Found,
    columns: &SchemaRef,
    row_pipeline: &mut RowPipeline,
) -> Result<()> {
    DeltaAppend::check_partitions(target, found.table.as_ref(), columns)?;
    let Some(table) = &found.table else { return Ok(()) };
    let name = table.store().url().to_string();
    let there = table.arrow_schema()?;
    match Alignment::of(columns, &there, &name)? {
        Fit::Lacks(lacking) if !target.merge_schema => Err(delta::lacks(&name, &lacking, &there)),
        Fit::Lacks(_) => Ok(()),
        Fit::Fits(alignment) => {
            row_pipeline.demand(columns, &alignment);
            Ok(())
        }
    }
}

/// Where dead letters go.
fn dead_letter_sink(config: &StreamConfig) -> Result<Option<(DeltaSink, Store)>> {
    let Some(target) = &config.dead_letter else { return Ok(None) };
    let store = Store::open(&target.url, &config.storage.0)?;
    let sink = DeltaSink {
        url: target.url.clone(),
        partition_by: Vec::new(),
        merge_schema: false,
        table_properties: target.table_properties.clone(),
    };
    Ok(Some((sink, store)))
}

/// The lease of an earlier start, or a new one.
pub(super) fn hold_lease(
    config: &StreamConfig,
    checkpoint: &Store,
    ctx: &ProcessContext,
    held: &mut Option<Arc<Lease>>,
) -> Result<Arc<Lease>> {
    if let Some(lease) = held {
        return Ok(Arc::clone(lease));
    }
    let lease = Arc::new(take_lease(config, checkpoint, ctx)?);
    *held = Some(Arc::clone(&lease));
    Ok(lease)
}

fn take_lease(config: &StreamConfig, checkpoint: &Store, ctx: &ProcessContext) -> Result<Lease> {
    let mut told = false;
    loop {
        match Lease::take(checkpoint, &ctx.owner)? {
            Acquire::Acquired(lease) => return Ok(lease),
            Acquire::HeldBy(other) if ctx.wait_for_lease => {
                if !told {
                    tracing::info!(stream = config.name, owner = %other, "waiting for the owner of the stream to end");
                    told = true;
                }
                if ctx.stop.wait(Duration::from_millis(500)) {
                    return Err(Error::unavailable(format!(
                        "stopped while waiting for {other} to give up stream {}",
                        config.name
                    )));
                }
            }
            Acquire::HeldBy(other) => {
                return Err(Error::fenced(format!("stream {} is run by {other}", config.name))
                    .hint("stop it first, start with --wait-for-lease, or give this stream a checkpointLocation of its own"));
            }
        }
    }
}

/// Lanes for one run alone if its plan was made under another isolation level than is configured now: its
/// offsets were, and an earlier run of it may have been read so. A plan of Spark names none.
///
/// # Errors
/// `Config` if the level is not known, or a client can't be made.
pub(super) fn pinned_lanes(config: &StreamConfig, opened: &Opened, plan: &Plan) -> Result<Option<Vec<Lane>>> {
    if plan.isolation.is_empty() || plan.isolation == config.source.kafka.isolation.as_str() {
        return Ok(None);
    }
    let level = Isolation::named(&plan.isolation).ok_or_else(|| {
        Error::config(format!(
            "micro-batch {} was planned with the isolation level {:?}, which is not known",
            plan.batch_id, plan.isolation
        ))
        .hint("it was planned by a newer Alluvia; use that one")
    })?;
    tracing::info!(
        stream = config.name,
        batch = plan.batch_id,
        isolation = level.as_str(),
        "the batch is run with the isolation level that it was planned with"
    );
    start_lanes(config, opened, level).map(Some)
}

fn start_lanes(config: &StreamConfig, opened: &Opened, isolation: Isolation) -> Result<Vec<Lane>> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let count = config.lanes.unwrap_or(cores).clamp(1, LANES_MAX);
    let fetch = config
        .memory_limit
        .map_or(LANE_FETCH_BYTES, |limit| (limit as usize / 8 / count).clamp(1024 * 1024, LANE_FETCH_BYTES));
    (0..count)
        .map(|number| {
            let reader = opened.source.reader(fetch, isolation)?;
            let mut decoder = opened.row_pipeline.decoder()?;
            if let Some(limit) = config.memory_limit {
                decoder.limit_bytes(limit as usize / 32 / count);
            }
            Lane::start(&config.name, number, reader, decoder)
        })
        .collect()
}

/// Of a memory limit an eighth is for what is fetched and an eighth for what is encoded; columns grow by
/// doubling, a batch is there twice while it is encoded, and the program itself needs the rest.
fn writer_bytes(config: &StreamConfig) -> usize {
    config.memory_limit.map_or(WRITER_BYTES, |limit| (limit as usize / 8).min(WRITER_BYTES))
}
