//! Values that stand inside of a text and must not be shown with it: `${env:SALT}` in a query.

use std::fmt;

use super::Error;

/// Shorter values are no secrets, and would be found in words that have nothing to do with them.
const BYTES_MIN: usize = 4;

/// Values, each with what is shown in its place.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Hidden(Vec<(String, String)>);

impl Hidden {
    /// Hides `value`; `shown` takes its place.
    pub fn push(&mut self, value: String, shown: String) {
        if value.len() >= BYTES_MIN {
            self.0.push((value, shown));
            // One that holds another goes first.
            self.0.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        }
    }

    /// The text without the values.
    pub fn text(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (value, shown)| text.replace(value, shown))
    }

    /// The error without the values.
    pub fn error(&self, error: Error) -> Error {
        if self.0.is_empty() { error } else { error.again().map_texts(|text| self.text(text)) }
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(_, shown)| shown)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_nowhere_in_a_text_or_an_error() {
        let mut hidden = Hidden::default();
        hidden.push("hunter2".into(), "${env:SALT}".into());
        hidden.push("hunter2salt".into(), "${file:/run/salt}".into());
        hidden.push("INT".into(), "${env:TYPE}".into());
        assert_eq!(
            hidden.text("CAST(concat(hunter2salt, hunter2, y) AS INT)"),
            "CAST(concat(${file:/run/salt}, ${env:SALT}, y) AS INT)"
        );
        let error = Error::data("no hunter2").context("run hunter2").hint("not hunter2");
        let error = hidden.error(error.source(Error::internal("hunter2salt")));
        let text = error.to_string();
        assert!(!text.contains("hunter2") && text.contains("no ${env:SALT}: ${file:/run/salt}"), "{text}");
        assert_eq!(format!("{hidden:?}"), r#"["${file:/run/salt}", "${env:SALT}"]"#);
    }
}
