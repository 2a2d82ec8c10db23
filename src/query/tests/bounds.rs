//! How much is made of one record in a stream with little memory, and what it counts for.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch};

use super::*;
use crate::decode::stage::{StageFactory, StageRows};
use crate::model::{Hidden, MemoryAccount};
use crate::query::{Conf, RecordBytes, Runner, SqlStage};

/// A stream that may hold that many MiB.
fn within(mebibytes: usize) -> Conf {
    Conf { record_bytes: RecordBytes::within(mebibytes << 20), ..Conf::default() }
}

/// The records that fail among all, and those that fail alone.
fn failures(runner: &mut Runner, batch: &RecordBatch) -> (Vec<usize>, Vec<usize>) {
    let tables = tables(runner, 0);
    let run = runner.begin(0, &tables).unwrap();
    let batch = batch.project(&runner.query().input_columns()).unwrap();
    let failed = |batch: &RecordBatch| {
        let (_, failed) = sifted(&run, batch).unwrap();
        for (_, why) in &failed {
            assert_eq!(why.class, "RESULT_TOO_LARGE", "{why}");
        }
        failed.into_iter().map(|(row, _)| row).collect::<Vec<_>>()
    };
    let alone = (0..batch.num_rows()).filter(|row| !failed(&batch.slice(*row, 1)).is_empty()).collect();
    (failed(&batch), alone)
}

#[test]
fn a_record_is_rejected_by_the_limit_alone_whatever_records_it_is_among() {
    for sql in [
        "SELECT k, v, e FROM input LATERAL VIEW explode(sequence(1, v)) AS e",
        "SELECT v, size(transform(sequence(1, v), x -> concat(k, x))) AS n FROM input",
        "SELECT v, length(repeat(k, v)) AS n FROM input",
    ] {
        let batch = megabytes(&[3, 20, 2, 14, 14, 17, 1, 1, 0]);
        for (conf, expected) in
            [(Conf::default(), vec![]), (within(64), vec![1, 5]), (within(127), vec![1, 5])]
        {
            let (among_others, alone) = failures(&mut runner_of(sql, conf), &batch);
            assert_eq!(among_others, expected, "{sql}");
            assert_eq!(alone, expected, "{sql}");
        }
    }
    let mut runner = runner_of("SELECT length(repeat(k, v)) AS n FROM input", within(64));
    let batch = megabytes(&[17]).project(&runner.query().input_columns()).unwrap();
    let (_, failed) = sifted(&runner.begin(0, &[]).unwrap(), &batch).unwrap();
    let why = failed[0].1.to_string();
    assert!(
        why.starts_with(
            "RESULT_TOO_LARGE: what is made of a record or of a group would take more than 16 MiB"
        ),
        "{why}"
    );
}

/// They are of no record that could be rejected: the stream would stop.
#[test]
fn rows_of_static_tables_are_not_bounded_by_what_is_made_of_a_record() {
    let sql = "SELECT v, x, length(pad) AS n, length(repeat('a', v)) AS m FROM input i JOIN
        (SELECT x, k, concat_ws(',', transform(sequence(1, 100), y -> concat(pad, y))) AS pad
         FROM (SELECT x, k, repeat(k, 20000) AS pad FROM d)) t
        ON i.k = trim(lpad(t.k, 500000, ' '))";
    let values: ArrayRef = Arc::new(Int32Array::from(vec![3, 2_000_000, 100]));
    let batch = rows(&stream(), &["a", "a", "a"], 0);
    let columns = vec![Arc::clone(batch.column(0)), Arc::clone(&values), values];
    let batch = RecordBatch::try_new(batch.schema(), columns).unwrap();
    for (conf, expected) in [(Conf::default(), vec![]), (within(4), vec![1])] {
        let (among_others, alone) = failures(&mut runner_of(sql, conf), &batch);
        assert_eq!((among_others, alone), (expected.clone(), expected));
    }
}

#[test]
fn what_is_made_of_rows_counts_while_what_follows_takes_it() {
    let runner = runner_of("SELECT k, e FROM input LATERAL VIEW explode(sequence(1, v)) AS e", within(64));
    let positions = runner.query().input_columns().to_vec();
    let stage = SqlStage::new(runner, positions, String::new(), Hidden::default());
    let account = MemoryAccount::new(0);
    stage.begin(0, &[], &account).unwrap();
    let (mut most, mut made) = (0, 0);
    let mut lane = stage.stage().unwrap();
    let given = StageRows::decoded(megabytes(&[3, 1, 2, 3, 3]));
    lane.apply(given, &mut Vec::new(), &mut |rows, _| {
        let held = account.used_bytes();
        assert!(held >= rows.batch().num_rows() << 20, "{held} bytes of {} rows", rows.batch().num_rows());
        most = most.max(held);
        made += rows.batch().num_rows();
        Ok(())
    })
    .unwrap();
    assert_eq!((made, account.used_bytes()), (12, 0));
    assert!(most < 5 << 20, "a slice is a quarter of what may be made of one record: {most}");
}

/// Rows with a text of a megabyte, and a number.
fn megabytes(numbers: &[i32]) -> RecordBatch {
    let text = "x".repeat(1 << 20);
    let keys: Vec<&str> = numbers.iter().map(|_| text.as_str()).collect();
    let numbers: ArrayRef = Arc::new(Int32Array::from(numbers.to_vec()));
    let keys: ArrayRef = Arc::new(StringArray::from(keys));
    RecordBatch::try_new(stream(), vec![keys, Arc::clone(&numbers), numbers]).unwrap()
}

/// Each element is a row with a copy of the other columns.
#[test]
fn what_arrays_make_of_several_records_is_made_in_slices_and_one_record_that_becomes_too_much_fails() {
    let mut runner = runner("SELECT k, v, e FROM input LATERAL VIEW explode(sequence(1, v)) AS e");
    let batch = megabytes(&[30, 30, 600, 1, 0, 20, 20]);
    let batch = batch.project(&runner.query().input_columns()).unwrap();
    let run = runner.begin(0, &[]).unwrap();
    let (Made { rows, records }, failed) = sifted(&run, &batch).unwrap();
    let expected: Vec<u32> = [(0, 30), (1, 30), (3, 1), (4, 2), (5, 20), (6, 20)]
        .iter()
        .flat_map(|(record, times)| vec![*record; *times])
        .collect();
    assert_eq!(records.unwrap(), expected);
    assert!(rows.iter().all(|rows| rows.num_rows() <= 32));
    let [(2, why)] = &failed[..] else { panic!("{failed:?}") };
    assert_eq!(
        why.to_string(),
        "RESULT_TOO_LARGE: what is made of a record or of a group would take more than 512 MiB"
    );
}

/// One record is many rows behind a first generator or a join, and rows of a static table are of no record.
#[test]
fn what_is_made_of_one_record_or_of_a_static_table_may_be_more_than_a_slice() {
    for (sql, count) in [
        (
            "SELECT v, a, b, k FROM input LATERAL VIEW explode(sequence(1, v)) t1 AS a LATERAL VIEW explode(sequence(1, v)) t2 AS b",
            2 * 49,
        ),
        (
            "SELECT v, i.k, x, e FROM input i JOIN d ON v < x LATERAL VIEW explode(sequence(1, 20)) AS e",
            2 * 60,
        ),
        (
            "SELECT v, e, pad FROM input JOIN (SELECT x, explode(sequence(1, 20)) AS e, pad FROM (SELECT x, repeat(k, 700000) AS pad FROM d)) t ON t.x > v",
            2 * 60,
        ),
    ] {
        let mut runner = runner(sql);
        let tables = tables(&runner, 0);
        let batch = megabytes(&[7, 7]).project(&runner.query().input_columns()).unwrap();
        let run = runner.begin(0, &tables).unwrap();
        let (made, failed) = sifted(&run, &batch).unwrap();
        assert!(failed.is_empty(), "{sql}: {failed:?}");
        assert_eq!(made.rows.iter().map(RecordBatch::num_rows).sum::<usize>(), count, "{sql}");
    }
}

#[test]
fn a_lambda_copies_the_values_of_a_row_for_each_element_only_if_that_fits() {
    let mut runner = runner("SELECT v, size(transform(sequence(1, v), x -> concat(k, x))) AS n FROM input");
    let batch = megabytes(&[3, 600, 2]).project(&runner.query().input_columns()).unwrap();
    let run = runner.begin(0, &[]).unwrap();
    let (made, failed) = sifted(&run, &batch).unwrap();
    assert_eq!(made.records.unwrap(), [0, 2]);
    assert!(matches!(&failed[..], [(1, why)] if why.class == "RESULT_TOO_LARGE"), "{failed:?}");
}

#[test]
fn a_text_that_is_as_long_as_a_record_says_is_made_only_if_it_fits() {
    for call in [
        "repeat('ab', v)",
        "space(v)",
        "lpad('', v, 'ab')",
        "rpad('ab', v)",
        "replace(repeat('a', 30000), 'a', repeat('b', v))",
        "regexp_replace(repeat('a', 30000), 'a', repeat('b', v))",
        "array_join(array_repeat('', 30000), repeat('b', v))",
        "concat_ws(repeat('b', v), array_repeat('', 30000))",
        "regexp_replace(repeat('a', 30000), 'a+', repeat('$0', CAST(v / 100000 AS INT) + 1))",
        "format_number(1.5D, v)",
        "format_string(concat('%', v, 'd'), 1)",
        "format_string(concat('%.', v, 'e'), 1.5D)",
    ] {
        let mut runner = runner(&format!("SELECT v, length({call}) AS n FROM input"));
        let batch = rows(&stream(), &["a", "a", "a"], 3);
        let values: ArrayRef = Arc::new(Int32Array::from(vec![3, 2_000_000_000, 100]));
        let columns = vec![Arc::clone(batch.column(0)), Arc::clone(&values), values];
        let batch = RecordBatch::try_new(batch.schema(), columns).unwrap();
        let batch = batch.project(&runner.query().input_columns()).unwrap();
        let run = runner.begin(0, &[]).unwrap();
        let (made, failed) = sifted(&run, &batch).unwrap();
        assert_eq!(made.records.unwrap(), [0, 2], "{call}");
        assert!(matches!(&failed[..], [(1, why)] if why.class == "RESULT_TOO_LARGE"), "{call}: {failed:?}");
    }
}
