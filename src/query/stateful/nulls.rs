//! Rows that come to nothing further up are left out at once, as Spark infers it: those whose NULL a join does not match, and
//! those whose collection `explode` makes no row of. So they raise no watermark.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, NullEquality, NullHandling, Result};
use datafusion::logical_expr::planner::ContextProvider;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    BinaryExpr, Expr, Join, JoinType, LogicalPlan, Operator, ScalarUDF, Unnest, lit,
};

use super::event_time::EventTimeWatermark;
use super::logical::{column, filtered};
use crate::query::cast::Cast;
use crate::query::check::reads_stream;
use crate::query::functions::scalar::SparkFunction;
use crate::query::generate::exploded;
use crate::query::session::Session;

/// Functions that give NULL where an argument is.
const STRICT: [&str; 16] =
    ["=", "<>", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "like", "ilike", "upper", "lower", "length"];

/// The plan without rows that joins and generators drop. A row that has NULL in one of the columns `wanted` comes to nothing
/// above the plan.
///
/// # Errors
/// If the plan can't be built.
pub(super) fn left_out(session: &Session, plan: LogicalPlan, wanted: &[Column]) -> Result<LogicalPlan> {
    if !reads_stream(&plan) {
        return Ok(plan);
    }
    let of_children = |plan: LogicalPlan, wanted: &[Column]| -> Result<LogicalPlan> {
        Ok(plan.map_children(|child| Ok(Transformed::yes(left_out(session, child, wanted)?)))?.data)
    };
    match plan {
        LogicalPlan::Filter(filter) => {
            let mut wanted = wanted.to_vec();
            split_conjunction(&filter.predicate).into_iter().for_each(|it| rejected(it, &mut wanted));
            of_children(LogicalPlan::Filter(filter), &wanted)
        }
        LogicalPlan::Projection(projection) => {
            let of = |n: usize| match projection.expr[n].clone().unalias_nested().data {
                Expr::Column(column) => Some(column),
                _ => None,
            };
            let wanted = mapped(wanted, &projection.schema, &of);
            of_children(LogicalPlan::Projection(projection), &wanted)
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let wanted = mapped(wanted, &alias.schema, &|n| nth(&alias.input, n));
            of_children(LogicalPlan::SubqueryAlias(alias), &wanted)
        }
        LogicalPlan::Unnest(unnest) => {
            let of = |n: usize| nth(&unnest.input, kept_by(&unnest, n)?);
            let wanted = mapped(wanted, &unnest.schema, &of);
            let unnest = match session.get_function_meta("size") {
                Some(size) => without_empty(unnest, &size)?,
                None => unnest,
            };
            of_children(LogicalPlan::Unnest(unnest), &wanted)
        }
        LogicalPlan::Join(join) => of_join(session, join, wanted),
        LogicalPlan::Extension(extension) if extension.node.as_any().is::<EventTimeWatermark>() => {
            of_children(LogicalPlan::Extension(extension), wanted)
        }
        other => of_children(other, &[]),
    }
}

fn of_join(session: &Session, mut join: Join, wanted: &[Column]) -> Result<LogicalPlan> {
    let of = |side: &LogicalPlan, columns: &[Column]| -> Vec<Column> {
        columns.iter().filter(|column| side.schema().has_column(column)).cloned().collect()
    };
    let (mut left, mut right) = (of(&join.left, wanted), of(&join.right, wanted));
    // An outer join is an inner one if what it adds comes to nothing.
    let is_inner = match join.join_type {
        JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi => true,
        JoinType::Left => !right.is_empty(),
        JoinType::Right => !left.is_empty(),
        _ => false,
    };
    let mut unmatched = Vec::new();
    if is_inner && join.null_equality == NullEquality::NullEqualsNothing {
        for (one, other) in &join.on {
            strict(one, &mut unmatched);
            strict(other, &mut unmatched);
        }
        for condition in join.filter.iter().flat_map(split_conjunction) {
            rejected(condition, &mut unmatched);
        }
    }
    let keeps_left = is_inner || matches!(join.join_type, JoinType::Left | JoinType::LeftAnti);
    let keeps_right = is_inner || matches!(join.join_type, JoinType::Right | JoinType::RightAnti);
    if !keeps_left {
        left.clear();
    }
    if !keeps_right {
        right.clear();
    }
    for (side, wanted) in [(&mut join.left, left), (&mut join.right, right)] {
        if !reads_stream(side) {
            continue;
        }
        let mut columns = of(side, &unmatched);
        columns.sort();
        columns.dedup();
        let given = columns.into_iter().map(|column| Expr::IsNotNull(Box::new(Expr::Column(column))));
        let mut input = side.as_ref().clone();
        if let Some(given) = conjunction(given) {
            input = filtered(given, input)?;
        }
        *side = Arc::new(left_out(session, input, &wanted)?);
    }
    Ok(LogicalPlan::Join(join))
}

/// `explode`, `posexplode` or `inline` of a column, over the rows whose column has something in it.
fn without_empty(mut unnest: Unnest, size: &Arc<ScalarUDF>) -> Result<Unnest> {
    let LogicalPlan::Projection(projection) = unnest.input.as_ref() else { return Ok(unnest) };
    let drops = matches!(unnest.options.null_handling, NullHandling::Drop);
    let [(made, _)] = unnest.list_type_columns[..] else { return Ok(unnest) };
    let made = projection.expr[made].clone().unalias_nested().data;
    let Some(collection) = exploded(&made).filter(|_| drops) else { return Ok(unnest) };
    let size = size.call(vec![Expr::Column(collection.clone())]);
    let mut projection = projection.clone();
    let input = filtered(size.gt(lit(0_i32)), Arc::unwrap_or_clone(projection.input))?;
    projection.input = Arc::new(input);
    unnest.input = Arc::new(LogicalPlan::Projection(projection));
    Ok(unnest)
}

/// Which column of its input column `n` of rows that were taken apart is; `None` if it was made.
pub(super) fn kept_by(unnest: &Unnest, n: usize) -> Option<usize> {
    let from = *unnest.dependency_indices.get(n)?;
    let is_made = unnest.list_type_columns.iter().any(|(list, _)| *list == from)
        || unnest.struct_type_columns.contains(&from);
    (!is_made).then_some(from)
}

fn nth(plan: &LogicalPlan, n: usize) -> Option<Column> {
    match column(plan, n) {
        Some(Expr::Column(column)) => Some(column),
        _ => None,
    }
}

/// What the columns of a node are in its input, as far as they are anything there.
fn mapped(columns: &[Column], schema: &DFSchema, of: &dyn Fn(usize) -> Option<Column>) -> Vec<Column> {
    columns.iter().filter_map(|column| schema.maybe_index_of_column(column).and_then(of)).collect()
}

/// The columns whose NULL makes a condition other than true.
fn rejected(condition: &Expr, columns: &mut Vec<Column>) {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            rejected(left, columns);
            rejected(right, columns);
        }
        Expr::IsNotNull(inner) | Expr::IsTrue(inner) | Expr::IsFalse(inner) => strict(inner, columns),
        other => strict(other, columns),
    }
}

/// The columns whose NULL makes an expression NULL.
fn strict(expr: &Expr, columns: &mut Vec<Column>) {
    match expr {
        Expr::Column(column) => columns.push(column.clone()),
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq,
            right,
        }) => {
            strict(left, columns);
            strict(right, columns);
        }
        Expr::Not(inner) => strict(inner, columns),
        Expr::InList(list) => strict(&list.expr, columns),
        Expr::ScalarFunction(call) => {
            let inner = call.func.inner();
            let named = |function: &SparkFunction| STRICT.contains(&function.name());
            if inner.downcast_ref::<Cast>().is_some()
                || inner.downcast_ref::<SparkFunction>().is_some_and(named)
            {
                call.args.iter().for_each(|arg| strict(arg, columns));
            }
        }
        _ => {}
    }
}
