//! `mayfly.toml`: what a user writes, and how it becomes a [`Spec`].

use crate::{
    binding::{self, Binding},
    canary::Canary,
    edge::{Access, Cors, Edge, Http, Rate},
    fault::{Code, Fault},
    id::{AliasName, FunctionName},
    protocol::Protocol,
    record::Route,
    resilience::Resilience,
    route,
    scale::Scale,
    spec::{Contract, Runtime, Spec},
    traffic::Traffic,
    tunnel::Tunnel,
    unit::{Bytes, Millis},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The manifest's file name in a function's folder.
pub const FILE: &str = "mayfly.toml";

// Limits of the numbers in a manifest.
/// Of a call: streams of events and of gRPC are calls, too.
const TIMEOUT_MAX: Millis = Millis::secs(60 * 60);
/// Of a start and of a stop.
const START_MAX: Millis = Millis::secs(15 * 60);
const MEMORY_MIN: Bytes = Bytes::mib(8);
const MEMORY_MAX: Bytes = Bytes::mib(10_240);
/// Source: Lambda's 4 KB for all environment variables, taken eightfold.
const ENV_MAX: usize = 32 << 10;
const CONCURRENCY_MAX: u32 = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub name: FunctionName,
    pub runtime: Runtime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<Contract>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_max: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_max: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timeout: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_grace: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<Scale>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resilience: Option<Resilience>,
    /// How a deploy moves the traffic: no part of what the revision is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Tunnel>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<Build>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bindings: BTreeMap<String, Binding>,
    #[serde(default, rename = "trigger", skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<Trigger>,
}

/// How the folder is built, where the language's own way is not wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// Program and arguments, run in the folder; empty builds nothing.
    pub command: Vec<String>,
}

/// What turns into invocations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub enum Trigger {
    Http(HttpTrigger),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpTrigger {
    pub path: String,
    #[serde(default)]
    pub host: Option<String>,
    #[serde(default)]
    pub methods: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

impl Manifest {
    /// Reads a manifest and checks every value.
    ///
    /// # Errors
    /// `manifest_invalid` with the line and the key, `name_invalid` where the name is no DNS label.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        // The name first, so that its fault has a code of its own.
        let table: toml::Table = text.parse().map_err(|e| invalid(FILE, e))?;
        if let Some(toml::Value::String(name)) = table.get("name") {
            name.parse::<FunctionName>().map_err(|e| Fault::new(Code::NameInvalid, e.to_string()))?;
        }
        let manifest: Self = toml::from_str(text).map_err(|e| invalid(FILE, e))?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), Fault> {
        let contract = self.contract();
        let wasm = self.runtime == Runtime::Wasm;
        if wasm != (contract == Contract::Component) {
            return Err(invalid(
                "contract",
                format!("runtime `{}` does not go with contract `{contract}`", self.runtime),
            ));
        }
        if let Some(Protocol::H2c) = self.protocol
            && contract != Contract::Http
        {
            return Err(invalid(
                "protocol",
                format!("`h2c` is for servers, contract `http`; this one is `{contract}`"),
            ));
        }
        if contract == Contract::Command && self.command.is_empty() && self.entry.is_none() {
            return Err(invalid("command", "contract `command` needs `command` (program and arguments) or `entry`"));
        }
        if let Some(memory) = self.memory
            && !(MEMORY_MIN..=MEMORY_MAX).contains(&memory)
        {
            return Err(invalid("memory", format!("{memory} is outside {MEMORY_MIN} to {MEMORY_MAX}")));
        }
        for (key, value, max) in [
            ("timeout", self.timeout, TIMEOUT_MAX),
            ("start_timeout", self.start_timeout, START_MAX),
            ("stop_grace", self.stop_grace, START_MAX),
        ] {
            if let Some(value) = value
                && (value.0 == 0 || value > max)
            {
                return Err(invalid(key, format!("{value} is outside 1ms to {max}")));
            }
        }
        if let Some(n) = self.concurrency
            && !(1..=CONCURRENCY_MAX).contains(&n)
        {
            return Err(invalid("concurrency", format!("{n} is outside 1 to {CONCURRENCY_MAX}")));
        }
        if let Some(scale) = &self.scale {
            scale.check().map_err(|(key, detail)| invalid(key, detail))?;
        }
        self.check_env()?;
        self.traffic.iter().try_for_each(Traffic::check)?;
        self.resilience.iter().try_for_each(|resilience| resilience.check(&self.name))?;
        if let Some(canary) = &self.canary {
            canary.check().map_err(|(key, why)| invalid(key, why))?;
        }
        self.check_tunnel(contract)?;
        if !self.bindings.is_empty() && !wasm {
            return Err(invalid(
                "bindings",
                format!("only components, runtime `wasm`, are held to bindings; `{}` is not", self.runtime),
            ));
        }
        binding::check(self.bindings.iter()).map_err(|why| invalid("bindings", why))?;
        self.edge().check().map_err(|(key, why)| invalid(key, why))?;
        if let Some(path) = &self.ready_path
            && !path.starts_with('/')
        {
            return Err(invalid("ready_path", format!("`{path}` does not begin with '/'")));
        }
        self.triggers.iter().try_for_each(|Trigger::Http(http)| http.check())
    }

    fn check_tunnel(&self, contract: Contract) -> Result<(), Fault> {
        let Some(tunnel) = &self.tunnel else { return Ok(()) };
        if contract != Contract::Http || self.protocol == Some(Protocol::H2c) {
            return Err(invalid("tunnel", "tunnels are for servers, contract `http` with HTTP/1.1"));
        }
        tunnel.check().map_err(|(key, why)| invalid(key, why))
    }

    fn check_env(&self) -> Result<(), Fault> {
        for (key, value) in &self.env {
            let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if key.is_empty() || !key.chars().all(name) || key.starts_with(|c: char| c.is_ascii_digit()) {
                return Err(invalid("env", format!("`{key}` is no variable's name: use A-Z, a-z, 0-9 and '_'")));
            }
            if key.starts_with("MAYFLY_") || key.starts_with("AWS_LAMBDA_") || key == "PORT" {
                return Err(invalid("env", format!("`{key}` is set by the platform")));
            }
            if value.contains('\0') {
                return Err(invalid("env", format!("the value of `{key}` has a NUL character")));
            }
        }
        let size: usize = self.env.iter().map(|(k, v)| k.len() + v.len() + 2).sum();
        if size > ENV_MAX {
            return Err(invalid("env", format!("{size} bytes are over the limit of {ENV_MAX}")));
        }
        Ok(())
    }

    /// The contract, told from the runtime where left out.
    pub fn contract(&self) -> Contract {
        self.contract.unwrap_or(match self.runtime {
            Runtime::Wasm => Contract::Component,
            Runtime::Binary => Contract::Http,
            Runtime::Nodejs | Runtime::Python | Runtime::Java | Runtime::Go | Runtime::Rust => Contract::Handler,
        })
    }

    /// The configuration with every default filled in.
    pub fn spec(&self) -> Spec {
        let contract = self.contract();
        Spec {
            runtime: self.runtime,
            contract,
            protocol: self.protocol.unwrap_or_default(),
            entry: self.entry.clone(),
            command: self.command.clone(),
            memory: self.memory.unwrap_or(Bytes::mib(256)),
            timeout: self.timeout.unwrap_or(Millis::secs(30)),
            concurrency: self.concurrency.unwrap_or(contract.default_concurrency()),
            scale: self.scale.clone().unwrap_or_default(),
            env: self.env.clone(),
            request_max: self.request_max.or(contract.default_body_limit()),
            response_max: self.response_max.or(contract.default_body_limit()),
            ready_path: self.ready_path.clone(),
            start_timeout: self.start_timeout.unwrap_or(Millis::secs(10)),
            stop_grace: self.stop_grace.unwrap_or(Millis::secs(10)),
            traffic: self.traffic.clone(),
            resilience: self.resilience.clone(),
            tunnel: self.tunnel,
            edge: Some(self.edge()).filter(|edge| !edge.is_empty()).map(Box::new),
            bindings: self.bindings.clone(),
        }
    }

    fn edge(&self) -> Edge {
        let compress = self.http.as_ref().and_then(|http| http.compress.clone());
        Edge { access: self.access.clone(), rate: self.rate.clone(), cors: self.cors.clone(), compress }
    }

    /// The routes of its HTTP triggers, to the alias `live`.
    pub fn routes(&self) -> Vec<Route> {
        self.triggers
            .iter()
            .map(|Trigger::Http(http)| Route {
                host: http.host.as_deref().map(str::to_ascii_lowercase),
                path: http.path.clone(),
                methods: http.methods.iter().map(|m| m.to_ascii_uppercase()).collect(),
                headers: http.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect(),
                function: self.name.clone(),
                alias: AliasName::live(),
                from_manifest: true,
            })
            .collect()
    }
}

impl HttpTrigger {
    fn check(&self) -> Result<(), Fault> {
        route::check_path(&self.path).map_err(|why| invalid("trigger.http.path", why))?;
        if let Some(host) = &self.host {
            route::check_host(host).map_err(|why| invalid("trigger.http.host", why))?;
        }
        route::check_methods(&self.methods).map_err(|why| invalid("trigger.http.methods", why))?;
        route::check_headers(self.headers.iter()).map_err(|why| invalid("trigger.http.headers", why))
    }
}

fn invalid(key: &str, error: impl std::fmt::Display) -> Fault {
    Fault::new(Code::ManifestInvalid, format!("{key}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_follow_the_contract() {
        let spec = Manifest::parse("name = 'a'\nruntime = 'nodejs'").unwrap().spec();
        assert_eq!((spec.contract, spec.concurrency, spec.timeout), (Contract::Handler, 1, Millis::secs(30)));
        assert_eq!(spec.request_max, Some(Bytes::mib(6)));
        let spec = Manifest::parse("name = 'a'\nruntime = 'nodejs'\ncontract = 'http'").unwrap().spec();
        assert_eq!((spec.concurrency, spec.request_max), (80, None));
        // A specification without it is written as before there was any, so that its revision is the same.
        assert!(!serde_json::to_string(&spec).unwrap().contains("protocol"));
        let h2c = "name = 'a'\nruntime = 'nodejs'\ncontract = 'http'\nprotocol = 'h2c'";
        assert_eq!(Manifest::parse(h2c).unwrap().spec().protocol, Protocol::H2c);
    }

    /// docs/manifest.md: what it shows is good, and it names every key that there is.
    #[test]
    fn the_page_has_every_key() {
        let page = include_str!("../../../../docs/manifest.md");
        let blocks: Vec<_> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(blocks.len() >= 2);
        for block in blocks {
            Manifest::parse(block).unwrap_or_else(|fault| panic!("{fault}\n{block}"));
        }
        let degrade = "resilience.degrade.answer";
        let tables = ["", "scale", "traffic", "resilience", "resilience.circuit", "resilience.degrade", degrade];
        for table in tables.into_iter().chain([
            "canary",
            "access",
            "access.jwt",
            "rate",
            "cors",
            "http",
            "build",
            "tunnel",
            "bindings.api",
        ]) {
            let header = match table {
                "" => String::new(),
                "bindings.api" => format!("[{table}]\ntype = 'http'\n"),
                _ => format!("[{table}]\n"),
            };
            let text = format!("{header}unheard = 1\n");
            let said = toml::from_str::<Manifest>(&text).unwrap_err().to_string();
            let known = said.split_once("expected").unwrap_or_else(|| panic!("[{table}]: {said}")).1;
            for key in known.split('`').skip(1).step_by(2).filter(|key| *key != "trigger") {
                let places = [
                    format!("`{key}`"),
                    format!("`[{key}]`"),
                    format!("`{table}.{key}`"),
                    format!("{{ {key}"),
                    format!(", {key}"),
                ];
                assert!(places.iter().any(|place| page.contains(place.as_str())), "[{table}] {key} is not on the page");
            }
        }
    }

    #[test]
    fn bad_manifests_say_what_is_wrong() {
        for (text, code, part) in [
            ("name = 'a'\nruntime = 'nodejs'\nmemroy = '1GiB'", Code::ManifestInvalid, "memroy"),
            ("name = 'a'\nruntime = 'nodejs'\nmemory = 256", Code::ManifestInvalid, "256MiB"),
            ("name = 'a'\nruntime = 'nodejs'\nmemory = '256 bananas'", Code::ManifestInvalid, "bananas"),
            ("name = 'a'\nruntime = 'nodejs'\nmemory = '1MiB'", Code::ManifestInvalid, "outside"),
            ("name = 'a'\nruntime = 'nodejs'\ntimeout = '30'", Code::ManifestInvalid, "duration"),
            ("name = 'a'\nruntime = 'nodejs'\ntimeout = '61m'", Code::ManifestInvalid, "outside"),
            ("name = 'A_b'\nruntime = 'nodejs'", Code::NameInvalid, "A_b"),
            ("name = 'a'\nruntime = 'cobol'", Code::ManifestInvalid, "cobol"),
            ("name = 'a'\nruntime = 'wasm'\ncontract = 'http'", Code::ManifestInvalid, "does not go with"),
            ("name = 'a'\nruntime = 'nodejs'\nprotocol = 'h2c'", Code::ManifestInvalid, "contract `http`"),
            ("name = 'a'\nruntime = 'nodejs'\ncontract = 'http'\nprotocol = 'h3'", Code::ManifestInvalid, "h3"),
            ("name = 'a'\nruntime = 'nodejs'\nconcurrency = 0", Code::ManifestInvalid, "concurrency"),
            ("name = 'a'\nruntime = 'nodejs'\n[scale]\nmin = 3\nmax = 2", Code::ManifestInvalid, "min 3"),
            ("name = 'a'\nruntime = 'nodejs'\n[scale]\nmaximum = 2", Code::ManifestInvalid, "maximum"),
            ("name = 'a'\nruntime = 'nodejs'\n[env]\nMAYFLY_X = '1'", Code::ManifestInvalid, "platform"),
            ("name = 'a'\nruntime = 'nodejs'\n[[trigger]]\nhttp = { path = 'x' }", Code::ManifestInvalid, "route"),
            ("name = 'a'\nruntime = 'nodejs'\n[[trigger]]\nhttp = { path = '/a/*/b' }", Code::ManifestInvalid, "route"),
            ("name = 'a'\nruntime = 'nodejs'\n[[trigger]]\nftp = { path = '/a' }", Code::ManifestInvalid, "ftp"),
            ("name = 'a", Code::ManifestInvalid, "line 1"),
            (&edge("[access]\nauth = 'token'"), Code::ManifestInvalid, "sha256sum"),
            (&edge("[access]\nauth = 'token'\ntoken_sha256 = 'geheim'"), Code::ManifestInvalid, "64 hexadecimal"),
            (&edge("[access]\nauth = 'public'\ntoken_sha256 = 'x'"), Code::ManifestInvalid, "does not read it"),
            (&edge("[access]\nauth = 'basic'"), Code::ManifestInvalid, "basic"),
            (&edge("[access]\nauth = 'jwt'"), Code::ManifestInvalid, "[access.jwt]"),
            (&edge("[access]\nauth = 'key'\n[access.jwt]\nissuer = 'a'"), Code::ManifestInvalid, "does not read it"),
            (&jwt("issuer = ''\naudience = 'a'\njwks_url = 'https://a/'"), Code::ManifestInvalid, "access.jwt.issuer"),
            (&jwt("issuer = 'a'\njwks_url = 'https://a/'"), Code::ManifestInvalid, "any token"),
            (&jwt("issuer = 'a'\naudience = 'a'"), Code::ManifestInvalid, "either"),
            (&jwt("issuer = 'a'\naudience = 'a'\njwks_url = 'ftp://a/'"), Code::ManifestInvalid, "https"),
            (&jwt("issuer = 'a'\naudience = 'a'\njwks_url = 'https://u:p@a/'"), Code::ManifestInvalid, "https"),
            (
                &jwt("issuer = 'a'\naudience = 'a'\njwks_url = 'https://a/'\njwks = '{}'"),
                Code::ManifestInvalid,
                "either",
            ),
            (&jwt("issuer = 'a'\naudience = 'a'\njwks = '{\"keys\":[]}'"), Code::ManifestInvalid, "no key"),
            (
                &jwt("issuer = 'a'\naudience = 'a'\njwks = '{\"keys\":[{\"kty\":\"oct\",\"k\":\"AA\"}]}'"),
                Code::ManifestInvalid,
                "secret",
            ),
            (
                &jwt("issuer = 'a'\naudience = 'a'\njwks_url = 'https://a/'\nalgorithms = ['none']"),
                Code::ManifestInvalid,
                "none",
            ),
            (
                &jwt("issuer = 'a'\naudience = 'a'\njwks_url = 'https://a/'\nalgorithms = ['HS256']"),
                Code::ManifestInvalid,
                "HS256",
            ),
            (
                &jwt("issuer = 'a'\naudience = 'a'\njwks_url = 'https://a/'\nleeway = '10m'"),
                Code::ManifestInvalid,
                "over",
            ),
            (
                &jwt("issuer = 'a'\naudience = 'a'\njwks_url = 'https://a/'\nscopes = 'a b'"),
                Code::ManifestInvalid,
                "scope",
            ),
            (&edge("[rate]\neach = [{ by = 'key', limit = '5/s' }]"), Code::ManifestInvalid, "auth `key`"),
            (&edge("[rate]\neach = [{ by = 'claim:sub', limit = '5/s' }]"), Code::ManifestInvalid, "auth `jwt`"),
            (&edge("[http]\ncompress = { min = '2GiB' }"), Code::ManifestInvalid, "http.compress.min"),
            (&edge("[http]\ncompress = 'yes'"), Code::ManifestInvalid, "true"),
            (&edge("[bindings.api]\ntype = 'http'\nhosts = ['a.example']"), Code::ManifestInvalid, "only components"),
            (&wasm(""), Code::ManifestInvalid, "name 1 to"),
            (&wasm("hosts = ['http://a']"), Code::ManifestInvalid, "bindings: api.hosts"),
            (&wasm("hosts = ['a']\nsubrequests = 0"), Code::ManifestInvalid, "api.subrequests"),
            (&wasm("hosts = ['a']\nidle_timeout = '0s'"), Code::ManifestInvalid, "api.idle_timeout"),
            (&wasm("hosts = ['a']\ncircuit = { probes = 0 }"), Code::ManifestInvalid, "api.circuit.probes"),
            (&wasm("host = ['a']"), Code::ManifestInvalid, "host"),
            (&edge("[rate]"), Code::ManifestInvalid, "limits nothing"),
            (&edge("[rate]\nlimit = '5'"), Code::ManifestInvalid, "100/s"),
            (&edge("[rate]\neach = [{ by = 'name', limit = '5/s' }]"), Code::ManifestInvalid, "nobody apart"),
            (&edge("[cors]\norigins = '*'\ncredentials = true"), Code::ManifestInvalid, "name the origins"),
            (&edge("[cors]\norigins = 'app.example'"), Code::ManifestInvalid, "no origin"),
        ] {
            let fault = Manifest::parse(text).unwrap_err();
            assert_eq!(fault.code, code, "{text}: {fault}");
            assert!(fault.detail.contains(part), "{text}: {fault}");
        }
    }

    fn edge(table: &str) -> String {
        format!("name = 'a'\nruntime = 'nodejs'\n{table}")
    }

    fn wasm(keys: &str) -> String {
        format!("name = 'a'\nruntime = 'wasm'\n[bindings.api]\ntype = 'http'\n{keys}")
    }

    #[test]
    fn a_spec_without_bindings_is_written_as_before() {
        let without = Manifest::parse("name = 'a'\nruntime = 'wasm'").unwrap().spec();
        assert!(!serde_json::to_string(&without).unwrap().contains("bindings"));
        let spec = Manifest::parse(&wasm("hosts = ['a.example']")).unwrap().spec();
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<Spec>(&text).unwrap(), spec, "{text}");
    }

    fn jwt(keys: &str) -> String {
        edge(&format!("[access]\nauth = 'jwt'\n[access.jwt]\n{keys}"))
    }

    #[test]
    fn a_spec_without_an_edge_is_written_as_before() {
        let spec = Manifest::parse(&edge("")).unwrap().spec();
        assert!(!serde_json::to_string(&spec).unwrap().contains("edge"));
        let with = edge("[access]\nauth = 'public'\n[cors]\norigins = '*'\n[rate]\nlimit = '5/s'");
        let spec = Manifest::parse(&with).unwrap().spec();
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<Spec>(&text).unwrap(), spec, "{text}");
        assert_eq!(spec.edge.unwrap().cors.unwrap().max_age, Millis::secs(600));
    }

    #[test]
    fn triggers_become_routes() {
        let manifest = Manifest::parse(
            "name = 'thumbs'\nruntime = 'go'\n[[trigger]]\nhttp = { path = '/t/*', methods = ['post'] }",
        )
        .unwrap();
        let routes = manifest.routes();
        assert_eq!((routes[0].path.as_str(), routes[0].methods[0].as_str()), ("/t/*", "POST"));
        let text = toml::to_string(&manifest).unwrap();
        assert_eq!(Manifest::parse(&text).unwrap(), manifest);
    }
}
