//! The one place that knows which formats there are: from a stream's configuration to its source and sink.
//!
//! Nothing is made or changed here: a source may ask its service, a sink reads its target.

use tokio::runtime::Handle;
use url::Url;

use crate::config::{KafkaColumn, SinkConfig, StreamConfig};
use crate::model::Result;
use crate::sink::{DeltaAppend, Sink};
use crate::source::Source;
use crate::source::kafka::{KafkaSource, with_headers};
use crate::storage::{Deadline, Store};

/// How storage is used for a stream.
#[derive(Debug, Clone)]
pub struct Access {
    /// Where storage calls run.
    pub handle: Handle,
    /// When they are given up; `None`: never.
    pub deadline: Option<Deadline>,
}

impl Access {
    /// The folder at `url`, under the stream's storage options.
    ///
    /// # Errors
    /// As for [`Store::open`].
    pub fn store(&self, config: &StreamConfig, url: &Url) -> Result<Store> {
        let store = Store::open(url, &config.storage.0)?;
        Ok(match &self.deadline {
            Some(deadline) => store.with_deadline(deadline.clone()),
            None => store,
        })
    }

    /// The stream's checkpoint.
    ///
    /// # Errors
    /// As for [`Store::open`].
    pub fn checkpoint(&self, config: &StreamConfig) -> Result<Store> {
        self.store(config, &config.checkpoint)
    }
}

/// The stream's source.
///
/// # Errors
/// `Config` if the options name what is not there; `Unavailable` if the service does not answer.
pub fn source(config: &StreamConfig) -> Result<Box<dyn Source>> {
    let kafka = &config.source.kafka;
    // A dead letter is the whole record. Records without headers cost nothing more.
    let options = if config.dead_letter.is_some() { with_headers(kafka) } else { kafka.clone() };
    Ok(Box::new(KafkaSource::open(&options)?))
}

/// The columns of the source's records where their values are not decoded.
pub fn raw_columns(config: &StreamConfig) -> Vec<KafkaColumn> {
    let headers = config.source.kafka.include_headers;
    KafkaColumn::ALL.into_iter().filter(|column| headers || *column != KafkaColumn::Headers).collect()
}

/// The stream's sink, with its target as it is now.
///
/// # Errors
/// `Config` if it cannot be written; `Corrupt` or `Unavailable` if it cannot be read.
pub fn sink(config: &StreamConfig, access: &Access) -> Result<Box<dyn Sink>> {
    match &config.sink {
        SinkConfig::Delta(target) => {
            let store = access.store(config, &target.url)?;
            Ok(Box::new(DeltaAppend::open(target, store, &access.handle)?))
        }
    }
}
