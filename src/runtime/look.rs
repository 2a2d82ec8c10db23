//! A look at the source before a micro-batch is planned: how far it reaches, where to go on, what is gone.
//!
//! Reads only; whether a loss stops the stream is decided here, what is recorded of it by the plan.

use std::collections::BTreeMap;

use crate::checkpoint::Planned;
use crate::model::{Error, Loss, Offsets, Result};
use crate::source::kafka::{check_data_loss, losses, reconcile_positions, recreated};
use crate::source::{Latest, LossReason, LostRange, Source};

/// What was seen.
pub struct Seen {
    /// How far the source reaches.
    pub latest: Latest,
    /// Where the next batch starts, for every partition that it may read.
    pub start: Offsets,
    /// What is lost since the batch before: the next plan records it.
    pub lost: Vec<Loss>,
    /// The ids of the topics.
    pub topic_ids: BTreeMap<String, String>,
}

/// Looks at what there is behind `position`, read from the topics with `known_ids`.
///
/// # Errors
/// `Data` if something is lost and that is to stop the stream; what the source returns.
pub fn look(
    source: &dyn Source,
    position: &Offsets,
    known_ids: &BTreeMap<String, String>,
    fail_on_data_loss: bool,
) -> Result<Seen> {
    let mut latest = source.latest(position)?;
    let topic_ids = source.topic_ids(known_ids, false)?;
    let (position, mut lost) = reconcile_positions(position, known_ids, &topic_ids, &latest);
    if !lost.is_empty() {
        check_data_loss(&lost, fail_on_data_loss)?;
        latest = source.latest(&position)?;
    }
    lost.extend(losses(&position, &latest));
    check_data_loss(&lost, fail_on_data_loss)?;
    let start = latest.start(&position);
    Ok(Seen { latest, start, lost: lost.iter().map(Loss::from).collect(), topic_ids })
}

/// Gives every partition of a plan a start. A plan of Spark does not say where the partitions start that
/// no batch before it knew: as in Spark, at their earliest offset now. What lies before it is lost.
///
/// # Errors
/// `Data` if something is lost and that is to stop the stream; what the source returns.
pub fn start_added(
    source: &dyn Source,
    planned: Planned,
    fail_on_data_loss: bool,
) -> Result<(Planned, Vec<Loss>)> {
    let end = planned.ends_without_start();
    if end.0.is_empty() {
        return Ok((planned, Vec::new()));
    }
    let earliest = source.latest(planned.start())?.added;
    let within = end.0.iter().filter_map(|(p, until)| Some((p.clone(), earliest.get(p)?.min(*until))));
    let seen = Latest { added: Offsets(within.collect()), end, vanished: Vec::new() };
    let lost = losses(planned.start(), &seen);
    check_data_loss(&lost, fail_on_data_loss)?;
    // A partition that is gone has nothing left to read: it starts at its end.
    let planned = planned.with_starts(seen.added).with_starts(seen.end);
    Ok((planned, lost.iter().map(Loss::from).collect()))
}

/// The ranges of a plan that nobody can read any more, because their topics were made anew since.
///
/// # Errors
/// `Data` if there are any and that is to stop the stream.
pub fn gone(source: &dyn Source, planned: &Planned, fail_on_data_loss: bool) -> Result<Vec<Loss>> {
    let known = planned.plan().topic_ids();
    let now = source.topic_ids(&known, false)?;
    let names = recreated(&known, &now);
    let ranges = planned.start().ranges_to(&planned.plan().end)?.into_iter();
    let lost: Vec<LostRange> = ranges
        .filter(|range| names.contains(&&*range.partition.topic))
        .map(|range| LostRange { range, reason: LossReason::TopicRecreated, found: None })
        .collect();
    check_data_loss(&lost, fail_on_data_loss)?;
    Ok(lost.iter().map(Loss::from).collect())
}

/// Proves after the read that the records came from the topics that were planned: an id never comes back.
///
/// # Errors
/// `Conflict` if a topic was made anew meanwhile, those of `gone` apart; `Unavailable` if nobody says whether.
pub fn check_topics(source: &dyn Source, planned: &Planned, gone: &[Loss]) -> Result<()> {
    let mut known = planned.plan().topic_ids();
    known.retain(|name, _| !gone.iter().any(|loss| *loss.range.partition.topic == **name));
    if known.is_empty() {
        return Ok(());
    }
    match recreated(&known, &source.topic_ids(&known, true)?).first() {
        None => Ok(()),
        Some(name) => Err(Error::conflict(format!(
            "topic {name} was deleted and made anew while micro-batch {} was read",
            planned.plan().batch_id
        ))),
    }
}
