//! Brokers that restart, die, hang or stay away.

use std::path::Path;
use std::time::Duration;

use super::{BOUND, run};
use crate::rig::{Alluvia, Broker, Digest, Message, delta_digest};
use crate::streams::ingest::{COLUMNS, expected, w1_yaml};

fn table(folder: &Path) -> Digest {
    delta_digest(&folder.join("table"), &COLUMNS)
}

#[test]
fn a_broker_that_restarts_dies_or_hangs_in_the_middle_costs_time_only() {
    let Some(mut broker) = Broker::private() else { return };
    let topic = broker.topic("restarts", 2);
    broker.produce(&topic, (0..120_000).map(|seq| Message::event(3, seq, 2)));
    let yaml = w1_yaml(
        &broker,
        &topic,
        ", maxOffsetsPerTrigger: 4000",
        "    restart: { maxAttempts: 20, backoff: 200 ms }\n",
    );
    let folder = tempfile::tempdir().unwrap();
    let program = Alluvia::run(&yaml, folder.path());
    program.wait_for("\"batchId\":2", BOUND);
    broker.kill();
    std::thread::sleep(Duration::from_millis(1500));
    broker.start();
    program.wait_for("\"batchId\":8", BOUND);
    broker.stop();
    broker.start();
    program.wait_for("\"batchId\":14", BOUND);
    broker.pause();
    std::thread::sleep(Duration::from_secs(4));
    broker.resume();
    program.wait(BOUND).success();
    assert!(table(folder.path()).same_rows(&expected(&topic, 3, 120_000, 2)));
}

#[test]
fn a_broker_that_stays_away_ends_the_stream_and_the_next_start_goes_on() {
    let Some(mut broker) = Broker::private() else { return };
    let topic = broker.topic("away", 2);
    broker.produce(&topic, (0..60_000).map(|seq| Message::event(4, seq, 2)));
    let restart = "    restart: { maxAttempts: 1, backoff: 100 ms }\n";
    let yaml =
        w1_yaml(&broker, &topic, ", maxOffsetsPerTrigger: 2000, kafkaConsumer.pollTimeoutMs: 6000", restart);
    let folder = tempfile::tempdir().unwrap();
    let program = Alluvia::run(&yaml, folder.path());
    program.wait_for("\"batchId\":3", BOUND);
    broker.kill();
    let ended = program.wait(BOUND);
    assert_eq!(ended.code(), 3, "{}", ended.stderr);
    for says in [broker.bootstrap(), "kafka.bootstrap.servers"] {
        assert!(ended.stderr.lines().last().unwrap().contains(says), "no `{says}` in\n{}", ended.stderr);
    }
    broker.start();
    run(&yaml, folder.path());
    assert!(table(folder.path()).same_rows(&expected(&topic, 4, 60_000, 2)));
}
