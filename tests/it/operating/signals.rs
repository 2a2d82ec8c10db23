//! How a running process is stopped: the running batch is finished, or abandoned, which is safe.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::rig::{Alluvia, Broker, Message, delta_digest};
use crate::streams::ingest::{COLUMNS, expected, w1_yaml};

const BOUND: Duration = Duration::from_secs(120);

#[test]
fn a_stop_finishes_the_running_batch_and_nothing_is_lost() {
    let Some(broker) = Broker::shared() else { return };
    let (topic, folder) = (broker.topic("sigterm", 2), tempfile::tempdir().unwrap());
    broker.produce(&topic, (0..200_000).map(|seq| Message::event(3, seq, 2)));
    let endless = w1_yaml(broker, &topic, ", maxOffsetsPerTrigger: 20000", "")
        .replace("trigger: availableNow", "trigger: { processingTime: 0 seconds }");
    for signal in ["terminate", "interrupt"] {
        let program = Alluvia::run(&endless, folder.path());
        program.wait_for(r#"{"event":"progress""#, BOUND);
        if signal == "terminate" {
            program.terminate()
        } else {
            program.interrupt()
        }
        let ended = program.wait(BOUND).success();
        assert!(!ended.stderr.contains("abandoned"), "{}", ended.stderr);
        let count = |folder: &str| std::fs::read_dir(folder).unwrap().count();
        let (plans, commits) =
            (folder.path().join("checkpoint/offsets"), folder.path().join("checkpoint/commits"));
        assert_eq!(
            count(&plans.display().to_string()),
            count(&commits.display().to_string()),
            "a batch was left unfinished"
        );
    }
    Alluvia::run(&w1_yaml(broker, &topic, "", ""), folder.path()).wait(BOUND).success();
    assert!(delta_digest(&folder.path().join("table"), &COLUMNS).same_rows(&expected(&topic, 3, 200_000, 2)));
}

#[test]
fn a_stop_without_time_abandons_the_batch_and_the_next_start_runs_it_again() {
    let Some(broker) = Broker::shared() else { return };
    let (topic, folder) = (broker.topic("no-time-to-stop", 2), tempfile::tempdir().unwrap());
    broker.produce(&topic, (0..300_000).map(|seq| Message::event(4, seq, 2)));
    let yaml = w1_yaml(broker, &topic, "", "    shutdownTimeout: 0 seconds\n");
    let program = Alluvia::run(&yaml, folder.path());
    crate::rig::until("a plan", BOUND, || folder.path().join("checkpoint/offsets/0").exists().then_some(()));
    program.terminate();
    program.wait(BOUND).success();
    Alluvia::run(&yaml, folder.path()).wait(BOUND).success();
    assert!(delta_digest(&folder.path().join("table"), &COLUMNS).same_rows(&expected(&topic, 4, 300_000, 2)));
}

#[test]
fn a_second_signal_stops_at_once() {
    let Some(broker) = Broker::shared() else { return };
    let (topic, folder) = (broker.topic("twice", 2), tempfile::tempdir().unwrap());
    broker.produce(&topic, (0..300_000).map(|seq| Message::event(5, seq, 2)));
    let yaml = w1_yaml(broker, &topic, "", "");
    let program = Alluvia::run(&yaml, folder.path());
    crate::rig::until("a plan", BOUND, || folder.path().join("checkpoint/offsets/0").exists().then_some(()));
    program.terminate();
    program.terminate();
    program.wait(BOUND).success();
    Alluvia::run(&yaml, folder.path()).wait(BOUND).success();
    assert!(delta_digest(&folder.path().join("table"), &COLUMNS).same_rows(&expected(&topic, 5, 300_000, 2)));
}

/// Runs until `text` was said, asks once to stop; how long the end took.
#[cfg(any(debug_assertions, feature = "failpoints"))]
fn stopped_at(yaml: &str, folder: &Path, rules: &str, text: &str) -> (Duration, crate::rig::Ended) {
    let program = Alluvia::run_with(yaml, folder, &[("ALLUVIA_STORE_FAULTS", rules)]);
    program.wait_for(text, BOUND);
    let asked = Instant::now();
    program.terminate();
    let ended = program.wait(BOUND + BOUND);
    (asked.elapsed(), ended)
}

#[test]
#[cfg(any(debug_assertions, feature = "failpoints"))]
fn a_stop_ends_at_its_deadline_whatever_the_storage_takes() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("stalled-stop", 1);
    broker.produce(&topic, (0..60_000).map(|seq| Message::event(6, seq, 1)));
    let yaml = w1_yaml(broker, &topic, ", maxOffsetsPerTrigger: 30000", "    shutdownTimeout: 1 second\n");
    let mut wrong = Vec::new();
    for rules in [
        "create _delta_log/0000 2 delay=120000",
        "create .parquet 1 delay=120000",
        "create offsets/ 2 delay=120000",
        "create commits/ 1 delay=120000",
        "create metadata 1 delay=120000",
        "list _delta_log 1 delay=120000",
        "list _delta_log 2 delay=120000",
        "create _delta_log/0000 3- reject",
        "create _delta_log/0000 3 do-and-fail; get _delta_log 1 delay=120000",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (took, ended) = stopped_at(&yaml, folder.path(), rules, "store-fault");
        eprintln!("{rules}: {took:?}");
        if took > Duration::from_secs(15) || !ended.status.success() {
            wrong.push(format!("{rules}: {took:?}, {}\n{}", ended.status, ended.stderr));
        }
        Alluvia::run(&yaml, folder.path()).wait(BOUND).success();
        let there = delta_digest(&folder.path().join("table"), &COLUMNS);
        if !there.same_rows(&expected(&topic, 6, 60_000, 1)) {
            wrong.push(format!("{rules}: the table is not the topic: {there:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
#[cfg(any(debug_assertions, feature = "failpoints"))]
fn a_stop_ends_at_its_deadline_while_parts_are_uploaded() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("stalled-parts", 1);
    broker.produce(&topic, (0..150_000).map(|seq| Message::event(6, seq, 1)));
    let stream = "    shutdownTimeout: 1 second\n    lanes: 1\n    memoryLimit: 32m\n";
    let yaml = w1_yaml(broker, &topic, "", stream);
    for rules in ["part .parquet 1- delay=120000", "complete .parquet 1 delay=120000"] {
        let folder = tempfile::tempdir().unwrap();
        let (took, ended) = stopped_at(&yaml, folder.path(), rules, "store-fault");
        assert!(took < Duration::from_secs(15), "{rules}: {took:?}\n{}", ended.stderr);
        ended.success();
        let left = crate::exactly_once::storage_faults::staged(folder.path());
        assert!(left.is_empty(), "{rules}: left behind {left:?}");
        Alluvia::run(&yaml, folder.path()).wait(BOUND).success();
        let there = delta_digest(&folder.path().join("table"), &COLUMNS);
        assert!(there.same_rows(&expected(&topic, 6, 150_000, 1)), "{rules}: {there:?}");
    }
}

#[test]
#[cfg(any(debug_assertions, feature = "failpoints"))]
fn each_stream_of_a_process_has_a_deadline_of_its_own() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("two-deadlines", 1);
    broker.produce(&topic, (0..1_000).map(|seq| Message::event(6, seq, 1)));
    let stream = |name: &str, timeout: &str| {
        let yaml = w1_yaml(broker, &topic, "", &format!("    shutdownTimeout: {timeout}\n"));
        let yaml = yaml.replace("name: w1", &format!("name: {name}"));
        let yaml =
            yaml.replace("./table", &format!("./{name}")).replace("./checkpoint", &format!("./at-{name}"));
        yaml.replace("streams:\n", "")
    };
    let yaml = format!("streams:\n{}{}", stream("hasty", "1 second"), stream("calm", "100 seconds"));
    let folder = tempfile::tempdir().unwrap();
    let rules = "create hasty/_delta_log/0000 2 delay=120000; create calm/_delta_log/0000 2 delay=4000";
    let (took, ended) = stopped_at(&yaml, folder.path(), rules, "calm/_delta_log");
    ended.success();
    assert!(took < Duration::from_secs(60), "{took:?}");
    let exists = |name: &str| folder.path().join(format!("at-{name}/commits/0")).exists();
    assert!(exists("calm") && !exists("hasty"), "calm {} hasty {}", exists("calm"), exists("hasty"));
    Alluvia::run(&yaml, folder.path()).wait(BOUND).success();
    for name in ["hasty", "calm"] {
        let there = delta_digest(&folder.path().join(name), &COLUMNS);
        assert!(there.same_rows(&expected(&topic, 6, 1_000, 1)), "{name}: {there:?}");
    }
}

#[test]
fn a_stop_is_over_while_the_broker_hangs() {
    let Some(broker) = Broker::private() else { return };
    let (topic, folder) = (broker.topic("hanging", 2), tempfile::tempdir().unwrap());
    broker.produce(&topic, (0..200_000).map(|seq| Message::event(7, seq, 2)));
    let yaml = w1_yaml(&broker, &topic, ", maxOffsetsPerTrigger: 20000", "    shutdownTimeout: 1 second\n");
    let program = Alluvia::run(&yaml, folder.path());
    program.wait_for(r#"{"event":"progress""#, BOUND);
    broker.pause();
    std::thread::sleep(Duration::from_secs(1));
    let asked = Instant::now();
    program.terminate();
    let ended = program.wait(BOUND).success();
    broker.resume();
    eprintln!("while the broker hangs: {:?}", asked.elapsed());
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}\n{}", asked.elapsed(), ended.stderr);
    Alluvia::run(&yaml, folder.path()).wait(BOUND).success();
    assert!(delta_digest(&folder.path().join("table"), &COLUMNS).same_rows(&expected(&topic, 7, 200_000, 2)));
}
