//! One attempt, step by step. What a step needs is what the one before it gave.

use super::{BuildLog, Deployer, io_fault, now, stopping, sweep::Pin, upload::Upload};
use crate::{
    publish::{self, BuiltTree, detect},
    registry::{Release, Verdict},
};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use types::{
    AliasName, Bytes, Code, Deployment, Digest, Fault, Manifest, Revision, RevisionId, Spec, TenantName,
    canary::Way,
    record::{Route, Stage},
};
use wire::{Ensured, Hold, Share};

struct Attempt<'a> {
    deployer: &'a Arc<Deployer>,
    deployment: Deployment,
    way: Way,
    tenant: Option<TenantName>,
    log: &'a BuildLog,
    /// What was put into the store for it.
    stored: Option<Digest>,
}

/// A release with what keeps its artifact from being swept, and its instance from being retired, before it is committed.
struct Ready<'a> {
    release: Release,
    _pin: Option<Pin<'a>>,
    _hold: Hold,
}

/// Takes the attempt to its end, and says which it was. A failed one leaves nothing but its story.
pub(super) async fn run(
    deployer: &Arc<Deployer>,
    deployment: Deployment,
    upload: Upload,
    (way, tenant): (Way, Option<TenantName>),
    log: &BuildLog,
) -> Deployment {
    let mut attempt = Attempt { deployer, deployment, way, tenant, log, stored: None };
    let fault = match attempt.walk(upload).await {
        Ok(ended) => return ended,
        Err(fault) => fault,
    };
    if let Some(digest) = attempt.stored.take() {
        deployer.sweep_artifacts(vec![digest]).await;
    }
    fail(deployer, attempt.deployment, fault, log).await
}

/// Ends the attempt without a revision.
pub(super) async fn fail(deployer: &Deployer, deployment: Deployment, fault: Fault, log: &BuildLog) -> Deployment {
    log.step(&format!("Failed: {}", fault.detail));
    let failed = Deployment {
        stage: Stage::Failed,
        revision: None,
        url: None,
        fault: Some(fault),
        ended: Some(now()),
        ..deployment
    };
    deployer.note_end(&failed).await;
    failed
}

impl<'a> Attempt<'a> {
    async fn walk(&mut self, upload: Upload) -> Result<Deployment, Fault> {
        let deployer = self.deployer;
        let ready = tokio::select! {
            ready = self.prepare(upload) => ready?,
            () = deployer.parts.shutdown.cancelled() => return Err(stopping()),
        };
        // Never given up halfway: who dropped it could not know whether it is done.
        let (ended, old) = self.deployer.parts.registry.release(&ready.release).await?;
        self.log.step(&match (&ended.revision, ended.unchanged) {
            (Some(revision), true) if ended.canary.is_some() => {
                format!("{revision} is on its way already: nothing to do")
            }
            (Some(revision), true) => format!("{revision} is live already: nothing to do"),
            (Some(revision), false) => match ended.canary.as_ref().and_then(|plan| plan.steps.first()) {
                Some(step) => format!("{revision} takes {} % of the calls", step.weight),
                None => format!("{revision} is live"),
            },
            (None, _) => "Live".to_owned(),
        });
        let gone = old.into_iter().map(|revision| revision.artifact).collect();
        self.deployer.sweep_artifacts(gone).await;
        Ok(ended)
    }

    /// Everything up to a revision that is ready to take calls.
    async fn prepare(&mut self, upload: Upload) -> Result<Ready<'a>, Fault> {
        let name = self.deployment.function.clone();
        let since = self.deployer.since(&name);
        let builder = self.builder().await?;
        let work = self.folder()?;
        let folder = work.path().join("source");

        let content = self.unpack(upload, &folder).await?;
        let manifest = self.manifest(&folder).await?;
        let routes = manifest.routes();
        self.deployer.parts.registry.check_routes(&name, &routes)?;
        self.check_aliases(&routes)?;

        let spec = manifest.spec();
        let content = revision_content(&content, &spec)?;
        let (verdict, pin) = match self.deployer.parts.registry.revision_of(&name, &content)? {
            Some(known) => {
                self.log.step(&format!("The same content and configuration as {}", known.id));
                self.advance(Stage::Probing).await?;
                (Verdict::Known(Arc::new(known)), None)
            }
            None => {
                let built = self.build(&manifest, &folder).await?;
                let (artifact, pin) = self.store(built).await?;
                let number = self.deployer.parts.registry.number(&name, &mut self.deployment).await?;
                let id = RevisionId { function: name.clone(), number };
                (Verdict::New(Arc::new(Revision { id, content, artifact, spec, created: now() })), Some(pin))
            }
        };
        drop((builder, work));
        let canary = self.way.plan(manifest.canary.as_ref());
        let first = canary.as_ref().and_then(|plan| plan.steps.first());
        let hold = self.probe(verdict.revision(), first.map_or(100, |step| step.weight)).await?;
        self.deployment.url = Some(self.deployer.url(&name));
        let deployment = self.deployment.clone();
        let tenant = self.tenant.clone();
        Ok(Ready { release: Release { verdict, routes, since, tenant, canary, deployment }, _pin: pin, _hold: hold })
    }

    async fn builder(&self) -> Result<tokio::sync::SemaphorePermit<'a>, Fault> {
        let builds = &self.deployer.builds;
        if builds.available_permits() == 0 {
            self.log.step("Waiting for other builds to end");
        }
        builds.acquire().await.map_err(Fault::internal)
    }

    fn folder(&self) -> Result<tempfile::TempDir, Fault> {
        let prefix = format!("{}-", self.deployment.function);
        let made = tempfile::Builder::new().prefix(&prefix).tempdir_in(self.deployer.parts.dir.join("work"));
        made.map_err(|error| io_fault("the folder for the build", error))
    }

    /// Unpacks the archive; gives the digest of the tree in it, which is the same however it was compressed.
    async fn unpack(&mut self, upload: Upload, folder: &Path) -> Result<Digest, Fault> {
        let began = Instant::now();
        let dest = folder.to_owned();
        let (unpacked, size, digest) = blocking(move || {
            let unpacked = pack::unpack(upload.file.as_file(), &dest, pack::Limits::default())?;
            let packed = pack::Pack::built().write(&dest, std::io::sink())?;
            Ok((unpacked, upload.size, packed.digest))
        })
        .await?;
        let (files, bytes) = (unpacked.files, person(unpacked.bytes));
        self.log.step(&format!("Unpacked {files} files, {bytes} ({} sent)", person(size)));
        self.took("unpack", began);
        Ok(digest)
    }

    async fn manifest(&self, folder: &Path) -> Result<Manifest, Fault> {
        let (dest, asked) = (folder.to_owned(), self.deployment.function.clone());
        let manifest = blocking(move || detect::manifest(&dest, Some(&asked))).await?;
        let name = &self.deployment.function;
        if manifest.name != *name {
            let detail = format!("name: the manifest says `{}` and the request `{name}`", manifest.name);
            return Err(Fault::new(Code::ManifestInvalid, detail));
        }
        self.log.step(&format!("{name}: runtime {}, contract {}", manifest.runtime, manifest.contract()));
        Ok(manifest)
    }

    /// A manifest's routes go to `live`, which the deploy itself makes; any other alias must be there.
    fn check_aliases(&self, routes: &[Route]) -> Result<(), Fault> {
        for route in routes.iter().filter(|route| route.alias.as_str() != crate::registry::LIVE) {
            self.deployer.parts.registry.alias(&route.function, &route.alias)?;
        }
        Ok(())
    }

    async fn build(&mut self, manifest: &Manifest, folder: &Path) -> Result<BuiltTree, Fault> {
        let began = Instant::now();
        let built = publish::build(folder, manifest, &self.deployer.tools, self.log).await?;
        self.took("build", began);
        Ok(built)
    }

    async fn store(&mut self, built: BuiltTree) -> Result<(Digest, Pin<'a>), Fault> {
        let began = Instant::now();
        self.advance(Stage::Packing).await?;
        let file = tempfile::Builder::new().prefix("packed-").tempfile_in(self.deployer.parts.dir.join("work"));
        let file = file.map_err(|error| io_fault("the packed function", error))?;
        let (packed, file) = blocking(move || {
            let packed = built.pack(file.as_file(), pack::Limits::default(), None)?;
            Ok((packed, file))
        })
        .await?;
        // Pinned before it is stored: a sweep that runs meanwhile sees one or the other.
        let pin = self.deployer.pins.pin(&packed.digest);
        let blobs = Arc::clone(&self.deployer.parts.blobs);
        let max = packed.packed_bytes;
        let (digest, size) = blocking(move || blobs.put_file(file.path(), max).map_err(blob_fault)).await?;
        if digest != packed.digest {
            return Err(Fault::internal(format!("packed {} and stored {digest}", packed.digest)));
        }
        self.log.step(&format!("Packed {} files, {}, {digest}", packed.files, person(size)));
        self.took("pack", began);
        self.stored = Some(digest.clone());
        Ok((digest, pin))
    }

    /// One instance must start before any traffic is sent to the revision; as many as `percent` of it takes should.
    async fn probe(&mut self, revision: &Arc<Revision>, percent: u8) -> Result<Hold, Fault> {
        let began = Instant::now();
        self.log.step(&format!("Starting {}", revision.id));
        let share = Share { alias: AliasName::live(), percent };
        let ensured = self.deployer.parts.scaler.ensure(Arc::clone(revision), share).await?;
        let Ensured { phases, ready, wanted, hold } = ensured;
        let phases: Vec<String> =
            phases.iter().map(|(phase, took)| format!("{phase} {:.1} ms", took.as_secs_f64() * 1e3)).collect();
        let took = began.elapsed();
        let detail = if phases.is_empty() { String::new() } else { format!(" ({})", phases.join(", ")) };
        self.log.step(&format!("{} is ready after {:.1} ms{detail}", revision.id, took.as_secs_f64() * 1e3));
        if ready < wanted {
            self.log.step(&format!(
                "{ready} of the {wanted} instances that its calls take are ready: it goes on with these"
            ));
        } else if wanted > 1 {
            self.log.step(&format!("{ready} instances are ready for its calls"));
        }
        self.took("start", began);
        Ok(hold)
    }

    async fn advance(&mut self, stage: Stage) -> Result<(), Fault> {
        self.deployment.stage = stage;
        self.deployer.parts.registry.note(&self.deployment).await
    }

    fn took(&mut self, phase: &str, began: Instant) {
        // Rounded up: a phase that was gone through took some time.
        let ms = began.elapsed() + Duration::from_micros(999);
        self.deployment.phases.insert(phase.to_owned(), ms.into());
    }
}

/// What makes a revision the same as another: the tree and every setting, defaults filled in.
fn revision_content(tree: &Digest, spec: &Spec) -> Result<Digest, Fault> {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    hash.update(tree.as_str());
    hash.update(serde_json::to_vec(spec).map_err(Fault::internal)?);
    Ok(Digest::from_sha256(&hash.finalize().into()))
}

/// Runs work that waits for the disk or the processor off the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    tokio::task::spawn_blocking(job).await.map_err(Fault::internal)?
}

fn blob_fault(error: store::blob::Error) -> Fault {
    match error {
        store::blob::Error::Full => Fault::new(Code::StorageFull, "the function cannot be stored: the disk is full"),
        error => Fault::internal(error),
    }
}

/// A size as a person reads it.
fn person(bytes: u64) -> String {
    match bytes {
        0..1024 => Bytes(bytes).to_string(),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
