//! What an answer's error code says: refused, not allowed, not there, or nothing came back.

use rdkafka::error::RDKafkaErrorCode;

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

/// Whether the text of a lost connection, or of a line of the log, says that the other side closed it.
pub(super) fn is_closed(text: &str) -> bool {
    ["Disconnected", "Broken pipe", "Connection reset"].iter().any(|part| text.contains(part))
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
