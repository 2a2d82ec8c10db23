//! Spark's dialect: from text to the parser's tree.
//!
//! The parser's own Spark dialect, with the switches it leaves off, over tokens that were changed where Spark's
//! lexer differs: escapes in text, raw text, typed numbers (`1S`, `1.5D`), intervals of several units. Names are
//! resolved later, by `rewrite`.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, ObjectName, ObjectNamePart, Query, SetExpr, Statement,
};
use datafusion::sql::sqlparser::dialect::{Dialect, SparkSqlDialect};
use datafusion::sql::sqlparser::keywords::{Keyword, RESERVED_FOR_COLUMN_ALIAS};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Word};

use super::except;
use crate::model::{Error, Result};

/// How deep expressions and queries may nest.
const DEPTH_MAX: usize = 128;

/// The parser's `SparkSqlDialect` with what Spark has and it has not.
#[derive(Debug)]
struct Spark;

const INNER: SparkSqlDialect = SparkSqlDialect;

impl Dialect for Spark {
    // The parser asks now and then whether the dialect *is* Spark's.
    fn dialect(&self) -> TypeId {
        INNER.dialect()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        INNER.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        INNER.is_identifier_start(ch) || ch.is_alphabetic()
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        INNER.is_identifier_part(ch) || ch.is_alphanumeric()
    }

    fn supports_string_literal_backslash_escape(&self) -> bool {
        true
    }

    fn supports_string_literal_concatenation(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        INNER.supports_filter_during_aggregation()
    }

    fn supports_group_by_expr(&self) -> bool {
        INNER.supports_group_by_expr()
    }

    fn supports_group_by_with_modifier(&self) -> bool {
        INNER.supports_group_by_with_modifier()
    }

    fn supports_lambda_functions(&self) -> bool {
        INNER.supports_lambda_functions()
    }

    // The rewriter refuses it, and says to write EXCEPT, whose lists the tokens' pass takes out.
    fn supports_select_wildcard_exclude(&self) -> bool {
        true
    }

    // `trim('x', s)`; which of the two is trimmed, the rewriter knows.
    fn supports_comma_separated_trim(&self) -> bool {
        true
    }

    // A struct is written with `struct()` or `named_struct()`, which are functions.
    fn supports_struct_literal(&self) -> bool {
        false
    }

    fn supports_nested_comments(&self) -> bool {
        INNER.supports_nested_comments()
    }

    fn supports_long_type_as_bigint(&self) -> bool {
        INNER.supports_long_type_as_bigint()
    }

    fn supports_values_as_table_factor(&self) -> bool {
        INNER.supports_values_as_table_factor()
    }

    // Intervals of one text have their units inside: `INTERVAL '10 minutes'`.
    fn require_interval_qualifier(&self) -> bool {
        false
    }

    fn supports_bang_not_operator(&self) -> bool {
        INNER.supports_bang_not_operator()
    }

    fn supports_select_item_multi_column_alias(&self) -> bool {
        INNER.supports_select_item_multi_column_alias()
    }

    fn supports_cte_without_as(&self) -> bool {
        INNER.supports_cte_without_as()
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }

    // Of `extract(YEAROFWEEK FROM …)` the parser knows no unit; `date_part` does.
    fn allow_extract_custom(&self) -> bool {
        true
    }

    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        match &parser.peek_token_ref().token {
            Token::Word(word) if is_word(word, "STRUCT") => {}
            _ => return None,
        }
        (parser.peek_nth_token(1).token == Token::LParen).then(|| structure(parser))
    }

    fn parse_infix(
        &self,
        parser: &mut Parser<'_>,
        left: &Expr,
        precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        // Spark's dialect takes all that follows for the right side of DIV; it binds as `*` does.
        if parser.parse_keyword(Keyword::DIV) {
            return Some(parser.parse_subexpr(precedence).map(|right| Expr::BinaryOp {
                left: Box::new(left.clone()),
                op: BinaryOperator::MyIntegerDivide,
                right: Box::new(right),
            }));
        }
        None
    }
}

/// `struct(a AS x, b, *)`: the one function whose arguments may have names.
fn structure(parser: &mut Parser<'_>) -> Result<Expr, ParserError> {
    let name = parser.parse_identifier()?;
    parser.expect_token(&Token::LParen)?;
    let mut args = Vec::new();
    if !parser.consume_token(&Token::RParen) {
        args = parser.parse_comma_separated(structure_field)?;
        parser.expect_token(&Token::RParen)?;
    }
    Ok(call(ObjectName::from(vec![name]), args))
}

/// A call of a function, without anything but its arguments.
pub(super) fn call(name: ObjectName, args: Vec<FunctionArg>) -> Expr {
    let args = FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() };
    Expr::Function(Function {
        name,
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(args),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn structure_field(parser: &mut Parser<'_>) -> Result<FunctionArg, ParserError> {
    let field = parser.parse_wildcard_expr()?;
    Ok(FunctionArg::Unnamed(match field {
        Expr::Wildcard(star) => {
            FunctionArgExpr::WildcardWithOptions(parser.parse_wildcard_additional_options(star.0)?)
        }
        Expr::QualifiedWildcard(relation, _) => FunctionArgExpr::QualifiedWildcard(relation),
        field => FunctionArgExpr::Expr(match parser.parse_optional_alias(RESERVED_FOR_COLUMN_ALIAS)? {
            Some(name) => Expr::Named { expr: Box::new(field), name },
            None => field,
        }),
    }))
}

/// Parses one SELECT, with or without WITH.
///
/// # Errors
/// `Config` with the place in the text if it is no query.
pub(crate) fn parse(sql: &str) -> Result<Query> {
    let refuse = |why: String| {
        let why = except::as_written(why.trim_start_matches("sql parser error: "));
        Error::config(format!("PARSE_SYNTAX_ERROR: {why}")).hint("sql takes one SELECT in Spark's dialect")
    };
    let tokens = Tokenizer::new(&Spark, sql)
        .with_unescape(false)
        .tokenize_with_location()
        .map_err(|error| refuse(error.to_string()))?;
    let mut parser = Parser::new(&Spark)
        .with_recursion_limit(DEPTH_MAX)
        .with_tokens_with_locations(rewrite_tokens(tokens));
    let mut statements = parser.parse_statements().map_err(|error| refuse(error.to_string()))?;
    let statement = statements.pop();
    match statement {
        Some(Statement::Query(query)) if statements.is_empty() => match *query.body {
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                Err(refuse("a statement that changes a table".to_owned()))
            }
            _ => Ok(*query),
        },
        None => Err(refuse("the text is empty".to_owned())),
        Some(_) if statements.is_empty() => Err(refuse("a statement that is not a SELECT".to_owned())),
        Some(_) => Err(refuse("more than one statement".to_owned())),
    }
}

/// Numbers with a letter behind them, and the types that the letters name.
const TYPED_NUMBERS: [(&str, &str); 5] =
    [("Y", "TINYINT"), ("S", "SMALLINT"), ("F", "FLOAT"), ("D", "DOUBLE"), ("BD", "DECIMAL")];

/// The types that have types inside.
const NESTED_TYPES: [&str; 3] = ["ARRAY", "MAP", "STRUCT"];

/// The operator `>>>`.
pub(super) const SHIFT_UNSIGNED: &str = ">>>";

/// The units of intervals, in the singular.
pub(super) const UNITS: [&str; 9] =
    ["YEAR", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND", "MILLISECOND", "MICROSECOND"];

fn rewrite_tokens(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        let next = tokens.get(at + 1).map(|next| &next.token);
        let taken = match (&token.token, next) {
            (Token::Word(word), Some(Token::SingleQuotedString(raw) | Token::DoubleQuotedString(raw)))
                if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("r") =>
            {
                out.push(spanned(Token::SingleQuotedString(raw.clone()), token));
                2
            }
            (Token::SingleQuotedString(raw), _) => {
                out.push(spanned(Token::SingleQuotedString(unescape(raw, '\'')), token));
                1
            }
            (Token::DoubleQuotedString(raw), _) => {
                out.push(spanned(Token::SingleQuotedString(unescape(raw, '"')), token));
                1
            }
            (Token::Number(number, false), Some(Token::Word(word))) if typed(word).is_some() => {
                let name = typed(word).expect("the arm's condition");
                out.push(spanned(Token::make_word(name, None), token));
                out.push(spanned(Token::SingleQuotedString(number.clone()), token));
                2
            }
            (Token::Word(word), _) if is_word(word, "EXISTS") && calls_with_lambda(&tokens[at + 1..]) => {
                out.push(spanned(Token::make_word("exists", Some('`')), token));
                1
            }
            (Token::ShiftRight, Some(Token::Gt)) => {
                out.push(spanned(Token::CustomBinaryOperator(SHIFT_UNSIGNED.to_owned()), token));
                2
            }
            (Token::Word(word), _)
                if NESTED_TYPES.iter().any(|name| is_word(word, name)) && behind_cast(&out) =>
            {
                match nested_type(&tokens[at..]) {
                    Some((text, taken)) => {
                        out.push(spanned(Token::make_word(&text, Some('`')), token));
                        taken
                    }
                    None => {
                        out.push(token.clone());
                        1
                    }
                }
            }
            (Token::Mul, _) => {
                let list = except::lifted(&tokens[at + 1..]);
                let taken = list.as_ref().map_or(0, |(_, taken)| *taken);
                if let Some((list, _)) = list {
                    out.push(spanned(Token::make_word(&list, Some('`')), token));
                    out.push(spanned(Token::Period, token));
                }
                out.push(token.clone());
                1 + taken
            }
            // `trim(BOTH FROM s)`: the parser takes no FROM without characters before it.
            (Token::Word(word), _) if is_word(word, "FROM") && behind_trim_side(&out) => 1,
            (Token::Word(word), _) if is_word(word, "INTERVAL") => {
                out.push(token.clone());
                1 + units(&tokens[at + 1..], &mut out)
            }
            _ => {
                out.push(token.clone());
                1
            }
        };
        at += taken;
    }
    out
}

/// Whether a type may follow: behind AS or `::`.
fn behind_cast(before: &[TokenWithSpan]) -> bool {
    match before.iter().rev().map(|t| &t.token).find(|t| !matches!(t, Token::Whitespace(_))) {
        Some(Token::Word(word)) => is_word(word, "AS"),
        Some(other) => *other == Token::DoubleColon,
        None => false,
    }
}

/// Whether `trim(BOTH` or its like comes before.
fn behind_trim_side(before: &[TokenWithSpan]) -> bool {
    let mut words = before.iter().rev().map(|t| &t.token).filter(|t| !matches!(t, Token::Whitespace(_)));
    let mut word_of = |names: &[&str]| match words.next() {
        Some(Token::Word(word)) => names.iter().any(|name| is_word(word, name)),
        Some(Token::LParen) => names.is_empty(),
        _ => false,
    };
    word_of(&["BOTH", "LEADING", "TRAILING"]) && word_of(&[]) && word_of(&["TRIM"])
}

/// A type with parts as text, and how many tokens it takes: the parser knows neither MAP<…> nor STRUCT<name: type>.
fn nested_type(tokens: &[TokenWithSpan]) -> Option<(String, usize)> {
    let first = tokens[1..].iter().map(|t| &t.token).find(|t| !matches!(t, Token::Whitespace(_)));
    if first != Some(&Token::Lt) {
        return None;
    }
    let mut open = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match &token.token {
            Token::Lt => open += 1,
            Token::Gt => open = open.checked_sub(1)?,
            Token::ShiftRight => open = open.checked_sub(2)?,
            _ => continue,
        }
        if open == 0 {
            let text: String = tokens[..=at].iter().map(|token| token.token.to_string()).collect();
            return Some((text, at + 1));
        }
    }
    None
}

/// A type that the parser read, as DDL.
pub(super) fn type_text(data_type: &DataType) -> String {
    if let DataType::Custom(name, arguments) = data_type
        && let [ObjectNamePart::Identifier(name)] = name.0.as_slice()
        && arguments.is_empty()
    {
        return name.value.clone();
    }
    data_type.to_string()
}

fn spanned(token: Token, like: &TokenWithSpan) -> TokenWithSpan {
    TokenWithSpan { token, span: like.span }
}

fn is_word(word: &Word, name: &str) -> bool {
    word.quote_style.is_none() && word.value.eq_ignore_ascii_case(name)
}

fn typed(word: &Word) -> Option<&'static str> {
    TYPED_NUMBERS.iter().find(|(letters, _)| is_word(word, letters)).map(|(_, name)| *name)
}

/// Whether `(` follows and then no query: `exists(array, lambda)`.
fn calls_with_lambda(rest: &[TokenWithSpan]) -> bool {
    let mut words = rest.iter().map(|t| &t.token).filter(|t| !matches!(t, Token::Whitespace(_)));
    if !matches!(words.next(), Some(Token::LParen)) {
        return false;
    }
    let query = |token: &Token| match token {
        Token::Word(word) => ["SELECT", "WITH", "FROM", "VALUES", "TABLE"].iter().any(|w| is_word(word, w)),
        Token::LParen => true,
        _ => false,
    };
    words.next().is_some_and(|token| !query(token))
}

/// Joins `1 HOUR 30 MINUTES` behind INTERVAL into one text; returns how many tokens it took.
fn units(rest: &[TokenWithSpan], out: &mut Vec<TokenWithSpan>) -> usize {
    let mut text = String::new();
    let (mut at, mut taken, mut pairs) = (0, 0, 0);
    loop {
        let mut sign = "";
        let mut significant = || {
            while matches!(rest.get(at)?.token, Token::Whitespace(_)) {
                at += 1;
            }
            at += 1;
            rest.get(at - 1)
        };
        let mut number = significant();
        if matches!(number.map(|t| &t.token), Some(Token::Minus)) {
            sign = "-";
            number = significant();
        }
        let number = match number.map(|t| &t.token) {
            Some(Token::Number(number, _)) => number.clone(),
            Some(Token::SingleQuotedString(number)) => number.clone(),
            _ => break,
        };
        let unit = match significant().map(|t| &t.token) {
            Some(Token::Word(word)) if unit(&word.value).is_some() => word.value.clone(),
            _ => break,
        };
        text.push_str(&format!("{sign}{number} {unit} "));
        pairs += 1;
        taken = at;
    }
    // `'1' DAY TO SECOND` and one unit alone are the parser's.
    let to = rest[taken..].iter().map(|t| &t.token).find(|t| !matches!(t, Token::Whitespace(_)));
    let ranged = matches!(to, Some(Token::Word(word)) if is_word(word, "TO"));
    if pairs == 0 || ranged {
        return 0;
    }
    let like = &rest[0];
    out.push(spanned(Token::SingleQuotedString(text.trim_end().to_owned()), like));
    taken
}

/// The unit that a word names, in the singular and in upper case.
pub(super) fn unit(word: &str) -> Option<&'static str> {
    let upper = word.to_ascii_uppercase();
    let singular = upper.strip_suffix('S').unwrap_or(&upper);
    UNITS.iter().find(|unit| **unit == singular).copied()
}

/// Text between quotes as Spark reads it: `\n` and its kin, `\u0041`, `\101`; `\%` and `\_` stay as they are,
/// for LIKE; a doubled quote is two texts side by side, which join.
fn unescape(raw: &str, quote: char) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw.chars().peekable();
    while let Some(c) = rest.next() {
        if c == quote {
            continue;
        }
        if c != '\\' {
            out.push(c);
            continue;
        }
        match rest.next() {
            None => out.push('\\'),
            Some('0') if !rest.peek().is_some_and(char::is_ascii_digit) => out.push('\0'),
            Some('b') => out.push('\u{8}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('Z') => out.push('\u{1A}'),
            Some(c @ ('%' | '_')) => out.extend(['\\', c]),
            Some(c @ ('u' | 'U')) => {
                let length = if c == 'u' { 4 } else { 8 };
                let digits: String = rest.clone().take(length).collect();
                match u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32) {
                    Some(value) if digits.len() == length => {
                        rest.by_ref().take(length).for_each(drop);
                        out.push(value);
                    }
                    _ => out.push(c),
                }
            }
            Some(c @ '0'..='3') => {
                let digits: String = std::iter::once(c).chain(rest.clone().take(2)).collect();
                match u8::from_str_radix(&digits, 8) {
                    Ok(value) if digits.len() == 3 => {
                        rest.by_ref().take(2).for_each(drop);
                        out.push(char::from(value));
                    }
                    _ => out.push(c),
                }
            }
            Some(other) => out.push(other),
        }
    }
    out
}
