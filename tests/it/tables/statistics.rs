//! Statistics that readers skip files and row groups by: filters find what a full scan finds, in readers no one here
//! wrote (pyarrow through `deltalake`, `deltalake`'s own SQL, DuckDB, Spark), whatever the values are.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use alluvia::model::MemoryAccount;
use alluvia::storage::Store;
use alluvia::table::{Append, DeltaTable, FileWriter, Reads, WriterSettings};
use arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array, Int32Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::runtime::Runtime;

use crate::rig::{readers_agree, skipped, spark_filters_agree, spark_sql};

/// A table that rows are appended to through the library, a file for each batch.
pub struct Written {
    /// What the table's calls run on.
    _runtime: Runtime,
    table: DeltaTable,
    batch_id: i64,
}

impl Written {
    pub fn new(path: &Path, rows: &RecordBatch, partition_by: &[String]) -> Written {
        Written::with_properties(path, rows, partition_by, &BTreeMap::new())
    }

    pub fn with_properties(
        path: &Path,
        rows: &RecordBatch,
        partition_by: &[String],
        properties: &BTreeMap<String, String>,
    ) -> Written {
        let runtime = Runtime::new().unwrap();
        let url = url::Url::from_directory_path(path).unwrap();
        let store = Store::open(&url, &BTreeMap::new(), runtime.handle()).unwrap();
        let table = DeltaTable::create(&store, &rows.schema(), partition_by, properties).unwrap();
        Written { _runtime: runtime, table, batch_id: 0 }
    }

    pub fn settings(&self, account: &Arc<MemoryAccount>) -> WriterSettings {
        WriterSettings {
            store: self.table.store().clone(),
            engine: Arc::clone(self.table.engine()),
            state: self.table.write_state().unwrap(),
            schema: self.table.arrow_schema().unwrap(),
            partition_columns: self.table.partition_columns().to_vec(),
            attempt: format!("attempt-{}", self.batch_id),
            account: Arc::clone(account),
            target_file_bytes: 1 << 27,
            origin: None,
        }
    }

    pub fn append(&mut self, rows: &[RecordBatch]) {
        let mut writer = FileWriter::new(self.settings(&MemoryAccount::new(1 << 27)), 0).unwrap();
        rows.iter().for_each(|rows| writer.write(rows).unwrap());
        self.commit(writer);
    }

    pub fn commit(&mut self, writer: FileWriter) -> usize {
        let files = writer.finish().unwrap();
        let count = files.len();
        let append = Append {
            query_id: "a-query".to_owned(),
            batch_id: self.batch_id,
            attempt: format!("attempt-{}", self.batch_id),
            binding: None,
            files,
            replaces: None,
            files_may_be_gone: false,
            reads: Reads::Nothing,
            replaces_table: false,
            changes: None,
            checkpoint: serde_json::Map::new(),
        };
        self.table.append(&append).unwrap();
        self.batch_id += 1;
        count
    }
}

/// The ends of every type that has bounds, and what lies between them.
struct Extremes {
    random: StdRng,
    nan: bool,
}

impl Extremes {
    fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        (self.random.random_range(0..8) > 0).then(|| of[self.random.random_range(0..of.len())])
    }

    fn column<T: Copy>(&mut self, rows: usize, of: &[T]) -> Vec<Option<T>> {
        (0..rows).map(|_| self.pick(of)).collect()
    }

    fn batch(&mut self, rows: usize) -> RecordBatch {
        const MICROS: [i64; 9] = [
            -62_135_596_800_000_001,
            -62_135_596_800_000_000,
            -1,
            0,
            1_700_000_000_123_456,
            1_700_000_000_123_999,
            253_402_300_799_999_999,
            253_402_300_800_000_000,
            9_000_000_000_000_000_000,
        ];
        const DAYS: [i32; 7] = [-5_000_000, -719_163, -719_162, 0, 2_932_896, 2_932_897, 5_000_000];
        let mut doubles =
            vec![f64::MIN, -1.5, -0.0, 0.0, 5e-324, 0.1, f64::MAX, f64::INFINITY, f64::NEG_INFINITY];
        if self.nan {
            doubles.extend([f64::NAN; 3]);
        }
        let singles: Vec<f32> = doubles.iter().map(|double| *double as f32).collect();
        let most = 10_i128.pow(38) - 1;
        let (a, top) = ("a".repeat(40), "\u{10FFFF}".repeat(70));
        let texts = ["", "a", "z'\"\\", &a, &top, "é😀", "\u{7F}"];
        // Of times and dates beyond what readers parse, only some files have any.
        let plain = self.random.random_range(0..3) > 0;
        let micros = if plain { &MICROS[1..7] } else { &MICROS };
        let days = if plain { &DAYS[2..5] } else { &DAYS };
        let columns: [(&str, ArrayRef); 11] = [
            ("byte", Arc::new(Int8Array::from(self.column(rows, &[i8::MIN, 0, i8::MAX])))),
            ("int", Arc::new(Int32Array::from(self.column(rows, &[i32::MIN, -1, i32::MAX])))),
            ("long", Arc::new(Int64Array::from(self.column(rows, &[i64::MIN, 7, i64::MAX])))),
            ("single", Arc::new(Float32Array::from(self.column(rows, &singles)))),
            ("double", Arc::new(Float64Array::from(self.column(rows, &doubles)))),
            ("day", Arc::new(Date32Array::from(self.column(rows, days)))),
            ("instant", {
                Arc::new(TimestampMicrosecondArray::from(self.column(rows, micros)).with_timezone("UTC"))
            }),
            ("wall_clock", Arc::new(TimestampMicrosecondArray::from(self.column(rows, micros)))),
            ("amount", Arc::new(self.decimal(rows, &[-110, 0, 99_999], 10, 2))),
            ("widest", Arc::new(self.decimal(rows, &[-most, 1, most], 38, 0))),
            ("text", Arc::new(StringArray::from(self.column(rows, &texts)))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, values)| (name, values, true))).unwrap()
    }

    fn decimal(&mut self, rows: usize, of: &[i128], precision: u8, scale: i8) -> Decimal128Array {
        Decimal128Array::from(self.column(rows, of)).with_precision_and_scale(precision, scale).unwrap()
    }
}

fn seed() -> u64 {
    let seed = std::env::var("ALLUVIA_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| rand::rng().random());
    println!("ALLUVIA_SEED={seed}");
    seed
}

/// A table of 16 files with one to four rows of extremes each.
fn extremes(path: &Path, nan: bool) {
    let mut extremes = Extremes { random: StdRng::seed_from_u64(seed()), nan };
    let first = extremes.batch(2);
    let mut table = Written::new(path, &first, &[]);
    table.append(&[first]);
    for _ in 0..15 {
        let rows = extremes.random.random_range(1..=4);
        let rows = extremes.batch(rows);
        table.append(&[rows]);
    }
}

/// What the columns are compared with in Spark. Not with zero: where -0.0 is in a dictionary, Spark's own files are skipped
/// for `= 0.0` too.
const SPARK: [(&str, &[&str]); 8] = [
    ("double", &["double('Infinity')", "double('NaN')", "1.7976931348623157E308D", "0.1D"]),
    ("single", &["float('-Infinity')", "float('NaN')", "0.1F"]),
    ("day", &["date'0001-01-01'", "date'9999-12-31'", "date_from_unix_date(2932897)"]),
    (
        "instant",
        &[
            "timestamp_micros(1700000000123999)",
            "timestamp_micros(253402300799999999)",
            "timestamp_micros(-1)",
        ],
    ),
    (
        "wall_clock",
        &["timestamp_ntz'2023-11-14 22:13:20.123999'", "timestamp_ntz'9999-12-31 23:59:59.999999'"],
    ),
    ("amount", &["-1.10BD", "999.99BD"]),
    ("long", &["9223372036854775807L", "7L"]),
    ("text", &["'a'", "repeat('a', 40)", "repeat('\u{10FFFF}', 70)"]),
];

#[test]
fn filters_over_the_extremes_of_every_type_find_what_a_scan_finds_in_four_readers() {
    if skipped("the readers") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    extremes(&plain, false);
    readers_agree(&plain, &[]);
    spark_filters_agree(&plain, &SPARK);
    // Of NaN pyarrow's dataset loses rows in Spark's own tables too: its guarantees know no value above all numbers.
    let nan = folder.path().join("nan");
    extremes(&nan, true);
    readers_agree(&nan, &["pyarrow"]);
    spark_filters_agree(&nan, &SPARK[..2]);
}

#[test]
fn a_row_group_that_holds_nan_is_not_skipped_by_sparks_filter_pushdown() {
    if skipped("the readers") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let rows = |values: Vec<f64>| {
        let values: ArrayRef = Arc::new(Float64Array::from(values));
        RecordBatch::try_from_iter_with_nullable([("f", values, true)]).unwrap()
    };
    let mut table = Written::new(folder.path(), &rows(vec![]), &[]);
    table.append(&[rows(vec![1.0, f64::NAN])]);
    table.append(&[rows(vec![f64::INFINITY, 3.0])]);
    let found =
        spark_sql(&format!("SELECT count(*) AS n FROM delta.`{}` WHERE f > 100", folder.path().display()));
    assert_eq!(found, [serde_json::json!({"n": 2})], "Infinity and NaN are above 100");
}
