//! Tables of cases for the decision.

use super::*;

const ONE: Policy = Policy { slots: 1, min: 0, max: 1000, target: None, cpu: None, cores: 4, drain: 10.0 };

/// So many calls at once for a minute, of half a second each.
fn steady(calls: f32, peak: u32) -> Facts {
    let sums = |span: f32| Sums {
        span,
        area: calls * span,
        peak,
        arrivals: (calls * span * 2.0) as u32,
        ended: (calls * span * 2.0) as u32,
        served: (calls * span * 2.0).trunc() * 0.5,
        ..Sums::default()
    };
    Facts { stable: sums(60.0), panic: sums(6.0), before: sums(6.0), start: 1.0, ..Facts::default() }
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
    let spike = Facts { panic: Sums { span: 6.0, area: 60.0, peak: 10, ..Sums::default() }, ..idle };
    // Ten a second of two seconds each: twenty at once, though only few are there yet.
    let coming = Sums { span: 2.0, area: 10.0, arrivals: 20, ended: 4, served: 8.0, peak: 40, ..Sums::default() };
    for (what, facts, policy, want) in [
        ("calls now", Facts { in_flight: 3, ..idle }, ONE, (3, Input::Now)),
        ("waiting now", Facts { waiting: 5, in_flight: 3, ..idle }, ONE, (8, Input::Now)),
        ("slots are shared", Facts { waiting: 5, in_flight: 3, ..idle }, Policy { slots: 4, ..ONE }, (2, Input::Now)),
        ("used lately", Facts { used_lately: true, ..idle }, ONE, (1, Input::Used)),
        ("by the target", steady(7.0, 50), Policy { target: Some(0.7), ..ONE }, (10, Input::Stable)),
        (
            "by the target, shared",
            steady(70.0, 99),
            Policy { target: Some(0.7), slots: 10, ..ONE },
            (10, Input::Stable),
        ),
        ("room for chance", steady(16.0, 50), ONE, (21, Input::Stable)),
        ("relatively less room for a crowd", steady(400.0, 999), ONE, (424, Input::Stable)),
        ("never more than there were", steady(10.0, 10), ONE, (10, Input::Stable)),
        ("a spike counts at once", spike, ONE, (10, Input::Panic)),
        ("arrivals before they are there", Facts { panic: coming, ..idle }, ONE, (26, Input::Arrivals)),
        ("cpu", cpu, Policy { cpu: Some(0.75), ..ONE }, (2, Input::Cpu)),
        ("cpu ends at the host's cores", cpu, Policy { cpu: Some(0.01), ..ONE }, (4, Input::Cpu)),
        ("cpu that nobody asked about", cpu, ONE, (0, Input::Used)),
        ("lag, nothing known", Facts { lag: 1000, ..idle }, ONE, (1, Input::Lag)),
        ("lag: 1000 of half a second in 10 s", Facts { lag: 1000, ..steady(1.0, 1) }, ONE, (50, Input::Lag)),
        ("schedule", Facts { schedule: 5, used_lately: true, ..idle }, ONE, (5, Input::Schedule)),
        ("predicted", Facts { predicted: 9.0, ..idle }, ONE, (13, Input::Predicted)),
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
fn growth_is_met_ahead() {
    let grown = |before: f32, now: f32| Facts {
        before: Sums { span: 6.0, area: before * 6.0, ..Sums::default() },
        panic: Sums { span: 6.0, area: now * 6.0, peak: 100, ..Sums::default() },
        start: 3.0,
        ..Facts::default()
    };
    // One more each second; the average is 3 s old, the start takes 3 s.
    assert_eq!(ahead(&grown(10.0, 16.0)), 22.0);
    assert_eq!(ahead(&grown(16.0, 10.0)), 10.0, "a fall is met when it is there");
    assert_eq!(ahead(&grown(0.0, 10.0)), 20.0, "twice at most");
}

#[test]
fn a_start_that_comes_too_late_is_not_made() {
    let busy = |ready: u32, waiting: u32| Facts { ready, in_flight: ready, waiting, ..steady(10.0, 50) };
    for (what, facts, want) in [
        // 20 slots end 40 calls in the second that a start takes; 20 come and 5 wait.
        ("the slots take them sooner", busy(20, 5), 0),
        ("10 slots end 20, 20 come", busy(10, 5), 5),
        ("12 slots end 24, 20 come, one is left over", busy(12, 5), 1),
        ("who waits longer than a start", Facts { oldest_wait: 1.1, ..busy(20, 5) }, 5),
        ("no slot at all", Facts { in_flight: 0, ..busy(0, 5) }, 5),
        ("nothing known", Facts { stable: Sums::default(), panic: Sums::default(), ..busy(20, 5) }, 5),
    ] {
        assert_eq!(worth_a_start(&facts, &ONE), want, "{what}");
    }
}
