//! Functions that make rows, as relations: `explode`, `posexplode`, `inline`, `json_tuple`, `stack`, `window`,
//! `session_window`.
//!
//! The rewriter wraps a FROM into a PIVOT that carries the call; [`Generators`] plans it. Each function gives a list
//! of structs for a row; a list is then taken apart into rows, and a struct into columns. What comes before keeps its
//! columns and their names.

mod rows;
mod session;
mod window;

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{
    Column, ExprSchema, NullHandling, Result, ScalarValue, TableReference, UnnestOptions, plan_err,
};

use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, ScalarUDF, cast, lit};
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, TableFactor, Value};

pub(super) use self::window::copies;
use super::conf::Conf;
use super::fields::GetField;
use super::stateful::event_time::is_event_time;
use super::stateful::unmarked::unmarked;

/// The functions behind the generators, by name.
pub(super) fn functions(conf: &Conf) -> Vec<(&'static str, Arc<ScalarUDF>)> {
    let rows = rows::Rows::all().into_iter().map(|rows| (rows.name, Arc::new(ScalarUDF::from(rows))));
    let windows: [(&'static str, ScalarUDF); 3] = [
        ("window_rows", ScalarUDF::from(window::WindowRows::default())),
        ("session_window_rows", ScalarUDF::from(session::SessionRows::new(&conf.zone))),
        ("window_time", ScalarUDF::from(session::WindowTime::default())),
    ];
    rows.chain(windows.map(|(name, function)| (name, Arc::new(function)))).collect()
}

/// Plans the relations that the rewriter made.
#[derive(Debug)]
pub(super) struct Generators;

impl RelationPlanner for Generators {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let TableFactor::Pivot { table, aggregate_functions, default_on_null, alias: Some(alias), .. } =
            relation
        else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let outer = match default_on_null {
            Some(SqlExpr::Value(value)) => value.value == Value::Boolean(true),
            _ => false,
        };
        let Some(call) = aggregate_functions.into_iter().next() else {
            return plan_err!("a relation of rows without its function");
        };
        let input = context.plan(*table)?;
        let rows = context.sql_to_expr(call.expr, input.schema())?;
        let names = alias.columns.into_iter().map(|column| column.name.value).collect();
        let plan = generate(input, rows, outer, &alias.name.value, names)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, None))))
    }
}

/// The functions of which windows are made.
const WINDOWS: [&str; 2] = ["window_rows", "session_window_rows"];

fn is_cast(expr: &Expr) -> bool {
    match expr {
        Expr::Cast(_) | Expr::TryCast(_) => true,
        Expr::ScalarFunction(call) => ["cast", "try_cast"].contains(&call.func.name()),
        _ => false,
    }
}

/// A call that makes windows, with its time as a TIMESTAMP: a DATE or a text is cast, as in Spark. One that makes sessions is
/// told which gap its rows have, before the plan is optimised, which turns expressions into literals.
fn timed(rows: Expr, input: &LogicalPlan) -> Result<Expr> {
    let Expr::ScalarFunction(mut call) = rows else { return Ok(rows) };
    if WINDOWS.contains(&call.func.name())
        && let Some(time) = call.args.first_mut()
        && is_cast(time)
    {
        // As in Spark, what was cast is no column that carries the event time, even if it had the type before.
        *time = unmarked(std::mem::take(time));
    }
    if WINDOWS.contains(&call.func.name())
        && let Some(time) = call.args.first_mut()
        && matches!(time.get_type(input.schema())?, DataType::Date32 | DataType::Utf8)
    {
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        *time = cast(std::mem::take(time), timestamp);
    }
    if call.func.name() == "session_window_rows"
        && let Some(gap) = call.args.get(1)
        && !is_gap(gap, input)?
    {
        return plan_err!(
            "DATATYPE_MISMATCH: the gap of session_window() is a text such as '10 minutes', as in Spark, and no INTERVAL or number"
        );
    }
    if call.func.name() == "session_window_rows" {
        let gap = match call.args.get(1) {
            Some(Expr::Literal(gap, _)) => Some(gap),
            _ => None,
        };
        call.args.push(lit(session::shape(gap)));
    }
    Ok(Expr::ScalarFunction(call))
}

/// Whether a window below is of a time that is computed from the event time, as by a CAST: it carries no watermark.
pub(super) fn computes_event_time(plan: &LogicalPlan) -> Result<bool> {
    plan.exists(|node| {
        let carries = |expr: &Expr| match expr {
            Expr::Column(column) => node.inputs().iter().any(|input| {
                input.schema().field_from_column(column).is_ok_and(|field| is_event_time(field))
            }),
            _ => false,
        };
        let computes = |expr: &Expr| match expr {
            Expr::ScalarFunction(call) if WINDOWS.contains(&call.func.name()) => match call.args.first() {
                None | Some(Expr::Column(_)) => Ok(false),
                Some(time) => time.exists(|expr| Ok(carries(expr))),
            },
            _ => Ok(false),
        };
        for expr in node.expressions() {
            if expr.exists(computes)? {
                return Ok(true);
            }
        }
        Ok(false)
    })
}

/// Whether Spark takes an expression for the gap of a session: a text, or what `make_interval()` gives. A literal INTERVAL has
/// another type there, but the same here.
fn is_gap(gap: &Expr, input: &LogicalPlan) -> Result<bool> {
    let has_literal =
        gap.exists(|node| Ok(matches!(node, Expr::Literal(ScalarValue::IntervalMonthDayNano(_), _))))?;
    Ok(match gap.get_type(input.schema())? {
        DataType::Utf8 => true,
        DataType::Interval(_) => !has_literal,
        _ => false,
    })
}

/// The column whose elements a call makes rows of, if it makes one of each and its argument is a column as it is.
pub(super) fn exploded(expr: &Expr) -> Option<&Column> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let rows = call.func.inner().downcast_ref::<rows::Rows>()?;
    match call.args.as_slice() {
        [Expr::Column(column)] if rows.is_of_each_element() => Some(column),
        _ => None,
    }
}

/// `input` with the rows that `rows` makes of each of its rows, as columns of `relation`.
fn generate(
    input: LogicalPlan,
    rows: Expr,
    outer: bool,
    relation: &str,
    names: Vec<String>,
) -> Result<LogicalPlan> {
    let before: Vec<Expr> = input
        .schema()
        .iter()
        .map(|(qualifier, field)| Expr::Column(Column::new(qualifier.cloned(), field.name())))
        .collect();
    let rows = timed(rows, &input)?;
    let made = format!("rows of {relation}");
    let mut with_rows = before.clone();
    with_rows.push(rows.alias(&made));
    let handling = if outer { NullHandling::PreserveAndExpandEmpty } else { NullHandling::Drop };
    let plan = LogicalPlanBuilder::from(input)
        .project(with_rows)?
        .unnest_column_with_options(
            Column::from_name(&made),
            UnnestOptions::new().with_null_handling(handling),
        )?
        .build()?;
    let (_, field) = match plan.schema().iter().last() {
        Some(last) => last,
        None => return plan_err!("a relation of rows without columns"),
    };
    let DataType::Struct(fields) = field.data_type() else {
        return plan_err!("a function that makes rows gives structs, not {}", field.data_type());
    };
    if !names.is_empty() && names.len() != fields.len() {
        return plan_err!(
            "NUM_TABLE_VALUE_ALIASES_MISMATCH: {} columns are made, {} names are given",
            fields.len(),
            names.len()
        );
    }
    let get_field = Arc::new(ScalarUDF::from(GetField::new(true)));
    let mut columns = before;
    for (index, field) in fields.iter().enumerate() {
        let name = names.get(index).unwrap_or_else(|| field.name());
        let args = vec![Expr::Column(Column::from_name(&made)), lit(field.name().as_str())];
        let value = Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&get_field), args));
        columns.push(value.alias_qualified(Some(TableReference::bare(relation)), name));
    }
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}
