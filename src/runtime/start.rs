//! From a stream's configuration to a stream that can run: everything is checked first, in an order
//! that changes nothing before all that can be wrong was checked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use uuid::Uuid;

use super::dead_letter_tables;
use super::lane::Lane;
use super::memory::{StreamMemory, process_account};
use super::open::{self, Access};
use super::recovery::{self, CheckpointState, Recovery, Targets};
use super::row_pipeline::RowPipeline;
use super::stateful::{ResumePoint, Stateful};
use super::stop::Stop;
use crate::checkpoint::lease::Acquire;
use crate::checkpoint::{CheckpointBinding, CheckpointLog, Decision, Identity, Lease, Owner, paths};
use crate::config::StreamConfig;
use crate::failpoint;
use crate::model::error::Context;
use crate::model::{Error, MemoryAccount, Notes, Offset, Result};
use crate::sink::{AttemptWriter, DeadLetterTable, Sink, dead_letter};
use crate::source::Source;
use crate::storage::Store;

/// How long the lease of an owner that has ended may last on.
const LEASE_ENDS: Duration = Duration::from_secs(25);

/// A stream that is ready to run.
pub struct OpenStream {
    /// The source's asking side.
    pub source: Box<dyn Source>,
    /// The lanes.
    pub lanes: Vec<Lane>,
    /// The checkpoint's logs.
    pub log: CheckpointLog,
    /// The query's id.
    pub query_id: String,
    /// The sink.
    pub sink: Box<dyn Sink>,
    /// The version of the sink's target that holds the newest batch, as far as it is known.
    pub sink_version: Option<u64>,
    /// When that was made, in ms since the Unix epoch.
    pub sink_commit_ms: Option<i64>,
    /// The dead letters.
    pub dead_letters: Option<DeadLetterTable>,
    /// Who runs the stream.
    pub lease: Arc<Lease>,
    /// How values become rows.
    pub row_pipeline: RowPipeline,
    /// What its buffers may hold.
    pub memory: StreamMemory,
    /// How storage is used.
    pub access: Access,
    /// What to do first.
    pub decision: Decision,
    /// The query's watermark and state, if it has any.
    pub stateful: Option<Stateful>,
}

/// What to do if another process runs a stream already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenOwned {
    /// Refuse the start and say who does.
    #[default]
    Refuse,
    /// Wait until that process has ended.
    Wait,
    /// Take the stream over: that process stops before its next commit.
    TakeOver,
}

/// What a process gives every stream.
#[derive(Clone)]
pub struct ProcessContext {
    /// Where storage calls and uploads run: the stores of its streams are opened with it.
    pub handle: Handle,
    /// Who we are.
    pub owner: Owner,
    /// What to do if another process runs a stream already.
    pub when_owned: WhenOwned,
    /// The request to stop.
    pub stop: Stop,
    /// What the buffers of all streams hold.
    pub memory: Arc<MemoryAccount>,
}

impl ProcessContext {
    /// What streams need of a process: `handle` for storage calls, and the process's name as an owner (empty for none).
    pub fn new(handle: Handle, owner: &str, stop: Stop) -> ProcessContext {
        ProcessContext {
            handle,
            owner: Owner::here(owner),
            when_owned: WhenOwned::Refuse,
            stop,
            memory: process_account(),
        }
    }

    /// What the buffers of a stream may hold, of what all streams do.
    pub fn memory(&self, config: &StreamConfig) -> StreamMemory {
        StreamMemory::of(&self.memory, config, open::lane_count(config))
    }

    /// How a stream uses storage: until the deadline of a stop.
    pub fn access(&self, config: &StreamConfig) -> Access {
        let deadline = Some(self.stop.deadline(config.shutdown_timeout));
        Access { handle: self.handle.clone(), deadline }
    }
}

/// Opens a stream: checks all of it, takes the lease, inspects what there is, and only when that agrees makes
/// what is missing. `lease` is the one that this process holds from an earlier start of the stream;
/// a process that was replaced never takes it again. `memory` is the same at each start of the stream by this process.
///
/// # Errors
/// By kind: see the table in `docs/reference/exit-codes.md`.
pub fn open(
    config: &StreamConfig,
    mut row_pipeline: RowPipeline,
    connect: &dyn Fn() -> Result<Box<dyn Source>>,
    ctx: &ProcessContext,
    memory: &StreamMemory,
    lease: &mut Option<Arc<Lease>>,
) -> Result<OpenStream> {
    if let Some(lease) = &lease {
        lease.check(&config.name)?;
    }
    row_pipeline.arrow_schema()?;
    row_pipeline.lane(None)?;
    let access = ctx.access(config);
    let checkpoint = access.checkpoint(config)?;
    let log = CheckpointLog::new(checkpoint.clone(), config.min_batches_to_retain);
    recovery::check_stream(config, &log)?;
    let source = connect()?;
    match newest_end(&log) {
        Some(end) => source.check_start(Some(&end))?,
        // Where a new query starts is asked for once.
        None if log.initial_offset(0)?.is_none() => source.check_start(None)?,
        None => {}
    }
    Targets::read(config, &access)?.check_columns(&mut row_pipeline)?;
    let lease = hold_lease(config, &checkpoint, ctx, lease)?;
    failpoint!("lease.taken");
    let recovery = recovery::inspect(config, &log, &access, &mut row_pipeline, |found| {
        failpoint!("logs.listed");
        log.sync(&found.entries)
    })?;
    for warning in recovery.targets.sink.warnings(&row_pipeline.arrow_schema()?) {
        tracing::warn!(stream = config.name, "{warning}");
    }
    let memory = memory.clone();
    // State that is there is read before anything is made: its files may be damaged. Only the local copy is changed.
    let stateful = match (&recovery.checkpoint.identity, &recovery.resume_point) {
        (Some(identity), Some(point)) if point.committed.is_some() => {
            open_state(config, &row_pipeline, &log, &identity.id, Some(point), &memory)?
        }
        _ => None,
    };
    // From here on things are made.
    make(config, Checked { log, access, row_pipeline, source, lease, memory, stateful }, recovery)
}

/// The watermark and the state of the stream's query, if it has any.
fn open_state(
    config: &StreamConfig,
    row_pipeline: &RowPipeline,
    log: &CheckpointLog,
    query_id: &str,
    point: Option<&ResumePoint>,
    memory: &StreamMemory,
) -> Result<Option<Stateful>> {
    let (Some(sql), Some(point)) = (row_pipeline.sql(), point) else { return Ok(None) };
    Stateful::open(config, sql, log.store(), query_id, point.clone(), memory).map(Some)
}

/// Where the newest plan ends; `None` if there is none. A checkpoint that can't be read is judged by the recovery.
fn newest_end(log: &CheckpointLog) -> Option<Offset> {
    let newest = log.entries().ok()?.plans.last().copied()?;
    log.plan(newest).ok()?.only_end().ok().cloned()
}

/// What a start has found in order, before it makes anything.
struct Checked {
    log: CheckpointLog,
    access: Access,
    row_pipeline: RowPipeline,
    source: Box<dyn Source>,
    lease: Arc<Lease>,
    memory: StreamMemory,
    /// The query's watermark and state, if they are there already.
    stateful: Option<Stateful>,
}

/// Makes what is missing: targets, identity, binding, lanes.
fn make(config: &StreamConfig, checked: Checked, recovery: Recovery) -> Result<OpenStream> {
    let Checked { log, access, mut row_pipeline, source, lease, memory, stateful } = checked;
    probe(&log, &recovery)?;
    let Recovery { checkpoint, targets, facts, resume_point, .. } = recovery;
    let CheckpointState { identity, binding, entries } = checkpoint;
    let Targets { mut sink, mut dead_letters } = targets;
    if let Some(newest) = facts.newest_commit {
        // Files that nobody needs any more are no reason not to start.
        if let Err(error) = log.collect_all(&entries, newest) {
            tracing::warn!(stream = config.name, %error, "old checkpoint files could not be deleted");
        }
    }
    let admission = sink.prepare(&row_pipeline.arrow_schema()?)?;
    failpoint!("table.created");
    if let Some(letters) = &mut dead_letters {
        letters.prepare(&dead_letter::schema()).context(|| "open deadLetter".into())?;
    }
    failpoint!("letters.created");
    row_pipeline.admit(admission);
    for cast in row_pipeline.casts().iter().filter(|cast| cast.may_fail) {
        tracing::warn!(stream = config.name, "{cast}");
    }
    let identity = match identity {
        Some(identity) => identity,
        None => Identity::create(log.store())?,
    };
    failpoint!("metadata.written");
    if binding.is_none() {
        let target = sink.target();
        let binding = CheckpointBinding {
            format: 1,
            stream: config.name.clone(),
            table: target.location,
            table_id: target.id.unwrap_or_default(),
        };
        binding.write(log.store())?;
    }
    failpoint!("serves.written");
    if let (Some(to), Some(table)) =
        (&config.dead_letter, dead_letters.as_ref().and_then(DeadLetterTable::table))
    {
        dead_letter_tables::remember(log.store(), &to.url, table)?;
    }
    let stateful = match stateful {
        None => open_state(config, &row_pipeline, &log, &identity.id, resume_point.as_ref(), &memory)?,
        opened => opened,
    };
    let mut opened = OpenStream {
        source,
        lanes: Vec::new(),
        log,
        query_id: identity.id,
        sink,
        sink_version: recovery.sink_state.commit.as_ref().map(|commit| commit.version),
        sink_commit_ms: recovery.sink_state.commit.map(|commit| commit.timestamp_ms).filter(|ms| *ms > 0),
        dead_letters,
        lease,
        row_pipeline,
        memory,
        access,
        decision: recovery.decision,
        stateful,
    };
    opened.lanes = start_lanes(config, &opened, None, None)?;
    Ok(opened)
}

/// Before a stream first writes anywhere: a store that lets two writers win is refused.
fn probe(log: &CheckpointLog, recovery: &Recovery) -> Result<()> {
    if recovery.checkpoint.binding.is_none() {
        let name = format!("{}/probe-{}", paths::OWN, Uuid::new_v4());
        log.store().probe_put_if_absent(&name)?;
        recovery.targets.sink.probe()?;
    }
    match &recovery.targets.dead_letters {
        Some(letters) if !recovery.dead_letters_used => letters.probe(),
        _ => Ok(()),
    }
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
    let (mut announced, started) = (false, Instant::now());
    loop {
        match Lease::take(checkpoint, &ctx.owner, ctx.when_owned == WhenOwned::TakeOver)? {
            Acquire::Acquired(lease) => return Ok(lease),
            // One that died a moment ago is no reason to refuse the start that mends it.
            Acquire::HeldBy(other)
                if ctx.when_owned == WhenOwned::Wait
                    || (other.has_ended() && started.elapsed() < LEASE_ENDS) =>
            {
                if !announced {
                    tracing::info!(stream = config.name, owner = %other, "waiting for the lease of the owner of the stream to end");
                    announced = true;
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
                    .hint("stop it first, start with --wait-for-lease or --take-over, or give this stream a checkpointLocation of its own"));
            }
        }
    }
}

/// Lanes for one run alone if its plan was made under other options of the source than are configured now (its
/// offsets were, and an earlier run of it may have been read so), or if its rows are tried on the writer `trial`.
///
/// # Errors
/// `Config` if this version does not know what the plan asks for, or a reader can't be made.
pub(super) fn pinned_lanes(
    config: &StreamConfig,
    opened: &OpenStream,
    batch_id: i64,
    notes: &Notes,
    trial: Option<&Arc<dyn AttemptWriter>>,
) -> Result<Option<Vec<Lane>>> {
    let what = || format!("run micro-batch {batch_id} as it was planned");
    let Some(differs) = opened.source.differs(notes).context(what)? else {
        return trial.map(|_| start_lanes(config, opened, None, trial)).transpose();
    };
    tracing::info!(
        stream = config.name,
        batch = batch_id,
        planned_with = differs,
        "the batch is read as it was planned"
    );
    start_lanes(config, opened, Some(notes), trial).map(Some)
}

fn start_lanes(
    config: &StreamConfig,
    opened: &OpenStream,
    pinned: Option<&Notes>,
    trial: Option<&Arc<dyn AttemptWriter>>,
) -> Result<Vec<Lane>> {
    (0..open::lane_count(config))
        .map(|number| {
            let reader = opened.source.reader(&opened.memory.reader(), pinned)?;
            let mut pipeline = opened.row_pipeline.lane(trial)?;
            if let Some(bytes) = opened.memory.decoding_bytes() {
                pipeline.limit_bytes(bytes);
            }
            Lane::start(&config.name, number, reader, pipeline)
        })
        .collect()
}
