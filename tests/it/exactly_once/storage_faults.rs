//! Storage that rejects, delays, cuts, or does the write and reports failure: the table is the topic's, once each.
//!
//! The faults are those of `src/storage/faulty`, asked for by `ALLUVIA_STORE_FAULTS`; each test sees in the
//! program's own words that its fault did happen.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use crate::rig::{Alluvia, Broker, Disk, Ended, Message, delta_digest, delta_rows};
use crate::streams::ingest::{COLUMNS, expected, w1_yaml};
use crate::tables::changed::checkpoints;

const BOUND: Duration = Duration::from_secs(90);
const EVENTS: u64 = 3_000;
const PARTITIONS: u32 = 2;

/// One topic for all cases, read in three micro-batches.
fn topic() -> Option<(&'static Broker, &'static str)> {
    static TOPIC: OnceLock<String> = OnceLock::new();
    let broker = Broker::shared()?;
    let topic = TOPIC.get_or_init(|| {
        let topic = broker.topic("storage-faults", PARTITIONS as i32);
        broker.produce(&topic, (0..EVENTS).map(|seq| Message::event(5, seq, PARTITIONS)));
        topic
    });
    Some((broker, topic))
}

fn yaml(broker: &Broker, topic: &str) -> String {
    let restart = "    restart: { maxAttempts: 6, backoff: 20 ms }\n";
    w1_yaml(broker, topic, ", maxOffsetsPerTrigger: 1000", restart)
}

fn faults(yaml: &str, folder: &Path, rules: &str) -> Ended {
    Alluvia::run_with(yaml, folder, &[("ALLUVIA_STORE_FAULTS", rules)]).wait(BOUND)
}

fn happened(ended: &Ended) -> usize {
    ended.stderr.matches("\"event\":\"store-fault\"").count()
}

fn is_exact(folder: &Path, topic: &str) -> bool {
    delta_digest(&folder.join("table"), &COLUMNS).same_rows(&expected(topic, 5, EVENTS, PARTITIONS))
}

/// Each of these passes; the stream ends well without help.
const PASSING: [&str; 40] = [
    "create .parquet 1 reject",
    "create .parquet 1 do-and-fail",
    "create .parquet 1 do-and-exists",
    "create .parquet 2 cut",
    "create .parquet 3 disk-full",
    "create _delta_log/0000 1 reject",
    "create _delta_log/0000 1 do-and-fail",
    "create _delta_log/0000 1 do-and-exists",
    "create _delta_log/0000 2 reject",
    "create _delta_log/0000 2-9 reject",
    "create _delta_log/0000 2 disk-full",
    "create _delta_log/0000 2 do-and-fail",
    "create _delta_log/0000 * do-and-fail",
    "create _delta_log/0000 * do-and-exists",
    "create _delta_log/0000 * 412; create _delta_log/0000 3 do-and-fail",
    "create _delta_log/0000 3 do-and-fail; list _delta_log 3-4 reject; get _delta_log * delay=2",
    "create _delta_log/0000 3 do-and-fail; get _delta_log 1-2 reject",
    "create offsets/ 1 reject",
    "create offsets/ 2 do-and-fail",
    "create offsets/ * do-and-exists",
    "create offsets/ 2 do-and-fail; get offsets/ 1 reject",
    "create offsets/ 3 disk-full",
    "create commits/ 1 reject",
    "create commits/ 2 do-and-fail",
    "create commits/ 3 do-and-fail; get commits/ 1 reject",
    "create commits/ 3 disk-full",
    "create sources/0/0 1 reject",
    "create sources/0/0 1 do-and-fail",
    "create metadata 1 reject",
    "create metadata 1 do-and-fail",
    "create metadata 1 do-and-exists",
    "create stream.json 1 reject",
    "create stream.json 1 do-and-fail",
    "create stream.json 1 disk-full",
    "create probe 1 reject",
    "create probe 2 412; delete probe 1 reject",
    "list * 1-4 reject",
    "get * 1-4 reject",
    "create * * delay=30; list * * delay=30; get * * delay=30",
    "delete * 1-3 reject",
];

#[test]
fn a_fault_that_passes_at_any_step_changes_nothing() {
    let Some((broker, topic)) = topic() else { return };
    let yaml = yaml(broker, topic);
    let mut wrong = Vec::new();
    for rules in PASSING {
        let folder = tempfile::tempdir().unwrap();
        let ended = faults(&yaml, folder.path(), rules);
        if !ended.status.success() {
            wrong.push(format!("{rules}: exit code {}\n{}", ended.code(), ended.stderr));
        } else if happened(&ended) == 0 {
            wrong.push(format!("{rules}: never happened"));
        } else if ended.stderr.matches("can't be told from others").count() != 1 {
            wrong.push(format!("{rules}: a remark on the stream file is not made once\n{}", ended.stderr));
        } else if !is_exact(folder.path(), topic) {
            wrong.push(format!("{rules}: the table is not the topic\n{}", ended.stderr));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), PASSING.len(), wrong.join("\n\n"));
}

/// What stays wrong: the rules, the exit code, what is said.
const LASTING: [(&str, i32, &str); 14] = [
    ("create .parquet * reject", 3, "part-"),
    ("create .parquet * disk-full", 3, "No space left on device"),
    ("create .parquet * refuse", 2, "right"),
    ("create _delta_log/0000 2- reject", 3, "commit to the log"),
    ("create _delta_log/0000 2- refuse", 2, "right"),
    ("create _delta_log/0000 1- refuse", 2, "table"),
    ("create offsets/ 2- reject", 3, "offsets/1"),
    ("create offsets/ 2- disk-full", 3, "No space left on device"),
    ("create offsets/ 2- refuse", 2, "offsets/1"),
    ("create commits/ 2- reject", 3, "commits/1"),
    ("create metadata * reject", 3, "metadata"),
    ("create stream.json * reject", 3, "stream.json"),
    ("list _delta_log * reject", 3, "_delta_log"),
    ("get stream.json * reject", 3, "stream.json"),
];

#[test]
fn a_fault_that_lasts_ends_the_stream_by_name_and_the_next_start_is_exact() {
    let Some((broker, topic)) = topic() else { return };
    let yaml = yaml(broker, topic).replace("maxAttempts: 6", "maxAttempts: 1");
    let mut wrong = Vec::new();
    for (rules, code, says) in LASTING {
        let folder = tempfile::tempdir().unwrap();
        let ended = faults(&yaml, folder.path(), rules);
        let last = ended.stderr.lines().last().unwrap_or_default().to_owned();
        if ended.code() != code || !last.contains(says) {
            wrong.push(format!("{rules}: exit code {}, not {code}, or no `{says}` in: {last}", ended.code()));
        }
        Alluvia::run(&yaml, folder.path()).wait(BOUND).success();
        if !is_exact(folder.path(), topic) {
            wrong.push(format!(
                "{rules}: the table is not the topic after the fault is gone\n{}",
                ended.stderr
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Without `restart.maxAttempts` a stream outlives any outage: here one of thirteen attempts.
#[test]
fn an_outage_longer_than_ten_attempts_does_not_end_a_stream() {
    let Some((broker, topic)) = topic() else { return };
    let yaml = yaml(broker, topic).replace("maxAttempts: 6, backoff: 20 ms", "backoff: 1 ms");
    let folder = tempfile::tempdir().unwrap();
    let ended = faults(&yaml, folder.path(), "create offsets/ 2-14 reject").success();
    assert_eq!(happened(&ended), 13, "{}", ended.stderr);
    for says in ["\"attempt\":12,", "\"kind\":\"unavailable\"", "the stream has ended"] {
        assert!(ended.stderr.contains(says), "no `{says}` in\n{}", ended.stderr);
    }
    assert!(is_exact(folder.path(), topic), "{}", ended.stderr);
}

#[test]
fn faults_at_random_everywhere_change_nothing() {
    let Some((broker, topic)) = topic() else { return };
    let yaml = yaml(broker, topic).replace("maxOffsetsPerTrigger: 1000", "maxOffsetsPerTrigger: 100");
    let yaml = yaml.replace("maxAttempts: 6", "maxAttempts: 1000");
    let rules = "create * 7% do-and-fail; create * 5% do-and-exists; create * 7% reject; get * 1% reject; list * 3% reject; delete * 20% reject";
    for seed in ["1", "2", "3"] {
        let folder = tempfile::tempdir().unwrap();
        let environment = [("ALLUVIA_STORE_FAULTS", rules), ("ALLUVIA_STORE_SEED", seed)];
        let ended = Alluvia::run_with(&yaml, folder.path(), &environment).wait(BOUND).success();
        assert!(happened(&ended) > 10, "seed {seed}: {} faults", happened(&ended));
        assert!(is_exact(folder.path(), topic), "seed {seed}:\n{}", ended.stderr);
    }
}

/// A stream of records of which every third is no JSON, with dead letters.
pub fn letters_yaml(broker: &Broker, topic: &str) -> String {
    format!(
        "streams:
  - name: letters
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{}', subscribe: '{topic}', startingOffsets: earliest, maxOffsetsPerTrigger: 30 }}
      value: {{ format: json, schema: 'n INT', keep: [offset] }}
    sink: {{ format: delta, path: ./table }}
    deadLetter: {{ format: delta, path: ./dead }}
    trigger: availableNow
    checkpointLocation: ./checkpoint
    restart: {{ maxAttempts: 6, backoff: 20 ms }}
",
        broker.bootstrap()
    )
}

fn offsets(table: PathBuf) -> Vec<i64> {
    let rows = delta_rows(&table, &["offset"]);
    let mut offsets: Vec<i64> = rows.iter().map(|row| row["offset"].as_i64().unwrap()).collect();
    offsets.sort_unstable();
    offsets
}

#[test]
fn a_record_is_a_row_or_a_dead_letter_whatever_the_storage_of_either_does() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("letter-faults", 1);
    let text = |n: i64| if n % 3 == 0 { format!("no JSON {n}") } else { format!("{{\"n\":{n}}}") };
    broker.produce(&topic, (0..90).map(|n| Message::new(text(n))));
    for rules in [
        "create dead/part 1 do-and-fail",
        "create dead/_delta_log/0000 2 do-and-fail",
        "create dead/_delta_log/0000 2 do-and-exists",
        "create dead/_delta_log/0000 2-4 reject",
        "create dead/_delta_log/0000 1 do-and-fail",
        "create table/_delta_log/0000 3-99 reject",
        "create table/_delta_log/0000 3 do-and-fail; create commits/ 2 reject",
        "list dead/_delta_log 2-3 reject; get dead/_delta_log 1-3 reject",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let first = faults(&letters_yaml(broker, &topic), folder.path(), rules);
        assert!(happened(&first) > 0, "{rules}: never happened");
        Alluvia::run(&letters_yaml(broker, &topic), folder.path()).wait(BOUND).success();
        let (dead, rows): (Vec<i64>, Vec<i64>) = (0..90).partition(|n| n % 3 == 0);
        assert_eq!(offsets(folder.path().join("table")), rows, "{rules}\n{}", first.stderr);
        assert_eq!(offsets(folder.path().join("dead")), dead, "{rules}\n{}", first.stderr);
    }
}

#[test]
fn a_file_that_is_uploaded_in_parts_may_be_lost_at_any_of_them() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("parts", 1);
    broker.produce(&topic, (0..150_000).map(|seq| Message::event(6, seq, 1)));
    let yaml = w1_yaml(
        broker,
        &topic,
        "",
        "    restart: { maxAttempts: 3, backoff: 20 ms }\n    lanes: 1\n    memoryLimit: 32m\n",
    );
    for rules in [
        "multipart .parquet 1 reject",
        "part .parquet 1 reject",
        "part .parquet 2 disk-full",
        "complete .parquet 1 reject",
        "complete .parquet 1 cut",
        "complete .parquet 1 do-and-fail",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let ended = faults(&yaml, folder.path(), rules).success();
        assert_eq!(happened(&ended), 1, "{rules}");
        assert_eq!(staged(folder.path()), Vec::<PathBuf>::new(), "{rules}: left behind");
        let there = delta_digest(&folder.path().join("table"), &COLUMNS);
        assert!(there.same_rows(&expected(&topic, 6, 150_000, 1)), "{rules}: {there:?}");
    }
}

#[test]
fn checkpoints_of_the_tables_log_may_fail_and_come_later() {
    let Some((broker, topic)) = topic() else { return };
    let yaml = yaml(broker, topic)
        .replace("maxOffsetsPerTrigger: 1000", "maxOffsetsPerTrigger: 150")
        .replace("path: ./table }", "path: ./table, tableProperties: { delta.checkpointInterval: '4' } }");
    for rules in [
        "create checkpoint.parquet 1-2 reject; put checkpoint.parquet 1-2 reject; multipart checkpoint.parquet 1-2 reject",
        "create checkpoint.parquet 1 do-and-fail; put checkpoint.parquet 1 do-and-fail; complete checkpoint.parquet 1 do-and-fail",
        "put _last_checkpoint 1 do-and-fail; put _last_checkpoint 2-3 reject",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let ended = faults(&yaml, folder.path(), rules).success();
        assert!(happened(&ended) > 0, "{rules}: never happened");
        assert!(is_exact(folder.path(), topic), "{rules}\n{}", ended.stderr);
        let made = checkpoints(&folder.path().join("table"));
        assert!(!made.is_empty(), "{rules}: no checkpoint was made later\n{}", ended.stderr);
        Alluvia::run(&yaml, folder.path()).wait(BOUND).success();
        assert!(is_exact(folder.path(), topic), "{rules}, opened again");
    }
}

/// At a multiple of the interval only, a stream whose process dies or fails in its checkpoints has a log that grows
/// and grows, and every start and checkpoint that must read it fails the more often.
#[test]
fn a_missed_checkpoint_of_the_tables_log_is_made_by_the_next_run() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("missed-checkpoint", 1);
    let produce = |seqs: std::ops::Range<u64>| {
        broker.produce(&topic, seqs.map(|seq| Message::event(5, seq, 1)));
    };
    let sink = "path: ./table, tableProperties: { delta.checkpointInterval: '4' } }";
    let yaml = w1_yaml(broker, &topic, ", maxOffsetsPerTrigger: 10", "").replace("path: ./table }", sink);
    let folder = tempfile::tempdir().unwrap();
    let made = || checkpoints(&folder.path().join("table"));
    // Each run has a batch more than the one at which maintenance begins: what begins with the end may not come to be.
    produce(0..50);
    let rules =
        ["create", "put", "multipart"].map(|operation| format!("{operation} checkpoint.parquet * reject"));
    let first = faults(&yaml, folder.path(), &rules.join("; ")).success();
    assert!(first.stderr.contains("the maintenance of a table's log failed"), "{}", first.stderr);
    assert!(made().is_empty(), "{:?}", made());
    produce(50..70);
    Alluvia::run(&yaml, folder.path()).wait(BOUND).success();
    assert_eq!(made(), [6]);
    produce(70..90);
    Alluvia::run(&yaml, folder.path()).wait(BOUND).success();
    assert_eq!(made(), [6], "the next one is due at version 10");
    assert!(delta_digest(&folder.path().join("table"), &COLUMNS).same_rows(&expected(&topic, 5, 90, 1)));
}

#[test]
fn a_cut_checkpoint_file_stops_the_stream_by_name_and_nothing_is_touched() {
    let Some((broker, topic)) = topic() else { return };
    let yaml = yaml(broker, topic);
    for (rules, file) in [
        ("create offsets/ 2 cut", "offsets/1"),
        ("create commits/ 3 cut", "commits/2"),
        ("create metadata 1 cut", "metadata"),
        ("create stream.json 1 cut", "stream.json"),
        ("create _delta_log/0000 3 cut", "table"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let first = faults(&yaml, folder.path(), rules);
        assert!(happened(&first) > 0, "{rules}: never happened");
        let before = listing(folder.path());
        let second = Alluvia::run(&yaml, folder.path()).wait(BOUND);
        assert_eq!(second.code(), 7, "{rules}\n{}", second.stderr);
        assert!(second.stderr.contains(file), "{rules}: no `{file}` in\n{}", second.stderr);
        assert_eq!(listing(folder.path()), before, "{rules}");
    }
}

#[test]
fn files_that_cannot_be_deleted_stay_and_harm_nobody() {
    let Some((broker, topic)) = topic() else { return };
    let yaml = yaml(broker, topic).replace("maxOffsetsPerTrigger: 1000", "maxOffsetsPerTrigger: 200");
    let yaml = format!("{yaml}    conf: {{ spark.sql.streaming.minBatchesToRetain: '2' }}\n");
    let folder = tempfile::tempdir().unwrap();
    let ended = faults(&yaml, folder.path(), "delete offsets/ * reject; delete commits/ * refuse").success();
    assert!(happened(&ended) > 5, "{}", ended.stderr);
    assert!(ended.stderr.contains("old checkpoint files could not be deleted"), "{}", ended.stderr);
    let kept = || std::fs::read_dir(folder.path().join("checkpoint/offsets")).unwrap().count();
    let before = kept();
    let again = faults(&yaml, folder.path(), "delete offsets/ * reject; delete commits/ * reject").success();
    assert!(happened(&again) > 0 && kept() == before, "{}", again.stderr);
    Alluvia::run(&yaml, folder.path()).wait(BOUND).success();
    assert!(kept() <= 3, "{} plans are left", kept());
    assert!(is_exact(folder.path(), topic));
}

/// Every file of table and checkpoint with its size; leases come and go.
fn listing(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = files(folder);
    found.retain(|(path, _)| path.parent().is_none_or(|folder| !folder.ends_with("lease")));
    found
}

/// Files of table and checkpoint that have not got their names. A living process leaves none.
pub fn staged(folder: &Path) -> Vec<PathBuf> {
    let is_staged = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.contains('#') || name.ends_with(".tmp")
    };
    files(folder).into_iter().map(|(path, _)| path).filter(is_staged).collect()
}

fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.join("table"), folder.join("checkpoint")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.metadata().unwrap() {
                about if about.is_dir() => folders.push(entry.path()),
                about => found.push((entry.path(), about.len())),
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_store_without_put_if_absent_is_refused_at_the_start() {
    let Some((broker, topic)) = topic() else { return };
    for place in ["checkpoint/", "table/"] {
        let folder = tempfile::tempdir().unwrap();
        let ended = faults(&yaml(broker, topic), folder.path(), &format!("create {place} * replace"));
        assert_eq!(ended.code(), 2, "{}", ended.stderr);
        for says in ["second writer", place, "conditional writes"] {
            assert!(ended.stderr.contains(says), "{place}: no `{says}` in\n{}", ended.stderr);
        }
        assert!(!folder.path().join("table/_delta_log/00000000000000000000.json").exists(), "{place}");
        assert!(!folder.path().join("checkpoint/offsets").exists(), "{place}");
    }
}

#[test]
fn plan_then_rows_then_letters_then_table_then_log_each_only_after_the_one_before() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("order", 1);
    broker.produce(&topic, ["{\"n\":1}", "no JSON", "{\"n\":2}"].map(Message::new));
    let folder = tempfile::tempdir().unwrap();
    // A slow write shows whoever does not wait for it.
    let rules = "create * * trace; complete * * trace; create .parquet * delay=150; create _delta_log/0000 * delay=150; create offsets/ * delay=150";
    let ended = faults(&letters_yaml(broker, &topic), folder.path(), rules).success();
    let steps = [
        "checkpoint/sources/0/0",
        "checkpoint/offsets/0",
        "part-",
        "dead/_delta_log/00000000000000000001.json",
        "table/_delta_log/00000000000000000001.json",
        "checkpoint/commits/0",
    ];
    let lines: Vec<&str> = ended.stderr.lines().collect();
    let place = |event: &str, step: &str| -> Vec<usize> {
        let said = |line: &&str| line.contains(event) && line.contains(step);
        (0..lines.len()).filter(|&at| said(&lines[at])).collect()
    };
    for pair in steps.windows(2) {
        let done = *place("store-done", pair[0]).last().unwrap_or_else(|| panic!("{} never done", pair[0]));
        let next = *place("store-done", pair[1]).first().unwrap_or_else(|| panic!("{} never done", pair[1]));
        assert!(done < next, "{} was done before {}\n{}", pair[1], pair[0], ended.stderr);
        for begun in place("store-fault", pair[1]) {
            assert!(done < begun, "{} began before {} was done\n{}", pair[1], pair[0], ended.stderr);
        }
    }
}

#[test]
fn a_full_disk_ends_the_stream_and_room_lets_it_go_on() {
    let Some((broker, topic)) = topic() else { return };
    let yaml = yaml(broker, topic).replace("maxAttempts: 6", "maxAttempts: 1");
    // Room may be lacking for data, for a name, or be found lacking only at the flush.
    for rules in [
        "write /table/ full>100000",
        "create /table/part full; link /table/part full",
        "link /table/_delta_log/00000000000000000002.json full",
        "fsync /table/part full",
        "fsync /table/_delta_log/$ full",
        "write /checkpoint/offsets/1 full",
        "write /alluvia/lease/ full",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let ended = Disk::below(folder.path()).run(&yaml, rules, &[]).wait(BOUND);
        assert_eq!(ended.code(), 3, "{rules}\n{}", ended.stderr);
        let last = ended.stderr.lines().last().unwrap_or_default();
        assert!(last.contains("No space left on device"), "{rules}\n{}", ended.stderr);
        assert_eq!(staged(folder.path()), Vec::<PathBuf>::new(), "{rules}: left behind");
        Alluvia::run(&yaml, folder.path()).wait(BOUND).success();
        assert!(is_exact(folder.path(), topic), "{rules}");
    }
}

#[test]
fn a_read_only_checkpoint_is_said_at_once() {
    let Some((broker, topic)) = topic() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("checkpoint")).unwrap();
    let yaml = yaml(broker, topic);
    let rules = ["create", "write", "mkdir", "link", "rename", "unlink"]
        .map(|call| format!("{call} /checkpoint/ read-only"));
    let refused = Disk::below(folder.path()).run(&yaml, &rules.join("; "), &[]).wait(BOUND);
    assert_eq!(refused.code(), 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("checkpointLocation"), "{}", refused.stderr);
    assert!(!folder.path().join("table").exists(), "a table was made");
    Alluvia::run(&yaml, folder.path()).wait(BOUND).success();
    assert!(is_exact(folder.path(), topic));
}
