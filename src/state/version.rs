//! Which state: the batch whose changes it holds last, and what is known of each table then.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::TableId;

/// A run of a batch that the sink has committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Committed {
    /// The batch.
    pub batch_id: i64,
    /// The run, as [`super::StateStore::seal`] was told.
    pub attempt: String,
}

/// The state after a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Version {
    /// The batch that came last; `None` before the first.
    pub(super) committed: Option<Committed>,
    pub(super) tables: Vec<TableState>,
}

/// A table of a version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TableState {
    /// How many keys there are.
    pub(super) count: u64,
    /// Keys below are not there, whatever is found.
    #[serde(with = "hex")]
    pub(super) expired_below: Vec<u8>,
}

impl Version {
    /// The state before the first batch.
    pub(super) fn empty(tables: usize) -> Version {
        Version { committed: None, tables: vec![TableState::default(); tables] }
    }

    /// The batch that came last; -1 before the first.
    pub(super) fn batch_id(&self) -> i64 {
        self.committed.as_ref().map_or(-1, |committed| committed.batch_id)
    }

    /// The bound of a table.
    pub(super) fn expired_below(&self, table: TableId) -> &[u8] {
        self.tables.get(usize::from(table.0)).map_or(&[], |table| &table.expired_below)
    }
}

/// Changes of one table by key.
pub(super) type Changes = BTreeMap<Vec<u8>, Change>;

/// What becomes of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// Its new value; `None` if it is removed.
    pub(super) value: Option<Vec<u8>>,
    /// Whether the state before the batch lacks it; of use while the batch runs.
    pub(super) is_new: bool,
}

/// Changes that are not fewer than this share of those that are there are merged with them in one pass.
const APPEND_SHARE: usize = 8;

/// What an entry of [`Changes`] takes in memory beside its bytes.
const ENTRY_BYTES: usize = 104;

/// Changes of committed batches that the local copy does not have yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer {
    pub(super) tables: BTreeMap<TableId, Changes>,
    /// What it takes in memory, about.
    pub(super) bytes: usize,
    /// How many batches.
    pub(super) batches: u32,
}

impl Layer {
    /// The changes of a table.
    pub(super) fn table(&self, table: TableId) -> Option<&Changes> {
        self.tables.get(&table)
    }

    /// Adds the changes that a later batch made to a table.
    pub(super) fn add(&mut self, table: TableId, mut changes: Changes) {
        let added = changes.iter().map(|(key, change)| entry_bytes(key, change)).sum::<usize>();
        let target = self.tables.entry(table).or_default();
        let (count, entries) = (changes.len().max(1), target.len() + changes.len());
        self.bytes += added;
        if changes.len() * APPEND_SHARE < target.len() {
            for (key, change) in changes {
                if let Some((old, before)) = target.get_key_value(&key) {
                    self.bytes -= entry_bytes(old, before);
                }
                target.insert(key, change);
            }
            return;
        }
        // One pass over both. The entries that are replaced are taken to be as large as those that replace them.
        target.append(&mut changes);
        let replaced = entries - target.len();
        self.bytes -= (added / count * replaced).min(self.bytes);
    }

    /// Adds one change.
    pub(super) fn put(&mut self, table: TableId, key: &[u8], value: Option<&[u8]>) {
        let change = Change { value: value.map(<[u8]>::to_vec), is_new: false };
        self.bytes += entry_bytes(key, &change);
        let before = self.tables.entry(table).or_default().insert(key.to_vec(), change);
        if let Some(before) = before {
            self.bytes -= entry_bytes(key, &before);
        }
    }

    /// Forgets the keys of a table below `bound`.
    pub(super) fn expire(&mut self, table: TableId, bound: &[u8]) {
        let Some(changes) = self.tables.get_mut(&table) else { return };
        if changes.first_key_value().is_none_or(|(first, _)| first.as_slice() >= bound) {
            return;
        }
        let kept = changes.split_off(bound);
        let expired = std::mem::replace(changes, kept);
        self.bytes -= expired.iter().map(|(key, change)| entry_bytes(key, change)).sum::<usize>();
    }
}

fn entry_bytes(key: &[u8], change: &Change) -> usize {
    key.len() + change.value.as_ref().map_or(0, Vec::len) + ENTRY_BYTES
}

/// Bytes in JSON.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        to.serialize_str(&digits)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let digits = String::deserialize(from)?;
        if digits.len() % 2 != 0 {
            return Err(D::Error::custom("an odd number of digits"));
        }
        let byte = |pair: &[u8]| {
            let pair = std::str::from_utf8(pair).map_err(D::Error::custom)?;
            u8::from_str_radix(pair, 16).map_err(D::Error::custom)
        };
        digits.as_bytes().chunks(2).map(byte).collect()
    }
}
