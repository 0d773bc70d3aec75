//! `mayfly alias` and `mayfly rollback`: which revision takes the traffic.

use super::{
    Session,
    args::{AliasDeleteArgs, AliasSetArgs, AliasVerb, NameArgs, RollbackArgs, Steps},
    failure::{Failure, Outcome},
    list,
    screen::Paint,
    table::{self, Table},
};
use crate::client::{Condition, Error, Tag};
use http::Method;
use serde_json::json;
use std::str::FromStr;
use types::{
    Alias, Canary, Code, RevisionId, Timestamp,
    api::{AliasList, AliasUpdate, Rollback},
    record::Target,
};
use wire::Body;

/// A revision with its share of the traffic, as typed: `3`, `3=90`, `hello@3=90`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    pub revision: u32,
    pub weight: Option<u8>,
}

impl FromStr for Share {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (revision, weight) = match text.split_once('=') {
            Some((revision, weight)) => (revision, Some(weight)),
            None => (text, None),
        };
        let number = match revision.parse::<RevisionId>() {
            Ok(id) => Some(id.number),
            Err(_) => revision.parse().ok().filter(|number| *number > 0),
        };
        let revision = number.ok_or_else(|| format!("`{revision}` is no revision's number"))?;
        let weight = weight
            .map(|w| w.parse().ok().filter(|w| *w <= 100).ok_or_else(|| format!("`{w}` is no share from 0 to 100")))
            .transpose()?;
        Ok(Self { revision, weight })
    }
}

/// Fills in the shares that were left out.
fn targets(shares: &[Share]) -> Result<Vec<Target>, String> {
    let given: u32 = shares.iter().filter_map(|s| s.weight).map(u32::from).sum();
    let open = shares.iter().filter(|s| s.weight.is_none()).count();
    if open > 1 {
        return Err("say how the traffic is split, as 3=90 4=10".to_owned());
    }
    if given > 100 || (open == 0 && given != 100) {
        return Err(format!("the shares add up to {given}, not to 100"));
    }
    let rest = (100 - given) as u8;
    Ok(shares.iter().map(|s| Target { revision: s.revision, weight: s.weight.unwrap_or(rest) }).collect())
}

pub async fn run(session: &Session, verb: AliasVerb) -> Outcome {
    match verb {
        AliasVerb::List(args) => all(session, args).await,
        AliasVerb::Set(args) => set(session, args).await,
        AliasVerb::Delete(args) => delete(session, args).await,
    }
}

async fn all(session: &Session, args: NameArgs) -> Outcome {
    let list: AliasList = session.client.get(&format!("/functions/{}/aliases", args.name)).await?;
    session.screen.result(&list, |paint| words(&list, paint))
}

fn words(list: &AliasList, paint: Paint) -> String {
    if list.aliases.is_empty() {
        return "no alias yet: the first deploy that succeeds makes `live`\n".to_owned();
    }
    let now = table::now();
    let mut rows = Table::new(&["ALIAS", "REVISION", ">CHANGED"]);
    for alias in &list.aliases {
        rows.row([alias.name.to_string(), list::targets(&alias.targets), table::age(now, alias.changed)]);
    }
    rows.render(paint) + &canaries(&list.aliases, now)
}

/// A line for each alias that moves by steps.
pub fn canaries(aliases: &[Alias], now: Timestamp) -> String {
    let told = |alias: &Alias| {
        let rollout = alias.canary.as_ref()?;
        let (to, from, since) = (rollout.to, rollout.from, table::age(now, rollout.since));
        Some(format!(
            "{}: revision {to} has {rollout}, since {since}; it goes back to {from} where it does worse\n",
            alias.name
        ))
    };
    aliases.iter().filter_map(told).collect()
}

async fn set(session: &Session, args: AliasSetArgs) -> Outcome {
    let canary = args.canary.map(|Steps(steps)| {
        let plan = Canary::default();
        Canary { steps, every: args.every.unwrap_or(plan.every), ..plan }
    });
    let update = AliasUpdate { targets: targets(&args.targets).map_err(Failure::Usage)?, canary };
    let path = format!("/functions/{}/aliases/{}", args.name, args.alias);
    let condition = match current(session, &path).await? {
        Some((_, Some(tag))) => Condition::Unchanged(tag),
        Some((_, None)) => Condition::Always,
        None => Condition::Absent,
    };
    let alias: Alias = session.client.change(Method::PUT, &path, &update, condition).await?;
    session.screen.result(&alias, |_| told(&alias))
}

/// The alias as it is, with its version; `None` where there is none yet.
async fn current(session: &Session, path: &str) -> Outcome<Option<(Alias, Option<Tag>)>> {
    match session.client.get_tagged(path).await {
        Ok(found) => Ok(Some(found)),
        Err(Error::Fault(fault)) if fault.code == Code::AliasNotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn delete(session: &Session, args: AliasDeleteArgs) -> Outcome {
    let path = format!("/functions/{}/aliases/{}", args.name, args.alias);
    let (_, tag): (Alias, _) = session.client.get_tagged(&path).await?;
    session.client.delete(&path, Body::Empty, tag.map_or(Condition::Always, Condition::Unchanged)).await?;
    session.screen.result(&json!({ "deleted": args.alias, "function": args.name }), |_| {
        format!("alias {} of {} is deleted\n", args.alias, args.name)
    })
}

pub async fn rollback(session: &Session, args: RollbackArgs) -> Outcome {
    let path = format!("/functions/{}/rollback", args.name);
    let alias: Alias = session.client.change(Method::POST, &path, &Rollback { to: args.to }, Condition::Always).await?;
    session.screen.result(&alias, |_| told(&alias))
}

fn told(alias: &Alias) -> String {
    format!("alias {} of {} is now revision {}\n", alias.name, alias.function, list::targets(&alias.targets))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::{
        cli::screen::Screen,
        client::tests::{client, full, serve},
    };
    use http::HeaderValue;
    use std::sync::{Arc, Mutex};
    use types::Fault;

    /// Sets an alias that is there, or is not; gives the conditions under which the change was sent.
    async fn set_where(there: bool) -> (Option<String>, Option<String>) {
        let seen = Arc::new(Mutex::new((None, None)));
        let sent = seen.clone();
        let url = serve(move |request| {
            let header = |name: &str| request.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
            let alias = json!({ "function": "hello", "name": "live", "targets": [{ "revision": 3, "weight": 100 }],
                "changed": "2026-09-21T14:13:20Z" });
            let mut response = if request.method() == Method::PUT {
                *sent.lock().unwrap() = (header("if-match"), header("if-none-match"));
                full(200, alias.to_string())
            } else if there {
                full(200, alias.to_string())
            } else {
                let fault = Fault::new(Code::AliasNotFound, "no such alias");
                full(404, serde_json::to_vec(&fault.problem()).unwrap())
            };
            response.headers_mut().insert("etag", HeaderValue::from_static("\"17\""));
            async move { response }
        })
        .await;
        let session = Session { client: client(&url), screen: Screen::of_this_process(true) };
        let args = AliasSetArgs {
            name: "hello".parse().unwrap(),
            alias: "live".parse().unwrap(),
            targets: vec!["3".parse().unwrap()],
            canary: None,
            every: None,
        };
        set(&session, args).await.unwrap();
        let seen = seen.lock().unwrap();
        seen.clone()
    }

    #[tokio::test]
    async fn nobodys_change_is_overwritten() {
        assert_eq!(set_where(true).await, (Some("\"17\"".to_owned()), None));
        assert_eq!(set_where(false).await, (None, Some("*".to_owned())));
    }

    fn parse(texts: &[&str]) -> Result<Vec<(u32, u8)>, String> {
        let shares = texts.iter().map(|text| text.parse()).collect::<Result<Vec<Share>, _>>()?;
        Ok(targets(&shares)?.iter().map(|t| (t.revision, t.weight)).collect())
    }

    #[test]
    fn shares_are_filled_up_to_a_hundred() {
        assert_eq!(parse(&["3"]), Ok(vec![(3, 100)]));
        assert_eq!(parse(&["hello@3"]), Ok(vec![(3, 100)]));
        assert_eq!(parse(&["3=90", "4=10"]), Ok(vec![(3, 90), (4, 10)]));
        assert_eq!(parse(&["3", "4=10"]), Ok(vec![(3, 90), (4, 10)]));
    }

    #[test]
    fn shares_that_make_no_sense_are_refused() {
        for (texts, word) in [
            (&["3=90", "4=20"][..], "110"),
            (&["3=90"][..], "90"),
            (&["3", "4"][..], "split"),
            (&["0"][..], "no revision"),
            (&["x"][..], "no revision"),
            (&["3=101"][..], "no share"),
            (&["3=x"][..], "no share"),
        ] {
            let error = parse(texts).unwrap_err();
            assert!(error.contains(word), "{texts:?}: {error}");
        }
    }
}
