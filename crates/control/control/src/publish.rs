//! From a folder to an artifact: what it is, how its language builds it, and what of it is packed.
//!
//! Reading order: [`detect`] tells the manifest of a folder; [`build()`] runs the language's own tools in it, one module
//! for each language; [`BuiltTree::pack`] writes what is left. [`run`] starts the tools and ends them with all their
//! children, [`output`] bounds what they print, [`Cache`] makes the second build fast.
//!
//! **Invariant**: this module works on paths and `types`; it knows nothing about HTTP, records or instances.

mod build;
mod cache;
mod cargo;
pub mod detect;
mod go;
mod java;
mod node;
mod output;
mod python;
mod run;
mod tree;
mod wasm;

pub use build::{Tools, build};
pub use cache::Cache;
pub use output::BuildLog;
pub use tree::BuiltTree;
