//! A configuration as YAML again, for `--print-config`: what the layers add up to.
//!
//! References are printed as they were written, and a literal value only if it is known to be no secret
//! ([`super::harmless`]), so the text can be shown and kept. Without masked values it loads to the same configuration.

use super::document::{Node, Value, is_boolean_or_number, is_null};
use super::kafka::jaas;
use super::kafka::options::is_json_option;
use super::stream::Config;
use super::{harmless, secrets};

impl Config {
    /// The streams as one YAML document.
    ///
    /// Values that may be secrets are masked. Such a text cannot be run as it is, so that a warning names them.
    pub fn to_yaml(&self) -> String {
        let (yaml, masked) = self.printed();
        if let Some(masked) = masked {
            tracing::warn!("{masked}");
        }
        yaml
    }

    /// The document, and what to say of the values in it that are masked, if any are.
    pub(super) fn printed(&self) -> (String, Option<String>) {
        let mut printer = Printer { out: String::from("streams:\n"), masked: Vec::new() };
        for stream in &self.declared {
            printer.out.push_str("  - ");
            printer.node(stream, 2, "", false);
        }
        if printer.masked.is_empty() {
            return (printer.out, None);
        }
        let masked = format!(
            "values that may be secrets are masked: {}; write ${{env:NAME}} or ${{file:/path}} there, or the printed file cannot be run",
            printer.masked.join(", ")
        );
        let comment = "# Secrets are masked; write ${env:NAME} or ${file:/path} where ******** stands.\n";
        printer.out.insert_str(0, comment);
        (printer.out, Some(masked))
    }
}

struct Printer {
    out: String,
    /// The keys whose values are masked, each once.
    masked: Vec<String>,
}

impl Printer {
    /// Prints a node behind `key: ` or `- `; `depth` is that of its own entries, and `open` says that it is part of a value
    /// that may be shown whatever its own keys are.
    fn node(&mut self, node: &Node, depth: usize, key: &str, open: bool) {
        match &node.value {
            Value::Null => self.out.push_str("null\n"),
            Value::Text(text) if !open && !may_show(key, text) => {
                if self.masked.iter().all(|known| known != key) {
                    self.masked.push(key.to_owned());
                }
                self.scalar(secrets::MASK, depth);
            }
            Value::Text(text) if node.is_quoted && may_be_another_type(text) => {
                self.out.push_str(&quoted(text));
                self.out.push('\n');
            }
            Value::Text(text) => self.scalar(text, depth),
            Value::List(items) if items.is_empty() => self.out.push_str("[]\n"),
            Value::List(items) => {
                self.begin_block();
                for item in items {
                    self.indent(depth);
                    self.out.push_str("- ");
                    self.node(item, depth + 1, key, open);
                }
            }
            Value::Map(entries) if entries.is_empty() => self.out.push_str("{}\n"),
            Value::Map(entries) => {
                // `startingOffsets: {t: {0: 5}}` has topics and partitions for keys.
                let open = open || is_json_option(key);
                // Behind `- ` the first key stands on the same line.
                let mut inline = self.out.ends_with("- ");
                if !inline {
                    self.begin_block();
                }
                for entry in entries {
                    if !std::mem::take(&mut inline) {
                        self.indent(depth);
                    }
                    self.key(&entry.key);
                    self.node(&entry.node, depth + 1, &entry.key, open);
                }
            }
        }
    }

    /// Ends the line of the key whose block follows.
    fn begin_block(&mut self) {
        while self.out.ends_with(' ') {
            self.out.pop();
        }
        self.out.push('\n');
    }

    fn indent(&mut self, depth: usize) {
        self.out.extend(std::iter::repeat_n("  ", depth));
    }

    fn key(&mut self, key: &str) {
        match is_plain(key) {
            true => self.out.push_str(key),
            false => self.out.push_str(&quoted(key)),
        }
        self.out.push_str(": ");
    }

    fn scalar(&mut self, text: &str, depth: usize) {
        if is_plain(text) {
            self.out.push_str(text);
        } else if is_block(text) {
            self.out.push_str(if text.ends_with('\n') { "|\n" } else { "|-\n" });
            for line in text.lines() {
                self.indent(depth);
                self.out.push_str(line);
                self.out.push('\n');
            }
            return;
        } else {
            self.out.push_str(&quoted(text));
        }
        self.out.push('\n');
    }
}

/// Whether a value shows no secret: its name is known to hold none, it is made of references alone, or it is a JAAS line
/// whose secret is.
fn may_show(key: &str, raw: &str) -> bool {
    let line = || jaas::parse(raw).is_ok_and(|login| secrets::is_only_references(login.secret()));
    harmless::may_show(key, raw)
        || secrets::is_only_references(raw)
        || (key.to_lowercase().ends_with("sasl.jaas.config") && line())
}

/// Whether a text reads as itself without quotes, in any YAML reader.
fn is_plain(text: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || "_-./:@+$ (),{}=".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphanumeric() || "_./$".contains(c))
        && text.chars().all(inside)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.starts_with("...")
        && !is_null(text)
}

/// Whether some reader of YAML takes a text for a boolean or a number unless it is in quotes: one of YAML 1.1, such as Helm's,
/// has more words for booleans.
fn may_be_another_type(text: &str) -> bool {
    let words = ["y", "n", "yes", "no", "on", "off"];
    is_boolean_or_number(text) || words.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Whether a text reads as itself as a literal block.
fn is_block(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    body.contains('\n')
        && body.lines().all(|line| !line.is_empty() && !line.starts_with(' ') && !line.ends_with(' '))
        && text.chars().all(|c| c == '\n' || (' '..='~').contains(&c))
        && !body.ends_with('\n')
}

/// A double-quoted scalar.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') =>
            {
                out.push_str(&format!("\\U{:08X}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::document;
    use super::super::problems::Problems;
    use super::*;

    fn printed(text: &str) -> String {
        let mut printer = Printer { out: String::from("k: "), masked: Vec::new() };
        printer.scalar(text, 1);
        printer.out
    }

    fn read(yaml: &str) -> String {
        let mut problems = Problems::default();
        let tree = document::parse("x", yaml, &mut problems).unwrap();
        problems.into_result().unwrap();
        match &tree.get("k").unwrap().value {
            Value::Text(text) => text.clone(),
            other => panic!("{yaml:?} reads as {}", other.kind()),
        }
    }

    proptest! {
        #[test]
        fn any_text_reads_back_as_it_was(text in any::<String>()) {
            prop_assert_eq!(read(&printed(&text)), text);
        }

        #[test]
        fn text_of_yamls_own_characters_reads_back_as_it_was(text in "[-:#|>~\\[\\]{}&*!%@`'\", \n\ta0.$]{0,12}") {
            prop_assert_eq!(read(&printed(&text)), text);
        }
    }

    #[test]
    fn values_look_as_a_person_would_write_them() {
        let cases = [
            ("5 seconds", "k: 5 seconds\n"),
            ("abfss://lake@acc.dfs.core.windows.net/x", "k: abfss://lake@acc.dfs.core.windows.net/x\n"),
            ("${env:KEY}", "k: ${env:KEY}\n"),
            ("a STRING,\nb INT", "k: |-\n  a STRING,\n  b INT\n"),
            ("null", "k: \"null\"\n"),
            ("#no", "k: \"#no\"\n"),
        ];
        for (text, yaml) in cases {
            assert_eq!(printed(text), yaml);
        }
    }
}
