//! Ranges of offsets are read once and in order, whatever the lanes, the memory and the steps are.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use alluvia::config::kafka::Isolation;
use alluvia::model::{Error, Kind, Offsets};
use alluvia::source::kafka::{KafkaSource, LaneReader, assign_splits, limit};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::{BOUND, Rows, dense, numbered, options, range, read, reader, timeless};
use crate::rig::{Broker, Message};

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
        match consumer.poll(BOUND).expect("the oracle reads to the end") {
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
        assert!((19..38).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    });
}
