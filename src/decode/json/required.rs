//! NOT NULL, checked row by row.
//!
//! Spark's `from_json` forgets NOT NULL; a Delta table does not. Where a stream enforces it, each row
//! is looked at before it counts, and one that breaks the promise is taken back.

use super::column::Column;
use crate::decode::schema::{DataType, StructType};

/// Which parts of a column must not be null; made only where some part must not.
#[derive(Debug)]
pub(super) struct Required {
    not_null: bool,
    within: Within,
}

#[derive(Debug)]
enum Within {
    Nothing,
    /// Fields of a struct by index.
    Fields(Vec<(usize, Required)>),
    /// Elements of an array or values of a map.
    Each(Box<Required>),
}

impl Required {
    /// What the columns of `fields` must hold; `None` if all may be null.
    pub(super) fn of_fields(fields: &StructType) -> Option<Required> {
        let inner: Vec<(usize, Required)> = fields
            .fields
            .iter()
            .enumerate()
            .filter_map(|(n, field)| Some((n, Required::of(&field.data_type, field.nullable)?)))
            .collect();
        (!inner.is_empty()).then_some(Required { not_null: false, within: Within::Fields(inner) })
    }

    fn of(data_type: &DataType, nullable: bool) -> Option<Required> {
        let within = match data_type {
            DataType::Struct(fields) => Required::of_fields(fields).map(|required| required.within),
            DataType::Array { element, contains_null } => Self::of_each(element, *contains_null),
            DataType::Map { value, value_contains_null, .. } => Self::of_each(value, *value_contains_null),
            _ => None,
        };
        if nullable && within.is_none() {
            return None;
        }
        Some(Required { not_null: !nullable, within: within.unwrap_or(Within::Nothing) })
    }

    fn of_each(data_type: &DataType, nullable: bool) -> Option<Within> {
        Some(Within::Each(Box::new(Required::of(data_type, nullable)?)))
    }

    /// The path to what is null in row `row` of `root` and must not be. The fields of a root that is
    /// null itself count as null columns.
    pub(super) fn broken_by(&self, root: &Column, row: usize) -> Option<String> {
        let mut path = Vec::new();
        self.breaks_within(root, row, &mut path).then(|| {
            path.reverse();
            path.join(".")
        })
    }

    /// Whether the row breaks the promise; the names to the place are added innermost first.
    fn breaks(&self, column: &Column, row: usize, path: &mut Vec<String>) -> bool {
        if column.is_null(row) { self.not_null } else { self.breaks_within(column, row, path) }
    }

    fn breaks_within(&self, column: &Column, row: usize, path: &mut Vec<String>) -> bool {
        match (&self.within, column) {
            (Within::Fields(fields), Column::Struct(columns)) => fields.iter().any(|(index, required)| {
                let broken = required.breaks(&columns.columns[*index], row, path);
                if broken {
                    path.push(columns.name(*index).to_owned());
                }
                broken
            }),
            (Within::Each(each), Column::List(list)) => {
                list.elements_of(row).any(|row| each.breaks(&list.elements, row, path))
            }
            (Within::Each(each), Column::Map(map)) => {
                map.entries_of(row).any(|row| each.breaks(&map.values, row, path))
            }
            _ => false,
        }
    }
}
