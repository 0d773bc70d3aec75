//! Looking at the records: always from memory, never waiting.

use super::{Registry, key};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::{BTreeSet, HashSet};
use store::{Entry, Records, Version};
use types::{
    Alias, AliasName, Code, Deployment, Digest, Fault, Function, FunctionName, Revision, RevisionId, Route, TenantName,
    id::DeploymentId, route::shape,
};

/// A record's value with the version that its ETag tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored<T> {
    pub value: T,
    pub version: Version,
}

/// The place of a route: its host, and its path without the names of parameters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Site {
    pub host: Option<String>,
    pub path: String,
}

impl Site {
    pub fn of(route: &Route) -> Self {
        Self { host: route.host.clone(), path: shape(&route.path).into_owned() }
    }
}

/// A function with what it owns elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    #[serde(flatten)]
    pub function: Function,
    /// Where its routes are.
    #[serde(default)]
    pub sites: BTreeSet<Site>,
}

/// Of an [`Owner`], whose it is: its sites are not looked at.
#[derive(Debug, Deserialize)]
pub(crate) struct Owned {
    pub name: FunctionName,
    #[serde(default)]
    pub tenant: TenantName,
}

pub(crate) fn decode<T: DeserializeOwned>(entry: &Entry) -> Result<Stored<T>, Fault> {
    let value = serde_json::from_slice(&entry.value).map_err(|error| {
        Fault::internal(format!(
            "the record `{}` is damaged, or a newer version of mayfly wrote it: {error}",
            entry.key
        ))
    })?;
    Ok(Stored { value, version: entry.version })
}

pub(crate) fn get<T: DeserializeOwned>(records: &dyn Records, key: &str) -> Result<Option<Stored<T>>, Fault> {
    records.get(key).as_ref().map(decode).transpose()
}

pub(crate) fn list<T: DeserializeOwned>(records: &dyn Records, prefix: &str) -> Result<Vec<T>, Fault> {
    records.list(prefix).iter().map(|entry| Ok(decode(entry)?.value)).collect()
}

pub(crate) fn no_function(name: &FunctionName) -> Fault {
    Fault::new(Code::FunctionNotFound, format!("there is no function `{name}`"))
}

impl Registry {
    pub(super) fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Stored<T>>, Fault> {
        get(&*self.records, key)
    }

    pub(super) fn list<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<T>, Fault> {
        list(&*self.records, prefix)
    }

    pub(super) fn owner(&self, name: &FunctionName) -> Result<Option<Stored<Owner>>, Fault> {
        self.get(&key::function(name))
    }

    /// All functions, by name.
    pub(crate) fn functions(&self) -> Result<Vec<Function>, Fault> {
        Ok(self.list::<Owner>(key::FUNCTIONS)?.into_iter().map(|owner| owner.function).collect())
    }

    /// # Errors
    /// `function_not_found`.
    pub(crate) fn function(&self, name: &FunctionName) -> Result<Stored<Function>, Fault> {
        let owner = self.owner(name)?.ok_or_else(|| no_function(name))?;
        Ok(Stored { value: owner.value.function, version: owner.version })
    }

    /// The function's revisions, newest first.
    pub(crate) fn revisions(&self, name: &FunctionName) -> Result<Vec<Revision>, Fault> {
        let mut revisions: Vec<Revision> = self.list(&key::revisions(name))?;
        revisions.reverse();
        Ok(revisions)
    }

    /// # Errors
    /// `revision_not_found`.
    pub(crate) fn revision(&self, id: &RevisionId) -> Result<Revision, Fault> {
        let found = self.get(&key::revision(id))?;
        found.map(|stored| stored.value).ok_or_else(|| {
            Fault::new(Code::RevisionNotFound, format!("`{}` has no revision {}", id.function, id.number))
        })
    }

    /// The revision of `name` that was made of `content`.
    pub(crate) fn revision_of(&self, name: &FunctionName, content: &Digest) -> Result<Option<Revision>, Fault> {
        Ok(self.revisions(name)?.into_iter().find(|revision| revision.content == *content))
    }

    pub(crate) fn aliases(&self, name: &FunctionName) -> Result<Vec<Alias>, Fault> {
        self.list(&key::aliases(name))
    }

    /// # Errors
    /// `function_not_found`, `alias_not_found`.
    pub(crate) fn alias(&self, name: &FunctionName, alias: &AliasName) -> Result<Stored<Alias>, Fault> {
        if let Some(found) = self.get(&key::alias(name, alias))? {
            return Ok(found);
        }
        self.function(name)?;
        Err(Fault::new(Code::AliasNotFound, format!("`{name}` has no alias `{alias}`")))
    }

    /// All explicit and manifest routes, by host and path.
    pub(crate) fn routes(&self) -> Result<Vec<Route>, Fault> {
        let mut routes: Vec<Route> = self.list::<Vec<Route>>(key::ROUTES)?.into_iter().flatten().collect();
        routes.sort();
        Ok(routes)
    }

    /// The routes of one function, by host and path.
    pub(crate) fn routes_of(&self, name: &FunctionName) -> Result<Vec<Route>, Fault> {
        let sites = self.owner(name)?.map(|owner| owner.value.sites).unwrap_or_default();
        let mut routes = Vec::new();
        for site in sites {
            let there: Option<Stored<Vec<Route>>> = self.get(&key::route(&site))?;
            routes.extend(there.into_iter().flat_map(|stored| stored.value).filter(|route| route.function == *name));
        }
        Ok(routes)
    }

    /// One attempt to publish. Where it says that it is live, the picture says so too.
    ///
    /// # Errors
    /// `deployment_not_found`.
    pub(crate) fn deployment(&self, id: &DeploymentId) -> Result<Deployment, Fault> {
        let found: Option<Stored<Deployment>> = self.get(&key::deployment(id))?;
        let deployment =
            found.ok_or_else(|| Fault::new(Code::DeploymentNotFound, format!("there is no deployment `{id}`")))?.value;
        if deployment.stage.is_final() {
            self.publisher.catch_up();
        }
        Ok(deployment)
    }

    /// All attempts that are remembered, newest first.
    pub(crate) fn deployments(&self) -> Result<Vec<Deployment>, Fault> {
        let mut all: Vec<Deployment> = self.list(key::DEPLOYMENTS)?;
        all.sort_by_key(|deployment| std::cmp::Reverse((deployment.started, deployment.id)));
        Ok(all)
    }

    /// The artifacts that some revision refers to.
    pub(crate) fn artifacts(&self) -> Result<HashSet<Digest>, Fault> {
        /// Of a [`Revision`]: there may be a million of them, and the rest of each is not looked at.
        #[derive(Deserialize)]
        struct Made {
            artifact: Digest,
        }
        let entries = self.records.list(key::REVISIONS);
        entries.iter().map(|entry| Ok(decode::<Made>(entry)?.value.artifact)).collect()
    }
}
