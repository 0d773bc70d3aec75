//! What of a built folder becomes the artifact.

use std::{
    io::Write,
    path::{Component, Path, PathBuf},
};
use types::Fault;

/// A folder after its build, ready to be packed.
#[derive(Debug)]
pub struct BuiltTree {
    root: PathBuf,
    content: Content,
}

/// Which files run, and which were only needed to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// Interpreted languages, and what came built.
    Everything,
    /// `bootstrap` and whatever is no source: templates, static files, `mayfly.toml`.
    Go,
    Rust,
    /// The same with what Maven leaves in `target`: jars, classes, dependencies.
    Java,
    /// These files and `mayfly.toml`: a component can read no others.
    Component(PathBuf),
}

impl BuiltTree {
    pub(super) fn new(root: &Path, content: Content) -> Self {
        Self { root: root.to_owned(), content }
    }

    /// Packs what runs, within `limits`; `progress` hears the bytes done. Blocks.
    ///
    /// # Errors
    /// As [`pack::Pack::write`].
    pub fn pack(
        &self,
        writer: impl Write,
        limits: pack::Limits,
        progress: Option<&dyn Fn(u64)>,
    ) -> Result<pack::Packed, Fault> {
        let keep = |path: &Path| self.content.keeps(path);
        let mut pack = pack::Pack::built().limits(limits);
        if self.content != Content::Everything {
            pack = pack.keep(&keep);
        }
        if let Some(progress) = progress {
            pack = pack.progress(progress);
        }
        pack.write(&self.root, writer)
    }
}

/// What Maven makes on the way.
const MAVEN_BYPRODUCTS: [&str; 10] = [
    "maven-status",
    "maven-archiver",
    "generated-sources",
    "generated-test-sources",
    "test-classes",
    "surefire-reports",
    "failsafe-reports",
    "site",
    "apidocs",
    "antrun",
];

impl Content {
    fn keeps(&self, path: &Path) -> bool {
        let mut parts = path.components().filter_map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        });
        let first = parts.next().unwrap_or_default();
        let extension = path.extension().and_then(|ext| ext.to_str()).unwrap_or_default();
        match self {
            Self::Everything => true,
            Self::Go => {
                let build_file = matches!(first, "go.mod" | "go.sum" | "go.work" | "go.work.sum" | "vendor");
                !build_file && extension != "go"
            }
            Self::Rust => {
                let build_file = matches!(
                    first,
                    "Cargo.toml"
                        | "Cargo.lock"
                        | ".cargo"
                        | "target"
                        | "src"
                        | "rust-toolchain"
                        | "rust-toolchain.toml"
                );
                !build_file && extension != "rs"
            }
            Self::Java if first == "target" => {
                let second = parts.next().unwrap_or_default();
                let spare = |suffix: &str| second.ends_with(suffix);
                !(MAVEN_BYPRODUCTS.contains(&second)
                    || spare("-sources.jar")
                    || spare("-javadoc.jar")
                    || spare("-tests.jar")
                    || spare(".jar.original")
                    || (second.starts_with("original-") && spare(".jar")))
            }
            Self::Java => !matches!(first, "pom.xml" | "src" | ".mvn" | "mvnw" | "mvnw.cmd"),
            Self::Component(entry) => path == entry || path == Path::new(types::manifest::FILE),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_build_needed_stays_behind() {
        let component = Content::Component("dist/app.wasm".into());
        for (content, kept, left) in [
            (
                &Content::Go,
                &["bootstrap", "mayfly.toml", "static/a.css", "internal/x.tmpl"][..],
                &["main.go", "go.mod", "go.sum", "vendor/a/b.txt", "internal/x.go"][..],
            ),
            (
                &Content::Rust,
                &["bootstrap", "mayfly.toml", "templates/a.html"],
                &["src/main.rs", "src/a.txt", "Cargo.toml", "Cargo.lock", "target/x", ".cargo/config.toml", "build.rs"],
            ),
            (
                &Content::Java,
                &[
                    "target/function.jar",
                    "target/classes/a/B.class",
                    "target/dependency/x.jar",
                    "target/jni/x.so",
                    "conf/a",
                ],
                &[
                    "pom.xml",
                    "src/main/java/A.java",
                    "target/maven-status/x",
                    "target/test-classes/A.class",
                    "target/a-sources.jar",
                    "target/original-a.jar",
                ],
            ),
            (&component, &["dist/app.wasm", "mayfly.toml"], &["package.json", "node_modules/a/b.wasm", "app.wasm"]),
            (&Content::Everything, &["a", "target/x", "src/main.rs"], &[]),
        ] {
            for path in kept {
                assert!(content.keeps(Path::new(path)), "{content:?} {path}");
            }
            for path in left {
                assert!(!content.keeps(Path::new(path)), "{content:?} {path}");
            }
        }
    }
}
