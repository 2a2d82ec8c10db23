//! What was planned, what was finished, and who may go on: Spark's checkpoint, and ours beside it.
//!
//! | path | content | written |
//! |---|---|---|
//! | `metadata` | `{"id": query id}` | once |
//! | `sources/S/0` | the offset that source S of a new query starts from | once, before batch 0 |
//! | `offsets/N` | the plan of micro-batch N, an offset for each source: the write-ahead log | before N runs |
//! | `commits/N` | N is in the sink | after the sink's commit |
//! | `state/` | what a stateful query keeps ([`crate::state`]) | before the sink's commit |
//! | `alluvia/stream.json` | which stream and table the checkpoint serves | once |
//! | `alluvia/lease/G` | who runs the stream | at start |
//! | `alluvia/dead-letters/U` | a table that takes or took dead letters | before it takes any |
//! | `alluvia/key-index/` | a cache, on a local disk: which keys the table of a merge has ([`crate::config`] says where) | between batches |
//! | `alluvia/key-index-snapshots/` | snapshots of such an index that is on another disk | between batches |
//! | `alluvia/state/` | a cache, on a local disk: the copy of `state/` ([`crate::config`] says where) | beside the batches |
//! | `alluvia/replay/ID/` | the checkpoint of a replay of dead letters | by the replay |
//! | `alluvia/selections/K` | in the checkpoint of a replay: the letters of its micro-batch K | before K is planned |
//!
//! What they are called is in [`paths`].
//!
//! Layout and documents are Spark's (`StreamExecution`, `OffsetSeqLog`, `CommitLog`), so that a
//! stateless query moves between Spark and Alluvia. Nothing is ever overwritten: every file is made
//! by put-if-absent, and files that retention removes are never needed again.

pub mod document;
pub mod identity;
pub mod lease;
pub mod log;
pub mod paths;
pub mod rebuild;
pub mod resume;

pub use document::{BatchCommitted, Plan, Remainder};
pub use identity::{CheckpointBinding, Identity};
pub use lease::{Lease, Owner};
pub use log::{CheckpointLog, Planned};
pub use resume::{Decision, Facts, LetterFacts, LostQuery, TableFacts, decide};

/// What mends a damaged checkpoint: `docs/operating/checkpoints.md` says it at length.
pub(crate) const RESTORE: &str = "restore it from a backup, or move the checkpoint aside and run `alluvia checkpoint rebuild`; nothing was changed";
