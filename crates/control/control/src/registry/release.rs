//! The one commit that ends a deploy: function, revision, alias and routes, or nothing.

use super::{Registry, Stored, alias, canary, encode, key, read::Owner, route::Plan, tenant};
use std::{collections::BTreeSet, sync::Arc};
use store::Txn;
use types::{
    Alias, AliasName, Canary, Code, Deployment, Fault, Function, FunctionName, Revision, RevisionId, Route, TenantName,
    Timestamp,
    record::{Stage, Target},
};

/// Newest revisions of a function that stay, besides those that an alias points to.
const REVISIONS_KEPT: usize = 20;

/// What a deploy leads to.
#[derive(Debug, Clone)]
pub enum Verdict {
    New(Arc<Revision>),
    /// The same content and configuration were a revision already.
    Known(Arc<Revision>),
}

impl Verdict {
    pub fn revision(&self) -> &Arc<Revision> {
        match self {
            Self::New(revision) | Self::Known(revision) => revision,
        }
    }
}

/// A deploy whose revision started and became ready.
#[derive(Debug, Clone)]
pub struct Release {
    pub verdict: Verdict,
    /// Those of the manifest.
    pub routes: Vec<Route>,
    /// When the function that it was begun for was created; `None` where there was none.
    pub since: Option<Timestamp>,
    /// Whose the function shall be; `None` is whoever has it, or `default`.
    pub tenant: Option<TenantName>,
    /// How its traffic moves, where it does not move at once.
    pub canary: Option<Canary>,
    /// As it stands but for its end.
    pub deployment: Deployment,
}

impl Registry {
    /// Makes the release live. Gives the deployment as it ended, and revisions that went because they are old.
    ///
    /// # Errors
    /// `route_conflict`, `function_not_found` where it was deleted meanwhile, `storage_full`, `internal`.
    pub async fn release(&self, release: &Release) -> Result<(Deployment, Vec<Revision>), Fault> {
        let now = Timestamp::from(std::time::SystemTime::now());
        Ok(self.change(|| self.plan(release, now)).await?.1)
    }

    /// Says early, before anything is built, whether the function could have these routes now.
    ///
    /// # Errors
    /// `route_conflict`.
    pub(crate) fn check_routes(&self, name: &FunctionName, routes: &[Route]) -> Result<(), Fault> {
        let owner = self.owner(name)?.map(|stored| stored.value);
        self.place(name, owner.as_ref(), routes).map(|_| ())
    }

    fn plan(&self, release: &Release, now: Timestamp) -> Result<(Txn, (Deployment, Vec<Revision>)), Fault> {
        let revision = release.verdict.revision();
        let name = &revision.id.function;
        let stored = self.owner(name)?;
        let created = stored.as_ref().map(|stored| stored.value.function.created);
        if release.since.is_some() && created != release.since {
            return Err(Fault::new(
                Code::FunctionNotFound,
                format!("`{name}` was deleted while it was being deployed"),
            ));
        }
        let routes = self.place(name, stored.as_ref().map(|stored| &stored.value), &release.routes)?;
        let mut txn = Txn::new().unchanged(key::function(name), stored.as_ref().map(|stored| stored.version));
        let mut owner = match stored {
            Some(stored) => {
                tenant::same(name, &stored.value.function.tenant, release.tenant.as_ref())?;
                stored.value
            }
            None => {
                let tenant = release.tenant.clone().unwrap_or_default();
                txn = self.found_for(txn, name, &tenant)?;
                new_owner(name, tenant, now)
            }
        };
        owner.function.updated = now;

        let at = key::revision(&revision.id);
        txn = match &release.verdict {
            Verdict::New(revision) => txn.absent(&at).put(at, encode(&**revision)?),
            Verdict::Known(_) => txn.exists(at),
        };
        let (txn, live, moved) = self.move_live(txn, &revision.id, release.canary.as_ref(), now)?;
        let txn = routes.finish(&mut owner, txn)?;
        let (txn, old) = self.prune(txn, &live, &release.verdict)?;

        let deployment = Deployment {
            stage: Stage::Live,
            revision: Some(revision.id.clone()),
            unchanged: !moved,
            canary: live.canary.as_ref().map(|rollout| rollout.plan.clone()),
            ended: Some(now),
            ..release.deployment.clone()
        };
        let txn =
            txn.put(key::function(name), encode(&owner)?).put(key::deployment(&deployment.id), encode(&deployment)?);
        Ok((txn, (deployment, old)))
    }

    /// Replaces the function's manifest routes by `routes`.
    fn place(&self, name: &FunctionName, owner: Option<&Owner>, routes: &[Route]) -> Result<Plan<'_>, Fault> {
        let mut plan = Plan::new(&*self.records);
        match owner {
            Some(owner) => {
                for site in &owner.sites {
                    plan.remove(name, site, |route| route.from_manifest)?;
                }
            }
            None => plan.check_default(name)?,
        }
        routes.iter().try_for_each(|route| plan.insert(route.clone()))?;
        Ok(plan)
    }

    /// `live` as it will be, and whether that is new.
    fn move_live(
        &self,
        txn: Txn,
        id: &RevisionId,
        plan: Option<&Canary>,
        now: Timestamp,
    ) -> Result<(Txn, Alias, bool), Fault> {
        let path = key::alias(&id.function, &AliasName::live());
        let stored: Option<Stored<Alias>> = self.get(&path)?;
        let txn = txn.unchanged(&path, stored.as_ref().map(|stored| stored.version));
        let targets = vec![Target { revision: id.number, weight: 100 }];
        let before = stored.map(|stored| stored.value);
        let live = match &before {
            Some(live) if live.targets == targets => return Ok((txn, live.clone(), false)),
            Some(live) if plan.is_some_and(|plan| canary::is_under_way(live, id.number, plan)) => {
                return Ok((txn, live.clone(), false));
            }
            Some(live) => plan
                .and_then(|plan| canary::begun(live, id.number, plan, now))
                .unwrap_or_else(|| alias::moved(live, targets, alias::Step::Forward, now)),
            None => {
                let function = id.function.clone();
                Alias { function, name: AliasName::live(), targets, history: Vec::new(), changed: now, canary: None }
            }
        };
        let txn = match canary::told(before.as_ref(), &live) {
            Some(event) => self.note_event(txn, &event)?,
            None => txn,
        };
        Ok((txn.put(path, encode(&live)?), live, true))
    }

    /// Deletes old revisions that no alias points to; `live` is the alias as it will be.
    fn prune(&self, mut txn: Txn, live: &Alias, verdict: &Verdict) -> Result<(Txn, Vec<Revision>), Fault> {
        let name = &live.function;
        let others = self.aliases(name)?;
        let used: BTreeSet<u32> = others
            .iter()
            .filter(|other| other.name != live.name)
            .chain([live])
            .flat_map(|alias| alias.targets.iter().map(|target| target.revision))
            .collect();
        let newer = usize::from(matches!(verdict, Verdict::New(_)));
        let old: Vec<Revision> = self
            .revisions(name)?
            .into_iter()
            .skip(REVISIONS_KEPT - newer)
            .filter(|revision| !used.contains(&revision.id.number))
            .collect();
        for revision in &old {
            txn = txn.delete(key::revision(&revision.id));
        }
        Ok((txn, old))
    }
}

fn new_owner(name: &FunctionName, tenant: TenantName, now: Timestamp) -> Owner {
    Owner { function: Function { name: name.clone(), tenant, created: now, updated: now }, sites: BTreeSet::new() }
}
