//! The cluster as one source sees it: a client, and the questions that are asked through it.
//!
//! Every question is bounded in time, and given up early where waiting is in vain: the login is refused, or no broker has
//! been up for seconds. Used by the stream's thread and by the one that renews the view of the topics.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use tracing::debug;

use super::answer::{is_forbidden, is_refusal};
use super::client::{self, REQUEST_TIMEOUT, Role, failed};
use super::login::Login;
use super::native::{
    self, Client, ListedOffset, Metadata, OffsetAnswer, OffsetSpec, RequestError, list_offsets,
};
use crate::config::kafka::{Isolation, KafkaOptions};
use crate::model::{Error, Result, TopicPartition};

/// How long brokers that all refuse connections are waited for.
const ALL_DOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// A client of a source, and the source's options.
pub(super) struct Cluster {
    pub(super) options: KafkaOptions,
    pub(super) login: Arc<Login>,
    client: Mutex<(Arc<Client>, u64)>,
}

impl Cluster {
    /// Makes the client; no broker is asked yet.
    ///
    /// # Errors
    /// As for [`Login::client`].
    pub(super) fn open(options: &KafkaOptions, login: Arc<Login>) -> Result<Cluster> {
        let client = Mutex::new(login.client(options, Role::Admin)?);
        Ok(Cluster { options: options.clone(), login, client })
    }

    /// The client, made again if its credentials have changed.
    ///
    /// # Errors
    /// As for [`Login::client`].
    pub(super) fn client(&self) -> Result<Arc<Client>> {
        let version = self.login.version();
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if client.1 != version {
            *client = self.login.client(&self.options, Role::Admin)?;
        }
        Ok(Arc::clone(&client.0))
    }

    /// Offsets of all partitions asked for, retried as far as the options allow.
    ///
    /// # Errors
    /// `Unavailable` if a partition has no answer then; `Config` if the brokers refuse.
    pub(super) fn ask(
        &self,
        asked: &[(TopicPartition, OffsetSpec)],
    ) -> Result<Vec<(TopicPartition, ListedOffset)>> {
        let attempts = self.options.fetch_offset_retries.max(1);
        for attempt in 1.. {
            let answers = self.list(asked)?;
            let doubt = first_unanswered(&answers);
            if doubt.is_none() && answers.len() == asked.len() {
                return Ok(answers.into_iter().filter_map(|(p, answer)| Some((p, answer.ok()?))).collect());
            }
            if attempt >= attempts {
                return Err(unanswered(doubt));
            }
            thread::sleep(self.options.fetch_offset_retry_interval);
        }
        Err(Error::internal("the attempts to list offsets have no end"))
    }

    /// Offsets as the leaders answer now; of partitions without one, why not.
    ///
    /// # Errors
    /// `Unavailable` if the brokers do not answer; `Config` if they refuse.
    pub(super) fn list(&self, asked: &[(TopicPartition, OffsetSpec)]) -> Result<Vec<OffsetAnswer>> {
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let client = self.client()?;
        native::serve(&client);
        let committed_only = self.options.isolation == Isolation::ReadCommitted;
        let hopeless = hopeless(&client);
        let answers = list_offsets(&client, asked, committed_only, REQUEST_TIMEOUT, &hopeless)
            .map_err(|error| failed(&self.options, &client, "list offsets", &error))?;
        client.context().forget();
        if let Some((partition, Err(code))) = answers
            .iter()
            .find(|(_, answer)| answer.is_err_and(|code| is_forbidden(code) || is_refusal(code)))
        {
            let error = RequestError { code: *code, text: code.to_string() };
            let what = format!("list offsets of partition {partition}");
            return Err(failed(&self.options, &client, &what, &error));
        }
        Ok(answers)
    }

    /// What the brokers say of one topic, or of all.
    ///
    /// # Errors
    /// As for [`Cluster::list`].
    pub(super) fn metadata(&self, topic: Option<&str>, what: &str) -> Result<Metadata> {
        let client = self.client()?;
        let hopeless = hopeless(&client);
        let step = REQUEST_TIMEOUT / 5;
        for _ in 0..5 {
            match Metadata::fetch(&client, topic, step) {
                Ok(metadata) => {
                    client.context().forget();
                    return Ok(metadata);
                }
                Err(error) => debug!(%error, what, "asked for again"),
            }
            native::serve(&client);
            if hopeless() {
                break;
            }
        }
        let error =
            RequestError { code: RDKafkaErrorCode::OperationTimedOut, text: "no answer in time".to_owned() };
        Err(failed(&self.options, &client, what, &error))
    }

    /// The addresses, for messages.
    pub(super) fn brokers(&self) -> &str {
        client::brokers(&self.options)
    }
}

/// Whether more waiting is in vain: the login is refused, or no broker has been up for seconds.
pub(super) fn hopeless(client: &Arc<Client>) -> impl Fn() -> bool {
    let (client, since) = (Arc::clone(client), Instant::now());
    move || match client.context().trouble() {
        Some(trouble) if is_refusal(trouble.code) => true,
        Some(trouble) if matches!(trouble.code, RDKafkaErrorCode::SSL | RDKafkaErrorCode::AllBrokersDown) => {
            since.elapsed() > ALL_DOWN_TIMEOUT
        }
        _ => false,
    }
}

/// The first partition whose leader does not state its offset, and why not.
pub(super) fn first_unanswered(answers: &[OffsetAnswer]) -> Option<(TopicPartition, RDKafkaErrorCode)> {
    answers.iter().find_map(|(partition, answer)| Some((partition.clone(), answer.err()?)))
}

/// The error for offsets that nobody states.
pub(super) fn unanswered(doubt: Option<(TopicPartition, RDKafkaErrorCode)>) -> Error {
    let what = match doubt {
        Some((partition, code)) => format!("an offset of partition {partition} cannot be found: {code}"),
        None => "offsets of some partitions cannot be found".to_owned(),
    };
    Error::unavailable(what).hint("raise fetchOffset.numRetries if partitions often have no leader")
}
