//! Who may call a function: tokens of an issuer, API keys, limits; and answers that are compressed on their way out.

use mayfly_tests::{Folder, Platform, Start, http::Client, python};
use serde_json::Value;
use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const ISSUER: &str = "https://login.example";

const SEES: &str = "def handler(event, context):\n    return {'authorizer': event['requestContext'].get('authorizer'), 'headers': event['headers']}\n";

const HEADERS: &str = "const http = require('node:http');\n\
    http.createServer((q, r) => r.end(JSON.stringify({ headers: q.headers }))).listen(process.env.MAYFLY_SOCKET);\n";

fn table(keys: &str) -> String {
    format!(
        "[access]\nauth = \"jwt\"\n[access.jwt]\nissuer = \"{ISSUER}\"\naudience = [\"orders\"]\nscopes = [\"read\"]\n{keys}"
    )
}

/// openssl's own web server over TLS: neither our TLS nor our HTTP.
struct Issuer {
    server: Child,
    url: String,
}

impl Issuer {
    fn serve(folder: &Path, jwks: &Value) -> Self {
        fs::write(folder.join("keys.json"), jwks.to_string()).unwrap();
        let args = [
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
        ];
        let more = [
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
        ];
        let made = Command::new("openssl").args(args).args(more).current_dir(folder).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Command::new("openssl");
        server.args(["s_server", "-quiet", "-WWW", "-cert", "cert.pem", "-key", "key.pem", "-accept"]);
        server
            .arg(format!("127.0.0.1:{port}"))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let issuer = Self { server: server.spawn().unwrap(), url: format!("https://localhost:{port}/keys.json") };
        let end = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "openssl does not listen");
            std::thread::yield_now();
        }
        issuer
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn bearer(client: &Client, token: &Value) -> Client {
    client.with("authorization", &format!("Bearer {}", token.as_str().unwrap()))
}

/// "`jwt` with JWKS and claims … checked before any instance starts": keys over HTTPS, tokens by PyJWT.
#[test]
fn tokens_of_an_issuer_open_a_function() {
    let folder = tempfile::tempdir().unwrap();
    let made: Value = serde_json::from_str(&python::run("jwt_tokens.py", &[ISSUER, "orders"])).unwrap();
    let issuer = Issuer::serve(folder.path(), &made["jwks"]);
    let certificate = folder.path().join("cert.pem").to_str().unwrap().to_owned();
    let env = vec![("SSL_CERT_FILE".to_owned(), certificate)];
    let platform = Platform::start_with(Start { env, ..Start::default() });
    let url = format!("jwks_url = \"{}\"", issuer.url);
    platform.deploy(&Folder::python("orders", &table(&url), SEES));
    platform.deploy(&Folder::node_server("web", &table(&format!("jwks = '{}'", made["jwks"])), HEADERS));
    for (algorithm, token) in made["good"].as_object().unwrap() {
        let client = bearer(&platform.gateway(), token).with("mayfly-jwt-claims", "forged");
        let seen = client.get("/orders").ok().json();
        let jwt = &seen["authorizer"]["jwt"];
        assert_eq!(
            (&jwt["claims"]["sub"], &jwt["claims"]["iss"]),
            (&"alice".into(), &ISSUER.into()),
            "{algorithm}: {seen}"
        );
        assert_eq!(jwt["scopes"], serde_json::json!(["read", "write"]), "{algorithm}");
        let seen = client.get("/web").ok().json();
        let claims = seen["headers"]["mayfly-jwt-claims"].as_str().unwrap();
        let claims = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&claims).unwrap()["sub"], "alice", "{algorithm}");
    }
    let calls =
        platform.api().get("/v1/functions/orders/invocations").ok().json()["invocations"].as_array().unwrap().len();
    for function in ["/orders", "/web"] {
        for (what, token) in made["bad"].as_object().unwrap() {
            let refused = bearer(&platform.gateway(), token).get(function).problem(401, "access_denied");
            assert!(
                refused.header("www-authenticate").unwrap().starts_with("Bearer error=\"invalid_token\""),
                "{what}: {refused:?}"
            );
        }
        let refused = bearer(&platform.gateway(), &made["little"]).get(function).problem(403, "forbidden");
        assert!(refused.header("www-authenticate").unwrap().contains("insufficient_scope"), "{refused:?}");
        assert_eq!(
            platform.gateway().get(function).problem(401, "access_denied").header("www-authenticate"),
            Some("Bearer")
        );
    }
    let after =
        platform.api().get("/v1/functions/orders/invocations").ok().json()["invocations"].as_array().unwrap().len();
    assert_eq!(after, calls, "no refused call reached the function");
    // The issuer is gone: its last keys stay.
    drop(issuer);
    bearer(&platform.gateway(), &made["good"]["ES384"]).get("/orders").ok();
    platform.deploy(&Folder::python("orders", &format!("timeout = \"9s\"\n{}", table(&url)), SEES));
    bearer(&platform.gateway(), &made["good"]["EdDSA"]).get("/orders").ok();
    // A function whose issuer was never there says so.
    let nowhere = table("jwks_url = \"https://localhost:1/keys.json\"");
    platform.deploy(&Folder::python("lost", &nowhere, SEES));
    bearer(&platform.gateway(), &made["good"]["RS256"]).get("/lost").problem(503, "issuer_unavailable");
}

/// "API keys: created, listed (never shown again), revoked …", by the command line, and kept over a restart.
#[test]
fn api_keys_are_made_and_revoked() {
    let mut platform = Platform::start();
    platform.deploy(&Folder::python(
        "guarded",
        "[access]\nauth = \"key\"\n[rate]\neach = [{ by = \"key\", limit = \"1/h\", burst = 4 }]",
        SEES,
    ));
    platform.deploy(&Folder::python("other", "[access]\nauth = \"key\"", SEES));
    platform.gateway().get("/guarded").problem(401, "access_denied");
    let made = platform.mayfly(&["key", "create", "ci", "--function", "guarded", "--json"]).ok().json();
    let (id, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    let shown = platform.mayfly(&["key", "create", "all", "--all", "--expires", "1d"]).ok().stdout;
    let all = shown.lines().next().unwrap().to_owned();
    let client = platform.gateway().with("x-api-key", secret);
    let seen = client.with("mayfly-key-id", "forged").get("/guarded").ok();
    assert_eq!(seen.json()["headers"]["mayfly-key-id"], id);
    assert!(seen.json()["headers"].get("x-api-key").is_none(), "{seen:?}");
    assert_eq!(seen.header("ratelimit"), Some("\"key\";r=3;t=3600"));
    client.get("/other").problem(403, "forbidden");
    platform.gateway().with("authorization", &format!("Bearer {all}")).get("/other").ok();
    let listed = platform.mayfly(&["key", "list"]).ok().stdout;
    assert!(
        listed.contains(id) && listed.contains("all functions") && !listed.contains(secret) && !listed.contains(&all),
        "{listed}"
    );
    // Nor does the disk have it.
    let mut command = Command::new("grep");
    let found = command.args(["-rqF", secret.rsplit('_').next().unwrap()]).arg(platform.data_dir()).status().unwrap();
    assert_eq!(found.code(), Some(1), "the key is below the data directory");
    platform.restart();
    let client = platform.gateway().with("x-api-key", secret);
    client.get("/guarded").ok();
    platform.mayfly(&["key", "revoke", id]).ok();
    client.get("/guarded").problem(401, "access_denied");
    platform.mayfly(&["key", "revoke", id]).fails(2, &["key_not_found"]);
    // Each key has its own bucket.
    let client = platform.gateway().with("x-api-key", &all);
    for _ in 0..4 {
        client.get("/guarded").ok();
    }
    let refused = client.get("/guarded").problem(429, "rate_limited");
    assert!(refused.text().contains("with this API key"), "{refused:?}");
}

/// "rate limits (token bucket …, per tenant)": `--rate` is that of `default`; `tenants` has the others.
#[test]
fn all_functions_together_have_a_limit() {
    let args = ["--rate", "3600/h"].map(str::to_owned).to_vec();
    let platform = Platform::start_with(Start { args, ..Start::default() });
    platform.deploy(&Folder::python("one", "", SEES));
    platform.deploy(&Folder::python("two", "[rate]\nlimit = \"1000/s\"", SEES));
    let answer = platform.gateway().get("/one").ok();
    assert_eq!(answer.header("ratelimit-policy"), Some("\"tenant\";q=3600;w=3600"));
    let mut codes = Vec::new();
    for n in 0..40 {
        let answer = platform.gateway().get(if n % 2 == 0 { "/one" } else { "/two" });
        assert!(answer.header("ratelimit").is_some(), "{answer:?}");
        codes.push(answer.code());
    }
    assert!(codes.contains(&"rate_limited".to_owned()), "one a second with bursts of one: {codes:?}");
}

/// "compression as an option (gzip, br or zstd by Accept-Encoding …)": read back by curl.
#[test]
fn answers_are_compressed_where_the_function_asks_for_it() {
    let platform = Platform::shared();
    let code = "def handler(event, context):\n    return {'statusCode': 200, 'headers': {'content-type': 'text/html', 'etag': '\"v1\"'}, 'body': 'Eintagsfliege ' * 5000}\n";
    platform.deploy(&Folder::python("squeezed", "[http]\ncompress = true", code));
    platform.deploy(&Folder::python("loose", "", code));
    let curl = |function: &str, accept: &str| {
        let mut curl = Command::new("curl");
        curl.args([
            "-sS",
            "--compressed",
            "-w",
            "\n%{size_download} %header{content-encoding} %header{etag} %header{vary}",
            "-H",
        ]);
        curl.arg(format!("accept-encoding: {accept}")).arg(format!("{}/{function}", platform.gateway_url()));
        let output = curl.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, told) = text.rsplit_once('\n').unwrap();
        assert!(body == "Eintagsfliege ".repeat(5000), "{accept}: {} bytes, {:.80}", body.len(), body);
        told.to_owned()
    };
    for (accept, coding) in [("gzip", "gzip"), ("br, gzip;q=0.8", "br"), ("gzip, deflate, br, zstd", "zstd")] {
        let told = curl("squeezed", accept);
        let (size, rest) = told.split_once(' ').unwrap();
        assert!(size.parse::<usize>().unwrap() < 2000, "{told}");
        assert_eq!(rest, format!("{coding} W/\"v1\" Accept-Encoding"));
    }
    assert_eq!(curl("squeezed", "identity"), "70000  \"v1\" Accept-Encoding");
    assert_eq!(curl("loose", "gzip"), "70000  \"v1\" ");
}
