//! A record of CSV, taken apart into values as Spark's parser does it (univocity's `CsvParser`, with the settings that
//! `CSVOptions` gives it for one text). A line's end is a character like others.
//!
//! A quote that is not escaped and stands inside of a quoted value makes the value be what was written, quotes and all, up to
//! the next separator (`STOP_AT_DELIMITER`).

/// How a record is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) separator: String,
    pub(super) quote: char,
    pub(super) escape: char,
    /// What begins a text that is no record; `\0`: nothing does.
    pub(super) comment: char,
    pub(super) trims_left: bool,
    pub(super) trims_right: bool,
}

/// A value as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing between two separators.
    Missing,
    /// `""`.
    Empty,
    Text(String),
}

/// Stands for a separator of several characters while a record is read. It is no character of Unicode.
const LONG_SEPARATOR: char = '\u{fdd0}';

impl Format {
    /// The values of a record; `None` for a text that is none: an empty one, or a comment.
    pub(super) fn read(&self, text: &str) -> Option<Vec<Value>> {
        if text.is_empty() {
            return None;
        }
        let mut letters = self.separator.chars();
        let (text, separator) = match (letters.next(), letters.next()) {
            (Some(one), None) => (text.to_owned(), one),
            _ => (text.replace(&self.separator, &LONG_SEPARATOR.to_string()), LONG_SEPARATOR),
        };
        let mut reader = Reader {
            rest: text.chars(),
            ch: '\0',
            prev: '\0',
            is_unescaped: false,
            is_quoted: false,
            value: String::new(),
            values: Vec::new(),
            separator,
            format: self,
        };
        let Ok(()) = reader.next() else { return None };
        if self.comment != '\0' && reader.ch == self.comment {
            return None;
        }
        let End = reader.record();
        let mut values = reader.ended();
        if separator == LONG_SEPARATOR {
            for value in &mut values {
                if let Value::Text(text) = value {
                    *text = text.replace(LONG_SEPARATOR, &self.separator);
                }
            }
        }
        Some(values)
    }
}

/// The end of the text.
struct End;

struct Reader<'a> {
    rest: std::str::Chars<'a>,
    /// The character at hand.
    ch: char,
    /// The one before it, inside of a quoted value; `\0` at its beginning.
    prev: char,
    /// Whether a quote was found that is not escaped.
    is_unescaped: bool,
    /// Whether the value at hand began with a quote.
    is_quoted: bool,
    value: String,
    values: Vec<Value>,
    separator: char,
    format: &'a Format,
}

fn is_blank(ch: char) -> bool {
    ch <= ' '
}

impl Reader<'_> {
    /// Goes to the next character; at the end, the one at hand stays.
    fn next(&mut self) -> Result<(), End> {
        self.ch = self.rest.next().ok_or(End)?;
        Ok(())
    }

    /// Takes characters into the value until one `stops`, which is then the one at hand.
    fn take_until(&mut self, stops: impl Fn(char) -> bool) -> Result<(), End> {
        let mut ch = self.ch;
        while !stops(ch) {
            self.value.push(ch);
            ch = self.rest.next().ok_or(End)?;
        }
        self.ch = ch;
        Ok(())
    }

    /// Reads values until the text ends.
    fn record(&mut self) -> End {
        loop {
            if let Err(end) = self.value() {
                return end;
            }
        }
    }

    /// Reads the value that begins with the character at hand, and goes to the first one of the next value.
    fn value(&mut self) -> Result<(), End> {
        let (separator, quote) = (self.separator, self.format.quote);
        while self.format.trims_left && is_blank(self.ch) && self.ch != separator && self.ch != quote {
            self.next()?;
        }
        (self.is_unescaped, self.prev) = (false, '\0');
        if self.ch == quote && quote != '\0' {
            self.is_quoted = true;
            self.quoted()?;
        } else {
            self.take_until(|ch| ch == separator)?;
        }
        self.push();
        self.next()
    }

    /// Reads what is behind the quote at hand.
    fn quoted(&mut self) -> Result<(), End> {
        let Format { quote, escape, .. } = *self.format;
        let separator = self.separator;
        self.next()?;
        loop {
            if self.prev == quote && (is_blank(self.ch) || self.ch == separator) {
                break;
            }
            if self.ch != quote && self.ch != escape {
                if self.prev == quote {
                    return self.unescaped();
                }
                if self.prev == escape && escape != '\0' {
                    self.value.push(escape);
                }
                self.take_until(|ch| ch == quote || ch == escape)?;
                self.prev = self.ch;
                self.next()?;
            } else {
                self.escaped();
                self.prev = self.ch;
                self.next()?;
                if self.is_unescaped && self.ch == separator {
                    return Ok(());
                }
            }
        }
        if self.ch == separator {
            return Ok(());
        }
        // Blanks behind the quote are left out, unless more follows.
        let mut blanks = String::new();
        while is_blank(self.ch) && self.ch != separator {
            blanks.push(self.ch);
            self.next()?;
        }
        if self.ch == separator {
            return Ok(());
        }
        self.is_quoted = false;
        self.value.insert(0, quote);
        self.value.push(quote);
        self.value.push_str(&blanks);
        self.value.push(self.ch);
        self.prev = self.ch;
        self.next()?;
        self.take_until(|ch| ch == separator)
    }

    /// Takes a quote or an escape inside of a quoted value.
    fn escaped(&mut self) {
        let Format { quote, escape, .. } = *self.format;
        if self.prev == escape && (self.ch == quote || self.ch == escape) && self.prev != '\0' {
            self.value.push(self.ch);
            self.ch = '\0';
        } else if self.ch == quote && self.prev == quote {
            self.value.push(quote);
        } else if self.prev == quote {
            (self.is_unescaped, self.is_quoted) = (true, false);
            self.value.extend([quote, escape]);
            self.ch = '\0';
        }
    }

    /// A quote that is not escaped came before the character at hand: the value is what was written.
    fn unescaped(&mut self) -> Result<(), End> {
        if !self.is_unescaped {
            self.value.insert(0, self.format.quote);
        }
        (self.is_unescaped, self.is_quoted) = (true, false);
        self.value.push(self.format.quote);
        let separator = self.separator;
        self.take_until(|ch| ch == separator)
    }

    fn push(&mut self) {
        let mut text = std::mem::take(&mut self.value);
        if self.format.trims_right && !self.is_quoted {
            text.truncate(text.trim_end_matches(is_blank).len());
        }
        self.values.push(match text.is_empty() {
            true if std::mem::take(&mut self.is_quoted) => Value::Empty,
            true => Value::Missing,
            false => Value::Text(text),
        });
        self.is_quoted = false;
    }

    /// The values, with the one in which the text ended.
    fn ended(mut self) -> Vec<Value> {
        let Format { quote, .. } = *self.format;
        if self.ch == quote && self.prev != quote && !self.is_unescaped {
            self.value.push(quote);
        }
        self.push();
        self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of a text as one text: `-` for what is missing, `=` for `""`.
    fn read(text: &str, change: impl FnOnce(&mut Format)) -> String {
        let mut format = Format {
            separator: ",".to_owned(),
            quote: '"',
            escape: '\\',
            comment: '\0',
            trims_left: false,
            trims_right: false,
        };
        change(&mut format);
        let Some(values) = format.read(text) else { return "none".to_owned() };
        let shown = values.into_iter().map(|value| match value {
            Value::Missing => "-".to_owned(),
            Value::Empty => "=".to_owned(),
            Value::Text(text) => text,
        });
        shown.collect::<Vec<_>>().join("|")
    }

    /// Spark's answers.
    #[test]
    fn records_are_taken_apart_as_by_spark() {
        for (text, values) in [
            ("a,b", "a|b"),
            ("a,,b,", "a|-|b|-"),
            (r#""a,b",""#, r#"a,b|""#),
            (r#""","a""#, "=|a"),
            (r#""a\"b",c"#, r#"a"b|c"#),
            (r#""a\\",c"#, r"a\|c"),
            (r#""\a",c"#, r"\a|c"),
            (r#""a ""q"" b",2"#, r#""a ""q"" b"|2"#),
            (r#""a"b,c"#, r#""a"b|c"#),
            (r#""a" ,b"#, "a|b"),
            (r#""a" x,b"#, r#""a" x|b"#),
            (r#""unclosed,2"#, "unclosed,2"),
            (r#"a"b,c"#, r#"a"b|c"#),
            (r#" "a",b"#, r#" "a"|b"#),
            ("a\r\nb,c\n", "a\r\nb|c\n"),
            ("", "none"),
        ] {
            assert_eq!(read(text, |_| {}), values, "{text}");
        }
        assert_eq!(read(r#""a ""q"" b",2"#, |format| format.escape = '"'), r#"a "q" b|2"#);
        assert_eq!(read("a||b|c||", |format| format.separator = "||".to_owned()), "a|b|c|-");
        assert_eq!(read("# a", |format| format.comment = '#'), "none");
        let trims = |format: &mut Format| (format.trims_left, format.trims_right) = (true, true);
        assert_eq!(read(r#"  a , b ,"""#, trims), "a|b|=");
    }
}
