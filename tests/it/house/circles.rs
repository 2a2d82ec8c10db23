//! No circle of imports between files: what two files need of each other is in a third, below both.
//!
//! A folder is one module to those outside of it, and its `mod.rs` states what its files have in common. So it is no circle that
//! a `mod.rs` names its files and that they use what it declares; every other loop is one. Test code is left out.

use std::collections::{BTreeMap, BTreeSet};

use super::imports::{Module, Named, all, imports, module_of, names_in, paths, resolved};

/// The files that a file uses, itself and the `mod.rs` above it left out.
fn used(file: &str, code: &str, modules: &BTreeMap<Module, String>) -> BTreeSet<String> {
    let module = module_of(file);
    let names = names_in(code, &module, modules);
    let target = |(path, _): Named| {
        let target = resolved(&path, &module, modules, &names)?;
        let file = (1..=target.len()).rev().find(|length| modules.contains_key(&target[..*length]))?;
        Some(&target[..file])
            .filter(|target| !module.starts_with(target))
            .map(|target| modules[target].clone())
    };
    imports(code).into_iter().chain(paths(code)).filter_map(target).collect()
}

/// One circle, if there is any: what uses nothing is taken out until nothing does, and every way through the rest comes back.
fn circle(mut uses: BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    loop {
        let users: BTreeSet<String> = uses.keys().cloned().collect();
        uses.values_mut().for_each(|of| of.retain(|file| users.contains(file)));
        uses.retain(|_, of| !of.is_empty());
        if uses.len() == users.len() {
            break;
        }
    }
    let mut way: Vec<&String> = vec![uses.keys().next()?];
    loop {
        let next = uses[*way.last()?].first()?;
        if let Some(at) = way.iter().position(|file| *file == next) {
            return Some(way[at..].iter().copied().chain([next]).cloned().collect());
        }
        way.push(next);
    }
}

/// The modules that are compiled for unit tests only.
fn test_modules(files: &[(String, String)]) -> Vec<Module> {
    let mut found = Vec::new();
    for (file, code) in files {
        for (at, attribute) in code.match_indices("#[cfg(test)]\n") {
            let declared = code[at + attribute.len()..].lines().next().unwrap_or_default();
            if let Some(name) = declared.strip_suffix(';').and_then(|line| line.split("mod ").nth(1)) {
                found.push([module_of(file), vec![name.to_owned()]].concat());
            }
        }
    }
    found
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut files = all();
    let tests = test_modules(&files);
    files.retain(|(file, _)| {
        !["lib.rs", "main.rs"].contains(&file.as_str())
            && !tests.iter().any(|test| module_of(file).starts_with(test))
    });
    let modules: BTreeMap<Module, String> =
        files.iter().map(|(file, _)| (module_of(file), file.clone())).collect();
    let uses: BTreeMap<String, BTreeSet<String>> =
        files.iter().map(|(file, code)| (file.clone(), used(file, code, &modules))).collect();
    let arrows: usize = uses.values().map(BTreeSet::len).sum();
    assert!(arrows > files.len(), "the imports were not found");
    if let Some(circle) = circle(uses) {
        panic!("move what they need of each other into a file below them: {}", circle.join(" -> "));
    }
}

#[test]
fn imports_through_groups_names_and_parents_are_seen() {
    let files = ["a/mod.rs", "a/b.rs", "a/c.rs", "d.rs", "e/mod.rs", "e/f.rs"];
    let modules: BTreeMap<Module, String> =
        files.iter().map(|file| (module_of(file), (*file).to_owned())).collect();
    let code = "use std::fs;\nuse super::{Shared, c::{self, D as E}};\npub use crate::e;\nfn x(y: &'a u8) { e::f::g(c::h()) }";
    assert_eq!(used("a/b.rs", code, &modules), ["a/c.rs", "e/f.rs", "e/mod.rs"].map(str::to_owned).into());
    assert_eq!(
        used("a/mod.rs", "mod b;\nfn x() { b::y(crate::d::Z) }", &modules),
        ["a/b.rs", "d.rs"].map(str::to_owned).into()
    );
    let uses = [("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")];
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (user, file) in uses {
        graph.entry(user.to_owned()).or_default().insert(file.to_owned());
    }
    assert_eq!(circle(graph.clone()).unwrap(), ["b", "c", "b"]);
    graph.remove("c");
    assert_eq!(circle(graph), None);
}
