//! `mayfly route`: hosts and paths to functions.

use super::{
    Session,
    args::{RouteAddArgs, RouteKeyArgs, RouteVerb},
    failure::{Failure, Outcome},
    screen::Paint,
    table::Table,
};
use crate::client::Condition;
use http::Method;
use serde_json::json;
use std::collections::BTreeMap;
use types::{Fault, Route, api::RouteList};

pub async fn run(session: &Session, verb: RouteVerb) -> Outcome {
    match verb {
        RouteVerb::List => all(session).await,
        RouteVerb::Add(args) => add(session, args).await,
        RouteVerb::Rm(args) => remove(session, args).await,
    }
}

async fn all(session: &Session) -> Outcome {
    let list: RouteList = session.client.get("/routes").await?;
    session.screen.result(&list, |paint| {
        if list.routes.is_empty() {
            "no routes: every function answers at /NAME/…\n".to_owned()
        } else {
            words(&list.routes, paint)
        }
    })
}

pub fn words(routes: &[Route], paint: Paint) -> String {
    let mut rows = Table::new(&["HOST", "PATH", "METHODS", "HEADERS", "FUNCTION", "ALIAS", "FROM"]);
    for route in routes {
        rows.row([
            route.host.clone().unwrap_or_else(|| "*".to_owned()),
            route.path.clone(),
            if route.methods.is_empty() { "all".to_owned() } else { route.methods.join(",") },
            route.headers.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(","),
            route.function.to_string(),
            route.alias.to_string(),
            if route.from_manifest { "manifest" } else { "command" }.to_owned(),
        ]);
    }
    rows.render(paint)
}

async fn add(session: &Session, args: RouteAddArgs) -> Outcome {
    let route = Route {
        host: args.key.host.clone(),
        path: args.key.path.clone(),
        methods: args.key.methods.clone(),
        headers: headers(&args.key),
        function: args.name,
        alias: args.alias,
        from_manifest: false,
    }
    .normal()?;
    let route: Route = session.client.change(Method::PUT, "/routes", &route, Condition::Always).await?;
    session.screen.result(&route, |_| format!("{} now goes to {} ({})\n", shown(&route), route.function, route.alias))
}

/// The document that the API deletes by is the one it lists, so it is looked up first.
async fn remove(session: &Session, args: RouteKeyArgs) -> Outcome {
    let list: RouteList = session.client.get("/routes").await?;
    let host = args.host.as_deref().map(str::to_ascii_lowercase);
    let mut wanted = methods(&args);
    wanted.sort_unstable();
    let asked = headers(&args);
    let same = |route: &&Route| {
        let mut methods = route.methods.clone();
        methods.sort_unstable();
        route.host == host
            && route.path == args.path
            && (methods == wanted || wanted.is_empty())
            && (route.headers == asked || asked.is_empty())
    };
    let found: Vec<&Route> = list.routes.iter().filter(same).collect();
    let route = match found.as_slice() {
        [route] => *route,
        [] => return Err(Failure::Usage(format!("no such route: {} (`mayfly route list` shows them)", args.path))),
        _ => {
            return Err(Failure::Usage(format!(
                "several routes have the path {}: name its --method or --header",
                args.path
            )));
        }
    };
    let body = serde_json::to_vec(route).map_err(|e| Failure::Fault(Fault::internal(e)))?;
    session.client.delete("/routes", body.into(), Condition::Always).await?;
    session.screen.result(&json!({ "deleted": route }), |_| format!("{} is gone\n", shown(route)))
}

fn headers(key: &RouteKeyArgs) -> BTreeMap<String, String> {
    key.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect()
}

fn methods(key: &RouteKeyArgs) -> Vec<String> {
    key.methods.iter().map(|method| method.to_ascii_uppercase()).collect()
}

fn shown(route: &Route) -> String {
    let methods = if route.methods.is_empty() { String::new() } else { format!("{} ", route.methods.join(",")) };
    let headers: String = route.headers.iter().map(|(name, value)| format!(" {name}={value}")).collect();
    format!("{methods}{}{}{headers}", route.host.as_deref().unwrap_or_default(), route.path)
}
