//! Which filters lie below a watermark and below an aggregation: those that Spark's optimizer puts there.
//!
//! A row that is taken away below a watermark does not raise it, so the place of a filter decides which rows are late. The
//! optimizer moves filters inside a fragment, which is after the plan was cut; what it does not do is done here, before:
//!
//! - a condition on keys of a GROUP BY or a DISTINCT goes below it;
//! - a condition with a subquery, which becomes a join, goes below the watermark;
//! - rows whose NULL a join does not match, or whose collection has nothing to explode, are taken away at once.
//!
//! A condition that may fail stays where it is: further down it would see rows that others take away.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Aggregate, Distinct, Expr, Join, JoinType, LogicalPlan, Subquery, Union};

use super::event_time::{EventTimeWatermark, is_session, read_watermarks};
use super::logical::{column, filtered};
use super::nulls;
use super::operator_plan::field_of;
use crate::query::check::reads_stream;
use crate::query::clock::Now;
use crate::query::coerce::failing::may_fail;
use crate::query::session::Session;

/// An analysed plan with its filters where Spark has them.
///
/// # Errors
/// If the plan can't be built.
pub(in crate::query) fn placed(session: &Session, plan: LogicalPlan) -> Result<LogicalPlan> {
    let has_watermark = !read_watermarks(&plan)?.is_empty();
    moved(if has_watermark { nulls::left_out(session, plan, &[])? } else { plan })
}

/// Moves the conditions of every filter as far down as they go.
fn moved(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !reads_stream(&plan) {
        return Ok(plan);
    }
    let plan = match plan {
        LogicalPlan::Filter(filter) => {
            let mut input = Arc::unwrap_or_clone(filter.input);
            let mut kept = Vec::new();
            for condition in split_conjunction_owned(filter.predicate) {
                let with = below(&condition, &input)?;
                // A plain one is asked above too: the state may have groups of before the query had it.
                if with.is_none() || !has_subquery(&condition)? {
                    kept.push(condition);
                }
                input = with.unwrap_or(input);
            }
            match conjunction(kept) {
                Some(kept) => filtered(kept, input)?,
                None => return moved(input),
            }
        }
        other => other,
    };
    Ok(plan.map_children(|child| Ok(Transformed::yes(moved(child)?)))?.data)
}

/// The plan with a condition on its columns below its uppermost aggregation, or below the watermark if it has a subquery; `None`
/// if it has to stay above.
fn below(condition: &Expr, plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    let columns = references(condition)?;
    if !reads_stream(plan) || is_random(condition) {
        return Ok(None);
    }
    match plan {
        LogicalPlan::Projection(projection) => {
            let of = |n: usize| Some(projection.expr[n].clone().unalias_nested().data);
            if projection.expr.iter().any(is_random) {
                return Ok(None);
            }
            through(condition, &projection.schema, &projection.input, &of)?
                .map(|input| plan.with_new_exprs(projection.expr.clone(), vec![input]))
                .transpose()
        }
        LogicalPlan::SubqueryAlias(alias) => {
            through(condition, &alias.schema, &alias.input, &|n| column(&alias.input, n))?
                .map(|input| plan.with_new_exprs(Vec::new(), vec![input]))
                .transpose()
        }
        LogicalPlan::Filter(filter) => Ok(below(condition, &filter.input)?.map(|input| {
            let mut filter = filter.clone();
            filter.input = Arc::new(input);
            LogicalPlan::Filter(filter)
        })),
        LogicalPlan::Unnest(unnest) => {
            let of = |n: usize| column(&unnest.input, nulls::kept_by(unnest, n)?);
            Ok(through(condition, &unnest.schema, &unnest.input, &of)?.map(|input| {
                let mut unnest = unnest.clone();
                unnest.input = Arc::new(input);
                LogicalPlan::Unnest(unnest)
            }))
        }
        LogicalPlan::Union(union) => in_branches(condition, union),
        LogicalPlan::Join(join) => on_side(condition, &columns, join),
        LogicalPlan::Extension(extension) if extension.node.as_any().is::<EventTimeWatermark>() => {
            let held = extension.node.prevent_predicate_push_down_columns();
            let [input] = extension.node.inputs()[..] else { return Ok(None) };
            if columns.iter().any(|column| held.contains(&column.name)) {
                return Ok(None);
            }
            let with = match below(condition, input)? {
                // The optimizer moves neither of them.
                None if has_subquery(condition)? || condition.is_volatile() => {
                    onto(condition.clone(), input)?
                }
                with => with,
            };
            with.map(|input| plan.with_new_exprs(Vec::new(), vec![input])).transpose()
        }
        // As in Spark, a condition on no column stays above the groups.
        LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_) if columns.is_empty() => Ok(None),
        LogicalPlan::Aggregate(aggregate) => below_groups(condition, aggregate),
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let of = |n: usize| column(input, n).filter(|_| !is_session(input.schema().field(n)));
            let Some(inner) = replaced(condition, input.schema(), &of)? else { return Ok(None) };
            let with = onto(inner, input)?;
            Ok(with.map(|input| LogicalPlan::Distinct(Distinct::All(Arc::new(input)))))
        }
        _ => Ok(None),
    }
}

/// As [`below`], in every branch of a UNION, if it goes down in one of them.
fn in_branches(condition: &Expr, union: &Union) -> Result<Option<LogicalPlan>> {
    let mut union = union.clone();
    let mut any = false;
    for branch in &mut union.inputs {
        let input = Arc::clone(branch);
        let of = |n: usize| column(&input, n);
        let Some(inner) = replaced(condition, &union.schema, &of)? else { return Ok(None) };
        let mut with = below(&inner, &input)?;
        any |= with.is_some();
        if with.is_none() {
            with = onto(inner, &input)?;
        }
        let Some(with) = with else { return Ok(None) };
        *branch = Arc::new(with);
    }
    Ok(any.then_some(LogicalPlan::Union(union)))
}

/// As [`below`], on the side of a join that has all `columns` of the condition and whose rows the join only takes away.
fn on_side(condition: &Expr, columns: &[Column], join: &Join) -> Result<Option<LogicalPlan>> {
    let all_of = |side: &LogicalPlan| columns.iter().all(|column| side.schema().has_column(column));
    let mut join = join.clone();
    let side = match join.join_type {
        JoinType::Inner | JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti if all_of(&join.left) => {
            &mut join.left
        }
        JoinType::Inner | JoinType::Right | JoinType::RightSemi | JoinType::RightAnti
            if all_of(&join.right) =>
        {
            &mut join.right
        }
        _ => return Ok(None),
    };
    let Some(with) = below(condition, side)? else { return Ok(None) };
    *side = Arc::new(with);
    Ok(Some(LogicalPlan::Join(join)))
}

/// A GROUP BY over the rows for which a condition on its keys is true; `None` if it reads anything else.
fn below_groups(condition: &Expr, aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
    if aggregate.aggr_expr.iter().any(is_random) {
        return Ok(None);
    }
    // As in the plan's columns, a key that is named twice is one.
    let mut seen = HashSet::new();
    let keys: Vec<&Expr> = aggregate.group_expr.iter().filter(|key| seen.insert(*key)).collect();
    if matches!(keys[..], [Expr::GroupingSet(_)]) {
        return Ok(None);
    }
    // A row's own span is not the session that it becomes a part of.
    let of = |n: usize| {
        let key = keys.get(n).copied()?;
        let is_session = field_of(key, &aggregate.input).is_ok_and(|field| is_session(&field));
        (!is_session).then(|| key.clone().unalias_nested().data)
    };
    let Some(inner) = replaced(condition, &aggregate.schema, &of)? else { return Ok(None) };
    Ok(onto(inner, &aggregate.input)?.map(|input| {
        let mut aggregate = aggregate.clone();
        aggregate.input = Arc::new(input);
        LogicalPlan::Aggregate(aggregate)
    }))
}

/// The input of a node with a condition on the node's columns in it, if each of them is `of` the input.
fn through(
    condition: &Expr,
    schema: &DFSchema,
    input: &LogicalPlan,
    of: &dyn Fn(usize) -> Option<Expr>,
) -> Result<Option<LogicalPlan>> {
    match replaced(condition, schema, of)? {
        Some(inner) => below(&inner, input),
        None => Ok(None),
    }
}

/// A plan's rows for which a condition is true, unless it may fail.
fn onto(condition: Expr, input: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    if is_random(&condition) || may_fail(&condition, input.schema())? {
        return Ok(None);
    }
    filtered(condition, input.clone()).map(Some)
}

/// Whether an expression may have another value each time that it is asked. The clock has one for the whole micro-batch.
fn is_random(expr: &Expr) -> bool {
    let is_clock = |expr: &Expr| match expr {
        Expr::ScalarFunction(call) => call.func.inner().downcast_ref::<Now>().is_some(),
        _ => false,
    };
    let random = expr.exists(|expr| Ok(expr.is_volatile_node() && !is_clock(expr)));
    random.expect("the closure never fails")
}

/// The subquery that an expression itself is.
fn subquery(expr: &Expr) -> Option<&Subquery> {
    match expr {
        Expr::Exists(exists) => Some(&exists.subquery),
        Expr::InSubquery(inside) => Some(&inside.subquery),
        Expr::SetComparison(comparison) => Some(&comparison.subquery),
        Expr::ScalarSubquery(subquery) => Some(subquery),
        _ => None,
    }
}

fn has_subquery(expr: &Expr) -> Result<bool> {
    expr.exists(|node| Ok(subquery(node).is_some()))
}

/// The columns that a condition reads, those too that its subqueries read of the row.
fn references(condition: &Expr) -> Result<Vec<Column>> {
    let mut columns = Vec::new();
    condition.apply(|node| {
        if let Expr::Column(column) = node {
            columns.push(column.clone());
        }
        for outer in subquery(node).iter().flat_map(|subquery| &subquery.outer_ref_columns) {
            if let Expr::OuterReferenceColumn(_, column) = outer {
                columns.push(column.clone());
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(columns)
}

/// A condition on the columns of `schema` with what each of them is `of` in their place; `None` if one of them is nothing.
fn replaced(condition: &Expr, schema: &DFSchema, of: &dyn Fn(usize) -> Option<Expr>) -> Result<Option<Expr>> {
    let value = |column: &Column| schema.maybe_index_of_column(column).and_then(of);
    let mut complete = true;
    let replaced = condition.clone().transform_up(|node| {
        if let Expr::Column(column) = &node {
            let value = value(column);
            complete &= value.is_some();
            return Ok(value.map_or(Transformed::no(node), Transformed::yes));
        }
        let Some(inner) = subquery(&node) else { return Ok(Transformed::no(node)) };
        let Some(inner) = of_row(inner, &value)? else {
            complete = false;
            return Ok(Transformed::no(node));
        };
        Ok(Transformed::yes(match node {
            Expr::Exists(mut exists) => {
                exists.subquery = inner;
                Expr::Exists(exists)
            }
            Expr::InSubquery(mut inside) => {
                inside.subquery = inner;
                Expr::InSubquery(inside)
            }
            Expr::SetComparison(mut comparison) => {
                comparison.subquery = inner;
                Expr::SetComparison(comparison)
            }
            _ => Expr::ScalarSubquery(inner),
        }))
    })?;
    Ok(complete.then_some(replaced.data))
}

/// A subquery over other columns of the row; `None` if it reads them anywhere but in its conditions, or if they are no columns
/// there.
fn of_row(subquery: &Subquery, value: &dyn Fn(&Column) -> Option<Expr>) -> Result<Option<Subquery>> {
    if subquery.outer_ref_columns.is_empty() {
        return Ok(Some(subquery.clone()));
    }
    let mut complete = true;
    let mut swapped = |expr: Expr| {
        expr.transform(|node| {
            let Expr::OuterReferenceColumn(field, column) = &node else {
                // Those of a subquery of the subquery are not told apart.
                complete &= self::subquery(&node).is_none();
                return Ok(Transformed::no(node));
            };
            let Some(Expr::Column(inner)) = value(column) else {
                complete = false;
                return Ok(Transformed::no(node));
            };
            Ok(Transformed::yes(Expr::OuterReferenceColumn(Arc::clone(field), inner)))
        })
    };
    let mut of_row = subquery.clone();
    let mut elsewhere = false;
    let plan = Arc::unwrap_or_clone(of_row.subquery).transform_up(|node| {
        if matches!(node, LogicalPlan::Filter(_) | LogicalPlan::Join(_)) {
            return node.map_expressions(&mut swapped);
        }
        for expr in node.expressions() {
            elsewhere |= expr.exists(|node| Ok(matches!(node, Expr::OuterReferenceColumn(..))))?;
        }
        Ok(Transformed::no(node))
    })?;
    of_row.subquery = Arc::new(plan.data);
    let columns = of_row.outer_ref_columns.into_iter().map(|column| Ok(swapped(column)?.data));
    of_row.outer_ref_columns = columns.collect::<Result<_>>()?;
    Ok((complete && !elsewhere).then_some(of_row))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

    use super::*;
    use crate::model::{Marks, Watermark};
    use crate::query::{Conf, Definition, Input, Query, Relation};

    /// The plan above the first operator, and what the lanes run.
    fn plan(sql: &str) -> (String, String) {
        let schema = Schema::new(vec![
            Field::new("k", DataType::Utf8, true),
            Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
            Field::new("xs", DataType::List(Arc::new(Field::new("element", DataType::Int32, true))), true),
        ]);
        let relation = |name: &str, schema| Relation { name: name.into(), schema: Arc::new(schema) };
        let watermark = Watermark {
            event_time: "ts".into(),
            delay_threshold: "10 seconds".into(),
            max_future_skew: None,
            idle_timeout: None,
        };
        let mut definition = Definition::of_stream(relation("input", schema), sql, Conf::default());
        definition.inputs = vec![Input {
            marks: Marks { watermark: Some(watermark), ..Marks::default() },
            ..definition.inputs.remove(0)
        }];
        let table = Schema::new(vec![Field::new("m", DataType::Utf8, true)]);
        definition.tables = vec![relation("t", table)];
        let text = Query::plan(&definition).unwrap().explain();
        let (above, lanes) = text.split_once("operator 1").unwrap_or_else(|| panic!("{text}"));
        (above.to_owned(), lanes.to_owned())
    }

    fn below_watermark(lanes: &str) -> &str {
        lanes.split_once("Watermark on ts").unwrap_or_else(|| panic!("{lanes}")).1
    }

    const GROUPS: &str = "SELECT window(ts, '10 minutes') AS w, k, count(*) AS n FROM input GROUP BY 1, 2";

    #[test]
    fn a_condition_on_keys_goes_below_the_groups_and_the_watermark() {
        let (above, lanes) = plan(&format!("SELECT n FROM ({GROUPS}) WHERE k = 'a' AND n > 1"));
        assert!(above.contains("= a"), "groups of another key that the state has: {above}");
        assert!(below_watermark(&lanes).contains("= a"), "{lanes}");
        let (_, lanes) = plan("SELECT k FROM (SELECT DISTINCT k, ts FROM input) WHERE upper(k) = 'A'");
        assert!(below_watermark(&lanes).contains("FilterExec"), "{lanes}");
    }

    #[test]
    fn the_time_of_the_batch_in_a_view_or_in_a_condition_holds_nothing_up() {
        let view = GROUPS.replace(" FROM", ", current_timestamp() AS loaded_at FROM");
        let (_, lanes) = plan(&format!("SELECT n, loaded_at FROM ({view}) WHERE k = 'a'"));
        assert!(below_watermark(&lanes).contains("= a"), "{lanes}");
        let (_, lanes) = plan(&format!("SELECT n FROM ({GROUPS}) WHERE k > CAST(current_date() AS STRING)"));
        assert!(below_watermark(&lanes).contains("current_date"), "{lanes}");
        let (_, lanes) = plan(&format!("SELECT n FROM ({view}) WHERE loaded_at > w.end"));
        assert!(!below_watermark(&lanes).contains("current_timestamp"), "it reads the event time: {lanes}");
    }

    #[test]
    fn a_subquery_on_no_column_of_the_row_is_asked_below_the_watermark_but_not_below_groups() {
        let (_, lanes) = plan(
            "SELECT ts, count(*) AS n FROM input WHERE EXISTS (SELECT 1 FROM t WHERE m = 'on') GROUP BY ts",
        );
        assert!(below_watermark(&lanes).contains("Join"), "{lanes}");
        let (above, lanes) =
            plan(&format!("SELECT n FROM ({GROUPS}) WHERE EXISTS (SELECT 1 FROM t WHERE m = 'on')"));
        assert!(above.contains("Join") && !lanes.contains("Join"), "{above}\n{lanes}");
    }

    #[test]
    fn a_condition_on_a_session_is_asked_of_whole_sessions() {
        let sessions =
            "SELECT session_window(ts, '10 minutes') AS w, k, count(*) AS n FROM input GROUP BY 1, 2";
        let filtered = format!("SELECT n FROM ({sessions}) WHERE w.end > TIMESTAMP'2024-01-01 00:00:00'");
        let (above, lanes) = plan(&filtered);
        assert!(above.contains("FilterExec") && !lanes.contains("FilterExec"), "{above}\n{lanes}");
    }

    #[test]
    fn a_condition_that_may_fail_stays_above_the_groups() {
        let (above, lanes) = plan(&format!("SELECT n FROM ({GROUPS}) WHERE CAST(k AS INT) = 1"));
        assert!(above.contains("FilterExec") && !lanes.contains("FilterExec"), "{above}\n{lanes}");
    }

    #[test]
    fn a_subquery_and_what_a_join_does_not_match_are_asked_below_the_watermark() {
        let (_, lanes) = plan(&format!("SELECT n FROM ({GROUPS}) WHERE k IN (SELECT m FROM t)"));
        assert!(below_watermark(&lanes).contains("HashJoinExec"), "{lanes}");
        for from in [
            "input i WHERE NOT EXISTS (SELECT 1 FROM t WHERE t.m = i.k)",
            "input WHERE k NOT IN (SELECT m FROM t)",
        ] {
            let (_, lanes) = plan(&format!("SELECT ts, count(*) AS n FROM {from} GROUP BY ts"));
            assert!(below_watermark(&lanes).contains("HashJoinExec"), "{lanes}");
        }
        for from in ["input i JOIN t ON i.k > t.m", "input i LEFT JOIN t ON i.k = t.m WHERE t.m <> 'b'"] {
            let (_, lanes) = plan(&format!("SELECT ts, count(*) AS n FROM {from} GROUP BY ts"));
            assert!(below_watermark(&lanes).contains("IS NOT NULL"), "{lanes}");
        }
        let outer = "SELECT ts, count(*) AS n FROM input i LEFT JOIN t ON i.k = t.m GROUP BY ts";
        assert!(!plan(outer).1.contains("IS NOT NULL"));
    }

    #[test]
    fn rows_with_nothing_to_explode_are_left_out_below_the_watermark() {
        let exploded = |of: &str| {
            let from = format!("SELECT ts, {of}(xs) AS x FROM input");
            plan(&format!("SELECT ts, x, count(*) AS n FROM ({from}) GROUP BY ts, x")).1
        };
        assert!(below_watermark(&exploded("explode")).contains("size"));
        assert!(!below_watermark(&exploded("explode_outer")).contains("size"));
    }
}
