//! A configuration as a tree of text with places, before anything in it is understood.
//!
//! Files, environment and flags all become such trees, so that every problem can name where it
//! comes from. Values stay text: what a scalar means is decided by the key that asks for it. Nodes
//! may hold secrets, so their `Debug` shows places only.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, Span};

use super::origin::Origin;
use super::problems::Problems;

/// A file longer than this is no configuration.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// The most nodes one file may expand to, aliases included.
const NODES_MAX: usize = 50_000;

/// A value and where it was given.
#[derive(Clone)]
pub(super) struct Node {
    pub origin: Origin,
    pub value: Value,
    /// Whether it is a scalar that a file has in quotes or as a block: a text for every reader of YAML.
    pub is_quoted: bool,
}

/// What a node holds.
#[derive(Clone)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Any scalar, as text, escapes of YAML undone, `${…}` not yet resolved.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in order; keys are unique.
    Map(Vec<Entry>),
}

/// A key of a mapping, where it stands, and its value.
#[derive(Clone)]
pub(super) struct Entry {
    pub key: String,
    pub origin: Origin,
    pub node: Node,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.origin)
    }
}

impl Value {
    /// What the value is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Text(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

impl Node {
    /// A node that is not in quotes.
    pub(super) fn new(origin: Origin, value: Value) -> Node {
        Node { origin, value, is_quoted: false }
    }

    /// A text node.
    pub(super) fn text(origin: Origin, text: impl Into<String>) -> Node {
        Node::new(origin, Value::Text(text.into()))
    }

    /// The value under `key`, if this is a mapping that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|e| e.key == key).map(|e| &e.node),
            _ => None,
        }
    }

    /// The node at `path`, to be changed.
    pub(super) fn get_mut(&mut self, path: &[&str]) -> Option<&mut Node> {
        path.iter().try_fold(self, |node, key| match &mut node.value {
            Value::Map(entries) => entries.iter_mut().find(|e| e.key == *key).map(|e| &mut e.node),
            _ => None,
        })
    }

    /// Puts `node` at `path`, over what is there; mappings on the way are made if they are absent.
    pub(super) fn set(&mut self, path: &[&str], node: Node) {
        let Some((key, rest)) = path.split_first() else {
            *self = node;
            return;
        };
        if !matches!(self.value, Value::Map(_)) {
            *self = Node::new(node.origin.clone(), Value::Map(Vec::new()));
        }
        let Value::Map(entries) = &mut self.value else { return };
        let index = entries.iter().position(|e| e.key == *key).unwrap_or_else(|| {
            let empty = Node::new(node.origin.clone(), Value::Null);
            entries.push(Entry { key: (*key).to_owned(), origin: node.origin.clone(), node: empty });
            entries.len() - 1
        });
        entries[index].node.set(rest, node);
    }

    /// Takes the value at `key` away.
    pub(super) fn remove(&mut self, key: &str) {
        if let Value::Map(entries) = &mut self.value {
            entries.retain(|e| e.key != key);
        }
    }
}

/// Reads one YAML document. Whatever is wrong with it goes to `problems`; `None` if nothing useful
/// is left.
pub(super) fn parse(file: &str, text: &str, problems: &mut Problems) -> Option<Node> {
    let file: Arc<str> = file.into();
    let start = Origin::File { file: Arc::clone(&file), line: 1, column: 1 };
    if text.len() > TEXT_BYTES_MAX {
        problems.add(&start, "", format!("the file has more than {TEXT_BYTES_MAX} bytes"));
        return None;
    }
    let mut builder = Builder { file, anchors: HashMap::new(), nodes: 0, problems };
    let mut open: Vec<Open> = Vec::new();
    let mut root: Option<Node> = None;
    for event in Parser::new_from_str(text) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let mark = error.marker();
                let origin = builder.at(mark.line(), mark.col() + 1);
                builder.problems.add(&origin, "", format!("this is not YAML: {}", error.info()));
                return None;
            }
        };
        let done = builder.event(event, span, &mut open, root.is_some())?;
        if let Some(node) = done {
            match open.last_mut() {
                Some(parent) => builder.attach(parent, node),
                None => root = Some(node),
            }
        }
    }
    root.or_else(|| {
        problems.add(&start, "", "the file is empty");
        None
    })
}

/// A collection whose end has not been seen.
struct Open {
    node: Node,
    anchor: usize,
    /// Of a mapping: the key whose value comes next.
    key: Option<Node>,
    /// Of a mapping: what `<<` brings, used where the mapping itself says nothing.
    merged: Vec<Entry>,
}

impl Open {
    fn new(origin: Origin, value: Value, anchor: usize) -> Open {
        Open { node: Node::new(origin, value), anchor, key: None, merged: Vec::new() }
    }

    fn close(mut self) -> Node {
        if let Value::Map(entries) = &mut self.node.value {
            for entry in self.merged {
                if entries.iter().all(|e| e.key != entry.key) {
                    entries.push(entry);
                }
            }
        }
        self.node
    }
}

struct Builder<'p> {
    file: Arc<str>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    problems: &'p mut Problems,
}

impl Builder<'_> {
    fn at(&self, line: usize, column: usize) -> Origin {
        Origin::File { file: Arc::clone(&self.file), line, column }
    }

    /// Takes one event; `Some(Some(_))` is a finished node, `None` is the end of all hope.
    fn event(&mut self, event: Event, span: Span, open: &mut Vec<Open>, done: bool) -> Option<Option<Node>> {
        let origin = self.at(span.start.line(), span.start.col() + 1);
        if let Some(tag) = event.tag().filter(|t| !t.is_yaml_core_schema()) {
            self.problems.add(&origin, "", format!("the tag {} means nothing here", tag.original()));
        }
        let node = match event {
            Event::DocumentStart(..) if done => {
                self.problems.add(&origin, "", "a second document begins here; one file holds one document");
                return None;
            }
            Event::MappingStart(_, anchor, _) => {
                open.push(Open::new(origin, Value::Map(Vec::new()), anchor));
                return Some(None);
            }
            Event::SequenceStart(_, anchor, _) => {
                open.push(Open::new(origin, Value::List(Vec::new()), anchor));
                return Some(None);
            }
            Event::MappingEnd | Event::SequenceEnd => {
                let closed = open.pop()?;
                let anchor = closed.anchor;
                let node = closed.close();
                self.count(&origin, 1)?;
                self.remember(anchor, &node);
                node
            }
            Event::Scalar(text, style, anchor, _) => {
                let is_quoted = !matches!(style, ScalarStyle::Plain);
                let null = !is_quoted && is_null(&text);
                let value = if null { Value::Null } else { Value::Text(text.into_owned()) };
                let node = Node { origin, value, is_quoted };
                self.count(&node.origin, 1)?;
                self.remember(anchor, &node);
                node
            }
            Event::Alias(anchor) => {
                let Some(nodes) = self.anchors.get(&anchor).map(size) else {
                    self.problems.add(&origin, "", "this alias refers to a value that contains it");
                    return None;
                };
                self.count(&origin, nodes)?;
                self.anchors.get(&anchor)?.clone()
            }
            _ => return Some(None),
        };
        Some(Some(node))
    }

    /// Counts nodes against the bound; `None` when it is passed.
    fn count(&mut self, origin: &Origin, nodes: usize) -> Option<()> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX {
            self.problems.add(origin, "", format!("the file expands to more than {NODES_MAX} values"));
            return None;
        }
        Some(())
    }

    fn remember(&mut self, anchor: usize, node: &Node) {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
    }

    /// Gives a finished node to the collection it stands in.
    fn attach(&mut self, parent: &mut Open, node: Node) {
        let entries = match &mut parent.node.value {
            Value::List(items) => return items.push(node),
            Value::Map(entries) => entries,
            Value::Null | Value::Text(_) => return,
        };
        let Some(key) = parent.key.take() else {
            parent.key = Some(node);
            return;
        };
        let name = match key.value {
            Value::Text(text) => text,
            other => {
                self.problems.add(&key.origin, "", format!("a key must be text, not {}", other.kind()));
                return;
            }
        };
        if name == "<<" {
            return match node.value {
                Value::Map(entries) => parent.merged.extend(entries),
                Value::List(items) if items.iter().all(|i| matches!(i.value, Value::Map(_))) => {
                    for item in items {
                        if let Value::Map(entries) = item.value {
                            parent.merged.extend(entries);
                        }
                    }
                }
                other => {
                    let text = format!("<< brings in the keys of a mapping, not of {}", other.kind());
                    self.problems.add(&key.origin, "", text);
                }
            };
        }
        match entries.iter().find(|e| e.key == name) {
            Some(first) => {
                let text = format!("the key {name} is given twice, first at {}", first.origin);
                self.problems.add(&key.origin, "", text);
            }
            None => entries.push(Entry { key: name, origin: key.origin, node }),
        }
    }
}

/// How many nodes a tree has.
fn size(node: &Node) -> usize {
    match &node.value {
        Value::Null | Value::Text(_) => 1,
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|e| size(&e.node)).sum::<usize>(),
    }
}

/// Whether YAML's core schema reads a plain scalar as a boolean or a number.
pub(super) fn is_boolean_or_number(text: &str) -> bool {
    let unsigned = text.trim_start_matches(['+', '-']);
    let is_decimal = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let of_radix = |prefix: &str, radix: u32| {
        let digits = text.strip_prefix(prefix);
        digits.is_some_and(|digits| !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix)))
    };
    matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE")
        || (is_decimal && text.parse::<f64>().is_ok())
        || of_radix("0x", 16)
        || of_radix("0o", 8)
}

/// The plain scalars that YAML's core schema reads as nothing.
pub(super) fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}
