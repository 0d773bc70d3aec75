//! The parts of the picture, each built from the few records it consists of.

use super::{
    api_key::Kept,
    key,
    read::{Owned, Stored, get, list},
};
use std::{collections::HashMap, sync::Arc};
use store::Records;
use types::{
    Alias, ApiKey, Fault, FunctionName, Revision, RevisionId, Route, TenantName, record, tenant::TenantLimits,
};
use wire::{FunctionView, Target, Weighted, snapshot::Place};

/// What a record belongs to.
pub(crate) enum Part {
    Function(FunctionName),
    Route,
    Limit,
    Keys,
    Tenants,
}

/// Where the records are that functions and routes are made of.
pub(crate) const PARTS: [&str; 2] = [key::ALIASES, key::ROUTES];

/// The part that a change of `key` makes stale. Revisions are immutable and matter only where an alias points to them,
/// so aliases alone decide.
pub(crate) fn part(key: &str) -> Option<Part> {
    if key.starts_with(key::ROUTES) {
        return Some(Part::Route);
    }
    if key.starts_with(key::LIMITS) {
        return Some(Part::Limit);
    }
    if key.starts_with(key::KEYS) {
        return Some(Part::Keys);
    }
    if key.starts_with(key::TENANTS) {
        return Some(Part::Tenants);
    }
    key::function_of_alias(key).map(Part::Function)
}

/// A function from its aliases; `None` where it has none. Revisions that `last` knows are shared with it.
///
/// # Errors
/// `internal` where a record is damaged or an alias points to nothing.
pub(crate) fn function(
    records: &dyn Records,
    name: &FunctionName,
    last: Option<&FunctionView>,
) -> Result<Option<FunctionView>, Fault> {
    loop {
        let seen = records.version();
        match read(records, name, last) {
            // Aliases and revisions are read one by one; a commit between may have pruned what was just moved away from.
            Err(_) if records.version() != seen => {}
            result => return result,
        }
    }
}

fn read(
    records: &dyn Records,
    name: &FunctionName,
    last: Option<&FunctionView>,
) -> Result<Option<FunctionView>, Fault> {
    let known: HashMap<u32, &Arc<Revision>> = last
        .iter()
        .flat_map(|view| view.aliases.values())
        .flat_map(|target| target.revisions.iter())
        .map(|weighted| (weighted.revision.id.number, &weighted.revision))
        .collect();
    // Read anew: a function may have been deleted and made again for another tenant since the last picture.
    let tenant = owner(records, name)?;
    let mut aliases = HashMap::new();
    for alias in list::<Alias>(records, &key::aliases(name))? {
        let weighted = |target: &record::Target| {
            let revision = match known.get(&target.revision) {
                Some(revision) => Arc::clone(revision),
                None => Arc::new(revision(records, name, target.revision)?),
            };
            Ok(Weighted { revision, weight: target.weight })
        };
        let revisions = alias.targets.iter().map(weighted).collect::<Result<Arc<[_]>, Fault>>()?;
        let target = Target { function: name.clone(), tenant: tenant.clone(), alias: alias.name.clone(), revisions };
        aliases.insert(alias.name, Arc::new(target));
    }
    Ok((!aliases.is_empty()).then(|| FunctionView { name: name.clone(), aliases }))
}

fn revision(records: &dyn Records, name: &FunctionName, number: u32) -> Result<Revision, Fault> {
    let id = RevisionId { function: name.clone(), number };
    let stored: Option<Stored<Revision>> = get(records, &key::revision(&id))?;
    stored
        .map(|stored| stored.value)
        .ok_or_else(|| Fault::internal(format!("an alias points to `{id}`, which is not there")))
}

fn owner(records: &dyn Records, name: &FunctionName) -> Result<TenantName, Fault> {
    Ok(get::<Owned>(records, &key::function(name))?.map(|stored| stored.value.tenant).unwrap_or_default())
}

/// The limits of all tenants that have a record.
///
/// # Errors
/// `internal` where a record is damaged.
pub(crate) fn tenants(records: &dyn Records) -> Result<HashMap<TenantName, TenantLimits>, Fault> {
    let one = |entry: &store::Entry| {
        let name = entry.key.strip_prefix(key::TENANTS)?.parse().ok()?;
        Some(super::read::decode::<TenantLimits>(entry).map(|stored| (name, stored.value)))
    };
    records.list(key::TENANTS).iter().filter_map(one).collect()
}

/// All functions' limits: few have one.
///
/// # Errors
/// `internal` where a record is damaged.
pub(crate) fn limits(records: &dyn Records) -> Result<HashMap<FunctionName, u32>, Fault> {
    let limit = |entry: &store::Entry| {
        let name = key::function_of_limit(&entry.key)?;
        Some(super::read::decode::<u32>(entry).map(|stored| (name, stored.value)))
    };
    records.list(key::LIMITS).iter().filter_map(limit).collect()
}

/// All API keys by their hashes.
///
/// # Errors
/// `internal` where a record is damaged.
pub(crate) fn keys(records: &dyn Records) -> Result<HashMap<[u8; 32], Arc<ApiKey>>, Fault> {
    let all = list::<Kept>(records, key::KEYS)?;
    all.into_iter().map(|kept| Ok((kept.hash()?, Arc::new(kept.key)))).collect()
}

/// The routes of one record.
pub(crate) fn routes(records: &dyn Records, key: &str) -> Result<Place, Fault> {
    let stored: Option<Stored<Vec<Route>>> = get(records, key)?;
    Ok(stored.into_iter().flat_map(|stored| stored.value).map(Arc::new).collect())
}
