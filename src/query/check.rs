//! What a query may do to a stream: a walk over the plan, before it is optimised.
//!
//! Every operator that would need rows of earlier batches is refused with its reason; a plan that passes gives the
//! same rows however a stream is cut into batches.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan};

use super::slot::{Of, Slot};
use crate::model::{Error, Result};

/// Refuses a plan that needs state, or that Spark refuses on a stream.
///
/// # Errors
/// `Config`, with what the query does and what to write instead.
pub(super) fn stateless(plan: &LogicalPlan) -> Result<()> {
    if !reads_stream(plan) {
        return Err(Error::config("sql does not read the stream").hint("name input in FROM"));
    }
    node(plan)
}

fn node(plan: &LogicalPlan) -> Result<()> {
    if !reads_stream(plan) {
        return Ok(());
    }
    match plan {
        LogicalPlan::Aggregate(aggregate) => {
            let keys: Vec<String> =
                aggregate.group_expr.iter().map(|key| key.human_display().to_string()).collect();
            let what = match keys.as_slice() {
                [] => "aggregates the whole stream".to_owned(),
                keys => format!("groups the stream by {}", keys.join(", ")),
            };
            return Err(refused(&what));
        }
        LogicalPlan::Distinct(_) => return Err(refused("asks for distinct rows of the stream")),
        LogicalPlan::Window(_) => return Err(refused("uses window functions over the stream")),
        LogicalPlan::Sort(_) => {
            return Err(refused("sorts the stream").hint("leave ORDER BY out: a table has no order of rows"));
        }
        LogicalPlan::Limit(_) => return Err(refused("limits the stream's rows")),
        LogicalPlan::Join(join) => {
            let (left, right) = (reads_stream(&join.left), reads_stream(&join.right));
            if left && right {
                return Err(refused("joins the stream with a stream"));
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
        LogicalPlan::RecursiveQuery(_) => return Err(refused("is recursive")),
        _ => {}
    }
    subqueries(plan)?;
    plan.inputs().into_iter().try_for_each(node)
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
                found = Some(refused("reads the stream in a subquery of an expression"));
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
    let of_stream = match plan {
        LogicalPlan::TableScan(scan) => source_as_provider(&scan.source)
            .ok()
            .and_then(|provider| provider.downcast_ref::<Slot>().map(|slot| slot.of == Of::Stream))
            .unwrap_or_default(),
        _ => false,
    };
    of_stream || plan.inputs().into_iter().any(reads_stream)
}

fn refused(what: &str) -> Error {
    Error::config(format!("sql {what}, which needs state that is kept between micro-batches"))
        .hint("sql takes SELECT, WHERE, UNION ALL and joins with static tables")
}
