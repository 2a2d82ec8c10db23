//! Streams that keep state: windows, watermarks and deduplication, killed and started again, with and without the local copy
//! of their state. What is in the table is what an unbroken run writes.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use alluvia::failpoint::{NAMES, STATE_NAMES};
use serde_json::Value;

use crate::exactly_once::zombie::{asleep, left, sleeps_or_ends, started};
use crate::rig::{Alluvia, Broker, Message, delta_rows};
use crate::scene::each;

const BOUND: Duration = Duration::from_secs(120);
/// 2024-01-01 00:00:00 UTC in seconds.
const EPOCH: u64 = 1_704_067_200;

/// Events of three devices over `minutes` minutes, in disorder of at most 40 seconds, every tenth sent twice.
fn events(minutes: u64) -> Vec<Message> {
    let mut all = Vec::new();
    for n in 0..minutes * 20 {
        let at = EPOCH + n * 3 - (n * 7919 % 40).min(n * 3);
        let time =
            format!("2024-01-01T{:02}:{:02}:{:02}Z", (at - EPOCH) / 3600, (at - EPOCH) / 60 % 60, at % 60);
        let event = format!(r#"{{"id":"e{n}","device":"d{}","v":{}.25,"ts":"{time}"}}"#, n % 3, n % 17);
        for _ in 0..1 + u64::from(n % 10 == 0) {
            all.push(Message::new(event.clone()).partition((n % 2) as i32));
        }
    }
    all
}

/// A last event that closes every window before it.
pub(super) fn closing() -> [Message; 2] {
    [0, 1].map(|partition| {
        let event = format!(r#"{{"id":"end{partition}","device":"end","v":0,"ts":"2024-01-02T00:00:00Z"}}"#);
        Message::new(event).partition(partition)
    })
}

/// A topic of events and a query that keeps state over it.
#[derive(Clone)]
pub struct Scene {
    bootstrap: String,
    pub(super) topic: String,
    query: String,
}

/// Windows over deduplicated events: two operators in a row.
pub const WINDOWS: &str = "      watermark: { eventTime: ts, delayThreshold: 1 minute }
      dropDuplicates: [id, ts]
    sql: |
      SELECT window.start AS start, device, count(*) AS n, avg(v) AS mean
      FROM input GROUP BY window(ts, '1 minute'), device
";
/// Deduplication alone.
pub const DISTINCT: &str = "      watermark: { eventTime: ts, delayThreshold: 2 minutes }
      dropDuplicatesWithinWatermark: [id]
";

impl Scene {
    pub fn new(broker: &Broker, hint: &str, query: &str) -> Scene {
        let scene = Scene::empty(broker, hint, query);
        broker.produce(&scene.topic, events(40));
        broker.produce(&scene.topic, closing());
        scene
    }

    /// One whose topic has no events yet.
    pub(super) fn empty(broker: &Broker, hint: &str, query: &str) -> Scene {
        let topic = broker.topic(hint, 2);
        Scene { bootstrap: broker.bootstrap().to_owned(), topic, query: query.to_owned() }
    }

    pub fn yaml(&self) -> String {
        format!(
            "streams:
  - name: kept
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{}', subscribe: '{}', startingOffsets: earliest, maxOffsetsPerTrigger: 150 }}
      value: {{ format: json, schema: 'id STRING, device STRING, v DOUBLE, ts TIMESTAMP' }}
{}    sink: {{ format: delta, path: ./table }}
    trigger: availableNow
    checkpointLocation: ./checkpoint
    minBatchesToRetain: 2
    lanes: 2
",
            self.bootstrap, self.topic, self.query
        )
    }

    fn run(&self, folder: &Path, what: &str) {
        let ended = Alluvia::run(&self.yaml(), folder).wait(BOUND);
        assert_eq!(ended.code(), 0, "{what}: {}", ended.stderr);
    }

    /// Runs with a failpoint that kills; whether it was passed.
    fn killed_at(&self, folder: &Path, name: &str, hit: u64) -> bool {
        let arm = format!("{name}=kill@{hit}");
        let ended = Alluvia::run_with(&self.yaml(), folder, &[("ALLUVIA_FAILPOINTS", &arm)]).wait(BOUND);
        let killed = ended.status.signal() == Some(libc::SIGKILL);
        assert!(killed || ended.status.success(), "{arm}: {}\n{}", ended.status, ended.stderr);
        killed
    }

    fn columns(&self) -> &'static [&'static str] {
        if self.query.contains("GROUP BY") {
            &["start", "device", "n", "mean"]
        } else {
            &["id", "device", "v", "ts"]
        }
    }

    pub(super) fn rows(&self, folder: &Path) -> Vec<String> {
        self.rows_by(|columns| delta_rows(&folder.join("table"), columns))
    }

    /// The rows of a table that is read by `read`, which is given the columns, in a fixed order.
    pub fn rows_by(&self, read: impl Fn(&[&str]) -> Vec<Value>) -> Vec<String> {
        let mut rows: Vec<String> = read(self.columns()).iter().map(Value::to_string).collect();
        rows.sort();
        rows
    }
}

/// How many events the windows in these rows have counted.
fn counted(rows: &[Value]) -> i64 {
    rows.iter().map(|row| row["n"].as_i64().unwrap()).sum()
}

/// The progress of each micro-batch that a process has told.
pub(super) fn progress(stderr: &str) -> Vec<Value> {
    let lines = stderr.lines().filter(|line| line.contains("\"event\":\"progress\""));
    lines.map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

#[test]
fn windows_close_once_and_late_duplicates_are_counted_once() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "windows", WINDOWS);
    let folder = tempfile::tempdir().unwrap();
    let ended = Alluvia::run(&scene.yaml(), folder.path()).wait(BOUND);
    let ended = ended.success();
    let rows = delta_rows(&folder.path().join("table"), scene.columns());
    assert_eq!(counted(&rows), 40 * 20, "each event once");
    let mut keys: Vec<String> =
        rows.iter().map(|row| format!("{} {}", row["start"], row["device"])).collect();
    let all = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), all, "each window of a device once");
    assert!(!ended.stderr.contains("\"target\":\"log\""), "a library's line: {}", ended.stderr);
    // The progress says what Spark's says.
    let progress = progress(&ended.stderr);
    let last = progress.last().expect("a line of progress");
    assert!(last["eventTime"]["watermark"].as_str().unwrap() > "2024-01-01T00:30", "{last}");
    let names: Vec<&str> = last["stateOperators"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| o["operatorName"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["stateStoreSave", "dedupe"]);
    let duplicates: u64 = progress
        .iter()
        .map(|p| p["stateOperators"][1]["customMetrics"]["numDroppedDuplicateRows"].as_u64().unwrap())
        .sum();
    assert_eq!(duplicates, 40 * 2);
}

#[test]
fn keys_of_more_than_64_kb_are_state_like_any_other() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::empty(broker, "long", "      dropDuplicates: [id]\n");
    let folder = tempfile::tempdir().unwrap();
    let same = "x".repeat(70_000);
    for what in ["no state", "the local copy", "the checkpoint"] {
        let event = |end: &str| {
            let id = format!("{same}{end}");
            Message::new(format!(r#"{{"id":"{id}","device":"d","v":1,"ts":"2024-01-01T00:00:00Z"}}"#))
        };
        broker.produce(&scene.topic, ["a", "b", "a"].map(event));
        scene.run(folder.path(), what);
        let mut ends: Vec<String> = delta_rows(&folder.path().join("table"), &["id"])
            .iter()
            .map(|row| row["id"].as_str().unwrap().replace(&same, ""))
            .collect();
        ends.sort();
        assert_eq!(ends, ["a", "b"], "with {what}");
        if what == "the local copy" {
            fs::remove_dir_all(folder.path().join("checkpoint/alluvia/state")).unwrap();
        }
    }
}

#[test]
fn a_batch_that_does_not_fit_in_memory_is_cut() {
    let Some(broker) = Broker::shared() else { return };
    let dedupe = "      dropDuplicates: [id, ts]\n";
    let scene = Scene::empty(broker, "cut", dedupe);
    let event = |n: u32| Message::new(format!(r#"{{"id":"e{}","ts":"2024-01-01T00:00:00Z"}}"#, n % 30_000));
    broker.produce(&scene.topic, (0..60_000).map(event));
    let watermark = "      watermark: { eventTime: ts, delayThreshold: 1 minute }\n";
    for query in [dedupe.to_owned(), format!("{watermark}{dedupe}")] {
        let folder = tempfile::tempdir().unwrap();
        let scene = Scene { query, ..scene.clone() };
        let yaml = scene.yaml().replace(", maxOffsetsPerTrigger: 150", "");
        let yaml = yaml.replace("    sink:", "    memoryLimit: 32m\n    sink:");
        let ended = Alluvia::run(&yaml, folder.path()).wait(BOUND).success();
        let rows = progress(&ended.stderr);
        let with_rows = rows.iter().filter(|batch| batch["numInputRows"] != 0).count();
        assert_eq!(with_rows, 2, "{}", ended.stderr);
        assert_eq!(delta_rows(&folder.path().join("table"), &["id"]).len(), 30_000);
    }
}

#[test]
fn a_kill_at_every_step_gives_the_rows_of_an_unbroken_run() {
    let Some(broker) = Broker::shared() else { return };
    for (hint, query) in [("kept", WINDOWS), ("once", DISTINCT)] {
        let scene = Scene::new(broker, hint, query);
        let unbroken = tempfile::tempdir().unwrap();
        scene.run(unbroken.path(), "the unbroken run");
        let expected = scene.rows(unbroken.path());
        assert!(expected.len() > 50, "{} rows", expected.len());
        let own = ["state.before", "state.after", "state.committed"];
        let shared = ["plan.after", "files.after", "sink.before", "sink.after", "log.after"];
        let known = |name: &&str| NAMES.contains(name) || STATE_NAMES.contains(name);
        let cases: Vec<(&str, u64)> = own
            .iter()
            .chain(&shared)
            .filter(|name| known(name))
            .flat_map(|name| [(*name, 1), (*name, 3)])
            .collect();
        assert_eq!(cases.len(), 16);
        each(&cases, |(name, hit)| {
            let folder = tempfile::tempdir().unwrap();
            assert!(scene.killed_at(folder.path(), name, *hit), "{name}@{hit} was never reached");
            // In half of the restarts the disk with the local copy is lost.
            if hit % 2 == 1 && name.len() % 2 == 0 {
                let _ = fs::remove_dir_all(folder.path().join("checkpoint/alluvia/state"));
            }
            scene.run(folder.path(), name);
            assert_eq!(scene.rows(folder.path()), expected, "after a kill at {name}@{hit}");
        });
    }
}

#[test]
fn a_batch_without_data_that_is_run_again_reads_no_record_again() {
    let Some(broker) = Broker::shared() else { return };
    let query = "      watermark: { eventTime: ts, delayThreshold: 1 minute }
    sql: SELECT window.start AS start, device, count(*) AS n, avg(v) AS mean FROM input GROUP BY window(ts, '1 minute'), device
";
    let scene = Scene::empty(broker, "added", query);
    let event = |n: u32, partition: i32| {
        let event = format!(r#"{{"id":"e{n}","device":"d","v":1,"ts":"2024-01-01T00:{:02}:00Z"}}"#, n % 60);
        Message::new(event).partition(partition)
    };
    let folder = tempfile::tempdir().unwrap();
    broker.produce(&scene.topic, (0..10).map(|n| event(n, (n % 2) as i32)));
    scene.run(folder.path(), "the first partitions");
    // The batch that reads a new partition notes where that begins, and the next one, without data, moves the watermark.
    broker.add_partitions(&scene.topic, 3);
    broker.produce(&scene.topic, (10..30).map(|n| event(n, 2)));
    assert!(scene.killed_at(folder.path(), "plan.after", 2), "no batch without data was planned");
    scene.run(folder.path(), "after the kill");
    broker.produce(&scene.topic, closing());
    scene.run(folder.path(), "the end");
    let rows = delta_rows(&folder.path().join("table"), scene.columns());
    assert_eq!((rows.len(), counted(&rows)), (30, 30), "{rows:?}");
}

#[test]
fn a_woken_zombie_does_not_touch_the_state_of_its_successor() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "frozen_state", WINDOWS);
    let unbroken = tempfile::tempdir().unwrap();
    scene.run(unbroken.path(), "the unbroken run");
    let expected = scene.rows(unbroken.path());
    let sleeps = ["files.after", "state.before", "state.after", "sink.after", "state.committed", "log.after"];
    let wakes = [None, Some("state.before"), Some("state.after"), Some("state.committed"), Some("log.after")];
    let pairs = |sleep: &'static str| wakes.into_iter().map(move |wake| (sleep, wake));
    let cases: Vec<_> = sleeps.into_iter().flat_map(pairs).collect();
    each(&cases, |(sleep, wake)| {
        let what = format!("zombie at {sleep}, successor at {}", wake.unwrap_or("its end"));
        let folder = tempfile::tempdir().unwrap();
        let mut zombie = started(&scene.yaml(), folder.path(), Some((sleep, 2)));
        asleep(&mut zombie, &what);
        let mut successor = started(&scene.yaml(), folder.path(), wake.map(|at| (at, 1)));
        let both = sleeps_or_ends(&mut successor, &what);
        assert_eq!(both, wake.is_some(), "{what}");
        zombie.resume();
        let zombie = zombie.wait(BOUND);
        if both {
            successor.resume();
        }
        let successor = successor.wait(BOUND);
        assert_eq!(successor.code(), 0, "{what}: the successor was stopped:\n{}", successor.stderr);
        left(zombie, &what);
        assert_eq!(scene.rows(folder.path()), expected, "{what}");
        // The files of both runs of a batch are there; a start takes those of the run that was committed.
        let _ = fs::remove_dir_all(folder.path().join("checkpoint/alluvia/state"));
        scene.run(folder.path(), &what);
        assert_eq!(scene.rows(folder.path()), expected, "{what}, after a start without the local copy");
    });
}

#[test]
fn a_changed_query_on_old_state_is_refused_and_nothing_is_changed() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "changed", WINDOWS);
    let folder = tempfile::tempdir().unwrap();
    scene.run(folder.path(), "the first run");
    let before = scene.rows(folder.path());
    let other = scene.yaml().replace("count(*) AS n, avg(v) AS mean", "count(*) AS n, max(device) AS mean");
    let by_id = scene.yaml().replace("start, device, count", "start, id AS device, count");
    let by_id = by_id.replace("'1 minute'), device", "'1 minute'), id");
    let keys = "window.end TIMESTAMP, id STRING) now";
    for (other, reason) in [(other, "avg(v) became max(device)"), (by_id, keys)] {
        let ended = Alluvia::run(&other, folder.path()).wait(BOUND);
        assert_eq!(ended.code(), 2, "{}", ended.stderr);
        assert!(ended.stderr.contains("state") && ended.stderr.contains(reason), "{}", ended.stderr);
    }
    // A filter is not part of the state.
    let filtered = scene.yaml().replace("FROM input GROUP BY", "FROM input WHERE v >= 0 GROUP BY");
    Alluvia::run(&filtered, folder.path()).wait(BOUND).success();
    assert_eq!(scene.rows(folder.path()), before);
}

#[test]
fn a_change_by_which_keys_would_not_be_found_is_refused_and_nothing_is_changed() {
    let Some(broker) = Broker::shared() else { return };
    let watermark = "      watermark: { eventTime: ts, delayThreshold: 1 minute }\n";
    let dedupe = "      dropDuplicates: [id, ts]\n";
    let scene = Scene::new(broker, "moved", &format!("{watermark}{dedupe}"));
    let windows = Scene { query: WINDOWS.to_owned(), ..scene.clone() };
    let complete = windows.yaml().replace("    sink:", "    outputMode: complete\n    sink:");
    let longer = windows.yaml().replace("'1 minute')", "'2 minutes')");
    let of_sessions = WINDOWS
        .replace("window.start", "session_window.start")
        .replace("window(ts, '1 minute')", "session_window(ts, '10 seconds')");
    let sessions = Scene { query: of_sessions, ..scene.clone() };
    let all_sessions = sessions.yaml().replace("    sink:", "    outputMode: complete\n    sink:");
    let cases = [
        (
            &scene,
            scene.yaml().replace(watermark, ""),
            "the watermark was added, removed or declared on another",
        ),
        (&scene, scene.yaml().replace(dedupe, ""), "the stream keeps no state now"),
        (&windows, complete, "has forgotten what the watermark had passed"),
        (&sessions, all_sessions, "has forgotten what the watermark had passed"),
        (&windows, longer, "the windows of GROUP BY were of 1 minute, and are of 2 minutes now"),
    ];
    for (scene, changed, reason) in cases {
        let folder = tempfile::tempdir().unwrap();
        scene.run(folder.path(), "the first run");
        let before = scene.rows(folder.path());
        let ended = Alluvia::run(&changed, folder.path()).wait(BOUND);
        assert_eq!(ended.code(), 2, "{}", ended.stderr);
        assert!(ended.stderr.contains(reason), "{reason}: {}", ended.stderr);
        scene.run(folder.path(), "the query as it was");
        assert_eq!(scene.rows(folder.path()), before);
    }
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_made() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("refused_state", 1);
    let cases = [
        (
            "    sql: SELECT device, count(*) AS n FROM input GROUP BY device\n",
            "outputMode append needs a watermark",
        ),
        (
            "    sql: SELECT device, count(*) AS n FROM input GROUP BY device\n    outputMode: update\n",
            "add sink.merge",
        ),
        ("    outputMode: complete\n", "outputMode complete needs an aggregation"),
        (
            "    sql: SELECT a.device FROM input a JOIN input b ON a.id = b.id\n",
            "joins the stream with a stream",
        ),
    ];
    for (more, reason) in cases {
        let folder = tempfile::tempdir().unwrap();
        let scene =
            Scene { bootstrap: broker.bootstrap().to_owned(), topic: topic.clone(), query: String::new() };
        let yaml = scene.yaml().replace("    sink:", &format!("{more}    sink:"));
        let ended = Alluvia::run(&yaml, folder.path()).wait(BOUND);
        assert_eq!(ended.code(), 2, "{}", ended.stderr);
        assert!(ended.stderr.contains(reason), "{reason}: {}", ended.stderr);
        assert!(!folder.path().join("checkpoint").exists() && !folder.path().join("table").exists());
    }
    // A table that can't be replaced as a whole.
    let count =
        "    sql: SELECT device, count(*) AS n FROM input GROUP BY device\n    outputMode: complete\n";
    let scene = Scene { bootstrap: broker.bootstrap().to_owned(), topic, query: count.to_owned() };
    for property in ["delta.appendOnly", "delta.enableChangeDataFeed"] {
        let folder = tempfile::tempdir().unwrap();
        let with = format!("path: ./table, tableProperties: {{ {property}: 'true' }} }}");
        let ended = Alluvia::run(&scene.yaml().replace("path: ./table }", &with), folder.path()).wait(BOUND);
        assert_eq!(ended.code(), 2, "{}", ended.stderr);
        let reason = "outputMode complete can't replace the rows of table";
        assert!(ended.stderr.contains(reason) && ended.stderr.contains(property), "{}", ended.stderr);
        assert!(!folder.path().join("table").exists(), "nothing is made");
    }
}

#[test]
fn update_of_a_query_without_state_is_refused_by_delta_as_in_spark() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = "streams: [{name: s, source: {format: rate}, sql: SELECT value FROM input, outputMode: update, \
                trigger: once, sink: {format: delta, path: ./table}, checkpointLocation: ./checkpoint}]";
    let ended = Alluvia::run(yaml, folder.path()).wait(BOUND);
    assert_eq!(ended.code(), 2, "{}", ended.stderr);
    let said = "the delta sink does not support outputMode update without sink.merge";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    assert!(!folder.path().join("table").exists(), "nothing is made");
}

#[test]
fn complete_replaces_the_table_and_update_changes_its_rows() {
    let Some(broker) = Broker::shared() else { return };
    let count = "    sql: SELECT device, count(*) AS n, max(v) AS most FROM input GROUP BY device\n";
    let complete = format!("{count}    outputMode: complete\n");
    let update = format!("{count}    outputMode: update\n");
    let scene = Scene::new(broker, "modes", "");
    let expected = |device: u64| {
        let own: Vec<u64> = (0..40 * 20).filter(|n| n % 3 == device).collect();
        let sent: usize = own.iter().map(|n| 1 + usize::from(n % 10 == 0)).sum();
        format!(
            r#"{{"device":"d{device}","n":{sent},"most":{}.25}}"#,
            own.iter().map(|n| n % 17).max().unwrap()
        )
    };
    let mut all: Vec<String> = (0..3).map(expected).collect();
    all.push(r#"{"device":"end","n":2,"most":0.0}"#.to_owned());
    all.sort();
    for (more, merge) in [(&complete, ""), (&update, ", merge: { keys: [device], whenMatched: update }")] {
        let folder = tempfile::tempdir().unwrap();
        let yaml = scene.yaml().replace(
            "    sink: { format: delta, path: ./table }",
            &format!("{more}    sink: {{ format: delta, path: ./table{merge} }}"),
        );
        for name in ["state.after", "sink.after"] {
            let arm = format!("{name}=kill@2");
            let ended = Alluvia::run_with(&yaml, folder.path(), &[("ALLUVIA_FAILPOINTS", &arm)]).wait(BOUND);
            assert_eq!(ended.status.signal(), Some(libc::SIGKILL), "{}", ended.stderr);
        }
        Alluvia::run(&yaml, folder.path()).wait(BOUND).success();
        let mut rows: Vec<String> = delta_rows(&folder.path().join("table"), &["device", "n", "most"])
            .iter()
            .map(Value::to_string)
            .collect();
        rows.sort();
        assert_eq!(rows, all, "{more}");
    }
}

#[test]
fn settings_of_spark_say_which_watermark_counts_and_whether_batches_without_data_run() {
    let Some(broker) = Broker::shared() else { return };
    let windows = |conf: &str, from: &str| {
        let views = "    views:
      - { name: fast, sql: 'SELECT * FROM input', watermark: { eventTime: ts, delayThreshold: 1 second } }
      - { name: slow, sql: 'SELECT * FROM input', watermark: { eventTime: ts, delayThreshold: 40 days } }
";
        let query = format!(
            "{views}    sql: |
      SELECT window.start AS start, device, count(*) AS n, avg(v) AS mean FROM ({from}) GROUP BY window(ts, '1 minute'), device
    conf: {{ {conf} }}
"
        );
        let scene = Scene::new(broker, "settings", &query);
        let folder = tempfile::tempdir().unwrap();
        let ended = Alluvia::run(&scene.yaml(), folder.path()).wait(BOUND).success();
        let table = folder.path().join("table");
        let rows = if table.exists() { delta_rows(&table, scene.columns()).len() } else { 0 };
        let empty = progress(&ended.stderr).iter().filter(|p| p["numInputRows"] == 0).count();
        (rows, empty)
    };
    let policy = |policy: &str| format!("spark.sql.streaming.multipleWatermarkPolicy: {policy}");
    let both = "SELECT * FROM fast UNION ALL SELECT * FROM slow";
    let (slowest, _) = windows(&policy("min"), both);
    let (fastest, _) = windows(&policy("max"), both);
    assert!(
        slowest == 0 && fastest > 0,
        "{slowest} windows behind the slowest watermark, {fastest} behind the fastest"
    );
    let one = "SELECT * FROM fast";
    let (with, batches) = windows("spark.sql.streaming.noDataMicroBatches.enabled: true", one);
    assert!(batches == 1 && with > 0, "{batches} batches without data, {with} windows");
    let (without, batches) = windows("spark.sql.streaming.noDataMicroBatches.enabled: false", one);
    assert!(
        batches == 0 && without < with,
        "{batches} batches without data, {without} windows and {with} with one"
    );
}

#[test]
fn one_wrong_clock_closes_no_window() {
    let Some(broker) = Broker::shared() else { return };
    let wrong = r#"{"id":"wrong","device":"d0","v":1,"ts":"2999-01-01T00:00:00Z"}"#;
    let guarded =
        WINDOWS.replace("delayThreshold: 1 minute", "delayThreshold: 1 minute, maxFutureSkew: 1 hour");
    for (query, hint) in [(guarded.as_str(), "guarded"), (WINDOWS, "unguarded")] {
        let scene = Scene::empty(broker, hint, query);
        broker.produce(&scene.topic, [Message::new(wrong.to_owned()).partition(0)]);
        broker.produce(&scene.topic, events(40));
        broker.produce(&scene.topic, closing());
        let folder = tempfile::tempdir().unwrap();
        let ended = Alluvia::run(&scene.yaml(), folder.path()).wait(BOUND).success();
        let rows = delta_rows(&folder.path().join("table"), scene.columns());
        let future = progress(&ended.stderr).iter().filter_map(|p| p["alluvia"]["futureRows"].as_u64()).sum();
        let (events, future): (i64, u64) = (counted(&rows), future);
        match hint {
            "guarded" => assert_eq!((events, future), (40 * 20, 1)),
            _ => assert!(
                events < 40 * 20 && future == 0,
                "Spark's rule: what follows is late, {events} events"
            ),
        }
    }
}

#[test]
fn a_quiet_stream_closes_its_windows() {
    let Some(broker) = Broker::shared() else { return };
    let query =
        WINDOWS.replace("delayThreshold: 1 minute", "delayThreshold: 1 minute, idleTimeout: 1 second");
    let scene = Scene::empty(broker, "quiet", &query);
    broker.produce(&scene.topic, events(40));
    let yaml = scene.yaml().replace("trigger: availableNow", "trigger: { processingTime: 100 ms }");
    let folder = tempfile::tempdir().unwrap();
    let program = Alluvia::run(&yaml, folder.path());
    program.wait_for("\"watermarkMovedByClock\":true", BOUND);
    let rows = delta_rows(&folder.path().join("table"), scene.columns());
    assert_eq!(counted(&rows), 40 * 20, "no event came that could close the last windows");
    // What comes now is late, and a stream without state waits for nothing.
    broker.produce(&scene.topic, events(1).into_iter().take(1));
    program.wait_for("\"numRowsDroppedByWatermark\":1", BOUND);
    program.terminate();
    let ended = program.wait(BOUND).success();
    let moved = progress(&ended.stderr);
    let moved = moved.iter().filter(|p| p["alluvia"]["watermarkMovedByClock"] == true).count();
    assert_eq!(moved, 1);
    let late = delta_rows(&folder.path().join("table"), scene.columns());
    assert_eq!(counted(&late), 40 * 20);
}
