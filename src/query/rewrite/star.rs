//! Stars: `*`, `relation.*` and `column.*`, as columns of a SELECT and as arguments of a function.

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{
    ExceptSelectItem, Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, WildcardAdditionalOptions,
};

use super::refusal::unsupported;
use super::scope::Column;
use super::{Rewriter, build};
use crate::model::{Error, Result};
use crate::query::dialect::EXCEPTED;

/// A column: its expression, resolved, and its name.
pub(super) type Item = (Expr, String);

impl Rewriter<'_> {
    /// `*`: the columns of the FROM.
    ///
    /// # Errors
    /// `Config`: something other than EXCEPT stands behind the star.
    pub(super) fn star(&self, options: WildcardAdditionalOptions) -> Result<Vec<Item>> {
        let except = excepted(options)?;
        let shown = self.scopes.columns().iter().filter(|column| !column.hidden);
        let kept = shown.filter(|column| !except.iter().any(|name| self.scopes.same(name, &column.name)));
        Ok(kept.map(|column| (column.expr(), column.name.clone())).collect())
    }

    /// `relation.*`, or `column.*` for the fields of a struct.
    ///
    /// # Errors
    /// As for [`Rewriter::star`]; there is no such relation or struct.
    pub(super) fn qualified_star(
        &mut self,
        name: &ObjectName,
        options: WildcardAdditionalOptions,
    ) -> Result<Vec<Item>> {
        let (parts, mut except) = parts(name);
        except.extend(excepted(options)?);
        let name = ObjectName::from(parts.clone());
        let kept = |name: &str| !except.iter().any(|other| self.scopes.same(other, name));
        if let [relation] = parts.as_slice() {
            let relation = relation.value.to_lowercase();
            let of = |column: &&Column| column.qualifier.as_deref() == Some(&relation);
            let mut of = self.scopes.columns().iter().filter(of).peekable();
            if of.peek().is_some() {
                let kept = of.filter(|column| kept(&column.name));
                return Ok(kept.map(|column| (column.expr(), column.name.clone())).collect());
            }
        }
        let value = self.expr(Expr::CompoundIdentifier(parts))?;
        if self.is_pending_window(&value) {
            return Err(Error::config(format!(
                "CANNOT_RESOLVE_STAR_EXPAND: {name} is made by this SELECT, and {name}.* needs a column of its FROM"
            ))
            .hint(format!("write {name}.start and {name}.end, or make the window in a subquery")));
        }
        let schema = self.schema_of_expr(&value, &self.from)?;
        let DataType::Struct(fields) = schema.field(0).data_type() else {
            return Err(Error::config(format!("{name}.* needs a struct, {name} is not one")));
        };
        let kept = |name: &str| !except.iter().any(|other| self.scopes.same(other, name));
        let field =
            |name: &String| (build::call("get_field", vec![value.clone(), build::text(name)]), name.clone());
        Ok(fields.iter().filter(|field| kept(field.name())).map(|of| field(of.name())).collect())
    }

    /// The columns that an argument of a function stands for, if it is a star.
    ///
    /// # Errors
    /// As for [`Rewriter::qualified_star`].
    pub(super) fn star_of(&mut self, arg: &FunctionArg) -> Result<Option<Vec<Item>>> {
        let FunctionArg::Unnamed(arg) = arg else { return Ok(None) };
        match arg {
            FunctionArgExpr::Expr(_) => Ok(None),
            FunctionArgExpr::Wildcard => self.star(WildcardAdditionalOptions::default()).map(Some),
            FunctionArgExpr::WildcardWithOptions(options) => self.star(options.clone()).map(Some),
            FunctionArgExpr::QualifiedWildcard(name) => {
                self.qualified_star(name, WildcardAdditionalOptions::default()).map(Some)
            }
        }
    }

    /// Puts the names of columns in the place of stars, in a call whose name is wanted. Spark prints a field of a struct
    /// as `column.field AS field`.
    pub(super) fn name_stars(&mut self, args: &mut Vec<FunctionArg>) {
        for arg in std::mem::take(args) {
            // The error comes again when the call itself is rewritten.
            let Ok(Some(columns)) = self.star_of(&arg) else {
                args.push(arg);
                continue;
            };
            let mut path: Vec<Ident> = match &arg {
                FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(of)) => parts(of).0,
                _ => Vec::new(),
            };
            let relations = self.scopes.resolve(&path).map_or(0, |found| found.taken.saturating_sub(1));
            path.drain(..relations);
            args.extend(columns.into_iter().map(|(expr, name)| {
                let name = build::ident(name);
                let printed = match expr {
                    Expr::Function(_) => {
                        let field = path.iter().cloned().chain([name.clone()]).collect();
                        Expr::Named { expr: Box::new(Expr::CompoundIdentifier(field)), name }
                    }
                    _ => Expr::Identifier(name),
                };
                FunctionArg::Unnamed(FunctionArgExpr::Expr(printed))
            }));
        }
    }
}

/// The name before a star, and the names behind EXCEPT that came with it.
fn parts(name: &ObjectName) -> (Vec<Ident>, Vec<String>) {
    let (mut parts, mut except) = (Vec::new(), Vec::new());
    for part in name.0.iter().filter_map(|part| part.as_ident()) {
        match part.value.strip_prefix(EXCEPTED) {
            Some(name) => except.push(name.to_owned()),
            None => parts.push(part.clone()),
        }
    }
    (parts, except)
}

/// `count(*)` counts rows, and no columns.
pub(super) fn counts_rows(function: &str, args: &[FunctionArg], distinct: bool) -> bool {
    function == "count" && !distinct && matches!(args, [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)])
}

/// The names behind EXCEPT.
fn excepted(options: WildcardAdditionalOptions) -> Result<Vec<String>> {
    if options.opt_ilike.is_some()
        || options.opt_exclude.is_some()
        || options.opt_replace.is_some()
        || options.opt_rename.is_some()
        || options.opt_alias.is_some()
    {
        return Err(unsupported("* with ILIKE, EXCLUDE, REPLACE or RENAME").hint("write * EXCEPT (…)"));
    }
    Ok(options.opt_except.map_or_else(Vec::new, |ExceptSelectItem { first_element, additional_elements }| {
        std::iter::once(first_element).chain(additional_elements).map(|name| name.value).collect()
    }))
}
