//! Durable means durable: what the program really asked of the disk, seen between it and the kernel (`rig::disk`).

use std::path::Path;
use std::time::Duration;

use crate::exactly_once::storage_faults::letters_yaml;
use crate::rig::{Broker, Disk, Message, delta_digest};
use crate::streams::ingest::{COLUMNS, expected, w1_yaml};

const BOUND: Duration = Duration::from_secs(90);

/// What one run asked of the disk.
struct Calls(Vec<String>);

impl Calls {
    fn of(disk: &Disk) -> Calls {
        Calls(disk.calls())
    }

    /// Where a call is for the first time from `start` on.
    fn find(&self, call: &str, start: usize) -> Option<usize> {
        (start..self.0.len()).find(|&at| self.0[at] == call)
    }

    /// The places of the calls that begin so, with what follows.
    fn all<'a>(&'a self, call: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
        self.0.iter().enumerate().filter_map(move |(at, line)| Some((at, line.strip_prefix(call)?)))
    }

    /// Every file that got its name: where, the name it was written under, its name. A lease is no document:
    /// after a power cut nobody holds one.
    fn named(&self) -> Vec<(usize, &str, &str)> {
        let names = self.all("link ").chain(self.all("rename "));
        let mut named: Vec<_> = names
            .map(|(at, pair)| pair.split_once(' ').map(|(from, to)| (at, from, to)).unwrap())
            .filter(|(_, _, to)| !to.contains("alluvia/lease/"))
            .collect();
        named.sort_unstable();
        named
    }

    /// When a file was safe: its folder's flush after it got its name.
    fn safe_at(&self, name: &str) -> usize {
        let (named, ..) = *self.named().iter().find(|(_, _, to)| *to == name).unwrap_or_else(|| {
            panic!("{name} never got its name:\n{}", self.0.join("\n"));
        });
        self.find(&format!("fsync {}", folder_of(name)), named).unwrap_or_else(|| {
            panic!("the folder of {name} was never flushed after it:\n{}", self.0.join("\n"))
        })
    }

    fn begun_at(&self, name: &str) -> usize {
        let first = self.all("create ").find(|(_, path)| path.starts_with(name));
        first.unwrap_or_else(|| panic!("{name} was never begun")).0
    }

    /// Of each file: all its data, its flush, its name, its folder's flush. Of each folder: its parent's flush before any
    /// file in it is safe.
    fn check_each_file(&self) {
        let named = self.named();
        assert!(named.len() > 5, "{}", self.0.join("\n"));
        for (at, staged, name) in named {
            let flushed = self.all("fsync ").filter(|(when, path)| *when < at && *path == staged).last();
            let (flushed, _) = flushed.unwrap_or_else(|| panic!("{name} has its name and was not flushed"));
            let written = self.all("write ").filter(|(_, path)| *path == staged).last();
            let (written, _) = written.unwrap_or_else(|| panic!("{name} was never written"));
            assert!(written < flushed, "{name} was written to after its flush");
            self.safe_at(name);
        }
        for (made, folder) in self.all("mkdir ").filter(|(_, path)| !path.ends_with("/lease")) {
            let parent = folder_of(folder);
            let flushed = self
                .find(&format!("fsync {parent}"), made)
                .unwrap_or_else(|| panic!("{parent} was not flushed after {folder}"));
            let below = format!("{folder}/");
            let first = self
                .named()
                .iter()
                .filter(|(_, _, name)| name.starts_with(&below))
                .map(|(_, _, name)| self.safe_at(name))
                .min();
            assert!(first.is_none_or(|safe| flushed < safe), "{folder} was not safe before a file in it");
        }
    }
}

/// The folder of a path, as the log has it.
fn folder_of(path: &str) -> String {
    path.rsplit_once('/').map_or_else(|| "./".to_owned(), |(folder, _)| format!("{folder}/"))
}

#[test]
fn every_file_is_flushed_then_named_then_its_folder_flushed_and_each_step_before_the_next_begins() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("flushes", 1);
    let text = |n: i64| if n % 3 == 0 { format!("no JSON {n}") } else { format!("{{\"n\":{n}}}") };
    broker.produce(&topic, (0..90).map(|n| Message::new(text(n))));
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::below(folder.path());
    disk.run(&letters_yaml(broker, &topic), "", &[]).wait(BOUND).success();
    let calls = Calls::of(&disk);
    calls.check_each_file();
    let mut before: Option<Vec<String>> = Some(vec!["checkpoint/sources/0/0".into()]);
    let parts: Vec<&str> =
        calls.named().iter().map(|(_, _, to)| *to).filter(|to| to.contains("part-")).collect();
    assert_eq!(parts.len(), 6, "{parts:?}");
    for batch in 0..3 {
        let steps: [Vec<String>; 5] = [
            vec![format!("checkpoint/offsets/{batch}")],
            // Rows and dead letters, in the order in which they got their names.
            parts[2 * batch..2 * batch + 2].iter().map(ToString::to_string).collect(),
            vec![format!("dead/_delta_log/{:020}.json", batch + 1)],
            vec![format!("table/_delta_log/{:020}.json", batch + 1)],
            vec![format!("checkpoint/commits/{batch}")],
        ];
        for step in steps {
            let begun = step.iter().map(|file| calls.begun_at(file)).min().unwrap();
            for earlier in before.replace(step.clone()).unwrap() {
                assert!(calls.safe_at(&earlier) < begun, "{step:?} was begun before {earlier} was safe");
            }
        }
    }
}

#[test]
fn a_file_that_is_uploaded_in_parts_is_flushed_whole_before_it_has_its_name() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("flushed-parts", 1);
    broker.produce(&topic, (0..150_000).map(|seq| Message::event(6, seq, 1)));
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::below(folder.path());
    let yaml = w1_yaml(broker, &topic, "", "    lanes: 1\n    memoryLimit: 32m\n");
    disk.run(&yaml, "", &[]).wait(BOUND).success();
    let calls = Calls::of(&disk);
    calls.check_each_file();
    let part =
        calls.named().iter().find(|(_, _, to)| to.contains("part-")).map(|(_, staged, _)| *staged).unwrap();
    assert!(calls.all("write ").filter(|(_, path)| *path == part).count() > 1, "it was written in one part");
}

fn is_exact(folder: &Path, topic: &str, events: u64) -> bool {
    delta_digest(&folder.join("table"), &COLUMNS).same_rows(&expected(topic, 5, events, 1))
}

#[test]
fn a_flush_that_fails_is_an_error_whoever_finds_the_file_there() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("no-flush", 1);
    let restart = "    restart: { maxAttempts: 2, backoff: 20 ms }\n";
    let yaml = w1_yaml(broker, &topic, "", restart);
    let mut events = 0;
    // What fails, and what must then not be there: the step after it.
    for (fails, next) in [
        ("fsync /offsets/$ io", "table/part-"),
        ("fsync /offsets/$ io; fsync /commits/$ io; fsync /_delta_log/$ io", "table/part-"),
        ("fsync /table/$ io", "table/_delta_log/"),
        ("fsync /_delta_log/$ io", "checkpoint/commits/"),
        ("fsync /commits/$ io", "checkpoint/offsets/"),
        ("fsync /offsets/ io", "table/part-"),
        ("fsync part- io", "table/_delta_log/"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::below(folder.path());
        broker.produce(&topic, (events..events + 100).map(|seq| Message::event(5, seq, 1)));
        events += 100;
        disk.run(&yaml, "", &[]).wait(BOUND).success();
        broker.produce(&topic, (events..events + 100).map(|seq| Message::event(5, seq, 1)));
        events += 100;
        let two =
            yaml.replace("startingOffsets: earliest", "startingOffsets: earliest, maxOffsetsPerTrigger: 50");
        let ended = disk.run(&two, fails, &[]).wait(BOUND);
        assert_eq!(ended.code(), 3, "{fails}: {}\n{}", ended.stderr, disk.calls().join("\n"));
        let calls = Calls::of(&disk);
        assert!(calls.all("fault ").count() > 0, "{fails}: never happened");
        let made: Vec<&str> =
            calls.named().iter().map(|(_, _, to)| *to).filter(|to| to.starts_with(next)).collect();
        assert!(
            made.is_empty(),
            "{fails}: {made:?} came after a step that was not durable\n{}",
            calls.0.join("\n")
        );
        disk.run(&yaml, "", &[]).wait(BOUND).success();
        assert!(is_exact(folder.path(), &topic, events), "{fails}");
    }
}

#[test]
fn what_a_killed_process_had_named_and_not_flushed_is_flushed_before_anything_rests_on_it() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("unflushed", 1);
    broker.produce(&topic, (0..200).map(|seq| Message::event(5, seq, 1)));
    let yaml = w1_yaml(broker, &topic, ", maxOffsetsPerTrigger: 100", "");
    let (mut hit, mut documents) = (1, Vec::new());
    loop {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::below(folder.path());
        let kill = format!("disk.placed=kill@{hit}");
        hit += 1;
        let killed = disk.run(&yaml, "", &[("ALLUVIA_FAILPOINTS", &kill)]).wait(BOUND);
        if killed.status.success() {
            break;
        }
        let calls = Calls::of(&disk);
        let (_, _, last) = *calls.named().last().unwrap();
        let last = last.to_owned();
        disk.run(&yaml, "", &[]).wait(BOUND).success();
        assert!(is_exact(folder.path(), &topic, 200), "killed after {last}");
        if last.contains("part-") || last.contains("probe") {
            continue;
        }
        let calls = Calls::of(&disk);
        let named = calls.named();
        let (first, _, rests) =
            *named.iter().find(|(_, _, to)| !to.contains("probe")).unwrap_or(&(usize::MAX, "", "the end"));
        for call in [format!("fsync {last}"), format!("fsync {}", folder_of(&last))] {
            let flushed = calls.find(&call, 0);
            assert!(
                flushed.is_some_and(|at| at < first),
                "no `{call}` before {rests}\n{}",
                calls.0.join("\n")
            );
        }
        documents.push(last);
    }
    for needed in [
        "metadata",
        "stream.json",
        "sources/0/0",
        "offsets/0",
        "offsets/1",
        "0.json",
        "2.json",
        "commits/0",
        "commits/1",
    ] {
        assert!(
            documents.iter().any(|name| name.ends_with(needed)),
            "never killed at {needed}: {documents:?}"
        );
    }
}

#[test]
fn folders_that_were_made_and_not_flushed_are_flushed_before_a_file_in_them_counts() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("unflushed-folders", 1);
    broker.produce(&topic, (0..100).map(|seq| Message::event(5, seq, 1)));
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::below(folder.path());
    for made in [
        "checkpoint/offsets",
        "checkpoint/commits",
        "checkpoint/sources/0",
        "checkpoint/alluvia",
        "table/_delta_log",
    ] {
        std::fs::create_dir_all(folder.path().join(made)).unwrap();
    }
    disk.run(&w1_yaml(broker, &topic, "", ""), "", &[]).wait(BOUND).success();
    let calls = Calls::of(&disk);
    for (parent, file) in [
        ("checkpoint/", "checkpoint/offsets/0"),
        ("checkpoint/", "checkpoint/sources/0/0"),
        ("checkpoint/sources/", "checkpoint/sources/0/0"),
        ("table/", "table/_delta_log/00000000000000000000.json"),
        ("./", "checkpoint/metadata"),
    ] {
        let flushed = calls.find(&format!("fsync {parent}"), 0);
        assert!(
            flushed.is_some_and(|at| at < calls.safe_at(file)),
            "{parent} before {file}:\n{}",
            calls.0.join("\n")
        );
    }
}
