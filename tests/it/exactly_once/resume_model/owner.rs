//! An owner of the model: one store operation a step, beginning where the real decision says.

use alluvia::checkpoint::resume::Refusal;
use alluvia::checkpoint::{Decision, Facts, LetterFacts, TableFacts, decide};
use alluvia::model::{Offset, OffsetSeq};

use super::stores::{
    Attempt, Commit, CommitOutcome, Plan, RECORDS, StateFile, Stores, land, malformed, rows_of,
};

/// The next operation of an owner.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Step {
    TakeLease,
    ListPlans,
    ListCommits,
    ReadTable,
    ReadLetters,
    OpenState(Next),
    MendLog,
    CheckLease,
    PutPlan,
    Write,
    Seal,
    Confirm,
    Letters,
    Sink,
    Supersede(Option<u8>),
    TakeState,
    Log,
    Retention,
    Ended(End),
}

/// What an owner does when it has the state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Next {
    MendLog,
    Plan,
    Run,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum End {
    Done,
    Fenced,
    /// Stopped by what another owner did; only without a lease.
    Refused,
    /// Refused, because only the definition before can make the dead letters.
    LettersMissing,
}

/// An owner: its constants, what it has read, and where it is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Owner {
    pub(super) id: u8,
    pub(super) definition: char,
    /// Records per batch.
    pub(super) batch_size: u8,
    /// Whether it can't see that it was replaced, as if the store had no lease.
    pub(super) blind: bool,
    pub(super) lease: u8,
    pub(super) step: Step,
    pub(super) newest_plan: Option<u8>,
    pub(super) newest_commit: Option<u8>,
    pub(super) table: Option<Commit>,
    /// The batch at work: its number, where it starts, and its plan.
    pub(super) batch: u8,
    pub(super) start: u8,
    pub(super) plan: Option<Plan>,
    /// How many runs it has begun.
    pub(super) runs: u8,
    /// The run whose state it has, or is to read; `None` before the first batch.
    pub(super) after: Option<(u8, Attempt)>,
    /// What that state has counted, and what its own run has.
    pub(super) counted: u8,
    pub(super) sealed: u8,
    /// Of the batch that it has committed: the run that counts, if it is of another owner.
    pub(super) theirs: Option<Attempt>,
}

/// Batches whose files retention leaves.
const RETAINED: u8 = 2;

fn offsets(end: u8) -> OffsetSeq {
    OffsetSeq::of(Offset::of(serde_json::json!({"t": {"0": end}})))
}

impl Owner {
    pub(super) fn new(id: u8, definition: char, batch_size: u8) -> Owner {
        Owner {
            id,
            definition,
            batch_size,
            blind: false,
            lease: 0,
            step: Step::TakeLease,
            newest_plan: None,
            newest_commit: None,
            table: None,
            batch: 0,
            start: 0,
            plan: None,
            runs: 0,
            after: None,
            counted: 0,
            sealed: 0,
            theirs: None,
        }
    }

    /// The run that is being made.
    pub(super) fn attempt(&self) -> Attempt {
        (self.id, self.runs)
    }

    /// Reads the state after the run in `after`; `None` if there is no such file.
    pub(super) fn open_state(&mut self, stores: &Stores) -> Option<()> {
        self.counted = match self.after {
            None => 0,
            Some((batch, attempt)) => stores.state(batch, attempt)?.counted,
        };
        Some(())
    }

    /// Whether it sees that it was replaced.
    pub(super) fn replaced(&self, stores: &Stores) -> bool {
        !self.blind && stores.lease != self.lease
    }

    pub(super) fn ended(&self) -> bool {
        matches!(self.step, Step::Ended(_))
    }

    /// The error of an owner that was replaced, or `otherwise`, which an owner that sees must never meet.
    pub(super) fn fenced_or(&self, stores: &Stores, otherwise: &str) -> Step {
        let allowed = self.blind || self.replaced(stores);
        assert!(allowed, "the owner was stopped: {otherwise}\n{self:?}\n{stores:?}");
        Step::Ended(if self.blind { End::Refused } else { End::Fenced })
    }

    pub(super) fn commit(&self) -> Commit {
        let plan = self.plan.expect("a batch is planned before it is run");
        Commit {
            batch: self.batch,
            owner: self.id,
            attempt: self.attempt(),
            definition: self.definition,
            start: self.start,
            end: plan.end,
            dead_letters_pending: plan.definition != self.definition,
            newest_dead_letter_batch: None,
        }
    }

    /// Reads the plan of `batch` and where it starts, as `CheckpointLog::planned` does.
    pub(super) fn planned(&mut self, stores: &Stores, batch: u8) -> bool {
        let before = if batch == 0 { Some(0) } else { stores.plan(batch - 1).map(|plan| plan.end) };
        let (Some(plan), Some(start)) = (stores.plan(batch), before) else { return false };
        (self.batch, self.start, self.plan) = (batch, start, Some(plan));
        true
    }

    pub(super) fn advance_to(&mut self) {
        self.start = self.plan.expect("the batch was planned").end;
        self.batch += 1;
        self.plan = None;
    }

    /// Takes the next step.
    pub(super) fn step(&mut self, stores: &mut Stores) {
        self.step = match self.step {
            Step::TakeLease => {
                stores.lease += 1;
                self.lease = stores.lease;
                Step::ListPlans
            }
            Step::ListPlans => {
                let newest = stores.plans.iter().rposition(Option::is_some);
                self.newest_plan = newest.map(|batch| batch as u8);
                Step::ListCommits
            }
            Step::ListCommits => {
                let newest = stores.logged.iter().rposition(Option::is_some);
                self.newest_commit = newest.map(|batch| batch as u8);
                Step::ReadTable
            }
            Step::ReadTable => {
                self.table = stores.table.last().copied();
                Step::ReadLetters
            }
            Step::ReadLetters => self.decide(stores),
            Step::OpenState(next) => match (self.open_state(stores), next) {
                (None, _) => self.fenced_or(stores, "the state of a committed run is gone"),
                (Some(()), Next::MendLog) => Step::MendLog,
                (Some(()), Next::Run) => Step::Write,
                (Some(()), Next::Plan) => Step::CheckLease,
            },
            Step::MendLog => {
                stores.set_logged(self.batch, self.after.map(|(_, attempt)| attempt));
                self.advance_to();
                Step::CheckLease
            }
            Step::CheckLease if self.start == RECORDS => Step::Ended(End::Done),
            // That this may be old too does no harm: it only saves work.
            Step::CheckLease => Step::PutPlan,
            Step::PutPlan => {
                if stores.plan(self.batch).is_none() {
                    let end = (self.start + self.batch_size).min(RECORDS);
                    let plan = Plan { end, definition: self.definition };
                    stores.set_plan(self.batch, Some(plan));
                    self.plan = Some(plan);
                }
                Step::Write
            }
            // What it knows of its lease may be old: it writes files, which no commit names yet.
            Step::Write => match self.plan.is_some() || self.planned(stores, self.batch) {
                true => Step::Seal,
                false => self.fenced_or(stores, "the plan that was there is gone"),
            },
            Step::Seal => {
                self.runs += 1;
                let plan = self.plan.expect("a batch is planned before it is run");
                self.sealed = self.counted | rows_of(self.definition, self.start, plan.end);
                let (batch, attempt, counted) = (self.batch, self.attempt(), self.sealed);
                stores.put_state(StateFile { batch, attempt, counted });
                Step::Confirm
            }
            Step::Confirm if self.replaced(stores) => Step::Ended(End::Fenced),
            Step::Confirm if self.commit().dead_letters_pending => Step::Sink,
            Step::Confirm => Step::Letters,
            Step::Letters => {
                let ours = self.commit();
                if (ours.start..ours.end).any(|record| malformed(self.definition, record)) {
                    land(&mut stores.letters, ours, None);
                }
                Step::Sink
            }
            Step::Sink => self.sink(stores),
            Step::Supersede(replaces) => match land(&mut stores.letters, self.commit(), replaces) {
                CommitOutcome::Theirs(other)
                    if other.batch == self.batch && other.definition != self.definition =>
                {
                    Step::Supersede(Some(other.owner))
                }
                _ => Step::TakeState,
            },
            Step::TakeState => {
                self.after = Some((self.batch, self.theirs.unwrap_or(self.attempt())));
                let is_there = match self.theirs {
                    None => {
                        self.counted = self.sealed;
                        true
                    }
                    Some(_) => self.open_state(stores).is_some(),
                };
                match is_there {
                    true => Step::Log,
                    false => self.fenced_or(stores, "the state of the run that counts is gone"),
                }
            }
            Step::Log => {
                stores.set_logged(self.batch, self.after.map(|(_, attempt)| attempt));
                Step::Retention
            }
            Step::Retention => {
                if let Some(expired) = self.batch.checked_sub(RETAINED) {
                    stores.set_logged(expired, None);
                    stores.set_plan(expired, None);
                    stores.states.retain(|state| state.batch > expired);
                }
                self.advance_to();
                Step::CheckLease
            }
            Step::Ended(end) => Step::Ended(end),
        };
    }

    pub(super) fn decide(&mut self, stores: &Stores) -> Step {
        if let Some(newest) = self.newest_plan
            && !self.planned(stores, newest)
        {
            return self.fenced_or(stores, "a plan is missing");
        }
        let facts = Facts {
            newest_plan: self
                .newest_plan
                .zip(self.plan)
                .map(|(batch, plan)| (i64::from(batch), offsets(plan.end))),
            newest_commit: self.newest_commit.map(i64::from),
            table: TableFacts {
                transaction: self.table.map(|commit| i64::from(commit.batch)),
                end: self.table.map(|commit| offsets(commit.end)),
                dead_letters_pending: self
                    .table
                    .filter(|c| c.dead_letters_pending)
                    .map(|c| c.definition.to_string()),
                forgets_transactions: false,
            },
            dead_letters: stores.letters.last().map(|c| LetterFacts {
                transaction: i64::from(c.batch),
                definition: c.definition.to_string(),
                end: Some(offsets(c.end)),
            }),
            definition: self.definition.to_string(),
            letters_lost: self
                .table
                .and_then(|commit| commit.newest_dead_letter_batch)
                .filter(|batch| Some(*batch) > stores.newest_dead_letter_batch())
                .map(i64::from),
            lost_query: None,
        };
        // The run whose state holds: what the commit log says, or the table where the log says nothing yet.
        let logged = |batch: u8| stores.logged(batch).map(|attempt| (batch, attempt));
        match decide(&facts) {
            Ok(Decision::StartFresh) => {
                self.after = None;
                Step::OpenState(Next::Plan)
            }
            Ok(Decision::PlanAfter(_)) => {
                self.after = logged(self.batch);
                let known = self.after.is_some();
                self.advance_to();
                match known {
                    true => Step::OpenState(Next::Plan),
                    false => self.fenced_or(stores, "an entry of the commit log is gone"),
                }
            }
            Ok(Decision::MendCommitLog(_)) => {
                self.after = self.table.map(|commit| (self.batch, commit.attempt));
                Step::OpenState(Next::MendLog)
            }
            Ok(Decision::Rerun(_)) => {
                self.after = self.batch.checked_sub(1).and_then(logged);
                match self.after.is_some() || self.batch == 0 {
                    true => Step::OpenState(Next::Run),
                    false => self.fenced_or(stores, "an entry of the commit log is gone"),
                }
            }
            Err(Refusal::LettersMissing { .. }) => Step::Ended(End::LettersMissing),
            Err(refusal) => self.fenced_or(stores, &format!("{refusal:?}")),
        }
    }

    pub(super) fn sink(&mut self, stores: &mut Stores) -> Step {
        let ours = Commit { newest_dead_letter_batch: stores.newest_dead_letter_batch(), ..self.commit() };
        let same_definition = match land(&mut stores.table, ours, None) {
            CommitOutcome::Ours => {
                self.theirs = None;
                assert_eq!(
                    self.sealed,
                    stores.counted(self.batch),
                    "batch {} was computed on the state of other runs than the table's\n{self:?}\n{stores:?}",
                    self.batch
                );
                true
            }
            CommitOutcome::Theirs(theirs) if theirs.batch != ours.batch || theirs.end != ours.end => {
                return self.fenced_or(stores, "other offsets");
            }
            CommitOutcome::Theirs(theirs)
                if theirs.dead_letters_pending && theirs.definition != self.definition =>
            {
                // A conflict: the stream is started again, with the lease that it holds.
                let replaced = self.replaced(stores);
                self.plan = None;
                return if replaced { Step::Ended(End::Fenced) } else { Step::ListPlans };
            }
            CommitOutcome::Theirs(theirs) => {
                self.theirs = Some(theirs.attempt);
                theirs.definition == self.definition
            }
        };
        if ours.dead_letters_pending && same_definition { Step::Supersede(None) } else { Step::TakeState }
    }
}
