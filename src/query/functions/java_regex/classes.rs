//! Java's classes of characters, as the `regex` crate writes them.

/// `\d`, `\s` and their kin, which are of ASCII, and `\h` and `\v`.
pub(super) fn predefined(letter: char) -> Option<&'static str> {
    Some(match letter {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        's' => r"[ \t\n\x0B\f\r]",
        'S' => r"[^ \t\n\x0B\f\r]",
        'h' => r"[ \t\x{A0}\x{1680}\x{180E}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}]",
        'H' => r"[^ \t\x{A0}\x{1680}\x{180E}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}]",
        'v' => r"[\n\x0B\f\r\x{85}\x{2028}\x{2029}]",
        'V' => r"[^\n\x0B\f\r\x{85}\x{2028}\x{2029}]",
        _ => return None,
    })
}

/// What `.` matches.
pub(super) const NO_LINE_TERMINATOR: &str = r"[^\n\r\x{85}\x{2028}\x{2029}]";

/// What `.` matches under `(?s)`.
pub(super) const ANY: &str = r"[\x{0}-\x{10FFFF}]";

/// No character at all.
pub(super) const NONE: &str = r"[^\x{0}-\x{10FFFF}]";

/// The general categories that a text of Unicode characters can have.
const CATEGORIES: &[&str] = &[
    "L", "LC", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Me", "Mc", "N", "Nd", "Nl", "No", "Z", "Zs", "Zl",
    "Zp", "C", "Cc", "Cf", "Cn", "Co", "P", "Pd", "Ps", "Pe", "Pc", "Po", "Pi", "Pf", "S", "Sm", "Sc", "Sk",
    "So",
];

/// What stands between the brackets of a class for `\p{name}`; `ignore_case` is Java's flag `i`.
pub(super) fn property(name: &str, ignore_case: bool) -> Option<String> {
    let text = match name {
        "Lower" | "Upper" if ignore_case => "A-Za-z",
        "Lower" => "a-z",
        "Upper" => "A-Z",
        "ASCII" => r"\x{0}-\x{7F}",
        "Alpha" => "A-Za-z",
        "Digit" => "0-9",
        "Alnum" => "0-9A-Za-z",
        "Punct" => r"!-/:-@\[-`\{-\x{7E}",
        "Graph" => r"!-\x{7E}",
        "Print" => r" -\x{7E}",
        "Blank" => r" \t",
        "Cntrl" => r"\x{0}-\x{1F}\x{7F}",
        "XDigit" => "0-9A-Fa-f",
        "Space" => r" \t\n\x0B\f\r",
        "L1" => r"\x{0}-\x{FF}",
        "LD" | "javaLetterOrDigit" => r"\p{L}\p{Nd}",
        "all" => r"\x{0}-\x{10FFFF}",
        "javaLetter" => r"\p{L}",
        "javaDigit" => r"\p{Nd}",
        "javaAlphabetic" => r"\p{Alphabetic}",
        "javaLowerCase" | "javaUpperCase" if ignore_case => r"\p{Lowercase}\p{Uppercase}\p{Lt}",
        "javaLowerCase" => r"\p{Lowercase}",
        "javaUpperCase" => r"\p{Uppercase}",
        "javaWhitespace" => r"\t-\r\x{1C}-\x{1F}[\p{Z}--[\x{A0}\x{2007}\x{202F}]]",
        _ => return named(name, ignore_case),
    };
    Some(text.to_owned())
}

/// A category, a script or a property of Unicode.
fn named(name: &str, ignore_case: bool) -> Option<String> {
    if let Some((key, value)) = name.split_once('=') {
        return match key.to_ascii_lowercase().as_str() {
            "sc" | "script" => script(value),
            "gc" | "general_category" => category(value, ignore_case),
            _ => None,
        };
    }
    let Some(name) = name.strip_prefix("Is") else { return category(name, ignore_case) };
    let cased = matches!(name.to_ascii_uppercase().as_str(), "LOWERCASE" | "UPPERCASE" | "TITLECASE");
    if ignore_case && cased {
        return Some(r"\p{Lowercase}\p{Uppercase}\p{Lt}".to_owned());
    }
    let text = match name.to_ascii_uppercase().as_str() {
        "ALPHABETIC" => r"\p{Alphabetic}",
        "LETTER" => r"\p{L}",
        "IDEOGRAPHIC" => r"\p{Ideographic}",
        "LOWERCASE" => r"\p{Lowercase}",
        "UPPERCASE" => r"\p{Uppercase}",
        "TITLECASE" => r"\p{Lt}",
        "WHITE_SPACE" | "WHITESPACE" => r"\p{White_Space}",
        "CONTROL" => r"\p{Cc}",
        "PUNCTUATION" => r"\p{P}",
        "DIGIT" => r"\p{Nd}",
        "ALNUM" => r"\p{Alphabetic}\p{Nd}",
        "ASSIGNED" => r"\P{Cn}",
        _ => return category(name, ignore_case).or_else(|| script(name)),
    };
    Some(text.to_owned())
}

fn category(name: &str, ignore_case: bool) -> Option<String> {
    match name {
        "Lu" | "Ll" | "Lt" if ignore_case => Some(r"\p{LC}".to_owned()),
        name => CATEGORIES.contains(&name).then(|| format!(r"\p{{{name}}}")),
    }
}

/// A script; whether there is one of this name shows when the pattern is compiled.
fn script(name: &str) -> Option<String> {
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    plain.then(|| format!(r"\p{{sc={name}}}"))
}
