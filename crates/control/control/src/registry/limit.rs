//! The most calls at once that a function may have: a guarantee and a cap, and 0 stops it.

use super::{Registry, encode, key, picture, read::no_function};
use store::Txn;
use types::{
    Code, Fault, FunctionName,
    limit::{unreserved, unreserved_min},
};

impl Registry {
    /// # Errors
    /// `function_not_found`.
    pub(crate) fn limit(&self, name: &FunctionName) -> Result<Option<u32>, Fault> {
        self.function(name)?;
        Ok(self.get::<u32>(&key::limit(name))?.map(|stored| stored.value))
    }

    /// Sets the limit, or lifts it. It holds for the next call, whatever revision that goes to. `calls_max` is what all
    /// functions have together: what is guaranteed has to be there.
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
                    let txn = self.check_limit(txn, name, calls, calls_max)?;
                    txn.put(key::limit(name), encode(&calls)?)
                }
                None => txn.delete_prefix(key::limits(name)),
            };
            Ok((txn, ()))
        };
        self.change(plan).await.map(|_| ())
    }

    /// Two that are raised at once could promise the same calls, so every limit that is set writes the sum of all.
    fn check_limit(&self, txn: Txn, name: &FunctionName, calls: u32, calls_max: Option<u32>) -> Result<Txn, Fault> {
        let sum = self.get::<u32>(key::RESERVED)?;
        let mut others = picture::limits(&*self.records)?;
        others.remove(name);
        let reserved = others.into_values().fold(0_u32, u32::saturating_add);
        if let Some(max) = calls_max {
            check(max, reserved, calls)?;
        }
        let txn = txn.unchanged(key::RESERVED, sum.map(|stored| stored.version));
        Ok(txn.put(key::RESERVED, encode(&reserved.saturating_add(calls))?))
    }

    /// What functions without a limit of their own have of `calls_max`.
    ///
    /// # Errors
    /// `internal` where a record is damaged.
    pub(crate) fn unreserved(&self, calls_max: u32) -> Result<u32, Fault> {
        Ok(unreserved(calls_max, picture::limits(&*self.records)?.into_values()).left)
    }
}

/// # Errors
/// `bad_request` where the guarantees together would be more than there is, or leave too little.
fn check(max: u32, reserved: u32, calls: u32) -> Result<(), Fault> {
    let least = unreserved_min(max);
    let most = max.saturating_sub(least).saturating_sub(reserved);
    // To stop a function takes nothing from the others.
    if calls == 0 || calls <= most {
        return Ok(());
    }
    let detail = format!(
        "calls: {calls} at once cannot be guaranteed: of the platform's {max}, {reserved} are other functions' and {least} stay \
         for those without a limit, so {most} is the most"
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
            let found = check(max, others, calls);
            assert_eq!(found.is_ok(), ok, "{max} {others} {calls}: {found:?}");
        }
        let detail = check(1000, 800, 101).unwrap_err().detail;
        assert!(detail.contains("so 100 is the most"), "{detail}");
    }
}
