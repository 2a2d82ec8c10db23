//! Which columns a name can mean where it is written.
//!
//! A scope for each SELECT, the innermost last; a lambda's parameters are a scope of their own. Names are
//! compared without case unless `spark.sql.caseSensitive` says otherwise.

use datafusion::sql::sqlparser::ast::{Expr, Ident};

use super::build;
use super::refusal::unsupported;
use crate::model::{Error, Result};
use crate::query::conf::is_same_name;

/// A column of a FROM.
#[derive(Debug, Clone)]
pub(super) struct Column {
    /// The relation's name, in lower case.
    pub(super) qualifier: Option<String>,
    /// The name as its maker spelled it.
    pub(super) name: String,
    /// Whether only its qualified name reaches it: the other side of a USING.
    pub(super) hidden: bool,
}

impl Column {
    pub(super) fn expr(&self) -> Expr {
        build::column(self.qualifier.as_deref(), &self.name)
    }
}

/// What is visible at one level.
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// The columns of the FROM.
    pub(super) columns: Vec<Column>,
    /// The parameters of a lambda.
    pub(super) parameters: Vec<String>,
    /// Columns of the same SELECT, further left, by their alias.
    pub(super) aliases: Vec<(String, Expr)>,
}

/// What a dotted name means: an expression, and the fields inside it that are left.
pub(super) struct Found {
    /// The column.
    pub(super) expr: Expr,
    /// How many parts of the name it took.
    pub(super) taken: usize,
}

/// The scopes at one place of a query.
#[derive(Debug)]
pub(super) struct Scopes {
    levels: Vec<Scope>,
    case_sensitive: bool,
}

impl Scopes {
    pub(super) fn new(case_sensitive: bool) -> Scopes {
        Scopes { levels: Vec::new(), case_sensitive }
    }

    pub(super) fn push(&mut self, scope: Scope) {
        self.levels.push(scope);
    }

    pub(super) fn pop(&mut self) -> Scope {
        self.levels.pop().unwrap_or_default()
    }

    /// The innermost level.
    pub(super) fn inner(&mut self) -> Option<&mut Scope> {
        self.levels.last_mut()
    }

    /// The columns of the FROM at hand: a lambda has none of its own.
    pub(super) fn columns(&self) -> &[Column] {
        let of_select = self.levels.iter().rev().find(|level| level.parameters.is_empty());
        of_select.map_or(&[], |level| &level.columns)
    }

    /// Whether two names are the same.
    pub(super) fn same(&self, a: &str, b: &str) -> bool {
        is_same_name(self.case_sensitive, a, b)
    }

    /// The column that a dotted name begins with.
    ///
    /// # Errors
    /// `Config`: `UNRESOLVED_COLUMN` with the nearest names, or `AMBIGUOUS_REFERENCE`.
    pub(super) fn resolve(&self, parts: &[Ident]) -> Result<Found> {
        for level in self.levels.iter().rev() {
            if let Some(found) = self.at(level, parts)? {
                return Ok(found);
            }
        }
        Err(unresolved(parts, self.levels.iter().flat_map(|level| &level.columns)))
    }

    /// What is left of the columns that a star stands for without those that EXCEPT names.
    ///
    /// # Errors
    /// `Config`: a name means none of the columns, several, one that was named before, or a field in one.
    pub(super) fn without(&self, star: Vec<Column>, except: &[Vec<Ident>]) -> Result<Vec<Column>> {
        let star = Scope { columns: star, ..Scope::default() };
        let mut left_out: Vec<Expr> = Vec::with_capacity(except.len());
        for name in except {
            let found = self.at(&star, name)?.ok_or_else(|| unresolved(name, star.columns.iter()))?;
            if found.taken < name.len() {
                let column = dotted(&name[..found.taken]);
                return Err(unsupported(&format!("EXCEPT ({}), which leaves out a field,", dotted(name)))
                    .hint(format!(
                        "write EXCEPT ({column}), and struct(…) AS {column} of the fields that stay"
                    )));
            }
            if left_out.contains(&found.expr) {
                return Err(Error::config(format!(
                    "EXCEPT_OVERLAPPING_COLUMNS: EXCEPT names the column {} twice",
                    dotted(name)
                )));
            }
            left_out.push(found.expr);
        }
        Ok(star.columns.into_iter().filter(|column| !left_out.contains(&column.expr())).collect())
    }

    /// The column of the SELECT list at hand that has this alias.
    pub(super) fn alias(&self, name: &Ident) -> Option<Expr> {
        let aliases = &self.levels.last()?.aliases;
        let alias = aliases.iter().rev().find(|(alias, _)| self.same(alias, &name.value));
        alias.map(|(_, expr)| expr.clone())
    }

    fn at(&self, level: &Scope, parts: &[Ident]) -> Result<Option<Found>> {
        let [first, rest @ ..] = parts else { return Ok(None) };
        if let Some(name) = level.parameters.iter().find(|name| self.same(name, &first.value)) {
            return Ok(Some(Found { expr: build::column(None, name), taken: 1 }));
        }
        let qualified = |column: &&Column| {
            let relation = column.qualifier.as_deref();
            relation.is_some_and(|relation| relation == first.value.to_lowercase())
                && rest.first().is_some_and(|name| self.same(&column.name, &name.value))
        };
        if let Some(column) = one(level.columns.iter().filter(qualified), parts)? {
            return Ok(Some(Found { expr: column.expr(), taken: 2 }));
        }
        let plain = |column: &&Column| !column.hidden && self.same(&column.name, &first.value);
        if let Some(column) = one(level.columns.iter().filter(plain), parts)? {
            return Ok(Some(Found { expr: column.expr(), taken: 1 }));
        }
        let alias = level.aliases.iter().rev().find(|(name, _)| self.same(name, &first.value));
        Ok(alias.map(|(_, expr)| Found { expr: expr.clone(), taken: 1 }))
    }
}

fn unresolved<'a>(parts: &[Ident], columns: impl Iterator<Item = &'a Column>) -> Error {
    let error = Error::config(format!("UNRESOLVED_COLUMN: there is no column {}", dotted(parts)));
    let wanted = parts.last().map(|part| part.value.to_lowercase()).unwrap_or_default();
    let nearest = columns.min_by_key(|column| strsim::levenshtein(&column.name.to_lowercase(), &wanted));
    match nearest {
        Some(column) => error.hint(format!("the nearest name is {}", column.name)),
        None => error.hint("sql needs a FROM that has the column"),
    }
}

fn one<'a>(mut columns: impl Iterator<Item = &'a Column>, parts: &[Ident]) -> Result<Option<&'a Column>> {
    let first = columns.next();
    if first.is_some() && columns.next().is_some() {
        return Err(Error::config(format!(
            "AMBIGUOUS_REFERENCE: {} can be more than one column",
            dotted(parts)
        ))
        .hint("write the relation's name before it"));
    }
    Ok(first)
}

fn dotted(parts: &[Ident]) -> String {
    parts.iter().map(|part| part.value.as_str()).collect::<Vec<_>>().join(".")
}
