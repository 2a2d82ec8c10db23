//! The durable store against one in memory.

mod damage;
mod long_keys;
mod random;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use arrow::datatypes::DataType;
use rand::rngs::StdRng;

use rand::{Rng, SeedableRng};

use super::store::Limits;
use super::*;
use crate::model::Kind;
use crate::storage::{Store, test_runtime};

const TABLES: u16 = 2;

/// Small enough that a few batches reach every step.
const LIMITS: Limits = Limits {
    layer_bytes: 6000,
    layer_batches: 4,
    files: 12,
    file_cost_bytes: 100,
    snapshot_bytes_min: 1500,
    part_bytes: 700,
};

fn definition() -> StateDefinition {
    let table = |name: &str| TableDefinition {
        name: name.into(),
        operator: "stateStoreSave".into(),
        keys: vec![StateColumn::new("key", &DataType::Binary)],
        values: vec![StateColumn::new("value", &DataType::Binary)],
        layout: None,
        time: None,
        any_time: false,
    };
    StateDefinition::new(vec![table("groups"), table("seen")])
}

/// A store and the states that it must be able to go back to.
struct Rig {
    folder: tempfile::TempDir,
    store: Option<StateStore>,
    /// The state after each committed batch, and its run.
    committed: BTreeMap<i64, (Committed, MemoryState)>,
    runs: u64,
    retained: u32,
    limits: Limits,
}

impl Rig {
    fn new() -> Rig {
        let mut rig = Rig {
            folder: tempfile::tempdir().unwrap(),
            store: None,
            committed: BTreeMap::new(),
            runs: 0,
            retained: 5,
            limits: LIMITS,
        };
        rig.open();
        rig
    }

    fn local(&self) -> PathBuf {
        self.folder.path().join("local")
    }

    fn checkpoint(&self) -> Store {
        let url = url::Url::from_directory_path(self.folder.path().join("checkpoint")).unwrap();
        Store::open(&url, &BTreeMap::new(), test_runtime()).unwrap()
    }

    fn options(&self) -> StateOptions {
        StateOptions {
            local: self.local(),
            checkpoint: self.checkpoint(),
            query_id: "q".into(),
            definition: definition(),
            memory_bytes: 4 << 20,
            batches_to_retain: self.retained,
        }
    }

    fn try_open(&self, committed: Option<&Committed>) -> Result<StateStore> {
        StateStore::open_with(self.options(), committed, self.limits)
    }

    /// Opens the state after the newest committed batch.
    fn open(&mut self) {
        let newest = self.committed.last_key_value().map(|(_, (run, _))| run.clone());
        self.store = Some(self.try_open(newest.as_ref()).unwrap());
    }

    fn model(&self) -> MemoryState {
        self.committed.last_key_value().map(|(_, (_, state))| state.clone()).unwrap_or_default()
    }

    fn newest(&self) -> i64 {
        self.committed.last_key_value().map_or(-1, |(batch, _)| *batch)
    }

    /// Runs a batch on both, and commits it on both.
    fn batch(
        &mut self,
        change: impl FnOnce(&mut dyn FnMut(&mut dyn FnMut(&mut dyn StateBatch))),
    ) -> SealedSize {
        let batch_id = self.newest() + 1;
        let mut model = self.model();
        let store = self.store.as_mut().unwrap();
        let mut batch = store.begin(batch_id).unwrap();
        change(&mut |step| {
            step(&mut batch);
            step(&mut model);
        });
        self.runs += 1;
        let sealed = store.seal(batch, &format!("run-{}", self.runs)).unwrap();
        let size = SealedSize { bytes: sealed.bytes(), rows: sealed.rows() };
        let run = sealed.committed().clone();
        store.commit(sealed).unwrap();
        store.maintain().unwrap();
        self.committed.insert(batch_id, (run, model));
        size
    }

    fn put(&mut self, table: u16, keys: std::ops::Range<u32>, value: &[u8]) -> SealedSize {
        self.batch(|both| {
            both(&mut |batch| {
                for key in keys.clone() {
                    put(batch, TableId(table), key.to_be_bytes().to_vec(), value.to_vec());
                }
            });
        })
    }

    /// Compares the store with the model.
    fn compare(&mut self) {
        let (model, next) = (self.model(), self.newest() + 1);
        let batch = self.store.as_mut().unwrap().begin(next).unwrap();
        assert_same(&batch, &model);
    }
}

/// What was written of a batch.
struct SealedSize {
    bytes: u64,
    rows: u64,
}

/// Puts a key, whether it is there or not.
fn put(batch: &mut dyn StateBatch, table: TableId, key: Vec<u8>, value: Vec<u8>) {
    match batch.get_many(table, &[&key]).unwrap()[0] {
        Some(_) => batch.replace(table, key, value),
        None => batch.insert(table, key, value),
    }
}

fn all(batch: &dyn StateBatch, table: TableId) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    batch
        .scan(table, b"", None, &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            Ok(())
        })
        .unwrap();
    rows
}

fn assert_same(batch: &dyn StateBatch, model: &dyn StateBatch) {
    for table in (0..TABLES).map(TableId) {
        let rows = all(batch, table);
        assert_eq!(rows, all(model, table));
        assert_eq!(batch.len(table).unwrap(), rows.len() as u64);
        let keys: Vec<&[u8]> = rows.iter().map(|(key, _)| key.as_slice()).collect();
        let values = batch.get_many(table, &keys).unwrap();
        assert!(values.iter().zip(&rows).all(|(found, (_, value))| found.as_ref() == Some(value)));
    }
}

/// Files under a folder, without locks.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name != "lock") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Cuts a file, or turns one of its bits.
fn damage(rng: &mut StdRng, path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    if bytes.is_empty() {
        return;
    }
    if rng.random_bool(0.4) {
        bytes.truncate(rng.random_range(0..bytes.len()));
    } else {
        let bit = rng.random_range(0..bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn times_compare_as_bytes_and_come_back() {
    let times = [i64::MIN, -1, 0, 1, i64::MAX];
    assert!(times.windows(2).all(|pair| time_prefix(pair[0]) < time_prefix(pair[1])));
    assert!(times.iter().all(|time| time_of(&time_prefix(*time)) == Some(*time)));
    assert_eq!(time_of(b"short"), None);
}
