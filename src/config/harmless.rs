//! Which values of a stream file may be shown: in `--print-config`, in log lines and in errors.
//!
//! An allow-list. A value is shown only under a name that is known here, and masked under every other, so that a
//! key that object_store or librdkafka adds later, or that is misspelt, never shows a secret. References
//! (`${env:NAME}`) are always shown as they were written; see [`super::secrets`].

use super::kafka::librdkafka::CONSUMER_PROPERTIES;
use super::keys::SECTIONS;
use super::option_lists;

/// Settings of object_store (`AzureConfigKey`, `ClientConfigKey`), under all names that it takes them, that hold no
/// secret.
const STORAGE: &[&str] = &[
    "account_name",
    "allow_http",
    "allow_invalid_certificates",
    "authority_host",
    "authority_id",
    "azure_allow_http",
    "azure_authority_host",
    "azure_authority_id",
    "azure_client_id",
    "azure_container_name",
    "azure_disable_tagging",
    "azure_endpoint",
    "azure_fabric_cluster_identifier",
    "azure_fabric_token_service_url",
    "azure_fabric_workload_host",
    "azure_federated_token_file",
    "azure_identity_endpoint",
    "azure_msi_endpoint",
    "azure_msi_resource_id",
    "azure_object_id",
    "azure_skip_signature",
    "azure_storage_account_name",
    "azure_storage_authority_host",
    "azure_storage_authority_id",
    "azure_storage_client_id",
    "azure_storage_endpoint",
    "azure_storage_tenant_id",
    "azure_storage_use_emulator",
    "azure_tenant_id",
    "azure_use_azure_cli",
    "azure_use_fabric_endpoint",
    "client_id",
    "connect_timeout",
    "container_name",
    "default_content_type",
    "disable_tagging",
    "endpoint",
    "fabric_cluster_identifier",
    "fabric_token_service_url",
    "fabric_workload_host",
    "federated_token_file",
    "http1_only",
    "http2_keep_alive_interval",
    "http2_keep_alive_timeout",
    "http2_keep_alive_while_idle",
    "http2_max_frame_size",
    "http2_only",
    "identity_endpoint",
    "msi_endpoint",
    "msi_resource_id",
    "object_id",
    "pool_idle_timeout",
    "pool_max_idle_per_host",
    "proxy_ca_certificate",
    "proxy_excludes",
    "proxy_url",
    "randomize_addresses",
    "skip_signature",
    "tenant_id",
    "timeout",
    "use_azure_cli",
    "use_emulator",
    "use_fabric_endpoint",
    "user_agent",
];

/// Parts of names in the tables of keys and options under which a secret stands.
const SECRET_PARTS: [&str; 12] = [
    "password",
    "passphrase",
    "secret",
    "jaas",
    "token",
    "connectionstring",
    "keystore.key",
    "key.pem",
    "credential",
    "assertion",
    // `spark.executorEnv.NAME`, `spark.driver.extraJavaOptions`: any text.
    "env.",
    "javaoptions",
];

/// Names with such a part under which none stands: a word, and the place of a file.
const NO_SECRETS: [&str; 2] = ["credential", "federatedtokenfile"];

/// Whether a value under this name holds no secret: a key, an option or a property that is in the tables of this
/// folder and not named as a secret, or a setting of the object store that is in the list above.
fn is_harmless(name: &str) -> bool {
    let name = name.to_lowercase();
    if STORAGE.contains(&name.as_str()) || NO_SECRETS.contains(&name.as_str()) {
        return true;
    }
    // `token.endpoint.url` and the like name a place.
    let secret = SECRET_PARTS.iter().any(|part| name.contains(part)) && !name.ends_with(".url");
    !secret && is_known(&name)
}

fn is_known(name: &str) -> bool {
    if let Some(property) = name.strip_prefix("kafka.") {
        return option_lists::find(option_lists::KAFKA, property).is_some()
            || CONSUMER_PROPERTIES.contains(&property);
    }
    let tables = [
        option_lists::SOURCE,
        option_lists::EVENT_HUBS,
        option_lists::JSON,
        option_lists::RATE,
        option_lists::SOCKET,
        option_lists::CONSOLE,
        option_lists::TABLE,
        option_lists::DELTA,
        option_lists::CONF,
    ];
    name.starts_with("delta.")
        || tables.into_iter().any(|table| option_lists::find(table, name).is_some())
        || SECTIONS.iter().any(|section| section.keys.iter().any(|key| key.name.eq_ignore_ascii_case(name)))
}

/// Whether a value may be shown: its name is known to hold no secret, and it does not look as if it held one all the same.
pub(super) fn may_show(name: &str, raw: &str) -> bool {
    // A key that was pasted where its file is named.
    let holds_key = raw.contains("-----BEGIN");
    let holds_login = names_server(name) && raw.contains(['@', '?']);
    is_harmless(name) && !holds_key && !holds_login && !url_may_hold_secret(raw)
}

/// Whether a value under this name is the address of a server or a list of such, with or without a scheme. What stands before
/// an `@` there is a login, and behind a `?` may be a signature.
fn names_server(name: &str) -> bool {
    let name = name.to_lowercase();
    ["url", "host", "servers"].iter().any(|ending| name.ends_with(ending)) || name.contains("endpoint")
}

/// Whether a text looks like a URL with a password or a query, which may be a signature.
fn url_may_hold_secret(text: &str) -> bool {
    let Some((scheme, rest)) = text.trim().split_once("://") else { return false };
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    // A statement that has a URL in it is none.
    if rest.contains(char::is_whitespace) && !scheme.chars().all(is_scheme) {
        return false;
    }
    // A password may hold slashes, although it should not.
    rest.contains('?') || rest.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}

#[cfg(test)]
mod tests {
    use object_store::azure::AzureConfigKey;

    use super::*;

    #[test]
    fn every_name_under_which_object_store_takes_a_secret_is_masked() {
        let secret = [
            AzureConfigKey::AccessKey,
            AzureConfigKey::ClientSecret,
            AzureConfigKey::SasKey,
            AzureConfigKey::Token,
            AzureConfigKey::FabricSessionToken,
        ];
        let stems = [
            "account_key",
            "access_key",
            "master_key",
            "client_secret",
            "sas_key",
            "sas_token",
            "token",
            "bearer_token",
            "fabric_session_token",
        ];
        let mut seen = 0;
        for stem in stems {
            for name in ["", "azure_", "azure_storage_"].map(|prefix| format!("{prefix}{stem}")) {
                let known = name.parse::<AzureConfigKey>();
                seen += usize::from(known.as_ref().is_ok_and(|key| secret.contains(key)));
                assert!(!is_harmless(&name) && !is_harmless(&name.to_uppercase()), "{name}");
            }
        }
        assert!(seen >= 15, "object_store knows only {seen} of these names");
        for name in STORAGE.iter().filter_map(|name| name.parse::<AzureConfigKey>().ok()) {
            assert!(!secret.contains(&name), "{name:?} is a secret");
        }
    }

    #[test]
    fn what_is_not_known_is_masked() {
        for name in
            ["", "azure_storage_new_key", "hunter2", "kafka.sasl.new", "team", "kafka.ssl.key.password"]
        {
            assert!(!is_harmless(name), "{name}");
        }
        for name in
            ["kafka.sasl.jaas.config", "kafka.sasl.password", "kafka.ssl.keystore.key", "kafka.ssl.key.pem"]
        {
            assert!(!is_harmless(name), "{name}");
        }
        for name in
            ["spark.executorEnv.NAME", "spark.driver.extraJavaOptions", "spark.ui.password", "spark.new"]
        {
            assert!(!is_harmless(name), "{name}");
        }
        for name in [
            "subscribe",
            "startingOffsets",
            "kafka.bootstrap.servers",
            "path",
            "delta.appendOnly",
            "autoCompact",
            "partitionBy",
            "kafka.ssl.keystore.location",
            "rowsPerSecond",
            "host",
            "truncate",
            "header",
            "spark.executor.memory",
            "compression",
        ] {
            assert!(is_harmless(name), "{name}");
        }
    }

    #[test]
    fn a_url_with_a_password_or_a_query_may_hold_a_secret() {
        for text in [
            "http://bob:pw@proxy:80",
            "https://a/c?sig=x",
            "http://bob:hunter2/x@proxy",
            "http://bob:hunter2 x@proxy",
            "abfss://bob:hunter2/x@acc.dfs.core.windows.net/t",
        ] {
            assert!(url_may_hold_secret(text), "{text}");
        }
        for text in ["abfss://lake@acc.dfs.core.windows.net/t", "SELECT 'a://b' ? 'c'", "x"] {
            assert!(!url_may_hold_secret(text), "{text}");
        }
    }

    #[test]
    fn a_login_in_the_address_of_a_server_is_masked_however_it_is_written() {
        for (name, value) in [
            ("proxy_url", "bob:hunter2@proxy:8080"),
            ("proxy_url", "hunter2@proxy"),
            ("PROXY_URL", "http://bob:hunter2/x@proxy"),
            ("proxy_url", "http://bob:hunter2 x@proxy"),
            ("azure_storage_endpoint", "acc.blob.core.windows.net?sig=hunter2"),
            ("azure_authority_host", "u:hunter2@login.example"),
            ("kafka.bootstrap.servers", "u:hunter2@b:9092"),
            ("kafka.sasl.oauthbearer.token.endpoint.url", "u:hunter2@login.example/token"),
        ] {
            assert!(is_harmless(name) && !may_show(name, value), "{name}: {value}");
        }
        for (name, value) in [
            ("proxy_url", "http://proxy:8080"),
            ("kafka.bootstrap.servers", "a:9092,b:9092"),
            ("azure_storage_endpoint", "http://127.0.0.1:10000/devstoreaccount1"),
            ("path", "abfss://lake@acc.dfs.core.windows.net/t"),
        ] {
            assert!(may_show(name, value), "{name}: {value}");
        }
    }

    #[test]
    fn a_key_that_was_pasted_where_its_file_is_named_is_masked() {
        let pasted = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n";
        for name in ["kafka.ssl.key.location", "kafka.ssl.keystore.location", "azure_federated_token_file"] {
            assert!(may_show(name, "/run/secrets/key.pem") && !may_show(name, pasted), "{name}");
        }
    }
}
