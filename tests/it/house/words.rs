//! Words that have left the house: `src` and `docs` say what the field says.

use std::fs;
use std::path::{Path, PathBuf};

/// A word that is not to come back, and what to write.
const RETIRED: [(&str, &str); 22] = [
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
    ("unsettled", "uncommitted"),
];

#[test]
fn no_retired_word_comes_back() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "docs"] {
        gather(&root.join(folder), &mut files);
    }
    files.push(root.join("README.md"));
    assert!(files.len() > 200, "{} files", files.len());
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap().to_lowercase();
        for (number, line) in text.lines().enumerate() {
            let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            for (word, instead) in words.filter_map(|w| RETIRED.iter().find(|(retired, _)| *retired == w)) {
                found.push(format!("{}:{}: {word}: write {instead}", file.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn gather(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, files);
        } else if path.extension().is_some_and(|kind| kind == "rs" || kind == "md") {
            files.push(path);
        }
    }
}
