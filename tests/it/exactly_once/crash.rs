//! The program is killed at every failpoint, at random places and at random moments; afterwards the
//! tables hold the topic.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

use alluvia::failpoint::NAMES;
use serde_json::{Value, json};

use crate::rig::{Alluvia, Broker, delta_rows};
use crate::scene::{self, BOUND, Scene, draw, each, seed};
use crate::tables::changed::{actions, commit, commits};

/// How often a run comes by each failpoint, at least: how deep the matrix goes.
fn hits(name: &str) -> &'static [u64] {
    match name {
        "lease.taken" | "logs.listed" | "table.looked" | "table.created" | "letters.created"
        | "metadata.written" | "serves.written" | "stream.opened" | "initial.written" | "columns.added"
        | "letters.withdrawn" | "repair.after" => &[1],
        "maintenance.before" | "maintenance.after" => &[1, 2],
        "disk.written" | "disk.placed" | "disk.after" => {
            &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 18, 25, 40]
        }
        _ => &[1, 2, 3],
    }
}

/// Runs the stream with a failpoint that kills; whether it came by.
fn killed_at(scene: &Scene, folder: &Path, name: &str, hit: u64) -> bool {
    let arm = format!("{name}=kill@{hit}");
    let ended = Alluvia::run_with(&scene.yaml(), folder, &[("ALLUVIA_FAILPOINTS", &arm)]).wait(BOUND);
    let killed = ended.status.signal() == Some(libc::SIGKILL);
    assert!(killed || ended.status.success(), "{arm}: {}\n{}", ended.status, ended.stderr);
    assert_eq!(killed, ended.stderr.contains("\"event\":\"failpoint\""), "{arm}: {}", ended.stderr);
    killed
}

#[test]
fn a_kill_at_every_failpoint_loses_nothing_and_doubles_nothing() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "crash", 3, 20_000, 3_000);
    let cases: Vec<(&str, u64)> =
        NAMES.iter().flat_map(|name| hits(name).iter().map(|hit| (*name, *hit))).collect();
    let start = Instant::now();
    let count = each(&cases, |(name, hit)| {
        let folder = tempfile::tempdir().unwrap();
        scene.prepare(folder.path(), name);
        assert!(killed_at(&scene, folder.path(), name, *hit), "{name}@{hit} was never reached");
        scene.finish(folder.path(), &format!("kill at {name}@{hit}"));
    });
    eprintln!("{count} kills at {} failpoints in {:?}", NAMES.len(), start.elapsed());
}

#[test]
fn kills_in_a_row_at_seeded_failpoints_lose_nothing_and_double_nothing() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "crashes", 3, 20_000, 3_000);
    let seed = seed("kills in a row");
    let rounds: Vec<u64> = (0..24).collect();
    each(&rounds, |round| {
        let folder = tempfile::tempdir().unwrap();
        let mut said = Vec::new();
        for kill in 0..2 + draw(seed, *round, 4) {
            let at = round * 100 + kill * 2 + 10;
            let name = NAMES[draw(seed, at, NAMES.len() as u64) as usize];
            let hit = 1 + draw(seed, at + 1, 4);
            said.push(format!("{name}@{hit}"));
            if !killed_at(&scene, folder.path(), name, hit) {
                break;
            }
        }
        scene.finish(folder.path(), &format!("seed {seed}, kills at {}", said.join(", ")));
    });
}

#[test]
fn kills_at_random_moments_lose_nothing_and_double_nothing() {
    const KILLS: u64 = 24;
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "moments", 4, 400_000, 12_000);
    let seed = seed("kills at random moments");
    let folder = tempfile::tempdir().unwrap();
    let mut kills = 0;
    for moment in 0.. {
        if kills == KILLS {
            break;
        }
        let program = Alluvia::run(&scene.yaml(), folder.path());
        std::thread::sleep(Duration::from_millis(40 + draw(seed, moment, 700)));
        let ended = program.kill();
        if ended.status.signal() == Some(libc::SIGKILL) {
            kills += 1;
        } else {
            // It had ended: all there was is in the table. More of it, so that a kill meets work.
            ended.success();
            scene.produce(broker, 50_000);
        }
    }
    scene.finish(folder.path(), &format!("seed {seed}, {KILLS} kills"));
    eprintln!("{KILLS} kills at random moments, {} messages", scene.events());
}

/// The stream of a topic whose last message fits the second schema and not the first one.
fn picky(broker: &Broker, topic: &str, schema: &str) -> String {
    format!(
        "streams:
  - name: picky
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{}', subscribe: '{topic}', startingOffsets: earliest }}
      value: {{ format: json, schema: '{schema}', keep: [offset] }}
    sink: {{ format: delta, path: ./table }}
    deadLetter: {{ format: delta, path: ./letters }}
    trigger: availableNow
    checkpointLocation: ./checkpoint
",
        broker.bootstrap()
    )
}

/// Lets a stranger's commit take the file `gone` out of the table, and add `there`.
fn rewrite(table: &Path, gone: &Value, there: Option<&Value>) {
    let version = commits(table).len() as u64;
    let remove = json!({"path": gone["path"], "deletionTimestamp": 1, "dataChange": false});
    let mut lines =
        vec![json!({"commitInfo": {"timestamp": 1, "operation": "WRITE"}}), json!({"remove": remove})];
    lines.extend(there.map(|file| json!({"add": file})));
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(commit(table, version), lines).unwrap();
}

#[test]
fn dead_letters_that_must_leave_and_were_rewritten_stop_the_stream_until_they_are_deleted() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("rewritten", 1);
    broker.produce(&topic, [r#"{"n":1}"#, r#"{"s":"no n"}"#, r#"{"n":3}"#].map(crate::rig::Message::new));
    let folder = tempfile::tempdir().unwrap();
    make_tables(broker, folder.path());
    scene::killed_at(&picky(broker, &topic, "n INT NOT NULL, s STRING"), folder.path(), "letters.after");
    let letters = folder.path().join("letters");
    let written = actions(&commits(&letters).pop().unwrap());
    let file = written.iter().find_map(|action| action.get("add")).expect("a file of letters");
    let mut compacted = file.clone();
    compacted["path"] = "compacted.parquet".into();
    fs::copy(letters.join(file["path"].as_str().unwrap()), letters.join("compacted.parquet")).unwrap();
    // As OPTIMIZE does it.
    rewrite(&letters, file, Some(&compacted));
    let lax = picky(broker, &topic, "n INT, s STRING");
    let ended = Alluvia::run(&lax, folder.path()).wait(BOUND);
    let last = ended.stderr.lines().last().unwrap_or_default();
    assert_eq!(ended.code(), 7, "{}", ended.stderr);
    let attempt = delta_rows(&letters, &["attempt"])[0]["attempt"].as_str().unwrap().to_owned();
    let mend = format!("DELETE from that table WHERE attempt = '{attempt}'");
    assert!(
        ["micro-batch 0 (1)", "/letters/", "rewritten", &mend].iter().all(|word| last.contains(word)),
        "{last}"
    );
    rewrite(&letters, &compacted, None);
    Alluvia::run(&lax, folder.path()).wait(BOUND).success();
    let rows = |table: &str| delta_rows(&folder.path().join(table), &["offset"]).len();
    assert_eq!((rows("table"), rows("letters")), (3, 0));
}

#[test]
fn a_schema_changed_between_a_crash_and_the_restart_leaves_each_message_in_one_place() {
    let Some(broker) = Broker::shared() else { return };
    let (strict, lax) = ("n INT NOT NULL, s STRING", "n INT, s STRING");
    // What the runs before the last one demanded, and where each of them was killed.
    let histories: [&[(&str, &str)]; 8] = [
        &[(strict, "letters.before")],
        &[(strict, "letters.after")],
        &[(strict, "sink.after")],
        &[(lax, "files.after")],
        &[(strict, "letters.after"), (lax, "letters.after")],
        &[(strict, "letters.after"), (lax, "letters.before")],
        &[(lax, "sink.before"), (strict, "letters.before")],
        &[(strict, "letters.after"), (lax, "sink.before"), (strict, "letters.before")],
    ];
    each(&histories, |history| {
        for last in [strict, lax] {
            let topic = broker.topic("picky", 1);
            broker.produce(
                &topic,
                [r#"{"n":1}"#, r#"{"s":"no n"}"#, r#"{"n":3}"#].map(crate::rig::Message::new),
            );
            let folder = tempfile::tempdir().unwrap();
            // The table knows no NOT NULL, so that only the stream decides.
            make_tables(broker, folder.path());
            for (schema, name) in *history {
                let arm = [("ALLUVIA_FAILPOINTS", format!("{name}=kill"))];
                let arm = arm.each_ref().map(|(key, value)| (*key, value.as_str()));
                let ended =
                    Alluvia::run_with(&picky(broker, &topic, schema), folder.path(), &arm).wait(BOUND);
                assert_eq!(
                    ended.status.signal(),
                    Some(libc::SIGKILL),
                    "{history:?} {name}: {}",
                    ended.stderr
                );
            }
            let ended = Alluvia::run(&picky(broker, &topic, last), folder.path()).wait(BOUND);
            if ended.code() == 2 {
                // Only the schema that the rows in the table were made with can make the dead letters.
                assert!(
                    ended.stderr.contains("its dead letters are not"),
                    "{history:?}, then {last}: {}",
                    ended.stderr
                );
                let before = history.last().expect("no history is empty").0;
                assert_ne!(before, last, "{history:?}: {}", ended.stderr);
                Alluvia::run(&picky(broker, &topic, before), folder.path()).wait(BOUND).success();
            } else {
                ended.success();
            }
            let offsets = |table: &str| -> Vec<i64> {
                let rows = delta_rows(&folder.path().join(table), &["offset"]);
                rows.iter().map(|row| row["offset"].as_i64().unwrap()).collect()
            };
            let mut all = offsets("table");
            all.extend(offsets("letters"));
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2], "{history:?}, then {last}");
        }
    });
}

/// Both tables, made by a run over an empty topic.
fn make_tables(broker: &Broker, folder: &Path) {
    let empty = broker.topic("empty", 1);
    let yaml = picky(broker, &empty, "n INT, s STRING").replace("./checkpoint", "./other");
    Alluvia::run(&yaml, folder).wait(BOUND).success();
}
