//! Reads what is known of a stream at its start, for `checkpoint::resume` to decide on. Writes nothing.
//!
//! The order of reading matters while a former owner still runs: the lease is taken before, then come
//! the logs, then the tables. What the former owner may still commit was planned before the lease
//! changed hands, so a table is never seen ahead of the logs, and never behind them. The sink's table
//! comes before that of the dead letters, for its commits say how far the other one is.

use tokio::runtime::Handle;

use super::letters;
use crate::checkpoint::log::Entries;
use crate::checkpoint::{
    CheckpointBinding, CheckpointLog, Facts, Identity, LetterFacts, LostQuery, TableFacts,
};
use crate::config::StreamConfig;
use crate::model::{Error, Result};
use crate::sink::delta;
use crate::storage::Store;
use crate::table::{DeltaTable, history};

/// The tables that a stream writes to, as they are before it starts; `None` where there is none yet.
#[derive(Default)]
pub struct Found {
    /// The sink's.
    pub table: Option<DeltaTable>,
    /// That of the dead letters.
    pub letters: Option<DeltaTable>,
}

impl Found {
    /// Looks at both, the sink's first.
    ///
    /// # Errors
    /// As for [`DeltaTable::open`].
    pub fn look(table: &Store, letters: Option<&Store>, handle: &Handle) -> Result<Found> {
        let table = DeltaTable::open(table, handle)?;
        let letters = match letters {
            None => None,
            Some(store) => {
                crate::failpoint!("table.looked");
                DeltaTable::open(store, handle)?
            }
        };
        Ok(Found { table, letters })
    }

    /// The query that `stream` ran from the checkpoint at `location`, if a table holds commits of one.
    fn query_of(&self, stream: &str, location: &str) -> Result<Option<LostQuery>> {
        let mut newest: Option<LostQuery> = None;
        for table in self.table.iter().chain(&self.letters) {
            for (query_id, commit) in history::newest_commits(table)? {
                let of_it = delta::stream_of(&commit) == Some(stream)
                    && delta::checkpoint_of(&commit) == Some(location);
                if of_it && newest.as_ref().is_none_or(|known| known.batch_id < commit.batch_id) {
                    newest = Some(LostQuery { query_id, batch_id: commit.batch_id });
                }
            }
        }
        Ok(newest)
    }
}

/// Who the query is, whom the checkpoint serves, and what its logs hold.
pub struct Known {
    /// The query's id, if it has one already.
    pub identity: Option<Identity>,
    /// The stream and table, if a run of Alluvia has said so.
    pub served: Option<CheckpointBinding>,
    /// The logs' files.
    pub entries: Entries,
}

impl Known {
    /// Reads the checkpoint's identity and lists its logs.
    ///
    /// # Errors
    /// `Corrupt`, naming the file, if one that must be there is missing or damaged.
    pub fn read(log: &CheckpointLog, handle: &Handle) -> Result<Known> {
        let store = log.store();
        let known = Known {
            identity: handle.block_on(Identity::read(store))?,
            served: handle.block_on(CheckpointBinding::read(store))?,
            entries: handle.block_on(log.entries())?,
        };
        let newest = known.entries.plans.last().or(known.entries.commits.last());
        let used = known.served.is_some() || newest.is_some();
        if known.identity.is_none() && used {
            return Err(Identity::missing(store));
        }
        if known.served.is_none() {
            known.entries.refuse_gaps(store)?;
        }
        if known.served.is_none()
            && let Some(batch) = known.entries.plans.last()
            && handle.block_on(log.plan(*batch))?.is_ours()
        {
            return Err(CheckpointBinding::missing(store));
        }
        Ok(known)
    }

    /// Refuses tables that were replaced or are gone; whether the stream's dead letters have gone to theirs
    /// before.
    ///
    /// # Errors
    /// `Corrupt`, naming the table.
    pub fn check_tables(
        &self,
        config: &StreamConfig,
        table: &Store,
        found: &Found,
        checkpoint: &Store,
        handle: &Handle,
    ) -> Result<bool> {
        match (&self.served, &found.table) {
            (None, _) => {}
            (Some(served), Some(there)) => {
                served.check_table(table.url().as_str(), there.id(), checkpoint)?
            }
            (Some(served), None) if served.table != table.url().as_str() => {
                return Err(Error::corrupt(format!(
                    "there is no table at {}, and checkpoint {} has written to {}",
                    table.url(),
                    checkpoint.url(),
                    served.table
                ))
                .hint("sink.path was changed: a table that was moved must be there before the start; to write to a new one start the stream on a new checkpointLocation"));
            }
            (Some(_), None) => {
                return Err(Error::corrupt(format!(
                    "table {} is gone, but checkpoint {} has written to it",
                    table.url(),
                    checkpoint.url()
                ))
                .hint("restore the table, or start the stream on a new checkpointLocation"));
            }
        }
        match &config.dead_letter {
            None => Ok(false),
            Some(to) => letters::check(checkpoint, &to.url, found.letters.as_ref(), handle),
        }
    }

    /// The facts of stream `stream`. `found` must have been looked at after `self` was read.
    ///
    /// # Errors
    /// `Corrupt`, naming the file, if one that is needed is missing or damaged.
    pub fn facts(
        &self,
        log: &CheckpointLog,
        found: &mut Found,
        stream: &str,
        definition: &str,
        handle: &Handle,
    ) -> Result<Facts> {
        let newest_commit = self.entries.commits.last().copied();
        let newest_plan = match self.entries.plans.last().copied() {
            None => None,
            // The plan that is missing is a later one, not that before this.
            Some(batch) if Some(batch) < newest_commit => {
                Some((batch, handle.block_on(log.plan(batch))?.end))
            }
            Some(batch) => Some((batch, handle.block_on(log.planned(batch))?.plan().end.clone())),
        };
        if let Some(batch) = newest_commit {
            handle.block_on(log.committed(batch))?;
        }
        let mut facts = Facts {
            newest_plan,
            newest_commit,
            table: TableFacts::default(),
            dead_letters: None,
            letters_lost: None,
            definition: definition.to_owned(),
            lost_query: None,
        };
        let Some(Identity { id }) = &self.identity else {
            facts.lost_query = found.query_of(stream, log.store().url().as_str())?;
            return Ok(facts);
        };
        let mut newest_dead_letter_batch = None;
        if let Some(table) = &mut found.table {
            let (transaction, commit) = delta::newest(table, id)?;
            newest_dead_letter_batch =
                commit.as_ref().and_then(delta::newest_dead_letter_batch).map(|(t, b)| (t.to_owned(), b));
            facts.table = TableFacts {
                transaction,
                end: commit.as_ref().map(delta::end_of).transpose()?.flatten(),
                dead_letters_pending: commit
                    .filter(delta::dead_letters_pending)
                    .map(|commit| delta::definition_of(&commit)),
                forgets_transactions: table.forgets_transactions(),
            };
        }
        if let Some(letters) = &mut found.letters {
            let (transaction, commit) = delta::newest(letters, id)?;
            facts.dead_letters = transaction
                .map(|transaction| -> Result<LetterFacts> {
                    Ok(LetterFacts {
                        transaction,
                        end: commit.as_ref().map(delta::end_of).transpose()?.flatten(),
                        definition: commit.as_ref().map_or(definition.to_owned(), delta::definition_of),
                    })
                })
                .transpose()?;
            let there = facts.dead_letters.as_ref().map(|dead| dead.transaction);
            let forgot = there.is_none() && letters.forgets_transactions();
            facts.letters_lost = newest_dead_letter_batch
                .filter(|(table_id, batch)| letters.id() == table_id && Some(*batch) > there && !forgot)
                .map(|(_, batch)| batch);
        }
        Ok(facts)
    }
}
