//! What a query may do to a stream, and in which output mode: a walk over the plan, before it is cut and optimised.
//!
//! The rules are Spark's (`UnsupportedOperationChecker`), so that a plan which passes has the results that Spark's has.

use std::collections::HashSet;

use arrow::datatypes::{Field, FieldRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, ExprSchemable, FetchType, JoinType, LogicalPlan, SkipType,
};

use super::generate::computes_event_time;
use super::slot::{Of, Slot};
use super::stateful::dedupe_node::Dedupe;
use super::stateful::event_time::{is_event_time, is_session};
use super::stateful::grouping_sets::GroupingSets;
use crate::model::{Error, OutputMode, Result};

/// Refuses a plan that Spark refuses on a stream, or that is not supported.
///
/// # Errors
/// `Config`, with what the query does and what to write instead.
pub(super) fn of_stream(plan: &LogicalPlan, mode: OutputMode) -> Result<()> {
    if !reads_stream(plan) {
        return Err(Error::config("WRITE_STREAM_NOT_ALLOWED: sql does not read the stream")
            .hint("name input in FROM"));
    }
    if mode == OutputMode::Complete && count(plan, &is_aggregation) == 0 {
        return Err(Error::config("STREAMING_OUTPUT_MODE.UNSUPPORTED_OPERATION: outputMode complete needs an aggregation, and sql has none")
            .hint("use outputMode append"));
    }
    node(plan, mode)?;
    if mode != OutputMode::Append {
        chained(plan)?;
    }
    Ok(())
}

/// Refuses stateful operators behind an aggregation whose rows may still change.
fn chained(plan: &LogicalPlan) -> Result<()> {
    let below = plan.inputs().into_iter().any(|input| count(input, &is_aggregation) > 0);
    if below && (is_aggregation(plan) || is_dedupe_by_time(plan)) {
        return Err(Error::config(
            "sql has a stateful operator behind an aggregation, which outputMode append alone allows: in the other modes the aggregation gives rows that change later",
        )
        .hint("use outputMode append with a watermark, or split the query in two"));
    }
    plan.inputs().into_iter().try_for_each(chained)
}

pub(super) fn count(plan: &LogicalPlan, is: &dyn Fn(&LogicalPlan) -> bool) -> usize {
    usize::from(is(plan)) + plan.inputs().into_iter().map(|input| count(input, is)).sum::<usize>()
}

pub(super) fn is_aggregation(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(Distinct::All(_))) && reads_stream(plan)
}

/// Whether it is a dedupe that forgets keys: one that keeps all gives the same rows whatever comes in which batch.
fn is_dedupe_by_time(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Extension(extension) = plan else { return false };
    let Some(dedupe) = extension.node.as_any().downcast_ref::<Dedupe>() else { return false };
    plan.schema().fields().iter().any(|field| is_event_time(field)) && dedupe.forgets()
}

fn node(plan: &LogicalPlan, mode: OutputMode) -> Result<()> {
    if !reads_stream(plan) {
        return Ok(());
    }
    match plan {
        LogicalPlan::Aggregate(aggregate) => {
            let keys = keys(aggregate).map_err(|e| super::session::refused(&e))?;
            if keys.iter().any(|(key, left_out)| *left_out && is_session(key)) {
                return Err(unsupported("groups by a session window that some grouping sets leave out"));
            }
            let keys = keys.iter().filter(|(_, left_out)| !left_out).map(|(key, _)| key.as_ref());
            grouped(keys, mode, &aggregate.input)?;
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            grouped(input.schema().fields().iter().map(AsRef::as_ref), mode, input)?;
        }
        LogicalPlan::Distinct(Distinct::On(_)) => return Err(unsupported("has DISTINCT ON")),
        LogicalPlan::Window(_) => {
            return Err(Error::config(
                "NON_TIME_WINDOW_NOT_SUPPORTED_IN_STREAMING: sql uses window functions over the stream",
            )
            .hint("group by window(…) instead"));
        }
        LogicalPlan::Sort(_) if mode != OutputMode::Complete || count(plan, &is_aggregation) == 0 => {
            plan.inputs().into_iter().try_for_each(|input| node(input, mode))?;
            return Err(Error::config("sql sorts the stream, whose rows have no end").hint(
                "leave ORDER BY out: a table has no order of rows; it is allowed over an aggregation in outputMode complete",
            ));
        }
        LogicalPlan::Limit(limit) => {
            let (skip, fetch) = (limit.get_skip_type(), limit.get_fetch_type());
            match (skip, fetch) {
                (Ok(SkipType::Literal(0)), Ok(FetchType::Literal(Some(_)))) => {}
                _ => return Err(unsupported("has OFFSET, or a LIMIT that is not a number, over the stream")),
            }
            if mode == OutputMode::Update {
                return Err(Error::config("sql has LIMIT, which outputMode update does not allow"));
            }
        }
        LogicalPlan::Join(join) => {
            let (left, right) = (reads_stream(&join.left), reads_stream(&join.right));
            if left && right {
                return Err(Error::config(
                    "sql joins the stream with a stream, which is not supported: stream-stream joins need state of both sides",
                )
                .hint("write one of them to a table and join that table, named in tables"));
            }
            let kept = match join.join_type {
                JoinType::Inner => true,
                JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => left,
                JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => right,
                JoinType::Full => false,
            };
            if !kept {
                return Err(Error::config(format!(
                    "sql has a {} join that keeps rows of the static table: when it has no match in a batch, it may have one in the next",
                    join.join_type
                ))
                .hint("put the stream on the side whose rows are kept"));
            }
        }
        LogicalPlan::Union(union) if !union.inputs.iter().all(|input| reads_stream(input)) => {
            return Err(Error::config(
                "sql has a UNION of the stream with rows that are not from it: every micro-batch would write those again",
            )
            .hint("write them once, by other means, or join them to the stream"));
        }
        LogicalPlan::RecursiveQuery(_) => return Err(unsupported("is recursive")),
        _ => {}
    }
    subqueries(plan)?;
    plan.inputs().into_iter().try_for_each(|input| node(input, mode))
}

/// The keys of an aggregation, and whether some of its grouping sets leave each out.
fn keys(aggregate: &Aggregate) -> datafusion::common::Result<Vec<(FieldRef, bool)>> {
    let input = aggregate.input.schema();
    match GroupingSets::of(&aggregate.group_expr)? {
        Some(sets) => sets.fields(input),
        None => {
            // A key that is named twice is one.
            let mut seen = HashSet::new();
            let keys = aggregate.group_expr.iter().filter(|key| seen.insert(*key));
            keys.map(|key| Ok((key.to_field(input)?.1, false))).collect()
        }
    }
}

/// What an aggregation needs of its keys.
fn grouped<'a>(keys: impl Iterator<Item = &'a Field>, mode: OutputMode, input: &LogicalPlan) -> Result<()> {
    let keys: Vec<_> = keys.collect();
    if keys.iter().any(|key| is_session(key)) {
        if mode == OutputMode::Update {
            return Err(Error::config("STREAMING_OUTPUT_MODE.UNSUPPORTED_OPERATION: outputMode update is not supported for session windows")
                .hint("use outputMode append with a watermark"));
        }
        if keys.len() == 1 {
            return Err(Error::config(
                "sql groups the stream by a session window alone: sessions are of a key",
            )
            .hint("group by session_window(…) and a key"));
        }
    }
    let has_session = keys.iter().any(|key| is_session(key));
    // In complete mode the watermark counts for sessions only.
    if (mode != OutputMode::Complete || has_session)
        && keys.iter().filter(|key| is_event_time(key)).count() > 1
    {
        return Err(Error::config(
            "sql groups by more than one column that carries the event time: which of them closes a group is not said",
        )
        .hint("group by one of them, or make the other a plain value: CAST(ts AS STRING), or window.start"));
    }
    if mode == OutputMode::Append && !keys.iter().any(|key| is_event_time(key)) {
        let error = Error::config(
            "STREAMING_OUTPUT_MODE.UNSUPPORTED_OPERATION: outputMode append needs a watermark on one of the keys of GROUP BY: without it a group is never complete",
        );
        if computes_event_time(input).map_err(|e| super::session::refused(&e))? {
            return Err(error.hint("a CAST of the event time, as any expression over it, carries no watermark: write window(…) of the column as it is, or compute the time in a view and declare the watermark on the view"));
        }
        return Err(error.hint("declare watermark: {eventTime: …, delayThreshold: …} and group by window(eventTime, …), or use outputMode update or complete"));
    }
    Ok(())
}

/// A subquery is a join: it may not read the stream.
fn subqueries(plan: &LogicalPlan) -> Result<()> {
    let mut found = None;
    for expr in plan.expressions() {
        let walked = expr.apply(|expr| {
            let subquery = match expr {
                Expr::Exists(exists) => Some(&exists.subquery),
                Expr::InSubquery(inside) => Some(&inside.subquery),
                Expr::ScalarSubquery(subquery) => Some(subquery),
                _ => None,
            };
            if subquery.is_some_and(|subquery| reads_stream(&subquery.subquery)) {
                found = Some(Error::config(
                    "INVALID_SUBQUERY_EXPRESSION.STREAMING_QUERY: sql reads the stream in a subquery of an expression",
                ));
                return Ok(TreeNodeRecursion::Stop);
            }
            Ok(TreeNodeRecursion::Continue)
        });
        walked.map_err(|error| super::session::refused(&error))?;
    }
    found.map_or(Ok(()), Err)
}

/// Whether the rows of a plan come from a stream.
pub(super) fn reads_stream(plan: &LogicalPlan) -> bool {
    let of_stream = Slot::of_scan(plan).is_some_and(|slot| slot.of == Of::Stream);
    of_stream || plan.inputs().into_iter().any(reads_stream)
}

fn unsupported(what: &str) -> Error {
    Error::config(format!("sql {what}, which is not supported over a stream"))
}
