//! One micro-batch's view of the durable state, and what it changes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Bound;

use super::version::{Changes, TableState};
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
#[derive(Default)]
struct TableBatch {
    changes: Changes,
    /// Which keys the state before the batch has, as far as it was asked.
    known: RefCell<HashMap<Vec<u8>, bool>>,
    expired_below: Vec<u8>,
    /// Keys of the state before the batch that expired in it.
    expired: u64,
}

/// What is written down of a batch.
pub(super) struct BatchChanges {
    pub(super) tables: Vec<TableState>,
    pub(super) changes: Vec<Changes>,
}

impl StoreBatch {
    pub(super) fn new(batch_id: i64, base: View) -> StoreBatch {
        let begin = |table: &TableState| TableBatch {
            expired_below: table.expired_below.clone(),
            ..TableBatch::default()
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

    /// What the batch has changed, with removals of keys that there were only.
    ///
    /// # Errors
    /// `Unavailable` if the local copy cannot be read; `Internal` if an expired key was put.
    pub(super) fn into_changes(mut self) -> Result<BatchChanges> {
        let mut tables = Vec::with_capacity(self.tables.len());
        if let Some(defect) = &self.defect {
            return Err(Error::internal(format!("micro-batch {} {defect}", self.batch_id)));
        }
        for id in 0..self.tables.len() {
            let count = self.len(TableId(id as u16))?;
            let table = &mut self.tables[id];
            let known = table.known.get_mut();
            table.changes.retain(|key, value| value.is_some() || known.get(key).copied().unwrap_or(true));
            tables.push(TableState { count, expired_below: std::mem::take(&mut table.expired_below) });
        }
        Ok(BatchChanges { tables, changes: self.tables.into_iter().map(|table| table.changes).collect() })
    }

    fn table(&self, table: TableId) -> Result<&TableBatch> {
        self.tables.get(usize::from(table.0)).ok_or_else(|| unknown(table))
    }

    /// Finds out of each changed key whether the state before the batch has it.
    fn look_up_changed(&self, id: TableId, table: &TableBatch) -> Result<()> {
        let mut known = table.known.borrow_mut();
        let asked: Vec<&[u8]> =
            table.changes.keys().filter(|key| !known.contains_key(*key)).map(Vec::as_slice).collect();
        let mut found = vec![false; asked.len()];
        self.base.get_many(id, &asked, 0..asked.len(), &mut |index, _| found[index] = true)?;
        known.extend(asked.into_iter().map(<[u8]>::to_vec).zip(found));
        Ok(())
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
                Some(value) => values[index].clone_from(value),
                None if *key >= table.expired_below.as_slice() => asked.push(index),
                None => {}
            }
        }
        self.base.get_many(id, keys, asked.iter().copied(), &mut |index, value| {
            values[index] = Some(value.to_vec());
        })?;
        let mut known = table.known.borrow_mut();
        known.extend(asked.into_iter().map(|index| (keys[index].to_vec(), values[index].is_some())));
        Ok(values)
    }

    fn scan(&self, id: TableId, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<()> {
        let table = self.table(id)?;
        self.base.scan(id, (from.max(&table.expired_below), to), Some(&table.changes), visit)
    }

    fn put(&mut self, id: TableId, key: Vec<u8>, value: Vec<u8>) {
        match self.tables.get_mut(usize::from(id.0)) {
            Some(table) if key >= table.expired_below => drop(table.changes.insert(key, Some(value))),
            Some(_) => {
                self.defect = Some(format!("put a key that has expired into table {} of the state", id.0))
            }
            None => {
                self.defect =
                    Some(format!("put a key into table {} of the state, which is not defined", id.0))
            }
        }
    }

    fn delete(&mut self, id: TableId, key: Vec<u8>) {
        let Some(table) = self.tables.get_mut(usize::from(id.0)) else { return };
        if key >= table.expired_below {
            table.changes.insert(key, None);
        }
    }

    fn expire(&mut self, id: TableId, bound: &[u8]) -> Result<u64> {
        let table = self.table(id)?;
        if bound <= table.expired_below.as_slice() {
            return Ok(0);
        }
        let range = (table.expired_below.as_slice(), Some(bound));
        let mut own = table.changes.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(bound))).peekable();
        // Keys of the state before the batch, and those of the batch's view.
        let (mut before, mut now) = (0_u64, 0_u64);
        self.base.scan(id, range, None, &mut |key, _| {
            while let Some((_, value)) = own.next_if(|(own, _)| own.as_slice() < key) {
                now += u64::from(value.is_some());
            }
            before += 1;
            now += match own.next_if(|(own, _)| own.as_slice() == key) {
                Some((_, value)) => u64::from(value.is_some()),
                None => 1,
            };
            Ok(())
        })?;
        now += own.filter(|(_, value)| value.is_some()).count() as u64;
        let Some(table) = self.tables.get_mut(usize::from(id.0)) else { return Err(unknown(id)) };
        table.changes = table.changes.split_off(bound);
        table.expired += before;
        table.expired_below = bound.to_vec();
        Ok(now)
    }

    fn len(&self, id: TableId) -> Result<u64> {
        let table = self.table(id)?;
        self.look_up_changed(id, table)?;
        let known = table.known.borrow();
        let before = self.base.version.tables[usize::from(id.0)].count;
        let mut count = before.saturating_sub(table.expired);
        for (key, value) in &table.changes {
            match (value.is_some(), known.get(key).copied().unwrap_or(false)) {
                (true, false) => count += 1,
                (false, true) => count = count.saturating_sub(1),
                _ => {}
            }
        }
        Ok(count)
    }
}
