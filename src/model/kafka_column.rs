//! Kafka's own columns, as Spark's Kafka source names them.

/// A column of Spark's Kafka source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KafkaColumn {
    /// `key BINARY`
    Key,
    /// `value BINARY`
    Value,
    /// `topic STRING`
    Topic,
    /// `partition INT`
    Partition,
    /// `offset BIGINT`
    Offset,
    /// `timestamp TIMESTAMP`
    Timestamp,
    /// `timestampType INT`
    TimestampType,
    /// `headers ARRAY<STRUCT<key: STRING, value: BINARY>>`; needs `includeHeaders`.
    Headers,
}

impl KafkaColumn {
    /// Every column, in Spark's order; `headers` is there only with `includeHeaders`.
    pub const ALL: [KafkaColumn; 8] = [
        KafkaColumn::Key,
        KafkaColumn::Value,
        KafkaColumn::Topic,
        KafkaColumn::Partition,
        KafkaColumn::Offset,
        KafkaColumn::Timestamp,
        KafkaColumn::TimestampType,
        KafkaColumn::Headers,
    ];

    /// The column's name.
    pub fn name(self) -> &'static str {
        match self {
            KafkaColumn::Key => "key",
            KafkaColumn::Value => "value",
            KafkaColumn::Topic => "topic",
            KafkaColumn::Partition => "partition",
            KafkaColumn::Offset => "offset",
            KafkaColumn::Timestamp => "timestamp",
            KafkaColumn::TimestampType => "timestampType",
            KafkaColumn::Headers => "headers",
        }
    }
}
