//! Expressions: names to columns, Spark's own forms to calls of Spark's functions, literals to their types.
//!
//! What comes out has only columns, typed literals, plain operators, calls and subqueries in it, so that one
//! registry and one planner of operators decide what each means.

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    Ident, OneOrManyWithParens, Subscript, TrimWhereField, UnaryOperator, Value,
};

use super::refusal::unsupported;
use super::scope::Scope;
use super::{Rewriter, build, literal, name, quantified};
use crate::model::{Error, Result};
use crate::query::coerce::chain::balanced;
use crate::query::dialect::{SHIFT_UNSIGNED, type_text};
use crate::query::functions::is_of_spark;
use crate::query::functions::lambda::SORT_BY;

/// Words that Spark takes for a call without parentheses.
pub(super) const CALLED_BARE: [&str; 3] = ["current_timestamp", "current_date", "localtimestamp"];

impl Rewriter<'_> {
    pub(super) fn exprs(&mut self, exprs: Vec<Expr>) -> Result<Vec<Expr>> {
        exprs.into_iter().map(|expr| self.expr(expr)).collect()
    }

    fn boxed(&mut self, expr: Box<Expr>) -> Result<Box<Expr>> {
        Ok(Box::new(self.expr(*expr)?))
    }

    /// One expression, all names resolved.
    ///
    /// # Errors
    /// `Config`: an unknown name or function, or a form that Spark or Alluvia does not have.
    pub(super) fn expr(&mut self, expr: Expr) -> Result<Expr> {
        Ok(match expr {
            Expr::Identifier(name) => self.identifier(name)?,
            Expr::CompoundIdentifier(parts) => self.path(&parts)?,
            Expr::CompoundFieldAccess { root, access_chain } => self.access(*root, access_chain)?,
            Expr::Nested(inner) => self.expr(*inner)?,
            Expr::Tuple(values) => self.row(values)?,
            Expr::Value(value) => match value.value {
                Value::Number(digits, long) => literal::number(&digits, long, false),
                Value::HexStringLiteral(digits) => build::typed("BINARY", digits),
                Value::SingleQuotedString(_) | Value::Boolean(_) | Value::Null => Expr::Value(value),
                other => return Err(unsupported(&format!("the literal {other}"))),
            },
            Expr::TypedString(typed) => self.typed_text(&typed)?,
            Expr::Interval(interval) => literal::interval(&interval)?,
            Expr::BinaryOp { left, op, right } => self.binary(*left, op, *right)?,
            Expr::UnaryOp { op, expr } => self.unary(op, *expr)?,
            Expr::InList { expr, list, negated } => self.in_list(*expr, list, negated)?,
            Expr::Between { expr, negated, low, high } => {
                let value = self.expr(*expr)?;
                let low = binary(value.clone(), BinaryOperator::GtEq, self.expr(*low)?);
                let high = binary(value, BinaryOperator::LtEq, self.expr(*high)?);
                negate(negated, binary(low, BinaryOperator::And, high))
            }
            Expr::Cast { kind, expr, data_type, format: None, .. } => {
                let name = if kind == CastKind::TryCast { "try_cast" } else { "cast" };
                let args = vec![self.expr(*expr)?, build::text(type_text(&data_type))];
                self.call(name, args)?
            }
            Expr::Case { operand, conditions, else_result, .. } => {
                let operand = operand.map(|operand| self.expr(*operand)).transpose()?;
                let mut args = Vec::new();
                for when in conditions {
                    let condition = self.expr(when.condition)?;
                    args.push(match &operand {
                        Some(operand) => binary(operand.clone(), BinaryOperator::Eq, condition),
                        None => condition,
                    });
                    args.push(self.expr(when.result)?);
                }
                args.extend(else_result.map(|otherwise| self.expr(*otherwise)).transpose()?);
                self.call("case_when", args)?
            }
            Expr::Exists { subquery, negated } => {
                Expr::Exists { subquery: Box::new(self.query(*subquery)?), negated }
            }
            Expr::Subquery(query) => Expr::Subquery(Box::new(self.query(*query)?)),
            Expr::InSubquery { expr, .. } if matches!(*expr, Expr::Tuple(_)) => {
                return Err(unsupported("IN of several columns and a subquery")
                    .hint("write EXISTS (SELECT … WHERE …)"));
            }
            Expr::InSubquery { expr, subquery, negated } => Expr::InSubquery {
                expr: self.boxed(expr)?,
                subquery: Box::new(self.query(*subquery)?),
                negated,
            },
            Expr::Function(function) => self.function(function)?,
            other => self.predicate(other)?,
        })
    }

    /// What is true or false of a value.
    fn predicate(&mut self, expr: Expr) -> Result<Expr> {
        Ok(match expr {
            Expr::Like { negated, any, expr, pattern, escape_char } => {
                self.like("like", negated, *expr, (any, *pattern), escape_char.map(Expr::Value))?
            }
            Expr::ILike { negated, any, expr, pattern, escape_char } => {
                self.like("ilike", negated, *expr, (any, *pattern), escape_char.map(Expr::Value))?
            }
            Expr::RLike { negated, expr, pattern, .. } => {
                let args = vec![self.expr(*expr)?, self.expr(*pattern)?];
                negate(negated, self.call("rlike", args)?)
            }
            Expr::IsNull(inner) => Expr::IsNull(self.boxed(inner)?),
            Expr::IsNotNull(inner) => Expr::IsNotNull(self.boxed(inner)?),
            Expr::IsTrue(inner) => Expr::IsTrue(self.boxed(inner)?),
            Expr::IsNotTrue(inner) => Expr::IsNotTrue(self.boxed(inner)?),
            Expr::IsFalse(inner) => Expr::IsFalse(self.boxed(inner)?),
            Expr::IsNotFalse(inner) => Expr::IsNotFalse(self.boxed(inner)?),
            Expr::IsUnknown(inner) => Expr::IsUnknown(self.boxed(inner)?),
            Expr::IsNotUnknown(inner) => Expr::IsNotUnknown(self.boxed(inner)?),
            Expr::IsDistinctFrom(left, right) => {
                let same = binary(self.expr(*left)?, BinaryOperator::Spaceship, self.expr(*right)?);
                negate(true, same)
            }
            Expr::IsNotDistinctFrom(left, right) => {
                binary(self.expr(*left)?, BinaryOperator::Spaceship, self.expr(*right)?)
            }
            other => self.keyword_call(other)?,
        })
    }

    fn like(
        &mut self,
        name: &str,
        negated: bool,
        value: Expr,
        (any, pattern): (bool, Expr),
        escape: Option<Expr>,
    ) -> Result<Expr> {
        let value = self.expr(value)?;
        let Some((quantifier, patterns)) = quantified::patterns(any, &pattern) else {
            if any {
                return Err(unsupported(&format!("{} ANY {pattern}", name.to_uppercase())));
            }
            let args = [value, self.expr(pattern)?].into_iter().chain(escape);
            return Ok(negate(negated, self.call(name, args.collect())?));
        };
        if escape.is_some() {
            return Err(unsupported(&format!("ESCAPE behind several patterns of {}", name.to_uppercase())));
        }
        let mut each = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            let args = vec![value.clone(), self.expr(pattern)?];
            each.push(negate(negated, self.call(name, args)?));
        }
        Ok(balanced(each, &|left, right| binary(left, quantifier.operator(), right)))
    }

    /// Functions that the parser knows by their own grammar.
    fn keyword_call(&mut self, expr: Expr) -> Result<Expr> {
        let (name, args) = match expr {
            Expr::Extract { field, expr, .. } => {
                ("date_part", vec![build::text(field.to_string()), self.expr(*expr)?])
            }
            Expr::Ceil { expr, field } => ("ceil", self.rounded(*expr, field)?),
            Expr::Floor { expr, field } => ("floor", self.rounded(*expr, field)?),
            Expr::Position { expr, r#in } => ("locate", vec![self.expr(*expr)?, self.expr(*r#in)?]),
            Expr::Substring { expr, substring_from, substring_for, .. } => {
                let mut args = vec![self.expr(*expr)?];
                for part in [substring_from, substring_for].into_iter().flatten() {
                    args.push(self.expr(*part)?);
                }
                ("substring", args)
            }
            Expr::Trim { trim_where, trim_what, expr, trim_characters: None } => {
                let mut args = vec![self.expr(*expr)?];
                args.extend(trim_what.map(|what| self.expr(*what)).transpose()?);
                match trim_where {
                    Some(TrimWhereField::Leading) => ("ltrim", args),
                    Some(TrimWhereField::Trailing) => ("rtrim", args),
                    _ => ("trim", args),
                }
            }
            // `trim('x', s)` names the characters first.
            Expr::Trim { expr, trim_characters: Some(trimmed), .. } => {
                let mut args = self.exprs(trimmed)?;
                args.push(self.expr(*expr)?);
                ("trim", args)
            }
            Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                let mut args = vec![self.expr(*expr)?, self.expr(*overlay_what)?, self.expr(*overlay_from)?];
                args.extend(overlay_for.map(|length| self.expr(*length)).transpose()?);
                ("overlay", args)
            }
            other => return Err(unsupported(&other.to_string())),
        };
        self.call(name, args)
    }

    fn rounded(
        &mut self,
        expr: Expr,
        field: datafusion::sql::sqlparser::ast::CeilFloorKind,
    ) -> Result<Vec<Expr>> {
        use datafusion::sql::sqlparser::ast::{CeilFloorKind, DateTimeField};
        let mut args = vec![self.expr(expr)?];
        match field {
            CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) => {}
            CeilFloorKind::Scale(scale) => args.push(self.expr(Expr::Value(scale))?),
            CeilFloorKind::DateTimeField(field) => return Err(unsupported(&format!("rounding to {field}"))),
        }
        Ok(args)
    }

    fn identifier(&mut self, name: Ident) -> Result<Expr> {
        if self.aliases_first
            && self.no_aggregate.is_none()
            && let Some(column) = self.scopes.alias(&name)
        {
            return Ok(column);
        }
        let found = self.scopes.resolve(std::slice::from_ref(&name));
        match found {
            Err(error) if name.quote_style.is_none() => {
                let lower = name.value.to_lowercase();
                if CALLED_BARE.contains(&lower.as_str()) { self.call(&lower, Vec::new()) } else { Err(error) }
            }
            found => found.map(|found| found.expr),
        }
    }

    fn path(&mut self, parts: &[Ident]) -> Result<Expr> {
        let found = self.scopes.resolve(parts)?;
        Ok(parts[found.taken..].iter().fold(found.expr, |inner, part| field(inner, &part.value)))
    }

    fn access(&mut self, root: Expr, chain: Vec<AccessExpr>) -> Result<Expr> {
        let mut chain = chain.into_iter().peekable();
        // A name's first parts may be a relation and a column: they are resolved as one.
        let mut names = match &root {
            Expr::Identifier(name) => vec![name.clone()],
            Expr::CompoundIdentifier(names) => names.clone(),
            _ => Vec::new(),
        };
        let mut value = if names.is_empty() {
            self.expr(root)?
        } else {
            while let Some(AccessExpr::Dot(Expr::Identifier(name))) = chain.peek() {
                names.push(name.clone());
                chain.next();
            }
            self.path(&names)?
        };
        for step in chain {
            value = match step {
                AccessExpr::Dot(Expr::Identifier(name)) => field(value, &name.value),
                AccessExpr::Subscript(Subscript::Index { index }) => {
                    let index = self.expr(index)?;
                    self.call("get_item", vec![value, index])?
                }
                other => return Err(unsupported(&format!("the access {other}"))),
            };
        }
        Ok(value)
    }

    fn binary(&mut self, left: Expr, op: BinaryOperator, right: Expr) -> Result<Expr> {
        if matches!(op, BinaryOperator::And | BinaryOperator::Or) {
            return self.chain(left, &op, right);
        }
        let (left, right) = (self.expr(left)?, self.expr(right)?);
        Ok(match op {
            BinaryOperator::PGBitwiseShiftLeft => self.call("shiftleft", vec![left, right])?,
            BinaryOperator::PGBitwiseShiftRight => self.call("shiftright", vec![left, right])?,
            BinaryOperator::StringConcat => self.call("concat", vec![left, right])?,
            BinaryOperator::Custom(op) if op == SHIFT_UNSIGNED => {
                self.call("shiftrightunsigned", vec![left, right])?
            }
            op => binary(left, op, right),
        })
    }

    /// AND or OR. The operands of a long chain become a balanced tree, so that what walks over it needs no deep stack.
    fn chain(&mut self, left: Expr, op: &BinaryOperator, right: Expr) -> Result<Expr> {
        let (mut open, mut operands) = (vec![right, left], Vec::new());
        while let Some(expr) = open.pop() {
            match expr {
                Expr::BinaryOp { left, op: own, right } if own == *op => open.extend([*right, *left]),
                Expr::Nested(inner) => open.push(*inner),
                other => operands.push(self.expr(other)?),
            }
        }
        Ok(balanced(operands, &|left, right| binary(left, op.clone(), right)))
    }

    fn unary(&mut self, op: UnaryOperator, inner: Expr) -> Result<Expr> {
        if let (UnaryOperator::Minus, Expr::Value(value)) = (op, &inner)
            && let Value::Number(digits, long) = &value.value
        {
            return Ok(literal::number(digits, *long, true));
        }
        let inner = self.expr(inner)?;
        match op {
            UnaryOperator::Minus => self.call("negative", vec![inner]),
            UnaryOperator::Plus => self.call("positive", vec![inner]),
            UnaryOperator::BitwiseNot => self.call("bitwise_not", vec![inner]),
            UnaryOperator::Not | UnaryOperator::BangNot => Ok(negate(true, inner)),
            other => Err(unsupported(&format!("the operator {other}"))),
        }
    }

    fn in_list(&mut self, value: Expr, list: Vec<Expr>, negated: bool) -> Result<Expr> {
        if list.is_empty() {
            return Err(unsupported("IN of an empty list"));
        }
        Ok(Expr::InList { expr: Box::new(self.expr(value)?), list: self.exprs(list)?, negated })
    }

    fn function(&mut self, mut function: Function) -> Result<Expr> {
        let mut name = function.name.to_string().replace('`', "").to_lowercase();
        if function.over.is_some() {
            return Err(Error::config(format!(
                "NON_TIME_WINDOW_NOT_SUPPORTED_IN_STREAMING: {name}() OVER is not possible on a stream"
            ))
            .hint("group by window() instead"));
        }
        if super::generator::is_generator(&name) {
            return Err(Error::config(format!(
                "UNSUPPORTED_GENERATOR: {name}() must be a column of its own in SELECT, or in LATERAL VIEW"
            )));
        }
        if let Some(window) = super::generator::window_function(&name) {
            return self.window(window, function.args);
        }
        if name == "grouping" || name == "grouping_id" {
            return self.grouping(&name, function.args);
        }
        if name == "struct" {
            return self.structure(function.args);
        }
        super::call::order_into_arguments(&name, &mut function)?;
        let FunctionArguments::List(mut list) = function.args else {
            return self.call(&name, Vec::new());
        };
        if name == "unix_timestamp" && list.args.is_empty() {
            return self.call(&name, vec![self.call("current_timestamp", Vec::new())?]);
        }
        let interval = (name == "typeof").then(|| literal::type_of_interval(&list.args)).flatten();
        self.arguments(&name, &mut list)?;
        if let Some(interval) = interval {
            return Ok(build::text(interval));
        }
        if name::CONVERSIONS.contains(&name.as_str())
            && !self.session.has_function(&name)
            && let [FunctionArg::Unnamed(FunctionArgExpr::Expr(value))] = list.args.as_slice()
        {
            return self.call("cast", vec![value.clone(), build::text(name)]);
        }
        if list.args.iter().any(is_lambda) {
            // A name has one function: sorting by a lambda is another one than sorting.
            if name == "array_sort" {
                SORT_BY.clone_into(&mut name);
            }
            if !self.session.is_higher_order(&name) {
                self.require_function(&name)?;
                return Err(Error::config(format!(
                    "INVALID_LAMBDA_FUNCTION_CALL.NON_HIGHER_ORDER_FUNCTION: {name}() takes no lambda"
                )));
            }
        }
        if name == "decode" && list.args.len() > 2 {
            return self.decode(&list.args);
        }
        // Spark's calls name the characters first; our functions are those of `TRIM(… FROM …)`, which name them last.
        if matches!(name.as_str(), "trim" | "ltrim" | "rtrim") && list.args.len() == 2 {
            list.args.swap(0, 1);
        }
        self.require_function(&name)?;
        function.args = FunctionArguments::List(list);
        function.name = build::object_name(self.session.canonical(&name));
        function.filter = function.filter.map(|filter| self.boxed(filter)).transpose()?;
        Ok(Expr::Function(function))
    }

    /// `decode(value, search, result, …[, otherwise])`: a CASE in which NULL equals NULL. The arguments are rewritten.
    fn decode(&mut self, args: &[FunctionArg]) -> Result<Expr> {
        let of = |arg: &FunctionArg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr.clone()),
            other => Err(unsupported(&format!("decode({other})"))),
        };
        let [value, pairs @ ..] = args else { return Err(unsupported("decode without arguments")) };
        let value = of(value)?;
        let mut branches = Vec::with_capacity(pairs.len());
        for pair in pairs.chunks(2) {
            match pair {
                [search, result] => {
                    branches.push(binary(value.clone(), BinaryOperator::Spaceship, of(search)?));
                    branches.push(of(result)?);
                }
                otherwise => branches.extend(otherwise.iter().map(of).collect::<Result<Vec<_>>>()?),
            }
        }
        self.call("case_when", branches)
    }

    pub(super) fn lambda(
        &mut self,
        mut lambda: datafusion::sql::sqlparser::ast::LambdaFunction,
    ) -> Result<Expr> {
        let parameters: Vec<String> =
            lambda.params.iter().map(|parameter| parameter.name.value.clone()).collect();
        for parameter in match &mut lambda.params {
            OneOrManyWithParens::One(one) => std::slice::from_mut(one),
            OneOrManyWithParens::Many(many) => many.as_mut_slice(),
        } {
            parameter.name = build::ident(parameter.name.value.clone());
        }
        self.scopes.push(Scope { parameters, ..Scope::default() });
        let body = self.expr(*lambda.body);
        self.scopes.pop();
        lambda.body = Box::new(body?);
        Ok(Expr::Lambda(lambda))
    }

    /// `struct(a, b.c, 1 + 1, d AS e)` has the fields a, c, col3 and e.
    fn structure(&mut self, args: FunctionArguments) -> Result<Expr> {
        let FunctionArguments::List(list) = args else { return Err(unsupported("struct without fields")) };
        let mut fields = Vec::with_capacity(list.args.len() * 2);
        // A field is numbered by its place among the arguments as they were written: a star takes one.
        for (position, arg) in list.args.into_iter().enumerate() {
            if let Some(columns) = self.star_of(&arg)? {
                fields.extend(columns.into_iter().flat_map(|(expr, name)| [build::text(name), expr]));
                continue;
            }
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg else {
                return Err(unsupported(&format!("struct({arg})")));
            };
            let (expr, field) = match expr {
                Expr::Named { expr, name } => (*expr, name.value),
                expr @ (Expr::Identifier(_)
                | Expr::CompoundIdentifier(_)
                | Expr::CompoundFieldAccess { .. }) => {
                    let field = name::of_column(&expr);
                    (expr, field)
                }
                expr => (expr, format!("col{}", position + 1)),
            };
            fields.push(build::text(field));
            fields.push(self.expr(expr)?);
        }
        self.call("named_struct", fields)
    }

    /// `(a, b.c, 1)`: a struct of the fields a, c and col3.
    fn row(&mut self, values: Vec<Expr>) -> Result<Expr> {
        let mut fields = Vec::with_capacity(values.len() * 2);
        for (position, value) in values.into_iter().enumerate() {
            fields.push(build::text(name::of_field(&value, position)));
            fields.push(self.expr(value)?);
        }
        self.call("named_struct", fields)
    }

    /// A call of a function that must be there.
    ///
    /// # Errors
    /// `Config`: `UNRESOLVED_ROUTINE` with the nearest name.
    pub(super) fn call(&self, name: &str, args: Vec<Expr>) -> Result<Expr> {
        self.require_function(name)?;
        Ok(build::call(self.session.canonical(name), args))
    }

    pub(super) fn require_function(&self, name: &str) -> Result<()> {
        if self.session.has_function(name) {
            return Ok(());
        }
        let page = "docs/reference/functions.md lists the functions of sql";
        if is_of_spark(name) {
            let error =
                Error::config(format!("UNRESOLVED_ROUTINE: Spark's function {name} is not supported"));
            return Err(error.hint(page));
        }
        let distance = |known: &&str| strsim::levenshtein(known, name);
        let nearest = self.session.function_names().min_by_key(distance);
        let nearest = nearest.filter(|known| distance(known) <= name.len().div_ceil(3));
        let error = Error::config(format!("UNRESOLVED_ROUTINE: there is no function {name}"));
        Err(error.hint(match nearest {
            Some(nearest) => format!("{page}; the nearest name is {nearest}"),
            None => page.to_owned(),
        }))
    }
}

fn is_lambda(arg: &FunctionArg) -> bool {
    matches!(arg, FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Lambda(_))))
}

/// `value.name`: a field of a struct, of each struct of an array, or the value of a map's key.
fn field(value: Expr, name: &str) -> Expr {
    build::call("get_field", vec![value, build::text(name)])
}

pub(super) fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::Nested(Box::new(Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }))
}

fn negate(negated: bool, inner: Expr) -> Expr {
    if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(inner) } } else { inner }
}
