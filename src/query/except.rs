//! The list behind a star, `* EXCEPT (a, t.b)`: how it passes the parser, which takes no dotted names there, and in a call no
//! list at all behind a star that has a relation.
//!
//! In the tokens a list becomes a part of the star's own name; from the parser's tree it is read back, and printed as it was
//! written.

use datafusion::sql::sqlparser::ast::{Ident, ObjectName};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// Encloses a list that is a part of a name.
const LIST: char = '\u{0}';
/// Stands between the names of a list.
const NEXT_NAME: char = '\u{1}';
/// Stands between the parts of a dotted name.
const NEXT_PART: char = '\u{2}';

/// The list that `rest` begins with, as a part of a name, and how many tokens it takes.
pub(super) fn lifted(rest: &[TokenWithSpan]) -> Option<(String, usize)> {
    let mut significant =
        rest.iter().enumerate().filter(|(_, token)| !matches!(token.token, Token::Whitespace(_)));
    let mut next = || significant.next().map(|(at, token)| (at, &token.token));
    match (next()?, next()?) {
        ((_, Token::Word(word)), (_, Token::LParen)) if word.keyword == Keyword::EXCEPT => {}
        _ => return None,
    }
    let mut list = String::from(LIST);
    loop {
        let ((_, Token::Word(word)), (end, behind)) = (next()?, next()?) else { return None };
        list.push_str(&word.value);
        match behind {
            Token::Period => list.push(NEXT_PART),
            Token::Comma => list.push(NEXT_NAME),
            Token::RParen => {
                list.push(LIST);
                return Some((list, end + 1));
            }
            _ => return None,
        }
    }
}

/// The name before a star, and the names of the list behind it.
pub(super) fn taken_apart(star: &ObjectName) -> (Vec<Ident>, Vec<Vec<Ident>>) {
    let (mut before, mut names) = (Vec::new(), Vec::new());
    for part in star.0.iter().filter_map(|part| part.as_ident()) {
        match part.value.strip_prefix(LIST).and_then(|list| list.strip_suffix(LIST)) {
            Some(list) => {
                let dotted = |name: &str| name.split(NEXT_PART).map(Ident::new).collect();
                names.extend(list.split(NEXT_NAME).map(dotted));
            }
            None => before.push(part.clone()),
        }
    }
    (before, names)
}

/// A text that the parser printed, with each list where it was written.
pub(super) fn as_written(text: &str) -> String {
    let (open, close) = (format!("`{LIST}"), format!("{LIST}`"));
    let (mut written, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, from_list)) = rest.split_once(&open)
        && let Some((list, after)) = from_list.split_once(&close)
    {
        let list = list.replace(NEXT_NAME, ", ").replace(NEXT_PART, ".");
        written.push_str(&format!("{before}* EXCEPT ({list})"));
        rest = after.strip_prefix(".*").unwrap_or(after);
    }
    written + rest
}
