//! Functions that take a lambda: over the elements of arrays and the entries of maps.
//!
//! `higherOrderFunctions` of Spark 4.0. A lambda runs once for all elements of a batch, with the columns it uses
//! repeated for each; `aggregate` runs it once for each position. Elements of null arrays are never evaluated.

use std::any::Any;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, ListArray, MapArray, UInt32Array, new_null_array,
};
use arrow::compute::{concat, interleave, take, take_arrays};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, HigherOrderFunctionArgs, HigherOrderReturnFieldArgs, HigherOrderSignature, HigherOrderUDF,
    HigherOrderUDFImpl, LambdaArgument, LambdaParametersProgress, ValueOrLambda, Volatility,
};

use super::array::Gather;
use super::compare::comparator;
use super::map::with_entries;
use super::sorted_by::sorted_by;
use super::{Entry, Function};
use crate::query::cast::relabel;
use crate::query::coerce::types::{element_of, entry_of, list_of, map_of, name_of, refused};
use crate::query::conf::Conf;
use crate::query::record_bytes::RecordBytes;
use crate::query::result_size::check_copies;

/// An entry of the allow-list.
macro_rules! lambda {
    ($name:literal $(| $alias:literal)*, $kind:expr, [$($case:literal),*]) => {
        Entry {
            name: $name,
            aliases: &[$($alias),*],
            make: |conf| {
                Function::HigherOrder(Arc::new(HigherOrderUDF::new_from_impl(Over::new($name, $kind, conf))))
            },
            proved_by: &[$($case),*],
        }
    };
}

/// Functions with lambdas.
pub(crate) const ENTRIES: &[Entry] = &[
    lambda!("transform", Kind::Transform, ["stateless/higher_order_functions", "expressions/collection"]),
    lambda!("filter", Kind::Filter, ["stateless/higher_order_functions", "expressions/collection"]),
    lambda!("exists", Kind::Exists, ["stateless/higher_order_functions", "expressions/collection"]),
    lambda!("forall", Kind::ForAll, ["stateless/higher_order_functions", "expressions/collection"]),
    lambda!(
        "aggregate" | "reduce",
        Kind::Aggregate,
        ["stateless/higher_order_functions", "expressions/collection"]
    ),
    lambda!("zip_with", Kind::ZipWith, ["expressions/collection"]),
    lambda!("map_filter", Kind::MapFilter, ["stateless/map_functions", "expressions/collection"]),
    lambda!("transform_values", Kind::TransformValues, ["stateless/map_functions", "expressions/collection"]),
    lambda!("transform_keys", Kind::TransformKeys, ["expressions/collection"]),
    lambda!("map_zip_with", Kind::MapZipWith, ["expressions/collection"]),
];

/// What the rewriter calls `array_sort` with a lambda by: a name has one function.
pub(crate) const SORT_BY: &str = "array_sort_by";

/// `array_sort` with a lambda.
pub(crate) fn sort_by(conf: &Conf) -> Function {
    Function::HigherOrder(Arc::new(HigherOrderUDF::new_from_impl(Over::new("array_sort", Kind::Sort, conf))))
}

/// The same function where that much may be made of a record; `None` for one that is not ours.
pub(crate) fn bounded(function: &HigherOrderUDF, record_bytes: RecordBytes) -> Option<HigherOrderUDF> {
    let function: &dyn Any = &**function.inner();
    let over = function.downcast_ref::<Over>()?;
    Some(HigherOrderUDF::new_from_impl(Over { record_bytes, signature: over.signature.clone(), ..*over }))
}

/// Which function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Transform,
    Filter,
    Exists,
    ForAll,
    Aggregate,
    ZipWith,
    MapFilter,
    TransformValues,
    TransformKeys,
    MapZipWith,
    Sort,
}

impl Kind {
    /// How many values come before the lambda.
    fn values(self) -> usize {
        match self {
            Kind::Aggregate | Kind::ZipWith | Kind::MapZipWith => 2,
            _ => 1,
        }
    }
}

/// A function with a lambda.
#[derive(Debug)]
struct Over {
    name: &'static str,
    kind: Kind,
    record_bytes: RecordBytes,
    signature: HigherOrderSignature,
}

impl PartialEq for Over {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.record_bytes == other.record_bytes
    }
}

impl Eq for Over {}

impl Hash for Over {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.name, self.record_bytes).hash(state);
    }
}

fn field(kind: &DataType) -> FieldRef {
    Arc::new(Field::new("", kind.clone(), true))
}

impl Over {
    fn new(name: &'static str, kind: Kind, conf: &Conf) -> Over {
        let signature = HigherOrderSignature::variadic_any(Volatility::Immutable);
        Over { name, kind, record_bytes: conf.record_bytes, signature }
    }

    fn wrong(&self, what: &str) -> datafusion::common::DataFusionError {
        refused("DATATYPE_MISMATCH", format!("{}: {what}", self.name))
    }

    /// The types of the values, which come before the lambdas.
    fn value_types<L>(&self, args: &[ValueOrLambda<FieldRef, L>]) -> Result<Vec<DataType>> {
        let values = args.iter().take(self.kind.values()).map(|arg| match arg {
            ValueOrLambda::Value(field) => Ok(field.data_type().clone()),
            ValueOrLambda::Lambda(_) => Err(self.wrong("a lambda comes before its values")),
        });
        let values = values.collect::<Result<Vec<_>>>()?;
        let lambdas = args.len() - values.len();
        let most = if self.kind == Kind::Aggregate { 2 } else { 1 };
        if values.len() < self.kind.values() || lambdas == 0 || lambdas > most {
            return Err(refused(
                "WRONG_NUM_ARGS",
                format!("{} takes another number of arguments", self.name),
            ));
        }
        Ok(values)
    }

    fn element<'a>(&self, kind: &'a DataType) -> Result<&'a DataType> {
        match kind {
            DataType::Null => Ok(&DataType::Null),
            kind => element_of(kind).ok_or_else(|| self.wrong(&format!("{} is not an ARRAY", name_of(kind)))),
        }
    }

    fn entry<'a>(&self, kind: &'a DataType) -> Result<(&'a DataType, &'a DataType)> {
        entry_of(kind).ok_or_else(|| self.wrong(&format!("{} is not a MAP", name_of(kind))))
    }
}

impl HigherOrderUDFImpl for Over {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &HigherOrderSignature {
        &self.signature
    }

    fn lambda_parameters(
        &self,
        _step: usize,
        fields: &[ValueOrLambda<FieldRef, Option<FieldRef>>],
    ) -> Result<LambdaParametersProgress> {
        let types = self.value_types(fields)?;
        let lambdas = fields.len() - types.len();
        let mut parameters = vec![match self.kind {
            Kind::Transform | Kind::Filter => vec![field(self.element(&types[0])?), field(&DataType::Int32)],
            Kind::Exists | Kind::ForAll => vec![field(self.element(&types[0])?)],
            Kind::Aggregate => vec![field(&types[1]), field(self.element(&types[0])?)],
            Kind::ZipWith => vec![field(self.element(&types[0])?), field(self.element(&types[1])?)],
            Kind::Sort => vec![field(self.element(&types[0])?); 2],
            Kind::MapFilter | Kind::TransformValues | Kind::TransformKeys => {
                let (key, value) = self.entry(&types[0])?;
                vec![field(key), field(value)]
            }
            Kind::MapZipWith => {
                let ((key, first), (_, second)) = (self.entry(&types[0])?, self.entry(&types[1])?);
                vec![field(key), field(first), field(second)]
            }
        }];
        if lambdas == 2 {
            parameters.push(vec![field(&types[1])]);
        }
        Ok(LambdaParametersProgress::Complete(parameters))
    }

    fn return_field_from_args(&self, args: HigherOrderReturnFieldArgs) -> Result<FieldRef> {
        let types = self.value_types(args.arg_fields)?;
        let output = |at: usize| match &args.arg_fields[types.len() + at] {
            ValueOrLambda::Lambda(field) => Ok(field.data_type().clone()),
            ValueOrLambda::Value(_) => Err(self.wrong("a lambda is needed")),
        };
        let predicate = matches!(self.kind, Kind::Filter | Kind::Exists | Kind::ForAll | Kind::MapFilter);
        let result = output(0)?;
        if predicate && result != DataType::Boolean && result != DataType::Null {
            return Err(self.wrong(&format!("the lambda is {}, not BOOLEAN", name_of(&result))));
        }
        let returns = match self.kind {
            Kind::Transform | Kind::ZipWith => list_of(result),
            Kind::Filter => list_of(self.element(&types[0])?.clone()),
            Kind::Sort => {
                if result != DataType::Int32 {
                    return Err(refused(
                        "DATATYPE_MISMATCH.UNEXPECTED_RETURN_TYPE",
                        format!("{}: the lambda is {}, not INT", self.name, name_of(&result)),
                    ));
                }
                list_of(self.element(&types[0])?.clone())
            }
            Kind::Exists | Kind::ForAll => DataType::Boolean,
            Kind::Aggregate => {
                if result != types[1] && result != DataType::Null {
                    let what =
                        format!("the lambda is {}, the start {}", name_of(&result), name_of(&types[1]));
                    return Err(refused(
                        "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
                        format!("{}: {what}", self.name),
                    ));
                }
                if args.arg_fields.len() == 4 { output(1)? } else { types[1].clone() }
            }
            Kind::MapFilter => types[0].clone(),
            Kind::TransformValues => map_of(self.entry(&types[0])?.0.clone(), result),
            Kind::TransformKeys => map_of(result, self.entry(&types[0])?.1.clone()),
            Kind::MapZipWith => map_of(self.entry(&types[0])?.0.clone(), result),
        };
        Ok(Arc::new(Field::new(self.name, returns, true)))
    }

    fn invoke_with_args(&self, args: HigherOrderFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let mut values = Vec::new();
        let mut lambdas = Vec::new();
        for arg in &args.args {
            match arg {
                ValueOrLambda::Value(value) => values.push(value.to_array(rows)?),
                ValueOrLambda::Lambda(lambda) => {
                    lambdas.push(Body { lambda, record_bytes: self.record_bytes })
                }
            }
        }
        let returns = args.return_field.data_type();
        if *values[0].data_type() == DataType::Null {
            return Ok(ColumnarValue::Array(new_null_array(returns, rows)));
        }
        let result = match self.kind {
            Kind::Aggregate => aggregate(&values, &lambdas, returns)?,
            Kind::ZipWith => zip_with(&values, lambdas[0], returns)?,
            Kind::MapFilter | Kind::TransformValues | Kind::TransformKeys => {
                entries(self.kind, &values[0], lambdas[0], returns)?
            }
            Kind::MapZipWith => map_zip_with(&values, lambdas[0], returns)?,
            Kind::Sort => sorted_by(values[0].as_list(), returns, |pair, rows| run(lambdas[0], pair, rows))?,
            _ => elements(self.kind, &values[0], lambdas[0], returns)?,
        };
        Ok(ColumnarValue::Array(result))
    }
}

/// Where the elements of a row lie.
fn span(offsets: &[i32], row: usize) -> std::ops::Range<usize> {
    offsets[row] as usize..offsets[row + 1] as usize
}

/// A lambda in a call.
#[derive(Clone, Copy)]
struct Body<'a> {
    lambda: &'a LambdaArgument,
    record_bytes: RecordBytes,
}

/// Runs a lambda over rows made of `parameters`, each for the row of the batch that `rows` says.
fn run(body: Body, parameters: &[ArrayRef], rows: &UInt32Array) -> Result<ArrayRef> {
    let makers: Vec<Box<dyn Fn() -> Result<ArrayRef>>> = parameters
        .iter()
        .map(|array| {
            let array = Arc::clone(array);
            Box::new(move || Ok(Arc::clone(&array))) as Box<dyn Fn() -> Result<ArrayRef>>
        })
        .collect();
    let makers: Vec<&dyn Fn() -> Result<ArrayRef>> = makers.iter().map(AsRef::as_ref).collect();
    let result = body.lambda.evaluate(&makers, |captures| {
        if let Some(captured) = captures.first() {
            // One copy of a row's values for each of its elements.
            let mut times = vec![0_usize; captured.len()];
            rows.values().iter().for_each(|row| times[*row as usize] += 1);
            check_copies(captures, &times, body.record_bytes)?;
        }
        Ok(take_arrays(captures, rows, None)?)
    })?;
    result.to_array(rows.len())
}

/// `transform`, `filter`, `exists`, `forall`.
fn elements(kind: Kind, values: &ArrayRef, lambda: Body, returns: &DataType) -> Result<ArrayRef> {
    let list = values.as_list::<i32>();
    let offsets = list.value_offsets();
    let (mut places, mut rows, mut positions) = (Vec::new(), Vec::new(), Vec::new());
    for row in (0..list.len()).filter(|row| list.is_valid(*row)) {
        for (position, at) in span(offsets, row).enumerate() {
            places.push(at as u32);
            rows.push(row as u32);
            positions.push(position as i32);
        }
    }
    let places = UInt32Array::from(places);
    let flat = take(list.values(), &places, None)?;
    let result =
        run(lambda, &[Arc::clone(&flat), Arc::new(Int32Array::from(positions))], &UInt32Array::from(rows))?;
    let mut at = 0;
    match kind {
        Kind::Transform | Kind::Filter => {
            let kept = |at: usize| kind == Kind::Transform || holds(&result, at) == Some(true);
            let mut lists = Gather::new(list.len());
            for row in 0..list.len() {
                let valid = list.is_valid(row);
                if valid {
                    for _ in span(offsets, row) {
                        if kept(at) {
                            lists.place(Some(at));
                        }
                        at += 1;
                    }
                }
                lists.close(valid);
            }
            lists.finish(if kind == Kind::Transform { &result } else { &flat }, returns)
        }
        _ => {
            // The value that decides at once; NULL if it is not there but a null is.
            let decides = kind == Kind::Exists;
            let flags: BooleanArray = (0..list.len())
                .map(|row| {
                    if list.is_null(row) {
                        return None;
                    }
                    let mut answer = Some(!decides);
                    for _ in span(offsets, row) {
                        match holds(&result, at) {
                            Some(value) if value == decides => answer = Some(decides),
                            None if answer == Some(!decides) => answer = None,
                            _ => {}
                        }
                        at += 1;
                    }
                    answer
                })
                .collect();
            Ok(Arc::new(flags))
        }
    }
}

/// What a predicate says of an element.
fn holds(result: &ArrayRef, at: usize) -> Option<bool> {
    let flags = result.as_boolean_opt()?;
    flags.is_valid(at).then(|| flags.value(at))
}

/// `aggregate`: one step for each position, over all rows that have it.
fn aggregate(values: &[ArrayRef], lambdas: &[Body], returns: &DataType) -> Result<ArrayRef> {
    let list = values[0].as_list::<i32>();
    let offsets = list.value_offsets();
    let mut state = Arc::clone(&values[1]);
    let longest = (0..list.len()).filter(|row| list.is_valid(*row)).map(|row| span(offsets, row).len()).max();
    for position in 0..longest.unwrap_or(0) {
        let has = |row: &usize| list.is_valid(*row) && span(offsets, *row).len() > position;
        let rows: Vec<usize> = (0..list.len()).filter(has).collect();
        let places =
            UInt32Array::from_iter_values(rows.iter().map(|row| (offsets[*row] as usize + position) as u32));
        let numbers = UInt32Array::from_iter_values(rows.iter().map(|row| *row as u32));
        let parameters = [take(&state, &numbers, None)?, take(list.values(), &places, None)?];
        let next = relabel(&run(lambdas[0], &parameters, &numbers)?, state.data_type())?;
        let mut sources: Vec<(usize, usize)> = (0..list.len()).map(|row| (0, row)).collect();
        rows.iter().enumerate().for_each(|(at, row)| sources[*row] = (1, at));
        state = interleave(&[state.as_ref(), next.as_ref()], &sources)?;
    }
    let rows: Vec<u32> = (0..list.len()).filter(|row| list.is_valid(*row)).map(|row| row as u32).collect();
    let numbers = UInt32Array::from(rows);
    let last = take(&state, &numbers, None)?;
    let last = match lambdas.get(1) {
        Some(finish) => run(*finish, &[last], &numbers)?,
        None => last,
    };
    let mut at = 0;
    let places: UInt32Array = (0..list.len())
        .map(|row| {
            list.is_valid(row).then(|| {
                at += 1;
                at - 1
            })
        })
        .collect();
    relabel(&take(&last, &places, None)?, returns)
}

/// `zip_with`: the shorter array is filled up with nulls.
fn zip_with(values: &[ArrayRef], lambda: Body, returns: &DataType) -> Result<ArrayRef> {
    let (first, second) = (values[0].as_list::<i32>(), values[1].as_list_opt::<i32>());
    let Some(second) = second else { return Ok(new_null_array(returns, first.len())) };
    let valid = |row: usize| first.is_valid(row) && second.is_valid(row);
    let length = |list: &ListArray, row: usize| span(list.value_offsets(), row).len();
    let (mut left, mut right, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    let mut lists = Gather::new(first.len());
    for row in 0..first.len() {
        if valid(row) {
            for position in 0..length(first, row).max(length(second, row)) {
                let place =
                    |list: &ListArray| span(list.value_offsets(), row).nth(position).map(|at| at as u32);
                left.push(place(first));
                right.push(place(second));
                lists.place(Some(rows.len()));
                rows.push(row as u32);
            }
        }
        lists.close(valid(row));
    }
    let parameters = [
        take(first.values(), &UInt32Array::from(left), None)?,
        take(second.values(), &UInt32Array::from(right), None)?,
    ];
    let result = run(lambda, &parameters, &UInt32Array::from(rows))?;
    lists.finish(&result, returns)
}

/// `map_filter`, `transform_values`, `transform_keys`.
fn entries(kind: Kind, values: &ArrayRef, lambda: Body, returns: &DataType) -> Result<ArrayRef> {
    let map = values.as_map();
    let offsets = map.value_offsets();
    let (mut places, mut rows) = (Vec::new(), Vec::new());
    for row in (0..map.len()).filter(|row| map.is_valid(*row)) {
        for at in span(offsets, row) {
            places.push(at as u32);
            rows.push(row as u32);
        }
    }
    let places = UInt32Array::from(places);
    let (keys, values) = (take(map.keys(), &places, None)?, take(map.values(), &places, None)?);
    let result = run(lambda, &[Arc::clone(&keys), Arc::clone(&values)], &UInt32Array::from(rows))?;
    let mut kept = Gather::new(map.len());
    let mut at = 0;
    for row in 0..map.len() {
        let valid = map.is_valid(row);
        if valid {
            for _ in span(offsets, row) {
                if kind != Kind::MapFilter || holds(&result, at) == Some(true) {
                    kept.place(Some(at));
                }
                at += 1;
            }
        }
        kept.close(valid);
    }
    match kind {
        Kind::MapFilter => with_entries(&keys, &values, kept, returns),
        Kind::TransformValues => with_entries(&keys, &result, kept, returns),
        _ => with_entries(&result, &values, kept, returns),
    }
}

/// `map_zip_with`: over the keys of both maps, those of the first before.
fn map_zip_with(values: &[ArrayRef], lambda: Body, returns: &DataType) -> Result<ArrayRef> {
    let (first, second) = (values[0].as_map(), values[1].as_map_opt());
    let Some(second) = second else { return Ok(new_null_array(returns, first.len())) };
    if first.keys().data_type() != second.keys().data_type() {
        return exec_err!("the keys of the maps differ in type");
    }
    let order = comparator(first.keys(), second.keys())?;
    let span_of = |map: &MapArray, row: usize| span(map.value_offsets(), row);
    let keys = concat(&[first.keys().as_ref(), second.keys().as_ref()])?;
    let (mut key_places, mut left, mut right, mut rows) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut kept = Gather::new(first.len());
    for row in 0..first.len() {
        let valid = first.is_valid(row) && second.is_valid(row);
        if valid {
            let mut add = |key: usize, a: Option<usize>, b: Option<usize>| {
                kept.place(Some(rows.len()));
                key_places.push(key as u32);
                left.push(a.map(|at| at as u32));
                right.push(b.map(|at| at as u32));
                rows.push(row as u32);
            };
            for a in span_of(first, row) {
                let other = span_of(second, row).find(|b| order(a, *b) == Ordering::Equal);
                add(a, Some(a), other);
            }
            for b in span_of(second, row) {
                if !span_of(first, row).any(|a| order(a, b) == Ordering::Equal) {
                    add(first.keys().len() + b, None, Some(b));
                }
            }
        }
        kept.close(valid);
    }
    let keys = take(&keys, &UInt32Array::from(key_places), None)?;
    let parameters = [
        Arc::clone(&keys),
        take(first.values(), &UInt32Array::from(left), None)?,
        take(second.values(), &UInt32Array::from(right), None)?,
    ];
    let result = run(lambda, &parameters, &UInt32Array::from(rows))?;
    with_entries(&keys, &result, kept, returns)
}
