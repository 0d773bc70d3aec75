//! Why a component cannot be compiled or loaded.

use std::path::PathBuf;

/// What keeps a component from being served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This machine or these options do not suit the engine.
    #[error("the WebAssembly engine cannot start: {0}")]
    Engine(String),
    #[error("not a WebAssembly component: {0}")]
    NotComponent(String),
    #[error(
        "the component does not export wasi:http/incoming-handler@0.2 (it exports {0}): implement the world wasi:http/proxy"
    )]
    NoHandler(String),
    #[error("the component imports what this platform does not give it: {0}")]
    MissingImport(String),
    #[error("the component does not compile: {0}")]
    Compile(String),
    /// Made by another version or with other settings, or damaged: compile it again.
    #[error("{} was not made by this engine: {reason}", path.display())]
    Stale { path: PathBuf, reason: String },
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
}
