//! The validated configuration: what every later stage may take for granted.
//!
//! Values here are complete (defaults applied, secrets resolved, paths absolute) and consistent with
//! each other. What only a service can tell (does the topic exist, does the table fit) is not
//! known here. Nothing here prints a secret.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::azure::StorageOptions;
use super::delta::DeltaTarget;
use super::document::Node;
use super::formats::{SinkConfig, SourceFormat};
use super::kafka::KafkaOptions;
use crate::decode::json::ParseMode;
use crate::model::{Hidden, Marks, OutputMode, RecordColumn, TableFormat};

/// All streams of one process.
#[derive(Debug, Clone)]
pub struct Config {
    /// In the order of the files and of the streams in them; names and checkpoints are unique.
    pub streams: Vec<StreamConfig>,
    /// What was accepted but has no effect, and why; to be logged once at start.
    pub warnings: Vec<String>,
    /// The streams as they were declared, all layers applied, `${…}` unresolved; see [`Config::to_yaml`].
    pub(super) declared: Vec<Node>,
}

/// One stream: a source, what is made of its values, and where they go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamConfig {
    /// Spark's `queryName`; unique in the process, no slashes or control characters.
    pub name: String,
    /// What is read.
    pub source: SourceConfig,
    /// What is written.
    pub sink: SinkConfig,
    /// `stateFolder`: where the local copy of the query's state lies.
    pub state_folder: PathBuf,
    /// `outputMode`.
    pub output_mode: OutputMode,
    /// `sql`: the query over the input; `None`: every column of it.
    pub sql: Option<String>,
    /// `views`, in order.
    pub views: Vec<ViewConfig>,
    /// `tables`, by name.
    pub tables: Vec<TableConfig>,
    /// What `${env:…}` and `${file:…}` inside of `sql` and `views` stand for: not to be shown.
    pub hidden: Hidden,
    /// `deadLetter`: where malformed records go; `None` follows Spark's rules by mode.
    pub dead_letter: Option<DeltaTarget>,
    /// When a micro-batch starts.
    pub trigger: Trigger,
    /// `checkpointLocation`.
    pub checkpoint: Url,
    /// `storageOptions`, under object_store's names, for the sink, the dead letters and the checkpoint.
    pub storage: StorageOptions,
    /// `shutdownTimeout`: how long a stop waits for the running batch before it is abandoned.
    pub shutdown_timeout: Duration,
    /// `minCommitInterval`: the least time between two commits. Zero unless the trigger is
    /// [`Trigger::AsSoonAsPossible`].
    pub min_commit_interval: Duration,
    /// `memoryLimit` in bytes, what the buffers are sized for. `None`: they have fixed sizes.
    pub memory_limit: Option<u64>,
    /// `lanes`: how many threads fetch, decode and encode. `None`: one per core.
    pub lanes: Option<usize>,
    /// `minBatchesToRetain`: how many batches stay in the checkpoint's logs (Spark's
    /// `spark.sql.streaming.minBatchesToRetain`).
    pub min_batches_to_retain: u32,
    /// `restart`: what happens after an error that may pass.
    pub restart: RestartPolicy,
    /// `conf`: the Spark settings that change results, under Spark's names.
    pub conf: BTreeMap<String, String>,
}

/// What a stream reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceConfig {
    /// The source and its options.
    pub format: SourceFormat,
    /// What becomes of a record's value.
    pub value: ValueConfig,
    /// `watermark`, `dropDuplicates`, `dropDuplicatesWithinWatermark`.
    pub marks: Marks,
}

impl SourceConfig {
    /// The Kafka source and its client, if the stream reads Kafka.
    pub fn kafka(&self) -> Option<&KafkaOptions> {
        let SourceFormat::Kafka(options) = &self.format else { return None };
        Some(options.as_ref())
    }
}

/// What becomes of a record's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueConfig {
    /// Nothing: the rows have the source's own columns, as in Spark.
    Raw,
    /// Its JSON text is decoded by a schema.
    Json(JsonValue),
}

/// How JSON values are decoded: the arguments of Spark's `from_json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonValue {
    /// The schema as DDL text, which can be read.
    pub schema: String,
    /// What becomes of a malformed record.
    pub mode: ParseMode,
    /// Whether the mode is written in the file: rows of NULL are then what was asked for.
    pub mode_given: bool,
    /// `columnNameOfCorruptRecord`; it is filled only if the schema has a STRING column of this name.
    pub corrupt_column: String,
    /// Spark's JSON options (`timestampFormat`, …), names as Spark spells them, values not yet parsed.
    pub options: BTreeMap<String, String>,
    /// Kafka's columns beside the decoded ones, in this order, behind them.
    pub keep: Vec<RecordColumn>,
}

/// A named SELECT between the input and the query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewConfig {
    /// What it is called by; unique without case.
    pub name: String,
    /// Its SELECT, not yet parsed.
    pub sql: String,
    /// `watermark`, `dropDuplicates`, `dropDuplicatesWithinWatermark` of its rows.
    pub marks: Marks,
}

/// A static table that the query may join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableConfig {
    /// What it is called by; unique without case.
    pub name: String,
    /// How its rows are stored.
    pub format: TableFormat,
    /// Its folder or its one file.
    pub url: Url,
    /// Its columns as DDL text, which can be read.
    pub schema: Option<String>,
    /// CSV: whether the first line of a file has names.
    pub header: bool,
    /// CSV: what is between two values.
    pub separator: u8,
}

/// When a micro-batch starts, and whether the stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// No trigger given: the next batch starts when the last one is done.
    AsSoonAsPossible,
    /// `processingTime`: at multiples of this time since the Unix epoch; zero is as fast as possible.
    ProcessingTime(Duration),
    /// One batch of all there is, without limits, then the end.
    Once,
    /// All there is at the start, in batches within the limits, then the end.
    AvailableNow,
}

/// What happens after an error that may pass (`Kind::retries`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// How many times in a row a failed batch is run again; the count restarts at every commit. `None`: until it
    /// works.
    pub max_attempts: Option<u32>,
    /// The wait before the first of them; it doubles each time, to at most a minute.
    pub backoff: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        RestartPolicy { max_attempts: None, backoff: Duration::from_secs(1) }
    }
}

impl Trigger {
    /// Whether the stream ends by itself.
    pub fn ends(self) -> bool {
        matches!(self, Trigger::Once | Trigger::AvailableNow)
    }
}
