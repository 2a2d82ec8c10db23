//! `docs/adding-a-source-or-sink.md` against the traits that it lists, and against the files that name a format.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::imports::all;

/// A trait of the page, and the file that declares it.
const TRAITS: [(&str, &str); 6] = [
    ("Source", "src/source/mod.rs"),
    ("SplitReader", "src/source/mod.rs"),
    ("SourceOptions", "src/source/mod.rs"),
    ("Sink", "src/sink/mod.rs"),
    ("AttemptWriter", "src/sink/mod.rs"),
    ("SinkWriter", "src/sink/mod.rs"),
];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn page() -> String {
    read("docs/adding-a-source-or-sink.md")
}

/// The methods of a trait that an implementation must have, and those with a default.
fn methods(code: &str, name: &str) -> [BTreeSet<String>; 2] {
    let heads = [format!("\npub trait {name}:"), format!("\npub trait {name} {{")];
    let (_, rest) = heads.iter().find_map(|head| code.split_once(head)).expect("the trait is there");
    let body = rest.split("\n}\n").next().unwrap_or_default();
    let mut methods = [BTreeSet::new(), BTreeSet::new()];
    for after in body.split("\n    fn ").skip(1) {
        let name = after.split(['(', '<']).next().unwrap_or_default();
        let end = after.find([';', '{']).expect("a method ends or has a body");
        methods[usize::from(after[end..].starts_with('{'))].insert(name.to_owned());
    }
    methods
}

/// The methods in the first column of the page's table with this head.
fn listed(page: &str, head: &str) -> BTreeSet<String> {
    let Some((_, table)) = page.split_once(&format!("| {head} |")) else { return BTreeSet::new() };
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.split('|').nth(1).unwrap_or_default());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

#[test]
fn the_page_lists_every_method_of_the_traits_and_which_have_a_default() {
    let page = page();
    for (name, file) in TRAITS {
        let [required, with_default] = methods(&read(file), name);
        assert!(!required.is_empty(), "{name}");
        assert_eq!(listed(&page, &format!("`{name}`, required")), required, "{name}, required");
        assert_eq!(
            listed(&page, &format!("`{name}`, with a default")),
            with_default,
            "{name}, with a default"
        );
    }
}

/// The smallest formats stand for all: a file that names them must be changed for a new one.
#[test]
fn the_page_names_every_file_that_a_new_format_is_named_in() {
    let page = page();
    let variants = ["SourceFormat::Socket", "SinkConfig::Memory"];
    let named: Vec<String> = all()
        .into_iter()
        .filter(|(_, code)| variants.iter().any(|variant| code.contains(variant)))
        .map(|(file, _)| file)
        .collect();
    assert!(named.len() > 2, "{named:?}");
    let missing: Vec<_> = named.iter().filter(|file| !page.contains(&format!("`{file}`"))).collect();
    assert!(missing.is_empty(), "the page lacks {missing:?}");
}
