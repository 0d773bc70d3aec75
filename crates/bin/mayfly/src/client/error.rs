//! How a request to the API fails.

use super::Token;
use http::StatusCode;
use types::Fault;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("`{url}` is no API address: {why}")]
    Url { url: String, why: String },
    /// No connection could be made.
    #[error("no platform answers at {url} ({cause})")]
    Unreachable { url: String, cause: String },
    /// The connection was there and broke, or nothing came any more.
    #[error("the connection to {url} broke: {cause}")]
    Broken { url: String, cause: String },
    /// Something answered that speaks another language.
    #[error("{url} answered {status}, but not as a Mayfly API does: {body}")]
    Foreign { url: String, status: StatusCode, body: String },
    /// The platform refuses, and says why.
    #[error(transparent)]
    Fault(Fault),
    /// The platform refuses the token, or the lack of one.
    #[error("{fault}")]
    Unauthorized { fault: Fault, token: Token },
}
