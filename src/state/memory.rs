//! State in memory: what the durable store is compared with, and what a query over a sample of records uses.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::{StateBatch, TableId, Visit};
use crate::model::Result;

type Table = BTreeMap<Vec<u8>, Vec<u8>>;

/// A state that ends with the process.
#[derive(Debug, Clone, Default)]
pub struct MemoryState {
    tables: BTreeMap<TableId, Table>,
    /// The bound of each table that has one.
    expired_below: BTreeMap<TableId, Vec<u8>>,
}

impl MemoryState {
    /// A batch's view; [`MemoryState::commit`] makes it the state.
    pub fn begin(&self) -> MemoryState {
        self.clone()
    }

    /// Makes the state that a batch left the state of the next one.
    pub fn commit(&mut self, batch: MemoryState) {
        *self = batch;
    }
}

impl StateBatch for MemoryState {
    fn get_many(&self, table: TableId, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        let table = self.tables.get(&table);
        Ok(keys.iter().map(|key| table.and_then(|table| table.get(*key)).cloned()).collect())
    }

    fn scan(&self, table: TableId, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<()> {
        if to.is_some_and(|to| to <= from) {
            return Ok(());
        }
        let Some(table) = self.tables.get(&table) else { return Ok(()) };
        let to = to.map_or(Bound::Unbounded, Bound::Excluded);
        table.range::<[u8], _>((Bound::Included(from), to)).try_for_each(|(key, value)| visit(key, value))
    }

    fn insert(&mut self, table: TableId, key: Vec<u8>, value: Vec<u8>) {
        debug_assert!(
            self.expired_below.get(&table).is_none_or(|bound| key >= *bound),
            "the key has expired"
        );
        let before = self.tables.entry(table).or_default().insert(key, value);
        debug_assert!(before.is_none(), "the key was there");
    }

    fn replace(&mut self, table: TableId, key: Vec<u8>, value: Vec<u8>) {
        let before = self.tables.entry(table).or_default().insert(key, value);
        debug_assert!(before.is_some(), "the key was not there");
    }

    fn delete(&mut self, table: TableId, key: Vec<u8>) {
        let before = self.tables.get_mut(&table).and_then(|table| table.remove(&key));
        debug_assert!(before.is_some(), "the key was not there");
    }

    fn expire(&mut self, table: TableId, bound: &[u8], visit: &mut Visit<'_>) -> Result<u64> {
        let expired_below = self.expired_below.entry(table).or_default();
        if bound > expired_below.as_slice() {
            *expired_below = bound.to_vec();
        }
        let Some(table) = self.tables.get_mut(&table) else { return Ok(0) };
        let kept = table.split_off(bound);
        let gone = std::mem::replace(table, kept);
        gone.iter().try_for_each(|(key, value)| visit(key, value))?;
        Ok(gone.len() as u64)
    }

    fn len(&self, table: TableId) -> Result<u64> {
        Ok(self.tables.get(&table).map_or(0, |table| table.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_sees_its_own_changes_and_leaves_nothing_unless_committed() {
        let (table, mut state) = (TableId(0), MemoryState::default());
        let mut batch = state.begin();
        for key in [b"a", b"b", b"c"] {
            batch.insert(table, key.to_vec(), b"1".to_vec());
        }
        batch.delete(table, b"b".to_vec());
        assert_eq!(batch.get_many(table, &[b"a", b"b"]).unwrap(), [Some(b"1".to_vec()), None]);
        assert_eq!(state.len(table).unwrap(), 0);
        state.commit(batch);
        let mut next = state.begin();
        assert_eq!(next.expire(table, b"b", &mut |_, _| Ok(())).unwrap(), 1);
        let mut seen = Vec::new();
        next.scan(table, b"", None, &mut |key, _| {
            seen.push(key.to_vec());
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, [b"c".to_vec()]);
        next.scan(table, b"d", Some(b"a"), &mut |_, _| panic!("an empty range has no keys")).unwrap();
    }
}
