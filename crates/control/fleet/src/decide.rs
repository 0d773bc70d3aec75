//! The decision: how many instances a revision is to have, and why. Plain data in, plain data out.
//!
//! Each input says how many instances it takes alone; the largest decides, held up for `down_delay`, between `min` and
//! `max`. [Why so](../../../../docs/decisions/0050-scaling.md).

use crate::window::Sums;

/// Standard deviations of room kept free where no target is given (square-root staffing; Halfin and Whitt 1981). So
/// much that waits are shorter than with a target of 70 % at fewer instance-seconds, measured in `tests/sim`.
const ROOM: f32 = 1.2;

/// What was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Facts {
    /// Instances that take calls, and those that will.
    pub ready: u32,
    pub starting: u32,
    pub in_flight: u32,
    pub waiting: u32,
    /// Seconds that the first in the queue has waited.
    pub oldest_wait: f32,
    /// Seconds that a start usually takes.
    pub start: f32,
    /// The whole window, its last seconds, and those before them.
    pub stable: Sums,
    pub panic: Sums,
    pub before: Sums,
    /// Events that wait elsewhere.
    pub lag: u64,
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
    /// Share of the slots that is to be busy; `None` lets the traffic say.
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
        Input::Stable => staff(facts.stable.calls(), facts, policy),
        Input::Panic => staff(ahead(facts), facts, policy),
        Input::Arrivals => staff(offered(facts), facts, policy),
        Input::Cpu => policy
            .cpu
            .map_or(0, |target| whole(facts.stable.cores().max(facts.panic.cores()) / target).min(policy.cores)),
        Input::Lag => backlog(facts, policy),
        Input::Schedule => facts.schedule,
        Input::Predicted => staff_unseen(facts.predicted, policy),
        Input::Used => u32::from(facts.used_lately),
    }
}

/// Of the calls that wait, those that an instance started now would help: where the slots that there are will have taken
/// them before it is ready, it would come to nothing.
fn worth_a_start(facts: &Facts, policy: &Policy) -> u32 {
    let slots = (facts.ready * policy.slots) as f32;
    let duration = facts.panic.duration().or(facts.stable.duration());
    let (Some(duration), true) = (duration, slots > 0.0) else { return facts.waiting };
    // Somebody waits for longer than a start already: the averages are wrong about this queue.
    if facts.oldest_wait > facts.start {
        return facts.waiting;
    }
    let coming = facts.panic.rate() * facts.start;
    let going = slots / duration.max(1e-6) * facts.start;
    let left = facts.waiting as f32 + coming - going;
    whole(left).min(facts.waiting)
}

/// Calls at once as they will be when a start that begins now is done, where they have been growing.
fn ahead(facts: &Facts) -> f32 {
    let (calls, before) = (facts.panic.calls(), facts.before.calls());
    if facts.before.span == 0.0 || calls <= before {
        return calls;
    }
    let each_second = (calls - before) / facts.panic.span.max(1.0);
    // The average is of the middle of its window; no growth goes on for ever.
    let lead = facts.panic.span / 2.0 + facts.start;
    (calls + each_second * lead).min(calls * 2.0)
}

/// Calls at once that the arrivals make, by Little's law: known before they are all there.
fn offered(facts: &Facts) -> f32 {
    let duration = facts.panic.duration().or(facts.stable.duration());
    duration.map_or(0.0, |duration| facts.panic.rate() * duration)
}

/// Instances for so many calls at once on average: by the target, or with room for how they vary by chance, but not more
/// than there ever were at once.
fn staff(calls: f32, facts: &Facts, policy: &Policy) -> u32 {
    let slots = policy.slots.max(1) as f32;
    let room = match policy.target {
        Some(target) => calls / target,
        None => with_room(calls).min(calls.max(facts.stable.peak.max(facts.panic.peak) as f32)),
    };
    whole(room / slots)
}

fn staff_unseen(calls: f32, policy: &Policy) -> u32 {
    let room = policy.target.map_or_else(|| with_room(calls), |target| calls / target);
    whole(room / policy.slots.max(1) as f32)
}

fn with_room(calls: f32) -> f32 {
    calls + ROOM * calls.sqrt()
}

/// Instances that work off the lag in the time for it.
fn backlog(facts: &Facts, policy: &Policy) -> u32 {
    if facts.lag == 0 {
        return 0;
    }
    // Nothing known about a call: one instance finds out.
    let Some(duration) = facts.panic.duration().or(facts.stable.duration()) else { return 1 };
    let each = policy.slots.max(1) as f32 / duration.max(1e-6);
    whole(facts.lag as f32 / (policy.drain.max(0.1) * each)).max(1)
}

/// Rounded up; a ten-thousandth is an error of the floating point, not an instance.
fn whole(count: f32) -> u32 {
    (count - 1e-4).ceil().max(0.0) as u32
}

#[cfg(test)]
mod tests;
