//! The commands to use before a run, which write nothing: `check`, `explain`, `sql` and `schema infer`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{KeyValue, OutputArgs, StreamArgs, key_value};

pub(super) const CHECK_EXAMPLES: &str = "\
Examples:
  alluvia check config/ingest.yaml
  alluvia check config/ingest.yaml --output json

Checks the file, then the broker, the login, the topics, the table's schema and whether the storage
is writable. Reports what is wrong and which key to change. Exit code 0: a run would start.";

pub(super) const EXPLAIN_EXAMPLES: &str = "\
Examples:
  alluvia explain config/ingest.yaml

Does not contact the broker. Opens the static tables and the target to read their columns and
guarantees.";

pub(super) const SQL_EXAMPLES: &str = "\
Examples:
  alluvia sql config/ingest.yaml --sample 20
  alluvia sql config/ingest.yaml --stream device_events \\
      --query \"SELECT device, temperature FROM input WHERE temperature > 30\"

Writes nothing: no checkpoint, no table, no dead letters.";

const INFER_EXAMPLES: &str = "\
Examples:
  alluvia schema infer --bootstrap-servers localhost:9092 --topic device-events
  alluvia schema infer --file sample.jsonl > schema.ddl
  alluvia ingest … --schema @schema.ddl";

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
    /// Show the query's plan with every operator that is run
    #[arg(long)]
    pub verbose: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `alluvia sql`.
#[derive(Debug, Clone, Args)]
pub struct SqlArgs {
    #[command(flatten)]
    pub stream: StreamArgs,
    /// Approximate number of records to read
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub sample: u64,
    /// The query to run instead of the stream's sql
    #[arg(long, value_name = "SQL")]
    pub query: Option<String>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `alluvia schema …`.
#[derive(Debug, Subcommand)]
pub enum SchemaCommand {
    /// Read a sample from a topic or from a file of JSON lines, and print the DDL that fits it
    #[command(after_help = INFER_EXAMPLES)]
    Infer(SchemaInferArgs),
}

/// `alluvia schema infer`.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("sample").required(true).args(["topic", "file"]))]
pub struct SchemaInferArgs {
    /// Brokers as host:port, separated by commas
    #[arg(long, value_name = "HOSTS", required_unless_present = "file")]
    pub bootstrap_servers: Option<String>,
    /// The topic to sample
    #[arg(long)]
    pub topic: Option<String>,
    /// A file of JSON lines to sample instead of a topic
    #[arg(long, conflicts_with_all = ["bootstrap_servers", "options"])]
    pub file: Option<PathBuf>,
    /// Maximum number of records to sample
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub records: u64,
    /// Any other option of the Kafka source; may be repeated
    #[arg(long = "option", value_name = "KEY=VALUE", value_parser = key_value)]
    pub options: Vec<KeyValue>,
    #[command(flatten)]
    pub output: OutputArgs,
}
