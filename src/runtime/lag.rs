//! Keeps the lag true of streams that do not ask their source themselves: they have failed, were stopped, wait for a
//! restart, or are in the middle of a long micro-batch.
//!
//! One thread per process. It asks nothing while the streams do, reads no record, and no error of it matters to a stream.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::{Duration, Instant};

use super::open;
use super::streaming_query::Shared;
use crate::config::StreamConfig;
use crate::model::{Error, Kind, Offset, Result};
use crate::observe::Event;
use crate::source::Source;

/// How often the age of every stream's lag is checked.
const CHECK_EVERY: Duration = Duration::from_secs(2);
/// How old a lag may become, in ms.
const LAG_AGE_MAX_MS: i64 = 10_000;
/// How long a source that could not be asked is left alone at first, and at most: each attempt is a login.
const PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));

/// How long a source that could not be asked is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// So long, and until then.
    Until(Duration, Instant),
    /// Until the stream asks again: what is wrong does not mend itself, and a wrong password tried again and again locks its
    /// account.
    ForGood,
}

impl Rest {
    fn after(error: &Error, before: Option<Rest>, now: Instant) -> Rest {
        match before {
            _ if error.kind() == Kind::Config => Rest::ForGood,
            Some(Rest::Until(pause, _)) => {
                Rest::Until((pause * 2).min(PAUSE.1), now + (pause * 2).min(PAUSE.1))
            }
            _ => Rest::Until(PAUSE.0, now + PAUSE.0),
        }
    }

    fn is_over(self, now: Instant) -> bool {
        matches!(self, Rest::Until(_, until) if until <= now)
    }
}

/// Runs until the process stops, or `streams` is gone.
pub(super) fn watch(streams: &Weak<Shared>) {
    // Open only while a stream needs it.
    let mut sources: BTreeMap<String, Box<dyn Source>> = BTreeMap::new();
    let mut rests: BTreeMap<String, Rest> = BTreeMap::new();
    loop {
        let Some(shared) = streams.upgrade() else { return };
        let stop = shared.process_stop();
        for query in shared.queries().clone() {
            let (name, reporter) = (query.name(), query.reporter());
            if !reporter.lag_is_older_than(LAG_AGE_MAX_MS) {
                // The stream asks again: for as long as it does, nobody else has to.
                sources.remove(name);
                rests.remove(name);
            } else if reporter.has_position()
                && rests.get(name).is_none_or(|rest| rest.is_over(Instant::now()))
            {
                match ends(&mut sources, query.config()) {
                    Ok(Some(latest)) => {
                        rests.remove(name);
                        reporter.emit(Event::LatestOffset { start: latest.clone(), latest });
                    }
                    Ok(None) => {}
                    Err(error) => {
                        let rest = Rest::after(&error, rests.get(name).copied(), Instant::now());
                        if rest == Rest::ForGood {
                            tracing::warn!(stream = name, %error, "the lag stays as it is until the stream asks its source again");
                        } else {
                            tracing::debug!(stream = name, %error, ?rest, "the ends of the source are not known");
                        }
                        rests.insert(name.to_owned(), rest);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_cannot_be_asked_is_left_alone_for_longer_each_time_and_one_that_refuses_for_good() {
        let (now, away) = (Instant::now(), Error::unavailable("away"));
        let mut rest = Rest::after(&away, None, now);
        assert!(!rest.is_over(now) && rest.is_over(now + PAUSE.0));
        let mut pauses = Vec::new();
        for _ in 0..9 {
            rest = Rest::after(&away, Some(rest), now);
            let Rest::Until(pause, until) = rest else { panic!("it is asked again") };
            assert_eq!(until, now + pause);
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
        let refused = Rest::after(&Error::config("wrong password"), Some(rest), now);
        assert!(!refused.is_over(now + PAUSE.1 * 100));
    }
}
