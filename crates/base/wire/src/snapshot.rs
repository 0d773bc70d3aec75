//! What control tells everybody who serves: functions, aliases, routes, as one immutable picture.

use imbl::OrdMap;
use std::{collections::HashMap, sync::Arc};
use tokio::sync::watch;
use types::{AliasName, ApiKey, FunctionName, Revision, Route, TenantName, tenant::TenantLimits};

/// A revision with its share of the traffic in per cent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weighted {
    pub revision: Arc<Revision>,
    pub weight: u8,
}

/// An alias, ready to be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub function: FunctionName,
    /// Whose limits count its calls.
    pub tenant: TenantName,
    pub alias: AliasName,
    /// One or two; weights add up to 100.
    pub revisions: Arc<[Weighted]>,
}

/// A function as those who serve see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionView {
    pub name: FunctionName,
    pub aliases: HashMap<AliasName, Arc<Target>>,
}

/// All routes of one host and shape of path.
pub type Place = Arc<[Arc<Route>]>;

/// The whole picture at one global revision number.
///
/// Pictures share what did not change, so that the next one costs what changed, and `OrdMap::diff` finds that without
/// looking at the rest.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub version: u64,
    pub functions: OrdMap<FunctionName, Arc<FunctionView>>,
    /// By the key of their record.
    pub routes: OrdMap<Arc<str>, Place>,
    /// Most calls at once of the functions that have a limit of their own; 0 stops one.
    pub limits: Arc<HashMap<FunctionName, u32>>,
    /// The limits of each tenant that has a record.
    pub tenants: Arc<HashMap<TenantName, TenantLimits>>,
    /// API keys by their SHA-256.
    pub keys: Arc<HashMap<[u8; 32], Arc<ApiKey>>>,
}

impl FunctionView {
    /// Whose the function is: the same for all its aliases.
    pub fn tenant(&self) -> Option<&TenantName> {
        self.aliases.values().next().map(|target| &target.tenant)
    }
}

impl Snapshot {
    pub fn target(&self, function: &FunctionName, alias: &AliasName) -> Option<&Arc<Target>> {
        self.functions.get(function)?.aliases.get(alias)
    }
}

/// The picture as it changes; the last good one stays when control is gone.
pub type Snapshots = watch::Receiver<Arc<Snapshot>>;
