//! `alluvia check`: what would go wrong, and which key mends it.

use serde_json::{Value, json};

use super::args::{CheckArgs, OutputFormat};
use super::io_runtime;
use crate::config::{Config, ProcessLookup};
use crate::model::{Error, Result};
use crate::runtime::check::{self, Finding};
use crate::runtime::open::Access;

/// Checks every stream of the files.
///
/// # Errors
/// The first thing that is wrong: the process ends with the exit code that a run would end with.
pub fn check(args: &CheckArgs) -> Result<()> {
    let config = match Config::from_files(&args.files, &[], &ProcessLookup) {
        Ok(config) => config,
        Err(error) => {
            if args.output.output == OutputFormat::Json {
                println!(
                    "{}",
                    json!({"ok": false, "exitCode": error.kind().exit_code(), "config": wrong(&error), "streams": []})
                );
            }
            return Err(error);
        }
    };
    let runtime = io_runtime()?;
    let access = Access { handle: runtime.handle().clone(), deadline: None };
    let checked: Vec<(&str, Vec<Finding>)> =
        config.streams.iter().map(|stream| (stream.name.as_str(), check::check(stream, &access))).collect();
    let first =
        checked.iter().flat_map(|(_, findings)| findings).find_map(|finding| finding.result.as_ref().err());
    match args.output.output {
        OutputFormat::Json => {
            let streams: Vec<Value> =
                checked.iter().map(|(name, findings)| stream_json(name, findings)).collect();
            println!(
                "{}",
                json!({
                    "ok": first.is_none(),
                    "exitCode": first.map_or(0, |error| error.kind().exit_code()),
                    "warnings": config.warnings,
                    "streams": streams,
                })
            );
        }
        OutputFormat::Text => {
            config.warnings.iter().for_each(|warning| println!("note: {warning}"));
            for (name, findings) in &checked {
                println!("{name}");
                findings.iter().for_each(|finding| print!("{}", text(finding)));
            }
        }
    }
    let mut errors = checked.into_iter().flat_map(|(name, findings)| {
        findings.into_iter().filter_map(move |finding| {
            finding
                .result
                .err()
                .map(|error| error.context(format!("check {} of stream {name}", finding.step)))
        })
    });
    errors.next().map_or(Ok(()), Err)
}

fn stream_json(name: &str, findings: &[Finding]) -> Value {
    let checks: Vec<Value> = findings
        .iter()
        .map(|finding| match &finding.result {
            Ok(found) => json!({"check": finding.step, "ok": true, "detail": found}),
            Err(error) => {
                let mut entry = wrong(error);
                entry["check"] = finding.step.into();
                entry["ok"] = false.into();
                entry
            }
        })
        .collect();
    json!({"name": name, "ok": findings.iter().all(|finding| finding.result.is_ok()), "checks": checks})
}

fn wrong(error: &Error) -> Value {
    json!({"kind": error.kind().name(), "error": fact(error), "hint": error.hint_text()})
}

fn text(finding: &Finding) -> String {
    match &finding.result {
        Ok(found) => format!("  ok     {:<11} {found}\n", finding.step),
        Err(error) => {
            let mend = error
                .hint_text()
                .map(|hint| format!("         {:<11} mend: {hint}\n", ""))
                .unwrap_or_default();
            format!("  wrong  {:<11} {}\n{mend}", finding.step, fact(error))
        }
    }
}

/// The error without what mends it.
fn fact(error: &Error) -> String {
    let all = error.to_string();
    let hint = error.hint_text().map(|hint| format!(" ({hint})")).unwrap_or_default();
    all.strip_suffix(hint.as_str()).unwrap_or(&all).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_and_what_mends_it_stand_apart() {
        let error = Error::config("the topic is not there").hint("change subscribe").context("open source");
        assert_eq!(
            wrong(&error),
            json!({"kind": "config", "error": "open source: the topic is not there", "hint": "change subscribe"})
        );
        let finding = Finding { step: "source", result: Err(error) };
        assert_eq!(
            text(&finding),
            "  wrong  source      open source: the topic is not there\n                     mend: change subscribe\n"
        );
    }
}
