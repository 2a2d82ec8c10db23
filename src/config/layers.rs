//! Files, environment and flags, laid over each other and read once.

use std::fmt;
use std::path::{Path, PathBuf};

use super::document::{self, Node, Value};
use super::environment;
use super::kafka::KafkaOptions;
use super::kafka::options as kafka_options;
use super::keys;
use super::location;
use super::lookup::Lookup;
use super::origin::Origin;
use super::problems::Problems;
use super::reader::{Reader, join};
use super::stream::Config;
use super::stream_parser;
use crate::model::{Error, Result};

/// What one flag of the command line says about a stream.
#[derive(Clone)]
pub struct Setting {
    flag: &'static str,
    path: Vec<String>,
    value: SettingValue,
}

#[derive(Clone)]
enum SettingValue {
    Text(String),
    List(Vec<String>),
}

impl Setting {
    /// `flag` sets the key at `path` of a stream to `value`; `${…}` in it is resolved as in files.
    pub fn text(flag: &'static str, path: &[&str], value: impl Into<String>) -> Setting {
        Setting { flag, path: owned(path), value: SettingValue::Text(value.into()) }
    }

    /// The same for a list.
    pub fn list(flag: &'static str, path: &[&str], values: Vec<String>) -> Setting {
        Setting { flag, path: owned(path), value: SettingValue::List(values) }
    }

    fn lay_over(&self, stream: &mut Node) {
        let origin = Origin::Flag(self.flag);
        let text = |text: &String| Node::text(origin.clone(), text);
        let value = match &self.value {
            SettingValue::Text(value) => text(value).value,
            SettingValue::List(values) => Value::List(values.iter().map(text).collect()),
        };
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        stream.set(&path, Node::new(origin, value));
    }
}

/// Values may hold secrets.
impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Setting({} {})", self.flag, self.path.join("."))
    }
}

fn owned(path: &[&str]) -> Vec<String> {
    path.iter().map(|key| (*key).to_owned()).collect()
}

impl Config {
    /// The streams of `files`, with `flags` laid over every one of them.
    ///
    /// # Errors
    /// `Config`, with every problem that was found and its place.
    pub fn from_files(files: &[PathBuf], flags: &[Setting], lookup: &dyn Lookup) -> Result<Config> {
        let mut texts = Vec::with_capacity(files.len());
        for path in files {
            let text = lookup.file(path).map_err(|cause| {
                Error::config(format!("cannot read {}", path.display()))
                    .source(cause)
                    .hint("name a stream file")
            })?;
            texts.push((path.display().to_string(), text));
        }
        Self::from_texts(&texts, flags, lookup)
    }

    /// The same for files that were read: pairs of a name, for messages, and a text.
    ///
    /// # Errors
    /// `Config`, with every problem that was found and its place.
    pub fn from_texts(texts: &[(String, String)], flags: &[Setting], lookup: &dyn Lookup) -> Result<Config> {
        let mut problems = Problems::default();
        let trees: Vec<Node> =
            texts.iter().filter_map(|(name, text)| document::parse(name, text, &mut problems)).collect();
        let mut reader = Reader::new(lookup, problems);
        let mut declared = Vec::new();
        for tree in &trees {
            streams_of(&mut reader, tree, &mut declared);
        }
        finish(reader, declared, flags)
    }

    /// One stream from flags alone.
    ///
    /// # Errors
    /// `Config`, with every problem that was found and the flag that it comes from.
    pub fn from_flags(flags: &[Setting], lookup: &dyn Lookup) -> Result<Config> {
        let root = Node::new(Origin::Flag("command line"), Value::Null);
        let reader = Reader::new(lookup, Problems::default());
        finish(reader, vec![(root, "streams[0]".to_owned())], flags)
    }
}

impl KafkaOptions {
    /// A Kafka source from flags alone, those that set `source.options`, and what has no effect.
    ///
    /// # Errors
    /// `Config`, with every problem that was found and the flag that it comes from.
    pub fn from_flags(flags: &[Setting], lookup: &dyn Lookup) -> Result<(KafkaOptions, Vec<String>)> {
        let mut root = Node::new(Origin::Flag("command line"), Value::Null);
        flags.iter().for_each(|flag| flag.lay_over(&mut root));
        let options = root.get("source").and_then(|source| source.get("options")).unwrap_or(&root);
        let mut reader = Reader::new(lookup, Problems::default());
        let kafka = kafka_options::read(&mut reader, options, "source.options", "of the command line");
        reader.problems.into_result()?;
        let kafka = kafka
            .ok_or_else(|| Error::internal("a source was dropped although no problem of it is known"))?;
        Ok((kafka, reader.warnings))
    }
}

/// Takes the streams out of a file's tree, tables placed under its warehouse.
fn streams_of(reader: &mut Reader<'_>, tree: &Node, declared: &mut Vec<(Node, String)>) {
    let Some(fields) = reader.fields(tree, "", &keys::FILE) else { return };
    let Some(list) = fields.node("streams") else { return };
    let Value::List(items) = &list.value else {
        let text = format!("expected a list, found {}; each stream begins with -", list.value.kind());
        return reader.problems.add(&list.origin, "streams", text);
    };
    if items.is_empty() {
        reader.problems.add(&list.origin, "streams", "the list is empty");
    }
    for (index, item) in items.iter().enumerate() {
        let mut stream = item.clone();
        let path = format!("streams[{index}]");
        for target in ["sink", "deadLetter"] {
            place_table(reader, &mut stream, &[target], &path, fields.node("warehouse"));
        }
        for table in table_names(&stream) {
            place_table(reader, &mut stream, &["tables", &table], &path, fields.node("warehouse"));
        }
        declared.push((stream, path));
    }
}

/// The names of a stream's static tables.
fn table_names(stream: &Node) -> Vec<String> {
    match stream.get("tables").map(|tables| &tables.value) {
        Some(Value::Map(entries)) => entries.iter().map(|entry| entry.key.clone()).collect(),
        _ => Vec::new(),
    }
}

/// Turns `table: NAME` into the path under the warehouse, references left as they are.
fn place_table(
    reader: &mut Reader<'_>,
    stream: &mut Node,
    target: &[&str],
    path: &str,
    warehouse: Option<&Node>,
) {
    let Some(sink) = target.iter().try_fold(&*stream, |node, key| node.get(key)) else { return };
    let Some(table) = sink.get("table").filter(|t| !matches!(t.value, Value::Null)).cloned() else { return };
    let place = join(&target.iter().fold(path.to_owned(), |path, key| join(&path, key)), "table");
    if sink.get("path").is_some() {
        return reader.problems.add(&table.origin, &place, "table and path exclude each other");
    }
    let Some(warehouse) = warehouse else {
        let hint = "add warehouse: URL at the top of the file, or give path";
        return reader.problems.add_with_hint(&table.origin, &place, "table needs a warehouse", hint);
    };
    let (Some(name), Some(_)) =
        (reader.text(&table, &place, "table"), reader.text(warehouse, "warehouse", "warehouse"))
    else {
        return;
    };
    if !name.value.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c)) || name.value.starts_with('.') {
        return reader.refuse(&name, "a table's name has letters, digits, _, - and .");
    }
    if name.value.matches('.').count() == 2 {
        let folder = name.shown();
        let warning = format!(
            "{place}: there is no catalog; {folder} is the name of a folder in the warehouse, not CATALOG.SCHEMA.TABLE"
        );
        reader.warnings.push(warning);
    }
    if let (Value::Text(parent), Value::Text(name)) = (&warehouse.value, &table.value) {
        let url = location::under(parent, name);
        let node = Node::text(table.origin.clone(), url);
        let mut place = target.to_vec();
        place.push("path");
        stream.set(&place, node);
        if let Some(table) = stream.get_mut(target) {
            table.remove("table");
        }
    }
}

/// Lays the other layers over the streams and reads them.
fn finish(mut reader: Reader<'_>, declared: Vec<(Node, String)>, flags: &[Setting]) -> Result<Config> {
    let base = reader.lookup.current_dir().unwrap_or_else(|_| Path::new("").to_owned());
    let mut read = Vec::with_capacity(declared.len());
    let mut nodes = Vec::with_capacity(declared.len());
    for (mut node, path) in declared {
        if matches!(node.value, Value::Map(_)) {
            // By itself first: what another layer covers must be right all the same.
            let warnings = reader.warnings.len();
            stream_parser::read(&mut reader, &node, &path, &base);
            reader.warnings.truncate(warnings);
        }
        if matches!(node.value, Value::Map(_) | Value::Null) {
            environment::lay_over(&mut node, reader.lookup);
            flags.iter().for_each(|flag| flag.lay_over(&mut node));
        }
        if let Some(stream) = stream_parser::read(&mut reader, &node, &path, &base) {
            read.push((stream, node.origin.clone(), path));
        }
        nodes.push(node);
    }
    stream_parser::check_unique(&mut reader, &read);
    let Reader { problems, warnings, .. } = reader;
    problems.into_result()?;
    if read.len() != nodes.len() {
        return Err(Error::internal("a stream was dropped although no problem of it is known"));
    }
    Ok(Config { streams: read.into_iter().map(|(stream, ..)| stream).collect(), warnings, declared: nodes })
}
