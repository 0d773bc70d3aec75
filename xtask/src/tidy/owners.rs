//! Who owns which library: a heavy one has one crate that knows it, so that it can be changed or left in one place.

use super::{
    Finding,
    house::{House, Kind, Plane},
};

struct Owned {
    /// Names; a `*` at the end stands for any rest.
    libraries: &'static [&'static str],
    owners: &'static [&'static str],
    /// Tests of other crates may use it too.
    free_in_tests: bool,
    why: &'static str,
}

const OWNED: &[Owned] = &[
    Owned {
        libraries: &["wasmtime", "wasmtime-*", "wasm-*", "wasmparser", "cranelift*"],
        owners: &["sandbox-wasm"],
        free_in_tests: false,
        why: "it is the largest of all dependencies",
    },
    Owned {
        libraries: &["rusqlite", "sqlx", "redb", "fjall"],
        owners: &["store"],
        free_in_tests: false,
        why: "records have one way in, with compare-and-swap",
    },
    Owned {
        libraries: &["axum", "axum-*", "tower", "tower-*"],
        owners: &["control"],
        free_in_tests: false,
        why: "the path of a request has no framework on it",
    },
    Owned {
        libraries: &["utoipa", "utoipa-*"],
        owners: &["control", "types"],
        free_in_tests: false,
        why: "the API's documents are described where they are defined",
    },
    Owned {
        libraries: &["clap", "clap_*", "indicatif", "notify", "notify-*"],
        owners: &["mayfly"],
        free_in_tests: false,
        why: "only the command line talks to a person",
    },
    Owned {
        libraries: &["tar"],
        owners: &["pack"],
        free_in_tests: true,
        why: "archives are read and written in one place, with one set of limits",
    },
    Owned {
        libraries: &["zstd", "zstd-*", "brotli", "flate2"],
        owners: &["pack", "gateway"],
        free_in_tests: true,
        why: "archives are packed in one place, and answers compressed in one",
    },
    Owned {
        libraries: &["ring", "jsonwebtoken"],
        owners: &["gateway"],
        free_in_tests: true,
        why: "signatures are checked at the front door",
    },
    Owned {
        libraries: &["ignore"],
        owners: &["pack", "mayfly"],
        free_in_tests: true,
        why: "what goes into an artifact is decided in one place; `mayfly dev` watches the same files",
    },
    Owned {
        libraries: &["hyper", "hyper-util"],
        owners: &["chassis", "wire", "gateway", "agent", "bindings", "control", "mayfly"],
        free_in_tests: true,
        why: "these serve or call over HTTP; all others see `http` types and `wire::Body`",
    },
    Owned {
        libraries: &["rustls", "rustls-*", "tokio-rustls"],
        owners: &["gateway", "bindings"],
        free_in_tests: true,
        why: "TLS ends at the front door, and begins at the way out",
    },
    Owned {
        libraries: &["prometheus-client", "tracing-subscriber", "opentelemetry*"],
        owners: &["chassis"],
        free_in_tests: true,
        why: "chassis is what everybody measures and logs through",
    },
    Owned {
        libraries: &["croner", "chrono", "chrono-tz"],
        owners: &["types"],
        free_in_tests: false,
        why: "`types::cron` is the one calendar: all others have time stamps",
    },
    Owned {
        libraries: &["libc", "nix"],
        owners: &["guest", "sandbox"],
        free_in_tests: true,
        why: "raw system calls stay beside the processes that need them; elsewhere `rustix` is safe",
    },
];

/// Libraries that stay out altogether: one async runtime, one HTTP stack, one TLS, one serializer.
const REFUSED: &[(&str, &str)] = &[
    ("reqwest", "hyper is the one HTTP stack"),
    ("ureq", "hyper is the one HTTP stack"),
    ("actix-web", "hyper is the one HTTP stack"),
    ("async-std", "tokio is the one async runtime"),
    ("smol", "tokio is the one async runtime"),
    ("openssl", "rustls is the one TLS"),
    ("openssl-sys", "rustls is the one TLS"),
    ("native-tls", "rustls is the one TLS"),
    ("serde_yaml", "it is not kept any more; TOML and JSON are what we read"),
];

pub(crate) fn check(house: &House) -> Vec<Finding> {
    let mut findings = foreign(house);
    findings.extend(refused(house));
    findings.extend(unused(house));
    findings
}

/// Libraries in crates that do not own them.
fn foreign(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for one in house.crates.iter().filter(|one| one.plane != Plane::Outside) {
        for dependency in &one.dependencies {
            let owned =
                OWNED.iter().find(|owned| owned.libraries.iter().any(|name| matches(name, &dependency.package)));
            let Some(owned) = owned else { continue };
            let free = owned.free_in_tests && dependency.kind == Kind::Dev;
            if free || owned.owners.contains(&one.name.as_str()) {
                continue;
            }
            let owners = owned.owners.join(", ");
            let what = format!("{} depends on {}, which {owners} owns: {}", one.name, dependency.package, owned.why);
            let remedy = "Use the owner's API, or extend it";
            findings.push(Finding::new(&one.manifest_path(), dependency.line, "owner", what, remedy));
        }
    }
    findings
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

/// Refused libraries anywhere in the graph, however they came in.
fn refused(house: &House) -> Vec<Finding> {
    let Some(lock) = house.file("Cargo.lock") else { return Vec::new() };
    let named = |line: &str| line.strip_prefix("name = \"").and_then(|rest| rest.strip_suffix('"')).map(str::to_owned);
    let names = lock.text.lines().enumerate().filter_map(|(index, line)| Some((index + 1, named(line)?)));
    names
        .filter_map(|(line, name)| {
            let (name, why) = REFUSED.iter().find(|(refused, _)| *refused == name)?;
            let remedy = format!("`cargo tree -i {name}` shows who brings it; switch that feature off");
            Some(Finding::new(
                &lock.path,
                line,
                "refused library",
                format!("{name} is in the graph, but {why}"),
                remedy,
            ))
        })
        .collect()
}

/// Dependencies that no source of their crate names.
fn unused(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for one in &house.crates {
        for dependency in &one.dependencies {
            let name = dependency.key.replace('-', "_");
            if !house.files_of(one, ".rs").any(|file| has_word(&file.text, &name)) {
                let what = format!("{} names {} in its manifest and nowhere else", one.name, dependency.key);
                let path = one.manifest_path();
                findings.push(Finding::new(&path, dependency.line, "unused dependency", what, "Remove it"));
            }
        }
    }
    for key in house.workspace_dependencies() {
        if !house.crates.iter().any(|one| one.dependencies.iter().any(|dependency| dependency.key == key)) {
            let what = format!("no member of the workspace uses {key}");
            findings.push(Finding::new("Cargo.toml", 1, "unused dependency", what, "Remove it from the workspace"));
        }
    }
    findings
}

/// True where `word` stands in `text` with no letter, digit or `_` around it.
fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| !text[..at].ends_with(part) && !text[at + word.len()..].starts_with(part))
}
