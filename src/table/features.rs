//! Table features: which tables are written, which are refused, and why.
//!
//! The Delta kernel refuses every table whose protocol names a feature that it can't write, in use or not; a legacy
//! protocol names all features up to its version, so that it refuses each table of writer version 3 to 6. Most of those
//! have no constraint, generated or identity column. So a feature that a table does not use is left out of the protocol
//! that the kernel is shown for writing, and properties that it can't read are restated ([`properties`]); the table's own
//! are not touched. What is used and can't be kept is refused by name, before anything is written.

mod properties;

use std::fmt::Write as _;
use std::sync::Arc;

use delta_kernel::actions::{Metadata, Protocol};
use delta_kernel::table_configuration::TableConfiguration;
use delta_kernel::{Snapshot, SnapshotRef};
use serde_json::{Value, json};

pub(super) use self::properties::{codec, target_file_bytes};
use crate::model::{Error, Result};
use crate::storage::Store;

/// What becomes of a table with a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Support {
    /// Appended to.
    Written,
    /// Appended to while the table does not use it.
    Unused,
    /// Never appended to.
    Refused,
}

struct Feature {
    name: &'static str,
    /// The legacy writer version from which on it is implied.
    implied_from: Option<i32>,
    support: Support,
    why: &'static str,
}

const fn feature(
    name: &'static str,
    implied_from: Option<i32>,
    support: Support,
    why: &'static str,
) -> Feature {
    Feature { name, implied_from, support, why }
}

/// The features of the protocol, those of Delta 4.0 and the ones in its RFCs.
static FEATURES: &[Feature] = &[
    feature("appendOnly", Some(2), Support::Written, "an append is all it allows"),
    feature(
        "invariants",
        Some(2),
        Support::Unused,
        "an invariant is SQL in a column's metadata (`delta.invariants`), which is not evaluated",
    ),
    feature(
        "checkConstraints",
        Some(3),
        Support::Unused,
        "a constraint is SQL in the table's properties (`delta.constraints.…`), which is not evaluated",
    ),
    feature(
        "changeDataFeed",
        Some(4),
        Support::Written,
        "readers of the feed take the rows of an append from its data files; a batch that replaces another run's files is refused by the table",
    ),
    feature(
        "generatedColumns",
        Some(4),
        Support::Unused,
        "a generation expression is SQL in a column's metadata, which is not evaluated",
    ),
    feature(
        "columnMapping",
        Some(5),
        Support::Written,
        "files carry the physical names, modes `name` and `id`",
    ),
    feature(
        "identityColumns",
        Some(6),
        Support::Unused,
        "its values are handed out by the table's writers one after the other",
    ),
    feature(
        "allowColumnDefaults",
        None,
        Support::Written,
        "as long as the stream has every column that has a default: defaults are SQL, which is not evaluated",
    ),
    feature("catalogManaged", None, Support::Refused, "its commits go through a catalog"),
    feature("catalogOwned-preview", None, Support::Refused, "its commits go through a catalog"),
    feature(
        "checkpointProtection",
        None,
        Support::Written,
        "an append leaves the history as it is; old files of the log are then left to others to delete",
    ),
    feature(
        "clustering",
        None,
        Support::Written,
        "rows are appended as they come; OPTIMIZE clusters them, and what it has ordered is not compacted",
    ),
    feature("deletionVectors", None, Support::Written, "an append has none"),
    feature("domainMetadata", None, Support::Written, "an append changes none"),
    feature("icebergCompatV1", None, Support::Unused, "its demands on files and types are not checked"),
    feature("icebergCompatV2", None, Support::Unused, "its demands on files and types are not checked"),
    feature("inCommitTimestamp", None, Support::Written, "every commit carries one"),
    feature(
        "rowTracking",
        None,
        Support::Written,
        "new files get base row ids; a batch that replaces another run's files is refused by the table",
    ),
    feature("timestampNtz", None, Support::Written, "TIMESTAMP_NTZ is a type of the stream file too"),
    feature("typeWidening", None, Support::Written, "new files have the wider type"),
    feature("typeWidening-preview", None, Support::Written, "new files have the wider type"),
    feature("v2Checkpoint", None, Support::Written, "checkpoints of the log are written in this form then"),
    feature(
        "vacuumProtocolCheck",
        None,
        Support::Written,
        "a table that can't be written is not vacuumed either",
    ),
    feature(
        "variantType",
        None,
        Support::Written,
        "as long as the stream leaves the column out, which must be nullable",
    ),
    feature(
        "variantType-preview",
        None,
        Support::Written,
        "as long as the stream leaves the column out, which must be nullable",
    ),
];

/// A snapshot as the kernel is shown it.
pub(super) struct Shown {
    pub(super) snapshot: SnapshotRef,
    /// What the log says, where the snapshot says something else.
    pub(super) own: Option<Arc<TableConfiguration>>,
}

/// A snapshot that can be written to: without the features that the table has and does not use, and with properties that
/// the kernel reads as Delta does. Made of what was read, without a request.
///
/// # Errors
/// `Config` if a property can't be read; `Corrupt` if the table's metadata contradicts its protocol.
pub(super) fn for_writing(snapshot: SnapshotRef, store: &Store) -> Result<Shown> {
    let table = snapshot.table_configuration();
    let restated = properties::restated(table, store)?;
    let protocol = shown_protocol(table.protocol(), table.metadata(), store)?;
    if restated.is_empty() && protocol.is_none() {
        return Ok(Shown { snapshot, own: None });
    }
    let protocol = protocol.unwrap_or_else(|| table.protocol().clone());
    shown(&snapshot, restated, protocol, store)
}

/// A snapshot whose rows can be read: with the column mapping that Delta takes its property for. Made of what was read,
/// without a request.
///
/// # Errors
/// As for [`for_writing`].
pub(super) fn for_reading(snapshot: SnapshotRef, store: &Store) -> Result<Shown> {
    let table = snapshot.table_configuration();
    let restated = properties::restated_for_reading(table, store)?;
    if restated.is_empty() {
        return Ok(Shown { snapshot, own: None });
    }
    shown(&snapshot, restated, table.protocol().clone(), store)
}

/// A snapshot as the log has it, where it is shown otherwise: what newer commits say is added to this.
///
/// # Errors
/// `Corrupt` if the table's metadata contradicts its protocol.
pub(super) fn as_in_the_log(
    shown: &SnapshotRef,
    own: Option<&TableConfiguration>,
    store: &Store,
) -> Result<SnapshotRef> {
    match own {
        None => Ok(Arc::clone(shown)),
        Some(own) => at_the_same_version(shown, own.metadata().clone(), own.protocol().clone(), store),
    }
}

/// The properties that were restated for the kernel, as the log has them.
pub(super) fn unrestated(shown: &Metadata, own: &Metadata) -> Vec<(String, String)> {
    let (shown, own) = (shown.configuration(), own.configuration());
    let differ = own.iter().filter(|(name, value)| shown.get(*name) != Some(*value));
    differ.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn shown(
    snapshot: &SnapshotRef,
    restated: properties::Restated,
    protocol: Protocol,
    store: &Store,
) -> Result<Shown> {
    let own = snapshot.table_configuration();
    let metadata = properties::with(own.metadata(), restated).map_err(|e| {
        Error::corrupt(format!("the metadata of table {} contradicts itself", store.url())).source(e)
    })?;
    let shown = at_the_same_version(snapshot, metadata, protocol, store)?;
    Ok(Shown { snapshot: shown, own: Some(Arc::new(own.clone())) })
}

fn at_the_same_version(
    snapshot: &SnapshotRef,
    metadata: Metadata,
    protocol: Protocol,
    store: &Store,
) -> Result<SnapshotRef> {
    let root = snapshot.table_root().clone();
    TableConfiguration::try_new(metadata, protocol, root, snapshot.version())
        .and_then(|table| Snapshot::try_new(snapshot.log_segment().clone(), table))
        .map(Arc::new)
        .map_err(|e| super::kernel_error(e, "read the protocol", store))
}

/// The protocol without the features that the table has and does not use; `None` if it has none such.
fn shown_protocol(protocol: &Protocol, metadata: &Metadata, store: &Store) -> Result<Option<Protocol>> {
    let named = named(protocol);
    let mut kept: Vec<&str> =
        named.iter().map(String::as_str).filter(|name| !may_be_left_out(name, metadata)).collect();
    if kept.len() == named.len() {
        return Ok(None);
    }
    // A legacy version implies column mapping for writers, but without reader version 2 there is none.
    kept.retain(|name| *name != "columnMapping" || protocol.min_reader_version() > 1);
    let readers: Option<Vec<String>> =
        protocol.reader_features().map(|features| features.iter().map(ToString::to_string).collect());
    let shown = json!({
        "minReaderVersion": protocol.min_reader_version(),
        "minWriterVersion": 7,
        "readerFeatures": readers,
        "writerFeatures": kept,
    });
    serde_json::from_value(shown).map(Some).map_err(|e| {
        Error::corrupt(format!("the protocol of table {} contradicts itself", store.url())).source(e)
    })
}

/// The writer features of a protocol, those that its version implies included.
fn named(protocol: &Protocol) -> Vec<String> {
    match protocol.writer_features() {
        Some(features) => features.iter().map(ToString::to_string).collect(),
        None => FEATURES
            .iter()
            .filter(|feature| feature.implied_from.is_some_and(|from| from <= protocol.min_writer_version()))
            .map(|feature| feature.name.to_owned())
            .collect(),
    }
}

/// Whether a feature that the kernel can't write makes no difference to an append.
fn may_be_left_out(name: &str, metadata: &Metadata) -> bool {
    match name {
        // Asks nothing of an append; cleanup respects it.
        CHECKPOINT_PROTECTION => true,
        "checkConstraints" | "generatedColumns" | "identityColumns" | "icebergCompatV1"
        | "icebergCompatV2" => uses(name, metadata).is_empty(),
        _ => false,
    }
}

/// The feature of a table whose log must keep its checkpoints.
const CHECKPOINT_PROTECTION: &str = "checkpointProtection";

/// Whether the log of a table may lose old files, as far as the features of its own protocol go.
pub(super) fn allow_cleanup(protocol: &Protocol) -> bool {
    let named = protocol.writer_features().unwrap_or_default();
    named.iter().all(|feature| feature.to_string() != CHECKPOINT_PROTECTION)
}

/// What of a table uses a feature: constraints, columns, a property.
fn uses(name: &str, metadata: &Metadata) -> Vec<String> {
    let configuration = metadata.configuration();
    let mut used: Vec<String> = match name {
        "checkConstraints" => configuration
            .iter()
            .filter_map(|(key, sql)| {
                Some(format!("{} CHECK ({sql})", key.strip_prefix("delta.constraints.")?))
            })
            .collect(),
        "generatedColumns" => columns_with(metadata, "delta.generationExpression"),
        "identityColumns" => columns_with(metadata, "delta.identity.start"),
        "invariants" => columns_with(metadata, "delta.invariants"),
        "icebergCompatV1" | "icebergCompatV2" => {
            let property = format!("delta.enableI{}", &name[1..]);
            let enabled = configuration.get(&property);
            let enabled = enabled.is_some_and(|value| value.eq_ignore_ascii_case("true"));
            enabled.then_some(property).into_iter().collect()
        }
        _ => Vec::new(),
    };
    used.sort();
    used
}

/// The columns, nested ones by their path, whose metadata has `key`.
pub(super) fn columns_with(metadata: &Metadata, key: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let Ok(schema) = serde_json::from_str::<Value>(metadata.schema_string()) {
        walk(&schema, key, &mut Vec::new(), &mut found);
    }
    found
}

fn walk(node: &Value, key: &str, path: &mut Vec<String>, found: &mut Vec<String>) {
    for field in node["fields"].as_array().into_iter().flatten() {
        path.push(field["name"].as_str().unwrap_or_default().to_owned());
        if field["metadata"].get(key).is_some() {
            found.push(path.join("."));
        }
        walk(&field["type"], key, path, found);
        path.pop();
    }
    for inner in ["elementType", "keyType", "valueType"] {
        if node[inner].is_object() {
            walk(&node[inner], key, path, found);
        }
    }
}

/// The error of a table that can't be written, naming the features that it has against it.
pub(super) fn refusal(protocol: &Protocol, metadata: &Metadata, store: &Store, cause: Error) -> Error {
    let mut against = Vec::new();
    for name in named(protocol) {
        let known = FEATURES.iter().find(|feature| feature.name == name);
        let used = uses(&name, metadata);
        match known {
            None => against.push(format!("{name} (not known to this version)")),
            Some(feature) if feature.support == Support::Refused => {
                against.push(format!("{name} ({})", feature.why));
            }
            Some(feature) if feature.support == Support::Unused && !used.is_empty() => {
                against.push(format!("{name} ({}; the table has {})", feature.why, used.join(", ")));
            }
            Some(_) => {}
        }
    }
    let mut text = format!("table {} cannot be written", store.url());
    if against.is_empty() {
        let _ = write!(
            text,
            " (reader version {}, writer version {}, writer features [{}])",
            protocol.min_reader_version(),
            protocol.min_writer_version(),
            named(protocol).join(", ")
        );
    } else {
        let _ = write!(text, ": it has {}", against.join("; "));
    }
    Error::config(text).source(cause).hint(
        "drop what the table has of it (ALTER TABLE … DROP CONSTRAINT, DROP FEATURE) or choose another sink.path; docs/reference/tables.md lists every feature",
    )
}

#[cfg(test)]
mod tests;
