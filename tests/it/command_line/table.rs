//! `alluvia table …`: what it says of a table is what other readers say of it.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::rig::{Alluvia, Broker, Ended, Message, delta_log, spark_count, spark_history, spark_sql};

const BOUND: Duration = Duration::from_secs(120);

/// A stream of rows `k, day` into `./table`, which has deletion vectors and one partition a day.
fn yaml(broker: &Broker, topic: &str, merge: &str) -> String {
    format!(
        "streams:
  - name: days
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{}', subscribe: '{topic}', startingOffsets: earliest, maxOffsetsPerTrigger: 100 }}
      value: {{ format: json, schema: 'k BIGINT, day STRING' }}
    sink:
      format: delta
      path: ./table
      partitionBy: [day]
      tableProperties: {{ delta.enableDeletionVectors: 'true', delta.checkpointInterval: '3' }}
{merge}
    trigger: availableNow
    checkpointLocation: ./checkpoint
",
        broker.bootstrap()
    )
}

fn messages(rows: u64) -> Vec<Message> {
    let value = |k: u64| json!({"k": k, "day": DAYS[(k % 3) as usize]}).to_string();
    (0..rows).map(|k| Message::new(value(k)).partition(0)).collect()
}

fn table(folder: &Path, arguments: &[&str]) -> Ended {
    Alluvia::start(["table"].iter().chain(arguments), folder, &[]).wait(BOUND)
}

fn json_of(folder: &Path, arguments: &[&str]) -> Value {
    let all: Vec<&str> = arguments.iter().copied().chain(["--output", "json"]).collect();
    let ended = table(folder, &all).success();
    serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{}: {e}", ended.stdout))
}

const DAYS: [&str; 3] = ["mon", "tue a/b", "wed"];

#[test]
fn history_and_stats_say_what_delta_rs_and_spark_say() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("table-stats", 1);
    broker.produce(&topic, messages(500));
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let merge = "      merge: { keys: [k] }";
    Alluvia::run(&yaml(broker, &topic, merge), place).wait(BOUND).success();
    // A start saves the index that it had to build; all of these are duplicates.
    broker.produce(&topic, messages(90));
    Alluvia::run(&yaml(broker, &topic, merge), place).wait(BOUND).success();
    let whole = json_of(place, &["stats", "table"]);
    let log = delta_log(&place.join("table"));
    let files = log["files"].as_array().unwrap();
    let sum = |key: &str| files.iter().map(|file| file[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!(whole["total"]["files"], files.len());
    assert_eq!(whole["total"]["smallFiles"], files.len(), "all are below 64 MiB");
    assert_eq!(whole["total"]["sizeBytes"], sum("size_bytes"));
    assert_eq!((&whole["total"]["rows"], sum("num_records")), (&json!(500), 500));
    assert_eq!(whole["tableId"], log["id"]);
    assert_eq!((&whole["version"], &whole["keyIndex"]), (&log["version"], &Value::Null));

    // Rows that Spark deletes by vectors are in the files still.
    spark_sql(&format!("DELETE FROM delta.`{}` WHERE k < 30", place.join("table").display()));
    let stats = json_of(place, &["stats", "stream.yaml", "--partitions", "2"]);
    assert_eq!(stats["total"]["rows"], spark_count(&place.join("table")));
    assert_eq!((&stats["total"]["rows"], &stats["total"]["deletedRows"]), (&json!(470), &json!(30)));
    assert!(stats["total"]["filesWithDeletionVector"].as_u64().unwrap() >= 3, "{stats}");
    assert_eq!((&stats["partitionCount"], stats["partitions"].as_array().unwrap().len()), (&json!(3), 2));
    let days: Vec<&str> =
        whole["partitions"].as_array().unwrap().iter().filter_map(|p| p["values"]["day"].as_str()).collect();
    assert_eq!(days.len(), 3);
    assert!(["mon", "tue a/b", "wed"].iter().all(|day| days.contains(day)), "{days:?}");
    assert_eq!((&stats["keyIndex"]["keys"], &stats["keyIndex"]["keyColumns"]), (&json!(500), &json!(["k"])));

    let shown = json_of(place, &["history", "stream.yaml", "--limit", "100"]);
    let spark = spark_history(&place.join("table"));
    let commits = shown["commits"].as_array().unwrap();
    assert_eq!(commits.len(), spark.len());
    for (ours, theirs) in commits.iter().zip(&spark) {
        assert_eq!((&ours["version"], &ours["operation"]), (&theirs["version"], &theirs["operation"]));
        let metrics = |commit: &Value| commit["operationMetrics"].as_object().cloned().unwrap_or_default();
        assert_eq!(metrics(ours), metrics(theirs), "version {}", ours["version"]);
        let commit = place.join(format!("table/_delta_log/{:020}.json", ours["version"].as_u64().unwrap()));
        let removed = std::fs::read_to_string(commit).unwrap().matches("{\"remove\":").count();
        assert_eq!(ours["filesRemoved"], removed, "{ours}");
    }
    assert!(commits[0]["filesRemoved"].as_u64().unwrap() >= 3, "{shown}");
    assert_eq!((&commits[0]["operation"], &commits[1]["stream"]), (&json!("DELETE"), &json!("days")));
    assert_eq!(
        json_of(place, &["history", "table", "--limit", "1"])["commits"].as_array().unwrap(),
        &commits[..1]
    );
    let text = table(place, &["history", "table"]).success().stdout;
    assert!(text.contains("DELETE") && text.contains(" -3") && text.contains("stream days"), "{text}");
    let text = table(place, &["stats", "stream.yaml"]).success().stdout;
    assert!(text.contains("rows         470\n") && text.contains("key index    500 keys of (k)"), "{text}");
}

#[test]
fn a_place_without_a_table_and_a_stream_without_one_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["history", "stats"] {
        let ended = table(folder.path(), &[command, "nowhere"]);
        assert_eq!(ended.code(), 2);
        assert!(ended.stderr.contains("there is no Delta table at file://"), "{}", ended.stderr);
    }
    let ended = table(folder.path(), &["stats", "nowhere", "--dead-letters"]);
    assert_eq!(ended.code(), 2);
    assert!(ended.stderr.contains("--dead-letters chooses a table"), "{}", ended.stderr);
    let stream = "streams:
  - name: shown
    source: { format: rate, options: { rowsPerSecond: 1 } }
    sink: { format: console }
    trigger: availableNow
    checkpointLocation: ./checkpoint
";
    std::fs::write(folder.path().join("stream.yaml"), stream).unwrap();
    for (flags, said) in [
        (&["stats", "stream.yaml"][..], "no Delta table"),
        (&["stats", "stream.yaml", "--dead-letters"], "no dead letters"),
    ] {
        let ended = table(folder.path(), flags);
        assert_eq!(ended.code(), 2, "{}", ended.stderr);
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
}
