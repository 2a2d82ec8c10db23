//! What is known of a Kafka source by its options.

use std::sync::Arc;

use super::KafkaSource;
use super::links::{links, may_read};
use crate::config::kafka::{KafkaOptions, Subscription};
use crate::model::Result;
use crate::model::numbers::counted;
use crate::source::{Link, Source, SourceOptions};
use crate::storage::credentials::{self, RenewedTokens};

impl SourceOptions for KafkaOptions {
    /// Headers belong to a whole record. Where there are none they cost nothing.
    fn open(&self, whole_records: bool) -> Result<Box<dyn Source>> {
        let include_headers = self.include_headers || whole_records;
        Ok(Box::new(KafkaSource::open(&KafkaOptions { include_headers, ..self.clone() })?))
    }

    fn words(&self) -> Option<String> {
        let what = match &self.subscription {
            Subscription::Topics(topics) if topics.len() == 1 => format!("topic {}", topics[0]),
            Subscription::Topics(topics) => format!("topics {}", topics.join(", ")),
            Subscription::Pattern(pattern) => format!("topics that match {pattern}"),
            Subscription::Assign(partitions) => counted(partitions.len() as u64, "named partition"),
        };
        Some(match self.max_offsets_per_trigger {
            Some(limit) => format!("{what}, at most {} in a micro-batch", counted(limit, "offset")),
            None => what,
        })
    }

    /// Not those of a secret that may be replaced in a file: they would be renewed by the old one.
    fn login_tokens(&self) -> Option<Arc<RenewedTokens>> {
        let login = self.security.tokens.as_ref().filter(|_| !self.token_login_may_change())?;
        Some(credentials::renewed(&login.identity, &login.scope))
    }

    fn links(&self) -> Vec<Link> {
        links(self)
    }

    fn has_rights(&self) -> bool {
        true
    }

    fn may_be_read(&self) -> Result<String> {
        may_read(self)
    }
}
