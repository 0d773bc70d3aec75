//! What the gateway is started with: limits, who is trusted, certificates, the access log.

use crate::caller::Trusted;
use std::{path::PathBuf, time::Duration};
use types::edge::Tempo;

#[derive(Debug, Clone)]
pub struct Options {
    /// Most client connections at once, tunnels among them; the next ones are told so and closed.
    pub connections_max: usize,
    /// Most requests at once on one HTTP/2 connection; a client is told so and keeps the rest back.
    pub streams_max: u32,
    /// Time for a request's head to arrive, and for a TLS handshake.
    pub head_timeout: Duration,
    /// Largest head of a request in bytes; longer ones get 431.
    pub head_max: usize,
    /// Longest path with query in bytes; longer ones get 414.
    pub url_max: usize,
    /// Largest request body, whatever the function's own limit is; larger ones get 413.
    pub body_max: Option<u64>,
    /// Time in which a client has to take something of what is sent to it; then it is cut.
    pub stall: Duration,
    /// Time for running requests and tunnels to end at a shutdown.
    pub grace: Duration,
    /// At a shutdown, an idle connection stays this long, unless [`crate::Gateway::hurry`] is told: its client may be
    /// sending the next request this very moment. What comes is answered with `Connection: close`.
    pub linger: Duration,
    /// Proxies that are believed when they say who called.
    pub trusted: Trusted,
    /// Folder with the certificates of the TLS listeners.
    pub certificates: Option<PathBuf>,
    /// Most calls of the functions of tenant `default` in a time, unless its record says otherwise; the next ones get 429.
    pub rate: Option<Tempo>,
    /// File of the access log, `-` for standard output; none is written without.
    pub access_log: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            streams_max: 256,
            head_timeout: Duration::from_secs(30),
            head_max: 64 << 10,
            url_max: 16 << 10,
            body_max: None,
            stall: Duration::from_secs(60),
            grace: Duration::from_secs(30),
            linger: Duration::from_secs(5),
            trusted: Trusted::default(),
            certificates: None,
            rate: None,
            access_log: None,
        }
    }
}
