//! WebAssembly components of the world `wasi:http/proxy`, each call in an instance of its own.
//!
//! [`Engine::compile`] makes an artifact once, at publish; [`Engine::load`] maps it; [`Component::call`] then walks:
//! take a slot of the pool → instantiate → call `handle` → the head is there → the body streams → drop the instance.
//!
//! **Invariants**: nothing of one call is seen by the next; no piece of guest code runs longer than two ticks without
//! giving the lane back; loading never compiles; the guest reaches no file and no socket, and other HTTP
//! servers only by a binding ([`outbound`]).

mod artifact;
mod body;
mod call;
mod engine;
mod error;
mod guest;
mod limit;
mod log;
mod outbound;
mod state;
mod ticker;

pub use call::{Component, Limits};
pub use engine::{Engine, Options};
pub use error::Error;
pub use log::{LogSink, Output};
