//! What control tells everybody who serves: functions, aliases, routes, as one immutable picture.

use std::{collections::HashMap, sync::Arc};
use tokio::sync::watch;
use types::{AliasName, FunctionName, Revision, Route};

/// A revision with its share of the traffic in per cent.
#[derive(Debug, Clone)]
pub struct Weighted {
    pub revision: Arc<Revision>,
    pub weight: u8,
}

/// An alias, ready to be called.
#[derive(Debug, Clone)]
pub struct Target {
    pub function: FunctionName,
    pub alias: AliasName,
    /// One or two; weights add up to 100.
    pub revisions: Arc<[Weighted]>,
}

/// A function as those who serve see it.
#[derive(Debug, Clone)]
pub struct FunctionView {
    pub name: FunctionName,
    pub aliases: HashMap<AliasName, Arc<Target>>,
}

/// The whole picture at one global revision number. Functions are shared between pictures.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub version: u64,
    pub functions: HashMap<FunctionName, Arc<FunctionView>>,
    pub routes: Vec<Arc<Route>>,
    /// Most calls at once of the functions that have a limit of their own; 0 stops one.
    pub limits: Arc<HashMap<FunctionName, u32>>,
}

impl Snapshot {
    pub fn target(&self, function: &FunctionName, alias: &AliasName) -> Option<&Arc<Target>> {
        self.functions.get(function)?.aliases.get(alias)
    }
}

/// The picture as it changes; the last good one stays when control is gone.
pub type Snapshots = watch::Receiver<Arc<Snapshot>>;
