//! "Node, Python, Go, Rust and Java handlers; an Express app and a FastAPI or Flask app as `http`; a shell `command`; a
//! Wasm component in Rust; a JavaScript component …: all in `examples/`, each with a README of ten lines, each deployed
//! and called by the tests."

use mayfly_tests::{Client, Platform};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

/// Compiles C++ for two minutes; has a test of its own.
const SLOW: &str = "ric-node";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// Each example but the slow one: deployed, and its README's calls give its README's answers.
#[test]
fn each_example_deploys_and_answers_as_its_readme_says() {
    let platform = Platform::start();
    let mut names: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().join("mayfly.toml").is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert!(names.remove(SLOW));
    let mut failures = Vec::new();
    for name in &names {
        let begun = Instant::now();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| deploy_and_call(&platform, name)));
        println!("{name:<16} {:>6.1} s", begun.elapsed().as_secs_f64());
        if result.is_err() {
            failures.push(name.clone());
        }
    }
    assert!(names.len() >= 12, "only {names:?}");
    assert!(failures.is_empty(), "{failures:?}: see above");
}

/// AWS's own client for Node, which is compiled while it is installed.
#[test]
fn the_slow_example_answers_too() {
    let platform = Platform::start();
    let begun = Instant::now();
    deploy_and_call(&platform, SLOW);
    println!("{SLOW:<16} {:>6.1} s", begun.elapsed().as_secs_f64());
}

fn deploy_and_call(platform: &Platform, name: &str) {
    let dir = folder().join(name);
    let readme = fs::read_to_string(dir.join("README.md")).unwrap_or_else(|e| panic!("{name} has no README: {e}"));
    assert!(readme.lines().count() <= 15, "{name}: a README of ten lines has {}", readme.lines().count());
    platform.mayfly(&["deploy", dir.to_str().unwrap()]).ok();
    let mut calls = 0;
    for (command, answer) in console(&readme) {
        let said = if let Some(rest) = command.strip_prefix("curl ") {
            curl(platform, rest)
        } else if let Some(rest) = command.strip_prefix("mayfly invoke ") {
            let words = words(rest);
            let args: Vec<&str> = ["invoke"].into_iter().chain(words.iter().map(String::as_str)).collect();
            platform.mayfly(&args).ok().stdout
        } else {
            continue;
        };
        calls += 1;
        if !answer.is_empty() {
            assert_eq!(said.trim_end(), answer.trim_end(), "{name}: {command}");
        }
    }
    assert!(calls > 0, "{name}: its README shows no call");
}

/// The commands of the console block with what follows each.
fn console(readme: &str) -> Vec<(String, String)> {
    let block = readme.split("```console\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap_or_default();
    let mut calls: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        match line.strip_prefix("$ ") {
            // What stands behind a # is said to people.
            Some(command) => calls.push((command.split("  #").next().unwrap_or("").trim().to_owned(), String::new())),
            None => {
                if let Some((_, answer)) = calls.last_mut() {
                    answer.push_str(line);
                    answer.push('\n');
                }
            }
        }
    }
    calls
}

/// Does what the README's curl would do, at the address that this platform has.
fn curl(platform: &Platform, arguments: &str) -> String {
    let words = words(arguments);
    let (mut client, mut body, mut method, mut url) = (platform.gateway(), None, None, String::new());
    let mut at = words.iter();
    while let Some(word) = at.next() {
        match word.as_str() {
            "-d" => body = at.next().cloned(),
            "-X" => method = at.next().cloned(),
            "-H" => {
                let (name, value) = at.next().and_then(|header| header.split_once(':')).expect("a header");
                client = client.with(name.trim(), value.trim());
            }
            "-N" | "-s" | "-i" => {}
            _ => url = word.clone(),
        }
    }
    let path = url.strip_prefix("http://127.0.0.1:8080").unwrap_or_else(|| panic!("a URL in {arguments:?}"));
    let client: Client = client;
    let default = if body.is_some() { "POST" } else { "GET" };
    client.send(method.as_deref().unwrap_or(default), path, body.unwrap_or_default()).ok().text()
}

/// Splits as a shell does, as far as READMEs go.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, ' ') => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}
