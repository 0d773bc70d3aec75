//! The paths of one host as a tree by segments. Trees share what a change did not touch.
//!
//! At each segment a literal goes before a parameter, and a parameter before `*`; where a choice leads to no route that
//! takes the request, the next one is tried. A lookup visits as many nodes as the path has segments, and more only where
//! parameters stand beside literals.

use imbl::HashMap;
use std::sync::Arc;
use types::{
    Route,
    route::{Segment, segments},
};
use wire::snapshot::Place;

/// A node with more children has them in a map.
const FEW: usize = 8;

#[derive(Clone, Default)]
pub(super) struct Node {
    literals: Literals,
    parameter: Option<Arc<Node>>,
    /// Routes that end here.
    exact: Option<Place>,
    /// Routes that end in `*` here.
    below: Option<Place>,
}

#[derive(Clone)]
enum Literals {
    Few(Vec<(Box<str>, Arc<Node>)>),
    Many(HashMap<Box<str>, Arc<Node>>),
}

impl Default for Literals {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

/// A place that the path leads to, and whether anything of the path is left there for a `*`.
pub(super) struct Reached<'a> {
    pub place: &'a [Arc<Route>],
    pub has_rest: bool,
}

impl Node {
    pub(super) fn is_empty(&self) -> bool {
        self.literals.is_empty() && self.parameter.is_none() && self.exact.is_none() && self.below.is_none()
    }

    /// The first answer of `visit` to a place that the path leads to, the most specific one first. `rest` is the path
    /// without the '/' that led here; `None` is its end.
    pub(super) fn find<T>(&self, rest: Option<&str>, visit: &mut impl FnMut(Reached<'_>) -> Option<T>) -> Option<T> {
        self.find_literal(rest, visit).or_else(|| self.find_other(rest, visit))
    }

    /// What ends here or goes on with a literal.
    pub(super) fn find_literal<T>(
        &self,
        rest: Option<&str>,
        visit: &mut impl FnMut(Reached<'_>) -> Option<T>,
    ) -> Option<T> {
        let Some(rest) = rest else {
            return self.exact.as_ref().and_then(|place| visit(Reached { place, has_rest: false }));
        };
        let (segment, more) = first(rest);
        self.literals.get(segment).and_then(|child| child.find(more, visit))
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
            let place = self.below.as_ref()?;
            visit(Reached { place, has_rest: rest.is_some_and(|rest| !rest.is_empty()) })
        })
    }

    /// Puts what stands at the place of `path`, or takes it away. Nodes that nothing is left in go too.
    pub(super) fn set(self: &mut Arc<Self>, path: &str, place: Option<Place>) {
        let segments: Vec<Segment<'_>> = segments(path).collect();
        Arc::make_mut(self).set_at(&segments, place);
    }

    fn set_at(&mut self, segments: &[Segment<'_>], place: Option<Place>) {
        match segments {
            [] => self.exact = place,
            [Segment::Rest | Segment::RestParameter(_), ..] => self.below = place,
            [Segment::Literal(text), more @ ..] => {
                let mut child = self.literals.get(text).cloned().unwrap_or_default();
                Arc::make_mut(&mut child).set_at(more, place);
                self.literals.put(text, child);
            }
            [Segment::Parameter(_), more @ ..] => {
                let mut child = self.parameter.take().unwrap_or_default();
                Arc::make_mut(&mut child).set_at(more, place);
                self.parameter = (!child.is_empty()).then_some(child);
            }
        }
    }
}

impl Literals {
    fn is_empty(&self) -> bool {
        match self {
            Self::Few(few) => few.is_empty(),
            Self::Many(many) => many.is_empty(),
        }
    }

    fn get(&self, segment: &str) -> Option<&Arc<Node>> {
        match self {
            Self::Few(few) => few.iter().find(|(text, _)| **text == *segment).map(|(_, node)| node),
            Self::Many(many) => many.get(segment),
        }
    }

    fn put(&mut self, segment: &str, child: Arc<Node>) {
        match self {
            Self::Few(few) => {
                few.retain(|(text, _)| **text != *segment);
                if !child.is_empty() {
                    few.push((segment.into(), child));
                }
                few.shrink_to_fit();
                if few.len() > FEW {
                    *self = Self::Many(few.drain(..).collect());
                }
            }
            Self::Many(many) if child.is_empty() => drop(many.remove(segment)),
            Self::Many(many) => drop(many.insert(segment.into(), child)),
        }
    }
}

fn first(rest: &str) -> (&str, Option<&str>) {
    match memchr::memchr(b'/', rest.as_bytes()) {
        Some(end) => (&rest[..end], Some(&rest[end + 1..])),
        None => (rest, None),
    }
}
