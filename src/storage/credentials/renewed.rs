//! A token that is kept, and renewed ahead of its end.
//!
//! A thread asks for the next token when half of a token's life is over. One that cannot be renewed is no error while the
//! one before it holds: the next attempt follows soon, and whoever shows the token finds out when it is too late. An answer
//! that holds no longer than the token that is kept (metadata services give the same one for hours) is asked for again when
//! half of the rest is over.

use std::fmt;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, SystemTime};

use tracing::{debug, warn};

use super::{AccessToken, TokenProvider};
use crate::model::{Error, Result};

/// The shortest and the longest wait before a token that could not be renewed is asked for again.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// The keepers of this process.
static ALL: LazyLock<Mutex<Vec<Weak<Shared>>>> = LazyLock::new(Mutex::default);

/// The tokens of one login, kept. Dropped, it stops renewing.
pub struct RenewedTokens {
    shared: Arc<Shared>,
}

/// What is called with every later token; `false` if it wants no more.
type Receiver = Box<dyn Fn(&AccessToken) -> bool + Send>;

struct Shared {
    provider: Arc<dyn TokenProvider>,
    /// Held while a token is asked for that somebody waits for: an answer may take long, and one is enough for all.
    asking: Mutex<()>,
    /// Never held while somebody is asked.
    state: Mutex<State>,
    /// Signalled when renewing is to stop.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    token: Option<AccessToken>,
    renewed_at: Option<SystemTime>,
    failures: u64,
    /// How many answers there were to those who waited, and the last one if it was none.
    answers: u64,
    refused: Option<Error>,
    receivers: Vec<Receiver>,
    /// Whether the thread runs.
    renewing: bool,
    over: bool,
}

/// What is known of a token that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenState {
    /// The service that it is for, a host name.
    pub service: String,
    /// Whose it is.
    pub principal: String,
    /// When it was given.
    pub renewed_at: SystemTime,
    /// Until when it holds.
    pub expires_at: SystemTime,
    /// How often it could not be renewed, since the process kept tokens of this login.
    pub failures: u64,
}

impl RenewedTokens {
    /// Keeps tokens of `provider`; it is asked when the first one is needed.
    pub fn new(provider: Arc<dyn TokenProvider>) -> RenewedTokens {
        let shared = Arc::new(Shared {
            provider,
            asking: Mutex::default(),
            state: Mutex::default(),
            ended: Condvar::new(),
        });
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|keeper| keeper.strong_count() > 0);
        all.push(Arc::downgrade(&shared));
        RenewedTokens { shared }
    }

    /// Calls `first` with the token that holds now, and `later` with every one after it until it answers `false`. Asks for a
    /// token if there is none.
    ///
    /// # Errors
    /// As for [`TokenProvider::token`], and what `first` returns; there are no calls of `later` then.
    pub fn each(
        &self,
        first: impl FnOnce(&AccessToken) -> Result<()>,
        later: impl Fn(&AccessToken) -> bool + Send + 'static,
    ) -> Result<()> {
        let mut state = self.held()?;
        state.token.as_ref().map_or(Ok(()), first)?;
        state.receivers.push(Box::new(later));
        Ok(())
    }

    /// The state with a token that holds. Whoever comes while somebody else asks for one takes the answer to that, a refusal too:
    /// asked one after the other, many would wait for an endpoint that does not answer.
    fn held(&self) -> Result<MutexGuard<'_, State>> {
        let answers = {
            let state = self.shared.lock();
            if state.holds() {
                return self.renewing(state);
            }
            state.answers
        };
        let _asking = self.shared.asking.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let state = self.shared.lock();
            if state.holds() {
                return self.renewing(state);
            }
            if let Some(error) = state.refused.as_ref().filter(|_| state.answers != answers) {
                return Err(error.again());
            }
        }
        let answer = self.shared.provider.token();
        let mut state = self.shared.lock();
        state.answers += 1;
        match answer {
            Ok(token) => state.take(token),
            Err(error) => {
                state.failures += 1;
                state.refused = Some(error.again());
                return Err(error);
            }
        }
        self.renewing(state)
    }

    /// Starts the thread that renews the token, if it does not run yet.
    fn renewing<'a>(&'a self, mut state: MutexGuard<'a, State>) -> Result<MutexGuard<'a, State>> {
        if !state.renewing {
            let renewing = Arc::clone(&self.shared);
            let started = thread::Builder::new().name("tokens".into()).spawn(move || renewing.renew());
            started.map_err(|cause| {
                Error::unavailable("cannot start a thread that renews tokens").source(cause)
            })?;
            state.renewing = true;
        }
        Ok(state)
    }
}

impl TokenProvider for RenewedTokens {
    fn principal(&self) -> &str {
        self.shared.provider.principal()
    }

    fn service(&self) -> &str {
        self.shared.provider.service()
    }

    fn token(&self) -> Result<AccessToken> {
        let state = self.held()?;
        state.token.clone().ok_or_else(|| Error::internal("a token that is held is not there"))
    }

    fn token_at_once(&self) -> Option<AccessToken> {
        let state = self.shared.lock();
        state.token.clone().filter(|_| state.holds() && state.renewing)
    }
}

impl fmt::Debug for RenewedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tokens of {} for {}", self.principal(), self.service())
    }
}

impl Drop for RenewedTokens {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.ended.notify_all();
    }
}

impl State {
    fn take(&mut self, token: AccessToken) {
        self.receivers.retain(|receive| receive(&token));
        self.token = Some(token);
        self.renewed_at = Some(SystemTime::now());
        self.refused = None;
    }

    fn holds(&self) -> bool {
        !self.left().is_zero()
    }

    /// How long the token still holds.
    fn left(&self) -> Duration {
        self.token.as_ref().map(AccessToken::remaining).unwrap_or_default()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renew(&self) {
        let mut pause = self.lock().left() / 2;
        loop {
            // A token of almost no life must not make this a busy loop.
            pause = pause.max(RETRY_MIN).mul_f64(rand::random_range(0.9..=1.0));
            let waited = self.ended.wait_timeout_while(self.lock(), pause, |state| !state.over);
            if waited.unwrap_or_else(PoisonError::into_inner).0.over {
                return;
            }
            let answer = self.provider.token();
            let mut state = self.lock();
            match answer {
                Ok(token) => {
                    pause = token.remaining() / 2;
                    state.take(token);
                    debug!(
                        service = self.provider.service(),
                        principal = self.provider.principal(),
                        valid_s = state.left().as_secs(),
                        "the token is renewed"
                    );
                }
                Err(error) => {
                    state.failures += 1;
                    let left = state.left();
                    pause = (left / 8).clamp(RETRY_MIN, RETRY_MAX);
                    let service = self.provider.service();
                    if left.is_zero() {
                        warn!(%error, service, "the token has expired and could not be renewed");
                    } else {
                        warn!(%error, service, left_s = left.as_secs(), "the token could not be renewed; the one before it is used on");
                    }
                }
            }
        }
    }
}

/// Of every token that is kept, in no particular order.
pub(super) fn states() -> Vec<TokenState> {
    let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    let state_of = |shared: &Arc<Shared>| {
        // A keeper that has not got its first token has none to tell of.
        let state = shared.lock();
        Some(TokenState {
            service: shared.provider.service().to_owned(),
            principal: shared.provider.principal().to_owned(),
            renewed_at: state.renewed_at?,
            expires_at: state.token.as_ref()?.expires_at,
            failures: state.failures,
        })
    };
    all.iter().filter_map(Weak::upgrade).filter_map(|shared| state_of(&shared)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Instant;

    use super::*;

    /// Gives tokens that hold for `life`, of which the one numbered `fails` is not given.
    struct Numbered {
        /// A name for each test: what is known of tokens is known by the process.
        service: &'static str,
        given: AtomicU32,
        fails: u32,
        life: Duration,
    }

    impl Numbered {
        fn of(service: &'static str, life: Duration, fails: u32) -> Arc<Numbered> {
            Arc::new(Numbered { service, given: AtomicU32::new(0), fails, life })
        }
    }

    impl TokenProvider for Numbered {
        fn principal(&self) -> &str {
            "rig"
        }

        fn service(&self) -> &str {
            self.service
        }

        fn token(&self) -> Result<AccessToken> {
            let number = self.given.fetch_add(1, Ordering::SeqCst);
            if number == self.fails {
                return Err(Error::unavailable("the endpoint is away"));
            }
            Ok(AccessToken { text: format!("token-{number}"), expires_at: SystemTime::now() + self.life })
        }
    }

    #[test]
    fn a_token_is_renewed_at_half_its_life_and_a_failed_attempt_costs_nothing() {
        let provider = Numbered::of("renewed.example", Duration::from_secs(4), 1);
        let tokens = RenewedTokens::new(Arc::clone(&provider) as Arc<dyn TokenProvider>);
        assert_eq!(provider.given.load(Ordering::SeqCst), 0, "nobody needs one yet");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (begins, goes_on) = (Arc::clone(&seen), Arc::clone(&seen));
        let note =
            |seen: &Mutex<Vec<String>>, token: &AccessToken| seen.lock().unwrap().push(token.text.clone());
        tokens
            .each(
                move |token| {
                    note(&begins, token);
                    Ok(())
                },
                move |token| {
                    note(&goes_on, token);
                    token.text != "token-2"
                },
            )
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while tokens.token().unwrap().text != "token-3" {
            assert!(Instant::now() < deadline, "the token was not renewed");
            assert!(tokens.token().unwrap().remaining() > Duration::ZERO, "a token ran out");
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(*seen.lock().unwrap(), ["token-0", "token-2"], "it wanted no more");
        let state = states().into_iter().find(|state| state.service == "renewed.example").unwrap();
        assert_eq!((state.failures, state.principal.as_str()), (1, "rig"));
        assert!(state.expires_at > state.renewed_at);
    }

    #[test]
    fn a_refused_first_token_is_an_error_and_the_next_one_is_asked_for_again() {
        let tokens = RenewedTokens::new(Numbered::of("refused.example", Duration::from_secs(60), 0));
        let error = tokens.token().err().unwrap();
        assert!(error.to_string().contains("the endpoint is away"), "{error}");
        assert_eq!(tokens.token().unwrap().text, "token-1");
        assert_eq!(tokens.token().unwrap().text, "token-1", "it is kept");
    }

    /// Answers no one, each time after a while.
    struct Silent(AtomicU32);

    impl TokenProvider for Silent {
        fn principal(&self) -> &str {
            "rig"
        }

        fn token(&self) -> Result<AccessToken> {
            self.0.fetch_add(1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(500));
            Err(Error::unavailable("nobody answers"))
        }
    }

    #[test]
    fn all_who_wait_for_a_token_share_the_refusal_of_one() {
        let provider = Arc::new(Silent(AtomicU32::new(0)));
        let tokens = RenewedTokens::new(Arc::clone(&provider) as Arc<dyn TokenProvider>);
        let barrier = std::sync::Barrier::new(20);
        thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    barrier.wait();
                    assert!(tokens.token_at_once().is_none());
                    assert!(tokens.token().is_err_and(|e| e.to_string().contains("nobody answers")));
                });
            }
        });
        // A thread that comes only when the first answer is there asks once more.
        assert!(provider.0.load(Ordering::SeqCst) <= 3, "{:?}", provider.0);
    }

    #[test]
    fn a_token_that_has_expired_is_not_given() {
        let tokens = RenewedTokens::new(Numbered::of("expired.example", Duration::ZERO, 9));
        let first = tokens.token().unwrap().text;
        assert_ne!(tokens.token().unwrap().text, first);
    }
}
