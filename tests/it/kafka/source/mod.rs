//! The Kafka source against a real broker: every record of a range once and in order (`ranges`), every range ends
//! (`ends`), and what is lost (`losses`) or wrong (`starts`) is said. Here are the options and the reads that they share.

mod ranges;
mod ends;
mod losses;
mod starts;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use alluvia::config::kafka::{
    GroupId, Isolation, KafkaOptions, Security, StartingOffsets, Subscription, TimestampStrategy,
};
use alluvia::model::{Error, OffsetRange, Offsets, TopicPartition};
use alluvia::source::kafka::{KafkaSource, LANE_MEMORY_BYTES, LaneReader, ReadReport};

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

pub(super) fn options(broker: &Broker, topics: &[&str]) -> KafkaOptions {
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

/// Calls `each` at every `interval` while `act` runs.
fn meanwhile<T>(interval: Duration, each: impl Fn() + Send, act: impl FnOnce() -> T) -> T {
    thread::scope(|scope| {
        // Dropped when `act` ends, by a panic too: the scope waits for the thread.
        let (_acting, ended) = channel::<()>();
        scope.spawn(move || {
            while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                each();
            }
        });
        act()
    })
}

/// Calls `act` with a flag that is set after `bound`, unless it has returned by then.
fn cancelled_after<T>(bound: Duration, act: impl FnOnce(&AtomicBool) -> T) -> T {
    let cancel = AtomicBool::new(false);
    meanwhile(bound, || cancel.store(true, Ordering::Relaxed), || act(&cancel))
}

fn read(reader: &mut LaneReader, ranges: &[OffsetRange]) -> Result<(Rows, ReadReport), Error> {
    let mut rows = Rows::new();
    let start = Instant::now();
    let outcome = cancelled_after(BOUND * 2, |cancel| {
        reader.read(ranges, cancel, |record| {
            let value = String::from_utf8_lossy(record.value.unwrap_or(b"(null)")).into_owned();
            rows.entry(record.partition).or_default().push((record.offset, value));
            Ok(())
        })
    });
    assert!(start.elapsed() < BOUND * 2, "the read took {:?}", start.elapsed());
    let report = outcome?;
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
