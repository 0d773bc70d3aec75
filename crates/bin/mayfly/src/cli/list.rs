//! `mayfly list`: all functions on one screen.

use super::{
    Session,
    args::ListArgs,
    failure::Outcome,
    screen::Paint,
    table::{self, Table},
};
use types::{Timestamp, api::FunctionList, record::Target};

pub async fn run(session: &Session, args: &ListArgs) -> Outcome {
    let mut list: FunctionList = session.client.get("/functions").await?;
    list.functions.retain(|function| args.tenant.as_ref().is_none_or(|tenant| function.tenant == *tenant));
    session.screen.result(&list, |paint| words(&list, table::now(), paint))
}

fn words(list: &FunctionList, now: Timestamp, paint: Paint) -> String {
    if list.functions.is_empty() {
        return "no functions yet: `mayfly init NAME --runtime python` makes one\n".to_owned();
    }
    let mut rows = Table::new(&["NAME", "TENANT", "RUNTIME", "CONTRACT", "LIVE", ">READY", ">UPDATED", "URL"]);
    for function in &list.functions {
        rows.row([
            function.name.to_string(),
            function.tenant.to_string(),
            function.runtime.to_string(),
            function.contract.to_string(),
            targets(&function.live),
            function.instances.to_string(),
            table::age(now, function.updated),
            function.url.clone(),
        ]);
    }
    rows.render(paint)
}

/// `3`, or `3=90 4=10`.
pub fn targets(targets: &[Target]) -> String {
    match targets {
        [] => "-".to_owned(),
        [one] => one.revision.to_string(),
        many => many.iter().map(|t| format!("{}={}", t.revision, t.weight)).collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn functions_stand_in_a_table() {
        let list: FunctionList = serde_json::from_value(serde_json::json!({ "functions": [
            { "name": "hello", "runtime": "python", "contract": "handler", "live": [{"revision": 3, "weight": 90},
              {"revision": 4, "weight": 10}], "url": "http://127.0.0.1:8080/hello", "instances": 2,
              "updated": "2026-09-21T14:13:20.000Z" },
        ]}))
        .unwrap();
        let now = "2026-09-21T14:16:21Z".parse().unwrap();
        assert_eq!(
            words(&list, now, Paint::plain()),
            "NAME   TENANT   RUNTIME  CONTRACT  LIVE       READY  UPDATED  URL\n\
             hello  default  python   handler   3=90 4=10      2    3 min  http://127.0.0.1:8080/hello\n"
        );
        assert!(words(&FunctionList { functions: vec![] }, now, Paint::plain()).contains("mayfly init"));
    }
}
