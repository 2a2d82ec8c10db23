//! Who a stream is to Azure: the block `azure`, and the same under the names that users bring along.
//!
//! One identity serves Event Hubs, storage and lease. Storage takes it under object_store's names (`azure_client_id`) and
//! Hadoop's (`fs.azure.account.oauth2.client.id`) too, in `storageOptions` and, as Spark's users paste them, in `conf`.
//! What is not given comes from the environment ([`Identity::resolve`]). No message holds a value that may be secret.

use std::collections::BTreeMap;
use std::fmt;

use url::Url;

use super::document::Entry;
use super::kafka::entra_endpoint;
use super::keys;
use super::reader::{Fields, Reader, Text, join};
use crate::model::Identity;
use crate::model::identity::{Given, KEYS};

/// Schemes whose stores are Azure's.
const SCHEMES: [&str; 6] = ["abfss", "abfs", "az", "azure", "adl", "https"];

/// Settings of object_store, without `azure_` and `azure_storage_` in front, that open a store without an identity.
const KEYLESS: [&str; 12] = [
    "account_key",
    "access_key",
    "master_key",
    "sas_key",
    "sas_token",
    "token",
    "bearer_token",
    "skip_signature",
    "use_emulator",
    "use_fabric_endpoint",
    "fabric_session_token",
    "connection_string",
];
/// The same in the environment.
const KEYLESS_VARIABLES: [&str; 6] = [
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_TOKEN",
    "AZURE_STORAGE_CONNECTION_STRING",
];
/// Settings of object_store, named in the same way, that describe an identity.
const IDENTITY: [(&str, &str); 6] = [
    ("client_id", "clientId"),
    ("client_secret", "clientSecret"),
    ("tenant_id", "tenantId"),
    ("authority_id", "tenantId"),
    ("federated_token_file", "federatedTokenFile"),
    ("authority_host", "authorityHost"),
];
/// Those of an identity that are not there, and what to use.
const REFUSED: [(&str, &str); 4] = [
    ("object_id", "name a user-assigned identity by azure_client_id"),
    ("msi_resource_id", "name a user-assigned identity by azure_client_id"),
    ("msi_endpoint", "set AZURE_POD_IDENTITY_AUTHORITY_HOST in the environment"),
    ("identity_endpoint", "set IDENTITY_ENDPOINT and IDENTITY_HEADER in the environment"),
];

/// Reads the block `azure` of a stream.
pub(super) fn block(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Given {
    let mut given = Given::new();
    let Some(node) = fields.node("azure") else { return given };
    let Some(fields) = reader.fields(node, &fields.path_of("azure"), &keys::AZURE) else { return given };
    for key in KEYS {
        if let Some(text) = fields.text(reader, key) {
            put(&mut given, key, &text);
        }
    }
    given
}

/// Keeps a value of an identity; a client secret that is a file's text stays in its file.
pub(super) fn put(given: &mut Given, key: &'static str, text: &Text) {
    match text.file_path().filter(|_| key == "clientSecret") {
        Some(path) => given.insert("clientSecretFile", path.to_owned()),
        None => given.insert(key, text.value.trim().to_owned()),
    };
}

/// Settings of object stores, under object_store's names (`azure_storage_account_key`, …). May hold
/// secrets: only names are ever printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StorageOptions(pub BTreeMap<String, String>);

impl fmt::Debug for StorageOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The options of a stream's stores: `storageOptions`, Hadoop's settings of `conf`, and the identity where none of them opens
/// the store otherwise. `urls` are those of the stream's tables and of its checkpoint.
pub(super) fn storage(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    block: &Given,
    stream: &str,
    urls: &[&Url],
) -> StorageOptions {
    let mut stores = Stores { stream, options: BTreeMap::new(), given: Given::new(), accounts: Vec::new() };
    for (section, only_hadoop) in [("conf", true), ("storageOptions", false)] {
        let path = fields.path_of(section);
        let node = fields.node(section);
        let entries = node.and_then(|node| reader.entries(node, &path)).unwrap_or_default();
        for entry in entries.iter().filter(|entry| !only_hadoop || is_hadoop(&entry.key)) {
            let place = join(&path, &entry.key);
            if let Some(text) = reader.text(&entry.node, &place, &entry.key) {
                stores.take(reader, entry, &text);
            }
        }
    }
    let Stores { mut options, given, .. } = stores;
    let Some(url) = urls.iter().find(|url| SCHEMES.contains(&url.scheme())) else {
        return StorageOptions(options);
    };
    let mut keyless = options.keys().any(|name| KEYLESS.contains(&stem(&name.to_lowercase())));
    if block.is_empty() && given.is_empty() {
        let set = |name: &&str| reader.lookup.env(name).is_some_and(|value| !value.is_empty());
        keyless |= KEYLESS_VARIABLES.iter().any(set);
    }
    if !keyless {
        // What names an identity as a whole goes before the block; single keys are laid over it.
        let mut all = if given.contains_key("credential") { Given::new() } else { block.clone() };
        all.extend(given);
        match Identity::resolve(&all, &|name| reader.lookup.env(name), url.host_str().unwrap_or_default()) {
            Ok(identity) => options.extend(identity.to_options()),
            Err(why) => {
                let hint =
                    "give the identity in the block azure, or a key of the account under storageOptions";
                let text = format!("the identity for storage: {why}");
                reader.problems.add_with_hint(&fields.origin, &fields.path, text, hint);
            }
        }
    }
    StorageOptions(options)
}

/// Whether a setting is one of Hadoop's for Azure's stores.
pub(super) fn is_hadoop(key: &str) -> bool {
    key.strip_prefix("spark.hadoop.").unwrap_or(key).starts_with("fs.azure.")
}

/// A setting of object_store without what may stand in front of it.
fn stem(name: &str) -> &str {
    let bare = name.strip_prefix("azure_").unwrap_or(name);
    bare.strip_prefix("storage_").unwrap_or(bare)
}

/// The setting of Hadoop's driver and the account's host at its end, of those that log in.
fn account_of(bare: &str) -> Option<(&str, &str)> {
    let at = bare.find(".blob.").or_else(|| bare.find(".dfs."))?;
    let at = bare[..at].rfind('.')?;
    let setting = &bare[..at];
    let logs_in = setting.starts_with("fs.azure.account.oauth")
        || ["fs.azure.account.key", "fs.azure.sas.fixed.token"].contains(&setting);
    logs_in.then_some((setting, &bare[at + 1..]))
}

/// The options of stores, on their way.
struct Stores<'s> {
    stream: &'s str,
    options: BTreeMap<String, String>,
    given: Given,
    /// Settings that named an account: the setting, the account's host, the value.
    accounts: Vec<(String, String, String)>,
}

impl Stores<'_> {
    fn take(&mut self, reader: &mut Reader<'_>, entry: &Entry, text: &Text) {
        if is_hadoop(&entry.key) {
            return self.hadoop(reader, &entry.key, text);
        }
        let name = entry.key.to_lowercase();
        if let Some((_, hint)) = REFUSED.iter().find(|(refused, _)| *refused == stem(&name)) {
            let why = format!("{} is refused", entry.key);
            return reader.problems.add_with_hint(&text.origin, &text.path, why, *hint);
        }
        // object_store would refuse it with its text, and what was pasted there by mistake may be a secret.
        if name == "user_agent" && !text.value.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b)) {
            let why =
                "the value cannot be sent as an HTTP header: only printable ASCII characters are allowed";
            return reader.problems.add(&text.origin, &text.path, why);
        }
        if let Some((_, key)) = IDENTITY.iter().find(|(known, _)| *known == stem(&name)) {
            put(&mut self.given, key, text);
        }
        if stem(&name) == "use_azure_cli" && text.value.trim().eq_ignore_ascii_case("true") {
            self.given.insert("credential", "azureCli".to_owned());
        }
        self.options.insert(entry.key.clone(), text.value.clone());
    }

    /// A setting of Hadoop's driver (ABFS, "Configuring Authentication"), with or without an account's host at its end.
    fn hadoop(&mut self, reader: &mut Reader<'_>, key: &str, text: &Text) {
        let bare = key.strip_prefix("spark.hadoop.").unwrap_or(key);
        let is =
            |name: &str| bare == name || bare.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        if let Some((setting, host)) = account_of(bare) {
            let another = |(of, at, value): &&(String, String, String)| {
                of == setting && at != host && *value != text.value
            };
            if let Some((_, other, _)) = self.accounts.iter().find(another) {
                let why = format!("{setting} is given for two accounts, {other} and {host}");
                let hint = "a stream logs in to all its stores in one way: give an identity that may use both accounts (azure), or one account's key";
                return reader.problems.add_with_hint(&text.origin, &text.path, why, hint);
            }
            self.accounts.push((setting.to_owned(), host.to_owned(), text.value.clone()));
        }
        let identity = [
            ("fs.azure.account.oauth2.client.id", "clientId"),
            ("fs.azure.account.oauth2.client.secret", "clientSecret"),
            ("fs.azure.account.oauth2.msi.tenant", "tenantId"),
            ("fs.azure.account.oauth2.msi.authority", "authorityHost"),
            ("fs.azure.account.oauth2.token.file", "federatedTokenFile"),
        ];
        if let Some((_, key)) = identity.iter().find(|(name, _)| is(name)) {
            put(&mut self.given, key, text);
        } else if is("fs.azure.account.key") {
            self.options.insert("azure_storage_account_key".to_owned(), text.value.clone());
        } else if is("fs.azure.sas.fixed.token") {
            self.options.insert("azure_storage_sas_key".to_owned(), text.value.clone());
        } else if is("fs.azure.account.oauth2.client.endpoint") {
            let custom = reader.lookup.env("AZURE_AUTHORITY_HOST");
            let parsed = entra_endpoint(&text.value, custom.as_deref().map(|url| url.trim_end_matches('/')));
            match parsed {
                Ok((authority, tenant)) => {
                    self.given.extend([("authorityHost", authority), ("tenantId", tenant)]);
                }
                Err(why) => reader.refuse(text, why),
            }
        } else if is("fs.azure.account.oauth.provider.type") {
            self.provider(reader, text);
        } else if is("fs.azure.account.auth.type") {
            let words = [("SharedKey", ()), ("OAuth", ()), ("SAS", ())];
            reader.one_of(text, &words);
        } else if is("fs.azure.sas.token.provider.type") {
            if !text.value.trim().ends_with("FixedSASTokenProvider") {
                let hint =
                    "Java classes cannot run here; give fs.azure.sas.fixed.token or azure_storage_sas_key";
                let why = "the provider of signatures cannot be used";
                reader.problems.add_with_hint(&text.origin, &text.path, why, hint);
            }
        } else {
            let stream = self.stream;
            reader
                .warnings
                .push(format!("stream {stream}: {key} has no effect here: it is of Hadoop's driver"));
        }
    }

    fn provider(&mut self, reader: &mut Reader<'_>, text: &Text) {
        let known = [
            ("ClientCredsTokenProvider", "clientSecret"),
            ("MsiTokenProvider", "managedIdentity"),
            ("WorkloadIdentityTokenProvider", "workloadIdentity"),
        ];
        let class = text.value.trim().rsplit('.').next().unwrap_or_default();
        match known.iter().find(|(name, _)| *name == class) {
            Some((_, credential)) => drop(self.given.insert("credential", (*credential).to_owned())),
            None => {
                let hint =
                    "known are ClientCredsTokenProvider, MsiTokenProvider and WorkloadIdentityTokenProvider";
                let why = "the provider of tokens cannot be used";
                reader.problems.add_with_hint(&text.origin, &text.path, why, hint);
            }
        }
    }
}
