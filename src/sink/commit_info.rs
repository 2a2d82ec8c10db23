//! What a commit says of its micro-batch, so that a start can decide and a lost checkpoint can be rebuilt.
//!
//! In a Delta table it is the object `alluvia` of `commitInfo`, beside `attempt` and `version`, which the table
//! itself adds. Read leniently: a key that is missing has its default, an unknown one is ignored.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::BatchCommit;
use crate::model::{Error, OffsetRange, OffsetSeq, Result, TopicPartition};
use crate::table::OwnCommit;

/// The object `alluvia` of a commit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CommitInfo {
    /// The query.
    pub query_id: String,
    /// The name of the stream that made the commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Where that stream's checkpoint was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_location: Option<String>,
    /// The micro-batch.
    pub batch_id: i64,
    /// Where it starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_offset: Option<OffsetSeq>,
    /// Where it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_offset: Option<OffsetSeq>,
    /// The constants that it was planned with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Value>,
    /// The watermark of the next batch.
    pub next_batch_watermark_ms: i64,
    /// Hash of what decides results.
    pub definition: String,
    /// Whether the batch's dead letters come after this commit.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dead_letters_follow: bool,
    /// The newest batch that had dead letters when the commit was made, and the table that they were in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<DeadLetterBatch>,
    /// Offsets that were gone before they could be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost_ranges: Vec<LostOffsets>,
    /// The run of the batch; written by the table.
    #[serde(skip_serializing)]
    pub attempt: Option<String>,
}

/// A batch of a dead-letter table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterBatch {
    /// The table's `metaData.id`.
    pub table_id: String,
    /// The batch.
    pub batch_id: i64,
    /// The table's version that holds it, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// A range of lost offsets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostOffsets {
    topic: String,
    partition: i32,
    from: i64,
    until: i64,
}

impl From<&OffsetRange> for LostOffsets {
    fn from(range: &OffsetRange) -> LostOffsets {
        LostOffsets {
            topic: range.partition.topic.to_string(),
            partition: range.partition.partition,
            from: range.from,
            until: range.until,
        }
    }
}

impl From<&LostOffsets> for OffsetRange {
    fn from(lost: &LostOffsets) -> OffsetRange {
        let partition = TopicPartition::new(lost.topic.as_str(), lost.partition);
        OffsetRange { partition, from: lost.from, until: lost.until }
    }
}

/// Lost ranges as one text.
pub(super) fn lost_ranges_text(lost: &[OffsetRange]) -> String {
    let lost: Vec<LostOffsets> = lost.iter().map(LostOffsets::from).collect();
    serde_json::to_string(&lost).expect("numbers and strings are always JSON")
}

impl CommitInfo {
    /// What the commit of `batch` says.
    pub fn of(batch: &BatchCommit) -> CommitInfo {
        CommitInfo {
            query_id: batch.query_id.clone(),
            stream: Some(batch.stream.clone()),
            checkpoint_location: Some(batch.checkpoint_location.clone()),
            batch_id: batch.batch_id,
            start_offset: Some(batch.start.clone()),
            end_offset: Some(batch.end.clone()),
            plan: Some(serde_json::from_str(&batch.plan).expect("a plan is JSON")),
            next_batch_watermark_ms: batch.next_watermark_ms,
            definition: batch.definition_hash.clone(),
            dead_letters_follow: batch.dead_letters_pending,
            dead_letters: batch.newest_dead_letter_batch.clone(),
            lost_ranges: batch.lost.iter().map(LostOffsets::from).collect(),
            attempt: None,
        }
    }

    /// The JSON object of a commit.
    pub fn to_json(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(object)) => object,
            _ => unreachable!("a struct of numbers, strings and JSON is a JSON object"),
        }
    }
}

/// A commit of a query, read back from a sink.
#[derive(Debug, Clone, PartialEq)]
pub struct SinkCommit {
    /// The version of the target that it made.
    pub version: u64,
    /// The micro-batch.
    pub batch_id: i64,
    /// When it was made, in ms since the Unix epoch; 0 if it does not say.
    pub timestamp_ms: i64,
    /// What it says; `None` for a commit of Spark.
    pub info: Option<Box<CommitInfo>>,
}

impl SinkCommit {
    /// Reads a commit of a Delta table.
    ///
    /// # Errors
    /// `Corrupt` if what it says cannot be read.
    pub fn of(commit: OwnCommit) -> Result<SinkCommit> {
        let OwnCommit { version, batch_id, timestamp_ms, checkpoint, .. } = commit;
        let info = checkpoint.map(|info| serde_json::from_value(Value::Object(info))).transpose();
        let info = info.map_err(|e| {
            Error::corrupt(format!(
                "what commit {version} of the table says of its micro-batch cannot be read"
            ))
            .source(e)
        })?;
        Ok(SinkCommit { version, batch_id, timestamp_ms, info })
    }

    /// Where its batch ends; `None` for a commit of Spark.
    pub fn end(&self) -> Option<&OffsetSeq> {
        self.info.as_ref()?.end_offset.as_ref()
    }

    /// The definition that its batch ran with; empty for a commit of Spark.
    pub fn definition(&self) -> &str {
        self.info.as_ref().map_or("", |info| &info.definition)
    }

    /// Whether the dead letters of its batch come after it.
    pub fn dead_letters_pending(&self) -> bool {
        self.info.as_ref().is_some_and(|info| info.dead_letters_follow)
    }

    /// The newest batch that had dead letters when it was made.
    pub fn newest_dead_letter_batch(&self) -> Option<&DeadLetterBatch> {
        self.info.as_ref()?.dead_letters.as_ref()
    }

    /// The offsets of which it says that they were gone.
    pub fn lost(&self) -> Vec<OffsetRange> {
        self.info.iter().flat_map(|info| &info.lost_ranges).map(OffsetRange::from).collect()
    }

    /// The run of the batch that made it.
    pub fn attempt(&self) -> Option<&str> {
        self.info.as_ref()?.attempt.as_deref()
    }

    /// Whether stream `stream` made it from the checkpoint at `location`; of each only what is given counts.
    pub fn is_of(&self, stream: Option<&str>, location: Option<&str>) -> bool {
        let Some(info) = &self.info else { return false };
        let same = |wanted: Option<&str>, said: &Option<String>| {
            wanted.is_none_or(|wanted| said.as_deref() == Some(wanted))
        };
        same(stream, &info.stream) && same(location, &info.checkpoint_location)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Kind, Offset};

    fn batch() -> BatchCommit {
        let at = |text| OffsetSeq::of(Offset::from_json(text).unwrap());
        BatchCommit {
            query_id: "q".into(),
            stream: "s".into(),
            checkpoint_location: "file:///c/".into(),
            batch_id: 3,
            attempt: "a".into(),
            start: at(r#"{"t":{"0":1}}"#),
            end: at(r#"{"t":{"0":9}}"#),
            plan: r#"{"batchWatermarkMs":0}"#.into(),
            next_watermark_ms: 0,
            definition_hash: "d".into(),
            lost: vec![OffsetRange { partition: TopicPartition::new("t", 0), from: 1, until: 4 }],
            dead_letters_pending: true,
            newest_dead_letter_batch: Some(DeadLetterBatch {
                table_id: "id".into(),
                batch_id: 2,
                version: None,
            }),
            replaces_table: false,
            is_of_lost_ranges: false,
        }
    }

    fn commit(info: Map<String, Value>) -> Result<SinkCommit> {
        let checkpoint = Some(info);
        SinkCommit::of(OwnCommit { version: 7, batch_id: 3, timestamp_ms: 0, files: 1, checkpoint })
    }

    #[test]
    fn what_a_commit_says_reads_back_in_the_keys_of_before() {
        let batch = batch();
        let said = CommitInfo::of(&batch).to_json();
        let keys: Vec<&str> = said.keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "queryId",
                "stream",
                "checkpointLocation",
                "batchId",
                "startOffset",
                "endOffset",
                "plan",
                "nextBatchWatermarkMs",
                "definition",
                "deadLettersFollow",
                "deadLetters",
                "lostRanges"
            ]
        );
        assert_eq!(said["endOffset"], serde_json::json!({"t": {"0": 9}}));
        let read = commit(said).unwrap();
        assert_eq!((read.end(), read.definition(), read.lost()), (Some(&batch.end), "d", batch.lost));
        assert_eq!(read.newest_dead_letter_batch().map(|dead| dead.batch_id), Some(2));
        assert!(read.is_of(Some("s"), Some("file:///c/")) && !read.is_of(Some("x"), None));
    }

    #[test]
    fn unknown_keys_are_ignored_and_what_cannot_be_read_is_damage() {
        let said = serde_json::json!({"queryId": "q", "new": [1], "attempt": "x"});
        let read = commit(said.as_object().unwrap().clone()).unwrap();
        assert_eq!((read.end(), read.attempt(), read.dead_letters_pending()), (None, Some("x"), false));
        let wrong = serde_json::json!({"batchId": "three"});
        assert_eq!(commit(wrong.as_object().unwrap().clone()).unwrap_err().kind(), Kind::Corrupt);
    }
}
