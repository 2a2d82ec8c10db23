//! `storageOptions` of Azure: which account, which credential, how long a request may take.
//!
//! Keys are object_store's, with all their aliases. A credential is written in one way: two that contradict each other are
//! refused, and so is one that lacks a part; the error names the key. What the options leave open comes from the
//! environment, under the names that Azure's own tools use.

use std::collections::BTreeMap;
use std::fmt;

use object_store::azure::AzureConfigKey as Key;

use crate::model::identity;
use crate::model::{Error, Identity, Result};

/// The account and the key of Azurite, which are public.
const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
const EMULATOR_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const EMULATOR_ENDPOINT: &str = "http://127.0.0.1:10000/devstoreaccount1";

/// What requests are signed with.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Login {
    /// The account's key.
    AccountKey(String),
    /// A shared access signature: the query of a URL.
    Sas(String),
    /// A token that was given as it is.
    Token(String),
    /// The tokens of an identity of Entra ID.
    Identity(Identity),
    /// None: a container that everybody may read and write.
    Anonymous,
}

/// Shows which kind it is, and no secret.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Login::AccountKey(_) => f.write_str("account key"),
            Login::Sas(_) => f.write_str("shared access signature"),
            Login::Token(_) => f.write_str("token"),
            Login::Identity(identity) => write!(f, "{identity}"),
            Login::Anonymous => f.write_str("none"),
        }
    }
}

/// What `storageOptions` and the environment say.
#[derive(Debug)]
pub(super) struct Options {
    /// The account.
    pub(super) account: String,
    /// The account's Blob endpoint.
    pub(super) endpoint: String,
    /// What requests are signed with.
    pub(super) login: Login,
    /// Settings of the HTTP client, and the like.
    pub(super) client: Vec<(Key, String)>,
}

/// The options, told apart by what they mean.
struct Given<'o> {
    keys: BTreeMap<&'static str, (&'o str, String)>,
    environment: &'o dyn Fn(&str) -> Option<String>,
}

/// The meanings that are read here, by object_store's key; everything else is the client's.
const READ: [(Key, &str); 13] = [
    (Key::AccountName, "account"),
    (Key::AccessKey, "key"),
    (Key::SasKey, "sas"),
    (Key::Token, "token"),
    (Key::ClientId, "client"),
    (Key::ClientSecret, "secret"),
    (Key::AuthorityId, "tenant"),
    (Key::AuthorityHost, "authority"),
    (Key::FederatedTokenFile, "federated"),
    (Key::UseEmulator, "emulator"),
    (Key::Endpoint, "endpoint"),
    (Key::SkipSignature, "anonymous"),
    (Key::ContainerName, "container"),
];

/// Those that describe an identity, and what it calls them.
const OF_IDENTITY: [(&str, &str); 5] = [
    ("client", "clientId"),
    ("secret", "clientSecret"),
    ("tenant", "tenantId"),
    ("authority", "authorityHost"),
    ("federated", "federatedTokenFile"),
];

/// Those by which an identity travels among the options as a whole, that object_store has none of.
const IDENTITY_ONLY: [&str; 5] = [
    "azure_credential",
    "azure_client_secret_file",
    "azure_client_certificate",
    "azure_client_certificate_password",
    "azure_metadata_host",
];

impl Options {
    /// Reads the options of a folder whose URL names `account` and `endpoint`, as far as it does.
    ///
    /// # Errors
    /// `Config`, naming the key, if one is unknown, missing or contradicts another.
    pub(super) fn of(
        given: &BTreeMap<String, String>,
        account: Option<&str>,
        endpoint: Option<&str>,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Options> {
        let mut client = Vec::new();
        let mut keys: BTreeMap<&'static str, (&str, String)> = BTreeMap::new();
        let identity = identity_of(given)?;
        let whole = |name: &str| identity.is_some() && IDENTITY_ONLY.contains(&name);
        for (name, value) in given.iter().filter(|(name, _)| !whole(name)) {
            let key = name.to_ascii_lowercase().parse::<Key>().map_err(|_| {
                Error::config(format!("storageOptions.{name} is unknown"))
                    .hint("the keys are object_store's: azure_storage_account_name, azure_storage_account_key, azure_storage_sas_token, azure_tenant_id, azure_client_id, azure_client_secret, azure_storage_endpoint, timeout, …")
            })?;
            match READ.iter().find(|(read, _)| *read == key) {
                None => client.push((key, value.clone())),
                // The identity as a whole says the same.
                Some((_, meaning))
                    if identity.is_some() && OF_IDENTITY.iter().any(|(of, _)| of == meaning) => {}
                Some((_, "container")) => {
                    return Err(Error::config(format!("storageOptions.{name} is refused"))
                        .hint("write the container into the URL: az://CONTAINER/PATH"));
                }
                Some((_, meaning)) => {
                    if let Some((other, _)) = keys.insert(meaning, (name, value.clone())) {
                        return Err(contradiction(&format!(
                            "storageOptions.{other} and storageOptions.{name} are the same setting"
                        )));
                    }
                }
            }
        }
        let given = Given { keys, environment };
        let emulator = given.flag("emulator")?;
        let account = given.account(account, emulator)?;
        let endpoint = match (given.option("endpoint"), emulator) {
            (Some(endpoint), _) => endpoint.trim_end_matches('/').to_owned(),
            (None, true) => EMULATOR_ENDPOINT.to_owned(),
            (None, false) => {
                endpoint.map_or_else(|| format!("https://{account}.blob.core.windows.net"), str::to_owned)
            }
        };
        let login = match given.login(identity)? {
            Some(login) => login,
            None if emulator => Login::AccountKey(EMULATOR_KEY.into()),
            None => Login::Identity(given.identity(&endpoint)?),
        };
        check_scheme(&endpoint, emulator, &login, &client)?;
        if emulator {
            client.push((Key::Client(object_store::ClientConfigKey::AllowHttp), "true".into()));
        }
        Ok(Options { account, endpoint, login, client })
    }
}

impl Given<'_> {
    fn option(&self, meaning: &str) -> Option<&str> {
        self.keys.get(meaning).map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    /// The key as the stream file has it.
    fn written(&self, meaning: &str) -> String {
        self.keys.get(meaning).map(|(name, _)| format!("storageOptions.{name}")).unwrap_or_default()
    }

    fn env(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| (self.environment)(name)).filter(|value| !value.is_empty())
    }

    fn flag(&self, meaning: &str) -> Result<bool> {
        match self.option(meaning).map(str::to_ascii_lowercase).as_deref() {
            None | Some("false" | "0" | "no" | "off") => Ok(false),
            Some("true" | "1" | "yes" | "on") => Ok(true),
            Some(_) => Err(Error::config(format!("{} must be true or false", self.written(meaning)))),
        }
    }

    fn account(&self, of_url: Option<&str>, emulator: bool) -> Result<String> {
        let of_options = self.option("account");
        if let (Some(url), Some(option)) = (of_url, of_options)
            && url != option
        {
            return Err(contradiction(&format!(
                "the URL names the account {url}, {} the account {option}",
                self.written("account")
            )));
        }
        let named = of_url.or(of_options).map(str::to_owned);
        let named = named.or_else(|| self.env(&["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"]));
        named.or_else(|| emulator.then(|| EMULATOR_ACCOUNT.to_owned())).ok_or_else(|| {
            Error::config("the URL names no storage account").hint(
                "set storageOptions.azure_storage_account_name, or write abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH",
            )
        })
    }

    /// The credential of the options, or a key or a signature of the environment if they name none; `None` if an identity of
    /// the environment is left.
    fn login(&self, identity: Option<Identity>) -> Result<Option<Login>> {
        let named = OF_IDENTITY.iter().any(|(meaning, _)| self.option(meaning).is_some());
        let kinds: Vec<&str> = ["key", "sas", "token", "secret"]
            .into_iter()
            .filter(|meaning| self.option(meaning).is_some())
            .chain(self.flag("anonymous")?.then_some("anonymous"))
            .collect();
        if let [one, other, ..] = kinds[..] {
            return Err(contradiction(&format!(
                "{} and {} are two credentials for one account",
                self.written(one),
                self.written(other)
            )));
        }
        let value = |meaning: &str| self.option(meaning).unwrap_or_default().to_owned();
        Ok(match kinds.first() {
            Some(&"key") => Some(Login::AccountKey(value("key"))),
            Some(&"sas") => Some(Login::Sas(value("sas"))),
            Some(&"token") => Some(Login::Token(value("token"))),
            Some(&"anonymous") => Some(Login::Anonymous),
            _ if identity.is_some() => identity.map(Login::Identity),
            _ if named => None,
            _ => {
                let key = self.env(&["AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY"]);
                let sas = || self.env(&["AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY"]);
                let token = || self.env(&["AZURE_STORAGE_TOKEN"]);
                let login = key.map(Login::AccountKey).or_else(|| sas().map(Login::Sas));
                login.or_else(|| token().map(Login::Token))
            }
        })
    }

    /// The identity that single options describe, completed from the environment.
    fn identity(&self, endpoint: &str) -> Result<Identity> {
        let given: identity::Given = (OF_IDENTITY.iter())
            .filter_map(|(meaning, key)| Some((*key, self.option(meaning)?.to_owned())))
            .collect();
        let host = url::Url::parse(endpoint).ok().and_then(|url| url.host_str().map(str::to_owned));
        Identity::resolve(&given, self.environment, &host.unwrap_or_default()).map_err(unusable)
    }
}

/// The identity that the stream file names as a whole, if it does.
fn identity_of(given: &BTreeMap<String, String>) -> Result<Option<Identity>> {
    Identity::from_options(given).map_err(unusable)
}

fn unusable(why: String) -> Error {
    Error::config(format!("the identity for Azure Storage cannot be used: {why}")).hint(
        "give the identity in the block azure, or storageOptions.azure_storage_account_key or azure_storage_sas_token; best as ${env:NAME} or ${file:/path}",
    )
}

fn contradiction(fact: &str) -> Error {
    Error::config(fact).hint("keep one of them")
}

/// Plain HTTP is for emulators, and a token never goes over it.
fn check_scheme(endpoint: &str, emulator: bool, login: &Login, client: &[(Key, String)]) -> Result<()> {
    let url = url::Url::parse(endpoint).map_err(|e| {
        Error::config("storageOptions.azure_storage_endpoint is not a URL")
            .source(e)
            .hint("write https://ACCOUNT.blob.core.windows.net")
    })?;
    if url.query().is_some() || url.password().is_some() {
        return Err(Error::config(
            "storageOptions.azure_storage_endpoint must have no query and no password",
        )
        .hint("a shared access signature belongs into storageOptions.azure_storage_sas_token"));
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if matches!(login, Login::Token(_) | Login::Identity(_)) => Err(Error::config(
            "storageOptions.azure_storage_endpoint is http, and a token of Entra ID is sent over https only",
        )
        .hint("use an https endpoint, or an account key or a SAS")),
        "http" if emulator || allows_http(client) => Ok(()),
        "http" => Err(Error::config("storageOptions.azure_storage_endpoint is http")
            .hint("use https; for an emulator set storageOptions.allow_http to true")),
        other => Err(Error::config(format!(
            "storageOptions.azure_storage_endpoint has the scheme {other}; it must be https"
        ))),
    }
}

fn allows_http(client: &[(Key, String)]) -> bool {
    let allow = Key::Client(object_store::ClientConfigKey::AllowHttp);
    client.iter().any(|(key, value)| *key == allow && value.eq_ignore_ascii_case("true"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;

    fn read(options: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<Options> {
        let given = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let env = |name: &str| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Options::of(&given, Some("acc"), Some("https://acc.blob.core.windows.net"), &env)
    }

    #[test]
    fn each_way_of_writing_a_credential_is_understood() {
        let application = [("azure_tenant_id", "t"), ("client_id", "c"), ("azure_client_secret", "s")];
        for (options, login) in [
            (&[("account_key", "hunter2")][..], "account key"),
            (&[("AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=hunter2")], "shared access signature"),
            (&[("bearer_token", "hunter2")], "token"),
            (&[("azure_skip_signature", "true")], "none"),
            (&application, "application c"),
            (&[], "the managed identity"),
        ] {
            let read = read(options, &[]).unwrap();
            assert_eq!(format!("{:?}", read.login), login, "{options:?}");
            assert_eq!(
                (read.account.as_str(), read.endpoint.as_str()),
                ("acc", "https://acc.blob.core.windows.net")
            );
        }
    }

    #[test]
    fn what_the_options_leave_open_comes_from_the_environment_and_options_win() {
        let key =
            [("AZURE_STORAGE_ACCOUNT_KEY", "k"), ("AZURE_CLIENT_SECRET", "s"), ("AZURE_TENANT_ID", "t")];
        assert_eq!(read(&[], &key).unwrap().login, Login::AccountKey("k".into()));
        assert_eq!(read(&[("sas_token", "sig=x")], &key).unwrap().login, Login::Sas("sig=x".into()));
        let named = read(&[("client_id", "c")], &key).unwrap().login;
        assert_eq!(format!("{named:?}"), "application c");
        let workload =
            [("AZURE_CLIENT_ID", "w"), ("AZURE_TENANT_ID", "t"), ("AZURE_FEDERATED_TOKEN_FILE", "/f")];
        assert_eq!(format!("{:?}", read(&[], &workload).unwrap().login), "workload identity w");
        let whole = read(&[], &workload).unwrap().login;
        let Login::Identity(identity) = &whole else { panic!("{whole:?}") };
        let travelled: Vec<(String, String)> = identity.to_options().into_iter().collect();
        let travelled: Vec<_> = travelled.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let with_single = [&travelled[..], &[("azure_storage_client_id", "w")]].concat();
        assert_eq!(read(&with_single, &[]).unwrap().login, whole);
        let emulator = [("azure_storage_use_emulator".to_owned(), "true".to_owned())].into();
        let emulator = Options::of(&emulator, None, None, &|_| None).unwrap();
        assert_eq!(
            (emulator.account.as_str(), emulator.endpoint.as_str()),
            (EMULATOR_ACCOUNT, EMULATOR_ENDPOINT)
        );
    }

    #[test]
    fn a_missing_or_contradicting_credential_names_the_key_that_mends_it_and_shows_no_secret() {
        type Case<'c> = (&'c [(&'c str, &'c str)], &'c [&'c str]);
        let cases: [Case<'_>; 11] = [
            (
                &[("container_name", "c")],
                &["storageOptions.container_name is refused", "az://CONTAINER/PATH"],
            ),
            (
                &[("account_key", "hunter2"), ("sas_token", "hunter2")],
                &["storageOptions.account_key and storageOptions.sas_token", "keep one"],
            ),
            (
                &[("account_key", "hunter2"), ("azure_client_secret", "hunter2")],
                &["storageOptions.account_key and storageOptions.azure_client_secret"],
            ),
            (&[("account_key", "hunter2"), ("access_key", "hunter2")], &["the same setting"]),
            (
                &[("azure_client_secret", "hunter2"), ("client_id", "c")],
                &["tenantId is missing", "block azure", "storageOptions.azure_storage_account_key"],
            ),
            (&[("azure_federated_token_file", "/f")], &["tenantId is missing"]),
            (
                &[("azure_storage_acount_key", "hunter2")],
                &["storageOptions.azure_storage_acount_key is unknown"],
            ),
            (
                &[("account_key", "hunter2"), ("account_name", "other")],
                &["account acc", "account other", "keep one"],
            ),
            (
                &[("account_key", "hunter2"), ("endpoint", "http://h/a")],
                &["is http", "storageOptions.allow_http"],
            ),
            (
                &[("token", "hunter2"), ("endpoint", "http://h/a"), ("allow_http", "true")],
                &["over https only"],
            ),
            (
                &[("sas_token", "sig=1"), ("endpoint", "https://h/a?sig=hunter2")],
                &["storageOptions.azure_storage_sas_token"],
            ),
        ];
        for (options, says) in cases {
            let error = read(options, &[]).unwrap_err();
            assert_eq!(error.kind(), Kind::Config, "{options:?}");
            let text = error.to_string();
            assert!(says.iter().all(|said| text.contains(said)), "{options:?}: {text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
