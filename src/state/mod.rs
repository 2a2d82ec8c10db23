//! What a query keeps between micro-batches: rows of bytes in numbered tables, one version for each committed batch.
//!
//! ```text
//! begin(N) ─► StateBatch: reads version N-1, keeps its own changes ─► seal ─► change file N, durable
//!                                                                      └─► commit, after the sink's commit
//! ```
//!
//! Keys and values are bytes that only the operator that wrote them reads. A key begins with eight bytes
//! of time ([`time_prefix`]), by which whole ranges of keys are read and removed. Knows no query and no plan.

mod memory;

pub use memory::MemoryState;

use crate::model::Result;

/// Which of a query's tables of state: each stateful operator has one or several, numbered in the order of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u16);

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
    fn scan(
        &self,
        table: TableId,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<()>,
    ) -> Result<()>;

    /// Puts a value in place of the one that `key` has, if any.
    fn put(&mut self, table: TableId, key: Vec<u8>, value: Vec<u8>);

    /// Removes a key.
    fn delete(&mut self, table: TableId, key: Vec<u8>);

    /// Removes all keys below `bound`; returns how many there were.
    ///
    /// # Errors
    /// As for [`StateBatch::get_many`].
    fn expire(&mut self, table: TableId, bound: &[u8]) -> Result<u64>;

    /// How many keys the table has now.
    ///
    /// # Errors
    /// As for [`StateBatch::get_many`].
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
mod tests {
    use super::*;

    #[test]
    fn times_compare_as_bytes_and_come_back() {
        let times = [i64::MIN, -1, 0, 1, i64::MAX];
        assert!(times.windows(2).all(|pair| time_prefix(pair[0]) < time_prefix(pair[1])));
        assert!(times.iter().all(|time| time_of(&time_prefix(*time)) == Some(*time)));
        assert_eq!(time_of(b"short"), None);
    }
}
