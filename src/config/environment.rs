//! The environment variables that Alluvia reads on its own: a small set, all of them here.
//!
//! `${env:NAME}` in a file may name any other variable.

use super::document::Node;
use super::lookup::Lookup;
use super::origin::Origin;
use super::secrets;

/// One variable.
pub(super) struct Variable {
    pub name: &'static str,
    /// The key that it sets for every stream; `None` if a command reads it.
    pub key: Option<&'static str>,
    pub text: &'static str,
}

/// Every variable; the documentation is generated from them, too.
pub(super) static VARIABLES: &[Variable] = &[
    Variable {
        name: "ALLUVIA_LOG",
        key: None,
        text: "What to log, as `--log`: `info`, `debug`, or a filter.",
    },
    Variable { name: "ALLUVIA_LOG_FORMAT", key: None, text: "As `--log-format`: `text`, `json` or `auto`." },
    Variable {
        name: "ALLUVIA_MEMORY_LIMIT",
        key: Some("memoryLimit"),
        text: "The `memoryLimit` of every stream.",
    },
    Variable { name: "ALLUVIA_LANES", key: Some("lanes"), text: "The `lanes` of every stream." },
    Variable {
        name: "ALLUVIA_SHUTDOWN_TIMEOUT",
        key: Some("shutdownTimeout"),
        text: "The `shutdownTimeout` of every stream.",
    },
    Variable {
        name: "ALLUVIA_LISTEN",
        key: None,
        text: "As `--listen`: the address for metrics, health, status API and status page, or `off`.",
    },
    Variable {
        name: "ALLUVIA_CONTROL_LISTEN",
        key: None,
        text: "As `--control-listen`: the address at which streams can be stopped, or `off`.",
    },
    Variable {
        name: "ALLUVIA_CONTROL_TOKEN",
        key: None,
        text: "The token that control requests must carry; `alluvia stop` sends it. Required if other machines can reach the control listener.",
    },
    Variable {
        name: "ALLUVIA_CONTROL_TOKEN_FILE",
        key: None,
        text: "A file with that token, as `--control-token-file`.",
    },
    Variable {
        name: "ALLUVIA_CONTROL_TLS_CERTIFICATE",
        key: None,
        text: "As `--control-tls-certificate`: a file with the certificate of the control listener.",
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
        text: "As `--url` of `alluvia streams`, `status` and `progress`: the address of a running process.",
    },
    Variable {
        name: "ALLUVIA_CONTROL_URL",
        key: None,
        text: "As `--control-url` of `alluvia stop`: the address of a running process's control listener.",
    },
    Variable {
        name: "ALLUVIA_OWNER",
        key: None,
        text: "A name of this process that survives restarts, such as that of a pod. A new process immediately takes over a stream whose owner has the same name, and the old owner stops (exit code 5). Never give two processes the same name. If unset, a stream is taken over only after its owner has ended. `alluvia check` under the name NAME accepts owners called NAME/… as well.",
    },
];

/// Applies the variables that are set to a stream.
pub(super) fn lay_over(stream: &mut Node, lookup: &dyn Lookup) {
    for variable in VARIABLES {
        let Some(key) = variable.key else { continue };
        if let Some(value) = lookup.env(variable.name).filter(|v| !v.is_empty()) {
            let origin = Origin::Environment(variable.name);
            stream.set(&[key], Node::text(origin, secrets::escape(&value)));
        }
    }
}
