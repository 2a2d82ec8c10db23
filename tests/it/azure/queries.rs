//! Merges and queries that keep state, with everything in Azure over a slow and failing store: killed at their own steps and at those
//! of the sink, twice in a row, with the local disk lost in half of the restarts.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::sync::Mutex;

use alluvia::failpoint::INDEX_SNAPSHOT_NAMES;

use crate::azure::lake::Lake;
use crate::merge::duplicates::Duplicates;
use crate::merge::upsert::{Changes, DAYS, VECTORS};
use crate::query::stateful::{self, DISTINCT, WINDOWS};
use crate::rig::{Azurite, BlobProxy, Broker, Scheme};
use crate::scene::{BOUND, draw, each, seed};

const POD: (&str, &str) = ("ALLUVIA_OWNER", "pod-0");
/// The folder of the local copies, of an index or of a state, in the folder of a run.
const COPIES: &str = "copies";

fn rig() -> Option<(&'static Broker, &'static Azurite)> {
    Some((Broker::shared()?, Azurite::shared(Scheme::Http)?))
}

/// A failpoint, the hit at which it kills first, and which of a test's streams is killed.
type Case = (&'static str, u64, usize);

/// Kills a stream of each case at its failpoint and once more at its first hit, with or without the local copies after each kill;
/// runs it to its end, then has `check` look at what is in its folder of the container. Every failpoint must be reached.
fn killed_at_each(
    lake: &Lake,
    cases: &[Case],
    yaml: impl Fn(usize) -> String + Sync,
    check: impl Fn(&str, usize, &str) + Sync,
) {
    let seed = seed("copies that are lost");
    let reached = Mutex::new(BTreeSet::new());
    let numbered: Vec<(u64, &Case)> = (0..).zip(cases).collect();
    each(&numbered, |(number, (name, hit, stream))| {
        let folder = tempfile::tempdir().unwrap();
        let at = format!("{name}-{hit}-{stream}");
        let yaml = lake.moved(&yaml(*stream), &at);
        let mut said = Vec::new();
        // A snapshot of an index is made where one is built of files: by a start whose disk is lost.
        let of_snapshot = INDEX_SNAPSHOT_NAMES.contains(name);
        let first = if of_snapshot { "log.after" } else { name };
        for (kill, arm) in [format!("{first}=kill@{hit}"), format!("{name}=kill@1")].iter().enumerate() {
            let ended = lake.run(&yaml, folder.path(), &[POD, ("ALLUVIA_FAILPOINTS", arm)]).wait(BOUND);
            let by_signal = ended.status.signal() == Some(libc::SIGKILL);
            assert!(by_signal || ended.status.success(), "{arm}: {}\n{}", ended.status, ended.stderr);
            if by_signal && arm.starts_with(*name) {
                reached.lock().unwrap().insert(*name);
            }
            let lost = of_snapshot || draw(seed, number * 2 + kill as u64, 2) == 0;
            if lost {
                let _ = fs::remove_dir_all(folder.path().join(COPIES));
            }
            let what = if by_signal { "killed by" } else { "to the end, without" };
            said.push(format!("{what} {arm}{}", if lost { ", copy lost" } else { "" }));
        }
        let what = format!("seed {seed}, stream {stream}, {}", said.join(", "));
        let ended = lake.run(&yaml, folder.path(), &[POD]).wait(BOUND);
        assert_eq!(ended.code(), 0, "{what}: {}", ended.stderr);
        check(&at, *stream, &what);
    });
    let reached = reached.into_inner().unwrap();
    let missed: Vec<_> =
        cases.iter().map(|(name, ..)| name).filter(|name| !reached.contains(*name)).collect();
    assert!(missed.is_empty(), "never reached: {missed:?}");
}

#[test]
fn a_merge_in_a_slow_and_failing_azure_gives_one_row_each_whatever_is_killed_or_lost() {
    let Some((broker, azurite)) = rig() else { return };
    let events = Duplicates::new(broker, "azure-merges");
    events.produce(4_000);
    let proxy = BlobProxy::slow_and_failing(azurite);
    let lake = Lake::new(azurite, "merges").through(&proxy);
    let cases = [
        ("merge.run", 2, 0),
        ("merge.indexed", 2, 0),
        ("merge.files", 1, 0),
        ("merge.committed", 2, 0),
        ("merge.uploaded", 1, 0),
        ("merge.snapshot", 1, 0),
        ("plan.after", 2, 0),
        ("files.after", 2, 0),
        ("sink.after", 2, 0),
        ("log.after", 3, 0),
    ];
    killed_at_each(
        &lake,
        &cases,
        |_| events.yaml(&format!(", indexFolder: ./{COPIES}")),
        |at, _, what| events.check_by(what, |columns| lake.digest(at, "table", columns)),
    );
}

#[test]
fn an_upsert_in_a_slow_and_failing_azure_leaves_each_key_once_and_spark_reads_its_deletion_vectors() {
    let Some((broker, azurite)) = rig() else { return };
    let changes = Changes::new(broker, "azure-upserts", 500);
    changes.produce(2_400);
    let proxy = BlobProxy::slow_and_failing(azurite);
    let lake = Lake::new(azurite, "upserts").through(&proxy);
    let tables = ["", DAYS, VECTORS];
    let cases = [
        ("merge.matched", 1, 0),
        ("merge.matched", 2, 2),
        ("merge.copied", 2, 1),
        ("merge.vectors", 1, 2),
        ("merge.files", 2, 1),
        ("merge.committed", 2, 2),
        ("merge.snapshot", 1, 0),
        ("sink.before", 2, 2),
        ("sink.after", 3, 0),
        ("log.after", 2, 1),
    ];
    let folder = format!("whenMatched: update, indexFolder: ./{COPIES}");
    killed_at_each(
        &lake,
        &cases,
        |table| changes.yaml(tables[table]).replace("whenMatched: update", &folder),
        |at, table, what| {
            if tables[table] == VECTORS {
                changes.check_by_spark(&azurite.spark_table(&lake.url(at, "table")), what);
            } else {
                changes.check_by(what, |columns| lake.digest(at, "table", columns));
            }
        },
    );
}

#[test]
fn a_query_with_state_in_a_slow_and_failing_azure_gives_the_rows_of_an_unbroken_run() {
    let Some((broker, azurite)) = rig() else { return };
    let queries = [("azure-windows", WINDOWS), ("azure-distinct", DISTINCT)];
    let scenes = queries.map(|(hint, query)| stateful::Scene::new(broker, hint, query));
    let calm = Lake::new(azurite, "states-unbroken");
    let proxy = BlobProxy::slow_and_failing(azurite);
    let lake = Lake::new(azurite, "states").through(&proxy);
    let yaml = |scene: usize, batch: &str| {
        let yaml = scenes[scene].yaml().replace("maxOffsetsPerTrigger: 150", batch);
        format!("{yaml}    stateFolder: ./{COPIES}\n")
    };
    let rows = |lake: &Lake, at: &str, scene: usize| {
        scenes[scene].rows_by(|columns| azurite.delta_rows(&lake.url(at, "table"), columns))
    };
    let unbroken = [0, 1].map(|scene| {
        let (folder, at) = (tempfile::tempdir().unwrap(), format!("unbroken-{scene}"));
        let yaml = calm.moved(&yaml(scene, "maxOffsetsPerTrigger: 150"), &at);
        calm.run(&yaml, folder.path(), &[]).wait(BOUND).success();
        rows(&calm, &at, scene)
    });
    assert!(unbroken.iter().all(|rows| rows.len() > 50), "{unbroken:?}");
    let cases = [
        ("state.before", 2, 0),
        ("state.after", 2, 0),
        ("state.after", 3, 1),
        ("state.committed", 2, 0),
        ("state.committed", 1, 1),
        ("cache.before", 1, 1),
        ("cache.after", 1, 0),
        ("plan.after", 2, 1),
        ("files.after", 3, 0),
        ("sink.before", 2, 1),
        ("sink.after", 2, 0),
        ("log.after", 3, 1),
        // A snapshot is made after some 60 batches: these streams have small ones.
        ("snapshot.some", 1, 2),
        ("snapshot.before", 1, 2),
        ("snapshot.after", 1, 2),
    ];
    killed_at_each(
        &lake,
        &cases,
        |stream| {
            yaml(
                stream % 2,
                if stream == 2 { "maxOffsetsPerTrigger: 11" } else { "maxOffsetsPerTrigger: 150" },
            )
        },
        |at, stream, what| assert_eq!(rows(&lake, at, stream % 2), unbroken[stream % 2], "{what}"),
    );
}
