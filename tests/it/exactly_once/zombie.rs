//! A process that is frozen at a step, replaced by another of the same name, and woken at a later step
//! of its successor: it must leave, and the successor must never notice more than a batch already done.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use alluvia::failpoint::NAMES;

use crate::rig::{Alluvia, Broker, Ended, until};
use crate::scene::{BOUND, Scene, each};

/// The exit code of an owner that was replaced.
const FENCED: i32 = 5;

/// Where the successor is when the zombie wakes, `None` when it has ended: every failpoint, and for a zombie that
/// sleeps inside one of its many small writes the main steps.
fn wakes(sleep: &str) -> Vec<Option<&'static str>> {
    let main = ["stream.opened", "plan.before", "plan.after", "files.after", "sink.after"];
    let steps = NAMES.into_iter().filter(|name| !sleep.starts_with("disk.") || main.contains(name));
    steps.map(Some).chain([None]).collect()
}

/// Where the zombie sleeps: at every failpoint, in its second batch where a batch has it.
fn sleeps() -> Vec<(&'static str, u64)> {
    let mut sleeps = Vec::new();
    for name in NAMES {
        match name {
            "lease.taken" | "logs.listed" | "table.looked" | "table.created" | "letters.created"
            | "metadata.written" | "serves.written" | "stream.opened" | "initial.written"
            | "maintenance.before" | "maintenance.after" | "columns.added" | "letters.withdrawn"
            | "repair.after" => sleeps.push((name, 1)),
            "disk.written" => sleeps.extend([1, 4, 8, 11, 14, 17, 20, 24].map(|hit| (name, hit))),
            "disk.placed" | "disk.after" => sleeps.extend([9, 13, 16].map(|hit| (name, hit))),
            _ => sleeps.push((name, 2)),
        }
    }
    sleeps
}

/// A process of the owner `pod-0` that runs until `at`.
pub fn started(yaml: &str, folder: &Path, at: Option<(&str, u64)>) -> Alluvia {
    let arm = at.map_or(String::new(), |(name, hit)| format!("{name}=stop@{hit}"));
    Alluvia::run_with(yaml, folder, &[("ALLUVIA_OWNER", "pod-0"), ("ALLUVIA_FAILPOINTS", &arm)])
}

/// Waits until the process sleeps; panics with its words if it ends instead.
pub fn asleep(program: &mut Alluvia, what: &str) {
    assert!(sleeps_or_ends(program, what), "{what}: it ended instead of sleeping:\n{}", program.stderr());
}

/// Waits until the process sleeps (true) or has ended.
pub fn sleeps_or_ends(program: &mut Alluvia, what: &str) -> bool {
    until(&format!("{what}: a process that sleeps or ends"), BOUND, || {
        if program.ended() {
            return Some(false);
        }
        let stat = fs::read_to_string(format!("/proc/{}/stat", program.pid())).ok()?;
        let state = stat.rsplit_once(") ")?.1;
        state.starts_with('T').then_some(true)
    })
}

/// A zombie leaves as one that was replaced, or had nothing left to do.
pub fn left(zombie: Ended, what: &str) {
    match zombie.code() {
        0 => {}
        FENCED => {
            assert!(zombie.stderr.contains("another process took over stream "), "{what}: {}", zombie.stderr)
        }
        other => panic!("{what}: the zombie ended with {other}:\n{}", zombie.stderr),
    }
}

/// Runs pairs of a zombie that sleeps at a step and its successor that is at another when the zombie wakes.
fn zombies_and_successors(cases: &[((&str, u64), Option<&str>)]) {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "zombie", 3, 20_000, 3_000);
    let (start, awake) = (Instant::now(), AtomicUsize::new(0));
    let count = each(cases, |((name, hit), wake)| {
        let what = format!("zombie at {name}@{hit}, successor at {}", wake.unwrap_or("its end"));
        let folder = tempfile::tempdir().unwrap();
        scene.prepare(folder.path(), name);
        let mut zombie = started(&scene.yaml(), folder.path(), Some((name, *hit)));
        asleep(&mut zombie, &what);
        let mut successor = started(&scene.yaml(), folder.path(), wake.map(|at| (at, 1)));
        // It has nothing left to do at a step that its predecessor has done for good.
        let sleeping = sleeps_or_ends(&mut successor, &what);
        zombie.resume();
        let zombie = zombie.wait(BOUND);
        if sleeping {
            awake.fetch_add(1, Ordering::Relaxed);
            successor.resume();
        }
        let successor = successor.wait(BOUND);
        assert_eq!(successor.code(), 0, "{what}: the successor was stopped:\n{}", successor.stderr);
        left(zombie, &what);
        scene.check(folder.path(), &what);
    });
    let awake = awake.into_inner();
    assert!(awake * 10 > count * 7, "the successor was at work in {awake} of {count} pairs only");
    eprintln!("{count} pairs of zombie and successor, {awake} with both at work, in {:?}", start.elapsed());
}

#[test]
fn a_woken_zombie_changes_nothing_and_its_successor_does_not_stop() {
    // Every step of a zombie once, with one of the steps of its successor; eleven goes round all of them.
    let one_wake = |(n, sleep): (usize, (&'static str, u64))| {
        let wakes = wakes(sleep.0);
        (sleep, wakes[(11 * n + 4) % wakes.len()])
    };
    let cases: Vec<_> = sleeps().into_iter().enumerate().map(one_wake).collect();
    zombies_and_successors(&cases);
}

#[test]
#[ignore = "minutes long: make soak"]
fn soak_of_every_step_of_a_zombie_with_every_step_of_its_successor() {
    let pairs = |sleep: (&'static str, u64)| wakes(sleep.0).into_iter().map(move |wake| (sleep, wake));
    let cases: Vec<_> = sleeps().into_iter().flat_map(pairs).collect();
    zombies_and_successors(&cases);
}

#[test]
fn a_replaced_owner_leaves_even_when_it_has_nothing_to_do() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "idle", 1, 10_000, 20_000);
    let folder = tempfile::tempdir().unwrap();
    let owner = started(&scene.endless_yaml(), folder.path(), None);
    owner.wait_for(&ends_at(&scene), BOUND);
    let successor = started(&scene.endless_yaml(), folder.path(), None);
    left(owner.wait(BOUND), "an idle owner");
    successor.terminate();
    assert_eq!(successor.wait(BOUND).code(), 0);
    scene.check(folder.path(), "two idle owners");
}

#[test]
fn both_awake_a_replaced_owner_leaves_and_the_new_one_goes_on() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "replaced", 3, 10_000, 500);
    let folder = tempfile::tempdir().unwrap();
    let mut owner = started(&scene.endless_yaml(), folder.path(), None);
    for _ in 0..6 {
        owner.wait_for("\"event\":\"progress\"", BOUND);
        let successor = started(&scene.endless_yaml(), folder.path(), None);
        let replaced = owner.wait(BOUND);
        assert_eq!(replaced.code(), FENCED, "{}", replaced.stderr);
        scene.produce(broker, 10_000);
        owner = successor;
    }
    owner.wait_for(&ends_at(&scene), BOUND);
    owner.terminate();
    assert_eq!(owner.wait(BOUND).code(), 0);
    scene.check(folder.path(), "six owners in a row");
}

/// What the progress of the batch says that takes the last message.
fn ends_at(scene: &Scene) -> String {
    format!("\"endOffset\":{}", scene.end())
}

#[test]
fn a_replaced_owner_whose_stream_fails_does_not_take_the_lease_back() {
    let Some(mut broker) = Broker::private() else { return };
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::new(&broker, "retried", 3, 20_000, 3_000);
    let yaml =
        scene.yaml().replace("trigger:", "restart: { maxAttempts: 20, backoff: 200 ms }\n    trigger:");
    let mut zombie = started(&yaml, folder.path(), Some(("log.after", 2)));
    asleep(&mut zombie, "zombie");
    let mut successor = started(&yaml, folder.path(), Some(("plan.after", 1)));
    asleep(&mut successor, "successor");
    broker.kill();
    zombie.resume();
    let ended = zombie.wait(BOUND);
    assert_eq!(ended.code(), FENCED, "{}", ended.stderr);
    broker.start();
    successor.resume();
    let successor = successor.wait(BOUND);
    assert_eq!(successor.code(), 0, "{}", successor.stderr);
    scene.check(folder.path(), "a zombie that failed");
}

#[test]
fn a_successor_that_is_frozen_in_turn_is_replaced_in_turn() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "chain", 3, 20_000, 3_000);
    let steps = ["plan.after", "files.after", "letters.before", "sink.before", "sink.after"];
    let folder = tempfile::tempdir().unwrap();
    let mut zombies: Vec<Alluvia> = Vec::new();
    for step in steps {
        let mut process = started(&scene.yaml(), folder.path(), Some((step, 1)));
        asleep(&mut process, step);
        zombies.push(process);
    }
    let end = started(&scene.yaml(), folder.path(), None);
    std::thread::sleep(Duration::from_millis(100));
    zombies.iter().for_each(Alluvia::resume);
    assert_eq!(end.wait(BOUND).code(), 0);
    for (zombie, step) in zombies.into_iter().zip(steps) {
        left(zombie.wait(BOUND), step);
    }
    scene.check(folder.path(), "five zombies woken at once");
}
