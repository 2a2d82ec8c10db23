//! FROM: which relations there are, which columns they show, and how they are joined.
//!
//! USING and NATURAL become conditions like any other, so that keys find their common type as `=` does.

use arrow::datatypes::FieldRef;
use datafusion::common::TableReference;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, Join, JoinConstraint, JoinOperator, LateralView, ObjectName,
    TableAlias, TableFactor, TableWithJoins, Value,
};

use super::expression::binary;
use super::generator::is_generator;
use super::refusal::unsupported;
use super::scope::{Column, Scope};
use super::{Rewriter, build};
use crate::model::{Error, Result};
use crate::query::dialect;

impl Rewriter<'_> {
    /// The relations of a FROM and the columns that they show together.
    pub(super) fn from(&mut self, from: Vec<TableWithJoins>) -> Result<(Vec<TableWithJoins>, Vec<Column>)> {
        let mut relations = Vec::with_capacity(from.len());
        let mut columns = Vec::new();
        for relation in from {
            let (relation, more) = self.joined(relation)?;
            relations.push(relation);
            columns.extend(more);
        }
        Ok((relations, columns))
    }

    fn joined(&mut self, joined: TableWithJoins) -> Result<(TableWithJoins, Vec<Column>)> {
        let (relation, mut left) = self.factor(joined.relation)?;
        let mut joins = Vec::with_capacity(joined.joins.len());
        for join in joined.joins {
            let (relation, right) = self.factor(join.relation)?;
            let (join_operator, columns) = self.join(join.join_operator, left, right)?;
            left = columns;
            joins.push(Join { relation, global: false, join_operator });
        }
        Ok((TableWithJoins { relation, joins }, left))
    }

    fn factor(&mut self, factor: TableFactor) -> Result<(TableFactor, Vec<Column>)> {
        let factor = match factor {
            TableFactor::Table { name, alias, args: None, sample: None, version: None, .. } => {
                self.table(&name, alias)?
            }
            TableFactor::Derived { lateral: false, subquery, alias, sample: None } => {
                let subquery = Box::new(self.query(*subquery)?);
                TableFactor::Derived { lateral: false, subquery, alias: alias.map(lower), sample: None }
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                let (joined, columns) = self.joined(*table_with_joins)?;
                let factor = TableFactor::NestedJoin { table_with_joins: Box::new(joined), alias: None };
                return Ok((factor, columns));
            }
            TableFactor::Pivot { .. } => return Err(unsupported("PIVOT")),
            TableFactor::Function { lateral: true, .. } => {
                return Err(unsupported(&format!("{factor} before another relation")).hint(
                    "write it last in FROM, or LATERAL VIEW explode(…) view AS column behind the FROM",
                ));
            }
            other => return Err(unsupported(&other.to_string())),
        };
        let alone = TableWithJoins { relation: factor, joins: Vec::new() };
        let schema = self.schema_of(std::slice::from_ref(&alone))?;
        let column = |(qualifier, field): (Option<&TableReference>, &FieldRef)| Column {
            qualifier: qualifier.map(|name| name.table().to_owned()),
            name: field.name().clone(),
            hidden: false,
        };
        let columns = schema.iter().map(column).collect();
        Ok((alone.relation, columns))
    }

    fn table(&self, name: &ObjectName, alias: Option<TableAlias>) -> Result<TableFactor> {
        let written = name.to_string().replace('`', "");
        let lower_name = written.to_lowercase();
        if !self.table_is_known(&lower_name) {
            return Err(self.unknown_table(&written));
        }
        Ok(TableFactor::Table {
            name: build::object_name(lower_name),
            alias: alias.map(lower),
            args: None,
            with_hints: Vec::new(),
            version: None,
            with_ordinality: false,
            partitions: Vec::new(),
            json_path: None,
            sample: None,
            index_hints: Vec::new(),
        })
    }

    /// The operator with its condition, and the columns that the join shows.
    fn join(
        &mut self,
        operator: JoinOperator,
        left: Vec<Column>,
        right: Vec<Column>,
    ) -> Result<(JoinOperator, Vec<Column>)> {
        let (constraint, kind): (_, fn(JoinConstraint) -> JoinOperator) = match operator {
            JoinOperator::Join(on) | JoinOperator::Inner(on) => (on, JoinOperator::Inner),
            JoinOperator::CrossJoin(on) => (on, JoinOperator::Inner),
            JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => (on, JoinOperator::LeftOuter),
            JoinOperator::Right(on) | JoinOperator::RightOuter(on) => (on, JoinOperator::RightOuter),
            JoinOperator::FullOuter(on) => (on, JoinOperator::FullOuter),
            JoinOperator::Semi(on) | JoinOperator::LeftSemi(on) => (on, JoinOperator::LeftSemi),
            JoinOperator::Anti(on) | JoinOperator::LeftAnti(on) => (on, JoinOperator::LeftAnti),
            other => return Err(unsupported(&format!("the join {other:?}"))),
        };
        let side = kind(JoinConstraint::None);
        let names = match &constraint {
            JoinConstraint::Using(names) => {
                names.iter().map(|name| name.to_string().replace('`', "")).collect()
            }
            JoinConstraint::Natural => self.common_names(&left, &right),
            JoinConstraint::On(_) | JoinConstraint::None => Vec::new(),
        };
        let on = match constraint {
            JoinConstraint::On(condition) => {
                let columns = left.iter().chain(&right).cloned().collect();
                self.scopes.push(Scope { columns, ..Scope::default() });
                let condition = self.expr(condition);
                self.scopes.pop();
                JoinConstraint::On(condition?)
            }
            JoinConstraint::None => JoinConstraint::None,
            _ => self.using(&names, &left, &right)?,
        };
        if matches!(side, JoinOperator::FullOuter(_)) && !names.is_empty() {
            return Err(unsupported("FULL OUTER JOIN with USING").hint("write ON"));
        }
        let operator = match (&on, &side) {
            (JoinConstraint::None, JoinOperator::Inner(_)) => JoinOperator::CrossJoin(JoinConstraint::None),
            (JoinConstraint::None, _) => {
                return Err(Error::config("a join that is not an inner join needs ON or USING"));
            }
            _ => kind(on),
        };
        let columns = match side {
            JoinOperator::LeftSemi(_) | JoinOperator::LeftAnti(_) => left,
            JoinOperator::RightOuter(_) => self.shown(&names, right, left),
            _ => self.shown(&names, left, right),
        };
        Ok((operator, columns))
    }

    fn common_names(&self, left: &[Column], right: &[Column]) -> Vec<String> {
        let shared = |column: &&Column| right.iter().any(|other| self.scopes.same(&other.name, &column.name));
        left.iter().filter(|column| !column.hidden).filter(shared).map(|column| column.name.clone()).collect()
    }

    fn using(&self, names: &[String], left: &[Column], right: &[Column]) -> Result<JoinConstraint> {
        let mut all: Option<Expr> = None;
        for name in names {
            let find = |side: &[Column], which: &str| {
                let same = |column: &&Column| !column.hidden && self.scopes.same(&column.name, name);
                side.iter().find(same).map(Column::expr).ok_or_else(|| {
                    Error::config(format!(
                        "UNRESOLVED_USING_COLUMN_FOR_JOIN: the {which} side of the join has no column {name}"
                    ))
                })
            };
            let same = binary(find(left, "left")?, BinaryOperator::Eq, find(right, "right")?);
            all = Some(match all {
                Some(before) => binary(before, BinaryOperator::And, same),
                None => same,
            });
        }
        Ok(all.map_or(JoinConstraint::None, JoinConstraint::On))
    }

    /// The columns of a join with USING: the keys first, from the side whose rows all come out; the other side's
    /// keys only by their qualified names.
    fn shown(&self, names: &[String], kept: Vec<Column>, other: Vec<Column>) -> Vec<Column> {
        let is_key = |column: &Column| names.iter().any(|name| self.scopes.same(name, &column.name));
        let (mut shown, rest): (Vec<_>, Vec<_>) =
            kept.into_iter().partition(|column| !column.hidden && is_key(column));
        let (mut hidden, more): (Vec<_>, Vec<_>) =
            other.into_iter().partition(|column| !column.hidden && is_key(column));
        hidden.iter_mut().for_each(|column| column.hidden = true);
        shown.extend(rest);
        shown.extend(more);
        shown.extend(hidden);
        shown
    }
}

/// A function that makes rows behind LATERAL, and the condition that its rows are joined on.
pub(super) type Lateral = (LateralView, Option<Expr>);

/// Takes what is `LATERAL explode(…) AS view(column)` at the end of a FROM, as the LATERAL VIEW that it is.
///
/// # Errors
/// `Config`: the function makes no rows, or the join is none that a LATERAL VIEW can be.
pub(super) fn lateral_views(from: &mut Vec<TableWithJoins>) -> Result<Vec<Lateral>> {
    let mut views = Vec::new();
    while let Some(last) = from.last_mut() {
        let (relation, operator) = match last.joins.last() {
            Some(join) => (&join.relation, Some(&join.join_operator)),
            None => (&last.relation, None),
        };
        let TableFactor::Function { lateral: true, name, args, alias, .. } = relation else { break };
        if !is_generator(&name.to_string().replace('`', "").to_lowercase()) {
            return Err(unsupported(&relation.to_string())
                .hint("LATERAL takes explode, posexplode, inline, json_tuple or stack"));
        }
        let (outer, on) = match operator {
            None => (false, None),
            Some(operator) => lateral_join(operator, relation)?,
        };
        views.push((lateral_view(name, args, alias.as_ref(), outer), on));
        if last.joins.pop().is_none() {
            from.pop();
        }
    }
    views.reverse();
    Ok(views)
}

/// Whether a join with a function keeps a row of which the function makes none, and the condition that it joins on.
fn lateral_join(operator: &JoinOperator, function: &TableFactor) -> Result<(bool, Option<Expr>)> {
    let (constraint, outer) = match operator {
        JoinOperator::CrossJoin(on) | JoinOperator::Join(on) | JoinOperator::Inner(on) => (on, false),
        JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => (on, true),
        _ => {
            return Err(unsupported(&format!("a join with {function} that is neither inner nor LEFT")));
        }
    };
    match constraint {
        JoinConstraint::None => Ok((outer, None)),
        JoinConstraint::On(Expr::Value(value)) if value.value == Value::Boolean(true) => Ok((outer, None)),
        JoinConstraint::On(condition) if outer => {
            Err(unsupported(&format!("LEFT JOIN {function} ON {condition}"))
                .hint("write ON true, and leave elements out with filter(array, element -> …)"))
        }
        JoinConstraint::On(condition) => Ok((outer, Some(condition.clone()))),
        _ => Err(unsupported(&format!("a join with {function} by USING or NATURAL"))
            .hint("write ON, or the condition in WHERE")),
    }
}

fn lateral_view(
    name: &ObjectName,
    args: &[FunctionArg],
    alias: Option<&TableAlias>,
    outer: bool,
) -> LateralView {
    let (view, columns) = match alias {
        Some(alias) => {
            let columns = alias.columns.iter().map(|column| column.name.clone()).collect();
            (ObjectName::from(vec![alias.name.clone()]), columns)
        }
        None => (name.clone(), Vec::new()),
    };
    LateralView {
        lateral_view: dialect::call(name.clone(), args.to_vec()),
        lateral_view_name: view,
        lateral_col_alias: columns,
        outer,
    }
}

/// Relations' names are compared without case: all are in lower case.
fn lower(mut alias: TableAlias) -> TableAlias {
    alias.name = build::ident(alias.name.value.to_lowercase());
    for column in &mut alias.columns {
        column.name = build::ident(column.name.value.clone());
    }
    alias
}
