//! What a librdkafka client says about itself.
//!
//! Log lines and errors of the client go to `tracing` (target `librdkafka`), never with a secret: librdkafka prints no
//! credential.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{debug, warn};

use super::answer::{is_closed, is_refusal};
use super::throttle::Throttle;

/// The last thing that went wrong in a client, for the message of whoever waits in vain.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub(super) code: RDKafkaErrorCode,
    pub(super) text: String,
}

/// The callbacks of a client: log lines to `tracing`, the latest trouble kept.
#[derive(Default)]
pub(super) struct ClientEvents {
    latest: Mutex<Option<Trouble>>,
    pub(super) worked: AtomicBool,
    stray: AtomicBool,
    throttle: Arc<Throttle>,
}

impl ClientEvents {
    /// Callbacks that report throttle times to `throttle`.
    pub(super) fn new(throttle: Arc<Throttle>) -> ClientEvents {
        ClientEvents { throttle, ..ClientEvents::default() }
    }

    /// The latest trouble since [`ClientEvents::forget`].
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The brokers answered: past trouble is over.
    pub(super) fn forget(&self) {
        self.worked.store(true, Ordering::Relaxed);
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A message lost its way to the queue it belongs to.
    pub(super) fn note_stray(&self) {
        self.stray.store(true, Ordering::Relaxed);
    }

    /// Whether a message lost its way since this was last asked.
    pub(super) fn take_stray(&self) -> bool {
        self.stray.swap(false, Ordering::Relaxed)
    }

    /// Keeps trouble; a refused login or certificate is not hidden by the lost connection that follows. A broker that
    /// refuses our certificate only closes the connection: what TLS says of it is in the text.
    pub(super) fn keep(&self, code: RDKafkaErrorCode, text: &str) {
        let code = match code {
            _ if is_tls_refusal(text) => RDKafkaErrorCode::SSL,
            RDKafkaErrorCode::Authentication if is_cut_handshake(text) => {
                RDKafkaErrorCode::BrokerTransportFailure
            }
            code => code,
        };
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let telling = |code| is_refusal(code) || code == RDKafkaErrorCode::SSL;
        if latest.as_ref().is_none_or(|old| !telling(old.code) || telling(code)) {
            // That all brokers are down is what followed from the trouble before it.
            let cause = latest.take().filter(|_| code == RDKafkaErrorCode::AllBrokersDown);
            let text = cause.map_or_else(|| text.to_owned(), |cause| cause.text);
            *latest = Some(Trouble { code, text });
        }
    }

    /// Keeps what the log says of a connection that was closed before one has worked: often no error says it.
    fn keep_closed(&self, message: &str) {
        if self.worked.load(Ordering::Relaxed) || !is_closed(message) {
            return;
        }
        let text = message.split_once("]: ").map_or(message, |(_, text)| text).to_owned();
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        match latest.as_mut() {
            None => *latest = Some(Trouble { code: RDKafkaErrorCode::BrokerTransportFailure, text }),
            Some(old)
                if matches!(
                    old.code,
                    RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown
                ) =>
            {
                old.text = text;
            }
            Some(_) => {}
        }
    }
}

impl ClientContext for ClientEvents {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.keep_closed(message);
        match level {
            _ if is_repeated(message) => debug!(target: "librdkafka", facility, "{message}"),
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => warn!(target: "librdkafka", facility, "{message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                debug!(target: "librdkafka", facility, "{message}");
            }
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.throttle.note(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        // A group is named but never joined: what its coordinator answers does not matter here.
        let about_group = matches!(
            code,
            RDKafkaErrorCode::GroupAuthorizationFailed | RDKafkaErrorCode::CoordinatorNotAvailable
        );
        debug!(target: "librdkafka", code = ?code, "{reason}");
        if !about_group {
            self.keep(code, reason);
        }
    }
}

impl ConsumerContext for ClientEvents {}

/// Whether the text of a lost connection is a broker's refusal by TLS (RFC 8446, 6.2: alerts about certificates).
fn is_tls_refusal(text: &str) -> bool {
    let text = text.to_lowercase();
    text.contains("alert")
        && ["certificate", "unknown ca", "handshake failure", "protocol version"]
            .iter()
            .any(|part| text.contains(part))
}

/// Whether librdkafka says again what it has said of the same broker: at once the first time, then every 30 seconds.
fn is_repeated(message: &str) -> bool {
    message.contains("identical error(s) suppressed)")
}

/// Whether librdkafka calls a login refused of which it had no answer: the connection ended, or the time was over, while it
/// asked for the mechanisms. Its own reasons begin with `Local:`, a broker's with `Broker:`.
fn is_cut_handshake(text: &str) -> bool {
    text.contains("mechanism handshake failed: Local:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_the_broker_refuses_is_told_from_a_lost_connection() {
        let events = ClientEvents::default();
        let text = "ssl://b:9093/bootstrap: SSL transport error: ssl/record/rec_layer_s3.c:907:error:0A00045C:SSL routines::tlsv13 alert certificate required: SSL alert number 116";
        events.keep(RDKafkaErrorCode::BrokerTransportFailure, text);
        assert_eq!(events.trouble().unwrap().code, RDKafkaErrorCode::SSL);
        assert!(!is_tls_refusal("Disconnected (after 3 ms in state UP)"));
    }

    #[test]
    fn a_connection_that_ends_within_the_login_is_no_refused_login() {
        let events = ClientEvents::default();
        let text = |why: &str| {
            format!(
                "sasl_ssl://b:9093/0: SASL PLAIN mechanism handshake failed: {why}: broker's supported mechanisms: (n/a)"
            )
        };
        events.keep(RDKafkaErrorCode::Authentication, &text("Local: Broker transport failure"));
        assert_eq!(events.trouble().unwrap().code, RDKafkaErrorCode::BrokerTransportFailure);
        events.keep(RDKafkaErrorCode::Authentication, &text("Broker: Unsupported SASL mechanism"));
        assert_eq!(events.trouble().unwrap().code, RDKafkaErrorCode::Authentication);
    }

    #[test]
    fn what_is_said_again_is_told_from_what_is_new() {
        let why = "b:9092/bootstrap: Failed to resolve 'b:9092': Name or service not known (after 2ms in state CONNECT";
        assert!(!is_repeated(&format!("{why})")));
        assert!(is_repeated(&format!("{why}, 1 identical error(s) suppressed)")));
    }

    #[test]
    fn a_closed_connection_that_only_the_log_names_is_kept_until_one_has_worked() {
        let line = "[thrd:b:9093/bootstrap]: b:9093/bootstrap: Disconnected: connection closed by peer";
        let events = ClientEvents::default();
        events.keep(RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down");
        events.log(RDKafkaLogLevel::Info, "FAIL", "[thrd:main]: something else");
        events.log(RDKafkaLogLevel::Info, "FAIL", line);
        let trouble = events.trouble().unwrap();
        assert_eq!(trouble.code, RDKafkaErrorCode::AllBrokersDown);
        assert_eq!(trouble.text, "b:9093/bootstrap: Disconnected: connection closed by peer");
        events.keep(RDKafkaErrorCode::Authentication, "refused");
        events.log(RDKafkaLogLevel::Info, "FAIL", line);
        assert_eq!(events.trouble().unwrap().text, "refused");
        events.forget();
        events.log(RDKafkaLogLevel::Info, "FAIL", line);
        assert!(events.trouble().is_none(), "brokers close idle connections");
    }

    #[test]
    fn that_all_brokers_are_down_does_not_hide_why() {
        let events = ClientEvents::default();
        let why = "b:9092/bootstrap: Failed to resolve 'b:9092': Name or service not known";
        events.keep(RDKafkaErrorCode::Resolve, why);
        events.keep(RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down");
        let trouble = events.trouble().unwrap();
        assert_eq!((trouble.code, trouble.text.as_str()), (RDKafkaErrorCode::AllBrokersDown, why));
        events.forget();
        events.keep(RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down");
        assert_eq!(events.trouble().unwrap().text, "1/1 brokers are down");
    }

    #[test]
    fn a_lost_connection_does_not_hide_the_refused_login_before_it() {
        let events = ClientEvents::default();
        events.keep(RDKafkaErrorCode::Authentication, "bad password");
        events.keep(RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down");
        assert_eq!(events.trouble().unwrap().code, RDKafkaErrorCode::Authentication);
    }
}
