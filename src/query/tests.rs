//! A planned query, run again and again: each batch gets its own rows, and nothing grows.

mod bounds;
mod static_tables;
mod time;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use arrow::util::pretty::pretty_format_batches;

use super::result_size::SliceSize;
use super::*;
use crate::model::{Marks, OutputMode, Result};

fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let field = |(name, data_type): &(&str, DataType)| Field::new(*name, data_type.clone(), true);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

fn stream() -> SchemaRef {
    schema(&[("k", DataType::Utf8), ("v", DataType::Int32), ("unread", DataType::Int32)])
}

fn table() -> SchemaRef {
    schema(&[("K", DataType::Utf8), ("x", DataType::Int32)])
}

fn rows(schema: &SchemaRef, keys: &[&str], first: i32) -> RecordBatch {
    let numbers = || Arc::new(Int32Array::from_iter_values((0..keys.len() as i32).map(|n| first + n)));
    let keys: ArrayRef = Arc::new(StringArray::from(keys.to_vec()));
    let columns = (0..schema.fields().len()).map(|n| if n == 0 { Arc::clone(&keys) } else { numbers() });
    RecordBatch::try_new(Arc::clone(schema), columns.collect()).unwrap()
}

fn runner(sql: &str) -> Runner {
    runner_of(sql, Conf::default())
}

fn runner_of(sql: &str, conf: Conf) -> Runner {
    let relation = |name: &str, schema| Relation { name: name.into(), schema };
    let definition = Definition {
        inputs: vec![Input { relation: relation("input", stream()), marks: Marks::default() }],
        tables: vec![relation("d", table()), relation("e", table())],
        views: Vec::new(),
        sql: sql.into(),
        conf,
        output_mode: OutputMode::Append,
    };
    Runner::new(Query::plan(&definition).unwrap_or_else(|error| panic!("{sql}: {error}")))
}

/// The contents of both tables, in the columns that the query reads.
fn tables(runner: &Runner, version: i32) -> Vec<TableRows> {
    let contents = |place: usize| {
        let keys = if version == 0 { vec!["a", "b", "b"] } else { vec!["a", "c"] };
        let all = rows(&table(), &keys, 10 * (version + 1));
        let columns = runner.query().table_columns(place).unwrap_or_default();
        let batches = Arc::new(vec![all.project(&columns).unwrap()]);
        TableRows { version: version.to_string(), batches, held: None }
    };
    vec![contents(0), contents(1)]
}

fn answer(runner: &mut Runner, version: i32, batch: &RecordBatch) -> String {
    let tables = tables(runner, version);
    let run = runner.begin(0, &tables).unwrap();
    let input = batch.project(&runner.query().input_columns()).unwrap();
    let made = run.rows(input).unwrap_or_else(|failure| panic!("{failure:?}"));
    let text = pretty_format_batches(&made).unwrap().to_string();
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('+')).collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// As in Spark, a call names the characters first; `TRIM(… FROM …)` and `btrim` say which is which themselves.
#[test]
fn trims_take_the_characters_where_spark_takes_them() {
    let one = rows(&stream(), &["xxkx"], 1);
    let calls =
        "ltrim('x', k), rtrim('x', k), btrim(k, 'x'), trim(LEADING 'x' FROM k) AS again, trim('x', k)";
    let text = answer(&mut runner(&format!("SELECT {calls} FROM input")), 0, &one);
    let row = text.lines().find(|line| line.contains("kx")).unwrap_or_else(|| panic!("{text}"));
    let cells: Vec<&str> = row.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(cells, ["kx", "xxk", "k", "kx", "k"]);
}

/// Queries with stars as arguments, and Spark's rows over `input` ("a", 1, 1), ("b", 2, 2) and `d` as [`tables`] has it.
const STARS: [(&str, &[&str]); 18] = [
    (
        "SELECT to_json(struct(*)) AS value FROM input",
        &[r#"{"k":"a","v":1,"unread":1}"#, r#"{"k":"b","v":2,"unread":2}"#],
    ),
    (
        "SELECT to_json(struct(i.*)) AS j FROM input i JOIN d USING (k) WHERE x < 12",
        &[r#"{"k":"a","v":1,"unread":1}"#, r#"{"k":"b","v":2,"unread":2}"#],
    ),
    (
        "SELECT to_json(struct(*)) AS j FROM input i JOIN d USING (k)",
        &[
            r#"{"k":"a","v":1,"unread":1,"x":10}"#,
            r#"{"k":"b","v":2,"unread":2,"x":11}"#,
            r#"{"k":"b","v":2,"unread":2,"x":12}"#,
        ],
    ),
    (
        "SELECT to_json(struct(*)) AS j FROM input i JOIN d ON i.k = d.k WHERE v = 1",
        &[r#"{"k":"a","v":1,"unread":1,"K":"a","x":10}"#],
    ),
    (
        "SELECT to_json(struct(d.*, i.v AS n)) AS j FROM input i JOIN d ON i.k = d.k WHERE v = 1",
        &[r#"{"K":"a","x":10,"n":1}"#],
    ),
    (
        "SELECT to_json(struct(* EXCEPT (Unread), 'm' AS kind)) AS j FROM input",
        &[r#"{"k":"a","v":1,"kind":"m"}"#, r#"{"k":"b","v":2,"kind":"m"}"#],
    ),
    (
        "SELECT concat_ws('|', concat_ws('|', *), hash(*), greatest(*)) AS c FROM (SELECT v, unread FROM input)",
        &["1|1|245521047|1", "2|2|1968600809|2"],
    ),
    (
        "SELECT to_json(struct(v AS n, upper(k), *)) AS j FROM input WHERE v = 1",
        &[r#"{"n":1,"col2":"A","k":"a","v":1,"unread":1}"#],
    ),
    (
        "SELECT to_json(struct(*, v + 1)) AS j FROM input WHERE v = 2",
        &[r#"{"k":"b","v":2,"unread":2,"col2":3}"#],
    ),
    ("SELECT k FROM input WHERE struct(*).v = 2 AND hash(*) IS NOT NULL", &["b"]),
    (
        "SELECT to_json(transform(array(7), v -> struct(v AS e, *))) AS j FROM input WHERE v = 1",
        &[r#"[{"e":7,"k":"a","v":1,"unread":1}]"#],
    ),
    (
        "SELECT concat_ws(',', k, (SELECT max(struct(*)).x FROM d), (SELECT count(*) FROM d)) AS c FROM input",
        &["a,12,3", "b,12,3"],
    ),
    (
        "SELECT to_json(struct(*)) AS j FROM (SELECT k, array(v, unread) AS l FROM input) LATERAL VIEW explode(l) x AS e",
        &[
            r#"{"k":"a","l":[1,1],"e":1}"#,
            r#"{"k":"a","l":[1,1],"e":1}"#,
            r#"{"k":"b","l":[2,2],"e":2}"#,
            r#"{"k":"b","l":[2,2],"e":2}"#,
        ],
    ),
    ("SELECT k FROM input i WHERE EXISTS (SELECT 1 FROM d WHERE struct(*).x = i.v + 9)", &["a", "b"]),
    ("SELECT * EXCEPT (d.k, i.unread, V) FROM input i JOIN d ON i.k = d.k WHERE v = 1", &["a"]),
    (
        "SELECT to_json(struct(* EXCEPT (d.`k`, unread))) AS j FROM input i JOIN d ON i.k = d.k WHERE v = 1",
        &[r#"{"k":"a","v":1,"x":10}"#],
    ),
    ("SELECT concat_ws(',', k, (SELECT count(* EXCEPT (k)) FROM d)) AS c FROM input", &["a,3", "b,3"]),
    (
        "SELECT to_json(struct(s.* EXCEPT (n))) AS j FROM (SELECT struct(v AS n, k) AS s FROM input)",
        &[r#"{"k":"a"}"#, r#"{"k":"b"}"#],
    ),
];

#[test]
fn a_star_among_the_arguments_of_a_function_stands_for_the_columns() {
    let batch = rows(&stream(), &["a", "b"], 1);
    for (sql, expected) in STARS {
        let mut runner = runner(sql);
        let tables = tables(&runner, 0);
        let run = runner.begin(0, &tables).unwrap();
        let input = batch.project(&runner.query().input_columns()).unwrap();
        let made = run.rows(input).unwrap_or_else(|failure| panic!("{sql}: {failure:?}"));
        let texts = made.iter().flat_map(|rows| rows.column(0).as_string::<i32>().iter());
        let mut found: Vec<&str> = texts.map(|text| text.unwrap_or("NULL")).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{sql}");
    }
}

/// Queries whose rows are made by `stack`, and Spark's rows over `input` ("a", 1, 1), ("b", 2, 2).
const STACKED: [(&str, &[&str]); 9] = [
    (
        "SELECT concat_ws(',', k, n, x) AS c FROM input LATERAL VIEW stack(2, 'v', v, 'w', unread + 1) AS n, x",
        &["a,v,1", "a,w,2", "b,v,2", "b,w,3"],
    ),
    (
        "SELECT concat_ws(',', k, col0, col1) AS c FROM (SELECT k, stack(1, v, k) FROM input)",
        &["a,1,a", "b,2,b"],
    ),
    (
        "SELECT concat_ws(',', x, y) AS c FROM (SELECT stack(2, v, k, 7) AS (x, y) FROM input)",
        &["1,a", "2,b", "7", "7"],
    ),
    (
        "SELECT nvl(x, 'NULL') AS c FROM (SELECT stack(3, k, 'z') AS x FROM input)",
        &["NULL", "NULL", "a", "b", "z", "z"],
    ),
    (
        "SELECT nvl(x, 'NULL') AS c FROM (SELECT stack(2, NULL, k) AS x FROM input)",
        &["NULL", "NULL", "a", "b"],
    ),
    (
        "SELECT concat(k, x.n) AS c FROM input LATERAL VIEW OUTER stack(2, struct(v AS n), struct(unread + 7 AS n)) s AS x",
        &["a1", "a8", "b2", "b9"],
    ),
    ("SELECT concat(k, x) AS c FROM input LATERAL VIEW stack(2, 'x', 'y') AS x", &["ax", "ay", "bx", "by"]),
    (
        "SELECT concat('n', x) AS c FROM (SELECT stack(2, *) AS x FROM (SELECT v, unread + 2 FROM input))",
        &["n1", "n2", "n3", "n4"],
    ),
    (
        "SELECT concat(k, x) AS c FROM input i LATERAL VIEW stack(2, i.* EXCEPT (k)) AS x",
        &["a1", "a1", "b2", "b2"],
    ),
];

#[test]
fn stack_makes_rows_of_its_arguments() {
    let batch = rows(&stream(), &["a", "b"], 1);
    for (sql, expected) in STACKED {
        let text = answer(&mut runner(sql), 0, &batch);
        let rows = text.lines().filter(|line| !line.starts_with("| c "));
        let found: Vec<&str> = rows.map(|line| line.trim_matches(['|', ' '])).collect();
        assert_eq!(found, expected, "{sql}");
    }
}

/// A function behind LATERAL is a relation of the FROM in Spark 4.0, and the same as a LATERAL VIEW.
#[test]
fn a_lateral_function_at_the_end_of_from_is_a_lateral_view() {
    let batch = rows(&stream(), &["a", "b"], 1);
    for (function, view) in [
        (
            "SELECT k, e FROM input, LATERAL explode(array(v, 7)) AS x(e)",
            "SELECT k, e FROM input LATERAL VIEW explode(array(v, 7)) x AS e",
        ),
        (
            "SELECT k, x.col FROM input i JOIN d USING (k) CROSS JOIN LATERAL explode(array(i.v, d.x)) AS x",
            "SELECT k, t.col FROM input i JOIN d USING (k) LATERAL VIEW explode(array(i.v, d.x)) t",
        ),
        (
            "SELECT k, e, p, q FROM input JOIN LATERAL explode(array(v)) AS x(e) ON true, LATERAL posexplode(array(e, v)) AS y(p, q)",
            "SELECT k, e, p, q FROM input LATERAL VIEW explode(array(v)) x AS e LATERAL VIEW posexplode(array(e, v)) y AS p, q",
        ),
        (
            "SELECT k, e FROM input LEFT JOIN LATERAL explode(filter(array(v), n -> n > 1)) AS x(e) ON true",
            "SELECT k, e FROM input LATERAL VIEW OUTER explode(filter(array(v), n -> n > 1)) x AS e",
        ),
        (
            "SELECT k, x.e FROM input JOIN LATERAL explode(array(v, 7)) AS x(e) ON e > 1 AND k <> 'z' JOIN LATERAL explode(array(x.e)) AS y(e) ON true WHERE v < 3",
            "SELECT k, x.e FROM input LATERAL VIEW explode(array(v, 7)) x AS e WHERE x.e > 1 AND v < 3",
        ),
    ] {
        let found = answer(&mut runner(function), 0, &batch);
        assert_eq!(found, answer(&mut runner(view), 0, &batch), "{function}");
        assert!(found.lines().count() > 1, "{found}");
    }
}

/// The record fails, the others are rows, and no message has a value of the record in it.
#[test]
fn a_query_may_make_a_record_fail() {
    for (sql, message) in [
        (
            "SELECT v, CASE WHEN v < 2 THEN k ELSE raise_error(concat('too much: ', k)) END AS k FROM input",
            "USER_RAISED_EXCEPTION: the query raises an error, in raise_error(concat(too much: , k))",
        ),
        (
            "SELECT v, if(v < 2, v, raise_error('too much')) AS w FROM input",
            "USER_RAISED_EXCEPTION: the query raises an error, in raise_error(too much)",
        ),
        (
            "SELECT v, if(v > 1, raise_error('too much'), v) AS w FROM input",
            "USER_RAISED_EXCEPTION: the query raises an error, in raise_error(too much)",
        ),
        (
            "SELECT v FROM input WHERE assert_true(v < 2, 'too much') IS NULL",
            "USER_RAISED_EXCEPTION: a condition is not true, in assert_true(",
        ),
        (
            "SELECT v, from_csv(concat(v - 1, ',', if(v < 2, '', k)), 'a INT, b INT', map('mode', 'FAILFAST')) AS c FROM input",
            "MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION: the text is malformed",
        ),
    ] {
        let mut runner = runner(sql);
        let batch = rows(&stream(), &["a", "secret"], 1).project(&runner.query().input_columns()).unwrap();
        let run = runner.begin(0, &[]).unwrap();
        let (made, failed) = sifted(&run, &batch).unwrap();
        assert_eq!(made.records.unwrap(), [0], "{sql}");
        // A batch without records has none that fails.
        run.rows(batch.slice(0, 0)).unwrap_or_else(|failure| panic!("{sql}: {failure:?}"));
        let [(1, why)] = &failed[..] else { panic!("{sql}: {failed:?}") };
        let why = why.to_string();
        assert!(why.starts_with(message) && !why.contains("secret"), "{sql}: {why}");
    }
}

#[test]
fn what_sql_cannot_do_is_refused_with_what_to_write_instead() {
    for (sql, reason) in [
        ("SELECT count(i.*) AS n FROM input i", "count(i.*) is not allowed (write count(*)"),
        ("SELECT count(i.* EXCEPT (k)) AS n FROM input i", "count(i.* EXCEPT (k)) is not allowed"),
        ("SELECT upper(i.* EXCEPT (k, v)) AS (a, b) FROM input i", "not upper(i.* EXCEPT (k, v))"),
        ("SELECT k FROM input i WHERE i.* EXCEPT (v, i.k)", "PARSE_SYNTAX_ERROR"),
        ("SELECT k FROM input IN * EXCEPT (v)", "PARSE_SYNTAX_ERROR"),
        (
            "SELECT e FROM input i, LATERAL explode(array(i.* EXCEPT (k))) AS x(e), d",
            "explode(array(i.* EXCEPT (k)))",
        ),
        ("SELECT to_json(struct(* EXCLUDE (v))) AS j FROM input", "write * EXCEPT (…)"),
        ("SELECT * EXCEPT (unred) FROM input", "there is no column unred (the nearest name is unread)"),
        ("SELECT struct(i.* EXCEPT (k, i.unred)) AS s FROM input i", "there is no column i.unred"),
        ("SELECT s.* EXCEPT (nn) FROM (SELECT struct(v AS n, k) AS s FROM input)", "the nearest name is n)"),
        ("SELECT * EXCEPT (d.k) FROM input i JOIN d USING (k)", "there is no column d.k"),
        ("SELECT * EXCEPT (v, V) FROM input", "EXCEPT_OVERLAPPING_COLUMNS: EXCEPT names the column V twice"),
        ("SELECT * EXCEPT (k) FROM input i JOIN d ON i.k = d.k", "AMBIGUOUS_REFERENCE: k can be"),
        (
            "SELECT * EXCEPT (s.n) FROM (SELECT struct(v AS n, k) AS s FROM input)",
            "EXCEPT (s.n), which leaves out a field, is not supported in sql (write EXCEPT (s), and struct(…) AS s",
        ),
        ("SELECT * EXCEPT k FROM input", "PARSE_SYNTAX_ERROR"),
        ("SELECT to_json(struct(x.*)) AS j FROM input", "UNRESOLVED_COLUMN: there is no column x"),
        ("SELECT to_json(struct(k.*)) AS j FROM input", "k.* needs a struct"),
        (
            "SELECT window.* FROM input GROUP BY window(timestamp_seconds(v), '1 minute')",
            "write window.start and window.end",
        ),
        ("SELECT upper(x -> x) AS u FROM input", "upper() takes no lambda"),
        ("SELECT array_sort(array(v), (x, y) -> 'a') AS u FROM input", "the lambda is STRING, not INT"),
        ("SELECT input_file_name() AS f FROM input", "Spark's function input_file_name is not supported"),
        ("SELECT uper(k) AS u FROM input", "the nearest name is upper"),
        ("SELECT aes_encrypt(k, k) AS a FROM input", "Spark's function aes_encrypt is not supported"),
        (
            "SELECT typeof(make_interval(v) + INTERVAL 1 DAY) AS t FROM input",
            "typeof() of what is computed from an INTERVAL is not supported in sql",
        ),
        ("SELECT stack(2, v, k) AS a FROM input", "STACK_COLUMN_DIFF_TYPES"),
        ("SELECT stack(v, v, v) AS a FROM input", "NON_FOLDABLE_INPUT"),
        ("SELECT stack(0, v) AS a FROM input", "VALUE_OUT_OF_RANGE"),
        ("SELECT stack(2L, v) AS a FROM input", "UNEXPECTED_INPUT_TYPE"),
        ("SELECT stack(2) AS a FROM input", "WRONG_NUM_ARGS"),
        ("SELECT e FROM input, LATERAL explode(array(v)) AS x(e), d", "write it last in FROM"),
        (
            "SELECT e FROM input LEFT JOIN LATERAL explode(array(v)) AS x(e) ON e > 1",
            "LEFT JOIN LATERAL explode(array(v)) AS x (e) ON e > 1 is not supported in sql (write ON true",
        ),
        ("SELECT k FROM input JOIN LATERAL explode(array(k)) AS x(k) USING (k)", "by USING or NATURAL"),
        (
            "SELECT e FROM input RIGHT JOIN LATERAL explode(array(v)) AS x(e) ON true",
            "neither inner nor LEFT",
        ),
        ("SELECT e FROM input, LATERAL range(3) AS x(e)", "LATERAL takes explode"),
        ("SELECT k FROM input WHERE (k, v) IN (SELECT k, x FROM d)", "write EXISTS"),
        (
            "SELECT (SELECT x FROM d WHERE d.k = i.k) AS x FROM input i",
            "must be an aggregate (write (SELECT max(",
        ),
        ("SELECT date_add(FORTNIGHT, 1, now()) AS t FROM input", "there is no column FORTNIGHT"),
    ] {
        let relation = |name: &str, schema| Relation { name: name.into(), schema };
        let of_stream = Definition::of_stream(relation("input", stream()), sql.to_owned(), Conf::default());
        let definition = Definition { tables: vec![relation("d", table())], ..of_stream };
        let error = Query::plan(&definition).expect_err(sql).to_string();
        assert!(error.contains(reason) && !error.contains('\0'), "{sql}: {error}");
    }
}

/// What became of all rows of a batch: what they gave, and which failed.
pub(super) fn sifted(run: &BatchRun, batch: &RecordBatch) -> Result<(Made, Vec<(usize, ExpressionError)>)> {
    let (mut all, mut failed) = (Made { rows: Vec::new(), records: Some(Vec::new()) }, Vec::new());
    run.sift(batch, &mut SliceSize::new(RecordBytes::default()), &mut |sifted| {
        match sifted {
            Sifted::Failed(row, error) => failed.push((row, error)),
            Sifted::Made(made) => {
                all.rows.extend(made.rows);
                let numbers = all.records.as_mut().zip(made.records);
                numbers.into_iter().for_each(|(all, records)| all.extend(records));
            }
        }
        Ok(())
    })?;
    Ok((all, failed))
}

#[test]
fn each_row_knows_the_record_that_it_was_made_of_whatever_the_query_does() {
    let keys = ["a", "b", "x", "b", "a", "c"];
    for (sql, expected) in [
        ("SELECT v FROM input", vec![0, 1, 2, 3, 4, 5]),
        ("SELECT v + 0 AS v FROM input WHERE k <> 'b'", vec![0, 2, 4, 5]),
        ("SELECT i.v, x FROM d JOIN input i ON i.k = d.k", vec![0, 1, 1, 3, 3, 4]),
        ("SELECT v, x FROM input i LEFT JOIN d ON i.k = d.k", vec![0, 1, 1, 2, 3, 3, 4, 5]),
        ("SELECT v FROM input LEFT ANTI JOIN d USING (k)", vec![2, 5]),
        ("SELECT v FROM input WHERE k NOT IN (SELECT k FROM d)", vec![2, 5]),
        ("SELECT v FROM input i WHERE EXISTS (SELECT 1 FROM d WHERE d.k = i.k)", vec![0, 1, 3, 4]),
        ("SELECT v, e FROM input LATERAL VIEW explode(array(1, v)) AS e WHERE v > 3", vec![4, 4, 5, 5]),
        (
            "SELECT v FROM input WHERE k = 'a' UNION ALL SELECT v FROM (SELECT * FROM input) t WHERE v > 2",
            vec![0, 3, 4, 4, 5],
        ),
        ("SELECT v, (SELECT max(x) FROM d) AS most FROM input WHERE v % 2 = 1", vec![1, 3, 5]),
        ("SELECT v FROM input WHERE 1 / (v - 2) < 5", vec![0, 1, 3, 4, 5]),
        ("SELECT 1 AS one FROM input WHERE false", vec![]),
    ] {
        let mut runner = runner(sql);
        let tables = tables(&runner, 0);
        let run = runner.begin(0, &tables).unwrap();
        let batch = rows(&stream(), &keys, 0).project(&runner.query().input_columns()).unwrap();
        let (Made { rows, records }, _) = sifted(&run, &batch).unwrap();
        let records = records.expect("a query of one stream numbers its rows");
        let values: Vec<u32> = rows
            .iter()
            .flat_map(|rows| rows.column(0).as_primitive::<Int32Type>().values().to_vec())
            .map(|value| value as u32)
            .collect();
        assert_eq!(records, values, "{sql}: v is the number of the record");
        let mut sorted = records;
        sorted.sort_unstable();
        assert_eq!(sorted, expected, "{sql}");
    }
}
