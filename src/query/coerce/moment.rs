//! Texts that name a moment by the time of the batch: `'today'` as a DATE is the day of the batch.
//!
//! Spark replaces such a literal wherever it becomes a date or a time, asked for or not, when it reads the query
//! (`SpecialDatetimeValues`); here a batch that is run again gives the same rows.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::{Expr, ScalarUDF};

use super::Coercion;
use crate::query::cast::Mode;
use crate::query::clock::{Now, Part};

/// A moment that a word names.
#[derive(Clone, Copy)]
enum Moment {
    Epoch,
    Now,
    /// The begin of a day: of the batch's, or so many days after it.
    Day(i32),
}

/// The moment that a text names.
fn moment_of(text: &str) -> Option<Moment> {
    match text.trim().to_lowercase().as_str() {
        "epoch" => Some(Moment::Epoch),
        "now" => Some(Moment::Now),
        "today" => Some(Moment::Day(0)),
        "yesterday" => Some(Moment::Day(-1)),
        "tomorrow" => Some(Moment::Day(1)),
        _ => None,
    }
}

/// Whether a text names a moment.
pub(in crate::query) fn is_moment(text: &str) -> bool {
    moment_of(text).is_some()
}

impl Coercion {
    /// A literal cast to `to`, if it is a text that names a moment.
    ///
    /// # Errors
    /// Those of a call.
    pub(super) fn moment(
        &self,
        literal: &ScalarValue,
        to: &DataType,
        schema: &DFSchema,
    ) -> Result<Option<Expr>> {
        let ScalarValue::Utf8(Some(text)) = literal else { return Ok(None) };
        let (zero, now) = match to {
            DataType::Date32 => (ScalarValue::Date32(Some(0)), ("current_date", Part::Date)),
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                let now = match zone {
                    Some(_) => ("current_timestamp", Part::Timestamp),
                    None => ("localtimestamp", Part::Local),
                };
                (ScalarValue::TimestampMicrosecond(Some(0), zone.clone()), now)
            }
            _ => return Ok(None),
        };
        let clock = |(name, part)| {
            ScalarUDF::from(Now::new(name, part, &self.conf.clock, &self.conf.zone)).call(Vec::new())
        };
        let days = match moment_of(text) {
            None => return Ok(None),
            Some(Moment::Epoch) => return Ok(Some(Expr::Literal(zero, None))),
            Some(Moment::Now) => return Ok(Some(clock(now))),
            Some(Moment::Day(days)) => days,
        };
        let mut day = clock(("current_date", Part::Date));
        if days != 0 {
            let days = Expr::Literal(ScalarValue::Int32(Some(days)), None);
            day = self.call("date_add", vec![day, days], schema)?;
        }
        self.cast(day, to, Mode::of(&self.conf), schema).map(Some)
    }
}
