//! Names of collations (`CollationFactory` of Spark 4.0): which exist and how they are spelled.
//!
//! A Delta table here holds none of them; the name is kept for the message and the JSON form.

/// The collation of a plain STRING.
pub(super) const BINARY: &str = "UTF8_BINARY";

/// The languages of ICU's collators.
const LANGUAGES: &[&str] = &[
    "af", "am", "ar", "as", "az", "be", "bg", "bn", "bo", "br", "bs", "ca", "ceb", "chr", "cs", "cy", "da",
    "de", "dsb", "dz", "ee", "el", "en", "eo", "es", "et", "fa", "ff", "fi", "fil", "fo", "fr", "fy", "ga",
    "gl", "gu", "ha", "haw", "he", "hi", "hr", "hsb", "hu", "hy", "id", "ig", "is", "it", "ja", "ka", "kk",
    "kl", "km", "kn", "ko", "kok", "ku", "ky", "lb", "lij", "lkt", "ln", "lo", "lt", "lv", "mk", "ml", "mn",
    "mr", "ms", "mt", "my", "nb", "ne", "nl", "nn", "no", "nso", "om", "or", "pa", "pl", "ps", "pt", "ro",
    "ru", "sa", "se", "si", "sk", "sl", "smn", "sq", "sr", "st", "sv", "sw", "ta", "te", "th", "tk", "tn",
    "to", "tr", "ug", "uk", "ur", "uz", "vi", "wae", "wo", "xh", "yi", "yo", "zh", "zu",
];

/// The name as Spark writes it, if there is such a collation: `de_ci` gives `de_CI`.
pub(super) fn canonical(name: &str) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    let (base, trimmed) = match upper.strip_suffix("_RTRIM") {
        Some(base) => (base, "_RTRIM"),
        None => (upper.as_str(), ""),
    };
    if matches!(base, "UTF8_BINARY" | "UTF8_LCASE") {
        return Some(format!("{base}{trimmed}"));
    }
    let mut parts: Vec<&str> = upper.split('_').collect();
    let (mut case, mut accent, mut trim) = (None, None, None);
    while let Some(last) = parts.last() {
        let slot = match *last {
            "CS" | "CI" => &mut case,
            "AS" | "AI" => &mut accent,
            "RTRIM" => &mut trim,
            _ => break,
        };
        if slot.replace(*last).is_some() {
            return None;
        }
        parts.pop();
    }
    let locale = locale(&parts)?;
    let mut canonical = locale;
    for specifier in [case.filter(|c| *c == "CI"), accent.filter(|a| *a == "AI"), trim].into_iter().flatten()
    {
        canonical.push('_');
        canonical.push_str(specifier);
    }
    Some(canonical)
}

fn locale(parts: &[&str]) -> Option<String> {
    let (language, rest) = parts.split_first()?;
    if *language == "UNICODE" {
        return rest.is_empty().then(|| "UNICODE".to_owned());
    }
    let language = language.to_ascii_lowercase();
    let letters = |part: &str, length| part.len() == length && part.bytes().all(|b| b.is_ascii_alphabetic());
    let script = |part: &str| format!("{}{}", &part[..1], part[1..].to_ascii_lowercase());
    let tail = match rest {
        [] => String::new(),
        [one] if letters(one, 3) => format!("_{one}"),
        [one] if letters(one, 4) => format!("_{}", script(one)),
        [one, two] if letters(one, 4) && letters(two, 3) => format!("_{}_{two}", script(one)),
        _ => return None,
    };
    LANGUAGES.contains(&language.as_str()).then(|| language + &tail)
}

/// The name with its provider, as Spark's JSON form has it: `icu.de_CI`.
pub(super) fn with_provider(canonical: &str) -> String {
    let provider = if canonical.starts_with("UTF8_") { "spark" } else { "icu" };
    format!("{provider}.{canonical}")
}
