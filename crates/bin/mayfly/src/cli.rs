//! The command line: arguments in, API calls out, results in words or as JSON.
//!
//! Reading order: [`args`] and [`help`] are what one types and reads; [`failure`], [`screen`], [`table`] and
//! [`progress`] are how anything is shown; then one file for each verb.

mod alias;
pub mod args;
mod delete;
pub mod deploy;
mod describe;
mod dev;
pub mod failure;
pub mod folder;
mod help;
mod history;
mod info;
mod init;
mod invoke;
mod key;
mod limit;
mod list;
mod logs;
pub mod place;
pub mod progress;
mod route;
pub mod screen;
pub mod table;
mod templates;
mod tenant;

use crate::client::{Client, Token};
use args::{Cli, Global, Verb};
use clap::FromArgMatches as _;
use failure::{Failure, Outcome};
use screen::Screen;
use std::process::ExitCode;

/// Reads this process' arguments; wrong ones are told, and end it with code 2.
pub fn parse() -> Cli {
    let matches = help::command().get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut help::command()).exit())
}

/// What a verb works with.
pub struct Session {
    pub client: Client,
    pub screen: Screen,
}

/// Runs a verb that talks to a platform, or needs none.
pub fn run(global: &Global, verb: Verb) -> ExitCode {
    let screen = Screen::of_this_process(global.json);
    // A client needs one thread; `dev` holds a platform in this process.
    let mut runtime = match verb {
        Verb::Dev(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let outcome = runtime
        .enable_all()
        .build()
        .map_err(|e| Failure::machine("cannot start the runtime", &e))
        .and_then(|runtime| runtime.block_on(dispatch(global, screen, verb)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.show(&screen);
            failure.exit_code().into()
        }
    }
}

async fn dispatch(global: &Global, screen: Screen, verb: Verb) -> Outcome {
    match verb {
        Verb::Init(args) => return init::run(&screen, &args),
        Verb::Dev(args) => return dev::run(screen, &args).await,
        _ => {}
    }
    let session = Session { client: connect(global)?, screen };
    match verb {
        Verb::Deploy(args) => deploy::run(&session, args).await,
        Verb::Invoke(args) => invoke::run(&session, args).await,
        Verb::Logs(args) => logs::run(&session, args).await,
        Verb::Invocations(args) => history::invocations(&session, args).await,
        Verb::Deployments(args) => history::deployments(&session, args).await,
        Verb::List(args) => list::run(&session, &args).await,
        Verb::Describe(args) => describe::run(&session, args).await,
        Verb::Delete(args) => delete::run(&session, args).await,
        Verb::Alias(verb) => alias::run(&session, verb).await,
        Verb::Rollback(args) => alias::rollback(&session, args).await,
        Verb::Limit(args) => limit::run(&session, args).await,
        Verb::Route(verb) => route::run(&session, verb).await,
        Verb::Key(verb) => key::run(&session, verb).await,
        Verb::Tenant(verb) => tenant::run(&session, verb).await,
        Verb::Info => info::run(&session).await,
        Verb::Up(_) | Verb::Guest(_) | Verb::Compile(_) | Verb::Init(_) | Verb::Dev(_) => {
            Err(Failure::Usage("this verb is not one of the client's".to_owned()))
        }
    }
}

/// A client for the API that the options name.
fn connect(global: &Global) -> Outcome<Client> {
    let path = match &global.token_file {
        Some(path) => path.clone(),
        None => place::data_dir(global.data_dir.as_deref()).join(place::TOKEN_FILE),
    };
    let token = Token::read(path);
    // One that was named has to be there; the default one may not be needed.
    if let (Some(path), Err(why)) = (&global.token_file, &token.value) {
        return Err(Failure::Usage(format!("cannot read the token in {}: {why}", path.display())));
    }
    Ok(Client::new(&global.api_url, token)?)
}

#[cfg(test)]
mod tests;
