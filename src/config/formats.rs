//! What a stream reads and writes, by format, and the options of the small formats.

use super::delta::DeltaSink;
use super::document::{Entry, Node};
use super::event_hubs;
use super::kafka::KafkaOptions;
use super::kafka::options::{self as kafka_options, positive};
use super::merge::MergeConfig;
use super::option_lists::{self, OptionRow};
use super::quantity;
use super::reader::{Fields, Reader, Text};

/// What a stream reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceFormat {
    /// Topics of Kafka.
    Kafka(Box<KafkaOptions>),
    /// So many rows a second.
    Rate(RateOptions),
    /// Lines from a server.
    Socket(SocketOptions),
}

impl SourceFormat {
    /// The word in the stream file.
    pub fn name(&self) -> &'static str {
        match self {
            SourceFormat::Kafka(_) => "kafka",
            SourceFormat::Rate(_) => "rate",
            SourceFormat::Socket(_) => "socket",
        }
    }
}

/// Spark's options of its rate source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateOptions {
    /// `rowsPerSecond`.
    pub rows_per_second: i64,
    /// `rampUpTime`, in whole seconds as in Spark.
    pub ramp_up_seconds: i64,
    /// `numPartitions`; `None`: one per lane.
    pub partitions: Option<u32>,
}

/// Spark's options of its socket source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketOptions {
    /// `host`.
    pub host: String,
    /// `port`.
    pub port: u16,
    /// `includeTimestamp`.
    pub include_timestamp: bool,
}

/// What a stream writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkConfig {
    /// Appends to a Delta table.
    Delta(DeltaSink),
    /// Prints to standard output.
    Console(ConsoleSink),
    /// Keeps rows in the process.
    Memory,
}

impl SinkConfig {
    /// The Delta table that the stream appends to, if it does.
    pub fn delta(&self) -> Option<&DeltaSink> {
        match self {
            SinkConfig::Delta(sink) => Some(sink),
            SinkConfig::Console(_) | SinkConfig::Memory => None,
        }
    }

    /// How rows are merged by their keys, if they are.
    pub fn merge(&self) -> Option<&MergeConfig> {
        self.delta()?.merge.as_deref()
    }

    /// The same sink, which takes every row as it is.
    #[must_use]
    pub fn without_merge(mut self) -> SinkConfig {
        if let SinkConfig::Delta(sink) = &mut self {
            sink.merge = None;
        }
        self
    }

    /// The columns by which the target is partitioned.
    pub fn partition_by(&self) -> &[String] {
        self.delta().map_or(&[], |sink| &sink.partition_by)
    }

    /// What decides which rows are written, for the hash of the stream's definition; nothing where every row is.
    pub fn definition(&self) -> String {
        let Some(merge) = self.merge() else { return String::new() };
        let within = merge.within.as_ref().map(|within| format!(" {within:?}")).unwrap_or_default();
        let except = match merge.except_columns.as_slice() {
            [] => String::new(),
            columns => format!(" except {columns:?}"),
        };
        format!("\nmerge {:?} {:?}{within}{except}", merge.keys, merge.when_matched)
    }
}

/// Spark's options of its console sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleSink {
    /// `numRows`.
    pub rows: usize,
    /// `truncate`.
    pub truncate: bool,
}

/// Which keys of a source or sink belong to its format, and which options it has.
struct Format {
    name: &'static str,
    /// Keys that only this format and others that name them have.
    keys: &'static [&'static str],
}

const SOURCES: [Format; 4] = [
    Format { name: "kafka", keys: &["value"] },
    Format { name: "eventhubs", keys: &["value"] },
    Format { name: "rate", keys: &[] },
    Format { name: "socket", keys: &[] },
];
const SINKS: [Format; 3] = [
    Format {
        name: "delta",
        keys: &["path", "table", "partitionBy", "tableProperties", "merge", "autoCompact", "autoVacuum"],
    },
    Format { name: "console", keys: &[] },
    Format { name: "memory", keys: &[] },
];

/// The words of the formats of a section, `source` or `sink`.
pub(super) fn names(section: &str) -> Vec<&'static str> {
    of_section(section).iter().map(|format| format.name).collect()
}

fn of_section(section: &str) -> &'static [Format] {
    if section == "source" { &SOURCES } else { &SINKS }
}

/// Refuses keys that belong to other formats than `format`.
pub(super) fn check_keys(reader: &mut Reader<'_>, fields: &Fields<'_>, section: &str, format: &str) {
    let formats = of_section(section);
    let own = formats.iter().find(|known| known.name == format).map_or(&[][..], |known| known.keys);
    for other in formats {
        for key in other.keys.iter().filter(|key| !own.contains(key) && fields.node(key).is_some()) {
            let text = format!("{key} belongs to format {}, the format is {format}", other.name);
            reader.problems.add_with_hint(&fields.origin, &fields.path_of(key), text, "remove it");
        }
    }
}

/// Reads `source.options` of a format, one of [`names`].
pub(super) fn source(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    format: &str,
    stream: &str,
) -> Option<SourceFormat> {
    match format {
        "kafka" | "eventhubs" => {
            kafka(reader, fields, format, stream).map(|kafka| SourceFormat::Kafka(Box::new(kafka)))
        }
        "rate" => rate(reader, fields, stream).map(SourceFormat::Rate),
        "socket" => socket(reader, fields, stream).map(SourceFormat::Socket),
        other => unreachable!("{other} is among the formats of a source, and nothing reads it"),
    }
}

/// Reads a sink's options, of one of [`names`] but delta.
pub(super) fn sink(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    format: &str,
    stream: &str,
) -> Option<SinkConfig> {
    match format {
        "console" => console(reader, fields, stream).map(SinkConfig::Console),
        "memory" => {
            given(reader, fields.node("options"), &fields.path_of("options"), &[], stream);
            Some(SinkConfig::Memory)
        }
        other => unreachable!("{other} is among the formats of a sink, and nothing reads it"),
    }
}

fn kafka(reader: &mut Reader<'_>, fields: &Fields<'_>, format: &str, stream: &str) -> Option<KafkaOptions> {
    let path = fields.path_of("options");
    let Some(node) = fields.node("options") else {
        reader.problems.add(&fields.origin, &fields.path, "the key options is missing");
        return None;
    };
    let as_kafka = match format {
        "eventhubs" => Some(event_hubs::as_kafka(reader, node, &path, stream)?),
        _ => None,
    };
    kafka_options::read(reader, as_kafka.as_ref().unwrap_or(node), &path, stream)
}

fn rate(reader: &mut Reader<'_>, fields: &Fields<'_>, stream: &str) -> Option<RateOptions> {
    let path = fields.path_of("options");
    let given = given(reader, fields.node("options"), &path, option_lists::RATE, stream);
    let find = |name: &str| given.iter().find(|(row, _)| row.name == name).map(|(_, text)| text);
    Some(RateOptions {
        rows_per_second: parsed(reader, find("rowsPerSecond"), positive)?.unwrap_or(1),
        ramp_up_seconds: parsed(reader, find("rampUpTime"), whole_seconds)?.unwrap_or(0),
        partitions: parsed(reader, find("numPartitions"), positive)?,
    })
}

fn socket(reader: &mut Reader<'_>, fields: &Fields<'_>, stream: &str) -> Option<SocketOptions> {
    let path = fields.path_of("options");
    let given = given(reader, fields.node("options"), &path, option_lists::SOCKET, stream);
    let find = |name: &str| given.iter().find(|(row, _)| row.name == name).map(|(_, text)| text);
    for name in ["host", "port"] {
        if find(name).is_none() {
            reader.problems.add(&fields.origin, &path, format!("the option {name} is missing"));
        }
    }
    let include_timestamp = parsed(reader, find("includeTimestamp"), quantity::boolean)?;
    Some(SocketOptions {
        host: find("host")?.value.clone(),
        port: parsed(reader, find("port"), positive)??,
        include_timestamp: include_timestamp.unwrap_or(false),
    })
}

fn console(reader: &mut Reader<'_>, fields: &Fields<'_>, stream: &str) -> Option<ConsoleSink> {
    let path = fields.path_of("options");
    let given = given(reader, fields.node("options"), &path, option_lists::CONSOLE, stream);
    let find = |name: &str| given.iter().find(|(row, _)| row.name == name).map(|(_, text)| text);
    let number = |text: &str| text.trim().parse().map_err(|_| "expected a whole number".to_owned());
    Some(ConsoleSink {
        rows: parsed(reader, find("numRows"), number)?.unwrap_or(20),
        truncate: parsed(reader, find("truncate"), quantity::boolean)?.unwrap_or(true),
    })
}

fn given(
    reader: &mut Reader<'_>,
    node: Option<&Node>,
    path: &str,
    table: &'static [OptionRow],
    stream: &str,
) -> Vec<(&'static OptionRow, Text)> {
    let entries: &[Entry] = node.and_then(|node| reader.entries(node, path)).unwrap_or_default();
    reader.options(entries, path, table, stream)
}

/// `None` if the value is wrong, `Some(None)` if there is none.
fn parsed<T>(
    reader: &mut Reader<'_>,
    text: Option<&Text>,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<Option<T>> {
    match text {
        None => Some(None),
        Some(text) => reader.parse(text, parse).map(Some),
    }
}

/// Spark cuts what is finer.
fn whole_seconds(text: &str) -> Result<i64, String> {
    let time = quantity::duration(text, false)?;
    i64::try_from(time.as_secs()).map_err(|_| "the time is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ProcessLookup};

    #[test]
    fn every_format_is_read_by_its_name() {
        let streams = |source: &str, sink: &str| {
            let yaml = format!(
                "streams: [{{name: s, source: {{format: {source}}}, sink: {{format: {sink}}}, checkpointLocation: /tmp/c}}]"
            );
            Config::from_texts(&[("s.yaml".into(), yaml)], &[], &ProcessLookup)
        };
        for name in names("source") {
            let options = match name {
                "kafka" => "kafka.bootstrap.servers: 'b:1', subscribe: t",
                "eventhubs" => "namespace: n, eventHub: h",
                "socket" => "host: h, port: 1",
                _ => "",
            };
            let config = streams(&format!("{name}, options: {{{options}}}"), "memory").unwrap();
            let read = config.streams[0].source.format.name();
            assert_eq!(read, if name == "eventhubs" { "kafka" } else { name });
        }
        for name in names("sink") {
            let path = if name == "delta" { ", path: /tmp/t" } else { "" };
            streams("rate", &format!("{name}{path}")).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }

    /// Written down as it is hashed: a batch that was planned by the release before is run again under the same hash.
    #[test]
    fn the_definition_of_a_merge_says_which_columns_are_left_out() {
        let definition = |merge: &str| {
            let yaml = format!(
                "streams: [{{name: s, source: {{format: rate}}, sink: {{format: delta, path: /tmp/t, merge: {{keys: [k]{merge}}}}}, checkpointLocation: /tmp/c}}]"
            );
            let config = Config::from_texts(&[("s.yaml".into(), yaml)], &[], &ProcessLookup).unwrap();
            config.streams[0].sink.definition()
        };
        assert_eq!(definition(""), "\nmerge [\"k\"] Ignore");
        assert_eq!(definition(", exceptColumns: []"), definition(""));
        assert_eq!(definition(", exceptColumns: [op]"), "\nmerge [\"k\"] Ignore except [\"op\"]");
        assert_eq!(definition(", exceptColumns: [op, x]"), "\nmerge [\"k\"] Ignore except [\"op\", \"x\"]");
    }
}
