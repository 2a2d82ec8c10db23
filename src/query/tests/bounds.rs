//! How much is made of one record in a stream with little memory, and what it counts for.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch};

use super::{megabytes, rows, runner_of, sifted, stream, tables};
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
