//! Stars: `*`, `relation.*` and `column.*`, as columns of a SELECT and as arguments of a function.

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, WildcardAdditionalOptions,
};

use super::refusal::unsupported;
use super::scope::Column;
use super::{Rewriter, build};
use crate::model::{Error, Result};
use crate::query::except::taken_apart;

/// A column: its expression, resolved, and its name.
pub(super) type Item = (Expr, String);

impl Rewriter<'_> {
    /// `*`: the columns of the FROM.
    ///
    /// # Errors
    /// `Config`: something other than EXCEPT stands behind the star.
    pub(super) fn star(&self, options: &WildcardAdditionalOptions) -> Result<Vec<Item>> {
        refuse_options(options)?;
        self.all_but(&[])
    }

    /// The columns of the FROM but for some.
    fn all_but(&self, except: &[Vec<Ident>]) -> Result<Vec<Item>> {
        let shown = self.scopes.columns().iter().filter(|column| !column.hidden).cloned().collect();
        Ok(items(self.scopes.without(shown, except)?))
    }

    /// `relation.*`, or `column.*` for the fields of a struct; without either, `* EXCEPT (…)`.
    ///
    /// # Errors
    /// As for [`Rewriter::star`]; there is no such relation or struct; EXCEPT names what the star has not.
    pub(super) fn qualified_star(
        &mut self,
        name: &ObjectName,
        options: &WildcardAdditionalOptions,
    ) -> Result<Vec<Item>> {
        refuse_options(options)?;
        let (parts, except) = taken_apart(name);
        if parts.is_empty() {
            return self.all_but(&except);
        }
        let name = ObjectName::from(parts.clone());
        if let [relation] = parts.as_slice() {
            let relation = relation.value.to_lowercase();
            let of = |column: &&Column| column.qualifier.as_deref() == Some(&relation);
            let of = self.scopes.columns().iter().filter(of);
            let of: Vec<Column> = of.map(|column| Column { hidden: false, ..column.clone() }).collect();
            if !of.is_empty() {
                return Ok(items(self.scopes.without(of, &except)?));
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
        let column = |name: &String| Column { qualifier: None, name: name.clone(), hidden: false };
        let fields = fields.iter().map(|field| column(field.name())).collect();
        let fields = self.scopes.without(fields, &except)?.into_iter();
        let get = |name: &str| build::call("get_field", vec![value.clone(), build::text(name)]);
        Ok(fields.map(|field| (get(&field.name), field.name)).collect())
    }

    /// The columns that an argument of a function stands for, if it is a star.
    ///
    /// # Errors
    /// As for [`Rewriter::qualified_star`].
    pub(super) fn star_of(&mut self, arg: &FunctionArg) -> Result<Option<Vec<Item>>> {
        let FunctionArg::Unnamed(arg) = arg else { return Ok(None) };
        match arg {
            FunctionArgExpr::Expr(_) => Ok(None),
            FunctionArgExpr::Wildcard => self.star(&WildcardAdditionalOptions::default()).map(Some),
            FunctionArgExpr::WildcardWithOptions(options) => self.star(options).map(Some),
            FunctionArgExpr::QualifiedWildcard(name) => {
                self.qualified_star(name, &WildcardAdditionalOptions::default()).map(Some)
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
                FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(of)) => taken_apart(of).0,
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

fn items(columns: Vec<Column>) -> Vec<Item> {
    columns.into_iter().map(|column| (column.expr(), column.name)).collect()
}

/// `count(*)` counts rows, and no columns.
pub(super) fn counts_rows(function: &str, args: &[FunctionArg], distinct: bool) -> bool {
    function == "count" && !distinct && matches!(args, [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)])
}

fn refuse_options(options: &WildcardAdditionalOptions) -> Result<()> {
    if options.opt_ilike.is_some()
        || options.opt_exclude.is_some()
        || options.opt_except.is_some()
        || options.opt_replace.is_some()
        || options.opt_rename.is_some()
        || options.opt_alias.is_some()
    {
        return Err(unsupported("* with ILIKE, EXCLUDE, REPLACE or RENAME").hint("write * EXCEPT (…)"));
    }
    Ok(())
}
