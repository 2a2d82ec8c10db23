//! The settings that decide what a query answers: Spark's, and how much may be made of a record.
//!
//! Read from a stream's `conf` once, before its query is planned; functions and operators are made with it.
//! The clock, which each planned query has for itself, is all that a batch moves.

use std::collections::BTreeMap;

use super::clock::BatchClock;
use super::record_bytes::RecordBytes;
use super::stateful::tracker::WatermarkPolicy;
use crate::decode::datetime::Zone;
use crate::model::{Error, Result};

/// `spark.sql.ansi.enabled`.
pub const ANSI: &str = "spark.sql.ansi.enabled";
/// `spark.sql.session.timeZone`.
pub const TIME_ZONE: &str = "spark.sql.session.timeZone";
/// `spark.sql.caseSensitive`.
pub const CASE_SENSITIVE: &str = "spark.sql.caseSensitive";
/// `spark.sql.streaming.multipleWatermarkPolicy`.
pub const WATERMARK_POLICY: &str = "spark.sql.streaming.multipleWatermarkPolicy";
/// `spark.sql.streaming.noDataMicroBatches.enabled`.
pub const EMPTY_BATCHES: &str = "spark.sql.streaming.noDataMicroBatches.enabled";

/// The settings, with Spark 4.0's defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct Conf {
    /// Whether overflow, a bad cast or a bad index is an error (true) or NULL, or wraps (false).
    pub ansi: bool,
    /// The session's time zone.
    pub zone: Zone,
    /// The zone's id as it was written.
    pub zone_id: String,
    /// Whether names are compared in exact case.
    pub case_sensitive: bool,
    /// Which of several watermarks counts.
    pub watermark_policy: WatermarkPolicy,
    /// Whether a micro-batch without data is run when the watermark has moved.
    pub empty_batches: bool,
    /// How much may be made of one record.
    pub record_bytes: RecordBytes,
    /// The time of the batch, for texts of a time without a date.
    pub(crate) clock: BatchClock,
}

impl Default for Conf {
    fn default() -> Self {
        Conf {
            ansi: true,
            zone: Zone::UTC,
            zone_id: "UTC".to_owned(),
            case_sensitive: false,
            watermark_policy: WatermarkPolicy::Min,
            empty_batches: true,
            record_bytes: RecordBytes::default(),
            clock: BatchClock::default(),
        }
    }
}

impl Conf {
    /// Reads the settings that matter to a query; others are left to whom they concern.
    ///
    /// # Errors
    /// `Config` if a value is neither true nor false, or a zone is not known.
    pub fn from_map(settings: &BTreeMap<String, String>) -> Result<Conf> {
        let mut conf = Conf::default();
        if let Some(value) = settings.get(ANSI) {
            conf.ansi = boolean(ANSI, value)?;
        }
        if let Some(value) = settings.get(CASE_SENSITIVE) {
            conf.case_sensitive = boolean(CASE_SENSITIVE, value)?;
        }
        if let Some(value) = settings.get(EMPTY_BATCHES) {
            conf.empty_batches = boolean(EMPTY_BATCHES, value)?;
        }
        if let Some(value) = settings.get(TIME_ZONE) {
            conf.zone = Zone::parse(value)?;
            conf.zone_id.clone_from(value);
        }
        if let Some(value) = settings.get(WATERMARK_POLICY) {
            conf.watermark_policy = match value.to_ascii_lowercase().as_str() {
                "min" => WatermarkPolicy::Min,
                "max" => WatermarkPolicy::Max,
                _ => {
                    return Err(Error::config(format!("{WATERMARK_POLICY} is {value:?}"))
                        .hint(format!("{WATERMARK_POLICY} takes min or max")));
                }
            };
        }
        Ok(conf)
    }
}

/// Whether two names are the same under `spark.sql.caseSensitive`.
pub(crate) fn is_same_name(case_sensitive: bool, a: &str, b: &str) -> bool {
    a == b || !case_sensitive && a.to_lowercase() == b.to_lowercase()
}

fn boolean(key: &str, value: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Error::config(format!("{key} is {value:?}")).hint(format!("{key} takes true or false"))),
    }
}
