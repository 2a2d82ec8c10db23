//! One catalogue of broken checkpoints and tables: `check`, `checkpoint show`, `checkpoint rebuild` and `run` give the
//! same verdict on each, and a start that is refused has changed nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::rig::{Alluvia, Broker, Ended, Message};

const BOUND: Duration = Duration::from_secs(60);

/// The folders of the stream, and of another stream's table.
const FOLDERS: [&str; 4] = ["table", "dead", "checkpoint", "rows"];

/// A stream with dead letters that has committed a few micro-batches, to be broken and restored: what it writes names
/// its own folders.
struct Sound<'a> {
    broker: &'a Broker,
    topic: String,
    folder: tempfile::TempDir,
    backup: tempfile::TempDir,
}

impl<'a> Sound<'a> {
    fn new(broker: &'a Broker) -> Sound<'a> {
        let topic = broker.topic("catalogue", 1);
        let (folder, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let sound = Sound { broker, topic, folder, backup };
        for value in [r#"{"a":1}"#, r#"{"a":"x"}"#, r#"{"a":3}"#, r#"{"a":"y"}"#] {
            broker.produce(&sound.topic, [Message::new(value)]);
            Alluvia::run(&sound.yaml(), sound.folder.path()).wait(BOUND).success();
        }
        let rows = sound
            .yaml()
            .replace("sound", "rows")
            .replace("./table", "./rows")
            .replace("./dead", "./rows-dead");
        let rows = rows.replace("./checkpoint", "./rows-checkpoint");
        Alluvia::run(&rows, sound.folder.path()).wait(BOUND).success();
        for name in FOLDERS {
            copy_folder(&sound.folder.path().join(name), &sound.backup.path().join(name));
        }
        sound
    }

    fn yaml(&self) -> String {
        format!(
            "streams:
  - name: sound
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{}', subscribe: '{}', startingOffsets: earliest }}
      value: {{ format: json, schema: 'a INT' }}
    sink: {{ format: delta, path: ./table, options: {{ mergeSchema: true }} }}
    deadLetter: {{ format: delta, path: ./dead }}
    trigger: availableNow
    checkpointLocation: ./checkpoint
    restart: {{ maxAttempts: 0 }}
",
            self.broker.bootstrap(),
            self.topic
        )
    }

    /// Everything as it was before it was broken.
    fn restore(&self) {
        for name in FOLDERS {
            let there = self.folder.path().join(name);
            if there.exists() {
                fs::remove_dir_all(&there).unwrap();
            }
            copy_folder(&self.backup.path().join(name), &there);
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

/// Every file but leases, with its bytes.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.ends_with("alluvia/lease") {
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

/// What the newest file in a log's folder is called.
fn newest(folder: &Path) -> PathBuf {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
    files.sort_by_key(|path| path.file_stem().unwrap().to_string_lossy().parse::<u64>().unwrap_or_default());
    files.pop().unwrap()
}

type Break = fn(&Path, &str) -> String;

/// What is broken, how, and the code; whether `rebuild` of a lost checkpoint says the same of it.
const CATALOGUE: [(&str, Break, i32, bool); 21] = [
    ("metadata is missing", |at, yaml| remove(at, "checkpoint/metadata", yaml), 7, false),
    ("metadata is damaged", |at, yaml| damage(at, "checkpoint/metadata", yaml), 7, false),
    ("the binding is missing", |at, yaml| remove(at, "checkpoint/alluvia/stream.json", yaml), 7, false),
    ("the binding is damaged", |at, yaml| damage(at, "checkpoint/alluvia/stream.json", yaml), 7, false),
    ("the newest plan is missing", |at, yaml| remove_newest(at, "checkpoint/offsets", yaml), 7, false),
    ("the newest plan is damaged", |at, yaml| damage_newest(at, "checkpoint/offsets", yaml), 7, false),
    ("the newest commit is damaged", |at, yaml| damage_newest(at, "checkpoint/commits", yaml), 7, false),
    ("all plans are missing", |at, yaml| remove_folder(at, "checkpoint/offsets", yaml), 7, false),
    (
        "both logs are missing",
        |at, yaml| {
            remove_folder(at, "checkpoint/commits", yaml);
            remove_folder(at, "checkpoint/offsets", yaml)
        },
        7,
        false,
    ),
    ("the checkpoint is lost", |at, yaml| remove_folder(at, "checkpoint", yaml), 7, false),
    ("the table is gone", |at, yaml| remove_folder(at, "table", yaml), 7, false),
    ("the table lost its newest commit", |at, yaml| remove_newest(at, "table/_delta_log", yaml), 7, false),
    ("the table's newest commit is damaged", |at, yaml| damage_newest(at, "table/_delta_log", yaml), 7, true),
    ("the dead letters are gone", |at, yaml| remove_folder(at, "dead", yaml), 7, false),
    (
        "the dead letters lost their newest commit",
        |at, yaml| remove_newest(at, "dead/_delta_log", yaml),
        7,
        false,
    ),
    ("the checkpoint is of another stream", |_, yaml| yaml.replace("name: sound", "name: other"), 2, false),
    ("the table is another", |_, yaml| yaml.replace("./table", "./elsewhere"), 7, false),
    ("the dead letters' table is not one", |_, yaml| yaml.replace("./dead", "./rows"), 2, true),
    ("a column has another type", |_, yaml| yaml.replace("'a INT'", "'a ARRAY<INT>'"), 2, true),
    (
        "a column has another type and one is new",
        |_, yaml| yaml.replace("'a INT'", "'a ARRAY<INT>, b INT'"),
        2,
        true,
    ),
    (
        "the table is partitioned otherwise",
        |_, yaml| yaml.replace("'a INT'", "'a INT, b INT'").replace("./table,", "./table, partitionBy: [b],"),
        2,
        true,
    ),
];

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

#[test]
fn every_command_gives_the_same_verdict_on_a_broken_stream_and_a_refused_start_changes_nothing() {
    let Some(broker) = Broker::shared() else { return };
    let sound = Sound::new(broker);
    let at = sound.folder.path();
    for (what, break_it, code, rebuilds) in &CATALOGUE {
        sound.restore();
        let yaml = break_it(at, &sound.yaml());
        fs::write(at.join("stream.yaml"), &yaml).unwrap();
        let before = contents(at);
        let check = command(&["check", "stream.yaml", "--output", "json"], at);
        assert_eq!(check.code(), *code, "{what}: check: {}", check.stdout);
        let shown = command(&["checkpoint", "show", "stream.yaml", "--output", "json"], at).success();
        let next = &json(&shown)["next"];
        let said = next["kind"].as_str().unwrap_or_else(|| panic!("{what}: show goes on: {next}"));
        assert_eq!(code_of(said), *code, "{what}: show: {next}");
        let run = Alluvia::run(&yaml, at).wait(BOUND);
        assert_eq!(run.code(), *code, "{what}: run: {}", run.stderr);
        if *rebuilds {
            fs::rename(at.join("checkpoint"), at.join("aside")).unwrap();
            let rebuild = command(&["checkpoint", "rebuild", "stream.yaml", "--dry-run"], at);
            assert_eq!(rebuild.code(), *code, "{what}: rebuild: {}", rebuild.stderr);
            fs::rename(at.join("aside"), at.join("checkpoint")).unwrap();
        }
        assert_eq!(contents(at), before, "{what}: something was changed");
    }
}

#[test]
fn a_sound_stream_passes_every_command() {
    let Some(broker) = Broker::shared() else { return };
    let sound = Sound::new(broker);
    let at = sound.folder.path();
    command(&["check", "stream.yaml"], at).success();
    let shown = command(&["checkpoint", "show", "stream.yaml", "--output", "json"], at).success();
    assert_eq!(json(&shown)["next"]["action"], "plan");
    let dry =
        command(&["dead-letters", "replay", "stream.yaml", "--dry-run", "--output", "json"], at).success();
    assert_eq!(json(&dry)["stillRejected"]["CANNOT_PARSE_FIELD"], 2);
    Alluvia::run(&sound.yaml(), at).wait(BOUND).success();
}
