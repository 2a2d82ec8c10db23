//! `alluvia check`: reports what would go wrong and which key to change.

use serde_json::{Value, json};

use super::args::{CheckArgs, OutputFormat};
use super::{io_runtime, owner_name};
use crate::config::{Config, ProcessLookup};
use crate::model::{Error, Kind, Result};
use crate::runtime::check::{self, Finding, Outcome};
use crate::runtime::open::Access;

/// Checks every stream of the files.
///
/// # Errors
/// The first check that failed: the process ends with the exit code that a run would end with.
pub(super) fn check(args: &CheckArgs) -> Result<()> {
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
    let owner = owner_name();
    let checked: Vec<(&str, Vec<Finding>)> = (config.streams.iter())
        .map(|stream| (stream.name.as_str(), check::check(stream, &access, &owner)))
        .collect();
    let first = checked.iter().flat_map(|(_, findings)| findings).find_map(Finding::error);
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
    if let (OutputFormat::Text, Some(first)) = (args.output.output, first) {
        // What is wrong, and what mends it, stands in the report.
        let failed = checked.iter().flat_map(|(_, findings)| findings).filter_map(Finding::error).count();
        return Err(failures(failed, first.kind()));
    }
    let mut errors = checked.into_iter().flat_map(|(name, findings)| {
        findings.into_iter().filter_map(move |finding| match finding.outcome {
            Outcome::Wrong(error) => Some(error.context(format!("check {} of stream {name}", finding.step))),
            Outcome::Well(_) | Outcome::NotTried(_) => None,
        })
    });
    errors.next().map_or(Ok(()), Err)
}

fn failures(count: usize, kind: Kind) -> Error {
    match count {
        1 => Error::new(kind, "1 check has failed"),
        count => Error::new(kind, format!("{count} checks have failed")),
    }
}

fn stream_json(name: &str, findings: &[Finding]) -> Value {
    let checks: Vec<Value> = findings
        .iter()
        .map(|finding| match &finding.outcome {
            Outcome::Well(found) => json!({"check": finding.step, "ok": true, "detail": found}),
            Outcome::NotTried(after) => json!({"check": finding.step, "ok": null, "notTriedAfter": after}),
            Outcome::Wrong(error) => {
                let mut entry = wrong(error);
                entry["check"] = finding.step.into();
                entry["ok"] = false.into();
                entry
            }
        })
        .collect();
    json!({"name": name, "ok": findings.iter().all(|finding| finding.error().is_none()), "checks": checks})
}

fn wrong(error: &Error) -> Value {
    json!({"kind": error.kind().name(), "error": fact(error), "hint": error.hint_text()})
}

fn text(finding: &Finding) -> String {
    match &finding.outcome {
        Outcome::Well(found) => format!("  ok      {:<12} {found}\n", finding.step),
        Outcome::NotTried(after) => format!("  -       {:<12} skipped: {after} failed\n", finding.step),
        Outcome::Wrong(error) => {
            let fix = error
                .hint_text()
                .map(|hint| format!("          {:<12} fix: {hint}\n", ""))
                .unwrap_or_default();
            format!("  failed  {:<12} {}\n{fix}", finding.step, fact(error))
        }
    }
}

/// The error without its hint.
fn fact(error: &Error) -> String {
    let all = error.to_string();
    let hint = error.hint_text().map(|hint| format!(" ({hint})")).unwrap_or_default();
    all.strip_suffix(hint.as_str()).unwrap_or(&all).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_and_its_fix_stand_apart() {
        let error = Error::config("the topic is not there").hint("change subscribe").context("open source");
        assert_eq!(
            wrong(&error),
            json!({"kind": "config", "error": "open source: the topic is not there", "hint": "change subscribe"})
        );
        let finding = Finding { step: "source", outcome: Outcome::Wrong(error) };
        assert_eq!(
            text(&finding),
            "  failed  source       open source: the topic is not there\n                       fix: change subscribe\n"
        );
        let after = Finding { step: "read", outcome: Outcome::NotTried("tls") };
        assert_eq!(text(&after), "  -       read         skipped: tls failed\n");
        assert_eq!(failures(1, Kind::Config).to_string(), "1 check has failed");
        assert_eq!(failures(2, Kind::Data).kind(), Kind::Data);
        let json = stream_json("s", &[after]);
        assert_eq!(json["checks"][0], json!({"check": "read", "ok": null, "notTriedAfter": "tls"}));
    }
}
