//! Language tags as Java reads them (`Locale.forLanguageTag`).
//!
//! Serves the tables of names and of number symbols, which have a row for each locale of Java. Knows no table.

/// The part of a tag that names a locale: without extensions and what is not well-formed, in lower case, old codes of
/// languages replaced. `und`, the root, if nothing of it is a tag: `de_DE` is none.
pub(super) fn known_part(tag: &str) -> String {
    let lower = tag.to_ascii_lowercase();
    let mut subtags = lower.split('-');
    let language = subtags.next().unwrap_or_default();
    if !(2..=8).contains(&language.len()) || !language.bytes().all(|b| b.is_ascii_alphabetic()) {
        return "und".to_owned();
    }
    let language = match language {
        "iw" => "he",
        "ji" => "yi",
        "in" => "id",
        other => other,
    };
    // A subtag of one letter begins an extension.
    let subtags = subtags
        .take_while(|part| (2..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()));
    std::iter::once(language).chain(subtags).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_as_in_java() {
        for (tag, known) in [
            ("en-US", "en-us"),
            ("iw-IL", "he-il"),
            ("zh-Hant-TW", "zh-hant-tw"),
            ("ca-ES-VALENCIA", "ca-es-valencia"),
            ("en-u-nu-arab", "en"),
            ("de-DE-", "de-de"),
            ("de_DE", "und"),
            ("not a tag", "und"),
            ("", "und"),
            ("x-private", "und"),
        ] {
            assert_eq!(known_part(tag), known, "{tag}");
        }
    }
}
