//! From host, path and method to an alias, in a time that does not grow with the number of routes.
//!
//! Exact paths go before prefixes, longer prefixes before shorter ones, a named host before every host, and
//! explicit routes before the `/<function>/…` that each function has by itself.

use http::Method;
use parking_lot::Mutex;
use std::{borrow::Cow, collections::HashMap, sync::Arc};
use types::{Code, Fault, Route};
use wire::{FunctionView, Snapshot, Snapshots, Target};

/// One lane's routes, always those of the last snapshot: a change is seen by the next request, not by a task's.
pub(crate) struct Routes(Mutex<Current>);

struct Current {
    snapshots: Snapshots,
    table: Table,
}

impl Routes {
    pub(crate) fn new(mut snapshots: Snapshots) -> Self {
        let table = Table::new(Arc::clone(&snapshots.borrow_and_update()));
        Self(Mutex::new(Current { snapshots, table }))
    }

    /// [`Table::find`] in the table of now. The lock is the lane's own: nobody waits for it.
    pub(crate) fn find(&self, host: Option<&str>, path: &str, method: &Method) -> Result<Match, Fault> {
        let mut current = self.0.lock();
        // An error says that control is gone: the last good table stays.
        if current.snapshots.has_changed().unwrap_or(false) {
            let snapshot = Arc::clone(&current.snapshots.borrow_and_update());
            current.table = Table::new(snapshot);
        }
        current.table.find(host, path, method)
    }
}

/// What a request maps to.
#[derive(Debug)]
pub struct Match {
    pub target: Arc<Target>,
    /// Bytes of the path that belong to the route and not to the function: `/hello` of `/hello/x`.
    pub strip: usize,
}

struct Entry {
    methods: Vec<Method>,
    target: Arc<Target>,
}

#[derive(Default)]
struct Paths {
    exact: HashMap<String, Vec<Entry>>,
    /// Keyed without the `/*`.
    prefix: HashMap<String, Vec<Entry>>,
}

/// The routes of one snapshot.
#[derive(Default)]
pub struct Table {
    any_host: Paths,
    hosts: HashMap<String, Paths>,
    snapshot: Arc<Snapshot>,
}

impl Table {
    /// Routes to an alias that is not there are left out.
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        let mut table = Self::default();
        for route in &snapshot.routes {
            let Some(target) = snapshot.target(&route.function, &route.alias) else { continue };
            let paths = match &route.host {
                Some(host) => table.hosts.entry(host.clone()).or_default(),
                None => &mut table.any_host,
            };
            paths.insert(route, Arc::clone(target));
        }
        table.snapshot = snapshot;
        table
    }

    /// # Errors
    /// `route_not_found`; `method_not_allowed` where only other methods are routed.
    pub fn find(&self, host: Option<&str>, path: &str, method: &Method) -> Result<Match, Fault> {
        let named = host.filter(|_| !self.hosts.is_empty()).and_then(|host| self.hosts.get(&*bare_host(host)));
        let mut wrong_method = None;
        for paths in named.into_iter().chain([&self.any_host]) {
            for entries in paths.candidates(path) {
                match entries.iter().find(|entry| entry.methods.is_empty() || entry.methods.contains(method)) {
                    Some(entry) => return Ok(Match { target: Arc::clone(&entry.target), strip: 0 }),
                    None => wrong_method = wrong_method.or(Some(entries)),
                }
            }
        }
        if let Some(found) = self.by_name(path).or_else(|| self.by_tag(host, path)) {
            return Ok(found);
        }
        Err(match wrong_method {
            Some(entries) => not_allowed(method, path, entries),
            None => Fault::new(Code::RouteNotFound, format!("no route for {}{path}", host.unwrap_or(""))),
        })
    }

    /// The route that each function has by itself: `/<function>` and all below it, to `live`.
    fn by_name(&self, path: &str) -> Option<Match> {
        let rest = path.strip_prefix('/')?;
        let name = rest.split('/').next()?;
        let function: &Arc<FunctionView> = self.snapshot.functions.get(name)?;
        let target = function.aliases.get("live")?;
        Some(Match { target: Arc::clone(target), strip: name.len() + 1 })
    }

    /// An alias by its tag: `/tag---name` and all below it, or the host `tag---name.…` with the whole path.
    fn by_tag(&self, host: Option<&str>, path: &str) -> Option<Match> {
        let find = |text: &str| {
            let (tag, name) = text.split_once("---")?;
            self.snapshot.functions.get(name)?.aliases.get(tag).cloned()
        };
        let bare = host.map(bare_host);
        if let Some(target) = bare.as_deref().and_then(|host| find(host.split('.').next()?)) {
            return Some(Match { target, strip: 0 });
        }
        let first = path.strip_prefix('/')?.split('/').next()?;
        Some(Match { target: find(first)?, strip: first.len() + 1 })
    }
}

impl Paths {
    fn insert(&mut self, route: &Route, target: Arc<Target>) {
        let methods = route.methods.iter().filter_map(|method| method.parse().ok()).collect();
        let (map, key) = match route.path.strip_suffix("/*") {
            Some(prefix) => (&mut self.prefix, prefix),
            None => (&mut self.exact, route.path.as_str()),
        };
        map.entry(key.to_owned()).or_default().push(Entry { methods, target });
    }

    /// The exact path, then each prefix that ends at a '/', longest first.
    fn candidates<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a Vec<Entry>> {
        let exact = (!self.exact.is_empty()).then(|| self.exact.get(path)).flatten();
        let ends = std::iter::successors(Some(path), |path| path.rfind('/').map(|end| &path[..end]));
        let prefixes = ends.filter(|_| !self.prefix.is_empty()).filter_map(|prefix| self.prefix.get(prefix));
        exact.into_iter().chain(prefixes)
    }
}

/// Without the port and in lower case (RFC 9110 §4.2.3): most clients send it so already.
fn bare_host(host: &str) -> Cow<'_, str> {
    let bare = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    match bare.bytes().any(|b| b.is_ascii_uppercase()) {
        true => Cow::Owned(bare.to_ascii_lowercase()),
        false => Cow::Borrowed(bare),
    }
}

fn not_allowed(method: &Method, path: &str, entries: &[Entry]) -> Fault {
    let mut methods: Vec<_> = entries.iter().flat_map(|entry| &entry.methods).map(Method::as_str).collect();
    methods.sort_unstable();
    methods.dedup();
    Fault::new(Code::MethodNotAllowed, format!("{method} {path}: the route takes {}", methods.join(", ")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use types::AliasName;

    fn table(routes: &[(Option<&str>, &str, &[&str], &str)]) -> Table {
        let mut snapshot = Snapshot::default();
        for name in ["hello", "thumbs", "other"] {
            let name: types::FunctionName = name.parse().unwrap();
            let target = Target { function: name.clone(), alias: AliasName::live(), revisions: Arc::new([]) };
            let aliases = HashMap::from([(AliasName::live(), Arc::new(target))]);
            snapshot.functions.insert(name.clone(), Arc::new(FunctionView { name, aliases }));
        }
        for (host, path, methods, function) in routes {
            snapshot.routes.push(Arc::new(Route {
                host: host.map(str::to_owned),
                path: (*path).to_owned(),
                methods: methods.iter().map(|m| (*m).to_owned()).collect(),
                function: function.parse().unwrap(),
                alias: AliasName::live(),
                from_manifest: false,
            }));
        }
        Table::new(Arc::new(snapshot))
    }

    #[test]
    fn the_most_exact_route_wins() {
        let table = table(&[
            (None, "/a/*", &[], "hello"),
            (None, "/a/b/*", &[], "thumbs"),
            (None, "/a/b", &["GET"], "other"),
            (Some("x.example"), "/a/*", &[], "other"),
            (None, "/post", &["POST"], "hello"),
            (None, "/other/special", &[], "hello"),
        ]);
        for (host, method, path, want) in [
            (None, "GET", "/a", Ok(("hello", 0))),
            (None, "GET", "/a/", Ok(("hello", 0))),
            (None, "GET", "/a/c/d", Ok(("hello", 0))),
            (None, "GET", "/a/b/c", Ok(("thumbs", 0))),
            (None, "GET", "/a/b", Ok(("other", 0))),
            (None, "POST", "/a/b", Ok(("thumbs", 0))),
            (None, "GET", "/ab", Err(Code::RouteNotFound)),
            (Some("x.example"), "GET", "/a/b/c", Ok(("other", 0))),
            (Some("x.example:8080"), "GET", "/a/b/c", Ok(("other", 0))),
            (Some("X.Example"), "GET", "/a/b/c", Ok(("other", 0))),
            (Some("y.example"), "GET", "/a/b/c", Ok(("thumbs", 0))),
            (None, "GET", "/post", Err(Code::MethodNotAllowed)),
            (None, "GET", "/hello", Ok(("hello", 6))),
            (None, "GET", "/hello/x/y", Ok(("hello", 6))),
            (None, "GET", "/hellox", Err(Code::RouteNotFound)),
            (None, "GET", "/live---hello/x", Ok(("hello", 13))),
            (None, "GET", "/beta---hello", Err(Code::RouteNotFound)),
            (Some("live---hello.example:80"), "GET", "/x", Ok(("hello", 0))),
            (Some("LIVE---hello.example"), "GET", "/", Ok(("hello", 0))),
            (Some("beta---hello.example"), "GET", "/x", Err(Code::RouteNotFound)),
            (None, "GET", "/other/special", Ok(("hello", 0))),
            (None, "GET", "/", Err(Code::RouteNotFound)),
            (None, "GET", "*", Err(Code::RouteNotFound)),
        ] {
            let found = table.find(host, path, &method.parse().unwrap());
            let got = found.as_ref().map(|m| (m.target.function.as_str(), m.strip)).map_err(|fault| fault.code);
            assert_eq!(got, want, "{host:?} {method} {path}");
        }
    }
}
