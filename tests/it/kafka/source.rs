//! The Kafka source against a real broker: every record of a range once and in order, every range ends, and what
//! is lost or wrong is said.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use alluvia::config::kafka::{
    GroupId, Isolation, KafkaOptions, Security, StartingOffsets, Subscription, TimestampStrategy,
};
use alluvia::model::{Error, Kind, OffsetRange, Offsets, TopicPartition};
use alluvia::source::kafka::{
    KafkaSource, LANE_MEMORY_BYTES, LaneReader, LossReason, ReadReport, assign_splits, limit, losses,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message as _, Offset, TopicPartitionList};

use crate::rig::{Broker, Message, until};

/// No read of these tests may take longer.
const BOUND: Duration = Duration::from_secs(30);

fn options_at(bootstrap: &str, topics: &[&str]) -> KafkaOptions {
    KafkaOptions {
        subscription: Subscription::Topics(topics.iter().map(|&t| t.to_owned()).collect()),
        starting: StartingOffsets::Earliest,
        timestamp_strategy: TimestampStrategy::Error,
        max_offsets_per_trigger: None,
        min_offsets_per_trigger: None,
        max_trigger_delay: Duration::from_secs(900),
        min_partitions: None,
        fail_on_data_loss: true,
        include_headers: false,
        group_id: GroupId::Prefix("it".into()),
        commit_group: None,
        fetch_offset_retries: 3,
        fetch_offset_retry_interval: Duration::from_millis(50),
        poll_timeout: BOUND,
        isolation: Isolation::ReadUncommitted,
        client: BTreeMap::from([("bootstrap.servers".into(), bootstrap.into())]),
        security: Security::default(),
    }
}

fn options(broker: &Broker, topics: &[&str]) -> KafkaOptions {
    options_at(broker.bootstrap(), topics)
}

fn committed(mut options: KafkaOptions) -> KafkaOptions {
    options.isolation = Isolation::ReadCommitted;
    options
}

fn tolerant(mut options: KafkaOptions) -> KafkaOptions {
    options.fail_on_data_loss = false;
    options
}

fn range(topic: &str, partition: i32, from: i64, until: i64) -> OffsetRange {
    OffsetRange { partition: TopicPartition::new(topic, partition), from, until }
}

/// Per partition the offsets and values that a read delivered, in the order of delivery.
type Rows = BTreeMap<i32, Vec<(i64, String)>>;

fn read(reader: &mut LaneReader, ranges: &[OffsetRange]) -> Result<(Rows, ReadReport), Error> {
    let mut rows = Rows::new();
    let start = Instant::now();
    let report = reader.read(ranges, &AtomicBool::new(false), |record| {
        let value = String::from_utf8_lossy(record.value.unwrap_or(b"(null)")).into_owned();
        rows.entry(record.partition).or_default().push((record.offset, value));
        Ok(())
    })?;
    assert!(start.elapsed() < BOUND * 2, "the read took {:?}", start.elapsed());
    let count: usize = rows.values().map(Vec::len).sum();
    assert_eq!(report.records, count as u64);
    Ok((rows, report))
}

fn reader(options: &KafkaOptions) -> LaneReader {
    LaneReader::open(options, LANE_MEMORY_BYTES, 4).unwrap()
}

/// Waits until the end is `end`: the broker writes the marker of a transaction after it has said yes.
fn await_end(options: &KafkaOptions, partition: &TopicPartition, end: i64) {
    let source = KafkaSource::open(options).unwrap();
    until(&format!("an end of {end}"), BOUND, || {
        (source.latest(&Offsets::default()).unwrap().end.get(partition) == Some(end)).then_some(())
    });
}

fn numbered(partition: i32, numbers: std::ops::Range<i64>) -> impl Iterator<Item = Message> {
    numbers.map(move |n| Message::new(format!("v{n}")).partition(partition))
}

/// Rows `v{n}` at offset n.
fn dense(numbers: std::ops::Range<i64>) -> Vec<(i64, String)> {
    numbers.map(|n| (n, format!("v{n}"))).collect()
}

/// A topic that keeps records of any age, for timestamps of long ago.
fn timeless(broker: &Broker, name: &str, partitions: i32) -> String {
    let topic = format!("{name}-timeless");
    broker.create_topic(&topic, partitions, &[("retention.ms", "-1")]);
    topic
}

fn quickly(limit: Duration, what: &str, act: impl FnOnce()) {
    let start = Instant::now();
    act();
    assert!(start.elapsed() < limit, "{what} took {:?}", start.elapsed());
}

fn open_error(options: &KafkaOptions) -> Error {
    KafkaSource::open(options).err().expect("the source must not open")
}

#[test]
fn ranges_of_consecutive_batches_deliver_each_record_once() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("once", 3);
    for partition in 0..3 {
        broker.produce(&topic, numbered(partition, 0..20_000));
    }
    let mut reader = reader(&options(broker, &[&topic]));
    let mut next = [0i64; 3];
    let mut all: Rows = BTreeMap::new();
    // Uneven steps, so that partitions end a read at different times and leave messages for the next one.
    for step in 0.. {
        let ends: Vec<i64> =
            (0..3).map(|p| (next[p] + [700, 3000, 11][(p + step) % 3]).min(20_000)).collect();
        let ranges: Vec<_> = (0..3).map(|p| range(&topic, p as i32, next[p], ends[p])).collect();
        let (rows, report) = read(&mut reader, &ranges).unwrap();
        for (partition, rows) in rows {
            let p = partition as usize;
            assert_eq!(rows, dense(next[p]..ends[p]), "partition {partition}");
            all.entry(partition).or_default().extend(rows);
        }
        assert_eq!(report.next.len(), 3);
        next = [ends[0], ends[1], ends[2]];
        if next == [20_000; 3] {
            break;
        }
    }
    assert!(all.values().all(|rows| rows.len() == 20_000));
}

#[test]
fn a_tight_memory_budget_loses_nothing() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("tight", 2);
    let large =
        |partition| (0..8000).map(move |n: i64| Message::new(format!("{n:01000}")).partition(partition));
    broker.produce(&topic, large(0));
    broker.produce(&topic, large(1));
    let mut reader = LaneReader::open(&options(broker, &[&topic]), 1 << 20, 2).unwrap();
    let mut next = [0i64; 2];
    while next != [8000; 2] {
        let ends = [(next[0] + 100).min(8000), (next[1] + 2500).min(8000)];
        let ranges = [range(&topic, 0, next[0], ends[0]), range(&topic, 1, next[1], ends[1])];
        let (rows, _) = read(&mut reader, &ranges).unwrap();
        for p in 0..2 {
            let got: Vec<i64> = rows.get(&(p as i32)).into_iter().flatten().map(|(o, _)| *o).collect();
            assert_eq!(got, (next[p]..ends[p]).collect::<Vec<_>>(), "partition {p}");
        }
        next = ends;
    }
}

#[test]
fn a_range_may_start_anywhere_and_be_read_again() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("again", 1);
    broker.produce(&topic, numbered(0, 0..1000));
    let mut reader = reader(&options(broker, &[&topic]));
    for (from, until) in [(10, 20), (20, 30), (10, 500), (900, 1000), (0, 1000), (999, 1000), (5, 6), (6, 6)]
    {
        let (rows, _) = read(&mut reader, &[range(&topic, 0, from, until)]).unwrap();
        assert_eq!(rows.into_values().next().unwrap_or_default(), dense(from..until));
    }
}

#[test]
fn an_error_or_a_stop_in_the_middle_leaves_the_range_to_be_read_again() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("middle", 1);
    broker.produce(&topic, numbered(0, 0..20_000));
    let mut reader = reader(&options(broker, &[&topic]));
    let all = [range(&topic, 0, 0, 20_000)];
    let (cancel, mut count) = (AtomicBool::new(false), 0);
    let failed = reader.read(&all, &cancel, |record| {
        if record.offset == 5000 { Err(Error::data("stop here")) } else { Ok(()) }
    });
    assert_eq!(failed.unwrap_err().kind(), Kind::Data);
    let stopped = reader.read(&all, &cancel, |_| {
        count += 1;
        cancel.store(true, Ordering::Relaxed);
        Ok(())
    });
    assert_eq!(stopped.unwrap_err().kind(), Kind::Unavailable);
    assert!(count < 20_000, "the read went on to its end");
    let (rows, _) = read(&mut reader, &all).unwrap();
    assert_eq!(rows[&0], dense(0..20_000));
}

#[test]
fn key_value_headers_and_timestamp_arrive_as_they_were_sent() {
    let Some(broker) = Broker::shared() else { return };
    let topic = timeless(broker, "columns", 1);
    broker.produce(
        &topic,
        [
            Message::new("a").key("k").timestamp_ms(1_700_000_000_123),
            Message::tombstone("k"),
            Message::new("").header("h", Some(b"1")).header("h", None).header("e", Some(b"")),
        ],
    );
    let mut options = options(broker, &[&topic]);
    for with_headers in [false, true] {
        options.include_headers = with_headers;
        let mut seen = Vec::new();
        let report = reader(&options).read(&[range(&topic, 0, 0, 3)], &AtomicBool::new(false), |r| {
            assert_eq!((r.topic, r.timestamp_type as i32), (topic.as_str(), 0));
            if r.offset == 0 {
                assert_eq!(r.timestamp_ms, 1_700_000_000_123);
            }
            let headers = r.headers.map(|h| {
                h.iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect::<Vec<_>>()
            });
            seen.push((r.key.map(<[u8]>::to_vec), r.value.map(<[u8]>::to_vec), headers));
            Ok(())
        });
        assert_eq!(report.unwrap().bytes, 3);
        let h = |k: &str, v: Option<&[u8]>| (k.to_owned(), v.map(<[u8]>::to_vec));
        let headers = vec![h("h", Some(b"1")), h("h", None), h("e", Some(b""))];
        assert_eq!(seen[0], (Some(b"k".to_vec()), Some(b"a".to_vec()), None));
        assert_eq!(seen[1], (Some(b"k".to_vec()), None, None));
        assert_eq!(seen[2], (None, Some(Vec::new()), with_headers.then_some(headers)));
    }
}

#[test]
fn a_range_that_ends_in_transaction_markers_ends() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("markers", 1);
    let id = format!("{topic}-tx");
    for (numbers, commit) in [(0..3, true), (3..6, false), (6..7, true), (7..9, false)] {
        let transaction = broker.transaction(&id);
        transaction.produce(&topic, numbered(0, numbers));
        if commit { transaction.commit() } else { transaction.abort() }
    }
    // 0-2 m 4-6 m(abort) 8 m 10-11 m(abort): the end is 13.
    let committed = committed(options(broker, &[&topic]));
    await_end(&committed, &TopicPartition::new(topic.as_str(), 0), 13);
    let v = |o: i64, n: i64| (o, format!("v{n}"));
    let kept = [v(0, 0), v(1, 1), v(2, 2), v(8, 6)];
    for until in 0..=13i64 {
        let mut fresh = reader(&committed);
        quickly(Duration::from_secs(3), "a range up to a marker", || {
            let (rows, _) = read(&mut fresh, &[range(&topic, 0, 0, until)]).unwrap();
            let wanted: Vec<_> = kept.iter().filter(|(o, _)| *o < until).cloned().collect();
            assert_eq!(rows.into_values().next().unwrap_or_default(), wanted, "up to {until}");
        });
    }
    // Ranges of one offset each, by one reader: those that hold only a marker or an aborted record are empty.
    let mut kept_reader = reader(&committed);
    let mut got = Vec::new();
    for from in 0..13 {
        let (rows, _) = read(&mut kept_reader, &[range(&topic, 0, from, from + 1)]).unwrap();
        got.extend(rows.into_values().flatten());
    }
    assert_eq!(got, kept);
    let (rows, _) = read(&mut reader(&options(broker, &[&topic])), &[range(&topic, 0, 0, 13)]).unwrap();
    let offsets: Vec<i64> = rows[&0].iter().map(|(o, _)| *o).collect();
    assert_eq!(offsets, [0, 1, 2, 4, 5, 6, 8, 10, 11], "read_uncommitted has the aborted records too");
}

#[test]
fn an_open_transaction_holds_back_only_those_who_read_committed() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("open-tx", 1);
    broker.produce(&topic, numbered(0, 0..5));
    let transaction = broker.transaction(&format!("{topic}-tx"));
    transaction.produce(&topic, numbered(0, 5..8));
    broker.produce(&topic, numbered(0, 8..9));
    let partition = TopicPartition::new(topic.as_str(), 0);
    for (options, end) in [(options(broker, &[&topic]), 9), (committed(options(broker, &[&topic])), 5)] {
        let latest = KafkaSource::open(&options).unwrap().latest(&Offsets::default()).unwrap();
        assert_eq!(latest.end.get(&partition), Some(end));
        let (rows, _) = read(&mut reader(&options), &[range(&topic, 0, 0, end)]).unwrap();
        assert_eq!(rows[&0], dense(0..end));
    }
    // What is committed behind a reader that waits at the last stable offset comes with the next range.
    let options = committed(options(broker, &[&topic]));
    let mut reader = reader(&options);
    read(&mut reader, &[range(&topic, 0, 0, 5)]).unwrap();
    transaction.commit();
    await_end(&options, &partition, 10);
    let (rows, _) = read(&mut reader, &[range(&topic, 0, 5, 10)]).unwrap();
    assert_eq!(rows[&0], dense(5..9));
}

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
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                broker.produce(topic, numbered(partition, 0..1));
                thread::sleep(Duration::from_millis(500));
            }
        });
        let outcome = act();
        done.store(true, Ordering::Relaxed);
        outcome
    })
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
            assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
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
fn what_comes_late_or_waits_for_a_transaction_is_not_lost() {
    let Some(broker) = Broker::shared() else { return };
    let (late, held) = (broker.topic("late", 1), broker.topic("held", 1));
    broker.produce(&late, numbered(0, 0..10));
    broker.produce(&held, numbered(0, 0..5));
    let transaction = broker.transaction(&format!("{held}-tx"));
    transaction.produce(&held, numbered(0, 5..8));
    thread::scope(|scope| {
        scope.spawn(|| {
            // The first look, after 5 s, finds a log that is too short.
            thread::sleep(Duration::from_secs(7));
            broker.produce(&late, numbered(0, 10..20));
        });
        scope.spawn(|| {
            let mut reader = reader(&tolerant(options(broker, &[&late])));
            let (rows, report) = read(&mut reader, &[range(&late, 0, 0, 20)]).unwrap();
            assert_eq!((&rows[&0], report.lost), (&dense(0..20), vec![]));
        });
        // The high watermark is 8, the last stable offset 5.
        let mut options = committed(tolerant(options(broker, &[&held])));
        options.poll_timeout = Duration::from_secs(12);
        let start = Instant::now();
        let error = read(&mut reader(&options), &[range(&held, 0, 0, 8)]).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        assert!(error.to_string().contains(&format!("{held}-0 [5, 8)")), "{error}");
        assert!((11..20).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    });
    transaction.abort();
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
fn a_compacted_topic_has_gaps_but_no_losses() {
    let Some(broker) = Broker::shared() else { return };
    let topic = "compacted".to_owned();
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "1048576"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "0"),
        ("min.compaction.lag.ms", "0"),
    ];
    broker.create_topic(&topic, 1, &configs);
    let keyed = |n: i64| Message::new(format!("v{n}")).key(format!("k{}", n % 7)).partition(0);
    broker.produce(&topic, (0..500).map(keyed));
    thread::sleep(Duration::from_millis(300));
    // A new segment begins, so the old one can be compacted; then its keys are deleted.
    broker.produce(&topic, (0..7).map(|n| Message::tombstone(format!("k{n}")).partition(0)));
    thread::sleep(Duration::from_millis(300));
    broker.produce(&topic, [Message::new("last").key("x").partition(0)]);
    let (_, end) = broker.offsets(&topic)[&0];
    let source_options = options(broker, &[&topic]);
    let start = Instant::now();
    let rows = loop {
        let (rows, report) = read(&mut reader(&source_options), &[range(&topic, 0, 0, end)]).unwrap();
        assert!(report.lost.is_empty());
        let rows = rows[&0].clone();
        if rows.len() < 100 {
            break rows;
        }
        assert!(start.elapsed() < BOUND, "the broker does not compact");
        thread::sleep(Duration::from_millis(200));
    };
    assert!(rows.windows(2).all(|w| w[0].0 < w[1].0), "{rows:?}");
    assert_eq!(rows.last().unwrap(), &(end - 1, "last".to_owned()));
    // A range inside the gap, in front of what is left, is empty and ends.
    let first = rows[0].0;
    assert!(first > 1, "compaction left the first record: {rows:?}");
    let (rows, report) = read(&mut reader(&source_options), &[range(&topic, 0, 0, first)]).unwrap();
    assert!(rows.is_empty() && report.lost.is_empty());
}

#[test]
fn a_topic_deleted_while_it_is_read_is_an_error_in_bounded_time() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("deleted", 1);
    broker.produce(&topic, numbered(0, 0..10));
    let source = KafkaSource::open(&options(broker, &[&topic])).unwrap();
    let known = source.latest(&Offsets::default()).unwrap().end;
    let mut strict = reader(&options(broker, &[&topic]));
    let mut tolerant = reader(&tolerant(options(broker, &[&topic])));
    read(&mut strict, &[range(&topic, 0, 0, 10)]).unwrap();
    read(&mut tolerant, &[range(&topic, 0, 0, 10)]).unwrap();
    broker.delete_topic(&topic);
    quickly(Duration::from_secs(25), "a deleted topic", || {
        let error = read(&mut strict, &[range(&topic, 0, 10, 20)]).unwrap_err();
        assert_eq!(error.kind(), Kind::Data, "{error}");
        assert!(error.to_string().contains("was deleted"), "{error}");
        let (_, report) = read(&mut tolerant, &[range(&topic, 0, 10, 20)]).unwrap();
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

/// All records of a topic by a reader that is not ours: one plain consumer.
fn oracle(broker: &Broker, topic: &str, ends: &BTreeMap<i32, i64>, isolation: Isolation) -> Rows {
    let consumer: BaseConsumer = broker
        .client()
        .set("group.id", "oracle")
        .set("isolation.level", isolation.as_str())
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for &partition in ends.keys() {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut rows, mut ended) = (Rows::new(), 0);
    while ended < ends.len() {
        match consumer.poll(Duration::from_secs(10)).expect("the oracle reads to the end") {
            Ok(message) => {
                let value = String::from_utf8_lossy(message.payload().unwrap()).into_owned();
                rows.entry(message.partition()).or_default().push((message.offset(), value));
            }
            Err(KafkaError::PartitionEOF(_)) => ended += 1,
            Err(error) => panic!("{error}"),
        }
    }
    rows
}

#[test]
fn lanes_with_split_partitions_read_what_a_plain_consumer_reads() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("lanes", 3);
    let mut random = SmallRng::seed_from_u64(3);
    let id = format!("{topic}-tx");
    for round in 0..15 {
        let transaction = broker.transaction(&id);
        for partition in 0..3 {
            let count = random.random_range(0..[900, 60, 3][partition as usize]);
            let value = |n| Message::new(format!("{round}-{n}")).partition(partition);
            transaction.produce(&topic, (0..count).map(value));
        }
        if random.random_bool(0.6) {
            transaction.commit()
        } else {
            transaction.abort()
        }
        broker.produce(&topic, [Message::new(format!("{round}")).partition(round % 3)]);
    }
    for isolation in [Isolation::ReadUncommitted, Isolation::ReadCommitted] {
        let mut options = options(broker, &[&topic]);
        options.isolation = isolation;
        let source = KafkaSource::open(&options).unwrap();
        let latest = source.latest(&Offsets::default()).unwrap().end;
        let mut at = source.initial_offsets().unwrap();
        let mut readers: Vec<LaneReader> = (0..3).map(|_| reader(&options)).collect();
        let mut got = Rows::new();
        while at != latest {
            let end = limit(&at, &latest, Some(random.random_range(1..900)));
            // More partitions wanted than there are splits ranges that would not be worth it.
            let split = random.random_bool(0.5).then_some(9);
            let plan = assign_splits(&at.ranges_to(&end).unwrap(), 3, split);
            for (lane, ranges) in plan.iter().enumerate() {
                let (rows, _) = read(&mut readers[lane], ranges).unwrap();
                for (partition, rows) in rows {
                    assert!(rows.windows(2).all(|w| w[0].0 < w[1].0));
                    got.entry(partition).or_default().extend(rows);
                }
            }
            at = end;
        }
        // Pieces of a partition come by lane, not by offset; each lane's own order was checked above.
        got.values_mut().for_each(|rows| rows.sort());
        let ends = latest.0.iter().map(|(p, &end)| (p.partition, end)).collect();
        assert_eq!(got, oracle(broker, &topic, &ends, isolation), "{isolation:?}");
    }
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
    let latest = until("the new partitions", Duration::from_secs(5), || {
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

#[test]
fn a_read_rides_out_a_broker_restart_but_not_more_than_the_poll_timeout() {
    let Some(mut broker) = Broker::private() else { return };
    let topic = broker.topic("restart", 2);
    broker.produce(&topic, numbered(0, 0..50));
    let mut options = options(&broker, &[&topic]);
    options.poll_timeout = Duration::from_secs(20);
    let mut reader = reader(&options);
    let (rows, _) = read(&mut reader, &[range(&topic, 0, 0, 50)]).unwrap();
    assert_eq!(rows[&0], dense(0..50));
    broker.produce(&topic, numbered(1, 0..200_000));
    let mut next = 0;
    for step in 0..40 {
        let (rows, _) = read(&mut reader, &[range(&topic, 1, next, next + 5000)]).unwrap();
        assert_eq!(rows[&1], dense(next..next + 5000));
        next += 5000;
        if step == 10 || step == 20 {
            broker.kill();
            broker.start();
        }
    }
    broker.produce(&topic, numbered(0, 50..60));
    broker.kill();
    thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let rest = read(&mut reader, &[range(&topic, 0, 50, 70)]);
            (rest, reader)
        });
        thread::sleep(Duration::from_secs(1));
        broker.start();
        broker.produce(&topic, numbered(0, 60..70));
        let (rest, mut reader) = reading.join().unwrap();
        assert_eq!(rest.unwrap().0[&0], dense(50..70));
        broker.kill();
        let start = Instant::now();
        let error = read(&mut reader, &[range(&topic, 0, 70, 75)]).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        assert!(error.to_string().contains(&format!("{topic}-0 [70, 75)")), "{error}");
        assert!((19..26).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    });
}
