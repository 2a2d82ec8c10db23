//! The credentials of a Kafka source, and where they stand outside of the stream file.
//!
//! A password or a certificate may change on the disk while a stream runs (a mounted secret that is rotated). What
//! refers to a file is kept as it was written, and resolved again whenever clients are made. Nothing here has a `Debug`
//! that shows a value.

use std::fmt;
use std::path::PathBuf;

use super::KafkaOptions;
use super::jaas::{self, Login};
use crate::config::lookup::Lookup;
use crate::config::secrets;
use crate::model::{Credential, Identity, Secret};

/// How clients log in, beside what stands in librdkafka's properties.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Security {
    /// Whose tokens are sent (SASL/OAUTHBEARER); `None` for every other login.
    pub tokens: Option<TokenLogin>,
    /// What refers to files.
    pub(crate) sources: CredentialSources,
}

/// Whose tokens of Entra ID are sent, and for which service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenLogin {
    /// Who logs in.
    pub identity: Identity,
    /// `https://NAMESPACE.servicebus.windows.net/.default`.
    pub scope: String,
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Security").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

/// Values of the stream file that refer to files.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct CredentialSources(Vec<(String, Target)>);

/// What a value that refers to a file decides.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// This property of librdkafka.
    Property(String),
    /// The login of a JAAS line.
    Jaas,
}

impl CredentialSources {
    /// Keeps `raw`, the text with its references.
    pub(super) fn push(&mut self, raw: &str, target: Target) {
        self.0.push((raw.to_owned(), target));
    }
}

/// Properties of librdkafka whose value is a file that it reads when a client is made.
const FILES: [&str; 5] = [
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.crl.location",
    "ssl.key.location",
    "ssl.keystore.location",
];

impl KafkaOptions {
    /// The options with everything that refers to a file read again.
    ///
    /// # Errors
    /// A sentence that names the file that cannot be read, or what is wrong in it, without its text.
    pub fn renewed(&self, lookup: &dyn Lookup) -> Result<KafkaOptions, String> {
        let mut options = self.clone();
        for (raw, target) in &self.security.sources.0 {
            let value = secrets::resolve(raw, lookup)?;
            match target {
                Target::Property(name) => drop(options.client.insert(name.clone(), value)),
                Target::Jaas => options.log_in(jaas::parse(&value)?),
            }
        }
        Ok(options)
    }

    fn log_in(&mut self, login: Login) {
        match login {
            Login::Plain { username, password } | Login::Scram { username, password } => {
                self.client.insert("sasl.username".into(), username);
                self.client.insert("sasl.password".into(), password);
            }
            Login::OAuthBearer { client_id, client_secret, .. } => {
                let credential = self.security.tokens.as_mut().map(|login| &mut login.identity.credential);
                if let (
                    Some(Credential::ClientSecret { client_id: known, secret, .. }),
                    Some(id),
                    Some(text),
                ) = (credential, client_id, client_secret)
                {
                    *known = id;
                    *secret = Secret::Text(text);
                }
            }
        }
    }

    /// Files that librdkafka reads when a client is made: keys and certificates.
    pub fn key_files(&self) -> Vec<PathBuf> {
        FILES.iter().filter_map(|name| self.client.get(*name)).map(PathBuf::from).collect()
    }

    /// Whether anything of the credentials may change while a stream runs.
    pub fn credentials_may_change(&self) -> bool {
        !self.security.sources.0.is_empty() || !self.key_files().is_empty()
    }

    /// Whether the secret that tokens are asked for with may change while a stream runs.
    pub fn token_login_may_change(&self) -> bool {
        self.security.sources.0.iter().any(|(_, target)| *target == Target::Jaas)
    }
}
