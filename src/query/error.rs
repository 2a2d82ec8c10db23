//! Why an expression has no value for a row: Spark's error classes.
//!
//! Functions return it inside a `DataFusionError`; [`failure`] finds it there again. Its text has types, positions and
//! the words of the query, never a value of a row.

use std::fmt;
use std::sync::LazyLock;

use arrow::datatypes::FieldRef;
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;

use crate::model::Error;

/// An error of Spark for one row, such as `DIVIDE_BY_ZERO`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpressionError {
    /// Spark's error class.
    pub class: &'static str,
    /// What happened, without values.
    pub message: String,
    /// The innermost expression that has no value, as Spark prints it, where it is known.
    pub expression: Option<String>,
}

impl ExpressionError {
    /// An error of `class`, ready to be returned from a function.
    pub fn raise(class: &'static str, message: impl Into<String>) -> DataFusionError {
        DataFusionError::External(Box::new(ExpressionError {
            class,
            message: message.into(),
            expression: None,
        }))
    }

    /// `error` with the name of the expression that raised it, unless one inside of it has done so already.
    pub fn inside(error: DataFusionError, expression: &str) -> DataFusionError {
        match failure(&error) {
            Some(found) if found.expression.is_none() => {
                let expression = Some(expression.to_owned());
                DataFusionError::External(Box::new(ExpressionError { expression, ..found.clone() }))
            }
            _ => error,
        }
    }
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.message)?;
        match &self.expression {
            Some(expression) => write!(f, ", in {expression}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ExpressionError {}

/// The class of results that do not fit in memory.
pub(super) const RESULT_TOO_LARGE: &str = "RESULT_TOO_LARGE";

/// Of more bytes than Arrow's offsets count.
static BEYOND_OFFSETS: LazyLock<ExpressionError> = LazyLock::new(|| ExpressionError {
    class: RESULT_TOO_LARGE,
    message: "the values of a column would have more than 2 GiB".to_owned(),
    expression: None,
});

/// Why rows did not come out.
#[derive(Debug)]
pub enum Failure {
    /// An expression has no value for a row.
    Expression(ExpressionError),
    /// Anything else.
    Other(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::Expression(error) => Error::data(error.to_string()),
            Failure::Other(error) => error,
        }
    }
}

pub(super) fn internal(error: DataFusionError) -> Error {
    Error::internal("run sql").source(error)
}

/// The error of Spark inside `error`, if it is one.
pub fn failure(error: &DataFusionError) -> Option<&ExpressionError> {
    match error.find_root() {
        DataFusionError::External(inner) => inner.downcast_ref(),
        DataFusionError::ArrowError(arrow, _) => match arrow.as_ref() {
            arrow::error::ArrowError::ExternalError(inner) => inner
                .downcast_ref::<ExpressionError>()
                .or_else(|| inner.downcast_ref::<DataFusionError>().and_then(failure)),
            arrow::error::ArrowError::OffsetOverflowError(_) => Some(&BEYOND_OFFSETS),
            _ => None,
        },
        _ => None,
    }
}

/// Characters of an expression that a message shows.
const SHOWN_CHARS: usize = 200;

/// An argument as Spark prints it: the literal, or the name of what gives the value.
pub(crate) fn shown(field: &FieldRef, literal: Option<&ScalarValue>) -> String {
    match literal {
        Some(literal) if literal.is_null() => "NULL".to_owned(),
        Some(literal) => literal.to_string(),
        None => field.name().clone(),
    }
}

/// A call as Spark prints it: an operator between its operands, everything else as a function.
pub(crate) fn shown_call(name: &str, args: &[String]) -> String {
    let text = match args {
        [value] if name == "negative" => format!("(- {value})"),
        [value] if name == "bitwise_not" => format!("~{value}"),
        [list, place] if name == "get_item" => format!("{list}[{place}]"),
        [left, right] if name == "div" || !name.starts_with(char::is_alphabetic) => {
            format!("({left} {name} {right})")
        }
        args => format!("{name}({})", args.join(", ")),
    };
    cut(text)
}

/// The text, shortened if it is long.
pub(crate) fn cut(text: String) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
