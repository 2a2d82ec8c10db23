//! What the files and folders of a checkpoint are called, from its own folder.
//!
//! `state` names those below [`STATE`] itself. Two layers that must not know this one name a folder of their own:
//! `source::dead_letters` that of the selections of a replay, `config::local_folder` those of caches on a local disk.

/// The query's id.
pub const METADATA: &str = "metadata";
/// The folder of the plans.
pub const OFFSETS: &str = "offsets";
/// The folder of the entries of committed batches.
pub const COMMITS: &str = "commits";
/// The folder of what a query with state keeps.
pub(super) const STATE: &str = "state";
/// What that state is made of, if the query is Alluvia's.
pub(super) const STATE_DEFINITION: &str = "state/definition";
/// The folder of all that is not Spark's.
pub const OWN: &str = "alluvia";
/// Which stream and table the checkpoint serves.
pub const STREAM: &str = "alluvia/stream.json";
/// The folder of leases on a local disk, the blob of the lease in Azure.
pub const LEASE: &str = "alluvia/lease";
/// The folder of notes on tables of dead letters.
pub const DEAD_LETTERS: &str = "alluvia/dead-letters";
/// The folder of the checkpoints of replays.
pub const REPLAYS: &str = "alluvia/replay";
/// The folder of snapshots of a merge's key index, as the end of a URL.
pub const KEY_INDEX_SNAPSHOTS: &str = "alluvia/key-index-snapshots/";

/// The file of the offset that source `source` of a new query starts from.
pub(super) fn initial(source: usize) -> String {
    format!("sources/{source}/0")
}

/// The plan of a batch.
pub(super) fn plan(batch_id: i64) -> String {
    format!("{OFFSETS}/{batch_id}")
}

/// The entry of a committed batch.
pub(super) fn commit(batch_id: i64) -> String {
    format!("{COMMITS}/{batch_id}")
}
