//! `mayfly init`: a folder with a small function that deploys as it is.

use super::{
    args::InitArgs,
    failure::{Failure, Outcome},
    screen::Screen,
    templates::{self, Template},
};
use serde_json::json;
use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};
use types::FunctionName;

pub fn run(screen: &Screen, args: &InitArgs) -> Outcome {
    let contract = args.contract.unwrap_or(templates::usual_contract(args.runtime));
    let template = templates::find(args.runtime, contract).ok_or_else(|| {
        let known: Vec<String> =
            templates::ALL.iter().map(|t| format!("{} --contract {}", t.runtime, t.contract)).collect();
        Failure::Usage(format!(
            "there is no template for {} with contract {contract}; there are: {}",
            args.runtime,
            known.join(", ")
        ))
    })?;
    let dir = Path::new(args.name.as_str());
    let files = write(template, &args.name, dir)?;
    let document = json!({
        "name": args.name, "dir": dir, "runtime": args.runtime, "contract": contract, "files": files,
    });
    screen.result(&document, |paint| {
        let name = &args.name;
        let needs = template.needs.map(|needs| format!("it needs {needs}\n")).unwrap_or_default();
        format!(
            "{} has {}\n{needs}next:\n  mayfly dev {name}      run it here, reloaded on every save\n  \
             mayfly deploy {name}   bring it to the platform\n",
            paint.bold(&format!("{name}/")),
            files.join(", "),
        )
    })
}

/// Writes the template into a folder that is new or empty; gives the files' names.
fn write(template: &Template, name: &FunctionName, dir: &Path) -> Outcome<Vec<String>> {
    match fs::read_dir(dir) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(Failure::Usage(format!("{} is there already and not empty", dir.display())));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => return Err(Failure::Usage(format!("{} is there already and no folder", dir.display()))),
    }
    let mut written = Vec::new();
    for file in template.files() {
        let path = dir.join(file.path);
        put(&path, &file.text(name), file.executable)
            .map_err(|e| Failure::machine(format_args!("cannot write {}", path.display()), &e))?;
        written.push(file.path.to_owned());
    }
    Ok(written)
}

fn put(path: &Path, text: &str, executable: bool) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mode = if executable { 0o777 } else { 0o666 };
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use types::{Contract, Manifest, Runtime};

    #[test]
    fn every_template_is_a_folder_that_deploys() {
        let name: FunctionName = "my-function".parse().unwrap();
        for template in templates::ALL {
            let dir = tempfile::tempdir().unwrap();
            let at = dir.path().join("new");
            let files = write(template, &name, &at).unwrap();
            let text = fs::read_to_string(at.join("mayfly.toml")).unwrap();
            let manifest = Manifest::parse(&text).unwrap_or_else(|e| panic!("{template:?}: {e}"));
            assert_eq!(
                (&manifest.name, manifest.runtime, manifest.contract()),
                (&name, template.runtime, template.contract),
                "{template:?}"
            );
            assert!(files.iter().any(|file| file == ".gitignore"), "{template:?}");
            for file in &files {
                let text = fs::read_to_string(at.join(file)).unwrap();
                assert!(!text.contains("{{"), "{template:?}: {file} has a placeholder left");
            }
            // The platform finds an entry in it, too.
            control::publish::detect::manifest(&at, None).unwrap_or_else(|e| panic!("{template:?}: {e}"));
            let packed = pack::Pack::source().write(&at, &mut io::sink()).unwrap();
            assert_eq!(packed.files, files.len(), "{template:?}: its own .gitignore leaves a file out");
        }
    }

    #[test]
    fn every_runtime_has_a_template_for_its_usual_contract() {
        for runtime in Runtime::ALL {
            assert!(templates::find(runtime, templates::usual_contract(runtime)).is_some(), "{runtime}");
        }
        for runtime in [Runtime::Nodejs, Runtime::Python] {
            assert!(templates::find(runtime, Contract::Http).is_some(), "{runtime}");
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let template = templates::find(Runtime::Python, Contract::Handler).unwrap();
        let name: FunctionName = "hello".parse().unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("keep"), "me").unwrap();
        assert!(matches!(write(template, &name, dir.path()), Err(Failure::Usage(_))));
        assert!(matches!(write(template, &name, &dir.path().join("keep")), Err(Failure::Usage(_))));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(dir.path().join("keep")).unwrap(), "me");
    }

    #[test]
    fn scripts_can_be_executed() {
        let template = templates::find(Runtime::Binary, Contract::Command).unwrap();
        let dir = tempfile::tempdir().unwrap();
        write(template, &"hello".parse().unwrap(), dir.path()).unwrap();
        let mode = fs::metadata(dir.path().join("hello.sh")).unwrap().permissions().mode();
        assert_eq!(mode & 0o100, 0o100);
    }

    #[test]
    fn a_pair_without_a_template_names_those_that_have_one() {
        let args = InitArgs { name: "hello".parse().unwrap(), runtime: Runtime::Go, contract: Some(Contract::Command) };
        let screen = Screen::of_this_process(false);
        let failure = run(&screen, &args).unwrap_err();
        assert!(matches!(&failure, Failure::Usage(text) if text.contains("go --contract handler")), "{failure:?}");
    }
}
