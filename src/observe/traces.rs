//! Micro-batches as OpenTelemetry traces, sent over OTLP: off unless an endpoint is given.
//!
//! A trace is one micro-batch: a span from its trigger to its commit, and below it a span for each step, made from the
//! batch's progress when it has been committed. So nothing is measured for a trace alone, and without an endpoint nothing
//! of this runs. Steps are known by how long they took, and are laid one behind the other in the order in which they ran.
//! A collector that does not answer is said once in the log, and never holds a stream up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{Span, SpanBuilder, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData, SpanExporter};

use super::event::Event;
use super::progress::{ADD_BATCH_STEPS, Progress, STEPS};
use crate::model::time::from_utc;
use crate::model::{Error, Result, build};

/// How long the last spans are waited for when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// Where traces go.
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl std::fmt::Debug for Traces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Traces")
    }
}

impl Traces {
    /// Sends traces to the collector at `endpoint`, such as `http://collector:4318`; `None` for the address in
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`. Headers, timeouts, sampling, the service's name and the rest come from
    /// OpenTelemetry's environment variables. Not to be called on a thread of an async runtime.
    ///
    /// # Errors
    /// `Config` if the endpoint or one of those variables is wrong.
    pub fn open(endpoint: Option<&str>) -> Result<Traces> {
        let mut exporter =
            opentelemetry_otlp::SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
        if let Some(endpoint) = endpoint {
            let wrong = || {
                Error::config("the trace endpoint is not an HTTP URL")
                    .hint("give --otlp-endpoint (OTEL_EXPORTER_OTLP_ENDPOINT) as http://HOST:4318")
            };
            let parsed: url::Url = endpoint.parse().map_err(|e| wrong().source(e))?;
            if !matches!(parsed.scheme(), "http" | "https") {
                return Err(wrong());
            }
            exporter = exporter.with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')));
        }
        let exporter = exporter.build().map_err(|e| {
            Error::config("traces cannot be sent")
                .source(e)
                .hint("check the environment variables whose names begin with OTEL_")
        })?;
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name("alluvia");
        }
        let resource = resource.with_attribute(KeyValue::new("service.version", build::VERSION));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(Reported { exporter, fails: AtomicBool::new(false) })
            .with_resource(resource.build())
            .build();
        let tracer = provider.tracer("alluvia");
        Ok(Traces { provider, tracer })
    }

    /// Makes a trace of what happened, if it is a micro-batch or an error.
    pub(super) fn tell(&self, stream: &str, event: &Event) {
        match event {
            Event::BatchCommitted(progress) => self.batch(progress),
            Event::Restarting(restart) => self.error(stream, "restart", &restart.error),
            Event::Failed { error, .. } => self.error(stream, "failure", error),
            _ => {}
        }
    }

    fn batch(&self, progress: &Progress) {
        let Some(start_ms) = from_utc(&progress.timestamp) else { return };
        let whole = Interval { start: at(start_ms), length: Duration::from_millis(progress.batch_duration) };
        let number =
            |name: &'static str, value: u64| KeyValue::new(name, i64::try_from(value).unwrap_or(i64::MAX));
        let mut attributes = vec![
            KeyValue::new("alluvia.stream", progress.name.clone()),
            KeyValue::new("alluvia.query_id", progress.id.clone()),
            KeyValue::new("alluvia.run_id", progress.run_id.clone()),
            KeyValue::new("alluvia.batch_id", progress.batch_id),
            KeyValue::new("alluvia.sink", progress.sink.description.clone()),
            number("alluvia.input_rows", progress.num_input_rows),
            number("alluvia.input_bytes", progress.alluvia.input_bytes),
            number("alluvia.output_rows", progress.sink.num_output_rows),
            number("alluvia.files", progress.alluvia.files),
            number("alluvia.file_bytes", progress.alluvia.file_bytes),
            number("alluvia.dead_letters", progress.alluvia.dead_letters),
            number("alluvia.late_rows", progress.late_rows()),
            number("alluvia.duplicate_rows", progress.duplicate_rows()),
            KeyValue::new("alluvia.lag", progress.alluvia.lag),
        ];
        if let Some(version) = progress.alluvia.table_version {
            attributes.push(number("alluvia.table_version", version));
        }
        let batch = self.span("micro-batch", whole.start, attributes, &Context::new());
        let mut next = whole.start;
        for step in STEPS.into_iter().filter(|step| *step != "triggerExecution") {
            let Some(interval) = Interval::after(&mut next, progress.duration_ms.get(step)) else { continue };
            let span = self.span(step, interval.start, Vec::new(), &batch);
            if step == "addBatch" {
                let mut next = interval.start;
                for part in ADD_BATCH_STEPS {
                    let taken = progress.alluvia.add_batch_ms.get(part);
                    let Some(interval) = Interval::after(&mut next, taken) else { continue };
                    self.span(part, interval.start, Vec::new(), &span)
                        .span()
                        .end_with_timestamp(interval.end());
                }
            }
            span.span().end_with_timestamp(interval.end());
        }
        batch.span().end_with_timestamp(whole.end());
    }

    fn error(&self, stream: &str, name: &'static str, error: &str) {
        let attributes = vec![KeyValue::new("alluvia.stream", stream.to_owned())];
        let mut span = self
            .tracer
            .build_with_context(SpanBuilder::from_name(name).with_attributes(attributes), &Context::new());
        span.set_status(Status::error(error.to_owned()));
        span.end();
    }

    /// A span that has begun, as the parent of others.
    fn span(
        &self,
        name: &'static str,
        start: SystemTime,
        attributes: Vec<KeyValue>,
        parent: &Context,
    ) -> Context {
        let builder = SpanBuilder::from_name(name).with_start_time(start).with_attributes(attributes);
        parent.with_span(self.tracer.build_with_context(builder, parent))
    }

    /// Sends what was not sent yet, for a few seconds at most.
    pub fn finish(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH_TIMEOUT) {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// When something ran.
struct Interval {
    start: SystemTime,
    length: Duration,
}

impl Interval {
    /// What took so many milliseconds from `next` on, which moves behind it; `None` if it did not run.
    fn after(next: &mut SystemTime, taken_ms: Option<&u64>) -> Option<Interval> {
        let interval = Interval { start: *next, length: Duration::from_millis(*taken_ms?) };
        *next = interval.end();
        Some(interval)
    }

    fn end(&self) -> SystemTime {
        self.start + self.length
    }
}

fn at(ms: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or_default())
}

/// An exporter that says in the log when it begins to fail, and when it works again.
#[derive(Debug)]
struct Reported<E> {
    exporter: E,
    fails: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for Reported<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.exporter.export(batch).await;
        match (&sent, self.fails.swap(sent.is_err(), Ordering::Relaxed)) {
            (Err(error), false) => {
                tracing::warn!(%error, "traces cannot be sent; the streams continue without them")
            }
            (Ok(()), true) => tracing::info!("traces are sent again"),
            _ => {}
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
