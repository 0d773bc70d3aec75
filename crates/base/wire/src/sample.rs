//! A function as control would publish it, from a few lines of manifest: for tests and simulations of the roles.

use crate::snapshot::{FunctionView, Snapshot, Target, Weighted};
use std::{collections::HashMap, sync::Arc};
use types::{AliasName, Digest, Fault, Manifest, Revision, RevisionId, Timestamp};

/// The first revision of a Node function; `extra` goes on in its manifest after name, runtime and entry.
///
/// # Errors
/// Those of the manifest.
pub fn revision(name: &str, extra: &str) -> Result<Arc<Revision>, Fault> {
    let manifest = Manifest::parse(&format!("name='{name}'\nruntime='nodejs'\nentry='a.b'\n{extra}"))?;
    Ok(Arc::new(Revision {
        id: RevisionId { function: manifest.name.clone(), number: 1 },
        content: Digest::from_sha256(&[0; 32]),
        artifact: Digest::from_sha256(&[0; 32]),
        spec: manifest.spec(),
        created: Timestamp(0),
    }))
}

/// All of `live` goes to it.
pub fn target(revision: &Arc<Revision>) -> Arc<Target> {
    let (function, weighted) = (revision.id.function.clone(), Weighted { revision: Arc::clone(revision), weight: 100 });
    Arc::new(Target {
        function,
        tenant: types::TenantName::default(),
        alias: AliasName::live(),
        revisions: Arc::new([weighted]),
    })
}

/// That function and nothing else.
pub fn snapshot(target: &Arc<Target>) -> Snapshot {
    let aliases = HashMap::from([(target.alias.clone(), Arc::clone(target))]);
    let view = Arc::new(FunctionView { name: target.function.clone(), aliases });
    Snapshot { functions: [(target.function.clone(), view)].into_iter().collect(), ..Snapshot::default() }
}
