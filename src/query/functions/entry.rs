//! An entry of the allow-list of functions.

use std::sync::Arc;

use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF};

use crate::query::conf::Conf;

/// A function of Spark.
pub struct Entry {
    /// Spark's name, in lower case.
    pub name: &'static str,
    /// Other names of the same function.
    pub aliases: &'static [&'static str],
    /// Makes the function for a query's settings.
    pub make: fn(&Conf) -> Function,
    /// The oracle's cases that show its results, `theme/name`.
    pub proved_by: &'static [&'static str],
}

/// What a name stands for.
#[derive(Clone)]
pub enum Function {
    /// A value for each row.
    Scalar(Arc<ScalarUDF>),
    /// A function that takes a lambda.
    HigherOrder(Arc<HigherOrderUDF>),
    /// A value for each group of rows.
    Aggregate(Arc<AggregateUDF>),
}
