//! Conditions: for which rows they are evaluated, what joins and watermarks find in them, and how large their plans are.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::model::{Marks, Watermark};
use crate::query::{Conf, Definition, Query, Relation, Runner, TableRows, View};

fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let field = |(name, data_type): &(&str, DataType)| Field::new(*name, data_type.clone(), true);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn stream() -> SchemaRef {
    schema(&[
        ("k", DataType::Utf8),
        ("type", DataType::Utf8),
        ("s", DataType::Utf8),
        ("n", DataType::Int32),
        ("ts", instant()),
        ("day", DataType::Date32),
    ])
}

fn table() -> SchemaRef {
    schema(&[("k", DataType::Utf8), ("n", DataType::Int64), ("valid_from", DataType::Date32)])
}

/// A query over `input`, the table `d` and the view `v`, if there is one.
fn definition(view: Option<&str>, sql: &str) -> Definition {
    let input = Relation { name: "input".into(), schema: stream() };
    let view = view.map(|sql| View { name: "v".into(), sql: sql.into(), marks: Marks::default() });
    Definition {
        tables: vec![Relation { name: "d".into(), schema: table() }],
        views: view.into_iter().collect(),
        ..Definition::of_stream(input, sql, Conf::default())
    }
}

fn plan(sql: &str) -> Query {
    Query::plan(&definition(None, sql)).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// A row of the stream: type, s, n.
type Row = (Option<&'static str>, &'static str, Option<i32>);

/// The first column of what a query gives; `None` if an expression fails. The table has one row, of the key of all rows.
fn answer(view: Option<&str>, sql: &str, rows: &[Row]) -> Option<ArrayRef> {
    let query = Query::plan(&definition(view, sql)).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let mut runner = Runner::new(query);
    let texts = |of: fn(&Row) -> Option<&'static str>| -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<StringArray>())
    };
    let batch = RecordBatch::try_new(
        stream(),
        vec![
            texts(|_| Some("a")),
            texts(|row| row.0),
            texts(|row| Some(row.1)),
            Arc::new(rows.iter().map(|row| row.2).collect::<Int32Array>()),
            new_null_array(&instant(), rows.len()),
            new_null_array(&DataType::Date32, rows.len()),
        ],
    );
    let one: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec!["a"])),
        Arc::new(Int64Array::from(vec![1])),
        new_null_array(&DataType::Date32, 1),
    ];
    let columns = runner.query().table_columns(0).unwrap_or_default();
    let one = RecordBatch::try_new(table(), one).unwrap().project(&columns).unwrap();
    let tables = [TableRows { version: "0".into(), batches: Arc::new(vec![one]), held: None }];
    let run = runner.begin(0, &tables).unwrap();
    let made = run.rows(batch.unwrap().project(&runner.query().input_columns()).unwrap()).ok()?;
    let made: Vec<ArrayRef> = made.iter().map(|rows| Arc::clone(rows.column(0))).collect();
    if made.is_empty() {
        return Some(new_null_array(&DataType::Utf8, 0));
    }
    let made: Vec<&dyn Array> = made.iter().map(AsRef::as_ref).collect();
    Some(arrow::compute::concat(&made).unwrap())
}

fn texts(array: &ArrayRef) -> Vec<Option<&str>> {
    array.as_string::<i32>().iter().collect()
}

fn flags(array: &ArrayRef) -> Vec<Option<bool>> {
    array.as_boolean().iter().collect()
}

#[test]
fn a_condition_that_may_fail_is_evaluated_only_for_rows_for_which_those_before_it_are_true() {
    let rows = [
        (Some("num"), "12", None),
        (None, "abc", None),
        (Some("text"), "def", None),
        (Some("num"), "3", None),
        (None, "99", None),
    ];
    let numbers = Some("SELECT * FROM input WHERE type = 'num'");
    for (view, sql) in [
        (None, "SELECT s FROM input WHERE type = 'num' AND CAST(s AS INT) > 5"),
        (
            None,
            "SELECT s FROM input WHERE upper(type) = 'NUM' AND CAST(s AS INT) > 5 AND CAST(s AS INT) < 50",
        ),
        (
            None,
            "SELECT s FROM input WHERE type IN ('num', 'x') AND (CAST(s AS INT) > 20 OR CAST(s AS INT) > 5)",
        ),
        (numbers, "SELECT s FROM v WHERE CAST(s AS INT) > 5"),
        (
            Some("SELECT s, CAST(s AS INT) AS c FROM input WHERE upper(type) = 'NUM'"),
            "SELECT s FROM v WHERE c > 5",
        ),
        (None, "SELECT s FROM (SELECT * FROM input WHERE type = 'num') WHERE CAST(s AS INT) > 5"),
        (None, "SELECT i.s FROM input i JOIN d ON i.k = d.k WHERE type = 'num' AND CAST(s AS INT) > 5"),
        (None, "SELECT i.s FROM input i JOIN d ON i.k = d.k AND type = 'num' AND CAST(s AS INT) > d.n + 4"),
        (None, "SELECT i.s FROM input i, d WHERE type = 'num' AND i.k = d.k AND CAST(s AS INT) > 5"),
        (numbers, "SELECT v.s FROM v JOIN d ON v.k = d.k WHERE CAST(s AS INT) > 5"),
        (None, "SELECT s FROM input WHERE k IN (SELECT k FROM d) AND type = 'num' AND CAST(s AS INT) > 5"),
        (
            Some("SELECT *, current_timestamp() AS seen FROM input"),
            "SELECT s FROM v WHERE CASE WHEN type = 'num' THEN TIMESTAMP'1960-01-01' END < seen AND CAST(s AS INT) > 5",
        ),
        (
            None,
            "SELECT s FROM input WHERE type = 'num' AND k > '' AND k > 'A' AND CAST(s AS INT) > 5 AND TIMESTAMP'1960-01-01' < current_timestamp()",
        ),
    ] {
        let made = answer(view, sql, &rows).unwrap_or_else(|| panic!("{sql}: fails"));
        assert_eq!(texts(&made), [Some("12")], "{sql}");
    }
    // NOT IN over a NULL is NULL, whatever stands beside it.
    let sql = "SELECT s FROM input WHERE day NOT IN (SELECT valid_from FROM d) AND CAST(s AS INT) > 5";
    assert_eq!(texts(&answer(None, sql, &rows[..1]).unwrap()), [None::<&str>; 0]);
    // The first condition is asked for every row.
    assert!(
        answer(None, "SELECT s FROM input WHERE CAST(s AS INT) > 5 AND upper(type) = 'X'", &rows).is_none()
    );
}

#[test]
fn outside_of_a_filter_null_does_not_decide() {
    let rows =
        [(Some("num"), "12", None), (Some("text"), "def", None), (None, "12", None), (None, "3", None)];
    let and = "SELECT type = 'num' AND n IS NULL AND CAST(s AS INT) > 5 AS yes FROM input";
    assert_eq!(flags(&answer(None, and, &rows).unwrap()), [Some(true), Some(false), None, Some(false)]);
    let or = "SELECT type = 'text' OR n > 0 OR CAST(s AS INT) > 5 AS yes FROM input";
    assert_eq!(flags(&answer(None, or, &rows).unwrap()), [Some(true), Some(true), Some(true), None]);
    assert!(answer(None, and, &[(None, "abc", None)]).is_none(), "the left side is NULL");
    let nested = "SELECT s FROM input WHERE NOT (type = 'num' AND CAST(s AS INT) > 5)";
    assert!(answer(None, nested, &[(None, "abc", None)]).is_none(), "the left side is NULL");
}

#[test]
fn in_knows_null_and_does_not_evaluate_items_behind_the_one_that_it_finds() {
    let rows = [(None, "12", Some(1)), (None, "abc", Some(2)), (None, "abc", None)];
    for (condition, expected) in [
        ("n IN (1, 7)", [Some(true), Some(false), None]),
        ("n NOT IN (1, 7)", [Some(false), Some(true), None]),
        ("n IN (1, NULL)", [Some(true), None, None]),
        ("n IN (1.0, 7)", [Some(true), Some(false), None]),
        ("CAST(n AS DOUBLE) IN (1, 7)", [Some(true), Some(false), None]),
        ("upper(s) IN ('12', 'x', 'y', 'z')", [Some(true), Some(false), Some(false)]),
        ("n IN (2, CAST(s AS INT))", [Some(false), Some(true), None]),
    ] {
        let made = answer(None, &format!("SELECT {condition} AS found FROM input"), &rows);
        assert_eq!(flags(&made.unwrap_or_else(|| panic!("{condition}: fails"))), expected, "{condition}");
    }
    let failing = "SELECT n IN (CAST(s AS INT), 2) AS found FROM input";
    assert!(answer(None, failing, &rows).is_none(), "the first item fails for the second row");
}

#[test]
fn a_plan_grows_with_its_conditions_and_no_faster() {
    let listed = |count: usize, item: &dyn Fn(usize) -> String, between: &str| {
        (0..count).map(item).collect::<Vec<_>>().join(between)
    };
    let text = |n: usize| format!("'v{n}'");
    let number = |n: usize| n.to_string();
    let failing = |n: usize| format!("CAST(s AS INT) > {n}");
    let call = |n: usize| format!("concat(k, s) <> 'v{n}'");
    let forms: [&dyn Fn(usize) -> String; 8] = [
        &|n| {
            format!("SELECT k FROM input WHERE get_json_object(k, '$.type') IN ({})", listed(n, &text, ", "))
        },
        &|n| format!("SELECT k FROM input WHERE CAST(s AS INT) IN ({})", listed(n, &number, ", ")),
        &|n| format!("SELECT k FROM input WHERE CAST(n AS DOUBLE) IN ({})", listed(n, &number, ", ")),
        &|n| format!("SELECT k FROM input WHERE hour(ts) NOT IN ({})", listed(n, &number, ", ")),
        &|n| format!("SELECT k FROM input WHERE {}", listed(n, &call, " AND ")),
        &|n| format!("SELECT i.k FROM input i JOIN d ON i.k = d.k WHERE {}", listed(n, &failing, " AND ")),
        &|n| format!("SELECT {} AS yes FROM input", listed(n, &failing, " AND ")),
        &|n| {
            format!(
                "SELECT n IN ({}) AS yes FROM input",
                listed(n, &|n| format!("CAST(s AS INT) + {n}"), ", ")
            )
        },
    ];
    for form in forms {
        let size = |count: usize| plan(&form(count)).explain_logical().len();
        assert!(size(40) < 3 * size(20), "{}", form(3));
    }
    let logical = plan(&forms[0](40)).explain_logical();
    assert_eq!(logical.matches("get_json_object").count(), 1, "{logical}");
}

#[test]
fn long_lists_and_chains_are_planned_on_a_small_stack() {
    let list: Vec<String> = (0..2000).map(|n| format!("'v{n}'")).collect();
    let chain: Vec<String> = (0..700).map(|n| format!("k = 'v{n}' OR upper(k) = 'v{n}'")).collect();
    for condition in [format!("k IN ({})", list.join(", ")), chain.join(" OR ")] {
        let planned = std::thread::Builder::new()
            .stack_size(2 << 20)
            .spawn(move || drop(plan(&format!("SELECT k FROM input WHERE {condition}"))));
        planned.unwrap().join().unwrap();
    }
}

#[test]
fn a_join_finds_its_keys_beside_conditions_with_casts_and_functions() {
    for sql in [
        "SELECT i.k FROM input i JOIN d ON i.k = d.k AND i.n = d.n",
        "SELECT k FROM input JOIN d USING (k, n)",
        "SELECT i.k FROM input i JOIN d ON i.k = d.k AND i.ts >= d.valid_from",
        "SELECT i.k FROM input i JOIN d ON i.k = d.k AND to_date(i.ts) = d.valid_from",
        "SELECT i.k FROM input i JOIN d ON i.k = d.k AND CAST(i.s AS INT) > d.n",
        "SELECT i.k FROM input i LEFT JOIN d ON i.k = d.k AND CAST(i.s AS INT) > d.n",
        "SELECT i.k FROM input i, d WHERE i.k = d.k AND length(i.k) > 2",
        "SELECT i.k FROM input i, d WHERE i.k = d.k AND concat(i.k, d.k) <> 'x'",
    ] {
        let plan = plan(sql).explain();
        assert!(plan.contains("HashJoinExec") && !plan.contains("NestedLoopJoinExec"), "{sql}\n{plan}");
    }
}

#[test]
fn conditions_on_other_columns_are_asked_below_the_watermark_whatever_their_order() {
    let time = "ts > TIMESTAMP'2020-01-01'";
    for condition in [format!("{time} AND length(k) > 1"), format!("length(k) > 1 AND {time}")] {
        let mut definition = definition(None, &format!("SELECT k, ts FROM input WHERE {condition}"));
        definition.inputs[0].marks.watermark = Some(Watermark {
            event_time: "ts".into(),
            delay_threshold: "10 seconds".into(),
            max_future_skew: None,
            idle_timeout: None,
        });
        let plan = Query::plan(&definition).unwrap().explain();
        let (above, below) = plan.split_once("Watermark on ts").unwrap_or_else(|| panic!("{plan}"));
        assert!(!above.contains("length") && below.contains("length"), "{condition}\n{plan}");
    }
}

#[test]
fn branches_of_a_union_have_their_common_type() {
    for (one, other, expected) in [
        ("day", "ts", instant()),
        ("n", "s", DataType::Int64),
        ("n", "CAST(n AS FLOAT)", DataType::Float64),
        ("NULL", "n", DataType::Int32),
    ] {
        let sql = format!("SELECT {one} AS c FROM input UNION ALL SELECT {other} FROM input");
        assert_eq!(*plan(&sql).schema().field(0).data_type(), expected, "{sql}");
    }
    let sql = "SELECT n AS c FROM input UNION ALL SELECT day FROM input";
    let error = Query::plan(&definition(None, sql)).unwrap_err().to_string();
    assert!(error.starts_with("INCOMPATIBLE_COLUMN_TYPE: "), "{error}");
}

#[test]
fn an_interval_is_compared_with_what_lies_between_two_times() {
    for condition in [
        "current_timestamp() - ts < INTERVAL 1 HOUR",
        "INTERVAL '1 day 2 hours' >= current_timestamp() - ts",
        "current_date() - day > INTERVAL '3' DAY",
    ] {
        plan(&format!("SELECT k FROM input WHERE {condition}"));
    }
    let sql = "SELECT k FROM input WHERE n > ts";
    let error = Query::plan(&definition(None, sql)).unwrap_err().to_string();
    assert!(error.starts_with("DATATYPE_MISMATCH."), "{error}");
}
