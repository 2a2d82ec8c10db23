//! Names of months, eras, half days and zones, as Java 17's locale data has them.
//!
//! Java knows every locale of CLDR 39; here are the ones that messages with names are seen in. A
//! pattern without names works in any locale.

use super::parse::prefix_length;

/// The names of one locale.
#[derive(Debug)]
pub struct Names {
    pub months_short: [&'static str; 12],
    pub months_full: [&'static str; 12],
    pub months_short_alone: [&'static str; 12],
    pub months_full_alone: [&'static str; 12],
    pub eras_short: [&'static str; 2],
    pub eras_full: [&'static str; 2],
    pub am_pm: [&'static str; 2],
}

const ENGLISH_SHORT: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const ENGLISH_FULL: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const BRITISH_SHORT: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sept", "Oct", "Nov", "Dec"];
const GERMAN_FULL: [&str; 12] = [
    "Januar",
    "Februar",
    "März",
    "April",
    "Mai",
    "Juni",
    "Juli",
    "August",
    "September",
    "Oktober",
    "November",
    "Dezember",
];
const FRENCH_SHORT: [&str; 12] =
    ["janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc."];
const FRENCH_FULL: [&str; 12] = [
    "janvier",
    "février",
    "mars",
    "avril",
    "mai",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
];
const JAPANESE: [&str; 12] =
    ["1月", "2月", "3月", "4月", "5月", "6月", "7月", "8月", "9月", "10月", "11月", "12月"];

/// The names for `en-US`, and where names do not matter.
pub const ENGLISH: &Names = &Names {
    months_short: ENGLISH_SHORT,
    months_full: ENGLISH_FULL,
    months_short_alone: ENGLISH_SHORT,
    months_full_alone: ENGLISH_FULL,
    eras_short: ["BC", "AD"],
    eras_full: ["Before Christ", "Anno Domini"],
    am_pm: ["AM", "PM"],
};

const BRITISH: &Names = &Names {
    months_short: BRITISH_SHORT,
    months_full: ENGLISH_FULL,
    months_short_alone: BRITISH_SHORT,
    months_full_alone: ENGLISH_FULL,
    eras_short: ["BC", "AD"],
    eras_full: ["Before Christ", "Anno Domini"],
    am_pm: ["am", "pm"],
};

const GERMAN: &Names = &Names {
    months_short: [
        "Jan.", "Feb.", "März", "Apr.", "Mai", "Juni", "Juli", "Aug.", "Sept.", "Okt.", "Nov.", "Dez.",
    ],
    months_full: GERMAN_FULL,
    months_short_alone: ["Jan", "Feb", "Mär", "Apr", "Mai", "Jun", "Jul", "Aug", "Sep", "Okt", "Nov", "Dez"],
    months_full_alone: GERMAN_FULL,
    eras_short: ["v. Chr.", "n. Chr."],
    eras_full: ["v. Chr.", "n. Chr."],
    am_pm: ["AM", "PM"],
};

const FRENCH: &Names = &Names {
    months_short: FRENCH_SHORT,
    months_full: FRENCH_FULL,
    months_short_alone: FRENCH_SHORT,
    months_full_alone: FRENCH_FULL,
    eras_short: ["av. J.-C.", "ap. J.-C."],
    eras_full: ["avant Jésus-Christ", "après Jésus-Christ"],
    am_pm: ["AM", "PM"],
};

const JAPANESE_NAMES: &Names = &Names {
    months_short: JAPANESE,
    months_full: JAPANESE,
    months_short_alone: JAPANESE,
    months_full_alone: JAPANESE,
    eras_short: ["紀元前", "西暦"],
    eras_full: ["紀元前", "西暦"],
    am_pm: ["午前", "午後"],
};

/// The locales whose names are known, for messages.
pub const LOCALES: &str = "en, en-US, en-GB, de, de-DE, fr, fr-FR, ja, ja-JP";

/// The names of a locale, by its language tag.
pub fn of_locale(tag: &str) -> Option<&'static Names> {
    Some(match tag.to_ascii_lowercase().replace('_', "-").as_str() {
        "en" | "en-us" => ENGLISH,
        "en-gb" => BRITISH,
        "de" | "de-de" => GERMAN,
        "fr" | "fr-fr" => FRENCH,
        "ja" | "ja-jp" => JAPANESE_NAMES,
        _ => return None,
    })
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
