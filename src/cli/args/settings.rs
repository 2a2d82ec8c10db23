//! Flags of `run`, `ingest` and `schema infer` as settings of a stream, with the defaults of a one-off run.

use std::path::Path;

use super::{IngestArgs, KeyValue, LimitArgs, ObserveArgs, RunArgs, SchemaInferArgs};
use crate::cli::client::control_token;
use crate::config::Setting;
use crate::model::Result;
use crate::server::{CONTROL_ADDRESS, Listen, OBSERVE_ADDRESS, ServerSettings, TlsFiles};

/// `restart.maxAttempts` of a one-off run; an attempt to reach brokers that do not answer takes about ten
/// seconds.
const ATTEMPTS: &str = "3";

impl RunArgs {
    /// What the flags say about every stream.
    pub fn settings(&self) -> Vec<Setting> {
        let mut settings = self.limits.settings();
        settings.extend(self.trigger.as_ref().map(|t| Setting::text("--trigger", &["trigger"], t)));
        settings
    }
}

impl ObserveArgs {
    /// Where the process listens. Without a flag, a long-running process (`for_long`) uses the default addresses if they
    /// are free, and a one-off run uses none.
    ///
    /// # Errors
    /// `Config` if an address is malformed or the token's file can't be read.
    pub fn server(&self, for_long: bool) -> Result<ServerSettings> {
        let listen = |flag: &str, given: &Option<String>, default: &str| match given.as_deref() {
            None | Some("") if !for_long => Ok(Listen::Off),
            given => Listen::parse(flag, given.filter(|given| !given.is_empty()), default),
        };
        Ok(ServerSettings {
            observe: listen("--listen", &self.listen, OBSERVE_ADDRESS)?,
            control: listen("--control-listen", &self.control_listen, CONTROL_ADDRESS)?,
            token: control_token(self.control_token_file.as_deref())?,
            control_tls: self
                .control_tls_certificate
                .as_ref()
                .zip(self.control_tls_key.as_ref())
                .map(|(certificate, key)| TlsFiles { certificate: certificate.clone(), key: key.clone() }),
        })
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
    /// Whether records of Kafka are wanted and nothing says of which topics.
    pub fn lacks_topic(&self) -> bool {
        let named = ["subscribe", "subscribePattern", "assign"];
        let is_named = |option: &KeyValue| named.iter().any(|name| option.key.eq_ignore_ascii_case(name));
        self.from == "kafka" && self.topic.is_none() && !self.options.iter().any(is_named)
    }

    /// Whether nothing says where the checkpoint is: no flag, and no table that it could lie beside.
    pub fn lacks_checkpoint(&self) -> bool {
        self.checkpoint.is_none() && self.table.is_none()
    }

    /// The stream that the flags describe; `temporary` is where the checkpoint is if nothing says so.
    pub fn settings(&self, temporary: Option<&Path>) -> Vec<Setting> {
        let table = self.table.as_deref().map(|table| table.trim_end_matches('/'));
        let name = self.name.clone().unwrap_or_else(|| table.map_or(self.to.as_str(), last_part).to_owned());
        let beside_table = table.map(|table| format!("{table}/_checkpoints/{name}"));
        let temporary = temporary.map(|folder| folder.display().to_string());
        let checkpoint = self.checkpoint.clone().or(beside_table).or(temporary);
        let kafka = ["kafka", "eventhubs"].iter().any(|format| self.from.trim().eq_ignore_ascii_case(format));
        let mut settings = vec![
            Setting::text("--name", &["name"], name),
            Setting::text("--from", &["source", "format"], &self.from),
        ];
        let brokers = self.bootstrap_servers.as_ref();
        settings.extend(
            brokers.map(|hosts| source_option("--bootstrap-servers", "kafka.bootstrap.servers", hosts)),
        );
        settings.extend(self.topic.as_ref().map(|topic| source_option("--topic", "subscribe", topic)));
        let starts = |option: &KeyValue| {
            let key = option.key.to_lowercase();
            ["startingoffsets", "startingtimestamp", "startingoffsetsbytimestamp"].contains(&key.as_str())
        };
        let default = (kafka && !self.options.iter().any(starts)).then_some("earliest");
        if let Some(starting) = self.starting_offsets.as_deref().or(default) {
            settings.push(source_option("--starting-offsets", "startingOffsets", starting));
        }
        settings.extend(source_options(&self.options));
        if let Some(schema) = &self.schema {
            settings.push(Setting::text("--schema", &["source", "value", "format"], "json"));
            settings.push(Setting::text("--schema", &["source", "value", "schema"], text_or_file(schema)));
        }
        if let Some(mode) = &self.mode {
            settings.push(Setting::text("--mode", &["source", "value", "mode"], mode));
        }
        if !self.keep.is_empty() {
            settings.push(Setting::list("--keep", &["source", "value", "keep"], self.keep.clone()));
        }
        settings.extend(self.sql.as_ref().map(|sql| Setting::text("--sql", &["sql"], text_or_file(sql))));
        settings.push(Setting::text("--to", &["sink", "format"], &self.to));
        settings.extend(table.map(|table| Setting::text("--table", &["sink", "path"], table)));
        for option in &self.sink_options {
            settings.push(Setting::text("--sink-option", &["sink", "options", &option.key], &option.value));
        }
        if !self.partition_by.is_empty() {
            settings.push(Setting::list(
                "--partition-by",
                &["sink", "partitionBy"],
                self.partition_by.clone(),
            ));
        }
        if !self.merge_key.is_empty() {
            settings.push(Setting::list("--merge-key", &["sink", "merge", "keys"], self.merge_key.clone()));
        }
        if let Some(what) = &self.when_matched {
            settings.push(Setting::text("--when-matched", &["sink", "merge", "whenMatched"], what));
        }
        if let Some(dead_letter) = &self.dead_letter {
            settings.push(Setting::text("--dead-letter", &["deadLetter", "format"], "delta"));
            settings.push(Setting::text("--dead-letter", &["deadLetter", "path"], dead_letter));
        }
        settings.push(Setting::text("--trigger", &["trigger"], &self.trigger));
        settings
            .extend(checkpoint.map(|place| Setting::text("--checkpoint", &["checkpointLocation"], place)));
        // Someone is waiting for the command: it reports a wrong address within a minute.
        settings.push(Setting::text("command line", &["restart", "maxAttempts"], ATTEMPTS));
        settings.extend(self.limits.settings());
        settings
    }
}

impl SchemaInferArgs {
    /// The source to sample, if it is a topic: what [`crate::config::KafkaOptions::from_flags`] takes.
    pub fn settings(&self) -> Vec<Setting> {
        let given = [
            ("--bootstrap-servers", "kafka.bootstrap.servers", &self.bootstrap_servers),
            ("--topic", "subscribe", &self.topic),
        ];
        let given = given.into_iter().filter_map(|(flag, key, value)| Some((flag, key, value.as_ref()?)));
        let mut settings: Vec<Setting> =
            given.map(|(flag, key, value)| source_option(flag, key, value)).collect();
        settings.push(source_option("--topic", "startingOffsets", "earliest"));
        settings.extend(source_options(&self.options));
        settings
    }
}

/// A text of the command line, or the file that it names with an @.
fn text_or_file(given: &str) -> String {
    match given.strip_prefix('@') {
        Some(file) => format!("${{file:{file}}}"),
        None => given.to_owned(),
    }
}

fn source_option(flag: &'static str, key: &str, value: &str) -> Setting {
    Setting::text(flag, &["source", "options", key], value)
}

fn source_options(options: &[KeyValue]) -> impl Iterator<Item = Setting> + '_ {
    options.iter().map(|option| source_option("--option", &option.key, &option.value))
}

fn last_part(table: &str) -> &str {
    table.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or("stream")
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::{Path, PathBuf};

    use clap::{CommandFactory, Parser};

    use super::super::{Cli, Command, SchemaCommand};
    use crate::config::{
        Config, ConsoleSink, Lookup, SinkConfig, SourceFormat, StreamConfig, Trigger, ValueConfig,
    };
    use crate::model::Result;

    struct Nowhere;

    impl Lookup for Nowhere {
        fn env(&self, name: &str) -> Option<String> {
            (name == "JAAS").then(|| "org.apache.kafka.common.security.plain.PlainLoginModule required username=u password=hunter2;".into())
        }

        fn file(&self, path: &Path) -> io::Result<String> {
            if path == Path::new("a.ddl") {
                Ok("a INT, b INT\n".into())
            } else if path == Path::new("a.sql") {
                Ok("SELECT value, timestamp FROM input\n".into())
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
            Command::Ingest(args) => {
                Config::from_flags(&args.settings(Some(Path::new("/tmp/alluvia-x/checkpoint"))), &Nowhere)
            }
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
        assert_eq!(stream.restart.max_attempts, Some(3));
        assert_eq!(stream.source.kafka().unwrap().starting, crate::config::kafka::StartingOffsets::Earliest);
        assert_eq!(stream.source.value, ValueConfig::Raw);
        assert_eq!(stream.checkpoint.as_str(), "file:///work/lake/events/_checkpoints/events");
        let sink = stream.sink.delta().unwrap();
        assert_eq!(sink.url.as_str(), "file:///work/lake/events");
    }

    #[test]
    fn ingest_reads_an_event_hub_from_its_start_too() {
        let hub =
            stream("--from eventhubs --option namespace=ns --option eventHub=hub --table ./lake/events");
        assert_eq!(hub.source.kafka().unwrap().starting, crate::config::kafka::StartingOffsets::Earliest);
    }

    #[test]
    fn a_rate_on_the_console_needs_no_broker_and_no_table() {
        let console = stream("--from rate --option rowsPerSecond=5 --to console --sink-option numRows=3");
        assert_eq!(console.name, "console");
        let SourceFormat::Rate(rate) = &console.source.format else { panic!("not a rate") };
        assert_eq!((rate.rows_per_second, rate.ramp_up_seconds, rate.partitions), (5, 0, None));
        assert_eq!(console.sink, SinkConfig::Console(ConsoleSink { rows: 3, truncate: true }));
        assert_eq!(console.checkpoint.as_str(), "file:///tmp/alluvia-x/checkpoint");
        for lacking in ["--from rate", "--topic t --to console", "--bootstrap-servers b:1 --topic t"] {
            let words = format!("alluvia ingest {lacking}");
            assert!(Cli::try_parse_from(words.split_whitespace()).is_err(), "{lacking}");
        }
        assert!(ingest("--from rate --to console --keep topic --schema a").is_err(), "a rate has no values");
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
        assert_eq!((json.schema.as_str(), json.keep.len()), ("a INT, b INT", 2));
        assert_eq!(stream.trigger, Trigger::ProcessingTime(std::time::Duration::from_secs(5)));
        assert_eq!((stream.name.as_str(), stream.checkpoint.as_str()), ("n", "file:///cp"));
        assert_eq!((stream.memory_limit, stream.lanes), (Some(1 << 30), Some(2)));
        assert_eq!(stream.source.kafka().unwrap().client["sasl.password"], "hunter2");
        let printed = config.to_yaml();
        assert!(!printed.contains("hunter2") && printed.contains("schema: ${file:a.ddl}"), "{printed}");
        let again = Config::from_texts(&[("printed".into(), printed)], &[], &Nowhere).unwrap();
        assert_eq!(again.streams, config.streams);
    }

    #[test]
    fn ingest_takes_a_query_and_the_keys_of_a_merge() {
        let flags = "--from rate --table ./t --sql @a.sql --merge-key value,timestamp --when-matched update";
        let config = ingest(flags).unwrap();
        let stream = &config.streams[0];
        assert_eq!(stream.sql.as_deref(), Some("SELECT value, timestamp FROM input"));
        let merge = stream.sink.delta().unwrap().merge.as_ref().unwrap();
        assert_eq!(merge.keys, ["value", "timestamp"]);
        assert!(matches!(merge.when_matched, crate::config::WhenMatched::Update(_)));
        let printed = config.to_yaml();
        let again = Config::from_texts(&[("printed".into(), printed)], &[], &Nowhere).unwrap();
        assert_eq!(again.streams, config.streams);
        let inline = "alluvia ingest --from rate --table ./t --when-matched update";
        assert!(Cli::try_parse_from(inline.split_whitespace()).is_err(), "it needs a key");
        let error = ingest("--from rate --table ./t --merge-key value --when-matched replace").unwrap_err();
        assert!(error.to_string().starts_with("--when-matched: "), "{error}");
    }

    #[test]
    fn no_secret_of_the_command_line_is_in_its_debug_form() {
        let words =
            "alluvia ingest --bootstrap-servers b --table t --topic t --option kafka.sasl.password=hunter2";
        let cli = Cli::try_parse_from(words.split(' ')).unwrap();
        assert!(!format!("{cli:?}").contains("hunter2"));
        let Command::Ingest(args) = cli.command else { panic!("not ingest") };
        assert!(!format!("{:?}", args.settings(None)).contains("hunter2"));
    }

    #[test]
    fn a_sample_needs_a_topic_or_a_file() {
        let parse =
            |words: &str| Cli::try_parse_from(format!("alluvia schema infer {words}").split_whitespace());
        assert!(parse("").is_err() && parse("--topic t").is_err() && parse("--topic t --file x").is_err());
        assert!(parse("--file x").is_ok());
        let Command::Schema(SchemaCommand::Infer(args)) =
            parse("--bootstrap-servers b --topic t --option kafka.max.poll.records=1").unwrap().command
        else {
            panic!("not infer")
        };
        let (kafka, warnings) = crate::config::KafkaOptions::from_flags(&args.settings(), &Nowhere).unwrap();
        assert_eq!(kafka.client["bootstrap.servers"], "b");
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn a_topic_may_be_named_by_a_flag_or_an_option() {
        let lacks = |flags: &str| {
            let words = ["alluvia", "ingest"].into_iter().chain(flags.split_whitespace());
            match Cli::try_parse_from(words).unwrap().command {
                Command::Ingest(args) => args.lacks_topic(),
                other => panic!("{other:?}"),
            }
        };
        let base = "--bootstrap-servers b:9092 --table t";
        assert!(lacks(base));
        assert!(!lacks(&format!("{base} --topic t")));
        assert!(!lacks(&format!("{base} --option subscribePattern=x")));
        assert!(!lacks("--from rate --table t"));
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
