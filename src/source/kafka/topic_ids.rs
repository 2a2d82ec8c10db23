//! The ids of topics (KIP-516), which tell a topic that was deleted and made anew from the one that was read.
//!
//! Only DescribeTopics says them, and it goes to the controller. They may be missing for three reasons, and
//! only the first lets a stream go on that has known them: the topic is gone. Brokers before Kafka 2.8, and
//! some services, *give* none: then a stream that never knew any goes on without, told by an answer, never by
//! silence. And an answer may not come: that is waited for, then `Unavailable`. Where the cluster names no
//! controller there is nobody to ask (librdkafka's mock cluster is so, and a real one for a moment): a stream
//! that never knew an id does not wait for that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use tracing::debug;

use super::answer::is_silence;
use super::client::{REQUEST_TIMEOUT, failed};
use super::cluster::{Cluster, hopeless};
use super::native::{self, TopicDescription, describe_topics};
use crate::model::{Error, Result};

/// How long a cluster that names no controller is given to name one, when it is first asked.
pub(super) const CONTROLLER_TIMEOUT: Duration = Duration::from_millis(1500);
/// The pause before a question that was lost is asked again.
const AGAIN: Duration = Duration::from_millis(100);

/// What the brokers say of the ids of topics that exist. A topic in neither was not spoken of.
#[derive(Default)]
pub(super) struct TopicIds {
    /// The ids by topic.
    pub(super) known: BTreeMap<Arc<str>, String>,
    /// Topics that the brokers describe without one.
    pub(super) without: BTreeSet<Arc<str>>,
}

impl TopicIds {
    /// The ids by name.
    pub(super) fn by_name(&self) -> BTreeMap<String, String> {
        self.known.iter().map(|(name, id)| (name.to_string(), id.clone())).collect()
    }

    /// The ids, if every topic of `needed` that is `there` has one.
    ///
    /// # Errors
    /// `Config` if the brokers give it none, `Unavailable` if they did not say.
    pub(super) fn all_of(
        &self,
        needed: &BTreeMap<String, String>,
        there: impl Fn(&str) -> bool,
        brokers: &str,
    ) -> Result<BTreeMap<String, String>> {
        let lacks = |name: &&String| !self.known.contains_key(name.as_str()) && there(name);
        let Some(name) = needed.keys().find(lacks) else { return Ok(self.by_name()) };
        if self.without.contains(name.as_str()) {
            return Err(Error::config(format!(
                "Kafka at {brokers} gives no topic ids, but the stream has read topic {name} by its id: whether it is the same topic cannot be told"
            ))
            .hint("connect to the cluster that was read, or start the stream on a new checkpointLocation"));
        }
        Err(Error::unavailable(format!("Kafka at {brokers} does not say the id of topic {name}"))
            .hint("check that the cluster has a controller, and that all brokers can be reached from here"))
    }
}

impl Cluster {
    /// The ids of the topics of `needed`, asked for now.
    ///
    /// # Errors
    /// As [`TopicIds::all_of`].
    pub(super) fn topic_ids_now(
        &self,
        needed: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>> {
        if needed.is_empty() {
            return Ok(BTreeMap::new());
        }
        let names: Vec<String> = needed.keys().cloned().collect();
        let found = self.describe_ids(&names, &|| false)?;
        let there = |name: &str| found.iter().any(|topic| topic.name == name && topic.partitions.is_ok());
        ids_of(&found).all_of(needed, there, self.brokers())
    }

    /// Adds what only DescribeTopics says: a topic's id, and whether it is internal. `brokers` are those of
    /// the cluster; `deadline` is for one whose controller is none of them.
    ///
    /// # Errors
    /// `Unavailable` if there is a controller and it does not answer; `Config` if it refuses.
    pub(super) fn add_ids(
        &self,
        topics: &mut [TopicDescription],
        brokers: &[i32],
        deadline: Duration,
    ) -> Result<TopicIds> {
        let client = self.client()?;
        let nobody = || !brokers.contains(&native::controller(&client));
        if deadline.is_zero() && nobody() {
            return Ok(TopicIds::default());
        }
        let since = Instant::now();
        let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
        let give_up = || since.elapsed() >= deadline && nobody();
        let found = match self.describe_ids(&names, &give_up) {
            Err(_) if give_up() => {
                debug!("the cluster names no controller: nobody says the ids of the topics");
                return Ok(TopicIds::default());
            }
            found => found?,
        };
        let internal: BTreeSet<&str> =
            found.iter().filter(|topic| topic.internal).map(|topic| topic.name.as_str()).collect();
        for topic in topics {
            topic.internal |= internal.contains(topic.name.as_str());
        }
        Ok(ids_of(&found))
    }

    /// Asks the controller, again if the question was lost, until `give_up`.
    fn describe_ids(&self, names: &[String], give_up: &dyn Fn() -> bool) -> Result<Vec<TopicDescription>> {
        let client = self.client()?;
        let (since, hopeless) = (Instant::now(), hopeless(&client));
        let in_vain = || hopeless() || give_up();
        loop {
            native::serve(&client);
            let left = REQUEST_TIMEOUT.saturating_sub(since.elapsed());
            let error = match describe_topics(&client, names, left, &in_vain) {
                Ok(found) => return Ok(found),
                Err(error) if gives_none(error.code) => {
                    debug!(error = error.text, "the brokers do not describe topics");
                    return Ok(names.iter().map(|name| unnamed(name)).collect());
                }
                Err(error) => error,
            };
            let over = since.elapsed() + AGAIN >= REQUEST_TIMEOUT;
            if over || in_vain() || !is_silence(error.code) {
                let what = "ask for the ids of the topics";
                return Err(failed(&self.options, &client, what, &error));
            }
            debug!(error = error.text, "the ids of the topics are asked for again");
            std::thread::sleep(AGAIN);
        }
    }
}

/// Whether the answer is that there is no such request.
fn gives_none(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::UnsupportedFeature | RDKafkaErrorCode::UnsupportedVersion)
}

/// A topic as brokers describe it that know no ids.
fn unnamed(name: &str) -> TopicDescription {
    TopicDescription { name: name.to_owned(), id: None, internal: false, partitions: Ok(Vec::new()) }
}

fn ids_of(found: &[TopicDescription]) -> TopicIds {
    let mut ids = TopicIds::default();
    for topic in found.iter().filter(|topic| topic.partitions.is_ok()) {
        let name: Arc<str> = topic.name.as_str().into();
        match &topic.id {
            Some(id) => drop(ids.known.insert(name, id.clone())),
            None => drop(ids.without.insert(name)),
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;

    fn needed() -> BTreeMap<String, String> {
        BTreeMap::from([("t".to_owned(), "a".to_owned())])
    }

    #[test]
    fn an_id_that_is_needed_is_there_or_the_reason_why_not() {
        let described = |id: Option<&str>| {
            ids_of(&[TopicDescription { id: id.map(str::to_owned), partitions: Ok(vec![0]), ..unnamed("t") }])
        };
        let there = |ids: TopicIds| ids.all_of(&needed(), |_| true, "b");
        assert_eq!(there(described(Some("b"))).unwrap()["t"], "b");
        let none_given = there(described(None)).unwrap_err();
        assert_eq!(none_given.kind(), Kind::Config, "{none_given}");
        let unsaid = there(TopicIds::default()).unwrap_err();
        assert_eq!(unsaid.kind(), Kind::Unavailable, "{unsaid}");
        assert!(TopicIds::default().all_of(&needed(), |_| false, "b").unwrap().is_empty(), "it is gone");
        assert!(TopicIds::default().all_of(&BTreeMap::new(), |_| true, "b").unwrap().is_empty());
    }
}
