//! The fleet against Knative's documented algorithm, and scale-downs that cut nothing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use mayfly_sim::{
    report::Report,
    shape::{Arrival, Load, Shape},
    world::{Scaler, Setup, World, in_virtual_time},
};
use std::time::Duration;

/// The same idle time for both: Knative's window and grace.
const MANIFEST: &str = "[scale]\nmax=1000\nidle='90s'";
const START: Duration = Duration::from_secs(1);

fn run(scaler: Scaler, load: Load, manifest: &str, start: Duration) -> Report {
    in_virtual_time(async {
        let world = World::new(&Setup::new(scaler, manifest, start), 1);
        world.run(&load.arrivals(1), Duration::from_secs(120)).await
    })
}

#[test]
fn knative_is_beaten_on_waiting_at_no_more_instance_seconds() {
    let mut lost = Vec::new();
    println!("{:38}{}", "", Report::HEAD);
    for (rate, ms) in [(20.0, 200), (100.0, 200), (20.0, 2000)] {
        for shape in Shape::ALL {
            let load = Load { shape, rate, mean: Duration::from_millis(ms) };
            let [ours, theirs] = [Scaler::Mayfly, Scaler::Knative].map(|scaler| {
                let report = run(scaler, load, MANIFEST, START);
                println!("{:8} {rate:4}/s {ms:5} ms {:9} {report}", shape.as_str(), format!("{scaler:?}"));
                report
            });
            assert_eq!((ours.failed, ours.cut), (0, 0));
            let (limit, what) = (theirs.wait_p99 + Duration::from_millis(100), load);
            assert!(ours.wait_p99 <= limit, "{what:?}: waits of {:?}", ours.wait_p99);
            let ratio = ours.instance_seconds / theirs.instance_seconds;
            assert!(ratio <= 1.2, "{what:?}: {ratio:.2} of the instance-seconds");
            // Where the load changes fast, on both.
            if matches!(shape, Shape::Spike | Shape::OnOff) {
                assert!(ours.wait_p99 < theirs.wait_p99 && ratio < 0.8, "{what:?}: {ratio:.2}, {:?}", ours.wait_p99);
            }
            if ours.wait_p99 > theirs.wait_p99 || ours.instance_seconds > theirs.instance_seconds {
                lost.push(format!("{} {rate}/s {ms} ms", shape.as_str()));
            }
        }
    }
    println!("not beaten on both: {lost:?}");
}

#[test]
fn two_runs_are_the_same() {
    let load = Load { shape: Shape::Spike, rate: 50.0, mean: Duration::from_millis(300) };
    let [one, two] = [(); 2].map(|()| run(Scaler::Mayfly, load, MANIFEST, START).to_string());
    assert_eq!(one, two);
}

#[test]
fn long_calls_in_flight_survive_scale_down() {
    in_virtual_time(async {
        for manifest in ["[scale]\nidle='5s'\ndown_delay='0s'", "concurrency=4\n[scale]\nidle='5s'\ndown_delay='0s'"] {
            let world = World::new(&Setup::new(Scaler::Mayfly, manifest, START), 3);
            // 20 calls of 50 s among many short ones, which leave: scale-downs happen all the time.
            let mut arrivals: Vec<_> = (0..20)
                .map(|n| Arrival { at: Duration::from_millis(2000 + n * 400), takes: Duration::from_secs(50) })
                .collect();
            let short =
                (0..400).map(|n| Arrival { at: Duration::from_millis(n * 20), takes: Duration::from_millis(500) });
            arrivals.extend(short);
            arrivals.sort_by_key(|one| one.at);
            let report = world.run(&arrivals, Duration::from_secs(120)).await;
            assert!(report.starts > 20 || manifest.contains("concurrency"), "{report}");
            assert_eq!((report.failed, report.cut), (0, 0), "{report}");
            assert_eq!(world.host.running(), 0, "all of it is gone in the end");
        }
    });
}

#[test]
fn zero_to_many_and_back_fails_nothing() {
    in_virtual_time(async {
        let manifest = "[scale]\nidle='2s'\ndown_delay='0s'";
        let world = World::new(&Setup::new(Scaler::Mayfly, manifest, Duration::from_millis(300)), 5);
        for round in 0..50_u64 {
            // The pause is just about the idle time: calls meet instances that are being retired.
            let arrivals: Vec<_> = (0..20)
                .map(|n| Arrival { at: Duration::from_millis(n * 7), takes: Duration::from_millis(100 + n * 3) })
                .collect();
            let report = world.run(&arrivals, Duration::from_millis(1900 + round * 40)).await;
            assert_eq!((report.failed, report.cut), (0, 0), "round {round}: {report}");
        }
        assert!(world.host.seen().starts > 100, "it never went down: {} starts", world.host.seen().starts);
    });
}
