//! The state store, alone: what loading, reading and writing cost, what it takes in memory, on disk and in the checkpoint, how long a restart
//! takes, and whether its size stays flat when keys expire.
//!
//! `cargo bench --bench state` runs 5 million keys and 100,000 batches with expiry; `cargo bench --bench state -- 1000000 10000` other numbers.
//! Keys are as those of a windowed count by a 24-character id: a time and a text; values are a count and a sum.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alluvia::state::codec::Equality;
use alluvia::state::{
    Codec, Committed, StateBatch, StateColumn, StateDefinition, StateOptions, StateStore, TableDefinition,
    TableId, time_prefix,
};
use alluvia::storage::Store;
use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use arrow::datatypes::DataType;
use tokio::runtime::Runtime;
use url::Url;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEYS: u64 = 5_000_000;
const BATCHES: i64 = 100_000;
const KEYS_A_BATCH: u64 = 100_000;
/// Keys of one window.
const KEYS_A_WINDOW: u64 = 83_333;
const WINDOW_MICROS: i64 = 60_000_000;
const TABLE: TableId = TableId(0);

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let runtime = Runtime::new().expect("threads for storage calls");
    codec();
    large(numbers.first().copied().unwrap_or(KEYS), &runtime);
    expiry(numbers.get(1).map_or(BATCHES, |batches| *batches as i64), &runtime);
}

/// What a stretch of work took.
struct Clock {
    wall: Instant,
    cpu: Duration,
}

impl Clock {
    fn start() -> Clock {
        Clock { wall: Instant::now(), cpu: cpu_time() }
    }

    fn micros_a_key(&self, keys: u64) -> String {
        let micros = |time: Duration| time.as_secs_f64() * 1e6 / keys as f64;
        format!("{:.2} µs a key, {:.2} µs of CPU", micros(self.wall.elapsed()), micros(cpu_time() - self.cpu))
    }
}

fn ids(keys: impl Iterator<Item = u64>) -> (Vec<i64>, ArrayRef) {
    let (mut times, mut texts) = (Vec::new(), Vec::new());
    for key in keys {
        times.push((key / KEYS_A_WINDOW) as i64 * WINDOW_MICROS);
        texts.push(format!("device-{:017x}", key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 8));
    }
    (times, Arc::new(StringArray::from(texts)))
}

fn codecs() -> (Codec, Codec) {
    let keys = Codec::with_equality(&[DataType::Utf8], Equality::Grouping).expect("known types");
    (keys, Codec::new(&[DataType::Int64, DataType::Float64]).expect("known types"))
}

fn codec() {
    let rows = 1_000_000;
    let (times, texts) = ids(0..rows);
    let (keys, values) = codecs();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(0..rows as i64)),
        Arc::new(Float64Array::from_iter_values((0..rows).map(|row| row as f64))),
    ];
    let clock = Clock::start();
    let encoded = keys.encode_keys(&times, &[texts]).expect("keys");
    println!("codec, encode a time and a string: {}", clock.micros_a_key(rows));
    let clock = Clock::start();
    let slices: Vec<&[u8]> = encoded.iter().collect();
    keys.decode_keys(&slices).expect("keys");
    println!("codec, decode a time and a string: {}", clock.micros_a_key(rows));
    let clock = Clock::start();
    let encoded = values.encode(&columns, rows as usize).expect("values");
    println!("codec, encode two numbers: {}", clock.micros_a_key(rows));
    let clock = Clock::start();
    let slices: Vec<&[u8]> = encoded.iter().collect();
    values.decode(&slices).expect("values");
    println!("codec, decode two numbers: {}", clock.micros_a_key(rows));
}

fn definition() -> StateDefinition {
    StateDefinition::new(vec![TableDefinition {
        name: "groups".into(),
        operator: "stateStoreSave".into(),
        keys: vec![StateColumn::new("id", &DataType::Utf8)],
        values: vec![
            StateColumn::new("count", &DataType::Int64),
            StateColumn::new("sum", &DataType::Float64),
        ],
        layout: None,
        time: None,
        any_time: false,
    }])
}

fn options(folder: &Path, checkpoint: &Store) -> StateOptions {
    StateOptions {
        local: folder.join("local"),
        checkpoint: checkpoint.clone(),
        query_id: "bench".into(),
        definition: definition(),
        memory_bytes: 256 << 20,
        batches_to_retain: 100,
    }
}

/// Reads the keys of a batch and puts them all; returns the bytes of the file of changes.
fn run(store: &mut StateStore, batch_id: i64, keys: &[u64], newest: &mut Option<Committed>) -> u64 {
    let (key_codec, value_codec) = codecs();
    let (times, texts) = ids(keys.iter().copied());
    let encoded = key_codec.encode_keys(&times, &[texts]).expect("keys");
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_unstable_by(|a, b| encoded.row(*a).cmp(encoded.row(*b)));
    let sorted: Vec<&[u8]> = order.iter().map(|row| encoded.row(*row)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(keys.iter().map(|key| (key % 50) as i64))),
        Arc::new(Float64Array::from_iter_values(keys.iter().map(|key| *key as f64 * 0.37))),
    ];
    let values = value_codec.encode(&columns, keys.len()).expect("values");
    let mut batch = store.begin(batch_id).expect("the state is current");
    let known = batch.get_many(TABLE, &sorted).expect("the state is read");
    for ((row, key), known) in order.iter().zip(&sorted).zip(known) {
        let (key, value) = (key.to_vec(), values.row(*row).to_vec());
        match known {
            Some(_) => batch.replace(TABLE, key, value),
            None => batch.insert(TABLE, key, value),
        }
    }
    let sealed = store.seal(batch, &format!("run-{batch_id}")).expect("the batch is sealed");
    let bytes = sealed.bytes();
    *newest = Some(sealed.committed().clone());
    store.commit(sealed).expect("the batch is committed");
    store.maintain().expect("the state is maintained");
    bytes
}

fn large(keys: u64, runtime: &Runtime) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = Url::from_directory_path(folder.path().join("checkpoint")).expect("an absolute path");
    let checkpoint = Store::open(&url, &BTreeMap::new(), runtime.handle()).expect("a local folder");
    let mut newest = None;
    let mut store = StateStore::open(options(folder.path(), &checkpoint), None).expect("no state");
    let clock = Clock::start();
    let (mut batch_id, mut bytes) = (0, 0);
    for from in (0..keys).step_by(KEYS_A_BATCH as usize) {
        let batch: Vec<u64> = (from..keys.min(from + KEYS_A_BATCH)).collect();
        bytes += run(&mut store, batch_id, &batch, &mut newest);
        batch_id += 1;
    }
    println!("{keys} keys in {batch_id} batches: {}", clock.micros_a_key(keys));
    store.finish_snapshot().expect("the snapshot is written");
    let size = store.size();
    println!(
        "  {:.1} bytes a key in the local copy, {:.1} in files of changes; RSS {} MiB, peak {} MiB",
        size.disk_bytes as f64 / keys as f64,
        bytes as f64 / keys as f64,
        rss_mib("VmRSS"),
        rss_mib("VmHWM")
    );
    for (what, spread) in [("over all windows", keys), ("in the newest windows", keys.min(2 * KEYS_A_WINDOW))]
    {
        let (mut bytes, rounds) = (0, 5);
        let mut random = 1_u64;
        let clock = Clock::start();
        for _ in 0..rounds {
            let mut batch: Vec<u64> = (0..KEYS_A_BATCH)
                .map(|_| {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    keys - 1 - (random >> 20) % spread
                })
                .collect();
            batch.sort_unstable();
            batch.dedup();
            bytes += run(&mut store, batch_id, &batch, &mut newest);
            batch_id += 1;
        }
        println!(
            "  {KEYS_A_BATCH} keys read and written, {what}: {}; {:.1} bytes a key in the file of changes",
            clock.micros_a_key(rounds * KEYS_A_BATCH),
            bytes as f64 / (rounds * KEYS_A_BATCH) as f64
        );
    }
    store.finish_snapshot().expect("the snapshot is written");
    let snapshot = bytes_in(&folder.path().join("checkpoint/state/parts"));
    println!(
        "  {:.1} bytes a key in the parts of snapshots; RSS {} MiB, peak {} MiB",
        snapshot as f64 / keys as f64,
        rss_mib("VmRSS"),
        rss_mib("VmHWM")
    );
    let started = Instant::now();
    store.close().expect("the local copy is written");
    println!("  close: {:.2} s", started.elapsed().as_secs_f64());
    for what in ["with its local copy", "without"] {
        if what == "without" {
            std::fs::remove_dir_all(folder.path().join("local")).expect("the local copy is removed");
        }
        let started = Instant::now();
        let clock = Clock::start();
        let store =
            StateStore::open(options(folder.path(), &checkpoint), newest.as_ref()).expect("the state");
        println!(
            "  restart {what}: {:.2} s, {:.2} s of CPU, {:?}; RSS {} MiB, peak {} MiB",
            started.elapsed().as_secs_f64(),
            (cpu_time() - clock.cpu).as_secs_f64(),
            store.origin(),
            rss_mib("VmRSS"),
            rss_mib("VmHWM")
        );
    }
}

/// Batches of a few keys, of which each expires a hundred batches later; the checkpoint is in memory.
fn expiry(batches: i64, runtime: &Runtime) {
    const KEYS: i64 = 50;
    const LIFE: i64 = 100;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = Url::parse("memory:///checkpoint/").expect("a URL");
    let checkpoint = Store::open(&url, &BTreeMap::new(), runtime.handle()).expect("a store in memory");
    let mut store = StateStore::open(options(folder.path(), &checkpoint), None).expect("no state");
    let (clock, mut bytes) = (Clock::start(), 0);
    for batch_id in 0..batches {
        let mut batch = store.begin(batch_id).expect("the state is current");
        for key in 0..KEYS {
            let key =
                [&time_prefix(batch_id * 1_000_000)[..], format!("device-{key:017}").as_bytes()].concat();
            batch.insert(TABLE, key, vec![7; 17]);
        }
        let expired = batch
            .expire(TABLE, &time_prefix((batch_id - LIFE) * 1_000_000), &mut |_, _| Ok(()))
            .expect("keys expire");
        assert_eq!(expired, if batch_id > LIFE { KEYS as u64 } else { 0 });
        let sealed = store.seal(batch, &format!("run-{batch_id}")).expect("the batch is sealed");
        bytes += sealed.bytes();
        store.commit(sealed).expect("the batch is committed");
        store.maintain().expect("the state is maintained");
        if (batch_id + 1) % (batches / 10).max(1) == 0 {
            let files = checkpoint.listing().expect("files are listed");
            println!(
                "  after {} batches: {} KiB in the local copy, {} files of {} KiB in the checkpoint; RSS {} MiB",
                batch_id + 1,
                store.size().disk_bytes / 1024,
                files.len(),
                files.iter().map(|file| file.size_bytes).sum::<u64>() / 1024,
                rss_mib("VmRSS")
            );
        }
    }
    println!(
        "{batches} batches of {KEYS} keys that live {LIFE} batches: {}; {} bytes a file of changes",
        clock.micros_a_key((batches * KEYS) as u64),
        bytes / batches as u64
    );
}

fn bytes_in(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
}

fn rss_mib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned));
    line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// CPU time of the process so far.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or_default();
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}
