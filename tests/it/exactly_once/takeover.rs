//! A query changes hands between real Spark 4.0 and Alluvia, both ways, and its table stays exact.
//!
//! The states in which it changes hands are those that a crash between two durable steps leaves; they are
//! made from a finished query by taking its newest files away.

mod spark;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::rig::{Alluvia, Broker, Message, delta_digest, workload};
use crate::streams::ingest::{COLUMNS, expected, w1_yaml};

const BOUND: Duration = Duration::from_secs(120);
const PARTITIONS: u32 = 2;

/// Who runs the query.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Engine {
    Spark,
    Alluvia,
}

/// How far the first engine came with its newest micro-batch.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// All is done and there is nothing new.
    Idle,
    /// `offsets/N` only.
    Plan,
    /// `offsets/N` and the table's commit.
    PlanAndSink,
    /// `commits/N` too, and the topic holds more.
    AllThree,
    /// The query has its id and its start, and no batch.
    NothingPlanned,
}

/// A query: a topic, and a folder with `table` and `checkpoint`.
struct Query<'a> {
    broker: &'a Broker,
    topic: String,
    folder: PathBuf,
    /// Options of the Kafka source, the same for both engines.
    options: Vec<(&'static str, &'static str)>,
}

impl Query<'_> {
    fn checkpoint(&self) -> PathBuf {
        self.folder.join("checkpoint")
    }

    fn table(&self) -> PathBuf {
        self.folder.join("table")
    }

    fn at(&self, folder: PathBuf) -> Query<'_> {
        Query { broker: self.broker, topic: self.topic.clone(), folder, options: self.options.clone() }
    }

    fn yaml(&self) -> String {
        let options: String = self.options.iter().map(|(key, value)| format!(", {key}: {value}")).collect();
        w1_yaml(self.broker, &self.topic, &options, "    minBatchesToRetain: 3\n")
    }

    fn spark(&self) -> Value {
        let options: serde_json::Map<_, _> =
            self.options.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        json!({
            "bootstrap": self.broker.bootstrap(),
            "topics": [self.topic],
            "schema": workload::SCHEMA_DDL,
            "checkpoint": self.checkpoint(),
            "table": self.table(),
            "options": options,
            "conf": {"spark.sql.streaming.minBatchesToRetain": "3"},
        })
    }

    /// Runs it until all there is has been read.
    fn run(&self, engine: Engine) {
        fs::create_dir_all(&self.folder).unwrap();
        match engine {
            Engine::Spark => {
                spark::query(&self.spark()).unwrap_or_else(|e| panic!("Spark stopped: {e}"));
            }
            Engine::Alluvia => {
                Alluvia::run(&self.yaml(), &self.folder).wait(BOUND).success();
            }
        }
    }

    /// Adds events `from..until` of the workload to the topic.
    fn produce(&self, from: u64, until: u64) {
        self.broker.produce(&self.topic, (from..until).map(|seq| Message::event(1, seq, PARTITIONS)));
    }

    fn assert_holds(&self, events: u64, when: &str) {
        let there = delta_digest(&self.table(), &COLUMNS);
        assert!(there.same_rows(&expected(&self.topic, 1, events, PARTITIONS)), "{when}: {there:?}");
    }

    fn newest(&self, log: &str) -> Option<i64> {
        numbers(&self.checkpoint().join(log)).into_iter().max()
    }

    /// The same query in a folder of its own, with its newest files taken away as `state` says.
    fn copy_in(&self, state: State, folder: PathBuf) -> Query<'_> {
        copy(&self.checkpoint(), &folder.join("checkpoint"));
        copy(&self.table(), &folder.join("table"));
        let query = self.at(folder);
        let newest = query.newest("offsets").expect("a finished query has plans");
        if state == State::NothingPlanned {
            fs::remove_dir_all(query.checkpoint().join("offsets")).unwrap();
            fs::remove_dir_all(query.checkpoint().join("commits")).unwrap();
            (0..=newest).for_each(|_| query.forget_newest_version());
        }
        if matches!(state, State::Plan | State::PlanAndSink) {
            remove(&query.checkpoint().join(format!("commits/{newest}")));
        }
        if state == State::Plan {
            query.forget_newest_version();
        }
        query
    }

    /// Takes the table's newest commit away; its data files stay, as after a crash before the commit.
    fn forget_newest_version(&self) {
        let log = self.table().join("_delta_log");
        let versions = fs::read_dir(&log)
            .unwrap()
            .flatten()
            .filter_map(|e| e.file_name().to_str()?.strip_suffix(".json")?.parse::<u64>().ok());
        let newest = versions.max().expect("a table has commits");
        remove(&log.join(format!("{newest:020}.json")));
        remove(&log.join(format!("{newest:020}.crc")));
    }
}

fn numbers(folder: &Path) -> Vec<i64> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Removes a file and Hadoop's checksum of it, as Hadoop would.
fn remove(file: &Path) {
    let name = file.file_name().unwrap().to_str().unwrap();
    let _ = fs::remove_file(file);
    let _ = fs::remove_file(file.with_file_name(format!(".{name}.crc")));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn changes_hands(first: Engine, second: Engine) {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let options = vec![("maxOffsetsPerTrigger", "150")];
    let topic = broker.topic(&format!("from-{first:?}").to_lowercase(), PARTITIONS as i32);
    let query = Query { broker, topic, folder: folder.path().join("query"), options };
    query.produce(0, 400);
    query.run(first);
    query.assert_holds(400, "before");
    let newest = query.newest("offsets").expect("a finished query has plans");
    assert!(newest >= 2, "only {newest}");

    let states = [State::Idle, State::Plan, State::PlanAndSink, State::AllThree, State::NothingPlanned];
    let copies: Vec<_> = states
        .into_iter()
        .map(|state| (state, query.copy_in(state, folder.path().join(format!("{state:?}")))))
        .collect();
    let idle = &copies[0].1;
    let before = fs::read_dir(idle.table().join("_delta_log")).unwrap().count();
    idle.run(second);
    assert_eq!(idle.newest("offsets"), Some(newest), "nothing new makes no batch");
    assert_eq!(fs::read_dir(idle.table().join("_delta_log")).unwrap().count(), before);

    query.produce(400, 600);
    for (state, copy) in &copies {
        let plan = copy.checkpoint().join(format!("offsets/{newest}"));
        let planned = fs::read(&plan).ok();
        copy.run(second);
        copy.assert_holds(600, &format!("{state:?} taken over by {second:?}"));
        if planned.is_some() {
            assert_eq!(fs::read(&plan).ok(), planned, "{state:?}: a plan was changed");
        }
    }
    query.produce(600, 700);
    for (state, copy) in &copies {
        copy.run(first);
        copy.assert_holds(700, &format!("{state:?} handed back to {first:?}"));
    }
}

#[test]
fn alluvia_takes_over_from_spark_in_every_state_and_hands_back() {
    changes_hands(Engine::Spark, Engine::Alluvia);
}

#[test]
fn spark_takes_over_from_alluvia_in_every_state_and_hands_back() {
    changes_hands(Engine::Alluvia, Engine::Spark);
}

/// Events of one partition each, so that a partition's first offset is the number of events before it.
fn produce_to(query: &Query<'_>, partition: i32, seqs: std::ops::Range<u64>) {
    query.broker.produce(
        &query.topic,
        seqs.map(|seq| {
            let mut value = Vec::new();
            workload::write_event(&mut value, 1, seq);
            Message::new(value).partition(partition)
        }),
    );
}

/// (partition, rows, first offset, last offset) of the table; every offset is there once.
fn ranges(query: &Query<'_>) -> Vec<(i32, u64, i64, i64)> {
    let there = delta_digest(&query.table(), &COLUMNS);
    assert_eq!(there.rows, there.distinct);
    there
        .partitions
        .iter()
        .map(|p| {
            assert_eq!(p.rows, p.distinct_offsets, "{p:?}");
            (p.partition, p.rows, p.min_offset, p.max_offset)
        })
        .collect()
}

/// A query of one partition that the first engine stopped in the middle of the batch with a second one.
fn with_an_added_partition<'a>(broker: &'a Broker, first: Engine, folder: &Path, gone: i64) -> Query<'a> {
    let topic = broker.topic("added", 1);
    let options = vec![("failOnDataLoss", "false")];
    let query = Query { broker, topic, folder: folder.join("query"), options };
    produce_to(&query, 0, 0..30);
    query.run(first);
    broker.add_partitions(&query.topic, 2);
    produce_to(&query, 0, 30..40);
    produce_to(&query, 1, 40..60);
    if gone > 0 {
        broker.delete_records(&query.topic, 1, rdkafka::Offset::Offset(gone));
    }
    query.run(first);
    assert_eq!(query.newest("offsets"), Some(1));
    let mut stopped = query.copy_in(State::Plan, folder.join("stopped"));
    stopped.options.clear();
    Query { broker, topic: query.topic.clone(), folder: stopped.folder.clone(), options: Vec::new() }
}

#[test]
fn a_partition_that_sparks_unfinished_batch_added_is_read_from_its_earliest_offset() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let query = with_an_added_partition(broker, Engine::Spark, folder.path(), 0);
    query.run(Engine::Alluvia);
    assert_eq!(ranges(&query), [(0, 40, 0, 39), (1, 20, 0, 19)]);
    produce_to(&query, 1, 60..65);
    query.run(Engine::Spark);
    assert_eq!(ranges(&query), [(0, 40, 0, 39), (1, 25, 0, 24)]);
}

#[test]
fn an_added_partition_whose_start_is_gone_stops_the_takeover_or_is_recorded() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut query = with_an_added_partition(broker, Engine::Spark, folder.path(), 7);
    let ended = Alluvia::run(&query.yaml(), &query.folder).wait(BOUND);
    assert_eq!(ended.code(), 6, "{}", ended.stderr);
    assert!(ended.stderr.contains("ADDED_PARTITION_DOES_NOT_START_FROM_OFFSET_ZERO"), "{}", ended.stderr);
    query.options = vec![("failOnDataLoss", "false")];
    query.run(Engine::Alluvia);
    assert_eq!(ranges(&query), [(0, 40, 0, 39), (1, 13, 7, 19)]);
    let commit = fs::read_to_string(query.table().join("_delta_log/00000000000000000001.json")).unwrap();
    let lost = format!(r#""lostRanges":[{{"topic":"{}","partition":1,"from":0,"until":7}}]"#, query.topic);
    assert!(commit.contains(&lost), "{commit}");
}

#[test]
fn a_partition_that_alluvias_unfinished_batch_added_is_read_by_spark() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let query = with_an_added_partition(broker, Engine::Alluvia, folder.path(), 0);
    query.run(Engine::Spark);
    assert_eq!(ranges(&query), [(0, 40, 0, 39), (1, 20, 0, 19)]);
}

#[test]
fn checksums_of_files_that_are_gone_confuse_no_one() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("checksums", PARTITIONS as i32);
    let query = Query { broker, topic, folder: folder.path().join("query"), options: Vec::new() };
    query.produce(0, 100);
    query.run(Engine::Spark);
    query.produce(100, 200);
    query.run(Engine::Spark);
    // A person takes the last batch back and overlooks the hidden neighbours.
    query.forget_newest_version();
    fs::remove_file(query.checkpoint().join("offsets/1")).unwrap();
    fs::remove_file(query.checkpoint().join("commits/1")).unwrap();
    assert!(query.checkpoint().join("offsets/.1.crc").exists(), "Spark writes checksums");
    query.run(Engine::Alluvia);
    query.assert_holds(200, "after Alluvia planned the batch anew");
    query.produce(200, 300);
    query.run(Engine::Spark);
    query.assert_holds(300, "after Spark read Alluvia's plan");
}

#[test]
fn retention_of_either_leaves_what_the_other_needs() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("retention", PARTITIONS as i32);
    let options = vec![("maxOffsetsPerTrigger", "20")];
    let query = Query { broker, topic, folder: folder.path().join("query"), options };
    let mut until = 0;
    for engine in [Engine::Spark, Engine::Alluvia, Engine::Spark, Engine::Alluvia] {
        query.produce(until, until + 100);
        until += 100;
        query.run(engine);
        query.assert_holds(until, &format!("{engine:?}, {until}"));
        let newest = query.newest("commits").unwrap();
        for log in ["offsets", "commits"] {
            let kept = numbers(&query.checkpoint().join(log));
            // Spark deletes in the background and may be one round behind when it stops.
            assert!(kept.contains(&newest) && kept.contains(&(newest - 1)), "{engine:?} {log} {kept:?}");
            if engine == Engine::Alluvia {
                assert!(kept.len() <= 5, "{log} {kept:?}");
                let hidden = fs::read_dir(query.checkpoint().join(log)).unwrap().count() - kept.len();
                assert!(hidden <= kept.len(), "{log}: {hidden} checksums for {kept:?}");
            }
        }
    }
}

#[test]
fn spark_goes_on_from_a_rebuilt_checkpoint_and_its_own_batches_cannot_be_rebuilt_from() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("rebuilt", PARTITIONS as i32);
    let options = vec![("maxOffsetsPerTrigger", "150")];
    let query = Query { broker, topic, folder: folder.path().join("query"), options };
    let rebuild = || {
        fs::remove_dir_all(query.checkpoint()).unwrap();
        Alluvia::start(["checkpoint", "rebuild", "stream.yaml"], &query.folder, &[]).wait(BOUND)
    };
    query.produce(0, 400);
    query.run(Engine::Alluvia);
    rebuild().success();
    query.produce(400, 500);
    query.run(Engine::Spark);
    query.assert_holds(500, "after Spark");
    let ended = rebuild();
    assert_eq!(ended.code(), 7, "{}", ended.stderr);
    assert!(ended.stderr.contains("or Spark wrote the batch"), "{}", ended.stderr);
    assert!(!query.checkpoint().exists());
}

/// The folder as names and contents, to see that nothing was changed; the lease may come and go.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.ends_with("alluvia/lease") {
        } else if path.is_dir() {
            all.extend(contents(&path));
        } else {
            all.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    all.sort();
    all
}

#[test]
fn what_alluvia_cannot_carry_on_is_refused_by_name_and_left_as_it_is() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("refused", PARTITIONS as i32);
    let other = broker.topic("refused-too", 1);
    let query = Query { broker, topic, folder: folder.path().join("query"), options: Vec::new() };
    query.produce(0, 60);
    let cases: [(&str, Value, &str); 5] = [
        (
            "v2",
            json!({"conf": {"spark.sql.streaming.stateStore.checkpointFormatVersion": "2"}}),
            "commits/0 is in format v2; Alluvia carries on format v1",
        ),
        ("state", json!({"aggregate": true}), "holds state that Spark has written"),
        // As of foreachBatch, nothing of the query is in the table.
        ("foreach", json!({"sink": "noop"}), "after micro-batch 0 it begins with startingOffsets: '{"),
        ("sources", json!({"topics": [query.topic, other]}), "offsets/0 holds the offsets of 2 sources"),
        (
            "async",
            json!({"sink": "noop", "processingTime": "0 seconds", "options": {"maxOffsetsPerTrigger": "1"},
                   "writer": {"asyncProgressTrackingEnabled": "true",
                              // Longer than a batch on a slow machine: else no entry of the logs is left out.
                              "asyncProgressTrackingCheckpointIntervalMs": "1500"}}),
            "asynchronous progress tracking",
        ),
    ];
    for (name, changes, says) in cases {
        let query = query.at(folder.path().join(name));
        fs::create_dir_all(&query.folder).unwrap();
        let mut asked = query.spark();
        asked["table"] = query.folder.join("of-spark").to_str().unwrap().into();
        for (key, value) in changes.as_object().unwrap() {
            asked[key] = value.clone();
        }
        spark::query(&asked).unwrap_or_else(|e| panic!("{name}: {e}"));
        let before = contents(&query.checkpoint());
        let ended = Alluvia::run(&query.yaml(), &query.folder).wait(BOUND);
        assert_eq!(ended.code(), 2, "{name}: {}", ended.stderr);
        assert!(ended.stderr.contains(says), "{name}: no `{says}` in {}", ended.stderr);
        assert_eq!(contents(&query.checkpoint()), before, "{name}: the checkpoint was changed");
        assert!(!query.table().exists(), "{name}: a table was made");
    }
}
