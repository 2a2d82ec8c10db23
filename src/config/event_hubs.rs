//! `format: eventhubs`: Azure Event Hubs through its Kafka endpoint, with the few words that such a source needs.
//!
//! The options become those of the Kafka source, with the settings that Microsoft recommends for the endpoint beneath them;
//! every option of the Kafka source may be given too, and wins. Nothing else in Alluvia knows the format. What users of
//! azure-event-hubs-spark bring is mapped, or refused with the alternative ([`option_lists::EVENT_HUBS`]).

use super::azure;
use super::document::{Entry, Node, Value};
use super::option_lists;
use super::origin::Origin;
use super::reader::{Reader, Text, join};

/// Settings for the endpoint: connections that are idle for 240 s are dropped without a word on the way, and a throttled
/// answer comes late (Microsoft, "Recommended configurations for Apache Kafka clients").
const PRESETS: [(&str, &str); 6] = [
    ("kafka.socket.keepalive.enable", "true"),
    ("kafka.metadata.max.age.ms", "180000"),
    ("kafka.connections.max.idle.ms", "180000"),
    ("kafka.request.timeout.ms", "60000"),
    ("kafka.log.connection.close", "false"),
    // Says how long the namespace holds answers back; see the progress.
    ("kafka.statistics.interval.ms", "5000"),
];
/// What a namespace's host name ends with, in the public cloud.
const HOST_ENDING: &str = ".servicebus.windows.net";
/// The options of this format itself.
const OWN: [&str; 7] =
    ["connectionString", "namespace", "eventHub", "consumerGroup", "tenantId", "clientId", "clientSecret"];

/// The parts of a connection string that say where to connect.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    host: String,
    entity_path: Option<String>,
}

/// The options of this format itself among those given, with their values.
type Own<'e> = Vec<(&'static str, &'e Entry, Text)>;

/// The options of the Kafka source that stand for those of an Event Hubs source.
pub(super) fn as_kafka(reader: &mut Reader<'_>, node: &Node, path: &str, stream: &str) -> Option<Node> {
    let entries = reader.entries(node, path)?;
    let (mut kafka, own) = sorted(reader, entries, path, stream)?;
    let mut put = |key: &str, origin: &Origin, text: &str| {
        if kafka.iter().all(|entry| !entry.key.eq_ignore_ascii_case(key)) {
            let node = Node::text(origin.clone(), text);
            kafka.push(Entry { key: key.to_owned(), origin: origin.clone(), node });
        }
    };
    let find = |name: &str| own.iter().find(|(own, ..)| *own == name).map(|(_, entry, text)| (*entry, text));
    let address = match (find("connectionString"), find("namespace")) {
        (Some((entry, text)), None) => {
            let address = reader.parse(text, connection_string)?;
            put("kafka.sasl.mechanism", &entry.origin, "PLAIN");
            put("kafka.sasl.username", &entry.origin, "$ConnectionString");
            // As it was written: what refers to a file is read again when the file changes.
            put("kafka.sasl.password", &entry.origin, &raw(&entry.node));
            address
        }
        (None, Some((entry, text))) => {
            let address = reader.parse(text, namespace)?;
            put("kafka.sasl.mechanism", &entry.origin, "OAUTHBEARER");
            for name in ["tenantId", "clientId", "clientSecret"] {
                if let Some((_, text)) = find(name) {
                    azure::put(&mut reader.identity, name, text);
                }
            }
            reader.namespace = Some(address.host.clone());
            address
        }
        (Some((entry, _)), Some(_)) => {
            let text = "connectionString and namespace exclude each other";
            reader.problems.add(&entry.origin, path, text);
            return None;
        }
        (None, None) => {
            let hint = "give connectionString, or namespace: the identity is then that of the block azure";
            reader.problems.add_with_hint(&node.origin, path, "the option connectionString is missing", hint);
            return None;
        }
    };
    put("kafka.bootstrap.servers", &node.origin, &format!("{}:9093", address.host));
    put("kafka.security.protocol", &node.origin, "SASL_SSL");
    if let Some((entry, _)) = find("consumerGroup") {
        put("kafka.group.id", &entry.origin, &raw(&entry.node));
    }
    let named = ["subscribe", "subscribePattern", "assign"];
    let hub = find("eventHub").map(|(entry, _)| (entry.origin.clone(), raw(&entry.node)));
    let hub = hub.or(address.entity_path.map(|name| (node.origin.clone(), name)));
    if let Some((origin, name)) = hub
        && !entries.iter().any(|entry| named.iter().any(|name| entry.key.eq_ignore_ascii_case(name)))
    {
        put("subscribe", &origin, &name);
    }
    for (key, value) in PRESETS {
        put(key, &node.origin, value);
    }
    Some(Node::new(node.origin.clone(), Value::Map(kafka)))
}

/// The options that are Kafka's, and those of this format; `None` if a value of the latter cannot be had.
fn sorted<'e>(
    reader: &mut Reader<'_>,
    entries: &'e [Entry],
    path: &str,
    stream: &str,
) -> Option<(Vec<Entry>, Own<'e>)> {
    let (mut kafka, mut own) = (Vec::with_capacity(entries.len() + PRESETS.len()), Vec::new());
    let mut complete = true;
    for entry in entries {
        let bare = entry.key.strip_prefix("eventhubs.").unwrap_or(&entry.key);
        let place = join(path, &entry.key);
        if let Some(name) = OWN.iter().find(|name| name.eq_ignore_ascii_case(bare)) {
            match reader.text(&entry.node, &place, name) {
                Some(text) => own.push((*name, entry, text)),
                None => complete = false,
            }
            continue;
        }
        // As azure-event-hubs-spark has it.
        let bare =
            if bare.eq_ignore_ascii_case("name") && bare != entry.key { Some("eventHub") } else { None };
        if let Some(name) = bare {
            own.extend(reader.text(&entry.node, &place, name).map(|text| (name, entry, text)));
            continue;
        }
        match option_lists::find(option_lists::EVENT_HUBS, &entry.key) {
            Some(row) if row.name == "eventhubs.maxEventsPerTrigger" => {
                kafka.push(Entry { key: "maxOffsetsPerTrigger".into(), ..entry.clone() });
            }
            Some(row) => drop(reader.usable(row, row.name, entry, &place, stream)),
            None => kafka.push(entry.clone()),
        }
    }
    complete.then_some((kafka, own))
}

/// The text of a scalar as it was written.
fn raw(node: &Node) -> String {
    match &node.value {
        Value::Text(raw) => raw.clone(),
        Value::Null | Value::List(_) | Value::Map(_) => String::new(),
    }
}

/// `Endpoint=sb://HOST/;SharedAccessKeyName=…;SharedAccessKey=…[;EntityPath=HUB]`.
fn connection_string(text: &str) -> Result<Address, String> {
    let expected = || {
        "expected Endpoint=sb://NAMESPACE.servicebus.windows.net/;SharedAccessKeyName=…;SharedAccessKey=…, in plain (not encrypted by EventHubsUtils)".to_owned()
    };
    let parts: Vec<(&str, &str)> = text.trim().split(';').filter_map(|part| part.split_once('=')).collect();
    let find = |name: &str| {
        parts.iter().find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, v)| v.trim())
    };
    let endpoint = find("Endpoint").and_then(|url| url.strip_prefix("sb://")).ok_or_else(expected)?;
    let host = endpoint.trim_end_matches('/').split([':', '/']).next().unwrap_or_default();
    if host.is_empty() || !host.contains('.') {
        return Err(expected());
    }
    if find("SharedAccessSignature").is_some() {
        return Err("the Kafka endpoint takes no shared access signatures; give a connection string with SharedAccessKeyName and SharedAccessKey".into());
    }
    if find("SharedAccessKeyName").is_none() || find("SharedAccessKey").is_none() {
        return Err(expected());
    }
    Ok(Address { host: host.to_owned(), entity_path: find("EntityPath").map(str::to_owned) })
}

/// A namespace by its name or its whole host name.
fn namespace(text: &str) -> Result<Address, String> {
    let name = text.trim().trim_end_matches('/');
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    if name.is_empty() || !name.chars().all(legal) {
        return Err("expected the name of a namespace, such as my-namespace, or its host name".into());
    }
    let host = if name.contains('.') { name.to_owned() } else { format!("{name}{HOST_ENDING}") };
    Ok(Address { host, entity_path: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_strings_say_where_to_connect() {
        let at = |text: &str| connection_string(text).map(|a| (a.host, a.entity_path));
        let key = "SharedAccessKeyName=k;SharedAccessKey=a+b==";
        for cloud in ["windows.net", "usgovcloudapi.net", "chinacloudapi.cn"] {
            let host = format!("ns.servicebus.{cloud}");
            assert_eq!(at(&format!("Endpoint=sb://{host}/;{key}")), Ok((host.clone(), None)));
            let entity = format!("Endpoint=sb://{host};{key};EntityPath=hub-1");
            assert_eq!(at(&entity), Ok((host, Some("hub-1".into()))));
        }
        for wrong in ["hunter2", "Endpoint=sb:///;x=y", "Endpoint=https://ns.servicebus.windows.net/;k=v"] {
            let why = at(wrong).unwrap_err();
            assert!(why.starts_with("expected Endpoint=sb://") && !why.contains("hunter2"), "{why}");
        }
        let signature =
            at("Endpoint=sb://ns.servicebus.windows.net/;SharedAccessSignature=hunter2").unwrap_err();
        assert!(signature.contains("no shared access signatures") && !signature.contains("hunter2"));
    }

    #[test]
    fn a_namespace_is_a_name_or_a_host() {
        assert_eq!(namespace("ns").unwrap().host, "ns.servicebus.windows.net");
        assert_eq!(
            namespace("ns.servicebus.usgovcloudapi.net").unwrap().host,
            "ns.servicebus.usgovcloudapi.net"
        );
        assert!(namespace("sb://ns/").is_err() && namespace("").is_err());
    }
}
