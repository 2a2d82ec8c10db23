//! `alluvia dead-letters replay`: letters that fit now become rows, once.

use super::{BOUND, LETTERS, command, each_once, lasting_topic, places, run, start, with_letters, yaml};
use crate::rig::{Broker, Message, delta_rows};

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
    let shown = command(&comments, folder.path(), &["show"]);
    assert_eq!((&shown["total"], &shown["replayed"]), (&3.into(), &2.into()));
    let marked: Vec<(i64, bool)> = shown["deadLetters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| (letter["offset"].as_i64().unwrap(), letter["replayed"].as_bool().unwrap()))
        .collect();
    assert_eq!(marked, [(3, false), (1, true), (0, true)]);
    let open = command(&comments, folder.path(), &["show", "--open"]);
    assert_eq!(
        (&open["total"], &open["replayed"], &open["codes"]["MALFORMED_RECORD"]),
        (&1.into(), &0.into(), &1.into())
    );
    assert_eq!(
        (open["deadLetters"].as_array().unwrap().len(), &open["deadLetters"][0]["offset"]),
        (1, &3.into())
    );

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

/// A stream that merges by `k`; what stands in `merge` beside the keys is `words`.
fn merged(broker: &Broker, topic: &str, value: &str, words: &str) -> String {
    yaml(broker, topic, "k STRING, v BIGINT", value, LETTERS)
        .replace("path: ./table }", &format!("path: ./table, merge: {{ keys: [k]{words} }} }}"))
}

const LAX: &str = ", options: { allowUnquotedFieldNames: true }";

/// Two letters: an older state of key a, whose newer one is in the table, and a key of its own.
fn older_and_own() -> [Message; 4] {
    [r#"{"k":"a","v":1}"#, r#"{k:"a",v:2}"#, r#"{"k":"a","v":3}"#, r#"{k:"b",v:4}"#].map(Message::new)
}

#[test]
fn a_letter_that_would_replace_a_newer_row_is_refused_unless_the_merge_knows_or_is_forced() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = lasting_topic(broker, "older", 1);
    broker.produce(&topic, older_and_own());
    let update =
        |value: &str, words: &str| merged(broker, &topic, value, &format!(", whenMatched: update{words}"));
    run(&update("", ""), folder.path());
    let table = folder.path().join("table");
    assert_eq!((places(&table), places(&folder.path().join("dead"))), (vec![(0, 2)], vec![(0, 1), (0, 3)]));
    let deletes = ", deleteWhen: { column: k, values: [z] }";
    let ordered = ", orderBy: offset";
    for words in [String::new(), deletes.to_owned(), format!("{ordered}{deletes}")] {
        for rest in [&["replay"][..], &["replay", "--dry-run"]] {
            let ended = start(&update(LAX, &words), folder.path(), rest, &[]).wait(BOUND);
            assert_eq!(ended.code(), 2, "{words}: {}", ended.stderr);
            assert!(ended.stderr.contains("--overwrite-newer"), "{words}: {}", ended.stderr);
        }
    }
    assert!(!folder.path().join("checkpoint/alluvia/replay").exists());
    assert_eq!(places(&table), [(0, 2)]);

    let dry = command(&update(LAX, ordered), folder.path(), &["replay", "--dry-run"]);
    assert_eq!(dry["replayed"], 2);
    let said = command(&update(LAX, ordered), folder.path(), &["replay"]);
    assert_eq!((&said["replayed"], &said["numOutputRows"]), (&2.into(), &1.into()), "{said}");
    assert_eq!(said["metrics"]["numIgnoredRows"], 1, "{said}");
    assert_eq!(places(&table), [(0, 2), (0, 3)], "the newer row of key a stays");

    let forced = tempfile::tempdir().unwrap();
    run(&update("", ""), forced.path());
    let said = command(&update(LAX, ""), forced.path(), &["replay", "--overwrite-newer"]);
    assert_eq!(said["replayed"], 2);
    assert_eq!(places(&forced.path().join("table")), [(0, 1), (0, 3)]);
}

#[test]
fn a_replay_says_how_many_rows_the_merge_and_the_query_have_let_through() {
    let Some(broker) = Broker::shared() else { return };
    let topic = lasting_topic(broker, "counted", 1);
    broker.produce(&topic, older_and_own());
    let query = "    sql: SELECT * FROM input WHERE v <> 2\n";
    for (name, more, rows, filtered, duplicates) in
        [("merge", "", 1, 0, Some(1)), ("query", query, 1, 1, Some(0))]
    {
        let folder = tempfile::tempdir().unwrap();
        run(&(merged(broker, &topic, "", "") + more), folder.path());
        let lax = merged(broker, &topic, LAX, "") + more;
        let dry = command(&lax, folder.path(), &["replay", "--dry-run"]);
        assert_eq!((&dry["replayed"], &dry["numOutputRows"]), (&2.into(), &serde_json::Value::Null));
        let said = command(&lax, folder.path(), &["replay"]);
        assert_eq!(
            (&said["replayed"], &said["numOutputRows"], &said["filtered"]),
            (&2.into(), &rows.into(), &filtered.into()),
            "{name}: {said}"
        );
        assert_eq!(said["metrics"]["numDuplicateRowsInTable"].as_u64(), duplicates, "{name}: {said}");
        assert_eq!(places(&folder.path().join("table")), [(0, 0), (0, 3)], "{name}");
        let again = command(&lax, folder.path(), &["replay"]);
        assert_eq!((&again["replayed"], &again["numOutputRows"]), (&0.into(), &0.into()), "{name}: {again}");
    }
}
