//! Dates and timestamps out of text, as Spark reads them.
//!
//! [`cast`] is the way without a format of one's own (the rules of CAST), [`pattern`] the way with
//! one (`timestampFormat` and its kin), [`Zone`] turns clock time into instants. [`Formats`] puts
//! them together as `from_json` does. No clock is read here: the caller says what "now" is, so
//! that a batch that runs twice gives the same rows.

pub mod cast;
pub mod civil;
pub mod pattern;
mod formats;
mod region;
mod zone;

pub use formats::{FormatOptions, Formats};
pub use pattern::Pattern;
pub use zone::Zone;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: i64 = 1_767_355_200_000_000;

    fn readers() -> Vec<Formats> {
        let patterns = [
            None,
            Some("yyyy-MM-dd'T'HH:mm:ss[.SSS][XXX]"),
            Some("G yyy-D KK:m:s a VV"),
            Some("yyyyMMddHHmmssS"),
            Some("d MMMM yy h O"),
            Some("g kk zzzz"),
            Some("yyyyyy-LLL-dd HH ZZZZ xxxxx"),
        ];
        let reader = |(at, format): (usize, Option<&'static str>)| {
            let zones = ["UTC", "America/Los_Angeles", "+05:30"];
            let options = FormatOptions {
                timestamp_format: format,
                timestamp_ntz_format: format,
                date_format: format,
                time_zone: Some(zones[at % 3]),
                locale: Some("en-GB"),
                fallback: Some(at % 2 == 0),
            };
            Formats::new(&options).unwrap()
        };
        patterns.into_iter().enumerate().map(reader).collect()
    }

    fn read_all(readers: &[Formats], text: &[u8]) {
        for reader in readers {
            let _ = reader.timestamp_micros(text, NOW);
            let _ = reader.timestamp_ntz_micros(text);
            let _ = reader.date_days(text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_bytes_make_a_reader_panic(text in prop::collection::vec(any::<u8>(), 0..40)) {
            read_all(&readers(), &text);
        }

        #[test]
        fn no_text_like_a_date_makes_a_reader_panic(
            text in "[-+]?[0-9]{0,20}[-/: TGMT]{0,2}[0-9]{0,3}[-: ]?[0-9]{0,3}([T ][0-9]{0,3}:[0-9]{0,3}(:[0-9]{0,3})?)?(\\.[0-9]{0,22})?[ ]?([-+Zz][0-9:]{0,9}|UTC[+0-9]{0,3}|[A-Za-z_/]{0,20})"
        ) {
            read_all(&readers(), text.as_bytes());
        }

        #[test]
        fn no_pattern_makes_the_compiler_or_its_reader_panic(
            pattern in "([a-zA-Z]{1,6}|'[^']{0,3}'|''|[-/:. \\[\\]{}#,é]){0,12}'?",
            text in "[-+0-9a-zA-Z:/. ]{0,24}",
        ) {
            if let Ok(pattern) = Pattern::compile(&pattern, "de-DE") {
                let _ = pattern.parse_timestamp(text.as_bytes(), &Zone::UTC);
                let _ = pattern.parse_date(text.as_bytes());
            }
        }

        #[test]
        fn clock_time_and_instant_agree_in_every_zone(seconds in -40_000_000_000_i64..40_000_000_000) {
            for id in ["Europe/Berlin", "Pacific/Apia", "Australia/Lord_Howe", "Africa/Casablanca"] {
                let zone = Zone::parse(id).unwrap();
                // Clock times that occur once come back; of two instants with one clock time, the earlier.
                let back = zone.local_to_utc(zone.utc_to_local(seconds));
                prop_assert!(back == seconds || zone.utc_to_local(back) == zone.utc_to_local(seconds) && back < seconds);
            }
        }
    }
}
