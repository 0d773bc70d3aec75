//! HTTPS: certificates by name, both protocols by ALPN, and a reload that nobody notices.

use mayfly_tests::{Folder, Platform, Start, until};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const SAYS: &str = "const http = require('node:http');\n\
    http.createServer((q, r) => r.end(q.headers['x-forwarded-proto'] + ' ' + q.headers.host)).listen(process.env.MAYFLY_SOCKET);\n";

/// A certificate that signs itself, for `host`, with its key beside it.
fn certificate(folder: &Path, name: &str, host: &str) {
    let (chain, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    let subject = format!("subjectAltName=DNS:{host}");
    let args = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    let mut openssl = Command::new("openssl");
    openssl.args(args).args(["-subj", &format!("/CN={host}"), "-addext", &subject]);
    // The key first, and the pair by rename, so that no look sees a half.
    let (half_chain, half_key) = (folder.join(".chain"), folder.join(".key"));
    let output = openssl.arg("-keyout").arg(&half_key).arg("-out").arg(&half_chain).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::rename(half_key, key).unwrap();
    fs::rename(half_chain, chain).unwrap();
}

struct House {
    platform: Platform,
    certs: tempfile::TempDir,
    port: String,
}

impl House {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(more: &[&str]) -> Self {
        let certs = tempfile::tempdir().unwrap();
        certificate(certs.path(), "default", "fallback.example");
        certificate(certs.path(), "a", "a.example");
        certificate(certs.path(), "wild", "*.b.example");
        // A free port of this moment: `up --json` names the one for TLS only in its line.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let args = ["--tls-certs", certs.path().to_str().unwrap(), "--tls-listen", &format!("127.0.0.1:{port}")];
        let args = args.iter().chain(more).map(|arg| (*arg).to_owned()).collect();
        let platform = Platform::start_with(Start { args, ..Start::default() });
        platform.deploy(&Folder::node_server("secret", "", SAYS));
        Self { platform, certs, port }
    }

    /// Calls `host` and trusts the certificate `name` alone.
    fn curl(&self, host: &str, name: &str, more: &[&str]) -> Result<String, String> {
        let ca = self.certs.path().join(format!("{name}.crt"));
        let resolve = format!("{host}:{}:127.0.0.1", self.port);
        let url = format!("https://{host}:{}/secret", self.port);
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-w", " %{http_version}", "--resolve", &resolve, "--cacert"]).arg(ca).args(more).arg(url);
        let output = curl.output().unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// What openssl's client says about a connection on which it asks for `/secret`.
    fn openssl(&self, args: &[&str]) -> String {
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-ign_eof", "-connect", &format!("127.0.0.1:{}", self.port)]).args(args);
        let (stdin, stdout) = (Stdio::piped(), Stdio::piped());
        let openssl = openssl.stdin(stdin).stdout(stdout).stderr(Stdio::null()).spawn().unwrap();
        let request = b"GET /secret HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n";
        // It has gone already where the handshake failed.
        let _ = openssl.stdin.as_ref().unwrap().write_all(request);
        let output = openssl.wait_with_output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The name in the certificate that a handshake without a known name gets.
    fn subject(&self, host: &str) -> String {
        let connect = format!("127.0.0.1:{}", self.port);
        let args = ["s_client", "-connect", &connect, "-servername", host];
        let output = Command::new("openssl").args(args).stdin(std::process::Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().find_map(|line| line.strip_prefix("subject=")).unwrap_or(&text).trim().to_owned()
    }
}

/// "TLS by rustls (… several certificates by SNI from a folder, a default one …)", HTTP/2 and HTTP/1.1 by ALPN.
#[test]
fn each_name_has_its_certificate_and_both_protocols() {
    let house = House::new();
    for (host, name) in [("a.example", "a"), ("x.b.example", "wild"), ("fallback.example", "default")] {
        let want = format!("https {host}:{}", house.port);
        assert_eq!(house.curl(host, name, &["--http2"]), Ok(format!("{want} 2")));
        assert_eq!(house.curl(host, name, &["--http1.1"]), Ok(format!("{want} 1.1")));
    }
    assert!(house.curl("a.example", "wild", &[]).is_err(), "another's certificate");
    assert!(house.subject("nobody.example").contains("fallback.example"), "{}", house.subject("nobody.example"));
    // The plain port goes on beside it.
    assert!(house.platform.gateway().get("/secret").ok().text().starts_with("http "));
}

/// "reload on change or on SIGHUP without a dropped connection; broken new files keep the old ones and say so".
#[test]
fn certificates_change_under_a_running_connection() {
    let house = House::new();
    let folder = house.certs.path();
    // A connection that is open all the while: one request before, one after.
    let mut open = Command::new("openssl");
    let connect = format!("127.0.0.1:{}", house.port);
    open.args(["s_client", "-quiet", "-connect", &connect, "-servername", "a.example"]);
    let mut open = open.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let (mut ask, mut answers) = (open.stdin.take().unwrap(), open.stdout.take().unwrap());
    let request = b"GET /secret HTTP/1.1\r\nhost: a.example\r\n\r\n";
    let mut exchange = || {
        ask.write_all(request).unwrap();
        let (mut seen, mut buffer) = (String::new(), [0; 1024]);
        while !seen.ends_with("https a.example") {
            let count = answers.read(&mut buffer).unwrap();
            assert!(count > 0, "it was dropped: {seen}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    };
    exchange();
    // Broken: the old ones stay, and the log says which file.
    let sound = fs::read(folder.join("a.key")).unwrap();
    fs::write(folder.join("a.key"), "no key").unwrap();
    until(Duration::from_secs(20), "the log says so", || house.platform.log().contains("a.key").then_some(()));
    assert!(house.subject("a.example").contains("a.example"));
    fs::write(folder.join("a.key"), sound).unwrap();
    // New: taken into use by itself.
    certificate(folder, "c", "c.example");
    until(Duration::from_secs(20), "the new name is served", || house.curl("c.example", "c", &[]).ok());
    // And at once on SIGHUP.
    certificate(folder, "d", "d.example");
    // SAFETY: a signal to the platform that this test started.
    unsafe { libc::kill(house.platform.pid() as i32, libc::SIGHUP) };
    until(Duration::from_secs(20), "the next name is served", || house.curl("d.example", "d", &[]).ok());
    exchange();
    let metrics = house.platform.admin().get("/metrics").ok().text();
    assert!(metrics.contains("mayfly_tls_reload_failures_total 1"), "{metrics}");
    let _ = open.kill();
    let _ = open.wait();
}

/// TLS 1.2 and 1.3 and nothing older; a client that comes again resumes its session, and needs no place here for that.
#[test]
fn versions_are_new_and_sessions_are_resumed() {
    let house = House::new();
    let session = house.certs.path().join("session");
    let session = session.to_str().unwrap();
    for (version, named) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let first = house.openssl(&[version, "-sess_out", session]);
        assert!(first.contains("https a.example") && first.contains(&format!("New, {named}")), "{first}");
        let second = house.openssl(&[version, "-sess_in", session]);
        assert!(second.contains("https a.example") && second.contains(&format!("Reused, {named}")), "{second}");
    }
    for old in ["-tls1", "-tls1_1"] {
        // Even for a client that would: its own level is lowered.
        let refused = house.openssl(&[old, "-cipher", "ALL:@SECLEVEL=0"]);
        assert!(!refused.contains("https a.example"), "{old}: {refused}");
    }
}

/// A handshake that is not made ends after its time, and has its place among the connections until then.
#[test]
fn half_handshakes_are_bounded_in_time_and_number() {
    let house = House::with(&["--head-timeout", "1s", "--connections-max", "3"]);
    let connect = || TcpStream::connect(format!("127.0.0.1:{}", house.port)).unwrap();
    // Nothing, and the beginning of a record.
    let (mut silent, mut begun) = (connect(), connect());
    begun.write_all(&[22, 3, 1]).unwrap();
    let third = connect();
    let metric = |line: &str| house.platform.admin().get("/metrics").ok().text().lines().any(|found| found == line);
    until(Duration::from_secs(10), "all places are taken", || metric("mayfly_connections 3").then_some(()));
    let since = Instant::now();
    let mut fourth = connect();
    assert_eq!(fourth.read(&mut [0; 16]).unwrap_or(0), 0, "closed at once: there is no place");
    assert!(metric("mayfly_connections_refused_total 1"));
    for stream in [&mut silent, &mut begun] {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert_eq!(stream.read(&mut [0; 16]).unwrap_or(0), 0, "it ended");
    }
    assert!(since.elapsed() < Duration::from_secs(15));
    drop(third);
    until(Duration::from_secs(10), "there is place again", || house.curl("a.example", "a", &[]).ok());
}
