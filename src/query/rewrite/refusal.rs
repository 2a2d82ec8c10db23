//! What the rewriter refuses: forms of SQL that Spark or Alluvia does not have.

use crate::model::Error;
use crate::query::except::as_written;

/// The error for a form that is not supported; `what` may be as the parser prints it.
pub(super) fn unsupported(what: &str) -> Error {
    Error::config(format!("{} is not supported in sql", as_written(what)))
}
