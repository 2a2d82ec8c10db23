//! The steps of a batch of a query with a watermark or with state.

use super::Stream;
use super::clock::now_ms;
use crate::checkpoint::{BatchCommitted, Plan};
use crate::model::{Error, Notes, Result};
use crate::runtime::attempt::Written;
use crate::runtime::lane_rows::LaneRows;
use crate::runtime::stateful::Stateful;
use crate::sink::{AttemptWriter, BatchCommit, CommitOutcome};
use crate::source::{SourceRange, Split};
use crate::state::{Committed, SealedBatch, StoreBatch};

impl Stream<'_> {
    /// The range of a batch without data, if one is due: it begins and ends where the last one ended.
    pub(super) fn empty_range(&mut self) -> Option<SourceRange> {
        let stateful = self.open.stateful.as_mut()?;
        if !stateful.wants_empty_batch() && !stateful.advance_idle(now_ms()) {
            return None;
        }
        let position = self.position.source().ok()?;
        let notes: Notes = position.notes.clone();
        Some(SourceRange { start: position.offset.clone(), end: position.offset.clone(), notes })
    }

    /// Where lanes write, if the query keeps state.
    pub(super) fn lane_rows(&self, shares: &[Vec<Split>]) -> Option<LaneRows> {
        let stateful = self.open.stateful.as_ref().filter(|stateful| stateful.keeps_state())?;
        Some(stateful.lane_rows(shares, &self.open.memory.writers))
    }

    /// Runs the query over what the lanes handed over, and writes its result to the sink's writer.
    pub(super) fn run_state(
        &mut self,
        written: Written,
        lanes: &LaneRows,
        sink: &dyn AttemptWriter,
    ) -> Result<Written> {
        let admission = self.open.row_pipeline.result_admission()?;
        let batch_id = written.planned().plan().batch_id;
        let Some(stateful) = &mut self.open.stateful else { return Ok(written) };
        let run = stateful.run(batch_id, lanes, admission)?;
        written.with_result(run, sink)
    }

    /// Makes the batch's state durable.
    pub(super) fn seal(&self, state: StoreBatch, attempt: &str) -> Result<SealedBatch> {
        match &self.open.stateful {
            Some(stateful) => stateful.seal(state, attempt),
            None => Err(Error::internal("a batch has state, and its query none")),
        }
    }

    /// The watermark of the batch after one that has run.
    pub(super) fn next_watermark_ms(&self, plan: &Plan) -> i64 {
        self.open.stateful.as_ref().map_or(plan.watermark_ms, Stateful::next_watermark_ms)
    }

    /// After the sink's commit: the state of the run that counts is the stream's.
    ///
    /// # Errors
    /// As for [`Stateful::commit`]; `Conflict` if another run counts, and the sink does not say which: the stream is then
    /// started again.
    pub(super) fn commit_state(
        &mut self,
        sealed: Option<SealedBatch>,
        outcome: &CommitOutcome,
        ours: &BatchCommit,
    ) -> Result<()> {
        let theirs = their_attempt(outcome);
        let Some(stateful) = &mut self.open.stateful else { return Ok(()) };
        let is_ours = matches!(outcome, CommitOutcome::Committed { .. });
        if stateful.keeps_state() && !is_ours && theirs.is_none() {
            return Err(Error::conflict(format!(
                "micro-batch {} was committed by another run, and its commit does not name it",
                ours.batch_id
            )));
        }
        let theirs = theirs.map(|attempt| Committed { batch_id: ours.batch_id, attempt });
        stateful.commit(sealed, theirs)
    }

    /// What the commit log says of the batch.
    pub(super) fn committed(&self, ours: &BatchCommit, outcome: &CommitOutcome) -> BatchCommitted {
        let keeps_state = self.open.stateful.as_ref().is_some_and(Stateful::keeps_state);
        let attempt = their_attempt(outcome).unwrap_or_else(|| ours.attempt.clone());
        BatchCommitted { next_watermark_ms: ours.next_watermark_ms, attempt: keeps_state.then_some(attempt) }
    }

    /// The same of a batch that a start finds in the sink.
    pub(super) fn mended_commit(&mut self, plan: &Plan) -> Result<BatchCommitted> {
        let Some(stateful) = &self.open.stateful else {
            return Ok(BatchCommitted { next_watermark_ms: plan.watermark_ms, attempt: None });
        };
        let (next_watermark_ms, keeps_state) = (stateful.reached_ms(), stateful.keeps_state());
        let attempt = match keeps_state {
            false => None,
            true => {
                let state = self.open.sink.state(&self.open.query_id, self.position.sink_version)?;
                state.commit.and_then(|commit| commit.attempt().map(str::to_owned))
            }
        };
        Ok(BatchCommitted { next_watermark_ms, attempt })
    }
}

/// The run of another process, if its commit counts.
fn their_attempt(outcome: &CommitOutcome) -> Option<String> {
    match outcome {
        CommitOutcome::Committed { .. } => None,
        CommitOutcome::AlreadyCommitted { commit } => {
            commit.as_ref().and_then(|commit| commit.attempt().map(str::to_owned))
        }
    }
}
