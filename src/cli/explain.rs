//! `alluvia explain`: each stream's plan.

use serde_json::{Map, Value, json};

use super::args::{ExplainArgs, OutputFormat};
use super::io_runtime;
use crate::config::{Config, ProcessLookup};
use crate::model::Result;
use crate::model::error::Context;
use crate::runtime::explain::{self, Step};
use crate::runtime::open::Access;

/// Prints the plans of all streams of the files.
///
/// # Errors
/// The first thing for which a stream could not start.
pub(super) fn explain(args: &ExplainArgs) -> Result<()> {
    let config = Config::from_files(&args.files, &[], &ProcessLookup)?;
    let runtime = io_runtime()?;
    let access = Access { handle: runtime.handle().clone(), deadline: None };
    let mut streams = Vec::with_capacity(config.streams.len());
    for stream in &config.streams {
        let steps = explain::explain(stream, args.verbose, &access)
            .context(|| format!("explain stream {}", stream.name))?;
        streams.push((stream.name.as_str(), steps));
    }
    match args.output.output {
        OutputFormat::Json => {
            let plans: Vec<Value> = streams.iter().map(|(name, steps)| json(name, steps)).collect();
            println!("{}", json!({ "streams": plans }));
        }
        OutputFormat::Text => streams.iter().for_each(|(name, steps)| print!("{}", text(name, steps))),
    }
    Ok(())
}

fn text(name: &str, steps: &[Step]) -> String {
    let mut out = format!("{name}\n");
    for step in steps {
        for (index, line) in step.lines.iter().enumerate() {
            let label = if index == 0 { step.name } else { "" };
            out.push_str(&format!("  {label:<9} {line}\n"));
        }
    }
    out
}

fn json(name: &str, steps: &[Step]) -> Value {
    let step = |step: &Step| {
        let mut entry = Map::new();
        entry.insert("step".to_owned(), step.name.into());
        entry.insert("lines".to_owned(), step.lines.clone().into());
        Value::Object(entry)
    };
    json!({ "name": name, "steps": steps.iter().map(step).collect::<Vec<_>>() })
}
