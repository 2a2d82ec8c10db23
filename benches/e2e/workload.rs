//! Workload W1: device events as JSON of about 240 bytes, the same bytes for the same seed and number.
//!
//! Shared by the end-to-end benchmark and the integration tests (through `#[path]`). It makes bytes and says what they
//! mean; it never talks to a broker.

use std::io::Write;

/// The DDL schema of [`write_event`]'s JSON, in Spark's words.
pub(crate) const SCHEMA_DDL: &str = "event_id STRING, device STRING, status STRING, temperature DOUBLE, humidity DOUBLE, \
     battery INT, seq BIGINT, event_time TIMESTAMP, location STRUCT<lat: DOUBLE, lon: DOUBLE>";

/// 2026-11-01T00:00:00Z in milliseconds: the time of event 0; each event is one millisecond later.
pub(crate) const FIRST_EVENT_MS: i64 = 1_793_491_200_000;

const STATUSES: [&str; 4] = ["ok", "warning", "degraded", "offline"];

/// The partition that event `seq` goes to.
pub(crate) fn partition_of(seq: u64, partitions: u32) -> i32 {
    (seq % u64::from(partitions)) as i32
}

/// Appends event `seq` of the workload `seed` to `out`.
///
/// `event_id` is unique within a seed, `seq` is the number itself, `event_time` has milliseconds, numbers have one to six decimals.
pub(crate) fn write_event(out: &mut Vec<u8>, seed: u64, seq: u64) {
    let [a, b] = [mixed(seed, seq * 2), mixed(seed, seq * 2 + 1)];
    let (temperature, humidity) = (a % 6_000, (a >> 16) % 1_000);
    let (lat, lon) = ((a >> 32) % 90_000_000, (b >> 32) % 180_000_000);
    out.extend_from_slice(br#"{"event_id":""#);
    write_event_id(out, seed, seq);
    write!(
        out,
        r#"","device":"device-{:05}","status":"{}","temperature":{}.{:02},"humidity":{}.{},"battery":{},"seq":{seq},"event_time":"{}","location":{{"lat":{}.{:06},"lon":-{}.{:06}}}}}"#,
        b % 5_000,
        STATUSES[(b >> 20) as usize % STATUSES.len()],
        temperature / 100,
        temperature % 100,
        humidity / 10,
        humidity % 10,
        (b >> 24) % 101,
        EventTime(FIRST_EVENT_MS + seq as i64),
        lat / 1_000_000,
        lat % 1_000_000,
        lon / 1_000_000,
        lon % 1_000_000,
    )
    .expect("writing to memory cannot fail");
}

/// Appends the `event_id` of event `seq`: hexadecimal digits in the order of the numbers.
pub(crate) fn write_event_id(out: &mut Vec<u8>, seed: u64, seq: u64) {
    write!(out, "{seq:012x}-{:016x}", mixed(seed, seq * 2)).expect("writing to memory cannot fail");
}

/// SplitMix64 of a seed and a number: no state, so that any event can be made by itself.
fn mixed(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add((number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Milliseconds since 1970 as `2026-11-01T00:00:00.123Z`.
struct EventTime(i64);

impl std::fmt::Display for EventTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (days, ms) = (self.0.div_euclid(86_400_000), self.0.rem_euclid(86_400_000));
        // Days since 0000-03-01, so that a leap day is the last of its year.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
    }
}
