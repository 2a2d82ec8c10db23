//! The state of a query, killed at each of its steps: this binary runs itself as the process that is killed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use alluvia::state::{
    Committed, MemoryState, StateBatch, StateColumn, StateDefinition, StateOptions, StateStore,
    TableDefinition, TableId, time_prefix,
};
use alluvia::storage::{Put, Store};
use arrow::datatypes::DataType;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::runtime::Runtime;
use url::Url;

use crate::rig::child;
use crate::scene::BOUND;

const FOLDER: &str = "ALLUVIA_TEST_STATE_FOLDER";
/// Enough that the local copy is written and four snapshots are made, so that the first one is deleted.
const BATCHES: i64 = 300;
const TABLES: u16 = 2;

fn definition() -> StateDefinition {
    let table = |name: &str| TableDefinition {
        name: name.into(),
        operator: "stateStoreSave".into(),
        keys: vec![StateColumn::new("key", &DataType::Binary)],
        values: vec![StateColumn::new("value", &DataType::Binary)],
        layout: None,
        time: None,
        any_time: false,
    };
    StateDefinition::new(vec![table("groups"), table("seen")])
}

fn store(folder: &Path, runtime: &Runtime) -> Store {
    Store::open(&Url::from_directory_path(folder).unwrap(), &BTreeMap::new(), runtime.handle()).unwrap()
}

/// The newest batch of the sink, which is a folder with a file for each, and the run that is in it.
fn newest_of_sink(sink: &Path) -> Option<Committed> {
    let batches = fs::read_dir(sink)
        .into_iter()
        .flatten()
        .filter_map(|file| file.unwrap().file_name().into_string().ok());
    let batch_id = batches.filter_map(|name| name.parse::<i64>().ok()).max()?;
    let attempt = fs::read_to_string(sink.join(batch_id.to_string())).unwrap();
    Some(Committed { batch_id, attempt })
}

/// What batch `batch_id` does, which depends on what it finds.
fn change(batch_id: i64, batch: &mut dyn StateBatch) {
    let rng = &mut StdRng::seed_from_u64(batch_id as u64);
    for table in (0..TABLES).map(TableId) {
        let mut keys: Vec<Vec<u8>> = (0..12)
            .map(|_| {
                let time = batch_id + rng.random_range(0..20);
                [&time_prefix(time)[..], &[rng.random_range(b'a'..=b'e')]].concat()
            })
            .collect();
        keys.sort();
        keys.dedup();
        let slices: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let found = batch.get_many(table, &slices).unwrap();
        for (key, found) in keys.into_iter().zip(found) {
            match found {
                Some(count) if count[0] >= 3 => batch.delete(table, key),
                Some(count) => batch.replace(table, key, vec![count[0] + 1; 9]),
                None => batch.insert(table, key, vec![1; 9]),
            }
        }
        if batch_id % 3 == 0 {
            batch.expire(table, &time_prefix(batch_id), &mut |_, _| Ok(())).unwrap();
        }
    }
}

fn open(folder: &Path, runtime: &Runtime) -> StateStore {
    let options = StateOptions {
        local: folder.join("local"),
        checkpoint: store(&folder.join("checkpoint"), runtime),
        query_id: "q".into(),
        definition: definition(),
        memory_bytes: 8 << 20,
        batches_to_retain: 2,
    };
    StateStore::open(options, newest_of_sink(&folder.join("sink")).as_ref()).unwrap()
}

/// What a stream does, without records: runs batches until all are in the sink.
fn run(folder: &Path) {
    let runtime = Runtime::new().unwrap();
    let sink = store(&folder.join("sink"), &runtime);
    let mut state = open(folder, &runtime);
    for batch_id in state.batch_id() + 1..BATCHES {
        let mut batch = state.begin(batch_id).unwrap();
        change(batch_id, &mut batch);
        let attempt = format!("{:016x}", rand::random::<u64>());
        let sealed = state.seal(batch, &attempt).unwrap();
        let name = batch_id.to_string();
        let put = sink.put_if_absent(&name, Bytes::from(attempt));
        assert_eq!(put.unwrap(), Put::Created);
        state.commit(sealed).unwrap();
        state.maintain().unwrap();
    }
    state.finish_snapshot().unwrap();
}

/// The process that is killed; a test only for it.
#[test]
fn the_process_of_the_next_test() {
    if let Ok(folder) = std::env::var(FOLDER) {
        run(Path::new(&folder));
    }
}

/// Runs batches in a process of its own, killed at a failpoint; returns whether it came to its end.
fn run_and_kill(folder: &Path, failpoints: &str) -> bool {
    let program = std::env::current_exe().unwrap();
    let mut process = Command::new(program);
    process.args(["--exact", "query::state_store::the_process_of_the_next_test"]);
    process.env(FOLDER, folder).env("ALLUVIA_FAILPOINTS", failpoints);
    let ran = child::output(process, BOUND).unwrap();
    let said = String::from_utf8_lossy(&ran.stderr) + String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() || ran.status.signal() == Some(libc::SIGKILL), "{failpoints}: {said}");
    ran.status.success()
}

/// A folder in memory if there is one: a process that is killed loses nothing there, and thousands of flushes cost nothing.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn rows(batch: &dyn StateBatch, table: TableId) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        rows.push((key.to_vec(), value.to_vec()));
        Ok(())
    };
    batch.scan(table, b"", None, &mut visit).unwrap();
    rows
}

#[test]
fn a_kill_at_every_failpoint_of_the_state_leaves_the_state_of_the_committed_batches() {
    let runtime = Runtime::new().unwrap();
    let mut expected = vec![MemoryState::default()];
    for batch_id in 0..BATCHES {
        let mut batch = expected.last().unwrap().begin();
        change(batch_id, &mut batch);
        expected.push(batch);
    }
    // The one that the stream comes by, not the store, is in the crash test of a stream with state.
    let names = alluvia::failpoint::STATE_NAMES.into_iter().filter(|name| *name != "state.committed");
    for (round, name) in names.enumerate() {
        let folder = scratch();
        // Killed there once early, and again by the process that goes on; the local copy is lost in half of the cases.
        let hits: [u32; 2] = if name.starts_with("state") { [70, 90] } else { [1, 2] };
        for (kill, hit) in hits.into_iter().enumerate() {
            let ended = run_and_kill(folder.path(), &format!("{name}=kill@{hit}"));
            assert!(kill == 1 || !ended, "{name} was not passed {hit} times");
            if (round + kill) % 2 == 0 {
                fs::remove_dir_all(folder.path().join("local")).unwrap();
            }
            let mut state = open(folder.path(), &runtime);
            let newest = newest_of_sink(&folder.path().join("sink")).map_or(-1, |newest| newest.batch_id);
            assert_eq!(state.batch_id(), newest, "{name}");
            let batch = state.begin(newest + 1).unwrap();
            for table in (0..TABLES).map(TableId) {
                let model = &expected[usize::try_from(newest + 1).unwrap()];
                assert_eq!(
                    rows(&batch, table),
                    rows(model, table),
                    "{name}, batch {newest}, table {table:?}"
                );
                assert_eq!(batch.len(table).unwrap(), model.len(table).unwrap(), "{name}, batch {newest}");
            }
        }
        assert!(run_and_kill(folder.path(), ""), "{name}");
        fs::remove_dir_all(folder.path().join("local")).unwrap();
        let mut state = open(folder.path(), &runtime);
        let batch = state.begin(BATCHES).unwrap();
        assert_eq!(rows(&batch, TableId(0)), rows(expected.last().unwrap(), TableId(0)), "{name}");
    }
}
