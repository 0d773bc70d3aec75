//! Go: one static binary.

use super::{
    build::{Build, blocking, disk, failed},
    run::Call,
    tree::Content,
};
use std::{fs::File, io::Read, path::Path};
use toolchain::Tool;
use types::Fault;

/// The program of a compiled function, as Lambda's custom runtimes call it.
pub(super) const PROGRAM: &str = "bootstrap";

pub(super) async fn build(build: &Build<'_>) -> Result<Content, Fault> {
    if !build.has("go.mod") {
        return prebuilt(build, "go.mod").map(|()| Content::Go);
    }
    let go = build.tools.builder(Tool::Go).await?;
    let cache = build.tools.cache.clone();
    let place = blocking(move || cache.place("go-build").map_err(disk)).await?;
    let mut call = Call::new("go", &go.path)
        .args(["build", "-trimpath", "-o", PROGRAM, "."])
        // Stamping asks git about the folders above, which are not the function's.
        .env("GOFLAGS", flags())
        .env("CGO_ENABLED", "0")
        .env("GOCACHE", &place.path);
    if !build.has("go.work") {
        call = call.env("GOWORK", "off");
    }
    build.session.run(&call).await?;
    blocking(move || {
        place.done();
        Ok(())
    })
    .await?;
    if !is_program(&build.dir().join(PROGRAM)) {
        return Err(failed("go build made no program: the folder's package is not `main`"));
    }
    Ok(Content::Go)
}

/// For another package than `main`, go writes an archive for its linker, and says nothing.
fn is_program(path: &Path) -> bool {
    let mut head = [0; 7];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head != *b"!<arch>"
}

fn flags() -> String {
    let own = std::env::var("GOFLAGS").unwrap_or_default();
    format!("{own} -buildvcs=false").trim().to_owned()
}

/// A compiled function may come with its program and without what it was built from.
pub(super) fn prebuilt(build: &Build<'_>, source: &str) -> Result<(), Fault> {
    if build.has(PROGRAM) {
        build.skip("`bootstrap` is there");
        return Ok(());
    }
    Err(failed(format!("the folder has neither {source} to build nor a built `{PROGRAM}`")))
}
