//! `kafka.*` properties of Java's consumer, as Spark's users paste them, to librdkafka's.
//!
//! What has the same meaning passes under its name; what is spelled otherwise is renamed; logins, trust stores and
//! key stores are taken apart in [`super::security`]. Nothing is dropped in silence: the lists in
//! [`crate::config::option_lists`] decide.

use std::collections::BTreeMap;

use super::credentials::Security;
use super::given::Given;
use super::{Isolation, security};
use crate::config::document::Entry;
use crate::config::origin::Origin;
use crate::config::reader::Reader;
use crate::config::secrets;

/// What the `kafka.*` properties say.
pub(crate) struct ClientProperties {
    pub group_id: Option<String>,
    pub isolation: Isolation,
    /// Under librdkafka's names.
    pub client: BTreeMap<String, String>,
    pub security: Security,
}

/// Reads the properties; `origin` and `path` are those of the mapping they stand in.
pub(crate) fn read(
    reader: &mut Reader<'_>,
    entries: &[&Entry],
    origin: &Origin,
    path: &str,
    stream: &str,
) -> Option<ClientProperties> {
    let mut given =
        Given { by_name: BTreeMap::new(), client: BTreeMap::new(), security: Security::default() };
    let mut resolved = true;
    for entry in entries {
        resolved &= given.take(reader, entry, path, stream).is_some();
    }
    if !resolved {
        // What belongs together can only be judged when all of it is known.
        return None;
    }
    match given.by_name.get("bootstrap.servers") {
        Some(servers) => {
            let mut hosts = servers.value.split(',').filter_map(|server| server.split(':').next());
            if let Some(variable) = hosts.find_map(secrets::shell_variable) {
                reader.refuse(servers, format!("${variable} is not looked up; write ${{env:{variable}}}"));
            }
        }
        None => reader.problems.add(origin, path, "the option kafka.bootstrap.servers is missing"),
    }
    let isolation = given.take_special("isolation.level").map(|text| {
        let words =
            [("read_uncommitted", Isolation::ReadUncommitted), ("read_committed", Isolation::ReadCommitted)];
        reader.one_of(&text, &words)
    });
    let group_id = given.take_special("group.id").map(|text| text.value);
    security::login(&mut given, reader, origin, path, stream);
    security::truststore(&mut given, reader);
    security::keystore(&mut given, reader, path, origin);
    given.rest();
    Some(ClientProperties {
        group_id,
        isolation: isolation.unwrap_or(Some(Isolation::ReadUncommitted))?,
        client: given.client,
        security: given.security,
    })
}
