//! What Spark's DataFrame API says of a stream and SQL cannot: watermarks, deduplication, output modes.

/// What has no form in SQL, in the order in which it applies: `withWatermark`, `dropDuplicates`,
/// `dropDuplicatesWithinWatermark`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// `withWatermark`.
    pub watermark: Option<Watermark>,
    /// The columns of `dropDuplicates`; none named: all.
    pub drop_duplicates: Option<Vec<String>>,
    /// The columns of `dropDuplicatesWithinWatermark`; none named: all.
    pub drop_duplicates_within_watermark: Option<Vec<String>>,
}

/// A watermark: an event-time column, and how late rows may come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// The column.
    pub event_time: String,
    /// The delay in Spark's words, such as `10 minutes`.
    pub delay_threshold: String,
    /// How far ahead of the micro-batch's clock an event time may be and still raise the watermark; Spark has no such limit.
    pub max_future_skew: Option<String>,
    /// After how long without rows the clock moves the watermark; in Spark it never does.
    pub idle_timeout: Option<String>,
}

/// Which rows of a result a micro-batch hands to the sink.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OutputMode {
    /// Rows that will not change any more.
    #[default]
    Append,
    /// Rows that changed.
    Update,
    /// All rows.
    Complete,
}

impl OutputMode {
    /// As in a stream file and in Spark.
    pub fn name(self) -> &'static str {
        match self {
            OutputMode::Append => "append",
            OutputMode::Update => "update",
            OutputMode::Complete => "complete",
        }
    }
}
