//! The order of routes: by a table of cases, and against a matcher that knows no tree.

use super::{
    host,
    table::{Ask, Table},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::{collections::HashMap, sync::Arc};
use types::{
    AliasName, Code, Route,
    route::{Segment, segments, shape},
};
use wire::{FunctionView, Snapshot, Target};

fn function(snapshot: &mut Snapshot, name: &str) {
    let name: types::FunctionName = name.parse().unwrap();
    let target = Target {
        function: name.clone(),
        tenant: types::TenantName::default(),
        alias: AliasName::live(),
        revisions: Arc::new([]),
    };
    let aliases = HashMap::from([(AliasName::live(), Arc::new(target))]);
    snapshot.functions.insert(name.clone(), Arc::new(FunctionView { name, aliases }));
}

fn route(host: Option<&str>, path: &str, methods: &[&str], headers: &[(&str, &str)], function: &str) -> Route {
    Route {
        host: host.map(str::to_owned),
        path: path.to_owned(),
        methods: methods.iter().map(|m| (*m).to_owned()).collect(),
        headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        function: function.parse().unwrap(),
        alias: AliasName::live(),
        from_manifest: false,
    }
}

/// Puts a route where control's records would have it.
fn put(snapshot: &mut Snapshot, route: Route) {
    let key: Arc<str> = format!("{:?} {}", route.host, shape(&route.path)).into();
    let before = snapshot.routes.get(&key).map(|place| place.to_vec()).unwrap_or_default();
    snapshot.routes.insert(key, before.into_iter().chain([Arc::new(route)]).collect());
}

fn snapshot(routes: &[(Option<&str>, &str, &[&str], &str)]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for name in ["hello", "thumbs", "other"] {
        function(&mut snapshot, name);
    }
    for (host, path, methods, function) in routes {
        put(&mut snapshot, route(*host, path, methods, &[], function));
    }
    snapshot
}

fn ask<'a>(host: Option<&'a str>, method: &'a Method, path: &'a str, headers: &'a HeaderMap) -> Ask<'a> {
    Ask { host, path, method, headers }
}

#[test]
fn the_most_specific_route_wins() {
    let table = Table::new(Arc::new(snapshot(&[
        (None, "/a/*", &[], "hello"),
        (None, "/a/b/*", &[], "thumbs"),
        (None, "/a/b", &["GET"], "other"),
        (Some("x.example"), "/a/*", &[], "other"),
        (Some("*.example"), "/a/*", &[], "hello"),
        (Some("*.y.example"), "/a/b/c", &[], "other"),
        (None, "/post", &["POST"], "hello"),
        (None, "/other/special", &[], "hello"),
        (None, "/users/{id}", &[], "hello"),
        (None, "/users/me", &[], "thumbs"),
        (None, "/users/{id}/posts", &[], "other"),
        (None, "/users/me/{what}", &["PUT"], "thumbs"),
        (None, "/files/{path+}", &[], "other"),
        (None, "/{all+}", &["DELETE"], "thumbs"),
    ])));
    for (host, method, path, want) in [
        (None, "GET", "/a", Ok(("hello", 0))),
        (None, "GET", "/a/", Ok(("hello", 0))),
        (None, "GET", "/a/c/d", Ok(("hello", 0))),
        (None, "GET", "/a/b/c", Ok(("thumbs", 0))),
        (None, "GET", "/a/b", Ok(("other", 0))),
        (None, "POST", "/a/b", Ok(("thumbs", 0))),
        (None, "GET", "/ab", Err(Code::MethodNotAllowed)),
        (Some("x.example"), "GET", "/a/b/c", Ok(("other", 0))),
        (Some("x.example:8080"), "GET", "/a/b/c", Ok(("other", 0))),
        (Some("X.Example."), "GET", "/a/b/c", Ok(("other", 0))),
        (Some("y.example"), "GET", "/a/b/c", Ok(("hello", 0))),
        (Some("z.y.example"), "GET", "/a/b/c", Ok(("other", 0))),
        (Some("z.y.example"), "GET", "/a/b/d", Ok(("hello", 0))),
        (Some("1.z.y.example"), "GET", "/a/b/c", Ok(("other", 0))),
        (Some("example"), "GET", "/a/b/c", Ok(("thumbs", 0))),
        (None, "GET", "/post", Err(Code::MethodNotAllowed)),
        (None, "GET", "/hello", Ok(("hello", 6))),
        (None, "GET", "/hello/x/y", Ok(("hello", 6))),
        (None, "DELETE", "/hello/x/y", Ok(("hello", 6))),
        (None, "DELETE", "/hellox", Ok(("thumbs", 0))),
        (None, "GET", "/other/special", Ok(("hello", 0))),
        (None, "GET", "/other/special/x", Ok(("other", 6))),
        (None, "GET", "/users/7", Ok(("hello", 0))),
        (None, "GET", "/users/me", Ok(("thumbs", 0))),
        (None, "GET", "/users/me/posts", Ok(("other", 0))),
        (None, "PUT", "/users/me/posts", Ok(("thumbs", 0))),
        (None, "GET", "/users/7/posts", Ok(("other", 0))),
        (None, "GET", "/users/", Err(Code::MethodNotAllowed)),
        (None, "GET", "/users/7/likes", Err(Code::MethodNotAllowed)),
        (None, "GET", "/files/a/b", Ok(("other", 0))),
        (None, "GET", "/files/", Err(Code::MethodNotAllowed)),
        (None, "GET", "/files", Err(Code::MethodNotAllowed)),
        (None, "GET", "*", Err(Code::RouteNotFound)),
    ] {
        let (method, headers) = (method.parse().unwrap(), HeaderMap::new());
        let found = table.find(ask(host, &method, path, &headers));
        let got = found.as_ref().map(|m| (m.target.function.as_str(), m.strip)).map_err(|fault| fault.code);
        assert_eq!(got, want, "{host:?} {method} {path}");
    }
}

#[test]
fn headers_choose_between_routes_of_one_place() {
    let mut snapshot = snapshot(&[(None, "/a", &[], "hello")]);
    put(&mut snapshot, route(None, "/a", &[], &[("x-beta", "1")], "thumbs"));
    put(&mut snapshot, route(None, "/a", &["GET"], &[("x-beta", "1"), ("x-eu", "yes")], "other"));
    let table = Table::new(Arc::new(snapshot));
    for (method, sent, want) in [
        ("GET", &[][..], "hello"),
        ("GET", &[("x-beta", "1")], "thumbs"),
        ("GET", &[("x-beta", "2")], "hello"),
        ("GET", &[("x-beta", "2"), ("x-beta", "1")], "thumbs"),
        ("GET", &[("x-eu", "yes")], "hello"),
        ("GET", &[("x-beta", "1"), ("x-eu", "yes")], "other"),
        ("PUT", &[("x-beta", "1"), ("x-eu", "yes")], "thumbs"),
    ] {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let method = method.parse().unwrap();
        let found = table.find(ask(None, &method, "/a", &headers)).unwrap();
        assert_eq!(found.target.function.as_str(), want, "{method} {sent:?}");
    }
}

#[test]
fn a_missing_alias_takes_nothing_and_a_refused_method_names_the_others() {
    let mut snapshot = snapshot(&[(None, "/a", &["PUT", "POST"], "hello"), (None, "/a/*", &["PATCH"], "hello")]);
    put(&mut snapshot, Route { alias: "gone".parse().unwrap(), ..route(None, "/b", &[], &[], "hello") });
    let table = Table::new(Arc::new(snapshot));
    let headers = HeaderMap::new();
    assert_eq!(table.find(ask(None, &Method::GET, "/b", &headers)).err().unwrap().code, Code::RouteNotFound);
    let fault = table.find(ask(None, &Method::GET, "/a", &headers)).err().unwrap();
    assert!(fault.detail.ends_with("takes PATCH, POST, PUT"), "{fault}");
}

fn weigh(snapshot: &mut Snapshot, name: &str, alias: &str, edge: &str) {
    let name: types::FunctionName = name.parse().unwrap();
    let manifest = format!("name = '{name}'\nruntime = 'binary'\n{edge}");
    let revision = types::Revision {
        id: types::RevisionId { function: name.clone(), number: 1 },
        content: types::Digest::from_sha256(&[1; 32]),
        artifact: types::Digest::from_sha256(&[2; 32]),
        spec: types::Manifest::parse(&manifest).unwrap().spec(),
        created: types::Timestamp(1),
    };
    let revisions = Arc::new([wire::Weighted { revision: Arc::new(revision), weight: 100 }]);
    let alias: AliasName = alias.parse().unwrap();
    let target = Arc::new(Target {
        function: name.clone(),
        tenant: types::TenantName::default(),
        alias: alias.clone(),
        revisions,
    });
    let mut view = snapshot
        .functions
        .get(&name)
        .map_or_else(|| FunctionView { name: name.clone(), aliases: HashMap::new() }, |view| FunctionView::clone(view));
    view.aliases.insert(alias, target);
    snapshot.functions.insert(name, Arc::new(view));
}

#[test]
fn a_tags_host_is_before_every_route_but_its_own_hosts() {
    let headers = HeaderMap::new();
    let mut shot = snapshot(&[
        (None, "/hello/*", &[], "hello"),
        (None, "/cart", &[], "other"),
        (None, "/*", &[], "thumbs"),
        (Some("*.example"), "/*", &[], "thumbs"),
        (Some("next---hello.example"), "/own", &[], "other"),
    ]);
    weigh(&mut shot, "hello", "next", "");
    let table = Table::new(Arc::new(shot));
    for (host, path, want) in [
        ("next---hello.shop.test", "/hello/x", "hello/next 0"),
        ("next---hello.shop.test", "/cart", "hello/next 0"),
        ("next---hello.shop.test", "/other/x", "hello/next 0"),
        ("next---hello.shop.test", "/next---hello/x", "hello/next 0"),
        ("next---hello.shop.test", "/t.Words/Shout", "hello/next 0"),
        ("next---hello.shop.test", "/", "hello/next 0"),
        ("NEXT---hello.Shop.test:8080", "/cart", "hello/next 0"),
        ("next---hello", "/cart", "hello/next 0"),
        ("live---hello.shop.test", "/cart", "hello/live 0"),
        // Before a route of the hosts below a name, behind one of this very host.
        ("next---hello.example", "/cart", "hello/next 0"),
        ("next---hello.example", "/own", "other/live 0"),
        // No such tag, or it is no first label.
        ("never---hello.shop.test", "/cart", "other/live 0"),
        ("next---nobody.shop.test", "/hello/x", "hello/live 0"),
        ("a.next---hello.test", "/cart", "other/live 0"),
        ("---.test", "/cart", "other/live 0"),
        // By path, as before: what is routed goes first.
        ("shop.test", "/next---hello/x", "hello/next 13"),
    ] {
        let found = table.find(ask(Some(host), &Method::GET, path, &headers)).ok().unwrap();
        let got = format!("{}/{} {}", found.target.function, found.target.alias, found.strip);
        assert_eq!(got, want, "{host}{path}");
    }
}

/// A route leads straight to its alias: whatever happens to the alias later has to reach it.
#[test]
fn a_route_leads_to_its_alias_as_it_is_now() {
    const LIMIT: &str = "[rate]\nlimit = '1/h'";
    let headers = HeaderMap::new();
    let find = |table: &Table, path: &str| table.find(ask(None, &Method::GET, path, &headers)).ok();
    let mut shot = snapshot(&[(None, "/a", &[], "hello"), (None, "/b/{x}", &[], "hello"), (None, "/c", &[], "late")]);
    put(&mut shot, Route { alias: "canary".parse().unwrap(), ..route(None, "/d", &[], &[], "hello") });
    let first = Table::new(Arc::new(shot.clone()));
    assert!(find(&first, "/c").is_none() && find(&first, "/d").is_none(), "no alias, no route");

    weigh(&mut shot, "hello", "live", LIMIT);
    weigh(&mut shot, "hello", "canary", "");
    weigh(&mut shot, "late", "live", "");
    let second = first.next(Arc::new(shot.clone()));
    let own = find(&second, "/hello").unwrap();
    for path in ["/a", "/b/1"] {
        let found = find(&second, path).unwrap();
        assert!(Arc::ptr_eq(&found.target, &own.target), "{path}");
        assert!(Arc::ptr_eq(found.gate.as_ref().unwrap(), own.gate.as_ref().unwrap()), "{path} has buckets of its own");
        assert_eq!(found.route.as_ref().unwrap().path, if path == "/a" { "/a" } else { "/b/{x}" });
    }
    assert!(own.route.is_none());
    assert_eq!(find(&second, "/d").unwrap().target.alias.as_str(), "canary");
    assert!(Arc::ptr_eq(&find(&second, "/canary---hello/x").unwrap().target, &find(&second, "/d").unwrap().target));
    assert_eq!(find(&second, "/live---hello").unwrap().target.function.as_str(), "hello");
    assert_eq!(find(&second, "/c").unwrap().target.function.as_str(), "late");
    assert!(
        find(&first, "/a").unwrap().gate.is_none() && find(&first, "/c").is_none(),
        "the earlier table is as it was"
    );

    shot.functions.remove("hello");
    let third = second.next(Arc::new(shot.clone()));
    assert!(["/a", "/b/1", "/d", "/hello", "/canary---hello"].iter().all(|path| find(&third, path).is_none()));
    shot.routes.clear();
    weigh(&mut shot, "hello", "live", "");
    let fourth = third.next(Arc::new(shot));
    assert!(find(&fourth, "/a").is_none() && find(&fourth, "/c").is_none() && find(&fourth, "/hello").is_some());
}

/// How specific a route is for a path, as the decision has it: compared part by part.
fn naive_rank(route: &Route, path: &str) -> Option<Vec<u8>> {
    let mut rank = Vec::new();
    let mut rest = path.strip_prefix('/')?.split('/');
    for segment in segments(&route.path) {
        match segment {
            Segment::Rest | Segment::RestParameter(_) => {
                let left = rest.collect::<Vec<_>>();
                let named = matches!(segment, Segment::RestParameter(_));
                if named && (left.is_empty() || left == [""]) {
                    return None;
                }
                rank.push(1);
                return Some(rank);
            }
            Segment::Literal(text) => {
                if rest.next()? != text {
                    return None;
                }
                rank.push(3);
            }
            Segment::Parameter(_) => {
                if rest.next()?.is_empty() {
                    return None;
                }
                rank.push(2);
            }
        }
    }
    // An end goes before a `*` that takes nothing.
    rank.push(2);
    rest.next().is_none().then_some(rank)
}

fn naive<'a>(routes: &'a [Route], host: Option<&str>, method: &Method, path: &str) -> Option<&'a Route> {
    let host = host.map(|host| host::bare(host).into_owned());
    let host_rank = |route: &Route| match (&route.host, &host) {
        (None, _) => Some(0),
        (Some(_), None) => None,
        (Some(wanted), Some(host)) => match wanted.strip_prefix("*.") {
            None => (wanted == host).then_some(1000),
            Some(above) => host.strip_suffix(above).is_some_and(|rest| rest.ends_with('.')).then_some(above.len()),
        },
    };
    routes
        .iter()
        .filter(|route| route.methods.is_empty() || route.methods.iter().any(|m| m == method.as_str()))
        .filter_map(|route| Some(((host_rank(route)?, naive_rank(route, path)?, !route.methods.is_empty()), route)))
        .max_by(|(a, _), (b, _)| a.cmp(b))
        .map(|(_, route)| route)
}

/// Random routes over a small alphabet, put and taken in random order; every lookup agrees with the naive matcher, and a
/// table made step by step with one made at once.
#[test]
fn the_tree_agrees_with_a_naive_matcher() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..200 {
        let mut shot = snapshot(&[]);
        let mut table = Table::new(Arc::new(shot.clone()));
        let mut routes: Vec<Route> = Vec::new();
        for _ in 0..random.usize(1..40) {
            if !routes.is_empty() && random.u8(..4) == 0 {
                let gone = routes.swap_remove(random.usize(..routes.len()));
                let key: Arc<str> = format!("{:?} {}", gone.host, shape(&gone.path)).into();
                let left: Vec<_> = shot.routes[&key].iter().filter(|route| ***route != gone).cloned().collect();
                match left.is_empty() {
                    true => drop(shot.routes.remove(&key)),
                    false => drop(shot.routes.insert(key, left.into())),
                }
            } else {
                let new = random_route(&mut random);
                if routes.iter().any(|route| route.clashes_with(&new)) {
                    continue;
                }
                put(&mut shot, new.clone());
                routes.push(new);
            }
            table = table.next(Arc::new(shot.clone()));
        }
        let whole = Table::new(Arc::new(shot));
        for _ in 0..60 {
            let path = random_path(&mut random);
            let host = ["a.b", "x.a.b", "y.x.a.b", "b", "c", ""][random.usize(..6)];
            let host = (!host.is_empty()).then_some(host);
            let method = [Method::GET, Method::PUT, Method::DELETE][random.usize(..3)].clone();
            let want = naive(&routes, host, &method, &path);
            for table in [&table, &whole] {
                let got = table.find(ask(host, &method, &path, &HeaderMap::new()));
                let got = got.ok().map(|found| Arc::clone(found.route.as_ref().unwrap()));
                assert_eq!(got.as_deref(), want, "seed {seed}: {host:?} {method} {path} of {routes:#?}");
            }
        }
    }
}

fn random_route(random: &mut fastrand::Rng) -> Route {
    let hosts = [None, None, Some("a.b"), Some("*.b"), Some("*.a.b")];
    let mut path = String::new();
    for index in 0..random.usize(1..5) {
        path.push('/');
        match random.u8(..10) {
            0..5 => path.push_str(["a", "b", ""][random.usize(..3)]),
            5..8 => path.push_str(&format!("{{p{index}}}")),
            8 => {
                path.push('*');
                break;
            }
            _ => {
                path.push_str("{rest+}");
                break;
            }
        }
    }
    let methods: &[&str] = [&[][..], &["GET"], &["GET", "PUT"]][random.usize(..3)];
    let function = ["hello", "thumbs", "other"][random.usize(..3)];
    route(hosts[random.usize(..5)], &path, methods, &[], function)
}

fn random_path(random: &mut fastrand::Rng) -> String {
    (0..random.usize(1..6)).fold(String::new(), |path, _| path + "/" + ["a", "b", "c", ""][random.usize(..4)])
}
