//! Words that have left the house: code, tests, chart and docs say what the field says.

use std::fs;
use std::path::{Path, PathBuf};

/// A word that is not to come back, and what to write.
const RETIRED: [(&str, &str); 23] = [
    ("surroundings", "context"),
    ("recipe", "RowPipeline"),
    ("landed", "committed"),
    ("landing", "CommitOutcome"),
    ("judge_landing", "resolve_commit"),
    ("ran_as", "same_definition"),
    ("stand_after", "advance_to"),
    ("letters_follow", "dead_letters_pending"),
    ("letters_upto", "newest_dead_letter_batch"),
    ("upto", "until"),
    ("patience", "deadline or timeout"),
    ("patient", "DeadlineStore"),
    ("upkeep", "maintenance"),
    ("atwork", "MaintenanceGuard"),
    ("oneanswer", "CreateConflictAdapter"),
    ("passed_over", "skip"),
    ("glance", "STOP_POLL_INTERVAL"),
    ("tip", "head"),
    ("settle", "sync"),
    ("shorten", "refresh_log_segment"),
    ("takenbefore", "alreadyReplayed"),
    ("taken_before", "already_replayed"),
    ("unsettled", "uncommitted"),
];

/// The words of a name: `readTip`, `read_tip` and `READ_TIP` are `read` and `tip`.
fn parts(name: &str) -> Vec<String> {
    let (mut parts, mut last) = (vec![String::new()], '_');
    for c in name.chars() {
        if c == '_' || c.is_uppercase() && last.is_lowercase() {
            parts.push(String::new());
        }
        if let Some(part) = parts.last_mut().filter(|_| c != '_') {
            part.extend(c.to_lowercase());
        }
        last = c;
    }
    parts
}

/// The retired words among the names of a line: each by itself and within a longer name.
fn retired(line: &str) -> Vec<&'static (&'static str, &'static str)> {
    let names = line.split(|c: char| !c.is_alphanumeric() && c != '_');
    let spellings = names.flat_map(|name| parts(name).into_iter().chain([name.to_lowercase()]));
    spellings.filter_map(|word| RETIRED.iter().find(|(retired, _)| *retired == word)).collect()
}

#[test]
fn no_retired_word_comes_back() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "docs", "tests", "helm"] {
        gather(&root.join(folder), &mut files);
    }
    files.extend(["README.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(|file| root.join(file)));
    assert!(files.len() > 200, "{} files", files.len());
    let mut found = Vec::new();
    for file in files.into_iter().filter(|file| !file.ends_with("tests/it/house/words.rs")) {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            // The log of changes may say between backquotes what something was called before.
            let said: String = match file.ends_with("CHANGELOG.md") {
                true => line.split('`').step_by(2).collect(),
                false => line.to_owned(),
            };
            for (word, instead) in retired(&said) {
                found.push(format!("{}:{}: {word}: write {instead}", file.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_retired_word_is_found_within_a_name() {
    for line in [
        "fn read_tip() {",
        "const UPKEEP_NAMES: u8",
        "a_stop_without_patience_ends",
        "let readTip",
        "takenBefore",
    ] {
        assert_eq!(retired(line).len(), 1, "{line}");
    }
    assert!(retired("multiple tips, a settled account, IsATypeOfTIPS").is_empty());
}

fn gather(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, files);
        } else if path
            .extension()
            .is_some_and(|kind| ["rs", "md", "yaml", "tpl"].iter().any(|wanted| kind == *wanted))
        {
            files.push(path);
        }
    }
}
