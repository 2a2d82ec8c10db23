//! Brokers whose answers come late, without the ids of topics, or from one that does not lead: the stream waits or stops
//! by name, and never takes a topic that was made anew for the one it read.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use alluvia::config::kafka::KafkaOptions;
use alluvia::model::{Notes, Offset};
use alluvia::source::kafka::KafkaSource;
use alluvia::source::{Admission, Position, Source, SourceRange};
use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::kafka::faults::{
    lost_ranges, names, numbered, raw_yaml, run, stops, table_rows, tolerant, values,
};
use crate::kafka::source::options;
use crate::rig::proxy::{LIST_OFFSETS, METADATA};
use crate::rig::{Alluvia, Broker, Message, Proxy, until};

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
#[cfg(any(debug_assertions, feature = "failpoints"))]
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
fn a_topic_that_the_brokers_do_not_know_for_a_moment_is_waited_for() {
    let Some(broker) = Broker::shared() else { return };
    let (proxy, folder) = (Proxy::new(broker), tempfile::tempdir().unwrap());
    let topic = broker.topic("away-briefly", 1);
    let yaml = yaml_over(&proxy, broker, &topic, ", kafka.metadata.max.age.ms: '500'")
        .replace("availableNow", "{ processingTime: 50 ms }");
    broker.produce(&topic, numbered("v", 0..10));
    let program = Alluvia::run(&yaml, folder.path());
    program.wait_for("\"endOffset\":{", BOUND);
    proxy.forget(&topic);
    // Longer than the answers of `fetchOffset.numRetries` questions.
    thread::sleep(Duration::from_secs(8));
    proxy.recall();
    broker.produce(&topic, numbered("v", 10..20));
    until("the rows that waited", BOUND, || (table_rows(folder.path()) == 20).then_some(()));
    program.terminate();
    program.wait(BOUND).success();
    assert_eq!(values(folder.path()), names("v", 0..20));
    assert!(lost_ranges(folder.path()).is_empty());
}

#[test]
fn a_topic_that_was_believed_deleted_and_comes_back_goes_on_where_it_was_left() {
    let Some(broker) = Broker::shared() else { return };
    let (proxy, folder) = (Proxy::new(broker), tempfile::tempdir().unwrap());
    let topic = broker.topic("away-for-long", 1);
    let yaml = tolerant(&yaml_over(&proxy, broker, &topic, ", kafka.metadata.max.age.ms: '500'"))
        .replace("availableNow", "{ processingTime: 50 ms }");
    broker.produce(&topic, numbered("v", 0..10));
    let program = Alluvia::run(&yaml, folder.path());
    program.wait_for("\"endOffset\":{", BOUND);
    proxy.forget(&topic);
    until("a commit that records the loss", BOUND, || (!lost_ranges(folder.path()).is_empty()).then_some(()));
    proxy.recall();
    broker.produce(&topic, numbered("v", 10..20));
    until("the rows behind", BOUND, || {
        program.stderr().contains(&format!("\"endOffset\":{{\"{topic}\":{{\"0\":20}}}}")).then_some(())
    });
    program.terminate();
    program.wait(BOUND).success();
    assert_eq!(values(folder.path()), names("v", 0..20));
    assert_eq!(lost_ranges(folder.path()), [format!("{topic}-0 [10, 10)")]);
}

/// What a stream says that does not believe yet that a topic is gone.
const DOUBT: &str = "the brokers do not know a partition that was read";

#[test]
fn a_run_does_not_end_while_it_is_in_doubt_whether_a_topic_is_gone() {
    let Some(broker) = Broker::shared() else { return };
    for trigger in ["availableNow", "once"] {
        let (proxy, folder) = (Proxy::new(broker), tempfile::tempdir().unwrap());
        let topic = broker.topic("away-at-start", 1);
        let yaml = yaml_over(&proxy, broker, &topic, "").replace("availableNow", trigger);
        broker.produce(&topic, numbered("v", 0..10));
        run(&yaml, folder.path());
        broker.produce(&topic, numbered("v", 10..20));
        proxy.forget(&topic);
        let program = Alluvia::run(&yaml, folder.path());
        program.wait_for(DOUBT, BOUND);
        proxy.recall();
        program.wait(BOUND).success();
        assert_eq!(values(folder.path()), names("v", 0..20), "{trigger}");
        assert!(lost_ranges(folder.path()).is_empty(), "{trigger}");
    }
}

#[test]
fn a_stop_does_not_wait_until_it_is_decided_whether_a_topic_is_gone() {
    let Some(broker) = Broker::shared() else { return };
    let (proxy, folder) = (Proxy::new(broker), tempfile::tempdir().unwrap());
    let topic = broker.topic("away-at-stop", 1);
    let yaml = yaml_over(&proxy, broker, &topic, "").replace("availableNow", "{ processingTime: 50 ms }");
    broker.produce(&topic, numbered("v", 0..10));
    let program = Alluvia::run(&yaml, folder.path());
    program.wait_for("\"endOffset\":{", BOUND);
    proxy.forget(&topic);
    program.wait_for(DOUBT, BOUND);
    program.terminate();
    // Once it was decided, the loss would stop the stream with another code.
    program.wait(BOUND).success();
    proxy.recall();
    broker.produce(&topic, numbered("v", 10..20));
    run(&yaml.replace("{ processingTime: 50 ms }", "availableNow"), folder.path());
    assert_eq!(values(folder.path()), names("v", 0..20));
}

/// A source of these topics over the door, which soon hears of changes and asks each question once.
fn source_over(proxy: &Proxy, broker: &Broker, topics: &[&str], fail_on_data_loss: bool) -> KafkaSource {
    let mut options = KafkaOptions { fail_on_data_loss, fetch_offset_retries: 1, ..options(broker, topics) };
    options.client.insert("bootstrap.servers".into(), proxy.bootstrap().into());
    options.client.insert("topic.metadata.refresh.interval.ms".into(), "200".into());
    KafkaSource::open(&options).unwrap()
}

#[test]
fn a_topic_that_vanishes_while_a_loss_is_looked_into_is_doubted_too() {
    let Some(broker) = Broker::shared() else { return };
    let proxy = Proxy::new(broker);
    let (anew, away) = (broker.topic("anew-beside", 1), broker.topic("away-beside", 1));
    broker.produce(&anew, numbered("old", 0..10));
    broker.produce(&away, numbered("v", 0..10));
    let mut source = source_over(&proxy, broker, &[&anew, &away], false);
    let start = Position { offset: source.initial_offset().unwrap(), notes: Notes::new() };
    let look = |source: &mut KafkaSource, from: &Position| {
        source.latest_offset(from, &Admission::default()).unwrap()
    };
    let range = look(&mut source, &start).range.unwrap();
    let position = Position { offset: range.end, notes: range.notes };
    let id = |source: &KafkaSource| source.topic_ids(&BTreeMap::new()).unwrap().get(&anew).cloned();
    let before = id(&source);
    make_anew(broker, &anew, 25);
    until("the topic that was made anew", BOUND, || id(&source).filter(|now| Some(now) != before.as_ref()));
    // The first look has found both when the other one vanishes, and its answer comes when the view of the topics is newer.
    proxy.late(LIST_OFFSETS, LATE);
    let asked = proxy.asked(LIST_OFFSETS);
    let mut looks = vec![thread::scope(|scope| {
        scope.spawn(|| {
            until("the first look", BOUND, || (proxy.asked(LIST_OFFSETS) > asked).then_some(()));
            proxy.forget(&away);
        });
        look(&mut source, &position)
    })];
    proxy.late(LIST_OFFSETS, Duration::ZERO);
    proxy.recall();
    until("a batch", BOUND, || {
        looks.push(look(&mut source, &position));
        looks.last().unwrap().range.is_some().then_some(())
    });
    let lost: Vec<&str> =
        looks.iter().flat_map(|look| &look.losses).map(|l| &*l.range.partition.topic).collect();
    assert!(!lost.is_empty() && lost.iter().all(|topic| *topic == anew), "{looks:?}");
}

#[test]
fn a_plan_of_spark_does_not_lose_a_topic_that_the_brokers_do_not_know_for_a_moment() {
    let Some(broker) = Broker::shared() else { return };
    let proxy = Proxy::new(broker);
    let topic = broker.topic("away-planned", 1);
    broker.produce(&topic, numbered("v", 0..10));
    let mut source = source_over(&proxy, broker, &[&topic], true);
    proxy.forget(&topic);
    until("a look that does not find the topic", BOUND, || source.partitions().is_empty().then_some(()));
    // It notes no starts and no ids.
    let end = Offset::from_json(&format!("{{\"{topic}\":{{\"0\":10}}}}")).unwrap();
    let planned = SourceRange { start: Offset::from_json("{}").unwrap(), end, notes: Notes::new() };
    let (range, lost) = source.replay(planned).unwrap();
    assert!(lost.is_empty(), "{lost:?}");
    let splits = source.splits(&range, &lost, 1).unwrap().concat();
    assert_eq!(
        splits.iter().map(|split| (split.range.from, split.range.until)).collect::<Vec<_>>(),
        [(0, 10)]
    );
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
    thread::sleep(Duration::from_millis(500));
    make_anew(broker, &topic, 25);
    let ended = program.wait(BOUND);
    assert_eq!(ended.code(), 6, "{}", ended.stderr);
    assert!(ended.stderr.contains(&topic), "{}", ended.stderr);
}

/// `count` records `v…` in each partition of the mock cluster's topic, acknowledged.
fn produce_to(brokers: &str, topic: &str, partitions: i32, count: u32) {
    let mut config = ClientConfig::new();
    let producer: BaseProducer = config.set("bootstrap.servers", brokers).create().unwrap();
    for (partition, n) in (0..partitions).flat_map(|p| (0..count).map(move |n| (p, n))) {
        let value = format!("v{partition}-{n:05}");
        let record: BaseRecord<'_, (), str> = BaseRecord::to(topic).partition(partition).payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(BOUND).unwrap();
}

/// How many batches the stream has told of.
fn progress(program: &Alluvia) -> usize {
    program.stderr().matches("\"event\":\"progress\"").count()
}

#[test]
fn leaders_that_move_or_refuse_cost_time_only() {
    if crate::rig::skipped("the Python readers") {
        return;
    }
    let cluster = MockCluster::new(3).unwrap();
    let (brokers, topic, count) = (cluster.bootstrap_servers(), "leaderless", 3_000_u32);
    cluster.create_topic(topic, 2, 3).unwrap();
    produce_to(&brokers, topic, 2, count);
    let folder = tempfile::tempdir().unwrap();
    let yaml = format!(
        "streams:
  - name: raw
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{brokers}', subscribe: {topic}, startingOffsets: earliest, maxOffsetsPerTrigger: 500, fetchOffset.numRetries: 10, fetchOffset.retryIntervalMs: 100 }}
    sink: {{ format: delta, path: ./table }}
    trigger: availableNow
    checkpointLocation: ./checkpoint
    restart: {{ maxAttempts: 50, backoff: 50 ms }}
"
    );
    let mut program = Alluvia::run(&yaml, folder.path());
    let errors = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
    ];
    for round in 0..6 {
        // None is left without a leader: the mock cluster crashes on a fetch of one. Real brokers do that below.
        for partition in 0..2 {
            cluster.partition_leader(topic, partition, Some((round + partition) % 3 + 1)).unwrap();
        }
        cluster.request_errors(RDKafkaApiKey::Fetch, &errors);
        cluster.request_errors(RDKafkaApiKey::ListOffsets, &errors);
        // The next move comes when the stream has got on.
        let before = progress(&program);
        until("a batch by the new leaders", BOUND, || {
            (program.ended() || progress(&program) > before).then_some(())
        });
    }
    let ended = program.wait(BOUND).success();
    let expected: Vec<_> = (0..2).flat_map(|p| (0..count).map(move |n| format!("v{p}-{n:05}"))).collect();
    assert!(values(folder.path()) == expected, "rows are missing or doubled: {}", ended.stderr);
}

#[test]
fn a_new_partition_whose_leader_refuses_for_a_moment_is_read_from_its_start() {
    if crate::rig::skipped("the Python readers") {
        return;
    }
    let refusals = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
    ];
    for refusal in refusals {
        let cluster = MockCluster::new(1).unwrap();
        let (brokers, folder) = (cluster.bootstrap_servers(), tempfile::tempdir().unwrap());
        let yaml = format!(
            "streams:
  - name: raw
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{brokers}', subscribePattern: '^grows-', startingOffsets: earliest }}
    sink: {{ format: delta, path: ./table }}
    trigger: availableNow
    checkpointLocation: ./checkpoint
"
        );
        cluster.create_topic("grows-a", 1, 1).unwrap();
        produce_to(&brokers, "grows-a", 1, 10);
        run(&yaml, folder.path());
        cluster.create_topic("grows-b", 1, 1).unwrap();
        produce_to(&brokers, "grows-b", 1, 10);
        // The first question is for the ends, the second for the start of what is new.
        let none = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
        cluster.request_errors(RDKafkaApiKey::ListOffsets, &[none, refusal]);
        run(&yaml, folder.path());
        assert_eq!(table_rows(folder.path()), 20, "{refusal:?}");
        assert!(lost_ranges(folder.path()).is_empty());
    }
}

#[test]
fn a_partition_without_a_leader_is_waited_for_and_not_taken_for_lost() {
    let Some(broker) = Broker::private() else { return };
    let (mut second, topic, folder) = (broker.beside(), "half-dark", tempfile::tempdir().unwrap());
    broker.create_topic_on(topic, &[1, 2]);
    let produce = |partition: i32, numbers: std::ops::Range<u32>| {
        let message = |n| Message::new(format!("v{partition}-{n:05}")).partition(partition);
        broker.produce(topic, numbers.map(message));
    };
    produce(0, 0..2_000);
    produce(1, 0..2_000);
    let options = ", maxOffsetsPerTrigger: 200, fetchOffset.numRetries: 2, fetchOffset.retryIntervalMs: 100";
    let yaml = tolerant(&raw_yaml(&broker, topic, options, "")).replace("maxAttempts: 3", "maxAttempts: 500");
    let endless = yaml.replace("availableNow", "{ processingTime: 50 ms }");
    let mut program = Alluvia::run(&endless, folder.path());
    program.wait_for("\"batchId\":2,", BOUND);
    second.kill();
    let dark = format!("{topic}-1 cannot be found");
    program.wait_for(&dark, BOUND);
    assert!(!program.ended(), "{}", program.stderr());
    produce(0, 2_000..2_100);
    // A start finds it so, too.
    program.terminate();
    program.wait(BOUND).success();
    let program = Alluvia::run(&endless, folder.path());
    program.wait_for(&dark, BOUND);
    second.start();
    produce(1, 2_000..2_100);
    // It goes on by itself.
    until("all rows", BOUND, || (table_rows(folder.path()) == 4_200).then_some(()));
    program.terminate();
    program.wait(BOUND).success();
    run(&yaml, folder.path());
    let expected: Vec<_> = (0..2).flat_map(|p| (0..2_100).map(move |n| format!("v{p}-{n:05}"))).collect();
    assert!(values(folder.path()) == expected, "rows are missing or doubled");
    assert!(lost_ranges(folder.path()).is_empty());
}

#[test]
fn a_pattern_over_a_thousand_topics_asks_once_for_all_of_them_and_finds_new_ones() {
    let Some(broker) = Broker::private() else { return };
    let names: Vec<String> = (0..1000).map(|n| format!("crowd-{n:04}")).collect();
    names.chunks(250).for_each(|names| broker.create_topics(names, 4));
    let (proxy, folder) = (Proxy::new(&broker), tempfile::tempdir().unwrap());
    let one = |topic: &str| {
        broker.produce(topic, [Message::new(topic.to_owned()).partition(3)]);
    };
    names.iter().step_by(100).for_each(|name| one(name));
    let options = ", kafka.topic.metadata.refresh.interval.ms: 500, fetchOffset.retryIntervalMs: 100";
    let yaml = yaml_over(&proxy, &broker, "crowd", options)
        .replace("subscribe: 'crowd'", "subscribePattern: '^crowd-'")
        .replace("availableNow", "{ processingTime: 50 ms }");
    assert!(yaml.contains("subscribePattern"), "{yaml}");
    let program = Alluvia::run(&yaml, folder.path());
    program.wait_for("\"numInputRows\":10,", BOUND);
    let (looks, lists) = (proxy.asked(METADATA), proxy.asked(LIST_OFFSETS));
    // New topics are found by looks in the background, and a batch is made of each.
    for n in 0..3 {
        let name = format!("crowd-new-{n}");
        broker.create_topic(&name, 4, &[]);
        one(&name);
        until("the row of a new topic", BOUND, || (table_rows(folder.path()) == 11 + n as u64).then_some(()));
    }
    let looks = proxy.asked(METADATA) - looks;
    let lists = proxy.asked(LIST_OFFSETS) - lists;
    program.terminate();
    let ended = program.wait(BOUND).success();
    // Each look is one question for all topics, or two with their ids, for the stream and its lanes; never one for each topic.
    assert!((1..300).contains(&looks), "{looks} metadata requests: {}", ended.stderr);
    assert!(lists > 0, "the ends were never asked");
    assert_eq!(table_rows(folder.path()), 13);
}
