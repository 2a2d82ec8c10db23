//! What a query makes of times: the batch's clock, days that texts name, intervals and windows.

use super::*;
use crate::model::Watermark;

#[test]
fn the_time_of_a_batch_is_what_its_plan_says_and_only_read_columns_are_asked_for() {
    let mut runner = runner("SELECT v, current_timestamp() AS now FROM input WHERE k = 'a'");
    assert_eq!(*runner.query().input_columns(), [0, 1]);
    assert_eq!(runner.query().table_columns(0), None);
    let batch = rows(&stream(), &["a", "b"], 1).project(&[0, 1]).unwrap();
    for micros in [1_700_000_000_000_000, 1_700_000_001_000_000] {
        let run = runner.begin(micros, &[]).unwrap();
        let made = run.rows(batch.clone()).unwrap();
        let now = made[0].column(1);
        let now = arrow::compute::cast(now, &DataType::Int64).unwrap();
        let now = AsArray::as_primitive::<arrow::datatypes::Int64Type>(&now).value(0);
        assert_eq!((made[0].num_rows(), now), (1, micros));
    }
}

/// Spark takes such a text wherever a literal becomes a date or a time (`SpecialDatetimeValues`).
#[test]
fn a_text_that_names_a_day_is_of_the_batch_wherever_it_is_cast() {
    const DAY: i64 = 86_400_000_000;
    let batch = rows(&stream(), &["a", "b", "c"], 10);
    for (condition, expected) in [
        ("day = 'today'", [vec!["b"], vec!["c"]]),
        ("day = CAST('today' AS DATE)", [vec!["b"], vec!["c"]]),
        ("t >= 'tomorrow'", [vec!["c"], vec![]]),
        ("t < 'now'", [vec!["a", "b"], vec!["a", "b", "c"]]),
        ("CAST(t AS TIMESTAMP_NTZ) = ' Yesterday '", [vec!["a"], vec!["b"]]),
        ("day IN ('yesterday', 'tomorrow')", [vec!["a", "c"], vec!["b"]]),
        ("t > 'epoch' AND day NOT BETWEEN 'today' AND 'tomorrow'", [vec!["a"], vec!["a", "b"]]),
        ("datediff('today', day) = 1", [vec!["a"], vec!["b"]]),
    ] {
        let mut runner = runner(&format!(
            "SELECT k FROM (SELECT k, DATE '1970-01-01' + v AS day, timestamp_seconds(v * 86400) AS t FROM input)
             WHERE {condition}"
        ));
        for (day, expected) in [11, 12].into_iter().zip(expected) {
            let run = runner.begin(day * DAY + DAY / 2, &[]).unwrap();
            let made = run.rows(batch.project(&runner.query().input_columns()).unwrap()).unwrap();
            let keys = made.iter().flat_map(|rows| rows.column(0).as_string::<i32>().iter().flatten());
            assert_eq!(keys.collect::<Vec<_>>(), expected, "{condition}, on day {day}");
        }
    }
}

#[test]
fn typeof_names_the_units_of_an_interval() {
    for (interval, expected) in [
        ("INTERVAL 1 DAY", "interval day"),
        ("(INTERVAL '1 week')", "interval day"),
        ("INTERVAL '2' HOUR", "interval hour"),
        ("INTERVAL 3 DAYS 4 MINUTES", "interval day to minute"),
        ("INTERVAL '10 milliseconds'", "interval second"),
        ("INTERVAL '1-2' YEAR TO MONTH", "interval year to month"),
        ("make_interval(0, v)", "interval"),
        ("make_dt_interval(1)", "interval day to second"),
    ] {
        let text = answer(
            &mut runner(&format!("SELECT typeof({interval}) AS t FROM input")),
            0,
            &rows(&stream(), &["a"], 1),
        );
        assert!(text.contains(&format!("| {expected} |")), "{interval}: {text}");
    }
}

/// As in Spark, what is cast is no event time any more, even if it had the type before.
#[test]
fn a_window_of_a_cast_event_time_is_refused_with_the_cast_as_the_reason() {
    let refused = |time: &str, watermark: Option<&str>| {
        let instant = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()));
        let input =
            Relation { name: "input".into(), schema: schema(&[("ts", instant), ("k", DataType::Utf8)]) };
        let sql = format!(
            "SELECT w.start, n FROM (SELECT window({time}, '1 minute') AS w, count(*) AS n FROM input GROUP BY 1)"
        );
        let mut definition = Definition::of_stream(input, sql, Conf::default());
        definition.inputs[0].marks.watermark = watermark.map(|event_time| Watermark {
            event_time: event_time.into(),
            delay_threshold: "10 seconds".into(),
            max_future_skew: None,
            idle_timeout: None,
        });
        Query::plan(&definition).err().map(|error| error.to_string())
    };
    assert_eq!(refused("ts", Some("ts")), None);
    for time in [
        "CAST(ts AS TIMESTAMP)",
        "CAST(ts AS DATE)",
        "CAST(CAST(ts AS STRING) AS TIMESTAMP)",
        "date_trunc('HOUR', ts)",
    ] {
        let error = refused(time, Some("ts")).unwrap_or_else(|| panic!("{time} is taken"));
        assert!(
            error.contains("a CAST of the event time, as any expression over it, carries no watermark"),
            "{time}: {error}"
        );
    }
    let error = refused("CAST(k AS TIMESTAMP)", Some("ts")).unwrap();
    assert!(error.contains("declare watermark"), "{error}");
    let error = refused("CAST(ts AS TIMESTAMP)", None).unwrap();
    assert!(error.contains("declare watermark"), "{error}");
}

/// A unit is a keyword: a column of its name is not asked for, but where two arguments are given.
#[test]
fn a_unit_of_time_is_one_although_a_column_has_its_name() {
    let sql = "SELECT concat_ws(' ', datediff(DAY, t, timestampadd(day, day, t)), datediff(month, t), date_add(month, 1)) AS c
        FROM (SELECT v AS day, DATE '2024-03-01' AS month, TIMESTAMP '2024-02-28 10:00:00' AS t FROM input)";
    let text = answer(&mut runner(sql), 0, &rows(&stream(), &["a"], 3));
    assert!(text.contains("| 3 2 2024-03-02 |"), "{text}");
}

#[test]
fn a_window_that_would_end_after_the_last_or_begin_before_the_first_time_fails_for_its_row() {
    for window in ["window(t, '1 minute')", "window(t, '10 minutes', '1 minute', '30 seconds')"] {
        let sql = format!(
            "SELECT v, w.end AS e FROM (SELECT v, {window} AS w FROM
             (SELECT v, timestamp_micros(CASE v WHEN 0 THEN 9223372036854775807L WHEN 1 THEN -9223372036854775807L ELSE v END) AS t FROM input))"
        );
        let mut runner = runner(&sql);
        let batch = rows(&stream(), &["a", "a", "a"], 0).project(&runner.query().input_columns()).unwrap();
        let run = runner.begin(0, &[]).unwrap();
        let (made, failed) = sifted(&run, &batch).unwrap();
        assert_eq!(made.records.unwrap().first(), Some(&2), "{window}");
        let failed: Vec<(usize, &str)> = failed.iter().map(|(row, why)| (*row, why.class)).collect();
        assert_eq!(failed, [(0, "ARITHMETIC_OVERFLOW"), (1, "ARITHMETIC_OVERFLOW")], "{window}");
    }
}

#[test]
fn sliding_windows_are_made_of_a_few_rows_at_once_and_come_out_in_the_order_of_the_rows() {
    let sql = "SELECT v, w.start FROM
        (SELECT v, window(timestamp_seconds(v), '1 day', '1 minute') AS w FROM input)";
    let mut runner = runner(sql);
    let at_once = runner.query().rows_at_once;
    assert_eq!(at_once, 65_536 / 1440);
    let count = 3 * at_once + 7;
    let keys = vec!["a"; count];
    let batch = rows(&stream(), &keys, 100).project(&runner.query().input_columns()).unwrap();
    let run = runner.begin(0, &[]).unwrap();
    let (Made { rows, records }, _) = sifted(&run, &batch).unwrap();
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|rows| rows.num_rows() <= 65_536));
    let expected: Vec<u32> = (0..count as u32).flat_map(|record| [record; 1440]).collect();
    assert_eq!(records.unwrap(), expected);
    let each = (0..count).map(|row| run.rows(batch.slice(row, 1)).unwrap());
    let each: Vec<RecordBatch> = each.flatten().collect();
    let schema = rows[0].schema();
    let together = |rows: &[RecordBatch]| arrow::compute::concat_batches(&schema, rows).unwrap();
    assert_eq!(together(&rows), together(&each));
}
