//! Aggregate functions with Spark's results and types.
//!
//! ```text
//! mod        an aggregate as DataFusion sees it; its description
//! groups     what an accumulator does, for many groups and for one
//! rows       which rows of a batch count
//! bag        the rows that some of them keep; DISTINCT
//! count sum avg extreme pick moments collect …   one family each
//! ```
//!
//! Each aggregate keeps a few Arrow columns per group ([`Description::state`]) that may be stored: their names, types and
//! meaning are a format. The numbers of a group are taken up in the order of their rows, and states in the order in which
//! they are merged, by Spark's formulas: the same order gives the same bits. An accumulator's `state` and `evaluate`
//! consume it.

mod approx;
mod avg;
mod bag;
mod collect;
mod count;
mod extreme;
mod groups;
mod hll;
mod listagg;
mod mode;
mod moments;
mod percentile;
mod pick;
#[cfg(test)]
mod proof;
mod quantile;
mod rows;
mod sum;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ListArray, new_empty_array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunctionParams, NullTreatment};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, GroupsAccumulator, Signature, TypeSignature,
    Volatility,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;

use self::bag::{Bag, Distinct};
use self::groups::{Groups, Many, Single};
use super::scalar::{Bind, Bound, Types, fixed};
use super::{Entry, Function};
use crate::query::coerce::types::{list_of, refused};
use crate::query::conf::Conf;

/// The aggregates; one file a family.
pub(crate) const FAMILIES: &[&[Entry]] = &[
    count::ENTRIES,
    sum::ENTRIES,
    avg::ENTRIES,
    extreme::ENTRIES,
    pick::ENTRIES,
    moments::ENTRIES,
    collect::ENTRIES,
    listagg::ENTRIES,
    hll::ENTRIES,
    approx::ENTRIES,
    percentile::ENTRIES,
    mode::ENTRIES,
];

/// What an aggregate function is.
struct Description {
    /// Spark's name, in lower case.
    name: &'static str,
    /// The types of its arguments and of its result.
    types: Types,
    /// The columns of a group's state, by the arguments' types and the result's.
    state: fn(&[DataType], &DataType) -> Vec<StateColumn>,
    /// Makes the accumulator of many groups.
    make: fn(&Shape) -> Result<Box<dyn Groups>>,
    /// What it gives for no rows.
    of_none: OfNone,
    /// Whether a group's state grows with its rows.
    unbounded: bool,
}

/// A column of a group's state: its name and type.
type StateColumn = (&'static str, DataType);

/// What an aggregate gives for a group without rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OfNone {
    Null,
    Zero,
    EmptyList,
}

/// One call of an aggregate, all types known.
struct Shape {
    /// The arguments' types.
    args: Vec<DataType>,
    /// The result's type.
    returns: DataType,
    /// The query's settings.
    conf: Conf,
    /// IGNORE NULLS.
    ignore_nulls: bool,
    /// The arguments that are literals.
    literals: Vec<Option<ScalarValue>>,
}

impl Shape {
    /// The whole number of the literal argument `at`.
    fn integer(&self, at: usize) -> Option<i64> {
        match self.literals.get(at)?.as_ref()? {
            ScalarValue::Int64(value) => *value,
            _ => None,
        }
    }
}

/// An aggregate for the settings of one query.
pub(crate) struct SparkAggregate {
    description: &'static Description,
    conf: Conf,
    signature: Signature,
}

impl SparkAggregate {
    /// The aggregate as a function of the allow-list.
    fn function(description: &'static Description, conf: &Conf) -> Function {
        let signature = Signature::one_of(
            vec![TypeSignature::Nullary, TypeSignature::VariadicAny],
            Volatility::Immutable,
        );
        let aggregate = SparkAggregate { description, conf: conf.clone(), signature };
        Function::Aggregate(Arc::new(AggregateUDF::new_from_impl(aggregate)))
    }

    /// Spark's name of the function.
    fn name(&self) -> &'static str {
        self.description.name
    }

    /// Whether a group's state grows with its rows.
    fn is_unbounded(&self) -> bool {
        self.description.unbounded
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
        let bind = Bind { name: self.name(), conf: &self.conf, types: &types, fields, literals, strict };
        match self.description.types {
            Types::By(decide) => decide(&bind),
            Types::Fixed { wants, least, returns } => {
                Ok(Bound { args: fixed(&bind, wants, least)?, returns: returns() })
            }
        }
    }

    /// Reads the second argument of `first(value, ignoreNulls)` and its like.
    ///
    /// # Errors
    /// `DATATYPE_MISMATCH` if it is not a literal BOOLEAN.
    pub(crate) fn take_null_treatment(&self, params: &mut AggregateFunctionParams) -> Result<()> {
        if !pick::takes_null_treatment(self.name()) || params.args.len() != 2 {
            return Ok(());
        }
        let Some(Expr::Literal(ScalarValue::Boolean(Some(ignores)), _)) = params.args.pop() else {
            return Err(refused(
                "DATATYPE_MISMATCH.NON_FOLDABLE_INPUT",
                format!("the second argument of {} is true or false", self.name()),
            ));
        };
        if ignores {
            params.null_treatment = Some(NullTreatment::IgnoreNulls);
        }
        Ok(())
    }

    fn shape(&self, args: &AccumulatorArgs) -> Shape {
        Shape {
            args: args.expr_fields.iter().map(|field| field.data_type().clone()).collect(),
            returns: args.return_field.data_type().clone(),
            conf: self.conf.clone(),
            ignore_nulls: args.ignore_nulls,
            literals: args.exprs.iter().map(literal).collect(),
        }
    }

    fn groups(&self, args: &AccumulatorArgs) -> Result<Box<dyn Groups>> {
        let shape = self.shape(args);
        let groups = (self.description.make)(&shape)?;
        if !args.is_distinct {
            return Ok(groups);
        }
        Ok(Box::new(Distinct { bag: Bag::of_distinct(shape.args, true)?, inner: groups }))
    }
}

fn literal(expr: &Arc<dyn PhysicalExpr>) -> Option<ScalarValue> {
    expr.downcast_ref::<Literal>().map(|literal| literal.value().clone())
}

/// A list without values, of the type `kind`.
fn empty_list(kind: &DataType) -> Result<ScalarValue> {
    let DataType::List(element) = kind else { return ScalarValue::try_from(kind) };
    let values = new_empty_array(element.data_type());
    let offsets = OffsetBuffer::from_lengths([0]);
    Ok(ScalarValue::List(Arc::new(ListArray::new(Arc::clone(element), offsets, values, None))))
}

/// Whether an entry of the allow-list is an aggregate.
#[cfg(test)]
pub(crate) fn is_aggregate(entry: &Entry) -> bool {
    matches!((entry.make)(&Conf::default()), Function::Aggregate(_))
}

/// Whether the state of the aggregate `name` grows with the rows of its group, so that a stream cannot bound it. Any
/// aggregate with DISTINCT does, too. `false` for a name that is no aggregate.
pub fn unbounded(name: &str) -> bool {
    let found = super::all().find(|entry| entry.name == name || entry.aliases.contains(&name));
    match found.map(|entry| (entry.make)(&Conf::default())) {
        Some(Function::Aggregate(function)) => {
            function.inner().downcast_ref::<SparkAggregate>().is_some_and(SparkAggregate::is_unbounded)
        }
        _ => false,
    }
}

impl std::fmt::Debug for SparkAggregate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SparkAggregate").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl PartialEq for SparkAggregate {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.conf == other.conf
    }
}

impl Eq for SparkAggregate {}

impl Hash for SparkAggregate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.name(), self.conf.ansi, &self.conf.zone_id).hash(state);
    }
}

impl AggregateUDFImpl for SparkAggregate {
    fn name(&self) -> &str {
        self.description.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let fields: Vec<FieldRef> =
            types.iter().map(|kind| Arc::new(Field::new("", kind.clone(), true))).collect();
        Ok(self.bind(&fields, &vec![None; types.len()], false)?.returns)
    }

    fn is_nullable(&self) -> bool {
        self.description.of_none == OfNone::Null
    }

    fn default_value(&self, kind: &DataType) -> Result<ScalarValue> {
        match self.description.of_none {
            OfNone::Null => ScalarValue::try_from(kind),
            OfNone::Zero => ScalarValue::new_zero(kind),
            OfNone::EmptyList => empty_list(kind),
        }
    }

    fn supports_null_handling_clause(&self) -> bool {
        pick::takes_null_treatment(self.name())
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let types: Vec<DataType> = args.input_fields.iter().map(|field| field.data_type().clone()).collect();
        let columns = if args.is_distinct {
            types.into_iter().map(|kind| ("distinct", list_of(kind))).collect()
        } else {
            (self.description.state)(&types, args.return_field.data_type())
        };
        let field = |(at, (name, kind)): (usize, (&str, DataType))| {
            let name = if args.is_distinct && at > 0 { format!("{name}_{at}") } else { name.to_owned() };
            Arc::new(Field::new(format_state_name(args.name, &name), kind, true))
        };
        Ok(columns.into_iter().enumerate().map(field).collect())
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Single::new(self.groups(&args)?)))
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Many(self.groups(&args)?)))
    }
}

/// An entry of the allow-list: name and aliases, the other parts of its description, and the cases that prove it.
macro_rules! aggregate {
    ($name:literal $(| $alias:literal)*, { $($part:ident : $value:expr),* $(,)? }, [$($case:literal),* $(,)?]) => {
        $crate::query::functions::Entry {
            name: $name,
            aliases: &[$($alias),*],
            make: |conf| {
                static DESCRIPTION: $crate::query::functions::aggregate::Description =
                    $crate::query::functions::aggregate::Description { name: $name, $($part: $value),* };
                $crate::query::functions::aggregate::SparkAggregate::function(&DESCRIPTION, conf)
            },
            proved_by: &[$($case),*],
        }
    };
}
use aggregate;
