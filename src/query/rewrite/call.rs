//! Calls of aggregates: where they may stand, WITHIN GROUP as arguments, `grouping`, and the names that Spark gives to calls.

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, OrderByExpr, Value,
};

use super::expression::unsupported;
use super::name::{arguments, converted, print};
use super::{Rewriter, build};
use crate::model::{Error, Result};

/// A place where no aggregate may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Where,
    GroupBy,
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
fn order_of(order: &OrderByExpr) -> (Expr, bool, bool) {
    let descending = order.options.asc == Some(false);
    (order.expr.clone(), descending, order.options.nulls_first.unwrap_or(!descending))
}

/// The name of a call: some print arguments that were not written, or leave out some that were.
pub(super) fn name_of(function: &Function) -> String {
    // Spark prints the names of its functions in lower case, however they were written.
    let name = function.name.to_string().replace('`', "").to_lowercase();
    let args = match &function.args {
        FunctionArguments::List(list) => list.args.as_slice(),
        _ => &[],
    };
    if let Some(value) = converted(function) {
        return print(value);
    }
    let text = arguments(&function.args);
    let first = || args.first().map(print_one).unwrap_or_default();
    let scalar = scalar_name(&name, args, &text);
    let mut call = match (name.as_str(), args.len()) {
        _ if scalar.is_some() => scalar.unwrap_or_default(),
        ("first" | "last" | "first_value" | "last_value" | "any_value" | "approx_count_distinct", 2) => {
            format!("{name}({})", first())
        }
        ("array_agg", _) => format!("collect_list({text})"),
        ("sort_array", 1) => format!("{name}({text}, true)"),
        ("percentile", 2) => format!("{name}({text}, 1)"),
        ("approx_percentile" | "percentile_approx", 2) => format!("{name}({text}, 10000)"),
        ("listagg" | "string_agg", 1) => format!("listagg({text}, NULL)"),
        ("string_agg", _) => format!("listagg({text})"),
        ("mode", 2 | 3) => format!("mode() WITHIN GROUP (ORDER BY {} DESC)", first()),
        _ => format!("{name}({text})"),
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

/// Functions that Spark prints in capitals.
const CAPITALS: [&str; 34] = [
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cbrt",
    "cos",
    "cosh",
    "cot",
    "csc",
    "degrees",
    "e",
    "exp",
    "expm1",
    "hypot",
    "log",
    "log10",
    "log1p",
    "log2",
    "pi",
    "power",
    "radians",
    "regexp",
    "regexp_like",
    "rlike",
    "sec",
    "signum",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
];

/// What Spark adds to calls that leave an argument out: the function, how many arguments it has, the rest.
const ADDED: [(&str, usize, &str); 25] = [
    ("aggregate", 3, ", lambdafunction(namedlambdavariable(), namedlambdavariable())"),
    ("array_sort", 1, DEFAULT_ORDER),
    ("bround", 1, ", 0"),
    ("from_unixtime", 1, ", yyyy-MM-dd HH:mm:ss"),
    ("locate", 2, ", 1"),
    ("lpad", 2, ",  "),
    ("mask", 1, ", X, x, n, NULL"),
    ("mask", 2, ", x, n, NULL"),
    ("mask", 3, ", n, NULL"),
    ("mask", 4, ", NULL"),
    ("months_between", 2, ", true"),
    ("overlay", 3, ", -1"),
    ("position", 2, ", 1"),
    ("reduce", 3, ", lambdafunction(namedlambdavariable(), namedlambdavariable())"),
    ("regexp_extract", 2, ", 1"),
    ("regexp_extract_all", 2, ", 1"),
    ("regexp_instr", 2, ", 0"),
    ("regexp_replace", 3, ", 1"),
    ("replace", 2, ", "),
    ("round", 1, ", 0"),
    ("rpad", 2, ",  "),
    ("split", 2, ", -1"),
    ("str_to_map", 1, ", ,, :"),
    ("str_to_map", 2, ", :"),
    ("unix_timestamp", 1, ", yyyy-MM-dd HH:mm:ss"),
];

/// The order of `array_sort` as Spark prints it.
const DEFAULT_ORDER: &str = ", lambdafunction((IF(((namedlambdavariable() IS NULL) AND (namedlambdavariable() IS NULL)), 0, (IF((namedlambdavariable() IS NULL), 1, (IF((namedlambdavariable() IS NULL), -1, (IF((namedlambdavariable() < namedlambdavariable()), -1, (IF((namedlambdavariable() > namedlambdavariable()), 1, 0)))))))))), namedlambdavariable(), namedlambdavariable())";

/// The name of a call that Spark prints otherwise than as `name(arguments)`.
fn scalar_name(name: &str, args: &[FunctionArg], text: &str) -> Option<String> {
    if let Some((_, _, more)) =
        ADDED.iter().find(|(function, count, _)| *function == name && *count == args.len())
    {
        return Some(format!("{name}({text}{more})"));
    }
    let print = |at: usize| args.get(at).map(print_one).unwrap_or_default();
    Some(match (name, args.len()) {
        ("log", 1) => format!("LOG(E(), {text})"),
        ("ceil" | "floor", 1) => format!("{}({text})", name.to_uppercase()),
        ("substr" | "substring", 2) => format!("{name}({text}, {})", i32::MAX),
        ("positive", 1) => format!("(+ {text})"),
        ("isnull", 1) => format!("({text} IS NULL)"),
        ("isnotnull", 1) => format!("({text} IS NOT NULL)"),
        ("if", 3) => format!("(IF({text}))"),
        ("like", 2) => format!("{} LIKE {}", print(0), print(1)),
        ("unix_timestamp", 0) => format!("{name}(current_timestamp(), yyyy-MM-dd HH:mm:ss)"),
        ("convert_timezone", 2) => format!("{name}(current_timezone(), {text})"),
        // The schema and the options are no children of theirs.
        ("from_json" | "to_json", _) => format!("{name}({})", print(0)),
        ("dateadd", 2) => format!("date_add({text})"),
        ("date_add" | "dateadd", 3) => format!("timestampadd({text})"),
        ("date_diff" | "datediff", 3) => format!("timestampdiff({text})"),
        ("datepart", 2) => format!("datepart({} FROM {})", print(0), print(1)),
        ("trim", 2) => format!("TRIM(BOTH {} FROM {})", print(0), print(1)),
        ("ltrim", 2) => format!("TRIM(LEADING {} FROM {})", print(0), print(1)),
        ("rtrim", 2) => format!("TRIM(TRAILING {} FROM {})", print(0), print(1)),
        (name, _) if CAPITALS.contains(&name) => format!("{}({text})", name.to_uppercase()),
        _ => return None,
    })
}

fn print_one(arg: &FunctionArg) -> String {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => print(expr),
        other => other.to_string(),
    }
}
