//! Compiled components on this host: made once by a child process, then only mapped.

use crate::artifact::io_fault;
use parking_lot::Mutex;
use sandbox_wasm::{Component, Engine};
use std::{
    collections::HashMap,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use types::{Code, Digest, Fault};

/// A component of 20 MB takes some 20 CPU-seconds.
const COMPILE_MAX: Duration = Duration::from_secs(300);

/// What compiles: `compiler IN OUT` as a child, so that a component which breaks the compiler breaks only that.
pub(crate) struct Modules {
    engine: Engine,
    folder: PathBuf,
    compiler: Vec<OsString>,
    /// Components in memory; weights stay small because code is mapped from the file.
    loaded: Mutex<HashMap<Digest, Component>>,
    /// One compilation at a time: each uses all cores.
    turn: tokio::sync::Mutex<()>,
}

impl Modules {
    pub(crate) fn open(engine: Engine, folder: PathBuf, compiler: Vec<OsString>) -> io::Result<Arc<Self>> {
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let current = path.to_string_lossy().ends_with(&suffix(&engine));
            // Half written ones, and those of another engine: they would never be loaded again.
            if !current {
                fs::remove_file(path)?;
            }
        }
        Ok(Arc::new(Self { engine, folder, compiler, loaded: Mutex::default(), turn: tokio::sync::Mutex::default() }))
    }

    /// The component of an artifact: from memory, from its compiled file, or compiled now.
    ///
    /// # Errors
    /// `start_failed` where it is no component or the entry is missing.
    pub(crate) async fn component(
        &self,
        digest: &Digest,
        tree: &Path,
        entry: Option<&str>,
    ) -> Result<Component, Fault> {
        let loaded = self.loaded.lock().get(digest).cloned();
        if let Some(component) = loaded {
            return Ok(component);
        }
        let compiled = self.folder.join(format!("{}{}", digest.hex(), suffix(&self.engine)));
        if !compiled.is_file() {
            let _turn = self.turn.lock().await;
            if !compiled.is_file() {
                self.compile(&wasm_file(tree, entry)?, &compiled).await?;
            }
        }
        // Mapping takes 100 µs: less than a trip to another thread and back under load.
        let component = self.engine.load(&compiled).map_err(|error| error_fault(&error))?;
        self.loaded.lock().insert(digest.clone(), component.clone());
        Ok(component)
    }

    /// Its code may be unmapped once the last call ended.
    pub(crate) fn unload(&self, digest: &Digest) {
        self.loaded.lock().remove(digest);
    }

    async fn compile(&self, wasm: &Path, compiled: &Path) -> Result<(), Fault> {
        let partial = compiled.with_extension(format!("{}.partial", std::process::id()));
        let (program, args) =
            self.compiler.split_first().ok_or_else(|| Fault::internal("no compiler for components is set up"))?;
        let child = tokio::process::Command::new(program)
            .args(args)
            .arg(wasm)
            .arg(&partial)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(COMPILE_MAX, child)
            .await
            .map_err(|_| {
                Fault::new(Code::BuildFailed, format!("the component was not compiled within {COMPILE_MAX:?}"))
            })?
            .map_err(|error| io_fault(&error))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Fault::new(Code::StartFailed, said));
        }
        fs::rename(&partial, compiled).map_err(|error| io_fault(&error))
    }
}

fn suffix(engine: &Engine) -> String {
    format!("-{}.cwasm", engine.settings_key())
}

fn error_fault(error: &sandbox_wasm::Error) -> Fault {
    Fault::new(Code::StartFailed, error.to_string())
}

/// The entry, or the only component in the folder.
fn wasm_file(tree: &Path, entry: Option<&str>) -> Result<PathBuf, Fault> {
    if let Some(entry) = entry {
        let file = tree.join(entry);
        return if file.is_file() {
            Ok(file)
        } else {
            Err(Fault::new(Code::StartFailed, format!("the entry `{entry}` is not in the artifact")))
        };
    }
    let entries = fs::read_dir(tree).map_err(|error| io_fault(&error))?;
    let mut files = entries.filter_map(Result::ok).map(|entry| entry.path());
    let files: Vec<_> = files.by_ref().filter(|path| path.extension().is_some_and(|e| e == "wasm")).collect();
    match files.as_slice() {
        [only] => Ok(only.clone()),
        _ => Err(Fault::new(Code::StartFailed, format!("{} .wasm files: name one by `entry`", files.len()))),
    }
}
