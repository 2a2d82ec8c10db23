//! `explode`, `posexplode`, `inline` and `json_tuple`: a list of structs for each row.
//!
//! Empty and NULL collections give an empty list or NULL; whether such a row stays is decided by the caller.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, ListArray, MapArray, StringArray, StringBuilder,
    StructArray, UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

/// Which rows are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Explode,
    PosExplode,
    Inline,
    JsonTuple,
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
    pub(super) fn all() -> [Rows; 4] {
        let make = |name, kind, signature| Rows { name, kind, signature };
        let one = || Signature::any(1, Volatility::Immutable);
        [
            make("explode", Kind::Explode, one()),
            make("posexplode", Kind::PosExplode, one()),
            make("inline", Kind::Inline, one()),
            make("json_tuple", Kind::JsonTuple, Signature::variadic_any(Volatility::Immutable)),
        ]
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

impl ScalarUDFImpl for Rows {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        let rows = DataType::Struct(self.columns(args)?);
        Ok(DataType::List(Arc::new(Field::new("element", rows, true))))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let fields = self.columns(&types)?;
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let mut list = match self.kind {
            Kind::JsonTuple => json_tuple(&arrays, fields)?,
            _ => self.list(&arrays[0], fields)?,
        };
        if scalar && list.len() != args.number_rows {
            let indices = UInt32Array::from(vec![0; args.number_rows]);
            list = compute::take(&list, &indices, None)?.as_list().clone();
        }
        Ok(ColumnarValue::Array(Arc::new(list)))
    }
}
