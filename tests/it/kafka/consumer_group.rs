//! Offsets that are told to a consumer group (`commitOffsets`): Kafka's own tool shows the lag, and a group that cannot be
//! written costs nothing but a warning.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::kafka::faults::numbered;
use crate::kafka::logins::rows_reach;
use crate::operating::monitoring::Watched;
use crate::rig::{Alluvia, Broker, http, until};

const BOUND: Duration = Duration::from_secs(60);

fn yaml(bootstrap: &str, topic: &str, options: &str, trigger: &str) -> String {
    format!(
        "streams:
  - name: mirrored
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{bootstrap}', subscribe: '{topic}', startingOffsets: earliest, commitOffsets: true{options} }}
    sink: {{ format: delta, path: ./table }}
    trigger: {trigger}
    checkpointLocation: ./checkpoint
"
    )
}

/// Current offset and lag of each partition as `kafka-consumer-groups --describe` shows them, by the order of the partitions.
fn described(broker: &Broker, group: &str) -> Vec<(u64, u64)> {
    // A group that is not there is an error, and has no rows.
    let text = broker.tool(&["groups", "--describe", "--group", group]).unwrap_or_else(|said| said);
    let mut rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|row| row.first() == Some(&group))
        .collect();
    rows.sort_by_key(|row| row[2].parse::<u32>().unwrap_or(0));
    rows.iter().filter_map(|row| Some((row[3].parse().ok()?, row[5].parse().ok()?))).collect()
}

#[test]
fn kafkas_own_tool_shows_where_the_stream_is_and_its_lag() {
    let Some(broker) = Broker::shared() else { return };
    let (topic, folder) = (broker.topic("mirrored", 2), tempfile::tempdir().unwrap());
    let prefix = format!("lake-{topic}");
    let group = format!("{prefix}-mirrored");
    let yaml =
        |trigger: &str| yaml(broker.bootstrap(), &topic, &format!(", groupIdPrefix: '{prefix}'"), trigger);
    broker.produce(&topic, numbered("v", 0..5));
    Alluvia::run(&yaml("availableNow"), folder.path()).wait(BOUND).success();
    assert_eq!(described(broker, &group), [(5, 0), (0, 0)], "the last offsets are committed before the end");
    broker.produce(&topic, numbered("w", 0..3));
    assert_eq!(described(broker, &group), [(5, 3), (0, 0)]);
    let watched = Watched::run(&yaml("{ processingTime: 50 ms }"), folder.path(), &[]);
    rows_reach(folder.path(), 8);
    let sample = format!("alluvia_group_offset{{partition=\"0\",stream=\"mirrored\",topic=\"{topic}\"}} 8");
    until("the metric of the group", BOUND, || {
        http::get(&watched.observe, "/metrics").body.contains(&sample).then_some(())
    });
    assert_eq!(described(broker, &group), [(8, 0), (0, 0)]);
    watched.program.terminate();
    watched.program.wait(BOUND).success();
}

#[test]
fn a_group_of_ones_own_name_is_used_as_it_is_and_without_the_option_no_group_is_made() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("mirrored-named", 1);
    broker.produce(&topic, numbered("v", 0..5));
    let group = format!("own-{topic}");
    let named = yaml(broker.bootstrap(), &topic, &format!(", kafka.group.id: '{group}'"), "availableNow");
    for (option, found) in [("false", vec![]), ("true", vec![(5, 0)])] {
        let folder = tempfile::tempdir().unwrap();
        let yaml = named.replace("commitOffsets: true", &format!("commitOffsets: {option}"));
        Alluvia::run(&yaml, folder.path()).wait(BOUND).success();
        assert_eq!(described(broker, &group), found, "{option}");
    }
}

#[test]
fn a_group_that_may_not_be_written_never_fails_the_stream() {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    cluster.create_topic("t", 1, 1).unwrap();
    let bootstrap = cluster.bootstrap_servers();
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &bootstrap).create().expect("a producer");
    for _ in 0..5 {
        producer.send(BaseRecord::<(), _>::to("t").payload("v")).unwrap();
    }
    producer.flush(BOUND).unwrap();
    let forbidden = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 100];
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &forbidden);
    let folder = tempfile::tempdir().unwrap();
    let program = Alluvia::run(&yaml(&bootstrap, "t", "", "{ processingTime: 50 ms }"), folder.path());
    program.wait_for("the offsets cannot be committed to the consumer group", BOUND);
    rows_reach(folder.path(), 5);
    program.terminate();
    let ended = program.wait(BOUND).success();
    assert!(!ended.stderr.contains("started again after a pause"), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("the offsets cannot be committed").count(), 1, "{}", ended.stderr);
}
