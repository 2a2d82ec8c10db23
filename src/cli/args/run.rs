//! `alluvia run` and `alluvia ingest`: the flags that start streams, limit them, and make them observable.

use std::path::PathBuf;

use clap::Args;

use super::{KeyValue, key_value};

pub(super) const RUN_EXAMPLES: &str = "\
Examples:
  alluvia run config/ingest.yaml
  alluvia run a.yaml b.yaml --trigger availableNow
  ALLUVIA_MEMORY_LIMIT=1g alluvia run ingest.yaml

SIGTERM or Ctrl-C stops the streams: the running batch is finished within shutdownTimeout, or else
abandoned, which is safe. A second signal stops at once. Both exit with code 0, or with that of a
failed stream.";

pub(super) const INGEST_EXAMPLES: &str = "\
Examples:
  alluvia ingest --bootstrap-servers localhost:9092 --topic device-events \\
      --schema 'event_id STRING, temperature DOUBLE, event_time TIMESTAMP' \\
      --table ./lake/device_events
  alluvia ingest --bootstrap-servers localhost:9092 --topic raw --table ./lake/raw \\
      --trigger '5 seconds'
  alluvia ingest --bootstrap-servers localhost:9092 --topic orders \\
      --schema 'id STRING, total DOUBLE' --sql 'SELECT id, total FROM input WHERE total > 0' \\
      --merge-key id --when-matched update --table ./lake/orders
  alluvia ingest --from rate --option rowsPerSecond=100 --table ./lake/rate --trigger '1 second'
  alluvia ingest --bootstrap-servers localhost:9092 --topic raw --to console
  alluvia ingest … --option kafka.security.protocol=SASL_SSL --option kafka.sasl.mechanism=PLAIN \\
      --option 'kafka.sasl.jaas.config=${env:JAAS}' --print-config > stream.yaml

If you run the command again, it continues where it stopped. By default the checkpoint is in
TABLE/_checkpoints/NAME. If a batch fails or the brokers do not answer, it is retried 3 times
(restart.maxAttempts).";

/// `alluvia run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Stream files (YAML)
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Trigger to use instead of every stream's own: availableNow, once, asSoonAsPossible or an interval
    #[arg(long, value_name = "TRIGGER")]
    pub trigger: Option<String>,
    #[command(flatten)]
    pub limits: LimitArgs,
    /// If another process runs a stream, wait for it to end instead of failing with exit code 5
    #[arg(long)]
    pub wait_for_lease: bool,
    /// If another process runs a stream, take it over; that process stops before its next commit
    #[arg(long, conflicts_with = "wait_for_lease")]
    pub take_over: bool,
    #[command(flatten)]
    pub observe: ObserveArgs,
    /// Print the effective configuration with secrets masked, and exit
    #[arg(long)]
    pub print_config: bool,
}

/// The limits of a stream; they override the file and the environment.
#[derive(Debug, Clone, Args)]
pub struct LimitArgs {
    /// Memory that a stream's buffers are sized for, such as 512 MiB; at least 32 MiB
    #[arg(long, value_name = "SIZE")]
    pub memory_limit: Option<String>,
    /// Number of threads that fetch, decode and encode
    #[arg(long, value_name = "N")]
    pub lanes: Option<String>,
    /// How long a stop waits for the running micro-batch
    #[arg(long, value_name = "TIME")]
    pub shutdown_timeout: Option<String>,
}

/// How a process can be observed and controlled.
#[derive(Debug, Clone, Args)]
pub struct ObserveArgs {
    /// Address for metrics, health, status API and status page: HOST:PORT, :PORT or off [default: 127.0.0.1:9464 for run, off for ingest]
    #[arg(long, value_name = "ADDRESS", env = "ALLUVIA_LISTEN", hide_env = true)]
    #[arg(help_heading = "Observe and control")]
    pub listen: Option<String>,
    /// Address at which streams can be stopped and restarted [default: 127.0.0.1:9465 for run, off for ingest]
    #[arg(long, value_name = "ADDRESS", env = "ALLUVIA_CONTROL_LISTEN", hide_env = true)]
    #[arg(help_heading = "Observe and control")]
    pub control_listen: Option<String>,
    /// File with the token that control requests must carry; or set ALLUVIA_CONTROL_TOKEN
    #[arg(long, value_name = "PATH", env = "ALLUVIA_CONTROL_TOKEN_FILE", hide_env = true)]
    #[arg(help_heading = "Observe and control")]
    pub control_token_file: Option<PathBuf>,
    /// Certificate (PEM, with its chain) of the control listener; enables TLS
    #[arg(long, value_name = "PATH", env = "ALLUVIA_CONTROL_TLS_CERTIFICATE", hide_env = true)]
    #[arg(help_heading = "Observe and control", requires = "control_tls_key")]
    pub control_tls_certificate: Option<PathBuf>,
    /// Private key of that certificate (PEM)
    #[arg(long, value_name = "PATH", env = "ALLUVIA_CONTROL_TLS_KEY", hide_env = true)]
    #[arg(help_heading = "Observe and control", requires = "control_tls_certificate")]
    pub control_tls_key: Option<PathBuf>,
    /// File to write the progress of every micro-batch to, as JSON lines; - is standard output
    #[arg(long, value_name = "PATH", env = "ALLUVIA_PROGRESS_FILE", hide_env = true)]
    #[arg(help_heading = "Observe and control")]
    pub progress_file: Option<PathBuf>,
    /// Collector to send each micro-batch to as an OpenTelemetry trace, such as http://collector:4318
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT", hide_env = true)]
    #[arg(help_heading = "Observe and control")]
    pub otlp_endpoint: Option<String>,
}

/// `alluvia ingest`.
#[derive(Debug, Clone, Args)]
pub struct IngestArgs {
    /// Source to read: kafka, eventhubs, rate or socket
    #[arg(long, value_name = "FORMAT", default_value = "kafka")]
    pub from: String,
    /// Sink to write to: delta or console
    #[arg(long, value_name = "FORMAT", default_value = "delta")]
    pub to: String,
    /// Brokers as host:port, separated by commas
    #[arg(long, value_name = "HOSTS", required_unless_present = "from")]
    pub bootstrap_servers: Option<String>,
    /// Topics, separated by commas; or use --option subscribePattern=… or --option assign=…
    #[arg(long, value_name = "TOPICS")]
    pub topic: Option<String>,
    /// URL or path of the Delta table; created if it does not exist
    #[arg(long, value_name = "URL", required_unless_present = "to")]
    pub table: Option<String>,
    /// Columns of the JSON values as Spark DDL, or @FILE [default: the raw Kafka columns]
    #[arg(long, value_name = "DDL")]
    pub schema: Option<String>,
    /// What happens to malformed records: PERMISSIVE, FAILFAST or DROPMALFORMED
    #[arg(long, requires = "schema")]
    pub mode: Option<String>,
    /// Kafka's columns to add to the decoded ones: topic,partition,offset,timestamp,…
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', requires = "schema")]
    pub keep: Vec<String>,
    /// URL or path of a Delta table that receives rejected records
    #[arg(long, value_name = "URL")]
    pub dead_letter: Option<String>,
    /// Partition columns of the table
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub partition_by: Vec<String>,
    /// Query over the rows that are read, which are called input: one SELECT, or @FILE
    #[arg(long, value_name = "SELECT")]
    pub sql: Option<String>,
    /// Columns that make a row's key: of rows with one key, the table keeps one
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub merge_key: Vec<String>,
    /// What becomes of a row whose key the table holds: ignore or update [default: ignore]
    #[arg(long, value_name = "WHAT", requires = "merge_key")]
    pub when_matched: Option<String>,
    /// Where a new stream starts: earliest, latest or Spark's JSON [default: earliest]
    #[arg(long, value_name = "WHERE")]
    pub starting_offsets: Option<String>,
    /// When batches start: availableNow, once, asSoonAsPossible or an interval such as '5 seconds'
    #[arg(long, default_value = "availableNow")]
    pub trigger: String,
    /// Name of the stream [default: the last part of the table's path, or console for a console]
    #[arg(long)]
    pub name: Option<String>,
    /// URL or path of the checkpoint [default: TABLE/_checkpoints/NAME, or a temporary folder, deleted at the end, for a console]
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
    /// Print the stream as a stream file with secrets masked, and exit
    #[arg(long)]
    pub print_config: bool,
}
