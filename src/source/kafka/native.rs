//! The raw part of librdkafka that rdkafka has no safe words for: private queues, batch consumption,
//! and two requests to the brokers (ListOffsets, DescribeTopics) that answer for many partitions at once.
//!
//! Every `unsafe` of the Kafka source is in this file. It knows pointers and their lifetimes, and decides
//! nothing: no retries, no errors of ours, no offsets kept.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as raw;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;

use super::client::ClientEvents;
use crate::model::{Header, TimestampType, TopicPartition};

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
        debug_assert!(batch.is_empty(), "a batch is emptied before it is filled");
        batch.next = 0;
        batch.len = 0;
        let capacity = batch.messages.len();
        // SAFETY: the array holds `capacity` pointers and every element below the returned count is a
        // message that we own from then on. Only partition queues feed this queue, so the call meets
        // messages and consumer errors, never a rebalance or a log line. One thread uses the client.
        let mut fill = |from: usize, size: usize, wait: c_int| unsafe {
            let start = batch.messages.as_mut_ptr().add(from);
            let count = raw::rd_kafka_consume_batch_queue(self.queue.as_ptr(), wait, start, size);
            usize::try_from(count).unwrap_or(0)
        };
        let mut len = fill(0, capacity, 0);
        if len == 0 && !wait.is_zero() {
            // The batch call waits until the array is full, so the wait is for one message alone.
            len = fill(0, 1, millis(wait));
            if len == 1 {
                len += fill(1, capacity - 1, 0);
            }
        }
        batch.len = len;
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: made by rd_kafka_queue_new and destroyed once; the client is still held here.
        unsafe { raw::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// A reused array of messages; what is not taken out is destroyed with it.
pub(super) struct Batch {
    messages: Box<[*mut raw::rd_kafka_message_t]>,
    next: usize,
    len: usize,
}

// SAFETY: the messages are owned by the batch, and librdkafka lets any thread read and destroy them.
unsafe impl Send for Batch {}

impl Batch {
    /// Room for `capacity` messages.
    pub(super) fn new(capacity: usize) -> Batch {
        Batch { messages: vec![ptr::null_mut(); capacity.max(2)].into_boxed_slice(), next: 0, len: 0 }
    }

    fn is_empty(&self) -> bool {
        self.next == self.len
    }

    /// How many messages are left.
    pub(super) fn len(&self) -> usize {
        self.len - self.next
    }

    /// Takes the first message out.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<Message> {
        if self.is_empty() {
            return None;
        }
        let message = NonNull::new(self.messages[self.next]);
        self.next += 1;
        message.map(Message)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

/// A message, or an error of a partition, owned. Must be dropped before its client is: the reader
/// declares what holds messages above what holds the client.
pub(super) struct Message(NonNull<raw::rd_kafka_message_t>);

// SAFETY: a message is a counted view into a fetch buffer; any one thread may read and destroy it.
unsafe impl Send for Message {}

impl Message {
    #[inline]
    fn get(&self) -> &raw::rd_kafka_message_t {
        // SAFETY: valid until rd_kafka_message_destroy, which only `drop` calls.
        unsafe { self.0.as_ref() }
    }

    /// The topic's identity inside its client, and the partition.
    #[inline]
    pub(super) fn place(&self) -> (usize, i32) {
        let message = self.get();
        (message.rkt as usize, message.partition)
    }

    /// The message's offset; for an error the offset that was to be fetched.
    #[inline]
    pub(super) fn offset(&self) -> i64 {
        self.get().offset
    }

    /// The error, if this is one.
    #[inline]
    pub(super) fn error(&self) -> Option<RDKafkaErrorCode> {
        match self.get().err {
            raw::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => None,
            error => Some(error.into()),
        }
    }

    /// What librdkafka says about the error.
    pub(super) fn error_text(&self) -> String {
        // SAFETY: the message is alive, the text belongs to it.
        text(unsafe { raw::rd_kafka_message_errstr(self.0.as_ptr()) })
    }

    /// The payload; `None` is a tombstone.
    #[inline]
    pub(super) fn value(&self) -> Option<&[u8]> {
        let message = self.get();
        // SAFETY: payload and len describe memory that lives as long as the message.
        unsafe { bytes(message.payload.cast(), message.len) }
    }

    /// The key.
    #[inline]
    pub(super) fn key(&self) -> Option<&[u8]> {
        let message = self.get();
        // SAFETY: as for the payload.
        unsafe { bytes(message.key.cast(), message.key_len) }
    }

    /// Milliseconds since the Unix epoch and what they mean.
    #[inline]
    pub(super) fn timestamp(&self) -> (i64, TimestampType) {
        let mut kind = raw::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive, `kind` is written only.
        let ms = unsafe { raw::rd_kafka_message_timestamp(self.0.as_ptr(), &mut kind) };
        let kind = match kind {
            raw::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => TimestampType::None,
            raw::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_CREATE_TIME => TimestampType::CreateTime,
            raw::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => {
                TimestampType::LogAppendTime
            }
        };
        (ms, kind)
    }

    /// Appends the headers in order; false if there are none. A key that is not UTF-8 is mended into
    /// `mended`, as Java's decoder does.
    pub(super) fn headers<'a>(&'a self, mended: &'a mut Vec<String>, out: &mut Vec<Header<'a>>) -> bool {
        let mut list: *mut raw::rd_kafka_headers_t = ptr::null_mut();
        // SAFETY: the message is alive; the list that is returned stays the message's.
        let answer = unsafe { raw::rd_kafka_message_headers(self.0.as_ptr(), &mut list) };
        if answer != raw::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || list.is_null() {
            return false;
        }
        // SAFETY: the list is alive.
        let count = unsafe { raw::rd_kafka_header_cnt(list) };
        let entry = |index: usize| -> Option<(&'a CStr, Option<&'a [u8]>)> {
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // SAFETY: index is below the count; name and value live as long as the message.
            unsafe {
                let answer = raw::rd_kafka_header_get_all(list, index, &mut name, &mut value, &mut size);
                if answer != raw::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
                    return None;
                }
                Some((CStr::from_ptr(name), bytes(value.cast(), size)))
            }
        };
        mended.clear();
        for (name, _) in (0..count).filter_map(entry) {
            if name.to_str().is_err() {
                mended.push(name.to_string_lossy().into_owned());
            }
        }
        let mut mended = mended.iter();
        out.extend((0..count).filter_map(entry).map(|(name, value)| {
            let key = name.to_str().unwrap_or_else(|_| mended.next().map_or("", String::as_str));
            Header { key, value }
        }));
        true
    }
}

impl Drop for Message {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: owned, destroyed once.
        unsafe { raw::rd_kafka_message_destroy(self.0.as_ptr()) };
    }
}

/// # Safety
/// `start` is null, or points to `len` bytes that live for `'a`.
#[inline]
unsafe fn bytes<'a>(start: *const u8, len: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start, len) })
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

/// Which offset of a partition is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OffsetSpec {
    /// The first record still in the log.
    Earliest,
    /// The end: high watermark, or last stable offset for `read_committed`.
    Latest,
    /// The first record at or after this many milliseconds since the Unix epoch.
    At(i64),
}

/// What a broker answers for one partition: the offset (-1: no record at or after the time), or why not.
pub(super) type OffsetAnswer = (TopicPartition, Result<i64, RDKafkaErrorCode>);

/// One topic as the cluster describes it.
pub(super) struct TopicDescription {
    pub(super) name: String,
    /// Kafka's topic id in base64; `None` if the broker gives none.
    pub(super) id: Option<String>,
    pub(super) internal: bool,
    pub(super) partitions: Result<Vec<i32>, RDKafkaErrorCode>,
}

/// Why a request as a whole got no answer.
pub(super) struct RequestError {
    pub(super) code: RDKafkaErrorCode,
    pub(super) text: String,
}

/// An event that is destroyed with its holder.
struct Event(NonNull<raw::rd_kafka_event_t>);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: owned, destroyed once.
        unsafe { raw::rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}

/// The options of one request, with its timeout set.
struct Options(NonNull<raw::rd_kafka_AdminOptions_t>);

impl Options {
    fn new(client: &Client, request: raw::rd_kafka_admin_op_t, timeout: Duration) -> Options {
        let mut message = [0 as c_char; 256];
        // SAFETY: the client is alive; the text buffer is as long as is said. A timeout that librdkafka
        // refuses (above an hour) leaves its default in place.
        unsafe {
            let options = raw::rd_kafka_AdminOptions_new(client.client().native_ptr(), request);
            let options = NonNull::new(options).expect("the request is one that librdkafka knows");
            raw::rd_kafka_AdminOptions_set_request_timeout(
                options.as_ptr(),
                millis(timeout).clamp(1, 3_600_000),
                message.as_mut_ptr(),
                message.len(),
            );
            Options(options)
        }
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: owned, destroyed once; the request has copied what it needs.
        unsafe { raw::rd_kafka_AdminOptions_destroy(self.0.as_ptr()) };
    }
}

/// Waits for the answer on `queue`, serving the client's logs and errors meanwhile; `give_up` is asked
/// between and ends the wait early. The request's own timeout ends it in any case.
fn answer(queue: &Queue, timeout: Duration, give_up: &dyn Fn() -> bool) -> Result<Event, RequestError> {
    let step = Duration::from_millis(50);
    let mut waited = Duration::ZERO;
    // The request ends by its own timeout; the second on top only guards against a lost answer.
    while waited < timeout + Duration::from_secs(1) {
        // SAFETY: the queue is alive; an event that is returned is ours.
        let event = unsafe { raw::rd_kafka_queue_poll(queue.queue.as_ptr(), millis(step)) };
        if let Some(event) = NonNull::new(event) {
            let event = Event(event);
            // SAFETY: the event is alive for these two reads.
            let error = unsafe { raw::rd_kafka_event_error(event.0.as_ptr()) };
            if error == raw::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Ok(event);
            }
            // SAFETY: as above.
            let text = text(unsafe { raw::rd_kafka_event_error_string(event.0.as_ptr()) });
            return Err(RequestError { code: error.into(), text });
        }
        serve(&queue.client);
        if give_up() {
            break;
        }
        waited += step;
    }
    Err(RequestError { code: RDKafkaErrorCode::OperationTimedOut, text: "no answer in time".to_owned() })
}

/// Serves what waits on the client's main queue (errors, logs, tokens) without waiting. True if a
/// *message* was there, which happens only if librdkafka dropped a partition's forwarding.
pub(super) fn serve(client: &Client) -> bool {
    let mut stray = false;
    // Bounded: a client that logs as fast as it is served must not hold its thread.
    for _ in 0..100 {
        match client.poll(Duration::ZERO) {
            Some(Ok(_)) => stray = true,
            Some(Err(_)) => {}
            None => break,
        }
    }
    stray
}

/// Asks for the offsets of many partitions at once: one request per broker that leads some of them.
pub(super) fn list_offsets(
    client: &Arc<Client>,
    asked: &[(TopicPartition, OffsetSpec)],
    committed_only: bool,
    timeout: Duration,
    give_up: &dyn Fn() -> bool,
) -> Result<Vec<OffsetAnswer>, RequestError> {
    let queue = Queue::new(Arc::clone(client));
    let options = Options::new(client, raw::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, timeout);
    let level = if committed_only {
        raw::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED
    } else {
        raw::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED
    };
    // SAFETY: options, list, names and queue live through the call, which copies them. The error object
    // (null for a value of the enum) would be ours to destroy.
    unsafe {
        let refused = raw::rd_kafka_AdminOptions_set_isolation_level(options.0.as_ptr(), level);
        if !refused.is_null() {
            raw::rd_kafka_error_destroy(refused);
        }
        let list = raw::rd_kafka_topic_partition_list_new(c_int::try_from(asked.len()).unwrap_or(0));
        for (partition, spec) in asked {
            if let Some(topic) = c_name(&partition.topic) {
                let entry = raw::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), partition.partition);
                (*entry).offset = match spec {
                    OffsetSpec::Earliest => raw::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST as i64,
                    OffsetSpec::Latest => raw::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST as i64,
                    OffsetSpec::At(ms) => (*ms).max(0),
                };
            }
        }
        raw::rd_kafka_ListOffsets(
            client.client().native_ptr(),
            list,
            options.0.as_ptr(),
            queue.queue.as_ptr(),
        );
        raw::rd_kafka_topic_partition_list_destroy(list);
    }
    let event = answer(&queue, timeout, give_up)?;
    Ok(read_offsets(&event, asked))
}

/// The answers in `event`, topic names shared with the question.
fn read_offsets(event: &Event, asked: &[(TopicPartition, OffsetSpec)]) -> Vec<OffsetAnswer> {
    let mut count = 0;
    // SAFETY: the event answers ListOffsets (null else, handled); array and entries live as long as it.
    let infos = unsafe {
        let result = raw::rd_kafka_event_ListOffsets_result(event.0.as_ptr());
        if result.is_null() {
            return Vec::new();
        }
        let infos = raw::rd_kafka_ListOffsets_result_infos(result, &mut count);
        if infos.is_null() { &[][..] } else { std::slice::from_raw_parts(infos, count) }
    };
    let mut names: std::collections::HashMap<&str, &Arc<str>> = std::collections::HashMap::new();
    for (partition, _) in asked {
        names.entry(&partition.topic).or_insert(&partition.topic);
    }
    infos
        .iter()
        .map(|&info| {
            // SAFETY: as above; the entry belongs to the event.
            let entry = unsafe { &*raw::rd_kafka_ListOffsetsResultInfo_topic_partition(info) };
            let name = text(entry.topic);
            let topic = names.get(name.as_str()).map_or_else(|| name.as_str().into(), |n| Arc::clone(n));
            let answer = match entry.err {
                raw::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(entry.offset),
                error => Err(error.into()),
            };
            (TopicPartition { topic, partition: entry.partition }, answer)
        })
        .collect()
}

/// Describes topics by name in one request: their ids, partitions, or why not.
pub(super) fn describe_topics(
    client: &Arc<Client>,
    names: &[String],
    timeout: Duration,
    give_up: &dyn Fn() -> bool,
) -> Result<Vec<TopicDescription>, RequestError> {
    let queue = Queue::new(Arc::clone(client));
    let options = Options::new(client, raw::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, timeout);
    let names: Vec<CString> = names.iter().filter_map(|name| c_name(name)).collect();
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: names, collection, options and queue live through the call, which copies them.
    unsafe {
        let topics = raw::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        raw::rd_kafka_DescribeTopics(
            client.client().native_ptr(),
            topics,
            options.0.as_ptr(),
            queue.queue.as_ptr(),
        );
        raw::rd_kafka_TopicCollection_destroy(topics);
    }
    let event = answer(&queue, timeout, give_up)?;
    let mut count = 0;
    // SAFETY: the event answers DescribeTopics (null else, handled); array and entries live as long as it.
    let topics = unsafe {
        let result = raw::rd_kafka_event_DescribeTopics_result(event.0.as_ptr());
        if result.is_null() {
            return Ok(Vec::new());
        }
        let topics = raw::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if topics.is_null() { &[][..] } else { std::slice::from_raw_parts(topics, count) }
    };
    // SAFETY: the pointers are entries of the live event.
    Ok(topics.iter().map(|&topic| unsafe { read_topic(topic) }).collect())
}

/// # Safety
/// `topic` is an entry of a live answer to DescribeTopics.
unsafe fn read_topic(topic: *const raw::rd_kafka_TopicDescription_t) -> TopicDescription {
    // SAFETY: the caller's promise; all that is read belongs to the entry, and is copied.
    unsafe {
        let mut count = 0;
        let list = raw::rd_kafka_TopicDescription_partitions(topic, &mut count);
        let infos = if list.is_null() { &[][..] } else { std::slice::from_raw_parts(list, count) };
        let id = raw::rd_kafka_TopicDescription_topic_id(topic);
        let zero = id.is_null()
            || (raw::rd_kafka_Uuid_most_significant_bits(id) == 0
                && raw::rd_kafka_Uuid_least_significant_bits(id) == 0);
        let code = raw::rd_kafka_error_code(raw::rd_kafka_TopicDescription_error(topic));
        TopicDescription {
            name: text(raw::rd_kafka_TopicDescription_name(topic)),
            id: (!zero).then(|| text(raw::rd_kafka_Uuid_base64str(id))),
            internal: raw::rd_kafka_TopicDescription_is_internal(topic) != 0,
            partitions: match code {
                raw::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {
                    Ok(infos.iter().map(|&info| raw::rd_kafka_TopicPartitionInfo_partition(info)).collect())
                }
                error => Err(error.into()),
            },
        }
    }
}
