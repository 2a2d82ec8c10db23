//! One stream's tree becomes a [`StreamConfig`], or problems.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use url::Url;

use super::azure;
use super::columns;
use super::delta::{DeltaSink, DeltaTarget};
use super::document::{Node, Value};
use super::formats::{self, SinkConfig, SourceFormat};
use super::kafka::options::positive;
use super::keys;
use super::local_folder::LocalPlace;
use super::location;
use super::marks;
use super::merge;
use super::option_lists;
use super::origin::Origin;
use super::quantity;
use super::reader::{Fields, Reader, Text, join};
use super::sql_parser;
use super::stream::{JsonValue, RestartPolicy, SourceConfig, StreamConfig, Trigger, ValueConfig};
use super::table_properties;
use crate::decode::json::ParseMode;
use crate::model::RecordColumn;

/// The program itself and one lane's smallest buffers.
const MEMORY_LIMIT_MIN: u64 = 32 * 1024 * 1024;

/// Spark's default of `columnNameOfCorruptRecord`.
const CORRUPT_COLUMN: &str = "_corrupt_record";

/// Reads the stream at `path`; relative locations start at `base`.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node, path: &str, base: &Path) -> Option<StreamConfig> {
    let fields = reader.fields(node, path, &keys::STREAM)?;
    let name = fields.parsed(reader, "name", name);
    let shown = name.clone().unwrap_or_else(|| path.to_owned());
    let (mut conf, defaults) = conf(reader, &fields, &shown);
    let identity = azure::block(reader, &fields);
    reader.identity.clone_from(&identity);
    reader.namespace = None;
    let source = fields.node("source").and_then(|node| {
        source(
            reader,
            node,
            &fields.path_of("source"),
            &shown,
            conf.get("spark.sql.columnNameOfCorruptRecord"),
        )
    });
    let checkpoint = fields.text(reader, "checkpointLocation");
    let checkpoint_url = checkpoint.as_ref().and_then(|t| reader.parse(t, |t| location::parse(t, base)));
    let place = LocalPlace { base, checkpoint: checkpoint_url.as_ref(), stream: &shown };
    let sink = sink_with(reader, &fields, &place, defaults);
    if let Some(source) = &source {
        check_partitions(reader, &fields, source);
    }
    let sql = sql_parser::read(reader, &fields, &shown, base);
    let dead_letter = fields.node("deadLetter").map(|node| {
        let path = fields.path_of("deadLetter");
        let section = reader.fields(node, &path, &keys::DEAD_LETTER)?;
        format(reader, &section, &["delta"]);
        target(reader, &section, base)
    });
    let trigger = match fields.node("trigger") {
        Some(node) => trigger(reader, node, &fields.path_of("trigger")),
        None => Some(Trigger::AsSoonAsPossible),
    };
    let output_mode = marks::output_mode(reader, &fields);
    let state_folder = marks::state_folder(reader, &fields, &place);
    if let (Some(text), Some(checkpoint), Some(sink)) = (&checkpoint, &checkpoint_url, &sink) {
        check_places(reader, text, checkpoint, sink, dead_letter.iter().flatten().next());
    }
    let interval = |t: &str| quantity::duration(t, false);
    let min_commit_interval = min_commit_interval(reader, &fields, trigger, &shown);
    let shutdown_timeout =
        fields.parsed(reader, "shutdownTimeout", interval).unwrap_or(Duration::from_secs(30));
    let memory_limit = fields.parsed(reader, "memoryLimit", memory_limit);
    let lanes = fields.parsed(reader, "lanes", |t| match positive::<usize>(t)? {
        lanes if lanes <= 1024 => Ok(lanes),
        _ => Err("more than 1024 lanes are of no use".into()),
    });
    let min_batches_to_retain = retained(reader, &fields, &mut conf);
    let restart = restart(reader, &fields);
    let tables = sink.iter().filter_map(SinkConfig::delta).map(|sink| &sink.url);
    let tables = tables.chain(dead_letter.iter().flatten().map(|target| &target.url));
    let urls: Vec<&Url> =
        tables.chain(&checkpoint_url).chain(sql.tables.iter().map(|table| &table.url)).collect();
    let storage = azure::storage(reader, &fields, &identity, &shown, &urls);
    Some(StreamConfig {
        name: name?,
        source: source?,
        sink: sink?,
        state_folder: state_folder?,
        output_mode,
        sql: sql.query,
        views: sql.views,
        tables: sql.tables,
        hidden: sql.hidden,
        dead_letter: match dead_letter {
            Some(target) => Some(target?),
            None => None,
        },
        trigger: trigger?,
        checkpoint: checkpoint_url?,
        storage,
        shutdown_timeout,
        min_commit_interval,
        memory_limit,
        lanes,
        min_batches_to_retain,
        restart,
        conf,
    })
}

/// The least time between two commits; a trigger decides instead if there is one.
fn min_commit_interval(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    trigger: Option<Trigger>,
    stream: &str,
) -> Duration {
    let given = fields.parsed(reader, "minCommitInterval", |text| quantity::duration(text, false));
    match (given, trigger) {
        (given, Some(Trigger::AsSoonAsPossible)) => given.unwrap_or(Duration::from_secs(1)),
        (Some(_), _) => {
            let why = "minCommitInterval has no effect here: a trigger is given";
            reader.warnings.push(format!("stream {stream}: {why}"));
            Duration::ZERO
        }
        (None, _) => Duration::ZERO,
    }
}

fn memory_limit(text: &str) -> Result<u64, String> {
    match quantity::size_bytes(text)? {
        bytes if bytes < MEMORY_LIMIT_MIN => Err("the least that a stream works in is 32 MiB".into()),
        bytes => Ok(bytes),
    }
}

/// Checks `partitionBy`. The columns of a query are known only when it is planned.
fn check_partitions(reader: &mut Reader<'_>, fields: &Fields<'_>, source: &SourceConfig) {
    let node = fields.node("sink").and_then(|sink| sink.get("partitionBy"));
    if let (Some(node), None) = (node, fields.node("sql")) {
        columns::check_partitions(reader, node, &join(&fields.path_of("sink"), "partitionBy"), source);
    }
}

/// Names and checkpoints are used once in a process.
pub(super) fn check_unique(reader: &mut Reader<'_>, streams: &[(StreamConfig, Origin, String)]) {
    for (index, (stream, origin, path)) in streams.iter().enumerate() {
        for (other, first, _) in &streams[..index] {
            if other.name == stream.name {
                let text = format!("the stream name {} is taken by the one at {first}", stream.name);
                reader.problems.add(origin, &join(path, "name"), text);
            }
            if other.checkpoint == stream.checkpoint {
                let text = format!("the checkpoint is that of stream {} at {first}", other.name);
                let hint = "one checkpoint serves one stream";
                reader.problems.add_with_hint(origin, &join(path, "checkpointLocation"), text, hint);
            }
        }
    }
}

fn name(text: &str) -> Result<String, String> {
    let name = text.trim();
    let bad = |c: char| c.is_control() || matches!(c, '/' | '\\');
    if name.is_empty() || name.chars().count() > 128 || name.contains(bad) || name.starts_with('.') {
        return Err("a stream's name has 1 to 128 characters, no slash, and does not begin with a dot".into());
    }
    Ok(name.to_owned())
}

/// Adds the properties that are not given yet.
fn add_missing(properties: &mut BTreeMap<String, String>, more: BTreeMap<String, String>) {
    for (name, value) in more {
        properties.entry(name).or_insert(value);
    }
}

/// The settings of the session, and the table properties that they are defaults of.
fn conf(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    stream: &str,
) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let Some(node) = fields.node("conf") else { return (BTreeMap::new(), BTreeMap::new()) };
    let path = fields.path_of("conf");
    let entries = reader.entries(node, &path).unwrap_or_default();
    let entries = entries.iter().filter(|entry| !azure::is_hadoop(&entry.key));
    let honoured = reader.options(entries, &path, option_lists::CONF, stream);
    let defaults = table_properties::set_by(reader, &honoured, &path);
    let settings = honoured.into_iter().filter(|(row, _)| !table_properties::is_set_by(row.name));
    (settings.map(|(row, text)| (row.name.to_owned(), text.value)).collect(), defaults)
}

/// The key goes before the Spark setting of the same meaning, which is taken out of `conf`.
fn retained(reader: &mut Reader<'_>, fields: &Fields<'_>, conf: &mut BTreeMap<String, String>) -> u32 {
    const SETTING: &str = "spark.sql.streaming.minBatchesToRetain";
    let key = fields.parsed(reader, "minBatchesToRetain", positive);
    let setting = conf.remove(SETTING).and_then(|value| match positive(&value) {
        Ok(batches) => Some(batches),
        Err(why) => {
            reader.problems.add(&fields.origin, &fields.path_of("conf"), format!("{SETTING}: {why}"));
            None
        }
    });
    key.or(setting).unwrap_or(100)
}

/// The format, which must be one of the `known` ones; for formats of the design that are not there yet the problem says
/// what to do instead.
fn format(reader: &mut Reader<'_>, fields: &Fields<'_>, known: &[&'static str]) -> Option<&'static str> {
    let text = fields.text(reader, "format")?;
    if let Some(known) = known.iter().find(|known| text.value.trim().eq_ignore_ascii_case(known)) {
        return Some(known);
    }
    let section = fields.path.rsplit('.').next().unwrap_or_default();
    let section = if section == "deadLetter" { "sink" } else { section };
    match keys::later_format(section, text.value.trim()) {
        Some(instead) => {
            let why = format!("format {} is not available in this version", text.shown());
            reader.problems.add_with_hint(&text.origin, &text.path, why, instead);
        }
        None => reader.refuse(&text, format!("the format is unknown; expected {}", known.join(", "))),
    }
    None
}

fn source(
    reader: &mut Reader<'_>,
    node: &Node,
    path: &str,
    stream: &str,
    corrupt_default: Option<&String>,
) -> Option<SourceConfig> {
    let fields = reader.fields(node, path, &keys::SOURCE)?;
    let name = format(reader, &fields, &formats::names("source"));
    // A format that is not known hides no other problem: the options are read as Kafka's.
    let source = formats::source(reader, &fields, name.unwrap_or("kafka"), stream);
    if let Some(name) = name {
        formats::check_keys(reader, &fields, "source", name);
    }
    let value = match fields.node("value") {
        Some(node) => json(reader, node, &fields.path_of("value"), stream, corrupt_default),
        None => Some(ValueConfig::Raw),
    };
    let marks = marks::read(reader, &fields);
    let (source, value) = (source?, value?);
    name?;
    if let (ValueConfig::Json(json), SourceFormat::Kafka(kafka)) = (&value, &source)
        && json.keep.contains(&RecordColumn::Headers)
        && !kafka.include_headers
    {
        let text = "keep names headers, which are not read";
        let hint = "add includeHeaders: true to source.options";
        reader.problems.add_with_hint(&fields.origin, &fields.path_of("value.keep"), text, hint);
    }
    Some(SourceConfig { format: source, value, marks })
}

fn json(
    reader: &mut Reader<'_>,
    node: &Node,
    path: &str,
    stream: &str,
    corrupt_default: Option<&String>,
) -> Option<ValueConfig> {
    let fields = reader.fields(node, path, &keys::VALUE)?;
    format(reader, &fields, &["json"]);
    let schema = fields.text(reader, "schema");
    let mode = fields.text(reader, "mode").map(|text| {
        let words = ParseMode::ALL.map(|mode| (mode.as_str(), mode));
        reader.one_of(&text, &words)
    });
    let corrupt_column = fields.text(reader, "columnNameOfCorruptRecord").map(|text| text.value);
    let options = match fields.node("options") {
        Some(node) => {
            let path = fields.path_of("options");
            let entries = reader.entries(node, &path).unwrap_or_default();
            reader.options(entries, &path, option_lists::JSON, stream)
        }
        None => Vec::new(),
    };
    let keep = match fields.node("keep") {
        Some(node) => kept(reader, node, &fields.path_of("keep")),
        None => Vec::new(),
    };
    let schema = schema.and_then(|text| columns::ddl(reader, text));
    let schema = schema.filter(|text| columns::check_schema(reader, text, &keep));
    Some(ValueConfig::Json(JsonValue {
        schema: schema?.value,
        mode_given: mode.is_some(),
        mode: mode.unwrap_or(Some(ParseMode::Permissive))?,
        corrupt_column: corrupt_column
            .or_else(|| corrupt_default.cloned())
            .unwrap_or_else(|| CORRUPT_COLUMN.to_owned()),
        options: options.into_iter().map(|(row, text)| (row.name.to_owned(), text.value)).collect(),
        keep,
    }))
}

fn kept(reader: &mut Reader<'_>, node: &Node, path: &str) -> Vec<RecordColumn> {
    let words = RecordColumn::ALL.map(|column| (column.name(), column));
    let mut columns = Vec::new();
    for text in reader.list(node, path) {
        match reader.one_of(&text, &words) {
            Some(column) if columns.contains(&column) => reader.refuse(&text, "the column is named twice"),
            Some(column) => columns.push(column),
            None => {}
        }
    }
    columns
}

/// The stream's sink, with the table properties that are the session's defaults.
fn sink_with(
    reader: &mut Reader<'_>,
    stream: &Fields<'_>,
    place: &LocalPlace<'_>,
    defaults: BTreeMap<String, String>,
) -> Option<SinkConfig> {
    let mut sink = sink(reader, stream.node("sink")?, &stream.path_of("sink"), place)?;
    if let SinkConfig::Delta(delta) = &mut sink {
        add_missing(&mut delta.table_properties, defaults);
    }
    Some(sink)
}

fn sink(reader: &mut Reader<'_>, node: &Node, path: &str, place: &LocalPlace<'_>) -> Option<SinkConfig> {
    let fields = reader.fields(node, path, &keys::SINK)?;
    let name = format(reader, &fields, &formats::names("sink"));
    if let Some(name) = name {
        formats::check_keys(reader, &fields, "sink", name);
    }
    // A format that is not known hides no other problem: the keys are read as Delta's.
    if let Some(other) = name.filter(|name| *name != "delta") {
        return formats::sink(reader, &fields, other, place.stream);
    }
    let target = target(reader, &fields, place.base);
    let partition_by = fields.columns(reader, "partitionBy");
    let options = match fields.node("options") {
        Some(node) => {
            let path = fields.path_of("options");
            let entries = reader.entries(node, &path).unwrap_or_default();
            reader.options(entries, &path, option_lists::DELTA, place.stream)
        }
        None => Vec::new(),
    };
    let properties = table_properties::set_by(reader, &options, &fields.path_of("options"));
    let merge_schema = options
        .iter()
        .find(|(row, _)| row.name == "mergeSchema")
        .and_then(|(_, text)| reader.parse(text, quantity::boolean))
        .unwrap_or(false);
    let merge = match fields.node("merge") {
        Some(node) => {
            let table = target.as_ref().map(|target| &target.url);
            Some(Box::new(merge::read(reader, node, &fields.path_of("merge"), place, table)?))
        }
        None => None,
    };
    let auto_compact =
        fields.text(reader, "autoCompact").and_then(|text| reader.parse(&text, quantity::boolean));
    let auto_vacuum = fields.parsed(reader, "autoVacuum", vacuum_interval);
    let DeltaTarget { url, mut table_properties } = target?;
    add_missing(&mut table_properties, properties);
    name?;
    Some(SinkConfig::Delta(DeltaSink {
        url,
        partition_by,
        merge_schema,
        merge,
        auto_compact,
        auto_vacuum,
        table_properties,
    }))
}

fn vacuum_interval(text: &str) -> Result<Duration, String> {
    match quantity::duration(text, false)? {
        Duration::ZERO => Err("expected more than no time".into()),
        every => Ok(every),
    }
}

/// A Delta table's place and properties. `table` is a path already, or a problem.
fn target(reader: &mut Reader<'_>, fields: &Fields<'_>, base: &Path) -> Option<DeltaTarget> {
    if fields.node("path").is_none() && fields.node("table").is_none() {
        reader.problems.add(&fields.origin, &fields.path, "the key path (or table) is missing");
    }
    let url = fields.parsed(reader, "path", |text| location::parse(text, base));
    let table_properties = strings(reader, fields, "tableProperties", table_properties::check);
    Some(DeltaTarget { url: url?, table_properties })
}

/// A mapping of texts, each of which `check` accepts.
fn strings(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    key: &str,
    check: impl Fn(&str, &str) -> Result<(), String>,
) -> BTreeMap<String, String> {
    let Some(node) = fields.node(key) else { return BTreeMap::new() };
    let path = fields.path_of(key);
    let entries = reader.entries(node, &path).unwrap_or_default();
    let mut strings = BTreeMap::new();
    for entry in entries {
        if let Some(text) = reader.text(&entry.node, &join(&path, &entry.key), &entry.key) {
            reader.parse(&text, |value| check(&entry.key, value));
            strings.insert(entry.key.clone(), text.value);
        }
    }
    strings
}

fn trigger(reader: &mut Reader<'_>, node: &Node, path: &str) -> Option<Trigger> {
    if let Value::Text(_) = node.value {
        let text = reader.text(node, path, "trigger")?;
        let words = [
            ("availableNow", Trigger::AvailableNow),
            ("once", Trigger::Once),
            ("asSoonAsPossible", Trigger::AsSoonAsPossible),
        ];
        if let Some((_, trigger)) = words.iter().find(|(w, _)| w.eq_ignore_ascii_case(text.value.trim())) {
            return Some(*trigger);
        }
        return reader.parse(&text, |text| match processing_time(text) {
            Err(why) if why.contains("month or year") => Err(why),
            Err(_) => {
                Err("expected availableNow, once, asSoonAsPossible or an interval such as 5 seconds".into())
            }
            trigger => trigger,
        });
    }
    let fields = reader.fields(node, path, &keys::TRIGGER)?;
    let given = ["processingTime", "availableNow", "once"].map(|key| fields.node(key).map(|_| key));
    match given.into_iter().flatten().collect::<Vec<_>>()[..] {
        ["processingTime"] => fields.parsed(reader, "processingTime", processing_time),
        [word] => fields.parsed(reader, word, |text| match quantity::boolean(text)? {
            true if word == "once" => Ok(Trigger::Once),
            true => Ok(Trigger::AvailableNow),
            false => Err("it can only be true; remove the trigger instead".into()),
        }),
        [] => {
            // A trigger of the design that comes later has been named as such.
            if reader.entries(node, path).is_some_and(<[_]>::is_empty) {
                reader.problems.add(&node.origin, path, "the trigger is empty");
            }
            None
        }
        _ => {
            let text = "only one of processingTime, availableNow and once can be given";
            reader.problems.add(&node.origin, path, text);
            None
        }
    }
}

/// Spark counts milliseconds here and cuts what is finer.
fn processing_time(text: &str) -> Result<Trigger, String> {
    let time = quantity::duration(text, false)?;
    let ms = u64::try_from(time.as_millis()).map_err(|_| "the time is too long")?;
    Ok(Trigger::ProcessingTime(Duration::from_millis(ms)))
}

fn restart(reader: &mut Reader<'_>, fields: &Fields<'_>) -> RestartPolicy {
    let default = RestartPolicy::default();
    let Some(node) = fields.node("restart") else { return default };
    let Some(fields) = reader.fields(node, &fields.path_of("restart"), &keys::RESTART) else {
        return default;
    };
    let attempts = fields.parsed(reader, "maxAttempts", |text| {
        text.trim().parse().map_err(|_| "expected a whole number".to_owned())
    });
    let backoff = fields.parsed(reader, "backoff", |text| quantity::duration(text, false));
    RestartPolicy {
        max_attempts: attempts.or(default.max_attempts),
        backoff: backoff.unwrap_or(default.backoff),
    }
}

/// Tables and the checkpoint must not stand in each other's way: VACUUM deletes what it does not
/// know from a table's folder, except under names that begin with `_` or a dot.
fn check_places(
    reader: &mut Reader<'_>,
    text: &Text,
    checkpoint: &Url,
    sink: &SinkConfig,
    dead_letter: Option<&DeltaTarget>,
) {
    let sink = sink.delta();
    let tables = sink.map(|sink| ("sink", &sink.url));
    let tables = tables.into_iter().chain(dead_letter.map(|d| ("deadLetter", &d.url)));
    if is_in_a_log(checkpoint) {
        let why = "the checkpoint is in the _delta_log of a table, where only the table's log may be";
        let hint = "put it under _checkpoints in the table's folder, or elsewhere";
        reader.problems.add_with_hint(&text.origin, &text.path, why, hint);
    }
    for (what, table) in tables {
        if is_in_a_log(table) {
            let why = format!(
                "the {what} table is in the _delta_log of a table, where only the table's log may be"
            );
            let path = text.path.replace("checkpointLocation", what);
            reader.problems.add_with_hint(&text.origin, &path, why, "put it elsewhere");
        }
        if is_exposed_in(checkpoint, table) {
            let why =
                format!("the checkpoint is in the folder of the {what} table, where VACUUM would delete it");
            let hint = "put it under _checkpoints there, or elsewhere";
            reader.problems.add_with_hint(&text.origin, &text.path, why, hint);
        }
    }
    if let (Some(dead_letter), Some(sink)) = (dead_letter, sink)
        && is_exposed_in(&dead_letter.url, &sink.url)
    {
        let why = "the dead-letter table is in the folder of the sink's table, where VACUUM would delete it";
        let path = text.path.replace("checkpointLocation", "deadLetter.path");
        reader.problems.add_with_hint(&text.origin, &path, why, "put it elsewhere");
    }
}

/// Whether `place` is the folder of a table's log, or lies in it.
fn is_in_a_log(place: &Url) -> bool {
    place.path().split('/').any(|name| name == "_delta_log")
}

/// Whether `inner` is `outer`, or lies in it under a name that VACUUM does not spare.
fn is_exposed_in(inner: &Url, outer: &Url) -> bool {
    let same_store = (inner.scheme(), inner.username(), inner.host_str())
        == (outer.scheme(), outer.username(), outer.host_str());
    match inner.path().strip_prefix(outer.path()) {
        Some("") => same_store,
        Some(rest) => {
            same_store && rest.starts_with('/') && !rest.starts_with("/_") && !rest.starts_with("/.")
        }
        None => false,
    }
}
