//! Tokens for SASL/OAUTHBEARER: asked for before the first connection, renewed ahead of their end, pushed to every client.
//!
//! One thread per source asks the provider again when half of a token's life is over. A token that cannot be renewed is no
//! error while the one before it holds: the next attempt follows soon, and the brokers decide when it is too late.
//! librdkafka's own callback is not used, for it is served only while somebody polls.

use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, SystemTime};

use tracing::{debug, warn};

use super::native::{self, Client};
use crate::model::{Error, Result};
use crate::storage::credentials::{AccessToken, TokenProvider};

/// The shortest and the longest wait before a token that could not be renewed is asked for again.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// The tokens of one source. Dropped, it stops renewing.
pub(super) struct Tokens {
    shared: Arc<Shared>,
}

struct Shared {
    provider: Arc<dyn TokenProvider>,
    state: Mutex<State>,
    /// Signalled when renewing is to stop.
    ended: Condvar,
}

struct State {
    token: AccessToken,
    clients: Vec<Weak<Client>>,
    over: bool,
}

impl Tokens {
    /// Asks for the first token, and renews it from then on.
    ///
    /// # Errors
    /// What the provider returns.
    pub(super) fn start(provider: Arc<dyn TokenProvider>) -> Result<Tokens> {
        let token = provider.token()?;
        let state = State { token, clients: Vec::new(), over: false };
        let shared = Arc::new(Shared { provider, state: Mutex::new(state), ended: Condvar::new() });
        let renewing = Arc::clone(&shared);
        thread::Builder::new().name("kafka-tokens".into()).spawn(move || renewing.renew()).map_err(
            |cause| Error::unavailable("cannot start a thread for the tokens of Kafka").source(cause),
        )?;
        Ok(Tokens { shared })
    }

    /// Gives the client the token that holds now, and every later one for as long as the client lives.
    ///
    /// # Errors
    /// `Unavailable` if the client does not take it: it has expired.
    pub(super) fn give(&self, client: &Arc<Client>) -> Result<()> {
        let mut state = self.shared.lock();
        push(client, &state.token, self.shared.provider.principal()).map_err(|why| {
            Error::unavailable(format!(
                "the Kafka client does not take the token of {}: {why}",
                self.shared.provider.principal()
            ))
            .hint("compare this machine's clock with the identity provider's")
        })?;
        state.clients.retain(|client| client.strong_count() > 0);
        state.clients.push(Arc::downgrade(client));
        Ok(())
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.ended.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renew(&self) {
        let mut pause = self.lock().token.remaining() / 2;
        loop {
            let state = self.lock();
            let waited = self.ended.wait_timeout_while(state, pause, |state| !state.over);
            if waited.unwrap_or_else(PoisonError::into_inner).0.over {
                return;
            }
            match self.provider.token() {
                Ok(token) => {
                    pause = token.remaining() / 2;
                    self.hand_out(token);
                }
                Err(error) => {
                    let left = self.lock().token.remaining();
                    pause = (left / 8).clamp(RETRY_MIN, RETRY_MAX);
                    warn!(%error, left_s = left.as_secs(), "the token for Kafka could not be renewed; the one before it is used on");
                }
            }
            // A token of almost no life must not make this a busy loop.
            pause = pause.max(RETRY_MIN).mul_f64(rand::random_range(0.9..=1.0));
        }
    }

    fn hand_out(&self, token: AccessToken) {
        let mut state = self.lock();
        state.clients.retain(|client| client.strong_count() > 0);
        debug!(
            clients = state.clients.len(),
            valid_s = token.remaining().as_secs(),
            "the token for Kafka is renewed"
        );
        for client in state.clients.iter().filter_map(Weak::upgrade) {
            if let Err(why) = push(&client, &token, self.provider.principal()) {
                warn!(why, "a Kafka client does not take the renewed token");
            }
        }
        state.token = token;
    }
}

fn push(client: &Client, token: &AccessToken, principal: &str) -> Result<(), String> {
    let since = token.expires_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let expires_at_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    native::set_token(client, &token.text, principal, expires_at_ms)
}

impl AccessToken {
    /// How long it still holds.
    fn remaining(&self) -> Duration {
        self.expires_at.duration_since(SystemTime::now()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::source::kafka::client::{self, Role};
    use crate::source::kafka::testing::options;

    /// Gives tokens that hold for `life`, of which the one numbered `fails` is not given.
    struct Numbered {
        given: AtomicU32,
        fails: u32,
        life: Duration,
    }

    impl TokenProvider for Numbered {
        fn principal(&self) -> &str {
            "rig"
        }

        fn token(&self) -> Result<AccessToken> {
            let number = self.given.fetch_add(1, Ordering::SeqCst);
            if number == self.fails {
                return Err(Error::unavailable("the endpoint is away"));
            }
            Ok(AccessToken { text: format!("token-{number}"), expires_at: SystemTime::now() + self.life })
        }
    }

    fn oauth_client() -> Arc<Client> {
        let mut options = options("127.0.0.1:1");
        options.client.insert("security.protocol".into(), "SASL_PLAINTEXT".into());
        options.client.insert("sasl.mechanism".into(), "OAUTHBEARER".into());
        client::open(&options, Role::Admin, Arc::default()).unwrap()
    }

    #[test]
    fn a_token_is_renewed_at_half_its_life_and_a_failed_attempt_costs_nothing() {
        let provider =
            Arc::new(Numbered { given: AtomicU32::new(0), fails: 1, life: Duration::from_secs(4) });
        let tokens = Tokens::start(Arc::clone(&provider) as Arc<dyn TokenProvider>).unwrap();
        tokens.give(&oauth_client()).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while tokens.shared.lock().token.text != "token-2" {
            assert!(std::time::Instant::now() < deadline, "the token was not renewed");
            assert!(tokens.shared.lock().token.remaining() > Duration::ZERO, "a token ran out");
            thread::sleep(Duration::from_millis(20));
        }
        assert!(tokens.shared.lock().clients.is_empty(), "the client is gone");
    }

    #[test]
    fn a_refused_first_token_is_the_starts_error() {
        let provider = Numbered { given: AtomicU32::new(0), fails: 0, life: Duration::from_secs(60) };
        let error = Tokens::start(Arc::new(provider)).err().unwrap();
        assert!(error.to_string().contains("the endpoint is away"), "{error}");
    }

    #[test]
    fn a_client_does_not_take_a_token_that_has_expired() {
        let provider = Numbered { given: AtomicU32::new(0), fails: 9, life: Duration::ZERO };
        let tokens = Tokens::start(Arc::new(provider)).unwrap();
        let error = tokens.give(&oauth_client()).unwrap_err().to_string();
        assert!(error.contains("clock") && !error.contains("token-0"), "{error}");
    }
}
