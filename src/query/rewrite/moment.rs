//! Typed texts whose value depends on the time of the batch: `TIMESTAMP '10:15:00'` is of its day, `DATE 'today'` is that day.

use datafusion::sql::sqlparser::ast::{Expr, TypedString, Value};

use super::{Rewriter, build, literal};
use crate::decode::datetime::{Zone, cast};
use crate::model::Result;
use crate::query::coerce::moment::is_moment;

impl Rewriter<'_> {
    /// `DATE '…'`, `TIMESTAMP '…'`, and the numbers that the tokens' pass made of `1S` and its kin.
    ///
    /// # Errors
    /// `Config` if there is no literal of the type.
    pub(super) fn typed_text(&self, typed: &TypedString) -> Result<Expr> {
        let kind = match typed.data_type.to_string().to_ascii_uppercase().as_str() {
            "DATE" => "DATE",
            "TIMESTAMP" | "TIMESTAMP_LTZ" => "TIMESTAMP",
            "TIMESTAMP_NTZ" => "TIMESTAMP_NTZ",
            _ => return literal::typed_string(typed),
        };
        match &typed.value.value {
            Value::SingleQuotedString(text)
                if is_moment(text) || (kind == "TIMESTAMP" && has_no_date(text)) =>
            {
                self.call("cast", vec![Expr::Value(typed.value.clone()), build::text(kind)])
            }
            _ => literal::typed_string(typed),
        }
    }
}

/// Whether a text is a time without a date, whose day is that of the batch.
fn has_no_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    cast::timestamp_micros(bytes, &Zone::UTC, 0).is_some() && cast::local_micros(bytes).is_none()
}
