//! `merge.exceptColumns`: columns of the stream that say what becomes of a row and are not in the table.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::merging;
use crate::rig::{Alluvia, Broker, Message, delta_rows, spark_sql};
use crate::scene::{BOUND, draw, killed_at};

const DELETES: &str =
    "merge: { keys: [id], whenMatched: update, orderBy: at, deleteWhen: { column: op, values: [d] }";

/// The change `seq` of a row: its partition, and the row if it does not delete.
fn change(seq: u64) -> (Message, u64, Option<Value>) {
    let id = draw(7, seq * 2, 20);
    let op = ["c", "u", "u", "d"][draw(7, seq * 2 + 1, 4) as usize];
    let mut event = json!({"id": id, "at": seq, "day": format!("d{}", seq % 3), "v": format!("v{seq}")});
    let row = (op != "d").then(|| event.clone());
    event["op"] = op.into();
    event["src"] = json!({"lsn": seq});
    (Message::new(event.to_string()).partition((id % 2) as i32), id, row)
}

/// The rows of a table by every column that it has.
fn rows_by(read: impl FnOnce() -> Vec<Value>) -> BTreeMap<u64, Value> {
    let rows = read();
    let by_id: BTreeMap<u64, Value> =
        rows.iter().map(|row| (row["id"].as_u64().unwrap(), row.clone())).collect();
    assert_eq!(by_id.len(), rows.len(), "a key twice");
    by_id
}

fn commits(table: &Path) -> usize {
    let log = fs::read_dir(table.join("_delta_log")).unwrap();
    log.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|e| e == "json")).count()
}

#[test]
fn changes_delete_by_a_column_that_the_table_does_not_have_whoever_made_it_and_whatever_is_killed() {
    let Some(broker) = Broker::shared() else { return };
    let schema = "op STRING, id BIGINT, src STRUCT<lsn: BIGINT>, at BIGINT, day STRING, v STRING";
    let sink = format!("partitionBy: [day], {DELETES}, exceptColumns: [OP, src] }}");
    let vectors = "PARTITIONED BY (day) TBLPROPERTIES (delta.enableDeletionVectors = true, delta.columnMapping.mode = 'name')";
    for made in [None, Some("PARTITIONED BY (day)"), Some(vectors)] {
        let topic = broker.topic("except", 2);
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("table");
        let in_spark = format!("delta.`{}`", table.display());
        if let Some(layout) = made {
            spark_sql(&format!(
                "CREATE TABLE {in_spark} (v STRING, at BIGINT, id BIGINT, day STRING) USING delta {layout}"
            ));
        }
        let yaml = merging(broker, &topic, schema, &sink) + "    lanes: 2\n";
        let mut expected = BTreeMap::new();
        let mut produce = |changes: std::ops::Range<u64>| {
            let mut messages = Vec::new();
            for (message, id, row) in changes.map(change) {
                messages.push(message);
                match row {
                    Some(row) => expected.insert(id, row),
                    None => expected.remove(&id),
                };
            }
            broker.produce(&topic, messages);
            expected.clone()
        };
        let first = produce(0..60);
        fs::write(folder.path().join("stream.yaml"), &yaml).unwrap();
        Alluvia::start(["check", "stream.yaml"], folder.path(), &[]).wait(BOUND).success();
        killed_at(&yaml, folder.path(), "sink.after");
        let second = produce(60..140);
        assert!(first.keys().any(|id| !second.contains_key(id)), "a row of the table is deleted");
        Alluvia::run(&yaml, folder.path()).wait(BOUND).success();
        let there = rows_by(|| match made == Some(vectors) {
            true => spark_sql(&format!("SELECT * FROM {in_spark}")),
            false => delta_rows(&table, &[]),
        });
        assert_eq!(there, second, "{made:?}");
        assert_eq!(commits(&table), 3, "{made:?}: the table, and each batch once");
    }
}

#[test]
fn rows_are_inserted_without_the_column_and_merge_schema_does_not_add_it() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("except-ignore", 1);
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    spark_sql(&format!("CREATE TABLE delta.`{}` (id BIGINT, v STRING) USING delta", table.display()));
    let schema = "id BIGINT, op STRING, v STRING, extra INT";
    let sink = "options: { mergeSchema: true }, merge: { keys: [id], exceptColumns: [op] }";
    let yaml = merging(broker, &topic, schema, sink);
    let refused = |yaml: &str| {
        let ended = Alluvia::run(yaml, folder.path()).wait(BOUND);
        assert_eq!(ended.code(), 2, "{}", ended.stderr);
        ended.stderr
    };
    let said = refused(&merging(broker, &topic, "id BIGINT, op STRING, v STRING", "merge: { keys: [id] }"));
    assert!(
        said.contains("has no column op; it has id, v") && said.contains("sink.merge.exceptColumns"),
        "{said}"
    );
    let said = refused(&yaml.replace("exceptColumns: [op]", "exceptColumns: [op, v]"));
    assert!(said.contains("sink.merge.exceptColumns names v, which is a column of table"), "{said}");
    let send = |events: &[(u64, &str)]| {
        let value = |(id, v): &(u64, &str)| json!({"id": id, "op": "c", "v": v, "extra": 1}).to_string();
        broker.produce(&topic, events.iter().map(|event| Message::new(value(event))));
        Alluvia::run(&yaml, folder.path()).wait(BOUND).success();
    };
    send(&[(1, "first"), (2, "first"), (1, "second")]);
    send(&[(2, "later"), (3, "first")]);
    let row = |id: u64| (id, json!({"id": id, "v": "first", "extra": 1}));
    assert_eq!(rows_by(|| delta_rows(&table, &[])), [1, 2, 3].map(row).into());
}

#[test]
fn a_dead_letter_that_is_replayed_deletes_by_the_column_too() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("except-letters", 1);
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    spark_sql(&format!("CREATE TABLE delta.`{}` (id BIGINT, v VARCHAR(4)) USING delta", table.display()));
    let sink = format!("{DELETES}, exceptColumns: [op] }}").replace(", orderBy: at", "");
    let yaml = merging(broker, &topic, "op STRING, id BIGINT, v STRING", &sink)
        + "    deadLetter: { format: delta, path: ./dead }\n";
    let events = [
        r#"{"id":1,"op":"c","v":"a"}"#,
        r#"{"id":2,"op":"c","v":"b"}"#,
        r#"{"id":3,"op":"c","v":"too long for the table"}"#,
        r#"{id:1,op:"d"}"#,
    ];
    broker.produce(&topic, events.map(Message::new));
    Alluvia::run(&yaml, folder.path()).wait(BOUND).success();
    let row = |id: u64, v: &str| (id, json!({"id": id, "v": v}));
    assert_eq!(rows_by(|| delta_rows(&table, &[])), [row(1, "a"), row(2, "b")].into());
    let lax = yaml.replace("format: json,", "format: json, options: { allowUnquotedFieldNames: true },");
    fs::write(folder.path().join("stream.yaml"), lax).unwrap();
    let replay = ["dead-letters", "replay", "stream.yaml", "--overwrite-newer", "--output", "json"];
    let ended = Alluvia::start(replay, folder.path(), &[]).wait(BOUND).success();
    let said: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(
        (&said["replayed"], said["stillRejected"].as_object().unwrap().len()),
        (&1.into(), 1),
        "{said}"
    );
    assert_eq!(rows_by(|| delta_rows(&table, &[])), [row(2, "b")].into());
}
