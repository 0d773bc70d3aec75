//! `mayfly deploy --wait`: stays with a canary until the new revision has all traffic, or none.

use crate::{
    cli::{failure::Outcome, progress::Progress},
    client::Client,
};
use std::time::Duration;
use types::{Code, Deployment, Event, Fault, Happening, api::EventList};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Tells each step, and gives the last one.
///
/// # Errors
/// `rolled_back` where the revision did not get all traffic; those of the API.
pub async fn follow(client: &Client, progress: &Progress, deployment: &Deployment) -> Outcome<Event> {
    let path = format!("/functions/{}/events", deployment.function);
    let mut told = 0;
    loop {
        let list: EventList = client.get(&path).await?;
        let ours = |event: &&Event| Some(&event.revision) == deployment.revision.as_ref() && is_of(event, deployment);
        let mut ours: Vec<Event> = list.events.iter().filter(ours).cloned().collect();
        ours.reverse();
        for event in ours.iter().skip(told) {
            progress.done(&format!("{}: {}", event.what.as_str(), event.text));
        }
        told = ours.len().max(told);
        if let Some(end) = ours.into_iter().find(|event| event.what != Happening::CanaryStep) {
            return match end.what {
                Happening::CanaryDone => Ok(end),
                _ => Err(Fault::new(Code::RolledBack, end.text).into()),
            };
        }
        progress.step("waiting for the canary");
        tokio::time::sleep(LOOK).await;
    }
}

/// True for a step or the end of the canary that the deployment began, or found under way.
fn is_of(event: &Event, deployment: &Deployment) -> bool {
    let of_canary = match event.what {
        Happening::CanaryStep | Happening::CanaryDone | Happening::CanaryEnded | Happening::RolledBack => true,
        Happening::Ejected
        | Happening::Replaced
        | Happening::CircuitOpened
        | Happening::CircuitClosed
        | Happening::EmergencyStart => false,
    };
    of_canary && event.time >= deployment.started
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::{
        cli::{failure::Failure, screen::Screen},
        client::tests::{client, full, serve},
    };
    use serde_json::json;
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    /// A platform whose list of events grows with each look; the first one is from before.
    async fn ends_as(what: &'static str) -> Outcome<Event> {
        let looks = Arc::new(AtomicUsize::new(0));
        let url = serve(move |_| {
            let look = looks.fetch_add(1, Ordering::SeqCst) + 1;
            let event = |(n, what): (usize, &str)| {
                json!({ "time": format!("2026-09-21T14:13:2{n}Z"), "revision": "hello@3", "instance": null, "what": what,
                        "text": format!("event {n}") })
            };
            let story = ["rolled_back", "canary_step", "ejected", "canary_step", what];
            let mut events: Vec<_> = story.into_iter().enumerate().take(look * 3).map(event).collect();
            events.reverse();
            async move { full(200, json!({ "events": events }).to_string()) }
        })
        .await;
        let deployment = serde_json::from_value(json!({
            "id": "00000000-0000-4000-8000-000000000001", "function": "hello", "stage": "live", "revision": "hello@3",
            "fault": null, "started": "2026-09-21T14:13:21Z", "ended": null, "url": null,
        }));
        let progress = Progress::for_reloads(&Screen::of_this_process(true));
        follow(&client(&url), &progress, &deployment.unwrap()).await
    }

    #[tokio::test]
    async fn a_canary_is_followed_to_its_end() {
        assert_eq!(ends_as("canary_done").await.unwrap().text, "event 4");
        for what in ["rolled_back", "canary_ended"] {
            let failure = ends_as(what).await.unwrap_err();
            assert!(matches!(&failure, Failure::Fault(fault) if fault.code == Code::RolledBack), "{failure:?}");
            assert_eq!((failure.exit_code(), failure.message().as_str()), (1, "event 4"));
        }
    }
}
