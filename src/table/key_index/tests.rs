//! The index against a model that is a map of files to keys.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn index_keys() -> IndexedKeys {
    IndexedKeys {
        table_id: "table".into(),
        key_columns: vec![("id".into(), "BIGINT".into())],
        within: None,
        in_files: Vec::new(),
    }
}

fn file(number: u64) -> Fingerprint {
    Fingerprint { high: number, low: u64::MAX }
}

fn hashed(index: &KeyIndex, keys: impl IntoIterator<Item = u32>) -> Vec<Fingerprint> {
    let hasher = index.hasher();
    keys.into_iter().map(|key| hasher.fingerprint(&key.to_le_bytes())).collect()
}

fn add(index: &mut KeyIndex, identity: Fingerprint, keys: &[u32]) {
    let id = index.reserve(b"{}").unwrap();
    let hashed = hashed(index, keys.iter().copied());
    index.add(id, hashed).unwrap();
    index.cover(identity, id, keys.len() as u64);
}

/// How many files hold each of the keys below `until`.
fn counts(index: &KeyIndex, until: u32) -> Vec<usize> {
    let mut order: Vec<(Fingerprint, u32)> = hashed(index, 0..until).into_iter().zip(0..).collect();
    order.sort_unstable();
    let sorted: Vec<Fingerprint> = order.iter().map(|(key, _)| *key).collect();
    let mut counts = vec![0; until as usize];
    for (position, _) in index.find(&sorted, 1).unwrap() {
        counts[order[position].1 as usize] += 1;
    }
    counts
}

#[derive(Debug, Clone)]
enum Step {
    Add(u64, Vec<u32>),
    Remove(u64),
    Retain(u64),
    Save,
    Reopen,
    /// A reader that dies before it has added all keys of a file.
    HalfAFile(Vec<u32>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let keys = || vec(0_u32..60, 0..40);
    let step = prop_oneof![
        6 => (0_u64..12, keys()).prop_map(|(file, keys)| Step::Add(file, keys)),
        3 => (0_u64..12).prop_map(Step::Remove),
        1 => (1_u64..4).prop_map(Step::Retain),
        2 => Just(Step::Save),
        2 => Just(Step::Reopen),
        1 => keys().prop_map(Step::HalfAFile),
    ];
    vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_index_holds_what_a_map_of_files_to_keys_holds(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let mut index = KeyIndex::create(folder.path(), index_keys(), HashSecret::random()).unwrap();
        let mut model: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
        let mut saved = model.clone();
        index.save().unwrap();
        for step in steps {
            match step {
                Step::Add(number, keys) => {
                    add(&mut index, file(number), &keys);
                    model.insert(number, keys.into_iter().collect());
                }
                Step::Remove(number) => {
                    index.remove(file(number));
                    model.remove(&number);
                }
                Step::Retain(divisor) => {
                    index.retain(|identity| identity.high % divisor == 0);
                    model.retain(|number, _| number % divisor == 0);
                }
                Step::Save => {
                    index.save().unwrap();
                    saved = model.clone();
                }
                Step::Reopen => {
                    index = KeyIndex::open(folder.path(), &index_keys()).unwrap();
                    model = saved.clone();
                }
                Step::HalfAFile(keys) => {
                    let id = index.reserve(b"{}").unwrap();
                    let hashed = hashed(&index, keys);
                    index.add(id, hashed).unwrap();
                }
            }
            let expected: Vec<usize> =
                (0..60).map(|key| model.values().filter(|keys| keys.contains(&key)).count()).collect();
            prop_assert_eq!(counts(&index, 60), expected);
        }
        prop_assert_eq!(index.size().files, model.len() as u64);
    }
}

#[test]
fn many_keys_go_to_the_disk_by_themselves_and_the_dead_ones_vanish() {
    let folder = tempfile::tempdir().unwrap();
    let mut index = KeyIndex::create(folder.path(), index_keys(), HashSecret::random()).unwrap();
    for number in 0..12 {
        let from = number as u32 * 200_000;
        add(&mut index, file(number), &(from..from + 200_000).collect::<Vec<_>>());
    }
    assert!(index.size().runs > 0 && index.size().entries == 2_400_000);
    index.save().unwrap();
    let mut index = KeyIndex::open(folder.path(), &index_keys()).unwrap();
    assert_eq!(counts(&index, 2_500_000).into_iter().sum::<usize>(), 2_400_000);
    index.retain(|identity| identity.high == 3);
    index.save().unwrap();
    assert_eq!((index.size().keys, index.size().entries, index.size().runs), (200_000, 200_000, 1));
    assert_eq!(counts(&index, 600_000).into_iter().sum::<usize>(), 0);
    assert_eq!(counts(&index, 800_000).into_iter().sum::<usize>(), 200_000);
}

#[test]
fn a_load_leaves_many_runs_alone_and_its_end_makes_few_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut index = KeyIndex::create(folder.path(), index_keys(), HashSecret::random()).unwrap();
    let files = || {
        let names = fs::read_dir(folder.path()).unwrap().map(|found| name_of(&found.unwrap().path()));
        names.filter(|name| name.starts_with(RUN_PREFIX)).count() as u64
    };
    index.begin_load();
    for number in 0..20 {
        let from = number as u32 * 100;
        add(&mut index, file(number), &(from..from + 100).collect::<Vec<_>>());
        index.flush().unwrap();
    }
    assert_eq!((index.size().runs, files()), (20, 20));
    index.save().unwrap();
    index.end_load().unwrap();
    assert_eq!((index.size().runs, index.size().entries), (1, 2_000));
    assert_eq!(files(), 21, "what a manifest names stays until the next one is there");
    index.save().unwrap();
    assert_eq!(files(), 1);
    assert_eq!(counts(&index, 2_100).into_iter().sum::<usize>(), 2_000);
    for number in 20..24 {
        add(&mut index, file(number), &(number as u32 * 500..number as u32 * 500 + 500).collect::<Vec<_>>());
        index.flush().unwrap();
    }
    assert_eq!((index.size().runs, files()), (2, 2), "runs that no manifest names go at once");
}

#[test]
fn an_index_of_another_table_or_of_other_columns_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    KeyIndex::create(folder.path(), index_keys(), HashSecret::random()).unwrap().save().unwrap();
    assert!(KeyIndex::open(folder.path(), &index_keys()).is_ok());
    let of_another = IndexedKeys { table_id: "another".into(), ..index_keys() };
    let other_columns = IndexedKeys { key_columns: vec![("id".into(), "STRING".into())], ..index_keys() };
    for other in [of_another, other_columns] {
        let error = KeyIndex::open(folder.path(), &other).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}

#[test]
fn an_index_of_which_a_file_is_gone_or_cut_off_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let mut index = KeyIndex::create(folder.path(), index_keys(), HashSecret::random()).unwrap();
    add(&mut index, file(1), &(0..1_000).collect::<Vec<_>>());
    index.save().unwrap();
    let run = index.runs[0].path().to_owned();
    let whole = fs::read(&run).unwrap();
    fs::write(&run, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(
        KeyIndex::open(folder.path(), &index_keys()).err().unwrap().kind(),
        io::ErrorKind::InvalidData
    );
    fs::remove_file(&run).unwrap();
    assert_eq!(KeyIndex::open(folder.path(), &index_keys()).err().unwrap().kind(), io::ErrorKind::NotFound);
}

#[test]
fn what_an_interrupted_save_left_behind_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    KeyIndex::create(folder.path(), index_keys(), HashSecret::random()).unwrap().save().unwrap();
    fs::write(folder.path().join("run-half"), b"x").unwrap();
    fs::write(folder.path().join("manifest.half"), b"x").unwrap();
    KeyIndex::open(folder.path(), &index_keys()).unwrap();
    let left: Vec<String> =
        fs::read_dir(folder.path()).unwrap().map(|f| name_of(&f.unwrap().path())).collect();
    assert_eq!(left.len(), 2, "a manifest and a list of files: {left:?}");
}

#[test]
fn a_search_on_several_threads_finds_what_one_on_one_thread_finds() {
    let folder = tempfile::tempdir().unwrap();
    let mut index = KeyIndex::create(folder.path(), index_keys(), HashSecret::random()).unwrap();
    add(&mut index, file(1), &(0..30_000).collect::<Vec<_>>());
    index.save().unwrap();
    add(&mut index, file(2), &(20_000..25_000).collect::<Vec<_>>());
    let mut keys = hashed(&index, (0..60_000).step_by(2));
    keys.sort_unstable();
    let sorted = |threads: usize| {
        let mut found = index.find(&keys, threads).unwrap();
        found.sort_unstable();
        found
    };
    assert_eq!(sorted(1).len(), 15_000 + 2_500);
    (2..5).for_each(|threads| assert_eq!(sorted(threads), sorted(1)));
}
