//! Every record in exactly one place: a row, a dead letter, or the count of what a mode leaves out.
//!
//! Here are the streams, commands and tables that these tests share.

#[cfg(any(debug_assertions, feature = "failpoints"))]
mod killed;
mod modes;
mod letters;
mod replay;

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::rig::{Alluvia, Broker, Ended, Message, delta_rows};

const BOUND: Duration = Duration::from_secs(120);

/// Bytes of a message near the broker's limit.
const OVERSIZED: usize = 8_000_000 - 100_000;

/// A stream of `topic` with a schema, further keys of the value and of the stream.
fn yaml(broker: &Broker, topic: &str, schema: &str, value: &str, stream: &str) -> String {
    format!(
        "streams:
  - name: letters
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{}', subscribe: '{topic}', startingOffsets: earliest }}
      value: {{ format: json, schema: '{schema}', keep: [topic, partition, offset, timestamp]{value} }}
    sink: {{ format: delta, path: ./table }}
    trigger: availableNow
    checkpointLocation: ./checkpoint
{stream}",
        broker.bootstrap()
    )
}

const LETTERS: &str = "    deadLetter: { format: delta, path: ./dead }\n";

/// A topic whose old messages the broker's retention leaves alone.
fn lasting_topic(broker: &Broker, hint: &str, partitions: i32) -> String {
    let name = format!("lasting-{hint}");
    broker.create_topic(&name, partitions, &[("retention.ms", "-1")]);
    name
}

fn with_letters(broker: &Broker, topic: &str, schema: &str) -> String {
    yaml(broker, topic, schema, "", LETTERS)
}

fn run(yaml: &str, folder: &Path) -> Ended {
    Alluvia::run(yaml, folder).wait(BOUND).success()
}

/// `alluvia dead-letters ACTION … --output json`, with `yaml` as its file.
fn command(yaml: &str, folder: &Path, arguments: &[&str]) -> Value {
    let ended = start(yaml, folder, arguments, &[]).wait(BOUND).success();
    serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{}: {e}", ended.stdout))
}

fn start(yaml: &str, folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Alluvia {
    std::fs::write(folder.join("stream.yaml"), yaml).unwrap();
    let (action, rest) = arguments.split_first().expect("an action");
    let all = ["dead-letters", action, "stream.yaml", "--output", "json"];
    Alluvia::start(all.into_iter().chain(rest.iter().copied()), folder, environment)
}

/// The (partition, offset) of each row of a table, in order; none if there is no table.
fn places(table: &Path) -> Vec<(i64, i64)> {
    if !table.join("_delta_log").exists() {
        return Vec::new();
    }
    let rows = delta_rows(table, &["partition", "offset"]);
    rows.iter().map(|row| (row["partition"].as_i64().unwrap(), row["offset"].as_i64().unwrap())).collect()
}

/// Fails unless rows and letters together are the offsets `0..until` of partition 0, each once.
fn each_once(folder: &Path, until: i64, rows: &[i64]) {
    let of =
        |table: &str| places(&folder.join(table)).into_iter().map(|(_, offset)| offset).collect::<Vec<_>>();
    assert_eq!(of("table"), rows, "rows");
    let letters: Vec<i64> = (0..until).filter(|offset| !rows.contains(offset)).collect();
    assert_eq!(of("dead"), letters, "dead letters");
}

/// One message of each kind that is no plain JSON object; what the modes make of them is in `docs/decoding.md`.
fn odd_messages() -> Vec<Message> {
    let mut oversized = br#"{"id":7,"n":""#.to_vec();
    oversized.resize(OVERSIZED, b'x');
    let mut whole = oversized.clone();
    whole.extend(br#""}"#);
    vec![
        Message::new(r#"{"id":0}"#),
        Message::tombstone("gone"),
        Message::new(""),
        Message::new(" \n\t "),
        Message::new(r#"{"id":"x","n":"kept"}"#),
        Message::new("[1"),
        Message::new(whole),
        Message::new(oversized),
        Message::new(r#"{"id":8}"#),
    ]
}
