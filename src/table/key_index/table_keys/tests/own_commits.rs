//! Commits of our own are taken in without reading their files.

use super::*;

pub(super) fn added(own: OwnFiles) -> OwnChanges {
    OwnChanges { added: vec![own], ..OwnChanges::default() }
}

#[test]
fn our_own_commit_is_taken_in_without_reading_its_files() {
    let mut lake = Lake::new(false);
    lake.add("a", &[1]);
    let mut table = lake.table();
    let mut keys = lake.keys(&mut table, &["id"]);
    let adds = [lake.file("own0", &[Some(7), None], None), lake.file("own1", &[Some(8)], None)];
    lake.commit(&adds);
    ["own0", "own1"].iter().for_each(|name| fs::remove_file(lake.path("table").join(name)).unwrap());
    table.refresh().unwrap();
    // The writer hands files over in the order in which they were closed.
    let files = vec![own_file("own1", 1, 1), own_file("own0", 0, 2)];
    let own = OwnFiles { files, keys: Some(own_keys(&keys, &[Some(7), None, Some(8)])) };
    keys.committed(&mut table, 1, added(own)).unwrap();
    assert_eq!(ids(&mut keys, &mut table), [1, 7, 8]);
    // Someone else's commit came before ours: both are read.
    lake.add("other", &[9]);
    lake.add("own2", &[10]);
    table.refresh().unwrap();
    let own = OwnFiles { files: vec![own_file("own2", 0, 1)], keys: Some(own_keys(&keys, &[Some(10)])) };
    keys.committed(&mut table, 2, added(own)).unwrap();
    assert_eq!(ids(&mut keys, &mut table), [1, 7, 8, 9, 10]);
    // Each of our files leaves the table with its own keys, as any other does.
    lake.commit(&[json!({"remove": {"path": "own0", "deletionTimestamp": 1, "dataChange": true}})]);
    table.refresh().unwrap();
    assert_eq!(ids(&mut keys, &mut table), [1, 8, 9, 10]);
}

#[test]
fn files_that_our_own_commit_takes_out_or_deletes_rows_of_are_followed_without_reading_them() {
    let mut lake = Lake::new(false);
    let a = lake.add("a", &[1, 2, 3]);
    let b = lake.add("b", &[3, 4]);
    let mut table = lake.table();
    let mut keys = lake.keys(&mut table, &["id"]);
    let all = own_keys(&keys, &(0..10).map(Some).collect::<Vec<_>>());
    let key = |id: usize| all[id].unwrap();
    let mut wanted = [key(3), key(9)];
    wanted.sort_unstable();
    let found = keys.find_files(&mut table, &wanted).unwrap();
    let mut entries: Vec<FileEntry> = found.files.into_values().collect();
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    let paths: Vec<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!((found.matches.len(), paths), (2, vec!["a", "b"]));
    // Of the one file rows are deleted, the other is written again.
    let mut line = a.clone();
    line["add"]["deletionVector"] = json!({"storageType": "u", "pathOrInlineDv": "ab^-aqEH.-t@S}K{vb[*k^", "offset": 1, "sizeInBytes": 40, "cardinality": 1});
    let after = FileEntry::parse_add(line.to_string().as_bytes()).unwrap();
    let c = lake.file("c", &[Some(4), Some(5)], None);
    lake.commit(&[removal(&a), line, removal(&b), c]);
    ["a", "b", "c"].iter().for_each(|name| fs::remove_file(lake.path("table").join(name)).unwrap());
    table.refresh().unwrap();
    let written =
        OwnFiles { files: vec![own_file("c", 0, 2)], keys: Some(own_keys(&keys, &[Some(4), Some(5)])) };
    let changes = OwnChanges {
        added: vec![written],
        removed: vec![entries[1].clone()],
        deleted: vec![OwnDeletions { before: entries[0].clone(), after, keys: Some(vec![key(1), key(2)]) }],
    };
    keys.committed(&mut table, 2, changes).unwrap();
    assert_eq!(ids(&mut keys, &mut table), [1, 2, 4, 5]);
}

#[test]
fn files_of_our_own_whose_rows_are_in_another_order_are_read() {
    let mut lake = Lake::new(true);
    let mut table = lake.table();
    let mut keys = lake.keys(&mut table, &["id"]);
    let adds = [lake.file("own0", &[Some(2)], Some("e")), lake.file("own1", &[Some(1)], Some("d"))];
    lake.commit(&adds);
    table.refresh().unwrap();
    let files = vec![own_file("own0", 0, 1), own_file("own1", 1, 1)];
    let own = OwnFiles { files, keys: Some(own_keys(&keys, &[Some(1), Some(2)])) };
    keys.committed(&mut table, 0, added(own)).unwrap();
    lake.commit(&[json!({"remove": {"path": "own0", "deletionTimestamp": 1, "dataChange": true}})]);
    table.refresh().unwrap();
    assert_eq!(ids(&mut keys, &mut table), [1]);
}
