//! SELECT: names of columns, generators, GROUP BY and ORDER BY.
//!
//! Every column that comes out has the name that Spark gives it, as an alias.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Distinct, DuplicateTreatment, Expr, FunctionArguments, GroupByExpr, GroupByWithModifier,
    OrderBy, OrderByKind, Select, SelectItem, SelectItemQualifiedWildcardKind, Value, visit_expressions_mut,
};

use super::call::{Place, grouping_keys};
use super::expression::{CALLED_BARE, binary};
use super::refusal::unsupported;
use super::relation::{Lateral, lateral_views};
use super::scope::Scope;
use super::star::{Item, counts_rows};
use super::{Rewriter, build, generator, name};
use crate::model::{Error, Result};
use crate::query::except::as_written;

impl Rewriter<'_> {
    /// One SELECT, and the ORDER BY behind it, which sees its columns.
    ///
    /// # Errors
    /// `Config`, with Spark's error class where it has one.
    pub(super) fn select(&mut self, mut select: Select, order_by: Option<&mut OrderBy>) -> Result<Select> {
        refuse_clauses(&select)?;
        let outer_windows = std::mem::take(&mut self.windows);
        let outer_keys = std::mem::replace(&mut self.grouping_keys, grouping_keys(&select.group_by));
        let views = lateral_views(&mut select.from)?;
        let views: Vec<Lateral> =
            views.into_iter().chain(select.lateral_views.drain(..).map(|view| (view, None))).collect();
        let (from, columns) = self.from(std::mem::take(&mut select.from))?;
        let outer_from = std::mem::replace(&mut self.from, from);
        self.scopes.push(Scope { columns, ..Scope::default() });
        let outcome = self.body(&mut select, views, order_by);
        self.scopes.pop();
        select.from = std::mem::replace(&mut self.from, outer_from);
        self.windows = outer_windows;
        self.grouping_keys = outer_keys;
        outcome?;
        Ok(select)
    }

    fn body(
        &mut self,
        select: &mut Select,
        views: Vec<Lateral>,
        order_by: Option<&mut OrderBy>,
    ) -> Result<()> {
        let mut conditions = Vec::new();
        for (view, on) in views {
            self.lateral_view(view)?;
            if let Some(on) = on {
                conditions.push(self.condition(on)?);
            }
        }
        if let Some(condition) = select.selection.take() {
            conditions.push(self.condition(condition)?);
        }
        select.selection =
            conditions.into_iter().reduce(|left, right| binary(left, BinaryOperator::And, right));
        self.name_windows(&select.group_by)?;
        let mut items = Vec::new();
        for item in std::mem::take(&mut select.projection) {
            self.item(item, &mut items)?;
        }
        let group_by =
            std::mem::replace(&mut select.group_by, GroupByExpr::Expressions(Vec::new(), Vec::new()));
        select.group_by = self.without_aggregates(Place::GroupBy, |own| own.group_by(group_by, &items))?;
        if let Some(condition) = select.having.take() {
            // HAVING sees the columns that come out before those of the FROM.
            self.aliases_first = true;
            let condition = self.expr(condition);
            self.aliases_first = false;
            select.having = Some(condition?);
        }
        if let Some(order_by) = order_by {
            self.order_by(order_by, &items)?;
        }
        self.place_windows()?;
        refuse_twins(&items)?;
        let aliased = |(expr, name): Item| SelectItem::ExprWithAlias { expr, alias: build::ident(name) };
        select.projection = items.into_iter().map(aliased).collect();
        Ok(())
    }

    fn condition(&mut self, condition: Expr) -> Result<Expr> {
        self.without_aggregates(Place::Where, |own| own.expr(condition))
    }

    /// A window of GROUP BY is a column that SELECT may name: `window`, `session_window`.
    fn name_windows(&mut self, group_by: &GroupByExpr) -> Result<()> {
        let GroupByExpr::Expressions(keys, _) = group_by else { return Ok(()) };
        for key in keys {
            let Expr::Function(function) = key else { continue };
            let name = function.name.to_string().replace('`', "").to_lowercase();
            let Some((name, _)) = generator::window_function(&name) else { continue };
            let made = self.expr(key.clone())?;
            if let Some(scope) = self.scopes.inner() {
                scope.aliases.push((name.to_owned(), made));
            }
        }
        Ok(())
    }

    fn item(&mut self, item: SelectItem, items: &mut Vec<Item>) -> Result<()> {
        let (expr, names) = match item {
            SelectItem::Wildcard(options) => {
                items.extend(self.star(&options)?);
                return Ok(());
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                items.extend(self.qualified_star(&name, &options)?);
                return Ok(());
            }
            SelectItem::QualifiedWildcard(other, _) => return Err(unsupported(&format!("{other}.*"))),
            SelectItem::UnnamedExpr(expr) => (expr, Vec::new()),
            SelectItem::ExprWithAlias { expr, alias } => (expr, vec![alias]),
            SelectItem::ExprWithAliases { expr, aliases } => (expr, aliases),
        };
        if let Expr::Function(function) = &expr
            && generator::is_generator(&function.name.to_string().replace('`', "").to_lowercase())
        {
            let function = function.clone();
            items.extend(self.generated(function, names)?);
            return Ok(());
        }
        if names.len() > 1 {
            if let Expr::Function(function) = &expr {
                self.require_function(&function.name.to_string().to_lowercase())?;
            }
            return Err(Error::config(format!(
                "only a function that makes rows takes several names, not {}",
                as_written(&expr.to_string())
            )));
        }
        let alias = names.into_iter().next().map(|name| name.value);
        let name = alias.clone().unwrap_or_else(|| self.name_of(&expr));
        let expr = self.expr(expr)?;
        if let Some(alias) = alias
            && let Some(scope) = self.scopes.inner()
        {
            scope.aliases.push((alias, expr.clone()));
        }
        items.push((expr, name));
        Ok(())
    }

    /// The name of a column without an alias. A column that is cast keeps its own, a field does not.
    fn name_of(&mut self, expr: &Expr) -> String {
        let mut expr = expr.clone();
        let _ = visit_expressions_mut(&mut expr, |expr| {
            self.unqualify(expr);
            if let Expr::Function(function) = expr
                && let FunctionArguments::List(list) = &mut function.args
            {
                let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
                if !counts_rows(&function.name.to_string().to_lowercase(), &list.args, distinct) {
                    self.name_stars(&mut list.args);
                }
            }
            ControlFlow::<()>::Continue(())
        });
        match name::cast_column(&expr) {
            Some(column) => column.to_owned(),
            None => name::of_column(&expr),
        }
    }

    /// Takes the relation's name from a column, as it is no part of a name; what is called without parentheses gets some.
    fn unqualify(&self, expr: &mut Expr) {
        match expr {
            Expr::CompoundIdentifier(parts) => {
                let taken = self.scopes.resolve(parts).map_or(1, |found| found.taken);
                parts.drain(..taken - 1);
                if let [column] = parts.as_slice() {
                    *expr = Expr::Identifier(column.clone());
                }
            }
            Expr::Identifier(name) if name.quote_style.is_none() => {
                let lower = name.value.to_lowercase();
                if CALLED_BARE.contains(&lower.as_str())
                    && self.scopes.resolve(std::slice::from_ref(name)).is_err()
                {
                    name.value = format!("{lower}()");
                }
            }
            _ => {}
        }
    }

    fn group_by(&mut self, group_by: GroupByExpr, items: &[Item]) -> Result<GroupByExpr> {
        let (exprs, modifiers) = match group_by {
            GroupByExpr::All(modifiers) if modifiers.is_empty() => return Ok(GroupByExpr::All(modifiers)),
            GroupByExpr::Expressions(exprs, modifiers) => (exprs, modifiers),
            other @ GroupByExpr::All(_) => return Err(unsupported(&other.to_string())),
        };
        let mut keys = Vec::with_capacity(exprs.len());
        for expr in exprs {
            keys.push(self.group_key(expr, items)?);
        }
        let each = |keys: Vec<Expr>| keys.into_iter().map(|key| vec![key]).collect();
        let keys = match modifiers.into_iter().next() {
            None => keys,
            Some(GroupByWithModifier::Rollup) => vec![Expr::Rollup(each(keys))],
            Some(GroupByWithModifier::Cube) => vec![Expr::Cube(each(keys))],
            Some(other) => return Err(unsupported(&format!("GROUP BY … {other}"))),
        };
        Ok(GroupByExpr::Expressions(keys, Vec::new()))
    }

    fn group_key(&mut self, expr: Expr, items: &[Item]) -> Result<Expr> {
        match expr {
            Expr::Value(value) => match position(&value.value, items)? {
                Some(expr) => Ok(expr),
                None => Ok(Expr::Value(value)),
            },
            Expr::Rollup(sets) => Ok(Expr::Rollup(self.key_sets(sets, items)?)),
            Expr::Cube(sets) => Ok(Expr::Cube(self.key_sets(sets, items)?)),
            Expr::GroupingSets(sets) => Ok(Expr::GroupingSets(self.key_sets(sets, items)?)),
            other => self.expr(other),
        }
    }

    fn key_sets(&mut self, sets: Vec<Vec<Expr>>, items: &[Item]) -> Result<Vec<Vec<Expr>>> {
        let set = |set: Vec<Expr>| set.into_iter().map(|expr| self.group_key(expr, items)).collect();
        sets.into_iter().map(set).collect()
    }

    fn order_by(&mut self, order_by: &mut OrderBy, items: &[Item]) -> Result<()> {
        let OrderByKind::Expressions(keys) = &mut order_by.kind else {
            return Err(unsupported("ORDER BY ALL"));
        };
        for key in keys {
            let expr = std::mem::replace(&mut key.expr, Expr::Value(Value::Null.with_empty_span()));
            key.expr = match expr {
                Expr::Value(value) => match position(&value.value, items)? {
                    Some(expr) => expr,
                    None => Expr::Value(value),
                },
                Expr::Identifier(name) => {
                    match items.iter().find(|(_, item)| self.scopes.same(item, &name.value)) {
                        Some((_, item)) => build::column(None, item),
                        None => self.expr(Expr::Identifier(name))?,
                    }
                }
                other => self.expr(other)?,
            };
            // Spark's nulls are the smallest values.
            let ascending = key.options.asc.unwrap_or(true);
            key.options.nulls_first.get_or_insert(ascending);
        }
        Ok(())
    }
}

/// A name means one column.
fn refuse_twins(items: &[Item]) -> Result<()> {
    let twin = |(at, item): (usize, &Item)| items[..at].iter().any(|(_, name)| *name == item.1);
    match items.iter().enumerate().find(|item| twin(*item)) {
        Some((_, (_, name))) => Err(twins(name)),
        None => Ok(()),
    }
}

/// The refusal of two columns with one name.
pub(in crate::query) fn twins(name: &str) -> Error {
    Error::config(format!("COLUMN_ALREADY_EXISTS: sql gives two columns named {name}"))
        .hint("give one of them another name with AS")
}

/// The column that a number in GROUP BY or ORDER BY means.
fn position(value: &Value, items: &[Item]) -> Result<Option<Expr>> {
    let Value::Number(digits, _) = value else { return Ok(None) };
    let position: usize = digits.parse().unwrap_or_default();
    match position.checked_sub(1).and_then(|index| items.get(index)) {
        Some((expr, _)) => Ok(Some(expr.clone())),
        None => Err(Error::config(format!(
            "GROUP_BY_POS_OUT_OF_RANGE: position {digits} is not in the SELECT list of {} columns",
            items.len()
        ))),
    }
}

fn refuse_clauses(select: &Select) -> Result<()> {
    let clause = [
        (select.top.is_some(), "TOP"),
        (select.into.is_some(), "INTO"),
        (select.prewhere.is_some(), "PREWHERE"),
        (!select.connect_by.is_empty(), "CONNECT BY"),
        (!select.cluster_by.is_empty(), "CLUSTER BY"),
        (!select.distribute_by.is_empty(), "DISTRIBUTE BY"),
        (!select.sort_by.is_empty(), "SORT BY"),
        (!select.named_window.is_empty(), "WINDOW"),
        (select.qualify.is_some(), "QUALIFY"),
        (select.exclude.is_some(), "EXCLUDE"),
        (matches!(select.distinct, Some(Distinct::On(_))), "DISTINCT ON"),
    ];
    match clause.iter().find(|(there, _)| *there) {
        Some((_, clause)) => Err(unsupported(clause)),
        None => Ok(()),
    }
}
