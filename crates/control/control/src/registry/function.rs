//! Deleting a function: everything it has goes in one transaction.

use super::{Precondition, Registry, Stored, key, read::no_function, route::Plan};
use store::Txn;
use types::{Fault, FunctionName, Revision};

impl Registry {
    /// Deletes function, revisions, aliases and routes. Its numbers stay used: an instance or a log line of the old
    /// `hello@1` never looks like one of a later function of the same name.
    ///
    /// Gives what its revisions were, for who sweeps their artifacts.
    ///
    /// # Errors
    /// `function_not_found`, `precondition_failed`, `storage_full`.
    pub(crate) async fn delete_function(
        &self,
        name: &FunctionName,
        precondition: Precondition,
    ) -> Result<Vec<Revision>, Fault> {
        let plan = || {
            let Stored { value: mut owner, version } = self.owner(name)?.ok_or_else(|| no_function(name))?;
            precondition.check(&format!("function `{name}`"), Some(version))?;
            let revisions = self.revisions(name)?;
            let mut plan = Plan::new(&*self.records);
            for site in owner.sites.clone() {
                plan.remove(name, &site, |_| true)?;
            }
            let txn = plan.finish(&mut owner, Txn::new().version(key::function(name), version))?;
            let txn = txn
                .delete_prefix(key::limits(name))
                .delete(key::events(name))
                .delete_prefix(key::aliases(name))
                .delete_prefix(key::revisions(name))
                .delete(key::function(name));
            Ok((txn, revisions))
        };
        Ok(self.change(plan).await?.1)
    }
}
