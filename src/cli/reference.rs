//! The pages of `docs/reference/` that follow from the command line: `cli.md` and `exit-codes.md`.
//!
//! A test compares them with the files; `ALLUVIA_BLESS=1 cargo test --lib` writes them.

use clap::CommandFactory;

use super::args::Cli;
use crate::model::Kind;
use crate::model::generated::NOTE;

/// What a process that ends with an error of a kind tells its caller.
const ENDS: [(Kind, &str); 7] = [
    (
        Kind::Config,
        "The configuration or the command line is wrong. The message names the key. A restart does not help.",
    ),
    (
        Kind::Unavailable,
        "A service did not answer for longer than the stream's `restart` allows. Start again.",
    ),
    (Kind::Conflict, "Other writers kept winning for longer than `restart` allows. Start again."),
    (Kind::Fenced, "Another owner runs the stream. Do not start again until that owner has stopped."),
    (
        Kind::Data,
        "The input violates a requirement: a malformed record with FAILFAST, or lost offsets with failOnDataLoss. The message says which.",
    ),
    (
        Kind::Corrupt,
        "A durable file is damaged or contradicts another one. Nothing was changed; investigate before you start again.",
    ),
    (Kind::Internal, "A defect in Alluvia. Please report it with the log."),
];

/// Every page: its file name and its text.
pub(crate) fn pages() -> Vec<(&'static str, String)> {
    vec![("cli.md", commands()), ("exit-codes.md", exit_codes())]
}

fn commands() -> String {
    let mut page = format!("# The command line\n\n{NOTE}");
    let mut root = Cli::command().term_width(100);
    root.build();
    describe(&mut page, &root, "alluvia");
    page
}

fn describe(page: &mut String, command: &clap::Command, path: &str) {
    let help = command.clone().bin_name(path).term_width(100).render_help();
    page.push_str(&format!("## `{path}`\n\n```text\n"));
    for line in help.to_string().trim_end().lines() {
        page.push_str(line.trim_end());
        page.push('\n');
    }
    page.push_str("```\n\n");
    for inner in command.get_subcommands().filter(|c| c.get_name() != "help") {
        describe(page, inner, &format!("{path} {}", inner.get_name()));
    }
}

fn exit_codes() -> String {
    let mut page = format!(
        "# Exit codes\n\n{NOTE}| code | kind | meaning |\n|---|---|---|\n\
         | 0 | | The command is done, or the process was stopped by SIGTERM or Ctrl-C. The next start runs an abandoned batch again. |\n"
    );
    for (kind, text) in ENDS {
        page.push_str(&format!("| {} | {} | {text} |\n", kind.exit_code(), kind.name()));
    }
    page.push_str(
        "\nWith several streams, the code is that of the first stream in the file that failed. The last lines of standard error\n\
         name every stream that failed, one line each; while other streams still run, the failure is logged again at WARN\n\
         every five minutes. Code 1 is not used.\n",
    );
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::generated;

    #[test]
    fn the_reference_pages_are_those_of_the_command_line() {
        for (name, text) in pages() {
            generated::assert_current(name, &text);
        }
    }

    #[test]
    fn the_help_names_every_exit_code() {
        let help = Cli::command().render_help().to_string();
        for (kind, _) in ENDS {
            let code = kind.exit_code().to_string();
            assert!(help.split_whitespace().any(|word| word == code), "{code}");
        }
    }
}
