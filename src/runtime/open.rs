//! The one place that knows which formats there are: from a stream's configuration to its source and sink.
//!
//! Nothing is made or changed here: a source may ask its service, a sink reads its target.

use std::sync::Arc;

use tokio::runtime::Handle;
use url::Url;

use crate::config::kafka::StartingOffsets;
use crate::config::{self, SinkConfig, SourceFormat, StreamConfig};
use crate::decode::datetime::Zone;
use crate::model::{Error, OutputMode, Result};
use crate::sink::{ConsoleSink, DeltaAppend, DeltaMerge, MemorySink, Sink};
use crate::source::{Link, Source, SourceOptions};
use crate::storage::credentials::{self, RenewedTokens};
use crate::storage::{Deadline, Store};

/// Lanes at most without `lanes`; more clients than that seldom pay.
const DEFAULT_LANES_MAX: usize = 16;

/// How storage is used for a stream.
#[derive(Debug, Clone)]
pub struct Access {
    /// Where storage calls run.
    pub handle: Handle,
    /// When they are given up; `None`: never.
    pub deadline: Option<Deadline>,
}

impl Access {
    /// The folder at `url`, under the stream's storage options.
    ///
    /// # Errors
    /// As for [`Store::open`].
    pub fn store(&self, config: &StreamConfig, url: &Url) -> Result<Store> {
        let store = Store::open(url, &config.storage.0, &self.handle)?;
        Ok(match &self.deadline {
            Some(deadline) => store.with_deadline(deadline.clone()),
            None => store,
        })
    }

    /// The stream's checkpoint.
    ///
    /// # Errors
    /// As for [`Store::open`].
    pub fn checkpoint(&self, config: &StreamConfig) -> Result<Store> {
        self.store(config, &config.checkpoint)
    }

    /// Where snapshots of the key index of a merge are kept; `None` if the index itself is in the checkpoint.
    fn index_snapshots(&self, config: &StreamConfig, merge: &config::MergeConfig) -> Result<Option<Store>> {
        if config.checkpoint.to_file_path().is_ok_and(|folder| merge.index_folder.starts_with(folder)) {
            return Ok(None);
        }
        let folder = config.checkpoint.join(crate::checkpoint::paths::KEY_INDEX_SNAPSHOTS);
        let folder =
            folder.map_err(|e| Error::internal("a folder in the checkpoint has no URL").source(e))?;
        self.store(config, &folder).map(Some)
    }
}

/// What is known of the stream's source by its options.
fn source_options(config: &StreamConfig) -> &dyn SourceOptions {
    match &config.source.format {
        SourceFormat::Kafka(options) => &**options,
        SourceFormat::Rate(options) => options,
        SourceFormat::Socket(options) => options,
    }
}

/// The stream's source. A dead letter is the whole record.
///
/// # Errors
/// `Config` if the options name what is not there; `Unavailable` if the service does not answer.
pub fn source(config: &StreamConfig) -> Result<Box<dyn Source>> {
    source_options(config).open(config.dead_letter.is_some())
}

/// The tokens that the stream logs in with, at Kafka and at its stores. Held across restarts of the stream they stay fresh, and
/// metrics tell of them.
///
/// # Errors
/// As for [`credentials::for_storage`].
pub fn login_tokens(config: &StreamConfig) -> Result<Vec<Arc<RenewedTokens>>> {
    let source = source_options(config).login_tokens();
    Ok(source.into_iter().chain(credentials::for_storage(&config.storage.0)?).collect())
}

/// Where the stream's sink writes, if that is a place in a store.
pub fn sink_url(config: &StreamConfig) -> Option<&Url> {
    config.sink.delta().map(|sink| &sink.url)
}

/// The chain to the stream's source, link by link; empty where a source has none.
pub fn source_links(config: &StreamConfig) -> Vec<Link> {
    source_options(config).links()
}

/// Whether reading the source's records is a right of its own.
pub fn source_has_rights(config: &StreamConfig) -> bool {
    source_options(config).has_rights()
}

/// Tries whether the source's records may be read.
///
/// # Errors
/// `Config` if they may not.
pub fn source_may_be_read(config: &StreamConfig) -> Result<String> {
    source_options(config).may_be_read()
}

/// Whether the source gives the same records again in another process.
pub fn source_is_replayable(config: &StreamConfig) -> bool {
    source_options(config).is_replayable()
}

/// The stream, reading its oldest records and at most about `records` of them in a micro-batch.
pub fn for_sample(config: &StreamConfig, records: u64) -> StreamConfig {
    let mut config = config.clone();
    if let SourceFormat::Kafka(kafka) = &mut config.source.format {
        kafka.starting = StartingOffsets::Earliest;
        kafka.max_offsets_per_trigger = Some(records);
        kafka.min_offsets_per_trigger = None;
    }
    config
}

/// What is read, in words; no service is asked.
pub fn source_words(config: &StreamConfig) -> String {
    let name = config.source.format.name();
    source_options(config).words().map_or(name.to_owned(), |words| format!("{name} {words}"))
}

/// The stream's sink, with its target as it is now.
///
/// # Errors
/// `Config` if it cannot be written; `Corrupt` or `Unavailable` if it cannot be read.
pub fn sink(config: &StreamConfig, access: &Access) -> Result<Box<dyn Sink>> {
    Ok(match &config.sink {
        SinkConfig::Delta(target) => {
            let store = access.store(config, &target.url)?;
            let zone =
                config.conf.get("spark.sql.session.timeZone").map_or(Ok(Zone::UTC), |id| Zone::parse(id))?;
            let replaces = config.output_mode == OutputMode::Complete;
            let appended = DeltaAppend::open(target, store, zone)?.replacing(replaces);
            match &target.merge {
                None => Box::new(appended),
                Some(merge) => {
                    let snapshots = access.index_snapshots(config, merge)?;
                    Box::new(DeltaMerge::of(appended, merge, lane_count(config), snapshots))
                }
            }
        }
        SinkConfig::Console(options) => Box::new(ConsoleSink::new(options)),
        SinkConfig::Memory => Box::new(MemorySink::new(&config.name)),
    })
}

/// How many lanes a stream has: as `lanes` says, else one per core.
pub fn lane_count(config: &StreamConfig) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    config.lanes.unwrap_or_else(|| cores().min(DEFAULT_LANES_MAX))
}

/// Refuses an output mode that the sink cannot take. `replaces_rows` says whether rows of the result take the place of
/// earlier ones.
///
/// # Errors
/// `Config`, with what to write instead.
pub fn check_output_mode(config: &StreamConfig, replaces_rows: bool) -> Result<()> {
    let Some(delta) = config.sink.delta() else { return Ok(()) };
    match config.output_mode {
        OutputMode::Update if delta.merge.is_none() && replaces_rows => Err(Error::config(
            "outputMode update gives rows that take the place of earlier ones, and the sink appends",
        )
        .hint("add sink.merge: {keys: [the columns of GROUP BY], whenMatched: update}")),
        // Spark's Delta sink takes append and complete alone.
        OutputMode::Update if delta.merge.is_none() => Err(Error::config(
            "the delta sink does not support outputMode update without sink.merge",
        )
        .hint(
            "leave outputMode out: the query aggregates nothing, so its rows do not change and are appended",
        )),
        OutputMode::Complete if delta.merge.is_some() && replaces_rows => Err(Error::config(
            "outputMode complete replaces the table in every micro-batch, and sink.merge changes rows of it",
        )
        .hint("remove sink.merge, or use outputMode update")),
        OutputMode::Append | OutputMode::Update | OutputMode::Complete => Ok(()),
    }
}
