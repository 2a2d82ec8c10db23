//! Names of months, eras, half days and zones, as Java 17's locale data has them.
//!
//! `names.tsv` is what Java's `DateTimeFormatter` writes for each of its locales, made by `tests/rig/JavaNames.java`
//! and compared with it by a test. It is a table of Java's and not taken from a library of CLDR's present names, because
//! Java 17 has those of CLDR 39 and names of its own beside them: half of its locales differ (decision 0007).

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::decode::locale::known_part;

/// One locale a line: its tag in lower case, then the lists in the order of [`Names`]; see `JavaNames.java`.
const TABLE: &str = include_str!("names.tsv");

/// The names of one locale. A list in which a name occurs twice is empty: Java reads none of it.
#[derive(Debug, Default)]
pub(super) struct Names {
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
    pub(super) fn of_locale(tag: &str) -> Arc<Names> {
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

/// How long the names of zones are that a pattern reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ZoneLength {
    /// `PST`.
    Short,
    /// `Pacific Standard Time`.
    Full,
}

/// One name of a zone in en-US a line: its length, the name, the zone that Java takes it for; made by
/// `tests/rig/JavaZoneNames.java`. Java has such names in other languages too; here they are read in English.
const ZONE_TABLE: &str = include_str!("zone_names.tsv");

/// The names of one length, each with its zone.
fn zone_names(length: ZoneLength) -> &'static [(&'static str, &'static str)] {
    static SHORT: OnceLock<Vec<(&str, &str)>> = OnceLock::new();
    static FULL: OnceLock<Vec<(&str, &str)>> = OnceLock::new();
    let (names, word) = match length {
        ZoneLength::Short => (&SHORT, "short"),
        ZoneLength::Full => (&FULL, "full"),
    };
    names.get_or_init(|| {
        let of_length = ZONE_TABLE.lines().filter_map(|line| line.split_once('\t'));
        of_length.filter(|(said, _)| *said == word).filter_map(|(_, rest)| rest.split_once('\t')).collect()
    })
}

/// The zone whose name `text` begins with, in any case, and the name's length in bytes.
pub(super) fn longest_zone_name_at(text: &str, length: ZoneLength) -> Option<(&'static str, usize)> {
    let matching =
        zone_names(length).iter().filter_map(|(name, zone)| Some((*zone, prefix_length(text, name)?)));
    matching.max_by_key(|(_, length)| *length)
}

/// How many bytes of `text` are `prefix` in any case (Java: equal when upper or lower case are).
pub(super) fn prefix_length(text: &str, prefix: &str) -> Option<usize> {
    let mut chars = text.chars();
    for wanted in prefix.chars() {
        let found = chars.next()?;
        let same = found == wanted
            || found.to_uppercase().eq(wanted.to_uppercase())
            || found.to_lowercase().eq(wanted.to_lowercase());
        if !same {
            return None;
        }
    }
    Some(text.len() - chars.as_str().len())
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
    fn every_name_of_a_zone_stands_for_a_zone_that_is_known() {
        for length in [ZoneLength::Short, ZoneLength::Full] {
            assert!(zone_names(length).len() > 300);
            for (name, zone) in zone_names(length) {
                assert!(crate::decode::datetime::Zone::of_id(zone).is_some(), "{name}: {zone}");
            }
        }
        assert_eq!(longest_zone_name_at("PST]", ZoneLength::Short), Some(("America/Los_Angeles", 3)));
        assert_eq!(longest_zone_name_at("india standard time", ZoneLength::Full), Some(("Asia/Kolkata", 19)));
        assert_eq!(longest_zone_name_at("India Standard Time", ZoneLength::Short), None);
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
