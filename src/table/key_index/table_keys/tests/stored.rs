//! An index on disk that is missing, damaged, of another table or time, or had from its snapshot.

use super::*;

#[test]
fn an_index_that_is_missing_damaged_or_of_another_table_is_built_again() {
    let mut lake = Lake::new(false);
    lake.add("a", &(0..50).collect::<Vec<_>>());
    lake.add("b", &[60, 70]);
    let expected: Vec<i64> = (0..50).chain([60, 70]).collect();
    assert_eq!(lake.ids(), expected);
    let files = || -> Vec<PathBuf> {
        fs::read_dir(lake.path("index")).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    assert_eq!(files().len(), 3, "a manifest, a list of files and a run");
    let break_each = |how: &dyn Fn(&Path, Vec<u8>)| {
        for number in 0..3 {
            let path = files()[number].clone();
            how(&path, fs::read(&path).unwrap());
            assert_eq!(lake.ids(), expected);
        }
    };
    break_each(&|path, _| fs::remove_file(path).unwrap());
    break_each(&|path, bytes| fs::write(path, &bytes[..bytes.len() / 2]).unwrap());
    break_each(&|path, bytes| fs::write(path, &bytes[..0]).unwrap());
    for part in [0, 1, 3, 5, 7] {
        break_each(&|path, mut bytes| {
            let at = bytes.len() * part / 8 + 9;
            bytes[at] ^= 4;
            fs::write(path, bytes).unwrap();
        });
    }
    fs::remove_dir_all(lake.path("index")).unwrap();
    assert_eq!(lake.ids(), expected);
    // The same path is another table now.
    fs::remove_dir_all(lake.path("table")).unwrap();
    fs::create_dir_all(lake.path("table/_delta_log")).unwrap();
    lake.version = -1;
    lake.commit(&[
        json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}),
        metadata("6c2c1a2e-0000-4000-8000-000000000002", false),
    ]);
    lake.add("a", &[99]);
    assert_eq!(lake.ids(), [99]);
}

#[test]
fn an_index_of_a_column_whose_name_is_another_columns_now_is_built_again() {
    let mut lake = Lake::new(false);
    let named = |id: &str, other: &str| {
        let column = |name: &str, physical: &str, number: i64| {
            let mapped =
                json!({"delta.columnMapping.id": number, "delta.columnMapping.physicalName": physical});
            json!({"name": name, "type": "long", "nullable": true, "metadata": mapped})
        };
        let schema = json!({"type": "struct", "fields": [column("id", id, 1), column("other", other, 2)]});
        let mut metadata = metadata("6c2c1a2e-0000-4000-8000-000000000001", false);
        metadata["metaData"]["schemaString"] = schema.to_string().into();
        metadata["metaData"]["configuration"] =
            json!({"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "2"});
        metadata
    };
    lake.commit(&[json!({"protocol": {"minReaderVersion": 2, "minWriterVersion": 5}}), named("id", "new")]);
    lake.add("a", &[1, 2, 3]);
    assert_eq!(lake.ids(), [1, 2, 3]);
    lake.commit(&[named("new", "id")]);
    assert_eq!(lake.ids(), [0; 0], "the rows' ids are in the other column now");
    lake.commit(&[named("id", "new")]);
    assert_eq!(lake.ids(), [1, 2, 3]);
}

#[test]
fn an_index_that_turns_out_damaged_while_it_is_used_is_built_again() {
    let mut lake = Lake::new(false);
    lake.add("a", &[1, 2, 3]);
    let mut table = lake.table();
    let mut keys = lake.keys(&mut table, &["id"]);
    let run = keys.index.runs[0].path().to_owned();
    let mut bytes = fs::read(&run).unwrap();
    bytes[5] ^= 1;
    fs::write(&run, bytes).unwrap();
    assert_eq!(ids(&mut keys, &mut table), [1, 2, 3]);
    assert!(!run.exists());
}

#[test]
fn an_index_older_or_newer_than_the_log_or_of_another_log_is_brought_to_it() {
    let mut lake = Lake::new(false);
    let a = lake.add("a", &[1]);
    assert_eq!(lake.ids(), [1]);
    let old = copy(&lake.path("index"));
    lake.add("b", &[2]);
    lake.commit(&[removal(&a)]);
    assert_eq!(lake.ids(), [2]);
    // Older: a backup of the index.
    replace(&lake.path("index"), &old);
    assert_eq!(lake.ids(), [2]);
    // Newer: the table was restored from a backup.
    for version in [2, 3] {
        fs::remove_file(lake.path(&format!("table/_delta_log/{version:020}.json"))).unwrap();
    }
    lake.version = 1;
    assert_eq!(lake.ids(), [1]);
    // The same version of another history: what was commit 2 is another one now.
    lake.add("c", &[3]);
    assert_eq!(lake.ids(), [1, 3]);
    fs::remove_file(lake.path(&format!("table/_delta_log/{:020}.json", 2))).unwrap();
    lake.version = 1;
    lake.add("d", &[4]);
    assert_eq!(lake.ids(), [1, 4]);
    lake.add("e", &[5]);
    assert_eq!(lake.ids(), [1, 4, 5]);
}

#[test]
fn an_index_that_is_lost_is_had_from_its_snapshot_without_reading_the_table() {
    let mut lake = Lake::new(false);
    let url = Url::from_directory_path(lake.path("snapshots")).unwrap();
    let store = Store::open(&url, &BTreeMap::new(), test_runtime()).unwrap();
    let snapshots = Snapshots::new(store);
    let open = |lake: &Lake, table: &mut DeltaTable| {
        TableKeys::open(table, by(&["id".to_owned()]), &lake.path("index"), 2, Some(snapshots.clone()))
            .unwrap()
    };
    let folder = lake.path("snapshots");
    let names = |end: &str| {
        let files = fs::read_dir(&folder).unwrap();
        files.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().ends_with(end)).count()
    };
    for round in 0..4 {
        // A disk that is gone, so that the index is saved again.
        let _ = fs::remove_dir_all(lake.path("index"));
        let id = round * 2;
        lake.add(&format!("f{round}"), &[id, id + 1]);
        let mut table = lake.table();
        let mut keys = open(&lake, &mut table);
        keys.snapshot().unwrap().map(PendingSnapshot::upload).transpose().unwrap();
        assert!(keys.snapshot().unwrap().is_none(), "it was not saved again");
    }
    assert_eq!(names(".manifest"), 2, "two are kept of four");
    let mut table = lake.table();
    let mut keys = open(&lake, &mut table);
    keys.index.save().unwrap();
    keys.snapshot().unwrap().unwrap().upload().unwrap();
    assert_eq!(names(".manifest"), 2);
    keys.index.save().unwrap();
    keys.snapshot().unwrap().unwrap().upload().unwrap();
    assert_eq!(names(".manifest"), 2, "two are kept");
    // The files of the table are not read: they are not there.
    (0..4).for_each(|file| {
        fs::rename(lake.path(&format!("table/f{file}")), lake.path(&format!("hidden{file}"))).unwrap()
    });
    fs::remove_dir_all(lake.path("index")).unwrap();
    assert_eq!(ids(&mut open(&lake, &mut table), &mut table), (0..8).collect::<Vec<_>>());
    // The newest one is damaged: the one before is taken.
    let mut manifests: Vec<PathBuf> =
        fs::read_dir(lake.path("snapshots")).unwrap().map(|file| file.unwrap().path()).collect();
    manifests.retain(|path| path.extension().is_some_and(|extension| extension == "manifest"));
    manifests.sort();
    let mut bytes = fs::read(&manifests[1]).unwrap();
    bytes[9] ^= 2;
    fs::write(&manifests[1], bytes).unwrap();
    fs::remove_dir_all(lake.path("index")).unwrap();
    assert_eq!(ids(&mut open(&lake, &mut table), &mut table), (0..8).collect::<Vec<_>>());
    // None can be used: the table is read.
    (0..4).for_each(|file| {
        fs::rename(lake.path(&format!("hidden{file}")), lake.path(&format!("table/f{file}"))).unwrap()
    });
    manifests.iter().for_each(|path| fs::write(path, b"").unwrap());
    fs::remove_dir_all(lake.path("index")).unwrap();
    assert_eq!(ids(&mut open(&lake, &mut table), &mut table), (0..8).collect::<Vec<_>>());
}

#[test]
fn a_list_of_files_that_is_damaged_is_found_out_when_it_is_asked() {
    let mut lake = Lake::new(false);
    lake.add("a", &[1]);
    let mut table = lake.table();
    let mut keys = lake.keys(&mut table, &["id"]);
    let list = keys.index.list.path().to_owned();
    let mut bytes = fs::read(&list).unwrap();
    bytes[20] ^= 8;
    fs::write(&list, bytes).unwrap();
    let wanted = own_keys(&keys, &[Some(1)]);
    let found = keys.find_files(&mut table, &[wanted[0].unwrap()]).unwrap();
    assert_eq!(found.files.into_values().next().unwrap().path, "a");
    assert!(!list.exists(), "the index was built again");
}

#[test]
fn an_interrupted_build_goes_on_where_it_was() {
    let mut lake = Lake::new(false);
    lake.add("a", &[1]);
    lake.add("b", &[2]);
    let mut table = lake.table();
    let mut keys = lake.keys(&mut table, &["id"]);
    // As a build saves itself while it runs: some files, as of no version.
    let b = keys.index.hasher().of_file("b", None);
    keys.index.remove(b);
    keys.index.move_to(LogPosition { version: 0, commit_hash: None });
    keys.index.save().unwrap();
    // File a need not be read again.
    let path = lake.path("table/a");
    fs::rename(&path, lake.path("hidden")).unwrap();
    assert_eq!(lake.ids(), [1, 2]);
}

fn copy(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn replace(folder: &Path, files: &[(PathBuf, Vec<u8>)]) {
    fs::remove_dir_all(folder).unwrap();
    fs::create_dir(folder).unwrap();
    files.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
}
