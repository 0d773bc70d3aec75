//! Who may call: tokens of an issuer that serves its keys in this process, API keys, and what answers say about limits.

use super::*;
use crate::edge::Issuer;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    net::TcpListener,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    time::SystemTime,
};
use types::{ApiKey, Timestamp};
use wire::{Authorizer, Caller};

/// A server of one document. It ends with the process.
struct Keys {
    url: String,
    document: Arc<Mutex<String>>,
    served: Arc<AtomicUsize>,
    down: Arc<AtomicBool>,
}

impl Keys {
    fn serve(document: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/keys.json", listener.local_addr().unwrap());
        let keys = Self { url, document: Arc::new(Mutex::new(document)), served: Arc::default(), down: Arc::default() };
        let (document, served, down) = (Arc::clone(&keys.document), Arc::clone(&keys.served), Arc::clone(&keys.down));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                served.fetch_add(1, SeqCst);
                if down.load(SeqCst) {
                    continue;
                }
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut line = String::new();
                while reader.read_line(&mut line).unwrap() > 2 {
                    line.clear();
                }
                let body = document.lock().clone();
                let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            }
        });
        keys
    }

    fn served(&self) -> usize {
        self.served.load(SeqCst)
    }

    fn tables(&self, more: &str) -> String {
        let url = &self.url;
        format!(
            "[access]\nauth = 'jwt'\n[access.jwt]\nissuer = 'https://issuer.example'\naudience = 'api'\njwks_url = '{url}'\n{more}"
        )
    }
}

fn seconds() -> u64 {
    Timestamp::from(SystemTime::now()).0 / 1000
}

fn token(issuer: &Issuer, kid: &str, more: Value) -> String {
    let mut claims = json!({"iss": "https://issuer.example", "aud": "api", "sub": "alice", "exp": seconds() + 60});
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    issuer.sign(&json!({"alg": "ES256", "kid": kid}), &claims)
}

type Seen = Arc<Mutex<Vec<http::request::Parts>>>;

/// A house that keeps the heads of all calls.
fn house() -> (House, Seen) {
    let seen: Seen = Arc::default();
    let keep = Arc::clone(&seen);
    let house = House::new(move |call| {
        keep.lock().push(call.request.into_parts().0);
        async { Ok(Response::new(Body::from("ok"))) }
    });
    (house, seen)
}

impl House {
    fn asks(&self, headers: &str) -> Reply {
        let headers = if headers.is_empty() { String::new() } else { format!("\r\n{headers}") };
        self.ask(&format!("GET /hello HTTP/1.1{headers}"))
    }

    fn bearer(&self, token: &str) -> Reply {
        self.asks(&format!("authorization: Bearer {token}"))
    }
}

#[test]
fn a_good_token_reaches_the_function_and_no_other_does() {
    let issuer = Issuer::new();
    let keys = Keys::serve(issuer.jwks());
    let (house, seen) = house();
    house.snapshots.send(Arc::new(with_edge(&keys.tables("scopes = ['read']")))).unwrap();
    let good = token(&issuer, "p256", json!({"scope": "read write", "name": "Älice"}));
    let forged = "mayfly-jwt-claims: eyJzdWIiOiJyb290In0\r\nmayfly-key-id: 1\r\nmayfly-path-parameters: id=1\r\n";
    for _ in 0..3 {
        assert_eq!(house.asks(&format!("{forged}authorization: bearer {good}")).status, 200);
        let parts = seen.lock().pop().unwrap();
        let told = parts.extensions.get::<Arc<Authorizer>>().unwrap();
        assert_eq!((&told.claims["sub"], told.scopes.join(" ").as_str()), (&json!("alice"), "read write"));
        assert!(parts.extensions.get::<Caller>().is_some(), "callers take turns by who they are");
        let header = parts.headers["mayfly-jwt-claims"].as_bytes();
        let claims = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, header).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&claims).unwrap()["name"], "Älice");
        assert!(!parts.headers.contains_key("mayfly-key-id") && !parts.headers.contains_key("mayfly-path-parameters"));
        assert_eq!(parts.headers.get_all("mayfly-jwt-claims").iter().count(), 1);
        assert_eq!(parts.headers["authorization"], format!("bearer {good}"), "the function may pass it on");
    }
    let late = token(&issuer, "p256", json!({"scope": "read", "exp": seconds() - 60}));
    let little = token(&issuer, "p256", json!({"scope": "write"}));
    for (headers, status, code, challenge) in [
        (String::new(), 401, "access_denied", "Bearer"),
        ("authorization: Basic YTpi".to_owned(), 401, "access_denied", "Bearer"),
        ("authorization: Bearer".to_owned(), 401, "access_denied", "Bearer"),
        ("authorization: Bearer x".to_owned(), 401, "access_denied", "Bearer error=\"invalid_token\""),
        (format!("authorization: Bearer {late}"), 401, "access_denied", "Bearer error=\"invalid_token\""),
        (
            format!("authorization: Bearer {good}\r\nauthorization: Bearer {good}"),
            400,
            "bad_request",
            "Bearer error=\"invalid_request\"",
        ),
        (format!("authorization: Bearer {little}"), 403, "forbidden", "Bearer error=\"insufficient_scope\""),
        (format!("x-api-key: {good}"), 401, "access_denied", "Bearer"),
    ] {
        let reply = house.asks(&headers);
        assert_eq!((reply.status, reply.headers["mayfly-error"].as_str()), (status, code), "{headers}: {}", reply.body);
        assert!(reply.headers["www-authenticate"].starts_with(challenge), "{:?}", reply.headers);
    }
    assert!(house.bearer(&little).headers["www-authenticate"].ends_with(", scope=\"read\""));
    assert!(seen.lock().is_empty(), "nobody was called");
    assert_eq!(keys.served(), 1, "the keys were fetched once for all of it");
    house.stop();
}

#[test]
fn new_keys_are_learnt_at_once_and_the_last_ones_stay_while_the_issuer_is_down() {
    let (old, new) = (Issuer::new(), Issuer::new());
    let keys = Keys::serve(old.jwks());
    let (house, _) = house();
    house.snapshots.send(Arc::new(with_edge(&keys.tables("")))).unwrap();
    let of = |issuer: &Issuer, kid: &str| token(issuer, kid, json!({}));
    let first = of(&old, "p256");
    assert_eq!(house.bearer(&first).status, 200);
    // The issuer changes its keys, under new names.
    *keys.document.lock() = new.jwks().replace("\"p256\"", "\"fresh\"");
    assert_eq!(house.bearer(&of(&new, "fresh")).status, 200);
    assert_eq!(keys.served(), 2);
    assert_eq!(house.bearer(&first).status, 401, "what the old key signed is good no longer, remembered or not");
    // Nonsense makes nobody fetch.
    for n in 0..50 {
        assert_eq!(house.bearer(&of(&new, &format!("nonsense-{n}"))).status, 401);
    }
    assert_eq!(keys.served(), 2);
    keys.down.store(true, SeqCst);
    assert_eq!(house.bearer(&of(&new, "fresh")).status, 200);
    // Nor does a deploy need the issuer.
    house.snapshots.send(Arc::new(with_edge(&keys.tables("leeway = '5s'")))).unwrap();
    assert_eq!(house.bearer(&of(&new, "fresh")).status, 200);
    assert_eq!(keys.served(), 2);
    house.stop();
}

#[test]
fn many_callers_at_once_wait_for_one_look() {
    let issuer = Issuer::new();
    let keys = Keys::serve(issuer.jwks());
    let (house, seen) = house();
    house.snapshots.send(Arc::new(with_edge(&keys.tables("")))).unwrap();
    let good = token(&issuer, "p256", json!({}));
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert_eq!(house.bearer(&good).status, 200));
        }
    });
    assert_eq!((keys.served(), seen.lock().len()), (1, 20));
    house.stop();
}

#[test]
fn an_issuer_that_never_answered_is_told() {
    let issuer = Issuer::new();
    let good = token(&issuer, "p256", json!({}));
    let (house, seen) = house();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let too_long = format!("{{\"keys\": [{}]}}", " ".repeat(300 << 10));
    for (what, url) in [
        ("nobody listens", format!("http://{gone}/")),
        ("an endless document", Keys::serve(too_long).url),
        ("no document", Keys::serve("<html>".to_owned()).url),
        ("no TLS there", Keys::serve(issuer.jwks()).url.replace("http:", "https:")),
    ] {
        let tables = format!(
            "[access]\nauth = 'jwt'\n[access.jwt]\nissuer = 'https://issuer.example'\naudience = 'api'\njwks_url = '{url}'"
        );
        house.snapshots.send(Arc::new(with_edge(&tables))).unwrap();
        let reply = house.bearer(&good);
        assert_eq!((reply.status, reply.headers["mayfly-error"].as_str()), (503, "issuer_unavailable"), "{what}");
        assert!(reply.headers.contains_key("retry-after") && !reply.body.contains(&url), "{what}: {}", reply.body);
    }
    assert!(seen.lock().is_empty(), "nobody was called");
    house.stop();
}

#[test]
fn keys_in_the_manifest_need_no_server() {
    let issuer = Issuer::new();
    let mut set: Value = serde_json::from_str(&issuer.jwks()).unwrap();
    set["keys"].as_array_mut().unwrap().retain(|key| key["kid"] == "p256");
    let tables = format!(
        "[access]\nauth = 'jwt'\n[access.jwt]\nissuer = 'https://issuer.example'\naudience = ['x', 'api']\njwks = '{set}'\nalgorithms = ['ES256']"
    );
    let (house, _) = house();
    house.snapshots.send(Arc::new(with_edge(&tables))).unwrap();
    assert_eq!(house.bearer(&token(&issuer, "p256", json!({}))).status, 200);
    assert_eq!(house.bearer(&token(&issuer, "other", json!({}))).status, 401);
    house.stop();
}

/// A key's secret, the functions that it opens, and when it expires.
type Key<'a> = (&'a str, Option<&'a [&'a str]>, Option<u64>);

/// A snapshot whose keys are these.
fn with_keys(mut snapshot: Snapshot, all: &[Key<'_>]) -> Snapshot {
    let key = |(secret, functions, expires): &Key<'_>| {
        let functions = functions.map(|names| names.iter().map(|name| name.parse().unwrap()).collect());
        let expires = expires.map(Timestamp);
        let key =
            ApiKey { id: format!("id-{secret}"), name: "n".to_owned(), functions, created: Timestamp(1), expires };
        (Sha256::digest(secret).into(), Arc::new(key))
    };
    snapshot.keys = Arc::new(all.iter().map(key).collect());
    snapshot
}

#[test]
fn api_keys_open_their_functions_until_they_are_revoked() {
    let (house, seen) = house();
    let snapshot = || with_edge("[access]\nauth = 'key'");
    let all = [
        ("all", None, None),
        ("mine", Some(&["hello"][..]), Some(u64::MAX)),
        ("other", Some(&["other"][..]), None),
        ("late", None, Some(1000)),
    ];
    house.snapshots.send(Arc::new(with_keys(snapshot(), &all))).unwrap();
    for (headers, status, challenge) in [
        ("", 401, "Bearer"),
        ("x-api-key: all", 200, ""),
        ("x-api-key: mine", 200, ""),
        ("authorization: Bearer mine", 200, ""),
        ("x-api-key: Mine", 401, "Bearer error=\"invalid_token\""),
        ("x-api-key: late", 401, "Bearer error=\"invalid_token\""),
        ("x-api-key: other", 403, "Bearer error=\"insufficient_scope\""),
        ("x-api-key: all\r\nx-api-key: all", 400, "Bearer error=\"invalid_request\""),
        ("x-api-key: wrong\r\nauthorization: Bearer mine", 401, "Bearer error=\"invalid_token\""),
    ] {
        let reply = house.asks(headers);
        assert_eq!(reply.status, status, "{headers}: {}", reply.body);
        assert!(reply.headers.get("www-authenticate").map_or("", String::as_str).starts_with(challenge), "{headers}");
    }
    let calls = std::mem::take(&mut *seen.lock());
    let ids: Vec<_> = calls.iter().map(|parts| parts.headers["mayfly-key-id"].to_str().unwrap()).collect();
    assert_eq!(ids, ["id-all", "id-mine", "id-mine"]);
    for parts in &calls {
        assert!(!parts.headers.contains_key("x-api-key") && !parts.headers.contains_key("authorization"), "{parts:?}");
    }
    // One is revoked: the next call is refused.
    house.snapshots.send(Arc::new(with_keys(snapshot(), &all[..1]))).unwrap();
    assert_eq!((house.asks("x-api-key: mine").status, house.asks("x-api-key: all").status), (401, 200));
    house.stop();
}

#[test]
fn a_caller_of_a_split_alias_passes_the_access_of_both_revisions() {
    let issuer = Issuer::new();
    let keys = Keys::serve(issuer.jwks());
    let (house, seen) = house();
    let (public, key) = ("[access]\nauth = 'public'", "[access]\nauth = 'key'");
    let token_hash =
        "[access]\nauth = 'token'\ntoken_sha256 = '1c8bfe8f801d79745c4631d09fff36c82aa37fc4cce4fc946683d7b336b63032'";
    let (read, write) = (keys.tables("scopes = 'read'"), keys.tables("scopes = 'write'"));
    let bearer = |scope: &str| format!("authorization: Bearer {}", token(&issuer, "p256", json!({"scope": scope})));
    let (both, half) = (bearer("read write"), bearer("read"));
    for (first, second, headers, status) in [
        // The weight makes no difference: who would be refused by one of them is refused.
        (public, key, "", 401),
        (key, "", "", 401),
        (public, key, "x-api-key: all", 200),
        (key, key, "x-api-key: all", 200),
        (&read, &write, &half, 403),
        (&read, &write, &both, 200),
        (&read, key, &half, 401),
        (&read, key, &format!("{half}\r\nx-api-key: all"), 200),
        // Both want the same header for themselves: nobody has what both take.
        (&read, token_hash, &half, 401),
        (&read, token_hash, "authorization: Bearer letmein", 401),
        (public, "", "", 200),
    ] {
        for weight in [1, 99] {
            let snapshot = with_revisions(&[(first, weight), (second, 100 - weight)]);
            house.snapshots.send(Arc::new(with_keys(snapshot, &[("all", None, None)]))).unwrap();
            let reply = house.asks(headers);
            assert_eq!(reply.status, status, "{first} | {second} | {headers}: {}", reply.body);
            assert_eq!(seen.lock().pop().is_some(), status == 200);
        }
    }
    house.stop();
}

#[test]
fn a_page_asks_before_it_has_shown_its_token() {
    let issuer = Issuer::new();
    let keys = Keys::serve(issuer.jwks());
    let (house, seen) = house();
    let tables = format!("{}\n[cors]\norigins = 'https://app.example'\n[rate]\nlimit = '1/h'", keys.tables(""));
    house.snapshots.send(Arc::new(with_edge(&tables))).unwrap();
    let preflight = "OPTIONS /hello HTTP/1.1\r\norigin: https://app.example\r\naccess-control-request-method: GET\r\naccess-control-request-headers: authorization";
    for _ in 0..3 {
        let reply = house.ask(preflight);
        assert_eq!((reply.status, reply.headers["access-control-allow-headers"].as_str()), (204, "authorization"));
    }
    assert_eq!(keys.served(), 0, "a preflight has no token to judge");
    // An OPTIONS of its own is a call like any other.
    assert_eq!(house.ask("OPTIONS /hello HTTP/1.1").status, 401);
    let good = format!("origin: https://app.example\r\nauthorization: Bearer {}", token(&issuer, "p256", json!({})));
    let reply = house.asks(&good);
    assert_eq!((reply.status, reply.headers["access-control-allow-origin"].as_str()), (200, "https://app.example"));
    let reply = house.asks(&good);
    assert_eq!((reply.status, reply.headers["access-control-allow-origin"].as_str()), (429, "https://app.example"));
    assert_eq!(seen.lock().len(), 1);
    house.stop();
}

#[test]
fn answers_say_what_is_left_of_each_limit() {
    let issuer = Issuer::new();
    let keys = Keys::serve(issuer.jwks());
    let (house, _) = house();
    let rate = "[rate]\nlimit = '1/h'\nburst = 9\neach = [{ by = 'claim:sub', limit = '1/h', burst = 2 }, { by = 'ip', limit = '1/h', burst = 6 }]";
    house.snapshots.send(Arc::new(with_edge(&format!("{}\n{rate}", keys.tables(""))))).unwrap();
    let (alice, bob) = (token(&issuer, "p256", json!({})), token(&issuer, "p256", json!({"sub": "bob"})));
    // What is left by address, by claim, of the function.
    let left = |reply: &Reply| -> Vec<(String, String)> {
        let text = &reply.headers["ratelimit"];
        let one = |item: &str| {
            let (name, rest) = item.trim().split_once(";r=").unwrap();
            (name.trim_matches('"').to_owned(), rest.split(';').next().unwrap().to_owned())
        };
        text.split(',').map(one).collect()
    };
    for (bearer, status, want) in [
        (&alice, 200, "address=5 claim:sub=1 function=8"),
        (&alice, 200, "address=4 claim:sub=0 function=7"),
        (&alice, 429, "address=3 claim:sub=0"),
        (&bob, 200, "address=2 claim:sub=1 function=6"),
        (&"nonsense".to_owned(), 401, "address=1"),
        (&bob, 200, "address=0 claim:sub=0 function=5"),
        (&bob, 429, "address=0"),
    ] {
        let reply = house.bearer(bearer);
        let said: Vec<_> = left(&reply).into_iter().map(|(name, left)| format!("{name}={left}")).collect();
        assert_eq!((reply.status, said.join(" ").as_str()), (status, want), "{}", reply.body);
        let policy = "\"claim:sub\";q=1;w=3600, \"address\";q=1;w=3600, \"function\";q=1;w=3600";
        assert_eq!(reply.headers["ratelimit-policy"], policy);
        assert_eq!(reply.headers.contains_key("retry-after"), status == 429);
    }
    assert!(!house.get("/other").headers.contains_key("ratelimit"), "it has no limit");
    house.stop();
}

#[test]
fn path_parameters_are_the_routes_and_nobody_elses() {
    let (house, seen) = house();
    let mut snapshot = snapshot(&["hello"]);
    let route = types::Route {
        host: None,
        path: "/users/{id}/{rest+}".to_owned(),
        methods: Vec::new(),
        headers: Default::default(),
        function: "hello".parse().unwrap(),
        alias: AliasName::live(),
        from_manifest: false,
    };
    snapshot.routes.insert("route/x".into(), Arc::new([Arc::new(route)]));
    house.snapshots.send(Arc::new(snapshot)).unwrap();
    for (path, want) in [
        ("/users/7/a/b", Some("id=7&rest=a/b")),
        ("/users/a%26b/c&d=e", Some("id=a%26b&rest=c%26d=e")),
        ("/hello/users/7/a", None),
    ] {
        let reply = house.ask(&format!("GET {path} HTTP/1.1\r\nmayfly-path-parameters: id=1&admin=yes"));
        assert_eq!(reply.status, 200, "{path}");
        let parts = seen.lock().pop().unwrap();
        let told: Vec<_> =
            parts.headers.get_all("mayfly-path-parameters").iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(told, want.into_iter().collect::<Vec<_>>(), "{path}");
    }
    house.stop();
}
