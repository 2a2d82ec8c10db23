//! The name that Spark gives to a column of a SELECT which has no alias: its expression, printed.
//!
//! Works on what the user wrote, before anything is rewritten (`org.apache.spark.sql.catalyst.util.toPrettySQL`).

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    LambdaFunction, Subscript, UnaryOperator, Value,
};

/// The name of an expression that stands alone in a SELECT.
pub(super) fn of_column(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(name) => name.value.clone(),
        Expr::CompoundIdentifier(names) => names.last().map(|name| name.value.clone()).unwrap_or_default(),
        Expr::CompoundFieldAccess { access_chain, .. } => match access_chain.last() {
            Some(AccessExpr::Dot(Expr::Identifier(name))) => name.value.clone(),
            _ => print(expr),
        },
        Expr::Nested(inner) => of_column(inner),
        Expr::Function(function) if window_name(&function.name.to_string()).is_some() => {
            window_name(&function.name.to_string()).unwrap_or_default().to_owned()
        }
        _ => print(expr),
    }
}

fn window_name(function: &str) -> Option<&'static str> {
    super::generator::window_function(&function.to_lowercase()).map(|(name, _)| name)
}

pub(super) fn print(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(name) => name.value.clone(),
        Expr::CompoundIdentifier(names) => dotted(names),
        Expr::CompoundFieldAccess { root, access_chain } => access(root, access_chain),
        Expr::Nested(inner) => print(inner),
        Expr::Value(value) => literal(&value.value),
        Expr::TypedString(typed) => match typed.data_type.to_string().as_str() {
            kind @ ("DATE" | "TIMESTAMP" | "TIMESTAMP_NTZ") => format!("{kind} {}", typed.value),
            _ => literal(&typed.value.value),
        },
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
        Expr::IsNull(inner) => format!("({} IS NULL)", print(inner)),
        Expr::IsNotNull(inner) => format!("({} IS NOT NULL)", print(inner)),
        Expr::InList { expr, list, negated } => {
            let inside =
                format!("({} IN ({}))", print(expr), list.iter().map(print).collect::<Vec<_>>().join(", "));
            negate(*negated, inside)
        }
        Expr::Between { expr, negated, low, high } => {
            let value = print(expr);
            negate(*negated, format!("(({value} >= {}) AND ({value} <= {}))", print(low), print(high)))
        }
        Expr::Like { negated, expr, pattern, .. } => {
            negate(*negated, format!("{} LIKE {}", print(expr), print(pattern)))
        }
        Expr::ILike { negated, expr, pattern, .. } => {
            negate(*negated, format!("ilike({}, {})", print(expr), print(pattern)))
        }
        Expr::RLike { negated, expr, pattern, .. } => {
            negate(*negated, format!("RLIKE({}, {})", print(expr), print(pattern)))
        }
        Expr::Cast { kind, expr, data_type, .. } => {
            let word = if *kind == CastKind::TryCast { "TRY_CAST" } else { "CAST" };
            format!("{word}({} AS {})", print(expr), data_type.to_string().to_uppercase())
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
        Expr::Function(function) => super::call::name_of(function),
        Expr::Lambda(lambda) => self::lambda(lambda),
        other => keyword_call(other),
    }
}

/// Functions that the parser knows by their own grammar.
fn keyword_call(expr: &Expr) -> String {
    match expr {
        Expr::Extract { field, expr, .. } => format!("extract({field} FROM {})", print(expr)),
        Expr::Substring { expr, substring_from, substring_for, .. } => {
            let rest = [substring_from, substring_for].into_iter().flatten();
            let rest: Vec<String> = rest.map(|expr| print(expr)).collect();
            match rest.len() {
                // Spark prints a length that was not given as the longest there is.
                1 => format!("substring({}, {}, 2147483647)", print(expr), rest[0]),
                _ => format!("substring({}, {})", print(expr), rest.join(", ")),
            }
        }
        Expr::Position { expr, r#in } => format!("locate({}, {}, 1)", print(expr), print(r#in)),
        Expr::Ceil { expr, .. } => format!("CEIL({})", print(expr)),
        Expr::Floor { expr, .. } => format!("FLOOR({})", print(expr)),
        Expr::Trim { trim_what, expr, .. } => match trim_what {
            Some(what) => format!("TRIM(BOTH {} FROM {})", print(what), print(expr)),
            None => format!("trim({})", print(expr)),
        },
        Expr::Subquery(_) => "scalarsubquery()".to_owned(),
        Expr::Exists { .. } => "exists()".to_owned(),
        other => other.to_string(),
    }
}

fn dotted(names: &[Ident]) -> String {
    // A qualifier is not part of the name: the last two are enough to tell a field from a column.
    names.last().map(|name| name.value.clone()).unwrap_or_default()
}

fn access(root: &Expr, chain: &[AccessExpr]) -> String {
    let mut text = print(root);
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

pub(super) fn arguments(args: &FunctionArguments) -> String {
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
    let names: Vec<String> =
        lambda.params.iter().map(|name| format!("namedlambdavariable() {name}")).collect();
    format!("lambdafunction({}, {})", print(&lambda.body), names.join(", "))
}
