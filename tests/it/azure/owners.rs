//! Who runs a stream whose checkpoint is in Azure: the lease of a blob, its takeover, its loss, its end; and kills.

use std::path::Path;
use std::time::{Duration, Instant};

use alluvia::failpoint::NAMES;

use crate::azure::lake::Lake;
use crate::exactly_once::zombie::{asleep, left};
use crate::rig::{Alluvia, Answer, Azurite, BlobProxy, Broker, Scheme, until};
use crate::scene::{BOUND, Scene, draw, each, seed};

const POD: (&str, &str) = ("ALLUVIA_OWNER", "pod-0");

fn rig() -> Option<(&'static Broker, &'static Azurite)> {
    Some((Broker::shared()?, Azurite::shared(Scheme::Http)?))
}

/// Runs the stream in `at` until failpoint `name` kills or stops it at this hit.
fn armed(lake: &Lake, yaml: &str, folder: &Path, arm: &str) -> Alluvia {
    lake.run(yaml, folder, &[POD, ("ALLUVIA_FAILPOINTS", arm)])
}

/// The failpoints that a stream comes by whose files are all in Azure.
fn names() -> Vec<&'static str> {
    let elsewhere = ["columns.added", "letters.withdrawn", "repair.after"];
    NAMES.into_iter().filter(|name| !name.starts_with("disk.") && !elsewhere.contains(name)).collect()
}

#[test]
fn a_kill_at_any_step_with_everything_in_azure_loses_nothing_and_doubles_nothing() {
    let Some((broker, azurite)) = rig() else { return };
    let scene = Scene::new(broker, "azure-crash", 3, 10_000, 3_000);
    let lake = Lake::new(azurite, "crash");
    // One of each kind of step; the others, and several in a row, are the next test's and the soak's.
    let cases = [
        ("lease.taken", 1),
        ("table.created", 1),
        ("letters.created", 1),
        ("serves.written", 1),
        ("plan.before", 1),
        ("plan.after", 2),
        ("files.after", 1),
        ("letters.after", 2),
        ("sink.before", 1),
        ("sink.after", 2),
        ("log.after", 1),
        ("retention.some", 1),
        ("maintenance.after", 1),
    ];
    each(&cases, |(name, hit)| {
        let (folder, at) = (tempfile::tempdir().unwrap(), format!("{name}-{hit}"));
        let yaml = lake.moved(&scene.yaml(), &at);
        let ended = armed(&lake, &yaml, folder.path(), &format!("{name}=kill@{hit}")).wait(BOUND);
        assert!(ended.status.code().is_none(), "{name}@{hit} was never reached: {}", ended.stderr);
        lake.finish(&scene, &at, &format!("kill at {name}@{hit}"));
    });
}

/// Kills in a row at seeded failpoints, three streams at once; `make soak` goes on for its minutes.
fn kills_in_a_row(rounds: u64, until: Option<Instant>, seed: u64) -> u64 {
    let Some((broker, azurite)) = rig() else { return 0 };
    let scene = Scene::new(broker, "azure-crashes", 3, 10_000, 1_500);
    let proxy = BlobProxy::slow_and_failing(azurite);
    let lake = Lake::new(azurite, "crashes").through(&proxy);
    let names = names();
    let mut done = 0;
    loop {
        let batch: Vec<u64> = (done..done + 3).collect();
        each(&batch, |round| {
            let (folder, at) = (tempfile::tempdir().unwrap(), format!("round-{round}"));
            let yaml = lake.moved(&scene.yaml(), &at);
            let mut said = Vec::new();
            for kill in 0..2 + draw(seed, *round, 3) {
                let place = round * 100 + kill * 2 + 10;
                let name = names[draw(seed, place, names.len() as u64) as usize];
                let arm = format!("{name}=kill@{}", 1 + draw(seed, place + 1, 4));
                said.push(arm.clone());
                let ended = armed(&lake, &yaml, folder.path(), &arm).wait(BOUND);
                if ended.status.code().is_some() {
                    break;
                }
            }
            lake.finish(&scene, &at, &format!("seed {seed}, kills at {}", said.join(", ")));
        });
        done += 3;
        if done >= rounds && until.is_none_or(|end| Instant::now() > end) {
            return done;
        }
    }
}

#[test]
fn kills_in_a_row_over_a_slow_and_failing_azure_lose_nothing_and_double_nothing() {
    let seed = seed("kills in a row in Azure");
    kills_in_a_row(6, None, seed);
}

#[test]
fn a_zombie_whose_lease_was_taken_changes_nothing_and_its_successor_does_not_stop() {
    let Some((broker, azurite)) = rig() else { return };
    let scene = Scene::new(broker, "azure-zombie", 3, 10_000, 3_000);
    let lake = Lake::new(azurite, "zombie");
    let sleeps = [
        "lease.taken",
        "plan.before",
        "plan.after",
        "files.after",
        "letters.before",
        "sink.before",
        "sink.after",
    ];
    let wakes = [Some("plan.after"), Some("sink.before"), None];
    let cases: Vec<_> = sleeps.iter().flat_map(|sleep| wakes.map(|wake| (*sleep, wake))).collect();
    each(&cases, |(sleep, wake)| {
        let what = format!("zombie at {sleep}, successor at {}", wake.unwrap_or("its end"));
        let at = format!("{sleep}-{}", wake.unwrap_or("end"));
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let yaml = lake.moved(&scene.yaml(), &at);
        let mut zombie = armed(&lake, &yaml, folders[0].path(), &format!("{sleep}=stop"));
        asleep(&mut zombie, &what);
        let arm = wake.map_or(String::new(), |wake| format!("{wake}=stop"));
        let mut successor = armed(&lake, &yaml, folders[1].path(), &arm);
        let successor = match wake {
            Some(_) => {
                asleep(&mut successor, &what);
                zombie.resume();
                left(zombie.wait(BOUND), &what);
                successor.resume();
                successor.wait(BOUND)
            }
            None => {
                let ended = successor.wait(BOUND);
                zombie.resume();
                left(zombie.wait(BOUND), &what);
                ended
            }
        };
        assert_eq!(successor.code(), 0, "{what}: the successor was stopped:\n{}", successor.stderr);
        lake.check(&scene, &at, &what);
    });
}

/// A stream that goes on, of the owner `name`; waits until it has committed.
fn running(lake: &Lake, yaml: &str, folder: &Path, name: &str) -> Alluvia {
    let program = lake.run(yaml, folder, &[("ALLUVIA_OWNER", name)]);
    program.wait_for("\"event\":\"progress\"", BOUND);
    program
}

#[test]
fn a_second_owner_is_refused_waits_or_takes_over_on_request_and_the_first_then_stops() {
    let Some((broker, azurite)) = rig() else { return };
    let scene = Scene::new(broker, "azure-owners", 1, 10_000, 20_000);
    let lake = Lake::new(azurite, "owners");
    let yaml = lake.moved(&scene.endless_yaml(), "main");
    let folder = tempfile::tempdir().unwrap();
    let first = running(&lake, &yaml, folder.path(), "pod-0");
    // Others are told who runs the stream.
    let refused = lake.run(&yaml, folder.path(), &[("ALLUVIA_OWNER", "pod-1")]).wait(BOUND);
    assert_eq!(refused.code(), 5, "{}", refused.stderr);
    for said in ["stream proof is run by pod-0", "--take-over"] {
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
    // One waits until the owner gives the lease back at its end.
    let file = folder.path().join("stream.yaml");
    let start = |flag: &str, name: &str| {
        let arguments = ["run".as_ref(), file.as_os_str(), flag.as_ref()];
        Alluvia::start(
            arguments,
            folder.path(),
            &[("ALLUVIA_OWNER", name), ("ALLUVIA_LOG", "info,alluvia=debug")],
        )
    };
    let waiting = start("--wait-for-lease", "pod-1");
    waiting.wait_for("waiting for the lease", BOUND);
    first.terminate();
    assert_eq!(first.wait(BOUND).code(), 0);
    waiting.wait_for("decided what to do first", BOUND);
    // One that is told to takes the lease from an owner that is alive.
    let taker = start("--take-over", "pod-2");
    taker.wait_for("took over from another process", BOUND);
    left(waiting.wait(BOUND), "an owner whose lease was taken");
    scene.produce(broker, 10_000);
    taker.wait_for(&format!("\"endOffset\":{}", scene.end()), BOUND);
    taker.terminate();
    assert_eq!(taker.wait(BOUND).code(), 0);
    lake.check(&scene, "main", "three owners");
}

#[test]
fn a_process_that_died_is_followed_when_its_lease_has_ended_without_a_name() {
    let Some((broker, azurite)) = rig() else { return };
    let scene = Scene::new(broker, "azure-nameless", 1, 10_000, 3_000);
    let lake = Lake::new(azurite, "nameless");
    let yaml = lake.moved(&scene.yaml(), "main");
    let folder = tempfile::tempdir().unwrap();
    let killed = lake.run(&yaml, folder.path(), &[("ALLUVIA_FAILPOINTS", "sink.after=kill")]).wait(BOUND);
    assert!(killed.status.code().is_none(), "{}", killed.stderr);
    let next = lake.run(&yaml, folder.path(), &[]).wait(BOUND).success();
    assert!(next.stderr.contains("waiting for the lease"), "{}", next.stderr);
    lake.check(&scene, "main", "a nameless successor");
}

#[test]
fn a_lease_that_cannot_be_renewed_for_longer_than_it_lasts_is_not_lost_if_nobody_took_it() {
    let Some((broker, azurite)) = rig() else { return };
    let scene = Scene::new(broker, "azure-outage", 1, 10_000, 20_000);
    let proxy = BlobProxy::new(azurite);
    let lake = Lake::new(azurite, "outage").through(&proxy);
    let yaml = lake.moved(&scene.endless_yaml(), "main");
    let folder = tempfile::tempdir().unwrap();
    let owner = running(&lake, &yaml, folder.path(), "pod-0");
    proxy.answer("lease", "", 1, u64::MAX / 2, Answer::Status(503));
    owner.wait_for("the lease could not be renewed", BOUND);
    // Longer than a lease lasts.
    let out = Instant::now();
    until("an outage of 17 s", Duration::from_secs(30), || {
        (out.elapsed() > Duration::from_secs(17)).then_some(())
    });
    proxy.forget();
    scene.produce(broker, 10_000);
    owner.wait_for(&format!("\"endOffset\":{}", scene.end()), BOUND);
    owner.terminate();
    assert_eq!(owner.wait(BOUND).code(), 0);
    lake.check(&scene, "main", "an outage of the lease");
}

#[test]
#[ignore = "minutes long: make soak"]
fn soak_of_kills_in_a_row_over_a_slow_and_failing_azure() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let minutes = number("ALLUVIA_SOAK_MINUTES").unwrap_or(1);
    let seed = number("ALLUVIA_SOAK_SEED").unwrap_or_else(|| seed("kills in a row in Azure"));
    let rounds = kills_in_a_row(3, Some(Instant::now() + Duration::from_secs(60 * minutes)), seed);
    eprintln!("seed {seed}: {rounds} streams killed in a row in Azure");
}
