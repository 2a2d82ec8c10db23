//! What operators see and use: metrics, status page, alerts, signals, secrets, the chart, the image and releases.

mod chart;
mod cluster;
mod control_tls;
pub mod monitoring;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod planted_faults;
mod release;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod secrets_sweep;
mod signals;
mod status_page;
mod traces;
