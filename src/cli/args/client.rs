//! The commands that ask a running process: `streams`, `status`, `progress` and `stop`.

use std::path::PathBuf;

use clap::Args;

use super::OutputArgs;

pub(super) const STREAMS_EXAMPLES: &str = "\
Examples:
  alluvia streams
  alluvia status device_events
  alluvia progress device_events --watch
  alluvia stop device_events

They ask a running `alluvia run`: --url (ALLUVIA_URL) names its --listen address; stop takes
--control-url (ALLUVIA_CONTROL_URL) and the token from ALLUVIA_CONTROL_TOKEN.";

/// A running process to ask.
#[derive(Debug, Clone, Args)]
pub struct ClientArgs {
    /// The address that it listens at
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
    /// The stream; absent: all of them
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
    /// The stream, if the process has several
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Show every micro-batch as it comes, until the stream has ended
    #[arg(long)]
    pub watch: bool,
    /// Show all micro-batches that are kept (100), not the newest alone
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
    /// The stream
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Start it again when it has stopped; one that has failed is started
    #[arg(long)]
    pub restart: bool,
    /// Do not wait until it has stopped
    #[arg(long)]
    pub no_wait: bool,
    /// How many seconds it may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub timeout: u64,
    /// The address of the control listener
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9465")]
    #[arg(env = "ALLUVIA_CONTROL_URL", hide_env = true)]
    pub control_url: String,
    /// File with the token that control requests must bear; or set ALLUVIA_CONTROL_TOKEN
    #[arg(long, value_name = "PATH", env = "ALLUVIA_CONTROL_TOKEN_FILE", hide_env = true)]
    pub control_token_file: Option<PathBuf>,
}
