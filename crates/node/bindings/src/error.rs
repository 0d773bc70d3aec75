//! Why an outbound call has no answer.

use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no binding lets the function call {0}")]
    Denied(String),
    #[error("the request cannot be sent: {0}")]
    Invalid(String),
    #[error("this call has made its {0} outbound calls")]
    Subrequests(u32),
    #[error("{0} outbound calls are on their way, and no more may be")]
    TooMany(u32),
    #[error("the circuit of {authority} is open for another {left:.1?}")]
    Open { authority: String, left: Duration },
    #[error("{0} cannot be resolved")]
    Name(String),
    #[error("{0} is at an address that the binding does not open")]
    Address(String),
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    #[error("no connection: {0}")]
    Connect(std::io::Error),
    #[error("no TLS: {0}")]
    Tls(String),
    #[error("no answer within {0:?}")]
    FirstByteTimeout(Duration),
    #[error("the connection ended: {0}")]
    Broken(hyper::Error),
    #[error("the request's body is over {0} bytes")]
    RequestTooLarge(u64),
    #[error("the answer's body is over {0} bytes")]
    ResponseTooLarge(u64),
    #[error("the answer's body paused for over {0:?}")]
    Paused(Duration),
}

impl Error {
    /// Whether it speaks against the dependency; `None` where it says nothing about it.
    pub(crate) fn failed(&self) -> Option<bool> {
        match self {
            Self::Name(_)
            | Self::ConnectTimeout(_)
            | Self::Connect(_)
            | Self::Tls(_)
            | Self::FirstByteTimeout(_)
            | Self::Broken(_) => Some(true),
            Self::ResponseTooLarge(_) | Self::Paused(_) => Some(false),
            Self::Denied(_)
            | Self::Invalid(_)
            | Self::Subrequests(_)
            | Self::TooMany(_)
            | Self::Open { .. }
            | Self::Address(_)
            | Self::RequestTooLarge(_) => None,
        }
    }

    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Denied(_) | Self::Invalid(_) | Self::Address(_) => "denied",
            Self::Subrequests(_) | Self::TooMany(_) | Self::RequestTooLarge(_) | Self::ResponseTooLarge(_) => "limit",
            Self::Open { .. } => "circuit_open",
            Self::ConnectTimeout(_) | Self::FirstByteTimeout(_) | Self::Paused(_) => "timeout",
            Self::Name(_) | Self::Connect(_) | Self::Tls(_) | Self::Broken(_) => "failed",
        }
    }
}
