//! `mayfly invocations` and `mayfly deployments`: what happened lately.

use super::{
    Session,
    args::{DeploymentsArgs, PageArgs},
    failure::{Failure, Outcome},
    screen::Paint,
    table::{self, Table},
};
use types::{
    Deployment, Invocation, Timestamp,
    api::{BuildLine, DeploymentList, InvocationList},
    id::DeploymentId,
    record,
};

pub async fn invocations(session: &Session, args: PageArgs) -> Outcome {
    let path = format!("/functions/{}/invocations?limit={}", args.name, args.limit);
    let list: InvocationList = session.client.get(&path).await?;
    session.screen.result(&list, |paint| {
        if list.invocations.is_empty() {
            return format!("{} has not been called lately\n", args.name);
        }
        invocation_words(&list.invocations, paint)
    })
}

fn invocation_words(invocations: &[Invocation], paint: Paint) -> String {
    let titles = ["STARTED", "ID", ">REVISION", ">TOOK", ">WAITED", "START", ">STATUS", "OUTCOME"];
    let mut rows = Table::new(&titles);
    for call in invocations {
        let outcome = outcome(call.outcome).to_owned();
        rows.row([
            table::date(call.started),
            call.id.to_string(),
            call.revision.number.to_string(),
            table::micros(call.duration_us),
            table::micros(call.waited_us),
            if call.cold { "cold" } else { "warm" }.to_owned(),
            if call.status == 0 { "-".to_owned() } else { call.status.to_string() },
            call.code.as_ref().map_or(outcome.clone(), |code| format!("{outcome} ({code})")),
        ]);
    }
    rows.render(paint)
}

fn outcome(outcome: record::Outcome) -> &'static str {
    match outcome {
        record::Outcome::Ok => "ok",
        record::Outcome::FunctionError => "function error",
        record::Outcome::TimedOut => "timed out",
        record::Outcome::Crashed => "crashed",
        record::Outcome::Cancelled => "cancelled",
        record::Outcome::Rejected => "rejected",
    }
}

pub async fn deployments(session: &Session, args: DeploymentsArgs) -> Outcome {
    let path = format!("/functions/{}/deployments?limit={}", args.page.name, args.page.limit);
    if let Some(id) = &args.log {
        let id = match id.as_str() {
            "last" => newest(session, &args.page).await?,
            id => id.parse().map_err(|e: types::id::Error| Failure::Usage(e.to_string()))?,
        };
        return build_log(session, id).await;
    }
    let list: DeploymentList = session.client.get(&path).await?;
    session.screen.result(&list, |paint| {
        if list.deployments.is_empty() {
            return format!("{} has no deployments that are remembered\n", args.page.name);
        }
        deployment_words(&list.deployments, table::now(), paint)
    })
}

async fn newest(session: &Session, page: &PageArgs) -> Outcome<DeploymentId> {
    let list: DeploymentList = session.client.get(&format!("/functions/{}/deployments?limit=1", page.name)).await?;
    let newest = list.deployments.first().map(|deployment| deployment.id);
    newest.ok_or_else(|| Failure::Usage(format!("{} has no deployments that are remembered", page.name)))
}

async fn build_log(session: &Session, id: DeploymentId) -> Outcome {
    let mut lines = session.client.lines::<BuildLine>(&format!("/deployments/{id}/log")).await?;
    let paint = session.screen.paint_out();
    while let Some(line) = lines.next().await? {
        if session.screen.json {
            session.screen.document(&line)?;
            continue;
        }
        let time = paint.dim(&table::clock(line.time));
        let text = if line.step { paint.bold(&line.text) } else { format!("  {}", line.text) };
        session.screen.line(&format!("{time} {text}"))?;
    }
    Ok(())
}

fn deployment_words(deployments: &[Deployment], now: Timestamp, paint: Paint) -> String {
    let mut rows = Table::new(&["ID", ">AGE", ">TOOK", "STAGE", "REVISION", "WHY"]);
    for deployment in deployments {
        let took = deployment.ended.map(|end| table::millis(end.0.saturating_sub(deployment.started.0)));
        let stage = if deployment.unchanged { "unchanged" } else { stage(deployment.stage) };
        rows.row([
            deployment.id.to_string(),
            table::age(now, deployment.started),
            took.unwrap_or_else(|| "-".to_owned()),
            stage.to_owned(),
            deployment.revision.as_ref().map_or_else(|| "-".to_owned(), |id| id.number.to_string()),
            deployment.fault.as_ref().map(ToString::to_string).unwrap_or_default(),
        ]);
    }
    rows.render(paint)
}

fn stage(stage: record::Stage) -> &'static str {
    match stage {
        record::Stage::Building => "building",
        record::Stage::Packing => "packing",
        record::Stage::Probing => "probing",
        record::Stage::Live => "live",
        record::Stage::Failed => "failed",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn calls_show_how_they_went() {
        let id = "00000000-0000-4000-8000-000000000001";
        let calls: Vec<Invocation> = serde_json::from_value(json!([
            { "id": id, "revision": "hello@3", "instance": id, "started": "2026-09-21T14:13:20Z",
              "duration_us": 1_234, "waited_us": 0, "cold": false, "outcome": "ok", "status": 200, "code": null },
            { "id": id, "revision": "hello@3", "instance": null, "started": "2026-09-21T14:13:10Z",
              "duration_us": 30_000_000, "waited_us": 80_000, "cold": true, "outcome": "timed_out", "status": 0,
              "code": "function_timeout" },
        ]))
        .unwrap();
        let text = invocation_words(&calls, Paint::plain());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].ends_with("1.23 ms     0 µs  warm      200  ok"), "{text}");
        assert!(lines[2].ends_with("30.00 s  80.0 ms  cold        -  timed out (function_timeout)"), "{text}");
    }

    #[test]
    fn deployments_say_why_they_failed() {
        let id = "00000000-0000-4000-8000-000000000001";
        let deployments: Vec<Deployment> = serde_json::from_value(json!([
            { "id": id, "function": "hello", "stage": "failed", "revision": null, "url": null,
              "fault": { "code": "build_failed", "detail": "npm ci ended with status 1" },
              "started": "2026-09-21T14:13:20Z", "ended": "2026-09-21T14:13:21.240Z" },
            { "id": id, "function": "hello", "stage": "live", "revision": "hello@3", "unchanged": true, "fault": null,
              "url": "http://x", "started": "2026-09-21T14:13:20Z", "ended": "2026-09-21T14:13:20.010Z" },
        ]))
        .unwrap();
        let text = deployment_words(&deployments, "2026-09-21T14:14:20Z".parse().unwrap(), Paint::plain());
        assert!(text.contains("1.24 s  failed     -         build_failed: npm ci ended with status 1\n"), "{text}");
        assert!(text.contains("10 ms  unchanged  3\n"), "{text}");
    }
}
