//! `mayfly deploy`: packs a folder, uploads it, and stays with the deployment until it is live or failed.

mod canary;

use super::{
    Session,
    args::{DeployArgs, Steps},
    failure::{Failure, Outcome},
    folder::Folder,
    progress::Progress,
    table,
};
use crate::client::{Client, Error, Upload};
use std::{fmt::Write as _, fs::File, sync::atomic::Ordering, time::Duration};
use tokio::time::Instant;
use types::{Deployment, Fault, Millis, api::BuildLine, record::Stage};

/// How often the upload's bar moves.
const REDRAW: Duration = Duration::from_millis(100);
/// Between two looks at a deployment whose log ended too soon.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A deployment that is live, with the time that this side took.
pub struct Done {
    pub deployment: Deployment,
    pub upload: Duration,
    pub total: Duration,
}

pub async fn run(session: &Session, args: DeployArgs) -> Outcome {
    let folder = Folder::read(&args.dir, args.name.as_ref())?;
    let progress = Progress::new(&session.screen);
    let done = publish(&session.client, &progress, &folder, &moves(&args)).await?;
    progress.clear();
    session.screen.result(&done.deployment, |paint| {
        let (first, second) = words(&done);
        format!("{}\n{}\n", paint.bold(&first), paint.dim(&second))
    })?;
    if !args.wait || done.deployment.canary.is_none() {
        return Ok(());
    }
    let progress = Progress::new(&session.screen);
    let end = canary::follow(&session.client, &progress, &done.deployment).await;
    progress.clear();
    let end = end?;
    session.screen.result(&end, |paint| format!("{}\n", paint.bold(&format!("{}: {}", end.revision, end.text))))
}

/// Moves the traffic at once, whatever the manifest says: the query of a deployment.
pub const AT_ONCE: &str = "?canary=none";

/// How the traffic is to move, as the query of a deployment.
fn moves(args: &DeployArgs) -> String {
    let tenant = args.tenant.as_ref().map(|tenant| format!("tenant={tenant}"));
    let query: Vec<String> = shares(args).into_iter().chain(tenant).collect();
    if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) }
}

fn shares(args: &DeployArgs) -> Option<String> {
    let Steps(steps) = args.canary.as_ref()?;
    if steps.is_empty() {
        return Some("canary=none".to_owned());
    }
    // Neither a per cent sign nor a space needs to be escaped where there is none.
    let steps: Vec<String> = steps.iter().map(|step| step.to_string().replace(['%', ' '], "")).collect();
    let every = args.every.map(|every| format!("&every={every}").replace(' ', "")).unwrap_or_default();
    Some(format!("canary={}{every}", steps.join(",")))
}

/// Brings a folder to a live revision; `moves` is the query that says how its traffic moves.
///
/// # Errors
/// The deployment's own fault where it failed; those of packing and of the API.
pub async fn publish(client: &Client, progress: &Progress, folder: &Folder, moves: &str) -> Outcome<Done> {
    let begun = Instant::now();
    let (file, packed) = pack(progress, folder).await?;
    progress.done(&format!("packed {} files, {}", packed.files, table::size(packed.packed_bytes)));
    let uploading = Instant::now();
    let deployment = upload(client, progress, folder, moves, (file, packed.packed_bytes)).await?;
    let upload = uploading.elapsed();
    progress.done(&format!("uploaded in {}", table::micros(upload.as_micros() as u64)));
    progress.step("waiting for the platform");
    let mut show = |line: &BuildLine| if line.step { progress.step(&line.text) } else { progress.log(&line.text) };
    let deployment = follow(client, deployment, &mut show).await?;
    match (deployment.stage, &deployment.fault) {
        (Stage::Live, _) => Ok(Done { deployment, upload, total: begun.elapsed() }),
        (_, Some(fault)) => Err(fault.clone().into()),
        (stage, None) => {
            Err(Fault::internal(format_args!("the deployment ended as {stage:?} without a reason")).into())
        }
    }
}

async fn pack(progress: &Progress, folder: &Folder) -> Outcome<(File, pack::Packed)> {
    progress.step(&format!("packing {}", folder.dir.display()));
    let folder = folder.clone();
    tokio::task::spawn_blocking(move || folder.pack()).await.map_err(|e| Failure::Fault(Fault::internal(e)))?
}

async fn upload(
    client: &Client,
    progress: &Progress,
    folder: &Folder,
    moves: &str,
    (file, size): (File, u64),
) -> Outcome<Deployment> {
    progress.bytes("uploading", size);
    let upload = Upload::new(file).map_err(|e| Failure::machine("cannot read the packed folder", &e))?;
    let moved = upload.counter();
    let path = format!("/functions/{}/deployments{moves}", folder.name);
    let mut sent = std::pin::pin!(client.upload(&path, upload));
    let mut redraw = tokio::time::interval(REDRAW);
    loop {
        tokio::select! {
            deployment = &mut sent => return Ok(deployment?),
            _ = redraw.tick() => progress.moved(moved.load(Ordering::Relaxed)),
        }
    }
}

/// Hands on the deployment's log as it is written, until the deployment has ended.
async fn follow(client: &Client, mut deployment: Deployment, show: &mut dyn FnMut(&BuildLine)) -> Outcome<Deployment> {
    let mut shown = 0;
    loop {
        // A log that breaks off is read again from where it was; whether the platform is gone shows right below.
        if let Err(error @ (Error::Fault(_) | Error::Unauthorized { .. } | Error::Foreign { .. })) =
            follow_log(client, &deployment, &mut shown, show).await
        {
            return Err(error.into());
        }
        deployment = client.get(&format!("/deployments/{}", deployment.id)).await?;
        if deployment.stage.is_final() {
            return Ok(deployment);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// One reading of the log; the first `shown` lines are known already.
async fn follow_log(
    client: &Client,
    deployment: &Deployment,
    shown: &mut usize,
    show: &mut dyn FnMut(&BuildLine),
) -> Result<(), Error> {
    let mut lines = client.lines::<BuildLine>(&format!("/deployments/{}/log?follow=true", deployment.id)).await?;
    let mut skip = *shown;
    while let Some(line) = lines.next().await? {
        if skip > 0 {
            skip -= 1;
            continue;
        }
        *shown += 1;
        show(&line);
    }
    Ok(())
}

/// What happened, in a line, and how long each phase took, in another.
pub fn words(done: &Done) -> (String, String) {
    let deployment = &done.deployment;
    let revision = deployment.revision.as_ref().map_or_else(|| deployment.function.to_string(), ToString::to_string);
    let url = deployment.url.as_deref().map(|url| format!(" at {url}")).unwrap_or_default();
    let first = deployment.canary.as_ref().and_then(|plan| Some((plan, plan.steps.first()?)));
    let what = if let Some((plan, step)) = first {
        let lasts = step.lasts.unwrap_or(plan.every);
        format!(
            "{revision} takes {} % of the calls{url} for {lasts}, step 1 of {}: `mayfly describe {}` shows how it goes",
            step.weight,
            plan.steps.len(),
            deployment.function
        )
    } else if deployment.unchanged {
        format!("unchanged: {revision} has the same code and configuration and is live{url}")
    } else {
        format!("{revision} is live{url}")
    };
    let mut phases = format!("  upload {}", table::micros(done.upload.as_micros() as u64));
    for (name, time) in in_order(deployment) {
        let _ = write!(phases, " · {name} {}", table::millis(time.0));
    }
    let _ = write!(phases, " · in all {}", table::micros(done.total.as_micros() as u64));
    (what, phases)
}

/// Phases as they follow each other; the document has them by name.
fn in_order(deployment: &Deployment) -> Vec<(&str, Millis)> {
    const ORDER: [&str; 5] = ["unpack", "build", "pack", "start", "switch"];
    let mut phases: Vec<(&str, Millis)> = deployment.phases.iter().map(|(name, time)| (name.as_str(), *time)).collect();
    phases.sort_by_key(|(name, _)| ORDER.iter().position(|known| known == name).unwrap_or(ORDER.len()));
    phases
}

#[cfg(test)]
mod tests;
