//! Java: Maven's package phase.

use super::{
    build::{Build, failed},
    run::Call,
    tree::Content,
};
use std::path::Path;
use toolchain::Tool;
use types::Fault;

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
    Ok(Content::Java)
}

fn has_jar(dir: &Path) -> bool {
    ["", "lib", "target"].iter().filter_map(|sub| std::fs::read_dir(dir.join(sub)).ok()).any(|listing| {
        listing.flatten().any(|entry| entry.path().extension().is_some_and(|extension| extension == "jar"))
    })
}
