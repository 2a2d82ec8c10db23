//! The durable store against one in memory: random operations, with restarts, losses and damage in between.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use arrow::datatypes::DataType;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::runtime::Runtime;

use super::store::Limits;
use super::*;
use crate::storage::Store;

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
    };
    StateDefinition::new(vec![table("groups"), table("seen")])
}

/// A store and the states that it must be able to go back to.
struct Rig {
    folder: tempfile::TempDir,
    runtime: Runtime,
    store: Option<StateStore>,
    /// The state after each committed batch, and its run.
    committed: BTreeMap<i64, (Committed, MemoryState)>,
    runs: u64,
    retained: u32,
}

impl Rig {
    fn new() -> Rig {
        let mut rig = Rig {
            folder: tempfile::tempdir().unwrap(),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap(),
            store: None,
            committed: BTreeMap::new(),
            runs: 0,
            retained: 5,
        };
        rig.open();
        rig
    }

    fn local(&self) -> PathBuf {
        self.folder.path().join("local")
    }

    fn checkpoint(&self) -> Store {
        let url = url::Url::from_directory_path(self.folder.path().join("checkpoint")).unwrap();
        Store::open(&url, &BTreeMap::new()).unwrap()
    }

    fn options(&self) -> StateOptions {
        StateOptions {
            local: self.local(),
            checkpoint: self.checkpoint(),
            query_id: "q".into(),
            definition: definition(),
            memory_bytes: 4 << 20,
            batches_to_retain: self.retained,
            handle: self.runtime.handle().clone(),
        }
    }

    fn try_open(&self, committed: Option<&Committed>) -> Result<StateStore> {
        StateStore::open_with(self.options(), committed, LIMITS)
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

    /// Compares the store with the model.
    fn compare(&mut self) {
        let (model, next) = (self.model(), self.newest() + 1);
        let batch = self.store.as_mut().unwrap().begin(next).unwrap();
        assert_same(&batch, &model);
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

/// What random batches have done so far with the times of keys.
struct Clock {
    now: u32,
    bounds: [Vec<u8>; TABLES as usize],
}

fn random_key(rng: &mut StdRng, clock: &Clock) -> Vec<u8> {
    let mut key = (clock.now + rng.random_range(0..6)).to_be_bytes().to_vec();
    key.extend((0..rng.random_range(0..3)).map(|_| rng.random_range(b'a'..=b'c')));
    key
}

/// One random operation on both, with the same answer.
fn operate(rng: &mut StdRng, clock: &mut Clock, batch: &mut dyn StateBatch, model: &mut dyn StateBatch) {
    let id = rng.random_range(0..TABLES);
    let table = TableId(id);
    let bound = &mut clock.bounds[usize::from(id)];
    match rng.random_range(0..20) {
        0..=8 => {
            let key = random_key(rng, clock);
            if key >= clock.bounds[usize::from(id)] {
                let value = vec![rng.random(); rng.random_range(0..40)];
                batch.put(table, key.clone(), value.clone());
                model.put(table, key, value);
            }
        }
        9..=11 => {
            let key = random_key(rng, clock);
            batch.delete(table, key.clone());
            model.delete(table, key);
        }
        12..=14 => {
            let mut keys: Vec<Vec<u8>> =
                (0..rng.random_range(0..8)).map(|_| random_key(rng, clock)).collect();
            keys.sort();
            keys.dedup();
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            assert_eq!(batch.get_many(table, &keys).unwrap(), model.get_many(table, &keys).unwrap());
        }
        15..=16 => {
            let (from, to) = (random_key(rng, clock), rng.random_bool(0.7).then(|| random_key(rng, clock)));
            let rows = |of: &dyn StateBatch| {
                let mut rows = Vec::new();
                of.scan(table, &from, to.as_deref(), &mut |key, value| {
                    rows.push((key.to_vec(), value.to_vec()));
                    Ok(())
                })
                .unwrap();
                rows
            };
            assert_eq!(rows(batch), rows(model));
        }
        17 => {
            let to = random_key(rng, &Clock { now: clock.now.saturating_sub(5), bounds: Default::default() });
            assert_eq!(batch.expire(table, &to).unwrap(), model.expire(table, &to).unwrap());
            if to > *bound {
                *bound = to;
            }
        }
        18 => assert_eq!(batch.len(table).unwrap(), model.len(table).unwrap()),
        _ => clock.now += 1,
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

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for path in fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// What happens to a store between two batches.
fn happen(rng: &mut StdRng, rig: &mut Rig, clock: &mut Clock) {
    let old = rig.folder.path().join("old");
    let event = rng.random_range(0..9);
    if event == 0 {
        rig.store.take().unwrap().close().unwrap();
    } else {
        rig.store = None;
    }
    match event {
        // The folder is as it was.
        0 | 1 => {}
        2 => fs::remove_dir_all(rig.local()).unwrap(),
        // An older copy comes back.
        3 => {
            if old.exists() {
                let _ = fs::remove_dir_all(rig.local());
                fs::rename(&old, rig.local()).unwrap();
            } else {
                copy_folder(&rig.local(), &old);
            }
        }
        4 | 5 => {
            let files = files_in(&rig.local());
            if let Some(file) = files.choose(rng) {
                damage(rng, file);
            }
        }
        // The sink goes back to an earlier batch: the copy is newer, or of another run.
        6 => {
            let oldest = rig.newest() - i64::from(rig.retained) + 1;
            for _ in 0..rng.random_range(0..3) {
                if rig.newest() > oldest.max(0) {
                    rig.committed.pop_last();
                }
            }
            // Bounds are those of then: far back is near enough, for keys below are not put.
            let _ = clock;
        }
        // Another process has the copy.
        7 => {
            let lock = fs::File::open(rig.local().join("0/lock")).unwrap();
            lock.lock().unwrap();
            rig.open();
            rig.compare();
            rig.store = None;
        }
        _ => {
            let files = files_in(&rig.local());
            for file in files.iter().filter(|_| rng.random_bool(0.2)) {
                fs::remove_file(file).unwrap();
            }
        }
    }
    rig.open();
}

fn run_randomly(seed: u64, batches: usize) {
    let rng = &mut StdRng::seed_from_u64(seed);
    let mut rig = Rig::new();
    let mut clock = Clock { now: 0, bounds: Default::default() };
    for _ in 0..batches {
        if rng.random_bool(0.25) {
            happen(rng, &mut rig, &mut clock);
        }
        let batch_id = rig.newest() + 1;
        let before = rig.model();
        let mut model = before.clone();
        let mut batch = match rig.store.as_mut().unwrap().begin(batch_id) {
            Ok(batch) => batch,
            Err(error) => panic!("seed {seed}: {error}"),
        };
        let bounds = clock.bounds.clone();
        // A damaged copy may be found while it is read: then the store is opened again, and the batch is run again.
        let operations = rng.random_range(0..60);
        let read = all_or_error(&batch);
        if read.is_err() {
            drop(batch);
            rig.store = None;
            rig.open();
            batch = rig.store.as_mut().unwrap().begin(batch_id).unwrap();
        }
        for _ in 0..operations {
            operate(rng, &mut clock, &mut batch, &mut model);
        }
        assert_same(&batch, &model);
        let store = rig.store.as_mut().unwrap();
        rig.runs += 1;
        let attempt = format!("run-{}", rig.runs);
        match rng.random_range(0..10) {
            0 => {
                drop(batch);
                clock.bounds = bounds;
            }
            1 => {
                drop(store.seal(batch, &attempt).unwrap());
                clock.bounds = bounds;
            }
            _ => {
                let sealed = store.seal(batch, &attempt).unwrap();
                let run = sealed.committed().clone();
                store.commit(sealed).unwrap();
                // A snapshot of a copy that is damaged fails, and the next one is made of another copy.
                let _ = store.maintain();
                rig.committed.insert(batch_id, (run, model));
            }
        }
    }
    rig.store = None;
    fs::remove_dir_all(rig.local()).unwrap();
    rig.open();
    rig.compare();
}

fn all_or_error(batch: &dyn StateBatch) -> Result<()> {
    (0..TABLES).try_for_each(|table| batch.scan(TableId(table), b"", None, &mut |_, _| Ok(())))
}

#[test]
fn random_batches_restarts_and_losses_leave_what_a_store_in_memory_has() {
    for seed in 0..6 {
        run_randomly(seed, 40);
    }
}

#[test]
fn times_compare_as_bytes_and_come_back() {
    let times = [i64::MIN, -1, 0, 1, i64::MAX];
    assert!(times.windows(2).all(|pair| time_prefix(pair[0]) < time_prefix(pair[1])));
    assert!(times.iter().all(|time| time_of(&time_prefix(*time)) == Some(*time)));
    assert_eq!(time_of(b"short"), None);
}
