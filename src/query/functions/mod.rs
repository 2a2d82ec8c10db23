//! The functions of Spark that a query may call: one allow-list.
//!
//! A function is in it only with the names of the oracle's cases that prove its results; DataFusion's own
//! functions are taken from there one by one, for many differ from Spark's. The planner looks names up here, and nowhere else.
//!
//! The rewriter (`query::rewrite`) turns Spark's own forms into calls, so these names must be here too:
//! `cast(x, 'ddl')` and `try_cast`, `case_when(condition, value, …[, otherwise])`, `get_item(x, index)` for `x[index]`,
//! `negative`, `bitwise_not`, `like`/`ilike(x, pattern[, escape])`, `rlike`, `concat` for `||`, `shiftleft`, `shiftright`,
//! `date_part('field', x)`, `ceil`, `floor`, `locate` for POSITION, `substring`, `trim`/`ltrim`/`rtrim(x[, characters])`,
//! `overlay`, `named_struct`. IN and BETWEEN are chains of comparisons. Operators go through the `ExprPlanner`s of
//! `query::session`. A literal has Spark's type before a function sees it; a failing row is
//! `query::error::ExpressionError`.

pub mod aggregate;
pub(crate) mod array;
pub(crate) mod assertion;
pub(crate) mod bind;
mod bitwise;
pub(crate) mod compare;
pub(crate) mod conditional;
pub(crate) mod entry;
mod csv;
mod format;
mod hash;
pub(crate) mod interval;
mod java_regex;
mod json;
pub(crate) mod lambda;
mod map;
mod math;
mod number_format;
#[cfg(test)]
pub(crate) mod proof;
#[cfg(test)]
mod reference;
mod regexp;
pub(crate) mod scalar;
mod search;
mod sequence;
mod sorted_by;
mod text;
mod time;
mod url;

pub use entry::{Entry, Function};

/// The families; one file each.
const FAMILIES: &[&[Entry]] = &[
    super::arithmetic::ENTRIES,
    compare::ENTRIES,
    conditional::ENTRIES,
    assertion::ENTRIES,
    math::ENTRIES,
    bitwise::ENTRIES,
    text::ENTRIES,
    search::ENTRIES,
    format::ENTRIES,
    number_format::ENTRIES,
    regexp::ENTRIES,
    time::PARTS,
    time::SHIFT,
    time::EPOCH,
    time::TEXT,
    array::ENTRIES,
    sequence::ENTRIES,
    map::ENTRIES,
    lambda::ENTRIES,
    json::ENTRIES,
    csv::ENTRIES,
    hash::ENTRIES,
    url::ENTRIES,
];

/// The names of Spark 4.0's built-in functions, one a line (`SHOW SYSTEM FUNCTIONS`).
const SPARK: &str = include_str!("spark_functions.txt");

/// Whether Spark has a function of this name, in lower case.
pub(crate) fn is_of_spark(name: &str) -> bool {
    SPARK.lines().any(|known| known == name)
}

/// Every function.
pub fn all() -> impl Iterator<Item = &'static Entry> {
    FAMILIES.iter().chain(aggregate::FAMILIES).flat_map(|family| family.iter())
}
