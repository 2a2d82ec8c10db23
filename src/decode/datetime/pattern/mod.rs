//! Date and time formats of one's own: Spark 4.0's patterns, which are Java's `DateTimeFormatter`
//! with fewer letters and a strict resolver.
//!
//! [`Pattern::compile`] turns the text into steps (`compile`), `parse` runs them over a value and
//! gathers fields, `resolve` makes a date and a time out of the fields. A value that does not match
//! is `None`; nothing is guessed.

mod compile;
mod names;
mod parse;
mod resolve;

use std::sync::Arc;

use compile::Step;
use names::Names;

use super::civil::micros_of;
use super::zone::Zone;
use crate::model::error::Result;

/// A compiled format.
#[derive(Debug)]
pub struct Pattern {
    /// `None` if the pattern matches no text.
    steps: Option<Vec<Step>>,
    names: Arc<Names>,
    never: Option<String>,
}

impl Pattern {
    /// Compiles a pattern such as `yyyy-MM-dd'T'HH:mm:ss[.SSS][XXX]`. `locale` is a language tag
    /// (`en-US`); it decides the names of months, eras and AM/PM.
    ///
    /// A pattern that neither Java's old nor its new formatter understands is compiled to one that
    /// matches no text, as in Spark, where every such text is a bad field;
    /// [`never_matches`](Pattern::never_matches) tells.
    ///
    /// # Errors
    /// `Config` if Spark's query would fail: the pattern is one of Spark 2 that Spark 3 gave up
    /// (`INCONSISTENT_BEHAVIOR_CROSS_VERSION.DATETIME_PATTERN_RECOGNITION`).
    pub fn compile(pattern: &str, locale: &str) -> Result<Pattern> {
        compile::compile(pattern, locale)
    }

    /// Why no text can match, if that is so.
    pub fn never_matches(&self) -> Option<&str> {
        self.never.as_deref()
    }

    /// Microseconds since the epoch. Text without a zone is read in `zone`; a missing part of the
    /// date is that of 1970-01-01, a missing part of the time is zero.
    pub fn parse_timestamp(&self, text: &[u8], zone: &Zone) -> Option<i64> {
        let resolved = self.resolved(text)?;
        let zone = resolved.zone.as_ref().unwrap_or(zone);
        micros_of(zone.local_to_utc(resolved.local_seconds()), resolved.nanos / 1000)
    }

    /// Microseconds since 1970-01-01T00:00:00 on the clock; text with a zone is none.
    pub fn parse_ntz(&self, text: &[u8]) -> Option<i64> {
        let resolved = self.resolved(text)?;
        if resolved.zone.is_some() {
            return None;
        }
        micros_of(resolved.local_seconds(), resolved.nanos / 1000)
    }

    /// Days since 1970-01-01; a time or a zone in the text is checked and dropped.
    pub fn parse_date(&self, text: &[u8]) -> Option<i32> {
        let fields = parse::parse(self.steps.as_deref()?, &self.names, text)?;
        i32::try_from(resolve::date(fields)?).ok()
    }

    fn resolved(&self, text: &[u8]) -> Option<resolve::Resolved> {
        let fields = parse::parse(self.steps.as_deref()?, &self.names, text)?;
        resolve::date_and_time(fields)
    }
}
