//! Folders to deploy: made, or copied from the examples, in a place of their own.

use crate::options::workspace;
use anyhow::Context;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// What an example does not need to be deployed, and what may be large.
const LEFT_OUT: [&str; 3] = ["target", "node_modules", "__pycache__"];

/// `examples/NAME` as `place/NAME`, with `more` at the end of its manifest.
pub fn example(place: &Path, name: &str, more: &str) -> anyhow::Result<PathBuf> {
    let from = workspace().join("examples").join(name);
    let to = place.join(name);
    copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    let manifest = to.join("mayfly.toml");
    let text = fs::read_to_string(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    fs::write(&manifest, format!("{text}\n{more}"))?;
    Ok(to)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if LEFT_OUT.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// This program as a function of contract `http`; `more` is the rest of its manifest.
pub fn server(place: &Path, name: &str, args: &[&str], more: &str) -> anyhow::Result<PathBuf> {
    let folder = place.join(name);
    fs::create_dir_all(&folder)?;
    fs::copy(std::env::current_exe()?, folder.join("server"))?;
    let command = [&["./server", "upstream"], args].concat();
    let manifest =
        format!("name = \"{name}\"\nruntime = \"binary\"\ncontract = \"http\"\ncommand = {command:?}\n{more}");
    fs::write(folder.join("mayfly.toml"), manifest)?;
    Ok(folder)
}

/// One instance that is always there.
pub fn upstream(place: &Path, name: &str) -> anyhow::Result<PathBuf> {
    server(place, name, &[], "concurrency = 1000\n[scale]\nmin = 1\nmax = 1\n")
}

/// `slots` exclusive instances, each call of which takes `service`.
pub fn slow(place: &Path, name: &str, slots: u32, service: Duration, wait: Duration) -> anyhow::Result<PathBuf> {
    let more = format!(
        "concurrency = 1\n[scale]\nmin = {slots}\nmax = {slots}\n[resilience]\nwait = \"{}ms\"\n",
        wait.as_millis()
    );
    server(place, name, &["--service-ms", &service.as_millis().to_string()], &more)
}

/// The example component under another name; `salt` makes its bytes differ from all others'.
pub fn component(place: &Path, name: &str, salt: Option<&str>) -> anyhow::Result<PathBuf> {
    let folder = place.join(name);
    fs::create_dir_all(&folder)?;
    let mut wasm = fs::read(hello_wasm())?;
    if let Some(salt) = salt {
        // A custom section: its id, its size, the length of its name, its name. All lengths fit into one byte.
        let name = salt.as_bytes().get(..salt.len().min(100)).unwrap_or_default();
        wasm.extend_from_slice(&[0, name.len() as u8 + 1, name.len() as u8]);
        wasm.extend_from_slice(name);
    }
    fs::write(folder.join("component.wasm"), wasm)?;
    fs::write(folder.join("mayfly.toml"), format!("name = \"{name}\"\nruntime = \"wasm\"\n"))?;
    Ok(folder)
}

pub fn hello_wasm() -> PathBuf {
    workspace().join("examples/hello-wasm/hello.wasm")
}
