//! What a log holds beside plain records: transactions, gaps of compaction, messages at the size limit.

use std::time::Duration;

use super::{BOUND, lost_ranges, names, numbered, raw_yaml, run, table_rows, values};
use crate::rig::{Alluvia, Broker, Message, until};

#[test]
fn an_end_that_an_open_transaction_holds_back_is_no_loss() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("held-back", 1);
    broker.produce(&topic, numbered("a", 0..5));
    let open = broker.transaction(&format!("{topic}-tx"));
    open.produce(&topic, numbered("b", 0..5));
    let folder = tempfile::tempdir().unwrap();
    run(&raw_yaml(broker, &topic, "", ""), folder.path());
    assert_eq!(table_rows(folder.path()), 10);
    // The last stable offset is 5, before the offset that is next.
    run(&raw_yaml(broker, &topic, ", kafka.isolation.level: read_committed", ""), folder.path());
    assert_eq!((table_rows(folder.path()), lost_ranges(folder.path())), (10, Vec::new()));
    open.commit();
}

#[test]
fn transactions_are_read_as_the_isolation_level_says_and_the_stream_ends() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("transactions", 1);
    for (name, commits) in [("a", true), ("b", false), ("c", true), ("d", false)] {
        let transaction = broker.transaction(&format!("{topic}-tx"));
        transaction.produce(&topic, numbered(name, 0..20));
        if commits { transaction.commit() } else { transaction.abort() }
    }
    // Longer than the runs below take on a slow machine.
    let open = broker.transaction_with_timeout(&format!("{topic}-open"), BOUND * 5);
    open.produce(&topic, numbered("e", 0..20));
    broker.produce(&topic, numbered("f", 0..20));
    let all = |names_of: &[&str]| names_of.iter().flat_map(|name| names(name, 0..20)).collect::<Vec<_>>();
    for limit in ["", ", maxOffsetsPerTrigger: 7"] {
        let folder = tempfile::tempdir().unwrap();
        run(&raw_yaml(broker, &topic, limit, ""), folder.path());
        assert_eq!(values(folder.path()), all(&["a", "b", "c", "d", "e", "f"]), "{limit}");
        let folder = tempfile::tempdir().unwrap();
        let committed = format!("{limit}, kafka.isolation.level: read_committed");
        run(&raw_yaml(broker, &topic, &committed, ""), folder.path());
        assert_eq!(values(folder.path()), all(&["a", "c"]), "{limit}: up to the open transaction");
    }
    let folder = tempfile::tempdir().unwrap();
    let yaml = raw_yaml(broker, &topic, ", kafka.isolation.level: read_committed", "");
    run(&yaml, folder.path());
    open.commit();
    until("what the transaction held back", BOUND, || {
        run(&yaml, folder.path());
        (values(folder.path()) == all(&["a", "c", "e", "f"])).then_some(())
    });
    assert_eq!(lost_ranges(folder.path()), [""; 0], "markers and aborted records are no loss");
}

#[test]
#[cfg(any(debug_assertions, feature = "failpoints"))]
fn a_planned_batch_is_run_with_the_isolation_level_that_it_was_planned_with() {
    let Some(broker) = Broker::shared() else { return };
    let levels = ["read_uncommitted", "read_committed"];
    for (planned, then, rows) in
        [(levels[0], levels[1], vec!["a", "b", "d"]), (levels[1], levels[0], vec!["a", "c", "d"])]
    {
        let (folder, topic) = (tempfile::tempdir().unwrap(), broker.topic("isolation", 1));
        let transactions = |named: [(&str, bool); 2], end| {
            for (name, commits) in named {
                let transaction = broker.transaction(&format!("{topic}-tx"));
                transaction.produce(&topic, numbered(name, 0..20));
                if commits { transaction.commit() } else { transaction.abort() }
            }
            let markers = || (broker.offsets(&topic)[&0].1 == end).then_some(());
            until("the markers of transactions", BOUND, markers);
        };
        let yaml = |level: &str| raw_yaml(broker, &topic, &format!(", kafka.isolation.level: {level}"), "");
        transactions([("a", true), ("b", false)], 42);
        let kill = [("ALLUVIA_FAILPOINTS", "plan.after=kill@1")];
        assert!(!Alluvia::run_with(&yaml(planned), folder.path(), &kill).wait(BOUND).status.success());
        transactions([("c", false), ("d", true)], 84);
        let ended = Alluvia::run(&yaml(then), folder.path()).wait(BOUND).success();
        let all: Vec<_> = rows.iter().flat_map(|name| names(name, 0..20)).collect();
        assert_eq!(values(folder.path()), all, "{planned}, then {then}: {}", ended.stderr);
    }
}

#[test]
fn a_compacted_topic_ends_though_most_of_its_offsets_are_gone() {
    let Some(broker) = Broker::shared() else { return };
    let topic = "faults-compacted";
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "1048576"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "0"),
        ("min.compaction.lag.ms", "0"),
    ];
    broker.create_topic(topic, 1, &configs);
    let keyed = |n: u32| Message::new(format!("v{n:04}")).key(format!("k{}", n % 7)).partition(0);
    broker.produce(topic, (0..500).map(keyed));
    std::thread::sleep(Duration::from_millis(300));
    broker.produce(topic, (0..7).map(|n| Message::tombstone(format!("k{n}")).partition(0)));
    std::thread::sleep(Duration::from_millis(300));
    // The tail is a transaction that was aborted: markers only.
    let transaction = broker.transaction("faults-compacted-tx");
    transaction.produce(topic, [Message::new("aborted").key("x").partition(0)]);
    transaction.abort();
    until("compaction", BOUND, || {
        let folder = tempfile::tempdir().unwrap();
        run(
            &raw_yaml(
                broker,
                topic,
                ", kafka.isolation.level: read_committed, maxOffsetsPerTrigger: 100",
                "",
            ),
            folder.path(),
        );
        assert_eq!(lost_ranges(folder.path()), [""; 0]);
        (table_rows(folder.path()) < 100).then_some(())
    });
}

#[test]
fn messages_at_the_size_limit_of_the_topic_arrive_whole() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = "faults-large";
    broker.create_topic(topic, 1, &[("max.message.bytes", "8000000")]);
    let sizes = [10, 7_900_000, 1_000_000, 7_900_000, 3];
    broker.produce(topic, sizes.map(|size| Message::new(vec![b'x'; size]).partition(0)));
    run(&raw_yaml(broker, topic, "", "    memoryLimit: 64m\n"), folder.path());
    let query = format!(
        "SELECT offset, length(value) AS bytes FROM delta.`{}` ORDER BY offset",
        folder.path().join("table").display()
    );
    let found: Vec<usize> =
        crate::rig::spark_sql(&query).iter().map(|row| row["bytes"].as_u64().unwrap() as usize).collect();
    assert_eq!(found, sizes);
}
