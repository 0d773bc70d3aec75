//! The most calls at once that a function may have: a guarantee and a cap, and 0 stops it.

use super::{
    Registry, Stored, encode, key, picture,
    read::{Owned, no_function},
};
use store::Txn;
use types::{
    Code, Fault, FunctionName, TenantName,
    limit::{unreserved, unreserved_min},
};

impl Registry {
    /// # Errors
    /// `function_not_found`.
    pub(crate) fn limit(&self, name: &FunctionName) -> Result<Option<u32>, Fault> {
        self.function(name)?;
        Ok(self.get::<u32>(&key::limit(name))?.map(|stored| stored.value))
    }

    /// Sets the limit, or lifts it. It holds for the next call, whatever revision that goes to. `calls_max` is the
    /// platform's option, for functions of `default`: what is guaranteed has to be there.
    ///
    /// # Errors
    /// `function_not_found`, `storage_full`; `bad_request` where too little is left for functions without a limit.
    pub(crate) async fn set_limit(
        &self,
        name: &FunctionName,
        calls: Option<u32>,
        calls_max: Option<u32>,
    ) -> Result<(), Fault> {
        let plan = || {
            let owner = self.owner(name)?.ok_or_else(|| no_function(name))?;
            let txn = Txn::new().version(key::function(name), owner.version);
            let txn = match calls {
                Some(calls) => {
                    let tenant = &owner.value.function.tenant;
                    let max = self.calls_max(tenant, calls_max)?;
                    let txn = self.check_limit(txn, (name, tenant), calls, max)?;
                    txn.put(key::limit(name), encode(&calls)?)
                }
                None => txn.delete_prefix(key::limits(name)),
            };
            Ok((txn, ()))
        };
        self.change(plan).await.map(|_| ())
    }

    /// Two that are raised at once could promise the same calls, so every limit that is set writes the sum of all.
    fn check_limit(
        &self,
        txn: Txn,
        (name, tenant): (&FunctionName, &TenantName),
        calls: u32,
        calls_max: Option<u32>,
    ) -> Result<Txn, Fault> {
        let sum = self.get::<u32>(key::RESERVED)?;
        let reserved = self.reserved(tenant, Some(name))?;
        if let Some(max) = calls_max {
            check(tenant, max, reserved, calls)?;
        }
        let txn = txn.unchanged(key::RESERVED, sum.map(|stored| stored.version));
        Ok(txn.put(key::RESERVED, encode(&reserved.saturating_add(calls))?))
    }

    /// The guarantees of a tenant's functions together, without that of `but`.
    pub(super) fn reserved(&self, tenant: &TenantName, but: Option<&FunctionName>) -> Result<u32, Fault> {
        let mut sum = 0_u32;
        for (name, calls) in picture::limits(&*self.records)? {
            if Some(&name) == but {
                continue;
            }
            let owner: Option<Stored<Owned>> = self.get(&key::function(&name))?;
            if owner.is_some_and(|owner| owner.value.tenant == *tenant) {
                sum = sum.saturating_add(calls);
            }
        }
        Ok(sum)
    }

    /// The most calls at once of `default`, and what its functions without a limit of their own have of them.
    ///
    /// # Errors
    /// `internal` where a record is damaged.
    pub(crate) fn unreserved(&self, options: Option<u32>) -> Result<Option<(u32, u32)>, Fault> {
        let tenant = TenantName::default();
        let Some(max) = self.calls_max(&tenant, options)? else { return Ok(None) };
        let left = if max == 0 { 0 } else { unreserved(max, std::iter::once(self.reserved(&tenant, None)?)).left };
        Ok(Some((max, left)))
    }
}

/// # Errors
/// `bad_request` where the guarantees together would be more than there is, or leave too little.
fn check(tenant: &TenantName, max: u32, reserved: u32, calls: u32) -> Result<(), Fault> {
    let least = unreserved_min(max);
    let most = max.saturating_sub(least).saturating_sub(reserved);
    // To stop a function takes nothing from the others.
    if calls == 0 || calls <= most {
        return Ok(());
    }
    let detail = format!(
        "calls: {calls} at once cannot be guaranteed: of the {max} of tenant `{tenant}`, {reserved} are other functions' and {least} stay \
         for those without a limit, so {most} is the most"
    );
    Err(Fault::new(Code::BadRequest, detail))
}

/// # Errors
/// `bad_request` where a tenant's functions have more guaranteed than it would have.
pub(super) fn check_cap(tenant: &TenantName, max: u32, reserved: u32) -> Result<(), Fault> {
    // To stop a tenant is always possible, and takes no guarantee away for good.
    if max == 0 || reserved == 0 || reserved <= max.saturating_sub(unreserved_min(max)) {
        return Ok(());
    }
    let detail = format!(
        "calls_max: {max} at once are too few: functions of tenant `{tenant}` have {reserved} of them guaranteed, and a tenth \
         stays for those without a limit"
    );
    Err(Fault::new(Code::BadRequest, detail))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_guaranteed_is_there() {
        for (max, others, calls, ok) in [
            (1000, 0, 900, true),
            (1000, 0, 901, false),
            (1000, 800, 100, true),
            (1000, 800, 101, false),
            (1000, 900, 0, true),
            (1000, u32::MAX, 1, false),
            (4, 0, 3, true),
            (4, 0, 4, false),
            (1, 0, 1, false),
        ] {
            let found = check(&TenantName::default(), max, others, calls);
            assert_eq!(found.is_ok(), ok, "{max} {others} {calls}: {found:?}");
        }
        let detail = check(&TenantName::default(), 1000, 800, 101).unwrap_err().detail;
        assert!(detail.contains("so 100 is the most"), "{detail}");
    }

    #[test]
    fn a_tenant_keeps_what_its_functions_were_promised() {
        for (max, reserved, ok) in
            [(100, 0, true), (1, 0, true), (100, 90, true), (100, 91, false), (0, 91, true), (1, 1, false)]
        {
            assert_eq!(check_cap(&TenantName::default(), max, reserved).is_ok(), ok, "{max} {reserved}");
        }
    }
}
