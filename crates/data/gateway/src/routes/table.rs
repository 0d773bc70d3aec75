//! The routes of one snapshot, made from those of the last one by what changed between them.

use super::{
    host::{self, Hosts},
    map::{Hash, Label, Labelled, Map},
    seat::{self, Seat},
    tree::{self, Node, Reached, Seats},
};
use crate::edge::{Tenant, Tenants};
use http::{HeaderMap, Method};
use imbl::ordmap::DiffItem;
use std::{ops::Deref, sync::Arc};
use types::{Code, Fault, FunctionName, Route, edge::Tempo};
use wire::{FunctionView, Snapshot, snapshot::Place};

/// Between a tag and its function's name.
const TAGGED: &str = "---";

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
    pub seat: Arc<Seat>,
    /// Bytes of the path that belong to the route and not to the function: `/hello` of `/hello/x`.
    pub strip: usize,
    /// The limit of the function's tenant.
    pub(crate) tenant: Option<Arc<Tenant>>,
}

impl Match {
    fn new(seat: Arc<Seat>, strip: usize) -> Self {
        Self { seat, strip, tenant: None }
    }
}

impl Deref for Match {
    type Target = Seat;

    fn deref(&self) -> &Seat {
        &self.seat
    }
}

/// The records that a function's routes are in.
struct Sites {
    function: Label,
    keys: Vec<Arc<str>>,
}

impl Labelled for Sites {
    fn label(&self) -> &Label {
        &self.function
    }
}

/// The routes of one snapshot. A clone shares everything.
#[derive(Clone, Default)]
pub struct Table {
    snapshot: Arc<Snapshot>,
    /// Every alias, by [`seat::name`].
    aliases: Map<Seat>,
    any_host: Arc<Node>,
    hosts: Hosts,
    /// A route leads straight to the alias as it is, so it is made anew with it.
    sites: Map<Sites>,
    tenants: Tenants,
}

impl Table {
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        Self::default().next(snapshot)
    }

    /// `rate` is that of tenant `default`, unless its record says otherwise.
    pub(crate) fn with_rate(snapshot: Arc<Snapshot>, rate: Option<Tempo>) -> Self {
        Self { tenants: Tenants::new(rate), ..Self::default() }.next(snapshot)
    }

    /// The limit of the function that `found` leads to.
    pub(super) fn tenant(&self, found: &Match) -> Option<Arc<Tenant>> {
        self.tenants.get(&found.target.tenant).cloned()
    }

    pub(super) fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The table of `snapshot`: costs what changed since this one's, and a changed function's routes.
    #[must_use]
    pub fn next(&self, snapshot: Arc<Snapshot>) -> Self {
        let mut table = self.clone();
        let mut stale = Vec::new();
        for change in self.snapshot.functions.diff(&snapshot.functions) {
            let (old, new, name) = match change {
                DiffItem::Add(name, view) => (None, Some(view), name),
                DiffItem::Update { old: (_, old), new: (name, new) } => (Some(old), Some(new), name),
                DiffItem::Remove(name, view) => (Some(view), None, name),
            };
            table.replace(old.map(|view| &**view), new.map(|view| &**view));
            stale.extend(table.sites.get(name.as_str()).into_iter().flat_map(|sites| sites.keys.iter().cloned()));
        }
        for change in self.snapshot.routes.diff(&snapshot.routes) {
            match change {
                DiffItem::Add(key, place) => table.put(key, place),
                DiffItem::Remove(key, place) => table.remove(key, place),
                DiffItem::Update { old: (key, old), new: (_, new) } => {
                    table.remove(key, old);
                    table.put(key, new);
                }
            }
        }
        for place in stale.iter().filter_map(|key| snapshot.routes.get(key)) {
            table.set(place, place);
        }
        if !Arc::ptr_eq(&self.snapshot.tenants, &snapshot.tenants) {
            table.tenants = self.tenants.next(&snapshot.tenants);
        }
        table.snapshot = snapshot;
        table
    }

    /// A function's aliases by those of now.
    fn replace(&mut self, old: Option<&FunctionView>, new: Option<&FunctionView>) {
        let gone = old.into_iter().flat_map(|view| view.aliases.values());
        let mut last: Vec<Arc<Seat>> = gone
            .filter_map(|target| seat::name(&target.function, &target.alias, |name| self.aliases.take(name)))
            .collect();
        for target in new.into_iter().flat_map(|view| view.aliases.values()) {
            let known = last.iter().position(|seat| seat.target.alias == target.alias);
            let known = known.map(|at| last.swap_remove(at));
            self.aliases.put(Arc::new(Seat::of(target, known.as_deref())));
        }
    }

    fn put(&mut self, key: &Arc<str>, place: &Place) {
        for function in functions(place) {
            let keys = self.sites.take(function.as_str()).map(|sites| sites.keys.clone()).unwrap_or_default();
            let mut keys = keys;
            keys.push(Arc::clone(key));
            keys.shrink_to_fit();
            self.sites.put(Arc::new(Sites { function: Label::new(function.as_str()), keys }));
        }
        self.set(place, place);
    }

    fn remove(&mut self, key: &Arc<str>, place: &Place) {
        for function in functions(place) {
            let Some(sites) = self.sites.take(function.as_str()) else { continue };
            let keys: Vec<_> = sites.keys.iter().filter(|known| *known != key).cloned().collect();
            if !keys.is_empty() {
                self.sites.put(Arc::new(Sites { function: sites.function.clone(), keys }));
            }
        }
        self.set(place, &[]);
    }

    /// At the place of `place`, what `routes` lead to. One whose alias is missing takes nothing.
    fn set(&mut self, place: &Place, routes: &[Arc<Route>]) {
        let Some(one) = place.first() else { return };
        let mut routes: Vec<&Arc<Route>> = routes.iter().collect();
        // The most specific first: more headers, then named methods.
        routes.sort_by_key(|route| (std::cmp::Reverse(route.headers.len()), route.methods.is_empty()));
        let seat = |route: &Arc<Route>| {
            let alias = seat::name(&route.function, &route.alias, |name| self.aliases.get(name))?;
            Some(Arc::new(alias.by(route)))
        };
        let seats = Seats::new(routes.into_iter().filter_map(seat).collect());
        match &one.host {
            None => self.any_host.set(&one.path, seats),
            Some(host) => self.hosts.set(host, &one.path, seats),
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
        let mut visit = |reached: Reached<'_>| choose(&reached, &ask, &mut wrong_method);
        let routed = |seat| Match::new(seat, 0);
        let named = ask.host.filter(|host| !self.hosts.is_empty() || host.contains(TAGGED)).and_then(|host| {
            let host = host::bare(host);
            let own = self.hosts.own(&host).and_then(|tree| tree.find(Some(rest), &mut visit));
            // A tag's host is a name of its own: before every route of another host or of all.
            let own = own.or_else(|| self.by_tag(host.split('.').next()?));
            own.or_else(|| self.hosts.above(&host).find_map(|tree| tree.find(Some(rest), &mut visit)))
        });
        if let Some(seat) = named {
            return Ok(routed(seat));
        }
        let (segment, more) = tree::first(rest);
        let hash = Hash::of(segment);
        if let Some(seat) = self.any_host.find_literal((hash, segment, more), &mut visit) {
            return Ok(routed(seat));
        }
        // As if each function had the route `/<function>/*`.
        if let Some(seat) = self.aliases.find(hash, segment) {
            return Ok(Match::new(Arc::clone(seat), segment.len() + 1));
        }
        let found = self.by_tag(segment).map(|seat| Match::new(seat, segment.len() + 1));
        let found = found.or_else(|| self.any_host.find_other(Some(rest), &mut visit).map(routed));
        found.ok_or_else(|| match wrong_method {
            Some(allowed) => not_allowed(&ask, allowed),
            None => missed(),
        })
    }

    /// An alias by `tag---name`: `/tag---name` and all below it, or the host `tag---name.…` with the whole path.
    fn by_tag(&self, text: &str) -> Option<Arc<Seat>> {
        let (tag, name) = text.split_once(TAGGED)?;
        let seat = match tag {
            "live" => self.aliases.get(name),
            tag => self.aliases.get(&format!("{name}/{tag}")),
        };
        seat.map(Arc::clone)
    }
}

/// The place's route that takes the request. What it would take by another method is noted.
fn choose(reached: &Reached<'_>, ask: &Ask<'_>, wrong: &mut Option<Vec<String>>) -> Option<Arc<Seat>> {
    for seat in reached.seats.iter().filter(|seat| seat.fits(ask.headers, reached.has_rest)) {
        match seat.refuses(ask.method) {
            Some(taken) => wrong.get_or_insert_default().extend_from_slice(taken),
            None => return Some(Arc::clone(seat)),
        }
    }
    None
}

/// Those that have a route in the place, each once.
fn functions(place: &Place) -> impl Iterator<Item = &FunctionName> {
    let earlier = |at: usize| place.iter().take(at).map(|route| &route.function);
    place.iter().enumerate().filter_map(move |(at, route)| {
        (!earlier(at).any(|function| *function == route.function)).then_some(&route.function)
    })
}

fn not_allowed(ask: &Ask<'_>, mut methods: Vec<String>) -> Fault {
    methods.sort_unstable();
    methods.dedup();
    let detail = format!("{} {}: the route takes {}", ask.method, ask.path, methods.join(", "));
    Fault::new(Code::MethodNotAllowed, detail)
}
