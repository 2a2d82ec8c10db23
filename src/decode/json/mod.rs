//! JSON messages into Arrow, as Spark 4.0's `from_json` reads them.
//!
//! A message goes from its bytes straight into the columns' buffers: no tree, and no allocation for
//! a good record. Two readers fill the same columns. `fast` takes well-formed JSON in which every
//! value suits its column, which is nearly all there ever is. What it gives up on, `exact` reads again
//! from the start, over a copy of Jackson's token machine, and is right about every byte of it.
//! Neither knows topics, tables or policies beyond [`Policy`].

mod capture;
mod column;
mod decoder;
mod exact;
mod fast;
mod fields;
mod jackson;
pub(super) mod number;
mod options;
mod outcome;
mod path;
mod required;
mod scan;
mod utf8;

pub use decoder::{JsonDecoder, OnMalformed, Policy};
pub(crate) use number::{write_double, write_float};
pub use options::{HONOURED, JsonOptions, Lexing, NO_EFFECT, ParseMode};
pub use outcome::{Outcome, Rejection, RejectionCode};
pub(crate) use path::{JsonPath, write_json_text};

use super::datetime::Formats;
use number::Symbols;

/// What both readers need to know to make a value.
struct Conversion {
    lexing: Lexing,
    formats: Formats,
    /// How decimal strings are written; `None` for en-US.
    symbols: Option<Symbols>,
    /// Microseconds since the epoch; gives the day to a time of day without a date.
    now: i64,
}
