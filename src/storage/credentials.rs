//! Tokens of Microsoft Entra ID: who we are to Azure's services.
//!
//! A provider asks for one token and says until when it holds; whoever uses it keeps it, and asks again in time
//! (`source::kafka::tokens`). Blocks, bounded in time. No error and no `Debug` here shows a secret or a token.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::{ClientOptions, RetryOptions};
use azure_identity::{ClientSecretCredential, ClientSecretCredentialOptions};

use crate::model::{Error, Result};

/// How long an answer of the token endpoint is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A token, to be shown to a service. No `Debug`: it is a secret.
#[derive(Clone)]
pub struct AccessToken {
    /// Its text.
    pub text: String,
    /// Until when it holds.
    pub expires_at: SystemTime,
}

/// Whoever gives tokens for one login.
pub trait TokenProvider: Send + Sync {
    /// Whose tokens these are, for messages and for the broker's log.
    fn principal(&self) -> &str;

    /// Asks for a token. Blocks for 20 seconds at most; must not be called on a thread of an async runtime.
    ///
    /// # Errors
    /// `Config` if the credentials are refused; `Unavailable` if nobody answers.
    fn token(&self) -> Result<AccessToken>;
}

/// Tokens of Entra ID for an application that logs in with a client secret.
struct Application {
    client_id: String,
    scope: String,
    credential: Arc<ClientSecretCredential>,
}

/// A provider for an application with a client secret. `authority` is `https://login.microsoftonline.com` or that of
/// another cloud.
///
/// # Errors
/// `Config` if one of the values cannot be used.
pub fn application(
    authority: &str,
    tenant_id: &str,
    client_id: &str,
    client_secret: &str,
    scope: &str,
) -> Result<Arc<dyn TokenProvider>> {
    let mut cloud = CustomConfiguration::default();
    cloud.authority_host = authority.to_owned();
    // The credential tries once: its user knows how long the token before still holds, and when to try again.
    let client_options = ClientOptions {
        cloud: Some(Arc::new(CloudConfiguration::Custom(cloud))),
        retry: RetryOptions::none(),
        ..ClientOptions::default()
    };
    let secret = Secret::new(client_secret.to_owned());
    let options = ClientSecretCredentialOptions { client_options };
    let credential = ClientSecretCredential::new(tenant_id, client_id.to_owned(), secret, Some(options))
        .map_err(|cause| Error::config("the application of Entra ID cannot be used").source(cause))?;
    Ok(Arc::new(Application { client_id: client_id.to_owned(), scope: scope.to_owned(), credential }))
}

impl TokenProvider for Application {
    fn principal(&self) -> &str {
        &self.client_id
    }

    fn token(&self) -> Result<AccessToken> {
        let what = || format!("Entra ID gives no token for application {}", self.client_id);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|cause| Error::unavailable(what()).source(cause))?;
        let scopes = [self.scope.as_str()];
        let answer = runtime.block_on(async {
            tokio::time::timeout(ANSWER_TIMEOUT, self.credential.get_token(&scopes, None)).await
        });
        let token = match answer {
            Ok(Ok(token)) => token,
            Ok(Err(cause)) => return Err(refusal(what(), cause)),
            Err(_) => {
                return Err(Error::unavailable(format!("{}: no answer within 20 s", what())));
            }
        };
        let expires_at = SystemTime::UNIX_EPOCH
            + Duration::from_secs(u64::try_from(token.expires_on.unix_timestamp()).unwrap_or(0));
        Ok(AccessToken { text: token.token.secret().to_owned(), expires_at })
    }
}

/// An answer of the endpoint that is not a token: refused credentials, or an endpoint in trouble.
fn refusal(what: String, cause: azure_core::Error) -> Error {
    // The credential wraps the answer that it met.
    let mut status = None;
    let mut inner: Option<&(dyn std::error::Error + 'static)> = Some(&cause);
    while let Some(error) = inner {
        let answer = error.downcast_ref::<azure_core::Error>().and_then(azure_core::Error::http_status);
        status = status.or(answer.map(u16::from));
        inner = error.source();
    }
    let refused = status.is_some_and(|status| (400..500).contains(&status) && status != 408 && status != 429);
    if refused {
        return Error::config(what)
            .source(cause)
            .hint("check clientId, clientSecret and scope, the tenant in the token endpoint, and the application's roles");
    }
    Error::unavailable(what).source(cause).hint("check that the token endpoint can be reached from here")
}
