//! `kafka.*` properties of Java's consumer, as Spark's users paste them, to librdkafka's.
//!
//! What has the same meaning passes under its name; what is spelled otherwise is renamed; JAAS, trust
//! stores and key stores are taken apart. Nothing is dropped in silence: the lists in
//! [`super::option_lists`] decide.

use std::collections::BTreeMap;

use super::Isolation;
use super::jaas::{self, Module};
use super::librdkafka::CONSUMER_PROPERTIES;
use crate::config::document::{Entry, Origin};
use crate::config::option_lists::{self, List};
use crate::config::problems::nearest;
use crate::config::reader::{Reader, Text, join};

/// What the `kafka.*` properties say.
pub struct ClientProperties {
    pub group_id: Option<String>,
    pub isolation: Isolation,
    /// Under librdkafka's names.
    pub client: BTreeMap<String, String>,
}

const PROTOCOLS: [(&str, &str); 4] = [
    ("PLAINTEXT", "PLAINTEXT"),
    ("SSL", "SSL"),
    ("SASL_PLAINTEXT", "SASL_PLAINTEXT"),
    ("SASL_SSL", "SASL_SSL"),
];
const MECHANISMS: [(&str, &str); 3] =
    [("PLAIN", "PLAIN"), ("SCRAM-SHA-256", "SCRAM-SHA-256"), ("SCRAM-SHA-512", "SCRAM-SHA-512")];

/// Reads the properties; `origin` and `path` are those of the mapping they stand in.
pub fn read(
    reader: &mut Reader<'_>,
    entries: &[&Entry],
    origin: &Origin,
    path: &str,
    stream: &str,
) -> Option<ClientProperties> {
    let mut given = Given { by_name: BTreeMap::new(), client: BTreeMap::new() };
    let mut resolved = true;
    for entry in entries {
        resolved &= given.take(reader, entry, path, stream).is_some();
    }
    if !resolved {
        // What belongs together can only be judged when all of it is known.
        return None;
    }
    if !given.by_name.contains_key("bootstrap.servers") {
        reader.problems.add(origin, path, "the option kafka.bootstrap.servers is missing");
    }
    let isolation = given.take_special("isolation.level").map(|text| {
        let words =
            [("read_uncommitted", Isolation::ReadUncommitted), ("read_committed", Isolation::ReadCommitted)];
        reader.one_of(&text, &words)
    });
    let group_id = given.take_special("group.id").map(|text| text.value);
    given.security(reader, origin, path, stream);
    given.truststore(reader);
    given.keystore(reader, path, origin);
    given.rest();
    Some(ClientProperties {
        group_id,
        isolation: isolation.unwrap_or(Some(Isolation::ReadUncommitted))?,
        client: given.client,
    })
}

struct Given {
    /// Honoured properties under Kafka's names, not yet mapped.
    by_name: BTreeMap<String, Text>,
    client: BTreeMap<String, String>,
}

impl Given {
    /// Looks a property up in the lists and keeps it if it is honoured; `None` if its value cannot be had.
    fn take(&mut self, reader: &mut Reader<'_>, entry: &Entry, path: &str, stream: &str) -> Option<()> {
        let place = join(path, &entry.key);
        let name = entry.key["kafka.".len()..].to_lowercase();
        let full = format!("kafka.{name}");
        match option_lists::find(option_lists::KAFKA, &name) {
            Some(row) if !reader.usable(row, &full, entry, &place, stream) => return Some(()),
            Some(_) => {}
            None if CONSUMER_PROPERTIES.contains(&name.as_str()) => {}
            None => {
                unknown(reader, &name, entry, &place);
                return Some(());
            }
        }
        let text = reader.text(&entry.node, &place, &full)?;
        if self.by_name.insert(name, text).is_some() {
            let text = format!("the option {full} is given twice; its case does not matter");
            reader.problems.add(&entry.origin, &place, text);
        }
        Some(())
    }

    fn take_special(&mut self, name: &str) -> Option<Text> {
        self.by_name.remove(name)
    }

    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.client.insert(name.to_owned(), value.into());
    }

    /// Protocol, mechanism and credentials, which must fit each other.
    fn security(&mut self, reader: &mut Reader<'_>, origin: &Origin, path: &str, stream: &str) {
        let protocol = match self.take_special("security.protocol") {
            Some(text) => match reader.one_of(&text, &PROTOCOLS) {
                Some(protocol) => protocol,
                None => return,
            },
            None => "PLAINTEXT",
        };
        self.set("security.protocol", protocol);
        let mechanism = self.take_special("sasl.mechanism");
        let jaas = self.take_special("sasl.jaas.config");
        let (username, password) = (self.take_special("sasl.username"), self.take_special("sasl.password"));
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
            let hint = "Kafka's default, GSSAPI, is not built in; give PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512";
            reader.problems.add_with_hint(origin, path, text, hint);
            return;
        };
        let upper = mechanism.value.trim().to_uppercase();
        if matches!(upper.as_str(), "OAUTHBEARER" | "GSSAPI" | "AWS_MSK_IAM") {
            let instead = "is not available in this version; use PLAIN (Event Hubs: a connection string) or SCRAM-SHA-512";
            reader.refuse(&mechanism, format!("this mechanism {instead}"));
            return;
        }
        let Some(mechanism) = reader.one_of(&mechanism, &MECHANISMS) else { return };
        self.set("sasl.mechanism", mechanism);
        match (jaas, username, password) {
            (Some(jaas), None, None) => self.login(reader, &jaas, mechanism),
            (None, Some(username), Some(password)) => {
                self.set("sasl.username", username.value);
                self.set("sasl.password", password.value);
            }
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

    fn login(&mut self, reader: &mut Reader<'_>, jaas: &Text, mechanism: &str) {
        let login = match jaas::parse(&jaas.value) {
            Ok(login) => login,
            Err(why) => return reader.problems.add(&jaas.origin, &jaas.path, why),
        };
        let fits = match login.module {
            Module::Plain => mechanism == "PLAIN",
            Module::Scram => mechanism.starts_with("SCRAM"),
        };
        if !fits {
            let text = format!("the login module does not serve kafka.sasl.mechanism {mechanism}");
            return reader.problems.add(&jaas.origin, &jaas.path, text);
        }
        self.set("sasl.username", login.username);
        self.set("sasl.password", login.password);
    }

    /// Java's trust store: PEM only.
    fn truststore(&mut self, reader: &mut Reader<'_>) {
        let kind = self.take_special("ssl.truststore.type");
        let location = self.take_special("ssl.truststore.location");
        let inline = self.take_special("ssl.truststore.certificates");
        if let Some(text) = inline {
            self.set("ssl.ca.pem", text.value);
        }
        if let Some(location) = location {
            if is_store(kind.as_ref(), &location, "PEM", &["pem", "crt", "cer"]) {
                self.set("ssl.ca.location", location.value);
            } else {
                let text = "a JKS or PKCS12 trust store cannot be read";
                let hint = "turn it into PEM with keytool -list -rfc -keystore FILE > ca.pem, then set kafka.ssl.truststore.type PEM and this location";
                reader.problems.add_with_hint(&location.origin, &location.path, text, hint);
            }
        }
    }

    /// Java's key store: PEM, or PKCS#12.
    fn keystore(&mut self, reader: &mut Reader<'_>, path: &str, origin: &Origin) {
        let kind = self.take_special("ssl.keystore.type");
        let location = self.take_special("ssl.keystore.location");
        let chain = self.take_special("ssl.keystore.certificate.chain");
        let key = self.take_special("ssl.keystore.key");
        match (chain, key) {
            (Some(chain), Some(key)) => {
                self.set("ssl.certificate.pem", chain.value);
                self.set("ssl.key.pem", key.value);
            }
            (None, None) => {}
            _ => {
                let text = "kafka.ssl.keystore.key and kafka.ssl.keystore.certificate.chain go together";
                reader.problems.add(origin, path, text);
            }
        }
        let Some(location) = location else { return };
        if is_store(kind.as_ref(), &location, "PEM", &["pem"]) {
            self.set("ssl.certificate.location", location.value.clone());
            self.set("ssl.key.location", location.value);
        } else if is_store(kind.as_ref(), &location, "PKCS12", &["p12", "pfx"]) {
            self.set("ssl.keystore.location", location.value);
        } else {
            let text = "a JKS key store cannot be read";
            let hint = "turn it into PKCS#12 with keytool -importkeystore -srckeystore FILE -destkeystore keystore.p12 -deststoretype PKCS12, then set kafka.ssl.keystore.type PKCS12 and this location";
            reader.problems.add_with_hint(&location.origin, &location.path, text, hint);
        }
    }

    /// Everything else passes, under librdkafka's names.
    fn rest(&mut self) {
        for (name, text) in std::mem::take(&mut self.by_name) {
            let value = match (name.as_str(), text.value.trim()) {
                ("ssl.endpoint.identification.algorithm", "") => "none".to_owned(),
                ("receive.buffer.bytes" | "send.buffer.bytes", "-1") => "0".to_owned(),
                _ => text.value,
            };
            match option_lists::find(option_lists::KAFKA, &name).map(|row| row.list) {
                Some(List::Renamed(to)) => to.iter().for_each(|to| self.set(to, value.clone())),
                _ => self.set(&name, value),
            }
        }
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

fn unknown(reader: &mut Reader<'_>, name: &str, entry: &Entry, path: &str) {
    let text = format!("unknown Kafka property {}", entry.key);
    let (known, hint) = if name.starts_with("sasl.oauthbearer.") {
        (
            None,
            "OAUTHBEARER is not available in this version; use kafka.sasl.mechanism PLAIN or SCRAM-SHA-512"
                .to_owned(),
        )
    } else if name.starts_with("sasl.kerberos.") {
        (None, "Kerberos is not built in; use kafka.sasl.mechanism PLAIN or SCRAM-SHA-512".to_owned())
    } else {
        let lists = option_lists::KAFKA.iter().filter(|r| r.list != List::Refused).map(|r| r.name);
        (nearest(name, lists.chain(CONSUMER_PROPERTIES.iter().copied())), String::new())
    };
    let hint = match known {
        Some(near) => format!("did you mean kafka.{near}?"),
        None if hint.is_empty() => "docs/reference/kafka-options.md lists the known ones".to_owned(),
        None => hint,
    };
    reader.problems.add_with_hint(&entry.origin, path, text, hint);
}
