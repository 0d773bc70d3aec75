//! Who may depend on whom: `bin → {data, node, control} → base`. Planes never import each other, they meet in `wire`.
//!
//! Dev-dependencies keep the same rule; [`IN_TESTS`] has the exceptions, each with its reason.

use super::{
    Finding,
    house::{Crate, Dependency, House, Kind, Plane},
};

const RULE: &str = "direction";

/// Neighbours in one plane that know each other. All others of a plane meet in `wire` too. `base` is not listed: its
/// crates may stand on each other where [`NEVER`] does not say otherwise.
const NEIGHBOURS: &[(&str, &str)] = &[
    ("agent", "sandbox"),
    ("agent", "sandbox-wasm"),
    ("agent", "bindings"),
    ("sandbox-wasm", "bindings"),
    ("mayfly", "guest"),
];

/// Edges that only tests may have.
const IN_TESTS: &[(&str, &str, &str)] =
    &[("sandbox", "guest", "the conformance suite starts the real guest, by starting itself again")];

/// The guest is small because it stands on next to nothing.
const GUEST_MAY: &[&str] = &["types"];

/// What these crates promise not to know, of ours or of others.
const NEVER: &[(&str, &[&str], &str)] = &[
    ("types", &["tokio", "tokio-util", "hyper", "hyper-util", "axum"], "it has nouns only: no I/O, nothing async"),
    (
        "types",
        &["chassis", "wire", "store", "pack", "toolchain"],
        "everything stands on it, it stands on nothing of ours",
    ),
    ("chassis", &["types", "wire", "store"], "any server could be built on it: it knows nothing about functions"),
    ("wire", &["store", "pack", "chassis", "toolchain"], "it has traits and messages only"),
    ("store", &["wire", "chassis"], "it knows nothing about roles"),
    ("gateway", &["store"], "it lives on pushed snapshots and keeps serving when control is gone"),
    ("dispatch", &["store"], "it lives on pushed snapshots and keeps serving when control is gone"),
    ("guest", &["tokio", "hyper"], "it is single-threaded and synchronous"),
    ("sandbox", &["hyper", "http"], "it knows nothing about HTTP"),
];

pub(crate) fn check(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for from in &house.crates {
        if from.plane == Plane::Outside && from.folder.starts_with("crates/") {
            let remedy = "Move it to crates/base, data, node, control or bin";
            findings.push(Finding::new(
                &from.manifest_path(),
                1,
                RULE,
                format!("{} stands in no plane", from.name),
                remedy,
            ));
        }
        for dependency in &from.dependencies {
            let refused = never(from, dependency)
                .or_else(|| house.find(&dependency.package).and_then(|to| refusal(from, to, dependency.kind)));
            if let Some(why) = refused {
                let what = format!("{} depends on {}, but {why}", from.name, dependency.package);
                let remedy =
                    "Remove the edge: what both need belongs into `wire` or `types`, what joins them into `mayfly`";
                findings.push(Finding::new(&from.manifest_path(), dependency.line, RULE, what, remedy));
            }
        }
    }
    findings
}

/// Why `from` promised not to know this.
fn never(from: &Crate, to: &Dependency) -> Option<String> {
    let listed = |(name, what, _): &&(&str, &[&str], &str)| *name == from.name && what.contains(&to.package.as_str());
    let why = NEVER.iter().find(listed)?.2;
    (to.kind != Kind::Dev || house_rule_holds_in_tests(from)).then(|| why.to_owned())
}

/// What the simulation runs in virtual time: the real deciders, which no command line can show a held clock.
const SIM_DRIVES: [&str; 5] = ["types", "wire", "chassis", "dispatch", "fleet"];

/// What a crate promises not to know it may still test with, but the nouns stay nouns.
fn house_rule_holds_in_tests(from: &Crate) -> bool {
    from.name == "types"
}

/// Why a crate of ours may not depend on another one of ours; `None` where it may.
fn refusal(from: &Crate, to: &Crate, kind: Kind) -> Option<String> {
    let pair = (from.name.as_str(), to.name.as_str());
    if kind == Kind::Dev && IN_TESTS.iter().any(|(a, b, _)| (*a, *b) == pair) {
        return None;
    }
    if from.name == "sim" {
        return (!SIM_DRIVES.contains(&pair.1))
            .then(|| "the simulation drives dispatch and fleet, and nothing else".into());
    }
    if from.name == "guest" {
        return (!GUEST_MAY.contains(&pair.1)).then(|| "the guest stands on nothing of ours but types".into());
    }
    match (from.plane, to.plane) {
        (_, Plane::Outside) => Some("nothing depends on tests, benches or chores".into()),
        // The simulation runs the roles themselves, in virtual time.
        (Plane::Outside, _) => Some(
            "what tests, measures or keeps the house knows it from outside: its command line, API and /proc".into(),
        ),
        (Plane::Base | Plane::Data | Plane::Node | Plane::Control | Plane::Bin, Plane::Base) => None,
        (Plane::Base, _) => Some("base stands on nothing but base".into()),
        (a, b) if a == b => (!NEIGHBOURS.contains(&pair))
            .then(|| format!("neighbours in {a:?} meet in wire, these two are not on the list")),
        (Plane::Bin, _) => None,
        (a, b) => Some(format!("planes never import each other ({a:?} imports {b:?})")),
    }
}
