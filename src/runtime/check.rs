//! `alluvia check`: everything that a start checks, one by one, so that all that is wrong is said at once.
//!
//! Takes the path of a start ([`super::recovery`]) and writes no plan, no table and no lease; only probes of the
//! stores, which are removed again.

use std::collections::BTreeMap;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use url::Url;

use crate::checkpoint::{CheckpointLog, Decision, Lease, Planned, paths};
use crate::config::StreamConfig;
use crate::model::numbers::counted;
use crate::model::{Error, Notes, Result};
use crate::sink::Sink;
use crate::source::{From, Position, SourceRange};
use crate::storage::credentials::{self, TokenProvider};
use crate::storage::{Store, azure};

use super::dead_letter_tables;
use super::open::{self, Access};
use super::recovery;
use super::row_pipeline::RowPipeline;

/// How long a connection to a store is waited for.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// One thing that was checked.
#[derive(Debug)]
pub struct Finding {
    /// What: of a source on the network the links to it ([`open::source_links`]); of storage on Azure
    /// `storage` and `storageToken`; then `schema`, `source`, `read`, `table`, `deadLetter`, `checkpoint`, `owner`.
    pub step: &'static str,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a check.
#[derive(Debug)]
pub enum Outcome {
    /// It is well; what there is.
    Well(String),
    /// It is wrong.
    Wrong(Error),
    /// It was not tried, for it rests on this one, which is wrong.
    NotTried(&'static str),
}

impl Finding {
    /// What is wrong, if something is.
    pub fn error(&self) -> Option<&Error> {
        match &self.outcome {
            Outcome::Wrong(error) => Some(error),
            Outcome::Well(_) | Outcome::NotTried(_) => None,
        }
    }
}

/// What was found so far.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    /// Adds what was found; returns the step if it is wrong.
    fn note(&mut self, step: &'static str, result: Result<String>) -> Option<&'static str> {
        let (outcome, wrong) = match result {
            Ok(found) => (Outcome::Well(found), None),
            Err(error) => (Outcome::Wrong(error), Some(step)),
        };
        self.0.push(Finding { step, outcome });
        wrong
    }

    /// The step before that has failed with the same words.
    fn said_by(&self, error: &Error) -> Option<&'static str> {
        let said =
            |finding: &&Finding| finding.error().is_some_and(|said| said.to_string() == error.to_string());
        self.0.iter().find(said).map(|finding| finding.step)
    }

    fn not_tried(&mut self, step: &'static str, after: &'static str) {
        self.0.push(Finding { step, outcome: Outcome::NotTried(after) });
    }

    /// Tries a step that rests on another one, unless that is wrong.
    fn after(
        &mut self,
        broken: Option<&'static str>,
        step: &'static str,
        attempt: impl FnOnce() -> Result<String>,
    ) -> Option<&'static str> {
        match broken {
            None => self.note(step, attempt()),
            Some(link) => {
                self.not_tried(step, link);
                broken
            }
        }
    }
}

/// Checks a stream for a process of the name `owner` (empty for none); a start would succeed now if nothing is wrong.
pub fn check(config: &StreamConfig, access: &Access, owner: &str) -> Vec<Finding> {
    let mut row_pipeline = RowPipeline::of(config, access);
    let mut findings = Findings::default();
    findings.note("schema", schema(&row_pipeline));
    let stores = stores(config, &mut findings);
    let table = match stores {
        None => Some(sink(config, row_pipeline.as_mut().ok(), access)),
        Some(_) => None,
    };
    let checkpoint = match stores {
        None => Some(checkpoint(config, row_pipeline.as_ref().ok(), access)),
        Some(_) => None,
    };
    let mut broken = None;
    for (link, result) in open::source_links(config) {
        broken = findings.note(link, result);
    }
    let next = checkpoint.as_ref().and_then(|checkpoint| checkpoint.as_ref().ok());
    let broken =
        findings.after(broken, "source", || source(config, next.map_or(&NextBatch::First, |(_, next)| next)));
    if open::source_has_rights(config) {
        findings.after(broken, "read", || open::source_may_be_read(config));
    }
    findings.after(stores, "table", || table.unwrap_or_else(|| Err(untried())));
    if config.dead_letter.is_some() {
        findings.after(stores, "deadLetter", || dead_letters(config, access));
    }
    let found = checkpoint.map(|checkpoint| checkpoint.map(|(found, _)| found));
    let found = || found.unwrap_or_else(|| Err(untried()));
    let found = found();
    // The checkpoint is compared with the tables: what keeps one from being read is said once.
    match found.as_ref().err().and_then(|error| findings.said_by(error)) {
        Some(step) => findings.not_tried("checkpoint", step),
        None => drop(findings.after(stores, "checkpoint", || found)),
    }
    findings.after(stores, "owner", || may_own(config, access, owner));
    findings.0
}

fn untried() -> Error {
    Error::internal("a check that was not tried has no result")
}

/// The way to the stores of Azure: their hosts, and the token that opens them. Returns the link that is broken.
fn stores(config: &StreamConfig, findings: &mut Findings) -> Option<&'static str> {
    let tables =
        open::sink_url(config).into_iter().chain(config.dead_letter.as_ref().map(|target| &target.url));
    let mut hosts: Vec<String> =
        tables.chain([&config.checkpoint]).filter_map(|url| storage_host(url, &config.storage.0)).collect();
    hosts.sort();
    hosts.dedup();
    if hosts.is_empty() {
        return None;
    }
    let broken = findings.note(
        "storage",
        hosts.iter().map(|host| reach(host)).collect::<Result<Vec<_>>>().map(|found| found.join("; ")),
    );
    match credentials::for_storage(&config.storage.0) {
        Ok(None) => broken,
        Ok(Some(tokens)) => findings
            .after(broken, "storageToken", || Ok(credentials::described(tokens.as_ref(), &tokens.token()?))),
        Err(error) => findings.after(broken, "storageToken", || Err(error)),
    }
}

/// The host and port that requests for a folder of Azure go to; `None` for other stores.
fn storage_host(url: &Url, options: &BTreeMap<String, String>) -> Option<String> {
    let endpoint = Url::parse(&azure::endpoint(url, options)?).ok()?;
    Some(format!("{}:{}", endpoint.host_str()?, endpoint.port_or_known_default()?))
}

/// A connection to `host`, which is a name and a port.
fn reach(host: &str) -> Result<String> {
    let addresses = host.to_socket_addrs().map_err(|cause| {
        Error::config(format!("the host {host} of storage has no address"))
            .source(cause)
            .hint("check the account's name, and the DNS of this machine (a private endpoint must be one for blob, with the zone privatelink.blob.core.windows.net; one for dfs alone is not enough)")
    })?;
    let mut failed = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(_) => return Ok(format!("{host} is {} and takes connections", address.ip())),
            Err(cause) => failed = Some(cause),
        }
    }
    let error = Error::unavailable(format!("nothing takes a connection at {host}"))
        .hint("check the account's network rules, and firewalls on the way");
    Err(match failed {
        Some(cause) => error.source(cause),
        None => error,
    })
}

/// What the checkpoint says of the next micro-batch.
enum NextBatch {
    /// It is the first of a new query, or it cannot be known.
    First,
    /// It starts here; this many are done.
    From(Position, Option<i64>),
    /// It was planned and is run again.
    Planned(i64, SourceRange),
}

fn schema(row_pipeline: &Result<RowPipeline>) -> Result<String> {
    let row_pipeline = row_pipeline.as_ref().map_err(Error::again)?;
    let columns = row_pipeline.arrow_schema()?;
    row_pipeline.lane(None)?;
    Ok(counted(columns.fields().len() as u64, "column"))
}

/// Service, login, topic, and what there is to read from where the checkpoint goes on.
fn source(config: &StreamConfig, next: &NextBatch) -> Result<String> {
    let mut source = open::source(config)?;
    let (from, words) = match next {
        NextBatch::First => (From::New, "from where a new stream starts".to_owned()),
        NextBatch::From(position, None) => {
            (From::Position(position), "from where the stream starts".to_owned())
        }
        NextBatch::From(position, Some(batch)) => {
            (From::Position(position), format!("to read after micro-batch {batch}"))
        }
        NextBatch::Planned(batch, range) => {
            (From::Planned(range), format!("to read from micro-batch {batch} on"))
        }
    };
    let preview = source.preview(from)?;
    Ok(format!("{}: {preview} {words}", source.description()))
}

fn sink(config: &StreamConfig, row_pipeline: Option<&mut RowPipeline>, access: &Access) -> Result<String> {
    let sink = open::sink(config, access)?;
    let mut known = String::new();
    if let Some(row_pipeline) = row_pipeline {
        recovery::check_sink(sink.as_ref(), row_pipeline)?;
        let casts = row_pipeline.casts().iter().map(ToString::to_string);
        let warnings = sink.warnings(&row_pipeline.arrow_schema()?);
        known = casts.chain(warnings).map(|fact| format!("; {fact}")).collect();
    }
    Ok(can_be_written(sink.as_ref())? + &known)
}

fn dead_letters(config: &StreamConfig, access: &Access) -> Result<String> {
    let Some(table) = dead_letter_tables::open(config, access)? else { return Ok(String::new()) };
    recovery::check_dead_letters(&table)?;
    can_be_written(&table)
}

/// Tries to write where a stream writes.
fn can_be_written(sink: &dyn Sink) -> Result<String> {
    sink.probe()?;
    let target = sink.target();
    Ok(match (target.id, target.version) {
        (None, _) => format!("{} is not there yet and can be made", target.location),
        (Some(_), Some(version)) => format!("{} is at version {version} and can be written", target.location),
        (Some(_), None) => format!("{} can be written", target.location),
    })
}

/// Whom the checkpoint serves, whether it agrees with the targets, and where it goes on.
fn checkpoint(
    config: &StreamConfig,
    row_pipeline: Option<&RowPipeline>,
    access: &Access,
) -> Result<(String, NextBatch)> {
    let store = access.checkpoint(config)?;
    let log = CheckpointLog::new(store.clone(), config.min_batches_to_retain);
    let decision = recovery::inspect_contents(config, &log, access, row_pipeline)?.decision;
    for folder in [paths::OWN, paths::OFFSETS, paths::COMMITS] {
        store.probe_write(&format!("{folder}/probe"))?;
    }
    if store.url().scheme() == "file" {
        store.probe_write(&format!("{}/probe", paths::LEASE))?;
    }
    let url = store.url();
    Ok(match decision {
        Decision::StartFresh => match log.initial_offset(0)? {
            Some(offset) => {
                let start = Position { offset, notes: Notes::new() };
                (format!("{url} has planned nothing yet"), NextBatch::From(start, None))
            }
            None => (format!("{url} is new"), NextBatch::First),
        },
        Decision::PlanAfter(batch) | Decision::MendCommitLog(batch) => {
            let position = after(&log.planned(batch)?)?;
            (format!("{url} goes on after micro-batch {batch}"), NextBatch::From(position, Some(batch)))
        }
        Decision::Rerun(batch) => (
            format!("{url} goes on with micro-batch {batch}, which was planned"),
            NextBatch::Planned(batch, super::stream::range_of(&log.planned(batch)?)?),
        ),
    })
}

fn after(planned: &Planned) -> Result<Position> {
    let plan = planned.plan();
    Ok(Position { offset: plan.only_end()?.clone(), notes: plan.notes_of(0) })
}

fn may_own(config: &StreamConfig, access: &Access, name: &str) -> Result<String> {
    let store: Store = access.checkpoint(config)?;
    match Lease::owner(&store)? {
        None => Ok("no one runs the stream".into()),
        Some(other) if !name.is_empty() && other.name == name => {
            Ok(format!("{other} runs the stream under this owner name; a start would take the stream over"))
        }
        // The chart's jobs of a schedule: their names begin with that of the release, which checks them.
        Some(other)
            if !name.is_empty()
                && other.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('/')) =>
        {
            Ok(format!("{other} runs the stream; a start with --wait-for-lease waits until it has ended"))
        }
        Some(other) => Err(Error::fenced(format!("stream {} is run by {other}", config.name)).hint(
            "stop it first, start with --wait-for-lease or --take-over, or give this stream a checkpointLocation of its own",
        )),
    }
}
