//! The instances of one revision and their slots: who gets one, and what is learned when it comes back.
//!
//! Everything is decided under one short lock; nothing is called under it.

use crate::{
    adapt::Gradient,
    breaker::{self, Admission, Breaker, Change},
    eject::{self, Health},
    history::History,
    limit::{Entered, Gate},
    meter::Meter,
    metrics,
    policy::Policy,
    queue::Queue,
    retry::Budget,
    ring::{self, Ring},
    slot::{self, Slot, Wish},
    stale::Stale,
    wait::{Waiter, Waiting},
};
use chassis::clock;
use http::HeaderValue;
use parking_lot::Mutex;
use std::{
    sync::{Arc, OnceLock, Weak},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;
use types::{Blame, Code, Contract, Event, Fault, Happening, InstanceId, Invocation, Revision, record::Outcome};
use wire::{Call, CallInfo, Demand, End, Lease, Link, Load, Logs, Permit, Started, Tally};

/// What pools share.
pub(crate) struct House {
    pub options: crate::Options,
    pub demand: std::sync::OnceLock<Arc<dyn Demand>>,
    pub logs: std::sync::OnceLock<Arc<dyn Logs>>,
    pub emergency: crate::emergency::Emergency,
}

pub(crate) struct State {
    pub slots: Vec<Slot>,
    pub waiters: Queue<Waiter>,
    pub in_flight: u32,
    /// Most calls at once, in flight and waiting, since the last look.
    peak: u32,
    /// Moving average of the start times.
    pub usual_start: Duration,
    /// Moving average of the time that a call holds its slot.
    pub usual_hold: Duration,
    breaker: Option<Breaker>,
    gradient: Option<Gradient>,
    budget: Budget,
    ejected: eject::Lately,
    tally: Tally,
    events: Ring,
    pub history: History,
    meter: Meter,
}

pub(crate) struct Pool {
    pub revision: Arc<Revision>,
    pub name: HeaderValue,
    pub policy: Policy,
    pub house: Arc<House>,
    pub metrics: metrics::Function,
    /// What counts its calls: known from the first one on.
    pub gate: OnceLock<Arc<Gate>>,
    pub stale: Option<Stale>,
    pub state: Mutex<State>,
    /// Itself, for the permits that it hands out.
    this: Weak<Self>,
}

pub(crate) type Granted = (Arc<dyn Link>, Permit);

/// What became of asking for a slot, and who asked.
pub(crate) type Asked = (Waiting, CallInfo);

/// What follows from a call's end, outside the lock.
#[derive(Default)]
struct After {
    /// The instance is of no more use.
    replace: bool,
    event: Option<Event>,
}

impl State {
    fn new(policy: &Policy) -> Self {
        let now = clock::now();
        Self {
            slots: Vec::new(),
            waiters: Queue::default(),
            in_flight: 0,
            peak: 0,
            usual_start: Duration::ZERO,
            usual_hold: Duration::ZERO,
            breaker: policy.circuit.map(|circuit| Breaker::new(circuit, now)),
            gradient: policy.adaptive.then(|| Gradient::new(policy.slots, now)),
            budget: Budget::new(policy.retries, now),
            ejected: eject::Lately::default(),
            tally: Tally::default(),
            events: Ring::default(),
            history: History::default(),
            meter: Meter::default(),
        }
    }

    fn calls(&self) -> u32 {
        self.in_flight + self.waiters.len() as u32
    }

    /// A call has a slot or a place in the queue.
    pub(crate) fn note_call(&mut self) {
        let calls = self.calls();
        self.peak = self.peak.max(calls);
        self.meter.changed(clock::now(), calls, self.in_flight);
    }

    /// Calls at once in one instance.
    pub(crate) fn limit(&self, policy: &Policy) -> u32 {
        self.gradient.as_ref().map_or(policy.slots, Gradient::limit)
    }
}

impl Pool {
    pub(crate) fn new(revision: Arc<Revision>, house: Arc<House>, metrics: &metrics::Metrics) -> Arc<Self> {
        let policy = Policy::new(&revision.spec, &house.options);
        Arc::new_cyclic(|this| Self {
            name: HeaderValue::try_from(revision.id.to_string()).unwrap_or(HeaderValue::from_static("-")),
            metrics: metrics.function(&revision.id),
            stale: Stale::of(&revision.spec),
            state: Mutex::new(State::new(&policy)),
            revision,
            policy,
            house,
            gate: OnceLock::new(),
            this: this.clone(),
        })
    }

    fn enter(&self) -> Result<Entered, Fault> {
        let gate =
            self.gate.get().ok_or_else(|| Fault::internal("a call came to a revision that was not chosen for it"))?;
        gate.enter()
    }

    /// A slot of a little loaded instance, or a place in the queue until one is free: [`Pool::settle`] waits for it.
    pub(crate) fn ask(&self, call: &Call, near: Option<InstanceId>) -> Asked {
        let info = info(call);
        let entered = match self.enter() {
            Ok(entered) => entered,
            Err(fault) => return (Waiting::Refused(self.later(fault)), info),
        };
        let mut state = self.state.lock();
        state.meter.arrived();
        if let Err(fault) = self.admit(&mut state) {
            return (Waiting::Refused(fault), info);
        }
        state.budget.earn();
        (self.take_or_queue(&mut state, call, info, entered, Wish { near, not: None }), info)
    }

    /// Another slot for a call that `not` refused untouched; `None` where the retry budget is spent.
    pub(crate) fn ask_again(&self, call: &Call, not: InstanceId) -> Option<Asked> {
        let info = info(call);
        let entered = match self.enter() {
            Ok(entered) => entered,
            Err(fault) => return Some((Waiting::Refused(self.later(fault)), info)),
        };
        let mut state = self.state.lock();
        if !state.budget.spend(clock::now()) {
            return None;
        }
        self.metrics.retried();
        Some((self.take_or_queue(&mut state, call, info, entered, Wish { near: None, not: Some(not) }), info))
    }

    /// A slot of an instance other than `not`, if one is free now and the retry budget has something left.
    pub(crate) fn spare(&self, call: &Call, not: InstanceId) -> Option<Granted> {
        let entered = self.enter().ok()?;
        let mut state = self.state.lock();
        let limit = state.limit(&self.policy);
        let index = slot::pick(&state.slots, limit, Wish { near: None, not: Some(not) })?;
        if !state.waiters.is_empty() || !state.budget.spend(clock::now()) {
            return None;
        }
        let granted = self.occupy(&mut state, index, info(call), entered);
        state.note_call();
        granted
    }

    /// The circuit's word.
    fn admit(&self, state: &mut State) -> Result<(), Fault> {
        let Some(breaker) = &mut state.breaker else { return Ok(()) };
        // The clock is read only where something failed lately.
        if breaker.is_closed() {
            return Ok(());
        }
        match breaker.admit(clock::now()) {
            Admission::Pass => Ok(()),
            Admission::Refuse(left) => {
                let detail = format!("the circuit of {} is open for another {left:.1?}", self.revision.id);
                Err(Fault::new(Code::CircuitOpen, detail).after(left))
            }
        }
    }

    /// A limit's refusal, with when the next of its calls will have ended: of as many as there are now, one does so each
    /// fraction of what a call usually takes.
    fn later(&self, fault: Fault) -> Fault {
        match fault.code {
            // A tenant that is stopped has said when.
            Code::FunctionLimit | Code::TenantLimit if !fault.is_timed() => {
                fault.after(self.state.lock().usual_hold / self.gate.get().map_or(1, |gate| gate.calls().max(1)))
            }
            _ => fault,
        }
    }

    /// Occupies a slot that [`slot::pick`] found.
    pub(crate) fn occupy(
        &self,
        state: &mut State,
        index: usize,
        mut info: CallInfo,
        entered: Entered,
    ) -> Option<Granted> {
        let lease: Arc<dyn Lease> = self.this.upgrade()?;
        let slot = state.slots.get_mut(index)?;
        slot.busy += 1;
        info.instance = slot.id;
        let link = Arc::clone(&slot.link);
        state.in_flight += 1;
        entered.keep();
        Some((link, Permit::new(lease, info)))
    }

    /// Counts and remembers a call that got no slot.
    pub(crate) fn reject(&self, info: &CallInfo, fault: Fault) -> Fault {
        let end = End { outcome: Outcome::Rejected, ..End::fault(&fault) };
        let now = clock::now();
        self.metrics.ended(info, end, now);
        self.metrics.refused(fault.code);
        let mut state = self.state.lock();
        state.meter.rejected();
        if fault.code.blame() == Blame::Function {
            state.tally.add(true, Duration::ZERO);
        }
        state.history.push(self.house.options.history_max, None, info, end, now);
        fault
    }

    pub(crate) fn add(&self, started: &Started) {
        let took: Duration = started.phases.iter().map(|(_, time)| *time).sum();
        {
            let mut state = self.state.lock();
            state.usual_start = match state.usual_start {
                Duration::ZERO => took,
                usual => (usual * 3 + took) / 4,
            };
            state.slots.push(Slot {
                id: started.id,
                link: Arc::clone(&started.link),
                busy: 0,
                draining: false,
                idle_since: clock::now(),
                health: Health::default(),
                drained: Vec::new(),
            });
        }
        self.metrics.started(&started.phases);
        self.grant();
    }

    /// Gives the instance no more calls. `None` where it is not here, a receiver that fires when it is empty otherwise.
    pub(crate) fn drain(&self, id: InstanceId) -> Option<oneshot::Receiver<()>> {
        let mut state = self.state.lock();
        let slot = state.slots.iter_mut().find(|slot| slot.id == id)?;
        slot.draining = true;
        let (sender, receiver) = oneshot::channel();
        match slot.busy {
            0 => drop(sender.send(())),
            _ => slot.drained.push(sender),
        }
        Some(receiver)
    }

    /// True where the instance is here and takes calls.
    pub(crate) fn has(&self, id: InstanceId) -> bool {
        self.state.lock().slots.iter().any(|slot| slot.id == id && !slot.draining)
    }

    pub(crate) fn remove(&self, id: InstanceId) -> bool {
        let mut state = self.state.lock();
        let Some(index) = state.slots.iter().position(|slot| slot.id == id) else { return false };
        let slot = state.slots.swap_remove(index);
        state.in_flight -= slot.busy;
        true
    }

    pub(crate) fn load(&self) -> Load {
        let mut state = self.state.lock();
        let waiting = state.waiters.len() as u32;
        let now = state.calls();
        let peak = std::mem::replace(&mut state.peak, now);
        let (at, usual_start) = (clock::now(), state.usual_start);
        let waits = state.waiters.firsts().map(|waiter| at.saturating_duration_since(waiter.info.arrived));
        let oldest = waits.max().unwrap_or_default();
        let (in_flight, deferred) = (state.in_flight, state.waiters.deferred() as u32);
        state.meter.changed(at, now, in_flight);
        let activity = state.meter.sums(usual_start, oldest);
        let instances = state.slots.iter().map(Slot::load).collect();
        Load { revision: Arc::clone(&self.revision), waiting, deferred, peak, activity, instances }
    }

    pub(crate) fn is_unused(&self) -> bool {
        let state = self.state.lock();
        state.slots.is_empty() && state.waiters.is_empty()
    }

    pub(crate) fn recent(&self, limit: usize) -> Vec<Invocation> {
        self.state.lock().history.recent(limit, &self.revision.id)
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.state.lock().events.events().cloned().collect()
    }

    pub(crate) fn tally(&self) -> Tally {
        self.state.lock().tally
    }

    /// Remembers what happened, and writes it into the function's log.
    pub(crate) fn tell(&self, event: Event) {
        tracing::info!(revision = %event.revision, instance = ?event.instance, what = event.what.as_str(), "{}", event.text);
        if let Some(logs) = self.house.logs.get() {
            logs.note(&event);
        }
        self.metrics.happened(event.what);
        self.state.lock().events.push(event);
    }

    /// The slot is free again. What its call says of the instance and of the function is learned.
    fn put_back(&self, info: &CallInfo, end: End, now: Instant) -> After {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.history.push(self.house.options.history_max, Some(info.instance), info, end, now);
        let took = now.saturating_duration_since(info.arrived).saturating_sub(info.waited);
        let mut after = After::default();
        let failed = breaker::failed(end);
        if let Some(failed) = failed {
            state.tally.add(failed, took);
            if !failed {
                state.usual_hold = eject::average(state.usual_hold, took);
            }
            if let Some(breaker) = &mut state.breaker {
                let change = breaker.ended(failed, info.arrived + info.waited, now);
                after.event = change.map(|change| self.circuit(change));
            }
        }
        let usual = state.usual_hold;
        let Some(index) = state.slots.iter().position(|slot| slot.id == info.instance) else { return after };
        let slot = &mut state.slots[index];
        let busy = slot.busy;
        slot.busy -= 1;
        slot.idle_since = now;
        let broken = breaks(self.revision.spec.contract, end.outcome);
        if broken && !slot.draining {
            slot.draining = true;
            after.replace = true;
            let text = format!("a call ended as {}", end.code.map_or("crashed", Code::as_str));
            after.event = after.event.or(Some(self.about(info, Happening::Replaced, text)));
        }
        let suspect = failed.is_some_and(|failed| slot.health.ended(failed, took, usual)) && !slot.draining;
        if slot.busy == 0 {
            for drained in slot.drained.drain(..) {
                let _ = drained.send(());
            }
        }
        state.in_flight -= 1;
        let calls = state.calls();
        state.meter.ended(took);
        state.meter.changed(now, calls, state.in_flight);
        if let (Some(gradient), Some(false)) = (&mut state.gradient, failed) {
            gradient.ended(took, busy, now);
        }
        if suspect
            && self.policy.eject
            && let Some(reason) = eject(state, index, now)
        {
            after.replace = true;
            after.event = Some(self.about(info, Happening::Ejected, reason.to_string()));
        }
        after
    }

    fn about(&self, info: &CallInfo, what: Happening, text: String) -> Event {
        ring::event(&self.revision.id, Some(info.instance), what, text)
    }

    fn circuit(&self, change: Change) -> Event {
        let (what, text) = match change {
            Change::Opened { failed, calls } => {
                (Happening::CircuitOpened, format!("{failed} of the last {calls} calls failed"))
            }
            Change::Reopened => (Happening::CircuitOpened, "a probe failed".to_owned()),
            Change::Closed => (Happening::CircuitClosed, "the probes succeeded".to_owned()),
        };
        ring::event(&self.revision.id, None, what, text)
    }
}

/// Takes the instance out of its pool, where it is the odd one and the pool stands it.
fn eject(state: &mut State, index: usize, now: Instant) -> Option<eject::Reason> {
    let ready = || state.slots.iter().enumerate().filter(|(_, slot)| !slot.draining);
    let siblings: Vec<Health> = ready().filter(|(other, _)| *other != index).map(|(_, slot)| slot.health).collect();
    let reason = eject::judge(&state.slots[index].health, &siblings)?;
    if !state.ejected.allows(siblings.len() + 1, now) {
        return None;
    }
    state.slots[index].draining = true;
    Some(reason)
}

/// True where a call's end says that its instance is of no more use. A component has an instance for each call, a
/// command a process.
fn breaks(contract: Contract, outcome: Outcome) -> bool {
    match (contract, outcome) {
        (Contract::Handler | Contract::Http, Outcome::TimedOut) => true,
        (Contract::Handler | Contract::Http | Contract::Command, Outcome::Crashed) => true,
        (_, Outcome::TimedOut | Outcome::Crashed) => false,
        (_, Outcome::Ok | Outcome::FunctionError | Outcome::Cancelled | Outcome::Rejected) => false,
    }
}

/// Of a call that has no slot yet.
fn info(call: &Call) -> CallInfo {
    CallInfo {
        id: call.id,
        instance: InstanceId::default(),
        arrived: call.arrived,
        waited: Duration::ZERO,
        cold: false,
    }
}

impl Lease for Pool {
    fn release(&self, info: &CallInfo, end: End) {
        let now = clock::now();
        self.metrics.ended(info, end, now);
        if let Some(gate) = self.gate.get() {
            gate.exit();
        }
        let after = self.put_back(info, end, now);
        if let Some(event) = after.event {
            self.tell(event);
        }
        if after.replace
            && let Some(demand) = self.house.demand.get()
        {
            demand.overdue(&self.revision, info.instance);
        }
        self.grant();
    }
}

/// Resolves when the instance's last call ended.
pub(crate) async fn drained(receiver: Option<oneshot::Receiver<()>>) {
    if let Some(receiver) = receiver {
        let _ = receiver.await;
    }
}
