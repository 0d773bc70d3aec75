//! A function's folder on this machine: which function it is, and the archive that is sent.

use super::failure::{Failure, Outcome};
use control::publish::detect;
use std::{
    fs::File,
    io::{self, Seek as _},
    path::{Path, PathBuf},
};
use types::{Code, Fault, FunctionName, Manifest, manifest};

/// A folder that can be deployed.
#[derive(Debug, Clone)]
pub struct Folder {
    pub dir: PathBuf,
    /// Under which it is deployed: the one asked for, else the manifest's.
    pub name: FunctionName,
}

impl Folder {
    /// Reads the manifest, or tells it from the files, and checks it: a mistake costs no upload.
    ///
    /// # Errors
    /// `manifest_invalid`, `name_invalid`; a usage failure where there is no such folder.
    pub fn read(dir: &Path, name: Option<&FunctionName>) -> Outcome<Self> {
        if !dir.is_dir() {
            return Err(Failure::Usage(format!("there is no folder {}", dir.display())));
        }
        // `.` has no name of its own, and a folder's name may become the function's.
        let dir = std::path::absolute(dir).map_err(|e| Failure::machine(dir.display(), &e))?;
        let found = detect::manifest(&dir, name)?;
        Ok(Self { name: name.unwrap_or(&found.name).clone(), dir })
    }

    /// Packs the folder into a temporary file without a name. Blocks.
    ///
    /// # Errors
    /// Those of [`pack::Pack::write`]; a machine failure where no temporary file can be made.
    pub fn pack(&self) -> Outcome<(File, pack::Packed)> {
        let (file, packed) = write(&self.dir, &pack::Pack::source())?;
        match renamed(&self.dir, &self.name)? {
            Some(manifest) => repacked(file, &manifest),
            None => Ok((file, packed)),
        }
    }
}

fn write(dir: &Path, pack: &pack::Pack<'_>) -> Outcome<(File, pack::Packed)> {
    let mut file = tempfile::tempfile().map_err(temporary)?;
    let packed = pack.write(dir, &mut file)?;
    Ok((file, packed))
}

/// The folder's manifest with another name in it; `None` where it has that name, or there is no manifest.
fn renamed(dir: &Path, name: &FunctionName) -> Outcome<Option<String>> {
    let path = dir.join(manifest::FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::machine(format_args!("cannot read {}", path.display()), &error)),
    };
    let manifest = Manifest::parse(&text)?;
    if manifest.name == *name {
        return Ok(None);
    }
    let manifest = Manifest { name: name.clone(), ..manifest };
    let text =
        toml::to_string(&manifest).map_err(|e| Failure::Fault(Fault::new(Code::ManifestInvalid, e.to_string())))?;
    Ok(Some(text))
}

/// The archive with another manifest. What the archive says is what is deployed, so the name has to stand in it; the
/// author's own folder is left as it is.
fn repacked(mut file: File, manifest: &str) -> Outcome<(File, pack::Packed)> {
    let copy = tempfile::tempdir().map_err(temporary)?;
    let dir = copy.path().join("source");
    file.rewind().map_err(temporary)?;
    pack::unpack(&file, &dir, pack::Limits::default())?;
    std::fs::write(dir.join(manifest::FILE), manifest).map_err(temporary)?;
    write(&dir, &pack::Pack::built())
}

fn temporary(error: io::Error) -> Failure {
    Failure::machine("cannot use a temporary file", &error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use std::{collections::BTreeMap, fs};

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            fs::write(dir.path().join(path), text).unwrap();
        }
        dir
    }

    /// What arrives at the other end.
    fn unpacked(file: &mut File) -> BTreeMap<String, String> {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("source");
        file.rewind().unwrap();
        pack::unpack(&*file, &dest, pack::Limits::default()).unwrap();
        let files = fs::read_dir(&dest).unwrap().map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
        });
        files.collect()
    }

    const MANIFEST: &str = "# mine\nname = 'hello'\nruntime = 'python'\nentry = 'app.handler'\n[env]\nSTAGE = 'dev'\n";

    #[test]
    fn the_folder_is_sent_as_it_is() {
        let dir = folder(&[("mayfly.toml", MANIFEST), ("app.py", "x = 1"), (".gitignore", "*.log"), ("a.log", "1")]);
        let folder = Folder::read(dir.path(), None).unwrap();
        assert_eq!(folder.name.as_str(), "hello");
        let (mut file, packed) = folder.pack().unwrap();
        let files = unpacked(&mut file);
        assert_eq!((packed.files, files.len()), (3, 3));
        assert_eq!(files["mayfly.toml"], MANIFEST);
    }

    #[test]
    fn another_name_travels_in_the_manifest() {
        let dir = folder(&[("mayfly.toml", MANIFEST), ("app.py", "x = 1"), (".gitignore", "*.log"), ("a.log", "1")]);
        let folder = Folder::read(dir.path(), Some(&"hello-test".parse().unwrap())).unwrap();
        let files = unpacked(&mut folder.pack().unwrap().0);
        let sent = Manifest::parse(&files["mayfly.toml"]).unwrap();
        assert_eq!((sent.name.as_str(), sent.env["STAGE"].as_str()), ("hello-test", "dev"));
        assert_eq!(files.keys().collect::<Vec<_>>(), [".gitignore", "app.py", "mayfly.toml"]);
        assert_eq!(fs::read_to_string(dir.path().join("mayfly.toml")).unwrap(), MANIFEST, "the author's is untouched");
    }

    #[test]
    fn a_mistake_is_found_before_the_upload() {
        let dir = folder(&[("mayfly.toml", "name = 'hello'\nruntime = 'python'\nmemroy = '1GiB'")]);
        let failure = Folder::read(dir.path(), None).unwrap_err();
        assert!(matches!(&failure, Failure::Fault(f) if f.code == Code::ManifestInvalid), "{failure:?}");
        let failure = Folder::read(&dir.path().join("missing"), None).unwrap_err();
        assert!(matches!(failure, Failure::Usage(_)), "{failure:?}");
    }

    #[test]
    fn a_folder_without_a_manifest_is_told_from_its_files() {
        let dir = folder(&[("app.py", "def handler(event, context):\n    return 1\n")]);
        let named = Folder::read(dir.path(), Some(&"hello".parse().unwrap())).unwrap();
        assert_eq!(named.name.as_str(), "hello");
        assert!(!unpacked(&mut named.pack().unwrap().0).contains_key("mayfly.toml"));
    }
}
