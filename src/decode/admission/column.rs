//! One column of the table, made of the stream's column, with everything that the table demands of its values.
//!
//! A plan is made once by `fit` and then run over every batch. Structs, arrays and maps are taken apart only where
//! something inside is cast, reordered, missing or demanded; every other column is passed on as it is, at no cost.
//! A value that the table can't take is a fault of its row. Where there is one, no column is made: the rows at fault
//! are taken out and the plan is run again.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, new_null_array};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, FieldRef};

use super::ColumnCast;
use super::cast::{self, Clock};
use super::length::Length;
use crate::decode::json::{Rejection, RejectionCode};
use crate::model::spark_type::name_of;
use crate::model::{Error, Result};

/// Rows that the table can't take, and why; a row may occur more than once.
pub(super) type Faults = Vec<(usize, Rejection)>;

/// How a field of the table is made.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Its name and those of the columns around it, dotted.
    pub path: String,
    /// The table's field.
    pub field: FieldRef,
    /// Whether it must not be null although the stream's field may be.
    pub not_null: bool,
    /// The length of a VARCHAR or CHAR.
    pub length: Option<Length>,
    /// What its values are made of.
    pub make: Make,
}

/// What the values of a field are made of.
#[derive(Debug, Clone)]
pub(super) enum Make {
    /// The stream does not have the field: NULL.
    Null,
    /// The stream's values as they are.
    Same,
    /// The stream's values, cast.
    Cast,
    /// The fields of the stream's struct by position, in the table's order.
    Struct(Vec<(Option<usize>, Plan)>),
    /// The elements of the stream's array.
    List(Box<Plan>),
    /// The keys and values of the stream's map.
    Map(Box<(Plan, Plan)>),
}

impl Plan {
    /// The plan of a column that is passed on as it is.
    pub(super) fn same(field: &FieldRef) -> Plan {
        Plan {
            path: field.name().clone(),
            field: Arc::clone(field),
            not_null: false,
            length: None,
            make: Make::Same,
        }
    }

    /// Whether the stream's column is passed on as it is, whatever it holds.
    pub(super) fn is_free(&self) -> bool {
        !self.not_null && self.length.is_none() && matches!(self.make, Make::Same | Make::Null)
    }

    /// Whether a value of the stream's type `from` may be one that the table can't take.
    pub(super) fn may_reject(&self, from: &DataType) -> bool {
        let inside = match (&self.make, from) {
            (Make::Cast, from) => cast::may_fail(from, self.field.data_type()),
            (Make::Struct(fields), DataType::Struct(given)) => fields
                .iter()
                .any(|(source, plan)| source.is_some_and(|at| plan.may_reject(given[at].data_type()))),
            (Make::List(element), DataType::List(given)) => element.may_reject(given.data_type()),
            (Make::Map(pair), DataType::Map(given, _)) => match given.data_type() {
                DataType::Struct(given) => {
                    pair.0.may_reject(given[0].data_type()) || pair.1.may_reject(given[1].data_type())
                }
                _ => false,
            },
            _ => false,
        };
        self.not_null || self.length.is_some() || inside
    }

    /// What is demanded, as text: a part of what decides results.
    pub(super) fn describe(&self, from: Option<&DataType>, out: &mut Vec<String>) {
        let path = &self.path;
        if self.not_null {
            out.push(format!("{path} NOT NULL"));
        }
        if let Some(length) = &self.length {
            out.push(format!("{path} {length}"));
        }
        if let (Make::Cast, Some(from)) = (&self.make, from) {
            out.push(format!("{path} {} AS {}", name_of(from), name_of(self.field.data_type())));
        }
        self.each_inside(from, &mut |plan, from| plan.describe(from, out));
    }

    /// The casts of this field, made of the stream's type `from`, and of those inside it.
    pub(super) fn casts(&self, from: Option<&DataType>, out: &mut Vec<ColumnCast>) {
        if let (Make::Cast, Some(from)) = (&self.make, from) {
            let to = self.field.data_type();
            out.push(ColumnCast {
                path: self.path.clone(),
                from: name_of(from),
                to: name_of(to),
                may_fail: cast::may_fail(from, to),
            });
        }
        self.each_inside(from, &mut |plan, from| plan.casts(from, out));
    }

    /// Calls `f` with the plan of each field directly inside this one, and the stream's type that it is made of.
    fn each_inside(&self, from: Option<&DataType>, f: &mut dyn FnMut(&Plan, Option<&DataType>)) {
        match (&self.make, from) {
            (Make::Struct(fields), Some(DataType::Struct(given))) => {
                fields.iter().for_each(|(source, plan)| f(plan, source.map(|at| given[at].data_type())));
            }
            (Make::List(element), Some(DataType::List(given))) => f(element, Some(given.data_type())),
            (Make::Map(pair), Some(DataType::Map(given, _))) => {
                if let DataType::Struct(given) = given.data_type() {
                    f(&pair.0, Some(given[0].data_type()));
                    f(&pair.1, Some(given[1].data_type()));
                }
            }
            _ => {}
        }
    }

    /// The table's column. `around` says which rows count: where it is null, a column around this one is. `None` if
    /// `faults` got new entries.
    ///
    /// # Errors
    /// `Internal` if the column is not of the type that the plan was made for.
    pub(super) fn run(
        &self,
        column: &ArrayRef,
        around: Option<&NullBuffer>,
        clock: &Clock,
        faults: &mut Faults,
    ) -> Result<Option<ArrayRef>> {
        if self.is_free() {
            return Ok(Some(match self.make {
                Make::Null => new_null_array(self.field.data_type(), column.len()),
                _ => Arc::clone(column),
            }));
        }
        let before = faults.len();
        let valid = NullBuffer::union(around, column.nulls());
        if self.not_null {
            self.check_not_null(column, around, faults);
        }
        let made = match &self.make {
            Make::Null => Some(new_null_array(self.field.data_type(), column.len())),
            Make::Same => Some(Arc::clone(column)),
            Make::Cast => Some(self.cast(column, valid.as_ref(), clock, faults)?),
            Make::Struct(fields) => self.structs(fields, column, valid.as_ref(), clock, faults)?,
            Make::List(element) => self.lists(element, column, valid.as_ref(), clock, faults)?,
            Make::Map(pair) => self.maps(pair, column, valid.as_ref(), clock, faults)?,
        };
        let made = match (&self.length, made) {
            (Some(length), Some(made)) => {
                let texts = made.as_string::<i32>();
                Some(length.fit(texts, valid.as_ref(), &mut |row| {
                    let message = format!("the text is longer than the table's {length}");
                    faults.push((row, self.rejection(RejectionCode::ExceedsLength, message)));
                }))
            }
            (_, made) => made,
        };
        Ok(if faults.len() > before { None } else { made })
    }

    fn rejection(&self, code: RejectionCode, message: String) -> Rejection {
        Rejection { code, field: Some(self.path.clone()), message }
    }

    fn check_not_null(&self, column: &ArrayRef, around: Option<&NullBuffer>, faults: &mut Faults) {
        let Some(nulls) = column.nulls().filter(|nulls| nulls.null_count() > 0) else { return };
        for row in 0..column.len() {
            if nulls.is_null(row) && around.is_none_or(|around| around.is_valid(row)) {
                let message = "the table's column is NOT NULL and would be null".to_owned();
                faults.push((row, self.rejection(RejectionCode::NotNullViolation, message)));
            }
        }
    }

    fn cast(
        &self,
        column: &ArrayRef,
        valid: Option<&NullBuffer>,
        clock: &Clock,
        faults: &mut Faults,
    ) -> Result<ArrayRef> {
        let to = self.field.data_type();
        cast::run(column, to, valid, clock, &mut |row, code| {
            let (from, to) = (name_of(column.data_type()), name_of(to));
            let message = match code {
                RejectionCode::CastOverflow => format!("the {from} is out of range for {to}"),
                _ => format!("the {from} can't be read as {to}"),
            };
            faults.push((row, self.rejection(code, message)));
        })
    }

    fn structs(
        &self,
        fields: &[(Option<usize>, Plan)],
        column: &ArrayRef,
        valid: Option<&NullBuffer>,
        clock: &Clock,
        faults: &mut Faults,
    ) -> Result<Option<ArrayRef>> {
        let given = column.as_struct_opt().ok_or_else(|| self.unexpected(column))?;
        let mut columns = Vec::with_capacity(fields.len());
        for (source, plan) in fields {
            columns.push(match source {
                Some(at) => plan.run(given.column(*at), valid, clock, faults)?,
                None => Some(new_null_array(plan.field.data_type(), given.len())),
            });
        }
        let Some(columns) = columns.into_iter().collect::<Option<Vec<ArrayRef>>>() else { return Ok(None) };
        let DataType::Struct(wanted) = self.field.data_type() else { return Err(self.unexpected(column)) };
        StructArray::try_new_with_length(wanted.clone(), columns, valid.cloned(), given.len())
            .map(|made| Some(Arc::new(made) as ArrayRef))
            .map_err(|e| self.failed(e))
    }

    fn lists(
        &self,
        element: &Plan,
        column: &ArrayRef,
        valid: Option<&NullBuffer>,
        clock: &Clock,
        faults: &mut Faults,
    ) -> Result<Option<ArrayRef>> {
        let given = column.as_list_opt::<i32>().ok_or_else(|| self.unexpected(column))?;
        let inside = Inside::of(given.offsets(), valid);
        let values = given.values().slice(inside.start, inside.len);
        let Some(values) = inside.run(element, &values, clock, faults)? else { return Ok(None) };
        let DataType::List(wanted) = self.field.data_type() else { return Err(self.unexpected(column)) };
        ListArray::try_new(Arc::clone(wanted), inside.offsets, values, valid.cloned())
            .map(|made| Some(Arc::new(made) as ArrayRef))
            .map_err(|e| self.failed(e))
    }

    fn maps(
        &self,
        pair: &(Plan, Plan),
        column: &ArrayRef,
        valid: Option<&NullBuffer>,
        clock: &Clock,
        faults: &mut Faults,
    ) -> Result<Option<ArrayRef>> {
        let given = column.as_map_opt().ok_or_else(|| self.unexpected(column))?;
        let inside = Inside::of(given.offsets(), valid);
        let keys = inside.run(&pair.0, &given.keys().slice(inside.start, inside.len), clock, faults)?;
        let values = inside.run(&pair.1, &given.values().slice(inside.start, inside.len), clock, faults)?;
        let (Some(keys), Some(values)) = (keys, values) else { return Ok(None) };
        let DataType::Map(wanted, sorted) = self.field.data_type() else {
            return Err(self.unexpected(column));
        };
        let DataType::Struct(entry) = wanted.data_type() else { return Err(self.unexpected(column)) };
        let entries = StructArray::try_new_with_length(entry.clone(), vec![keys, values], None, inside.len)
            .map_err(|e| self.failed(e))?;
        MapArray::try_new(Arc::clone(wanted), inside.offsets, entries, valid.cloned(), *sorted)
            .map(|made| Some(Arc::new(made) as ArrayRef))
            .map_err(|e| self.failed(e))
    }

    fn unexpected(&self, column: &ArrayRef) -> Error {
        let (given, wanted) = (name_of(column.data_type()), name_of(self.field.data_type()));
        Error::internal(format!("column {} is {given}, and {wanted} was to be made of it", self.path))
    }

    fn failed(&self, error: arrow::error::ArrowError) -> Error {
        // Arrow's messages quote no values: they name types, lengths and positions.
        Error::internal(format!("make column {} of the table", self.path)).source(error)
    }
}

/// The values inside the arrays or maps of a column.
struct Inside {
    /// The first one.
    start: usize,
    /// How many they are.
    len: usize,
    /// Where those of each row end, counted from `start`.
    offsets: OffsetBuffer<i32>,
    /// Those of rows that do not count are null; `None` if all count.
    counts: Option<NullBuffer>,
}

impl Inside {
    fn of(offsets: &OffsetBuffer<i32>, valid: Option<&NullBuffer>) -> Inside {
        let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
        let len = (last - first) as usize;
        let moved = if first == 0 {
            offsets.clone()
        } else {
            OffsetBuffer::new(offsets.iter().map(|offset| offset - first).collect())
        };
        let hidden = valid
            .filter(|valid| (0..valid.len()).any(|row| valid.is_null(row) && moved[row] < moved[row + 1]));
        let counts = hidden.map(|valid| {
            let mut counts = Vec::with_capacity(len);
            for row in 0..valid.len() {
                let end = moved[row + 1] as usize;
                counts.resize(end, valid.is_valid(row));
            }
            NullBuffer::new(BooleanBuffer::from(counts))
        });
        Inside { start: first as usize, len, offsets: moved, counts }
    }

    /// Runs the plan of the values inside; a fault of one is a fault of the row around it.
    fn run(
        &self,
        plan: &Plan,
        values: &ArrayRef,
        clock: &Clock,
        faults: &mut Faults,
    ) -> Result<Option<ArrayRef>> {
        let mut within = Faults::new();
        let made = plan.run(values, self.counts.as_ref(), clock, &mut within)?;
        faults.extend(within.into_iter().map(|(at, rejection)| (self.row_of(at), rejection)));
        Ok(made)
    }

    /// The row that the value at `at` belongs to.
    fn row_of(&self, at: usize) -> usize {
        self.offsets.partition_point(|offset| *offset as usize <= at) - 1
    }
}
