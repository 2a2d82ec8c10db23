//! Where records come from: positions, how far they reach now, and the records of given ranges.
//!
//! A source is replayable: the same range gives the same records, whoever reads it and when. Offsets
//! live in the checkpoint; a source keeps none. Pure functions between [`Source`] and [`Reader`]
//! decide how much goes into a micro-batch and what is lost ([`kafka::limit`], [`kafka::losses`]).

pub mod dead_letters;
pub mod kafka;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use crate::config::kafka::Isolation;
use crate::model::{OffsetRange, Offsets, Record, Result};

pub use kafka::{Latest, LossReason, LostRange, ReadReport};

/// The asking side of a source: one per stream, off the hot path. Blocks.
pub trait Source: Send {
    /// What Spark calls the source's description: `KafkaV2[Subscribe[t]]`.
    fn description(&self) -> String;

    /// Where a new query starts.
    ///
    /// # Errors
    /// `Config` if the options name what is not there; `Unavailable` if the service does not answer.
    fn initial_offsets(&self) -> Result<Offsets>;

    /// How far the source reaches now, and how its partitions differ from those of `known`.
    ///
    /// # Errors
    /// As for [`Source::initial_offsets`].
    fn latest(&self, known: &Offsets) -> Result<Latest>;

    /// The ids of the topics read, by name, as of the last look or asked for `now`; a topic that was
    /// deleted and made anew has another one. A topic of `needed`, the ids by which the stream has read so
    /// far, is missing only if it is gone; others also where the service gives no ids.
    ///
    /// # Errors
    /// `Unavailable` if the service does not say an id that is needed; `Config` if it has none any more.
    fn topic_ids(&self, needed: &BTreeMap<String, String>, now: bool) -> Result<BTreeMap<String, String>> {
        let _ = (needed, now);
        Ok(BTreeMap::new())
    }

    /// A reader for one lane that may hold `memory_bytes` of what it fetched; `isolation` says which records
    /// of transactions it delivers, where the service has any.
    ///
    /// # Errors
    /// `Config` if a client can't be made.
    fn reader(&self, memory_bytes: usize, isolation: Isolation) -> Result<Box<dyn Reader>>;
}

/// The reading side: one per lane, used from that lane's thread only.
pub trait Reader: Send {
    /// Delivers every record of `ranges` once, in offset order per partition, and none outside them.
    /// Stops early, with an error, when `cancel` is set.
    ///
    /// # Errors
    /// `Data` if offsets are gone and the options say to stop; `Unavailable` if the service does not
    /// answer; whatever `on_record` returns.
    fn read(
        &mut self,
        ranges: &[OffsetRange],
        cancel: &AtomicBool,
        on_record: &mut dyn FnMut(&Record<'_>) -> Result<()>,
    ) -> Result<ReadReport>;
}
