//! A data file's statistics: folded while its rows are written, and the text that the table's log keeps of them.
//!
//! A file being written holds one bound per column, however many rows and batches it is given. The text is Spark's
//! (`"Infinity"`, `"NaN"`, times in milliseconds where these say all of it), but for two cases in which readers lose
//! rows over it. Zero is written as `-0.0` below and `0.0` above, for some readers order the two. And a bound that
//! readers can't all parse (a date or time outside the years 1 to 9999, a text with no shorter upper bound) leaves the
//! file without bounds: Python `deltalake` takes one that is absent or null for a condition that no row meets, and
//! fails on such a date; a file without any bounds is read whole by every reader. Must not fail because of a value.

mod bound;
mod text;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use delta_kernel::expressions::ColumnName;
use serde_json::Value;

use bound::{Bound, range};
use text::bound_text;

/// The columns of a table's files that have statistics; made once for all files of a writer.
#[derive(Debug)]
pub(super) struct Statistics {
    columns: Vec<Column>,
    leaves: usize,
}

#[derive(Debug)]
struct Column {
    /// Where it is in its batch or struct.
    index: usize,
    name: String,
    holds: Holds,
}

#[derive(Debug)]
enum Holds {
    Struct(Vec<Column>),
    Leaf { leaf: usize, bounds: Option<Bounds> },
}

/// What bounds a leaf has.
#[derive(Debug, Clone, Copy)]
enum Bounds {
    Integer,
    Single,
    Double,
    Decimal { scale: i8 },
    Text,
    Date,
    Time { utc: bool },
}

/// What is known of one file so far.
#[derive(Debug)]
pub(super) struct Folded {
    rows: u64,
    leaves: Vec<Leaf>,
}

#[derive(Debug, Clone, Default)]
struct Leaf {
    nulls: u64,
    range: Option<(Bound, Bound)>,
}

impl Folded {
    /// Rows of the file.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }
}

impl Statistics {
    /// The statistics of `columns`, physical names, in files of `schema`.
    pub(super) fn new(schema: &Schema, columns: &[ColumnName]) -> Statistics {
        let mut leaves = 0;
        let mut path = Vec::new();
        let fields = schema.fields().iter().map(AsRef::as_ref);
        let columns = chosen(fields, columns, &mut path, &mut leaves);
        Statistics { columns, leaves }
    }

    /// What is known of a file without rows.
    pub(super) fn start(&self) -> Folded {
        Folded { rows: 0, leaves: vec![Leaf::default(); self.leaves] }
    }

    /// Adds rows of the file.
    pub(super) fn fold(&self, rows: &RecordBatch, into: &mut Folded) {
        into.rows += rows.num_rows() as u64;
        for column in &self.columns {
            fold(column, rows.column(column.index), None, &mut into.leaves);
        }
    }

    /// The statistics as `add.stats` has them.
    pub(super) fn to_json(&self, folded: &Folded) -> String {
        let mut bounds = Some((String::new(), String::new()));
        let mut nulls = String::new();
        write_object(&self.columns, &mut nulls, &|leaf, _| Some(folded.leaves[leaf].nulls.to_string()));
        if let Some((low, high)) = &mut bounds {
            let mut whole = true;
            for (text, upper) in [(low, false), (high, true)] {
                whole &= write_object(&self.columns, text, &|leaf, bounds| {
                    let (Some((low, high)), Some(bounds)) = (&folded.leaves[leaf].range, bounds) else {
                        return Some(String::new());
                    };
                    bound_text(if upper { high } else { low }, bounds, upper)
                });
            }
            if !whole {
                bounds = None;
            }
        }
        let bounds =
            bounds.map_or(String::new(), |(low, high)| format!("\"minValues\":{low},\"maxValues\":{high},"));
        format!("{{\"numRecords\":{},{bounds}\"nullCount\":{nulls},\"tightBounds\":true}}", folded.rows)
    }
}

/// The columns among `fields` that `wanted` names, or names a part of.
fn chosen<'a>(
    fields: impl Iterator<Item = &'a Field>,
    wanted: &[ColumnName],
    path: &mut Vec<String>,
    leaves: &mut usize,
) -> Vec<Column> {
    let mut columns = Vec::new();
    for (index, field) in fields.enumerate() {
        path.push(field.name().clone());
        let is = |name: &ColumnName| name.iter().eq(path.iter());
        let holds = match field.data_type() {
            DataType::Struct(inner) if !wanted.iter().any(is) => {
                let inner = chosen(inner.iter().map(AsRef::as_ref), wanted, path, leaves);
                (!inner.is_empty()).then_some(Holds::Struct(inner))
            }
            other => {
                let begins = |name: &ColumnName| path.iter().take(name.iter().count()).eq(name.iter());
                wanted.iter().any(begins).then(|| {
                    *leaves += 1;
                    Holds::Leaf { leaf: *leaves - 1, bounds: bounds_of(other) }
                })
            }
        };
        if let Some(holds) = holds {
            columns.push(Column { index, name: field.name().clone(), holds });
        }
        path.pop();
    }
    columns
}

fn bounds_of(data_type: &DataType) -> Option<Bounds> {
    Some(match data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Bounds::Integer,
        DataType::Float32 => Bounds::Single,
        DataType::Float64 => Bounds::Double,
        DataType::Decimal128(_, scale) => Bounds::Decimal { scale: *scale },
        DataType::Utf8 => Bounds::Text,
        DataType::Date32 => Bounds::Date,
        DataType::Timestamp(TimeUnit::Microsecond, zone) => Bounds::Time { utc: zone.is_some() },
        // Neither Spark nor the protocol has bounds of booleans, bytes, arrays and maps.
        _ => return None,
    })
}

fn fold(column: &Column, values: &ArrayRef, above: Option<&NullBuffer>, leaves: &mut [Leaf]) {
    // A field of a struct that is null is null, whatever its own array says.
    let nulls = NullBuffer::union(above, values.nulls());
    match &column.holds {
        Holds::Struct(fields) => {
            let inner = values.as_struct();
            for field in fields {
                fold(field, inner.column(field.index), nulls.as_ref(), leaves);
            }
        }
        Holds::Leaf { leaf, bounds } => {
            let leaf = &mut leaves[*leaf];
            leaf.nulls += nulls.as_ref().map_or(0, |nulls| nulls.null_count() as u64);
            if let Some((low, high)) = bounds.and_then(|_| range(values, nulls.as_ref())) {
                match &mut leaf.range {
                    None => leaf.range = Some((low, high)),
                    Some((least, greatest)) => {
                        if low.is_below(least) {
                            *least = low;
                        }
                        if greatest.is_below(&high) {
                            *greatest = high;
                        }
                    }
                }
            }
        }
    }
}

/// Writes an object of the columns; `text` gives a leaf's value, empty where it has none. Returns whether every value
/// could be written.
fn write_object(
    columns: &[Column],
    out: &mut String,
    text: &dyn Fn(usize, Option<Bounds>) -> Option<String>,
) -> bool {
    let mut whole = true;
    out.push('{');
    let start = out.len();
    for column in columns {
        let mut value = String::new();
        match &column.holds {
            Holds::Struct(fields) => whole &= write_object(fields, &mut value, text),
            Holds::Leaf { leaf, bounds } => match text(*leaf, *bounds) {
                Some(text) => value = text,
                None => whole = false,
            },
        }
        if value.is_empty() {
            continue;
        }
        if out.len() > start {
            out.push(',');
        }
        out.push_str(&Value::from(column.name.as_str()).to_string());
        out.push(':');
        out.push_str(&value);
    }
    out.push('}');
    whole
}

#[cfg(test)]
mod tests;
