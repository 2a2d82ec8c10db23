//! A schema's text to tokens: the part of Spark's `SqlBaseLexer.g4` that schemas use.
//!
//! Comments and blanks go, positions stay. Words are not told apart from keywords here.

/// Why a text is no schema: a fact without its place, the place, and what mends it.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Bytes from the start of the text.
    pub at: usize,
    /// Line and column, from 1; columns count characters.
    pub place: (usize, usize),
    pub fact: String,
    pub mend: Option<String>,
}

impl Refusal {
    /// The refusal of what stands at byte `at` of `text`.
    pub(super) fn new(text: &str, at: usize, fact: impl Into<String>) -> Refusal {
        let before = &text[..at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        let column = before[line_start..].chars().count() + 1;
        Refusal { at, place: (line, column), fact: fact.into(), mend: None }
    }

    /// Adds what mends it.
    pub(super) fn mend(mut self, mend: impl Into<String>) -> Refusal {
        self.mend = Some(mend.into());
        self
    }

    /// As an error for the one who wrote the configuration.
    pub(super) fn into_error(self) -> crate::model::error::Error {
        let (line, column) = self.place;
        let place =
            if line == 1 { format!("column {column}") } else { format!("line {line}, column {column}") };
        let error = crate::model::error::Error::config(format!("{} at {place}", self.fact));
        match self.mend {
            Some(mend) => error.hint(mend),
            None => error,
        }
    }
}

/// What a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// An identifier or keyword without quotes.
    Word,
    /// An identifier in backquotes, without them.
    Quoted(String),
    /// Digits only.
    Integer,
    /// Any other number, such as `1.5` or `5L`.
    OtherNumber,
    /// A text in quotes, without them.
    Text(String),
    /// One other character.
    Symbol(char),
    /// Behind the last token.
    End,
}

/// A token and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

/// The tokens of `text`; the last is [`Kind::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Refusal> {
    let mut lexer = Lexer { text, at: 0 };
    let mut found = Vec::new();
    loop {
        lexer.skip_blanks_and_comments()?;
        let start = lexer.at;
        let kind = lexer.next()?;
        let last = kind == Kind::End;
        found.push(Token { kind, start, end: lexer.at });
        if last {
            return Ok(found);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn refuse(&self, fact: impl Into<String>) -> Refusal {
        Refusal::new(self.text, self.at, fact)
    }

    fn skip_blanks_and_comments(&mut self) -> Result<(), Refusal> {
        loop {
            let rest = self.rest();
            let behind = rest.trim_start_matches(|c: char| c.is_whitespace() && c != '\u{85}');
            self.at += rest.len() - behind.len();
            if behind.starts_with("--") {
                self.at += line_comment(behind);
            } else if behind.starts_with("/*") && !behind.starts_with("/*+") {
                self.at += bracketed_comment(behind)
                    .ok_or_else(|| self.refuse("comment without an end").mend("close it with */"))?;
            } else {
                return Ok(());
            }
        }
    }

    fn next(&mut self) -> Result<Kind, Refusal> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Ok(Kind::End);
        };
        match first {
            '`' => self.quoted(),
            '\'' | '"' => self.escaped_text(first),
            'r' | 'R' if rest[1..].starts_with(['\'', '"']) => self.raw_text(),
            c if is_word(c) => {
                let word = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
                self.at += word.len();
                Ok(kind_of_word(word))
            }
            c if c.is_alphabetic() => Err(self
                .refuse(format!("letter {c} outside of backquotes"))
                .mend("write the name in backquotes")),
            c => {
                self.at += c.len_utf8();
                Ok(Kind::Symbol(c))
            }
        }
    }

    fn quoted(&mut self) -> Result<Kind, Refusal> {
        let body = &self.rest()[1..];
        let mut end = 0;
        loop {
            let Some(found) = body[end..].find('`') else {
                return Err(self.refuse("name without a closing backquote").mend("add the backquote"));
            };
            end += found + 1;
            if !body[end..].starts_with('`') {
                break;
            }
            end += 1;
        }
        self.at += 1 + end;
        Ok(Kind::Quoted(body[..end - 1].replace("``", "`")))
    }

    fn raw_text(&mut self) -> Result<Kind, Refusal> {
        let quote = self.rest().as_bytes()[1];
        let body = &self.rest()[2..];
        let end = body.bytes().position(|b| b == quote).ok_or_else(|| self.text_without_end())?;
        self.at += 2 + end + 1;
        Ok(Kind::Text(body[..end].to_owned()))
    }

    fn escaped_text(&mut self, quote: char) -> Result<Kind, Refusal> {
        let body = &self.rest()[1..];
        let mut escaped = false;
        for (end, c) in body.char_indices() {
            if escaped {
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if c == quote {
                self.at += 1 + end + 1;
                return Ok(Kind::Text(unescape(&body[..end])));
            }
        }
        Err(self.text_without_end())
    }

    fn text_without_end(&self) -> Refusal {
        self.refuse("text without a closing quote").mend("add the quote; write a quote inside as \\'")
    }
}

/// Tells names such as `1a` from numbers such as `5L` and `1e5`.
fn kind_of_word(word: &str) -> Kind {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits(word) {
        return Kind::Integer;
    }
    if !word.as_bytes()[0].is_ascii_digit() {
        return Kind::Word;
    }
    let upper = word.to_ascii_uppercase();
    let with_exponent = |text: &str| text.split_once('E').is_some_and(|(a, b)| digits(a) && digits(b));
    let integral = ["L", "S", "Y"].iter().any(|suffix| upper.strip_suffix(suffix).is_some_and(digits));
    let mut fractional = ["", "F", "BD", "D"].iter().filter_map(|suffix| upper.strip_suffix(suffix));
    if integral || fractional.any(|body| digits(body) || with_exponent(body)) {
        Kind::OtherNumber
    } else {
        Kind::Word
    }
}

/// The length of the comment `-- …` up to the end of its line; a backslash before it goes on.
fn line_comment(rest: &str) -> usize {
    let mut length = 0;
    for line in rest.split_inclusive('\n') {
        length += line.len();
        if !line.ends_with("\\\n") {
            break;
        }
    }
    length
}

/// The length of the comment `/* … */`, which may hold others.
fn bracketed_comment(rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    let (mut depth, mut at) = (0_usize, 0);
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Spark's `SparkParserUtils.unescapeSQLString`, without the quotes.
fn unescape(body: &str) -> String {
    let mut units: Vec<u16> = Vec::with_capacity(body.len());
    let push = |units: &mut Vec<u16>, c: char| units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    let mut rest = body;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        let Some(escape) = rest.chars().next().filter(|_| c == '\\') else {
            push(&mut units, c);
            continue;
        };
        if let Some((code, length)) = code_escape(rest) {
            // Two escapes may be the halves of one character, so halves stay until the end.
            match u16::try_from(code) {
                Ok(unit) => units.push(unit),
                Err(_) => push(&mut units, char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)),
            }
            rest = &rest[length..];
            continue;
        }
        rest = &rest[escape.len_utf8()..];
        match escape {
            '0' => push(&mut units, '\0'),
            'b' => push(&mut units, '\u{8}'),
            'n' => push(&mut units, '\n'),
            'r' => push(&mut units, '\r'),
            't' => push(&mut units, '\t'),
            'Z' => push(&mut units, '\u{1a}'),
            '%' | '_' => {
                push(&mut units, '\\');
                push(&mut units, escape);
            }
            other => push(&mut units, other),
        }
    }
    String::from_utf16_lossy(&units)
}

/// The code of `uXXXX`, `UXXXXXXXX` or `ooo` (below 128) and its length.
fn code_escape(rest: &str) -> Option<(u32, usize)> {
    let number = |from: usize, length: usize, radix: u32| {
        let digits = rest.get(from..from + length)?;
        if !digits.chars().all(|c| c.is_digit(radix)) {
            return None;
        }
        Some((u32::from_str_radix(digits, radix).ok()?, from + length))
    };
    match rest.as_bytes().first()? {
        b'u' => number(1, 4, 16),
        b'U' => number(1, 8, 16),
        b'0' | b'1' => number(0, 3, 8),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_in_comments_are_sparks() {
        for (body, expected) in [
            (r"it\'s", "it's"),
            (r"x\ny\t\u0041\\", "x\ny\tA\\"),
            (r"\%\_\q", r"\%\_q"),
            (r"\101\000\0", "A\0\0"),
            (r"\uD83D\uDE00\U0001F600", "😀😀"),
            (r"\uD83D.", "\u{fffd}."),
            (r"\u12", "u12"),
            (r"\é", "é"),
        ] {
            assert_eq!(unescape(body), expected, "{body}");
        }
    }

    #[test]
    fn a_word_that_begins_with_a_digit_may_be_a_number() {
        for number in ["5L", "1e5", "1E5f", "2bd", "3d", "4S", "4y"] {
            assert_eq!(kind_of_word(number), Kind::OtherNumber, "{number}");
        }
        for word in ["1a", "1e5x", "1_", "e5", "1e", "0x1F"] {
            assert_eq!(kind_of_word(word), Kind::Word, "{word}");
        }
    }

    #[test]
    fn comments_may_hold_comments_and_lines_may_go_on() {
        let kinds = |text: &str| tokens(text).unwrap().into_iter().map(|t| t.kind).collect::<Vec<_>>();
        assert_eq!(kinds("/* x /* y */ z */ a -- b \\\n still\nc"), [Kind::Word, Kind::Word, Kind::End]);
        assert!(tokens("/* /* */").is_err());
    }
}
