//! One micro-batch's view of the durable state, and what it changes.

use std::collections::btree_map::Entry;

use super::version::{Change, Changes, TableState};
use super::view::View;
use super::{StateBatch, TableId, Visit};
use crate::model::{Error, Result};

/// A batch of [`super::StateStore::begin`].
pub struct StoreBatch {
    pub(super) batch_id: i64,
    base: View,
    tables: Vec<TableBatch>,
    /// What an operator did that it must not do; the batch cannot be sealed then.
    defect: Option<String>,
}

/// What a batch changed in one table.
struct TableBatch {
    changes: Changes,
    /// How many keys the table has with the batch's changes.
    count: u64,
    expired_below: Vec<u8>,
}

/// What is written down of a batch.
pub(super) struct BatchChanges {
    pub(super) tables: Vec<TableState>,
    pub(super) changes: Vec<Changes>,
}

impl StoreBatch {
    pub(super) fn new(batch_id: i64, base: View) -> StoreBatch {
        let begin = |table: &TableState| TableBatch {
            changes: Changes::new(),
            count: table.count,
            expired_below: table.expired_below.clone(),
        };
        StoreBatch { batch_id, tables: base.version.tables.iter().map(begin).collect(), base, defect: None }
    }

    /// The batch.
    pub fn batch_id(&self) -> i64 {
        self.batch_id
    }

    /// The state that the batch was begun on.
    pub(super) fn base(&self) -> &View {
        &self.base
    }

    /// What the batch has changed.
    ///
    /// # Errors
    /// `Internal` if an operator did what it must not do, which tests look for in the state too: `Unavailable` if the local
    /// copy cannot be read then.
    pub(super) fn into_changes(self) -> Result<BatchChanges> {
        if let Some(defect) = &self.defect {
            return Err(Error::internal(format!("micro-batch {} {defect}", self.batch_id)));
        }
        #[cfg(debug_assertions)]
        self.check()?;
        let mut all = BatchChanges { tables: Vec::new(), changes: Vec::new() };
        for TableBatch { changes, count, expired_below } in self.tables {
            all.tables.push(TableState { count, expired_below });
            all.changes.push(changes);
        }
        Ok(all)
    }

    /// Compares what the batch was told of each key with the state before it.
    #[cfg(debug_assertions)]
    fn check(&self) -> Result<()> {
        for (id, table) in self.tables.iter().enumerate() {
            let keys: Vec<&[u8]> = table.changes.keys().map(Vec::as_slice).collect();
            let mut found = vec![false; keys.len()];
            self.base.get_many(TableId(id as u16), &keys, 0..keys.len(), &mut |key, _| found[key] = true)?;
            if !table.changes.values().map(|change| !change.is_new).eq(found) {
                return Err(Error::internal(format!(
                    "micro-batch {} took a key of table {id} of the state for new that was there, or the reverse",
                    self.batch_id
                )));
            }
        }
        Ok(())
    }

    /// The table, to change `key`; `None` if that must not be, which is noted.
    fn changed(&mut self, id: TableId, key: &[u8]) -> Option<&mut TableBatch> {
        match self.tables.get_mut(usize::from(id.0)) {
            Some(table) if key >= table.expired_below.as_slice() => Some(table),
            Some(_) => {
                self.defect = Some(format!("changed a key that has expired in table {} of the state", id.0));
                None
            }
            None => {
                self.defect = Some(format!("changed table {} of the state, which is not defined", id.0));
                None
            }
        }
    }

    /// Puts a key, which the state before the batch has unless it `is_new`: whether it was there; `None` if that must not be.
    fn put(&mut self, id: TableId, key: Vec<u8>, value: Vec<u8>, is_new: bool) -> Option<bool> {
        let table = self.changed(id, &key)?;
        table.count += u64::from(is_new);
        Some(match table.changes.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(Change { value: Some(value), is_new });
                !is_new
            }
            // There, unless it was removed in this batch.
            Entry::Occupied(mut entry) => entry.get_mut().value.replace(value).is_some(),
        })
    }

    fn table(&self, table: TableId) -> Result<&TableBatch> {
        self.tables.get(usize::from(table.0)).ok_or_else(|| unknown(table))
    }
}

fn unknown(table: TableId) -> Error {
    Error::internal(format!("the definition of the state has no table {}", table.0))
}

impl StateBatch for StoreBatch {
    fn get_many(&self, id: TableId, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        let table = self.table(id)?;
        let mut values: Vec<Option<Vec<u8>>> = vec![None; keys.len()];
        let mut asked = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            match table.changes.get(*key) {
                Some(change) => values[index].clone_from(&change.value),
                None if *key >= table.expired_below.as_slice() => asked.push(index),
                None => {}
            }
        }
        self.base.get_many(id, keys, asked.into_iter(), &mut |index, value| {
            values[index] = Some(value.to_vec());
        })?;
        Ok(values)
    }

    fn scan(&self, id: TableId, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<()> {
        let table = self.table(id)?;
        self.base.scan(id, (from.max(&table.expired_below), to), Some(&table.changes), visit)
    }

    fn insert(&mut self, id: TableId, key: Vec<u8>, value: Vec<u8>) {
        if self.put(id, key, value, true) == Some(true) {
            self.defect = Some(format!("put a key twice into table {} of the state", id.0));
        }
    }

    fn replace(&mut self, id: TableId, key: Vec<u8>, value: Vec<u8>) {
        if self.put(id, key, value, false) == Some(false) {
            self.defect = Some(format!("changed a key that it had removed from table {} of the state", id.0));
        }
    }

    fn delete(&mut self, id: TableId, key: Vec<u8>) {
        let Some(table) = self.changed(id, &key) else { return };
        let was_there = match table.changes.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(Change { value: None, is_new: false });
                true
            }
            Entry::Occupied(entry) if entry.get().is_new => entry.remove().value.is_some(),
            Entry::Occupied(mut entry) => entry.get_mut().value.take().is_some(),
        };
        table.count = table.count.saturating_sub(1);
        if !was_there {
            self.defect = Some(format!("removed a key twice from table {} of the state", id.0));
        }
    }

    fn expire(&mut self, id: TableId, bound: &[u8], visit: &mut Visit<'_>) -> Result<u64> {
        if bound <= self.table(id)?.expired_below.as_slice() {
            return Ok(0);
        }
        let mut gone = 0;
        self.scan(id, &[], Some(bound), &mut |key, value| {
            gone += 1;
            visit(key, value)
        })?;
        let Some(table) = self.tables.get_mut(usize::from(id.0)) else { return Err(unknown(id)) };
        table.changes = table.changes.split_off(bound);
        table.count = table.count.saturating_sub(gone);
        table.expired_below = bound.to_vec();
        Ok(gone)
    }

    fn len(&self, id: TableId) -> Result<u64> {
        self.table(id).map(|table| table.count)
    }
}
