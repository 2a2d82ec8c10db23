//! The rules of time-zone regions, as tables that are searched.
//!
//! `chrono-tz` holds the tz database but answers slowly and only up to the year 2100. Here a region
//! becomes a table of its offset changes once per process; later years follow the rule of the last
//! years of the table, as Java's `ZoneRules` does.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, RwLock};

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::{TZ_VARIANTS, Tz};

use super::civil::{SECONDS_PER_DAY, days_of, is_leap, year_of};

/// The first year of the tables; no region changed its offset before.
const FIRST_YEAR: i64 = 1800;
/// The last year of the tables; `chrono-tz` knows none after it.
const LAST_YEAR: i64 = 2099;
/// From here on, 28 years hold every kind of year, by leap day and first weekday.
const CYCLE_FROM: i64 = 2060;

/// The offset changes of a region.
#[derive(Debug, PartialEq)]
pub struct Rules {
    name: &'static str,
    /// The offset before the first change, in seconds.
    first: i32,
    changes: Vec<Change>,
    /// Whether clocks still change by a rule at the end of the table.
    recurs: bool,
}

#[derive(Debug, PartialEq)]
struct Change {
    /// The first second, in UTC, of the new offset.
    utc: i64,
    /// The first second on the clock that is read with the new offset. In a gap and in an overlap
    /// alike the old offset gives what `ZonedDateTime.of` gives.
    local: i64,
    offset: i32,
}

impl Rules {
    /// The region's id.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The offset to read clock time `local` (seconds) with.
    pub fn offset_of_local(&self, local: i64) -> i32 {
        let local = self.within_table(local);
        let behind = self.changes.partition_point(|change| change.local <= local);
        self.offset_after(behind)
    }

    /// The offset at the instant `utc` (seconds).
    pub fn offset_of_utc(&self, utc: i64) -> i32 {
        let utc = self.within_table(utc);
        let behind = self.changes.partition_point(|change| change.utc <= utc);
        self.offset_after(behind)
    }

    fn offset_after(&self, changes: usize) -> i32 {
        match changes.checked_sub(1) {
            Some(last) => self.changes[last].offset,
            None => self.first,
        }
    }

    /// The same moment of a year of the same kind inside the table.
    fn within_table(&self, seconds: i64) -> i64 {
        let days = seconds.div_euclid(SECONDS_PER_DAY);
        if !self.recurs || days < days_of(LAST_YEAR, 1, 1) {
            return seconds;
        }
        let year = year_of(days);
        let new_year = days_of(year, 1, 1);
        let same_kind = |candidate: &i64| {
            is_leap(*candidate) == is_leap(year) && (days_of(*candidate, 1, 1) - new_year) % 7 == 0
        };
        let model = (CYCLE_FROM..CYCLE_FROM + 28).find(same_kind).expect("28 years hold every kind of year");
        seconds + (days_of(model, 1, 1) - new_year) * SECONDS_PER_DAY
    }

    fn scan(zone: Tz) -> Rules {
        let offset_at = |seconds: i64| {
            let instant = DateTime::from_timestamp(seconds, 0).expect("years of the tables are in range");
            zone.offset_from_utc_datetime(&instant.naive_utc()).fix().local_minus_utc()
        };
        let start = days_of(FIRST_YEAR, 1, 1) * SECONDS_PER_DAY;
        let end = days_of(LAST_YEAR + 1, 1, 1) * SECONDS_PER_DAY;
        let first = offset_at(start);
        let mut changes = Vec::new();
        let (mut before, mut at) = (first, start);
        while at < end {
            let next = at + SECONDS_PER_DAY;
            let after = offset_at(next);
            if after != before {
                let utc = first_second_of(after, at, next, offset_at);
                changes.push(Change { utc, local: utc + i64::from(before.max(after)), offset: after });
                before = after;
            }
            at = next;
        }
        let late = days_of(LAST_YEAR - 1, 1, 1) * SECONDS_PER_DAY;
        let recurs = changes.last().is_some_and(|change| change.utc > late);
        Rules { name: zone.name(), first, changes, recurs }
    }
}

/// The first second in `(from, until]` with `offset`, which holds at `until` and not at `from`.
fn first_second_of(offset: i32, mut from: i64, mut until: i64, offset_at: impl Fn(i64) -> i32) -> i64 {
    while until - from > 1 {
        let middle = from + (until - from) / 2;
        if offset_at(middle) == offset { until = middle } else { from = middle }
    }
    until
}

/// The rules of a region by its exact id, if Java has that region.
pub(super) fn rules(id: &[u8]) -> Option<Arc<Rules>> {
    static KNOWN: OnceLock<RwLock<HashMap<&'static str, Arc<Rules>>>> = OnceLock::new();
    let known = KNOWN.get_or_init(RwLock::default);
    let id = std::str::from_utf8(id).ok()?;
    let read = known.read().expect("nothing panics while it holds this lock");
    if let Some(found) = read.get(id) {
        return Some(Arc::clone(found));
    }
    drop(read);
    let zone: Tz = id.parse().ok().filter(|zone: &Tz| is_java_region(zone.name()))?;
    let rules = Arc::new(Rules::scan(zone));
    let mut write = known.write().expect("nothing panics while it holds this lock");
    Some(Arc::clone(write.entry(zone.name()).or_insert(rules)))
}

/// Whether Java lists the region: it leaves some ids out, the short ones among them are aliases.
fn is_java_region(id: &str) -> bool {
    !matches!(id, "EST" | "MST" | "HST" | "ROC" | "Factory")
}

/// The longest id of a region that `text` begins with, in any case, and its length in bytes.
pub(super) fn longest_id_at(text: &str) -> Option<(&'static str, usize)> {
    static IDS: OnceLock<HashMap<String, &'static str>> = OnceLock::new();
    let ids = IDS.get_or_init(|| {
        let names = TZ_VARIANTS.iter().map(|zone| zone.name()).filter(|id| is_java_region(id));
        names.map(|id| (id.to_ascii_lowercase(), id)).collect()
    });
    let part_of_id = |b: &u8| b.is_ascii_alphanumeric() || b"/_+-".contains(b);
    let length_max = text.bytes().take(64).take_while(|b| part_of_id(b)).count();
    let mut lower = [0; 64];
    let lower = &mut lower[..length_max];
    lower.copy_from_slice(&text.as_bytes()[..length_max]);
    lower.make_ascii_lowercase();
    let lower = std::str::from_utf8(lower).ok()?;
    (2..=length_max).rev().find_map(|length| ids.get(&lower[..length]).map(|id| (*id, length)))
}

/// What a short id of Java's `ZoneId.SHORT_IDS` stands for.
pub(super) fn short_id(id: &[u8]) -> Option<&'static str> {
    Some(match id {
        b"ACT" => "Australia/Darwin",
        b"AET" => "Australia/Sydney",
        b"AGT" => "America/Argentina/Buenos_Aires",
        b"ART" => "Africa/Cairo",
        b"AST" => "America/Anchorage",
        b"BET" => "America/Sao_Paulo",
        b"BST" => "Asia/Dhaka",
        b"CAT" => "Africa/Harare",
        b"CNT" => "America/St_Johns",
        b"CST" => "America/Chicago",
        b"CTT" => "Asia/Shanghai",
        b"EAT" => "Africa/Addis_Ababa",
        b"ECT" => "Europe/Paris",
        b"EST" => "-05:00",
        b"HST" => "-10:00",
        b"IET" => "America/Indiana/Indianapolis",
        b"IST" => "Asia/Kolkata",
        b"JST" => "Asia/Tokyo",
        b"MIT" => "Pacific/Apia",
        b"MST" => "-07:00",
        b"NET" => "Asia/Yerevan",
        b"NST" => "Pacific/Auckland",
        b"PLT" => "Asia/Karachi",
        b"PNT" => "America/Phoenix",
        b"PRT" => "America/Puerto_Rico",
        b"PST" => "America/Los_Angeles",
        b"SST" => "Pacific/Guadalcanal",
        b"VST" => "Asia/Ho_Chi_Minh",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(rules: &Rules, year: i64, month: u32, day: u32, hour: i64) -> f64 {
        let local = days_of(year, month, day) * SECONDS_PER_DAY + hour * 3600;
        f64::from(rules.offset_of_local(local)) / 3600.0
    }

    #[test]
    fn summer_time_goes_on_after_the_tables_end() {
        let rules = rules(b"America/Los_Angeles").unwrap();
        for year in [2026, 2099, 2100, 2101, 2400, 3000, 290_000] {
            assert_eq!(hour(&rules, year, 1, 15, 0), -8.0, "{year}");
            assert_eq!(hour(&rules, year, 7, 1, 0), -7.0, "{year}");
        }
    }

    #[test]
    fn a_zone_whose_changes_ended_does_not_begin_them_again() {
        let rules = rules(b"Africa/Casablanca").unwrap();
        assert_eq!(hour(&rules, 2200, 7, 1, 0), hour(&rules, 2200, 1, 1, 0));
    }

    #[test]
    fn an_id_inside_text_is_the_longest_one() {
        assert_eq!(longest_id_at("etc/gmt+10 x"), Some(("Etc/GMT+10", 10)));
        assert_eq!(longest_id_at("Europe/Berlin]"), Some(("Europe/Berlin", 13)));
        assert_eq!(longest_id_at("EST"), None);
        assert_eq!(longest_id_at("é"), None);
    }
}
