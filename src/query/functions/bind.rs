//! How a call of a function is bound: what is known of its arguments, and which types follow.

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::ScalarValue;

use crate::query::conf::Conf;

/// What a function knows of a call before it runs.
pub(crate) struct Bind<'a> {
    /// The function's name.
    pub(crate) name: &'a str,
    /// The query's settings.
    pub(crate) conf: &'a Conf,
    /// The arguments' types.
    pub(crate) types: &'a [DataType],
    /// The arguments' names, where the expression has one.
    pub(crate) fields: &'a [FieldRef],
    /// The arguments that are literals.
    pub(crate) literals: &'a [Option<ScalarValue>],
    /// Whether literals are folded, so that what has to be one and is none is refused.
    pub(crate) strict: bool,
}

impl Bind<'_> {
    /// The text of the literal argument `at`.
    pub(crate) fn text(&self, at: usize) -> Option<&str> {
        match self.literals.get(at)?.as_ref()? {
            ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text) => {
                text.as_deref()
            }
            _ => None,
        }
    }

    /// The whole number of the literal argument `at`.
    pub(crate) fn integer(&self, at: usize) -> Option<i64> {
        match self.literals.get(at)?.as_ref()? {
            ScalarValue::Int8(value) => value.map(i64::from),
            ScalarValue::Int16(value) => value.map(i64::from),
            ScalarValue::Int32(value) => value.map(i64::from),
            ScalarValue::Int64(value) => *value,
            _ => None,
        }
    }
}

/// The types that the arguments are cast to, and the result's.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) args: Vec<DataType>,
    pub(crate) returns: DataType,
}

impl Bound {
    pub(crate) fn new(args: impl Into<Vec<DataType>>, returns: DataType) -> Bound {
        Bound { args: args.into(), returns }
    }
}
