//! Times as people and machines read them.

/// Milliseconds since the Unix epoch as `2026-01-31T12:00:00.000Z`; `None` beyond the calendar.
pub fn utc(ms: i64) -> Option<String> {
    chrono::DateTime::from_timestamp_millis(ms).map(|time| time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

/// What [`utc`] gave; `None` for another text.
pub fn from_utc(text: &str) -> Option<i64> {
    Some(chrono::DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis())
}
