//! The credentials that the clients of one source log in with, as they are on the disk now.
//!
//! A password, a certificate or a client secret in a file may be replaced while a stream runs. Clients keep what they were
//! made with, so whoever holds one compares its [`Login::version`] between reads, and makes a new client when it has
//! changed. Connections that are open go on until then.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::client::{self, Role};
use super::native::Client;
use super::throttle::Throttle;
use super::tokens::{Tokens, kept};
use crate::config::ProcessLookup;
use crate::config::kafka::{KafkaOptions, TokenLogin};
use crate::model::{Error, Result};
use crate::storage::credentials::{RenewedTokens, TokenProvider};

/// How often the files of credentials are read again.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The credentials of one source, shared by its clients.
pub(super) struct Login {
    /// The options as the stream file has them.
    given: KafkaOptions,
    current: Mutex<Current>,
    throttle: Arc<Throttle>,
}

struct Current {
    /// Librdkafka's properties with the credentials of now.
    client: BTreeMap<String, String>,
    tokens: Option<Arc<Tokens>>,
    token_login: Option<TokenLogin>,
    hash: u64,
    version: u64,
    read_at: Instant,
}

impl Login {
    /// Reads the credentials, and asks for the first token where tokens log in.
    ///
    /// # Errors
    /// `Config` if a file cannot be read or the identity provider refuses; `Unavailable` if it does not answer.
    pub(super) fn open(given: &KafkaOptions) -> Result<Arc<Login>> {
        Login::with_kept(given, |options| options.security.tokens.as_ref().map(kept))
    }

    /// The same with tokens of `provider`.
    ///
    /// # Errors
    /// As for [`Login::open`].
    pub(super) fn with_tokens(given: &KafkaOptions, provider: Arc<dyn TokenProvider>) -> Result<Arc<Login>> {
        Login::with_kept(given, |_| Some(Arc::new(RenewedTokens::new(provider))))
    }

    /// `kept` is given the options with the credentials of now.
    fn with_kept(
        given: &KafkaOptions,
        kept: impl FnOnce(&KafkaOptions) -> Option<Arc<RenewedTokens>>,
    ) -> Result<Arc<Login>> {
        let options = given.renewed(&ProcessLookup).map_err(|why| {
            Error::config(format!("the credentials of the Kafka source cannot be read: {why}"))
        })?;
        let tokens = kept(&options).map(Tokens::start).transpose()?.map(Arc::new);
        let current = Current {
            hash: hash(&options),
            tokens,
            token_login: options.security.tokens,
            client: options.client,
            version: 0,
            read_at: Instant::now(),
        };
        Ok(Arc::new(Login { given: given.clone(), current: Mutex::new(current), throttle: Arc::default() }))
    }

    /// Opens a client with the credentials of now; no broker is asked yet. Returns their version too.
    ///
    /// # Errors
    /// `Config` if librdkafka refuses a property; `Unavailable` if the token has expired.
    pub(super) fn client(&self, options: &KafkaOptions, role: Role) -> Result<(Arc<Client>, u64)> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let options = KafkaOptions { client: current.client.clone(), ..options.clone() };
        let client = client::open(&options, role, Arc::clone(&self.throttle))?;
        if let Some(tokens) = &current.tokens {
            tokens.give(&client)?;
        }
        Ok((client, current.version))
    }

    /// The longest time since this was last asked for which a broker held an answer back; `None` if no client reports it.
    pub(super) fn take_throttle_ms(&self) -> Option<u64> {
        self.throttle.take_ms()
    }

    /// The number of the credentials of now: it changes when a client made before has old ones. Reads the files again if
    /// that is due. Files that cannot be read (they are being replaced) change nothing.
    pub(super) fn version(&self) -> u64 {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.given.credentials_may_change() || current.read_at.elapsed() < CHECK_INTERVAL {
            return current.version;
        }
        current.read_at = Instant::now();
        match self.given.renewed(&ProcessLookup) {
            Ok(options) => self.renew(&mut current, options),
            Err(why) => warn!(
                why,
                "the credentials of the Kafka source cannot be read again; those before are used on"
            ),
        }
        current.version
    }

    fn renew(&self, current: &mut Current, options: KafkaOptions) {
        let hash = hash(&options);
        if hash == current.hash {
            return;
        }
        if options.security.tokens != current.token_login {
            let tokens = options.security.tokens.as_ref().map(|login| Tokens::start(kept(login)));
            match tokens.transpose() {
                Ok(tokens) => current.tokens = tokens.map(Arc::new),
                Err(error) => {
                    warn!(%error, "the identity provider refuses the changed credentials of the Kafka source; those before are used on");
                    return;
                }
            }
        }
        info!("the credentials of the Kafka source have changed on disk: clients log in again");
        current.token_login = options.security.tokens;
        current.client = options.client;
        current.hash = hash;
        current.version += 1;
    }
}

/// Of all that a login is made of, the texts of key files included; for comparison within this process only.
fn hash(options: &KafkaOptions) -> u64 {
    let mut hasher = DefaultHasher::new();
    options.client.hash(&mut hasher);
    options.security.tokens.as_ref().map(|login| &login.identity).hash(&mut hasher);
    for path in options.key_files() {
        // A file that is not there is librdkafka's to name, when a client is made.
        fs::read(&path).unwrap_or_default().hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::kafka::testing::options;

    #[test]
    fn a_certificate_that_changes_on_disk_gives_the_credentials_a_new_version() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        fs::write(&file, "one").unwrap();
        let mut options = options("127.0.0.1:1");
        options.client.insert("ssl.ca.location".into(), file.to_str().unwrap().into());
        let login = Login::open(&options).unwrap();
        let due = || login.current.lock().unwrap().read_at = Instant::now() - CHECK_INTERVAL;
        due();
        assert_eq!(login.version(), 0, "the file is the same");
        fs::write(&file, "two").unwrap();
        assert_eq!(login.version(), 0, "it is not due yet");
        due();
        assert_eq!(login.version(), 1);
        due();
        assert_eq!(login.version(), 1);
    }
}
