//! The command line: what can be asked for, as `clap` structures, and how flags become settings.
//!
//! Nothing is done here. Help texts are for people who know Spark; `docs/reference/cli.md` is
//! generated from them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::Setting;

const TOP_EXAMPLES: &str = "\
Examples:
  alluvia demo                                  see it work, with nothing installed
  alluvia check config/ingest.yaml              find out what would go wrong
  alluvia run config/ingest.yaml                run until stopped

Exit codes: 0 ended or stopped as asked, 2 configuration, 3 a service is unavailable, 4 conflict,
5 another owner runs the stream, 6 data, 7 damaged files, 70 a defect of Alluvia.

Environment: ALLUVIA_LOG, ALLUVIA_LOG_FORMAT, ALLUVIA_MEMORY_LIMIT, ALLUVIA_LANES, ALLUVIA_SHUTDOWN_TIMEOUT.";

const RUN_EXAMPLES: &str = "\
Examples:
  alluvia run config/ingest.yaml
  alluvia run a.yaml b.yaml --trigger availableNow
  ALLUVIA_MEMORY_LIMIT=1g alluvia run ingest.yaml

SIGTERM or Ctrl-C finishes the running batch within shutdownTimeout, else abandons it, which is safe; a
second signal stops at once. Both exit with 0.";

const INGEST_EXAMPLES: &str = "\
Examples:
  alluvia ingest --bootstrap-servers localhost:9092 --topic device-events \\
      --schema 'event_id STRING, temperature DOUBLE, event_time TIMESTAMP' --table ./lake/device_events
  alluvia ingest --bootstrap-servers localhost:9092 --topic raw --table ./lake/raw --trigger '5 seconds'
  alluvia ingest … --option kafka.security.protocol=SASL_SSL --option kafka.sasl.mechanism=PLAIN \\
      --option 'kafka.sasl.jaas.config=${env:JAAS}' --print-config > stream.yaml

Run again, it goes on where it stopped: the checkpoint is under the table's _checkpoints/NAME.";

const CHECK_EXAMPLES: &str = "\
Examples:
  alluvia check config/ingest.yaml
  alluvia check config/ingest.yaml --output json

Checks the file, then broker, login, topics, the table's schema and whether the storage can be written;
says what is wrong and which key mends it. Exit code 0: a run would start.";

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
#[command(name = "alluvia", version, after_help = TOP_EXAMPLES, max_term_width = 100)]
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
    Ingest(IngestArgs),
    /// See it work: an embedded broker, generated device events, a local Delta table
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(DemoArgs),
    /// Say what would go wrong, and which key mends it; nothing is written to the table
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Work with schemas
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// Look at or rebuild a checkpoint
    #[command(subcommand, after_help = CHECKPOINT_EXAMPLES)]
    Checkpoint(CheckpointCommand),
    /// Look at or replay records that could not be decoded
    #[command(subcommand, after_help = DEAD_LETTERS_EXAMPLES)]
    DeadLetters(DeadLettersCommand),
    /// Print the completion script of a shell
    Completions(CompletionsArgs),
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
    /// Print the configuration that the layers add up to, secrets masked, and stop
    #[arg(long)]
    pub print_config: bool,
}

/// What bounds a stream; goes before the file and the environment.
#[derive(Debug, Clone, Args)]
pub struct LimitArgs {
    /// Where intake pauses, such as 512 MiB
    #[arg(long, value_name = "SIZE")]
    pub memory_limit: Option<String>,
    /// How many threads fetch, decode and encode
    #[arg(long, value_name = "N")]
    pub lanes: Option<String>,
    /// How long a stop waits for the running batch
    #[arg(long, value_name = "TIME")]
    pub shutdown_timeout: Option<String>,
}

/// `alluvia ingest`.
#[derive(Debug, Clone, Args)]
pub struct IngestArgs {
    /// Brokers, host:port, separated by commas
    #[arg(long, value_name = "HOSTS")]
    pub bootstrap_servers: String,
    /// Topics, separated by commas; or give --option subscribePattern=… or --option assign=…
    #[arg(long, value_name = "TOPICS")]
    pub topic: Option<String>,
    /// Where the Delta table is: a URL or a path; it is made if it is not there
    #[arg(long, value_name = "URL")]
    pub table: String,
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
    /// The stream's name [default: the last part of the table's path]
    #[arg(long)]
    pub name: Option<String>,
    /// Where progress is kept [default: _checkpoints/NAME under the table]
    #[arg(long, value_name = "URL")]
    pub checkpoint: Option<String>,
    /// Any other option of the Kafka source; may be repeated
    #[arg(long = "option", value_name = "KEY=VALUE", value_parser = key_value)]
    pub options: Vec<(String, String)>,
    #[command(flatten)]
    pub limits: LimitArgs,
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
    pub options: Vec<(String, String)>,
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

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".into()),
    }
}

impl RunArgs {
    /// What the flags say about every stream.
    pub fn settings(&self) -> Vec<Setting> {
        let mut settings = self.limits.settings();
        settings.extend(self.trigger.as_ref().map(|t| Setting::text("--trigger", &["trigger"], t)));
        settings
    }
}

impl LimitArgs {
    fn settings(&self) -> Vec<Setting> {
        let limits = [
            ("--memory-limit", "memoryLimit", &self.memory_limit),
            ("--lanes", "lanes", &self.lanes),
            ("--shutdown-timeout", "shutdownTimeout", &self.shutdown_timeout),
        ];
        let given = limits.into_iter().filter_map(|(flag, key, value)| Some((flag, key, value.as_ref()?)));
        given.map(|(flag, key, value)| Setting::text(flag, &[key], value)).collect()
    }
}

impl IngestArgs {
    /// The stream that the flags describe.
    pub fn settings(&self) -> Vec<Setting> {
        let table = self.table.trim_end_matches('/');
        let name = self.name.clone().unwrap_or_else(|| last_part(table).to_owned());
        let checkpoint = self.checkpoint.clone().unwrap_or_else(|| format!("{table}/_checkpoints/{name}"));
        let option = |flag, key: &str, value: &str| Setting::text(flag, &["source", "options", key], value);
        let mut settings = vec![
            Setting::text("--name", &["name"], name),
            Setting::text("command line", &["source", "format"], "kafka"),
            option("--bootstrap-servers", "kafka.bootstrap.servers", &self.bootstrap_servers),
        ];
        settings.extend(self.topic.as_ref().map(|topic| option("--topic", "subscribe", topic)));
        let starts = |(key, _): &(String, String)| {
            let key = key.to_lowercase();
            ["startingoffsets", "startingtimestamp", "startingoffsetsbytimestamp"].contains(&key.as_str())
        };
        let default = (!self.options.iter().any(starts)).then_some("earliest");
        if let Some(starting) = self.starting_offsets.as_deref().or(default) {
            settings.push(option("--starting-offsets", "startingOffsets", starting));
        }
        settings.extend(self.options.iter().map(|(key, value)| option("--option", key, value)));
        if let Some(schema) = &self.schema {
            let schema = match schema.strip_prefix('@') {
                Some(file) => format!("${{file:{file}}}"),
                None => schema.clone(),
            };
            settings.push(Setting::text("--schema", &["source", "value", "format"], "json"));
            settings.push(Setting::text("--schema", &["source", "value", "schema"], schema));
        }
        if let Some(mode) = &self.mode {
            settings.push(Setting::text("--mode", &["source", "value", "mode"], mode));
        }
        if !self.keep.is_empty() {
            settings.push(Setting::list("--keep", &["source", "value", "keep"], self.keep.clone()));
        }
        settings.push(Setting::text("command line", &["sink", "format"], "delta"));
        settings.push(Setting::text("--table", &["sink", "path"], table));
        if !self.partition_by.is_empty() {
            settings.push(Setting::list(
                "--partition-by",
                &["sink", "partitionBy"],
                self.partition_by.clone(),
            ));
        }
        if let Some(dead_letter) = &self.dead_letter {
            settings.push(Setting::text("--dead-letter", &["deadLetter", "format"], "delta"));
            settings.push(Setting::text("--dead-letter", &["deadLetter", "path"], dead_letter));
        }
        settings.push(Setting::text("--trigger", &["trigger"], &self.trigger));
        settings.push(Setting::text("--checkpoint", &["checkpointLocation"], checkpoint));
        settings.extend(self.limits.settings());
        settings
    }
}

fn last_part(table: &str) -> &str {
    table.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or("stream")
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;
    use crate::config::{Config, Lookup, SinkConfig, StreamConfig, Trigger, ValueConfig};
    use crate::model::Result;

    struct Nowhere;

    impl Lookup for Nowhere {
        fn env(&self, name: &str) -> Option<String> {
            (name == "JAAS").then(|| "org.apache.kafka.common.security.plain.PlainLoginModule required username=u password=hunter2;".into())
        }

        fn file(&self, path: &Path) -> io::Result<String> {
            if path == Path::new("a.ddl") {
                Ok("a INT\n".into())
            } else {
                Err(io::ErrorKind::NotFound.into())
            }
        }

        fn current_dir(&self) -> io::Result<PathBuf> {
            Ok("/work".into())
        }
    }

    fn ingest(flags: &str) -> Result<Config> {
        let words = ["alluvia", "ingest"].into_iter().chain(flags.split_whitespace());
        match Cli::try_parse_from(words).unwrap_or_else(|e| panic!("{e}")).command {
            Command::Ingest(args) => Config::from_flags(&args.settings(), &Nowhere),
            other => panic!("{other:?}"),
        }
    }

    fn stream(flags: &str) -> StreamConfig {
        ingest(flags).unwrap_or_else(|e| panic!("{flags}: {e}")).streams.remove(0)
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn ingest_with_the_least_flags_reads_all_there_is_and_keeps_its_checkpoint_with_the_table() {
        let stream = stream("--bootstrap-servers b:9092 --topic t --table ./lake/events/");
        assert_eq!(stream.name, "events");
        assert_eq!(stream.trigger, Trigger::AvailableNow);
        assert_eq!(stream.source.kafka.starting, crate::config::kafka::StartingOffsets::Earliest);
        assert_eq!(stream.source.value, ValueConfig::Raw);
        assert_eq!(stream.checkpoint.as_str(), "file:///work/lake/events/_checkpoints/events");
        let SinkConfig::Delta(sink) = stream.sink;
        assert_eq!(sink.url.as_str(), "file:///work/lake/events");
    }

    #[test]
    fn every_flag_of_ingest_reaches_the_stream_and_the_printed_file_is_the_same_stream() {
        let config = ingest(
            "--bootstrap-servers b:9092 --topic t,u --table az://lake/x --schema @a.ddl --mode FAILFAST \
             --keep offset,topic --dead-letter /dead --partition-by a,b --starting-offsets latest --trigger 5s \
             --name n --checkpoint /cp --option kafka.security.protocol=SASL_SSL --option kafka.sasl.mechanism=PLAIN \
             --option kafka.sasl.jaas.config=${env:JAAS} --memory-limit 1g --lanes 2 --shutdown-timeout 1m",
        )
        .unwrap();
        let stream = &config.streams[0];
        let ValueConfig::Json(json) = &stream.source.value else { panic!("not JSON") };
        assert_eq!((json.schema.as_str(), json.keep.len()), ("a INT", 2));
        assert_eq!(stream.trigger, Trigger::ProcessingTime(std::time::Duration::from_secs(5)));
        assert_eq!((stream.name.as_str(), stream.checkpoint.as_str()), ("n", "file:///cp"));
        assert_eq!((stream.memory_limit, stream.lanes), (Some(1 << 30), Some(2)));
        assert_eq!(stream.source.kafka.client["sasl.password"], "hunter2");
        let printed = config.to_yaml();
        assert!(!printed.contains("hunter2") && printed.contains("schema: ${file:a.ddl}"), "{printed}");
        let again = Config::from_texts(&[("printed".into(), printed)], &[], &Nowhere).unwrap();
        assert_eq!(again.streams, config.streams);
    }

    #[test]
    fn problems_of_ingest_name_the_flag() {
        let base = "--bootstrap-servers b:9092 --table t";
        let cases = [
            (
                "--topic t --trigger soon",
                "--trigger: \"soon\": expected availableNow, once, asSoonAsPossible or an interval such as 5 seconds",
            ),
            (
                "--topic t --option maxOffsetsPerTriger=5",
                "--option: unknown option maxOffsetsPerTriger (did you mean maxOffsetsPerTrigger?)",
            ),
            ("--topic t --schema @b.ddl", "--schema: cannot read b.ddl: entity not found"),
            (
                "--topic t --option subscribePattern=x",
                "--bootstrap-servers: subscribe and subscribePattern exclude each other (give exactly one of subscribe, subscribePattern and assign)",
            ),
        ];
        for (flags, message) in cases {
            assert_eq!(ingest(&format!("{base} {flags}")).unwrap_err().to_string(), message);
        }
    }
}
