//! One stream, one owner, one checkpoint, one table: whatever breaks that is stopped by name, and
//! nothing is touched.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::rig::{Alluvia, Broker, Ended};
use crate::scene::{BOUND, Scene};

const UNAVAILABLE: i32 = 3;
const CORRUPT: i32 = 7;
const FENCED: i32 = 5;

/// Every file under `folder` but those of the lease, with its bytes.
pub fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.parent().unwrap().ends_with("alluvia/lease") && !path.ends_with("stream.yaml") {
                files.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

pub fn copy(from: &Path, to: &Path) {
    for (path, bytes) in tree(from) {
        let there = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(there.parent().unwrap()).unwrap();
        fs::write(there, bytes).unwrap();
    }
}

/// Runs a stream that must end with `code`, say all of `says`, and change no file.
pub fn refused(yaml: &str, folder: &Path, code: i32, says: &[&str]) -> String {
    let before = tree(folder);
    let ended = Alluvia::run_with(yaml, folder, &[("RUST_BACKTRACE", "1")]).wait(BOUND);
    assert_eq!(ended.code(), code, "{says:?}:\n{}", ended.stderr);
    let said = ended.stderr.lines().last().unwrap_or_default();
    for text in says {
        assert!(said.contains(text), "no `{text}` in: {said}");
    }
    let after = tree(folder);
    let changed: Vec<_> = after
        .iter()
        .filter(|(path, bytes)| before.get(*path) != Some(*bytes))
        .map(|(path, _)| path)
        .collect();
    let gone: Vec<_> = before.keys().filter(|path| !after.contains_key(*path)).collect();
    assert!(changed.is_empty() && gone.is_empty(), "{says:?}: changed {changed:?}, gone {gone:?}");
    ended.stderr
}

pub fn finished(yaml: &str, folder: &Path) -> Ended {
    Alluvia::run(yaml, folder).wait(BOUND).success()
}

#[test]
fn a_second_process_is_told_who_runs_the_stream_and_the_first_goes_on() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "second", 2, 10_000, 3_000);
    let folder = tempfile::tempdir().unwrap();
    let first = Alluvia::run(&scene.endless_yaml(), folder.path());
    first.wait_for("\"event\":\"progress\"", BOUND);
    for name in ["", "pod-1"] {
        let second =
            Alluvia::run_with(&scene.endless_yaml(), folder.path(), &[("ALLUVIA_OWNER", name)]).wait(BOUND);
        assert_eq!(second.code(), FENCED, "{}", second.stderr);
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let owner = format!("stream proof is run by process {} on {}", first.pid(), host.trim());
        assert!(second.stderr.contains(&owner), "{}", second.stderr);
        assert!(second.stderr.contains("--wait-for-lease"), "{}", second.stderr);
    }
    scene.produce(broker, 10_000);
    first.wait_for(&format!("\"endOffset\":{}", scene.end()), BOUND);
    first.terminate();
    first.wait(BOUND).success();
    scene.check(folder.path(), "the first owner");
}

#[test]
fn a_process_that_waits_for_the_lease_goes_on_when_the_owner_is_gone() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "waits", 2, 20_000, 1_000);
    let folder = tempfile::tempdir().unwrap();
    let owner = Alluvia::run(&scene.endless_yaml(), folder.path());
    owner.wait_for("\"event\":\"progress\"", BOUND);
    fs::write(folder.path().join("second.yaml"), scene.yaml()).unwrap();
    let arguments = ["run", "second.yaml", "--wait-for-lease"].map(OsStr::new);
    let mut waiting = Alluvia::start(arguments, folder.path(), &[]);
    waiting.wait_for("waiting for the lease of the owner of the stream to end", BOUND);
    assert!(!waiting.ended());
    owner.kill();
    waiting.wait(BOUND).success();
    scene.check(folder.path(), "the one that waited");
    // One that waits can be stopped.
    let owner = Alluvia::run(&scene.endless_yaml(), folder.path());
    scene.produce(broker, 10_000);
    owner.wait_for("\"event\":\"progress\"", BOUND);
    let waiting = Alluvia::start(arguments, folder.path(), &[]);
    waiting.wait_for("waiting for the lease of the owner of the stream to end", BOUND);
    waiting.terminate();
    let ended = waiting.wait(BOUND).success();
    assert!(ended.stderr.contains("stopped; no micro-batch was running"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("in the middle of"), "{}", ended.stderr);
}

#[test]
fn a_checkpoint_that_is_gone_under_a_running_stream_stops_it_at_once() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "gone", 2, 10_000, 3_000);
    let folder = tempfile::tempdir().unwrap();
    let running = Alluvia::run(&scene.endless_yaml(), folder.path());
    running.wait_for(&format!("\"endOffset\":{}", scene.end()), BOUND);
    fs::remove_dir_all(folder.path().join("checkpoint")).unwrap();
    let ended = running.wait(BOUND);
    assert_eq!(ended.code(), CORRUPT, "{}", ended.stderr);
    let said = ended.stderr.lines().last().unwrap_or_default();
    assert!(said.contains("/checkpoint is gone") && said.contains("checkpoint rebuild"), "{said}");
    assert!(!ended.stderr.contains("started again after a pause"), "{}", ended.stderr);
}

#[test]
fn two_streams_that_begin_on_one_checkpoint_at_once_do_not_share_it() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "shared", 2, 10_000, 3_000);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("one.yaml"), scene.yaml()).unwrap();
    let other = scene
        .yaml()
        .replace("name: proof", "name: other")
        .replace("./table", "./table2")
        .replace("./letters", "./letters2");
    fs::write(folder.path().join("two.yaml"), other).unwrap();
    let started = ["one.yaml", "two.yaml"].map(|file| Alluvia::start(["run", file], folder.path(), &[]));
    let codes = started.map(|program| program.wait(BOUND).code());
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert!(codes.iter().any(|code| [2, FENCED].contains(code)), "{codes:?}");
    let again =
        ["one.yaml", "two.yaml"].map(|file| Alluvia::start(["run", file], folder.path(), &[]).wait(BOUND));
    let loser = &again[usize::from(codes[0] == 0)];
    assert_eq!(loser.code(), 2, "{}", loser.stderr);
    assert!(loser.stderr.contains("belongs to stream"), "{}", loser.stderr);
}

#[test]
fn a_checkpoint_older_than_its_table_is_refused() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "backup", 2, 10_000, 5_000);
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("checkpoint");
    finished(&scene.yaml(), folder.path());
    let backup = tempfile::tempdir().unwrap();
    copy(&checkpoint, backup.path());
    scene.produce(broker, 20_000);
    finished(&scene.yaml(), folder.path());
    let newest = tempfile::tempdir().unwrap();
    copy(&checkpoint, newest.path());
    fs::remove_dir_all(&checkpoint).unwrap();
    copy(backup.path(), &checkpoint);
    refused(&scene.yaml(), folder.path(), CORRUPT, &["is older than table", "alluvia checkpoint rebuild"]);
    fs::remove_dir_all(&checkpoint).unwrap();
    copy(newest.path(), &checkpoint);
    finished(&scene.yaml(), folder.path());
    scene.check(folder.path(), "with the newest checkpoint back");
}

#[test]
fn a_copied_checkpoint_that_ran_elsewhere_stops_the_original() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "copied", 2, 10_000, 5_000);
    let folder = tempfile::tempdir().unwrap();
    finished(&scene.yaml(), folder.path());
    copy(&folder.path().join("checkpoint"), &folder.path().join("elsewhere"));
    scene.produce(broker, 10_000);
    finished(&scene.yaml().replace("./checkpoint", "./elsewhere"), folder.path());
    refused(&scene.yaml(), folder.path(), CORRUPT, &["is older than table", "nothing was changed"]);
    finished(&scene.yaml().replace("./checkpoint", "./elsewhere"), folder.path());
    scene.check(folder.path(), "by the copy");
}

#[test]
#[cfg(any(debug_assertions, feature = "failpoints"))]
fn a_batch_that_a_copied_checkpoint_ran_over_other_offsets_is_refused() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "branched", 2, 10_000, 100_000);
    let folder = tempfile::tempdir().unwrap();
    finished(&scene.yaml(), folder.path());
    copy(&folder.path().join("checkpoint"), &folder.path().join("elsewhere"));
    scene.produce(broker, 10_000);
    Alluvia::run_with(&scene.yaml(), folder.path(), &[("ALLUVIA_FAILPOINTS", "plan.after=kill")]).wait(BOUND);
    scene.produce(broker, 10_000);
    finished(&scene.yaml().replace("./checkpoint", "./elsewhere"), folder.path());
    refused(&scene.yaml(), folder.path(), CORRUPT, &["other offsets", "run only one copy"]);
    scene.check(folder.path(), "by the copy");
}

#[test]
fn a_table_that_was_replaced_or_removed_is_refused() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "swapped", 2, 10_000, 5_000);
    let folder = tempfile::tempdir().unwrap();
    finished(&scene.yaml(), folder.path());
    scene.produce(broker, 10_000);
    let (table, aside) = (folder.path().join("table"), folder.path().join("aside"));
    fs::rename(&table, &aside).unwrap();
    refused(&scene.yaml(), folder.path(), CORRUPT, &["is gone", "restore the table"]);
    // Another stream makes a table in its place.
    let other = scene.yaml().replace("name: proof", "name: other").replace("./checkpoint", "./other");
    finished(&other.replace("./letters", "./letters2"), folder.path());
    refused(&scene.yaml(), folder.path(), CORRUPT, &["was replaced", "new checkpointLocation"]);
    fs::remove_dir_all(&table).unwrap();
    fs::rename(&aside, &table).unwrap();
    finished(&scene.yaml(), folder.path());
    scene.check(folder.path(), "with the table back");
}

#[test]
fn a_damaged_delta_log_is_named_file_by_file_and_nothing_is_touched() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "damagedlog", 2, 10_000, 2_000);
    let folder = tempfile::tempdir().unwrap();
    // Without a checkpoint of the log every commit counts.
    let yaml = scene.yaml().replace("checkpointInterval: '2'", "checkpointInterval: '100'");
    finished(&yaml, folder.path());
    for table in ["table", "letters"] {
        for version in [0, 2] {
            let name = format!("_delta_log/{version:020}.json");
            let path = folder.path().join(table).join(&name);
            let whole = fs::read(&path).unwrap();
            for (harm, damage) in HARMS {
                match damage(&whole) {
                    None => fs::remove_file(&path).unwrap(),
                    Some(bytes) => fs::write(&path, bytes).unwrap(),
                }
                let says = [&name, &format!("/{table}/"), "restore the file from a backup"];
                // The kernel reads nothing in an empty commit.
                if (harm, version) != ("empty", 2) {
                    let said = refused(&yaml, folder.path(), CORRUPT, &says);
                    for noise in ["FileMeta", "Please report", "backtrace", "delta_kernel", "ERROR error"] {
                        assert!(!said.contains(noise), "{harm}: {noise} in {said}");
                    }
                }
                fs::write(&path, &whole).unwrap();
            }
        }
        // Without its head the log is whole to the kernel if protocol and metadata stand further on.
        let log = folder.path().join(table).join("_delta_log");
        let head = log.join(format!("{:020}.json", 0));
        let whole = fs::read_to_string(&head).unwrap();
        let newest = fs::read_dir(&log).unwrap().flatten().map(|file| file.path()).max().unwrap();
        let before = fs::read_to_string(&newest).unwrap();
        let both =
            whole.lines().filter(|line| line.contains("\"protocol\"") || line.contains("\"metaData\""));
        fs::write(&newest, format!("{before}\n{}\n", both.collect::<Vec<_>>().join("\n"))).unwrap();
        fs::remove_file(&head).unwrap();
        let name = format!("_delta_log/{:020}.json", 0);
        refused(
            &yaml,
            folder.path(),
            CORRUPT,
            &[&name, &format!("/{table}/"), "restore the file from a backup"],
        );
        fs::write(&head, &whole).unwrap();
        fs::write(&newest, before).unwrap();
    }
    finished(&yaml, folder.path());
    scene.check(folder.path(), "with the log restored");
}

/// What may become of a file.
const HARMS: [(&str, fn(&[u8]) -> Option<Vec<u8>>); 4] = [
    ("missing", |_| None),
    ("empty", |_| Some(Vec::new())),
    ("cut", |bytes| Some(bytes[..bytes.len() - 3].to_vec())),
    ("overwritten", |bytes| Some(vec![b'#'; bytes.len()])),
];

#[test]
fn a_damaged_or_missing_checkpoint_file_is_named_and_nothing_is_touched() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "damaged", 2, 20_000, 3_000);
    let folder = tempfile::tempdir().unwrap();
    finished(&scene.yaml(), folder.path());
    scene.produce(broker, 10_000);
    let checkpoint = folder.path().join("checkpoint");
    // What is said where the file itself can't be named: it is missing from a series.
    let files = [
        ("metadata", "metadata"),
        ("alluvia/stream.json", "alluvia/stream.json"),
        ("offsets/6", "lost entries of its offset log: micro-batch 6"),
        ("offsets/5", "offsets/5"),
        ("commits/6", "commits/6"),
    ];
    for (file, missing) in files {
        let path = checkpoint.join(file);
        let whole = fs::read(&path).unwrap_or_else(|e| panic!("{file}: {e}"));
        for (harm, damage) in HARMS {
            if (file, harm) == ("commits/6", "missing") {
                continue;
            }
            match damage(&whole) {
                None => fs::remove_file(&path).unwrap(),
                Some(bytes) => fs::write(&path, bytes).unwrap(),
            }
            let names = if harm == "missing" { missing } else { file };
            refused(
                &scene.yaml(),
                folder.path(),
                CORRUPT,
                &[names, "restore it from a backup"][..if names == file { 2 } else { 1 }],
            );
            fs::write(&path, &whole).unwrap();
        }
    }
    // The table says what this one said.
    fs::remove_file(checkpoint.join("commits/6")).unwrap();
    finished(&scene.yaml(), folder.path());
    scene.check(folder.path(), "after all damage was mended");
}

#[test]
#[cfg(any(debug_assertions, feature = "failpoints"))]
fn a_damaged_first_offset_is_named_while_it_is_needed() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "first", 2, 10_000, 3_000);
    let folder = tempfile::tempdir().unwrap();
    Alluvia::run_with(&scene.yaml(), folder.path(), &[("ALLUVIA_FAILPOINTS", "files.after=kill")])
        .wait(BOUND);
    let path = folder.path().join("checkpoint/sources/0/0");
    let whole = fs::read(&path).unwrap();
    for (_, damage) in HARMS {
        match damage(&whole) {
            None => fs::remove_file(&path).unwrap(),
            Some(bytes) => fs::write(&path, bytes).unwrap(),
        }
        refused(&scene.yaml(), folder.path(), CORRUPT, &["sources/0/0", "restore it from a backup"]);
        fs::write(&path, &whole).unwrap();
    }
    finished(&scene.yaml(), folder.path());
    scene.check(folder.path(), "with the first offsets back");
}

#[test]
fn a_checkpoint_that_cannot_be_written_to_stops_the_stream_by_name() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "readonly", 2, 10_000, 3_000);
    let no_restarts = "restart: { maxAttempts: 0 }\n    trigger:";
    let yaml = scene.yaml().replace("trigger:", no_restarts);
    // A file stands where a folder must be: not even root can write below it.
    for (file, names) in [
        ("checkpoint", "checkpoint"),
        ("checkpoint/alluvia", "alluvia"),
        ("checkpoint/offsets", "offsets/0"),
        ("checkpoint/commits", "commits/0"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        let ended = Alluvia::run(&yaml, folder.path()).wait(BOUND);
        assert!([2, 3].contains(&ended.code()), "{file}: {}\n{}", ended.status, ended.stderr);
        assert!(ended.stderr.contains(names), "{file}: no `{names}` in\n{}", ended.stderr);
        fs::remove_file(&path).unwrap();
        finished(&yaml, folder.path());
        scene.check(folder.path(), &format!("after {file} could be written to again"));
    }
}

#[test]
fn a_lease_folder_that_cannot_be_listed_for_a_while_is_not_called_gone() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "unlisted", 1, 10_000, 3_000);
    let folder = tempfile::tempdir().unwrap();
    let yaml = scene.yaml().replace("trigger:", "restart: { maxAttempts: 1, backoff: 20 ms }\n    trigger:");
    let disk = crate::rig::Disk::below(folder.path());
    let ended = disk.run(&yaml, "readdir /alluvia/lease/ io", &[]).wait(BOUND);
    assert_eq!(ended.code(), UNAVAILABLE, "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap_or_default();
    assert!(last.contains("alluvia/lease") && last.contains("Input/output error"), "{}", ended.stderr);
    scene.finish(folder.path(), "after the lease folder could be listed again");
}

#[test]
fn a_lease_asks_no_more_of_a_file_lock_than_nfs_gives() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "nfs", 1, 10_000, 3_000);
    let folder = tempfile::tempdir().unwrap();
    let disk = crate::rig::Disk::below(folder.path());
    let owner = disk.run(&scene.endless_yaml(), "flock /alluvia/lease/ nfs", &[]);
    owner.wait_for(r#"{"event":"progress""#, BOUND);
    // Whoever asks who the owner is needs a lock too.
    let second = crate::rig::Disk::below(folder.path());
    let second = second.run(&scene.endless_yaml(), "flock /alluvia/lease/ nfs", &[]).wait(BOUND);
    assert!(second.stderr.contains("is run by process"), "{}", second.stderr);
    owner.terminate();
    owner.wait(BOUND).success();
    scene.finish(folder.path(), "after a lease as on NFS");
}
