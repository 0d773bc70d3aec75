//! The decision: how many instances a revision is to have, and why. Plain data in, plain data out.
//!
//! Each input says how many instances it takes alone; the largest decides, held up for `down_delay`, between `min` and
//! `max`. [Why so](../../../../docs/decisions/0050-scaling.md).

use crate::{staffing, window::Sums};

/// What was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Facts {
    /// Instances that take calls, and those that will.
    pub ready: u32,
    pub starting: u32,
    pub in_flight: u32,
    /// Calls that somebody waits for.
    pub waiting: u32,
    /// Seconds that the first in the queue has waited.
    pub oldest_wait: f32,
    /// Seconds that a start usually takes.
    pub start: f32,
    /// Mean seconds that a call holds its slot; `None` where none had one yet.
    pub duration: Option<f32>,
    /// The whole window, its last seconds, and those since the arrivals changed last.
    pub stable: Sums,
    pub panic: Sums,
    pub steady: Sums,
    /// Deferred calls that wait.
    pub lag: u32,
    /// Floors in instances.
    pub schedule: u32,
    /// Calls at once that the last days had at this time.
    pub predicted: f32,
    /// It had a call within its idle time.
    pub used_lately: bool,
}

/// What its owner wants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// Calls at once in one instance.
    pub slots: u32,
    pub min: u32,
    pub max: u32,
    /// Share of the slots that is to be busy; `None` lets the traffic say: [`staffing`].
    pub target: Option<f32>,
    /// Cores that an instance is to use.
    pub cpu: Option<f32>,
    /// Cores of the host: more instances than these get no more done.
    pub cores: u32,
    /// Seconds in which what waits elsewhere is to be worked off.
    pub drain: f32,
}

/// Where a number of instances comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    Now,
    Stable,
    Panic,
    Arrivals,
    Cpu,
    Lag,
    Schedule,
    Predicted,
    Used,
}

impl Input {
    pub const ALL: [Self; 9] = [
        Self::Now,
        Self::Stable,
        Self::Panic,
        Self::Arrivals,
        Self::Cpu,
        Self::Lag,
        Self::Schedule,
        Self::Predicted,
        Self::Used,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::Stable => "stable",
            Self::Panic => "panic",
            Self::Arrivals => "arrivals",
            Self::Cpu => "cpu",
            Self::Lag => "lag",
            Self::Schedule => "schedule",
            Self::Predicted => "predicted",
            Self::Used => "used",
        }
    }
}

/// What each input asks for, and which one decides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// Before the delay and the limits.
    pub asked: u32,
    /// The same without what is there at this moment: a moment's crowd is not what is held for the whole delay.
    pub lasting: u32,
    pub by: Input,
    pub inputs: [u32; Input::ALL.len()],
}

/// What `facts` ask for under `policy`.
pub fn decide(facts: &Facts, policy: &Policy) -> Decision {
    let inputs = Input::ALL.map(|input| instances(input, facts, policy));
    // The first of the largest: they stand in the order in which people look for a reason.
    let (mut by, mut asked) = (Input::Used, 0);
    for (input, count) in Input::ALL.into_iter().zip(inputs) {
        if count > asked {
            (by, asked) = (input, count);
        }
    }
    let lasting = Input::ALL.into_iter().zip(inputs).filter(|(input, _)| *input != Input::Now);
    let lasting = lasting.map(|(_, count)| count).max().unwrap_or(0);
    Decision { asked, lasting, by, inputs }
}

/// Instances that one input takes alone.
fn instances(input: Input, facts: &Facts, policy: &Policy) -> u32 {
    let slots = policy.slots.max(1);
    match input {
        Input::Now => (facts.in_flight + worth_a_start(facts, policy)).div_ceil(slots),
        Input::Stable => by_target(facts.stable.calls(), policy),
        Input::Panic => by_target(facts.panic.calls(), policy),
        Input::Arrivals => arrivals(facts, policy),
        Input::Cpu => policy
            .cpu
            .map_or(0, |target| whole(facts.stable.cores().max(facts.panic.cores()) / target).min(policy.cores)),
        Input::Lag => backlog(facts, policy),
        Input::Schedule => facts.schedule,
        Input::Predicted => for_calls(facts.predicted, policy.target, policy.slots),
        Input::Used => u32::from(facts.used_lately),
    }
}

/// Of the calls that wait, those that an instance started now would help: where the slots that there are will have taken
/// them before it is ready, it would come to nothing.
fn worth_a_start(facts: &Facts, policy: &Policy) -> u32 {
    let slots = (facts.ready * policy.slots) as f32;
    let (Some(duration), true) = (facts.duration, slots > 0.0) else { return facts.waiting };
    // Somebody waits for longer than a start already: the averages are wrong about this queue.
    if facts.oldest_wait > facts.start {
        return facts.waiting;
    }
    let coming = facts.steady.rate() * facts.start;
    let going = slots / duration.max(1e-6) * facts.start;
    let left = facts.waiting as f32 + coming - going;
    whole(left).min(facts.waiting)
}

/// Calls at once when a start that begins now is done: how many on average, and by how much that varies (its variance).
///
/// Of those that are here, some stay; of those that come meanwhile, some are still there. Where calls are short against a
/// start, that is arrivals × duration (Little's law); where they are long, it is what is there now, known for sure.
/// Source: Whitt 1999, "Dynamic staffing in a telephone call center aiming to immediately answer all calls".
pub(crate) fn expected(facts: &Facts) -> (f32, f32) {
    let Some(duration) = facts.duration else { return (0.0, 0.0) };
    let stay = (-facts.start / duration.max(1e-6)).exp();
    let old = (facts.in_flight + facts.waiting) as f32 * stay;
    let new = facts.steady.rate() * duration * (1.0 - stay);
    // The rate is an estimate itself, and a bad one right after a change.
    let doubt = new * new / facts.steady.arrivals.max(1) as f32;
    (old + new, old * (1.0 - stay) + new + doubt)
}

/// Instances for what is expected: by the target, or with as much room as is worth its price.
fn arrivals(facts: &Facts, policy: &Policy) -> u32 {
    let (calls, variance) = expected(facts);
    if policy.target.is_some() {
        return by_target(calls, policy);
    }
    if calls <= 0.0 {
        return 0;
    }
    // The formula is about calls that come independently of each other, whose variance is their mean.
    let room = (staffing::slots(calls, policy.slots) - calls) * (variance / calls).sqrt();
    in_instances((calls + room).round(), policy)
}

/// Instances of `slots` for so many calls at once: by the target's share, or by what a slot is worth where there is none.
pub(crate) fn for_calls(calls: f32, target: Option<f32>, slots: u32) -> u32 {
    let wanted = target.map_or_else(|| staffing::slots(calls, slots), |target| calls / target);
    whole(wanted / slots.max(1) as f32)
}

/// Instances of which the target's share is busy with so many calls at once; none where there is no target.
fn by_target(calls: f32, policy: &Policy) -> u32 {
    policy.target.map_or(0, |target| in_instances(calls / target, policy))
}

fn in_instances(slots: f32, policy: &Policy) -> u32 {
    whole(slots / policy.slots.max(1) as f32)
}

/// Instances that work off the lag in the time for it.
fn backlog(facts: &Facts, policy: &Policy) -> u32 {
    if facts.lag == 0 {
        return 0;
    }
    // Nothing known about a call: one instance finds out.
    let Some(duration) = facts.duration else { return 1 };
    let each = policy.slots.max(1) as f32 / duration.max(1e-6);
    whole(facts.lag as f32 / (policy.drain.max(0.1) * each)).max(1)
}

/// Rounded up; a ten-thousandth is an error of the floating point, not an instance.
fn whole(count: f32) -> u32 {
    (count - 1e-4).ceil().max(0.0) as u32
}

#[cfg(test)]
mod tests;
