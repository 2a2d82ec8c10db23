//! What is wrong is said, with the place and the mend, and nothing is written.

use std::path::Path;
use std::time::Duration;

use super::ingest_of_no_topic;
use crate::rig::{Alluvia, Broker, Ended, Message};

const BOUND: Duration = Duration::from_secs(60);

fn yaml(bootstrap: &str, topic: &str, schema: &str) -> String {
    format!(
        "streams:
  - name: refused
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{bootstrap}', subscribe: '{topic}', startingOffsets: earliest }}
      value: {{ format: json, schema: '{schema}' }}
    sink: {{ format: delta, path: ./table }}
    trigger: availableNow
    checkpointLocation: ./checkpoint
    restart: {{ maxAttempts: 0 }}
"
    )
}

fn refused(yaml: &str, folder: &Path, code: i32, says: &[&str]) {
    let ended: Ended = Alluvia::run(yaml, folder).wait(BOUND);
    assert_eq!(ended.code(), code, "{}", ended.stderr);
    for text in says {
        assert!(ended.stderr.contains(text), "no `{text}` in:\n{}", ended.stderr);
    }
}

fn nothing_written(folder: &Path) {
    assert!(!folder.join("table").exists(), "a table was made");
    assert!(!folder.join("checkpoint/offsets").exists(), "a plan was written");
}

#[test]
fn a_broker_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    refused(
        &yaml("127.0.0.1:1", "t", "a INT"),
        folder.path(),
        3,
        &["127.0.0.1:1", "kafka.bootstrap.servers"],
    );
    nothing_written(folder.path());
}

#[test]
fn a_topic_that_is_not_there() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    refused(&yaml(broker.bootstrap(), "no-such-topic", "a INT"), folder.path(), 2, &["no-such-topic"]);
    nothing_written(folder.path());
    // Who gave flags is told the flag.
    let ended = Alluvia::start(ingest_of_no_topic(broker), folder.path(), &[]).wait(BOUND);
    assert_eq!(ended.code(), 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("on the command line --topic sets "), "{}", ended.stderr);
}

#[test]
fn a_schema_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    refused(&yaml("127.0.0.1:1", "t", "a INT, b TEXT"), folder.path(), 2, &["TEXT", "source.value.schema"]);
    nothing_written(folder.path());
}

#[test]
fn every_stream_that_failed_has_a_line_at_the_end() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let one = yaml(broker.bootstrap(), "no-such-topic", "a INT");
    let two = one.replace("streams:\n", "").replace("name: refused", "name: second");
    let two = two.replace("./table", "./table2").replace("./checkpoint", "./checkpoint2");
    let ended = Alluvia::run(&format!("{one}{two}"), folder.path()).wait(BOUND);
    assert_eq!(ended.code(), 2, "{}", ended.stderr);
    let last: Vec<&str> = ended.stderr.lines().rev().take(2).collect();
    assert!(last[0].starts_with("alluvia: stream refused: "), "{last:?}");
    assert!(last[1].starts_with("alluvia: stream second: "), "{last:?}");
}

#[test]
fn a_process_whose_streams_have_all_ended_exits_with_the_code_of_the_one_that_failed() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let good = yaml(broker.bootstrap(), &broker.topic("refusals-good", 1), "a INT");
    let bad = yaml(broker.bootstrap(), "no-such-topic", "a INT").replace("streams:\n", "");
    let bad = bad
        .replace("name: refused", "name: bad")
        .replace("./table", "./bad")
        .replace("./checkpoint", "./bad-cp");
    let ended = Alluvia::run(&format!("{good}{bad}"), folder.path()).wait(BOUND);
    assert_eq!(ended.code(), 2, "{}", ended.stderr);
    for says in [
        "\"message\":\"the stream has ended\",\"stream\":\"refused\",\"records\":0,\"rows\":0,\"dead_letters\":0,\"batches\":0,",
        "\"message\":\"the stream has failed\",\"stream\":\"bad\",\"kind\":\"config\"",
    ] {
        assert!(ended.stderr.contains(says), "no `{says}` in\n{}", ended.stderr);
    }
}

#[test]
fn a_table_path_that_is_a_file() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("file-table", 1);
    std::fs::write(folder.path().join("table"), "").unwrap();
    refused(
        &yaml(broker.bootstrap(), &topic, "a INT"),
        folder.path(),
        2,
        &["a file is in its way", "/table/"],
    );
}

#[test]
fn an_unknown_key() {
    let folder = tempfile::tempdir().unwrap();
    let text = yaml("127.0.0.1:1", "t", "a INT").replace("subscribe:", "subscirbe:");
    refused(&text, folder.path(), 2, &["subscirbe", "did you mean subscribe", "stream.yaml:5"]);
    nothing_written(folder.path());
}

#[test]
fn a_table_with_another_schema_and_a_checkpoint_of_another_stream() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("refused", 1);
    broker.produce(&topic, [Message::new(r#"{"a":1}"#)]);
    let first = yaml(broker.bootstrap(), &topic, "a INT");
    Alluvia::run(&first, folder.path()).wait(BOUND).success();
    let log = || std::fs::read_dir(folder.path().join("table/_delta_log")).unwrap().count();
    let before = log();

    let other_type = yaml(broker.bootstrap(), &topic, "a BOOLEAN").replace("./checkpoint", "./checkpoint2");
    refused(&other_type, folder.path(), 2, &["column a is BOOLEAN in the stream but INT in table"]);
    let other_column =
        yaml(broker.bootstrap(), &topic, "a INT, b INT").replace("./checkpoint", "./checkpoint2");
    refused(&other_column, folder.path(), 2, &["has no column b", "sink.options.mergeSchema"]);
    assert!(!folder.path().join("checkpoint2").exists());

    let other_stream = first.replace("name: refused", "name: another");
    refused(&other_stream, folder.path(), 2, &["belongs to stream refused, not to stream another"]);
    let second_name = first.replace("path: ./table", "path: ./table2");
    refused(&second_name, folder.path(), 7, &["there is no table at", "sink.path was changed"]);
    assert_eq!(log(), before);
}
