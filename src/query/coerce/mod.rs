//! Spark's implicit casts over a plan: the analyzer's rule that runs before DataFusion's own.
//!
//! It replaces every CAST by Spark's (`query::cast`), casts the arguments of operators and functions to the types that
//! Spark would choose, and keeps what may fail from being evaluated for rows that Spark would not evaluate it for.
//! After it DataFusion's rule finds nothing left to cast.

pub(crate) mod chain;
mod conditions;
pub(super) mod failing;
pub(crate) mod filters;
pub(super) mod moment;
pub(crate) mod planner;
mod replaced;
mod sets;
#[cfg(test)]
mod tests;
pub(crate) mod types;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, Case, InList, Lambda, Like, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Distinct, Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF};
use datafusion::optimizer::AnalyzerRule;

use super::arithmetic::tries;
use super::cast::time::MICROS_PER_DAY;
use super::cast::{self, Cast, Mode, Way};
use super::conf::Conf;
use super::fields::GetField;
use super::functions::aggregate::SparkAggregate;
use super::functions::compare::{group_key, needs_key};
use super::functions::scalar::SparkFunction;
use super::functions::{self, Function};
use chain::operands;
use conditions::separates;
use failing::may_fail;
use replaced::{bytes_of, has_variable, written_otherwise};
use types::{common, common_unnamed, compared, is_atomic, is_float, name_of, refused};

/// Spark's coercion as a rule of DataFusion's analyzer.
pub(crate) struct Coercion {
    conf: Conf,
    functions: HashMap<&'static str, Arc<ScalarUDF>>,
    /// What a key of GROUP BY goes through.
    group_key: Arc<ScalarUDF>,
}

impl std::fmt::Debug for Coercion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Coercion").finish_non_exhaustive()
    }
}

impl AnalyzerRule for Coercion {
    fn name(&self) -> &str {
        "spark_coercion"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(|node| self.node(node))?.data)
    }
}

/// How many passes a lambda may need until its variables have their final types.
const LAMBDA_PASSES: usize = 3;

impl Coercion {
    /// The rule for the settings of one query.
    pub(crate) fn new(conf: &Conf) -> Coercion {
        let mut known = HashMap::new();
        for entry in functions::all() {
            if let Function::Scalar(function) = (entry.make)(conf) {
                known.insert(entry.name, function);
            }
        }
        Coercion { conf: conf.clone(), functions: known, group_key: group_key(conf) }
    }

    fn node(&self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let mut schema = merge_schema(&plan.inputs());
        if let LogicalPlan::TableScan(scan) = &plan {
            schema
                .merge(&DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?);
        }
        if let LogicalPlan::Distinct(Distinct::All(input)) = &plan {
            return Ok(Transformed::yes(LogicalPlan::Distinct(Distinct::All(self.keys(input)?))));
        }
        let plan = match plan {
            LogicalPlan::Filter(mut filter) => {
                let apart = separates(&filter.input);
                filter.predicate = self.condition(filter.predicate, apart, &schema)?;
                return Ok(Transformed::yes(LogicalPlan::Filter(filter)));
            }
            LogicalPlan::Join(join) => return self.join(join, &schema),
            LogicalPlan::Union(union) => return self.union(&union),
            plan => plan,
        };
        let names = NamePreserver::new(&plan);
        let groups = matches!(plan, LogicalPlan::Aggregate(_));
        let plan = plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let mut coerced = self.expression(expr, &schema)?;
            if groups {
                coerced = self.key(coerced, &schema)?;
            }
            Ok(Transformed::yes(name.restore(coerced)))
        })?;
        plan.map_data(|plan| plan.recompute_schema())
    }

    /// A key of GROUP BY in the form that makes equal values the same; an aggregate as it is.
    fn key(&self, expr: Expr, schema: &DFSchema) -> Result<Expr> {
        match expr {
            // The columns above are found by the keys of several sets as they are.
            Expr::AggregateFunction(_) | Expr::GroupingSet(_) => Ok(expr),
            Expr::Alias(ref alias) if matches!(*alias.expr, Expr::AggregateFunction(_)) => Ok(expr),
            expr if needs_key(&expr.get_type(schema)?) => {
                Ok(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&self.group_key), vec![expr])))
            }
            expr => Ok(expr),
        }
    }

    /// The expression with Spark's casts.
    ///
    /// # Errors
    /// `DATATYPE_MISMATCH` where Spark refuses the types.
    pub(crate) fn expression(&self, expr: Expr, schema: &DFSchema) -> Result<Expr> {
        let mut has_lambda = false;
        expr.apply(|node| {
            has_lambda |= matches!(node, Expr::HigherOrderFunction(_));
            Ok(if has_lambda { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })?;
        let mut expr = self.coerce(expr, schema)?;
        for _ in 1..LAMBDA_PASSES {
            if !has_lambda {
                break;
            }
            // A variable has the type of what the lambda runs over, which may have changed.
            let resolved = expr.resolve_lambda_variables(schema)?;
            expr = resolved.data;
            if !resolved.transformed {
                break;
            }
            expr = self.coerce(expr, schema)?;
        }
        Ok(expr)
    }

    fn coerce(&self, expr: Expr, schema: &DFSchema) -> Result<Expr> {
        if let Expr::BinaryExpr(BinaryExpr { op: op @ (Operator::And | Operator::Or), .. }) = expr {
            let operands = operands(expr, op).into_iter().map(|operand| self.coerce(operand, schema));
            return self.connect(operands.collect::<Result<_>>()?, op, schema);
        }
        let expr = expr.map_children(|child| Ok(Transformed::yes(self.coerce(child, schema)?)))?.data;
        match expr {
            Expr::Cast(inner) => {
                self.cast(*inner.expr, inner.field.data_type(), Mode::of(&self.conf), schema)
            }
            Expr::TryCast(inner) => self.cast(*inner.expr, inner.field.data_type(), Mode::Try, schema),
            Expr::ScalarFunction(call) => self.function(call, schema),
            Expr::AggregateFunction(call) => self.aggregate(call, schema),
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => self.binary(*left, op, *right, schema),
            Expr::Negative(inner) => self.call("negative", vec![*inner], schema),
            Expr::Not(inner) => {
                let inner = self.boolean(*inner, schema)?;
                Ok(Expr::Not(Box::new(inner)))
            }
            Expr::Between(between) => {
                let low = self.compare("<=", *between.low, *between.expr.clone(), schema)?;
                let high = self.compare("<=", *between.expr, *between.high, schema)?;
                let both = low.and(high);
                Ok(if between.negated { Expr::Not(Box::new(both)) } else { both })
            }
            Expr::InList(list) => self.in_list(list, schema),
            Expr::Case(case) => self.case(case, schema),
            Expr::Like(like) => self.like(like, schema),
            Expr::Lambda(Lambda { params, body, .. }) => Ok(Expr::Lambda(Lambda::new(params, *body))),
            other => Ok(other),
        }
    }

    /// A call of one of our functions by name.
    fn call(&self, name: &str, args: Vec<Expr>, schema: &DFSchema) -> Result<Expr> {
        let function = self
            .functions
            .get(name)
            .ok_or_else(|| refused("UNRESOLVED_ROUTINE", format!("the function {name} is not known")))?;
        self.function(ScalarFunction::new_udf(Arc::clone(function), args), schema)
    }

    /// Casts `expr`; a literal is cast at once, unless that fails: then each row says so. One that names a moment becomes a
    /// call, for each batch has its own.
    pub(crate) fn cast(&self, expr: Expr, to: &DataType, mode: Mode, schema: &DFSchema) -> Result<Expr> {
        let from = expr.get_type(schema)?;
        if from == *to {
            return Ok(expr);
        }
        let function = Cast::new(to.clone(), mode, &self.conf);
        function.check(&from)?;
        if let Expr::Literal(value, _) = &expr {
            if let Some(moment) = self.moment(value, to, schema)? {
                return Ok(moment);
            }
            let way = Way { mode, conf: &self.conf };
            let cast = value.to_array().and_then(|array| cast::cast(&array, to, way));
            if let Ok(value) = cast.and_then(|array| ScalarValue::try_from_array(&array, 0)) {
                return Ok(Expr::Literal(value, None));
            }
        }
        Ok(Expr::ScalarFunction(ScalarFunction::new_udf(
            Arc::new(ScalarUDF::new_from_impl(function)),
            vec![expr],
        )))
    }

    fn implicit(&self, expr: Expr, to: &DataType, schema: &DFSchema) -> Result<Expr> {
        self.cast(expr, to, Mode::of(&self.conf), schema)
    }

    fn boolean(&self, expr: Expr, schema: &DFSchema) -> Result<Expr> {
        match expr.get_type(schema)? {
            DataType::Boolean => Ok(expr),
            DataType::Null | DataType::Utf8 => self.implicit(expr, &DataType::Boolean, schema),
            other => Err(refused(
                "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
                format!("a condition is BOOLEAN, not {}", name_of(&other)),
            )),
        }
    }

    fn function(&self, call: ScalarFunction, schema: &DFSchema) -> Result<Expr> {
        let Some(function) = call.func.inner().downcast_ref::<SparkFunction>() else {
            return Ok(Expr::ScalarFunction(call));
        };
        match (function.name(), call.args.len()) {
            ("cast" | "try_cast", 2) => {
                let mode = if function.name() == "cast" { Mode::of(&self.conf) } else { Mode::Try };
                let [value, kind] = two(call.args);
                return self.cast(value, &functions::conditional::type_of(&kind)?, mode, schema);
            }
            ("case_when", _) => return self.case_when(call.args, schema),
            (name @ ("=" | "<>" | "<" | "<=" | ">" | ">=" | "<=>" | "equal_null"), 2) => {
                let [left, right] = two(call.args);
                return self.compare(if name == "equal_null" { "<=>" } else { name }, left, right, schema);
            }
            ("get_item", 2) if matches!(call.args[0].get_type(schema)?, DataType::Struct(_)) => {
                let field = Arc::new(ScalarUDF::from(GetField::new(self.conf.case_sensitive)));
                return Ok(Expr::ScalarFunction(ScalarFunction::new_udf(field, call.args)));
            }
            // The argument is not evaluated.
            ("typeof", 1) if !has_variable(&call.args[0])? => {
                let name = functions::assertion::type_name(&call.args[0].get_type(schema)?)?;
                return Ok(Expr::Literal(ScalarValue::from(name), None));
            }
            ("to_char", 2) => {
                if let Some((name, args)) = written_otherwise(&call.args, schema)? {
                    return self.call(name, args, schema);
                }
            }
            ("is_valid_utf8" | "validate_utf8" | "try_validate_utf8", 1) => {
                let args =
                    call.args.into_iter().map(|arg| bytes_of(arg, schema)).collect::<Result<Vec<_>>>()?;
                return self.bound(&call.func, args, schema);
            }
            (
                "coalesce" | "nvl" | "ifnull" | "if" | "nvl2" | "nullif" | "nanvl" | "nullifzero"
                | "zeroifnull",
                _,
            ) => {
                return self.conditional(function.name(), call.args, schema);
            }
            _ => {}
        }
        self.bound(&call.func, call.args, schema)
    }

    /// A call over arguments of the types that the function takes.
    fn bound(&self, udf: &Arc<ScalarUDF>, args: Vec<Expr>, schema: &DFSchema) -> Result<Expr> {
        let Some(function) = udf.inner().downcast_ref::<SparkFunction>() else {
            return Ok(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(udf), args)));
        };
        let fields = args.iter().map(|arg| Ok(arg.to_field(schema)?.1)).collect::<Result<Vec<FieldRef>>>()?;
        let literals = literals(&args);
        let bound = function.bind(&fields, &literals, true)?;
        let args = args.into_iter().zip(&bound.args).map(|(arg, to)| {
            // For `try_add` and its kin, a text that is no number is NULL.
            let reads = self.conf.ansi && tries(function.name()) && arg.get_type(schema)? == DataType::Utf8;
            self.cast(arg, to, if reads { Mode::Try } else { Mode::of(&self.conf) }, schema)
        });
        let args = args.collect::<Result<Vec<_>>>()?;
        // Literals only: the value is one, too. What fails is left to fail for its rows.
        let known: Option<Vec<ScalarValue>> = self::literals(&args).into_iter().collect();
        if let Some(Ok(value)) = known.map(|known| function.value(&known, &bound.returns)) {
            return Ok(Expr::Literal(value, None));
        }
        Ok(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(udf), args)))
    }

    /// An aggregate over arguments of the types that it takes.
    fn aggregate(&self, call: AggregateFunction, schema: &DFSchema) -> Result<Expr> {
        let Some(aggregate) = call.func.inner().downcast_ref::<SparkAggregate>() else {
            return Ok(Expr::AggregateFunction(call));
        };
        let mut params = call.params;
        aggregate.take_null_treatment(&mut params)?;
        let fields =
            params.args.iter().map(|arg| Ok(arg.to_field(schema)?.1)).collect::<Result<Vec<FieldRef>>>()?;
        let bound = aggregate.bind(&fields, &literals(&params.args), true)?;
        let args = params.args.into_iter().zip(&bound.args);
        params.args = args.map(|(arg, to)| self.implicit(arg, to, schema)).collect::<Result<_>>()?;
        if let Some(filter) = params.filter {
            let filter = self.boolean(*filter, schema)?;
            // Spark does not evaluate the arguments of rows that FILTER keeps out.
            for arg in &mut params.args {
                if may_fail(arg, schema)? {
                    *arg = self.lazily(vec![(filter.clone(), arg.clone())], None, schema)?;
                }
            }
            params.filter = Some(Box::new(filter));
        }
        Ok(Expr::AggregateFunction(AggregateFunction { func: call.func, params }))
    }

    fn binary(&self, left: Expr, op: Operator, right: Expr, schema: &DFSchema) -> Result<Expr> {
        let name = match op {
            Operator::Eq => "=",
            Operator::NotEq => "<>",
            Operator::Lt => "<",
            Operator::LtEq => "<=",
            Operator::Gt => ">",
            Operator::GtEq => ">=",
            Operator::IsNotDistinctFrom => "<=>",
            Operator::IsDistinctFrom => {
                return Ok(Expr::Not(Box::new(self.compare("<=>", left, right, schema)?)));
            }
            Operator::Plus => return self.call("+", vec![left, right], schema),
            Operator::Minus => return self.call("-", vec![left, right], schema),
            Operator::Multiply => return self.call("*", vec![left, right], schema),
            Operator::Divide => return self.call("/", vec![left, right], schema),
            Operator::Modulo => return self.call("%", vec![left, right], schema),
            _ => return Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))),
        };
        self.compare(name, left, right, schema)
    }

    /// A comparison in the common type of both sides.
    fn compare(&self, name: &str, left: Expr, right: Expr, schema: &DFSchema) -> Result<Expr> {
        let (a, b) = (left.get_type(schema)?, right.get_type(schema)?);
        let (left, right) = (as_day_time(left, &b), as_day_time(right, &a));
        let (a, b) = (left.get_type(schema)?, right.get_type(schema)?);
        let mut to = compared(&self.conf, &a, &b).ok_or_else(|| {
            let message = format!("{} and {} cannot be compared", name_of(&a), name_of(&b));
            refused("DATATYPE_MISMATCH.BINARY_OP_DIFF_TYPES", message)
        })?;
        if matches!(to, DataType::Map(..)) {
            return Err(refused("DATATYPE_MISMATCH.INVALID_ORDERING_TYPE", "MAP values cannot be compared"));
        }
        if !is_atomic(&to) && !same_but_null(&self.conf, &a, &b) {
            let message = format!("{} and {} cannot be compared", name_of(&a), name_of(&b));
            return Err(refused("DATATYPE_MISMATCH.BINARY_OP_DIFF_TYPES", message));
        }
        if to == DataType::Null {
            to = DataType::Boolean;
        }
        let (left, right) = (self.implicit(left, &to, schema)?, self.implicit(right, &to, schema)?);
        if is_float(&to) || !is_atomic(&to) {
            // NaN equals NaN, and the zeros are one: DataFusion's own operators see bits.
            let function = Arc::clone(&self.functions[name]);
            return Ok(Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![left, right])));
        }
        let op = match name {
            "=" => Operator::Eq,
            "<>" => Operator::NotEq,
            "<" => Operator::Lt,
            "<=" => Operator::LtEq,
            ">" => Operator::Gt,
            ">=" => Operator::GtEq,
            _ => Operator::IsNotDistinctFrom,
        };
        Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))))
    }

    /// IN over the common type of the value and all items (`InConversion`).
    fn in_list(&self, list: InList, schema: &DFSchema) -> Result<Expr> {
        let values = std::iter::once(list.expr.as_ref()).chain(&list.list);
        let mut kinds = values.map(|value| value.get_type(schema)).collect::<Result<Vec<_>>>()?;
        if !self.conf.ansi {
            // Without ANSI the common type depends on the order: Spark takes texts first.
            kinds.sort_by_key(|kind| *kind != DataType::Utf8);
        }
        let mut to = DataType::Null;
        for kind in &kinds {
            to = common_unnamed(&self.conf, &to, kind).ok_or_else(|| {
                let message = format!("IN compares {} and {}", name_of(&to), name_of(kind));
                refused("DATATYPE_MISMATCH.DATA_DIFF_TYPES", message)
            })?;
        }
        if to == DataType::Null {
            to = DataType::Boolean;
        }
        let value = self.implicit(*list.expr, &to, schema)?;
        let items = list.list.into_iter().map(|item| self.implicit(item, &to, schema));
        let items = items.collect::<Result<Vec<_>>>()?;
        let mut fails = false;
        for item in &items {
            fails |= self.conf.ansi && may_fail(item, schema)?;
        }
        if !fails && !is_float(&to) && is_atomic(&to) {
            return Ok(Expr::InList(InList::new(Box::new(value), items, list.negated)));
        }
        let same = items.into_iter().map(|item| self.compare("=", value.clone(), item, schema));
        let mut found = self.connect(same.collect::<Result<_>>()?, Operator::Or, schema)?;
        if fails {
            // No item is evaluated for a value that is NULL.
            let unknown = (Expr::IsNull(Box::new(value)), Expr::Literal(ScalarValue::Boolean(None), None));
            found = self.lazily(vec![unknown], Some(found), schema)?;
        }
        Ok(if list.negated { Expr::Not(Box::new(found)) } else { found })
    }

    fn like(&self, like: Like, schema: &DFSchema) -> Result<Expr> {
        let name = if like.case_insensitive { "ilike" } else { "like" };
        let mut args = vec![*like.expr, *like.pattern];
        if let Some(escape) = like.escape_char {
            args.push(Expr::Literal(ScalarValue::from(escape.to_string()), None));
        }
        let matches = self.call(name, args, schema)?;
        Ok(if like.negated { Expr::Not(Box::new(matches)) } else { matches })
    }

    /// CASE: branches in their common type; the operand form is a chain of comparisons.
    fn case(&self, case: Case, schema: &DFSchema) -> Result<Expr> {
        let mut branches = Vec::with_capacity(case.when_then_expr.len());
        for (when, then) in case.when_then_expr {
            let when = match &case.expr {
                Some(operand) => self.compare("=", *operand.clone(), *when, schema)?,
                None => self.boolean(*when, schema)?,
            };
            branches.push((when, *then));
        }
        self.lazily(branches, case.else_expr.map(|expr| *expr), schema)
    }

    /// `case_when(condition, value, …, otherwise)`: a CASE as the rewriter passes it on.
    fn case_when(&self, args: Vec<Expr>, schema: &DFSchema) -> Result<Expr> {
        let mut args = args.into_iter();
        let mut branches = Vec::new();
        loop {
            match (args.next(), args.next()) {
                (Some(when), Some(then)) => branches.push((self.boolean(when, schema)?, then)),
                (otherwise, _) => return self.lazily(branches, otherwise, schema),
            }
        }
    }

    /// A CASE whose branches run only for their rows. DataFusion would make AND and OR of one with BOOLEAN
    /// branches and evaluate them all, so those that may fail go through TINYINT.
    fn lazily(
        &self,
        branches: Vec<(Expr, Expr)>,
        otherwise: Option<Expr>,
        schema: &DFSchema,
    ) -> Result<Expr> {
        let values = branches.iter().map(|(_, then)| then).chain(otherwise.as_ref());
        let mut to = DataType::Null;
        let mut fails = false;
        for (when, _) in branches.iter().skip(1) {
            fails |= may_fail(when, schema)?;
        }
        for value in values {
            let kind = value.get_type(schema)?;
            fails |= may_fail(value, schema)?;
            to = common(&self.conf, &to, &kind).ok_or_else(|| {
                let message = format!("the branches are {} and {}", name_of(&to), name_of(&kind));
                refused("DATATYPE_MISMATCH.DATA_DIFF_TYPES", message)
            })?;
        }
        let through = (to == DataType::Boolean && fails && self.conf.ansi).then_some(DataType::Int8);
        let branch = |value: Expr| -> Result<Box<Expr>> {
            let value = self.implicit(value, &to, schema)?;
            Ok(Box::new(match &through {
                Some(narrow) => self.implicit(value, narrow, schema)?,
                None => value,
            }))
        };
        let pairs = branches.into_iter().map(|(when, then)| Ok((Box::new(when), branch(then)?)));
        let pairs = pairs.collect::<Result<Vec<_>>>()?;
        let otherwise = otherwise.map(branch).transpose()?;
        let case = Expr::Case(Case::new(None, pairs, otherwise));
        if through.is_some() { self.implicit(case, &to, schema) } else { Ok(case) }
    }

    /// The functions that are a CASE.
    fn conditional(&self, name: &str, args: Vec<Expr>, schema: &DFSchema) -> Result<Expr> {
        let wrong = |count: &str| Err(refused("WRONG_NUM_ARGS", format!("{name} takes {count}")));
        let count = args.len();
        match (name, count) {
            ("coalesce", 0) => wrong("at least one argument"),
            ("coalesce", _) | ("nvl" | "ifnull", 2) => {
                let mut args = args;
                let last = args.pop();
                let present = |expr: Expr| (Expr::IsNotNull(Box::new(expr.clone())), expr);
                let branches: Vec<_> = args.into_iter().map(present).collect();
                match last {
                    Some(only) if branches.is_empty() => Ok(only),
                    last => self.lazily(branches, last, schema),
                }
            }
            ("nvl" | "ifnull", _) => wrong("two arguments"),
            ("if", 3) => {
                let [test, yes, no] = three(args);
                let test = self.boolean(test, schema)?;
                self.lazily(vec![(test, yes)], Some(no), schema)
            }
            ("nvl2", 3) => {
                let [test, yes, no] = three(args);
                self.lazily(vec![(Expr::IsNotNull(Box::new(test)), yes)], Some(no), schema)
            }
            ("if" | "nvl2", _) => wrong("three arguments"),
            ("nullif", 2) => {
                let [value, other] = two(args);
                let to = value.get_type(schema)?;
                let same = self.compare("=", value.clone(), other, schema)?;
                let null = Expr::Literal(ScalarValue::try_from(&to)?, None);
                self.lazily(vec![(same, null)], Some(value), schema)
            }
            ("nullifzero" | "zeroifnull", 1) => {
                let zero = Expr::Literal(ScalarValue::Int32(Some(0)), None);
                let mut args = args;
                args.push(zero);
                let rest = if name == "nullifzero" { "nullif" } else { "coalesce" };
                self.conditional(rest, args, schema)
            }
            ("nanvl", 2) => {
                let [value, other] = two(args);
                let (a, b) = (value.get_type(schema)?, other.get_type(schema)?);
                let single = a == DataType::Float32 && b == DataType::Float32;
                let to = if single { DataType::Float32 } else { DataType::Float64 };
                let (value, other) = (self.implicit(value, &to, schema)?, self.implicit(other, &to, schema)?);
                let test = self.call("isnan", vec![value.clone()], schema)?;
                self.lazily(vec![(test, other)], Some(value), schema)
            }
            _ => wrong("another number of arguments"),
        }
    }
}

/// Whether two types are one but for where null may stand.
fn same_but_null(conf: &Conf, a: &DataType, b: &DataType) -> bool {
    *a == DataType::Null || *b == DataType::Null || types::wider_nested(conf, a, b)
}

/// A literal interval without months as a DAY TO SECOND interval, if `other` is one.
fn as_day_time(expr: Expr, other: &DataType) -> Expr {
    let (Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), _), DataType::Duration(unit)) =
        (&expr, other)
    else {
        return expr;
    };
    let days = i64::from(value.days).checked_mul(MICROS_PER_DAY);
    let micros = days.and_then(|days| days.checked_add(value.nanoseconds / 1000));
    let value = match (unit, micros) {
        (TimeUnit::Microsecond, Some(micros)) if value.months == 0 => {
            ScalarValue::DurationMicrosecond(Some(micros))
        }
        (TimeUnit::Second, Some(micros)) if value.months == 0 && micros % 1_000_000 == 0 => {
            ScalarValue::DurationSecond(Some(micros / 1_000_000))
        }
        _ => return expr,
    };
    Expr::Literal(value, None)
}

/// The values of arguments that are literals.
pub(crate) fn literals(args: &[Expr]) -> Vec<Option<ScalarValue>> {
    let literal = |arg: &Expr| match arg {
        Expr::Literal(value, _) => Some(value.clone()),
        _ => None,
    };
    args.iter().map(literal).collect()
}

fn two(args: Vec<Expr>) -> [Expr; 2] {
    args.try_into().expect("the caller counted two arguments")
}

fn three(args: Vec<Expr>) -> [Expr; 3] {
    args.try_into().expect("the caller counted three arguments")
}
