//! The page `docs/reference/functions.md`: Spark's functions and the state of each here.
//!
//! Spark's list is that of `SHOW SYSTEM FUNCTIONS` of Spark 4.0 (`tests/rig/expressions.py --functions`). A test
//! compares the page with the file; `ALLUVIA_BLESS=1 cargo test --lib` writes it.

use super::SPARK;
use crate::model::generated::{NOTE, assert_current};

/// Names that are a syntax or a part of the planner, with the form they have in a query.
const PLANNED: &[(&str, &str)] = &[
    ("!", "`! x`"),
    ("!=", "`a != b`"),
    ("session_window", "`GROUP BY session_window(time, gap), key`"),
    ("window_time", "the last moment of a window, with its event time"),
    ("bigint", "`CAST(x AS BIGINT)`"),
    ("binary", "`CAST(x AS BINARY)`"),
    ("boolean", "`CAST(x AS BOOLEAN)`"),
    ("decimal", "`CAST(x AS DECIMAL)`"),
    ("double", "`CAST(x AS DOUBLE)`"),
    ("float", "`CAST(x AS FLOAT)`"),
    ("int", "`CAST(x AS INT)`"),
    ("smallint", "`CAST(x AS SMALLINT)`"),
    ("string", "`CAST(x AS STRING)`"),
    ("tinyint", "`CAST(x AS TINYINT)`"),
    ("||", "texts or arrays joined, as by `concat`"),
    ("==", "`a == b`"),
    ("<<", "`a << n`"),
    (">>", "`a >> n`"),
    (">>>", "`a >>> n`"),
    ("and", "`a AND b`"),
    ("or", "`a OR b`"),
    ("not", "`NOT a`"),
    ("in", "`a IN (b, c)`"),
    ("between", "`a BETWEEN b AND c`"),
    ("case", "`CASE WHEN … END`"),
    ("when", "`CASE WHEN … END`"),
    ("~", "`~ a`"),
    ("struct", "a STRUCT of its arguments, named as in Spark"),
    ("current_timestamp", "the time of the batch's plan"),
    ("now", "the time of the batch's plan"),
    ("localtimestamp", "the time of the batch's plan"),
    ("current_date", "the day of the batch's plan"),
    ("curdate", "the day of the batch's plan"),
    ("explode", "in SELECT or LATERAL VIEW"),
    ("explode_outer", "in SELECT or LATERAL VIEW"),
    ("posexplode", "in SELECT or LATERAL VIEW"),
    ("posexplode_outer", "in SELECT or LATERAL VIEW"),
    ("inline", "in SELECT or LATERAL VIEW"),
    ("inline_outer", "in SELECT or LATERAL VIEW"),
    ("json_tuple", "in SELECT or LATERAL VIEW"),
    ("stack", "in SELECT or LATERAL VIEW"),
    ("window", "a STRUCT of start and end"),
    ("grouping", "with ROLLUP, CUBE or GROUPING SETS"),
    ("grouping_id", "with ROLLUP, CUBE or GROUPING SETS"),
];

/// The page.
fn page() -> String {
    let known = |name: &str| super::all().find(|entry| entry.name == name || entry.aliases.contains(&name));
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for name in SPARK.lines() {
        let planned = PLANNED.iter().find(|(known, _)| *known == name);
        match (known(name), planned) {
            (Some(entry), _) => {
                let same = if entry.name == name { String::new() } else { format!(" (as `{}`)", entry.name) };
                let cases = entry.proved_by.join(", ");
                let kind =
                    match (super::aggregate::is_aggregate(entry), super::aggregate::unbounded(entry.name)) {
                        (true, true) => "aggregate, keeps every row of a group",
                        (true, false) => "aggregate",
                        _ => "supported",
                    };
                there.push(format!("| `{}` | {kind}{same} | {cases} |", name.replace('|', "\\|")));
            }
            (None, Some((_, form))) => {
                let theme = match name {
                    "window" => "tumbling, sliding",
                    "session_window" => "session_window",
                    "window_time" => "chained",
                    "stack" => "`src/query/tests.rs`",
                    "curdate" => "expressions/forms",
                    ">>>" => "expressions/bitwise",
                    _ => "stateless",
                };
                there.push(format!("| `{}` | {form} | {theme} |", name.replace('|', "\\|")));
            }
            (None, None) => missing.push(format!("`{name}`")),
        }
    }
    let total = there.len() + missing.len();
    format!(
        "# Functions\n\n{NOTE}\
         The functions that `sql` may call, out of the {total} names of Spark 4.0. A function is here only with the cases that\n\
         prove its results: `tests/oracle/streaming` (themes and cases), `tests/oracle/expressions` (generated\n\
         expressions, by family) and `tests/oracle/aggregates` (the same for aggregates, written `generated/family`), whose\n\
         answers are Spark's. What differs from Spark is named in the `deviations.txt` of\n\
         each. Under ANSI (the default, as in Spark 4.0) what has no value is an error of Spark's class.\n\n\
         Regular expressions mean what they mean in Java 17. Not supported are look-around, back-references, atomic groups, possessive\n\
         quantifiers, the flags `d` and `U`, and repeated groups that can match nothing, such as `(a*)+`. A literal pattern of this\n\
         kind is refused at start with its fault; one of a column fails for its row.\n\n\
         ## Supported: {}\n\n| name | | proved by |\n|---|---|---|\n{}\n\n\
         ## Not in this version: {}\n\nRefused at start, with the nearest name. Window functions are refused on a stream, as in Spark.\n\n{}\n",
        there.len(),
        there.join("\n"),
        missing.len(),
        missing.join(", "),
    )
}

#[test]
fn the_page_of_functions_is_that_of_the_code() {
    assert_current("functions.md", &page());
}
