//! `mayfly describe`: one function with its aliases, routes, revisions and instances.

mod scaling;

use super::{
    Session, alias,
    args::DescribeArgs,
    failure::Outcome,
    list, route,
    screen::Paint,
    table::{self, Table},
};
use std::fmt::Write as _;
use types::{
    Event, Revision, Timestamp,
    api::{FunctionDetail, InstanceState, InstanceView},
};

/// Revisions shown to people; `--json` has them all.
const REVISIONS_SHOWN: usize = 10;
/// Events shown to people.
const EVENTS_SHOWN: usize = 10;

pub async fn run(session: &Session, args: DescribeArgs) -> Outcome {
    if args.scaling {
        return scaling::run(session, &args.function.name).await;
    }
    let args = args.function;
    let detail: FunctionDetail = session.client.get(&format!("/functions/{}", args.name)).await?;
    session.screen.result(&detail, |paint| words(&detail, table::now(), paint))
}

fn words(detail: &FunctionDetail, now: Timestamp, paint: Paint) -> String {
    let mut text = format!("{}  {}\n", paint.bold(detail.name.as_str()), detail.url);
    let _ = writeln!(text, "tenant {} · created {}", detail.tenant, table::date(detail.created));
    if let Some(newest) = detail.revisions.first() {
        text += &configuration(newest);
    }
    let mut section = |title: &str, body: String| {
        let _ = write!(text, "\n{}\n{body}", paint.bold(title));
    };
    section("Aliases", aliases(detail, now, paint));
    if !detail.routes.is_empty() {
        section("Routes", route::words(&detail.routes, paint));
    }
    section("Revisions", revisions(detail, now, paint));
    section("Instances", instances(&detail.instances, now, paint));
    if !detail.events.is_empty() {
        section("Events", events(&detail.events, now, paint));
    }
    text
}

/// The newest revision's settings.
fn configuration(revision: &Revision) -> String {
    let spec = &revision.spec;
    let mut text = format!("{} · {}", spec.runtime, spec.contract);
    if let Some(entry) = &spec.entry {
        let _ = write!(text, " · {entry}");
    }
    let _ = writeln!(text, " (revision {})", revision.id.number);
    let _ = writeln!(
        text,
        "memory {} · timeout {} · concurrency {} · instances {} to {} · idle {}",
        spec.memory, spec.timeout, spec.concurrency, spec.scale.min, spec.scale.max, spec.scale.idle
    );
    let _ = writeln!(text, "request {} · response {}", table::limit(spec.request_max), table::limit(spec.response_max));
    if !spec.env.is_empty() {
        // Names only: values are often secret, and this output is often pasted.
        let _ = writeln!(text, "env {}", spec.env.keys().cloned().collect::<Vec<_>>().join(", "));
    }
    text
}

fn aliases(detail: &FunctionDetail, now: Timestamp, paint: Paint) -> String {
    let mut rows = Table::new(&["ALIAS", "REVISION", ">CHANGED", "BEFORE"]);
    for alias in &detail.aliases {
        let before = alias.history.iter().rev().take(5).map(ToString::to_string).collect::<Vec<_>>().join(" ");
        rows.row([alias.name.to_string(), list::targets(&alias.targets), table::age(now, alias.changed), before]);
    }
    if rows.is_empty() {
        return "none: no deploy has succeeded yet\n".to_owned();
    }
    let mut text = rows.render(paint) + &alias::canaries(&detail.aliases, now);
    for (alias, seen) in &detail.canaries {
        let _ = writeln!(text, "{alias}: {seen}");
    }
    text
}

fn revisions(detail: &FunctionDetail, now: Timestamp, paint: Paint) -> String {
    let mut rows = Table::new(&["REVISION", ">AGE", "RUNTIME", "CONTRACT", "CONTENT"]);
    for revision in detail.revisions.iter().take(REVISIONS_SHOWN) {
        rows.row([
            revision.id.number.to_string(),
            table::age(now, revision.created),
            revision.spec.runtime.to_string(),
            revision.spec.contract.to_string(),
            revision.content.hex().get(..12).unwrap_or_default().to_owned(),
        ]);
    }
    let mut text = rows.render(paint);
    let hidden = detail.revisions.len().saturating_sub(REVISIONS_SHOWN);
    if hidden > 0 {
        let _ = writeln!(text, "and {hidden} older ones (--json has them)");
    }
    text
}

fn instances(instances: &[InstanceView], now: Timestamp, paint: Paint) -> String {
    if instances.is_empty() {
        return "none: the next call starts one\n".to_owned();
    }
    let mut rows = Table::new(&["INSTANCE", "REVISION", "STATE", ">AGE", ">MEMORY", ">PID", ">START", "COLD START"]);
    for instance in instances {
        let id = instance.id.to_string();
        let total = instance.start_us.iter().map(|(_, us)| us).sum();
        let phases =
            instance.start_us.iter().map(|(name, us)| format!("{name} {}", table::micros(*us))).collect::<Vec<_>>();
        rows.row([
            id.get(..8).unwrap_or(&id).to_owned(),
            instance.revision.number.to_string(),
            state(instance.state).to_owned(),
            table::age(now, instance.started),
            table::size(instance.memory_bytes),
            instance.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            table::micros(total),
            phases.join(", "),
        ]);
    }
    rows.render(paint)
}

fn events(events: &[Event], now: Timestamp, paint: Paint) -> String {
    let mut rows = Table::new(&[">AGE", "REVISION", "INSTANCE", "WHAT", "WHY"]);
    for event in events.iter().take(EVENTS_SHOWN) {
        let instance = event.instance.map_or_else(|| "-".to_owned(), |id| id.to_string().chars().take(8).collect());
        let (number, what) = (event.revision.number.to_string(), event.what.as_str().to_owned());
        rows.row([table::age(now, event.time), number, instance, what, event.text.clone()]);
    }
    rows.render(paint)
}

fn state(state: InstanceState) -> &'static str {
    match state {
        InstanceState::Starting => "starting",
        InstanceState::Ready => "ready",
        InstanceState::Draining => "draining",
        InstanceState::Stopped => "stopped",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use types::Manifest;

    fn detail() -> FunctionDetail {
        let spec = Manifest::parse("name = 'hello'\nruntime = 'python'\nentry = 'app.handler'\n[env]\nKEY = 'secret'")
            .unwrap()
            .spec();
        let digest = format!("sha256:{}", "ab".repeat(32));
        serde_json::from_value(serde_json::json!({
            "name": "hello", "created": "2026-09-21T14:00:00Z", "url": "http://127.0.0.1:8080/hello",
            "aliases": [{ "function": "hello", "name": "live", "targets": [{"revision": 2, "weight": 100}],
                          "history": [1], "changed": "2026-09-21T14:10:00Z" }],
            "routes": [{ "host": null, "path": "/hi/*", "methods": ["GET"], "function": "hello", "alias": "live" }],
            "revisions": [{ "id": "hello@2", "content": digest, "artifact": digest, "spec": spec,
                            "created": "2026-09-21T14:10:00Z" }],
            "instances": [{ "id": "7f3a9c01-0000-4000-8000-000000000001", "revision": "hello@2", "state": "ready",
                            "started": "2026-09-21T14:10:00Z", "pid": 42, "memory_bytes": 12_582_912,
                            "start_us": [["fetch", 300], ["spawn", 21_700]] }],
        }))
        .unwrap()
    }

    #[test]
    fn everything_about_a_function_is_shown() {
        let text = words(&detail(), "2026-09-21T14:12:00Z".parse().unwrap(), Paint::plain());
        for part in [
            "hello  http://127.0.0.1:8080/hello\n",
            "python · handler · app.handler (revision 2)\n",
            "memory 256MiB · timeout 30s · concurrency 1 · instances 0 to 50 · idle 5m\n",
            "env KEY\n",
            "live   2           2 min  1\n",
            "/hi/*",
            "abababababab\n",
            "7f3a9c01  2         ready  2 min  12.0 MiB   42  22.0 ms  fetch 300 µs, spawn 21.7 ms\n",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
        assert!(!text.contains("secret"), "{text}");
    }

    #[test]
    fn a_canary_is_shown_where_it_stands() {
        let mut detail = detail();
        let plan = types::Canary { steps: types::canary::steps("5,25:2m").unwrap(), ..types::Canary::default() };
        let since = "2026-09-21T14:11:00Z".parse().unwrap();
        detail.aliases[0].canary = Some(types::canary::Rollout { from: 1, to: 2, step: 1, since, plan });
        detail.canaries.insert(types::AliasName::live(), "in 60s no calls; the old one: no calls".to_owned());
        let text = words(&detail, "2026-09-21T14:12:00Z".parse().unwrap(), Paint::plain());
        assert!(text.contains("live: in 60s no calls; the old one: no calls\n"), "{text}");
        let line =
            "live: revision 2 has 25 % for 2m (step 2 of 2), since 1 min; it goes back to 1 where it does worse\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn an_idle_function_says_that_the_next_call_starts_it() {
        let mut detail = detail();
        detail.instances.clear();
        let text = words(&detail, table::now(), Paint::plain());
        assert!(text.contains("none: the next call starts one"), "{text}");
    }
}
