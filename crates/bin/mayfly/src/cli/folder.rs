//! A function's folder on this machine: which function it is, and the archive that is sent.

use super::failure::{Failure, Outcome};
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};
use types::{Code, Fault, FunctionName, Manifest, manifest};

/// A folder that can be deployed.
#[derive(Debug, Clone)]
pub struct Folder {
    pub dir: PathBuf,
    /// Under which it is deployed: the one asked for, else the manifest's.
    pub name: FunctionName,
    pub manifest: Manifest,
}

impl Folder {
    /// Reads the manifest and checks it, so that a mistake costs no upload.
    ///
    /// # Errors
    /// `manifest_invalid`, `name_invalid`; a usage failure where there is no such folder.
    pub fn read(dir: &Path, name: Option<&FunctionName>) -> Outcome<Self> {
        if !dir.is_dir() {
            return Err(Failure::Usage(format!("there is no folder {}", dir.display())));
        }
        let path = dir.join(manifest::FILE);
        let manifest = match std::fs::read_to_string(&path) {
            Ok(text) => Manifest::parse(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => detect(dir)?,
            Err(error) => return Err(Failure::machine(format_args!("cannot read {}", path.display()), &error)),
        };
        let name = name.unwrap_or(&manifest.name).clone();
        Ok(Self { dir: dir.to_owned(), name, manifest })
    }

    /// Packs the folder into a temporary file without a name. Blocks.
    ///
    /// # Errors
    /// Those of [`pack::Pack::write`]; a machine failure where no temporary file can be made.
    pub fn pack(&self, progress: &dyn Fn(u64)) -> Outcome<(File, pack::Packed)> {
        let mut file = tempfile::tempfile().map_err(|e| Failure::machine("cannot make a temporary file", &e))?;
        let packed = pack::Pack::source().progress(progress).write(&self.dir, &mut file)?;
        Ok((file, packed))
    }
}

/// The manifest that the folder's files tell.
fn detect(dir: &Path) -> Outcome<Manifest> {
    Err(Fault::new(Code::ManifestInvalid, format!("{} has no {}", dir.display(), manifest::FILE)).into())
}
