//! Where rows end. A [`Sink`] takes a micro-batch as a whole and says what became of it.
//!
//! ```text
//! check    → what it demands of the rows; changes nothing
//! state    → what it holds of the query, for the decision at a start; changes nothing
//! prepare  → makes what is missing (a table, its columns)
//! begin    → one run of a batch: a writer for each lane, from whose rows come parts
//! commit   → the parts of one run become the batch, or another run already was the batch
//! maintain → what may be done between two batches
//! ```
//!
//! A sink owns its transaction and what became of it. It does not know sources, plans or triggers. Dead
//! letters are beside it: a Delta table of their own ([`delta::DeltaAppend`]).

pub mod commit_info;
pub mod console;
pub mod dead_letter;
pub mod delta;
pub mod memory;
mod show;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use uuid::Uuid;

use crate::decode::admission::Admission;
use crate::model::{Error, MemoryAccount, OffsetRange, OffsetSeq, Result, TopicPartition};
use crate::table::AddedFile;
use crate::table::compact::Compacted;
use crate::table::vacuum::VacuumReport;

pub use commit_info::{CommitInfo, DeadLetterBatch, SinkCommit};
pub use console::ConsoleSink;
pub use dead_letter::{DeadLetterRows, DeadLetters};
pub use delta::DeltaAppend;
pub use delta::merge::{DeltaMerge, WaitingRows};
pub use delta::under_way as work_beside_batches;
pub use memory::MemorySink;
pub use show::show_rows;

/// The table of a stream's dead letters: a Delta table, whatever the sink is.
pub type DeadLetterTable = DeltaAppend;

/// What a sink promises of a micro-batch that is run more than once; `docs/guarantees.md` follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The batch and its id are committed together: exactly once.
    Transactional,
    /// A batch that is written again replaces itself: exactly once once the batch is in the commit log.
    IdempotentByBatch,
    /// A batch that is run again may be there again.
    AtLeastOnce,
}

/// What a sink says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// For reports, in Spark's form: `DeltaSink[path]`.
    pub name: String,
    /// Its promise.
    pub delivery: Delivery,
}

/// Where rows go. Blocks; used from the stream's thread only.
pub trait Sink: Send {
    /// What it is and what it promises.
    fn describe(&self) -> Description;

    /// What the checkpoint is bound to: a location, and the id of what is there.
    fn target(&self) -> Target;

    /// Whether rows with these columns can be written, and how they become the target's rows; `None` if the target is
    /// not there yet or takes every row. Changes nothing.
    ///
    /// # Errors
    /// `Config`, naming the column or key.
    fn check(&self, columns: &SchemaRef) -> Result<Option<Admission>>;

    /// What it holds of query `query_id`, whose newest commit is at version `since` or later, as far as the
    /// checkpoint knows. Changes nothing.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt` if it cannot be read.
    fn state(&mut self, query_id: &str, since: Option<u64>) -> Result<SinkState>;

    /// The newest commit of every query that it still holds. Changes nothing; may read much.
    ///
    /// # Errors
    /// As for [`Sink::state`].
    fn newest_commits(&self) -> Result<BTreeMap<String, SinkCommit>>;

    /// Returns whether it holds commits that `stream` made from the checkpoint at `checkpoint_location`, under
    /// whatever query id. Changes nothing; asked at the start of each new query, so it should read little.
    ///
    /// # Errors
    /// As for [`Sink::state`].
    fn has_served(&mut self, stream: &str, checkpoint_location: &str) -> Result<bool> {
        let commits = self.newest_commits()?;
        Ok(commits.values().any(|commit| commit.is_of(Some(stream), Some(checkpoint_location))))
    }

    /// What an operator should know of the target, there or to be made for rows with these columns; told by each start and by
    /// a check.
    fn warnings(&self, columns: &SchemaRef) -> Vec<String> {
        let _ = columns;
        Vec::new()
    }

    /// Tries whether it can be written to, and leaves nothing behind.
    ///
    /// # Errors
    /// `Config` or `Unavailable`, naming the place.
    fn probe(&self) -> Result<()>;

    /// Makes what is missing, after all checks of a start have passed; returns what [`Sink::check`] returns.
    ///
    /// # Errors
    /// As for [`Sink::check`], and as for a write.
    fn prepare(&mut self, columns: &SchemaRef) -> Result<Option<Admission>>;

    /// Whether it keeps something of every row of a micro-batch in memory until the commit, so that a batch must not be larger
    /// than the memory allows.
    fn keeps_rows_until_commit(&self) -> bool {
        false
    }

    /// Begins a run of a batch; `account` counts what all of its writers hold in memory.
    ///
    /// # Errors
    /// `Config` if the target cannot be written.
    fn begin(&self, run: &BatchRun, account: &Arc<MemoryAccount>) -> Result<Arc<dyn AttemptWriter>>;

    /// What became of small files that were joined, since this was last taken.
    fn take_compacted(&mut self) -> Option<Compacted> {
        None
    }

    /// What became of files that the target no longer needs, since this was last taken.
    fn take_vacuumed(&mut self) -> Option<VacuumReport> {
        None
    }

    /// The stream has ended because there is no more to read: ends what is under way beside it, as long as it `goes_on`.
    fn finish(&mut self, goes_on: &mut dyn FnMut() -> bool) {
        let _ = goes_on;
    }

    /// Makes the parts of one run the micro-batch. A sink that has read its target for it (a merge) checks
    /// that what it read still holds; an append has read nothing.
    ///
    /// # Errors
    /// `Conflict` if others keep changing the target, so that the batch must be run again; `Corrupt` if the
    /// target was replaced; `Unavailable` if it does not answer.
    fn commit(&mut self, batch: &BatchCommit, parts: Vec<Part>) -> Result<CommitOutcome>;

    /// How many commits lost to another writer and were tried again, since this was last asked; for reports.
    fn take_conflicts(&mut self) -> u32 {
        0
    }

    /// What the last commit did beside adding rows, for the sink's part of the progress: Spark's custom sink metrics.
    fn metrics(&self) -> SinkMetrics {
        SinkMetrics::default()
    }

    /// Does what is due between two batches, off the commit path; never a reason to stop. What it holds in memory counts
    /// against `account`, the stream's.
    fn maintain(&mut self, account: &Arc<MemoryAccount>);
}

/// What a commit did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SinkMetrics {
    /// The data files that it wrote at the commit; `None` where the lanes write them.
    pub files: Option<FilesAdded>,
    /// Rows that it added, if not every row of the batch was.
    pub output_rows: Option<u64>,
    /// What else it counted, by name.
    pub counts: Vec<(&'static str, u64)>,
}

/// Data files that a commit has added to a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FilesAdded {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a sink writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What the checkpoint calls it: a table's URL.
    pub location: String,
    /// Its identity, which changes when it is replaced; `None` if it is not there yet.
    pub id: Option<String>,
    /// The version that it is at, where it numbers them.
    pub version: Option<u64>,
}

/// What a sink holds of a query.
#[derive(Debug, Clone, Default)]
pub struct SinkState {
    /// The newest micro-batch that was committed.
    pub transaction: Option<i64>,
    /// The commit of that batch, if the sink still holds it.
    pub commit: Option<SinkCommit>,
    /// Whether the sink may have forgotten transactions, or never keeps any: the commit log decides alone.
    pub forgets_transactions: bool,
}

/// Which run of which micro-batch it is.
#[derive(Debug, Clone, Copy)]
pub struct BatchRun<'a> {
    /// The query whose transaction the batch's commit has.
    pub query_id: &'a str,
    /// The micro-batch.
    pub batch_id: i64,
    /// The run of it, unlike any other.
    pub attempt: &'a str,
}

/// One run of a micro-batch, shared by its lanes.
pub trait AttemptWriter: Send + Sync {
    /// The rows in the target's columns and types; rows that were admitted have them.
    ///
    /// # Errors
    /// `Data` if a value does not fit.
    fn align(&self, rows: RecordBatch) -> Result<RecordBatch>;

    /// The positions of aligned rows that a writer fails on, each tried apart; nothing is stored.
    fn refused(&self, _rows: &RecordBatch) -> Vec<usize> {
        Vec::new()
    }

    /// Whether writers ask where each row was read ([`SinkWriter::write_placed`]).
    fn needs_places(&self) -> bool {
        false
    }

    /// The writer of lane `lane`. Its number is part of what it writes.
    ///
    /// # Errors
    /// `Config` if the target cannot be written.
    fn writer(&self, lane: usize) -> Result<Box<dyn SinkWriter>>;
}

/// Where rows were read: the partition and the offset of the record that each was made from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowPlaces {
    logs: Vec<TopicPartition>,
    rows: Vec<(u32, i64)>,
}

impl RowPlaces {
    /// Adds the place of the next row.
    pub fn push(&mut self, topic: &str, partition: i32, offset: i64) {
        let is_it = |log: &TopicPartition| log.partition == partition && *log.topic == *topic;
        let log = match self.logs.iter().rposition(is_it) {
            Some(log) => log,
            None => {
                self.logs.push(TopicPartition::new(topic, partition));
                self.logs.len() - 1
            }
        };
        let log = u32::try_from(log).expect("rows of one batch come from fewer than 2^32 partitions");
        self.rows.push((log, offset));
    }

    /// The partitions that the rows come from.
    pub fn logs(&self) -> &[TopicPartition] {
        &self.logs
    }

    /// The partition of a row, by its number among [`RowPlaces::logs`], and its offset.
    pub fn get(&self, row: usize) -> (usize, i64) {
        let (log, offset) = self.rows[row];
        (log as usize, offset)
    }
}

/// Writes the rows of one lane in one run.
pub trait SinkWriter: Send {
    /// Takes aligned rows.
    ///
    /// # Errors
    /// `Unavailable` if storage does not answer.
    fn write(&mut self, rows: &RecordBatch) -> Result<()>;

    /// Takes aligned rows, and where each was read.
    ///
    /// # Errors
    /// As for [`SinkWriter::write`].
    fn write_placed(&mut self, rows: &RecordBatch, places: RowPlaces) -> Result<()> {
        let _ = places;
        self.write(rows)
    }

    /// Ends the lane's part of the run; only now is what it wrote whole and durable.
    ///
    /// # Errors
    /// As for [`SinkWriter::write`].
    fn finish(self: Box<Self>) -> Result<Vec<Part>>;
}

/// What a lane's writer hands to the commit.
#[derive(Debug)]
pub enum Part {
    /// A data file of a table.
    File(AddedFile),
    /// The rows themselves, of a sink that stores nothing before its commit.
    Rows(RecordBatch),
    /// Rows of which the commit decides what becomes of them: of a merge.
    Waiting(Box<WaitingRows>),
}

/// What became of a commit.
#[derive(Debug)]
pub enum CommitOutcome {
    /// This run is the micro-batch.
    Committed {
        /// The version of the target that holds it, where it numbers them.
        version: Option<u64>,
    },
    /// Another run of the micro-batch was first; this one is dropped.
    AlreadyCommitted {
        /// Its commit, if the target still holds it.
        commit: Option<SinkCommit>,
    },
}

/// What a micro-batch's commit says beside its parts.
#[derive(Debug, Clone)]
pub struct BatchCommit {
    /// The query's id.
    pub query_id: String,
    /// The stream's name.
    pub stream: String,
    /// The URL of its checkpoint.
    pub checkpoint_location: String,
    /// The micro-batch.
    pub batch_id: i64,
    /// The run of the batch.
    pub attempt: String,
    /// Where the batch starts.
    pub start: OffsetSeq,
    /// Where it ends.
    pub end: OffsetSeq,
    /// The constants that it was planned with, a JSON object: with the end offsets it is the plan, so that a
    /// lost checkpoint can be rebuilt.
    pub plan: String,
    /// The watermark of the next batch.
    pub next_watermark_ms: i64,
    /// Hash of what decides results.
    pub definition_hash: String,
    /// Offsets that were gone before they could be read (`failOnDataLoss: false`).
    pub lost: Vec<OffsetRange>,
    /// Whether the batch was planned with another definition, so that its dead letters are brought in
    /// line after this commit, which decides whose run of the batch counts.
    pub dead_letters_pending: bool,
    /// The newest batch that has dead letters, and where they are.
    pub newest_dead_letter_batch: Option<DeadLetterBatch>,
    /// Whether the batch's rows take the place of all rows of the target: outputMode complete.
    pub replaces_table: bool,
    /// Whether it is a commit of [`BatchCommit::of_lost_ranges`].
    pub is_of_lost_ranges: bool,
}

impl BatchCommit {
    /// A batch without rows of its own to say of, for tests.
    #[cfg(test)]
    pub(crate) fn of_test(batch_id: i64) -> BatchCommit {
        BatchCommit {
            query_id: "q".into(),
            stream: "s".into(),
            checkpoint_location: String::new(),
            batch_id,
            attempt: "a".into(),
            start: OffsetSeq::default(),
            end: OffsetSeq::default(),
            plan: "{}".into(),
            next_watermark_ms: 0,
            definition_hash: String::new(),
            lost: Vec::new(),
            dead_letters_pending: false,
            newest_dead_letter_batch: None,
            replaces_table: false,
            is_of_lost_ranges: false,
        }
    }

    /// The commit of the letters for what was gone, where another run of the batch has committed its dead
    /// letters without them: a query of its own, and its definition is what was gone.
    pub fn of_lost_ranges(&self) -> BatchCommit {
        let name = format!("lost\n{}", self.query_id);
        BatchCommit {
            query_id: Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).to_string(),
            stream: format!("{} (lost offsets)", self.stream),
            attempt: Uuid::new_v4().to_string(),
            definition_hash: commit_info::lost_ranges_text(&self.lost),
            dead_letters_pending: false,
            is_of_lost_ranges: true,
            replaces_table: false,
            ..self.clone()
        }
    }
}

/// The files among `parts`.
///
/// # Errors
/// `Internal` if one is not a file: parts of one sink were given to another.
pub(crate) fn files(parts: Vec<Part>) -> Result<Vec<AddedFile>> {
    let file = |part| match part {
        Part::File(file) => Ok(file),
        Part::Rows(_) | Part::Waiting(_) => {
            Err(Error::internal("a table was given rows where it takes files"))
        }
    };
    parts.into_iter().map(file).collect()
}
