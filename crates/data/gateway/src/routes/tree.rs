//! The paths of one host as a tree by segments. Trees share what a change did not touch.
//!
//! At each segment a literal goes before a parameter, and a parameter before `*`; where a choice leads to no route that
//! takes the request, the next one is tried. A lookup visits as many nodes as the path has segments, and more only where
//! parameters stand beside literals.

use super::{
    map::{Hash, Label, Labelled, Map},
    seat::Seat,
};
use std::sync::Arc;
use types::route::{Segment, segments};

#[derive(Clone, Default)]
pub(super) struct Node {
    /// The segment that leads here; of a host's tree, the host.
    label: Label,
    literals: Map<Node>,
    parameter: Option<Arc<Node>>,
    /// Routes that end here.
    exact: Option<Seats>,
    /// Routes that end in `*` here.
    below: Option<Seats>,
}

/// The routes of a place, the most specific first. Nearly always it is one.
#[derive(Clone)]
pub(super) enum Seats {
    One(Arc<Seat>),
    Many(Arc<Vec<Arc<Seat>>>),
}

/// A place that the path leads to, and whether anything of the path is left there for a `*`.
pub(super) struct Reached<'a> {
    pub seats: &'a [Arc<Seat>],
    pub has_rest: bool,
}

impl Seats {
    /// `None` of none.
    pub(super) fn new(mut seats: Vec<Arc<Seat>>) -> Option<Self> {
        match seats.len() {
            0 => None,
            1 => seats.pop().map(Self::One),
            _ => Some(Self::Many(Arc::new(seats))),
        }
    }

    fn all(&self) -> &[Arc<Seat>] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

impl Labelled for Node {
    fn label(&self) -> &Label {
        &self.label
    }
}

impl Node {
    pub(super) fn new(label: &str) -> Self {
        Self { label: Label::new(label), ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.literals.is_empty() && self.parameter.is_none() && self.exact.is_none() && self.below.is_none()
    }

    /// The first answer of `visit` to a place that the path leads to, the most specific one first. `rest` is the path
    /// without the '/' that led here; `None` is its end.
    pub(super) fn find<T>(&self, rest: Option<&str>, visit: &mut impl FnMut(Reached<'_>) -> Option<T>) -> Option<T> {
        let literal = match rest {
            None => self.end(visit),
            Some(rest) => {
                let (segment, more) = first(rest);
                self.literals.get(segment).and_then(|child| child.find(more, visit))
            }
        };
        literal.or_else(|| self.find_other(rest, visit))
    }

    fn end<T>(&self, visit: &mut impl FnMut(Reached<'_>) -> Option<T>) -> Option<T> {
        self.exact.as_ref().and_then(|seats| visit(Reached { seats: seats.all(), has_rest: false }))
    }

    /// What goes on with the literal `segment`, whose hash is known.
    pub(super) fn find_literal<T>(
        &self,
        (hash, segment, more): (Hash, &str, Option<&str>),
        visit: &mut impl FnMut(Reached<'_>) -> Option<T>,
    ) -> Option<T> {
        self.literals.find(hash, segment).and_then(|child| child.find(more, visit))
    }

    /// What goes on with a parameter or a `*`.
    pub(super) fn find_other<T>(
        &self,
        rest: Option<&str>,
        visit: &mut impl FnMut(Reached<'_>) -> Option<T>,
    ) -> Option<T> {
        let by_parameter = match (&self.parameter, rest.map(first)) {
            (Some(child), Some((segment, more))) if !segment.is_empty() => child.find(more, visit),
            _ => None,
        };
        by_parameter.or_else(|| {
            let seats = self.below.as_ref()?.all();
            visit(Reached { seats, has_rest: rest.is_some_and(|rest| !rest.is_empty()) })
        })
    }

    /// Puts what stands at the place of `path`, or takes it away. Nodes that nothing is left in go too.
    pub(super) fn set(self: &mut Arc<Self>, path: &str, seats: Option<Seats>) {
        let segments: Vec<Segment<'_>> = segments(path).collect();
        Arc::make_mut(self).set_at(&segments, seats);
    }

    fn set_at(&mut self, segments: &[Segment<'_>], seats: Option<Seats>) {
        match segments {
            [] => self.exact = seats,
            [Segment::Rest | Segment::RestParameter(_), ..] => self.below = seats,
            [Segment::Literal(text), more @ ..] => {
                // Taken out, so that what nobody else holds is changed where it is.
                let mut child = self.literals.take(text).unwrap_or_else(|| Arc::new(Self::new(text)));
                Arc::make_mut(&mut child).set_at(more, seats);
                if !child.is_empty() {
                    self.literals.put(child);
                }
            }
            [Segment::Parameter(_), more @ ..] => {
                let mut child = self.parameter.take().unwrap_or_default();
                Arc::make_mut(&mut child).set_at(more, seats);
                self.parameter = (!child.is_empty()).then_some(child);
            }
        }
    }
}

/// The first segment, and what follows its '/'.
pub(super) fn first(rest: &str) -> (&str, Option<&str>) {
    match memchr::memchr(b'/', rest.as_bytes()) {
        Some(end) => (&rest[..end], Some(&rest[end + 1..])),
        None => (rest, None),
    }
}
