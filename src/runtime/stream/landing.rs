//! What became of a micro-batch's commits: ours, or those of another run of the batch, which then stand.
//!
//! Dead letters are committed before the rows. Where the definition changed since the plan the rows' commit decides
//! which run of the batch stands, and the letters are brought in line after it.

use super::{Stream, attempt, letters};
use crate::checkpoint::Planned;
use crate::failpoint;
use crate::model::{Error, Loss, Result};
use crate::runtime::attempt::Written;
use crate::sink::{BatchCommit, CommitOutcome, DeadLetters, delta};
use crate::table::OwnCommit;

impl Stream<'_> {
    /// Before the sink's commit, so that no record is ever in neither table.
    pub(super) fn commit_dead_letters(&mut self, written: &mut Written, commit: &BatchCommit) -> Result<()> {
        let Some(sink) = &mut self.opened.dead_letters else { return Ok(()) };
        let files = written.take_letters();
        if files.is_empty() {
            return Ok(());
        }
        failpoint!("letters.before");
        let landed = sink.commit(commit, files)?;
        failpoint!("letters.after");
        self.judge_letters(&landed, written, commit)
    }

    /// After the sink's commit, where the batch was planned with another definition: a run with that
    /// one may have committed dead letters already, or may yet. So ours take their place, and even if
    /// there are none our transaction keeps theirs out.
    pub(super) fn supersede_dead_letters(
        &mut self,
        written: &mut Written,
        commit: &BatchCommit,
    ) -> Result<()> {
        let Some(sink) = &mut self.opened.dead_letters else { return Ok(()) };
        failpoint!("letters.before");
        let landed = sink.supersede(commit, written.take_letters())?;
        failpoint!("letters.after");
        if let CommitOutcome::Ours { .. } = landed {
            sink.withdraw_lost(commit)?;
        }
        self.judge_letters(&landed, written, commit)
    }

    /// Dead letters of another run of the same plan stand for ours. What that run did not know to be gone
    /// is added to them; another plan stops the stream.
    fn judge_letters(
        &mut self,
        landed: &CommitOutcome,
        written: &Written,
        commit: &BatchCommit,
    ) -> Result<()> {
        let (CommitOutcome::Theirs { commit: Some(theirs) }, Some(sink)) =
            (landed, &mut self.opened.dead_letters)
        else {
            return Ok(());
        };
        if theirs.batch_id != commit.batch_id || !same_offsets(theirs, commit)? {
            return self.letters_of_other_plan(theirs.batch_id);
        }
        let known = delta::lost_of(theirs);
        let news: Vec<Loss> = written.lost().iter().flat_map(|loss| loss.minus(&known)).collect();
        if news.is_empty() {
            return Ok(());
        }
        let ranges = news.iter().map(|loss| loss.range.clone()).collect();
        let lost = BatchCommit { lost: ranges, ..commit.clone() }.of_lost_ranges();
        let settings = sink.writers(&lost.attempt, &self.ctx.handle, &self.opened.budget)?;
        let of = DeadLetters {
            query_id: commit.query_id.clone(),
            batch_id: lost.batch_id,
            attempt: lost.attempt.clone(),
            rejected_at_micros: written.planned().plan().timestamp_ms.saturating_mul(1000),
        };
        let files = attempt::write_lost(&settings, &of, &news)?;
        failpoint!("letters.before");
        let landed = sink.add_lost(&lost, files)?;
        failpoint!("letters.after");
        match landed {
            CommitOutcome::Theirs { commit: Some(other) } if other.batch_id != lost.batch_id => {
                self.letters_of_other_plan(other.batch_id)
            }
            _ => Ok(()),
        }
    }

    /// An owner that was replaced leaves as one; else the checkpoint was copied.
    fn letters_of_other_plan(&mut self, batch_id: i64) -> Result<()> {
        self.opened.lease.check(&self.config.name)?;
        let sink = self.opened.dead_letters.as_mut();
        let url = sink.map(|sink| sink.table().store().url().to_string()).unwrap_or_default();
        Err(self.other_plan(&format!("dead-letter table {url}"), batch_id))
    }

    fn other_plan(&self, table: &str, batch_id: i64) -> Error {
        Error::corrupt(format!(
            "{table} holds micro-batch {batch_id} of stream {} with other offsets than were planned here",
            self.config.name
        ))
        .hint("the checkpoint was copied and run elsewhere: run only one copy")
    }

    /// After the sink's commit: letters of other runs of the batch, in tables that `deadLetter` named before.
    pub(super) fn withdraw_dead_letters(&mut self, planned: &Planned) -> Result<()> {
        let query = self.opened.query_id.clone();
        let (_, commit) = delta::newest(self.opened.sink.table(), &query)?;
        let Some(commit) = commit.filter(|commit| commit.batch_id == planned.plan().batch_id) else {
            return Ok(());
        };
        let stands = delta::definition_of(&commit);
        let checkpoint = self.opened.log.store().clone();
        letters::withdraw(self.config, &checkpoint, &query, planned, &stands, &self.ctx.handle)?;
        failpoint!("letters.withdrawn");
        Ok(())
    }

    /// Ours, or that of an owner who ran the same plan; anything else stops the stream.
    pub(super) fn resolve_commit(
        &mut self,
        landed: &CommitOutcome,
        ours: &BatchCommit,
    ) -> Result<Option<u64>> {
        let theirs = match landed {
            CommitOutcome::Ours { version } => return Ok(Some(*version)),
            CommitOutcome::Theirs { commit: None } => {
                return self.opened.lease.check(&self.config.name).map(|()| None);
            }
            CommitOutcome::Theirs { commit: Some(theirs) } => theirs,
        };
        let same_batch = theirs.batch_id == ours.batch_id;
        if same_batch && same_offsets(theirs, ours)? {
            if delta::dead_letters_pending(theirs) && !same_definition(landed, ours) {
                // Dead letters of that run are still to come, and only its definition can make them.
                self.opened.lease.check(&self.config.name)?;
                return Err(Error::conflict(format!(
                    "micro-batch {} of stream {} was committed by a run with another definition",
                    ours.batch_id, self.config.name
                )));
            }
            tracing::warn!(
                stream = self.config.name,
                batch = ours.batch_id,
                "another process had committed the batch; its rows stand, ours are dropped"
            );
            return Ok(Some(theirs.version));
        }
        self.opened.lease.check(&self.config.name)?;
        let table = format!("table {}", self.opened.sink.table().store().url());
        Err(self.other_plan(&table, theirs.batch_id))
    }
}

/// Whether the batch that landed is a run with our definition.
pub(super) fn same_definition(landed: &CommitOutcome, ours: &BatchCommit) -> bool {
    match landed {
        CommitOutcome::Ours { .. } => true,
        CommitOutcome::Theirs { commit } => {
            commit.as_ref().is_none_or(|theirs| delta::definition_of(theirs) == ours.definition)
        }
    }
}

fn same_offsets(theirs: &OwnCommit, ours: &BatchCommit) -> Result<bool> {
    // A commit of Spark says none; its transaction is taken at its word, as Spark takes it.
    Ok(delta::end_of(theirs)?.is_none_or(|end| end == ours.end))
}
