//! The commands that talk to a running process: `streams`, `status`, `progress` and `stop`.

use std::path::PathBuf;

use clap::Args;

use super::OutputArgs;

pub(super) const STREAMS_EXAMPLES: &str = "\
Examples:
  alluvia streams
  alluvia status device_events
  alluvia progress device_events --watch
  alluvia stop device_events

These commands talk to a running `alluvia run`. --url (ALLUVIA_URL) is its --listen address;
stop uses --control-url (ALLUVIA_CONTROL_URL) and the token in ALLUVIA_CONTROL_TOKEN.";

/// The running process to talk to.
#[derive(Debug, Clone, Args)]
pub struct ClientArgs {
    /// Address that the process listens on
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9464")]
    #[arg(env = "ALLUVIA_URL", hide_env = true)]
    pub url: String,
}

/// `alluvia streams`.
#[derive(Debug, Clone, Args)]
pub struct StreamsArgs {
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `alluvia status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// The stream to show [default: all streams]
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `alluvia progress`.
#[derive(Debug, Clone, Args)]
pub struct ProgressArgs {
    /// The stream to show, if the process has several
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Show every micro-batch as it is committed, until the stream has ended
    #[arg(long)]
    pub watch: bool,
    /// Show all micro-batches that the process keeps (100), not only the latest
    #[arg(long, conflicts_with = "watch")]
    pub recent: bool,
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `alluvia stop`.
#[derive(Debug, Clone, Args)]
pub struct StopArgs {
    /// The stream to stop
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Restart the stream once it has stopped; start it if it has failed
    #[arg(long)]
    pub restart: bool,
    /// Do not wait until the stream has stopped
    #[arg(long)]
    pub no_wait: bool,
    /// Maximum time to wait, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub timeout: u64,
    /// Address of the control listener
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9465")]
    #[arg(env = "ALLUVIA_CONTROL_URL", hide_env = true)]
    pub control_url: String,
    /// File with the token for control requests; or set ALLUVIA_CONTROL_TOKEN
    #[arg(long, value_name = "PATH", env = "ALLUVIA_CONTROL_TOKEN_FILE", hide_env = true)]
    pub control_token_file: Option<PathBuf>,
}
