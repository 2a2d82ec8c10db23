//! Brokers that restart, hang or refuse; topics that shrink, grow, vanish and come back: nothing is lost
//! unsaid and nothing is doubled.
//!
//! Here are the stream of raw values that these tests run, and what they read of its tables.

mod brokers;
mod topics;
mod truncation;
mod records;
mod passwords;

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::rig::{Alluvia, Broker, Message, delta_digest, delta_rows};

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

pub fn table_rows(folder: &Path) -> u64 {
    delta_digest(&folder.join("table"), &["topic", "partition", "offset"]).rows
}
