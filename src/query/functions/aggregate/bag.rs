//! The rows that an aggregate keeps of each group, in the order of their arrival, each once if asked for.
//!
//! Such a state grows with its group. It is stored as a list for each column.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array, new_empty_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, UInt32Type};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::logical_expr::EmitTo;

use super::groups::Groups;
use super::rows::Rows;
use crate::query::functions::compare::normalised;

/// Rows of all groups.
pub(super) struct Bag {
    kinds: Vec<DataType>,
    /// The columns of the rows, batch by batch.
    parts: Vec<Vec<ArrayRef>>,
    /// The group of each row.
    of: Vec<u32>,
    groups: usize,
    seen: Option<Seen>,
}

/// The rows that a bag has, as keys: one NaN, one zero.
struct Seen {
    converter: RowConverter,
    keys: HashSet<(u32, Box<[u8]>)>,
    /// Whether NaN equals NaN.
    one_nan: bool,
}

/// The rows of some groups, those of a group together.
pub(super) struct Grouped {
    pub(super) columns: Vec<ArrayRef>,
    /// Where each group begins, and where the last ends.
    pub(super) starts: Vec<usize>,
}

impl Grouped {
    /// The group of each row.
    pub(super) fn groups(&self) -> Vec<usize> {
        let of = |(group, bounds): (usize, &[usize])| std::iter::repeat_n(group, bounds[1] - bounds[0]);
        self.starts.windows(2).enumerate().flat_map(of).collect()
    }

    /// A list of each group's rows, column by column.
    ///
    /// # Errors
    /// A group set has more than 2^31 rows.
    pub(super) fn lists(&self) -> Result<Vec<ArrayRef>> {
        let end = i32::try_from(*self.starts.last().unwrap_or(&0));
        end.map_err(|_| exec_datafusion_err!("the lists of an aggregate have more than 2147483647 values"))?;
        let lengths = self.starts.windows(2).map(|bounds| bounds[1] - bounds[0]);
        let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
        let list = |column: &ArrayRef| {
            let field = Arc::new(Field::new("element", column.data_type().clone(), true));
            Arc::new(ListArray::new(field, offsets.clone(), Arc::clone(column), None)) as ArrayRef
        };
        Ok(self.columns.iter().map(list).collect())
    }
}

impl Bag {
    /// No rows, with columns of these types.
    pub(super) fn new(kinds: Vec<DataType>) -> Bag {
        Bag { kinds, parts: Vec::new(), of: Vec::new(), groups: 0, seen: None }
    }

    /// The same, which keeps each row once; `one_nan` says whether NaN equals NaN.
    ///
    /// # Errors
    /// Rows of a type that can't be compared.
    pub(super) fn of_distinct(kinds: Vec<DataType>, one_nan: bool) -> Result<Bag> {
        let converter = RowConverter::new(kinds.iter().cloned().map(SortField::new).collect())?;
        Ok(Bag { seen: Some(Seen { converter, keys: HashSet::new(), one_nan }), ..Bag::new(kinds) })
    }

    pub(super) fn grow(&mut self, groups: usize) {
        self.groups = self.groups.max(groups);
    }

    /// Keeps `rows` of the columns.
    ///
    /// # Errors
    /// Arrow's.
    pub(super) fn push(&mut self, columns: &[ArrayRef], rows: &Rows) -> Result<()> {
        let (mut places, mut of): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
        let keys = match &self.seen {
            Some(seen) => {
                let one: Vec<ArrayRef> = columns.iter().map(normalised).collect();
                Some(seen.converter.convert_columns(&one)?)
            }
            None => None,
        };
        let mut seen = self.seen.as_mut();
        rows.each(|group, row| {
            let (group, place) = (group as u32, row as u32);
            if let (Some(seen), Some(keys)) = (seen.as_mut(), &keys)
                && (seen.one_nan || !is_nan(&columns[0], row))
                && !seen.keys.insert((group, keys.row(row).as_ref().into()))
            {
                return;
            }
            places.push(place);
            of.push(group);
        });
        if places.is_empty() {
            return Ok(());
        }
        let places = UInt32Array::from(places);
        self.parts
            .push(columns.iter().map(|column| Ok(take(column, &places, None)?)).collect::<Result<_>>()?);
        self.of.extend(of);
        Ok(())
    }

    /// Keeps the rows of lists, one list for each column.
    ///
    /// # Errors
    /// Arrow's.
    pub(super) fn push_lists(&mut self, lists: &[ArrayRef], groups: &[usize]) -> Result<()> {
        let first = lists[0].as_list::<i32>();
        let offsets = first.value_offsets();
        let (mut places, mut of): (Vec<u32>, Vec<usize>) = (Vec::new(), Vec::new());
        for (row, group) in groups.iter().enumerate() {
            let (from, to) = (offsets[row] as u32, offsets[row + 1] as u32);
            places.extend(from..to);
            of.extend(std::iter::repeat_n(*group, (to - from) as usize));
        }
        let places = UInt32Array::from(places);
        let column = |list: &ArrayRef| {
            let list = list.as_list::<i32>();
            let base = list.value_offsets()[0] as u32;
            let shift = offsets[0] as u32;
            let moved = if base == shift {
                places.clone()
            } else {
                places.unary::<_, UInt32Type>(|place| place - shift + base)
            };
            Ok(take(list.values(), &moved, None)?)
        };
        let columns = lists.iter().map(column).collect::<Result<Vec<_>>>()?;
        self.push(&columns, &Rows::new(&of, &[], None))
    }

    /// Gives away the rows of the first groups or of all.
    ///
    /// # Errors
    /// Arrow's.
    pub(super) fn take(&mut self, emit: EmitTo) -> Result<Grouped> {
        let count = match emit {
            EmitTo::All => self.groups,
            EmitTo::First(count) => count,
        };
        let columns = (0..self.kinds.len()).map(|at| self.column(at)).collect::<Result<Vec<_>>>()?;
        let mut starts = vec![0; count + 1];
        let mut rest = Vec::new();
        for (row, group) in self.of.iter().enumerate() {
            match starts.get_mut(*group as usize + 1) {
                Some(length) => *length += 1,
                None => rest.push(row as u32),
            }
        }
        for group in 0..count {
            starts[group + 1] += starts[group];
        }
        let mut next = starts.clone();
        let mut order = vec![0_u32; starts[count]];
        for (row, group) in self.of.iter().enumerate() {
            if (*group as usize) < count {
                order[next[*group as usize]] = row as u32;
                next[*group as usize] += 1;
            }
        }
        let gather = |rows: Vec<u32>| {
            let rows = UInt32Array::from(rows);
            columns.iter().map(|column| Ok(take(column, &rows, None)?)).collect::<Result<Vec<_>>>()
        };
        let given = gather(order)?;
        self.groups -= count;
        let first = count as u32;
        self.of = rest.iter().map(|row| self.of[*row as usize] - first).collect();
        self.parts = if rest.is_empty() { Vec::new() } else { vec![gather(rest)?] };
        if let Some(seen) = &mut self.seen {
            let keys = std::mem::take(&mut seen.keys);
            seen.keys = keys
                .into_iter()
                .filter(|(group, _)| *group >= first)
                .map(|(g, key)| (g - first, key))
                .collect();
        }
        Ok(Grouped { columns: given, starts })
    }

    fn column(&self, at: usize) -> Result<ArrayRef> {
        let parts: Vec<&dyn Array> = self.parts.iter().map(|part| part[at].as_ref()).collect();
        Ok(if parts.is_empty() { new_empty_array(&self.kinds[at]) } else { concat(&parts)? })
    }

    pub(super) fn size(&self) -> usize {
        let columns: usize = self.parts.iter().flatten().map(|column| column.get_array_memory_size()).sum();
        let keys = self.seen.as_ref().map_or(0, |seen| seen.keys.iter().map(|(_, key)| key.len() + 24).sum());
        columns + keys + self.of.capacity() * size_of::<u32>()
    }
}

fn is_nan(values: &ArrayRef, row: usize) -> bool {
    match values.data_type() {
        DataType::Float32 => values.as_primitive::<Float32Type>().value(row).is_nan(),
        DataType::Float64 => values.as_primitive::<Float64Type>().value(row).is_nan(),
        _ => false,
    }
}

/// An aggregate of each distinct row, once.
pub(super) struct Distinct {
    pub(super) bag: Bag,
    /// Takes up the rows when the result is asked for.
    pub(super) inner: Box<dyn Groups>,
}

impl Groups for Distinct {
    fn grow(&mut self, groups: usize) {
        self.bag.grow(groups);
    }

    fn update(
        &mut self,
        args: &[ArrayRef],
        groups: &[usize],
        filter: Option<&arrow::array::BooleanArray>,
    ) -> Result<()> {
        self.bag.push(args, &Rows::new(groups, &[], filter))
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[usize]) -> Result<()> {
        self.bag.push_lists(states, groups)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        self.bag.take(emit)?.lists()
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let rows = self.bag.take(emit)?;
        self.inner.grow(rows.starts.len() - 1);
        self.inner.update(&rows.columns, &rows.groups(), None)?;
        self.inner.evaluate(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.bag.size() + self.inner.size()
    }
}
