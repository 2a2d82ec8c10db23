//! The name that Spark gives to a column of a SELECT which has no alias: its expression, printed.
//!
//! Works on what the user wrote, before anything is rewritten (`org.apache.spark.sql.catalyst.util.toPrettySQL`).

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, CeilFloorKind, DataType, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArguments, Ident, LambdaFunction, Subscript, TrimWhereField, UnaryOperator,
    Value, visit_expressions_mut,
};

use super::call::order_of;
use super::generator::window_function;
use super::printed_calls::{ADDED, CAPITALS};
use super::quantified::{Quantifier, patterns};
use crate::decode::schema::DataType as SparkType;
use crate::query::dialect::type_text;

/// The name of an expression that stands alone in a SELECT.
pub(super) fn of_column(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(name) => name.value.clone(),
        Expr::CompoundIdentifier(names) => names.last().map(|name| name.value.clone()).unwrap_or_default(),
        // Fields of a column; behind anything else Spark prints the whole.
        Expr::CompoundFieldAccess { root, access_chain }
            if matches!(**root, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
                && access_chain.iter().all(|step| matches!(step, AccessExpr::Dot(_))) =>
        {
            match access_chain.last() {
                Some(AccessExpr::Dot(Expr::Identifier(name))) => name.value.clone(),
                _ => print(expr),
            }
        }
        Expr::Nested(inner) => of_column(inner),
        Expr::Function(function) if window_name(&function.name.to_string()).is_some() => {
            window_name(&function.name.to_string()).unwrap_or_default().to_owned()
        }
        _ => print(expr),
    }
}

/// The name of a field of a row value, `(a, b.c, 1)`: that of the column, or its place.
pub(super) fn of_field(value: &Expr, position: usize) -> String {
    match unnested(value) {
        column @ (Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::CompoundFieldAccess { .. }) => {
            of_column(column)
        }
        _ => format!("col{}", position + 1),
    }
}

fn window_name(function: &str) -> Option<&'static str> {
    window_function(&function.to_lowercase()).map(|(name, _)| name)
}

fn print(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(name) => name.value.clone(),
        Expr::CompoundIdentifier(names) => dotted(names),
        Expr::CompoundFieldAccess { root, access_chain } => access(root, access_chain),
        Expr::Nested(inner) => print(inner),
        Expr::Value(value) => literal(&value.value),
        Expr::TypedString(typed) => match typed.data_type.to_string().as_str() {
            kind @ ("DATE" | "TIMESTAMP" | "TIMESTAMP_NTZ") => {
                format!("{kind} '{}'", literal(&typed.value.value))
            }
            "BINARY" => format!("X'{}'", literal(&typed.value.value)),
            _ => literal(&typed.value.value),
        },
        Expr::BinaryOp { left, op: BinaryOperator::NotEq, right } => {
            format!("(NOT ({} = {}))", print(left), print(right))
        }
        Expr::BinaryOp { left, op, right } if is_interval(right) => {
            format!("{} {} {}", print(left), operator(op), print(right))
        }
        Expr::BinaryOp { left, op: BinaryOperator::StringConcat, right } => {
            format!("concat({}, {})", print(left), print(right))
        }
        Expr::BinaryOp { left, op, right } => format!("({} {} {})", print(left), operator(op), print(right)),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } if matches!(**expr, Expr::Value(_)) => {
            format!("-{}", print(expr))
        }
        Expr::UnaryOp { op: UnaryOperator::BitwiseNot, expr } => format!("~{}", print(expr)),
        Expr::UnaryOp { op: UnaryOperator::BangNot, expr } => format!("(NOT {})", print(expr)),
        Expr::UnaryOp { op, expr } => format!("({op} {})", print(expr)),
        Expr::IsNull(inner) | Expr::IsUnknown(inner) => format!("({} IS NULL)", print(inner)),
        Expr::IsNotNull(inner) | Expr::IsNotUnknown(inner) => format!("({} IS NOT NULL)", print(inner)),
        Expr::IsTrue(inner) => format!("({} <=> true)", print(inner)),
        Expr::IsFalse(inner) => format!("({} <=> false)", print(inner)),
        Expr::IsNotTrue(inner) => format!("(NOT ({} <=> true))", print(inner)),
        Expr::IsNotFalse(inner) => format!("(NOT ({} <=> false))", print(inner)),
        Expr::IsDistinctFrom(left, right) => format!("(NOT ({} <=> {}))", print(left), print(right)),
        Expr::IsNotDistinctFrom(left, right) => format!("({} <=> {})", print(left), print(right)),
        Expr::InList { expr, list, negated } => {
            let inside =
                format!("({} IN ({}))", print(expr), list.iter().map(print).collect::<Vec<_>>().join(", "));
            negate(*negated, inside)
        }
        Expr::Between { expr, negated, low, high } => {
            negate(*negated, format!("between({}, {}, {})", print(expr), print(low), print(high)))
        }
        Expr::Like { .. } | Expr::ILike { .. } | Expr::RLike { .. } => like(expr),
        Expr::Cast { kind, expr, data_type, .. } => {
            let word = if *kind == CastKind::TryCast { "TRY_CAST" } else { "CAST" };
            format!("{word}({} AS {})", print(expr), type_name(data_type))
        }
        Expr::Case { operand, conditions, else_result, .. } => {
            let mut text = "CASE".to_owned();
            for when in conditions {
                let condition = match operand {
                    Some(operand) => format!("({} = {})", print(operand), print(&when.condition)),
                    None => print(&when.condition),
                };
                text.push_str(&format!(" WHEN {condition} THEN {}", print(&when.result)));
            }
            if let Some(otherwise) = else_result {
                text.push_str(&format!(" ELSE {}", print(otherwise)));
            }
            text + " END"
        }
        Expr::Function(function) => name_of(function),
        Expr::Tuple(values) => {
            let field = |(at, value)| format!("{}, {}", of_field(value, at), print(value));
            format!("named_struct({})", values.iter().enumerate().map(field).collect::<Vec<_>>().join(", "))
        }
        Expr::Named { expr, name } => format!("{} AS {}", print(expr), name.value),
        Expr::Lambda(lambda) => self::lambda(lambda),
        other => keyword_call(other),
    }
}

/// LIKE and its kin; of several literal patterns Spark prints none.
fn like(expr: &Expr) -> String {
    match expr {
        Expr::Like { negated, any, expr, pattern, escape_char } => match patterns(*any, pattern) {
            Some((quantifier, patterns)) if patterns.iter().all(|one| matches!(one, Expr::Value(_))) => {
                like_each(*negated, quantifier, &print(expr))
            }
            Some((quantifier, patterns)) => {
                let one = |pattern| negate(*negated, format!("{} LIKE {}", print(expr), print(pattern)));
                let both = |left, right| format!("({left} {} {right})", quantifier.operator());
                patterns.iter().map(one).reduce(both).unwrap_or_default()
            }
            None => {
                let escape =
                    escape_char.as_ref().map(|escape| format!(" ESCAPE '{}'", literal(&escape.value)));
                let like = format!("{} LIKE {}{}", print(expr), print(pattern), escape.unwrap_or_default());
                negate(*negated, like)
            }
        },
        Expr::ILike { negated, any, expr, pattern, .. } => match patterns(*any, pattern) {
            Some((quantifier, _)) => like_each(*negated, quantifier, &format!("lower({})", print(expr))),
            None => negate(*negated, format!("ilike({}, {})", print(expr), print(pattern))),
        },
        Expr::RLike { negated, expr, pattern, .. } => {
            negate(*negated, format!("RLIKE({}, {})", print(expr), print(pattern)))
        }
        other => other.to_string(),
    }
}

fn like_each(negated: bool, quantifier: Quantifier, value: &str) -> String {
    let not = if negated { "not" } else { "" };
    let quantifier = if quantifier == Quantifier::All { "all" } else { "any" };
    format!("{not}like{quantifier}({value})")
}

/// What Spark prints for a lambda's parameter.
const VARIABLE: &str = "namedlambdavariable()";

/// Functions that the parser knows by their own grammar.
fn keyword_call(expr: &Expr) -> String {
    match expr {
        Expr::Extract { field, expr, .. } => format!("extract({field} FROM {})", print(expr)),
        Expr::Substring { expr, substring_from, substring_for, shorthand, .. } => {
            let name = if *shorthand { "substr" } else { "substring" };
            let rest = [substring_from, substring_for].into_iter().flatten();
            let rest: Vec<String> = rest.map(|expr| print(expr)).collect();
            match rest.len() {
                // Spark prints a length that was not given as the longest there is.
                1 => format!("{name}({}, {}, 2147483647)", print(expr), rest[0]),
                _ => format!("{name}({}, {})", print(expr), rest.join(", ")),
            }
        }
        Expr::Position { expr, r#in } => format!("locate({}, {}, 1)", print(expr), print(r#in)),
        Expr::Ceil { expr, field } => rounded("ceil", expr, field),
        Expr::Floor { expr, field } => rounded("floor", expr, field),
        Expr::Trim { expr, trim_characters: Some(trimmed), .. } => {
            let trimmed: Vec<String> = trimmed.iter().map(print).collect();
            format!("TRIM(BOTH {} FROM {})", print(expr), trimmed.join(", "))
        }
        Expr::Trim { trim_where, trim_what, expr, .. } => {
            let (side, name) = match trim_where {
                Some(TrimWhereField::Leading) => ("LEADING", "ltrim"),
                Some(TrimWhereField::Trailing) => ("TRAILING", "rtrim"),
                _ => ("BOTH", "trim"),
            };
            match trim_what {
                Some(what) => format!("TRIM({side} {} FROM {})", print(what), print(expr)),
                None => format!("{name}({})", print(expr)),
            }
        }
        Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
            let length = overlay_for.as_ref().map_or_else(|| "-1".to_owned(), |length| print(length));
            format!("overlay({}, {}, {}, {length})", print(expr), print(overlay_what), print(overlay_from))
        }
        Expr::Subquery(_) => "scalarsubquery()".to_owned(),
        Expr::Exists { .. } => "exists()".to_owned(),
        other => other.to_string(),
    }
}

fn dotted(names: &[Ident]) -> String {
    names.iter().map(|name| name.value.as_str()).collect::<Vec<_>>().join(".")
}

/// Whether an expression is an interval by its form.
fn is_interval(expr: &Expr) -> bool {
    match expr {
        Expr::Interval(_) => true,
        Expr::Function(function) => {
            let name = function.name.to_string().to_lowercase();
            matches!(name.as_str(), "make_interval" | "make_dt_interval" | "make_ym_interval")
        }
        _ => false,
    }
}

/// The column that is cast, if nothing but a column is: it keeps its name.
pub(super) fn cast_column(expr: &Expr) -> Option<&str> {
    let inner = match expr {
        Expr::Cast { expr, .. } => expr,
        Expr::Function(function) => converted(function)?,
        _ => return None,
    };
    match unnested(inner) {
        Expr::Identifier(name) => Some(&name.value),
        _ => None,
    }
}

/// The expression within parentheses.
pub(super) fn unnested(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => unnested(inner),
        other => other,
    }
}

/// The functions that are casts, which Spark does not print.
pub(super) const CONVERSIONS: [&str; 12] = [
    "boolean",
    "tinyint",
    "smallint",
    "int",
    "bigint",
    "float",
    "double",
    "decimal",
    "date",
    "timestamp",
    "binary",
    "string",
];

/// What a function that is a cast converts.
fn converted(function: &Function) -> Option<&Expr> {
    let name = function.name.to_string().to_lowercase();
    let FunctionArguments::List(list) = &function.args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))] if CONVERSIONS.contains(&name.as_str()) => {
            Some(expr)
        }
        _ => None,
    }
}

/// A type as Spark prints it.
fn type_name(data_type: &DataType) -> String {
    let text = type_text(data_type);
    SparkType::from_ddl(&text).map_or_else(|_| text.to_uppercase(), |data_type| data_type.to_ddl())
}

fn rounded(name: &str, expr: &Expr, field: &CeilFloorKind) -> String {
    match field {
        CeilFloorKind::Scale(scale) => format!("{name}({}, {})", print(expr), literal(&scale.value)),
        CeilFloorKind::DateTimeField(_) => format!("{}({})", name.to_uppercase(), print(expr)),
    }
}

fn access(root: &Expr, chain: &[AccessExpr]) -> String {
    let mut text = match root {
        Expr::Function(function) => match window_name(&function.name.to_string()) {
            Some(name) => name.to_owned(),
            None => print(root),
        },
        root => print(root),
    };
    for step in chain {
        match step {
            AccessExpr::Dot(field) => text.push_str(&format!(".{}", print(field))),
            AccessExpr::Subscript(Subscript::Index { index }) => {
                text.push_str(&format!("[{}]", print(index)))
            }
            AccessExpr::Subscript(other) => text.push_str(&format!("[{other}]")),
        }
    }
    text
}

fn literal(value: &Value) -> String {
    match value {
        Value::Number(number, _) => number.clone(),
        Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => text.clone(),
        Value::Boolean(value) => value.to_string(),
        Value::Null => "NULL".to_owned(),
        Value::HexStringLiteral(digits) => format!("X'{digits}'"),
        other => other.to_string(),
    }
}

fn operator(op: &BinaryOperator) -> String {
    match op {
        BinaryOperator::MyIntegerDivide => "div".to_owned(),
        BinaryOperator::Spaceship => "<=>".to_owned(),
        BinaryOperator::NotEq => "<>".to_owned(),
        other => other.to_string(),
    }
}

fn negate(negated: bool, text: String) -> String {
    if negated { format!("(NOT {text})") } else { text }
}

fn arguments(args: &FunctionArguments) -> String {
    let FunctionArguments::List(list) = args else { return String::new() };
    let print_one = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => print(expr),
        // Spark counts the literal 1 for a star.
        FunctionArg::Unnamed(_) => "1".to_owned(),
        other => other.to_string(),
    };
    let text = list.args.iter().map(print_one).collect::<Vec<_>>().join(", ");
    match list.duplicate_treatment {
        Some(treatment) => format!("{treatment} {text}"),
        None => text,
    }
}

fn lambda(lambda: &LambdaFunction) -> String {
    let mut body = (*lambda.body).clone();
    let parameter = |name: &Ident| lambda.params.iter().any(|parameter| parameter.name.value == name.value);
    let _ = visit_expressions_mut(&mut body, |expr| {
        match expr {
            Expr::Identifier(name) if parameter(name) => name.value = VARIABLE.to_owned(),
            Expr::CompoundIdentifier(names) if names.first().is_some_and(parameter) => {
                names[0].value = VARIABLE.to_owned();
            }
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    let names: Vec<&str> = lambda.params.iter().map(|_| VARIABLE).collect();
    format!("lambdafunction({}, {})", print(&body), names.join(", "))
}

/// The name of a call: some print arguments that were not written, or leave out some that were.
fn name_of(function: &Function) -> String {
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
        ("curdate", 0) => "current_date()".to_owned(),
        ("to_varchar", 2) => format!("to_char({text})"),
        ("raise_error", 1) => format!("{name}(USER_RAISED_EXCEPTION, map(errorMessage, {text}))"),
        ("assert_true", 1) => format!("{name}({text}, '{text}' is not true!)"),
        // The zone is no child of it.
        ("try_make_timestamp", 7) => {
            format!("{name}({})", args[..6].iter().map(print_one).collect::<Vec<_>>().join(", "))
        }
        ("unix_timestamp", 0) => format!("{name}(current_timestamp(), yyyy-MM-dd HH:mm:ss)"),
        ("convert_timezone", 2) => format!("{name}(current_timezone(), {text})"),
        // The schema and the options are no children of theirs.
        ("from_json" | "to_json" | "from_csv" | "to_csv", _) => format!("{name}({})", print(0)),
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
