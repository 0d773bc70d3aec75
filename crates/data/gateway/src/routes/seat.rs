//! What a request is led to: everything that serving it asks for, found by one lookup.

use super::map::{Label, Labelled};
use crate::edge::Gate;
use http::{HeaderMap, Method};
use std::sync::Arc;
use types::{AliasName, FunctionName, Route};
use wire::Target;

/// An alias with its gate, and the route that leads there: all of it behind one pointer.
pub struct Seat {
    label: Label,
    pub target: Arc<Target>,
    /// `None` where the function asks nothing of the gateway.
    pub(crate) gate: Option<Arc<Gate>>,
    /// `None` is the route that each function has by itself.
    pub route: Option<Arc<Route>>,
    wants: Wants,
}

/// What a route asks of a request besides its place; most ask nothing and are not looked at for it.
#[derive(Default)]
struct Wants {
    method: bool,
    header: bool,
    /// The path goes on below the route's place.
    rest: bool,
}

impl Seat {
    /// Of an alias, by its own name.
    pub(super) fn of(target: &Arc<Target>, last: Option<&Self>) -> Self {
        let gate = Gate::of(target, last.and_then(|seat| seat.gate.as_deref()));
        let label = name(&target.function, &target.alias, Label::new);
        Self { label, target: Arc::clone(target), gate, route: None, wants: Wants::default() }
    }

    /// The same alias, by a route.
    pub(super) fn by(&self, route: &Arc<Route>) -> Self {
        let wants = Wants {
            method: !route.methods.is_empty(),
            header: !route.headers.is_empty(),
            rest: route.path.ends_with("+}"),
        };
        let (target, gate) = (Arc::clone(&self.target), self.gate.clone());
        Self { label: Label::default(), target, gate, route: Some(Arc::clone(route)), wants }
    }

    /// Whether the route's headers are there, and more of the path where it wants that.
    pub(super) fn fits(&self, headers: &HeaderMap, has_rest: bool) -> bool {
        let has = |(name, value): (&String, &String)| {
            headers.get_all(name.as_str()).iter().any(|sent| sent.as_bytes() == value.as_bytes())
        };
        (has_rest || !self.wants.rest)
            && (!self.wants.header || self.route.as_ref().is_none_or(|route| route.headers.iter().all(has)))
    }

    /// The methods that the route takes, where `method` is none of them.
    pub(super) fn refuses(&self, method: &Method) -> Option<&[String]> {
        let route = self.route.as_ref().filter(|_| self.wants.method)?;
        (!route.methods.iter().any(|taken| taken == method.as_str())).then_some(&route.methods)
    }
}

impl Labelled for Seat {
    fn label(&self) -> &Label {
        &self.label
    }
}

/// What an alias is found by: the function's name for `live`, and with the alias's behind a '/' for others.
pub(super) fn name<T>(function: &FunctionName, alias: &AliasName, with: impl FnOnce(&str) -> T) -> T {
    match alias.as_str() {
        "live" => with(function.as_str()),
        alias => with(&format!("{function}/{alias}")),
    }
}
