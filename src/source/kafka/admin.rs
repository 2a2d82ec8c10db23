//! How far a subscription reaches: where its partitions start and end now.
//!
//! Asked once per trigger. On an idle stream a call is one round trip of ListOffsets requests; which partitions there are
//! comes from the view that is renewed in the background, and is looked up at once only when an answer contradicts it.
//! Blocking: call it from a thread that may wait. Every call is bounded in time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread;

use tracing::debug;

use super::cluster::{Cluster, first_unanswered, unanswered};
use super::doubt::Doubted;
use super::limit::MinOffsets;
use super::login::Login;
use super::loss::Latest;
use super::mirror::Mirror;
use super::native::{OffsetAnswer, OffsetSpec};
use super::start::{Start, starts, without_record};
use super::view::{Topics, View};
use crate::config::kafka::KafkaOptions;
use crate::model::{Offsets, Result, TopicPartition};
use crate::storage::credentials::TokenProvider;

/// A Kafka subscription, open.
pub struct KafkaSource {
    pub(super) cluster: Arc<Cluster>,
    pub(super) topics: Topics,
    /// What the last look was told of partitions and does not believe yet.
    pub(super) doubted: Doubted,
    /// `minOffsetsPerTrigger`, if it is given.
    pub(super) min_offsets: Option<MinOffsets>,
    /// The consumer group that is told where the stream is, from the first commit on (`commitOffsets`).
    pub(super) mirror: Option<Mirror>,
}

impl KafkaSource {
    /// Connects and finds the subscription's partitions.
    ///
    /// # Errors
    /// `Unavailable` if no broker answers within 15 seconds, the controller included; `Config` if the login or TLS fails, or
    /// a property or the pattern is wrong.
    pub fn open(options: &KafkaOptions) -> Result<KafkaSource> {
        KafkaSource::open_as(options, Login::open(options)?)
    }

    /// For tests: the same, logging in with tokens of `provider` (SASL/OAUTHBEARER).
    ///
    /// # Errors
    /// As for [`KafkaSource::open`], and what the provider returns.
    pub fn open_with_tokens_for_tests(
        options: &KafkaOptions,
        provider: Arc<dyn TokenProvider>,
    ) -> Result<KafkaSource> {
        KafkaSource::open_as(options, Login::with_tokens(options, provider)?)
    }

    fn open_as(options: &KafkaOptions, login: Arc<Login>) -> Result<KafkaSource> {
        let cluster = Arc::new(Cluster::open(options, login)?);
        let topics = Topics::open(&cluster)?;
        let min_offsets =
            options.min_offsets_per_trigger.map(|min| MinOffsets::new(min, options.max_trigger_delay));
        Ok(KafkaSource { cluster, topics, doubted: Doubted::default(), min_offsets, mirror: None })
    }

    /// What the source was opened with.
    pub fn options(&self) -> &KafkaOptions {
        &self.cluster.options
    }

    /// The partitions that are read, as last seen, in order.
    pub fn partitions(&self) -> Vec<TopicPartition> {
        self.topics.view().partitions.clone()
    }

    /// The ids of the topics that are read, as last seen; an empty answer is one only if nothing of `needed`, the ids that
    /// the stream has read topics by, is there any more.
    ///
    /// # Errors
    /// `Config` if the brokers give a needed topic no id; `Unavailable` if they did not say it.
    pub fn topic_ids(&self, needed: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
        let view = self.topics.view();
        let there = |name: &str| view.partitions.iter().any(|partition| &*partition.topic == name);
        view.ids.all_of(needed, there, self.cluster.brokers())
    }

    /// The ids of the topics of `needed`, asked for now.
    ///
    /// # Errors
    /// As [`KafkaSource::topic_ids`].
    pub fn topic_ids_now(&self, needed: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
        self.cluster.topic_ids_now(needed)
    }

    /// Where a new query starts, by `startingOffsets` and its relatives.
    ///
    /// # Errors
    /// `Config` if a subscribed topic does not exist, nothing matches the subscription, given offsets or times do not name
    /// exactly the partitions read, or no record is at or after a starting time under the strategy `error`; `Unavailable`
    /// if the brokers do not answer.
    pub fn initial_offsets(&self) -> Result<Offsets> {
        self.topics.check_all_there()?;
        let starts = starts(&self.options().starting, &self.partitions())?;
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
        for (partition, listed) in self.cluster.ask(&asked)? {
            if listed.offset < 0 {
                without.push(partition);
            } else {
                offsets.insert(partition, listed.offset);
            }
        }
        if !without.is_empty() {
            let spec = without_record(&without, self.options().timestamp_strategy)?;
            let asked: Vec<_> = without.into_iter().map(|partition| (partition, spec)).collect();
            offsets.extend(self.cluster.ask(&asked)?.into_iter().map(|(p, listed)| (p, listed.offset)));
        }
        Ok(Offsets(offsets))
    }

    /// The end of every partition now, under the stream's isolation level.
    ///
    /// # Errors
    /// `Unavailable` if the brokers do not answer; `Config` if they refuse.
    pub(super) fn end_offsets(&self) -> Result<Offsets> {
        self.topics.freshen(false)?;
        let asked: Vec<_> = self.partitions().into_iter().map(|p| (p, OffsetSpec::Latest)).collect();
        Ok(Offsets(self.cluster.ask(&asked)?.into_iter().map(|(p, listed)| (p, listed.offset)).collect()))
    }

    /// The end of every partition now, under the stream's isolation level, and how the partitions differ
    /// from those of `known`, the next offsets to read.
    ///
    /// A partition that vanished or whose end went backwards is asked for again `fetchOffset.numRetries` times, because a
    /// broker that has just taken over may answer so for a moment. Whether what stays so is believed is decided in
    /// `admission`.
    ///
    /// # Errors
    /// `Unavailable` if the brokers do not answer; `Config` if they refuse.
    pub fn latest(&self, known: &Offsets) -> Result<Latest> {
        let attempts = self.options().fetch_offset_retries.max(1);
        let mut attempt = 0;
        loop {
            attempt += 1;
            self.topics.freshen(attempt > 1)?;
            let view = self.topics.view();
            let asked: Vec<_> = view.partitions.iter().map(|p| (p.clone(), OffsetSpec::Latest)).collect();
            let answers = self.cluster.list(&asked)?;
            let doubt = first_unanswered(&answers);
            let epoch_of =
                |(p, answer): &OffsetAnswer| Some((p.clone(), i64::from(answer.ok()?.leader_epoch?)));
            let epochs: BTreeMap<_, _> = answers.iter().filter_map(epoch_of).collect();
            let end: BTreeMap<_, _> =
                answers.into_iter().filter_map(|(p, answer)| Some((p, answer.ok()?.offset))).collect();
            let there: BTreeSet<&TopicPartition> = view.partitions.iter().collect();
            let absent = known.0.keys().filter(|p| !there.contains(p)).cloned();
            let (vanished, not_subscribed): (Vec<_>, Vec<_>) =
                absent.partition(|partition| self.topics.subscribes(partition));
            let backwards = end.iter().any(|(p, &end)| known.get(p).is_some_and(|next| end < next));
            let sure = doubt.is_none() && end.len() == view.partitions.len();
            if sure && ((vanished.is_empty() && !backwards) || attempt >= attempts) {
                self.check_missing(&view, known)?;
                self.topics.confirm_gone(&vanished)?;
                let epochs = Offsets(epochs);
                let latest =
                    Latest { end: Offsets(end), vanished, not_subscribed, epochs, ..Latest::default() };
                return self.with_added(latest, known);
            }
            if attempt >= attempts {
                return Err(unanswered(doubt));
            }
            debug!(attempt, vanished = vanished.len(), backwards, "offsets are asked for again");
            thread::sleep(self.options().fetch_offset_retry_interval);
        }
    }

    /// A subscription that names what is not there, and of which nothing was read, is a mistake. It is none where lost data is no
    /// error and the subscription is that of `known`: a topic may have been deleted, and its loss recorded, so that nothing is
    /// known of it any more. It is left out then, with a warning at the start.
    pub(super) fn check_missing(&self, view: &View, known: &Offsets) -> Result<()> {
        if known.0.is_empty() {
            return Ok(());
        }
        let is_known = |name: &String| known.0.keys().any(|partition| *partition.topic == **name);
        let new: Vec<String> = view.missing.iter().filter(|name| !is_known(name)).cloned().collect();
        let changed = known.0.keys().any(|partition| !self.topics.subscribes(partition));
        if !new.is_empty() && (changed || self.options().fail_on_data_loss) {
            return Err(self.topics.not_there(&new));
        }
        if changed && view.partitions.is_empty() { self.topics.check_all_there() } else { Ok(()) }
    }

    /// Adds where the partitions start that are not known yet: one whose leader does not say so is not lost.
    fn with_added(&self, latest: Latest, known: &Offsets) -> Result<Latest> {
        let new = latest.end.0.keys().filter(|p| known.get(p).is_none());
        let asked: Vec<_> = new.map(|p| (p.clone(), OffsetSpec::Earliest)).collect();
        let added = self.cluster.ask(&asked)?.into_iter().map(|(p, listed)| (p, listed.offset)).collect();
        Ok(Latest { added: Offsets(added), ..latest })
    }
}
