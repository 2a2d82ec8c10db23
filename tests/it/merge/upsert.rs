//! Merging with `whenMatched: update`: a row takes the place of the table's row of its key, whatever dies and whoever else
//! writes; whole rows are those of Spark's MERGE.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use alluvia::failpoint::{INDEX_SNAPSHOT_NAMES, MERGE_NAMES, UPDATE_NAMES};
use serde_json::{Value, json};

use super::merging;
use crate::rig::{
    Alluvia, Broker, Digest, Ended, Message, delta_digest, delta_rows, delta_writes, digest_of, row_counts,
    spark_history, spark_insists, spark_sql, until,
};
use crate::scene::{BOUND, draw, each, seed};

const PARTITIONS: u64 = 3;

/// A topic of changes: each message is the next state of one of `keys` keys, and a key is always in one partition.
pub struct Changes {
    broker: &'static Broker,
    topic: String,
    keys: u64,
    seed: u64,
    sent: Mutex<u64>,
}

impl Changes {
    pub fn new(broker: &'static Broker, hint: &str, keys: u64) -> Changes {
        let topic = broker.topic(hint, PARTITIONS as i32);
        Changes { broker, topic, keys, seed: seed(hint), sent: Mutex::default() }
    }

    fn key(&self, seq: u64) -> u64 {
        draw(self.seed, seq, self.keys)
    }

    /// Sends `count` more changes.
    pub fn produce(&self, count: u64) {
        let mut sent = self.sent.lock().unwrap();
        let messages = (*sent..*sent + count).map(|seq| {
            let key = self.key(seq);
            let value = json!({"k": format!("k{key}"), "seq": seq, "day": format!("d{}", seq % 3), "pad": "x".repeat(40)});
            Message::new(value.to_string()).partition((key % PARTITIONS) as i32)
        });
        self.broker.produce(&self.topic, messages.collect::<Vec<_>>());
        *sent += count;
    }

    /// The newest change of each key.
    fn newest(&self) -> BTreeMap<String, u64> {
        (0..*self.sent.lock().unwrap()).map(|seq| (format!("k{}", self.key(seq)), seq)).collect()
    }

    pub fn yaml(&self, sink: &str) -> String {
        format!(
            "streams:
  - name: upserts
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{}', subscribe: '{}', startingOffsets: earliest, maxOffsetsPerTrigger: 600 }}
      value: {{ format: json, schema: 'k STRING, seq BIGINT, day STRING, pad STRING' }}
    sink:
      format: delta
      path: ./table
      merge: {{ keys: [k], whenMatched: update }}
{sink}
    trigger: availableNow
    checkpointLocation: ./checkpoint
    minBatchesToRetain: 2
    lanes: 2
",
            self.broker.bootstrap(),
            self.topic,
        )
    }

    /// The table holds the newest change of each key, and nothing else.
    fn check(&self, table: &Path, what: &str) {
        self.check_by(what, |columns| delta_digest(table, columns));
    }

    /// The same of a table that is read by `read`, which is given the columns to compare.
    pub fn check_by(&self, what: &str, read: impl Fn(&[&str]) -> Digest) {
        let expected = digest_of(self.newest().into_iter().map(|(key, seq)| [key, seq.to_string()]));
        let there = read(&["k", "seq"]);
        assert!(there.same_rows(&expected), "{what}: the table has {there:?}, the topic {expected:?}");
    }

    /// The same read by Spark, of tables that deltalake does not read; `table` as Spark's SQL names it.
    pub fn check_by_spark(&self, table: &str, what: &str) {
        let rows = spark_sql(&format!("SELECT k, seq FROM {table}"));
        let there: Vec<(String, u64)> = rows
            .iter()
            .map(|row| (row["k"].as_str().unwrap().to_owned(), row["seq"].as_u64().unwrap()))
            .collect();
        assert_eq!(
            there.len(),
            there.iter().map(|(key, _)| key).collect::<BTreeSet<_>>().len(),
            "{what}: a key twice"
        );
        assert_eq!(there.into_iter().collect::<BTreeMap<_, _>>(), self.newest(), "{what}");
    }
}

/// A table on the disk, as Spark's SQL names it.
fn in_spark(table: &Path) -> String {
    format!("delta.`{}`", table.display())
}

/// A table that Alluvia makes with deletion vectors.
pub const VECTORS: &str =
    "      tableProperties: { delta.enableDeletionVectors: 'true', delta.checkpointInterval: '3' }";
/// One with partitions; the day of a key changes.
pub const DAYS: &str = "      partitionBy: [day]\n      tableProperties: { delta.checkpointInterval: '3' }";

fn progress(ended: &Ended) -> Vec<Value> {
    let lines = ended.stderr.lines().filter(|line| line.contains("\"event\":\"progress\""));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn metric(progress: &[Value], name: &str) -> u64 {
    progress
        .iter()
        .map(|batch| batch["sink"]["metrics"][name].as_str().unwrap().parse::<u64>().unwrap())
        .sum()
}

#[test]
fn a_key_is_one_row_with_its_newest_values_in_every_kind_of_table() {
    let Some(broker) = Broker::shared() else { return };
    for (sink, operation) in [("", "copies"), (DAYS, "copies"), (VECTORS, "vectors")] {
        let changes = Changes::new(broker, "upsert", 700);
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("table");
        let yaml = changes.yaml(sink);
        changes.produce(3_000);
        let first = progress(&Alluvia::run(&yaml, folder.path()).wait(BOUND).success());
        changes.produce(900);
        let second = progress(&Alluvia::run(&yaml, folder.path()).wait(BOUND).success());
        changes.check_by_spark(&in_spark(&table), sink);
        if sink != VECTORS {
            changes.check(&table, sink);
        }
        let but: &[&str] = if sink == VECTORS { &["deltalake"] } else { &[] };
        let counts = row_counts(&table, but);
        let counts: Vec<u64> =
            counts.as_object().unwrap().values().map(|count| count.as_u64().unwrap()).collect();
        assert_eq!(counts, vec![changes.newest().len() as u64; 2 - but.len()], "{sink}");
        let all: Vec<Value> = first.into_iter().chain(second).collect();
        let (inserted, updated) = (metric(&all, "numInsertedRows"), metric(&all, "numUpdatedRows"));
        assert_eq!(inserted, changes.newest().len() as u64, "{sink}");
        assert_eq!(inserted + updated + metric(&all, "numDuplicateRowsInBatch"), 3_900, "{sink}");
        let newest = &spark_history(&table)[0];
        assert_eq!((&newest["operation"], &newest["isBlindAppend"]), (&"MERGE".into(), &false.into()));
        let said = |name: &str| newest["operationMetrics"][name].as_str().unwrap().parse::<u64>().unwrap();
        let by_vectors = said("numTargetDeletionVectorsAdded") > 0;
        assert_eq!(by_vectors, operation == "vectors", "{newest}");
        assert_eq!(said("numTargetRowsCopied") == 0, by_vectors, "{newest}");
        assert!(said("numTargetRowsUpdated") > 0 && said("numTargetFilesAdded") > 0, "{newest}");
    }
}

/// A row as a test sends it: its key, the time that orders it, the operation, and the rest.
fn line(seed: u64, at: u64, place: (i32, u64)) -> Value {
    let pick = |salt: u64, of: &[Value]| of[draw(seed, at * 8 + salt, of.len() as u64) as usize].clone();
    let times = [
        "2026-01-02T03:04:05Z",
        "2026-01-02T04:04:05+01:00",
        "2026-01-02T03:04:06.5Z",
        "2025-12-31T23:59:59Z",
    ];
    let mut times: Vec<Value> = times.iter().map(|time| json!(time)).collect();
    times.push(Value::Null);
    let mut keys: Vec<Value> = (0..24).map(|key| json!(format!("k{key}"))).collect();
    keys.push(Value::Null);
    json!({
        "k": pick(0, &keys),
        "n": pick(1, &[json!(1), json!(2), json!(1), json!(1)]),
        "t": pick(2, &times),
        "op": pick(3, &[json!("c"), json!("u"), json!("u"), json!("d"), Value::Null]),
        "day": pick(4, &[json!("a"), json!("b c"), Value::Null]),
        "m": pick(5, &[json!("1.50"), json!("-0.01"), Value::Null]),
        "s": pick(6, &[json!({"x": [1, 2], "y": {"z": "ü"}}), json!({"x": null}), Value::Null]),
        "b": pick(7, &[json!(true), json!(false)]),
        "p": place.0,
        "o": place.1,
    })
}

const COLUMNS: &str = "k STRING, n INT, t TIMESTAMP, op STRING, day STRING, m DECIMAL(10,2), s STRUCT<x: ARRAY<INT>, y: STRUCT<z: STRING>>, b BOOLEAN, p INT, o BIGINT";

/// Spark's MERGE of a batch, a file of JSON lines, into a table.
fn spark_update(table: &Path, batch: &Path, order: bool, deletes: bool) {
    let newer = if order { "(t.t IS NULL OR s.t >= t.t)" } else { "true" };
    let delete =
        if deletes { format!("WHEN MATCHED AND {newer} AND s.op = 'd' THEN DELETE") } else { String::new() };
    let insert = if deletes { "AND NOT coalesce(s.op = 'd', false)" } else { "" };
    let order = if order { "t DESC NULLS LAST, " } else { "" };
    let names = "k, n, t, op, day, m, s, b, p, o";
    spark_sql(&format!(
        "MERGE INTO delta.`{}` t USING (
           SELECT {names} FROM (
             SELECT *, row_number() OVER (PARTITION BY k, n ORDER BY {order}p DESC, o DESC) AS rank FROM (
               SELECT row.* FROM (SELECT from_json(value, '{COLUMNS}') AS row FROM text.`{}`)
           )) WHERE rank = 1
         ) s ON t.k = s.k AND t.n = s.n
         {delete}
         WHEN MATCHED AND {newer} THEN UPDATE SET *
         WHEN NOT MATCHED {insert} THEN INSERT *",
        table.display(),
        batch.display()
    ));
}

#[test]
fn whole_rows_are_those_of_sparks_merge() {
    let Some(broker) = Broker::shared() else { return };
    let seed = seed("rows of Spark's merge");
    let cases = [
        (false, false, "", "delta.appendOnly = false"),
        (
            true,
            true,
            "PARTITIONED BY (day)",
            "delta.enableDeletionVectors = true, delta.columnMapping.mode = 'name'",
        ),
        (true, true, "PARTITIONED BY (day)", "delta.columnMapping.mode = 'name'"),
    ];
    for (order, deletes, layout, properties) in cases {
        let what = format!("seed {seed}, order {order}, deletes {deletes}, {layout} {properties}");
        let topic = broker.topic("upsert-spark", 2);
        let folder = tempfile::tempdir().unwrap();
        let (ours, sparks) = (folder.path().join("table"), folder.path().join("spark"));
        for table in [&ours, &sparks] {
            let table = in_spark(table);
            spark_sql(&format!(
                "CREATE TABLE {table} ({COLUMNS}) USING delta {layout} TBLPROPERTIES ({properties})"
            ));
            // A key that the table has three times: MERGE updates every row of it.
            spark_sql(&format!(
                "INSERT INTO {table} (k, n, t, day)
                 SELECT k, 1, if(k = 'other', timestamp'9999-12-31 23:59:59', timestamp'2026-01-01'), day FROM
                 VALUES ('k0', 'a'), ('k0', 'a'), ('k0', 'z'), ('k1', NULL), ('other', 'a'), (NULL, 'a') AS v(k, day)"
            ));
            spark_sql(&format!("DELETE FROM {table} WHERE k = 'k1'"));
        }
        let order_by = if order { ", orderBy: t" } else { "" };
        let delete_when = if deletes { ", deleteWhen: { column: op, values: [d] }" } else { "" };
        let sink = format!("merge: {{ keys: [k, n], whenMatched: update{order_by}{delete_when} }}");
        let yaml = merging(broker, &topic, COLUMNS, &sink) + "    lanes: 2\n";
        let mut offsets = [0_u64; 2];
        for batch in 0..2_u64 {
            let lines: Vec<(i32, Value)> = (0..80)
                .map(|row| {
                    let partition = (row % 2) as usize;
                    offsets[partition] += 1;
                    let place = (partition as i32, offsets[partition] - 1);
                    (place.0, line(seed, batch * 1_000 + row, place))
                })
                .collect();
            let message =
                |(partition, line): &(i32, Value)| Message::new(line.to_string()).partition(*partition);
            broker.produce(&topic, lines.iter().map(message));
            Alluvia::run(&yaml, folder.path()).wait(BOUND).success();
            let file = folder.path().join(format!("batch{batch}.jsonl"));
            let texts: Vec<String> = lines.iter().map(|(_, line)| line.to_string()).collect();
            fs::write(&file, texts.join("\n")).unwrap();
            spark_update(&sparks, &file, order, deletes);
        }
        let rows = |table: &Path| {
            spark_sql(&format!(
                "SELECT row, count(*) AS n FROM (SELECT to_json(struct(*)) AS row FROM delta.`{}`) GROUP BY row ORDER BY row",
                table.display()
            ))
        };
        let (there, expected) = (rows(&ours), rows(&sparks));
        assert!(expected.len() > 20, "{what}: {} different rows", expected.len());
        assert_eq!(there, expected, "{what}");
    }
}

#[test]
fn an_older_event_never_takes_the_place_of_a_newer_row() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("upsert-order", 1);
    let folder = tempfile::tempdir().unwrap();
    let sink = "merge: { keys: [k], whenMatched: update, orderBy: at }";
    let yaml = merging(broker, &topic, "k STRING, at INT, v STRING", sink);
    let send = |events: &[(&str, Option<i64>, &str)]| {
        let value = |(k, at, v): &(&str, Option<i64>, &str)| json!({"k": k, "at": at, "v": v}).to_string();
        broker.produce(&topic, events.iter().map(|event| Message::new(value(event))));
        progress(&Alluvia::run(&yaml, folder.path()).wait(BOUND).success())
    };
    let rows = || -> BTreeMap<String, String> {
        let rows = delta_rows(&folder.path().join("table"), &["k", "v"]);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        rows.iter().map(|row| (text(&row["k"]), text(&row["v"]))).collect()
    };
    let expect = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    // In one batch: by the column first, then by the offset; NULL is older than every value.
    send(&[
        ("a", Some(5), "new"),
        ("a", Some(4), "old"),
        ("b", None, "null"),
        ("b", Some(-9), "value"),
        ("c", Some(1), "one"),
        ("c", Some(1), "two"),
        ("d", None, "null"),
    ]);
    assert_eq!(rows(), expect(&[("a", "new"), ("b", "value"), ("c", "two"), ("d", "null")]));
    let version = commits(folder.path());
    // Across batches: older ones change nothing, equal ones are the later event.
    let later =
        send(&[("a", Some(4), "late"), ("b", None, "late"), ("c", Some(1), "again"), ("d", None, "later")]);
    assert_eq!(rows(), expect(&[("a", "new"), ("b", "value"), ("c", "again"), ("d", "later")]));
    assert_eq!((metric(&later, "numIgnoredRows"), metric(&later, "numUpdatedRows")), (2, 2));
    // A batch of which nothing is newer is committed, and touches no file.
    let files = |folder: &Path| fs::read_dir(folder.join("table")).unwrap().count();
    let before = files(folder.path());
    send(&[("a", Some(1), "late"), ("b", Some(-10), "late")]);
    assert_eq!((files(folder.path()), commits(folder.path())), (before, version + 2));
    assert_eq!(rows(), expect(&[("a", "new"), ("b", "value"), ("c", "again"), ("d", "later")]));
}

fn commits(folder: &Path) -> usize {
    let log = fs::read_dir(folder.join("table/_delta_log")).unwrap();
    log.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|e| e == "json")).count()
}

#[test]
fn only_files_that_hold_a_key_of_the_batch_are_touched() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("upsert-files", 1);
    let folder = tempfile::tempdir().unwrap();
    let yaml = merging(broker, &topic, "k BIGINT, v STRING", "merge: { keys: [k], whenMatched: update }");
    let table = folder.path().join("table");
    let send = |keys: &mut dyn Iterator<Item = u64>, v: &str| {
        broker.produce(&topic, keys.map(|k| Message::new(json!({"k": k, "v": v}).to_string())));
        Alluvia::run(&yaml, folder.path()).wait(BOUND).success();
    };
    // Ten files of a hundred keys each.
    (0..10).for_each(|file| send(&mut (file * 100..(file + 1) * 100), "first"));
    let paths = || -> BTreeSet<String> {
        let log = crate::rig::delta_log(&table);
        log["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| file["path"].as_str().unwrap().to_owned())
            .collect()
    };
    let before = paths();
    send(&mut [205, 207, 899].into_iter(), "second");
    let after = paths();
    assert_eq!((before.len(), before.intersection(&after).count(), after.len()), (10, 8, 9), "{after:?}");
    let rows = delta_rows(&table, &["k", "v"]);
    let second: Vec<i64> =
        rows.iter().filter(|row| row["v"] == "second").map(|row| row["k"].as_i64().unwrap()).collect();
    assert_eq!((rows.len(), second), (1_000, vec![205, 207, 899]));
    let newest = &spark_history(&table)[0]["operationMetrics"];
    let said = |name: &str| newest[name].as_str().unwrap().to_owned();
    assert_eq!(
        (said("numTargetRowsCopied"), said("numTargetFilesRemoved"), said("numTargetRowsUpdated")),
        ("197".into(), "2".into(), "3".into())
    );
}

#[test]
fn an_upsert_that_is_killed_anywhere_leaves_each_key_once_with_its_disk_lost_in_half_of_the_restarts() {
    let Some(broker) = Broker::shared() else { return };
    let changes = Changes::new(broker, "upsert-crash", 500);
    changes.produce(2_400);
    let seed = seed("kills of an upsert");
    let steps = ["plan.after", "files.some", "files.after", "sink.before", "sink.after", "log.after"];
    let cases: Vec<(u64, &str, u64)> = MERGE_NAMES
        .into_iter()
        .chain(UPDATE_NAMES)
        .chain(INDEX_SNAPSHOT_NAMES)
        .chain(steps)
        .flat_map(|name| [1, 3].map(move |hit| (name, hit)))
        .zip(0..)
        .map(|((name, hit), number)| (number, name, hit))
        .collect();
    let killed = Mutex::new(BTreeSet::new());
    each(&cases, |(number, name, hit)| {
        let folder = tempfile::tempdir().unwrap();
        let kind = ["", DAYS, VECTORS][(number % 3) as usize];
        // Away from the checkpoint, which then has snapshots of it.
        let yaml =
            changes.yaml(kind).replace("whenMatched: update", "whenMatched: update, indexFolder: ./index");
        let of_snapshot = INDEX_SNAPSHOT_NAMES.contains(name);
        let mut said = Vec::new();
        // Twice in a row, each time with or without the local disk, then to the end.
        for kill in 0..2 {
            let arm = match kill {
                // An index that is built of files is saved, and there is a snapshot of it.
                0 if of_snapshot => "log.after=kill@1".to_owned(),
                0 => format!("{name}=kill@{hit}"),
                _ => format!("{name}=kill@1"),
            };
            let ended = Alluvia::run_with(&yaml, folder.path(), &[("ALLUVIA_FAILPOINTS", &arm)]).wait(BOUND);
            let by_signal = ended.status.signal() == Some(libc::SIGKILL);
            assert!(by_signal || ended.status.success(), "{arm}: {}\n{}", ended.status, ended.stderr);
            if by_signal && !(of_snapshot && kill == 0) {
                killed.lock().unwrap().insert(*name);
            }
            let lost = of_snapshot || draw(seed, number * 2 + kill, 2) == 0;
            if lost {
                let _ = fs::remove_dir_all(folder.path().join("index"));
            }
            said.push(format!("{arm}{}", if lost { ", disk lost" } else { "" }));
        }
        let what = format!("seed {seed}, {kind:?}, {said:?}");
        let ended = Alluvia::run(&yaml, folder.path()).wait(BOUND);
        assert_eq!(ended.code(), 0, "{what}: {}", ended.stderr);
        let table = folder.path().join("table");
        if kind == VECTORS {
            changes.check_by_spark(&in_spark(&table), &what);
        } else {
            changes.check(&table, &what);
        }
    });
    let reached: Vec<&str> = killed.into_inner().unwrap().into_iter().collect();
    let all = MERGE_NAMES.len() + UPDATE_NAMES.len() + INDEX_SNAPSHOT_NAMES.len() + steps.len();
    assert_eq!(reached.len(), all, "only {reached:?} were reached");
}

#[test]
fn two_upserts_and_other_writers_on_one_table_leave_each_key_once_and_lose_none() {
    let Some(broker) = Broker::shared() else { return };
    for sink in ["", VECTORS] {
        let changes = Changes::new(broker, "upsert-writers", 300);
        changes.produce(600);
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let table = folders[0].path().join("table");
        let sql = |query: &str| spark_sql(&query.replace("TABLE", &in_spark(&table)));
        // One reads the even partitions, one the odd ones: a key has one writer, a file has two.
        let yaml = |partitions: &str| {
            let yaml = changes.yaml(sink).replace("availableNow", "{ processingTime: 20 ms }");
            let yaml = yaml.replace("path: ./table", &format!("path: {}", table.display()));
            let assigned = format!("assign: '{{\"{}\":{partitions}}}'", changes.topic);
            yaml.replace(&format!("subscribe: '{}'", changes.topic), &assigned)
                .replace("maxOffsetsPerTrigger: 600", "maxOffsetsPerTrigger: 60")
        };
        let yamls = [yaml("[0,2]"), yaml("[1]")];
        let start = |number: usize| Alluvia::run(&yamls[number], folders[number].path());
        let first = start(0);
        first.wait_for("\"event\":\"progress\"", BOUND);
        let mut second = start(1);
        let insist = |statement: &str| spark_insists(&statement.replace("TABLE", &in_spark(&table)));
        // Strangers append, update, delete and compact meanwhile; one of the streams is killed in between.
        sql("INSERT INTO TABLE SELECT concat('stranger-', id), id, 'd0', 'x' FROM range(50)");
        for round in 0..2 {
            changes.produce(300);
            insist("MERGE INTO TABLE t USING (SELECT concat('stranger-', id) AS k, id AS seq, 'd1' AS day, 'y' AS pad FROM range(60)) s
                 ON t.k = s.k WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *");
            second.kill();
            second = start(1);
            insist(&format!("DELETE FROM TABLE WHERE k = 'stranger-{round}'"));
            insist("OPTIMIZE TABLE");
            if sink.is_empty() {
                delta_writes(&table, round);
            }
        }
        insist("UPDATE TABLE SET pad = 'z' WHERE k LIKE 'stranger%'");
        until("both streams have read all", Duration::from_secs(60), || {
            let rows = sql("SELECT k, seq FROM TABLE WHERE k LIKE 'k%'");
            let there: BTreeMap<String, u64> = rows
                .iter()
                .map(|row| (row["k"].as_str().unwrap().to_owned(), row["seq"].as_u64().unwrap()))
                .collect();
            assert_eq!(there.len(), rows.len(), "a key twice");
            (there == changes.newest()).then_some(())
        });
        // The MERGE of a round brings back what the round before it deleted.
        let of = |who: &str| {
            let query =
                format!("SELECT count(*) AS n, count(DISTINCT k) AS keys FROM TABLE WHERE k LIKE '{who}-%'");
            let found = &sql(&query)[0];
            (found["n"].as_u64(), found["keys"].as_u64())
        };
        assert_eq!(of("stranger"), (Some(59), Some(59)), "{sink}");
        let expected = if sink.is_empty() { 29 } else { 0 };
        assert_eq!(of("rs"), (Some(expected), Some(expected)), "{sink}");
        for program in [first, second] {
            program.terminate();
            program.wait(BOUND).success();
        }
    }
}

#[test]
fn what_an_upsert_cannot_do_is_refused_at_the_start_and_nothing_is_made() {
    let Some(broker) = Broker::shared() else { return };
    let changes = Changes::new(broker, "upsert-refused", 10);
    changes.produce(10);
    let folder = tempfile::tempdir().unwrap();
    let refused = |yaml: &str| {
        let ended = Alluvia::run(yaml, folder.path()).wait(Duration::from_secs(60));
        assert_eq!(ended.code(), 2, "{}", ended.stderr);
        ended.stderr
    };
    for property in ["delta.appendOnly", "delta.enableChangeDataFeed"] {
        let said = refused(&changes.yaml(&format!("      tableProperties: {{ {property}: 'true' }}")));
        assert!(said.contains(&format!("it has {property}, and")), "{said}");
        assert!(!folder.path().join("table").exists(), "nothing is made");
    }
    let merge = |words: &str| changes.yaml("").replace("whenMatched: update", words);
    let said = refused(&merge("whenMatched: update, orderBy: nothing"));
    assert!(said.contains("sink.merge.orderBy names nothing"), "{said}");
    let said = refused(&merge("whenMatched: update, deleteWhen: { column: seq, values: ['1'] }"));
    assert!(said.contains("sink.merge.deleteWhen.column: seq is BIGINT, not STRING or BOOLEAN"), "{said}");
    let said = refused(&merge("whenMatched: update, deleteWhen: { column: pad, values: [d, true] }"));
    assert!(
        said.contains("sink.merge.deleteWhen.values: true is a boolean or a number, and pad is STRING"),
        "{said}"
    );
    let said = refused(&merge("whenMatched: ignore, orderBy: seq"));
    assert!(said.contains("streams[0].sink.merge.orderBy: it needs whenMatched: update"), "{said}");
    // A table that is there.
    let table = in_spark(&folder.path().join("table"));
    let make = |columns: &str, property: &str| {
        let _ = fs::remove_dir_all(folder.path().join("table"));
        spark_sql(&format!("CREATE TABLE {table} ({columns}) USING delta TBLPROPERTIES ({property})"));
    };
    let columns = "k STRING, seq BIGINT, day STRING, pad STRING";
    make(columns, "delta.enableRowTracking = true");
    let said = refused(&changes.yaml(""));
    assert!(said.contains("it has delta.enableRowTracking, and"), "{said}");
    make(&format!("{columns}, extra INT"), "delta.appendOnly = false");
    let said = refused(&changes.yaml(""));
    assert!(said.contains("the stream has no column extra"), "{said}");
    assert_eq!(commits(folder.path()), 1, "the table is as it was");
}
