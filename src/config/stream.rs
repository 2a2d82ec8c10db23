//! The validated configuration: what every later stage may take for granted.
//!
//! Values here are complete (defaults applied, secrets resolved, paths absolute) and consistent with
//! each other. What only a service can tell (does the topic exist, does the table fit) is not
//! known here. Nothing here prints a secret.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::document::Node;
use super::formats::{SinkConfig, SourceFormat};
use super::kafka::KafkaOptions;
use crate::model::{KafkaColumn, Marks, OutputMode};

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
        match &self.format {
            SourceFormat::Kafka(options) => Some(options.as_ref()),
            SourceFormat::Rate(_) | SourceFormat::Socket(_) => None,
        }
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
    /// `columnNameOfCorruptRecord`; it is filled only if the schema has a STRING column of this name.
    pub corrupt_column: String,
    /// Spark's JSON options (`timestampFormat`, …), names as Spark spells them, values not yet parsed.
    pub options: BTreeMap<String, String>,
    /// Kafka's columns beside the decoded ones, in this order, behind them.
    pub keep: Vec<KafkaColumn>,
}

/// Spark's parse modes; PERMISSIVE and FAILFAST as in `from_json`, DROPMALFORMED as in its file sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseMode {
    /// Fields that cannot be parsed are null; the raw text goes to the corrupt-record column.
    Permissive,
    /// The first malformed record stops the stream.
    FailFast,
    /// Malformed records are left out.
    DropMalformed,
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

/// How a static table's rows are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFormat {
    /// A Delta table.
    Delta,
    /// Parquet files.
    Parquet,
    /// CSV files.
    Csv,
    /// JSON files, one object a line.
    Json,
}

/// A Delta table that rows are appended to; it is made if it is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaSink {
    /// `path`, or `table` under the file's `warehouse`.
    pub url: Url,
    /// `partitionBy`, in order; empty for a table without partitions.
    pub partition_by: Vec<String>,
    /// `mergeSchema`: new columns are added to an existing table.
    pub merge_schema: bool,
    /// `merge`: rows are merged by their keys; absent, they are appended.
    pub merge: Option<Box<MergeConfig>>,
    /// `autoCompact`: whether small files are joined between micro-batches; absent, the table's properties decide.
    pub auto_compact: Option<bool>,
    /// `autoVacuum`: how often files that the table does not need any more are deleted; absent, never.
    pub auto_vacuum: Option<Duration>,
    /// `tableProperties` (`delta.…`) of a table that is made now.
    pub table_properties: BTreeMap<String, String>,
}

/// How rows are merged into a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeConfig {
    /// `keys`: the columns, or fields `column.field`, that make a row's key.
    pub keys: Vec<String>,
    /// `whenMatched`: what becomes of a row whose key the table holds.
    pub when_matched: WhenMatched,
    /// `within` and `eventTime`: how far apart in event time rows of one key are at most; absent, any time.
    pub within: Option<MergeWithin>,
    /// Where the index of the table's keys is: a folder of the stream's own on a local disk.
    pub index_folder: PathBuf,
}

/// How far apart rows of one key are at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeWithin {
    /// `eventTime`: the column.
    pub event_time: String,
    /// `within`.
    pub length: Duration,
}

/// What becomes of a row whose key the table holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhenMatched {
    /// It is left out.
    Ignore,
    /// It takes the place of the table's row.
    Update(Box<UpdateConfig>),
}

/// Which row of a key is the one that stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateConfig {
    /// `orderBy`: the column by which a row is newer than another; absent, the order of the source.
    pub order_by: Option<String>,
    /// `deleteWhen`: the rows that delete their key.
    pub delete_when: Option<DeleteWhen>,
}

/// Rows that delete their key: those whose `column` is one of `values`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteWhen {
    /// A column of texts or of booleans.
    pub column: String,
    /// `true` and `false` of booleans.
    pub values: Vec<String>,
}

/// A Delta table whose columns Alluvia decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaTarget {
    /// Where it is.
    pub url: Url,
    /// `tableProperties` of a table that is made now.
    pub table_properties: BTreeMap<String, String>,
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

/// Settings of object stores, under object_store's names (`azure_storage_account_key`, …). May hold
/// secrets: only names are ever printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StorageOptions(pub BTreeMap<String, String>);

impl fmt::Debug for StorageOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Trigger {
    /// Whether the stream ends by itself.
    pub fn ends(self) -> bool {
        matches!(self, Trigger::Once | Trigger::AvailableNow)
    }
}

impl ParseMode {
    /// Every mode.
    pub const ALL: [ParseMode; 3] = [ParseMode::Permissive, ParseMode::FailFast, ParseMode::DropMalformed];

    /// Spark's word.
    pub fn as_str(self) -> &'static str {
        match self {
            ParseMode::Permissive => "PERMISSIVE",
            ParseMode::FailFast => "FAILFAST",
            ParseMode::DropMalformed => "DROPMALFORMED",
        }
    }
}
