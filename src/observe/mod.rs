//! What an operator sees of the streams: progress, status, metrics, log lines, the terminal.
//!
//! Streams tell what happens as typed [`Event`]s; everything shown follows from those. Nothing here decides anything, and
//! nothing here may stop a stream.

mod event;
pub mod log;
mod metrics;
mod positions;
pub mod progress;
pub mod report;
mod status;
mod terminal;
mod traces;

pub use event::{CompactedFiles, Event, Rejected, Restart, StreamOpened};
pub use metrics::TokenTimes;
pub use progress::{Progress, SourceProgress};
pub use report::{Reporter, StreamReporter, Style};
pub use status::{
    HistoryPoint, LastError, PartitionLag, QueryStatus, RECENT_MAX, StreamInfo, StreamState, Totals,
};
pub use terminal::{Busy, BytesBar};
pub use traces::Traces;
