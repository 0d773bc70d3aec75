//! The words of `--help`: verbs in groups, first steps, examples under each verb, exit codes.

use super::args::Cli;
use clap::CommandFactory;
use std::fmt::Write as _;

/// Verbs in the order one meets them. A test holds that every visible verb stands here exactly once.
const GROUPS: &[(&str, &[&str])] = &[
    ("Start", &["up", "dev", "init"]),
    ("Ship", &["deploy", "alias", "rollback", "limit", "route", "key", "tenant"]),
    ("Call and watch", &["invoke", "logs", "invocations", "deployments"]),
    ("Look and tidy", &["list", "describe", "delete", "info"]),
];

const FIRST_STEPS: &str = "\
First steps:
  mayfly up                                 the platform, in one terminal
  mayfly init hello --runtime python        a folder with a small function, in another one
  mayfly deploy hello                       prints the function's URL
  curl 'http://127.0.0.1:8080/hello/?name=you'
  mayfly invoke hello --data '{\"name\":1}'   the same without HTTP
  mayfly logs hello --follow                what it wrote
  mayfly dev hello                          all of this with no platform running, on every save";

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the function's fault: its build, its start or the call failed
  2  the caller's fault: wrong arguments, unknown name, no valid token
  3  no platform answers at the API's URL
  4  the platform's or this machine's fault";

/// The parser with its grouped help.
pub fn command() -> clap::Command {
    let command = Cli::command();
    let verbs = grouped(&command);
    let template = format!(
        "{{about}}\n\nUsage: mayfly COMMAND [ARGUMENTS]\n\n{verbs}Options of every command:\n{{options}}\n\n{FIRST_STEPS}\n\n{EXIT_CODES}\n\n\
         `mayfly COMMAND --help` has the arguments and examples of one command.\n"
    );
    command.help_template(template)
}

fn grouped(command: &clap::Command) -> String {
    let mut text = String::new();
    for (title, verbs) in GROUPS {
        let _ = writeln!(text, "{title}:");
        for verb in *verbs {
            let about = command.find_subcommand(verb).and_then(clap::Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(text, "  {verb:<12} {about}");
        }
        text.push('\n');
    }
    text
}

pub const UP: &str = "\
Examples:
  mayfly up
  mayfly up --demo                              with the examples deployed and called once
  mayfly up --data-dir ./data --listen 0.0.0.0:80
  mayfly up --tls-certs ./certs --tls-listen 0.0.0.0:443
  mayfly up --trusted-proxies 10.0.0.0/8 --access-log access.log

The data directory holds everything: functions, logs and the API's token (DATA_DIR/token).
A second start on it serves the same functions at once. Ctrl-C lets running calls end first; SIGHUP
reads the certificates and opens the access log again.";

pub const DEV: &str = "\
Examples:
  mayfly dev
  mayfly dev ./hello --listen 127.0.0.1:8080

It starts a platform of its own in a temporary folder, with the limits of production, and needs no
`mayfly up`. A save that does not build or start is told, and what ran before keeps serving.
Ctrl-C ends it.";

pub const INIT: &str = "\
Examples:
  mayfly init hello --runtime python
  mayfly init api --runtime nodejs --contract http

Runtimes and contracts:
  nodejs, python   handler (a function), http (a server on $MAYFLY_SOCKET or $PORT)
  go, rust, java   handler
  binary           command (a process for each call)
  wasm             component (wasi:http, in Rust)";

pub const DEPLOY: &str = "\
Examples:
  mayfly deploy
  mayfly deploy ./hello --name hello-test
  mayfly deploy --canary 5%,25%,50% --every 1m
  mayfly deploy --canary 10%:5m --wait
  mayfly deploy --json | jq -r .url

Files that .gitignore or .mayflyignore name are left out. The traffic moves only when the new
revision has started; a deploy that fails leaves the old one serving. With --canary it moves by steps:
each is compared with the old revision over the same time, and more failed or much slower calls send
all traffic back. `mayfly describe` shows the steps and why, `mayfly rollback` ends them.";

pub const INVOKE: &str = "\
Examples:
  mayfly invoke hello --data '{\"n\":1}'
  mayfly invoke hello --data @event.json --alias canary
  echo '{}' | mayfly invoke hello --data - --include

The answer goes to stdout as it came. Where the function fails, its error goes to stderr and the
exit code is 1.";

pub const TENANT: &str = "\
Examples:
  mayfly tenant set acme --calls-max 100 --rate 1000/s
  mayfly deploy ./hello --tenant acme
  mayfly tenant set acme --calls-max 0          stops all its functions
  mayfly tenant set acme --rate none            what is not named stays as it is
  mayfly tenant list
  mayfly tenant delete acme

A function belongs to the tenant that its first deploy names, for good; without one to `default`, whose
limits are those of `mayfly up` until it is set. What `mayfly limit` guarantees comes out of the
tenant's calls.";

pub const LOGS: &str = "\
Examples:
  mayfly logs hello
  mayfly logs hello --follow --tail 0
  mayfly logs hello --invocation ID      as in `mayfly invocations hello` and the answer's headers";

pub const INVOCATIONS: &str = "\
Examples:
  mayfly invocations hello
  mayfly invocations hello --limit 9 --json | jq '.invocations[] | select(.cold)'";

pub const LIST: &str = "\
Examples:
  mayfly list
  mayfly list --json | jq -r '.functions[].url'";

pub const DESCRIBE: &str = "\
Examples:
  mayfly describe hello
  mayfly describe hello --scaling      why it has as many instances
  mayfly describe hello --json | jq '.instances[].start_us'";

pub const DELETE: &str = "\
Examples:
  mayfly delete hello
  mayfly delete hello --yes              in scripts: without a terminal nothing is deleted otherwise";

pub const ALIAS: &str = "\
Examples:
  mayfly alias list hello
  mayfly alias set hello live 3          all traffic to revision 3
  mayfly alias set hello live 3=90 4=10  one in ten calls to revision 4
  mayfly alias set hello canary 4        then: mayfly invoke hello --alias canary";

pub const ALIAS_SET: &str = "\
Examples:
  mayfly alias set hello live 3
  mayfly alias set hello live 3=90 4=10
  mayfly alias set hello live 3 4=10     the other one takes the rest
  mayfly alias set hello live 4 --canary 5%,25%:5m,50%

`mayfly describe hello` shows the revisions. A change that somebody else made meanwhile is not
overwritten.";

pub const ROLLBACK: &str = "\
Examples:
  mayfly rollback hello
  mayfly rollback hello --to 2";

pub const LIMIT: &str = "\
Examples:
  mayfly limit hello
  mayfly limit hello 100
  mayfly limit hello 0
  mayfly limit hello --none

A limit is a guarantee as well: where `mayfly up --calls-max` bounds all functions together, the others share what is
left. A call over it is refused at once with 429.";

pub const ROUTE: &str = "\
Examples:
  mayfly route list
  mayfly route add thumbnail '/thumbs/*' --method GET,POST
  mayfly route add shop '/*' --host shop.example          a domain of its own
  mayfly route add users '/users/{id}/posts'               parameters reach the function
  mayfly route add next '/*' --header x-beta=1
  mayfly route rm '/thumbs/*' --method GET,POST

The most specific route takes a request: its host before *.its.domain before every host, then segment by
segment a literal before {name} before *, then who asks for more headers.
Routes can also stand in mayfly.toml as [[trigger]]; those are replaced by the next deploy.
Without any route a function answers at /NAME/…";

pub const KEY: &str = "\
Examples:
  mayfly key create ci --function hello
  mayfly key create partner --function orders,stock --expires 90d
  mayfly key create admin --all --json | jq -r .secret
  mayfly key list
  mayfly key revoke 0a1b2c3d4e

A function takes keys where its mayfly.toml has [access] with auth = \"key\". Callers send one as x-api-key:
  curl -H 'x-api-key: mfk_…' http://127.0.0.1:8080/hello/
Only a hash of it is kept: a key that was lost is revoked, and another one made.";

pub const DEPLOYMENTS: &str = "\
Examples:
  mayfly deployments hello
  mayfly deployments hello --log last";

pub const INFO: &str = "\
Examples:
  mayfly info                            also says what is missing for a runtime that can't be used";
