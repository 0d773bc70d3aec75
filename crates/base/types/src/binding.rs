//! `[bindings.NAME]` of a manifest: what the code may reach. No binding, no access.

use crate::{
    resilience::Circuit,
    unit::{Bytes, Millis},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const BINDINGS_MAX: usize = 32;
const HOSTS_MAX: usize = 100;
const TIMEOUT_MAX: Millis = Millis::secs(15 * 60);
const CALLS_MAX: u32 = 10_000;
/// Source: Workers' paid plan.
const SUBREQUESTS_MAX: u32 = 10_000;

/// A capability that code is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Binding {
    /// HTTP calls to others.
    Http(Http),
}

/// Whom code may call over HTTP, and how much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// `api.example.com`, `*.example.net:8443`, an address, or `*`; without a port it is the scheme's own.
    pub hosts: Vec<String>,
    /// Loopback and private networks may be reached too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub private: bool,
    /// Name, connection and TLS together.
    #[schema(value_type = String, example = "5s")]
    pub connect_timeout: Millis,
    /// From the request to the head of its answer.
    #[schema(value_type = String, example = "30s")]
    pub first_byte_timeout: Millis,
    /// Between two pieces of the answer's body.
    #[schema(value_type = String, example = "30s")]
    pub idle_timeout: Millis,
    /// Calls at once, of the whole revision on one host.
    pub calls_max: u32,
    /// Calls that one call of the function may make.
    pub subrequests: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub request_max: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub response_max: Option<Bytes>,
    /// One for each authority that is called.
    pub circuit: Circuit,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            private: false,
            connect_timeout: Millis::secs(5),
            first_byte_timeout: Millis::secs(30),
            idle_timeout: Millis::secs(30),
            calls_max: 100,
            // Source: Workers' free plan.
            subrequests: 50,
            request_max: None,
            response_max: None,
            circuit: Circuit::default(),
        }
    }
}

/// # Errors
/// The key below `bindings`, and what is wrong with it.
pub(crate) fn check<'a>(bindings: impl ExactSizeIterator<Item = (&'a String, &'a Binding)>) -> Result<(), String> {
    if bindings.len() > BINDINGS_MAX {
        return Err(format!("{} bindings are over {BINDINGS_MAX}", bindings.len()));
    }
    for (name, Binding::Http(http)) in bindings {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > 63 || !name.chars().all(good) {
            return Err(format!("`{name}` is no name: use A-Z, a-z, 0-9, '_' and '-', 63 at most"));
        }
        http.check().map_err(|(key, why)| format!("{name}.{key}: {why}"))?;
    }
    Ok(())
}

impl Http {
    fn check(&self) -> Result<(), (&'static str, String)> {
        if self.hosts.is_empty() || self.hosts.len() > HOSTS_MAX {
            return Err(("hosts", format!("{} hosts: name 1 to {HOSTS_MAX}", self.hosts.len())));
        }
        for host in &self.hosts {
            HostPattern::parse(host).map_err(|why| ("hosts", why))?;
        }
        for (key, value) in [
            ("connect_timeout", self.connect_timeout),
            ("first_byte_timeout", self.first_byte_timeout),
            ("idle_timeout", self.idle_timeout),
        ] {
            if value.0 == 0 || value > TIMEOUT_MAX {
                return Err((key, format!("{value} is outside 1ms to {TIMEOUT_MAX}")));
            }
        }
        for (key, value, max) in
            [("calls_max", self.calls_max, CALLS_MAX), ("subrequests", self.subrequests, SUBREQUESTS_MAX)]
        {
            if !(1..=max).contains(&value) {
                return Err((key, format!("{value} is outside 1 to {max}")));
            }
        }
        self.circuit.check()
    }
}

/// One of a binding's hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    /// Small letters, without a dot at the end; of a wildcard, what follows its `*`.
    host: String,
    wildcard: bool,
    port: Option<u16>,
}

impl HostPattern {
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}` {why}");
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, rest)) if host.parse::<std::net::Ipv6Addr>().is_ok() => match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(wrong("has something behind its address")),
            },
            Some(_) => return Err(wrong("has no IPv6 address in its brackets")),
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let port = match port.map(str::parse) {
            None => None,
            Some(Ok(port)) if port != 0 => Some(port),
            Some(_) => {
                return Err(wrong("has no port from 1 to 65535 behind its colon; schemes and paths are not named"));
            }
        };
        let (wildcard, host) = match host.strip_prefix('*') {
            Some(rest) if rest.is_empty() || rest.starts_with('.') => (true, rest),
            Some(_) => return Err(wrong("has a '*' that stands for a part of a name")),
            None => (false, host),
        };
        let is_address = host.contains(':');
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let label = |label: &str| (1..=63).contains(&label.len()) && label.chars().all(good);
        let name = host.strip_prefix('.').filter(|_| wildcard).unwrap_or(host);
        if !(is_address || (wildcard && host.is_empty()) || name.split('.').all(label)) {
            return Err(wrong("is no host: write `api.example.com`, `*.example.net:8443` or an address"));
        }
        Ok(Self { host: host.to_ascii_lowercase(), wildcard, port })
    }

    /// `host` in small letters, without brackets or a dot at its end; `usual` is the scheme's own port.
    pub fn matches(&self, host: &str, port: u16, usual: u16) -> bool {
        let name = match self.wildcard {
            true => host.len() > self.host.len() && host.ends_with(&self.host),
            false => host == self.host,
        };
        name && self.port.unwrap_or(usual) == port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_match_as_written() {
        for (pattern, host, port, usual, want) in [
            ("api.example.com", "api.example.com", 443, 443, true),
            ("API.example.com", "api.example.com", 80, 80, true),
            ("api.example.com", "api.example.com", 8443, 443, false),
            ("api.example.com", "evil-api.example.com", 443, 443, false),
            ("*.example.net:8443", "a.b.example.net", 8443, 443, true),
            ("*.example.net:8443", "example.net", 8443, 443, false),
            ("*.example.net:8443", "evilexample.net", 8443, 443, false),
            ("*.example.net:8443", "a.example.net", 443, 443, false),
            ("*", "any.where", 80, 80, true),
            ("[::1]:80", "::1", 80, 443, true),
            ("127.0.0.1:1", "127.0.0.1", 1, 80, true),
        ] {
            let parsed = HostPattern::parse(pattern).unwrap();
            assert_eq!(parsed.matches(host, port, usual), want, "{pattern} {host}:{port}");
        }
    }

    #[test]
    fn what_is_no_host_is_said_so() {
        for text in [
            "",
            "https://a.example",
            "a.example/x",
            "a..b",
            "a*.example",
            "*a",
            "a:0",
            "a:70000",
            "[::1",
            "[x]:1",
            "a b",
            "u@a",
        ] {
            assert!(HostPattern::parse(text).is_err(), "{text}");
        }
    }
}
