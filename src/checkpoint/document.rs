//! The checkpoint's documents, to the letter as Spark 4.0 writes them.
//!
//! Sources: `HDFSMetadataLog`, `OffsetSeqLog.serialize`, `CommitLog.serialize`, and the Kafka
//! connector's `KafkaSourceInitialOffsetWriter` (a zero byte before the version line).
//!
//! A plan has one line of offset for each source of the query, which only that source interprets. What Alluvia
//! needs beside them is in the plan's `conf`, under keys that Spark carries along and does not read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{RESTORE, paths};
use crate::model::{Error, Loss, Notes, Offset, OffsetRange, OffsetSeq, Result, TopicPartition};

/// How the keys of a plan's `conf` begin that are Alluvia's. `alluvia.NAME` is a note of the first source,
/// `alluvia.1.NAME` one of the second, and so on; the keys below are those of the plan itself.
const OURS: &str = "alluvia.";
/// The hash of what decides results.
const DEFINITION: &str = "alluvia.definition";
/// Offsets that were found gone when the plan was made.
const LOST: &str = "alluvia.lostRanges";
/// The version of the sink's target that holds the batch before.
const SINK_VERSION: &str = "alluvia.sinkVersion";
/// The versions of static tables.
const TABLES: &str = "alluvia.tables";
/// What is left of a batch of which the plan reads a part.
const REMAINDER: &str = "alluvia.remainder";
/// What makes the document unique to its writer.
const WRITER: &str = "alluvia.writer";
/// What stands for the offset of a source that has read nothing yet.
const NO_OFFSET: &str = "-";

/// What a micro-batch reads, and every constant that its results depend on: `offsets/N`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// N.
    pub batch_id: i64,
    /// Where it ends, for each source; where it starts is where N−1 ended, unless a source's notes say more.
    pub end: OffsetSeq,
    /// What each source noted beside its offsets; a source without an entry noted nothing.
    pub notes: Vec<Notes>,
    /// Wall clock when the batch was planned: `current_timestamp()`.
    pub timestamp_ms: i64,
    /// The watermark the batch runs with; 0 where there is none.
    pub watermark_ms: i64,
    /// Hash of the schema, mode, options and SQL it was planned with; empty in a plan of Spark.
    pub definition_hash: String,
    /// Offsets that were gone when the plan was made: every run of it records the same.
    pub lost: Vec<Loss>,
    /// The version of the sink's target that holds batch N−1, where it numbers versions: the sink looks for its
    /// newest commit from there on.
    pub sink_version: Option<u64>,
    /// The versions of the static tables that the batch is joined with, by name.
    pub table_versions: BTreeMap<String, String>,
    /// What is left to read of the trigger's batch, where that did not fit in memory and this is a part of it.
    pub remainder: Option<Remainder>,
    /// Who wrote the plan; unique to one attempt at writing it. Empty in a plan of Spark.
    pub writer: String,
    /// Settings that a plan of Spark carries and that are handed on.
    pub conf: BTreeMap<String, String>,
}

/// What is left to read of a batch that does not fit in memory. The micro-batches that follow read it, with one watermark, as
/// if the batch were one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remainder {
    /// Where it ends, for each source.
    pub end: OffsetSeq,
    /// The watermark that the last of these micro-batches runs with, in milliseconds since the Unix epoch.
    pub watermark_ms: i64,
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
    #[serde(default, rename = "alluvia.attempt", skip_serializing_if = "Option::is_none")]
    attempt: Option<String>,
}

/// What `commits/N` says of its batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchCommitted {
    /// The watermark of the next batch, in milliseconds since the Unix epoch; 0 for none.
    pub next_watermark_ms: i64,
    /// The run of the batch that counts, of a query that keeps state.
    pub attempt: Option<String>,
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

    /// What source `source`, counted from 0, noted.
    pub fn notes_of(&self, source: usize) -> Notes {
        self.notes.get(source).cloned().unwrap_or_default()
    }

    /// Where the only source of the query ends.
    ///
    /// # Errors
    /// `Config` if the query has several sources, or the one has read nothing.
    pub fn only_end(&self) -> Result<&Offset> {
        match self.end.0.as_slice() {
            [Some(end)] => Ok(end),
            others => Err(Error::config(format!(
                "offsets/{} holds the offsets of {} sources; the checkpoint is of another query",
                self.batch_id,
                others.len()
            ))
            .hint("give the stream a checkpointLocation of its own")),
        }
    }

    /// The text of `offsets/N`.
    pub fn to_text(&self) -> String {
        let line = |end: &Option<Offset>| end.as_ref().map_or(NO_OFFSET, Offset::as_json).to_owned();
        let ends: Vec<String> = self.end.0.iter().map(line).collect();
        format!("v1\n{}\n{}", self.metadata(), ends.join("\n"))
    }

    /// The second line of `offsets/N`, a JSON object: the batch's constants. With the end offsets it is the
    /// whole plan.
    pub fn metadata(&self) -> String {
        let mut conf = self.conf.clone();
        conf.insert(DEFINITION.into(), self.definition_hash.clone());
        conf.insert(WRITER.into(), self.writer.clone());
        if !self.lost.is_empty() {
            let entries: Vec<LossEntry> = self.lost.iter().map(LossEntry::of).collect();
            conf.insert(LOST.into(), serde_json::to_string(&entries).expect("entries are always JSON"));
        }
        if !self.table_versions.is_empty() {
            let versions = serde_json::to_string(&self.table_versions).expect("strings are always JSON");
            conf.insert(TABLES.into(), versions);
        }
        if let Some(remainder) = &self.remainder {
            let remainder = serde_json::to_string(remainder).expect("offsets and numbers are always JSON");
            conf.insert(REMAINDER.into(), remainder);
        }
        if let Some(version) = self.sink_version {
            conf.insert(SINK_VERSION.into(), version.to_string());
        }
        for (source, notes) in self.notes.iter().enumerate() {
            conf.extend(notes.iter().map(|(name, value)| (note_key(source, name), value.clone())));
        }
        let metadata = OffsetMetadata {
            batch_watermark_ms: self.watermark_ms,
            batch_timestamp_ms: self.timestamp_ms,
            conf,
        };
        serde_json::to_string(&metadata).expect("numbers and strings are always JSON")
    }

    /// The plan of which the second line and the offsets are known.
    ///
    /// # Errors
    /// As for [`Plan::from_text`].
    pub fn from_parts(batch_id: i64, metadata: &str, end: &OffsetSeq) -> Result<Plan> {
        Ok(Plan { end: end.clone(), ..Plan::of_metadata(batch_id, metadata)? })
    }

    /// Reads `offsets/N`, by Spark or by us.
    ///
    /// # Errors
    /// `Corrupt` if the text is cut or not of that form.
    pub fn from_text(batch_id: i64, text: &str) -> Result<Plan> {
        let file = paths::plan(batch_id);
        let mut lines = versioned(&file, text)?;
        let metadata = lines.next().ok_or_else(|| incomplete(&file))?;
        let plan = Plan::of_metadata(batch_id, metadata)?;
        let mut ends: Vec<&str> = lines.collect();
        while ends.len() > 1 && ends.last().is_some_and(|line| line.is_empty()) {
            ends.pop();
        }
        if ends.is_empty() || ends == [""] {
            return Err(incomplete(&file));
        }
        let offset = |line: &str| match line {
            NO_OFFSET => Ok(None),
            line => Offset::from_json(line).map(Some).map_err(|e| damaged(&file, e)),
        };
        let ends = ends.into_iter().map(offset).collect::<Result<_>>()?;
        Ok(Plan { end: OffsetSeq(ends), ..plan })
    }

    /// What the second line of `offsets/N` says.
    fn of_metadata(batch_id: i64, metadata: &str) -> Result<Plan> {
        let file = paths::plan(batch_id);
        let metadata: OffsetMetadata = if metadata.is_empty() {
            OffsetMetadata { batch_watermark_ms: 0, batch_timestamp_ms: 0, conf: BTreeMap::new() }
        } else {
            serde_json::from_str(metadata).map_err(|e| damaged(&file, e))?
        };
        let mut conf = metadata.conf;
        let lost: Vec<LossEntry> = match conf.remove(LOST) {
            Some(text) => serde_json::from_str(&text).map_err(|e| damaged(&file, e))?,
            None => Vec::new(),
        };
        let table_versions = match conf.remove(TABLES) {
            Some(text) => serde_json::from_str(&text).map_err(|e| damaged(&file, e))?,
            None => BTreeMap::new(),
        };
        let remainder = conf.remove(REMAINDER).map(|text| serde_json::from_str(&text)).transpose();
        let sink_version = conf.remove(SINK_VERSION).map(|text| text.parse()).transpose();
        let mut plan = Plan {
            batch_id,
            timestamp_ms: metadata.batch_timestamp_ms,
            watermark_ms: metadata.batch_watermark_ms,
            definition_hash: conf.remove(DEFINITION).unwrap_or_default(),
            lost: lost.into_iter().map(LossEntry::into_loss).collect(),
            table_versions,
            remainder: remainder.map_err(|e| damaged(&file, e))?,
            sink_version: sink_version.map_err(|e| damaged(&file, e))?,
            writer: conf.remove(WRITER).unwrap_or_default(),
            ..Plan::default()
        };
        for (key, value) in conf {
            match key.strip_prefix(OURS) {
                None => drop(plan.conf.insert(key, value)),
                Some(note) => {
                    let (source, name) = note_of(note);
                    plan.notes.resize(plan.notes.len().max(source + 1), Notes::new());
                    plan.notes[source].insert(name.to_owned(), value);
                }
            }
        }
        Ok(plan)
    }
}

/// Sources of one query at most: a key with a larger number is no note of one.
const SOURCES_MAX: usize = 64;

/// The key of a source's note.
fn note_key(source: usize, name: &str) -> String {
    match source {
        0 => format!("{OURS}{name}"),
        source => format!("{OURS}{source}.{name}"),
    }
}

/// The source and the name of a note, by its key without what all of ours begin with.
fn note_of(key: &str) -> (usize, &str) {
    let numbered = key.split_once('.').and_then(|(source, name)| Some((source.parse().ok()?, name)));
    numbered.filter(|(source, _)| (1..SOURCES_MAX).contains(source)).unwrap_or((0, key))
}

/// The text of `commits/N`.
pub fn commit_text(commit: &BatchCommitted) -> String {
    let BatchCommitted { next_watermark_ms, attempt } = commit.clone();
    let metadata = CommitMetadata { next_batch_watermark_ms: next_watermark_ms, attempt };
    let metadata = serde_json::to_string(&metadata).expect("numbers and texts are always JSON");
    format!("v1\n{metadata}")
}

/// Reads `commits/N`.
///
/// # Errors
/// `Corrupt` if the text is cut or not of that form; `Config` if it is of a format that can't be
/// carried on (`v2`, which Spark writes with state store format 2).
pub fn commit_from_text(batch_id: i64, text: &str) -> Result<BatchCommitted> {
    let file = paths::commit(batch_id);
    let mut lines = versioned(&file, text)?;
    match lines.next() {
        None | Some("") => Ok(BatchCommitted::default()),
        Some(line) => {
            let metadata: CommitMetadata = serde_json::from_str(line).map_err(|e| damaged(&file, e))?;
            let CommitMetadata { next_batch_watermark_ms: next_watermark_ms, attempt } = metadata;
            Ok(BatchCommitted { next_watermark_ms, attempt })
        }
    }
}

/// The bytes of `sources/S/0`.
pub fn initial_offset_bytes(offset: &Offset) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(format!("v1\n{offset}").into_bytes());
    bytes
}

/// Reads `sources/S/0`, named `file` in messages.
///
/// # Errors
/// `Corrupt` if the bytes are not of that form.
pub fn initial_offset_from_bytes(file: &str, bytes: &[u8]) -> Result<Offset> {
    let text = bytes.strip_prefix(&[0]).unwrap_or(bytes);
    let text = std::str::from_utf8(text).map_err(|e| damaged(file, e))?;
    let mut lines = versioned(file, text)?;
    let offset = lines.next().ok_or_else(|| incomplete(file))?;
    Offset::from_json(offset).map_err(|e| damaged(file, e))
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
        Some(_) => Err(damaged(file, "its first line is not a version")),
    }
}

fn incomplete(file: &str) -> Error {
    Error::corrupt(format!("checkpoint file {file} is empty or cut off")).hint(RESTORE)
}

fn damaged(file: &str, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::corrupt(format!("checkpoint file {file} is damaged")).source(cause).hint(RESTORE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;

    fn offset(json: &str) -> Offset {
        Offset::from_json(json).unwrap()
    }

    fn plan() -> Plan {
        Plan {
            batch_id: 3,
            end: OffsetSeq::of(offset(r#"{"t":{"0":5}}"#)),
            notes: vec![Notes::from([("isolationLevel".into(), "read_uncommitted".into())])],
            timestamp_ms: 17,
            watermark_ms: 0,
            definition_hash: "abc".into(),
            lost: Vec::new(),
            table_versions: BTreeMap::from([("devices".into(), "7@id".into())]),
            sink_version: Some(12),
            remainder: None,
            writer: "w".into(),
            conf: BTreeMap::from([("spark.sql.shuffle.partitions".into(), "200".into())]),
        }
    }

    #[test]
    fn a_plan_reads_back() {
        let range = OffsetRange { partition: TopicPartition::new("t", 0), from: 2, until: 5 };
        let lost = vec![Loss { range, why: "t-0 was \"made\" again".into() }];
        let end = OffsetSeq::of(offset(r#"{"t":{"0":9}}"#));
        let remainder = Some(Remainder { end, watermark_ms: 60_000 });
        for plan in [plan(), Plan { lost, ..plan() }, Plan { remainder, ..plan() }] {
            assert_eq!(Plan::from_text(3, &plan.to_text()).unwrap(), plan);
            assert_eq!(Plan::from_parts(3, &plan.metadata(), &plan.end).unwrap(), plan);
        }
    }

    #[test]
    fn a_plan_of_several_sources_has_a_line_and_notes_for_each() {
        let mut plan = plan();
        plan.end.0.extend([None, Some(offset("17"))]);
        plan.notes.extend([Notes::new(), Notes::from([("startTimeMs".into(), "5".into())])]);
        let text = plan.to_text();
        assert!(text.ends_with("\n{\"t\":{\"0\":5}}\n-\n17"), "{text}");
        assert!(text.contains(r#""alluvia.isolationLevel":"read_uncommitted""#), "{text}");
        assert!(text.contains(r#""alluvia.2.startTimeMs":"5""#), "{text}");
        assert_eq!(Plan::from_text(3, &text).unwrap(), plan);
        assert_eq!((plan.notes_of(2)["startTimeMs"].as_str(), plan.notes_of(9)), ("5", Notes::new()));
    }

    #[test]
    fn a_plan_of_spark_is_read() {
        let text = "v1\n{\"batchWatermarkMs\":0,\"batchTimestampMs\":1795219192752,\"conf\":{\"spark.sql.shuffle.partitions\":\"200\"}}\n{\"t\":{\"0\":105,\"1\":7}}";
        let plan = Plan::from_text(9, text).unwrap();
        assert_eq!(plan.only_end().unwrap().as_json(), r#"{"t":{"0":105,"1":7}}"#);
        assert_eq!(plan.conf["spark.sql.shuffle.partitions"], "200");
        assert!(plan.definition_hash.is_empty() && plan.notes.is_empty() && !plan.is_ours());
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
    fn several_sources_and_format_2_are_refused() {
        let two = format!("{}\n{{\"u\":{{\"0\":1}}}}", plan().to_text());
        let error = Plan::from_text(3, &two).unwrap().only_end().unwrap_err();
        assert!(
            error.kind() == Kind::Config && error.to_string().contains("the offsets of 2 sources"),
            "{error}"
        );
        let error = commit_from_text(3, "v2\n{}").unwrap_err();
        assert!(error.to_string().contains("commits/3 is in format v2"), "{error}");
    }

    #[test]
    fn commits_and_initial_offsets_read_back() {
        let plain = BatchCommitted { next_watermark_ms: 42, attempt: None };
        let stateful = BatchCommitted { attempt: Some("run".into()), ..plain.clone() };
        for commit in [plain, stateful] {
            assert_eq!(commit_from_text(1, &commit_text(&commit)).unwrap(), commit);
        }
        assert_eq!(commit_from_text(1, "v1\n{}").unwrap(), BatchCommitted::default());
        let first = offset(r#"{"t":{"0":5}}"#);
        let bytes = initial_offset_bytes(&first);
        assert_eq!(initial_offset_from_bytes("sources/0/0", &bytes).unwrap(), first);
    }
}
