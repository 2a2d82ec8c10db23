//! How the client proves who it is, and whom it trusts: protocol, login, trust store and key store.
//!
//! The words are those of Kafka's Java consumer, as Spark's and Databricks' users paste them; what comes out are
//! librdkafka's properties, and for OAUTHBEARER the application whose tokens are sent. What cannot be mapped (JKS,
//! Kerberos, MSK IAM) is refused with what to use instead. No message holds a value that may be secret.

use super::credentials::{Target, TokenLogin};
use super::given::Given;
use super::jaas::{self, Login};
use crate::config::origin::Origin;
use crate::config::reader::{Reader, Text};
use crate::model::{Credential, Identity, Secret};

const PROTOCOLS: [(&str, &str); 4] = [
    ("PLAINTEXT", "PLAINTEXT"),
    ("SSL", "SSL"),
    ("SASL_PLAINTEXT", "SASL_PLAINTEXT"),
    ("SASL_SSL", "SASL_SSL"),
];
const MECHANISMS: [(&str, &str); 4] = [
    ("PLAIN", "PLAIN"),
    ("SCRAM-SHA-256", "SCRAM-SHA-256"),
    ("SCRAM-SHA-512", "SCRAM-SHA-512"),
    ("OAUTHBEARER", "OAUTHBEARER"),
];
/// Kafka's own handler of client credentials, the one that Databricks' block for Entra ID names.
const HANDLER: &str = "OAuthBearerLoginCallbackHandler";
/// Where Entra ID gives tokens: the public cloud, under its two names, US Government and China.
const AUTHORITIES: [&str; 5] = [
    "login.microsoftonline.com",
    "login.microsoft.com",
    "login.microsoftonline.us",
    "login.chinacloudapi.cn",
    "login.partner.microsoftonline.cn",
];

/// Protocol, mechanism and credentials, which must fit each other.
pub(super) fn login(given: &mut Given, reader: &mut Reader<'_>, origin: &Origin, path: &str, stream: &str) {
    let protocol = match given.take_special("security.protocol") {
        Some(text) => match reader.one_of(&text, &PROTOCOLS) {
            Some(protocol) => protocol,
            None => return,
        },
        None => "PLAINTEXT",
    };
    given.set("security.protocol", protocol);
    let mechanism = given.take_special("sasl.mechanism");
    let jaas = given.take_special("sasl.jaas.config");
    let (username, password) = (given.take_special("sasl.username"), given.take_special("sasl.password"));
    let handler = given.take_special("sasl.login.callback.handler.class");
    let endpoint = given.take_special("sasl.oauthbearer.token.endpoint.url");
    if !protocol.starts_with("SASL") {
        if mechanism.is_some() || jaas.is_some() || username.is_some() || password.is_some() {
            reader.warnings.push(format!(
                "stream {stream}: kafka.sasl.* has no effect here: kafka.security.protocol is {protocol}"
            ));
        }
        return;
    }
    let Some(mechanism) = mechanism else {
        let text = format!("kafka.security.protocol is {protocol} but kafka.sasl.mechanism is missing");
        let hint = "Kafka's default, GSSAPI, is not built in; give PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER";
        reader.problems.add_with_hint(origin, path, text, hint);
        return;
    };
    match mechanism.value.trim().to_uppercase().as_str() {
        "GSSAPI" => {
            return reader
                .refuse(&mechanism, "Kerberos is not built in; use PLAIN, SCRAM-SHA-512 or OAUTHBEARER");
        }
        "AWS_MSK_IAM" => {
            return reader
                .refuse(&mechanism, "MSK IAM is not available; use SCRAM-SHA-512 with a SCRAM user");
        }
        _ => {}
    }
    let Some(mechanism) = reader.one_of(&mechanism, &MECHANISMS) else { return };
    given.set("sasl.mechanism", mechanism);
    let handler_fits = match &handler {
        Some(text) => mechanism == "OAUTHBEARER" && text.value.trim().ends_with(HANDLER),
        None => true,
    };
    if let (false, Some(text)) = (handler_fits, &handler) {
        let hint = format!("Java classes cannot run here; only {HANDLER} with OAUTHBEARER is known");
        return reader.problems.add_with_hint(
            &text.origin,
            &text.path,
            "the login callback handler cannot be used",
            hint,
        );
    }
    match (jaas, username, password) {
        (Some(jaas), None, None) => from_jaas(given, reader, &jaas, mechanism, endpoint.as_ref()),
        (None, Some(username), Some(password)) if mechanism != "OAUTHBEARER" => {
            given.set_text("sasl.username", &username);
            given.set_text("sasl.password", &password);
        }
        (None, None, None) if mechanism == "OAUTHBEARER" => of_identity(given, reader, origin, path),
        (Some(jaas), _, _) => {
            let text = "kafka.sasl.jaas.config and kafka.sasl.username or password are given; give one";
            reader.problems.add(&jaas.origin, &jaas.path, text);
        }
        _ => {
            let text = format!("kafka.sasl.mechanism is {mechanism} but there are no credentials");
            reader.problems.add_with_hint(origin, path, text, "add kafka.sasl.jaas.config");
        }
    }
}

fn from_jaas(
    given: &mut Given,
    reader: &mut Reader<'_>,
    jaas: &Text,
    mechanism: &str,
    endpoint: Option<&Text>,
) {
    let login = match jaas::parse(&jaas.value) {
        Ok(login) => login,
        Err(why) => return reader.problems.add(&jaas.origin, &jaas.path, why),
    };
    let fits = match &login {
        Login::Plain { .. } => mechanism == "PLAIN",
        Login::Scram { .. } => mechanism.starts_with("SCRAM"),
        Login::OAuthBearer { .. } => mechanism == "OAUTHBEARER",
    };
    if !fits {
        let text = format!("the login module does not serve kafka.sasl.mechanism {mechanism}");
        return reader.problems.add(&jaas.origin, &jaas.path, text);
    }
    match login {
        Login::Plain { username, password } | Login::Scram { username, password } => {
            given.set("sasl.username", username);
            given.set("sasl.password", password);
        }
        Login::OAuthBearer { client_id, client_secret, scope } => {
            let (Some(client_id), Some(client_secret)) = (client_id, client_secret) else {
                let text = "the JAAS line has no clientId or no clientSecret";
                return reader.problems.add(&jaas.origin, &jaas.path, text);
            };
            let Some(scope) = scope.or_else(|| event_hubs_scope(given)) else {
                let hint = "add scope=\"https://NAMESPACE.servicebus.windows.net/.default\"";
                return reader.problems.add_with_hint(
                    &jaas.origin,
                    &jaas.path,
                    "the JAAS line has no scope",
                    hint,
                );
            };
            let Some(endpoint) = endpoint else {
                let text = "kafka.sasl.oauthbearer.token.endpoint.url is missing";
                let hint = "give https://login.microsoftonline.com/TENANT/oauth2/v2.0/token";
                return reader.problems.add_with_hint(&jaas.origin, &jaas.path, text, hint);
            };
            let Some((authority, tenant_id)) = reader_endpoint(reader, endpoint) else { return };
            let credential =
                Credential::ClientSecret { tenant_id, client_id, secret: Secret::Text(client_secret) };
            given.security.tokens = Some(TokenLogin { identity: Identity { authority, credential }, scope });
        }
    }
    if let Some(raw) = jaas.file_reference() {
        given.security.sources.push(raw, Target::Jaas);
    }
}

/// Tokens of the stream's own identity, for the namespace that it reads.
fn of_identity(given: &mut Given, reader: &mut Reader<'_>, origin: &Origin, path: &str) {
    let named = given.first_host().filter(|host| host.contains(".servicebus."));
    let Some(host) = reader.namespace.clone().or(named.map(str::to_owned)) else {
        let text = "kafka.sasl.mechanism is OAUTHBEARER but there are no credentials";
        let hint = "add kafka.sasl.jaas.config; without it tokens are those of the block azure, for *.servicebus.* only";
        return reader.problems.add_with_hint(origin, path, text, hint);
    };
    match Identity::resolve(&reader.identity, &|name| reader.lookup.env(name), &host) {
        Ok(identity) => {
            given.security.tokens = Some(TokenLogin { identity, scope: format!("https://{host}/.default") });
        }
        Err(why) => {
            let hint = "give the identity in the block azure, or kafka.sasl.jaas.config";
            reader.problems.add_with_hint(origin, path, format!("the identity for Event Hubs: {why}"), hint);
        }
    }
}

/// The scope of an Event Hubs namespace, which is what the bootstrap server's name says.
fn event_hubs_scope(given: &Given) -> Option<String> {
    let host = given.first_host().filter(|host| host.contains(".servicebus."))?;
    Some(format!("https://{host}/.default"))
}

/// The authority and the tenant that a token endpoint names.
fn reader_endpoint(reader: &mut Reader<'_>, text: &Text) -> Option<(String, String)> {
    let custom = reader.lookup.env("AZURE_AUTHORITY_HOST");
    let custom = custom.as_deref().map(|url| url.trim_end_matches('/'));
    let parsed = entra_endpoint(&text.value, custom);
    if let Err(why) = &parsed {
        reader.problems.add_with_hint(
            &text.origin,
            &text.path,
            why.as_str(),
            "OAUTHBEARER takes tokens of Entra ID: https://login.microsoftonline.com/TENANT/oauth2/v2.0/token",
        );
    }
    parsed.ok()
}

/// The authority and the tenant of `https://login.microsoftonline.com/TENANT/oauth2/v2.0/token` or its older form; `custom` is
/// one more authority.
///
/// # Errors
/// A sentence without the text.
pub(crate) fn entra_endpoint(text: &str, custom: Option<&str>) -> Result<(String, String), String> {
    let url = url::Url::parse(text.trim()).map_err(|e| format!("the token endpoint is not a URL: {e}"))?;
    let host = url.host_str().unwrap_or_default();
    let authority = url.origin().ascii_serialization();
    if url.scheme() != "https" || !(AUTHORITIES.contains(&host) || custom == Some(authority.as_str())) {
        return Err("the token endpoint is not an Entra ID endpoint".into());
    }
    let segments: Vec<&str> = url.path_segments().map(Iterator::collect).unwrap_or_default();
    match segments[..] {
        [tenant, "oauth2", "v2.0", "token"] | [tenant, "oauth2", "token"] if !tenant.is_empty() => {
            Ok((authority, tenant.to_owned()))
        }
        _ => Err("the token endpoint names no tenant".into()),
    }
}

/// Java's trust store: PEM only.
pub(super) fn truststore(given: &mut Given, reader: &mut Reader<'_>) {
    let kind = given.take_special("ssl.truststore.type");
    let location = given.take_special("ssl.truststore.location");
    if let Some(text) = given.take_special("ssl.truststore.certificates") {
        given.set_text("ssl.ca.pem", &text);
    }
    if let Some(location) = location {
        if is_store(kind.as_ref(), &location, "PEM", &["pem", "crt", "cer"]) {
            given.set("ssl.ca.location", location.value);
        } else {
            let text = "a JKS or PKCS12 trust store cannot be read";
            let hint = "turn it into PEM with keytool -list -rfc -keystore FILE > ca.pem, then set kafka.ssl.truststore.type PEM and this location";
            reader.problems.add_with_hint(&location.origin, &location.path, text, hint);
        }
    }
}

/// Java's key store: PEM, or PKCS#12.
pub(super) fn keystore(given: &mut Given, reader: &mut Reader<'_>, path: &str, origin: &Origin) {
    let kind = given.take_special("ssl.keystore.type");
    let location = given.take_special("ssl.keystore.location");
    let chain = given.take_special("ssl.keystore.certificate.chain");
    let key = given.take_special("ssl.keystore.key");
    match (chain, key) {
        (Some(chain), Some(key)) => {
            given.set_text("ssl.certificate.pem", &chain);
            given.set_text("ssl.key.pem", &key);
        }
        (None, None) => {}
        _ => {
            let text = "kafka.ssl.keystore.key and kafka.ssl.keystore.certificate.chain go together";
            reader.problems.add(origin, path, text);
        }
    }
    let Some(location) = location else { return };
    if is_store(kind.as_ref(), &location, "PEM", &["pem"]) {
        given.set("ssl.certificate.location", location.value.clone());
        given.set("ssl.key.location", location.value);
    } else if is_store(kind.as_ref(), &location, "PKCS12", &["p12", "pfx"]) {
        given.set("ssl.keystore.location", location.value);
    } else {
        let text = "a JKS key store cannot be read";
        let hint = "turn it into PKCS#12 with keytool -importkeystore -srckeystore FILE -destkeystore keystore.p12 -deststoretype PKCS12, then set kafka.ssl.keystore.type PKCS12 and this location";
        reader.problems.add_with_hint(&location.origin, &location.path, text, hint);
    }
}

/// Whether a store is of the type `kind`: as the type says, or, without one, as the file's name does.
fn is_store(given: Option<&Text>, location: &Text, kind: &str, endings: &[&str]) -> bool {
    match given {
        Some(given) => given.value.trim().eq_ignore_ascii_case(kind),
        None => {
            let lower = location.value.trim().to_lowercase();
            endings.iter().any(|ending| lower.ends_with(&format!(".{ending}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_endpoints_of_entra_id_name_authority_and_tenant() {
        let cases = [
            ("https://login.microsoft.com/t1/oauth2/v2.0/token", Some(("https://login.microsoft.com", "t1"))),
            (
                "https://login.microsoftonline.us/t2/oauth2/token",
                Some(("https://login.microsoftonline.us", "t2")),
            ),
            ("https://localhost:9/t3/oauth2/v2.0/token", Some(("https://localhost:9", "t3"))),
            ("http://login.microsoftonline.com/t/oauth2/v2.0/token", None),
            ("https://login.microsoftonline.com/oauth2/v2.0/token", None),
            ("https://idp.example/t/oauth2/v2.0/token", None),
            ("token", None),
        ];
        for (text, expected) in cases {
            let found = entra_endpoint(text, Some("https://localhost:9")).ok();
            let found = found.as_ref().map(|(authority, tenant)| (authority.as_str(), tenant.as_str()));
            assert_eq!(found, expected, "{text}");
        }
    }
}
