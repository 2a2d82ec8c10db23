//! The chain to a topic, link by link, for `alluvia check`: which one is broken, and what to change.
//!
//! librdkafka repeats for ever what cannot succeed and tells the cause aside; so names, ports and tokens are tried here before
//! a client is. Each link rests on those before it: the first broken one ends the chain. Nothing is changed at the brokers.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::KafkaSource;
use super::answer::{is_forbidden, is_refusal};
use super::client::{self, REQUEST_TIMEOUT, Role, failed};
use super::cluster::Cluster;
use super::login::Login;
use super::native::RequestError;
use super::tokens;
use crate::config::kafka::{KafkaOptions, Subscription};
use crate::model::{Error, Result, TopicPartition};
use crate::source::Link;
use crate::storage::credentials::{self, TokenProvider};

/// How long a connection is waited for.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The links up to the brokers' first answer: `resolve`, `tcp`, `token` and `clock` (where tokens log in), `tls`, `login`
/// and `broker`. If one is broken it is the last.
pub fn links(options: &KafkaOptions) -> Vec<Link> {
    let mut links = Vec::new();
    // An error ends the chain; it stands in its last link.
    let _ = walk(options, &mut links);
    links
}

struct Broken;

fn walk(options: &KafkaOptions, links: &mut Vec<Link>) -> Result<(), Broken> {
    let mut add = |name: &'static str, result: Result<String>| {
        let broken = result.is_err();
        links.push((name, result));
        if broken { Err(Broken) } else { Ok(()) }
    };
    let servers = match resolve(options) {
        Ok((servers, found)) => {
            add("resolve", Ok(found))?;
            servers
        }
        Err(error) => return add("resolve", Err(error)),
    };
    add("tcp", connect(&servers))?;
    // Kept until the end of the walk, so that the login below finds the token that was asked for here.
    let login = options.security.tokens.as_ref();
    let kept = login.map(tokens::kept);
    if let Some(kept) = &kept {
        match kept.token() {
            Ok(token) => {
                add("token", Ok(credentials::described(kept.as_ref(), &token)))?;
                let absolute = login.is_some_and(|login| credentials::ends_are_absolute(&login.identity));
                if !absolute {
                    add("clock", credentials::clock(&token))?;
                }
            }
            Err(error) => return add("token", Err(error)),
        }
    }
    for (name, result) in first_answer(options) {
        add(name, result)?;
    }
    Ok(())
}

/// The addresses of the bootstrap servers; those that have none are named.
fn resolve(options: &KafkaOptions) -> Result<(Vec<(String, SocketAddr)>, String)> {
    let brokers = client::brokers(options);
    let (mut servers, mut found, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    for server in brokers.split(',').map(str::trim).filter(|server| !server.is_empty()) {
        let bare = server.rsplit_once("://").map_or(server, |(_, bare)| bare);
        let named = if bare.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
            bare.to_owned()
        } else {
            format!("{bare}:9092")
        };
        match named.to_socket_addrs().map(Iterator::collect::<Vec<_>>) {
            Ok(addresses) if !addresses.is_empty() => {
                found.push(format!("{named} is {}", addresses[0].ip()));
                servers.extend(addresses.into_iter().map(|address| (named.clone(), address)));
            }
            Ok(_) => lost.push(format!("{named} has no address")),
            Err(cause) => lost.push(format!("{named} has no address: {cause}")),
        }
    }
    if servers.is_empty() {
        let error =
            Error::config(format!("no host of kafka.bootstrap.servers is known: {}", lost.join("; ")));
        return Err(error.hint(unknown_host(brokers)));
    }
    found.extend(lost);
    Ok((servers, found.join("; ")))
}

/// What to do about hosts without an address.
fn unknown_host(brokers: &str) -> &'static str {
    if brokers.to_lowercase().contains(".servicebus.") {
        "check the name, and the DNS of this machine (a private endpoint needs the zone privatelink.servicebus.windows.net)"
    } else {
        "check the name, and the DNS of this machine"
    }
}

/// A connection to each server; one that is taken is enough.
fn connect(servers: &[(String, SocketAddr)]) -> Result<String> {
    let (mut taken, mut refused): (Vec<&str>, Vec<String>) = (Vec::new(), Vec::new());
    for (name, address) in servers {
        match TcpStream::connect_timeout(address, CONNECT_TIMEOUT) {
            Ok(_) => taken.push(name),
            Err(cause) => refused.push(format!("{name} ({}): {cause}", address.ip())),
        }
    }
    taken.dedup();
    if taken.is_empty() {
        return Err(Error::unavailable(format!("nothing takes a connection: {}", refused.join("; "))).hint(
            "check the port of kafka.bootstrap.servers (Event Hubs: 9093), that the brokers are up, and firewalls and network rules on the way",
        ));
    }
    let tail = if refused.is_empty() { String::new() } else { format!("; not {}", refused.join("; ")) };
    Ok(format!("{} takes connections{tail}", taken.join(", ")))
}

/// What TLS, the login and the first request come to.
fn first_answer(options: &KafkaOptions) -> Vec<Link> {
    let protocol = options.client.get("security.protocol").map_or("PLAINTEXT", String::as_str);
    let (tls, sasl) = (protocol.ends_with("SSL"), protocol.starts_with("SASL"));
    let mechanism = options.client.get("sasl.mechanism").map_or("", String::as_str);
    let mut links: Vec<Link> = Vec::new();
    let opened = Login::open(options).and_then(|login| Cluster::open(options, login));
    let cluster = match opened {
        Ok(cluster) => cluster,
        // A key or a certificate that cannot be read, before anybody was asked.
        Err(error) => return vec![(if tls { "tls" } else { "login" }, Err(error))],
    };
    let topic = match &options.subscription {
        Subscription::Topics(topics) => topics.first().map(String::as_str),
        Subscription::Assign(partitions) => partitions.first().map(|partition| &*partition.topic),
        Subscription::Pattern(_) => None,
    };
    let (broken, error) = match cluster.metadata(topic, "ask for metadata") {
        Ok(_) => (None, None),
        Err(error) => (Some(broken_by(&cluster)), Some(error)),
    };
    let well = |name: &'static str| {
        broken.is_none() || broken == Some("broker") || (broken == Some("login") && name == "tls")
    };
    let mut error = error;
    for (name, there, found) in [
        ("tls", tls, "the broker's certificate is trusted".to_owned()),
        ("login", sasl, format!("{mechanism} logs in")),
        ("broker", true, format!("Kafka answers at {}", cluster.brokers())),
    ] {
        if broken == Some(name) {
            links.extend(error.take().map(|error| (name, Err(error))));
            break;
        }
        if there && well(name) {
            links.push((name, Ok(found)));
        }
    }
    links
}

/// The link at which a client's first request has failed.
fn broken_by(cluster: &Cluster) -> &'static str {
    let trouble = cluster.client().ok().and_then(|client| client.context().trouble());
    match trouble.map(|trouble| trouble.code) {
        Some(RDKafkaErrorCode::SSL) => "tls",
        Some(code) if is_refusal(code) => "login",
        _ => "broker",
    }
}

/// Whether records may be fetched, tried with the last one of one partition: a right of its own beside that to see the topic.
///
/// # Errors
/// `Config` if the brokers do not allow it; `Unavailable` if they do not answer.
pub fn may_read(options: &KafkaOptions) -> Result<String> {
    let source = KafkaSource::open(options)?;
    let Some(partition) = source.partitions().into_iter().next() else {
        return Ok("there is no partition to read yet".to_owned());
    };
    let what = format!("read partition {partition}");
    let (client, _) = source.cluster.login.client(options, Role::Probe)?;
    let mut assigned = TopicPartitionList::new();
    let placed = assigned.add_partition_offset(&partition.topic, partition.partition, Offset::OffsetTail(1));
    placed.and_then(|()| client.assign(&assigned)).map_err(|cause| Error::internal(&what).source(cause))?;
    let started = Instant::now();
    while started.elapsed() < REQUEST_TIMEOUT {
        match client.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(_)) | Some(Err(KafkaError::PartitionEOF(_))) => {
                return Ok(readable(&partition));
            }
            Some(Err(error)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                if is_forbidden(code) || is_refusal(code) {
                    let error = RequestError { code, text: code.to_string() };
                    return Err(failed(options, &client, &what, &error));
                }
            }
        }
    }
    let error = RequestError {
        code: RDKafkaErrorCode::OperationTimedOut,
        text: "no answer to a fetch in time".to_owned(),
    };
    Err(failed(options, &client, &what, &error))
}

fn readable(partition: &TopicPartition) -> String {
    format!("records of partition {partition} may be fetched")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_of_private_endpoints_is_named_for_event_hubs_only() {
        assert!(!unknown_host("kafka.nope.invalid:9092").contains("privatelink"));
        let zone = "privatelink.servicebus.windows.net";
        assert!(unknown_host("ns.servicebus.windows.net:9093").contains(zone));
    }
}
