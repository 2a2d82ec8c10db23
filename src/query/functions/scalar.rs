//! A scalar function of Spark as DataFusion sees it.
//!
//! A function says which types its arguments are cast to and what it returns ([`Types`]), and makes the result's
//! array from the arguments' arrays (`run`). The analyzer's rule (`query::coerce`) puts Spark's casts in; DataFusion
//! coerces nothing here. A function reads no clock but the batch's, no file and no other row.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::TimestampMicrosecondArray;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Float64Array, Int32Array, Int64Array, ListArray,
    StringArray, new_empty_array,
};
use arrow::datatypes::{
    DataType, Field, FieldRef, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

pub(crate) use super::bind::{Bind, Bound};
use super::entry::Function;
use crate::query::cast::relabel;
use crate::query::coerce::types::{Want, castable, refused};
use crate::query::conf::Conf;
use crate::query::error::{ExpressionError, shown, shown_call};
use crate::query::record_bytes::RecordBytes;

/// How a function's types follow from its arguments'.
#[derive(Clone, Copy)]
pub(crate) enum Types {
    /// Each argument wants a kind of type; at least `least` of them must be given.
    Fixed { wants: &'static [Want], least: usize, returns: DataTypeOf },
    /// The function decides.
    By(fn(&Bind) -> Result<Bound>),
}

/// Makes a type; a constructor, for types with parts are no constants.
pub(crate) type DataTypeOf = fn() -> DataType;

/// A call at run time.
pub(crate) struct Call<'a> {
    /// The arguments, all of the same length, of the types the function asked for.
    pub(crate) args: Vec<ArrayRef>,
    /// How many rows.
    pub(crate) rows: usize,
    /// The query's settings.
    pub(crate) conf: &'a Conf,
    /// The result's type.
    pub(crate) returns: &'a DataType,
}

impl Call<'_> {
    pub(crate) fn texts(&self, at: usize) -> &StringArray {
        self.args[at].as_string::<i32>()
    }

    pub(crate) fn bytes(&self, at: usize) -> &BinaryArray {
        self.args[at].as_binary::<i32>()
    }

    pub(crate) fn ints(&self, at: usize) -> &Int32Array {
        self.args[at].as_primitive::<Int32Type>()
    }

    pub(crate) fn longs(&self, at: usize) -> &Int64Array {
        self.args[at].as_primitive::<Int64Type>()
    }

    pub(crate) fn doubles(&self, at: usize) -> &Float64Array {
        self.args[at].as_primitive::<Float64Type>()
    }

    pub(crate) fn flags(&self, at: usize) -> &BooleanArray {
        self.args[at].as_boolean()
    }

    pub(crate) fn dates(&self, at: usize) -> &arrow::array::Date32Array {
        self.args[at].as_primitive::<arrow::datatypes::Date32Type>()
    }

    pub(crate) fn instants(&self, at: usize) -> &TimestampMicrosecondArray {
        self.args[at].as_primitive::<TimestampMicrosecondType>()
    }

    pub(crate) fn lists(&self, at: usize) -> &ListArray {
        self.args[at].as_list::<i32>()
    }

    /// Whether argument `at` was given.
    pub(crate) fn has(&self, at: usize) -> bool {
        at < self.args.len()
    }

    /// The text of argument `at` in row `row`, if the argument was given and is not null.
    pub(crate) fn text(&self, at: usize, row: usize) -> Option<&str> {
        let array = self.args.get(at)?.as_string::<i32>();
        array.is_valid(row).then(|| array.value(row))
    }

    /// The INT of argument `at` in row `row`, if the argument was given and is not null.
    pub(crate) fn int(&self, at: usize, row: usize) -> Option<i32> {
        let array = self.args.get(at)?.as_primitive::<Int32Type>();
        array.is_valid(row).then(|| array.value(row))
    }

    /// Whether every argument has a value in row `row`.
    pub(crate) fn all_valid(&self, row: usize) -> bool {
        self.args.iter().all(|array| array.is_valid(row))
    }
}

/// A function for the settings of one query.
pub(crate) struct SparkFunction {
    name: &'static str,
    types: Types,
    run: fn(&Call) -> Result<ArrayRef>,
    conf: Conf,
    signature: Signature,
}

impl SparkFunction {
    pub(crate) fn new(
        name: &'static str,
        types: Types,
        run: fn(&Call) -> Result<ArrayRef>,
        conf: &Conf,
    ) -> Self {
        let signature = Signature::one_of(
            vec![TypeSignature::Nullary, TypeSignature::VariadicAny],
            Volatility::Immutable,
        );
        SparkFunction { name, types, run, conf: conf.clone(), signature }
    }

    /// The function's name.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The same function where that much may be made of a record.
    pub(crate) fn bounded(&self, record_bytes: RecordBytes) -> ScalarUDF {
        let conf = Conf { record_bytes, ..self.conf.clone() };
        ScalarUDF::new_from_impl(SparkFunction::new(self.name, self.types, self.run, &conf))
    }

    /// Whether the function has a value for every row, so that it may be evaluated for rows Spark leaves out.
    pub(crate) fn is_total(&self) -> bool {
        matches!(
            self.name,
            "=" | "<>"
                | "<"
                | "<="
                | ">"
                | ">="
                | "<=>"
                | "isnan"
                | "isnull"
                | "isnotnull"
                | "upper"
                | "lower"
                | "length"
                | "octet_length"
                | "bit_length"
                | "trim"
                | "ltrim"
                | "rtrim"
                | "initcap"
                | "left"
                | "right"
                | "substring"
                | "substring_index"
                | "translate"
                | "startswith"
                | "endswith"
                | "contains"
                | "instr"
                | "get_json_object"
                | "year"
                | "quarter"
                | "month"
                | "day"
                | "dayofyear"
                | "dayofweek"
                | "weekday"
                | "weekofyear"
                | "hour"
                | "minute"
                | "second"
        )
    }

    /// The types that the arguments have to be cast to, and the result's.
    ///
    /// # Errors
    /// `DATATYPE_MISMATCH` or `WRONG_NUM_ARGS`, as in Spark.
    pub(crate) fn bind(
        &self,
        fields: &[FieldRef],
        literals: &[Option<ScalarValue>],
        strict: bool,
    ) -> Result<Bound> {
        let types: Vec<DataType> = fields.iter().map(|field| field.data_type().clone()).collect();
        let bind = Bind { name: self.name, conf: &self.conf, types: &types, fields, literals, strict };
        match self.types {
            Types::By(decide) => decide(&bind),
            Types::Fixed { wants, least, returns } => {
                Ok(Bound { args: fixed(&bind, wants, least)?, returns: returns() })
            }
        }
    }
}

/// The target types of arguments that want `wants`.
pub(crate) fn fixed(bind: &Bind, wants: &[Want], least: usize) -> Result<Vec<DataType>> {
    count(bind, least, wants.len())?;
    bind.types.iter().zip(wants).map(|(from, want)| castable(bind, from, *want)).collect()
}

/// Checks the number of arguments.
pub(crate) fn count(bind: &Bind, least: usize, most: usize) -> Result<()> {
    let given = bind.types.len();
    if (least..=most).contains(&given) {
        return Ok(());
    }
    let wanted = if least == most { least.to_string() } else { format!("{least} to {most}") };
    Err(refused("WRONG_NUM_ARGS", format!("{} takes {wanted} arguments, {given} were given", bind.name)))
}

impl SparkFunction {
    /// The value of a call with literals only, which have the types the function asked for.
    ///
    /// # Errors
    /// What the function raises for them.
    pub(crate) fn value(&self, args: &[ScalarValue], returns: &DataType) -> Result<ScalarValue> {
        let arrays = args.iter().map(|value| value.to_array_of_size(1)).collect::<Result<Vec<_>>>()?;
        let call = Call { args: arrays, rows: 1, conf: &self.conf, returns };
        ScalarValue::try_from_array(&(self.run)(&call)?, 0)
    }
}

impl std::fmt::Debug for SparkFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SparkFunction").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PartialEq for SparkFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.conf == other.conf
    }
}

impl Eq for SparkFunction {}

impl Hash for SparkFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.name, self.conf.ansi, &self.conf.zone_id).hash(state);
    }
}

impl ScalarUDFImpl for SparkFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let fields: Vec<FieldRef> =
            types.iter().map(|kind| Arc::new(Field::new("", kind.clone(), true))).collect();
        Ok(self.bind(&fields, &vec![None; types.len()], false)?.returns)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let literals: Vec<Option<ScalarValue>> =
            args.scalar_arguments.iter().map(|value| value.cloned()).collect();
        let returns = self.bind(args.arg_fields, &literals, false)?.returns;
        // What messages call the result: the call as Spark prints it.
        let args = args.arg_fields.iter().zip(args.scalar_arguments);
        let args: Vec<String> = args.map(|(field, literal)| shown(field, *literal)).collect();
        Ok(Arc::new(Field::new(shown_call(self.name, &args), returns, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        // A branch of a CASE without rows may come here, and fails for none.
        if args.number_rows == 0 {
            return Ok(ColumnarValue::Array(new_empty_array(args.return_field.data_type())));
        }
        // Literals only: one row is enough, and the result is a literal again.
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let call = Call { args: arrays, rows, conf: &self.conf, returns: args.return_field.data_type() };
        let result =
            (self.run)(&call).map_err(|error| ExpressionError::inside(error, args.return_field.name()))?;
        let result = relabel(&result, args.return_field.data_type())?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

/// The function of an entry of the allow-list.
pub(crate) fn scalar(
    name: &'static str,
    types: Types,
    run: fn(&Call) -> Result<ArrayRef>,
    conf: &Conf,
) -> Function {
    Function::Scalar(Arc::new(ScalarUDF::new_from_impl(SparkFunction::new(name, types, run, conf))))
}

/// An entry of the allow-list: name and aliases, types, kernel, and the cases that prove it.
macro_rules! entry {
    ($name:literal $(| $alias:literal)*, $types:expr, $run:expr, [$($case:literal),* $(,)?]) => {
        $crate::query::functions::Entry {
            name: $name,
            aliases: &[$($alias),*],
            make: |conf| $crate::query::functions::scalar::scalar($name, $types, $run, conf),
            proved_by: &[$($case),*],
        }
    };
}
pub(crate) use entry;

/// Types of arguments that each want a kind.
macro_rules! takes {
    ([$($want:ident),*], $least:literal => $returns:expr) => {
        $crate::query::functions::scalar::Types::Fixed {
            wants: &[$($crate::query::coerce::types::Want::$want),*],
            least: $least,
            returns: || $returns,
        }
    };
    ([$($want:ident),*] => $returns:expr) => {
        $crate::query::functions::scalar::Types::Fixed {
            wants: &[$($crate::query::coerce::types::Want::$want),*],
            least: <[()]>::len(&[$($crate::query::functions::scalar::unit!($want)),*]),
            returns: || $returns,
        }
    };
}
pub(crate) use takes;

macro_rules! unit {
    ($ignored:ident) => {
        ()
    };
}
pub(crate) use unit;

/// The result's array out of a value for each row in which every argument has one; other rows are null.
pub(crate) fn each<A, T>(call: &Call, value: impl Fn(usize) -> Option<T>) -> Result<ArrayRef>
where
    A: Array + FromIterator<Option<T>> + 'static,
{
    Ok(Arc::new((0..call.rows).map(|row| if call.all_valid(row) { value(row) } else { None }).collect::<A>()))
}

/// As [`each`], for values that may fail.
pub(crate) fn try_each<A, T>(call: &Call, value: impl Fn(usize) -> Result<Option<T>>) -> Result<ArrayRef>
where
    A: Array + FromIterator<Option<T>> + 'static,
{
    let values = (0..call.rows).map(|row| if call.all_valid(row) { value(row) } else { Ok(None) });
    Ok(Arc::new(values.collect::<Result<A>>()?))
}
