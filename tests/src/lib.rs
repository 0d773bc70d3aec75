//! What the end-to-end tests stand on: the real binary, started in folders of its own, and plain clients to talk to it.
//!
//! [`Platform`] starts and kills the platform; [`Cli`] runs its verbs; [`Folder`] writes the functions that a test
//! deploys; [`http`] speaks to what they become; [`archive`] makes uploads that no honest client sends; [`processes`]
//! looks at what runs; [`python`] runs clients from PyPI; [`wait`] waits for a state.
//!
//! **Invariant**: it knows the platform by its command line, its API and `/proc` only; no crate of the product is
//! linked, so nothing here can agree with a defect.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod archive;
pub mod cli;
pub mod folder;
pub mod http;
pub mod platform;
pub mod processes;
pub mod python;
mod spawn;
pub mod wait;

pub use cli::{Cli, Ended, Running};
pub use folder::Folder;
pub use http::{Client, Response};
pub use platform::{Platform, Start};
pub use wait::{eventually, none_left, until};
