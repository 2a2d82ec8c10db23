//! Azure Blob Storage and ADLS Gen2: a folder's URL and `storageOptions` become a store.
//!
//! One credential serves whatever uses the folder: objects, and the lease of a checkpoint ([`Container`]). Errors come
//! through one door, where secrets are taken out (`redact`).

mod blob;
mod listing;
mod options;
mod place;
mod redact;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::azure::{
    AzureAccessKey, AzureConfigKey, AzureCredential, AzureCredentialProvider, MicrosoftAzure,
    MicrosoftAzureBuilder,
};
use object_store::path::Path;
use object_store::{
    BackoffConfig, CredentialProvider, DynObjectStore, RetryConfig, StaticCredentialProvider,
};
use url::Url;

pub use self::blob::Container;
use self::listing::Connector;
use self::options::{Login, Options};
use self::place::Place;
use self::redact::{RedactedStore, Secrets};
use super::credentials::{self, TokenProvider};
use crate::model::{Credential, Error, Result, Secret};

/// Requests that are safe to send again are sent again for so long.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);
/// How often at most.
const RETRIES_MAX: usize = 6;

/// A folder of Azure.
pub(super) struct Folder {
    /// The container's store.
    pub(super) root: Arc<DynObjectStore>,
    /// The folder, from the container's root.
    pub(super) prefix: Path,
    /// The folder's URL, whose path begins in the container, with a slash at its end.
    pub(super) url: Url,
    /// The container, for what object_store can't do.
    pub(super) container: Container,
}

/// Opens the folder at `url`; `None` if it is not one of Azure. Nothing is asked or read.
///
/// # Errors
/// `Config`, naming the key of `storageOptions`, if a credential or a setting is missing, wrong or contradicts another.
pub(super) fn open(url: &Url, given: &BTreeMap<String, String>) -> Option<Result<Folder>> {
    let place = Place::of(url)?;
    Some(open_at(url, place, given, &|name| std::env::var(name).ok()))
}

/// The endpoint that requests for the folder at `url` go to, which is a Blob endpoint also where the URL names the other one; `None`
/// if it is not one of Azure, or cannot be known.
pub fn endpoint(url: &Url, given: &BTreeMap<String, String>) -> Option<String> {
    let place = Place::of(url)?.ok()?;
    let of_url = (place.account.as_deref(), place.endpoint.as_deref());
    match Options::of(given, of_url.0, of_url.1, &|name| std::env::var(name).ok()) {
        Ok(options) => Some(options.endpoint),
        // A credential is missing or wrong: whoever opens the folder says so.
        Err(_) => place.endpoint,
    }
}

fn open_at(
    url: &Url,
    place: Result<Place, String>,
    given: &BTreeMap<String, String>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Folder> {
    let place = place.map_err(|why| Error::config(format!("cannot open {url}: {why}")))?;
    let of_url = (place.account.as_deref(), place.endpoint.as_deref());
    let options = Options::of(given, of_url.0, of_url.1, environment)
        .map_err(|error| error.context(format!("open {url}")))?;
    let secrets = secrets(&options.login);
    let credentials = provider(&options.login)?;
    let bad = |source| Error::config(format!("cannot open the store of {url}")).source(source);
    let store =
        store(&options, &place.container, credentials.clone()).map_err(|e| bad(secrets.text_of(&e)))?;
    let prefix = Path::from_url_path(place.url.path()).map_err(|e| bad(e.to_string()))?;
    let endpoint = format!("{}/{}", options.endpoint, place.container);
    let container = Container {
        account: options.account,
        url: Url::parse(&endpoint).map_err(|e| bad(e.to_string()))?,
        credentials,
        secrets: secrets.clone(),
    };
    let root = Arc::new(RedactedStore::new(Arc::new(store), secrets));
    Ok(Folder { root, prefix, url: place.url, container })
}

fn store(
    options: &Options,
    container: &str,
    credentials: Option<AzureCredentialProvider>,
) -> object_store::Result<MicrosoftAzure> {
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        max_retries: RETRIES_MAX,
        retry_timeout: RETRY_TIMEOUT,
    };
    let mut builder = MicrosoftAzureBuilder::new()
        .with_account(&options.account)
        .with_container_name(container)
        .with_endpoint(options.endpoint.clone())
        .with_http_connector(Connector)
        .with_retry(retry);
    for (key, value) in &options.client {
        builder = builder.with_config(*key, value);
    }
    builder = match credentials {
        Some(credentials) => builder.with_credentials(credentials),
        None => builder.with_config(AzureConfigKey::SkipSignature, "true"),
    };
    builder.build()
}

/// What requests are signed with; `None`: nothing.
fn provider(login: &Login) -> Result<Option<AzureCredentialProvider>> {
    let fixed = |credential| -> Option<AzureCredentialProvider> {
        Some(Arc::new(StaticCredentialProvider::new(credential)))
    };
    Ok(match login {
        Login::AccountKey(key) => {
            let key = AzureAccessKey::try_new(key).map_err(|_| {
                Error::config("the account key of storageOptions is not one: it must be base64")
                    .hint("copy it from the storage account's access keys, to its final =")
            })?;
            fixed(AzureCredential::AccessKey(key))
        }
        Login::Sas(sas) => fixed(AzureCredential::SASToken(pairs(sas)?)),
        Login::Token(token) => fixed(AzureCredential::BearerToken(token.clone())),
        Login::Identity(identity) => {
            let tokens = credentials::renewed(identity, credentials::STORAGE_SCOPE);
            Some(Arc::new(IdentityTokens(tokens)))
        }
        Login::Anonymous => None,
    })
}

/// The kept tokens of an identity, as object_store takes them.
struct IdentityTokens(Arc<dyn TokenProvider>);

impl fmt::Debug for IdentityTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tokens of {}", self.0.principal())
    }
}

#[async_trait::async_trait]
impl CredentialProvider for IdentityTokens {
    type Credential = AzureCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AzureCredential>> {
        if let Some(token) = self.0.token_at_once() {
            return Ok(Arc::new(AzureCredential::BearerToken(token.text)));
        }
        let tokens = Arc::clone(&self.0);
        let answer = tokio::task::spawn_blocking(move || tokens.token()).await;
        let answer = answer.unwrap_or_else(|e| Err(Error::internal("a token was not asked for").source(e)));
        let failed =
            |error| object_store::Error::Generic { store: "MicrosoftAzure", source: Box::new(error) };
        Ok(Arc::new(AzureCredential::BearerToken(answer.map_err(failed)?.text)))
    }
}

/// The parameters of a shared access signature, with or without the `?` before it.
fn pairs(sas: &str) -> Result<Vec<(String, String)>> {
    let query = sas.trim().trim_start_matches('?');
    let pairs: Vec<(String, String)> =
        url::form_urlencoded::parse(query.replace('+', "%2B").as_bytes()).into_owned().collect();
    if !pairs.iter().any(|(name, value)| name == "sig" && !value.is_empty()) {
        return Err(Error::config("the shared access signature of storageOptions has no sig").hint(
            "set storageOptions.azure_storage_sas_token to the whole query: sv=…&se=…&sr=c&sp=racwdl&sig=…",
        ));
    }
    Ok(pairs)
}

/// What no text may show.
fn secrets(login: &Login) -> Secrets {
    match login {
        Login::AccountKey(secret) | Login::Token(secret) => Secrets::new([secret.as_str()]),
        Login::Identity(identity) => match &identity.credential {
            Credential::ClientSecret { secret: Secret::Text(secret), .. }
            | Credential::ClientCertificate { password: Secret::Text(secret), .. } => {
                Secrets::new([secret.as_str()])
            }
            _ => Secrets::default(),
        },
        Login::Sas(sas) => {
            let pairs = pairs(sas).unwrap_or_default();
            let signature = pairs.iter().find(|(name, _)| name == "sig").map(|(_, value)| value.as_str());
            Secrets::new([sas.as_str()].into_iter().chain(signature))
        }
        Login::Anonymous => Secrets::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_read_as_it_is_copied_and_one_without_sig_is_refused() {
        for sas in ["?sv=1&sig=a%2Bb%3D", "sv=1&sig=a%2Bb%3D", "sv=1&sig=a+b="] {
            assert_eq!(pairs(sas).unwrap()[1], ("sig".into(), "a+b=".into()), "{sas}");
        }
        let error = pairs("hunter2").unwrap_err().to_string();
        assert!(error.contains("azure_storage_sas_token") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn requests_go_to_the_blob_endpoint_whichever_the_url_names() {
        let key = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let of = |url: &str, more: &[(String, String)]| {
            let given = more.iter().cloned().chain([key("account_key", "a2V5")]).collect();
            endpoint(&Url::parse(url).unwrap(), &given)
        };
        let public = Some("https://acc.blob.core.windows.net".to_owned());
        for url in ["abfss://lake@acc.dfs.core.windows.net/t", "https://acc.dfs.core.windows.net/lake/t"] {
            assert_eq!(of(url, &[]), public, "{url}");
        }
        assert_eq!(of("az://lake/t", &[key("account_name", "acc")]), public);
        let own = [key("account_name", "acc"), key("azure_storage_endpoint", "https://proxy.example:8443/")];
        assert_eq!(of("az://lake/t", &own), Some("https://proxy.example:8443".into()));
        assert_eq!(of("file:///t", &[]), None);
    }

    #[test]
    fn an_account_key_that_is_none_is_refused_and_not_shown() {
        let options = [("account_key".to_owned(), "hunter2!".to_owned())].into();
        let url = Url::parse("abfss://lake@acc.dfs.core.windows.net/t").unwrap();
        let error = open(&url, &options).unwrap().err().unwrap().to_string();
        assert!(error.contains("base64") && !error.contains("hunter2"), "{error}");
    }
}
