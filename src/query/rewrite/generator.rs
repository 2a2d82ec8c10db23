//! Functions that make rows: `explode` and its kin, in SELECT and in LATERAL VIEW, and `window`.
//!
//! Each becomes a relation around the FROM, which `query::generate` plans. It travels as a PIVOT, which streams do
//! not have: the FROM as its table, the call as its aggregate, OUTER as its default, the columns' names as its
//! alias.

use datafusion::sql::sqlparser::ast::{
    Expr, ExprWithAlias, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Join,
    JoinConstraint, JoinOperator, LateralView, PivotValueSource, TableAlias, TableAliasColumnDef,
    TableFactor, TableWithJoins, Value,
};

use super::refusal::unsupported;
use super::scope::Column;
use super::star::Item;
use super::{Rewriter, build};
use crate::model::{Error, Result};

/// The generators and whether they keep a row whose collection is empty or NULL.
const GENERATORS: [(&str, &str, bool); 8] = [
    ("explode", "explode", false),
    ("explode_outer", "explode", true),
    ("posexplode", "posexplode", false),
    ("posexplode_outer", "posexplode", true),
    ("inline", "inline", false),
    ("inline_outer", "inline", true),
    ("json_tuple", "json_tuple", false),
    ("stack", "stack", false),
];

/// The functions that make windows, and those that make their rows.
const WINDOWS: [(&str, &str); 2] = [("window", "window_rows"), ("session_window", "session_window_rows")];

/// The one of a name's functions that makes windows: its name, and the function of its rows.
pub(super) fn window_function(name: &str) -> Option<(&'static str, &'static str)> {
    WINDOWS.into_iter().find(|(window, _)| *window == name)
}

/// Whether a function makes rows.
pub(crate) fn is_generator(name: &str) -> bool {
    GENERATORS.iter().any(|(generator, ..)| *generator == name)
}

/// A window that a SELECT asks for; its rows are made once the whole SELECT is read.
#[derive(Debug, Clone)]
pub(super) struct PendingWindow {
    call: Expr,
    relation: String,
}

impl Rewriter<'_> {
    /// The columns of a generator that stands alone in SELECT, and the FROM with it.
    pub(super) fn generated(&mut self, function: Function, names: Vec<Ident>) -> Result<Vec<Item>> {
        let relation = self.own_name();
        let columns = self.generate(function, false, &relation, names)?;
        Ok(columns.into_iter().map(|column| (column.expr(), column.name)).collect())
    }

    /// LATERAL VIEW: the FROM with the generator, whose columns join the scope.
    pub(super) fn lateral_view(&mut self, view: LateralView) -> Result<()> {
        let Expr::Function(function) = view.lateral_view else {
            return Err(unsupported(&format!("LATERAL VIEW {}", view.lateral_view)));
        };
        let relation = view.lateral_view_name.to_string().replace('`', "").to_lowercase();
        let columns = self.generate(function, view.outer, &relation, view.lateral_col_alias)?;
        if let Some(scope) = self.scopes.inner() {
            scope.columns.extend(columns);
        }
        Ok(())
    }

    fn generate(
        &mut self,
        function: Function,
        outer: bool,
        relation: &str,
        names: Vec<Ident>,
    ) -> Result<Vec<Column>> {
        let name = function.name.to_string().replace('`', "").to_lowercase();
        let Some((_, rows, keeps)) = GENERATORS.iter().find(|(generator, ..)| *generator == name) else {
            return Err(Error::config(format!("{name} is not a function that makes rows"))
                .hint("LATERAL VIEW takes explode, posexplode, inline, json_tuple or stack"));
        };
        let args = self.row_arguments(function.args)?;
        let call = self.call(rows, args)?;
        self.wrap(call, outer || *keeps, relation, names)
    }

    /// The arguments of a function that makes rows, and the columns that stars among them stand for.
    fn row_arguments(&mut self, args: FunctionArguments) -> Result<Vec<Expr>> {
        let FunctionArguments::List(list) = args else { return Ok(Vec::new()) };
        let mut exprs = Vec::with_capacity(list.args.len());
        for arg in list.args {
            match (self.star_of(&arg)?, arg) {
                (Some(columns), _) => exprs.extend(columns.into_iter().map(|(expr, _)| expr)),
                (None, FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))) => exprs.push(self.expr(expr)?),
                (None, other) => return Err(unsupported(&format!("the argument {other}"))),
            }
        }
        Ok(exprs)
    }

    /// The reference to a window's column; its rows are made when the SELECT is read to its end.
    pub(super) fn window(
        &mut self,
        (name, rows): (&'static str, &'static str),
        args: FunctionArguments,
    ) -> Result<Expr> {
        let args = self.row_arguments(args)?;
        let call = self.call(rows, args)?;
        let known = self.windows.iter().find(|pending| pending.call == call);
        let relation = match known {
            Some(pending) => pending.relation.clone(),
            None => {
                let relation = self.own_name();
                self.windows.push(PendingWindow { call, relation: relation.clone() });
                relation
            }
        };
        Ok(build::column(Some(&relation), name))
    }

    /// Whether an expression is a window whose rows are not made yet.
    pub(super) fn is_pending_window(&self, expr: &Expr) -> bool {
        let Expr::CompoundIdentifier(names) = expr else { return false };
        let relation = names.first().map(|name| &name.value);
        self.windows.iter().any(|pending| Some(&pending.relation) == relation)
    }

    /// Puts the windows that were asked for around the FROM.
    pub(super) fn place_windows(&mut self) -> Result<()> {
        let windows = std::mem::take(&mut self.windows);
        if windows.len() > 1 {
            return Err(Error::config(
                "sql has two different windows in one SELECT: each row would be in every pair of them, which is not supported",
            )
            .hint("put one of them into a subquery, or into a view"));
        }
        for pending in windows {
            self.wrap(pending.call, false, &pending.relation, Vec::new())?;
        }
        Ok(())
    }

    fn wrap(&mut self, call: Expr, outer: bool, relation: &str, names: Vec<Ident>) -> Result<Vec<Column>> {
        let before = self.schema_of(&self.from)?.fields().len();
        let names: Vec<Ident> = names.into_iter().map(|name| build::ident(name.value)).collect();
        let columns = names.into_iter().map(|name| TableAliasColumnDef { name, data_type: None }).collect();
        let alias = TableAlias { explicit: true, name: build::ident(relation), columns, at: None };
        let factor = TableFactor::Pivot {
            table: Box::new(one_factor(std::mem::take(&mut self.from))),
            aggregate_functions: vec![ExprWithAlias { expr: call, alias: None }],
            value_column: Vec::new(),
            value_source: PivotValueSource::Any(Vec::new()),
            default_on_null: Some(Expr::Value(Value::Boolean(outer).with_empty_span())),
            alias: Some(alias),
        };
        self.from.push(TableWithJoins { relation: factor, joins: Vec::new() });
        let schema = self.schema_of(&self.from)?;
        let made = schema.iter().skip(before).map(|(_, field)| Column {
            qualifier: Some(relation.to_owned()),
            name: field.name().clone(),
            hidden: false,
        });
        Ok(made.collect())
    }
}

/// A FROM of several relations as one.
fn one_factor(from: Vec<TableWithJoins>) -> TableFactor {
    let mut relations = from.into_iter();
    let Some(mut first) = relations.next() else {
        return TableFactor::Derived {
            lateral: false,
            subquery: Box::new(build::select(None, Vec::new(), Vec::new())),
            alias: None,
            sample: None,
        };
    };
    for other in relations {
        let relation = TableFactor::NestedJoin { table_with_joins: Box::new(other), alias: None };
        let join_operator = JoinOperator::CrossJoin(JoinConstraint::None);
        first.joins.push(Join { relation, global: false, join_operator });
    }
    if first.joins.is_empty() {
        return first.relation;
    }
    TableFactor::NestedJoin { table_with_joins: Box::new(first), alias: None }
}
