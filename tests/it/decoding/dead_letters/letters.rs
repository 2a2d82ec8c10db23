//! What a dead letter holds: the whole record with the reason, or a range of offsets that were lost.

use serde_json::Value;

use super::{BOUND, OVERSIZED, command, each_once, lasting_topic, odd_messages, places, run, with_letters};
use crate::rig::{Alluvia, Broker, Message, delta_rows};

#[test]
fn a_dead_letter_is_the_whole_record_with_the_reason() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = lasting_topic(broker, "whole", 2);
    broker.produce(
        &topic,
        [
            Message::new(r#"{"id":1,"n":"x"}"#).partition(0),
            Message::new(r#"{"id":"one","n":"x"}"#)
                .partition(0)
                .key("k")
                .timestamp_ms(1_700_000_000_123)
                .header("h", Some(b"v"))
                .header("null", None),
            Message::new(r#"{"n":"no id"}"#).partition(0),
            Message::new(r#"{"id":2"#).partition(1),
            Message::new(r#"{"id":3}"#).partition(1),
            Message::new(b"\xff\xfe".to_vec()).partition(1),
        ],
    );
    let yaml = with_letters(broker, &topic, "id BIGINT NOT NULL, n STRING");
    let ended = run(&yaml, folder.path());
    assert!(ended.stderr.contains("\"deadLetters\":4"), "{}", ended.stderr);
    assert_eq!(places(&folder.path().join("table")), [(0, 0), (1, 1)]);
    assert_eq!(places(&folder.path().join("dead")), [(0, 1), (0, 2), (1, 0), (1, 2)]);
    let rows = delta_rows(&folder.path().join("dead"), &[]);
    let letter = rows.iter().find(|row| row["partition"] == 0 && row["offset"] == 1).unwrap();
    assert_eq!(letter["topic"], topic.as_str());
    assert_eq!(letter["timestamp"], "2023-11-14T22:13:20.123000+00:00");
    assert_eq!((&letter["timestampType"], &letter["key"]), (&0.into(), &hex(b"k")));
    assert_eq!(letter["value"], hex(br#"{"id":"one","n":"x"}"#));
    assert_eq!(
        letter["headers"],
        serde_json::json!([{"key": "h", "value": hex(b"v")}, {"key": "null", "value": null}])
    );
    assert_eq!((&letter["errorCode"], &letter["errorField"]), (&"CANNOT_PARSE_FIELD".into(), &"id".into()));
    assert!(!letter["errorMessage"].as_str().unwrap().is_empty());
    assert!(!letter["errorMessage"].as_str().unwrap().contains("one"), "a message holds no values");
    assert_eq!(letter["batchId"], 0);
    assert_eq!(letter["attempt"].as_str().unwrap().len(), 36);
    assert!(letter["rejectedAt"].as_str().unwrap().starts_with("20"));
    let metadata: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("checkpoint/metadata")).unwrap()).unwrap();
    assert_eq!(letter["queryId"], metadata["id"]);
    let bare = rows.iter().find(|row| row["offset"] == 2 && row["partition"] == 0).unwrap();
    assert_eq!((&bare["errorCode"], &bare["errorField"]), (&"NOT_NULL_VIOLATION".into(), &"id".into()));
    assert_eq!((&bare["headers"], &bare["key"]), (&Value::Null, &Value::Null));

    let shown = command(&yaml, folder.path(), &["show", "--limit", "1"]);
    assert_eq!((&shown["total"], shown["deadLetters"].as_array().unwrap().len()), (&4.into(), 1));
    assert_eq!(shown["codes"]["NOT_NULL_VIOLATION"], 1);
    assert_eq!(shown["deadLetters"][0]["offset"], 2, "the newest first: {shown}");
    assert_eq!(shown["deadLetters"][0]["valueHex"], "fffe");
    let shown = command(&yaml, folder.path(), &["show", "--code", "cannot_parse_field"]);
    let of_code = shown["deadLetters"].as_array().unwrap();
    assert!(
        of_code.iter().any(|letter| letter["value"] == r#"{"id":"one","n":"x"}"# && letter["key"] == "k")
    );
    assert!(of_code.iter().all(|letter| letter["errorCode"] == "CANNOT_PARSE_FIELD"), "{shown}");
    let text =
        Alluvia::start(["dead-letters", "show", "stream.yaml"], folder.path(), &[]).wait(BOUND).success();
    assert!(
        text.stdout.contains("4 dead letters") && text.stdout.contains("value (20 bytes): {\"id\":\"one\""),
        "{}",
        text.stdout
    );
}

fn hex(bytes: &[u8]) -> Value {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

#[test]
fn oversized_and_odd_records_become_dead_letters_byte_for_byte() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("oversized", 1);
    broker.produce(&topic, odd_messages());
    run(&with_letters(broker, &topic, "id BIGINT NOT NULL, n STRING"), folder.path());
    each_once(folder.path(), 9, &[0, 6, 8]);
    let rows = delta_rows(&folder.path().join("dead"), &["offset", "errorCode", "value"]);
    let codes: Vec<_> = rows
        .iter()
        .map(|row| (row["offset"].as_i64().unwrap(), row["errorCode"].as_str().unwrap()))
        .collect();
    let null = "NOT_NULL_VIOLATION";
    assert_eq!(codes[..3], [(1, null), (2, null), (3, null)]);
    assert_eq!(
        (codes[3].1, codes[4].1, codes[5].1),
        ("CANNOT_PARSE_FIELD", "MALFORMED_RECORD", "MALFORMED_RECORD")
    );
    assert_eq!(
        (&rows[0]["value"], &rows[1]["value"], &rows[2]["value"]),
        (&Value::Null, &"".into(), &"200a0920".into())
    );
    assert_eq!(rows[5]["value"].as_str().unwrap().len(), OVERSIZED * 2);
}

#[test]
fn a_kafka_column_that_the_table_demands_rejects_records_without_it() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("keyless", 1);
    broker.produce(
        &topic,
        [
            Message::new(r#"{"id":1}"#).key("k"),
            Message::new(r#"{"id":2}"#),
            Message::new(r#"{"id":3}"#).key("l"),
        ],
    );
    let table = folder.path().join("table");
    crate::rig::spark_sql(&format!(
        "CREATE TABLE delta.`{}` (id BIGINT, key BINARY NOT NULL, topic STRING, partition INT, offset BIGINT) USING delta",
        table.display()
    ));
    let yaml = with_letters(broker, &topic, "id BIGINT")
        .replace("keep: [topic, partition, offset, timestamp]", "keep: [key, topic, partition, offset]");
    run(&yaml, folder.path());
    each_once(folder.path(), 3, &[0, 2]);
    let rows = delta_rows(&folder.path().join("dead"), &["errorCode", "errorField"]);
    assert_eq!(
        (&rows[0]["errorCode"], &rows[0]["errorField"]),
        (&"NOT_NULL_VIOLATION".into(), &"key".into())
    );
}

#[test]
fn offsets_lost_before_a_batch_was_planned_are_dead_letters_once() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("lost", 1);
    broker.produce(&topic, (0..5).map(|id| Message::new(format!("{{\"id\":{id}}}"))));
    let yaml = with_letters(broker, &topic, "id BIGINT")
        .replace("startingOffsets: earliest", "startingOffsets: earliest, failOnDataLoss: false");
    run(&yaml, folder.path());
    broker.produce(&topic, (5..9).map(|id| Message::new(format!("{{\"id\":{id}}}"))));
    broker.delete_records(&topic, 0, rdkafka::Offset::Offset(7));
    run(&yaml, folder.path());
    let rows = delta_rows(&folder.path().join("dead"), &["offset", "errorCode", "value"]);
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(
        (&rows[0]["offset"], &rows[0]["errorCode"], &rows[0]["value"]),
        (&5.into(), &"OFFSETS_LOST".into(), &Value::Null)
    );
    let offsets: Vec<i64> =
        places(&folder.path().join("table")).into_iter().map(|(_, offset)| offset).collect();
    assert_eq!(offsets, [0, 1, 2, 3, 4, 7, 8]);
    let replayed = command(&yaml, folder.path(), &["replay"]);
    assert_eq!((&replayed["replayed"], &replayed["offsetsLost"]), (&0.into(), &1.into()));
}
