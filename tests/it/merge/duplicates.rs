//! Merging: events that come twice, in one batch, in several, across restarts and beside other writers, are one row each.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use alluvia::failpoint::MERGE_NAMES;
use serde_json::Value;

use super::merging;
use crate::rig::{
    Alluvia, Broker, Digest, Ended, Message, delta_digest, delta_rows, digest_of, spark_history, spark_merge,
    spark_sql, until, workload,
};
use crate::scene::{BOUND, draw, each, seed};

const SEED: u64 = 11;
const PARTITIONS: u32 = 3;
/// The columns that identify an event's row.
const ROW: [&str; 4] = ["event_id", "device", "battery", "seq"];

/// A topic in which one event in five comes again, in any partition.
pub struct Duplicates {
    broker: &'static Broker,
    topic: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Messages sent.
    sent: u64,
    /// Different events among them.
    events: u64,
}

impl Duplicates {
    pub fn new(broker: &'static Broker, hint: &str) -> Duplicates {
        let topic = broker.topic(hint, PARTITIONS as i32);
        Duplicates { broker, topic, state: Mutex::default() }
    }

    /// Sends `count` more messages.
    pub fn produce(&self, count: u64) {
        let mut state = self.state.lock().unwrap();
        let messages: Vec<Message> = (0..count)
            .map(|_| {
                let at = state.sent;
                state.sent += 1;
                let again = state.events > 0 && draw(SEED, at, 5) == 0;
                let seq = if again { draw(SEED, at + 1, state.events) } else { state.events };
                state.events += u64::from(!again);
                self.message(seq, draw(SEED, at + 2, u64::from(PARTITIONS)) as i32)
            })
            .collect();
        drop(state);
        self.broker.produce(&self.topic, messages);
    }

    fn message(&self, seq: u64, partition: i32) -> Message {
        let mut value = Vec::new();
        workload::write_event(&mut value, SEED, seq);
        Message::new(value).partition(partition)
    }

    pub fn yaml(&self, merge: &str) -> String {
        format!(
            "streams:
  - name: merged
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{}', subscribe: '{}', startingOffsets: earliest, maxOffsetsPerTrigger: 900 }}
      value: {{ format: json, schema: '{}' }}
    sink:
      format: delta
      path: ./table
      tableProperties: {{ delta.checkpointInterval: '2' }}
      merge: {{ keys: [event_id]{merge} }}
    trigger: availableNow
    checkpointLocation: ./checkpoint
    minBatchesToRetain: 2
    lanes: 2
",
            self.broker.bootstrap(),
            self.topic,
            workload::SCHEMA_DDL
        )
    }

    fn run(&self, folder: &Path) -> Ended {
        Alluvia::run(&self.yaml(""), folder).wait(BOUND).success()
    }

    /// The table holds every event that was sent, once.
    fn check(&self, folder: &Path, what: &str) {
        self.check_by(what, |columns| delta_digest(&folder.join("table"), columns));
    }

    /// The same of a table that is read by `read`, which is given the columns to compare.
    pub fn check_by(&self, what: &str, read: impl Fn(&[&str]) -> Digest) {
        let events = self.state.lock().unwrap().events;
        let expected = digest_of((0..events).map(|seq| {
            let mut value = Vec::new();
            workload::write_event(&mut value, SEED, seq);
            let event: Value = serde_json::from_slice(&value).unwrap();
            let text = |key: &str| event[key].as_str().unwrap().to_owned();
            [text("event_id"), text("device"), event["battery"].to_string(), event["seq"].to_string()]
        }));
        let there = read(&ROW);
        assert!(there.same_rows(&expected), "{what}: the table has {there:?}, the topic {expected:?}");
    }
}

/// The index of the streams here: its folder.
fn index(folder: &Path) -> PathBuf {
    folder.join("checkpoint/alluvia/key-index")
}

/// What the progress of each batch of a run says of its sink.
fn of_sink(ended: &Ended) -> impl Iterator<Item = Value> + '_ {
    let lines = ended.stderr.lines().filter(|line| line.contains("\"event\":\"progress\""));
    lines.map(|line| serde_json::from_str::<Value>(line).unwrap()["sink"].take())
}

/// A number of the sink in each batch of a run.
fn metrics<'a>(ended: &'a Ended, name: &'a str) -> impl Iterator<Item = u64> + 'a {
    of_sink(ended).map(move |sink| sink["metrics"][name].as_str().unwrap().parse().unwrap())
}

/// What the progress lines of a run add up to: rows written, duplicates within batches, duplicates of the table.
fn counted(ended: &Ended) -> [u64; 3] {
    let rows = of_sink(ended).map(|sink| sink["numOutputRows"].as_u64().unwrap()).sum();
    let [in_batch, in_table] =
        ["numDuplicateRowsInBatch", "numDuplicateRowsInTable"].map(|name| metrics(ended, name).sum());
    [rows, in_batch, in_table]
}

#[test]
fn an_event_that_comes_again_at_any_time_is_one_row() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Duplicates::new(broker, "merge");
    let folder = tempfile::tempdir().unwrap();
    scene.produce(6_000);
    let [rows, in_batch, in_table] = counted(&scene.run(folder.path()));
    scene.check(folder.path(), "the first run");
    let events = scene.state.lock().unwrap().events;
    assert_eq!((rows, in_batch + in_table), (events, 6_000 - events));
    assert!(in_batch > 0 && in_table > 0, "{in_batch} and {in_table}");
    // All of it again, after a restart.
    broker.produce(&scene.topic, (0..events).map(|seq| scene.message(seq, (seq % 3) as i32)));
    assert_eq!(counted(&scene.run(folder.path())), [0, 0, events]);
    scene.check(folder.path(), "the second run");
    scene.produce(1_000);
    scene.run(folder.path());
    scene.check(folder.path(), "the third run");
    let newest = &spark_history(&folder.path().join("table"))[0];
    assert_eq!((&newest["operation"], &newest["isBlindAppend"]), (&"STREAMING UPDATE".into(), &false.into()));
}

#[test]
fn the_first_by_partition_and_offset_is_the_row_and_null_is_a_key_that_the_table_never_has() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("first", 2);
    let folder = tempfile::tempdir().unwrap();
    let yaml = merging(broker, &topic, "k STRING, s STRUCT<x: INT>, v INT", "merge: { keys: [K, s.x] }");
    let send = |events: &[(i32, &str)]| {
        broker.produce(
            &topic,
            events.iter().map(|(partition, value)| Message::new(*value).partition(*partition)),
        );
        Alluvia::run(&yaml, folder.path()).wait(BOUND).success();
    };
    send(&[
        (1, r#"{"k":"a","s":{"x":1},"v":10}"#),
        (1, r#"{"k":"b","s":{"x":1},"v":11}"#),
        (0, r#"{"k":"a","s":{"x":1},"v":20}"#),
        (0, r#"{"k":"a","s":{"x":2},"v":21}"#),
        (0, r#"{"k":"b","s":null,"v":22}"#),
        (1, r#"{"k":"b","v":12}"#),
        (0, r#"{"k":null,"s":{"x":1},"v":23}"#),
    ]);
    let values = || -> BTreeSet<i64> {
        delta_rows(&folder.path().join("table"), &["v"])
            .iter()
            .map(|row| row["v"].as_i64().unwrap())
            .collect()
    };
    assert_eq!(values(), BTreeSet::from([11, 20, 21, 22, 23]));
    send(&[
        (0, r#"{"k":"a","s":{"x":1},"v":30}"#),
        (0, r#"{"k":"b","s":null,"v":31}"#),
        (1, r#"{"k":"b","v":32}"#),
        (1, r#"{"k":null,"s":{"x":1},"v":33}"#),
    ]);
    assert_eq!(values(), BTreeSet::from([11, 20, 21, 22, 23, 31, 33]));
}

#[test]
fn an_index_that_is_lost_damaged_or_of_another_time_or_table_costs_time_only() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Duplicates::new(broker, "index");
    let folder = tempfile::tempdir().unwrap();
    let index = index(folder.path());
    let next = |what: &str| {
        scene.produce(1_500);
        scene.run(folder.path());
        scene.check(folder.path(), what);
    };
    let files =
        || -> Vec<PathBuf> { fs::read_dir(&index).unwrap().map(|file| file.unwrap().path()).collect() };
    let change = |change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        files().iter().for_each(|path| fs::write(path, change(fs::read(path).unwrap())).unwrap());
    };
    next("a new index");
    fs::remove_dir_all(&index).unwrap();
    next("deleted");
    let old: Vec<_> = files().into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    assert!(old.len() > 1, "a manifest and a run");
    change(&|bytes| bytes[..bytes.len() / 2].to_vec());
    next("truncated");
    change(&|mut bytes| {
        let middle = bytes.len() / 3;
        bytes[middle] ^= 16;
        bytes
    });
    next("a flipped bit");
    fs::remove_dir_all(&index).unwrap();
    fs::create_dir(&index).unwrap();
    old.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    next("older than the table");
    // Of another table: the index says that it has every event.
    let other = tempfile::tempdir().unwrap();
    scene.run(other.path());
    fs::remove_dir_all(&index).unwrap();
    fs::rename(self::index(other.path()), &index).unwrap();
    scene.broker.produce(&scene.topic, [scene.message(0, 0)]);
    next("of another table");
}

#[test]
fn a_merge_that_is_killed_anywhere_gives_one_row_each_with_its_disk_lost_in_half_of_the_restarts() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Duplicates::new(broker, "merge-crash");
    scene.produce(4_000);
    let seed = seed("kills of a merge");
    let steps = ["plan.after", "files.some", "files.after", "sink.before", "sink.after", "log.after"];
    let cases: Vec<(u64, &str, u64)> = MERGE_NAMES
        .into_iter()
        .chain(steps)
        .flat_map(|name| (1..=3).map(move |hit| (name, hit)))
        .zip(0..)
        .map(|((name, hit), number)| (number, name, hit))
        .collect();
    let killed = Mutex::new(BTreeSet::new());
    each(&cases, |(number, name, hit)| {
        let folder = tempfile::tempdir().unwrap();
        let mut said = Vec::new();
        // Twice in a row, each time with or without the local disk, then to the end.
        for kill in 0..2 {
            let arm = format!("{name}=kill@{}", if kill == 0 { *hit } else { 1 });
            let run = Alluvia::run_with(&scene.yaml(""), folder.path(), &[("ALLUVIA_FAILPOINTS", &arm)]);
            let ended = run.wait(BOUND);
            let by_signal = ended.status.signal() == Some(libc::SIGKILL);
            assert!(by_signal || ended.status.success(), "{arm}: {}\n{}", ended.status, ended.stderr);
            if by_signal {
                killed.lock().unwrap().insert(*name);
            }
            let lost = draw(seed, number * 2 + kill, 2) == 0;
            if lost {
                let _ = fs::remove_dir_all(index(folder.path()));
            }
            said.push(format!("{arm}{}", if lost { ", disk lost" } else { "" }));
        }
        let ended = Alluvia::run(&scene.yaml(""), folder.path()).wait(BOUND);
        assert_eq!(ended.code(), 0, "seed {seed}, {said:?}: {}", ended.stderr);
        scene.check(folder.path(), &format!("seed {seed}, {said:?}"));
    });
    let reached: Vec<&str> = killed.into_inner().unwrap().into_iter().collect();
    assert_eq!(reached.len(), MERGE_NAMES.len() + steps.len(), "only {reached:?} were reached");
}

#[test]
fn two_merges_and_other_writers_on_one_table_put_no_key_twice_and_lose_none() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Duplicates::new(broker, "merge-writers");
    scene.produce(2_000);
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let table = folders[0].path().join("table");
    let sql = |query: &str| spark_sql(&query.replace("TABLE", &format!("delta.`{}`", table.display())));
    let yaml = scene.yaml("").replace("availableNow", "{ processingTime: 20 ms }");
    let yaml = yaml.replace("path: ./table", &format!("path: {}", table.display()));
    let yaml = yaml.replace("maxOffsetsPerTrigger: 900", "maxOffsetsPerTrigger: 150");
    let start = |number: usize| Alluvia::run(&yaml, folders[number].path());
    let first = start(0);
    first.wait_for("\"event\":\"progress\"", BOUND);
    let second = start(1);
    let rows = || sql("SELECT count(*) AS n, count(DISTINCT event_id) AS keys FROM TABLE");
    let events = || scene.state.lock().unwrap().events;
    until("both streams have read all", BOUND, || {
        let there = &rows()[0];
        assert_eq!(there["n"], there["keys"]);
        (there["n"].as_u64() == Some(events())).then_some(())
    });
    // A stranger's rows, whose keys come from the topic afterwards, while files are rewritten.
    sql("MERGE INTO TABLE t USING (SELECT explode(sequence(0, 99)) AS i) s ON false
         WHEN NOT MATCHED THEN INSERT (event_id, seq) VALUES (concat('stranger-', s.i), s.i)");
    let strangers = (0..100)
        .map(|i| Message::new(format!("{{\"event_id\":\"stranger-{i}\",\"seq\":{i}}}")).partition(i % 3));
    broker.produce(&scene.topic, strangers);
    scene.produce(2_000);
    sql("OPTIMIZE TABLE");
    let second = {
        second.kill();
        start(1)
    };
    // A key that is deleted is free again.
    sql("DELETE FROM TABLE WHERE seq % 7 = 3 AND event_id NOT LIKE 'stranger%'");
    let last = events();
    broker.produce(&scene.topic, (0..last).map(|seq| scene.message(seq, (seq % 3) as i32)));
    sql("OPTIMIZE TABLE");
    scene.produce(1_000);
    until("all keys are there", BOUND, || (rows()[0]["keys"].as_u64() == Some(events() + 100)).then_some(()));
    for program in [first, second] {
        program.terminate();
        program.wait(BOUND).success();
    }
    let there = &rows()[0];
    assert_eq!((there["n"].as_u64(), there["keys"].as_u64()), (Some(events() + 100), Some(events() + 100)));
}

#[test]
fn a_key_that_spark_deletes_by_a_deletion_vector_in_a_mapped_or_partitioned_table_is_free_again() {
    let Some(broker) = Broker::shared() else { return };
    for layout in ["", "PARTITIONED BY (status)"] {
        let scene = Duplicates::new(broker, "merge-vectors");
        let folder = tempfile::tempdir().unwrap();
        let table = format!("delta.`{}`", folder.path().join("table").display());
        spark_sql(&format!(
            "CREATE TABLE {table} ({}) USING delta {layout} TBLPROPERTIES (delta.enableDeletionVectors = true, delta.columnMapping.mode = 'name')",
            workload::SCHEMA_DDL
        ));
        scene.produce(2_000);
        scene.run(folder.path());
        spark_sql(&format!("DELETE FROM {table} WHERE seq % 5 = 2"));
        let vectors = spark_history(&folder.path().join("table"));
        let added = &vectors[0]["operationMetrics"]["numDeletionVectorsAdded"];
        assert_ne!(added.as_str().unwrap_or("0"), "0", "{}", vectors[0]);
        let events = scene.state.lock().unwrap().events;
        broker.produce(&scene.topic, (0..events).map(|seq| scene.message(seq, 1)));
        // With the index that there is, and with a new one.
        let [rows, _, in_table] = counted(&scene.run(folder.path()));
        // Python's deltalake reads no such table.
        let there = || {
            let found =
                &spark_sql(&format!("SELECT count(*) AS n, count(DISTINCT event_id) AS keys FROM {table}"))
                    [0];
            (found["n"].as_u64(), found["keys"].as_u64())
        };
        let deleted = (0..events).filter(|seq| seq % 5 == 2).count() as u64;
        assert_eq!((rows, in_table), (deleted, events - deleted), "{layout}");
        assert_eq!(there(), (Some(events), Some(events)), "{layout}");
        fs::remove_dir_all(index(folder.path())).unwrap();
        broker.produce(&scene.topic, (0..events).map(|seq| scene.message(seq, 2)));
        assert_eq!(counted(&scene.run(folder.path())), [0, 0, events], "{layout}");
        assert_eq!(there(), (Some(events), Some(events)), "{layout}");
    }
}

#[test]
fn the_keys_are_those_of_sparks_drop_duplicates_and_merge() {
    let Some(broker) = Broker::shared() else { return };
    let schema = "d DOUBLE, m DECIMAL(10,2), t TIMESTAMP, s STRUCT<x: STRING>, n INT";
    let keys = ["d", "m", "t", "s.x"];
    let topic = broker.topic("merge-spark", 2);
    let folder = tempfile::tempdir().unwrap();
    let yaml = merging(broker, &topic, schema, &format!("merge: {{ keys: [{}] }}", keys.join(", ")));
    let seed = seed("keys as Spark compares them");
    let doubles = ["0.0", "-0.0", "\"NaN\"", "1.5", "null", "\"-Infinity\"", "1e300"];
    let decimals = ["1.50", "1.5", "\"2\"", "null"];
    let times = ["\"2026-01-02T03:04:05Z\"", "\"2026-01-02T04:04:05+01:00\"", "null"];
    let structs = ["{\"x\":\"a\"}", "{\"x\":\"A\"}", "{}", "null"];
    let mut batches = Vec::new();
    for batch in 0..3_u64 {
        let lines: Vec<String> = (0..150)
            .map(|row| {
                let pick = |of: &[&str], salt: u64| {
                    of[draw(seed, batch * 1_000 + row * 4 + salt, of.len() as u64) as usize].to_owned()
                };
                format!(
                    "{{\"d\":{},\"m\":{},\"t\":{},\"s\":{},\"n\":{row}}}",
                    pick(&doubles, 0),
                    pick(&decimals, 1),
                    pick(&times, 2),
                    pick(&structs, 3)
                )
            })
            .collect();
        let messages =
            lines.iter().enumerate().map(|(i, line)| Message::new(line.as_bytes()).partition((i % 2) as i32));
        broker.produce(&topic, messages);
        Alluvia::run(&yaml, folder.path()).wait(BOUND).success();
        let file = folder.path().join(format!("batch{batch}.jsonl"));
        fs::write(&file, lines.join("\n")).unwrap();
        batches.push(file);
    }
    let spark = folder.path().join("spark");
    spark_merge(&spark, schema, &keys, &batches);
    let keys_of = |table: &Path| {
        // Of zeros of both signs, which are equal, either may be the row.
        let query = "SELECT CAST(IF(d = 0, 0D, d) AS STRING) AS d, m, t, s.x AS x, count(*) AS n FROM delta.`TABLE` GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4";
        spark_sql(&query.replace("TABLE", &table.display().to_string()))
    };
    let (ours, sparks) = (keys_of(&folder.path().join("table")), keys_of(&spark));
    assert!(sparks.len() > 50, "{} different keys", sparks.len());
    assert_eq!(ours, sparks, "seed {seed}");
}

#[test]
fn within_a_time_keys_are_known_and_rows_that_are_older_are_inserted_and_counted() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("within", 1);
    let folder = tempfile::tempdir().unwrap();
    let sink = "partitionBy: [day], merge: { keys: [id], within: 5 days, eventTime: at }";
    let yaml = merging(broker, &topic, "id INT, at TIMESTAMP, day DATE", sink);
    let yaml = yaml.replace("earliest }", "earliest, maxOffsetsPerTrigger: 1 }");
    let event = |id: u32, day: Option<u32>| {
        let time = day.map_or("null".into(), |day| format!("\"2026-01-{day:02}T12:00:00Z\""));
        let date = day.map_or("null".into(), |day| format!("\"2026-01-{day:02}\""));
        Message::new(format!("{{\"id\":{id},\"at\":{time},\"day\":{date}}}"))
    };
    let run = |yaml: &str, messages: Vec<Message>| {
        broker.produce(&topic, messages);
        let ended = Alluvia::run(yaml, folder.path()).wait(BOUND).success();
        let [rows, _, in_table] = counted(&ended);
        [rows, in_table, metrics(&ended, "numInsertedRowsNotWithin").sum()]
    };
    // An event a day, each in a file of its own.
    assert_eq!(run(&yaml, (1..=10).map(|day| event(day, Some(day))).collect()), [10, 0, 0]);
    // Repeats of the last five days are known; an older one is not, nor one without a time.
    let repeats = || vec![event(9, Some(9)), event(6, Some(6)), event(2, Some(2)), event(77, None)];
    assert_eq!(run(&yaml, repeats()), [2, 2, 2]);
    // A file whose rows have no time is always held.
    fs::remove_dir_all(index(folder.path())).unwrap();
    assert_eq!(run(&yaml, repeats()), [1, 3, 1], "by an index that is built again");
    // The same by the partition's date.
    let by_day = yaml.replace("eventTime: at", "eventTime: day");
    assert_eq!(run(&by_day, repeats()), [1, 3, 1]);

    let refused = |from: &str, to: &str| {
        let ended = Alluvia::run(&yaml.replace(from, to), folder.path()).wait(BOUND);
        assert_eq!(ended.code(), 2, "{}", ended.stderr);
        ended.stderr
    };
    assert!(refused("eventTime: at", "eventTime: id").contains("sink.merge.eventTime: id is INT"));
    assert!(refused(", eventTime: at", "").contains("it needs eventTime"));
    assert!(refused("within: 5 days, ", "").contains("it needs within"));
    assert!(refused("within:", "whenMatched: update, within:").contains("it is for whenMatched: ignore"));
}

#[test]
fn keys_that_are_not_there_or_cannot_be_compared_are_refused_at_the_start() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Duplicates::new(broker, "merge-refused");
    let folder = tempfile::tempdir().unwrap();
    let refused = |keys: &str| {
        let yaml = scene.yaml("").replace("keys: [event_id]", &format!("keys: [{keys}]"));
        let ended = Alluvia::run(&yaml, folder.path()).wait(Duration::from_secs(60));
        assert_eq!(ended.code(), 2, "{}", ended.stderr);
        assert!(!folder.path().join("table").exists(), "nothing is made");
        ended.stderr
    };
    let absent = refused("nothing");
    assert!(absent.contains("sink.merge.keys names nothing, which the stream does not have"), "{absent}");
}
