//! `sink.merge`: events that come again are one row (`duplicates`), the newest row of a key replaces the one before
//! (`upsert`), and some columns are not written (`except_columns`).

use crate::rig::Broker;

pub mod duplicates;
mod except_columns;
pub mod upsert;

/// A stream that merges everything in a topic into `./table` and ends; `schema` is the DDL of its JSON, `sink` is what
/// stands under `sink` beside format and path.
fn merging(broker: &Broker, topic: &str, schema: &str, sink: &str) -> String {
    format!(
        "streams:
  - name: merging
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{}', subscribe: '{topic}', startingOffsets: earliest }}
      value: {{ format: json, schema: '{schema}' }}
    sink: {{ format: delta, path: ./table, {sink} }}
    trigger: availableNow
    checkpointLocation: ./checkpoint
",
        broker.bootstrap()
    )
}
