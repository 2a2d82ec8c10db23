//! The layers of `docs/ARCHITECTURE.md`: who may use whom, and one door per vendor.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module and what it may use of the crate (every module may use itself).
const MAY_USE: [(&str, &[&str]); 15] = [
    ("model", &[]),
    ("failpoint", &[]),
    ("config", &["model", "decode"]),
    ("storage", &["model", "failpoint"]),
    ("observe", &["model"]),
    ("source", &["model", "config", "storage"]),
    ("decode", &["model"]),
    ("state", &["model", "storage", "failpoint"]),
    ("query", &["model", "storage", "decode", "state", "table"]),
    ("table", &["model", "storage", "failpoint"]),
    ("checkpoint", &["model", "storage", "failpoint"]),
    ("sink", &["model", "config", "storage", "decode", "table", "failpoint"]),
    (
        "runtime",
        &[
            "model",
            "failpoint",
            "config",
            "storage",
            "observe",
            "source",
            "decode",
            "state",
            "query",
            "table",
            "checkpoint",
            "sink",
        ],
    ),
    ("server", &["model", "observe", "runtime"]),
    (
        "cli",
        &[
            "model",
            "failpoint",
            "config",
            "storage",
            "observe",
            "source",
            "decode",
            "state",
            "query",
            "table",
            "checkpoint",
            "sink",
            "runtime",
            "server",
        ],
    ),
];

/// Files of `runtime` that may name a format: the factory, and what becomes of dead letters, which go to Delta tables.
const KNOW_FORMATS: [&str; 3] = ["runtime/open.rs", "runtime/dead_letter_tables.rs", "runtime/replay.rs"];

/// Each vendor's crate and the folders or files that may name it.
const DOORS: [(&str, &[&str]); 12] = [
    ("datafusion", &["query"]),
    ("fjall", &["state"]),
    ("rdkafka", &["source/kafka", "cli/demo"]),
    ("delta_kernel", &["table"]),
    ("deltalake", &["table"]),
    ("object_store", &["storage", "table"]),
    ("azure_storage_blob", &["storage/azure", "checkpoint/lease/blob.rs"]),
    ("azure_identity", &["storage/credentials"]),
    ("prometheus", &["observe/metrics"]),
    ("indicatif", &["observe/terminal.rs"]),
    ("axum", &["server"]),
    ("reqwest", &["cli/client.rs"]),
];

/// Folders and files that may wait for a future: the calls of a store do it for everything above them. In `table` and
/// `state` several requests are under way at once; the others wait on a runtime of their own, or run DataFusion's plans.
const MAY_BLOCK: [&str; 9] = [
    "storage",
    "table",
    "state/restore.rs",
    "checkpoint/log.rs",
    "checkpoint/lease/blob.rs",
    "query/fragment.rs",
    "query/functions/aggregate/proof.rs",
    "cli/client.rs",
    "cli/run.rs",
];

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// The code of a file, without its unit tests and comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The files of `src` by their names, and their code.
pub fn all() -> Vec<(String, String)> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
    let mut files = Vec::new();
    sources(root, &mut files);
    assert!(files.len() > 30, "the sources were not found");
    let name = |path: &PathBuf| path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
    files.iter().map(|path| (name(path), code(path))).collect()
}

/// The modules of the crate that code names: `crate::a::…` and `crate::{a::…, b}`.
fn used(code: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut used = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            used.insert(word(rest));
            continue;
        };
        let (mut depth, mut starts) = (0, true);
        for (at, c) in group.char_indices() {
            match c {
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                '{' => depth += 1,
                _ if starts && !c.is_whitespace() => {
                    used.insert(word(&group[at..]));
                    starts = false;
                }
                ',' if depth == 0 => starts = true,
                _ => {}
            }
        }
    }
    used
}

#[test]
fn every_module_uses_only_the_layers_below_it() {
    let known: BTreeSet<&str> = MAY_USE.iter().map(|(module, _)| *module).collect();
    let mut wrong = Vec::new();
    for (file, code) in all() {
        let module = file.split(['/', '.']).next().unwrap_or_default();
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else { continue };
        for used in used(&code) {
            if known.contains(used.as_str()) && used != module && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{file} uses {used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn grouped_imports_are_seen() {
    let code = "use crate::{\n    model::{Error, Result}, sink,\n};\nlet x = crate::table::open();";
    assert_eq!(used(code), ["model", "sink", "table"].map(str::to_owned).into());
}

#[test]
fn the_runtime_knows_no_format_but_in_its_factory() {
    let mut wrong = Vec::new();
    for (file, code) in all() {
        if !file.starts_with("runtime/") || KNOW_FORMATS.contains(&file.as_str()) {
            continue;
        }
        // The columns of a record bear the names that Spark's Kafka source gives them.
        let code = code.replace("KafkaColumn", "").to_lowercase();
        wrong.extend(
            ["kafka", "delta"]
                .iter()
                .filter(|word| code.contains(**word))
                .map(|word| format!("{file}: {word}")),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_stands_above_storage_is_blocking() {
    let mut wrong = Vec::new();
    for (file, code) in all() {
        if code.contains("block_on") && !MAY_BLOCK.iter().any(|door| file.starts_with(door)) {
            wrong.push(file);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_vendor_has_one_door() {
    let mut wrong = Vec::new();
    for (file, code) in all() {
        for (vendor, doors) in DOORS {
            let named = code.contains(&format!("use {vendor}::")) || code.contains(&format!(" {vendor}::"));
            if named && !doors.iter().any(|door| file.starts_with(door)) {
                wrong.push(format!("{file} names {vendor}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
