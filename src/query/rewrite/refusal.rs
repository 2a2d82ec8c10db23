//! What the rewriter refuses: forms of SQL that Spark or Alluvia does not have.

use crate::model::Error;

/// The error for a form that is not supported.
pub(super) fn unsupported(what: &str) -> Error {
    Error::config(format!("{what} is not supported in sql"))
}
