//! The raw part of librdkafka that rdkafka has no safe words for: private queues, batch consumption, positions with
//! leader epochs, tokens, offsets of a group, metadata with whatever codes the brokers gave, and two requests to the brokers
//! (ListOffsets, DescribeTopics) that answer for many partitions at once.
//!
//! Every `unsafe` of the Kafka source is in this folder. It knows pointers and their lifetimes, and decides
//! nothing: no retries, no errors of ours, no offsets kept.

mod code;
mod commit;
mod heap;
mod message;
mod metadata;
mod position;
mod request;

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as raw;
use rdkafka::consumer::{BaseConsumer, Consumer};

pub(super) use commit::commit_offsets;
pub use heap::give_back;
pub(super) use message::{Batch, Message};
pub(super) use metadata::Metadata;
pub(super) use position::{EpochPosition, assign_at};
pub(super) use request::{
    ListedOffset, OffsetAnswer, OffsetSpec, RequestError, TopicDescription, describe_topics, list_offsets,
};

use super::events::ClientEvents;
use crate::model::TopicPartition;

/// A librdkafka consumer with our callbacks.
pub(super) type Client = BaseConsumer<ClientEvents>;

/// Milliseconds as librdkafka takes them; 0 does not wait.
fn millis(timeout: Duration) -> c_int {
    c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX)
}

fn text(chars: *const c_char) -> String {
    if chars.is_null() {
        return String::new();
    }
    // SAFETY: not null, and librdkafka's strings end in NUL and outlive the object that is asked.
    unsafe { CStr::from_ptr(chars) }.to_string_lossy().into_owned()
}

fn c_name(name: &str) -> Option<CString> {
    CString::new(name).ok()
}

/// A queue of its own for the messages of some partitions of one client.
///
/// librdkafka's limits on queued messages and bytes then hold for all those partitions together.
pub(super) struct Queue {
    queue: NonNull<raw::rd_kafka_queue_t>,
    client: Arc<Client>,
}

// SAFETY: librdkafka's queues may be used from any thread; the handle is only a counted reference.
unsafe impl Send for Queue {}

impl Queue {
    /// A new, empty queue of `client`.
    pub(super) fn new(client: Arc<Client>) -> Queue {
        // SAFETY: the client is alive; this call never returns null (it aborts without memory).
        let queue = unsafe { raw::rd_kafka_queue_new(client.client().native_ptr()) };
        Queue { queue: NonNull::new(queue).expect("rd_kafka_queue_new never returns null"), client }
    }

    /// Sends the messages of a partition here, those that wait in its own queue first. The client's stop
    /// of a partition undoes it; its start leaves it alone. False if the name is none that Kafka allows.
    pub(super) fn take_partition(&self, partition: &TopicPartition) -> bool {
        let Some(topic) = c_name(&partition.topic) else { return false };
        // SAFETY: client, name and both queues are alive; the partition's handle is given back at once,
        // its queue lives on in the client. Forwarding moves what is queued under the queue's lock.
        unsafe {
            let own = raw::rd_kafka_queue_get_partition(
                self.client.client().native_ptr(),
                topic.as_ptr(),
                partition.partition,
            );
            if own.is_null() {
                return false;
            }
            raw::rd_kafka_queue_forward(own, self.queue.as_ptr());
            raw::rd_kafka_queue_destroy(own);
        }
        true
    }

    /// Fills the empty `batch`: waits up to `wait` for a first message, then takes what is there.
    pub(super) fn consume(&self, batch: &mut Batch, wait: Duration) {
        batch.fill(
            |room, wait| {
                // SAFETY: the array has room for as many pointers as is said, and every element below the
                // returned count is a message that is ours from then on. Only partition queues feed this queue,
                // so the call meets messages and consumer errors, never a rebalance or a log line. One thread
                // consumes from the client.
                let count = unsafe {
                    raw::rd_kafka_consume_batch_queue(
                        self.queue.as_ptr(),
                        millis(wait),
                        room.as_mut_ptr(),
                        room.len(),
                    )
                };
                usize::try_from(count).unwrap_or(0)
            },
            wait,
        );
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: made by rd_kafka_queue_new and destroyed once; the client is still held here.
        unsafe { raw::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// A topic kept known to the client, so that its address in messages stays its own.
pub(super) struct Topic {
    topic: NonNull<raw::rd_kafka_topic_t>,
    _client: Arc<Client>,
}

// SAFETY: a counted reference that librdkafka locks itself.
unsafe impl Send for Topic {}

impl Topic {
    /// The topic `name` of `client`; `None` if Kafka allows no such name.
    pub(super) fn new(client: &Arc<Client>, name: &str) -> Option<Topic> {
        let name = c_name(name)?;
        // SAFETY: client and name are alive; a null configuration means the client's.
        let topic =
            unsafe { raw::rd_kafka_topic_new(client.client().native_ptr(), name.as_ptr(), ptr::null_mut()) };
        Some(Topic { topic: NonNull::new(topic)?, _client: Arc::clone(client) })
    }

    /// What [`Message::place`] says of this topic's messages.
    pub(super) fn identity(&self) -> usize {
        self.topic.as_ptr() as usize
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: our own reference, given back once; the client is still held.
        unsafe { raw::rd_kafka_topic_destroy(self.topic.as_ptr()) };
    }
}

/// Serves everything that waits on the client's main queue (errors, logs, tokens), without waiting for more.
///
/// A *message* there means that librdkafka made a partition again and forgot where its messages go: that is
/// noted with the client's events, for whoever counts on the order of messages.
pub(super) fn serve(client: &Client) {
    // Bounded: a client that logs as fast as it is served must not hold its thread.
    for _ in 0..1000 {
        // A poll that does not wait returns nothing after a log line or an error, whatever is queued behind it.
        if queued(client) == 0 {
            break;
        }
        if let Some(Ok(_)) = client.poll(Duration::ZERO) {
            client.context().note_stray();
        }
    }
}

/// How many events wait on the client's main queue.
pub(super) fn queued(client: &Client) -> usize {
    // SAFETY: the client is alive; the handle is ours, and given back at once.
    unsafe {
        let queue = raw::rd_kafka_queue_get_consumer(client.client().native_ptr());
        if queue.is_null() {
            return 0;
        }
        let length = raw::rd_kafka_queue_length(queue);
        raw::rd_kafka_queue_destroy(queue);
        length
    }
}

/// Gives the client a token for SASL/OAUTHBEARER. Until the first one no connection logs in; a later one logs open
/// connections in again before the old one expires. Nothing need poll for it.
///
/// # Errors
/// librdkafka's reason, such as a token that has expired. It holds no part of the token.
pub(super) fn set_token(
    client: &Client,
    token: &str,
    principal: &str,
    expires_at_ms: i64,
) -> Result<(), String> {
    let (Some(token), Some(principal)) = (c_name(token), c_name(principal)) else {
        return Err("the token holds a byte 0".to_owned());
    };
    let mut message = [0 as c_char; 256];
    // SAFETY: client and texts live through the call, which copies them; there are no extensions; the buffer for the
    // message is as long as is said.
    let answer = unsafe {
        raw::rd_kafka_oauthbearer_set_token(
            client.client().native_ptr(),
            token.as_ptr(),
            expires_at_ms,
            principal.as_ptr(),
            ptr::null_mut(),
            0,
            message.as_mut_ptr(),
            message.len(),
        )
    };
    match answer {
        raw::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        _ => Err(text(message.as_ptr())),
    }
}

/// The broker that the cluster last named as its controller; -1 if none.
pub(super) fn controller(client: &Client) -> i32 {
    // SAFETY: the client is alive; without a timeout the call only reads what is cached.
    unsafe { raw::rd_kafka_controllerid(client.client().native_ptr(), 0) }
}
