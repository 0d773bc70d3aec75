//! Routes: who has which place, decided so that two that clash never stand together.
//!
//! All routes of one host and shape of path are one record, so two functions that want the same place meet in it. `/<function>/…`
//! is every function's by default. An explicit route wins over it, so a *new* function is refused while another one has
//! a route that would take its whole default place; an existing function's default place may be taken knowingly.

use super::{
    Registry, encode, key,
    read::{Owner, Site, Stored, get, no_function},
};
use std::collections::BTreeMap;
use store::{Records, Txn, Version};
use types::{Code, Fault, FunctionName, Route, Timestamp};

/// Bounds what one function adds to the picture that every server holds.
const ROUTES_MAX: usize = 1000;

/// A few places being changed together.
pub(super) struct Plan<'a> {
    records: &'a dyn Records,
    places: BTreeMap<Site, Place>,
}

struct Place {
    read: Option<Version>,
    before: Vec<Route>,
    after: Vec<Route>,
}

impl<'a> Plan<'a> {
    pub fn new(records: &'a dyn Records) -> Self {
        Self { records, places: BTreeMap::new() }
    }

    fn place(&mut self, site: &Site) -> Result<&mut Place, Fault> {
        if !self.places.contains_key(site) {
            let found: Option<Stored<Vec<Route>>> = get(self.records, &key::route(site))?;
            let read = found.as_ref().map(|stored| stored.version);
            let before = found.map(|stored| stored.value).unwrap_or_default();
            self.places.insert(site.clone(), Place { read, after: before.clone(), before });
        }
        self.places.get_mut(site).ok_or_else(|| Fault::internal("a place was lost while it was read"))
    }

    /// Takes out the function's routes at `site` that `which` picks.
    pub fn remove(&mut self, name: &FunctionName, site: &Site, which: impl Fn(&Route) -> bool) -> Result<usize, Fault> {
        let place = self.place(site)?;
        let len = place.after.len();
        place.after.retain(|route| route.function != *name || !which(route));
        Ok(len - place.after.len())
    }

    /// Puts a route in. The same function's routes that clash with it give way to an explicit route; one from the
    /// manifest gives way to an explicit one.
    ///
    /// # Errors
    /// `route_conflict` with the other function's name; `manifest_invalid` where two of one manifest clash.
    pub fn insert(&mut self, route: Route) -> Result<(), Fault> {
        let place = self.place(&Site::of(&route))?;
        let clashing = || place.after.iter().filter(|other| other.clashes_with(&route));
        if let Some(other) = clashing().find(|other| other.function != route.function) {
            return Err(conflict(&route, &other.function));
        }
        if route.from_manifest
            && let Some(own) = clashing().next()
        {
            return if own.from_manifest { Err(twice(&route)) } else { Ok(()) };
        }
        place.after.retain(|own| !own.clashes_with(&route));
        place.after.push(route);
        place.after.sort();
        Ok(())
    }

    /// Checks that a new function's default place is free.
    ///
    /// # Errors
    /// `route_conflict` with the other function's name.
    pub fn check_default(&mut self, name: &FunctionName) -> Result<(), Fault> {
        for path in [format!("/{name}"), format!("/{name}/*")] {
            let place = self.place(&Site { host: None, path })?;
            if let Some(other) = place.after.iter().find(|route| route.function != *name) {
                return Err(conflict(other, &other.function));
            }
        }
        Ok(())
    }

    /// Adds everything that was looked at, and what changes, to a transaction; tells the owner its places.
    pub fn finish(self, owner: &mut Owner, mut txn: Txn) -> Result<Txn, Fault> {
        let name = owner.function.name.clone();
        for (site, place) in self.places {
            let path = key::route(&site);
            txn = txn.unchanged(&path, place.read);
            if place.after.iter().any(|route| route.function == name) {
                owner.sites.insert(site);
            } else {
                owner.sites.remove(&site);
            }
            if place.after != place.before {
                txn = if place.after.is_empty() { txn.delete(path) } else { txn.put(path, encode(&place.after)?) };
            }
        }
        if owner.sites.len() > ROUTES_MAX {
            return Err(Fault::new(Code::BadRequest, format!("`{name}` would have more than {ROUTES_MAX} routes")));
        }
        Ok(txn)
    }
}

fn twice(route: &Route) -> Fault {
    Fault::new(Code::ManifestInvalid, format!("trigger: two routes for `{}` match the same requests", route.path))
}

fn conflict(route: &Route, other: &FunctionName) -> Fault {
    let host = route.host.as_deref().unwrap_or("");
    let methods = if route.methods.is_empty() { "every method".into() } else { route.methods.join(", ") };
    Fault::new(Code::RouteConflict, format!("`{host}{}` ({methods}) belongs to function `{other}`", route.path))
}

/// A route that somebody asks for, as it is stored.
///
/// # Errors
/// `bad_request`.
fn explicit(route: Route) -> Result<Route, Fault> {
    Ok(Route { from_manifest: false, ..route.normal()? })
}

impl Registry {
    /// Sets an explicit route; the function's own routes that it clashes with give way.
    ///
    /// # Errors
    /// `bad_request`, `function_not_found`, `alias_not_found`, `route_conflict`, `storage_full`.
    pub(crate) async fn put_route(&self, route: Route) -> Result<Route, Fault> {
        let route = explicit(route)?;
        let name = &route.function;
        let now = Timestamp::from(std::time::SystemTime::now());
        let plan = || {
            let mut owner = self.owner(name)?.ok_or_else(|| no_function(name))?;
            let alias = self.alias(name, &route.alias)?;
            let mut plan = Plan::new(&*self.records);
            plan.insert(route.clone())?;
            let txn = Txn::new()
                .version(key::function(name), owner.version)
                .version(key::alias(name, &route.alias), alias.version);
            let txn = plan.finish(&mut owner.value, txn)?;
            owner.value.function.updated = now;
            Ok((txn.put(key::function(name), encode(&owner.value)?), ()))
        };
        self.change(plan).await?;
        Ok(route)
    }

    /// Deletes the function's route with this host, path and methods.
    ///
    /// # Errors
    /// `bad_request`, `function_not_found`, `route_not_found`, `storage_full`.
    pub(crate) async fn delete_route(&self, route: Route) -> Result<(), Fault> {
        let route = explicit(route)?;
        let name = &route.function;
        let now = Timestamp::from(std::time::SystemTime::now());
        let plan = || {
            let mut owner = self.owner(name)?.ok_or_else(|| no_function(name))?;
            let mut plan = Plan::new(&*self.records);
            let same = |other: &Route| {
                let mut methods = other.methods.clone();
                methods.sort();
                methods == route.methods && other.headers == route.headers && other.path == route.path
            };
            if plan.remove(name, &Site::of(&route), same)? == 0 {
                let detail = format!("`{name}` has no route `{}` with these methods and headers", route.path);
                return Err(Fault::new(Code::RouteNotFound, detail));
            }
            let txn = plan.finish(&mut owner.value, Txn::new().version(key::function(name), owner.version))?;
            owner.value.function.updated = now;
            Ok((txn.put(key::function(name), encode(&owner.value)?), ()))
        };
        self.change(plan).await.map(|_| ())
    }
}
