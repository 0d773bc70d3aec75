//! The decision: how many instances a revision should have. Plain data in, a number out.

/// What is asked of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Calls in flight and waiting now.
    pub now: u32,
    /// Most calls at once within the last minute.
    pub window_max: u32,
    /// It had a call within its idle time.
    pub used_lately: bool,
}

/// What its owner wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Calls at once in one instance.
    pub slots: u32,
    pub min: u32,
    pub max: u32,
}

/// Instances wanted: enough for what is asked now and was asked within the window (fast up, slow down), one while it
/// was used lately, and always between `min` and `max`.
pub fn wanted(demand: Demand, policy: Policy) -> u32 {
    let calls = demand.now.max(demand.window_max);
    let busy = calls.div_ceil(policy.slots.max(1));
    let floor = u32::from(demand.used_lately && calls == 0);
    let asked = if demand.used_lately || demand.now > 0 { busy.max(floor) } else { 0 };
    asked.clamp(policy.min, policy.max.max(policy.min))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wanted_follows_the_demand() {
        let policy = Policy { slots: 2, min: 0, max: 4 };
        for (now, window_max, used_lately, want) in [
            (0, 0, false, 0),
            (0, 0, true, 1),
            (1, 1, true, 1),
            (2, 2, true, 1),
            (3, 3, true, 2),
            (0, 7, true, 4),
            (100, 0, false, 4),
            // Long idle, whatever the window saw.
            (0, 5, false, 0),
        ] {
            let demand = Demand { now, window_max, used_lately };
            assert_eq!(wanted(demand, policy), want, "{demand:?}");
        }
        let idle = Demand { now: 0, window_max: 0, used_lately: false };
        assert_eq!(wanted(idle, Policy { slots: 1, min: 2, max: 4 }), 2);
    }
}
