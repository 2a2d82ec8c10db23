//! `get_field`: a field of a struct, of every struct of an array, or a map's value.
//!
//! Names are compared without case. A field of a NULL struct is NULL, whatever its column holds there.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, MapArray, StringArray, StructArray, UInt32Array,
    new_null_array,
};
use arrow::compute;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::conf::is_same_name;
use crate::model::spark_type::name_of;

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct GetField {
    signature: Signature,
    case_sensitive: bool,
}

impl GetField {
    pub(crate) fn new(case_sensitive: bool) -> GetField {
        GetField { signature: Signature::any(2, Volatility::Immutable), case_sensitive }
    }

    fn position(&self, fields: &Fields, name: &str) -> Option<usize> {
        fields.iter().position(|field| is_same_name(self.case_sensitive, field.name(), name))
    }

    fn field_type(&self, data_type: &DataType, name: &str) -> Result<DataType> {
        let of_fields = |fields: &Fields| match self.position(fields, name) {
            Some(index) => Ok(fields[index].data_type().clone()),
            None => {
                let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
                plan_err!("FIELD_NOT_FOUND: there is no field {name} in {}", names.join(", "))
            }
        };
        match data_type {
            DataType::Struct(fields) => of_fields(fields),
            DataType::List(element) => match element.data_type() {
                DataType::Struct(fields) => {
                    let inner = of_fields(fields)?;
                    Ok(DataType::List(Arc::new(Field::new("element", inner, true))))
                }
                other => {
                    plan_err!(
                        "INVALID_EXTRACT_BASE_FIELD_TYPE: an array of {} has no field {name}",
                        name_of(other)
                    )
                }
            },
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) if *fields[0].data_type() == DataType::Utf8 => {
                    Ok(fields[1].data_type().clone())
                }
                _ => plan_err!("INVALID_EXTRACT_FIELD_TYPE: the map's keys are not text"),
            },
            DataType::Null => Ok(DataType::Null),
            other => plan_err!("INVALID_EXTRACT_BASE_FIELD_TYPE: {} has no field {name}", name_of(other)),
        }
    }

    fn value(&self, array: &ArrayRef, name: &str, result: &DataType) -> Result<ArrayRef> {
        let of_struct = |array: &StructArray| match self.position(array.fields(), name) {
            Some(index) => under(array, index),
            None => plan_err!("FIELD_NOT_FOUND: {name}"),
        };
        match array.data_type() {
            DataType::Struct(_) => of_struct(array.as_struct()),
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                let values = of_struct(list.values().as_struct())?;
                let element = Arc::new(Field::new("element", values.data_type().clone(), true));
                let made =
                    ListArray::try_new(element, list.offsets().clone(), values, list.nulls().cloned())?;
                Ok(Arc::new(made))
            }
            DataType::Map(..) => of_key(array.as_map(), name),
            _ => Ok(new_null_array(result, array.len())),
        }
    }
}

/// A struct's child, NULL where the struct is.
fn under(array: &StructArray, index: usize) -> Result<ArrayRef> {
    let child = Arc::clone(array.column(index));
    match array.nulls() {
        Some(nulls) if nulls.null_count() > 0 => {
            let is_null = BooleanArray::new(!nulls.inner(), None);
            Ok(compute::nullif(&child, &is_null)?)
        }
        _ => Ok(child),
    }
}

fn of_key(map: &MapArray, name: &str) -> Result<ArrayRef> {
    let keys: &StringArray = map.keys().as_string();
    let offsets = map.value_offsets();
    let entry = |row: usize| {
        if map.is_null(row) {
            return None;
        }
        // Of two equal keys Spark takes the first.
        (offsets[row]..offsets[row + 1]).find(|at| keys.value(*at as usize) == name).map(|at| at as u32)
    };
    let indices: UInt32Array = (0..map.len()).map(entry).collect();
    Ok(compute::take(map.values(), &indices, None)?)
}

impl ScalarUDFImpl for GetField {
    fn name(&self) -> &str {
        "get_field"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        plan_err!("get_field needs the field's name")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let Some(Some(ScalarValue::Utf8(Some(name)))) = args.scalar_arguments.get(1) else {
            return plan_err!("get_field needs the field's name");
        };
        let data_type = self.field_type(args.arg_fields[0].data_type(), name)?;
        let mut field = Field::new(name, data_type, true);
        if let DataType::Struct(fields) = args.arg_fields[0].data_type()
            && let Some(index) = self.position(fields, name)
        {
            // What is marked on the struct's field: that it is a window, or the event time.
            field.set_metadata(fields[index].metadata().clone());
        }
        Ok(Arc::new(field))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ColumnarValue::Scalar(ScalarValue::Utf8(Some(name))) = &args.args[1] else {
            return plan_err!("get_field needs the field's name");
        };
        let result = args.return_field.data_type();
        match &args.args[0] {
            ColumnarValue::Array(array) => Ok(ColumnarValue::Array(self.value(array, name, result)?)),
            ColumnarValue::Scalar(scalar) => {
                let value = self.value(&scalar.to_array()?, name, result)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&value, 0)?))
            }
        }
    }
}
