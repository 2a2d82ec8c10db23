//! Error codes of librdkafka, read as numbers.
//!
//! librdkafka passes a broker's code on as it came, and the enum of its bindings has the codes of one version only. A value of
//! that enum that is none of its codes is undefined behaviour, so this folder reads neither a field that may hold a broker's
//! code nor the answer of a function that returns one as the enum. rdkafka's `poll` and `fetch_watermarks` do. Only what a
//! client reports of itself, the record that `check` tries to read, and the question about a partition that stands still
//! go through them.

use std::ffi::c_int;

use rdkafka::bindings as raw;
use rdkafka::error::RDKafkaErrorCode;

unsafe extern "C" {
    /// As in the bindings, but the answer is a number.
    pub(super) fn rd_kafka_event_error(event: *mut raw::rd_kafka_event_t) -> c_int;
    /// As in the bindings, but the answer is a number.
    pub(super) fn rd_kafka_error_code(error: *const raw::rd_kafka_error_t) -> c_int;
    /// As in the bindings, but the answer is a number.
    pub(super) fn rd_kafka_metadata(
        client: *mut raw::rd_kafka_t,
        all_topics: c_int,
        only_topic: *mut raw::rd_kafka_topic_t,
        metadata: *mut *const raw::rd_kafka_metadata_t,
        timeout_ms: c_int,
    ) -> c_int;
}

/// The error that a number stands for; `None` if it says that there is none.
#[inline]
pub(super) fn of(number: c_int) -> Option<RDKafkaErrorCode> {
    if number == raw::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR as c_int {
        return None;
    }
    let known = raw::rd_kafka_resp_err_t::try_from(number);
    Some(known.map_or(RDKafkaErrorCode::Unknown, RDKafkaErrorCode::from))
}

/// The error in a field.
///
/// # Safety
/// `field` points to the code of a live struct.
#[inline]
pub(super) unsafe fn at(field: *const raw::rd_kafka_resp_err_t) -> Option<RDKafkaErrorCode> {
    // SAFETY: the caller's promise; the enum is an i32, and every i32 is valid.
    of(unsafe { field.cast::<i32>().read() })
}

/// The first entry of a list that has an error, and the error.
///
/// # Safety
/// `list` is null, or a live list, which the entry belongs to.
pub(super) unsafe fn first_in(
    list: *const raw::rd_kafka_topic_partition_list_t,
) -> Option<(*const raw::rd_kafka_topic_partition_t, RDKafkaErrorCode)> {
    if list.is_null() {
        return None;
    }
    // SAFETY: the caller's promise; a list has as many entries as it says.
    unsafe {
        let count = usize::try_from((*list).cnt).unwrap_or(0);
        (0..count).find_map(|index| {
            let entry = (*list).elems.add(index).cast_const();
            at(&raw const (*entry).err).map(|code| (entry, code))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_that_the_bindings_do_not_know_is_an_unknown_error() {
        assert_eq!(of(0), None);
        assert_eq!(of(3), Some(RDKafkaErrorCode::UnknownTopicOrPartition));
        assert_eq!(of(-185), Some(RDKafkaErrorCode::OperationTimedOut));
        for unknown in [999, -9999, i32::MAX, i32::MIN] {
            assert_eq!(of(unknown), Some(RDKafkaErrorCode::Unknown), "{unknown}");
        }
    }

    #[test]
    fn the_first_error_of_a_list_is_found_whatever_its_number() {
        // SAFETY: the list is alive until it is destroyed, and so are the entries that are added to it.
        unsafe {
            let list = raw::rd_kafka_topic_partition_list_new(3);
            for partition in 0..3 {
                raw::rd_kafka_topic_partition_list_add(list, c"t".as_ptr(), partition);
            }
            assert!(first_in(list).is_none());
            let second = (*list).elems.add(1);
            (&raw mut (*second).err).cast::<i32>().write(999);
            let (entry, code) = first_in(list).unwrap();
            assert_eq!(((*entry).partition, code), (1, RDKafkaErrorCode::Unknown));
            (&raw mut (*second).err).cast::<i32>().write(0);
            raw::rd_kafka_topic_partition_list_destroy(list);
            assert!(first_in(std::ptr::null()).is_none());
        }
    }
}
