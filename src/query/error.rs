//! Why an expression has no value for a row: Spark's error classes.
//!
//! Functions return it inside a `DataFusionError`; [`failure`] finds it there again. Its text has types and
//! positions, never a value of a row.

use std::fmt;

use datafusion::error::DataFusionError;

/// An error of Spark for one row, such as `DIVIDE_BY_ZERO`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpressionError {
    /// Spark's error class.
    pub class: &'static str,
    /// What happened, without values.
    pub message: String,
}

impl ExpressionError {
    /// An error of `class`, ready to be returned from a function.
    pub fn raise(class: &'static str, message: impl Into<String>) -> DataFusionError {
        DataFusionError::External(Box::new(ExpressionError { class, message: message.into() }))
    }
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.message)
    }
}

impl std::error::Error for ExpressionError {}

/// The error of Spark inside `error`, if it is one.
pub fn failure(error: &DataFusionError) -> Option<&ExpressionError> {
    match error.find_root() {
        DataFusionError::External(inner) => inner.downcast_ref(),
        DataFusionError::ArrowError(arrow, _) => match arrow.as_ref() {
            arrow::error::ArrowError::ExternalError(inner) => inner
                .downcast_ref::<ExpressionError>()
                .or_else(|| inner.downcast_ref::<DataFusionError>().and_then(failure)),
            _ => None,
        },
        _ => None,
    }
}
