//! The most calls at once that a function may have: a guarantee and a cap, and 0 stops it.

use super::{Registry, encode, key, read::no_function};
use store::Txn;
use types::{Fault, FunctionName};

impl Registry {
    /// # Errors
    /// `function_not_found`.
    pub(crate) fn limit(&self, name: &FunctionName) -> Result<Option<u32>, Fault> {
        self.function(name)?;
        Ok(self.get::<u32>(&key::limit(name))?.map(|stored| stored.value))
    }

    /// Sets the limit, or lifts it. It holds for the next call, whatever revision that goes to.
    ///
    /// # Errors
    /// `function_not_found`, `storage_full`.
    pub(crate) async fn set_limit(&self, name: &FunctionName, calls: Option<u32>) -> Result<(), Fault> {
        let plan = || {
            let owner = self.owner(name)?.ok_or_else(|| no_function(name))?;
            let txn = Txn::new().version(key::function(name), owner.version);
            let txn = match calls {
                Some(calls) => txn.put(key::limit(name), encode(&calls)?),
                None => txn.delete_prefix(key::limits(name)),
            };
            Ok((txn, ()))
        };
        self.change(plan).await.map(|_| ())
    }
}
