//! An index of the keys of a time: which files it covers, and how its window moves.

use super::*;

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
