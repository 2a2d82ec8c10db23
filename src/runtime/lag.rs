//! Keeps the lag true of streams that do not ask their source themselves: they have failed, were stopped, wait for a
//! restart, or are in the middle of a long micro-batch.
//!
//! One thread per process. It asks nothing while the streams do, reads no record, and no error of it matters to a stream.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Duration;

use super::open;
use super::streaming_query::Shared;
use crate::config::StreamConfig;
use crate::model::{Offset, Result};
use crate::observe::Event;
use crate::source::Source;

/// How often the age of every stream's lag is checked.
const CHECK_EVERY: Duration = Duration::from_secs(2);
/// How old a lag may become, in ms.
const LAG_AGE_MAX_MS: i64 = 10_000;

/// Runs until the process stops, or `streams` is gone.
pub(super) fn watch(streams: &Weak<Shared>) {
    // Open only while a stream needs it.
    let mut sources: BTreeMap<String, Box<dyn Source>> = BTreeMap::new();
    loop {
        let Some(shared) = streams.upgrade() else { return };
        let stop = shared.process_stop();
        for query in shared.queries().clone() {
            let (name, reporter) = (query.name(), query.reporter());
            if !reporter.lag_is_older_than(LAG_AGE_MAX_MS) {
                // The stream asks again: for as long as it does, nobody else has to.
                sources.remove(name);
            } else if reporter.has_position() {
                match ends(&mut sources, query.config()) {
                    Ok(Some(latest)) => {
                        reporter.emit(Event::LatestOffset { start: latest.clone(), latest });
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::debug!(stream = name, %error, "the ends of the source are not known");
                        sources.remove(name);
                    }
                }
            }
        }
        drop(shared);
        if stop.wait(CHECK_EVERY) {
            return;
        }
    }
}

fn ends(sources: &mut BTreeMap<String, Box<dyn Source>>, config: &StreamConfig) -> Result<Option<Offset>> {
    if !sources.contains_key(&config.name) {
        sources.insert(config.name.clone(), open::source(config)?);
    }
    sources.get_mut(&config.name).map_or(Ok(None), |source| source.ends())
}
