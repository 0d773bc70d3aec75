//! The story of each attempt to publish, and the numbers that revisions get.

use super::{Registry, encode, fault, key, read::Stored};
use store::Txn;
use types::{Code, Deployment, Fault, FunctionName, Timestamp, id::DeploymentId, record::Stage};

/// Attempts that are remembered, with their logs, over all functions.
const DEPLOYMENTS_KEPT: usize = 500;

impl Registry {
    /// Writes how the attempt stands. Only its own pipeline does, so there is nothing to check.
    ///
    /// # Errors
    /// `storage_full`, `internal`.
    pub(crate) async fn note(&self, deployment: &Deployment) -> Result<(), Fault> {
        let txn = Txn::new().put(key::deployment(&deployment.id), encode(deployment)?);
        self.records.commit(txn).await.map(|_| ()).map_err(fault)
    }

    /// Gives the attempt a number for its revision and notes it with that. A number is used once, even if the
    /// revision then does not start: instances are known by it.
    ///
    /// # Errors
    /// `storage_full`, `internal`.
    pub async fn number(&self, name: &FunctionName, deployment: &mut Deployment) -> Result<u32, Fault> {
        let path = key::number(name);
        let plan = || {
            let stored: Option<Stored<u32>> = self.get(&path)?;
            let number = stored.as_ref().map_or(1, |stored| stored.value);
            let next = number.checked_add(1).ok_or_else(|| Fault::internal("all revision numbers are used"))?;
            let id = types::RevisionId { function: name.clone(), number };
            let noted = Deployment { revision: Some(id), stage: Stage::Probing, ..deployment.clone() };
            let txn = Txn::new()
                .unchanged(&path, stored.map(|stored| stored.version))
                .put(&path, encode(&next)?)
                .put(key::deployment(&noted.id), encode(&noted)?);
            Ok((txn, (number, noted)))
        };
        let (_, (number, noted)) = self.change(plan).await?;
        *deployment = noted;
        Ok(number)
    }

    /// Forgets the oldest attempts; gives their ids, for who deletes their logs.
    ///
    /// # Errors
    /// `storage_full`, `internal`.
    pub(crate) async fn forget_old_deployments(&self) -> Result<Vec<DeploymentId>, Fault> {
        let all = self.deployments()?;
        let old: Vec<DeploymentId> = all
            .iter()
            .skip(DEPLOYMENTS_KEPT)
            .filter(|deployment| deployment.stage.is_final())
            .map(|deployment| deployment.id)
            .collect();
        let txn = old.iter().fold(Txn::new(), |txn, id| txn.delete(key::deployment(id)));
        self.records.commit(txn).await.map_err(fault)?;
        Ok(old)
    }

    /// Attempts that a restart cut off have failed: what they had not committed is absent.
    ///
    /// # Errors
    /// `storage_full`, `internal`.
    pub(crate) async fn fail_interrupted(&self) -> Result<usize, Fault> {
        let now = Timestamp::from(std::time::SystemTime::now());
        let cut: Vec<Deployment> =
            self.deployments()?.into_iter().filter(|deployment| !deployment.stage.is_final()).collect();
        let mut txn = Txn::new();
        for deployment in &cut {
            let failed = Deployment {
                stage: Stage::Failed,
                revision: None,
                fault: Some(Fault::new(Code::Internal, "interrupted by a restart: deploy again")),
                ended: Some(now),
                ..deployment.clone()
            };
            txn = txn.put(key::deployment(&failed.id), encode(&failed)?);
        }
        self.records.commit(txn).await.map_err(fault)?;
        Ok(cut.len())
    }
}
