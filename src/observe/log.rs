//! Log lines: readable on a terminal, JSON elsewhere; on standard error.
//!
//! A line holds the event's own fields and those of the spans around it (`stream`, `batch`), each once. On a terminal
//! lines pass above the live progress ([`super::terminal`]).

use std::fmt;
use std::io::{self, IsTerminal, Write};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use super::terminal;
use crate::model::{Error, Result};

/// Starts logging once for the process. `filter` is a level (`info`) or tracing's directives
/// (`info,alluvia::table=debug`).
///
/// # Errors
/// `Config` if the filter can't be read.
pub fn start(json: bool, filter: &str) -> Result<()> {
    // The kernel, the store clients and the state's trees report what Alluvia reports itself, and better; what the filter
    // says of them goes before.
    let directives = format!(
        "buoyant_kernel=off,buoyant_kernel_engine=off,delta_kernel=off,object_store=error,fjall=warn,lsm_tree=warn,{filter},{}",
        // These write texts and plans of queries, which may hold secrets.
        "sqlparser=info,datafusion=info,datafusion_optimizer=info,datafusion_sql=info"
    );
    let filter = EnvFilter::try_new(&directives).map_err(|e| {
        Error::config(format!("invalid log level {filter:?}"))
            .source(e)
            .hint("use error, warn, info, debug or trace")
    })?;
    // Colours are for people who look at a terminal.
    let coloured = !json && io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(StandardError)
        .fmt_fields(JsonFields::new())
        .event_format(Lines { json, coloured })
        .init();
    Ok(())
}

/// One event, one line.
struct Lines {
    json: bool,
    coloured: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let mut fields = fields.0;
        let message = fields.shift_remove("message");
        // From the innermost span outwards: what is said nearer to the event holds.
        for span in ctx.lookup_current().into_iter().flat_map(|span| span.scope()) {
            let extensions = span.extensions();
            let Some(text) = extensions.get::<FormattedFields<N>>() else { continue };
            let of_span: Map<String, Value> = serde_json::from_str(&text.fields).unwrap_or_default();
            for (name, value) in of_span {
                fields.entry(name).or_insert(value);
            }
        }
        let time = chrono::Utc::now();
        let meta = event.metadata();
        if self.json {
            let mut line = Map::new();
            line.insert("timestamp".into(), time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string().into());
            line.insert("level".into(), meta.level().as_str().into());
            line.insert("message".into(), message.unwrap_or(Value::Null));
            line.extend(fields);
            line.insert("target".into(), meta.target().into());
            return writeln!(out, "{}", Value::Object(line));
        }
        let (begin, end) = if self.coloured { (colour(*meta.level()), "\x1b[0m") } else { ("", "") };
        write!(out, "{} {begin}{:>5}{end} ", time.format("%Y-%m-%dT%H:%M:%S%.3fZ"), meta.level().as_str())?;
        write!(out, "{}", message.as_ref().and_then(Value::as_str).unwrap_or_default())?;
        for (name, value) in &fields {
            match value.as_str() {
                Some(text) if !text.contains([' ', '"', '=']) => write!(out, " {name}={text}")?,
                _ => write!(out, " {name}={value}")?,
            }
        }
        writeln!(out)
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG | Level::TRACE => "\x1b[2m",
    }
}

/// The fields of an event as JSON. Absent ones (`None`) are left out; so is what the `log` crate adds.
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        if !field.name().starts_with("log.") {
            let name = field.name().strip_prefix("r#").unwrap_or(field.name());
            self.0.insert(name.to_owned(), value);
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}

/// Standard error, past the live progress of a terminal.
struct StandardError;

/// One line on its way there.
struct Line(Vec<u8>);

impl<'a> MakeWriter<'a> for StandardError {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(Vec::new())
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        terminal::above_progress(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(json: bool, work: impl FnOnce()) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .fmt_fields(JsonFields::new())
            .event_format(Lines { json, coloured: false })
            .finish();
        tracing::subscriber::with_default(subscriber, work);
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn work() {
        let _stream = tracing::error_span!("stream", stream = "orders").entered();
        let _batch = tracing::error_span!("batch", batch = 7).entered();
        tracing::warn!(stream = "orders", field = Option::<&str>::None, error = "a b", "it \"failed\"");
    }

    #[test]
    fn a_json_line_holds_every_field_of_event_and_spans_once() {
        let line = logged(true, work);
        let parsed: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((parsed["stream"].as_str(), parsed["batch"].as_i64()), (Some("orders"), Some(7)));
        assert_eq!(parsed["message"], "it \"failed\"");
        assert!(parsed.get("field").is_none());
        assert_eq!(line.matches("\"stream\"").count(), 1, "{line}");
    }

    #[test]
    fn a_text_line_is_one_line_with_the_same_fields() {
        let line = logged(false, work);
        assert!(line.ends_with(" WARN it \"failed\" stream=orders error=\"a b\" batch=7\n"), "{line}");
        assert_eq!(line.lines().count(), 1);
    }
}
