//! `dead-letters replay`: dead letters whose records decode by now, into the stream's table, once each.
//!
//! A small stream of its own: its checkpoint lies in `alluvia/replay/ID` of the stream's, one for each
//! dead-letter table, its transaction in the table is its own, its steps are those of every stream. What it
//! takes is selected before it is planned ([`crate::source::dead_letters`]); letters that still do not
//! decode stay eligible. Only letters of micro-batches that the stream has committed are looked at: those
//! of a batch that will be run again may yet be replaced. The dead-letter table is never written.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use uuid::Uuid;

use super::lane_pipeline::Emit;
use super::open::Access;
use super::recovery;
use super::row_pipeline::RowPipeline;
use super::start::{self, ProcessContext};
use super::stream::{RestartState, Stream, WrittenRows};
use crate::checkpoint::paths::REPLAYS;
use crate::checkpoint::{CheckpointLog, Identity};
use crate::config::{StreamConfig, Trigger, WhenMatched};
use crate::decode::json::Rejection;
use crate::model::{Error, MemoryAccount, Record, Result};
use crate::observe::{Busy, Event, Reporter, StreamReporter};
use crate::sink::dead_letter::{self, Letter, OFFSETS_LOST};
use crate::sink::{DeltaAppend, RowPlaces};
use crate::source::Source;
use crate::source::dead_letters::{DeadLetterSource, Ledger, Letters, Selection};
use crate::table::DeltaTable;

/// Letters of one micro-batch of a replay: their places are held in memory.
const LETTERS_MAX: usize = 1_000_000;

/// What a replay did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Letters that decode now; they were replayed, unless it was a dry run.
    pub replayed: u64,
    /// What became of them, and of those of an interrupted replay that was finished first; nothing of a dry run.
    pub written: WrittenRows,
    /// Letters that still do not, by the reason they have now.
    pub left: BTreeMap<String, u64>,
    /// Letters that earlier replays took.
    pub already_replayed: u64,
    /// Letters that stand for lost offsets: there is nothing to replay.
    pub offsets_lost: u64,
    /// Letters of the newest micro-batch while it is not committed.
    pub uncommitted: u64,
    /// Letters of other streams, or of this one's earlier checkpoints.
    pub others: u64,
}

/// The letters of one query in a table, as far as their batches are committed.
struct TableLetters {
    table: DeltaAppend,
    id: String,
    query_id: String,
    /// The newest micro-batch that the stream has committed.
    committed: i64,
}

impl TableLetters {
    /// The letters in `table`; `None` if it is not there yet.
    fn of(table: DeltaAppend, query_id: String, committed: i64) -> Option<TableLetters> {
        let id = table.table()?.id().to_owned();
        Some(TableLetters { table, id, query_id, committed })
    }

    fn table(&self) -> Result<&DeltaTable> {
        self.table.table().ok_or_else(|| Error::internal("a table of dead letters no longer exists"))
    }
}

impl Letters for TableLetters {
    fn table_id(&self) -> &str {
        &self.id
    }

    fn visit(&self, visit: &mut dyn FnMut(i64, &Record<'_>) -> Result<()>) -> Result<()> {
        dead_letter::read(self.table()?, &mut |letter| {
            let ours = letter.query_id == self.query_id && letter.batch_id <= self.committed;
            if ours && letter.code != OFFSETS_LOST { visit(letter.batch_id, &letter.record) } else { Ok(()) }
        })
    }
}

/// The id of the query that replays the letters of query `id` from table `letters`. The same whenever it is
/// made: with a lost checkpoint the table still knows what was replayed.
fn query_id(id: &str, letters: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("replay\n{id}\n{letters}").as_bytes()).to_string()
}

/// The letters that replays of a stream have taken.
pub struct TakenLetters {
    query_id: String,
    taken: Selection,
}

impl TakenLetters {
    /// Those in table `letters`, by the stream's checkpoint; `None` if no replay has read that table.
    ///
    /// # Errors
    /// `Unavailable` if storage does not answer; `Corrupt` if a file is damaged.
    pub fn of(config: &StreamConfig, access: &Access, letters: &DeltaTable) -> Result<Option<TakenLetters>> {
        let Some(Identity { id }) = Identity::read(&access.checkpoint(config)?)? else { return Ok(None) };
        let own = own_config(config, &query_id(&id, letters.id()))?;
        let store = access.checkpoint(&own)?;
        let log = CheckpointLog::new(store.clone(), own.min_batches_to_retain);
        let Some(newest) = log.entries()?.commits.last().copied() else { return Ok(None) };
        let taken = Ledger::new(store).read_before(newest + 1)?;
        Ok(Some(TakenLetters { query_id: id, taken }))
    }

    /// Whether a replay has taken the letter.
    pub fn has(&self, letter: &Letter<'_>) -> bool {
        letter.query_id == self.query_id && self.taken.contains(letter.batch_id, &letter.record)
    }
}

/// How letters are replayed.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReplayOptions {
    /// Only says what would come of it.
    pub dry_run: bool,
    /// Replays into a merge that cannot tell whether a letter is older than the table's row of its key.
    pub overwrite_newer: bool,
}

/// Refuses a stream whose table cannot tell that a letter is older than what became of its key since.
///
/// # Errors
/// `Config`, with what to do instead.
fn refuse_older_rows(config: &StreamConfig) -> Result<()> {
    let merge = config.sink.merge();
    let Some(WhenMatched::Update(update)) = merge.map(|merge| &merge.when_matched) else { return Ok(()) };
    let (why, remedy) = match (&update.order_by, &update.delete_when) {
        (Some(_), None) => return Ok(()),
        (None, None) => (
            "its merge updates rows without orderBy, so a dead letter would replace a newer row of its key",
            "set sink.merge.orderBy to a column by which the newest row of a key is known",
        ),
        (None, Some(_)) => (
            "its merge updates and deletes rows without orderBy, so a dead letter would replace or delete a newer row of its key",
            "produce the current state of their keys to the topic instead",
        ),
        (Some(_), Some(_)) => (
            "its merge deletes rows (deleteWhen), and the table does not remember deleted rows, so a dead letter that is older than the deletion of its key would insert the row again",
            "produce the current state of their keys to the topic instead",
        ),
    };
    Err(Error::config(format!("the dead letters of stream {} cannot be replayed: {why}", config.name))
        .hint(format!("{remedy}; if none of their keys has changed since, replay with --overwrite-newer")))
}

/// Replays the dead letters of a stream.
///
/// # Errors
/// `Config` if the stream has no `deadLetter`, or a letter may be too old for its state or its table; as for every stream
/// otherwise.
pub fn replay(
    config: &StreamConfig,
    ctx: &ProcessContext,
    reporter: &Reporter,
    options: ReplayOptions,
) -> Result<Replayed> {
    if config.dead_letter.is_none() {
        return Err(
            Error::config(format!("stream {} has no dead-letter table", config.name)).hint("set deadLetter")
        );
    }
    let access = ctx.access(config);
    let mut row_pipeline = RowPipeline::of(config, &access)?.for_replay();
    if row_pipeline.keeps_state() {
        return Err(Error::config(format!(
            "the dead letters of stream {} cannot be replayed: its query keeps state between micro-batches, and their time in it has passed",
            config.name
        ))
        .hint("correct the records and produce them to the topic again"));
    }
    if !options.overwrite_newer {
        refuse_older_rows(config)?;
    }
    let log = CheckpointLog::new(access.checkpoint(config)?, config.min_batches_to_retain);
    let found = recovery::inspect_without_lease(config, &log, &access, &mut row_pipeline)?;
    let committed = found.checkpoint.entries.commits.last().copied();
    let (Some(Identity { id }), Some(committed), Some(table)) =
        (found.checkpoint.identity, committed, found.targets.dead_letters)
    else {
        return Ok(Replayed::default());
    };
    let Some(letters) = TableLetters::of(table, id.clone(), committed) else {
        return Ok(Replayed::default());
    };

    let own_id = query_id(&id, letters.table_id());
    let own = own_config(config, &own_id)?;
    let store = access.checkpoint(&own)?;
    let ledger = Ledger::new(store.clone());
    let letters = Arc::new(letters);
    if options.dry_run {
        let taken = ledger.read_before(ledger.count()?)?;
        return select(&letters, &row_pipeline, &ctx.memory, &taken).map(|(_, outcome)| outcome);
    }
    let reporter = reporter.stream(&own.name);
    let mut restart = RestartState::default();
    start::hold_lease(&own, &store, ctx, &mut restart.lease)?;
    Identity::establish(&store, Identity { id: own_id })?;
    let replay_log = CheckpointLog::new(store.clone(), own.min_batches_to_retain);
    let mut total: Option<Replayed> = None;
    loop {
        let planned = replay_log.entries()?.plans.last().map_or(0, |batch| batch + 1);
        if ledger.count()? > planned {
            // Selected and never planned: the schema may have changed since.
            ledger.remove(planned)?;
        }
        let reading = Busy::with("reading the dead letters");
        let taken = ledger.read_before(planned)?;
        let (selection, outcome) = select(&letters, &row_pipeline, &ctx.memory, &taken)?;
        drop(reading);
        if !selection.is_empty() {
            ledger.put(planned, &selection, &Uuid::new_v4().to_string())?;
        }
        restart.bound = None;
        reporter.emit(Event::Bounded { records: selection.len() as u64 });
        run(&own, &row_pipeline, &letters, &ledger, ctx, &reporter, &mut restart)?;
        if ctx.stop.requested() {
            return Err(Error::unavailable("stopped before the replay was through")
                .hint("run it again: nothing is taken twice"));
        }
        let full = selection.len() >= LETTERS_MAX;
        match &mut total {
            None => total = Some(outcome),
            Some(total) => {
                total.replayed += outcome.replayed;
                total.left = outcome.left;
            }
        }
        if !full {
            let written = std::mem::take(&mut restart.written);
            return Ok(Replayed { written, ..total.unwrap_or_default() });
        }
    }
}

/// Finishes what an interrupted replay had planned, then runs what is selected.
fn run(
    own: &StreamConfig,
    row_pipeline: &RowPipeline,
    letters: &Arc<TableLetters>,
    ledger: &Ledger,
    ctx: &ProcessContext,
    reporter: &StreamReporter,
    restart: &mut RestartState,
) -> Result<()> {
    let place = letters.table.store().url().to_string();
    let connect = || -> Result<Box<dyn Source>> {
        Ok(Box::new(DeadLetterSource::new(
            Arc::clone(letters) as Arc<dyn Letters>,
            ledger.clone(),
            place.clone(),
        )))
    };
    let mut held = restart.lease.clone();
    let opened = start::open(own, row_pipeline.clone(), &connect, ctx, &ctx.memory(own), &mut held)?;
    Stream::new(own, ctx, reporter, restart, opened).run().map_err(|error| match error.kind() {
        crate::model::Kind::Data => error.context(
            "an interrupted replay is finished first, with the schema it began with; to go on with another one restore the former until it is through",
        ),
        _ => error,
    })
}

/// The replay as a stream: one lane, one selection per micro-batch, and an end.
fn own_config(config: &StreamConfig, query_id: &str) -> Result<StreamConfig> {
    let mut own = config.clone();
    let base = config.checkpoint.as_str().trim_end_matches('/');
    own.checkpoint = url::Url::parse(&format!("{base}/{REPLAYS}/{query_id}"))
        .map_err(|e| Error::internal("the replay's checkpoint has no address").source(e))?;
    own.name = format!("{} (replay)", config.name);
    own.dead_letter = None;
    own.trigger = Trigger::AvailableNow;
    own.lanes = Some(1);
    Ok(own)
}

/// Counts what becomes of a letter that is decoded again; its rows are dropped.
#[derive(Default)]
struct Trial {
    rejected: Option<String>,
}

impl Emit for Trial {
    fn rows(&mut self, _: RecordBatch, _: Option<RowPlaces>) -> Result<()> {
        Ok(())
    }

    fn rejected(&mut self, _: &Record<'_>, why: &Rejection) -> Result<()> {
        self.rejected = Some(why.code.name().to_owned());
        Ok(())
    }

    fn kept_malformed(&mut self) {}
}

/// Finds the letters that decode now and that no replay took, and says what becomes of the others.
fn select(
    letters: &TableLetters,
    row_pipeline: &RowPipeline,
    account: &Arc<MemoryAccount>,
    taken: &Selection,
) -> Result<(Selection, Replayed)> {
    // The clock of the trial; a replay's own batch has its own.
    row_pipeline.begin(chrono::Utc::now().timestamp_micros(), &BTreeMap::new(), account)?;
    let mut pipeline = row_pipeline.lane(None)?;
    let mut outcome = Replayed::default();
    let mut selection = Selection::default();
    dead_letter::read(letters.table()?, &mut |letter| {
        if letter.query_id != letters.query_id {
            outcome.others += 1;
        } else if letter.batch_id > letters.committed {
            outcome.uncommitted += 1;
        } else if letter.code == OFFSETS_LOST {
            outcome.offsets_lost += 1;
        } else if taken.contains(letter.batch_id, &letter.record) {
            outcome.already_replayed += 1;
        } else if selection.len() < LETTERS_MAX {
            let mut trial = Trial::default();
            pipeline.set_now(letter.rejected_at_micros);
            pipeline.push(&letter.record, &mut trial)?;
            if pipeline.may_reject_later() {
                // Now, while it is known of which letter.
                pipeline.flush(&mut trial)?;
            }
            match trial.rejected {
                Some(code) => *outcome.left.entry(code).or_default() += 1,
                None => {
                    selection.add(letter.batch_id, &letter.record);
                    outcome.replayed += 1;
                }
            }
        }
        Ok(())
    })?;
    Ok((selection, outcome))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ProcessLookup};
    use crate::model::Kind;

    fn refused(merge: &str) -> Option<String> {
        let yaml = format!(
            "streams: [{{name: s, source: {{format: kafka, options: {{kafka.bootstrap.servers: 'b:9092', subscribe: t}}}}, sink: {{format: delta, path: /tmp/t{merge}}}, checkpointLocation: /tmp/c}}]"
        );
        let config = Config::from_texts(&[("s.yaml".into(), yaml)], &[], &ProcessLookup).unwrap();
        let error = refuse_older_rows(&config.streams[0]).err()?;
        assert_eq!(error.kind(), Kind::Config);
        Some(error.to_string())
    }

    #[test]
    fn a_merge_that_cannot_tell_an_older_letter_from_a_newer_row_is_refused() {
        assert_eq!(refused(""), None);
        assert_eq!(refused(", merge: {keys: [k]}"), None);
        assert_eq!(refused(", merge: {keys: [k], whenMatched: update, orderBy: at}"), None);
        let update = refused(", merge: {keys: [k], whenMatched: update}").unwrap();
        assert!(
            update.contains("would replace a newer row") && update.contains("set sink.merge.orderBy"),
            "{update}"
        );
        let delete = ", merge: {keys: [k], whenMatched: update, deleteWhen: {column: op, values: [d]}}";
        assert!(refused(delete).unwrap().contains("replace or delete a newer row"));
        let ordered = refused(&delete.replace("update,", "update, orderBy: at,")).unwrap();
        assert!(ordered.contains("does not remember deleted rows"), "{ordered}");
        assert!([update, ordered].iter().all(|said| said.contains("--overwrite-newer")));
    }
}
