//! What the proofs have in common: a topic with malformed messages in it, a stream that takes it in
//! several micro-batches, and the comparison of both its tables with the topic, message by message.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::rig::{Alluvia, Broker, Digest, Message, delta_digest, digest_of, workload};

/// How long one run of the program may take.
pub const BOUND: Duration = Duration::from_secs(120);
/// The columns by which a row is told to be its message.
const ROW: [&str; 7] = ["topic", "partition", "offset", "event_id", "device", "battery", "seq"];
/// The columns by which a dead letter is told to be its message.
const LETTER: [&str; 4] = ["topic", "partition", "offset", "value"];
const SEED: u64 = 7;

/// A topic and how a stream reads it. Message counts are multiples of 10,000: the newest message of the
/// topic, the last of its partition, is then a malformed one.
pub struct Scene {
    bootstrap: String,
    topic: String,
    partitions: u32,
    events: AtomicU64,
    /// `maxOffsetsPerTrigger`.
    batch: u64,
}

impl Scene {
    /// A topic with `events` messages, read `batch` at a time.
    pub fn new(broker: &Broker, hint: &str, partitions: u32, events: u64, batch: u64) -> Scene {
        let topic = broker.topic(hint, partitions as i32);
        let bootstrap = broker.bootstrap().to_owned();
        let scene = Scene { bootstrap, topic, partitions, events: AtomicU64::new(0), batch };
        scene.produce(broker, events);
        scene
    }

    /// Adds `count` messages.
    pub fn produce(&self, broker: &Broker, count: u64) {
        let from = self.events.fetch_add(count, Ordering::Relaxed);
        let messages = (from..from + count).map(|seq| {
            let mut value = Vec::new();
            write_value(&mut value, seq);
            Message::new(value).partition(workload::partition_of(seq, self.partitions))
        });
        broker.produce(&self.topic, messages);
    }

    /// Messages in the topic.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Where the topic ends, in the form of a progress line.
    pub fn end(&self) -> String {
        let mut ends = vec![0_u64; self.partitions as usize];
        (0..self.events()).for_each(|seq| ends[workload::partition_of(seq, self.partitions) as usize] += 1);
        let ends: Vec<String> = ends.iter().enumerate().map(|(p, end)| format!("\"{p}\":{end}")).collect();
        format!("{{\"{}\":{{{}}}}}", self.topic, ends.join(","))
    }

    /// Whether the stream in `folder` has taken the whole topic: its newest plan reaches the end, and is committed.
    pub fn is_taken(&self, folder: &Path) -> bool {
        let newest = |log: &str| {
            let files =
                std::fs::read_dir(folder.join("checkpoint").join(log)).into_iter().flatten().flatten();
            files.filter_map(|file| file.file_name().to_str()?.parse::<i64>().ok()).max()
        };
        let Some(batch) = newest("offsets") else { return false };
        let plan = std::fs::read_to_string(folder.join(format!("checkpoint/offsets/{batch}")));
        newest("commits") == Some(batch) && plan.is_ok_and(|plan| plan.trim_end().ends_with(&self.end()))
    }

    /// The stream that reads all there is. Log files and checkpoint files are cleared away as early as
    /// they may be, so that maintenance comes often.
    pub fn yaml(&self) -> String {
        format!(
            "streams:
  - name: proof
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{}', subscribe: '{}', startingOffsets: earliest, maxOffsetsPerTrigger: {} }}
      value:
        format: json
        schema: '{}'
        keep: [topic, partition, offset]
    sink: {{ format: delta, path: ./table, options: {{ mergeSchema: true }}, tableProperties: {{ delta.checkpointInterval: '2' }} }}
    deadLetter: {{ format: delta, path: ./letters, tableProperties: {{ delta.checkpointInterval: '2' }} }}
    trigger: availableNow
    checkpointLocation: ./checkpoint
    minBatchesToRetain: 2
    lanes: 2
",
            self.bootstrap,
            self.topic,
            self.batch,
            workload::SCHEMA_DDL
        )
    }

    /// The same stream, going on until it is stopped.
    pub fn endless_yaml(&self) -> String {
        self.yaml().replace("trigger: availableNow", "trigger: { processingTime: 50 ms }")
    }

    /// The same stream by a source of `format`, whose options `login` stand in for the address of the broker.
    pub fn yaml_by(&self, format: &str, login: &[String]) -> String {
        let address = format!("kafka.bootstrap.servers: '{}'", self.bootstrap);
        self.yaml()
            .replace(&address, &login.join(", "))
            .replace("format: kafka", &format!("format: {format}"))
    }

    /// The same stream with a row for each device: the newest by its number, whatever the order in which they come.
    pub fn newest_yaml(yaml: &str) -> String {
        yaml.replace(
            "path: ./table,",
            "path: ./table, merge: { keys: [device], whenMatched: update, orderBy: seq, indexFolder: ./index },",
        )
    }

    /// The table of [`Scene::newest_yaml`] holds the newest event of each device that has one, and nothing else.
    pub fn check_newest(&self, folder: &Path, what: &str) {
        self.check_newest_by(what, |columns| delta_digest(&folder.join("table"), columns));
    }

    /// The same of a table that is read by `read`, which is given the columns to compare.
    pub fn check_newest_by(&self, what: &str, read: impl Fn(&[&str]) -> Digest) {
        let mut newest: BTreeMap<String, [String; 3]> = BTreeMap::new();
        for (_, _, value) in self.messages().filter(|(malformed, ..)| !malformed) {
            let event: Value = serde_json::from_slice(&value).expect("the workload is JSON");
            let text = |key: &str| event[key].as_str().expect("a text").to_owned();
            newest.insert(text("device"), [text("device"), text("event_id"), event["seq"].to_string()]);
        }
        let expected = digest_of(newest.into_values());
        let there = read(&["device", "event_id", "seq"]);
        assert!(there.same_rows(&expected), "{what}: the table has {there:?}, the topic {expected:?}");
    }

    /// Makes of an empty folder one in which the next run comes by failpoint `name`, where a new stream does not.
    #[cfg(any(debug_assertions, feature = "failpoints"))]
    pub fn prepare(&self, folder: &Path, name: &str) {
        let (yaml, at) = match name {
            // A table that lacks a column, and no batch yet.
            "columns.added" => (self.yaml().replace("battery INT, ", ""), "plan.before"),
            // A checkpoint to list, whose files may be deleted before they are read.
            "letters.withdrawn" | "repair.after" | "logs.listed" => (self.yaml(), "sink.after"),
            _ => return,
        };
        killed_at(&yaml, folder, at);
    }

    /// Runs the stream to its end and compares.
    pub fn finish(&self, folder: &Path, what: &str) {
        let ended = Alluvia::run(&self.yaml(), folder).wait(BOUND);
        assert_eq!(ended.code(), 0, "{what}: the run after it failed:\n{}", ended.stderr);
        self.check(folder, what);
    }

    /// Both tables together hold the topic, each message in its place and once.
    pub fn check(&self, folder: &Path, what: &str) {
        self.check_by(what, |table, columns| delta_digest(&folder.join(table), columns));
    }

    /// The same of tables that are read by `read`, which is given a table's name and the columns to compare.
    pub fn check_by(&self, what: &str, read: impl Fn(&str, &[&str]) -> Digest) {
        let rows = self.messages().filter(|(malformed, ..)| !malformed).map(|(_, mut row, value)| {
            let event: Value = serde_json::from_slice(&value).expect("the workload is JSON");
            row.extend(["event_id", "device"].map(|key| event[key].as_str().expect("a text").to_owned()));
            row.extend(["battery", "seq"].map(|key| event[key].to_string()));
            row
        });
        let letters = self.messages().filter(|(malformed, ..)| *malformed).map(|(_, mut letter, value)| {
            letter.push(value.iter().map(|byte| format!("{byte:02x}")).collect());
            letter
        });
        let compare = |table: &str, columns: &[&str], expected: Digest| {
            let there = read(table, columns);
            assert!(there.same_rows(&expected), "{what}: {table} has {there:?}, the topic {expected:?}");
        };
        compare("table", &ROW, digest_of(rows));
        compare("letters", &LETTER, digest_of(letters));
    }

    /// The topic's messages: whether they are malformed, their place, their value.
    fn messages(&self) -> impl Iterator<Item = (bool, Vec<String>, Vec<u8>)> {
        let mut next = vec![0_u64; self.partitions as usize];
        (0..self.events()).map(move |seq| {
            let mut value = Vec::new();
            write_value(&mut value, seq);
            let partition = workload::partition_of(seq, self.partitions);
            let offset = &mut next[partition as usize];
            let place = vec![self.topic.clone(), partition.to_string(), offset.to_string()];
            *offset += 1;
            (malformed(seq), place, value)
        })
    }
}

/// Runs `yaml` until failpoint `at` kills the process.
#[cfg(any(debug_assertions, feature = "failpoints"))]
pub fn killed_at(yaml: &str, folder: &Path, at: &str) {
    let arm = format!("{at}=kill");
    let ended = Alluvia::run_with(yaml, folder, &[("ALLUVIA_FAILPOINTS", &arm)]).wait(BOUND);
    assert!(ended.status.code().is_none(), "not killed at {at}: {}", ended.stderr);
}

fn malformed(seq: u64) -> bool {
    seq % 997 == 500 || seq % 10_000 == 9_999
}

fn write_value(out: &mut Vec<u8>, seq: u64) {
    workload::write_event(out, SEED, seq);
    if malformed(seq) {
        out.truncate(out.len() / 2);
    }
}

/// A number made of a seed and a position: what seeded proofs draw from.
pub fn draw(seed: u64, position: u64, below: u64) -> u64 {
    let mut z =
        seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(position.wrapping_mul(0xD1B5_4A32_D192_ED03));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) % below
}

/// The seed of this run: `ALLUVIA_SEED`, or a new one; printed, so that a failure can be run again.
pub fn seed(what: &str) -> u64 {
    let seed = std::env::var("ALLUVIA_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) * 1_000_003);
    eprintln!("{what}: ALLUVIA_SEED={seed}");
    seed
}

/// Does `work` with every case on a few threads; returns how many there were.
pub fn each<T: Sync>(cases: &[T], work: impl Fn(&T) + Sync) -> usize {
    let next = AtomicUsize::new(0);
    let (next, work) = (&next, &work);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(move || {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(case);
                }
            });
        }
    });
    cases.len()
}
