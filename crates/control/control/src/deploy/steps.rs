//! The steps that know languages: they belong to `publish`.

use super::BuildLog;
use std::path::{Path, PathBuf};
use toolchain::Toolchain;
use types::{Code, Fault, Manifest, Runtime, manifest};

/// The folder that becomes the artifact.
pub(super) struct Built(PathBuf);

pub(super) fn manifest(folder: &Path) -> Result<Manifest, Fault> {
    let text = std::fs::read_to_string(folder.join(manifest::FILE))
        .map_err(|error| Fault::new(Code::ManifestInvalid, format!("{}: {error}", manifest::FILE)))?;
    Manifest::parse(&text)
}

pub(super) async fn build(
    _toolchain: &Toolchain,
    manifest: &Manifest,
    folder: &Path,
    log: &BuildLog,
) -> Result<Built, Fault> {
    if !matches!(manifest.runtime, Runtime::Binary | Runtime::Wasm) {
        return Err(Fault::new(Code::RuntimeUnavailable, format!("runtime {} is not built yet", manifest.runtime)));
    }
    log.tool("nothing to build");
    Ok(Built(folder.to_owned()))
}

pub(super) fn pack(built: &Built, out: &std::fs::File) -> Result<pack::Packed, Fault> {
    pack::Pack::built().write(&built.0, out)
}
