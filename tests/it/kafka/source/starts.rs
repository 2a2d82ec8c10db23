//! Where a stream starts: starting offsets, subscriptions, added partitions, and what is wrong at the start.

use std::collections::BTreeMap;
use std::time::Duration;

use alluvia::config::kafka::{KafkaOptions, StartingOffsets, Subscription, TimestampStrategy};
use alluvia::model::{Error, Kind, Offsets, TopicPartition};
use alluvia::source::kafka::{KafkaSource, LossReason, losses};
use rdkafka::Offset;

use super::{BOUND, numbered, options, options_at, quickly, range, read, reader, timeless};
use crate::rig::{Broker, Message, until};

fn open_error(options: &KafkaOptions) -> Error {
    let started = KafkaSource::open(options).and_then(|source| source.initial_offsets());
    started.expect_err("a new query must not start")
}

#[test]
fn partitions_that_are_added_are_found_and_start_at_their_first_offset() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("added", 1);
    broker.produce(&topic, numbered(0, 0..3));
    let mut options = options(broker, &[&topic]);
    options.client.insert("topic.metadata.refresh.interval.ms".into(), "100".into());
    let source = KafkaSource::open(&options).unwrap();
    let known = source.latest(&Offsets::default()).unwrap().end;
    broker.add_partitions(&topic, 3);
    broker.produce(&topic, numbered(2, 0..5));
    broker.delete_records(&topic, 2, Offset::Offset(2));
    let latest = until("the new partitions", BOUND, || {
        Some(source.latest(&known).unwrap()).filter(|latest| latest.end.0.len() == 3)
    });
    let at = |p| TopicPartition::new(topic.as_str(), p);
    assert_eq!(latest.added.0, BTreeMap::from([(at(1), 0), (at(2), 2)]));
    let lost = losses(&known, &latest);
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].reason, LossReason::AddedPartitionDoesNotStartFromZero);
    assert_eq!(latest.start(&known).0, BTreeMap::from([(at(0), 3), (at(1), 0), (at(2), 2)]));
}

#[test]
fn starting_offsets_are_resolved_as_in_spark() {
    let Some(broker) = Broker::shared() else { return };
    let topic = timeless(broker, "start", 2);
    let timed =
        |n: i64| Message::new(format!("v{n}")).partition(0).timestamp_ms(1_700_000_000_000 + n * 1000);
    broker.produce(&topic, (0..10).map(timed));
    broker.delete_records(&topic, 0, Offset::Offset(2));
    let offsets = |values: [i64; 2]| {
        let at = |p| TopicPartition::new(topic.as_str(), p);
        Offsets(BTreeMap::from([(at(0), values[0]), (at(1), values[1])]))
    };
    let resolve = |starting: StartingOffsets, strategy| {
        let mut options = options(broker, &[&topic]);
        options.starting = starting;
        options.timestamp_strategy = strategy;
        KafkaSource::open(&options).unwrap().initial_offsets()
    };
    let strict = TimestampStrategy::Error;
    assert_eq!(resolve(StartingOffsets::Earliest, strict).unwrap(), offsets([2, 0]));
    assert_eq!(resolve(StartingOffsets::Latest, strict).unwrap(), offsets([10, 0]));
    assert_eq!(resolve(StartingOffsets::Offsets(offsets([-2, -1])), strict).unwrap(), offsets([2, 0]));
    assert_eq!(resolve(StartingOffsets::Offsets(offsets([7, 0])), strict).unwrap(), offsets([7, 0]));
    let time = StartingOffsets::Timestamp(1_700_000_004_500);
    assert_eq!(resolve(time.clone(), TimestampStrategy::Latest).unwrap(), offsets([5, 0]));
    let error = resolve(time, strict).unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().contains(&format!("{topic}-1")), "{error}");
    let one = Offsets(BTreeMap::from([(TopicPartition::new(topic.as_str(), 0), 1)]));
    let error = resolve(StartingOffsets::Offsets(one), strict).unwrap_err();
    assert!(error.to_string().contains(&format!("does not name {topic}-1")), "{error}");
}

#[test]
fn a_pattern_is_found_anywhere_in_a_name_and_assign_leaves_out_what_is_not_there() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("pattern-x", 2);
    let mut options = options(broker, &[]);
    options.subscription = Subscription::Pattern("attern-x".into());
    let source = KafkaSource::open(&options).unwrap();
    assert_eq!(source.partitions().len(), 2);
    options.subscription = Subscription::Pattern("consumer_offsets|no-such-topic".into());
    assert_eq!(open_error(&options).kind(), Kind::Config);
    options.subscription = Subscription::Assign(vec![
        TopicPartition::new(topic.as_str(), 1),
        TopicPartition::new(topic.as_str(), 9),
        TopicPartition::new("no-such-topic", 0),
    ]);
    assert_eq!(KafkaSource::open(&options).unwrap().partitions(), [TopicPartition::new(topic.as_str(), 1)]);
}

#[test]
fn what_is_wrong_at_the_start_is_said_in_bounded_time() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("wrong", 1);
    quickly(Duration::from_secs(20), "an unreachable broker", || {
        let error = open_error(&options_at("127.0.0.1:1", &[&topic]));
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
        assert!(error.to_string().contains("kafka.bootstrap.servers"), "{error}");
    });
    quickly(Duration::from_secs(20), "an unknown topic", || {
        let error = open_error(&options(broker, &[&topic, "no-such-topic"]));
        assert_eq!(error.kind(), Kind::Config, "{error}");
        assert!(error.to_string().contains("topic no-such-topic does not exist"), "{error}");
    });
    let mut wrong = options_at(broker.fact("/bootstrap/scram"), &[&topic]);
    for (key, value) in [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.username", "alice"),
        ("sasl.password", "not-the-password"),
    ] {
        wrong.client.insert(key.into(), value.into());
    }
    quickly(Duration::from_secs(20), "a refused login", || {
        let error = open_error(&wrong);
        assert_eq!(error.kind(), Kind::Config, "{error}");
        assert!(error.to_string().contains("kafka.sasl.jaas.config"), "{error}");
        assert!(!error.to_string().contains("not-the-password"), "{error}");
    });
    quickly(Duration::from_secs(25), "a reader whose login is refused", || {
        let error = read(&mut reader(&wrong), &[range(&topic, 0, 0, 1)]).unwrap_err();
        assert_eq!(error.kind(), Kind::Config, "{error}");
    });
}
