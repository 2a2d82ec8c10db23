//! From the parser's tree to one that DataFusion plans as Spark would: names resolved, Spark's forms replaced.
//!
//! ```text
//! mod         queries, WITH, UNION
//! relation    FROM: tables, joins, USING, subqueries
//! select      SELECT: aliases, generators, GROUP BY, ORDER BY
//! star        `*` in SELECT and in calls
//! expression  names, operators, calls
//! ```
//!
//! Everything the rewriter does not know is refused; nothing passes it by. The schema of a FROM is what DataFusion
//! says it is: the rewritten FROM is planned by itself whenever names must be looked up in it.

mod build;
mod call;
mod expression;
mod generator;
pub(crate) mod literal;
mod moment;
mod name;
mod printed_calls;
mod quantified;
mod refusal;
mod relation;
mod scope;
mod select;
mod star;

pub(super) use self::select::twins;

use datafusion::common::DFSchemaRef;
use datafusion::sql::sqlparser::ast::{
    Cte, Expr, Query, SelectItem, SetExpr, SetOperator, SetQuantifier, Statement, TableWithJoins, With,
    helpers::attached_token::AttachedToken,
};

use self::generator::PendingWindow;
use self::refusal::unsupported;
use self::scope::Scopes;
use super::session::{Session, refused};
use crate::model::{Error, Result};

/// Rewrites one query.
pub(crate) struct Rewriter<'a> {
    session: &'a Session,
    scopes: Scopes,
    /// The WITH queries in effect, rewritten, the innermost last.
    with: Vec<Cte>,
    /// The FROM of the SELECT at hand, rewritten.
    from: Vec<TableWithJoins>,
    /// The windows that the SELECT at hand asks for.
    windows: Vec<PendingWindow>,
    /// How many relations were given a name of our own.
    named: usize,
    /// Where an aggregate may not stand, while it may not.
    no_aggregate: Option<call::Place>,
    /// Whether a name means a column of the SELECT list before one of the FROM; not in an aggregate's arguments.
    aliases_first: bool,
    /// The keys of the SELECT at hand as they were written, if it groups by several sets of them.
    grouping_keys: Option<Vec<Expr>>,
}

impl<'a> Rewriter<'a> {
    /// A rewriter over the tables and functions of `session`.
    pub(crate) fn new(session: &'a Session) -> Rewriter<'a> {
        Rewriter {
            session,
            scopes: Scopes::new(session.conf().case_sensitive),
            with: Vec::new(),
            from: Vec::new(),
            windows: Vec::new(),
            named: 0,
            no_aggregate: None,
            aliases_first: false,
            grouping_keys: None,
        }
    }

    /// The query with everything in it resolved.
    ///
    /// # Errors
    /// `Config`, with Spark's error class where it has one.
    pub(crate) fn query(&mut self, query: Query) -> Result<Query> {
        let outer = (self.no_aggregate.take(), std::mem::take(&mut self.aliases_first));
        let query = self.whole_query(query);
        (self.no_aggregate, self.aliases_first) = outer;
        query
    }

    fn whole_query(&mut self, mut query: Query) -> Result<Query> {
        if query.fetch.is_some() || !query.locks.is_empty() || !query.pipe_operators.is_empty() {
            return Err(unsupported("FETCH, FOR UPDATE or |>"));
        }
        let outer = self.with.len();
        if let Some(with) = &mut query.with {
            if with.recursive {
                return Err(unsupported("WITH RECURSIVE"));
            }
            for cte in &mut with.cte_tables {
                self.cte(cte)?;
            }
        }
        let select_level = matches!(*query.body, SetExpr::Select(_));
        query.body = Box::new(match *query.body {
            SetExpr::Select(select) => {
                let mut order_by = query.order_by.take();
                let select = self.select(*select, order_by.as_mut())?;
                query.order_by = order_by;
                SetExpr::Select(Box::new(select))
            }
            body => self.set_expr(body)?,
        });
        if !select_level && query.order_by.is_some() {
            return Err(unsupported("ORDER BY over UNION"));
        }
        self.with.truncate(outer);
        Ok(query)
    }

    fn cte(&mut self, cte: &mut Cte) -> Result<()> {
        *cte.query = self.query((*cte.query).clone())?;
        cte.alias.name = build::ident(cte.alias.name.value.to_lowercase());
        self.with.push(cte.clone());
        Ok(())
    }

    fn set_expr(&mut self, body: SetExpr) -> Result<SetExpr> {
        Ok(match body {
            SetExpr::Select(select) => SetExpr::Select(Box::new(self.select(*select, None)?)),
            SetExpr::Query(query) => SetExpr::Query(Box::new(self.query(*query)?)),
            SetExpr::SetOperation { op: SetOperator::Minus, .. } => {
                return Err(unsupported("MINUS").hint("write EXCEPT"));
            }
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                if !matches!(
                    set_quantifier,
                    SetQuantifier::All | SetQuantifier::Distinct | SetQuantifier::None
                ) {
                    return Err(unsupported(&format!("{op} {set_quantifier}")));
                }
                let left = Box::new(self.set_expr(*left)?);
                let right = Box::new(self.set_expr(*right)?);
                SetExpr::SetOperation { left, op, set_quantifier, right }
            }
            SetExpr::Values(mut values) => {
                for row in &mut values.rows {
                    let content = std::mem::take(&mut row.content);
                    row.content = self.exprs(content)?;
                }
                SetExpr::Values(values)
            }
            other => return Err(unsupported(&other.to_string())),
        })
    }

    /// The columns of a FROM whose names are resolved already.
    fn schema_of(&self, from: &[TableWithJoins]) -> Result<DFSchemaRef> {
        self.planned(vec![build::star()], from)
    }

    /// The one column of an expression over a FROM.
    fn schema_of_expr(&self, expr: &Expr, from: &[TableWithJoins]) -> Result<DFSchemaRef> {
        let item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: build::ident("value") };
        self.planned(vec![item], from)
    }

    fn planned(&self, projection: Vec<SelectItem>, from: &[TableWithJoins]) -> Result<DFSchemaRef> {
        let mut tables: Vec<Cte> = Vec::new();
        for cte in &self.with {
            // An inner WITH hides an outer one of the same name.
            tables.retain(|known| known.alias.name.value != cte.alias.name.value);
            tables.push(cte.clone());
        }
        let with = With { with_token: AttachedToken::empty(), recursive: false, cte_tables: tables };
        let with = (!with.cte_tables.is_empty()).then_some(with);
        let query = build::select(with, projection, from.to_vec());
        let plan = self.session.plan(Statement::Query(Box::new(query))).map_err(|error| refused(&error))?;
        Ok(plan.schema().clone())
    }

    /// A name for a relation that has none.
    fn own_name(&mut self) -> String {
        self.named += 1;
        format!("_relation_{}", self.named)
    }

    fn table_is_known(&self, name: &str) -> bool {
        self.with.iter().any(|cte| cte.alias.name.value == name) || self.session.has_table(name)
    }

    fn unknown_table(&self, name: &str) -> Error {
        let names = self.with.iter().map(|cte| cte.alias.name.value.as_str());
        let nearest =
            names.chain(self.session.table_names()).min_by_key(|known| strsim::levenshtein(known, name));
        let error = Error::config(format!("TABLE_OR_VIEW_NOT_FOUND: there is no table or view {name}"));
        match nearest {
            Some(nearest) => error.hint(format!(
                "sql sees the stream as input, the views and the tables of the stream file; the nearest name is {nearest}"
            )),
            None => error,
        }
    }
}
