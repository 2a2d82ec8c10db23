//! What is durable in the model: plans, the commit log, files of state, the commits of two tables, and the lease.
//!
//! [`Stores::check`] is the guarantee: each record in one place.

/// Whether a record is malformed by a definition: by `a` the second one, by `b` the third, by `c` the last.
pub(super) fn malformed(definition: char, record: u8) -> bool {
    matches!((definition, record), ('a', 1) | ('b', 2) | ('c', 3))
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Plan {
    pub(super) end: u8,
    pub(super) definition: char,
}

/// The state after a run of a batch: which records it has counted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct StateFile {
    pub(super) batch: u8,
    pub(super) attempt: Attempt,
    pub(super) counted: u8,
}

/// A run of a batch: whose, and which of its owner's.
pub(super) type Attempt = (u8, u8);

/// A commit of one of the tables.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Commit {
    pub(super) batch: u8,
    pub(super) owner: u8,
    pub(super) attempt: Attempt,
    pub(super) definition: char,
    pub(super) start: u8,
    pub(super) end: u8,
    pub(super) dead_letters_pending: bool,
    /// Of the sink's: the newest batch in the dead-letter table, as far as its owner knew.
    pub(super) newest_dead_letter_batch: Option<u8>,
}

/// All that is durable.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub(super) struct Stores {
    pub(super) plans: Vec<Option<Plan>>,
    /// The commit log: the run of each batch that counts.
    pub(super) logged: Vec<Option<Attempt>>,
    pub(super) states: Vec<StateFile>,
    /// The sink's commits.
    pub(super) table: Vec<Commit>,
    /// The dead letters' commits; one that replaces another takes its place.
    pub(super) letters: Vec<Commit>,
    pub(super) lease: u8,
}

pub(super) const RECORDS: u8 = 4;

impl Stores {
    pub(super) fn plan(&self, batch: u8) -> Option<Plan> {
        self.plans.get(usize::from(batch)).copied().flatten()
    }

    pub(super) fn set_plan(&mut self, batch: u8, plan: Option<Plan>) {
        let index = usize::from(batch);
        self.plans.resize(self.plans.len().max(index + 1), None);
        self.plans[index] = plan;
    }

    pub(super) fn logged(&self, batch: u8) -> Option<Attempt> {
        self.logged.get(usize::from(batch)).copied().flatten()
    }

    pub(super) fn set_logged(&mut self, batch: u8, logged: Option<Attempt>) {
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

    pub(super) fn state(&self, batch: u8, attempt: Attempt) -> Option<StateFile> {
        self.states.iter().copied().find(|state| (state.batch, state.attempt) == (batch, attempt))
    }

    /// Puts a file of state, in an order that does not depend on who was first.
    pub(super) fn put_state(&mut self, file: StateFile) {
        let key = |state: &StateFile| (state.batch, state.attempt);
        let place = self.states.binary_search_by_key(&key(&file), key);
        self.states.insert(place.expect_err("a run writes its state once"), file);
    }

    /// Which records the committed batches up to `batch` have counted.
    pub(super) fn counted(&self, batch: u8) -> u8 {
        let commits = self.table.iter().filter(|commit| commit.batch <= batch);
        commits
            .map(|commit| rows_of(commit.definition, commit.start, commit.end))
            .fold(0, |all, rows| all | rows)
    }

    /// The newest batch in the dead-letter table.
    pub(super) fn newest_dead_letter_batch(&self) -> Option<u8> {
        self.letters.last().map(|commit| commit.batch)
    }

    /// Where the records are, by the commits of both tables: each must be there once. Among owners that
    /// are `blind` a dead letter may be doubled or have a row beside it, but no row, and nothing is lost.
    pub(super) fn check(&self, blind: bool, history: &dyn Fn() -> String) {
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
pub(super) fn rows_of(definition: char, start: u8, end: u8) -> u8 {
    (start..end).filter(|record| !malformed(definition, *record)).fold(0, |rows, record| rows | 1 << record)
}

/// What became of a commit, as in `sink::delta`.
pub(super) enum CommitOutcome {
    Ours,
    Theirs(Commit),
}

/// One commit with a transaction; `replaces` is the run whose commit of the batch it takes the place of.
pub(super) fn land(table: &mut Vec<Commit>, ours: Commit, replaces: Option<u8>) -> CommitOutcome {
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
