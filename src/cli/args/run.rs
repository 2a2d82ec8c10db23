//! `alluvia run` and `alluvia ingest`: what starts streams, and what bounds and shows them.

use std::path::PathBuf;

use clap::Args;

use super::{KeyValue, key_value};

pub(super) const RUN_EXAMPLES: &str = "\
Examples:
  alluvia run config/ingest.yaml
  alluvia run a.yaml b.yaml --trigger availableNow
  ALLUVIA_MEMORY_LIMIT=1g alluvia run ingest.yaml

SIGTERM or Ctrl-C finishes the running batch within shutdownTimeout, else abandons it, which is
safe; a second signal stops at once. Both exit with 0, or a failed stream's code.";

pub(super) const INGEST_EXAMPLES: &str = "\
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
