//! The control plane as a role: the real server on a socket, real stores, its peers played by the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod aliases;
mod calls;
mod canary;
mod crash;
mod deploys;
mod functions;
mod keys;
mod peers;
mod routes;
mod tenants;
mod world;
