//! How a running process is stopped: the running batch is finished, or abandoned, which is safe.

use std::time::Duration;

use crate::ingest::{COLUMNS, expected, w1_yaml};
use crate::rig::{Alluvia, Broker, Message, delta_digest};

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
fn a_stop_without_patience_abandons_the_batch_and_the_next_start_runs_it_again() {
    let Some(broker) = Broker::shared() else { return };
    let (topic, folder) = (broker.topic("impatient", 2), tempfile::tempdir().unwrap());
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
