//! What a revision is made of: the manifest with every default filled in.

use crate::{
    binding::Binding,
    edge::Edge,
    protocol::Protocol,
    resilience::Resilience,
    scale::Scale,
    traffic::Traffic,
    tunnel::Tunnel,
    unit::{Bytes, Millis},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};
use utoipa::ToSchema;

/// What runs the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    Nodejs,
    Python,
    Java,
    Go,
    Rust,
    Binary,
    Wasm,
}

impl Runtime {
    pub const ALL: [Self; 7] = [Self::Nodejs, Self::Python, Self::Java, Self::Go, Self::Rust, Self::Binary, Self::Wasm];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nodejs => "nodejs",
            Self::Python => "python",
            Self::Java => "java",
            Self::Go => "go",
            Self::Rust => "rust",
            Self::Binary => "binary",
            Self::Wasm => "wasm",
        }
    }
}
impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How code is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Contract {
    /// Lambda's Runtime API `2018-06-01`, or our bootstrap for a plain Node or Python handler.
    Handler,
    /// A server on `$PORT` or on the UNIX socket `$MAYFLY_SOCKET`.
    Http,
    /// A process per call: body on stdin, answer on stdout.
    Command,
    /// A WebAssembly component that exports `wasi:http/incoming-handler`.
    Component,
}

impl Contract {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Handler => "handler",
            Self::Http => "http",
            Self::Command => "command",
            Self::Component => "component",
        }
    }

    /// Slots per instance where the manifest says nothing: one for handlers (as Lambda), 80 for servers
    /// (as Cloud Run), as many processes at once as a small host stands, and one store per Wasm call.
    pub const fn default_concurrency(self) -> u32 {
        match self {
            Self::Handler => 1,
            Self::Http => 80,
            Self::Command => 16,
            Self::Component => 1000,
        }
    }

    /// Largest request and response body where the manifest says nothing; `None` is unlimited (streamed).
    /// Source for 6 MiB: Lambda's synchronous payload limit.
    pub const fn default_body_limit(self) -> Option<Bytes> {
        match self {
            Self::Handler => Some(Bytes::mib(6)),
            Self::Command | Self::Http | Self::Component => None,
        }
    }
}
impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A revision's configuration: immutable, complete, the same for every instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Spec {
    pub runtime: Runtime,
    pub contract: Contract,
    /// `http`: what the server speaks.
    #[serde(default, skip_serializing_if = "Protocol::is_default")]
    pub protocol: Protocol,
    /// What the runtime loads: `index.handler`, `app.main`, `example.Handler::handleRequest`, a file.
    pub entry: Option<String>,
    /// Replaces the runtime's own start command: program and arguments, run in the artifact's folder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    #[schema(value_type = String, example = "256MiB")]
    pub memory: Bytes,
    #[schema(value_type = String, example = "30s")]
    pub timeout: Millis,
    /// Slots per instance: 1 = exclusive.
    pub concurrency: u32,
    pub scale: Scale,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Largest request body; `None` is unlimited.
    #[schema(value_type = Option<String>)]
    pub request_max: Option<Bytes>,
    /// Largest response body; `None` is unlimited.
    #[schema(value_type = Option<String>)]
    pub response_max: Option<Bytes>,
    /// `http`: ready once `GET` of this path answers 2xx or 3xx; without it, once the socket accepts.
    pub ready_path: Option<String>,
    /// Longest time from start to ready.
    #[schema(value_type = String, example = "10s")]
    pub start_timeout: Millis,
    /// Time between SIGTERM and SIGKILL.
    #[schema(value_type = String, example = "10s")]
    pub stop_grace: Millis,
    /// How calls are spread. Left out of what identifies a revision where the manifest has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// What happens under too much load and when calls fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resilience: Option<Resilience>,
    /// How long a connection that changed its protocol may stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Tunnel>,
    /// What the gateway does for it; `None` is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge: Option<Box<Edge>>,
    /// What the code may reach, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bindings: BTreeMap<String, Binding>,
}

impl Spec {
    /// The longest that a call can take, a tunnel among them.
    pub fn call_max(&self) -> Millis {
        self.tunnel.and_then(|tunnel| tunnel.timeout).map_or(self.timeout, |timeout| timeout.max(self.timeout))
    }
}
