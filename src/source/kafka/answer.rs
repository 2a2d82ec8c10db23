//! What an answer's error code says: refused, not allowed, not there, or nothing came back; and how
//! long one that nothing proves is doubted.

use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;

/// How long an answer that nothing proves must stay the same before it is believed that a partition is gone, or ends before
/// what was read: longer than a broker that was replaced takes to notice (`replica.lag.time.max.ms`, 30 s by default, bounds
/// how far behind a new leader may be), and than one that has just started takes to learn of its topics.
pub(super) const DOUBT_TIMEOUT: Duration = Duration::from_secs(30);

/// Whether the brokers refuse who we say we are: no wait mends it.
pub(super) fn is_refusal(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::UnsupportedSASLMechanism
            | RDKafkaErrorCode::IllegalSASLState
    )
}

/// Whether the brokers know us, but do not let us.
pub(super) fn is_forbidden(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed)
}

/// Whether the answer means that the topic or partition is not there.
pub(super) fn is_missing(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::UnknownTopicId
    )
}

/// Whether an error only says that nothing came back.
pub(super) fn is_silence(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::RequestTimedOut
            | RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::NoEnt
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::TimedOutQueue
    )
}
