//! The brokers' view of a subscription: which partitions there are, where they start and end.
//!
//! One client per stream, asked once per trigger. On an idle stream a call is one ListOffsets round trip per
//! broker; partitions are looked up again when that view is older than [`METADATA_REFRESH`] or an answer
//! contradicts it. Blocking: call it from a thread that may wait. Every call is bounded in time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;
use regex::Regex;
use tracing::{debug, warn};

use super::client::{self, REQUEST_TIMEOUT, Role, failed, is_forbidden, is_missing, is_refusal};
use super::limit::MinOffsets;
use super::loss::Latest;
use super::native::{self, Client, OffsetAnswer, OffsetSpec, RequestError, TopicDescription, list_offsets};
use super::start::{Start, starts, without_record};
use super::topic_ids::{CONTROLLER_TIMEOUT, TopicIds};
use crate::config::kafka::{Isolation, KafkaOptions, Subscription};
use crate::model::{Error, Offsets, Result, TopicPartition};

/// How old the list of partitions may become before it is asked for again.
pub const METADATA_REFRESH: Duration = Duration::from_secs(10);

/// How long brokers that all refuse connections are waited for.
const ALL_DOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// A Kafka subscription, open.
pub struct KafkaSource {
    pub(super) options: KafkaOptions,
    pub(super) client: Arc<Client>,
    pattern: Option<Regex>,
    refresh: Duration,
    view: Mutex<View>,
    /// `minOffsetsPerTrigger`, if it is given.
    pub(super) min_offsets: Option<MinOffsets>,
}

/// The partitions of the subscription as last described.
pub(super) struct View {
    pub(super) partitions: Vec<TopicPartition>,
    pub(super) ids: TopicIds,
    at: Instant,
}

impl KafkaSource {
    /// Connects and finds the subscription's partitions.
    ///
    /// # Errors
    /// `Unavailable` if no broker answers within 15 seconds, the controller included; `Config` if the login or TLS fails, a property
    /// or the pattern is wrong, a subscribed topic does not exist, or nothing matches the subscription.
    pub fn open(options: &KafkaOptions) -> Result<KafkaSource> {
        let client = client::open(options, Role::Admin)?;
        let pattern = match &options.subscription {
            Subscription::Pattern(pattern) => Some(Regex::new(pattern).map_err(|error| {
                Error::config(format!("subscribePattern {pattern:?} is not a regular expression"))
                    .source(error)
                    .hint("look-around and back-references of Java are not supported")
            })?),
            Subscription::Topics(_) | Subscription::Assign(_) => None,
        };
        let refresh = options
            .client
            .get("topic.metadata.refresh.interval.ms")
            .and_then(|ms| ms.parse().ok())
            .map_or(METADATA_REFRESH, |ms| Duration::from_millis(ms).min(METADATA_REFRESH));
        let view = View { partitions: Vec::new(), ids: TopicIds::default(), at: Instant::now() };
        let min_offsets =
            options.min_offsets_per_trigger.map(|min| MinOffsets::new(min, options.max_trigger_delay));
        let options = options.clone();
        let source = KafkaSource { options, client, pattern, refresh, view: Mutex::new(view), min_offsets };
        let (view, missing) = source.look(CONTROLLER_TIMEOUT)?;
        source.check_subscription(&view, &missing)?;
        *source.view() = view;
        Ok(source)
    }

    /// The view, for as long as it is held.
    pub(super) fn view(&self) -> std::sync::MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the source was opened with.
    pub fn options(&self) -> &KafkaOptions {
        &self.options
    }

    /// The partitions that are read, as last seen, in order.
    pub fn partitions(&self) -> Vec<TopicPartition> {
        self.view().partitions.clone()
    }

    /// Where a new query starts, by `startingOffsets` and its relatives.
    ///
    /// # Errors
    /// `Config` if given offsets or times do not name exactly the partitions read, or no record is at or
    /// after a starting time under the strategy `error`; `Unavailable` if the brokers do not answer.
    pub fn initial_offsets(&self) -> Result<Offsets> {
        let starts = starts(&self.options.starting, &self.partitions())?;
        let mut offsets = BTreeMap::new();
        let mut asked = Vec::new();
        for (partition, start) in starts {
            match start {
                Start::At(offset) => {
                    offsets.insert(partition, offset);
                }
                Start::Ask(spec) => asked.push((partition, spec)),
            }
        }
        let mut without = Vec::new();
        for (partition, offset) in self.ask(&asked)? {
            if offset < 0 {
                without.push(partition);
            } else {
                offsets.insert(partition, offset);
            }
        }
        if !without.is_empty() {
            let spec = without_record(&without, self.options.timestamp_strategy)?;
            let asked: Vec<_> = without.into_iter().map(|partition| (partition, spec)).collect();
            offsets.extend(self.ask(&asked)?);
        }
        Ok(Offsets(offsets))
    }

    /// The end of every partition now, under the stream's isolation level, and how the partitions differ
    /// from those of `known`, the next offsets to read.
    ///
    /// A partition that vanished or whose end went backwards is asked for again `fetchOffset.numRetries`
    /// times before it is believed, because a broker that has just taken over may answer so for a moment.
    ///
    /// # Errors
    /// `Unavailable` if the brokers do not answer; `Config` if they refuse.
    pub fn latest(&self, known: &Offsets) -> Result<Latest> {
        let attempts = self.options.fetch_offset_retries.max(1);
        let mut attempt = 0;
        loop {
            attempt += 1;
            self.refresh_view(attempt > 1)?;
            let partitions = self.partitions();
            let asked: Vec<_> = partitions.iter().map(|p| (p.clone(), OffsetSpec::Latest)).collect();
            let mut end = BTreeMap::new();
            let mut doubt: Option<(TopicPartition, RDKafkaErrorCode)> = None;
            for (partition, answer) in self.list(&asked)? {
                match answer {
                    Ok(offset) => {
                        end.insert(partition, offset);
                    }
                    Err(code) => doubt = Some((partition, code)),
                }
            }
            let there: BTreeSet<&TopicPartition> = partitions.iter().collect();
            let vanished: Vec<_> = known.0.keys().filter(|p| !there.contains(p)).cloned().collect();
            let backwards = end.iter().any(|(p, &end)| known.get(p).is_some_and(|next| end < next));
            let sure = doubt.is_none() && end.len() == partitions.len();
            if sure && ((vanished.is_empty() && !backwards) || attempt >= attempts) {
                return self.with_added(Offsets(end), vanished, known);
            }
            if attempt >= attempts {
                return Err(self.unanswered(doubt));
            }
            debug!(attempt, vanished = vanished.len(), backwards, "offsets are asked for again");
            thread::sleep(self.options.fetch_offset_retry_interval);
        }
    }

    /// Adds where the partitions start that are not known yet: one whose leader does not say so is not lost.
    fn with_added(&self, end: Offsets, vanished: Vec<TopicPartition>, known: &Offsets) -> Result<Latest> {
        let new = end.0.keys().filter(|p| known.get(p).is_none());
        let asked: Vec<_> = new.map(|p| (p.clone(), OffsetSpec::Earliest)).collect();
        let added = self.ask(&asked)?.into_iter().collect();
        Ok(Latest { end, added: Offsets(added), vanished })
    }

    fn unanswered(&self, doubt: Option<(TopicPartition, RDKafkaErrorCode)>) -> Error {
        let what = match doubt {
            Some((partition, code)) => format!("an offset of partition {partition} cannot be found: {code}"),
            None => "offsets of some partitions cannot be found".to_owned(),
        };
        Error::unavailable(what).hint("raise fetchOffset.numRetries if partitions often have no leader")
    }

    /// Offsets of all partitions asked for, retried as far as the options allow.
    fn ask(&self, asked: &[(TopicPartition, OffsetSpec)]) -> Result<Vec<(TopicPartition, i64)>> {
        let attempts = self.options.fetch_offset_retries.max(1);
        for attempt in 1.. {
            let answers = self.list(asked)?;
            let doubt = answers.iter().find_map(|(p, answer)| Some((p.clone(), answer.err()?)));
            if doubt.is_none() && answers.len() == asked.len() {
                return Ok(answers.into_iter().filter_map(|(p, answer)| Some((p, answer.ok()?))).collect());
            }
            if attempt >= attempts {
                return Err(self.unanswered(doubt));
            }
            thread::sleep(self.options.fetch_offset_retry_interval);
        }
        Err(Error::internal("the attempts to list offsets have no end"))
    }

    fn list(&self, asked: &[(TopicPartition, OffsetSpec)]) -> Result<Vec<OffsetAnswer>> {
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        native::serve(&self.client);
        let committed_only = self.options.isolation == Isolation::ReadCommitted;
        let hopeless = self.hopeless();
        let answers = match list_offsets(&self.client, asked, committed_only, REQUEST_TIMEOUT, &hopeless) {
            Ok(answers) => answers,
            // The brokers answer, but know a leader of none of the partitions.
            Err(error) if error.code == RDKafkaErrorCode::NoEnt && !hopeless() => {
                let unknown = RDKafkaErrorCode::UnknownTopicOrPartition;
                asked.iter().map(|(partition, _)| (partition.clone(), Err(unknown))).collect()
            }
            Err(error) => return Err(failed(&self.options, &self.client, "list offsets", &error)),
        };
        self.client.context().forget();
        if let Some((partition, Err(code))) = answers
            .iter()
            .find(|(_, answer)| answer.is_err_and(|code| is_forbidden(code) || is_refusal(code)))
        {
            let error = RequestError { code: *code, text: code.to_string() };
            let what = format!("list offsets of partition {partition}");
            return Err(failed(&self.options, &self.client, &what, &error));
        }
        Ok(answers)
    }

    /// Whether more waiting is in vain: the login is refused, or no broker has been up for seconds.
    pub(super) fn hopeless(&self) -> impl Fn() -> bool {
        let since = Instant::now();
        move || match self.client.context().trouble() {
            Some(trouble) if is_refusal(trouble.code) => true,
            Some(trouble) if trouble.code == RDKafkaErrorCode::SSL => since.elapsed() > ALL_DOWN_TIMEOUT,
            Some(trouble) if trouble.code == RDKafkaErrorCode::AllBrokersDown => {
                since.elapsed() > ALL_DOWN_TIMEOUT
            }
            _ => false,
        }
    }

    fn refresh_view(&self, now: bool) -> Result<()> {
        let (age, knows_ids) = {
            let view = self.view();
            (view.at.elapsed(), !view.ids.known.is_empty())
        };
        if now || age >= self.refresh {
            let (view, _) = self.look(if knows_ids { REQUEST_TIMEOUT } else { Duration::ZERO })?;
            *self.view() = view;
        }
        Ok(())
    }

    /// The subscription as it is now, and the topics of it that are not there; `deadline` is for the ids, see
    /// [`KafkaSource::add_ids`].
    fn look(&self, deadline: Duration) -> Result<(View, Vec<String>)> {
        let at = Instant::now();
        let names = match &self.options.subscription {
            Subscription::Topics(topics) => topics.clone(),
            Subscription::Pattern(_) => self.matching_topics()?,
            Subscription::Assign(partitions) => {
                let names: BTreeSet<&str> = partitions.iter().map(|p| &*p.topic).collect();
                names.into_iter().map(str::to_owned).collect()
            }
        };
        let (mut partitions, mut missing) = (Vec::new(), Vec::new());
        let (topics, ids) = self.describe(&names, deadline)?;
        for topic in topics {
            let numbers = match topic.partitions {
                Ok(numbers) => numbers,
                Err(code) if is_missing(code) => {
                    missing.push(topic.name);
                    continue;
                }
                Err(code) => {
                    let error = RequestError { code, text: code.to_string() };
                    let what = format!("describe topic {}", topic.name);
                    return Err(failed(&self.options, &self.client, &what, &error));
                }
            };
            if topic.internal && self.pattern.is_some() {
                continue;
            }
            let name: Arc<str> = topic.name.into();
            partitions.extend(numbers.into_iter().map(|n| TopicPartition::new(Arc::clone(&name), n)));
        }
        if let Subscription::Assign(assigned) = &self.options.subscription {
            partitions.retain(|partition| assigned.contains(partition));
        }
        partitions.sort();
        Ok((View { partitions, ids, at }, missing))
    }

    fn describe(&self, names: &[String], deadline: Duration) -> Result<(Vec<TopicDescription>, TopicIds)> {
        let (mut topics, mut brokers) = (Vec::with_capacity(names.len()), Vec::new());
        for name in names {
            let metadata = self.metadata(Some(name), "describe the topics")?;
            brokers = metadata.brokers().iter().map(|broker| broker.id()).collect();
            topics.push(described(name, &metadata));
        }
        if topics.is_empty() {
            return Ok((topics, TopicIds::default()));
        }
        self.client.context().forget();
        let ids = self.add_ids(&mut topics, &brokers, deadline)?;
        Ok((topics, ids))
    }

    /// The names of all topics in which the pattern is found anywhere.
    fn matching_topics(&self) -> Result<Vec<String>> {
        let Some(pattern) = &self.pattern else { return Ok(Vec::new()) };
        let metadata = self.metadata(None, "list the topics")?;
        let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
        Ok(names.filter(|name| pattern.is_match(name)).collect())
    }

    /// What the brokers say of one topic, or of all.
    fn metadata(&self, topic: Option<&str>, what: &str) -> Result<Metadata> {
        let hopeless = self.hopeless();
        let step = REQUEST_TIMEOUT / 5;
        for _ in 0..5 {
            match self.client.fetch_metadata(topic, step) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => debug!(%error, what, "asked for again"),
            }
            native::serve(&self.client);
            if hopeless() {
                break;
            }
        }
        let error =
            RequestError { code: RDKafkaErrorCode::OperationTimedOut, text: "no answer in time".to_owned() };
        Err(failed(&self.options, &self.client, what, &error))
    }

    fn check_subscription(&self, view: &View, missing: &[String]) -> Result<()> {
        let brokers = client::brokers(&self.options);
        match &self.options.subscription {
            Subscription::Topics(_) if !missing.is_empty() => {
                Err(Error::config(format!("topic {} does not exist at {brokers}", missing.join(", ")))
                    .hint("check subscribe, or create the topic first"))
            }
            Subscription::Pattern(pattern) if view.partitions.is_empty() => {
                Err(Error::config(format!("no topic at {brokers} matches subscribePattern {pattern:?}"))
                    .hint("check subscribePattern; it is found anywhere in a name unless anchored"))
            }
            Subscription::Assign(_) if view.partitions.is_empty() => {
                Err(Error::config(format!("none of the assigned partitions exists at {brokers}"))
                    .hint("check assign"))
            }
            Subscription::Assign(assigned) => {
                let lacking = assigned.iter().filter(|p| !view.partitions.contains(p));
                let lacking: Vec<String> = lacking.map(ToString::to_string).collect();
                if !lacking.is_empty() {
                    warn!("assigned partitions that do not exist are left out: {}", lacking.join(", "));
                }
                Ok(())
            }
            Subscription::Topics(_) | Subscription::Pattern(_) => Ok(()),
        }
    }
}

/// A topic as plain metadata describes it.
fn described(name: &str, metadata: &Metadata) -> TopicDescription {
    let topic = metadata.topics().iter().find(|topic| topic.name() == name);
    let partitions = match topic {
        None => Err(RDKafkaErrorCode::UnknownTopicOrPartition),
        Some(topic) => match topic.error() {
            Some(error) => Err(error.into()),
            None => Ok(topic.partitions().iter().map(|partition| partition.id()).collect()),
        },
    };
    TopicDescription { name: name.to_owned(), id: None, internal: name.starts_with("__"), partitions }
}
