//! What a table demands of a record is decided before anything is written: each record is a row or a dead letter, and
//! no record stops a stream that has a place for it. One test for each fault that was found from outside (issue 12).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::rig::{Alluvia, Broker, Ended, Message, delta_log, delta_rows, spark_count, spark_sql};

const BOUND: Duration = Duration::from_secs(120);
const LETTERS: &str = "    deadLetter: { format: delta, path: ./dead }\n";

/// A stream into `./table`; `value`, `sink` and `stream` are further keys.
fn yaml(broker: &Broker, topic: &str, value: &str, sink: &str, stream: &str) -> String {
    format!(
        "streams:
  - name: admitted
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{}', subscribe: '{topic}', startingOffsets: earliest }}
{value}    sink: {{ format: delta, path: ./table{sink} }}
    trigger: availableNow
    checkpointLocation: ./checkpoint
{stream}",
        broker.bootstrap()
    )
}

fn json_value(schema: &str, keep: &str) -> String {
    format!("      value: {{ format: json, schema: \"{schema}\", keep: [{keep}] }}\n")
}

fn topic_of<M: Into<Vec<u8>>>(broker: &Broker, hint: &str, messages: impl IntoIterator<Item = M>) -> String {
    let topic = broker.topic(hint, 1);
    broker.produce(&topic, messages.into_iter().map(Message::new));
    topic
}

fn run(yaml: &str, folder: &Path) -> Ended {
    Alluvia::run(yaml, folder).wait(BOUND).success()
}

/// What `alluvia run` and `alluvia check` say where both refuse.
fn refused_by_both(yaml: &str, folder: &Path) -> String {
    fs::write(folder.join("checked.yaml"), yaml).unwrap();
    let checked = Alluvia::start(["check", "checked.yaml"], folder, &[]).wait(BOUND);
    assert_eq!(checked.code(), 2, "check: {}{}", checked.stdout, checked.stderr);
    let ended = Alluvia::run(yaml, folder).wait(BOUND);
    assert_eq!(ended.code(), 2, "run: {}", ended.stderr);
    ended.stderr + &checked.stdout + &checked.stderr
}

/// Offset, code and field of each dead letter.
fn dead_letters(folder: &Path) -> Vec<(i64, String, String)> {
    if !folder.join("dead/_delta_log").exists() {
        return Vec::new();
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = delta_rows(&folder.join("dead"), &["offset", "errorCode", "errorField"]);
    rows.iter()
        .map(|row| (row["offset"].as_i64().unwrap(), text(&row["errorCode"]), text(&row["errorField"])))
        .collect()
}

fn letter(offset: i64, code: &str, field: &str) -> (i64, String, String) {
    (offset, code.to_owned(), field.to_owned())
}

fn create(folder: &Path, columns: &str, behind: &str) {
    let table = folder.join("table");
    spark_sql(&format!("CREATE TABLE delta.`{}` ({columns}) USING delta {behind}", table.display()));
}

/// The rows of the table as Spark reads them, by `id`.
fn spark_rows(folder: &Path) -> BTreeMap<i64, Value> {
    let rows = spark_sql(&format!("SELECT * FROM delta.`{}`", folder.join("table").display()));
    rows.into_iter().map(|row| (row["id"].as_i64().unwrap_or_default(), row)).collect()
}

#[test]
fn an_empty_text_in_a_not_null_partition_column_is_a_dead_letter() {
    let Some(broker) = Broker::shared() else { return };
    let messages = [
        r#"{"id":1,"status":"up"}"#,
        r#"{"id":2,"status":""}"#,
        r#"{"id":3}"#,
        r#"{"id":4,"status":"down"}"#,
    ];
    let topic = topic_of(broker, "empty-partition", messages);
    let folder = tempfile::tempdir().unwrap();
    let value = json_value("id INT, status STRING NOT NULL", "offset");
    run(&yaml(broker, &topic, &value, ", partitionBy: [status]", LETTERS), folder.path());
    let broken = |offset| letter(offset, "NOT_NULL_VIOLATION", "status");
    assert_eq!(dead_letters(folder.path()), [broken(1), broken(2)]);
    assert_eq!(spark_count(&folder.path().join("table")), 2);
    // Where the column may be null the empty text is null there, as the Delta protocol says.
    let folder = tempfile::tempdir().unwrap();
    let value = json_value("id INT, status STRING", "offset");
    run(&yaml(broker, &topic, &value, ", partitionBy: [status]", LETTERS), folder.path());
    assert_eq!((dead_letters(folder.path()), spark_count(&folder.path().join("table"))), (vec![], 4));
}

#[test]
fn keys_that_are_no_utf8_do_not_stop_a_stream_that_is_partitioned_by_them() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("binary-partition", 1);
    let keys: [&[u8]; 4] = [b"k", b"\xff\xfe", b"", "\u{e9}/%".as_bytes()];
    broker.produce(&topic, keys.map(|key| Message::new("v").key(key)));
    let folder = tempfile::tempdir().unwrap();
    run(&yaml(broker, &topic, "", ", partitionBy: [key]", LETTERS), folder.path());
    assert_eq!(dead_letters(folder.path()), [letter(1, "INVALID_PARTITION_VALUE", "key")]);
    let kept = delta_rows(&folder.path().join("dead"), &["key", "value"]);
    assert_eq!(kept, [json!({"key": "fffe", "value": "76"})]);
    assert_eq!(spark_count(&folder.path().join("table")), 3);
}

#[test]
fn partition_values_that_no_path_or_log_can_hold_are_dead_letters() {
    let Some(broker) = Broker::shared() else { return };
    let long = "x".repeat(300);
    for (column, good, bad) in [
        ("p DATE", "2026-02-03", "+999999-01-01"),
        ("p TIMESTAMP", "2026-02-03T04:05:06.5Z", "+294247-01-10T04:00:54.775Z"),
        ("p STRING", "a/b=c%", long.as_str()),
    ] {
        let messages = [good, bad, good].map(|p| json!({"id": 1, "p": p}).to_string());
        let topic = topic_of(broker, "path", messages);
        let folder = tempfile::tempdir().unwrap();
        let value = json_value(&format!("id INT, {column}"), "offset");
        let ended = run(&yaml(broker, &topic, &value, ", partitionBy: [p]", LETTERS), folder.path());
        assert_eq!(dead_letters(folder.path()), [letter(1, "INVALID_PARTITION_VALUE", "p")], "{column}");
        assert_eq!(spark_count(&folder.path().join("table")), 2, "{column}");
        let said = delta_rows(&folder.path().join("dead"), &["errorMessage"])[0].to_string() + &ended.stderr;
        assert!(!said.contains(bad) && !said.contains("xxxx"), "{said}");
    }
}

#[test]
fn a_text_that_is_longer_than_the_tables_varchar_or_char_is_a_dead_letter() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    create(folder.path(), "id INT, v VARCHAR(3), c CHAR(3), s STRUCT<a: VARCHAR(1)>, offset BIGINT", "");
    let messages = [
        json!({"id": 1, "v": "äöü", "c": "x", "s": {"a": "y"}}),
        json!({"id": 2, "v": "abcd"}),
        json!({"id": 3, "c": "abcd"}),
        json!({"id": 4, "s": {"a": "yz"}}),
        json!({"id": 5}),
    ];
    let topic = topic_of(broker, "varchar", messages.map(|message| message.to_string()));
    let value = json_value("id INT, v STRING, c STRING, s STRUCT<a: STRING>", "offset");
    run(&yaml(broker, &topic, &value, "", LETTERS), folder.path());
    let long = |offset, field: &str| letter(offset, "EXCEED_CHAR_VARCHAR_LIMIT", field);
    assert_eq!(dead_letters(folder.path()), [long(1, "v"), long(2, "c"), long(3, "s.a")]);
    let rows = spark_rows(folder.path());
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), [1, 5]);
    assert_eq!(
        (&rows[&1]["v"], &rows[&1]["c"], &rows[&1]["s"]["a"]),
        (&json!("äöü"), &json!("x  "), &json!("y"))
    );
    // Other readers, too, see the CHAR as Spark's INSERT stores it.
    assert_eq!(delta_rows(&folder.path().join("table"), &["id", "c"])[0]["c"], "x  ");
}

#[test]
fn values_are_cast_to_the_tables_types_as_spark_casts_them() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let columns = "id INT, a BIGINT, b DOUBLE, c DECIMAL(10,2), s STRING, d TIMESTAMP, event_id STRING, t TINYINT, offset BIGINT";
    create(folder.path(), columns, "");
    let messages = [
        json!({"id": 1, "c": 7, "a": " 5 ", "b": 1.5, "s": 12, "d": "2026-02-03", "Event_Id": "e1", "t": 127}),
        json!({"id": 2, "a": null, "b": 2}),
        json!({"id": 3, "a": "five"}),
        json!({"id": 4, "t": 300}),
        json!({"id": 5, "c": 123_456_789}),
    ];
    let topic = topic_of(broker, "casts", messages.map(|message| message.to_string()));
    let value =
        json_value("id INT, c INT, a STRING, b FLOAT, s INT, d DATE, Event_Id STRING, t INT", "offset");
    run(&yaml(broker, &topic, &value, "", LETTERS), folder.path());
    assert_eq!(
        dead_letters(folder.path()),
        [
            letter(2, "CAST_INVALID_INPUT", "a"),
            letter(3, "CAST_OVERFLOW", "t"),
            letter(4, "CAST_OVERFLOW", "c")
        ]
    );
    let rows = spark_rows(folder.path());
    assert_eq!(
        rows[&1],
        json!({"id": 1, "a": 5, "b": 1.5, "c": 7.00, "s": "12", "d": "2026-02-03T00:00:00.000Z", "event_id": "e1", "t": 127, "offset": 0})
    );
    assert_eq!(rows[&2], json!({"id": 2, "b": 2.0, "offset": 1}));
}

#[test]
fn a_pair_of_types_that_spark_does_not_cast_is_refused_by_check_and_run() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    create(folder.path(), "id INT, s STRUCT<a: STRUCT<b: INT, c: STRING>>", "");
    let topic = topic_of(broker, "refused", [r#"{"id":1}"#]);
    let value = json_value("id INT, s STRUCT<a: STRUCT<b: BOOLEAN, c: STRING>>", "");
    let said = refused_by_both(&yaml(broker, &topic, &value, "", ""), folder.path());
    assert!(said.contains("column s.a.b is BOOLEAN in the stream but INT in table"), "{said}");
}

#[test]
fn merge_schema_adds_fields_inside_structs_arrays_and_maps() {
    let Some(broker) = Broker::shared() else { return };
    for properties in ["", ", tableProperties: { delta.columnMapping.mode: name }"] {
        let folder = tempfile::tempdir().unwrap();
        let topic = topic_of(
            broker,
            "nested",
            [r#"{"id": 1, "s": {"a": 1}, "arr": [{"a": 1}], "m": {"k": {"a": 1}}}"#],
        );
        let sink = format!(", options: {{ mergeSchema: true }}{properties}");
        let first = "id INT, s STRUCT<a: INT>, arr ARRAY<STRUCT<a: INT>>, m MAP<STRING, STRUCT<a: INT>>";
        run(&yaml(broker, &topic, &json_value(first, ""), &sink, ""), folder.path());
        let message = r#"{"id": 2, "s": {"a": 2, "b": "B"}, "arr": [{"a": 2, "b": "B"}], "m": {"k": {"a": 2, "b": "B"}}, "n": {"z": [1, 2]}}"#;
        broker.produce(&topic, [Message::new(message)]);
        let second = "id INT, s STRUCT<a: INT, b: STRING>, arr ARRAY<STRUCT<a: INT, b: STRING>>, m MAP<STRING, STRUCT<a: INT, b: STRING>>, n STRUCT<z: ARRAY<INT>>";
        run(&yaml(broker, &topic, &json_value(second, ""), &sink, ""), folder.path());
        let rows = spark_rows(folder.path());
        assert_eq!(rows[&1], json!({"id": 1, "s": {"a": 1}, "arr": [{"a": 1}], "m": {"k": {"a": 1}}}));
        assert_eq!(rows[&2], serde_json::from_str::<Value>(message).unwrap());
        let table = folder.path().join("table");
        let shown = spark_sql(&format!("DESCRIBE TABLE delta.`{}`", table.display()));
        let types: Vec<&str> = shown.iter().filter_map(|row| row["data_type"].as_str()).collect();
        let expected = [
            "int",
            "struct<a:int,b:string>",
            "array<struct<a:int,b:string>>",
            "map<string,struct<a:int,b:string>>",
            "struct<z:array<int>>",
        ];
        assert_eq!(types[..5], expected, "{properties}");
        if properties.is_empty() {
            assert_eq!(delta_rows(&table, &["id"]).len(), 2);
        }
    }
}

#[test]
fn nested_fields_may_be_missing_or_in_another_order() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let columns = "id INT, s STRUCT<x: INT, y: INT>, arr ARRAY<STRUCT<x: INT, y: INT>>, m MAP<STRING, STRUCT<x: INT, y: INT>>";
    create(folder.path(), columns, "");
    let topic = topic_of(
        broker,
        "nested-order",
        [
            r#"{"id": 1, "s": null, "arr": [{"x": 1}, null], "m": {"k": {"x": 1}, "z": null}}"#,
            r#"{"id": 2, "s": {"y": 2, "x": 1}}"#,
            r#"{"id": 3}"#,
        ],
    );
    let value = json_value(
        "id INT, s STRUCT<y: INT, x: INT>, arr ARRAY<STRUCT<x: INT>>, m MAP<STRING, STRUCT<x: INT>>",
        "",
    );
    run(&yaml(broker, &topic, &value, "", ""), folder.path());
    let rows = spark_rows(folder.path());
    assert_eq!(rows[&1], json!({"id": 1, "arr": [{"x": 1}, null], "m": {"k": {"x": 1}, "z": null}}));
    assert_eq!((&rows[&2], &rows[&3]), (&json!({"id": 2, "s": {"x": 1, "y": 2}}), &json!({"id": 3})));
}

#[test]
fn a_nested_field_that_another_tool_adds_does_not_stop_a_running_stream() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    create(folder.path(), "id INT, s STRUCT<x: INT>", "");
    let topic = topic_of(broker, "nested-alter", [r#"{"id": 1, "s": {"x": 1}}"#]);
    let value = json_value("id INT, s STRUCT<x: INT>", "");
    let endless = yaml(broker, &topic, &value, "", "")
        .replace("trigger: availableNow", "trigger: { processingTime: 100 ms }");
    let program = Alluvia::run(&endless, folder.path());
    program.wait_for("\"batchId\":0", BOUND);
    let table = folder.path().join("table");
    spark_sql(&format!("ALTER TABLE delta.`{}` ADD COLUMNS (s.y INT)", table.display()));
    broker.produce(&topic, [Message::new(r#"{"id": 2, "s": {"x": 2}}"#)]);
    program.wait_for("\"batchId\":1", BOUND);
    program.terminate();
    program.wait(BOUND).success();
    let rows = spark_rows(folder.path());
    assert_eq!((&rows[&1]["s"], &rows[&2]["s"]), (&json!({"x": 1}), &json!({"x": 2})));
}

#[test]
fn not_null_inside_a_struct_of_the_table_is_judged_by_record() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let change = "STRUCT<id: BIGINT NOT NULL, name: STRING>";
    create(folder.path(), &format!("before {change}, after {change}, op STRING NOT NULL, offset BIGINT"), "");
    let topic = topic_of(
        broker,
        "nested-not-null",
        [
            r#"{"before": null, "after": {"id": 1, "name": "n1"}, "op": "c"}"#,
            r#"{"before": {"id": 1, "name": "n1"}, "after": null, "op": "d"}"#,
            r#"{"before": {"id": 1, "name": "n1"}, "after": {"id": 1, "name": "n2"}, "op": "u"}"#,
            r#"{"after": {"name": "noid"}, "op": "c"}"#,
            r#"{"after": {"id": 2}, "op": null}"#,
        ],
    );
    let lax = "STRUCT<id: BIGINT, name: STRING>";
    let value = json_value(&format!("before {lax}, after {lax}, op STRING"), "offset");
    run(&yaml(broker, &topic, &value, "", LETTERS), folder.path());
    assert_eq!(
        dead_letters(folder.path()),
        [letter(3, "NOT_NULL_VIOLATION", "after.id"), letter(4, "NOT_NULL_VIOLATION", "op")]
    );
    assert_eq!(spark_count(&folder.path().join("table")), 3);
}

#[test]
fn column_names_that_delta_refuses_are_named_by_check_and_run_with_the_way_out() {
    let Some(broker) = Broker::shared() else { return };
    let topic = topic_of(broker, "names", [r#"{"id": 1, "Date Time": "x"}"#]);
    let value = json_value("id INT, `Date Time` STRING", "");
    let told = |said: &str| {
        assert!(said.contains("column Date Time has ' ' in its name"), "{said}");
        assert!(said.contains("delta.columnMapping.mode"), "{said}");
    };
    let folder = tempfile::tempdir().unwrap();
    told(&refused_by_both(&yaml(broker, &topic, &value, "", ""), folder.path()));
    assert!(!folder.path().join("table/_delta_log").exists(), "nothing was made");
    create(folder.path(), "id INT", "");
    let merge = ", options: { mergeSchema: true }";
    told(&refused_by_both(&yaml(broker, &topic, &value, merge, ""), folder.path()));
    assert_eq!(delta_log(&folder.path().join("table"))["version"], 0);
    let folder = tempfile::tempdir().unwrap();
    let mapped = ", tableProperties: { delta.columnMapping.mode: name }";
    run(&yaml(broker, &topic, &value, mapped, ""), folder.path());
    assert_eq!(spark_rows(folder.path())[&1]["Date Time"], "x");
}

#[test]
fn partition_by_names_a_column_in_any_case() {
    let Some(broker) = Broker::shared() else { return };
    let topic = topic_of(broker, "case", [r#"{"id":1,"d":"a"}"#]);
    let folder = tempfile::tempdir().unwrap();
    let value = json_value("id INT, d STRING", "");
    for _ in 0..2 {
        run(&yaml(broker, &topic, &value, ", partitionBy: [D]", ""), folder.path());
    }
    assert_eq!(delta_log(&folder.path().join("table"))["partitionColumns"], json!(["d"]));
    assert_eq!(spark_count(&folder.path().join("table")), 1);
}

#[test]
fn the_hint_of_a_broken_not_null_names_what_helps() {
    let Some(broker) = Broker::shared() else { return };
    let topic = topic_of(broker, "hint", [r#"{"id":1}"#, r#"{"x":1}"#]);
    let folder = tempfile::tempdir().unwrap();
    let value = json_value("id INT NOT NULL", "");
    let ended = Alluvia::run(&yaml(broker, &topic, &value, "", ""), folder.path()).wait(BOUND);
    assert_eq!(ended.code(), 6, "{}", ended.stderr);
    assert!(ended.stderr.contains("set deadLetter") && ended.stderr.contains("nullable"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("source.value.mode"), "{}", ended.stderr);
}

#[test]
fn a_record_that_only_the_writer_fails_on_is_rejected_by_itself() {
    let Some(broker) = Broker::shared() else { return };
    let messages =
        (0..50).map(|id| json!({"id": id, "s": if id % 20 == 7 { "poison" } else { "good" }}).to_string());
    let topic = topic_of(broker, "poison", messages);
    let value = json_value("id INT, s STRING", "offset");
    let fault = [("ALLUVIA_FAIL_WRITER_ON", "poison")];
    let folder = tempfile::tempdir().unwrap();
    let yaml_with = yaml(broker, &topic, &value, "", LETTERS);
    let ended = Alluvia::run_with(&yaml_with, folder.path(), &fault).wait(BOUND).success();
    assert!(ended.stderr.contains("each row tried first"), "{}", ended.stderr);
    let failed = |offset| letter(offset, "WRITE_FAILED", "");
    assert_eq!(dead_letters(folder.path()), [failed(7), failed(27), failed(47)]);
    assert_eq!(spark_count(&folder.path().join("table")), 47);
    // Without dead letters the error names the record, and it is no defect's exit code.
    let folder = tempfile::tempdir().unwrap();
    let ended = Alluvia::run_with(&yaml(broker, &topic, &value, "", ""), folder.path(), &fault).wait(BOUND);
    assert_eq!(ended.code(), 6, "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("offset 7 of partition {topic}-0")), "{}", ended.stderr);
    assert!(!ended.stderr.contains("poison\""), "{}", ended.stderr);
}

#[test]
fn a_column_with_a_default_is_filled_by_the_stream_or_the_start_is_refused_by_its_name() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = topic_of(broker, "defaults", ["{\"id\":1,\"state\":\"open\"}"]);
    let feature = "TBLPROPERTIES ('delta.feature.allowColumnDefaults' = 'supported')";
    create(folder.path(), "id INT, state STRING DEFAULT 'new'", feature);
    let stream = |schema: &str| yaml(broker, &topic, &json_value(schema, ""), "", "");
    let refused = refused_by_both(&stream("id INT"), folder.path());
    assert!(refused.contains("column state of table"), "{refused}");
    assert!(refused.contains("add the column in sql or source.value.schema"), "{refused}");
    run(&stream("id INT, state STRING"), folder.path());
    assert_eq!(spark_rows(folder.path()), BTreeMap::from([(1, json!({ "id": 1, "state": "open" }))]));
}
