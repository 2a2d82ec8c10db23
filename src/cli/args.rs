//! The command line, as `clap` structures.
//!
//! Nothing is executed here; [`settings`] turns flags into settings of a stream. Help texts are for people who
//! know Spark; `docs/reference/cli.md` is generated from them.
#![allow(
    missing_docs,
    reason = "a flattened field is documented by its type; a comment on it would become help text"
)]

mod flag_words;
mod settings;
pub mod table;
mod run;
mod client;
mod preflight;
mod checkpoint;
mod dead_letters;

use std::fmt;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use checkpoint::CHECKPOINT_EXAMPLES;
pub use checkpoint::{CheckpointCommand, CheckpointRebuildArgs, CheckpointShowArgs};
use client::STREAMS_EXAMPLES;
pub use client::{ClientArgs, ProgressArgs, StatusArgs, StopArgs, StreamsArgs};
use dead_letters::DEAD_LETTERS_EXAMPLES;
pub use dead_letters::{DeadLettersCommand, DeadLettersReplayArgs, DeadLettersShowArgs};
pub(super) use flag_words::in_flags;
use preflight::{CHECK_EXAMPLES, EXPLAIN_EXAMPLES, SQL_EXAMPLES};
pub use preflight::{CheckArgs, ExplainArgs, SchemaCommand, SchemaInferArgs, SqlArgs};
use run::{INGEST_EXAMPLES, RUN_EXAMPLES};
pub use run::{IngestArgs, LimitArgs, ObserveArgs, RunArgs};

const TOP_EXAMPLES: &str = "\
Examples:
  alluvia demo                                  try Alluvia, with nothing installed
  alluvia check config/ingest.yaml              find out what would go wrong
  alluvia run config/ingest.yaml                run until stopped

Exit codes: 0 ended, or stopped on request, 2 configuration, 3 a service is unavailable, 4 conflict,
5 another owner runs the stream, 6 data, 7 damaged files, 70 a defect in Alluvia.

Environment: ALLUVIA_LOG, ALLUVIA_LOG_FORMAT, ALLUVIA_MEMORY_LIMIT, ALLUVIA_LANES,
ALLUVIA_SHUTDOWN_TIMEOUT, ALLUVIA_OWNER, ALLUVIA_LISTEN, ALLUVIA_CONTROL_LISTEN,
ALLUVIA_CONTROL_TOKEN, ALLUVIA_CONTROL_TOKEN_FILE, ALLUVIA_CONTROL_TLS_CERTIFICATE,
ALLUVIA_CONTROL_TLS_KEY, ALLUVIA_PROGRESS_FILE, ALLUVIA_URL, ALLUVIA_CONTROL_URL,
OTEL_EXPORTER_OTLP_ENDPOINT and the other variables of OpenTelemetry.";

const DEMO_EXAMPLES: &str = "\
Examples:
  alluvia demo
  alluvia demo --events 1000000 --dir /tmp/lake";

/// Kafka to Delta Lake, exactly once, from one binary
///
/// Reads Apache Kafka or Azure Event Hubs, decodes JSON with a schema, and writes to Delta tables exactly once,
/// with the option names and the results of Spark Structured Streaming.
#[derive(Debug, Parser)]
#[command(name = "alluvia", version = crate::model::build::line(), after_help = TOP_EXAMPLES, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: GlobalArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// The flags of every command.
#[derive(Debug, Clone, Args)]
pub struct GlobalArgs {
    /// Format of log lines; auto: text on a terminal, JSON elsewhere
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value = "auto")]
    #[arg(env = "ALLUVIA_LOG_FORMAT", hide_env = true, help_heading = "Logging")]
    pub log_format: LogFormat,
    /// What to log: error, warn, info, debug, trace, or a filter such as info,alluvia=debug
    #[arg(long, global = true, value_name = "LEVEL", default_value = "info")]
    #[arg(env = "ALLUVIA_LOG", hide_env = true, help_heading = "Logging")]
    pub log: String,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text, for people.
    Text,
    /// One JSON object per line.
    Json,
    /// Text on a terminal, JSON elsewhere.
    Auto,
}

/// The format of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Text, for people.
    Text,
    /// JSON, for programs.
    Json,
}

/// The format of the result of a command.
#[derive(Debug, Clone, Args)]
pub struct OutputArgs {
    /// Format of the result on standard output
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub output: OutputFormat,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run all streams of the given stream files until they end or are stopped
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Run one stream from flags alone; by default, read all existing records, then stop
    #[command(after_help = INGEST_EXAMPLES)]
    Ingest(Box<IngestArgs>),
    /// Try Alluvia: an embedded broker, generated device events, a local Delta table
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(DemoArgs),
    /// Report what would go wrong and which key to change; writes nothing to the table
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// List the streams of a running process
    #[command(after_help = STREAMS_EXAMPLES)]
    Streams(StreamsArgs),
    /// Show what a stream of a running process is doing, and its last error
    #[command(after_help = STREAMS_EXAMPLES)]
    Status(StatusArgs),
    /// Show the latest micro-batches of a stream of a running process
    #[command(after_help = STREAMS_EXAMPLES)]
    Progress(ProgressArgs),
    /// Stop or restart a stream of a running process
    #[command(after_help = STREAMS_EXAMPLES)]
    Stop(StopArgs),
    /// Show what a stream reads, decodes, computes and writes; runs nothing
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(ExplainArgs),
    /// Try a query: run it over the oldest records of a stream and print the rows
    #[command(after_help = SQL_EXAMPLES)]
    Sql(SqlArgs),
    /// Work with schemas
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// Show or rebuild a checkpoint
    #[command(subcommand, after_help = CHECKPOINT_EXAMPLES)]
    Checkpoint(CheckpointCommand),
    /// Show or replay dead letters: records that were rejected
    #[command(subcommand, after_help = DEAD_LETTERS_EXAMPLES)]
    DeadLetters(DeadLettersCommand),
    /// Inspect and maintain the Delta table of a stream
    #[command(subcommand, after_help = table::EXAMPLES)]
    Table(table::TableCommand),
    /// Print the completion script for a shell
    Completions(CompletionsArgs),
    /// Write the manual pages, one for each command
    Man(ManArgs),
}

/// `alluvia demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Number of events to generate
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub events: u64,
    /// Maximum number of events per second [default: as fast as possible]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,
    /// Folder for the tables and checkpoints [default: a new folder in the system's temporary folder]
    #[arg(long, value_name = "PATH")]
    pub dir: Option<PathBuf>,
}

/// One stream of a file.
#[derive(Debug, Clone, Args)]
pub struct StreamArgs {
    /// A stream file (YAML)
    pub file: PathBuf,
    /// The stream to use, if the file has several
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,
}

/// `alluvia completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// The shell to complete for
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `alluvia man`.
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// Folder to write them to, such as ~/.local/share/man/man1; created if it does not exist
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
}

/// A key and its value, which may be a secret.
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
