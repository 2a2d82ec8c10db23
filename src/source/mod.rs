//! Where records come from, in the words of Spark's `MicroBatchStream`.
//!
//! ```text
//! initial_offset → where a new query starts
//! latest_offset  → the range that the next micro-batch may read, within the source's own limits
//! splits         → that range, dealt to the lanes
//! reader         → a lane's reader: every record of its splits once, as bytes or as rows
//! verify         → after the read: the records came from what was planned
//! replay         → a planned range again, after a crash or by another owner
//! committed      → everything up to here is in the sink
//! ```
//!
//! A source is replayable: the same range gives the same records, whoever reads it and when (one that is not
//! says so in `docs/guarantees.md`). It keeps no offsets: they are in the checkpoint, as JSON that only the
//! source interprets, with notes beside them where an offset alone does not identify the records (Kafka: topic
//! ids, leader epochs, the isolation level). Limits, the policy on lost data and prefetch belong to the source; what a plan or a
//! commit is does not concern it.

pub mod dead_letters;
pub mod kafka;
pub mod rate;
pub mod socket;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;

use crate::model::{Error, Loss, MemoryAccount, Notes, Offset, OffsetRange, Record, Result};
use crate::storage::credentials::RenewedTokens;

/// Offsets of one partition that a batch never deals to two lanes, counted from offset 0: 16,384. So what is computed of each
/// such chunk does not depend on the number of lanes. Only a source that is asked for more splits than that allows
/// (Kafka's `minPartitions`) may cut a chunk.
pub const CHUNK_OFFSETS: i64 = 16 * 1024;

/// A link of the chain to a source, and what was found there.
pub type Link = (&'static str, Result<String>);

/// What can be said and tried of a source by its options alone, before it is open.
pub trait SourceOptions {
    /// Opens the source. `whole_records` are asked for where those that are rejected are kept.
    ///
    /// # Errors
    /// `Config` if the options name what is not there; `Unavailable` if the service does not answer.
    fn open(&self, whole_records: bool) -> Result<Box<dyn Source>>;

    /// Whether the same range gives the same records in another process too.
    fn is_replayable(&self) -> bool {
        true
    }

    /// What is read, in words, behind the name of the format; no service is asked.
    fn words(&self) -> Option<String> {
        None
    }

    /// The tokens that the source logs in with, if they can be kept across restarts of its stream.
    fn login_tokens(&self) -> Option<Arc<RenewedTokens>> {
        None
    }

    /// The chain to the source, tried link by link; the first that is broken is the last.
    fn links(&self) -> Vec<Link> {
        Vec::new()
    }

    /// Whether reading the records is a right of its own, which [`SourceOptions::may_be_read`] tries.
    fn has_rights(&self) -> bool {
        false
    }

    /// Tries whether the records may be read; returns what was tried, in words.
    ///
    /// # Errors
    /// `Config` if they may not.
    fn may_be_read(&self) -> Result<String> {
        Ok(String::new())
    }
}

/// A source of one stream. Blocks; used from the stream's thread only.
pub trait Source: Send {
    /// What Spark calls the source's description: `KafkaV2[Subscribe[t]]`.
    fn description(&self) -> String;

    /// Whether a query could start, asked before anything is made or changed for it: a new one, or one whose newest plan ends at
    /// `from`. What is gone of that is a loss, for which there is a policy; what never was there is a mistake.
    ///
    /// # Errors
    /// `Config` if the options name what is not there.
    fn check_start(&self, from: Option<&Offset>) -> Result<()> {
        let _ = from;
        Ok(())
    }

    /// Where a new query starts.
    ///
    /// # Errors
    /// `Config` if the options name what is not there; `Unavailable` if the service does not answer.
    fn initial_offset(&mut self) -> Result<Offset>;

    /// How far the source reaches now, and what the next micro-batch may read from `from` on.
    ///
    /// # Errors
    /// `Data` if records are lost and the source's options say that this stops the stream; else as for
    /// [`Source::initial_offset`].
    fn latest_offset(&mut self, from: &Position, admission: &Admission<'_>) -> Result<Available>;

    /// Deals what is to be read of `range` to `lanes` lanes; offsets that are `lost` are not read. The result has
    /// an entry for each lane, some may be empty. The same range gives the same splits.
    ///
    /// # Errors
    /// `Internal` if the range does not say where it starts.
    fn splits(&self, range: &SourceRange, lost: &[Loss], lanes: usize) -> Result<Vec<Vec<Split>>>;

    /// A reader for one lane that may hold as much of what it fetched as the limit of `memory` says, and counts it there.
    /// With `pinned` it reads a range that was planned with these notes.
    ///
    /// # Errors
    /// `Config` if a client cannot be made.
    fn reader(&self, memory: &Arc<MemoryAccount>, pinned: Option<&Notes>) -> Result<Box<dyn SplitReader>>;

    /// Whether a range with these notes was planned under options that the stream's readers do not have, so that
    /// readers must be made for it alone; what differs, in words.
    ///
    /// # Errors
    /// `Config` if this version does not know what the notes ask for.
    fn differs(&self, notes: &Notes) -> Result<Option<String>> {
        let _ = notes;
        Ok(None)
    }

    /// Proves after the read that the records came from what was planned; `lost` was found gone before.
    ///
    /// # Errors
    /// `Conflict` if the source was replaced meanwhile; `Unavailable` if it does not answer.
    fn verify(&self, range: &SourceRange, lost: &[Loss]) -> Result<()> {
        let _ = (range, lost);
        Ok(())
    }

    /// Prepares a planned range to be read again. Its start is where the batch before ended; returns the range with
    /// its full start, and what cannot be read any more.
    ///
    /// # Errors
    /// As for [`Source::latest_offset`].
    fn replay(&mut self, range: SourceRange) -> Result<(SourceRange, Vec<Loss>)>;

    /// What a start would find to read, in words: `2 partitions, 7 offsets`. Changes nothing.
    ///
    /// # Errors
    /// What a start would meet, lost records that the read itself would find included.
    fn preview(&mut self, from: From<'_>) -> Result<String>;

    /// How far the source reaches now, for display; judges nothing and changes nothing. `None` where that has no
    /// meaning.
    ///
    /// # Errors
    /// As for [`Source::initial_offset`].
    fn ends(&mut self) -> Result<Option<Offset>> {
        Ok(None)
    }

    /// Numbers about the service since they were last asked for, for the progress: Spark's `metrics` of a source.
    fn metrics(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::new()
    }

    /// Everything before `until` is in the sink. Also called when a stream begins where another run has ended.
    ///
    /// # Errors
    /// `Unavailable` if the service does not answer; the batch is committed all the same.
    fn committed(&mut self, until: &Offset) -> Result<()> {
        let _ = until;
        Ok(())
    }

    /// What the service was told of that since this was last asked; `None` if nothing was, or if it keeps no such thing.
    fn mirrored(&self) -> Option<Offset> {
        None
    }
}

/// Where a stream is in a source: the offset that it has read up to, and what the source noted there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The next offset to read.
    pub offset: Offset,
    /// What the source needs to know that it is still the same records.
    pub notes: Notes,
}

/// What the trigger says about the size of the next micro-batch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Admission<'a> {
    /// One batch of all there is, whatever the source's options say (`Trigger.Once`).
    pub unlimited: bool,
    /// How many records a batch may have where the source's options do not say.
    pub default_max: Option<u64>,
    /// How many records fit in memory: a batch that has more is read in parts.
    pub part_max: Option<u64>,
    /// Nothing beyond this offset is read: what there was when an `availableNow` stream began.
    pub bound: Option<&'a Offset>,
    /// The end of a batch of which parts were read. Nothing beyond it is read, and of the limits only `part_max` counts: the
    /// others have made the batch.
    pub remainder: Option<&'a Offset>,
}

impl<'a> Admission<'a> {
    /// The offset beyond which nothing is read, if there is one.
    fn last(&self) -> Option<&'a Offset> {
        self.remainder.or(self.bound)
    }

    /// Whether no limit makes the batch: all there is, or what is left of a batch that was made, is one.
    fn is_unlimited(&self) -> bool {
        self.unlimited || self.remainder.is_some()
    }
}

/// What a source has now.
#[derive(Debug)]
pub struct Available {
    /// How far it reaches.
    pub latest: Offset,
    /// What the next micro-batch reads; `None` if there is nothing for one.
    pub range: Option<SourceRange>,
    /// Records between the end of that range and `latest`.
    pub lag: i64,
    /// Whether the range ends where it does only because of [`Admission::default_max`].
    pub is_cut: bool,
    /// The end of the batch of which the range is a part because of [`Admission::part_max`], with more to follow.
    pub remainder: Option<Offset>,
    /// What the source noted of the position, to be remembered even if no batch is planned.
    pub notes: Notes,
    /// Records that are gone since the batch before; the next plan records them.
    pub losses: Vec<Loss>,
    /// Whether the source does not believe yet what the service says: nothing is known but the position, and the source is
    /// to be asked again before long, whatever the trigger.
    pub undecided: bool,
}

impl Available {
    /// Nothing is known behind `position`.
    pub fn undecided(position: &Position) -> Available {
        Available {
            latest: position.offset.clone(),
            range: None,
            lag: 0,
            is_cut: false,
            remainder: None,
            notes: position.notes.clone(),
            losses: Vec::new(),
            undecided: true,
        }
    }
}

/// What one micro-batch reads of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRange {
    /// The first offsets.
    pub start: Offset,
    /// The offsets behind the last.
    pub end: Offset,
    /// What a replay needs beside them.
    pub notes: Notes,
}

/// Where a preview starts.
#[derive(Debug, Clone)]
pub enum From<'a> {
    /// At the beginning of a new query.
    New,
    /// Behind what was read.
    Position(&'a Position),
    /// At a planned range, which is read again.
    Planned(&'a SourceRange),
}

/// A part of a range that one lane reads: offsets of one log (a partition, a file). What else its reader needs
/// is in `detail`, which only the source interprets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// The offsets.
    pub range: OffsetRange,
    /// The source's own addition; empty if there is none.
    pub detail: String,
}

/// Ends a read that was told to stop.
///
/// # Errors
/// `Unavailable` if `cancel` is set.
fn go_on(cancel: &AtomicBool) -> Result<()> {
    if cancel.load(Ordering::Relaxed) {
        return Err(Error::unavailable("the read was told to stop before its end"));
    }
    Ok(())
}

/// The reading side of a source: one per lane, used from that lane's thread only.
pub trait SplitReader: Send {
    /// Delivers every record of `splits` once, in offset order per log, and none outside them.
    /// Stops early, with an error, when `cancel` is set.
    ///
    /// # Errors
    /// `Data` if records are gone and the options say to stop; `Unavailable` if the service does not
    /// answer; whatever `intake` returns.
    fn read(&mut self, splits: &[Split], cancel: &AtomicBool, intake: &mut dyn Intake)
    -> Result<ReadOutcome>;

    /// Called about once a second while the lane has nothing to read: a client's events must not pile up.
    fn rest(&mut self) {}
}

/// Takes what a reader delivers.
pub trait Intake {
    /// Takes a record, whose value is still to be decoded. Borrowed: copy what you keep.
    ///
    /// # Errors
    /// `Data` if it is malformed and that stops the stream; whatever the sink returns.
    fn record(&mut self, record: &Record<'_>) -> Result<()>;

    /// Takes rows in the source's own columns, of a source that has columns.
    ///
    /// # Errors
    /// Whatever the sink returns.
    fn rows(&mut self, rows: RecordBatch) -> Result<()>;
}

/// What a read did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadOutcome {
    /// Records delivered.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records that could not be read and that the options let pass.
    pub losses: Vec<Loss>,
}

/// Gives memory back that the readers of a stream leave behind when they are dropped.
pub fn give_back_memory() {
    kafka::give_back_memory();
}
