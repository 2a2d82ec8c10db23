//! One token from Entra ID, from a machine's metadata service, or from the Azure CLI: the only door to `azure_identity`.
//!
//! A credential is made for each token. Those of `azure_identity` keep a token until five minutes before its end, which is
//! later than [`super::renewed`] asks for the next one, and keep what they have read from files.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret as AzureSecret, SecretBytes, TokenCredential};
use azure_core::http::{
    AsyncRawResponse, ClientOptions, HttpClient, Request, RetryOptions, Transport, Url, new_http_client,
};
use azure_identity::{
    AzureCliCredential, AzureCliCredentialOptions, ClientAssertionCredentialOptions,
    ClientCertificateCredential, ClientCertificateCredentialOptions, ClientSecretCredential,
    ClientSecretCredentialOptions, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};

use super::{AccessToken, TokenProvider};
use crate::model::{Credential, Error, Identity, Result, Secret};

/// How long an answer is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Asks for tokens of an identity for a service.
pub(super) struct Entra {
    identity: Identity,
    scope: String,
    principal: String,
}

impl Entra {
    pub(super) fn new(identity: &Identity, scope: &str) -> Entra {
        Entra { identity: identity.clone(), scope: scope.to_owned(), principal: identity.to_string() }
    }

    /// A credential as its files are now; what the metadata service said last is noted in `trouble`.
    fn credential(&self, trouble: &Arc<Trouble>) -> Result<Arc<dyn TokenCredential>> {
        let made = match &self.identity.credential {
            Credential::ClientSecret { tenant_id, client_id, secret } => {
                let options = ClientSecretCredentialOptions { client_options: self.client_options() };
                ClientSecretCredential::new(
                    tenant_id,
                    client_id.clone(),
                    AzureSecret::new(text(secret)?),
                    Some(options),
                )
                .map(|made| made as Arc<dyn TokenCredential>)
            }
            Credential::ClientCertificate { tenant_id, client_id, certificate, password } => {
                let options = ClientCertificateCredentialOptions {
                    client_options: self.client_options(),
                    password: Some(AzureSecret::new(text(password)?)),
                };
                let bytes = SecretBytes::new(read(certificate, "certificate")?);
                ClientCertificateCredential::new(tenant_id.clone(), client_id.clone(), bytes, Some(options))
                    .map(|made| made as Arc<dyn TokenCredential>)
            }
            Credential::WorkloadIdentity { tenant_id, client_id, token_file } => {
                // Asked for here, for a message of our own.
                read(token_file, "federated token")?;
                let options = WorkloadIdentityCredentialOptions {
                    credential_options: ClientAssertionCredentialOptions {
                        client_options: self.client_options(),
                    },
                    client_id: Some(client_id.clone()),
                    tenant_id: Some(tenant_id.clone()),
                    token_file_path: Some(token_file.clone()),
                };
                WorkloadIdentityCredential::new(Some(options)).map(|made| made as Arc<dyn TokenCredential>)
            }
            Credential::ManagedIdentity { client_id, metadata_host } => {
                let host = metadata_host.as_deref().map(Url::parse).transpose();
                let host = host.map_err(|why| {
                    Error::config(format!("AZURE_POD_IDENTITY_AUTHORITY_HOST is not a URL: {why}"))
                })?;
                let client = Metadata { host, inner: new_http_client(None), trouble: Arc::clone(trouble) };
                let options = ManagedIdentityCredentialOptions {
                    user_assigned_id: client_id.clone().map(UserAssignedId::ClientId),
                    client_options: ClientOptions {
                        transport: Some(Transport::new(Arc::new(client))),
                        ..self.client_options()
                    },
                };
                ManagedIdentityCredential::new(Some(options)).map(|made| made as Arc<dyn TokenCredential>)
            }
            Credential::AzureCli { tenant_id } => {
                let options =
                    AzureCliCredentialOptions { tenant_id: tenant_id.clone(), ..Default::default() };
                AzureCliCredential::new(Some(options)).map(|made| made as Arc<dyn TokenCredential>)
            }
        };
        made.map_err(|cause| {
            Error::config(format!("{} cannot be used", self.principal)).source(cause).hint(self.hint())
        })
    }

    /// The credential tries once: its user knows how long the token before still holds, and when to try again.
    fn client_options(&self) -> ClientOptions {
        let mut cloud = CustomConfiguration::default();
        cloud.authority_host.clone_from(&self.identity.authority);
        ClientOptions {
            cloud: Some(Arc::new(CloudConfiguration::Custom(cloud))),
            retry: RetryOptions::none(),
            ..ClientOptions::default()
        }
    }

    fn ask(&self) -> Result<AccessToken> {
        let what = || format!("there is no token of Entra ID for {}", self.principal);
        let trouble = Arc::new(Trouble::default());
        let credential = self.credential(&trouble)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|cause| Error::unavailable(what()).source(cause))?;
        let scopes = [self.scope.as_str()];
        let answer = runtime.block_on(async {
            tokio::time::timeout(ANSWER_TIMEOUT, credential.get_token(&scopes, None)).await
        });
        // A name that is still being looked up would be waited for.
        runtime.shutdown_background();
        let token = match answer {
            Ok(Ok(token)) => token,
            Ok(Err(cause)) => return Err(self.refusal(what(), cause)),
            Err(_) => {
                let last = trouble.last().map(|last| format!(" (the last was {last})")).unwrap_or_default();
                return Err(
                    Error::unavailable(format!("{}: no answer within 20 s{last}", what())).hint(self.reach())
                );
            }
        };
        let expires_at = SystemTime::UNIX_EPOCH
            + Duration::from_secs(u64::try_from(token.expires_on.unix_timestamp()).unwrap_or(0));
        Ok(AccessToken { text: token.token.secret().to_owned(), expires_at })
    }

    /// An answer that is not a token: refused credentials, or an endpoint in trouble.
    fn refusal(&self, what: String, cause: azure_core::Error) -> Error {
        // The credential wraps the answer that it met.
        let mut status = None;
        let mut inner: Option<&(dyn std::error::Error + 'static)> = Some(&cause);
        while let Some(error) = inner {
            let answer = error.downcast_ref::<azure_core::Error>().and_then(azure_core::Error::http_status);
            status = status.or(answer.map(u16::from));
            inner = error.source();
        }
        let refused = match (&self.identity.credential, status) {
            // The metadata service answers so while it starts or is updated.
            (Credential::ManagedIdentity { .. }, Some(404 | 410)) => false,
            (Credential::AzureCli { .. }, _) => {
                let said = cause.to_string();
                ["az login", "not found on PATH", "AADSTS"].iter().any(|sign| said.contains(sign))
            }
            (_, status) => {
                status.is_some_and(|status| (400..500).contains(&status) && status != 408 && status != 429)
            }
        };
        if refused {
            return Error::config(what).source(cause).hint(self.hint());
        }
        Error::unavailable(what).source(cause).hint(self.reach())
    }

    /// What mends refused credentials.
    fn hint(&self) -> &'static str {
        match self.identity.credential {
            Credential::ClientSecret { .. } => {
                "check tenantId, clientId and clientSecret; a client secret expires, and belongs to one application of one tenant"
            }
            Credential::ClientCertificate { .. } => {
                "check that clientCertificate is a PKCS#12 file with an RSA key, its password, and that its certificate is registered with the application and has not expired"
            }
            Credential::WorkloadIdentity { .. } => {
                "check federatedTokenFile, clientId and tenantId, and the federated credential of that identity: its issuer, its subject (system:serviceaccount:NAMESPACE:NAME) and its audience (api://AzureADTokenExchange)"
            }
            Credential::ManagedIdentity { .. } => {
                "check that the identity is assigned to this machine, and clientId if it is a user-assigned one"
            }
            Credential::AzureCli { .. } => "install the Azure CLI, run az login, and check tenantId",
        }
    }

    /// What to look at if nobody answers.
    fn reach(&self) -> &'static str {
        match self.identity.credential {
            Credential::ManagedIdentity { .. } => {
                "check that this is a machine of Azure with an identity, that 169.254.169.254 can be reached from here, and that NO_PROXY names it if there is a proxy"
            }
            Credential::AzureCli { .. } => "run az account get-access-token by hand",
            _ => {
                "check that authorityHost can be reached from here over HTTPS, and that its certificate is trusted"
            }
        }
    }
}

impl TokenProvider for Entra {
    fn principal(&self) -> &str {
        &self.principal
    }

    fn service(&self) -> &str {
        let host = self.scope.strip_prefix("https://").unwrap_or(&self.scope);
        host.split('/').next().unwrap_or_default()
    }

    fn token(&self) -> Result<AccessToken> {
        if tokio::runtime::Handle::try_current().is_err() {
            return self.ask();
        }
        // A thread of a runtime must not begin another one.
        std::thread::scope(|scope| scope.spawn(|| self.ask()).join())
            .unwrap_or_else(|_| Err(Error::internal("the thread that asks for a token has panicked")))
    }
}

fn text(secret: &Secret) -> Result<String> {
    match secret {
        Secret::Text(text) => Ok(text.clone()),
        Secret::File(path) => {
            let text = String::from_utf8(read(path, "client secret")?)
                .map_err(|_| Error::config(format!("the client secret in {} is not text", path.display())))?;
            Ok(text
                .strip_suffix('\n')
                .map_or(&*text, |text| text.strip_suffix('\r').unwrap_or(text))
                .to_owned())
        }
    }
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>> {
    fs::read(path).map_err(|cause| {
        Error::config(format!("the {what} in {} cannot be read", path.display()))
            .source(cause)
            .hint("check that the file is mounted there, and its permissions")
    })
}

/// What the metadata service answered last that was no token.
#[derive(Default)]
struct Trouble(Mutex<Option<String>>);

impl Trouble {
    fn note(&self, what: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
    }

    fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The way to a metadata service, whose address `azure_identity` has built in; `host` stands in its place.
struct Metadata {
    host: Option<Url>,
    inner: Arc<dyn HttpClient>,
    trouble: Arc<Trouble>,
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadata").field("host", &self.host).finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Metadata {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let mut request = request.clone();
        let url = request.url_mut();
        if let Some(host) = self.host.as_ref().filter(|_| url.host_str() == Some("169.254.169.254")) {
            let mut moved = host.clone();
            moved.set_path(url.path());
            moved.set_query(url.query());
            *url = moved;
        }
        let answer = self.inner.execute_request(&request).await;
        match &answer {
            Ok(answer) if !answer.status().is_success() => {
                self.trouble.note(format!("status {}", u16::from(answer.status())));
            }
            Ok(_) => {}
            Err(error) => self.trouble.note(error.to_string()),
        }
        answer
    }
}
