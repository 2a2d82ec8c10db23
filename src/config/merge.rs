//! `sink.merge`: how rows are merged into a table, and where the index of its keys is.

use std::path::{Path, PathBuf};

use url::Url;
use uuid::Uuid;

use super::document::Node;
use super::keys;
use super::reader::{Fields, Reader};
use super::stream::{DeleteWhen, MergeConfig, UpdateConfig, WhenMatched};

/// What decides where the index of a stream is if the file does not say.
pub(super) struct IndexPlace<'a> {
    /// What relative paths start at.
    pub(super) base: &'a Path,
    /// The stream's checkpoint, if its location can be read.
    pub(super) checkpoint: Option<&'a Url>,
    /// The stream's name.
    pub(super) stream: &'a str,
}

/// Reads `merge` of a sink that writes to `table`.
pub(super) fn read(
    reader: &mut Reader<'_>,
    node: &Node,
    path: &str,
    place: &IndexPlace<'_>,
    table: Option<&Url>,
) -> Option<MergeConfig> {
    let fields = reader.fields(node, path, &keys::MERGE)?;
    let mut names: Vec<String> = Vec::new();
    if let Some(node) = fields.node("keys") {
        for text in reader.list(node, &fields.path_of("keys")) {
            if names.contains(&text.value) {
                reader.refuse(&text, "the key is named twice");
            } else {
                names.push(text.value);
            }
        }
        if names.is_empty() {
            reader.problems.add(&fields.origin, &fields.path_of("keys"), "a merge needs at least one key");
        }
    }
    let when_matched = when_matched(reader, &fields)?;
    let given = match fields.text(reader, "indexFolder") {
        Some(text) => Some(reader.parse(&text, |text| local_folder(text, place.base))?),
        None => None,
    };
    let index_folder = match (given, place.checkpoint.and_then(|url| url.to_file_path().ok())) {
        (Some(folder), _) => folder.join(own_name(place.stream, table?)),
        (None, Some(checkpoint)) => checkpoint.join("alluvia").join("key-index"),
        (None, None) => match cache_folder(reader) {
            Some(folder) => folder.join("alluvia").join("key-index").join(own_name(place.stream, table?)),
            None => {
                reader.problems.add_with_hint(
                    &fields.origin,
                    &fields.path,
                    "there is no folder for the index of the table's keys: neither XDG_CACHE_HOME nor HOME is set",
                    "name a folder on a local disk with indexFolder",
                );
                return None;
            }
        },
    };
    (!names.is_empty()).then_some(MergeConfig { keys: names, when_matched, index_folder })
}

/// Reads what becomes of a row whose key the table holds.
fn when_matched(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<WhenMatched> {
    let updates = match fields.text(reader, "whenMatched") {
        Some(text) => reader.one_of(&text, &[("ignore", false), ("update", true)])?,
        None => false,
    };
    let order_by = fields.text(reader, "orderBy").map(|text| text.value);
    let delete_when = match fields.node("deleteWhen") {
        Some(node) => Some(delete_when(reader, node, &fields.path_of("deleteWhen"))?),
        None => None,
    };
    if updates {
        return Some(WhenMatched::Update(Box::new(UpdateConfig { order_by, delete_when })));
    }
    for (key, given) in [("orderBy", order_by.is_some()), ("deleteWhen", delete_when.is_some())] {
        if given {
            reader.problems.add_with_hint(
                &fields.origin,
                &fields.path_of(key),
                "it needs whenMatched: update",
                "add whenMatched: update, or remove it: with ignore, rows of the table are never changed",
            );
        }
    }
    Some(WhenMatched::Ignore)
}

fn delete_when(reader: &mut Reader<'_>, node: &Node, path: &str) -> Option<DeleteWhen> {
    let fields = reader.fields(node, path, &keys::DELETE_WHEN)?;
    let column = fields.text(reader, "column").map(|text| text.value);
    let values = match fields.node("values") {
        Some(node) => reader.list(node, &fields.path_of("values")),
        None => Vec::new(),
    };
    let values: Vec<String> = values.into_iter().map(|text| text.value).collect();
    if values.is_empty() && fields.node("values").is_some() {
        reader.problems.add(&fields.origin, &fields.path_of("values"), "it needs at least one value");
    }
    Some(DeleteWhen { column: column?, values })
}

pub(super) fn local_folder(text: &str, base: &Path) -> Result<PathBuf, String> {
    if text.trim().is_empty() {
        return Err("the folder is empty".into());
    }
    if text.contains("://") {
        return Err("the index lies on a local disk: give a path, not a URL".into());
    }
    Ok(base.join(text.trim()))
}

/// Where the system keeps caches, as the XDG base directories have it.
pub(super) fn cache_folder(reader: &Reader<'_>) -> Option<PathBuf> {
    let set = |name| reader.lookup.env(name).filter(|value| !value.is_empty());
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let xdg = set("XDG_CACHE_HOME").map(PathBuf::from).and_then(absolute);
    xdg.or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".cache")).and_then(absolute))
}

/// A folder's name that no other stream and no other table has.
pub(super) fn own_name(stream: &str, table: &Url) -> String {
    let readable: String =
        stream.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).take(40).collect();
    let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{stream}\n{table}").as_bytes());
    format!("{readable}-{}", id.simple())
}
