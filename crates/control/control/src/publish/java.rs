//! Java: Maven's package phase.

use super::{
    build::{Build, failed},
    run::Call,
    tree::Content,
};
use std::path::Path;
use toolchain::Tool;
use types::{Fault, Runtime};

/// The class path of a function is `target/classes`, `target/*.jar` and `target/dependency/*.jar`; the latter by Maven's
/// dependency plugin (goal `copy-dependencies`), or everything in one jar by its shade plugin.
pub(super) async fn build(build: &Build<'_>) -> Result<Content, Fault> {
    if !build.has("pom.xml") {
        if has_jar(build.dir()) {
            build.skip("there is a jar and no pom.xml");
            return Ok(Content::Everything);
        }
        return Err(failed("the folder has neither a pom.xml to build nor a jar; other tools go into [build] command"));
    }
    let maven = build.tools.builder(Tool::Maven).await?;
    let call = Call::new("mvn", &maven.path).args(["-q", "-B", "package", "-DskipTests"]);
    build.session.run(&call.quiet_args(["-Dstyle.color=never"])).await?;
    unpack_client_library(build).await?;
    Ok(Content::Java)
}

/// Lambda's client unpacks its native library to one fixed place in `/tmp`, which the first user who does so owns; the
/// platform starts it with the path of a library of its own instead. Where the project has not put it there, it is
/// taken out of the client's jar.
async fn unpack_client_library(build: &Build<'_>) -> Result<(), Fault> {
    let (dir, library) = (build.dir(), build.dir().join("target/jni"));
    let Some(client) = client_jar(dir).filter(|_| !library.exists()) else { return Ok(()) };
    let java = build.tools.runtime(Runtime::Java).await?;
    let jar = java.and_then(|java| java.path.canonicalize().ok()).map(|java| java.with_file_name("jar"));
    let Some(jar) = jar.filter(|jar| jar.is_file()) else {
        build.skip("the JDK's `jar` is not here: the client's native library stays in its jar");
        return Ok(());
    };
    build.session.run(&Call::new("jar", &jar).args(["xf", &client, "jni"])).await?;
    std::fs::rename(dir.join("jni"), library)
        .map_err(|error| failed(format!("cannot keep the client's library: {error}")))
}

fn client_jar(dir: &Path) -> Option<String> {
    let names = std::fs::read_dir(dir.join("target/dependency"))
        .ok()?
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok());
    let mut clients =
        names.filter(|name| name.starts_with("aws-lambda-java-runtime-interface-client") && name.ends_with(".jar"));
    clients.next().map(|name| format!("target/dependency/{name}"))
}

fn has_jar(dir: &Path) -> bool {
    ["", "lib", "target"].iter().filter_map(|sub| std::fs::read_dir(dir.join(sub)).ok()).any(|listing| {
        listing.flatten().any(|entry| entry.path().extension().is_some_and(|extension| extension == "jar"))
    })
}
