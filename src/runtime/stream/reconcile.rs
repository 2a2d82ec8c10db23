//! What became of a micro-batch's commits: ours, or those of another run of the batch, which then count.
//!
//! Dead letters are committed before the rows. Where the definition changed since the plan the rows' commit decides
//! which run of the batch counts, and the dead letters are brought in line after it.

use super::{Stream, attempt};
use crate::checkpoint::Planned;
use crate::failpoint;
use crate::model::{Error, Loss, Result};
use crate::runtime::attempt::Written;
use crate::runtime::dead_letter_tables;
use crate::sink::{self, BatchCommit, BatchRun, CommitOutcome, DeadLetters, Sink, SinkCommit};

impl Stream<'_> {
    /// Before the sink's commit, so that no record is ever in neither table.
    pub(super) fn commit_dead_letters(&mut self, written: &mut Written, commit: &BatchCommit) -> Result<()> {
        let Some(table) = &mut self.open.dead_letters else { return Ok(()) };
        let parts = written.take_dead_letters();
        if parts.is_empty() {
            return Ok(());
        }
        failpoint!("letters.before");
        let outcome = table.commit(commit, parts)?;
        failpoint!("letters.after");
        self.resolve_dead_letters(&outcome, written, commit)
    }

    /// After the sink's commit, where the batch was planned with another definition: a run with that
    /// one may have committed dead letters already, or may yet. So ours take their place, and even if
    /// there are none our transaction keeps theirs out.
    pub(super) fn supersede_dead_letters(
        &mut self,
        written: &mut Written,
        commit: &BatchCommit,
    ) -> Result<()> {
        let Some(table) = &mut self.open.dead_letters else { return Ok(()) };
        failpoint!("letters.before");
        let outcome = table.supersede(commit, sink::files(written.take_dead_letters())?)?;
        failpoint!("letters.after");
        if let CommitOutcome::Committed { .. } = outcome {
            table.withdraw_lost(commit)?;
        }
        self.resolve_dead_letters(&outcome, written, commit)
    }

    /// Dead letters of another run of the same plan count for ours. What that run did not know to be gone
    /// is added to them; another plan stops the stream.
    fn resolve_dead_letters(
        &mut self,
        outcome: &CommitOutcome,
        written: &Written,
        commit: &BatchCommit,
    ) -> Result<()> {
        let (CommitOutcome::AlreadyCommitted { commit: Some(theirs) }, Some(table)) =
            (outcome, &mut self.open.dead_letters)
        else {
            return Ok(());
        };
        if theirs.batch_id != commit.batch_id || !same_offsets(theirs, commit) {
            return self.dead_letters_of_other_plan(theirs.batch_id);
        }
        let known = theirs.lost();
        let news: Vec<Loss> = written.lost().iter().flat_map(|loss| loss.minus(&known)).collect();
        if news.is_empty() {
            return Ok(());
        }
        let ranges = news.iter().map(|loss| loss.range.clone()).collect();
        let lost = BatchCommit { lost: ranges, ..commit.clone() }.of_lost_ranges();
        let run = BatchRun { query_id: &lost.query_id, batch_id: lost.batch_id, attempt: &lost.attempt };
        let files = table.begin(&run, &self.open.memory.writers)?;
        let of = DeadLetters {
            query_id: commit.query_id.clone(),
            batch_id: lost.batch_id,
            attempt: lost.attempt.clone(),
            rejected_at_micros: written.planned().plan().timestamp_ms.saturating_mul(1000),
        };
        let files = sink::files(attempt::write_lost(files.as_ref(), &of, &news)?)?;
        failpoint!("letters.before");
        let outcome = table.add_lost(&lost, files)?;
        failpoint!("letters.after");
        match outcome {
            CommitOutcome::AlreadyCommitted { commit: Some(other) } if other.batch_id != lost.batch_id => {
                self.dead_letters_of_other_plan(other.batch_id)
            }
            _ => Ok(()),
        }
    }

    /// An owner that was replaced leaves as one; else the checkpoint was copied.
    fn dead_letters_of_other_plan(&mut self, batch_id: i64) -> Result<()> {
        self.confirm_lease()?;
        let table = self.open.dead_letters.as_ref();
        let url = table.map(|table| table.store().url().to_string()).unwrap_or_default();
        Err(self.other_plan(&format!("dead-letter table {url}"), batch_id))
    }

    fn other_plan(&self, table: &str, batch_id: i64) -> Error {
        Error::corrupt(format!(
            "{table} holds micro-batch {batch_id} of stream {} with other offsets than were planned here",
            self.config.name
        ))
        .hint("the checkpoint was copied and run elsewhere: run only one copy")
    }

    /// After the sink's commit: dead letters of other runs of the batch, in tables that `deadLetter` named before.
    pub(super) fn withdraw_dead_letters(&mut self, planned: &Planned) -> Result<()> {
        let open = &mut self.open;
        let state = open.sink.state(&open.query_id, self.position.sink_version)?;
        let Some(commit) = state.commit.filter(|commit| commit.batch_id == planned.plan().batch_id) else {
            return Ok(());
        };
        let checkpoint = open.log.store();
        let counts = commit.definition();
        dead_letter_tables::withdraw(self.config, checkpoint, &open.query_id, planned, counts, &open.access)?;
        failpoint!("letters.withdrawn");
        Ok(())
    }

    /// The version that holds the batch: by our commit, or by that of an owner who ran the same plan; anything
    /// else stops the stream.
    pub(super) fn resolve_commit(
        &mut self,
        outcome: &CommitOutcome,
        ours: &BatchCommit,
    ) -> Result<Option<u64>> {
        let theirs = match outcome {
            CommitOutcome::Committed { version } => return Ok(*version),
            CommitOutcome::AlreadyCommitted { commit: None } => {
                return self.confirm_lease().map(|()| None);
            }
            CommitOutcome::AlreadyCommitted { commit: Some(theirs) } => theirs,
        };
        if theirs.batch_id == ours.batch_id && same_offsets(theirs, ours) {
            if theirs.dead_letters_pending() && !same_definition(outcome, ours) {
                // Dead letters of that run are still to come, and only its definition can make them.
                self.confirm_lease()?;
                return Err(Error::conflict(format!(
                    "micro-batch {} of stream {} was committed by a run with another definition",
                    ours.batch_id, self.config.name
                )));
            }
            tracing::warn!(
                stream = self.config.name,
                batch = ours.batch_id,
                "another process had committed the batch; its rows count, ours are dropped"
            );
            return Ok(Some(theirs.version));
        }
        self.confirm_lease()?;
        let table = format!("table {}", self.open.sink.target().location);
        Err(self.other_plan(&table, theirs.batch_id))
    }
}

/// Whether the run of the batch that counts ran with our definition.
pub(super) fn same_definition(outcome: &CommitOutcome, ours: &BatchCommit) -> bool {
    match outcome {
        CommitOutcome::Committed { .. } => true,
        CommitOutcome::AlreadyCommitted { commit } => {
            commit.as_ref().is_none_or(|theirs| theirs.definition() == ours.definition_hash)
        }
    }
}

fn same_offsets(theirs: &SinkCommit, ours: &BatchCommit) -> bool {
    // A commit of Spark says none; its transaction is taken at its word, as Spark takes it.
    theirs.end().is_none_or(|end| *end == ours.end)
}
