//! Tenants: who owns functions, and the limits that these have together.

use super::{Precondition, Registry, Stored, encode, key, limit, picture, read::Owned};
use store::{Txn, Version};
use types::{
    Code, Fault, FunctionName, TenantName,
    tenant::{TENANTS_MAX, Tenant, TenantLimits},
};

fn no_tenant(name: &TenantName) -> Fault {
    Fault::new(Code::TenantNotFound, format!("there is no tenant `{name}`"))
}

impl Registry {
    /// The tenant's own record, and its version; the one of `default` may be missing. `options` are those of the platform,
    /// which hold for `default` where its record says nothing.
    ///
    /// # Errors
    /// `tenant_not_found`.
    pub(crate) fn tenant(&self, name: &TenantName, options: TenantLimits) -> Result<(Tenant, Option<Version>), Fault> {
        let found = self.get::<TenantLimits>(&key::tenant(name))?;
        if found.is_none() && !name.is_default() {
            return Err(no_tenant(name));
        }
        let (own, version) = found.map_or_else(Default::default, |stored| (stored.value, Some(stored.version)));
        let functions = u32::try_from(self.owned(name)?.len()).unwrap_or(u32::MAX);
        let TenantLimits { calls_max, rate } = holding(name, own, options);
        Ok((Tenant { name: name.clone(), calls_max, rate, functions }, version))
    }

    /// All tenants by name, `default` among them.
    ///
    /// # Errors
    /// `internal` where a record is damaged.
    pub(crate) fn tenants(&self, options: TenantLimits) -> Result<Vec<Tenant>, Fault> {
        let mut all = picture::tenants(&*self.records)?;
        all.entry(TenantName::default()).or_default();
        let mut counts = std::collections::HashMap::<TenantName, u32>::new();
        for function in self.functions()? {
            *counts.entry(function.tenant).or_default() += 1;
        }
        let view = |(name, own): (TenantName, TenantLimits)| {
            let functions = counts.get(&name).copied().unwrap_or(0);
            let TenantLimits { calls_max, rate } = holding(&name, own, options);
            Tenant { name, calls_max, rate, functions }
        };
        let mut tenants: Vec<Tenant> = all.into_iter().map(view).collect();
        tenants.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(tenants)
    }

    /// Makes a tenant, or changes its limits: they hold when this returns.
    ///
    /// # Errors
    /// `precondition_failed`, `storage_full`; `bad_request` where its functions have more guaranteed, or there are too many.
    pub(crate) async fn set_tenant(
        &self,
        name: &TenantName,
        limits: TenantLimits,
        options: TenantLimits,
        precondition: Precondition,
    ) -> Result<Stored<TenantLimits>, Fault> {
        let path = key::tenant(name);
        let plan = || {
            let found = self.get::<TenantLimits>(&path)?.map(|stored| stored.version);
            precondition.check(&format!("tenant `{name}`"), found)?;
            let default = key::tenant(&TenantName::default());
            let others = self.records.list(key::TENANTS).iter().filter(|entry| *entry.key != *default).count();
            if found.is_none() && !name.is_default() && others >= TENANTS_MAX {
                return Err(Fault::new(
                    Code::BadRequest,
                    format!("there are {TENANTS_MAX} tenants: delete some first"),
                ));
            }
            let mut txn = Txn::new().unchanged(&path, found).put(&path, encode(&limits)?);
            if let Some(max) = holding(name, limits, options).calls_max {
                let reserved = self.reserved(name, None)?;
                limit::check_cap(name, max, reserved)?;
                // A guarantee that is given meanwhile meets this in the sum.
                let sum = self.get::<u32>(key::RESERVED)?.map(|stored| stored.version);
                txn = txn.unchanged(key::RESERVED, sum).put(key::RESERVED, encode(&reserved)?);
            }
            Ok((txn, ()))
        };
        let (version, ()) = self.change(plan).await?;
        Ok(Stored { value: limits, version })
    }

    /// Deletes a tenant without functions. Of `default` only the record goes: the platform's options hold again.
    ///
    /// # Errors
    /// `tenant_not_found`, `tenant_in_use`, `precondition_failed`, `storage_full`.
    pub(crate) async fn delete_tenant(&self, name: &TenantName, precondition: Precondition) -> Result<(), Fault> {
        let path = key::tenant(name);
        let plan = || {
            let owns = self.get::<FunctionName>(&key::owns(name))?.map(|stored| stored.version);
            let found = self.get::<TenantLimits>(&path)?.ok_or_else(|| no_tenant(name))?.version;
            precondition.check(&format!("tenant `{name}`"), Some(found))?;
            let owned = self.owned(name)?;
            let one = owned.first().filter(|_| !name.is_default());
            if let Some(one) = one {
                let detail = format!("tenant `{name}` owns {} functions, `{one}` among them", owned.len());
                return Err(Fault::new(Code::TenantInUse, detail));
            }
            let txn = Txn::new().version(&path, found).unchanged(key::owns(name), owns);
            Ok((txn.delete(&path).delete(key::owns(name)), ()))
        };
        self.change(plan).await.map(drop)
    }

    /// Checks whose a function will be, early: before anything is built.
    ///
    /// # Errors
    /// `tenant_not_found`, `tenant_mismatch`.
    pub(crate) fn check_tenant(&self, name: &FunctionName, asked: Option<&TenantName>) -> Result<(), Fault> {
        match self.owner(name)? {
            Some(owner) => same(name, &owner.value.function.tenant, asked),
            None => self.found_for(Txn::new(), name, &asked.cloned().unwrap_or_default()).map(drop),
        }
    }

    /// The part of a transaction by which `tenant` gets a function.
    pub(super) fn found_for(&self, txn: Txn, name: &FunctionName, tenant: &TenantName) -> Result<Txn, Fault> {
        if tenant.is_default() {
            return Ok(txn);
        }
        if self.get::<TenantLimits>(&key::tenant(tenant))?.is_none() {
            return Err(no_tenant(tenant));
        }
        Ok(txn.exists(key::tenant(tenant)).put(key::owns(tenant), encode(name)?))
    }

    /// The most calls at once that hold for a tenant.
    pub(super) fn calls_max(&self, name: &TenantName, options: Option<u32>) -> Result<Option<u32>, Fault> {
        let own = self.get::<TenantLimits>(&key::tenant(name))?.map(|stored| stored.value).unwrap_or_default();
        Ok(holding(name, own, TenantLimits { calls_max: options, rate: None }).calls_max)
    }

    fn owned(&self, name: &TenantName) -> Result<Vec<FunctionName>, Fault> {
        let all = self.list::<Owned>(key::FUNCTIONS)?.into_iter().filter(|owned| owned.tenant == *name);
        Ok(all.map(|owned| owned.name).collect())
    }
}

/// Whether a function of `owner` may be deployed for `asked`.
pub(super) fn same(name: &FunctionName, owner: &TenantName, asked: Option<&TenantName>) -> Result<(), Fault> {
    match asked {
        Some(asked) if asked != owner => {
            Err(Fault::new(Code::TenantMismatch, format!("`{name}` belongs to tenant `{owner}`, not to `{asked}`")))
        }
        _ => Ok(()),
    }
}

fn holding(name: &TenantName, own: TenantLimits, options: TenantLimits) -> TenantLimits {
    if name.is_default() { own.or(options) } else { own }
}
