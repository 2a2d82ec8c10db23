//! The index follows the table's log, and reads each file that is new to it once.

use super::*;

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
