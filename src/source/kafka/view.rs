//! The topics and partitions of a subscription, as the brokers last described them.
//!
//! The view is renewed in the background, so that no trigger waits for it, however many topics there are: one metadata
//! request for all of them, and one that asks for their ids. It is renewed at once only where an answer contradicts it, or
//! where the background has not managed to for long.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use regex::Regex;
use tracing::{debug, warn};

use super::answer::is_missing;
use super::client::{REQUEST_TIMEOUT, failed};
use super::cluster::Cluster;
use super::native::{RequestError, TopicDescription};
use super::topic_ids::{CONTROLLER_TIMEOUT, TopicIds};
use crate::config::kafka::Subscription;
use crate::config::nearest;
use crate::model::{Error, Result, TopicPartition};

/// How old the view may become before it is renewed.
pub const METADATA_REFRESH: Duration = Duration::from_secs(10);
/// How often it may be renewed at most.
const METADATA_REFRESH_MIN: Duration = Duration::from_millis(200);
/// How many topics are asked about one by one; above, all topics of the cluster are.
const TOPICS_SINGLY_MAX: usize = 8;
/// Older than this many times the interval, the view is renewed by whoever needs it.
const STALE_AFTER: u32 = 3;

/// The partitions of a subscription at one time.
pub(super) struct View {
    pub(super) partitions: Vec<TopicPartition>,
    /// Topics that the subscription names and the brokers do not know.
    pub(super) missing: Vec<String>,
    pub(super) ids: TopicIds,
    at: Instant,
}

/// The view of a subscription, and what renews it. Dropped, it is renewed no more.
pub(super) struct Topics {
    shared: Arc<Shared>,
}

struct Shared {
    cluster: Arc<Cluster>,
    pattern: Option<Regex>,
    refresh: Duration,
    view: Mutex<Arc<View>>,
    over: Mutex<bool>,
    ended: Condvar,
}

impl Topics {
    /// Finds the subscription's partitions, and keeps the view of them fresh from then on. What is not there is no error:
    /// a new query asks [`Topics::check_all_there`], and one that has read before has a policy on lost data.
    ///
    /// # Errors
    /// `Unavailable` if the brokers do not answer; `Config` if they refuse, or the pattern is wrong.
    pub(super) fn open(cluster: &Arc<Cluster>) -> Result<Topics> {
        let pattern = match &cluster.options.subscription {
            Subscription::Pattern(pattern) => Some(Regex::new(pattern).map_err(|error| {
                Error::config(format!("subscribePattern {pattern:?} is not a regular expression"))
                    .source(error)
                    .hint("look-around and back-references of Java are not supported")
            })?),
            Subscription::Topics(_) | Subscription::Assign(_) => None,
        };
        let refresh = cluster
            .options
            .client
            .get("topic.metadata.refresh.interval.ms")
            .and_then(|ms| ms.parse().ok())
            .map_or(METADATA_REFRESH, refresh_interval);
        let empty = View {
            partitions: Vec::new(),
            missing: Vec::new(),
            ids: TopicIds::default(),
            at: Instant::now(),
        };
        let shared = Arc::new(Shared {
            cluster: Arc::clone(cluster),
            pattern,
            refresh,
            view: Mutex::new(Arc::new(empty)),
            over: Mutex::new(false),
            ended: Condvar::new(),
        });
        let view = shared.describe_subscription(CONTROLLER_TIMEOUT)?;
        if let Subscription::Assign(assigned) = &cluster.options.subscription {
            let lacking = assigned.iter().filter(|p| !view.partitions.contains(p));
            let lacking: Vec<String> = lacking.map(ToString::to_string).collect();
            if !lacking.is_empty() {
                warn!("assigned partitions that do not exist are left out: {}", lacking.join(", "));
            }
        }
        shared.put(view);
        let renewing = Arc::clone(&shared);
        thread::Builder::new().name("kafka-topics".into()).spawn(move || renewing.renew()).map_err(
            |cause| Error::unavailable("cannot start a thread for the topics of Kafka").source(cause),
        )?;
        Ok(Topics { shared })
    }

    /// The view as last renewed.
    pub(super) fn view(&self) -> Arc<View> {
        self.shared.view()
    }

    /// Whether the subscription has this partition, there or not.
    pub(super) fn subscribes(&self, partition: &TopicPartition) -> bool {
        match &self.shared.cluster.options.subscription {
            Subscription::Topics(topics) => topics.iter().any(|topic| **topic == *partition.topic),
            Subscription::Assign(partitions) => partitions.contains(partition),
            Subscription::Pattern(_) => {
                self.shared.pattern.as_ref().is_some_and(|pattern| pattern.is_match(&partition.topic))
            }
        }
    }

    /// What a new query asks for is there.
    ///
    /// # Errors
    /// `Config` if a subscribed topic does not exist, or nothing matches the subscription.
    pub(super) fn check_all_there(&self) -> Result<()> {
        let (view, brokers) = (self.view(), self.shared.cluster.brokers());
        match &self.shared.cluster.options.subscription {
            Subscription::Topics(_) if !view.missing.is_empty() => Err(self.not_there(&view.missing)),
            Subscription::Pattern(pattern) if view.partitions.is_empty() => {
                Err(Error::config(format!("no topic at {brokers} matches subscribePattern {pattern:?}"))
                    .hint("check subscribePattern; it is found anywhere in a name unless anchored"))
            }
            Subscription::Assign(_) if view.partitions.is_empty() => {
                Err(Error::config(format!("none of the assigned partitions exists at {brokers}"))
                    .hint("check assign"))
            }
            _ => Ok(()),
        }
    }

    /// The error for subscribed topics that do not exist.
    pub(super) fn not_there(&self, topics: &[String]) -> Error {
        let brokers = self.shared.cluster.brokers();
        // Without a list of them there is no suggestion.
        let all = self.shared.cluster.metadata(None, "list the topics").map(|all| all.topics(|_| true));
        let there: Vec<String> = all.unwrap_or_default().into_iter().map(|topic| topic.name).collect();
        Error::config(format!("topic {} does not exist at {brokers}", topics.join(", ")))
            .hint(meant(topics, &there))
    }

    /// Asks for topics by name that a list of all topics leaves out: it also leaves out what the login may not describe.
    ///
    /// # Errors
    /// `Config` if the brokers do not allow it; `Unavailable` if one of `partitions` is there, or nobody answers.
    pub(super) fn confirm_gone(&self, partitions: &[TopicPartition]) -> Result<()> {
        if self.shared.pattern.is_none() {
            return Ok(());
        }
        for topic in self.shared.describe(partitions.iter().map(|partition| &*partition.topic))?.0 {
            match &topic.partitions {
                Err(code) if is_missing(*code) => {}
                Err(code) => return Err(self.shared.not_described(&topic.name, *code)),
                Ok(numbers) => {
                    let there =
                        |p: &&TopicPartition| *p.topic == *topic.name && numbers.contains(&p.partition);
                    if let Some(partition) = partitions.iter().find(there) {
                        return Err(Error::unavailable(format!(
                            "the brokers do not list partition {partition}, but describe its topic"
                        )));
                    }
                }
            }
        }
        Ok(())
    }

    /// Renews the view if asked to, or if it is stale.
    ///
    /// # Errors
    /// As for [`Topics::open`], the checks apart.
    pub(super) fn freshen(&self, now: bool) -> Result<()> {
        if now || self.view().at.elapsed() >= self.shared.refresh * STALE_AFTER {
            self.shared.renew_now()?;
        }
        Ok(())
    }
}

/// What to do about `topics` that are not among those that are `there`.
fn meant(topics: &[String], there: &[String]) -> String {
    let near: BTreeSet<&str> = topics
        .iter()
        .filter_map(|topic| nearest(topic, there.iter().filter(|name| *name != topic).map(String::as_str)))
        .collect();
    let near: Vec<&str> = near.into_iter().collect();
    match near.is_empty() {
        true => "check subscribe, or create the topic first".to_owned(),
        false => format!("did you mean {}? check subscribe, or create the topic first", near.join(", ")),
    }
}

/// How often the view is renewed under `topic.metadata.refresh.interval.ms`; librdkafka takes 0 for never.
fn refresh_interval(ms: u64) -> Duration {
    match ms {
        0 => METADATA_REFRESH,
        ms => Duration::from_millis(ms).clamp(METADATA_REFRESH_MIN, METADATA_REFRESH),
    }
}

impl Drop for Topics {
    fn drop(&mut self) {
        *self.shared.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.ended.notify_all();
    }
}

impl Shared {
    fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a view in place, unless a newer one is there.
    fn put(&self, view: View) {
        let mut place = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        if place.at <= view.at {
            *place = Arc::new(view);
        }
    }

    fn renew(&self) {
        loop {
            let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = self.ended.wait_timeout_while(over, self.refresh, |over| !*over);
            if *waited.unwrap_or_else(PoisonError::into_inner).0 {
                return;
            }
            if let Err(error) = self.renew_now() {
                debug!(%error, "the topics could not be described in the background");
            }
        }
    }

    fn renew_now(&self) -> Result<()> {
        let knows_ids = !self.view().ids.known.is_empty();
        let deadline = if knows_ids { REQUEST_TIMEOUT } else { Duration::ZERO };
        let view = self.describe_subscription(deadline)?;
        let (partitions, elapsed) = (view.partitions.len(), view.at.elapsed());
        debug!(partitions, elapsed_ms = elapsed.as_millis() as u64, "the topics were described");
        self.put(view);
        Ok(())
    }

    /// The subscription as it is now; `deadline` is for the ids, see [`Cluster::add_ids`].
    fn describe_subscription(&self, deadline: Duration) -> Result<View> {
        let at = Instant::now();
        let (mut topics, brokers) = match &self.cluster.options.subscription {
            Subscription::Topics(topics) => self.describe(topics.iter().map(String::as_str))?,
            Subscription::Pattern(_) => self.describe_matching()?,
            Subscription::Assign(partitions) => self.describe(partitions.iter().map(|p| &*p.topic))?,
        };
        let ids = if topics.is_empty() {
            TopicIds::default()
        } else {
            self.cluster.add_ids(&mut topics, &brokers, deadline)?
        };
        let (mut partitions, mut missing) = (Vec::new(), Vec::new());
        for topic in topics {
            let numbers = match topic.partitions {
                Ok(numbers) => numbers,
                Err(code) if is_missing(code) => {
                    missing.push(topic.name);
                    continue;
                }
                Err(code) => return Err(self.not_described(&topic.name, code)),
            };
            if topic.internal && self.pattern.is_some() {
                continue;
            }
            let name: Arc<str> = topic.name.into();
            partitions.extend(numbers.into_iter().map(|n| TopicPartition::new(Arc::clone(&name), n)));
        }
        if let Subscription::Assign(assigned) = &self.cluster.options.subscription {
            partitions.retain(|partition| assigned.contains(partition));
        }
        partitions.sort();
        Ok(View { partitions, missing, ids, at })
    }

    /// The error for a topic that the brokers do not describe.
    fn not_described(&self, topic: &str, code: RDKafkaErrorCode) -> Error {
        let error = RequestError { code, text: code.to_string() };
        match self.cluster.client() {
            Ok(client) => failed(&self.cluster.options, &client, &format!("describe topic {topic}"), &error),
            Err(error) => error,
        }
    }

    /// The topics of these names as metadata describes them, and the ids of the brokers.
    fn describe<'n>(
        &self,
        names: impl Iterator<Item = &'n str>,
    ) -> Result<(Vec<TopicDescription>, Vec<i32>)> {
        const WHAT: &str = "describe the topics";
        let names: BTreeSet<&str> = names.collect();
        let (mut topics, mut brokers) = (Vec::with_capacity(names.len()), Vec::new());
        if names.len() > TOPICS_SINGLY_MAX {
            let all = self.cluster.metadata(None, WHAT)?;
            brokers = all.broker_ids();
            let wanted = all.topics(|name| names.contains(name));
            topics.extend(wanted.into_iter().filter(|topic| topic.partitions.is_ok()));
        }
        let found: BTreeSet<String> = topics.iter().map(|topic| topic.name.clone()).collect();
        // A list of all topics leaves out what may not be seen: only the topic's own answer says why.
        for name in names.into_iter().filter(|name| !found.contains(*name)) {
            let metadata = self.cluster.metadata(Some(name), WHAT)?;
            brokers = metadata.broker_ids();
            topics.push(metadata.topics(|topic| topic == name).pop().unwrap_or_else(|| missing(name)));
        }
        Ok((topics, brokers))
    }

    /// All topics in whose name the pattern is found anywhere.
    fn describe_matching(&self) -> Result<(Vec<TopicDescription>, Vec<i32>)> {
        let metadata = self.cluster.metadata(None, "list the topics")?;
        let matches = |name: &str| self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(name));
        Ok((metadata.topics(matches), metadata.broker_ids()))
    }
}

/// A topic that the brokers do not name.
fn missing(name: &str) -> TopicDescription {
    let partitions = Err(RDKafkaErrorCode::UnknownTopicOrPartition);
    TopicDescription { name: name.to_owned(), id: None, internal: false, partitions }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_is_nearly_there_is_suggested() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let there = names(&["orders", "device_events", "__consumer_offsets"]);
        assert!(meant(&names(&["order"]), &there).starts_with("did you mean orders? "));
        assert!(meant(&names(&["device-event"]), &there).starts_with("did you mean device_events? "));
        assert_eq!(meant(&names(&["payments"]), &there), "check subscribe, or create the topic first");
    }
}
