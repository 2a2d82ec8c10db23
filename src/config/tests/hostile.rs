//! Input that means harm: secrets in every place, and text that is no configuration.

use proptest::prelude::*;

use super::{file_with, load};
use crate::config::Config;
use crate::config::document::{self, Node, Value};

/// Puts `text` in the place of the `n`-th scalar; the place's key, or `None` if there are fewer.
fn replace(node: &mut Node, key: &str, n: &mut usize, text: &str) -> Option<String> {
    match &mut node.value {
        Value::Null => None,
        Value::Text(old) if *n == 0 => {
            *old = text.to_owned();
            Some(key.to_owned())
        }
        Value::Text(_) => {
            *n -= 1;
            None
        }
        Value::List(items) => items.iter_mut().find_map(|item| replace(item, key, n, text)),
        Value::Map(entries) => entries.iter_mut().find_map(|e| replace(&mut e.node, &e.key, n, text)),
    }
}

/// A stream that uses as many keys as go together.
const RICH: &str = r#"
name: rich
source:
  format: kafka
  options:
    kafka.bootstrap.servers: b:9092
    kafka.security.protocol: SASL_SSL
    kafka.sasl.mechanism: SCRAM-SHA-256
    kafka.sasl.username: u
    kafka.sasl.password: p
    kafka.isolation.level: read_committed
    kafka.group.id: g
    kafka.fetch.min.bytes: 1
    kafka.ssl.truststore.type: PEM
    kafka.ssl.truststore.location: /ca.pem
    kafka.ssl.keystore.location: /key.p12
    subscribe: t
    startingOffsets: '{"t":{"0":1}}'
    startingOffsetsByTimestampStrategy: latest
    failOnDataLoss: false
    maxOffsetsPerTrigger: 10
    minOffsetsPerTrigger: 5
    maxTriggerDelay: 1m
    minPartitions: 4
    includeHeaders: true
    kafkaConsumer.pollTimeoutMs: 1000
    fetchOffset.numRetries: 3
    fetchOffset.retryIntervalMs: 10
  value:
    format: json
    schema: a INT
    mode: FAILFAST
    columnNameOfCorruptRecord: c
    options: {timestampFormat: yyyy}
    keep: [headers, offset]
sink:
  format: delta
  path: lake/t
  partitionBy: [a]
  options: {mergeSchema: true}
  tableProperties: {delta.appendOnly: true}
deadLetter: {format: delta, path: lake/dead}
trigger: {processingTime: 5 seconds}
outputMode: append
checkpointLocation: cp
storageOptions: {azure_storage_account_key: k}
shutdownTimeout: 5s
memoryLimit: 1g
lanes: 2
minBatchesToRetain: 10
restart: {maxAttempts: 3, backoff: 1s}
conf: {spark.sql.session.timeZone: UTC}
"#;

/// The printed file with a text where a literal secret was masked, so that it loads.
fn unmasked(config: &Config) -> String {
    config.to_yaml().replace("\"********\"", "k")
}

#[test]
fn a_resolved_reference_is_in_no_message_and_in_no_printed_file_wherever_it_stands() {
    let tree = document::parse("rich", RICH, &mut Default::default()).unwrap();
    let print =
        |node: Node| unmasked(&Config { streams: Vec::new(), warnings: Vec::new(), declared: vec![node] });
    load(&print(tree.clone())).unwrap_or_else(|e| panic!("{e}"));
    let (mut places, mut refused) = (0, 0);
    loop {
        let mut changed = tree.clone();
        let Some(key) = replace(&mut changed, "", &mut places.clone(), "${env:PASSWORD}") else { break };
        match load(&print(changed)) {
            Ok(config) => assert!(!config.to_yaml().contains("hunter2"), "{key}"),
            Err(error) => {
                assert!(!error.to_string().contains("hunter2"), "{key}: {error}");
                refused += 1;
            }
        }
        places += 1;
    }
    assert!(places > 45 && refused > 25, "{places} places, {refused} refused");
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>(), at in 0..1500_usize, cut in 0..40_usize) {
        let _ = load(&text);
        let mut yaml = file_with("subscribe: t", "", "") + RICH;
        let floor = |yaml: &str, mut i: usize| { i = i.min(yaml.len()); while !yaml.is_char_boundary(i) { i -= 1 } i };
        let (from, until) = (floor(&yaml, at), floor(&yaml, at + cut));
        yaml.replace_range(from..until, &text);
        let _ = load(&yaml);
        let rich = format!("streams:\n- {}", RICH.trim().replace('\n', "\n  "));
        let (from, until) = (floor(&rich, at), floor(&rich, at + cut));
        let mut rich = rich;
        rich.replace_range(from..until, &text);
        if let Ok(config) = load(&rich) {
            let again = load(&unmasked(&config)).unwrap();
            prop_assert_eq!(again.streams.len(), config.streams.len());
        }
    }
}
