//! What a query is made of: its relations, its views, its text, and what Spark's DataFrame API would mark on them.

use arrow::datatypes::SchemaRef;

use super::conf::Conf;
use crate::model::{Marks, OutputMode};

/// A relation that a query may name.
#[derive(Debug, Clone)]
pub struct Relation {
    /// Its name, compared without case.
    pub name: String,
    /// Its columns, as Arrow has them.
    pub schema: SchemaRef,
}

/// A stream that a query reads.
#[derive(Debug, Clone)]
pub struct Input {
    /// Its name and columns.
    pub relation: Relation,
    /// What is marked on it.
    pub marks: Marks,
}

/// A named SELECT between the streams and the query: Spark's `createOrReplaceTempView`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Its name, compared without case.
    pub name: String,
    /// Its SELECT.
    pub sql: String,
    /// What is marked on its rows.
    pub marks: Marks,
}

/// What a query is made of.
#[derive(Debug, Clone)]
pub struct Definition {
    /// The streams, under the names that the query calls them by.
    pub inputs: Vec<Input>,
    /// Static tables, by the names that the query calls them by.
    pub tables: Vec<Relation>,
    /// Views, in order; each sees those before it.
    pub views: Vec<View>,
    /// The query.
    pub sql: String,
    /// Spark's settings.
    pub conf: Conf,
    /// Which rows come out.
    pub output_mode: OutputMode,
}

impl Definition {
    /// A query over one stream without marks.
    pub fn of_stream(input: Relation, sql: impl Into<String>, conf: Conf) -> Definition {
        Definition {
            inputs: vec![Input { relation: input, marks: Marks::default() }],
            tables: Vec::new(),
            views: Vec::new(),
            sql: sql.into(),
            conf,
            output_mode: OutputMode::Append,
        }
    }
}
