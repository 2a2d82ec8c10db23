//! What whole configurations become: values, messages with places, and YAML again. Here are the files that the tests
//! below are made of.
#![allow(clippy::too_many_lines, reason = "tables of cases")]

mod hostile;
mod identity;
mod values;
mod logins;
mod problems;
mod printed;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::kafka::{GroupId, Isolation, StartingOffsets, Subscription};
use super::*;
use crate::model::{Credential, Secret};

/// A world of a few variables and files.
#[derive(Default)]
struct World {
    env: BTreeMap<&'static str, &'static str>,
    files: BTreeMap<&'static str, &'static str>,
}

impl Lookup for World {
    fn env(&self, name: &str) -> Option<String> {
        self.env.get(name).map(|v| (*v).to_owned())
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        let text = self.files.get(path.to_str().unwrap()).ok_or(io::ErrorKind::NotFound)?;
        Ok((*text).to_owned())
    }

    fn current_dir(&self) -> io::Result<PathBuf> {
        Ok("/work".into())
    }
}

fn world() -> World {
    World {
        env: [("USER", "bob"), ("PASSWORD", "hunter2"), ("BOOTSTRAP_SERVERS", "b:9093")].into(),
        files: [("/run/key", "k3y\n"), ("schema.ddl", "a INT,\nb STRING\n")].into(),
    }
}

fn load_in(world: &World, yaml: &str, flags: &[Setting]) -> crate::model::Result<Config> {
    Config::from_texts(&[("s.yaml".into(), yaml.into())], flags, world)
}

fn load(yaml: &str) -> crate::model::Result<Config> {
    load_in(&world(), yaml, &[])
}

/// A stream file whose options, stream keys and sink keys have more lines.
fn file_with(options: &str, stream: &str, sink: &str) -> String {
    let lines = |indent: &str, text: &str| -> String {
        text.lines().map(|line| format!("{indent}{line}\n")).collect()
    };
    format!(
        "streams:\n  - name: s\n    source:\n      format: kafka\n      options:\n{}    sink:\n      format: delta\n      path: lake/s\n{}    checkpointLocation: cp/s\n{}",
        lines("        ", &format!("kafka.bootstrap.servers: b:9092\n{options}")),
        lines("      ", sink),
        lines("    ", stream),
    )
}

fn one(yaml: &str) -> StreamConfig {
    let mut config = load(yaml).unwrap_or_else(|e| panic!("{yaml}\n{e}"));
    assert_eq!(config.streams.len(), 1);
    config.streams.remove(0)
}

fn message(yaml: &str) -> String {
    load(yaml).err().map_or_else(|| panic!("this loads:\n{yaml}"), |error| error.to_string())
}

fn application(tenant: &str, client: &str, secret: &str) -> Credential {
    Credential::ClientSecret {
        tenant_id: tenant.into(),
        client_id: client.into(),
        secret: Secret::Text(secret.into()),
    }
}

fn event_hubs(options: &str) -> String {
    file_with("", "", "").replace("format: kafka", "format: eventhubs").replace(
        "        kafka.bootstrap.servers: b:9092\n",
        &options.lines().map(|line| format!("        {line}\n")).collect::<String>(),
    )
}
