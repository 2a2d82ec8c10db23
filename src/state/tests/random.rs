//! Random batches, with restarts, losses and damage of the local copy in between.

use rand::seq::IndexedRandom;

use super::*;

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
                put(batch, table, key.clone(), value.clone());
                put(model, table, key, value);
            }
        }
        9..=11 => {
            let key = random_key(rng, clock);
            if model.get_many(table, &[&key]).unwrap()[0].is_some() {
                batch.delete(table, key.clone());
                model.delete(table, key);
            }
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
            let expire = |of: &mut dyn StateBatch| {
                let mut gone = Vec::new();
                let count = of.expire(table, &to, &mut |key, value| {
                    gone.push((key.to_vec(), value.to_vec()));
                    Ok(())
                });
                (count.unwrap(), gone)
            };
            assert_eq!(expire(batch), expire(model));
            if to > *bound {
                *bound = to;
            }
        }
        18 => assert_eq!(batch.len(table).unwrap(), model.len(table).unwrap()),
        _ => clock.now += 1,
    }
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

/// How often the tree, a snapshot and nothing was what a start began with.
#[derive(Debug, Default)]
struct Origins([u32; 3]);

impl Origins {
    fn count(&mut self, rig: &Rig) {
        let Origin { start, local, .. } = rig.store.as_ref().unwrap().origin();
        self.0[match (local, start) {
            (true, _) => 0,
            (false, Some(_)) => 1,
            (false, None) => 2,
        }] += 1;
    }
}

fn run_randomly(seed: u64, batches: usize, origins: &mut Origins) {
    let rng = &mut StdRng::seed_from_u64(seed);
    let mut rig = Rig::new();
    let mut clock = Clock { now: 0, bounds: Default::default() };
    for _ in 0..batches {
        if rng.random_bool(0.25) {
            happen(rng, &mut rig, &mut clock);
            origins.count(&rig);
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
    let mut origins = Origins::default();
    for seed in 0..6 {
        run_randomly(seed, 40, &mut origins);
    }
    assert!(origins.0.iter().all(|starts| *starts >= 5), "{origins:?}");
}
