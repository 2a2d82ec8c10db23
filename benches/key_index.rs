//! The key index of a merge, alone: how fast it is built from a table, what a look-up costs, what it holds in memory and on disk.
//!
//! `cargo bench --bench key_index -- 1000000 10000000` for tables of so many keys; each is generated first, in a temporary folder.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alluvia::model::MemoryAccount;
use alluvia::storage::Store;
use alluvia::table::key_index::{Fingerprint, IndexedBy, TableKeys};
use alluvia::table::{Append, DeltaTable, FileWriter, Reads, WriterSettings};
use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use serde_json::Map;
use tokio::runtime::{Handle, Runtime};
use url::Url;

/// Rows of the batches that are looked up.
const BATCHES: [u64; 2] = [100_000, 10];
const ROWS_AT_ONCE: u64 = 64 * 1024;

fn main() {
    let sizes: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let runtime = Runtime::new().expect("threads for storage calls");
    for keys in if sizes.is_empty() { vec![1_000_000] } else { sizes } {
        measure(keys, runtime.handle());
    }
}

fn measure(keys: u64, handle: &Handle) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut table = table_of(keys, &folder.path().join("table"), handle);
    let index = folder.path().join("index");
    let lanes = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (wall, cpu) = (Instant::now(), cpu_time());
    let names = ["event_id".to_owned()];
    let by = IndexedBy { names: &names, within: None };
    let mut opened = TableKeys::open(&mut table, by, &index, lanes, None).expect("the index is built");
    let (wall, cpu) = (wall.elapsed(), cpu_time() - cpu);
    println!(
        "{keys} keys, {lanes} lanes: built in {:.2} s, {:.2} M keys/s, {:.2} CPU s; peak RSS {} MiB",
        wall.as_secs_f64(),
        keys as f64 / wall.as_secs_f64() / 1e6,
        cpu.as_secs_f64(),
        peak_rss_kib() / 1024
    );
    let size = opened.size();
    println!(
        "  {} runs, {:.1} bytes a key on disk, {:.2} in memory",
        size.runs,
        bytes_in(&index) as f64 / keys as f64,
        size.memory_bytes as f64 / keys as f64
    );
    for rows in BATCHES {
        for (what, from) in [("absent", keys), ("present", keys / 2)] {
            look_up(&mut opened, &mut table, what, from..from + rows.min(keys / 2));
        }
    }
}

fn look_up(index: &mut TableKeys, table: &mut DeltaTable, what: &str, keys: std::ops::Range<u64>) {
    let count = keys.end - keys.start;
    let rows = batch(keys);
    let hasher = index.row_hasher();
    let mut best = Duration::MAX;
    let mut found = 0;
    for _ in 0..5 {
        let started = Instant::now();
        let mut sorted: Vec<Fingerprint> = hasher.keys(&rows).expect("keys").fingerprints;
        sorted.sort_unstable();
        found = index.find(table, &sorted).expect("the index is whole").len();
        best = best.min(started.elapsed());
    }
    println!(
        "  {count} {what} keys: {:.3} ms, {:.3} µs a key (hashed, sorted, looked up), {found} found",
        best.as_secs_f64() * 1e3,
        best.as_secs_f64() * 1e6 / count as f64
    );
}

fn batch(keys: std::ops::Range<u64>) -> RecordBatch {
    let ids = keys.map(|key| format!("e-{:016x}", key.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
    RecordBatch::try_new(schema(), vec![Arc::new(StringArray::from_iter_values(ids))]).expect("one column")
}

fn schema() -> Arc<Schema> {
    Arc::new(Schema::new(vec![Field::new("event_id", DataType::Utf8, true)]))
}

/// A table with `keys` rows, in files of the size that a stream writes.
fn table_of(keys: u64, folder: &Path, handle: &Handle) -> DeltaTable {
    std::fs::create_dir_all(folder).expect("a folder for the table");
    let url = Url::from_directory_path(folder).expect("the path is absolute");
    let store = Store::open(&url, &BTreeMap::new(), handle).expect("a local folder");
    let mut table = DeltaTable::create(&store, &schema(), &[], &BTreeMap::new()).expect("a new table");
    let settings = WriterSettings {
        store,
        engine: Arc::clone(table.engine()),
        state: table.write_state().expect("the table can be written"),
        schema: schema(),
        partition_columns: Vec::new(),
        attempt: "bench".into(),
        account: MemoryAccount::new(128 * 1024 * 1024),
        target_file_bytes: 64 * 1024 * 1024,
        origin: None,
    };
    let mut files = FileWriter::new(settings, 0).expect("a writer");
    for from in (0..keys).step_by(ROWS_AT_ONCE as usize) {
        files.write(&batch(from..keys.min(from + ROWS_AT_ONCE))).expect("rows are written");
    }
    let append = Append {
        query_id: "bench".into(),
        batch_id: 0,
        attempt: "bench".into(),
        binding: None,
        files: files.finish().expect("files are whole"),
        replaces: None,
        files_may_be_gone: false,
        reads: Reads::Nothing,
        replaces_table: false,
        changes: None,
        checkpoint: Map::new(),
    };
    table.append(&append).expect("the rows are committed");
    table
}

fn bytes_in(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).expect("the index is there").flatten();
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or_default()
}

fn peak_rss_kib() -> u64 {
    status("VmHWM:")
}

/// CPU time of the process so far.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or_default();
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}
