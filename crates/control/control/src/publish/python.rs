//! Python: dependencies by pip into a folder of the function, for the interpreter that will run it.

use super::{
    build::{Build, blocking, failed},
    cache, node,
    run::Call,
};
use std::path::Path;
use types::{Code, Fault, Runtime};

/// Where dependencies go; the agent puts it on the module path.
const PACKAGES: &str = ".mayfly/python";

pub(super) async fn build(build: &Build<'_>) -> Result<(), Fault> {
    let found = build.tools.runtime(Runtime::Python).await?;
    let python = found.ok_or_else(|| Fault::internal("python has no interpreter"))?;
    let requirements = node::read(build, "requirements.txt")?;
    let listed = match (&requirements, node::read(build, "pyproject.toml")?) {
        (Some(_), _) => vec!["-r".to_owned(), "requirements.txt".to_owned()],
        (None, Some(project)) => project_dependencies(&project)?,
        (None, None) => Vec::new(),
    };
    if listed.is_empty() {
        build.skip("there is no requirements.txt, and no dependencies in pyproject.toml");
    } else {
        let pinned = requirements.filter(|text| pinned(text));
        let key = pinned.map(|text| {
            let parts = [text.as_str(), &python.version, &python.path.to_string_lossy(), std::env::consts::ARCH];
            cache::key("python", parts.map(str::as_bytes))
        });
        let cached = match &key {
            Some(key) => build.fetch(key, PACKAGES).await?,
            None => false,
        };
        if !cached {
            install(build, &python.path, &listed).await?;
            compile(build, &python.path, &[PACKAGES]).await;
            if let Some(key) = key
                && build.dir().join(PACKAGES).is_dir()
            {
                build.keep(&key, PACKAGES).await?;
            }
        }
    }
    // What came from the cache is compiled already; compileall would do it again.
    compile(build, &python.path, &[".", "-x", r"(^|/)\.mayfly/"]).await;
    Ok(())
}

async fn install(build: &Build<'_>, python: &Path, listed: &[String]) -> Result<(), Fault> {
    let call =
        pip(build, python).await?.args(["install", "--target", PACKAGES]).args(listed).quiet_args(["--no-compile"]);
    let call = [("PIP_DISABLE_PIP_VERSION_CHECK", "1"), ("PIP_NO_INPUT", "1"), ("PIP_ROOT_USER_ACTION", "ignore")]
        .into_iter()
        .chain([("PIP_PROGRESS_BAR", "off"), ("PIP_USER", "0")])
        .fold(call, |call, (key, value)| call.env(key, value));
    build.session.run(&call).await
}

/// pip for `python`: its own, or another's that can install for it (since pip 22.3).
async fn pip(build: &Build<'_>, python: &Path) -> Result<Call, Fault> {
    let own = Call::new("pip", python).quiet_args(["-m", "pip"]);
    if build.session.succeeds(&own.clone().args(["--version"])).await {
        return Ok(own);
    }
    let toolchain = build.tools.toolchain.clone();
    for other in blocking(move || Ok(toolchain.pythons())).await? {
        let call = Call::new("pip", &other.path).quiet_args(["-m", "pip", "--python"]).quiet_args([python]);
        if build.session.succeeds(&call.clone().args(["--version"])).await {
            return Ok(call);
        }
    }
    let detail = format!(
        "{} has no pip, and no other Python here has one that can install for it (22.3 or newer). \
         Install pip (Debian: apt-get install python3-pip)",
        python.display()
    );
    Err(Fault::new(Code::RuntimeUnavailable, detail))
}

/// Writes the bytecode, which the function's own user couldn't: without it each cold start compiles everything anew.
/// By hash and unchecked, because Python's usual check compares times, and unpacking sets new ones.
async fn compile(build: &Build<'_>, python: &Path, what: &[&str]) {
    let by_hash = ["-qq", "--invalidation-mode", "unchecked-hash"];
    let call = Call::new("python", python).args(["-m", "compileall"]).quiet_args(by_hash).quiet_args(what);
    // It fails for each file that is no valid Python, as templates in packages are; what matters fails when it is run.
    let _ = build.session.succeeds(&call).await;
}

/// `[project] dependencies`, as arguments for pip.
fn project_dependencies(text: &str) -> Result<Vec<String>, Fault> {
    let table: toml::Table = text.parse().map_err(|e| failed(format!("pyproject.toml: {e}")))?;
    let listed = table.get("project").and_then(|project| project.get("dependencies")).and_then(toml::Value::as_array);
    let listed = listed.into_iter().flatten().filter_map(|value| value.as_str());
    // A dependency that looks like an option would be one.
    listed
        .map(|text| {
            if text.starts_with('-') {
                Err(failed(format!("pyproject.toml: `{text}` is no dependency")))
            } else {
                Ok(text.to_owned())
            }
        })
        .collect()
}

/// Whether each line names one version, so that tomorrow's tree would be today's (but for what those depend on, which
/// is frozen with them).
fn pinned(requirements: &str) -> bool {
    let joined = requirements.replace("\\\n", " ");
    joined.lines().map(|line| line.split(" #").next().unwrap_or_default().trim()).all(|line| {
        let comment = line.is_empty() || line.starts_with('#');
        let exact = line.contains("==") && !line.contains('*') && !line.starts_with('-') && !line.contains('@');
        comment || exact
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_versions_are_pinned() {
        for good in [
            "",
            "# none\n",
            "flask==3.0.1\n",
            "a==1 # why\n\nb[x]==2 ; python_version > '3'\n",
            "a==1 \\\n  --hash=sha256:0\n",
        ] {
            assert!(pinned(good), "{good}");
        }
        for bad in
            ["flask", "flask>=3", "a==1\nb", "a==1.*", "-r other.txt", "-e ./x", "./local", "x @ file:///x", "a~=1.0"]
        {
            assert!(!pinned(bad), "{bad}");
        }
    }

    #[test]
    fn a_projects_dependencies_are_read() {
        let text = "[project]\nname = 'x'\ndependencies = ['flask>=3', 'httpx']\n";
        assert_eq!(project_dependencies(text).unwrap(), ["flask>=3", "httpx"]);
        assert!(project_dependencies("[tool.x]\n").unwrap().is_empty());
        assert!(project_dependencies("[project]\ndependencies = ['--index-url=x']").is_err());
        assert!(project_dependencies("[project").unwrap_err().detail.contains("pyproject.toml"));
    }
}
