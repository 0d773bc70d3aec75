//! The only unsafe code here: mapping a compiled artifact, which is native code, into the process.

use crate::Error;
use std::path::Path;
use wasmtime::{Engine, Precompiled, component::Component};

/// Maps an artifact that [`crate::Engine::compile`] made.
///
/// # Errors
/// [`Error::Read`] where the file cannot be read, [`Error::Stale`] where it was not made by this version with these
/// settings.
pub(crate) fn load(engine: &Engine, path: &Path) -> Result<Component, Error> {
    let stale = |reason: String| Error::Stale { path: path.to_owned(), reason };
    let read = |source| Error::Read { path: path.to_owned(), source };
    // An empty file cannot be mapped, and wasmtime's own message for it says nothing.
    if std::fs::metadata(path).map_err(read)?.len() == 0 {
        return Err(stale("it is empty".into()));
    }
    match Engine::detect_precompiled_file(path) {
        Ok(Some(Precompiled::Component)) => {}
        Ok(_) => return Err(stale("it holds no compiled component".into())),
        Err(error) => return Err(stale(format!("{error:#}"))),
    }
    // SAFETY: the file holds code that we compiled ourselves from a validated component. Only the platform writes to
    // the directory it lies in, whole files renamed into place and never changed afterwards, and the file's name
    // carries the component's digest and the engine's settings. wasmtime checks version and settings once more.
    let component = unsafe { Component::deserialize_file(engine, path) };
    component.map_err(|error| stale(format!("{error:#}")))
}
