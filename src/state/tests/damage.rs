//! What is missing, damaged, old, superfluous or refused.

use std::thread;
use std::time::Duration;

use super::*;

#[test]
fn a_missing_cut_or_flipped_file_of_the_checkpoint_is_named_and_nothing_is_touched() {
    let rng = &mut StdRng::seed_from_u64(7);
    let mut rig = Rig::new();
    rig.retained = 8;
    for batch in 0..25_u32 {
        rig.put(batch as u16 % TABLES, batch..batch + 12, &[batch as u8; 30]);
        rig.store.as_mut().unwrap().finish_snapshot().unwrap();
    }
    rig.put(0, 0..3, b"last");
    rig.store = None;
    let checkpoint = rig.folder.path().join("checkpoint");
    let newest = rig.committed.last_key_value().unwrap().1.0.clone();
    let (files, mut refused, mut missing) = (files_in(&checkpoint), 0, 0);
    for file in &files {
        let name = file.strip_prefix(&checkpoint).unwrap().to_str().unwrap();
        let whole = fs::read(file).unwrap();
        for round in 0..4 {
            let _ = fs::remove_dir_all(rig.local());
            match round {
                0 => fs::remove_file(file).unwrap(),
                _ => damage(rng, file),
            }
            let before: Vec<(PathBuf, Vec<u8>)> = files_in(&checkpoint)
                .into_iter()
                .map(|path| (path.clone(), fs::read(path).unwrap()))
                .collect();
            let checked = check_files(&rig.checkpoint(), &newest);
            let opened = rig.try_open(Some(&newest));
            if round == 0 && name != DEFINITION {
                assert_eq!(checked.is_err(), opened.is_err(), "{name} is missing");
                assert!(checked.err().is_none_or(|error| error.to_string().contains(name)), "{name}");
            }
            match opened {
                // The file is of a version that is not needed for this one.
                Ok(mut store) => {
                    let batch = store.begin(newest.batch_id + 1).unwrap();
                    assert_same(&batch, &rig.model());
                }
                Err(error) => {
                    refused += 1;
                    missing += u32::from(round == 0);
                    let is_definition = name == DEFINITION && round == 0;
                    let kind = if is_definition { Kind::Config } else { Kind::Corrupt };
                    assert_eq!(error.kind(), kind, "{name}: {error}");
                    assert!(error.to_string().contains(name) || is_definition, "{name}: {error}");
                }
            }
            let after = files_in(&checkpoint).into_iter().map(|path| (path.clone(), fs::read(path).unwrap()));
            assert!(after.eq(before), "{name} was refused and something was changed");
            fs::write(file, &whole).unwrap();
        }
    }
    assert!(
        refused >= 12 && missing >= 3,
        "{refused} refused, {missing} of them missing, of {} files",
        files.len()
    );
    rig.open();
    rig.compare();
}

#[test]
fn every_retained_batch_can_be_restored_and_what_lies_before_is_deleted() {
    let mut rig = Rig::new();
    for batch in 0..60_u32 {
        rig.put(batch as u16 % TABLES, batch..batch + 12, &[batch as u8; 30]);
        rig.store.as_mut().unwrap().finish_snapshot().unwrap();
    }
    rig.store = None;
    let names = |folder: &str| rig.checkpoint().names(folder).unwrap();
    let oldest = names("state/changes").iter().map(|name| files::batch_of(name).unwrap()).min().unwrap();
    assert!(oldest > 30, "changes of batch {oldest} are kept");
    let (snapshots, parts) = (names("state/snapshots"), names("state/parts"));
    assert!((1..=3).contains(&snapshots.len()), "{snapshots:?}");
    for part in &parts {
        assert!(snapshots.iter().any(|name| part.starts_with(name.as_str())), "{part} is of no snapshot");
    }
    for (run, state) in rig.committed.range(59 - i64::from(rig.retained)..).map(|(_, entry)| entry) {
        let _ = fs::remove_dir_all(rig.local());
        let mut store = rig.try_open(Some(run)).unwrap();
        assert_same(&store.begin(run.batch_id + 1).unwrap(), state);
    }
    let gone = &rig.committed[&3].0;
    let error = rig.try_open(Some(gone)).err().unwrap();
    assert!(error.to_string().contains("state/changes/3.run-4 is missing"), "{error}");
}

#[test]
fn runs_of_one_batch_each_make_the_snapshots_that_are_due() {
    let mut pause = || {
        thread::sleep(Duration::from_millis(1));
        true
    };
    let mut rig = Rig::new();
    for batch in 0..60_u32 {
        rig.put(batch as u16 % TABLES, batch..batch + 12, &[batch as u8; 30]);
        let mut store = rig.store.take().unwrap();
        store.finish(&mut pause).unwrap();
        store.close().unwrap();
        rig.open();
    }
    let names = rig.checkpoint().names("state/changes").unwrap();
    let oldest = names.iter().map(|name| files::batch_of(name).unwrap()).min().unwrap();
    assert!(oldest > 30, "changes of batch {oldest} are kept");
    rig.compare();

    // A stop is not held up by a snapshot.
    rig.put(0, 0..400, &[7; 30]);
    rig.store.as_mut().unwrap().finish(&mut || false).unwrap();
}

#[test]
fn the_local_copy_is_used_if_it_is_current_and_advanced_if_it_is_behind() {
    let mut rig = Rig::new();
    rig.limits.snapshot_bytes_min = 1 << 20;
    rig.store = None;
    rig.open();
    for batch in 0..7_u32 {
        rig.put(0, batch..batch + 3, b"value");
    }
    rig.store.take().unwrap().close().unwrap();
    rig.open();
    let current = Origin { start: Some(6), local: true, changes: 0 };
    assert_eq!(rig.store.as_ref().unwrap().origin(), &current);
    rig.put(0, 100..103, b"value");
    rig.store = None;
    rig.open();
    assert_eq!(rig.store.as_ref().unwrap().origin(), &Origin { changes: 1, ..current });
    rig.compare();
    rig.store = None;

    // Of another query, with the same batches.
    let other = StateOptions { query_id: "other".into(), ..rig.options() };
    let checkpoint = rig.folder.path().join("other");
    let url = url::Url::from_directory_path(&checkpoint).unwrap();
    let checkpoint = Store::open(&url, &BTreeMap::new(), test_runtime()).unwrap();
    let other = StateOptions { checkpoint, ..other };
    let mut store = StateStore::open_with(other, None, LIMITS).unwrap();
    assert_eq!(store.origin(), &Origin { start: None, local: false, changes: 0 });
    assert!(all(&store.begin(0).unwrap(), TableId(0)).is_empty());
    drop(store);
    rig.open();
    assert!(!rig.store.as_ref().unwrap().origin().local);
    rig.compare();
}

#[test]
fn keys_are_found_whether_they_lie_close_together_or_far_apart() {
    let mut rig = Rig::new();
    // Even keys are there; those of the first half in both tables, so that a range ends at its table.
    rig.put(0, 0..2000, b"other");
    rig.batch(|both| {
        both(&mut |batch| {
            for key in (0..20_000_u32).step_by(2) {
                put(batch, TableId(0), key.to_be_bytes().to_vec(), key.to_le_bytes().to_vec());
                if key < 2000 {
                    batch.delete(TableId(0), (key + 1).to_be_bytes().to_vec());
                }
            }
            for key in 0..10_000_u32 {
                batch.insert(TableId(1), key.to_be_bytes().to_vec(), b"other".to_vec());
            }
        });
    });
    rig.store.take().unwrap().close().unwrap();
    rig.open();
    let model = rig.model();
    let batch = rig.store.as_mut().unwrap().begin(2).unwrap();
    let rng = &mut StdRng::seed_from_u64(3);
    let every = |step: usize| (0..20_100_u32).step_by(step).collect::<Vec<u32>>();
    let near_then_far = (0..1000).chain((1000..20_100).step_by(97)).chain(20_100..20_400).collect();
    let random = (0..20_100).filter(|_| rng.random_bool(0.2)).collect();
    for keys in [every(1), every(2), every(3), every(40), near_then_far, random, every(300), Vec::new()] {
        let keys: Vec<[u8; 4]> = keys.into_iter().map(u32::to_be_bytes).collect();
        let keys: Vec<&[u8]> = keys.iter().map(<[u8; 4]>::as_slice).collect();
        let found = batch.get_many(TableId(0), &keys).unwrap();
        assert!(found == model.get_many(TableId(0), &keys).unwrap(), "{} keys", keys.len());
    }
}

#[test]
fn a_batch_that_changes_nothing_leaves_a_small_file_and_only_real_removals_are_written() {
    let mut rig = Rig::new();
    let small = rig.batch(|_| ());
    assert!(small.bytes < 400 && small.rows == 0, "{} bytes", small.bytes);
    rig.put(0, 0..10, b"x");
    let removed = rig.batch(|both| {
        both(&mut |batch| (5..10_u32).for_each(|key| batch.delete(TableId(0), key.to_be_bytes().to_vec())));
    });
    assert_eq!(removed.rows, 5);
    rig.compare();
}

#[test]
fn what_must_not_be_is_refused() {
    let mut rig = Rig::new();
    rig.put(0, 0..3, b"x");
    let store = rig.store.as_mut().unwrap();
    assert_eq!(store.begin(5).err().unwrap().kind(), Kind::Internal);

    // A key below the bound, a table that is not there, a run without a name.
    let refused = |store: &mut StateStore, change: &dyn Fn(&mut StoreBatch), attempt: &str| {
        let mut batch = store.begin(1).unwrap();
        change(&mut batch);
        let error = store.seal(batch, attempt).err().unwrap();
        assert_eq!(error.kind(), Kind::Internal);
        error.to_string()
    };
    let below = |batch: &mut StoreBatch| {
        batch.expire(TableId(0), &2_u32.to_be_bytes(), &mut |_, _| Ok(())).unwrap();
        batch.insert(TableId(0), 1_u32.to_be_bytes().to_vec(), Vec::new());
    };
    assert!(refused(store, &below, "a").contains("changed a key that has expired in table 0"));
    let unknown = |batch: &mut StoreBatch| batch.insert(TableId(9), Vec::new(), Vec::new());
    assert!(refused(store, &unknown, "a").contains("table 9"));
    let key = || 0_u32.to_be_bytes().to_vec();
    let twice =
        |batch: &mut StoreBatch| (0..2).for_each(|_| batch.insert(TableId(0), b"zz".to_vec(), Vec::new()));
    assert!(refused(store, &twice, "a").contains("put a key twice"));
    let gone = |batch: &mut StoreBatch| (0..2).for_each(|_| batch.delete(TableId(0), key()));
    assert!(refused(store, &gone, "a").contains("removed a key twice"));
    let changed = |batch: &mut StoreBatch| {
        batch.delete(TableId(0), key());
        batch.replace(TableId(0), key(), Vec::new());
    };
    assert!(refused(store, &changed, "a").contains("that it had removed"));
    let taken_for_new = |batch: &mut StoreBatch| batch.insert(TableId(0), key(), Vec::new());
    assert!(refused(store, &taken_for_new, "a").contains("for new"));
    let taken_for_old = |batch: &mut StoreBatch| batch.replace(TableId(0), b"zz".to_vec(), Vec::new());
    assert!(refused(store, &taken_for_old, "a").contains("for new"));
    assert!(refused(store, &|_| (), "a/b").contains("a/b"));

    // The same run twice, and a batch that was begun on another state.
    let first = store.begin(1).unwrap();
    let first = store.seal(first, "same").unwrap();
    let mut second = store.begin(1).unwrap();
    second.insert(TableId(0), b"zzzz".to_vec(), Vec::new());
    assert_eq!(store.seal(second, "same").err().unwrap().kind(), Kind::Conflict);
    let late = store.begin(1).unwrap();
    let late = store.seal(late, "late").unwrap();
    store.commit(first).unwrap();
    assert_eq!(store.commit(late).unwrap_err().kind(), Kind::Internal);
    rig.store = None;

    // State of a query that had none, of another query id, and a run that is not there.
    let run = Committed { batch_id: 1, attempt: "other".into() };
    let error = rig.try_open(Some(&run)).err().unwrap();
    assert!(error.to_string().contains("state/changes/1.other is missing"), "{error}");
    let without = Committed { batch_id: 1, attempt: String::new() };
    let error = rig.try_open(Some(&without)).err().unwrap();
    let said = error.to_string();
    assert!(error.kind() == Kind::Config && said.contains("micro-batch 1 of checkpoint"), "{error}");
    let other = StateOptions { query_id: "other".into(), ..rig.options() };
    let error = StateStore::open_with(other, Some(&rig.committed[&0].0), LIMITS).err().unwrap();
    assert!(error.kind() == Kind::Corrupt && error.to_string().contains("is of query q"), "{error}");
    fs::remove_dir_all(rig.folder.path().join("checkpoint/state")).unwrap();
    let error = rig.try_open(Some(&run)).err().unwrap();
    assert!(error.kind() == Kind::Config && error.to_string().contains("a query without state"), "{error}");
}

#[test]
fn the_size_stays_flat_while_keys_expire() {
    let mut rig = Rig::new();
    let mut sizes = Vec::new();
    for batch in 0..600_u32 {
        rig.batch(|both| {
            both(&mut |state| {
                for key in 0..20_u32 {
                    state.insert(TableId(0), [batch.to_be_bytes(), key.to_be_bytes()].concat(), vec![7; 20]);
                }
                state
                    .expire(TableId(0), &batch.saturating_sub(10).to_be_bytes(), &mut |_, _| Ok(()))
                    .unwrap();
            });
        });
        if batch >= 200 {
            rig.committed.remove(&(i64::from(batch) - 100));
            let files = files_in(rig.folder.path());
            // The tree's journal, which is not used, has a length, but takes no room; files may go while they are looked at.
            let is_journal = |file: &&PathBuf| file.extension().is_some_and(|end| end == "jnl");
            let sized =
                files.iter().filter(|file| !is_journal(file)).filter_map(|file| fs::metadata(file).ok());
            sizes.push((sized.map(|file| file.len()).sum::<u64>(), files.len() as u64));
        }
    }
    let peak = |sizes: &[(u64, u64)]| {
        (sizes.iter().map(|size| size.0).max().unwrap(), sizes.iter().map(|size| size.1).max().unwrap())
    };
    let ((early, early_files), (late, late_files)) = (peak(&sizes[..200]), peak(&sizes[200..]));
    assert!(late <= early * 5 / 4, "{early} bytes after 400 batches, {late} after 600");
    assert!(
        late_files <= early_files * 5 / 4,
        "{early_files} files after 400 batches, {late_files} after 600"
    );
    rig.compare();
}
