//! `mayfly describe NAME --scaling`: why a function has as many instances as it has.

use crate::cli::{
    Session,
    failure::Outcome,
    screen::Paint,
    table::{self, Table},
};
use std::fmt::Write as _;
use types::{
    FunctionName, Timestamp,
    scaling::{Scaling, ScalingList},
};

pub async fn run(session: &Session, name: &FunctionName) -> Outcome {
    let list: ScalingList = session.client.get(&format!("/functions/{name}/scaling")).await?;
    session.screen.result(&list, |paint| words(&list, table::now(), paint))
}

fn words(list: &ScalingList, now: Timestamp, paint: Paint) -> String {
    if list.revisions.is_empty() {
        return "nothing was decided yet: it has had no call since the platform started\n".to_owned();
    }
    let revisions = list.revisions.iter().map(|scaling| one(scaling, now, paint));
    revisions.collect::<Vec<_>>().join("\n")
}

fn one(scaling: &Scaling, now: Timestamp, paint: Paint) -> String {
    let Scaling { ready, starting, draining, wanted, limits, traffic, .. } = scaling;
    let age = table::age(now, scaling.time);
    let mut text = format!("{}  wants {wanted}: {}\n", paint.bold(&scaling.revision.to_string()), scaling.reason);
    let _ = writeln!(text, "ready {ready} · starting {starting} · draining {draining} · decided {age} ago");
    let _ = writeln!(
        text,
        "min {} · max {} · slots {} · may start {} now",
        limits.min, limits.max, limits.slots, limits.growth
    );
    let _ = writeln!(
        text,
        "calls now {} ({} wait) · average {:.2} · peak {} · {:.1} a second · {} each · start {}",
        traffic.calls,
        traffic.waiting,
        traffic.average,
        traffic.peak,
        traffic.arrivals,
        table::micros(traffic.duration_us),
        table::micros(traffic.start_us),
    );
    if let Some(failing) = &scaling.failing {
        let _ = writeln!(text, "nothing is started for now: {failing}");
    }
    let mut rows = Table::new(&["INPUT", ">INSTANCES", "MEASURED"]);
    for input in &scaling.inputs {
        rows.row([input.name.clone(), input.instances.to_string(), input.measured.clone()]);
    }
    text + &rows.render(paint)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_and_the_inputs_are_shown() {
        let list: ScalingList = serde_json::from_value(serde_json::json!({ "revisions": [{
            "revision": "hello@3", "time": "2026-09-21T14:10:00Z", "ready": 2, "starting": 1, "draining": 0, "wanted": 3,
            "reason": "now asks for 3 instances: 2 calls in flight, 1 waiting",
            "inputs": [{ "name": "now", "measured": "2 calls in flight, 1 waiting", "instances": 3 },
                       { "name": "stable", "measured": "0.50 calls at once over 60 s", "instances": 2 }],
            "limits": { "min": 0, "max": 50, "slots": 1, "growth": 997 },
            "traffic": { "calls": 3, "waiting": 1, "average": 0.5, "peak": 3, "arrivals": 1.5, "rejected": 0,
                         "duration_us": 250_000, "start_us": 120_000, "cpu": 0.0, "lag": 0 },
            "failing": "start_failed: status 1",
        }]}))
        .unwrap();
        let text = words(&list, "2026-09-21T14:10:02Z".parse().unwrap(), Paint::plain());
        for part in [
            "hello@3  wants 3: now asks for 3 instances",
            "ready 2 · starting 1 · draining 0 · decided 2 s ago",
            "min 0 · max 50 · slots 1 · may start 997 now",
            "calls now 3 (1 wait) · average 0.50 · peak 3",
            "nothing is started for now: start_failed",
            "stable          2  0.50 calls at once over 60 s\n",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
        let none = words(&ScalingList { revisions: Vec::new() }, table::now(), Paint::plain());
        assert!(none.contains("nothing was decided yet"), "{none}");
    }
}
