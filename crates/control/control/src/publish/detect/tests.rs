//! Folders as people have them, and what they are taken for.

use super::*;

/// A folder of `name` with these files.
fn folder(name: &str, files: &[(&str, &str)]) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join(name);
    fs::create_dir(&root).unwrap();
    for (file, text) in files {
        fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
        fs::write(root.join(file), text).unwrap();
    }
    (dir, root)
}

/// runtime, contract, entry or command.
fn told(files: &[(&str, &str)]) -> String {
    let (_dir, root) = folder("x", files);
    match manifest(&root, None) {
        Ok(told) => {
            let how = told.entry.clone().unwrap_or_else(|| told.command.join(" "));
            format!("{} {} {how}", told.runtime, told.contract()).trim_end().to_owned()
        }
        Err(fault) => format!("{fault}"),
    }
}

const CDYLIB: &str = "[package]\nname='x'\n[lib]\ncrate-type=['cdylib']\n[dependencies]\nwasip2='2'\n";

#[test]
fn a_folder_is_told_by_its_files() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("index.js", "")], "nodejs handler index.handler"),
        (&[("index.mjs", ""), ("package.json", "{}")], "nodejs handler index.handler"),
        (&[("package.json", r#"{"main":"./src/app.js"}"#), ("src/app.js", "")], "nodejs handler src/app.handler"),
        (&[("package.json", r#"{"main":"dist/app.js","scripts":{"build":"tsc"}}"#)], "nodejs handler dist/app.handler"),
        (&[("package.json", r#"{"dependencies":{"express":"4"}}"#), ("server.js", "")], "nodejs http server.js"),
        (&[("package.json", r#"{"scripts":{"start":"node ./web.js"}}"#), ("web.js", "")], "nodejs http web.js"),
        (
            &[("package.json", r#"{"scripts":{"start":"next start"}}"#)],
            r#"nodejs http /bin/sh -c PATH="$PWD/node_modules/.bin:$PATH"; next start"#,
        ),
        (&[("app.py", "def handler(event, context):\n    pass\n")], "python handler app.handler"),
        (&[("main.py", "async def handler(e, c): ...\n")], "python handler main.handler"),
        (&[("lambda_function.py", "def lambda_handler(e, c): ...\n")], "python handler lambda_function.lambda_handler"),
        (&[("requirements.txt", ""), ("main.py", "if __name__ == '__main__':\n    serve()\n")], "python http main.py"),
        (&[("go.mod", "module x\n")], "go handler"),
        (&[("Cargo.toml", "[package]\nname='x'\n")], "rust handler"),
        (&[("Cargo.toml", CDYLIB)], "wasm component component.wasm"),
        (&[("hello.wasm", "")], "wasm component hello.wasm"),
        (&[("bootstrap", "")], "binary handler bootstrap"),
        // With a manifest, only what it leaves out is told.
        (&[("mayfly.toml", "name='x'\nruntime='nodejs'\n"), ("index.cjs", "")], "nodejs handler index.handler"),
        (&[("mayfly.toml", "name='x'\nruntime='python'\nentry='a.b'\n")], "python handler a.b"),
        (&[("mayfly.toml", "name='x'\nruntime='python'\ncontract='http'\n"), ("app.py", "")], "python http app.py"),
        (&[("mayfly.toml", "name='x'\nruntime='wasm'\n"), ("package.json", "{}")], "wasm component component.wasm"),
        (&[("mayfly.toml", "name='x'\nruntime='go'\ncontract='http'\n")], "go http"),
        (
            &[("mayfly.toml", "name='x'\nruntime='binary'\ncontract='command'\ncommand=['/bin/cat']\n")],
            "binary command /bin/cat",
        ),
        (&[("mayfly.toml", "name='x'\nruntime='java'\nentry='a.B::c'\n")], "java handler a.B::c"),
    ];
    for (files, expected) in cases {
        assert_eq!(told(files), *expected, "{files:?}");
    }
}

#[test]
fn what_cannot_be_told_is_asked_for() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[], "`mayfly init`"),
        (&[("README.md", "")], "`mayfly init`"),
        (&[("package.json", "{}"), ("requirements.txt", "")], "python (requirements.txt) or nodejs (package.json)"),
        (&[("package.json", "{}")], "there is no index.js"),
        (&[("package.json", "{")], "package.json"),
        (&[("app.py", "x = 1\n")], "app.py defines neither handler"),
        (&[("requirements.txt", "")], "there is no app.py"),
        (&[("pom.xml", "")], "example.Handler::handleRequest"),
        (&[("a.wasm", ""), ("b.wasm", "")], "2 .wasm files"),
        (&[("mayfly.toml", "name='x'\nruntime='binary'\n")], "name the program"),
        (&[("mayfly.toml", "name='x'\nruntime='nodejs'\ncontract='http'\n")], "as server.js"),
        (&[("mayfly.toml", "name='x'\nruntime='nodejs'\nmemroy='1GiB'\n")], "memroy"),
        (&[("mayfly.toml", "name='x'\nruntime='java'\ncontract='http'\n")], "main class"),
    ];
    for (files, part) in cases {
        let told = told(files);
        assert!(told.starts_with("manifest_invalid") && told.contains(part), "{files:?}: {told}");
    }
}

#[test]
fn a_name_comes_from_the_folder() {
    for (name, label) in [
        ("hello", "hello"),
        ("My_Function (2)", "my-function-2"),
        ("2048", "f-2048"),
        ("--x--", "x"),
        ("Ünïcode", "n-code"),
        (&"long-".repeat(30), &"long-".repeat(13)[..63]),
    ] {
        let (_dir, root) = folder(name, &[("index.js", "")]);
        assert_eq!(manifest(&root, None).map(|told| told.name.to_string()), Ok(label.to_owned()), "{name}");
    }
    let (_dir, root) = folder("日本", &[("index.js", "")]);
    assert_eq!(manifest(&root, None).unwrap_err().code, Code::NameInvalid);
    let given = "given".parse().unwrap();
    assert_eq!(manifest(&root, Some(&given)).unwrap().name, given);
}
