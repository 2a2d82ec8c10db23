//! A checkpoint and table of the version before go on without loss.
//!
//! `fixtures/before` was made by that version over 14 messages, in batches of at most 4: as it is after its last batch
//! (`done`), and as a crash leaves it before and behind the sink's commit of that batch (`planned`, `committed`). The
//! messages after the tenth are still to be read in `done`. Its folder, its topic and the topic's id are placeholders.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use crate::rig::{Alluvia, Broker, Message, delta_rows};

const BOUND: Duration = Duration::from_secs(60);

fn yaml(bootstrap: &str, topic: &str) -> String {
    format!(
        "streams:
  - name: upgraded
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{bootstrap}', subscribe: '{topic}', startingOffsets: earliest, maxOffsetsPerTrigger: 4 }}
      value: {{ format: json, schema: 'n INT, s STRING', keep: [offset] }}
    sink: {{ format: delta, path: ./table }}
    deadLetter: {{ format: delta, path: ./dead }}
    trigger: availableNow
    checkpointLocation: ./checkpoint
"
    )
}

/// Message number `n` of the topic; every fifth is malformed.
fn message(n: i64) -> Message {
    let malformed = n % 5 == 4;
    Message::new(if malformed {
        format!(r#"{{"n":"x{n}"}}"#)
    } else {
        format!(r#"{{"n":{n},"s":"row {n}"}}"#)
    })
}

/// The id that the broker gave the topic, as a stream of its own notes it.
fn topic_id(yaml: &str, topic: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    Alluvia::run(&yaml.replace("upgraded", "probe"), folder.path()).wait(BOUND).success();
    let plan = fs::read_to_string(folder.path().join("checkpoint/offsets/0")).unwrap();
    let metadata: Value = serde_json::from_str(plan.lines().nth(1).unwrap()).unwrap();
    let ids: Value = serde_json::from_str(metadata["conf"]["alluvia.topicIds"].as_str().unwrap()).unwrap();
    ids[topic].as_str().unwrap().to_owned()
}

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for path in fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()) {
        if path.is_dir() { files(&path, into) } else { into.push(path) }
    }
}

/// Lays out a state of the fixture in `folder`, its placeholders replaced.
fn lay_out(state: &str, folder: &Path, topic: &str, id: &str) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures/before").join(state);
    let mut all = Vec::new();
    files(&from, &mut all);
    assert!(all.len() > 20, "{} files in {}", all.len(), from.display());
    for file in all {
        let mut to = folder.join(file.strip_prefix(&from).unwrap());
        let mut bytes = fs::read(&file).unwrap();
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let there = folder.display().to_string();
            let text = text.replace("@FOLDER@", &there).replace("@TOPIC_ID@", id).replace("@TOPIC@", topic);
            bytes = text.into_bytes();
        }
        if to.parent().unwrap().ends_with("alluvia/dead-letters") {
            // The note is named by the table's URL.
            let url = format!("file://{}/dead", folder.display());
            to.set_file_name(Uuid::new_v5(&Uuid::NAMESPACE_URL, url.as_bytes()).to_string());
        }
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(&to, bytes).unwrap();
    }
}

#[test]
fn a_checkpoint_and_a_table_of_the_version_before_go_on_without_loss() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("upgrade", 1);
    broker.produce(&topic, (0..14).map(message));
    let yaml = yaml(broker.bootstrap(), &topic);
    let id = topic_id(&yaml, &topic);
    broker.produce(&topic, (14..20).map(message));
    for state in ["done", "planned", "committed"] {
        let folder = tempfile::tempdir().unwrap();
        lay_out(state, folder.path(), &topic, &id);
        fs::write(folder.path().join("stream.yaml"), &yaml).unwrap();
        Alluvia::start(["check", "stream.yaml"], folder.path(), &[]).wait(BOUND).success();
        Alluvia::run(&yaml, folder.path()).wait(BOUND).success();
        let numbers = |table: &str, column: &str| -> Vec<i64> {
            let rows = delta_rows(&folder.path().join(table), &[column]);
            rows.iter().map(|row| row[column].as_i64().unwrap()).collect()
        };
        let mut rows = numbers("table", "offset");
        rows.sort_unstable();
        assert_eq!(rows, (0..20).filter(|n| n % 5 != 4).collect::<Vec<_>>(), "{state}");
        let mut rejected = numbers("dead", "offset");
        rejected.sort_unstable();
        assert_eq!(rejected, [4, 9, 14, 19], "{state}");
    }
}
