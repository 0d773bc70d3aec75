//! The routes of one snapshot, made from those of the last one by what changed between them.

use super::{
    host::{self, Hosts},
    tree::{Node, Reached},
};
use crate::edge::Gate;
use http::{HeaderMap, Method};
use imbl::{HashMap, ordmap::DiffItem};
use std::sync::Arc;
use types::{AliasName, Code, Fault, FunctionName, Route};
use wire::{FunctionView, Snapshot, Target, snapshot::Place};

/// What a request is routed by.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// As the request has it: the port and upper case are taken off here.
    pub host: Option<&'a str>,
    pub path: &'a str,
    pub method: &'a Method,
    pub headers: &'a HeaderMap,
}

/// What a request maps to.
pub struct Match {
    pub target: Arc<Target>,
    /// `None` where the function asks nothing of the gateway.
    pub(crate) gate: Option<Arc<Gate>>,
    /// Bytes of the path that belong to the route and not to the function: `/hello` of `/hello/x`.
    pub strip: usize,
    /// `None` is the route that each function has by itself.
    pub route: Option<Arc<Route>>,
}

/// A function with its aliases, as few as they are.
struct Front(Vec<Seat>);

#[derive(Clone)]
struct Seat {
    target: Arc<Target>,
    gate: Option<Arc<Gate>>,
}

/// The routes of one snapshot. A clone shares everything.
#[derive(Clone, Default)]
pub struct Table {
    snapshot: Arc<Snapshot>,
    fronts: HashMap<FunctionName, Arc<Front>>,
    any_host: Arc<Node>,
    hosts: Hosts,
}

impl Table {
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        Self::default().next(snapshot)
    }

    pub(super) fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The table of `snapshot`: costs what changed since this one's.
    #[must_use]
    pub fn next(&self, snapshot: Arc<Snapshot>) -> Self {
        let mut table = self.clone();
        for change in self.snapshot.functions.diff(&snapshot.functions) {
            match change {
                DiffItem::Add(name, view) | DiffItem::Update { new: (name, view), .. } => table.put(name, view),
                DiffItem::Remove(name, _) => drop(table.fronts.remove(name)),
            }
        }
        for change in self.snapshot.routes.diff(&snapshot.routes) {
            match change {
                DiffItem::Add(_, place) | DiffItem::Update { new: (_, place), .. } => table.set(place, true),
                DiffItem::Remove(_, place) => table.set(place, false),
            }
        }
        table.snapshot = snapshot;
        table
    }

    fn put(&mut self, name: &FunctionName, view: &FunctionView) {
        let last = self.fronts.get(name);
        let seat = |target: &Arc<Target>| {
            let known = last.and_then(|front| front.0.iter().find(|seat| seat.target.alias == target.alias));
            let gate = Gate::of(target, known.and_then(|seat| seat.gate.as_deref()));
            Seat { target: Arc::clone(target), gate }
        };
        let front = Front(view.aliases.values().map(seat).collect());
        self.fronts.insert(name.clone(), Arc::new(front));
    }

    fn set(&mut self, place: &Place, present: bool) {
        let Some(one) = place.first() else { return };
        let ordered = present.then(|| in_order(place));
        match &one.host {
            None => self.any_host.set(&one.path, ordered),
            Some(host) => self.hosts.set(host, &one.path, ordered),
        }
    }

    /// The most specific route that takes the request: by host, then segment by segment, then by headers and method.
    ///
    /// # Errors
    /// `route_not_found`; `method_not_allowed` where only other methods are routed.
    pub fn find(&self, ask: Ask<'_>) -> Result<Match, Fault> {
        let missed = || Fault::new(Code::RouteNotFound, format!("no route for {}{}", ask.host.unwrap_or(""), ask.path));
        let rest = ask.path.strip_prefix('/').ok_or_else(missed)?;
        let mut wrong_method = None;
        let mut visit = |reached: Reached<'_>| self.choose(&reached, &ask, &mut wrong_method);
        let named = match ask.host {
            Some(host) if !self.hosts.is_empty() => {
                let host = host::bare(host);
                self.hosts.candidates(&host).find_map(|tree| tree.find(Some(rest), &mut visit))
            }
            _ => None,
        };
        let found = named
            .or_else(|| self.any_host.find_literal(Some(rest), &mut visit))
            // As if each function had the route `/<function>/*`.
            .or_else(|| self.by_name(rest))
            .or_else(|| self.by_tag(ask.host, rest))
            .or_else(|| self.any_host.find_other(Some(rest), &mut visit));
        found.ok_or_else(|| match wrong_method {
            Some(allowed) => not_allowed(&ask, allowed),
            None => missed(),
        })
    }

    /// The place's route that takes the request. What it would take by another method is noted.
    fn choose(&self, reached: &Reached<'_>, ask: &Ask<'_>, wrong: &mut Option<Vec<String>>) -> Option<Match> {
        let fits = |route: &&Arc<Route>| {
            let has = |(name, value): (&String, &String)| {
                ask.headers.get_all(name.as_str()).iter().any(|sent| sent.as_bytes() == value.as_bytes())
            };
            (reached.has_rest || !route.path.ends_with("+}")) && route.headers.iter().all(has)
        };
        for route in reached.place.iter().filter(fits) {
            if !route.methods.is_empty() && !route.methods.iter().any(|method| method == ask.method.as_str()) {
                wrong.get_or_insert_default().extend_from_slice(&route.methods);
                continue;
            }
            if let Some(Seat { target, gate }) = self.seat(&route.function, &route.alias) {
                return Some(Match { target, gate, strip: 0, route: Some(Arc::clone(route)) });
            }
        }
        None
    }

    fn seat(&self, function: &FunctionName, alias: &AliasName) -> Option<Seat> {
        self.fronts.get(function)?.0.iter().find(|seat| seat.target.alias == *alias).cloned()
    }

    /// The route that each function has by itself: `/<function>` and all below it, to `live`.
    fn by_name(&self, rest: &str) -> Option<Match> {
        let name = rest.split('/').next()?;
        let seat = self.fronts.get(name)?.0.iter().find(|seat| seat.target.alias.as_str() == "live")?;
        let Seat { target, gate } = seat.clone();
        Some(Match { target, gate, strip: name.len() + 1, route: None })
    }

    /// An alias by its tag: `/tag---name` and all below it, or the host `tag---name.…` with the whole path.
    fn by_tag(&self, host: Option<&str>, rest: &str) -> Option<Match> {
        let find = |text: &str, strip: usize| {
            let (tag, name) = text.split_once("---")?;
            let seat = self.fronts.get(name)?.0.iter().find(|seat| seat.target.alias.as_str() == tag)?;
            let Seat { target, gate } = seat.clone();
            Some(Match { target, gate, strip, route: None })
        };
        let bare = host.map(host::bare);
        if let Some(found) = bare.as_deref().and_then(|host| find(host.split('.').next()?, 0)) {
            return Some(found);
        }
        let first = rest.split('/').next()?;
        find(first, first.len() + 1)
    }
}

/// The routes of a place, the most specific first: more headers, then named methods.
fn in_order(place: &Place) -> Place {
    if place.len() < 2 {
        return Arc::clone(place);
    }
    let mut routes = place.to_vec();
    routes.sort_by_key(|route| (std::cmp::Reverse(route.headers.len()), route.methods.is_empty()));
    routes.into()
}

fn not_allowed(ask: &Ask<'_>, mut methods: Vec<String>) -> Fault {
    methods.sort_unstable();
    methods.dedup();
    let detail = format!("{} {}: the route takes {}", ask.method, ask.path, methods.join(", "));
    Fault::new(Code::MethodNotAllowed, detail)
}
