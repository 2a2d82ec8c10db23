//! Joins with static tables, and aggregates of them.

use super::*;

const JOINS: [&str; 12] = [
    "SELECT i.k, v, x FROM input i JOIN d ON i.k = d.k",
    "SELECT i.k, v, x FROM d JOIN input i ON i.k = d.k",
    "SELECT i.k, v, x FROM input i LEFT JOIN d ON i.k = d.k",
    "SELECT i.k, v, x FROM d RIGHT JOIN input i ON i.k = d.k",
    "SELECT k, v FROM input LEFT SEMI JOIN d USING (k)",
    "SELECT k, v FROM input LEFT ANTI JOIN d USING (k)",
    "SELECT i.k, v, x FROM input i JOIN d ON v < x",
    "SELECT i.k, v, x FROM input i CROSS JOIN d",
    "SELECT i.k, v, d.x, e.x AS y FROM input i JOIN d ON i.k = d.k LEFT JOIN e ON d.k = e.k",
    "SELECT k, v FROM input WHERE k NOT IN (SELECT k FROM d)",
    "SELECT k, v FROM input i WHERE EXISTS (SELECT 1 FROM d WHERE d.k = i.k)",
    "SELECT k, v FROM input UNION ALL SELECT d.k, x FROM input i JOIN d ON i.k = d.k",
];

/// Aggregates of a static table, where a query may have them.
const AGGREGATES: [&str; 8] = [
    "SELECT k, v, (SELECT max(x) FROM d) AS most FROM input",
    "SELECT k, v, (SELECT count(*) FROM d) AS n FROM input",
    "SELECT i.k, v, n, s FROM input i JOIN (SELECT k, count(*) AS n, sum(x) AS s FROM d GROUP BY k) t ON i.k = t.k",
    "SELECT i.k, s FROM input i LEFT JOIN (SELECT k, sum(x) AS s FROM d GROUP BY 1 HAVING count(*) > 1) t USING (k)",
    "SELECT i.k, v FROM input i WHERE v < (SELECT avg(x) FROM d WHERE d.k = i.k)",
    "SELECT k, v FROM input WHERE k IN (SELECT k FROM d GROUP BY ALL HAVING max(x) > 10)",
    "SELECT i.k, n FROM input i JOIN (SELECT k AS key, count(DISTINCT x) AS n FROM d GROUP BY key) ON i.k = key",
    "SELECT i.k, t.k AS kt, s FROM input i CROSS JOIN (SELECT k, sum(x) AS s FROM d GROUP BY ROLLUP(k)) t",
];

#[test]
fn each_batch_is_joined_with_its_own_rows_and_the_version_at_hand_whatever_the_join() {
    let batches = [&["a", "b"][..], &["b", "c", "d", "a"], &[], &["c"]]
        .map(|keys| rows(&stream(), keys, keys.len() as i32));
    for sql in JOINS {
        let mut kept = runner(sql);
        for (number, batch) in batches.iter().chain(&batches).enumerate() {
            let version = i32::from(number >= 3);
            let expected = answer(&mut runner(sql), version, batch);
            assert_eq!(answer(&mut kept, version, batch), expected, "{sql}, batch {number}");
        }
    }
}

#[test]
fn aggregates_of_a_static_table_are_those_of_its_version_in_every_batch() {
    let batches = [&["a", "b"][..], &["b", "c", "d", "a"], &[], &["c"]]
        .map(|keys| rows(&stream(), keys, keys.len() as i32));
    for sql in AGGREGATES {
        let mut kept = runner(sql);
        let mut texts = Vec::new();
        for (number, batch) in batches.iter().chain(&batches).enumerate() {
            let version = i32::from(number >= 3);
            let expected = answer(&mut runner(sql), version, batch);
            assert_eq!(answer(&mut kept, version, batch), expected, "{sql}, batch {number}");
            texts.push(expected);
        }
        assert_ne!(texts[1], texts[5], "{sql}: the tables' versions give the same rows");
    }
    let text = answer(&mut runner(AGGREGATES[2]), 0, &batches[0]);
    assert!(text.contains("| b | 3 | 2 | 23 |"), "{text}");
    let text = answer(&mut runner(AGGREGATES[1]), 0, &batches[3]);
    assert!(text.contains("| c | 1 | 3 |"), "{text}");
}

#[test]
fn aggregates_that_spark_refuses_are_refused_with_its_class() {
    let relation = |name: &str, schema| Relation { name: name.into(), schema };
    for (sql, class) in [
        ("(SELECT sum(k) FROM d WHERE sum(x) > 1)", "INVALID_WHERE_CONDITION"),
        ("(SELECT sum(count(*)) FROM d)", "NESTED_AGGREGATE_FUNCTION"),
        ("(SELECT max(x, k) FROM d)", "WRONG_NUM_ARGS"),
        ("(SELECT first(x, k) FROM d)", "DATATYPE_MISMATCH"),
        ("(SELECT collect_list(x ORDER BY k) FROM d)", "ORDER BY"),
        ("(SELECT percentile_cont(0.5) FROM d)", "WITHIN GROUP"),
    ] {
        let sql_text = format!("SELECT k, {sql} AS a FROM input");
        let of_stream = Definition::of_stream(relation("input", stream()), sql_text, Conf::default());
        let definition = Definition { tables: vec![relation("d", table())], ..of_stream };
        let error = Query::plan(&definition).expect_err(sql).to_string();
        assert!(error.contains(class), "{sql}: {error}");
    }
}

/// What fails for a static table fails the batch; no record of the stream is blamed for it.
#[test]
fn an_aggregate_of_a_static_table_that_overflows_stops_the_batch_and_rejects_no_row() {
    for sql in [
        "SELECT k, v, (SELECT sum(x * 9223372036854775807L) FROM d) AS s FROM input",
        "SELECT i.k, s FROM input i JOIN (SELECT k, sum(CAST(k AS INT)) AS s FROM d GROUP BY k) t ON i.k = t.k",
    ] {
        let mut runner = runner(sql);
        let tables = tables(&runner, 0);
        let run = runner.begin(0, &tables).unwrap();
        let batch = rows(&stream(), &["a", "b"], 1).project(&runner.query().input_columns()).unwrap();
        assert!(matches!(run.rows(batch.clone()), Err(Failure::Expression(_))), "{sql}");
        let error = sifted(&run, &batch).expect_err(sql).to_string();
        assert!(
            error.contains("ARITHMETIC_OVERFLOW") || error.contains("CAST_INVALID_INPUT"),
            "{sql}: {error}"
        );
    }
}

#[test]
fn every_branch_of_a_union_comes_out_also_below_a_join() {
    let batch = rows(&stream(), &["a", "b"], 1);
    for (sql, expected) in [
        ("SELECT k, v FROM input WHERE v > 1 UNION ALL SELECT k AS other, v + 10 FROM input", 3),
        ("SELECT k FROM input UNION ALL SELECT k FROM input UNION ALL SELECT k FROM input", 6),
        ("SELECT u.k, x FROM (SELECT k FROM input UNION ALL SELECT k FROM input) u JOIN d ON u.k = d.k", 6),
        ("SELECT k, x FROM input JOIN (SELECT K, x FROM d UNION ALL SELECT K, x FROM e) USING (k)", 6),
        ("SELECT k FROM input WHERE k NOT IN (SELECT k FROM d WHERE x > 10 UNION ALL SELECT 'z')", 1),
    ] {
        let mut runner = runner(sql);
        for round in 0..3 {
            let tables = tables(&runner, 0);
            let run = runner.begin(0, &tables).unwrap();
            let made = run.rows(batch.project(&runner.query().input_columns()).unwrap()).unwrap();
            let count: usize = made.iter().map(RecordBatch::num_rows).sum();
            assert_eq!(count, expected, "{sql}, round {round}");
        }
    }
}

#[test]
fn a_plan_that_is_run_often_keeps_no_metrics_and_hashes_a_table_once() {
    let metrics = |run: &BatchRun| run.plan_metrics();
    let batch = rows(&stream(), &["a", "b"], 1);
    for sql in [JOINS[0], "SELECT k, v FROM input WHERE v > 1"] {
        let mut runner = runner(sql);
        let tables = tables(&runner, 0);
        let input = batch.project(&runner.query().input_columns()).unwrap();
        let mut most = 0;
        for _ in 0..5_000 {
            let run = runner.begin(0, &tables).unwrap();
            run.rows(input.clone()).unwrap();
            most = most.max(metrics(&run));
        }
        assert!(most < 40_000, "{sql}: {most} metrics are kept");
    }
}
