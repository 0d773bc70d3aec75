//! Builds each function of `examples/` as a deploy does, twice, and prints what it took. Needs the packages' registries.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use mayfly_control::publish::{BuildLog, Cache, Tools, build, detect};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Instant,
};
use toolchain::Toolchain;

#[derive(Default)]
struct Kept(Mutex<String>);

impl BuildLog for Kept {
    fn step(&self, text: &str) {
        *self.0.lock().unwrap() += &format!("# {text}\n");
    }
    fn line(&self, text: &str) {
        *self.0.lock().unwrap() += &format!("{text}\n");
    }
}

/// `EXAMPLE` names one, `EXAMPLES` another folder of them.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes, and the packages' registries: cargo test -p mayfly-control --test publish_examples -- --ignored --nocapture"]
async fn each_example_builds() {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples");
    let root = std::env::var_os("EXAMPLES").map_or(ours, PathBuf::from);
    let wanted = std::env::var("EXAMPLE").ok();
    let mut folders: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir() && wanted.as_ref().is_none_or(|name| path.ends_with(name)));
    folders.sort();
    let dir = tempfile::tempdir().unwrap();
    let tools = Tools::new(Toolchain::discover(true), Cache::open(dir.path().join("cache"), 4 << 30).unwrap());
    let mut failures = Vec::new();
    println!(
        "{:<14} {:>8} {:>8} {:>10} {:>12} {:>7}",
        "example", "first s", "again s", "packed KiB", "unpacked KiB", "files"
    );
    for folder in folders {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let mut row = Vec::new();
        for turn in 0..2 {
            let log = Kept::default();
            match one(&folder, &dir.path().join(format!("{name}-{turn}")), &tools, &log).await {
                Ok((seconds, packed)) => row.push((seconds, packed)),
                Err(fault) => {
                    println!("{name:<14} {fault}\n{}", log.0.lock().unwrap());
                    failures.push(name.clone());
                    break;
                }
            }
        }
        if let [(first, _), (again, packed)] = row.as_slice() {
            let (kib, unpacked) = (packed.packed_bytes >> 10, packed.unpacked_bytes >> 10);
            println!("{name:<14} {first:>8.1} {again:>8.1} {kib:>10} {unpacked:>12} {:>7}", packed.files);
        }
    }
    assert!(failures.is_empty(), "{failures:?}");
}

async fn one(folder: &Path, work: &Path, tools: &Tools, log: &Kept) -> Result<(f64, pack::Packed), types::Fault> {
    let mut stream = Vec::new();
    pack::Pack::source().write(folder, &mut stream)?;
    pack::unpack(&*stream, work, pack::Limits::default())?;
    let began = Instant::now();
    let manifest = detect::manifest(work, None)?;
    let built = build(work, &manifest, tools, log).await?;
    let packed = built.pack(std::io::sink(), pack::Limits::default(), None)?;
    Ok((began.elapsed().as_secs_f64(), packed))
}
