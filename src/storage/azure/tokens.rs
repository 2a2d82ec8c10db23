//! Tokens of Entra ID for requests to storage: one cache for each login, for tables, checkpoints and leases alike.
//!
//! A token is renewed in the background when half of its life is over, by whichever request comes then. One that can't be
//! renewed is no error while it holds. Only a request that finds no token that holds waits for one.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use object_store::CredentialProvider;
use object_store::azure::AzureCredential;

use super::options::Login;
use crate::model::{Error, Result};
use crate::storage::credentials::TokenProvider;

/// A token with less life than this is waited for: a request that is under way must not outlive it.
const LIFE_MIN: Duration = Duration::from_secs(5);
/// How long after a failed renewal the next one follows.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// The tokens of one login.
pub(super) struct Tokens {
    provider: Arc<dyn TokenProvider>,
    state: Mutex<State>,
    /// Held while a token is waited for, so that one request asks and the others wait with it.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    token: Option<Held>,
    renewing: bool,
    renewal_failed: Option<Instant>,
}

#[derive(Clone)]
struct Held {
    credential: Arc<AzureCredential>,
    expires_at: SystemTime,
    life: Duration,
}

impl Held {
    fn remaining(&self) -> Duration {
        self.expires_at.duration_since(SystemTime::now()).unwrap_or_default()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tokens of {}", self.provider.principal())
    }
}

impl Tokens {
    /// The tokens of `login`, shared by all who use it in this process; `make` gives the provider of a new one.
    ///
    /// # Errors
    /// What `make` returns.
    pub(super) fn of(
        login: &Login,
        make: impl FnOnce() -> Result<Arc<dyn TokenProvider>>,
    ) -> Result<Arc<Tokens>> {
        static SHARED: LazyLock<Mutex<HashMap<Login, Weak<Tokens>>>> = LazyLock::new(Mutex::default);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tokens) = shared.get(login).and_then(Weak::upgrade) {
            return Ok(tokens);
        }
        shared.retain(|_, tokens| tokens.strong_count() > 0);
        let tokens = Arc::new(Tokens::new(make()?));
        shared.insert(login.clone(), Arc::downgrade(&tokens));
        Ok(tokens)
    }

    fn new(provider: Arc<dyn TokenProvider>) -> Tokens {
        Tokens { provider, state: Mutex::default(), asking: tokio::sync::Mutex::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The token that holds now; `due` says whether it should be renewed, to one caller only.
    fn held(&self) -> Option<(Arc<AzureCredential>, bool)> {
        let mut state = self.lock();
        let held = state.token.clone().filter(|held| held.remaining() > LIFE_MIN.min(held.life / 4))?;
        let paused = state.renewal_failed.is_some_and(|at| at.elapsed() < RETRY_PAUSE);
        let due = held.remaining() < held.life / 2 && !state.renewing && !paused;
        state.renewing |= due;
        Some((held.credential, due))
    }

    /// Asks for a token. Blocks.
    fn ask(&self) -> Result<Arc<AzureCredential>> {
        let answer = self.provider.token();
        let mut state = self.lock();
        state.renewing = false;
        let token = match answer {
            Ok(token) => token,
            Err(error) => {
                state.renewal_failed = Some(Instant::now());
                return Err(error);
            }
        };
        let credential = Arc::new(AzureCredential::BearerToken(token.text));
        let life = token.expires_at.duration_since(SystemTime::now()).unwrap_or_default();
        state.renewal_failed = None;
        state.token = Some(Held { credential: Arc::clone(&credential), expires_at: token.expires_at, life });
        Ok(credential)
    }

    fn renew(self: Arc<Self>) {
        if let Err(error) = self.ask() {
            let left = self.lock().token.as_ref().map(Held::remaining).unwrap_or_default();
            tracing::warn!(%error, left_s = left.as_secs(), "the token for storage could not be renewed; the one before it is used on");
        }
    }

    /// A token that holds.
    async fn token(self: &Arc<Self>) -> Result<Arc<AzureCredential>> {
        if let Some(credential) = self.held_and_renewed() {
            return Ok(credential);
        }
        let _asking = self.asking.lock().await;
        if let Some(credential) = self.held_and_renewed() {
            return Ok(credential);
        }
        let (answer, answered) = tokio::sync::oneshot::channel();
        let tokens = Arc::clone(self);
        start(move || {
            // Nobody waits any more if the request was given up.
            let _ = answer.send(tokens.ask());
        })?;
        answered
            .await
            .map_err(|_| Error::internal("the thread that asks for a token ended without an answer"))?
    }

    fn held_and_renewed(self: &Arc<Self>) -> Option<Arc<AzureCredential>> {
        let (credential, due) = self.held()?;
        if due {
            let tokens = Arc::clone(self);
            if start(move || tokens.renew()).is_err() {
                self.lock().renewing = false;
            }
        }
        Some(credential)
    }
}

/// A thread of its own: a provider blocks, and must not do so on a runtime's.
fn start(work: impl FnOnce() + Send + 'static) -> Result<()> {
    let started = thread::Builder::new().name("storage-token".into()).spawn(work);
    started
        .map(drop)
        .map_err(|e| Error::unavailable("cannot start a thread for the token of storage").source(e))
}

/// The tokens as object_store takes them.
#[derive(Debug)]
pub(super) struct TokenCredentials(pub(super) Arc<Tokens>);

#[async_trait::async_trait]
impl CredentialProvider for TokenCredentials {
    type Credential = AzureCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AzureCredential>> {
        self.0.token().await.map_err(|error| object_store::Error::Generic {
            store: "MicrosoftAzure",
            source: Box::new(error),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::model::Kind;
    use crate::storage::credentials::AccessToken;

    /// Gives numbered tokens of `life`; from the one numbered `fails` on none.
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
            if number >= self.fails {
                return Err(Error::config("refused"));
            }
            Ok(AccessToken { text: format!("token-{number}"), expires_at: SystemTime::now() + self.life })
        }
    }

    fn tokens(fails: u32, life: Duration) -> (Arc<Numbered>, Arc<Tokens>) {
        let provider = Arc::new(Numbered { given: AtomicU32::new(0), fails, life });
        (Arc::clone(&provider), Arc::new(Tokens::new(provider)))
    }

    async fn text(tokens: &Arc<Tokens>) -> String {
        match tokens.token().await.unwrap().as_ref() {
            AzureCredential::BearerToken(text) => text.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn requests_at_once_ask_once_and_a_token_is_kept() {
        let (provider, tokens) = tokens(9, Duration::from_secs(3600));
        let all = futures::future::join_all((0..8).map(|_| text(&tokens))).await;
        assert!(all.iter().all(|text| text == "token-0"), "{all:?}");
        assert_eq!(provider.given.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_token_is_renewed_behind_the_requests_when_half_of_its_life_is_over() {
        let (_, tokens) = tokens(9, Duration::from_secs(2));
        assert_eq!(text(&tokens).await, "token-0");
        let deadline = Instant::now() + Duration::from_secs(20);
        while text(&tokens).await == "token-0" {
            assert!(Instant::now() < deadline, "it is not renewed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test]
    async fn a_renewal_that_fails_costs_nothing_while_the_token_holds_and_then_it_is_the_requests_error() {
        let (provider, tokens) = tokens(1, Duration::from_secs(2));
        assert_eq!(text(&tokens).await, "token-0");
        let deadline = Instant::now() + Duration::from_secs(20);
        while provider.given.load(Ordering::SeqCst) < 2 {
            assert!(Instant::now() < deadline, "it is not asked for again");
            assert_eq!(text(&tokens).await, "token-0");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let error = loop {
            match tokens.token().await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), Kind::Config);
    }

    #[test]
    fn one_login_has_one_cache() {
        let login = Login::Token("t".into());
        let make = || Ok(tokens(9, Duration::from_secs(60)).0 as Arc<dyn TokenProvider>);
        let first = Tokens::of(&login, make).unwrap();
        assert!(Arc::ptr_eq(&first, &Tokens::of(&login, make).unwrap()));
        assert!(!Arc::ptr_eq(&first, &Tokens::of(&Login::Token("u".into()), make).unwrap()));
    }
}
