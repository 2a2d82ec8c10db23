//! Spark's options of the Kafka source, checked as Spark checks them, into [`KafkaOptions`].
//!
//! Source: `KafkaSourceProvider.validateStreamOptions` and its neighbours; where Spark would ignore
//! an option in silence, a warning says so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::client;
use super::librdkafka::CONSUMER_PROPERTIES;
use super::{GroupId, KafkaOptions, StartingOffsets, Subscription, TimestampStrategy};
use crate::config::document::{Entry, Node, Value};
use crate::config::option_lists;
use crate::config::quantity;
use crate::config::reader::{Reader, Text, join};
use crate::model::{Offsets, TopicPartition};

/// Options whose value is JSON; they may be written as YAML too.
const JSON_OPTIONS: [&str; 3] = ["assign", "startingoffsets", "startingoffsetsbytimestamp"];

/// Spark's default of `groupIdPrefix`.
const GROUP_ID_PREFIX: &str = "spark-kafka-source";

/// Reads `source.options` of the stream named `stream`.
pub(crate) fn read(reader: &mut Reader<'_>, node: &Node, path: &str, stream: &str) -> Option<KafkaOptions> {
    let entries = reader.entries(node, path)?;
    let is_property = |e: &&Entry| e.key.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("kafka."));
    let (properties, others): (Vec<&Entry>, Vec<&Entry>) = entries.iter().partition(is_property);
    let mut spark = Vec::with_capacity(others.len());
    for entry in others {
        let bare = entry.key.to_lowercase();
        if option_lists::find(option_lists::SOURCE, &bare).is_none() && is_kafka_name(&bare) {
            let text = format!("unknown option {}", entry.key);
            let hint = format!("did you mean kafka.{bare}?");
            reader.problems.add_with_hint(&entry.origin, &join(path, &entry.key), text, hint);
        } else {
            spark.push(as_json_text(entry));
        }
    }
    let mut given: BTreeMap<&'static str, Text> = BTreeMap::new();
    for (row, text) in reader.options(&spark, path, option_lists::SOURCE, stream) {
        given.insert(row.name, text);
    }
    let client = client::read(reader, &properties, &node.origin, path, stream);
    let named = ["subscribe", "subscribePattern", "assign"];
    let named: Vec<&str> =
        named.into_iter().filter(|name| spark.iter().any(|e| e.key.eq_ignore_ascii_case(name))).collect();
    let mut options = Options { reader, given };
    let subscription = options.subscription(&named, node, path);
    let starting = options.starting(stream);
    if let (Some(subscription), Some((starting, text))) = (&subscription, &starting) {
        options.check_named(subscription, starting, text.as_ref());
    }
    let limits = options.limits();
    let rest = options.rest(stream);
    let (client, limits) = (client?, limits?);
    let prefix = || rest.group_id_prefix.as_deref().unwrap_or(GROUP_ID_PREFIX);
    let commit_group = rest
        .commit_offsets
        .then(|| client.group_id.clone().unwrap_or_else(|| format!("{}-{stream}", prefix())));
    let group_id = match (client.group_id, rest.group_id_prefix) {
        (Some(id), _) => GroupId::Fixed(id),
        (None, prefix) => GroupId::Prefix(prefix.unwrap_or_else(|| GROUP_ID_PREFIX.into())),
    };
    Some(KafkaOptions {
        subscription: subscription?,
        starting: starting?.0,
        timestamp_strategy: rest.timestamp_strategy,
        max_offsets_per_trigger: limits.max,
        min_offsets_per_trigger: limits.min,
        max_trigger_delay: limits.delay,
        min_partitions: rest.min_partitions,
        fail_on_data_loss: rest.fail_on_data_loss,
        include_headers: rest.include_headers,
        group_id,
        commit_group,
        fetch_offset_retries: rest.fetch_offset_retries,
        fetch_offset_retry_interval: rest.fetch_offset_retry_interval,
        poll_timeout: rest.poll_timeout,
        isolation: client.isolation,
        client: client.client,
        security: client.security,
    })
}

/// Whether an option's value is JSON, which may be written as YAML too.
pub(crate) fn is_json_option(name: &str) -> bool {
    JSON_OPTIONS.contains(&name.to_lowercase().as_str())
}

fn is_kafka_name(name: &str) -> bool {
    option_lists::find(option_lists::KAFKA, name).is_some() || CONSUMER_PROPERTIES.contains(&name)
}

/// `assign: {"t": [0, 1]}` without quotes around it is YAML; it means the same.
fn as_json_text(entry: &Entry) -> Entry {
    let mut entry = entry.clone();
    if is_json_option(&entry.key) && matches!(entry.node.value, Value::Map(_) | Value::List(_)) {
        entry.node.value = Value::Text(json(&entry.node).to_string());
    }
    entry
}

fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Text(text) => text.parse::<i64>().map_or_else(|_| text.as_str().into(), Into::into),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => entries.iter().map(|e| (e.key.clone(), json(&e.node))).collect(),
    }
}

struct Options<'r, 'l> {
    reader: &'r mut Reader<'l>,
    given: BTreeMap<&'static str, Text>,
}

struct Limits {
    max: Option<u64>,
    min: Option<u64>,
    delay: Duration,
}

struct Rest {
    timestamp_strategy: TimestampStrategy,
    min_partitions: Option<u32>,
    fail_on_data_loss: bool,
    include_headers: bool,
    group_id_prefix: Option<String>,
    commit_offsets: bool,
    fetch_offset_retries: u32,
    fetch_offset_retry_interval: Duration,
    poll_timeout: Duration,
}

impl Options<'_, '_> {
    fn parsed<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.given.get(name)?;
        self.reader.parse(text, parse)
    }

    /// Exactly one of the three.
    fn subscription(&mut self, named: &[&str], node: &Node, path: &str) -> Option<Subscription> {
        match *named {
            ["subscribe"] => self.parsed("subscribe", topics).map(Subscription::Topics),
            ["subscribePattern"] => self.pattern().map(Subscription::Pattern),
            ["assign"] => self.parsed("assign", assignment).map(Subscription::Assign),
            [] => {
                let hint = "give exactly one of subscribe, subscribePattern and assign";
                self.reader.problems.add_with_hint(&node.origin, path, "no topics are named", hint);
                None
            }
            _ => {
                let text = format!("{} exclude each other", named.join(" and "));
                let hint = "give exactly one of subscribe, subscribePattern and assign";
                self.reader.problems.add_with_hint(&node.origin, path, text, hint);
                None
            }
        }
    }

    fn pattern(&mut self) -> Option<String> {
        let text = self.given.get("subscribePattern")?;
        match regex::Regex::new(&text.value) {
            Ok(_) if text.value.is_empty() => {
                self.reader.refuse(text, "the pattern is empty");
                None
            }
            Ok(_) => Some(text.value.clone()),
            Err(error) => {
                // The last line of the error says why; the lines before draw the pattern.
                let error = error.to_string();
                let why = error.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
                self.reader.refuse(text, format!("the pattern cannot be used: {why}"));
                None
            }
        }
    }

    /// Spark's precedence; the text is that of the option that won.
    fn starting(&mut self, stream: &str) -> Option<(StartingOffsets, Option<Text>)> {
        let order = ["startingTimestamp", "startingOffsetsByTimestamp", "startingOffsets"];
        let mut given = order.into_iter().filter(|name| self.given.contains_key(name));
        let Some(winner) = given.next() else { return Some((StartingOffsets::Latest, None)) };
        for loser in given {
            let warning = format!("stream {stream}: {loser} has no effect here: {winner} goes before it");
            self.reader.warnings.push(warning);
        }
        let text = self.given[winner].clone();
        let starting = match winner {
            "startingTimestamp" => self.reader.parse(&text, |t| {
                t.trim().parse().map(StartingOffsets::Timestamp).map_err(|_| {
                    "expected milliseconds since the Unix epoch, such as 1700000000000".into()
                })
            }),
            "startingOffsetsByTimestamp" => self.offsets_json(&text).map(StartingOffsets::Timestamps),
            _ => match text.value.trim().to_lowercase().as_str() {
                "earliest" => Some(StartingOffsets::Earliest),
                "latest" => Some(StartingOffsets::Latest),
                json if json.starts_with('{') => self.offsets_json(&text).and_then(|offsets| {
                    match offsets.0.iter().find(|(_, offset)| **offset < -2) {
                        Some(_) if !text.is_open() => {
                            self.reader.refuse(&text, "an offset means nothing; -1 is latest, -2 earliest");
                            None
                        }
                        Some((partition, offset)) => {
                            let why = format!("offset {offset} of partition {partition} means nothing; -1 is latest, -2 earliest");
                            self.reader.problems.add(&text.origin, &text.path, why);
                            None
                        }
                        None => Some(StartingOffsets::Offsets(offsets)),
                    }
                }),
                _ => {
                    self.reader.refuse(&text, "expected earliest, latest or {\"topic\":{\"0\":23,\"1\":-2}}");
                    None
                }
            },
        };
        starting.map(|starting| (starting, Some(text)))
    }

    fn offsets_json(&mut self, text: &Text) -> Option<Offsets> {
        match Offsets::from_json(&text.value) {
            Ok(offsets) => Some(offsets),
            Err(error) if text.is_open() => {
                let hint = error.hint_text().unwrap_or_default().to_owned();
                self.reader.problems.add_with_hint(&text.origin, &text.path, error.message(), hint);
                None
            }
            Err(_) => {
                self.reader.refuse(text, "expected {\"topic\":{\"0\":23,\"1\":-2}}");
                None
            }
        }
    }

    /// Offsets per partition must name what is read; which partitions a topic has is seen later.
    fn check_named(&mut self, subscription: &Subscription, starting: &StartingOffsets, text: Option<&Text>) {
        let (StartingOffsets::Offsets(offsets) | StartingOffsets::Timestamps(offsets)) = starting else {
            return;
        };
        let Some(text) = text else { return };
        let open = text.is_open() && self.given.values().all(Text::is_open);
        let hint = "name every partition that is read, no other";
        let why = match subscription {
            Subscription::Topics(topics) => {
                let named: BTreeSet<&str> = offsets.0.keys().map(|p| &*p.topic).collect();
                let read: BTreeSet<&str> = topics.iter().map(String::as_str).collect();
                match (read.difference(&named).next(), named.difference(&read).next()) {
                    (Some(topic), _) => format!("it lacks topic {topic}, which is subscribed"),
                    (_, Some(topic)) => format!("it names topic {topic}, which is not subscribed"),
                    _ => return,
                }
            }
            Subscription::Assign(partitions) => {
                let read: BTreeSet<&TopicPartition> = partitions.iter().collect();
                let named: BTreeSet<&TopicPartition> = offsets.0.keys().collect();
                match (read.difference(&named).next(), named.difference(&read).next()) {
                    (Some(partition), _) => format!("it lacks partition {partition}, which is assigned"),
                    (_, Some(partition)) => format!("it names partition {partition}, which is not assigned"),
                    _ => return,
                }
            }
            Subscription::Pattern(_) => return,
        };
        let why = if open {
            why
        } else {
            "it does not name exactly the topics and partitions that are read".into()
        };
        self.reader.problems.add_with_hint(&text.origin, &text.path, why, hint);
    }

    fn limits(&mut self) -> Option<Limits> {
        let max = self.parsed("maxOffsetsPerTrigger", positive);
        let min = self.parsed("minOffsetsPerTrigger", positive);
        if let (Some(max), Some(min)) = (max, min)
            && min > max
        {
            let text = &self.given["minOffsetsPerTrigger"];
            let why = format!("minOffsetsPerTrigger {min} is more than maxOffsetsPerTrigger {max}");
            self.reader.problems.add(&text.origin, &text.path, why);
            return None;
        }
        let delay = self.parsed("maxTriggerDelay", |t| quantity::duration(t, true));
        Some(Limits { max, min, delay: delay.unwrap_or(Duration::from_secs(15 * 60)) })
    }

    /// What stands alone. A value that cannot be read is a problem already; its default goes nowhere.
    fn rest(&mut self, stream: &str) -> Rest {
        let strategy = self.given.get("startingOffsetsByTimestampStrategy").cloned().and_then(|text| {
            let words = [("error", TimestampStrategy::Error), ("latest", TimestampStrategy::Latest)];
            self.reader.one_of(&text, &words)
        });
        if self.given.contains_key("maxTriggerDelay") && !self.given.contains_key("minOffsetsPerTrigger") {
            let why = "maxTriggerDelay has no effect here: minOffsetsPerTrigger is not given";
            self.reader.warnings.push(format!("stream {stream}: {why}"));
        }
        let millis = |t: &str| {
            positive(t)
                .map(Duration::from_millis)
                .map_err(|_| "expected milliseconds, a whole number above 0".into())
        };
        Rest {
            timestamp_strategy: strategy.unwrap_or(TimestampStrategy::Error),
            min_partitions: self.parsed("minPartitions", positive),
            fail_on_data_loss: self.parsed("failOnDataLoss", quantity::boolean).unwrap_or(true),
            include_headers: self.parsed("includeHeaders", quantity::boolean).unwrap_or(false),
            commit_offsets: self.parsed("commitOffsets", quantity::boolean).unwrap_or(false),
            group_id_prefix: self.given.get("groupIdPrefix").map(|text| text.value.clone()),
            fetch_offset_retries: self.parsed("fetchOffset.numRetries", positive).unwrap_or(3),
            fetch_offset_retry_interval: self
                .parsed("fetchOffset.retryIntervalMs", millis)
                .unwrap_or(Duration::from_secs(1)),
            poll_timeout: self
                .parsed("kafkaConsumer.pollTimeoutMs", millis)
                .unwrap_or(Duration::from_secs(120)),
        }
    }
}

/// A whole number above 0.
pub(crate) fn positive<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let number = text.trim().parse::<u64>().ok().filter(|n| *n > 0);
    number.and_then(|n| T::try_from(n).ok()).ok_or_else(|| "expected a whole number above 0".into())
}

/// `subscribe`: names separated by commas, blanks around them cut off, each once.
fn topics(text: &str) -> Result<Vec<String>, String> {
    let mut topics: Vec<String> = Vec::new();
    for topic in text.split(',').map(str::trim).filter(|t| !t.is_empty()) {
        check_topic(topic)?;
        if topics.iter().all(|t| t != topic) {
            topics.push(topic.to_owned());
        }
    }
    if topics.is_empty() { Err("no topic is named".into()) } else { Ok(topics) }
}

/// Kafka's rule for names (`Topic.validate`); librdkafka would take `^…` for a pattern.
fn check_topic(topic: &str) -> Result<(), String> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if topic.len() > 249 || topic == "." || topic == ".." || !topic.bytes().all(legal) {
        return Err(
            "a topic's name has letters, digits, . _ and -, at most 249; for a pattern use subscribePattern"
                .into(),
        );
    }
    Ok(())
}

/// `assign`: `{"topic":[0,1]}`.
fn assignment(text: &str) -> Result<Vec<TopicPartition>, String> {
    let form = || "expected {\"topic\":[0,1]}".to_owned();
    let topics: BTreeMap<String, BTreeSet<i32>> = serde_json::from_str(text).map_err(|_| form())?;
    let mut partitions = Vec::new();
    for (topic, numbers) in topics {
        check_topic(&topic)?;
        if numbers.iter().any(|n| *n < 0) {
            return Err("a partition's number is not negative".into());
        }
        partitions.extend(numbers.into_iter().map(|n| TopicPartition::new(topic.as_str(), n)));
    }
    if partitions.is_empty() { Err("no partition is named".into()) } else { Ok(partitions) }
}
