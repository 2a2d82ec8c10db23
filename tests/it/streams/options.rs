//! What a stream file can ask for: triggers, start positions, subscriptions, schemas that grow, several streams.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::Value;

use crate::rig::{Alluvia, Broker, Message, delta_log, delta_rows};

const BOUND: Duration = Duration::from_secs(60);

/// A stream of `{"n": INT}` messages with these Kafka options and further keys.
fn yaml(broker: &Broker, options: &str, keys: &str) -> String {
    format!(
        "streams:
  - name: numbers
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{}', {options} }}
      value: {{ format: json, schema: 'n INT', keep: [topic, partition, offset] }}
    sink: {{ format: delta, path: ./table }}
    checkpointLocation: ./checkpoint
{keys}",
        broker.bootstrap()
    )
}

/// The time of number 0: an hour ago, which the broker's retention leaves alone.
static START_MS: LazyLock<i64> = LazyLock::new(|| {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap() - 3_600_000
});

fn numbers(range: std::ops::Range<i64>, partition: i32) -> Vec<Message> {
    range
        .map(|n| Message::new(format!(r#"{{"n":{n}}}"#)).partition(partition).timestamp_ms(*START_MS + n))
        .collect()
}

fn run(yaml: &str, folder: &Path) -> String {
    Alluvia::run(yaml, folder).wait(BOUND).success().stderr
}

fn read(folder: &Path) -> Vec<i64> {
    let rows = delta_rows(&folder.join("table"), &["n", "topic"]);
    let mut all: Vec<i64> = rows.iter().map(|row| row["n"].as_i64().expect("n is a number")).collect();
    all.sort_unstable();
    all
}

/// The progress lines that a run has said.
fn progress(stderr: &str) -> Vec<Value> {
    let lines = stderr.lines().filter(|line| line.starts_with(r#"{"event":"progress""#));
    lines.map(|line| serde_json::from_str(line).expect("progress is JSON")).collect()
}

#[test]
fn once_takes_all_there_is_in_one_batch_and_available_now_keeps_the_limit() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("triggers", 2);
    broker.produce(&topic, numbers(0..60, 0).into_iter().chain(numbers(60..100, 1)));
    let options = format!("subscribe: '{topic}', startingOffsets: earliest, maxOffsetsPerTrigger: 10");
    let once = tempfile::tempdir().unwrap();
    let said = progress(&run(&yaml(broker, &options, "    trigger: once\n"), once.path()));
    assert_eq!(said.iter().map(|p| p["numInputRows"].as_i64().unwrap()).collect::<Vec<_>>(), [100]);
    let now = tempfile::tempdir().unwrap();
    let said = progress(&run(&yaml(broker, &options, "    trigger: availableNow\n"), now.path()));
    assert_eq!(said.iter().map(|p| p["numInputRows"].as_i64().unwrap()).collect::<Vec<_>>(), [10; 10]);
    // Spark's split: six of ten from the partition that holds sixty of a hundred.
    assert_eq!(said[0]["sources"][0]["endOffset"][&topic], serde_json::json!({"0": 6, "1": 4}));
    assert_eq!(read(now.path()), (0..100).collect::<Vec<_>>());
    assert_eq!(read(once.path()), read(now.path()));
}

#[test]
fn a_second_run_without_new_messages_writes_nothing() {
    let Some(broker) = Broker::shared() else { return };
    let (topic, folder) = (broker.topic("nothing_new", 1), tempfile::tempdir().unwrap());
    broker.produce(&topic, numbers(0..5, 0));
    let file = yaml(
        broker,
        &format!("subscribe: '{topic}', startingOffsets: earliest"),
        "    trigger: availableNow\n",
    );
    run(&file, folder.path());
    let version = delta_log(&folder.path().join("table"))["version"].clone();
    assert!(progress(&run(&file, folder.path())).is_empty());
    assert_eq!(delta_log(&folder.path().join("table"))["version"], version);
}

#[test]
fn streams_start_where_they_are_told() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("starts", 2);
    broker.produce(&topic, numbers(0..10, 0).into_iter().chain(numbers(10..20, 1)));
    let at = |n: i64| *START_MS + n;
    let starts: [(String, Vec<i64>); 5] = [
        (
            format!(r#"subscribe: '{topic}', startingOffsets: '{{"{topic}":{{"0":7,"1":-1}}}}'"#),
            vec![7, 8, 9],
        ),
        (
            format!("subscribe: '{topic}', startingTimestamp: {}", at(8)),
            vec![8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19],
        ),
        (
            format!(
                r#"subscribe: '{topic}', startingOffsetsByTimestamp: '{{"{topic}":{{"0":{},"1":{}}}}}'"#,
                at(9),
                at(18)
            ),
            vec![9, 18, 19],
        ),
        (
            format!(
                "subscribe: '{topic}', startingTimestamp: {}, startingOffsetsByTimestampStrategy: latest",
                at(15)
            ),
            vec![15, 16, 17, 18, 19],
        ),
        (format!(r#"assign: '{{"{topic}":[1]}}', startingOffsets: earliest"#), (10..20).collect()),
    ];
    for (options, expected) in starts {
        let folder = tempfile::tempdir().unwrap();
        run(&yaml(broker, &options, "    trigger: availableNow\n"), folder.path());
        assert_eq!(read(folder.path()), expected, "{options}");
    }
    let folder = tempfile::tempdir().unwrap();
    let late = yaml(
        broker,
        &format!("subscribe: '{topic}', startingTimestamp: {}", at(15)),
        "    trigger: availableNow\n",
    );
    let refused = Alluvia::run(&late, folder.path()).wait(BOUND);
    assert_eq!(refused.code(), 2, "{}", refused.stderr);
    assert!(refused.stderr.contains(&format!("{topic}-0")), "{}", refused.stderr);
}

#[test]
fn a_pattern_and_several_topics_are_read_into_one_table() {
    let Some(broker) = Broker::shared() else { return };
    let (a, b) = (broker.topic("pattern_a", 1), broker.topic("pattern_b", 1));
    broker.produce(&a, numbers(0..3, 0));
    broker.produce(&b, numbers(3..6, 0));
    for options in [format!("subscribe: '{a}, {b}'"), format!("subscribePattern: '^({a}|{b})$'")] {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("{options}, startingOffsets: earliest, minPartitions: 4");
        run(&yaml(broker, &options, "    trigger: availableNow\n"), folder.path());
        assert_eq!(read(folder.path()), [0, 1, 2, 3, 4, 5], "{options}");
    }
}

#[test]
fn too_few_offsets_wait_for_more_or_for_the_delay() {
    let Some(broker) = Broker::shared() else { return };
    let (topic, folder) = (broker.topic("min_offsets", 1), tempfile::tempdir().unwrap());
    let options = format!(
        "subscribe: '{topic}', startingOffsets: earliest, minOffsetsPerTrigger: 50, maxTriggerDelay: 15m"
    );
    let program =
        Alluvia::run(&yaml(broker, &options, "    trigger: { processingTime: 50 ms }\n"), folder.path());
    // The first batch waits for nothing, as in Spark.
    broker.produce(&topic, numbers(0..5, 0));
    program.wait_for(&format!(r#""endOffset":{{"{topic}":{{"0":"#), BOUND);
    let first = progress(&program.stderr())[0]["sources"][0]["endOffset"][&topic]["0"].as_i64().unwrap();
    broker.produce(&topic, numbers(5..first + 49, 0));
    broker.produce(&topic, numbers(first + 49..200, 0));
    program.wait_for(r#""0":200}}"#, BOUND);
    program.terminate();
    let said = progress(&program.wait(BOUND).success().stderr);
    assert!(said.iter().skip(1).all(|p| p["numInputRows"].as_i64().unwrap() >= 50), "{said:?}");
    assert_eq!(read(folder.path()), (0..200).collect::<Vec<_>>());
}

#[test]
fn merge_schema_adds_columns_and_table_properties_are_set() {
    let Some(broker) = Broker::shared() else { return };
    let (topic, folder) = (broker.topic("merge_schema", 1), tempfile::tempdir().unwrap());
    broker.produce(&topic, [Message::new(r#"{"n":1,"m":"x","s":{"a":1}}"#)]);
    let with =
        "sink: { format: delta, path: ./table, tableProperties: { delta.appendOnly: 'true', owner: me } }";
    let base = yaml(
        broker,
        &format!("subscribe: '{topic}', startingOffsets: earliest"),
        "    trigger: availableNow\n",
    );
    run(&base.replace("sink: { format: delta, path: ./table }", with), folder.path());
    let configuration = delta_log(&folder.path().join("table"))["configuration"].clone();
    assert_eq!(configuration, serde_json::json!({"delta.appendOnly": "true", "owner": "me"}));
    broker.produce(&topic, [Message::new(r#"{"n":2,"m":"y","s":{"a":2}}"#)]);
    let wider = base.replace("'n INT'", "'n INT, m STRING, s STRUCT<a: INT>'").replace(
        "sink: { format: delta, path: ./table }",
        "sink: { format: delta, path: ./table, options: { mergeSchema: true } }",
    );
    run(&wider, folder.path());
    let rows = delta_rows(&folder.path().join("table"), &["n", "m", "s.a"]);
    let seen: Vec<_> =
        rows.iter().map(|row| (row["n"].as_i64(), row["m"].as_str().map(str::to_owned))).collect();
    assert_eq!(seen, [(Some(1), None), (Some(2), Some("y".to_owned()))]);
}

#[test]
fn streams_of_one_process_do_not_take_each_other_down() {
    let Some(broker) = Broker::shared() else { return };
    let (topic, folder) = (broker.topic("several", 1), tempfile::tempdir().unwrap());
    broker.produce(&topic, numbers(0..10, 0));
    let good = yaml(
        broker,
        &format!("subscribe: '{topic}', startingOffsets: earliest"),
        "    trigger: availableNow\n",
    );
    let bad = good
        .replace("streams:\n", "")
        .replace("name: numbers", "name: missing")
        .replace(&format!("'{topic}'"), "'no-such-topic'")
        .replace("./table", "./table2")
        .replace("./checkpoint", "./checkpoint2");
    let ended = Alluvia::run(&format!("{good}{bad}"), folder.path()).wait(BOUND);
    assert_eq!(ended.code(), 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("stream missing: topic no-such-topic does not exist"), "{}", ended.stderr);
    assert_eq!(read(folder.path()), (0..10).collect::<Vec<_>>());
}

#[test]
fn ingest_from_flags_is_the_stream_that_print_config_prints() {
    let Some(broker) = Broker::shared() else { return };
    let (topic, folder) = (broker.topic("flags", 1), tempfile::tempdir().unwrap());
    broker.produce(&topic, numbers(0..10, 0));
    let flags = [
        "ingest",
        "--bootstrap-servers",
        broker.bootstrap(),
        "--topic",
        &topic,
        "--schema",
        "n INT",
        "--table",
        "./table",
    ];
    let printed = Alluvia::start(flags.iter().chain(&["--print-config"]), folder.path(), &[])
        .wait(BOUND)
        .success()
        .stdout;
    assert!(!folder.path().join("table").exists());
    Alluvia::start(flags, folder.path(), &[]).wait(BOUND).success();
    broker.produce(&topic, numbers(10..12, 0));
    run(&printed, folder.path());
    let rows = delta_rows(&folder.path().join("table"), &["n"]);
    assert_eq!(rows.len(), 12);
}
