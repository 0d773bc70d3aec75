//! The front door: HTTP in, a route, a call, an answer.
//!
//! A request's walk is [`service::Service::walk`], one line for each layer. Connections are served on lanes
//! ([`chassis::lane`]): a warm call never leaves the thread that accepted its connection. Reading order: [`serve`]
//! accepts and [`hold`] counts, [`tls`] decrypts, [`connection`] tells HTTP/1.1 from HTTP/2 ([`streams`]), [`rest`] is where
//! nothing is said, [`service`] walks with [`target`], [`caller`], [`trace`] and [`headers`], [`answer`] watches the body out.
//!
//! **Invariant**: it knows nothing about stores, instances or contracts. It lives on the last snapshot that it was
//! given and hands every call to [`wire::Invoke`].

mod access;
mod answer;
mod caller;
mod connection;
mod edge;
mod grpc;
mod headers;
mod hold;
mod options;
mod patience;
mod problem;
mod rest;
mod routes;
mod serve;
mod service;
mod sockets;
mod streams;
mod target;
mod tls;
mod trace;
mod turn;

pub use caller::{Net, Trusted};
pub use options::Options;
pub use routes::{Ask, Match, Seat, Table};
pub use serve::{Gateway, Listener, Reload};

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
