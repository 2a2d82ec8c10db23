//! The JSON options that the configuration lists are those that the decoder knows.

use std::collections::BTreeSet;

use alluvia::decode::json::{HONOURED, NO_EFFECT};

/// The options of a list of the generated reference page, which a test keeps equal to the configuration's.
fn listed(list: &str) -> BTreeSet<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/spark-options.md");
    let page = std::fs::read_to_string(page).unwrap();
    let json =
        page.split("\n## ").find(|section| section.starts_with("JSON")).expect("a section of JSON options");
    let list =
        json.split("\n### ").find(|part| part.starts_with(list)).unwrap_or_else(|| panic!("no list {list}"));
    let rows = list.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    rows.map(str::to_owned).collect()
}

fn names(list: &[(&str, &str)]) -> BTreeSet<String> {
    list.iter().map(|(name, _)| (*name).to_owned()).collect()
}

#[test]
fn the_lists_of_the_configuration_are_those_of_the_decoder() {
    // These two stand beside the schema in the stream file and are handed to the decoder from there.
    let beside = BTreeSet::from(["mode".to_owned(), "columnNameOfCorruptRecord".to_owned()]);
    let honoured: BTreeSet<String> = listed("Honoured").union(&beside).cloned().collect();
    assert_eq!(honoured, names(HONOURED));
    assert_eq!(listed("Accepted"), names(NO_EFFECT));
    assert!(beside.is_subset(&listed("Refused")));
    assert!(listed("Refused").contains("singleVariantColumn"));
}
