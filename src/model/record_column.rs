//! The columns of a record, as Spark's Kafka source names them.

/// A column of Spark's Kafka source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordColumn {
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

impl RecordColumn {
    /// Every column, in Spark's order; `headers` is there only with `includeHeaders`.
    pub const ALL: [RecordColumn; 8] = [
        RecordColumn::Key,
        RecordColumn::Value,
        RecordColumn::Topic,
        RecordColumn::Partition,
        RecordColumn::Offset,
        RecordColumn::Timestamp,
        RecordColumn::TimestampType,
        RecordColumn::Headers,
    ];

    /// The column's name.
    pub fn name(self) -> &'static str {
        match self {
            RecordColumn::Key => "key",
            RecordColumn::Value => "value",
            RecordColumn::Topic => "topic",
            RecordColumn::Partition => "partition",
            RecordColumn::Offset => "offset",
            RecordColumn::Timestamp => "timestamp",
            RecordColumn::TimestampType => "timestampType",
            RecordColumn::Headers => "headers",
        }
    }
}
