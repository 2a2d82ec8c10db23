//! Tokens for SASL/OAUTHBEARER: asked for before the first connection, pushed to every client, and so is every later one.
//!
//! They are kept and renewed by `storage::credentials`; the brokers decide when one is too old. librdkafka's own callback is
//! not used, for it is served only while somebody polls.

use std::sync::{Arc, Weak};
use std::time::SystemTime;

use tracing::warn;

use super::native::{self, Client};
use crate::config::kafka::TokenLogin;
use crate::model::{Error, Result};
use crate::storage::credentials::{self, AccessToken, RenewedTokens, TokenProvider};

/// The tokens of an identity, which the whole process shares.
pub(super) fn kept(login: &TokenLogin) -> Arc<RenewedTokens> {
    credentials::renewed(&login.identity, &login.scope)
}

/// The tokens of one source.
pub(super) struct Tokens {
    kept: Arc<RenewedTokens>,
}

impl Tokens {
    /// Asks for the first token if none is held; it is renewed from then on.
    ///
    /// # Errors
    /// What the provider returns.
    pub(super) fn start(kept: Arc<RenewedTokens>) -> Result<Tokens> {
        kept.token()?;
        Ok(Tokens { kept })
    }

    /// Gives the client the token that holds now, and every later one for as long as the client lives.
    ///
    /// # Errors
    /// `Unavailable` if the client does not take it: it has expired.
    pub(super) fn give(&self, client: &Arc<Client>) -> Result<()> {
        let principal = self.kept.principal().to_owned();
        let first = |token: &AccessToken| {
            push(client, token, &principal).map_err(|why| {
                Error::unavailable(format!("the Kafka client does not take the token of {principal}: {why}"))
                    .hint("compare this machine's clock with the identity provider's")
            })
        };
        let (client, owner) = (Arc::downgrade(client), principal.clone());
        self.kept.each(first, move |token| push_later(&client, token, &owner))
    }
}

/// Pushes a renewed token; false if the client is gone.
fn push_later(client: &Weak<Client>, token: &AccessToken, principal: &str) -> bool {
    let Some(client) = client.upgrade() else { return false };
    if let Err(why) = push(&client, token, principal) {
        warn!(why, "a Kafka client does not take the renewed token");
    }
    true
}

fn push(client: &Client, token: &AccessToken, principal: &str) -> Result<(), String> {
    let since = token.expires_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let expires_at_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    native::set_token(client, &token.text, principal, expires_at_ms)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::source::kafka::client::{self, Role};
    use crate::source::kafka::testing::options;

    /// Gives tokens that hold for this long; none if it is `None`.
    struct Lasting(Option<Duration>);

    impl TokenProvider for Lasting {
        fn principal(&self) -> &str {
            "rig"
        }

        fn token(&self) -> Result<AccessToken> {
            let life = self.0.ok_or_else(|| Error::unavailable("the endpoint is away"))?;
            Ok(AccessToken { text: "token-text".into(), expires_at: SystemTime::now() + life })
        }
    }

    fn tokens(life: Option<Duration>) -> Result<Tokens> {
        Tokens::start(Arc::new(RenewedTokens::new(Arc::new(Lasting(life)))))
    }

    fn oauth_client() -> Arc<Client> {
        let mut options = options("127.0.0.1:1");
        options.client.insert("security.protocol".into(), "SASL_PLAINTEXT".into());
        options.client.insert("sasl.mechanism".into(), "OAUTHBEARER".into());
        client::open(&options, Role::Admin, Arc::default()).unwrap()
    }

    #[test]
    fn a_client_takes_a_token_and_a_renewed_one_and_is_left_alone_when_it_is_gone() {
        let client = oauth_client();
        tokens(Some(Duration::from_secs(60))).unwrap().give(&client).unwrap();
        let renewed = Lasting(Some(Duration::from_secs(90))).token().unwrap();
        let watched = Arc::downgrade(&client);
        assert!(push_later(&watched, &renewed, "rig"));
        drop(client);
        assert!(!push_later(&watched, &renewed, "rig"));
    }

    #[test]
    fn a_refused_first_token_is_the_starts_error() {
        let error = tokens(None).err().unwrap();
        assert!(error.to_string().contains("the endpoint is away"), "{error}");
    }

    #[test]
    fn a_client_does_not_take_a_token_that_has_expired() {
        let error = tokens(Some(Duration::ZERO)).unwrap().give(&oauth_client()).unwrap_err().to_string();
        assert!(error.contains("clock") && !error.contains("token-text"), "{error}");
    }
}
