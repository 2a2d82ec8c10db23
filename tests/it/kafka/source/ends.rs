//! Every range ends, whatever its last offset holds: a marker, an open transaction, a record that was compacted away.

use std::thread;
use std::time::{Duration, Instant};

use alluvia::model::{Kind, Offsets, TopicPartition};
use alluvia::source::kafka::KafkaSource;

use super::{BOUND, await_end, committed, dense, numbered, options, quickly, range, read, reader, tolerant};
use crate::rig::{Broker, Message};

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
        // Before a reader that gets nothing would ask where the log ends.
        quickly(Duration::from_secs(5), "a range up to a marker", || {
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
