//! The checkpoint's documents, to the letter as Spark 4.0 writes them.
//!
//! Sources: `HDFSMetadataLog`, `OffsetSeqLog.serialize`, `CommitLog.serialize`, and the Kafka
//! connector's `KafkaSourceInitialOffsetWriter` (a zero byte before the version line).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::RESTORE;
use crate::model::{Error, Loss, OffsetRange, Offsets, Result, TopicPartition};

/// The key in a plan's `conf` of the partitions it is the first to read, with their start offsets.
const STARTS: &str = "alluvia.startOffsets";
/// The key in a plan's `conf` of the hash of what decides results.
const DEFINITION: &str = "alluvia.definition";
/// The key in a plan's `conf` of the isolation level its end offsets were asked with.
const ISOLATION: &str = "alluvia.isolationLevel";
/// The key in a plan's `conf` of Kafka's ids of the topics it reads, as far as the brokers gave them.
const TOPIC_IDS: &str = "alluvia.topicIds";
/// The key in a plan's `conf` of offsets that were found gone when it was made.
const LOST: &str = "alluvia.lostRanges";
/// The key in a plan's `conf` that makes the document unique to its writer.
const WRITER: &str = "alluvia.writer";

/// What a micro-batch reads, and every constant that its results depend on: `offsets/N`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// N.
    pub batch_id: i64,
    /// Where it ends, for every partition of the stream; where it starts is where N−1 ended.
    pub end: Offsets,
    /// Start offsets of partitions that do not start where N−1 ended: no earlier batch knew them, or
    /// their topic was made anew.
    pub new_starts: Offsets,
    /// Wall clock when the batch was planned: `current_timestamp()`.
    pub timestamp_ms: i64,
    /// The watermark the batch runs with; 0 where there is none.
    pub watermark_ms: i64,
    /// Hash of the schema, mode, options and SQL it was planned with; empty in a plan of Spark.
    pub definition: String,
    /// The isolation level of the end offsets; empty in a plan of Spark.
    pub isolation: String,
    /// Who wrote the plan; unique to one attempt at writing it.
    pub writer: String,
    /// Settings that a plan of Spark carries and that are handed on.
    pub conf: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OffsetMetadata {
    batch_watermark_ms: i64,
    batch_timestamp_ms: i64,
    #[serde(default)]
    conf: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CommitMetadata {
    #[serde(default)]
    next_batch_watermark_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct LossEntry {
    topic: String,
    partition: i32,
    from: i64,
    until: i64,
    why: String,
}

impl LossEntry {
    fn of(loss: &Loss) -> LossEntry {
        let OffsetRange { partition, from, until } = &loss.range;
        LossEntry {
            topic: partition.topic.to_string(),
            partition: partition.partition,
            from: *from,
            until: *until,
            why: loss.why.clone(),
        }
    }

    fn into_loss(self) -> Loss {
        let partition = TopicPartition::new(self.topic, self.partition);
        Loss { range: OffsetRange { partition, from: self.from, until: self.until }, why: self.why }
    }
}

impl Plan {
    /// Whether Alluvia wrote the plan, not Spark.
    pub fn is_ours(&self) -> bool {
        !self.writer.is_empty()
    }

    /// Kafka's ids of the topics that the plan reads, by name: a topic that was deleted and made anew has
    /// another one (KIP-516). Empty where the brokers gave none, and in a plan of Spark.
    pub fn topic_ids(&self) -> BTreeMap<String, String> {
        let text = self.conf.get(TOPIC_IDS).map_or("{}", String::as_str);
        serde_json::from_str(text).unwrap_or_default()
    }

    /// Notes the ids of the topics that the plan reads.
    pub fn note_topic_ids(&mut self, ids: &BTreeMap<String, String>) {
        if !ids.is_empty() {
            self.conf.insert(TOPIC_IDS.into(), serde_json::to_string(ids).expect("strings are always JSON"));
        }
    }

    /// Offsets that were gone when the plan was made: every run of it records the same.
    pub fn lost(&self) -> Vec<Loss> {
        let text = self.conf.get(LOST).map_or("[]", String::as_str);
        let entries: Vec<LossEntry> = serde_json::from_str(text).unwrap_or_default();
        entries.into_iter().map(LossEntry::into_loss).collect()
    }

    /// Notes offsets that are gone.
    pub fn note_lost(&mut self, lost: &[Loss]) {
        if !lost.is_empty() {
            let entries: Vec<LossEntry> = lost.iter().map(LossEntry::of).collect();
            self.conf.insert(LOST.into(), serde_json::to_string(&entries).expect("entries are always JSON"));
        }
    }

    /// The settings of Spark that the plan carries, without what Alluvia notes beside them.
    pub fn conf_of_spark(&self) -> BTreeMap<String, String> {
        let spark = self.conf.iter().filter(|(key, _)| !key.starts_with("alluvia."));
        spark.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// The text of `offsets/N`.
    pub fn to_text(&self) -> String {
        format!("v1\n{}\n{}", self.metadata(), self.end.to_json())
    }

    /// The second line of `offsets/N`, a JSON object: the batch's constants. With the end offsets it is the
    /// whole plan.
    pub fn metadata(&self) -> String {
        let mut conf = self.conf.clone();
        conf.insert(DEFINITION.into(), self.definition.clone());
        conf.insert(ISOLATION.into(), self.isolation.clone());
        conf.insert(WRITER.into(), self.writer.clone());
        if !self.new_starts.0.is_empty() {
            conf.insert(STARTS.into(), self.new_starts.to_json());
        }
        let metadata = OffsetMetadata {
            batch_watermark_ms: self.watermark_ms,
            batch_timestamp_ms: self.timestamp_ms,
            conf,
        };
        serde_json::to_string(&metadata).expect("numbers and strings are always JSON")
    }

    /// The plan of which the second and third line are known.
    ///
    /// # Errors
    /// As for [`Plan::from_text`].
    pub fn from_parts(batch_id: i64, metadata: &str, end: &Offsets) -> Result<Plan> {
        Plan::from_text(batch_id, &format!("v1\n{metadata}\n{}", end.to_json()))
    }

    /// Reads `offsets/N`, by Spark or by us.
    ///
    /// # Errors
    /// `Corrupt` if the text is cut or not of that form; `Config` if the query had several sources.
    pub fn from_text(batch_id: i64, text: &str) -> Result<Plan> {
        let file = format!("offsets/{batch_id}");
        let mut lines = versioned(&file, text)?;
        let metadata = lines.next().ok_or_else(|| incomplete(&file))?;
        let metadata: OffsetMetadata = if metadata.is_empty() {
            OffsetMetadata { batch_watermark_ms: 0, batch_timestamp_ms: 0, conf: BTreeMap::new() }
        } else {
            serde_json::from_str(metadata).map_err(|e| damaged(&file, e))?
        };
        let end = lines.next().ok_or_else(|| incomplete(&file))?;
        let others = lines.filter(|line| !line.is_empty()).count();
        if others > 0 {
            return Err(Error::config(format!(
                "{file} holds the offsets of {} sources; the checkpoint is of another query",
                others + 1
            ))
            .hint("give the stream a checkpointLocation of its own"));
        }
        let end = Offsets::from_json(end).map_err(|e| not_kafka(&file, end, e))?;
        let mut conf = metadata.conf;
        let new_starts = match conf.remove(STARTS) {
            Some(text) => Offsets::from_json(&text).map_err(|e| damaged(&file, e))?,
            None => Offsets::default(),
        };
        Ok(Plan {
            batch_id,
            end,
            new_starts,
            timestamp_ms: metadata.batch_timestamp_ms,
            watermark_ms: metadata.batch_watermark_ms,
            definition: conf.remove(DEFINITION).unwrap_or_default(),
            isolation: conf.remove(ISOLATION).unwrap_or_default(),
            writer: conf.remove(WRITER).unwrap_or_default(),
            conf,
        })
    }
}

/// The text of `commits/N`.
pub fn commit_text(next_watermark_ms: i64) -> String {
    let metadata = CommitMetadata { next_batch_watermark_ms: next_watermark_ms };
    let metadata = serde_json::to_string(&metadata).expect("a number is always JSON");
    format!("v1\n{metadata}")
}

/// Reads `commits/N`: the watermark of the next batch.
///
/// # Errors
/// `Corrupt` if the text is cut or not of that form; `Config` if it is of a format that can't be
/// carried on (`v2`, which Spark writes with state store format 2).
pub fn commit_from_text(batch_id: i64, text: &str) -> Result<i64> {
    let file = format!("commits/{batch_id}");
    let mut lines = versioned(&file, text)?;
    match lines.next() {
        None | Some("") => Ok(0),
        Some(line) => {
            let metadata: CommitMetadata = serde_json::from_str(line).map_err(|e| damaged(&file, e))?;
            Ok(metadata.next_batch_watermark_ms)
        }
    }
}

/// The bytes of `sources/0/0`.
pub fn initial_offsets_bytes(offsets: &Offsets) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(format!("v1\n{}", offsets.to_json()).into_bytes());
    bytes
}

/// Reads `sources/0/0`.
///
/// # Errors
/// `Corrupt` if the bytes are not of that form.
pub fn initial_offsets_from_bytes(bytes: &[u8]) -> Result<Offsets> {
    let file = "sources/0/0";
    let text = bytes.strip_prefix(&[0]).unwrap_or(bytes);
    let text = std::str::from_utf8(text).map_err(|e| damaged(file, e))?;
    let mut lines = versioned(file, text)?;
    let offsets = lines.next().ok_or_else(|| incomplete(file))?;
    Offsets::from_json(offsets).map_err(|e| damaged(file, e))
}

/// The lines behind the version line.
fn versioned<'a>(file: &str, text: &'a str) -> Result<std::str::Split<'a, char>> {
    let mut lines = text.split('\n');
    match lines.next() {
        Some("v1") => Ok(lines),
        Some("") | None => Err(incomplete(file)),
        Some(version) if version.strip_prefix('v').is_some_and(|n| n.parse::<u32>().is_ok()) => Err(Error::config(format!(
            "{file} is in format {version}; Alluvia carries on format v1"
        ))
        .hint("finish the query with the engine that wrote it, or start the stream on a new checkpointLocation")),
        Some("v") => Err(incomplete(file)),
        Some(_) => Err(damaged(file, "its first line is no version")),
    }
}

fn incomplete(file: &str) -> Error {
    Error::corrupt(format!("checkpoint file {file} is empty or cut off")).hint(RESTORE)
}

/// Whole JSON that is no Kafka offset is that of another source; else the text is damaged.
fn not_kafka(file: &str, offset: &str, cause: Error) -> Error {
    if serde_json::from_str::<serde_json::Value>(offset).is_err() {
        return damaged(file, cause);
    }
    Error::config(format!(
        "{file} holds the offset of another source than Kafka; the checkpoint is of another query"
    ))
    .source(cause)
    .hint("give the stream a checkpointLocation of its own")
}

fn damaged(file: &str, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::corrupt(format!("checkpoint file {file} is damaged")).source(cause).hint(RESTORE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;

    fn plan() -> Plan {
        Plan {
            batch_id: 3,
            end: Offsets([(TopicPartition::new("t", 0), 5)].into()),
            new_starts: Offsets([(TopicPartition::new("t", 0), 2)].into()),
            timestamp_ms: 17,
            watermark_ms: 0,
            definition: "abc".into(),
            isolation: "read_uncommitted".into(),
            writer: "w".into(),
            conf: BTreeMap::new(),
        }
    }

    #[test]
    fn a_plan_reads_back() {
        assert_eq!(Plan::from_text(3, &plan().to_text()).unwrap(), plan());
    }

    #[test]
    fn ids_of_topics_and_lost_offsets_read_back() {
        let mut plan = plan();
        assert!(plan.topic_ids().is_empty() && plan.lost().is_empty());
        let ids = BTreeMap::from([("t".to_owned(), "q83vEjRWeJA".to_owned())]);
        let range = OffsetRange { partition: TopicPartition::new("t", 0), from: 2, until: 5 };
        let lost = vec![Loss { range, why: "t-0 was \"made\" anew".into() }];
        plan.note_topic_ids(&ids);
        plan.note_lost(&lost);
        let read = Plan::from_text(3, &plan.to_text()).unwrap();
        assert_eq!((read.topic_ids(), read.lost()), (ids, lost));
    }

    #[test]
    fn a_plan_of_spark_is_read() {
        let text = "v1\n{\"batchWatermarkMs\":0,\"batchTimestampMs\":1795219192752,\"conf\":{\"spark.sql.shuffle.partitions\":\"200\"}}\n{\"t\":{\"0\":105,\"1\":7}}";
        let plan = Plan::from_text(9, text).unwrap();
        assert_eq!(plan.end.to_json(), r#"{"t":{"0":105,"1":7}}"#);
        assert_eq!(plan.conf["spark.sql.shuffle.partitions"], "200");
        assert!(plan.definition.is_empty());
    }

    #[test]
    fn every_cut_of_a_plan_is_told_from_a_plan() {
        let text = plan().to_text();
        for end in 0..text.len() {
            let error = Plan::from_text(3, &text[..end]).unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt, "cut at {end}: {error}");
            assert!(error.to_string().contains("offsets/3"), "{error}");
        }
    }

    #[test]
    fn what_is_no_document_at_all_is_called_damaged() {
        for text in ["\u{fffd}x\u{7f}", "#########", "{}\n{}"] {
            let error = Plan::from_text(3, text).unwrap_err().to_string();
            assert!(error.starts_with("checkpoint file offsets/3 is damaged"), "{error}");
            assert!(
                error.contains("move the checkpoint aside and run `alluvia checkpoint rebuild`"),
                "{error}"
            );
        }
        let cut = commit_from_text(3, "v").unwrap_err().to_string();
        assert!(cut.contains("commits/3 is empty or cut off"), "{cut}");
    }

    #[test]
    fn several_sources_other_sources_and_format_2_are_refused() {
        let two = format!("{}\n{{\"u\":{{\"0\":1}}}}", plan().to_text());
        assert_eq!(Plan::from_text(3, &two).unwrap_err().kind(), Kind::Config);
        let rate = plan().to_text().replace(r#"{"t":{"0":5}}"#, "17");
        let error = Plan::from_text(3, &rate).unwrap_err();
        assert!(
            error.kind() == Kind::Config && error.to_string().contains("another source than Kafka"),
            "{error}"
        );
        let error = commit_from_text(3, "v2\n{}").unwrap_err();
        assert!(error.to_string().contains("commits/3 is in format v2"), "{error}");
    }

    #[test]
    fn commits_and_initial_offsets_read_back() {
        assert_eq!(commit_from_text(1, &commit_text(42)).unwrap(), 42);
        assert_eq!(commit_from_text(1, "v1\n{}").unwrap(), 0);
        let offsets = plan().end;
        assert_eq!(initial_offsets_from_bytes(&initial_offsets_bytes(&offsets)).unwrap(), offsets);
    }
}
