//! Where requests go: aliases with weights, routes by host, path and method, and changes that nobody overwrites.

use crate::load::Load;
use mayfly_tests::{Folder, Platform};
use serde_json::{Value, json};

const SAYS: &str = "def handler(event, context):\n    return context.function_version\n";

fn with_two_revisions(platform: &Platform, name: &str) {
    let folder = Folder::python(name, "", SAYS);
    platform.deploy(&folder);
    folder.write("app.py", format!("# the second\n{SAYS}"));
    assert_eq!(platform.deploy(&folder)["revision"], format!("{name}@2"));
}

/// "aliases with weights over one or two revisions (`live` by default)".
#[test]
fn weights_split_the_traffic() {
    let platform = Platform::shared();
    with_two_revisions(&platform, "split");
    platform.mayfly(&["alias", "set", "split", "live", "1=25", "2=75"]).ok();
    let calls = 400;
    let first = (0..calls).filter(|_| platform.gateway().get("/split").ok().json() == "1").count();
    // 4 sigma of a binomial with n = 400, p = 0.25: 34.6.
    assert!((66..=134).contains(&first), "{first} of {calls} calls went to the revision with 25 %");

    // Another name, another target; called by its name.
    platform.mayfly(&["alias", "set", "split", "old", "1"]).ok();
    for _ in 0..10 {
        assert_eq!(platform.mayfly(&["invoke", "split", "--alias", "old"]).ok().json(), "1");
    }
    platform.mayfly(&["alias", "set", "split", "live", "1=60", "2=60"]).fails(2, &["120"]);
    platform.mayfly(&["alias", "set", "split", "live", "7"]).fails(2, &["no such revision"]);
    platform.mayfly(&["invoke", "split", "--alias", "never"]).fails(2, &["alias"]);
}

/// "Updates by ETag/If-Match."
#[test]
fn a_stale_change_is_refused() {
    let platform = Platform::shared();
    with_two_revisions(&platform, "tagged");
    let (api, path) = (platform.api(), "/v1/functions/tagged/aliases/live");
    let read = api.get(path).ok();
    let tag = read.header("etag").expect("an ETag").to_owned();
    let to = |revision: u32| json!({"targets": [{"revision": revision, "weight": 100}]}).to_string();
    let changed = api.with("if-match", &tag).send("PUT", path, to(1)).ok();
    assert_ne!(changed.header("etag"), Some(tag.as_str()));
    api.with("if-match", &tag).send("PUT", path, to(2)).problem(412, "precondition_failed");
    assert_eq!(platform.gateway().get("/tagged").ok().json(), "1", "the refused change changed nothing");
    let fresh = changed.header("etag").unwrap();
    api.with("if-match", fresh).send("PUT", path, to(2)).ok();
    api.with("if-none-match", "*").send("PUT", path, to(1)).problem(412, "precondition_failed");

    // A function is deleted as it was read, or not at all.
    let tag = api.get("/v1/functions/tagged").ok().header("etag").unwrap().to_owned();
    api.send("PUT", path, to(1)).ok();
    api.with("if-match", &tag).send("DELETE", "/v1/functions/tagged", "").problem(412, "precondition_failed");
    platform.gateway().get("/tagged").ok();
}

/// "tagged URLs": by host the path is the function's own, whatever routes there are.
#[test]
fn a_tags_host_leads_to_its_revision() {
    let platform = Platform::shared();
    let says = "def handler(event, context):\n    return context.function_version + ' ' + event['rawPath']\n";
    let folder = Folder::python("tagged-host", "[[trigger]]\nhttp = { path = \"/tagged-host/*\" }", says);
    platform.deploy(&folder);
    platform.mayfly(&["alias", "set", "tagged-host", "old", "1"]).ok();
    folder.write("app.py", format!("# the second\n{says}"));
    platform.deploy(&folder);
    platform.deploy(&Folder::python("tagged-other", "[[trigger]]\nhttp = { path = \"/tagged-cart\" }", says));
    let gateway = platform.gateway();
    for path in ["/tagged-host/x", "/tagged-cart", "/tagged-other", "/"] {
        let answer = gateway.with("host", "old---tagged-host.example.com").get(path).ok();
        assert_eq!(answer.header("mayfly-revision"), Some("tagged-host@1"), "{path}");
        assert_eq!(answer.json(), format!("1 {path}"));
    }
    assert_eq!(gateway.with("host", "shop.example.com").get("/tagged-host/x").ok().json(), "2 /tagged-host/x");
    // As a client of gRPC asks: HTTP/2, whose host is `:authority`.
    let mut curl = std::process::Command::new("curl");
    curl.args([
        "-sS",
        "-D",
        "-",
        "--http2-prior-knowledge",
        "-H",
        "content-type: application/grpc",
        "-H",
        "te: trailers",
    ]);
    curl.args(["-H", "host: old---tagged-host.example.com", "--data-binary", "x"]);
    let said = curl.arg(format!("{}/t.Words/Shout", platform.gateway_url())).output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("mayfly-revision: tagged-host@1") && said.contains("1 /t.Words/Shout"), "{said}");
}

/// "an alias moves … no failed request meanwhile", a hundred times.
#[test]
fn moving_an_alias_fails_no_request() {
    let platform = Platform::shared();
    with_two_revisions(&platform, "moves");
    let load = Load::start(&platform.gateway(), "/moves");
    for turn in 0..100 {
        let targets = json!({"targets": [{"revision": turn % 2 + 1, "weight": 100}]}).to_string();
        platform.api().send("PUT", "/v1/functions/moves/aliases/live", targets).ok();
    }
    load.goes_on();
    load.none_failed();
}

/// `mayfly deploy && curl`: what was acknowledged is what the next request gets, whatever else goes on.
#[test]
fn an_acknowledged_change_is_seen_by_the_next_request() {
    let platform = Platform::shared();
    with_two_revisions(&platform, "prompt");
    let others: Vec<Load> = (0..3).map(|_| Load::start(&platform.gateway(), "/prompt")).collect();
    for turn in 0..200 {
        let revision = turn % 2 + 1;
        let targets = json!({"targets": [{"revision": revision, "weight": 100}]}).to_string();
        platform.api().send("PUT", "/v1/functions/prompt/aliases/live", targets).ok();
        let answer = platform.gateway().get("/prompt").ok().json();
        assert_eq!(answer, revision.to_string(), "after {turn} moves");
    }
    for load in others {
        load.none_failed();
    }
}

/// "host and path routes to an alias, `/<function>/…` by default".
#[test]
fn routes_lead_by_host_path_and_method() {
    let platform = Platform::shared();
    let code = "def handler(event, context):\n    return context.function_name + ' ' + event['rawPath']\n";
    let routes = "[[trigger]]\nhttp = { path = \"/shop/*\" }\n\
                  [[trigger]]\nhttp = { path = \"/shop/cart\", methods = [\"POST\"] }";
    platform.deploy(&Folder::python("shop", routes, code));
    platform.deploy(&Folder::python(
        "basket",
        "[[trigger]]\nhttp = { path = \"/shop/cart\", methods = [\"GET\"] }",
        code,
    ));
    let hosted = "[[trigger]]\nhttp = { path = \"/*\", host = \"shop.example\" }";
    platform.deploy(&Folder::python("hosted", hosted, code));
    let gateway = platform.gateway();
    let said = |method: &str, path: &str| gateway.send(method, path, "").ok().json();
    // A route keeps its path; the function's own name is taken off.
    assert_eq!(said("GET", "/shop/cart"), "basket /shop/cart");
    assert_eq!(said("POST", "/shop/cart"), "shop /shop/cart");
    assert_eq!(said("GET", "/shop/shoes/9"), "shop /shop/shoes/9");
    assert_eq!(said("GET", "/shop"), "shop /shop");
    assert_eq!(said("GET", "/basket/x"), "basket /x");
    assert_eq!(gateway.with("host", "shop.example").get("/anything").ok().json(), "hosted /anything");
    assert_eq!(gateway.with("host", "Shop.Example:8080").get("/anything").ok().json(), "hosted /anything");
    gateway.with("host", "other.example").get("/anything").problem(404, "route_not_found");

    platform.mayfly(&["route", "add", "shop", "/only", "--method", "PUT"]).ok();
    let refused = gateway.get("/only").problem(405, "method_not_allowed");
    assert_eq!(refused.header("allow"), Some("PUT"));
    assert_eq!(said("PUT", "/only"), "shop /only");
    platform.mayfly(&["route", "rm", "/only"]).ok();
    gateway.send("PUT", "/only", "").problem(404, "route_not_found");
}

/// "Two routes that clash": 409, naming the other function; nothing of the refused deploy is left.
#[test]
fn clashing_routes_name_the_other() {
    let platform = Platform::shared();
    let route = "[[trigger]]\nhttp = { path = \"/contested/*\" }";
    platform.deploy(&Folder::python("first-owner", route, SAYS));
    let late = Folder::python("late-comer", route, SAYS);
    let refused = platform.mayfly(&["deploy", &late.arg()]).fails(1, &["first-owner", "/contested/*"]);
    assert!(refused.stderr.contains("Another function has this route"), "{refused:?}");
    let failed = platform.mayfly(&["--json", "deploy", &late.arg()]);
    assert_eq!((failed.json()["code"].as_str(), failed.json()["status"].as_u64()), (Some("route_conflict"), Some(409)));
    platform.gateway().get("/late-comer").problem(404, "route_not_found");
    platform.api().get("/v1/functions/late-comer").problem(404, "function_not_found");

    // By the API, and within one manifest.
    platform.deploy(&Folder::python("late-comer", "", SAYS));
    let body = json!({"path": "/contested/*", "function": "late-comer", "alias": "live"}).to_string();
    let refused = platform.api().send("PUT", "/v1/routes", body).problem(409, "route_conflict");
    assert!(refused.json()["detail"].as_str().unwrap().contains("first-owner"), "{refused:?}");
    assert!(platform.gateway().get("/contested/x").ok().header("mayfly-revision") == Some("first-owner@1"));
    let twice = Folder::python("twice", &format!("{route}2\n{route}2").replace("/*\"2", "2\""), SAYS);
    let text = "[[trigger]]\nhttp = { path = \"/mine\" }\n[[trigger]]\nhttp = { path = \"/mine\" }";
    let twice_text = format!("name = \"twice\"\nruntime = \"python\"\nentry = \"app.handler\"\n{text}\n");
    twice.write("mayfly.toml", twice_text);
    let failed: Value = platform.mayfly(&["--json", "deploy", &twice.arg()]).json();
    assert!(matches!(failed["code"].as_str(), Some("route_conflict" | "manifest_invalid")), "{failed}");
}
