//! Positions with the epoch of the leader that they were read from, which rdkafka's lists cannot hold.

use std::ffi::c_int;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as raw;
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;

use super::{Client, c_name, code, millis, text};
use crate::model::TopicPartition;

/// A position and the leader epoch that it was known under (KIP-320).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct EpochPosition {
    /// Which partition.
    pub(in super::super) partition: TopicPartition,
    /// The next offset to read.
    pub(in super::super) offset: i64,
    /// An epoch that is not below that of any record before `offset`.
    pub(in super::super) leader_epoch: i32,
}

/// A list that is destroyed with its holder.
struct List(NonNull<raw::rd_kafka_topic_partition_list_t>);

impl List {
    fn of(positions: &[EpochPosition]) -> List {
        // SAFETY: a list that was made is never null (librdkafka aborts without memory); names live through the call,
        // which copies them; an added entry is valid until the next one is added.
        unsafe {
            let list = raw::rd_kafka_topic_partition_list_new(c_int::try_from(positions.len()).unwrap_or(0));
            for position in positions {
                let Some(topic) = c_name(&position.partition.topic) else { continue };
                let number = position.partition.partition;
                let entry = raw::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), number);
                (*entry).offset = position.offset;
                raw::rd_kafka_topic_partition_set_leader_epoch(entry, position.leader_epoch);
            }
            List(NonNull::new(list).expect("rd_kafka_topic_partition_list_new never returns null"))
        }
    }
}

impl List {
    /// What librdkafka noted at an entry, if it noted anything.
    fn first_error(&self) -> Option<RDKafkaErrorCode> {
        // SAFETY: the list is alive.
        unsafe { code::first_in(self.0.as_ptr()) }.map(|(_, code)| code)
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: owned, destroyed once.
        unsafe { raw::rd_kafka_topic_partition_list_destroy(self.0.as_ptr()) };
    }
}

/// Assigns partitions to a client that has none, then seeks each of them to its position, and returns when the client has
/// begun to. A seek with an epoch lets librdkafka ask the leader where that epoch ends (OffsetForLeaderEpoch) before it
/// fetches; an assignment alone asks only if the leader's epoch changes afterwards.
///
/// # Errors
/// librdkafka's code and reason.
pub(in super::super) fn assign_at(
    client: &Arc<Client>,
    positions: &[EpochPosition],
    timeout: Duration,
) -> Result<(), (RDKafkaErrorCode, String)> {
    let list = List::of(positions);
    // SAFETY: client and list are alive; the call copies the list.
    let answer = unsafe { raw::rd_kafka_assign(client.client().native_ptr(), list.0.as_ptr()) };
    if answer != raw::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        let code = RDKafkaErrorCode::from(answer);
        return Err((code, code.to_string()));
    }
    // SAFETY: as above; an error that is returned is ours to destroy, after its text was copied.
    unsafe {
        let error =
            raw::rd_kafka_seek_partitions(client.client().native_ptr(), list.0.as_ptr(), millis(timeout));
        if error.is_null() {
            return list.first_error().map_or(Ok(()), |code| Err((code, code.to_string())));
        }
        let code = code::of(code::rd_kafka_error_code(error)).unwrap_or(RDKafkaErrorCode::Unknown);
        let reason = text(raw::rd_kafka_error_string(error));
        raw::rd_kafka_error_destroy(error);
        Err((code, reason))
    }
}
