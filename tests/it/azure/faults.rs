//! What Azure may answer: a lost race in three ways, a lost answer, an overload, silence; and what a micro-batch costs.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::azure::lake::Lake;
use crate::rig::{Alluvia, Answer, Azurite, BlobProxy, Broker, Ended, Message, Scheme};
use crate::scene::{BOUND, Scene, each};
use crate::streams::ingest::w1_yaml;

fn rig() -> Option<(&'static Broker, &'static Azurite)> {
    Some((Broker::shared()?, Azurite::shared(Scheme::Http)?))
}

/// What a put-if-absent may be answered although it was done, or lost: kind, path, which of them, answer.
const ANSWERS: [(&str, &str, u64, Answer); 14] = [
    ("create", "/offsets/", 1, Answer::DoneAs(409)),
    ("create", "/offsets/", 2, Answer::DoneAs(412)),
    ("create", "/offsets/", 2, Answer::DoneAs(403)),
    ("create", "/offsets/", 2, Answer::DoneAndLost),
    ("create", "/offsets/", 2, Answer::Status(503)),
    ("create", "/commits/", 1, Answer::DoneAs(403)),
    ("create", "/table/_delta_log/", 2, Answer::DoneAs(409)),
    ("create", "/table/_delta_log/", 2, Answer::DoneAs(412)),
    ("create", "/table/_delta_log/", 2, Answer::DoneAs(403)),
    ("create", "/table/_delta_log/", 2, Answer::DoneAndLost),
    ("create", "/table/_delta_log/", 2, Answer::DoneAs(500)),
    ("create", ".parquet", 1, Answer::DoneAs(412)),
    ("create", "/letters/_delta_log/", 2, Answer::DoneAs(403)),
    ("lease", "", 4, Answer::DoneAndLost),
];

#[test]
fn whatever_a_put_if_absent_is_answered_the_object_that_is_there_decides() {
    let Some((broker, azurite)) = rig() else { return };
    let scene = Scene::new(broker, "azure-answers", 2, 10_000, 4_000);
    each(&ANSWERS, |(kind, path, hit, answer)| {
        let what = format!("{kind} {path} {hit}: {answer:?}");
        let proxy = BlobProxy::new(azurite);
        proxy.answer(kind, path, *hit, 1, *answer);
        let lake = Lake::new(azurite, "answers").through(&proxy);
        let folder = tempfile::tempdir().unwrap();
        let ended = lake.run(&lake.moved(&scene.yaml(), "main"), folder.path(), &[]).wait(BOUND);
        assert_eq!(ended.code(), 0, "{what}:\n{}", ended.stderr);
        lake.check(&scene, "main", &what);
    });
}

#[test]
fn a_store_that_goes_silent_is_noticed_and_the_stream_goes_on_when_it_answers_again() {
    let Some((broker, azurite)) = rig() else { return };
    let scene = Scene::new(broker, "azure-silent", 2, 10_000, 4_000);
    let proxy = BlobProxy::new(azurite);
    // One request of each kind is never answered: the client's own timeout sees it.
    for kind in ["create", "get", "list"] {
        proxy.answer(kind, "", 5, 1, Answer::Silence);
    }
    let lake = Lake::new(azurite, "silent").through(&proxy).option("timeout", "1 second");
    let folder = tempfile::tempdir().unwrap();
    lake.run(&lake.moved(&scene.yaml(), "main"), folder.path(), &[]).wait(BOUND).success();
    lake.check(&scene, "main", "three requests without an answer");
    // Nothing is answered at all, for longer than a request waits.
    let yaml = lake.moved(&scene.endless_yaml(), "main");
    let program = lake.run(&yaml, folder.path(), &[("ALLUVIA_LOG", "info,alluvia=debug")]);
    program.wait_for("decided what to do first", BOUND);
    proxy.dead(true);
    scene.produce(broker, 10_000);
    program.wait_for("started again after a pause", BOUND);
    proxy.dead(false);
    program.wait_for(&format!("\"endOffset\":{}", scene.end()), BOUND);
    program.terminate();
    assert_eq!(program.wait(BOUND).code(), 0);
    lake.check(&scene, "main", "a store that was silent");
}

#[test]
fn folders_that_a_hierarchical_namespace_lists_beside_the_blobs_are_no_files() {
    let Some((broker, azurite)) = rig() else { return };
    let scene = Scene::new(broker, "azure-folders", 2, 10_000, 2_000);
    let proxy = BlobProxy::new(azurite);
    let lake = Lake::new(azurite, "folders").through(&proxy);
    // The logs are listed by a start, by retention and by the cleanup of the table's log.
    for log in ["table/_delta_log", "letters/_delta_log", "checkpoint/offsets", "checkpoint/commits"] {
        proxy.name_folder(&lake.container, &format!("main/{log}/_sidecars"));
        proxy.name_folder(&lake.container, &format!("main/{log}/9"));
    }
    let yaml = lake.moved(&scene.yaml(), "main");
    let folder = tempfile::tempdir().unwrap();
    let arm = [("ALLUVIA_OWNER", "pod-0"), ("ALLUVIA_FAILPOINTS", "sink.after=kill@3")];
    let ended = lake.run(&yaml, folder.path(), &arm).wait(BOUND);
    assert!(ended.status.code().is_none(), "{}", ended.stderr);
    lake.finish(&scene, "main", "folders in listings");
    assert!(proxy.folders_named() >= 8, "{}", proxy.folders_named());
}

#[test]
fn a_file_of_several_parts_is_uploaded_whole_though_parts_of_it_fail() {
    let Some((broker, azurite)) = rig() else { return };
    let topic = broker.topic("azure-parts", 1);
    // Texts that do not compress: 24 MiB in one file.
    let text = |seed: u64| -> String {
        let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let next = |x: &mut u64| {
            *x ^= *x << 13;
            *x ^= *x >> 7;
            *x ^= *x << 17;
            char::from(b'!' + (*x % 90) as u8)
        };
        (0..16 * 1024).map(|_| next(&mut x)).filter(|c| !['"', '\\'].contains(c)).collect()
    };
    broker
        .produce(&topic, (0..1500).map(|n| Message::new(format!("{{\"n\":{n},\"t\":\"{}\"}}", text(n + 1)))));
    let proxy = BlobProxy::new(azurite);
    proxy.answer("part", "", 2, 1, Answer::Status(503));
    proxy.answer("part", "", 3, 1, Answer::DoneAndLost);
    proxy.answer("complete", "", 1, 1, Answer::DoneAs(500));
    let lake = Lake::new(azurite, "parts").through(&proxy);
    let yaml = format!(
        "streams:\n  - name: parts\n    source:\n      format: kafka\n      options: {{ kafka.bootstrap.servers: '{}', subscribe: '{topic}', startingOffsets: earliest }}\n      value: {{ format: json, schema: 'n INT, t STRING' }}\n    sink: {{ format: delta, path: ./table }}\n    trigger: availableNow\n    checkpointLocation: ./checkpoint\n    lanes: 1\n    memoryLimit: 32m\n",
        broker.bootstrap()
    );
    let folder = tempfile::tempdir().unwrap();
    lake.run(&lake.moved(&yaml, "main"), folder.path(), &[]).wait(BOUND).success();
    let counts = proxy.counts();
    assert!(counts["part"] >= 3 && counts["complete"] >= 2, "{counts:?}");
    assert_eq!(lake.digest("main", "table", &["n"]).distinct, 1500);
}

/// One micro-batch of a stream that has run for a while: the requests between two commits.
fn steady(yaml: &str, folder: &Path, run: impl Fn(&str, &Path, &[(&str, &str)]) -> Alluvia) -> Ended {
    // Each entry in the commit log tells the calls so far.
    run(yaml, folder, &[("ALLUVIA_STORE_FAULTS", "create commits/ * count")]).wait(BOUND).success()
}

/// The calls between the last two entries in the commit log, by kind.
fn calls_per_batch(ended: &Ended) -> BTreeMap<String, u64> {
    let told: Vec<Value> = (ended.stderr.lines())
        .filter(|line| line.contains("\"event\":\"store-counts\""))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [.., before, last] = &told[..] else { panic!("fewer than two batches: {}", ended.stderr) };
    let number = |told: &Value, kind: &str| told[kind].as_u64().unwrap();
    ["create", "put", "multipart", "part", "complete", "get", "list", "delete"]
        .into_iter()
        .map(|kind| (kind.to_owned(), number(last, kind) - number(before, kind)))
        .filter(|(_, calls)| *calls > 0)
        .collect()
}

#[test]
fn a_micro_batch_asks_azure_for_what_it_asks_a_disk_for_in_fewer_than_eight_round_trips() {
    let Some((broker, azurite)) = rig() else { return };
    let topic = broker.topic("azure-requests", 2);
    broker.produce(&topic, (0..6_000).map(|seq| Message::event(5, seq, 2)));
    let more = "    minBatchesToRetain: 100\n    lanes: 1\n";
    let yaml = w1_yaml(broker, &topic, ", maxOffsetsPerTrigger: 1000", more);
    let folder = tempfile::tempdir().unwrap();
    let local = steady(&yaml, folder.path(), Alluvia::run_with);
    let proxy = BlobProxy::new(azurite);
    proxy.delay(Duration::from_millis(20));
    let lake = Lake::new(azurite, "requests").through(&proxy);
    let folder = tempfile::tempdir().unwrap();
    let azure =
        steady(&lake.moved(&yaml, "main"), folder.path(), |yaml, folder, env| lake.run(yaml, folder, env));
    let (on_disk, in_azure) = (calls_per_batch(&local), calls_per_batch(&azure));
    assert_eq!(on_disk, in_azure, "calls of a micro-batch, disk against Azure");
    // What went over the wire between two entries in the commit log. Requests of one batch follow one another, so each is a
    // round trip at most.
    let seen = proxy.seen();
    let ends: Vec<usize> = (0..seen.len()).filter(|at| seen[*at].1.contains("/commits/")).collect();
    let [.., before, last] = ends[..] else { panic!("fewer than two batches: {seen:?}") };
    let batch = &seen[before + 1..=last];
    let kinds: Vec<&str> = batch.iter().map(|(kind, _)| *kind).collect();
    eprintln!("requests of a micro-batch: {kinds:?}");
    assert!(batch.len() < 8, "{batch:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "lease").count(), 1, "{batch:?}");
    let calls: u64 = in_azure.values().sum();
    assert_eq!(kinds.iter().filter(|kind| **kind != "lease").count() as u64, calls, "{batch:?}");
}
