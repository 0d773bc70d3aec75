//! Tells what a folder is: by its manifest, or by its files where it has none; and fills in what the files say.

use super::{node::Package, wasm};
use std::{fs, io::Read, path::Path};
use types::{Code, Contract, Fault, FunctionName, Manifest, Runtime, manifest};

/// Longest file that is read to find out about a folder.
const READ_MAX: u64 = 1 << 20;
/// Longest name: a DNS label.
const NAME_MAX: usize = 63;

/// The manifest of `folder`, with `entry` filled in where the files tell it. Without a `mayfly.toml` the runtime is told
/// from the files, and the name is `name` or comes from the folder's.
///
/// # Errors
/// `manifest_invalid` saying what to write into `mayfly.toml`; `name_invalid`.
pub fn manifest(folder: &Path, name: Option<&FunctionName>) -> Result<Manifest, Fault> {
    let files = Files(folder);
    let mut manifest = match files.read(manifest::FILE)? {
        Some(text) => Manifest::parse(&text)?,
        None => guess(&files, name)?,
    };
    complete(&mut manifest, &files)?;
    Ok(manifest)
}

/// The files of a folder as far as they matter here.
struct Files<'a>(&'a Path);

impl Files<'_> {
    fn has(&self, file: &str) -> bool {
        self.0.join(file).is_file()
    }

    fn first<'f>(&self, files: &[&'f str]) -> Option<&'f str> {
        files.iter().find(|file| self.has(file)).copied()
    }

    fn read(&self, file: &str) -> Result<Option<String>, Fault> {
        if !self.has(file) {
            return Ok(None);
        }
        let mut text = String::new();
        let read = fs::File::open(self.0.join(file)).and_then(|f| f.take(READ_MAX).read_to_string(&mut text));
        read.map(|_| Some(text)).map_err(|e| invalid(file, e))
    }

    /// For guesses: what can't be read says nothing.
    fn text(&self, file: &str) -> String {
        self.read(file).ok().flatten().unwrap_or_default()
    }

    fn package(&self) -> Result<Option<Package>, Fault> {
        let Some(text) = self.read("package.json")? else { return Ok(None) };
        Package::parse(&text).map(Some).map_err(|fault| Fault::new(Code::ManifestInvalid, fault.detail))
    }

    fn with_extension(&self, extension: &str) -> bool {
        let listing = fs::read_dir(self.0).into_iter().flatten().flatten();
        listing.map(|entry| entry.path()).any(|path| path.extension().is_some_and(|ext| ext == extension))
    }
}

const PYTHON_FILES: [&str; 4] = ["app.py", "main.py", "lambda_function.py", "handler.py"];
const PYTHON_SERVERS: [&str; 4] = ["main.py", "app.py", "server.py", "wsgi.py"];
/// As people name them: Lambda's own default is the second.
const PYTHON_HANDLERS: [&str; 3] = ["handler", "lambda_handler", "main"];
const NODE_FILES: [&str; 6] = ["index.js", "index.mjs", "index.cjs", "handler.js", "handler.mjs", "handler.cjs"];
const NODE_SERVERS: [&str; 6] = ["server.js", "server.mjs", "app.js", "app.mjs", "index.js", "index.mjs"];
const NODE_FRAMEWORKS: [&str; 7] = ["express", "fastify", "koa", "hono", "@hapi/hapi", "next", "@nestjs/core"];

/// A manifest for a folder that has none.
fn guess(files: &Files<'_>, name: Option<&FunctionName>) -> Result<Manifest, Fault> {
    let (runtime, contract) = language(files)?;
    let name = match name {
        Some(name) => name.to_string(),
        None => label(files.0)?,
    };
    let contract = contract.map(|contract| format!("contract = '{contract}'\n")).unwrap_or_default();
    Manifest::parse(&format!("name = '{name}'\nruntime = '{runtime}'\n{contract}"))
}

fn language(files: &Files<'_>) -> Result<(Runtime, Option<Contract>), Fault> {
    let mut found = Vec::new();
    let mut saw = |runtime, file: Option<&'static str>| found.extend(file.map(|file| (runtime, file)));
    saw(Runtime::Go, files.first(&["go.mod"]));
    let rust = if component_crate(&files.text("Cargo.toml")) { Runtime::Wasm } else { Runtime::Rust };
    saw(rust, files.first(&["Cargo.toml"]));
    saw(Runtime::Java, files.first(&["pom.xml"]));
    saw(Runtime::Python, files.first(&["requirements.txt", "pyproject.toml"]).or(files.first(&PYTHON_FILES)));
    saw(Runtime::Nodejs, files.first(&["package.json"]).or(files.first(&NODE_FILES)));
    if found.is_empty() && files.with_extension("wasm") {
        found.push((Runtime::Wasm, "*.wasm"));
    }
    if found.is_empty() {
        found.extend(files.first(&["bootstrap"]).map(|file| (Runtime::Binary, file)));
    }
    match found.as_slice() {
        [(runtime, _)] => Ok((*runtime, contract(files, *runtime)?)),
        [] => Err(invalid(
            "runtime",
            "the folder has no mayfly.toml, and none of its files tells the language \
             (package.json, requirements.txt, app.py, go.mod, Cargo.toml, pom.xml, *.wasm): `mayfly init` makes one",
        )),
        several => {
            let seen: Vec<String> = several.iter().map(|(runtime, file)| format!("{runtime} ({file})")).collect();
            Err(invalid("runtime", format!("the folder may be {}: say which in mayfly.toml", seen.join(" or "))))
        }
    }
}

/// A crate that makes a component, and no program.
fn component_crate(text: &str) -> bool {
    let Ok(table) = text.parse::<toml::Table>() else { return false };
    let bindings = ["wasip2", "wasi", "wit-bindgen", "wstd", "spin-sdk"];
    let library = table
        .get("lib")
        .and_then(|lib| lib.get("crate-type"))
        .and_then(toml::Value::as_array)
        .is_some_and(|types| types.iter().any(|kind| kind.as_str() == Some("cdylib")));
    let dependencies = table.get("dependencies").and_then(toml::Value::as_table);
    library && dependencies.is_some_and(|all| bindings.iter().any(|name| all.contains_key(*name)))
}

/// The contract where it isn't the runtime's default.
fn contract(files: &Files<'_>, runtime: Runtime) -> Result<Option<Contract>, Fault> {
    let server = match runtime {
        Runtime::Nodejs => files.package()?.is_some_and(|package| {
            package.scripts.contains_key("start")
                || NODE_FRAMEWORKS.iter().any(|name| package.dependencies.contains_key(*name))
        }),
        Runtime::Python => {
            let starts = |file: &&str| files.text(file).contains("__main__");
            python_entry(files).is_none() && PYTHON_SERVERS.iter().any(starts)
        }
        // A program of this name alone speaks the Runtime API, as Lambda's custom runtimes do.
        Runtime::Binary => return Ok(Some(Contract::Handler)),
        Runtime::Java | Runtime::Go | Runtime::Rust | Runtime::Wasm => false,
    };
    Ok(server.then_some(Contract::Http))
}

/// A folder's name as a DNS label.
fn label(folder: &Path) -> Result<String, Fault> {
    let full = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let name = full.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mapped: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let mut label = mapped.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-");
    if label.starts_with(|c: char| c.is_ascii_digit()) {
        label.insert_str(0, "f-");
    }
    label.truncate(NAME_MAX);
    let label = label.trim_end_matches('-').to_owned();
    match label.parse::<FunctionName>() {
        Ok(_) => Ok(label),
        Err(_) => {
            let detail = format!("the folder's name `{name}` makes no function's name: say `name` in mayfly.toml");
            Err(Fault::new(Code::NameInvalid, detail))
        }
    }
}

/// Fills in `entry`, or `command`, where the manifest leaves both out.
fn complete(manifest: &mut Manifest, files: &Files<'_>) -> Result<(), Fault> {
    if manifest.entry.is_some() || !manifest.command.is_empty() {
        return Ok(());
    }
    // What the build will make can't be seen yet.
    let builds = manifest.build.as_ref().is_some_and(|build| !build.command.is_empty());
    let entry = match (manifest.runtime, manifest.contract()) {
        (Runtime::Nodejs, Contract::Http) => return node_server(manifest, files),
        (Runtime::Nodejs, _) => node_entry(files, builds)?,
        (Runtime::Python, Contract::Http) => Some(python_server(files)?),
        (Runtime::Python, _) => Some(python_entry(files).ok_or_else(|| no_python_handler(files))?),
        (Runtime::Java, Contract::Handler) => {
            return Err(invalid("entry", "name the handler's class and method, as example.Handler::handleRequest"));
        }
        (Runtime::Java, _) => {
            return Err(invalid("entry", "name the jar or the main class that serves, or a `command`"));
        }
        (Runtime::Wasm, _) => Some(component(files)?),
        (Runtime::Binary, _) if files.has("bootstrap") => Some("bootstrap".to_owned()),
        (Runtime::Binary, _) if builds => None,
        (Runtime::Binary, _) => return Err(invalid("entry", "name the program, or a `command`")),
        // The build calls it `bootstrap`.
        (Runtime::Go | Runtime::Rust, _) => None,
    };
    manifest.entry = entry;
    Ok(())
}

/// `file.export` of a Node.js handler; `None` where only the build will tell.
fn node_entry(files: &Files<'_>, builds: bool) -> Result<Option<String>, Fault> {
    let package = files.package()?.unwrap_or_default();
    let stem = |file: &str| file.rsplit_once('.').map_or(file, |(stem, _)| stem).trim_start_matches("./").to_owned();
    if let Some(file) = files.first(&NODE_FILES) {
        return Ok(Some(format!("{}.handler", stem(file))));
    }
    let builds = builds || package.scripts.contains_key("build");
    match package.main {
        Some(main) if builds || files.has(&main) => Ok(Some(format!("{}.handler", stem(&main)))),
        _ if builds => Ok(Some("index.handler".to_owned())),
        _ => Err(invalid("entry", "there is no index.js: name file and export, as src/app.handler")),
    }
}

/// What starts a Node.js server.
fn node_server(manifest: &mut Manifest, files: &Files<'_>) -> Result<(), Fault> {
    let package = files.package()?.unwrap_or_default();
    match package.scripts.get("start").map(|script| script.trim()) {
        Some(script) => match script.strip_prefix("node ").map(str::trim) {
            Some(file) if files.has(file) => manifest.entry = Some(file.trim_start_matches("./").to_owned()),
            // npm itself would cost 100 ms and 50 MB in each instance.
            _ => {
                let line = format!("PATH=\"$PWD/node_modules/.bin:$PATH\"; {script}");
                manifest.command = vec!["/bin/sh".to_owned(), "-c".to_owned(), line];
            }
        },
        None => {
            let main = package.main.filter(|main| files.has(main));
            let file = main.or_else(|| files.first(&NODE_SERVERS).map(str::to_owned));
            let file =
                file.ok_or_else(|| invalid("entry", "name the file that listens, as server.js, or a `command`"))?;
            manifest.entry = Some(file.trim_start_matches("./").to_owned());
        }
    }
    Ok(())
}

/// `file.function` of a Python handler.
fn python_entry(files: &Files<'_>) -> Option<String> {
    PYTHON_FILES.iter().find_map(|file| {
        let text = files.text(file);
        let defines = |name: &&&str| {
            let call = format!("def {name}(");
            let value = format!("{name} = ");
            text.lines().any(|line| {
                line.starts_with(&call)
                    || line.starts_with(&value)
                    || line.strip_prefix("async ").is_some_and(|l| l.starts_with(&call))
            })
        };
        let function = PYTHON_HANDLERS.iter().find(defines)?;
        Some(format!("{}.{function}", file.strip_suffix(".py")?))
    })
}

fn no_python_handler(files: &Files<'_>) -> Fault {
    match files.first(&PYTHON_FILES) {
        Some(file) => invalid(
            "entry",
            format!("{file} defines neither {}: name file and function, as app.handler", PYTHON_HANDLERS.join(" nor ")),
        ),
        None => invalid("entry", "there is no app.py: name file and function, as src/app.handler"),
    }
}

fn python_server(files: &Files<'_>) -> Result<String, Fault> {
    let file = files.first(&PYTHON_SERVERS);
    file.map(str::to_owned).ok_or_else(|| invalid("entry", "name the file that listens, as main.py, or a `command`"))
}

/// The component that is there, or where the build will put it.
fn component(files: &Files<'_>) -> Result<String, Fault> {
    if !files.with_extension("wasm") && (files.has("package.json") || files.has("Cargo.toml")) {
        return Ok(wasm::COMPONENT.to_owned());
    }
    let found = wasm::only_component(files.0, &[""]);
    let found = found.map_err(|fault| Fault::new(Code::ManifestInvalid, fault.detail))?;
    Ok(found.file_name().unwrap_or_default().to_string_lossy().into_owned())
}

fn invalid(key: &str, error: impl std::fmt::Display) -> Fault {
    Fault::new(Code::ManifestInvalid, format!("{key}: {error}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
