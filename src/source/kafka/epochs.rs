//! Whether a partition's log is still the one that was read, by the epochs of its leaders (KIP-101, KIP-320).
//!
//! Each leader of a partition has an epoch, and every record carries that of the leader that took it. A position is kept
//! with the epoch of the leader that answered for it. When the leader has changed since, the new one is asked where that
//! epoch ends in its log (OffsetForLeaderEpoch): before the position means that the log was cut there, by an unclean
//! election or with a lost disk, and that what is behind it now was never read, though the offsets look right.
//!
//! librdkafka asks that question itself when a client seeks to a position with an epoch, and goes on where the epoch ends;
//! it has no call that only asks. So a client of its own seeks, and the first offset that comes out of it is the answer
//! (docs/decisions/0005-truncated-logs-by-seeking.md). Decides nothing about losses.

use std::collections::{BTreeMap, HashMap};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use tracing::debug;

use super::client::{REQUEST_TIMEOUT, Role, failed};
use super::cluster::{Cluster, hopeless};
use super::loss::Latest;
use super::native::{self, Batch, EpochPosition, Queue, RequestError, Topic, assign_at};
use crate::config::kafka::{Isolation, KafkaOptions};
use crate::model::{Error, Offsets, Result, TopicPartition};

/// How many messages are taken from the client at once.
const BATCH: usize = 1024;
/// The pause before a client that has not begun is told again.
const AGAIN: Duration = Duration::from_millis(50);

/// What the answers of the leaders leave open about positions.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Doubts {
    /// Positions whose leader has changed since: it must be asked where their epoch ends.
    pub(super) changed: Vec<EpochPosition>,
    /// Partitions that end before their position although their leader is the same: not all of the log is shown (an open
    /// transaction under `read_committed`), and nothing is gone.
    pub(super) held_back: Vec<TopicPartition>,
    /// Partitions that end before their position, with nothing that proves that the answer is not of a leader that was
    /// replaced.
    pub(super) unproven: Vec<TopicPartition>,
    /// Partitions that a leader answers for with an epoch below one that was seen: it was replaced, or the topic is
    /// another one.
    pub(super) outdated: Vec<TopicPartition>,
}

/// Compares what the leaders answer with positions `next` and the epochs `known` with them; partitions that `skip` are left
/// out.
pub(super) fn doubts(
    next: &Offsets,
    known: &Offsets,
    latest: &Latest,
    skip: impl Fn(&TopicPartition) -> bool,
) -> Doubts {
    let mut doubts = Doubts::default();
    for (partition, &end) in &latest.end.0 {
        let Some(offset) = next.get(partition).filter(|_| !skip(partition)) else { continue };
        let name = || partition.clone();
        match (known.get(partition), latest.epochs.get(partition)) {
            (Some(before), Some(now)) if now < before => doubts.outdated.push(name()),
            // Nothing was read that another leader could lack.
            (Some(before), Some(now)) if now > before && offset > 0 => {
                let leader_epoch = i32::try_from(before).unwrap_or(i32::MAX);
                doubts.changed.push(EpochPosition { partition: name(), offset, leader_epoch });
            }
            (Some(before), Some(now)) if now == before && end < offset => doubts.held_back.push(name()),
            _ if end < offset => doubts.unproven.push(name()),
            _ => {}
        }
    }
    doubts
}

/// Where the logs go on at `positions`: the position itself or behind it if the log is the one that was read, else the first
/// offset that differs.
///
/// # Errors
/// `Unavailable` if a leader does not answer in time; `Config` if it refuses.
pub(super) fn first_offsets(
    cluster: &Cluster,
    positions: &[EpochPosition],
) -> Result<BTreeMap<TopicPartition, i64>> {
    if positions.is_empty() {
        return Ok(BTreeMap::new());
    }
    // An open transaction hides nothing of a log.
    let options = KafkaOptions { isolation: Isolation::ReadUncommitted, ..cluster.options.clone() };
    let (client, _) = cluster.login.client(&options, Role::Probe)?;
    let started = Instant::now();
    // Declared above what they are made from: messages go before their client.
    let mut batch = Batch::new(BATCH);
    let queue = Queue::new(std::sync::Arc::clone(&client));
    let mut topics: HashMap<&str, Topic> = HashMap::new();
    let mut places = HashMap::new();
    for position in positions {
        let EpochPosition { partition, .. } = position;
        let topic = match topics.get(&*partition.topic) {
            Some(topic) => topic,
            None => {
                let topic = Topic::new(&client, &partition.topic).ok_or_else(|| not_a_name(partition))?;
                topics.entry(&partition.topic).or_insert(topic)
            }
        };
        places.insert((topic.identity(), partition.partition), partition);
        if !queue.take_partition(partition) {
            return Err(not_a_name(partition));
        }
    }
    let what = "ask where leader epochs end";
    while let Err((code, text)) = assign_at(&client, positions, REQUEST_TIMEOUT) {
        // The client's threads take up a partition after it was assigned.
        if code != RDKafkaErrorCode::State || started.elapsed() >= REQUEST_TIMEOUT {
            return Err(failed(&options, &client, what, &RequestError { code, text }));
        }
        thread::sleep(AGAIN);
    }
    let mut first = BTreeMap::new();
    let in_vain = hopeless(&client);
    while first.len() < positions.len() {
        native::serve(&client);
        queue.consume(&mut batch, Duration::from_millis(50));
        while let Some(message) = batch.pop() {
            let Some(partition) = places.get(&message.place()) else { continue };
            match message.error() {
                None | Some(RDKafkaErrorCode::PartitionEOF) => {
                    first.entry((*partition).clone()).or_insert(message.offset());
                }
                Some(code) => debug!(%partition, %code, "the log could not be looked into yet"),
            }
        }
        if started.elapsed() >= REQUEST_TIMEOUT || in_vain() {
            let error = RequestError {
                code: RDKafkaErrorCode::OperationTimedOut,
                text: "no answer in time".to_owned(),
            };
            return Err(failed(&options, &client, what, &error));
        }
    }
    debug!(
        partitions = positions.len(),
        ms = started.elapsed().as_millis(),
        "leaders have changed: the logs were compared"
    );
    Ok(first)
}

fn not_a_name(partition: &TopicPartition) -> Error {
    Error::internal(format!("{:?} cannot be the name of a topic", partition.topic))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(values: &[(i32, i64)]) -> Offsets {
        Offsets(values.iter().map(|&(p, o)| (TopicPartition::new("t", p), o)).collect())
    }

    fn found(next: i64, known: Option<i64>, end: i64, now: Option<i64>) -> Doubts {
        let one =
            |value: Option<i64>| offsets(&value.map(|value| (0, value)).into_iter().collect::<Vec<_>>());
        let latest = Latest { end: offsets(&[(0, end)]), epochs: one(now), ..Latest::default() };
        doubts(&offsets(&[(0, next)]), &one(known), &latest, |_| false)
    }

    #[test]
    fn an_end_before_the_position_is_believed_only_from_a_leader_that_proves_it() {
        let partition = || vec![TopicPartition::new("t", 0)];
        assert_eq!(found(10, Some(3), 12, Some(3)), Doubts::default(), "the same leader");
        assert_eq!(
            found(10, Some(3), 7, Some(3)).held_back,
            partition(),
            "a leader's log never gets shorter"
        );
        let position = EpochPosition { partition: TopicPartition::new("t", 0), offset: 10, leader_epoch: 3 };
        assert_eq!(
            found(10, Some(3), 25, Some(4)).changed,
            std::slice::from_ref(&position),
            "it may have been cut and grown"
        );
        assert_eq!(found(10, Some(3), 7, Some(4)).changed, [position]);
        assert_eq!(found(10, Some(3), 7, Some(2)).outdated, partition(), "a leader that was replaced");
        assert_eq!(found(10, Some(3), 25, Some(2)).outdated, partition());
        assert_eq!(found(10, None, 7, Some(4)).unproven, partition());
        assert_eq!(found(10, Some(3), 7, None).unproven, partition(), "a broker without epochs");
        assert_eq!(found(10, None, 12, None), Doubts::default());
        assert_eq!(found(0, Some(3), 5, Some(4)), Doubts::default(), "nothing was read");
    }
}
