//! What the tests of this folder share.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::kafka::{
    GroupId, Isolation, KafkaOptions, Security, StartingOffsets, Subscription, TimestampStrategy,
};

/// Options for topic `t` of `brokers`, from the earliest offset.
pub(super) fn options(brokers: &str) -> KafkaOptions {
    KafkaOptions {
        subscription: Subscription::Topics(vec!["t".into()]),
        starting: StartingOffsets::Earliest,
        timestamp_strategy: TimestampStrategy::Error,
        max_offsets_per_trigger: None,
        min_offsets_per_trigger: None,
        max_trigger_delay: Duration::from_secs(900),
        min_partitions: None,
        fail_on_data_loss: true,
        include_headers: false,
        group_id: GroupId::Prefix("test".into()),
        commit_group: None,
        fetch_offset_retries: 3,
        fetch_offset_retry_interval: Duration::from_millis(10),
        poll_timeout: Duration::from_secs(20),
        isolation: Isolation::ReadUncommitted,
        client: BTreeMap::from([("bootstrap.servers".into(), brokers.into())]),
        security: Security::default(),
    }
}
