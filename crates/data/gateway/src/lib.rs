//! The front door: HTTP in, a route, a call, an answer.
//!
//! A request's walk is [`service::Service::walk`], one line for each layer. Connections are served on lanes
//! ([`chassis::lane`]): a warm call never leaves the thread that accepted its connection.
//!
//! **Invariant**: it knows nothing about stores, instances or contracts. It lives on the last snapshot that it was
//! given and hands every call to [`wire::Invoke`].

mod edge;
mod headers;
mod problem;
mod routes;
mod serve;
mod service;

pub use routes::{Ask, Match, Table};
pub use serve::{Gateway, Options};

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
