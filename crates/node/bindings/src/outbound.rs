//! What one revision may call: its rules, and for each authority a circuit and connections that rest.

use crate::{
    Error, Ticket,
    dial::{self, Dialer, Resolver, Sender, Target},
};
use chassis::metrics::{Counter, Family};
use http::Uri;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::OnceCell;
use types::{
    Happening, RevisionId,
    binding::{Binding, HostPattern, Http},
    breaker::{Admission, Breaker, Change},
};

/// Authorities of one binding that are remembered at once: with wildcards the code can name any number.
const DEPENDENCIES_MAX: usize = 256;
/// Connections to one authority that rest at once.
const RESTING_MAX: usize = 8;
/// A connection that rested longer is not used again: many servers close theirs by then.
const REST_MAX: Duration = Duration::from_secs(4);

type Labels = Vec<(&'static str, String)>;

/// Is told what a revision's circuits do.
pub type Tell = Arc<dyn Fn(Happening, String) + Send + Sync>;

/// The way out of this process, for all revisions. Clones share it.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) dialer: Dialer,
    calls: Family<Labels, Counter>,
    circuits: Family<Labels, Counter>,
    open: Mutex<HashMap<RevisionId, Weak<Outbound>>>,
}

impl Client {
    pub fn new(metrics: &chassis::metrics::Metrics) -> Self {
        Self::resolving(metrics, dial::system())
    }

    /// With another way from names to addresses than the system's.
    pub fn resolving(metrics: &chassis::metrics::Metrics, resolver: Resolver) -> Self {
        Self(Arc::new(Shared {
            dialer: Dialer { resolver, tls: OnceCell::new() },
            calls: metrics.register("outbound_calls", "Outbound calls, by outcome", Family::default()),
            circuits: metrics.register("outbound_circuits", "Changes of outbound circuits, by kind", Family::default()),
            open: Mutex::default(),
        }))
    }

    /// What a revision may call, the same for all its instances; `None` where it has no binding.
    pub fn open(&self, id: &RevisionId, bindings: &BTreeMap<String, Binding>, tell: &Tell) -> Option<Arc<Outbound>> {
        if bindings.is_empty() {
            return None;
        }
        let mut open = self.0.open.lock();
        if let Some(there) = open.get(id).and_then(Weak::upgrade) {
            return Some(there);
        }
        open.retain(|_, other| other.strong_count() > 0);
        let rules = bindings.values().map(|Binding::Http(http)| Arc::new(Rule::new(http.clone()))).collect();
        let outbound = Arc::new(Outbound { shared: Arc::clone(&self.0), rules, tell: Arc::clone(tell) });
        open.insert(id.clone(), Arc::downgrade(&outbound));
        Some(outbound)
    }
}

/// What one revision may call.
pub struct Outbound {
    pub(crate) shared: Arc<Shared>,
    rules: Vec<Arc<Rule>>,
    tell: Tell,
}

/// One binding.
pub(crate) struct Rule {
    pub(crate) http: Http,
    hosts: Vec<HostPattern>,
    pub(crate) running: AtomicU32,
    dependencies: Mutex<HashMap<String, Dependency>>,
}

struct Dependency {
    breaker: Breaker,
    resting: Vec<(Sender, Instant)>,
    used: Instant,
}

impl Outbound {
    /// Decides at once whether a call may be made; `made` counts those of the same call of the function.
    ///
    /// # Errors
    /// `Denied`, `Invalid`, `Subrequests`, `TooMany`, `Open`.
    pub fn admit(self: &Arc<Self>, method: &http::Method, uri: &Uri, made: &mut u32) -> Result<Ticket, Error> {
        let admitted = self.decide(method, uri, made);
        if let Err(error) = &admitted {
            self.count(error.outcome());
        }
        admitted
    }

    fn decide(self: &Arc<Self>, method: &http::Method, uri: &Uri, made: &mut u32) -> Result<Ticket, Error> {
        if *method == http::Method::CONNECT {
            return Err(Error::Invalid("CONNECT makes a tunnel, and there is none here".into()));
        }
        let target = target(uri)?;
        let authority = format!("{}:{}", target.host, target.port);
        let usual = usual_port(target.secure);
        let by_host = |rule: &&Arc<Rule>| rule.hosts.iter().any(|host| host.matches(&target.host, target.port, usual));
        let Some(rule) = self.rules.iter().find(by_host) else { return Err(Error::Denied(authority)) };
        if *made >= rule.http.subrequests {
            return Err(Error::Subrequests(rule.http.subrequests));
        }
        *made += 1;
        let running = Running::begin(rule)?;
        let key = format!("{}{authority}", if target.secure { "https://" } else { "http://" });
        let began = Instant::now();
        rule.admit(&key, began)?;
        Ok(Ticket { outbound: Arc::clone(self), running, target, key, began })
    }

    pub(crate) fn count(&self, outcome: &'static str) {
        self.shared.calls.get_or_create(&vec![("outcome", outcome.to_owned())]).inc();
    }

    /// A call ended: what it says of its dependency is learned, and told where it changes something.
    pub(crate) fn ended(&self, rule: &Rule, key: &str, failed: bool, began: Instant) {
        let Some(change) = rule.ended(key, failed, began, Instant::now()) else { return };
        let (what, why) = match change {
            Change::Opened { failed, calls } => {
                (Happening::CircuitOpened, format!("{failed} of the last {calls} calls to it failed"))
            }
            Change::Reopened => (Happening::CircuitOpened, "a probe failed".to_owned()),
            Change::Closed => (Happening::CircuitClosed, "the probes succeeded".to_owned()),
        };
        self.shared.circuits.get_or_create(&vec![("kind", what.as_str().replace(' ', "_"))]).inc();
        (self.tell)(what, format!("outbound {key}: {why}"));
    }
}

impl Rule {
    fn new(http: Http) -> Self {
        // The manifest's check let only good ones through.
        let hosts = http.hosts.iter().filter_map(|host| HostPattern::parse(host).ok()).collect();
        Self { http, hosts, running: AtomicU32::new(0), dependencies: Mutex::default() }
    }

    fn admit(&self, key: &str, now: Instant) -> Result<(), Error> {
        let mut all = self.dependencies.lock();
        if !all.contains_key(key) {
            make_room(&mut all);
            let breaker = Breaker::new(self.http.circuit, now);
            all.insert(key.to_owned(), Dependency { breaker, resting: Vec::new(), used: now });
        }
        let Some(dependency) = all.get_mut(key) else { return Ok(()) };
        dependency.used = now;
        match dependency.breaker.admit(now) {
            Admission::Pass => Ok(()),
            Admission::Refuse(left) => Err(Error::Open { authority: key.to_owned(), left }),
        }
    }

    fn ended(&self, key: &str, failed: bool, began: Instant, now: Instant) -> Option<Change> {
        self.dependencies.lock().get_mut(key)?.breaker.ended(failed, began, now)
    }

    /// A connection that rested a little, if there is one.
    pub(crate) fn take(&self, key: &str) -> Option<Sender> {
        let mut all = self.dependencies.lock();
        let resting = &mut all.get_mut(key)?.resting;
        while let Some((sender, since)) = resting.pop() {
            if since.elapsed() < REST_MAX && sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    pub(crate) fn give_back(&self, key: &str, sender: Sender) {
        let mut all = self.dependencies.lock();
        // Those of all authorities: one that is called no more would keep its sockets.
        for dependency in all.values_mut() {
            dependency.resting.retain(|(sender, since)| since.elapsed() < REST_MAX && !sender.is_closed());
        }
        let Some(dependency) = all.get_mut(key) else { return };
        if dependency.resting.len() < RESTING_MAX && !sender.is_closed() {
            dependency.resting.push((sender, Instant::now()));
        }
    }
}

/// Forgets who was not called for the longest time, of those with a closed circuit where there is one.
fn make_room(all: &mut HashMap<String, Dependency>) {
    if all.len() < DEPENDENCIES_MAX {
        return;
    }
    let oldest = all.iter().min_by_key(|(_, one)| (!one.breaker.is_closed(), one.used)).map(|(key, _)| key.clone());
    if let Some(oldest) = oldest {
        all.remove(&oldest);
    }
}

/// A call on its way; it is one less when this is dropped.
pub(crate) struct Running(pub(crate) Arc<Rule>);

impl Running {
    fn begin(rule: &Arc<Rule>) -> Result<Self, Error> {
        let max = rule.http.calls_max;
        let more = |n: u32| (n < max).then_some(n + 1);
        match rule.running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(Self(Arc::clone(rule))),
            Err(_) => Err(Error::TooMany(max)),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

const fn usual_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

fn target(uri: &Uri) -> Result<Target, Error> {
    let secure = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        other => return Err(Error::Invalid(format!("its scheme is {other:?}"))),
    };
    let authority = uri.authority().ok_or_else(|| Error::Invalid("it names no host".into()))?;
    if authority.as_str().contains('@') {
        return Err(Error::Invalid("its host has a user in front".into()));
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    let port = authority.port_u16().unwrap_or(usual_port(secure));
    Ok(Target { host: host.to_ascii_lowercase(), port, secure })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rule(keys: &str) -> Rule {
        let text = format!("name = 'a'\nruntime = 'wasm'\n[bindings.api]\ntype = 'http'\nhosts = ['*']\n{keys}");
        let spec = types::Manifest::parse(&text).unwrap().spec();
        let Some(Binding::Http(http)) = spec.bindings.into_values().next() else { panic!("no binding") };
        Rule::new(http)
    }

    #[test]
    fn one_dependencys_circuit_is_not_anothers() {
        let rule = rule("circuit = { calls_min = 2, open = '10s', probes = 1 }");
        let now = Instant::now();
        for key in ["http://bad:80", "http://bad:80", "http://good:80"] {
            assert!(rule.admit(key, now).is_ok());
        }
        assert_eq!(rule.ended("http://bad:80", true, now, now), None);
        assert!(matches!(rule.ended("http://bad:80", true, now, now), Some(Change::Opened { failed: 2, calls: 2 })));
        assert!(matches!(rule.admit("http://bad:80", now), Err(Error::Open { .. })));
        assert!(rule.admit("http://good:80", now).is_ok());
        let later = now + Duration::from_secs(10);
        assert!(rule.admit("http://bad:80", later).is_ok());
        assert_eq!(rule.ended("http://bad:80", false, later, later), Some(Change::Closed));
    }

    #[test]
    fn authorities_are_bounded_and_an_open_circuit_is_forgotten_last() {
        let rule = rule("circuit = { calls_min = 1 }");
        let now = Instant::now();
        rule.admit("http://bad:80", now).unwrap();
        rule.ended("http://bad:80", true, now, now).unwrap();
        for n in 0..2 * DEPENDENCIES_MAX as u64 {
            rule.admit(&format!("http://h{n}:80"), now + Duration::from_millis(n)).unwrap();
        }
        assert_eq!(rule.dependencies.lock().len(), DEPENDENCIES_MAX);
        assert!(rule.admit("http://bad:80", now).is_err());
    }

    #[test]
    fn calls_are_counted_at_once_and_within_one_call() {
        let metrics = chassis::metrics::Metrics::default();
        let bindings = BTreeMap::from([("api".to_owned(), Binding::Http(rule("calls_max = 1\nsubrequests = 2").http))]);
        let tell: Tell = Arc::new(|_, _| {});
        let client = Client::new(&metrics);
        let outbound = client.open(&"a@1".parse().unwrap(), &bindings, &tell).unwrap();
        let uri: Uri = "http://a.example/".parse().unwrap();
        let (get, mut made) = (http::Method::GET, 0);
        let first = outbound.admit(&get, &uri, &mut made).unwrap();
        assert!(matches!(outbound.admit(&get, &uri, &mut made), Err(Error::TooMany(1))));
        drop(first);
        assert!(matches!(outbound.admit(&get, &uri, &mut made), Err(Error::Subrequests(2))));
        assert!(outbound.admit(&get, &uri, &mut 0).is_ok());
        assert!(matches!(outbound.admit(&http::Method::CONNECT, &uri, &mut 0), Err(Error::Invalid(_))));
        // Instances of one revision share it, other revisions don't, and without a binding there is none.
        assert!(Arc::ptr_eq(&outbound, &client.open(&"a@1".parse().unwrap(), &bindings, &tell).unwrap()));
        assert!(!Arc::ptr_eq(&outbound, &client.open(&"a@2".parse().unwrap(), &bindings, &tell).unwrap()));
        assert!(client.open(&"a@3".parse().unwrap(), &BTreeMap::new(), &tell).is_none());
    }

    #[test]
    fn targets_are_read_strictly() {
        for (uri, want) in [
            ("http://A.example/x", Some(("a.example", 80, false))),
            ("https://a.example./", Some(("a.example", 443, true))),
            ("https://[::1]:8443/", Some(("::1", 8443, true))),
            ("http://user@a.example/", None),
            ("ftp://a.example/", None),
            ("/x", None),
        ] {
            let read = target(&uri.parse().unwrap()).ok();
            assert_eq!(read.as_ref().map(|t| (t.host.as_str(), t.port, t.secure)), want, "{uri}");
        }
    }
}
