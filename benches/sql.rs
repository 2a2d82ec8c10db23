//! What a query costs a micro-batch, and whether it costs the hundred-thousandth one more.
//!
//! `cargo bench --bench sql` prints microseconds for batches of 8 rows, without and with a join against 100,000 rows,
//! rows per second for large batches, and the resident memory over 100,000 batches. No threshold is checked.

use std::sync::Arc;
use std::time::Instant;

use alluvia::query::{Conf, Definition, Query, Relation, Runner, TableRows};
use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

const TABLE_ROWS: i64 = 100_000;
const BATCHES: usize = 100_000;

fn schema(second: &str) -> SchemaRef {
    let fields = vec![Field::new("k", DataType::Utf8, true), Field::new(second, DataType::Int64, true)];
    Arc::new(Schema::new(fields))
}

fn rows(schema: &SchemaRef, count: i64) -> RecordBatch {
    let keys = StringArray::from_iter_values((0..count).map(|n| format!("key{n}")));
    let numbers = Int64Array::from_iter_values(0..count);
    RecordBatch::try_new(Arc::clone(schema), vec![Arc::new(keys), Arc::new(numbers)]).expect("two columns")
}

fn runner(sql: &str) -> Runner {
    let relation = |name: &str, second: &str| Relation { name: name.into(), schema: schema(second) };
    let of_stream = Definition::of_stream(relation("input", "v"), sql, Conf::default());
    let definition = Definition { tables: vec![relation("d", "x")], ..of_stream };
    Runner::new(Query::plan(&definition).expect("the query is planned"))
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or_default()
}

fn main() {
    let table = Arc::new(vec![rows(&schema("x"), TABLE_ROWS)]);
    for (name, sql) in [
        ("filter and projection", "SELECT k, v FROM input WHERE v > 2"),
        ("left join, 100,000 rows", "SELECT i.k, v, x FROM input i LEFT JOIN d ON i.k = d.k"),
    ] {
        let mut runner = runner(sql);
        let tables = [TableRows { version: "0".into(), batches: Arc::clone(&table), held: None }];
        let (small, large) = (rows(&schema("v"), 8), rows(&schema("v"), 16_384));
        let started = Instant::now();
        let mut once = |batch: &RecordBatch| {
            let run = runner.begin(0, &tables).expect("a batch begins");
            run.rows(batch.clone()).expect("rows come out")
        };
        once(&small);
        println!("{name}: first batch {:?}", started.elapsed());
        let started = Instant::now();
        (0..200).for_each(|_| drop(once(&large)));
        let per_second = 200.0 * 16_384.0 / started.elapsed().as_secs_f64();
        println!("{name}: {:.1} M rows/s in batches of 16,384", per_second / 1e6);
        let before = resident_kib();
        let started = Instant::now();
        for _ in 0..BATCHES {
            once(&small);
        }
        let each = started.elapsed().as_secs_f64() * 1e6 / BATCHES as f64;
        let grown = resident_kib().saturating_sub(before);
        println!("{name}: {each:.1} µs for 8 rows; resident memory grew by {grown} KiB in {BATCHES} batches");
    }
}
