//! Texts that name a moment by the time of the batch: `TIMESTAMP '10:15:00'` is of its day, `DATE 'today'` is that day.
//!
//! Spark replaces them when it reads the query; here a batch that is run again gives the same rows.

use datafusion::sql::sqlparser::ast::{Expr, TypedString, Value};

use super::{Rewriter, build, literal};
use crate::decode::datetime::{Zone, cast};
use crate::model::Result;

/// The words for moments, the days that lie between them and the batch's day, and whether each is its very moment.
const MOMENTS: [(&str, i32, bool); 4] =
    [("now", 0, true), ("today", 0, false), ("yesterday", -1, false), ("tomorrow", 1, false)];

impl Rewriter<'_> {
    /// `DATE '…'`, `TIMESTAMP '…'`, and the numbers that the tokens' pass made of `1S` and its kin.
    ///
    /// # Errors
    /// `Config` if there is no literal of the type.
    pub(super) fn typed_text(&self, typed: &TypedString) -> Result<Expr> {
        let kind = typed.data_type.to_string();
        let text = Expr::Value(typed.value.clone());
        if let Some(moment) = self.moment(&kind, &text)? {
            return Ok(moment);
        }
        let is_instant = ["TIMESTAMP", "TIMESTAMP_LTZ"].contains(&kind.to_ascii_uppercase().as_str());
        match &typed.value.value {
            Value::SingleQuotedString(time) if is_instant && has_no_date(time) => {
                self.call("cast", vec![text, build::text("TIMESTAMP")])
            }
            _ => literal::typed_string(typed),
        }
    }

    /// The value of a literal text as a DATE or a TIMESTAMP, if the text names it by the time of the batch.
    ///
    /// # Errors
    /// Those of a call.
    pub(super) fn moment(&self, data_type: &str, text: &Expr) -> Result<Option<Expr>> {
        let Expr::Value(value) = text else { return Ok(None) };
        let Value::SingleQuotedString(text) = &value.value else { return Ok(None) };
        let kind = match data_type.to_ascii_uppercase().as_str() {
            "DATE" => "DATE",
            "TIMESTAMP" | "TIMESTAMP_LTZ" => "TIMESTAMP",
            "TIMESTAMP_NTZ" => "TIMESTAMP_NTZ",
            _ => return Ok(None),
        };
        let word = text.trim().to_lowercase();
        if word == "epoch" {
            let epoch = if kind == "TIMESTAMP" { "1970-01-01T00:00:00Z" } else { "1970-01-01T00:00:00" };
            return Ok(Some(build::typed(kind, epoch)));
        }
        let Some((_, days, exact)) = MOMENTS.into_iter().find(|(name, ..)| *name == word) else {
            return Ok(None);
        };
        if exact && kind != "DATE" {
            let name = if kind == "TIMESTAMP_NTZ" { "localtimestamp" } else { "current_timestamp" };
            return self.call(name, Vec::new()).map(Some);
        }
        let mut day = self.call("current_date", Vec::new())?;
        if days != 0 {
            day = self.call("date_add", vec![day, build::typed("INT", days.to_string())])?;
        }
        if kind == "DATE" {
            return Ok(Some(day));
        }
        self.call("cast", vec![day, build::text(kind)]).map(Some)
    }
}

/// Whether a text is a time without a date, whose day is that of the batch.
fn has_no_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    cast::timestamp_micros(bytes, &Zone::UTC, 0).is_some() && cast::local_micros(bytes).is_none()
}
