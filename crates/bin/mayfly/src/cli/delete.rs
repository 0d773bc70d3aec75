//! `mayfly delete`: asks, then deletes what was shown and nothing newer.

use super::{
    Session,
    args::DeleteArgs,
    failure::{Failure, Outcome},
};
use crate::client::Condition;
use serde_json::json;
use std::io::{BufRead, IsTerminal as _, Write as _};
use types::api::FunctionDetail;
use wire::Body;

pub async fn run(session: &Session, args: DeleteArgs) -> Outcome {
    let path = format!("/functions/{}", args.name);
    let (detail, tag): (FunctionDetail, _) = session.client.get_tagged(&path).await?;
    let stdin = std::io::stdin();
    if !args.yes {
        if !stdin.is_terminal() || !session.screen.stderr_is_terminal {
            return Err(Failure::Usage("deleting without a terminal needs --yes".to_owned()));
        }
        ask(&detail, stdin.lock())?;
    }
    session.client.delete(&path, Body::Empty, tag.map_or(Condition::Always, Condition::Unchanged)).await?;
    session.screen.result(&json!({ "deleted": args.name }), |_| format!("{} is deleted\n", args.name))
}

fn ask(detail: &FunctionDetail, mut answers: impl BufRead) -> Outcome {
    let _ = write!(
        std::io::stderr(),
        "delete {} with {} revisions, {} routes, its aliases and logs? [y/N] ",
        detail.name,
        detail.revisions.len(),
        detail.routes.len()
    );
    let mut line = String::new();
    answers.read_line(&mut line).map_err(|e| Failure::machine("cannot read the answer", &e))?;
    match line.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::Usage("nothing was deleted".to_owned())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_deletes() {
        let detail: FunctionDetail = serde_json::from_value(json!({
            "name": "hello", "created": "2026-09-21T14:00:00Z", "url": "", "aliases": [], "routes": [],
            "revisions": [], "instances": [],
        }))
        .unwrap();
        for (answer, deletes) in [("y\n", true), ("YES\n", true), ("n\n", false), ("\n", false), ("", false)] {
            assert_eq!(ask(&detail, answer.as_bytes()).is_ok(), deletes, "{answer:?}");
        }
    }
}
