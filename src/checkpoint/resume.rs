//! "What now?" at start: facts read from checkpoint and table -> one decision. Pure.
//!
//! Let B be the newest plan, C the newest entry of the commit log, T the stream's transaction in the
//! table, D that in the dead-letter table. All cases (`docs/guarantees.md` repeats them; the test
//! below walks every crash point through them):
//!
//! | plan | table | commit log | decision |
//! |---|---|---|---|
//! | none | T none, C none | | start fresh |
//! | none | T some | | refuse: the table is ahead, the checkpoint was lost |
//! | none, no query id | a commit, or a transaction only, from this stream and checkpoint | none | refuse: the checkpoint was lost |
//! | B | T = B, same end offsets | C = B | plan B+1 |
//! | B | T = B, same end offsets | C < B | write `commits/B`, then plan B+1 |
//! | B | T = B, dead letters to follow, D other | C < B | run B again for its dead letters; refuse if the stream was changed |
//! | B | T = B or D = B, other end offsets | | refuse: that table holds another batch B |
//! | B | T = B−1, or none and B = 0 | C < B | run B again |
//! | B | T = B−1 or older or none | C = B | refuse: the table lost batch B |
//! | B | T < B−1 | C < B | refuse: the table lost batch B−1 |
//! | B | T's commit names dead letters of a batch > D | | refuse: the dead-letter table lost that batch |
//! | B | T > B or D > B | | refuse: that table is ahead of the checkpoint |
//! | | | C > B | refuse: the offset log lost entries |
//!
//! A table may forget transactions (`delta.setTransactionRetentionDuration`); T is then the batch of the
//! newest commit of the query in its log, and where that is gone too, the commit log decides alone.

use super::RESTORE;
use crate::model::{Error, OffsetSeq};

/// What is known at start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// B and where it ends.
    pub newest_plan: Option<(i64, OffsetSeq)>,
    /// C.
    pub newest_commit: Option<i64>,
    /// The sink.
    pub table: TableFacts,
    /// The dead letters; `None` if their table holds none of the query.
    pub dead_letters: Option<LetterFacts>,
    /// The newest batch with dead letters that the table says is in the dead-letter table, and is not.
    pub letters_lost: Option<i64>,
    /// The definition that the stream runs with now.
    pub definition: String,
    /// The query of this stream, on this very checkpoint, that a table holds although the checkpoint
    /// has no query id any more.
    pub lost_query: Option<LostQuery>,
}

/// A query whose checkpoint was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LostQuery {
    /// One of whose commits is still in the table's log.
    Known {
        /// Its id.
        query_id: String,
        /// Its newest micro-batch in the table.
        batch_id: i64,
    },
    /// One of which the table holds the transaction only: its commits were cleaned out of the log.
    Forgotten,
}

/// What the table says of the stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableFacts {
    /// T.
    pub transaction: Option<i64>,
    /// Where batch T ended, if its commit was made by Alluvia and is still in the log.
    pub end: Option<OffsetSeq>,
    /// The definition that batch T ran with, if its commit says that its dead letters come after it.
    pub dead_letters_pending: Option<String>,
    /// Whether the table may have forgotten transactions.
    pub forgets_transactions: bool,
}

/// What the dead-letter table says of the stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LetterFacts {
    /// D.
    pub transaction: i64,
    /// The definition that batch D ran with.
    pub definition: String,
    /// Where batch D ended, if its commit is still in the log.
    pub end: Option<OffsetSeq>,
}

/// One of the two tables of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// The sink's.
    Rows,
    /// That of the dead letters.
    DeadLetters,
}

/// What to do first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// No batch was ever planned.
    StartFresh,
    /// All is done up to this batch; plan the next.
    PlanAfter(i64),
    /// The batch is in the table, the commit log does not say so yet.
    MendCommitLog(i64),
    /// The batch was planned, and it or its dead letters are not in their tables: run it again over the
    /// same ranges.
    Rerun(i64),
}

/// Why a stream does not start: the facts contradict each other, so nothing may be touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A table holds a batch that the checkpoint does not know.
    TableAhead {
        /// Which.
        of: Of,
        /// T or D.
        table: i64,
        /// B.
        plan: Option<i64>,
    },
    /// The stream has run on this checkpoint before, and the checkpoint is empty now.
    CheckpointLost(LostQuery),
    /// A table holds batch B, but with another range of offsets.
    OtherOffsets {
        /// Which.
        of: Of,
        /// B.
        batch_id: i64,
    },
    /// The checkpoint says that a batch is committed, the table does not hold it.
    TableBehind {
        /// T.
        table: Option<i64>,
        /// The batch that must be there.
        batch_id: i64,
    },
    /// The dead-letter table does not hold a batch of which the table says that it does.
    LettersBehind {
        /// That batch.
        batch_id: i64,
    },
    /// The batch is in the table, its dead letters are still to come, and the stream's definition was
    /// changed meanwhile.
    LettersMissing {
        /// The batch.
        batch_id: i64,
    },
    /// The commit log knows a batch that the offset log does not.
    PlansLost {
        /// C.
        commit: i64,
        /// B.
        plan: Option<i64>,
    },
}

/// Decides; see the module's page for the table of cases.
///
/// # Errors
/// The contradiction, if the facts hold one.
pub fn decide(facts: &Facts) -> Result<Decision, Refusal> {
    check_logs(facts.newest_plan.as_ref().map(|(plan, _)| *plan), facts.newest_commit)?;
    let Some((plan, end)) = &facts.newest_plan else { return without_plan(facts) };
    let plan = *plan;
    if let Some((table, of)) = facts.newest_in_tables().filter(|(table, _)| *table > plan) {
        return Err(Refusal::TableAhead { of, table, plan: Some(plan) });
    }
    let other = |there: &Option<OffsetSeq>| there.as_ref().is_some_and(|there| there != end);
    if facts.dead_letters.as_ref().is_some_and(|dead| dead.transaction == plan && other(&dead.end)) {
        return Err(Refusal::OtherOffsets { of: Of::DeadLetters, batch_id: plan });
    }
    if let Some(batch_id) = facts.letters_lost {
        return Err(Refusal::LettersBehind { batch_id });
    }
    let committed = facts.newest_commit == Some(plan);
    match facts.table.transaction {
        Some(table) if table == plan => {
            if other(&facts.table.end) {
                Err(Refusal::OtherOffsets { of: Of::Rows, batch_id: plan })
            } else if committed {
                Ok(Decision::PlanAfter(plan))
            } else {
                finish(plan, facts)
            }
        }
        None if committed && facts.table.forgets_transactions => Ok(Decision::PlanAfter(plan)),
        table if committed => Err(Refusal::TableBehind { table, batch_id: plan }),
        Some(table) if table == plan - 1 => Ok(Decision::Rerun(plan)),
        None if plan == 0 || facts.table.forgets_transactions => Ok(Decision::Rerun(plan)),
        table => Err(Refusal::TableBehind { table, batch_id: plan - 1 }),
    }
}

/// What the two logs alone say: no batch is committed behind the newest plan.
///
/// # Errors
/// The contradiction, if there is one.
pub fn check_logs(plan: Option<i64>, commit: Option<i64>) -> Result<(), Refusal> {
    match commit {
        Some(commit) if plan.is_none_or(|plan| plan < commit) => Err(Refusal::PlansLost { commit, plan }),
        _ => Ok(()),
    }
}

impl Facts {
    /// The newest batch that a table holds, and which table.
    fn newest_in_tables(&self) -> Option<(i64, Of)> {
        let rows = self.table.transaction.map(|batch| (batch, Of::Rows));
        let dead = self.dead_letters.as_ref().map(|dead| (dead.transaction, Of::DeadLetters));
        rows.into_iter().chain(dead).reduce(|rows, dead| if dead.0 > rows.0 { dead } else { rows })
    }
}

fn without_plan(facts: &Facts) -> Result<Decision, Refusal> {
    match facts.newest_in_tables() {
        Some((table, of)) => Err(Refusal::TableAhead { of, table, plan: None }),
        None => match &facts.lost_query {
            Some(query) => Err(Refusal::CheckpointLost(query.clone())),
            None => Ok(Decision::StartFresh),
        },
    }
}

/// The batch is in the table; its dead letters may be still to come.
fn finish(batch_id: i64, facts: &Facts) -> Result<Decision, Refusal> {
    let Some(definition) = &facts.table.dead_letters_pending else {
        return Ok(Decision::MendCommitLog(batch_id));
    };
    let there = |dead: &LetterFacts| dead.transaction == batch_id && dead.definition == *definition;
    if facts.dead_letters.as_ref().is_some_and(there) {
        Ok(Decision::MendCommitLog(batch_id))
    } else if *definition == facts.definition {
        Ok(Decision::Rerun(batch_id))
    } else {
        Err(Refusal::LettersMissing { batch_id })
    }
}

impl Refusal {
    /// The refusal as an error that names both sides; `letters` is the dead-letter table, if there is one.
    pub fn into_error(self, checkpoint: &str, table: &str, letters: Option<&str>) -> Error {
        let named = |of: Of| match of {
            Of::Rows => format!("table {table}"),
            Of::DeadLetters => format!("dead-letter table {}", letters.unwrap_or_default()),
        };
        match self {
            Refusal::TableAhead { of, table: there, plan: None } => Error::corrupt(format!(
                "checkpoint {checkpoint} is empty, but {} holds micro-batch {there} of its query",
                named(of)
            ))
            .hint(RESTORE),
            Refusal::CheckpointLost(LostQuery::Forgotten) => Error::corrupt(format!(
                "checkpoint {checkpoint} is empty, but this stream has written table {table}, or its dead letters, from this very checkpoint, and the table's log no longer holds the commits that say up to where"
            ))
            .hint("the checkpoint was lost: restore it from a backup; to read all of it into the table once more on purpose, or from startingOffsets that you know, start the stream on a new checkpointLocation; nothing was changed"),
            Refusal::CheckpointLost(LostQuery::Known { query_id, batch_id }) => Error::corrupt(format!(
                "checkpoint {checkpoint} is empty, but table {table} holds micro-batch {batch_id} of query {query_id}, which this stream ran from this very checkpoint"
            ))
            .hint("the checkpoint was lost: run `alluvia checkpoint rebuild`; to read all of it into the table once more on purpose, start the stream on a new checkpointLocation; nothing was changed"),
            Refusal::TableAhead { of, table: there, plan: Some(plan) } => Error::corrupt(format!(
                "checkpoint {checkpoint} is older than {}: its newest plan is micro-batch {plan}, the table holds {there}",
                named(of)
            ))
            .hint(RESTORE),
            Refusal::OtherOffsets { of, batch_id } => Error::corrupt(format!(
                "{} holds a micro-batch {batch_id} with other offsets than those that checkpoint {checkpoint} planned: the checkpoint was copied and run elsewhere",
                named(of)
            ))
            .hint("run only one copy; to keep both start one on a new checkpointLocation"),
            Refusal::TableBehind { table: there, batch_id } => Error::corrupt(format!(
                "checkpoint {checkpoint} says that micro-batch {batch_id} is committed, but table {table} holds {}",
                there.map_or("none of its query".to_owned(), |there| format!("only {there}"))
            ))
            .hint("the table was restored from a backup, or replaced: move the checkpoint aside and run `alluvia checkpoint rebuild`, which goes on where the table stands; nothing was changed"),
            Refusal::LettersBehind { batch_id } => Error::corrupt(format!(
                "{} does not hold the dead letters of micro-batch {batch_id}, though table {table} says so: it was restored from a backup",
                named(Of::DeadLetters)
            ))
            .hint("restore it as it was; or give up what it lost: set another deadLetter.path; nothing was changed"),
            Refusal::LettersMissing { batch_id } => Error::config(format!(
                "micro-batch {batch_id} is in table {table}, but its dead letters are not, and the stream was changed since"
            ))
            .hint("run it once more with the release of Alluvia, the source.value, the sql, the deadLetter and the memoryLimit (or the memory of its container) that it had then; nothing was changed"),
            Refusal::PlansLost { commit, plan } => Error::corrupt(format!(
                "checkpoint {checkpoint} lost entries of its offset log: micro-batch {commit} is committed, the newest plan is {}",
                plan.map_or("none".to_owned(), |plan| plan.to_string())
            ))
            .hint(RESTORE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Offset;

    fn end(until: i64) -> OffsetSeq {
        OffsetSeq::of(Offset::of(serde_json::json!({"t": {"0": until}})))
    }

    fn facts(plan: Option<i64>, table: Option<i64>, commit: Option<i64>) -> Facts {
        Facts {
            newest_plan: plan.map(|b| (b, end(b))),
            newest_commit: commit,
            table: TableFacts { transaction: table, end: table.map(end), ..TableFacts::default() },
            ..Facts::default()
        }
    }

    fn letters(transaction: i64, definition: String) -> Option<LetterFacts> {
        Some(LetterFacts { transaction, definition, end: Some(end(transaction)) })
    }

    fn lost_query() -> Facts {
        let lost_query = Some(LostQuery::Known { query_id: "q".into(), batch_id: 3 });
        Facts { lost_query, ..facts(None, None, None) }
    }

    #[test]
    fn every_row_of_the_table_of_cases() {
        use Decision::*;
        use Refusal::*;
        let cases = [
            (facts(None, None, None), Ok(StartFresh)),
            (facts(None, Some(4), None), Err(TableAhead { of: Of::Rows, table: 4, plan: None })),
            (lost_query(), Err(CheckpointLost(LostQuery::Known { query_id: "q".into(), batch_id: 3 }))),
            (
                Facts { lost_query: Some(LostQuery::Forgotten), ..facts(None, None, None) },
                Err(CheckpointLost(LostQuery::Forgotten)),
            ),
            (facts(None, None, Some(2)), Err(PlansLost { commit: 2, plan: None })),
            (facts(Some(0), None, None), Ok(Rerun(0))),
            (facts(Some(0), Some(0), None), Ok(MendCommitLog(0))),
            (facts(Some(0), Some(0), Some(0)), Ok(PlanAfter(0))),
            (facts(Some(7), Some(6), Some(6)), Ok(Rerun(7))),
            (facts(Some(7), Some(6), None), Ok(Rerun(7))),
            (facts(Some(7), Some(7), Some(6)), Ok(MendCommitLog(7))),
            (facts(Some(7), Some(7), Some(7)), Ok(PlanAfter(7))),
            (facts(Some(7), Some(8), Some(7)), Err(TableAhead { of: Of::Rows, table: 8, plan: Some(7) })),
            (facts(Some(7), Some(6), Some(7)), Err(TableBehind { table: Some(6), batch_id: 7 })),
            (facts(Some(7), None, Some(7)), Err(TableBehind { table: None, batch_id: 7 })),
            (facts(Some(7), Some(5), Some(6)), Err(TableBehind { table: Some(5), batch_id: 6 })),
            (facts(Some(7), None, Some(6)), Err(TableBehind { table: None, batch_id: 6 })),
            (facts(Some(7), Some(7), Some(9)), Err(PlansLost { commit: 9, plan: Some(7) })),
        ];
        for (facts, expected) in cases {
            assert_eq!(decide(&facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn the_same_batch_with_other_offsets_is_refused() {
        let mut copied = facts(Some(7), Some(7), Some(6));
        copied.table.end = Some(end(99));
        assert_eq!(decide(&copied), Err(Refusal::OtherOffsets { of: Of::Rows, batch_id: 7 }));
    }

    #[test]
    fn a_commit_of_spark_says_no_offsets_and_is_trusted() {
        let mut spark = facts(Some(7), Some(7), Some(6));
        spark.table.end = None;
        assert_eq!(decide(&spark), Ok(Decision::MendCommitLog(7)));
    }

    #[test]
    fn a_table_that_forgets_leaves_the_decision_to_the_commit_log() {
        let mut forgot = facts(Some(7), None, Some(7));
        forgot.table.forgets_transactions = true;
        assert_eq!(decide(&forgot), Ok(Decision::PlanAfter(7)));
        forgot.newest_commit = Some(6);
        assert_eq!(decide(&forgot), Ok(Decision::Rerun(7)));
    }

    #[test]
    fn dead_letters_that_are_to_follow_are_waited_for() {
        let mut changed = facts(Some(7), Some(7), Some(6));
        changed.definition = "new".into();
        changed.table.dead_letters_pending = Some("new".into());
        changed.dead_letters = letters(7, "old".into());
        assert_eq!(decide(&changed), Ok(Decision::Rerun(7)));
        changed.dead_letters = None;
        assert_eq!(decide(&changed), Ok(Decision::Rerun(7)));
        changed.dead_letters = letters(7, "new".into());
        assert_eq!(decide(&changed), Ok(Decision::MendCommitLog(7)));
        changed.definition = "newest".into();
        assert_eq!(decide(&changed), Ok(Decision::MendCommitLog(7)));
        changed.dead_letters = letters(6, "new".into());
        assert_eq!(decide(&changed), Err(Refusal::LettersMissing { batch_id: 7 }));
        changed.newest_commit = Some(7);
        assert_eq!(decide(&changed), Ok(Decision::PlanAfter(7)));
    }

    #[test]
    fn dead_letters_of_a_later_batch_are_refused() {
        let mut copied = facts(Some(7), Some(6), Some(6));
        copied.dead_letters = letters(8, String::new());
        assert_eq!(
            decide(&copied),
            Err(Refusal::TableAhead { of: Of::DeadLetters, table: 8, plan: Some(7) })
        );
        copied.dead_letters = letters(7, "old".into());
        assert_eq!(decide(&copied), Ok(Decision::Rerun(7)));
        let lost = Facts { letters_lost: Some(5), ..copied.clone() };
        assert_eq!(decide(&lost), Err(Refusal::LettersBehind { batch_id: 5 }));
        copied.dead_letters.as_mut().unwrap().end = Some(end(99));
        assert_eq!(decide(&copied), Err(Refusal::OtherOffsets { of: Of::DeadLetters, batch_id: 7 }));
    }
}
