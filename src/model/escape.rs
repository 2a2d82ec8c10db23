//! Text that is not our own, such as that of records, on its way to a terminal: no character of it moves the cursor, rings,
//! sets the window's title or says anything else to the terminal.

use std::borrow::Cow;

/// Text as one line: control characters are written as escapes, those that Spark's `show` writes so
/// (`SchemaUtils.escapeMetaCharacters`) as there (`\n`), others as `\u{1b}`.
pub fn escaped(text: &str) -> Cow<'_, str> {
    match text.contains(char::is_control) {
        true => Cow::Owned(text.chars().flat_map(escaped_char).collect()),
        false => Cow::Borrowed(text),
    }
}

/// Text that may have several lines, each as [`escaped`] has it.
pub fn escaped_lines(text: &str) -> Cow<'_, str> {
    match text.contains(|c: char| c.is_control() && c != '\n') {
        true => Cow::Owned(text.split('\n').map(escaped).collect::<Vec<_>>().join("\n")),
        false => Cow::Borrowed(text),
    }
}

/// A character as [`escaped`] has it.
pub fn escaped_char(c: char) -> impl Iterator<Item = char> {
    let named = match c {
        '\u{7}' => Some('a'),
        '\u{8}' => Some('b'),
        '\u{b}' => Some('v'),
        '\u{c}' => Some('f'),
        _ => None,
    };
    let escape = (c.is_control() && named.is_none()).then(|| c.escape_default());
    let plain = (!c.is_control()).then_some(c);
    let named = named.into_iter().flat_map(|letter| ['\\', letter]);
    plain.into_iter().chain(named).chain(escape.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_is_left() {
        let text = "a\u{1b}[31m\u{1b}]0;title\u{7}\u{9b}2J\u{8}\t\r\n\u{b}\u{c}\u{7f}\0é";
        assert_eq!(escaped(text), r"a\u{1b}[31m\u{1b}]0;title\a\u{9b}2J\b\t\r\n\v\f\u{7f}\u{0}é");
        assert_eq!(escaped_lines("a\n\u{1b}b\n"), "a\n\\u{1b}b\n");
        assert_eq!(escaped(r"a\b é"), r"a\b é");
    }
}
