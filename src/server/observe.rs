//! The observe listener: metrics, health, read-only status, the page. Nothing here changes anything.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};

use super::{OPENAPI, about, page};
use crate::observe::Reporter;

/// The content type of Prometheus' text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Every path of the status API; the control listener has them too.
pub(super) fn status_paths() -> [(&'static str, MethodRouter<Reporter>); 8] {
    [
        ("/api/v1/openapi.json", get(openapi)),
        ("/api/v1/streams", get(list)),
        ("/api/v1/streams/{name}", get(info)),
        ("/api/v1/streams/{name}/status", get(status)),
        ("/api/v1/streams/{name}/progress", get(progress)),
        ("/api/v1/streams/{name}/recent-progress", get(recent_progress)),
        ("/api/v1/streams/{name}/history", get(history)),
        ("/api/v1/streams/{name}/lag", get(lag)),
    ]
}

/// Every path of the observe listener alone.
pub(super) fn own_paths() -> [(&'static str, MethodRouter<Reporter>); 4] {
    [("/", get(page::page)), ("/metrics", get(metrics)), ("/livez", get(livez)), ("/readyz", get(readyz))]
}

/// The observe listener.
pub(super) fn routes(reporter: Reporter) -> Router {
    let paths = status_paths().into_iter().chain(own_paths());
    paths.fold(Router::new(), |router, (path, answer)| router.route(path, answer)).with_state(reporter)
}

async fn metrics(State(reporter): State<Reporter>) -> Response {
    ([(header::CONTENT_TYPE, TEXT_FORMAT)], reporter.metrics()).into_response()
}

/// The process answers: that is all that a restart by its supervisor could mend.
async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(reporter): State<Reporter>) -> Response {
    let reasons = reporter.not_ready();
    if reasons.is_empty() {
        return "ok\n".into_response();
    }
    let mut text = reasons.join("\n");
    text.push('\n');
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn list(State(reporter): State<Reporter>) -> Response {
    Json(reporter.list()).into_response()
}

async fn info(State(reporter): State<Reporter>, name: Path<String>) -> Response {
    about(&reporter, &name, Reporter::info)
}

async fn status(State(reporter): State<Reporter>, name: Path<String>) -> Response {
    about(&reporter, &name, |reporter, name| Some(reporter.info(name)?.status))
}

async fn progress(State(reporter): State<Reporter>, name: Path<String>) -> Response {
    about(&reporter, &name, |reporter, name| Some(reporter.recent_progress(name)?.pop()))
}

async fn recent_progress(State(reporter): State<Reporter>, name: Path<String>) -> Response {
    about(&reporter, &name, Reporter::recent_progress)
}

async fn history(State(reporter): State<Reporter>, name: Path<String>) -> Response {
    about(&reporter, &name, Reporter::history)
}

async fn lag(State(reporter): State<Reporter>, name: Path<String>) -> Response {
    about(&reporter, &name, Reporter::partitions)
}
