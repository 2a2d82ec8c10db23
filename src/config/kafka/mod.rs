//! The validated options of a Kafka source: Spark's names and meaning, librdkafka's properties.

pub(super) mod client;
mod credentials;
mod given;
pub(super) mod jaas;
pub(super) mod librdkafka;
pub(super) mod options;
mod security;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

pub use credentials::{Security, TokenLogin};
pub(super) use security::entra_endpoint;

use crate::model::{Offsets, TopicPartition};

/// What the Kafka source reads, from where, and how its client talks to the brokers.
///
/// Source of names, defaults and precedence: Spark's Kafka integration (`KafkaSourceProvider`).
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaOptions {
    /// Which partitions are read.
    pub subscription: Subscription,
    /// Where a *new* query starts; a checkpoint always wins over it.
    pub starting: StartingOffsets,
    /// What to do if no record is at or after a starting timestamp.
    pub timestamp_strategy: TimestampStrategy,
    /// At most about this many offsets per micro-batch, split in proportion to the backlog.
    pub max_offsets_per_trigger: Option<u64>,
    /// Wait until this many offsets are there, or `max_trigger_delay` has passed.
    pub min_offsets_per_trigger: Option<u64>,
    /// The longest wait for `min_offsets_per_trigger`.
    pub max_trigger_delay: Duration,
    /// Split the ranges of a micro-batch into at least this many pieces.
    pub min_partitions: Option<u32>,
    /// Stop on lost offsets (true), or record the loss and go on (false).
    pub fail_on_data_loss: bool,
    /// Whether the `headers` column exists.
    pub include_headers: bool,
    /// `kafka.group.id` or a prefix for a generated one.
    pub group_id: GroupId,
    /// `commitOffsets`: the group that is told where the stream is; `None`: none is.
    pub commit_group: Option<String>,
    /// How often offsets are asked for before the stream gives up.
    pub fetch_offset_retries: u32,
    /// The wait between two such attempts.
    pub fetch_offset_retry_interval: Duration,
    /// How long a fetch may bring nothing although offsets are outstanding (`kafkaConsumer.pollTimeoutMs`).
    pub poll_timeout: Duration,
    /// `kafka.isolation.level`; Spark's (Java's) default is `read_uncommitted`, librdkafka's is not.
    pub isolation: Isolation,
    /// Every other property, under librdkafka's names. May hold secrets: never printed.
    pub client: BTreeMap<String, String>,
    /// Logins that are no property of librdkafka, and credentials that refer to files.
    pub security: Security,
}

/// Which partitions a source reads: exactly one of Spark's three options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subscription {
    /// `subscribe`: all partitions of these topics.
    Topics(Vec<String>),
    /// `subscribePattern`: topics in whose name the regular expression is found anywhere.
    Pattern(String),
    /// `assign`: these partitions; those that do not exist are left out, as Spark does.
    Assign(Vec<TopicPartition>),
}

/// Where a new query starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartingOffsets {
    /// The first record still in the log.
    Earliest,
    /// The end of the log.
    Latest,
    /// Per partition; -1 is latest, -2 earliest. Must name exactly the partitions read.
    Offsets(Offsets),
    /// The first record at or after this many milliseconds since the Unix epoch.
    Timestamp(i64),
    /// The same per partition (the values are milliseconds). Must name exactly the partitions read.
    Timestamps(Offsets),
}

/// `startingOffsetsByTimestampStrategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampStrategy {
    /// Stop with an error that names the partition.
    Error,
    /// Start at the end of that partition.
    Latest,
}

/// The consumer group a client names; no group is ever joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupId {
    /// `kafka.group.id`, used as it is.
    Fixed(String),
    /// `groupIdPrefix`; a unique tail is added.
    Prefix(String),
}

/// Which records of transactional producers are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Everything, open and aborted transactions included; the end is the high watermark.
    ReadUncommitted,
    /// Committed records only; the end is the last stable offset.
    ReadCommitted,
}

impl Isolation {
    /// The property's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Isolation::ReadUncommitted => "read_uncommitted",
            Isolation::ReadCommitted => "read_committed",
        }
    }

    /// The level with this value of the property.
    pub fn named(text: &str) -> Option<Isolation> {
        [Isolation::ReadUncommitted, Isolation::ReadCommitted]
            .into_iter()
            .find(|level| level.as_str() == text)
    }
}

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaOptions")
            .field("subscription", &self.subscription)
            .field("starting", &self.starting)
            .field("client", &self.client.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
