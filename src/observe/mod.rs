//! What an operator sees: progress of streams, on a terminal or as JSON lines.

pub mod log;
pub mod progress;
pub mod report;

pub use progress::{Progress, SourceProgress};
pub use report::{Reporter, StreamState, Style};
