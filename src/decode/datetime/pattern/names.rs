//! Names of months, eras, half days and zones, as Java 17's locale data has them.
//!
//! `names.tsv` is what Java's `DateTimeFormatter` writes for each of its locales, made by `tests/rig/JavaNames.java`
//! and compared with it by a test. It is a table of Java's and not taken from a library of CLDR's present names, because
//! Java 17 has those of CLDR 39 and names of its own beside them: half of its locales differ (decision 0004).

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::parse::prefix_length;
use crate::decode::locale::known_part;

/// One locale a line: its tag in lower case, then the lists in the order of [`Names`]; see `JavaNames.java`.
const TABLE: &str = include_str!("names.tsv");

/// The names of one locale. A list in which a name occurs twice is empty: Java reads none of it.
#[derive(Debug, Default)]
pub struct Names {
    pub months_short: Vec<&'static str>,
    pub months_full: Vec<&'static str>,
    pub months_short_alone: Vec<&'static str>,
    pub months_full_alone: Vec<&'static str>,
    pub eras_short: Vec<&'static str>,
    pub eras_full: Vec<&'static str>,
    pub am_pm: Vec<&'static str>,
}

impl Names {
    /// The names of the locale of a language tag, as `Locale.forLanguageTag` reads it: what is no tag is the root.
    pub fn of_locale(tag: &str) -> Arc<Names> {
        let mut tag = known_part(tag);
        loop {
            if let Some(line) = lines().get(tag.as_str()) {
                return Arc::new(Names::of_line(line));
            }
            tag.truncate(tag.rfind('-').unwrap_or(0));
            if tag.is_empty() {
                tag.push_str("und");
            }
        }
    }

    fn of_line(line: &'static str) -> Names {
        let lists: Vec<&'static str> = line.split('\t').collect();
        let list = |at: usize, otherwise: usize| {
            let text = if lists[at].is_empty() { lists[otherwise] } else { lists[at] };
            let names: Vec<&'static str> = text.split('|').collect();
            let twice = (1..names.len()).any(|n| names[..n].contains(&names[n]));
            if twice { Vec::new() } else { names }
        };
        Names {
            months_short: list(0, 0),
            months_full: list(1, 1),
            months_short_alone: list(2, 0),
            months_full_alone: list(3, 1),
            eras_short: list(4, 4),
            eras_full: list(5, 5),
            am_pm: list(6, 6),
        }
    }
}

/// The lists of each locale, by its tag.
fn lines() -> &'static BTreeMap<&'static str, &'static str> {
    static LINES: OnceLock<BTreeMap<&'static str, &'static str>> = OnceLock::new();
    LINES.get_or_init(|| TABLE.lines().filter_map(|line| line.split_once('\t')).collect())
}

/// Zones that have English names of their own: standard, summer and generic, short and long.
/// Where a short name is used by several zones, Java's preferred one for `en-US`.
const ZONE_NAMES: &[(&str, &[&str])] = &[
    (
        "America/Los_Angeles",
        &["PST", "PDT", "PT", "Pacific Standard Time", "Pacific Daylight Time", "Pacific Time"],
    ),
    (
        "America/Denver",
        &["MST", "MDT", "MT", "Mountain Standard Time", "Mountain Daylight Time", "Mountain Time"],
    ),
    (
        "America/Chicago",
        &["CST", "CDT", "CT", "Central Standard Time", "Central Daylight Time", "Central Time"],
    ),
    (
        "America/New_York",
        &["EST", "EDT", "ET", "Eastern Standard Time", "Eastern Daylight Time", "Eastern Time"],
    ),
    (
        "America/Anchorage",
        &["AKST", "AKDT", "AKT", "Alaska Standard Time", "Alaska Daylight Time", "Alaska Time"],
    ),
    ("Pacific/Honolulu", &["HST", "Hawaii-Aleutian Standard Time"]),
    ("UTC", &["Coordinated Universal Time"]),
    ("Europe/London", &["BST", "British Summer Time", "Greenwich Mean Time"]),
    (
        "Europe/Paris",
        &[
            "CET",
            "CEST",
            "Central European Standard Time",
            "Central European Summer Time",
            "Central European Time",
        ],
    ),
    (
        "Europe/Bucharest",
        &[
            "EET",
            "EEST",
            "Eastern European Standard Time",
            "Eastern European Summer Time",
            "Eastern European Time",
        ],
    ),
    (
        "Europe/Lisbon",
        &[
            "WET",
            "WEST",
            "Western European Standard Time",
            "Western European Summer Time",
            "Western European Time",
        ],
    ),
    ("Europe/Moscow", &["MSK", "Moscow Standard Time", "Moscow Time"]),
    ("Asia/Kolkata", &["IST", "India Standard Time"]),
    ("Asia/Tokyo", &["JST", "Japan Standard Time", "Japan Time"]),
    ("Asia/Seoul", &["KST", "Korean Standard Time", "Korean Time"]),
    (
        "Australia/Sydney",
        &["AEST", "AEDT", "Australian Eastern Standard Time", "Australian Eastern Daylight Time"],
    ),
];

/// The zone whose name `text` begins with, in any case, and the name's length in bytes.
pub fn longest_zone_name_at(text: &str) -> Option<(&'static str, usize)> {
    let all = ZONE_NAMES.iter().flat_map(|(zone, names)| names.iter().map(move |name| (*zone, *name)));
    let matching = all.filter_map(|(zone, name)| Some((zone, prefix_length(text, name)?)));
    matching.max_by_key(|(_, length)| *length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locales_have_the_names_of_java_17() {
        let january =
            |tag: &str| (Names::of_locale(tag).months_full[0], Names::of_locale(tag).months_short[0]);
        for (tag, full, short) in [
            ("en-US", "January", "Jan"),
            ("en-CA", "January", "Jan."),
            ("es-ES", "enero", "ene"),
            ("es-MX", "enero", "ene."),
            ("it-IT", "gennaio", "gen"),
            ("it-XX", "gennaio", "gen"),
            ("pt-BR", "janeiro", "jan."),
            ("nl-NL", "januari", "jan."),
            ("pl-PL", "stycznia", "sty"),
            ("de-AT", "Jänner", "Jän."),
            ("zh-TW", "1月", "1月"),
            ("IW", "ינואר", "ינו׳"),
            ("en-u-nu-arab", "January", "Jan"),
            // What is no tag, or none of Java's languages, is the root.
            ("de_DE", "Jan", "Jan"),
            ("tlh", "Jan", "Jan"),
            ("", "Jan", "Jan"),
        ] {
            assert_eq!(january(tag), (full, short), "{tag}");
        }
        assert_eq!(Names::of_locale("pl").months_full_alone[0], "styczeń");
        assert_eq!(Names::of_locale("en-GB").am_pm, ["am", "pm"]);
    }

    #[test]
    fn every_line_of_the_table_has_all_lists() {
        for (tag, line) in lines() {
            let counts = line.split('\t').map(|list| list.split('|').count()).collect::<Vec<_>>();
            let alone = |count: usize| count == 12 || count == 1;
            assert!(
                counts[..2] == [12, 12] && alone(counts[2]) && alone(counts[3]) && counts[4..] == [2, 2, 2],
                "{tag}: {counts:?}"
            );
        }
        assert!(lines().len() > 300);
    }
}
