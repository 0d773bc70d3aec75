//! `mayfly key`: who may call functions with `auth = "key"`.

use super::{
    Session,
    args::{KeyCreateArgs, KeyVerb},
    failure::Outcome,
    screen::Paint,
    table::{Table, date, now},
};
use crate::client::Condition;
use http::Method;
use serde_json::json;
use types::{
    ApiKey, Timestamp,
    key::{KeyCreated, KeyList, KeyRequest},
};
use wire::Body;

pub async fn run(session: &Session, verb: KeyVerb) -> Outcome {
    match verb {
        KeyVerb::Create(args) => create(session, args).await,
        KeyVerb::List => list(session).await,
        KeyVerb::Revoke(args) => {
            session.client.delete(&format!("/keys/{}", args.id), Body::Empty, Condition::Always).await?;
            session.screen.result(&json!({ "revoked": args.id }), |_| format!("{} opens nothing any more\n", args.id))
        }
    }
}

async fn create(session: &Session, args: KeyCreateArgs) -> Outcome {
    let expires = args.expires.map(|after| Timestamp(now().0.saturating_add(after.0)));
    let request = KeyRequest { name: args.name, functions: args.functions, all: args.all, expires };
    let created: KeyCreated = session.client.change(Method::POST, "/keys", &request, Condition::Always).await?;
    session.screen.result(&created, |paint| {
        let KeyCreated { key, secret } = &created;
        let what = format!("It opens {} and is not shown again; `mayfly key revoke {}` ends it.", opens(key), key.id);
        format!("{}\n{what}\n", paint.bold(secret))
    })
}

async fn list(session: &Session) -> Outcome {
    let list: KeyList = session.client.get("/keys").await?;
    session.screen.result(&list, |paint| match list.keys.is_empty() {
        true => "no keys: `mayfly key create NAME --function FUNCTION` makes one\n".to_owned(),
        false => words(&list.keys, now(), paint),
    })
}

fn words(keys: &[ApiKey], now: Timestamp, paint: Paint) -> String {
    let mut rows = Table::new(&["ID", "NAME", "KEY", "OPENS", "CREATED", "EXPIRES"]);
    for key in keys {
        let expires = match key.expires {
            Some(_) if key.is_expired(now) => "expired".to_owned(),
            Some(at) => date(at),
            None => "never".to_owned(),
        };
        rows.row([
            key.id.clone(),
            key.name.clone(),
            format!("{}_…", key.prefix()),
            opens(key),
            date(key.created),
            expires,
        ]);
    }
    rows.render(paint)
}

fn opens(key: &ApiKey) -> String {
    match &key.functions {
        Some(names) => names.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        None => "all functions".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shown_without_their_secrets() {
        let key = |id: &str, functions: Option<&str>, expires: Option<u64>| ApiKey {
            id: id.to_owned(),
            name: "ci".to_owned(),
            functions: functions.map(|names| names.split(',').map(|name| name.parse().unwrap()).collect()),
            created: Timestamp(1_790_000_000_123),
            expires: expires.map(Timestamp),
        };
        let keys =
            [key("01", None, None), key("02", Some("a,b"), Some(5)), key("03", Some("a"), Some(1_790_000_000_123))];
        assert_eq!(
            words(&keys, Timestamp(5), Paint::plain()),
            "ID  NAME  KEY       OPENS          CREATED              EXPIRES\n\
             01  ci    mfk_01_…  all functions  2026-09-21 14:13:20  never\n\
             02  ci    mfk_02_…  a,b            2026-09-21 14:13:20  expired\n\
             03  ci    mfk_03_…  a              2026-09-21 14:13:20  2026-09-21 14:13:20\n"
        );
    }
}
