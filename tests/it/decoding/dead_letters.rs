//! Every record in exactly one place: a row, a dead letter, or the count of what a mode leaves out.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::rig::{Alluvia, Broker, Ended, Message, delta_rows};

const BOUND: Duration = Duration::from_secs(120);
/// Bytes of a message near the broker's limit.
const OVERSIZED: usize = 8_000_000 - 100_000;

/// A stream of `topic` with a schema, further keys of the value and of the stream.
fn yaml(broker: &Broker, topic: &str, schema: &str, value: &str, stream: &str) -> String {
    format!(
        "streams:
  - name: letters
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{}', subscribe: '{topic}', startingOffsets: earliest }}
      value: {{ format: json, schema: '{schema}', keep: [topic, partition, offset, timestamp]{value} }}
    sink: {{ format: delta, path: ./table }}
    trigger: availableNow
    checkpointLocation: ./checkpoint
{stream}",
        broker.bootstrap()
    )
}

const LETTERS: &str = "    deadLetter: { format: delta, path: ./dead }\n";

/// A topic whose old messages the broker's retention leaves alone.
fn lasting_topic(broker: &Broker, hint: &str, partitions: i32) -> String {
    let name = format!("lasting-{hint}");
    broker.create_topic(&name, partitions, &[("retention.ms", "-1")]);
    name
}

fn with_letters(broker: &Broker, topic: &str, schema: &str) -> String {
    yaml(broker, topic, schema, "", LETTERS)
}

fn run(yaml: &str, folder: &Path) -> Ended {
    Alluvia::run(yaml, folder).wait(BOUND).success()
}

/// `alluvia dead-letters ACTION … --output json`, with `yaml` as its file.
fn command(yaml: &str, folder: &Path, arguments: &[&str]) -> Value {
    let ended = start(yaml, folder, arguments, &[]).wait(BOUND).success();
    serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{}: {e}", ended.stdout))
}

fn start(yaml: &str, folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Alluvia {
    std::fs::write(folder.join("stream.yaml"), yaml).unwrap();
    let (action, rest) = arguments.split_first().expect("an action");
    let all = ["dead-letters", action, "stream.yaml", "--output", "json"];
    Alluvia::start(all.into_iter().chain(rest.iter().copied()), folder, environment)
}

/// The (partition, offset) of each row of a table, in order; none if there is no table.
fn places(table: &Path) -> Vec<(i64, i64)> {
    if !table.join("_delta_log").exists() {
        return Vec::new();
    }
    let rows = delta_rows(table, &["partition", "offset"]);
    rows.iter().map(|row| (row["partition"].as_i64().unwrap(), row["offset"].as_i64().unwrap())).collect()
}

/// Fails unless rows and letters together are the offsets `0..until` of partition 0, each once.
fn each_once(folder: &Path, until: i64, rows: &[i64]) {
    let of =
        |table: &str| places(&folder.join(table)).into_iter().map(|(_, offset)| offset).collect::<Vec<_>>();
    assert_eq!(of("table"), rows, "rows");
    let letters: Vec<i64> = (0..until).filter(|offset| !rows.contains(offset)).collect();
    assert_eq!(of("dead"), letters, "dead letters");
}

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

/// One message of each kind that is no plain JSON object; what the modes make of them is in `docs/decoding.md`.
fn odd_messages() -> Vec<Message> {
    let mut oversized = br#"{"id":7,"n":""#.to_vec();
    oversized.resize(OVERSIZED, b'x');
    let mut whole = oversized.clone();
    whole.extend(br#""}"#);
    vec![
        Message::new(r#"{"id":0}"#),
        Message::tombstone("gone"),
        Message::new(""),
        Message::new(" \n\t "),
        Message::new(r#"{"id":"x","n":"kept"}"#),
        Message::new("[1"),
        Message::new(whole),
        Message::new(oversized),
        Message::new(r#"{"id":8}"#),
    ]
}

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

/// What happens between the two commits, and to a replay that dies.
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod killed {
    use super::*;
    use crate::scene::killed_at;

    /// Offsets 0, 2 and 5 have a number for `v`, 1 and 3 a text, 4 is no JSON; no schema takes 4.
    fn mixed(broker: &Broker, hint: &str) -> String {
        let topic = broker.topic(hint, 1);
        let values = [r#"{"v":1}"#, r#"{"v":"x"}"#, r#"{"v":2}"#, r#"{"v":"y","w":3}"#, "{", r#"{"v":5}"#];
        broker.produce(&topic, values.map(|value| Message::new(value).partition(0)));
        topic
    }

    /// A table that takes numbers `v` and `w`, or none.
    fn nullable_table(folder: &Path) {
        crate::rig::spark_sql(&format!(
            "CREATE TABLE delta.`{}` (v BIGINT, w BIGINT, topic STRING, partition INT, offset BIGINT, timestamp TIMESTAMP) USING delta",
            folder.join("table").display()
        ));
    }

    const NUMBERS: &str = "v BIGINT";
    const NUMBER_ROWS: [i64; 3] = [0, 2, 5];

    #[test]
    fn between_the_two_commits_the_same_schema_changes_nothing() {
        let Some(broker) = Broker::shared() else { return };
        for point in
            ["files.after", "letters.before", "letters.after", "sink.before", "sink.after", "log.after"]
        {
            let folder = tempfile::tempdir().unwrap();
            let yaml = with_letters(broker, &mixed(broker, "same"), NUMBERS);
            killed_at(&yaml, folder.path(), point);
            run(&yaml, folder.path());
            each_once(folder.path(), 6, &NUMBER_ROWS);
        }
    }

    /// What makes records bad is a column that is demanded, so that the table fits both schemas.
    #[test]
    fn a_schema_changed_both_ways_leaves_every_record_in_one_place() {
        let Some(broker) = Broker::shared() else { return };
        let lenient = "v BIGINT, w BIGINT";
        let strict = "v BIGINT, w BIGINT NOT NULL";
        for (first, second, rows) in [(lenient, strict, &[][..]), (strict, lenient, &NUMBER_ROWS[..])] {
            for point in ["letters.after", "sink.before"] {
                let folder = tempfile::tempdir().unwrap();
                let topic = mixed(broker, "ways");
                nullable_table(folder.path());
                killed_at(&with_letters(broker, &topic, first), folder.path(), point);
                run(&with_letters(broker, &topic, second), folder.path());
                each_once(folder.path(), 6, rows);
            }
        }
    }

    #[test]
    fn letters_replaced_by_none_are_there_again_when_the_third_schema_needs_them() {
        let Some(broker) = Broker::shared() else { return };
        let folder = tempfile::tempdir().unwrap();
        let topic = broker.topic("thrice", 1);
        broker.produce(&topic, [r#"{"v":1}"#, r#"{"v":2,"w":1}"#].map(Message::new));
        nullable_table(folder.path());
        let strict = with_letters(broker, &topic, "v BIGINT, w BIGINT NOT NULL");
        let lenient = with_letters(broker, &topic, "v BIGINT, w BIGINT");
        killed_at(&strict, folder.path(), "letters.after");
        assert_eq!(places(&folder.path().join("dead")), [(0, 0)]);
        killed_at(&lenient, folder.path(), "sink.before");
        killed_at(&lenient, folder.path(), "files.after");
        run(&strict, folder.path());
        each_once(folder.path(), 2, &[1]);
    }

    #[test]
    fn a_changed_option_or_mode_replaces_the_letters() {
        let Some(broker) = Broker::shared() else { return };
        let topic = broker.topic("options", 1);
        broker.produce(&topic, [r#"{"v":1}"#, "{v:2}", r#"{"v":"x"}"#].map(Message::new));
        let plain = with_letters(broker, &topic, NUMBERS);
        let unquoted = yaml(broker, &topic, NUMBERS, ", options: { allowUnquotedFieldNames: true }", LETTERS);
        let failfast = yaml(broker, &topic, NUMBERS, ", mode: FAILFAST", LETTERS);
        for (first, second, rows) in
            [(&plain, &unquoted, &[0, 1][..]), (&unquoted, &plain, &[0]), (&plain, &failfast, &[0])]
        {
            let folder = tempfile::tempdir().unwrap();
            killed_at(first, folder.path(), "letters.after");
            run(second, folder.path());
            each_once(folder.path(), 3, rows);
        }
    }

    #[test]
    fn dead_letters_moved_or_removed_in_between_are_withdrawn_from_the_old_table() {
        let Some(broker) = Broker::shared() else { return };
        let topic = mixed(broker, "moved");
        let first = with_letters(broker, &topic, NUMBERS);
        let moved = first.replace("./dead", "./elsewhere");
        let without = first.replace(LETTERS, "");
        let all: Vec<i64> = (0..6).collect();
        for later in ["", "sink.after"] {
            let folder = tempfile::tempdir().unwrap();
            killed_at(&first, folder.path(), "letters.after");
            assert_eq!(places(&folder.path().join("dead")).len(), 3);
            if !later.is_empty() {
                killed_at(&moved, folder.path(), later);
            }
            run(&moved, folder.path());
            assert_eq!(places(&folder.path().join("dead")), []);
            assert_eq!(places(&folder.path().join("elsewhere")), [(0, 1), (0, 3), (0, 4)]);

            let folder = tempfile::tempdir().unwrap();
            killed_at(&first, folder.path(), "letters.after");
            if !later.is_empty() {
                killed_at(&without, folder.path(), later);
            }
            run(&without, folder.path());
            each_once_in_table(folder.path(), &all);
        }
    }

    fn each_once_in_table(folder: &Path, rows: &[i64]) {
        let there: Vec<i64> = places(&folder.join("table")).into_iter().map(|(_, offset)| offset).collect();
        assert_eq!(there, rows);
        assert_eq!(places(&folder.join("dead")), []);
    }

    /// A stream with a committed batch, and the same with a schema by which letters 1 and 3 decode.
    fn with_letters_to_replay(broker: &Broker, folder: &Path) -> String {
        let topic = mixed(broker, "replay");
        nullable_table(folder);
        let numbers = with_letters(broker, &topic, NUMBERS);
        run(&numbers, folder);
        each_once(folder, 6, &NUMBER_ROWS);
        numbers.replace("schema: 'v BIGINT'", "schema: 'w BIGINT'")
    }

    #[test]
    fn a_replay_killed_anywhere_and_run_again_doubles_nothing() {
        let Some(broker) = Broker::shared() else { return };
        let points = [
            "lease.taken",
            "serves.written",
            "initial.written",
            "plan.before",
            "plan.after",
            "files.after",
            "sink.before",
            "sink.after",
            "log.after",
        ];
        for point in points {
            let folder = tempfile::tempdir().unwrap();
            let mended = with_letters_to_replay(broker, folder.path());
            let dead = folder.path().join("dead");
            let before = delta_rows(&dead, &[]);
            let environment = [("ALLUVIA_FAILPOINTS", &*format!("{point}=kill@1"))];
            let ended = start(&mended, folder.path(), &["replay"], &environment).wait(BOUND);
            assert!(ended.status.code().is_none(), "not killed at {point}: {}", ended.stderr);
            command(&mended, folder.path(), &["replay"]);
            let rows: Vec<i64> =
                places(&folder.path().join("table")).into_iter().map(|(_, offset)| offset).collect();
            assert_eq!(rows, [0, 1, 2, 3, 5], "killed at {point}");
            let again = command(&mended, folder.path(), &["replay"]);
            assert_eq!(
                (&again["replayed"], &again["alreadyReplayed"], &again["stillRejected"]["MALFORMED_RECORD"]),
                (&0.into(), &2.into(), &1.into())
            );
            assert_eq!(delta_rows(&dead, &[]), before, "dead letters are never rewritten");
            // The stream itself goes on as if nothing had been.
            run(&mended, folder.path());
            assert_eq!(places(&folder.path().join("table")).len(), 5);
        }
    }

    #[test]
    fn letters_of_a_batch_that_is_not_committed_are_not_replayed() {
        let Some(broker) = Broker::shared() else { return };
        let folder = tempfile::tempdir().unwrap();
        let topic = mixed(broker, "uncommitted");
        let numbers = with_letters(broker, &topic, NUMBERS);
        killed_at(&numbers, folder.path(), "letters.after");
        let replayed = command(&numbers, folder.path(), &["replay"]);
        assert_eq!(replayed["replayed"], 0);
        assert_eq!(places(&folder.path().join("table")), []);
        run(&numbers, folder.path());
        each_once(folder.path(), 6, &NUMBER_ROWS);
    }
}

#[test]
fn letters_that_a_replay_left_are_taken_by_a_later_one() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = lasting_topic(broker, "twice", 1);
    let timed = |value: &str| Message::new(value).key("k").timestamp_ms(1_700_000_000_123);
    broker.produce(&topic, [timed("{v:1}"), timed("{'v':2 /* two */}"), timed(r#"{"v":3}"#), timed("{")]);
    let with =
        |options: &str| yaml(broker, &topic, "v BIGINT", &format!(", options: {{ {options} }}"), LETTERS);
    let none = with("allowSingleQuotes: true");
    run(&none, folder.path());
    each_once(folder.path(), 4, &[2]);

    let unquoted = with("allowUnquotedFieldNames: true");
    let dry = command(&unquoted, folder.path(), &["replay", "--dry-run"]);
    assert_eq!(
        (&dry["replayed"], &dry["stillRejected"]),
        (&1.into(), &serde_json::json!({"MALFORMED_RECORD": 2}))
    );
    assert!(!folder.path().join("checkpoint/alluvia/replay").exists());
    assert_eq!(places(&folder.path().join("table")), [(0, 2)]);

    assert_eq!(command(&unquoted, folder.path(), &["replay"])["replayed"], 1);
    assert_eq!(places(&folder.path().join("table")), [(0, 0), (0, 2)]);
    let rows = delta_rows(&folder.path().join("table"), &["offset", "timestamp", "topic", "v"]);
    assert_eq!(rows[0]["timestamp"], "2023-11-14T22:13:20.123000+00:00");
    assert_eq!((&rows[0]["topic"], &rows[0]["v"]), (&topic.as_str().into(), &1.into()));

    let comments = with("allowComments: true");
    let second = command(&comments, folder.path(), &["replay"]);
    assert_eq!((&second["replayed"], &second["alreadyReplayed"]), (&1.into(), &1.into()));
    assert_eq!(second["stillRejected"], serde_json::json!({"MALFORMED_RECORD": 1}));
    assert_eq!(places(&folder.path().join("table")), [(0, 0), (0, 1), (0, 2)]);
    assert_eq!(places(&folder.path().join("dead")), [(0, 0), (0, 1), (0, 3)]);

    // New letters, and a new batch of the stream, after all that.
    broker.produce(&topic, [Message::new("{v:4}"), Message::new(r#"{"v":5}"#)]);
    run(&comments, folder.path());
    assert_eq!(command(&unquoted, folder.path(), &["replay"])["replayed"], 1);
    let offsets: Vec<i64> =
        places(&folder.path().join("table")).into_iter().map(|(_, offset)| offset).collect();
    assert_eq!(offsets, [0, 1, 2, 4, 5]);
}

#[test]
fn a_replay_goes_on_where_another_dead_letter_path_was_set_and_knows_the_former() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = lasting_topic(broker, "elsewhere", 1);
    let strict = with_letters(broker, &topic, "v BIGINT");
    let lax = yaml(broker, &topic, "v BIGINT", ", options: { allowUnquotedFieldNames: true }", LETTERS);
    let elsewhere = |yaml: &str| yaml.replace("./dead", "./dead2");
    broker.produce(&topic, [Message::new("{v:1}")]);
    run(&strict, folder.path());
    assert_eq!(command(&lax, folder.path(), &["replay"])["replayed"], 1);
    broker.produce(&topic, [Message::new("{v:2}")]);
    run(&elsewhere(&strict), folder.path());
    assert_eq!(command(&elsewhere(&lax), folder.path(), &["replay"])["replayed"], 1);
    let again = command(&elsewhere(&lax), folder.path(), &["replay"]);
    assert_eq!((&again["replayed"], &again["alreadyReplayed"]), (&0.into(), &1.into()));
    let former = command(&lax, folder.path(), &["replay"]);
    assert_eq!((&former["replayed"], &former["alreadyReplayed"]), (&0.into(), &1.into()));
    assert_eq!(places(&folder.path().join("table")), [(0, 0), (0, 1)]);
}

#[test]
fn streams_that_share_a_dead_letter_table_replay_their_own() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (broker.topic("one", 1), broker.topic("two", 1));
    broker.produce(&one, [Message::new("{v:1}")]);
    broker.produce(&two, [Message::new("{v:2}"), Message::new("{v:3}")]);
    let strict = |topic: &str| with_letters(broker, topic, "v BIGINT");
    let other = |yaml: &str| {
        yaml.replace("name: letters", "name: other")
            .replace("./table", "./other")
            .replace("./checkpoint", "./checkpoint2")
    };
    run(&strict(&one), folder.path());
    run(&other(&strict(&two)), folder.path());
    let unquoted = yaml(broker, &one, "v BIGINT", ", options: { allowUnquotedFieldNames: true }", LETTERS);
    let replayed = command(&unquoted, folder.path(), &["replay"]);
    assert_eq!((&replayed["replayed"], &replayed["otherQueries"]), (&1.into(), &2.into()));
    assert_eq!(places(&folder.path().join("table")), [(0, 0)]);
    assert_eq!(places(&folder.path().join("other")), []);
    // A copy of the checkpoint's loss: the table still knows, and refuses to take letters twice.
    std::fs::remove_dir_all(folder.path().join("checkpoint/alluvia/replay")).unwrap();
    let ended = start(&unquoted, folder.path(), &["replay"], &[]).wait(BOUND);
    assert_eq!(ended.code(), 7, "{}", ended.stderr);
    assert_eq!(places(&folder.path().join("table")), [(0, 0)]);
}
