//! Calls: their arguments. Of aggregates: where they may stand, WITHIN GROUP as arguments, `grouping`.

use datafusion::sql::sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, GroupByExpr, OrderByExpr, Value,
};

use super::refusal::unsupported;
use super::star::counts_rows;
use super::{Rewriter, build};
use crate::model::{Error, Result};
use crate::query::except::{as_written, taken_apart};

/// Functions whose first argument of three is a unit, written without quotes.
const UNIT_FIRST: [&str; 6] =
    ["timestampdiff", "timestampadd", "datediff", "dateadd", "date_diff", "date_add"];

/// The units. They are keywords: a column of such a name is none here.
const UNITS: [&str; 11] = [
    "YEAR",
    "QUARTER",
    "MONTH",
    "WEEK",
    "DAY",
    "DAYOFYEAR",
    "HOUR",
    "MINUTE",
    "SECOND",
    "MILLISECOND",
    "MICROSECOND",
];

/// A place where no aggregate may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Where,
    GroupBy,
    Aggregate,
}

impl Rewriter<'_> {
    /// Rewrites the arguments of a call.
    ///
    /// # Errors
    /// Those of expressions; an aggregate may not stand here.
    pub(super) fn arguments(&mut self, name: &str, list: &mut FunctionArgumentList) -> Result<()> {
        if UNIT_FIRST.contains(&name)
            && let [FunctionArg::Unnamed(FunctionArgExpr::Expr(first)), _, _] = list.args.as_mut_slice()
            && let Expr::Identifier(unit) = first
            && unit.quote_style.is_none()
            && UNITS.iter().any(|name| unit.value.eq_ignore_ascii_case(name))
        {
            *first = build::text(unit.value.to_uppercase());
        }
        let is_aggregate = self.session.is_aggregate(name);
        if is_aggregate {
            self.may_stand_here(name)?;
        }
        let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        if counts_rows(name, &list.args, distinct) {
            return Ok(());
        }
        if let ("count", [FunctionArg::Unnamed(star @ FunctionArgExpr::QualifiedWildcard(of))]) =
            (name, list.args.as_slice())
            && !taken_apart(of).0.is_empty()
        {
            let star = as_written(&star.to_string());
            return Err(Error::config(format!("count({star}) is not allowed")).hint(
                "write count(*), or count(column, …) for rows in which each of the columns has a value",
            ));
        }
        let args = std::mem::take(&mut list.args);
        list.args = if is_aggregate {
            self.without_aggregates(Place::Aggregate, |own| own.each_argument(args))?
        } else {
            self.each_argument(args)?
        };
        Ok(())
    }

    /// The arguments, and the columns that stars among them stand for.
    fn each_argument(&mut self, args: Vec<FunctionArg>) -> Result<Vec<FunctionArg>> {
        let argument = |expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
        let mut rewritten = Vec::with_capacity(args.len());
        for arg in args {
            if let Some(columns) = self.star_of(&arg)? {
                rewritten.extend(columns.into_iter().map(|(expr, _)| argument(expr)));
                continue;
            }
            rewritten.push(match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Lambda(lambda))) => {
                    argument(self.lambda(lambda)?)
                }
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => argument(self.expr(expr)?),
                other => other,
            });
        }
        Ok(rewritten)
    }

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
            Some(Place::GroupBy) => {
                Err(Error::config(format!("GROUP_BY_AGGREGATE: GROUP BY has the aggregate {name}()")))
            }
            Some(Place::Aggregate) => Err(Error::config(format!(
                "NESTED_AGGREGATE_FUNCTION: the aggregate {name}() is an argument of another aggregate"
            ))
            .hint("aggregate in a subquery of FROM first")),
        }
    }
}

/// The keys of a GROUP BY that has ROLLUP, CUBE or GROUPING SETS, each once.
pub(super) fn grouping_keys(group_by: &GroupByExpr) -> Option<Vec<Expr>> {
    let GroupByExpr::Expressions(exprs, modifiers) = group_by else { return None };
    let mut keys: Vec<Expr> = Vec::new();
    let mut several = !modifiers.is_empty();
    for expr in exprs {
        let sets = match expr {
            Expr::Rollup(sets) | Expr::Cube(sets) | Expr::GroupingSets(sets) => {
                several = true;
                sets.concat()
            }
            key => vec![key.clone()],
        };
        for key in sets {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    several.then_some(keys)
}

impl Rewriter<'_> {
    /// `grouping(key)` as TINYINT, `grouping_id(keys)` as BIGINT: a bit for each key that a row's set leaves out.
    ///
    /// # Errors
    /// `Config`: GROUP BY has one set of keys.
    pub(super) fn grouping(&mut self, name: &str, args: FunctionArguments) -> Result<Expr> {
        let Some(keys) = self.grouping_keys.clone() else {
            return Err(Error::config(format!(
                "UNSUPPORTED_GROUPING_EXPRESSION: {name}() needs GROUP BY with ROLLUP, CUBE or GROUPING SETS"
            )));
        };
        let given = match args {
            FunctionArguments::List(list) => list.args,
            _ => Vec::new(),
        };
        let of = |arg: FunctionArg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr),
            other => Err(unsupported(&format!("{name}({other})"))),
        };
        let mut args = given.into_iter().map(of).collect::<Result<Vec<_>>>()?;
        if name == "grouping" && args.len() != 1 {
            return Err(Error::config("WRONG_NUM_ARGS: grouping takes one key of GROUP BY"));
        }
        if args.is_empty() {
            args = keys;
        }
        let call = build::call("grouping", self.exprs(args)?);
        let kind = if name == "grouping" { "TINYINT" } else { "BIGINT" };
        self.call("cast", vec![call, build::text(kind)])
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
pub(super) fn order_of(order: &OrderByExpr) -> (Expr, bool, bool) {
    let descending = order.options.asc == Some(false);
    (order.expr.clone(), descending, order.options.nulls_first.unwrap_or(!descending))
}
