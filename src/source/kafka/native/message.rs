//! Messages of the client, owned: an array that is filled again and again, and what is taken out of it.

use std::ffi::CStr;
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::bindings as raw;
use rdkafka::error::RDKafkaErrorCode;

use super::{code, text};
use crate::model::{Header, TimestampType};

/// A reused array of messages; what is not taken out is destroyed with it.
pub(in super::super) struct Batch {
    messages: Box<[*mut raw::rd_kafka_message_t]>,
    next: usize,
    len: usize,
}

// SAFETY: the messages are owned by the batch, and librdkafka lets any thread read and destroy them.
unsafe impl Send for Batch {}

impl Batch {
    /// Room for `capacity` messages.
    pub(in super::super) fn new(capacity: usize) -> Batch {
        Batch { messages: vec![ptr::null_mut(); capacity.max(2)].into_boxed_slice(), next: 0, len: 0 }
    }

    /// Fills the empty batch with what `take` puts at the start of the room it is given.
    pub(super) fn fill(
        &mut self,
        take: impl Fn(&mut [*mut raw::rd_kafka_message_t], Duration) -> usize,
        wait: Duration,
    ) {
        debug_assert!(self.is_empty(), "a batch is emptied before it is filled");
        self.next = 0;
        self.len = take(&mut self.messages, Duration::ZERO);
        if self.len == 0 && !wait.is_zero() {
            // librdkafka waits until the array is full, so the wait is for one message alone.
            self.len = take(&mut self.messages[..1], wait);
            if self.len == 1 {
                self.len += take(&mut self.messages[1..], Duration::ZERO);
            }
        }
    }

    /// Whether no message is left.
    pub(in super::super) fn is_empty(&self) -> bool {
        self.next == self.len
    }

    /// Takes the first message out.
    #[inline]
    pub(in super::super) fn pop(&mut self) -> Option<Message> {
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
pub(in super::super) struct Message(NonNull<raw::rd_kafka_message_t>);

// SAFETY: a message is a counted view into a fetch buffer; any one thread may read and destroy it.
unsafe impl Send for Message {}

impl Message {
    /// The message, valid until rd_kafka_message_destroy, which only `drop` calls. Its fields are read one by one: a reference
    /// would promise that its code is one of the bindings' enum.
    #[inline]
    fn get(&self) -> *const raw::rd_kafka_message_t {
        self.0.as_ptr()
    }

    /// The topic's identity inside its client, and the partition.
    #[inline]
    pub(in super::super) fn place(&self) -> (usize, i32) {
        let message = self.get();
        // SAFETY: the message is alive.
        unsafe { ((*message).rkt as usize, (*message).partition) }
    }

    /// The message's offset; for an error the offset that was to be fetched.
    #[inline]
    pub(in super::super) fn offset(&self) -> i64 {
        // SAFETY: the message is alive.
        unsafe { (*self.get()).offset }
    }

    /// The error, if this is one.
    #[inline]
    pub(in super::super) fn error(&self) -> Option<RDKafkaErrorCode> {
        // SAFETY: the message is alive.
        unsafe { code::at(&raw const (*self.get()).err) }
    }

    /// What librdkafka says about the error.
    pub(in super::super) fn error_text(&self) -> String {
        // SAFETY: the message is alive, the text belongs to it.
        text(unsafe { raw::rd_kafka_message_errstr(self.0.as_ptr()) })
    }

    /// The payload; `None` is a tombstone.
    #[inline]
    pub(in super::super) fn value(&self) -> Option<&[u8]> {
        let message = self.get();
        // SAFETY: payload and len describe memory that lives as long as the message.
        unsafe { bytes((*message).payload.cast(), (*message).len) }
    }

    /// The key.
    #[inline]
    pub(in super::super) fn key(&self) -> Option<&[u8]> {
        let message = self.get();
        // SAFETY: as for the payload.
        unsafe { bytes((*message).key.cast(), (*message).key_len) }
    }

    /// Milliseconds since the Unix epoch and what they mean.
    #[inline]
    pub(in super::super) fn timestamp(&self) -> (i64, TimestampType) {
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
    pub(in super::super) fn headers<'a>(
        &'a self,
        mended: &'a mut Vec<String>,
        out: &mut Vec<Header<'a>>,
    ) -> bool {
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
