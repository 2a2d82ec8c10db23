//! What a stream finds at its start, and what follows from it. One path for `run`, `check`, `checkpoint show`, replay
//! and rebuild; changes nothing.
//!
//! Read the checkpoint, whom it is bound to, the targets; check that they belong together and that the rows fit; gather
//! the facts; decide (`checkpoint::resume`). A contradiction is a refusal in words.
//!
//! The order of reading matters while a former owner still runs: the lease is taken before, then come
//! the logs, then the targets. What the former owner may still commit was planned before the lease
//! changed hands, so a target is never ahead of the logs, and never behind them. The sink comes
//! before the dead letters, for its commits say how far the other one is.

use super::dead_letter_tables;
use super::open::{self, Access};
use super::row_pipeline::RowPipeline;
use super::stateful::{self, ResumePoint};
use crate::checkpoint::log::Entries;
use crate::checkpoint::resume::{Refusal, check_logs};
use crate::checkpoint::{
    CheckpointBinding, CheckpointLog, Decision, Facts, Identity, LetterFacts, LostQuery, Plan, TableFacts,
    decide,
};
use crate::config::StreamConfig;
use crate::model::{Error, Result};
use crate::sink::{DeadLetterTable, Sink, SinkState, dead_letter};

/// How often an inspection without the lease begins again because the stream's owner went on meanwhile.
const INSPECTIONS_MAX: u32 = 5;

/// Where a stream writes, as it is before it starts.
pub struct Targets {
    /// The sink, not prepared.
    pub sink: Box<dyn Sink>,
    /// The table of the dead letters, not prepared; `None` if the stream has none.
    pub dead_letters: Option<DeadLetterTable>,
}

impl Targets {
    /// Reads both, the sink first.
    ///
    /// # Errors
    /// As for [`open::sink`].
    pub fn read(config: &StreamConfig, access: &Access) -> Result<Targets> {
        Targets::read_with(config, access, || {})
    }

    /// The same; `between` is called when the sink was read and the dead letters were not.
    fn read_with(config: &StreamConfig, access: &Access, between: impl FnOnce()) -> Result<Targets> {
        let sink = open::sink(config, access)?;
        if config.dead_letter.is_some() {
            between();
        }
        let dead_letters = dead_letter_tables::open(config, access)?;
        Ok(Targets { sink, dead_letters })
    }

    /// Checks that the stream's rows fit the sink, and its dead letters their table. What the sink demands is made
    /// part of the pipeline.
    ///
    /// # Errors
    /// `Config`, naming the column or key.
    pub fn check_columns(&self, pipeline: &mut RowPipeline) -> Result<()> {
        check_sink(self.sink.as_ref(), pipeline)?;
        self.dead_letters.as_ref().map_or(Ok(()), check_dead_letters)
    }

    /// The query that `stream` ran from the checkpoint at `location`, if a target holds commits of one.
    fn query_of(&mut self, stream: &str, location: &str) -> Result<Option<LostQuery>> {
        let (mut newest, mut has_served): (Option<(String, i64)>, bool) = (None, false);
        let letters = self.dead_letters.as_mut().map(|letters| letters as &mut dyn Sink);
        for target in std::iter::once(self.sink.as_mut() as &mut dyn Sink).chain(letters) {
            // Only where there are some are the commits read, one by one.
            if !target.has_served(stream, location)? {
                continue;
            }
            has_served = true;
            for (query_id, commit) in target.newest_commits()? {
                let of_it = commit.is_of(Some(stream), Some(location));
                if of_it && newest.as_ref().is_none_or(|(_, known)| *known < commit.batch_id) {
                    newest = Some((query_id, commit.batch_id));
                }
            }
        }
        let known = newest.map(|(query_id, batch_id)| LostQuery::Known { query_id, batch_id });
        Ok(known.or(has_served.then_some(LostQuery::Forgotten)))
    }
}

/// Checks that the stream's rows fit the sink; what the sink demands is made part of the pipeline.
///
/// # Errors
/// `Config`, naming the column or key.
pub fn check_sink(sink: &dyn Sink, pipeline: &mut RowPipeline) -> Result<()> {
    let columns = pipeline.arrow_schema()?;
    let admission = sink.check(&columns)?;
    pipeline.admit(admission);
    Ok(())
}

/// Checks that a table takes dead letters.
///
/// # Errors
/// `Config`, naming the table and what it lacks.
pub fn check_dead_letters(table: &DeadLetterTable) -> Result<()> {
    table.check(&dead_letter::schema()).map(|_| ()).map_err(|error| {
        Error::config(format!("table {} is not a table of dead letters", table.store().url()))
            .source(error)
            .hint("deadLetter.path must name a table that Alluvia made, or a path without a table")
    })
}

/// Who the query is, which stream and target its checkpoint is bound to, and what the logs hold.
pub struct CheckpointState {
    /// The query's id, if it has one already.
    pub identity: Option<Identity>,
    /// The stream and target, if a run of Alluvia has said so.
    pub binding: Option<CheckpointBinding>,
    /// The logs' files.
    pub entries: Entries,
}

impl CheckpointState {
    /// Reads the checkpoint's identity and binding and lists its logs.
    ///
    /// # Errors
    /// `Corrupt`, naming the file, if one that must be there is missing or damaged.
    pub fn read(log: &CheckpointLog) -> Result<CheckpointState> {
        let store = log.store();
        let state = CheckpointState {
            identity: Identity::read(store)?,
            binding: CheckpointBinding::read(store)?,
            entries: log.entries()?,
        };
        let newest = state.entries.plans.last().or(state.entries.commits.last());
        let used = state.binding.is_some() || newest.is_some();
        if state.identity.is_none() && used {
            return Err(Identity::missing(store));
        }
        if state.binding.is_none() {
            state.entries.refuse_gaps(store)?;
        }
        if state.binding.is_none()
            && let Some(batch) = state.entries.plans.last()
            && log.plan(*batch)?.is_ours()
        {
            return Err(CheckpointBinding::missing(store));
        }
        Ok(state)
    }

    /// Refuses targets that were replaced or are gone. Returns whether the stream's dead letters have gone to their
    /// table before.
    ///
    /// # Errors
    /// `Corrupt`, naming both sides.
    fn check_binding(&self, config: &StreamConfig, log: &CheckpointLog, targets: &Targets) -> Result<bool> {
        let checkpoint = log.store();
        if let Some(binding) = &self.binding {
            let target = targets.sink.target();
            match &target.id {
                Some(id) => binding.check_table(&target.location, id, checkpoint)?,
                None => return Err(binding.target_gone(&target.location, checkpoint)),
            }
        }
        match (&config.dead_letter, &targets.dead_letters) {
            (Some(to), Some(table)) => dead_letter_tables::check(checkpoint, &to.url, table.table()),
            _ => Ok(false),
        }
    }

    /// The newest plan, which must be whole, as must the entry of the newest committed batch.
    ///
    /// # Errors
    /// `Corrupt`, naming the file, if one that is needed is missing or damaged.
    fn newest_plan(&self, log: &CheckpointLog) -> Result<Option<Plan>> {
        let newest_commit = self.entries.commits.last().copied();
        let newest = match self.entries.plans.last().copied() {
            None => None,
            // The plan that is missing is a later one, not that before this.
            Some(batch) if Some(batch) < newest_commit => Some(log.plan(batch)?),
            Some(batch) => Some(log.planned(batch)?.plan().clone()),
        };
        if let Some(plan) = &newest {
            plan.only_end()?;
        }
        if let Some(batch) = newest_commit {
            log.committed(batch)?;
        }
        Ok(newest)
    }

    /// The facts of stream `stream`. `targets` must have been read after `self`.
    ///
    /// # Errors
    /// `Corrupt`, naming the file, if one that is needed is missing or damaged.
    fn facts(
        &self,
        log: &CheckpointLog,
        targets: &mut Targets,
        stream: &str,
        definition_hash: &str,
    ) -> Result<(Facts, SinkState)> {
        let newest = self.newest_plan(log)?;
        let mut facts = Facts {
            newest_plan: newest.as_ref().map(|plan| (plan.batch_id, plan.end.clone())),
            newest_commit: self.entries.commits.last().copied(),
            definition: definition_hash.to_owned(),
            ..Facts::default()
        };
        let Some(Identity { id }) = &self.identity else {
            facts.lost_query = targets.query_of(stream, log.store().url().as_str())?;
            return Ok((facts, SinkState::default()));
        };
        let state = targets.sink.state(id, newest.as_ref().and_then(|plan| plan.sink_version))?;
        facts.table = TableFacts {
            transaction: state.transaction,
            end: state.commit.as_ref().and_then(|commit| commit.end().cloned()),
            dead_letters_pending: state
                .commit
                .as_ref()
                .filter(|commit| commit.dead_letters_pending())
                .map(|commit| commit.definition().to_owned()),
            forgets_transactions: state.forgets_transactions,
        };
        if let Some(letters) = &mut targets.dead_letters {
            let newest = state.commit.as_ref().and_then(|commit| commit.newest_dead_letter_batch());
            let there = letters.state(id, newest.and_then(|newest| newest.version))?;
            let forgot = there.transaction.is_none() && there.forgets_transactions;
            let table_id = letters.target().id;
            facts.letters_lost = newest
                .filter(|newest| table_id.as_deref() == Some(newest.table_id.as_str()))
                .filter(|newest| Some(newest.batch_id) > there.transaction && !forgot)
                .map(|newest| newest.batch_id);
            facts.dead_letters = there.transaction.map(|transaction| LetterFacts {
                transaction,
                end: there.commit.as_ref().and_then(|commit| commit.end().cloned()),
                definition: there
                    .commit
                    .as_ref()
                    .map_or(definition_hash.to_owned(), |commit| commit.definition().to_owned()),
            });
        }
        Ok((facts, state))
    }
}

/// What was found, and what to do first.
pub struct Recovery {
    /// The checkpoint.
    pub checkpoint: CheckpointState,
    /// Where the stream writes; neither is prepared.
    pub targets: Targets,
    /// What was decided on.
    pub facts: Facts,
    /// What the sink holds of the query.
    pub sink_state: SinkState,
    /// What to do first.
    pub decision: Decision,
    /// Whether the stream's dead letters have gone to their table before.
    pub dead_letters_used: bool,
    /// Where the query stands; `None` if it keeps neither a watermark nor state.
    pub resume_point: Option<ResumePoint>,
}

/// The part of an inspection that needs neither source nor lease: refuses the checkpoint of another stream.
///
/// # Errors
/// `Config`, naming both streams; as for [`CheckpointBinding::read`].
pub fn check_stream(config: &StreamConfig, log: &CheckpointLog) -> Result<()> {
    let binding = CheckpointBinding::read(log.store())?;
    binding.map_or(Ok(()), |binding| binding.check_stream(&config.name, log.store()))
}

/// What the checkpoint alone tells to be wrong: what is missing or damaged, and logs that do not fit together.
///
/// # Errors
/// `Corrupt`, naming the file.
pub fn check_alone(log: &CheckpointLog) -> Result<()> {
    let checkpoint = CheckpointState::read(log)?;
    let Entries { plans, commits } = &checkpoint.entries;
    check_logs(plans.last().copied(), commits.last().copied())
        .map_err(|refusal| refusal.into_error(log.store().url().as_str(), "", None))?;
    checkpoint.newest_plan(log).map(|_| ())
}

/// Inspects a stream under its lease. `listed` is called once the logs are listed.
///
/// # Errors
/// `Config` if the stream does not fit its targets; `Corrupt` if checkpoint and targets contradict each other, or are
/// damaged; `Unavailable` if storage does not answer.
pub fn inspect(
    config: &StreamConfig,
    log: &CheckpointLog,
    access: &Access,
    pipeline: &mut RowPipeline,
    listed: impl FnOnce(&CheckpointState) -> Result<()>,
) -> Result<Recovery> {
    let (checkpoint, targets) = read(config, log, access, listed)?;
    targets.check_columns(pipeline)?;
    recover(config, log, Some(pipeline), checkpoint, targets)
}

/// Inspects what the rebuilt checkpoint in `log` is to `targets`, which the stream's rows fit.
///
/// # Errors
/// As for [`inspect`].
pub fn inspect_rebuilt(
    config: &StreamConfig,
    log: &CheckpointLog,
    pipeline: &RowPipeline,
    targets: Targets,
) -> Result<Recovery> {
    recover(config, log, Some(pipeline), CheckpointState::read(log)?, targets)
}

/// Inspects a stream that may be running.
///
/// # Errors
/// As for [`inspect`].
pub fn inspect_without_lease(
    config: &StreamConfig,
    log: &CheckpointLog,
    access: &Access,
    pipeline: &mut RowPipeline,
) -> Result<Recovery> {
    while_running(log, || inspect(config, log, access, pipeline, |_| Ok(())))
}

/// The same without a look at the columns: `check` reports on them apart. Without a pipeline, which has faults that are
/// reported apart too, the definition counts as changed, and what the query keeps is not looked at.
///
/// # Errors
/// As for [`inspect`].
pub fn inspect_contents(
    config: &StreamConfig,
    log: &CheckpointLog,
    access: &Access,
    pipeline: Option<&RowPipeline>,
) -> Result<Recovery> {
    while_running(log, || {
        let (checkpoint, targets) = read(config, log, access, |_| Ok(()))?;
        recover(config, log, pipeline, checkpoint, targets)
    })
}

/// Repeats an inspection while the stream runs: a contradiction is believed only if the logs did not grow meanwhile.
fn while_running(log: &CheckpointLog, mut inspect: impl FnMut() -> Result<Recovery>) -> Result<Recovery> {
    let mut before = log.entries()?;
    for inspection in 1.. {
        let error = match inspect() {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        let now = log.entries()?;
        if now == before || inspection == INSPECTIONS_MAX {
            return Err(error);
        }
        before = now;
    }
    Err(Error::internal("the inspections of a stream have no end"))
}

/// Reads the checkpoint, then the targets; refuses the checkpoint of another stream.
fn read(
    config: &StreamConfig,
    log: &CheckpointLog,
    access: &Access,
    listed: impl FnOnce(&CheckpointState) -> Result<()>,
) -> Result<(CheckpointState, Targets)> {
    let checkpoint = CheckpointState::read(log)?;
    listed(&checkpoint)?;
    if let Some(binding) = &checkpoint.binding {
        binding.check_stream(&config.name, log.store())?;
    }
    let targets = Targets::read_with(config, access, || {
        crate::failpoint!("table.looked");
    })?;
    Ok((checkpoint, targets))
}

/// What follows from a checkpoint and targets that were read. Every inspection ends here.
fn recover(
    config: &StreamConfig,
    log: &CheckpointLog,
    pipeline: Option<&RowPipeline>,
    checkpoint: CheckpointState,
    mut targets: Targets,
) -> Result<Recovery> {
    let newest_commit = checkpoint.entries.commits.last().copied();
    match pipeline {
        Some(pipeline) => stateful::check_state(pipeline.sql(), log, newest_commit)?,
        None => log.refuse_state_of_spark()?,
    }
    let definition_hash = pipeline.map(|pipeline| pipeline.definition_hash.as_str()).unwrap_or_default();
    let dead_letters_used = checkpoint.check_binding(config, log, &targets)?;
    let (facts, sink_state) = checkpoint.facts(log, &mut targets, &config.name, definition_hash)?;
    let decision = decide(&facts);
    tracing::debug!(?facts, ?decision, "decided what to do first");
    let location = targets.sink.target().location;
    let of_spark_alone = checkpoint.binding.is_none();
    let decision = match decision {
        Ok(decision) => decision,
        Err(Refusal::TableBehind { table: None, .. }) if of_spark_alone => {
            return Err(log.without_transaction(&location)?);
        }
        Err(refusal) => {
            let letters = targets.dead_letters.as_ref().map(|letters| letters.store().url().as_str());
            return Err(refusal.into_error(log.store().url().as_str(), &location, letters));
        }
    };
    let sql = pipeline.and_then(RowPipeline::sql);
    let resume_point = stateful::resume_point(sql, log, &decision, sink_state.commit.as_ref())?;
    Ok(Recovery { checkpoint, targets, facts, sink_state, decision, dead_letters_used, resume_point })
}
