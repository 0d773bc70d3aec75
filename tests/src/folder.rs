//! Functions as folders, written by the test that needs them.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

/// A function's folder; gone when dropped.
#[derive(Debug)]
pub struct Folder {
    pub name: String,
    root: tempfile::TempDir,
}

impl Folder {
    /// A folder without files.
    pub fn empty(name: &str) -> Self {
        let root = tempfile::Builder::new().prefix("mayfly-fn-").tempdir().unwrap();
        fs::create_dir(root.path().join(name)).unwrap();
        Self { name: name.to_owned(), root }
    }

    /// With a manifest of the name and these lines.
    pub fn new(name: &str, manifest: &str) -> Self {
        Self::empty(name).file("mayfly.toml", &format!("name = \"{name}\"\n{manifest}\n"))
    }

    /// A Python handler `app.handler`; `manifest` has what else is to be set.
    pub fn python(name: &str, manifest: &str, code: &str) -> Self {
        Self::new(name, &format!("runtime = \"python\"\nentry = \"app.handler\"\n{manifest}")).file("app.py", code)
    }

    /// A Node handler `index.handler`.
    pub fn node(name: &str, manifest: &str, code: &str) -> Self {
        Self::new(name, &format!("runtime = \"nodejs\"\nentry = \"index.handler\"\n{manifest}")).file("index.js", code)
    }

    /// A Node server `server.js`.
    pub fn node_server(name: &str, manifest: &str, code: &str) -> Self {
        let head = "runtime = \"nodejs\"\ncontract = \"http\"\nentry = \"server.js\"";
        Self::new(name, &format!("{head}\n{manifest}")).file("server.js", code)
    }

    /// A Python server `server.py`.
    pub fn python_server(name: &str, manifest: &str, code: &str) -> Self {
        let head = "runtime = \"python\"\ncontract = \"http\"\ncommand = [\"python3\", \"server.py\"]";
        Self::new(name, &format!("{head}\n{manifest}")).file("server.py", code)
    }

    /// A shell script, a process for each call.
    pub fn command(name: &str, manifest: &str, script: &str) -> Self {
        let head = "runtime = \"binary\"\ncontract = \"command\"\ncommand = [\"/bin/sh\", \"run.sh\"]";
        Self::new(name, &format!("{head}\n{manifest}")).file("run.sh", script)
    }

    #[must_use]
    pub fn file(self, path: &str, text: &str) -> Self {
        self.write(path, text);
        self
    }

    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn make_executable(&self, path: &str) {
        fs::set_permissions(self.path().join(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub fn path(&self) -> PathBuf {
        self.root.path().join(&self.name)
    }

    pub fn arg(&self) -> String {
        self.path().to_str().unwrap().to_owned()
    }
}
