//! What becomes of the tables of a stream behind its back: removed, replaced, restored, altered, or without memory for
//! transactions, while the stream runs and while it rests.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rdkafka::Offset;
use serde_json::{Value, json};

use crate::exactly_once::owners::{copy, finished, refused};
use crate::exactly_once::zombie::{asleep, left};
use crate::rig::{Alluvia, Broker, Message, delta_checkpoint, delta_digest, delta_rows, until};
use crate::scene::{BOUND, Scene, killed_at};

const CORRUPT: i32 = 7;

pub fn commit(table: &Path, version: u64) -> PathBuf {
    table.join(format!("_delta_log/{version:020}.json"))
}

/// The versions of the table that have a checkpoint of its log, the oldest first.
pub fn checkpoints(table: &Path) -> Vec<u64> {
    let files = fs::read_dir(table.join("_delta_log")).into_iter().flatten().flatten();
    let names = files.filter_map(|file| file.file_name().into_string().ok());
    let mut versions: Vec<u64> =
        names.filter_map(|name| name.strip_suffix(".checkpoint.parquet")?.parse().ok()).collect();
    versions.sort_unstable();
    versions
}

/// The table's commits that are there, the oldest first.
pub fn commits(table: &Path) -> Vec<PathBuf> {
    let files =
        fs::read_dir(table.join("_delta_log")).into_iter().flatten().flatten().map(|file| file.path());
    let mut commits: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    commits.sort();
    commits
}

pub fn actions(commit: &Path) -> Vec<Value> {
    let text = fs::read_to_string(commit).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A stranger's commit of one action as the table's next version.
fn strange(table: &Path, action: &Value) {
    let newest = commits(table).pop().unwrap();
    let version: u64 = newest.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let info = json!({"commitInfo": {"timestamp": 1, "operation": "MANUAL UPDATE"}});
    fs::write(commit(table, version + 1), format!("{info}\n{action}\n")).unwrap();
}

/// The newest `metaData` of a table.
fn metadata(table: &Path) -> Value {
    commits(table).iter().rev().flat_map(|file| actions(file)).find(|a| a.get("metaData").is_some()).unwrap()
}

#[test]
fn a_table_that_is_removed_restored_or_replaced_under_a_running_stream_stops_it() {
    let Some(broker) = Broker::shared() else { return };
    for table in ["table", "letters"] {
        // What is done to the table in `path`, where `early` holds it as it was before its newest commits.
        let deeds: [(&str, fn(&Path, &Path)); 4] = [
            ("was removed", |path, _| fs::remove_dir_all(path).unwrap()),
            ("went back from version", |path, early| {
                fs::remove_dir_all(path).unwrap();
                copy(early, path);
            }),
            ("was replaced by another", |path, _| {
                let id = metadata(path)["metaData"]["id"].as_str().unwrap().to_owned();
                for file in commits(path) {
                    let other = fs::read_to_string(&file).unwrap().replace(&id, "another-table");
                    fs::write(file, other.replace("STREAMING UPDATE", "WRITE")).unwrap();
                }
            }),
            ("was restored and went on", |path, _| {
                let newest = commits(path).pop().unwrap();
                let text = fs::read_to_string(&newest).unwrap().replace("STREAMING UPDATE", "WRITE");
                fs::write(newest, text).unwrap();
            }),
        ];
        for (says, deed) in deeds {
            let scene = Scene::new(broker, "behind", 2, 10_000, 5_000);
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(table);
            let yaml = scene.endless_yaml().replace("checkpointInterval: '2'", "checkpointInterval: '1000'");
            finished(&yaml.replace("{ processingTime: 50 ms }", "availableNow"), folder.path());
            let early = tempfile::tempdir().unwrap();
            copy(&path, early.path());
            let program = Alluvia::run(&yaml, folder.path());
            scene.produce(broker, 10_000);
            program.wait_for(&format!("\"endOffset\":{}", scene.end()), BOUND);
            let before = commits(&path).len();
            deed(&path, early.path());
            let left = commits(&path).len();
            scene.produce(broker, 10_000);
            let ended = program.wait(BOUND);
            assert_eq!(ended.code(), CORRUPT, "{table} {says}:\n{}", ended.stderr);
            let last = ended.stderr.lines().last().unwrap();
            assert!(last.contains(says) && last.contains(&format!("/{table}/")), "{table} {says}: {last}");
            assert_eq!(
                commits(&path).len(),
                left,
                "{table} {says}: it had {before} commits, nothing was added"
            );
        }
    }
}

#[test]
fn a_dead_letter_table_that_was_removed_replaced_or_restored_is_refused() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "letters-gone", 2, 10_000, 5_000);
    let folder = tempfile::tempdir().unwrap();
    finished(&scene.yaml(), folder.path());
    let letters = folder.path().join("letters");
    let early = tempfile::tempdir().unwrap();
    copy(&letters, early.path());
    scene.produce(broker, 10_000);
    finished(&scene.yaml(), folder.path());
    let aside = folder.path().join("aside");
    fs::rename(&letters, &aside).unwrap();
    refused(
        &scene.yaml(),
        folder.path(),
        CORRUPT,
        &["dead-letter table", "is gone", "another deadLetter.path"],
    );
    copy(early.path(), &letters);
    refused(
        &scene.yaml(),
        folder.path(),
        CORRUPT,
        &["does not hold the dead letters of micro-batch", "restored"],
    );
    // Before the commit log says so, too: the batch is not called committed.
    let checkpoint = folder.path().join("checkpoint");
    let newest =
        fs::read_dir(checkpoint.join("commits")).unwrap().flatten().map(|file| file.path()).max().unwrap();
    fs::rename(&newest, folder.path().join("commit")).unwrap();
    refused(&scene.yaml(), folder.path(), CORRUPT, &["does not hold the dead letters of micro-batch"]);
    fs::rename(folder.path().join("commit"), &newest).unwrap();
    fs::remove_dir_all(&letters).unwrap();
    let other = scene.yaml().replace("name: proof", "name: other").replace("./checkpoint", "./other");
    finished(&other.replace("./table", "./table2"), folder.path());
    refused(&scene.yaml(), folder.path(), CORRUPT, &["dead-letter table", "is another"]);
    // Given up on purpose, in another table.
    finished(&scene.yaml().replace("./letters", "./letters2"), folder.path());
    fs::remove_dir_all(&letters).unwrap();
    fs::rename(&aside, &letters).unwrap();
    finished(&scene.yaml(), folder.path());
    scene.check(folder.path(), "with the letters back");
}

#[test]
fn a_table_that_another_writer_alters_during_maintenance_is_checked_and_the_stream_goes_on() {
    let Some(broker) = Broker::shared() else { return };
    // The stream rests after four batches, until the checkpoint of version 4 is there. The fifth is frozen with its
    // commit made, and the log about to be read anew.
    let stopped = |folder: &Path, faults: &str| {
        let arm = [("ALLUVIA_FAILPOINTS", "log.after=stop@5"), ("ALLUVIA_STORE_FAULTS", faults)];
        let scene = Scene::new(broker, "altered", 2, 40_000, 10_000);
        // No maintenance at version 2, which could still be at work at version 4.
        let yaml = scene.endless_yaml().replace("checkpointInterval: '2'", "checkpointInterval: '4'");
        let mut program = Alluvia::run_with(&yaml, folder, &arm);
        until("the checkpoint, and the hint, which comes last", BOUND, || {
            let hint = fs::read_to_string(folder.join("table/_delta_log/_last_checkpoint")).ok()?;
            hint.contains("\"version\":4").then_some(())
        });
        scene.produce(broker, 10_000);
        asleep(&mut program, "a stream with a checkpoint of its table's log");
        scene.produce(broker, 10_000);
        (scene, program)
    };
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    let (scene, program) = stopped(folder.path(), "");
    let mut wider = metadata(&table);
    let mut schema: Value =
        serde_json::from_str(wider["metaData"]["schemaString"].as_str().unwrap()).unwrap();
    let column = json!({"name": "added", "type": "string", "nullable": true, "metadata": {}});
    schema["fields"].as_array_mut().unwrap().push(column);
    wider["metaData"]["schemaString"] = schema.to_string().into();
    strange(&table, &wider);
    program.resume();
    program.wait_for(&format!("\"endOffset\":{}", scene.end()), BOUND);
    program.terminate();
    program.wait(BOUND).success();
    scene.check(folder.path(), "with a column added");

    // The stranger's commit is found, and then can't be read for once: that is no other table.
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    let (scene, program) = stopped(folder.path(), "get table/_delta_log/00000000000000000006.json 2 reject");
    strange(&table, &metadata(&table));
    program.resume();
    program.wait_for(&format!("\"endOffset\":{}", scene.end()), BOUND);
    program.terminate();
    let ended = program.wait(BOUND);
    assert!(ended.stderr.contains("the table's log could not be read again"), "{}", ended.stderr);
    ended.success();
    scene.check(folder.path(), "with a commit that could not be read for once");

    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    let (_, program) = stopped(folder.path(), "");
    let mut other = metadata(&table);
    other["metaData"]["id"] = "another-table".into();
    strange(&table, &other);
    let there = commits(&table).len();
    program.resume();
    let ended = program.wait(BOUND);
    assert_eq!(ended.code(), CORRUPT, "{}", ended.stderr);
    assert!(ended.stderr.lines().last().unwrap().contains("was replaced"), "{}", ended.stderr);
    assert_eq!(commits(&table).len(), there, "nothing was committed to it");
}

#[test]
fn a_constraint_that_a_stranger_adds_under_a_running_stream_stops_it_at_its_next_commit() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "constrained", 2, 10_000, 5_000);
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    let yaml = scene.endless_yaml().replace("checkpointInterval: '2'", "checkpointInterval: '1000'");
    finished(&yaml.replace("{ processingTime: 50 ms }", "availableNow"), folder.path());
    // The writer version of a change data feed: it knows constraints, and the table has none.
    strange(&table, &json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 4}}));
    let program = Alluvia::run(&yaml, folder.path());
    scene.produce(broker, 10_000);
    program.wait_for(&format!("\"endOffset\":{}", scene.end()), BOUND);
    let mut constrained = metadata(&table);
    constrained["metaData"]["configuration"]["delta.constraints.small"] = "battery < 0".into();
    strange(&table, &constrained);
    let there = commits(&table).len();
    scene.produce(broker, 10_000);
    let ended = program.wait(BOUND);
    assert_eq!(ended.code(), 2, "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap();
    assert!(last.contains("checkConstraints") && last.contains("small CHECK (battery < 0)"), "{last}");
    assert_eq!(commits(&table).len(), there, "nothing was committed to it");
}

#[test]
fn a_new_stream_on_an_existing_table_opens_no_commit_that_the_tables_checkpoint_covers() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "new-on-old", 2, 40_000, 5_000);
    let folder = tempfile::tempdir().unwrap();
    finished(&scene.yaml(), folder.path());
    for table in ["table", "letters"] {
        let table = folder.path().join(table);
        delta_checkpoint(&table);
        let mut covered = commits(&table);
        covered.pop();
        assert!(covered.len() > 2);
        covered.iter().for_each(|commit| fs::write(commit, "no commit any more").unwrap());
    }
    let other = scene.yaml().replace("name: proof", "name: other").replace("./checkpoint", "./other");
    finished(&other, folder.path());
    let rows = delta_digest(&folder.path().join("table"), &["offset"]).rows;
    let once =
        scene.yaml().replace("./table", "./once").replace("./letters", "./no").replace("./checkpoint", "./c");
    finished(&once, folder.path());
    assert_eq!(rows, 2 * delta_digest(&folder.path().join("once"), &["offset"]).rows, "both streams' rows");
}

#[test]
fn a_transaction_that_the_table_forgot_is_found_in_its_log() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "forgets", 2, 10_000, 100_000);
    let forgets = "checkpointInterval: '2', delta.setTransactionRetentionDuration: interval 1 second }";
    let yaml = scene.yaml().replace("checkpointInterval: '2' }", forgets);
    let folder = tempfile::tempdir().unwrap();
    for point in ["letters.after", "sink.after"] {
        let ended =
            Alluvia::run_with(&yaml, folder.path(), &[("ALLUVIA_FAILPOINTS", &format!("{point}=kill"))])
                .wait(BOUND);
        assert!(ended.status.code().is_none(), "not killed: {}", ended.stderr);
        // Delta forgets by the clock.
        std::thread::sleep(Duration::from_millis(2_500));
        finished(&yaml, folder.path());
        scene.check(folder.path(), point);
        scene.produce(broker, 10_000);
    }
}

#[test]
fn every_store_is_probed_before_a_stream_first_uses_it() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "probed", 2, 10_000, 5_000);
    let refused = |yaml: &str, folder: &Path, place: &str| {
        let rules = [("ALLUVIA_STORE_FAULTS", format!("create {place} * replace"))];
        let rules: Vec<(&str, &str)> = rules.iter().map(|(name, rule)| (*name, rule.as_str())).collect();
        let ended = Alluvia::run_with(yaml, folder, &rules).wait(BOUND);
        assert_eq!(ended.code(), 2, "{place}: {}", ended.stderr);
        assert!(ended.stderr.contains("second writer"), "{place}: {}", ended.stderr);
    };
    // A checkpoint that Spark has begun, and dead letters that come later.
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("checkpoint")).unwrap();
    let id = "{\"id\":\"5bfb5a6e-7d3c-4c6e-9f0d-0d6f7e1a2b3c\"}";
    fs::write(folder.path().join("checkpoint/metadata"), id).unwrap();
    for place in ["checkpoint/", "table/", "letters/"] {
        refused(&scene.yaml(), folder.path(), place);
    }
    let without: String =
        scene.yaml().lines().filter(|line| !line.contains("deadLetter")).map(|l| format!("{l}\n")).collect();
    finished(&without, folder.path());
    refused(&scene.yaml(), folder.path(), "letters/");
}

#[test]
fn dead_letters_of_a_copied_checkpoint_with_another_plan_stop_the_copy_before_its_rows() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "copied-letters", 1, 10_000, 100_000);
    let folder = tempfile::tempdir().unwrap();
    finished(&scene.yaml(), folder.path());
    let elsewhere = scene.yaml().replace("./checkpoint", "./elsewhere");
    copy(&folder.path().join("checkpoint"), &folder.path().join("elsewhere"));
    scene.produce(broker, 10_000);
    let killed = |yaml: &str, at: &str| killed_at(yaml, folder.path(), at);
    // The original plans to here, the copy further; then the original commits its letters.
    killed(&scene.yaml(), "plan.after");
    scene.produce(broker, 10_000);
    killed(&elsewhere, "plan.after");
    killed(&scene.yaml(), "letters.after");
    let rows = delta_digest(&folder.path().join("table"), &["offset"]).rows;
    refused(&elsewhere, folder.path(), CORRUPT, &["dead-letter table", "/letters/", "other offsets"]);
    assert_eq!(delta_digest(&folder.path().join("table"), &["offset"]).rows, rows);
    finished(&scene.yaml(), folder.path());
    scene.check(folder.path(), "by the original");
}

/// The letters of lost offsets in a table, as `partition message`, in order.
fn lost_letters(table: &Path) -> Vec<String> {
    let letters = delta_rows(table, &["partition", "errorCode", "errorMessage"]);
    let lost = letters.iter().filter(|row| row["errorCode"] == "OFFSETS_LOST");
    let mut said: Vec<String> =
        lost.map(|row| format!("{} {}", row["partition"], row["errorMessage"])).collect();
    said.sort();
    said
}

#[test]
fn offsets_of_several_partitions_that_go_in_turn_are_recorded_once_each() {
    let Some(broker) = Broker::shared() else { return };
    // Whether the schema changes after the losses were recorded.
    for changed in [false, true] {
        let topic = format!("tables-lost-in-turn-{changed}");
        broker.create_topic(&topic, 4, &[("retention.ms", "-1")]);
        let message = |n: i32| if n % 10 == 9 { "no JSON".into() } else { format!("{{\"n\":{n}}}") };
        broker.produce(&topic, (0..80).map(|n| Message::new(message(n)).partition(n % 4)));
        let yaml = lossy_yaml(broker, &topic).replace("./checkpoint\n", "./checkpoint\n    lanes: 4\n");
        let folder = tempfile::tempdir().unwrap();
        let killed = |at: &str| killed_at(&yaml, folder.path(), at);
        killed("letters.after");
        broker.delete_records(&topic, 0, Offset::Offset(3));
        broker.delete_records(&topic, 1, Offset::Offset(2));
        killed("sink.before");
        killed("sink.before");
        broker.delete_records(&topic, 1, Offset::Offset(4));
        broker.delete_records(&topic, 2, Offset::Offset(5));
        broker.delete_records(&topic, 3, Offset::Offset(6));
        killed("sink.before");
        let last = if changed { yaml.replace("n INT", "n INT NOT NULL") } else { yaml.clone() };
        finished(&last, folder.path());
        let said = lost_letters(&folder.path().join("letters"));
        let whole = [(0, 3), (1, 4), (2, 5), (3, 6)];
        assert_eq!(said.len(), whole.len(), "{said:?}");
        for ((partition, until), said) in whole.iter().zip(&said) {
            let range = format!("{topic}-{partition} [0, {until})");
            assert!(said.contains(&range), "no {range} in {said}");
        }
        let there = (0..80).filter(|n| n % 10 != 9 && n / 4 >= whole[(n % 4) as usize].1).count();
        assert_eq!(delta_rows(&folder.path().join("table"), &["offset"]).len(), there);
    }
}

fn lossy_yaml(broker: &Broker, topic: &str) -> String {
    format!(
        "streams:
  - name: lost
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{}', subscribe: '{topic}', startingOffsets: earliest, failOnDataLoss: false }}
      value: {{ format: json, schema: 'n INT', keep: [offset] }}
    sink: {{ format: delta, path: ./table }}
    deadLetter: {{ format: delta, path: ./letters }}
    trigger: availableNow
    checkpointLocation: ./checkpoint
",
        broker.bootstrap()
    )
}

/// A topic of ten messages, of which the one at offset 3 is malformed, and the stream that reads it.
fn one_of_ten_malformed(broker: &Broker, topic: &str) -> String {
    broker.create_topic(topic, 1, &[("retention.ms", "-1")]);
    let message = |n: u64| if n == 3 { "no JSON".into() } else { format!("{{\"n\":{n}}}") };
    broker.produce(topic, (0..10).map(|n| Message::new(message(n))));
    lossy_yaml(broker, topic)
}

#[test]
fn offsets_that_go_between_two_runs_of_a_batch_are_recorded_beside_the_letters_of_the_first() {
    let Some(broker) = Broker::shared() else { return };
    let topic = "tables-lost-later";
    let yaml = one_of_ten_malformed(broker, topic);
    let folder = tempfile::tempdir().unwrap();
    let killed = |at: &str| killed_at(&yaml, folder.path(), at);
    killed("letters.after");
    broker.delete_records(topic, 0, Offset::Offset(5));
    // Again, before and after what was lost is recorded; then more is lost.
    killed("letters.after");
    killed("sink.before");
    broker.delete_records(topic, 0, Offset::Offset(7));
    killed("sink.before");
    finished(&yaml, folder.path());
    lost_up_to_7_and_3_kept(folder.path());
    let rows = delta_rows(&folder.path().join("table"), &["offset"]);
    assert_eq!(rows.len(), 3, "{rows:?}");
    let said = actions(&commits(&folder.path().join("table")).pop().unwrap());
    let lost = said.iter().find_map(|action| action["commitInfo"]["alluvia"].get("lostRanges")).unwrap();
    assert_eq!(lost[0]["until"], 7, "{lost}");
}

/// The dead letters are offset 3, from before it was lost, and one for all that is lost.
fn lost_up_to_7_and_3_kept(folder: &Path) {
    let letters = delta_rows(&folder.join("letters"), &["offset", "errorCode", "errorMessage"]);
    let mut letters: Vec<String> = letters
        .iter()
        .map(|row| {
            format!(
                "{} {} {}",
                row["offset"],
                row["errorCode"].as_str().unwrap(),
                row["errorMessage"].as_str().unwrap()
            )
        })
        .collect();
    letters.sort();
    assert_eq!(letters.len(), 2, "{letters:?}");
    assert!(letters[0].starts_with("0 OFFSETS_LOST") && letters[0].contains("[0, 7)"), "{letters:?}");
    assert!(letters[1].starts_with("3 "), "what was kept stays: {letters:?}");
}

#[test]
fn a_zombie_that_knew_of_less_lost_leaves_what_its_successor_has_recorded() {
    let Some(broker) = Broker::shared() else { return };
    let topic = "tables-lost-zombie";
    let yaml = one_of_ten_malformed(broker, topic);
    let folder = tempfile::tempdir().unwrap();
    let owner = ("ALLUVIA_OWNER", "pod-0");
    killed_at(&yaml, folder.path(), "letters.after");
    broker.delete_records(topic, 0, Offset::Offset(5));
    let arm = [owner, ("ALLUVIA_FAILPOINTS", "letters.before=stop")];
    let mut zombie = Alluvia::run_with(&yaml, folder.path(), &arm);
    asleep(&mut zombie, "a run that knows of five lost");
    broker.delete_records(topic, 0, Offset::Offset(7));
    Alluvia::run_with(&yaml, folder.path(), &[owner]).wait(BOUND).success();
    lost_up_to_7_and_3_kept(folder.path());
    zombie.resume();
    left(zombie.wait(BOUND), "a run that knows of five lost");
    lost_up_to_7_and_3_kept(folder.path());
}

#[test]
fn another_schema_is_told_though_others_have_cleaned_the_newest_commit_up() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "cleaned", 2, 10_000, 100_000);
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    let yaml = scene.endless_yaml().replace("checkpointInterval: '2'", "checkpointInterval: '1000'");
    let program = Alluvia::run(&yaml, folder.path());
    program.wait_for(&format!("\"endOffset\":{}", scene.end()), BOUND);
    let mut other = metadata(&table);
    let mut schema: Value =
        serde_json::from_str(other["metaData"]["schemaString"].as_str().unwrap()).unwrap();
    for field in schema["fields"].as_array_mut().unwrap() {
        if field["name"] == "battery" {
            field["type"] = json!({"type": "array", "elementType": "string", "containsNull": true});
        }
    }
    other["metaData"]["schemaString"] = schema.to_string().into();
    strange(&table, &other);
    delta_checkpoint(&table);
    let kept = commits(&table).pop().unwrap();
    commits(&table).iter().filter(|file| **file != kept).for_each(|file| fs::remove_file(file).unwrap());
    scene.produce(broker, 10_000);
    let ended = program.wait(BOUND);
    assert_eq!(ended.code(), 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("the schema of table"), "{}", ended.stderr);
    assert_eq!(commits(&table), [kept], "no file of the former schema was committed");
}
