//! Brokers whose answers come late, without the ids of topics, or from one that does not lead: the stream waits or stops
//! by name, and never takes a topic that was made anew for the one it read.

use std::time::Duration;

use crate::kafka_faults::{lost_ranges, names, numbered, raw_yaml, run, stops, table_rows, tolerant, values};
use crate::rig::proxy::{LIST_OFFSETS, METADATA};
use crate::rig::{Alluvia, Broker, Proxy, until};

const BOUND: Duration = Duration::from_secs(60);
/// Later than any wait for a help that is not needed, sooner than any that is.
const LATE: Duration = Duration::from_secs(2);

/// The stream of `raw_yaml` over the door in front of the broker.
fn yaml_over(proxy: &Proxy, broker: &Broker, topic: &str, options: &str) -> String {
    raw_yaml(broker, topic, options, "").replace(broker.bootstrap(), proxy.bootstrap())
}

/// Deletes the topic and makes it anew with `count` records.
fn make_anew(broker: &Broker, topic: &str, count: u32) {
    broker.delete_topic(topic);
    broker.create_topic(topic, 1, &[]);
    broker.produce(topic, numbered("new", 0..count));
}

#[test]
fn ids_that_come_late_at_the_first_start_are_waited_for() {
    let Some(broker) = Broker::shared() else { return };
    let (proxy, folder) = (Proxy::new(broker), tempfile::tempdir().unwrap());
    let topic = broker.topic("ids-late", 1);
    let yaml = yaml_over(&proxy, broker, &topic, "");
    broker.produce(&topic, numbered("old", 0..10));
    proxy.late(METADATA, LATE);
    let program = Alluvia::run(&yaml.replace("availableNow", "{ processingTime: 50 ms }"), folder.path());
    program.wait_for("\"endOffset\":{", BOUND);
    proxy.late(METADATA, Duration::ZERO);
    make_anew(broker, &topic, 25);
    let ended = program.wait(BOUND);
    assert_eq!(ended.code(), 6, "{}", ended.stderr);
    assert!(ended.stderr.contains("TOPIC_RECREATED"), "{}", ended.stderr);
    assert_eq!(values(folder.path()), names("old", 0..10));
}

#[test]
fn a_topic_made_anew_is_told_though_every_answer_about_topics_is_late() {
    let Some(broker) = Broker::shared() else { return };
    let (proxy, folder) = (Proxy::new(broker), tempfile::tempdir().unwrap());
    let topic = broker.topic("anew-late", 1);
    let yaml = yaml_over(&proxy, broker, &topic, "");
    broker.produce(&topic, numbered("old", 0..10));
    run(&yaml, folder.path());
    make_anew(broker, &topic, 25);
    proxy.late(METADATA, LATE);
    stops(&yaml, folder.path(), &["TOPIC_RECREATED", &topic]);
    assert_eq!(table_rows(folder.path()), 10, "nothing was written");
    run(&tolerant(&yaml), folder.path());
    assert_eq!(values(folder.path()), [names("new", 0..25), names("old", 0..10)].concat());
    assert_eq!(lost_ranges(folder.path()), [format!("{topic}-0 [10, 10)")]);
}

#[test]
#[cfg(feature = "failpoints")]
fn records_of_a_topic_made_anew_are_not_committed_though_the_answer_that_tells_is_late() {
    let Some(broker) = Broker::shared() else { return };
    for strict in [true, false] {
        let (proxy, folder) = (Proxy::new(broker), tempfile::tempdir().unwrap());
        let topic = broker.topic("anew-planned", 1);
        let yaml = yaml_over(&proxy, broker, &topic, "");
        let yaml = if strict { yaml } else { tolerant(&yaml) };
        broker.produce(&topic, numbered("old", 0..10));
        run(&yaml, folder.path());
        broker.produce(&topic, numbered("old", 10..20));
        let arm = [("ALLUVIA_FAILPOINTS", "plan.after=stop@1")];
        let program = Alluvia::run_with(&yaml, folder.path(), &arm);
        program.wait_for("plan.after", BOUND);
        make_anew(broker, &topic, 25);
        proxy.late(METADATA, LATE);
        program.resume();
        let ended = program.wait(BOUND);
        if strict {
            assert_eq!(ended.code(), 6, "{}", ended.stderr);
            assert_eq!(values(folder.path()), names("old", 0..10), "{}", ended.stderr);
        } else {
            let ended = ended.success();
            // `availableNow` ends where the first look saw the end.
            let all = [names("new", 0..20), names("old", 0..10)].concat();
            assert_eq!(values(folder.path()), all, "{}", ended.stderr);
        }
    }
}

#[test]
fn a_slow_broker_costs_time_only() {
    let Some(broker) = Broker::shared() else { return };
    let (proxy, folder) = (Proxy::new(broker), tempfile::tempdir().unwrap());
    let topic = broker.topic("slow", 1);
    let yaml = yaml_over(&proxy, broker, &topic, ", maxOffsetsPerTrigger: 30");
    broker.produce(&topic, numbered("v", 0..100));
    proxy.late(METADATA, LATE);
    proxy.late(LIST_OFFSETS, LATE);
    let ended = Alluvia::run(&yaml, folder.path()).wait(BOUND).success();
    assert_eq!(values(folder.path()), names("v", 0..100));
    assert!(!ended.stderr.contains("started again"), "{}", ended.stderr);
}

#[test]
fn a_stream_that_knows_ids_waits_for_them_and_goes_on() {
    let Some(broker) = Broker::shared() else { return };
    let (proxy, folder) = (Proxy::new(broker), tempfile::tempdir().unwrap());
    let topic = broker.topic("ids-away", 1);
    let yaml = yaml_over(&proxy, broker, &topic, "").replace("availableNow", "{ processingTime: 50 ms }");
    broker.produce(&topic, numbered("v", 0..10));
    let program = Alluvia::run(&yaml, folder.path());
    program.wait_for("\"endOffset\":{", BOUND);
    // The view of the partitions is fresh: the next batch is planned, and its topic can't be proven.
    proxy.late(METADATA, Duration::from_secs(600));
    broker.produce(&topic, numbered("v", 10..20));
    let said = program.wait_for("the stream is started again after a pause", BOUND);
    assert!(said.contains("\"unavailable\"") || said.contains("unavailable"), "{said}");
    assert_eq!(table_rows(folder.path()), 10, "{}", program.stderr());
    proxy.late(METADATA, Duration::ZERO);
    // Connections whose answers still wait are given up by the client.
    until("the rows that waited", BOUND, || (table_rows(folder.path()) == 20).then_some(()));
    program.terminate();
    program.wait(BOUND).success();
    assert_eq!(values(folder.path()), names("v", 0..20));
}

#[test]
fn a_stream_that_knows_ids_stops_by_name_where_there_are_none() {
    let Some(broker) = Broker::shared() else { return };
    let (proxy, folder) = (Proxy::new(broker), tempfile::tempdir().unwrap());
    let topic = broker.topic("ids-none", 1);
    let yaml = yaml_over(&proxy, broker, &topic, "");
    broker.produce(&topic, numbered("v", 0..10));
    run(&yaml, folder.path());
    // From version 10 on answers hold ids.
    proxy.up_to_version(METADATA, 9);
    broker.produce(&topic, numbered("v", 10..20));
    let ended = Alluvia::run(&yaml, folder.path()).wait(BOUND);
    assert_eq!(ended.code(), 2, "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap();
    assert!(last.contains("no topic ids") && last.contains(&topic), "{last}");
    assert_eq!(table_rows(folder.path()), 10);
    // A stream that never knew any goes on without.
    let other = tempfile::tempdir().unwrap();
    run(&yaml, other.path());
    broker.produce(&topic, numbered("v", 20..30));
    run(&yaml, other.path());
    assert_eq!(values(other.path()), names("v", 0..30));
    // And knows them from the first plan on that is made where there are some.
    broker.produce(&topic, numbered("v", 30..40));
    run(&raw_yaml(broker, &topic, "", ""), other.path());
    make_anew(broker, &topic, 60);
    stops(&raw_yaml(broker, &topic, "", ""), other.path(), &["TOPIC_RECREATED"]);
}

#[test]
fn a_topic_made_anew_before_the_first_batch_is_told() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("anew-first", 1);
    broker.produce(&topic, numbered("old", 0..10));
    let yaml = raw_yaml(broker, &topic, ", kafka.metadata.max.age.ms: '500'", "")
        .replace("startingOffsets: earliest", "startingOffsets: latest")
        .replace("availableNow", "{ processingTime: 50 ms }");
    let program = Alluvia::run(&yaml, folder.path());
    until("the offsets that it starts from", BOUND, || {
        folder.path().join("checkpoint/sources/0/0").exists().then_some(())
    });
    std::thread::sleep(Duration::from_millis(500));
    make_anew(broker, &topic, 25);
    let ended = program.wait(BOUND);
    assert_eq!(ended.code(), 6, "{}", ended.stderr);
    assert!(ended.stderr.contains(&topic), "{}", ended.stderr);
}
