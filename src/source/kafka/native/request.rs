//! Two requests about many partitions at once, and the wait for their answers.

use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as raw;
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;

use super::{Client, Queue, c_name, code, millis, serve, text};
use crate::model::TopicPartition;

/// Partitions that one request for offsets asks about. librdkafka compares each with all others of its request, twice.
const PARTITIONS_MAX: usize = 256;

/// Which offset of a partition is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum OffsetSpec {
    /// The first record still in the log.
    Earliest,
    /// The end: high watermark, or last stable offset for `read_committed`.
    Latest,
    /// The first record at or after this many milliseconds since the Unix epoch.
    At(i64),
}

/// What a broker answers for one partition, or why it does not.
pub(in super::super) type OffsetAnswer = (TopicPartition, Result<ListedOffset, RDKafkaErrorCode>);

/// An offset as the leader of a partition states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct ListedOffset {
    /// The offset; -1: no record at or after the time that was asked for.
    pub(in super::super) offset: i64,
    /// Of [`OffsetSpec::Latest`] the epoch of the leader that answers (KIP-320); `None` if the broker gives none.
    pub(in super::super) leader_epoch: Option<i32>,
}

/// One topic as the cluster describes it.
pub(in super::super) struct TopicDescription {
    pub(in super::super) name: String,
    /// Kafka's topic id in base64; `None` if the broker gives none.
    pub(in super::super) id: Option<String>,
    pub(in super::super) internal: bool,
    pub(in super::super) partitions: Result<Vec<i32>, RDKafkaErrorCode>,
}

/// Why a request as a whole got no answer.
pub(in super::super) struct RequestError {
    pub(in super::super) code: RDKafkaErrorCode,
    pub(in super::super) text: String,
}

/// An event that is destroyed with its holder.
pub(super) struct Event(NonNull<raw::rd_kafka_event_t>);

impl Event {
    /// The event, alive for as long as `self`.
    pub(super) fn as_ptr(&self) -> *mut raw::rd_kafka_event_t {
        self.0.as_ptr()
    }
}

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
pub(super) fn answer(
    queue: &Queue,
    timeout: Duration,
    give_up: &dyn Fn() -> bool,
) -> Result<Event, RequestError> {
    let step = Duration::from_millis(50);
    let mut waited = Duration::ZERO;
    // Also where every answer comes at once: nothing else empties this queue of a client that only asks.
    serve(&queue.client);
    // The request ends by its own timeout; the second on top only guards against a lost answer.
    while waited < timeout + Duration::from_secs(1) {
        // SAFETY: the queue is alive; an event that is returned is ours.
        let event = unsafe { raw::rd_kafka_queue_poll(queue.queue.as_ptr(), millis(step)) };
        if let Some(event) = NonNull::new(event) {
            let event = Event(event);
            // SAFETY: the event is alive for these two reads.
            let error = unsafe { code::rd_kafka_event_error(event.0.as_ptr()) };
            let Some(code) = code::of(error) else { return Ok(event) };
            // SAFETY: as above.
            let text = text(unsafe { raw::rd_kafka_event_error_string(event.0.as_ptr()) });
            return Err(RequestError { code, text });
        }
        serve(&queue.client);
        if give_up() {
            break;
        }
        waited += step;
    }
    Err(RequestError { code: RDKafkaErrorCode::OperationTimedOut, text: "no answer in time".to_owned() })
}

/// Asks for the offsets of many partitions at once: a request for every [`PARTITIONS_MAX`] of them to each broker that leads
/// some of these. Partitions of which no broker is known to be the leader are answered with `UnknownTopicOrPartition`.
pub(in super::super) fn list_offsets(
    client: &Arc<Client>,
    asked: &[(TopicPartition, OffsetSpec)],
    committed_only: bool,
    timeout: Duration,
    give_up: &dyn Fn() -> bool,
) -> Result<Vec<OffsetAnswer>, RequestError> {
    let options = Options::new(client, raw::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, timeout);
    let level = if committed_only {
        raw::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED
    } else {
        raw::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED
    };
    // SAFETY: the options live through the call. The error object (null for a value of the enum) would be ours to destroy.
    unsafe {
        let refused = raw::rd_kafka_AdminOptions_set_isolation_level(options.0.as_ptr(), level);
        if !refused.is_null() {
            raw::rd_kafka_error_destroy(refused);
        }
    }
    let requests = asked.chunks(PARTITIONS_MAX).map(|part| (part, send_list_offsets(client, part, &options)));
    let requests: Vec<_> = requests.collect();
    let mut answers = Vec::with_capacity(asked.len());
    for (part, queue) in requests {
        match answer(&queue, timeout, give_up) {
            Ok(event) => answers.extend(read_offsets(&event, part)),
            Err(error) if error.code == RDKafkaErrorCode::NoEnt && !give_up() => {
                let unknown = RDKafkaErrorCode::UnknownTopicOrPartition;
                answers.extend(part.iter().map(|(partition, _)| (partition.clone(), Err(unknown))));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(answers)
}

/// Sends one request for offsets; its answer comes on the queue.
fn send_list_offsets(
    client: &Arc<Client>,
    asked: &[(TopicPartition, OffsetSpec)],
    options: &Options,
) -> Queue {
    let queue = Queue::new(Arc::clone(client));
    // SAFETY: options, list, names and queue live through the call, which copies them.
    unsafe {
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
    queue
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
    let mut names: HashMap<&str, &Arc<str>> = HashMap::new();
    for (partition, _) in asked {
        names.entry(&partition.topic).or_insert(&partition.topic);
    }
    infos
        .iter()
        .map(|&info| {
            // SAFETY: as above; the entry belongs to the event.
            let (name, partition, offset, error, epoch) = unsafe {
                let entry = raw::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
                let epoch = raw::rd_kafka_topic_partition_get_leader_epoch(entry);
                let error = code::at(&raw const (*entry).err);
                (text((*entry).topic), (*entry).partition, (*entry).offset, error, epoch)
            };
            let topic = names.get(name.as_str()).map_or_else(|| name.as_str().into(), |n| Arc::clone(n));
            let answer = match error {
                None => Ok(ListedOffset { offset, leader_epoch: (epoch >= 0).then_some(epoch) }),
                Some(code) => Err(code),
            };
            (TopicPartition { topic, partition }, answer)
        })
        .collect()
}

/// Describes topics by name in one request: their ids, partitions, or why not.
pub(in super::super) fn describe_topics(
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
        let error = code::of(code::rd_kafka_error_code(raw::rd_kafka_TopicDescription_error(topic)));
        TopicDescription {
            name: text(raw::rd_kafka_TopicDescription_name(topic)),
            id: (!zero).then(|| text(raw::rd_kafka_Uuid_base64str(id))),
            internal: raw::rd_kafka_TopicDescription_is_internal(topic) != 0,
            partitions: match error {
                None => {
                    Ok(infos.iter().map(|&info| raw::rd_kafka_TopicPartitionInfo_partition(info)).collect())
                }
                Some(code) => Err(code),
            },
        }
    }
}
