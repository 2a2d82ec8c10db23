//! The commands beside `run`, and what a person reads on a terminal.

mod check;
#[cfg(any(debug_assertions, feature = "failpoints"))]
pub mod check_chain;
mod checkpoint;
mod demo;
mod refusals;
mod schema_infer;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod table;
mod terminal;

use crate::rig::Broker;

/// `ingest` of a topic that the broker does not have.
fn ingest_of_no_topic(broker: &Broker) -> [&str; 7] {
    let servers = broker.bootstrap();
    ["ingest", "--bootstrap-servers", servers, "--topic", "no-such-topic", "--table", "./table"]
}
