//! What can be typed, what is refused, and what the help says.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::{
    args::{AliasVerb, Cli, RouteVerb, Verb},
    help,
};
use clap::{FromArgMatches as _, error::ErrorKind};
use types::{Contract, Runtime};

fn parse(line: &str) -> Result<Cli, clap::Error> {
    let matches = help::command().try_get_matches_from(line.split(' '))?;
    Cli::from_arg_matches(&matches)
}

fn verb(line: &str) -> Verb {
    parse(line).unwrap_or_else(|e| panic!("{line}: {e}")).verb
}

#[test]
fn the_parser_is_sound() {
    help::command().debug_assert();
}

#[test]
fn options_of_every_command_stand_before_and_behind_the_verb() {
    for line in ["mayfly --json --api-url http://x:1 list", "mayfly list --json --api-url http://x:1"] {
        let global = parse(line).unwrap().global;
        assert_eq!((global.json, global.api_url.as_str()), (true, "http://x:1"), "{line}");
    }
}

#[test]
fn up_serves_on_its_usual_addresses() {
    let Verb::Up(up) = verb("mayfly up") else { panic!() };
    assert_eq!(
        [up.listen, up.api, up.admin].map(|addr| addr.to_string()),
        ["127.0.0.1:8080", "127.0.0.1:9900", "127.0.0.1:9901"]
    );
    assert_eq!((up.demo, up.lanes), (None, None));
    let Verb::Up(up) = verb("mayfly up --demo --lanes 2 --listen 0.0.0.0:80") else { panic!() };
    assert_eq!((up.demo.unwrap().to_str().unwrap(), up.lanes, up.listen.port()), ("examples", Some(2), 80));
    let Verb::Up(up) = verb("mayfly up --demo some/dir") else { panic!() };
    assert_eq!(up.demo.unwrap().to_str(), Some("some/dir"));
}

#[test]
fn every_runtime_and_contract_can_be_typed() {
    for runtime in Runtime::ALL {
        let Verb::Init(init) = verb(&format!("mayfly init x --runtime {runtime}")) else { panic!() };
        assert_eq!((init.runtime, init.contract), (runtime, None));
    }
    for contract in [Contract::Handler, Contract::Http, Contract::Command, Contract::Component] {
        let Verb::Init(init) = verb(&format!("mayfly init x --runtime go --contract {contract}")) else { panic!() };
        assert_eq!(init.contract, Some(contract));
    }
}

#[test]
fn data_may_look_like_anything() {
    for data in ["-", "-1", "@event.json", "{\"n\":1}"] {
        let Verb::Invoke(invoke) = verb(&format!("mayfly invoke hello --data {data}")) else { panic!() };
        assert_eq!(invoke.data.as_deref(), Some(data));
    }
    let Verb::Invoke(invoke) = verb("mayfly invoke hello --async --include") else { panic!() };
    assert!(invoke.asynchronous && invoke.include && invoke.data.is_none());
    assert_eq!(invoke.alias.as_str(), "live");
}

#[test]
fn steps_of_a_canary_are_read() {
    let steps = |line: &str| {
        let Verb::Deploy(deploy) = verb(line) else { panic!() };
        (deploy.canary.map(|steps| steps.0.len()), deploy.every.map(|every| every.0))
    };
    assert_eq!(steps("mayfly deploy x"), (None, None));
    assert_eq!(steps("mayfly deploy --canary none"), (Some(0), None));
    assert_eq!(steps("mayfly deploy --canary 5%,25%:2m,50 --every 30s"), (Some(3), Some(30_000)));
}

#[test]
fn nested_verbs_are_read() {
    let Verb::Alias(AliasVerb::Set(set)) = verb("mayfly alias set hello live 3=90 4=10") else { panic!() };
    assert_eq!((set.targets.len(), set.targets[1].weight), (2, Some(10)));
    let Verb::Route(RouteVerb::Add(add)) = verb("mayfly route add hello /x/* --method GET,POST --host a.example")
    else {
        panic!()
    };
    assert_eq!((add.key.path.as_str(), add.key.methods.join(" ")), ("/x/*", "GET POST".to_owned()));
    let Verb::Logs(logs) = verb("mayfly logs hello -f -n 0 --revision 3") else { panic!() };
    assert_eq!((logs.follow, logs.tail, logs.revision), (true, 0, Some(3)));
}

#[test]
fn wrong_arguments_say_what_would_be_right() {
    for (line, kind, word) in [
        ("mayfly", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, "First steps:"),
        ("mayfly alias", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, "set"),
        ("mayfly depoly", ErrorKind::InvalidSubcommand, "deploy"),
        ("mayfly invoke Hello", ErrorKind::ValueValidation, "DNS label"),
        ("mayfly init hello", ErrorKind::MissingRequiredArgument, "--runtime"),
        ("mayfly init hello --runtime cobol", ErrorKind::InvalidValue, "python"),
        ("mayfly alias set hello live", ErrorKind::MissingRequiredArgument, "REVISION"),
        ("mayfly alias set hello live 1 2 3", ErrorKind::TooManyValues, "3"),
        ("mayfly alias set hello live 3=x", ErrorKind::ValueValidation, "no share"),
        ("mayfly rollback hello --to 0", ErrorKind::ValueValidation, "0"),
        ("mayfly deploy --canary 5%,x", ErrorKind::ValueValidation, "`x` is no share"),
        ("mayfly deploy --every 1m", ErrorKind::MissingRequiredArgument, "--canary"),
        ("mayfly alias set hello live 3 --canary none", ErrorKind::ValueValidation, "`none` is no share"),
        ("mayfly up --lanes 0", ErrorKind::ValueValidation, "0"),
        ("mayfly logs hello --invocation 7", ErrorKind::ValueValidation, "no id"),
    ] {
        let error = parse(line).expect_err(line);
        assert_eq!(error.kind(), kind, "{line}: {error}");
        assert!(error.to_string().contains(word), "{line}: {error}");
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn the_help_groups_every_verb_once() {
    let help = help::command().render_help().to_string();
    for verb in help::command().get_subcommands() {
        let lines = help.lines().filter(|line| line.split_whitespace().next() == Some(verb.get_name())).count();
        assert_eq!(lines, usize::from(!verb.is_hide_set()), "{} in\n{help}", verb.get_name());
    }
    for part in ["First steps:", "Exit codes:", "--json", "Start:"] {
        assert!(help.contains(part), "{part} is missing in\n{help}");
    }
}

#[test]
fn every_verb_has_examples_that_can_be_typed() {
    for verb in help::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let after = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples: Vec<&str> = after.lines().filter_map(|line| line.trim().strip_prefix("mayfly ")).collect();
        assert!(!examples.is_empty(), "{}", verb.get_name());
        for example in examples {
            // Up to the shell's own signs and the remark behind two spaces.
            let line = example.split("  ").next().unwrap().split(" | ").next().unwrap();
            let id = "00000000-0000-4000-8000-000000000001";
            let words = line.replace('\'', "").replace("--invocation ID", &format!("--invocation {id}"));
            let parsed = parse(&format!("mayfly {words}"));
            assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
        }
    }
}
