//! What happens between the two commits, and to a replay that dies.

use std::path::Path;

use super::{BOUND, LETTERS, command, each_once, places, run, start, with_letters, yaml};
use crate::rig::{Broker, Message, delta_rows};
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
    for point in ["files.after", "letters.before", "letters.after", "sink.before", "sink.after", "log.after"]
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
