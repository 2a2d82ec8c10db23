//! Offsets of a consumer group, written without being a member of it.

use std::ffi::c_int;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as raw;
use rdkafka::consumer::Consumer;

use super::request::{RequestError, answer};
use super::{Client, Queue, c_name, code};
use crate::model::Offsets;

/// Commits the next offset of each partition to the client's group, and waits for the coordinator's answer; `give_up` is
/// asked between and ends the wait early.
///
/// # Errors
/// The coordinator's refusal, of the whole or of its first partition; a code for silence if there is no answer in time.
pub(in super::super) fn commit_offsets(
    client: &Arc<Client>,
    offsets: &Offsets,
    timeout: Duration,
    give_up: &dyn Fn() -> bool,
) -> Result<(), RequestError> {
    let queue = Queue::new(Arc::clone(client));
    // SAFETY: client, list, names and queue live through the call, which copies them; the answer comes to the queue, for there
    // is no callback.
    let begun = unsafe {
        let list = raw::rd_kafka_topic_partition_list_new(c_int::try_from(offsets.0.len()).unwrap_or(0));
        for (partition, offset) in &offsets.0 {
            if let Some(topic) = c_name(&partition.topic) {
                let entry = raw::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), partition.partition);
                (*entry).offset = *offset;
            }
        }
        let begun = raw::rd_kafka_commit_queue(
            client.client().native_ptr(),
            list,
            queue.queue.as_ptr(),
            None,
            ptr::null_mut(),
        );
        raw::rd_kafka_topic_partition_list_destroy(list);
        begun
    };
    if begun != raw::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        let code = begun.into();
        return Err(RequestError { code, text: format!("{code}") });
    }
    let event = answer(&queue, timeout, give_up)?;
    // SAFETY: the event answers a commit (null else, handled); list and entries live as long as it.
    let refused = unsafe {
        let list = raw::rd_kafka_event_topic_partition_list(event.as_ptr());
        code::first_in(list).map(|(entry, code)| (super::text((*entry).topic), (*entry).partition, code))
    };
    match refused {
        None => Ok(()),
        Some((topic, partition, code)) => {
            Err(RequestError { code, text: format!("partition {topic}-{partition}: {code}") })
        }
    }
}
