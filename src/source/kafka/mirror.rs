//! Where a stream is, told to a consumer group (`commitOffsets`), for the tools that show a group's lag.
//!
//! A mirror only: nothing here reads the group, and a group that cannot be written costs a warning. The offsets that count are
//! those of the checkpoint. A thread of its own commits the newest position, not more often than Event Hubs takes it (four
//! commits a second for a partition), with a client that names the group and never joins it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::{debug, warn};

use super::client::Role;
use super::login::Login;
use super::native::{self, Client};
use crate::config::kafka::{GroupId, KafkaOptions};
use crate::model::{Error, Offsets, Result};

/// The least time between two commits.
const INTERVAL: Duration = Duration::from_secs(2);
/// The time to the next one after one that was refused.
const REFUSED_INTERVAL: Duration = Duration::from_secs(30);
/// How long an answer is waited for, and the last one when the stream ends.
const TIMEOUT: Duration = Duration::from_secs(10);
const LAST_TIMEOUT: Duration = Duration::from_secs(3);
/// How often the client's events are served while there is nothing to commit.
const SERVE_INTERVAL: Duration = Duration::from_secs(5);

/// The mirror of one source. Dropped, it commits what is left, if the group took the commit before.
pub(super) struct Mirror {
    shared: Arc<Shared>,
}

struct Shared {
    options: KafkaOptions,
    login: Arc<Login>,
    state: Mutex<State>,
    /// Signalled when there is a newer position, and when the stream ends.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The newest position that is not committed.
    wanted: Option<Offsets>,
    /// What was committed since somebody last asked.
    news: Option<Offsets>,
    /// Whether the last commit was refused, or was not answered.
    refused: bool,
    over: bool,
    /// Whether the last commit is done with.
    done: bool,
}

impl Mirror {
    /// A mirror in the group `group`. Nobody is asked yet.
    ///
    /// # Errors
    /// `Unavailable` if the system gives no thread.
    pub(super) fn start(options: &KafkaOptions, group: &str, login: Arc<Login>) -> Result<Mirror> {
        let mut options = KafkaOptions { group_id: GroupId::Fixed(group.to_owned()), ..options.clone() };
        // No session is begun; but a commit that finds no coordinator keeps a client from closing for this long.
        options.client.insert("session.timeout.ms".to_owned(), "6000".to_owned());
        let shared = Arc::new(Shared { options, login, state: Mutex::default(), changed: Condvar::new() });
        let mirroring = Arc::clone(&shared);
        thread::Builder::new().name("kafka-group".into()).spawn(move || mirroring.run()).map_err(
            |cause| Error::unavailable("cannot start a thread for the consumer group").source(cause),
        )?;
        Ok(Mirror { shared })
    }

    /// Everything before these offsets is in the sink.
    pub(super) fn note(&self, offsets: Offsets) {
        self.shared.lock().wanted = Some(offsets);
        self.shared.changed.notify_all();
    }

    /// What was committed since this was last asked; `None` if nothing was.
    pub(super) fn take_news(&self) -> Option<Offsets> {
        self.shared.lock().news.take()
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.over = true;
        self.shared.changed.notify_all();
        // At most one commit is left, whose wait is bounded; that the client closes is not waited for.
        let bound = LAST_TIMEOUT + Duration::from_secs(1);
        let waited = self.shared.changed.wait_timeout_while(state, bound, |state| !state.done);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut client: Option<(Arc<Client>, u64)> = None;
        let mut said = String::new();
        while let Some(offsets) = self.next(client.as_ref().map(|(client, _)| client.as_ref())) {
            let outcome = self.commit(&mut client, &offsets);
            let mut state = self.lock();
            state.refused = outcome.is_err();
            match outcome {
                Ok(()) => {
                    debug!(group = self.group(), "the consumer group is told where the stream is");
                    said.clear();
                    state.news = Some(offsets);
                }
                Err(why) => {
                    // What failed is no longer the newest if the stream goes on; else it is tried again.
                    state.wanted.get_or_insert(offsets);
                    if why != said {
                        warn!(
                            group = self.group(),
                            why,
                            "the offsets cannot be committed to the consumer group; the stream goes on, its offsets are in the checkpoint"
                        );
                        said = why;
                    }
                }
            }
            let pause = if state.refused { REFUSED_INTERVAL } else { INTERVAL };
            let waited = self.changed.wait_timeout_while(state, pause, |state| !state.over);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
        self.lock().done = true;
        self.changed.notify_all();
    }

    /// The next position to commit; `None` when the stream has ended and there is nothing more to do. Meanwhile `client`
    /// is served.
    fn next(&self, client: Option<&Client>) -> Option<Offsets> {
        let mut state = self.lock();
        while state.wanted.is_none() && !state.over {
            let waited = self.changed.wait_timeout(state, SERVE_INTERVAL);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if let Some(client) = client {
                drop(state);
                native::serve(client);
                state = self.lock();
            }
        }
        if state.over && state.refused {
            return None;
        }
        state.wanted.take()
    }

    fn commit(&self, client: &mut Option<(Arc<Client>, u64)>, offsets: &Offsets) -> Result<(), String> {
        let version = self.login.version();
        if client.as_ref().is_none_or(|(_, made)| *made != version) {
            let made = self.login.client(&self.options, Role::Admin);
            *client = Some(made.map_err(|error| error.to_string())?);
        }
        let Some((client, _)) = client else { return Err("there is no client".to_owned()) };
        let started = std::time::Instant::now();
        let late = || self.lock().over && started.elapsed() > LAST_TIMEOUT;
        native::commit_offsets(client, offsets, TIMEOUT, &late).map_err(|error| error.text)
    }

    fn group(&self) -> &str {
        match &self.options.group_id {
            GroupId::Fixed(group) | GroupId::Prefix(group) => group,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::source::kafka::testing::options;

    #[test]
    fn a_group_that_nobody_answers_for_holds_up_neither_the_stream_nor_its_end() {
        let options = options("127.0.0.1:1");
        let mirror = Mirror::start(&options, "g", Login::open(&options).unwrap()).unwrap();
        let started = Instant::now();
        mirror.note(Offsets::from_json(r#"{"t":{"0":7}}"#).unwrap());
        mirror.note(Offsets::from_json(r#"{"t":{"0":8}}"#).unwrap());
        assert!(started.elapsed() < LAST_TIMEOUT, "it does not wait");
        assert_eq!(mirror.take_news(), None);
        drop(mirror);
        assert!(started.elapsed() < TIMEOUT, "{:?}", started.elapsed());
    }
}
