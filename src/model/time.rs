//! Times as people and machines read them.

/// Milliseconds since the Unix epoch as `2026-01-31T12:00:00.000Z`; `None` beyond the calendar.
pub fn utc(ms: i64) -> Option<String> {
    chrono::DateTime::from_timestamp_millis(ms).map(|time| time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}
