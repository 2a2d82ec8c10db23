//! `explode`, `posexplode`, `inline`, `json_tuple` and `stack`: a list of structs for each row.
//!
//! Empty and NULL collections give an empty list or NULL; whether such a row stays is decided by the caller.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, ListArray, MapArray, StringArray, StringBuilder,
    StructArray, UInt32Array, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use crate::query::cast::relabel;
use crate::query::coerce::types::name_of;

/// Which rows are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Explode,
    PosExplode,
    Inline,
    JsonTuple,
    Stack,
}

/// One of the functions.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Rows {
    pub(super) name: &'static str,
    kind: Kind,
    signature: Signature,
}

impl Rows {
    /// All of them.
    pub(super) fn all() -> [Rows; 5] {
        let make = |name, kind, signature| Rows { name, kind, signature };
        let one = || Signature::any(1, Volatility::Immutable);
        [
            make("explode", Kind::Explode, one()),
            make("posexplode", Kind::PosExplode, one()),
            make("inline", Kind::Inline, one()),
            make("json_tuple", Kind::JsonTuple, Signature::variadic_any(Volatility::Immutable)),
            make("stack", Kind::Stack, Signature::variadic_any(Volatility::Immutable)),
        ]
    }

    /// Whether a row is made of each element of a collection.
    pub(super) fn is_of_each_element(&self) -> bool {
        matches!(self.kind, Kind::Explode | Kind::PosExplode | Kind::Inline)
    }

    /// The columns that the rows have.
    fn columns(&self, args: &[DataType]) -> Result<Fields> {
        let position = Field::new("pos", DataType::Int32, true);
        let Some(first) = args.first() else { return plan_err!("{}() needs an argument", self.name) };
        Ok(match (self.kind, first) {
            (Kind::JsonTuple, DataType::Utf8) if args.len() > 1 => (0..args.len() - 1)
                .map(|index| Field::new(format!("c{index}"), DataType::Utf8, true))
                .collect(),
            (Kind::Inline, DataType::List(element)) => match element.data_type() {
                DataType::Struct(fields) => {
                    fields.iter().map(|field| field.as_ref().clone().with_nullable(true)).collect()
                }
                other => {
                    return plan_err!(
                        "DATATYPE_MISMATCH: inline() takes an array of structs, not of {other}"
                    );
                }
            },
            (Kind::Explode, DataType::List(element)) => {
                Fields::from(vec![Field::new("col", element.data_type().clone(), true)])
            }
            (Kind::PosExplode, DataType::List(element)) => {
                Fields::from(vec![position, Field::new("col", element.data_type().clone(), true)])
            }
            (Kind::Explode | Kind::PosExplode, DataType::Map(entries, _)) => {
                let DataType::Struct(entry) = entries.data_type() else {
                    return plan_err!("a map without entries");
                };
                let entry = ["key", "value"]
                    .iter()
                    .zip(entry)
                    .map(|(name, field)| Field::new(*name, field.data_type().clone(), true));
                let first = (self.kind == Kind::PosExplode).then_some(position);
                first.into_iter().chain(entry).collect()
            }
            (_, other) => {
                return plan_err!("DATATYPE_MISMATCH: {}() does not take {other}", self.name);
            }
        })
    }

    fn list(&self, array: &ArrayRef, fields: Fields) -> Result<ListArray> {
        let (offsets, nulls, mut columns) = match array.data_type() {
            DataType::Map(..) => {
                let map: &MapArray = array.as_map();
                let columns = vec![Arc::clone(map.keys()), Arc::clone(map.values())];
                (map.offsets().clone(), map.nulls().cloned(), columns)
            }
            _ => {
                let list: &ListArray = array.as_list();
                let columns = match self.kind {
                    Kind::Inline => struct_columns(list.values().as_struct())?,
                    _ => vec![Arc::clone(list.values())],
                };
                (list.offsets().clone(), list.nulls().cloned(), columns)
            }
        };
        if self.kind == Kind::PosExplode {
            columns.insert(0, positions(&offsets, columns[0].len()));
        }
        let length = columns.first().map_or(0, |column| column.len());
        let rows = StructArray::try_new_with_length(fields, columns, None, length)?;
        let element = Arc::new(Field::new("element", rows.data_type().clone(), true));
        Ok(ListArray::try_new(element, offsets, Arc::new(rows), nulls)?)
    }
}

/// A struct's columns, NULL where the struct is: a NULL element is a row of NULLs.
fn struct_columns(array: &StructArray) -> Result<Vec<ArrayRef>> {
    let Some(nulls) = array.nulls().filter(|nulls| nulls.null_count() > 0) else {
        return Ok(array.columns().to_vec());
    };
    let is_null = BooleanArray::new(!nulls.inner(), None);
    array.columns().iter().map(|column| Ok(compute::nullif(column, &is_null)?)).collect()
}

/// 0, 1, 2, … in every list.
fn positions(offsets: &OffsetBuffer<i32>, length: usize) -> ArrayRef {
    let mut positions = vec![0_i32; length];
    for pair in offsets.windows(2) {
        for (position, at) in (pair[0]..pair[1]).enumerate() {
            positions[at as usize] = position as i32;
        }
    }
    Arc::new(Int32Array::from(positions))
}

/// The fields of JSON objects as text: a text without its quotes, anything else as it is written.
fn json_tuple(arrays: &[ArrayRef], fields: Fields) -> Result<ListArray> {
    let texts: &StringArray = arrays[0].as_string();
    let mut columns: Vec<StringBuilder> = fields.iter().map(|_| StringBuilder::new()).collect();
    for row in 0..texts.len() {
        let object = texts.is_valid(row).then(|| serde_json::from_str::<serde_json::Value>(texts.value(row)));
        let object = object.and_then(std::result::Result::ok);
        for (column, names) in columns.iter_mut().zip(&arrays[1..]) {
            let names: &StringArray = names.as_string();
            let value = object.as_ref().and_then(|object| object.get(names.value(row)));
            match value {
                None | Some(serde_json::Value::Null) => column.append_null(),
                Some(serde_json::Value::String(text)) => column.append_value(text),
                Some(other) => column.append_value(other.to_string()),
            }
        }
    }
    let columns = columns.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef).collect();
    let rows = StructArray::try_new(fields, columns, None)?;
    let element = Arc::new(Field::new("element", rows.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(1, rows.len()));
    Ok(ListArray::try_new(element, offsets, Arc::new(rows), None)?)
}

/// Rows of one `stack`: more are of use to nobody, and each is made for every record.
const STACK_ROWS_MAX: usize = 10_000;

/// How many rows `stack(rows, value, …)` makes, and their columns. `types` are those of all arguments.
fn stacked(types: &[DataType], rows: Option<&ScalarValue>) -> Result<(usize, Fields)> {
    let [first, values @ ..] = types else { return plan_err!("WRONG_NUM_ARGS: stack() needs arguments") };
    if values.is_empty() {
        return plan_err!("WRONG_NUM_ARGS: stack() needs values");
    }
    if *first != DataType::Int32 {
        return plan_err!(
            "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE: the rows of stack() are an INT, not {}",
            name_of(first)
        );
    }
    let rows = match rows {
        Some(ScalarValue::Int32(Some(rows))) => *rows,
        _ => return plan_err!("DATATYPE_MISMATCH.NON_FOLDABLE_INPUT: the rows of stack() are a literal"),
    };
    let Some(rows) = usize::try_from(rows).ok().filter(|rows| *rows > 0) else {
        return plan_err!("DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE: stack() makes at least one row, not {rows}");
    };
    if rows > STACK_ROWS_MAX {
        return plan_err!(
            "DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE: stack() makes {STACK_ROWS_MAX} rows at the most, not {rows}"
        );
    }
    let width = values.len().div_ceil(rows);
    let mut columns = vec![DataType::Null; width];
    for (at, kind) in values.iter().enumerate() {
        let column = &mut columns[at % width];
        if *column == DataType::Null {
            column.clone_from(kind);
        } else if *kind != DataType::Null && name_of(kind) != name_of(column) {
            return plan_err!(
                "DATATYPE_MISMATCH.STACK_COLUMN_DIFF_TYPES: column {} of stack() is {} and {}",
                at % width,
                name_of(column),
                name_of(kind)
            );
        }
    }
    let column = |(at, kind)| Field::new(format!("col{at}"), kind, true);
    Ok((rows, columns.into_iter().enumerate().map(column).collect()))
}

/// The values, row by row, in `rows` rows for each row; values that are missing at the end are NULL.
fn stack(values: &[ArrayRef], rows: usize, fields: Fields) -> Result<ListArray> {
    let (length, width) = (values.first().map_or(0, |values| values.len()), fields.len());
    let mut columns = Vec::with_capacity(width);
    for (at, field) in fields.iter().enumerate() {
        let of_row = |row: usize| match values.get(row * width + at) {
            Some(values) => relabel(values, field.data_type()),
            None => Ok(new_null_array(field.data_type(), length)),
        };
        let values = (0..rows).map(of_row).collect::<Result<Vec<_>>>()?;
        let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
        let places: Vec<(usize, usize)> =
            (0..length).flat_map(|of| (0..rows).map(move |row| (row, of))).collect();
        columns.push(compute::interleave(&values, &places)?);
    }
    let made = StructArray::try_new_with_length(fields, columns, None, length * rows)?;
    let element = Arc::new(Field::new("element", made.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(rows, length));
    Ok(ListArray::try_new(element, offsets, Arc::new(made), None)?)
}

/// An array of rows.
fn list_of(fields: Fields) -> DataType {
    DataType::List(Arc::new(Field::new("element", DataType::Struct(fields), true)))
}

impl ScalarUDFImpl for Rows {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        Ok(list_of(self.columns(args)?))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let kind = match self.kind {
            Kind::Stack => list_of(stacked(&types, args.scalar_arguments.first().copied().flatten())?.1),
            _ => self.return_type(&types)?,
        };
        Ok(Arc::new(Field::new(self.name, kind, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let fields = match (self.kind, args.args.first()) {
            (Kind::Stack, Some(ColumnarValue::Scalar(rows))) => {
                let (rows, fields) = stacked(&types, Some(rows))?;
                let list = stack(&arrays[1..], rows, fields)?;
                return Ok(ColumnarValue::Array(Arc::new(repeated(list, scalar, args.number_rows)?)));
            }
            _ => self.columns(&types)?,
        };
        let list = match self.kind {
            Kind::JsonTuple => json_tuple(&arrays, fields)?,
            _ => self.list(&arrays[0], fields)?,
        };
        Ok(ColumnarValue::Array(Arc::new(repeated(list, scalar, args.number_rows)?)))
    }
}

/// The lists of `rows` rows, where those of a call with literals only are one.
fn repeated(list: ListArray, scalar: bool, rows: usize) -> Result<ListArray> {
    if !scalar || list.len() == rows {
        return Ok(list);
    }
    let indices = UInt32Array::from(vec![0; rows]);
    Ok(compute::take(&list, &indices, None)?.as_list().clone())
}
