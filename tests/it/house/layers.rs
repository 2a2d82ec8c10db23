//! The layers of `docs/ARCHITECTURE.md`: who may use whom, and one door per vendor.

use std::collections::{BTreeMap, BTreeSet};

use super::imports::{Module, all, exports, imports, module_of, names_in, paths, resolved};

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

/// Files of `runtime` that hold the table of dead letters, `sink::DeadLetterTable`: Delta's type by another name.
const HOLD_DEAD_LETTERS: [&str; 2] = ["runtime/recovery.rs", "runtime/start.rs"];

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

/// What a file does that its layer may not.
fn wrongs(file: &str, code: &str, modules: &BTreeMap<Module, String>) -> BTreeSet<String> {
    let layer = file.split(['/', '.']).next().unwrap_or_default();
    let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == layer) else {
        return [format!("{file}: {layer} has no entry in MAY_USE")].into();
    };
    let module = module_of(file);
    let names = names_in(code, &module, modules);
    let layer_of = |path: &[String]| {
        let target = resolved(path, &module, modules, &names)?;
        // The root by itself (`use super::*` in a layer's `mod.rs`) would hide which layers are used.
        Some(target.first().map_or("everything", String::as_str).to_owned())
    };
    let is_layer = |used: &String| used == "everything" || MAY_USE.iter().any(|(name, _)| name == used);
    let other = |used: &String| used != layer && is_layer(used);
    let uses = imports(code).into_iter().chain(paths(code)).filter_map(|(path, _)| layer_of(&path));
    let upward = uses.filter(|used| other(used) && !allowed.contains(&used.as_str()));
    // All layers that pass names on may use `model`: that hides nothing.
    let hides = |of: &String| other(of) && of != "model";
    let passed_on = exports(code).into_iter().filter_map(|(path, _)| layer_of(&path)).filter(hides);
    upward
        .map(|used| format!("{file} uses {used}"))
        .chain(passed_on.map(|of| format!("{file} passes on a name of {of}, whose users are not seen then")))
        .collect()
}

/// `src` but for what every layer is named in: the crate's head and the program.
fn layered() -> (Vec<(String, String)>, BTreeMap<Module, String>) {
    let mut files = all();
    files.retain(|(file, _)| !["lib.rs", "main.rs"].contains(&file.as_str()));
    let modules = files.iter().map(|(file, _)| (module_of(file), file.clone())).collect();
    (files, modules)
}

#[test]
fn every_module_uses_only_the_layers_below_it() {
    let (files, modules) = layered();
    let wrong: Vec<String> = files.iter().flat_map(|(file, code)| wrongs(file, code, &modules)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_form_of_an_upward_import_is_seen() {
    let (_, modules) = layered();
    let wrong = |file: &str, code: &str| wrongs(file, code, &modules).into_iter().collect::<Vec<_>>();
    for code in [
        "fn x() { crate::sink::delta::open() }",
        "use crate::{\n    model::{Error, Result}, sink::{self, Sink},\n};",
        "use super::sink::Sink;",
        "use super::{model::Error, sink};",
        "use crate::sink as target;\nfn x() { target::open() }",
        "use crate as root;\nfn x() { root::sink::open() }",
        "pub use crate::sink::Sink;",
        "pub type Target = crate::sink::DeltaAppend;",
    ] {
        let wrong = wrong("table/mod.rs", code);
        assert!(wrong.contains(&"table/mod.rs uses sink".to_owned()), "{code}: {wrong:?}");
    }
    assert_eq!(wrong("table/file.rs", "use super::super::sink::Sink;"), ["table/file.rs uses sink"]);
    assert_eq!(wrong("table/mod.rs", "use super::*;"), ["table/mod.rs uses everything"]);
    let passed_on = wrong("sink/mod.rs", "pub(crate) use super::table::log;");
    assert_eq!(passed_on, ["sink/mod.rs passes on a name of table, whose users are not seen then"]);
    assert_eq!(wrong("newcomer.rs", ""), ["newcomer.rs: newcomer has no entry in MAY_USE"]);
    assert!(
        wrong("sink/mod.rs", "use crate::table;\npub use delta::DeltaSink;\nuse super::model;").is_empty()
    );
}

#[test]
fn the_crate_names_its_modules_in_an_order_in_which_each_uses_only_those_above_it() {
    let head = include_str!("../../../src/lib.rs");
    let order: Vec<&str> =
        head.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(order.len(), MAY_USE.len(), "{order:?}");
    let place = |module: &str| order.iter().position(|name| *name == module);
    for (module, uses) in MAY_USE {
        for used in uses {
            assert!(place(used) < place(module), "{module} uses {used}, which stands below it in lib.rs");
        }
    }
}

#[test]
fn the_runtime_knows_no_format_but_in_its_factory() {
    let mut wrong = Vec::new();
    for (file, code) in all() {
        if !file.starts_with("runtime/") || KNOW_FORMATS.contains(&file.as_str()) {
            continue;
        }
        let (knows_dead_letters, code) = (HOLD_DEAD_LETTERS.contains(&file.as_str()), code.to_lowercase());
        let words = ["kafka", "delta", "deadlettertable"].iter();
        let words = words.filter(|word| **word != "deadlettertable" || !knows_dead_letters);
        wrong.extend(words.filter(|word| code.contains(**word)).map(|word| format!("{file}: {word}")));
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
fn folders_of_a_checkpoint_are_named_in_one_place() {
    // The latter is of a layer that must not know checkpoints.
    const NAMES: [&str; 2] = ["checkpoint/paths.rs", "source/dead_letters.rs"];
    let elsewhere =
        |(file, code): &(String, String)| code.contains("\"alluvia/") && !NAMES.contains(&file.as_str());
    let wrong: Vec<String> = all().into_iter().filter(elsewhere).map(|(file, _)| file).collect();
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
