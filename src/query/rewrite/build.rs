//! Pieces of the parser's tree, made by hand.

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    DictionaryField, Expr, FunctionArg, FunctionArgExpr, GroupByExpr, Ident, ObjectName, ObjectNamePart,
    Query, Select, SelectFlavor, SelectItem, SetExpr, TableWithJoins, Value, WildcardAdditionalOptions, With,
};

use crate::query::dialect;

/// A name as it is, never normalised.
pub(super) fn ident(name: impl Into<String>) -> Ident {
    Ident::with_quote('`', name)
}

/// A name of one part.
pub(super) fn object_name(name: impl Into<String>) -> ObjectName {
    ObjectName(vec![ObjectNamePart::Identifier(ident(name))])
}

/// A column, with its relation if it has one.
pub(super) fn column(qualifier: Option<&str>, name: &str) -> Expr {
    match qualifier {
        Some(qualifier) => Expr::CompoundIdentifier(vec![ident(qualifier), ident(name)]),
        None => Expr::Identifier(ident(name)),
    }
}

/// A text.
pub(super) fn text(value: impl Into<String>) -> Expr {
    Expr::Value(Value::SingleQuotedString(value.into()).with_empty_span())
}

/// A literal of a type: `super::literal` makes the value of it while DataFusion plans. It travels as a dictionary
/// of one entry, the one literal form that Spark has not and whose planning can be taken over.
pub(super) fn typed(data_type: &str, value: impl Into<String>) -> Expr {
    Expr::Dictionary(vec![DictionaryField { key: ident(data_type), value: Box::new(text(value)) }])
}

/// A call of a function.
pub(super) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    dialect::call(object_name(name), args)
}

/// `SELECT projection FROM from`, after WITH.
pub(super) fn select(with: Option<With>, projection: Vec<SelectItem>, from: Vec<TableWithJoins>) -> Query {
    let select = Select {
        select_token: AttachedToken::empty(),
        optimizer_hints: Vec::new(),
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection,
        exclude: None,
        into: None,
        from,
        lateral_views: Vec::new(),
        prewhere: None,
        selection: None,
        connect_by: Vec::new(),
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        cluster_by: Vec::new(),
        distribute_by: Vec::new(),
        sort_by: Vec::new(),
        having: None,
        named_window: Vec::new(),
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: SelectFlavor::Standard,
    };
    Query {
        with,
        body: Box::new(SetExpr::Select(Box::new(select))),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    }
}

/// `*`.
pub(super) fn star() -> SelectItem {
    SelectItem::Wildcard(WildcardAdditionalOptions::default())
}
