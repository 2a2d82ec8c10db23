//! What a query keeps between micro-batches: rows of bytes in numbered tables, one version for each committed batch.
//!
//! ```text
//! begin(N) ─► StateBatch: reads version N-1, keeps its own changes ─► seal ─► state/changes/N.ATTEMPT, durable
//!                                                                      └─► commit, after the sink's commit of N
//! ```
//!
//! Keys and values are bytes that only the operator that wrote them reads. A key begins with eight bytes
//! of time ([`time_prefix`]), by which whole ranges of keys are read and removed. Knows no query and no plan.
//!
//! # Which run of a batch counts
//!
//! A batch may be run several times, by several processes, and each run seals its changes under a name of its own. The sink's
//! commit decides: whoever commits the batch there records the run (its attempt) in that commit and in `commits/N`, and a
//! start gives the store the newest batch of the sink with its run ([`Committed`]). Every file of changes names the run of the batch
//! before that it was made on, so the newest run names the whole chain, down to a snapshot, the local copy or the first batch. A
//! chain in which a file is missing or damaged is refused by the name of the file, and nothing is changed. Files of other runs are not read.
//!
//! The order of a batch is: plan, [`StateStore::begin`], run, [`StateStore::seal`], the sink's commit with the run,
//! [`StateStore::commit`], `commits/N` with the run, [`StateStore::maintain`]. If the sink holds the batch of another run, the sealed batch is
//! dropped and the store opened again. After an error of `begin`, `seal` or of the batch, the store is opened again too.
//!
//! # What is where
//!
//! The checkpoint holds the state ([`files`]): a file of changes for each batch, and a snapshot whenever the changes since the last one
//! have grown as large as it. The folder on local disk holds a copy ([`cache`]) that reads go to, and which changes reach
//! when some megabytes of them have come together; until then they are in memory. The copy may be lost, old or damaged.
//!
//! Retention follows that of the logs: of the batches that a start may go back to, each can be restored ([`snapshot`]).

mod batch;
mod cache;
pub mod codec;
mod definition;
mod file;
mod files;
mod memory;
mod options;
mod restore;
mod snapshot;
mod store;
mod version;
mod view;
mod words;

pub use batch::StoreBatch;
pub use codec::Codec;
pub use definition::{DEFINITION, KeyTime, StateColumn, StateDefinition, TableDefinition};
pub use files::check_files;
pub use memory::MemoryState;
pub use options::StateOptions;
pub use restore::Origin;
pub use store::{SealedBatch, StateSize, StateStore};
pub use version::Committed;
pub(crate) use words::in_words;

use crate::model::Result;

/// What mends damaged state.
const RESTORE: &str = "restore the checkpoint from a backup, or start the query on a new checkpointLocation; nothing was changed";

/// Which of a query's tables of state: each stateful operator has one or several, numbered in the order of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u16);

/// Takes a key and its value.
pub type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> Result<()> + 'v;

/// The state as one micro-batch sees and changes it.
///
/// Reads see the state after the batch before, and this batch's own changes. Nothing is kept of a batch that is dropped.
pub trait StateBatch: Send {
    /// The values of `keys`, which ascend, in their order; `None` where there is no such key.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt` if the store cannot be read.
    fn get_many(&self, table: TableId, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>>;

    /// Visits the keys from `from` on and below `to` (`None`: to the last), ascending, with their values.
    ///
    /// # Errors
    /// As for [`StateBatch::get_many`], and what `visit` returns.
    fn scan(&self, table: TableId, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<()>;

    /// Puts a key that is not there. It must not lie below a bound of [`StateBatch::expire`], of this batch or an earlier one.
    ///
    /// Who changes a key has read it and knows whether it is there, so that nothing is looked up twice; a batch that was told
    /// otherwise than it is cannot be sealed.
    fn insert(&mut self, table: TableId, key: Vec<u8>, value: Vec<u8>);

    /// Gives a key that is there another value.
    fn replace(&mut self, table: TableId, key: Vec<u8>, value: Vec<u8>);

    /// Removes a key that is there.
    fn delete(&mut self, table: TableId, key: Vec<u8>);

    /// Removes all keys below `bound`, each of which is visited with its value; returns how many there were. A bound that is
    /// lower than an earlier one removes nothing.
    ///
    /// # Errors
    /// As for [`StateBatch::scan`].
    fn expire(&mut self, table: TableId, bound: &[u8], visit: &mut Visit<'_>) -> Result<u64>;

    /// How many keys the table has now.
    ///
    /// # Errors
    /// `Internal` if there is no such table.
    fn len(&self, table: TableId) -> Result<u64>;
}

/// The first eight bytes of a key: microseconds since the Unix epoch, so that bytes compare as times do.
pub fn time_prefix(micros: i64) -> [u8; 8] {
    (micros as u64 ^ (1 << 63)).to_be_bytes()
}

/// The time that a key begins with, in microseconds since the Unix epoch; `None` if it is too short.
pub fn time_of(key: &[u8]) -> Option<i64> {
    let bytes = key.first_chunk::<8>()?;
    Some((u64::from_be_bytes(*bytes) ^ (1 << 63)) as i64)
}

#[cfg(test)]
mod tests;
