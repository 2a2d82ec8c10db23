//! Keys that are longer than the tree of the local copy takes.

use super::*;

/// Keys of two times with lengths on both sides of every limit; many of them share more than 64 KB of their beginning, and differ
/// behind it.
fn keys() -> Vec<Vec<u8>> {
    let lengths = [1, 300, 65_490, 65_492, 65_493, 65_494, 65_524, 65_525, 65_526, 65_527, 70_000, 150_000];
    let mut keys = Vec::new();
    for time in [1, 2] {
        for length in lengths {
            for end in [b'a', b'm', b'z'] {
                let mut key = time_prefix(time).to_vec();
                key.resize(8 + length - 1, b'x');
                key.push(end);
                keys.push(key);
            }
        }
    }
    keys.sort();
    keys
}

fn rows_between(batch: &dyn StateBatch, from: &[u8], to: Option<&[u8]>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    batch
        .scan(TableId(0), from, to, &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            Ok(())
        })
        .unwrap();
    rows
}

/// Compares whole tables, keys one by one, and ranges that begin and end at keys, with the model.
fn compare(rig: &mut Rig, keys: &[Vec<u8>]) {
    rig.compare();
    let (model, next) = (rig.model(), rig.newest() + 1);
    let batch = rig.store.as_mut().unwrap().begin(next).unwrap();
    for key in keys {
        let wanted: [&[u8]; 1] = [key];
        let (found, expected) = (batch.get_many(TableId(1), &wanted), model.get_many(TableId(1), &wanted));
        assert!(found.unwrap() == expected.unwrap(), "a key of {} bytes", key.len());
    }
    for (index, from) in keys.iter().enumerate().step_by(5) {
        let ends = keys[index..].iter().step_by(7).map(|to| Some(to.as_slice()));
        for to in ends.chain([None]) {
            let (found, expected) = (rows_between(&batch, from, to), rows_between(&model, from, to));
            assert!(found == expected, "from {} bytes to {:?}", from.len(), to.map(<[u8]>::len));
        }
    }
}

/// Closes the store and opens it from its local copy, then from the checkpoint.
fn compare_after_restarts(rig: &mut Rig, keys: &[Vec<u8>]) {
    compare(rig, keys);
    rig.store.as_mut().unwrap().finish_snapshot().unwrap();
    rig.store.take().unwrap().close().unwrap();
    rig.open();
    let origin = rig.store.as_ref().unwrap().origin().clone();
    assert!(origin.local && origin.changes == 0, "{origin:?}");
    compare(rig, keys);
    rig.store = None;
    fs::remove_dir_all(rig.local()).unwrap();
    rig.open();
    assert!(!rig.store.as_ref().unwrap().origin().local);
    compare(rig, keys);
}

#[test]
fn keys_of_any_length_are_found_ranged_replaced_removed_expired_and_restored() {
    let (keys, mut rig) = (keys(), Rig::new());
    for part in keys.chunks(16) {
        rig.batch(|both| {
            both(&mut |batch| {
                for (table, key) in (0..TABLES).flat_map(|table| part.iter().map(move |key| (table, key))) {
                    put(batch, TableId(table), key.clone(), key[key.len() - 2..].to_vec());
                }
            });
        });
    }
    compare_after_restarts(&mut rig, &keys);
    assert!(rig.store.as_ref().unwrap().origin().start.is_some(), "no snapshot was made");
    rig.batch(|both| {
        both(&mut |batch| {
            for (number, key) in keys.iter().enumerate() {
                match number % 3 {
                    0 => batch.delete(TableId(0), key.clone()),
                    1 => batch.replace(TableId(1), key.clone(), b"another".to_vec()),
                    _ => {}
                }
            }
        });
    });
    compare_after_restarts(&mut rig, &keys);
    // Below the second time in one table; in the other up to the middle of keys that begin alike.
    let ends = [time_prefix(2).to_vec(), keys[keys.len() / 2 + 30].clone()];
    for (table, end) in (0..TABLES).zip(&ends) {
        let mut gone = Vec::new();
        rig.batch(|both| {
            both(&mut |batch| {
                gone.push(batch.expire(TableId(table), end, &mut |_, _| Ok(())).unwrap());
            });
        });
        assert!(gone[0] > 0 && gone[0] == gone[1], "{gone:?}");
    }
    compare_after_restarts(&mut rig, &keys);
}
