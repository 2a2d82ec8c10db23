//! What is lost is said with its range and its reason: offsets that aged out, logs that are too short, deleted topics.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use alluvia::config::kafka::KafkaOptions;
use alluvia::model::{Kind, Offsets, TopicPartition};
use alluvia::source::kafka::{KafkaSource, LossReason, losses};
use rdkafka::Offset;

use super::{BOUND, dense, meanwhile, numbered, options, quickly, range, read, reader, tolerant};
use crate::rig::Broker;

#[test]
fn a_range_whose_tail_was_deleted_ends_without_its_records() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("empty-tail", 2);
    broker.produce(&topic, numbered(0, 0..10));
    broker.delete_records(&topic, 0, Offset::End);
    let partition = TopicPartition::new(topic.as_str(), 0);
    let source = KafkaSource::open(&options(broker, &[&topic])).unwrap();
    let start = source.initial_offsets().unwrap();
    assert_eq!(start.get(&partition), Some(10), "the earliest offset of an emptied partition is its end");
    assert!(start.ranges_to(&source.latest(&start).unwrap().end).unwrap().is_empty());
    let error = read(&mut reader(&options(broker, &[&topic])), &[range(&topic, 0, 4, 10)]).unwrap_err();
    assert_eq!(error.kind(), Kind::Data);
    for part in [&format!("{topic}-0"), "offset 4", "retention start 10", "failOnDataLoss"] {
        assert!(error.to_string().contains(part), "{part} is missing in: {error}");
    }
    let mut tolerant = reader(&tolerant(options(broker, &[&topic])));
    let (rows, report) = read(&mut tolerant, &[range(&topic, 0, 4, 10)]).unwrap();
    assert!(rows.is_empty());
    assert_eq!(report.lost.len(), 1);
    assert_eq!(
        (&report.lost[0].range, report.lost[0].reason),
        (&range(&topic, 0, 4, 10), LossReason::AgedOut)
    );
    broker.produce(&topic, numbered(0, 10..12));
    let (rows, _) = read(&mut tolerant, &[range(&topic, 0, 10, 12)]).unwrap();
    assert_eq!(rows[&0], dense(10..12), "the reader goes on behind the loss");
}

/// While `act` runs, a record comes to the partition every half second.
fn with_a_trickle<T>(broker: &Broker, topic: &str, partition: i32, act: impl FnOnce() -> T) -> T {
    meanwhile(Duration::from_millis(500), || drop(broker.produce(topic, numbered(partition, 0..1))), act)
}

#[test]
fn a_log_that_stays_shorter_than_the_range_is_lost_behind_its_end() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("short", 2);
    let other = TopicPartition::new(topic.as_str(), 1);
    for strict in [true, false] {
        broker.produce(&topic, numbered(1, 0..5));
        let options = options(broker, &[&topic]);
        let mut reader = reader(&if strict { options.clone() } else { tolerant(options.clone()) });
        let end = KafkaSource::open(&options).unwrap().latest(&Offsets::default()).unwrap().end;
        let from = end.get(&TopicPartition::new(topic.as_str(), 0)).unwrap();
        // The other partition goes on to be fetched, and its records are no reason to wait.
        read(&mut reader, &[range(&topic, 1, 0, end.get(&other).unwrap())]).unwrap();
        broker.produce(&topic, numbered(0, 0..10));
        let wanted = range(&topic, 0, from, from + 20);
        let lost = range(&topic, 0, from + 10, from + 20);
        let outcome = with_a_trickle(broker, &topic, 1, || {
            let start = Instant::now();
            let outcome = read(&mut reader, &[wanted]);
            assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
            outcome
        });
        if strict {
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), Kind::Data, "{error}");
            let named = format!("[{}, {})", lost.from, lost.until);
            for part in [&format!("{topic}-0"), "PARTITION_OFFSET_CHANGED", &named, "failOnDataLoss"] {
                assert!(error.to_string().contains(part), "{part} is missing in: {error}");
            }
            continue;
        }
        let (rows, report) = outcome.unwrap();
        assert_eq!(rows[&0].len(), 10);
        assert_eq!(report.lost.len(), 1);
        assert_eq!(
            (&report.lost[0].range, report.lost[0].reason),
            (&lost, LossReason::PartitionOffsetChanged)
        );
    }
}

#[test]
fn offsets_that_age_out_while_they_are_read_are_lost_up_to_the_earliest() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("aged", 1);
    broker.produce(&topic, numbered(0, 0..100));
    let mut reader = reader(&tolerant(options(broker, &[&topic])));
    read(&mut reader, &[range(&topic, 0, 0, 10)]).unwrap();
    broker.delete_records(&topic, 0, Offset::Offset(60));
    reader.forget();
    let (rows, report) = read(&mut reader, &[range(&topic, 0, 10, 100)]).unwrap();
    assert_eq!(rows[&0], dense(60..100));
    assert_eq!(report.lost.iter().map(|l| l.range.clone()).collect::<Vec<_>>(), [range(&topic, 0, 10, 60)]);
}

#[test]
fn a_topic_deleted_while_it_is_read_is_an_error_in_bounded_time() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("deleted", 1);
    broker.produce(&topic, numbered(0, 0..10));
    let source = KafkaSource::open(&options(broker, &[&topic])).unwrap();
    let known = source.latest(&Offsets::default()).unwrap().end;
    // Shorter and longer than the brokers are doubted.
    let [hasty, slow] = [Duration::from_secs(6), BOUND * 2]
        .map(|poll_timeout| KafkaOptions { poll_timeout, ..options(broker, &[&topic]) });
    let (mut strict, mut tolerant) = (reader(&hasty), reader(&tolerant(slow)));
    read(&mut strict, &[range(&topic, 0, 0, 10)]).unwrap();
    read(&mut tolerant, &[range(&topic, 0, 0, 10)]).unwrap();
    broker.delete_topic(&topic);
    quickly(Duration::from_secs(50), "a deleted topic", || {
        let (error, report) = thread::scope(|scope| {
            let error = scope.spawn(|| read(&mut strict, &[range(&topic, 0, 10, 20)]).unwrap_err());
            let (_, report) = read(&mut tolerant, &[range(&topic, 0, 10, 20)]).unwrap();
            (error.join().unwrap(), report)
        });
        assert_eq!(error.kind(), Kind::Data, "{error}");
        assert!(error.to_string().contains("was deleted"), "{error}");
        assert_eq!(report.lost[0].reason, LossReason::PartitionDeleted);
    });
    let latest = source.latest(&known).unwrap();
    assert_eq!(latest.vanished, [TopicPartition::new(topic.as_str(), 0)]);
    assert_eq!(losses(&known, &latest)[0].reason, LossReason::PartitionDeleted);
    let before = source.topic_ids(&BTreeMap::new()).unwrap();
    broker.create_topic(&topic, 1, &[]);
    broker.produce(&topic, numbered(0, 0..3));
    let latest = KafkaSource::open(&options(broker, &[&topic])).unwrap();
    assert_ne!(latest.topic_ids(&BTreeMap::new()).unwrap(), before, "a topic made anew has another id");
    let anew = latest.latest(&known).unwrap();
    assert_eq!(losses(&known, &anew)[0].reason, LossReason::PartitionOffsetChanged);
    // The same reader reads the new topic.
    let (rows, _) = read(&mut tolerant, &[range(&topic, 0, 0, 3)]).unwrap();
    assert_eq!(rows[&0], dense(0..3));
}

#[test]
fn a_deleted_topic_is_noticed_by_the_next_question() {
    let Some(broker) = Broker::shared() else { return };
    let (topic, other) = (broker.topic("gone", 2), broker.topic("stays", 1));
    for topics in [vec![topic.as_str(), other.as_str()], vec![topic.as_str()]] {
        let source = KafkaSource::open(&options(broker, &topics)).unwrap();
        let known = source.latest(&Offsets::default()).unwrap().end;
        broker.delete_topic(&topic);
        quickly(Duration::from_secs(20), "a question about a deleted topic", || {
            let latest = source.latest(&known).unwrap();
            assert_eq!(latest.vanished.len(), 2);
            assert_eq!(latest.end.0.len(), topics.len() - 1);
        });
        broker.create_topic(&topic, 2, &[]);
    }
}
