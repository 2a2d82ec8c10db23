//! Calls of aggregates: WITHIN GROUP as arguments, and the names that Spark gives to calls.

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, OrderByExpr, Value,
};

use super::Rewriter;
use super::expression::unsupported;
use super::name::{arguments, print};
use crate::model::{Error, Result};

/// A place where no aggregate may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Where,
    Aggregate,
}

impl Rewriter<'_> {
    /// Rewrites something in which no aggregate may stand.
    ///
    /// # Errors
    /// Those of `rewrite`.
    pub(super) fn without_aggregates<T>(
        &mut self,
        place: Place,
        rewrite: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let outer = self.no_aggregate.replace(place);
        let rewritten = rewrite(self);
        self.no_aggregate = outer;
        rewritten
    }

    /// Refuses an aggregate where it may not stand.
    ///
    /// # Errors
    /// `Config`, with Spark's class.
    pub(super) fn may_stand_here(&self, name: &str) -> Result<()> {
        match self.no_aggregate {
            None => Ok(()),
            Some(Place::Where) => {
                Err(Error::config(format!("INVALID_WHERE_CONDITION: WHERE has the aggregate {name}()"))
                    .hint("test it in HAVING"))
            }
            Some(Place::Aggregate) => Err(Error::config(format!(
                "NESTED_AGGREGATE_FUNCTION: the aggregate {name}() is an argument of another aggregate"
            ))
            .hint("aggregate in a subquery of FROM first")),
        }
    }
}

/// Moves `WITHIN GROUP (ORDER BY …)` into the arguments, as the aggregates of this name take it, and refuses what Spark
/// does not have inside a call.
///
/// # Errors
/// `Config`.
pub(super) fn order_into_arguments(name: &str, function: &mut Function) -> Result<()> {
    let FunctionArguments::List(list) = &mut function.args else { return Ok(()) };
    if let Some(clause) = list.clauses.first() {
        return Err(unsupported(&format!("{clause} in a call of {name}")));
    }
    let orders = std::mem::take(&mut function.within_group);
    let [order] = orders.as_slice() else {
        if orders.is_empty() {
            return Ok(());
        }
        return Err(Error::config(format!(
            "WITHIN GROUP of {name} takes one ORDER BY, not {}",
            orders.len()
        )));
    };
    let argument = |expr: Expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
    let flag = |flag: bool| argument(Expr::Value(Value::Boolean(flag).with_empty_span()));
    let (value, descending, nulls_first) = order_of(order);
    match (name, list.args.len()) {
        ("percentile_cont" | "percentile_disc", 1) => {
            list.args.insert(0, argument(value));
            list.args.push(flag(descending));
        }
        ("mode", 0) => list.args = vec![argument(value), flag(true), flag(descending)],
        ("listagg" | "string_agg", 1 | 2) => {
            if list.args.len() == 1 {
                list.args.push(argument(Expr::Value(Value::Null.with_empty_span())));
            }
            list.args.extend([argument(value), flag(descending), flag(nulls_first)]);
        }
        _ => {
            return Err(unsupported(&format!(
                "WITHIN GROUP behind {name} with {} arguments",
                list.args.len()
            )));
        }
    }
    Ok(())
}

/// What is ordered by; whether descending; whether nulls come first.
fn order_of(order: &OrderByExpr) -> (Expr, bool, bool) {
    let descending = order.options.asc == Some(false);
    (order.expr.clone(), descending, order.options.nulls_first.unwrap_or(!descending))
}

/// The name of a call: some print arguments that were not written, or leave out some that were.
pub(super) fn name_of(function: &Function) -> String {
    let written = function.name.to_string();
    let name = written.to_lowercase();
    let args = match &function.args {
        FunctionArguments::List(list) => list.args.as_slice(),
        _ => &[],
    };
    let text = arguments(&function.args);
    let first = || args.first().map(print_one).unwrap_or_default();
    let mut call = match (name.as_str(), args.len()) {
        ("first" | "last" | "first_value" | "last_value" | "any_value" | "approx_count_distinct", 2) => {
            format!("{written}({})", first())
        }
        ("array_agg", _) => format!("collect_list({text})"),
        ("sort_array", 1) => format!("{written}({text}, true)"),
        ("sqrt", _) => format!("SQRT({text})"),
        ("percentile", 2) => format!("{written}({text}, 1)"),
        ("approx_percentile" | "percentile_approx", 2) => format!("{written}({text}, 10000)"),
        ("listagg" | "string_agg", 1) => format!("listagg({text}, NULL)"),
        ("string_agg", _) => format!("listagg({text})"),
        ("mode", 2 | 3) => format!("mode() WITHIN GROUP (ORDER BY {} DESC)", first()),
        _ => format!("{written}({text})"),
    };
    if let [order] = function.within_group.as_slice() {
        let (value, descending, nulls_first) = order_of(order);
        let (value, ends) = (print(&value), if nulls_first { "NULLS FIRST" } else { "NULLS LAST" });
        let direction = if descending { "DESC" } else { "ASC" };
        let order = match name.as_str() {
            "listagg" | "string_agg" => format!("{value} {direction} {ends}"),
            // Spark keeps the order reversed here, and prints what it keeps.
            "mode" if descending => value,
            "mode" => format!("{value} DESC"),
            _ if descending => format!("{value} DESC"),
            _ => value,
        };
        call.push_str(&format!(" WITHIN GROUP (ORDER BY {order})"));
    }
    if let Some(condition) = &function.filter {
        call.push_str(&format!(" FILTER (WHERE {})", print(condition)));
    }
    call
}

fn print_one(arg: &FunctionArg) -> String {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => print(expr),
        other => other.to_string(),
    }
}
