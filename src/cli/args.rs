//! The command line: what can be asked for, as `clap` structures.
//!
//! Nothing is done here; [`settings`] turns flags into settings of a stream. Help texts are for people who
//! know Spark; `docs/reference/cli.md` is generated from them.
#![allow(
    missing_docs,
    reason = "a flattened field is documented by its type; a comment on it would become help text"
)]

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
use preflight::{CHECK_EXAMPLES, EXPLAIN_EXAMPLES, SQL_EXAMPLES};
pub use preflight::{CheckArgs, ExplainArgs, SchemaCommand, SchemaInferArgs, SqlArgs};
use run::{INGEST_EXAMPLES, RUN_EXAMPLES};
pub use run::{IngestArgs, LimitArgs, ObserveArgs, RunArgs};

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

const DEMO_EXAMPLES: &str = "\
Examples:
  alluvia demo
  alluvia demo --events 1000000 --dir /tmp/lake";

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

/// One stream of a file.
#[derive(Debug, Clone, Args)]
pub struct StreamArgs {
    /// A stream file (YAML)
    pub file: PathBuf,
    /// The stream, if the file has several
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,
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
