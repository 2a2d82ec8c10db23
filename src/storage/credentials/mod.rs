//! Tokens of Microsoft Entra ID: what opens Azure's services for an [`Identity`].
//!
//! ```text
//! Identity ─► entra (asks Entra ID, the metadata service or `az` for one token) ─► renewed (keeps it, renews it) ─► users
//! ```
//!
//! Users see [`TokenProvider`] only: Kafka pushes its tokens to librdkafka, storage and lease take the one that is kept. Of
//! one identity and one service there is one keeper in the process. Blocks, bounded in time. No error and no `Debug` here
//! shows a secret or a token.

mod entra;
mod renewed;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

pub use renewed::{RenewedTokens, TokenState};

use crate::model::{Credential, Error, Identity, Result};

/// The scope of Azure Storage, in every cloud.
pub const STORAGE_SCOPE: &str = "https://storage.azure.com/.default";

/// How far clocks may be apart: Azure's services allow five minutes.
const SKEW_MAX_S: i64 = 300;

/// A token, to be shown to a service. No `Debug`: it is a secret.
#[derive(Clone)]
pub struct AccessToken {
    /// Its text.
    pub text: String,
    /// Until when it holds.
    pub expires_at: SystemTime,
}

impl AccessToken {
    /// How long it still holds.
    pub fn remaining(&self) -> Duration {
        self.expires_at.duration_since(SystemTime::now()).unwrap_or_default()
    }
}

/// Whoever gives tokens for one login.
pub trait TokenProvider: Send + Sync {
    /// Whose tokens these are, for messages and for the broker's log.
    fn principal(&self) -> &str;

    /// The service that they are for, for messages and metrics: a host name.
    fn service(&self) -> &str {
        ""
    }

    /// A token. Blocks for 20 seconds at most where it has to be asked for; on a thread of an async runtime use
    /// `spawn_blocking`.
    ///
    /// # Errors
    /// `Config` if the credentials are refused; `Unavailable` if nobody answers.
    fn token(&self) -> Result<AccessToken>;

    /// A token that is there and holds; `None` if one has to be asked for. Does not block.
    fn token_at_once(&self) -> Option<AccessToken> {
        None
    }
}

/// A provider that asks for a new token whenever it is asked for one. Everything that stands in files is read anew.
pub fn asking(identity: &Identity, scope: &str) -> Arc<dyn TokenProvider> {
    Arc::new(entra::Entra::new(identity, scope))
}

/// The keepers of this process, by identity and scope.
type Keepers = HashMap<(Identity, String), Weak<RenewedTokens>>;

/// The tokens of an identity for a service, kept and renewed for as long as somebody holds them. Asked for by several, it is
/// the same ones. Nobody is asked for a token yet.
pub fn renewed(identity: &Identity, scope: &str) -> Arc<RenewedTokens> {
    static KEEPERS: LazyLock<Mutex<Keepers>> = LazyLock::new(Mutex::default);
    let mut keepers = KEEPERS.lock().unwrap_or_else(PoisonError::into_inner);
    keepers.retain(|_, keeper| keeper.strong_count() > 0);
    let key = (identity.clone(), scope.to_owned());
    if let Some(keeper) = keepers.get(&key).and_then(Weak::upgrade) {
        return keeper;
    }
    let keeper = Arc::new(RenewedTokens::new(asking(identity, scope)));
    keepers.insert(key, Arc::downgrade(&keeper));
    keeper
}

/// The tokens for Azure Storage of the identity that the options of a store name ([`Identity::to_options`]); `None` if they
/// name none, because a key or a signature opens the store.
///
/// # Errors
/// `Config` if the options contradict each other.
pub fn for_storage(options: &BTreeMap<String, String>) -> Result<Option<Arc<RenewedTokens>>> {
    let identity = Identity::from_options(options).map_err(|why| {
        Error::config(format!("the identity for Azure Storage cannot be used: {why}"))
            .hint("check the block azure")
    })?;
    Ok(identity.map(|identity| renewed(&identity, STORAGE_SCOPE)))
}

/// A token in words: whose it is, for what, for how long. Nothing of its text.
pub fn described(provider: &dyn TokenProvider, token: &AccessToken) -> String {
    let seconds = token.remaining().as_secs();
    let left = match seconds {
        0..=119 => format!("{seconds} s"),
        _ => format!("{} min", seconds / 60),
    };
    format!("{} has a token for {} that holds for {left}", provider.principal(), provider.service())
}

/// Whether the giver of this identity's tokens says when they end by its own clock, so that ours cannot be compared with it.
pub fn ends_are_absolute(identity: &Identity) -> bool {
    matches!(identity.credential, Credential::ManagedIdentity { .. } | Credential::AzureCli { .. })
}

/// Compares this machine's clock with that of whoever gave the token, which has the end of its life in itself.
///
/// # Errors
/// `Config` if they are further apart than services allow.
pub fn clock(token: &AccessToken) -> Result<String> {
    let Some(skew_s) = skew_seconds(token) else {
        return Ok("the token does not tell the time of Entra ID".to_owned());
    };
    let apart = match skew_s {
        0 => "as".to_owned(),
        1.. => format!("{skew_s} s behind"),
        _ => format!("{} s ahead of", -skew_s),
    };
    let found = format!("this machine's clock is {apart} that of Entra ID");
    if skew_s.abs() > SKEW_MAX_S {
        return Err(Error::config(found).hint("synchronize this machine's clock (NTP, chrony)"));
    }
    Ok(found)
}

/// By how many seconds this machine's clock is behind that of the token's giver; `None` if the token is no JSON Web Token.
fn skew_seconds(token: &AccessToken) -> Option<i64> {
    use base64::Engine;
    let body = token.text.split('.').nth(1)?;
    let body = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(body.trim_end_matches('=')).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&body).ok()?;
    let ours = token.expires_at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(claims["exp"].as_i64()? - i64::try_from(ours.as_secs()).ok()?)
}

/// What is known of the tokens that are kept in this process, for metrics.
pub fn states() -> Vec<TokenState> {
    renewed::states()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn token(exp_ahead_s: i64) -> AccessToken {
        let expires_at = SystemTime::now() + Duration::from_secs(3600);
        let ours = expires_at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let claims = format!("{{\"exp\":{}}}", i64::try_from(ours).unwrap() + exp_ahead_s);
        AccessToken { text: format!("h.{}.s", URL_SAFE_NO_PAD.encode(claims)), expires_at }
    }

    #[test]
    fn a_clock_that_is_minutes_wrong_is_told_by_the_token() {
        let said = |ahead| clock(&token(ahead)).map_err(|error| error.to_string());
        assert_eq!(said(0).as_deref(), Ok("this machine's clock is as that of Entra ID"));
        assert_eq!(said(200).as_deref(), Ok("this machine's clock is 200 s behind that of Entra ID"));
        for wrong in [301, -900] {
            assert!(said(wrong).unwrap_err().contains("synchronize this machine's clock"), "{wrong}");
        }
        let opaque = AccessToken { text: "opaque".into(), expires_at: SystemTime::now() };
        assert!(clock(&opaque).unwrap().contains("does not tell"));
    }

    #[test]
    fn one_identity_has_one_keeper_for_a_service_and_storage_finds_it_among_its_options() {
        let credential = Credential::AzureCli { tenant_id: None };
        let identity = Identity { authority: "https://login.example".into(), credential };
        let one = renewed(&identity, STORAGE_SCOPE);
        assert!(Arc::ptr_eq(&one, &renewed(&identity, STORAGE_SCOPE)));
        assert!(!Arc::ptr_eq(&one, &renewed(&identity, "https://ns.example/.default")));
        let found = for_storage(&identity.to_options()).unwrap().expect("the options name it");
        assert_eq!((found.principal(), found.service()), (one.principal(), "storage.azure.com"));
        assert!(for_storage(&BTreeMap::from([("sas_token".into(), "x".into())])).unwrap().is_none());
    }
}
