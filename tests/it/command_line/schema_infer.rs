//! `alluvia schema infer`: what it prints decodes what it has seen.

use std::path::Path;
use std::time::Duration;

use crate::rig::{Alluvia, Broker, Ended, Message, delta_log, delta_rows, workload};

const BOUND: Duration = Duration::from_secs(60);

fn infer(folder: &Path, arguments: &[&str]) -> Ended {
    Alluvia::start(["schema", "infer"].iter().chain(arguments), folder, &[]).wait(BOUND)
}

/// A stream that refuses every record that the schema does not take.
fn decodes(broker: &Broker, topic: &str, folder: &Path) {
    let arguments = [
        "ingest",
        "--bootstrap-servers",
        broker.bootstrap(),
        "--topic",
        topic,
        "--schema",
        "@schema.ddl",
        "--mode",
        "FAILFAST",
        "--table",
        "./table",
    ];
    Alluvia::start(arguments, folder, &[]).wait(BOUND).success();
}

#[test]
fn the_schema_of_a_topic_decodes_every_sampled_record() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("infer", 3);
    let odd = [
        r#"{"id":1,"price":2,"tags":["a",null],"at":"2026-11-21T03:04:05.678Z","nested":{"b":true,"a":[{"x":1}]},"n":null}"#,
        r#"{"id":9223372036854775808,"price":2.5,"tags":[],"at":null,"nested":{"b":false,"a":[{"x":1.5,"y":"t"}]}}"#,
        r#"{"id":-5,"price":1e300,"tags":null,"mixed":1,"local":"2026-11-21T03:04:05"}"#,
        r#"{"mixed":{"a":1},"at":"2026-11-21T03:04:05+02:00","local":"2026-11-21T03:04:05","k v":"x"}"#,
    ];
    broker.produce(&topic, odd.map(Message::new));
    let ended =
        infer(folder.path(), &["--bootstrap-servers", broker.bootstrap(), "--topic", &topic]).success();
    assert_eq!(
        ended.stdout.trim(),
        "at TIMESTAMP, id DECIMAL(20,0), `k v` STRING, local STRING, mixed STRING, n STRING, \
         nested STRUCT<a: ARRAY<STRUCT<x: DOUBLE, y: STRING>>, b: BOOLEAN>, price DOUBLE, tags ARRAY<STRING>"
    );
    assert!(
        ended.stderr.contains("these are TIMESTAMP (write STRING to keep the text): at"),
        "{}",
        ended.stderr
    );
    // A table's column has no blank in its name; the rest is what a stream takes as it is.
    std::fs::write(folder.path().join("schema.ddl"), ended.stdout.replace("`k v` STRING, ", "")).unwrap();
    decodes(broker, &topic, folder.path());
    assert_eq!(delta_rows(&folder.path().join("table"), &["mixed", "id"]).len(), 4);
}

#[test]
fn the_workload_gets_timestamps_and_all_its_rows() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("infer-w1", 2);
    broker.produce(&topic, (0..3_000).map(|seq| Message::event(1, seq, 2)));
    let ended = infer(
        folder.path(),
        &[
            "--bootstrap-servers",
            broker.bootstrap(),
            "--topic",
            &topic,
            "--records",
            "1000",
            "--output",
            "json",
        ],
    );
    let said: serde_json::Value = serde_json::from_str(&ended.success().stdout).unwrap();
    assert_eq!(said["records"], 1000);
    let ddl = said["ddl"].as_str().unwrap();
    for column in workload::SCHEMA_DDL.split(", ") {
        let name = column.split(' ').next().unwrap();
        assert!(ddl.contains(&format!("{name} ")), "{name} is missing in {ddl}");
    }
    std::fs::write(folder.path().join("schema.ddl"), ddl).unwrap();
    decodes(broker, &topic, folder.path());
    let rows: u64 = delta_log(&folder.path().join("table"))["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["num_records"].as_u64().unwrap())
        .sum();
    assert_eq!(rows, 3_000);
}

#[test]
fn a_file_is_sampled_and_what_is_no_json_is_told() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.jsonl"), "{\"a\":1}\n\nnonsense\n{\"A\":2}\n{\"a\":1.5}\n").unwrap();
    let ended = infer(folder.path(), &["--file", "a.jsonl"]).success();
    assert_eq!(ended.stdout.trim(), "A BIGINT, a DOUBLE");
    assert!(ended.stderr.contains("not JSON objects: 1 message\n"), "{}", ended.stderr);
    assert!(ended.stderr.contains("A and a differ only in case"), "{}", ended.stderr);
    std::fs::write(folder.path().join("m.jsonl"), "{\"a\":1}\n{\"a\":2.5}\n{\"a\":\"n/a\"}\n{\"a\":3}\n")
        .unwrap();
    let ended = infer(folder.path(), &["--file", "m.jsonl"]).success();
    assert_eq!(ended.stdout.trim(), "a STRING");
    let told = "a is STRING because its values differ in type: number at first, text in message 3";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
    let two = infer(folder.path(), &["--file", "a.jsonl", "--records", "1"]).success();
    assert_eq!(two.stdout.trim(), "a BIGINT");
    std::fs::write(folder.path().join("b.jsonl"), "1\n2\n").unwrap();
    let ended = infer(folder.path(), &["--file", "b.jsonl"]);
    assert_eq!(ended.code(), 6, "{}", ended.stderr);
    assert!(ended.stdout.is_empty());
    assert_eq!(infer(folder.path(), &["--file", "none.jsonl"]).code(), 2);
}
