//! The index of a table whose log other writers change: every commit here is written by hand.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use url::Url;

use super::*;
use crate::storage::Store;
use crate::table::AddedFile;
use crate::table::key_index::{OwnDeletions, OwnFiles};

/// A table with columns `id BIGINT`, `s STRUCT<x STRING>` and `day STRING`, and an index beside it.
struct Lake {
    folder: TempDir,
    runtime: Runtime,
    version: i64,
}

impl Lake {
    fn new(partitioned: bool) -> Lake {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut lake = Lake { folder: tempfile::tempdir().unwrap(), runtime, version: -1 };
        fs::create_dir_all(lake.path("table/_delta_log")).unwrap();
        lake.commit(&[
            json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}),
            metadata("6c2c1a2e-0000-4000-8000-000000000001", partitioned),
        ]);
        lake
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn commit(&mut self, actions: &[Value]) {
        self.version += 1;
        let info = json!({"commitInfo": {"operation": "TEST", "nonce": rand::random::<u32>()}});
        let lines: Vec<String> = std::iter::once(&info).chain(actions).map(Value::to_string).collect();
        let name = format!("table/_delta_log/{:020}.json", self.version);
        fs::write(self.path(&name), lines.join("\n")).unwrap();
    }

    /// Writes a file with these ids and returns its `add`.
    fn file(&self, name: &str, ids: &[Option<i64>], day: Option<&str>) -> Value {
        let texts: ArrayRef =
            Arc::new(StringArray::from_iter(ids.iter().map(|id| id.map(|id| format!("k{id}")))));
        let structs = StructArray::new(struct_fields(), vec![texts], None);
        let mut columns: Vec<(&str, ArrayRef)> =
            vec![("id", Arc::new(Int64Array::from(ids.to_vec()))), ("s", Arc::new(structs))];
        if day.is_none() {
            columns.push(("day", Arc::new(StringArray::from(vec!["d"; ids.len()]))));
        }
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None).unwrap();
        writer.write(&rows).unwrap();
        let bytes = writer.into_inner().unwrap();
        fs::write(self.path("table").join(name), &bytes).unwrap();
        let partition = day.map_or(json!({}), |day| json!({"day": day}));
        json!({"add": {
            "path": name, "partitionValues": partition, "size": bytes.len(), "modificationTime": 0,
            "dataChange": true, "stats": json!({"numRecords": ids.len()}).to_string(),
        }})
    }

    fn add(&mut self, name: &str, ids: &[i64]) -> Value {
        let ids: Vec<Option<i64>> = ids.iter().copied().map(Some).collect();
        let add = self.file(name, &ids, None);
        self.commit(std::slice::from_ref(&add));
        add
    }

    fn table(&self) -> DeltaTable {
        let url = Url::from_directory_path(self.path("table")).unwrap();
        let store = Store::open(&url, &BTreeMap::new()).unwrap();
        DeltaTable::open(&store, self.runtime.handle()).unwrap().unwrap()
    }

    fn keys(&self, table: &mut DeltaTable, columns: &[&str]) -> TableKeys {
        let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
        TableKeys::open(table, by(&columns), &self.path("index"), 2, None).unwrap()
    }

    /// The ids that an index opened now finds in the table as it is now, out of 0..100.
    fn ids(&self) -> Vec<i64> {
        let mut table = self.table();
        ids(&mut self.keys(&mut table, &["id"]), &mut table)
    }
}

fn struct_fields() -> arrow::datatypes::Fields {
    vec![Field::new("x", DataType::Utf8, true)].into()
}

fn metadata(id: &str, partitioned: bool) -> Value {
    let schema = json!({"type": "struct", "fields": [
        {"name": "id", "type": "long", "nullable": true, "metadata": {}},
        {"name": "s", "nullable": true, "metadata": {}, "type": {"type": "struct", "fields": [
            {"name": "x", "type": "string", "nullable": true, "metadata": {}},
        ]}},
        {"name": "day", "type": "string", "nullable": true, "metadata": {}},
    ]});
    let columns: &[&str] = if partitioned { &["day"] } else { &[] };
    json!({"metaData": {
        "id": id, "format": {"provider": "parquet", "options": {}}, "schemaString": schema.to_string(),
        "partitionColumns": columns, "configuration": {}, "createdTime": 0,
    }})
}

fn rows(ids: impl IntoIterator<Item = Option<i64>>, day: &str) -> RecordBatch {
    let ids: Vec<Option<i64>> = ids.into_iter().collect();
    let texts: ArrayRef =
        Arc::new(StringArray::from_iter(ids.iter().map(|id| id.map(|id| format!("k{id}")))));
    let columns: Vec<(Field, ArrayRef)> = vec![
        (Field::new("id", DataType::Int64, true), Arc::new(Int64Array::from(ids.clone()))),
        (
            Field::new("s", DataType::Struct(struct_fields()), true),
            Arc::new(StructArray::new(struct_fields(), vec![texts], None)),
        ),
        (Field::new("day", DataType::Utf8, true), Arc::new(StringArray::from(vec![day; ids.len()]))),
    ];
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

fn by(names: &[String]) -> IndexedBy<'_> {
    IndexedBy { names, within: None }
}

/// The ids among 0..100 that are in the table, once for each file.
fn ids(keys: &mut TableKeys, table: &mut DeltaTable) -> Vec<i64> {
    found(keys, table, "d")
}

fn found(keys: &mut TableKeys, table: &mut DeltaTable, day: &str) -> Vec<i64> {
    let row_keys = keys.row_hasher().keys(&rows((0..100).map(Some), day)).unwrap();
    let mut order: Vec<(Fingerprint, i64)> = row_keys.fingerprints.into_iter().zip(0..).collect();
    order.sort_unstable();
    let sorted: Vec<Fingerprint> = order.iter().map(|(key, _)| *key).collect();
    let mut ids: Vec<i64> =
        keys.find(table, &sorted).unwrap().into_iter().map(|(position, _)| order[position].1).collect();
    ids.sort_unstable();
    ids
}

fn removal(add: &Value) -> Value {
    json!({"remove": {"path": add["add"]["path"], "deletionTimestamp": 1, "dataChange": true}})
}

#[test]
fn an_index_follows_whatever_others_commit() {
    let mut lake = Lake::new(false);
    let a = lake.add("a", &[1, 2]);
    let mut table = lake.table();
    let mut keys = lake.keys(&mut table, &["id"]);
    assert_eq!(ids(&mut keys, &mut table), [1, 2]);
    let mut after = |lake: &Lake, expected: &[i64]| {
        table.refresh().unwrap();
        assert_eq!(ids(&mut keys, &mut table), expected);
        assert_eq!(lake.ids(), expected, "by an index that was opened again");
    };
    // An append, of a key that is there already, too.
    lake.add("b", &[2, 3]);
    after(&lake, &[1, 2, 2, 3]);
    // DELETE of one of two copies: a file is rewritten.
    let c = lake.file("c", &[Some(1)], None);
    lake.commit(&[removal(&a), c.clone()]);
    after(&lake, &[1, 2, 3]);
    // RESTORE: a file that had left comes back.
    lake.commit(&[removal(&c), a.clone()]);
    after(&lake, &[1, 2, 2, 3]);
    // Removed and added again before anyone read the log.
    lake.commit(&[removal(&a)]);
    lake.commit(std::slice::from_ref(&a));
    after(&lake, &[1, 2, 2, 3]);
    // OPTIMIZE of all, and the old files are vacuumed at once.
    let b = json!({"add": {"path": "b"}});
    let d = lake.file("d", &[1, 2, 2, 3].map(Some), None);
    lake.commit(&[removal(&a), removal(&b), d.clone()]);
    ["a", "b", "c"].iter().for_each(|name| fs::remove_file(lake.path("table").join(name)).unwrap());
    after(&lake, &[1, 2, 3]);
    // Overwrite.
    let e = lake.file("e", &[Some(9)], None);
    lake.commit(&[removal(&d), e]);
    after(&lake, &[9]);
    // A commit that changes no file.
    lake.commit(&[json!({"txn": {"appId": "other", "version": 1}})]);
    after(&lake, &[9]);
}

/// A table whose `day` is a date; its files say in their statistics, or not, up to which day their rows go.
struct DatedLake(Lake);

impl DatedLake {
    fn new() -> DatedLake {
        let mut lake = Lake::new(false);
        let mut metadata = metadata("6c2c1a2e-0000-4000-8000-000000000001", false);
        let schema = metadata["metaData"]["schemaString"].as_str().unwrap();
        let dated = schema.replace(r#""name":"day","type":"string""#, r#""name":"day","type":"date""#);
        assert_ne!(dated, schema);
        metadata["metaData"]["schemaString"] = dated.into();
        lake.commit(&[metadata]);
        DatedLake(lake)
    }

    fn add(&mut self, name: &str, id: i64, newest: Option<&str>) -> Value {
        let mut add = self.0.file(name, &[Some(id)], None);
        if let Some(day) = newest {
            let stats = json!({"numRecords": 1, "maxValues": {"id": id, "day": day}});
            add["add"]["stats"] = stats.to_string().into();
        }
        self.0.commit(std::slice::from_ref(&add));
        add
    }

    fn open(&self, table: &mut DeltaTable, days: u64) -> TableKeys {
        let names = ["id".to_owned()];
        let within = Some(("day", Duration::from_secs(days * 86_400)));
        let by = IndexedBy { names: &names, within };
        TableKeys::open(table, by, &self.0.path("index"), 2, None).unwrap()
    }

    /// What an index that is opened now finds, and from which day of 2020 on it holds all keys.
    fn found(&self, days: u64) -> (Vec<i64>, i64) {
        let mut table = self.0.table();
        let mut keys = self.open(&mut table, days);
        (ids(&mut keys, &mut table), first_day(&keys))
    }
}

fn first_day(keys: &TableKeys) -> i64 {
    let (_, micros) = keys.window().unwrap();
    micros / 86_400_000_000 - 18_262 + 1
}

#[test]
fn files_that_are_older_than_the_window_are_not_read_and_let_go_of() {
    let mut lake = DatedLake::new();
    lake.add("old", 1, Some("2020-01-01"));
    fs::rename(lake.0.path("table/old"), lake.0.path("hidden")).unwrap();
    lake.add("b", 2, Some("2020-01-05"));
    lake.add("c", 3, Some("2020-01-09"));
    lake.add("without", 4, None);
    assert_eq!(lake.found(5), (vec![2, 3, 4], 4), "and the file that is gone was not asked for");

    let mut table = lake.0.table();
    let mut keys = lake.open(&mut table, 5);
    let d = lake.add("d", 5, Some("2020-01-12"));
    lake.add("late", 6, Some("2020-01-02"));
    table.refresh().unwrap();
    assert_eq!(ids(&mut keys, &mut table), [3, 4, 5], "what came late and is too old is not held");
    assert_eq!(first_day(&keys), 7);
    drop(keys);
    // As it was saved some commits ago, or not at all: it follows the log to the same.
    assert_eq!(lake.found(5), (vec![3, 4, 5], 7));

    // The newest row leaves the table: the window does not go back to files that were let go of.
    lake.0.commit(&[removal(&d)]);
    assert_eq!(lake.found(5), (vec![3, 4], 7));
    // A time that has not come yet counts as now.
    lake.add("ahead", 7, Some("2999-01-01"));
    let (found, first) = lake.found(5);
    assert_eq!(found, [4, 7]);
    assert!(first < 365 * 200, "{first}");

    // Another length needs other files: it is another index.
    fs::rename(lake.0.path("hidden"), lake.0.path("table/old")).unwrap();
    let all = 365 * 300;
    assert_eq!(lake.found(all).0, [1, 2, 3, 4, 6, 7]);
    let mut table = lake.0.table();
    assert_eq!(
        ids(&mut lake.0.keys(&mut table, &["id"]), &mut table),
        [1, 2, 3, 4, 6, 7],
        "without a window"
    );
}

#[test]
fn commits_of_our_own_move_the_window() {
    let mut lake = DatedLake::new();
    lake.add("b", 2, Some("2020-01-05"));
    let mut table = lake.0.table();
    let mut keys = lake.open(&mut table, 5);
    let hasher = keys.row_hasher();
    let read_version = table.version();
    lake.add("own", 8, Some("2020-01-20"));
    table.refresh().unwrap();
    let statistics = json!({"numRecords": 1, "maxValues": {"day": "2020-01-20"}}).to_string();
    let file = AddedFile { statistics: statistics.into(), ..own_file("own", 0, 1) };
    let keys_of_rows = hasher.keys(&rows([Some(8)], "d")).unwrap();
    let own = OwnFiles { files: vec![file], keys: Some(vec![keys_of_rows.matchable(0)]) };
    keys.committed(&mut table, read_version, OwnChanges { added: vec![own], ..OwnChanges::default() })
        .unwrap();
    assert_eq!((ids(&mut keys, &mut table), first_day(&keys)), (vec![8], 15));
}

#[test]
fn a_file_that_came_and_went_unseen_is_not_read() {
    let mut lake = Lake::new(false);
    lake.add("a", &[1]);
    assert_eq!(lake.ids(), [1]);
    let gone = lake.add("gone", &[2]);
    lake.commit(&[removal(&gone)]);
    fs::remove_file(lake.path("table/gone")).unwrap();
    assert_eq!(lake.ids(), [1]);
}

#[test]
fn a_file_that_should_be_there_and_is_not_is_an_error() {
    let mut lake = Lake::new(false);
    lake.add("a", &[1]);
    fs::remove_file(lake.path("table/a")).unwrap();
    let mut table = lake.table();
    let error =
        TableKeys::open(&mut table, by(&["id".to_owned()]), &lake.path("index"), 2, None).err().unwrap();
    assert!(error.to_string().contains("cannot read the keys of table"), "{error}");
}

#[test]
fn a_file_that_vanishes_while_it_is_read_is_left_out_if_it_has_left_the_table() {
    let mut lake = Lake::new(false);
    let a = lake.add("a", &[1]);
    let mut stale = lake.table();
    let b = lake.file("b", &[Some(1), Some(2)], None);
    lake.commit(&[removal(&a), b]);
    fs::remove_file(lake.path("table/a")).unwrap();
    let mut keys = lake.keys(&mut stale, &["id"]);
    assert_eq!((stale.version(), ids(&mut keys, &mut stale)), (2, vec![1, 2]));
}

#[test]
fn a_row_whose_key_is_null_is_not_in_the_index() {
    let mut lake = Lake::new(false);
    let add = lake.file("a", &[Some(1), None, None], None);
    lake.commit(&[add]);
    let mut table = lake.table();
    let mut keys = lake.keys(&mut table, &["id"]);
    let null = keys.row_hasher().keys(&rows([None], "d")).unwrap();
    assert_eq!(keys.find(&mut table, &null.fingerprints).unwrap(), []);
    assert_eq!((ids(&mut keys, &mut table), keys.size().keys), (vec![1], 1));
}

#[test]
fn a_key_may_be_a_field_and_a_partition_column() {
    let mut lake = Lake::new(true);
    let (a, b) = (lake.file("a", &[Some(1), Some(2)], Some("d")), lake.file("b", &[Some(3)], Some("e")));
    lake.commit(&[a, b]);
    let mut table = lake.table();
    let mut keys = lake.keys(&mut table, &["s.X", "day"]);
    assert_eq!(found(&mut keys, &mut table, "d"), [1, 2]);
    assert_eq!(found(&mut keys, &mut table, "e"), [3]);
    let mut keys = lake.keys(&mut table, &["day"]);
    assert_eq!(found(&mut keys, &mut table, "e").len(), 100);
    assert!(found(&mut keys, &mut table, "f").is_empty());
}

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

/// A file as our writer describes it.
fn own_file(path: &str, number: usize, rows: u64) -> AddedFile {
    AddedFile {
        path: path.into(),
        partition_values: Vec::new(),
        size_bytes: 1,
        modified_ms: 0,
        rows,
        number,
        statistics: "{}".into(),
    }
}

fn own_keys(keys: &TableKeys, ids: &[Option<i64>]) -> Vec<Option<Fingerprint>> {
    let row_keys = keys.row_hasher().keys(&rows(ids.to_vec(), "d")).unwrap();
    (0..ids.len()).map(|row| row_keys.matchable(row)).collect()
}

fn added(own: OwnFiles) -> OwnChanges {
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
fn an_index_that_is_lost_is_had_from_its_snapshot_without_reading_the_table() {
    let mut lake = Lake::new(false);
    let url = Url::from_directory_path(lake.path("snapshots")).unwrap();
    let store = Store::open(&url, &BTreeMap::new()).unwrap();
    let snapshots = Snapshots::new(store, lake.runtime.handle());
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
