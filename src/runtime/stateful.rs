//! The part of a stream's query that knows what was before: its watermark, and the state of its operators.
//!
//! The state is durable before the sink commits a batch, and becomes the stream's only after it: the commit says which
//! run of the batch counts, and a start restores the state of that run ([`crate::state`]).

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;

use super::lane_rows::LaneRows;
use super::memory::StreamMemory;
use super::sql::StreamSql;
use crate::checkpoint::{CheckpointLog, Decision, Plan, Remainder};
use crate::config::StreamConfig;
use crate::decode::stage::{Stage, StageRows};
use crate::model::error::Context;
use crate::model::{Error, MemoryAccount, MemoryClaim, Offset, OffsetSeq, Result};
use crate::query::{EventTimes, OperatorProgress, WatermarkTracker, Watermarks};
use crate::sink::SinkCommit;
use crate::source::Split;
use crate::state::{
    Committed, SealedBatch, StateDefinition, StateOptions, StateStore, StoreBatch, check_files,
};
use crate::storage::Store;

/// What is done when a state is refused.
const OPENING: &str = "open the state of sql";

/// Where a query stands at a start: its watermarks, and the newest batch of its state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResumePoint {
    /// Of the batch before the next one, and of the next one.
    pub watermarks: Watermarks,
    /// Where the watermark stands by all that was read, of the batch too that was read in part.
    pub reached_ms: i64,
    /// The newest committed batch, and the run of it that counts.
    pub committed: Option<Committed>,
}

impl ResumePoint {
    /// What the checkpoint and the sink's newest commit say.
    ///
    /// # Errors
    /// `Corrupt`, naming the file, if one that must be there is missing or damaged.
    pub fn read(
        log: &CheckpointLog,
        decision: &Decision,
        newest: Option<&SinkCommit>,
    ) -> Result<ResumePoint> {
        let run = |batch_id: i64, attempt: Option<String>| {
            Some(Committed { batch_id, attempt: attempt.unwrap_or_default() })
        };
        match *decision {
            Decision::StartFresh => Ok(ResumePoint::default()),
            Decision::PlanAfter(batch) => {
                let commit = log.committed(batch)?.unwrap_or_default();
                let committed = run(batch, commit.attempt);
                Ok(ResumePoint::after(&log.plan(batch)?, commit.next_watermark_ms, committed))
            }
            Decision::MendCommitLog(batch) => {
                let info = newest.and_then(|commit| commit.info.as_ref());
                let next = info.map_or(0, |info| info.next_batch_watermark_ms);
                let committed = run(batch, info.and_then(|info| info.attempt.clone()));
                Ok(ResumePoint::after(&log.plan(batch)?, next, committed))
            }
            Decision::Rerun(batch) => {
                let now = whole_watermark_ms(&log.plan(batch)?);
                if batch == 0 {
                    let watermarks = Watermarks { before: 0, now };
                    return Ok(ResumePoint { watermarks, reached_ms: now, committed: None });
                }
                let before = log.plan(batch - 1)?.watermark_ms;
                let commit = log.committed(batch - 1)?.unwrap_or_default();
                Ok(ResumePoint {
                    watermarks: Watermarks { before, now },
                    reached_ms: now.max(commit.next_watermark_ms),
                    committed: run(batch - 1, commit.attempt),
                })
            }
        }
    }
}

impl ResumePoint {
    /// Behind the batch of `plan`, whose commit says where the watermark stands: `reached_ms`.
    fn after(plan: &Plan, reached_ms: i64, committed: Option<Committed>) -> ResumePoint {
        let whole = whole_watermark_ms(plan);
        let reached_ms = whole.max(reached_ms);
        // It moves when the batch is read whole.
        let now = if plan.remainder.is_some() { whole } else { reached_ms };
        ResumePoint { watermarks: Watermarks { before: plan.watermark_ms, now }, reached_ms, committed }
    }
}

/// The watermark of the batch that `plan` reads, or reads a part of.
fn whole_watermark_ms(plan: &Plan) -> i64 {
    plan.remainder.as_ref().map_or(plan.watermark_ms, |remainder| remainder.watermark_ms)
}

/// A query's progress through event time, and its state.
pub struct Stateful {
    sql: StreamSql,
    tracker: WatermarkTracker,
    watermarks: Watermarks,
    /// The watermark that the newest micro-batch was planned with.
    planned_ms: i64,
    /// Whether that one is a part of a batch, and not the last.
    is_part: bool,
    /// The event times of the last batch, of a query with a watermark.
    seen: Option<EventTimes>,
    /// Whether a batch was run since the start: before it none without data is due, as in Spark.
    has_run: bool,
    /// Since when no row has come.
    quiet_since: Instant,
    /// When the clock moved the watermark last.
    moved_by_clock: Option<Instant>,
    /// Whether that was for the batch that runs, or has just run.
    is_moved_by_clock: bool,
    state: Option<State>,
}

struct State {
    store: StateStore,
    options: StateOptions,
    /// What it holds in memory, as of the last batch.
    claim: MemoryClaim,
}

/// What a batch of a query that keeps state gave.
pub struct StateRun {
    /// The rows of the result, admitted to the sink.
    pub rows: Vec<RecordBatch>,
    /// What the operators did.
    pub operators: Vec<OperatorProgress>,
    batch: StoreBatch,
}

impl Stateful {
    /// Opens the state of a query that has a watermark or state.
    ///
    /// # Errors
    /// As for [`StateStore::open`].
    pub fn open(
        config: &StreamConfig,
        sql: &StreamSql,
        checkpoint: &Store,
        query_id: &str,
        point: ResumePoint,
        memory: &StreamMemory,
    ) -> Result<Stateful> {
        let state = match sql.stage.is_stateful() {
            false => None,
            true => {
                let account = memory.state();
                let options = StateOptions {
                    local: config.state_folder.clone(),
                    checkpoint: checkpoint.clone(),
                    query_id: query_id.to_owned(),
                    definition: definition(sql),
                    memory_bytes: account.limit_bytes(),
                    batches_to_retain: config.min_batches_to_retain,
                };
                let store = StateStore::open(options.clone(), point.committed.as_ref());
                let store = store.context(|| OPENING.to_owned())?;
                Some(State { store, options, claim: account.claim() })
            }
        };
        Ok(Stateful {
            tracker: sql.stage.watermark_tracker(point.reached_ms),
            sql: sql.clone(),
            watermarks: point.watermarks,
            planned_ms: point.watermarks.before,
            is_part: false,
            seen: None,
            has_run: false,
            quiet_since: Instant::now(),
            moved_by_clock: None,
            is_moved_by_clock: false,
            state,
        })
    }

    /// What the next micro-batch is planned with: its watermark, in milliseconds since the Unix epoch, and what of its batch is
    /// left to read where it does not fit in memory and ends at `remainder`.
    ///
    /// All parts of a batch but the last run with the watermark of the batch before: nothing more is late to them, and nothing
    /// is complete. So the parts give together what the whole batch would give.
    pub fn next_plan(&self, remainder: Option<Offset>) -> (i64, Option<Remainder>) {
        let Watermarks { before, now } = self.watermarks;
        match remainder {
            None => (now, None),
            Some(end) => (before, Some(Remainder { end: OffsetSeq::of(end), watermark_ms: now })),
        }
    }

    /// Where the watermark stands by all that was read, in milliseconds since the Unix epoch.
    pub fn reached_ms(&self) -> i64 {
        self.tracker.watermark_ms()
    }

    /// The watermark that the batch before the next one ran with, in milliseconds since the Unix epoch; `None` without a
    /// watermark.
    pub fn watermark_before_ms(&self) -> Option<i64> {
        self.sql.stage.has_watermark().then_some(self.watermarks.before)
    }

    /// Whether it keeps state, and not a watermark alone.
    pub fn keeps_state(&self) -> bool {
        self.state.is_some()
    }

    /// Whether a batch that has more rows than fit in memory is read in parts, which share a watermark: between batches it
    /// moves, and rows would be late that are not in one.
    pub fn reads_parts(&self) -> bool {
        self.state.is_some() && self.sql.stage.has_watermark()
    }

    /// Nothing is left of the batch of which parts were read: the watermark moves.
    pub fn end_batch(&mut self) {
        self.watermarks.now = self.tracker.watermark_ms();
    }

    /// Whether a batch without data is due: the watermark has passed what the last batch saw of it, and
    /// `noDataMicroBatches` does not forbid one.
    pub fn wants_empty_batch(&self) -> bool {
        let moved = self.watermarks.now > self.watermarks.before;
        let due = self.has_run && moved && self.state.is_some();
        due && self.sql.empty_batches && self.sql.stage.wants_empty_batch()
    }

    /// Moves the watermark by the clock, `now_ms`, if the stream has been quiet for its `idleTimeout` and state waits for it;
    /// whether it has moved, and a batch without data is due.
    pub fn advance_idle(&mut self, now_ms: i64) -> bool {
        let Some(timeout_ms) = self.tracker.idle_timeout_ms() else { return false };
        let is_past = |since: Instant| since.elapsed().as_millis() >= timeout_ms as u128;
        let has_state = self.state.as_ref().is_some_and(|state| !state.store.is_empty());
        if !has_state || !is_past(self.quiet_since) || !self.moved_by_clock.is_none_or(is_past) {
            return false;
        }
        self.moved_by_clock = Some(Instant::now());
        let now = self.tracker.advance_idle(now_ms, self.quiet_since.elapsed().as_millis() as i64);
        self.is_moved_by_clock = now > self.watermarks.now;
        self.watermarks.now = now;
        self.is_moved_by_clock && self.sql.stage.wants_empty_batch()
    }

    /// Whether the clock moved the watermark of the batch that has just run; asked once.
    pub fn take_moved_by_clock(&mut self) -> bool {
        std::mem::take(&mut self.is_moved_by_clock)
    }

    /// The next micro-batch is that of `plan`: another process may have made it, and moved the watermark by the clock.
    pub fn follow_plan(&mut self, plan: &Plan) {
        self.planned_ms = plan.watermark_ms;
        self.is_part = plan.remainder.is_some();
        self.watermarks.now = whole_watermark_ms(plan);
        self.tracker.follow_plan(self.watermarks.now);
    }

    /// Where the lanes of a run write.
    pub fn lane_rows(&self, shares: &[Vec<Split>], account: &Arc<MemoryAccount>) -> LaneRows {
        LaneRows::new(self.sql.stage.lane_grouping(), shares, account)
    }

    /// Runs the query over what the lanes made of batch `batch_id`; nothing of it is kept before it is sealed.
    ///
    /// # Errors
    /// `Data` if an expression has no value or the sink does not take a row; what the state returns.
    pub fn run(
        &mut self,
        batch_id: i64,
        lanes: &LaneRows,
        admission: Option<Box<dyn Stage>>,
    ) -> Result<StateRun> {
        let Some(State { store, .. }) = &mut self.state else {
            return Err(Error::internal("a query without state was run as one that has some"));
        };
        let mut batch = store.begin(batch_id)?;
        let watermarks = Watermarks { now: self.planned_ms, ..self.watermarks };
        let answer = self.sql.stage.run_state(&mut batch, lanes.feed(), watermarks)?;
        let rows = match admission {
            None => answer.rows,
            Some(mut stage) => {
                let mut taken = Vec::with_capacity(answer.rows.len());
                for rows in answer.rows {
                    admit(stage.as_mut(), rows, &mut taken)?;
                }
                taken
            }
        };
        Ok(StateRun { rows, operators: answer.operators, batch })
    }

    /// Makes what a run changed durable, under the run's name.
    ///
    /// # Errors
    /// As for [`StateStore::seal`].
    pub fn seal(&self, run: StoreBatch, attempt: &str) -> Result<SealedBatch> {
        match &self.state {
            Some(State { store, .. }) => store.seal(run, attempt),
            None => Err(Error::internal("a query without state has nothing to seal")),
        }
    }

    /// What the watermarks saw in the batch.
    pub fn event_times(&self) -> Vec<EventTimes> {
        self.sql.stage.event_times()
    }

    /// The watermark of the batch after the one that has just run.
    pub fn next_watermark_ms(&self) -> i64 {
        self.tracker.clone().advance(&self.event_times())
    }

    /// The batch is in the sink: its state and its watermark are the stream's now. `theirs` is the run of another
    /// process whose commit counts instead.
    ///
    /// # Errors
    /// As for [`StateStore::open`], where another run counts.
    pub fn commit(&mut self, sealed: Option<SealedBatch>, theirs: Option<Committed>) -> Result<()> {
        if let Some(theirs) = theirs {
            // The folder of the local copy must be free for the store that takes this one's place.
            if let Some(State { store, options, claim }) = self.state.take() {
                drop(store);
                let store = StateStore::open(options.clone(), Some(&theirs))?;
                self.state = Some(State { store, options, claim });
            }
        } else if let Some(State { store, .. }) = &mut self.state {
            let unsealed = || Error::internal("a batch of a query with state was not sealed");
            store.commit(sealed.ok_or_else(unsealed)?)?;
        }
        let seen = self.event_times();
        let mut all = EventTimes::default();
        seen.iter().for_each(|times| all.merge(times));
        if all.count > 0 {
            self.quiet_since = Instant::now();
        }
        self.seen = self.sql.stage.has_watermark().then_some(all);
        let next = self.tracker.advance(&seen);
        if !self.is_part {
            self.watermarks = Watermarks { before: self.planned_ms, now: next };
        }
        self.has_run = true;
        Ok(())
    }

    /// Does what can wait; what it could not do is returned.
    ///
    /// # Errors
    /// As for [`StateStore::maintain`]; the state is whole in any case.
    pub fn maintain(&mut self) -> Result<()> {
        let Some(state) = &mut self.state else { return Ok(()) };
        let done = state.store.maintain();
        state.claim.set(state.store.size().memory_bytes as usize);
        done
    }

    /// Does what is due for the state's files when the stream has ended by itself, as long as it `goes_on`.
    ///
    /// # Errors
    /// As for [`Stateful::maintain`].
    pub fn finish(&mut self, goes_on: &mut dyn FnMut() -> bool) -> Result<()> {
        self.state.as_mut().map_or(Ok(()), |state| state.store.finish(goes_on))
    }

    /// The event times of the batch that was committed last; `None` without a watermark.
    pub fn seen(&self) -> Option<&EventTimes> {
        self.seen.as_ref()
    }

    /// What the state holds in memory, and of its local copy on disk, in bytes.
    pub fn size_bytes(&self) -> (u64, u64) {
        self.state.as_ref().map_or((0, 0), |state| {
            let size = state.store.size();
            (size.memory_bytes, size.disk_bytes)
        })
    }

    /// Leaves the local copy current for the next start.
    pub fn close(self) {
        if let Some(state) = self.state
            && let Err(error) = state.store.close()
        {
            tracing::warn!(%error, "the local copy of the state could not be brought up to date");
        }
    }
}

impl StateRun {
    /// What is to be sealed, and the rest.
    pub fn into_parts(self) -> (Vec<RecordBatch>, Vec<OperatorProgress>, StoreBatch) {
        (self.rows, self.operators, self.batch)
    }
}

/// What the state of a query is made of.
fn definition(sql: &StreamSql) -> StateDefinition {
    StateDefinition::new(sql.stage.state_definition())
}

/// Refuses a stream whose query cannot go on with the state that the checkpoint keeps, or that keeps none now. Changes nothing.
///
/// # Errors
/// `Config`, saying what has changed and what to do.
pub(super) fn check_state(
    sql: Option<&StreamSql>,
    log: &CheckpointLog,
    newest_commit: Option<i64>,
) -> Result<()> {
    let Some(sql) = sql.filter(|sql| sql.stage.is_stateful()) else { return log.refuse_state() };
    let Err(error) = definition(sql).check_start(log.store(), newest_commit) else { return Ok(()) };
    // Where the state is Spark's, the refusal says more.
    log.refuse_state_of_spark()?;
    Err(error)
}

/// Where the stream's query stands, of whose state no file may be missing; `None` for one that keeps neither a watermark nor
/// state. Changes nothing.
///
/// # Errors
/// `Corrupt`, naming the file, if one that must be there is missing or damaged.
pub(super) fn resume_point(
    sql: Option<&StreamSql>,
    log: &CheckpointLog,
    decision: &Decision,
    newest: Option<&SinkCommit>,
) -> Result<Option<ResumePoint>> {
    let Some(sql) = sql.filter(|sql| sql.keeps_more_than_rows()) else { return Ok(None) };
    let point = ResumePoint::read(log, decision, newest)?;
    if let Some(committed) = point.committed.as_ref().filter(|_| sql.stage.is_stateful()) {
        check_files(log.store(), committed).context(|| OPENING.to_owned())?;
    }
    Ok(Some(point))
}

/// Adds rows of a result as the sink takes them. A row that it does not take stops the stream: no record is to blame.
fn admit(stage: &mut dyn Stage, rows: RecordBatch, taken: &mut Vec<RecordBatch>) -> Result<()> {
    let mut rejected = Vec::new();
    stage.apply(StageRows::derived(rows), &mut rejected, &mut |rows, _| {
        taken.push(rows.into_batch());
        Ok(())
    })?;
    match rejected.into_iter().next() {
        None => Ok(()),
        Some((_, why)) => Err(Error::data(format!("the sink does not take a row of sql: {why}"))
            .hint("change the query so that it gives a value that fits; a row of a result has no record that could be rejected for it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watermark_moves_when_a_batch_is_read_whole() {
        let whole = Plan { watermark_ms: 10, ..Plan::default() };
        let point = ResumePoint::after(&whole, 30, None);
        assert_eq!((point.watermarks, point.reached_ms), (Watermarks { before: 10, now: 30 }, 30));
        let end = OffsetSeq::of(Offset::of(7.into()));
        let part = Plan { remainder: Some(Remainder { end, watermark_ms: 20 }), ..whole };
        let point = ResumePoint::after(&part, 30, None);
        assert_eq!((point.watermarks, point.reached_ms), (Watermarks { before: 10, now: 20 }, 30));
        assert_eq!(ResumePoint::after(&part, 0, None).reached_ms, 20, "a commit that knows no watermark");
    }
}
