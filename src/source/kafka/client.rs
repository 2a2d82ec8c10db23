//! One librdkafka client: its properties, and the error for a request that failed.
//!
//! Properties come in four layers, later wins: librdkafka's, ours for throughput with low latency, the
//! user's `kafka.*`, and the few that exactly-once depends on. Properties are named here without their
//! values, which may be secret.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{Level, enabled};
use uuid::Uuid;

use super::answer::{is_closed, is_forbidden, is_refusal, is_silence};
use super::events::ClientEvents;
use super::native::{Client, RequestError};
use super::throttle::Throttle;
use super::tokens::kept;
use crate::config::kafka::{GroupId, KafkaOptions};
use crate::model::{Error, Result};
use crate::storage::credentials::TokenProvider;

/// How much a lane may hold in memory without a word from its caller: 64 MiB.
pub const LANE_MEMORY_BYTES: usize = 64 << 20;

/// Everything that the user may not change: offsets are ours, and the end of a partition is an event.
const FORCED: [(&str, &str); 6] = [
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("enable.partition.eof", "true"),
    ("allow.auto.create.topics", "false"),
    ("log.queue", "true"),
];

/// What a client is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Offsets and metadata.
    Admin,
    /// Messages: the bytes that its queue may hold, and those that one partition may bring at once.
    Lane { queue_bytes: usize, fetch_bytes: usize },
    /// The first message of each partition, to see where its log goes on.
    Probe,
}

/// The addresses, for messages.
pub(super) fn brokers(options: &KafkaOptions) -> &str {
    options.client.get("bootstrap.servers").map_or("(none)", String::as_str)
}

/// The properties of a client, complete.
pub(super) fn properties(options: &KafkaOptions, role: Role) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("client.id", "alluvia").set("broker.address.family", "any");
    match role {
        Role::Admin => {
            config.set("topic.metadata.refresh.interval.ms", "60000");
        }
        Role::Lane { queue_bytes, fetch_bytes } => lane_defaults(&mut config, queue_bytes, fetch_bytes),
        Role::Probe => {
            config.set("fetch.wait.max.ms", "100").set("queued.max.messages.kbytes", "1024");
        }
    }
    if options.client.get("security.protocol").is_some_and(|protocol| protocol.ends_with("SSL"))
        && !options.client.contains_key("ssl.ca.location")
        && !options.client.contains_key("ssl.ca.pem")
        && std::env::var_os("SSL_CERT_FILE").is_none()
    {
        // OpenSSL is built in and does not know where this system keeps its certificates: librdkafka looks for them.
        config.set("ssl.ca.location", "probe");
    }
    for (key, value) in &options.client {
        config.set(key, value);
    }
    let group = match &options.group_id {
        GroupId::Fixed(id) => id.clone(),
        GroupId::Prefix(prefix) => format!("{prefix}-{}", Uuid::new_v4()),
    };
    config.set("group.id", group).set("isolation.level", options.isolation.as_str());
    for (key, value) in FORCED {
        config.set(key, value);
    }
    if role == Role::Probe {
        // A position that is not in the log any more is where the log begins; little is fetched to see it.
        config
            .set("auto.offset.reset", "earliest")
            .set("max.partition.fetch.bytes", "1024")
            .set("fetch.min.bytes", "1");
    }
    // That a connection was closed is information to librdkafka (`ClientEvents::log`).
    config.set_log_level(if enabled!(target: "librdkafka", Level::DEBUG) {
        RDKafkaLogLevel::Debug
    } else {
        RDKafkaLogLevel::Info
    });
    config
}

/// Large fetches when there is much, an answer at once when there is little; the queue is refilled as
/// soon as it has room (librdkafka's own second of backoff costs a factor of three).
fn lane_defaults(config: &mut ClientConfig, queue_bytes: usize, fetch_bytes: usize) {
    let queue_kbytes = (queue_bytes / 1024).clamp(1024, 2_097_151);
    let fetch_max = (queue_bytes / 2).clamp(fetch_bytes.max(1 << 20), 64 << 20);
    config
        .set("fetch.min.bytes", "1")
        .set("fetch.wait.max.ms", "100")
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.error.backoff.ms", "100")
        .set("max.partition.fetch.bytes", fetch_bytes.to_string())
        .set("fetch.max.bytes", fetch_max.to_string())
        .set("queued.min.messages", "10000000")
        .set("queued.max.messages.kbytes", queue_kbytes.to_string())
        .set("reconnect.backoff.max.ms", "1000");
}

/// Opens a client that reports throttle times to `throttle`; no broker is asked yet.
///
/// # Errors
/// `Config` if librdkafka refuses a property; the message names it, not its value.
pub(super) fn open(options: &KafkaOptions, role: Role, throttle: Arc<Throttle>) -> Result<Arc<Client>> {
    let config = properties(options, role);
    let events = ClientEvents::new(throttle);
    config.create_with_context::<_, Client>(events).map(Arc::new).map_err(|error| match error {
        KafkaError::ClientConfig(_, why, key, _) => {
            Error::config(format!("the Kafka client refuses property {key}: {}", without_value(&why)))
                .hint(format!("change or remove kafka.{key}"))
        }
        KafkaError::ClientCreation(why) => {
            Error::config(format!("the Kafka client cannot be made: {why}")).hint("check the kafka.* options")
        }
        other => Error::internal("the Kafka client cannot be made").source(other),
    })
}

/// librdkafka's reason for refusing a property, cut where it starts to quote the value.
fn without_value(why: &str) -> &str {
    why.split(['"', '\'']).next().unwrap_or("").trim_end()
}

/// The error for a request that got no answer, or whose answer is a refusal, by its consequence.
pub(super) fn failed(options: &KafkaOptions, client: &Client, what: &str, error: &RequestError) -> Error {
    let trouble = client.context().trouble();
    let telling = trouble.as_ref().filter(|t| is_refusal(t.code) || t.code == RDKafkaErrorCode::SSL);
    let (code, text) = match telling.or(trouble.as_ref().filter(|_| is_silence(error.code))) {
        Some(trouble) => (trouble.code, trouble.text.as_str()),
        None => (error.code, error.text.as_str()),
    };
    let brokers = brokers(options);
    // What the brokers say of it, or that they say nothing, is no more than a consequence.
    if let Some(error) = lack_of_token(options) {
        return error.context(format!("log in to Kafka at {brokers} to {what}"));
    }
    if is_refusal(code) {
        if options.security.tokens.is_some() && client.context().worked.load(Ordering::Relaxed) {
            return Error::unavailable(format!(
                "cannot {what}: Kafka at {brokers} refuses the login by a token that may have ended: {text}"
            ))
            .hint("see in the log why it was not renewed in time");
        }
        let hint = match &options.security.tokens {
            Some(_) => {
                "check the scope of the token, and that its owner may read the topic (Event Hubs: the role Azure Event Hubs Data Receiver)"
            }
            None => "check kafka.security.protocol, kafka.sasl.mechanism and kafka.sasl.jaas.config",
        };
        return Error::config(format!("cannot {what}: Kafka at {brokers} refuses the login: {text}"))
            .hint(hint);
    }
    // Once TLS has worked, a broken handshake is a broker that restarts.
    if code == RDKafkaErrorCode::SSL && !client.context().worked.load(Ordering::Relaxed) {
        return Error::config(format!("cannot {what}: TLS with Kafka at {brokers} fails: {text}")).hint(
            "check kafka.security.protocol, the CA (kafka.ssl.truststore.location or kafka.ssl.ca.location), kafka.ssl.keystore.location and the certificate's names",
        );
    }
    if is_forbidden(code) {
        return Error::config(format!("Kafka at {brokers} does not allow to {what}: {text}"))
            .hint("grant the user DESCRIBE and READ on the topic");
    }
    let worked = client.context().worked.load(Ordering::Relaxed);
    let (does, hint) = silence(options, text, worked);
    Error::unavailable(format!("cannot {what}: Kafka at {brokers} {does}: {text}")).hint(hint)
}

/// What brokers do that give no answer, by librdkafka's `text` of it, and what to change. A connection that is taken and closed
/// at once, from the first on, is the wrong protocol more often than a broker in trouble.
fn silence(options: &KafkaOptions, text: &str, worked: bool) -> (&'static str, String) {
    if text.contains("Failed to resolve") {
        let hint = "check the host in kafka.bootstrap.servers, and the DNS of this machine";
        return ("cannot be found", hint.to_owned());
    }
    if !worked && is_closed(text) {
        let protocol = options.client.get("security.protocol").map_or("PLAINTEXT", String::as_str);
        let hint = format!(
            "check kafka.security.protocol (it is {protocol}): a port for TLS or for a login closes connections of another protocol; if it is right, see the broker's log"
        );
        return ("closes the connection", hint);
    }
    let hint = "check kafka.bootstrap.servers, and that the brokers are up and can be reached from here";
    ("does not answer", hint.to_owned())
}

/// Why there is no token to log in with: the one that was held has ended, and there is no other.
fn lack_of_token(options: &KafkaOptions) -> Option<Error> {
    kept(options.security.tokens.as_ref()?).token().err()
}

/// The longest that a request to the brokers is waited for.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::source::kafka::testing::options;

    #[test]
    fn the_users_properties_win_but_not_over_exactly_once() {
        let mut options = options("127.0.0.1:1");
        options.client.insert("fetch.min.bytes".into(), "77".into());
        options.client.insert("enable.auto.commit".into(), "true".into());
        let config = properties(&options, Role::Lane { queue_bytes: 16 << 20, fetch_bytes: 1 << 20 });
        assert_eq!(config.get("fetch.min.bytes"), Some("77"));
        assert_eq!(config.get("enable.auto.commit"), Some("false"));
        assert_eq!(config.get("isolation.level"), Some("read_uncommitted"));
        assert!(config.get("group.id").unwrap().starts_with("test-"));
    }

    #[test]
    fn a_closed_connection_names_the_protocol_and_an_unknown_host_the_dns() {
        let mut options = options("127.0.0.1:1");
        let closed = "Disconnected: requesting ApiVersion: might be caused by incorrect security.protocol";
        let (does, hint) = silence(&options, closed, false);
        assert_eq!(does, "closes the connection");
        assert!(hint.starts_with("check kafka.security.protocol (it is PLAINTEXT)"), "{hint}");
        options.client.insert("security.protocol".into(), "SASL_PLAINTEXT".into());
        assert!(silence(&options, closed, false).1.contains("(it is SASL_PLAINTEXT)"));
        assert_eq!(silence(&options, closed, true).0, "does not answer", "it worked before");
        let (does, hint) = silence(&options, "Failed to resolve 'b:9092': Name or service not known", false);
        assert_eq!(does, "cannot be found");
        assert!(hint.contains("DNS"), "{hint}");
    }

    #[test]
    fn a_refused_property_is_named_without_its_value() {
        let mut options = options("127.0.0.1:1");
        options.client = BTreeMap::from([("sasl.mechanism".into(), "hunter2".into())]);
        options.client.insert("socket.timeout.ms".into(), "hunter2".into());
        let error = open(&options, Role::Admin, Arc::default()).err().unwrap();
        assert_eq!(error.kind(), crate::model::Kind::Config);
        assert!(error.to_string().contains("kafka.socket.timeout.ms"), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
