//! Tables of cases for the decision.

use super::*;

const ONE: Policy = Policy { slots: 1, min: 0, max: 1000, target: None, cpu: None, cores: 4, drain: 10.0 };

/// So many calls at once for a minute, of half a second each.
fn steady(calls: f32) -> Facts {
    let sums = |span: f32| Sums {
        span,
        area: calls * span,
        busy: calls * span,
        peak: 99,
        arrivals: (calls * span * 2.0) as u32,
        ended: (calls * span * 2.0) as u32,
        ..Sums::default()
    };
    let (stable, panic) = (sums(60.0), sums(6.0));
    Facts { stable, panic, steady: stable, duration: Some(0.5), start: 10.0, ..Facts::default() }
}

fn ask(facts: Facts, policy: Policy) -> (u32, Input) {
    let decision = decide(&facts, &policy);
    (decision.asked, decision.by)
}

#[test]
fn nothing_asks_for_nothing() {
    assert_eq!(decide(&Facts::default(), &ONE).asked, 0);
}

#[test]
fn each_input_can_decide() {
    let idle = Facts::default();
    let cpu = Facts { stable: Sums { span: 60.0, cpu: 90.0, ..Sums::default() }, ..idle };
    let target = Policy { target: Some(0.7), ..ONE };
    let spike = Facts { panic: Sums { span: 6.0, area: 60.0, peak: 10, ..Sums::default() }, ..idle };
    // Ten a second of two seconds each: twenty at once, though only few are there yet.
    let coming = Sums { span: 2.0, arrivals: 20, ..Sums::default() };
    let coming = Facts { steady: coming, duration: Some(2.0), in_flight: 5, start: 60.0, ..idle };
    for (what, facts, policy, want) in [
        ("calls now", Facts { in_flight: 3, ..idle }, ONE, (3, Input::Now)),
        ("waiting now", Facts { waiting: 5, in_flight: 3, ..idle }, ONE, (8, Input::Now)),
        ("slots are shared", Facts { waiting: 5, in_flight: 3, ..idle }, Policy { slots: 4, ..ONE }, (2, Input::Now)),
        ("used lately", Facts { used_lately: true, ..idle }, ONE, (1, Input::Used)),
        ("by the target", steady(7.0), target, (10, Input::Stable)),
        ("by the target, shared", steady(70.0), Policy { slots: 10, ..target }, (10, Input::Stable)),
        ("by the target, a spike counts at once", spike, target, (15, Input::Panic)),
        ("by the target, arrivals before they are there", coming, target, (29, Input::Arrivals)),
        ("as much room as is worth it", steady(16.0), ONE, (23, Input::Arrivals)),
        ("relatively less room for a crowd", steady(400.0), ONE, (450, Input::Arrivals)),
        ("arrivals before they are there", coming, ONE, (33, Input::Arrivals)),
        ("cpu", cpu, Policy { cpu: Some(0.75), ..ONE }, (2, Input::Cpu)),
        ("cpu ends at the host's cores", cpu, Policy { cpu: Some(0.01), ..ONE }, (4, Input::Cpu)),
        ("cpu that nobody asked about", cpu, ONE, (0, Input::Used)),
        ("lag, nothing known", Facts { lag: 1000, ..idle }, ONE, (1, Input::Lag)),
        ("lag: 1000 of half a second in 10 s", Facts { lag: 1000, ..steady(1.0) }, ONE, (50, Input::Lag)),
        ("schedule", Facts { schedule: 5, used_lately: true, ..idle }, ONE, (5, Input::Schedule)),
        ("predicted", Facts { predicted: 9.0, ..idle }, ONE, (14, Input::Predicted)),
        (
            "predicted, by the target",
            Facts { predicted: 9.0, ..idle },
            Policy { target: Some(0.9), ..ONE },
            (10, Input::Predicted),
        ),
    ] {
        assert_eq!(ask(facts, policy), want, "{what}");
    }
}

#[test]
fn what_is_expected_when_a_start_is_done() {
    let facts = |in_flight: u32, duration: f32| Facts {
        in_flight,
        duration: Some(duration),
        start: 1.0,
        steady: Sums { span: 60.0, arrivals: 6000, ..Sums::default() },
        ..Facts::default()
    };
    for (what, facts, calls, deviation) in [
        ("short calls: what comes", facts(3, 0.1), 10.0, 3.2),
        ("short calls: whatever is there", facts(30, 0.1), 10.0, 3.2),
        ("long calls: what is there, and 100 more", facts(500, 1000.0), 599.5, 10.1),
        ("as long as a start: between the two", facts(200, 1.0), 136.8, 10.5),
        ("nothing known", Facts { duration: None, ..facts(3, 1.0) }, 0.0, 0.0),
    ] {
        let (mean, variance) = expected(&facts);
        assert!((mean - calls).abs() < 0.1 && (variance.sqrt() - deviation).abs() < 0.1, "{what}: {mean}, {variance}");
    }
}

#[test]
fn a_start_that_comes_too_late_is_not_made() {
    let busy = |ready: u32, waiting: u32| Facts { ready, in_flight: ready, waiting, start: 1.0, ..steady(10.0) };
    for (what, facts, want) in [
        // 20 slots end 40 calls in the second that a start takes; 20 come and 5 wait.
        ("the slots take them sooner", busy(20, 5), 0),
        ("10 slots end 20, 20 come", busy(10, 5), 5),
        ("12 slots end 24, 20 come, one is left over", busy(12, 5), 1),
        ("who waits longer than a start", Facts { oldest_wait: 1.1, ..busy(20, 5) }, 5),
        ("no slot at all", Facts { in_flight: 0, ..busy(0, 5) }, 5),
        ("nothing known", Facts { duration: None, ..busy(20, 5) }, 5),
    ] {
        assert_eq!(worth_a_start(&facts, &ONE), want, "{what}");
    }
}
