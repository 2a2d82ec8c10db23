//! Who a process is to Microsoft Entra ID: the identity whose tokens open Azure's services.
//!
//! One identity serves Kafka (Event Hubs), storage and lease alike. [`Identity::resolve`] chooses it from what was
//! configured, else from the environment, in the order that `docs/azure.md` states. An identity travels to the object
//! stores among their options, under their names ([`Identity::to_options`]). No `Debug` here shows a secret.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Where Entra ID of the public cloud gives tokens.
pub const PUBLIC_AUTHORITY: &str = "https://login.microsoftonline.com";

/// Endings of the host names of Azure's services outside of the public cloud, and where Entra ID gives tokens there.
const SOVEREIGN: [(&str, &str); 4] = [
    (".usgovcloudapi.net", "https://login.microsoftonline.us"),
    (".chinacloudapi.cn", "https://login.chinacloudapi.cn"),
    (".azure.us", "https://login.microsoftonline.us"),
    (".azure.cn", "https://login.chinacloudapi.cn"),
];

/// The keys of the block `azure`, in the order of the documentation.
pub const KEYS: [&str; 8] = [
    "credential",
    "tenantId",
    "clientId",
    "clientSecret",
    "clientCertificate",
    "clientCertificatePassword",
    "federatedTokenFile",
    "authorityHost",
];

/// The kinds of credentials, as `credential` names them.
pub const CREDENTIALS: [&str; 5] =
    ["clientSecret", "clientCertificate", "workloadIdentity", "managedIdentity", "azureCli"];

/// The name of each key among the options of an object store; those of object_store where it has one.
const OPTION_NAMES: [(&str, &str); 10] = [
    ("credential", "azure_credential"),
    ("tenantId", "azure_tenant_id"),
    ("clientId", "azure_client_id"),
    ("clientSecret", "azure_client_secret"),
    ("clientSecretFile", "azure_client_secret_file"),
    ("clientCertificate", "azure_client_certificate"),
    ("clientCertificatePassword", "azure_client_certificate_password"),
    ("federatedTokenFile", "azure_federated_token_file"),
    ("authorityHost", "azure_authority_host"),
    ("metadataHost", "azure_metadata_host"),
];

/// An identity, complete.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Where Entra ID gives tokens: an `https` URL without a path.
    pub authority: String,
    /// How the identity proves itself.
    pub credential: Credential,
}

/// How an identity proves itself. What stands in files is read again for every token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Credential {
    /// An application with a client secret.
    ClientSecret {
        /// The tenant's id or domain.
        tenant_id: String,
        /// The application's id.
        client_id: String,
        /// Its secret.
        secret: Secret,
    },
    /// An application with a certificate.
    ClientCertificate {
        /// The tenant's id or domain.
        tenant_id: String,
        /// The application's id.
        client_id: String,
        /// A PKCS#12 file with the certificate and its RSA key.
        certificate: PathBuf,
        /// That file's password; empty if it has none.
        password: Secret,
    },
    /// A workload that a token of another issuer speaks for, such as that of a Kubernetes service account.
    WorkloadIdentity {
        /// The tenant's id or domain.
        tenant_id: String,
        /// The id of the application or of the user-assigned identity.
        client_id: String,
        /// The file with that token.
        token_file: PathBuf,
    },
    /// The identity that Azure gives to the machine, or to the App Service.
    ManagedIdentity {
        /// Of a user-assigned identity its client id; `None`: the system-assigned one.
        client_id: Option<String>,
        /// Another address of the metadata service than `http://169.254.169.254`.
        metadata_host: Option<String>,
    },
    /// Whoever is logged in to the Azure CLI.
    AzureCli {
        /// The tenant; `None`: the CLI's own default.
        tenant_id: Option<String>,
    },
}

/// A secret, or the file that holds it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Secret {
    /// The secret itself.
    Text(String),
    /// A file whose text is the secret, without its last newline.
    File(PathBuf),
}

/// Without the secret.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Text(_) => f.write_str("Text"),
            Secret::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({self})")
    }
}

/// Whose tokens these are, for messages.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.credential {
            Credential::ClientSecret { client_id, .. } => write!(f, "application {client_id}"),
            Credential::ClientCertificate { client_id, .. } => {
                write!(f, "application {client_id} (by certificate)")
            }
            Credential::WorkloadIdentity { client_id, .. } => write!(f, "workload identity {client_id}"),
            Credential::ManagedIdentity { client_id: Some(id), .. } => write!(f, "managed identity {id}"),
            Credential::ManagedIdentity { client_id: None, .. } => f.write_str("the managed identity"),
            Credential::AzureCli { .. } => f.write_str("the login of the Azure CLI"),
        }
    }
}

/// What was configured of an identity, by the names of [`KEYS`].
///
/// `clientSecretFile` may stand for `clientSecret`: a secret that is read anew for every token.
pub type Given = BTreeMap<&'static str, String>;

impl Identity {
    /// The identity that `given` describes, completed from the environment: `env` answers the variables that Azure's own
    /// libraries read. `service` is the host name of the service that tokens are for; it decides the cloud.
    ///
    /// Without `credential`, the first of these that is there: the client secret, the certificate or the federated token file
    /// of `given`; the same of the environment; the managed identity. The Azure CLI must be named.
    ///
    /// # Errors
    /// A sentence that names what is missing or wrong, never a secret.
    pub fn resolve(
        given: &Given,
        env: &dyn Fn(&str) -> Option<String>,
        service: &str,
    ) -> Result<Identity, String> {
        let env = |name: &str| env(name).filter(|value| !value.trim().is_empty());
        let text = |key: &str, variable: &str| given.get(key).cloned().or_else(|| env(variable));
        let need = |key: &str, variable: &str| {
            text(key, variable)
                .ok_or_else(|| format!("{key} is missing, and so is {variable} in the environment"))
        };
        let tenant_id = || need("tenantId", "AZURE_TENANT_ID");
        let client_id = || need("clientId", "AZURE_CLIENT_ID");
        let credential = match kind(given, &env)? {
            "clientSecret" => Credential::ClientSecret {
                tenant_id: tenant_id()?,
                client_id: client_id()?,
                secret: match given.get("clientSecretFile") {
                    Some(path) => Secret::File(path.into()),
                    None => Secret::Text(need("clientSecret", "AZURE_CLIENT_SECRET")?),
                },
            },
            "clientCertificate" => Credential::ClientCertificate {
                tenant_id: tenant_id()?,
                client_id: client_id()?,
                certificate: need("clientCertificate", "AZURE_CLIENT_CERTIFICATE_PATH")?.into(),
                password: Secret::Text(
                    text("clientCertificatePassword", "AZURE_CLIENT_CERTIFICATE_PASSWORD")
                        .unwrap_or_default(),
                ),
            },
            "workloadIdentity" => Credential::WorkloadIdentity {
                tenant_id: tenant_id()?,
                client_id: client_id()?,
                token_file: need("federatedTokenFile", "AZURE_FEDERATED_TOKEN_FILE")?.into(),
            },
            "azureCli" => Credential::AzureCli { tenant_id: given.get("tenantId").cloned() },
            _ => Credential::ManagedIdentity {
                client_id: text("clientId", "AZURE_CLIENT_ID"),
                metadata_host: text("metadataHost", "AZURE_POD_IDENTITY_AUTHORITY_HOST"),
            },
        };
        let authority = text("authorityHost", "AZURE_AUTHORITY_HOST");
        let authority = authority.unwrap_or_else(|| authority_of(service).to_owned());
        Ok(Identity { authority: authority_url(&authority)?, credential })
    }

    /// The identity among the options of an object store, next to those of the store itself.
    pub fn to_options(&self) -> BTreeMap<String, String> {
        let mut given = Given::from([("authorityHost", self.authority.clone())]);
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        match &self.credential {
            Credential::ClientSecret { tenant_id, client_id, secret } => {
                given.extend([("tenantId", tenant_id.clone()), ("clientId", client_id.clone())]);
                given.insert("credential", "clientSecret".to_owned());
                match secret {
                    Secret::Text(text) => given.insert("clientSecret", text.clone()),
                    Secret::File(file) => given.insert("clientSecretFile", path(file)),
                };
            }
            Credential::ClientCertificate { tenant_id, client_id, certificate, password } => {
                given.extend([("tenantId", tenant_id.clone()), ("clientId", client_id.clone())]);
                given.insert("credential", "clientCertificate".to_owned());
                given.insert("clientCertificate", path(certificate));
                if let Secret::Text(text) = password {
                    given.insert("clientCertificatePassword", text.clone());
                }
            }
            Credential::WorkloadIdentity { tenant_id, client_id, token_file } => {
                given.extend([("tenantId", tenant_id.clone()), ("clientId", client_id.clone())]);
                given.insert("credential", "workloadIdentity".to_owned());
                given.insert("federatedTokenFile", path(token_file));
            }
            Credential::ManagedIdentity { client_id, metadata_host } => {
                given.insert("credential", "managedIdentity".to_owned());
                given.extend(client_id.clone().map(|id| ("clientId", id)));
                given.extend(metadata_host.clone().map(|host| ("metadataHost", host)));
            }
            Credential::AzureCli { tenant_id } => {
                given.insert("credential", "azureCli".to_owned());
                given.extend(tenant_id.clone().map(|id| ("tenantId", id)));
            }
        }
        let name = |key: &str| OPTION_NAMES.iter().find(|(known, _)| *known == key).map(|(_, name)| *name);
        given.iter().filter_map(|(key, value)| Some((name(key)?.to_owned(), value.clone()))).collect()
    }

    /// The identity that [`Identity::to_options`] put there; `None` if these options name none.
    ///
    /// # Errors
    /// As for [`Identity::resolve`].
    pub fn from_options(options: &BTreeMap<String, String>) -> Result<Option<Identity>, String> {
        if !options.contains_key("azure_credential") {
            return Ok(None);
        }
        let given: Given =
            OPTION_NAMES.iter().filter_map(|(key, name)| Some((*key, options.get(*name)?.clone()))).collect();
        Identity::resolve(&given, &|_| None, "").map(Some)
    }
}

/// Which credential is meant.
fn kind(given: &Given, env: &dyn Fn(&str) -> Option<String>) -> Result<&'static str, String> {
    if let Some(named) = given.get("credential") {
        let found = CREDENTIALS.iter().find(|known| known.eq_ignore_ascii_case(named.trim()));
        return found.copied().ok_or_else(|| format!("credential is one of {}", CREDENTIALS.join(", ")));
    }
    let told = [
        ("clientSecret", "clientSecret"),
        ("clientSecretFile", "clientSecret"),
        ("clientCertificate", "clientCertificate"),
        ("federatedTokenFile", "workloadIdentity"),
    ];
    let told: Vec<_> = told.into_iter().filter(|(key, _)| given.contains_key(key)).collect();
    match told[..] {
        [] => {}
        [(_, kind)] => return Ok(kind),
        [(one, _), (other, _), ..] => {
            return Err(format!("{one} and {other} are given; say with credential which one is meant"));
        }
    }
    let variables = [
        ("AZURE_CLIENT_SECRET", "clientSecret"),
        ("AZURE_CLIENT_CERTIFICATE_PATH", "clientCertificate"),
        ("AZURE_FEDERATED_TOKEN_FILE", "workloadIdentity"),
    ];
    let found = variables.into_iter().find(|(name, _)| env(name).is_some());
    Ok(found.map_or("managedIdentity", |(_, kind)| kind))
}

/// Where Entra ID gives tokens in the cloud of a service.
pub fn authority_of(service: &str) -> &'static str {
    SOVEREIGN.iter().find(|(ending, _)| service.ends_with(ending)).map_or(PUBLIC_AUTHORITY, |(_, url)| url)
}

/// `login.example` or `https://login.example/` as a URL without a path.
fn authority_url(text: &str) -> Result<String, String> {
    let text = text.trim();
    let host = text.strip_prefix("https://").unwrap_or(text).trim_end_matches('/');
    if host.is_empty() || host.contains(['/', '@', '?', '#', ' ']) {
        return Err(
            "authorityHost is an https URL without a path, such as https://login.microsoftonline.us".into()
        );
    }
    Ok(format!("https://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was given, by key.
    type Pairs<'p> = &'p [(&'static str, &'p str)];

    fn resolved(given: Pairs<'_>, env: &[(&str, &str)]) -> Result<Identity, String> {
        let given = given.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        let env =
            |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Identity::resolve(&given, &env, "ns.servicebus.windows.net")
    }

    #[test]
    fn without_a_word_the_first_credential_that_is_there_is_chosen() {
        type Case<'c> = (Pairs<'c>, Vec<(&'c str, &'c str)>, &'c str);
        let tenant = [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c")];
        let with = |more: &[(&'static str, &'static str)]| [&tenant[..], more].concat();
        let cases: [Case<'_>; 9] = [
            (&[], Vec::new(), "the managed identity"),
            (&[("clientId", "i")], Vec::new(), "managed identity i"),
            (&[], with(&[]), "managed identity c"),
            (&[], with(&[("AZURE_FEDERATED_TOKEN_FILE", "/t")]), "workload identity c"),
            (&[], with(&[("AZURE_FEDERATED_TOKEN_FILE", "")]), "managed identity c"),
            (
                &[],
                with(&[("AZURE_FEDERATED_TOKEN_FILE", "/t"), ("AZURE_CLIENT_CERTIFICATE_PATH", "/c")]),
                "application c (by certificate)",
            ),
            (
                &[],
                with(&[("AZURE_CLIENT_CERTIFICATE_PATH", "/c"), ("AZURE_CLIENT_SECRET", "s")]),
                "application c",
            ),
            (&[("federatedTokenFile", "/t")], with(&[("AZURE_CLIENT_SECRET", "s")]), "workload identity c"),
            (
                &[("credential", "azurecli")],
                with(&[("AZURE_CLIENT_SECRET", "s")]),
                "the login of the Azure CLI",
            ),
        ];
        for (given, env, chosen) in cases {
            assert_eq!(
                resolved(given, &env).map(|id| id.to_string()).as_deref(),
                Ok(chosen),
                "{given:?} {env:?}"
            );
        }
    }

    #[test]
    fn what_is_missing_or_contradicts_itself_is_named_without_secrets() {
        let cases: [(Pairs<'_>, &str); 5] = [
            (
                &[("clientSecret", "hunter2")],
                "tenantId is missing, and so is AZURE_TENANT_ID in the environment",
            ),
            (
                &[("clientSecret", "hunter2"), ("federatedTokenFile", "/t")],
                "clientSecret and federatedTokenFile are given; say with credential which one is meant",
            ),
            (
                &[("credential", "kerberos")],
                "credential is one of clientSecret, clientCertificate, workloadIdentity, managedIdentity, azureCli",
            ),
            (
                &[("credential", "clientSecret"), ("tenantId", "t"), ("clientId", "c")],
                "clientSecret is missing, and so is AZURE_CLIENT_SECRET in the environment",
            ),
            (
                &[("authorityHost", "http://login.example")],
                "authorityHost is an https URL without a path, such as https://login.microsoftonline.us",
            ),
        ];
        for (given, why) in cases {
            assert_eq!(resolved(given, &[]), Err(why.to_owned()), "{given:?}");
        }
    }

    #[test]
    fn the_cloud_of_the_service_decides_where_tokens_come_from() {
        let authority = |service: &str, env: Option<&str>| {
            let env = |name: &str| env.filter(|_| name == "AZURE_AUTHORITY_HOST").map(str::to_owned);
            Identity::resolve(&Given::new(), &env, service).unwrap().authority
        };
        assert_eq!(authority("ns.servicebus.windows.net", None), PUBLIC_AUTHORITY);
        assert_eq!(authority("a.dfs.core.windows.net", None), PUBLIC_AUTHORITY);
        assert_eq!(authority("ns.servicebus.usgovcloudapi.net", None), "https://login.microsoftonline.us");
        assert_eq!(authority("a.dfs.core.chinacloudapi.cn", None), "https://login.chinacloudapi.cn");
        assert_eq!(authority("x.windows.net", Some("https://localhost:7/")), "https://localhost:7");
    }

    #[test]
    fn an_identity_travels_among_the_options_of_a_store_and_is_never_shown() {
        let cases: [&[(&'static str, &str)]; 6] = [
            &[("tenantId", "t"), ("clientId", "c"), ("clientSecret", "hunter2")],
            &[("tenantId", "t"), ("clientId", "c"), ("clientSecretFile", "/run/secret")],
            &[
                ("tenantId", "t"),
                ("clientId", "c"),
                ("clientCertificate", "/c.p12"),
                ("clientCertificatePassword", "hunter2"),
            ],
            &[
                ("tenantId", "t"),
                ("clientId", "c"),
                ("federatedTokenFile", "/t"),
                ("authorityHost", "login.example"),
            ],
            &[("credential", "managedIdentity"), ("clientId", "c"), ("metadataHost", "http://127.0.0.1:9")],
            &[("credential", "azureCli"), ("tenantId", "t")],
        ];
        for given in cases {
            let identity = resolved(given, &[]).unwrap();
            assert_eq!(Identity::from_options(&identity.to_options()), Ok(Some(identity.clone())));
            assert!(!format!("{identity:?}").contains("hunter2"));
        }
        assert_eq!(Identity::from_options(&BTreeMap::new()), Ok(None));
    }
}
