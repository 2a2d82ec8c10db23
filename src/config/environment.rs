//! The environment variables that Alluvia reads by itself: a small set, all of them here.
//!
//! `${env:NAME}` in a file may name any other.

use super::document::Node;
use super::lookup::Lookup;
use super::origin::Origin;
use super::secrets;

/// One variable.
pub(super) struct Variable {
    pub name: &'static str,
    /// The key of every stream that it sets; `None` if a command reads it.
    pub key: Option<&'static str>,
    pub text: &'static str,
}

/// Every variable, for the documentation too.
pub(super) static VARIABLES: &[Variable] = &[
    Variable {
        name: "ALLUVIA_LOG",
        key: None,
        text: "What is logged, as `--log`: `info`, `debug`, or a filter.",
    },
    Variable { name: "ALLUVIA_LOG_FORMAT", key: None, text: "As `--log-format`: `text`, `json` or `auto`." },
    Variable {
        name: "ALLUVIA_MEMORY_LIMIT",
        key: Some("memoryLimit"),
        text: "`memoryLimit` of every stream.",
    },
    Variable { name: "ALLUVIA_LANES", key: Some("lanes"), text: "`lanes` of every stream." },
    Variable {
        name: "ALLUVIA_SHUTDOWN_TIMEOUT",
        key: Some("shutdownTimeout"),
        text: "`shutdownTimeout` of every stream.",
    },
    Variable {
        name: "ALLUVIA_LISTEN",
        key: None,
        text: "As `--listen`: the address of metrics, health, status API and page, or `off`.",
    },
    Variable {
        name: "ALLUVIA_CONTROL_LISTEN",
        key: None,
        text: "As `--control-listen`: the address at which streams can be stopped, or `off`.",
    },
    Variable {
        name: "ALLUVIA_CONTROL_TOKEN",
        key: None,
        text: "The token that control requests must bear; `alluvia stop` sends it. A control listener that other machines reach needs one.",
    },
    Variable {
        name: "ALLUVIA_CONTROL_TOKEN_FILE",
        key: None,
        text: "A file with that token, as `--control-token-file`.",
    },
    Variable {
        name: "ALLUVIA_CONTROL_TLS_CERTIFICATE",
        key: None,
        text: "As `--control-tls-certificate`: a file with the certificate that the control listener shows.",
    },
    Variable {
        name: "ALLUVIA_CONTROL_TLS_KEY",
        key: None,
        text: "As `--control-tls-key`: a file with the private key of that certificate.",
    },
    Variable {
        name: "ALLUVIA_PROGRESS_FILE",
        key: None,
        text: "As `--progress-file`: a file for JSON progress lines, `-` for standard output.",
    },
    Variable {
        name: "ALLUVIA_URL",
        key: None,
        text: "As `--url` of `alluvia streams`, `status` and `progress`: a running process.",
    },
    Variable {
        name: "ALLUVIA_CONTROL_URL",
        key: None,
        text: "As `--control-url` of `alluvia stop`: the control listener of a running process.",
    },
    Variable {
        name: "ALLUVIA_OWNER",
        key: None,
        text: "A name of this process that survives restarts, such as a pod's. A new process takes a stream over at once from one of its own name, which stops (exit code 5): give no two processes one name. Absent: a stream is taken over only from a process that has ended.",
    },
];

/// Lays the variables that are set over a stream.
pub(super) fn lay_over(stream: &mut Node, lookup: &dyn Lookup) {
    for variable in VARIABLES {
        let Some(key) = variable.key else { continue };
        if let Some(value) = lookup.env(variable.name).filter(|v| !v.is_empty()) {
            let origin = Origin::Environment(variable.name);
            stream.set(&[key], Node::text(origin, secrets::escape(&value)));
        }
    }
}
