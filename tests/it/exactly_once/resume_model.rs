//! Every interleaving of owners, every crash point, over a small model of the stores.
//!
//! The model has what the guarantee rests on and nothing else: plans and commit-log entries made by
//! put-if-absent and cleared away by retention, two tables that take a batch once per transaction, a
//! lease that only says who was last to take it. Owners are sequences of single store operations, told
//! by the real `checkpoint::resume::decide` where to begin. From every state that they can reach
//! together all of them die, and one more owner runs to the end: each record must then be in exactly one
//! place. An owner that was not replaced must never be stopped.
//!
//! The query keeps state: each run of a batch writes a file of it, and whoever goes on takes the file of the run that the
//! table holds. The state that a committed run was computed on is that of the runs committed before it, and no other.

use std::collections::{HashMap, HashSet};

use alluvia::checkpoint::resume::Refusal;
use alluvia::checkpoint::{Decision, Facts, LetterFacts, TableFacts, decide};
use alluvia::model::{Offset, OffsetSeq};

/// Whether a record is malformed by a definition: by `a` the second one, by `b` the third, by `c` the last.
fn malformed(definition: char, record: u8) -> bool {
    matches!((definition, record), ('a', 1) | ('b', 2) | ('c', 3))
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Plan {
    end: u8,
    definition: char,
}

/// The state after a run of a batch: which records it has counted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct StateFile {
    batch: u8,
    attempt: Attempt,
    counted: u8,
}

/// A run of a batch: whose, and which of its owner's.
type Attempt = (u8, u8);

/// A commit of one of the tables.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Commit {
    batch: u8,
    owner: u8,
    attempt: Attempt,
    definition: char,
    start: u8,
    end: u8,
    dead_letters_pending: bool,
    /// Of the sink's: the newest batch in the dead-letter table, as far as its owner knew.
    newest_dead_letter_batch: Option<u8>,
}

/// All that is durable.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
struct Stores {
    plans: Vec<Option<Plan>>,
    /// The commit log: the run of each batch that counts.
    logged: Vec<Option<Attempt>>,
    states: Vec<StateFile>,
    /// The sink's commits.
    table: Vec<Commit>,
    /// The dead letters' commits; one that replaces another takes its place.
    letters: Vec<Commit>,
    lease: u8,
}

/// The next operation of an owner.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Step {
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
enum Next {
    MendLog,
    Plan,
    Run,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum End {
    Done,
    Fenced,
    /// Stopped by what another owner did; only without a lease.
    Refused,
    /// Refused, because only the definition before can make the dead letters.
    LettersMissing,
}

/// An owner: its constants, what it has read, and where it is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Owner {
    id: u8,
    definition: char,
    /// Records per batch.
    batch_size: u8,
    /// Whether it can't see that it was replaced, as if the store had no lease.
    blind: bool,
    lease: u8,
    step: Step,
    newest_plan: Option<u8>,
    newest_commit: Option<u8>,
    table: Option<Commit>,
    /// The batch at work: its number, where it starts, and its plan.
    batch: u8,
    start: u8,
    plan: Option<Plan>,
    /// How many runs it has begun.
    runs: u8,
    /// The run whose state it has, or is to read; `None` before the first batch.
    after: Option<(u8, Attempt)>,
    /// What that state has counted, and what its own run has.
    counted: u8,
    sealed: u8,
    /// Of the batch that it has committed: the run that counts, if it is of another owner.
    theirs: Option<Attempt>,
}

const RECORDS: u8 = 4;
/// Batches whose files retention leaves.
const RETAINED: u8 = 2;

fn offsets(end: u8) -> OffsetSeq {
    OffsetSeq::of(Offset::of(serde_json::json!({"t": {"0": end}})))
}

impl Stores {
    fn plan(&self, batch: u8) -> Option<Plan> {
        self.plans.get(usize::from(batch)).copied().flatten()
    }

    fn set_plan(&mut self, batch: u8, plan: Option<Plan>) {
        let index = usize::from(batch);
        self.plans.resize(self.plans.len().max(index + 1), None);
        self.plans[index] = plan;
    }

    fn logged(&self, batch: u8) -> Option<Attempt> {
        self.logged.get(usize::from(batch)).copied().flatten()
    }

    fn set_logged(&mut self, batch: u8, logged: Option<Attempt>) {
        if let (Some(attempt), Some(commit)) = (logged, self.table.iter().find(|c| c.batch == batch)) {
            assert_eq!(
                attempt, commit.attempt,
                "the commit log names another run of batch {batch}: {self:?}"
            );
        }
        let index = usize::from(batch);
        self.logged.resize(self.logged.len().max(index + 1), None);
        self.logged[index] = logged;
    }

    fn state(&self, batch: u8, attempt: Attempt) -> Option<StateFile> {
        self.states.iter().copied().find(|state| (state.batch, state.attempt) == (batch, attempt))
    }

    /// Puts a file of state, in an order that does not depend on who was first.
    fn put_state(&mut self, file: StateFile) {
        let key = |state: &StateFile| (state.batch, state.attempt);
        let place = self.states.binary_search_by_key(&key(&file), key);
        self.states.insert(place.expect_err("a run writes its state once"), file);
    }

    /// Which records the committed batches up to `batch` have counted.
    fn counted(&self, batch: u8) -> u8 {
        let commits = self.table.iter().filter(|commit| commit.batch <= batch);
        commits
            .map(|commit| rows_of(commit.definition, commit.start, commit.end))
            .fold(0, |all, rows| all | rows)
    }

    /// The newest batch in the dead-letter table.
    fn newest_dead_letter_batch(&self) -> Option<u8> {
        self.letters.last().map(|commit| commit.batch)
    }

    /// Where the records are, by the commits of both tables: each must be there once. Among owners that
    /// are `blind` a dead letter may be doubled or have a row beside it, but no row, and nothing is lost.
    fn check(&self, blind: bool, history: &dyn Fn() -> String) {
        for record in 0..RECORDS {
            let within = |commit: &&Commit| (commit.start..commit.end).contains(&record);
            let rows = self.table.iter().filter(within).filter(|c| !malformed(c.definition, record)).count();
            let letters =
                self.letters.iter().filter(within).filter(|c| malformed(c.definition, record)).count();
            let right = if blind { rows <= 1 && rows + letters >= 1 } else { rows + letters == 1 };
            assert!(
                right,
                "record {record} is in {rows} rows and {letters} letters\n{self:?}\n{}",
                history()
            );
        }
    }
}

/// The records from `start` to `end` that are rows, a bit for each.
fn rows_of(definition: char, start: u8, end: u8) -> u8 {
    (start..end).filter(|record| !malformed(definition, *record)).fold(0, |rows, record| rows | 1 << record)
}

/// What became of a commit, as in `sink::delta`.
enum CommitOutcome {
    Ours,
    Theirs(Commit),
}

/// One commit with a transaction; `replaces` is the run whose commit of the batch it takes the place of.
fn land(table: &mut Vec<Commit>, ours: Commit, replaces: Option<u8>) -> CommitOutcome {
    match table.last_mut() {
        Some(newest) if newest.batch >= ours.batch && newest.owner == ours.owner => CommitOutcome::Ours,
        Some(newest) if newest.batch >= ours.batch && replaces == Some(newest.owner) => {
            *newest = ours;
            CommitOutcome::Ours
        }
        Some(newest) if newest.batch >= ours.batch => CommitOutcome::Theirs(*newest),
        _ => {
            table.push(ours);
            CommitOutcome::Ours
        }
    }
}

impl Owner {
    fn new(id: u8, definition: char, batch_size: u8) -> Owner {
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
    fn attempt(&self) -> Attempt {
        (self.id, self.runs)
    }

    /// Reads the state after the run in `after`; `None` if there is no such file.
    fn open_state(&mut self, stores: &Stores) -> Option<()> {
        self.counted = match self.after {
            None => 0,
            Some((batch, attempt)) => stores.state(batch, attempt)?.counted,
        };
        Some(())
    }

    /// Whether it sees that it was replaced.
    fn replaced(&self, stores: &Stores) -> bool {
        !self.blind && stores.lease != self.lease
    }

    fn ended(&self) -> bool {
        matches!(self.step, Step::Ended(_))
    }

    /// The error of an owner that was replaced, or `otherwise`, which an owner that sees must never meet.
    fn fenced_or(&self, stores: &Stores, otherwise: &str) -> Step {
        let allowed = self.blind || self.replaced(stores);
        assert!(allowed, "the owner was stopped: {otherwise}\n{self:?}\n{stores:?}");
        Step::Ended(if self.blind { End::Refused } else { End::Fenced })
    }

    fn commit(&self) -> Commit {
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
    fn planned(&mut self, stores: &Stores, batch: u8) -> bool {
        let before = if batch == 0 { Some(0) } else { stores.plan(batch - 1).map(|plan| plan.end) };
        let (Some(plan), Some(start)) = (stores.plan(batch), before) else { return false };
        (self.batch, self.start, self.plan) = (batch, start, Some(plan));
        true
    }

    fn advance_to(&mut self) {
        self.start = self.plan.expect("the batch was planned").end;
        self.batch += 1;
        self.plan = None;
    }

    /// Takes the next step.
    fn step(&mut self, stores: &mut Stores) {
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

    fn decide(&mut self, stores: &Stores) -> Step {
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

    fn sink(&mut self, stores: &mut Stores) -> Step {
        let ours = Commit { newest_dead_letter_batch: stores.newest_dead_letter_batch(), ..self.commit() };
        let ran_as_we = match land(&mut stores.table, ours, None) {
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
        if ours.dead_letters_pending && ran_as_we { Step::Supersede(None) } else { Step::TakeState }
    }
}

/// Lets one more owner finish what others left; `definitions` in the order in which they are tried. `None`
/// if it is stopped by name, which only happens after owners that are blind.
fn finish(left: &Stores, definitions: [char; 2], blind: bool) -> Option<Stores> {
    let mut stores = left.clone();
    for (number, definition) in definitions.into_iter().chain(['a', 'b', 'c', '-']).enumerate() {
        let mut owner = Owner { blind, ..Owner::new(100 + number as u8, definition, 3) };
        for _ in 0..200 {
            owner.step(&mut stores);
        }
        match owner.step {
            Step::Ended(End::Done) => return Some(stores),
            Step::Ended(End::LettersMissing) => {}
            Step::Ended(End::Refused) => return None,
            other => panic!("the last owner is at {other:?}: {owner:?}\n{stores:?}"),
        }
    }
    panic!("no definition finishes {stores:?}");
}

/// Walks all that owners can do together; returns the number of states.
fn walk(owners: Vec<Owner>) -> usize {
    type State = (Stores, Vec<Owner>);
    let mut came_from: HashMap<State, (State, u8)> = HashMap::new();
    let mut finished: HashSet<Stores> = HashSet::new();
    let mut seen: HashSet<State> = HashSet::new();
    let blind = owners.iter().any(|owner| owner.blind);
    let first: State = (Stores::default(), owners);
    let mut open = vec![first.clone()];
    seen.insert(first);
    let trace = seen.len() == 1 && std::env::var_os("ALLUVIA_TRACE").is_some();
    while let Some(state) = open.pop() {
        let history = || {
            let mut lines = Vec::new();
            let mut at = &state;
            while let Some((before, owner)) = came_from.get(at) {
                let step = before.1.iter().find(|o| o.id == *owner).expect("it took a step").step;
                lines.push(format!("owner {owner}: {step:?}"));
                at = before;
            }
            lines.reverse();
            lines.join("\n")
        };
        if finished.insert(state.0.clone()) {
            for definitions in [['a', 'b'], ['b', 'a'], ['c', 'a']] {
                if let Some(end) = finish(&state.0, definitions, blind) {
                    end.check(blind, &history);
                }
            }
        }
        for index in 0..state.1.len() {
            // Owners start in order: who takes the lease is what makes them differ.
            let waits = index > 0 && state.1[index - 1].step == Step::TakeLease;
            if state.1[index].ended() || waits {
                continue;
            }
            let mut next = state.clone();
            next.1[index].step(&mut next.0);
            if seen.insert(next.clone()) {
                if trace {
                    came_from.insert(next.clone(), (state.clone(), state.1[index].id));
                }
                open.push(next);
            }
        }
    }
    seen.len()
}

#[test]
fn two_owners_in_every_interleaving_and_a_crash_at_every_point_put_each_record_in_one_place() {
    let mut states = 0;
    for definitions in [['a', 'a'], ['c', 'c'], ['a', 'b'], ['b', 'a'], ['-', 'a']] {
        for sizes in [[1, 1], [1, 4], [4, 1], [2, 2], [3, 2]] {
            let owners =
                vec![Owner::new(1, definitions[0], sizes[0]), Owner::new(2, definitions[1], sizes[1])];
            states += walk(owners);
        }
    }
    eprintln!("{states} states of two owners");
    assert!(states > 10_000, "the model has only {states} states");
}

#[test]
fn three_owners_in_every_interleaving_put_each_record_in_one_place() {
    let mut states = 0;
    for definitions in [['a', 'a', 'a'], ['a', 'b', 'a'], ['a', 'b', 'b']] {
        let owners = (0..3).map(|n| Owner::new(n as u8 + 1, definitions[n], 2)).collect();
        states += walk(owners);
    }
    eprintln!("{states} states of three owners");
    assert!(states > 10_000, "the model has only {states} states");
}

#[test]
fn without_a_lease_no_row_is_doubled_and_nothing_is_lost() {
    let mut states = 0;
    for definitions in [['c', 'c'], ['a', 'b']] {
        for sizes in [[1, 4], [2, 2]] {
            let owner = |n: usize| Owner { blind: true, ..Owner::new(n as u8 + 1, definitions[n], sizes[n]) };
            states += walk(vec![owner(0), owner(1)]);
        }
    }
    eprintln!("{states} states of two owners that are blind");
    assert!(states > 10_000, "the model has only {states} states");
}
