//! Streams with `sql`: what Spark's SELECT makes of a topic is in the table, once, whatever happens.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::rig::{Alluvia, Broker, Message, delta_digest, delta_log, delta_rows};

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
fn static_files_are_read_as_spark_reads_them() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("folders", 1);
    for (place, text) in [
        ("csv/c=DE/n=1/f.csv", "a,2024-01-01 10:00:00,x,too,long\nb\n"),
        ("csv/c=__HIVE_DEFAULT_PARTITION__/n=2147483648/f.csv", "c,2024-07-01 10:00:00,x\n"),
        ("json/f.json", "{\"k\":\"a\",\"at\":\"2024-01-01 10:00:00\"}\n"),
    ] {
        let path = folder.path().join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    broker.produce(&topic, ["a", "b", "c"].map(|device| Message::new(json!({"device": device}).to_string())));
    let more = "    tables:
      c: { format: csv, path: ./csv, schema: 'k STRING, ts TIMESTAMP, x STRING' }
      j: { format: json, path: ./json, schema: 'k STRING, at TIMESTAMP' }
    conf: { spark.sql.session.timeZone: Europe/Berlin }
    sql: |
      SELECT device, unix_seconds(ts) AS ts, x, c.c AS country, n, unix_seconds(at) AS at
      FROM input JOIN c ON device = c.k LEFT JOIN j ON device = j.k
";
    run(&yaml(broker, &topic, "device STRING", more), folder.path());
    let mut found = rows(folder.path(), &["device", "ts", "x", "country", "n", "at"]);
    found.sort_by_key(|row| row["device"].to_string());
    assert_eq!(
        found,
        [
            json!({"device": "a", "ts": 1_704_099_600, "x": "x", "country": "DE", "n": 1, "at": 1_704_099_600}),
            json!({"device": "b", "ts": null, "x": null, "country": "DE", "n": 1, "at": null}),
            json!({"device": "c", "ts": 1_719_820_800, "x": "x", "country": null, "n": 2_147_483_648_u64, "at": null}),
        ]
    );
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
        "Inner join on k = device",
        "d [k, site], read again when it changes",
        "exactly once",
        "none: every micro-batch is computed by itself",
    ] {
        assert!(plan.contains(line), "{line} is not in\n{plan}");
    }
    let all = command(&["explain", "stream.yaml", "--verbose"]);
    assert!(all.contains("HashJoinExec") && !plan.contains("Exec"), "{plan}\n{all}");
    let rows = command(&["sql", "stream.yaml", "--sample", "10", "--output", "json"]);
    let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected: Vec<Value> = [1, 3, 5, 7].iter().map(|t| json!({"t": t, "site": "north"})).collect();
    assert_eq!(rows, expected);
    let shown =
        command(&["sql", "stream.yaml", "--sample", "4", "--query", "SELECT device AS Device FROM input"]);
    assert_eq!(shown.matches("d0").count(), 2, "{shown}");
    assert!(shown.contains("|Device|"), "{shown}");
    // A trial runs over the sample as over a table: append would need a watermark.
    let grouped = "SELECT device, count(*) AS n FROM input GROUP BY device ORDER BY device DESC";
    for (query, expected) in [
        ("SELECT count(*) AS n FROM input", "{\"n\":10}"),
        (grouped, "{\"device\":\"d1\",\"n\":5}\n{\"device\":\"d0\",\"n\":5}"),
    ] {
        let shown = command(&["sql", "stream.yaml", "--sample", "10", "--output", "json", "--query", query]);
        assert_eq!(shown, expected, "{query}");
    }
    assert!(!folder.path().join("checkpoint").exists() && !folder.path().join("table").exists());
}

const LETTERS: &str = "    deadLetter: { format: delta, path: ./dead }\n";

/// The (partition, offset) of each row of a table, in order.
fn places(folder: &Path, table: &str) -> Vec<(i64, i64)> {
    let rows = delta_rows(&folder.join(table), &["partition", "offset"]);
    let number = |row: &Value, column: &str| row[column].as_i64().unwrap();
    let mut places: Vec<_> =
        rows.iter().map(|row| (number(row, "partition"), number(row, "offset"))).collect();
    places.sort_unstable();
    places
}

/// A topic of two partitions; the records at 0:1 and 1:0 hold texts that are no numbers.
fn numbers(broker: &Broker) -> String {
    let topic = broker.topic("numbers", 2);
    let texts = [(0, "1"), (0, "secret"), (0, "3"), (1, "classified"), (1, "5")];
    broker.produce(
        &topic,
        texts.map(|(partition, text)| Message::new(json!({"a": text}).to_string()).partition(partition)),
    );
    topic
}

const CAST: &str = "    sql: SELECT partition, offset, CAST(a AS INT) * 2 AS twice FROM input\n";

#[test]
fn a_record_for_which_an_expression_fails_is_a_dead_letter_and_the_others_are_rows() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = numbers(broker);
    run(&yaml(broker, &topic, "a STRING", &format!("{CAST}{LETTERS}")), folder.path());
    assert_eq!(places(folder.path(), "table"), [(0, 0), (0, 2), (1, 1)]);
    assert_eq!(places(folder.path(), "dead"), [(0, 1), (1, 0)]);
    for letter in delta_rows(&folder.path().join("dead"), &[]) {
        assert_eq!((&letter["topic"], &letter["errorCode"]), (&json!(topic), &json!("EXPRESSION_FAILED")));
        let message = letter["errorMessage"].as_str().unwrap();
        assert_eq!(message, "CAST_INVALID_INPUT: the text is not a valid INT, in CAST(a AS INT)");
        assert!(!letter["value"].is_null(), "the whole record is kept: {letter}");
    }
}

#[test]
fn a_record_that_becomes_too_much_is_a_dead_letter_and_the_others_are_rows() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("too-much", 1);
    let message = |bytes: usize, elements: usize, at: &str| {
        let value = json!({"a": "x".repeat(bytes), "r": vec![1; elements], "at": at});
        Message::new(value.to_string())
    };
    let (now, last) = ("2026-01-01T00:00:00Z", "294247-01-10T04:00:54.775807Z");
    let mut messages = vec![message(1, 2, now), message(800_000, 4_000, now), message(1, 1, last)];
    messages.extend((0..4).map(|_| message(100_000, 100, now)));
    broker.produce(&topic, messages);
    let sql = "    sql: SELECT offset, a, x, window(at, '1 minute').end AS until FROM input LATERAL VIEW explode(r) AS x\n";
    let yaml = yaml(broker, &topic, "a STRING, r ARRAY<INT>, at TIMESTAMP", &format!("{sql}{LETTERS}"));
    run(&yaml.replace(", maxOffsetsPerTrigger: 2", ""), folder.path());
    let rows = delta_digest(&folder.path().join("table"), &["offset", "x"]).rows;
    assert_eq!(rows, 2 + 4 * 100);
    let mut letters: Vec<(i64, String)> = delta_rows(&folder.path().join("dead"), &[])
        .iter()
        .map(|letter| {
            let message = letter["errorMessage"].as_str().unwrap();
            (letter["offset"].as_i64().unwrap(), message.split(':').next().unwrap().to_owned())
        })
        .collect();
    letters.sort();
    assert_eq!(letters, [(1, "RESULT_TOO_LARGE".to_owned()), (2, "ARITHMETIC_OVERFLOW".to_owned())]);
}

/// What may be made of a record follows from `memoryLimit`, which is part of the definition.
#[cfg(any(debug_assertions, feature = "failpoints"))]
#[test]
fn a_memory_limit_changed_between_a_crash_and_the_restart_leaves_every_record_in_one_place() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("less-memory", 1);
    let message = |bytes: usize, elements: usize| {
        Message::new(json!({"a": "x".repeat(bytes), "r": vec![1; elements]}).to_string())
    };
    broker.produce(&topic, [message(1, 2), message(800_000, 25), message(800_000, 2)]);
    let sql = "    sql: SELECT offset, a, x FROM input LATERAL VIEW explode(r) AS x\n";
    let stream = yaml(broker, &topic, "a STRING, r ARRAY<INT>", &format!("{sql}{LETTERS}"));
    let ample = stream.replace(", maxOffsetsPerTrigger: 2", "");
    let small = ample.replace("trigger:", "memoryLimit: 64 MiB\n    trigger:");
    for (first, second, rows, letters) in [
        (&small, &small, 2 + 2, &[(0, 1)][..]),
        (&small, &ample, 2 + 25 + 2, &[]),
        (&ample, &small, 2 + 2, &[(0, 1)]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        crate::scene::killed_at(first, folder.path(), "sink.before");
        run(second, folder.path());
        assert_eq!(delta_digest(&folder.path().join("table"), &["offset", "x"]).rows, rows);
        assert_eq!(places(folder.path(), "dead"), letters);
    }
}

#[test]
fn without_dead_letters_the_stream_stops_and_names_record_and_expression_but_no_value() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("stops", 1);
    broker.produce(&topic, ["1", "secret", "3"].map(|text| Message::new(json!({"a": text}).to_string())));
    for (sql, class, expression) in [
        (CAST, "CAST_INVALID_INPUT", "CAST(a AS INT)"),
        (
            "    sql: SELECT offset FROM input WHERE 10 / (offset - 1) > 0\n",
            "DIVIDE_BY_ZERO",
            "(10 / CAST((offset - 1) AS DOUBLE))",
        ),
        (
            "    sql: SELECT element_at(split(a, ','), 2) AS second FROM input WHERE offset = 1\n",
            "INVALID_ARRAY_INDEX_IN_ELEMENT_AT",
            "element_at(split(a, ,), 2)",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let ended = Alluvia::run(&yaml(broker, &topic, "a STRING", sql), folder.path()).wait(BOUND);
        assert_eq!(ended.code(), 6, "{sql}: {}", ended.stderr);
        let record = format!("record at offset 1 of partition {topic}-0 is refused: EXPRESSION_FAILED");
        for part in [record.as_str(), class, &format!("in {expression}"), "set deadLetter"] {
            assert!(ended.stderr.contains(part), "{sql}: {part} is not in\n{}", ended.stderr);
        }
        assert!(!ended.stderr.contains("secret"), "{sql}: {}", ended.stderr);
    }
}

#[test]
fn without_ansi_an_expression_that_fails_gives_null_and_no_record_is_rejected() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = numbers(broker);
    let more = format!("{CAST}{LETTERS}    conf: {{ spark.sql.ansi.enabled: false }}\n");
    run(&yaml(broker, &topic, "a STRING", &more), folder.path());
    let found = rows(folder.path(), &["partition", "offset", "twice"]);
    let of = |partition: i64, offset: i64| {
        let row = found.iter().find(|row| row["partition"] == partition && row["offset"] == offset);
        row.unwrap_or_else(|| panic!("no row of {partition}:{offset}"))["twice"].clone()
    };
    assert_eq!(found.len(), 5);
    assert_eq!([of(0, 0), of(0, 1), of(1, 0), of(1, 1)], [json!(2), Value::Null, Value::Null, json!(10)]);
    assert!(places(folder.path(), "dead").is_empty(), "there are dead letters");
}

#[test]
fn a_row_of_a_query_that_the_table_cannot_take_is_the_dead_letter_of_its_own_record() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("rejected", 1);
    // Of five records the first two are filtered out, and the fourth has a value that fits into no path.
    let long = "x".repeat(400);
    let values = [("no", 0), ("no", 0), ("a", 1), (long.as_str(), 1), ("b", 1)];
    broker.produce(
        &topic,
        values.map(|(d, n)| Message::new(json!({"d": d, "n": n, "list": [1, 2, 3]}).to_string())),
    );
    for (sql, rows) in [
        ("SELECT d, partition, offset FROM input WHERE n > 0", vec![2, 4]),
        ("SELECT d, partition, offset FROM input JOIN t ON n = k", vec![2, 4]),
        (
            "SELECT d, partition, offset, x FROM input LATERAL VIEW explode(list) AS x WHERE n > 0",
            vec![2, 2, 2, 4, 4, 4],
        ),
        (
            "SELECT 'other' AS d, partition, offset FROM input WHERE n = 0 UNION ALL SELECT d, partition, offset FROM input WHERE n > 0",
            vec![0, 1, 2, 4],
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("t.json"), "{\"k\": 1}\n").unwrap();
        let more = format!(
            "{LETTERS}    tables: {{ t: {{ format: json, path: t.json, schema: 'k INT' }} }}\n    sql: {}\n",
            json!(sql)
        );
        let stream = yaml(broker, &topic, "d STRING, n INT, list ARRAY<INT>", &more)
            .replace("path: ./table", "path: ./table, partitionBy: [d]")
            .replace("maxOffsetsPerTrigger: 2", "maxOffsetsPerTrigger: 100");
        run(&stream, folder.path());
        let expected: Vec<(i64, i64)> = rows.into_iter().map(|offset| (0, offset)).collect();
        assert_eq!(places(folder.path(), "table"), expected, "{sql}");
        assert_eq!(places(folder.path(), "dead"), [(0, 3)], "{sql}");
    }
}

#[test]
fn rows_that_a_query_makes_many_of_are_merged_and_grouped_by_the_offsets_of_their_records() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("exploded", 1);
    let values = [(0, vec![7]), (1, vec![1, 2, 3, 4]), (2, vec![3, 4, 5, 6]), (3, vec![6])];
    broker.produce(&topic, values.map(|(n, ids)| Message::new(json!({"n": n, "ids": ids}).to_string())));
    let all = yaml(broker, &topic, "n INT, ids ARRAY<INT>", "")
        .replace("maxOffsetsPerTrigger: 2", "maxOffsetsPerTrigger: 100");
    let merged = tempfile::tempdir().unwrap();
    let sql = "    sql: SELECT id, n FROM input LATERAL VIEW explode(ids) AS id WHERE n > 0\n";
    let stream =
        all.replace("path: ./table", "path: ./table, merge: { keys: [id], whenMatched: update }") + sql;
    run(&stream, merged.path());
    let newest = |row: &Value| (row["id"].as_i64().unwrap(), row["n"].as_i64().unwrap());
    let mut found: Vec<_> = rows(merged.path(), &["id", "n"]).iter().map(newest).collect();
    found.sort_unstable();
    assert_eq!(found, [(1, 1), (2, 1), (3, 2), (4, 2), (5, 2), (6, 3)]);
    let grouped = tempfile::tempdir().unwrap();
    let sql =
        "    sql: SELECT id, count(*) AS n FROM input LATERAL VIEW explode(ids) AS id WHERE n > 0 GROUP BY id
    outputMode: complete\n";
    run(&(all + sql), grouped.path());
    let mut found: Vec<_> = rows(grouped.path(), &["id", "n"]).iter().map(newest).collect();
    found.sort_unstable();
    assert_eq!(found, [(1, 1), (2, 1), (3, 2), (4, 2), (5, 1), (6, 2)]);
}
