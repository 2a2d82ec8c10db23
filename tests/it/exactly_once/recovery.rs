//! One catalogue of broken checkpoints and tables, of a stream with dead letters and of one with state: `check`, `checkpoint
//! show`, `dead-letters replay` and `run` give the same verdict on each, `checkpoint rebuild` makes only what a start accepts, and
//! a start that is refused has changed nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::rig::{Alluvia, Broker, Ended, Message};

const BOUND: Duration = Duration::from_secs(60);

/// The folders of the stream, and of another stream's table.
const FOLDERS: [&str; 4] = ["table", "dead", "checkpoint", "rows"];

/// A stream with dead letters, and its records.
const DECODED: &str = "streams:
  - name: sound
    source:
      format: kafka
      options: { kafka.bootstrap.servers: 'BOOTSTRAP', subscribe: 'TOPIC', startingOffsets: earliest }
      value: { format: json, schema: 'a INT' }
    sink: { format: delta, path: ./table, options: { mergeSchema: true } }
    deadLetter: { format: delta, path: ./dead }
    trigger: availableNow
    checkpointLocation: ./checkpoint
    restart: { maxAttempts: 0 }
";
const VALUES: [&str; 4] = [r#"{"a":1}"#, r#"{"a":"x"}"#, r#"{"a":3}"#, r#"{"a":"y"}"#];

/// A stream that keeps state, and its records.
const COUNTED: &str = "streams:
  - name: counted
    source:
      format: kafka
      options: { kafka.bootstrap.servers: 'BOOTSTRAP', subscribe: 'TOPIC', startingOffsets: earliest }
      value: { format: json, schema: 'id STRING, ts TIMESTAMP' }
      watermark: { eventTime: ts, delayThreshold: 1 minute }
    sql: SELECT window.start AS start, count(*) AS n FROM input GROUP BY window(ts, '1 minute')
    sink: { format: delta, path: ./table, options: { mergeSchema: true } }
    trigger: availableNow
    checkpointLocation: ./checkpoint
    restart: { maxAttempts: 0 }
";
const EVENTS: [&str; 4] = [
    r#"{"id":"a","ts":"2024-01-01T00:00:00Z"}"#,
    r#"{"id":"b","ts":"2024-01-01T00:01:00Z"}"#,
    r#"{"id":"c","ts":"2024-01-01T00:02:00Z"}"#,
    r#"{"id":"d","ts":"2024-01-01T00:03:00Z"}"#,
];

/// A stream that has committed a few micro-batches, to be broken and restored: what it writes names its own folders.
struct Sound {
    yaml: String,
    folder: tempfile::TempDir,
    backup: tempfile::TempDir,
}

impl Sound {
    /// The stream `yaml` after a run for each of `records`.
    fn new(broker: &Broker, yaml: &str, records: [&str; 4]) -> Sound {
        let topic = broker.topic("catalogue", 1);
        let yaml = yaml.replace("BOOTSTRAP", broker.bootstrap()).replace("TOPIC", &topic);
        let (folder, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let sound = Sound { yaml, folder, backup };
        for record in records {
            broker.produce(&topic, [Message::new(record)]);
            Alluvia::run(&sound.yaml, sound.folder.path()).wait(BOUND).success();
        }
        sound
    }

    /// One with dead letters, and beside it a table of rows that another stream has written.
    fn decoded(broker: &Broker) -> Sound {
        let sound = Sound::new(broker, DECODED, VALUES);
        let other = ["sound", "./table", "./dead", "./checkpoint"].into_iter();
        let other = other.zip(["rows", "./rows", "./rows-dead", "./rows-checkpoint"]);
        let rows = other.fold(sound.yaml.clone(), |yaml, (from, to)| yaml.replace(from, to));
        Alluvia::run(&rows, sound.folder.path()).wait(BOUND).success();
        sound.backed_up()
    }

    /// One that keeps state.
    fn counted(broker: &Broker) -> Sound {
        Sound::new(broker, COUNTED, EVENTS).backed_up()
    }

    fn backed_up(self) -> Sound {
        for name in FOLDERS.into_iter().filter(|name| self.folder.path().join(name).exists()) {
            copy_folder(&self.folder.path().join(name), &self.backup.path().join(name));
        }
        self
    }

    /// Everything as it was before it was broken.
    fn restore(&self) {
        for name in FOLDERS {
            let (there, kept) = (self.folder.path().join(name), self.backup.path().join(name));
            if there.exists() {
                fs::remove_dir_all(&there).unwrap();
            }
            if kept.exists() {
                copy_folder(&kept, &there);
            }
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Every file with its bytes, without leases and the local copy of a state, which is a cache.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.ends_with("alluvia/lease") || path.ends_with("alluvia/state") {
            continue;
        }
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            all.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    all.sort();
    all
}

fn command(arguments: &[&str], folder: &Path) -> Ended {
    Alluvia::start(arguments, folder, &[]).wait(BOUND)
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{e}: {}\n{}", ended.stdout, ended.stderr))
}

/// The exit code of an error's kind.
fn code_of(kind: &str) -> i32 {
    match kind {
        "config" => 2,
        "corrupt" => 7,
        other => panic!("no verdict of this catalogue is {other}"),
    }
}

/// The files in a folder by the numbers that they begin with, the oldest first.
fn by_number(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
    files.sort_by_key(|path| path.file_stem().unwrap().to_string_lossy().parse::<u64>().unwrap_or_default());
    files
}

fn newest(folder: &Path) -> PathBuf {
    by_number(folder).pop().unwrap()
}

type Break = fn(&Path, &str) -> String;

/// What is broken, how, and the exit code; that of `rebuild` when the checkpoint was moved aside: it mends what is broken in
/// the checkpoint, and for a table that was restored from a backup it goes on where that stands.
type Case = (&'static str, Break, i32, i32);

const CATALOGUE: [Case; 21] = [
    ("metadata is missing", |at, yaml| remove(at, "checkpoint/metadata", yaml), 7, 0),
    ("metadata is damaged", |at, yaml| damage(at, "checkpoint/metadata", yaml), 7, 0),
    ("the binding is missing", |at, yaml| remove(at, "checkpoint/alluvia/stream.json", yaml), 7, 0),
    ("the binding is damaged", |at, yaml| damage(at, "checkpoint/alluvia/stream.json", yaml), 7, 0),
    ("the newest plan is missing", |at, yaml| remove_newest(at, "checkpoint/offsets", yaml), 7, 0),
    ("the newest plan is damaged", |at, yaml| damage_newest(at, "checkpoint/offsets", yaml), 7, 0),
    ("the newest commit is damaged", |at, yaml| damage_newest(at, "checkpoint/commits", yaml), 7, 0),
    ("all plans are missing", |at, yaml| remove_folder(at, "checkpoint/offsets", yaml), 7, 0),
    (
        "both logs are missing",
        |at, yaml| {
            remove_folder(at, "checkpoint/commits", yaml);
            remove_folder(at, "checkpoint/offsets", yaml)
        },
        7,
        0,
    ),
    ("the checkpoint is lost", |at, yaml| remove_folder(at, "checkpoint", yaml), 7, 0),
    ("the table is gone", |at, yaml| remove_folder(at, "table", yaml), 7, 2),
    ("the table lost its newest commit", |at, yaml| remove_newest(at, "table/_delta_log", yaml), 7, 0),
    ("the table's newest commit is damaged", |at, yaml| damage_newest(at, "table/_delta_log", yaml), 7, 7),
    // Which table the dead letters went to was in the checkpoint alone.
    ("the dead letters are gone", |at, yaml| remove_folder(at, "dead", yaml), 7, 0),
    (
        "the dead letters lost their newest commit",
        |at, yaml| remove_newest(at, "dead/_delta_log", yaml),
        7,
        7,
    ),
    ("the checkpoint is of another stream", |_, yaml| yaml.replace("name: sound", "name: other"), 2, 2),
    ("the table is another", |_, yaml| yaml.replace("./table", "./elsewhere"), 7, 2),
    ("the dead letters' table is not one", |_, yaml| yaml.replace("./dead", "./rows"), 2, 2),
    ("a column has another type", |_, yaml| yaml.replace("'a INT'", "'a ARRAY<INT>'"), 2, 2),
    (
        "a column has another type and one is new",
        |_, yaml| yaml.replace("'a INT'", "'a ARRAY<INT>, b INT'"),
        2,
        2,
    ),
    (
        "the table is partitioned otherwise",
        |_, yaml| yaml.replace("'a INT'", "'a INT, b INT'").replace("./table,", "./table, partitionBy: [b],"),
        2,
        2,
    ),
];

/// The same of a stream that keeps state, whose checkpoint is not rebuilt unless the query keeps none now. A column that is new
/// would be the first thing that a start changes.
const WITH_STATE: [Case; 10] = [
    ("the query has changed", |_, yaml| yaml.replace("count(*)", "sum(1)"), 2, 2),
    (
        "the query keeps no state any more",
        |_, yaml| {
            let kept = "window.start AS start, count(*) AS n FROM input GROUP BY window(ts, '1 minute')";
            yaml.replace(kept, "ts AS start, CAST(1 AS BIGINT) AS n FROM input")
        },
        2,
        0,
    ),
    (
        "the definition of the state is missing",
        |at, yaml| remove(at, "checkpoint/state/definition", yaml),
        2,
        2,
    ),
    (
        "the definition of the state is damaged",
        |at, yaml| damage(at, "checkpoint/state/definition", yaml),
        7,
        2,
    ),
    (
        "all changes of the state are missing and a column is new",
        |at, yaml| with_new_column(&remove_folder(at, "checkpoint/state/changes", yaml)),
        7,
        2,
    ),
    (
        "the newest changes of the state are missing",
        |at, yaml| remove_newest(at, "checkpoint/state/changes", yaml),
        7,
        2,
    ),
    (
        "the oldest changes of the state are missing and a column is new",
        |at, yaml| {
            fs::remove_file(&by_number(&at.join("checkpoint/state/changes"))[0]).unwrap();
            with_new_column(yaml)
        },
        7,
        2,
    ),
    ("the checkpoint is lost", |at, yaml| remove_folder(at, "checkpoint", yaml), 7, 2),
    ("the binding is missing", |at, yaml| remove(at, "checkpoint/alluvia/stream.json", yaml), 7, 2),
    ("the table lost its newest commit", |at, yaml| remove_newest(at, "table/_delta_log", yaml), 7, 2),
];

/// The counting stream with one more column, which its table lacks.
fn with_new_column(yaml: &str) -> String {
    yaml.replace("AS n FROM", "AS n, 1 AS extra FROM")
}

fn remove(at: &Path, file: &str, yaml: &str) -> String {
    fs::remove_file(at.join(file)).unwrap();
    yaml.to_owned()
}

fn damage(at: &Path, file: &str, yaml: &str) -> String {
    fs::write(at.join(file), "{").unwrap();
    yaml.to_owned()
}

fn remove_newest(at: &Path, folder: &str, yaml: &str) -> String {
    fs::remove_file(newest(&at.join(folder))).unwrap();
    yaml.to_owned()
}

fn damage_newest(at: &Path, folder: &str, yaml: &str) -> String {
    fs::write(newest(&at.join(folder)), "v1\n{").unwrap();
    yaml.to_owned()
}

fn remove_folder(at: &Path, folder: &str, yaml: &str) -> String {
    fs::remove_dir_all(at.join(folder)).unwrap();
    yaml.to_owned()
}

/// Breaks the stream, and compares what each command says of it.
fn assert_same_verdict(sound: &Sound, (what, break_it, code, rebuilt): &Case) {
    sound.restore();
    let at = sound.folder.path();
    let yaml = break_it(at, &sound.yaml);
    fs::write(at.join("stream.yaml"), &yaml).unwrap();
    let before = contents(at);
    let check = command(&["check", "stream.yaml", "--output", "json"], at);
    assert_eq!(check.code(), *code, "{what}: check: {}", check.stdout);
    let shown = command(&["checkpoint", "show", "stream.yaml", "--output", "json"], at).success();
    let next = &json(&shown)["next"];
    let said = next["kind"].as_str().unwrap_or_else(|| panic!("{what}: show goes on: {next}"));
    assert_eq!(code_of(said), *code, "{what}: show: {next}");
    if yaml.contains("deadLetter") {
        let replay = command(&["dead-letters", "replay", "stream.yaml", "--dry-run"], at);
        assert_eq!(replay.code(), *code, "{what}: replay: {}", replay.stderr);
    }
    let run = Alluvia::run(&yaml, at).wait(BOUND);
    assert_eq!(run.code(), *code, "{what}: run: {}", run.stderr);
    let (checkpoint, aside) = (at.join("checkpoint"), at.join("aside"));
    if checkpoint.exists() {
        fs::rename(&checkpoint, &aside).unwrap();
    }
    let rebuild = command(&["checkpoint", "rebuild", "stream.yaml", "--dry-run"], at);
    assert_eq!(rebuild.code(), *rebuilt, "{what}: rebuild: {}", rebuild.stderr);
    if aside.exists() {
        fs::rename(&aside, &checkpoint).unwrap();
    }
    assert_eq!(contents(at), before, "{what}: something was changed");
}

#[test]
fn every_command_gives_the_same_verdict_on_a_broken_stream_and_a_refused_start_changes_nothing() {
    let Some(broker) = Broker::shared() else { return };
    let sound = Sound::decoded(broker);
    CATALOGUE.iter().for_each(|case| assert_same_verdict(&sound, case));
}

#[test]
fn every_command_gives_the_same_verdict_on_a_broken_stream_with_state() {
    let Some(broker) = Broker::shared() else { return };
    let sound = Sound::counted(broker);
    let at = sound.folder.path();
    WITH_STATE.iter().for_each(|case| assert_same_verdict(&sound, case));

    // What is in the files of the state a start alone reads, and only without a local copy; it changes nothing either.
    sound.restore();
    fs::remove_dir_all(at.join("checkpoint/alluvia/state")).unwrap();
    let yaml = with_new_column(&damage_newest(at, "checkpoint/state/changes", &sound.yaml));
    fs::write(at.join("stream.yaml"), &yaml).unwrap();
    let before = contents(at);
    let run = Alluvia::run(&yaml, at).wait(BOUND);
    assert!(run.code() == 7 && run.stderr.contains("is damaged"), "{}", run.stderr);
    assert_eq!(contents(at), before, "damaged changes: something was changed");

    sound.restore();
    Alluvia::run(&with_new_column(&sound.yaml), at).wait(BOUND).success();
}

#[test]
fn a_sound_stream_passes_every_command() {
    let Some(broker) = Broker::shared() else { return };
    let sound = Sound::decoded(broker);
    let at = sound.folder.path();
    fs::write(at.join("stream.yaml"), &sound.yaml).unwrap();
    command(&["check", "stream.yaml"], at).success();
    let shown = command(&["checkpoint", "show", "stream.yaml", "--output", "json"], at).success();
    assert_eq!(json(&shown)["next"]["action"], "plan");
    let dry =
        command(&["dead-letters", "replay", "stream.yaml", "--dry-run", "--output", "json"], at).success();
    assert_eq!(json(&dry)["stillRejected"]["CANNOT_PARSE_FIELD"], 2);
    Alluvia::run(&sound.yaml, at).wait(BOUND).success();
}
