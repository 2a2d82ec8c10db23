//! What a broker says of the topics and the brokers of its cluster.
//!
//! rdkafka's own type for it hands out each topic's error as the enum of its bindings, and the code is the broker's.

use std::ffi::{CStr, c_int};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as raw;
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;

use super::request::TopicDescription;
use super::{Client, Topic, code, millis};

/// The answer to a request for metadata, destroyed with its holder.
pub(in super::super) struct Metadata(NonNull<raw::rd_kafka_metadata_t>);

impl Metadata {
    /// Asks for one topic, or for all, and waits.
    ///
    /// # Errors
    /// librdkafka's code, such as that for silence; `InvalidArgument` if Kafka allows no such name.
    pub(in super::super) fn fetch(
        client: &Arc<Client>,
        topic: Option<&str>,
        timeout: Duration,
    ) -> Result<Metadata, RDKafkaErrorCode> {
        let only = match topic {
            Some(name) => Some(Topic::new(client, name).ok_or(RDKafkaErrorCode::InvalidArgument)?),
            None => None,
        };
        let mut metadata: *const raw::rd_kafka_metadata_t = ptr::null();
        // SAFETY: client and topic live through the call; the answer is written if there is no error, and is ours then.
        let answer = unsafe {
            code::rd_kafka_metadata(
                client.client().native_ptr(),
                c_int::from(only.is_none()),
                only.as_ref().map_or(ptr::null_mut(), |topic| topic.topic.as_ptr()),
                &mut metadata,
                millis(timeout),
            )
        };
        match (code::of(answer), NonNull::new(metadata.cast_mut())) {
            (None, Some(metadata)) => Ok(Metadata(metadata)),
            (error, _) => Err(error.unwrap_or(RDKafkaErrorCode::Unknown)),
        }
    }

    /// The topics whose names are `wanted`; a name that is not UTF-8 is mended.
    pub(in super::super) fn topics(&self, wanted: impl Fn(&str) -> bool) -> Vec<TopicDescription> {
        // SAFETY: the answer is alive.
        unsafe { topics(self.0.as_ptr(), wanted) }
    }

    /// The ids of the brokers.
    pub(in super::super) fn broker_ids(&self) -> Vec<i32> {
        let metadata = self.0.as_ptr();
        // SAFETY: the answer is alive, and has as many brokers as it says.
        unsafe {
            let count = usize::try_from((*metadata).broker_cnt).unwrap_or(0);
            (0..count).map(|index| (*(*metadata).brokers.add(index)).id).collect()
        }
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        // SAFETY: owned, destroyed once.
        unsafe { raw::rd_kafka_metadata_destroy(self.0.as_ptr()) };
    }
}

/// The topics of an answer. The fields are read one by one: a reference to a topic or a partition would promise that its code
/// is one of the bindings' enum.
///
/// # Safety
/// `metadata` is a live answer.
unsafe fn topics(
    metadata: *const raw::rd_kafka_metadata_t,
    wanted: impl Fn(&str) -> bool,
) -> Vec<TopicDescription> {
    // SAFETY: the caller's promise; there are as many topics and partitions as is said, and names are never null.
    unsafe {
        let count = usize::try_from((*metadata).topic_cnt).unwrap_or(0);
        (0..count)
            .filter_map(|index| {
                let topic = (*metadata).topics.add(index).cast_const();
                let name = CStr::from_ptr((*topic).topic).to_string_lossy();
                wanted(&name).then(|| describe(topic, name.into_owned()))
            })
            .collect()
    }
}

/// # Safety
/// `topic` is of a live answer.
unsafe fn describe(topic: *const raw::rd_kafka_metadata_topic_t, name: String) -> TopicDescription {
    // SAFETY: the caller's promise; there are as many partitions as is said.
    let partitions = unsafe {
        let count = usize::try_from((*topic).partition_cnt).unwrap_or(0);
        match code::at(&raw const (*topic).err) {
            Some(code) => Err(code),
            None => Ok((0..count).map(|index| (*(*topic).partitions.add(index)).id).collect()),
        }
    };
    TopicDescription { id: None, internal: name.starts_with("__"), partitions, name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(id: i32) -> raw::rd_kafka_metadata_partition_t {
        raw::rd_kafka_metadata_partition_t {
            id,
            err: raw::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
            leader: 1,
            replica_cnt: 0,
            replicas: ptr::null_mut(),
            isr_cnt: 0,
            isrs: ptr::null_mut(),
        }
    }

    #[test]
    fn a_topic_with_an_error_that_the_bindings_do_not_know_is_not_described() {
        let mut partitions = [partition(0), partition(1)];
        let mut topics = [c"good", c"odd", c"__other"].map(|name| raw::rd_kafka_metadata_topic_t {
            topic: name.as_ptr().cast_mut(),
            partition_cnt: 2,
            partitions: partitions.as_mut_ptr(),
            err: raw::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
        });
        let metadata = raw::rd_kafka_metadata_t {
            broker_cnt: 0,
            brokers: ptr::null_mut(),
            topic_cnt: 3,
            topics: topics.as_mut_ptr(),
            orig_broker_id: 1,
            orig_broker_name: ptr::null_mut(),
        };
        // SAFETY: everything that is pointed to outlives the calls, and is read through pointers only once the codes are odd.
        let found = unsafe {
            (&raw mut (*metadata.topics.add(1)).err).cast::<i32>().write(999);
            (&raw mut (*(*metadata.topics).partitions).err).cast::<i32>().write(-9999);
            super::topics(&raw const metadata, |name| name != "__other")
        };
        let found: Vec<_> = found.into_iter().map(|topic| (topic.name, topic.partitions)).collect();
        assert_eq!(
            found,
            [("good".to_owned(), Ok(vec![0, 1])), ("odd".to_owned(), Err(RDKafkaErrorCode::Unknown))]
        );
    }
}
