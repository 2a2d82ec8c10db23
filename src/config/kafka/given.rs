//! The `kafka.*` properties of a source between the stream file and librdkafka's names.

use std::collections::BTreeMap;

use super::credentials::{Security, Target};
use super::librdkafka::CONSUMER_PROPERTIES;
use crate::config::document::Entry;
use crate::config::option_lists::{self, List};
use crate::config::problems::nearest;
use crate::config::reader::{Reader, Text, join};

/// What was given, on its way to librdkafka's names.
pub(super) struct Given {
    /// Honoured properties under Kafka's names, not yet mapped.
    pub(super) by_name: BTreeMap<String, Text>,
    pub(super) client: BTreeMap<String, String>,
    pub(super) security: Security,
}

impl Given {
    /// Looks a property up in the lists and keeps it if it is honoured; `None` if its value cannot be had.
    pub(super) fn take(
        &mut self,
        reader: &mut Reader<'_>,
        entry: &Entry,
        path: &str,
        stream: &str,
    ) -> Option<()> {
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

    pub(super) fn take_special(&mut self, name: &str) -> Option<Text> {
        self.by_name.remove(name)
    }

    /// The host of the first bootstrap server.
    pub(super) fn first_host(&self) -> Option<&str> {
        let servers = self.by_name.get("bootstrap.servers")?.value.split(',').next()?;
        servers.trim().rsplit_once(':').map(|(host, _)| host)
    }

    pub(super) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.client.insert(name.to_owned(), value.into());
    }

    /// Sets a property, and keeps where it comes from if that is a file.
    pub(super) fn set_text(&mut self, name: &str, text: &Text) {
        self.set(name, text.value.clone());
        if let Some(raw) = text.file_reference() {
            self.security.sources.push(raw, Target::Property(name.to_owned()));
        }
    }

    /// Everything else passes, under librdkafka's names.
    pub(super) fn rest(&mut self) {
        for (name, text) in std::mem::take(&mut self.by_name) {
            let value = match (name.as_str(), text.value.trim()) {
                ("ssl.endpoint.identification.algorithm", "") => "none".to_owned(),
                ("receive.buffer.bytes" | "send.buffer.bytes", "-1") => "0".to_owned(),
                _ => text.value.clone(),
            };
            match option_lists::find(option_lists::KAFKA, &name).map(|row| row.list) {
                Some(List::Renamed(to)) => to.iter().for_each(|to| self.set(to, value.clone())),
                _ => {
                    if let Some(raw) = text.file_reference() {
                        self.security.sources.push(raw, Target::Property(name.clone()));
                    }
                    self.set(&name, value);
                }
            }
        }
    }
}

fn unknown(reader: &mut Reader<'_>, name: &str, entry: &Entry, path: &str) {
    let text = format!("unknown Kafka property {}", entry.key);
    let (known, hint) = if name.starts_with("sasl.oauthbearer.") {
        (
            None,
            "give clientId, clientSecret and scope in kafka.sasl.jaas.config, and kafka.sasl.oauthbearer.token.endpoint.url"
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
