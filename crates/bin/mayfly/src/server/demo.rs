//! `mayfly up --demo`: deploys the examples, calls each once, shows what came back.

mod ask;

use crate::{
    cli::{
        deploy,
        folder::Folder,
        progress::Progress,
        screen::Screen,
        table::{micros, millis},
    },
    client::{Client, Token},
};
use ask::Ask;
use serde_json::json;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Instant,
};
use types::{
    Manifest, Runtime,
    api::{Info, InstanceList},
    manifest,
};

/// An answer is shown in one line of the table.
const ANSWER_SHOWN: usize = 60;

/// One line of the table.
struct Row {
    function: String,
    runtime: Runtime,
    url: String,
    /// From nothing to an instance that can be called.
    cold_us: u64,
    warm_us: u64,
    status: u16,
    answer: String,
}

/// Deploys every example whose toolchain is here; failures are told and leave the platform up.
pub async fn run(folder: &Path, api_url: &str, token: &str, gateway: SocketAddr, json: bool) {
    let screen = Screen::of_this_process(json);
    let token = Token { path: PathBuf::new(), value: Ok(token.to_owned()) };
    let shown = match Client::new(api_url, token) {
        Ok(client) => Demo { client, gateway, screen }.run(folder).await,
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = shown {
        eprintln!("the demo ended early: {error}");
    }
}

struct Demo {
    client: Client,
    gateway: SocketAddr,
    screen: Screen,
}

impl Demo {
    async fn run(&self, folder: &Path) -> Result<(), String> {
        let examples = examples(folder)?;
        let info: Info = self.client.get("/info").await.map_err(|error| error.to_string())?;
        self.title(examples.len());
        let mut left_out = Vec::new();
        for (path, manifest) in examples {
            let runtime = info.runtimes.iter().find(|known| known.runtime == manifest.runtime);
            let row = match runtime.filter(|known| !known.available) {
                Some(missing) => Err(missing.detail.clone()),
                None => self.try_one(&path, &manifest).await,
            };
            match row {
                Ok(row) => self.show(&row),
                Err(reason) => left_out.push((manifest.name, reason)),
            }
        }
        for (name, reason) in left_out {
            if self.screen.json {
                println!("{}", json!({"function": name, "left_out": reason}));
            } else {
                println!("left out: {name}: {reason}");
            }
        }
        if !self.screen.json {
            println!("\nThe platform stays up. Ctrl-C ends it; `mayfly list` in another terminal shows the functions.");
        }
        Ok(())
    }

    fn title(&self, count: usize) {
        if !self.screen.json {
            println!(
                "\n{count} examples: each is built, deployed and called once; the first time some tools fetch packages"
            );
            println!("{:<16} {:<8} {:<38} {:>8} {:>8}  answer", "function", "runtime", "URL", "cold", "warm");
        }
    }

    fn show(&self, row: &Row) {
        if self.screen.json {
            let line = json!({
                "function": row.function, "runtime": row.runtime, "url": row.url, "cold_us": row.cold_us,
                "warm_us": row.warm_us, "status": row.status, "answer": row.answer,
            });
            println!("{line}");
            return;
        }
        let answer: String = row.answer.replace('\n', " ").chars().take(ANSWER_SHOWN).collect();
        println!(
            "{:<16} {:<8} {:<38} {:>8} {:>8}  {} {}",
            row.function,
            row.runtime.as_str(),
            row.url,
            millis(row.cold_us / 1000),
            micros(row.warm_us),
            row.status,
            answer
        );
    }

    async fn try_one(&self, path: &Path, manifest: &Manifest) -> Result<Row, String> {
        let ask = Ask::of(path, manifest)?;
        let folder = Folder::read(path, None).map_err(|failure| failure.message())?;
        let progress = Progress::quiet(&self.screen);
        let done = deploy::publish(&self.client, &progress, &folder, deploy::AT_ONCE).await;
        progress.clear();
        let deployment = done.map_err(|failure| failure.message())?.deployment;
        let url = deployment.url.clone().unwrap_or_default();
        // The first call may still be cold, where the same revision was live before; the second is not.
        ask.call(self.gateway).await.map_err(|fault| fault.to_string())?;
        let instances: InstanceList = self
            .client
            .get(&format!("/functions/{}/instances", manifest.name))
            .await
            .map_err(|error| error.to_string())?;
        let started = instances.instances.iter().map(|instance| instance.start_us.iter().map(|(_, us)| us).sum());
        let begun = Instant::now();
        let (status, answer) = ask.call(self.gateway).await.map_err(|fault| fault.to_string())?;
        Ok(Row {
            function: manifest.name.to_string(),
            runtime: manifest.runtime,
            url,
            cold_us: started.max().unwrap_or(0),
            warm_us: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
            status,
            answer,
        })
    }
}

/// The examples' folders, those that build fastest first.
fn examples(asked: &Path) -> Result<Vec<(PathBuf, Manifest)>, String> {
    let source = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../examples"));
    let folder = [asked, source].into_iter().find(|folder| folder.is_dir());
    let folder = folder.ok_or_else(|| format!("there is no folder {}", asked.display()))?;
    let entries = std::fs::read_dir(folder).map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
    let mut examples = Vec::new();
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let Ok(text) = std::fs::read_to_string(path.join(manifest::FILE)) else { continue };
        let manifest = Manifest::parse(&text).map_err(|fault| format!("{}: {fault}", path.display()))?;
        examples.push((path, manifest));
    }
    examples.sort_by_key(|(path, manifest)| (cost(path, manifest.runtime), manifest.name.clone()));
    Ok(examples)
}

/// How long a build may take, roughly.
fn cost(path: &Path, runtime: Runtime) -> u8 {
    let has = |file: &str| path.join(file).is_file();
    match runtime {
        Runtime::Binary => 0,
        Runtime::Nodejs | Runtime::Python if !has("package-lock.json") && !has("requirements.txt") => 0,
        Runtime::Wasm if !has("package.json") => 1,
        Runtime::Python | Runtime::Go => 2,
        Runtime::Nodejs | Runtime::Java => 3,
        Runtime::Rust | Runtime::Wasm => 4,
    }
}
