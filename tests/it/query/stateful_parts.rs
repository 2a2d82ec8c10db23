//! Batches that do not fit in memory and have a watermark: they are read in parts, which give together what one batch gives,
//! also if the stream is killed between them.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use crate::query::stateful::{Scene, WINDOWS, closing, progress};
use crate::rig::{Alluvia, Broker, Ended, Message};
use crate::scene::each;

const BOUND: Duration = Duration::from_secs(120);
/// Of each of two partitions; a part has 50,000 of both.
const EVENTS: u32 = 55_000;
/// So many events before the end of a partition, those of its beginning come again.
const REPEATED: u32 = 2_000;

fn event(partition: u32, id: u32, time: &str) -> Message {
    let event =
        format!(r#"{{"id":"p{partition}-{id}","device":"d{}","v":1,"ts":"2024-01-01T{time}Z"}}"#, id % 3);
    Message::new(event).partition(partition as i32)
}

/// The first events, from 12:00 to 12:05.
fn first() -> Vec<Message> {
    let time = |n: u32| format!("12:{:02}:{:02}", n * 3 / 60, n * 3 % 60);
    [0, 1]
        .iter()
        .flat_map(|&partition| (0..100).map(move |n| event(partition, 1_000_000 + n, &time(n))))
        .collect()
}

/// A backlog: at its beginning events that would make all others late, then times that go back, some to windows that the
/// first events have opened.
fn backlog(partition: u32) -> Vec<Message> {
    let all = (0..EVENTS).map(|n| match n {
        n if n >= EVENTS - REPEATED => event(partition, n - (EVENTS - REPEATED), "13:00:00"),
        n if n < EVENTS / 2 => event(partition, n, "13:00:00"),
        n if n % 500 == 0 => event(partition, n, "12:01:30"),
        n => event(partition, n, &format!("12:3{}:00", n % 10)),
    });
    all.collect()
}

fn yaml(scene: &Scene, limit: &str) -> String {
    let yaml = scene.yaml().replace(", maxOffsetsPerTrigger: 150", "");
    yaml.replace("    sink:", &format!("{limit}    sink:"))
}

fn run(yaml: &str, folder: &Path, failpoint: Option<(&str, u64)>) -> Ended {
    let arm = failpoint.map(|(name, hit)| format!("{name}=kill@{hit}"));
    let settings: Vec<(&str, &str)> = arm.iter().map(|arm| ("ALLUVIA_FAILPOINTS", arm.as_str())).collect();
    let ended = Alluvia::run_with(yaml, folder, &settings).wait(BOUND);
    let killed = ended.status.signal() == Some(libc::SIGKILL);
    assert_eq!(killed, arm.is_some(), "{arm:?}: {}\n{}", ended.status, ended.stderr);
    assert!(killed || ended.status.success(), "{}", ended.stderr);
    ended
}

/// Records and watermark of each micro-batch that read some.
fn batches(ended: &Ended) -> Vec<(u64, String)> {
    let all = progress(&ended.stderr);
    let read = all.iter().filter(|batch| batch["numInputRows"] != 0);
    read.map(|batch| {
        let watermark = batch["eventTime"]["watermark"].as_str().expect("a watermark").to_owned();
        (batch["numInputRows"].as_u64().expect("a number"), watermark)
    })
    .collect()
}

#[test]
fn the_parts_of_a_batch_share_its_watermark_and_give_its_rows() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::empty(broker, "parts", WINDOWS);
    broker.produce(&scene.topic, first());
    let kills = [
        None,
        Some(("plan.after", 1)),
        Some(("state.after", 1)),
        Some(("sink.after", 1)),
        Some(("state.committed", 2)),
        Some(("log.after", 1)),
        Some(("log.after", 2)),
        Some(("plan.after", 3)),
        Some(("sink.before", 3)),
    ];
    let folders: Vec<_> = kills.iter().map(|kill| (kill, tempfile::tempdir().unwrap())).collect();
    let unbroken = tempfile::tempdir().unwrap();
    // Killed before a batch without data can close windows: the backlog's batch finds a watermark that no batch has had.
    let started = |folder: &Path| drop(run(&yaml(&scene, ""), folder, Some(("log.after", 1))));
    started(unbroken.path());
    each(&folders, |(_, folder)| started(folder.path()));
    broker.produce(&scene.topic, closing());
    broker.produce(&scene.topic, (0..2).flat_map(backlog));

    let whole = batches(&run(&yaml(&scene, ""), unbroken.path(), None));
    let events = u64::from(2 * EVENTS) + 2;
    let epoch = "1970-01-01T00:00:00.000Z";
    assert_eq!(whole, [(events, "2024-01-01T12:03:57.000Z".to_owned())]);
    let expected = scene.rows(unbroken.path());
    let counts = expected.iter().map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap());
    let counted: i64 = counts.map(|row| row["n"].as_i64().unwrap()).sum();
    assert_eq!(counted, i64::from(2 * (EVENTS - REPEATED)) + 200, "each event once");

    let in_parts = yaml(&scene, "    memoryLimit: 32m\n");
    each(&folders, |(kill, folder)| {
        if kill.is_some() {
            run(&in_parts, folder.path(), **kill);
        }
        let parts = batches(&run(&in_parts, folder.path(), None));
        if kill.is_none() {
            let of = |watermark: &str| {
                let rows = parts.iter().filter(|part| part.1 == watermark).map(|part| part.0);
                rows.collect::<Vec<u64>>()
            };
            let (first, last) = (of(epoch), of("2024-01-01T12:03:57.000Z"));
            assert_eq!((first.len(), last.len(), parts.len()), (2, 1, 3), "{parts:?}");
            assert_eq!(first.iter().chain(&last).sum::<u64>(), events);
        }
        assert_eq!(scene.rows(folder.path()), expected, "after a kill at {kill:?}");
    });
}
