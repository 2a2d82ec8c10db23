//! What a stream writes against what a table has: which of the stream's columns fills which of the table's.
//!
//! Columns and the fields of structs are matched by name without regard to case, in any order, as in Spark. What the
//! table has and the stream lacks is NULL; what the stream has and the table lacks must be added first
//! (`mergeSchema`), at the top or inside a struct, an array or a map. Types that differ are cast as Spark's Delta sink
//! casts (`cast`); other pairs are refused before anything is written, by the path of the very field that differs.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};

use super::cast;
use super::column::{Make, Plan};
use super::length::{Length, declared};
use crate::decode::schema::DataType as SparkType;
use crate::model::spark_type::name_of;
use crate::model::{Error, MissingField, Result};

/// How the stream's columns make the table's, and what the table lacks for it.
pub(super) struct Matched {
    /// Per column of the table, the stream's column that it is made of.
    pub columns: Vec<(Option<usize>, Plan)>,
    /// What must be added to the table first.
    pub missing: Vec<MissingField>,
}

/// Matches the columns of a stream with those of a table.
///
/// # Errors
/// `Config`, naming each field that can't be written and both its types, or one that the table demands and the
/// stream does not have.
pub(super) fn matched(stream: &Schema, table: &Schema, table_name: &str) -> Result<Matched> {
    let mut matching =
        Matching { path: Vec::new(), missing: Vec::new(), differences: Vec::new(), demanded: Vec::new() };
    let mut columns = Vec::with_capacity(table.fields().len());
    for field in table.fields() {
        let source = position(stream.fields(), field.name());
        let declared = declared(field)?;
        columns.push((source, matching.field(source.map(|at| stream.field(at)), field, declared.as_ref())));
    }
    matching.note_missing(stream.fields(), table.fields());
    if !matching.differences.is_empty() {
        return Err(Error::config(format!("{} in table {table_name}", matching.differences.join("; ")))
            .hint(
                "give the column the table's type in sql or source.value.schema, or write to another table",
            ));
    }
    if !matching.demanded.is_empty() {
        let demanded = matching.demanded.join(", ");
        return Err(Error::config(format!(
            "table {table_name} demands column {demanded} (NOT NULL), which the stream does not have"
        ))
        .hint("add the column in sql or source.value.schema"));
    }
    Ok(Matched { columns, missing: matching.missing })
}

/// A table's columns with fields added, as `mergeSchema` adds them: nullable, behind those there are.
pub fn with_fields(table: &Schema, added: &[MissingField]) -> Schema {
    let fields = added
        .iter()
        .fold(table.fields().clone(), |fields, added| fields_with(&fields, &added.path, &added.field));
    Schema::new_with_metadata(fields, table.metadata().clone())
}

fn fields_with(fields: &Fields, path: &[String], added: &Field) -> Fields {
    let Some((first, rest)) = path.split_first() else {
        let added = Arc::new(added.clone().with_nullable(true));
        return fields.iter().cloned().chain([added]).collect();
    };
    let at = position(fields, first);
    let changed = fields.iter().enumerate().map(|(place, field)| {
        if Some(place) == at { field_with(field, rest, added) } else { Arc::clone(field) }
    });
    changed.collect()
}

fn field_with(field: &FieldRef, path: &[String], added: &Field) -> FieldRef {
    let inside = path.split_first();
    let data_type = match (field.data_type(), inside) {
        (DataType::Struct(fields), _) => DataType::Struct(fields_with(fields, path, added)),
        (DataType::List(element), Some((_, rest))) => DataType::List(field_with(element, rest, added)),
        (DataType::Map(entries, sorted), Some((place, rest))) => {
            let DataType::Struct(pair) = entries.data_type() else { return Arc::clone(field) };
            let at = usize::from(place == "value");
            let changed = pair.iter().enumerate().map(|(side, field)| {
                if side == at { field_with(field, rest, added) } else { Arc::clone(field) }
            });
            let entries = entries.as_ref().clone().with_data_type(DataType::Struct(changed.collect()));
            DataType::Map(Arc::new(entries), *sorted)
        }
        (other, _) => other.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

/// The position of the field with a name, in any case.
fn position(fields: &Fields, name: &str) -> Option<usize> {
    let exact = fields.iter().position(|field| field.name() == name);
    exact.or_else(|| fields.iter().position(|field| field.name().to_lowercase() == name.to_lowercase()))
}

/// Where the comparison is, and what it has found.
struct Matching {
    path: Vec<String>,
    missing: Vec<MissingField>,
    differences: Vec<String>,
    demanded: Vec<String>,
}

impl Matching {
    fn dotted(&self) -> String {
        self.path.join(".")
    }

    /// The plan of the table's field `to`; `declared` is its type with VARCHARs and CHARs, if it has some.
    fn field(&mut self, from: Option<&Field>, to: &FieldRef, declared: Option<&SparkType>) -> Plan {
        self.path.push(to.name().clone());
        let plan = self.field_here(from, to, declared);
        self.path.pop();
        plan
    }

    fn field_here(&mut self, from: Option<&Field>, to: &FieldRef, declared: Option<&SparkType>) -> Plan {
        let mut plan = Plan {
            path: self.dotted(),
            field: FieldRef::clone(to),
            not_null: false,
            length: declared.and_then(Length::of),
            make: Make::Null,
        };
        let Some(from) = from else {
            if !to.is_nullable() {
                self.demanded.push(self.dotted());
            }
            plan.length = None;
            return plan;
        };
        plan.not_null = from.is_nullable() && !to.is_nullable();
        plan.make = self.make(from.data_type(), to.data_type(), declared);
        plan
    }

    fn make(&mut self, from: &DataType, to: &DataType, declared: Option<&SparkType>) -> Make {
        match (from, to) {
            (DataType::Struct(given), DataType::Struct(wanted)) => {
                self.note_missing(given, wanted);
                let fields = wanted.iter().map(|field| {
                    let source = position(given, field.name());
                    let declared = match declared {
                        Some(SparkType::Struct(declared)) => declared
                            .fields
                            .iter()
                            .find(|known| known.name.eq_ignore_ascii_case(field.name()))
                            .map(|known| &known.data_type),
                        _ => None,
                    };
                    (source, self.field(source.map(|at| given[at].as_ref()), field, declared))
                });
                let fields: Vec<(Option<usize>, Plan)> = fields.collect();
                let in_order = fields
                    .iter()
                    .enumerate()
                    .all(|(at, (source, plan))| *source == Some(at) && plan.is_free());
                if in_order && given == wanted { Make::Same } else { Make::Struct(fields) }
            }
            (DataType::List(given), DataType::List(wanted)) => {
                let declared = match declared {
                    Some(SparkType::Array { element, .. }) => Some(element.as_ref()),
                    _ => None,
                };
                let element = self.inside("element", given, wanted, declared);
                if element.is_free() && from == to { Make::Same } else { Make::List(Box::new(element)) }
            }
            (DataType::Map(given, _), DataType::Map(wanted, _)) => {
                let (DataType::Struct(given), DataType::Struct(wanted)) =
                    (given.data_type(), wanted.data_type())
                else {
                    return self.differ(from, to);
                };
                let (key, value) = match declared {
                    Some(SparkType::Map { key, value, .. }) => (Some(key.as_ref()), Some(value.as_ref())),
                    _ => (None, None),
                };
                let key = self.inside("key", &given[0], &wanted[0], key);
                let value = self.inside("value", &given[1], &wanted[1], value);
                if key.is_free() && value.is_free() && from == to {
                    Make::Same
                } else {
                    Make::Map(Box::new((key, value)))
                }
            }
            (from, to) if from == to => Make::Same,
            (from, to) if cast::exists(from, to) => Make::Cast,
            (from, to) => self.differ(from, to),
        }
    }

    /// The plan of what is inside an array or a map; its place in a path has Delta's name for it.
    fn inside(&mut self, place: &str, from: &Field, to: &FieldRef, declared: Option<&SparkType>) -> Plan {
        self.path.push(place.to_owned());
        let plan = self.field_here(Some(from), to, declared);
        self.path.pop();
        plan
    }

    fn differ(&mut self, from: &DataType, to: &DataType) -> Make {
        let (path, from, to) = (self.dotted(), name_of(from), name_of(to));
        self.differences.push(format!("column {path} is {from} in the stream but {to}"));
        Make::Null
    }

    fn note_missing(&mut self, given: &Fields, wanted: &Fields) {
        let missing = given.iter().filter(|field| position(wanted, field.name()).is_none());
        let missing =
            missing.map(|field| MissingField { path: self.path.clone(), field: field.as_ref().clone() });
        self.missing.extend(missing);
    }
}
