//! How mappings and values are taken out of a tree: by known key, resolved, with their place.
//!
//! A function that cannot give its value has added the problem, and returns `None`; the caller goes
//! on, so that all problems are found in one pass.

use super::document::{Entry, Node, Value, is_boolean_or_number};
use super::keys::{Section, Status};
use super::lookup::Lookup;
use super::option_lists::{self, List, OptionRow};
use super::origin::Origin;
use super::problems::{Problems, nearest};
use super::{harmless, secrets};
use crate::model::identity::Given;

/// What reading needs and gathers.
pub(super) struct Reader<'l> {
    pub lookup: &'l dyn Lookup,
    pub problems: Problems,
    pub warnings: Vec<String>,
    /// What the stream that is read says of its identity, for whatever logs in with tokens of Entra ID.
    pub identity: Given,
    /// The host of the Event Hubs namespace that it names.
    pub namespace: Option<String>,
}

/// A resolved value and how it may be spoken of.
#[derive(Clone)]
pub(super) struct Text {
    /// References resolved. Show it only through [`Text::shown`].
    pub value: String,
    pub origin: Origin,
    /// Where in the tree, such as `streams[0].sink.path`.
    pub path: String,
    raw: String,
    secret: bool,
    /// Whether it was written in quotes.
    is_quoted: bool,
}

impl Text {
    /// The value for messages: as it was written if it holds a reference, hidden if it is a secret.
    pub(super) fn shown(&self) -> String {
        match (secrets::has_reference(&self.raw), self.secret) {
            (true, true) if !secrets::is_only_references(&self.raw) => "the given value".into(),
            (true, _) => self.raw.clone(),
            (false, true) => "the given value".into(),
            (false, false) => format!("{:?}", self.value),
        }
    }

    /// The value as it was written, if it refers to a file: what it stands for may change while a stream runs.
    pub(super) fn file_reference(&self) -> Option<&str> {
        self.raw.contains("${file:").then_some(self.raw.as_str())
    }

    /// What the references inside of the text stand for, each with its reference; none if it is a reference as a whole.
    pub(super) fn values_inside(&self, lookup: &dyn Lookup) -> Vec<(String, String)> {
        secrets::values_inside(&self.raw, lookup)
    }

    /// The file, if the value is one file's text and nothing else.
    pub(super) fn file_path(&self) -> Option<&str> {
        let path = self.raw.trim().strip_prefix("${file:")?.strip_suffix('}')?;
        (!path.contains(['$', '}'])).then_some(path)
    }

    /// Whether it was written as YAML writes a boolean or a number, without quotes.
    pub(super) fn is_boolean_or_number(&self) -> bool {
        !self.is_quoted && is_boolean_or_number(&self.raw)
    }

    /// Whether messages of others that may quote the value can be shown.
    pub(super) fn is_open(&self) -> bool {
        !self.secret && !secrets::has_reference(&self.raw)
    }
}

/// A mapping whose keys have been checked.
pub(super) struct Fields<'n> {
    pub origin: Origin,
    pub path: String,
    entries: &'n [Entry],
}

impl<'l> Reader<'l> {
    /// A reader that has read nothing.
    pub(super) fn new(lookup: &'l dyn Lookup, problems: Problems) -> Reader<'l> {
        Reader { lookup, problems, warnings: Vec::new(), identity: Given::new(), namespace: None }
    }

    /// Opens a mapping and checks its keys against `section`: unknown ones, later ones, missing ones.
    pub(super) fn fields<'n>(&mut self, node: &'n Node, path: &str, section: &Section) -> Option<Fields<'n>> {
        let entries = self.entries(node, path)?;
        for entry in entries {
            let place = join(path, &entry.key);
            match section.keys.iter().find(|k| k.name == entry.key) {
                Some(key) if key.status == Status::Later => {
                    let text = format!("{} is not available in this version", key.name);
                    self.problems.add_with_hint(&entry.origin, &place, text, key.text);
                }
                Some(_) => {}
                // What several streams share has its anchors there.
                None if section.path.is_empty() && entry.key.starts_with("x-") => {}
                None if is_option_of(section, &entry.key) => {
                    let text = format!("unknown key {}", entry.key);
                    self.problems.add_with_hint(
                        &entry.origin,
                        &place,
                        text,
                        "it is an option: write it under options",
                    );
                }
                None => {
                    let known = section.keys.iter().filter(|k| k.status != Status::Later).map(|k| k.name);
                    self.unknown("key", &entry.key, &entry.origin, &place, known);
                }
            }
        }
        for key in section.keys.iter().filter(|k| k.status == Status::Required) {
            if entries.iter().all(|e| e.key != key.name || matches!(e.node.value, Value::Null)) {
                self.problems.add(&node.origin, path, format!("the key {} is missing", key.name));
            }
        }
        Some(Fields { origin: node.origin.clone(), path: path.to_owned(), entries })
    }

    /// Says that `name` is unknown, and which known name is nearest.
    pub(super) fn unknown<'k>(
        &mut self,
        what: &str,
        name: &str,
        origin: &Origin,
        path: &str,
        known: impl Iterator<Item = &'k str> + Clone,
    ) {
        let text = format!("unknown {what} {name}");
        match nearest(name, known.clone()) {
            Some(near) => self.problems.add_with_hint(origin, path, text, format!("did you mean {near}?")),
            None => {
                let known: Vec<&str> = known.collect();
                let hint = if known.len() <= 20 {
                    format!("known are {}", known.join(", "))
                } else {
                    "see docs/reference for the known ones".to_owned()
                };
                self.problems.add_with_hint(origin, path, text, hint);
            }
        }
    }

    /// The entries of a mapping; nothing is an empty one.
    pub(super) fn entries<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n [Entry]> {
        match &node.value {
            Value::Map(entries) => Some(entries),
            Value::Null => Some(&[]),
            other => {
                self.problems.add(&node.origin, path, format!("expected a mapping, found {}", other.kind()));
                None
            }
        }
    }

    /// The resolved text of a scalar that stands under the key `name`.
    pub(super) fn text(&mut self, node: &Node, path: &str, name: &str) -> Option<Text> {
        let raw = match &node.value {
            Value::Text(raw) => raw.clone(),
            Value::Null => {
                self.problems.add(&node.origin, path, "the value is missing");
                return None;
            }
            other => {
                self.problems.add(
                    &node.origin,
                    path,
                    format!("expected a single value, found {}", other.kind()),
                );
                return None;
            }
        };
        if let Some((why, hint)) = pasted(&raw, name) {
            self.problems.add_with_hint(&node.origin, path, why, hint);
            return None;
        }
        if let Some(variable) = secrets::shell_variable(&raw) {
            // A password may begin with a dollar sign.
            let variable = if harmless::may_show(name, &raw) { variable } else { "NAME" };
            let warning = format!(
                "{path}: ${variable} is taken as it is written; for the environment variable write ${{env:{variable}}}"
            );
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
        match secrets::resolve(&raw, self.lookup) {
            Ok(value) => {
                let secret = !harmless::may_show(name, &raw);
                let is_quoted = node.is_quoted;
                Some(Text {
                    value,
                    origin: node.origin.clone(),
                    path: path.to_owned(),
                    raw,
                    secret,
                    is_quoted,
                })
            }
            Err(why) => {
                self.problems.add(&node.origin, path, why);
                None
            }
        }
    }

    /// Adds a problem of a value.
    pub(super) fn refuse(&mut self, text: &Text, why: impl AsRef<str>) {
        self.problems.add(&text.origin, &text.path, format!("{}: {}", text.shown(), why.as_ref()));
    }

    /// Parses a value; the parser's error is a sentence that does not quote it.
    pub(super) fn parse<T>(
        &mut self,
        text: &Text,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(&text.value) {
            Ok(value) => Some(value),
            Err(why) => {
                self.refuse(text, why);
                None
            }
        }
    }

    /// One of a few words, compared without case.
    pub(super) fn one_of<T: Copy>(&mut self, text: &Text, words: &[(&str, T)]) -> Option<T> {
        let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text.value.trim()));
        if found.is_none() {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.refuse(text, format!("expected {}", words.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    /// A list of texts; a single text stands for a list of one.
    pub(super) fn list(&mut self, node: &Node, path: &str) -> Vec<Text> {
        let name = path.rsplit('.').next().unwrap_or_default();
        match &node.value {
            Value::Null => Vec::new(),
            Value::List(items) => {
                let at = |i| format!("{path}[{i}]");
                items.iter().enumerate().filter_map(|(i, item)| self.text(item, &at(i), name)).collect()
            }
            _ => self.text(node, path, name).into_iter().collect(),
        }
    }

    /// Sorts options by their list: honoured ones come back with their rows, the others become
    /// warnings or problems. `stream` is named in warnings.
    pub(super) fn options<'e>(
        &mut self,
        entries: impl IntoIterator<Item = &'e Entry>,
        path: &str,
        table: &'static [OptionRow],
        stream: &str,
    ) -> Vec<(&'static OptionRow, Text)> {
        let mut honoured: Vec<(&'static OptionRow, Text)> = Vec::new();
        for entry in entries {
            let place = join(path, &entry.key);
            let Some(row) = option_lists::find(table, &entry.key) else {
                let known =
                    table.iter().filter(|r| r.list != List::Refused && !r.is_pattern()).map(|r| r.name);
                self.unknown("option", &entry.key, &entry.origin, &place, known);
                continue;
            };
            let name = if row.is_pattern() { entry.key.as_str() } else { row.name };
            if !self.usable(row, name, entry, &place, stream) {
                continue;
            }
            if !row.is_pattern() && honoured.iter().any(|(other, _)| other.name == row.name) {
                let text = format!("the option {} is given twice; its case does not matter", row.name);
                self.problems.add(&entry.origin, &place, text);
            } else if let Some(text) = self.text(&entry.node, &place, name) {
                honoured.push((row, text));
            }
        }
        honoured
    }

    /// Whether an option is honoured; if not, warns or refuses. `name` is its full name.
    pub(super) fn usable(
        &mut self,
        row: &OptionRow,
        name: &str,
        entry: &Entry,
        path: &str,
        stream: &str,
    ) -> bool {
        match row.list {
            List::Honoured | List::Renamed(_) => true,
            List::NoEffect => {
                self.warnings.push(format!("stream {stream}: {name} has no effect here: {}", row.text));
                false
            }
            List::Refused => {
                self.problems.add_with_hint(&entry.origin, path, format!("{name} is refused"), row.text);
                false
            }
        }
    }
}

impl<'n> Fields<'n> {
    /// The node under `key`, if there is one that is not nothing.
    pub(super) fn node(&self, key: &str) -> Option<&'n Node> {
        let entry = self.entries.iter().find(|e| e.key == key)?;
        (!matches!(entry.node.value, Value::Null)).then_some(&entry.node)
    }

    /// The path of `key`.
    pub(super) fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// The resolved text under `key`, if the key is there.
    pub(super) fn text(&self, reader: &mut Reader<'_>, key: &str) -> Option<Text> {
        self.node(key).and_then(|node| reader.text(node, &self.path_of(key), key))
    }

    /// The names of columns in the list under `key`, each once whatever its case; none if the key is not there.
    pub(super) fn columns(&self, reader: &mut Reader<'_>, key: &str) -> Vec<String> {
        let Some(node) = self.node(key) else { return Vec::new() };
        let mut columns: Vec<String> = Vec::new();
        for text in reader.list(node, &self.path_of(key)) {
            if columns.iter().any(|known| known.to_lowercase() == text.value.to_lowercase()) {
                reader.refuse(&text, "the column is named twice");
            } else {
                columns.push(text.value);
            }
        }
        columns
    }

    /// The parsed value under `key`, if the key is there.
    pub(super) fn parsed<T>(
        &self,
        reader: &mut Reader<'_>,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.text(reader, key).and_then(|text| reader.parse(&text, parse))
    }
}

/// What is wrong with a value that was copied from where it means something else, and what to write.
fn pasted(raw: &str, name: &str) -> Option<(&'static str, &'static str)> {
    if raw.trim() == secrets::MASK {
        let why = "this is what --print-config writes in place of a secret, not the secret";
        return Some((why, "write ${env:NAME} or ${file:/path}"));
    }
    // A query may compare with such a text.
    (raw.contains("{{secrets/") && name != "sql").then_some((
        "the secret cannot be looked up",
        "secret scopes are Databricks'; give ${env:NAME} or ${file:/path}",
    ))
}

fn is_option_of(section: &Section, key: &str) -> bool {
    let property = key.starts_with("kafka.") && !section.options.is_empty();
    property || option_lists::find(section.options, key).is_some_and(|row| row.list != List::Refused)
}

/// The path of `key` under `path`.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
