//! nginx before the same upstream: what everybody knows.

use crate::{
    cpu::Meter,
    load::{Address, Connection},
    platform::end,
};
use anyhow::{Context, bail, ensure};
use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

const READY_MAX: Duration = Duration::from_secs(10);
const PROGRAM: &str = "nginx";

/// A running nginx with a configuration of its own; it ends when this is dropped.
pub struct Nginx {
    child: Child,
    address: SocketAddr,
    _place: TempDir,
}

impl Nginx {
    /// Proxies `/` to a UNIX socket, with as many workers as the platform has lanes. Where `same_work`, it also sets
    /// the headers that the platform sets.
    pub async fn start(socket: &Path, workers: usize, same_work: bool) -> anyhow::Result<Self> {
        install()?;
        let place = tempfile::Builder::new().prefix("mayfly-bench-nginx-").tempdir()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let file = place.path().join("nginx.conf");
        fs::write(&file, configuration(place.path(), address, socket, workers, same_work))?;
        let log = place.path().join("stderr");
        let child = Command::new(PROGRAM)
            .arg("-p")
            .arg(place.path())
            .arg("-e")
            .arg(place.path().join("error.log"))
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("cannot start nginx")?;
        let mut nginx = Self { child, address, _place: place };
        nginx.wait(&log).await?;
        Ok(nginx)
    }

    async fn wait(&mut self, log: &Path) -> anyhow::Result<()> {
        let begun = Instant::now();
        while Connection::open(&self.address()).await.is_err() {
            if self.child.try_wait()?.is_some() || begun.elapsed() > READY_MAX {
                bail!("nginx does not start: {}", fs::read_to_string(log)?);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    pub fn address(&self) -> Address {
        Address::Tcp(self.address)
    }

    /// Its workers; the master has nothing to do.
    pub fn meter(&self) -> anyhow::Result<Meter> {
        Meter::children(self.child.id())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn configuration(place: &Path, address: SocketAddr, socket: &Path, workers: usize, same_work: bool) -> String {
    let (place, socket) = (place.display(), socket.display());
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let headers = if same_work {
        "proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header Mayfly-Request-Id $request_id;
            add_header Mayfly-Request-Id $request_id;"
    } else {
        ""
    };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {place}/{kind};\n    "))
        .concat();
    format!(
        r#"{user}
daemon off;
worker_processes {workers};
pid {place}/pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    {temporary}upstream function {{
        server unix:{socket};
        keepalive 256;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {address};
        location / {{
            proxy_pass http://function;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            {headers}
        }}
    }}
}}
"#
    )
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn works() -> bool {
    Command::new(PROGRAM).arg("-v").stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Installs nginx where it is missing and this may: as root on Debian. No service is started.
fn install() -> anyhow::Result<()> {
    if works() {
        return Ok(());
    }
    let debian = Path::new("/etc/debian_version").exists() && rustix::process::geteuid().is_root();
    ensure!(debian, "nginx is not here: install it (package nginx-light on Debian) and run this again");
    println!("installing nginx");
    let apt = |args: &[&str]| -> anyhow::Result<()> {
        let mut command = Command::new("apt-get");
        // The package's script starts no service in run level 1.
        command.env("RUNLEVEL", "1").env("DEBIAN_FRONTEND", "noninteractive").args(args).stdout(Stdio::null());
        ensure!(command.status()?.success(), "apt-get {} failed", args.join(" "));
        Ok(())
    };
    apt(&["update", "-q"])?;
    apt(&["install", "-qy", "--no-install-recommends", "nginx-light"])?;
    ensure!(works(), "nginx was installed and does not run");
    Ok(())
}
