//! Which values of a sample made a column STRING although others of it are not text.

use std::collections::{BTreeMap, HashSet};

use super::{Kind, widens_to_text};

/// A column whose values are of types that only STRING holds together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MixedColumn {
    /// Its dotted name; `[]` stands for the elements of an array.
    pub path: String,
    /// What the values before were: `number`, `text`, `boolean`, `array` or `object`.
    pub before: &'static str,
    /// What the first other value is.
    pub then: &'static str,
    /// The message that has it, counted from 1 among those of the sample that have a value.
    pub message: u64,
}

/// The columns that were found, each once.
#[derive(Debug, Default)]
pub(super) struct MixedColumns {
    pub(super) found: Vec<MixedColumn>,
    paths: HashSet<String>,
}

/// Adds to `found` the columns that are of one type in `known` and of one that does not go with it in `fields`, which come
/// from message number `message`.
pub(super) fn note_mixed(
    known: &BTreeMap<String, Kind>,
    fields: &BTreeMap<String, Kind>,
    message: u64,
    found: &mut MixedColumns,
) {
    for (name, kind) in fields {
        if let Some(there) = known.get(name) {
            note_kinds(there, kind, &mut vec![name.as_str()], message, found);
        }
    }
}

fn note_kinds<'a>(
    there: &'a Kind,
    kind: &'a Kind,
    path: &mut Vec<&'a str>,
    message: u64,
    found: &mut MixedColumns,
) {
    match (there, kind) {
        (Kind::Object(known), Kind::Object(fields)) => {
            for (name, kind) in fields {
                if let Some(there) = known.get(name) {
                    path.push(name);
                    note_kinds(there, kind, path, message, found);
                    path.pop();
                }
            }
        }
        (Kind::Array(known), Kind::Array(element)) => {
            path.push("[]");
            note_kinds(known, element, path, message, found);
            path.pop();
        }
        (there, kind) if widens_to_text(there, kind) => {
            let path = path.join(".").replace(".[]", "[]");
            if found.paths.insert(path.clone()) {
                found.found.push(MixedColumn { path, before: word(there), then: word(kind), message });
            }
        }
        _ => {}
    }
}

/// What JSON calls a value of the kind.
fn word(kind: &Kind) -> &'static str {
    match kind {
        Kind::Null => "null",
        Kind::Boolean => "boolean",
        Kind::Long | Kind::Decimal { .. } | Kind::Double => "number",
        Kind::Instant | Kind::Text => "text",
        Kind::Array(_) => "array",
        Kind::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use crate::decode::infer::Inference;

    #[test]
    fn the_first_value_that_does_not_go_with_those_before_is_named_once_a_column() {
        let mut inference = Inference::default();
        for message in [
            r#"{"n":1,"t":"2026-11-21T03:04:05Z","o":{"a":[1]},"u":null,"m":"x"}"#,
            "no json",
            r#"{"n":2.5,"t":"soon","o":{"a":["x"]},"u":true,"m":"y"}"#,
            r#"{"n":"3","u":{"b":1},"m":[1]}"#,
            r#"{"n":4}"#,
        ] {
            inference.add(message.as_bytes());
        }
        let found: Vec<_> = (inference.mixed().iter())
            .map(|column| (column.path.as_str(), column.before, column.then, column.message))
            .collect();
        assert_eq!(
            found,
            [
                ("o.a[]", "number", "text", 3),
                ("m", "text", "array", 4),
                ("n", "number", "text", 4),
                ("u", "boolean", "object", 4)
            ]
        );
    }
}
