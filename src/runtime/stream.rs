//! The life of a stream: resume, then micro-batch after micro-batch.
//!
//! The order of durable steps is the guarantee, and it is here:
//! plan (`offsets/N`) → what the lanes write → state → dead letters' commit → sink's commit → commit log (`commits/N`).
//! After a crash between any two of them the newest plan without a commit is run again over exactly
//! the same ranges, or only the commit log is completed (`checkpoint::resume`).

mod clock;
mod position;
mod reconcile;
mod report;
mod state;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use uuid::Uuid;

use self::clock::{Clock, now_ms};
use self::position::{IDLE_LEASE_CHECK, Pace, StreamPosition};
use self::reconcile::same_definition;
pub use self::report::WrittenRows;
use super::attempt::{self, Written, commit_of};
use super::heap;
use super::lane::Attempt;
use super::row_pipeline::RowPipeline;
use super::start::{self, OpenStream, ProcessContext};
use super::stateful::Stateful;
use super::trigger;
use crate::checkpoint::{Decision, Lease, Plan, Planned};
use crate::config::{StreamConfig, Trigger};
use crate::failpoint;
use crate::model::error::Context;
use crate::model::{Error, Kind, Loss, Offset, OffsetSeq, OutputMode, Result};
use crate::observe::{Event, StreamReporter};
use crate::sink::{BatchCommit, BatchRun, DeadLetters, Sink};
use crate::source::{Admission, Available, SourceRange};
use crate::storage::credentials::RenewedTokens;

/// What survives a restart of the stream inside the process.
#[derive(Debug, Default)]
pub struct RestartState {
    /// Where `availableNow` ends, fixed when the stream first asks its source.
    pub bound: Option<Offset>,
    /// The micro-batch that was planned and is not committed, if this process has begun one.
    pub unfinished: Option<i64>,
    /// Micro-batches committed since the process started.
    pub committed: u64,
    /// What they have read and written.
    pub written: WrittenRows,
    /// That we run the stream. Held between two starts, and never taken a second time: a process that
    /// was replaced must not replace its successor.
    pub lease: Option<Arc<Lease>>,
    /// How values become rows. Read, and remarked on, at the first start only.
    pub row_pipeline: Option<RowPipeline>,
    /// The tokens that the stream logs in with.
    pub tokens: Option<Vec<Arc<RenewedTokens>>>,
}

/// How old the ends of the partitions may be that an idle stream shows, in ms.
const LAG_AGE_MS: i64 = 1000;

/// A running stream.
pub struct Stream<'a> {
    config: &'a StreamConfig,
    ctx: &'a ProcessContext,
    reporter: &'a StreamReporter,
    restart: &'a mut RestartState,
    open: OpenStream,
    run_id: String,
    position: StreamPosition,
    pace: Pace,
    /// Whether the newest batch ended before all there was, because of a limit that nobody gave: its size by default, or memory.
    is_cut: bool,
}

/// A batch to be completed, and what its source says of it.
struct Batch {
    planned: Planned,
    range: SourceRange,
    /// Found gone when a planned batch is run again.
    gone: Vec<Loss>,
    /// How far the source reached when the batch was planned.
    latest: Offset,
    /// Records between the batch's end and that.
    lag: i64,
}

/// What came of a firing of the trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fired {
    /// A batch.
    Batch,
    /// There was nothing for one.
    NoData,
    /// Whether there is, the source says when it is asked again.
    Undecided,
}

/// How often it is looked whether the sink has finished.
const FINISH_POLL: Duration = Duration::from_millis(20);

impl<'a> Stream<'a> {
    /// A stream from what was opened.
    pub fn new(
        config: &'a StreamConfig,
        ctx: &'a ProcessContext,
        reporter: &'a StreamReporter,
        restart: &'a mut RestartState,
        open: OpenStream,
    ) -> Stream<'a> {
        let position = StreamPosition::after(open.sink_version);
        let run_id = Uuid::new_v4().to_string();
        Stream { config, ctx, reporter, restart, open, run_id, position, pace: Pace::start(), is_cut: false }
    }

    /// Runs until the trigger ends it or a stop is asked for.
    ///
    /// # Errors
    /// Whatever a step returned; what it means is decided by `supervise`.
    pub fn run(&mut self) -> Result<()> {
        self.run_batches()?;
        let stop = &self.ctx.stop;
        if !stop.requested() {
            let mut goes_on = || {
                stop.wait(FINISH_POLL);
                !stop.requested()
            };
            self.open.sink.finish(&mut goes_on);
            if let Some(dead_letters) = &mut self.open.dead_letters {
                dead_letters.finish(&mut goes_on);
            }
            if let Some(stateful) = &mut self.open.stateful {
                warn_of_state(stateful.finish(&mut goes_on));
            }
            self.report_maintenance();
        }
        if let Some(stateful) = self.open.stateful.take() {
            stateful.close();
        }
        Ok(())
    }

    fn run_batches(&mut self) -> Result<()> {
        self.report_opened();
        let reran = self.resume()?;
        if reran && self.config.trigger == Trigger::Once {
            return Ok(());
        }
        while !self.ctx.stop.requested() {
            let mut clock = Clock::start();
            let fired = self.trigger(&mut clock)?;
            match self.config.trigger {
                _ if fired == Fired::Undecided => {}
                Trigger::Once => return Ok(()),
                Trigger::AvailableNow if fired == Fired::NoData => return Ok(()),
                _ => {}
            }
            let (trigger, started) = (self.config.trigger, clock.started_ms);
            let pause = if fired == Fired::Batch {
                self.pace.batch_ended();
                // By a limit that nobody gave, what waits must not be read in one batch for each interval.
                let trigger = match trigger {
                    Trigger::ProcessingTime(_) if self.is_cut => Trigger::AsSoonAsPossible,
                    trigger => trigger,
                };
                trigger::pause(trigger, self.config.min_commit_interval, started, now_ms())
            } else {
                if self.pace.lease_check_due() {
                    // A replaced owner that has nothing to do can do no harm, but no good either.
                    self.check_lease()?;
                }
                let pause = match fired {
                    Fired::Undecided => Duration::ZERO,
                    _ => trigger::pause(trigger, Duration::ZERO, started, now_ms()),
                };
                pause.max(trigger::polling_delay(clock.started.elapsed()))
            };
            if !pause.is_zero() {
                if self.pace.comes_to_rest(pause) {
                    heap::give_back();
                }
                self.pause(pause)?;
            }
        }
        Ok(())
    }

    /// Waits for the next trigger, or for a stop. Meanwhile a replaced owner finds out that it was replaced; that the lease
    /// can't be asked for matters only when there is something to do.
    ///
    /// # Errors
    /// `Fenced` if it was replaced.
    fn pause(&mut self, pause: Duration) -> Result<()> {
        let until = Instant::now() + pause;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.ctx.stop.wait(left.min(IDLE_LEASE_CHECK)) {
                return Ok(());
            }
            if left > IDLE_LEASE_CHECK
                && self.pace.lease_check_due()
                && let Err(error) = self.check_lease()
                && error.kind() == Kind::Fenced
            {
                return Err(error);
            }
        }
    }

    /// Brings the stream to where its next batch is planned. Returns whether it ran one for that.
    fn resume(&mut self) -> Result<bool> {
        let log = self.open.log.clone();
        match self.open.decision.clone() {
            Decision::StartFresh => {
                let initial = match log.initial_offset(0)? {
                    Some(initial) => initial,
                    None => {
                        let initial = self.open.source.initial_offset()?;
                        log.fix_initial_offset(0, &initial)?
                    }
                };
                failpoint!("initial.written");
                self.reporter.emit(Event::Positioned { position: initial.clone(), since_ms: None });
                self.source_is_at(&initial);
                self.position.begin(initial);
                Ok(false)
            }
            Decision::PlanAfter(batch) => {
                let planned = log.planned(batch)?;
                self.position.advance_to(planned.plan())?;
                self.report_position()?;
                self.source_is_at(&self.position.source()?.offset.clone());
                Ok(false)
            }
            Decision::MendCommitLog(batch) => {
                let planned = log.planned(batch)?;
                self.withdraw_dead_letters(&planned)?;
                let commit = self.mended_commit(planned.plan())?;
                log.put_commit(batch, &commit)?;
                failpoint!("repair.after");
                tracing::info!(
                    stream = self.config.name,
                    batch,
                    "the table held the batch, the commit log now says so"
                );
                self.position.advance_to(planned.plan())?;
                self.report_position()?;
                self.source_is_at(&self.position.source()?.offset.clone());
                Ok(false)
            }
            Decision::Rerun(batch_id) => {
                let planned = log.planned(batch_id)?;
                self.check_lease()?;
                self.reporter.emit(Event::BatchPlanned { batch_id, rerun: true });
                if batch_id > 0 {
                    self.report_resumed(batch_id - 1);
                }
                let mut clock = Clock::start();
                let since_ms = Some(planned.plan().timestamp_ms);
                let batch = self.replayed(planned)?;
                self.reporter.emit(Event::Positioned { position: batch.range.start.clone(), since_ms });
                self.complete(batch, &mut clock)?;
                Ok(true)
            }
        }
    }

    /// A planned batch, as its source reads it again.
    fn replayed(&mut self, planned: Planned) -> Result<Batch> {
        let (range, gone) = self.open.source.replay(range_of(&planned)?)?;
        let planned = planned.with_start(OffsetSeq::of(range.start.clone()));
        let latest = range.end.clone();
        Ok(Batch { planned, range, gone, latest, lag: 0 })
    }

    /// How many rows of one batch the sink and the state can hold in memory, if they must hold them.
    fn rows_in_memory(&self) -> Option<u64> {
        let OpenStream { sink, stateful, memory, .. } = &self.open;
        let of_sink = sink.keeps_rows_until_commit().then(|| memory.rows_until_commit());
        let keeps_state = stateful.as_ref().is_some_and(Stateful::keeps_state);
        of_sink.into_iter().chain(keeps_state.then(|| memory.rows_of_state())).min()
    }

    /// One firing of the trigger.
    fn trigger(&mut self, clock: &mut Clock) -> Result<Fired> {
        self.reporter.emit(Event::TriggerFired);
        if let Some(position) = self.open.source.mirrored() {
            self.reporter.emit(Event::Mirrored { position });
        }
        let position = self.position.source()?;
        let trigger = self.config.trigger;
        let parts = self.open.stateful.as_ref().is_some_and(Stateful::reads_parts);
        let in_memory = self.rows_in_memory();
        let admission = Admission {
            unlimited: trigger == Trigger::Once,
            default_max: trigger::default_batch_limit(trigger, in_memory.filter(|_| !parts)),
            part_max: in_memory.filter(|_| parts && trigger != Trigger::Once),
            bound: self.restart.bound.as_ref().filter(|_| trigger == Trigger::AvailableNow),
            remainder: self.position.remainder.as_ref().and_then(|remainder| remainder.end.get(0)),
        };
        let source = &mut self.open.source;
        let Available { latest, range, lag, is_cut, remainder, notes, losses, undecided } =
            clock.time("latestOffset", || source.latest_offset(position, &admission))?;
        if undecided {
            self.reporter.emit(Event::NoData);
            return Ok(Fired::Undecided);
        }
        if trigger == Trigger::AvailableNow && self.restart.bound.is_none() {
            if let Some(event) = Event::bounded(&position.offset, &latest) {
                self.reporter.emit(event);
            }
            self.restart.bound = Some(latest.clone());
        }
        let start = range.as_ref().map_or(&position.offset, |range| &range.start);
        if range.is_some() || self.reporter.lag_is_older_than(LAG_AGE_MS) {
            self.reporter.emit(Event::LatestOffset { latest: latest.clone(), start: start.clone() });
        }
        for loss in self.position.news_of(&losses) {
            tracing::warn!(stream = self.config.name, "{loss}; going on, because failOnDataLoss is false");
        }
        self.position.note(notes, losses.clone())?;
        self.is_cut = is_cut || remainder.is_some();
        if range.is_none() && self.position.remainder.take().is_some() {
            if let Some(stateful) = &mut self.open.stateful {
                stateful.end_batch();
            }
            return self.trigger(clock);
        }
        let Some(range) = range.or_else(|| self.empty_range()) else {
            self.reporter.emit(Event::NoData);
            return Ok(Fired::NoData);
        };
        let batch = match clock.time("walCommit", || self.plan(&range, remainder, losses))? {
            Some(planned) => Batch { planned, range, gone: Vec::new(), latest, lag },
            None => self.adopt()?,
        };
        self.reporter.emit(Event::BatchPlanned { batch_id: batch.planned.plan().batch_id, rerun: false });
        self.complete(batch, clock)?;
        Ok(Fired::Batch)
    }

    /// Makes the plan durable; `None` if a former owner made one for the same batch.
    fn plan(
        &mut self,
        range: &SourceRange,
        remainder: Option<Offset>,
        lost: Vec<Loss>,
    ) -> Result<Option<Planned>> {
        let batch = self.position.next_batch;
        let stateful = self.open.stateful.as_ref();
        let (watermark_ms, remainder) = stateful.map_or((0, None), |stateful| stateful.next_plan(remainder));
        let plan = Plan {
            batch_id: batch,
            end: OffsetSeq::of(range.end.clone()),
            notes: vec![range.notes.clone()],
            timestamp_ms: now_ms(),
            watermark_ms,
            remainder,
            definition_hash: self.open.row_pipeline.definition_hash.clone(),
            lost,
            sink_version: self.position.sink_version,
            table_versions: self.open.row_pipeline.table_versions()?,
            writer: Uuid::new_v4().to_string(),
            conf: self.position.spark_conf.clone(),
        };
        self.check_lease()?;
        failpoint!("plan.before");
        let start = OffsetSeq::of(range.start.clone());
        let put = self.open.log.put_plan(plan, start)?;
        failpoint!("plan.after");
        self.check_lease()?;
        Ok(put)
    }

    /// The plan that a former owner made for the next batch: that one is run.
    fn adopt(&mut self) -> Result<Batch> {
        let (stream, batch) = (&self.config.name, self.position.next_batch);
        tracing::warn!(stream, batch, "adopting a plan that another process made");
        let planned = match self.open.log.planned(batch) {
            Ok(planned) => planned,
            Err(error) => {
                // Retention of whoever replaced us may have taken it.
                self.confirm_lease()?;
                return Err(error);
            }
        };
        if planned.plan().is_ours() {
            return self.replayed(planned);
        }
        // A start knows how to run a plan of Spark.
        Err(Error::conflict(format!("Spark planned micro-batch {batch} of stream {stream} too"))
            .hint("run the query in one place only"))
    }

    /// From a durable plan to an entry in the commit log.
    fn complete(&mut self, batch: Batch, clock: &mut Clock) -> Result<()> {
        let Batch { planned, range, gone, latest, lag } = batch;
        let batch_id = planned.plan().batch_id;
        self.restart.unfinished = Some(batch_id);
        let _span = tracing::error_span!("batch", batch = batch_id).entered();
        if let Some(stateful) = &mut self.open.stateful {
            stateful.follow_plan(planned.plan());
        }
        let mut written = self.write(planned, &range, &gone, clock)?;
        failpoint!("files.after");
        self.report_written(&written, &range.end);
        let verified = self.open.source.verify(&range, &gone);
        verified.context(|| format!("check what micro-batch {batch_id} was read from"))?;
        let sealed = match written.take_state() {
            None => None,
            Some(state) => Some(clock.time_part("commitState", || self.seal(state, written.attempt()))?),
        };
        // Asked now that the plan is durable: whoever replaced us before this moment has perhaps not seen it, and whoever
        // does so later will. So a plan is committed only if every later owner knows it, and of one batch only one
        // plan ever is, even where retention made room for a second.
        self.confirm_lease()?;
        let mut commit = self.batch_commit(&written);
        if !commit.dead_letters_pending {
            clock.time_part("commitDeadLetters", || self.commit_dead_letters(&mut written, &commit))?;
        }
        if let Some(dead_letters) = &mut self.open.dead_letters {
            commit.newest_dead_letter_batch = dead_letters.newest_batch(&commit.query_id)?;
        }
        let parts = written.take_parts();
        failpoint!("sink.before");
        let outcome = clock.time_part("commitTable", || self.open.sink.commit(&commit, parts))?;
        failpoint!("sink.after");
        let conflicts = self.open.sink.take_conflicts();
        if conflicts > 0 {
            self.reporter.emit(Event::CommitConflicts { count: conflicts });
        }
        let version = self.resolve_commit(&outcome, &commit)?;
        if commit.dead_letters_pending && same_definition(&outcome, &commit) {
            self.supersede_dead_letters(&mut written, &commit)?;
        }
        if written.planned().plan().definition_hash != commit.definition_hash {
            self.withdraw_dead_letters(written.planned())?;
        }
        self.commit_state(sealed, &outcome, &commit)?;
        failpoint!("state.committed");
        let committed = self.committed(&commit, &outcome);
        clock.time("commitOffsets", || self.open.log.put_commit(batch_id, &committed))?;
        failpoint!("log.after");
        self.restart.committed += 1;
        self.restart.unfinished = None;
        self.position.advance_to(written.planned().plan())?;
        self.position.sink_version = version.or(self.position.sink_version);
        self.source_is_at(&range.end);
        self.report(&written, &latest, lag, version, clock);
        self.maintain(batch_id);
        Ok(())
    }

    /// Everything before `offset` is in the sink.
    fn source_is_at(&mut self, offset: &Offset) {
        if let Err(error) = self.open.source.committed(offset) {
            tracing::warn!(stream = self.config.name, %error, "the source could not take note of a commit");
        }
    }

    /// Runs the batch. If its writers fail, it is run once more with each row tried first, so that a record that
    /// admission let through and no file can hold is rejected by itself.
    fn write(
        &mut self,
        planned: Planned,
        range: &SourceRange,
        gone: &[Loss],
        clock: &mut Clock,
    ) -> Result<Written> {
        let failed = match self.write_once(planned.clone(), range, gone, false, clock) {
            // Rows of a query that keeps state are tried against no record.
            Err(error) if self.open.row_pipeline.keeps_state() => return Err(error),
            Err(error) if matches!(error.kind(), Kind::Internal | Kind::Config) => error,
            done => return done,
        };
        let (stream, batch) = (&self.config.name, planned.plan().batch_id);
        tracing::warn!(stream, batch, error = %failed, "the batch could not be written and is run again, each row tried first");
        self.write_once(planned, range, gone, true, clock)
    }

    /// One run of the batch; `tried` says whether its rows are tried first.
    fn write_once(
        &mut self,
        planned: Planned,
        range: &SourceRange,
        gone: &[Loss],
        tried: bool,
        clock: &mut Clock,
    ) -> Result<Written> {
        let plan = planned.plan();
        let mut attempt = clock.time("queryPlanning", || self.attempt(plan))?;
        let lost: Vec<Loss> = plan.lost.iter().chain(gone).cloned().collect();
        let (pinned, shares) = clock.time("getBatch", || -> Result<_> {
            let trial = tried.then_some(&attempt.rows);
            let pinned = start::pinned_lanes(self.config, &self.open, plan.batch_id, &range.notes, trial)?;
            let lanes = pinned.as_ref().unwrap_or(&self.open.lanes);
            let shares = self.open.source.splits(range, &lost, lanes.len())?;
            Ok((pinned, shares))
        })?;
        let to_state = self.lane_rows(&shares);
        let sink = Arc::clone(&attempt.rows);
        if let Some(rows) = &to_state {
            attempt.rows = Arc::new(rows.clone());
        }
        let lanes = pinned.as_ref().unwrap_or(&self.open.lanes);
        let (stop, deadline) = (&self.ctx.stop, self.config.shutdown_timeout);
        let run = || attempt::run(lanes, planned, shares, attempt, lost, stop, deadline);
        let written = clock.time_part("writeFiles", run)?;
        match to_state {
            None => Ok(written),
            Some(rows) => clock.time_part("runState", || self.run_state(written, &rows, sink.as_ref())),
        }
    }

    fn attempt(&self, plan: &Plan) -> Result<Attempt> {
        let id = Uuid::new_v4().to_string();
        let now_micros = plan.timestamp_ms.saturating_mul(1000);
        let memory = &self.open.memory;
        self.open.row_pipeline.begin(now_micros, &plan.table_versions, &memory.account)?;
        let budget = &memory.writers;
        let run = BatchRun { query_id: &self.open.query_id, batch_id: plan.batch_id, attempt: &id };
        let dead_letters = match &self.open.dead_letters {
            None => None,
            Some(table) => {
                let of = DeadLetters {
                    query_id: self.open.query_id.clone(),
                    batch_id: plan.batch_id,
                    attempt: id.clone(),
                    rejected_at_micros: now_micros,
                };
                Some((table.begin(&run, budget)?, of))
            }
        };
        Ok(Attempt {
            rows: self.open.sink.begin(&run, budget)?,
            id: id.clone(),
            dead_letters,
            budget: Arc::clone(budget),
            on_reject: self.open.row_pipeline.on_reject,
            now_micros,
            gather: false,
            cancel: AtomicBool::new(false),
            reporter: self.reporter.clone(),
        })
    }

    fn batch_commit(&self, written: &Written) -> BatchCommit {
        let (open, planned) = (&self.open, written.planned());
        let definition = &open.row_pipeline.definition_hash;
        BatchCommit {
            lost: written.lost().iter().map(|lost| lost.range.clone()).collect(),
            dead_letters_pending: open.dead_letters.is_some()
                && planned.plan().definition_hash != *definition,
            replaces_table: self.config.output_mode == OutputMode::Complete,
            next_watermark_ms: self.next_watermark_ms(planned.plan()),
            ..commit_of(self.config, open.log.store(), &open.query_id, planned, written.attempt(), definition)
        }
    }

    /// Off the commit path, and never a reason to stop.
    fn maintain(&mut self, batch_id: i64) {
        let log = self.open.log.clone();
        self.ctx.handle.spawn(async move {
            if let Err(error) = log.collect(batch_id).await {
                tracing::warn!(%error, "old checkpoint files could not be deleted");
            }
        });
        self.open.sink.maintain(&self.open.memory.account);
        self.report_maintenance();
        if let Some(stateful) = &mut self.open.stateful {
            warn_of_state(stateful.maintain());
        }
        if let Some(dead_letters) = &mut self.open.dead_letters {
            dead_letters.maintain(&self.open.memory.account);
        }
    }
}

fn warn_of_state(done: Result<()>) {
    if let Err(error) = done {
        tracing::warn!(%error, "the state's files could not be put in order; it is tried again");
    }
}

/// What a planned batch reads of its source.
pub(super) fn range_of(planned: &Planned) -> Result<SourceRange> {
    let plan = planned.plan();
    let start = planned.start().get(0).cloned();
    Ok(SourceRange {
        start: start.ok_or_else(|| Error::internal("a planned batch of a source has no start"))?,
        end: plan.only_end()?.clone(),
        notes: plan.notes_of(0),
    })
}
