//! What a query keeps as state, written down when it first starts and compared whenever it starts again.
//!
//! `state/definition` is one line of JSON. A query whose tables have other operators, or other types of keys or values, cannot
//! read what is there, so it is refused. Names of columns may change, and so may everything that is no part of the definition
//! (filters, the watermark's delay): Spark compares the same (`StateSchemaCompatibilityChecker`), except for the length of windows,
//! which it lets change, and for columns of one type that have changed places.

use std::fmt;

use arrow::datatypes::DataType;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::version::Version;
use super::words::{are_others, argument_of, change_of, in_words, result_of, results_of, step_of};
use super::{RESTORE, codec, files};
use crate::model::spark_type::name_of;
use crate::model::{Error, Result};
use crate::storage::{Put, Store};

/// The file of the definition.
pub const DEFINITION: &str = "state/definition";
/// The version of the layout of everything under `state/`.
const FORMAT: u32 = 1;

/// What a query keeps between micro-batches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDefinition {
    format: u32,
    codec: u32,
    tables: Vec<TableDefinition>,
}

/// A table of state: the one with [`super::TableId`] N is the N-th, from 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDefinition {
    /// What the table holds, in a word: `groups`.
    pub name: String,
    /// Whose it is: `stateStoreSave`.
    pub operator: String,
    /// The columns of a key, behind its time.
    pub keys: Vec<StateColumn>,
    /// The columns of a value.
    pub values: Vec<StateColumn>,
    /// The library and version that the layout of values depends on, if it is not Alluvia's own: `datafusion 55.2.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
    /// What a key's time is. `None`: the same whatever the watermark is declared on, or written before this was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<KeyTime>,
    /// Whether the query, as it is now, puts keys of any time, those that the watermark has passed too. Not written down: what
    /// counts is whether the table has forgotten some.
    #[serde(skip)]
    pub any_time: bool,
}

/// What the time is that a key begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KeyTime {
    /// None of its columns: the watermark passes no key.
    None,
    /// The column at this place, from 0.
    Column(usize),
}

/// A column of keys or values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateColumn {
    /// Its name. It may change, but not to that of another column.
    pub name: String,
    /// Its type, as DDL has it.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Of a window how long it is and where it begins, or the gap of a session. `None`: it is none, or written before this was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    /// Columns of the query, as it is now, that this one is not: a column of before that has one of their names was another. Not
    /// written down.
    #[serde(skip)]
    pub others: Vec<String>,
}

impl StateColumn {
    /// A column.
    pub fn new(name: impl Into<String>, data_type: &DataType) -> StateColumn {
        StateColumn {
            name: name.into(),
            type_name: name_of(data_type).replace(" NOT NULL", ""),
            window: None,
            others: Vec::new(),
        }
    }
}

impl StateDefinition {
    /// A query that keeps these tables.
    pub fn new(tables: Vec<TableDefinition>) -> StateDefinition {
        StateDefinition { format: FORMAT, codec: codec::VERSION, tables }
    }

    /// The tables.
    pub fn tables(&self) -> &[TableDefinition] {
        &self.tables
    }

    /// Reads the definition of the state in a checkpoint; `None` if it holds none.
    ///
    /// # Errors
    /// `Corrupt` if the file is damaged, `Unavailable` if storage does not answer.
    pub fn read(checkpoint: &Store) -> Result<Option<StateDefinition>> {
        let Some(bytes) = checkpoint.get(DEFINITION)? else { return Ok(None) };
        let damaged = |cause: String| {
            Error::corrupt(format!("{}{DEFINITION} is damaged: {cause}", checkpoint.url())).hint(RESTORE)
        };
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        match value["format"].as_u64() {
            Some(format) if format == u64::from(FORMAT) => {}
            Some(format) => {
                return Err(Error::config(format!(
                    "the state in {}state is of format {format}, and this version of Alluvia reads format {FORMAT}",
                    checkpoint.url()
                ))
                .hint("run the version that wrote it, or start the query on a new checkpointLocation"));
            }
            None => return Err(damaged("it names no format".into())),
        }
        serde_json::from_value(value).map(Some).map_err(|e| damaged(e.to_string()))
    }

    /// Compares the state in a checkpoint with what the query keeps now, and changes nothing. Returns whether there is state.
    ///
    /// # Errors
    /// `Config` if the query has changed, with what has, or if the state is not Alluvia's; and as for [`StateDefinition::read`].
    pub fn check(&self, checkpoint: &Store) -> Result<bool> {
        let Some(kept) = StateDefinition::read(checkpoint)? else {
            if files::folder(checkpoint, "state").is_empty()? {
                return Ok(false);
            }
            return Err(Error::config(format!(
                "{}state holds the state of a query that Alluvia has not written, or has lost {DEFINITION}",
                checkpoint.url()
            ))
            .hint("start the stream on a new checkpointLocation; Spark's state can't be read by others"));
        };
        match self.change_since(&kept) {
            None => Ok(true),
            Some(change) => Err(Error::config(format!(
                "the query has changed so that it cannot go on with its state in {}state: {change}",
                checkpoint.url()
            ))
            .hint("run the query as it was, or start the changed one on a new checkpointLocation, with startingOffsets from where its windows must be filled again")),
        }
    }

    /// As [`StateDefinition::check`], for a query whose newest committed batch is `newest`: a query that has committed batches
    /// without state can't begin to keep some.
    ///
    /// # Errors
    /// `Config` for that; else as for [`StateDefinition::check`].
    pub fn check_start(&self, checkpoint: &Store, newest: Option<i64>) -> Result<bool> {
        let has_state = self.check(checkpoint)?;
        match newest {
            Some(batch) if !has_state => Err(Error::config(format!(
                "checkpoint {} has committed micro-batch {batch} of a query without state, and the query keeps state now",
                checkpoint.url()
            ))
            .hint("start the stream on a new checkpointLocation")),
            _ => Ok(has_state),
        }
    }

    /// Refuses to go on from a version in which the watermark has passed keys of a table that keys of any time are put into now.
    ///
    /// # Errors
    /// `Config`, naming the step of the query.
    pub(super) fn check_forgotten(&self, version: &Version) -> Result<()> {
        let mut tables = self.tables.iter().zip(&version.tables);
        match tables.find(|(table, state)| table.any_time && !state.expired_below.is_empty()) {
            None => Ok(()),
            Some((TableDefinition { operator, .. }, _)) => Err(Error::config(format!(
                "the state of {} has forgotten what the watermark had passed, and the query counts rows of any time now: outputMode has become complete, or the watermark was removed",
                step_of(operator)
            ))
            .hint("run the query as it was, or start the changed one on a new checkpointLocation, with startingOffsets from where its groups must be filled again")),
        }
    }

    /// Writes the definition of a query that starts for the first time.
    ///
    /// # Errors
    /// As for [`StateDefinition::check`], if another process was first.
    pub(super) fn write(&self, checkpoint: &Store) -> Result<()> {
        let bytes = serde_json::to_vec(self).expect("strings and numbers are always JSON");
        if checkpoint.put_if_absent(DEFINITION, Bytes::from(bytes))? == Put::Exists {
            self.check(checkpoint)?;
        }
        Ok(())
    }

    /// The first thing in which this definition cannot read the state of `kept`.
    fn change_since(&self, kept: &StateDefinition) -> Option<String> {
        if self.codec != kept.codec {
            return Some(format!(
                "its rows are of version {}, and this version of Alluvia reads version {}",
                kept.codec, self.codec
            ));
        }
        let names = |tables: &[TableDefinition]| -> Vec<(String, String)> {
            tables.iter().map(|table| (table.operator.clone(), table.name.clone())).collect()
        };
        let (old, new) = (names(&kept.tables), names(&self.tables));
        if old != new {
            let steps = |names: Vec<(String, String)>| -> Vec<String> {
                let mut steps: Vec<String> =
                    names.iter().map(|(operator, _)| step_of(operator).to_owned()).collect();
                // An operator may have two tables.
                steps.dedup();
                steps
            };
            return Some(change_of("the steps that keep state", steps(old), steps(new)));
        }
        kept.tables.iter().zip(&self.tables).find_map(|(old, new)| new.change_since(old))
    }
}

impl TableDefinition {
    /// The first thing in which it cannot read `kept`, a table of the same name and operator.
    fn change_since(&self, kept: &TableDefinition) -> Option<String> {
        let types = |columns: &[StateColumn]| -> Vec<String> {
            columns.iter().map(|column| column.type_name.clone()).collect()
        };
        let names = |columns: &[StateColumn]| -> Vec<String> {
            columns.iter().map(|column| column.name.clone()).collect()
        };
        let step = step_of(&kept.operator);
        let (old, new) = (results_of(&names(&kept.values)), results_of(&names(&self.values)));
        let same_types = types(&kept.values) == types(&self.values);
        if old != new && (!same_types || are_others(&old, &new) || self.has_other_arguments(kept)) {
            return Some(change_of(&format!("the results of {step}"), old, new));
        }
        let said = |columns: &[StateColumn]| -> Vec<String> {
            columns.iter().map(|column| in_words(&column.name)).collect()
        };
        let mut keys = kept.keys.iter().zip(&self.keys);
        if types(&kept.keys) != types(&self.keys)
            || are_others(&said(&kept.keys), &said(&self.keys))
            || keys.any(|(old, new)| old.name != new.name && new.others.contains(&old.name))
        {
            let typed = |columns: &[StateColumn]| -> Vec<String> {
                said(columns)
                    .into_iter()
                    .zip(types(columns))
                    .map(|(name, of)| format!("{name} {of}"))
                    .collect()
            };
            return Some(format!(
                "the keys of {step} were ({}), and are ({}) now",
                typed(&kept.keys).join(", "),
                typed(&self.keys).join(", ")
            ));
        }
        if !same_types {
            return Some(format!(
                "the values of {step} were ({}), and are ({}) now",
                changed_types(&kept.values, &self.values),
                changed_types(&self.values, &kept.values)
            ));
        }
        for (old, new) in kept.keys.iter().zip(&self.keys) {
            if let Some(window) = &old.window
                && old.window != new.window
            {
                return Some(format!(
                    "the windows of {step} were of {window}, and are of {} now",
                    new.window.as_deref().unwrap_or("several lengths")
                ));
            }
        }
        if self.layout != kept.layout {
            let library = |layout: &Option<String>| layout.clone().unwrap_or_else(|| "Alluvia".into());
            return Some(format!(
                "the values of {step} were laid out by {}, and are by {} now",
                library(&kept.layout),
                library(&self.layout)
            ));
        }
        if let (Some(old), Some(new)) = (kept.time, self.time)
            && old != new
        {
            return Some(format!(
                "the watermark was added, removed or declared on another column: the keys of {step} began with {}, and would with {} now",
                kept.named(old),
                self.named(new)
            ));
        }
        None
    }

    /// Whether one of its aggregates is of another column than the one in its place in `kept`, and not of that one renamed.
    fn has_other_arguments(&self, kept: &TableDefinition) -> bool {
        let mut values = kept.values.iter().zip(&self.values);
        values.any(|(old, new)| {
            let (old, result) = (result_of(&old.name), result_of(&new.name));
            let is_other = |argument: &str| new.others.iter().any(|other| other == argument);
            old != result && argument_of(&old).is_some_and(is_other)
        })
    }

    /// A time of its keys, in words.
    fn named(&self, time: KeyTime) -> String {
        match time {
            KeyTime::None => "no event time".to_owned(),
            KeyTime::Column(at) => match self.keys.get(at) {
                Some(column) => format!("the event time {}", column.name),
                None => format!("the event time in column {at}"),
            },
        }
    }
}

/// The results whose states in `columns` have other types than in `others`, with the types.
fn changed_types(columns: &[StateColumn], others: &[StateColumn]) -> String {
    let same_number = columns.len() == others.len();
    let changed = columns.iter().enumerate().filter(|(n, column)| {
        !same_number || others.get(*n).is_none_or(|other| other.type_name != column.type_name)
    });
    let mut changed: Vec<String> =
        changed.map(|(_, column)| format!("{} {}", result_of(&column.name), column.type_name)).collect();
    changed.dedup();
    changed.join(", ")
}

fn listed(columns: &[StateColumn]) -> String {
    columns
        .iter()
        .map(|column| format!("{} {}", column.name, column.type_name))
        .collect::<Vec<_>>()
        .join(", ")
}

/// A line for each table.
impl fmt::Display for StateDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, table) in self.tables.iter().enumerate() {
            if id > 0 {
                writeln!(f)?;
            }
            write!(f, "table {id}: {table}")?;
        }
        Ok(())
    }
}

impl fmt::Display for TableDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TableDefinition { name, operator, keys, values, .. } = self;
        write!(f, "{name} of {operator}, key ({}), value ({})", listed(keys), listed(values))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::Kind;

    fn definition(change: impl FnOnce(&mut StateDefinition)) -> StateDefinition {
        let mut definition = StateDefinition::new(vec![TableDefinition {
            name: "groups".into(),
            operator: "stateStoreSave".into(),
            keys: vec![StateColumn::new("status", &DataType::Utf8)],
            values: vec![StateColumn::new("count", &DataType::Int64)],
            layout: Some("datafusion 55.2.0".into()),
            time: Some(KeyTime::None),
            any_time: false,
        }]);
        change(&mut definition);
        definition
    }

    fn checkpoint() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let url = url::Url::from_directory_path(folder.path()).unwrap();
        (folder, Store::open(&url, &BTreeMap::new(), crate::storage::test_runtime()).unwrap())
    }

    #[test]
    fn a_changed_query_is_told_what_has_changed() {
        let (_folder, store) = checkpoint();
        let kept = definition(|_| ());
        assert!(!kept.check(&store).unwrap(), "a new checkpoint has no state");
        kept.write(&store).unwrap();
        kept.write(&store).unwrap();
        assert_eq!(StateDefinition::read(&store).unwrap(), Some(kept.clone()));
        assert!(definition(|new| new.tables[0].values[0].name = "n".into()).check(&store).unwrap());

        type Change = fn(&mut StateDefinition);
        let changes: [(Change, &str); 7] = [
            (
                |new| new.tables[0].time = Some(KeyTime::Column(0)),
                "the watermark was added, removed or declared on another column: the keys of GROUP BY began with no event time, and would with the event time status now",
            ),
            (
                |new| new.tables[0].keys.push(StateColumn::new("device", &DataType::Utf8)),
                "the keys of GROUP BY were (status STRING), and are (status STRING, device STRING) now",
            ),
            (
                |new| {
                    new.tables[0].values[0] =
                        StateColumn::new("sum(input.v)[sum] of sum(input.v)", &DataType::Float64)
                },
                "count became sum(v)",
            ),
            (|new| new.tables[0].operator = "dedupe".into(), "GROUP BY became dropDuplicates"),
            (|new| new.tables.clear(), "GROUP BY was removed"),
            (
                |new| new.tables[0].layout = Some("datafusion 56.0.0".into()),
                "laid out by datafusion 55.2.0, and are by datafusion 56.0.0 now",
            ),
            (|new| new.codec = 2, "its rows are of version 1"),
        ];
        for (change, expected) in changes {
            let error = definition(change).check(&store).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            assert!(error.to_string().contains(expected), "{error}");
            assert!(error.to_string().contains("new checkpointLocation"), "{error}");
        }
    }

    #[test]
    fn columns_of_one_type_that_are_exchanged_are_refused_and_renamed_ones_go_on() {
        let (_folder, store) = checkpoint();
        let of = |keys: &[&str], results: &[&str], others: &[&str]| {
            let column = |name: String| StateColumn {
                others: others.iter().map(|other| (*other).to_owned()).collect(),
                ..StateColumn::new(name, &DataType::Int64)
            };
            definition(|new| {
                new.tables[0].keys = keys.iter().map(|key| column((*key).to_owned())).collect();
                new.tables[0].values =
                    results.iter().map(|result| column(format!("{result}[state] of {result}"))).collect();
            })
        };
        let results = ["min(input.t)", "max(input.t)"];
        let kept = of(&["a", "lower(input.b)"], &results, &[]);
        store.put(DEFINITION, Bytes::from(serde_json::to_string(&kept).unwrap())).unwrap();
        let keys = ["a", "lower(input.b)"];
        for new in [
            of(&keys, &results, &["c"]),
            of(&["device", "lower(input.b)"], &results, &["c"]),
            of(&["a", "b"], &results, &["c"]),
            of(&keys, &["min(input.u)", "max(input.u)"], &["c"]),
            of(&keys, &["lowest", "highest"], &["c"]),
        ] {
            assert!(new.check(&store).unwrap());
        }
        let changes = [
            (
                of(&["lower(input.b)", "a"], &results, &[]),
                "the keys of GROUP BY were (a BIGINT, lower(b) BIGINT), and are (lower(b) BIGINT, a BIGINT) now",
            ),
            (of(&["c", "lower(input.b)"], &results, &["a"]), "and are (c BIGINT, lower(b) BIGINT) now"),
            (of(&["a", "upper(input.b)"], &results, &[]), "and are (a BIGINT, upper(b) BIGINT) now"),
            (
                of(&keys, &["max(input.t)", "min(input.t)"], &[]),
                "the results of GROUP BY were min(t), max(t), and are max(t), min(t) now",
            ),
            (of(&keys, &["max(input.t)", "max(input.u)"], &[]), "min(t) became max(u)"),
            (of(&keys, &["min(input.t)", "max(input.c)"], &["t"]), "max(t) became max(c)"),
        ];
        for (new, expected) in changes {
            let error = new.check(&store).unwrap_err();
            assert!(error.kind() == Kind::Config && error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn a_changed_type_is_told_of_the_result_that_has_it() {
        let (_folder, store) = checkpoint();
        let of = |data_type: &DataType| {
            definition(|new| {
                new.tables[0].values.push(StateColumn::new(
                    "sum(input.v * Int32(2))[sum] of sum(input.v * Int32(2))",
                    data_type,
                ));
            })
        };
        store.put(DEFINITION, Bytes::from(serde_json::to_string(&of(&DataType::Int64)).unwrap())).unwrap();
        let error = of(&DataType::Float64).check(&store).unwrap_err();
        let said = "the values of GROUP BY were (sum(v * 2) BIGINT), and are (sum(v * 2) DOUBLE) now";
        assert!(error.to_string().contains(said), "{error}");
    }

    #[test]
    fn a_definition_that_does_not_say_what_the_time_is_is_read() {
        let (_folder, store) = checkpoint();
        let old = serde_json::to_string(&definition(|old| old.tables[0].time = None)).unwrap();
        assert!(!old.contains("time\""), "as it was written before: {old}");
        store.put(DEFINITION, Bytes::from(old)).unwrap();
        for time in [KeyTime::None, KeyTime::Column(0)] {
            assert!(definition(|new| new.tables[0].time = Some(time)).check(&store).unwrap());
        }
        let written = serde_json::to_string(&definition(|new| new.tables[0].time = Some(KeyTime::Column(0))));
        assert!(written.unwrap().ends_with(r#""time":{"column":0}}]}"#));
    }

    #[test]
    fn a_table_that_has_forgotten_keys_takes_none_of_any_time() {
        let of_any_time = definition(|new| new.tables[0].any_time = true);
        let mut version = Version::empty(1);
        of_any_time.check_forgotten(&version).unwrap();
        version.tables[0].expired_below = crate::state::time_prefix(1).to_vec();
        definition(|_| ()).check_forgotten(&version).unwrap();
        let error = of_any_time.check_forgotten(&version).unwrap_err();
        assert!(error.kind() == Kind::Config && error.to_string().contains("has forgotten"), "{error}");
    }

    #[test]
    fn windows_of_another_length_are_refused_and_a_definition_without_their_length_is_read() {
        let (_folder, store) = checkpoint();
        let of =
            |window: Option<&str>| definition(|new| new.tables[0].keys[0].window = window.map(str::to_owned));
        store.put(DEFINITION, Bytes::from(serde_json::to_string(&of(None)).unwrap())).unwrap();
        assert!(of(Some("5 minutes")).check(&store).unwrap(), "written before the length was");
        store.put(DEFINITION, Bytes::from(serde_json::to_string(&of(Some("5 minutes"))).unwrap())).unwrap();
        assert!(of(Some("5 minutes")).check(&store).unwrap());
        for (window, expected) in [(Some("10 minutes"), "10 minutes"), (None, "several lengths")] {
            let error = of(window).check(&store).unwrap_err();
            let said = format!("the windows of GROUP BY were of 5 minutes, and are of {expected} now");
            assert!(error.kind() == Kind::Config && error.to_string().contains(&said), "{error}");
        }
    }

    #[test]
    fn state_of_spark_is_refused() {
        let (_folder, store) = checkpoint();
        store.put("state/0/0/1.delta", Bytes::from_static(b"x")).unwrap();
        let error = definition(|_| ()).check(&store).unwrap_err();
        assert!(error.kind() == Kind::Config && error.to_string().contains("Spark's state"), "{error}");
    }

    #[test]
    fn a_damaged_definition_and_one_of_another_format_are_named() {
        let (_folder, store) = checkpoint();
        let whole = serde_json::to_string(&definition(|_| ())).unwrap();
        let other = whole.replace("\"format\":1", "\"format\":7");
        for (text, kind) in [(&whole[..9], Kind::Corrupt), ("{}", Kind::Corrupt), (&other, Kind::Config)] {
            store.put(DEFINITION, Bytes::from(text.to_owned())).unwrap();
            let error = StateDefinition::read(&store).unwrap_err();
            assert!(error.kind() == kind && error.to_string().contains("state"), "{error}");
        }
    }

    #[test]
    fn a_definition_shows_a_line_for_each_table() {
        let shown = definition(|_| ()).to_string();
        assert_eq!(shown, "table 0: groups of stateStoreSave, key (status STRING), value (count BIGINT)");
    }
}
