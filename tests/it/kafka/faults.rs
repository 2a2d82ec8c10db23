//! Brokers that restart, hang or refuse; topics that shrink, grow, vanish and come back: nothing is lost
//! unsaid and nothing is doubled.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::Offset;
use serde_json::Value;

use crate::rig::{Alluvia, Broker, Digest, Message, delta_digest, delta_rows, until};
use crate::streams::ingest::{COLUMNS, expected, w1_yaml};

const BOUND: Duration = Duration::from_secs(90);

/// Raw values and where they came from.
pub fn raw_yaml(broker: &Broker, topic: &str, options: &str, stream: &str) -> String {
    format!(
        "streams:
  - name: raw
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{}', subscribe: '{topic}', startingOffsets: earliest{options} }}
    sink: {{ format: delta, path: ./table }}
    deadLetter: {{ format: delta, path: ./dead }}
    trigger: availableNow
    checkpointLocation: ./checkpoint
    restart: {{ maxAttempts: 3, backoff: 100 ms }}
{stream}",
        broker.bootstrap()
    )
}

/// The values in the table, sorted.
pub fn values(folder: &Path) -> Vec<String> {
    let query = format!(
        "SELECT CAST(value AS STRING) AS v FROM delta.`{}` ORDER BY v",
        folder.join("table").display()
    );
    crate::rig::spark_sql(&query).iter().map(|row| row["v"].as_str().unwrap_or_default().to_owned()).collect()
}

pub fn numbered(name: &str, numbers: std::ops::Range<u32>) -> impl Iterator<Item = Message> {
    numbers.map(move |n| Message::new(format!("{name}{n:04}")).partition(0))
}

pub fn names(name: &str, numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|n| format!("{name}{n:04}")).collect()
}

/// What the commits of the table say was lost, `topic-partition [from, until)`, in the order of versions.
pub fn lost_ranges(folder: &Path) -> Vec<String> {
    let mut lost = Vec::new();
    for version in 0.. {
        let file = folder.join(format!("table/_delta_log/{version:020}.json"));
        let Ok(text) = std::fs::read_to_string(file) else { break };
        for line in text.lines() {
            let action: Value = serde_json::from_str(line).unwrap();
            for range in action["commitInfo"]["alluvia"]["lostRanges"].as_array().into_iter().flatten() {
                let topic = range["topic"].as_str().unwrap();
                lost.push(format!("{topic}-{} [{}, {})", range["partition"], range["from"], range["until"]));
            }
        }
    }
    lost
}

/// The dead letters' codes.
pub fn codes(folder: &Path) -> Vec<String> {
    let rows = delta_rows(&folder.join("dead"), &["errorCode"]);
    rows.iter().map(|row| row["errorCode"].as_str().unwrap().to_owned()).collect()
}

pub fn run(yaml: &str, folder: &Path) {
    Alluvia::run(yaml, folder).wait(BOUND).success();
}

/// The stream ends with code 6 and says all of `says`.
pub fn stops(yaml: &str, folder: &Path, says: &[&str]) {
    let ended = Alluvia::run(yaml, folder).wait(BOUND);
    assert_eq!(ended.code(), 6, "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap_or_default();
    for text in says {
        assert!(last.contains(text), "no `{text}` in the last line of\n{}", ended.stderr);
    }
}

pub fn tolerant(yaml: &str) -> String {
    yaml.replace("startingOffsets: earliest", "startingOffsets: earliest, failOnDataLoss: false")
}

fn table(folder: &Path) -> Digest {
    delta_digest(&folder.join("table"), &COLUMNS)
}

#[test]
fn a_broker_that_restarts_dies_or_hangs_in_the_middle_costs_time_only() {
    let Some(mut broker) = Broker::private() else { return };
    let topic = broker.topic("restarts", 2);
    broker.produce(&topic, (0..120_000).map(|seq| Message::event(3, seq, 2)));
    let yaml = w1_yaml(
        &broker,
        &topic,
        ", maxOffsetsPerTrigger: 4000",
        "    restart: { maxAttempts: 20, backoff: 200 ms }\n",
    );
    let folder = tempfile::tempdir().unwrap();
    let program = Alluvia::run(&yaml, folder.path());
    program.wait_for("\"batchId\":2", BOUND);
    broker.kill();
    std::thread::sleep(Duration::from_millis(1500));
    broker.start();
    program.wait_for("\"batchId\":8", BOUND);
    broker.stop();
    broker.start();
    program.wait_for("\"batchId\":14", BOUND);
    broker.pause();
    std::thread::sleep(Duration::from_secs(4));
    broker.resume();
    program.wait(BOUND).success();
    assert!(table(folder.path()).same_rows(&expected(&topic, 3, 120_000, 2)));
}

#[test]
fn a_broker_that_stays_away_ends_the_stream_and_the_next_start_goes_on() {
    let Some(mut broker) = Broker::private() else { return };
    let topic = broker.topic("away", 2);
    broker.produce(&topic, (0..60_000).map(|seq| Message::event(4, seq, 2)));
    let restart = "    restart: { maxAttempts: 1, backoff: 100 ms }\n";
    let yaml =
        w1_yaml(&broker, &topic, ", maxOffsetsPerTrigger: 2000, kafkaConsumer.pollTimeoutMs: 6000", restart);
    let folder = tempfile::tempdir().unwrap();
    let program = Alluvia::run(&yaml, folder.path());
    program.wait_for("\"batchId\":3", BOUND);
    broker.kill();
    let ended = program.wait(BOUND);
    assert_eq!(ended.code(), 3, "{}", ended.stderr);
    for says in [broker.bootstrap(), "kafka.bootstrap.servers"] {
        assert!(ended.stderr.lines().last().unwrap().contains(says), "no `{says}` in\n{}", ended.stderr);
    }
    broker.start();
    run(&yaml, folder.path());
    assert!(table(folder.path()).same_rows(&expected(&topic, 4, 60_000, 2)));
}

#[test]
fn a_topic_made_anew_while_the_stream_was_stopped_is_told_by_its_id() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("anew", 1);
    let yaml = raw_yaml(broker, &topic, "", "");
    broker.produce(&topic, numbered("old", 0..100));
    run(&yaml, folder.path());
    broker.delete_topic(&topic);
    broker.create_topic(&topic, 1, &[]);
    // More than before: by its offsets alone nothing would be wrong.
    broker.produce(&topic, numbered("new", 0..150));
    stops(&yaml, folder.path(), &["TOPIC_RECREATED", &topic, "offset 100", "failOnDataLoss"]);
    assert_eq!(table_rows(folder.path()), 100, "nothing was written");
    run(&tolerant(&yaml), folder.path());
    assert_eq!(values(folder.path()), [names("new", 0..150), names("old", 0..100)].concat());
    assert_eq!(lost_ranges(folder.path()), [format!("{topic}-0 [100, 100)")]);
    assert_eq!(codes(folder.path()), ["OFFSETS_LOST"]);
    // It was recorded: from here on all is well again.
    broker.produce(&topic, numbered("new", 150..160));
    run(&yaml, folder.path());
    assert_eq!(table_rows(folder.path()), 260);
}

pub fn table_rows(folder: &Path) -> u64 {
    delta_digest(&folder.join("table"), &["topic", "partition", "offset"]).rows
}

#[test]
fn a_topic_made_anew_under_a_running_stream_is_told_too() {
    let Some(broker) = Broker::shared() else { return };
    for strict in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let topic = broker.topic("anew-running", 1);
        let yaml = raw_yaml(broker, &topic, ", kafka.metadata.max.age.ms: '1000'", "")
            .replace("trigger: availableNow", "trigger: { processingTime: 50 ms }");
        let yaml = if strict { yaml } else { tolerant(&yaml) };
        broker.produce(&topic, numbered("old", 0..100));
        let program = Alluvia::run(&yaml, folder.path());
        program.wait_for("\"endOffset\":{", BOUND);
        broker.delete_topic(&topic);
        broker.create_topic(&topic, 1, &[]);
        broker.produce(&topic, numbered("new", 0..150));
        if strict {
            let ended = program.wait(BOUND);
            assert_eq!(ended.code(), 6, "{}", ended.stderr);
            assert!(
                ended.stderr.contains(&topic) && ended.stderr.contains("failOnDataLoss"),
                "{}",
                ended.stderr
            );
            assert_eq!(table_rows(folder.path()), 100);
            continue;
        }
        program.wait_for("\"endOffset\":{\"", BOUND);
        until("the records of the new topic", BOUND, || {
            program.stderr().contains(&format!("\"endOffset\":{{\"{topic}\":{{\"0\":150}}}}")).then_some(())
        });
        program.terminate();
        let ended = program.wait(BOUND).success();
        assert_eq!(
            values(folder.path()),
            [names("new", 0..150), names("old", 0..100)].concat(),
            "{}",
            ended.stderr
        );
        assert!(codes(folder.path()).iter().all(|code| code == "OFFSETS_LOST"));
        assert!(!lost_ranges(folder.path()).is_empty());
    }
}

#[test]
#[cfg(any(debug_assertions, feature = "failpoints"))]
fn a_plan_over_a_topic_that_is_gone_reads_nothing_of_its_successor() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("plan-anew", 1);
    let yaml = raw_yaml(broker, &topic, "", "");
    broker.produce(&topic, numbered("old", 0..100));
    let kill = [("ALLUVIA_FAILPOINTS", "plan.after=kill@1")];
    assert!(!Alluvia::run_with(&yaml, folder.path(), &kill).wait(BOUND).status.success());
    broker.delete_topic(&topic);
    broker.create_topic(&topic, 1, &[]);
    broker.produce(&topic, numbered("new", 0..150));
    stops(&yaml, folder.path(), &["TOPIC_RECREATED", &topic]);
    run(&tolerant(&yaml), folder.path());
    assert_eq!(values(folder.path()), names("new", 0..150));
    assert_eq!(lost_ranges(folder.path()), [format!("{topic}-0 [0, 100)"), format!("{topic}-0 [100, 100)")]);
    assert_eq!(codes(folder.path()), ["OFFSETS_LOST", "OFFSETS_LOST"]);
}

/// The files of a stopped broker's partition, brought from one folder to another.
fn bring(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir(to).unwrap();
    for file in std::fs::read_dir(from).unwrap().flatten() {
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[test]
#[cfg(any(debug_assertions, feature = "failpoints"))]
fn a_log_that_was_cut_between_a_plan_and_its_run_stops_the_stream_or_is_recorded() {
    let Some(mut broker) = Broker::private() else { return };
    let (topic, folder) = ("cut", tempfile::tempdir().unwrap());
    let (log, earlier) = (broker.home().join("data/cut-0"), broker.home().join("earlier"));
    broker.create_topic(topic, 1, &[]);
    broker.produce(topic, numbered("v", 0..60));
    broker.stop();
    bring(&log, &earlier);
    broker.start();
    broker.produce(topic, numbered("v", 60..100));
    let yaml = raw_yaml(&broker, topic, "", "");
    let kill = [("ALLUVIA_FAILPOINTS", "plan.after=kill@1")];
    assert!(!Alluvia::run_with(&yaml, folder.path(), &kill).wait(BOUND).status.success());
    broker.stop();
    bring(&earlier, &log);
    broker.start();
    assert_eq!(broker.offsets(topic)[&0], (0, 60), "the log is shorter than the plan");
    stops(&yaml, folder.path(), &["LOG_TRUNCATED", "cut-0", "offset 60", "[60, 100)", "failOnDataLoss"]);
    run(&tolerant(&yaml), folder.path());
    assert_eq!(values(folder.path()), names("v", 0..60));
    assert_eq!(lost_ranges(folder.path()), ["cut-0 [60, 100)", "cut-0 [100, 100)"]);
    assert_eq!(codes(folder.path()), ["OFFSETS_LOST", "OFFSETS_LOST"]);
    // It was recorded: from here on all is well again.
    broker.produce(topic, numbered("w", 0..10));
    run(&yaml, folder.path());
    assert_eq!(values(folder.path()), [names("v", 0..60), names("w", 0..10)].concat());
}

/// A broker whose partition `topic-0` held v0000..v0100 and was cut to the first 60 of them, and a new record w… for each
/// of `more`; `between` runs before the cut.
fn cut_and_grown(topic: &str, more: u32, between: impl FnOnce(&Broker)) -> Option<Broker> {
    let mut broker = Broker::private()?;
    let (log, earlier) = (broker.home().join(format!("data/{topic}-0")), broker.home().join("earlier"));
    broker.create_topic(topic, 1, &[]);
    broker.produce(topic, numbered("v", 0..60));
    broker.stop();
    bring(&log, &earlier);
    broker.start();
    broker.produce(topic, numbered("v", 60..100));
    between(&broker);
    broker.stop();
    bring(&earlier, &log);
    broker.start();
    broker.produce(topic, numbered("w", 0..more));
    Some(broker)
}

#[test]
fn a_log_that_was_cut_and_has_grown_again_is_not_read_on_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    let mut yaml = String::new();
    let broker = cut_and_grown("regrown", 150, |broker| {
        yaml = raw_yaml(broker, "regrown", "", "");
        run(&yaml, folder.path());
    });
    let Some(broker) = broker else { return };
    // More than before: by its offsets alone nothing would be wrong.
    assert_eq!(broker.offsets("regrown")[&0], (0, 210));
    stops(&yaml, folder.path(), &["LOG_TRUNCATED", "regrown-0", "offset 60", "offset 100", "failOnDataLoss"]);
    assert_eq!(table_rows(folder.path()), 100, "nothing was written");
    run(&tolerant(&yaml), folder.path());
    assert_eq!(values(folder.path()), [names("v", 0..100), names("w", 0..150)].concat());
    assert_eq!(lost_ranges(folder.path()), ["regrown-0 [100, 100)"]);
    assert_eq!(codes(folder.path()), ["OFFSETS_LOST"]);
    // It was recorded: from here on all is well again.
    broker.produce("regrown", numbered("w", 150..160));
    run(&yaml, folder.path());
    assert_eq!(table_rows(folder.path()), 260);
}

#[test]
#[cfg(any(debug_assertions, feature = "failpoints"))]
fn a_planned_range_of_a_log_that_was_cut_and_has_grown_again_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut yaml = String::new();
    let broker = cut_and_grown("replanned", 150, |broker| {
        yaml = raw_yaml(broker, "replanned", "", "");
        let kill = [("ALLUVIA_FAILPOINTS", "plan.after=kill@1")];
        assert!(!Alluvia::run_with(&yaml, folder.path(), &kill).wait(BOUND).status.success());
    });
    if broker.is_none() {
        return;
    }
    stops(&yaml, folder.path(), &["LOG_TRUNCATED", "replanned-0", "[60, 100)"]);
    run(&tolerant(&yaml), folder.path());
    assert_eq!(values(folder.path()), [names("v", 0..60), names("w", 0..150)].concat());
    assert_eq!(lost_ranges(folder.path()), ["replanned-0 [60, 100)", "replanned-0 [100, 100)"]);
}

#[test]
fn a_log_that_is_cut_and_grows_again_under_a_running_stream_stops_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = None;
    let broker = cut_and_grown("regrows", 150, |broker| {
        let yaml = raw_yaml(broker, "regrows", "", "")
            .replace("trigger: availableNow", "trigger: { processingTime: 50 ms }")
            .replace("maxAttempts: 3", "maxAttempts: 500");
        let running = Alluvia::run(&yaml, folder.path());
        running.wait_for("\"endOffset\":{\"regrows\":{\"0\":100}}", BOUND);
        program = Some(running);
    });
    let (Some(_broker), Some(program)) = (broker, program) else { return };
    let ended = program.wait(BOUND);
    assert_eq!(ended.code(), 6, "{}", ended.stderr);
    // Whether the stream looks before the log has grown again is chance; that it goes on is not.
    assert!(ended.stderr.lines().last().unwrap().contains("LOG_TRUNCATED"), "{}", ended.stderr);
    assert_eq!(table_rows(folder.path()), 100);
}

#[test]
fn an_end_that_an_open_transaction_holds_back_is_no_loss() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("held-back", 1);
    broker.produce(&topic, numbered("a", 0..5));
    let open = broker.transaction(&format!("{topic}-tx"));
    open.produce(&topic, numbered("b", 0..5));
    let folder = tempfile::tempdir().unwrap();
    run(&raw_yaml(broker, &topic, "", ""), folder.path());
    assert_eq!(table_rows(folder.path()), 10);
    // The last stable offset is 5, before the offset that is next.
    run(&raw_yaml(broker, &topic, ", kafka.isolation.level: read_committed", ""), folder.path());
    assert_eq!((table_rows(folder.path()), lost_ranges(folder.path())), (10, Vec::new()));
    open.commit();
}

#[test]
fn a_topic_taken_out_of_subscribe_is_not_called_deleted() {
    let Some(broker) = Broker::shared() else { return };
    let (one, two) = (broker.topic("unsubscribed-a", 1), broker.topic("unsubscribed-b", 1));
    let folder = tempfile::tempdir().unwrap();
    broker.produce(&one, numbered("a", 0..1));
    run(&raw_yaml(broker, &one, "", ""), folder.path());
    broker.produce(&two, numbered("b", 0..1));
    run(&raw_yaml(broker, &format!("{one},{two}"), "", ""), folder.path());
    broker.produce(&one, numbered("a", 1..2));
    broker.produce(&two, numbered("b", 1..2));
    let yaml = raw_yaml(broker, &two, "", "");
    let started = Instant::now();
    stops(
        &yaml,
        folder.path(),
        &["no longer has partition", &format!("{one}-0"), "offset 1", "put the topic back"],
    );
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    run(&tolerant(&yaml), folder.path());
    assert_eq!(values(folder.path()), [names("a", 0..1), names("b", 0..2)].concat());
    assert_eq!(lost_ranges(folder.path()), [format!("{one}-0 [1, 1)")]);
    let dead = delta_rows(&folder.path().join("dead"), &["errorMessage"]);
    assert!(!dead[0]["errorMessage"].as_str().unwrap().contains("deleted"), "{dead:?}");
}

#[test]
fn a_partition_that_is_added_is_read_from_its_start_and_a_topic_that_vanishes_is_recorded() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (grows, leaves) = (broker.topic("grows", 1), broker.topic("leaves", 1));
    broker.produce(&grows, numbered("a", 0..10));
    broker.produce(&leaves, numbered("b", 0..10));
    let yaml = raw_yaml(broker, &format!("{grows},{leaves}"), ", kafka.metadata.max.age.ms: '500'", "")
        .replace("trigger: availableNow", "trigger: { processingTime: 50 ms }");
    let program = Alluvia::run(&tolerant(&yaml), folder.path());
    program.wait_for("\"endOffset\":{", BOUND);
    broker.add_partitions(&grows, 2);
    broker.produce(&grows, (0..5).map(|n| Message::new(format!("c{n:04}")).partition(1)));
    until("the added partition", BOUND, || program.stderr().contains("\"1\":5").then_some(()));
    broker.delete_topic(&leaves);
    until("a commit that records the loss", BOUND, || (!lost_ranges(folder.path()).is_empty()).then_some(()));
    program.terminate();
    let ended = program.wait(BOUND).success();
    assert_eq!(ended.stderr.matches("going on, because failOnDataLoss").count(), 1, "{}", ended.stderr);
    assert_eq!(values(folder.path()), [names("a", 0..10), names("b", 0..10), names("c", 0..5)].concat());
    assert_eq!(lost_ranges(folder.path()), [format!("{leaves}-0 [10, 10)")]);
    assert_eq!(codes(folder.path()), ["OFFSETS_LOST"]);
}

#[test]
fn retention_that_overtakes_the_stream_stops_it_or_is_recorded() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("overtaken", 1);
    let yaml = raw_yaml(broker, &topic, "", "");
    broker.produce(&topic, numbered("v", 0..40));
    run(&yaml, folder.path());
    broker.produce(&topic, numbered("v", 40..100));
    broker.delete_records(&topic, 0, Offset::Offset(60));
    stops(
        &yaml,
        folder.path(),
        &["offset 40", &format!("{topic}-0"), "retention start 60", "[40, 60)", "failOnDataLoss"],
    );
    run(&tolerant(&yaml), folder.path());
    assert_eq!(values(folder.path()), [names("v", 0..40), names("v", 60..100)].concat());
    assert_eq!(lost_ranges(folder.path()), [format!("{topic}-0 [40, 60)")]);
    assert_eq!(codes(folder.path()), ["OFFSETS_LOST"]);
    run(&yaml, folder.path());
}

#[test]
#[cfg(any(debug_assertions, feature = "failpoints"))]
fn a_loss_found_before_a_crash_is_recorded_after_it() {
    let Some(broker) = Broker::shared() else { return };
    for point in ["plan.after", "files.after", "letters.after", "sink.after"] {
        let folder = tempfile::tempdir().unwrap();
        let topic = broker.topic("loss-crash", 1);
        let yaml = raw_yaml(broker, &topic, "", "");
        broker.produce(&topic, numbered("old", 0..10));
        run(&yaml, folder.path());
        broker.delete_topic(&topic);
        broker.create_topic(&topic, 1, &[]);
        broker.produce(&topic, numbered("new", 0..5));
        let kill = format!("{point}=kill@1");
        let killed =
            Alluvia::run_with(&tolerant(&yaml), folder.path(), &[("ALLUVIA_FAILPOINTS", &kill)]).wait(BOUND);
        assert!(!killed.status.success(), "{point}: {}", killed.stderr);
        run(&yaml, folder.path());
        assert_eq!(lost_ranges(folder.path()), [format!("{topic}-0 [10, 10)")], "{point}");
        assert_eq!(codes(folder.path()), ["OFFSETS_LOST"], "{point}");
        assert_eq!(table_rows(folder.path()), 15, "{point}");
    }
}

#[test]
fn transactions_are_read_as_the_isolation_level_says_and_the_stream_ends() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("transactions", 1);
    for (name, commits) in [("a", true), ("b", false), ("c", true), ("d", false)] {
        let transaction = broker.transaction(&format!("{topic}-tx"));
        transaction.produce(&topic, numbered(name, 0..20));
        if commits { transaction.commit() } else { transaction.abort() }
    }
    let open = broker.transaction(&format!("{topic}-open"));
    open.produce(&topic, numbered("e", 0..20));
    broker.produce(&topic, numbered("f", 0..20));
    let all = |names_of: &[&str]| names_of.iter().flat_map(|name| names(name, 0..20)).collect::<Vec<_>>();
    for limit in ["", ", maxOffsetsPerTrigger: 7"] {
        let folder = tempfile::tempdir().unwrap();
        run(&raw_yaml(broker, &topic, limit, ""), folder.path());
        assert_eq!(values(folder.path()), all(&["a", "b", "c", "d", "e", "f"]), "{limit}");
        let folder = tempfile::tempdir().unwrap();
        let committed = format!("{limit}, kafka.isolation.level: read_committed");
        run(&raw_yaml(broker, &topic, &committed, ""), folder.path());
        assert_eq!(values(folder.path()), all(&["a", "c"]), "{limit}: up to the open transaction");
    }
    let folder = tempfile::tempdir().unwrap();
    let yaml = raw_yaml(broker, &topic, ", kafka.isolation.level: read_committed", "");
    run(&yaml, folder.path());
    open.commit();
    until("what the transaction held back", BOUND, || {
        run(&yaml, folder.path());
        (values(folder.path()) == all(&["a", "c", "e", "f"])).then_some(())
    });
    assert_eq!(lost_ranges(folder.path()), [""; 0], "markers and aborted records are no loss");
}

#[test]
#[cfg(any(debug_assertions, feature = "failpoints"))]
fn a_planned_batch_is_run_with_the_isolation_level_that_it_was_planned_with() {
    let Some(broker) = Broker::shared() else { return };
    let levels = ["read_uncommitted", "read_committed"];
    for (planned, then, rows) in
        [(levels[0], levels[1], vec!["a", "b", "d"]), (levels[1], levels[0], vec!["a", "c", "d"])]
    {
        let (folder, topic) = (tempfile::tempdir().unwrap(), broker.topic("isolation", 1));
        let transactions = |named: [(&str, bool); 2], end| {
            for (name, commits) in named {
                let transaction = broker.transaction(&format!("{topic}-tx"));
                transaction.produce(&topic, numbered(name, 0..20));
                if commits { transaction.commit() } else { transaction.abort() }
            }
            let markers = || (broker.offsets(&topic)[&0].1 == end).then_some(());
            until("the markers of transactions", BOUND, markers);
        };
        let yaml = |level: &str| raw_yaml(broker, &topic, &format!(", kafka.isolation.level: {level}"), "");
        transactions([("a", true), ("b", false)], 42);
        let kill = [("ALLUVIA_FAILPOINTS", "plan.after=kill@1")];
        assert!(!Alluvia::run_with(&yaml(planned), folder.path(), &kill).wait(BOUND).status.success());
        transactions([("c", false), ("d", true)], 84);
        let ended = Alluvia::run(&yaml(then), folder.path()).wait(BOUND).success();
        let all: Vec<_> = rows.iter().flat_map(|name| names(name, 0..20)).collect();
        assert_eq!(values(folder.path()), all, "{planned}, then {then}: {}", ended.stderr);
    }
}

#[test]
fn a_compacted_topic_ends_though_most_of_its_offsets_are_gone() {
    let Some(broker) = Broker::shared() else { return };
    let topic = "faults-compacted";
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "1048576"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "0"),
        ("min.compaction.lag.ms", "0"),
    ];
    broker.create_topic(topic, 1, &configs);
    let keyed = |n: u32| Message::new(format!("v{n:04}")).key(format!("k{}", n % 7)).partition(0);
    broker.produce(topic, (0..500).map(keyed));
    std::thread::sleep(Duration::from_millis(300));
    broker.produce(topic, (0..7).map(|n| Message::tombstone(format!("k{n}")).partition(0)));
    std::thread::sleep(Duration::from_millis(300));
    // The tail is a transaction that was aborted: markers only.
    let transaction = broker.transaction("faults-compacted-tx");
    transaction.produce(topic, [Message::new("aborted").key("x").partition(0)]);
    transaction.abort();
    until("compaction", BOUND, || {
        let folder = tempfile::tempdir().unwrap();
        run(
            &raw_yaml(
                broker,
                topic,
                ", kafka.isolation.level: read_committed, maxOffsetsPerTrigger: 100",
                "",
            ),
            folder.path(),
        );
        assert_eq!(lost_ranges(folder.path()), [""; 0]);
        (table_rows(folder.path()) < 100).then_some(())
    });
}

#[test]
fn messages_at_the_size_limit_of_the_topic_arrive_whole() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = "faults-large";
    broker.create_topic(topic, 1, &[("max.message.bytes", "8000000")]);
    let sizes = [10, 7_900_000, 1_000_000, 7_900_000, 3];
    broker.produce(topic, sizes.map(|size| Message::new(vec![b'x'; size]).partition(0)));
    run(&raw_yaml(broker, topic, "", "    memoryLimit: 64m\n"), folder.path());
    let query = format!(
        "SELECT offset, length(value) AS bytes FROM delta.`{}` ORDER BY offset",
        folder.path().join("table").display()
    );
    let found: Vec<usize> =
        crate::rig::spark_sql(&query).iter().map(|row| row["bytes"].as_u64().unwrap() as usize).collect();
    assert_eq!(found, sizes);
}

/// A stream over a listener with a login.
fn login_yaml(bootstrap: &str, topic: &str, login: &str, trigger: &str) -> String {
    format!(
        "streams:
  - name: login
    source:
      format: kafka
      options:
        kafka.bootstrap.servers: '{bootstrap}'
        subscribe: '{topic}'
        startingOffsets: earliest
{login}
    sink: {{ format: delta, path: ./table }}
    trigger: {trigger}
    checkpointLocation: ./checkpoint
    restart: {{ maxAttempts: 30, backoff: 100 ms }}
"
    )
}

fn scram(password: &str) -> String {
    format!(
        "        kafka.security.protocol: SASL_PLAINTEXT
        kafka.sasl.mechanism: SCRAM-SHA-512
        kafka.sasl.jaas.config: 'org.apache.kafka.common.security.scram.ScramLoginModule required username=\"alice\" password=\"{password}\";'"
    )
}

fn event_hubs(broker: &Broker, password: &str) -> String {
    format!(
        "        kafka.security.protocol: SASL_SSL
        kafka.sasl.mechanism: PLAIN
        kafka.ssl.ca.location: '{}'
        kafka.sasl.jaas.config: 'org.apache.kafka.common.security.plain.PlainLoginModule required username=\"$ConnectionString\" password=\"{password}\";'",
        broker.fact("/ca")
    )
}

#[test]
fn a_wrong_password_is_said_at_once_and_never_printed() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("logins", 1);
    broker.produce(&topic, numbered("v", 0..5));
    let secret = "SharedAccessKey-not-the-password";
    let (scram_at, hubs_at) = (broker.fact("/bootstrap/scram"), broker.fact("/bootstrap/eventhubs"));
    for (bootstrap, login) in [(scram_at, scram(secret)), (hubs_at, event_hubs(broker, secret))] {
        let folder = tempfile::tempdir().unwrap();
        let yaml = login_yaml(bootstrap, &topic, &login, "availableNow");
        let environment = [("ALLUVIA_LOG", "debug")];
        let ended = Alluvia::run_with(&yaml, folder.path(), &environment).wait(Duration::from_secs(30));
        assert_eq!(ended.code(), 2, "{}", ended.stderr);
        assert!(ended.stderr.contains("kafka.sasl.jaas.config"), "{}", ended.stderr);
        assert!(!ended.stderr.contains(secret) && !ended.stdout.contains(secret), "{}", ended.stderr);
    }
    let right = [
        (scram_at, scram(broker.fact("/scram/password"))),
        (hubs_at, event_hubs(broker, broker.fact("/eventhubs/password"))),
    ];
    for (bootstrap, login) in right {
        let folder = tempfile::tempdir().unwrap();
        run(&login_yaml(bootstrap, &topic, &login, "availableNow"), folder.path());
        assert_eq!(table_rows(folder.path()), 5);
    }
}

#[test]
fn a_password_that_is_revoked_under_a_running_stream_stops_it() {
    let Some(mut broker) = Broker::private() else { return };
    let topic = broker.topic("revoked", 1);
    broker.produce(&topic, numbered("v", 0..5));
    let folder = tempfile::tempdir().unwrap();
    let login = scram(broker.fact("/scram/password"));
    let yaml = login_yaml(broker.fact("/bootstrap/scram"), &topic, &login, "{ processingTime: 50 ms }");
    let program = Alluvia::run(&yaml, folder.path());
    program.wait_for("\"endOffset\":{", BOUND);
    let mut revoke = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rig/kafka"));
    revoke.args(["tool", "--dir"]).arg(broker.home()).args(["configs", "--alter", "--entity-type", "users"]);
    revoke.args(["--entity-name", "alice", "--delete-config", "SCRAM-SHA-512"]).stdout(Stdio::null());
    assert!(revoke.status().unwrap().success(), "the user could not be revoked");
    // Connections outlive their user's revocation, but not the broker's restart.
    broker.kill();
    broker.start();
    let ended = program.wait(BOUND);
    assert_eq!(ended.code(), 2, "{}", ended.stderr);
    assert!(ended.stderr.lines().last().unwrap().contains("kafka.sasl.jaas.config"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("alice-secret"));
}
