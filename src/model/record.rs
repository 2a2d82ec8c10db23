//! One message of a source, borrowed while it is decoded.

/// What the timestamp of a message means (Kafka's `timestampType`, Spark's integer).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum TimestampType {
    /// The message has none.
    None = -1,
    /// Set by the producer.
    CreateTime = 0,
    /// Set by the broker.
    LogAppendTime = 1,
}

/// One header of a message; keys may repeat, order counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its name.
    pub key: &'a str,
    /// Its bytes; `None` is a null value.
    pub value: Option<&'a [u8]>,
}

/// One message, borrowed from the client's fetch buffer. Copy what you keep: holding it pins the
/// whole buffer.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The topic it was read from.
    pub topic: &'a str,
    /// The partition of that topic.
    pub partition: i32,
    /// Its offset in the partition.
    pub offset: i64,
    /// Milliseconds since the Unix epoch; meaningless if the type is `None`.
    pub timestamp_ms: i64,
    /// What the timestamp means.
    pub timestamp_type: TimestampType,
    /// The key; `None` is a null key.
    pub key: Option<&'a [u8]>,
    /// The payload; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers; `None` if the record has none or the source was not asked for them.
    pub headers: Option<&'a [Header<'a>]>,
}
