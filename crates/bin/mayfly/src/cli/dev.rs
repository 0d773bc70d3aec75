//! `mayfly dev`: a platform of its own for one folder, which is deployed again on every save.

mod watch;

use super::{
    args::DevArgs,
    deploy,
    failure::{Failure, Outcome},
    folder::Folder,
    logs, place,
    progress::Progress,
    screen::Screen,
    table,
};
use crate::{
    client::{Client, Token},
    server,
};
use serde_json::json;
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{signal::unix, task::JoinHandle};
use types::{FunctionName, LogLine};
use watch::Watch;

/// For what runs when it is stopped.
const GRACE: Duration = Duration::from_secs(2);
const FREE_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

pub async fn run(screen: Screen, args: &DevArgs) -> Outcome {
    // A folder that is none costs no start; a manifest that is wrong is told, and may be mended by the next save.
    if !args.dir.is_dir() {
        return Err(Failure::Usage(format!("there is no folder {}", args.dir.display())));
    }
    let data = tempfile::Builder::new()
        .prefix("mayfly-dev-")
        .tempdir()
        .map_err(|e| Failure::machine("cannot make a temporary folder", &e))?;
    let options = server::Options {
        data_dir: data.path().to_owned(),
        listen: args.listen,
        api: FREE_PORT,
        admin: FREE_PORT,
        lanes: Some(1),
        take_over: false,
        tls_listen: FREE_PORT,
        // A page that is open in a browser keeps its WebSocket: who stops this does not wait for it.
        gateway: gateway::Options { grace: GRACE, ..gateway::Options::default() },
        calls_max: None,
        wasm: sandbox_wasm::Options::default(),
        rehearse_outages: false,
    };
    let platform = server::start(options).await.map_err(|e| Failure::Machine(format!("cannot start: {e:#}")))?;
    let token = Token { path: data.path().join(place::TOKEN_FILE), value: Ok(platform.token.clone()) };
    let client = Client::new(&platform.api_url, token)?;
    let mut dev = Dev { screen, client, progress: Arc::new(Progress::for_reloads(&screen)), follower: None };
    let outcome = tokio::select! {
        outcome = dev.work(args.dir.clone()) => outcome,
        outcome = interrupted() => outcome,
    };
    dev.progress.clear();
    drop(dev);
    let stopped = platform.stop().await.map_err(|e| Failure::Machine(format!("the platform did not stop well: {e:#}")));
    outcome.and(stopped)
}

/// Ctrl-C, or a polite end by somebody else.
async fn interrupted() -> Outcome {
    let signal = |kind| unix::signal(kind).map_err(|e| Failure::machine("cannot wait for signals", &e));
    let (mut interrupt, mut terminate) =
        (signal(unix::SignalKind::interrupt())?, signal(unix::SignalKind::terminate())?);
    tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    Ok(())
}

struct Dev {
    screen: Screen,
    client: Client,
    progress: Arc<Progress>,
    /// Shows the logs of the function that was deployed last.
    follower: Option<Follower>,
}

struct Follower {
    name: FunctionName,
    task: JoinHandle<()>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Dev {
    /// Deploys now and after each save; ends only by a failure of this machine.
    async fn work(&mut self, dir: PathBuf) -> Outcome {
        // Watching comes first, so that no save between is missed.
        let mut watch = Watch::new(&dir)?;
        let mut since = Instant::now();
        loop {
            match self.deploy(&dir).await {
                Ok((name, done)) => self.tell(&name, &done, since)?,
                Err(failure @ Failure::Unread) => return Err(failure),
                Err(failure) => self.tell_failure(&failure)?,
            }
            since = watch.changed().await?;
        }
    }

    async fn deploy(&self, dir: &std::path::Path) -> Outcome<(FunctionName, deploy::Done)> {
        let folder = Folder::read(dir, None)?;
        let done = deploy::publish(&self.client, &self.progress, &folder, deploy::AT_ONCE).await?;
        Ok((folder.name, done))
    }

    fn tell(&mut self, name: &FunctionName, done: &deploy::Done, since: Instant) -> Outcome {
        self.progress.clear();
        let ms = since.elapsed().as_millis() as u64;
        let first = self.follower.as_ref().is_none_or(|follower| follower.name != *name);
        if first {
            self.follow(name.clone());
        }
        let event = if first { "ready" } else { "reloaded" };
        if self.screen.json {
            return self.screen.document(&json!({
                "event": event, "ms": ms, "url": done.deployment.url, "deployment": done.deployment,
            }));
        }
        let paint = self.screen.paint_out();
        let revision = done.deployment.revision.as_ref().map(ToString::to_string).unwrap_or_default();
        let text = match (first, done.deployment.unchanged) {
            (true, _) => {
                let url = done.deployment.url.clone().unwrap_or_default();
                format!("{name} {}\nsave a file and it reloads; Ctrl-C ends it", paint.bold(&url))
            }
            (false, true) => format!("{} unchanged: {revision} keeps serving", paint.dim("·")),
            (false, false) => {
                format!("{} reloaded in {} ({revision})", paint.green("✓"), table::millis(ms))
            }
        };
        self.screen.line(&text)
    }

    fn tell_failure(&self, failure: &Failure) -> Outcome {
        self.progress.clear();
        if self.screen.json {
            return self.screen.document(&json!({ "event": "failed", "problem": failure.document() }));
        }
        self.screen.note(failure.text(self.screen.paint_err()).trim_end());
        let kept = if self.follower.is_some() { "what ran before keeps serving" } else { "nothing runs yet" };
        self.screen.note(&format!("{kept}; the next save tries again"));
        Ok(())
    }

    fn follow(&mut self, name: FunctionName) {
        let (client, screen, progress) = (self.client.clone(), self.screen, Arc::clone(&self.progress));
        let path = format!("/functions/{name}/logs?follow=true&tail=100");
        let task = tokio::spawn(async move {
            if let Err(failure) = show_logs(&client, &path, &screen, &progress).await {
                failure.show(&screen);
            }
        });
        self.follower = Some(Follower { name, task });
    }
}

async fn show_logs(client: &Client, path: &str, screen: &Screen, progress: &Progress) -> Outcome {
    let mut lines = client.lines::<LogLine>(path).await?;
    while let Some(line) = lines.next().await? {
        progress.beside(|| {
            if screen.json {
                screen.document(&json!({ "event": "log", "line": line }))
            } else {
                screen.line(&logs::words(&line, screen.paint_out()))
            }
        })?;
    }
    Ok(())
}
