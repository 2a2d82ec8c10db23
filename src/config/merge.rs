//! `sink.merge`: how rows are merged into a table, and where the index of its keys is.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::document::Node;
use super::keys;
use super::local_folder::{self, LocalPlace};
use super::quantity;
use super::reader::{Fields, Reader};

/// How rows are merged into a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeConfig {
    /// `keys`: the columns, or fields `column.field`, that make a row's key.
    pub keys: Vec<String>,
    /// `whenMatched`: what becomes of a row whose key the table holds.
    pub when_matched: WhenMatched,
    /// `within` and `eventTime`: how far apart in event time rows of one key are at most; absent, any time.
    pub within: Option<MergeWithin>,
    /// `exceptColumns`: the columns of the stream that are not written to the table.
    pub except_columns: Vec<String>,
    /// Where the index of the table's keys is: a folder of the stream's own on a local disk.
    pub index_folder: PathBuf,
}

/// How far apart rows of one key are at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeWithin {
    /// `eventTime`: the column.
    pub event_time: String,
    /// `within`.
    pub length: Duration,
}

/// What becomes of a row whose key the table holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhenMatched {
    /// It is left out.
    Ignore,
    /// It takes the place of the table's row.
    Update(Box<UpdateConfig>),
}

/// Which row of a key is the one that stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateConfig {
    /// `orderBy`: the column by which a row is newer than another; absent, the order of the source.
    pub order_by: Option<String>,
    /// `deleteWhen`: the rows that delete their key.
    pub delete_when: Option<DeleteWhen>,
}

/// Rows that delete their key: those whose `column` is one of `values`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteWhen {
    /// A column of texts or of booleans.
    pub column: String,
    /// `true` and `false` of booleans.
    pub values: Vec<String>,
    /// The first of them that was written as YAML writes a boolean or a number, without quotes: it is no text.
    pub no_text: Option<String>,
}

/// Reads `merge` of a sink that writes to `table`.
pub(super) fn read(
    reader: &mut Reader<'_>,
    node: &Node,
    path: &str,
    place: &LocalPlace<'_>,
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
    let within = within(reader, &fields, &when_matched)?;
    let except_columns = fields.columns(reader, "exceptColumns");
    let index_folder = local_folder::read(reader, &fields, "indexFolder", place, "key-index", table)?;
    let Some(index_folder) = index_folder else {
        reader.problems.add_with_hint(
            &fields.origin,
            &fields.path,
            "there is no folder for the index of the table's keys: neither XDG_CACHE_HOME nor HOME is set",
            "name a folder on a local disk with indexFolder",
        );
        return None;
    };
    (!names.is_empty()).then_some(MergeConfig {
        keys: names,
        when_matched,
        within,
        except_columns,
        index_folder,
    })
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

/// Reads how far apart rows of one key are; `None` after a problem.
fn within(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    when_matched: &WhenMatched,
) -> Option<Option<MergeWithin>> {
    let given = fields.node("within").is_some();
    let length = fields.parsed(reader, "within", |text| quantity::duration(text, false));
    let event_time = fields.text(reader, "eventTime").map(|text| text.value);
    let mut refuse = |key: &str, what: &str, hint: &str| {
        reader.problems.add_with_hint(&fields.origin, &fields.path_of(key), what, hint);
        None
    };
    match (length, event_time) {
        (None, None) => (!given).then_some(None),
        (None, Some(_)) if given => None,
        (None, Some(_)) => refuse(
            "eventTime",
            "it needs within",
            "say with within how far apart rows of one key are at most, such as 7 days, or remove it",
        ),
        (Some(_), None) => {
            refuse("within", "it needs eventTime", "name the column of event times with eventTime")
        }
        (Some(_), Some(_)) if *when_matched != WhenMatched::Ignore => refuse(
            "within",
            "it is for whenMatched: ignore",
            "remove it: an update may be of any age, and would be inserted beside the row that it is to replace",
        ),
        (Some(length), Some(event_time)) => Some(Some(MergeWithin { event_time, length })),
    }
}

fn delete_when(reader: &mut Reader<'_>, node: &Node, path: &str) -> Option<DeleteWhen> {
    let fields = reader.fields(node, path, &keys::DELETE_WHEN)?;
    let column = fields.text(reader, "column").map(|text| text.value);
    let values = match fields.node("values") {
        Some(node) => reader.list(node, &fields.path_of("values")),
        None => Vec::new(),
    };
    let no_text = values.iter().find(|text| text.is_boolean_or_number()).map(|text| text.value.clone());
    let values: Vec<String> = values.into_iter().map(|text| text.value).collect();
    if values.is_empty() && fields.node("values").is_some() {
        reader.problems.add(&fields.origin, &fields.path_of("values"), "it needs at least one value");
    }
    Some(DeleteWhen { column: column?, values, no_text })
}
