//! `${env:NAME}`, `${env:NAME:-default}` and `${file:/path}` in values: resolved once, shown as they were written.
//!
//! What a reference resolves to never leaves the validated configuration. Which literal values may be shown is
//! decided by [`super::harmless`].

use std::path::Path;

use super::lookup::Lookup;

/// What stands for a literal secret in printed configurations.
pub(super) const MASK: &str = "********";

/// A piece of a raw value.
enum Piece<'t> {
    Literal(&'t str),
    Env(&'t str),
    /// A variable, and the text that stands for it if it is unset or empty.
    EnvOr(&'t str, &'t str),
    File(&'t str),
}

/// Cuts a raw value into its pieces; `$${` is a literal `${`.
fn pieces(raw: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = raw;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            // The first of `$${` escapes; what is kept is `${`.
            pieces.push(Piece::Literal(&rest[..at - 1]));
            pieces.push(Piece::Literal("${"));
            rest = &rest[at + 2..];
            continue;
        }
        pieces.push(Piece::Literal(&rest[..at]));
        let Some(end) = rest[at..].find('}') else {
            return Err("a reference ${ is not closed; write $${ for a literal ${".into());
        };
        let inside = &rest[at + 2..at + end];
        pieces.push(match inside.split_once(':') {
            Some(("env", name)) if !name.is_empty() => match name.split_once(":-") {
                Some((name, default)) if !name.is_empty() => Piece::EnvOr(name, default),
                _ => Piece::Env(name),
            },
            Some(("file", path)) if !path.is_empty() => Piece::File(path),
            _ => {
                return Err(format!(
                    "${{{inside}}} is not a valid reference; expected ${{env:NAME}}, ${{env:NAME:-default}} or ${{file:/path}}, or $${{ for a literal ${{"
                ));
            }
        });
        rest = &rest[at + end + 1..];
    }
    pieces.push(Piece::Literal(rest));
    Ok(pieces)
}

/// What `raw` stands for.
///
/// # Errors
/// A sentence that names the variable or file that cannot be had, never a value.
pub(super) fn resolve(raw: &str, lookup: &dyn Lookup) -> Result<String, String> {
    let mut value = String::with_capacity(raw.len());
    for piece in pieces(raw)? {
        match piece {
            Piece::Literal(text) => value.push_str(text),
            Piece::Env(name) => {
                let text =
                    lookup.env(name).ok_or_else(|| format!("the environment variable {name} is not set"))?;
                value.push_str(&text);
            }
            Piece::EnvOr(name, default) => match lookup.env(name).filter(|text| !text.is_empty()) {
                Some(text) => value.push_str(&text),
                None => value.push_str(default),
            },
            Piece::File(path) => {
                let text = lookup.file(Path::new(path)).map_err(|e| format!("cannot read {path}: {e}"))?;
                // Editors and mounted secrets end files with a newline that is not part of the secret.
                value.push_str(text.strip_suffix('\n').map_or(&*text, |t| t.strip_suffix('\r').unwrap_or(t)));
            }
        }
    }
    Ok(value)
}

/// What the references in `raw` stand for, where they are parts of a text: values and references. A text that is one
/// reference as a whole is no secret within another.
pub(super) fn values_inside(raw: &str, lookup: &dyn Lookup) -> Vec<(String, String)> {
    if pieces(raw.trim()).is_ok_and(|pieces| pieces.iter().all(|piece| !is_text(piece))) {
        return Vec::new();
    }
    let reference = |piece| match piece {
        Piece::Literal(_) => None,
        Piece::Env(name) => Some(format!("${{env:{name}}}")),
        Piece::EnvOr(name, default) => Some(format!("${{env:{name}:-{default}}}")),
        Piece::File(path) => Some(format!("${{file:{path}}}")),
    };
    let references = pieces(raw).unwrap_or_default().into_iter().filter_map(reference);
    references.filter_map(|reference| Some((resolve(&reference, lookup).ok()?, reference))).collect()
}

/// Whether `raw` refers to anything.
pub(super) fn has_reference(raw: &str) -> bool {
    pieces(raw).is_ok_and(|p| p.iter().any(|p| !matches!(p, Piece::Literal(_))))
}

/// Whether `raw` is nothing but references, so that showing it shows no secret. A default is text of the file as any other.
pub(super) fn is_only_references(raw: &str) -> bool {
    let shows_text = |piece: &Piece<'_>| {
        is_text(piece) || matches!(piece, Piece::EnvOr(_, default) if !default.is_empty())
    };
    has_reference(raw) && pieces(raw).is_ok_and(|pieces| !pieces.iter().any(shows_text))
}

/// Whether the piece is literal text.
fn is_text(piece: &Piece<'_>) -> bool {
    matches!(piece, Piece::Literal(text) if !text.is_empty())
}

/// The variable that `raw` names in the way of a shell, `$NAME`, which means nothing here. `$ConnectionString` is what Event
/// Hubs asks for as a user's name.
pub(super) fn shell_variable(raw: &str) -> Option<&str> {
    let name = raw.trim().strip_prefix('$')?;
    let word = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (word && name != "ConnectionString").then_some(name)
}

/// Turns text into a raw value that stands for it.
pub(super) fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use super::*;

    struct Fixed;

    impl Lookup for Fixed {
        fn env(&self, name: &str) -> Option<String> {
            match name {
                "KEY" => Some("a${env:KEY}b".to_owned()),
                "EMPTY" => Some(String::new()),
                _ => None,
            }
        }

        fn file(&self, path: &Path) -> io::Result<String> {
            if path == Path::new("/run/key") {
                Ok("k\r\n".into())
            } else {
                Err(io::ErrorKind::NotFound.into())
            }
        }

        fn current_dir(&self) -> io::Result<PathBuf> {
            Ok("/".into())
        }
    }

    #[test]
    fn references_resolve_once_and_a_doubled_dollar_escapes() {
        let cases = [
            ("plain $ConnectionString {x}", "plain $ConnectionString {x}"),
            ("<${env:KEY}>", "<a${env:KEY}b>"),
            ("${file:/run/key}${file:/run/key}", "kk"),
            ("$${env:KEY} and $$${env:KEY}", "${env:KEY} and $${env:KEY}"),
            ("$$ x", "$$ x"),
            ("${env:KEY:-localhost:9092}", "a${env:KEY}b"),
            ("<${env:NOPE:-localhost:9092}>", "<localhost:9092>"),
            ("<${env:EMPTY:-x:-y}${env:NOPE:-}>", "<x:-y>"),
            ("${env:EMPTY}", ""),
        ];
        for (raw, value) in cases {
            assert_eq!(resolve(raw, &Fixed).as_deref(), Ok(value), "{raw}");
        }
        assert_eq!(resolve(&escape("a${env:KEY}"), &Fixed).as_deref(), Ok("a${env:KEY}"));
    }

    #[test]
    fn the_values_inside_of_a_text_are_known_with_their_references() {
        let expected =
            [("a${env:KEY}b".to_owned(), "${env:KEY}".to_owned()), ("k".into(), "${file:/run/key}".into())];
        assert_eq!(
            values_inside("SELECT '${env:KEY}' AS a, ${file:/run/key}, $${env:KEY}", &Fixed),
            expected
        );
        assert_eq!(values_inside(" ${file:/run/key}\n", &Fixed), []);
        assert_eq!(values_inside("${env:NOPE:-SELECT 1}", &Fixed), []);
        let inside = [("t".to_owned(), "${env:NOPE:-t}".to_owned())];
        assert_eq!(values_inside("SELECT ${env:NOPE:-t}", &Fixed), inside);
    }

    #[test]
    fn what_cannot_be_resolved_is_named() {
        let cases = [
            ("${env:NOPE}", "the environment variable NOPE is not set"),
            ("${file:/nope}", "cannot read /nope: entity not found"),
            (
                "${NAME}",
                "${NAME} is not a valid reference; expected ${env:NAME}, ${env:NAME:-default} or ${file:/path}, or $${ for a literal ${",
            ),
            ("x${env:KEY", "a reference ${ is not closed; write $${ for a literal ${"),
        ];
        for (raw, message) in cases {
            assert_eq!(resolve(raw, &Fixed), Err(message.to_owned()), "{raw}");
        }
    }

    #[test]
    fn only_a_value_made_of_references_alone_shows_no_secret() {
        assert!(is_only_references("${env:A}${file:/b}"));
        assert!(is_only_references("${env:A:-}") && !is_only_references("${env:A:-hunter2}"));
        assert!(!is_only_references("x${env:A}") && !is_only_references("x") && !is_only_references(""));
    }

    #[test]
    fn a_variable_in_the_way_of_a_shell_is_recognized() {
        assert_eq!(shell_variable(" $KAFKA_1 "), Some("KAFKA_1"));
        for text in ["$ConnectionString", "$", "$1", "a$B", "${env:A}", "$A:9092", "$$A"] {
            assert_eq!(shell_variable(text), None, "{text}");
        }
    }
}
