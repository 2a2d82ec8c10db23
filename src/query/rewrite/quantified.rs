//! `a LIKE ANY ('x%', 'y%')` and `a LIKE ALL (…)`: one LIKE for each pattern.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectNamePart,
};

/// Which of the patterns must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantifier {
    /// ANY or SOME.
    Any,
    All,
}

impl Quantifier {
    /// What stands between the LIKEs.
    pub(super) fn operator(self) -> BinaryOperator {
        match self {
            Quantifier::Any => BinaryOperator::Or,
            Quantifier::All => BinaryOperator::And,
        }
    }
}

/// The patterns behind LIKE, if there are several. The parser knows ANY, and takes ALL and SOME for functions.
pub(super) fn patterns(any: bool, pattern: &Expr) -> Option<(Quantifier, Vec<Expr>)> {
    match pattern {
        Expr::Tuple(patterns) if any => Some((Quantifier::Any, patterns.clone())),
        Expr::Nested(pattern) if any => Some((Quantifier::Any, vec![(**pattern).clone()])),
        Expr::Function(Function { name, args: FunctionArguments::List(list), .. }) if !any => {
            let [ObjectNamePart::Identifier(name)] = name.0.as_slice() else { return None };
            let quantifier = match name.value.to_lowercase().as_str() {
                "all" => Quantifier::All,
                "some" => Quantifier::Any,
                _ => return None,
            };
            let pattern = |arg: &FunctionArg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(pattern)) => Some(pattern.clone()),
                _ => None,
            };
            let patterns: Option<Vec<Expr>> = list.args.iter().map(pattern).collect();
            patterns.filter(|patterns| !patterns.is_empty()).map(|patterns| (quantifier, patterns))
        }
        _ => None,
    }
}
