//! The ways to an instance, one kind for each contract.

pub(crate) mod body;
pub(crate) mod command;
pub(crate) mod component;
pub(crate) mod expect;
pub(crate) mod frame;
pub(crate) mod h2c;
pub(crate) mod handler;
pub(crate) mod http;
pub(crate) mod limit;
pub(crate) mod runtime_api;
pub(crate) mod tunnel;
pub(crate) mod upload;
pub(crate) mod vitals;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
