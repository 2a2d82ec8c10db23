//! The command line: what can be asked for, as `clap` structures.
//!
//! Nothing is done here; [`settings`] turns flags into settings of a stream. Help texts are for people who
//! know Spark; `docs/reference/cli.md` is generated from them.
#![allow(
    missing_docs,
    reason = "a flattened field is documented by its type; a comment on it would become help text"
)]

use std::fmt;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod settings;
pub mod table;

const TOP_EXAMPLES: &str = "\
Examples:
  alluvia demo                                  see it work, with nothing installed
  alluvia check config/ingest.yaml              find out what would go wrong
  alluvia run config/ingest.yaml                run until stopped

Exit codes: 0 ended or stopped as asked, 2 configuration, 3 a service is unavailable, 4 conflict,
5 another owner runs the stream, 6 data, 7 damaged files, 70 a defect of Alluvia.

Environment: ALLUVIA_LOG, ALLUVIA_LOG_FORMAT, ALLUVIA_MEMORY_LIMIT, ALLUVIA_LANES,
ALLUVIA_SHUTDOWN_TIMEOUT, ALLUVIA_OWNER, ALLUVIA_LISTEN, ALLUVIA_CONTROL_LISTEN,
ALLUVIA_CONTROL_TOKEN, ALLUVIA_CONTROL_TOKEN_FILE, ALLUVIA_CONTROL_TLS_CERTIFICATE,
ALLUVIA_CONTROL_TLS_KEY, ALLUVIA_PROGRESS_FILE, ALLUVIA_URL, ALLUVIA_CONTROL_URL,
OTEL_EXPORTER_OTLP_ENDPOINT and the other variables of OpenTelemetry.";

const RUN_EXAMPLES: &str = "\
Examples:
  alluvia run config/ingest.yaml
  alluvia run a.yaml b.yaml --trigger availableNow
  ALLUVIA_MEMORY_LIMIT=1g alluvia run ingest.yaml

SIGTERM or Ctrl-C finishes the running batch within shutdownTimeout, else abandons it, which is
safe; a second signal stops at once. Both exit with 0, or a failed stream's code.";

const INGEST_EXAMPLES: &str = "\
Examples:
  alluvia ingest --bootstrap-servers localhost:9092 --topic device-events \\
      --schema 'event_id STRING, temperature DOUBLE, event_time TIMESTAMP' \\
      --table ./lake/device_events
  alluvia ingest --bootstrap-servers localhost:9092 --topic raw --table ./lake/raw \\
      --trigger '5 seconds'
  alluvia ingest --from rate --option rowsPerSecond=100 --table ./lake/rate --trigger '1 second'
  alluvia ingest --bootstrap-servers localhost:9092 --topic raw --to console
  alluvia ingest … --option kafka.security.protocol=SASL_SSL --option kafka.sasl.mechanism=PLAIN \\
      --option 'kafka.sasl.jaas.config=${env:JAAS}' --print-config > stream.yaml

Run again, it goes on where it stopped: the checkpoint is under the table's _checkpoints/NAME.
A failed batch, or brokers that do not answer, are tried again 3 times (restart.maxAttempts).";

const STREAMS_EXAMPLES: &str = "\
Examples:
  alluvia streams
  alluvia status device_events
  alluvia progress device_events --watch
  alluvia stop device_events

They ask a running `alluvia run`: --url (ALLUVIA_URL) names its --listen address; stop takes
--control-url (ALLUVIA_CONTROL_URL) and the token from ALLUVIA_CONTROL_TOKEN.";

const CHECK_EXAMPLES: &str = "\
Examples:
  alluvia check config/ingest.yaml
  alluvia check config/ingest.yaml --output json

Checks the file, then broker, login, topics, the table's schema and whether the storage can be
written; says what is wrong and which key mends it. Exit code 0: a run would start.";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  alluvia explain config/ingest.yaml

No broker is asked; static tables and the target are opened, for their columns and promises.";

const SQL_EXAMPLES: &str = "\
Examples:
  alluvia sql config/ingest.yaml --sample 20
  alluvia sql config/ingest.yaml --stream device_events \\
      --query \"SELECT device, temperature FROM input WHERE temperature > 30\"

Nothing is written: no checkpoint, no table, no dead letters.";

const DEMO_EXAMPLES: &str = "\
Examples:
  alluvia demo
  alluvia demo --events 1000000 --dir /tmp/lake";

const INFER_EXAMPLES: &str = "\
Examples:
  alluvia schema infer --bootstrap-servers localhost:9092 --topic device-events
  alluvia schema infer --file sample.jsonl > schema.ddl
  alluvia ingest … --schema @schema.ddl";

const CHECKPOINT_EXAMPLES: &str = "\
Examples:
  alluvia checkpoint show ./checkpoints/device_events
  alluvia checkpoint show config/ingest.yaml --stream device_events --output json
  alluvia checkpoint rebuild config/ingest.yaml --stream device_events";

const DEAD_LETTERS_EXAMPLES: &str = "\
Examples:
  alluvia dead-letters show config/ingest.yaml --limit 20
  alluvia dead-letters replay config/ingest.yaml --dry-run";

/// Kafka to Delta Lake, exactly once, from one binary
///
/// Reads Apache Kafka, decodes JSON by a schema, and appends to Delta tables exactly once, with the words
/// and the results of Spark Structured Streaming.
#[derive(Debug, Parser)]
#[command(name = "alluvia", version = crate::model::build::line(), after_help = TOP_EXAMPLES, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: GlobalArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub struct GlobalArgs {
    /// How log lines look; auto: text on a terminal, JSON elsewhere
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value = "auto")]
    #[arg(env = "ALLUVIA_LOG_FORMAT", hide_env = true, help_heading = "Logging")]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or a filter such as info,alluvia=debug
    #[arg(long, global = true, value_name = "LEVEL", default_value = "info")]
    #[arg(env = "ALLUVIA_LOG", hide_env = true, help_heading = "Logging")]
    pub log: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
    /// Text on a terminal, JSON elsewhere.
    Auto,
}

/// How results look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// How the result of a command looks.
#[derive(Debug, Clone, Args)]
pub struct OutputArgs {
    /// How the result looks on standard output
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub output: OutputFormat,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run all streams of stream files until they end or are stopped
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Run one stream from flags alone: by default all there is now, then stop
    #[command(after_help = INGEST_EXAMPLES)]
    Ingest(Box<IngestArgs>),
    /// See it work: an embedded broker, generated device events, a local Delta table
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(DemoArgs),
    /// Say what would go wrong, and which key mends it; nothing is written to the table
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// List the streams of a running process
    #[command(after_help = STREAMS_EXAMPLES)]
    Streams(StreamsArgs),
    /// Show what a stream of a running process does, and its last error
    #[command(after_help = STREAMS_EXAMPLES)]
    Status(StatusArgs),
    /// Show the newest micro-batches of a stream of a running process
    #[command(after_help = STREAMS_EXAMPLES)]
    Progress(ProgressArgs),
    /// Stop a stream of a running process, or restart it
    #[command(after_help = STREAMS_EXAMPLES)]
    Stop(StopArgs),
    /// Show what a stream does: what is read, decoded, computed and written; nothing is run
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(ExplainArgs),
    /// Try a query out: run it over the oldest records of a stream and print the rows
    #[command(after_help = SQL_EXAMPLES)]
    Sql(SqlArgs),
    /// Work with schemas
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// Look at or rebuild a checkpoint
    #[command(subcommand, after_help = CHECKPOINT_EXAMPLES)]
    Checkpoint(CheckpointCommand),
    /// Look at or replay records that could not be decoded
    #[command(subcommand, after_help = DEAD_LETTERS_EXAMPLES)]
    DeadLetters(DeadLettersCommand),
    /// Look at the Delta table of a stream, and look after it
    #[command(subcommand, after_help = table::EXAMPLES)]
    Table(table::TableCommand),
    /// Print the completion script of a shell
    Completions(CompletionsArgs),
    /// Write the manual pages, one for each command
    Man(ManArgs),
}

/// `alluvia run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Stream files (YAML)
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Instead of every stream's trigger: availableNow, once, asSoonAsPossible or an interval
    #[arg(long, value_name = "TRIGGER")]
    pub trigger: Option<String>,
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Wait for another process that runs a stream to end, instead of leaving with exit code 5
    #[arg(long)]
    pub wait_for_lease: bool,
    /// Take a stream over from another process that runs it: that one stops before its next commit
    #[arg(long, conflicts_with = "wait_for_lease")]
    pub take_over: bool,
    #[command(flatten)]
    pub observe: ObserveArgs,
    /// Print the configuration that the layers add up to, secrets masked, and stop
    #[arg(long)]
    pub print_config: bool,
}

/// What bounds a stream; goes before the file and the environment.
#[derive(Debug, Clone, Args)]
pub struct LimitArgs {
    /// What the buffers are sized for, such as 512 MiB; at least 32 MiB
    #[arg(long, value_name = "SIZE")]
    pub memory_limit: Option<String>,
    /// How many threads fetch, decode and encode
    #[arg(long, value_name = "N")]
    pub lanes: Option<String>,
    /// How long a stop waits for the running batch
    #[arg(long, value_name = "TIME")]
    pub shutdown_timeout: Option<String>,
}

/// What a process shows of itself, and who may control it.
#[derive(Debug, Clone, Args)]
pub struct ObserveArgs {
    /// Address of metrics, health, status API and page: HOST:PORT, :PORT or off [default: 127.0.0.1:9464 of run, off of ingest]
    #[arg(long, value_name = "ADDRESS", env = "ALLUVIA_LISTEN", hide_env = true)]
    #[arg(help_heading = "Observe and control")]
    pub listen: Option<String>,
    /// Address at which streams can be stopped and restarted [default: 127.0.0.1:9465 of run, off of ingest]
    #[arg(long, value_name = "ADDRESS", env = "ALLUVIA_CONTROL_LISTEN", hide_env = true)]
    #[arg(help_heading = "Observe and control")]
    pub control_listen: Option<String>,
    /// File with the token that control requests must bear; or set ALLUVIA_CONTROL_TOKEN
    #[arg(long, value_name = "PATH", env = "ALLUVIA_CONTROL_TOKEN_FILE", hide_env = true)]
    #[arg(help_heading = "Observe and control")]
    pub control_token_file: Option<PathBuf>,
    /// Certificate (PEM, with its chain) that the control listener shows: it then speaks TLS
    #[arg(long, value_name = "PATH", env = "ALLUVIA_CONTROL_TLS_CERTIFICATE", hide_env = true)]
    #[arg(help_heading = "Observe and control", requires = "control_tls_key")]
    pub control_tls_certificate: Option<PathBuf>,
    /// The private key of that certificate (PEM)
    #[arg(long, value_name = "PATH", env = "ALLUVIA_CONTROL_TLS_KEY", hide_env = true)]
    #[arg(help_heading = "Observe and control", requires = "control_tls_certificate")]
    pub control_tls_key: Option<PathBuf>,
    /// File that takes the progress of every micro-batch as a JSON line; - is standard output
    #[arg(long, value_name = "PATH", env = "ALLUVIA_PROGRESS_FILE", hide_env = true)]
    #[arg(help_heading = "Observe and control")]
    pub progress_file: Option<PathBuf>,
    /// Collector that takes each micro-batch as an OpenTelemetry trace, such as http://collector:4318
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT", hide_env = true)]
    #[arg(help_heading = "Observe and control")]
    pub otlp_endpoint: Option<String>,
}

/// A running process to ask.
#[derive(Debug, Clone, Args)]
pub struct ClientArgs {
    /// The address that it listens at
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9464")]
    #[arg(env = "ALLUVIA_URL", hide_env = true)]
    pub url: String,
}

/// `alluvia streams`.
#[derive(Debug, Clone, Args)]
pub struct StreamsArgs {
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `alluvia status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// The stream; absent: all of them
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `alluvia progress`.
#[derive(Debug, Clone, Args)]
pub struct ProgressArgs {
    /// The stream, if the process has several
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Show every micro-batch as it comes, until the stream has ended
    #[arg(long)]
    pub watch: bool,
    /// Show all micro-batches that are kept (100), not the newest alone
    #[arg(long, conflicts_with = "watch")]
    pub recent: bool,
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `alluvia stop`.
#[derive(Debug, Clone, Args)]
pub struct StopArgs {
    /// The stream
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Start it again when it has stopped; one that has failed is started
    #[arg(long)]
    pub restart: bool,
    /// Do not wait until it has stopped
    #[arg(long)]
    pub no_wait: bool,
    /// How many seconds it may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub timeout: u64,
    /// The address of the control listener
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9465")]
    #[arg(env = "ALLUVIA_CONTROL_URL", hide_env = true)]
    pub control_url: String,
    /// File with the token that control requests must bear; or set ALLUVIA_CONTROL_TOKEN
    #[arg(long, value_name = "PATH", env = "ALLUVIA_CONTROL_TOKEN_FILE", hide_env = true)]
    pub control_token_file: Option<PathBuf>,
}

/// `alluvia ingest`.
#[derive(Debug, Clone, Args)]
pub struct IngestArgs {
    /// What is read: kafka, rate or socket
    #[arg(long, value_name = "FORMAT", default_value = "kafka")]
    pub from: String,
    /// What is written: delta or console
    #[arg(long, value_name = "FORMAT", default_value = "delta")]
    pub to: String,
    /// Brokers, host:port, separated by commas
    #[arg(long, value_name = "HOSTS", required_unless_present = "from")]
    pub bootstrap_servers: Option<String>,
    /// Topics, separated by commas; or give --option subscribePattern=… or --option assign=…
    #[arg(long, value_name = "TOPICS")]
    pub topic: Option<String>,
    /// Where the Delta table is: a URL or a path; it is made if it is not there
    #[arg(long, value_name = "URL", required_unless_present = "to")]
    pub table: Option<String>,
    /// The columns of JSON values as Spark DDL, or @FILE; absent: the raw Kafka columns
    #[arg(long, value_name = "DDL")]
    pub schema: Option<String>,
    /// What becomes of malformed records: PERMISSIVE, FAILFAST or DROPMALFORMED
    #[arg(long, requires = "schema")]
    pub mode: Option<String>,
    /// Kafka's columns beside the decoded ones: topic,partition,offset,timestamp,…
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', requires = "schema")]
    pub keep: Vec<String>,
    /// A Delta table that takes malformed records
    #[arg(long, value_name = "URL")]
    pub dead_letter: Option<String>,
    /// Partition columns of the table
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub partition_by: Vec<String>,
    /// Where a new stream starts: earliest, latest or Spark's JSON [default: earliest]
    #[arg(long, value_name = "WHERE")]
    pub starting_offsets: Option<String>,
    /// When batches start: availableNow, once, asSoonAsPossible or an interval such as '5 seconds'
    #[arg(long, default_value = "availableNow")]
    pub trigger: String,
    /// The stream's name [default: the last part of the table's path; of a console, console]
    #[arg(long)]
    pub name: Option<String>,
    /// Where progress is kept [default: _checkpoints/NAME under the table; of a console, a new temporary folder]
    #[arg(long, value_name = "URL")]
    pub checkpoint: Option<String>,
    /// Any other option of the source; may be repeated
    #[arg(long = "option", value_name = "KEY=VALUE", value_parser = key_value)]
    pub options: Vec<KeyValue>,
    /// Any option of the sink; may be repeated
    #[arg(long = "sink-option", value_name = "KEY=VALUE", value_parser = key_value)]
    pub sink_options: Vec<KeyValue>,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub observe: ObserveArgs,
    /// Print the same stream as a stream file, secrets masked, and stop
    #[arg(long)]
    pub print_config: bool,
}

/// `alluvia demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// How many events are generated
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub events: u64,
    /// At most this many a second [default: as fast as it goes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,
    /// Where table and checkpoint go [default: a new folder under the system's temporary one]
    #[arg(long, value_name = "PATH")]
    pub dir: Option<PathBuf>,
}

/// `alluvia check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Stream files (YAML)
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `alluvia explain`.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// Stream files (YAML)
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `alluvia sql`.
#[derive(Debug, Clone, Args)]
pub struct SqlArgs {
    #[command(flatten)]
    pub stream: StreamArgs,
    /// How many records are read, about
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub sample: u64,
    /// Instead of the stream's sql
    #[arg(long, value_name = "SQL")]
    pub query: Option<String>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `alluvia schema …`.
#[derive(Debug, Subcommand)]
pub enum SchemaCommand {
    /// Read a sample of a topic or of a file of JSON lines, and print the DDL that fits it
    #[command(after_help = INFER_EXAMPLES)]
    Infer(SchemaInferArgs),
}

/// `alluvia schema infer`.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("sample").required(true).args(["topic", "file"]))]
pub struct SchemaInferArgs {
    /// Brokers, host:port, separated by commas
    #[arg(long, value_name = "HOSTS", required_unless_present = "file")]
    pub bootstrap_servers: Option<String>,
    /// The topic to sample
    #[arg(long)]
    pub topic: Option<String>,
    /// A file of JSON lines to sample instead
    #[arg(long, conflicts_with_all = ["bootstrap_servers", "options"])]
    pub file: Option<PathBuf>,
    /// How many records are looked at
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub records: u64,
    /// Any other option of the Kafka source; may be repeated
    #[arg(long = "option", value_name = "KEY=VALUE", value_parser = key_value)]
    pub options: Vec<KeyValue>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// One stream of a file.
#[derive(Debug, Clone, Args)]
pub struct StreamArgs {
    /// A stream file (YAML)
    pub file: PathBuf,
    /// The stream, if the file has several
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,
}

/// `alluvia checkpoint …`.
#[derive(Debug, Subcommand)]
pub enum CheckpointCommand {
    /// Show what a checkpoint knows: query id, batches planned and committed, offsets
    Show(CheckpointShowArgs),
    /// Make a lost checkpoint anew from what the table's commits say
    Rebuild(CheckpointRebuildArgs),
}

/// `alluvia checkpoint show`.
#[derive(Debug, Clone, Args)]
pub struct CheckpointShowArgs {
    /// A checkpoint's URL or path, or a stream file (YAML)
    #[arg(value_name = "CHECKPOINT")]
    pub target: String,
    /// The stream, if a file has several
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,
    /// How many of the newest batches are shown
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub batches: usize,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `alluvia checkpoint rebuild`.
#[derive(Debug, Clone, Args)]
pub struct CheckpointRebuildArgs {
    #[command(flatten)]
    pub stream: StreamArgs,
    /// The query, if several have written to the table (the message names them)
    #[arg(long, value_name = "ID")]
    pub query_id: Option<String>,
    /// Only say what would be written
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `alluvia dead-letters …`.
#[derive(Debug, Subcommand)]
pub enum DeadLettersCommand {
    /// Show dead letters: where they come from and why they are there
    Show(DeadLettersShowArgs),
    /// Decode dead letters again by the stream's present schema and append those that fit now
    Replay(DeadLettersReplayArgs),
}

/// `alluvia dead-letters show`.
#[derive(Debug, Clone, Args)]
pub struct DeadLettersShowArgs {
    #[command(flatten)]
    pub stream: StreamArgs,
    /// How many are shown, the newest first
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub limit: usize,
    /// Only those with this error code
    #[arg(long)]
    pub code: Option<String>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `alluvia dead-letters replay`.
#[derive(Debug, Clone, Args)]
pub struct DeadLettersReplayArgs {
    #[command(flatten)]
    pub stream: StreamArgs,
    /// Only say how many would fit now
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `alluvia completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `alluvia man`.
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// The folder they are written to, such as ~/.local/share/man/man1; it is made if it is missing
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
}

/// An option of the Kafka source; its value may be a secret.
#[derive(Clone)]
pub struct KeyValue {
    pub key: String,
    pub value: String,
}

impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)
    }
}

fn key_value(text: &str) -> Result<KeyValue, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok(KeyValue { key: key.trim().to_owned(), value: value.to_owned() })
        }
        _ => Err("expected KEY=VALUE".into()),
    }
}
