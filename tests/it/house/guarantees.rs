//! `docs/guarantees.md` against the tests, the failpoints and the decision it speaks of: it cannot lie.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// What stands between backquotes on the page.
fn quoted(page: &str) -> Vec<&str> {
    page.split('`').skip(1).step_by(2).collect()
}

/// `folder::module::test` of every test of this binary, as `cargo test` calls it.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    gather(&repository("tests/it"), "", &mut found);
    found
}

/// The tests below a folder whose modules' names begin with `parent`.
fn gather(folder: &Path, parent: &str, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap();
        if path.is_dir() {
            gather(&path, &format!("{parent}{name}::"), found);
        }
        let module = match name.strip_suffix(".rs") {
            Some("mod") => parent.to_owned(),
            Some(file) => format!("{parent}{file}::"),
            None => continue,
        };
        let text = fs::read_to_string(&path).unwrap();
        for after in text.split("#[test]").skip(1) {
            let name = after.split("fn ").nth(1).and_then(|rest| rest.split('(').next()).unwrap();
            found.insert(format!("{module}{name}"));
        }
    }
}

#[test]
fn every_test_that_the_page_names_is_there() {
    let (page, tests) = (read("docs/guarantees.md"), tests());
    let named: Vec<&str> = quoted(&page).into_iter().filter(|text| text.contains("::")).collect();
    assert!(named.len() > 30, "the page names only {}", named.len());
    let missing: Vec<_> = named.into_iter().filter(|name| !tests.contains(*name)).collect();
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}

#[test]
fn every_proof_by_fault_stands_on_the_page() {
    let page = read("docs/guarantees.md");
    let proofs = [
        "exactly_once::crash::",
        "exactly_once::zombie::",
        "exactly_once::owners::",
        "exactly_once::resume_model::",
        "exactly_once::soak::",
        "operating::signals::",
        "exactly_once::durable::",
        "merge::",
        "query::state_store::a_",
        "tables::compact::",
        "tables::vacuum::",
    ];
    let missing: Vec<String> = tests()
        .into_iter()
        .filter(|test| proofs.iter().any(|module| test.starts_with(module)))
        .filter(|test| !page.contains(&format!("`{test}`")))
        .collect();
    assert!(missing.is_empty(), "the page lacks {missing:#?}");
}

#[test]
fn the_page_names_every_failpoint_and_no_other() {
    let page = read("docs/guarantees.md");
    let section = page.split("## Killed there").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let named: BTreeSet<&str> = quoted(section).into_iter().filter(|text| !text.contains("::")).collect();
    let merges = alluvia::failpoint::MERGE_NAMES.into_iter().chain(alluvia::failpoint::UPDATE_NAMES);
    let snapshots = alluvia::failpoint::INDEX_SNAPSHOT_NAMES.into_iter();
    let more = merges.chain(snapshots).chain(alluvia::failpoint::STATE_NAMES);
    let more = more.chain(alluvia::failpoint::MAINTENANCE_NAMES);
    assert_eq!(named, alluvia::failpoint::NAMES.into_iter().chain(more).collect());
}

#[test]
fn the_cases_of_resume_are_those_of_the_code() {
    let rows = |text: &str, prefix: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(prefix));
        lines
            .skip_while(|line| !line.starts_with("| plan |"))
            .take_while(|line| line.starts_with('|'))
            .map(str::to_owned)
            .collect()
    };
    let code = rows(&read("src/checkpoint/resume.rs"), "//! ");
    assert!(code.len() > 10);
    assert_eq!(rows(&read("docs/guarantees.md"), ""), code);
}
