//! The nouns of Mayfly: ids, units, specs, revisions, faults and the API's documents; no I/O, no async.
//!
//! Reading order: [`id`] and [`mod@unit`] are the atoms; [`manifest`] is what a user writes, [`spec`] what it
//! becomes, with [`traffic`], [`resilience`] and [`canary`] as tables of their own; [`binding`] is what code may reach; [`breaker`] is the circuit that dispatch and bindings share; [`record`] is what the platform stores, [`route`] how its routes read; [`fault`] is how anything fails; [`api`] is how it is told.
//!
//! **Invariant**: this crate knows nothing about tokio, files or sockets.

pub mod api;
pub mod binding;
pub mod breaker;
pub mod canary;
pub mod cron;
pub mod edge;
pub mod event;
pub mod fault;
pub mod id;
pub mod key;
pub mod limit;
pub mod manifest;
pub mod protocol;
pub mod record;
pub mod resilience;
pub mod route;
pub mod scale;
pub mod scaling;
pub mod spec;
pub mod tenant;
pub mod traffic;
pub mod tunnel;
pub mod unit;

pub use canary::Canary;
pub use event::{Event, Happening};
pub use fault::{Blame, Code, Fault};
pub use id::{AliasName, Digest, FunctionName, InstanceId, InvocationId, RevisionId, TenantName};
pub use key::ApiKey;
pub use manifest::Manifest;
pub use protocol::Protocol;
pub use record::{Alias, Deployment, Function, Invocation, LogLine, Revision, Route};
pub use scale::Scale;
pub use spec::{Contract, Runtime, Spec};
pub use tunnel::Tunnel;
pub use unit::{Bytes, Millis, Timestamp};
