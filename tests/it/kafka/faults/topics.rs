//! Topics that are made anew, vanish or are unsubscribed, partitions that are added, and offsets that retention takes.

use std::time::{Duration, Instant};

use rdkafka::Offset;

use super::{BOUND, codes, lost_ranges, names, numbered, raw_yaml, run, stops, table_rows, tolerant, values};
use crate::rig::{Alluvia, Broker, Message, delta_rows, until};

#[test]
fn a_topic_made_anew_while_the_stream_was_stopped_is_told_by_its_id() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("anew", 1);
    let yaml = raw_yaml(broker, &topic, "", "");
    broker.produce(&topic, numbered("old", 0..100));
    run(&yaml, folder.path());
    broker.delete_topic(&topic);
    broker.create_topic(&topic, 1, &[]);
    // More than before: by its offsets alone nothing would be wrong.
    broker.produce(&topic, numbered("new", 0..150));
    stops(&yaml, folder.path(), &["TOPIC_RECREATED", &topic, "offset 100", "failOnDataLoss"]);
    assert_eq!(table_rows(folder.path()), 100, "nothing was written");
    run(&tolerant(&yaml), folder.path());
    assert_eq!(values(folder.path()), [names("new", 0..150), names("old", 0..100)].concat());
    assert_eq!(lost_ranges(folder.path()), [format!("{topic}-0 [100, 100)")]);
    assert_eq!(codes(folder.path()), ["OFFSETS_LOST"]);
    // It was recorded: from here on all is well again.
    broker.produce(&topic, numbered("new", 150..160));
    run(&yaml, folder.path());
    assert_eq!(table_rows(folder.path()), 260);
}

#[test]
fn a_topic_made_anew_under_a_running_stream_is_told_too() {
    let Some(broker) = Broker::shared() else { return };
    for strict in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let topic = broker.topic("anew-running", 1);
        let yaml = raw_yaml(broker, &topic, ", kafka.metadata.max.age.ms: '1000'", "")
            .replace("trigger: availableNow", "trigger: { processingTime: 50 ms }");
        let yaml = if strict { yaml } else { tolerant(&yaml) };
        broker.produce(&topic, numbered("old", 0..100));
        let program = Alluvia::run(&yaml, folder.path());
        program.wait_for("\"endOffset\":{", BOUND);
        broker.delete_topic(&topic);
        broker.create_topic(&topic, 1, &[]);
        broker.produce(&topic, numbered("new", 0..150));
        if strict {
            let ended = program.wait(BOUND);
            assert_eq!(ended.code(), 6, "{}", ended.stderr);
            assert!(
                ended.stderr.contains(&topic) && ended.stderr.contains("failOnDataLoss"),
                "{}",
                ended.stderr
            );
            assert_eq!(table_rows(folder.path()), 100);
            continue;
        }
        program.wait_for("\"endOffset\":{\"", BOUND);
        until("the records of the new topic", BOUND, || {
            program.stderr().contains(&format!("\"endOffset\":{{\"{topic}\":{{\"0\":150}}}}")).then_some(())
        });
        program.terminate();
        let ended = program.wait(BOUND).success();
        assert_eq!(
            values(folder.path()),
            [names("new", 0..150), names("old", 0..100)].concat(),
            "{}",
            ended.stderr
        );
        assert!(codes(folder.path()).iter().all(|code| code == "OFFSETS_LOST"));
        assert!(!lost_ranges(folder.path()).is_empty());
    }
}

#[test]
#[cfg(any(debug_assertions, feature = "failpoints"))]
fn a_plan_over_a_topic_that_is_gone_reads_nothing_of_its_successor() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("plan-anew", 1);
    let yaml = raw_yaml(broker, &topic, "", "");
    broker.produce(&topic, numbered("old", 0..100));
    let kill = [("ALLUVIA_FAILPOINTS", "plan.after=kill@1")];
    assert!(!Alluvia::run_with(&yaml, folder.path(), &kill).wait(BOUND).status.success());
    broker.delete_topic(&topic);
    broker.create_topic(&topic, 1, &[]);
    broker.produce(&topic, numbered("new", 0..150));
    stops(&yaml, folder.path(), &["TOPIC_RECREATED", &topic]);
    run(&tolerant(&yaml), folder.path());
    assert_eq!(values(folder.path()), names("new", 0..150));
    assert_eq!(lost_ranges(folder.path()), [format!("{topic}-0 [0, 100)"), format!("{topic}-0 [100, 100)")]);
    assert_eq!(codes(folder.path()), ["OFFSETS_LOST", "OFFSETS_LOST"]);
}

#[test]
fn a_topic_taken_out_of_subscribe_is_not_called_deleted() {
    let Some(broker) = Broker::shared() else { return };
    let (one, two) = (broker.topic("unsubscribed-a", 1), broker.topic("unsubscribed-b", 1));
    let folder = tempfile::tempdir().unwrap();
    broker.produce(&one, numbered("a", 0..1));
    run(&raw_yaml(broker, &one, "", ""), folder.path());
    broker.produce(&two, numbered("b", 0..1));
    run(&raw_yaml(broker, &format!("{one},{two}"), "", ""), folder.path());
    broker.produce(&one, numbered("a", 1..2));
    broker.produce(&two, numbered("b", 1..2));
    let yaml = raw_yaml(broker, &two, "", "");
    let started = Instant::now();
    stops(
        &yaml,
        folder.path(),
        &["no longer has partition", &format!("{one}-0"), "offset 1", "put the topic back"],
    );
    // A partition that the brokers do not know would be doubted for 30 s.
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    run(&tolerant(&yaml), folder.path());
    assert_eq!(values(folder.path()), [names("a", 0..1), names("b", 0..2)].concat());
    assert_eq!(lost_ranges(folder.path()), [format!("{one}-0 [1, 1)")]);
    let dead = delta_rows(&folder.path().join("dead"), &["errorMessage"]);
    assert!(!dead[0]["errorMessage"].as_str().unwrap().contains("deleted"), "{dead:?}");
    // Put back, it goes on where it was left.
    run(&raw_yaml(broker, &format!("{one},{two}"), "", ""), folder.path());
    assert_eq!(values(folder.path()), [names("a", 0..2), names("b", 0..2)].concat());
}

#[test]
fn a_partition_that_is_added_is_read_from_its_start_and_a_topic_that_vanishes_is_recorded() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (grows, leaves) = (broker.topic("grows", 1), broker.topic("leaves", 1));
    broker.produce(&grows, numbered("a", 0..10));
    broker.produce(&leaves, numbered("b", 0..10));
    let yaml = raw_yaml(broker, &format!("{grows},{leaves}"), ", kafka.metadata.max.age.ms: '500'", "")
        .replace("trigger: availableNow", "trigger: { processingTime: 50 ms }");
    let program = Alluvia::run(&tolerant(&yaml), folder.path());
    program.wait_for("\"endOffset\":{", BOUND);
    broker.add_partitions(&grows, 2);
    broker.produce(&grows, (0..5).map(|n| Message::new(format!("c{n:04}")).partition(1)));
    until("the added partition", BOUND, || program.stderr().contains("\"1\":5").then_some(()));
    broker.delete_topic(&leaves);
    until("a commit that records the loss", BOUND, || (!lost_ranges(folder.path()).is_empty()).then_some(()));
    program.terminate();
    let ended = program.wait(BOUND).success();
    assert_eq!(ended.stderr.matches("going on, because failOnDataLoss").count(), 1, "{}", ended.stderr);
    assert_eq!(values(folder.path()), [names("a", 0..10), names("b", 0..10), names("c", 0..5)].concat());
    assert_eq!(lost_ranges(folder.path()), [format!("{leaves}-0 [10, 10)")]);
    assert_eq!(codes(folder.path()), ["OFFSETS_LOST"]);
    // What was lost and recorded does not stop a later start, which a topic that was never there does.
    broker.produce(&grows, [Message::new("d0000".to_owned()).partition(0)]);
    let again = tolerant(&yaml).replace("trigger: { processingTime: 50 ms }", "trigger: availableNow");
    run(&again, folder.path());
    assert_eq!(table_rows(folder.path()), 26);
    let strict = yaml.replace("trigger: { processingTime: 50 ms }", "trigger: availableNow");
    let ended = Alluvia::run(&strict, folder.path()).wait(BOUND);
    assert_eq!(ended.code(), 2, "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("topic {leaves} does not exist")), "{}", ended.stderr);
    // A name that was mistyped is no loss: taken for one, the position would be forgotten, and all read again later.
    for mistyped in ["subscribe: 'grovs'", "subscribePattern: '^grovs'", "assign: '{\"grovs\":[0]}'"] {
        let typo = again.replace(&format!("subscribe: '{grows},{leaves}'"), mistyped);
        let ended = Alluvia::run(&typo, folder.path()).wait(BOUND);
        assert_eq!(ended.code(), 2, "{mistyped}: {}", ended.stderr);
    }
    run(&again, folder.path());
    assert_eq!(table_rows(folder.path()), 26);
}

#[test]
fn a_topic_of_a_pattern_that_may_not_be_seen_any_more_is_not_called_deleted() {
    let Some(broker) = Broker::shared() else { return };
    let (prefix, folder) = (broker.topic("veiled", 1), tempfile::tempdir().unwrap());
    let topic = format!("{prefix}-records");
    broker.create_topic(&topic, 1, &[]);
    broker.produce(&topic, numbered("v", 0..10));
    let login = format!(
        ", kafka.security.protocol: SASL_PLAINTEXT, kafka.sasl.mechanism: SCRAM-SHA-512, kafka.sasl.jaas.config: 'org.apache.kafka.common.security.scram.ScramLoginModule required username=\"alice\" password=\"{}\";'",
        broker.fact("/scram/password")
    );
    let yaml = raw_yaml(broker, &prefix, &login, "")
        .replace(broker.bootstrap(), broker.fact("/bootstrap/scram"))
        .replace(&format!("subscribe: '{prefix}'"), &format!("subscribePattern: '^{prefix}'"));
    assert!(yaml.contains("subscribePattern"), "{yaml}");
    run(&yaml, folder.path());
    let acl = |change: &str| {
        let of = ["acls", change, "--force", "--topic", &topic];
        let done =
            broker.tool(&[&of[..], &["--deny-principal", "User:alice", "--operation", "All"]].concat());
        done.unwrap_or_else(|said| panic!("the ACL was not changed: {said}"));
    };
    acl("--add");
    for yaml in [yaml.clone(), tolerant(&yaml)] {
        let ended = Alluvia::run(&yaml, folder.path()).wait(BOUND);
        assert_eq!(ended.code(), 2, "{}", ended.stderr);
        let last = ended.stderr.lines().last().unwrap();
        assert!(
            last.contains(&topic) && last.contains("DESCRIBE") && !last.contains("failOnDataLoss"),
            "{last}"
        );
    }
    acl("--remove");
    broker.produce(&topic, numbered("v", 10..15));
    run(&tolerant(&yaml), folder.path());
    assert_eq!(values(folder.path()), names("v", 0..15));
    assert!(lost_ranges(folder.path()).is_empty());
}

#[test]
fn retention_that_overtakes_the_stream_stops_it_or_is_recorded() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("overtaken", 1);
    let yaml = raw_yaml(broker, &topic, "", "");
    broker.produce(&topic, numbered("v", 0..40));
    run(&yaml, folder.path());
    broker.produce(&topic, numbered("v", 40..100));
    broker.delete_records(&topic, 0, Offset::Offset(60));
    stops(
        &yaml,
        folder.path(),
        &["offset 40", &format!("{topic}-0"), "retention start 60", "[40, 60)", "failOnDataLoss"],
    );
    run(&tolerant(&yaml), folder.path());
    assert_eq!(values(folder.path()), [names("v", 0..40), names("v", 60..100)].concat());
    assert_eq!(lost_ranges(folder.path()), [format!("{topic}-0 [40, 60)")]);
    assert_eq!(codes(folder.path()), ["OFFSETS_LOST"]);
    run(&yaml, folder.path());
}

#[test]
#[cfg(any(debug_assertions, feature = "failpoints"))]
fn a_loss_found_before_a_crash_is_recorded_after_it() {
    let Some(broker) = Broker::shared() else { return };
    for point in ["plan.after", "files.after", "letters.after", "sink.after"] {
        let folder = tempfile::tempdir().unwrap();
        let topic = broker.topic("loss-crash", 1);
        let yaml = raw_yaml(broker, &topic, "", "");
        broker.produce(&topic, numbered("old", 0..10));
        run(&yaml, folder.path());
        broker.delete_topic(&topic);
        broker.create_topic(&topic, 1, &[]);
        broker.produce(&topic, numbered("new", 0..5));
        let kill = format!("{point}=kill@1");
        let killed =
            Alluvia::run_with(&tolerant(&yaml), folder.path(), &[("ALLUVIA_FAILPOINTS", &kill)]).wait(BOUND);
        assert!(!killed.status.success(), "{point}: {}", killed.stderr);
        run(&yaml, folder.path());
        assert_eq!(lost_ranges(folder.path()), [format!("{topic}-0 [10, 10)")], "{point}");
        assert_eq!(codes(folder.path()), ["OFFSETS_LOST"], "{point}");
        assert_eq!(table_rows(folder.path()), 15, "{point}");
    }
}
