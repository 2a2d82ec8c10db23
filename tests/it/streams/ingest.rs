//! The main job: messages of a topic become rows of a Delta table, once each.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::rig::{
    Alluvia, Broker, Digest, Message, delta_digest, delta_log, delta_rows, digest_of, spark_count,
    spark_history, workload,
};

const BOUND: Duration = Duration::from_secs(180);

/// A stream of workload W1 that ends when all there is has been read.
pub fn w1_yaml(broker: &Broker, topic: &str, options: &str, stream: &str) -> String {
    format!(
        "streams:
  - name: w1
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{}', subscribe: '{topic}', startingOffsets: earliest{options} }}
      value:
        format: json
        schema: '{}'
        keep: [topic, partition, offset]
    sink: {{ format: delta, path: ./table }}
    trigger: availableNow
    checkpointLocation: ./checkpoint
{stream}",
        broker.bootstrap(),
        workload::SCHEMA_DDL
    )
}

/// What the table must hold of events `from..until` of workload W1.
pub fn expected(topic: &str, seed: u64, events: u64, partitions: u32) -> Digest {
    let mut offsets = vec![0_i64; partitions as usize];
    let mut value = Vec::new();
    digest_of((0..events).map(|seq| {
        value.clear();
        workload::write_event(&mut value, seed, seq);
        let event: Value = serde_json::from_slice(&value).expect("the workload is JSON");
        let partition = workload::partition_of(seq, partitions);
        let offset = &mut offsets[partition as usize];
        *offset += 1;
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        [
            topic.to_owned(),
            partition.to_string(),
            (*offset - 1).to_string(),
            text("event_id"),
            text("device"),
            event["seq"].to_string(),
        ]
    }))
}

/// The columns that [`expected`] speaks of.
pub const COLUMNS: [&str; 6] = ["topic", "partition", "offset", "event_id", "device", "seq"];

fn table(folder: &tempfile::TempDir) -> std::path::PathBuf {
    folder.path().join("table")
}

fn run(yaml: &str, folder: &Path) {
    Alluvia::run(yaml, folder).wait(BOUND).success();
}

#[test]
fn a_million_messages_and_then_more_are_in_the_table_once_each() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("million", 4);
    let yaml = w1_yaml(broker, &topic, ", maxOffsetsPerTrigger: 300000", "");
    broker.produce(&topic, (0..1_000_000).map(|seq| Message::event(1, seq, 4)));
    run(&yaml, folder.path());
    let there = delta_digest(&table(&folder), &COLUMNS);
    assert!(there.same_rows(&expected(&topic, 1, 1_000_000, 4)), "{there:?}");
    broker.produce(&topic, (1_000_000..1_200_000).map(|seq| Message::event(1, seq, 4)));
    run(&yaml, folder.path());
    let there = delta_digest(&table(&folder), &COLUMNS);
    assert!(there.same_rows(&expected(&topic, 1, 1_200_000, 4)), "{there:?}");
    assert_eq!(spark_count(&table(&folder)), 1_200_000);
    let history = spark_history(&table(&folder));
    let newest = &history[0];
    assert_eq!(newest["operation"], "STREAMING UPDATE");
    assert_eq!(newest["operationParameters"]["outputMode"], "Append");
    assert_eq!(newest["operationMetrics"]["numOutputRows"], "200000");
    assert_eq!(newest["isBlindAppend"], true);
}

#[test]
fn raw_columns_hold_keys_headers_tombstones_and_times() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("raw", 1);
    // Recent, or the broker's retention takes them away.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let sent_ms = i64::try_from(now.as_millis()).unwrap() - 60_000;
    broker.produce(
        &topic,
        [
            Message::new("one").key("k").timestamp_ms(sent_ms).header("h", Some(b"v")).header("n", None),
            Message::tombstone("gone").timestamp_ms(sent_ms + 1),
        ],
    );
    let yaml = format!(
        "streams:
  - name: raw
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{}', subscribe: '{topic}', startingOffsets: earliest, includeHeaders: true }}
    sink: {{ format: delta, path: ./table }}
    trigger: availableNow
    checkpointLocation: ./checkpoint
",
        broker.bootstrap()
    );
    run(&yaml, folder.path());
    let rows = delta_rows(&table(&folder), &["offset", "topic", "timestampType", "partition"]);
    assert_eq!(rows.len(), 2);
    let spark = crate::rig::spark_sql(&format!(
        "SELECT CAST(key AS STRING) AS key, CAST(value AS STRING) AS value, offset, unix_millis(timestamp) AS ms, \
         headers[0].key AS h, CAST(headers[0].value AS STRING) AS hv, headers[1].value IS NULL AS null2, \
         headers IS NULL AS bare FROM delta.`{}` ORDER BY offset",
        table(&folder).display()
    ));
    assert_eq!(spark[0]["key"], "k");
    assert_eq!(spark[0]["value"], "one");
    assert_eq!(spark[0]["ms"], sent_ms);
    assert_eq!(
        (&spark[0]["h"], &spark[0]["hv"], &spark[0]["null2"]),
        (&"h".into(), &"v".into(), &true.into())
    );
    assert_eq!(
        (&spark[1]["key"], spark[1].get("value"), &spark[1]["bare"]),
        (&"gone".into(), None, &true.into())
    );
}

#[test]
fn partitioned_tables_have_hive_folders_and_exact_statistics() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("partitioned", 2);
    let messages = [
        r#"{"id":5,"kind":"a b/c","price":12.50,"at":"2024-05-01T10:00:00.123456Z"}"#,
        r#"{"id":7,"kind":"a b/c","price":-3.25,"at":"2024-05-02T10:00:00Z"}"#,
        r#"{"id":6,"price":1,"at":null}"#,
    ];
    broker.produce(&topic, messages.map(Message::new));
    let yaml = format!(
        "streams:
  - name: parts
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{}', subscribe: '{topic}', startingOffsets: earliest }}
      value: {{ format: json, schema: 'id INT NOT NULL, kind STRING, price DECIMAL(10,2), at TIMESTAMP', mode: FAILFAST }}
    sink: {{ format: delta, path: ./table, partitionBy: [kind] }}
    trigger: availableNow
    checkpointLocation: ./checkpoint
",
        broker.bootstrap()
    );
    run(&yaml, folder.path());
    let log = delta_log(&table(&folder));
    assert_eq!(log["partitionColumns"], serde_json::json!(["kind"]));
    let rows = delta_rows(&table(&folder), &["id", "kind"]);
    let kinds: Vec<_> = rows.iter().map(|row| (row["id"].as_i64().unwrap(), row["kind"].as_str())).collect();
    assert_eq!(kinds, [(5, Some("a b/c")), (6, None), (7, Some("a b/c"))]);
    let sum = crate::rig::spark_sql(&format!(
        "SELECT CAST(sum(price) AS STRING) AS total FROM delta.`{}` WHERE id >= 6 AND at IS NULL OR id = 7",
        table(&folder).display()
    ));
    assert_eq!(sum[0]["total"], "-2.25");
}

#[test]
fn an_idle_stream_goes_on_and_a_small_batch_is_committed_at_once() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("idle", 1);
    let yaml = w1_yaml(broker, &topic, "", "")
        .replace("trigger: availableNow", "trigger: { processingTime: 100 ms }");
    let program = Alluvia::run(&yaml, folder.path());
    for round in 0..3_u64 {
        broker.produce(&topic, (round * 10..round * 10 + 10).map(|seq| Message::event(1, seq, 1)));
        program.wait_for(&format!("\"endOffset\":{{\"{topic}\":{{\"0\":{}}}}}", round * 10 + 10), BOUND);
    }
    program.terminate();
    program.wait(BOUND).success();
    assert!(delta_digest(&table(&folder), &COLUMNS).same_rows(&expected(&topic, 1, 30, 1)));
}
