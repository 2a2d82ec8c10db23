//! Streams with `sql`: what Spark's SELECT makes of a topic is in the table, once, whatever happens.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::rig::{Alluvia, Broker, Message, delta_log, delta_rows};

const BOUND: Duration = Duration::from_secs(120);

/// A stream over `topic` with more keys behind it.
fn yaml(broker: &Broker, topic: &str, schema: &str, more: &str) -> String {
    format!(
        "streams:
  - name: queried
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{}', subscribe: '{topic}', startingOffsets: earliest, maxOffsetsPerTrigger: 2 }}
      value: {{ format: json, schema: '{schema}', keep: [topic, partition, offset] }}
    sink: {{ format: delta, path: ./table }}
    trigger: availableNow
    checkpointLocation: ./checkpoint
{more}",
        broker.bootstrap()
    )
}

fn run(yaml: &str, folder: &Path) {
    Alluvia::run(yaml, folder).wait(BOUND).success();
}

fn rows(folder: &Path, columns: &[&str]) -> Vec<Value> {
    delta_rows(&folder.join("table"), columns)
}

#[test]
fn a_query_filters_renames_and_joins_views_and_the_table_has_its_columns() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("queried", 1);
    let messages =
        (0..7).map(|n| Message::new(format!(r#"{{"Device":"d{}","t":{n},"o":{{"Site":"s"}}}}"#, n % 2)));
    broker.produce(&topic, messages);
    let more = "    views:
      - name: warm
        sql: SELECT * FROM input WHERE T > 1
    sql: |
      SELECT DEVICE AS theDevice, t, o.site, offset FROM Warm WHERE device = 'd1'
      UNION ALL
      SELECT device, t, 'other', offset FROM warm WHERE device <> \"d1\"
";
    run(
        &yaml(broker, &topic, "Device STRING, t INT, unread DOUBLE, o STRUCT<Site: STRING>", more),
        folder.path(),
    );
    let found = rows(folder.path(), &["theDevice", "t", "site", "offset"]);
    let expected: Vec<Value> = (2..7)
        .map(|n| json!({"theDevice": format!("d{}", n % 2), "t": n, "site": if n % 2 == 1 { "s" } else { "other" }, "offset": n}))
        .collect();
    let mut sorted = found;
    sorted.sort_by_key(|row| row["t"].as_i64());
    assert_eq!(sorted, expected);
}

#[test]
fn a_query_that_a_stream_cannot_answer_is_refused_at_start_with_its_reason() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("refused", 1);
    for (sql, reason) in [
        (
            "SELECT DISTINCT a FROM input",
            "outputMode append needs a watermark on one of the keys of GROUP BY",
        ),
        ("SELECT a FROM input ORDER BY a", "sql sorts the stream"),
        ("SELECT a FROM input LIMIT 3 OFFSET 1", "sql has OFFSET"),
        ("SELECT x.a FROM input x JOIN input y ON x.a = y.a", "sql joins the stream with a stream"),
        ("SELECT d.k FROM d LEFT JOIN input ON d.k = a", "keeps rows of the static table"),
        ("SELECT b FROM input", "UNRESOLVED_COLUMN: there is no column b (the nearest name is a)"),
        ("SELECT a FROM inputs", "there is no table or view inputs"),
        ("SELECT nosuch(a) FROM input", "UNRESOLVED_ROUTINE: there is no function nosuch"),
        ("SELECT a, a FROM input", "sql gives two columns named a"),
        ("SELECT a FROM (input", "PARSE_SYNTAX_ERROR"),
        ("SELECT a + 1 FROM input", "sql gives a column named (a + 1)"),
        ("SELECT k FROM d", "sql does not read the stream"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("d.json"), "{\"k\": \"x\"}\n").unwrap();
        let more = format!(
            "    tables: {{ d: {{ format: json, path: d.json, schema: 'k STRING' }} }}\n    sql: {}\n",
            json!(sql)
        );
        let ended = Alluvia::run(&yaml(broker, &topic, "a STRING", &more), folder.path()).wait(BOUND);
        assert_eq!(ended.code(), 2, "{sql}: {}", ended.stderr);
        assert!(ended.stderr.contains(reason), "{sql}: {}", ended.stderr);
        assert!(!folder.path().join("table").exists(), "{sql}: a table was made");
    }
}

/// A stream that joins `devices`, a Delta table that another stream writes, and sends failing records away.
fn joined(broker: &Broker, topic: &str) -> String {
    let more = "    tables:
      devices: { format: delta, path: ./devices }
    sql: |
      SELECT i.device, d.site, i.t, i.offset FROM input i LEFT JOIN devices d ON i.device = d.device
";
    yaml(broker, topic, "device STRING, t INT", more)
}

/// Adds rows to the table `devices`: another stream, over a topic of its own.
fn add_devices(broker: &Broker, folder: &Path, round: usize, devices: &[(&str, &str)]) {
    let topic = broker.topic("devices", 1);
    let messages = devices
        .iter()
        .map(|(device, site)| Message::new(json!({"device": device, "site": site}).to_string()));
    broker.produce(&topic, messages);
    let stream = yaml(broker, &topic, "device STRING, site STRING", "")
        .replace("./table", "./devices")
        .replace("name: queried", &format!("name: devices{round}"))
        .replace("./checkpoint", &format!("./checkpoint_devices{round}"));
    Alluvia::run(&stream, folder).wait(BOUND).success();
}

#[test]
fn a_static_table_is_read_again_when_it_changed_and_each_batch_is_joined_with_one_version() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("joined", 1);
    add_devices(broker, folder.path(), 0, &[("a", "north")]);
    broker.produce(
        &topic,
        ["a", "b"].map(|device| Message::new(json!({"device": device, "t": 1}).to_string())),
    );
    run(&joined(broker, &topic), folder.path());
    add_devices(broker, folder.path(), 1, &[("b", "south"), ("b", "east")]);
    broker.produce(
        &topic,
        ["b", "a"].map(|device| Message::new(json!({"device": device, "t": 2}).to_string())),
    );
    run(&joined(broker, &topic), folder.path());
    let mut found: Vec<String> = rows(folder.path(), &["device", "site", "t"])
        .iter()
        .map(|row| format!("{} {} {}", row["t"], row["device"].as_str().unwrap(), row["site"]))
        .collect();
    found.sort();
    assert_eq!(found, ["1 a \"north\"", "1 b null", "2 a \"north\"", "2 b \"east\"", "2 b \"south\""]);
    let plan = fs::read_to_string(folder.path().join("checkpoint/offsets/1")).unwrap();
    assert!(plan.contains("alluvia.tables") && plan.contains("devices"), "{plan}");
    assert_eq!(delta_log(&folder.path().join("table"))["partitionColumns"], json!([]));
}

#[cfg(any(debug_assertions, feature = "failpoints"))]
#[test]
fn a_table_that_changes_between_a_crash_and_the_restart_changes_nothing_of_the_planned_batch() {
    let Some(broker) = Broker::shared() else { return };
    // The batch is planned and durable from here on; what is joined must be what its plan says.
    let places = ["plan.after", "files.after", "sink.before", "sink.after", "log.after"];
    crate::scene::each(&places, |place| {
        let folder = tempfile::tempdir().unwrap();
        let topic = broker.topic("pinned", 1);
        add_devices(broker, folder.path(), 0, &[("a", "north")]);
        let produce = |t: i32| {
            let values = ["a", "b"].map(|device| Message::new(json!({"device": device, "t": t}).to_string()));
            broker.produce(&topic, values);
        };
        produce(1);
        let stream = joined(broker, &topic);
        crate::scene::killed_at(&stream, folder.path(), place);
        add_devices(broker, folder.path(), 1, &[("b", "south")]);
        produce(2);
        run(&stream, folder.path());
        let mut found: Vec<String> = rows(folder.path(), &["device", "site", "t"])
            .iter()
            .map(|row| format!("{} {} {}", row["t"], row["device"].as_str().unwrap(), row["site"]))
            .collect();
        found.sort();
        let expected = ["1 a \"north\"", "1 b null", "2 a \"north\"", "2 b \"south\""];
        assert_eq!(found, expected, "killed at {place}");
    });
}

#[test]
fn files_are_static_tables_too_and_one_that_is_too_large_is_refused_with_its_size() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("files", 1);
    fs::create_dir(folder.path().join("sites")).unwrap();
    fs::write(folder.path().join("sites/_SUCCESS"), "").unwrap();
    fs::write(folder.path().join("sites/part-0.json"), "{\"device\":\"a\",\"site\":\"north\"}\n").unwrap();
    broker.produce(
        &topic,
        ["a", "b"].map(|device| Message::new(json!({"device": device, "t": 1}).to_string())),
    );
    let more = "    tables: { sites: { format: json, path: ./sites, schema: 'device STRING, site STRING' } }
    sql: SELECT device, site, t FROM input JOIN sites USING (device)
";
    let stream = yaml(broker, &topic, "device STRING, t INT", more);
    run(&stream, folder.path());
    assert_eq!(
        rows(folder.path(), &["device", "site", "t"]),
        [json!({"device": "a", "site": "north", "t": 1})]
    );
    let wide = "x".repeat(1000);
    let many: String = (0..40_000).map(|n| format!("{{\"device\":\"{n}\",\"site\":\"{wide}\"}}\n")).collect();
    fs::write(folder.path().join("sites/part-1.json"), many).unwrap();
    broker.produce(&topic, [Message::new(r#"{"device":"a","t":2}"#)]);
    let small = stream.replace("trigger:", "memoryLimit: 64 MiB\n    trigger:");
    let ended = Alluvia::run(&small, folder.path()).wait(BOUND);
    assert_eq!(ended.code(), 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("at most 32 MiB are kept for a static table"), "{}", ended.stderr);
}

#[test]
fn explain_shows_what_is_decoded_and_computed_and_sql_runs_the_query_over_a_sample() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("tried", 1);
    fs::write(folder.path().join("d.json"), "{\"k\":\"d1\",\"site\":\"north\",\"unread\":1}\n").unwrap();
    broker.produce(&topic, (0..30).map(|n| Message::new(format!(r#"{{"device":"d{}","t":{n}}}"#, n % 2))));
    let more =
        "    tables: { d: { format: json, path: d.json, schema: 'k STRING, site STRING, unread INT' } }
    sql: SELECT t, site FROM input JOIN d ON device = k WHERE t < 8
";
    let file = yaml(broker, &topic, "device STRING, a INT, t INT, b DOUBLE", more);
    fs::write(folder.path().join("stream.yaml"), &file).unwrap();
    let command = |args: &[&str]| {
        let ended = Alluvia::start(args, folder.path(), &[]).wait(BOUND);
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        ended.stdout
    };
    let plan = command(&["explain", "stream.yaml"]);
    for line in [
        "json, 2 of 4 columns: device, t",
        "HashJoinExec",
        "d [k, site], read again when it changes",
        "exactly once",
        "none: every micro-batch is computed by itself",
    ] {
        assert!(plan.contains(line), "{line} is not in\n{plan}");
    }
    let rows = command(&["sql", "stream.yaml", "--sample", "10", "--output", "json"]);
    let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected: Vec<Value> = [1, 3, 5, 7].iter().map(|t| json!({"t": t, "site": "north"})).collect();
    assert_eq!(rows, expected);
    let shown =
        command(&["sql", "stream.yaml", "--sample", "4", "--query", "SELECT device AS Device FROM input"]);
    assert_eq!(shown.matches("d0").count(), 2, "{shown}");
    assert!(shown.contains("|Device|"), "{shown}");
    assert!(!folder.path().join("checkpoint").exists() && !folder.path().join("table").exists());
}
