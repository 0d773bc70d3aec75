//! What a server of contract `http` speaks.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The protocol between the platform and an instance; clients may speak any of ours, whatever it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum Protocol {
    #[default]
    #[serde(rename = "http/1.1")]
    Http1,
    /// HTTP/2 in the clear, by prior knowledge: what gRPC needs.
    #[serde(rename = "h2c")]
    H2c,
}

impl Protocol {
    pub const fn is_default(&self) -> bool {
        matches!(self, Self::Http1)
    }
}
