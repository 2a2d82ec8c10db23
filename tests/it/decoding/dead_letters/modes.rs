//! What the modes make of malformed records: rows, dead letters, a stop, or a count.

use super::{BOUND, LETTERS, OVERSIZED, each_once, odd_messages, places, run, yaml};
use crate::rig::{Alluvia, Broker, Message, delta_rows};

#[test]
fn permissive_without_a_corrupt_column_keeps_every_record_as_a_row() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("permissive", 1);
    broker.produce(&topic, odd_messages());
    let ended = run(&yaml(broker, &topic, "id BIGINT, n STRING", "", ""), folder.path());
    assert!(ended.stderr.contains("add `_corrupt_record STRING` to the schema"), "{}", ended.stderr);
    assert!(ended.stderr.contains("\"malformedRows\":3"), "{}", ended.stderr);
    let rows = delta_rows(&folder.path().join("table"), &["offset", "id", "n"]);
    assert_eq!(rows.len(), 9);
    for (offset, id) in
        [(0, Some(0)), (1, None), (2, None), (3, None), (4, None), (5, None), (6, Some(7)), (8, Some(8))]
    {
        assert_eq!(rows[offset]["id"].as_i64(), id, "offset {offset}");
    }
    assert_eq!(rows[4]["n"], "kept", "what can be read of a malformed record stays");
    assert_eq!(rows[6]["n"].as_str().unwrap().len(), OVERSIZED - 13);
}

#[test]
fn permissive_with_a_corrupt_column_keeps_the_text_of_malformed_records() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("corrupt", 1);
    broker.produce(&topic, odd_messages());
    let value = ", columnNameOfCorruptRecord: bad";
    let ended = run(&yaml(broker, &topic, "id BIGINT, n STRING, bad STRING", value, ""), folder.path());
    assert!(!ended.stderr.contains("to the schema"), "{}", ended.stderr);
    let rows = delta_rows(&folder.path().join("table"), &["offset", "bad"]);
    let bad: Vec<usize> = rows.iter().map(|row| row["bad"].as_str().map_or(0, str::len)).collect();
    assert_eq!(bad, [0, 0, 0, 0, 21, 2, 0, OVERSIZED, 0]);
    assert_eq!(rows[4]["bad"], r#"{"id":"x","n":"kept"}"#);
}

#[test]
fn failfast_names_topic_partition_offset_and_field_and_writes_nothing() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("failfast", 1);
    broker.produce(&topic, odd_messages());
    let yaml = yaml(broker, &topic, "id BIGINT, n STRING", ", mode: FAILFAST", "");
    let ended = Alluvia::run(&yaml, folder.path()).wait(BOUND);
    assert_eq!(ended.code(), 6, "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("offset 4 of partition {topic}-0")), "{}", ended.stderr);
    assert!(ended.stderr.contains("CANNOT_PARSE_FIELD in field id"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("kept"), "a value was printed: {}", ended.stderr);
    assert_eq!(places(&folder.path().join("table")), []);
    // The same batch, with the mend that the message names.
    run(&format!("{yaml}{LETTERS}"), folder.path());
    each_once(folder.path(), 9, &[0, 1, 2, 3, 6, 8]);
}

#[test]
fn dropmalformed_leaves_malformed_records_out_and_counts_them() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("drop", 1);
    broker.produce(&topic, odd_messages());
    let ended = run(&yaml(broker, &topic, "id BIGINT, n STRING", ", mode: DROPMALFORMED", ""), folder.path());
    assert!(ended.stderr.contains("\"droppedRows\":3"), "{}", ended.stderr);
    assert_eq!(
        places(&folder.path().join("table")).iter().map(|(_, o)| *o).collect::<Vec<_>>(),
        [0, 1, 2, 3, 6, 8]
    );
}

#[test]
fn without_dead_letters_a_broken_not_null_stops_the_stream_in_every_mode() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("notnull", 1);
    broker.produce(&topic, [Message::new(r#"{"id":1}"#), Message::tombstone("gone")]);
    for mode in ["PERMISSIVE", "FAILFAST", "DROPMALFORMED"] {
        let folder = tempfile::tempdir().unwrap();
        let yaml = yaml(broker, &topic, "id BIGINT NOT NULL", &format!(", mode: {mode}"), "");
        let ended = Alluvia::run(&yaml, folder.path()).wait(BOUND);
        assert_eq!(ended.code(), 6, "{mode}: {}", ended.stderr);
        assert!(
            ended.stderr.contains("offset 1") && ended.stderr.contains("NOT_NULL_VIOLATION in field id"),
            "{}",
            ended.stderr
        );
    }
}
