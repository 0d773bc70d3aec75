//! The hosts that have routes of their own: by name, and by `*.` and a name for everything below it.

use super::{
    map::Map,
    tree::{Node, Seats},
};
use std::{borrow::Cow, sync::Arc};

/// A longer name is no host's (RFC 1035 §2.3.4), so a request cannot ask for a longer walk.
const NAME_MAX: usize = 253;

#[derive(Clone, Default)]
pub(super) struct Hosts {
    exact: Map<Node>,
    /// By what follows the `*.`.
    below: Map<Node>,
}

impl Hosts {
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty()
    }

    pub(super) fn set(&mut self, host: &str, path: &str, seats: Option<Seats>) {
        let (hosts, name) = match host.strip_prefix("*.") {
            Some(name) => (&mut self.below, name),
            None => (&mut self.exact, host),
        };
        let mut tree = hosts.take(name).unwrap_or_else(|| Arc::new(Node::new(name)));
        tree.set(path, seats);
        if !tree.is_empty() {
            hosts.put(tree);
        }
    }

    /// The tree of a bare host's own name.
    pub(super) fn own(&self, host: &str) -> Option<&Arc<Node>> {
        self.exact.get(host)
    }

    /// The trees of the names above a bare host, the longest first.
    pub(super) fn above<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a Arc<Node>> {
        let above = |name: &&'a str| name.split_once('.').map(|(_, above)| above);
        let is_name = !self.below.is_empty() && host.len() <= NAME_MAX;
        let names = std::iter::successors(is_name.then_some(host), move |name| above(name)).skip(1);
        names.filter_map(|name| self.below.get(name))
    }
}

/// Without the port and in lower case (RFC 9110 §4.2.3): most clients send it so already. The dot at the end of an
/// absolute name is no part of it either.
pub(super) fn bare(host: &str) -> Cow<'_, str> {
    let bare = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    match bare.bytes().any(|b| b.is_ascii_uppercase()) {
        true => Cow::Owned(bare.to_ascii_lowercase()),
        false => Cow::Borrowed(bare),
    }
}
